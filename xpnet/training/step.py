"""The update of a run as a pure function, and loops of many updates, on one process or on several."""

import math
from collections.abc import Callable, Iterator
from dataclasses import fields, is_dataclass
from functools import partial
from types import FunctionType
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from .._array import device, namespace, size
from .._typing import Array
from ..backends import Backend, Draw, backend_of
from ..nn.sequential import Params, Sequential
from ..optim.optimizers import Optimizer
from .distributed import Processes

__all__ = [
    "Best",
    "Carry",
    "Transform",
    "Updates",
    "detached",
    "is_known",
    "means",
    "sums",
    "transformed",
    "update_step",
    "updated",
    "updates",
]


class Carry(NamedTuple):
    """The arrays that an update takes and returns."""

    params: Params
    memory: Params
    """The optimizer state."""
    state: Params
    """The state of the network, such as running means."""


class Best(NamedTuple):
    """The parameters and the state of a network after its best epoch."""

    params: Params
    state: Params


Transform: TypeAlias = Callable[[Array], Array]
Updates: TypeAlias = Callable[..., Iterator[tuple[Carry, Array]]]
"""What `Backend.repeat` returns."""


def detached(arrays: Params) -> Params:
    """The arrays, detached from the graph of their library's autograd."""
    return {name: backend_of(a).detach(a) for name, a in arrays.items()}


def transformed(transform: Transform | None, x: Array) -> Array:
    """The samples after `transform`, detached from the graph of their library's autograd."""
    return backend_of(x).detach(transform(x)) if transform else x


def update_step(
    stack: Sequential, optimizer: Optimizer, transform: Transform | None = None, accumulate: int = 1
) -> Callable[[Carry, tuple[Array, Array], Params], tuple[Carry, Array]]:
    """One update as a pure function, ``step(carry, batch, masks) -> carry, loss``.

    `batch` is samples and targets, whose labels have been checked. `masks` is the dict of dropout masks, empty
    without dropout.
    """

    def step(carry: Carry, batch: tuple[Array, Array], masks: Params) -> tuple[Carry, Array]:
        return updated(stack, optimizer, carry, batch, masks, transform, accumulate)

    step.known = is_known(stack, optimizer, transform)  # type: ignore[attr-defined]  # see `Backend.compile`
    return step


def updated(
    stack: Sequential,
    optimizer: Optimizer,
    carry: Carry,
    batch: tuple[Array, Array],
    masks: Params,
    transform: Transform | None = None,
    accumulate: int = 1,
) -> tuple[Carry, Array]:
    """The arrays after one update, and the loss before it."""
    (params, memory, state), (x, t) = carry, batch
    x = transformed(transform, x)
    if accumulate == 1:
        loss, gradients, state, *_ = stack.forward_backward(
            params, x, t, state=state or None, masks=masks or None, checked=True
        )
    else:
        total, loss, gradients, state = sums(stack, params, x, t, state, masks, accumulate)
        loss, gradients = means(total, loss, gradients)
    params, memory = optimizer.update(params, gradients, memory)
    return Carry(params, memory, state), loss


def is_known(*things: Any) -> bool:
    """Whether layers, losses, optimizers, schedules and functions run xpnet's own code only."""
    return all(map(_is_known, things))


def _is_known(thing: Any) -> bool:
    if thing is None or isinstance(thing, (bool, int, float, str, np.dtype, np.generic)):
        return True
    if type(thing).__name__.lower() == "dtype":  # of another library
        return True
    if isinstance(thing, (tuple, list)):
        return is_known(*thing)
    if type(thing) is partial:
        return is_known(thing.func, thing.args, *thing.keywords.values())
    if isinstance(thing, type) and issubclass(thing, np.generic):
        return True
    own = thing if isinstance(thing, (type, FunctionType)) else type(thing)
    if own.__module__.partition(".")[0] != "xpnet":
        return False
    if isinstance(thing, Sequential):
        return is_known(thing.descriptions, thing.loss_description)
    options = fields(own) if is_dataclass(own) and own is not thing else ()
    return is_known(*(getattr(thing, f.name) for f in options if f.name != "weight_init"))


def sums(
    stack: Sequential, params: Params, x: Array, t: Array, state: Params, masks: Params, parts: int, over: float = 1.0
) -> tuple[Array, Array, Params, Params]:
    """The sum of the sample weights, the sums of losses and gradients divided by `over`, and the new state.

    The samples are passed through the network in parts, one part after the other.
    """
    count, size = x.shape[0], -(-x.shape[0] // parts)
    total, loss, gradients = 0.0, 0.0, Params()
    for start in range(0, count, size):
        part = slice(start, min(start + size, count))
        part_masks = {name: mask[part, ...] for name, mask in masks.items()}
        part_loss, found, state, _, last = stack.forward_backward(
            params, x[part, ...], t[part, ...], state=state or None, masks=part_masks or None, over=over, checked=True
        )
        total, loss = total + last.counted(part.stop - start), loss + part_loss
        gradients = {name: gradients[name] + g for name, g in found.items()} if gradients else found
    return total, loss, gradients, state


def means(total: Array, loss: Array, gradients: Params) -> tuple[Array, Params]:
    """The mean loss and gradients: sums divided by the sum of the sample weights, `total`; 0 if `total` is 0."""
    if type(total) is not float:  # NumPy's float64 is a subclass of float
        total = namespace(total=total).where(total == 0, math.inf, total)
    return loss / total, {name: g / total for name, g in gradients.items()}


def updates(
    backend: Backend,
    stack: Sequential,
    optimizer: Optimizer,
    transform: Transform | None,
    accumulate: int,
    processes: Processes,
) -> Updates:
    """A function that makes many updates, as `Backend.repeat` does; all processes make each update together.

    Each process passes its part of the mini-batch through the network, and puts its results in one flat array. The
    arrays are summed over the processes. Then each process makes the same update from the sums. The array contains:

        the sum of the sample weights, the sum of the losses, the stop flag, the sums of the gradients, and the new
        state, such as running means, times the number of samples of this process

    All except the stop flag is divided by the number of samples in the mini-batch, which every process knows. So the
    sums are means. With sample weights, the means are then divided by the mean weight.
    """
    if processes.size == 1:
        return backend.repeat(update_step(stack, optimizer, transform, accumulate))

    alike = stack.last.plain

    def mine(
        params: Params,
        state: Params,
        data: tuple[Array, Array],
        index: Array,
        masks: Params,
        stop: float,
        over: float,
    ) -> Array:
        x, t = (backend_of(a).rows(a, index) for a in data)
        x = transformed(transform, x)
        total, loss, gradients, after = sums(stack, params, x, t, state, masks, accumulate, over)
        if alike and type(total) is not float:
            raise TypeError(
                f"{type(stack.last).__name__}: its `total` is an array, so it must have an attribute plain = False"
            )
        numbers, carried = [total / over, loss, stop], [x.shape[0] / over * after[key] for key in state]
        return _flat(loss, [*numbers, *(gradients[key] for key in params), *carried])

    def update(carry: Carry, flat: Array) -> tuple[Carry, Array]:
        params, memory, state = carry
        xp, parts, start = namespace(flat=flat), list[Array](), 3
        for a in (*params.values(), *state.values()):
            parts.append(xp.reshape(flat[start : start + size(a)], a.shape))
            start += size(a)
        total, loss = (xp.sum(flat[i : i + 1]) for i in (0, 1))  # copies: a view would keep the whole array in memory
        gradients, state = dict(zip(params, parts, strict=False)), dict(zip(state, parts[len(params) :], strict=True))
        if not alike:
            loss, gradients = means(total, loss, gradients)
        params, memory = optimizer.update(params, gradients, memory)
        return Carry(params, memory, state), loss

    mine.known = update.known = is_known(stack, optimizer, transform)  # type: ignore[attr-defined]
    mine, update = backend.compile(mine), backend.compile(update)
    add = processes.adder(backend)

    def run(
        carry: Carry, data: tuple[Array, Array], index: np.ndarray[Any, Any], draw: Draw | None = None
    ) -> Iterator[tuple[Carry, Array]]:
        index, (count, size) = backend.index(index, data[0]), index.shape
        share = processes.share(size)
        for i, masks in enumerate(backend.masks(draw, count, size, data[0], share)):
            params, _, state = carry
            if share.start < share.stop:
                flat = mine(params, state, data, index[i, share], masks, processes.stop, float(size))
            else:  # this process has no sample of a small mini-batch
                xp, own = namespace(data=data[0]), (*params.values(), *state.values())
                nothing = [xp.zeros_like(a) for a in own]
                flat = _flat(nothing[0], [0.0, 0.0, processes.stop, *nothing])
            carry, loss = update(carry, add(flat))
            yield carry, loss

    return run


def _flat(like: Array, parts: list[Any]) -> Array:
    """Join arrays and numbers to one array of one dimension."""
    xp, where = namespace(like=like), device(like)
    return xp.concat([xp.reshape(xp.asarray(a, dtype=like.dtype, device=where), (-1,)) for a in parts])

"""One update of a run as a pure function, and many of them in turn: of one process, or shared among several."""

import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from .._array import device, namespace, size
from .._typing import Array
from ..backends import Backend, Draw
from ..nn.sequential import Params, Sequential
from ..optim.optimizers import Optimizer
from .distributed import Processes

__all__ = ["Best", "Carry", "Transform", "Updates", "means", "sums", "update_step", "updates"]


class Carry(NamedTuple):
    """What one update hands to the next."""

    params: Params
    memory: Params
    """The optimizer's state."""
    state: Params
    """The network's, such as running means."""


class Best(NamedTuple):
    """A network's arrays after its best epoch."""

    params: Params
    state: Params


Transform: TypeAlias = Callable[[Array], Array]
Updates: TypeAlias = Callable[..., Iterator[tuple[Carry, Array]]]
"""What `Backend.repeat` returns."""


def update_step(
    stack: Sequential, optimizer: Optimizer, transform: Transform | None = None, accumulate: int = 1
) -> Callable[[Carry, tuple[Array, Array], Params], tuple[Carry, Array]]:
    """One update as a pure function, ``step(carry, batch, noise) -> carry, loss``.

    The batch is samples and targets; noise is the masks of random layers, or empty.
    """

    def step(carry: Carry, batch: tuple[Array, Array], noise: Params) -> tuple[Carry, Array]:
        (params, memory, state), (x, t) = carry, batch
        x = transform(x) if transform else x
        if accumulate == 1:
            loss, gradients, state = stack.loss_and_gradient(params, x, t, state=state or None, noise=noise or None)
        else:
            total, loss, gradients, state = sums(stack, params, x, t, state, noise, accumulate)
            loss, gradients = means(total, loss, gradients)
        params, memory = optimizer.update(params, gradients, memory)
        return Carry(params, memory, state), loss

    return step


def sums(
    stack: Sequential, params: Params, x: Array, t: Array, state: Params, noise: Params, parts: int, over: float = 1.0
) -> tuple[Array, Array, Params, Params]:
    """What samples count together, the sums of their losses and gradients divided by `over`, and the next state.

    They are passed through the network in parts, one after the other.
    """
    count, size = x.shape[0], -(-x.shape[0] // parts)
    total, loss, gradients = 0.0, 0.0, Params()
    for start in range(0, count, size):
        part = slice(start, min(start + size, count))
        masks = {name: mask[part, ...] for name, mask in noise.items()}
        part_loss, found, state, _, last = stack.trace(
            params, x[part, ...], t[part, ...], state=state or None, noise=masks or None, over=over
        )
        total, loss = total + last.counted(part.stop - start), loss + part_loss
        gradients = {name: gradients[name] + g for name, g in found.items()} if gradients else found
    return total, loss, gradients, state


def means(total: Array, loss: Array, gradients: Params) -> tuple[Array, Params]:
    """Sums over what counts `total`, divided by it; 0 where nothing counts."""
    if type(total) is not float:  # NumPy's float64 is one, too
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
    """Many updates, one after the other, as `Backend.repeat` makes them; each of all processes together.

    Each process passes its share of the mini-batch through the network. What they found lies in one flat array, which
    is summed over the processes, and then each makes the same update from the sums:

        what the samples count, the sum of their losses, whether to stop, the sums of their gradients, and the next
        state, such as running means, times the samples it was made of

    All but whether to stop is divided by the samples of the mini-batch, whose number all know, so that the sums are
    means. Where samples count differently, they are still to be divided by what these count together.
    """
    if processes.size == 1:
        return backend.repeat(update_step(stack, optimizer, transform, accumulate))

    alike = stack.last.plain

    def mine(
        params: Params,
        state: Params,
        data: tuple[Array, Array],
        index: Array,
        noise: Params,
        stop: float,
        over: float,
    ) -> Array:
        x, t = (backend.rows(a, index) for a in data)
        x = transform(x) if transform else x
        total, loss, gradients, after = sums(stack, params, x, t, state, noise, accumulate, over)
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
        total, loss = (xp.sum(flat[i : i + 1]) for i in (0, 1))  # not views, which would keep all of it
        gradients, state = dict(zip(params, parts, strict=False)), dict(zip(state, parts[len(params) :], strict=True))
        if not alike:
            loss, gradients = means(total, loss, gradients)
        params, memory = optimizer.update(params, gradients, memory)
        return Carry(params, memory, state), loss

    mine, update = backend.compile(mine), backend.compile(update)
    add = processes.adder(backend)

    def run(
        carry: Carry, data: tuple[Array, Array], index: np.ndarray[Any, Any], draw: Draw | None = None
    ) -> Iterator[tuple[Carry, Array]]:
        index, (count, size) = backend.index(index, data[0]), index.shape
        share = processes.share(size)
        for i, noise in enumerate(backend.masks(draw, count, size, data[0], share)):
            params, _, state = carry
            if share.start < share.stop:
                flat = mine(params, state, data, index[i, share], noise, processes.stop, float(size))
            else:  # a mini-batch of fewer samples than processes
                xp, own = namespace(data=data[0]), (*params.values(), *state.values())
                nothing = [xp.zeros_like(a) for a in own]
                flat = _flat(nothing[0], [0.0, 0.0, processes.stop, *nothing])
            carry, loss = update(carry, add(flat))
            yield carry, loss

    return run


def _flat(like: Array, parts: list[Any]) -> Array:
    """Arrays and numbers in one array of one dimension."""
    xp, where = namespace(like=like), device(like)
    return xp.concat([xp.reshape(xp.asarray(a, dtype=like.dtype, device=where), (-1,)) for a in parts])

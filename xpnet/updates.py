"""One update of a run as a pure function, and many of them in turn: of one process, or shared among several."""

import math
from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

import numpy as np

from ._array import Array, device, namespace, size
from .backends import Backend, Draw
from .distributed import Processes
from .optimizers import Optimizer
from .sequential import Params, Sequential

__all__ = ["Carry", "Transform", "Updates", "means", "sums", "update_step", "updates"]

Carry: TypeAlias = tuple[Params, Params, Params]
"""Parameters, the optimizer's state and the network's."""
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
        return (params, memory, state), loss

    return step


def sums(
    stack: Sequential, params: Params, x: Array, t: Array, state: Params, noise: Params, parts: int
) -> tuple[Array, Array, Params, Params]:
    """What the samples of a mini-batch count together, and the sums of their losses and gradients; the next state.

    The mini-batch is passed through the network in parts, one after the other.
    """
    count, size = x.shape[0], -(-x.shape[0] // parts)
    total, loss, gradients = 0.0, 0.0, dict.fromkeys(params, 0.0)
    for start in range(0, count, size):
        part = slice(start, min(start + size, count))
        masks = {name: mask[part, ...] for name, mask in noise.items()}
        part_loss, part_gradients, state, _, last = stack.trace(
            params, x[part, ...], t[part, ...], state=state or None, noise=masks or None
        )
        counts = getattr(last, "total", part.stop - start)
        total, loss = total + counts, loss + counts * part_loss
        gradients = {name: gradients[name] + counts * g for name, g in part_gradients.items()}
    return total, loss, gradients, state


def means(total: Array, loss: Array, gradients: Params) -> tuple[Array, Params]:
    """Sums over what counts `total`, divided by it; 0 where nothing counts."""
    if not isinstance(total, (int, float)):
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
    """
    if processes.size == 1:
        return backend.repeat(update_step(stack, optimizer, transform, accumulate))

    def mine(
        params: Params, state: Params, data: tuple[Array, Array], index: Array, noise: Params, stop: Array
    ) -> Array:
        x, t = (backend.rows(a, index) for a in data)
        x = transform(x) if transform else x
        total, loss, gradients, after = sums(stack, params, x, t, state, noise, accumulate)
        numbers = [total, loss, stop]
        return _flat(
            loss, [*numbers, *(gradients[key] for key in params), *(x.shape[0] * after[key] for key in state)]
        )

    def update(carry: Carry, flat: Array, samples: int) -> tuple[Carry, Array]:
        params, memory, state = carry
        xp, parts, start = namespace(flat=flat), list[Array](), 3
        for a in (*params.values(), *state.values()):
            parts.append(xp.reshape(flat[start : start + size(a)], a.shape))
            start += size(a)
        total, loss = (xp.reshape(flat[i : i + 1], ()) for i in (0, 1))
        loss, gradients = means(total, loss, dict(zip(params, parts, strict=False)))
        state = {key: a / samples for key, a in zip(state, parts[len(params) :], strict=True)}
        params, memory = optimizer.update(params, gradients, memory)
        return (params, memory, state), loss

    mine, update = backend.compile(mine), backend.compile(update)
    add = processes.adder(backend)

    def run(
        carry: Carry, data: tuple[Array, Array], index: np.ndarray[Any, Any], draw: Draw | None = None
    ) -> Iterator[tuple[Carry, Array]]:
        xp, where = namespace(data=data[0]), device(data[0])
        for row in index:
            params, _, state = carry
            noise = draw(len(row)) if draw else {}
            share = processes.share(len(row))
            if share.start < share.stop:
                masks = {name: xp.asarray(mask[share], device=where) for name, mask in noise.items()}
                flat = mine(params, state, data, xp.asarray(row[share], device=where), masks, processes.stop)
            else:  # a mini-batch of fewer samples than processes
                nothing = [xp.zeros_like(a) for a in (*params.values(), *state.values())]
                flat = _flat(nothing[0], [0.0, 0.0, processes.stop, *nothing])
            carry, loss = update(carry, add(flat), len(row))
            yield carry, loss

    return run


def _flat(like: Array, parts: list[Any]) -> Array:
    """Arrays and numbers in one array of one dimension."""
    xp, where = namespace(like=like), device(like)
    return xp.concat([xp.reshape(xp.asarray(a, dtype=like.dtype, device=where), (-1,)) for a in parts])

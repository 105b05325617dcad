"""Updates of many networks at once: their arrays lie along a new first axis."""

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from .._array import device, namespace, size
from .._typing import Array, Params
from ..backends import Backend, Draw, backend_of, to_numpy, vmap
from ..tracing.program import is_array, leaves, replaced
from .samples import Host, in_batches
from .step import Carry

__all__ = ["Together", "cut", "numbers_of", "part", "parted"]

Step = Callable[[Carry, tuple[Array, ...], Params, Params], tuple[Carry, Array]]


def _stacked(trees: Sequence[Any]) -> Any:
    """Nested dicts and tuples of arrays: one from many, with the arrays stacked along a new first axis."""
    columns = zip(*(leaves(tree) for tree in trees), strict=True)
    arrays = iter([namespace(a=column[0]).stack(column) for column in columns])
    return replaced(trees[0], lambda leaf: next(arrays))


class Together:
    """Networks of one architecture that are trained at once, each with its own mini-batches.

    Parameters
    ----------
    step : callable
        An update of one network, ``step(carry, batch, masks, options) -> carry, loss``, a pure function. It can have
        an attribute `known`, as in `Backend.compile`.
    carries : sequence of Carry
        The arrays that the first update of each network starts from.
    data : tuple of arrays
        The samples, the targets, and further arrays with an entry for each sample.
    options : dict of sequences of float
        Numbers that differ between the networks, such as the learning rate: one for each network.
    alike : bool, default False
        Whether all networks have the same mini-batches.

    Attributes
    ----------
    carry : Carry
        The arrays after the last update. Their first axis is the axis of the networks.
    """

    def __init__(
        self,
        step: Step,
        carries: Sequence[Carry],
        data: tuple[Array, ...],
        options: dict[str, Sequence[float]],
        alike: bool = False,
    ) -> None:
        self.step, self.data, self.alike = step, data, alike
        self.carry: Carry = _stacked(carries)
        self.backend: Backend = backend_of(data[0])
        self.options = {name: self._numbers(values) for name, values in options.items()}
        self.run = self.backend.repeat(self._whole())

    @property
    def count(self) -> int:
        """The number of networks."""
        return _count(self.carry.params)

    def _numbers(self, values: Sequence[float]) -> Array:
        first = next(iter(self.carry.params.values()))
        xp = namespace(first=first)
        return xp.asarray(list(values), dtype=first.dtype, device=device(first))

    def _whole(self) -> Callable[..., Any]:
        one, alike = vmap(self.step, in_axes=(0, None if self.alike else 0, 0, 0)), self.alike

        def whole(state: tuple[Carry, Params], batch: tuple[Array, ...], masks: Params) -> Any:
            carry, options = state
            count = _count(carry.params)
            if not alike:
                batch = tuple(parted(a, count) for a in batch)
            carry, loss = one(carry, batch, masks, options)
            return (carry, options), loss

        whole.known = getattr(self.step, "known", False)  # type: ignore[attr-defined]  # see `Backend.compile`
        return whole

    def train(self, rows: Host, batch_size: int, draw: Draw | None = None) -> Iterator[Array]:
        """Make the updates of an epoch.

        Parameters
        ----------
        rows : NumPy array of int, shape (networks, n), or (n,) if all networks have the same mini-batches
            The rows of the data in the order of the epoch.
        batch_size : int
        draw : callable, optional
            ``draw(size)`` draws the masks of one update for all networks, each with `size` samples.

        Yields
        ------
        array, shape (networks,) or (updates, networks)
            The losses of the last updates.
        """
        drawn = draw and (lambda width: draw(width if self.alike else width // self.count))
        for part in _batches(rows, batch_size):
            for state, loss in self.run((self.carry, self.options), self.data, part, drawn):
                self.carry, _ = state
                yield loss

    @staticmethod
    def read(losses: list[Array]) -> Host:
        """The losses of `train` as a NumPy array, shape (updates, networks), with one transfer."""
        rows = [loss if loss.ndim == 2 else loss[None, :] for loss in losses]
        return to_numpy(namespace(loss=losses[0]).concat(rows)).astype(np.float64)

    def set_option(self, name: str, values: Sequence[float]) -> None:
        """Change an option, such as the learning rate, for the updates to come."""
        self.options = self.options | {name: self._numbers(values)}

    def keep(self, which: Sequence[int]) -> None:
        """Continue with these networks only."""
        self.carry, self.options = self.rows((self.carry, self.options), which)

    def rows(self, tree: Any, which: Sequence[int]) -> Any:
        """The arrays of these networks only."""
        index = self.backend.index(np.asarray(which), next(iter(self.carry.params.values())))
        return replaced(tree, lambda a: self.backend.rows(a, index))


def cut(members: list[Any], params: Params, numbers: int, memory: int | None) -> Iterator[list[Any]]:
    """Parts of a group of networks whose arrays fit into `memory` bytes; see `fit_many` for the default.

    `params` are the parameters of one network. An update of one network needs about `numbers` numbers.
    """
    first = next(iter(params.values()))
    xp, where = namespace(first=first), device(first)
    if memory is None:
        memory = 1 << 30 if backend_of(first).is_remote(where) else 4 << 20
    size = max(1, memory // (numbers * xp.finfo(first.dtype).bits // 8))
    size = math.ceil(len(members) / math.ceil(len(members) / size))  # parts of nearly one size
    yield from (members[i : i + size] for i in range(0, len(members), size))


def numbers_of(params: Params, arrays: int, shapes: Sequence[tuple[int, ...]], batch_size: int) -> int:
    """About how many numbers an update needs.

    `arrays` is the number of arrays that the optimizer keeps for a parameter. `shapes` are the shapes of a sample
    after each layer.
    """
    return (3 + 2 * arrays) * sum(map(size, params.values())) + 3 * batch_size * sum(map(math.prod, shapes))


def part(tree: Any, i: int) -> Any:
    """Copies of the arrays of one network."""
    return replaced(tree, lambda a: namespace(a=a).asarray(a[i, ...], copy=True) if is_array(a) else a)


def _count(params: Params) -> int:
    return int(next(iter(params.values())).shape[0])


def parted(a: Array, count: int) -> Array:
    """An array with an axis for `count` networks, and one for their samples, in place of the first axis."""
    return namespace(a=a).reshape(a, (count, a.shape[0] // count, *a.shape[1:]))


def _batches(rows: Host, length: int) -> Iterator[Host]:
    """The mini-batches of all networks: a matrix with an update in each row, then the last, smaller one."""
    if rows.ndim == 1:
        yield from in_batches(rows, length)
        return
    count, n = rows.shape
    whole = n // length * length
    if whole:
        yield rows[:, :whole].reshape(count, -1, length).swapaxes(0, 1).reshape(-1, count * length)
    if whole < n:
        yield rows[:, whole:].reshape(1, -1)

"""What mini-batches are drawn from: samples and their targets, in memory or on disk; whether a network takes them."""

import math
import weakref
from collections.abc import Callable, Generator, Iterator
from functools import partial
from typing import Any, TypeAlias

import numpy as np

from . import _array
from ._array import Array, Namespace, dtype_name, index_dtype, is_floating, is_integral, namespace
from .backends import backend_of, read_all
from .datasets import Shards
from .datasets.shards import ahead
from .describing import fingerprint
from .networks import Network

__all__ = [
    "Host",
    "InMemory",
    "OnDisk",
    "Pair",
    "Samples",
    "check_batches",
    "check_labels",
    "check_samples",
    "in_batches",
    "label_ranges",
    "samples_of",
    "shapes",
]

Host: TypeAlias = np.ndarray[Any, Any]
Pair: TypeAlias = tuple[Array, Array]
Batches: TypeAlias = Generator[tuple[Pair, Array], None, None]
"""Samples and targets, and their mini-batches: what `Backend.index` makes, shape (mini-batches, samples of each)."""


class InMemory:
    """Samples and targets that are arrays; a unit of them is a sample.

    Attributes
    ----------
    units : array of int
        All of them.
    shape, target_shape : tuple of int
        Of all samples and of all targets.
    settings : dict
        What the order of the samples depends on.
    """

    def __init__(self, x: Array, t: Array) -> None:
        self.data, self.shape, self.target_shape = (x, t), tuple(x.shape), tuple(t.shape)
        self.units, self.settings = np.arange(x.shape[0]), dict[str, Any]()
        self._index = dtype_name(index_dtype(namespace(x=x), _array.device(x)))

    def count(self, units: Host) -> int:
        """How many samples these units have."""
        return len(units)

    def first(self, units: Host, count: int) -> int:
        """How many of these units, the first ones, have so many samples."""
        return count

    def epoch(
        self, rng: np.random.Generator, units: Host, batch_size: int, sampling: str = "shuffle", done: int = 0
    ) -> Batches:
        """The mini-batches of an epoch, drawn now, but for the first so many."""
        if sampling == "shuffle":
            order = rng.permutation(units)
        else:
            order = units[rng.integers(0, len(units), size=batch_size * math.ceil(len(units) / batch_size))]
        return self.blocks(order, batch_size, done)

    def blocks(self, units: Host, batch_size: int, done: int = 0) -> Batches:
        """The same in the order of the units."""
        order = units.astype(self._index)[done * batch_size :]
        placed = backend_of(self.data[0]).index(order, self.data[0])
        return ((self.data, part) for part in in_batches(placed, batch_size))

    def fingerprint(self) -> str:
        """A checksum of all."""
        return fingerprint(*self.data)


class OnDisk:
    """Samples and targets in `Shards`; a unit of them is a piece of a shard, and is read at once.

    An epoch goes through the pieces in a new order, a buffer full after the other; the samples of a buffer are
    shuffled, and what is left when it has been cut into mini-batches goes into the next. While one is in use, the
    next is read.
    """

    def __init__(self, shards: Shards, xp: Namespace, where: Any, dtypes: tuple[str, str]) -> None:
        self.shards, self.shape, self.target_shape = shards, shards.x_shape, shards.t_shape
        self.units, self.settings = np.arange(len(shards.sizes)), {"buffer": shards.buffer}
        self._place: Callable[[Host], Array] = partial(xp.asarray, device=where)
        self._dtypes, self._index = dtypes, dtype_name(index_dtype(xp, where))

    def count(self, units: Host) -> int:
        """How many samples these units have."""
        return int(self.shards.sizes[units].sum())

    def first(self, units: Host, count: int) -> int:
        """How many of these units, the first ones and at least one, have about so many samples."""
        return int(np.abs(np.cumsum(self.shards.sizes[units]) - count).argmin()) + 1

    def epoch(
        self, rng: np.random.Generator, units: Host, batch_size: int, sampling: str = "shuffle", done: int = 0
    ) -> Batches:
        """The mini-batches of an epoch, drawn now, but for the first so many."""
        order, seed = rng.permutation(units), int(rng.integers(1 << 63))
        return self._read(
            order, batch_size, done, lambda i, count: np.random.default_rng([seed, i]).permutation(count)
        )

    def blocks(self, units: Host, batch_size: int, done: int = 0) -> Batches:
        """The same in the order of the units."""
        return self._read(units, batch_size, done, lambda i, count: np.arange(count))

    def _read(self, units: Host, size: int, done: int, order: Callable[[int, int], Host]) -> Batches:
        if not len(units):
            return
        windows = self.shards.windows(units)
        counts = [self.count(window) for window in windows]
        ends = np.cumsum(counts).tolist()
        # Samples that are left for a window, at most a mini-batch without its last one, lie before its own.
        left = [0, *(end % size for end in ends[:-1])]
        # One shape for all, or JAX would compile a program for each.
        room = max(a + b for a, b in zip(counts, left, strict=True))
        first = next((i for i, end in enumerate(ends) if end // size > done), len(ends) - 1)
        start, needed = first, left[first]
        while needed > 0:
            start -= 1
            needed -= counts[start]
        empty = [
            lender((room, *shape[1:]), dtype)
            for shape, dtype in zip((self.shape, self.target_shape), self._dtypes, strict=True)
        ]
        before: list[tuple[Host, Host, Host]] = []

        def read(i: int) -> tuple[Host, Host, Host]:
            x, t = (lend() for lend in empty)
            for *arrays, last in before:
                for now, then in zip((x, t), arrays, strict=True):
                    now[: left[i]] = then[last[len(last) - left[i] :]]
            self.shards.read(windows[i], x, t, left[i])
            shuffled = np.concatenate([np.arange(left[i]), left[i] + order(i, counts[i])])
            before[:] = [(x, t, shuffled)]
            return x, t, shuffled

        for i, (x, t, shuffled) in enumerate(ahead(partial(read, i) for i in range(start, len(windows))), start):
            whole = len(shuffled) if i == len(windows) - 1 else len(shuffled) // size * size
            made = max(0, done - (ends[i - 1] // size if i else 0))
            cut = shuffled[made * size : whole].astype(self._index)
            if i >= first and len(cut):
                data = self._place(x), self._place(t)
                for part in in_batches(backend_of(data[0]).index(cut, data[0]), size):
                    yield data, part
                del data
            del x, t  # their memory is wanted: the next buffer is in the other one, and this is read into again

    def fingerprint(self) -> str:
        """A checksum of the first piece, one in the middle and the last: all would have to be read."""
        sizes, found = self.shards.sizes, []
        for unit in sorted({0, len(sizes) // 2, len(sizes) - 1}):
            x = np.empty((sizes[unit], *self.shape[1:]), self.shards.x_dtype)
            t = np.empty((sizes[unit], *self.target_shape[1:]), self.shards.t_dtype)
            self.shards.read(self.units[unit : unit + 1], x, t)
            found.append(fingerprint(x, t))
        return " ".join(found)


Samples: TypeAlias = InMemory | OnDisk


def lender(shape: tuple[int, ...], dtype: str) -> Callable[[], Host]:
    """What makes uninitialized arrays, all alike, in memory that it takes back once nobody holds the last one there.

    Such a buffer would come from the system each time, and its pages cost more than what is then read into them.
    """
    free: list[Host] = []

    def lend() -> Host:
        memory = free.pop() if free else np.empty(math.prod(shape) * np.dtype(dtype).itemsize, np.uint8)
        array = np.frombuffer(memory.data, dtype)  # what the views of it refer to, and `memory` would not be
        weakref.finalize(array, free.append, memory).atexit = False
        return array.reshape(shape)

    return lend


def in_batches(order: Array, size: int) -> Iterator[Array]:
    """`order` cut into mini-batches: those of full size, one to a row, then the last one where it is shorter."""
    count = order.shape[0]
    whole = count // size * size
    if whole:
        yield namespace(order=order).reshape(order[:whole], (-1, size))
    if whole < count:
        yield order[None, whole:]


def samples_of(name: str, data: Pair | Shards, network: Network, *, transformed: bool) -> Samples:
    """The samples and targets of a set, "train" or "test", for a network that they fit.

    Raises
    ------
    TypeError, ValueError
        If they do not fit it, or no network.
    """
    floats = not transformed and network.stack.takes_floats
    takes_labels = network.stack.last.takes_labels
    check_samples(name, data, floats=floats, takes_labels=takes_labels)
    shape, target_shape = shapes(data)
    if not transformed:
        _check_fit(network, name, shape[1:])
    labels, outputs = takes_labels and len(target_shape) == 1, network.output_shape
    if not labels and target_shape[1:] != outputs:
        also = " or integer labels" if takes_labels else ""
        raise ValueError(
            f"t_{name} has shape {target_shape}, expected {(target_shape[0], *outputs)}{also} for this network"
        )
    first = next(iter(network.params.values()))
    xp, where = namespace(params=first), _array.device(first)
    index = index_dtype(xp, where)
    if isinstance(data, Shards):
        real, stored = dtype_name(first.dtype), data.x_dtype
        samples = real if stored.kind == "f" else stored.name if transformed else dtype_name(index)
        return OnDisk(data, xp, where, (samples, dtype_name(index) if labels else real))
    x, t = data
    return InMemory(x, xp.astype(t, index, copy=False) if labels else t)


def shapes(data: Pair | Shards) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Of all samples of a set and of all its targets."""
    if isinstance(data, Shards):
        return data.x_shape, data.t_shape
    return tuple(data[0].shape), tuple(data[1].shape)


def check_samples(name: str, data: Pair | Shards, *, floats: bool, takes_labels: bool) -> None:
    """Refuse samples and targets that no network could take."""
    shape, target_shape = shapes(data)
    if isinstance(data, Shards):
        xp, x_dtype, t_dtype = namespace(x=np.empty(0)), data.x_dtype, data.t_dtype
        way = "pass transform, such as partial(xpnet.scale_images, dtype='float32'), to scale integer images"
    else:
        xp, x_dtype, t_dtype = namespace(x=data[0], t=data[1]), data[0].dtype, data[1].dtype
        way = f"scale integer images first, such as xp.astype(x_{name}, xp.float32) / 255"
    if len(shape) < 2 or shape[0] == 0:
        raise ValueError(f"x_{name} must hold at least one sample, along its first axis, shape (N, ...); got {shape}")
    if floats and not is_floating(xp, x_dtype):
        raise TypeError(f"x_{name} must have a real floating dtype, got {x_dtype}; {way}")
    if target_shape[:1] != shape[:1]:
        raise ValueError(
            f"t_{name} has shape {target_shape}, expected ({shape[0]},) or ({shape[0]}, K): a target for each "
            f"sample of x_{name}"
        )
    if takes_labels and len(target_shape) == 1 and not is_integral(xp, t_dtype):
        raise TypeError(f"t_{name}: labels must have an integer dtype, got {t_dtype}; cast them first")


def check_labels(network: Network, **sets: Pair | Shards) -> None:
    """Refuse labels of classes that the network does not have."""
    last, outputs = network.stack.last, network.output_shape
    labelled = {name: data for name, data in sets.items() if last.takes_labels and len(shapes(data)[1]) == 1}
    for name, (least, most) in zip(labelled, label_ranges(*labelled.values(), ignore=last.ignore), strict=True):
        if least < 0 or most >= outputs[-1]:
            raise ValueError(
                f"t_{name} holds labels from {least} to {most}, but the network tells {outputs[-1]} classes apart, "
                f"0 to {outputs[-1] - 1}"
            )


def label_ranges(*sets: Pair | Shards, ignore: int | None = None) -> list[tuple[int, int]]:
    """The least and the greatest label of each set, but for one that is ignored; all are read together."""

    def ends(t: Array) -> list[Array]:
        xp = namespace(t=t)
        index = index_dtype(xp, _array.device(t))
        if ignore is not None:
            t = xp.astype(t, index, copy=False)
            t = xp.where(t == ignore, xp.zeros_like(t), t)
        return [xp.astype(end, index, copy=False) for end in (xp.min(t), xp.max(t))]

    on_disk = {i: [ends(t) for t in data.targets()] for i, data in enumerate(sets) if isinstance(data, Shards)}
    in_memory = [ends(data[1]) for data in sets if not isinstance(data, Shards)]
    read = iter(read_all([end for pair in in_memory for end in pair]).tolist())
    found = [on_disk[i] if i in on_disk else [(next(read), next(read))] for i in range(len(sets))]
    return [(int(min(least for least, _ in pairs)), int(max(most for _, most in pairs))) for pairs in found]


def _check_fit(network: Network, name: str, sample: tuple[int, ...]) -> None:
    """Refuse samples of a shape that the network was not made for."""
    if sample != network.input_shape:
        made_for = {key: tuple(p.shape) for key, p in network.params.items()}
        try:
            fits = network.stack.param_shapes(sample) == made_for
        except ValueError as error:
            raise ValueError(f"x_{name}: {error}") from None
        if not fits:
            raise ValueError(
                f"x_{name} has samples of shape {sample}, but the network was made for {network.input_shape}"
            )


def check_batches(
    network: Network, sample: tuple[int, ...], count: int, batch_size: int, accumulate: int, processes: int
) -> None:
    """Refuse mini-batches that are too small for a layer, in the shares of processes and the parts of these."""
    least = network.stack.least_batch(sample)
    for size in {min(batch_size, count), count % batch_size or batch_size}:
        for share in {size // processes, -(-size // processes)} - {0}:
            part = -(-share // accumulate)
            smallest = share % part or part
            if smallest < least:
                shared = f"shared by {processes} processes, " if processes > 1 else ""
                raise ValueError(
                    f"batch_size: {count} samples in mini-batches of {batch_size}, {shared}{accumulate} parts each, "
                    f"leave a part with {smallest}, but normalisation over the batch needs at least {least}; choose "
                    "another batch_size"
                )

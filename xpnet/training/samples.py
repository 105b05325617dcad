"""Samples and targets, in memory or on disk: draw mini-batches, and check that a network can take them."""

import math
import weakref
from collections.abc import Callable, Generator, Iterator
from functools import partial
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from .. import _array
from .._array import dtype_name, index_dtype, is_floating, is_integral, is_real, namespace
from .._typing import Array, Namespace
from ..backends import backend_of, to_numpy, value_ranges
from ..datasets import Shards
from ..datasets.shards import ahead
from ..functions import check_labels
from ..layers.base import Loss
from ..nn.networks import Network
from .describing import fingerprint

__all__ = [
    "Dataset",
    "Given",
    "NotFinite",
    "Host",
    "InMemory",
    "OnDisk",
    "Pair",
    "Samples",
    "Sets",
    "given",
    "hold_out",
    "namespace_of",
    "check_batches",
    "check_finite",
    "check_samples",
    "check_values",
    "in_batches",
    "samples_of",
    "shapes",
]

Host: TypeAlias = np.ndarray[Any, Any]
Pair: TypeAlias = tuple[Array, Array]
Dataset: TypeAlias = Pair | Shards
Batches: TypeAlias = Generator[tuple[Pair, Array], None, None]
"""Samples, targets, and the indices of their mini-batches from `Backend.index`, shape (mini-batches, batch size)."""


_PART = 2_000
"""The number of samples that are checked at a time."""


class NotFinite(ValueError):
    """Raised if a dataset contains NaN or an infinite number."""


class InMemory:
    """Samples and targets in arrays. A unit is one sample; in `OnDisk`, a unit is a block of samples.

    Attributes
    ----------
    units : array of int
        The indices of all units.
    shape, target_shape : tuple of int
        The shapes of the arrays of samples and of targets.
    settings : dict
        The settings that the order of the samples depends on.
    """

    def __init__(self, x: Array, t: Array) -> None:
        self.data = backend_of(x).detach(x), backend_of(t).detach(t)
        self.shape, self.target_shape = tuple(x.shape), tuple(t.shape)
        self.units, self.settings = np.arange(x.shape[0]), dict[str, Any]()
        self._index = dtype_name(index_dtype(namespace(x=x), _array.device(x)))

    def count(self, units: Host) -> int:
        """The number of samples in these units."""
        return len(units)

    def first(self, units: Host, count: int) -> int:
        """The number of units, from the first one, that together have `count` samples."""
        return count

    def order(self, rng: np.random.Generator, units: Host, batch_size: int, sampling: str) -> Host:
        """Draw the samples of an epoch, in the order of its mini-batches."""
        if sampling == "shuffle":
            return rng.permutation(units)
        return units[rng.integers(0, len(units), size=batch_size * math.ceil(len(units) / batch_size))]

    def numbers(self, units: Host) -> Host:
        """The positions in the dataset of the samples in these units."""
        return units

    def epoch(
        self, rng: np.random.Generator, units: Host, batch_size: int, sampling: str = "shuffle", done: int = 0
    ) -> Batches:
        """Draw the mini-batches of an epoch, and leave out those that are already done."""
        return self.blocks(self.order(rng, units, batch_size, sampling), batch_size, done)

    def blocks(self, units: Host, batch_size: int, done: int = 0) -> Batches:
        """Mini-batches in the order of the units."""
        order = units.astype(self._index)[done * batch_size :]
        placed = backend_of(self.data[0]).index(order, self.data[0])
        return ((self.data, part) for part in in_batches(placed, batch_size))

    def parts(self) -> Iterator[Pair]:
        """All samples and targets in their order, some at a time."""
        count = self.shape[0]
        for start in range(0, count, _PART):
            x, t = (array[start : min(start + _PART, count), ...] for array in self.data)
            yield x, t

    def fingerprint(self) -> str:
        """A checksum of all samples and targets."""
        return fingerprint(*self.data)


class OnDisk:
    """Samples and targets in `Shards`. A unit is a block: neighboring samples of a shard, which are read together.

    Each epoch has a new order of the blocks. The blocks fill one buffer after the other. The samples in a buffer are
    shuffled and divided into mini-batches. The samples that remain go into the next buffer. While one buffer is in
    use, the next buffer is read.
    """

    def __init__(
        self,
        end: str,
        shards: Shards,
        xp: Namespace,
        where: Any,
        dtypes: tuple[str, str],
        id_count: int | None,
        loss: Loss | None = None,
    ) -> None:
        self.end, self.id_count, self.loss = end, id_count, loss
        self.shards, self.shape, self.target_shape = shards, shards.x_shape, shards.t_shape
        self.units, self.settings = np.arange(len(shards.sizes)), {"buffer": shards.buffer}
        self._place: Callable[[Host], Array] = partial(xp.asarray, device=where)
        self._dtypes, self._index = dtypes, dtype_name(index_dtype(xp, where))

    def count(self, units: Host) -> int:
        """The number of samples in these units."""
        return int(self.shards.sizes[units].sum())

    def first(self, units: Host, count: int) -> int:
        """The number of units, from the first one and at least one, that together have about `count` samples."""
        return int(np.abs(np.cumsum(self.shards.sizes[units]) - count).argmin()) + 1

    def numbers(self, units: Host) -> Host:
        """The positions in the dataset of the samples in these units."""
        sizes, ends = self.shards.sizes, np.cumsum(self.shards.sizes)
        return np.concatenate([np.arange(ends[unit] - sizes[unit], ends[unit]) for unit in units])

    def epoch(
        self, rng: np.random.Generator, units: Host, batch_size: int, sampling: str = "shuffle", done: int = 0
    ) -> Batches:
        """Draw the mini-batches of an epoch, and leave out those that are already done."""
        order, seed = rng.permutation(units), int(rng.integers(1 << 63))
        return self._read(
            order, batch_size, done, lambda i, count: np.random.default_rng([seed, i]).permutation(count)
        )

    def blocks(self, units: Host, batch_size: int, done: int = 0) -> Batches:
        """Mini-batches in the order of the units."""
        return self._read(units, batch_size, done, lambda i, count: np.arange(count))

    def _read(self, units: Host, size: int, done: int, order: Callable[[int, int], Host]) -> Batches:
        if not len(units):
            return
        windows = self.shards.windows(units)
        counts = [self.count(window) for window in windows]
        ends = np.cumsum(counts).tolist()
        # The samples that remain from a window, less than a mini-batch, are put before those of the next window.
        left = [0, *(end % size for end in ends[:-1])]
        # All buffers have the same shape, because JAX compiles a program for each shape.
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
            if self.id_count is not None:
                new = x[left[i] : left[i] + counts[i]]
                _check_ids(f"x{self.end}", int(new.min()), int(new.max()), self.id_count)
            if self.loss is not None:
                _check_targets(f"t{self.end}", t[left[i] : left[i] + counts[i]], self.loss)
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
            del x, t  # the buffer after the next one is read into this memory

    def parts(self) -> Iterator[Pair]:
        """All samples and targets in their order, a block at a time."""
        for unit, size in enumerate(self.shards.sizes):
            x, t = (
                np.empty((size, *shape[1:]), dtype)
                for shape, dtype in zip((self.shape, self.target_shape), self._dtypes, strict=True)
            )
            self.shards.read(self.units[unit : unit + 1], x, t)
            yield self._place(x), self._place(t)

    def fingerprint(self) -> str:
        """A checksum of the first, the middle and the last block. A checksum of all would have to read all files."""
        sizes, found = self.shards.sizes, []
        for unit in sorted({0, len(sizes) // 2, len(sizes) - 1}):
            x = np.empty((sizes[unit], *self.shape[1:]), self.shards.x_dtype)
            t = np.empty((sizes[unit], *self.target_shape[1:]), self.shards.t_dtype)
            self.shards.read(self.units[unit : unit + 1], x, t)
            found.append(fingerprint(x, t))
        return " ".join(found)


Samples: TypeAlias = InMemory | OnDisk


class Given(NamedTuple):
    """The datasets that the caller passed: the training set and the test set."""

    train: Dataset
    test: Dataset | None

    @property
    def named(self) -> dict[str, Dataset]:
        """The datasets that are not None, by the suffix of their arguments' names, such as "_train"."""
        return {f"_{name}": data for name, data in self._asdict().items() if data is not None}

    @property
    def arrays(self) -> dict[str, Array]:
        """The arrays by name, such as "x_train"; without datasets that are `Shards`."""
        pairs = {end: data for end, data in self.named.items() if not isinstance(data, Shards)}
        return {f"{kind}{end}": array for end, pair in pairs.items() for kind, array in zip("xt", pair, strict=True)}


class Sets(NamedTuple):
    """The samples of a run."""

    train: Samples
    units: Host
    """The indices of the units of the training samples."""
    held: Host
    """The indices of the units of the validation samples."""
    test: Samples | None


def given(data: Any, test: Any = None) -> Given:
    """The datasets in `data`: ``(x, t)``, `Shards`, or a pair of these, the training set and the test set.

    Raises
    ------
    TypeError
        If `data` has none of these forms.
    """

    def is_set(part: Any) -> bool:
        return isinstance(part, Shards) or (isinstance(part, (tuple, list)) and len(part) == 2)

    sets: Any = (data, test)
    if isinstance(data, (tuple, list)) and len(data) == 2:
        one, other = data
        if is_set(one) and (other is None or is_set(other)):
            if test is not None:
                raise TypeError("data holds a test set, and another one is given as test; leave one of them out")
            sets = one, other
        elif any(isinstance(part, (tuple, Shards)) for part in data):
            raise _no_data(data)
    elif not is_set(data):
        raise _no_data(data)
    if sets[1] is not None and not is_set(sets[1]):
        raise TypeError(f"test must be (x_test, t_test) or Shards, got {_kind(sets[1])}")
    found = Given(*[tuple(part) if isinstance(part, list) else part for part in sets])
    for name, array in found.arrays.items():
        if array is None:
            raise TypeError(f"{name} must be an array, got None")
        namespace(**{name: array})
    return found


def _no_data(data: Any) -> TypeError:
    more = f" of {len(data)}" if isinstance(data, (tuple, list)) else ""
    hint = ""
    if hasattr(data, "columns"):
        hint = "; for a table, pass (table[columns].to_numpy(), table[target].to_numpy())"
    elif hasattr(data, "shape"):
        hint = "; pass samples and targets as one tuple, (x, t)"
    elif not isinstance(data, (tuple, list, dict, str, bytes, type(None))):
        if hasattr(data, "__getitem__"):  # such as a torch.utils.data.Dataset
            hint = "; for a dataset of samples, pass tuple(map(numpy.stack, zip(*data)))"
        elif hasattr(data, "__iter__"):  # such as a DataLoader, or a generator
            hint = "; for an iterable of mini-batches, pass tuple(map(numpy.concatenate, zip(*data)))"
    return TypeError(
        "data must be (x_train, t_train), or with a test set ((x_train, t_train), (x_test, t_test)), as load_mnist "
        f"returns it; Shards can stand in place of a pair; got {_kind(data)}{more}{hint}"
    )


def _kind(thing: Any) -> str:
    return "None" if thing is None else type(thing).__name__


def namespace_of(sets: Given, **others: Array) -> Any:
    """The common namespace of all arrays in the datasets; None if there are no arrays."""
    return namespace(**sets.arrays, **others)


def hold_out(samples: Samples, share: float, rng: np.random.Generator) -> tuple[Host, Host]:
    """Split the units at random into training units and validation units.

    The validation units have about the fraction `share` of the samples.
    """
    order = rng.permutation(samples.units)
    count = samples.count(samples.units)
    wanted = round(share * count)
    if not wanted:
        raise ValueError(f"validation={share!r} of {count} samples selects no sample; pass a larger fraction")
    number = samples.first(order, wanted)
    if number == len(order):
        of = f" of {len(order)} whole blocks of Shards" if len(order) < count else f" of {count} samples"
        raise ValueError(
            f"validation={share!r}{of} leaves no samples to train with; pass a smaller fraction"
            + (", or a smaller buffer, which makes smaller blocks" if len(order) < count else "")
        )
    return np.sort(order[number:]), np.sort(order[:number])


def lender(shape: tuple[int, ...], dtype: str) -> Callable[[], Host]:
    """A function that returns uninitialized arrays of the same shape, and uses the memory of an earlier one again.

    The memory is used again when nothing refers to the earlier array. New memory from the system would take more time
    than the reading.
    """
    free: list[Host] = []

    def lend() -> Host:
        memory = free.pop() if free else np.empty(math.prod(shape) * np.dtype(dtype).itemsize, np.uint8)
        array = np.frombuffer(memory.data, dtype)  # views refer to this array, and not to `memory`
        weakref.finalize(array, free.append, memory).atexit = False
        return array.reshape(shape)

    return lend


def in_batches(order: Array, size: int) -> Iterator[Array]:
    """Divide `order` into mini-batches: a matrix with a full mini-batch in each row, then a smaller last one."""
    count = order.shape[0]
    whole = count // size * size
    if whole:
        yield namespace(order=order).reshape(order[:whole], (-1, size))
    if whole < count:
        yield order[None, whole:]


def samples_of(end: str, data: Dataset, network: Network, *, transformed: bool) -> Samples:
    """The samples and targets of a dataset, checked for the network.

    `end` is the suffix of the arguments' names, such as "_train".

    Raises
    ------
    TypeError, ValueError
        If the shape or dtype of the samples or targets is wrong for the network, or for every network.
    """
    floats = not transformed and network.stack.takes_floats
    takes_labels = network.stack.last.takes_labels
    check_samples(end, data, floats=floats, takes_labels=takes_labels)
    shape, target_shape = shapes(data)
    if not transformed:
        _check_fit(network, end, shape[1:])
    labels, outputs = takes_labels and len(target_shape) == 1, network.output_shape
    if not labels and target_shape[1:] != outputs:
        also = " or integer labels" if takes_labels else ""
        raise ValueError(
            f"t{end} has shape {target_shape}, expected {(target_shape[0], *outputs)}{also} for this network"
        )
    first = next(iter(network.params.values()))
    xp, where = namespace(params=first), _array.device(first)
    index = index_dtype(xp, where)
    if isinstance(data, Shards):
        real, stored = dtype_name(first.dtype), data.x_dtype
        samples = real if stored.kind == "f" else stored.name if transformed else dtype_name(index)
        ids = None if transformed else network.stack.id_count
        dtypes, loss = (samples, dtype_name(index) if labels else real), None if labels else network.stack.last
        return OnDisk(end, data, xp, where, dtypes, ids, loss)
    x, t = data
    return InMemory(x if transformed else network.as_input(x), xp.astype(t, index, copy=False) if labels else t)


def shapes(data: Dataset) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The shapes of all samples and of all targets of a dataset."""
    if isinstance(data, Shards):
        return data.x_shape, data.t_shape
    return tuple(data[0].shape), tuple(data[1].shape)


def check_samples(end: str, data: Dataset, *, floats: bool, takes_labels: bool) -> None:
    """Raise an error for samples and targets that no network can take."""
    shape, target_shape = shapes(data)
    if isinstance(data, Shards):
        xp, x_dtype, t_dtype = namespace(x=np.empty(0)), data.x_dtype, data.t_dtype
        way = "pass transform, such as partial(xpnet.scale_images, dtype='float32'), to scale integer images"
    else:
        xp, x_dtype, t_dtype = namespace(x=data[0], t=data[1]), data[0].dtype, data[1].dtype
        way = f"scale integer images first, such as xp.astype(x{end}, xp.float32) / 255"
    if len(shape) < 2 or 0 in shape:
        raise ValueError(
            f"x{end} must hold at least one sample of at least one number, along its first axis, shape (N, ...); got "
            f"{shape}"
        )
    if floats and not is_floating(xp, x_dtype):
        raise TypeError(f"x{end} must have a real floating dtype, got {x_dtype}; {way}")
    if target_shape[:1] != shape[:1]:
        raise ValueError(
            f"t{end} has shape {target_shape}, expected ({shape[0]},) or ({shape[0]}, K): a target for each "
            f"sample of x{end}"
        )
    if takes_labels and len(target_shape) == 1 and not is_integral(xp, t_dtype):
        raise TypeError(f"t{end}: labels must have an integer dtype, got {t_dtype}; cast them first")
    if not is_real(xp, t_dtype):
        raise TypeError(f"t{end} must hold real numbers, got {t_dtype} of shape {target_shape}; convert it first")


def check_values(network: Network, sets: dict[str, Dataset], *, transformed: bool) -> None:
    """Raise an error for labels without a class, ids without a row in the `Embedding`, and targets out of range.

    The keys of `sets` are the suffixes of the arguments' names, such as "_train". Values in memory are read in one
    transfer. The ids of `Shards`, and targets that are not labels, are checked when they are read, see `OnDisk`.
    """
    last, rows, classes = network.stack.last, network.stack.id_count, network.output_shape[-1]
    labeled = [end for end, data in sets.items() if last.takes_labels and len(shapes(data)[1]) == 1]
    looked_up = [] if rows is None or transformed else [e for e, data in sets.items() if not isinstance(data, Shards)]
    targets = [data.targets() if isinstance(data := sets[end], Shards) else [data[1]] for end in labeled]
    ids = [[pair[0]] for end in looked_up if not isinstance(pair := sets[end], Shards)]
    for end, (least, most) in zip(labeled, value_ranges(*targets, ignore=last.ignore), strict=True):
        check_labels(f"t{end}", least, most, classes)
    for end, data in sets.items():
        if not (end in labeled or isinstance(data, Shards)):
            _check_targets(f"t{end}", data[1], last)
    for end, (least, most) in zip(looked_up, value_ranges(*ids), strict=True):
        _check_ids(f"x{end}", least, most, rows)


def _check_targets(name: str, t: Array, last: Loss) -> None:
    """Raise an error for targets, not labels, that the loss cannot take, such as negative probabilities."""
    low, high = last.target_range
    if (low, high) == (-math.inf, math.inf):
        return
    t = _numbers(t)
    ((least, most),) = value_ranges([t])
    if not low <= least <= most <= high:
        allowed = f"at least {low:g}" if high == math.inf else f"from {low:g} to {high:g}"
        wrong = most if least >= low else least
        raise ValueError(f"{name} contains {wrong:g}, but {type(last).__name__} takes targets {allowed}")
    if last.takes_labels and not value_ranges([namespace(t=t).max(t, axis=-1)])[0][0] > 0:
        raise ValueError(
            f"{name} has a row of zeros, a sample without a class; leave the sample out, or pass labels and "
            "nn.CrossEntropy(ignore_index=-1)"
        )


def _numbers(t: Array) -> Array:
    """`t`, with bools converted to integers: the standard has no minimum of bools."""
    xp = namespace(t=t)
    return t if is_floating(xp, t.dtype) or is_integral(xp, t.dtype) else xp.astype(t, xp.int8)


def check_finite(end: str, samples: Samples, transform: Callable[[Array], Array] | None = None) -> None:
    """Raise a `NotFinite` error if the samples or the targets contain NaN or an infinite number.

    This reads all samples, so it is called only if a loss or the scores are not finite.
    """
    start = 0
    for x, t in samples.parts():
        for name, array in ((f"x{end}", x), (f"t{end}", t)):
            _check_rows(name, array, start)
        if transform:
            _check_rows(f"x{end} after transform", transform(x), start)
        start += x.shape[0]


def _check_rows(name: str, array: Array, start: int) -> None:
    xp = namespace(array=array)
    if not is_floating(xp, array.dtype):
        return
    each = to_numpy(xp.all(xp.reshape(xp.isfinite(array), (array.shape[0], -1)), axis=1))
    if not each.all():
        row = int(each.argmin())
        nan = np.isnan(to_numpy(array[row, ...])).any()
        raise NotFinite(
            f"{name} contains {'NaN' if nan else 'an infinite number'} in row {start + row}; remove the row, or "
            "replace the number"
        )


def _check_ids(name: str, least: int, most: int, rows: Any) -> None:
    if least < 0 or most >= rows:
        raise ValueError(
            f"{name} contains the id {least if least < 0 else most}, but the network's Embedding has {rows} rows "
            f"(ids 0 to {rows - 1})"
        )


def _check_fit(network: Network, end: str, sample: tuple[int, ...]) -> None:
    """Raise an error if the network was not made for samples of this shape."""
    if sample != network.input_shape:
        made_for = {key: tuple(p.shape) for key, p in network.params.items()}
        try:
            fits = network.stack.param_shapes(sample) == made_for
        except ValueError as error:
            raise ValueError(f"x{end}: {error}") from None
        if not fits:
            raise ValueError(
                f"x{end} has samples of shape {sample}, but the network was made for {network.input_shape}"
            )


def check_batches(
    network: Network, sample: tuple[int, ...], count: int, batch_size: int, accumulate: int, processes: int
) -> None:
    """Raise an error if the parts of a mini-batch, by processes and `accumulate`, are too small for a layer."""
    least = network.stack.least_batch(sample)
    for size in {min(batch_size, count), count % batch_size or batch_size}:
        for share in {size // processes, -(-size // processes)} - {0}:
            part = -(-share // accumulate)
            smallest = share % part or part
            if smallest < least:
                shared = f"shared by {processes} processes, " if processes > 1 else ""
                raise ValueError(
                    f"batch_size: {count} samples in mini-batches of {batch_size}, {shared}{accumulate} parts each, "
                    f"leave a part with {smallest}, but normalization over the batch needs at least {least}; choose "
                    "another batch_size"
                )

"""Sets on disk: samples and their targets in arrays and files, read a bounded part at a time.

What is read and shuffled is a *piece*, a run of neighbouring rows: large enough that a disk or a chunked array is
read at its own pace, small enough that a buffer holds many, which is what mixes the samples.
"""

import glob
import math
import os
import re
from collections.abc import Callable, Coroutine, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from itertools import islice, pairwise
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt
from numpy.lib import format as npy

from .._validation import check_integer
from .idx import inflating, open_idx

__all__ = ["Shards", "ahead"]

T = TypeVar("T")
Host: TypeAlias = npt.NDArray[Any]
Dtype: TypeAlias = np.dtype[Any]
Runs: TypeAlias = list[tuple[int, int]]
"""First rows, and the rows after the last, of neighbouring rows that are read at once."""

_BUFFER = 32 << 20
"""Bytes of a buffer, where no size is given."""

_PIECES = 16
"""About how many pieces a buffer holds."""

_NPY_MAGIC, _GZIP_MAGIC = b"\x93NUMPY", b"\x1f\x8b"

_SCRATCH = 1 << 20
"""Bytes that are read at a time where they are not yet what goes into the array."""


def _parts(runs: Runs, out: Host) -> Iterator[tuple[int, int, Host]]:
    """Each run, and the rows of `out` where it belongs."""
    row = 0
    for first, last in runs:
        yield first, last, out[row : row + last - first]
        row += last - first


def _npy_header(path: Path, length: int) -> tuple[Dtype, tuple[int, ...], int, bool]:
    """The dtype, the shape, where the elements begin, and whether the first dimension is the fastest."""
    with path.open("rb") as file:
        try:
            version = npy.read_magic(file)
            read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
            shape, fortran, dtype = read(file)
        except Exception as error:  # whatever its parser makes of a damaged one
            raise ValueError(f"its header is damaged: {error}") from error
        offset = file.tell()
    if dtype.hasobject:
        raise ValueError("it holds Python objects, which are never unpickled")
    size = math.prod(shape) * dtype.itemsize
    if min(shape, default=0) < 0 or offset + size != length:
        raise ValueError(
            f"its header announces shape {shape} of {dtype.newbyteorder('=')}, {size} bytes, but "
            f"{length - offset} follow"
        )
    return dtype, shape, offset, fortran and len(shape) > 1


class _File:
    """One .npy or IDX file.

    Nothing stays open between reads, and (but for Fortran's order) nothing is mapped: a file that is cut short
    meanwhile is an error, not the end of the process.
    """

    def __init__(self, name: str, path: Path) -> None:
        self.name, self.path = f"{name}: {path}", path
        if path.is_dir():
            raise ValueError(
                f"Shards: {self.name} is a folder, expected .npy and IDX files: pass its own path, or, if a library "
                "wrote it, the array that the library opens there"
            )
        if not path.is_file():
            raise FileNotFoundError(f"Shards: {name}: there is no file {path}: check the path")
        self.fortran = False
        with path.open("rb") as file:
            self.length = os.fstat(file.fileno()).st_size
            magic = file.read(len(_NPY_MAGIC))
        self.zipped = magic[:2] == _GZIP_MAGIC
        try:
            if magic == _NPY_MAGIC:
                self.stored, self.shape, self.offset, self.fortran = _npy_header(path, self.length)
            else:
                with open_idx(path) as (source, self.stored, self.shape):
                    self.offset = source.tell()
        except ValueError as error:
            raise ValueError(
                f"Shards: {self.name} cannot be used, expected a .npy or IDX file of numbers: {error}"
            ) from error
        # A gzipped file can only be read from its beginning.
        self.chunk = max(self.shape[0], 1) if self.zipped else 1

    def read(self, runs: Runs, out: Host) -> None:
        """Runs of rows, one after the other, into `out`, of as many rows."""
        row = math.prod(self.shape[1:]) * self.stored.itemsize
        try:
            with self.path.open("rb") as file:
                if os.fstat(file.fileno()).st_size != self.length:
                    raise ValueError(self._changed())
                if self.fortran:
                    mapped = np.memmap(file, self.stored, "r", self.offset, self.shape, "F")
                    for first, last, part in _parts(runs, out):
                        part[...] = mapped[first:last]
                    return
                with inflating(file, self.path) if self.zipped else nullcontext(file) as source:
                    for first, last, part in _parts(runs, out):
                        source.seek(self.offset + first * row)
                        if self.zipped or out.dtype != self.stored or not out.flags.c_contiguous:
                            self._convert(source, part)
                        else:
                            self._fill(source, part)
                        if self.zipped and last == self.shape[0] and source.read(1):  # what checks the sum at the end
                            raise ValueError(self._changed())
        except FileNotFoundError:
            raise FileNotFoundError(
                f"Shards: {self.name} is gone: leave the files where they are until the end"
            ) from None
        except ValueError as error:
            raise ValueError(f"Shards: {error}") from error

    def _convert(self, source: BinaryIO, out: Host) -> None:
        """Fill `out` through a small array of what is stored."""
        count = max(1, _SCRATCH * len(out) // (out.size * self.stored.itemsize))
        scratch = np.empty((min(count, len(out)), *out.shape[1:]), self.stored)
        for i in range(0, len(out), len(scratch)):
            rows = out[i : i + len(scratch)]
            part = scratch[: len(rows)]
            self._fill(source, part)
            rows[...] = part

    def _fill(self, source: BinaryIO, out: Host) -> None:
        left = out.reshape(-1).view(np.uint8).data
        while left:
            count = source.readinto(left)  # type: ignore[attr-defined]
            if not count:
                raise ValueError(self._changed())
            left = left[count:]

    def _changed(self) -> str:
        return (
            f"{self.name} does not hold what its header announced when it was opened, {self.shape} in a file of "
            f"{self.length} bytes: leave the files as they are until the end, or copy this one again"
        )


class _Array:
    """An array, in memory or on disk, that gives rows by slices."""

    def __init__(self, name: str, array: Any) -> None:
        self.name, self.array = name, array
        try:
            self.shape, self.stored = tuple(map(int, array.shape)), np.dtype(array.dtype)
        except (AttributeError, TypeError):
            raise TypeError(
                f"Shards: {name} is of type {type(array).__name__}, expected an array with a shape and NumPy's "
                "dtypes that gives rows by slices (NumPy, HDF5, Zarr), a path, a pattern with *, or a list of these"
            ) from None
        chunks = getattr(array, "chunks", None)
        self.chunk = chunks[0] if chunks and isinstance(chunks[0], int) else 1
        # Zarr's, whose store is a folder of this machine: what comes over a network is better awaited.
        folder = getattr(getattr(array, "store", None), "root", None)
        self.at_once = isinstance(folder, Path) and hasattr(array, "async_array")

    def read(self, runs: Runs, out: Host) -> None:
        """Runs of rows, one after the other, into `out`, of as many rows."""
        if self.at_once and not _in_loop():
            _run_here(self._await(runs, out))
            return
        direct = getattr(self.array, "read_direct", None) if out.flags.c_contiguous else None
        for first, last, part in _parts(runs, out):
            if direct:  # HDF5, without an array in between
                direct(part, np.s_[first:last])
            else:
                self._put(self.array[first:last], part)

    async def _await(self, runs: Runs, out: Host) -> None:
        for first, last, part in _parts(runs, out):
            self._put(await self.array.async_array.getitem(slice(first, last)), part)

    def _put(self, rows: Host, out: Host) -> None:
        if rows.shape != out.shape:
            raise ValueError(f"Shards: {self.name} gave rows of shape {rows.shape}, expected {out.shape}")
        out[...] = rows


def _in_loop() -> bool:
    """Whether this thread runs an event loop, as a notebook does: a second one is refused there."""
    import asyncio

    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def _run_here(work: Coroutine[Any, Any, None]) -> None:
    """Do asynchronous work in this thread, with what it would do in other threads.

    Zarr changes threads several times for each chunk, and each change waits for the thread that trains, or makes it
    wait.
    """
    import asyncio

    def at_once(_: object, function: Callable[..., Any], *args: Any) -> asyncio.Future[Any]:
        future = loop.create_future()
        try:
            future.set_result(function(*args))
        except Exception as error:
            future.set_exception(error)
        return future

    loop = asyncio.new_event_loop()
    loop.run_in_executor = at_once  # type: ignore[assignment, method-assign]
    try:
        loop.run_until_complete(work)
    finally:
        loop.close()


def _natural(path: Path) -> tuple[list[str | int], str]:
    """What sorts x-2 before x-10."""
    return [int(part) if i % 2 else part for i, part in enumerate(re.split(r"(\d+)", str(path)))], str(path)


def _open(name: str, source: Any) -> Iterator[_File | _Array]:
    """The shards of what was passed as `name`."""
    if isinstance(source, (list, tuple)):
        for i, item in enumerate(source):
            yield from _open(f"{name}[{i}]", item)
    elif isinstance(source, (str, os.PathLike)):
        path = Path(source)
        if path.is_dir():
            files = [file for file in path.iterdir() if not file.name.startswith(".")]
        elif "*" in str(path):
            files = [Path(file) for file in glob.glob(str(path), recursive=True)]
        else:
            files = [path]
        if not files:
            raise FileNotFoundError(f"Shards: {name}: {path} has no files: check the path, or the pattern")
        for file in sorted(files, key=_natural):
            yield _File(name, file)
    else:
        yield _Array(name, source)


class _Rows:
    """The shards of samples, or of targets, one after the other."""

    def __init__(self, name: str, source: Any) -> None:
        shards = list(_open(name, source))
        if not shards:
            raise ValueError(f"Shards: {name} is an empty list: pass at least one array or path")
        for shard in shards:
            if not shard.shape or not math.prod(shard.shape[1:]):
                raise ValueError(
                    f"Shards: {shard.name} has shape {shard.shape}, expected samples along the first axis"
                )
            if shard.stored.kind not in "iuf":
                raise TypeError(
                    f"Shards: {shard.name} has dtype {shard.stored}, expected integers or floating-point numbers: "
                    "convert it before it is stored"
                )
            kind, expected = (_kind(shard), _kind(shards[0]))
            if kind != expected:
                raise ValueError(
                    f"Shards: {shard.name} has {kind}, but {shards[0].name} has {expected}: pass shards of one kind"
                )
        self.shards = [shard for shard in shards if shard.shape[0]]
        self.starts = np.cumsum([0, *(shard.shape[0] for shard in self.shards)])
        self.shape = (int(self.starts[-1]), *shards[0].shape[1:])
        self.dtype = shards[0].stored.newbyteorder("=")

    def at(self, row: int) -> int:
        """The number of the shard that has this row."""
        return int(np.searchsorted(self.starts, row, side="right")) - 1

    def read(self, edges: Host, pieces: Host, out: Host) -> None:
        """Pieces, each from one edge to the next, into `out`; those that follow each other in one shard at once."""
        firsts, lasts = edges[pieces], edges[pieces + 1]
        at = np.searchsorted(self.starts, firsts, side="right") - 1
        new = np.r_[True, at[1:] != at[:-1]][: len(pieces)]  # another shard
        apart = new.copy()
        apart[1:] |= firsts[1:] != lasts[:-1]
        row = 0
        for i, j in pairwise([*np.flatnonzero(new).tolist(), len(pieces)]):
            start, within = self.starts[at[i]], np.flatnonzero(apart[i:j])
            begins = firsts[i:j][within] - start
            ends = lasts[i:j][np.r_[within[1:], j - i] - 1] - start
            count = int((ends - begins).sum())
            self.shards[at[i]].read(list(zip(begins.tolist(), ends.tolist(), strict=True)), out[row : row + count])
            row += count


def _kind(shard: _File | _Array) -> str:
    return f"samples of shape {shard.shape[1:]} and dtype {shard.stored.newbyteorder('=')}"


class Shards:
    """Samples and their targets that stay on disk and are read a part at a time, for `fit`, `train` and `evaluate`.

    Parameters
    ----------
    x, t : array, path, or list of these
        Samples, shape (N, ...), and their targets, shape (N,) or (N, K), integers or floating-point numbers. Each is
        an array that gives rows by slices: a `numpy.memmap`, an HDF5 dataset, a Zarr array; or the path of a .npy or
        IDX file; or that of a folder, for all files in it; or a pattern such as ``"folder/x-*.npy"``; or a list, for
        several one after the other. Files of a folder or pattern are taken in the order of their names, numbers in
        them by size. Samples and targets need not be divided in the same way. A gzipped IDX file of samples is read
        whole.
    buffer : int, optional
        How many samples are held, and shuffled, at a time. As many as take 32 MiB on disk where not given, or what
        must be read together if that is more. Training holds two buffers: one in use, one being read.

    Attributes
    ----------
    x_shape, t_shape : tuple of int
        (N, ...).
    x_dtype, t_dtype : numpy.dtype
        As stored, in native byte order.
    buffer : int
        No more than N.
    sizes : numpy.ndarray of int
        How many samples each piece has. A piece is a run of neighbouring samples, about a sixteenth of a buffer and
        whole chunks of a chunked array: what is read at a time.

    Raises
    ------
    FileNotFoundError
        There is no such file, folder, or file for a pattern.
    TypeError, ValueError
        An argument does not fit, or a file is damaged or not of its format. Nothing is ever unpickled.

    Notes
    -----
    A new epoch takes the pieces in a new order, fills a buffer with those that follow each other, and shuffles the
    samples in it.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> import numpy as np
    >>> from xpnet.datasets import Shards
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     for i in range(3):
    ...         np.save(Path(folder) / f"x-{i}.npy", np.full((100, 2), i, dtype=np.float32))
    ...     shards = Shards(f"{folder}/x-*.npy", np.arange(300), buffer=100)
    ...     x, t = np.empty((100, 2), np.float32), np.empty(100, int)
    ...     rows = shards.read(np.asarray([20, 41]), x, t)  # two of its pieces, into these arrays
    >>> shards.x_shape, len(shards.sizes), rows
    ((300, 2), 51, 12)
    """

    def __init__(self, x: Any, t: Any, *, buffer: int | None = None) -> None:
        if buffer is not None:
            buffer = check_integer("Shards: buffer", buffer, 1)
        self._x, self._t = _Rows("x", x), _Rows("t", t)
        self.x_shape, self.t_shape = self._x.shape, self._t.shape
        self.x_dtype, self.t_dtype = self._x.dtype, self._t.dtype
        n = self.x_shape[0]
        if n != self.t_shape[0]:
            raise ValueError(
                f"Shards: x has {n} samples, shape {self.x_shape}, but t has {self.t_shape[0]}, shape "
                f"{self.t_shape}: pass a target for each sample"
            )
        if not n:
            raise ValueError(f"Shards: x is empty, shape {self.x_shape}: pass at least one sample")
        row = (
            math.prod(self.x_shape[1:]) * self.x_dtype.itemsize + math.prod(self.t_shape[1:]) * self.t_dtype.itemsize
        )
        self.buffer = min(max(_BUFFER // row, 1) if buffer is None else buffer, n)
        self._edges = self._cut(max(self.buffer // _PIECES, 1))
        self.sizes = np.diff(self._edges)
        i = int(np.argmax(self.sizes))
        largest = int(self.sizes[i])
        if largest > self.buffer and buffer is not None:
            shard = self._x.shards[self._x.at(self._edges[i])]
            raise ValueError(
                f"Shards: buffer={buffer} is less than {largest}, the samples that can only be read together, as a "
                f"chunk or a gzipped file, of {shard.name}: pass buffer={largest} or more"
            )
        self.buffer = max(self.buffer, largest)

    def _cut(self, target: int) -> Host:
        """The rows where pieces of about `target` samples begin, and N: each in one shard of x and one of t."""
        cuts = []
        for first, last in pairwise(np.union1d(self._x.starts, self._t.starts).tolist()):
            i = self._x.at(first)
            x, start = self._x.shards[i], int(self._x.starts[i])
            unit = min(x.chunk, x.shape[0])
            both = math.lcm(unit, self._t.shards[self._t.at(first)].chunk)
            unit = both if both <= target else unit
            step = unit * max(round(target / unit), 1)
            cuts.append(np.arange(first - (first - start) % step, last, step).clip(min=first))
        return np.concatenate([*cuts, [len(self)]])

    def __len__(self) -> int:
        return self.x_shape[0]

    def windows(self, pieces: Host) -> list[Host]:
        """Cut pieces, in the order given, into groups that a buffer holds.

        Parameters
        ----------
        pieces : numpy.ndarray of int
            Their numbers, 0 to ``len(sizes) - 1``.

        Returns
        -------
        list of numpy.ndarray of int
            One after the other they are `pieces`; each has at least one, and at most `buffer` samples.
        """
        cuts, held = [], 0
        for i, size in enumerate(self.sizes[pieces].tolist()):
            if held + size > self.buffer:
                cuts.append(i)
                held = 0
            held += size
        return np.split(pieces, cuts) if len(pieces) else []

    def read(self, pieces: Host, x: Host, t: Host, start: int = 0) -> int:
        """Read pieces, in the order given, into rows of arrays, from row `start` on.

        Parameters
        ----------
        pieces : numpy.ndarray of int
            Their numbers.
        x, t : numpy.ndarray
            What is written into, converted to its dtype.
        start : int, default 0

        Returns
        -------
        int
            The row after the last.

        Raises
        ------
        FileNotFoundError, ValueError
            A file is gone, or is not as it was when this was made.
        """
        end = start + int(self.sizes[pieces].sum())
        for name, rows, out in (("x", self._x, x), ("t", self._t, t)):
            if len(out) < end or out.shape[1:] != rows.shape[1:]:
                raise ValueError(
                    f"Shards: {name} has shape {out.shape}, expected at least {(end, *rows.shape[1:])} for these "
                    f"pieces from row {start} on"
                )
            rows.read(self._edges, pieces, out[start:end])
        return end

    def targets(self) -> Iterator[Host]:
        """All targets, a buffer at a time."""
        for window in self.windows(np.arange(len(self.sizes))):
            t = np.empty((int(self.sizes[window].sum()), *self.t_shape[1:]), self.t_dtype)
            self._t.read(self._edges, window, t)
            yield t


def ahead(makers: Iterable[Callable[[], T]]) -> Iterator[T]:
    """What callables make, in order, each made in one other thread while the one before it is in use.

    Never more than one is made ahead. An error of a callable is raised where its result would have come. If the
    iterator is closed early, the thread ends with the callable that it is at, and nobody waits for it.
    """
    waiting = iter(makers)
    pool = ThreadPoolExecutor(1, thread_name_prefix="xpnet-ahead")
    try:
        making = [pool.submit(maker) for maker in islice(waiting, 1)]
        while making:
            made = making.pop().result()
            making += [pool.submit(maker) for maker in islice(waiting, 1)]
            yield made
            del made  # it may be large, and the next is not there yet
    finally:
        pool.shutdown(wait=False, cancel_futures=True)

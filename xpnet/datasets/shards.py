"""Datasets on disk: samples and targets in arrays and files, of which a bounded part is read at a time.

Samples are read and shuffled in *blocks* (`pieces` in the code). A block is a number of neighboring rows. It is
large enough for fast reading, and small enough that a buffer contains many blocks, so that the samples are mixed.
"""

import glob
import math
import os
import re
from collections.abc import Callable, Coroutine, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from itertools import islice, pairwise
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt
from numpy.lib import format as npy

from .._validation import check_integer
from ..backends.base import one_line
from .idx import inflating, open_idx

__all__ = ["Shards", "ahead"]

T = TypeVar("T")
Host: TypeAlias = npt.NDArray[Any]
Dtype: TypeAlias = np.dtype[Any]
Runs: TypeAlias = list[tuple[int, int]]
"""Ranges of neighboring rows that are read together: the first row, and the row after the last."""

_BUFFER = 32 << 20
"""The default size of a buffer in bytes."""

_PIECES = 16
"""The approximate number of blocks in a buffer."""

_NPY_MAGIC, _GZIP_MAGIC = b"\x93NUMPY", b"\x1f\x8b"

_SCRATCH = 1 << 20
"""The number of bytes read at a time, if they have to be converted."""


def _parts(runs: Runs, out: Host) -> Iterator[tuple[int, int, Host]]:
    """Each range of rows, and the part of `out` for it."""
    row = 0
    for first, last in runs:
        yield first, last, out[row : row + last - first]
        row += last - first


def _npy_header(path: Path, length: int) -> tuple[Dtype, tuple[int, ...], int, bool]:
    """The dtype, the shape, the position of the first element, and whether the array is in Fortran order."""
    with path.open("rb") as file:
        try:
            version = npy.read_magic(file)
            read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
            shape, fortran, dtype = read(file)
        except Exception as error:  # NumPy's parser may raise any error for a damaged header
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

    The file is closed between reads, and it is not memory-mapped, except for arrays in Fortran order. So a file that
    is truncated during the run is an error, and does not crash the process.
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
        """Read ranges of rows, one after the other, into `out`, which has the same number of rows."""
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
                        if self.zipped and last == self.shape[0] and source.read(1):  # checks gzip's sum
                            raise ValueError(self._changed())
        except FileNotFoundError:
            raise FileNotFoundError(
                f"Shards: {self.name} is gone: leave the files where they are until the end"
            ) from None
        except ValueError as error:
            raise ValueError(f"Shards: {error}") from error

    def _convert(self, source: BinaryIO, out: Host) -> None:
        """Fill `out` with converted data, through a small array of the stored dtype."""
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
    """An array, in memory or on disk, whose slices are rows."""

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
        # Only for Zarr arrays in a folder of this machine; a store on a network is read in Zarr's own way.
        folder = getattr(getattr(array, "store", None), "root", None)
        self.at_once = isinstance(folder, Path) and hasattr(array, "async_array")

    def read(self, runs: Runs, out: Host) -> None:
        """Read ranges of rows, one after the other, into `out`, which has the same number of rows."""
        if self.at_once and not _in_loop():
            _run_here(self._await(runs, out))
            return
        direct = getattr(self.array, "read_direct", None) if out.flags.c_contiguous else None
        for first, last, part in _parts(runs, out):
            if direct:  # HDF5 reads into `out` without a temporary array
                with self._reading():
                    direct(part, np.s_[first:last])
                continue
            with self._reading():
                rows = self.array[first:last]
            self._put(rows, part)

    async def _await(self, runs: Runs, out: Host) -> None:
        for first, last, part in _parts(runs, out):
            with self._reading():
                rows = await self.array.async_array.getitem(slice(first, last))
            self._put(rows, part)

    @contextmanager
    def _reading(self) -> Iterator[None]:
        """Name the array in any error that its library raises, such as for a damaged file."""
        try:
            yield
        except MemoryError:
            raise
        except Exception as error:
            raise OSError(f"Shards: {self.name} cannot be read: {one_line(error)}") from error

    def _put(self, rows: Host, out: Host) -> None:
        if rows.shape != out.shape:
            raise ValueError(f"Shards: {self.name} gave rows of shape {rows.shape}, expected {out.shape}")
        out[...] = rows


def _in_loop() -> bool:
    """Whether this thread runs an event loop, as in a notebook. A second event loop in it would be an error."""
    import asyncio

    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def _run_here(work: Coroutine[Any, Any, None]) -> None:
    """Run a coroutine in this thread only, with the work that it would give to other threads.

    Zarr changes threads several times for each chunk. At each change, Zarr waits for the thread that trains, or the
    thread that trains waits for Zarr.
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
    """A key that sorts x-2 before x-10."""
    return [int(part) if i % 2 else part for i, part in enumerate(re.split(r"(\d+)", str(path)))], str(path)


def _open(name: str, source: Any) -> Iterator[_File | _Array]:
    """The shards of `source`, the value of the argument `name`."""
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
        """The index of the shard that contains this row."""
        return int(np.searchsorted(self.starts, row, side="right")) - 1

    def read(self, edges: Host, pieces: Host, out: Host) -> None:
        """Read blocks into `out`. Block i is the rows from edge i to the next edge; neighbors are read together."""
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
    """A dataset that stays on disk and is read one buffer at a time, for `fit`, `train` and `evaluate`.

    Parameters
    ----------
    x, t : array, path, or list of these
        Samples, shape (N, ...), and targets, shape (N,) or (N, K), integers or floating-point numbers. `x` and `t`
        are each one of these:

        - an array whose slices are rows: a `numpy.memmap`, an HDF5 dataset or a Zarr array;
        - the path of a .npy or IDX file;
        - the path of a folder, for all files in the folder;
        - a pattern such as ``"folder/x-*.npy"``;
        - a list of these, one after the other.

        Files of a folder or pattern are sorted by name, and numbers in names by value. Samples and targets may be
        divided differently. A gzipped IDX file of samples is read as a whole.
    buffer : int, optional
        The number of samples that are in memory and shuffled at a time. Default: the number that takes 32 MiB on
        disk, or more if more samples must be read together. Training holds two buffers: one is in use while the other
        is read.

    Attributes
    ----------
    x_shape, t_shape : tuple of int
        The shapes of all samples and of all targets, (N, ...).
    x_dtype, t_dtype : numpy.dtype
        The stored dtypes, in native byte order.
    buffer : int
        The number of samples in a buffer, at most N.
    sizes : numpy.ndarray of int
        The number of samples in each block. A block is a number of neighboring samples that are read together, about
        a sixteenth of a buffer. Blocks of an array with chunks consist of whole chunks.

    Raises
    ------
    FileNotFoundError
        If a file or folder does not exist, or if no file matches a pattern.
    OSError
        If the library of an array cannot read it, such as a damaged file. Rows are read during training.
    TypeError, ValueError
        If an argument has a wrong type or shape, or if a file is damaged or has an unknown format. Nothing is ever
        unpickled.

    Notes
    -----
    In each epoch, the blocks are shuffled. Each buffer is filled with the next blocks, and the samples in the buffer
    are shuffled.

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
        """The first rows of blocks of about `target` samples, and N. Each block is in one shard of x and one of t."""
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
        """Divide blocks, in the given order, into groups that fit into a buffer.

        Parameters
        ----------
        pieces : numpy.ndarray of int
            The indices of the blocks, from 0 to ``len(sizes) - 1``.

        Returns
        -------
        list of numpy.ndarray of int
            The groups: `pieces`, divided. Each group has at least one block, and at most `buffer` samples.
        """
        cuts, held = [], 0
        for i, size in enumerate(self.sizes[pieces].tolist()):
            if held + size > self.buffer:
                cuts.append(i)
                held = 0
            held += size
        return np.split(pieces, cuts) if len(pieces) else []

    def read(self, pieces: Host, x: Host, t: Host, start: int = 0) -> int:
        """Read blocks, in the given order, into the rows of two arrays, beginning at row `start`.

        Parameters
        ----------
        pieces : numpy.ndarray of int
            The indices of the blocks.
        x, t : numpy.ndarray
            The arrays to write into. Values are converted to their dtypes.
        start : int, default 0
            The first row to write.

        Returns
        -------
        int
            The row after the last row that was written.

        Raises
        ------
        FileNotFoundError, ValueError
            If a file was deleted or changed after the `Shards` object was created.
        """
        end = start + int(self.sizes[pieces].sum())
        for name, rows, out in (("x", self._x, x), ("t", self._t, t)):
            if len(out) < end or out.shape[1:] != rows.shape[1:]:
                raise ValueError(
                    f"Shards: {name} has shape {out.shape}, expected at least {(end, *rows.shape[1:])} for these "
                    f"blocks from row {start} on"
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
    """The results of callables, in order. While one result is in use, a second thread computes the next one.

    At most one result is computed in advance. An error in a callable is raised in place of its result. If the
    iterator is closed early, the thread ends after its current callable, and `close` does not wait for the thread.
    """
    waiting = iter(makers)
    pool = ThreadPoolExecutor(1, thread_name_prefix="xpnet-ahead")
    try:
        making = [pool.submit(maker) for maker in islice(waiting, 1)]
        while making:
            made = making.pop().result()
            making += [pool.submit(maker) for maker in islice(waiting, 1)]
            yield made
            del made  # the result may be large, so free it before waiting for the next one
    finally:
        pool.shutdown(wait=False, cancel_futures=True)

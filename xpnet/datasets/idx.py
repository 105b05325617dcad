"""IDX, the file format of MNIST and similar datasets: a header with type and shape, then the elements, big-endian.

    byte 0, 1    zero
    byte 2       the type of the elements (`IDX_DTYPES`)
    byte 3       the number of dimensions
    then         each dimension, an unsigned 32-bit number
    then         the elements, the last dimension fastest

A file may come from anywhere, so the header is checked before it is used. The reader allocates memory for the bytes
that are in the file, not for the bytes that the header announces.
"""

import gzip
import math
import os
import stat
import struct
import sys
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
import numpy.typing as npt

IDX_DTYPES: dict[int, np.dtype[Any]] = {
    0x08: np.dtype(">u1"),
    0x09: np.dtype(">i1"),
    0x0B: np.dtype(">i2"),
    0x0C: np.dtype(">i4"),
    0x0D: np.dtype(">f4"),
    0x0E: np.dtype(">f8"),
}
"""The type codes of the format, and the dtypes in the file."""

_GZIP_MAGIC = b"\x1f\x8b"
_MAX_NDIM = 64  # the limit of NumPy
_MAX_DEFLATE_RATIO = 1032  # deflate needs at least 2 bits for 258 bytes
_CHUNK = 1 << 18
_AGAIN = "download or copy it again"


def _read_up_to(source: BinaryIO, size: int) -> bytearray:
    """Read `size` bytes, or fewer if the file ends."""
    data = bytearray()
    while len(data) < size:
        chunk = source.read(min(size - len(data), _CHUNK))
        if not chunk:
            break
        data += chunk
    return data


def _plural(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def _read_header(source: BinaryIO, path: Path) -> tuple[np.dtype[Any], tuple[int, ...]]:
    """The dtype in the file, and the shape."""
    magic = bytes(_read_up_to(source, 4))
    if not magic:
        raise ValueError(f"read_idx: {path} is empty, expected an IDX header: {_AGAIN}")
    if len(magic) < 4 or magic[:2] != b"\0\0":
        raise ValueError(
            f"read_idx: {path} is not an IDX file, it begins with bytes {magic.hex(' ')}, expected 00 00, a "
            "type and a number of dimensions: pass an IDX file, plain or gzipped"
        )
    code, ndim = magic[2], magic[3]
    if code not in IDX_DTYPES:
        known = ", ".join(f"0x{code:02x} {dtype.name}" for code, dtype in IDX_DTYPES.items())
        raise ValueError(
            f"read_idx: {path} has the unknown type code 0x{code:02x}, expected one of {known}: {_AGAIN}"
        )
    if not 1 <= ndim <= _MAX_NDIM:
        raise ValueError(
            f"read_idx: {path} announces {_plural(ndim, 'dimension')}, expected 1 to {_MAX_NDIM}: {_AGAIN}"
        )
    sizes = _read_up_to(source, 4 * ndim)
    if len(sizes) < 4 * ndim:
        raise ValueError(
            f"read_idx: {path} ends within its header, after {4 + len(sizes)} of {4 + 4 * ndim} bytes: {_AGAIN}"
        )
    return IDX_DTYPES[code], struct.unpack(f">{ndim}I", sizes)


def _check(
    source: BinaryIO, path: Path, least: int, most: int, ndim: int | None, dtype: np.dtype[Any] | None
) -> tuple[np.dtype[Any], tuple[int, ...]]:
    """The dtype in the file, and the shape; an error if they do not fit a file of `least` to `most` bytes."""
    stored, shape = _read_header(source, path)
    native = stored.newbyteorder("=")
    if dtype is not None and native != dtype:
        raise ValueError(
            f"read_idx: {path} holds {native}, shape {shape}, but dtype={dtype} was expected: pass another "
            "file or dtype"
        )
    if ndim is not None and len(shape) != ndim:
        raise ValueError(
            f"read_idx: {path} holds {_plural(len(shape), 'dimension')}, shape {shape}, but ndim={ndim} was "
            "expected: pass another file (are images and labels exchanged?) or ndim"
        )
    if math.prod(max(size, 1) for size in shape) * stored.itemsize > sys.maxsize:
        raise ValueError(
            f"read_idx: {path} is damaged, {_announced(stored, shape)}, too large for any array: {_AGAIN}"
        )
    size = math.prod(shape) * stored.itemsize
    header = 4 + 4 * len(shape)
    if header + size < least:
        raise _too_long(path, stored, shape)
    if header + size > most:
        raise ValueError(
            f"read_idx: {path} is truncated, {_announced(stored, shape)}, {_plural(size, 'byte')}, but a file of its "
            f"size holds at most {most - header}: {_AGAIN}"
        )
    return stored, shape


def _announced(stored: np.dtype[Any], shape: tuple[int, ...]) -> str:
    return f"its header announces shape {shape} of {stored.newbyteorder('=')}"


def _too_long(path: Path, stored: np.dtype[Any], shape: tuple[int, ...]) -> ValueError:
    size = _plural(math.prod(shape) * stored.itemsize, "byte")
    return ValueError(
        f"read_idx: {path} is too long, {_announced(stored, shape)}, {size}, but more followed: {_AGAIN}"
    )


@contextmanager
def inflating(file: BinaryIO, path: Path) -> Iterator[BinaryIO]:
    """Open a gzipped file to read its contents. If the file is damaged, the error names the file."""
    try:
        yield cast(BinaryIO, gzip.GzipFile(fileobj=file))
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise ValueError(f"read_idx: {path} is damaged, expected a whole gzip file, but {error}: {_AGAIN}") from error


@contextmanager
def open_idx(
    path: Path, *, ndim: int | None = None, dtype: np.dtype[Any] | None = None
) -> Iterator[tuple[BinaryIO, np.dtype[Any], tuple[int, ...]]]:
    """Open an IDX file, gzipped or not, after its header. Yields the file, the dtype in the file, and the shape."""
    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        raise FileNotFoundError(
            f"read_idx: there is no file {path}, expected an IDX file, plain or gzipped: check the path"
        ) from None
    if not stat.S_ISREG(mode):  # checked before the file is opened, because opening a pipe blocks
        kind = "a directory" if stat.S_ISDIR(mode) else "not a regular file"
        raise ValueError(
            f"read_idx: {path} is {kind}, expected an IDX file, plain or gzipped: pass the path of a file"
        )
    with path.open("rb") as file:
        length = os.fstat(file.fileno()).st_size
        zipped = file.read(2) == _GZIP_MAGIC
        file.seek(0)
        if zipped:
            with inflating(file, path) as source:
                yield source, *_check(source, path, 0, length * _MAX_DEFLATE_RATIO, ndim, dtype)
        else:
            yield file, *_check(file, path, length, length, ndim, dtype)


def read_idx(
    path: str | os.PathLike[str], *, ndim: int | None = None, dtype: npt.DTypeLike | None = None
) -> npt.NDArray[Any]:
    """Read an array from a file in the IDX format, plain or gzipped.

    The contents of the file, not its name, decide whether it is read as gzipped. Header, length and the checksum of
    gzip are checked, so the result is exactly the stored array. A damaged or malicious file cannot make this function
    use much more memory than the data in the file needs.

    Parameters
    ----------
    path : str or path-like
        The file.
    ndim : int, optional
        The number of dimensions that the file must have. Default: any number.
    dtype : dtype, optional
        The dtype that the file must have, in any byte order: uint8, int8, int16, int32, float32 or float64. Default:
        any of these. Values are never converted.

    Returns
    -------
    numpy.ndarray
        The array, with the shape and dtype of the header, in native byte order, writeable and C-contiguous.

    Raises
    ------
    FileNotFoundError
        If the file does not exist.
    ValueError
        If `path` is a directory or is not a regular file; if the file is empty, damaged, truncated, too long or not
        an IDX file; or if it does not have the requested dtype or number of dimensions.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from xpnet.datasets import read_idx
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder) / "matrix"
    ...     count = path.write_bytes(bytes([0, 0, 0x08, 2,  0, 0, 0, 2,  0, 0, 0, 3,  1, 2, 3, 4, 5, 6]))
    ...     read_idx(path, ndim=2)
    array([[1, 2, 3],
           [4, 5, 6]], dtype=uint8)
    """
    path = Path(path)
    expected = None if dtype is None else np.dtype(dtype).newbyteorder("=")
    with open_idx(path, ndim=ndim, dtype=expected) as (source, stored, shape):
        size = math.prod(shape) * stored.itemsize
        data = _read_up_to(source, size)
        if len(data) < size:
            raise ValueError(
                f"read_idx: {path} is truncated, {_announced(stored, shape)}, {_plural(size, 'byte')}, but "
                f"{len(data)} followed: {_AGAIN}"
            )
        if source.read(1):
            raise _too_long(path, stored, shape)
    array = np.frombuffer(data, dtype=stored)
    if not stored.isnative:
        array = array.byteswap(inplace=True).view(stored.newbyteorder("="))
    return array.reshape(shape)

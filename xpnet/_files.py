"""Files that are written completely or not at all."""

import os
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from glob import escape
from pathlib import Path
from typing import IO, Any

__all__ = ["check_output", "clear_parts", "replacing"]

PART = ".xpnet-part"
"""The suffix of a file that is being written."""


def check_output(path: str | os.PathLike[str], *suffixes: str) -> Path:
    """Return `path`, or raise an error if no file with one of the suffixes can be written there.

    It is called before a run, so that the results are not lost because of a mistyped name.
    """
    path = Path(path)
    if path.suffix.lower() not in suffixes:
        raise ValueError(f"{path}: the name must end in {' or '.join(suffixes)}, got {path.suffix or 'no suffix'!r}")
    folder = _target(path).parent
    if not folder.is_dir():
        raise FileNotFoundError(f"{path}: there is no folder {folder}; make it first")
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder; name a file")
    if not os.access(folder, os.W_OK):
        raise PermissionError(f"{path}: the folder {folder} is not writable")
    return path


def _target(path: Path) -> Path:
    """The file that `path` points to, if `path` is a symbolic link; else `path`."""
    return Path(os.path.realpath(path)) if path.is_symlink() else path


@contextmanager
def replacing(path: Path, mode: str = "w") -> Iterator[IO[Any]]:
    """Open a new file that replaces `path` when it is complete and on the disk. After an error, `path` is unchanged.

    If `path` is a symbolic link, the file that it points to is replaced. The new file has the permissions of the old
    file.
    """
    path = _target(path)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=PART)
    try:
        text = "b" not in mode
        with open(handle, mode, encoding="utf-8" if text else None, newline="" if text else None) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.chmod(name, _permissions(path))
        os.replace(name, path)
        _sync(path.parent)
    except BaseException:
        with suppress(FileNotFoundError):  # Ctrl-C came after the file was renamed
            os.unlink(name)
        raise


def clear_parts(path: Path) -> None:
    """Delete the incomplete files of processes that were killed while they wrote `path`."""
    path = _target(path)
    for part in path.parent.glob(f".{escape(path.name)}.*{PART}"):
        part.unlink(missing_ok=True)


def _permissions(path: Path) -> int:
    """The permissions of the existing file, or those of a new file."""
    with suppress(FileNotFoundError):
        return stat.S_IMODE(path.stat().st_mode)
    umask = os.umask(0)
    os.umask(umask)
    return 0o666 & ~umask


def _sync(folder: Path) -> None:
    """Write the entries of a folder to the disk, on systems where a folder can be opened."""
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)

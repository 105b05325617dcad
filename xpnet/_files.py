"""Files that are written whole or not at all."""

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
"""How the name of a file that is being written ends."""


def check_output(path: str | os.PathLike[str], *suffixes: str) -> Path:
    """`path`, if a file with one of the suffixes can be written there.

    Asked before a run, so that a mistyped name does not lose it.
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
    """The file itself, where `path` is a link to it."""
    return Path(os.path.realpath(path)) if path.is_symlink() else path


@contextmanager
def replacing(path: Path, mode: str = "w") -> Iterator[IO[Any]]:
    """A file that takes the place of `path` when it is complete and on the disk, and leaves no trace when it fails.

    A link stays, and what it points to is replaced; a file that was there hands on its permissions.
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
        with suppress(FileNotFoundError):  # Ctrl-C came when it had taken its place
            os.unlink(name)
        raise


def clear_parts(path: Path) -> None:
    """Delete what processes that were killed while they wrote `path` have left."""
    path = _target(path)
    for part in path.parent.glob(f".{escape(path.name)}.*{PART}"):
        part.unlink(missing_ok=True)


def _permissions(path: Path) -> int:
    """Those of the file that is there, else those of a new one."""
    with suppress(FileNotFoundError):
        return stat.S_IMODE(path.stat().st_mode)
    umask = os.umask(0)
    os.umask(umask)
    return 0o666 & ~umask


def _sync(folder: Path) -> None:
    """Put the names in a folder on the disk, on systems that open folders."""
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)

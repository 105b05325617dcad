"""Files that are written completely or not at all, and checks of files before they are read or written."""

import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from glob import escape
from pathlib import Path
from typing import IO, Any

__all__ = ["appending", "check_input", "check_output", "clear_parts", "replacing"]

PART = ".xpnet-part"
"""The suffix of a file that is being written."""


def check_input(path: str | os.PathLike[str]) -> Path:
    """Return `path`, or raise an error if it is not the path of a file: opening a pipe would wait for its writer."""
    path = Path(path)
    mode = path.stat().st_mode
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(f"{path} is a folder; name a file")
    if not stat.S_ISREG(mode):
        raise OSError(f"{path} is a pipe or a device; name a file")
    return path


def check_output(path: str | os.PathLike[str], *suffixes: str) -> Path:
    """Return `path`, or raise an error if no file can be written there, or if its suffix is not one of `suffixes`.

    It is called before a run, so that the results are not lost because of a mistyped name. Without `suffixes`, each
    suffix is allowed.
    """
    path = Path(path)
    if suffixes and path.suffix.lower() not in suffixes:
        raise ValueError(f"{path}: the name must end in {' or '.join(suffixes)}, got {path.suffix or 'no suffix'!r}")
    with _naming(path):
        folder = _target(path).parent
        if not folder.is_dir():
            raise FileNotFoundError(f"{path}: there is no folder {folder}; make it first")
        if path.exists():
            check_input(path)
        if not os.access(folder, os.W_OK):
            raise PermissionError(f"{path}: the folder {folder} is not writable")
        with _part(_target(path)) as (name, file):  # the disk may be full, or the name too long
            file.close()
            # Deleted here, so that Ctrl-C can come only before or after the deletion. Another process that resumes
            # the run may have deleted the file already, with the files of an earlier run.
            Path(name).unlink(missing_ok=True)
    return path


def _target(path: Path) -> Path:
    """The file that `path` points to, if `path` is a symbolic link; else `path`."""
    return Path(os.path.realpath(path)) if path.is_symlink() else path


@contextmanager
def appending(path: Path) -> Iterator[IO[str]]:
    """Open a text file to add to its end. If the file cannot be written, the error names `path`."""
    with _naming(path), open(path, "a", encoding="utf-8", newline="") as file:
        yield file


@contextmanager
def replacing(path: Path, mode: str = "w") -> Iterator[IO[Any]]:
    """Open a new file that replaces `path` when it is complete and on the disk. After an error, `path` is unchanged.

    If `path` is a symbolic link, the file that it points to is replaced. The new file has the permissions of the old
    file. If the file cannot be written, the error names `path`.
    """
    given, path = path, _target(path)
    with _naming(given), _part(path, mode) as (name, file):
        yield file
        file.flush()
        os.fsync(file.fileno())
        file.close()
        os.chmod(name, _permissions(path))
        os.replace(name, path)
        _sync(path.parent)


@contextmanager
def _part(path: Path, mode: str = "w") -> Iterator[tuple[str, IO[Any]]]:
    """A new file beside `path`, and its name. In the end, the file is deleted, if it still has this name."""
    # If the file existed before its name was stored, Ctrl-C between the two would leave the file behind.
    name = str(path.parent / f".{path.name}.{secrets.token_hex(8)}{PART}")
    text: dict[str, Any] = {} if "b" in mode else {"encoding": "utf-8", "newline": ""}
    try:
        with open(name, mode.replace("w", "x"), opener=_private, **text) as file:
            yield name, file
    finally:
        with suppress(OSError):
            os.unlink(name)


def _private(name: str, flags: int) -> int:
    return os.open(name, flags, 0o600)


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Name `path` in errors of the system, in place of the number of the error and the name of the part."""
    try:
        yield
    except OSError as error:
        if error.strerror is None:  # a message of another kind
            raise
        told = type(error)(f"{path} cannot be written: {error.strerror}")
        told.errno = error.errno
        raise told from error


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

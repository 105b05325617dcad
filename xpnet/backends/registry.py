"""The known backends by name: the backends of xpnet, and the backends that other packages add."""

from collections.abc import Iterator, Mapping
from functools import cache
from typing import TYPE_CHECKING

from .._array import namespace
from .._typing import Array, BackendName
from ..tracing import BatchedArray, TracedArray
from .base import Backend, one_line
from .cupy import Cupy
from .dask import Dask
from .jax import Jax
from .lazy import Lazy, is_lazy
from .numpy import Numpy
from .strict import Strict
from .torch import Torch

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

__all__ = ["BACKENDS", "BackendUnavailable", "backend_of", "get_backend", "not_installed"]

GROUP = "xpnet.backends"
"""The group of entry points with which a package adds backends."""

_OWN = {backend.name: backend for backend in (Numpy(), Cupy(), Torch(), Jax(), Dask(), Strict())}


class BackendUnavailable(RuntimeError):
    """Raised if a known backend cannot be used on this machine. The message says why, and what to do."""


class _Broken(Backend):
    """A backend of another package whose entry point cannot be loaded."""

    version = ""

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(name)
        self._reason = reason

    @property
    def problem(self) -> str:
        return self._reason


class _Known(Mapping[str, Backend]):
    """Every known backend by its name.

    Backends of other packages are loaded only if a name is not a backend of xpnet, or if all backends are listed.

    Examples
    --------
    >>> BACKENDS["torch"].install
    "pip install 'xpnet[torch]'"
    """

    def __getitem__(self, name: str) -> Backend:
        return _OWN[name] if name in _OWN else _added()[name]

    def __iter__(self) -> Iterator[str]:
        yield from (*_OWN, *_added())

    def __len__(self) -> int:
        return len(_OWN) + len(_added())


BACKENDS: Mapping[str, Backend] = _Known()
"""Every known backend by its name."""


@cache
def _added() -> dict[str, Backend]:
    """The backends that other packages add."""
    from importlib.metadata import entry_points  # imported late: it takes a tenth of the import time of xpnet

    return {entry.name: _load(entry) for entry in entry_points(group=GROUP) if entry.name not in _OWN}


def _load(entry: "EntryPoint") -> Backend:
    try:
        found = entry.load()
        backend = found(entry.name) if isinstance(found, type) else found
        if not isinstance(backend, Backend) or backend.name != entry.name:
            raise TypeError(f"expected a subclass of Backend, or a Backend of the name {entry.name!r}, got {found!r}")
    except Exception as error:  # whatever the other package raises
        package = entry.dist.name if entry.dist else "a package"
        return _Broken(
            entry.name,
            f"{package} adds it as {entry.value}, which cannot be loaded: {one_line(error)}; "
            f"try again after: pip install --upgrade {package}",
        )
    return backend


def get_backend(name: BackendName | str) -> Backend:
    """The backend with this name.

    Raises
    ------
    ValueError
        If no such backend is known.
    BackendUnavailable
        If the backend is known, but cannot be used on this machine.

    Examples
    --------
    >>> get_backend("numpy").devices()
    ['cpu']
    """
    if name not in BACKENDS:
        raise ValueError(f"backend {name!r} is not known; choose one of {', '.join(BACKENDS)}")
    backend = BACKENDS[name]
    if problem := backend.problem:
        raise BackendUnavailable(f"backend {name!r}: {problem}")
    return backend


_OF_TYPES: dict[type, Backend] = {}
"""The backend for each array type found so far."""


def backend_of(x: Array) -> Backend:
    """The backend of an array. For an unknown library, it is an object of the base class `Backend`, or of `Lazy`."""
    kind = x.__class__
    if kind not in _OF_TYPES:
        _OF_TYPES[kind] = _find(kind, x)
    return _OF_TYPES[kind]


def _find(kind: type, x: Array) -> Backend:
    if issubclass(kind, (TracedArray, BatchedArray)):
        traced: Backend = kind.backend
        return traced
    package = kind.__module__.partition(".")[0]
    own = [backend for backend in _OWN.values() if backend.owns(kind)]
    if own or not hasattr(kind, "__array_namespace__"):  # an object that holds arrays
        return (*own, Backend(package))[0]
    if added := [backend for backend in _added().values() if backend.owns(kind)]:
        return added[0]
    try:
        xp = namespace(x=x)
    except TypeError:  # the library may follow an older standard; `to_numpy` still works
        return Backend(package)
    return (Lazy if is_lazy(xp, kind) else Backend)(package, xp.__name__)


def not_installed(module: str, error: ModuleNotFoundError) -> ImportError:
    """The error for a module of xpnet that needs a missing library, with the command that installs it."""
    hint = f"xpnet.{module} needs {error.name}; get it with: pip install 'xpnet[{module}]'"
    return ImportError(hint, name=error.name)

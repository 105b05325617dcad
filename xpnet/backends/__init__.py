"""Backends: a class for each array library, which says whether the library is usable, and knows its devices.

`Backend` works with any library. The module of a library, such as `jax`, overrides methods that the library does
faster.
"""

from .arrays import as_array, elementwise, is_nan, read_all, to_numpy, trace, value_ranges, vmap
from .base import Backend, Draw, Functions
from .cupy import on_arrays_device
from .lazy import Lazy
from .registry import BACKENDS, BackendUnavailable, backend_of, get_backend, not_installed

__all__ = [
    "BACKENDS",
    "Backend",
    "BackendUnavailable",
    "Draw",
    "Functions",
    "Lazy",
    "as_array",
    "backend_of",
    "elementwise",
    "get_backend",
    "is_nan",
    "not_installed",
    "on_arrays_device",
    "read_all",
    "to_numpy",
    "trace",
    "value_ranges",
    "vmap",
]


def __dir__() -> list[str]:
    return sorted(__all__)

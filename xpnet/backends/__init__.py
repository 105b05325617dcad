"""The array libraries: which are usable here, on which devices, and how to run each of them.

`Backend` runs any library plainly. A module of the name of a library overrides what that library does better.
"""

from .arrays import elementwise, read_all, to_numpy
from .base import Backend, Draw, Functions
from .cupy import on_arrays_device
from .registry import BACKENDS, BackendUnavailable, backend_of, get_backend, not_installed

__all__ = [
    "BACKENDS",
    "Backend",
    "BackendUnavailable",
    "Draw",
    "Functions",
    "backend_of",
    "elementwise",
    "get_backend",
    "not_installed",
    "on_arrays_device",
    "read_all",
    "to_numpy",
]

"""Libraries whose arrays are computed only when a value is read."""

import importlib
from collections.abc import Callable
from typing import Any

from .._array import device, namespace
from .._typing import Array, Namespace
from ..tracing.program import is_array, leaves, replaced
from .base import Backend

__all__ = ["Lazy", "is_lazy"]


class Lazy(Backend):
    """A lazy library. Its arrays are graphs of operations, which are computed when a value is read.

    The results of a compiled function, such as an update, are computed after each call. Otherwise, the graph would
    grow with every update. A lazy library is recognized by the function with which it computes several arrays
    together. The first of these functions that the library has is used:

    - ``persist(*arrays)`` of its package returns arrays of the library, as in Dask. The arrays have this method, too.
    - ``compute(*arrays)`` of its package returns NumPy arrays, as in cubed. The arrays have this method, too.
    - ``eval(*arrays)`` of its namespace computes the arrays in place, as in MLX.
    """

    gradcheck_elements = 50

    def compile(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function, with its results computed."""

        def run(*args: Any) -> Any:
            result = function(*args)
            computed = iter(self._computed([leaf for leaf in leaves(result) if is_array(leaf)]))
            return replaced(result, lambda leaf: next(computed) if is_array(leaf) else leaf)

        return run

    def _computed(self, arrays: list[Array]) -> list[Array]:
        if not arrays:
            return arrays
        xp = namespace(x=arrays[0])
        way, function = _way(xp, type(arrays[0]))
        found = function(*arrays)
        if way == "compute":
            return [xp.asarray(h, dtype=a.dtype, device=device(a)) for h, a in zip(found, arrays, strict=True)]
        return arrays if way == "eval" else list(found)

    def can_read(self, x: Array) -> bool:
        """Always False: to read a value is to compute its graph."""
        return False


def is_lazy(xp: Namespace, kind: type) -> bool:
    """Whether a library is lazy, see `Lazy`."""
    return _way(xp, kind)[1] is not None


def _way(xp: Namespace, kind: type) -> tuple[str, Any]:
    """The name of the function that computes several arrays, and the function itself; None if there is none."""
    package = importlib.import_module(kind.__module__.partition(".")[0])
    for name in ("persist", "compute"):
        if hasattr(kind, name) and hasattr(package, name):
            return name, getattr(package, name)
    return "eval", getattr(xp, "eval", None)

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
    grow with every update. A lazy library computes several arrays together, in one of three ways, which are tried in
    this order:

    - its package has a function ``persist(*arrays)``, which returns arrays of the library, as in Dask;
    - its package has a function ``compute(*arrays)``, which returns NumPy arrays, as in cubed;
    - its namespace has a function ``eval(*arrays)``, which computes the arrays in place, as in MLX.
    """

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
        package = importlib.import_module(self._package)
        xp = namespace(x=arrays[0])
        if hasattr(package, "persist"):
            return list(package.persist(*arrays))
        if hasattr(package, "compute"):
            hosts = package.compute(*arrays)
            return [xp.asarray(h, dtype=a.dtype, device=device(a)) for h, a in zip(hosts, arrays, strict=True)]
        xp.eval(*arrays)
        return arrays

    def can_read(self, x: Array) -> bool:
        """Always False: to read a value is to compute its graph."""
        return False


def is_lazy(xp: Namespace, kind: type) -> bool:
    """Whether a library is lazy: its arrays have a method `compute` or `persist`, or it has a function `eval`."""
    return hasattr(kind, "compute") or hasattr(kind, "persist") or hasattr(xp, "eval")

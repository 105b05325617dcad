"""The backend of batched arrays. It computes with another backend, for many calls at once."""

from functools import cache
from typing import Any

from .._typing import Array, Namespace
from ..tracing.batching import BatchedArray, batched_type, merged
from .base import Backend

__all__ = ["Batching", "batch_type_of"]


class Batching(Backend):
    """The backend of batched arrays.

    Parameters
    ----------
    backend : Backend
        The backend of the arrays that hold the values of all calls.
    """

    def __init__(self, backend: Backend) -> None:
        super().__init__(backend.name, backend.module, backend.install)
        self.backend, self.block_size = backend, backend.block_size

    def can_read(self, x: Array) -> bool:
        """Always False: the values differ between the calls."""
        return False

    def half(self, name: str) -> Any:
        """The dtype of half precision with this name."""
        return self.backend.half(name)

    def detach(self, x: Array) -> Array:
        """`x`, detached from the graph of the library's autograd."""
        return type(x)(self.backend.detach(x.value), x.many)

    def windows(self, x: Array, *args: Any) -> Array | None:
        """All windows of images as a view; None if there are no such views."""
        return merged(self.backend.windows, x, *args) if x.many else self._alone(self.backend.windows, x, *args)

    def pad(self, x: Array, *args: Any) -> Array | None:
        """Add rows and columns around images; None if the library's arrays cannot be written to."""
        return merged(self.backend.pad, x, *args) if x.many else self._alone(self.backend.pad, x, *args)

    def relu(self, x: Array) -> Array:
        """The larger of `x` and 0."""
        return type(x)(self.backend.relu(x.value), x.many)

    def clip(self, x: Array, low: float, high: float) -> Array:
        """`x`, limited to the range from `low` to `high`."""
        return type(x)(self.backend.clip(x.value, low, high), x.many)

    @staticmethod
    def _alone(function: Any, x: Array, *args: Any) -> Array | None:
        found = function(x.value, *args)
        return None if found is None else type(x)(found, False)


@cache
def batch_type_of(xp: Namespace, backend: Backend) -> type[BatchedArray]:
    """The type of the batched arrays of a library."""
    return batched_type(xp, Batching(backend))

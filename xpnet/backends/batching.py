"""The backend of batched arrays. It computes with another backend, for many calls at once."""

from functools import cache
from typing import Any

from .._typing import Array, Namespace
from ..tracing.batching import BatchedArray, batched_type, merged
from .base import Backend, Wrapped

__all__ = ["Batching", "batch_type_of"]


class Batching(Wrapped):
    """The backend of batched arrays."""

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

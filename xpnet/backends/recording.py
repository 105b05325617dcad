"""The backend of traced arrays. It records the operations that another backend computes."""

from functools import cache, partial
from typing import Any

from .._typing import Array, Namespace
from ..tracing import TracedArray, record, traced_type
from .base import Backend, Functions, Wrapped

__all__ = ["Recording", "type_of"]


class Recording(Wrapped):
    """The backend of traced arrays."""

    def rows(self, x: Array, index: Array) -> Array:
        """The rows of `x` at `index`."""
        return record(self.backend.rows, x, index)

    def joined(self, x: Array) -> Array:
        """`x` stored in one block along all axes except the first."""
        return record(self.backend.joined, x)

    def matmul(self, a: Array, b: Array) -> Array:
        """The products of the matrices of two batches."""
        return record(self.backend.matmul, a, b)

    def times_each(self, matrix: Array, matrices: Array) -> Array:
        """The product of a matrix with each of several."""
        return record(self.backend.times_each, matrix, matrices)

    def windows(self, *args: Any) -> Array | None:
        """All windows of images as a view; None if there are no such views."""
        return record(self.backend.windows, *args)

    def pad(self, *args: Any) -> Array | None:
        """Add rows and columns around images; None if the library's arrays cannot be written to."""
        return record(self.backend.pad, *args)

    def relu(self, x: Array) -> Array:
        """The larger of `x` and 0."""
        return record(self.backend.relu, x)

    def clip(self, x: Array, low: float, high: float) -> Array:
        """`x`, limited to the range from `low` to `high`."""
        return record(self.backend.clip, x, low, high, name="limited")  # `clip` of the standard also takes arrays

    def convolution(self) -> Functions | None:
        """The library's own convolution; None if it has none."""
        found = self.backend.convolution()
        if found is None:
            return None
        return Functions(*(partial(record, f, name=name) for name, f in found._asdict().items()))


@cache
def type_of(xp: Namespace, backend: Backend) -> type[TracedArray]:
    """The type of the traced arrays of a library."""
    return traced_type(xp, Recording(backend))

"""Dask."""

from .._typing import Array
from .lazy import Lazy

__all__ = ["Dask"]


class Dask(Lazy):
    """Dask. Its arrays are graphs of chunks, which are computed when a value is read."""

    name = "dask"
    module = "dask.array"
    install = "pip install 'xpnet[dask]'"

    def joined(self, x: Array) -> Array:
        """`x` rechunked, so that no sample is divided among chunks."""
        return x.rechunk(dict.fromkeys(range(1, x.ndim), -1))

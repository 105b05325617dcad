"""Dask."""

import importlib
from collections.abc import Callable
from typing import Any

import numpy as np

from .._typing import Array
from .base import Backend, HostArray

__all__ = ["Dask"]


class Dask(Backend):
    """Dask. Its arrays are graphs of chunks, which are computed when a value is read."""

    name = "dask"
    module = "dask.array"
    install = "pip install 'xpnet[dask]'"

    def known_devices(self) -> dict[str, Any]:
        """The processor."""
        return {"cpu": "cpu"}

    def to_numpy(self, x: Array) -> HostArray:
        """Compute the graph and return the result."""
        return np.asarray(x)

    def compile(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function, with its results computed. Otherwise, the graph would grow with every call."""
        persist = importlib.import_module("dask").persist
        return lambda *args: persist(function(*args))[0]

    def joined(self, x: Array) -> Array:
        """`x` rechunked, so that no sample is divided among chunks."""
        return x.rechunk(dict.fromkeys(range(1, x.ndim), -1))

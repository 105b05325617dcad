"""NumPy."""

import importlib
import os
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from threading import Lock
from typing import Any

import numpy as np

from .._typing import Array
from ..tracing import NumpyCode, Program
from .base import HostArray, no_half
from .replaying import Replaying

__all__ = ["Numpy"]

_SMALL = 30_000_000
"""The number of arithmetic operations of a matrix product below which one BLAS thread is enough."""
_THREADS = [f"{kind}_NUM_THREADS" for kind in ("OPENBLAS", "OMP", "MKL", "BLIS")]
"""The environment variables with which callers set the number of BLAS threads."""


class Numpy(Replaying):
    """NumPy. Its arrays have strides, and can be written to."""

    name = "numpy"
    module = "numpy"
    install = "pip install numpy"
    code = NumpyCode
    gradcheck_elements: int | None = None
    block_size = 1 << 18  # a block fits into the cache of a core

    def threads(self, largest: Callable[[], float]) -> AbstractContextManager[Any]:
        """A context with one BLAS thread if the products are small, and the caller has not set the number of threads.

        Threads wait for each other after each product. On a busy machine, this takes longer than a small product.
        """
        from threadpoolctl import threadpool_info, threadpool_limits  # imported late: only `train` needs it

        cores = min(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1, 64)
        set_by_caller = any(name in os.environ for name in _THREADS) or any(
            pool["num_threads"] < cores for pool in threadpool_info() if pool["user_api"] == "blas"
        )
        if set_by_caller or largest() >= _SMALL:
            return nullcontext()
        limits: AbstractContextManager[Any] = threadpool_limits(1, "blas")
        return limits

    def to_numpy(self, x: Array) -> HostArray:
        """The array itself."""
        return np.asarray(x)

    def shares_memory(self, x: Array, y: Array) -> bool:
        """Whether `x` is a view of `y`."""
        return bool(np.may_share_memory(x, y))

    def ready(self, program: Program) -> Callable[..., Any]:
        """The program as NumPy code, see `tracing.NumpyCode`."""
        code, lock = NumpyCode(program), Lock()
        made = code.make(code.empty(code.nbytes))

        def run(*args: Any) -> Any:
            with lock:  # calls share the memory
                return made(*args)

        return run

    def half(self, name: str) -> Any:
        """Raises ValueError: NumPy has no fast products of half precision."""
        why = "has no bfloat16" if name == "bfloat16" else "multiplies float16 without BLAS, slower than float32"
        raise no_half(name, f"NumPy {why}")

    def rows(self, x: Array, index: Array) -> Array:
        """The rows of `x` at `index`.

        This is faster than `take` of `array_api_compat`, whose Python code takes longer than the copy of a few small
        rows.
        """
        return x.take(index, axis=0)

    def windows(self, x: Array, size: Any, stride: Any, dilation: Any, out: Any) -> Array:
        """All windows of images as a view, shape ``(N, C, *size, *out)``."""
        as_strided = importlib.import_module(f"{self.module}.lib.stride_tricks").as_strided
        *outer, down, right = x.strides
        inner = down * dilation[0], right * dilation[1], down * stride[0], right * stride[1]
        return as_strided(x, (*x.shape[:2], *size, *out), (*outer, *inner))

    def pad(self, x: Array, before: Any, after: Any, value: float) -> Array:
        """Add rows and columns of `value` around `x`."""
        *outer, height, width = x.shape
        shape = *outer, before[0] + height + after[0], before[1] + width + after[1]
        padded = importlib.import_module(self.module).full(shape, value, dtype=x.dtype)
        padded[..., before[0] : before[0] + height, before[1] : before[1] + width] = x
        return padded

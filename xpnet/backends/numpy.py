"""NumPy."""

import importlib
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from threading import Lock
from typing import Any

import numpy as np

from .._typing import Array
from ..tracing import NumpyCode, Program, Replay, copied, trace
from .base import Backend, Draw, HostArray, keep_freed_memory
from .recording import Recording, type_of

__all__ = ["Numpy"]

_SMALL = 30_000_000
"""The number of arithmetic operations of a matrix product below which one BLAS thread is enough."""
_THREADS = [f"{kind}_NUM_THREADS" for kind in ("OPENBLAS", "OMP", "MKL", "BLIS")]
"""The environment variables with which callers set the number of BLAS threads."""


class Numpy(Backend):
    """NumPy. Its arrays have strides, and can be written to."""

    name = "numpy"
    module = "numpy"
    install = "pip install numpy"
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
        made = code.make(np.empty(code.nbytes, np.uint8))

        def run(*args: Any) -> Any:
            with lock:  # calls share the memory
                return made(*args)

        return run

    def _trace(self, function: Callable[..., Any], *args: Any) -> Program:
        kind = type_of(self.namespace(), self)
        return trace(function, *args, kind=lambda x: kind, shares_memory=self.shares_memory)

    def compile(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function, traced and then replayed if it is known."""
        return Replay(function, self._trace) if getattr(function, "known", False) else function

    def compile_on_rows(self, step: Callable[..., Any]) -> Callable[..., Any]:
        """The function of `on_rows`, traced and then replayed if the step is known."""
        known = getattr(step, "known", False)
        return Replay(Recording(self).on_rows(step), self._trace) if known else self.on_rows(step)

    def release(self, function: Callable[..., Any]) -> None:
        """Free the memory that a compiled function keeps for its next call."""
        if isinstance(function, Replay):
            function.release()

    def repeat(self, step: Callable[..., Any]) -> Callable[..., Iterator[tuple[Any, Array]]]:
        """Many steps, one after the other. A known step is traced and then replayed."""
        if not getattr(step, "known", False):
            return super().repeat(step)
        replay = Replay(Recording(self).on_rows(step), self._trace)
        keep_freed_memory()

        def run(carry: Any, data: Any, index: HostArray, draw: Draw | None = None) -> Iterator[tuple[Any, Array]]:
            count, size = index.shape
            for i, masks in enumerate(self.masks(draw, count, size, data[0])):
                if i == 0:
                    steps = replay.steps(count, carry, data, index[i], masks)
                carry, loss = steps[i % 2](carry, data, index[i], masks)
                if i == count - 1:
                    carry = copied(carry)
                yield carry, loss

        return run

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

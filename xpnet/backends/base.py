"""The base class of all backends. It runs any library that follows the array API standard."""

import importlib
import importlib.util
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from types import MethodType
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from .._array import device, index_dtype, namespace
from .._typing import Array, Namespace
from ..tracing import Program

__all__ = ["Backend", "Draw", "Functions", "HostArray", "Wrapped", "keep_freed_memory", "one_line"]

HostArray: TypeAlias = np.ndarray[Any, Any]
Draw: TypeAlias = Callable[[int], dict[str, HostArray]]


class Functions(NamedTuple):
    """The convolution, and its derivatives with respect to images and filters, see `layers.convolution`."""

    convolve: Callable[..., Array]
    by_images: Callable[..., Array]
    by_filters: Callable[..., Array]


class Backend:
    """A backend: an array library, its devices, and the fastest way to run functions on it.

    This class works with any library that follows version 2024.12 of the array API standard or a newer version. A
    subclass overrides the methods for which its library has a faster way. A package can add a subclass to `BACKENDS`
    by an entry point in the group ``xpnet.backends``.

    Parameters
    ----------
    name : str, optional
        The name in `BACKENDS`, such as "torch" (default: the name of the class).
    module : str, optional
        The module to import (default: the module of the class; if the class has none, `name`).
    install : str, optional
        The command that installs the library (default: the command of the class; if the class has none,
        ``pip install`` and `name`).

    Attributes
    ----------
    name, module, install : str
        As above.
    gradcheck_elements : int or None
        The number of elements of each parameter that ``xpnet gradcheck`` compares by default; None is all.
    block_size : int
        The number of elements of an intermediate array. Larger intermediate arrays are computed block by block.

    Examples
    --------
    >>> class Mine(Backend):
    ...     module = "numpy"
    ...
    ...     def to_numpy(self, x):
    ...         return x
    >>> backend = Mine("mine")
    >>> backend.devices()
    ['cpu']
    """

    name: str = ""
    module: str = ""
    install: str = ""
    gradcheck_elements: int | None = 200
    block_size: int = 1 << 26

    def __init__(self, name: str = "", module: str = "", install: str = "") -> None:
        self.name = name or self.name
        self.module = module or self.module or self.name
        self.install = install or self.install or f"pip install {self.name}"

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r})"

    # The library

    @property
    def problem(self) -> str | None:
        """Why the backend is not usable on this machine, and what to do; None if the backend is usable."""
        if importlib.util.find_spec(self._package) is None:
            return f"not installed; get it with: {self.install}"
        try:
            x = self.namespace().asarray([[1.0]])
            self.devices()
        except Exception as error:  # whatever a broken installation or a missing driver raises
            return self.why_unusable(one_line(error))
        try:
            float((x @ x + x)[0, 0])
        except Exception as error:  # such as a missing compiler of kernels, or a missing library of products
            return f"cannot compute on its device: {one_line(error)}; try again after: {self.install}"
        return None

    def why_unusable(self, error: str) -> str:
        """The text of `problem` for an installed library that cannot create an array; `error` is its message."""
        return f"cannot be used: {error}; try again after: {self.install}"

    @property
    def version(self) -> str:
        """The version of the library; "" if it is not installed."""
        if importlib.util.find_spec(self._package) is None:
            return ""
        modules = map(importlib.import_module, (self._package, self.module))
        return next((str(m.__version__) for m in modules if hasattr(m, "__version__")), "")

    @property
    def _package(self) -> str:
        return self.module.partition(".")[0]

    def namespace(self) -> Namespace:
        """The library's array-API namespace."""
        return namespace(x=importlib.import_module(self.module).asarray([0.0]))

    def owns(self, kind: type) -> bool:
        """Whether `kind` is a type of the library's arrays."""
        return kind.__module__.partition(".")[0] == self._package

    # Devices

    def known_devices(self) -> dict[str, Any]:
        """The library's objects for the devices of this machine, by name; the first device is the default.

        The objects are those that the arrays have as their device. If the arrays of the library have no device, the
        only device is the CPU, and its object is None.
        """
        xp = self.namespace()
        if device(xp.empty(0)) is None:
            return {"cpu": None}
        places = (device(xp.empty(0, device=d)) for d in xp.__array_namespace_info__().devices())
        return {str(found): found for found in places}

    def devices(self) -> list[str]:
        """The names of the devices of this machine; the first device is the default."""
        return list(self.known_devices())

    def kinds(self) -> list[str]:
        """The first device of each kind: the CPU, and the first GPU."""
        first: dict[str, str] = {}
        for name in self.devices():
            first.setdefault(name.partition(":")[0], name)
        return list(first.values())

    def device_name(self, name: str | None = None, number: int = 0) -> str:
        """The name of the device for `name`: one of `devices`.

        A kind without a number, such as "cuda", means the first device of that kind. In a run on several processes,
        each process uses a different device of the kind, chosen by `number`. Without a name, the kind is the kind of
        the first device.

        Parameters
        ----------
        name : str, optional
            A device or a kind of devices.
        number : int, default 0
            The number of this process.

        Raises
        ------
        ValueError
            If this machine has no such device.
        """
        known = self.devices()
        meant = known[0].partition(":")[0] if name is None else name
        suitable = [d for d in known if meant in (d, d.partition(":")[0])]
        if not suitable:
            raise ValueError(f"device {name!r} is not known to {self.name} here; choose one of {', '.join(known)}")
        return suitable[number % len(suitable)]

    def device(self, name: str | None = None, number: int = 0) -> Any:
        """The library's object for the device that `device_name` finds by the same arguments.

        Raises
        ------
        ValueError
            If this machine has no such device.
        """
        return self.known_devices()[self.device_name(name, number)]

    def current(self, device: Any) -> AbstractContextManager[Any]:
        """Make `device` the current device, for a library that computes on one current device."""
        return nullcontext()

    def threads(self, largest: Callable[[], float]) -> AbstractContextManager[Any]:
        """A context that sets the number of CPU threads for training.

        ``largest()`` is the number of arithmetic operations of the largest matrix product of a step.
        """
        return nullcontext()

    def is_remote(self, device: Any) -> bool:
        """Whether arrays on `device` are outside the host's memory, so that each copy to the device takes time."""
        return False

    def enable_float64(self) -> None:
        """Enable float64 in this process, for a library that disables float64 by default.

        This method is for programs and tests. xpnet itself never calls it while it is used as a library.
        """

    # Memory

    @contextmanager
    def memory_errors(self, advice: str) -> Iterator[None]:
        """Turn the library's error for exhausted memory into a MemoryError with a message of one line.

        The message ends with `advice`: what the user can do.
        """
        try:
            yield
        except Exception as error:
            if not self.is_of_memory(error):
                raise
            raise MemoryError(f"{self.name} is out of memory: {one_line(error)}; {advice}") from error

    def is_of_memory(self, error: Exception) -> bool:
        """Whether `error` is the library's error for exhausted memory."""
        return isinstance(error, MemoryError)

    def to_numpy(self, x: Array) -> HostArray:
        """An array of the library as a NumPy array, see `xpnet.to_numpy`.

        Raises
        ------
        TypeError
            If the library has neither DLPack to the CPU nor ``__array__``.
        """
        try:
            return np.from_dlpack(x, device="cpu")
        except Exception as error:  # whatever a library without DLPack, or without DLPack for `x`, raises
            if self.is_of_memory(error):
                raise
            if hasattr(x, "__array__") or hasattr(x, "__array_interface__"):
                return np.asarray(x)
            raise TypeError(
                f"to_numpy: {self.name} has neither DLPack to the CPU ({one_line(error)}) nor __array__; add a "
                "subclass of xpnet.Backend whose to_numpy converts its arrays"
            ) from error

    def can_read(self, x: Array) -> bool:
        """Whether the values of `x` are on the host and known, so that reading them does not wait for a device."""
        return not self.is_remote(device(x))

    def read_all(self, values: list[Array]) -> HostArray:
        """Read one or more arrays of shape () or (n,) as one NumPy array, with few transfers."""
        return self.to_numpy(namespace(values=values[0]).stack(values))

    # Functions

    def detach(self, x: Array) -> Array:
        """`x`, detached from the graph of the library's autograd."""
        return x

    def compile(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Compile a pure function that is called many times, if the library has a compiler.

        ``function.known = True`` says that the function runs xpnet's own code only, so it may be traced. Other code
        may print, or count its calls.
        """
        return function

    def release(self, function: Callable[..., Any]) -> None:
        """Free the memory that a function of `compile` keeps for its next call."""

    def shares_memory(self, x: Array, y: Array) -> bool:
        """Whether `x` is known to be a view of `y`."""
        return False

    def ready(self, program: Program) -> Callable[..., Any]:
        """A traced program as a function."""
        return program.run

    def fuse(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """A function or bound method that `elementwise` may mark, in the form that runs fastest: without the mark."""
        if isinstance(function, MethodType) and hasattr(function, "elementwise"):
            return partial(vars(function.__func__)["__wrapped__"], function.__self__)  # `torch.compile` can trace it
        return function

    # Arrays

    def half(self, name: str) -> Any:
        """The dtype of half precision with this name, "bfloat16" or "float16", for matrix products.

        Raises
        ------
        ValueError
            If the library has no fast products of this dtype.
        """
        dtype = getattr(self.namespace(), name, None)
        if dtype is None:
            raise no_half(name, f"{self.name} has no {name}")
        return dtype

    def rows(self, x: Array, index: Array) -> Array:
        """The rows of `x` at `index`, an array of its library that holds numbers from 0 to ``len(x) - 1``."""
        return namespace(x=x, index=index).take(x, index, axis=0)

    def index(self, numbers: HostArray, like: Array) -> Array:
        """Indices of samples as an array on the device of `like`, for `rows` and `repeat`."""
        xp, where = namespace(like=like), device(like)
        return xp.asarray(numbers, dtype=index_dtype(xp, where), device=where)

    def joined(self, x: Array) -> Array:
        """`x` stored in one block along all axes except the first, which is the axis of samples."""
        return x

    def matmul(self, a: Array, b: Array) -> Array:
        """The products of the matrices of two batches, shapes (..., A, B) and (..., B, C)."""
        return a @ b

    def times_each(self, matrix: Array, matrices: Array) -> Array:
        """The product of a matrix, shape (..., A, B), with each of several, shape (N, ..., B, C)."""
        return matrix @ matrices

    def windows(self, x: Array, size: Any, stride: Any, dilation: Any, out: Any) -> Array | None:
        """All windows of images as a view, shape ``(N, C, *size, *out)``; None if there are no such views."""
        return None

    def pad(self, x: Array, before: Any, after: Any, value: float) -> Array | None:
        """Add rows and columns of `value` around `x`; None if the library's arrays cannot be written to."""
        return None

    def relu(self, x: Array) -> Array:
        """The larger of `x` and 0. In a library with autograd, the derivative at 0 must be 0, as in `layers.Relu`."""
        return namespace(x=x).maximum(x, 0.0)

    def clip(self, x: Array, low: float, high: float) -> Array:
        """`x`, limited to the range from `low` to `high`; NaN stays NaN."""
        xp = namespace(x=x)
        return xp.minimum(xp.maximum(x, low), high)

    def convolution(self) -> Functions | None:
        """The library's own convolution; None if it has none. xpnet then uses the convolution in `layers`."""
        return None

    # Many steps

    def masks(
        self, draw: Draw | None, count: int, size: int, like: Array, share: slice = slice(None)
    ) -> Iterator[dict[str, Array]]:
        """The masks that `draw` draws for each of `count` mini-batches, on the device of `like`.

        The masks of many mini-batches are copied to a GPU together, at most about 64 MiB at a time.
        """
        if draw is None:
            yield from [{}] * count
            return
        xp, where = namespace(like=like), device(like)
        if not self.is_remote(where):
            for _ in range(count):
                yield {name: xp.asarray(mask[share], device=where) for name, mask in draw(size).items()}
            return
        while count > 0:
            drawn = [draw(size)]
            bytes_of_one = sum(mask[share].nbytes for mask in drawn[0].values())
            together = min(count, max(1, (64 << 20) // max(1, bytes_of_one)))
            drawn += [draw(size) for _ in range(together - 1)]
            placed = {
                name: xp.asarray(np.stack([masks[name][share] for masks in drawn]), device=where) for name in drawn[0]
            }
            for i in range(together):
                yield {name: mask[i, ...] for name, mask in placed.items()}
            count -= together

    def repeat(self, step: Callable[..., Any]) -> Callable[..., Iterator[tuple[Any, Array]]]:
        """Many steps, one after the other, in the way that is fastest on this backend.

        Parameters
        ----------
        step : callable
            A pure function ``step(carry, batch, masks) -> carry, loss``. It can have an attribute `known`, as in
            `compile`.

        Returns
        -------
        callable
            ``run(carry, data, index, draw=None)``, an iterator over ``(carry, losses)``. `index` is an integer array
            of shape (steps, batch), from NumPy or from `Backend.index`. Each row of `index` has the indices of one
            mini-batch in the arrays of `data`. ``draw(batch)`` draws the dropout masks of one step, a dict of NumPy
            arrays. The masks are drawn in the order of the steps, for several steps in advance. JAX runs up to 100
            steps in one compiled loop and yields after each loop. The other libraries yield after each step. A carry
            is valid during the next step; the step after that may overwrite it. The last carry of a run is never
            overwritten.
        """
        compiled = self.compile_on_rows(step)
        keep_freed_memory()

        def run(carry: Any, data: Any, index: HostArray, draw: Draw | None = None) -> Iterator[tuple[Any, Array]]:
            index, (count, size) = self.index(index, data[0]), index.shape
            for i, masks in enumerate(self.masks(draw, count, size, data[0])):
                carry, loss = compiled(carry, data, index[i, ...], masks)
                yield carry, loss

        return run

    def on_rows(self, step: Callable[..., Any]) -> Callable[..., Any]:
        """The function ``step(carry, batch, masks)`` as ``run(carry, data, index, masks)``, which takes the rows."""

        def run(carry: Any, data: tuple[Array, ...], index: Array, masks: Any) -> Any:
            return step(carry, tuple(self.rows(x, index) for x in data), masks)

        return run

    def compile_on_rows(self, step: Callable[..., Any]) -> Callable[..., Any]:
        """The function of `on_rows`, compiled. `step` can have an attribute `known`, as in `compile`."""
        return self.compile(self.on_rows(step))

    def adder(self, processes: Any) -> Callable[[Array], tuple[Array, HostArray | None]]:
        """A function that sums arrays of several processes.

        The function returns the sums, and a copy of the sums on the host if it exists, else None. Do not use the
        argument of the function afterwards: its memory may be overwritten.

        Parameters
        ----------
        processes : OverMPI
            The processes.
        """
        keep_freed_memory()

        def add(x: Array) -> tuple[Array, HostArray]:
            host = self.to_numpy(x)  # shares memory with `x` if `x` is on the host
            if host.flags.writeable:
                processes.comm.Allreduce(processes.MPI.IN_PLACE, host)
            else:
                own, host = host, np.empty_like(host)
                processes.comm.Allreduce(own, host)
            return namespace(x=x).asarray(host, device=device(x)), host

        return add


class Wrapped(Backend):
    """The backend of arrays that stand for arrays of another backend, such as traced arrays.

    Parameters
    ----------
    backend : Backend
        The backend of the arrays that they stand for.
    """

    def __init__(self, backend: Backend) -> None:
        super().__init__(backend.name, backend.module, backend.install)
        self.backend, self.block_size = backend, backend.block_size

    def can_read(self, x: Array) -> bool:
        """Always False: a function of such arrays does not depend on values."""
        return False

    def half(self, name: str) -> Any:
        """The dtype of half precision with this name."""
        return self.backend.half(name)


def no_half(name: str, why: str) -> ValueError:
    """The error for a dtype of half precision that a library does not have."""
    return ValueError(f"dtype (or precision) {name!r} is not supported: {why}; use PyTorch, JAX or CuPy, or float32")


def one_line(error: Exception) -> str:
    """The message of an error in one line, or the name of its class if the message is empty."""
    return " ".join(str(error).split()) or type(error).__name__


def keep_freed_memory() -> None:
    """Make glibc keep the memory that a step frees for the next step, rather than return it to the system.

    glibc keeps about twice the size of the largest block, of up to 32 MiB, that was ever freed. So this function
    allocates and frees such a block. Nothing is written to the block, so it takes no memory. Without glibc, the
    function does nothing.
    """
    np.empty(31 << 20, dtype=np.uint8)

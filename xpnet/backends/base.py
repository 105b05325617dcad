"""The base class of all backends. It runs any library that follows the array API standard."""

import importlib
import importlib.util
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from types import MethodType
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from .._array import device, namespace
from .._typing import Array, Namespace

__all__ = ["Backend", "Draw", "Functions", "HostArray", "keep_freed_memory", "one_line"]

HostArray: TypeAlias = np.ndarray[Any, Any]
Draw: TypeAlias = Callable[[int], dict[str, HostArray]]


class Functions(NamedTuple):
    """A convolution of images, and its derivatives by the images and by the filters, see `layers.convolution`."""

    convolve: Callable[..., Array]
    by_images: Callable[..., Array]
    by_filters: Callable[..., Array]


class Backend:
    """An array library as a place to train.

    This class runs any library that follows the array API standard. A subclass overrides the methods that its library
    does better. A package can add a subclass to `BACKENDS` by an entry point in the group ``xpnet.backends``.

    Parameters
    ----------
    name : str, optional
        The name in `BACKENDS`, such as "torch" (default: that of the class).
    module : str, optional
        The module that is imported (default: that of the class, else `name`).
    install : str, optional
        The command that installs the library (default: that of the class, else ``pip install`` and `name`).

    Attributes
    ----------
    name, module, install : str
    gradcheck_elements : int or None
        The number of elements of each parameter that ``xpnet gradcheck`` compares by default; None is all.
    block_size : int
        The number of elements that a large intermediate array is made of at a time.

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
        """Why the backend is not usable here, and how to get it; None where it is."""
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
        """The problem of a library that is installed, but makes no array: it raised `error`, a line."""
        return f"cannot be used: {error}; try again after: {self.install}"

    @property
    def version(self) -> str:
        """The version of the library, "" where it is not installed."""
        if importlib.util.find_spec(self._package) is None:
            return ""
        return str(importlib.import_module(self._package).__version__)

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
        """The library's objects for the devices here, by name; the first is the default."""
        return {str(found): found for found in self.namespace().__array_namespace_info__().devices()}

    def devices(self) -> list[str]:
        """The names of the devices here; the first is the default."""
        return list(self.known_devices())

    def kinds(self) -> list[str]:
        """The first device of each kind: the processor, the first GPU."""
        first: dict[str, str] = {}
        for name in self.devices():
            first.setdefault(name.partition(":")[0], name)
        return list(first.values())

    def device_name(self, name: str | None = None, number: int = 0) -> str:
        """The one of `devices` that `name` means.

        A kind without a number, such as "cuda", means the first device of that kind. Of several processes, each takes
        the device of the kind that its own number gives. Without a name, the kind is that of the first device.

        Parameters
        ----------
        name : str, optional
            A device or a kind of devices.
        number : int, default 0
            The number of this process.

        Raises
        ------
        ValueError
            If there is no such device here.
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
            If there is no such device here.
        """
        return self.known_devices()[self.device_name(name, number)]

    def current(self, device: Any) -> AbstractContextManager[Any]:
        """Make `device` the one that the library computes on, where it computes on one device at a time."""
        return nullcontext()

    def is_remote(self, device: Any) -> bool:
        """Whether arrays on `device` are not in the host's memory, so that each copy to them takes a while."""
        return False

    def enable_float64(self) -> None:
        """Switch the library to 64 bits for this process, where it has to be switched.

        It is for programs and tests; the library itself never changes the setting.
        """

    # Memory

    @contextmanager
    def memory_errors(self, advice: str) -> Iterator[None]:
        """Where the memory of the host or of the device is exhausted, raise a MemoryError of one line.

        The line ends with `advice`, what the caller can do.
        """
        try:
            yield
        except Exception as error:
            if not self.is_of_memory(error):
                raise
            raise MemoryError(f"{self.name} is out of memory: {one_line(error)}; {advice}") from error

    def is_of_memory(self, error: Exception) -> bool:
        """Whether the library raises `error` where memory is exhausted."""
        return isinstance(error, MemoryError)

    def to_numpy(self, x: Array) -> HostArray:
        """An array of the library as a NumPy array, see `xpnet.to_numpy`."""
        return np.from_dlpack(x, device="cpu")

    def read_all(self, values: list[Array]) -> HostArray:
        """At least one array of shape () or (n,) of the library as one NumPy array, in few transfers."""
        return self.to_numpy(namespace(values=values[0]).stack(values))

    # Functions

    def compile(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """The same pure function in the form that runs fastest when it is called many times."""
        return function

    def fuse(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """A function or bound method that `elementwise` may mark, in the form that runs fastest: without the mark."""
        if isinstance(function, MethodType) and hasattr(function, "elementwise"):
            return MethodType(vars(function.__func__)["__wrapped__"], function.__self__)
        return function

    # Arrays

    def rows(self, x: Array, index: Array) -> Array:
        """The rows of `x` at `index`, an array of its library that holds numbers from 0 to ``len(x) - 1``."""
        return namespace(x=x, index=index).take(x, index, axis=0)

    def index(self, numbers: HostArray, like: Array) -> Array:
        """Numbers of samples on the device of `like`, for `rows` and `repeat`."""
        return namespace(like=like).asarray(numbers, device=device(like))

    def joined(self, x: Array) -> Array:
        """`x`, of samples along its first axis, stored as one block along the other axes."""
        return x

    def times_each(self, matrix: Array, matrices: Array) -> Array:
        """The product of a matrix, shape (..., A, B), with each of several, shape (N, ..., B, C)."""
        return matrix @ matrices

    def windows(self, x: Array, size: Any, stride: Any, dilation: Any, out: Any) -> Array | None:
        """Windows that move over images, a view of shape ``(N, C, *size, *out)``; None if there are no such views."""
        return None

    def pad(self, x: Array, before: Any, after: Any, value: float) -> Array | None:
        """`x` with rows and columns of `value` around it, in one new array; None where arrays are not written to."""
        return None

    def convolution(self) -> Functions | None:
        """The library's own convolution; None where it has none, and xpnet's is taken."""
        return None

    # Many steps

    def masks(
        self, draw: Draw | None, count: int, size: int, like: Array, share: slice = slice(None)
    ) -> Iterator[dict[str, Array]]:
        """What `draw` draws for each of `count` mini-batches of a size, on the device of `like`; of a share of them.

        To a GPU go the masks of many mini-batches in one copy, of about 64 MiB at most.
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
            A pure function ``step(carry, batch, noise) -> carry, loss``.

        Returns
        -------
        callable
            ``run(carry, data, index, draw=None)``, an iterator over ``(carry, losses)``. `index` is an integer array
            of shape (steps, batch), NumPy's or one that `Backend.index` made; each step is given the rows of the
            arrays in `data` that its row names, and what ``draw(batch)`` draws for it, a dict of NumPy arrays. It is
            drawn in the order of the steps, for some steps ahead. JAX runs up to 100 steps in one compiled loop and
            yields after each such loop, the others after each step.
        """
        compiled = self.compile(self.on_rows(step))
        keep_freed_memory()

        def run(carry: Any, data: Any, index: HostArray, draw: Draw | None = None) -> Iterator[tuple[Any, Array]]:
            index, (count, size) = self.index(index, data[0]), index.shape
            for i, noise in enumerate(self.masks(draw, count, size, data[0])):
                carry, loss = compiled(carry, data, index[i, ...], noise)
                yield carry, loss

        return run

    def on_rows(self, step: Callable[..., Any]) -> Callable[..., tuple[Any, Array]]:
        """The step of `repeat` as a function of all samples and an index: ``(carry, data, index, noise)``."""

        def run(carry: Any, data: tuple[Array, ...], index: Array, noise: Any) -> tuple[Any, Array]:
            result: tuple[Any, Array] = step(carry, tuple(self.rows(x, index) for x in data), noise)
            return result

        return run

    def adder(self, processes: Any) -> Callable[[Array], tuple[Array, HostArray | None]]:
        """A function that sums arrays of several processes.

        It gives the sums, and the same sums on the host where they came by there. The array that it is given is used
        up.

        Parameters
        ----------
        processes : OverMPI
        """
        keep_freed_memory()

        def add(x: Array) -> tuple[Array, HostArray]:
            host = self.to_numpy(x)  # the array's own memory, where that is the host's
            if host.flags.writeable:
                processes.comm.Allreduce(processes.MPI.IN_PLACE, host)
            else:
                own, host = host, np.empty_like(host)
                processes.comm.Allreduce(own, host)
            return namespace(x=x).asarray(host, device=device(x)), host

        return add


def one_line(error: Exception) -> str:
    """The message of an error in one line, or the name of its class where it has no message."""
    return " ".join(str(error).split()) or type(error).__name__


def keep_freed_memory() -> None:
    """Have glibc keep the memory that a step frees for the next step, rather than return it to the system each time.

    It keeps about twice the largest block, of up to 32 MiB, that it ever got back. This one is never written to, so
    it takes no memory. Elsewhere it does nothing.
    """
    np.empty(31 << 20, dtype=np.uint8)

"""The one place that knows array libraries by name: what is usable here, on which devices, and how to run it."""

import importlib
import importlib.util
import inspect
import os
import platform
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import cache, lru_cache, wraps
from types import ModuleType
from typing import Any, NamedTuple, ParamSpec, TypeAlias, TypeVar

import numpy as np

from .. import _array
from .._array import Array, Namespace, device, namespace

__all__ = [
    "BACKENDS",
    "Backend",
    "BackendUnavailable",
    "backend_of",
    "elementwise",
    "get_backend",
    "on_arrays_device",
    "to_numpy",
]

P = ParamSpec("P")
R = TypeVar("R")
Draw: TypeAlias = Callable[[int], dict[str, np.ndarray[Any, Any]]]


class BackendUnavailable(RuntimeError):
    """A known backend cannot be used on this machine; the message says why and how to get it."""


def on_arrays_device(function: Callable[P, R]) -> Callable[P, R]:
    """Run a function on the device of its arrays.

    CuPy computes on its current device, and some of its kernels do not check that their arrays are there. So, on a
    machine with several CUDA devices, the device of the first CuPy array among the arguments, else among their
    attributes, is made current while the function runs. All other libraries, and CuPy with one device, compute where
    the arrays are by themselves.
    """

    @wraps(function)
    def run(*args: P.args, **options: P.kwargs) -> R:
        if "cupy" not in sys.modules or _cuda_devices(cupy := sys.modules["cupy"]) < 2:
            return function(*args, **options)
        given = [*args, *options.values()]
        attributes = [getattr(thing, "__dict__", {}) for thing in given]
        array = _first_array(cupy.ndarray, [given, attributes])
        with nullcontext() if array is None else array.device:
            return function(*args, **options)

    return run


@cache
def _cuda_devices(cupy: ModuleType) -> int:
    """The number of CUDA devices; 0 without a driver."""
    try:
        return int(cupy.cuda.runtime.getDeviceCount())
    except Exception:
        return 0


def _first_array(kind: type, value: Any) -> Array | None:
    """The first array of a library in nested tuples, lists and dicts."""
    if isinstance(value, kind):
        return value
    inside = value.values() if isinstance(value, dict) else value if isinstance(value, (tuple, list)) else ()
    return next((found for v in inside if (found := _first_array(kind, v)) is not None), None)


class Functions(NamedTuple):
    """A convolution of images, and its derivatives by the images and by the filters, see `layers.convolution`."""

    convolve: Callable[..., Array]
    by_images: Callable[..., Array]
    by_filters: Callable[..., Array]


@dataclass(frozen=True)
class Backend:
    """An array library as a place to train.

    Attributes
    ----------
    name : str
        "numpy", "cupy", "torch", "jax", "dask" or "strict".
    module : str
        What is imported.
    install : str
        How to get it.
    """

    name: str
    module: str
    install: str

    @property
    def problem(self) -> str | None:
        """Why the backend is not usable here, and how to get it; None where it is."""
        if importlib.util.find_spec(self.module.partition(".")[0]) is None:
            return f"not installed; get it with: {self.install}"
        try:
            x = self.namespace().asarray([[1.0]])
            self.devices()
        except Exception as error:  # whatever a broken installation or a missing driver raises
            if self.name == "cupy":
                return f"no usable CUDA device: {_one_line(error)}; it needs an NVIDIA GPU and its driver"
            return f"cannot be used: {_one_line(error)}; try again after: {self.install}"
        try:
            float((x @ x + x)[0, 0])
        except Exception as error:  # such as a missing compiler of kernels, or a missing library of products
            return f"cannot compute on its device: {_one_line(error)}; try again after: {self.install}"
        return None

    @property
    def version(self) -> str:
        """The version of the library, "" where it is not installed."""
        if importlib.util.find_spec(self.module.partition(".")[0]) is None:
            return ""
        return str(importlib.import_module(self.module.partition(".")[0]).__version__)

    def namespace(self) -> Namespace:
        """The library's array-API namespace."""
        module = importlib.import_module(self.module)
        if self.name == "cupy":  # its namespace imports anywhere, but nothing in it works without a device
            module.cuda.runtime.getDeviceCount()
        return namespace(x=module.asarray([0.0]))

    def devices(self) -> list[str]:
        """The names of the devices here; the first is the default."""
        module = importlib.import_module(self.module)
        match self.name:
            case "cupy":
                return [f"cuda:{i}" for i in range(module.cuda.runtime.getDeviceCount())]
            case "torch":
                accelerators = [f"cuda:{i}" for i in range(module.cuda.device_count())]
                if module.backends.mps.is_available():
                    accelerators.append("mps")
                return ["cpu", *accelerators]
            case "jax":
                jax = importlib.import_module("jax")
                platforms = {d.platform for d in jax.devices()} | {"cpu"}
                return [f"{p}:{d.id}" for p in sorted(platforms, key="cpu".__eq__) for d in jax.devices(p)]
            case "strict":
                return [_strict_name(d) for d in module.__array_namespace_info__().devices()]
            case _:
                return ["cpu"]

    def kinds(self) -> list[str]:
        """The first device of each kind: the processor, the first GPU. All of array-api-strict's are of one."""
        first: dict[str, str] = {}
        for name in self.devices()[: 1 if self.name == "strict" else None]:
            first.setdefault(name.partition(":")[0], name)
        return list(first.values())

    def device_name(self, name: str | None = None, number: int = 0) -> str:
        """The one of `devices` that `name` means; the default where None.

        A kind without a number, such as "cuda", means its first; or the one for this of several processes, by its
        number. So it is with the default.

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
        found = self.device_name(name, number)
        module = importlib.import_module(self.module)
        kind, _, place = found.partition(":")
        match self.name:
            case "cupy":
                return module.cuda.Device(int(place))
            case "torch":
                return module.device(found)
            case "jax":
                return next(d for d in importlib.import_module("jax").devices(kind) if d.id == int(place))
            case "strict":
                return next(d for d in module.__array_namespace_info__().devices() if _strict_name(d) == found)
            case _:
                return "cpu"

    def current(self, device: Any) -> AbstractContextManager[Any]:
        """Make `device` the one that the library computes on: CuPy has one current device at a time."""
        return device if self.name == "cupy" else nullcontext()

    @contextmanager
    def memory_errors(self, advice: str) -> Iterator[None]:
        """Where the memory of the host or of the device is exhausted, raise a MemoryError of one line.

        The line ends with `advice`, what the caller can do.
        """
        try:
            yield
        except Exception as error:
            if not self._is_of_memory(error):
                raise
            raise MemoryError(f"{self.name} is out of memory: {_one_line(error)}; {advice}") from error

    def _is_of_memory(self, error: Exception) -> bool:
        match self.name:
            case "torch":
                kinds = (MemoryError, importlib.import_module("torch").OutOfMemoryError)
                return isinstance(error, kinds) or "can't allocate memory" in str(error)
            case "jax":
                return isinstance(error, MemoryError) or "RESOURCE_EXHAUSTED" in str(error)
            case _:
                return isinstance(error, MemoryError)  # CuPy's is one

    def enable_float64(self) -> None:
        """Switch JAX to 64 bits for this process. For programs and tests; the library leaves the setting alone."""
        if self.name == "jax":
            importlib.import_module("jax").config.update("jax_enable_x64", True)

    def compile(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """The same pure function in the form that runs fastest when it is called many times.

        JAX traces and compiles it. Dask computes its results, or the graph would grow with every call. The others run
        it as it is.
        """
        match self.name:
            case "jax":
                compiled: Callable[..., Any] = importlib.import_module("jax").jit(function)
                return compiled
            case "dask":
                persist = importlib.import_module("dask").persist
                return lambda *args: persist(function(*args))[0]
            case _:
                return function

    def fuse(self, method: Callable[..., Any]) -> Callable[..., Any]:
        """A bound method in the form that runs fastest: one kernel on CuPy, if `elementwise` marks the method."""
        return _cupy_kernel(method) if self.name == "cupy" and hasattr(method, "elementwise") else method

    @on_arrays_device
    def rows(self, x: Array, index: Array) -> Array:
        """The rows of `x` at `index`, an array of its library that holds numbers from 0 to ``len(x) - 1``.

        `take` of `array_api_compat` would first look for negative ones among PyTorch's, which costs as much again.
        NumPy's and CuPy's it passes through Python code that takes longer than a few small rows.
        """
        if self.name == "torch":
            return x.index_select(0, index)
        if self.name in ("numpy", "cupy"):
            return x.take(index, axis=0)
        return namespace(x=x, index=index).take(x, index, axis=0)

    def index(self, numbers: np.ndarray[Any, Any], like: Array) -> Array:
        """Numbers of samples on the device of `like`, for `rows` and `repeat`. JAX's compiled loop moves its own."""
        return numbers if self.name == "jax" else namespace(like=like).asarray(numbers, device=device(like))

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
        if self.name != "cupy" and getattr(where, "type", "cpu") == "cpu":
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

    def joined(self, x: Array) -> Array:
        """`x`, of samples along its first axis; Dask's pieces, one for each slice that it was made of, become one."""
        return x.rechunk(dict.fromkeys(range(1, x.ndim), -1)) if self.name == "dask" else x

    def times_each(self, matrix: Array, matrices: Array) -> Array:
        """The product of a matrix, shape (..., A, B), with each of several, shape (N, ..., B, C).

        CuPy would make tables of pointers for one and several, and makes none for several and several.
        """
        if self.name == "cupy":
            matrix = namespace(matrix=matrix).broadcast_to(matrix, (matrices.shape[0], *matrix.shape))
        return matrix @ matrices

    def windows(self, x: Array, size: Any, stride: Any, dilation: Any, out: Any) -> Array | None:
        """Windows that move over images as a view, shape (N, C, *size, *out); None where there are no such views."""
        if self.name not in ("numpy", "cupy"):
            return None
        as_strided = importlib.import_module(f"{self.module}.lib.stride_tricks").as_strided
        *outer, down, right = x.strides
        inner = down * dilation[0], right * dilation[1], down * stride[0], right * stride[1]
        return as_strided(x, (*x.shape[:2], *size, *out), (*outer, *inner))

    def pad(self, x: Array, before: Any, after: Any, value: float) -> Array | None:
        """`x` with rows and columns of `value` around it, in one new array; None where arrays are not written to."""
        if self.name not in ("numpy", "cupy"):
            return None
        *outer, height, width = x.shape
        shape = *outer, before[0] + height + after[0], before[1] + width + after[1]
        padded = importlib.import_module(self.module).full(shape, value, dtype=x.dtype)
        padded[..., before[0] : before[0] + height, before[1] : before[1] + width] = x
        return padded

    @property
    def block_size(self) -> int:
        """How many numbers to make at a time where more would be too many: NumPy's are to stay in a core's cache."""
        return 1 << (18 if self.name == "numpy" else 26)

    def convolution(self) -> Functions | None:
        """The library's own convolution; None where it has none, and xpnet's is taken."""
        match self.name:
            case "torch":
                torch = importlib.import_module("torch")
                grad = torch.nn.grad
                return Functions(torch.nn.functional.conv2d, grad.conv2d_input, grad.conv2d_weight)
            case "jax":
                return _jax_convolution(importlib.import_module("jax"))
            case _:
                return None

    def adder(self, processes: Any) -> Callable[[Array], tuple[Array, np.ndarray[Any, Any] | None]]:
        """What sums arrays of several processes: gives the sums, and the same on the host if they came by there.

        An array that is given to it is used up.

        Parameters
        ----------
        processes : OverMPI
        """
        if self.name == "cupy":
            return _cupy_adder(importlib.import_module(self.module), processes)
        _keep_freed_memory()

        def add(x: Array) -> tuple[Array, np.ndarray[Any, Any]]:
            host = to_numpy(x)  # the array's own memory, where that is the host's
            if host.flags.writeable:
                processes.comm.Allreduce(processes.MPI.IN_PLACE, host)
            else:
                own, host = host, np.empty_like(host)
                processes.comm.Allreduce(own, host)
            return namespace(x=x).asarray(host, device=device(x)), host

        return add

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

        def draw_and_step(carry: Any, data: tuple[Array, ...], index: Array, noise: Any) -> tuple[Any, Array]:
            result: tuple[Any, Array] = step(carry, tuple(self.rows(x, index) for x in data), noise)
            return result

        if self.name == "jax":
            jax = importlib.import_module("jax")

            def scan(carry: Any, data: Any, index: Array, noise: Any) -> Any:
                return jax.lax.scan(lambda carry, row: draw_and_step(carry, data, *row), carry, (index, noise))

            loop = jax.jit(scan)

            def run_loops(
                carry: Any, data: Any, index: np.ndarray[Any, Any], draw: Draw | None = None
            ) -> Iterator[tuple[Any, Array]]:
                for part in np.array_split(index, -(-len(index) // 100)):
                    drawn = [draw(part.shape[1]) for _ in part] if draw else [{}]
                    noise = {name: np.stack([masks[name] for masks in drawn]) for name in drawn[0]}
                    carry, losses = loop(carry, data, part, noise)
                    yield carry, losses

            return run_loops

        compiled = self.compile(draw_and_step)
        _keep_freed_memory()

        def run(
            carry: Any, data: Any, index: np.ndarray[Any, Any], draw: Draw | None = None
        ) -> Iterator[tuple[Any, Array]]:
            index, (count, size) = self.index(index, data[0]), index.shape
            for i, noise in enumerate(self.masks(draw, count, size, data[0])):
                carry, loss = compiled(carry, data, index[i, ...], noise)
                yield carry, loss

        return run


@cache
def _jax_convolution(jax: Any) -> Functions:
    def product(x: Array, W: Array, stride: Any, padding: Any, dilation: Any, groups: int) -> Array:
        both = [(p, p) for p in padding]
        return jax.lax.conv_general_dilated(
            x, W, stride, both, rhs_dilation=dilation, feature_group_count=groups, preferred_element_type=x.dtype
        )

    def transposed(function: Callable[[Array], Array], shape: Any, dout: Array) -> Array:
        return jax.linear_transpose(function, jax.ShapeDtypeStruct(tuple(shape), dout.dtype))(dout)[0]

    def convolve(x: Array, W: Array, b: Array, **options: Any) -> Array:
        return product(x, W, **options) + b[:, None, None]

    def by_images(shape: Any, W: Array, dout: Array, **options: Any) -> Array:
        return transposed(lambda x: product(x, W, **options), shape, dout)

    def by_filters(x: Array, shape: Any, dout: Array, **options: Any) -> Array:
        return transposed(lambda W: product(x, W, **options), shape, dout)

    return Functions(convolve, by_images, by_filters)


def _cupy_adder(cupy: Any, processes: Any) -> Callable[[Array], tuple[Array, np.ndarray[Any, Any] | None]]:
    """By NCCL where each process has a GPU of its own, by an MPI that reads GPU memory, or through the host's."""
    stream, comm = cupy.cuda.get_current_stream, processes.comm
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that there is no NCCL
        nccl = importlib.import_module("cupy.cuda.nccl")
    found = processes.texts(f"{platform.node()} {cupy.cuda.Device().pci_bus_id}" if nccl.available else "")

    if all(found) and len(set(found)) == processes.size:
        # They find each other by a name that the first one has made.
        name = processes.texts(nccl.get_unique_id().hex() if processes.rank == 0 else "")[0]
        ring = nccl.NcclCommunicator(processes.size, bytes.fromhex(name), processes.rank)
        kinds = {"float32": nccl.NCCL_FLOAT32, "float64": nccl.NCCL_FLOAT64}

        def add_by_nccl(x: Array) -> tuple[Array, None]:
            sums = cupy.empty_like(x)
            ring.allReduce(x.data.ptr, sums.data.ptr, x.size, kinds[x.dtype.name], nccl.NCCL_SUM, stream().ptr)
            return sums, None

        return add_by_nccl

    if os.environ.get("XPNET_CUDA_AWARE_MPI") == "1":

        def add_by_mpi(x: Array) -> tuple[Array, None]:
            sums = cupy.empty_like(x)
            stream().synchronize()  # MPI knows nothing of streams
            comm.Allreduce(x, sums)
            return sums, None

        return add_by_mpi

    pinned: list[np.ndarray[Any, Any]] = []

    def add_on_host(x: Array) -> tuple[Array, np.ndarray[Any, Any]]:
        if not pinned:
            empty = importlib.import_module("cupyx").empty_pinned
            pinned.extend(empty(x.shape, x.dtype) for _ in range(2))
        sent, received = pinned
        x.get(out=sent)  # waits for the stream, and so for the copy from `received` of the update before
        comm.Allreduce(sent, received)
        sums = cupy.empty_like(x)
        sums.set(received)
        return sums, received

    return add_on_host


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def _keep_freed_memory() -> None:
    """Have glibc keep what a step frees, for the next one, and not hand it back to the system each time.

    It keeps about twice the largest block, of up to 32 MiB, that it ever got back. This one is never written to, so
    it takes no memory. Elsewhere it does nothing.
    """
    np.empty(31 << 20, dtype=np.uint8)


def _strict_name(device: Any) -> str:
    return "cpu" if str(device._device) == "CPU_DEVICE" else str(device._device)


BACKENDS: dict[str, Backend] = {
    backend.name: backend
    for backend in (
        Backend("numpy", "numpy", "pip install numpy"),
        Backend("cupy", "cupy", "pip install 'xpnet[cupy-cuda12x]' (or cupy-cuda13x, as the CUDA driver is)"),
        Backend("torch", "torch", "pip install 'xpnet[torch]'"),
        Backend("jax", "jax.numpy", "pip install 'xpnet[jax]'"),
        Backend("dask", "dask.array", "pip install 'xpnet[dask]'"),
        Backend("strict", "array_api_strict", "pip install array-api-strict"),
    )
}
"""Every known backend by its name."""


def not_installed(module: str, error: ModuleNotFoundError) -> ImportError:
    """The error of one of xpnet's modules whose library is missing, with the way to get it."""
    hint = f"xpnet.{module} needs {error.name}; get it with: pip install 'xpnet[{module}]'"
    return ImportError(hint, name=error.name)


def get_backend(name: str) -> Backend:
    """The backend of that name.

    Raises
    ------
    ValueError
        If no such backend is known.
    BackendUnavailable
        If it is known and cannot be used here.

    Examples
    --------
    >>> get_backend("numpy").devices()
    ['cpu']
    """
    if name not in BACKENDS:
        raise ValueError(f"backend {name!r} is not known; choose one of {', '.join(BACKENDS)}")
    backend = BACKENDS[name]
    if problem := backend.problem:
        raise BackendUnavailable(f"backend {name!r}: {problem}")
    return backend


def backend_of(x: Array) -> Backend:
    """The backend of an array; one that is not in `BACKENDS` is run as plainly as NumPy."""
    return _backend_of(x.__class__)


@cache
def _backend_of(kind: type) -> Backend:
    library = kind.__module__.partition(".")[0]
    library = {"jaxlib": "jax", "array_api_strict": "strict"}.get(library, library)
    return BACKENDS.get(library) or Backend(library, library, f"pip install {library}")


def elementwise(function: Callable[..., Any]) -> Callable[..., Any]:
    """Mark a function whose results depend, element by element, on the same element of its arguments alone.

    CuPy runs such a function as one kernel; unmarked, each operation in it would be one. The first argument is an
    array. The others are arrays that broadcast with it, or Python numbers. The results are new arrays, all of one
    shape. Use a number with arrays alone, as in ``x * rate``: CuPy's kernel computes ``1 - rate`` in half precision.

    A method can be marked too. It becomes one kernel where its caller asks for it, by `Backend.fuse`.

    Examples
    --------
    >>> @elementwise
    ... def leaning(x, slope):
    ...     return np.where(x > 0, x, slope * x)
    >>> leaning(np.asarray([2.0, -2.0]), 0.5)
    array([ 2., -1.])
    """
    forms: dict[type, Callable[..., Any]] = {}

    @wraps(function)
    def run(*args: Any) -> Any:
        kind = type(args[0])
        if kind not in forms:
            forms[kind] = _cupy_kernel(function) if backend_of(args[0]).name == "cupy" else function
        return forms[kind](*args)

    run.elementwise = True  # type: ignore[attr-defined]
    return run


@lru_cache(maxsize=128)
def _cupy_kernel(function: Callable[..., Any]) -> Callable[..., Any]:
    cupy = importlib.import_module("cupy")
    xp = namespace(x=cupy.empty(0))

    @wraps(function)
    def traced(*args: Any) -> Any:
        for arg in args:  # CuPy's stand-ins for arrays, by which it learns what the function computes
            _array._NAMESPACES.setdefault(type(arg), xp)
        return function(*args)

    kernel, names = cupy.fuse(traced), list(inspect.signature(function).parameters)

    def run(*args: Any) -> Any:
        pairs = zip(names, args, strict=True)
        namespace(**{name: arg for name, arg in pairs if not isinstance(arg, (int, float))})  # or raise
        return kernel(*args)

    return run


@on_arrays_device
def read_all(values: list[Array]) -> np.ndarray[Any, Any]:
    """Many arrays of shape () or (n,) as one NumPy array, with as few transfers as the library allows."""
    if not values:
        return np.empty(0)
    if backend_of(values[0]).name == "jax":  # stacking hundreds of arrays compiles for seconds; this waits once
        return np.hstack(importlib.import_module("jax").device_get(values))
    return to_numpy(namespace(values=values[0]).stack(values))


@on_arrays_device
def to_numpy(x: Array) -> np.ndarray[Any, Any]:
    """Any array as a NumPy array on the host, in its own dtype.

    Parameters
    ----------
    x : array of any array-API library, on any device

    Returns
    -------
    numpy.ndarray
        It may share memory with `x`.

    Examples
    --------
    >>> to_numpy(np.asarray([1.0, 2.0]))
    array([1., 2.])
    """
    match backend_of(x).name:
        case "numpy" | "jax" | "dask":
            return np.asarray(x)
        case "cupy":
            host: np.ndarray[Any, Any] = x.get()
            return host
        case "torch":
            host = x.detach().cpu().numpy()
            return host
        case _:
            return np.from_dlpack(x, device="cpu")

"""CuPy: NumPy's interface on NVIDIA GPUs."""

import importlib
import inspect
import math
import os
import platform
import sys
import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import cache, lru_cache, wraps
from types import ModuleType
from typing import Any, ParamSpec, TypeAlias, TypeVar

import numpy as np

from .. import _array
from .._array import namespace
from .._typing import Array, Namespace
from ..tracing import Program
from .base import Backend, HostArray, no_half
from .numpy import Numpy

__all__ = ["Cupy", "on_arrays_device"]

P = ParamSpec("P")
R = TypeVar("R")
Add: TypeAlias = Callable[[Array], tuple[Array, HostArray | None]]


def on_arrays_device(function: Callable[P, R]) -> Callable[P, R]:
    """Run a function on the device of its arrays.

    CuPy computes on its current device, and some of its kernels do not check whether their arrays are on this device.
    So, on a machine with several CUDA devices, xpnet makes the device of the arrays current while the function runs.
    It looks for the first CuPy array in the arguments, then in the attributes of the arguments. All other libraries,
    and CuPy with one device, do this themselves.
    """

    @wraps(function)
    def run(*args: P.args, **options: P.kwargs) -> R:
        if "cupy" not in sys.modules or _device_count(cupy := sys.modules["cupy"]) < 2:
            return function(*args, **options)
        given = [*args, *options.values()]
        attributes = [getattr(thing, "__dict__", {}) for thing in given]
        array = _first_array(cupy.ndarray, [given, attributes])
        with nullcontext() if array is None else array.device:
            return function(*args, **options)

    return run


def _device_count(cupy: ModuleType) -> int:
    """The number of CUDA devices; 0 without a driver, and inside `torch.compile`, which cannot call CuPy."""
    torch = sys.modules.get("torch")
    return 0 if torch and torch.compiler.is_compiling() else _devices_of(cupy)


@cache
def _devices_of(cupy: ModuleType) -> int:
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


class Cupy(Numpy):
    """CuPy. It computes on one current device at a time."""

    name = "cupy"
    module = "cupy"
    install = "pip install 'xpnet[cupy-cuda12x]' (or cupy-cuda13x, for a driver with CUDA 13)"
    gradcheck_elements = 200
    block_size = 1 << 26

    def why_unusable(self, error: str) -> str:
        """The text of `problem` for a machine where CuPy cannot create an array."""
        return f"no usable CUDA device: {error}; it needs an NVIDIA GPU and its driver"

    def namespace(self) -> Namespace:
        """The array-API namespace. The import works on every machine, but its functions need a device."""
        importlib.import_module("cupy").cuda.runtime.getDeviceCount()
        return super().namespace()

    def known_devices(self) -> dict[str, Any]:
        """The CUDA devices here, by name."""
        cuda = importlib.import_module("cupy").cuda
        return {f"cuda:{i}": cuda.Device(i) for i in range(cuda.runtime.getDeviceCount())}

    def current(self, device: Any) -> AbstractContextManager[Any]:
        """Make `device` the current device."""
        context: AbstractContextManager[Any] = device
        return context

    def is_remote(self, device: Any) -> bool:
        """Always True: the arrays are on a GPU."""
        return True

    def to_numpy(self, x: Array) -> HostArray:
        """A copy on the host."""
        host: HostArray = x.get()
        return host

    # A replay would lose the fused kernels.
    compile, compile_on_rows = Backend.compile, Backend.compile_on_rows
    repeat = Backend.repeat
    shares_memory, threads = Backend.shares_memory, Backend.threads

    def ready(self, program: Program) -> Callable[..., Any]:
        """The recorded operations, on the device of their arrays."""
        return on_arrays_device(program.run)

    def fuse(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Make one kernel of a function or bound method marked by `elementwise`; return others unchanged."""
        return _kernel(function) if hasattr(function, "elementwise") else function

    @on_arrays_device
    def rows(self, x: Array, index: Array) -> Array:
        """The rows of `x` at `index`."""
        return super().rows(x, index)

    def half(self, name: str) -> Any:
        """The dtype of half precision with this name.

        Raises
        ------
        ValueError
            If the name is "bfloat16", and the package ml-dtypes is not installed. CuPy takes this dtype from it.
        """
        try:
            return np.dtype(getattr(importlib.import_module("ml_dtypes"), name) if name == "bfloat16" else name)
        except ImportError as error:
            raise no_half(name, "CuPy's bfloat16 needs the package ml-dtypes (pip install ml-dtypes)") from error

    def matmul(self, a: Array, b: Array) -> Array:
        """The products of the matrices of two batches.

        CuPy multiplies batches of float16 in float32, and it has no product of batches of bfloat16. So this method
        calls cuBLAS for both.
        """
        half = a.dtype == b.dtype and a.dtype.itemsize == 2 and a.dtype.kind not in "iu"
        return _half_products(a, b) if half else a @ b

    def times_each(self, matrix: Array, matrices: Array) -> Array:
        """The product of a matrix with each of several matrices.

        CuPy builds tables of pointers if one operand is a single matrix. If both operands are batches, it does not.
        """
        each = namespace(matrix=matrix).broadcast_to(matrix, (matrices.shape[0], *matrix.shape))
        return self.matmul(each, matrices)

    def adder(self, processes: Any) -> Add:
        """A function that sums arrays of several processes.

        It uses NCCL if each process has its own GPU. Otherwise, it uses MPI on GPU memory if the environment variable
        ``XPNET_CUDA_AWARE_MPI`` is 1, and a copy in the host's memory if not.
        """
        cupy = importlib.import_module("cupy")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about a missing NCCL
            nccl = importlib.import_module("cupy.cuda.nccl")
        found = processes.texts(f"{platform.node()} {cupy.cuda.Device().pci_bus_id}" if nccl.available else "")
        if all(found) and len(set(found)) == processes.size:
            return _adder_by_nccl(cupy, nccl, processes)
        if os.environ.get("XPNET_CUDA_AWARE_MPI") == "1":
            return _adder_by_mpi(cupy, processes)
        return _adder_on_host(cupy, processes)


def _half_products(a: Array, b: Array) -> Array:
    """The products of batches of half precision, with sums in float32."""
    cupy, cublas = importlib.import_module("cupy"), importlib.import_module("cupy_backends.cuda.libs.cublas")
    batch = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    (m, k), n = a.shape[-2:], b.shape[-1]
    a, b = cupy.broadcast_to(a, (*batch, m, k)), cupy.broadcast_to(b, (*batch, k, n))
    if not a.size or not b.size:
        return cupy.zeros((*batch, m, n), a.dtype)
    a, b, c = cupy.ascontiguousarray(a), cupy.ascontiguousarray(b), cupy.empty((*batch, m, n), a.dtype)
    kind = cupy.cuda.runtime.CUDA_R_16F if a.dtype == cupy.float16 else cupy.cuda.runtime.CUDA_R_16BF
    one, zero = np.ones((), np.float32), np.zeros((), np.float32)
    # cuBLAS stores matrices by columns, so it computes the transposed product: bᵀ aᵀ.
    sizes = cublas.CUBLAS_OP_N, cublas.CUBLAS_OP_N, n, m, k
    left, right, out = (b.data.ptr, kind, n, k * n), (a.data.ptr, kind, k, m * k), (c.data.ptr, kind, n, m * n)
    how = math.prod(batch), cublas.CUBLAS_COMPUTE_32F, cublas.CUBLAS_GEMM_DEFAULT
    handle = cupy.cuda.device.get_cublas_handle()
    cublas.gemmStridedBatchedEx(handle, *sizes, one.ctypes.data, *left, *right, zero.ctypes.data, *out, *how)
    return c


def _adder_by_nccl(cupy: Any, nccl: Any, processes: Any) -> Add:
    # The processes find each other by an id that the first process creates.
    name = processes.texts(nccl.get_unique_id().hex() if processes.rank == 0 else "")[0]
    ring = nccl.NcclCommunicator(processes.size, bytes.fromhex(name), processes.rank)
    kinds = {"float32": nccl.NCCL_FLOAT32, "float64": nccl.NCCL_FLOAT64}

    def add(x: Array) -> tuple[Array, None]:
        sums, stream = cupy.empty_like(x), cupy.cuda.get_current_stream()
        ring.allReduce(x.data.ptr, sums.data.ptr, x.size, kinds[x.dtype.name], nccl.NCCL_SUM, stream.ptr)
        return sums, None

    return add


def _adder_by_mpi(cupy: Any, processes: Any) -> Add:
    def add(x: Array) -> tuple[Array, None]:
        sums = cupy.empty_like(x)
        cupy.cuda.get_current_stream().synchronize()  # MPI does not wait for CUDA streams
        processes.comm.Allreduce(x, sums)
        return sums, None

    return add


def _adder_on_host(cupy: Any, processes: Any) -> Add:
    pinned: list[HostArray] = []

    def add(x: Array) -> tuple[Array, HostArray]:
        if not pinned:
            empty = importlib.import_module("cupyx").empty_pinned
            pinned.extend(empty(x.shape, x.dtype) for _ in range(2))
        sent, received = pinned
        x.get(out=sent)  # waits for the stream, and so for the copy from `received` of the update before
        processes.comm.Allreduce(sent, received)
        sums = cupy.empty_like(x)
        sums.set(received)
        return sums, received

    return add


@lru_cache(maxsize=128)
def _kernel(function: Callable[..., Any]) -> Callable[..., Any]:
    cupy = importlib.import_module("cupy")
    xp = namespace(x=cupy.empty(0))

    @wraps(function)
    def traced(*args: Any) -> Any:
        for arg in args:  # CuPy traces the function with placeholder objects
            _array._NAMESPACES.setdefault(type(arg), xp)
        return function(*args)

    kernel, names = cupy.fuse(traced), list(inspect.signature(function).parameters)

    def run(*args: Any) -> Any:
        pairs = zip(names, args, strict=True)
        namespace(**{name: arg for name, arg in pairs if not isinstance(arg, (int, float))})  # or raise
        return kernel(*args)

    return run

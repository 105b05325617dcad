"""Helpers for the array API: the namespace, device and dtype of arrays.

This is the only module that imports `array_api_compat`. Its functions read metadata (type, dtype, shape, device),
never values. So they work under tracing, and never wait for a GPU.
"""

import inspect
import math
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from typing import Any

from array_api_compat import array_namespace

from ._typing import Array, Namespace

_NAMESPACES: dict[type, Namespace] = {}
"""The namespace for each array type. This look-up takes a tenth of the time of `array_api_compat`'s search, and a
training step needs about a dozen look-ups."""

_OLDEST = "2024.12"
"""The oldest version of the standard that xpnet works with. The versions before it have no Python numbers in `where`
and `maximum`."""

_REQUIRED = {"x", "t", "y", "ids", "dout"}
"""The names of arguments that are never optional, so None is an error."""


def namespace(**arrays: Array) -> Namespace:
    """The common array-API namespace of all `arrays`; ``None`` is ignored, except for `_REQUIRED` arguments.

    The keywords are the argument names of the caller, for the error message.

    Raises
    ------
    TypeError
        If an argument is not an array, or if the arrays come from different libraries.
    ValueError
        If the arrays are on different devices.

    Examples
    --------
    >>> import numpy as np
    >>> namespace(x=np.zeros(3)).__name__
    'array_api_compat.numpy'
    """
    xp = where = None
    for name, array in arrays.items():
        if array is None:
            if name in _REQUIRED:
                raise TypeError(f"{name} must be an array, got None")
            continue
        try:
            found = _NAMESPACES[type(array)]
        except KeyError:
            found = _find(name, array)
        here = getattr(array, "device", None)
        if xp is None:
            xp, where = found, here
        elif found is not xp:
            raise TypeError(_mixed(arrays))
        elif here != where and not same_device(here, where):
            raise ValueError(f"arrays on different devices: {_places(arrays)}; move them to one device first")
    return xp


def _find(name: str, array: Array) -> Namespace:
    way = next((way for attribute, way in _WAYS.items() if hasattr(type(array), attribute)), None)
    kind, xp = _kind(array), None
    if way is None or (hasattr(array, "__array_namespace__") and not hasattr(array, "__array_finalize__")):
        with suppress(TypeError):
            xp = array_namespace(array)
    if xp is not None:
        if (version := getattr(xp, "__array_api_version__", _OLDEST)) < _OLDEST:
            raise TypeError(
                f"{name} is an array of {xp.__name__}, which follows version {version} of the array API standard; "
                f"xpnet needs version {_OLDEST} or newer, so install a newer {xp.__name__.partition('.')[0]}"
            )
        if not (other := _other_kind(xp, array)):
            _NAMESPACES[type(array)] = _completed(xp)
            return _NAMESPACES[type(array)]
        kind = f"{kind}, whose operations return another type, {other}"
    to = "" if name[:1] == "t" else ", dtype='float32'"
    way = (way or f"numpy.asarray({{name}}{to})").format(name=name)
    raise TypeError(
        f"{name} must be an array of an array-API library (NumPy, CuPy, PyTorch, JAX, ...), "
        f"got {kind}; convert it first, such as {way}"
    )


def _other_kind(xp: Namespace, array: Array) -> str:
    """The type that operations on an array return, if it is another type; "" if not.

    In blosc2, the result of an operation is an expression instead of an array, and some expressions are computed
    wrongly. Only arrays without DLPack are checked, and only if array_api_compat does not adapt their library.
    """
    if hasattr(array, "__dlpack__") or xp is not getattr(array, "__array_namespace__", lambda: None)():
        return ""
    result = array == array
    return "" if type(result) is type(array) else _kind(result)


_OPTIONS = {
    **dict.fromkeys(("arange", "empty", "ones", "zeros"), ("device",)),
    "asarray": ("device", "copy"),
    "astype": ("copy",),
}
"""The arguments that not every library has, by function of the standard."""


@cache
def _completed(xp: Namespace) -> Namespace:
    """`xp`, wrapped if some functions lack the arguments in `_OPTIONS`."""
    return _Completed(xp) if any(_missing(xp, name) for name in _OPTIONS if hasattr(xp, name)) else xp


def _missing(xp: Namespace, name: str) -> list[str]:
    """The arguments that a function lacks. All of them if its signature is not known, as for functions in C++."""
    options = _OPTIONS.get(name, ())
    try:
        known = inspect.signature(getattr(xp, name)).parameters
    except (TypeError, ValueError):
        return list(options)
    if any(p.kind is p.VAR_KEYWORD for p in known.values()):
        return []
    return [option for option in options if option not in known]


class _Completed:
    """The namespace of a library whose functions lack ``device=`` or ``copy=``."""

    def __init__(self, xp: Namespace) -> None:
        self._xp, self.__name__ = xp, xp.__name__

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._xp, name)
        if missing := _missing(self._xp, name):
            found = _without(self._xp, found, missing)
        setattr(self, name, found)
        return found


def _without(xp: Namespace, function: Callable[..., Any], missing: list[str]) -> Callable[..., Any]:
    """The function, wrapped: ``device=None`` and ``copy`` are removed. It makes the copy if ``copy=True``."""

    def call(*args: Any, **options: Any) -> Any:
        if "device" in missing and options.get("device") is None:
            options.pop("device", None)
        if "copy" in missing and options.pop("copy", False):
            args = xp.stack(args[:1])[0, ...], *args[1:]
        return function(*args, **options)

    return call


_WAYS = {
    "toarray": "{name}.toarray()",  # a sparse matrix of SciPy
    "to_numpy": "{name}.to_numpy()",  # a table or column of pandas or Polars
    "getA1": "numpy.asarray({name})",  # numpy.matrix, whose * is a matrix product
    "filled": "{name}.filled(0)",  # a masked array, of which some functions would ignore the mask
}
"""How to convert an object that is not an array, or not an ordinary one, to an array: by an attribute of its type."""


def _kind(array: Array) -> str:
    kind = type(array)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def _mixed(arrays: dict[str, Array]) -> str:
    """The message for arrays of different libraries."""
    if any(_kind(array).startswith("xpnet.") for array in arrays.values()):
        problem = "an array is not an argument of the function that vmap or trace calls"
        advice = "pass each array as an argument (with in_axes=None in vmap if it is the same for all inputs)"
    else:
        problem = "arrays of different libraries"
        advice = "convert them to one library first (xpnet.to_numpy converts any array to NumPy)"
    return f"{problem}: {_kinds(arrays)}; {advice}"


def _kinds(arrays: dict[str, Array]) -> str:
    return ", ".join(f"{name} is {_kind(array)}" for name, array in arrays.items() if array is not None)


def device(x: Array) -> Any:
    """The device of `x`, for the argument ``device=`` of a creation function; None if `x` has no device.

    A traced JAX array and a Dask array have no device. For both, creation on the default device is right. For a JAX
    array that is sharded over a mesh of devices, the result is the replicated sharding over its mesh, which is valid
    for every shape.
    """
    where = layout(x)
    return type(where)(where.mesh, type(where.spec)()) if hasattr(where, "mesh") else where


def layout(x: Array) -> Any:
    """The device or the sharding of `x`, for a new array of the shape of `x`."""
    return getattr(x, "device", None)


def devices(x: Array) -> list[Any]:
    """The devices of `x`: several for a sharded JAX array, otherwise one, or none if `x` has no device."""
    return _devices(layout(x))


def _devices(where: Any) -> list[Any]:
    if hasattr(where, "mesh"):
        return list(where.mesh.devices.flat)
    return [] if where is None else [where]


def same_device(one: Any, other: Any) -> bool:
    """Whether two results of `device` or `layout` are the same device, or the same devices in the same order.

    None matches every device. Two meshes of different shapes match, because JAX can combine their arrays.
    """
    return one is None or other is None or _devices(one) == _devices(other)


def _places(arrays: dict[str, Array]) -> str:
    """Where the arrays are, with the first array of each place."""
    names = dict[str, str]()
    for name, array in arrays.items():
        if found := devices(array):
            several = f"the {len(found)} devices {found[0]} to {found[-1]}"
            names.setdefault(str(found[0]) if len(found) == 1 else several, name)
    return ", ".join(f"{name} on {place}" for place, name in names.items())


@cache
def is_floating(xp: Namespace, dtype: Any) -> bool:
    """Whether `dtype` is a real floating dtype of `xp`."""
    return bool(xp.isdtype(dtype, "real floating"))


@cache
def is_integral(xp: Namespace, dtype: Any) -> bool:
    """Whether `dtype` is a signed or unsigned integer dtype of `xp`."""
    return bool(xp.isdtype(dtype, "integral"))


@cache
def is_real(xp: Namespace, dtype: Any) -> bool:
    """Whether `dtype` is a dtype of real numbers of `xp`, or bool: what a target that is no label may be."""
    return bool(xp.isdtype(dtype, ("bool", "integral", "real floating")))


_INDEX_DTYPES: dict[tuple[str, str], Any] = {}
"""The index dtypes found so far, by the names of namespace and device: a CuPy device cannot be hashed, and
`torch.compile` cannot compare modules."""


def index_dtype(xp: Namespace, device: Any = None) -> Any:
    """The default index dtype of `xp` on `device`: int64 nearly everywhere, int32 on JAX without 64-bit dtypes."""
    key = xp.__name__, str(device)
    if key not in _INDEX_DTYPES:
        _INDEX_DTYPES[key] = xp.__array_namespace_info__().default_dtypes(device=device)["indexing"]
    return _INDEX_DTYPES[key]


def has_float64(xp: Namespace, device: Any = None) -> bool:
    """Whether `xp` has float64 on `device`. It is missing on Apple GPUs and in JAX's default setting."""
    return "float64" in xp.__array_namespace_info__().dtypes(device=device, kind="real floating")


def check_floating(xp: Namespace, where: str, **arrays: Array) -> None:
    """Raise a TypeError if the arrays do not have the same real floating dtype; None is ignored.

    `where` is the name of the function or layer, with which the message starts.
    """
    first = dtype = None
    for name, array in arrays.items():
        if array is None or (first and array.dtype == dtype):  # NumPy's float64 == None is True
            continue
        if not is_floating(xp, array.dtype):
            hint = f"convert it first, such as xp.astype({name}, xp.float32)"
            if name == "x" and is_integral(xp, array.dtype):
                hint = "scale images first, such as xp.astype(x, xp.float32) / 255"
            raise TypeError(
                f"{where}: {name} must have a real floating dtype, got {array.dtype} of shape "
                f"{tuple(array.shape)}; {hint}"
            )
        if first is not None:
            raise TypeError(
                f"{where}: {first} is {dtype} but {name} is {array.dtype}; "
                "cast one of them, such as xp.astype(x, xp.float32)"
            )
        first, dtype = name, array.dtype


def as_floating(where: str, x: Array, name: str = "x") -> tuple[Namespace, Array]:
    """The namespace of `x`, and `x`: unchanged, or for integers in the default floating dtype of its library.

    Raises
    ------
    TypeError
        If `x` is not an array of real numbers. The message starts with `where`, the name of the function, and names
        the argument as `name`.
    """
    xp = namespace(**{name: x})
    if is_floating(xp, x.dtype):
        return xp, x
    if is_integral(xp, x.dtype):
        return xp, xp.astype(x, xp.__array_namespace_info__().default_dtypes(device=device(x))["real floating"])
    raise TypeError(
        f"{where}: {name} must be an array of real numbers, got {x.dtype} of shape {tuple(x.shape)}; convert it "
        f"first, such as xp.astype({name}, xp.float32)"
    )


def find_dtype(xp: Namespace, dtype: Any, device: Any = None) -> Any:
    """The dtype of `xp` for `dtype`, which is a dtype of `xp` or a name in the standard, such as "float32".

    Raises
    ------
    TypeError
        If `xp` does not have this dtype on `device`, or has it only with another setting.
    """
    name = dtype_name(dtype)
    known = xp.__array_namespace_info__().dtypes(device=device, kind=("bool", "integral", "real floating"))
    if name in known:
        return known[name]
    if isinstance(dtype, str) or name == "float64":
        raise TypeError(
            f"dtype {name} is not available in {xp.__name__.removeprefix('array_api_compat.')} on this device; "
            f"choose one of {', '.join(known)} (JAX gives float64 after jax.config.update('jax_enable_x64', True))"
        )
    return dtype  # a dtype outside the standard, such as bfloat16


def from_host(host: Array, xp: Namespace, dtype: Any, device: Any = None) -> Array:
    """Copy a NumPy array to `xp` and `device` as `dtype` (see `find_dtype`). The copy shares no memory."""
    dtype = find_dtype(xp, dtype, device)
    try:  # cast on the host: the array may be float64, which the device may not have
        return xp.asarray(host.astype(dtype_name(dtype)), device=device)
    except TypeError:  # NumPy does not have the dtype
        return xp.astype(xp.asarray(host.astype("float32"), device=device), dtype)


def dtype_name(dtype: Any) -> str:
    """The name of a dtype in the standard: "float32" for `torch.float32`, `numpy.dtype('f4')`, "float32"."""
    name = dtype if isinstance(dtype, str) else getattr(dtype, "__name__", str(dtype))
    return name.rpartition(".")[2]


def size(x: Array) -> int:
    """The number of elements of `x`; in PyTorch, `x.size` is a method."""
    return math.prod(x.shape)

"""Call a function once for many inputs, whose arrays lie along a new first axis."""

import math
import operator
from collections.abc import Callable, Sequence
from functools import cache, partial
from types import ModuleType
from typing import Any

from .._typing import Array, Namespace
from .program import is_array, leaves, replaced

__all__ = ["BatchedArray", "BatchingError", "apply", "batched_type", "merged", "vectorized"]


class BatchingError(TypeError):
    """Raised if a function cannot be called for many inputs at once. The message names the operation."""


class BatchedArray:
    """The arrays of many calls of a function, in one array: ``value[i, ...]`` is the array of call i.

    Each operation is done for all calls at once. Shape and other metadata are those of the array of one call. `many`
    is False for an array that is the same in all calls. Its `value` has no axis for the calls.
    """

    __slots__ = ("many", "value")
    __array_ufunc__ = None  # NumPy's operators leave the operation to this class
    __hash__ = object.__hash__
    xp: Namespace
    backend: Any

    def __init__(self, value: Array, many: bool) -> None:
        self.value, self.many = value, many

    shape = property(lambda self: tuple(self.value.shape[self.many :]))
    dtype = property(lambda self: self.value.dtype)
    device = property(lambda self: getattr(self.value, "device", None))
    ndim = property(lambda self: len(self.value.shape) - self.many)
    size = property(lambda self: math.prod(self.shape))
    mT = property(lambda self: apply("matrix_transpose", type(self).xp.matrix_transpose, self))  # noqa: N815

    @property
    def T(self) -> Any:  # noqa: N802
        """The transposed matrix."""
        if self.ndim != 2:
            raise ValueError(f"x.T needs a matrix, got an array of shape {self.shape}; use x.mT or xp.permute_dims")
        return self.mT

    def __array_namespace__(self, api_version: str | None = None) -> Namespace:
        return _namespace(type(self))  # type: ignore[arg-type]  # a type can be hashed

    def __getitem__(self, key: Any) -> Any:
        return apply("getitem", operator.getitem, self, key)

    def __repr__(self) -> str:
        return f"BatchedArray(shape={self.shape}, dtype={self.dtype})"


def _operators() -> None:
    both = "add sub mul truediv floordiv mod pow matmul and or xor lshift rshift".split()
    for name in [*both, *"eq ne lt le gt ge neg pos abs invert".split()]:
        function = getattr(operator, f"{name}_" if name in ("and", "or") else name)
        rule = "matmul" if name == "matmul" else "add"  # all others are elementwise
        setattr(BatchedArray, f"__{name}__", lambda *args, f=function, r=rule: apply(r, f, *args))
        if name in both:
            setattr(BatchedArray, f"__r{name}__", lambda a, b, f=function, r=rule: apply(r, f, b, a))


def _refused(name: str) -> Callable[..., Any]:
    def method(self: BatchedArray, *args: Any) -> Any:
        raise BatchingError(
            f"{name} of an array of shape {self.shape}, whose values differ between the calls; use functions of "
            "arrays, such as xp.where"
        )

    return method


_operators()
for _name in ("bool", "float", "int", "complex", "index", "iter", "len", "contains", "array", "dlpack", "setitem"):
    setattr(BatchedArray, f"__{_name}__", _refused(_name))


def batched_type(xp: Namespace, backend: Any) -> type[BatchedArray]:
    """The type of the batched arrays of a library."""
    return type("BatchedArray", (BatchedArray,), {"__slots__": (), "xp": xp, "backend": backend})


class _Batching:
    """The namespace of batched arrays: the functions of the library, for all calls at once."""

    def __init__(self, kind: type[BatchedArray]) -> None:
        self._kind, self.__name__ = kind, kind.xp.__name__

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._kind.xp, name)
        if isinstance(found, ModuleType):
            return _Extension(self._kind, name, found)
        if name in ("__array_namespace_info__", "finfo", "iinfo") or not callable(found) or isinstance(found, type):
            return found
        made = partial(_called, self._kind, name, found)
        setattr(self, name, made)
        return made


class _Extension:
    """An extension of the standard, such as `linalg`. Its functions take arrays that are the same in all calls."""

    def __init__(self, kind: type[BatchedArray], name: str, module: ModuleType) -> None:
        self._kind, self._name, self._module = kind, name, module

    def __getattr__(self, name: str) -> Any:
        return partial(_called, self._kind, f"{self._name}.{name}", getattr(self._module, name))


@cache
def _namespace(kind: type[BatchedArray]) -> _Batching:
    return _Batching(kind)


def _called(kind: type[BatchedArray], name: str, function: Callable[..., Any], /, *args: Any, **options: Any) -> Any:
    """Call a function of the namespace."""
    if name in _OF_METADATA:
        return function(*replaced(args, lambda a: a.value if isinstance(a, BatchedArray) else a), **options)
    if any(isinstance(leaf, BatchedArray) for leaf in leaves((args, options))):
        return apply(name, function, *args, **options)
    return _wrapped(kind, function(*args, **options), False)


def _wrapped(kind: type[BatchedArray], result: Any, many: bool) -> Any:
    return replaced(result, lambda leaf: kind(leaf, many) if is_array(leaf) else leaf)


def apply(name: str, function: Callable[..., Any], /, *args: Any, **options: Any) -> Any:
    """The result of a function of the library for all calls, by the rule of the name."""
    kind = next(type(leaf) for leaf in leaves((args, options)) if isinstance(leaf, BatchedArray))

    def given(leaf: Any) -> Any:  # another array is the same in all calls
        return kind(leaf, False) if is_array(leaf) and not isinstance(leaf, BatchedArray) else leaf

    args, options = replaced((args, options), given)
    if not any(leaf.many for leaf in leaves((args, options)) if isinstance(leaf, BatchedArray)):
        plain = replaced((args, options), lambda a: a.value if isinstance(a, BatchedArray) else a)
        return _wrapped(kind, function(*plain[0], **plain[1]), False)
    if name in _OF_ONE:
        if (
            isinstance(args[0], BatchedArray)
            and sum(isinstance(a, BatchedArray) for a in leaves((args, options))) == 1
        ):
            return _wrapped(kind, _OF_ONE[name](function, *args, **options), True)
        raise BatchingError(f"{name} can be computed for many inputs at once if one argument, the first, is an array")
    if name not in _OF_SEVERAL:
        raise BatchingError(f"{name} cannot be computed for many inputs at once")
    return _wrapped(kind, _OF_SEVERAL[name](function, *args, **options), True)


# Helpers of the rules


def _count(*operands: Any) -> int:
    """The number of calls."""
    return next(int(a.value.shape[0]) for a in operands if isinstance(a, BatchedArray) and a.many)


def _at_rank(a: Any, rank: int) -> Any:
    """The value of an operand, with new axes so that it broadcasts as an array with `rank` axes does."""
    if not isinstance(a, BatchedArray):
        return a
    if not a.many or a.ndim >= rank:
        return a.value
    return a.xp.reshape(a.value, (a.value.shape[0], *[1] * (rank - a.ndim), *a.shape))


def _for_all(a: BatchedArray, count: int) -> Array:
    """The value of an operand, with the axis of the calls."""
    return a.value if a.many else a.xp.broadcast_to(a.value[None, ...], (count, *a.shape))


def _flat(a: BatchedArray) -> Array:
    return a.xp.reshape(a.value, (a.value.shape[0], a.size))


def _shifted(axis: int, rank: int) -> int:
    """The axis in the value: negative axes stay."""
    axis = operator.index(axis)
    if not -rank <= axis < rank:
        raise IndexError(f"axis {axis} is out of range for an array with {rank} axes")
    return axis + 1 if axis >= 0 else axis


def merged(function: Callable[..., Any], x: BatchedArray, *args: Any) -> Any:
    """Call a function that works on each sample alone, along the first axis of `x`, for the samples of all calls."""
    count, length = x.value.shape[:2]

    def parted(result: Array) -> Array:
        return x.xp.reshape(result, (count, length, *result.shape[1:])) if is_array(result) else result

    whole = x.xp.reshape(x.value, (count * length, *x.shape[1:]))
    return _wrapped(type(x), replaced(function(whole, *args), parted), True)


# Rules. Each calls a function of the library with the values of the operands, of which at least one is `many`.


def _elementwise(function: Callable[..., Any], *args: Any, **options: Any) -> Any:
    rank = max(a.ndim for a in (*args, *options.values()) if isinstance(a, BatchedArray))
    return function(*[_at_rank(a, rank) for a in args], **{name: _at_rank(a, rank) for name, a in options.items()})


def _same(function: Callable[..., Any], x: Any, *args: Any, **options: Any) -> Any:
    return function(x.value, *args, **options)


def _matrices(function: Callable[..., Any], x: Any, **options: Any) -> Any:
    if x.ndim < 2:
        raise ValueError(f"an array of shape {x.shape} is not a matrix")
    return function(x.value, **options)


def _reduction(
    function: Callable[..., Any], x: BatchedArray, *, axis: Any = None, keepdims: bool = False, **options: Any
) -> Any:
    if axis is None:
        result = function(_flat(x), axis=1, **options)
        return x.xp.reshape(result, (-1, *[1] * x.ndim)) if keepdims else result
    axes = tuple(_shifted(a, x.ndim) for a in axis) if isinstance(axis, tuple) else _shifted(axis, x.ndim)
    return function(x.value, axis=axes, keepdims=keepdims, **options)


def _along(default: int, extra: int = 0) -> Callable[..., Any]:
    """The rule of a function of one array along one axis; `extra` is the number of new axes in the result."""

    def rule(function: Callable[..., Any], x: BatchedArray, axis: Any = default, **options: Any) -> Any:
        return function(x.value, axis=_shifted(axis, x.ndim + extra), **options)

    return rule


def _cumulative(function: Callable[..., Any], x: BatchedArray, *, axis: int | None = None, **options: Any) -> Any:
    if axis is None and x.ndim != 1:
        raise ValueError(f"pass axis; an array of shape {x.shape} does not have one axis")
    return function(x.value, axis=_shifted(axis or 0, x.ndim), **options)


def _joining(extra: int) -> Callable[..., Any]:
    """The rule of `concat` and `stack`."""

    def rule(function: Callable[..., Any], arrays: Sequence[BatchedArray], *, axis: Any = 0) -> Any:
        values = [_for_all(a, _count(*arrays)) for a in arrays]
        if axis is None:
            return function([arrays[0].xp.reshape(v, (v.shape[0], -1)) for v in values], axis=1)
        return function(values, axis=_shifted(axis, arrays[0].ndim + extra))

    return rule


def _squeeze(function: Callable[..., Any], x: BatchedArray, axis: Any) -> Any:
    axes = axis if isinstance(axis, tuple) else (axis,)
    return function(x.value, axis=tuple(_shifted(a, x.ndim) for a in axes))


def _flip(function: Callable[..., Any], x: BatchedArray, *, axis: Any = None) -> Any:
    axes = range(x.ndim) if axis is None else axis if isinstance(axis, tuple) else (axis,)
    return function(x.value, axis=tuple(_shifted(a, x.ndim) for a in axes))


def _roll(function: Callable[..., Any], x: BatchedArray, shift: Any, *, axis: Any = None) -> Any:
    if axis is None:
        return x.xp.reshape(function(_flat(x), shift, axis=1), x.value.shape)
    axes = tuple(_shifted(a, x.ndim) for a in axis) if isinstance(axis, tuple) else _shifted(axis, x.ndim)
    return function(x.value, shift, axis=axes)


def _reshape(function: Callable[..., Any], x: BatchedArray, shape: Any, **options: Any) -> Any:
    shape = (shape,) if isinstance(shape, int) else tuple(shape)
    if -1 in shape:
        rest = math.prod(n for n in shape if n != -1)
        shape = tuple(x.size // max(1, rest) if n == -1 else n for n in shape)
    return function(x.value, (x.value.shape[0], *shape), **options)


def _permute(function: Callable[..., Any], x: BatchedArray, axes: Sequence[int]) -> Any:
    return function(x.value, (0, *(_shifted(a, x.ndim) % (x.ndim + 1) for a in axes)))


def _move(function: Callable[..., Any], x: BatchedArray, source: Any, destination: Any, /) -> Any:
    ends = [axes if isinstance(axes, tuple) else (axes,) for axes in (source, destination)]
    return function(x.value, *(tuple(_shifted(a, x.ndim) for a in axes) for axes in ends))


def _broadcast_to(function: Callable[..., Any], x: BatchedArray, shape: Sequence[int]) -> Any:
    return function(_at_rank(x, len(shape)), (x.value.shape[0], *shape))


def _broadcast_arrays(function: Callable[..., Any], *arrays: BatchedArray) -> Any:
    rank = max(a.ndim for a in arrays)
    return function(*(_at_rank(a if a.many else type(a)(a.value[None, ...], True), rank) for a in arrays))


def _tile(function: Callable[..., Any], x: BatchedArray, repetitions: Sequence[int], /) -> Any:
    rank = max(x.ndim, len(repetitions))
    return function(_at_rank(x, rank), (*[1] * (1 + rank - len(repetitions)), *repetitions))


def _repeat(function: Callable[..., Any], x: BatchedArray, repeats: Any, /, *, axis: Any = None) -> Any:
    if isinstance(repeats, BatchedArray):
        if repeats.many:
            raise BatchingError("repeat by numbers that differ between the calls gives arrays of different shapes")
        repeats = repeats.value
    return (
        function(_flat(x), repeats, axis=1)
        if axis is None
        else function(x.value, repeats, axis=_shifted(axis, x.ndim))
    )


def _matmul(function: Callable[..., Any], a: BatchedArray, b: BatchedArray) -> Any:
    if not all(isinstance(x, BatchedArray) and x.ndim for x in (a, b)):
        raise ValueError("matmul needs arrays with one axis or more")
    row, column = a.ndim == 1, b.ndim == 1
    a = apply("expand_dims", a.xp.expand_dims, a, axis=0) if row else a
    b = apply("expand_dims", b.xp.expand_dims, b, axis=1) if column else b
    rank = max(a.ndim, b.ndim)
    # The backend's product, because a library may lack products of batches in half precision.
    result = a.backend.backend.matmul(_at_rank(a, rank), _at_rank(b, rank))
    if row:
        result = result[..., 0, :]
    return result[..., 0] if column else result


def _vecdot(function: Callable[..., Any], a: BatchedArray, b: BatchedArray, /, *, axis: int = -1) -> Any:
    if not -min(a.ndim, b.ndim) <= axis < 0:
        raise ValueError(f"vecdot: axis must be negative, and an axis of both arrays, got {axis}")
    return _elementwise(function, a, b, axis=axis)


def _tensordot(function: Callable[..., Any], a: BatchedArray, b: BatchedArray, /, *, axes: Any = 2) -> Any:
    if isinstance(axes, int):
        axes = range(a.ndim - axes, a.ndim), range(axes)
    over_a, over_b = [range(a.ndim)[n] for n in axes[0]], [range(b.ndim)[n] for n in axes[1]]
    if [a.shape[n] for n in over_a] != [b.shape[n] for n in over_b]:
        raise ValueError(f"tensordot: the axes {axes} of arrays of shapes {a.shape} and {b.shape} differ in length")
    kept_a, kept_b = [n for n in range(a.ndim) if n not in over_a], [n for n in range(b.ndim) if n not in over_b]
    one, other = (
        _called(type(a), "permute_dims", a.xp.permute_dims, a, (*kept_a, *over_a)),
        _called(type(b), "permute_dims", b.xp.permute_dims, b, (*over_b, *kept_b)),
    )
    of_a, of_b, over = [a.shape[n] for n in kept_a], [b.shape[n] for n in kept_b], [a.shape[n] for n in over_a]
    size, xp = math.prod(over), a.__array_namespace__()
    product = xp.reshape(one, (math.prod(of_a), size)) @ xp.reshape(other, (size, math.prod(of_b)))
    return xp.reshape(product, (*of_a, *of_b)).value


def _take(function: Callable[..., Any], x: BatchedArray, indices: BatchedArray, /, *, axis: Any = None) -> Any:
    if axis is None and x.ndim != 1:
        raise ValueError("take: pass axis; the array does not have one axis")
    axis = range(x.ndim)[axis or 0]
    if not indices.many:
        return function(x.value, indices.value, axis=axis + 1)
    if indices.ndim != 1:
        raise ValueError(f"take: the indices must have one axis, got shape {indices.shape}")
    xp, count, numbers = x.xp, _count(indices), indices.value
    if x.many:  # the rows of all calls in one array, in which the rows of call i start at i n
        n, moved = x.shape[axis], xp.moveaxis(x.value, axis + 1, 1)
        rows = xp.reshape(moved, (count * n, *moved.shape[2:]))
        wide = xp.__array_namespace_info__().default_dtypes(device=indices.device)["indexing"]
        numbers = xp.astype(numbers, wide, copy=False)  # the rows of all calls can be too many for the dtype
        starts = xp.reshape(xp.arange(count, dtype=numbers.dtype, device=indices.device) * n, (count, 1))
        own = xp.where(numbers < 0, numbers + n, numbers)
        # An index outside x must not find a row of another call. It becomes an index outside the array of all rows.
        numbers = xp.where((own >= 0) & (own < n), own + starts, count * n)
    else:
        rows = xp.moveaxis(x.value, axis, 0)
    found = function(rows, xp.reshape(numbers, (-1,)), axis=0)
    return xp.moveaxis(xp.reshape(found, (*indices.value.shape, *rows.shape[1:])), 1, axis + 1)


def _take_along_axis(
    function: Callable[..., Any], x: BatchedArray, indices: BatchedArray, /, *, axis: int = -1
) -> Any:
    count = _count(x, indices)
    return function(_for_all(x, count), _for_all(indices, count), axis=_shifted(axis, x.ndim))


def _getitem(function: Callable[..., Any], x: BatchedArray, key: Any) -> Any:
    keys = key if isinstance(key, tuple) else (key,)
    arrays = [k for k in keys if isinstance(k, BatchedArray)]
    if any(k.many for k in arrays):
        raise BatchingError("x[...] with an array that differs between the calls; use xp.take or xp.where")
    if arrays and _are_apart(keys):
        raise BatchingError("x[...] with arrays or integers on both sides of a slice, None or ...; use xp.take")
    return function(x.value, (slice(None), *(k.value if isinstance(k, BatchedArray) else k for k in keys)))


def _are_apart(keys: tuple[Any, ...]) -> bool:
    """Whether arrays and integers are not next to each other; then NumPy moves their axis to the front."""
    at = [i for i, key in enumerate(keys) if not (key is None or key is Ellipsis or isinstance(key, slice))]
    return at[-1] - at[0] >= len(at)


_OF_SEVERAL: dict[str, Callable[..., Any]] = {
    **dict.fromkeys(
        "abs acos acosh add asin asinh atan atan2 atanh bitwise_and bitwise_invert bitwise_left_shift bitwise_or "
        "bitwise_right_shift bitwise_xor ceil clip copysign cos cosh divide equal exp expm1 floor floor_divide "
        "greater greater_equal hypot isfinite isinf isnan less less_equal log log1p log2 log10 logaddexp logical_and "
        "logical_not logical_or logical_xor maximum minimum multiply negative nextafter not_equal positive pow "
        "reciprocal remainder round sign signbit sin sinh sqrt square subtract tan tanh trunc where".split(),
        _elementwise,
    ),
    "concat": _joining(0),
    "stack": _joining(1),
    "broadcast_arrays": _broadcast_arrays,
    "repeat": _repeat,
    "matmul": _matmul,
    "tensordot": _tensordot,
    "vecdot": _vecdot,
    "take": _take,
    "take_along_axis": _take_along_axis,
    "getitem": _getitem,
}
"""How to compute an operation of one array or several for all calls at once, by its name in the standard."""

_OF_ONE: dict[str, Callable[..., Any]] = {
    **dict.fromkeys("astype asarray empty_like full_like ones_like zeros_like".split(), _same),
    **dict.fromkeys("matrix_transpose tril triu".split(), _matrices),
    **dict.fromkeys("all any argmax argmin count_nonzero max mean min prod std sum var".split(), _reduction),
    **dict.fromkeys("argsort diff sort".split(), _along(-1)),
    **dict.fromkeys("cumulative_prod cumulative_sum".split(), _cumulative),
    "expand_dims": _along(0, extra=1),
    "unstack": _along(0),
    "squeeze": _squeeze,
    "flip": _flip,
    "roll": _roll,
    "reshape": _reshape,
    "permute_dims": _permute,
    "moveaxis": _move,
    "broadcast_to": _broadcast_to,
    "tile": _tile,
}
"""How to compute an operation of one array, which is the first argument."""

_OF_METADATA = ("can_cast", "isdtype", "result_type", "broadcast_shapes")


def vectorized(
    function: Callable[..., Any], axes: Any, kind: Callable[[Array], type[BatchedArray]]
) -> Callable[..., Any]:
    """`function` for many inputs at once, see `xpnet.vmap`. `kind` returns the type of the batched arrays."""
    if wrong := [axis for axis in leaves(axes) if axis is not None and axis != 0]:
        raise ValueError(f"vmap: in_axes must be 0, None, or a tuple, list or dict of these, got {wrong[0]!r}")

    def call(*args: Any) -> Any:
        lengths = set[int]()
        if isinstance(axes, (tuple, list)) and len(axes) != len(args):
            raise ValueError(f"vmap: in_axes has {len(axes)} entries for {len(args)} arguments; they must be as many")

        def enter(tree: Any, axis: Any) -> Any:
            if isinstance(tree, dict):
                if isinstance(axis, dict) and axis.keys() != tree.keys():
                    raise ValueError(f"vmap: in_axes has the keys {[*axis]} for a dict with the keys {[*tree]}")
                return {key: enter(part, axis[key] if isinstance(axis, dict) else axis) for key, part in tree.items()}
            if isinstance(tree, (tuple, list)):
                each = axis if isinstance(axis, (tuple, list)) else [axis] * len(tree)
                if len(each) != len(tree):
                    raise ValueError(
                        f"vmap: in_axes has {len(each)} entries for a {type(tree).__name__} of {len(tree)}"
                    )
                parts = [enter(part, way) for part, way in zip(tree, each, strict=True)]
                return type(tree)(*parts) if hasattr(tree, "_fields") else type(tree)(parts)
            if not is_array(tree):
                return tree
            if not (axis is None or axis == 0):
                raise ValueError(f"vmap: in_axes has {axis!r} for an array; it must be 0 or None")
            if axis == 0:
                if not tree.shape:
                    raise ValueError("vmap: an array has shape (), so it has no axis 0; its in_axes must be None")
                lengths.add(int(tree.shape[0]))
            return kind(tree)(tree, axis == 0)

        entered = enter(args, axes)
        if len(lengths) != 1:
            raise ValueError(
                f"vmap: the first axes of the arrays have the lengths {sorted(lengths)}; they must have one length"
                if lengths
                else "vmap: no array has an axis for the calls; pass arrays, and in_axes with a 0"
            )
        (count,) = lengths

        def leave(leaf: Any) -> Any:
            if not is_array(leaf):
                return leaf
            array = leaf if isinstance(leaf, BatchedArray) else kind(leaf)(leaf, False)
            return array.value if array.many else array.xp.asarray(_for_all(array, count), copy=True)

        return replaced(function(*entered), leave)

    return call

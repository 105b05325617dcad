"""Record the operations of a function, which is called with arrays that record each operation on them."""

import inspect
import operator
import sys
from collections import Counter
from collections.abc import Callable
from functools import cache, partial
from typing import Any

from .._typing import Array, Namespace
from .program import Call, Op, Position, Program, TracingError, Var, is_array, leaves, replaced, signature_of

__all__ = ["TracedArray", "record", "trace", "traced_type"]


class _NoAttribute(TracingError, AttributeError):
    """An attribute that the standard does not have."""


class Recorder:
    """The operations recorded so far.

    Attributes
    ----------
    ops : list of Op
    constants : dict of int to (Var, array)
        The arrays that do not depend on the arguments, by `id`.
    owners : list of objects
        The layers, losses and optimizers that made operations, in order.
    """

    def __init__(self, shares_memory: Callable[[Array, Array], bool], named: bool) -> None:
        self.ops = list[Op]()
        self.constants = dict[int, tuple[Var, Array]]()
        self.shares_memory, self.named = shares_memory, named
        self.owners = list[Any]()

    def place(self) -> tuple[int, str]:
        """The index of the layer, loss or optimizer that is computing, and its method; -1 and "" if there is none."""
        frame = sys._getframe(2) if self.named else None
        found, method = None, ""
        while frame:
            this = frame.f_locals.get("self")
            if found is None and (hasattr(type(this), "backward") or hasattr(type(this), "rule")):
                found = this
            if this is found and found is not None:
                method = frame.f_code.co_name
            frame = frame.f_back
        if found is None:
            return -1, ""
        if not any(found is owner for owner in self.owners):
            self.owners.append(found)
        return next(i for i, owner in enumerate(self.owners) if owner is found), method

    def name_arrays(self) -> list[str]:
        """Name arrays after the attributes of layers, such as "dW1", and return the names of the owners."""
        counts, names = Counter[str](), list[str]()
        for owner in self.owners:
            kind = type(owner).__name__
            counts[kind] += 1
            layer = hasattr(owner, "backward") and not hasattr(owner, "probabilities")
            names.append(f"{kind}{counts[kind]}" if layer else kind)
            kept = {k: v for k, v in getattr(owner, "__dict__", {}).items() if isinstance(v, TracedArray)}
            for key, array in kept.items():
                if array.recorder is self and not array.var.name:
                    of = kept.get(key.removeprefix("d")) if key.startswith("d") else None
                    array.var.name = f"d{of.var.name}" if of is not None else f"{names[-1]}_{key}"
        return names

    def var(self, given: "TracedArray") -> Var:
        """The variable of an array. An array that does not depend on the arguments becomes a constant."""
        if given.recorder is self:
            return given.var
        if given.recorder is not None:
            raise TracingError("an array of another trace is used; pass it as an argument of the traced function")
        return self.constants.setdefault(id(given.value), (given.var, given.value))[0]


class TracedArray:
    """An array that records the operations on it. It has the metadata of an array, and no values.

    `value` is the result for the arguments of the trace. Only the recorder reads it. `recorder` is None for an array
    that does not depend on the arguments.
    """

    __slots__ = ("recorder", "value", "var")
    __array_ufunc__ = None  # NumPy's operators leave the operation to this class
    __hash__ = object.__hash__
    xp: Namespace
    backend: Any

    var: Var

    def __init__(self, value: Array, recorder: Recorder | None = None, var: Var | None = None) -> None:
        self.value, self.recorder, self.var = value, recorder, var or Var.like(value)

    shape = property(lambda self: tuple(self.value.shape))
    dtype = property(lambda self: self.value.dtype)
    device = property(lambda self: self.value.device)
    ndim = property(lambda self: len(self.value.shape))
    T = property(lambda self: record(operator.attrgetter("T"), self, name="T"))
    mT = property(lambda self: record(operator.attrgetter("mT"), self, name="mT"))  # noqa: N815

    @property
    def size(self) -> int:
        """The number of elements."""
        return self.var.size

    def __array_namespace__(self, api_version: str | None = None) -> Namespace:
        return _namespace(type(self))  # type: ignore[arg-type]  # a type can be hashed

    def __getitem__(self, key: Any) -> Any:
        return record(operator.getitem, self, key)

    def __repr__(self) -> str:
        return f"TracedArray(shape={self.shape}, dtype={self.dtype})"

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        raise _NoAttribute(
            f"the attribute {name} of an array is not in the array API standard; use a function of its namespace, xp"
        )


def _operators() -> None:
    both = "add sub mul truediv floordiv mod pow matmul and or xor lshift rshift".split()
    for name in [*both, *"eq ne lt le gt ge neg pos abs invert".split()]:
        function = getattr(operator, f"{name}_" if name in ("and", "or") else name)
        setattr(TracedArray, f"__{name}__", _method(function, name))
        if name in both:
            setattr(TracedArray, f"__r{name}__", _method(lambda a, b, f=function: f(b, a), name, function))


def _method(function: Callable[..., Any], name: str, swapped: Callable[..., Any] | None = None) -> Callable[..., Any]:
    if swapped:
        return lambda self, other: record(swapped, other, self, name=name)
    return lambda *args: record(function, *args, name=name)


def _refused(name: str, what: str) -> Callable[..., Any]:
    def method(self: TracedArray, *args: Any, **options: Any) -> Any:
        raise TracingError(
            f"{name} {what} an array of shape {self.shape}, which cannot be traced; use functions of arrays, such as "
            "xp.where"
        )

    return method


_operators()
for _name in ("bool", "float", "int", "complex", "index", "iter", "len", "contains", "array", "dlpack"):
    setattr(TracedArray, f"__{_name}__", _refused(_name, "reads the values of"))
TracedArray.__setitem__ = _refused("x[...] = y", "changes")  # type: ignore[index]


def traced_type(xp: Namespace, backend: Any) -> type[TracedArray]:
    """The type of the traced arrays of a library."""
    return type("TracedArray", (TracedArray,), {"__slots__": (), "xp": xp, "backend": backend})


class _Recording:
    """The namespace of traced arrays: the functions of the library, recorded."""

    def __init__(self, kind: type[TracedArray]) -> None:
        self._kind, self._xp = kind, kind.xp
        self.__name__ = kind.xp.__name__

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._xp, name)
        if not callable(found) or isinstance(found, type) or name in _METADATA:
            return found
        made = partial(_called, self._kind, found, name)
        setattr(self, name, made)
        return made


_METADATA = ("__array_namespace_info__", "isdtype", "finfo", "iinfo", "can_cast", "broadcast_shapes")
_BY_VALUES = ("nonzero", "unique_all", "unique_counts", "unique_inverse", "unique_values")
_BY_OPERANDS: dict[str, Callable[[TracedArray], bool]] = {
    "getitem": lambda key: bool(key.dtype == key.xp.bool),  # a mask
    "repeat": lambda repeats: True,
}
"""The operations whose shape depends on values if the function is True for an operand after the first."""
_LIKE = ("empty_like", "full_like", "ones_like", "zeros_like")  # these depend on metadata only


@cache
def _namespace(kind: type[TracedArray]) -> _Recording:
    return _Recording(kind)


def _called(kind: type[TracedArray], function: Callable[..., Any], name: str, /, *args: Any, **options: Any) -> Any:
    """Call a function of the namespace. An array that depends on no argument, such as of `arange`, is a constant."""
    given = list(leaves((args, options)))
    if any(isinstance(leaf, TracedArray) for leaf in given):
        return record(function, *args, name=name, **options)
    if any(map(is_array, given)):
        raise TracingError(f"{name}: an array is not an argument of the traced function; pass it as an argument")
    return replaced(function(*args, **options), lambda leaf: kind(leaf) if is_array(leaf) else leaf)


def record(function: Callable[..., Any], *args: Any, name: str = "", **options: Any) -> Any:
    """Call a function of the library with traced arrays, and record the call."""
    name = name or function.__name__
    given = list(leaves((args, options)))
    traced = [a for a in given if isinstance(a, TracedArray)]
    if not traced:
        return function(*args, **options)
    if name in _BY_VALUES or (name in _BY_OPERANDS and any(map(_BY_OPERANDS[name], traced[1:]))):
        raise TracingError(f"{name} makes an array whose shape depends on values; it cannot be traced")
    if any(is_array(a) for a in given if not isinstance(a, TracedArray)):
        raise TracingError(
            f"{name}: an operand is not an argument of the traced function; pass this array as an argument"
        )
    plain = replaced((args, options), lambda a: a.value if isinstance(a, TracedArray) else a)
    result = function(*plain[0], **plain[1])
    recorder = None if name in _LIKE else next((a.recorder for a in traced if a.recorder), None)
    results = result if isinstance(result, (tuple, list)) else (result,)
    if not any(is_array(r) for r in results):
        return result
    kind = type(traced[0])
    if recorder is None:
        return replaced(result, lambda r: kind(r))
    if same := [a for a in traced if a.value is result]:
        return same[0]
    refer = replaced((args, options), lambda a: recorder.var(a) if isinstance(a, TracedArray) else a)
    found = []
    for r in results:
        root = next((recorder.var(a).root for a in traced if recorder.shares_memory(r, a.value)), None)
        found.append(kind(r, recorder, Var.like(r, root)))
    call, reads, out = Call(name, function, *refer), [recorder.var(a) for a in traced], tuple(f.var for f in found)
    recorder.ops.append(Op(call, reads, out, isinstance(result, (tuple, list)), *recorder.place()))
    return type(result)(found) if isinstance(result, (tuple, list)) else found[0]


def trace(
    function: Callable[..., Any],
    *args: Any,
    kind: Callable[[Array], type[TracedArray]],
    shares_memory: Callable[[Array, Array], bool] = lambda a, b: False,
    named: bool = False,
    ready: Callable[[Program], Callable[..., Any]] = lambda program: program.run,
) -> Program:
    """Call `function` once, and return its operations as a `Program`.

    Parameters
    ----------
    function : callable
        A pure function of arrays in nested dicts, tuples and lists. Python numbers in the arguments are constants.
    *args
        Arguments with the shapes and dtypes of later calls.
    kind : callable
        The type of the traced arrays for an array, see `traced_type`.
    shares_memory : callable
        Whether the first array is a view of the second.
    named : bool, default False
        Whether to record which layer makes each operation, and to name arrays. This takes a few milliseconds.
    ready : callable
        Converts the program to a fast function, see `Program.ready`.

    Raises
    ------
    TracingError
        If the function reads values, uses arrays that are not arguments, or uses a method of arrays that the standard
        does not have.
    """
    recorder, inputs = Recorder(shares_memory, named), dict[Position, Var]()

    def enter(tree: Any, path: Position) -> Any:
        if isinstance(tree, dict):
            return {key: enter(part, (*path, key)) for key, part in tree.items()}
        if isinstance(tree, (tuple, list)):
            parts = [enter(part, (*path, i)) for i, part in enumerate(tree)]
            return type(tree)(*parts) if hasattr(tree, "_fields") else type(tree)(parts)
        if not is_array(tree):
            return tree
        made = kind(tree)
        inputs[path] = Var.like(tree, name=str(path[-1]))
        return made(tree, recorder, inputs[path])

    result = function(*enter(args, ()))
    if any(is_array(leaf) for leaf in leaves(result) if not isinstance(leaf, TracedArray)):
        raise TracingError("the traced function returns an array that was not computed from its arguments")

    def leave(leaf: Any) -> Any:
        if not isinstance(leaf, TracedArray):
            return leaf
        if leaf.recorder is None:  # a new array in each call: the caller may change it
            constant = type(leaf)(leaf.value, recorder, recorder.var(leaf))
            leaf = record(leaf.xp.asarray, constant, copy=True, name="asarray")
        return recorder.var(leaf)

    outputs = replaced(result, leave)
    name = getattr(function, "__name__", "")
    return Program(
        inputs,
        dict(recorder.constants.values()),
        recorder.ops,
        outputs,
        recorder.name_arrays(),
        signature_of(args),
        name if name.isidentifier() else "function",  # such as a lambda, whose name is no name in Python
        _parameters(function, len(args)),
        ready,
    )


def _parameters(function: Callable[..., Any], count: int) -> list[str]:
    """The names of the positional parameters of a function."""
    try:
        names = [
            p.name
            for p in inspect.signature(function).parameters.values()
            if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)
        ]
    except (TypeError, ValueError):
        names = []
    return [*names[:count], *(f"argument{i}" for i in range(len(names), count))]

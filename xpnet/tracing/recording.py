"""Record the operations of a function: its arguments are replaced by arrays that note each operation on them."""

import operator
from collections.abc import Callable, Iterator
from functools import cache, partial
from typing import Any

from .._array import namespace
from .._typing import Array, Namespace
from .program import Call, Op, Path, Program, Var

__all__ = ["TracedArray", "TracingError", "leaves", "record", "trace", "traced_type"]


class TracingError(TypeError):
    """Raised if a function cannot be traced. The message names the operation."""


class _NoAttribute(TracingError, AttributeError):
    """An attribute that the standard does not have."""


class Recorder:
    """The operations recorded so far.

    Attributes
    ----------
    ops : list of Op
    constants : dict of int to (Var, array)
        The arrays that do not depend on the arguments, by `id`.
    """

    def __init__(self, shares_memory: Callable[[Array, Array], bool], owner: Callable[[], str]) -> None:
        self.ops = list[Op]()
        self.constants = dict[int, tuple[Var, Array]]()
        self.shares_memory, self.owner = shares_memory, owner

    def var(self, given: "TracedArray") -> Var:
        """The variable of an array. An array that depends on no argument becomes a constant."""
        if given.recorder is self:
            return given.var
        if given.recorder is not None:
            raise TracingError("an array of another trace is used; return it from the traced function first")
        return self.constants.setdefault(id(given.value), (Var.like(given.value), given.value))[0]


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

    def __init__(self, value: Array, recorder: Recorder | None, var: Var | None) -> None:
        self.value, self.recorder, self.var = value, recorder, var

    shape = property(lambda self: tuple(self.value.shape))
    dtype = property(lambda self: self.value.dtype)
    device = property(lambda self: self.value.device)
    ndim = property(lambda self: len(self.value.shape))
    T = property(lambda self: record(operator.attrgetter("T"), self, name="T"))
    mT = property(lambda self: record(operator.attrgetter("mT"), self, name="mT"))  # noqa: N815

    @property
    def size(self) -> int:
        return self.var.size if self.var else Var.like(self.value).size

    def __array_namespace__(self, api_version: str | None = None) -> Namespace:
        return _namespace(type(self))

    def __getitem__(self, key: Any) -> Any:
        return record(operator.getitem, self, key)

    def __repr__(self) -> str:
        return f"TracedArray(shape={self.shape}, dtype={self.dtype})"

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        raise _NoAttribute(f"the attribute {name} of an array is not part of the array API standard")


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
        raise TracingError(f"{name} asks for {what} of an array of shape {self.shape}; it cannot be traced")

    return method


_operators()
for _name in ("bool", "float", "int", "complex", "index", "iter", "len", "contains", "array", "dlpack"):
    setattr(TracedArray, f"__{_name}__", _refused(_name, "the values"))
setattr(TracedArray, "__setitem__", _refused("x[...] = y", "a change of the values"))


@cache
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
_LIKE = ("empty_like", "full_like", "ones_like", "zeros_like")  # these depend on metadata only


@cache
def _namespace(kind: type[TracedArray]) -> _Recording:
    return _Recording(kind)


def _called(kind: type[TracedArray], function: Callable[..., Any], name: str, /, *args: Any, **options: Any) -> Any:
    """Call a function of the namespace; a new array, such as of `arange`, is a constant."""
    given = list(leaves((args, options)))
    if any(isinstance(leaf, TracedArray) for leaf in given):
        return record(function, *args, name=name, **options)
    if any(map(is_array, given)):
        raise TracingError(f"{name}: an array is no argument of the traced function; pass it")
    return replaced(function(*args, **options), lambda leaf: kind(leaf, None, None) if is_array(leaf) else leaf)


def is_array(value: Any) -> bool:
    """Whether a value is an array, or a NumPy scalar; dtypes and Python numbers are not."""
    return hasattr(value, "dtype") and hasattr(value, "shape") and not isinstance(value, type)


def record(function: Callable[..., Any], *args: Any, name: str = "", **options: Any) -> Any:
    """Call a function of the library with traced arrays, and record the call."""
    name = name or function.__name__
    traced = [a for a in leaves((args, options)) if isinstance(a, TracedArray)]
    if not traced:
        return function(*args, **options)
    if any(is_array(a) for a in leaves((args, options)) if not isinstance(a, TracedArray)):
        raise TracingError(f"{name}: an operand is an array that is no argument of the traced function; pass it")
    plain = replaced((args, options), lambda a: a.value if isinstance(a, TracedArray) else a)
    result = function(*plain[0], **plain[1])
    recorder = None if name in _LIKE else next((a.recorder for a in traced if a.recorder), None)
    results = result if isinstance(result, (tuple, list)) else (result,)
    if not any(is_array(r) for r in results):
        return result
    kind = type(traced[0])
    if recorder is None:
        return replaced(result, lambda r: kind(r, None, None))
    if same := [a for a in traced if a.value is result]:
        return same[0]
    refer = replaced((args, options), lambda a: recorder.var(a) if isinstance(a, TracedArray) else a)
    found = []
    for r in results:
        root = next((recorder.var(a).root for a in traced if recorder.shares_memory(r, a.value)), None)
        found.append(kind(r, recorder, Var.like(r, root)))
    out = tuple(f.var for f in found)
    call = Call(name, function, *refer)
    recorder.ops.append(Op(call, out, isinstance(result, (tuple, list)), recorder.owner()))
    return type(result)(found) if isinstance(result, (tuple, list)) else found[0]


def leaves(tree: Any) -> Iterator[Any]:
    """The leaves of nested dicts, tuples and lists."""
    if isinstance(tree, (dict, tuple, list)):
        for part in tree.values() if isinstance(tree, dict) else tree:
            yield from leaves(part)
    else:
        yield tree


def replaced(tree: Any, change: Callable[[Any], Any]) -> Any:
    """The same nested dicts, tuples and lists, with other leaves."""
    if isinstance(tree, dict):
        return {key: replaced(part, change) for key, part in tree.items()}
    if isinstance(tree, (tuple, list)):
        parts = [replaced(part, change) for part in tree]
        return type(tree)(*parts) if hasattr(tree, "_fields") else type(tree)(parts)
    return change(tree)


def trace(
    function: Callable[..., Any],
    *args: Any,
    kind: Callable[[Array], type[TracedArray]],
    shares_memory: Callable[[Array, Array], bool] = lambda a, b: False,
    owner: Callable[[], str] = lambda: "",
) -> Program:
    """Call `function` once, and return its operations as a `Program`.

    Parameters
    ----------
    function : callable
        A pure function of arrays in nested dicts, tuples and lists. Python numbers in the arguments are constants.
    *args
        Arguments with the shapes and dtypes of the calls to come.
    kind : callable
        The type of the traced arrays for an array, see `traced_type`.
    shares_memory : callable
        Whether the first array is a view of the second.
    owner : callable
        The name of the layer that is computing.

    Raises
    ------
    TracingError
        If the function asks for values, uses arrays that are not arguments, or uses what the standard lacks.
    """
    recorder, inputs = Recorder(shares_memory, owner), dict[Path, Var]()

    def enter(tree: Any, path: Path) -> Any:
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
    outputs = replaced(result, lambda leaf: recorder.var(leaf) if isinstance(leaf, TracedArray) else leaf)
    return Program(inputs, dict(recorder.constants.values()), recorder.ops, outputs)

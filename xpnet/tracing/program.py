"""The operations of a traced function as a `Program`."""

import math
import os
import re
from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass, field
from functools import cached_property, reduce
from operator import getitem
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeAlias

from .._typing import Array

if TYPE_CHECKING:
    from .cost import Cost
    from .drawing import Drawing

__all__ = ["Call", "Op", "Position", "Program", "TracingError", "Var"]


class TracingError(TypeError):
    """Raised if a function cannot be traced. The message names the operation."""


Position: TypeAlias = tuple[Any, ...]
"""The position of an array in nested dicts, tuples and lists, such as ``(0, "W1")``."""


@dataclass(eq=False)
class Var:
    """An array of a program, without values.

    Attributes
    ----------
    shape, dtype
        The metadata of the array.
    order : tuple of int or None
        The axes from the largest stride to the smallest, if the array is stored in one block. None if not.
    scalar : bool
        Whether it is a NumPy scalar rather than an array.
    name : str
        The name in printed code and pictures; "" if there is none.
    root : Var
        The array that owns the memory: itself, or the array of which it is a view.
    """

    shape: tuple[int, ...]
    dtype: Any
    order: tuple[int, ...] | None
    scalar: bool
    name: str = ""
    root: "Var" = field(init=False, repr=False)

    @staticmethod
    def like(value: Array, root: "Var | None" = None, name: str = "") -> "Var":
        """The variable of `value`; a view of `root`, if `root` is given."""
        var = Var(tuple(value.shape), value.dtype, _order(value), not hasattr(value, "__setitem__"), name)
        var.root = root or var
        return var

    @property
    def size(self) -> int:
        """The number of elements."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """The number of bytes of the elements."""
        bits = re.search(r"\d+$", str(self.dtype))
        return self.size * (int(bits[0]) // 8 if bits else 1)  # the name of a dtype ends in its bits; bool is a byte

    @property
    def is_by_rows(self) -> bool:
        """Whether the elements are stored row by row."""
        return self.order == tuple(range(len(self.shape)))

    def is_like(self, other: "Var") -> bool:
        """Whether two arrays have the same shape, dtype and storage order."""
        return (self.shape, self.dtype, self.order) == (other.shape, other.dtype, other.order)

    def __str__(self) -> str:
        return f"{str(self.dtype).rpartition('.')[2]}{list(self.shape)}"


def _order(value: Array) -> tuple[int, ...] | None:
    if hasattr(value, "stride"):  # a tensor of PyTorch, which counts elements
        strides: Any = [int(value.dtype.itemsize) * n for n in value.stride()]
    else:
        strides = getattr(value, "strides", None)
    if strides is None:
        return None
    order = tuple(sorted(range(len(strides)), key=lambda i: (-abs(strides[i]), -value.shape[i])))
    expected = int(value.dtype.itemsize)
    for i in reversed(order):
        if value.shape[i] != 1 and strides[i] != expected:
            return None
        expected *= value.shape[i]
    return order


class Call(NamedTuple):
    """A call of a function; arrays in the arguments are `Var` objects."""

    name: str
    function: Callable[..., Any]
    args: tuple[Any, ...]
    options: dict[str, Any]


class Op(NamedTuple):
    """An operation of a program.

    Attributes
    ----------
    call : Call
    reads : list of Var
        The arrays that the call reads.
    out : tuple of Var
        The results.
    many : bool
        Whether the function returns a tuple or list of arrays.
    owner : int
        The index in `Program.owners` of the layer, loss or optimizer that made the operation; -1 if none of them did.
    method : str
        The method that made the operation, such as "forward".
    """

    call: Call
    reads: list[Var]
    out: tuple[Var, ...]
    many: bool
    owner: int
    method: str

    @property
    def is_view(self) -> bool:
        """Whether the result is a view of an operand."""
        return len(self.out) == 1 and self.out[0].root is not self.out[0]


def is_array(value: Any) -> bool:
    """Whether a value is an array, or a NumPy scalar; dtypes and Python numbers are not."""
    return hasattr(value, "dtype") and hasattr(value, "shape") and not isinstance(value, type)


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


def signature_of(args: Any) -> Hashable:
    """The shapes and dtypes of the arrays in nested arguments, and the values of everything else."""
    if isinstance(args, dict):
        return tuple([(key, signature_of(args[key])) for key in sorted(args, key=str)])
    if isinstance(args, (tuple, list)):
        return tuple([signature_of(part) for part in args])
    return (tuple(args.shape), args.dtype) if is_array(args) else (type(args), args)


@dataclass(eq=False, repr=False)
class Program:
    """The operations of a function, in order. `xpnet.trace` returns a program.

    Call a program like its function: the result is the same, bit for bit. The arrays must have the shapes and dtypes
    with which the function was traced. Arguments that are not arrays, such as numbers, must have the same values.

    Attributes
    ----------
    inputs : dict of Position to Var
        The arrays among the arguments.
    constants : dict of Var to array
        Arrays that do not depend on the arguments.
    ops : list of Op
        The operations, in order. Operations whose results are not used are left out.
    outputs : nested dicts, tuples and lists of Var
        The result of the function, with a `Var` in place of each array.
    owners : list of str
        The layers, losses and optimizers that made operations, such as "Affine1".
    signature : tuple
        The shapes and dtypes of the arguments.
    name : str
        The name of the function.
    parameters : list of str
        The names of the parameters of the function.
    ready : callable
        Converts the program to the function that `function` returns.

    Examples
    --------
    >>> import numpy as np
    >>> from xpnet import trace
    >>> program = trace(lambda x: (x - 1) * (x - 1), np.zeros(3))
    >>> program(np.asarray([1.0, 2.0, 3.0]))
    array([0., 1., 4.])
    >>> program.cost().flops
    9
    """

    inputs: dict[Position, Var]
    constants: dict[Var, Array]
    ops: list[Op]
    outputs: Any
    owners: list[str]
    signature: Hashable
    name: str
    parameters: list[str]
    ready: Callable[["Program"], Callable[..., Any]]

    def __post_init__(self) -> None:
        needed, kept = set(self.results), list[Op]()
        for op in reversed(self.ops):
            if needed & set(op.out):
                kept.append(op)
                needed |= set(op.reads)
        self.ops = kept[::-1]

    @property
    def results(self) -> list[Var]:
        """The arrays that the function returns."""
        return [leaf for leaf in leaves(self.outputs) if isinstance(leaf, Var)]

    def __call__(self, *args: Any) -> Any:
        """Return what the traced function returns for these arguments."""
        if signature_of(args) != self.signature:
            place, expected, got = _difference(self.parameters, self.signature, signature_of(args))
            raise ValueError(
                f"{self.name}: {place} is {got}, but the program was traced with {expected}; trace the function again"
            )
        return self.function(*args)

    @cached_property
    def function(self) -> Callable[..., Any]:
        """The program as a function that does not check its arguments, in the form that runs fastest."""
        return self.ready(self)

    def source(self, library: Literal["numpy", "cupy", "torch"] = "numpy") -> str:
        """The program as a Python file that needs only one library. The file defines one function, `name`.

        Parameters
        ----------
        library : {"numpy", "cupy", "torch"}, default "numpy"
            The library of the file.

        Returns
        -------
        str
            The text of the file. With the library of the trace, the function gives the same results as the traced
            function, bit for bit. With another library, results differ by rounding.

        Raises
        ------
        ValueError
            If the library is not known.
        """
        from .source import SOURCES

        if library not in SOURCES:
            raise ValueError(f"library must be one of {', '.join(map(repr, SOURCES))}, got {library!r}")
        return str(SOURCES[library](self))

    def cost(self) -> "Cost":
        """The number of arithmetic operations, the bytes read and written, and the peak memory of a call."""
        from .cost import cost_of

        return cost_of(self)

    def draw(self, path: str | os.PathLike[str] | None = None) -> "Drawing":
        """Draw the operations: a box for each layer and pass, with the shapes of the arrays.

        Parameters
        ----------
        path : path, optional
            A file to write; its name ends in ``.svg``. An existing file is replaced in one step.

        Returns
        -------
        Drawing
            The picture, which a notebook shows. Its attribute `svg` is the text of the file.
        """
        from .drawing import picture_of

        found = picture_of(self)
        if path is not None:
            found.save(path)
        return found

    def run(self, *args: Any) -> Any:
        """Call each operation as it was recorded."""
        values = self.constants | {var: reduce(getitem, path, args) for path, var in self.inputs.items()}

        def value(leaf: Any) -> Any:
            return values[leaf] if isinstance(leaf, Var) else leaf

        for (_, function, *given), _, out, many, *_ in self.ops:
            positional, options = replaced(tuple(given), value)
            result = function(*positional, **options)
            values |= zip(out, result if many else [result], strict=True)
        return replaced(self.outputs, value)

    def where(self, op: Op) -> str:
        """The layer and the method that made an operation, such as "Affine1, forward"; "" if no layer made it."""
        if op.owner < 0:
            return ""
        method = {"backward_params": "backward"}.get(op.method, op.method)
        return f"{self.owners[op.owner]}, {method}"

    def last_uses(self) -> dict[Var, int]:
        """For each array, the index of the last operation that reads the array or a view of it."""
        return {var: i for i, op in enumerate(self.ops) for v in op.reads for var in (v, v.root)}

    def __str__(self) -> str:
        names = {var: self.parameters[path[0]] if len(path) == 1 else var.name for path, var in self.inputs.items()}
        names |= {var: f"constant{i}" for i, var in enumerate(self.constants)}
        lines, before = list[str](), ""
        for i, op in enumerate(self.ops):
            if (place := self.where(op)) != before:
                lines.append(f"# {place}" if place else "")
                before = place
            names |= {var: f"%{i}" + f".{k}" * op.many for k, var in enumerate(op.out)}
            given = leaves((op.call.args, op.call.options))
            read = ", ".join(names[leaf] if isinstance(leaf, Var) else str(leaf) for leaf in given)
            lines.append(f"{', '.join(f'{names[var]}: {var}' for var in op.out)} = {op.call.name}({read})")
        return "\n".join(lines)

    def __repr__(self) -> str:
        views = sum(op.is_view for op in self.ops)
        return f"Program({self.name}, {len(self.ops) - views} operations, {views} views)"


def _difference(names: list[str], one: Any, other: Any) -> tuple[str, str, str]:
    """The first place where two signatures differ, and what is there in each."""
    for name, a, b in zip(names, one, other, strict=False):
        if a != b:
            return name, _described(a), _described(b)
    return "the number of arguments", str(len(one)), str(len(other))


def _described(signature: Any) -> str:
    match signature:
        case (type() as kind, value) if isinstance(value, kind):
            return repr(value)
        case (tuple() as shape, dtype) if all(isinstance(n, int) for n in shape) and not isinstance(dtype, tuple):
            return f"an array of {str(dtype).rpartition('.')[2]}, shape {shape}"
    return f"({', '.join(map(_described, signature))})" if isinstance(signature, tuple) else repr(signature)

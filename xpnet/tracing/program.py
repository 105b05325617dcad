"""The operations of a traced function."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeAlias

from .._typing import Array

__all__ = ["Call", "Op", "Path", "Program", "Var"]

Path: TypeAlias = tuple[Any, ...]
"""The position of an argument in nested dicts, tuples and lists, such as ``(0, "W1")``."""


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
    root : Var
        The array that owns the memory: itself, or the array of which it is a view.
    name : str
        A name for people; "" if it has none.
    """

    shape: tuple[int, ...]
    dtype: Any
    order: tuple[int, ...] | None
    scalar: bool
    name: str = ""
    root: "Var" = field(init=False, repr=False)

    @staticmethod
    def like(value: Array, root: "Var | None" = None, name: str = "") -> "Var":
        """The variable of an array; a view of `root`, if that is given."""
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
        return self.size * int(self.dtype.itemsize)

    def is_like(self, other: "Var") -> bool:
        """Whether two arrays have the same shape, dtype and storage order."""
        return (self.shape, self.dtype, self.order) == (other.shape, other.dtype, other.order)


def _order(value: Array) -> tuple[int, ...] | None:
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

    @property
    def vars(self) -> "list[Var]":
        """The arrays that the call reads."""
        return [leaf for leaf in _leaves((self.args, self.options)) if isinstance(leaf, Var)]


class Op(NamedTuple):
    """An operation of a program.

    Attributes
    ----------
    call : Call
    out : tuple of Var
        The results.
    many : bool
        Whether the function returns a tuple or list of arrays.
    owner : str
        The layer that computes it, such as "Affine1".
    """

    call: Call
    out: tuple[Var, ...]
    many: bool
    owner: str


def _leaves(tree: Any) -> list[Any]:
    if isinstance(tree, dict):
        tree = list(tree.values())
    return [leaf for part in tree for leaf in _leaves(part)] if isinstance(tree, (tuple, list)) else [tree]


@dataclass
class Program:
    """The operations of a function, in order, for arguments of certain shapes and dtypes.

    Attributes
    ----------
    inputs : dict of Path to Var
        The arrays among the arguments.
    constants : dict of Var to array
        Arrays that do not depend on the arguments.
    ops : list of Op
        The operations whose results are needed.
    outputs : nested dicts, tuples and lists of Var
        What the function returns.
    """

    inputs: dict[Path, Var]
    constants: dict[Var, Array]
    ops: list[Op]
    outputs: Any

    def __post_init__(self) -> None:
        needed, kept = set(self.results), list[Op]()
        for op in reversed(self.ops):
            if needed & set(op.out):
                kept.append(op)
                needed |= set(op.call.vars)
        self.ops = kept[::-1]

    @property
    def results(self) -> list[Var]:
        """The arrays that the function returns."""
        return [leaf for leaf in _leaves(self.outputs) if isinstance(leaf, Var)]

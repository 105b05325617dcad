"""NumPy code of a program without loops or branches. Results are written into buffers that are allocated once."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .._typing import Array
from .memory import Buffer, place
from .program import Op, Program, Var

__all__ = ["NumpyCode"]

UFUNCS = {
    "add": "add", "sub": "subtract", "mul": "multiply", "truediv": "divide", "matmul": "matmul", "neg": "negative",
    "subtract": "subtract", "multiply": "multiply", "divide": "divide", "negative": "negative", "abs": "absolute",
    "exp": "exp", "expm1": "expm1", "log": "log", "log1p": "log1p", "sqrt": "sqrt", "tanh": "tanh", "sign": "sign",
    "square": "square", "isfinite": "isfinite", "maximum": "maximum", "minimum": "minimum", "floor": "floor",
    "eq": "equal", "ne": "not_equal", "lt": "less", "le": "less_equal", "gt": "greater", "ge": "greater_equal",
    "equal": "equal", "not_equal": "not_equal", "less": "less", "less_equal": "less_equal", "greater": "greater",
    "greater_equal": "greater_equal", "and": "bitwise_and", "or": "bitwise_or", "invert": "invert",
    "logical_and": "logical_and", "logical_or": "logical_or", "logical_not": "logical_not",
}  # fmt: skip
"""NumPy's ufuncs by the names of operations."""
REDUCTIONS = {"sum": "add", "max": "maximum", "min": "minimum", "prod": "multiply"}
"""The ufunc whose method `reduce` computes a reduction, by the name of the reduction."""


class NumpyCode:
    """A program as NumPy code, which gives the same results as the traced function, bit for bit.

    The results of most operations are written into buffers, which are parts of one block of memory. Buffers that are
    not needed at the same time share memory. `_rule` returns the line for such an operation; an operation without a
    rule is called as it was recorded. The code never writes into its arguments. Its results are new arrays, except
    those in `slots`.

    Parameters
    ----------
    program : Program
    slots : sequence of Var, default ()
        Results to write into the arrays that are passed to `make`, such as the new parameters of an update. Scalars,
        views and arguments that are returned unchanged are left out.

    Attributes
    ----------
    source : str
        The code.
    slots : list of Var
        The parameter `slots`, without the results that are left out.
    nbytes : int
        The size of the block of memory, in bytes.
    """

    def __init__(self, program: Program, slots: Sequence[Var] = ()) -> None:
        self.program = program
        computed = {var for op in program.ops for var in op.out}
        self.slots = [var for var in dict.fromkeys(slots) if var in computed and self._is_buffered(var)]
        self.new = {var.root for var in program.results} - set(self.slots)
        self.values = dict[str, Any]()  # constants and arrays in buffers, by name
        self.buffers = dict[Var, Buffer]()  # the buffer of each array
        self.arrays_in = list[tuple[str, Var, Buffer]]()  # the arrays that are parts of buffers, with their names
        self.names = {var: f"out{i}" for i, var in enumerate(self.slots)}
        self.fixed = dict(self.names)  # the arrays that exist before a call
        for var, array in program.constants.items():
            self.names[var] = self.fixed[var] = self._value(array)
        self.setup, self.body = list[str](), list[str]()
        self.last = program.last_uses()
        for i, (path, var) in enumerate(program.inputs.items()):
            self.names[var] = f"a{i}"
            if var in self.last or var in program.results:
                self.body.append(f"a{i} = args{''.join(f'[{key!r}]' for key in path)}")
        for i, op in enumerate(program.ops):
            self._write(i, op)
        self.nbytes = place([buffer for *_, buffer in self.arrays_in])
        result = self._expression(program.outputs)
        self.source = "\n".join(
            [
                f"def make({', '.join([*self.values, *(self.fixed[var] for var in self.slots)])}):",
                *(f"    {line}" for line in self.setup),
                "    def run(*args):",
                *(f"        {line}" for line in self.body),
                f"        return {result}",
                "    return run",
            ]
        )
        space: dict[str, Any] = {"np": np}
        exec(compile(self.source, "<traced program>", "exec"), space)
        self._make = space["make"]

    def make(self, memory: Array, slots: Sequence[Array] = ()) -> Callable[..., Any]:
        """The program as a function that uses a block of memory, and writes the results of `slots` into these arrays.

        `memory` has at least `nbytes` elements of dtype uint8.
        """
        arrays = {name: _stored(memory[buffer.offset :], var) for name, var, buffer in self.arrays_in}
        made: Callable[..., Any] = self._make(*(self.values | arrays).values(), *slots)
        return made

    def arrays(self) -> list[Array]:
        """New arrays for `slots`."""
        return [_stored(np.empty(var.nbytes, np.uint8), var) for var in self.slots]

    # Expressions

    def _value(self, value: Any) -> str:
        name = f"c{len(self.values)}"
        self.values[name] = value
        return name

    def _expression(self, tree: Any) -> str:
        """The code of a value: an array, a Python number, or a nested structure."""
        if isinstance(tree, Var):
            return self.names[tree]
        if isinstance(tree, dict):
            return "{" + ", ".join(f"{key!r}: {self._expression(part)}" for key, part in tree.items()) + "}"
        if isinstance(tree, (tuple, list)):
            parts = ", ".join(map(self._expression, tree))
            if hasattr(tree, "_fields"):
                return f"{self._value(type(tree))}({parts})"
            return f"[{parts}]" if isinstance(tree, list) else f"({parts}{',' * (len(tree) == 1)})"
        plain = type(tree) in (bool, int, str, type(None)) or (type(tree) is float and np.isfinite(tree))
        return repr(tree) if plain else self._value(tree)

    def _call(self, op: Op) -> str:
        """The operation as it was recorded; its results are new arrays."""
        name, function, args, options = op.call
        if name == "getitem":
            key = self._expression(args[1]) if op.reads[1:] else self._value(args[1])
            return f"{self._expression(args[0])}[{key}]"
        if name == "T":
            return f"{self._expression(args[0])}.T"
        given = [*map(self._expression, args), *(f"{key}={self._expression(v)}" for key, v in options.items())]
        called = f"np.{UFUNCS[name]}" if name in UFUNCS and not options else self._value(function)
        return f"{called}({', '.join(given)})"

    # Lines

    def _write(self, i: int, op: Op) -> None:
        (out, *others) = op.out
        if op.is_view and all(var in self.fixed and var.root not in self.slots for var in op.reads):
            self.names[out] = self.fixed[out] = f"v{i}"  # made once
            self.setup.append(f"v{i} = {self._call(op)}")
        elif not others and self._is_buffered(out) and out not in self.new and (line := self._rule(i, op)):
            self.body.append(line)
        else:
            names = [f"v{i}" if not others else f"v{i}_{k}" for k in range(len(op.out))]
            self.body.append(f"{', '.join(names)}{',' * (op.many and not others)} = {self._call(op)}")
            self.names.update(zip(op.out, names, strict=True))
            for var in set(self.slots) & set(op.out):
                self.body.append(f"np.copyto({self.fixed[var]}, {self.names[var]})")
                self.names[var] = self.fixed[var]

    @staticmethod
    def _is_buffered(var: Var) -> bool:
        """Whether an array owns its memory and is stored in one block."""
        return not var.scalar and var.root is var and var.order is not None and var.shape != ()

    def _rule(self, i: int, op: Op) -> str:
        """The line that writes the result into a buffer; "" if there is no rule for the operation."""
        (name, _, args, options), out = op.call, op.out[0]
        given = list(map(self._expression, args))
        if name in UFUNCS and not options:
            target = self._target(i, out, () if name == "matmul" else args)
            keyword = "out=" if name in ("maximum", "minimum") else ""  # NumPy wants it by name
            return f"np.{UFUNCS[name]}({', '.join(given)}, {keyword}{target})"
        alone = len(args) == 1  # the options have names
        if name in REDUCTIONS and alone and set(options) <= {"axis", "keepdims"} and args[0].dtype == out.dtype:
            return self._reduce(i, op, given[0])
        if name == "astype":
            return f"np.copyto({self._target(i, out)}, {given[0]}, 'unsafe')"
        if name == "reshape" and out.order == tuple(range(len(out.shape))):
            view = f"v{i}"
            self.setup.append(f"{view} = {self._target(i, out)}.reshape({args[0].shape!r})")
            return f"np.copyto({view}, {given[0]})"
        if name == "rows":  # the indices are in range, see `Backend.rows`: "clip" saves a copy
            return f"{given[0]}.take({given[1]}, 0, {self._target(i, out)}, 'clip')"
        if name == "where":
            sources = () if out.dtype == bool else args[2:]  # the condition may be a view of a bool operand
            target = self._target(i, out, sources)
            first = "" if target == given[2] else f"np.copyto({target}, {given[2]}); "
            return f"{first}np.copyto({target}, {given[1]}, where={given[0]})"
        if name in ("concat", "stack") and alone:
            function = "concatenate" if name == "concat" else "stack"
            return f"np.{function}({given[0]}, {options.get('axis', 0)!r}, {self._target(i, out)})"
        if name == "pad":
            return self._pad(i, op, given[0])
        return ""

    def _reduce(self, i: int, op: Op, source: str) -> str:
        x, out, axis, keep = op.call.args[0], op.out[0], op.call.options.get("axis"), op.call.options.get("keepdims")
        function, target = f"np.{REDUCTIONS[op.call.name]}.reduce", self._target(i, out)
        if op.call.name in ("sum", "prod") or len(x.shape) != 2 or axis not in (-1, 1) or not 1 < x.shape[1] <= 32:
            return f"{function}({source}, {axis!r}, None, {target}, {keep or False!r})"
        # NumPy reduces short rows faster along the first axis, so the matrix is copied transposed.
        rows = self._array(Var(x.shape[::-1], x.dtype, (0, 1), False), Buffer(x.nbytes, i, i))
        self.setup.append(f"v{i}, w{i} = {rows}.T, {target}.T")
        return f"np.copyto(v{i}, {source}); {function}({rows}, 0, None, w{i}, {keep or False!r})"

    def _pad(self, i: int, op: Op, source: str) -> str:
        x, (top, left), _, value = op.call.args
        height, width = x.shape[2:]
        target = self._target(i, op.out[0])
        self.setup.append(f"v{i} = {target}[..., {top} : {top + height}, {left} : {left + width}]")
        return f"{target}.fill({self._expression(value)}); np.copyto(v{i}, {source})"

    # Memory

    def _target(self, i: int, out: Var, sources: Sequence[Any] = ()) -> str:
        """The name of the array for a result: a slot, an operand that is not needed any more, or a new array."""
        if out in self.slots:
            return self.fixed[out]
        for source in sources:
            if isinstance(source, Var) and source in self.buffers and self.last[source] == i and source.is_like(out):
                self.buffers[out] = buffer = self.buffers[source]
                buffer.end = self.last[out]
                self.names[out] = self.fixed[out] = self.names[source]
                return self.names[out]
        self.buffers[out] = Buffer(out.nbytes, i, self.last[out])
        self.names[out] = self.fixed[out] = self._array(out, self.buffers[out])
        return self.names[out]

    def _array(self, var: Var, buffer: Buffer) -> str:
        """The name of a new array in a buffer."""
        name = self._value(None)  # it is made when the buffers have their places
        self.arrays_in.append((name, var, buffer))
        return name


def _stored(memory: Array, var: Var) -> Array:
    """An array in the given bytes, with the shape, dtype and storage order of `var`."""
    assert var.order is not None
    block = memory[: var.nbytes].view(var.dtype).reshape([var.shape[axis] for axis in var.order])
    return block.transpose(np.argsort(var.order))

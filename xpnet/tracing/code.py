"""The code of a program, without loops or branches. Results are written into buffers that are allocated once."""

import importlib
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Container, Sequence
from typing import Any

from .._typing import Array
from .memory import Buffer, place
from .program import Op, Program, Var

__all__ = ["Code"]


class Code(ABC):
    """A program as code for one library, which gives the same results as the traced function, bit for bit.

    The results of most operations are written into buffers, which are parts of one block of memory. Buffers that are
    not needed at the same time share memory. `_rule` returns the line for such an operation; an operation without a
    rule is called as it was recorded. The code never writes into its arguments. Its results are new arrays, except
    those in `slots`. A subclass defines the code for one library.

    Parameters
    ----------
    program : Program
    slots : sequence of Var, default ()
        Results to write into the arrays that are passed to `make`, such as the new parameters of an update. Scalars,
        views and arguments that are returned unchanged are left out.

    Attributes
    ----------
    library, prefix : str
        The name of the library, and its name in the code.
    source : str
        The code.
    slots : list of Var
        The parameter `slots`, without the results that are left out.
    nbytes : int
        The size of the block of memory, in bytes.
    """

    library: str
    prefix: str
    elementwise: Container[str]
    """The elementwise operations that have a rule."""

    def __init__(self, program: Program, slots: Sequence[Var] = ()) -> None:
        self.program = program
        self.makers = {var: op.call for op in program.ops for var in op.out}  # the calls that compute the arrays
        self.slots = [var for var in dict.fromkeys(slots) if var in self.makers and self._is_buffered(var)]
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
        self.taken = {op.out[0]: x for i, op in enumerate(program.ops) if (x := self._operand_to_take(i, op))}
        self.new |= set(self.taken.values())
        self.joined = set[Var]()  # the concatenations that are allocated first
        for i, (path, var) in enumerate(program.inputs.items()):
            self.names[var] = f"a{i}"
            if var in self.last or var in program.results:
                self.body.append(f"a{i} = args{''.join(f'[{key!r}]' for key in path)}")
        self.parts = dict[Var, str]()  # the arrays that are computed as a part of a concatenation
        for i, op in enumerate(program.ops):
            self._plan_parts(i, op)
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
        space: dict[str, Any] = {self.prefix: importlib.import_module(self.library)}
        exec(compile(self.source, "<traced program>", "exec"), space)
        self._make = space["make"]

    def make(self, memory: Array, slots: Sequence[Array] = ()) -> Callable[..., Any]:
        """The program as a function that uses a block of memory, and writes the results of `slots` into these arrays.

        `memory` has at least `nbytes` bytes, see `empty`.
        """
        arrays = {name: self.stored(memory[buffer.offset :], var) for name, var, buffer in self.arrays_in}
        made: Callable[..., Any] = self._make(*(self.values | arrays).values(), *slots)
        return made

    def arrays(self) -> list[Array]:
        """New arrays for `slots`."""
        return [self.stored(self.empty(var.nbytes), var) for var in self.slots]

    # The library

    @staticmethod
    @abstractmethod
    def empty(nbytes: int) -> Array:
        """A new array of dtype uint8."""

    @staticmethod
    @abstractmethod
    def stored(memory: Array, var: Var) -> Array:
        """An array in the given bytes, with the shape, dtype and storage order of `var`."""

    @staticmethod
    @abstractmethod
    def copied(array: Array) -> Array:
        """A new array with the same values."""

    @abstractmethod
    def _copy(self, target: str, source: str) -> str:
        """The line that copies an array into another one, and converts the dtype."""

    @abstractmethod
    def _rule(self, i: int, op: Op) -> str:
        """The line that writes the result into a buffer; "" if there is no rule for the operation."""

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
        plain = type(tree) in (bool, int, str, type(None)) or (type(tree) is float and math.isfinite(tree))
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
        return f"{self._function(op)}({', '.join(given)})"

    def _function(self, op: Op) -> str:
        """The name of the function that a call without a rule calls."""
        return self._value(op.call.function)

    # Lines

    def _write(self, i: int, op: Op) -> None:
        (out, *others) = op.out
        if out in self.joined:
            self.body += self._missing_parts(op)
        elif op.is_view and all(var in self.fixed and var.root not in self.slots for var in op.reads):
            self.names[out] = self.fixed[out] = f"v{i}"  # made once
            self.setup.append(f"v{i} = {self._call(op)}")
        elif not others and self._has_target(out) and (line := self._rule(i, op)):
            self.body.append(line)
        else:
            names = [f"v{i}" if not others else f"v{i}_{k}" for k in range(len(op.out))]
            self.body.append(f"{', '.join(names)}{',' * (op.many and not others)} = {self._call(op)}")
            self.names.update(zip(op.out, names, strict=True))
            for var in set(self.slots) & set(op.out):
                self.body.append(self._copy(self.fixed[var], self.names[var]))
                self.names[var] = self.fixed[var]

    @staticmethod
    def _is_buffered(var: Var) -> bool:
        """Whether an array owns its memory and is stored in one block."""
        return not var.scalar and var.root is var and var.order is not None and var.shape != ()

    def _has_target(self, out: Var) -> bool:
        """Whether a result can be written into a buffer, a slot or an operand."""
        return out in self.taken or (self._is_buffered(out) and out not in self.new)

    def _is_temporary(self, x: Var) -> bool:
        """Whether `x` is new in each call, and is not a result. A `reshape` can be a view of an argument."""
        call = self.makers.get(x)
        known = call is not None and (call.name in self.elementwise or call.name in ("matmul", "sum"))
        return known and self._is_buffered(x) and x not in self.new and x not in self.slots

    def _operand_to_take(self, i: int, op: Op) -> Var | None:
        """The operand that a new result may overwrite: a temporary array, which is then allocated in each call."""
        (out, *others) = op.out
        if others or out not in self.new or op.call.name not in self.elementwise:
            return None
        for x in op.reads:
            if (
                self._is_temporary(x)
                and self.last[x] == i
                and x.is_like(out)
                and not any(v.root is x is not v for v in op.reads)
            ):
                return x
        return None

    def _plan_parts(self, i: int, op: Op) -> None:
        """Allocate a new concatenation first, so that its parts are computed directly in it."""
        (out, *others), (name, _, args, options) = op.out, op.call
        if others or out not in self.new or name != "concat" or len(out.shape) != 1 or options.get("axis", 0) != 0:
            return
        for part, start in zip(args[0], _starts(args[0]), strict=True):
            x = part.root
            whole = part is x or (self.makers[part].name == "reshape" and self.makers[part].args[0] is x)
            plain = self._is_temporary(x) and x not in self.parts and self.last[x] <= i
            if whole and plain and x.dtype == out.dtype and x.is_by_rows:
                self.parts[x] = f"v{i}_{start}"
                self.body.append(f"{self.parts[x]} = v{i}[{start}:{start + x.size}].reshape({x.shape!r})")
        if any(part.root in self.parts for part in args[0]):
            self.names[out] = f"v{i}"
            self.joined.add(out)
            kind = f"dtype={self._value(out.dtype)}, device='cpu'"
            self.body.insert(0, f"v{i} = {self.prefix}.empty({out.size}, {kind})")

    def _missing_parts(self, op: Op) -> list[str]:
        """The lines that copy those parts of a concatenation that are not in their places."""
        parts, name, lines = op.call.args[0], self.names[op.out[0]], list[str]()
        for part, start in zip(parts, _starts(parts), strict=True):
            place = f"{name}_{start}"
            if self.parts.get(part.root) != place or self.names[part.root] != place:
                lines.append(self._copy(f"{name}[{start}:{start + part.size}]", self._expression(part)))
        return lines

    def _reshape(self, i: int, op: Op, source: str) -> str:
        """The line that copies an array into a buffer of another shape; "" if the result is not stored by rows."""
        x, out = op.call.args[0], op.out[0]
        if not out.is_by_rows:
            return ""
        self.setup.append(f"v{i} = {self._target(i, out)}.reshape({x.shape!r})")
        return self._copy(f"v{i}", source)

    # Memory

    def _target(self, i: int, out: Var, sources: Sequence[Any] = ()) -> str:
        """The name of the array for a result: a slot, an operand that is not needed any more, or a new array.

        `sources` are the operands whose memory the result may take.
        """
        if out in self.slots:
            return self.fixed[out]
        if out in self.parts:
            self.names[out] = self.parts[out]
            return self.names[out]
        if out in self.taken:
            self.names[out] = self.names[self.taken[out]]
            return self.names[out]
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


def _starts(parts: Sequence[Var]) -> list[int]:
    """The first elements of the parts of a concatenation."""
    return [sum(part.size for part in parts[:i]) for i in range(len(parts))]

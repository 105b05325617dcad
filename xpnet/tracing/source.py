"""A program as the source code of a Python file, which can be read, changed and run without xpnet."""

import builtins
import keyword
import math
import re
from collections import Counter
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np

from .program import Op, Position, Program, TracingError, Var, leaves

__all__ = ["SOURCES"]

Text: TypeAlias = tuple[str, int]
"""The text of an expression, and how strongly its outermost operator binds."""

BINARY = {
    "pow": ("**", 15), "mul": ("*", 12), "matmul": ("@", 12), "truediv": ("/", 12), "floordiv": ("//", 12),
    "mod": ("%", 12), "add": ("+", 11), "sub": ("-", 11), "lshift": ("<<", 10), "rshift": (">>", 10),
    "and": ("&", 9), "xor": ("^", 8), "or": ("|", 7),
    "eq": ("==", 6), "ne": ("!=", 6), "lt": ("<", 6), "le": ("<=", 6), "gt": (">", 6), "ge": (">=", 6),
    "multiply": ("*", 12), "divide": ("/", 12), "subtract": ("-", 11), "equal": ("==", 6), "not_equal": ("!=", 6),
    "less": ("<", 6), "less_equal": ("<=", 6), "greater": (">", 6), "greater_equal": (">=", 6),
}  # fmt: skip
UNARY = {"neg": "-", "negative": "-", "invert": "~"}
ATOM, SIGN = 20, 14
WIDTH = 88


class Source:
    """The source code of a program for NumPy; `CupySource` and `TorchSource` are for other libraries."""

    library = "numpy"
    prefix = "np"
    missing = frozenset({"bfloat16"})  # a dtype that NumPy and CuPy have no name for
    windows = '''
def windows(x, size, stride, dilation, out):
    """All windows of images, shape (N, C, *size, *out): a view."""
    n, c, down, right = x.strides
    strides = (n, c, down * dilation[0], right * dilation[1], down * stride[0], right * stride[1])
    return np.lib.stride_tricks.as_strided(x, (*x.shape[:2], *size, *out), strides)
'''

    def __init__(self, program: Program) -> None:
        self.program = program
        self.uses = Counter([*(var for op in program.ops for var in op.reads), *program.results])
        self.last = program.last_uses()
        self.taken = {self.prefix, "windows", *program.parameters}
        self.texts = dict[Var, Text]()
        self.names = dict[Var, str]()
        self.pending = set[Var]()  # arrays whose expressions are not written yet
        self.readers = {var: program.where(op) for op in program.ops for var in op.reads}
        self.lines = list[str]()
        self.helpers = set[str]()

    def __str__(self) -> str:
        program = self.program
        for path, var in program.inputs.items():
            if self.uses[var]:
                self._unpack(path, var)
        for var, array in program.constants.items():
            if self.uses[var]:
                self._assign(self._named("constant", var), self._constant(array), var)
        renamed = {var: key for var, key in _keys(program.outputs) if var not in program.inputs.values()}
        before = ""
        for i, op in enumerate(program.ops):
            text = self._operation(op)
            (out, *others) = op.out
            place = program.where(op)
            own = not out.name and out not in renamed and self.uses[out] == 1 and self.readers.get(out, "") == place
            if not others and own and len(text[0]) < WIDTH:
                self.texts[out] = text  # part of the only expression that uses it
                self.pending.add(out)
                continue
            if place != before and place:
                self.lines += ["", f"# {place}"]
                before = place
            if others:
                names = [self._named(op.call.name, var) for var in op.out]
                self.lines.append(f"{', '.join(names)} = {text[0]}")
                self.texts |= {var: (name, ATOM) for var, name in zip(op.out, names, strict=True)}
            else:
                self._assign(self._result(i, out, renamed.get(out), op), text[0], out)
        called = ", ".join(program.parameters)
        outputs = program.outputs
        whole = type(outputs) is not tuple or len(outputs) < 2
        result = self._value(outputs) if whole else ", ".join(map(self._value, outputs))
        body = [*self.lines, "", f"return {result}"]
        return "\n".join(
            [
                f'"""The function {program.name}, as xpnet traced it.',
                "",
                "The shapes of the arrays are:",
                "",
                *(f"    {self.texts[var][0]}: {var}" for var in program.inputs.values() if var in self.texts),
                '"""',
                "",
                *self._imports(),
                *(line for helper in self.helpers for line in ["", *helper.rstrip().splitlines()]),
                "",
                "",
                f"def {program.name}({called}):",
                *(f"    {line}".rstrip() for line in body),
                "",
            ]
        )

    def _imports(self) -> list[str]:
        return [
            f"import {self.library} as {self.prefix}" if self.library != self.prefix else f"import {self.library}"
        ]

    # Names

    def _named(self, wanted: str, var: Var) -> str:
        """A name that is not used yet."""
        base = re.sub(r"\W", "_", var.name or wanted)
        base = f"_{base}" if base[:1].isdigit() else base
        base = f"{base}_" if keyword.iskeyword(base) or hasattr(builtins, base) else base
        name, number = base, 2
        while name in self.taken:
            name, number = f"{base}_{number}", number + 1
        self.taken.add(name)
        return name

    def _unpack(self, path: Position, var: Var) -> None:
        parameter = self.program.parameters[path[0]]
        if len(path) == 1:
            self.texts[var] = self.names[var], _ = parameter, ATOM
            return
        if not isinstance(path[-1], str):
            var.name = parameter + "_".join(map(str, path[1:]))
        self._assign(self._named("", var), parameter + "".join(f"[{_quoted(key)}]" for key in path[1:]), var)

    def _assign(self, name: str, text: str, var: Var) -> None:
        self.lines.append(f"{name} = {text}")
        self.texts[var], self.names[var] = (name, ATOM), name

    def _result(self, i: int, out: Var, key: str | None, op: Op) -> str:
        """A name for a result: of the argument that it replaces, of its layer, or of the operation."""
        if key is None:
            wanted = op.call.name
            if op.owner >= 0 and self.readers.get(out, "") != self.program.where(op):
                owner = self.program.owners[op.owner]
                wanted = f"{owner}_{'y' if op.method == 'forward' else 'dx'}" if out.shape else "loss"
            return self._named(wanted, out)
        old = [var for var, name in self.names.items() if name == key]
        if old and all(self.last.get(var, -1) <= i and not self._is_pending(key) for var in old):
            return key
        return self._named(f"new_{key}" if key in self.taken else key, out)

    def _is_pending(self, name: str) -> bool:
        """Whether an expression that is not written yet reads a name."""
        return any(re.search(rf"\b{re.escape(name)}\b", self.texts[var][0]) for var in self.pending)

    # Expressions

    def _constant(self, array: Any) -> str:
        values, dtype = array.tolist(), str(array.dtype).rpartition(".")[2]
        distinct = {str(value): value for value in leaves(values)}  # NaN is not equal to itself
        if array.shape and len(distinct) < 2:
            value = self._value(next(iter(distinct.values()), 0))
            return f"{self.prefix}.full({tuple(array.shape)!r}, {value}, dtype={self.prefix}.{dtype})"
        if dtype == "int64" and len(array.shape) == 1 and values == list(range(len(values))):
            return f"{self.prefix}.arange({len(values)})"
        return f"{self.prefix}.asarray({self._value(values)}, dtype={self.prefix}.{dtype})"

    def _value(self, tree: Any) -> str:
        if isinstance(tree, Var):
            self.pending.discard(tree)
            return self.texts[tree][0]
        if isinstance(tree, dict):
            return "{" + ", ".join(f"{_quoted(key)}: {self._value(part)}" for key, part in tree.items()) + "}"
        if isinstance(tree, (tuple, list)):
            parts = ", ".join(map(self._value, tree))
            return f"[{parts}]" if isinstance(tree, list) else f"({parts}{',' * (len(tree) == 1)})"
        if isinstance(tree, slice):
            ends = ["" if end is None else repr(end) for end in (tree.start, tree.stop, tree.step)]
            return ":".join(ends if ends[2] else ends[:2])
        if tree is Ellipsis:
            return "..."
        if tree is None or isinstance(tree, (bool, int, float, str)):
            return f"float('{tree}')" if isinstance(tree, float) and not math.isfinite(tree) else repr(tree)
        dtype = (tree.__name__ if isinstance(tree, type) else str(tree)).rpartition(".")[2]
        if dtype in self.missing:
            raise TracingError(
                f"source: {self.library} has no {dtype}; write for 'torch', or trace a network in float32"
            )
        return f"{self.prefix}.{dtype}"

    def _part(self, value: Any, least: int) -> str:
        """An operand, in parentheses if its operator binds less than `least`."""
        if not isinstance(value, Var):
            text = self._value(value)
            return f"({text})" if text.startswith("-") and least > SIGN else text
        self.pending.discard(value)
        text, binds = self.texts[value]
        return text if binds >= least else f"({text})"

    def _operation(self, op: Op) -> Text:
        name, _, args, options = op.call
        if name in BINARY and not options:
            sign, binds = BINARY[name]
            grouped = sign in ("**", "==", "!=", "<", "<=", ">", ">=")  # Python reads a chain of these otherwise
            return f"{self._part(args[0], binds + grouped)} {sign} {self._part(args[1], binds + 1)}", binds
        if name in UNARY and not options:
            return f"{UNARY[name]}{self._part(args[0], SIGN)}", SIGN
        if name in ("T", "mT"):
            return f"{self._part(args[0], ATOM)}.{name}", ATOM
        if name == "getitem" and args[1] in (..., slice(None)):
            return self._part(args[0], ATOM), ATOM  # all of it
        if name == "getitem":
            key = args[1] if isinstance(args[1], tuple) else (args[1],)
            return f"{self._part(args[0], ATOM)}[{', '.join(map(self._value, key))}]", ATOM
        own = getattr(self, f"_{name}", None)
        if own is None and not hasattr(np, name):
            raise TracingError(
                f"source: {name} cannot be written for {self.library}; trace the function with NumPy arrays"
            )
        return (own(*args, **options) if own else self._function(name, *args, **options)), ATOM

    def _convolve(self, *args: Any, **options: Any) -> str:
        raise TracingError(
            f"source: the convolution of another library cannot be written for {self.library}; trace the function "
            "with NumPy arrays"
        )

    _by_images = _by_filters = _convolve

    def _function(self, name: str, *args: Any, **options: Any) -> str:
        given = [*map(self._value, args), *(f"{key}={self._value(value)}" for key, value in options.items())]
        return f"{self.prefix}.{name}({', '.join(given)})"

    def _astype(self, x: Var, dtype: Any, **options: Any) -> str:
        return f"{self._part(x, ATOM)}.astype({self._value(dtype)})"

    def _rows(self, x: Var, index: Var) -> str:
        return f"{self._part(x, ATOM)}[{self._value(index)}]"

    def _relu(self, x: Var) -> str:
        return self._function("maximum", x, 0.0)

    def _limited(self, x: Var, low: float, high: float) -> str:
        return self._function("clip", x, low, high)

    def _times_each(self, matrix: Var, matrices: Var) -> str:
        return f"({self._part(matrix, 12)} @ {self._part(matrices, 13)})"

    def _joined(self, x: Var) -> str:
        return self._value(x)

    def _pad(self, x: Var, before: Any, after: Any, value: float) -> str:
        widths = ((0, 0), (0, 0), *zip(before, after, strict=True))
        return f"{self.prefix}.pad({self._value(x)}, {widths!r}, constant_values={self._value(value)})"

    def _windows(self, *args: Any) -> str:
        self.helpers.add(self.windows)
        return f"windows({', '.join(map(self._value, args))})"


class CupySource(Source):
    """The source code of a program for CuPy."""

    library = "cupy"
    prefix = "cp"
    windows = Source.windows.replace("np.", "cp.")

    def _permute_dims(self, x: Var, axes: Any) -> str:
        return f"cp.transpose({self._value(x)}, {axes!r})"

    def _matrix_transpose(self, x: Var) -> str:
        return f"cp.swapaxes({self._value(x)}, -1, -2)"

    def _concat(self, arrays: Any, *, axis: int = 0) -> str:
        return f"cp.concatenate({self._value(arrays)}, axis={axis})"


class TorchSource(Source):
    """The source code of a program for PyTorch."""

    library = "torch"
    prefix = "torch"
    missing = frozenset[str]()
    windows = Source.windows.replace("x.strides", "x.stride()").replace(
        "np.lib.stride_tricks.as_strided(x, ", "x.as_strided("
    )
    words = {"max": "amax", "min": "amin", "concat": "cat", "axis": "dim", "keepdims": "keepdim"}

    def _function(self, name: str, *args: Any, **options: Any) -> str:
        options = {self.words.get(key, key): value for key, value in options.items() if value is not None}
        return super()._function(self.words.get(name, name), *args, **options)

    def _astype(self, x: Var, dtype: Any, **options: Any) -> str:
        return f"{self._part(x, ATOM)}.to({self._value(dtype)})"

    def _relu(self, x: Var) -> str:
        return self._function("relu", x)

    def _maximum(self, a: Any, b: Any) -> str:
        return self._bounded("min", "maximum", a, b)

    def _minimum(self, a: Any, b: Any) -> str:
        return self._bounded("max", "minimum", a, b)

    def _bounded(self, bound: str, name: str, a: Any, b: Any) -> str:
        if isinstance(a, Var) and isinstance(b, Var):
            return self._function(name, a, b)
        array, number = (a, b) if isinstance(a, Var) else (b, a)
        return f"torch.clamp({self._value(array)}, {bound}={self._value(number)})"

    def _asarray(self, x: Any, **options: Any) -> str:
        return f"{self._part(x, ATOM)}.clone()"

    def _rows(self, x: Var, index: Var) -> str:
        return self._take(x, index, axis=0)

    def _take(self, x: Var, index: Var, *, axis: int) -> str:
        return f"torch.index_select({self._value(x)}, {axis}, {self._value(index)})"

    def _permute_dims(self, x: Var, axes: Any) -> str:
        return f"{self._part(x, ATOM)}.permute({axes!r})"

    def _matrix_transpose(self, x: Var) -> str:
        return f"{self._part(x, ATOM)}.mT"

    def _flip(self, x: Var, *, axis: Any) -> str:
        return f"torch.flip({self._value(x)}, {axis if isinstance(axis, tuple) else (axis,)!r})"

    def _convolve(self, *args: Any, **options: Any) -> str:
        return super()._function("nn.functional.conv2d", *args, **options)

    def _by_images(self, *args: Any, **options: Any) -> str:
        return super()._function("nn.grad.conv2d_input", *args, **options)

    def _by_filters(self, *args: Any, **options: Any) -> str:
        return super()._function("nn.grad.conv2d_weight", *args, **options)

    def _expand_dims(self, x: Var, *, axis: int) -> str:
        return f"{self._part(x, ATOM)}.unsqueeze({axis})"

    def _pad(self, x: Var, before: Any, after: Any, value: float) -> str:
        widths = (before[1], after[1], before[0], after[0])
        return f"torch.nn.functional.pad({self._value(x)}, {widths!r}, value={self._value(value)})"


SOURCES: dict[str, Callable[[Program], Source]] = {kind.library: kind for kind in (Source, CupySource, TorchSource)}
"""The kinds of source code by the name of the library."""


def _keys(outputs: Any) -> list[tuple[Var, str]]:
    """The arrays in dicts, with their keys."""
    if isinstance(outputs, dict):
        own = [(part, str(key)) for key, part in outputs.items() if isinstance(part, Var)]
        return own + [pair for part in outputs.values() if not isinstance(part, Var) for pair in _keys(part)]
    return [pair for part in outputs for pair in _keys(part)] if isinstance(outputs, (tuple, list)) else []


def _quoted(key: Any) -> str:
    return f'"{key}"' if isinstance(key, str) else repr(key)

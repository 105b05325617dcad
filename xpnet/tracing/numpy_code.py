"""The code of a program for NumPy."""

import numpy as np

from .._typing import Array
from .code import Code
from .memory import Buffer
from .program import Op, Var

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


class NumpyCode(Code):
    """The code of a program for NumPy."""

    library, prefix = "numpy", "np"
    elementwise = UFUNCS.keys() - {"matmul"} | {"relu", "limited"}

    @staticmethod
    def empty(nbytes: int) -> Array:
        """A new array of dtype uint8."""
        return np.empty(nbytes, np.uint8)

    @staticmethod
    def stored(memory: Array, var: Var) -> Array:
        """An array in the given bytes, with the shape, dtype and storage order of `var`."""
        assert var.order is not None
        block = memory[: var.nbytes].view(var.dtype).reshape([var.shape[axis] for axis in var.order])
        return block.transpose(np.argsort(var.order))

    @staticmethod
    def copied(array: Array) -> Array:
        """A new array with the same values."""
        return array.copy()

    def _copy(self, target: str, source: str) -> str:
        return f"np.copyto({target}, {source}, 'unsafe')"

    def _call(self, op: Op) -> str:
        name, _, args, options = op.call
        if name in REDUCTIONS and len(args) == 1 and not options and args[0].dtype == op.out[0].dtype:
            return f"np.{REDUCTIONS[name]}.reduce({self._expression(args[0])}, None)"  # of all elements
        return super()._call(op)

    def _function(self, op: Op) -> str:
        name, _, _, options = op.call
        return f"np.{UFUNCS[name]}" if name in UFUNCS and not options else super()._function(op)

    def _rule(self, i: int, op: Op) -> str:
        (name, _, args, options), out = op.call, op.out[0]
        given = list(map(self._expression, args))
        if name in UFUNCS and not options:
            target = self._target(i, out, () if name == "matmul" else args)
            keyword = "out=" if name in ("maximum", "minimum") else ""  # NumPy wants it by name
            return f"np.{UFUNCS[name]}({', '.join(given)}, {keyword}{target})"
        alone = len(args) == 1  # the options have names
        if name in REDUCTIONS and alone and set(options) <= {"axis", "keepdims"} and args[0].dtype == out.dtype:
            return self._reduce(i, op, given[0])
        if name == "relu":
            return f"np.maximum({given[0]}, 0.0, out={self._target(i, out, args)})"
        if name == "limited":
            target = self._target(i, out, args)
            return f"np.minimum(np.maximum({given[0]}, {given[1]}, out={target}), {given[2]}, out={target})"
        if name == "astype":
            return self._copy(self._target(i, out), given[0])
        if name == "reshape":
            return self._reshape(i, op, given[0])
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

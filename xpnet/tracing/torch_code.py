"""The code of a program for PyTorch on the CPU."""

import importlib
from collections.abc import Callable, Sequence
from typing import Any

from .._typing import Array
from .code import Code
from .program import Op, Var

__all__ = ["TorchCode"]

FUNCTIONS = {
    "add": "add", "sub": "sub", "mul": "mul", "truediv": "div", "subtract": "sub", "multiply": "mul", "divide": "div",
    "eq": "eq", "ne": "ne", "lt": "lt", "le": "le", "gt": "gt", "ge": "ge", "equal": "eq", "not_equal": "ne",
    "less": "lt", "less_equal": "le", "greater": "gt", "greater_equal": "ge", "neg": "neg", "negative": "neg",
    "abs": "abs", "exp": "exp", "expm1": "expm1", "log": "log", "log1p": "log1p", "sqrt": "sqrt", "tanh": "tanh",
    "square": "square", "floor": "floor", "limited": "clamp",
}  # fmt: skip
"""PyTorch's functions of each element by the names of operations. A second operand can be a number."""
REDUCTIONS = {"sum": "sum", "max": "amax", "min": "amin"}
"""PyTorch's reductions along one axis by the names of operations."""
BOUNDS = ("maximum", "minimum")


class TorchCode(Code):
    """The code of a program for PyTorch on the CPU. It runs under `torch.no_grad`."""

    library = prefix = "torch"
    elementwise = {*FUNCTIONS, *BOUNDS, "relu"}

    def make(self, memory: Array, slots: Sequence[Array] = ()) -> Callable[..., Any]:
        """The program as a function, as for every library."""
        made: Callable[..., Any] = importlib.import_module("torch").no_grad()(super().make(memory, slots))
        return made

    @staticmethod
    def empty(nbytes: int) -> Array:
        """A new array of dtype uint8."""
        torch = importlib.import_module("torch")
        return torch.empty(nbytes, dtype=torch.uint8, device="cpu")

    @staticmethod
    def stored(memory: Array, var: Var) -> Array:
        """A tensor in the given bytes, with the shape, dtype and storage order of `var`."""
        assert var.order is not None
        block = memory[: var.nbytes].view(var.dtype).reshape([var.shape[axis] for axis in var.order])
        return block.permute([var.order.index(axis) for axis in range(len(var.order))])

    @staticmethod
    def copied(array: Array) -> Array:
        """A new tensor with the same values."""
        return array.clone()

    def _copy(self, target: str, source: str) -> str:
        return f"{target}.copy_({source})"

    def _rule(self, i: int, op: Op) -> str:
        (name, _, args, options), out = op.call, op.out[0]
        given = list(map(self._expression, args))
        tensors = [a for a in args if isinstance(a, Var)]
        alike = len({a.dtype for a in tensors}) == 1  # `array_api_compat` converts the operands of most functions
        if name in ("add", "mul") and alike and args[0] not in tensors:
            args, given = args[::-1], given[::-1]  # PyTorch's functions take the tensor first
        if name == "relu":
            return self._elementwise(i, op, "clamp_min", [given[0], "0"])
        if name in FUNCTIONS and not options and alike and args[0] in tensors:
            return self._elementwise(i, op, FUNCTIONS[name], given)
        if name in BOUNDS and alike and args[0] in tensors:
            second = given[1] if args[1] in tensors else self._number(args[1], out)
            return self._elementwise(i, op, name, [given[0], second])
        if name == "matmul":
            function = "mm" if all(len(a.shape) == 2 for a in args) else "matmul"
            return f"torch.{function}({', '.join(given)}, out={self._target(i, out)})"
        axis = options.get("axis")
        if name in REDUCTIONS and len(args) == 1 and set(options) <= {"axis", "keepdims"} and isinstance(axis, int):
            if args[0].dtype != out.dtype:
                return ""
            kept = options.get("keepdims", False)
            return f"torch.{REDUCTIONS[name]}({given[0]}, {axis}, {kept}, out={self._target(i, out)})"
        if name == "astype":
            return self._copy(self._target(i, out), given[0])
        if name == "reshape":
            return self._reshape(i, op, given[0])
        if name == "rows":
            return f"torch.index_select({given[0]}, 0, {given[1]}, out={self._target(i, out)})"
        return ""

    def _elementwise(self, i: int, op: Op, function: str, given: list[str]) -> str:
        """The line of a function of each element, which may overwrite an operand.

        PyTorch refuses to write into an operand if another operand is a different view of the same memory.
        """
        roots = [var.root for var in dict.fromkeys(op.reads)]
        target = self._target(i, op.out[0], [var for var in op.reads if roots.count(var.root) == 1])
        if target == given[0] and function not in BOUNDS:
            return f"{target}.{function}_({', '.join(given[1:])})"
        return f"torch.{function}({', '.join(given)}, out={target})"

    def _number(self, number: float, out: Var) -> str:
        """A number as a tensor, for the functions that take tensors only."""
        return self._value(importlib.import_module("torch").asarray(number, dtype=out.dtype, device="cpu"))

"""The cost of a program: arithmetic operations, memory traffic and memory."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from .program import Op, Program, Var

__all__ = ["Cost", "OperationCost", "cost_of"]


class OperationCost(NamedTuple):
    """The cost of one operation.

    Attributes
    ----------
    where : str
        The layer and its method, such as "Affine1, forward"; "" if no layer made the operation.
    operation : str
        The name of the operation, such as "matmul".
    shape : tuple of int
        The shape of the result.
    flops : int
        The number of arithmetic operations on numbers. An addition, a comparison and an exponential count as 1 each.
        The product of an (M, K) matrix and a (K, N) matrix counts as 2 M K N. Copies count as 0.
    bytes_read, bytes_written : int
        The sizes of the operands, and of the results, in bytes.
    """

    where: str
    operation: str
    shape: tuple[int, ...]
    flops: int
    bytes_read: int
    bytes_written: int


@dataclass(frozen=True)
class Cost:
    """The cost of a program. `Program.cost` returns it.

    Attributes
    ----------
    operations : tuple of OperationCost
        The cost of each operation, in order, without views.
    peak_memory : int
        The largest number of bytes of the arrays that are needed at the same time, including arguments and results.
    """

    operations: tuple[OperationCost, ...]
    peak_memory: int

    @property
    def flops(self) -> int:
        """The number of arithmetic operations on numbers, see `OperationCost`."""
        return sum(op.flops for op in self.operations)

    @property
    def bytes_moved(self) -> int:
        """The number of bytes that the operations read and write."""
        return sum(op.bytes_read + op.bytes_written for op in self.operations)

    @property
    def intensity(self) -> float:
        """The arithmetic intensity: arithmetic operations for each byte that is read or written."""
        return self.flops / self.bytes_moved if self.bytes_moved else 0.0

    @property
    def largest_product(self) -> int:
        """The number of arithmetic operations of the largest product of two matrices."""
        products = [op for op in self.operations if op.operation in ("matmul", "times_each")]
        return max((op.flops // math.prod(op.shape[:-2]) for op in products if op.flops), default=0)

    def by_layer(self) -> dict[str, int]:
        """The number of arithmetic operations of each layer and method, such as "Affine1, forward", in order."""
        found: dict[str, int] = {}
        for op in self.operations:
            found[op.where] = found.get(op.where, 0) + op.flops
        return found

    def __str__(self) -> str:
        rows = [("", "operation", "result", "FLOPs", "bytes")]
        before = ""
        for where, name, shape, flops, read, written in self.operations:
            rows.append((where if where != before else "", name, str(shape), f"{flops:,}", f"{read + written:,}"))
            before = where
        rows.append(("total", "", "", f"{self.flops:,}", f"{self.bytes_moved:,}"))
        wide = [max(map(len, column)) for column in zip(*rows, strict=True)]
        table = [
            f"{a:<{wide[0]}}  {b:<{wide[1]}}  {c:>{wide[2]}}  {d:>{wide[3]}}  {e:>{wide[4]}}"
            for a, b, c, d, e in rows
        ]
        end = f"{self.intensity:.2f} FLOPs per byte, peak memory {self.peak_memory:,} bytes"
        return "\n".join([*(line.rstrip() for line in table), end])


def cost_of(program: Program) -> Cost:
    """The cost of a program."""
    computed = [op for op in program.ops if not op.is_view]
    return Cost(tuple(_operation(program, op) for op in computed), _peak_memory(program))


def _operation(program: Program, op: Op) -> OperationCost:
    read = sum(var.nbytes for var in dict.fromkeys(op.reads))
    written = sum(var.nbytes for var in op.out)
    return OperationCost(program.where(op), op.call.name, op.out[0].shape, _flops(op), read, written)


def _flops(op: Op) -> int:
    name, _, args, _ = op.call
    if name in _FREE:
        return 0
    if name in _SPECIAL:
        return _SPECIAL[name](args, op.out[0])
    arrays = [arg for arg in args if isinstance(arg, Var)]
    return max([op.out[0].size, *(array.size for array in arrays)])  # an element at a time, or a reduction


_FREE = frozenset(
    "astype asarray broadcast_to concat copy expand_dims flip getitem joined pad permute_dims reshape roll rows "
    "squeeze stack take where windows zeros_like".split()
)
"""Operations that only copy or select elements."""
_SPECIAL: dict[str, Callable[..., int]] = {
    "matmul": lambda args, out: 2 * out.size * args[0].shape[-1],
    "times_each": lambda args, out: 2 * out.size * args[0].shape[-1],
    "convolve": lambda args, out: 2 * out.size * math.prod(args[1].shape[1:]),
    "by_images": lambda args, out: 2 * args[2].size * math.prod(args[1].shape[1:]),
    "by_filters": lambda args, out: 2 * args[2].size * math.prod(out.shape[1:]),
}


def _peak_memory(program: Program) -> int:
    last, ends = program.last_uses(), {var.root for var in program.results}
    live = {var.root: var.root.nbytes for var in (*program.inputs.values(), *program.constants)}
    peak = sum(live.values())
    for i, op in enumerate(program.ops):
        live |= {var.root: var.root.nbytes for var in op.out}
        peak = max(peak, sum(live.values()))
        for var in {v.root for v in (*op.reads, *op.out)}:
            if last.get(var, -1) <= i and var not in ends and var not in program.inputs.values():
                live.pop(var, None)
    return peak

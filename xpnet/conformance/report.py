"""The tables of a run."""

import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import isinf

from .._files import check_output, replacing
from .measures import LIMIT, ORDER, Cell

__all__ = ["Column", "Report"]


@dataclass(frozen=True)
class Column:
    """A backend, one of its devices, and a dtype."""

    backend: str
    version: str
    device: str
    dtype: str

    @property
    def place(self) -> str:
        """The backend, with its device where this is not its only or its first: "torch", "torch cuda:0"."""
        return self.backend if self.device.partition(":")[0] == "cpu" else f"{self.backend} {self.device}"


@dataclass(frozen=True)
class Report:
    """What `run` found; ``print`` shows the tables.

    Attributes
    ----------
    date : str
        The day, in UTC, such as "2026-11-23".
    machine : str
        Versions of xpnet and Python, and the system.
    columns : tuple of Column
        Where it was measured.
    cells : dict of Cell
        What was measured, by the name of the case and the column.
    operators : dict of str
        The operator of each of ONNX's test vectors, by its name.
    answers : dict of str
        What is wrong with the answer to a vector, or "", by its name and the column's `place`.
    outside : dict of str
        What a vector asks for that xpnet does not have, by its name.
    absent : dict of str
        What was not run, and why.
    """

    date: str
    machine: str
    columns: tuple[Column, ...]
    cells: dict[tuple[str, Column], Cell]
    operators: dict[str, str]
    answers: dict[tuple[str, str], str]
    outside: dict[str, str]
    absent: dict[str, str]

    @property
    def problems(self) -> list[str]:
        """What is wrong, a line each; empty where all is as it should be."""
        found = [
            f"{case}, {c.place} {c.dtype}: {cell.problem}" for (case, c), cell in self.cells.items() if cell.problem
        ]
        return found + [f"{place}: {answer}" for (_, place), answer in self.answers.items() if answer]

    @property
    def ok(self) -> bool:
        """Whether something was run, and nothing is wrong."""
        return bool(self.cells) and not self.problems

    def __str__(self) -> str:
        return "\n".join([*self._tables(), *self._outcome()])

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the tables as a page in Markdown, whole or not at all.

        Raises
        ------
        OSError, ValueError
            If the name does not end in .md, or no file can be written there.
        """
        with replacing(check_output(path, ".md")) as file:
            file.write("\n".join([_EXPLAINED, *self._outcome(), *self._tables()]))

    def _outcome(self) -> Iterator[str]:
        yield from (f"Measured {self.date} with {self.machine}.", "")
        rows = []
        for c in self.columns:
            cells = {case: cell for (case, column), cell in self.cells.items() if column == c}
            right = sum(not cell.problem for cell in cells.values())
            layers = [cell for cell in cells.values() if cell.gradient is not None]
            row = [
                _number(max((cell.value for cell in layers), default=None)),
                _number(max((cell.gradient or 0.0 for cell in layers), default=None)),
                _order(min((cell.order for cell in layers if cell.order is not None), default=None)),
            ]
            rows.append([c.place, c.version, c.dtype, f"{right} of {len(cells)}", *row])
        head = ["", "version", "dtype", "right", "layers' error", "gradients' error", "least order"]
        yield from (*_table(head, rows), "")
        yield f"{len(self.cells)} measured and {len(self.answers)} vectors run, {len(self.problems)} wrong."
        yield from ("", *(f"- {problem}" for problem in self.problems))
        yield from (f"NOT RUN: {name}: {why}" for name, why in self.absent.items())
        yield ""

    def _tables(self) -> Iterator[str]:
        for place in dict.fromkeys(column.place for column in self.columns):
            columns = [column for column in self.columns if column.place == place]
            head = [
                f"{title} {c.dtype.replace('bfloat', 'bf').replace('float', 'f')}"
                for title in _MEASURES
                for c in columns
            ]
            cases = dict.fromkeys(case for case, _ in self.cells)
            rows = [
                [case, *(self._text(text, case, c) for text in _MEASURES.values() for c in columns)] for case in cases
            ]
            yield from (f"## {place} {columns[0].version}", "", *_table(["", *head], rows), "")
        if self.operators:
            yield from self._vectors()

    def _text(self, text: Callable[[Cell], str], case: str, column: Column) -> str:
        cell = self.cells.get((case, column))
        return text(cell) if cell else ""

    def _vectors(self) -> Iterator[str]:
        yield from ("## ONNX's test vectors", "", "Right answers, of the vectors that xpnet can compute:", "")
        places = list(dict.fromkeys(column.place for column in self.columns))
        rows, missing = [], []
        for operator in sorted(set(self.operators.values())):
            names = [name for name, kind in self.operators.items() if kind == operator]
            answers = {
                place: [self.answers[n, place] for n in names if (n, place) in self.answers] for place in places
            }
            rows.append([operator, *(f"{a.count('')} of {len(a)}" for a in answers.values())])
            reasons = Counter(self.outside[name] for name in names if name in self.outside)
            if reasons:
                missing.append(f"- {operator}: " + ", ".join(f"{why} ({n})" for why, n in reasons.items()))
        yield from (*_table(["", *places], rows), "")
        yield from ("The other vectors need features that xpnet does not have:", "", *missing, "")


def _number(x: float | None) -> str:
    if x is None or x == 0:
        return "" if x is None else "0"
    return "<0.01" if x < 0.01 else f"{x:.2f}" if x < 10 else f"{x:.2g}"


def _order(x: float | None) -> str:
    return "" if x is None else "exact" if isinf(x) else f"{x:.2f}"


_MEASURES: dict[str, Callable[[Cell], str]] = {
    "error": lambda cell: _number(cell.value),
    "gradient": lambda cell: _number(cell.gradient),
    "order": lambda cell: _order(cell.order),
}

_EXPLAINED = f"""\
# Conformance

This page has the measured errors of every function and layer of xpnet on each array library. The command
`xpnet conformance --page FILE` measured them and wrote this page. It measures on small arrays, on the first device of
each kind, in each floating dtype (f32 is float32). Layers with matrix products are measured with products in half
precision, too (bf16 is bfloat16, f16 is float16).

- *error* is the largest difference from the definition, which is written a second time in NumPy and float64. It is
  relative to the largest number, in units of eps, the rounding error of the dtype (2.2e-16 in float64, 1.2e-7 in
  float32, 0.001 in float16, 0.008 in bfloat16). An error below 1 is as small as the dtype allows. The limit is
  {LIMIT:g}, and {LIMIT:g} eps^(-1/3) for numerical derivatives.
- *gradient* is the error of the gradient in a random direction, in eps. It is compared with the derivative of the
  definition, computed by a complex step, which has no rounding error from subtraction. The limit is {LIMIT:g}.
- *order* says how fast the Taylor remainder f(x + h v) - f(x) - h ⟨gradient, v⟩ decreases with h. It decreases like
  h² if the gradient is that of the computed function, and like h if not. The limit is {ORDER:g}. *exact* means that
  the remainder is 0, as for a linear function.
- *ONNX's test vectors* are inputs and outputs that ONNX publishes for its operators, with its own tolerances.

Functions have no backward pass, so only layers have a *gradient* and an *order*. Libraries that were not measured
have no column. The last digits depend on the processor and on the library of matrix products, so they differ on
another machine.
"""


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """A table in Markdown, aligned to be read as it is: the first column to the left, the others to the right."""
    first, *rest = (max(map(len, column)) for column in zip(head, *rows, strict=True))

    def line(cells: Sequence[str]) -> str:
        return (
            " | ".join([f"| {cells[0]:<{first}}", *(f"{c:>{w}}" for c, w in zip(cells[1:], rest, strict=True))])
            + " |"
        )

    yield line(head)
    yield f"|{'-' * (first + 2)}|" + "".join(f"{'-' * (width + 1)}:|" for width in rest)
    yield from map(line, rows)

"""Draw a program or the layers of a network in SVG: a column for each layer, and a row for each pass."""

import html
import os
from collections.abc import Iterable, Iterator
from itertools import pairwise
from typing import TYPE_CHECKING, TypeAlias

from .._files import check_output, replacing

if TYPE_CHECKING:
    from .program import Program, Var

__all__ = ["Box", "Drawing", "column_of", "picture_of"]

Shape: TypeAlias = tuple[int, ...]

LINE, PAD, GAP = 17, 10, 84
WIDTH = 250
STYLE = """
.xpnet { background: #ffffff; font: 12px ui-monospace, Menlo, Consolas, monospace; }
.xpnet .box { fill: #f4f6fa; stroke: #8894a8; }
.xpnet .forward { fill: #e8f1fc; } .xpnet .backward { fill: #fdefe3; } .xpnet .update { fill: #e9f6ec; }
.xpnet text { fill: #1c2430; } .xpnet .title { font-weight: bold; }
.xpnet .shape { fill: #5a6675; font-size: 11px; }
.xpnet .arrow { fill: none; stroke: #5a6675; stroke-width: 1.3; } .xpnet .kept { stroke-dasharray: 4 3; }
@media (prefers-color-scheme: dark) {
  .xpnet { background: #14181f; } .xpnet .box { fill: #222a35; stroke: #5d6b80; } .xpnet .forward { fill: #1d2f45; }
  .xpnet .backward { fill: #46301e; } .xpnet .update { fill: #1d3a26; } .xpnet text { fill: #e6eaf0; }
  .xpnet .shape { fill: #a5b0be; } .xpnet .arrow { stroke: #a5b0be; }
}
"""


class Drawing:
    """A picture in SVG. A notebook shows it as the result of a cell.

    Attributes
    ----------
    svg : str
        The text of the SVG file.
    """

    def __init__(self, svg: str) -> None:
        self.svg = svg

    def __repr__(self) -> str:
        return f"Drawing(SVG, {len(self.svg)} characters)"

    def _repr_svg_(self) -> str:
        return self.svg

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the picture to a file; its name ends in ``.svg``. An existing file is replaced in one step."""
        with replacing(check_output(path, ".svg")) as file:
            file.write(self.svg)


class Box:
    """A box of a picture: a title, lines of text, and its row, such as the operations of one layer in one pass."""

    def __init__(self, title: str, row: str, lines: Iterable[str] = ()) -> None:
        self.title, self.row = title, row
        self.lines = [*lines]
        self.layer = title.rpartition(", ")[0] or title
        self.x = self.y = 0

    @property
    def height(self) -> int:
        """The height in pixels."""
        return LINE * (len(self.lines) + 1) + 2 * PAD


Arrows: TypeAlias = dict[tuple[Box, Box], list[Shape]]
"""The shapes of the arrays that go from one box to another."""


def picture_of(program: "Program") -> Drawing:
    """The operations of a program."""
    boxes, made = dict[str, Box](), dict["Var", Box]()
    arrows = dict[tuple[Box, Box], dict[object, Shape]]()
    for op in program.ops:
        place = program.where(op)
        row = place.rpartition(", ")[2] if place else "forward"
        box = boxes.setdefault(place, Box(place or program.name, row if row in ("forward", "backward") else "update"))
        if not op.is_view:
            box.lines.append(f"{op.call.name} → {', '.join(str(list(var.shape)) for var in op.out)}")
        for var in op.reads:
            source = made.get(var.root)
            if source is not None and source is not box:
                arrows.setdefault((source, box), {})[var.root] = var.root.shape
        made |= dict.fromkeys(op.out, box)
    shapes = {ends: [*arrays.values()] for ends, arrays in arrows.items()}
    placed = list(boxes.values())
    return _picture(f"{program.name}: operations by layer", placed, shapes, _place(placed))


def column_of(title: str, boxes: list[Box], shapes: list[Shape]) -> Drawing:
    """Boxes below one another, with arrows of these shapes between them; `title` is read aloud by a screen reader."""
    top = PAD
    for box in boxes:
        box.x, box.y = PAD, top
        top += box.height + GAP // 2
    arrows = {ends: [shape] for ends, shape in zip(pairwise(boxes), shapes, strict=True)}
    return _picture(title, boxes, arrows, (WIDTH + 2 * PAD, top - GAP // 2 + PAD))


def _picture(title: str, boxes: list[Box], arrows: Arrows, size: tuple[int, int]) -> Drawing:
    width, height = size
    parts = [*_draw_arrows(arrows), *_draw_boxes(boxes)]
    head = (
        f'<svg class="xpnet" xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
        f'viewBox="0 0 {width} {height}" role="img" aria-label="{html.escape(title)}">'
    )
    marker = (
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8" markerHeight="8" orient="auto">'
        '<path d="M0 0 L8 4 L0 8 z" fill="#7a8798"/></marker></defs>'
    )
    return Drawing("\n".join([head, f"<style>{STYLE}</style>", marker, *parts, "</svg>", ""]))


def _place(boxes: list[Box]) -> tuple[int, int]:
    """Set the positions of the boxes; return the width and height of the picture."""
    columns: dict[str, int] = {}
    for box in boxes:
        if box.row != "update":
            columns.setdefault(box.layer, len(columns))
    rows = [row for row in ("forward", "backward", "update") if any(box.row == row for box in boxes)]
    top = GAP // 2
    for row in rows:
        mine = [box for box in boxes if box.row == row]
        for i, box in enumerate(mine):
            column = columns.get(box.layer, i)
            box.x, box.y = GAP // 2 + column * (WIDTH + GAP), top
        top += max(box.height for box in mine) + GAP
    return max(1, len(columns)) * (WIDTH + GAP), top - GAP // 2


def _draw_boxes(boxes: list[Box]) -> Iterator[str]:
    for box in boxes:
        yield f'<rect class="box {box.row}" x="{box.x}" y="{box.y}" width="{WIDTH}" height="{box.height}" rx="6"/>'
        yield _text(box.x + PAD, box.y + PAD + 12, box.title, "title")
        for i, line in enumerate(box.lines, 1):
            yield _text(box.x + PAD, box.y + PAD + 12 + i * LINE, line, "line")


def _draw_arrows(arrows: Arrows) -> Iterator[str]:
    for (a, b), arrays in arrows.items():
        shapes = ", ".join(dict.fromkeys(str(list(shape)) for shape in arrays))
        if a.row == b.row and a.x != b.x:  # to the neighbor
            right = b.x > a.x
            x1, x2 = (a.x + WIDTH, b.x) if right else (a.x, b.x + WIDTH)
            y1 = y2 = max(a.y, b.y) + PAD + 8
            bend = abs(b.x - a.x) > WIDTH + GAP
            middle = f"C {x1} {y1 - 24}, {x2} {y1 - 24}, {x2} {y2}" if bend else f"L {x2} {y2}"
            yield f'<path class="arrow" marker-end="url(#tip)" d="M {x1} {y1} {middle}"/>'
            if not bend:
                yield _text((x1 + x2) // 2, y1 - 5, shapes, "shape", "middle")
        else:
            x1, y1 = a.x + WIDTH // 2, a.y + a.height
            x2, y2 = b.x + WIDTH // 2 + 24 * ((a.x > b.x) - (a.x < b.x)), b.y
            kind = "arrow" if a.row == b.row else "arrow kept"
            yield (
                f'<path class="{kind}" marker-end="url(#tip)" '
                f'd="M {x1} {y1} C {x1} {y1 + GAP // 2}, {x2} {y2 - GAP // 2}, {x2} {y2}"/>'
            )
            if a.x == b.x:
                yield _text(x1 + 6, (y1 + y2) // 2 + 4, shapes, "shape")


def _text(x: int, y: int, text: str, kind: str, anchor: str = "start") -> str:
    return f'<text class="{kind}" x="{x}" y="{y}" text-anchor="{anchor}">{html.escape(text)}</text>'

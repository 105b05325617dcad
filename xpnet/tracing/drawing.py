"""Draw a program as a picture in SVG: a column for each layer, and a row for each pass."""

import html
from collections.abc import Iterator

from .program import Program, Var

__all__ = ["drawing"]

LINE, PAD, GAP = 17, 10, 84
WIDTH = 250
STYLE = """
svg { background: #ffffff; font: 12px ui-monospace, Menlo, Consolas, monospace; }
.box { fill: #f4f6fa; stroke: #8894a8; }
.forward { fill: #e8f1fc; } .backward { fill: #fdefe3; } .update { fill: #e9f6ec; }
text { fill: #1c2430; } .title { font-weight: bold; } .shape { fill: #5a6675; font-size: 11px; }
.arrow { fill: none; stroke: #5a6675; stroke-width: 1.3; } .kept { stroke-dasharray: 4 3; }
@media (prefers-color-scheme: dark) {
  svg { background: #14181f; } .box { fill: #222a35; stroke: #5d6b80; } .forward { fill: #1d2f45; }
  .backward { fill: #46301e; } .update { fill: #1d3a26; } text { fill: #e6eaf0; } .shape { fill: #a5b0be; }
  .arrow { stroke: #a5b0be; }
}
"""


class Box:
    """The operations of one layer in one pass."""

    def __init__(self, title: str, row: str) -> None:
        self.title, self.row = title, row
        self.lines = list[str]()
        self.layer = title.rpartition(", ")[0] or title
        self.x = self.y = 0

    @property
    def height(self) -> int:
        return LINE * (len(self.lines) + 1) + 2 * PAD


def drawing(program: Program) -> str:
    """The program as SVG."""
    boxes, made = dict[str, Box](), dict[Var, Box]()
    arrows = dict[tuple[Box, Box], dict[Var, None]]()
    for op in program.ops:
        place = program.where(op)
        row = place.rpartition(", ")[2] if place else "forward"
        box = boxes.setdefault(place, Box(place or program.name, row if row in ("forward", "backward") else "update"))
        if not op.is_view:
            box.lines.append(f"{op.call.name} → {', '.join(str(list(var.shape)) for var in op.out)}")
        for var in op.reads:
            source = made.get(var.root)
            if source is not None and source is not box:
                arrows.setdefault((source, box), {})[var.root] = None
        made |= dict.fromkeys(op.out, box)
    placed = list(boxes.values())
    width, height = _place(placed)
    parts = [*_draw_arrows(arrows), *_draw_boxes(placed)]
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" '
        f'role="img" aria-label="{html.escape(program.name)}: operations by layer">'
    )
    marker = (
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8" markerHeight="8" orient="auto">'
        '<path d="M0 0 L8 4 L0 8 z" fill="#7a8798"/></marker></defs>'
    )
    return "\n".join([head, f"<style>{STYLE}</style>", marker, *parts, "</svg>", ""])


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


def _draw_arrows(arrows: dict[tuple[Box, Box], dict[Var, None]]) -> Iterator[str]:
    for (a, b), arrays in arrows.items():
        shapes = ", ".join(dict.fromkeys(str(list(var.shape)) for var in arrays))
        if a.row == b.row:  # to the neighbor
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
            yield (
                f'<path class="arrow kept" marker-end="url(#tip)" '
                f'd="M {x1} {y1} C {x1} {y1 + GAP // 2}, {x2} {y2 - GAP // 2}, {x2} {y2}"/>'
            )
            if a.x == b.x:
                yield _text(x1 + 6, (y1 + y2) // 2 + 4, shapes, "shape")


def _text(x: int, y: int, text: str, kind: str, anchor: str = "start") -> str:
    return f'<text class="{kind}" x="{x}" y="{y}" text-anchor="{anchor}">{html.escape(text)}</text>'

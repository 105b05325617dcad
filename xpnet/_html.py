"""Tables and curves in HTML, which notebooks show. They have no colors of their own: those of the page are used."""

import html
import math
from collections.abc import Sequence

__all__ = ["curves", "table"]

WIDTH, HEIGHT, PAD = 320, 120, 6
DASHES = {"line": "none", "dashed": "6 3", "dotted": "2 2"}


def table(header: Sequence[str], rows: Sequence[Sequence[str]], caption: str = "") -> str:
    """A table of texts, which are escaped. A column is aligned to the right if its last cell is a number."""
    last = rows[-1] if rows else header
    sides = ["right" if text[:1].isdigit() or text[:1] == "-" else "left" for text in last]

    def line(cells: Sequence[str], tag: str) -> str:
        texts = (
            f'<{tag} style="text-align: {side}">{html.escape(text)}</{tag}>'
            for text, side in zip(cells, sides, strict=True)
        )
        return f"<tr>{''.join(texts)}</tr>"

    head = f"<caption>{html.escape(caption)}</caption>" if caption else ""
    return f"<table>{head}{line(header, 'th')}{''.join(line(row, 'td') for row in rows)}</table>"


def curves(named: dict[str, Sequence[float]], label: str) -> str:
    """Up to three curves over the same steps as SVG, or an empty string if there is nothing to draw.

    The lines differ by their dashes. Values that are not finite are left out.
    """
    finite = [value for values in named.values() for value in values if math.isfinite(value)]
    count = max(map(len, named.values()), default=0)
    if count < 2 or not finite:
        return ""
    low, high = min(finite), max(finite)

    def point(i: int, value: float) -> str:
        x = PAD + i / (count - 1) * (WIDTH - 2 * PAD)
        y = HEIGHT - PAD - (value - low) / ((high - low) or 1) * (HEIGHT - 2 * PAD)
        return f"{x:.1f},{y:.1f}"

    lines = [
        f'<polyline fill="none" stroke="currentColor" stroke-dasharray="{dashes}" '
        f'points="{" ".join(point(i, value) for i, value in enumerate(values) if math.isfinite(value))}">'
        f"<title>{html.escape(name)}</title></polyline>"
        for (name, values), dashes in zip(named.items(), DASHES.values(), strict=False)
    ]
    legend = ", ".join(f"{name} ({mark})" for name, mark in zip(named, DASHES, strict=False))
    text = html.escape(f"{label}, from {low:.4g} to {high:.4g}: {legend}")
    return (
        f'<svg role="img" aria-label="{text}" width="{WIDTH}" height="{HEIGHT}" viewBox="0 0 {WIDTH} {HEIGHT}">'
        f"{''.join(lines)}</svg><div>{text}</div>"
    )

"""Charts as SVG: lines, histograms and scatter plots. Colors are classes of the page's style."""

import math
from collections.abc import Sequence
from html import escape
from typing import Any, NamedTuple

import numpy as np

from .html import Markup

__all__ = ["STYLES", "Line", "bars", "lines", "scatter"]

STYLES = 8
"""The number of line styles: a color, a dash and a marker each."""

_DASHES = ("", "7 4", "2 4", "10 4 2 4", "", "7 4", "2 4", "10 4 2 4")
_MARKERS = (
    "M-4 0A4 4 0 1 0 4 0A4 4 0 1 0-4 0Z",  # circle
    "M-3.5-3.5H3.5V3.5H-3.5Z",  # square
    "M0-4.5L4.5 3.5H-4.5Z",  # triangle
    "M0-5L5 0L0 5L-5 0Z",  # diamond
    "M0 4.5L4.5-3.5H-4.5Z",  # triangle, downwards
    "M-4-4L4 4M-4 4L4-4",  # cross
    "M0-5V5M-5 0H5",  # plus
    "M-5 0H5",  # bar
)
_WIDTH, _HEIGHT, _LEFT, _TOP, _BOTTOM = 520, 300, 86, 14, 46


class Line(NamedTuple):
    """A line of a chart."""

    name: str
    x: Sequence[float]
    y: Sequence[float]
    style: int


class Axis(NamedTuple):
    """The range of an axis on the page, and its ticks."""

    low: float
    high: float
    start: float
    end: float
    log: bool
    ticks: list[float]

    def __call__(self, value: float) -> float:
        if self.log:
            low, high, value = (math.log10(max(v, 1e-300)) for v in (self.low, self.high, value))
        else:
            low, high = self.low, self.high
        return self.start + (value - low) / (high - low) * (self.end - self.start)


def _axis(values: Sequence[float], start: float, end: float, log: bool = False, whole: bool = False) -> Axis:
    """An axis for these numbers, which are finite, and positive if `log`. If `whole`, its ends are integers."""
    low, high = (min(values), max(values)) if values else (0.0, 1.0)
    if whole:
        low, high = float(math.floor(low)), float(math.ceil(high))
    if log:
        first, last = math.floor(math.log10(low)), math.ceil(math.log10(high) + 1e-9)
        steps = (1,) if last - first > 3 else (1, 2, 5)
        powers = range(first, last + 1, max(1, (last - first) // 6))
        low, high = low / 1.15, high * 1.15
        return Axis(
            low, high, start, end, True, [s * 10.0**p for p in powers for s in steps if low <= s * 10.0**p <= high]
        )
    if high - low <= 1e-12 * max(abs(low), abs(high), 1e-300):
        low, high = low - (abs(low) / 2 or 0.5), high + (abs(high) / 2 or 0.5)
    margin = 0 if whole else (high - low) * 0.04
    low, high = low - margin, high + margin
    raw = (high - low) / 5
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(s * power for s in (1, 2, 2.5, 5, 10) if s * power >= raw * 0.999)
    step = max(1.0, step) if whole else step
    ticks = [i * step for i in range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)]
    return Axis(low, high, start, end, False, ticks)


def _tick(value: float) -> str:
    return f"{value:,.0f}" if float(value).is_integer() and abs(value) < 1e6 else f"{value:.6g}"


def _frame(x: Axis, y: Axis, x_name: str, y_name: str) -> str:
    parts = []
    for value in y.ticks:
        at = y(value)
        parts.append(f'<path class="grid" d="M{x.start:.1f} {at:.1f}H{x.end:.1f}"/>')
        parts.append(f'<text x="{x.start - 7:.1f}" y="{at + 4.5:.1f}" text-anchor="end">{_tick(value)}</text>')
    for value in x.ticks:
        at = x(value)
        parts.append(f'<path class="axis" d="M{at:.1f} {y.start:.1f}v5"/>')
        parts.append(f'<text x="{at:.1f}" y="{y.start + 20:.1f}" text-anchor="middle">{_tick(value)}</text>')
    parts.append(f'<path class="axis" d="M{x.start:.1f} {y.start:.1f}H{x.end:.1f}"/>')
    middle = (x.start + x.end) / 2
    parts.append(
        f'<text class="name" x="{middle:.1f}" y="{_HEIGHT - 6}" text-anchor="middle">{escape(x_name)}</text>'
    )
    parts.append(
        f'<text class="name" transform="translate(13 {(y.start + y.end) / 2:.1f}) rotate(-90)" '
        f'text-anchor="middle">{escape(y_name)}</text>'
    )
    return "".join(parts)


def _svg(title: str, content: str, width: float = _WIDTH, height: float = _HEIGHT) -> Markup:
    return Markup(
        f'<svg viewBox="0 0 {width:g} {height:g}" role="img" aria-label="{escape(title)}"><title>{escape(title)}'
        f"</title>{content}</svg>"
    )


def lines(
    title: str,
    given: Sequence[Line],
    x_name: str,
    y_name: str,
    *,
    log: bool = False,
    marks: Sequence[tuple[float, str]] = (),
) -> Markup:
    """Lines over a common axis, each with its name at its end. `marks` are vertical lines with their text."""
    drawn = [line._replace(x=xs, y=ys) for line in given for xs, ys in [_finite(line, log)] if len(xs)]
    room = max([60, *(9.8 * len(_short(line.name)) + 26 for line in drawn)])
    every = [x for line in drawn for x in line.x] + [at for at, _ in marks]
    x = _axis(every, _LEFT, _WIDTH - room, whole=True)
    y = _axis([v for line in drawn for v in line.y], _HEIGHT - _BOTTOM, _TOP, log)
    parts = [_frame(x, y, x_name, y_name)]
    for at, name in marks:
        place = x(at)
        anchor = "end" if place > (x.start + x.end) / 2 else "start"
        shift = -6 if anchor == "end" else 6
        parts.append(f'<path class="mark" d="M{place:.1f} {y.start:.1f}V{y.end:.1f}"/>')
        where = f'x="{place + shift:.1f}" y="{y.end + 12:.1f}" text-anchor="{anchor}"'
        parts.append(f'<text class="name" {where}>{escape(name)}</text>')
    for line in drawn:
        parts.append(_drawn(line, x, y))
    ends = _spread([y(line.y[-1]) for line in drawn], y.end, y.start)
    for line, at in zip(drawn, ends, strict=True):
        style = line.style % STYLES
        last = x(line.x[-1])
        parts.append(
            f'<path class="lead l{style}" d="M{last + 6:.1f} {y(line.y[-1]):.1f}L{x.end + 12:.1f} {at:.1f}"/>'
        )
        parts.append(
            f'<text class="label t{style}" x="{x.end + 15:.1f}" y="{at + 4.5:.1f}">{escape(_short(line.name))}</text>'
        )
    return _svg(title, "".join(parts))


def _short(name: str, most: int = 18) -> str:
    return name if len(name) <= most else f"{name[: most // 2 - 1]}…{name[-most // 2 :]}"


def _finite(line: Line, log: bool) -> tuple[list[float], list[float]]:
    pairs = [(x, y) for x, y in zip(line.x, line.y, strict=True) if math.isfinite(y) and (y > 0 or not log)]
    return [x for x, _ in pairs], [y for _, y in pairs]


def _drawn(line: Line, x: Axis, y: Axis) -> str:
    style = line.style % STYLES
    points = [(x(a), y(b)) for a, b in zip(line.x, line.y, strict=True)]
    path = "M" + "L".join(f"{a:.1f} {b:.1f}" for a, b in points)
    dash = f' stroke-dasharray="{_DASHES[style]}"' if _DASHES[style] else ""
    shown = points if len(points) <= 40 else points[:: math.ceil(len(points) / 10)]
    markers = "".join(f'<path transform="translate({a:.1f} {b:.1f})" d="{_MARKERS[style]}"/>' for a, b in shown)
    return f'<g class="l{style}"><path class="line" d="{path}"{dash}/><g class="markers">{markers}</g></g>'


def _spread(places: list[float], low: float, high: float, gap: float = 17.0) -> list[float]:
    """The places of labels, moved apart so that no two overlap."""
    order = sorted(range(len(places)), key=places.__getitem__)
    found = dict.fromkeys(order, 0.0)
    for rank, i in enumerate(order):
        least = found[order[rank - 1]] + gap if rank else low
        found[i] = max(places[i], least)
    limit = high
    for i in reversed(order):
        found[i] = min(found[i], limit)
        limit = found[i] - gap
    return [found[i] for i in range(len(places))]


def bars(
    title: str, counts: Sequence[int], low: float, high: float, style: int = 0, size: tuple[int, int] = (240, 96)
) -> Markup:
    """A histogram, with the ends of its range and a line at 0."""
    (width, height), bottom = size, 20
    most = max([*counts, 1])
    step = width / max(1, len(counts))
    parts = [
        f'<rect x="{i * step + 0.5:.1f}" y="{height - bottom - h:.1f}" width="{step - 1:.1f}" height="{h:.1f}"/>'
        for i, count in enumerate(counts)
        if (h := (height - bottom - 4) * count / most if count else 0.0)
    ]
    content = (
        f'<g class="f{style % STYLES}">{"".join(parts)}</g><path class="axis" d="M0 {height - bottom}H{width}"/>'
    )
    if low < 0 < high:
        zero = -low / (high - low) * width
        content += f'<path class="mark" d="M{zero:.1f} 4V{height - bottom}"/>'
        if 0.2 < zero / width < 0.8:
            content += f'<text x="{zero:.1f}" y="{height - 4}" text-anchor="middle">0</text>'
    ends = ((0, "start", low), (width, "end", high))
    content += "".join(f'<text x="{x}" y="{height - 4}" text-anchor="{a}">{v:.3g}</text>' for x, a, v in ends)
    return _svg(title, content, width, height)


def scatter(title: str, x_values: Any, y_values: Any, x_name: str, y_name: str) -> Markup:
    """Points, and the diagonal on which both numbers are equal."""
    both = np.isfinite(x_values) & np.isfinite(y_values)
    xs, ys = np.asarray(x_values)[both].tolist(), np.asarray(y_values)[both].tolist()
    x, y = _axis([*xs, *ys], _LEFT, _WIDTH - 20), _axis([*xs, *ys], _HEIGHT - _BOTTOM, _TOP)
    dots = "".join(f'<circle cx="{x(a):.1f}" cy="{y(b):.1f}" r="2.5"/>' for a, b in zip(xs, ys, strict=True))
    diagonal = f'<path class="mark" d="M{x.start:.1f} {y.start:.1f}L{x.end:.1f} {y.end:.1f}"/>'
    return _svg(title, f'{_frame(x, y, x_name, y_name)}<g class="dots f0">{dots}</g>{diagonal}')

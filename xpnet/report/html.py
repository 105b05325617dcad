"""Parts of a page: escaped text, tables, figures, and images as PNG data."""

import base64
import math
import struct
import zlib
from collections.abc import Sequence
from html import escape
from typing import Any, NamedTuple

import numpy as np

__all__ = ["Cell", "Markup", "Section", "embedded", "figure", "number", "table", "text"]


class Markup(str):
    """A string of HTML, which is not escaped again."""


class Cell(Markup):
    """A cell of a table with its tag."""


def text(thing: Any) -> Markup:
    """`thing` as HTML: markup is unchanged, and everything else is escaped."""
    return thing if isinstance(thing, Markup) else Markup(escape(str(thing)))


def number(value: float) -> str:
    """A number with about four digits."""
    if value is None or math.isnan(value):
        return "-"
    if float(value).is_integer() and abs(value) < 1e15:
        return f"{int(value):,}"
    return f"{value:.4f}" if 0.001 <= abs(value) < 100 else f"{value:.4g}"


def table(
    caption: str, head: Sequence[Any], rows: Sequence[Sequence[Any]], kind: str = "", marked: Sequence[int] = ()
) -> Markup:
    """A table with a caption. The first cell of each row is its header. `marked` are the rows to emphasize."""
    top = "".join(f'<th scope="col">{text(cell)}</th>' for cell in head)
    lines = []
    for i, (first, *rest) in enumerate(rows):
        cells = "".join(cell if isinstance(cell, Cell) else f"<td>{text(cell)}</td>" for cell in rest)
        style = ' class="marked"' if i in marked else ""
        lines.append(f'<tr{style}><th scope="row">{text(first)}</th>{cells}</tr>')
    return Markup(
        f'<div class="scroll" tabindex="0" role="region" aria-label="{escape(caption)}"><table class="{kind}">'
        f"<caption>{text(caption)}</caption><thead><tr>{top}</tr></thead><tbody>{''.join(lines)}</tbody></table></div>"
    )


def figure(content: Markup, caption: Any, kind: str = "") -> Markup:
    """A picture with its caption."""
    return Markup(f'<figure class="{kind}">{content}<figcaption>{text(caption)}</figcaption></figure>')


class Section(NamedTuple):
    """A section of the page."""

    name: str
    title: str
    body: Markup

    @classmethod
    def of(cls, name: str, title: str, *parts: Any) -> "Section":
        """A section of parts; each part that is not markup becomes a paragraph, and empty ones are left out."""
        body = "".join(part if isinstance(part, Markup) else f"<p>{text(part)}</p>" for part in parts if part)
        return cls(name, title, Markup(body))

    @property
    def html(self) -> Markup:
        """The section with its heading."""
        return Markup(
            f'<section id="{self.name}" aria-labelledby="{self.name}-title">'
            f'<h2 id="{self.name}-title">{text(self.title)}</h2>{self.body}</section>'
        )

    @property
    def link(self) -> Markup:
        """A link to the section."""
        return Markup(f'<a href="#{self.name}">{text(self.title)}</a>')


def embedded(pixels: np.ndarray[Any, Any], alt: str, kind: str = "") -> Markup:
    """An image in the page: `pixels` is uint8 of shape (H, W), (H, W, 3) or (H, W, 4)."""
    height, width, *channels = pixels.shape
    color = {(): 0, (3,): 2, (4,): 6}[tuple(channels)]
    rows = pixels.reshape(height, -1)
    raw = np.concatenate([np.zeros((height, 1), "uint8"), rows], axis=1).tobytes()  # filter 0 before each row

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", width, height, 8, color, 0, 0, 0)
    data = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(raw, 9)) + chunk(b"IEND", b"")
    source = base64.b64encode(data).decode()
    return Markup(
        f'<img class="{kind}" src="data:image/png;base64,{source}" width="{width}" height="{height}" '
        f'alt="{escape(alt)}">'
    )

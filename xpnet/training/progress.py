"""What long work shows: a bar on a terminal, and lines that stay."""

import sys
from types import TracebackType
from typing import Any


class Progress:
    """A bar of `total` steps on a terminal's standard error, and lines on standard output; nothing if not `shown`.

    The bar's library is loaded when a bar is drawn, not before.
    """

    def __init__(self, total: int, *, shown: bool, unit: str = "update") -> None:
        self.shown = shown
        self.bar: Any = None
        if shown and sys.stderr.isatty():
            from tqdm import tqdm

            self.bar = tqdm(total=total, unit=unit, leave=False, dynamic_ncols=True)

    def __enter__(self) -> "Progress":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def advance(self, steps: int = 1) -> None:
        """`steps` more are done."""
        if self.bar is not None:
            self.bar.update(steps)

    def close(self) -> None:
        """Take the bar away."""
        if self.bar is not None:
            self.bar.close()

    def line(self, text: str) -> None:
        """A line that stays."""
        if self.bar is not None:
            self.bar.write(text, file=sys.stdout)
        elif self.shown:
            print(text, flush=True)

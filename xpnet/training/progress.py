"""The progress of long work: a progress bar on a terminal or in a notebook, and lines of text."""

import importlib.util
import sys
from types import TracebackType
from typing import Any


class Progress:
    """A progress bar of `total` steps, and lines of text on standard output.

    The bar is on standard error, if it is a terminal, or in a notebook with ipywidgets; elsewhere there is no bar. If
    `shown` is False, nothing is shown. The library of the bar is imported only when a bar is drawn.
    """

    def __init__(self, total: int, *, shown: bool, unit: str = "update") -> None:
        self.shown = shown
        self.bar: Any = None
        if shown and sys.stderr is not None and sys.stderr.isatty():
            from tqdm import tqdm

            self.bar = tqdm(total=total, unit=unit, leave=False, dynamic_ncols=True)
        elif shown and _in_notebook() and importlib.util.find_spec("ipywidgets"):
            from tqdm.notebook import tqdm as widget

            self.bar = widget(total=total, unit=unit, leave=False)

    def __enter__(self) -> "Progress":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def advance(self, steps: int = 1) -> None:
        """Move the bar forward by `steps`."""
        if self.bar is not None:
            self.bar.update(steps)

    def close(self) -> None:
        """Remove the bar."""
        if self.bar is not None:
            self.bar.close()

    def line(self, text: str) -> None:
        """Print a line above the bar."""
        if self.bar is not None:
            self.bar.write(text, file=sys.stdout)
        elif self.shown:
            print(text, flush=True)


def _in_notebook() -> bool:
    """Whether the program runs in a kernel of IPython, such as that of a notebook."""
    ipython = sys.modules.get("IPython")
    return ipython is not None and hasattr(ipython.get_ipython(), "kernel")

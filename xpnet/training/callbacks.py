"""Callbacks: what a run does besides its updates. It ends early, shows a line for each epoch, saves itself."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from .progress import Progress
from .step import Best

if TYPE_CHECKING:
    from .checkpoints import Saver
    from .distributed import Processes
    from .history import History
    from .loop import Loop
    from .samples import Host

__all__ = ["Callback"]


class Callback:
    """What `fit` and `train` call during a run. A callback of your own is a subclass with the hooks that it needs.

    Each hook is given the run, which has these attributes: `network` and `history`; `epoch`, the number of the epoch,
    0 before training; `updates`, the number of updates made; `carry`, with `params` and `state` after the last update
    (those of `network` change after each epoch); `loss`, the loss of the last updates, an array; `error`, the
    exception that ended the run, else None.

    With several processes the hooks are called in each.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> import numpy as np
    >>> from xpnet import TwoLayerNet, fit
    >>> class Log(Callback):
    ...     def on_start(self, run):
    ...         self.file = path.open("w")
    ...     def on_epoch(self, run):
    ...         print(run.epoch, run.history.train_accuracy[-1], file=self.file)
    ...     def on_end(self, run):
    ...         self.file.close()
    >>> x, t = np.eye(3), np.asarray([0, 1, 2])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder) / "log.txt"
    ...     result = fit(TwoLayerNet(3, 4, 3, like=x), (x, t), epochs=2, callbacks=[Log()], progress=False)
    ...     len(path.read_text().splitlines())
    3
    """

    def on_start(self, run: "Loop") -> None:
        """Before anything is measured or trained."""

    def on_update(self, run: "Loop") -> None:
        """After each update; on JAX after up to 100 updates, which it makes in one compiled loop."""

    def on_epoch(self, run: "Loop") -> bool | None:
        """Before training, and after each epoch, with its row in the history; True ends the run."""

    def on_end(self, run: "Loop") -> None:
        """At the end of a run whose `on_start` was called, also after an error or Ctrl-C."""


class Function(Callback):
    """A function of the caller's, ``function(network, history)``; True ends the run."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function

    def on_epoch(self, run: "Loop") -> bool | None:
        answer: bool | None = self.function(run.network, run.history)
        return answer


class Agreement(Callback):
    """Ends the run in all processes where a callback before this one has ended it in one."""

    def __init__(self, processes: "Processes") -> None:
        self.processes = processes

    def on_epoch(self, run: "Loop") -> bool | None:
        return bool(self.processes.total(run.over)[0])


class EarlyStopping(Callback):
    """Keeps the parameters of the best epoch; ends the run after `patience` epochs without a better one."""

    def __init__(self, patience: int, best: Best | None = None) -> None:
        self.patience, self.best = patience, best

    def on_epoch(self, run: "Loop") -> bool | None:
        if run.history.best_epoch == run.epoch:
            self.best = Best(run.carry.params, run.carry.state)
        return run.epoch - (run.history.best_epoch or 0) >= self.patience

    def on_end(self, run: "Loop") -> None:
        if run.history.interrupted:
            if run.whole:  # Ctrl-C may have come before `on_epoch`
                run.over = bool(self.on_epoch(run)) or run.over
        elif run.error is None and self.best:
            run.network.params, run.network.state = self.best


class ProgressLine(Callback):
    """A line for each epoch, and a bar of all updates on a terminal."""

    def __init__(self, total: int, shown: bool) -> None:
        self.total, self.shown = total, shown

    def on_start(self, run: "Loop") -> None:
        self.bar, self.seen = Progress(self.total, shown=self.shown), run.updates
        if run.updates:
            self.bar.advance(run.updates)

    def on_update(self, run: "Loop") -> None:
        updates = run.updates
        self.bar.advance(updates - self.seen)
        self.seen = updates

    def on_epoch(self, run: "Loop") -> bool | None:
        self.bar.line(epoch_line(run.epoch, run.history))
        return None

    def on_end(self, run: "Loop") -> None:
        if run.history.interrupted:
            self.bar.line(f"interrupted after {run.updates} updates")
        self.bar.close()


def epoch_line(epoch: int, history: "History") -> str:
    """The line about the last row of a history: losses, then accuracies, then the time."""
    start = history.updates[-2] if epoch else 0
    losses = history.loss[start : history.updates[-1]]
    parts = [f"epoch {epoch:3d}  loss {np.mean(losses):.4f}" if losses else f"epoch {epoch:3d}  loss      -"]
    shown = {"test": [] if history.test_accuracy else history.test_loss, "validation": history.validation_loss}
    parts += [f"{name} {column[-1]:.4f}" for name, column in shown.items() if column]
    rates = {name: getattr(history, f"{name}_accuracy") for name in ("train", "test", "validation")}
    if history.train_accuracy:
        parts += ["accuracy", *(f"{name} {column[-1]:.4f}" for name, column in rates.items() if column)]
    return "  ".join([*parts, f"{history.seconds[-1]:6.1f} s"])


class Checkpoint(Callback):
    """Saves the run after each epoch, within long ones, and when Ctrl-C ends it; of several processes, the first."""

    def __init__(
        self, saver: "Saver", processes: "Processes", early: EarlyStopping | None, rows: "dict[str, Host]"
    ) -> None:
        self.saver, self.first, self.early, self.rows = saver, processes.rank == 0, early, rows

    def on_update(self, run: "Loop") -> None:
        if self.saver.due:
            self.save(run)

    def on_epoch(self, run: "Loop") -> bool | None:
        self.save(run)
        return None

    def on_end(self, run: "Loop") -> None:
        if run.history.interrupted:
            self.save(run)

    def save(self, run: "Loop") -> None:
        """Save the run as it is, once it has been measured."""
        if self.first and run.history.seconds:
            self.saver.save(run.snapshot(), self.early.best if self.early else None, self.rows)

"""Callbacks: early stopping, a line of progress for each epoch, checkpoints, and the base class for your own."""

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
    """The base class of callbacks. `fit` and `train` call the hooks of a callback during a run.

    To add your own, write a subclass with the hooks that you need. Each hook takes the run, which has these
    attributes:

    - `network` and `history`;
    - `epoch`, the number of the epoch, 0 before training;
    - `updates`, the number of updates so far;
    - `carry`, with `params` and `state` after the last update (`network.params` changes only after each epoch);
    - `loss`, an array of the losses of the last updates;
    - `error`, the exception that ended the run, or None;
    - `rank`, the number of this process, 0 for the first.

    In a run on several processes, each process calls the hooks.

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
        """Called once, before the first evaluation and before training."""

    def on_update(self, run: "Loop") -> None:
        """Called after each update, or on JAX after up to 100 updates, which JAX makes in one compiled loop."""

    def on_epoch(self, run: "Loop") -> bool | None:
        """Called before training and after each epoch, when the history has its row. Return True to end the run."""

    def on_end(self, run: "Loop") -> None:
        """Called at the end of the run if `on_start` was called, also after an error or Ctrl-C."""


class Function(Callback):
    """A callback for a plain function, ``function(network, history)``, which returns True to end the run."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function

    def on_epoch(self, run: "Loop") -> bool | None:
        answer: bool | None = self.function(run.network, run.history)
        return answer


class Agreement(Callback):
    """Ends the run in all processes if a callback before `Agreement` ended it in one process."""

    def __init__(self, processes: "Processes") -> None:
        self.processes = processes

    def on_epoch(self, run: "Loop") -> bool | None:
        return bool(self.processes.total(run.over)[0])


class EarlyStopping(Callback):
    """Keeps the parameters of the best epoch, and ends the run after `patience` epochs without a better epoch."""

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
    """Prints a line for each epoch, and shows a progress bar of all updates on a terminal."""

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
    """The line of an epoch: the losses, the accuracies and the time in the last row of the history."""
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
    """Saves the run after each epoch, during long epochs, and after Ctrl-C. Only the first process saves."""

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
        """Save the run, if its first evaluation is done."""
        if self.first and run.history.seconds:
            self.saver.save(run.snapshot(), self.early.best if self.early else None, self.rows)

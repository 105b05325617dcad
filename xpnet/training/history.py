"""The history of a training run: losses and accuracies to read, plot and save."""

import csv
import json
import math
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

from .._files import check_output, replacing

__all__ = ["History"]


COLUMNS = ("train_accuracy", "test_accuracy", "test_loss", "validation_loss", "validation_accuracy", "seconds")
"""The columns that get a row before training and after each epoch."""


@dataclass(repr=False)
class History:
    """The record of a training run.

    Attributes
    ----------
    loss : list of float
        The loss of each mini-batch, before the update with this mini-batch.
    updates : list of int
        The number of updates so far, for each row. The lists below have one row before training, and one row after
        each epoch.
    train_accuracy, test_accuracy : list of float
        The accuracy in each row, between 0 and 1. Empty if the network does not classify; `test_accuracy` is also
        empty if there is no test set.
    test_loss : list of float
        The loss on the test set in each row. Empty if there is no test set.
    validation_loss, validation_accuracy : list of float
        The loss and the accuracy on the validation samples in each row. Empty if there are no validation samples.
    best_epoch : int or None
        The epoch with the smallest validation loss.
    seconds : list of float
        The time since the start of the run in each row.
    gradient_norms : dict of lists
        The norm of the gradient of each layer, by the name of the layer, and the epochs of these norms by "epoch".
        Empty unless the callback `GradientNorms` records them.
    interrupted : bool
        Whether Ctrl-C ended the run.

    Examples
    --------
    >>> history = History(loss=[2.3, 0.4], updates=[0, 2], train_accuracy=[0.1, 0.9], test_accuracy=[0.1, 0.8])
    >>> history.test_accuracy[-1]
    0.8
    """

    loss: list[float] = field(default_factory=list)
    updates: list[int] = field(default_factory=list)
    train_accuracy: list[float] = field(default_factory=list)
    test_accuracy: list[float] = field(default_factory=list)
    test_loss: list[float] = field(default_factory=list)
    validation_loss: list[float] = field(default_factory=list)
    validation_accuracy: list[float] = field(default_factory=list)
    best_epoch: int | None = None
    seconds: list[float] = field(default_factory=list)
    gradient_norms: dict[str, list[float]] = field(default_factory=dict)
    interrupted: bool = False

    def __repr__(self) -> str:
        last = {name: getattr(self, name)[-1:] for name in ("loss", *COLUMNS[:-1])}
        parts = [f"{len(self.loss)} updates", f"{max(0, len(self.updates) - 1)} epochs"]
        parts += [f"{name} {value[0]:.4f}" for name, value in last.items() if value]
        parts += [f"best_epoch {self.best_epoch}"] if self.best_epoch is not None else []
        return f"History({', '.join(parts)}{', interrupted' if self.interrupted else ''})"

    def save(self, path: str | os.PathLike[str]) -> None:
        """Save the history as JSON (the attributes of this object) or CSV. The suffix of `path` decides.

        The CSV file has a row for the state before training and a row for each update. A value that was not measured
        at an update is empty. An existing file is replaced in one step, or stays unchanged if writing fails.

        Raises
        ------
        ValueError
            If the suffix is neither ``.json`` nor ``.csv``.
        OSError
            If the file cannot be written.
        """
        path = check_output(path, ".csv", ".json")
        with replacing(path) as file:
            if path.suffix.lower() == ".json":
                json.dump(asdict(self), file, indent=1)
                file.write("\n")
            else:
                writer = csv.writer(file, lineterminator="\n")
                writer.writerow(["update", "loss", *COLUMNS])
                writer.writerows(self._rows())

    def _rows(self) -> Iterator[list[Any]]:
        rows = {update: i for i, update in enumerate(self.updates)}
        for update in range(len(self.loss) + 1):
            loss = self.loss[update - 1] if update else ""
            i = rows.get(update)
            columns = [getattr(self, name) for name in COLUMNS]
            yield [update, loss, *("" if i is None or not column else column[i] for column in columns)]

    def add(self, found: dict[str, float], seconds: float) -> None:
        """Add a row with a number for each column, by name."""
        for name, value in found.items():
            getattr(self, name).append(value)
        self._find_best()
        self.updates.append(len(self.loss))
        self.seconds.append(seconds)  # the last column: a row with it is complete

    def cut(self) -> None:
        """Remove the values of an incomplete row."""
        for name in (*COLUMNS, "updates"):
            del getattr(self, name)[len(self.seconds) :]
        self._find_best()

    def _find_best(self) -> None:
        finite = ((loss, epoch) for epoch, loss in enumerate(self.validation_loss) if loss < math.inf)
        _, self.best_epoch = min(finite, default=(math.inf, None))

    def plot(self, path: str | os.PathLike[str]) -> None:
        """Draw the loss of every update and the accuracies into an image file; needs matplotlib.

        Raises
        ------
        ImportError
            If matplotlib is not installed. The message has the command that installs it.
        """
        from ..plotting import plot_history

        plot_history(self, path)

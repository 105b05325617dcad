"""The history of a training run: losses and accuracies to read, plot and save."""

import csv
import json
import math
import os
from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

from .. import _html
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
        *_, start, end = 0, 0, *self.updates
        losses = self.loss[start:end]  # of the last epoch, as in the line that a run prints
        last = {"loss": [sum(losses) / len(losses)] if losses else []}
        last |= {name: getattr(self, name)[-1:] for name in COLUMNS[:-1]}
        counts = {"update": len(self.loss), "epoch": max(0, len(self.updates) - 1)}
        parts = [f"{count} {name}{'s' * (count != 1)}" for name, count in counts.items()]
        parts += [f"{name} {value[0]:.4f}" for name, value in last.items() if value]
        parts += [f"best_epoch {self.best_epoch}"] if self.best_epoch is not None else []
        return f"History({', '.join(parts)}{', interrupted' if self.interrupted else ''})"

    def _repr_html_(self) -> str:
        rows = self.epochs()
        best = [] if self.best_epoch is None else rows[self.best_epoch : self.best_epoch + 1]
        chosen = {row["epoch"]: row for row in (*rows[:1], *best, *rows[-5:])}  # the first, the best and the last
        header = list(rows[-1] if rows else ["epoch", "update", "loss"])
        cells = [[_cell(name, row.get(name)) for name in header] for _, row in sorted(chosen.items())]
        named = {name: getattr(self, f"{name}_accuracy")[1:] for name in ("train", "test", "validation")}
        label = "accuracy after each epoch"
        if not any(named.values()):
            named, label = {"mini-batches": [row["loss"] for row in rows[1:]]}, "loss in each epoch"
        drawn = _html.curves({name: values for name, values in named.items() if values}, label)
        about = [f"best epoch {self.best_epoch}"] if best else []
        about = ["History", f"{len(self.loss)} updates", *about, *["interrupted"] * self.interrupted]
        return _html.table([name.replace("_", " ") for name in header], cells, ", ".join(about)) + drawn

    def epochs(self, start: int = 0) -> list[dict[str, float]]:
        """The rows as dicts: one row before training, and one row after each epoch.

        Parameters
        ----------
        start : int, default 0
            The epoch of the first row; -1 for the last row only.

        Returns
        -------
        list of dict
            Each row has "epoch", "update" (the number of updates so far), "loss" (the mean loss of the mini-batches
            of the epoch; NaN before training), and the columns that were measured.

        Examples
        --------
        >>> History(loss=[2.5, 0.5], updates=[0, 2], test_accuracy=[0.1, 0.8], seconds=[0.5, 1.5]).epochs()[1]
        {'epoch': 1, 'update': 2, 'loss': 1.5, 'test_accuracy': 0.8, 'seconds': 1.5}
        """
        columns = {name: values for name in COLUMNS if (values := getattr(self, name))}
        rows = list[dict[str, float]]()
        for epoch in range(len(self.seconds))[start:]:
            losses = self.loss[self.updates[epoch - 1] if epoch else 0 : self.updates[epoch]]
            loss = sum(losses) / len(losses) if losses else math.nan
            row: dict[str, float] = {"epoch": epoch, "update": self.updates[epoch], "loss": loss}
            rows.append(row | {name: values[epoch] for name, values in columns.items()})
        return rows

    def to_pandas(self) -> Any:
        """The rows of `epochs` as a pandas DataFrame, with the epoch as its index.

        Raises
        ------
        ImportError
            If pandas is not installed. The message has the command that installs it.

        Examples
        --------
        >>> history = History(loss=[2.5, 0.5], updates=[0, 2], test_accuracy=[0.1, 0.8], seconds=[0.5, 1.5])
        >>> history.to_pandas()["test_accuracy"].max()  # doctest: +SKIP
        0.8
        """
        try:
            from pandas import DataFrame
        except ImportError as error:
            raise ImportError("to_pandas needs pandas; get it with: pip install 'xpnet[notebook]'") from error
        header = ["epoch", "update", "loss", *(name for name in COLUMNS if getattr(self, name))]
        return DataFrame(self.epochs(), columns=header).set_index("epoch")

    def save(self, path: str | os.PathLike[str]) -> None:
        """Save the history as JSON (the attributes of this object) or CSV. The suffix of `path` decides.

        The CSV file has a row for the state before training and a row for each update, with the epoch of the update.
        A value that was not measured at an update is empty. An existing file is replaced in one step, or stays
        unchanged if writing fails.

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
                writer.writerow(["epoch", "update", "loss", *COLUMNS])
                writer.writerows(self._rows())

    def _rows(self) -> Iterator[list[Any]]:
        rows = {update: i for i, update in enumerate(self.updates)}
        for update in range(len(self.loss) + 1):
            loss = self.loss[update - 1] if update else ""
            i = rows.get(update)
            columns = [getattr(self, name) for name in COLUMNS]
            measured = ("" if i is None or not column else column[i] for column in columns)
            yield [bisect_left(self.updates, update), update, loss, *measured]

    def add(self, found: dict[str, float], seconds: float) -> None:
        """Add a row with a number for each column, by name."""
        for name, value in found.items():
            getattr(self, name).append(value)
        self._find_best()
        self.updates.append(len(self.loss))
        self.seconds.append(seconds)  # the last column: a row with it is complete

    def cut(self, rows: int | None = None) -> None:
        """Remove the values of an incomplete row; with `rows`, keep that many rows and their losses only."""
        if rows is not None:
            del self.seconds[rows:]
            del self.loss[self.updates[rows - 1] if rows else 0 :]
        for name in (*COLUMNS, "updates"):
            del getattr(self, name)[len(self.seconds) :]
        self._find_best()

    def _find_best(self) -> None:
        finite = ((loss, epoch) for epoch, loss in enumerate(self.validation_loss) if loss < math.inf)
        _, self.best_epoch = min(finite, default=(math.inf, None))

    def plot(self, path: str | os.PathLike[str] | None = None, *, ax: Any = None) -> Any:
        """Draw the loss of each update and the accuracy after each epoch; needs matplotlib.

        Parameters
        ----------
        path : path, optional
            An image file to write. An existing file is replaced in one step.
        ax : matplotlib Axes, or a sequence of two Axes, optional
            Where to draw. The first Axes get the losses, and the second Axes the accuracies. Default: a new figure,
            with accuracies if the network classifies.

        Returns
        -------
        matplotlib.figure.Figure
            The figure. A notebook shows a figure as the result of a cell. Elsewhere, without `path` and `ax`, a
            window opens if matplotlib has windows.

        Raises
        ------
        ImportError
            If matplotlib is not installed. The message has the command that installs it.
        """
        from ..plotting import plot_history

        return plot_history(self, path, ax=ax)


def _cell(name: str, value: float | None) -> str:
    if value is None or math.isnan(value):
        return "-"
    return f"{value:,}" if name in ("epoch", "update") else f"{value:.1f}" if name == "seconds" else f"{value:.4f}"

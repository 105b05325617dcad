"""The curves of one run or of several: losses, accuracies and norms of gradients."""

import math
from collections.abc import Sequence

import numpy as np

from ..training.history import History
from .charts import STYLES, Line, lines
from .html import Markup, figure, number, table, text

__all__ = ["curves", "curves_of_all", "epochs_table", "gradient_curves"]

SETS = {"train": "training set", "test": "test set", "validation": "validation"}

_POINTS = 200
"""The largest number of points of a line."""


def curves(history: History) -> list[Markup]:
    """The figures of the losses and the accuracies of a run, with its best epoch."""
    best = history.best_epoch
    marks = [] if best is None else [(float(best), f"best epoch {best}")]
    losses = [Line("mini-batches", *_updates(history), 0)] if history.loss else []
    accuracies = []
    for style, kind in enumerate(SETS):
        loss, accuracy = (getattr(history, f"{kind}_{what}", []) for what in ("loss", "accuracy"))
        if loss:
            losses.append(Line(SETS[kind], range(len(loss)), loss, style))
        if accuracy:
            accuracies += _by_epoch({SETS[kind]: accuracy}, style)
    return [*_figure("Loss", losses, marks), *_figure("Accuracy", accuracies, marks)]


def curves_of_all(runs: dict[str, History]) -> list[Markup]:
    """The figures of several runs, with a line for each of them."""
    histories, found = list(runs.values()), []
    updates = [Line(name, *_updates(run), i) for i, (name, run) in enumerate(runs.items()) if run.loss]
    found += _figure("Loss of the mini-batches", updates)
    for what in ("loss", "accuracy"):
        for kind in ("test", "validation", "train"):
            columns = [getattr(run, f"{kind}_{what}", []) for run in histories]
            if all(columns):
                drawn = _by_epoch(dict(zip(runs, columns, strict=True)))
                found += _figure(f"{what.capitalize()} on the {SETS[kind]}", drawn)
                break
    return found


def _by_epoch(columns: dict[str, list[float]], style: int = 0) -> list[Line]:
    """A line for each column, from the first epoch: the values before training would only stretch the axis.

    If all runs are short, or one has no epoch, the lines start before training.
    """
    counts = [len(column) for column in columns.values()]
    start = 1 if max(counts) > 3 and min(counts) > 1 else 0
    return [Line(name, range(start, len(y)), y[start:], style + i) for i, (name, y) in enumerate(columns.items())]


def _figure(
    what: str, drawn: Sequence[Line], marks: Sequence[tuple[float, str]] = (), more: str = ""
) -> list[Markup]:
    """The figure of lines by epoch, on a logarithmic scale if their values differ much; nothing without lines."""
    values = [v for line in drawn for v in line.y if math.isfinite(v)]
    if not values:
        return []
    log = min(values) > 0 and max(values) > 20 * min(values)
    ends = "; ".join(f"{line.name} {number(line.y[-1])}" for line in drawn)
    name = what.partition(" ")[0].lower() + (" (logarithmic scale)" if log else "")
    told = f"Last values: {ends}.{more}"
    svg = lines(f"{what} by epoch. Last values: {ends}.", drawn, "epoch", name, log=log, marks=marks)
    return [figure(svg, Markup(f"<strong>{text(what)}.</strong> {text(told)}"))]


def _updates(history: History) -> tuple[list[float], list[float]]:
    """The loss of the mini-batches, averaged over neighbors if there are many; the places are in epochs."""
    loss = np.asarray(history.loss, "float64")
    if not loss.size:
        return [], []
    at, epochs = [0, *history.updates[1:]], [*range(max(1, len(history.updates)))]
    if loss.size > at[-1]:  # the updates of an incomplete epoch
        usual = (at[-1] - at[-2] if len(at) > 1 else 0) or loss.size
        epochs.append(epochs[-1] + min(1.0, (loss.size - at[-1]) / usual))
        at.append(loss.size)
    parts = np.array_split(np.arange(loss.size), min(_POINTS, loss.size))
    with np.errstate(all="ignore"):
        y = [float(loss[part].mean()) for part in parts]
    x = np.interp([float(part.mean()) + 1 for part in parts], at, epochs).tolist()
    return x, y


def epochs_table(history: History) -> Markup | None:
    """The numbers of each epoch; of some epochs, if there are many."""
    columns = {
        "training accuracy": history.train_accuracy,
        "test accuracy": history.test_accuracy,
        "test loss": history.test_loss,
        "validation accuracy": history.validation_accuracy,
        "validation loss": history.validation_loss,
    }
    there = {name: column for name, column in columns.items() if column}
    count = len(history.seconds)
    if not count:
        return None
    step = -(-count // 100)
    rows = list[list[str]]()
    for epoch in sorted({*range(0, count, step), count - 1, history.best_epoch or 0}):
        start = history.updates[epoch - 1] if epoch else 0
        with np.errstate(all="ignore"):
            losses = history.loss[start : history.updates[epoch]]
            loss = number(float(np.mean(losses))) if losses else "-"
        name = f"{epoch} (best)" if epoch == history.best_epoch else str(epoch)
        rows.append(
            [name, loss, *(number(column[epoch]) for column in there.values()), f"{history.seconds[epoch]:.1f}"]
        )
    some = f", every {step} epochs" if step > 1 else ""
    head = ["epoch", "mean loss of its updates", *there, "seconds"]
    body = table(f"Loss and accuracy after each epoch{some}. Epoch 0 is before training.", head, rows)
    return Markup(f"<details><summary>Numbers of each epoch</summary>{body}</details>")


def gradient_curves(norms: dict[str, list[float]]) -> list[Markup]:
    """The figure of the norms of the gradients by layer, and their table."""
    epochs, layers = norms["epoch"], [name for name in norms if name != "epoch"]
    shown = layers if len(layers) <= STYLES else [*layers[: STYLES // 2], *layers[-STYLES // 2 :]]
    drawn = [Line(name, epochs, norms[name], i) for i, name in enumerate(shown)]
    less = f" The first and the last layers of {len(layers)} are drawn." if len(shown) < len(layers) else ""
    rows = [
        [name, *map(number, (column[0], min(column), max(column), column[-1]))]
        for name, column in norms.items()
        if name != "epoch"
    ]
    numbers = table("Norm of the gradient of each layer", ["layer", "first", "smallest", "largest", "last"], rows)
    return [*_figure("Norm of the gradient", drawn, more=less), numbers]

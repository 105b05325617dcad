"""Plots of a run. The module needs matplotlib: the extra `plot`. It does not change matplotlib's global state."""

import math
import os
from typing import TYPE_CHECKING, Any

import numpy as np

from ._files import check_output, replacing

if TYPE_CHECKING:
    from .training.history import History

__all__ = ["figure", "plot_history"]


def figure(columns: int = 1, *, width: float = 5.0, height: float = 3.6) -> tuple[Any, list[Any]]:
    """Create a matplotlib figure without a window, and its axes, side by side.

    Parameters
    ----------
    columns : int, default 1
        The number of axes.
    width, height : float
        The size of each of the axes, in inches.

    Raises
    ------
    ImportError
        If matplotlib is not installed. The message has the command that installs it.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError("pictures need matplotlib; get it with: pip install 'xpnet[plot]'") from error
    fig = Figure(figsize=(columns * width, height), layout="constrained", dpi=120)
    axes = fig.subplots(1, columns, squeeze=False)[0]
    for ax in axes:
        ax.spines[["top", "right"]].set_visible(False)
    return fig, list(axes)


def plot_history(history: "History", path: str | os.PathLike[str]) -> None:
    """Plot the history of a run to an image file. The suffix of `path` decides the format.

    The first plot has the loss of each update, its mean over 50 updates, and the validation loss, if there is one.
    The second plot has the accuracies after each epoch. Its axis starts just below the lowest of them, and its label
    says where. If the network does not classify, there is no second plot, and the first plot also has the loss on the
    test set. The curves differ in color, dashes and markers.
    """
    train = {"color": "C0", "marker": "o", "markersize": 3, "label": "training set"}
    test = {"color": "C1", "marker": "s", "markersize": 3, "linestyle": "--", "label": "test set"}
    validation = {"color": "C2", "marker": "^", "markersize": 3, "linestyle": ":", "label": "validation"}
    fig, axes = figure(2 if history.train_accuracy else 1)
    loss = np.asarray(history.loss)
    axes[0].plot(np.arange(1, loss.size + 1), loss, color="0.8", linewidth=0.6, label="each update")
    width = min(50, loss.size)
    if width > 1:
        mean = np.convolve(loss, np.ones(width) / width, mode="valid")
        axes[0].plot(np.arange(width, loss.size + 1), mean, color="C0", label=f"mean of {width}")
    if loss.size and loss.min() > 0:
        axes[0].set_yscale("log")
    if history.test_loss and not history.test_accuracy:
        axes[0].plot(history.updates, history.test_loss, **test)
    if history.validation_loss:
        axes[0].plot(history.updates, history.validation_loss, **validation)
    axes[0].set(xlabel="update", ylabel="loss on the mini-batch")
    axes[0].legend(frameon=False)
    if history.train_accuracy:
        columns = [history.train_accuracy, history.test_accuracy, history.validation_accuracy]
        for column, style in zip(columns, (train, test, validation), strict=True):
            if column:
                axes[1].plot(column, **style)
        start = _start(columns)
        axes[1].set(xlabel="epoch", ylabel=f"accuracy (axis starts at {start:g})", ylim=(start, 1))
        axes[1].xaxis.get_major_locator().set_params(integer=True)
        axes[1].grid(alpha=0.3)
        axes[1].legend(frameon=False, loc="lower right")
    path = check_output(path)
    with replacing(path, "wb") as file:
        fig.savefig(file, format=path.suffix[1:].lower() or "png")


def _start(columns: list[list[float]]) -> float:
    """The start of the axis: the multiple of 0.1 below all accuracies after the first epoch, at most 0.9."""
    trained = [accuracy for column in columns for accuracy in column[1:] if not math.isnan(accuracy)]
    return min(9, math.floor(10 * min(trained, default=0))) / 10

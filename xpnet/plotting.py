"""Plots of a run. The module needs matplotlib: the extra `plot`.

Only a plot without a path and axes uses `pyplot`, which chooses where pictures are shown.
"""

import math
import os
from typing import TYPE_CHECKING, Any

import numpy as np

from ._files import check_output, replacing

if TYPE_CHECKING:
    from .training.evaluation import Evaluation
    from .training.history import History

__all__ = ["figure", "plot_confusion", "plot_history"]


def __dir__() -> list[str]:
    return sorted(__all__)


def figure(
    columns: int = 1, *, width: float = 5.0, height: float = 3.6, window: bool = False
) -> tuple[Any, list[Any]]:
    """Create a matplotlib figure, and its axes, side by side.

    Parameters
    ----------
    columns : int, default 1
        The number of axes.
    width, height : float
        The size of each of the axes, in inches.
    window : bool, default False
        Whether `pyplot` makes the figure, so that `finish` can show it in a window.

    Raises
    ------
    ImportError
        If matplotlib is not installed. The message has the command that installs it.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError("pictures need matplotlib; get it with: pip install 'xpnet[plot]'") from error
    options: dict[str, Any] = {"figsize": (columns * width, height), "layout": "constrained", "dpi": 120}
    if window:
        from matplotlib import pyplot

        fig = pyplot.figure(**options)
    else:
        fig = Figure(**options)
    axes = fig.subplots(1, columns, squeeze=False)[0]
    for ax in axes:
        ax.spines[["top", "right"]].set_visible(False)
    return fig, list(axes)


def finish(fig: Any, path: str | os.PathLike[str] | None, *, window: bool = False) -> Any:
    """Write a figure to an image file if there is a path, show it in a window if `window` is True, and return it."""
    if path is not None:
        path = check_output(path)
        with replacing(path, "wb") as file:
            fig.savefig(file, format=path.suffix[1:].lower() or "png")
    if window:
        from matplotlib import pyplot

        if fig.canvas.required_interactive_framework:
            pyplot.show()
        else:
            pyplot.close(fig)  # or a notebook would show the figure twice
    return fig


def plot_history(history: "History", path: str | os.PathLike[str] | None = None, *, ax: Any = None) -> Any:
    """Plot the history of a run. See `History.plot`.

    The first plot has the loss of each update, its mean over 50 updates (fewer in a short run), and the validation
    loss, if there is one.
    The second plot has the accuracies after each epoch. Its axis starts just below the lowest of them, and its label
    says where. If the network does not classify, there is no second plot, and the first plot also has the loss on the
    test set. The curves differ in color, dashes and markers.
    """
    train = {"color": "C0", "marker": "o", "markersize": 3, "label": "training set"}
    test = {"color": "C1", "marker": "s", "markersize": 3, "linestyle": "--", "label": "test set"}
    validation = {"color": "C2", "marker": "^", "markersize": 3, "linestyle": ":", "label": "validation"}
    window = path is None and ax is None
    if ax is None:
        fig, axes = figure(2 if history.train_accuracy else 1, window=window)
    else:
        axes = list(np.ravel(np.asarray(ax, dtype=object)))
        _check_axes(axes)
        fig = axes[0].figure
    loss = np.asarray(history.loss)
    axes[0].plot(np.arange(1, loss.size + 1), loss, color="0.8", linewidth=0.6, label="each update")
    width = min(50, loss.size // 4)  # a mean over all updates would be a point, which has no line
    if width > 1:
        mean = np.convolve(loss, np.ones(width) / width, mode="valid")
        axes[0].plot(np.arange(width, loss.size + 1), mean, color="C0", label=f"mean of {width}")
    if loss.size and loss.min() > 0:
        axes[0].set_yscale("log")
    if history.test_loss and not history.test_accuracy:
        axes[0].plot(history.updates, history.test_loss, **test)
    if history.validation_loss:
        axes[0].plot(history.updates, history.validation_loss, **validation)
    axes[0].set(xlabel="update", ylabel="loss")
    axes[0].legend(frameon=False)
    if history.train_accuracy and len(axes) > 1:
        columns = [history.train_accuracy, history.test_accuracy, history.validation_accuracy]
        for column, style in zip(columns, (train, test, validation), strict=True):
            if column:
                axes[1].plot(column, **style)
        start = _start(columns)
        axes[1].set(xlabel="epoch", ylabel=f"accuracy (axis starts at {start:g})", ylim=(start, 1))
        axes[1].xaxis.get_major_locator().set_params(integer=True)
        axes[1].grid(alpha=0.3)
        axes[1].legend(frameon=False, loc="lower right")
    return finish(fig, path, window=window)


def _check_axes(axes: list[Any]) -> None:
    if not axes or not all(hasattr(ax, "plot") and hasattr(ax, "figure") for ax in axes):
        raise TypeError(f"ax must be Axes of matplotlib, or a sequence of them, got {axes!r:.60}")


def _start(columns: list[list[float]]) -> float:
    """The start of the axis: the multiple of 0.1 below all accuracies after the first epoch, at most 0.9."""
    trained = [accuracy for column in columns for accuracy in column[1:] if not math.isnan(accuracy)]
    return min(9, math.floor(10 * min(trained, default=0))) / 10


def plot_confusion(evaluation: "Evaluation", path: str | os.PathLike[str] | None = None, *, ax: Any = None) -> Any:
    """Plot the confusion matrix of an evaluation. See `Evaluation.plot`."""
    counts = evaluation.confusion
    if counts is None:
        raise ValueError("plot: this evaluation has no confusion matrix, because the network does not have classes")
    window = path is None and ax is None
    if ax is None:
        fig, (ax,) = figure(width=5.0, height=4.4, window=window)
    else:
        _check_axes([ax])
    fraction = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    image = ax.imshow(fraction, cmap="Blues", vmin=0, vmax=1)
    ax.figure.colorbar(image, ax=ax, label="fraction of the class")
    if len(counts) <= 20:
        for (i, j), count in np.ndenumerate(counts):
            color = "white" if fraction[i, j] > 0.5 else "black"
            ax.text(j, i, str(count), ha="center", va="center", color=color, fontsize=7)
        ax.set(xticks=range(len(counts)), yticks=range(len(counts)))
    ax.set(xlabel="predicted class", ylabel="true class")
    return finish(ax.figure, path, window=window)

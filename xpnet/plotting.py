"""Figures; needs matplotlib (``pip install 'xpnet[plot]'``). They touch no global state of matplotlib's."""

import os
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from .training.history import History

__all__ = ["figure", "plot_history"]


def figure(columns: int = 1, *, width: float = 5.0, height: float = 3.6) -> tuple[Any, list[Any]]:
    """A matplotlib figure that belongs to no window, and its axes, side by side.

    Parameters
    ----------
    columns : int, default 1
    width, height : float
        Of one pair of axes, in inches.

    Raises
    ------
    ImportError
        If matplotlib is not installed; the message says how to get it.
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
    """Draw a training run into an image file, of the kind that the suffix names.

    The loss of every update, with its mean over 50 updates, and the accuracies after each epoch; those of the
    validation set, if there is one. Without accuracies the loss on the test set is drawn.
    """
    marks = {"color": "C2", "marker": "^", "markersize": 3, "label": "validation"}
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
        axes[0].plot(history.updates, history.test_loss, color="C1", marker="s", markersize=3, label="test set")
    if history.validation_loss:
        axes[0].plot(history.updates, history.validation_loss, **marks)
    axes[0].set(xlabel="update", ylabel="loss on the mini-batch")
    axes[0].legend(frameon=False)
    if history.train_accuracy:
        epochs = np.arange(len(history.train_accuracy))
        axes[1].plot(epochs, history.train_accuracy, color="C0", marker="o", markersize=3, label="training set")
        if history.test_accuracy:
            axes[1].plot(epochs, history.test_accuracy, color="C1", marker="s", markersize=3, label="test set")
        if history.validation_accuracy:
            axes[1].plot(epochs, history.validation_accuracy, **marks)
        axes[1].set(xlabel="epoch", ylabel="accuracy", ylim=(0, 1))
        axes[1].xaxis.get_major_locator().set_params(integer=True)
        axes[1].grid(alpha=0.3)
        axes[1].legend(frameon=False, loc="lower right")
    fig.savefig(path)

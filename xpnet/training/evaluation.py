"""Evaluate a network on a dataset: loss, accuracy and confusion matrix, computed one block of samples at a time."""

import math
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from .. import _array, _html
from .._array import namespace
from .._typing import Array, Params
from ..backends import backend_of, on_arrays_device, read_all, to_numpy
from ..datasets import Shards
from ..functions import confusion_matrix
from ..nn.networks import Network
from .distributed import Processes
from .samples import Host, Samples, Sets, check_finite, check_values, samples_of
from .step import Transform, detached, is_known, transformed

__all__ = ["Blocks", "Evaluation", "Measured", "Measures", "Sampled", "evaluate", "read"]

_BLOCK = 2_000
"""The largest number of samples that are evaluated at a time."""


@dataclass(frozen=True)
class Evaluation:
    """The result of `evaluate`.

    Attributes
    ----------
    loss : float
        The mean loss over the samples.
    accuracy : float or None
        The fraction of correct predictions. None if the network does not classify. NaN if a score is not finite, or
        if all samples are ignored.
    confusion : numpy.ndarray of int64, shape (K, K), or None
        The number of samples of class i (row) with the predicted class j (column). None if there are no classes. All
        numbers are -1 if a score is not finite.
    """

    loss: float
    accuracy: float | None = None
    confusion: np.ndarray[Any, np.dtype[np.int64]] | None = None

    def _repr_html_(self) -> str:
        accuracy = [] if self.accuracy is None else [("accuracy", f"{self.accuracy:.4f}")]
        found = _html.table(["", "value"], [("loss", f"{self.loss:.4f}"), *accuracy], "Evaluation")
        if self.confusion is None or len(self.confusion) > 20:
            return found
        classes = [str(i) for i in range(len(self.confusion))]
        rows = [[name, *map(str, row)] for name, row in zip(classes, self.confusion.tolist(), strict=True)]
        return found + _html.table(
            ["class", *classes], rows, "samples of each class (row) by predicted class (column)"
        )

    def plot(self, path: str | os.PathLike[str] | None = None, *, ax: Any = None) -> Any:
        """Draw the confusion matrix; needs matplotlib.

        The color of a cell is the fraction of the samples of its class. Up to 20 classes have numbers in the cells.

        Parameters
        ----------
        path : path, optional
            An image file to write. An existing file is replaced in one step.
        ax : matplotlib Axes, optional
            Where to draw. Default: a new figure.

        Returns
        -------
        matplotlib.figure.Figure
            The figure. A notebook shows a figure as the result of a cell. Elsewhere, without `path` and `ax`, a
            window opens if matplotlib has windows.

        Raises
        ------
        ValueError
            If there is no confusion matrix, as for a network that does not have classes.
        ImportError
            If matplotlib is not installed. The message has the command that installs it.
        """
        from ..plotting import plot_confusion

        return plot_confusion(self, path, ax=ax)


class Block(NamedTuple):
    """The number of samples in a block, and the results on this block by name: arrays of shape (), or numbers."""

    size: int
    found: dict[str, Any]


Measured: TypeAlias = list[Block]


class Blocks:
    """Computes numbers from a network's outputs on a dataset, block by block. The network is compiled only once.

    Parameters
    ----------
    network : Network
    measure : callable
        A pure function that takes outputs and targets, and returns a dict of arrays.
    transform : callable, optional
        As in `fit`.
    processes : Processes, optional
        The processes; each of them evaluates a part of the dataset. Default: this process only.
    """

    def __init__(
        self,
        network: Network,
        measure: Callable[[Array, Array], dict[str, Array]],
        transform: Callable[[Array], Array] | None = None,
        processes: Processes | None = None,
    ) -> None:
        self.network, self.measure, self.processes = network, measure, processes or Processes()
        self._backend = backend = backend_of(next(iter(network.params.values())))

        def score(carry: tuple[Params, Params], batch: tuple[Array, Array], masks: Params) -> dict[str, Array]:
            (params, state), (x, t) = carry, batch
            return measure(network.stack.predict(params, transformed(transform, x), state=state), t)

        sample = math.prod(network.input_shape)
        self.block = max(1, min(_BLOCK, backend.block_size // max(1, sample)))  # on NumPy, samples fit into the cache
        score.known = is_known(network.stack, transform)  # type: ignore[attr-defined]  # see `Backend.compile`
        self._score = backend.compile_on_rows(score)

    def __call__(self, samples: Samples, units: Host | None = None) -> Measured:
        """The results on all samples, or on those that `units` names. They are arrays; no value is read yet."""
        units = samples.units if units is None else units
        units = units[self.processes.share(len(units))]
        params, state, measured = detached(self.network.params), detached(self.network.state), Measured()
        for data, part in samples.blocks(units, self.block):
            count, size = part.shape
            scores = (self._score((params, state), data, part[i, ...], {}) for i in range(count))
            measured += [Block(size, found) for found in scores]
            del data  # for samples on disk, the next block needs the memory
        self._backend.release(self._score)
        return measured

    def mean(self, blocks: Measured) -> float:
        """The mean loss over the samples of all processes, from the results of `loss_and_total` for each block."""
        losses, totals = (np.asarray([block.found[name] for block in blocks]) for name in ("loss", "total"))
        loss, total = self.processes.total(float(losses @ totals), float(totals.sum()))
        return float(loss / total) if total else 0.0

    def answers(self, blocks: Measured) -> tuple[float, float]:
        """The number of correct predictions and of all predictions, from the accuracy of each block.

        They are counted exactly, without ignored samples. The first is NaN if a score is not finite.
        """
        last, outputs = self.network.stack.last, self.network.output_shape
        each = 1 if last.takes_labels else math.prod(outputs)  # the number of predictions for one sample
        counts = [each * round(block.found.get("counted", block.size)) for block in blocks]
        right = [block.found["accuracy"] * n for block, n in zip(blocks, counts, strict=True) if n]
        correct, count = self.processes.total(sum(n if math.isnan(n) else round(n) for n in right), sum(counts))
        return float(correct), float(count)


class Part(NamedTuple):
    """A dataset to evaluate, or a part of it."""

    blocks: Blocks
    samples: Samples
    units: Host
    has_loss: bool


class Sampled(NamedTuple):
    """A dataset, or a part of it, with the transform of the run: the samples that a report evaluates."""

    name: str
    samples: Samples
    units: Host
    transform: Transform | None

    @classmethod
    def of(cls, sets: Sets, transform: Transform | None) -> "Sampled":
        """The test set of a run, or else its validation samples, or else its training set."""
        if sets.test is not None:
            return cls("test set", sets.test, sets.test.units, transform)
        if len(sets.held):
            return cls("validation samples", sets.train, sets.held, transform)
        return cls("training set", sets.train, sets.units, transform)


class Measures:
    """The evaluation before training and after each epoch. The results are columns of the history.

    The columns are the accuracy on the training set, and the loss and the accuracy on the test set and on the
    validation samples. A network that does not classify has no accuracy. For such a network, the loss on the first
    training samples is computed in order to detect an overflow in the last update; this loss is not a column.
    """

    _LOOK = 100

    def __init__(self, network: Network, sets: Sets, transform: Transform | None, processes: Processes) -> None:
        all_of_it = Blocks(network, partial(_loss_and_accuracy, network), transform, processes)
        self.sets, self.transform = sets, transform
        self.parts: dict[str, Part] = {}
        if network.classifies:
            accuracy = Blocks(network, partial(_accuracy, network), transform, processes)
            self.parts["train"] = Part(accuracy, sets.train, sets.units, False)
        else:
            first = sets.units[: sets.train.first(sets.units, self._LOOK)]
            self.parts["train"] = Part(all_of_it, sets.train, first, False)
        if sets.test is not None:
            self.parts["test"] = Part(all_of_it, sets.test, sets.test.units, True)
        if len(sets.held):
            self.parts["validation"] = Part(all_of_it, sets.train, sets.held, True)

    def __call__(self) -> dict[str, Measured]:
        """Evaluate the network with its current parameters. The results are arrays; no value is read yet."""
        return {name: part.blocks(part.samples, part.units) for name, part in self.parts.items()}

    def found(self, measured: dict[str, Measured]) -> tuple[dict[str, float], set[str]]:
        """A number for each column of the history, and the datasets whose loss or scores are not finite.

        Raises
        ------
        NotFinite
            If such a dataset contains NaN or an infinite number.
        """
        columns, failed = {}, set()
        for name, part in self.parts.items():
            blocks, results = part.blocks, measured[name]
            numbers = [0.0]
            if blocks.network.classifies:
                correct, count = blocks.answers(results)
                columns[f"{name}_accuracy"] = correct / count if count else math.nan
                numbers.append(correct)
            if part.has_loss or not blocks.network.classifies:
                numbers.append(blocks.mean(results))
            if part.has_loss:
                columns[f"{name}_loss"] = numbers[-1]
            if not all(map(math.isfinite, numbers)):
                failed.add(name)
                self.check_finite(name)
        return columns, failed

    def check_finite(self, name: str) -> None:
        """Raise a `NotFinite` error if the dataset contains NaN or an infinite number."""
        test = self.sets.test if name == "test" else None
        check_finite("_train" if test is None else "_test", test or self.sets.train, self.transform)


def read(losses: list[Array], sets: dict[str, Measured]) -> tuple[Host, dict[str, Measured]]:
    """Read losses and the results of an evaluation as numbers, with one transfer from the device."""
    numbers = [number for blocks in sets.values() for block in blocks for number in block.found.values()]
    values = read_all([*losses, *numbers])
    count = len(values) - len(numbers)
    rest = iter(values[count:].tolist())
    return values[:count], {
        name: [Block(block.size, {key: next(rest) for key in block.found}) for block in blocks]
        for name, blocks in sets.items()
    }


def _accuracy(network: Network, y: Array, t: Array) -> dict[str, Array]:
    last = network.stack.last
    found = {"accuracy": last.accuracy(y, t)}
    if last.ignore is not None and t.ndim == 1:
        xp = namespace(t=t)
        found["counted"] = xp.sum(xp.astype(t != last.ignore, y.dtype))
    return found


def _loss_and_accuracy(network: Network, y: Array, t: Array) -> dict[str, Array]:
    return loss_and_total(network, y, t) | (_accuracy(network, y, t) if network.classifies else {})


def loss_and_total(network: Network, y: Array, t: Array) -> dict[str, Array]:
    """The mean loss over the samples, and the sum of the weights of the samples."""
    layer = network.stack.loss_layer()
    loss = layer.forward(y, t)
    total = layer.counted(y.shape[0])
    return {"loss": loss, "total": namespace(loss=loss).asarray(total, dtype=loss.dtype, device=_array.device(loss))}


@on_arrays_device
def evaluate(
    network: Network, x: Array | Shards, t: Array = None, *, transform: Callable[[Array], Array] | None = None
) -> Evaluation:
    """Loss, accuracy and confusion matrix of a network on samples and their targets.

    Parameters
    ----------
    network : Network
    x : array, shape (N, ...), or Shards
        The samples, in the library and on the device of the network's parameters.
    t : array
        The targets, in a form that the network's loss takes: labels, one-hot rows, or numbers. Leave `t` out if `x`
        is `Shards`, which contain targets.
    transform : callable, optional
        As in `fit`.

    Returns
    -------
    Evaluation

    Raises
    ------
    TypeError, ValueError
        If an argument has a wrong type, shape or dtype. If `t` contains a label without a class, or a number that the
        loss cannot take. If `x` or `t` contains NaN or an infinite number.

    Examples
    --------
    >>> from xpnet import Network, Sequential, nn
    >>> net = Network(Sequential(nn.Dense(2)), (2,), dtype="float64")
    >>> net.params = {"W1": np.asarray([[1.0, 0.0], [0.0, 1.0]]), "b1": np.zeros(2)}
    >>> found = evaluate(net, np.asarray([[1.0, 0.0], [0.0, 1.0], [0.2, 0.8]]), np.asarray([0, 1, 0]))
    >>> round(found.accuracy, 3), found.confusion.tolist()
    (0.667, [[1, 1], [0, 1]])
    """
    if isinstance(x, Shards) == (t is not None):
        raise TypeError(
            "evaluate: x is Shards, which have targets of their own; leave t out"
            if t is not None
            else "evaluate: t is missing, the targets of x; only Shards have targets of their own"
        )
    data = x if isinstance(x, Shards) else (x, t)
    if not isinstance(x, Shards):
        namespace(x=x, t=t, params=next(iter(network.params.values())))
    samples = samples_of("", data, network, transformed=transform is not None)
    check_values(network, {"": data}, transformed=transform is not None)
    last = network.stack.last

    def measure(y: Array, t: Array) -> dict[str, Array]:
        found = _loss_and_accuracy(network, y, t)
        return found | {"confusion": confusion_matrix(y, t, ignore=last.ignore)} if last.takes_labels else found

    measure_all = Blocks(network, measure, transform)
    with np.errstate(over="ignore", invalid="ignore"):  # the result shows the NaN
        blocks = measure_all(samples)
    confusions = [block.found.pop("confusion") for block in blocks if last.takes_labels]
    _, found = read([], {"": blocks})
    loss = measure_all.mean(found[""])
    correct, count = measure_all.answers(found[""]) if last.classifies else (0.0, 0.0)
    if not math.isfinite(loss + correct):
        check_finite("", samples, transform)
    share = (correct / count if count else math.nan) if last.classifies else None
    return Evaluation(loss, share, _sum([to_numpy(a).astype(np.int64) for a in confusions]) if confusions else None)


def _sum(confusions: list[np.ndarray[Any, Any]]) -> np.ndarray[Any, Any]:
    """The confusion matrix of all blocks; -1 if it is -1 for one of them."""
    total = np.sum(confusions, axis=0)
    return np.full_like(total, -1) if np.min(confusions) < 0 else total

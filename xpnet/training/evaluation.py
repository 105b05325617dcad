"""How good a network is on a set: loss, accuracy, confusion matrix, a block of samples at a time."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice
from typing import Any, TypeAlias

import numpy as np

from .. import _array
from .._array import Array, namespace
from ..backends import backend_of, on_arrays_device, read_all, to_numpy
from ..datasets import Shards
from ..functions import confusion_matrix
from ..nn.networks import Network
from .distributed import Processes
from .samples import Host, Samples, check_values, samples_of

__all__ = ["Blocks", "Evaluation", "Measured", "evaluate", "read"]

_BLOCK = 2_000
"""Samples that are evaluated at a time: a few megabytes, whatever the size of the set."""


@dataclass(frozen=True)
class Evaluation:
    """How good a network is on a set.

    Attributes
    ----------
    loss : float
        The mean over the samples.
    accuracy : float or None
        The share of samples in the right class; None for a network that does not classify.
    confusion : numpy.ndarray of int64, shape (K, K), or None
        How many samples of class i (row) were put into class j (column).
    """

    loss: float
    accuracy: float | None = None
    confusion: np.ndarray[Any, np.dtype[np.int64]] | None = None


Measured: TypeAlias = list[tuple[int, tuple[Array, ...]]]
"""Of each block, how many samples it has, and the numbers that were measured of it, arrays of shape ()."""
Rows: TypeAlias = list[tuple[float, ...]]
"""The same, read: of each block, how many samples it has, and the numbers."""


class Blocks:
    """What a network's outputs measure on a set, one block of samples after the other, the network compiled once.

    Parameters
    ----------
    network : Network
    measure : callable
        Pure: takes outputs and targets, returns a tuple of arrays.
    transform : callable, optional
        As in `fit`.
    processes : Processes, optional
        Each measures its share of the set; this one alone where not given.
    """

    def __init__(
        self,
        network: Network,
        measure: Callable[[Array, Array], tuple[Array, ...]],
        transform: Callable[[Array], Array] | None = None,
        processes: Processes | None = None,
    ) -> None:
        self.network, self.processes = network, processes or Processes()
        backend = backend_of(next(iter(network.params.values())))

        def score(params: Any, state: Any, x: Array, t: Array, index: Array) -> tuple[Array, ...]:
            x, t = backend.rows(x, index), backend.rows(t, index)
            return measure(network.stack.predict(params, transform(x) if transform else x, state=state), t)

        self._score = backend.compile(score)

    def __call__(self, samples: Samples, units: Host | None = None) -> Measured:
        """What was measured of all units of the samples, or of some; nothing is read yet."""
        units = samples.units if units is None else units
        units = units[self.processes.share(len(units))]
        net, measured = self.network, Measured()
        for (x, t), part in samples.blocks(units, _BLOCK):
            count, size = part.shape
            measured += [(size, self._score(net.params, net.state, x, t, part[i, ...])) for i in range(count)]
            del x, t  # of samples on disk, the memory is for the next
        return measured

    def mean(self, rows: Rows) -> float:
        """The mean loss over the samples, of all processes, from what `loss_and_total` measured of each block."""
        losses, totals = (np.asarray([row[i] for row in rows]) for i in (1, 2))
        loss, total = self.processes.total(float(losses @ totals), float(totals.sum()))
        return float(loss / total) if total else 0.0

    def share(self, rows: Rows, i: int) -> float:
        """The accuracy over all samples, from that of each block, its i-th number: exact, whatever its rounding."""
        last, outputs = self.network.stack.last, self.network.output_shape
        answers = 1 if last.takes_labels else math.prod(outputs)  # of a sample
        right = sum(round(row[i] * row[0] * answers) for row in rows)
        return float(np.divide(*self.processes.total(right, answers * sum(row[0] for row in rows))))


def read(losses: list[Array], *sets: Measured) -> tuple[Host, list[Rows]]:
    """Losses, and what was measured of sets, in one transfer."""
    numbers = [number for blocks in sets for _, measured in blocks for number in measured]
    values = read_all([*losses, *numbers])
    count = len(values) - len(numbers)
    rest = iter(values[count:].tolist())
    return values[:count], [[(n, *islice(rest, len(measured))) for n, measured in blocks] for blocks in sets]


def loss_and_total(network: Network, y: Array, t: Array) -> tuple[Array, Array]:
    """The loss of outputs, a mean over samples, and what these count together."""
    layer = network.stack.loss_layer()
    loss = layer.forward(y, t)
    total = layer.counted(y.shape[0])
    return loss, namespace(loss=loss).asarray(total, dtype=loss.dtype, device=_array.device(loss))


@on_arrays_device
def evaluate(
    network: Network, x: Array | Shards, t: Array = None, *, transform: Callable[[Array], Array] | None = None
) -> Evaluation:
    """Loss, accuracy and confusion matrix of a network on samples and their targets.

    Parameters
    ----------
    network : Network
    x : array, shape (N, ...), or Shards
        In the library and on the device of the network's parameters.
    t : array
        Targets as the network's loss takes them: labels, one-hot rows, or numbers. Not with `Shards`, which have
        theirs.
    transform : callable, optional
        As in `fit`.

    Returns
    -------
    Evaluation

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
    samples = samples_of("", data, network, transformed=transform is not None)
    check_values(network, {"": data}, transformed=transform is not None)
    last = network.stack.last

    def measure(y: Array, t: Array) -> tuple[Array, ...]:
        found: tuple[Array, ...] = loss_and_total(network, y, t)
        if last.classifies:
            found = (*found, last.accuracy(y, t))
        return (*found, confusion_matrix(y, t)) if last.takes_labels else found

    measure_all = Blocks(network, measure, transform)
    blocks = measure_all(samples)
    _, (rows,) = read([], [(count, measured[:3]) for count, measured in blocks])
    loss = measure_all.mean(rows)
    share = measure_all.share(rows, 3) if last.classifies else None
    confusion = None
    if last.takes_labels:
        confusion = np.sum([to_numpy(measured[3]).astype(np.int64) for _, measured in blocks], axis=0)
    return Evaluation(loss, share, confusion)

"""How good a network is on a set: loss, accuracy, confusion matrix, a block of samples at a time."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from . import _array
from ._array import Array, dtype_name, index_dtype, namespace
from .backends import backend_of, read_all, to_numpy
from .functions import accuracy, confusion_matrix
from .networks import Network

__all__ = ["Blocks", "Evaluation", "evaluate"]

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


class Blocks:
    """What a network's outputs measure on a set, one block of samples after the other, the network compiled once.

    Parameters
    ----------
    network : Network
    measure : callable
        Pure: takes outputs and targets, returns a tuple of arrays.
    transform : callable, optional
        As in `fit`.
    """

    def __init__(
        self,
        network: Network,
        measure: Callable[[Array, Array], tuple[Array, ...]],
        transform: Callable[[Array], Array] | None = None,
    ) -> None:
        self.network = network
        backend = backend_of(next(iter(network.params.values())))

        def score(params: Any, state: Any, x: Array, t: Array, index: Array) -> tuple[Array, ...]:
            x, t = backend.rows(x, index), backend.rows(t, index)
            return measure(network.stack.predict(params, transform(x) if transform else x, state=state), t)

        self._score = backend.compile(score)

    def __call__(
        self, x: Array, t: Array, rows: np.ndarray[Any, Any] | None = None
    ) -> list[tuple[int, tuple[Array, ...]]]:
        """For each block, how many samples it has and what they measure; of all samples, or of some rows."""
        xp, where = namespace(x=x), _array.device(x)
        rows = np.arange(x.shape[0]) if rows is None else rows
        rows = rows.astype(dtype_name(index_dtype(xp, where)))
        parts = [rows[i : i + _BLOCK] for i in range(0, len(rows), _BLOCK)]
        net = self.network
        return [
            (len(part), self._score(net.params, net.state, x, t, xp.asarray(part, device=where))) for part in parts
        ]


def mean(blocks: list[tuple[int, tuple[Array, ...]]], i: int) -> float:
    """The mean over the samples of the i-th number that each block measured."""
    values = read_all([measured[i] for _, measured in blocks])
    counts = np.asarray([count for count, _ in blocks])
    return float(values @ counts / counts.sum())


def share(blocks: list[tuple[int, tuple[Array, ...]]], i: int) -> float:
    """The same of a share of the samples: exact, whatever the rounding in a block."""
    values = read_all([measured[i] for _, measured in blocks])
    counts = [count for count, _ in blocks]
    return sum(round(float(v) * n) for v, n in zip(values, counts, strict=True)) / sum(counts)


def evaluate(
    network: Network, x: Array, t: Array, *, transform: Callable[[Array], Array] | None = None
) -> Evaluation:
    """Loss, accuracy and confusion matrix of a network on samples and their targets.

    Parameters
    ----------
    network : Network
    x : array, shape (N, ...)
        In the library and on the device of the network's parameters.
    t : array
        Targets as the network's loss takes them: labels, one-hot rows, or numbers.
    transform : callable, optional
        As in `fit`.

    Returns
    -------
    Evaluation

    Examples
    --------
    >>> from xpnet import Dense, Network, Sequential
    >>> net = Network(Sequential(Dense(2)), (2,), dtype="float64")
    >>> net.params = {"W1": np.asarray([[1.0, 0.0], [0.0, 1.0]]), "b1": np.zeros(2)}
    >>> found = evaluate(net, np.asarray([[1.0, 0.0], [0.0, 1.0], [0.2, 0.8]]), np.asarray([0, 1, 0]))
    >>> round(found.accuracy, 3), found.confusion.tolist()
    (0.667, [[1, 1], [0, 1]])
    """
    if x.shape[0] == 0:
        raise ValueError(f"evaluate: x is empty, shape {tuple(x.shape)}; pass at least one sample")

    def measure(y: Array, t: Array) -> tuple[Array, ...]:
        loss = network.stack.loss_class(None).forward(y, t)
        return (loss, accuracy(y, t), confusion_matrix(y, t)) if network.classifies else (loss,)

    with backend_of(x).current(_array.device(x)):
        blocks = Blocks(network, measure, transform)(x, t)
        if not network.classifies:
            return Evaluation(mean(blocks, 0))
        confusion = np.sum([to_numpy(measured[2]).astype(np.int64) for _, measured in blocks], axis=0)
        return Evaluation(mean(blocks, 0), share(blocks, 1), confusion)

"""What a report says of a network: its answers on some samples, and the numbers in its layers."""

import math
from collections.abc import Iterator
from contextlib import closing
from typing import Any, Literal, NamedTuple

import numpy as np

from .._typing import Params
from ..backends import backend_of, on_arrays_device, to_numpy
from ..nn.networks import Network
from ..training.evaluation import Sampled, loss_and_total
from ..training.step import detached, transformed

__all__ = ["Answers", "Histogram", "LayerNumbers", "Wrong", "answers_of", "filters_of", "layers_of"]

LIMIT = 10_000
"""The largest number of samples in memory that are evaluated."""
SHOWN = 24
"""The number of samples with large errors that are shown."""
_NUMBERS = 20_000_000
"""The largest number of elements of an intermediate array."""
_BINS = 40

Host = np.ndarray[Any, Any]


class Wrong(NamedTuple):
    """A sample with a large error."""

    position: int
    """The position of the sample in its dataset."""
    sample: Host
    truth: Host
    """The label, or the targets, of shape (K,)."""
    answer: Host
    """The probabilities, or the predictions, of shape (K,)."""


class Answers(NamedTuple):
    """The answers of a network on some samples.

    `kind` says what the answers are. "classes": one class for each sample. "outputs": yes or no for each output.
    "numbers": a number for each output.
    """

    name: str
    kind: Literal["classes", "outputs", "numbers"]
    seen: int
    total: int
    loss: float
    truth: Host
    """The labels, shape (N,), or the targets, shape (N, K)."""
    said: Host
    """The predicted classes or the predictions, in the same shape. Ignored samples are left out of both."""
    wrong: list[Wrong]

    @property
    def accuracy(self) -> float:
        """The fraction of right classes, or of right outputs; NaN without samples."""
        return float(np.mean(self.truth == self.said)) if self.truth.size else math.nan


@on_arrays_device
def answers_of(network: Network, sampled: Sampled) -> Answers:
    """Evaluate the network on the samples: on all of them, or on some that are spread evenly over the dataset."""
    samples, last = sampled.samples, network.stack.last
    kind: Literal["classes", "outputs", "numbers"]
    kind = "numbers" if not last.classifies else "classes" if last.takes_labels else "outputs"
    outputs = math.prod(network.output_shape)
    limit = max(1, min(LIMIT, 100 * _NUMBERS // math.prod(network.input_shape), _NUMBERS // outputs))
    total = samples.count(sampled.units)
    units = sampled.units[:: math.ceil(total / limit)]
    numbers, loss, weight, seen = samples.numbers(units), 0.0, 0.0, 0
    pairs, kept = list[tuple[Host, Host]](), list[tuple[float, Wrong]]()
    with np.errstate(all="ignore"):
        for found in _blocks(network, sampled, units):
            truth, p, count = to_numpy(found["t"]), to_numpy(found["p"]), found["p"].shape[0]
            p = p.reshape(count, -1).astype("float64")
            mean, part = (float(to_numpy(found[name])) for name in ("loss", "total"))
            loss, weight = loss + mean * part, weight + part
            if kind == "classes":
                counted = truth != last.ignore if truth.ndim == 1 else np.ones(count, bool)
                truth = truth.argmax(axis=1) if truth.ndim == 2 else truth.astype("int64")
                said = p.argmax(axis=1)
                pairs.append((truth[counted], said[counted]))
                distance = np.where(counted, _distances(p, truth, said), -math.inf)
            else:
                truth = truth.reshape(count, -1).astype("float64")
                pairs.append((truth > 0.5, p > 0.5) if kind == "outputs" else (truth, p))
                distance = np.sqrt(np.square(p - truth).sum(axis=1))
            kept = _largest(kept, distance, numbers[seen : seen + count], found["x"], truth, p)
            seen += count
    truths, said = (np.concatenate(part) for part in zip(*pairs, strict=True))
    mean = loss / weight if weight else math.nan
    return Answers(sampled.name, kind, seen, total, mean, truths, said, [wrong for _, wrong in kept])


def _blocks(network: Network, sampled: Sampled, units: Host) -> Iterator[dict[str, Any]]:
    """For each block: the samples, the targets, the probabilities or predictions, the loss and the total weight."""
    last = network.stack.last

    def measure(carry: Any, batch: Any, masks: Params) -> dict[str, Any]:
        (params, state), (x, t) = carry, batch
        y = network.stack.predict(params, transformed(sampled.transform, x), state=state)
        p = last.probabilities(y) if last.classifies else last.predictions(y)
        return {"x": x, "t": t, "p": p, **loss_and_total(network, y, t)}

    measured = backend_of(next(iter(network.params.values()))).compile_on_rows(measure)
    carry = detached(network.params), detached(network.state)
    largest = max(math.prod(shape) for shape in network.stack.shapes(network.input_shape))
    for data, part in sampled.samples.blocks(units, max(1, min(1000, _NUMBERS // largest))):
        for i in range(part.shape[0]):
            yield measured(carry, data, part[i, ...], {})


def _distances(p: Host, labels: Host, said: Host) -> Host:
    """How far each answer is from its label: 1 minus the probability of the label. A right answer is below 0."""
    inside = np.clip(labels, 0, p.shape[1] - 1)  # an ignored label may be no class
    distance = 1 - np.take_along_axis(p, inside[:, None], axis=1)[:, 0]
    return np.where(labels == said, distance - 2, distance)


def _largest(
    kept: list[tuple[float, Wrong]], distance: Host, numbers: Host, x: Any, truth: Host, p: Host
) -> list[tuple[float, Wrong]]:
    """The samples with the largest distances, of those that are kept and of this block."""
    distance = np.where(np.isnan(distance), math.inf, distance)
    order = np.argsort(-distance, kind="stable")[:SHOWN]
    order = order[distance[order] > (kept[-1][0] if len(kept) == SHOWN else -math.inf)]
    host = to_numpy(x) if len(order) else np.empty(0)
    new = [(float(distance[i]), Wrong(int(numbers[i]), host[i].copy(), truth[i], p[i])) for i in order]
    return sorted([*kept, *new], key=lambda pair: -pair[0])[:SHOWN]


class Histogram(NamedTuple):
    """A histogram of the finite numbers of an array, and their mean and standard deviation."""

    counts: list[int]
    low: float
    high: float
    mean: float
    std: float
    size: int
    zeros: float
    """The fraction of zeros."""
    odd: int
    """The number of elements that are NaN or infinite."""

    @classmethod
    def of(cls, array: Host) -> "Histogram":
        """The histogram of all elements."""
        flat = np.asarray(array, "float64").ravel()
        finite = flat[np.isfinite(flat)]
        if not finite.size:
            return cls([], 0.0, 0.0, math.nan, math.nan, flat.size, 0.0, flat.size)
        low, high = float(finite.min()), float(finite.max())
        limits = (low, high) if high > low else (low - 0.5, high + 0.5)
        counts, _ = np.histogram(finite, _BINS, limits)
        zeros = float(np.mean(finite == 0))
        odd = flat.size - finite.size
        return cls(counts.tolist(), *limits, float(finite.mean()), float(finite.std()), flat.size, zeros, odd)


class LayerNumbers(NamedTuple):
    """The parameters of a layer, and its outputs on some samples."""

    name: str
    description: str
    params: dict[str, Histogram]
    outputs: Histogram | None
    samples: int
    dead: int
    """The number of outputs that are 0 for each sample."""
    units: int
    """The number of outputs for a sample."""


@on_arrays_device
def layers_of(network: Network, sampled: Sampled | None, most: int = 40) -> list[LayerNumbers]:
    """The numbers in the first `most` layers."""
    stack, params, state = network.stack, detached(network.params), detached(network.state)
    x, found = None if sampled is None else _some(network, sampled), []
    layers = stack.layers(params, state=state or None)
    for i, (name, layer) in enumerate([*layers.items()][:most]):
        weights = {key: Histogram.of(to_numpy(params[key])) for key in stack.param_names[i]}
        outputs, count, dead, units = None, 0, 0, 0
        if x is not None:
            with np.errstate(all="ignore"):
                x = layer.forward(x)
            host = to_numpy(x)
            outputs, count, units = Histogram.of(host), len(host), math.prod(host.shape[1:])
            dead = int((host == 0).all(axis=0).sum())
        text = stack.descriptions[i].text("weight_init")
        found.append(LayerNumbers(name, text, weights, outputs, count, dead, units))
    return found


def _some(network: Network, sampled: Sampled) -> Any:
    """Up to 256 samples, as the network takes them."""
    largest = max(math.prod(shape) for shape in network.stack.shapes(network.input_shape))
    count = max(1, min(256, _NUMBERS // largest))
    units = sampled.units[:: max(1, len(sampled.units) // count)]
    with closing(sampled.samples.blocks(units, count)) as blocks:
        data, part = next(blocks)
    backend = backend_of(next(iter(network.params.values())))
    take = backend.compile_on_rows(lambda carry, batch, masks: transformed(sampled.transform, batch[0]))
    return take((), data, part[0, ...], {})


@on_arrays_device
def filters_of(network: Network, image_shape: tuple[int, ...] | None, most: int = 64) -> tuple[str, Host] | None:
    """The name of the first weights, and the weights as images, shape (filters, C, H, W); None if they are none.

    The weights are images if the first layer with parameters is a convolution, or if it takes images as rows.
    """
    stack = network.stack
    name = next((names[0] for names in stack.param_names if names), None)
    if name is None or not stack.takes_floats:
        return None
    weights = to_numpy(detached(network.params)[name])
    if weights.ndim == 4 and weights.shape[-1] * weights.shape[-2] > 1:
        return name, weights[:most]
    if weights.ndim == 2 and image_shape and weights.shape[0] == math.prod(image_shape):
        return name, weights.T[:most].reshape(-1, *image_shape)
    return None

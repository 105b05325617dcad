"""Descriptions of losses: they hold the options, and build a loss object for each pass."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from .._typing import Array
from .._validation import check_integer, check_number
from ..layers import ExponentialWithLoss, HuberLoss, IdentityWithLoss, SigmoidWithLoss, SoftmaxWithLoss
from ..layers.base import Loss
from .base import LossDescription

__all__ = ["BinaryCrossEntropy", "CrossEntropy", "Huber", "MeanSquaredError", "Poisson"]

AnyLoss: TypeAlias = LossDescription | type[Loss] | str
"""The types that the argument `loss` of a network takes."""


@dataclass(frozen=True, repr=False)
class CrossEntropy(LossDescription):
    """Cross-entropy loss with softmax, for classification. It builds a `SoftmaxWithLoss`.

    Parameters
    ----------
    class_weight : sequence of K floats, optional
        The weight of each class. A rare class can get a larger weight, for example.
    label_smoothing : float, default 0.0
        The fraction of each target that is distributed evenly over the classes, from 0 to below 1.
    ignore_index : int, optional
        A label to ignore: samples with this label have the weight 0. The label may be a class, or a number that is no
        class, such as -1 or 255.

    Examples
    --------
    >>> from xpnet import Sequential, nn
    >>> Sequential(nn.Dense(3), loss=nn.CrossEntropy(label_smoothing=0.1))
    Sequential(Dense(3), loss=CrossEntropy(label_smoothing=0.1))
    """

    class_weight: Sequence[float] | None = None
    label_smoothing: float = 0.0
    ignore_index: int | None = None

    def __post_init__(self) -> None:
        index = self.ignore_index
        self._set(
            class_weight=_numbers("CrossEntropy: class_weight", self.class_weight),
            label_smoothing=check_number("CrossEntropy: label_smoothing", self.label_smoothing, "from 0 to below 1"),
            ignore_index=None if index is None else check_integer("CrossEntropy: ignore_index", index),
        )

    def layer(self, weight: Array | None = None) -> SoftmaxWithLoss:
        return SoftmaxWithLoss(
            weight, class_weight=self.class_weight, smoothing=self.label_smoothing, ignore=self.ignore_index
        )


@dataclass(frozen=True, repr=False)
class MeanSquaredError(LossDescription):
    """Half the squared error, summed over the outputs, for regression. It builds an `IdentityWithLoss`.

    Examples
    --------
    >>> from xpnet import Network, Sequential, nn
    >>> Network(Sequential(nn.Dense(1), loss=nn.MeanSquaredError()), (4,)).classifies
    False
    """

    def layer(self, weight: Array | None = None) -> IdentityWithLoss:
        return IdentityWithLoss(weight)


@dataclass(frozen=True, repr=False)
class BinaryCrossEntropy(LossDescription):
    """Binary cross-entropy loss with sigmoid, for binary or multi-label classification; builds a `SigmoidWithLoss`.

    Parameters
    ----------
    positive_weight : sequence of K floats, optional
        The weight of the positive class of each output. The negative class has the weight 1.

    Examples
    --------
    >>> from xpnet import nn
    >>> nn.BinaryCrossEntropy([3])
    BinaryCrossEntropy(positive_weight=(3.0,))
    """

    positive_weight: Sequence[float] | None = None

    def __post_init__(self) -> None:
        self._set(positive_weight=_numbers("BinaryCrossEntropy: positive_weight", self.positive_weight))

    def layer(self, weight: Array | None = None) -> SigmoidWithLoss:
        return SigmoidWithLoss(weight, positive_weight=self.positive_weight)


@dataclass(frozen=True, repr=False)
class Huber(LossDescription):
    """Huber loss, for regression with outliers. It builds a `HuberLoss`.

    Parameters
    ----------
    delta : float, default 1.0
        The error above which the loss is linear; a positive number.

    Examples
    --------
    >>> from xpnet import nn
    >>> nn.Huber(0.5)
    Huber(delta=0.5)
    """

    delta: float = 1.0

    def __post_init__(self) -> None:
        self._set(delta=check_number("Huber: delta", self.delta, "positive and finite"))

    def layer(self, weight: Array | None = None) -> HuberLoss:
        return HuberLoss(weight, delta=self.delta)


@dataclass(frozen=True, repr=False)
class Poisson(LossDescription):
    """The Poisson loss, for counts. It builds an `ExponentialWithLoss`.

    Examples
    --------
    >>> from xpnet import nn
    >>> nn.Poisson().layer().classifies
    False
    """

    def layer(self, weight: Array | None = None) -> ExponentialWithLoss:
        return ExponentialWithLoss(weight)


LOSSES: dict[str, type[LossDescription]] = {
    "cross_entropy": CrossEntropy,
    "mean_squared_error": MeanSquaredError,
    "mse": MeanSquaredError,
    "binary_cross_entropy": BinaryCrossEntropy,
    "huber": Huber,
    "poisson": Poisson,
}
"""The losses by the names that `Sequential` takes."""


def loss_of(given: Any) -> LossDescription | type[Loss]:
    """The loss for a name such as "huber"; a description or a subclass of `Loss` is returned unchanged."""
    given = LOSSES[given] if isinstance(given, str) and given in LOSSES else given
    if isinstance(given, type) and issubclass(given, LossDescription):
        return given()
    if isinstance(given, LossDescription) or (isinstance(given, type) and issubclass(given, Loss)):
        return given
    if isinstance(given, Loss):
        name = type(given).__name__
        raise TypeError(f"loss must be a class or a description, not the loss object {name}(...); pass loss={name}")
    raise TypeError(
        "loss must be a description such as nn.CrossEntropy() or nn.MeanSquaredError(), a subclass of xpnet.Loss, or "
        f"one of {', '.join(map(repr, LOSSES))}; got {given!r}"
    )


def _numbers(name: str, values: Any) -> tuple[float, ...] | None:
    if values is None:
        return None
    if isinstance(values, (str, dict)) or not hasattr(values, "__iter__"):
        raise TypeError(f"{name} must be a sequence of numbers, such as [1.0, 3.0]; got {values!r}")
    return tuple(check_number(f"{name}: each number", value, "finite and not negative") for value in values)

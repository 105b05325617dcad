"""Descriptions of activations: layers without parameters that keep the shape of their input."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from .. import layers
from .._typing import Array
from .._validation import check_integer, check_number
from ..layers.base import Layer
from .base import Description, told
from .initializers import He, Xavier

__all__ = ["ActivationDescription", "Gelu", "LeakyRelu", "Relu", "Sigmoid", "Silu", "Softmax", "Tanh"]


@dataclass(frozen=True, repr=False)
class ActivationDescription(Description):
    """The description of an activation. To add your own, write a subclass that names the class of its layer.

    The options of the activation are fields of the dataclass. They are passed to the layer by keyword.

    Attributes
    ----------
    layer_class : type
        The class of the layer, a subclass of `Layer`.
    suits : callable
        The initializer of the weights of the layer before the activation (default: `He`).

    Examples
    --------
    >>> from xpnet import Sequential, nn
    >>> from xpnet.layers import Tanh
    >>> class Mine(nn.ActivationDescription):
    ...     layer_class = Tanh
    >>> Sequential(Mine())
    Sequential(Mine(), loss=CrossEntropy())
    """

    layer_class: ClassVar[Callable[..., Layer]]
    suits: ClassVar[Any] = He()

    @property
    def kind(self) -> str:  # type: ignore[override]
        """The name of the layer class."""
        return self.layer_class.__name__

    def layer(self, arrays: Sequence[Array], training: bool) -> Layer:
        return type(self).layer_class(**vars(self))


@dataclass(frozen=True, repr=False)
class Relu(ActivationDescription):
    """Description of a `layers.Relu` layer: max(x, 0).

    Examples
    --------
    >>> from xpnet import nn
    >>> nn.Relu() == nn.Relu(), nn.Relu().output_shape((30, 24, 24))
    (True, (30, 24, 24))
    """

    layer_class = layers.Relu


@dataclass(frozen=True, repr=False)
class LeakyRelu(ActivationDescription):
    """Description of a `layers.LeakyRelu` layer: x for positive x, otherwise slope · x.

    Parameters
    ----------
    slope : float, default 0.01
        The slope for negative x.

    Examples
    --------
    >>> from xpnet import nn
    >>> nn.LeakyRelu(0.2)
    LeakyRelu(slope=0.2)
    """

    slope: float = 0.01
    layer_class = layers.LeakyRelu

    def __post_init__(self) -> None:
        self._set(slope=check_number("LeakyRelu: slope", self.slope))


@dataclass(frozen=True, repr=False)
class Sigmoid(ActivationDescription):
    """Description of a `layers.Sigmoid` layer: the logistic function.

    Examples
    --------
    >>> from xpnet import nn
    >>> nn.Sigmoid().suits
    Xavier()
    """

    layer_class = layers.Sigmoid
    suits = Xavier()


@dataclass(frozen=True, repr=False)
class Tanh(ActivationDescription):
    """Description of a `layers.Tanh` layer: the hyperbolic tangent.

    Examples
    --------
    >>> from xpnet import nn
    >>> nn.Tanh().suits
    Xavier()
    """

    layer_class = layers.Tanh
    suits = Xavier()


@dataclass(frozen=True, repr=False)
class Gelu(ActivationDescription):
    """Description of a `layers.Gelu` layer: the Gaussian error linear unit.

    Examples
    --------
    >>> from xpnet import nn
    >>> nn.Gelu().suits
    He()
    """

    layer_class = layers.Gelu


@dataclass(frozen=True, repr=False)
class Silu(ActivationDescription):
    """Description of a `layers.Silu` layer (SiLU, swish): x times sigmoid(x).

    Examples
    --------
    >>> from xpnet import nn
    >>> nn.Silu().suits
    He()
    """

    layer_class = layers.Silu


@dataclass(frozen=True, repr=False)
class Softmax(ActivationDescription):
    """Description of a `layers.Softmax` layer: probabilities along an axis.

    Do not use `Softmax` as the last layer of a network with the loss `CrossEntropy`: this loss includes softmax.

    Parameters
    ----------
    axis : int, default -1
        The axis of the classes.

    Examples
    --------
    >>> from xpnet import nn
    >>> nn.Softmax()
    Softmax()
    """

    axis: int = -1
    layer_class = layers.Softmax
    suits = Xavier()

    def __post_init__(self) -> None:
        self._set(axis=check_integer("Softmax: axis", self.axis))


ACTIVATIONS: dict[str, Callable[[], Description]] = {
    "relu": Relu,
    "leaky_relu": LeakyRelu,
    "sigmoid": Sigmoid,
    "tanh": Tanh,
    "gelu": Gelu,
    "silu": Silu,
}
"""The activations of hidden layers, by the names that arguments and command-line options take."""


def activation_of(given: Any) -> Description:
    """The description of an activation, for a name such as "relu" or for a description."""
    if isinstance(given, str) and given in ACTIVATIONS:
        return ACTIVATIONS[given]()
    if isinstance(given, Description) and not given.params:
        return given
    expected = f"activation must be one of {', '.join(ACTIVATIONS)}, or a description such as nn.Relu()"
    raise (ValueError if isinstance(given, str) else TypeError)(f"{expected}; got {told(given)}")

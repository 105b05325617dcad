"""Descriptions: what a network asks of the description of a layer, and of that of a loss.

A description holds options, never arrays. It is a frozen dataclass, so that two with the same options are equal.
"""

from collections.abc import Callable, Sequence
from dataclasses import MISSING, fields, is_dataclass, replace
from typing import Any, ClassVar, TypeAlias

from .._typing import Array
from .._validation import check_integer
from ..layers.base import Layer, Loss
from .initializers import He, generator

__all__ = ["Description", "LossDescription"]

Shape: TypeAlias = tuple[int, ...]
Arrays: TypeAlias = tuple[Array, ...]
Initializer: TypeAlias = Callable[[Any, Shape], Array]


class Options:
    """Options, printed as they are typed: those that have a default only where they differ from it."""

    def __repr__(self) -> str:
        return self.text()

    def text(self, *without: str) -> str:
        """The call that builds it, without some of its options."""
        this: Any = self
        shown = []
        for field in fields(this) if is_dataclass(this) else ():
            value = getattr(this, field.name)
            if field.default is MISSING:
                shown.append(repr(value))
            elif value != field.default and field.name not in without:
                shown.append(f"{field.name}={value!r}")
        return f"{type(self).__name__}({', '.join(shown)})"

    def _set(self, **options: Any) -> None:
        """Replace options by their checked values, when the frozen dataclass is built."""
        for name, value in options.items():
            object.__setattr__(self, name, value)


class Description(Options):
    """The description of a layer. One of your own is a subclass, and a frozen dataclass if it has options.

    Attributes
    ----------
    kind : str
        The layer's name, to which its number is added: "Affine" becomes "Affine1".
    takes_floats : bool
        False if samples are ids to look up.
    id_count : int or None
        The number of ids that can be looked up, from 0; None if samples are numbers, or if any id is valid.
    params, state, masks : tuple of str
        The names of its parameters, of the arrays that it carries from one update to the next, and of its random
        masks in training. A number is added to each: "W" becomes "W1".
    weight_init : callable or None
        An option of layers with weights: their initializer, which takes a `numpy.random.Generator` and a shape. If it
        is None, the network chooses one by the activation that follows.
    suits : callable or None
        Of an activation: the initializer for the weights before it.

    Examples
    --------
    >>> import numpy as np
    >>> from xpnet import Layer, Sequential, nn
    >>> class SquareLayer(Layer):
    ...     def forward(self, x):
    ...         self.x = x
    ...         return x * x
    ...     def backward(self, dout):
    ...         return dout * 2 * self.x
    >>> class Square(nn.Description):
    ...     kind = "Square"
    ...     def layer(self, arrays, training):
    ...         return SquareLayer()
    >>> Sequential(Square()).predict({}, np.asarray([3.0]))
    array([9.])
    """

    kind: str
    takes_floats: bool = True
    id_count: int | None = None
    params: tuple[str, ...] = ()
    state: tuple[str, ...] = ()
    masks: tuple[str, ...] = ()
    suits: ClassVar[Any] = None

    def output_shape(self, shape: Shape) -> Shape:
        """The shape of an output for samples of `shape`, without the batch; ValueError if `shape` does not fit."""
        return shape

    def param_shapes(self, shape: Shape) -> tuple[Shape, ...]:
        """The shapes of its parameters for samples of `shape`; default: the shapes that `init` draws."""
        return tuple(tuple(array.shape) for array in self.init(generator(0), shape))

    def init(self, rng: Any, shape: Shape) -> Arrays:
        """The initial parameters for samples of `shape`: NumPy, float64."""
        return ()

    def init_state(self, shape: Shape) -> Arrays:
        """The state before the first update: NumPy, float64."""
        return ()

    def draw(self, rng: Any, shape: Shape) -> Arrays:
        """Its masks for a mini-batch of `shape`, the batch included: NumPy, bool."""
        return ()

    def least_batch(self, shape: Shape) -> int:
        """The smallest number of samples of `shape` that a mini-batch may have in training."""
        return 1

    def layer(self, arrays: Sequence[Array], training: bool) -> Any:
        """The one-pass layer with its parameters, state and masks, in this order.

        A subclass of `Layer`. Masks are None in inference. The layer's `gradients()` are in the order of `params`.
        Its `state` after `forward` is in that of `state`.
        """
        raise NotImplementedError


class LossDescription(Options):
    """The description of a loss. One of your own is a frozen dataclass with the options of your loss.

    A loss without options needs no description: ``Sequential(..., loss=MyLoss)`` takes a subclass of `Loss`.

    Examples
    --------
    >>> import numpy as np
    >>> from dataclasses import dataclass
    >>> from xpnet import Loss, Sequential, nn
    >>> class PowerLoss(Loss):
    ...     def __init__(self, weight=None, /, *, power):
    ...         super().__init__(weight)
    ...         self.power = power
    ...     def forward(self, scores, targets):
    ...         self.error = scores - targets
    ...         return (self.error**self.power).sum() / len(self.error)
    ...     def backward(self):
    ...         return self.power * self.error ** (self.power - 1) / len(self.error)
    >>> @dataclass(frozen=True)
    ... class Power(nn.LossDescription):
    ...     power: int = 4
    ...     def layer(self, weight=None):
    ...         return PowerLoss(weight, power=self.power)
    >>> print(Sequential(loss=Power()).loss({}, np.asarray([[2.0]]), np.asarray([[0.0]])))
    16.0
    """

    def layer(self, weight: Array | None = None) -> Loss:
        """The one-pass loss for samples of that `weight`, a subclass of `Loss`."""
        raise NotImplementedError


def check_shape(shape: Any) -> Shape:
    """The shape of a sample as a tuple of Python ints."""
    if not isinstance(shape, (tuple, list)):
        raise TypeError(f"input_shape must be a tuple, the shape of one sample, such as (784,); got {shape!r}")
    return tuple(check_integer("input_shape: each side", side, 1) for side in shape)


def check_sides(name: str, value: Any, least: int) -> Any:
    """An option for height and width: one integer for both, or two."""
    if not isinstance(value, (tuple, list)):
        return check_integer(name, value, least)
    if len(value) != 2:
        raise ValueError(f"{name} must be one integer, or two for height and width, got {value!r}")
    return tuple(check_integer(name, side, least) for side in value)


def check_image(where: str, shape: Shape) -> Shape:
    """The shape of an image, (C, H, W)."""
    if len(shape) != 3:
        raise ValueError(f"{where}: expected images of shape (C, H, W), got {shape}")
    return shape


def check_descriptions(where: str, descriptions: Sequence[Any], *, inside: bool = False) -> None:
    """Raise if one of the layers is not a description, or looks ids up and is not the first of a network."""
    for i, description in enumerate(descriptions, 1):
        if not isinstance(description, Description):
            raise TypeError(
                f"{where}: layer {i} must be a description such as nn.Dense(50) or nn.Relu(), got {told(description)}"
            )
        if not description.takes_floats and (inside or i > 1):
            raise ValueError(
                f"{where}: layer {i} is {description!r}, which looks ids up; it must be the first layer of a network"
            )


def told(thing: Any) -> str:
    """What was passed in the place of a description."""
    if isinstance(thing, Layer):
        return f"a layer object, {type(thing).__name__}(...) of xpnet.layers"
    if isinstance(thing, type) and issubclass(thing, Description):
        return f"the class nn.{thing.__name__}; call it, as in nn.{thing.__name__}(...)"
    if isinstance(thing, type) and issubclass(thing, Layer):
        return f"the class {thing.__name__} of xpnet.layers"
    return repr(thing)


def choose_weights(descriptions: Sequence[Description]) -> list[Description]:
    """The same descriptions; an initializer of weights that is None is chosen by the activation that follows."""
    chosen: list[Description] = []
    following: Initializer = He()
    for description in reversed(descriptions):
        if description.suits is not None:
            following = description.suits
        elif hasattr(description, "weight_init"):
            if description.weight_init is None:
                description = replace(description, weight_init=following)  # type: ignore[type-var]
            following = He()
        chosen.append(description)
    return chosen[::-1]

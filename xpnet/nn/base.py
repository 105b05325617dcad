"""The base classes of the descriptions of layers and losses.

A description holds options, never arrays. A description is a frozen dataclass, so two descriptions with the same
options are equal.
"""

from collections.abc import Callable, Sequence
from dataclasses import MISSING, fields, is_dataclass, replace
from typing import Any, ClassVar, TypeAlias

from .._typing import Array
from .._validation import check_integer
from ..layers.base import Layer, Loss
from ..layers.precision import Precision
from .initializers import He, generator

__all__ = ["Description", "LossDescription"]

Shape: TypeAlias = tuple[int, ...]
Arrays: TypeAlias = tuple[Array, ...]
Initializer: TypeAlias = Callable[[Any, Shape], Array]


class Options:
    """The repr of a description: the call that builds it, without options that have their default value."""

    def __repr__(self) -> str:
        return self.text()

    def text(self, *without: str) -> str:
        """The call that builds this description, without the options named in `without`."""
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
        """Replace options by their checked values; works in ``__post_init__`` of a frozen dataclass."""
        for name, value in options.items():
            object.__setattr__(self, name, value)


class Description(Options):
    """The description of a layer. To add your own, write a subclass; a frozen dataclass if it has options.

    Attributes
    ----------
    kind : str
        The name of the layer. The network adds a number: "Affine" becomes "Affine1".
    takes_floats : bool
        False if the input of the layer is integer ids, as for an embedding.
    id_count : int or None
        The number of ids, for a layer that takes ids from 0 to ``id_count - 1``. None if the layer takes numbers, or
        if any id is valid.
    params, state, masks : tuple of str
        The names of the layer's parameters, of its state (arrays such as running means, which an update changes), and
        of its random masks in training, such as dropout masks. The network adds a number to each name: "W" becomes
        "W1".
    weight_init : callable or None
        For layers with weights: the initializer of the weights, which takes a `numpy.random.Generator` and a shape.
        If `weight_init` is None, the network chooses an initializer that suits the next activation.
    suits : callable or None
        For activations: the initializer of the weights of the layer before the activation.
    has_products : bool
        Whether the layer has matrix products and an option `precision`, as `Dense` has.

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
    has_products: ClassVar[bool] = False

    @property
    def precisions(self) -> set[Precision]:
        """The dtypes of half precision in which products are computed."""
        precision: Precision | None = getattr(self, "precision", None)
        return {precision} if self.has_products and precision else set()

    def with_precision(self, precision: Precision | None) -> "Description":
        """The same layer with products in this precision; the layer itself if it has no products."""
        return replace(self, precision=precision) if self.has_products else self  # type: ignore[type-var]

    def output_shape(self, shape: Shape) -> Shape:
        """The output shape for samples of `shape`, without the batch; ValueError if the layer cannot take `shape`."""
        return shape

    def param_shapes(self, shape: Shape) -> tuple[Shape, ...]:
        """The shapes of the layer's parameters for samples of `shape` (default: the shapes that `init` draws)."""
        return tuple(tuple(array.shape) for array in self.init(generator(0), shape))

    def init(self, rng: Any, shape: Shape) -> Arrays:
        """The initial parameters for samples of `shape`: NumPy arrays, float64."""
        return ()

    def init_state(self, shape: Shape) -> Arrays:
        """The state before the first update: NumPy arrays, float64."""
        return ()

    def draw(self, rng: Any, shape: Shape) -> Arrays:
        """The layer's random masks for a mini-batch of `shape`, with the batch axis: NumPy arrays, bool."""
        return ()

    def least_batch(self, shape: Shape) -> int:
        """The smallest number of samples of `shape` that a mini-batch may have in training."""
        return 1

    def layer(self, arrays: Sequence[Array], training: bool) -> Any:
        """Build the layer object, a `Layer`, for one pass.

        `arrays` are the parameters, the state and the masks of the layer, in this order. Masks are None in inference.
        The layer's `gradients()` must have the order of `params`. The layer's `state` after `forward` must have the
        order of `state`.
        """
        raise NotImplementedError


class LossDescription(Options):
    """The description of a loss. To add your own, write a subclass, a frozen dataclass with the options of the loss.

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
        """Build the loss object, a `Loss`, for one pass. `weight` is the weight of each sample."""
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
    """Raise an error if a layer is not a description, or if a layer that takes ids is not the first of a network."""
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
    """The words of an error message for an object that is not a description."""
    if isinstance(thing, Layer):
        return f"a layer object, {type(thing).__name__}(...) of xpnet.layers"
    if isinstance(thing, type) and issubclass(thing, Description):
        return f"the class nn.{thing.__name__}; call it, as in nn.{thing.__name__}(...)"
    if isinstance(thing, type) and issubclass(thing, Layer):
        return f"the class {thing.__name__} of xpnet.layers"
    return repr(thing)


def check_initializer(where: str, weight_init: Any) -> None:
    """Raise a TypeError if `weight_init` is neither an initializer nor None; `where` begins the message."""
    if isinstance(weight_init, type) or not (weight_init is None or callable(weight_init)):
        got = f"the class {weight_init.__name__}" if isinstance(weight_init, type) else repr(weight_init)
        raise TypeError(f"{where}weight_init must be an initializer, such as nn.He(), got {got}")


def choose_weights(descriptions: Sequence[Description]) -> list[Description]:
    """The descriptions, with a `weight_init` of None replaced by the initializer that suits the next activation."""
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

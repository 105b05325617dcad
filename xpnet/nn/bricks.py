"""Descriptions of layers: what a stack is put together from, with sizes inferred from the input's shape.

A description holds options, never arrays. It tells the shape of its output, draws initial parameters for a shape, and
builds the one-pass layer from parameters.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, TypeAlias

from .._array import Array
from ..layers import (
    Affine,
    AveragePooling,
    BatchNormalization,
    Convolution,
    Dropout,
    Embedding,
    Flatten,
    LayerNormalization,
    MaxPooling,
    Residual,
    Sigmoid,
    Softmax,
    Tanh,
    dropout_mask,
)
from ..layers.base import Layer
from ..layers.windows import output_size, pair
from .initializers import He, Normal, Xavier, Zeros, generator

__all__ = [
    "Activation",
    "AvgPool",
    "BatchNorm",
    "Conv",
    "Dense",
    "Description",
    "Drop",
    "Embed",
    "Flat",
    "LayerNorm",
    "MaxPool",
    "Skip",
]

Shape: TypeAlias = tuple[int, ...]
Arrays: TypeAlias = tuple[Array, ...]
Initializer: TypeAlias = Callable[[Any, Shape], Array]


class Description:
    """What `Sequential` asks of the description of a layer; one's own is a subclass.

    Attributes
    ----------
    kind : str
        The layer's name, to which its number is added: "Affine" becomes "Affine1".
    takes_floats : bool
        False where samples are integers to look up.
    id_count : int or None
        The number of integers that can be looked up, from 0; None where samples are numbers, or any integer will do.
    params, state, masks : tuple of str
        The names of its parameters, of the arrays that it carries from one update to the next, and of the random
        masks that it is given in training. A number is added to each: "W" becomes "W1".

    Examples
    --------
    >>> import numpy as np
    >>> from xpnet import Layer, Sequential
    >>> class Square(Layer):
    ...     def forward(self, x):
    ...         self.x = x
    ...         return x * x
    ...     def backward(self, dout):
    ...         return dout * 2 * self.x
    >>> class SquareOf(Description):
    ...     kind = "Square"
    ...     def layer(self, arrays, training):
    ...         return Square()
    >>> Sequential(SquareOf()).predict({}, np.asarray([3.0]))
    array([9.])
    """

    kind: str
    takes_floats: bool = True
    id_count: int | None = None
    params: tuple[str, ...] = ()
    state: tuple[str, ...] = ()
    masks: tuple[str, ...] = ()

    def output_shape(self, shape: Shape) -> Shape:
        """The shape of an output for samples of `shape`, without the batch; ValueError where it does not fit."""
        return shape

    def param_shapes(self, shape: Shape) -> tuple[Shape, ...]:
        """The shapes of its parameters for samples of `shape`; those that `init` draws, where not overridden."""
        return tuple(tuple(array.shape) for array in self.init(generator(0), shape))

    def init(self, rng: Any, shape: Shape) -> Arrays:
        """The initial parameters for samples of `shape`: NumPy, float64."""
        return ()

    def init_state(self, shape: Shape) -> Arrays:
        """What it carries into the first update: NumPy, float64."""
        return ()

    def draw(self, rng: Any, shape: Shape) -> Arrays:
        """Its masks for a mini-batch of `shape`, the batch included: NumPy, bool."""
        return ()

    def least_batch(self, shape: Shape) -> int:
        """The fewest samples of `shape` that it can be trained with at a time."""
        return 1

    def layer(self, arrays: Sequence[Array], training: bool) -> Any:
        """The one-pass layer with its parameters, state and masks, in this order.

        A subclass of `Layer`. Masks are None in inference. The layer's `gradients()` are in the order of `params`.
        Its `state` after `forward` is in that of `state`.
        """
        raise NotImplementedError


def _check_count(where: str, **counts: Any) -> None:
    for name, count in counts.items():
        if not isinstance(count, int) or isinstance(count, bool) or count < 1:
            raise ValueError(f"{where}: {name} must be an integer from 1, got {count!r}")


@dataclass(frozen=True)
class Dense(Description):
    """Description of an `Affine` layer: every output depends on every input.

    Parameters
    ----------
    units : int
        How many outputs.
    weight_init : callable, optional
        Takes a `numpy.random.Generator` and a shape, returns the initial weights. Where not given, a stack chooses by
        the activation that follows: `Xavier` for Sigmoid, Tanh and Softmax, else `He`. Biases start at 0.

    Examples
    --------
    >>> import numpy as np
    >>> W, b = Dense(50).init(np.random.default_rng(0), (1, 28, 28))
    >>> W.shape, b.shape, Dense(50).output_shape((1, 28, 28))
    ((784, 50), (50,), (50,))
    """

    units: int
    weight_init: Initializer | None = None
    kind = "Affine"
    params = ("W", "b")

    def __post_init__(self) -> None:
        _check_count("Dense", units=self.units)

    def output_shape(self, shape: Shape) -> Shape:
        return (self.units,)

    def param_shapes(self, shape: Shape) -> tuple[Shape, ...]:
        return (math.prod(shape), self.units), (self.units,)

    def init(self, rng: Any, shape: Shape) -> Arrays:
        W, b = self.param_shapes(shape)
        return (self.weight_init or He())(rng, W), Zeros()(rng, b)

    def layer(self, arrays: Sequence[Array], training: bool) -> Affine:
        return Affine(*arrays)


class Activation(Description):
    """Description of a layer without parameters that keeps the shape of its input.

    Parameters
    ----------
    layer_class : type
        Such as `Relu`, `LeakyRelu`, `Sigmoid`, `Tanh`, `Gelu`, `Silu`, `Softmax`.
    **options
        What the class takes, such as ``slope=0.2``.

    Examples
    --------
    >>> from xpnet import LeakyRelu
    >>> Activation(LeakyRelu, slope=0.2)
    Activation(LeakyRelu, slope=0.2)
    """

    def __init__(self, layer_class: Callable[..., Layer], /, **options: Any) -> None:
        self.layer_class, self.options = layer_class, options
        layer_class(**options)  # what it does not take is refused here

    def __repr__(self) -> str:
        options = "".join(f", {name}={value!r}" for name, value in self.options.items())
        return f"Activation({self.kind}{options})"

    @property
    def kind(self) -> str:  # type: ignore[override]
        """The name of the layer class."""
        return self.layer_class.__name__

    def layer(self, arrays: Sequence[Array], training: bool) -> Layer:
        return self.layer_class(**self.options)


def _image(where: str, shape: Shape) -> Shape:
    if len(shape) != 3:
        raise ValueError(f"{where}: expected images of shape (C, H, W), got {shape}")
    return shape


@dataclass(frozen=True)
class Conv(Description):
    """Description of a `Convolution` layer.

    Parameters
    ----------
    filters : int
        How many channels come out.
    size : int or (int, int)
        Height and width of a filter.
    stride, padding, dilation, groups
        As in `Convolution`.
    weight_init : callable, optional
        As in `Dense`; it is given the shape (filters, C / groups, height, width).

    Examples
    --------
    >>> Conv(30, 5).output_shape((1, 28, 28))
    (30, 24, 24)
    """

    filters: int
    size: int | tuple[int, int]
    stride: int | tuple[int, int] = 1
    padding: int | tuple[int, int] = 0
    dilation: int | tuple[int, int] = 1
    groups: int = 1
    weight_init: Initializer | None = None
    kind = "Convolution"
    params = ("W", "b")

    def __post_init__(self) -> None:
        _check_count("Conv", filters=self.filters, groups=self.groups)
        for name, least in (("size", 1), ("stride", 1), ("padding", 0), ("dilation", 1)):
            pair("Conv", name, getattr(self, name), least)
        if self.filters % self.groups:
            raise ValueError(f"Conv: {self.filters} filters do not divide into {self.groups} groups")

    def output_shape(self, shape: Shape) -> Shape:
        channels, *sides = _image("Conv", shape)
        if channels % self.groups:
            raise ValueError(f"Conv: {channels} channels do not divide into {self.groups} groups")
        out = output_size("Conv", sides, self.size, self.stride, self.padding, self.dilation)
        return (self.filters, *out)

    def param_shapes(self, shape: Shape) -> tuple[Shape, ...]:
        return (self.filters, shape[0] // self.groups, *pair("Conv", "size", self.size, 1)), (self.filters,)

    def init(self, rng: Any, shape: Shape) -> Arrays:
        W, b = self.param_shapes(shape)
        return (self.weight_init or He())(rng, W), Zeros()(rng, b)

    def layer(self, arrays: Sequence[Array], training: bool) -> Convolution:
        W, b = arrays
        return Convolution(W, b, stride=self.stride, padding=self.padding, dilation=self.dilation, groups=self.groups)


@dataclass(frozen=True)
class _Pool(Description):
    size: int | tuple[int, int]
    stride: int | tuple[int, int] | None = None
    padding: int | tuple[int, int] = 0
    layer_class: ClassVar[Any]

    def __post_init__(self) -> None:
        self.layer((), False)

    def output_shape(self, shape: Shape) -> Shape:
        channels, *sides = _image(type(self).__name__, shape)
        stride = self.size if self.stride is None else self.stride
        return (channels, *output_size(type(self).__name__, sides, self.size, stride, self.padding, 1))

    def layer(self, arrays: Sequence[Array], training: bool) -> Layer:
        layer: Layer = self.layer_class(self.size, stride=self.stride, padding=self.padding)
        return layer


class MaxPool(_Pool):
    """Description of a `MaxPooling` layer.

    Parameters
    ----------
    size : int or (int, int)
        Height and width of a window.
    stride, padding
        As in `MaxPooling`.

    Examples
    --------
    >>> MaxPool(2).output_shape((30, 24, 24))
    (30, 12, 12)
    """

    kind = "MaxPooling"
    layer_class = MaxPooling


class AvgPool(_Pool):
    """Description of an `AveragePooling` layer.

    Parameters
    ----------
    size : int or (int, int)
        Height and width of a window.
    stride, padding
        As in `AveragePooling`.

    Examples
    --------
    >>> AvgPool(3, stride=2, padding=1).output_shape((16, 28, 28))
    (16, 14, 14)
    """

    kind = "AveragePooling"
    layer_class = AveragePooling


@dataclass(frozen=True)
class BatchNorm(Description):
    """Description of a `BatchNormalization` layer: per feature, or per channel of images.

    Its running mean and variance are the stack's state. In training it takes the mini-batch's own.

    Parameters
    ----------
    momentum, eps : float
        As in `BatchNormalization`.

    Examples
    --------
    >>> import numpy as np
    >>> gamma, beta = BatchNorm().init(np.random.default_rng(0), (30, 24, 24))
    >>> gamma.shape, BatchNorm().output_shape((30, 24, 24))
    ((30,), (30, 24, 24))
    """

    momentum: float = 0.9
    eps: float = 1e-5
    kind = "BatchNormalization"
    params = ("gamma", "beta")
    state = ("mean", "var")

    def param_shapes(self, shape: Shape) -> tuple[Shape, ...]:
        return shape[:1], shape[:1]

    def init(self, rng: Any, shape: Shape) -> Arrays:
        zeros = Zeros()(rng, shape[:1])
        return 1 + zeros, zeros

    def init_state(self, shape: Shape) -> Arrays:
        ones, zeros = self.init(generator(0), shape)
        return zeros, ones

    def least_batch(self, shape: Shape) -> int:
        return 1 if math.prod(shape[1:]) > 1 else 2

    def layer(self, arrays: Sequence[Array], training: bool) -> BatchNormalization:
        return BatchNormalization(*arrays, training=training, momentum=self.momentum, eps=self.eps)


@dataclass(frozen=True)
class LayerNorm(Description):
    """Description of a `LayerNormalization` layer: over all features of a sample.

    Parameters
    ----------
    eps : float
        As in `LayerNormalization`.

    Examples
    --------
    >>> import numpy as np
    >>> gamma, beta = LayerNorm().init(np.random.default_rng(0), (100,))
    >>> gamma.shape
    (100,)
    """

    eps: float = 1e-5
    kind = "LayerNormalization"
    params = ("gamma", "beta")

    def param_shapes(self, shape: Shape) -> tuple[Shape, ...]:
        return shape, shape

    def init(self, rng: Any, shape: Shape) -> Arrays:
        zeros = Zeros()(rng, shape)
        return 1 + zeros, zeros

    def layer(self, arrays: Sequence[Array], training: bool) -> LayerNormalization:
        return LayerNormalization(*arrays, eps=self.eps)


@dataclass(frozen=True)
class Drop(Description):
    """Description of a `Dropout` layer.

    Parameters
    ----------
    rate : float
        The share of units that are dropped in training, from 0 to below 1.

    Examples
    --------
    >>> import numpy as np
    >>> (mask,) = Drop(0.25).draw(np.random.default_rng(0), (100, 50))
    >>> print(mask.shape, mask.mean().round(2))
    (100, 50) 0.75
    """

    rate: float
    kind = "Dropout"
    masks = ("mask",)

    def __post_init__(self) -> None:
        Dropout(self.rate)

    def draw(self, rng: Any, shape: Shape) -> Arrays:
        return (dropout_mask(rng, self.rate, shape),)

    def layer(self, arrays: Sequence[Array], training: bool) -> Dropout:
        return Dropout(self.rate, *arrays)


@dataclass(frozen=True)
class Flat(Description):
    """Description of a `Flatten` layer; `Dense` flattens by itself.

    Examples
    --------
    >>> Flat().output_shape((16, 7, 7))
    (784,)
    """

    kind = "Flatten"

    def output_shape(self, shape: Shape) -> Shape:
        return (math.prod(shape),)

    def layer(self, arrays: Sequence[Array], training: bool) -> Flatten:
        return Flatten()


@dataclass(frozen=True)
class Embed(Description):
    """Description of an `Embedding` layer: a vector for each integer; the first of a stack.

    Parameters
    ----------
    count : int
        How many integers there are, 0 to ``count - 1``.
    size : int
        The length of a vector.
    weight_init : callable, optional
        As in `Dense`; standard normal where not given.

    Examples
    --------
    >>> Embed(1000, 16).output_shape((20,))  # 20 words of a text
    (20, 16)
    """

    count: int
    size: int
    weight_init: Initializer | None = None
    kind = "Embedding"
    takes_floats = False
    params = ("W",)

    @property
    def id_count(self) -> int:  # type: ignore[override]
        """The number of rows."""
        return self.count

    def __post_init__(self) -> None:
        _check_count("Embed", count=self.count, size=self.size)

    def output_shape(self, shape: Shape) -> Shape:
        return (*shape, self.size)

    def param_shapes(self, shape: Shape) -> tuple[Shape, ...]:
        return ((self.count, self.size),)

    def init(self, rng: Any, shape: Shape) -> Arrays:
        return ((self.weight_init or Normal(1.0))(rng, (self.count, self.size)),)

    def layer(self, arrays: Sequence[Array], training: bool) -> Embedding:
        return Embedding(*arrays)


class Skip(Description):
    """Description of a `Residual` connection: layers whose output is added to their input.

    Parameters
    ----------
    *descriptions : Description
        The layers on the way.
    shortcut : sequence of Description, default ()
        Layers on the other way, where the shapes differ, such as ``[Conv(32, 1, stride=2)]``.

    Examples
    --------
    >>> from xpnet import Relu
    >>> block = Skip(Conv(16, 3, padding=1), BatchNorm(), Activation(Relu), Conv(16, 3, padding=1), BatchNorm())
    >>> block.output_shape((16, 14, 14)), block.params
    ((16, 14, 14), ('W', 'b', 'gamma', 'beta', 'W', 'b', 'gamma', 'beta'))
    """

    kind = "Residual"

    def __init__(self, *descriptions: Description, shortcut: Sequence[Description] = ()) -> None:
        self.descriptions, self.shortcut = choose_weights(descriptions), choose_weights(shortcut)
        both = [*self.descriptions, *self.shortcut]
        if not all(d.takes_floats for d in both):
            raise ValueError("Skip: what looks integers up can only be the first of a stack, not in a Skip")
        self.params = tuple(name for d in both for name in d.params)
        self.state = tuple(name for d in both for name in d.state)
        self.masks = tuple(name for d in both for name in d.masks)

    def __repr__(self) -> str:
        inside = ", ".join(map(repr, self.descriptions))
        return f"Skip({inside}{f', shortcut={list(self.shortcut)}' if self.shortcut else ''})"

    def _each(self, shape: Shape) -> list[tuple[Description, Shape]]:
        """Each description with the shape of its input."""
        found = []
        for way in (self.descriptions, self.shortcut):
            here = shape
            for description in way:
                found.append((description, here))
                here = description.output_shape(here)
        return found

    def output_shape(self, shape: Shape) -> Shape:
        out, short = shape, shape
        for description in self.descriptions:
            out = description.output_shape(out)
        for description in self.shortcut:
            short = description.output_shape(short)
        if out != short:
            raise ValueError(
                f"Skip: its layers make {out} of {shape}, and the shortcut {short}, which cannot be added; "
                "give it a shortcut that makes the same shape"
            )
        return out

    def param_shapes(self, shape: Shape) -> tuple[Shape, ...]:
        return tuple(found for d, here in self._each(shape) for found in d.param_shapes(here))

    def init(self, rng: Any, shape: Shape) -> Arrays:
        return tuple(array for d, here in self._each(shape) for array in d.init(rng, here))

    def init_state(self, shape: Shape) -> Arrays:
        return tuple(array for d, here in self._each(shape) for array in d.init_state(here))

    def draw(self, rng: Any, shape: Shape) -> Arrays:
        batch, *sample = shape
        return tuple(mask for d, here in self._each(tuple(sample)) for mask in d.draw(rng, (batch, *here)))

    def least_batch(self, shape: Shape) -> int:
        return max((d.least_batch(here) for d, here in self._each(shape)), default=1)

    def layer(self, arrays: Sequence[Array], training: bool) -> Residual:
        params, state = iter(arrays[: len(self.params)]), iter(arrays[len(self.params) :])
        masks = iter(arrays[len(self.params) + len(self.state) :])

        def build(description: Description) -> Any:
            own = [
                next(source)
                for source, names in (
                    (params, description.params),
                    (state, description.state),
                    (masks, description.masks),
                )
                for _ in names
            ]
            return description.layer(own, training)

        return Residual([build(d) for d in self.descriptions], [build(d) for d in self.shortcut])


def choose_weights(descriptions: Sequence[Description]) -> tuple[Description, ...]:
    """The same descriptions, those without an initializer for their weights given one by what follows them."""
    chosen: list[Description] = []
    following: Initializer = He()
    for description in reversed(descriptions):
        if isinstance(description, Activation):
            following = Xavier() if description.layer_class in (Sigmoid, Tanh, Softmax) else He()
        elif isinstance(description, (Dense, Conv)):
            if description.weight_init is None:
                description = replace(description, weight_init=following)
            following = He()
        chosen.append(description)
    return tuple(reversed(chosen))

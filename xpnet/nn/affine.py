"""Descriptions of fully connected layers and of flattening."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from .. import layers
from .._typing import Array
from .._validation import check_integer
from ..layers.precision import Precision, check_precision
from .base import Arrays, Description, Initializer, Shape, check_initializer
from .initializers import He, Zeros

__all__ = ["Dense", "Flatten"]


@dataclass(frozen=True, repr=False)
class Dense(Description):
    """Description of an `Affine` layer: a fully connected layer.

    Parameters
    ----------
    units : int
        The number of outputs.
    weight_init : callable, optional
        A function that takes a `numpy.random.Generator` and a shape, and returns the initial weights. The default
        depends on the activation that follows: `Xavier` for Sigmoid, Tanh and Softmax, and `He` otherwise. The
        initial biases are 0.
    precision : {"bfloat16", "float16"}, optional
        The dtype of the matrix products, forward and backward. Default: the dtype of the parameters, which all other
        arithmetic has. Not supported with NumPy, Dask and array-api-strict.

    Examples
    --------
    >>> import numpy as np
    >>> from xpnet import nn
    >>> W, b = nn.Dense(50).init(np.random.default_rng(0), (1, 28, 28))
    >>> W.shape, b.shape, nn.Dense(50).output_shape((1, 28, 28))
    ((784, 50), (50,), (50,))
    """

    units: int
    weight_init: Initializer | None = None
    precision: Precision | None = None
    has_products = True
    kind = "Affine"
    params = ("W", "b")

    def __post_init__(self) -> None:
        check_initializer("Dense: ", self.weight_init)
        self._set(units=check_integer("Dense: units", self.units, 1))
        check_precision("Dense", self.precision)

    def output_shape(self, shape: Shape) -> Shape:
        return (self.units,)

    def param_shapes(self, shape: Shape) -> tuple[Shape, ...]:
        return (math.prod(shape), self.units), (self.units,)

    def init(self, rng: Any, shape: Shape) -> Arrays:
        W, b = self.param_shapes(shape)
        return (self.weight_init or He())(rng, W), Zeros()(rng, b)

    def layer(self, arrays: Sequence[Array], training: bool) -> layers.Affine:
        return layers.Affine(*arrays, precision=self.precision)


@dataclass(frozen=True, repr=False)
class Flatten(Description):
    """Description of a `layers.Flatten` layer. It is not needed before `Dense`, which flattens its input itself.

    Examples
    --------
    >>> from xpnet import nn
    >>> nn.Flatten().output_shape((16, 7, 7))
    (784,)
    """

    kind = "Flatten"

    def output_shape(self, shape: Shape) -> Shape:
        return (math.prod(shape),)

    def layer(self, arrays: Sequence[Array], training: bool) -> layers.Flatten:
        return layers.Flatten()

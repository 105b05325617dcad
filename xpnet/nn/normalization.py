"""Descriptions of batch normalization and layer normalization."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from .._typing import Array
from .._validation import check_number
from ..layers import BatchNormalization, LayerNormalization
from .base import Arrays, Description, Shape
from .initializers import Zeros, generator

__all__ = ["BatchNorm", "LayerNorm"]


@dataclass(frozen=True, repr=False)
class BatchNorm(Description):
    """Description of a `BatchNormalization` layer: it normalizes each feature, or each channel of images.

    The running mean and variance are state of the network. In training, the layer uses the mean and variance of the
    mini-batch.

    Parameters
    ----------
    momentum, eps : float
        As in `BatchNormalization`.

    Examples
    --------
    >>> import numpy as np
    >>> from xpnet import nn
    >>> gamma, beta = nn.BatchNorm().init(np.random.default_rng(0), (30, 24, 24))
    >>> gamma.shape, nn.BatchNorm().output_shape((30, 24, 24))
    ((30,), (30, 24, 24))
    """

    momentum: float = 0.9
    eps: float = 1e-5
    kind = "BatchNormalization"
    params = ("gamma", "beta")
    state = ("mean", "var")

    def __post_init__(self) -> None:
        self._set(
            momentum=check_number("BatchNorm: momentum", self.momentum, "from 0 to 1"),
            eps=check_number("BatchNorm: eps", self.eps, "positive and finite"),
        )

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


@dataclass(frozen=True, repr=False)
class LayerNorm(Description):
    """Description of a `LayerNormalization` layer: it normalizes over all features of a sample.

    Parameters
    ----------
    eps : float
        As in `LayerNormalization`.

    Examples
    --------
    >>> import numpy as np
    >>> from xpnet import nn
    >>> gamma, beta = nn.LayerNorm().init(np.random.default_rng(0), (100,))
    >>> gamma.shape
    (100,)
    """

    eps: float = 1e-5
    kind = "LayerNormalization"
    params = ("gamma", "beta")

    def __post_init__(self) -> None:
        self._set(eps=check_number("LayerNorm: eps", self.eps, "positive and finite"))

    def param_shapes(self, shape: Shape) -> tuple[Shape, ...]:
        return shape, shape

    def init(self, rng: Any, shape: Shape) -> Arrays:
        zeros = Zeros()(rng, shape)
        return 1 + zeros, zeros

    def layer(self, arrays: Sequence[Array], training: bool) -> LayerNormalization:
        return LayerNormalization(*arrays, eps=self.eps)

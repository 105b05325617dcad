"""Description of dropout."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from .. import layers
from .._typing import Array
from .._validation import check_number
from .base import Arrays, Description, Shape

__all__ = ["Dropout"]


@dataclass(frozen=True, repr=False)
class Dropout(Description):
    """Description of a `layers.Dropout` layer.

    Parameters
    ----------
    rate : float
        The fraction of units that are dropped in training, from 0 to below 1.

    Examples
    --------
    >>> import numpy as np
    >>> from xpnet import nn
    >>> (mask,) = nn.Dropout(0.25).draw(np.random.default_rng(0), (100, 50))
    >>> print(mask.shape, mask.mean().round(2))
    (100, 50) 0.75
    """

    rate: float
    kind = "Dropout"
    masks = ("mask",)

    def __post_init__(self) -> None:
        self._set(rate=check_number("Dropout: rate", self.rate, "from 0 to below 1"))

    def draw(self, rng: Any, shape: Shape) -> Arrays:
        return (layers.dropout_mask(rng, self.rate, shape),)

    def layer(self, arrays: Sequence[Array], training: bool) -> layers.Dropout:
        return layers.Dropout(self.rate, *arrays)

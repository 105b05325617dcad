"""Description of an embedding."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from .. import layers
from .._typing import Array
from .._validation import check_integer
from .base import Arrays, Description, Initializer, Shape, check_initializer
from .initializers import Normal

__all__ = ["Embedding"]


@dataclass(frozen=True, repr=False)
class Embedding(Description):
    """Description of a `layers.Embedding` layer: a vector for each id. It must be the first layer of a network.

    Parameters
    ----------
    count : int
        The number of ids, 0 to ``count - 1``.
    size : int
        The length of a vector.
    weight_init : callable, default Normal(1.0)
        As in `Dense`.

    Examples
    --------
    >>> from xpnet import nn
    >>> nn.Embedding(1000, 16).output_shape((20,))  # 20 words of a text
    (20, 16)
    """

    count: int
    size: int
    weight_init: Initializer = Normal(1.0)
    kind = "Embedding"
    takes_floats = False
    params = ("W",)

    @property
    def id_count(self) -> int:  # type: ignore[override]
        """The number of ids."""
        return self.count

    def __post_init__(self) -> None:
        check_initializer("Embedding: ", self.weight_init)
        self._set(
            count=check_integer("Embedding: count", self.count, 1),
            size=check_integer("Embedding: size", self.size, 1),
        )

    def output_shape(self, shape: Shape) -> Shape:
        return (*shape, self.size)

    def param_shapes(self, shape: Shape) -> tuple[Shape, ...]:
        return ((self.count, self.size),)

    def init(self, rng: Any, shape: Shape) -> Arrays:
        return (self.weight_init(rng, (self.count, self.size)),)

    def layer(self, arrays: Sequence[Array], training: bool) -> layers.Embedding:
        return layers.Embedding(*arrays)

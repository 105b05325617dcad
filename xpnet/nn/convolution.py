"""Description of a convolution over images."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from .._typing import Array
from .._validation import check_integer
from ..layers import Convolution
from ..layers.precision import Precision, check_precision
from ..layers.windows import output_size, pair
from .base import Arrays, Description, Initializer, Shape, check_image, check_initializer, check_sides
from .initializers import He, Zeros

__all__ = ["Conv2d"]


@dataclass(frozen=True, repr=False)
class Conv2d(Description):
    """Description of a `Convolution` layer.

    Parameters
    ----------
    filters : int
        The number of output channels.
    size : int or (int, int)
        Height and width of a filter.
    stride, padding, dilation, groups
        As in `Convolution`.
    weight_init : callable, optional
        As in `Dense`. The shape that it takes is (filters, C / groups, height, width).
    precision : {"bfloat16", "float16"}, optional
        As in `Dense`.

    Examples
    --------
    >>> from xpnet import nn
    >>> nn.Conv2d(30, 5).output_shape((1, 28, 28))
    (30, 24, 24)
    """

    filters: int
    size: int | tuple[int, int]
    stride: int | tuple[int, int] = 1
    padding: int | tuple[int, int] = 0
    dilation: int | tuple[int, int] = 1
    groups: int = 1
    weight_init: Initializer | None = None
    precision: Precision | None = None
    has_products = True
    kind = "Convolution"
    params = ("W", "b")

    def __post_init__(self) -> None:
        check_initializer("Conv2d: ", self.weight_init)
        self._set(
            filters=check_integer("Conv2d: filters", self.filters, 1),
            size=check_sides("Conv2d: size", self.size, 1),
            stride=check_sides("Conv2d: stride", self.stride, 1),
            padding=check_sides("Conv2d: padding", self.padding, 0),
            dilation=check_sides("Conv2d: dilation", self.dilation, 1),
            groups=check_integer("Conv2d: groups", self.groups, 1),
            precision=check_precision("Conv2d", self.precision),
        )
        if self.filters % self.groups:
            raise ValueError(f"Conv2d: {self.filters} filters do not divide into {self.groups} groups")

    def output_shape(self, shape: Shape) -> Shape:
        channels, *sides = check_image("Conv2d", shape)
        if channels % self.groups:
            raise ValueError(f"Conv2d: {channels} channels do not divide into {self.groups} groups")
        out = output_size("Conv2d", sides, self.size, self.stride, self.padding, self.dilation)
        return (self.filters, *out)

    def param_shapes(self, shape: Shape) -> tuple[Shape, ...]:
        return (self.filters, shape[0] // self.groups, *pair("Conv2d", "size", self.size, 1)), (self.filters,)

    def init(self, rng: Any, shape: Shape) -> Arrays:
        W, b = self.param_shapes(shape)
        return (self.weight_init or He())(rng, W), Zeros()(rng, b)

    def layer(self, arrays: Sequence[Array], training: bool) -> Convolution:
        W, b = arrays
        names = ("stride", "padding", "dilation", "groups", "precision")
        return Convolution(W, b, **{name: getattr(self, name) for name in names})

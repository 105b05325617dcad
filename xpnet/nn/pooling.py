"""Descriptions of pooling over images."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

from .._typing import Array
from ..layers import AveragePooling, MaxPooling
from ..layers.base import Layer
from ..layers.windows import output_size
from .base import Description, Shape, check_image, check_sides

__all__ = ["AvgPool2d", "MaxPool2d"]


@dataclass(frozen=True, repr=False)
class _Pool(Description):
    size: int | tuple[int, int]
    stride: int | tuple[int, int] | None = None
    padding: int | tuple[int, int] = 0
    layer_class: ClassVar[Callable[..., Layer]]

    def __post_init__(self) -> None:
        where = type(self).__name__
        self._set(
            size=check_sides(f"{where}: size", self.size, 1),
            stride=None if self.stride is None else check_sides(f"{where}: stride", self.stride, 1),
            padding=check_sides(f"{where}: padding", self.padding, 0),
        )
        self.layer((), False)  # refuses a padding of more than half of the window

    def output_shape(self, shape: Shape) -> Shape:
        where = type(self).__name__
        channels, *sides = check_image(where, shape)
        stride = self.size if self.stride is None else self.stride
        return (channels, *output_size(where, sides, self.size, stride, self.padding, 1))

    def layer(self, arrays: Sequence[Array], training: bool) -> Layer:
        return type(self).layer_class(self.size, stride=self.stride, padding=self.padding)


@dataclass(frozen=True, repr=False)
class MaxPool2d(_Pool):
    """Description of a `MaxPooling` layer.

    Parameters
    ----------
    size : int or (int, int)
        Height and width of a window.
    stride, padding
        As in `MaxPooling`.

    Examples
    --------
    >>> from xpnet import nn
    >>> nn.MaxPool2d(2).output_shape((30, 24, 24))
    (30, 12, 12)
    """

    kind = "MaxPooling"
    layer_class = MaxPooling


@dataclass(frozen=True, repr=False)
class AvgPool2d(_Pool):
    """Description of an `AveragePooling` layer.

    Parameters
    ----------
    size : int or (int, int)
        Height and width of a window.
    stride, padding
        As in `AveragePooling`.

    Examples
    --------
    >>> from xpnet import nn
    >>> nn.AvgPool2d(3, stride=2, padding=1).output_shape((16, 28, 28))
    (16, 14, 14)
    """

    kind = "AveragePooling"
    layer_class = AveragePooling

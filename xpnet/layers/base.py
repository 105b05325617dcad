"""What all layers and losses share."""

from collections.abc import Callable
from typing import Any

from ..backends import on_arrays_device

__all__ = ["Layer"]


class Layer:
    """A layer of a network. A layer object is used for one forward and one backward pass, then discarded.

    A subclass defines `forward` and `backward`. Both run on the device of the layer's arrays, whichever is current.
    """

    forward: Callable[..., Any]
    """From the input to the output."""
    backward: Callable[..., Any]
    """From the derivative of the loss by the output to the derivative by the input."""

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        for name in ("forward", "backward", "backward_params"):
            if name in vars(cls):
                setattr(cls, name, on_arrays_device(vars(cls)[name]))

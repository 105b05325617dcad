"""Layers with their backpropagation written out. A layer object is the record of one pass.

Build it from its parameters, call `forward`, call `backward` with the derivative of the loss by the layer's
output, read the derivatives by its parameters (`dW`, `db`), let it go. It is cheap to build, holds nothing
between passes, and never writes into an argument.

In the derivations L is the loss, ``dout`` is dL/d(output), and what `backward` returns is dL/d(input).
"""

from typing import Protocol

from .._array import Array
from .activations import Relu, Sigmoid
from .affine import Affine
from .arithmetic import AddLayer, MulLayer
from .losses import HuberLoss, IdentityWithLoss, SigmoidWithLoss, SoftmaxWithLoss

__all__ = [
    "AddLayer",
    "Affine",
    "HuberLoss",
    "IdentityWithLoss",
    "MulLayer",
    "Relu",
    "Sigmoid",
    "SigmoidWithLoss",
    "SoftmaxWithLoss",
]


class Layer(Protocol):
    """What a network asks of a layer between its input and its loss."""

    def forward(self, x: Array, /) -> Array: ...

    def backward(self, dout: Array, /) -> Array: ...

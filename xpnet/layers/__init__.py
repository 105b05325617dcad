"""Layers with their backpropagation written out. A layer object is the record of one pass.

Build it from its parameters, call `forward`, call `backward` with the derivative of the loss by the layer's
output, read the derivatives by its parameters (`dW`, `db`), let it go. It is cheap to build, holds nothing
between passes, and never writes into an argument.

In the derivations L is the loss, ``dout`` is dL/d(output), and what `backward` returns is dL/d(input).
"""

from .activations import Gelu, LeakyRelu, Relu, Sigmoid, Silu, Softmax, Tanh
from .affine import Affine, Flatten
from .arithmetic import AddLayer, MulLayer
from .base import Layer, Loss
from .convolution import Convolution
from .dropout import Dropout, dropout_mask
from .embedding import Embedding
from .losses import ExponentialWithLoss, HuberLoss, IdentityWithLoss, SigmoidWithLoss, SoftmaxWithLoss
from .normalization import BatchNormalization, LayerNormalization
from .pooling import AveragePooling, MaxPooling
from .residual import Residual

__all__ = [
    "AddLayer",
    "Affine",
    "AveragePooling",
    "BatchNormalization",
    "Convolution",
    "Dropout",
    "Embedding",
    "ExponentialWithLoss",
    "Flatten",
    "Gelu",
    "HuberLoss",
    "IdentityWithLoss",
    "Layer",
    "LayerNormalization",
    "LeakyRelu",
    "Loss",
    "MaxPooling",
    "MulLayer",
    "Relu",
    "Residual",
    "Sigmoid",
    "SigmoidWithLoss",
    "Silu",
    "Softmax",
    "SoftmaxWithLoss",
    "Tanh",
    "dropout_mask",
]

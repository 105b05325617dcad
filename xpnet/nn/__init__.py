"""Networks: descriptions of layers and of losses, `Sequential` that puts them together, and networks of them.

A description has the field's name, such as ``nn.Dense(50)``. It builds the one-pass layer, `xpnet.layers.Affine`.
"""

from .activations import ActivationDescription, Gelu, LeakyRelu, Relu, Sigmoid, Silu, Softmax, Tanh
from .affine import Dense, Flatten
from .base import Description, LossDescription
from .convolution import Conv2d
from .dropout import Dropout
from .embedding import Embedding
from .initializers import He, Normal, Orthogonal, Xavier, Zeros
from .losses import BinaryCrossEntropy, CrossEntropy, Huber, MeanSquaredError, Poisson
from .networks import MultiLayerNet, Network, SimpleNet, TwoLayerNet
from .normalization import BatchNorm, LayerNorm
from .pooling import AvgPool2d, MaxPool2d
from .residual import Residual
from .sequential import Sequential

__all__ = [
    "ActivationDescription",
    "AvgPool2d",
    "BatchNorm",
    "BinaryCrossEntropy",
    "Conv2d",
    "CrossEntropy",
    "Dense",
    "Description",
    "Dropout",
    "Embedding",
    "Flatten",
    "Gelu",
    "He",
    "Huber",
    "LayerNorm",
    "LeakyRelu",
    "LossDescription",
    "MaxPool2d",
    "MeanSquaredError",
    "MultiLayerNet",
    "Network",
    "Normal",
    "Orthogonal",
    "Poisson",
    "Relu",
    "Residual",
    "Sequential",
    "Sigmoid",
    "Silu",
    "SimpleNet",
    "Softmax",
    "Tanh",
    "TwoLayerNet",
    "Xavier",
    "Zeros",
]

_OTHERS = {
    "AvgPool2d": "AvgPool AvgPool2D AveragePooling AveragePooling2D",
    "BatchNorm": "BatchNorm1d BatchNorm2d BatchNormalization",
    "BinaryCrossEntropy": "BCEWithLogitsLoss BinaryCrossentropy SigmoidWithLoss",
    "Conv2d": "Conv Conv2D Convolution",
    "CrossEntropy": "CrossEntropyLoss CategoricalCrossentropy SparseCategoricalCrossentropy SoftmaxWithLoss",
    "Dense": "Affine Linear",
    "Dropout": "Drop",
    "Embedding": "Embed",
    "Flatten": "Flat",
    "Gelu": "GELU",
    "Huber": "HuberLoss SmoothL1Loss",
    "LayerNorm": "LayerNormalization",
    "LeakyRelu": "LeakyReLU",
    "MaxPool2d": "MaxPool MaxPool2D MaxPooling MaxPooling2D",
    "MeanSquaredError": "MSELoss IdentityWithLoss",
    "Poisson": "PoissonNLLLoss ExponentialWithLoss",
    "Relu": "ReLU",
    "Relu, nn.Tanh and so on": "Activation",
    "Residual": "Skip",
    "Silu": "SiLU Swish",
}
"""Our names, and what other libraries and the book call the same."""


def __getattr__(name: str) -> object:
    for ours, others in _OTHERS.items():
        if name in others.split():
            raise AttributeError(f"xpnet.nn has no {name}; xpnet calls it nn.{ours}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

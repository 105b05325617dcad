"""Networks: descriptions of layers and of losses, `Sequential` that puts them together, and networks of them.

A description, such as ``nn.Dense(50)``, has the name that PyTorch and Keras users know. For each pass, it builds a
layer object under the book's name, such as `xpnet.layers.Affine`.
"""

from . import (
    activations,
    affine,
    base,
    convolution,
    dropout,
    embedding,
    initializers,
    losses,
    networks,
    normalization,
    pooling,
    residual,
    sequential,
)
from .activations import *
from .affine import *
from .base import *
from .convolution import *
from .dropout import *
from .embedding import *
from .initializers import *
from .losses import *
from .networks import *
from .normalization import *
from .pooling import *
from .residual import *
from .sequential import *

__all__: list[str] = []
__all__ += activations.__all__
__all__ += affine.__all__
__all__ += base.__all__
__all__ += convolution.__all__
__all__ += dropout.__all__
__all__ += embedding.__all__
__all__ += initializers.__all__
__all__ += losses.__all__
__all__ += networks.__all__
__all__ += normalization.__all__
__all__ += pooling.__all__
__all__ += residual.__all__
__all__ += sequential.__all__

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
"""The names in xpnet, and the names of the same layers and losses in other libraries and in the book."""


def __getattr__(name: str) -> object:
    for ours, others in _OTHERS.items():
        if name in others.split():
            raise AttributeError(f"xpnet.nn has no {name}; xpnet calls it nn.{ours}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)

"""Neural-network building blocks with hand-written backpropagation, on any array-API library.

After chapters 4 to 7 of "Deep Learning from Scratch" (Saito, 2016). Functions, layers, networks and training take
the namespace from their arrays: the same code runs on NumPy, CuPy, PyTorch, JAX, Dask and array-api-strict.

>>> import xpnet
>>> import numpy as np
>>> xpnet.softmax(np.asarray([0.3, 2.9, 4.0])).round(3)
array([0.018, 0.245, 0.737])
"""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # a name is loaded when it is first used; the same names stand below
    from .backends import BACKENDS, Backend, BackendUnavailable, get_backend, to_numpy
    from .bricks import (
        Activation,
        AvgPool,
        BatchNorm,
        Conv,
        Dense,
        Description,
        Drop,
        Embed,
        Flat,
        LayerNorm,
        MaxPool,
        Skip,
    )
    from .checking import GradientCheck, GradientError, check_gradients, check_layer
    from .checkpoints import load_network, save_network
    from .datasets import Shards, load_mnist, read_idx, scale_images
    from .evaluation import Evaluation, evaluate
    from .functions import (
        accuracy,
        confusion_matrix,
        cross_entropy_error,
        identity_function,
        log_softmax,
        one_hot,
        relu,
        relu_grad,
        sigmoid,
        sigmoid_grad,
        softmax,
        softmax_cross_entropy,
        step_function,
        sum_squared_error,
    )
    from .gradient import gradient_descent, numerical_diff, numerical_gradient, numerical_gradient_rows
    from .history import History
    from .initializers import He, Normal, Orthogonal, Xavier, Zeros
    from .layers import (
        AddLayer,
        Affine,
        AveragePooling,
        BatchNormalization,
        Convolution,
        Dropout,
        Embedding,
        ExponentialWithLoss,
        Flatten,
        Gelu,
        HuberLoss,
        IdentityWithLoss,
        Layer,
        LayerNormalization,
        LeakyRelu,
        Loss,
        MaxPooling,
        MulLayer,
        Relu,
        Residual,
        Sigmoid,
        SigmoidWithLoss,
        Silu,
        Softmax,
        SoftmaxWithLoss,
        Tanh,
    )
    from .networks import MultiLayerNet, Network, SimpleNet, TwoLayerNet
    from .optimizers import SGD, AdaGrad, Adam, AdamW, Momentum, Nesterov, Optimizer, RMSProp
    from .schedules import CosineDecay, StepDecay, WarmUp
    from .sequential import Sequential
    from .training import Diverged, Result, fit, train

__version__ = "0.1.0"

__all__ = [
    "BACKENDS",
    "SGD",
    "Activation",
    "AdaGrad",
    "Adam",
    "AdamW",
    "AddLayer",
    "Affine",
    "AveragePooling",
    "AvgPool",
    "Backend",
    "BackendUnavailable",
    "BatchNorm",
    "BatchNormalization",
    "Conv",
    "Convolution",
    "CosineDecay",
    "Dense",
    "Description",
    "Diverged",
    "Drop",
    "Dropout",
    "Embed",
    "Embedding",
    "Evaluation",
    "ExponentialWithLoss",
    "Flat",
    "Flatten",
    "Gelu",
    "GradientCheck",
    "GradientError",
    "He",
    "History",
    "HuberLoss",
    "IdentityWithLoss",
    "Layer",
    "LayerNorm",
    "LayerNormalization",
    "LeakyRelu",
    "Loss",
    "MaxPool",
    "MaxPooling",
    "Momentum",
    "MulLayer",
    "MultiLayerNet",
    "Nesterov",
    "Network",
    "Normal",
    "Optimizer",
    "Orthogonal",
    "RMSProp",
    "Relu",
    "Residual",
    "Result",
    "Sequential",
    "Shards",
    "Sigmoid",
    "SigmoidWithLoss",
    "Silu",
    "SimpleNet",
    "Skip",
    "Softmax",
    "SoftmaxWithLoss",
    "StepDecay",
    "Tanh",
    "TwoLayerNet",
    "WarmUp",
    "Xavier",
    "Zeros",
    "accuracy",
    "check_gradients",
    "check_layer",
    "confusion_matrix",
    "cross_entropy_error",
    "evaluate",
    "fit",
    "get_backend",
    "gradient_descent",
    "identity_function",
    "load_mnist",
    "load_network",
    "log_softmax",
    "numerical_diff",
    "numerical_gradient",
    "numerical_gradient_rows",
    "one_hot",
    "read_idx",
    "relu",
    "relu_grad",
    "save_network",
    "scale_images",
    "sigmoid",
    "sigmoid_grad",
    "softmax",
    "softmax_cross_entropy",
    "step_function",
    "sum_squared_error",
    "to_numpy",
    "train",
]

_HOMES = {
    "backends": "BACKENDS Backend BackendUnavailable get_backend to_numpy",
    "bricks": "Activation AvgPool BatchNorm Conv Dense Description Drop Embed Flat LayerNorm MaxPool Skip",
    "checking": "GradientCheck GradientError check_gradients check_layer",
    "checkpoints": "load_network save_network",
    "datasets": "Shards load_mnist read_idx scale_images",
    "evaluation": "Evaluation evaluate",
    "functions": "accuracy confusion_matrix cross_entropy_error identity_function log_softmax one_hot relu "
    "relu_grad sigmoid sigmoid_grad softmax softmax_cross_entropy step_function sum_squared_error",
    "gradient": "gradient_descent numerical_diff numerical_gradient numerical_gradient_rows",
    "history": "History",
    "initializers": "He Normal Orthogonal Xavier Zeros",
    "layers": "AddLayer Affine AveragePooling BatchNormalization Convolution Dropout Embedding "
    "ExponentialWithLoss Flatten Gelu HuberLoss IdentityWithLoss Layer LayerNormalization LeakyRelu Loss MaxPooling "
    "MulLayer "
    "Relu Residual Sigmoid SigmoidWithLoss Silu Softmax SoftmaxWithLoss Tanh",
    "networks": "MultiLayerNet Network SimpleNet TwoLayerNet",
    "optimizers": "SGD AdaGrad Adam AdamW Momentum Nesterov Optimizer RMSProp",
    "schedules": "CosineDecay StepDecay WarmUp",
    "sequential": "Sequential",
    "training": "Diverged Result fit train",
}

_HOME = {name: module for module, names in _HOMES.items() for name in names.split()}


def __getattr__(name: str) -> object:
    """Load the module that holds a name when it is first used: importing xpnet costs next to nothing."""
    if name in _HOMES:
        return importlib.import_module(f"{__name__}.{name}")
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, *_HOMES})

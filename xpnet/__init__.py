"""Neural networks with hand-written backpropagation, on any array-API library.

The package follows chapters 4 to 7 of "Deep Learning from Scratch" (Saito, 2016). Functions, layers, networks and
training take the namespace from their arrays. So the same code runs on NumPy, CuPy, PyTorch, JAX, Dask and
array-api-strict.

>>> import xpnet
>>> import numpy as np
>>> xpnet.softmax(np.asarray([0.3, 2.9, 4.0])).round(3)
array([0.018, 0.245, 0.737])
"""

import ast
import importlib
import pkgutil
from typing import Any

__version__ = "0.1.0"

_ROOMS = set(
    "backends checking datasets functions layers nn numerical optim plotting report tracing training".split()
)

_WAYS = {"conformance", "jax", "onnx", "sklearn", "torch"}  # public, too, but loaded only by an import of their own

_IMPORTS = [
    (node.module, alias.name)
    for node in ast.parse(pkgutil.get_data(__name__, "__init__.pyi") or b"").body  # it may be in a zip file
    if isinstance(node, ast.ImportFrom)
    for alias in node.names
]
_HOME = {name: module for module, name in _IMPORTS if name != "*"}
_WHOLE = [module for module, name in _IMPORTS if name == "*"]  # modules whose public names are all names of `xpnet`

_OF_THE_BOOK = {
    "DeepConvNet": "describe it as a Sequential of nn.Conv2d, nn.MaxPool2d, nn.Dense and so on",
    "MultiLayerNetExtend": "call MultiLayerNet, with batch_norm=True and dropout=0.5",
    "Pooling": "call MaxPooling((pool_h, pool_w), stride=2)",
    "SimpleConvNet": "describe it as a Sequential of nn.Conv2d, nn.Relu, nn.MaxPool2d and nn.Dense",
    "Trainer": "call fit(network, (x_train, t_train), (x_test, t_test), optimizer)",
    "col2im": "Convolution and MaxPooling take images, and need no such function",
    "im2col": "Convolution and MaxPooling take images, and need no such function",
    "mean_squared_error": "the book's function is half the sum of the squared errors, not their mean; call "
    "sum_squared_error",
    "shuffle_dataset": "fit shuffles the samples; validation=0.2 keeps a part of them for validation",
    "simpleNet": "call SimpleNet",
    "smooth_curve": "History.plot draws the curves of a run",
    "softmax_loss": "call softmax_cross_entropy",
}
"""Names of the book that xpnet does not have, and what to use instead."""


def _load(module: str | None) -> Any:
    return importlib.import_module(f"{__name__}.{module}")


def __getattr__(name: str) -> Any:
    """Load the module that holds a name when the name is first used, so that ``import xpnet`` is fast."""
    if name in _ROOMS:
        return _load(name)
    if name == "__all__":
        value: Any = sorted({*_HOME, *(name for module in _WHOLE for name in _load(module).__all__)})
    elif not name.startswith("_") and (home := _home(name)):
        value = getattr(_load(home), name)
    elif name in _OF_THE_BOOK:
        raise AttributeError(f"xpnet has no {name}; {_OF_THE_BOOK[name]}")
    elif not name.startswith("_") and name in _load("nn").__all__:
        raise AttributeError(f"xpnet has no {name} at its root; write nn.{name}, after: from xpnet import nn")
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value


def _home(name: str) -> str | None:
    """The module of a public name; None if there is no such name."""
    return _HOME.get(name) or next((module for module in _WHOLE if name in _load(module).__all__), None)


def __dir__() -> list[str]:
    return sorted({*__getattr__("__all__"), *_ROOMS, *(_WAYS & globals().keys()), "__version__"})

"""Neural-network building blocks with hand-written backpropagation, on any array-API library.

After chapters 4 to 7 of "Deep Learning from Scratch" (Saito, 2016). Functions, layers, networks and training take
the namespace from their arrays: the same code runs on NumPy, CuPy, PyTorch, JAX, Dask and array-api-strict.

>>> import xpnet
>>> import numpy as np
>>> xpnet.softmax(np.asarray([0.3, 2.9, 4.0])).round(3)
array([0.018, 0.245, 0.737])
"""

import ast
import importlib
from pathlib import Path

__version__ = "0.1.0"

_HOME = {
    alias.name: node.module
    for node in ast.parse(Path(__file__).with_suffix(".pyi").read_text(encoding="utf-8")).body
    if isinstance(node, ast.ImportFrom)
    for alias in node.names
}

__all__ = sorted(_HOME)

_ROOMS = {
    "backends",
    "checking",
    "datasets",
    "functions",
    "layers",
    "nn",
    "numerical",
    "optim",
    "plotting",
    "training",
}


def __getattr__(name: str) -> object:
    """Load the module that holds a name when the name is first used, so that ``import xpnet`` is fast."""
    if name in _ROOMS:
        return importlib.import_module(f"{__name__}.{name}")
    if name not in _HOME:
        if not name.startswith("_") and name in importlib.import_module(f"{__name__}.nn").__all__:
            raise AttributeError(f"xpnet has no {name} at its root; write nn.{name}, after: from xpnet import nn")
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, *_ROOMS})

"""Datasets by name: after a loader is registered, `train` and the command line load the dataset by its name."""

import importlib
import os
import pkgutil
from collections.abc import Callable
from functools import partial
from typing import Any, TypeAlias, TypeVar, overload

from .mnist import load_mnist

__all__ = ["load", "names", "register"]

Loader: TypeAlias = Callable[[], Any]
L = TypeVar("L", bound=Loader)

_LOADERS: dict[str, Loader] = {}


@overload
def register(name: str) -> Callable[[L], L]: ...
@overload
def register(name: str, loader: L) -> L: ...
def register(name: str, loader: L | None = None) -> Any:
    """Give a dataset a name, so that ``train(name)`` and ``xpnet train --data NAME`` load it.

    Parameters
    ----------
    name : str
        The name of the dataset.
    loader : callable, optional
        ``loader()`` returns ``(x_train, t_train)`` or ``((x_train, t_train), (x_test, t_test))``, as NumPy arrays or
        `Shards`. Samples are along the first axis, and an image has shape (C, H, W). `train` scales integer images to
        numbers of 0 to 1. Without the argument `loader`, `register` is a decorator.

    Raises
    ------
    ValueError
        If another dataset has that name.

    Examples
    --------
    >>> import numpy as np
    >>> import xpnet
    >>> from xpnet import datasets
    >>> @datasets.register("corners")
    ... def load_corners():
    ...     return np.eye(4, dtype="float32"), np.asarray([0, 1, 1, 0])
    >>> len(xpnet.train("corners", epochs=3, progress=False).history.loss)
    3
    """
    if loader is None:
        return lambda loader: register(name, loader)
    if not isinstance(name, str) or not name or os.sep in name:
        raise ValueError(f"the name of a dataset must be text without {os.sep}, got {name!r}")
    if name in _LOADERS and _LOADERS[name] is not loader:
        raise ValueError(f"dataset {name!r} is registered already; choose another name")
    _LOADERS[name] = loader
    return loader


def names() -> list[str]:
    """The names of all registered datasets.

    Examples
    --------
    >>> from xpnet import datasets
    >>> "mnist" in datasets.names()
    True
    """
    _import_all()
    return sorted(_LOADERS)


def _import_all() -> None:
    """Import the modules of this folder, each of which may register datasets."""
    for module in pkgutil.iter_modules([os.path.dirname(__file__)]):
        importlib.import_module(f"{__package__}.{module.name}")


def load(dataset: str | os.PathLike[str]) -> Any:
    """Load a dataset by its name, or from a folder with the four files of MNIST's format.

    Raises
    ------
    ValueError
        If no dataset has this name, and there is no such folder.

    Examples
    --------
    >>> from xpnet import datasets
    >>> (x, t), _ = datasets.load("mnist")
    >>> x.shape, x.dtype
    ((60000, 1, 28, 28), dtype('uint8'))
    """
    name = os.fspath(dataset)
    if not name:
        raise ValueError(
            f"dataset must be a name, such as 'mnist', or a folder with a dataset in MNIST's format; got {name!r}"
        )
    if name not in _LOADERS:
        _import_all()
    if name in _LOADERS:
        return _LOADERS[name]()
    if not os.path.isdir(dataset):
        raise ValueError(
            f"dataset {name!r} is neither a known dataset nor a folder; choose one of {', '.join(names())}, or name "
            "a folder with a dataset in MNIST's format"
        )
    return load_mnist(dataset, normalize=False, flatten=False)


register("mnist", partial(load_mnist, normalize=False, flatten=False))

"""What is done alike with the arrays of every library."""

from collections.abc import Callable
from functools import wraps
from typing import Any

import numpy as np

from .._typing import Array
from .base import HostArray
from .cupy import on_arrays_device
from .registry import backend_of

__all__ = ["elementwise", "read_all", "to_numpy"]


def elementwise(function: Callable[..., Any]) -> Callable[..., Any]:
    """Mark a function whose results depend, element by element, on the same element of its arguments alone.

    CuPy runs such a function as one kernel; unmarked, each operation in it would be one. The first argument is an
    array. The others are arrays that broadcast with it, or Python numbers. The results are new arrays, all of one
    shape. Use a number with arrays alone, as in ``x * rate``: CuPy's kernel computes ``1 - rate`` in half precision.

    A method can be marked too. It becomes one kernel where its caller asks for it, by `Backend.fuse`.

    Examples
    --------
    >>> @elementwise
    ... def leaning(x, slope):
    ...     return np.where(x > 0, x, slope * x)
    >>> leaning(np.asarray([2.0, -2.0]), 0.5)
    array([ 2., -1.])
    """
    function.elementwise = True  # type: ignore[attr-defined]
    forms: dict[type, Callable[..., Any]] = {}

    @wraps(function)
    def run(*args: Any) -> Any:
        try:
            form = forms[type(args[0])]
        except KeyError:
            form = forms[type(args[0])] = backend_of(args[0]).fuse(function)
        return form(*args)

    return run


@on_arrays_device
def read_all(values: list[Array]) -> HostArray:
    """Many arrays of shape () or (n,) as one NumPy array, with as few transfers as the library allows."""
    return backend_of(values[0]).read_all(values) if values else np.empty(0)


@on_arrays_device
def to_numpy(x: Array) -> HostArray:
    """Any array as a NumPy array on the host, in its own dtype.

    Parameters
    ----------
    x : array of any array-API library, on any device

    Returns
    -------
    numpy.ndarray
        It may share memory with `x`.

    Examples
    --------
    >>> to_numpy(np.asarray([1.0, 2.0]))
    array([1., 2.])
    """
    return backend_of(x).to_numpy(x)

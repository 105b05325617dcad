"""Functions for the arrays of every library."""

from collections.abc import Callable, Iterable
from functools import wraps
from typing import Any

import numpy as np

from .. import tracing
from .._array import device, index_dtype, is_floating, namespace
from .._typing import Array
from ..tracing import BatchedArray, Program, TracedArray
from ..tracing.program import is_array, leaves
from .base import HostArray
from .batching import batch_type_of
from .cupy import on_arrays_device
from .recording import type_of
from .registry import backend_of

__all__ = ["as_array", "elementwise", "is_nan", "read_all", "to_numpy", "trace", "value_ranges", "vmap"]


def as_array(x: Any) -> Array:
    """`x` unchanged, or a Python number as a NumPy array of shape () and dtype float64.

    Examples
    --------
    >>> as_array(3)
    array(3.)
    """
    return np.asarray(float(x)) if type(x) in (int, float) else x


def elementwise(function: Callable[..., Any]) -> Callable[..., Any]:
    """Mark a function as element-wise: each element of a result depends only on the same element of the arguments.

    CuPy runs a marked function as one kernel. Without the mark, each operation in the function is a kernel of its
    own. The first argument is an array. The other arguments are arrays that broadcast with the first, or Python
    numbers. The results are new arrays of the same shape. Combine a Python number only with arrays, as in ``x *
    rate``: CuPy's kernel computes ``1 - rate`` in half precision.

    A method can be marked, too. `Backend.fuse` then makes one kernel of the method.

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
    """Read many arrays of shape () or (n,) as one NumPy array, with as few transfers as the library allows."""
    return backend_of(values[0]).read_all(values) if values else np.empty(0)


def is_nan(x: Array) -> bool:
    """Whether `x`, an array of shape (), is NaN. False if its value cannot be read without a wait."""
    return backend_of(x).can_read(x) and bool(x != x)


def value_ranges(*sets: Iterable[Array], ignore: int | None = None) -> list[tuple[int, int]]:
    """The smallest and the largest number of each dataset, without the value `ignore`.

    A dataset is given as an iterable of its parts. Values on a device are read in one transfer. The numbers are
    integers for integer arrays and floats for float arrays, and NaN if the dataset contains NaN. Do not
    mix datasets of integers and of floats in a call.
    """

    def ends(t: Array) -> list[Any]:
        xp = namespace(t=t)
        floats = is_floating(xp, t.dtype)
        index = t.dtype if floats else index_dtype(xp, device(t))
        if ignore is not None:
            t = xp.astype(t, index, copy=False)
            t = xp.where(t == ignore, xp.zeros_like(t), t)
        both = xp.min(t), xp.max(t)
        if isinstance(t, np.ndarray):
            return [end.item() for end in both]
        return [xp.astype(v, index, copy=False) for v in both]

    found = [[end for part in parts for end in ends(part)] for parts in sets]
    read = iter(read_all([end for values in found for end in values if not isinstance(end, (int, float))]).tolist())
    known = [[end if isinstance(end, (int, float)) else next(read) for end in values] for values in found]
    told: list[list[Any]] = [[end for end in values if end != end] or values for values in known]  # NaN is both ends
    return [(min(values), max(values)) for values in told]


@on_arrays_device
def to_numpy(x: Array) -> HostArray:
    """Convert an array of any library and device to a NumPy array of the same dtype.

    Parameters
    ----------
    x : array of any array-API library, on any device

    Returns
    -------
    numpy.ndarray
        The array. It may share memory with `x`.

    Examples
    --------
    >>> to_numpy(np.asarray([1.0, 2.0]))
    array([1., 2.])
    """
    return backend_of(x).to_numpy(x)


@on_arrays_device
def trace(function: Callable[..., Any], /, *args: Any) -> Program:
    """Call a function once and record its operations.

    Parameters
    ----------
    function : callable
        A pure function: its result depends on its arguments only. It uses functions of the array API standard,
        operators and xpnet, and does not read values of arrays.
    *args
        The arguments: arrays, Python numbers, and nested dicts, tuples and lists of these. Python numbers are
        constants of the program.

    Returns
    -------
    Program
        The recorded operations. A program can be called, printed as Python code and drawn; `Program.cost` counts its
        operations.

    Raises
    ------
    TracingError
        If the function reads values, changes an array, uses an array that is not an argument, uses a method of arrays
        that is not in the standard, or makes an array whose shape depends on values. The message names the operation.

    Examples
    --------
    >>> from xpnet import softmax
    >>> program = trace(softmax, np.asarray([[0.3, 2.9, 4.0]]))
    >>> print("".join(program.source().partition("def")[1:]))
    def softmax(x):
        exp = np.exp(x - np.max(x, axis=-1, keepdims=True))
    <BLANKLINE>
        return exp / np.sum(exp, axis=-1, keepdims=True)
    <BLANKLINE>
    """
    first = next(filter(is_array, leaves(args)), None)
    if first is None:
        raise TypeError("trace: the arguments contain no array; pass arguments with which the function can be called")

    def kind(x: Array) -> type[TracedArray]:
        return type_of(namespace(x=x), backend_of(x))

    backend = backend_of(first)
    return tracing.trace(
        function, *args, kind=kind, shares_memory=backend.shares_memory, named=True, ready=backend.ready
    )


def vmap(function: Callable[..., Any], /, in_axes: Any = 0) -> Callable[..., Any]:
    """Make a function for one input into a function for many inputs, which lie along a new first axis.

    `function` is called once. Each operation in it is done for all inputs at once. This is ``jax.vmap`` for every
    library: it needs the functions of the array API standard only. Under ``jax.jit`` it can be compiled, and `trace`
    can record it.

    Parameters
    ----------
    function : callable
        A pure function of arrays, and of nested dicts, tuples and lists of arrays. It uses functions of the array API
        standard, operators and xpnet, and does not read values of arrays.
    in_axes : 0, None, or a tuple, default 0
        0 for an array with a new first axis, None for an array that is the same for all inputs. A tuple has one entry
        for each argument. An entry can also be a dict, tuple or list with the structure of its argument.

    Returns
    -------
    callable
        The function for many inputs. Each array in its result has a new first axis.

    Raises
    ------
    ValueError
        When the result is called, if the new axes have different lengths, or if there are none.
    BatchingError
        When the result is called, if `function` reads values, or uses an operation that cannot be done for many
        inputs at once. The message names the operation.

    Examples
    --------
    The gradients of a network for each sample:

    >>> from xpnet import TwoLayerNet
    >>> net = TwoLayerNet(2, 3, 2, dtype="float64")
    >>> x, t = np.asarray([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]), np.asarray([0, 1, 1])
    >>> def gradients(params, x, t):
    ...     return net.stack.loss_and_gradient(params, x[None, :], t[None])[1]
    >>> of_samples = vmap(gradients, in_axes=(None, 0, 0))(net.params, x, t)
    >>> of_samples["W1"].shape
    (3, 2, 3)
    >>> bool(np.allclose(of_samples["W1"].mean(axis=0), net.gradient(x, t)["W1"]))
    True
    """

    def kind(x: Array) -> type[BatchedArray]:
        return batch_type_of(namespace(x=x), backend_of(x))

    return on_arrays_device(tracing.vectorized(function, in_axes, kind))

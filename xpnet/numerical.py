"""Numerical derivatives and gradients of any scalar function, on any backend."""

from collections.abc import Callable
from typing import Any, Literal, overload

from ._array import as_floating, device, index_dtype, namespace, size
from ._typing import Array
from ._validation import check_integer, check_number
from .backends import backend_of, on_arrays_device, to_numpy

__all__ = ["gradient_descent", "numerical_diff", "numerical_gradient", "numerical_gradient_rows"]


def __dir__() -> list[str]:
    return sorted(__all__)


@on_arrays_device
def numerical_diff(
    f: Callable[[Any], Any],
    x: Any,
    *,
    h: float | None = None,
    method: Literal["central", "forward"] = "central",
) -> Any:
    """The derivative of a function of one variable, computed by finite differences.

    Parameters
    ----------
    f : callable
        Takes `x`, and returns a value of the same type and shape. If `x` is an array, `f` is applied to each element.
    x : number, or array of real numbers
        The point or points at which the derivative is computed. Integers are converted to floats.
    h : float, optional
        The step. Default: eps^(1/3) max(1, abs(x)) for central differences, and eps^(1/2) max(1, abs(x)) for forward
        differences. eps is the machine epsilon of the dtype. These steps keep the sum of truncation error and
        rounding error small.
    method : {"central", "forward"}, default "central"
        "central" is ``(f(x + h) - f(x - h)) / 2h``; its truncation error is proportional to h². "forward" is
        ``(f(x + h) - f(x)) / h``; its truncation error is proportional to h.

    Returns
    -------
    float or array, as `f` returns

    Raises
    ------
    ValueError
        If the step is so small that x + h rounds to `x` in its dtype, as with the book's example of 1e-50.

    References
    ----------
    Saito (2016), Deep Learning from Scratch, section 4.3.1.

    Examples
    --------
    >>> def f(x):
    ...     return 0.01 * x**2 + 0.1 * x
    >>> print(f"{numerical_diff(f, 5.0):.9f} {numerical_diff(f, 5.0, h=1e-4, method='forward'):.9f}")
    0.200000000 0.200001000
    """
    if method not in ("central", "forward"):
        raise ValueError(f"method must be 'central' or 'forward', got {method!r}")
    power = 1 / 3 if method == "central" else 1 / 2
    if isinstance(x, (int, float)) and not isinstance(x, bool):
        x = float(x)
        step: Any = 2.0 ** (-52 * power) * max(1.0, abs(x)) if h is None else h
        vanishes = x + step == x or x - step == x
    else:
        xp, x = as_floating("numerical_diff", x)
        step = default_step(x, power) if h is None else h
        vanishes = bool(xp.any((x + step == x) | (x - step == x)))
    if vanishes:
        raise ValueError(
            f"h = {h!r} is too small for x in {getattr(x, 'dtype', 'float64')}: x + h == x; choose a larger step, "
            "or leave h out"
        )
    above, below = x + step, (x - step if method == "central" else x)
    return (f(above) - f(below)) / (above - below)


def default_step(x: Array, power: float = 1 / 3) -> Array:
    """eps^power max(1, abs(x)), element by element."""
    xp = namespace(x=x)
    return float(xp.finfo(x.dtype).eps) ** power * xp.maximum(xp.abs(x), 1.0)


@on_arrays_device
def numerical_gradient(f: Callable[[Array], Any], x: Array, *, h: float | None = None) -> Array:
    """The gradient of a scalar function, computed by central differences for one element of `x` at a time.

    Parameters
    ----------
    f : callable
        Takes an array of the shape and dtype of `x`, and returns one number (a Python number or an array of
        shape ()). `f` must use its argument: it is called with changed copies of `x`, and `x` itself is not changed.
        If all slopes are 0, `f` is called once more with an object that is not an array. If `f` returns a number even
        then, it does not use its argument.
    x : array of real numbers, any shape
        The point at which the gradient is computed. Integers are converted to the library's default floating dtype.
    h : float, optional
        The step. Default: eps^(1/3) max(1, abs(x)).

    Returns
    -------
    array, same shape, dtype and device as `x`

    Raises
    ------
    TypeError
        If `x` is not an array of real numbers, or if `f` does not use its argument, as the book's
        ``lambda W: net.loss(x, t)`` does not. The book's function changes `x` itself while it calls `f`.
    ValueError
        If the step is so small that x + h rounds to x for an element of `x`, or if `f` returns more than one number.

    References
    ----------
    Saito (2016), Deep Learning from Scratch, section 4.4.

    Examples
    --------
    >>> import numpy as np
    >>> numerical_gradient(lambda x: np.sum(x**2), np.asarray([3.0, 4.0])).round(6)
    array([6., 8.])
    """
    xp, x = as_floating("numerical_gradient", x)
    slope = slope_of(f, x, h)
    slopes = [slope(i) for i in range(size(x))]
    if slopes and not any(slopes) and _ignores_its_argument(f):
        raise TypeError(
            "numerical_gradient: f does not use its argument, so its gradient is 0; write f as a function of its "
            "argument, such as lambda W: loss(W, x, t), or call the gradient or numerical_gradient of your network"
        )
    return xp.reshape(xp.asarray(slopes, dtype=x.dtype, device=device(x)), x.shape)


def _ignores_its_argument(f: Callable[[Any], Any]) -> bool:
    """Whether `f` returns a number even for an object that is not an array."""
    try:
        f(object())
    except Exception:  # whatever `f` raises for it
        return False
    return True


def slope_of(f: Callable[[Array], Any], x: Array, h: float | Array | None = None) -> Callable[[int], float]:
    """The derivative of `f` with respect to an element of `x`, by central differences, as a function of the element.

    An element is an index into `x` in row-major order.
    """
    xp = namespace(x=x)
    step = default_step(x) if h is None else h
    above, below = x + step, x - step
    if bool(xp.any((above == x) | (below == x))):
        raise ValueError(
            f"h = {h!r} is too small for an element of x in {x.dtype}: x + h == x; choose a larger step, or leave "
            "h out"
        )
    place = xp.reshape(xp.arange(size(x), dtype=index_dtype(xp, device(x)), device=device(x)), x.shape)
    widths = to_numpy(above - below).ravel()  # read once: JAX would compile, and Dask compute, for each element

    def slope(i: int) -> float:
        here = place == i
        rise = _number(f(xp.where(here, above, x))) - _number(f(xp.where(here, below, x)))
        return rise / float(widths[i])

    return slope


def _number(value: Any) -> float:
    if getattr(value, "shape", ()) != ():
        raise ValueError(
            f"f must return one number, got an array of shape {tuple(value.shape)}; sum or average it, or use "
            "numerical_gradient_rows for a batch of points"
        )
    return float(value)


@on_arrays_device
def numerical_gradient_rows(f: Callable[[Array], Any], X: Array, *, h: float | None = None) -> Array:
    """The gradient of `f` at each row of a batch of points.

    Parameters
    ----------
    f : callable
        Takes one row, shape (D,), returns one number.
    X : array of real numbers, shape (N, D)
    h : float, optional
        The step, as in `numerical_gradient`.

    Returns
    -------
    array, same shape, dtype and device as `X`

    References
    ----------
    Saito (2016), Deep Learning from Scratch, figure 4-9.

    Examples
    --------
    >>> import numpy as np
    >>> numerical_gradient_rows(lambda x: x[0] ** 2 + x[1] ** 2, np.asarray([[3.0, 4.0], [0.0, 2.0]])).round(6)
    array([[6., 8.],
           [0., 4.]])
    """
    xp = namespace(X=X)
    if X.ndim != 2 or X.shape[0] == 0:
        raise ValueError(f"numerical_gradient_rows: X must have shape (N, D) with N > 0, got {tuple(X.shape)}")
    return xp.stack([numerical_gradient(f, X[i, ...], h=h) for i in range(X.shape[0])])


@overload
def gradient_descent(
    f: Callable[[Array], Any],
    init_x: Array,
    lr: float = ...,
    step_num: int = ...,
    *,
    history: Literal[False] = ...,
) -> Array: ...
@overload
def gradient_descent(
    f: Callable[[Array], Any],
    init_x: Array,
    lr: float = ...,
    step_num: int = ...,
    *,
    history: Literal[True],
) -> tuple[Array, Array]: ...
@on_arrays_device
def gradient_descent(
    f: Callable[[Array], Any],
    init_x: Array,
    lr: float = 0.01,
    step_num: int = 100,
    *,
    history: bool = False,
) -> Array | tuple[Array, Array]:
    """Minimize `f` by gradient descent with its numerical gradient: `step_num` updates with learning rate `lr`.

    Parameters
    ----------
    f : callable
        Takes an array of the shape and dtype of `init_x`, and returns one number.
    init_x : array of real numbers, any shape
        The starting point. The array is not changed. Integers are converted to the library's default floating dtype.
    lr : float, default 0.01
        The learning rate.
    step_num : int, default 100
        The number of updates.
    history : bool, default False
        Whether to return all points, too.

    Returns
    -------
    x : array, same shape, dtype and device as `init_x`
    history : array, shape (step_num + 1, ...), only with ``history=True``
        The starting point, and the point after each update.

    References
    ----------
    Saito (2016), Deep Learning from Scratch, section 4.4.1.

    Examples
    --------
    >>> import numpy as np
    >>> x = gradient_descent(lambda x: np.sum(x**2), np.asarray([-3.0, 4.0]), lr=0.1, step_num=100)
    >>> bool(np.all(np.abs(x) < 1e-8))
    True
    """
    lr, step_num = check_number("gradient_descent: lr", lr), check_integer("gradient_descent: step_num", step_num, 0)
    xp, x = as_floating("gradient_descent", init_x, "init_x")
    way, update = [x], backend_of(x).compile(lambda x, gradient: x - lr * gradient)
    for _ in range(step_num):
        x = update(x, numerical_gradient(f, x))
        way.append(x)
    x = xp.asarray(x, copy=True) if step_num == 0 else x
    return (x, xp.stack(way)) if history else x

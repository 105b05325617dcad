"""Functions of arrays: activations, losses and labels. The result has the library and device of the arguments."""

import math

from ._array import (
    as_floating,
    check_floating,
    device,
    dtype_name,
    find_dtype,
    index_dtype,
    is_floating,
    is_integral,
    is_real,
    namespace,
)
from ._typing import Array, Namespace
from ._validation import check_integer
from .backends import as_array, elementwise, on_arrays_device

__all__ = [
    "accuracy",
    "confusion_matrix",
    "cross_entropy_error",
    "identity_function",
    "log_softmax",
    "one_hot",
    "relu",
    "relu_grad",
    "sigmoid",
    "sigmoid_grad",
    "softmax",
    "softmax_cross_entropy",
    "step_function",
    "sum_squared_error",
]


def __dir__() -> list[str]:
    return sorted(__all__)


# Activations


def identity_function(x: Array) -> Array:
    """Return `x` unchanged: the activation of the output layer in regression.

    Examples
    --------
    >>> import numpy as np
    >>> identity_function(np.asarray([0.3, -1.0]))
    array([ 0.3, -1. ])
    """
    return x


@on_arrays_device
def step_function(x: Array) -> Array:
    """Return 1 for elements of `x` above 0, and 0 for the others: the activation of the perceptron.

    The derivative of the step function is 0 everywhere except at 0, where there is no derivative. A network of step
    functions therefore cannot be trained by gradient descent: a small change of a weight does not change its output.

    Parameters
    ----------
    x : array of real numbers, any shape, or a number

    Returns
    -------
    array, same shape and device as `x`
        The dtype is that of `x`; for integers and numbers, the default floating dtype of the library.

    References
    ----------
    Saito (2016), Deep Learning from Scratch, sections 3.2 and 4.2.

    Examples
    --------
    >>> import numpy as np
    >>> step_function(np.asarray([-1.0, 0.0, 2.0]))
    array([0., 0., 1.])
    >>> print(step_function(3.0))
    1.0
    """
    xp, x = as_floating("step_function", as_array(x))
    return xp.astype(x > 0, x.dtype)


@on_arrays_device
def sigmoid(x: Array) -> Array:
    """The sigmoid function 1 / (1 + exp(-x)), without overflow, and accurate for large negative `x`.

    Parameters
    ----------
    x : array of real numbers, any shape, or a number

    Returns
    -------
    array, same shape and device as `x`
        The dtype is that of `x`; for integers and numbers, the default floating dtype of the library.

    Raises
    ------
    TypeError
        If `x` is not an array of real numbers.

    Notes
    -----
    The function computes exponentials of negative numbers only. The formula ``1 / (1 + exp(-x))`` would overflow for
    large negative `x`. The formula ``(1 + tanh(x/2)) / 2`` would be 0 below -38.

    References
    ----------
    Saito (2016), Deep Learning from Scratch, section 3.2.4.

    Examples
    --------
    >>> import numpy as np
    >>> sigmoid(np.asarray([-1000.0, -100.0, 0.0, 2.0]))
    array([0.00000000e+00, 3.72007598e-44, 5.00000000e-01, 8.80797078e-01])
    """
    _, x = as_floating("sigmoid", as_array(x))
    return logistic(x)


@elementwise
def logistic(x: Array) -> Array:
    """`sigmoid` of an array of real floating dtype, which is not checked."""
    xp = namespace(x=x)
    positive = x >= 0
    e = xp.exp(xp.where(positive, -x, x))
    y = 1 / (1 + e)
    return xp.where(positive, y, e * y)


@on_arrays_device
def sigmoid_grad(x: Array) -> Array:
    """The derivative of `sigmoid` at `x`, sigmoid(x) sigmoid(-x).

    Parameters
    ----------
    x : array of real numbers, any shape, or a number

    Returns
    -------
    array, same shape and device as `x`
        The dtype is that of `x`; for integers and numbers, the default floating dtype of the library.

    Examples
    --------
    >>> import numpy as np
    >>> sigmoid_grad(np.asarray([-100.0, 0.0, 100.0]))
    array([3.72007598e-44, 2.50000000e-01, 3.72007598e-44])
    """
    _, x = as_floating("sigmoid_grad", as_array(x))
    return logistic(x) * logistic(-x)


@on_arrays_device
def relu(x: Array) -> Array:
    """The rectified linear unit, max(x, 0), element by element; NaN stays NaN.

    Parameters
    ----------
    x : array of real numbers, any shape, or a number

    Returns
    -------
    array, same shape and device as `x`
        The dtype is that of `x`; for integers and numbers, the default floating dtype of the library.

    References
    ----------
    Saito (2016), Deep Learning from Scratch, section 3.2.7.

    Examples
    --------
    >>> import numpy as np
    >>> relu(np.asarray([-1.0, 0.0, 2.0]))
    array([0., 0., 2.])
    """
    xp, x = as_floating("relu", as_array(x))
    return xp.where(x <= 0, 0.0, x)


@on_arrays_device
def relu_grad(x: Array) -> Array:
    """The derivative of `relu`: 1 for elements of `x` above 0, and 0 for the others (also at 0, as in `Relu`).

    Parameters
    ----------
    x : array of real numbers, any shape, or a number

    Returns
    -------
    array, same shape and device as `x`
        The dtype is that of `x`; for integers and numbers, the default floating dtype of the library.

    Examples
    --------
    >>> import numpy as np
    >>> relu_grad(np.asarray([-1.0, 0.0, 2.0]))
    array([0., 0., 1.])
    """
    xp, x = as_floating("relu_grad", as_array(x))
    return xp.astype(x > 0, x.dtype)


@on_arrays_device
def softmax(x: Array, *, axis: int = -1) -> Array:
    """Exponentials of `x`, scaled to sum to one along `axis`.

    Parameters
    ----------
    x : array of real numbers, shape (..., K)
        Scores (logits): one sample ``(K,)``, a batch ``(N, K)``, or more dimensions.
    axis : int, default -1
        The axis of the classes.

    Returns
    -------
    array, same shape and device as `x`
        The dtype is that of `x`; for integers, the default floating dtype of the library.

    Raises
    ------
    TypeError
        If `x` is not an array of real numbers.

    Notes
    -----
    The maximum is subtracted from `x` first, so that large scores do not overflow.

    References
    ----------
    Saito (2016), Deep Learning from Scratch, section 3.5.

    Examples
    --------
    >>> import numpy as np
    >>> softmax(np.asarray([0.3, 2.9, 4.0])).round(3)
    array([0.018, 0.245, 0.737])
    """
    xp, x = as_floating("softmax", x)
    if 0 in x.shape:  # `max` of an empty array is an error
        return xp.zeros_like(x)
    e = xp.exp(x - xp.max(x, axis=axis, keepdims=True))
    return e / xp.sum(e, axis=axis, keepdims=True)


@on_arrays_device
def log_softmax(x: Array, *, axis: int = -1) -> Array:
    """The logarithm of `softmax`, accurate even for elements whose softmax rounds to 0.

    Parameters
    ----------
    x : array of real numbers, shape (..., K)
        Scores.
    axis : int, default -1
        The axis of the classes.

    Returns
    -------
    array, same shape and device as `x`
        The dtype is that of `x`; for integers, the default floating dtype of the library.

    Examples
    --------
    >>> import numpy as np
    >>> log_softmax(np.asarray([0.0, -1000.0]))
    array([    0., -1000.])
    """
    xp, x = as_floating("log_softmax", x)
    if 0 in x.shape:
        return xp.zeros_like(x)
    shifted = x - xp.max(x, axis=axis, keepdims=True)
    return shifted - xp.log(xp.sum(xp.exp(shifted), axis=axis, keepdims=True))


# Labels


@on_arrays_device
def one_hot(t: Array, num_classes: int, *, dtype: object = None) -> Array:
    """Convert integer labels to one-hot rows: zeros, with a 1 at the index of the label.

    Parameters
    ----------
    t : array of integer dtype, shape (...)
        Labels from 0 to `num_classes` - 1. A label out of range gives a row of NaN: this function does not read
        values. `fit`, `evaluate` and the methods of `Network` refuse such labels.
    num_classes : int
        The number of classes, K.
    dtype : real floating dtype of `t`'s library, optional
        Default: the library's default floating dtype.

    Returns
    -------
    array, shape (..., K), on the device of `t`

    Raises
    ------
    TypeError
        If `t` is not an integer array, or if `dtype` is not a real floating dtype.
    ValueError
        If `num_classes` is smaller than 1.

    Examples
    --------
    >>> import numpy as np
    >>> one_hot(np.asarray([2, 0]), 3)
    array([[0., 0., 1.],
           [1., 0., 0.]])
    """
    xp, num_classes = namespace(t=t), check_integer("one_hot: num_classes", num_classes, 1)
    if dtype is None:
        dtype = xp.__array_namespace_info__().default_dtypes(device=device(t))["real floating"]
    dtype = find_dtype(xp, dtype, device(t))
    if not is_floating(xp, dtype):
        raise TypeError(
            f"one_hot: dtype must be a real floating dtype, got {dtype_name(dtype)}; convert the result, such as "
            "xp.astype(rows, xp.int64)"
        )
    if not is_integral(xp, t.dtype):
        raise TypeError(f"one_hot: t must hold integer labels, got {t.dtype} of shape {tuple(t.shape)}")
    labels, classes = comparable(xp, t, num_classes)
    return _rows(xp, labels, classes, num_classes, dtype)


def comparable(xp: Namespace, t: Array, num_classes: int) -> tuple[Array, Array]:
    """The labels, shape (..., 1), and the indices of all classes, shape (K,).

    Both arrays have the library's index dtype: a class index above 255 does not fit uint8, and PyTorch cannot compare
    arrays of uint16 or uint64.
    """
    where = device(t)
    index = index_dtype(xp, where)
    classes = xp.arange(num_classes, dtype=index, device=where)
    return (t if t.dtype == index else xp.astype(t, index))[..., None], classes


def _rows(xp: Namespace, labels: Array, classes: Array, num_classes: int, dtype: object) -> Array:
    """1 where `labels` and `classes` are equal, else 0. A row of NaN, and so a loss of NaN, for any other label."""
    return xp.where(have_class(labels, num_classes), xp.astype(labels == classes, dtype), math.nan)


def have_class(labels: Array, num_classes: int) -> Array:
    """Whether labels of a signed dtype are from 0 to ``num_classes - 1``."""
    return labels // num_classes == 0  # one operation less than two comparisons


@elementwise
def _equal(labels: Array, classes: Array, like: Array) -> tuple[Array, Array]:
    equal = labels == classes
    return namespace(labels=labels).astype(equal, like.dtype), equal


@elementwise
def _rows_like(labels: Array, classes: Array, num_classes: int, like: Array) -> Array:
    return _rows(namespace(labels=labels), labels, classes, num_classes, like.dtype)


def are_labels(xp: Namespace, where: str, x: Array, t: Array) -> bool:
    """Whether `t` holds integer labels, not one-hot rows; an error if the shape or dtype of `t` is neither."""
    labels, one_hots = tuple(x.shape[:-1]), tuple(x.shape)
    if t.ndim == x.ndim:
        if tuple(t.shape) != one_hots:
            raise ValueError(
                f"{where}: t has shape {tuple(t.shape)}, but for scores of shape {one_hots} one-hot targets "
                f"have shape {one_hots} and integer labels {labels}"
            )
        return False
    if tuple(t.shape) != labels:
        raise ValueError(
            f"{where}: t has shape {tuple(t.shape)}, expected {labels} (integer labels) or {one_hots} "
            f"(one-hot) for scores of shape {one_hots}"
        )
    if not is_integral(xp, t.dtype):
        raise TypeError(
            f"{where}: labels t must have an integer dtype, got {t.dtype}; cast them, such as "
            f"xp.astype(t, xp.int64), or pass one-hot targets of shape {one_hots}"
        )
    return True


def as_targets(xp: Namespace, where: str, x: Array, t: Array) -> Array:
    """Targets in the shape and dtype of the scores `x`: labels become one-hot rows, one-hot rows are only cast."""
    if are_labels(xp, where, x, t):
        labels, classes = comparable(xp, t, x.shape[-1])
        return _rows_like(labels, classes, x.shape[-1], x)
    return as_numbers(xp, where, t, x.dtype)


def one_hot_rows(xp: Namespace, x: Array, t: Array) -> tuple[Array, Array]:
    """The one-hot rows of labels from 0 to K - 1, in the shape and dtype of the scores `x`, and as bool."""
    labels, classes = comparable(xp, t, x.shape[-1])
    rows: tuple[Array, Array] = _equal(labels, classes, x)
    return rows


def as_numbers(xp: Namespace, where: str, t: Array, dtype: object) -> Array:
    """Targets that are no labels, in `dtype`; an error if they are not real numbers."""
    if t.dtype == dtype:
        return t
    if not is_real(xp, t.dtype):
        raise TypeError(
            f"{where}: t must hold real numbers, got {t.dtype} of shape {tuple(t.shape)}; convert it first"
        )
    return xp.astype(t, dtype)


def not_ignored(xp: Namespace, where: str, x: Array, t: Array, ignore: int) -> Array:
    """False for the labels `t` that are equal to `ignore`, and True for the others.

    An error if `t` is not labels, or if their dtype cannot hold `ignore`.
    """
    if not are_labels(xp, where, x, t):
        raise ValueError(
            f"{where}: ignore={ignore} is a label, but t is one-hot, shape {tuple(t.shape)}; "
            "pass labels, or a weight of 0 for each sample to ignore"
        )
    index = index_dtype(xp, device(t))
    held = [xp.iinfo(dtype) for dtype in (t.dtype, index)]
    low, high = max(info.min for info in held), min(info.max for info in held)
    if not low <= ignore <= high:
        raise ValueError(
            f"{where}: ignore={ignore}, but labels t of {t.dtype} go from {low} to {high}; "
            "pass the value that it has in this dtype (-1 in uint8 is 255), or labels of another dtype"
        )
    return xp.astype(t, index, copy=False) != ignore


def check_labels(name: str, least: int, most: int, classes: int, of: str = "the network") -> None:
    """Raise an error if labels between `least` and `most` contain a label without a class."""
    if least < 0 or most >= classes:
        raise ValueError(
            f"{name} contains the label {least if least < 0 else most}, but {of} has {classes} classes "
            f"(labels 0 to {classes - 1})"
        )


@on_arrays_device
def accuracy(y: Array, t: Array, *, ignore: int | None = None) -> Array:
    """The fraction of samples whose largest score is at the class of the target.

    Parameters
    ----------
    y : array of real floating dtype, shape (N, K) or (K,)
        Scores or probabilities.
    t : array, integer labels of shape (N,) or (), or one-hot of `y`'s shape
    ignore : int, optional
        A label to ignore: samples with this label are left out.

    Returns
    -------
    array, shape (), dtype of `y`
        Between 0 and 1. NaN if a sample has no class: its label is out of range, its one-hot row has no positive
        number, or its largest score is NaN or infinite. NaN, too, if all samples are ignored.

    Raises
    ------
    TypeError
        If `y` is not a real floating array, or if labels `t` are not integers.
    ValueError
        If the shape of `t` does not match the shape of `y`, or if the batch is empty.

    Examples
    --------
    >>> import numpy as np
    >>> y = np.asarray([[0.1, 0.9], [0.8, 0.2], [0.3, 0.7], [0.6, 0.4]])
    >>> print(accuracy(y, np.asarray([1, 0, 0, 0])))
    0.75
    >>> print(accuracy(y, np.asarray([1, 0, -1, 0]), ignore=-1))
    1.0
    """
    xp = namespace(y=y, t=t)
    check_floating(xp, "accuracy", y=y)
    check_batch("accuracy", "y", y)
    labels, found, known = _classes(xp, "accuracy", y, t)
    right = xp.where(known, xp.astype(found == labels, y.dtype), math.nan)
    if ignore is None:
        return xp.mean(right)
    kept = not_ignored(xp, "accuracy", y, t, ignore)
    count = xp.sum(xp.astype(kept, y.dtype))
    return xp.sum(xp.where(kept, right, 0.0)) / xp.where(count == 0, math.nan, count)


@on_arrays_device
def confusion_matrix(y: Array, t: Array, *, ignore: int | None = None) -> Array:
    """Count the samples of each class i that have their largest score at class j.

    Parameters
    ----------
    y : array of real floating dtype, shape (N, K)
        Scores or probabilities.
    t : array, integer labels of shape (N,), or one-hot of `y`'s shape
    ignore : int, optional
        A label to ignore: samples with this label are not counted.

    Returns
    -------
    array of the library's index dtype, shape (K, K)
        Rows are the classes of the targets `t`. Columns are the predicted classes of `y`. The diagonal counts the
        correct predictions. All elements are -1 if a sample has no class, see `accuracy`.

    Raises
    ------
    TypeError
        If `y` is not a real floating array, or if labels `t` are not integers.
    ValueError
        If `y` is not a batch, if the batch is empty, or if the shape of `t` does not match the shape of `y`.

    Examples
    --------
    >>> import numpy as np
    >>> y = np.asarray([[0.1, 0.9], [0.8, 0.2], [0.3, 0.7], [0.6, 0.4]])
    >>> confusion_matrix(y, np.asarray([1, 0, 0, 0]))
    array([[2, 1],
           [0, 1]])
    """
    xp = namespace(y=y, t=t)
    check_floating(xp, "confusion_matrix", y=y)
    check_batch("confusion_matrix", "y", y)
    if y.ndim != 2:
        raise ValueError(f"confusion_matrix: y must be a batch (N, K), got shape {tuple(y.shape)}")
    labels, found, known = _classes(xp, "confusion_matrix", y, t)
    if ignore is not None:
        kept = not_ignored(xp, "confusion_matrix", y, t, ignore)
        labels, known = xp.where(kept, labels, y.shape[1]), known | ~kept  # a row of zeros
    # Products of floats are faster than of integers. They count exactly up to 1 / eps samples.
    dtype = y.dtype if y.shape[0] < 1 / xp.finfo(y.dtype).eps else labels.dtype
    right, guessed = (
        xp.astype(k == classes, dtype) for k, classes in (comparable(xp, k, y.shape[1]) for k in (labels, found))
    )
    counts = xp.astype(xp.matrix_transpose(right) @ guessed, labels.dtype)
    return xp.where(xp.all(known), counts, -1)


def _classes(xp: Namespace, where: str, y: Array, t: Array) -> tuple[Array, Array, Array]:
    """The classes of the targets, the predicted classes, and whether a sample has both."""
    if are_labels(xp, where, y, t):
        labels = xp.astype(t, index_dtype(xp, device(y)), copy=False)
    else:
        targets = as_targets(xp, where, y, t)
        labels = _largest(xp, xp.where(targets <= 0, -math.inf, targets))
    found = _largest(xp, y)
    return labels, found, have_class(labels, y.shape[-1]) & (found != y.shape[-1])


def _largest(xp: Namespace, y: Array) -> Array:
    """The index of the largest score; of equal scores, the first. K if the largest score is NaN or infinite.

    `argmax` is not used: array-api-strict returns int64 from `argmax` even on its device that has no int64.
    """
    classes = xp.arange(y.shape[-1], dtype=index_dtype(xp, device(y)), device=device(y))
    top = xp.max(y, axis=-1, keepdims=True)
    best = xp.where((y == top) & xp.isfinite(top), classes, y.shape[-1])
    return xp.min(best, axis=-1)


# Losses


def check_batch(where: str, name: str, x: Array) -> None:
    if x.ndim not in (1, 2):
        raise ValueError(
            f"{where}: {name} must be one sample (K,) or a batch (N, K), got shape {tuple(x.shape)}; flatten it first"
        )
    if 0 in x.shape:
        raise ValueError(f"{where}: {name} is empty, shape {tuple(x.shape)}; pass at least one sample")


def batch_size(x: Array) -> int:
    """The number of samples in `x`: N for a batch, shape (N, K), and 1 for a single sample, shape (K,)."""
    return x.shape[0] if x.ndim == 2 else 1


@on_arrays_device
def sum_squared_error(y: Array, t: Array) -> Array:
    """E = 1/2 Σ (y - t)², summed over the outputs and averaged over the batch.

    The first edition of the book calls this loss `mean_squared_error`. It is half the sum of the squared errors, not
    their mean. For a batch, the book's function returns the sum over all samples, without the average.

    Parameters
    ----------
    y : array of real floating dtype, shape (N, K) or (K,)
        Outputs.
    t : array, same shape as `y`
        Targets; cast to the dtype of `y`.

    Returns
    -------
    array, shape (), dtype of `y`

    Raises
    ------
    TypeError
        If `y` is not a real floating array.
    ValueError
        If `t` and `y` have different shapes, or if the batch is empty.

    References
    ----------
    Saito (2016), Deep Learning from Scratch, section 4.2.1.

    Examples
    --------
    >>> import numpy as np
    >>> y = np.asarray([0.1, 0.05, 0.6, 0.0, 0.05, 0.1, 0.0, 0.1, 0.0, 0.0])
    >>> t = np.asarray([0, 0, 1, 0, 0, 0, 0, 0, 0, 0])
    >>> print(sum_squared_error(y, t).round(10))
    0.0975
    """
    xp = namespace(y=y, t=t)
    check_floating(xp, "sum_squared_error", y=y)
    check_batch("sum_squared_error", "y", y)
    if tuple(t.shape) != tuple(y.shape):
        raise ValueError(f"sum_squared_error: t has shape {tuple(t.shape)}, expected that of y, {tuple(y.shape)}")
    error = y - as_numbers(xp, "sum_squared_error", t, y.dtype)
    return xp.sum(error * error) / (2 * batch_size(y))


@on_arrays_device
def cross_entropy_error(y: Array, t: Array) -> Array:
    """-Σ t log(y + 1e-7) of probabilities `y`, averaged over the batch.

    Parameters
    ----------
    y : array of real floating dtype, shape (N, K) or (K,)
        Probabilities.
    t : array, integer labels of shape (N,) or (), or one-hot of `y`'s shape

    Returns
    -------
    array, shape (), dtype of `y`

    Raises
    ------
    TypeError
        If `y` is not a real floating array, or if labels `t` are not integers.
    ValueError
        If the shape of `t` does not match the shape of `y`, or if the batch is empty.

    Notes
    -----
    The constant 1e-7 avoids log(0), as in the book. It has two side effects: the loss of a correct prediction with
    probability 1 is slightly negative, and no sample has a loss above 16.1. `softmax_cross_entropy` takes scores in
    place of probabilities and has no such constant. The networks are trained with `softmax_cross_entropy`.

    References
    ----------
    Saito (2016), Deep Learning from Scratch, sections 4.2.2 to 4.2.4.

    Examples
    --------
    >>> import numpy as np
    >>> y = np.asarray([0.1, 0.05, 0.6, 0.0, 0.05, 0.1, 0.0, 0.1, 0.0, 0.0])
    >>> print(cross_entropy_error(y, np.asarray(2)).round(9))
    0.510825457
    """
    xp = namespace(y=y, t=t)
    check_floating(xp, "cross_entropy_error", y=y)
    check_batch("cross_entropy_error", "y", y)
    targets = as_targets(xp, "cross_entropy_error", y, t)
    return -xp.sum(targets * xp.log(y + 1e-7)) / batch_size(y)


@on_arrays_device
def softmax_cross_entropy(x: Array, t: Array) -> Array:
    """-Σ t log_softmax(x) of scores `x`, averaged over the batch; accurate for large scores, too.

    Parameters
    ----------
    x : array of real floating dtype, shape (N, K) or (K,)
        Scores (logits). A score of minus infinity rules out a class: its probability is 0. The loss is then infinite
        for samples of this class. Each sample needs at least one finite score.
    t : array, integer labels of shape (N,) or (), or one-hot (or any probabilities) of `x`'s shape

    Returns
    -------
    array, shape (), dtype of `x`

    Raises
    ------
    TypeError
        If `x` is not a real floating array, or if labels `t` are not integers.
    ValueError
        If the shape of `t` does not match the shape of `x`, or if the batch is empty.

    References
    ----------
    Saito (2016), Deep Learning from Scratch, section 5.6.3 and appendix A.

    Examples
    --------
    >>> import numpy as np
    >>> print(softmax_cross_entropy(np.asarray([[0.0, 0.0], [1000.0, 0.0]]), np.asarray([0, 1])).round(4))
    500.3466
    """
    xp = namespace(x=x, t=t)
    check_floating(xp, "softmax_cross_entropy", x=x)
    check_batch("softmax_cross_entropy", "x", x)
    targets, log_y = as_targets(xp, "softmax_cross_entropy", x, t), log_softmax(x)
    return -xp.sum(targets * xp.where(targets == 0, 0.0, log_y)) / batch_size(x)

"""Losses: the last layer of a network, which computes one number from outputs and targets."""

import math
from collections.abc import Sequence
from typing import Any

from .._array import check_floating, device, namespace
from .._typing import Array, Namespace
from .._validation import check_integer, check_number
from ..backends import backend_of, elementwise
from ..functions import (
    accuracy,
    are_labels,
    as_numbers,
    as_targets,
    batch_size,
    check_batch,
    not_ignored,
    one_hot_rows,
    sigmoid,
    softmax,
)
from .base import Loss

__all__ = ["ExponentialWithLoss", "HuberLoss", "IdentityWithLoss", "SigmoidWithLoss", "SoftmaxWithLoss"]


class SoftmaxWithLoss(Loss):
    """Softmax with cross-entropy loss: the mean of -Σ t log softmax(x) over the batch.

    Parameters
    ----------
    weight : array of the dtype of the scores, shape (N,), optional
        The weight w of each sample. The loss is then Σ w loss / Σ w, or 0 if all weights are 0.
    class_weight : array of the dtype of the scores, shape (K,), or sequence of K floats, optional
        The weight of each class. A rare class can get a larger weight, for example.
    smoothing : float, default 0.0
        Label smoothing: the fraction of each target that is distributed evenly over the classes, from 0 to below 1.
    ignore : int, optional
        A label to ignore: samples with this label have the weight 0. The label may be a class, or a number that is no
        class, such as -1 or 255.

    Attributes
    ----------
    y : array, shape of the scores
        Probabilities, after `forward`.
    loss : array, shape ()
        The loss, after `forward`.
    total : int, or array of shape ()
        The sum of the weights of the samples, after `forward`: N, or Σ_n w_n c_n with the weights of the Notes.
    plain : bool
        Whether each sample has the weight 1 if `weight` is not given. True if no other option is given.

    Raises
    ------
    TypeError, ValueError
        If an option is out of range or has a wrong type or shape. In `forward`, if the scores are not a real floating
        array, or if the targets do not have a shape and dtype as listed there.

    Notes
    -----
    L = -Σ_k t_k (x_k - log Σ_j exp(x_j)), so dL/dx_k = -t_k + (Σ_j t_j) exp(x_k) / Σ_j exp(x_j). For labels and
    probabilities, where Σ_j t_j = 1, this is y_k - t_k.

    With weights c of the classes and smoothing s, the loss of a sample is -Σ_k u_k log y_k, where
    u_k = c_k ((1 - s) t_k + s / K). With m = Σ_k u_k, this is m times the loss for the targets u / m, which sum to 1.
    So the options only change the targets and the weights of the samples, and the derivative above still holds. The
    mean is Σ_n w_n loss_n / Σ_n w_n c_n, where c_n = Σ_k c_k t_nk / Σ_k t_nk is the weight of the sample's class, or
    the mean weight of its classes. It is 1 if all t_nk are 0.

    A label without a class gives a loss of NaN, and NaN in the derivative of its sample. A class whose score is minus
    infinity and whose target is 0 adds nothing to the loss; its derivative is 0. With label smoothing, all targets
    are positive, so a score of minus infinity makes the loss infinite.

    For labels, this is PyTorch's ``cross_entropy``, with one exception: if all weights are 0, such as in a batch of
    ignored samples, the loss and its derivative are 0, not NaN. For one-hot and probability targets, PyTorch divides
    by N even with class weights. Here, one-hot targets and labels give the same loss.

    References
    ----------
    Saito (2016), Deep Learning from Scratch, section 5.6.3 and appendix A. Szegedy et al. (2016), Rethinking the
    Inception Architecture for Computer Vision, section 7 (smoothing).

    Examples
    --------
    >>> import numpy as np
    >>> layer = SoftmaxWithLoss()
    >>> print(layer.forward(np.asarray([[0.0, 0.0]]), np.asarray([1])).round(6))
    0.693147
    >>> layer.backward()
    array([[ 0.5, -0.5]])

    The third sample is ignored, and the weight of the first sample is three times the weight of the second:

    >>> layer = SoftmaxWithLoss(class_weight=np.asarray([1.0, 3.0]), ignore=-1)
    >>> print(layer.forward(np.zeros((3, 2)), np.asarray([1, 0, -1])).round(6))
    0.693147
    >>> layer.backward()
    array([[ 0.375, -0.375],
           [-0.125,  0.125],
           [-0.   ,  0.   ]])
    """

    classifies = takes_labels = True
    target_range = 0.0, math.inf

    def __init__(
        self,
        weight: Array | None = None,
        /,
        *,
        class_weight: Array | Sequence[float] | None = None,
        smoothing: float = 0.0,
        ignore: int | None = None,
    ) -> None:
        super().__init__(weight)
        self.class_weight = class_weight
        self.smoothing = (
            0.0 if smoothing == 0 else check_number("SoftmaxWithLoss: smoothing", smoothing, "from 0 to below 1")
        )
        self.ignore = None if ignore is None else check_integer("SoftmaxWithLoss: ignore", ignore)
        self.plain = class_weight is None and smoothing == 0 and ignore is None

    def forward(self, x: Array, t: Array) -> Array:
        """The loss, an array of shape (), of scores `x` and targets `t`.

        Parameters
        ----------
        x : array of real floating dtype, shape (N, K) or (K,)
            Scores (logits). A score of minus infinity rules out a class: its probability is 0. The loss is then
            infinite for samples of this class. Each sample needs at least one finite score.
        t : array, integer labels of shape (N,) or (), or one-hot (or any probabilities) of `x`'s shape
            With `ignore`, targets must be labels.
        """
        self.class_weight = _as_array(self.class_weight, x)
        xp = namespace(x=x, t=t, weight=self.weight, class_weight=self.class_weight)
        self.share = _share(xp, "SoftmaxWithLoss", x, self.weight)
        if self.ignore is not None:
            kept = not_ignored(xp, "SoftmaxWithLoss", x, t, self.ignore)
            self.share = self.share * xp.astype(kept, x.dtype)[..., None]
            t = xp.where(kept, t, xp.zeros_like(t))  # the ignored label may have no class
        chosen = None
        if are_labels(xp, "SoftmaxWithLoss", x, t) and self.checked:
            self.t, chosen = one_hot_rows(xp, x, t)
        else:
            self.t = as_targets(xp, "SoftmaxWithLoss", x, t)
        self.total = batch_size(x) if self.weight is None else xp.sum(self.weight)
        self.mass = None
        if not self.plain:
            self.t, self.share, counted = self._weighed(xp, x)
            self.total = self.total * counted
        elif t.ndim == x.ndim:
            self.mass = xp.sum(self.t, axis=-1, keepdims=True)
        shifted, e = _exponentials(x, xp.max(x, axis=-1, keepdims=True))
        factor = self.share
        if chosen is None or not self.plain or self.weight is not None:
            factor, chosen = _factors(self.t, self.share, shifted)
        self.y, losses = _softmax_with_losses(e, shifted, xp.sum(e, axis=-1, keepdims=True), chosen, factor)
        self.loss = xp.sum(losses)
        return self.loss

    def backward(self, dout: Array = 1.0) -> Array:
        """The derivative of the loss with respect to the scores, in the same shape."""
        y = self.y if self.mass is None else self.mass * self.y
        return _difference(y, self.t, dout * self.share)

    def probabilities(self, scores: Array, /) -> Array:
        """The probabilities of the classes, `softmax` of the scores, shape of `scores`."""
        return softmax(scores)

    def accuracy(self, scores: Array, targets: Array, /) -> Array:
        """The fraction of samples whose largest score is at the class of the target, an array of shape ().

        Ignored samples are left out, see `xpnet.accuracy`.
        """
        return accuracy(scores, targets, ignore=self.ignore)

    def _weighed(self, xp: Namespace, x: Array) -> tuple[Array, Array, Array]:
        """The targets and the weights of the samples with all options, and the sum of the weights."""
        check_floating(xp, "SoftmaxWithLoss", x=x, class_weight=self.class_weight)
        share, c, classes = self.share, self.class_weight, x.shape[-1]
        if c is None:
            c = 1.0
        else:
            _check_outputs("SoftmaxWithLoss", "class_weight", c, x)
        u = c * ((1 - self.smoothing) * self.t + self.smoothing / classes)
        m, mass = xp.sum(u, axis=-1, keepdims=True), xp.sum(self.t, axis=-1, keepdims=True)
        of_class = xp.where(mass == 0, 1.0, _ratio(xp, xp.sum(c * self.t, axis=-1, keepdims=True), mass))
        total = xp.sum(share * of_class)
        return _ratio(xp, u, m), _ratio(xp, share * m, total), total


@elementwise
def _exponentials(x: Array, largest: Array) -> tuple[Array, Array]:
    shifted = x - largest  # so that the exponentials of large scores do not overflow
    return shifted, namespace(x=x).exp(shifted)


@elementwise
def _factors(t: Array, share: Array, shifted: Array) -> tuple[Array, Array]:
    factor = t * share
    return factor, (factor != 0) | (shifted != shifted)  # NaN stays NaN, also with a factor of 0


@elementwise
def _softmax_with_losses(e: Array, shifted: Array, total: Array, chosen: Array, factor: Array) -> tuple[Array, Array]:
    xp = namespace(e=e)  # the score of a class that is ruled out is minus infinity, and 0 times infinity is NaN
    return e / total, xp.where(chosen, xp.log(total) - shifted, 0.0) * factor


@elementwise
def _difference(y: Array, t: Array, share: Array) -> Array:
    return (y - t) * share


class SigmoidWithLoss(Loss):
    """Sigmoid with binary cross-entropy loss: the mean of -Σ (t log y + (1 - t) log(1 - y)) over the batch.

    Use this loss for binary or multi-label classification: each output is a yes or a no, independent of the others.

    Parameters
    ----------
    weight : array of the dtype of the scores, shape (N,), optional
        The weight w of each sample. The loss is then Σ w loss / Σ w, or 0 if all weights are 0.
    positive_weight : array of the dtype of the scores, shape (K,), or sequence of K floats, optional
        The weight p of the positive class of each output; the negative class has the weight 1. The loss is then the
        mean of -Σ (p t log y + (1 - t) log(1 - y)).

    Attributes
    ----------
    y : array, shape of the scores
        Probabilities, after `forward`.

    Raises
    ------
    TypeError, ValueError
        In `forward`, if the scores are not a real floating array, or if targets or weights have a wrong shape.

    Notes
    -----
    With y = 1 / (1 + exp(-x)), -log y = log(1 + exp(-x)) = max(-x, 0) + log(1 + exp(-abs(x))). -log(1 - y) is the
    same function of -x. Only exponentials of negative numbers are computed, so large scores do not overflow.

    So the loss of an output is s x + (p t + 1 - t) log(1 + exp(-abs(x))) with the slope s = 1 - t for x > 0, and
    s = -p t otherwise. A score of minus infinity with t = 0, or of plus infinity with t = 1, adds 0.

    With dy/dx = y (1 - y), dL/dx = -p t (1 - y) + (1 - t) y = (p t + 1 - t) y - p t. Without `positive_weight`, this
    is y - t.

    As in all losses of xpnet, the loss is summed over the outputs and averaged over the batch. It is K times
    PyTorch's ``BCEWithLogitsLoss``, which averages over the outputs, too.

    References
    ----------
    Bishop (2006), Pattern Recognition and Machine Learning, section 5.2.

    Examples
    --------
    >>> import numpy as np
    >>> layer = SigmoidWithLoss()
    >>> print(layer.forward(np.asarray([[0.0, 0.0, 1000.0]]), np.asarray([[1, 0, 1]])).round(6))
    1.386294
    >>> layer.backward()
    array([[-0.5,  0.5,  0. ]])
    """

    classifies = True
    target_range = 0.0, 1.0

    def __init__(
        self, weight: Array | None = None, /, *, positive_weight: Array | Sequence[float] | None = None
    ) -> None:
        super().__init__(weight)
        self.positive_weight = positive_weight

    def forward(self, x: Array, t: Array) -> Array:
        """The loss, an array of shape (), of scores `x` and targets `t`.

        Parameters
        ----------
        x : array of real floating dtype, shape (N, K) or (K,)
            Scores (logits). With a single output, the shape is (N, 1).
        t : array, shape of `x`
            Targets from 0 to 1; cast to the dtype of `x`.
        """
        self.positive_weight = _as_array(self.positive_weight, x)
        xp = namespace(x=x, t=t, weight=self.weight, positive_weight=self.positive_weight)
        check_floating(xp, "SigmoidWithLoss", x=x, positive_weight=self.positive_weight)
        self.share = _share(xp, "SigmoidWithLoss", x, self.weight)
        t = _targets(xp, "SigmoidWithLoss", x, t)
        self.yes, no = t, 1 - t
        if self.positive_weight is not None:
            _check_outputs("SigmoidWithLoss", "positive_weight", self.positive_weight, x)
            self.yes = t * self.positive_weight
        self.both = self.yes + no
        self.y = sigmoid(x)
        return xp.sum(_binary_losses(x, self.yes, no, self.both, self.share))

    def backward(self, dout: Array = 1.0) -> Array:
        """The derivative of the loss with respect to the scores, in the same shape."""
        return (self.both * self.y - self.yes) * (dout * self.share)

    def probabilities(self, scores: Array, /) -> Array:
        """The probability of the positive class for each output: `sigmoid` of the scores, in the same shape."""
        return sigmoid(scores)

    def accuracy(self, scores: Array, targets: Array, /) -> Array:
        """The fraction of outputs that are correct, an array of shape (). A positive score predicts a yes.

        NaN if a score or a target is NaN or infinite.
        """
        xp = namespace(scores=scores, targets=targets)
        t = _targets(xp, "SigmoidWithLoss", scores, targets)
        right = xp.astype((scores > 0) == (t > 0.5), scores.dtype)
        return xp.mean(xp.where(xp.isfinite(scores) & xp.isfinite(t), right, math.nan))


@elementwise
def _binary_losses(x: Array, yes: Array, no: Array, both: Array, share: Array) -> Array:
    xp = namespace(x=x)
    positive = x > 0
    slope = xp.where(positive, no, -yes)
    linear = slope * xp.where(slope == 0, 0.0, x)  # x may be infinite, and 0 times infinity is NaN
    return (linear + both * xp.log1p(xp.exp(xp.where(positive, -x, x)))) * share


class IdentityWithLoss(Loss):
    """Squared error loss for regression: the mean of 1/2 Σ (x - t)² over the batch.

    Parameters
    ----------
    weight : array of the dtype of the outputs, shape (N,), optional
        The weight w of each sample. The loss is then Σ w loss / Σ w, or 0 if all weights are 0.

    Attributes
    ----------
    y : array
        The outputs, after `forward`.

    Notes
    -----
    dL/dx = x - t. The derivative has the same simple form as that of `SoftmaxWithLoss`, y - t.

    References
    ----------
    Saito (2016), Deep Learning from Scratch, sections 4.2.1 and 5.6.3.

    Examples
    --------
    >>> import numpy as np
    >>> layer = IdentityWithLoss()
    >>> print(layer.forward(np.asarray([[1.0, 4.0]]), np.asarray([[0.0, 2.0]])))
    2.5
    >>> layer.backward()
    array([[1., 2.]])
    """

    def forward(self, x: Array, t: Array) -> Array:
        """The loss, an array of shape (), of outputs `x` and targets `t`, both of shape (N, K) or (K,)."""
        xp = namespace(x=x, t=t, weight=self.weight)
        self.share = _share(xp, "IdentityWithLoss", x, self.weight)
        self.y = x
        self.error = x - _targets(xp, "IdentityWithLoss", x, t)
        return 0.5 * xp.sum(self.error * self.error * self.share)

    def backward(self, dout: Array = 1.0) -> Array:
        """The derivative of the loss with respect to the outputs, in the same shape."""
        return self.error * (dout * self.share)


class ExponentialWithLoss(Loss):
    """Poisson loss for counts, with y = exp(x): the mean of Σ (t log(t/y) - t + y) over the batch.

    Parameters
    ----------
    weight : array of the dtype of the scores, shape (N,), optional
        The weight w of each sample. The loss is then Σ w loss / Σ w, or 0 if all weights are 0.

    Attributes
    ----------
    y : array, shape of the scores
        Expected counts, y = exp(x), after `forward`.

    Notes
    -----
    With log y = x, dL/dx = -t + exp(x) = y - t. The loss is 0 if y = t. For t = 0, t log t is 0.

    PyTorch's ``PoissonNLLLoss`` does not have the terms t log t - t, which do not depend on x. scikit-learn calls
    this loss half the Poisson deviance.

    References
    ----------
    McCullagh and Nelder (1989), Generalized Linear Models, sections 2.3 and 6.2.

    Examples
    --------
    >>> import numpy as np
    >>> layer = ExponentialWithLoss()
    >>> print(layer.forward(np.asarray([[0.0, 0.0]]), np.asarray([[1, 3]])).round(6))
    1.295837
    >>> layer.backward()
    array([[ 0., -2.]])
    """

    target_range = 0.0, math.inf

    def forward(self, x: Array, t: Array) -> Array:
        """The loss, an array of shape (), of scores `x` and counts `t`.

        Parameters
        ----------
        x : array of real floating dtype, shape (N, K) or (K,)
            Logarithms of the expected counts. With a single output, the shape is (N, 1).
        t : array, shape of `x`
            Counts, at least 0; cast to the dtype of `x`.
        """
        xp = namespace(x=x, t=t, weight=self.weight)
        self.share = _share(xp, "ExponentialWithLoss", x, self.weight)
        self.y = xp.exp(x)
        t = _targets(xp, "ExponentialWithLoss", x, t)
        self.error = self.y - t
        surprise = xp.log(xp.where(t > 0, t, 1.0)) - x
        return xp.sum((t * surprise + self.error) * self.share)

    def backward(self, dout: Array = 1.0) -> Array:
        """The derivative of the loss with respect to the scores, in the same shape."""
        return self.error * (dout * self.share)

    def predictions(self, scores: Array, /) -> Array:
        """The expected counts: the exponential of the scores, in the same shape."""
        return namespace(scores=scores).exp(scores)


class HuberLoss(Loss):
    """Huber loss for regression with outliers; the mean over the batch.

    The loss of an error e = x - t is e² / 2 for abs(e) up to δ, and δ (abs(e) - δ / 2) above δ. So the loss of a
    large error grows linearly. The loss is summed over the outputs.

    Parameters
    ----------
    weight : array of the dtype of the outputs, shape (N,), optional
        The weight w of each sample. The loss is then Σ w loss / Σ w, or 0 if all weights are 0.
    delta : float, default 1.0
        The error δ above which the loss is linear; a positive number.

    Attributes
    ----------
    y : array
        The outputs, after `forward`.

    Raises
    ------
    TypeError, ValueError
        If `delta` is not a positive number. In `forward`, if the outputs are not a real floating array, or if targets
        or weights have a wrong shape.

    Notes
    -----
    Let c be the error clipped to [-δ, δ]. Then the loss is c (e - c / 2) for small and large errors, and its
    derivative with respect to x is c.

    As in all losses of xpnet, the loss is summed over the outputs and averaged over the batch. It is K times
    PyTorch's ``HuberLoss``, which averages over the outputs, too.

    References
    ----------
    Huber (1964), Robust Estimation of a Location Parameter, The Annals of Mathematical Statistics 35.

    Examples
    --------
    >>> import numpy as np
    >>> layer = HuberLoss(delta=1.0)
    >>> print(layer.forward(np.asarray([[0.5, 4.0]]), np.asarray([[0.0, 0.0]])))
    3.625
    >>> layer.backward()
    array([[0.5, 1. ]])
    """

    def __init__(self, weight: Array | None = None, /, *, delta: float = 1.0) -> None:
        super().__init__(weight)
        self.delta = check_number("HuberLoss: delta", delta, "positive and finite")

    def forward(self, x: Array, t: Array) -> Array:
        """The loss, an array of shape (), of outputs `x` and targets `t`, both of shape (N, K) or (K,)."""
        xp = namespace(x=x, t=t, weight=self.weight)
        self.share = _share(xp, "HuberLoss", x, self.weight)
        self.y = x
        error = x - _targets(xp, "HuberLoss", x, t)
        self.cut = backend_of(x).clip(error, -self.delta, self.delta)
        return xp.sum(self.cut * (error - 0.5 * self.cut) * self.share)

    def backward(self, dout: Array = 1.0) -> Array:
        """The derivative of the loss with respect to the outputs, in the same shape."""
        return self.cut * (dout * self.share)


def _share(xp: Namespace, where: str, x: Array, weight: Array | None) -> Array:
    """The factor of each sample in the loss: 1/N, or its weight divided by the sum of the weights, shape (N, 1)."""
    check_floating(xp, where, x=x, weight=weight)
    check_batch(where, "x", x)
    if weight is None:
        return 1 / batch_size(x)
    if tuple(weight.shape) != tuple(x.shape[:1]) or x.ndim != 2:
        raise ValueError(
            f"{where}: weight has shape {tuple(weight.shape)}, expected one weight for each sample of x, "
            f"shape {tuple(x.shape)}"
        )
    return _ratio(xp, weight, xp.sum(weight))[:, None]


def _ratio(xp: Namespace, parts: Array, total: Array) -> Array:
    """`parts` divided by `total`, or 0 if the total is 0."""
    return parts / xp.where(total == 0, math.inf, total)


def _as_array(numbers: Any, x: Array) -> Array | None:
    """Numbers as an array with the library, device and dtype of the scores `x`; an array is returned unchanged."""
    if not isinstance(numbers, (tuple, list)):
        return numbers
    return namespace(x=x).asarray(numbers, dtype=x.dtype, device=device(x))


def _check_outputs(where: str, name: str, array: Array, x: Array) -> None:
    if tuple(array.shape) != tuple(x.shape[-1:]):
        raise ValueError(
            f"{where}: {name} has shape {tuple(array.shape)}, expected {tuple(x.shape[-1:])}, one number for each "
            f"column of x, shape {tuple(x.shape)}"
        )


def _targets(xp: Namespace, where: str, x: Array, t: Array) -> Array:
    """`t` in the dtype of the outputs `x`; an error if the shapes of `t` and `x` differ."""
    if tuple(t.shape) != tuple(x.shape):
        raise ValueError(f"{where}: t has shape {tuple(t.shape)}, expected that of the outputs, {tuple(x.shape)}")
    return as_numbers(xp, where, t, x.dtype)

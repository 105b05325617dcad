"""Losses: the last layer of a network, from outputs and targets to one number."""

from .._array import Array, Namespace, check_floating, namespace
from ..functions import as_targets, batch_size, check_batch

__all__ = ["IdentityWithLoss", "SoftmaxWithLoss"]


class SoftmaxWithLoss:
    """Softmax and cross-entropy in one: the mean of -Σ t log softmax(x) over the batch.

    Parameters
    ----------
    weight : array of the dtype of the scores, shape (N,), optional
        What each sample counts; the loss is then Σ w loss / Σ w.

    Attributes
    ----------
    y : array, shape of the scores
        Probabilities, after `forward`.

    Notes
    -----
    L = -Σ_k t_k (x_k - log Σ_j exp(x_j)), where Σ_k t_k = 1, so
    dL/dx_k = -t_k + exp(x_k) / Σ_j exp(x_j) = y_k - t_k.

    References
    ----------
    Saito (2016), Deep Learning from Scratch, section 5.6.3 and appendix A.

    Examples
    --------
    >>> import numpy as np
    >>> layer = SoftmaxWithLoss()
    >>> print(layer.forward(np.asarray([[0.0, 0.0]]), np.asarray([1])).round(6))
    0.693147
    >>> layer.backward()
    array([[ 0.5, -0.5]])
    """

    def __init__(self, weight: Array | None = None, /) -> None:
        self.weight = weight

    def forward(self, x: Array, t: Array, /) -> Array:
        """The loss, an array of shape (), of scores `x` and targets `t`.

        Parameters
        ----------
        x : array of real floating dtype, shape (N, K) or (K,)
            Scores, finite.
        t : array, integer labels of shape (N,) or (), or one-hot of `x`'s shape
        """
        xp = namespace(x=x, t=t, weight=self.weight)
        self.share = _share(xp, "SoftmaxWithLoss", x, self.weight)
        self.t = as_targets(xp, "SoftmaxWithLoss", x, t)
        shifted = x - xp.max(x, axis=-1, keepdims=True)  # so that large scores are safe
        e = xp.exp(shifted)
        total = xp.sum(e, axis=-1, keepdims=True)
        self.y = e / total
        return xp.sum(self.t * (xp.log(total) - shifted) * self.share)

    def backward(self, dout: Array = 1.0, /) -> Array:
        """The derivative by the scores, in their shape."""
        return (self.y - self.t) * (dout * self.share)


class IdentityWithLoss:
    """Identity and squared error in one, for regression: the mean of 1/2 Σ (x - t)² over the batch.

    Parameters
    ----------
    weight : array of the dtype of the outputs, shape (N,), optional
        What each sample counts; the loss is then Σ w loss / Σ w.

    Attributes
    ----------
    y : array
        The outputs, after `forward`.

    Notes
    -----
    dL/dx = x - t, as plain as softmax with cross-entropy: that is why these pairs go together.

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

    def __init__(self, weight: Array | None = None, /) -> None:
        self.weight = weight

    def forward(self, x: Array, t: Array, /) -> Array:
        """The loss, an array of shape (), of outputs `x` and targets `t`, both of shape (N, K) or (K,)."""
        xp = namespace(x=x, t=t, weight=self.weight)
        self.share = _share(xp, "IdentityWithLoss", x, self.weight)
        if tuple(t.shape) != tuple(x.shape):
            raise ValueError(
                f"IdentityWithLoss: t has shape {tuple(t.shape)}, expected that of the outputs, {tuple(x.shape)}"
            )
        self.y = x
        self.error = x - (t if t.dtype == x.dtype else xp.astype(t, x.dtype))
        return 0.5 * xp.sum(self.error * self.error * self.share)

    def backward(self, dout: Array = 1.0, /) -> Array:
        """The derivative by the outputs, in their shape."""
        return self.error * (dout * self.share)


def _share(xp: Namespace, where: str, x: Array, weight: Array | None) -> Array:
    """The share of each sample in the loss: 1/N, or its weight over the sum of the weights, shape (N, 1)."""
    check_floating(xp, where, x=x, weight=weight)
    check_batch(where, "x", x)
    if weight is None:
        return 1 / batch_size(x)
    if tuple(weight.shape) != tuple(x.shape[:1]) or x.ndim != 2:
        raise ValueError(
            f"{where}: weight has shape {tuple(weight.shape)}, expected one weight for each sample of x, "
            f"shape {tuple(x.shape)}"
        )
    return (weight / xp.sum(weight))[:, None]

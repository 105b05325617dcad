"""Layers with their backpropagation written out. A layer object is the record of one pass.

Build it from its parameters, call `forward`, call `backward` with the derivative of the loss by the layer's
output, read the derivatives by its parameters (`dW`, `db`), let it go. It is cheap to build, holds nothing
between passes, and never writes into an argument.

In the derivations L is the loss, ``dout`` is dL/d(output), and what `backward` returns is dL/d(input).
"""

import math
from typing import Protocol

from ._array import Array, Namespace, check_floating, namespace
from .functions import as_targets, batch_size, check_batch, sigmoid

__all__ = [
    "AddLayer",
    "Affine",
    "IdentityWithLoss",
    "MulLayer",
    "Relu",
    "Sigmoid",
    "SoftmaxWithLoss",
]


class Layer(Protocol):
    """What a network asks of a layer between its input and its loss."""

    def forward(self, x: Array, /) -> Array: ...

    def backward(self, dout: Array, /) -> Array: ...


class MulLayer:
    """Multiplication, z = x y, of Python scalars or arrays of one shape.

    Notes
    -----
    dz/dx = y and dz/dy = x: each input gets ``dout`` times the other.

    References
    ----------
    Saito (2016), Deep Learning from Scratch, section 5.4.1.

    Examples
    --------
    >>> apples, tax = MulLayer(), MulLayer()
    >>> tax.forward(apples.forward(100, 2), 1.1)
    220.00000000000003
    >>> d_apples, d_tax = tax.backward(1)
    >>> d_price, d_number = apples.backward(d_apples)
    >>> d_price, d_number, d_tax
    (2.2, 110.00000000000001, 200)
    """

    def forward(self, x: Array, y: Array, /) -> Array:
        """The product of `x` and `y`."""
        self.x, self.y = x, y
        return x * y

    def backward(self, dout: Array, /) -> tuple[Array, Array]:
        """The derivatives by `x` and by `y`."""
        return dout * self.y, dout * self.x


class AddLayer:
    """Addition, z = x + y, of Python scalars or arrays of one shape.

    Notes
    -----
    dz/dx = dz/dy = 1: both inputs get ``dout`` as it is.

    References
    ----------
    Saito (2016), Deep Learning from Scratch, section 5.4.2.

    Examples
    --------
    >>> layer = AddLayer()
    >>> layer.forward(200, 450)
    650
    >>> layer.backward(1.1)
    (1.1, 1.1)
    """

    def forward(self, x: Array, y: Array, /) -> Array:
        """The sum of `x` and `y`."""
        return x + y

    def backward(self, dout: Array, /) -> tuple[Array, Array]:
        """The derivatives by `x` and by `y`."""
        return dout, dout


class Relu:
    """Rectified linear unit, y = x where x > 0, else 0.

    Notes
    -----
    dy/dx is 1 where x > 0 and 0 elsewhere, at 0 too; y > 0 says where, so the output alone is kept.

    References
    ----------
    Saito (2016), Deep Learning from Scratch, section 5.5.1.

    Examples
    --------
    >>> import numpy as np
    >>> layer = Relu()
    >>> layer.forward(np.asarray([[1.0, -0.5], [0.0, 3.0]]))
    array([[1., 0.],
           [0., 3.]])
    >>> layer.backward(np.asarray([[5.0, 6.0], [7.0, 8.0]]))
    array([[5., 0.],
           [0., 8.]])
    """

    def forward(self, x: Array, /) -> Array:
        """The rectified `x`, in its shape and floating dtype."""
        xp = namespace(x=x)
        check_floating(xp, "Relu", x=x)
        self.y = xp.maximum(x, 0.0)
        return self.y

    def backward(self, dout: Array, /) -> Array:
        """The derivative by `x`."""
        xp = namespace(y=self.y, dout=dout)
        return dout * xp.astype(self.y > 0, dout.dtype)


class Sigmoid:
    """Logistic function, y = 1 / (1 + exp(-x)).

    Notes
    -----
    dy/dx = exp(-x) / (1 + exp(-x))² = y (1 - y): the output alone is kept.

    References
    ----------
    Saito (2016), Deep Learning from Scratch, section 5.5.2.

    Examples
    --------
    >>> import numpy as np
    >>> layer = Sigmoid()
    >>> layer.forward(np.asarray([0.0, 2.0])).round(3)
    array([0.5  , 0.881])
    >>> layer.backward(np.asarray([1.0, 1.0])).round(3)
    array([0.25 , 0.105])
    """

    def forward(self, x: Array, /) -> Array:
        """The logistic function of `x`, in its shape and floating dtype."""
        self.y = sigmoid(x)
        return self.y

    def backward(self, dout: Array, /) -> Array:
        """The derivative by `x`."""
        return dout * self.y * (1 - self.y)


class Affine:
    """Matrix product and bias, y = x W + b.

    Parameters
    ----------
    W : array of real floating dtype, shape (D, M)
        Weights.
    b : array, shape (M,), dtype of `W`
        Biases.

    Attributes
    ----------
    dW, db : array
        dL/dW and dL/db, shaped as `W` and `b`; there after `backward` or `backward_params`.

    Raises
    ------
    TypeError, ValueError
        If dtypes or shapes do not fit.

    Notes
    -----
    From y_nm = Σ_d x_nd W_dm + b_m follow by the chain rule, with dout_nm = dL/dy_nm:

    - dL/dx_nd = Σ_m dout_nm W_dm, that is ``dout @ W.T``;
    - dL/dW_dm = Σ_n x_nd dout_nm, that is ``x.T @ dout``;
    - dL/db_m = Σ_n dout_nm, since each sample adds the same bias.

    References
    ----------
    Saito (2016), Deep Learning from Scratch, section 5.6.

    Examples
    --------
    >>> import numpy as np
    >>> layer = Affine(np.asarray([[1.0, 2.0], [3.0, 4.0]]), np.asarray([0.5, -0.5]))
    >>> layer.forward(np.asarray([[1.0, 1.0]]))
    array([[4.5, 5.5]])
    >>> layer.backward(np.asarray([[1.0, 10.0]]))
    array([[21., 43.]])
    >>> layer.dW
    array([[ 1., 10.],
           [ 1., 10.]])
    """

    def __init__(self, W: Array, b: Array, /) -> None:
        if W.ndim != 2 or tuple(b.shape) != (W.shape[1],):
            raise ValueError(f"Affine: W has shape {tuple(W.shape)} and b {tuple(b.shape)}; expected (D, M) and (M,)")
        self.W, self.b = W, b

    def forward(self, x: Array, /) -> Array:
        """``x W + b``.

        Parameters
        ----------
        x : array, shape (N, D), (N, ...) with D elements a sample such as (N, C, H, W), or one sample (D,)

        Returns
        -------
        array, shape (N, M), or (M,) for one sample
        """
        xp = namespace(x=x, W=self.W, b=self.b)
        check_floating(xp, "Affine", x=x, W=self.W, b=self.b)
        features = math.prod(x.shape[1:] or x.shape)
        if features != self.W.shape[0]:
            raise ValueError(
                f"Affine: x has {features} features, shape {tuple(x.shape)}, but W expects {self.W.shape[0]}, "
                f"shape {tuple(self.W.shape)}"
            )
        self.shape = x.shape
        self.x = x if x.ndim == 2 else xp.reshape(x, (-1, features))
        y = self.x @ self.W + self.b
        return y if x.ndim > 1 else y[0, :]

    def backward(self, dout: Array, /) -> Array:
        """The derivative by `x`, in the shape of `x`; sets `dW` and `db` on the way."""
        self.backward_params(dout)
        dx = dout @ self.W.T
        return dx if dx.shape == self.shape else namespace(dx=dx).reshape(dx, self.shape)

    def backward_params(self, dout: Array, /) -> None:
        """Set `dW` and `db` alone: all that the first layer of a network needs, at half the work."""
        xp = namespace(dout=dout, x=self.x)
        dout = dout if dout.ndim == 2 else dout[None, :]
        self.dW = self.x.T @ dout
        self.db = xp.sum(dout, axis=0)


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

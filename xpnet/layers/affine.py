"""The affine (fully connected) layer, and the layer that flattens samples."""

import math
from operator import matmul

from .._array import check_floating, namespace
from .._typing import Array
from .base import Layer
from .precision import Precision, check_precision, in_precision

__all__ = ["Affine", "Flatten"]


class Affine(Layer):
    """Affine (fully connected) layer, y = x W + b.

    Parameters
    ----------
    W : array of real floating dtype, shape (D, M)
        Weights.
    b : array, shape (M,), dtype of `W`
        Biases.
    precision : {"bfloat16", "float16"}, optional
        The dtype of the products, see `nn.Dense`. Default: the dtype of `W`.

    Attributes
    ----------
    dW, db : array
        dL/dW and dL/db, in the shapes of `W` and `b`. Available after `backward` or `backward_params`.

    Raises
    ------
    TypeError
        If `x`, `W` and `b` do not have the same real floating dtype.
    ValueError
        If `W` and `b` do not have shapes (D, M) and (M,), if a sample of `x` does not have D elements, or if the
        library has no products of `precision`.

    Notes
    -----
    With y_nm = Σ_d x_nd W_dm + b_m and dout_nm = dL/dy_nm, the chain rule gives:

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

    def __init__(self, W: Array, b: Array, *, precision: Precision | None = None) -> None:
        if W.ndim != 2 or tuple(b.shape) != (W.shape[1],):
            raise ValueError(f"Affine: W has shape {tuple(W.shape)} and b {tuple(b.shape)}; expected (D, M) and (M,)")
        self.W, self.b, self.precision = W, b, check_precision("Affine", precision)

    def forward(self, x: Array) -> Array:
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
        y = in_precision(self.precision, matmul, self.x, self.W) + self.b
        return y if x.ndim > 1 else y[0, :]

    def backward(self, dout: Array) -> Array:
        """The derivative of the loss with respect to `x`, in the shape of `x`; sets `dW` and `db`, too."""
        self.backward_params(dout)
        dx = in_precision(self.precision, matmul, dout, self.W.T)
        return dx if dx.shape == self.shape else namespace(dx=dx).reshape(dx, self.shape)

    def backward_params(self, dout: Array) -> None:
        """Set `dW` and `db` only. The first layer of a network needs no derivative with respect to its input."""
        xp = namespace(dout=dout, x=self.x)
        dout = dout if dout.ndim == 2 else dout[None, :]
        self.dW = in_precision(self.precision, matmul, self.x.T, dout)
        self.db = xp.sum(dout, axis=0)

    def gradients(self) -> tuple[Array, Array]:
        """``(dW, db)``, after `backward` or `backward_params`."""
        return self.dW, self.db


class Flatten(Layer):
    """Flatten each sample to one row: shape (N, ...) becomes (N, D), where D is the number of elements of a sample.

    Notes
    -----
    The values do not change, so dL/dx is ``dout`` in the shape of the input. `Affine` flattens its input itself.
    Use `Flatten` before other layers that need rows, such as softmax.

    Examples
    --------
    >>> import numpy as np
    >>> layer = Flatten()
    >>> layer.forward(np.zeros((5, 3, 2, 2))).shape
    (5, 12)
    >>> layer.backward(np.zeros((5, 12))).shape
    (5, 3, 2, 2)
    """

    def forward(self, x: Array) -> Array:
        """The rows of `x`, which can have any dtype; one sample (D,) is returned unchanged."""
        xp = namespace(x=x)
        self.shape = x.shape
        return xp.reshape(x, (-1, math.prod(x.shape[1:]))) if x.ndim > 2 else x

    def backward(self, dout: Array) -> Array:
        """The derivative of the loss with respect to `x`: `dout` in the shape of `x`."""
        return namespace(dout=dout).reshape(dout, self.shape)

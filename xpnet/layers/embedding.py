"""Embedding: a trainable vector for each integer id, such as the id of a word."""

import math

from .._array import check_floating, device, index_dtype, is_integral, namespace
from .._typing import Array
from ..backends import elementwise
from ..functions import comparable, have_class
from .base import Layer

__all__ = ["Embedding"]


class Embedding(Layer):
    """Embedding table: returns the row of `W` for each integer id.

    Parameters
    ----------
    W : array of real floating dtype, shape (V, D)
        The table: a row of D numbers for each of the V ids.

    Attributes
    ----------
    dW : array, shape (V, D)
        dL/dW. Available after `backward` or `backward_params`.

    Raises
    ------
    TypeError
        If `W` is not a real floating array, or if the ids are not integers.
    ValueError
        If `W` does not have shape (V, D).

    Notes
    -----
    Let H contain the ids as one-hot rows: H_nv is 1 if v is the n-th id, else 0. The output is y = H W.
    As in `Affine`, dL/dW = Hᵀ dout: the row of an id is the sum of ``dout`` over all positions of that id.
    `forward` only looks up rows. `backward` creates H in the dtype of ``dout``, with V numbers for each id of the
    batch, because the array API has no sum by index. NaN and infinite numbers in ``dout`` are left out of the
    product, because 0 times NaN is NaN. Instead, the rows of their ids are set to NaN. Ids are integers, so there
    is no derivative with respect to the ids.

    References
    ----------
    Saito (2018), Deep Learning from Scratch 2, section 4.1.

    Examples
    --------
    >>> import numpy as np
    >>> layer = Embedding(np.asarray([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]))
    >>> layer.forward(np.asarray([2, 0, 2]))
    array([[5., 6.],
           [1., 2.],
           [5., 6.]])
    >>> layer.backward(np.asarray([[1.0, 1.0], [10.0, 10.0], [100.0, 100.0]]))
    >>> layer.dW
    array([[ 10.,  10.],
           [  0.,   0.],
           [101., 101.]])
    """

    def __init__(self, W: Array) -> None:
        if W.ndim != 2:
            raise ValueError(f"Embedding: W has shape {tuple(W.shape)}; expected (V, D), a row for each id")
        self.W = W

    def forward(self, ids: Array) -> Array:
        """The rows of the `ids`.

        Parameters
        ----------
        ids : array of integer dtype, shape (...)
            Ids from 0 to V - 1. An id out of range gives a row of NaN: the layer does not read values.

        Returns
        -------
        array, shape (..., D), dtype of `W`
        """
        xp = namespace(ids=ids, W=self.W)
        check_floating(xp, "Embedding", W=self.W)
        if not is_integral(xp, ids.dtype):
            raise TypeError(
                f"Embedding: ids must have an integer dtype, got {ids.dtype} of shape {tuple(ids.shape)}; "
                "cast them, such as xp.astype(ids, xp.int64)"
            )
        self.ids = xp.astype(xp.reshape(ids, (-1,)), index_dtype(xp, device(ids)), copy=False)
        known_size = not ids.ndim or 0 in ids.shape[1:]  # a traced batch may not know its size
        batch = ids.shape if known_size else (-1, *ids.shape[1:])
        known = have_class(self.ids, self.W.shape[0])
        rows = xp.take(self.W, xp.where(known, self.ids, 0), axis=0)
        return xp.reshape(xp.where(known[:, None], rows, math.nan), (*batch, self.W.shape[1]))

    def backward(self, dout: Array) -> None:
        """Set `dW`. Returns None, because there is no derivative with respect to the ids."""
        self.backward_params(dout)

    def backward_params(self, dout: Array) -> None:
        """Set `dW`; the same as `backward`."""
        xp = namespace(dout=dout, ids=self.ids)
        V, D = self.W.shape
        ids, rows = comparable(xp, self.ids, V)
        H = xp.astype(ids == rows, dout.dtype).T
        finite, others = _parts(xp.reshape(dout, (-1, D)))
        self.dW = xp.where(H @ xp.sum(others, axis=1, keepdims=True) == 0, H @ finite, math.nan)

    def gradients(self) -> tuple[Array]:
        """``(dW,)``, after `backward` or `backward_params`."""
        return (self.dW,)


@elementwise
def _parts(dout: Array) -> tuple[Array, Array]:
    """The finite numbers of `dout`, with 0 in place of the others, and 1 where `dout` is not finite, else 0."""
    xp = namespace(dout=dout)
    finite = xp.isfinite(dout)
    return xp.where(finite, dout, 0.0), xp.astype(~finite, dout.dtype)

"""Dropout: units left out at random while training, so that none relies on another."""

from typing import Any

from .._array import check_floating, namespace
from .._typing import Array, Shape
from .._validation import check_number
from ..backends import elementwise
from .base import Layer

__all__ = ["Dropout", "dropout_mask"]


class Dropout(Layer):
    """Zero where a unit is left out, x / (1 - rate) where it is kept; the identity without a mask.

    Parameters
    ----------
    rate : float
        The share of units that are left out, from 0 and below 1.
    mask : array of bool, shape of the input, optional
        True where a unit is kept. It is drawn by the caller, such as with `dropout_mask` or from a JAX key. Without
        one, as after training, the layer passes everything on.

    Raises
    ------
    TypeError, ValueError
        If the rate is out of range, or the mask is not of bool or not of the input's shape.

    Notes
    -----
    Kept units are scaled up, so that the expected output is the input, (1 - rate) · x / (1 - rate), and nothing is to
    be scaled after training ("inverted" dropout; the book's layer scales the units down then instead).

    dy/dx is 1 / (1 - rate) where the unit is kept and 0 elsewhere: ``dout`` goes the way of ``x``.

    References
    ----------
    Srivastava et al. (2014), Dropout: A Simple Way to Prevent Neural Networks from Overfitting. Saito (2016), Deep
    Learning from Scratch, section 6.4.3.

    Examples
    --------
    >>> import numpy as np
    >>> layer = Dropout(0.5, np.asarray([[True, False, True]]))
    >>> layer.forward(np.asarray([[1.0, 2.0, 3.0]]))
    array([[2., 0., 6.]])
    >>> layer.backward(np.asarray([[1.0, 1.0, 1.0]]))
    array([[2., 0., 2.]])
    """

    def __init__(self, rate: float, mask: Array | None = None, /) -> None:
        self.rate, self.mask = check_number("Dropout: rate", rate, "from 0 to below 1"), mask

    def forward(self, x: Array, /) -> Array:
        """The kept units of `x`, scaled, and zeros, in the shape and floating dtype of `x`."""
        xp = namespace(x=x, mask=self.mask)
        check_floating(xp, "Dropout", x=x)
        if self.mask is not None:
            if not xp.isdtype(self.mask.dtype, "bool"):
                raise TypeError(
                    f"Dropout: mask must be of bool, got {self.mask.dtype}; compare, such as numbers >= rate"
                )
            if tuple(self.mask.shape) != tuple(x.shape):
                raise ValueError(
                    f"Dropout: mask has shape {tuple(self.mask.shape)}, but x {tuple(x.shape)}; draw one of x's shape"
                )
        return self._keep(x)

    def backward(self, dout: Array, /) -> Array:
        """The derivative by `x`."""
        return self._keep(dout)

    def _keep(self, x: Array) -> Array:
        return x if self.mask is None else _keep(x, self.mask, 1 - self.rate)


@elementwise
def _keep(x: Array, mask: Array, share: float) -> Array:
    return namespace(x=x, mask=mask).where(mask, x / share, 0.0)


def dropout_mask(rng: Any, rate: float, shape: Shape) -> Array:
    """Draw on the host which units `Dropout` keeps.

    Parameters
    ----------
    rng : numpy.random.Generator
        Draws one float32 an element.
    rate : float
        The share of units that are left out, from 0 and below 1: each with that chance, independently.
    shape : tuple of int

    Returns
    -------
    NumPy array of bool, of `shape`
        True where a unit is kept; to be moved to the library of the layer's input, with its ``asarray``.

    Raises
    ------
    ValueError
        If the rate is out of range.

    Examples
    --------
    >>> import numpy as np
    >>> mask = dropout_mask(np.random.default_rng(0), 0.25, (100, 50))
    >>> print(mask.shape, mask.mean().round(2))
    (100, 50) 0.75
    """
    return rng.random(shape, dtype="float32") >= check_number("dropout_mask: rate", rate, "from 0 to below 1")

"""Dropout: units are set to zero at random during training, so that no unit depends on one other unit."""

from typing import Any

from .._array import check_floating, namespace
from .._typing import Array, Shape
from .._validation import check_number
from ..backends import elementwise
from .base import Layer

__all__ = ["Dropout", "dropout_mask"]


class Dropout(Layer):
    """Dropout: units that the mask drops become 0, the others become x / (1 - rate).

    Parameters
    ----------
    rate : float, or array of shape ()
        The probability that a unit is dropped, from 0 to below 1. An array has the dtype of the input, and its value
        is not checked.
    mask : array of bool, shape of the input, optional
        The dropout mask: True for each unit that is kept. The caller draws the mask, such as with `dropout_mask` or
        from a JAX key. Without a mask, as after training, the layer returns its input unchanged.

    Raises
    ------
    TypeError, ValueError
        If the rate is out of range, or if the mask does not have dtype bool or the shape of the input.

    Notes
    -----
    Units that are kept are divided by 1 - rate, so the expected output is the input: (1 - rate) · x / (1 - rate) = x.
    After training, nothing has to be scaled. This is called inverted dropout. The book's layer does not scale during
    training, and multiplies the units by 1 - rate after training.

    dy/dx is 1 / (1 - rate) for a unit that is kept, and 0 for a unit that is dropped.

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

    def __init__(self, rate: float | Array, mask: Array | None = None) -> None:
        array = hasattr(rate, "shape") and hasattr(rate, "__setitem__")  # a NumPy number could widen the dtype
        self.rate = rate if array else check_number("Dropout: rate", rate, "from 0 to below 1")
        self.mask = mask

    def forward(self, x: Array) -> Array:
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

    def backward(self, dout: Array) -> Array:
        """The derivative of the loss with respect to `x`."""
        return self._keep(dout)

    def _keep(self, x: Array) -> Array:
        return x if self.mask is None else _keep(x, self.mask, 1 - self.rate)


@elementwise
def _keep(x: Array, mask: Array, share: float | Array) -> Array:
    return namespace(x=x, mask=mask).where(mask, x / share, 0.0)


def dropout_mask(rng: Any, rate: float, shape: Shape) -> Array:
    """Draw a mask for `Dropout`, on the host.

    Parameters
    ----------
    rng : numpy.random.Generator
        The generator. It draws one float32 for each element.
    rate : float
        The probability that a unit is dropped, from 0 to below 1. Units are dropped independently of each other.
    shape : tuple of int
        The shape of the input of the layer.

    Returns
    -------
    NumPy array of bool, of `shape`
        True for each unit that is kept. Convert the mask to the library of the layer's input with ``xp.asarray``.

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

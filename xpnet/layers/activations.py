"""Activations: layers without parameters, element by element."""

from .._array import Array, check_floating, namespace
from ..functions import sigmoid

__all__ = ["Relu", "Sigmoid"]


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

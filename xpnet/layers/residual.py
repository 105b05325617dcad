"""The residual connection: the output of some layers is added to their input."""

from collections.abc import Sequence
from typing import Any

from .._typing import Array
from .base import Layer

__all__ = ["Residual"]


class Residual(Layer):
    """Layers whose output is added to their input, y = f(x) + g(x).

    Parameters
    ----------
    layers : sequence of layers
        The layers of f, in the order of their application.
    shortcut : sequence of layers, default ()
        The layers of g. Without layers, g(x) = x.

    Notes
    -----
    x is the input of f and of g, so the two derivatives are added: dL/dx = f'(x) dout + g'(x) dout. Without a
    shortcut, the second term is ``dout`` itself, however deep the network is.

    References
    ----------
    He et al. (2016), Deep residual learning for image recognition.

    Examples
    --------
    >>> import numpy as np
    >>> from xpnet import Relu
    >>> layer = Residual([Relu()])
    >>> layer.forward(np.asarray([[1.0, -2.0]]))
    array([[ 2., -2.]])
    >>> layer.backward(np.asarray([[1.0, 1.0]]))
    array([[2., 1.]])
    """

    def __init__(self, layers: Sequence[Any], shortcut: Sequence[Any] = ()) -> None:
        self.layers, self.shortcut = layers, shortcut

    def forward(self, x: Array) -> Array:
        """f(x) + g(x)."""
        out = short = x
        for layer in self.layers:
            out = layer.forward(out)
        for layer in self.shortcut:
            short = layer.forward(short)
        if tuple(out.shape) != tuple(short.shape):
            raise ValueError(
                f"Residual: the layers made {tuple(out.shape)} of {tuple(x.shape)}, and the shortcut "
                f"{tuple(short.shape)}, which cannot be added; give it a shortcut that makes the same shape"
            )
        self.state = tuple(array for layer in self._both() for array in layer.state)
        return out + short

    def backward(self, dout: Array) -> Array:
        """The derivative of the loss with respect to `x`."""
        through = short = dout
        for layer in reversed(self.layers):
            through = layer.backward(through)
        for layer in reversed(self.shortcut):
            short = layer.backward(short)
        return through + short

    def gradients(self) -> tuple[Array, ...]:
        """The derivatives with respect to the parameters of `layers`, then of `shortcut`; after `backward`."""
        return tuple(g for layer in self._both() for g in layer.gradients())

    def _both(self) -> list[Any]:
        return [*self.layers, *self.shortcut]

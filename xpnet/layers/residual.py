"""The residual connection: layers that learn what to add to their input."""

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
        Those of f, in their order.
    shortcut : sequence of layers, default ()
        Those of g; without any, g(x) = x.

    Notes
    -----
    x goes both ways, so both ways' derivatives add up: dL/dx = f'(x) dout + g'(x) dout. Without a shortcut the second
    is ``dout`` itself, however deep the network.

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

    def forward(self, x: Array, /) -> Array:
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

    def backward(self, dout: Array, /) -> Array:
        """The derivative by `x`."""
        through = short = dout
        for layer in reversed(self.layers):
            through = layer.backward(through)
        for layer in reversed(self.shortcut):
            short = layer.backward(short)
        return through + short

    def gradients(self) -> tuple[Array, ...]:
        """The derivatives by the parameters of its layers, then of the shortcut's; after `backward`."""
        return tuple(g for layer in self._both() for g in layer.gradients())

    def _both(self) -> list[Any]:
        return [*self.layers, *self.shortcut]

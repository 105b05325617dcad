"""The book's first layers: sums and products of numbers."""

from .._typing import Array
from .base import Layer

__all__ = ["AddLayer", "MulLayer"]


class MulLayer(Layer):
    """Multiplication, z = x y, of Python scalars or arrays of one shape.

    Notes
    -----
    dz/dx = y and dz/dy = x, so dL/dx = ``dout`` y and dL/dy = ``dout`` x.

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

    def forward(self, x: Array, y: Array) -> Array:
        """The product of `x` and `y`."""
        self.x, self.y = x, y
        return x * y

    def backward(self, dout: Array) -> tuple[Array, Array]:
        """The derivatives of the loss with respect to `x` and `y`."""
        return dout * self.y, dout * self.x


class AddLayer(Layer):
    """Addition, z = x + y, of Python scalars or arrays of one shape.

    Notes
    -----
    dz/dx = dz/dy = 1, so dL/dx = dL/dy = ``dout``.

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

    def forward(self, x: Array, y: Array) -> Array:
        """The sum of `x` and `y`."""
        return x + y

    def backward(self, dout: Array) -> tuple[Array, Array]:
        """The derivatives of the loss with respect to `x` and `y`."""
        return dout, dout

"""Activations: layers without parameters. All work element by element, except softmax, which works along an axis."""

import math

from .._array import check_floating, namespace
from .._typing import Array
from .._validation import check_integer, check_number
from ..backends import backend_of, elementwise
from ..functions import logistic, softmax
from .base import Layer

__all__ = ["Gelu", "LeakyRelu", "Relu", "Sigmoid", "Silu", "Softmax", "Tanh"]


class Relu(Layer):
    """Rectified linear unit, y = max(x, 0).

    Notes
    -----
    dy/dx is 1 for x > 0, and 0 otherwise (also at x = 0). x > 0 and y > 0 are the same condition, so the layer stores
    only its output for `backward`.

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

    def forward(self, x: Array) -> Array:
        """The rectified `x`, in its shape and floating dtype."""
        check_floating(namespace(x=x), "Relu", x=x)
        self.y = backend_of(x).relu(x)
        return self.y

    def backward(self, dout: Array) -> Array:
        """The derivative of the loss with respect to `x`."""
        return _back_where_positive(self.y, dout)

    @property
    def mask(self) -> Array:
        """True for the elements of the input that became 0, after `forward`."""
        return self.y <= 0


@elementwise
def _back_where_positive(y: Array, dout: Array) -> Array:
    return dout * namespace(y=y, dout=dout).astype(y > 0, dout.dtype)


class Sigmoid(Layer):
    """Logistic function, y = 1 / (1 + exp(-x)).

    Attributes
    ----------
    out : array
        The output. Available after `forward`.

    Notes
    -----
    dy/dx = exp(-x) / (1 + exp(-x))² = y (1 - y). The layer stores only its output for `backward`.

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

    def forward(self, x: Array) -> Array:
        """The logistic function of `x`, in its shape and floating dtype."""
        check_floating(namespace(x=x), "Sigmoid", x=x)
        self.out = logistic(x)
        return self.out

    def backward(self, dout: Array) -> Array:
        """The derivative of the loss with respect to `x`."""
        return _sigmoid_back(self.out, dout)


@elementwise
def _sigmoid_back(y: Array, dout: Array) -> Array:
    return dout * y * (1 - y)


class LeakyRelu(Layer):
    """Leaky rectified linear unit: y = x for x > 0, and y = slope · x otherwise.

    Parameters
    ----------
    slope : float, default 0.01
        The slope for negative `x`, a finite number. With a slope other than 0, the derivative of a unit is never 0.

    Raises
    ------
    TypeError, ValueError
        If the slope is not a finite number, or `x` is not a real floating array.

    Notes
    -----
    dy/dx is 1 for x > 0, and the slope otherwise (also at x = 0).

    References
    ----------
    Maas, Hannun and Ng (2013), Rectifier Nonlinearities Improve Neural Network Acoustic Models.

    Examples
    --------
    >>> import numpy as np
    >>> layer = LeakyRelu(slope=0.5)
    >>> layer.forward(np.asarray([1.0, 0.0, -3.0]))
    array([ 1. ,  0. , -1.5])
    >>> layer.backward(np.asarray([1.0, 1.0, 1.0]))
    array([1. , 0.5, 0.5])
    """

    def __init__(self, *, slope: float = 0.01) -> None:
        self.slope = check_number("LeakyRelu: slope", slope)

    def forward(self, x: Array) -> Array:
        """The output of the leaky ReLU for `x`, in the shape and dtype of `x`."""
        check_floating(namespace(x=x), "LeakyRelu", x=x)
        self.x = x
        return _leaky(x, x, self.slope)

    def backward(self, dout: Array) -> Array:
        """The derivative of the loss with respect to `x`."""
        return _leaky(dout, self.x, self.slope)


@elementwise
def _leaky(dout: Array, x: Array, slope: float) -> Array:
    return namespace(dout=dout, x=x).where(x > 0, dout, slope * dout)


class Tanh(Layer):
    """Hyperbolic tangent, y = (exp(x) - exp(-x)) / (exp(x) + exp(-x)).

    Notes
    -----
    dy/dx = 1 - y². The layer stores only its output for `backward`.

    Examples
    --------
    >>> import numpy as np
    >>> layer = Tanh()
    >>> layer.forward(np.asarray([0.0, 1.0])).round(3)
    array([0.   , 0.762])
    >>> layer.backward(np.asarray([1.0, 1.0])).round(3)
    array([1.  , 0.42])
    """

    def forward(self, x: Array) -> Array:
        """The hyperbolic tangent of `x`, in its shape and floating dtype."""
        xp = namespace(x=x)
        check_floating(xp, "Tanh", x=x)
        self.y = xp.tanh(x)
        return self.y

    def backward(self, dout: Array) -> Array:
        """The derivative of the loss with respect to `x`."""
        return _tanh_back(self.y, dout)


@elementwise
def _tanh_back(y: Array, dout: Array) -> Array:
    return dout * (1 - y * y)


class Gelu(Layer):
    """Gaussian error linear unit (GELU), in its approximation by tanh.

    y = x/2 (1 + tanh(u)) with u = sqrt(2/π) (x + 0.044715 x³). This approximates x Φ(x), where Φ is the distribution
    function of the standard normal distribution. The error is less than 5e-4. The exact function needs erf, which the
    array API does not have. In PyTorch, the function is ``gelu(x, approximate="tanh")``.

    Notes
    -----
    With t = tanh(u), dt/du = 1 - t² and du/dx = sqrt(2/π) (1 + 3 · 0.044715 x²), the product rule gives
    dy/dx = (1 + t)/2 + x/2 (1 - t²) du/dx.

    Below -10 and above 10, t rounds to -1 and 1. So that x³ cannot overflow, u is computed from z, which is x clipped
    to [-10, 10]. Where x is clipped, the second term is 0, so z can replace x in the second term, too.

    References
    ----------
    Hendrycks and Gimpel (2016), Gaussian Error Linear Units.

    Examples
    --------
    >>> import numpy as np
    >>> layer = Gelu()
    >>> layer.forward(np.asarray([-1.0, 0.0, 1.0])).round(3)
    array([-0.159,  0.   ,  0.841])
    >>> layer.backward(np.asarray([1.0, 1.0, 1.0])).round(3)
    array([-0.083,  0.5  ,  1.083])
    """

    def forward(self, x: Array) -> Array:
        """The output of the activation for `x`, in the shape and dtype of `x`."""
        check_floating(namespace(x=x), "Gelu", x=x)
        y, self.z, self.t = _gelu(x)
        return y

    def backward(self, dout: Array) -> Array:
        """The derivative of the loss with respect to `x`."""
        return _gelu_back(self.z, self.t, dout)


_SCALE, _CUBIC = math.sqrt(2 / math.pi), 0.044715


@elementwise
def _gelu(x: Array) -> tuple[Array, Array, Array]:
    z = backend_of(x).clip(x, -10.0, 10.0)
    t = namespace(x=x).tanh(_SCALE * z * (1 + _CUBIC * z * z))
    return 0.5 * x * (1 + t), z, t


@elementwise
def _gelu_back(z: Array, t: Array, dout: Array) -> Array:
    du = _SCALE * (1 + 3 * _CUBIC * z * z)
    return dout * (0.5 * (1 + t) + 0.5 * z * (1 - t * t) * du)


class Silu(Layer):
    """Sigmoid linear unit, y = x σ(x) with σ(x) = 1 / (1 + exp(-x)); also called swish.

    Notes
    -----
    With dσ/dx = σ (1 - σ), the product rule gives dy/dx = σ + x σ (1 - σ) = σ (1 + x (1 - σ)).

    References
    ----------
    Elfwing, Uchibe and Doya (2017), Sigmoid-Weighted Linear Units for Neural Network Function Approximation in
    Reinforcement Learning.

    Examples
    --------
    >>> import numpy as np
    >>> layer = Silu()
    >>> layer.forward(np.asarray([-1.0, 0.0, 1.0])).round(3)
    array([-0.269,  0.   ,  0.731])
    >>> layer.backward(np.asarray([1.0, 1.0, 1.0])).round(3)
    array([0.072, 0.5  , 0.928])
    """

    def forward(self, x: Array) -> Array:
        """The output of the activation for `x`, in the shape and dtype of `x`."""
        check_floating(namespace(x=x), "Silu", x=x)
        self.x, self.s = x, logistic(x)
        return x * self.s

    def backward(self, dout: Array) -> Array:
        """The derivative of the loss with respect to `x`."""
        return _silu_back(self.x, self.s, dout)


@elementwise
def _silu_back(x: Array, s: Array, dout: Array) -> Array:
    return dout * s * (1 + x * (1 - s))


class Softmax(Layer):
    """Exponentials scaled to sum to one along an axis, y_k = exp(x_k) / Σ_j exp(x_j).

    To train a classifier, use `SoftmaxWithLoss`, which computes softmax and the loss together.

    Parameters
    ----------
    axis : int, default -1
        The axis of the classes.

    Raises
    ------
    TypeError, ValueError
        If the axis is not an integer, if `x` has no such axis, or if `x` is not a real floating array.

    Notes
    -----
    dy_k/dx_j = y_k (1 - y_j) for j = k, and -y_k y_j otherwise. With dout_k = dL/dy_k,
    dL/dx_j = Σ_k dout_k dy_k/dx_j = y_j (dout_j - Σ_k dout_k y_k).

    References
    ----------
    Saito (2016), Deep Learning from Scratch, section 3.5.

    Examples
    --------
    >>> import numpy as np
    >>> layer = Softmax()
    >>> layer.forward(np.asarray([[0.3, 2.9, 4.0]])).round(3)
    array([[0.018, 0.245, 0.737]])
    >>> layer.backward(np.asarray([[0.0, 0.0, 1.0]])).round(3)
    array([[-0.013, -0.181,  0.194]])
    """

    def __init__(self, *, axis: int = -1) -> None:
        self.axis = check_integer("Softmax: axis", axis)

    def forward(self, x: Array) -> Array:
        """The softmax of `x`, in its shape and floating dtype."""
        check_floating(namespace(x=x), "Softmax", x=x)
        if not -x.ndim <= self.axis < x.ndim:
            raise ValueError(
                f"Softmax: x has shape {tuple(x.shape)} and no axis {self.axis}; choose one of its {x.ndim} axes"
            )
        self.y = softmax(x, axis=self.axis)
        return self.y

    def backward(self, dout: Array) -> Array:
        """The derivative of the loss with respect to `x`."""
        xp = namespace(y=self.y, dout=dout)
        return self.y * (dout - xp.sum(dout * self.y, axis=self.axis, keepdims=True))

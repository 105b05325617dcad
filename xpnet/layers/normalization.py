"""Batch normalization and layer normalization."""

from .._array import check_floating, namespace, size
from .._typing import Array
from .._validation import check_number
from ..backends import elementwise
from .base import Layer

__all__ = ["BatchNormalization", "LayerNormalization"]


class BatchNormalization(Layer):
    """Batch normalization: normalize each feature over the batch to mean 0 and variance 1, then y = gamma x̂ + beta.

    Parameters
    ----------
    gamma, beta : array of real floating dtype, shape (D,)
        The trainable scale and shift of each feature, or of each channel of images.
    mean, var : array, shape (D,), dtype of `gamma`, optional
        The running mean and variance. Pass both or neither.
    training : bool, default True
        True: normalize with the mean and variance of the batch. False: normalize with `mean` and `var`, which are
        then required.
    momentum : float, default 0.9
        The weight of the old value when a running statistic is updated, from 0 to 1. PyTorch's momentum is the weight
        of the batch, 1 - `momentum`.
    eps : float, default 1e-5
        A positive number that is added to the variance to avoid a division by 0.

    Attributes
    ----------
    state : tuple of arrays
        The running statistics after `forward`, ``(mean, var)``: new arrays in training, otherwise the arrays that
        were passed. ``()`` if no running statistics were passed.
    dgamma, dbeta : array, shape (D,)
        dL/dgamma and dL/dbeta. Available after `backward` or `backward_params`.

    Raises
    ------
    TypeError
        If `x` and the arrays of the layer do not have the same real floating dtype.
    ValueError
        If an option is out of range, if the shapes are not as above, or if `mean` and `var` are missing for
        ``training=False``. In training, also if there is only one value for each feature.

    Notes
    -----
    Let a feature have m values (N, or N·H·W in images). Let μ be their mean, v the mean of (x - μ)², and
    s = 1 / sqrt(v + eps), so x̂ = s (x - μ). Then dbeta = Σ dout and dgamma = Σ dout x̂. With g = gamma dout =
    dL/dx̂, dL/dx is the sum of three terms:

    - directly, dx̂/dx = s: s g_i;
    - through the mean, dx̂_j/dx_i = -s/m for each j: -s/m Σ_j g_j = -s gamma dbeta/m;
    - through the variance, where dv/dx_i = 2 (x_i - μ)/m and dx̂_j/dv = -x̂_j s²/2, together
      dx̂_j/dx_i = -s x̂_j x̂_i/m: -s x̂_i/m Σ_j g_j x̂_j = -s x̂_i gamma dgamma/m.

    The sum is dL/dx = gamma s (dout - dbeta/m - x̂ dgamma/m). Running statistics do not depend on x, so with
    ``training=False`` only the first term remains: gamma s dout.

    The batch is normalized with v, the mean over m values. The running variance is updated with the unbiased estimate
    m v/(m - 1). PyTorch does the same.

    References
    ----------
    Ioffe and Szegedy (2015), Batch Normalization. Saito (2016), Deep Learning from Scratch, section 6.3.

    Examples
    --------
    >>> import numpy as np
    >>> gamma, beta, mean, var = np.ones(2), np.zeros(2), np.zeros(2), np.ones(2)
    >>> layer = BatchNormalization(gamma, beta, mean, var)
    >>> layer.forward(np.asarray([[1.0, 10.0], [3.0, 50.0]])).round(4)
    array([[-1., -1.],
           [ 1.,  1.]])
    >>> mean, var = layer.state
    >>> mean, var
    (array([0.2, 3. ]), array([ 1.1, 80.9]))
    >>> layer = BatchNormalization(gamma, beta, mean, var, training=False)
    >>> layer.forward(np.asarray([[1.2, 3.9]])).round(3)
    array([[0.953, 0.1  ]])
    """

    def __init__(
        self,
        gamma: Array,
        beta: Array,
        mean: Array | None = None,
        var: Array | None = None,
        *,
        training: bool = True,
        momentum: float = 0.9,
        eps: float = 1e-5,
    ) -> None:
        given = {"gamma": gamma, "beta": beta, "mean": mean, "var": var}
        shapes = {name: tuple(a.shape) for name, a in given.items() if a is not None}
        if gamma.ndim != 1 or len(set(shapes.values())) > 1:
            found = ", ".join(f"{name} {shape}" for name, shape in shapes.items())
            raise ValueError(f"BatchNormalization: expected arrays of one shape (D,), got {found}")
        if (mean is None) != (var is None):
            raise ValueError("BatchNormalization: mean and var go together; pass both, or neither")
        if mean is None and not training:
            raise ValueError("BatchNormalization: without training=True it needs the running mean and var; pass both")
        self.gamma, self.beta = gamma, beta
        self.mean: Array = mean
        self.var: Array = var
        self.training = training
        self.momentum = check_number("BatchNormalization: momentum", momentum, "from 0 to 1")
        self.eps = check_number("BatchNormalization: eps", eps, "positive and finite")

    def forward(self, x: Array) -> Array:
        """Normalize, scale and shift `x`; sets `state`.

        Parameters
        ----------
        x : array, shape (N, D), or (N, D, ...) such as images (N, C, H, W)
            With ``training=False``, also one sample, shape (D,).

        Returns
        -------
        array, same shape, dtype and device as `x`
        """
        xp = namespace(x=x, gamma=self.gamma, beta=self.beta, mean=self.mean, var=self.var)
        check_floating(xp, "BatchNormalization", x=x, gamma=self.gamma, beta=self.beta, mean=self.mean, var=self.var)
        D = self.gamma.shape[0]
        if tuple(x.shape[:2][-1:]) != (D,):
            raise ValueError(
                f"BatchNormalization: x has shape {tuple(x.shape)}, but gamma, shape {(D,)}, expects {D} features: "
                f"(N, {D}) or (N, {D}, ...)"
            )
        self.axes = (0, *range(2, x.ndim))
        if self.training:
            self.m = _values_of_a_feature(x, D)
        mean = xp.mean(x, axis=self.axes) if self.training else self.mean
        deviation, squares = _deviation(x, _of_features(mean, x))
        var = xp.mean(squares, axis=self.axes) if self.training else self.var
        self.state = self._next_state(mean, var)
        self.s = _over_deviation(var, self.eps)
        s, gamma, beta = (_of_features(v, x) for v in (self.s, self.gamma, self.beta))
        self.normalized, y = _normalized(deviation, s, gamma, beta)
        return y

    def _next_state(self, mean: Array, var: Array) -> tuple[Array, ...]:
        if self.mean is None:
            return ()
        if not self.training:
            return self.mean, self.var
        old, new, unbiased = self.momentum, 1 - self.momentum, self.m / (self.m - 1)
        after: tuple[Array, ...] = _running(self.mean, self.var, mean, var, old, new, unbiased)
        return after

    def backward(self, dout: Array) -> Array:
        """The derivative of the loss with respect to `x`, in the shape of `x`; sets `dgamma` and `dbeta`, too."""
        self.backward_params(dout)
        gamma, s, dgamma, dbeta = (_of_features(v, dout) for v in (self.gamma, self.s, self.dgamma, self.dbeta))
        if self.training:
            return _batch_back(dout, self.normalized, gamma, s, dgamma, dbeta, self.m)
        return _product(dout, gamma, s)

    def backward_params(self, dout: Array) -> None:
        """Set `dgamma` and `dbeta` only."""
        xp = namespace(dout=dout, gamma=self.gamma)
        dout = dout if dout.ndim > 1 else dout[None, :]
        self.dgamma = xp.sum(dout * self.normalized, axis=self.axes)
        self.dbeta = xp.sum(dout, axis=self.axes)

    def gradients(self) -> tuple[Array, Array]:
        """``(dgamma, dbeta)``, after `backward` or `backward_params`."""
        return self.dgamma, self.dbeta


class LayerNormalization(Layer):
    """Layer normalization: normalize each sample by itself to mean 0 and variance 1, then y = gamma x̂ + beta.

    Parameters
    ----------
    gamma, beta : array of real floating dtype, both of the same shape, (D,) or more axes
        The trainable scale and shift of each element of a sample. If `gamma` has n axes, the mean and the variance
        are computed over the last n axes of the input.
    eps : float, default 1e-5
        A positive number that is added to the variance to avoid a division by 0.

    Attributes
    ----------
    dgamma, dbeta : array, shape of `gamma`
        dL/dgamma and dL/dbeta. Available after `backward` or `backward_params`.

    Raises
    ------
    TypeError
        If `x`, `gamma` and `beta` do not have the same real floating dtype.
    ValueError
        If `eps` is not positive, if `gamma` and `beta` have different shapes, or if `x` does not end with that shape.

    Notes
    -----
    With the mean μ and the variance v over the m elements of a sample, s = 1 / sqrt(v + eps) and x̂ = s (x - μ), the
    derivative is that of `BatchNormalization` with the roles of samples and elements exchanged. In batch
    normalization, gamma is constant within each sum. Here, each element has its own gamma, so gamma stays inside the
    sums, in g = gamma dout = dL/dx̂:

    dL/dx_i = s (g_i - Σ_j g_j/m - x̂_i Σ_j g_j x̂_j/m).

    Samples do not depend on each other. So a batch may consist of one sample, and the layer computes the same in
    training and in inference.

    References
    ----------
    Ba, Kiros and Hinton (2016), Layer Normalization.

    Examples
    --------
    >>> import numpy as np
    >>> layer = LayerNormalization(np.ones(3), np.zeros(3))
    >>> layer.forward(np.asarray([[1.0, 2.0, 3.0], [30.0, 40.0, 80.0]])).round(3)
    array([[-1.225,  0.   ,  1.225],
           [-0.926, -0.463,  1.389]])
    >>> layer.backward(np.asarray([[0.0, 0.0, 1.0], [1.0, 0.0, 0.0]])).round(3)
    array([[ 0.204, -0.408,  0.204],
           [ 0.018, -0.022,  0.004]])
    """

    def __init__(self, gamma: Array, beta: Array, *, eps: float = 1e-5) -> None:
        if gamma.ndim < 1 or tuple(beta.shape) != tuple(gamma.shape):
            raise ValueError(
                f"LayerNormalization: gamma has shape {tuple(gamma.shape)} and beta {tuple(beta.shape)}; "
                "expected one shape, (D,) or more axes"
            )
        self.gamma, self.beta = gamma, beta
        self.eps = check_number("LayerNormalization: eps", eps, "positive and finite")
        self.axes = tuple(range(-gamma.ndim, 0))

    def forward(self, x: Array) -> Array:
        """Normalize, scale and shift `x`.

        Parameters
        ----------
        x : array, shape ``(..., *gamma.shape)``

        Returns
        -------
        array, same shape, dtype and device as `x`
        """
        xp = namespace(x=x, gamma=self.gamma, beta=self.beta)
        check_floating(xp, "LayerNormalization", x=x, gamma=self.gamma, beta=self.beta)
        shape = tuple(self.gamma.shape)
        if tuple(x.shape[-len(shape) :]) != shape:
            raise ValueError(
                f"LayerNormalization: x has shape {tuple(x.shape)}, but gamma expects its last axes to be {shape}"
            )
        deviation, squares = _deviation(x, xp.mean(x, axis=self.axes, keepdims=True))
        var = xp.mean(squares, axis=self.axes, keepdims=True)
        self.s = _over_deviation(var, self.eps)
        self.normalized, y = _normalized(deviation, self.s, self.gamma, self.beta)
        return y

    def backward(self, dout: Array) -> Array:
        """The derivative of the loss with respect to `x`, in the shape of `x`; sets `dgamma` and `dbeta`, too."""
        xp = namespace(dout=dout, gamma=self.gamma)
        self.backward_params(dout)
        g, products = _weighed(dout, self.gamma, self.normalized)
        mean, along = (xp.mean(v, axis=self.axes, keepdims=True) for v in (g, products))
        return _sample_back(g, self.normalized, self.s, mean, along)

    def backward_params(self, dout: Array) -> None:
        """Set `dgamma` and `dbeta` only."""
        xp = namespace(dout=dout, gamma=self.gamma)
        samples = (-1, *self.gamma.shape)
        self.dgamma = xp.sum(xp.reshape(dout * self.normalized, samples), axis=0)
        self.dbeta = xp.sum(xp.reshape(dout, samples), axis=0)

    def gradients(self) -> tuple[Array, Array]:
        """``(dgamma, dbeta)``, after `backward` or `backward_params`."""
        return self.dgamma, self.dbeta


@elementwise
def _deviation(x: Array, mean: Array) -> tuple[Array, Array]:
    deviation = x - mean
    return deviation, deviation * deviation


@elementwise
def _over_deviation(var: Array, eps: float) -> Array:
    return 1 / namespace(var=var).sqrt(var + eps)


@elementwise
def _normalized(deviation: Array, s: Array, gamma: Array, beta: Array) -> tuple[Array, Array]:
    normalized = deviation * s
    return normalized, gamma * normalized + beta


@elementwise
def _running(
    mean: Array, var: Array, new_mean: Array, new_var: Array, old: float, new: float, unbiased: float
) -> tuple[Array, Array]:
    return old * mean + new * new_mean, old * var + new * (new_var * unbiased)


@elementwise
def _batch_back(dout: Array, normalized: Array, gamma: Array, s: Array, dgamma: Array, dbeta: Array, m: int) -> Array:
    return (gamma * s) * (dout - dbeta / m - normalized * (dgamma / m))


@elementwise
def _product(dout: Array, gamma: Array, s: Array) -> Array:
    return (gamma * s) * dout


@elementwise
def _weighed(dout: Array, gamma: Array, normalized: Array) -> tuple[Array, Array]:
    g = gamma * dout
    return g, g * normalized


@elementwise
def _sample_back(g: Array, normalized: Array, s: Array, mean: Array, along: Array) -> Array:
    return s * (g - mean - normalized * along)


def _of_features(v: Array, x: Array) -> Array:
    """Reshape one number for each feature, shape (D,), so that it broadcasts along axis 1 of `x`."""
    return v if x.ndim < 3 else namespace(v=v).reshape(v, (-1,) + (1,) * (x.ndim - 2))


def _values_of_a_feature(x: Array, D: int) -> int:
    m = size(x) // max(D, 1)
    if m < 2:
        raise ValueError(
            f"BatchNormalization: x has shape {tuple(x.shape)}, {m} value for each feature, but the statistics of a "
            "batch need at least 2; pass more samples, or the running statistics with training=False"
        )
    return m

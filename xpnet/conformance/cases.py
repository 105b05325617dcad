"""What is measured: every function and layer on small arrays, each with its definition written a second time.

The definitions are plain NumPy in float64, short rather than fast, and share no code with the rest of xpnet. They
also take complex numbers: for a tiny t the derivative of f along v is Im f(x + i t v) / t, with no difference to
round off.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypeAlias

import numpy as np

from .. import functions as f, layers, nn, numerical as g
from ..datasets import scale_images
from ..nn import Sequential

__all__ = ["CASES", "Case"]

Host: TypeAlias = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Case:
    """A function or layer, and the arrays that it is measured on.

    Attributes
    ----------
    name : str
    call : callable
        Of a function: takes the arrays. Of a layer: builds it from the parameters. Or a `Sequential`.
    definition : callable
        Takes all arrays, as float64 or complex NumPy arrays, and gives what `call` should.
    arrays : tuple of numpy.ndarray
        Parameters first, then inputs. A layer's floating inputs and parameters are moved where it has a derivative.
    params : int, optional
        How many of the arrays are parameters; None for a function, which has no backward.
    power : float, default 1
        The error allowed grows as the rounding of the dtype to this power: 2/3 for central differences.
    """

    name: str
    call: Any
    definition: Callable[..., Any]
    arrays: tuple[Host, ...]
    params: int | None = None
    power: float = 1.0

    def in_half(self, precision: str) -> "Case | None":
        """The case with products in half precision; None if the case has no matrix products."""
        kind = self.call.func if isinstance(self.call, partial) else self.call
        if kind not in (layers.Affine, layers.Convolution):
            return None
        return replace(self, call=partial(self.call, precision=precision))


RNG = np.random.default_rng(0)
X, Y, SCORES = RNG.normal(size=(5, 6)), RNG.normal(size=(5, 6)), 1.5 * RNG.normal(size=(5, 4))
LABELS, IDS = np.asarray([3, 0, 0, 1, 2]), np.asarray([[3, 0], [3, 5], [2, 3]])
PROBABILITIES = np.exp(SCORES) / np.exp(SCORES).sum(-1, keepdims=True)
ONE_HOT, YES, WEIGHT = np.eye(4)[LABELS], (RNG.random((5, 4)) < 0.5) * 1.0, 0.25 + RNG.random(5)
COUNTS, CLASS_WEIGHT = RNG.poisson(2.0, size=(5, 4)) * 1.0, np.asarray([0.5, 2.0, 1.0, 3.0])
W, B, GAMMA, BETA = RNG.normal(size=(6, 4)), RNG.normal(size=4), 1 + RNG.random(6), RNG.normal(size=6)
MEAN, VAR, KEPT = RNG.normal(size=6), 0.5 + RNG.random(6), RNG.random((5, 6)) < 0.5
IMAGES, FILTERS = RNG.normal(size=(2, 4, 6, 5)), RNG.normal(size=(4, 2, 3, 2))
GRAYS = np.arange(256).reshape(4, 64)
POINT = np.asarray([0.75, -1.5])


def _spaced(*shape: int) -> Host:
    """Numbers 0.3 apart and none nearer to 0 than 0.15: no measure crosses a kink or makes another the largest."""
    n = int(np.prod(shape))
    return 0.3 * (RNG.permutation(n) - n // 2).reshape(shape) + 0.15


# Definitions


def _where(condition: Any, x: Any) -> Any:
    return np.where(condition, x, 0)


def _sigmoid(x: Any) -> Any:
    return 1 / (1 + np.exp(-x))


def _softmax(x: Any, axis: int = -1) -> Any:
    return np.exp(x) / np.exp(x).sum(axis, keepdims=True)


def _gelu(x: Any) -> Any:
    return x / 2 * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))


def _cross_entropy(x: Any, t: Any) -> Any:
    return -np.log(_softmax(x))[np.arange(len(t)), t].mean()


def _weighed_cross_entropy(weight: Any, c: Any, x: Any, t: Any, smoothing: float, ignore: int) -> Any:
    weight = weight * (t != ignore)
    target = (1 - smoothing) * np.eye(x.shape[1])[t] + smoothing / x.shape[1]
    return -(weight[:, None] * c * target * np.log(_softmax(x))).sum() / (weight * c[t]).sum()


def _binary_cross_entropy(positive: Any, x: Any, t: Any) -> Any:
    return -(positive * t * np.log(_sigmoid(x)) + (1 - t) * np.log(1 - _sigmoid(x))).sum() / len(x)


def _deviance(x: Any, t: Any) -> Any:
    return (t * np.log(np.where(t > 0, t, 1)) - t * x - t + np.exp(x)).sum() / len(x)


def _huber(weight: Any, x: Any, t: Any, delta: float) -> Any:
    e = x - t
    far = np.where(e.real > 0, delta * (e - delta / 2), delta * (-e - delta / 2))
    return (weight[:, None] * np.where(abs(e.real) < delta, e * e / 2, far)).sum() / weight.sum()


def _normalized(x: Any, mean: Any, var: Any, eps: float = 1e-5) -> Any:
    return (x - mean) / np.sqrt(var + eps)


def _batch_norm(gamma: Any, beta: Any, x: Any) -> Any:
    axes, shape = (0, *range(2, x.ndim)), (-1,) + (1,) * (x.ndim - 2)
    mean = x.mean(axes, keepdims=True)
    return gamma.reshape(shape) * _normalized(x, mean, ((x - mean) ** 2).mean(axes, keepdims=True)) + beta.reshape(
        shape
    )


def _layer_norm(gamma: Any, beta: Any, x: Any) -> Any:
    mean = x.mean(-1, keepdims=True)
    return gamma * _normalized(x, mean, ((x - mean) ** 2).mean(-1, keepdims=True)) + beta


def _windows(x: Any, size: Any, stride: Any, padding: Any, dilation: Any, fill: float) -> Any:
    """What the windows see, shape (N, C, rows, columns, height, width)."""
    x = np.pad(x, [(0, 0), (0, 0), *((p, p) for p in padding)], constant_values=fill)
    reach = tuple((k - 1) * d + 1 for k, d in zip(size, dilation, strict=True))
    seen = np.lib.stride_tricks.sliding_window_view(x, reach, axis=(2, 3))
    return seen[:, :, :: stride[0], :: stride[1], :: dilation[0], :: dilation[1]]


def _convolution(
    W: Any, b: Any, x: Any, stride: Any = (1, 1), padding: Any = (0, 0), dilation: Any = (1, 1), groups: int = 1
) -> Any:
    seen = _windows(x, W.shape[2:], stride, padding, dilation, 0)
    parts = zip(np.split(seen, groups, axis=1), np.split(W, groups), strict=True)
    return np.concatenate([np.einsum("ncijkl,fckl->nfij", s, w) for s, w in parts], axis=1) + b[:, None, None]


def _max_pooling(x: Any, size: int, stride: int, padding: int) -> Any:
    seen = _windows(x, (size, size), (stride, stride), (padding, padding), (1, 1), -np.inf)
    seen = seen.reshape(*seen.shape[:4], -1)
    return np.take_along_axis(seen, seen.real.argmax(-1)[..., None], -1)[..., 0]


def _average_pooling(x: Any, size: int, stride: int, padding: int) -> Any:
    return np.nanmean(_windows(x, (size, size), (stride, stride), (padding, padding), (1, 1), np.nan), axis=(4, 5))


def _network(W1: Any, b1: Any, W2: Any, b2: Any, x: Any) -> Any:
    return _sigmoid(x @ W1 + b1) @ W2 + b2


def _convolution_network(W1: Any, b1: Any, W2: Any, b2: Any, x: Any) -> Any:
    return _average_pooling(np.tanh(_convolution(W1, b1, x)), 2, 2, 0).reshape(len(x), -1) @ W2 + b2


# Functions for numerical derivatives, in operators that all arrays have


def _cubic(p: Any) -> Any:
    return p[0] * p[0] * p[0] / 3 + p[0] * p[1]


def _cubic_gradient(p: Host) -> Host:
    return np.asarray([p[0] ** 2 + p[1], p[0]])


def _function(name: str, definition: Callable[..., Any], *arrays: Host, call: Any = None, power: float = 1.0) -> Case:
    return Case(name, call or getattr(f, name, None) or getattr(g, name), definition, arrays, power=power)


def _layer(name: str, definition: Callable[..., Any], params: Any, *inputs: Host, build: Any = None) -> Case:
    return Case(name, build or getattr(layers, name), definition, (*params, *inputs), len(params))


_differences = partial(_function, power=2 / 3)
_convolved: dict[str, Any] = {"stride": (2, 1), "padding": (1, 0), "dilation": (1, 2), "groups": 2}
_pooled: dict[str, Any] = {"size": 3, "stride": 2, "padding": 1}
_weighed: dict[str, Any] = {"smoothing": 0.1, "ignore": 0}

CASES: tuple[Case, ...] = (
    _function("scale_images", lambda x, like: x / 255, GRAYS, X, call=lambda x, like: scale_images(x, like.dtype)),
    _function("identity_function", lambda x: x, X),
    _function("step_function", lambda x: x > 0, X),
    _function("sigmoid", _sigmoid, 10 * X),
    _function("sigmoid_grad", lambda x: _sigmoid(x) * _sigmoid(-x), 10 * X),
    _function("relu", lambda x: _where(x > 0, x), X),
    _function("relu_grad", lambda x: x > 0, X),
    _function("softmax", _softmax, SCORES),
    _function("softmax, axis 0", partial(_softmax, axis=0), SCORES, call=partial(f.softmax, axis=0)),
    _function("log_softmax", lambda x: np.log(_softmax(x)), SCORES),
    _function("one_hot", lambda t, x: np.eye(4)[t], LABELS, X, call=lambda t, x: f.one_hot(t, 4, dtype=x.dtype)),
    _function("accuracy", lambda y, t: np.mean(y.argmax(-1) == t), SCORES, LABELS),
    _function(
        "confusion_matrix",
        lambda y, t: np.einsum("ni,nj->ij", np.eye(4)[t], np.eye(4)[y.argmax(-1)]),
        SCORES,
        LABELS,
    ),
    _function("sum_squared_error", lambda y, t: ((y - t) ** 2).sum() / 2 / len(y), PROBABILITIES, ONE_HOT),
    _function(
        "cross_entropy_error",
        lambda y, t: -np.log(y + 1e-7)[np.arange(len(t)), t].mean(),
        PROBABILITIES,
        LABELS,
    ),
    _function("softmax_cross_entropy", _cross_entropy, SCORES, LABELS),
    _function(
        "softmax_cross_entropy, one-hot",
        lambda x, t: -(t * np.log(_softmax(x))).sum() / len(t),
        SCORES,
        ONE_HOT,
        call=f.softmax_cross_entropy,
    ),
    _differences("numerical_diff", lambda x: 3 * x**2, X, call=lambda x: g.numerical_diff(lambda v: v * v * v, x)),
    _differences("numerical_gradient", _cubic_gradient, POINT, call=partial(g.numerical_gradient, _cubic)),
    _differences(
        "numerical_gradient_rows",
        lambda X: np.stack([_cubic_gradient(p) for p in X]),
        X[:3, :2],
        call=partial(g.numerical_gradient_rows, _cubic),
    ),
    _differences(
        "gradient_descent",
        lambda p: p * np.asarray([0.8, 0.6]) ** 5,
        POINT,
        call=lambda p: g.gradient_descent(lambda q: q[0] * q[0] + 2 * q[1] * q[1], p, lr=0.1, step_num=5),
    ),
    _layer("AddLayer", lambda x, y: x + y, (), X, Y),
    _layer("MulLayer", lambda x, y: x * y, (), X, Y),
    _layer("Relu", lambda x: _where(x.real > 0, x), (), _spaced(5, 6)),
    _layer(
        "LeakyRelu",
        lambda x: np.where(x.real > 0, x, 0.2 * x),
        (),
        _spaced(5, 6),
        build=partial(layers.LeakyRelu, slope=0.2),
    ),
    _layer("Sigmoid", _sigmoid, (), X),
    _layer("Tanh", np.tanh, (), X),
    _layer("Gelu", _gelu, (), X),
    _layer("Silu", lambda x: x * _sigmoid(x), (), X),
    _layer("Softmax", _softmax, (), SCORES),
    _layer("Softmax, axis 0", partial(_softmax, axis=0), (), SCORES, build=partial(layers.Softmax, axis=0)),
    _layer("Affine", lambda W, b, x: x @ W + b, (W, B), X),
    _layer("Affine, one sample", lambda W, b, x: x @ W + b, (W, B), X[0], build=layers.Affine),
    _layer("Flatten", lambda x: x.reshape(len(x), -1), (), IMAGES),
    _layer("Dropout", lambda kept, x: _where(kept, x / 0.75), (KEPT,), X, build=partial(layers.Dropout, 0.25)),
    _layer("BatchNormalization", _batch_norm, (GAMMA, BETA), X),
    _layer("BatchNormalization, images", _batch_norm, (GAMMA[:4], BETA[:4]), IMAGES, build=layers.BatchNormalization),
    _layer(
        "BatchNormalization, running",
        lambda gamma, beta, mean, var, x: gamma * _normalized(x, mean, var) + beta,
        (GAMMA, BETA, MEAN, VAR),
        X,
        build=partial(layers.BatchNormalization, training=False),
    ),
    _layer("LayerNormalization", _layer_norm, (GAMMA, BETA), X),
    _layer("Embedding", lambda W, ids: W[ids], (W,), IDS),
    _layer("Convolution", _convolution, (FILTERS, B), IMAGES[:, :2]),
    _layer(
        "Convolution, all options",
        partial(_convolution, **_convolved),
        (FILTERS, B),
        IMAGES,
        build=partial(layers.Convolution, **_convolved),
    ),
    _layer(
        "MaxPooling",
        partial(_max_pooling, **_pooled),
        (),
        _spaced(2, 2, 5, 6),
        build=partial(layers.MaxPooling, 3, stride=2, padding=1),
    ),
    _layer(
        "AveragePooling",
        partial(_average_pooling, **_pooled),
        (),
        IMAGES,
        build=partial(layers.AveragePooling, 3, stride=2, padding=1),
    ),
    _layer(
        "Residual",
        lambda W, b, x: x @ W + b + np.tanh(x),
        (W[:4], B),
        SCORES,
        build=lambda W, b: layers.Residual([layers.Affine(W, b)], [layers.Tanh()]),
    ),
    _layer("SoftmaxWithLoss", _cross_entropy, (), SCORES, LABELS),
    _layer(
        "SoftmaxWithLoss, all options",
        partial(_weighed_cross_entropy, **_weighed),
        (WEIGHT, CLASS_WEIGHT),
        SCORES,
        LABELS,
        build=lambda weight, c: layers.SoftmaxWithLoss(weight, class_weight=c, **_weighed),
    ),
    _layer("SigmoidWithLoss", partial(_binary_cross_entropy, 1), (), SCORES, YES),
    _layer(
        "SigmoidWithLoss, positive weights",
        _binary_cross_entropy,
        (CLASS_WEIGHT,),
        SCORES,
        YES,
        build=lambda positive: layers.SigmoidWithLoss(positive_weight=positive),
    ),
    _layer("IdentityWithLoss", lambda x, t: ((x - t) ** 2).sum() / 2 / len(x), (), X, Y),
    _layer("ExponentialWithLoss", _deviance, (), SCORES, COUNTS),
    _layer(
        "HuberLoss",
        partial(_huber, delta=0.6),
        (WEIGHT,),
        _spaced(5, 4),
        np.zeros((5, 4)),
        build=partial(layers.HuberLoss, delta=0.6),
    ),
    _layer(
        "Sequential, two-layer network",
        _network,
        (W, B, RNG.normal(size=(4, 3)), RNG.normal(size=3)),
        X,
        build=Sequential(nn.Dense(4), nn.Sigmoid(), nn.Dense(3)),
    ),
    _layer(
        "Sequential, convolution network",
        _convolution_network,
        (FILTERS, B, RNG.normal(size=(16, 3)), RNG.normal(size=3)),
        0.5 * IMAGES[:, :2],
        build=Sequential(nn.Conv2d(4, (3, 2)), nn.Tanh(), nn.AvgPool2d(2), nn.Dense(3)),
    ),
)

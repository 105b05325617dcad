"""Initial weights, drawn on the host in float64, so that a seed gives the same weights on every backend."""

import math
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from .._validation import check_integer, check_number

__all__ = ["He", "Normal", "Orthogonal", "Xavier", "Zeros"]

HostArray: TypeAlias = np.ndarray[Any, np.dtype[np.float64]]


@dataclass(frozen=True)
class Normal:
    """Weights from the normal distribution with mean 0 and a given standard deviation.

    Parameters
    ----------
    std : float, default 0.01
        The standard deviation, not negative.

    Examples
    --------
    >>> weights = Normal(0.01)(np.random.default_rng(0), (2, 3))
    >>> weights.shape, weights.dtype
    ((2, 3), dtype('float64'))
    """

    std: float = 0.01

    def __post_init__(self) -> None:
        object.__setattr__(self, "std", check_number("Normal: std", self.std, "finite and not negative"))

    def __call__(self, rng: np.random.Generator, shape: tuple[int, ...]) -> HostArray:
        """Draw weights of `shape`."""
        return self.std * rng.standard_normal(shape)


@dataclass(frozen=True)
class He:
    """He initialization: normally distributed weights, standard deviation sqrt(2 / n), for n inputs of a unit.

    In networks with ReLU, the outputs of all layers then have similar sizes, however many layers there are.

    References
    ----------
    He et al. (2015), Delving Deep into Rectifiers. Saito (2016), Deep Learning from Scratch, section 6.2.3.

    Examples
    --------
    >>> weights = He()(np.random.default_rng(0), (800, 50))
    >>> print(weights.std().round(2))
    0.05
    """

    def __call__(self, rng: np.random.Generator, shape: tuple[int, ...]) -> HostArray:
        """Draw weights of `shape`: (n, units), or (filters, channels, height, width)."""
        return Normal((2 / inputs(shape)) ** 0.5)(rng, shape)


@dataclass(frozen=True)
class Xavier:
    """Xavier initialization: normally distributed weights, standard deviation sqrt(1 / n), for n inputs of a unit.

    Sigmoid and tanh are nearly linear around 0, so the outputs of all layers then have similar sizes. This is the
    formula of the book. The formula of Glorot and Bengio, sqrt(2 / (n + units)), takes the backward pass into
    account, too.

    References
    ----------
    Glorot and Bengio (2010), Understanding the difficulty of training deep feedforward neural networks. Saito (2016),
    Deep Learning from Scratch, section 6.2.2.

    Examples
    --------
    >>> weights = Xavier()(np.random.default_rng(0), (400, 50))
    >>> print(weights.std().round(2))
    0.05
    """

    def __call__(self, rng: np.random.Generator, shape: tuple[int, ...]) -> HostArray:
        """Draw weights of `shape`: (n, units), or (filters, channels, height, width)."""
        return Normal((1 / inputs(shape)) ** 0.5)(rng, shape)


@dataclass(frozen=True)
class Zeros:
    """Zeros, for biases. Do not use `Zeros` for weights: all units of a layer would stay equal during training.

    Examples
    --------
    >>> Zeros()(np.random.default_rng(0), (3,))
    array([0., 0., 0.])
    """

    def __call__(self, rng: np.random.Generator, shape: tuple[int, ...]) -> HostArray:
        """Weights of `shape`."""
        return np.zeros(shape)


@dataclass(frozen=True)
class Orthogonal:
    """Weights with orthogonal columns of length `gain`, or orthogonal rows if there are fewer rows than columns.

    A layer with as many units as inputs then keeps the length of its input vector. Filters are a matrix with one row
    for each filter.

    Parameters
    ----------
    gain : float, default 1.0
        The length of the columns or rows. For ReLU, use sqrt(2).

    References
    ----------
    Saxe, McClelland and Ganguli (2014), Exact solutions to the nonlinear dynamics of learning in deep linear neural
    networks.

    Examples
    --------
    >>> W = Orthogonal()(np.random.default_rng(0), (5, 3))
    >>> bool(np.allclose(W.T @ W, np.eye(3)))
    True
    """

    gain: float = 1.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "gain", check_number("Orthogonal: gain", self.gain, "positive and finite"))

    def __call__(self, rng: np.random.Generator, shape: tuple[int, ...]) -> HostArray:
        """Draw weights of `shape`, of two dimensions or more."""
        if len(shape) < 2:
            raise ValueError(f"Orthogonal: weights must have two dimensions or more, got shape {shape}")
        rows, columns = shape[0], math.prod(shape[1:])
        q, r = np.linalg.qr(rng.standard_normal((max(rows, columns), min(rows, columns))))
        q = q * np.sign(np.diag(r))  # without this, the matrices would not be uniformly distributed
        return self.gain * (q if rows >= columns else q.T).reshape(shape)


def inputs(shape: tuple[int, ...]) -> int:
    """The number of inputs of a unit, for weights of `shape` (n, units) or (filters, channels, height, width)."""
    return shape[0] if len(shape) == 2 else math.prod(shape[1:])


def generator(seed: int | np.random.Generator) -> np.random.Generator:
    """The random generator for an integer `seed`; a generator is returned unchanged.

    Raises
    ------
    TypeError
        If `seed` is None or is not an integer. A run without a seed could not be repeated.
    """
    if isinstance(seed, np.random.Generator):
        return seed
    try:
        return np.random.default_rng(check_integer("seed", seed, 0))
    except (TypeError, ValueError):
        raise TypeError(f"seed must be an integer of at least 0 or a numpy.random.Generator, got {seed!r}") from None

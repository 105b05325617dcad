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
    """Weights from the normal distribution with standard deviation sqrt(2 / n), n being the inputs of a unit.

    Signals then keep their size through layers with ReLU, however many there are.

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
    """Weights from the normal distribution with standard deviation sqrt(1 / n), n being the inputs of a unit.

    Signals then keep their size through layers with a sigmoid or tanh, which are nearly linear around 0. This is the
    book's form; Glorot and Bengio's own, sqrt(2 / (n + units)), looks at the way back too.

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
    """Weights of 0: right for biases. Units of a layer with weights of 0 stay alike for ever.

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
    """Weights whose columns (or rows, where these are fewer) are orthogonal and of length `gain`.

    A signal's length is then kept exactly, as far as the number of units allows. Filters are taken as a matrix with a
    row for each.

    Parameters
    ----------
    gain : float, default 1.0
        sqrt(2) suits ReLU.

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
        q = q * np.sign(np.diag(r))  # or the directions would not be drawn evenly
        return self.gain * (q if rows >= columns else q.T).reshape(shape)


def inputs(shape: tuple[int, ...]) -> int:
    """How many inputs a unit has, with weights of `shape` (n, units) or (filters, channels, height, width)."""
    return shape[0] if len(shape) == 2 else math.prod(shape[1:])


def generator(seed: int | np.random.Generator) -> np.random.Generator:
    """The generator that `seed` names: `seed` itself where it is one.

    Raises
    ------
    TypeError
        If `seed` is None or no integer: an unseeded run cannot be repeated.
    """
    if isinstance(seed, np.random.Generator):
        return seed
    try:
        return np.random.default_rng(check_integer("seed", seed, 0))
    except (TypeError, ValueError):
        raise TypeError(f"seed must be an integer of at least 0 or a numpy.random.Generator, got {seed!r}") from None

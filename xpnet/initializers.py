"""Initial weights, drawn on the host in float64, so that a seed gives the same weights on every backend."""

from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

__all__ = ["He", "Normal", "generator"]

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
        if not (np.isfinite(self.std) and self.std >= 0):
            raise ValueError(f"Normal: std must be finite and not negative, got {self.std!r}")

    def __call__(self, rng: np.random.Generator, shape: tuple[int, ...]) -> HostArray:
        """Draw weights of `shape`."""
        return self.std * rng.standard_normal(shape)


@dataclass(frozen=True)
class He:
    """Weights from the normal distribution with standard deviation sqrt(2 / D), D being the inputs of a unit.

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
        """Draw weights of `shape`, (D, units)."""
        return Normal((2 / shape[0]) ** 0.5)(rng, shape)


def generator(seed: int | np.random.Generator) -> np.random.Generator:
    """The generator that `seed` names: `seed` itself where it is one.

    Raises
    ------
    TypeError
        If `seed` is None or no integer: an unseeded run cannot be repeated.
    """
    if isinstance(seed, np.random.Generator):
        return seed
    if isinstance(seed, (int, np.integer)) and not isinstance(seed, bool) and seed >= 0:
        return np.random.default_rng(seed)
    raise TypeError(f"seed must be an integer from 0 or a numpy.random.Generator, got {seed!r}")

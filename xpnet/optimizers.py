"""Optimizers: parameters and gradients in, new parameters out; what they remember is handed in and out too."""

from dataclasses import dataclass
from typing import Protocol, TypeAlias

from ._array import Array

__all__ = ["SGD"]

Params: TypeAlias = dict[str, Array]


class Optimizer(Protocol):
    """What training asks of an optimizer."""

    @property
    def lr(self) -> float:
        """The learning rate."""

    def init(self, params: Params, /) -> Params:
        """The state before the first update."""

    def update(self, params: Params, gradients: Params, state: Params, /) -> tuple[Params, Params]:
        """New parameters and the next state; a pure function."""


@dataclass(frozen=True)
class SGD:
    """Stochastic gradient descent, p ← p - lr dL/dp.

    Parameters
    ----------
    lr : float, default 0.1
        The learning rate, positive.

    References
    ----------
    Saito (2016), Deep Learning from Scratch, sections 4.5 and 6.1.2.

    Examples
    --------
    >>> import numpy as np
    >>> optimizer = SGD(lr=0.5)
    >>> params = {"W": np.asarray([1.0, 2.0])}
    >>> params, state = optimizer.update(params, {"W": np.asarray([2.0, 0.0])}, optimizer.init(params))
    >>> params["W"]
    array([0., 2.])
    """

    lr: float = 0.1

    def __post_init__(self) -> None:
        if not 0 < float(self.lr) < float("inf"):
            raise ValueError(f"SGD: lr must be positive and finite, got {self.lr!r}")
        object.__setattr__(self, "lr", float(self.lr))  # a NumPy scalar would widen float32 parameters

    def init(self, params: Params, /) -> Params:
        """Nothing to remember."""
        return {}

    def update(self, params: Params, gradients: Params, state: Params, /) -> tuple[Params, Params]:
        """One step against the gradient."""
        return {name: p - self.lr * gradients[name] for name, p in params.items()}, state

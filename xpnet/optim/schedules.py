"""Schedules: the learning rate as a function of the number of updates so far."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from numbers import Real
from types import SimpleNamespace
from typing import Any

from .._array import device, has_float64, is_integral, namespace
from .._typing import Array, Namespace, Schedule
from .._validation import check_integer, check_number
from ..backends import on_arrays_device

__all__ = ["CosineDecay", "StepDecay", "WarmUp"]

_PYTHON = SimpleNamespace(maximum=max, minimum=min, sin=math.sin)
"""The functions of a namespace that schedules need, for Python numbers."""


def _namespace(step: Array | int) -> Namespace:
    return _PYTHON if isinstance(step, int) else namespace(step=step)


def real(step: Array | int) -> Array | float:
    """The integer `step` as a real number.

    An array becomes float64 if its library and device have float64, whatever the dtype of the parameters. So the
    learning rate is exact for float64 parameters, and is rounded only once for other parameters.
    """
    if isinstance(step, int):
        return float(step)
    xp = namespace(step=step)
    if not is_integral(xp, step.dtype):
        raise TypeError(f"step must have an integer dtype, got {step.dtype}; it counts the updates made before")
    return xp.astype(step, xp.float64 if has_float64(xp, device(step)) else xp.float32)


def number_or_schedule(name: str, value: Any) -> float | Schedule:
    """`value` as a learning rate: a positive Python float, or a schedule, which is returned unchanged."""
    if isinstance(value, Real):
        return check_number(name, value, "positive and finite")
    if callable(value) and not isinstance(value, type):
        schedule: Schedule = value
        return schedule
    raise TypeError(f"{name} must be a number or a schedule, such as CosineDecay(0.1, 1000), got {value!r}")


def _set(schedule: Any, check: Callable[..., Any], option: str, *expected: Any) -> None:
    """Replace an option of a schedule by its checked value."""
    value = check(f"{type(schedule).__name__}: {option}", getattr(schedule, option), *expected)
    object.__setattr__(schedule, option, value)


@dataclass(frozen=True)
class StepDecay:
    """A learning rate that is multiplied by `factor` after each `every` updates, lr factor^⌊step / every⌋.

    Parameters
    ----------
    lr : float
        The initial learning rate, a positive number.
    every : int
        The number of updates between two changes, at least 1.
    factor : float, default 0.1
        The factor, above 0 and at most 1.

    Notes
    -----
    This is PyTorch's `StepLR`, if its `step` is called after each update.

    Examples
    --------
    >>> schedule = StepDecay(0.5, every=2, factor=0.5)
    >>> [schedule(step) for step in range(5)]
    [0.5, 0.5, 0.25, 0.25, 0.125]
    """

    lr: float
    every: int
    factor: float = 0.1

    def __post_init__(self) -> None:
        _set(self, check_integer, "every", 1)
        _set(self, check_number, "lr", "positive and finite")
        _set(self, check_number, "factor", "above 0 and at most 1")

    @on_arrays_device
    def __call__(self, step: Array | int, /) -> Array | float:
        """The learning rate after `step` updates.

        Parameters
        ----------
        step : int, or array of integer dtype and any shape

        Returns
        -------
        float, or array in the shape of `step`
            An array has dtype float64, or float32 if its library or device has no float64.
        """
        return self.lr * self.factor ** real(step // self.every)


@dataclass(frozen=True)
class CosineDecay:
    """A learning rate that falls along half a cosine, final + (lr - final) (1 + cos(π step / steps)) / 2.

    Parameters
    ----------
    lr : float
        The initial learning rate, a positive number.
    steps : int
        The number of updates until the learning rate is `final`, at least 1.
    final : float, default 0.0
        The learning rate after `steps` updates, from 0 to `lr`.

    Notes
    -----
    The formula (1 + cos πs) / 2 is computed as sin²(π (1 - s) / 2), which is more accurate if the learning rate is
    near 0.

    This is optax's `cosine_decay_schedule` with ``alpha=final / lr``. It is PyTorch's `CosineAnnealingLR` up to
    `steps` updates. After that, PyTorch's learning rate rises again.

    References
    ----------
    Loshchilov and Hutter (2017), SGDR: Stochastic Gradient Descent with Warm Restarts.

    Examples
    --------
    >>> schedule = CosineDecay(0.5, steps=4)
    >>> [round(schedule(step), 3) for step in range(6)]
    [0.5, 0.427, 0.25, 0.073, 0.0, 0.0]
    """

    lr: float
    steps: int
    final: float = 0.0

    def __post_init__(self) -> None:
        _set(self, check_integer, "steps", 1)
        _set(self, check_number, "lr", "positive and finite")
        _set(self, check_number, "final", "finite and not negative")
        if self.final > self.lr:
            raise ValueError(f"CosineDecay: final must be at most lr, {self.lr}, got {self.final}")

    @on_arrays_device
    def __call__(self, step: Array | int, /) -> Array | float:
        """The learning rate after `step` updates.

        Parameters
        ----------
        step : int, or array of integer dtype and any shape

        Returns
        -------
        float, or array in the shape of `step`
            An array has dtype float64, or float32 if its library or device has no float64.
        """
        xp = _namespace(step)
        left = real(self.steps - xp.minimum(step, self.steps)) / self.steps
        return self.final + (self.lr - self.final) * xp.sin(math.pi / 2 * left) ** 2


@dataclass(frozen=True)
class WarmUp:
    """A learning rate that rises linearly from 0 (warm-up), and then follows `then`.

    Parameters
    ----------
    steps : int
        The number of updates of the warm-up, at least 1.
    then : float or schedule
        The learning rate after the warm-up. A schedule starts at its step 0 there. The warm-up ends at the first
        value of the schedule.

    Notes
    -----
    The learning rate is then(0) step / steps before `steps`, and then(step - steps) afterwards. At step 0 it is 0, so
    the first update does not change the parameters. It changes only the optimizer state. This is optax's
    ``join_schedules([linear_schedule(0, peak, steps), then], [steps])``.

    References
    ----------
    Goyal et al. (2017), Accurate, Large Minibatch SGD: Training ImageNet in 1 Hour.

    Examples
    --------
    >>> schedule = WarmUp(2, then=StepDecay(0.5, every=2, factor=0.5))
    >>> [schedule(step) for step in range(6)]
    [0.0, 0.25, 0.5, 0.5, 0.25, 0.25]
    """

    steps: int
    then: float | Schedule

    def __post_init__(self) -> None:
        _set(self, check_integer, "steps", 1)
        _set(self, number_or_schedule, "then")

    @on_arrays_device
    def __call__(self, step: Array | int, /) -> Array | float:
        """The learning rate after `step` updates.

        Parameters
        ----------
        step : int, or array of integer dtype and any shape

        Returns
        -------
        float, or array in the shape of `step`
            An array has dtype float64, or float32 if its library or device has no float64.
        """
        xp = _namespace(step)
        share = real(xp.minimum(step, self.steps)) / self.steps
        rate = self.then(xp.maximum(step, self.steps) - self.steps) if callable(self.then) else self.then
        return rate * share

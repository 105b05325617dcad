"""Optimizers, and schedules of their learning rates."""

from . import optimizers, schedules
from .optimizers import *
from .schedules import *

__all__: list[str] = []
__all__ += optimizers.__all__
__all__ += schedules.__all__


def __dir__() -> list[str]:
    return sorted(__all__)

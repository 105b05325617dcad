"""The options of a training run as a frozen dataclass, and the ways to name an optimizer."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np

from .._validation import check_flag, check_integer, check_number
from ..nn.networks import Network
from ..optim import optimizers
from ..optim.optimizers import SGD, Optimizer
from .callbacks import Callback
from .history import History
from .step import Transform

__all__ = ["OPTIMIZERS", "Options", "OptimizerLike", "PlainCallback", "optimizer_of"]

PlainCallback: TypeAlias = Callable[[Network, History], bool | None]
OptimizerLike: TypeAlias = Optimizer | type[Optimizer] | str

OPTIMIZERS: dict[str, type[Optimizer]] = {
    name.lower(): getattr(optimizers, name) for name in sorted(optimizers.__all__) if name != "Optimizer"
}
"""The optimizers that can be given by name, such as "adam"."""


@dataclass(frozen=True)
class Options:
    """The checked options of a run. See `fit` for their meaning."""

    epochs: int = 17
    batch_size: int = 100
    sampling: Literal["shuffle", "replacement"] = "shuffle"
    seed: int | np.random.Generator = 0
    transform: Transform | None = None
    validation: float = 0.0
    patience: int | None = None
    accumulate: int = 1
    callbacks: Sequence[Callback | PlainCallback] = ()
    checkpoint: str | os.PathLike[str] | None = None
    resume: bool = False
    progress: bool = True

    def __post_init__(self) -> None:
        for name, least in (("epochs", 0), ("batch_size", 1), ("accumulate", 1)):
            object.__setattr__(self, name, check_integer(name, getattr(self, name), least))
        for name in ("resume", "progress"):
            object.__setattr__(self, name, check_flag(name, getattr(self, name)))
        if self.sampling not in ("shuffle", "replacement"):
            raise ValueError(f"sampling must be 'shuffle' or 'replacement', got {self.sampling!r}")
        object.__setattr__(self, "validation", check_number("validation", self.validation, "from 0 to below 1"))
        if self.patience is not None:
            object.__setattr__(self, "patience", check_integer("patience", self.patience, 1))
            if not self.validation:
                raise ValueError("patience needs validation samples to watch; pass validation=0.1, for example")
        if self.resume and self.checkpoint is None:
            raise ValueError("resume=True needs checkpoint=FILE, the file of the run to resume")
        if not (
            self.checkpoint is None or (isinstance(self.checkpoint, (str, os.PathLike)) and str(self.checkpoint))
        ):
            raise TypeError(f"checkpoint must be a path, such as 'run.safetensors', got {self.checkpoint!r}")
        if self.transform is not None and not callable(self.transform):
            raise TypeError(f"transform must be a function of a batch of samples, got {self.transform!r}")
        if not isinstance(self.callbacks, Sequence):
            raise TypeError(f"callbacks must be a list, such as [callback], got {self.callbacks!r}")
        for callback in self.callbacks:
            if isinstance(callback, type) or not (callable(callback) or isinstance(callback, Callback)):
                raise TypeError(
                    f"callbacks must be functions callback(network, history) or objects of subclasses of "
                    f"xpnet.Callback, got {callback!r}"
                )


def optimizer_of(given: Any, learning_rate: float | None = None) -> Optimizer:
    """The optimizer for `given`: an optimizer object, a class such as `Adam`, or a name such as "adam".

    Raises
    ------
    TypeError, ValueError
        If `given` is none of these, or if `learning_rate` is passed together with an optimizer object.
    """
    named = OPTIMIZERS.get(given.lower(), given) if isinstance(given, str) else SGD if given is None else given
    if isinstance(named, Optimizer):
        if learning_rate is not None:
            raise ValueError(
                f"learning_rate={learning_rate!r} is for an optimizer that is given by its name or class, but an "
                f"object is given; pass {type(named).__name__}({learning_rate!r})"
            )
        return named
    if isinstance(named, type) and issubclass(named, Optimizer) and named is not Optimizer:
        return named() if learning_rate is None else named(learning_rate)
    if isinstance(given, str):
        raise ValueError(f"optimizer {given!r} is not known; choose one of {', '.join(OPTIMIZERS)}")
    kind = given if isinstance(given, type) else type(given)
    raise TypeError(
        f"optimizer must be an optimizer of xpnet, such as SGD(0.1), or one of {', '.join(OPTIMIZERS)}; got "
        f"{kind.__name__ if kind.__module__ == 'builtins' else f'{kind.__module__}.{kind.__qualname__}'}"
    )

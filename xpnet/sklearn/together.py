"""Fit many estimators at once."""

import contextlib
import time
import warnings
from collections.abc import Callable, Sequence
from copy import copy
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from scipy.sparse import issparse

from .._array import device, namespace
from .._typing import Array, Params
from ..backends import Draw, to_numpy
from ..training.step import Carry, is_known
from ..training.together import Together, cut, numbers_of, part
from .perceptrons import Data, Host, _Perceptron, has_sparse_layout

__all__ = ["Fit", "fit_together", "is_suitable"]

_NUMBERS = ("lr", "momentum", "weight_decay", "clip_norm")
"""The options of the optimizers that may differ between estimators that are fitted at once."""


@dataclass(eq=False)
class Fit:
    """A call of `fit`: the estimator and its arguments. After `fit_together`, also what the call raised and warned.

    Attributes
    ----------
    estimator : MLPClassifier or MLPRegressor
    X, y, sample_weight
        The arguments of `fit`.
    error : Exception or None
        The error that `fit` raises.
    warned : list of warnings
        The warnings of `fit`.
    together : bool
        Whether the estimator was fitted together with others.
    seconds : float
        The time of the fit: an equal part of the time of those that were fitted together.
    """

    estimator: Any
    X: Any
    y: Any
    sample_weight: Any = None
    error: Exception | None = None
    warned: Any = ()
    together: bool = False
    seconds: float = 0.0

    @contextlib.contextmanager
    def recorded(self) -> Any:
        """A context that records the time and the warnings, and an error, instead of raising it."""
        start = time.perf_counter()
        with warnings.catch_warnings(record=True) as warned, np.errstate(over="ignore", invalid="ignore"):
            warnings.simplefilter("always")
            try:
                yield
            except Exception as error:
                self.error = error
        self.warned = [*self.warned, *warned]
        self.seconds += time.perf_counter() - start


def fit_together(fits: Sequence[Fit], memory: int | None = None) -> list[Fit]:
    """Fit estimators: those that can be fitted together at once, the others one by one.

    Estimators are fitted at once if they have the same layers, solver, mini-batch size, dtype and number of samples.
    They may differ in random states, samples, learning rates, `alpha`, `momentum`, `tol`, `max_iter` and the other
    options that do not change the arrays of an update. With an optimizer of xpnet, they may also differ in its
    `weight_decay` and `clip_norm`.

    Parameters
    ----------
    fits : sequence of Fit
    memory : int, optional
        See `xpnet.fit_many`.

    Returns
    -------
    list of Fit
        `fits`, with their results.
    """
    groups = dict[Any, list[_Member]]()
    known = dict[Any, Data]()
    for fit in fits:
        if not is_suitable(fit):
            with fit.recorded():
                fit.estimator.fit(fit.X, fit.y, fit.sample_weight)
            continue
        with fit.recorded():
            member = _Member(fit, known)
            groups.setdefault(member.key, []).append(member)
            fit.together = True
    for group in groups.values():
        first = group[0]
        params, shapes = first.model._params, first.stack.shapes(tuple(first.data[0].shape[1:]))
        numbers = numbers_of(params, len(first.optimizer.state_names), shapes, first.epochs.size)
        for members in cut(group, params, numbers, memory):
            start = time.perf_counter()
            _Group(members).train()
            for member in members:
                member.fit.seconds += (time.perf_counter() - start) / len(members)
    return list(fits)


def is_suitable(fit: Fit) -> bool:
    """Whether an estimator can be fitted together with others."""
    estimator, weights = fit.estimator, fit.sample_weight  # mini-batches without a weight above 0 are left out
    host = to_numpy(weights) if hasattr(weights, "dtype") else weights
    whole = weights is None or bool(np.asarray(host).all())
    of_classes = getattr(estimator, "class_weight", None)
    if isinstance(of_classes, (dict, list)):
        dicts = of_classes if isinstance(of_classes, list) else [of_classes]
        whole = whole and all(isinstance(d, dict) and 0 not in d.values() for d in dicts)
    sparse = issparse(fit.X) or has_sparse_layout(fit.X)
    known = is_known(estimator.optimizer)  # an optimizer of one's own may need the values of its arrays
    return estimator.solver in ("adam", "sgd") and not estimator.warm_start and not sparse and whole and known


class _Member:
    """An estimator whose arguments are checked. Arguments that are in `known` are converted only once."""

    def __init__(self, fit: Fit, known: dict[Any, Data]) -> None:
        self.fit, self.over = fit, False
        self.model: _Perceptron = fit.estimator
        self.stack, data, targets = self.model._prepare(fit.X, fit.y, fit.sample_weight, incremental=False)
        kind = type(self.model), self.model.out_activation_, repr(getattr(self.model, "class_weight", None))
        self.data = known.setdefault((*kind, id(fit.X), id(fit.y), id(fit.sample_weight)), data)
        self.epochs = self.model._start(self.stack, self.data, targets, incremental=False)
        self.optimizer = self.model._new_optimizer()

    @property
    def key(self) -> tuple[Any, ...]:
        """What must be equal for estimators that are fitted at once."""
        names = [f.name for f in fields(self.optimizer)]
        options = [float if self.differs(name) else getattr(self.optimizer, name) for name in names]
        return (
            repr(self.stack),
            type(self.optimizer),
            *options,
            self.epochs.size,
            self.epochs.count,
            *((tuple(a.shape[1:]), str(a.dtype), type(a), str(device(a))) for a in self.data),
        )

    def differs(self, name: str) -> bool:
        """Whether an option of the optimizer may differ between estimators that are fitted at once."""
        return name in _NUMBERS and type(getattr(self.optimizer, name, None)) is float

    def end_epoch(self, losses: Host, carry: Carry, i: int) -> None:
        """scikit-learn's end of an epoch; `i` is the place of this estimator in `carry`."""
        self.epochs.sizes = [
            min(self.epochs.size, self.epochs.count - k * self.epochs.size) for k in range(len(losses))
        ]
        with self.fit.recorded():
            self.epochs.record(losses.tolist())
            finite = bool(np.isfinite(losses).all())
            stops = finite and self.epochs.ends(lambda: part(carry._replace(memory={}), i))
            self.over = stops or not finite or self.model.n_iter_ == self.model.max_iter
            if self.over:
                self.epochs.rng = np.random.default_rng(0)  # for masks that are drawn after the end, and not used
                self.model._finish(self.epochs, part(carry, i), finite, False, stops)
                self.model._check_finite()
        self.over = self.over or self.fit.error is not None


class _Group:
    """Estimators that are fitted at once."""

    def __init__(self, members: list[_Member]) -> None:
        self.active = list(members)
        first = members[0]
        sets = {id(m.data): m.data for m in members}
        self.starts = dict(
            zip(sets, np.cumsum([0, *(data[0].shape[0] for data in sets.values())]).tolist(), strict=False)
        )
        xp = namespace(x=first.data[0])
        data = tuple(
            column[0] if len(sets) == 1 else xp.concat(column) for column in zip(*sets.values(), strict=True)
        )
        changing = any(m.model._schedule != "constant" for m in members)
        options: dict[str, Sequence[float]] = {
            name: [getattr(m.optimizer, name) for m in members] for name in _NUMBERS if first.differs(name)
        }
        options["alpha"] = [float(m.model.alpha) for m in members]
        numbers = {
            name: values for name, values in options.items() if len({*values}) > 1 or (changing and name == "lr")
        }
        carries = [Carry(m.model._params, m.optimizer.init(m.model._params), m.model._state) for m in members]
        self.together = Together(_step(first), carries, data, numbers)

    def train(self) -> None:
        """Fit the estimators."""
        with np.errstate(over="ignore", invalid="ignore"):  # a fit that diverges has an error
            self._train()

    @property
    def draw(self) -> Draw | None:
        """The function that draws the dropout masks of an update."""
        if not self.active[0].stack.mask_names:
            return None

        def draw(size: int) -> dict[str, Host]:
            each = [m.epochs.draw(size) for m in self.active]
            return {name: np.stack([masks[name] for masks in each]) for name in each[0]}

        return draw

    def _train(self) -> None:
        while not all(m.over for m in self.active):
            rows = np.stack([m.epochs.shuffled() + self.starts[id(m.data)] for m in self.active])
            losses = self.together.read(list(self.together.train(rows, self.active[0].epochs.size, self.draw)))
            rates = [m.model._rate for m in self.active]
            for i, member in enumerate(self.active):
                if not member.over:
                    member.end_epoch(losses[:, i], self.together.carry, i)
            running = [i for i, m in enumerate(self.active) if not m.over]
            if running and 2 * len(running) <= len(self.active):
                self.together.keep(running)
                self.active = [self.active[i] for i in running]
                rates = [rates[i] for i in running]
            if rates != (now := [m.model._rate for m in self.active]):
                self.together.set_option("lr", now)


def _step(member: _Member) -> Callable[..., Any]:
    """One update of one estimator; `numbers` has the options that differ between the estimators."""
    model, optimizer, stack = member.model, member.optimizer, member.stack

    def step(carry: Carry, batch: Data, masks: Params, numbers: Params) -> tuple[Carry, Array]:
        own = copy(optimizer)
        for name in numbers.keys() - {"alpha"}:
            object.__setattr__(own, name, numbers[name])  # without the checks, which read values
        after: tuple[Carry, Array] = model._step(stack, own, numbers.get("alpha", float(model.alpha)))(
            carry, batch, masks
        )
        return after

    step.known = is_known(stack, optimizer)  # type: ignore[attr-defined]  # see `Backend.compile`
    return step

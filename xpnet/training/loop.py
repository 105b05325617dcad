"""The loop of a training run. It makes the updates and calls the callbacks, which do everything else."""

import math
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from .._array import namespace
from .._typing import Array, Params
from ..backends import Draw, read_all
from ..nn.networks import Network
from ..optim.optimizers import Optimizer
from .callbacks import Callback
from .evaluation import Measures, read
from .history import History
from .samples import Batches, Host
from .step import Carry, Updates, detached

__all__ = ["Diverged", "Loop", "Snapshot", "diverged"]


class Diverged(ArithmeticError):
    """Raised if a loss or a score of the training set is NaN or infinite, but the training set is finite.

    Attributes
    ----------
    history : History
        The history of the run up to the end of the epoch with the infinite loss or NaN.
    """

    def __init__(self, message: str, history: History) -> None:
        super().__init__(message)
        self.history = history


def diverged(history: History, epoch: int, lr: Any) -> Diverged:
    """The error for a loss or scores that are not finite after `epoch` epochs."""
    if not epoch:
        return Diverged(
            "the scores of x_train are not finite before training, though x_train is; scale the samples or the "
            "initial parameters down",
            history,
        )
    bad = ((i, loss) for i, loss in enumerate(history.loss, 1) if not math.isfinite(loss))
    update, loss = next(bad, (len(history.loss), None))
    what = f"the loss is {loss} at" if loss is not None else "the scores of x_train are not finite after"
    return Diverged(
        f"{what} update {update}, in epoch {epoch}, with learning rate {lr}; "
        "train again with a smaller learning rate. The error has the history so far as its attribute `history`",
        history,
    )


class Done(NamedTuple):
    """The result of all complete updates so far. It is one tuple, so Ctrl-C cannot leave a half-written result."""

    carry: Carry
    loss: Array
    """The losses of the last updates."""
    updates: int
    """The number of updates made."""
    draws: Mapping[str, Any]
    """The state of the random generator after these updates."""


class Snapshot(NamedTuple):
    """The complete state of a run between two updates, from which the run can be resumed."""

    epoch: int
    whole: bool
    """Whether the epoch is complete. If it is not, `losses` has the losses of its updates so far."""
    over: bool
    """Whether a callback has ended the run."""
    history: History
    """The history up to the last complete epoch."""
    opening: Mapping[str, Any]
    """The random generator's state at the start of the epoch."""
    draws: Mapping[str, Any]
    """The random generator's state now."""
    losses: Host
    carry: Carry


class Loop:
    """A run that can be stopped and resumed between any two updates.

    Parameters
    ----------
    network : Network
    optimizer : Optimizer
    run : callable
        A function that makes many updates, see `step.updates`.
    batches : callable
        ``batches(done)`` draws the mini-batches of an epoch, without the first `done` mini-batches.
    rng : numpy.random.Generator
        The generator of the mini-batches and the dropout masks.
    masks : callable, optional
        A function that draws the dropout masks of a mini-batch, see `Backend.repeat`.
    measures : Measures
        The evaluation before training and after each epoch.
    callbacks : sequence of Callback
        The callbacks, called in this order.
    snapshot : Snapshot, optional
        The run to resume.
    about : dict, optional
        The facts of the run, see `Result`.
    rank : int, default 0
        The number of this process among those of the run.

    Attributes
    ----------
    history : History
    epoch : int
        The number of the epoch, 0 before training.
    done : Done
        The result of the updates so far.
    over : bool
        Whether a callback has ended the run.
    error : exception or None
        The exception that ended the run.
    """

    def __init__(
        self,
        network: Network,
        optimizer: Optimizer,
        run: Updates,
        batches: Callable[[int], Batches],
        rng: np.random.Generator,
        masks: Draw | None,
        measures: Measures,
        callbacks: Sequence[Callback],
        snapshot: Snapshot | None = None,
        about: Mapping[str, Any] | None = None,
        rank: int = 0,
    ) -> None:
        self.network, self.optimizer, self.run, self.batches = network, optimizer, run, batches
        self.rng, self.masks, self.measures, self.callbacks = rng, masks, measures, callbacks
        self.about, self.rank = dict(about or {}), rank
        self.updated = [c.on_update for c in callbacks if type(c).on_update is not Callback.on_update]
        self.begun: list[Callback] = []
        self.states = deque[Mapping[str, Any]]()  # masks are drawn for several updates in advance
        self.history, self.start = History(), time.perf_counter()
        self.over, self.within = False, False
        self.error: BaseException | None = None
        state = rng.bit_generator.state
        params = detached(network.params)  # or each update would keep the graph of all updates before it
        self.done = Done(Carry(params, optimizer.init(params), detached(network.state)), None, 0, state)
        # The epoch; the updates and the generator's state before it; its losses before and after the run was resumed.
        self.epoch, self.before, self.opening = 0, 0, state
        self.earlier, self.losses = np.empty(0), list[Array]()
        if snapshot:
            self._resume(snapshot)

    loss = property(lambda self: self.done.loss, doc="The losses of the last updates.")
    updates = property(lambda self: self.done.updates, doc="The number of updates made.")

    @property
    def carry(self) -> Carry:
        """Copies of the parameters, the optimizer state and the network's state after the last update.

        The arrays themselves may be overwritten by the update after the next one.
        """

        def copies(arrays: Params) -> Params:
            return {name: namespace(a=a).asarray(a, copy=True) for name, a in arrays.items()}

        return Carry(*map(copies, self.done.carry))

    @property
    def whole(self) -> bool:
        """Whether the epoch is complete: no update was made since the last row of the history."""
        return len(self.history.seconds) > self.epoch

    def go(self, epochs: int) -> None:
        """Train until `epochs` epochs are complete, or until a callback, an error or Ctrl-C ends the run."""
        try:
            try:
                self._train(epochs)
            except KeyboardInterrupt:
                self._interrupted()
        except BaseException as error:
            self.error = error
            raise
        finally:
            with ExitStack() as stack:  # call every `on_end`, even if one fails
                for callback in reversed(self.begun):
                    stack.callback(callback.on_end, self)

    def _train(self, epochs: int) -> None:
        for callback in self.callbacks:
            callback.on_start(self)
            self.begun.append(callback)
        if not self.history.seconds:
            self._row(self.evaluate())
        while not self.over and (self.within or self.epoch < epochs):
            self._epoch()

    def _epoch(self) -> None:
        if not self.within:
            self.losses, self.earlier, self.before = [], np.empty(0), len(self.history.loss)
            self.opening = self.rng.bit_generator.state
            self.epoch += 1
        batches = self.batches(len(self.earlier))
        if len(self.earlier):
            self.rng.bit_generator.state = self.done.draws
        self.within = False
        draw = self._draw if self.masks else None
        with closing(batches):
            for data, part in batches:
                for carry, loss in self.run(self.done.carry, data, part, draw):
                    steps = (loss.shape or (1,))[0]
                    draws = [self.states.popleft() for _ in range(steps)][-1] if draw else self.done.draws
                    self.done = Done(carry, loss, self.done.updates + steps, draws)
                    self.losses.append(loss)
                    for hook in self.updated:
                        hook(self)
                del data  # for samples on disk, the next batches need the memory
        network, history = self.network, self.history
        before = network.params, network.state
        network.params, _, network.state = self.done.carry
        try:
            found, rows = read(self.losses, self.measures())
        except Exception:  # such as a MemoryError
            network.params, network.state = before
            raise
        losses = np.concatenate([self.earlier, found])
        history.loss.extend(losses.tolist())
        try:
            if not np.isfinite(losses).all():
                self.measures.check_finite("train")
                raise diverged(self.history, self.epoch, self.optimizer.lr)
            columns = self._found(rows)
        except (ArithmeticError, ValueError):
            network.params, network.state = before
            raise
        self._row(columns)

    def _draw(self, size: int) -> dict[str, Host]:
        assert self.masks
        masks = self.masks(size)
        self.states.append(self.rng.bit_generator.state)
        return masks

    def evaluate(self) -> dict[str, float]:
        """Evaluate the network as it is now; the result has a number for each column of the history."""
        _, rows = read([], self.measures())
        return self._found(rows)

    def _found(self, rows: Any) -> dict[str, float]:
        """The columns of the history from the results of the evaluation; an error if the scores are not finite."""
        columns, failed = self.measures.found(rows)
        if "train" in failed:
            raise diverged(self.history, self.epoch, self.optimizer.lr)
        return columns

    def _row(self, columns: dict[str, float]) -> None:
        """Add the results of the evaluation to the history, and call `on_epoch` of the callbacks."""
        self.history.add(columns, time.perf_counter() - self.start)
        for callback in self.callbacks:
            answer = callback.on_epoch(self)
            self.over = self.over or (isinstance(answer, (bool, np.bool_)) and bool(answer))

    # Stopped and resumed

    def _interrupted(self) -> None:
        """Keep the complete updates, and remove the row of an incomplete epoch."""
        if not self.whole:
            losses = self._losses()
            del self.history.loss[self.before :]
            self.history.cut()
            self.history.loss.extend(losses)
        self.history.interrupted = True
        self.network.params, _, self.network.state = self.done.carry

    def _losses(self) -> list[float]:
        """The losses of this epoch's complete updates. The last of them may be missing in `losses`, and is added."""
        if found := self.history.loss[self.before :]:
            return found
        count = self.done.updates - self.before - len(self.earlier)
        new = read_all([*self.losses, self.done.loss])[:count].tolist() if count else []
        return [*self.earlier.tolist(), *new]

    def snapshot(self) -> Snapshot:
        """The current state of the run, from which it can be resumed; its arrays are valid until the next update."""
        whole, loss = self.whole, self.history.loss
        # With dropout, masks that were drawn for an incomplete update must be drawn again.
        return Snapshot(
            self.epoch,
            whole,
            self.over,
            replace(self.history, loss=loss if whole else loss[: self.before], interrupted=False),
            self.opening,
            self.done.draws if self.masks and not whole else self.rng.bit_generator.state,
            np.asarray([] if whole else self._losses()),
            self.done.carry,
        )

    def _resume(self, snapshot: Snapshot) -> None:
        self.epoch, self.over, self.history = snapshot.epoch, snapshot.over, snapshot.history
        self.within, self.earlier, self.opening = not snapshot.whole, snapshot.losses, snapshot.opening
        self.start -= self.history.seconds[-1]
        self.before = len(self.history.loss)
        self.done = Done(snapshot.carry, None, self.before + len(self.earlier), snapshot.draws)
        self.rng.bit_generator.state = snapshot.draws if snapshot.whole else snapshot.opening

"""Training: `fit` for any network and data, and `train`, which is `fit` with the book's defaults."""

import math
import os
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np

from .. import _array
from .._array import Array, dtype_name, find_dtype, from_host, index_dtype, is_floating, namespace
from ..backends import Draw, backend_of, get_backend, on_arrays_device, read_all, to_numpy
from ..datasets import Shards, load_mnist, scale_images
from ..nn.initializers import generator
from ..nn.networks import Network, TwoLayerNet
from ..nn.sequential import Params, Sequential
from ..optim.optimizers import SGD, Optimizer
from .checkpoints import Progressed, Saver
from .describing import fingerprint, readable
from .distributed import Processes, processes
from .evaluation import Blocks, Measured, Rows, loss_and_total, read
from .history import History
from .progress import Progress
from .samples import Host, Pair, Samples, check_batches, check_samples, check_values, samples_of, shapes, value_ranges
from .step import Carry, Transform, Updates, updates

__all__ = ["Diverged", "Result", "fit", "train"]

Callback: TypeAlias = Callable[[Network, History], bool | None]


@dataclass
class Result:
    """What training gives back.

    Attributes
    ----------
    network : Network
        With the trained parameters.
    history : History
    """

    network: Network
    history: History


class Diverged(ArithmeticError):
    """The loss stopped being finite.

    Attributes
    ----------
    history : History
        The run up to the end of that epoch.
    """

    def __init__(self, message: str, history: History) -> None:
        super().__init__(message)
        self.history = history


@on_arrays_device
def fit(
    network: Network,
    data: tuple[Pair | Shards, Pair | Shards],
    optimizer: Optimizer = SGD(),
    *,
    epochs: int = 17,
    batch_size: int = 100,
    sampling: Literal["shuffle", "replacement"] = "shuffle",
    seed: int | np.random.Generator = 0,
    transform: Transform | None = None,
    validation: float = 0.0,
    patience: int | None = None,
    accumulate: int = 1,
    callbacks: Sequence[Callback] = (),
    checkpoint: str | os.PathLike[str] | None = None,
    resume: bool = False,
    distributed: Literal["mpi"] | Processes | None = None,
    progress: bool = True,
) -> Result:
    """Train a network on arrays, or on sets on disk, by mini-batches.

    Parameters
    ----------
    network : Network
        Its `params` and `state` are replaced by the trained ones, after each epoch.
    data : ``((x_train, t_train), (x_test, t_test))``
        Arrays in the library and on the device of the network's parameters, samples along the first axis; targets
        as the network's loss takes them. In place of each pair `Shards`, which are read, in the dtype of the
        parameters, a buffer at a time.
    optimizer : Optimizer, default SGD(lr=0.1)
    epochs : int, default 17
        Passes over the training set; 0 evaluates only.
    batch_size : int, default 100
        Samples of a mini-batch. The last one of an epoch holds what is left.
    sampling : {"shuffle", "replacement"}, default "shuffle"
        A new permutation each epoch, cut into batches; or samples drawn at random, with replacement. `Shards` are
        shuffled by pieces, and the samples of a buffer among themselves.
    seed : int or numpy.random.Generator, default 0
        Draws the validation set, the batches and the masks of dropout, on the host: the same on every backend.
    transform : callable, optional
        A pure array-API function that makes the network's input from samples, one batch at a time, so that the
        set may stay small in memory; `datasets.scale_images` for integer images.
    validation : float, default 0.0
        The share of the training samples, drawn at random, that is kept out of training and evaluated after each
        epoch; of `Shards`, whole pieces.
    patience : int, optional
        End the run after so many epochs in a row without a smaller validation loss. The network then keeps the
        parameters of the best epoch, ``history.best_epoch``. Needs `validation`.
    accumulate : int, default 1
        Pass each mini-batch through the network in so many parts and add up their gradients: the same update in less
        memory. (Normalisation over the batch sees the parts.)
    callbacks : sequence of callables, default ()
        Each is called as ``callback(network, history)`` before training and after each epoch; True ends the run.
        In each process, where there are several; one True ends it in all.
    checkpoint : path, optional
        A file, ending in ``.safetensors``, that the run is saved in: after each epoch, every 30 seconds within one,
        and when Ctrl-C ends it. Needs safetensors: the extra `checkpoints`.
    resume : bool, default False
        Go on with the run in `checkpoint`, where there is one, on any backend; the end is that of a run that was not
        interrupted, on NumPy bit for bit. All but `epochs`, `callbacks`, `distributed` and `progress` must be as they
        were.
    distributed : "mpi", optional
        Share each mini-batch among the processes that ``mpiexec`` has started, all with the same arguments; losses
        and parameters are, to rounding, those of one process. Needs mpi4py: the extra `distributed`.
    progress : bool, default True
        Whether to print a line per epoch, and to show a bar on a terminal; of several processes, the first does.

    Returns
    -------
    Result
        The network and the history. Ctrl-C ends the run early: the result then holds the last whole update, and
        ``history.interrupted`` is True.

    Raises
    ------
    TypeError, ValueError
        If an argument does not fit, before any training.
    Diverged
        If the loss stops being finite, after that epoch; it carries the history, and the network keeps the
        parameters of the epoch before.
    MemoryError
        If the memory of the host or of the device is exhausted, on every backend; the network keeps the parameters
        of the epoch before.
    ProcessesError
        If the processes differ, or another one cannot begin.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> x = rng.random((200, 2))
    >>> t = (x[:, 0] > x[:, 1]).astype(int)
    >>> net = TwoLayerNet(2, 16, 2, weight_init_std=0.5, like=x)
    >>> result = fit(net, ((x, t), (x, t)), SGD(lr=1.0), epochs=40, batch_size=20, progress=False)
    >>> result.history.test_accuracy[-1] > 0.95
    True
    """
    peers = processes(distributed)
    with peers.setup() as facts:
        pair = _pairs(data)
        first = next(iter(network.params.values()))
        _namespace(pair, params=first)
        backend = backend_of(first)
        for name, value, least in (
            ("epochs", epochs, 0),
            ("batch_size", batch_size, 1),
            ("accumulate", accumulate, 1),
        ):
            _check_integer(name, value, least)
        if sampling not in ("shuffle", "replacement"):
            raise ValueError(f"sampling must be 'shuffle' or 'replacement', got {sampling!r}")
        if sampling == "replacement" and isinstance(pair[0], Shards):
            raise ValueError("sampling='replacement' needs the samples in memory; Shards are shuffled")
        if not 0 <= validation < 1:
            raise ValueError(
                f"validation must be a share of the training samples from 0 to below 1, got {validation!r}"
            )
        if patience is not None:
            _check_integer("patience", patience, 1)
            if validation == 0:
                raise ValueError("patience needs validation samples to watch; pass validation=0.1, for example")
        rng = generator(seed)
        drawn = readable(rng.bit_generator.state)
        train, test = (
            samples_of(name, part, network, transformed=transform is not None)
            for name, part in zip(("_train", "_test"), pair, strict=True)
        )
        check_values(network, {"_train": pair[0], "_test": pair[1]}, transformed=transform is not None)
        units, held = train.units, train.units[:0]
        if validation:
            units, held = _hold(train, validation, rng)
        sample = network.input_shape if transform else train.shape[1:]
        check_batches(network, sample, train.count(units), batch_size, accumulate, peers.size)

        settings: dict[str, Any] = {}
        if checkpoint is not None or peers.size > 1:
            settings = {
                "batch_size": batch_size,
                "sampling": sampling,
                "seed": f"of random state {fingerprint(drawn)}",
                "validation": float(validation),
                "patience": patience,
                "accumulate": accumulate,
                "transform": transform and _name(transform),
                "dtype": dtype_name(first.dtype),
                "training samples": f"{list(train.shape)} with checksum {train.fingerprint()}",
                "test samples": f"{list(test.shape)} with checksum {test.fingerprint()}",
            } | train.settings
        saver = saved = None
        if checkpoint is not None:
            saver = Saver(checkpoint, resume, network, optimizer, settings)
            saved = saver.load()
        elif resume:
            raise ValueError("resume=True needs checkpoint, the file of the run to go on with")
        if peers.size > 1:
            facts |= settings | {
                "epochs": epochs,
                "library": f"{backend.name} {backend.version}",
                "network": readable(network.stack),
                "optimizer": readable(optimizer),
                "parameters": fingerprint(*network.params.values(), *network.state.values()),
                "checkpoint": saved and f"of update {len(saved.history.loss) + len(saved.losses)}",
            }
    noise = (lambda size: network.stack.draw(rng, (size, *sample))) if network.stack.mask_names else None
    total = epochs * math.ceil(train.count(units) / batch_size)
    go_on = f" Go on from {checkpoint} with resume=True." if saver else ""
    # A run that diverges is told by its loss, not by NumPy's warnings on the way there.
    with (
        Progress(total, shown=progress and peers.rank == 0) as bar,
        np.errstate(over="ignore", invalid="ignore"),
        peers.running(go_on, Diverged),
        backend.memory_errors("choose a smaller batch size, or more parts of each batch with accumulate"),
    ):
        run = _Run(network, train, test, units, held, optimizer, rng, transform, patience, callbacks, saver, peers)
        many = updates(backend, network.stack, optimizer, transform, accumulate, peers)
        run.go(many, batch_size, sampling, noise, epochs, bar, saved)
    return Result(network, run.history)


class Done(NamedTuple):
    """What whole updates have made.

    Attributes
    ----------
    carry : tuple of dicts of arrays
        Parameters, the optimizer's state and the network's.
    loss : array
        The last losses.
    updates : int
        How many there have been.
    draws : mapping
        The random generator's state after them.
    """

    carry: Carry
    loss: Array
    updates: int
    draws: Mapping[str, Any]


class _Run:
    """A run of `fit`, from one whole update to the next: what it measures, when it ends, what is saved of it."""

    def __init__(
        self,
        network: Network,
        train: Samples,
        test: Samples,
        units: Host,
        held: Host,
        optimizer: Optimizer,
        rng: np.random.Generator,
        transform: Transform | None,
        patience: int | None,
        callbacks: Sequence[Callback],
        saver: Saver | None,
        peers: Processes,
    ) -> None:
        self.network, self.train, self.test, self.units, self.held = network, train, test, units, held
        self.optimizer, self.rng, self.saver, self.peers = optimizer, rng, saver, peers
        self.patience, self.callbacks = patience, callbacks
        last = network.stack.last
        self.measure = (
            Blocks(network, lambda y, t: (last.accuracy(y, t),), transform, peers) if last.classifies else None
        )
        self.watch = Blocks(network, partial(_loss_and_accuracy, network), transform, peers)
        self.history, self.start = History(), time.perf_counter()
        self.best: tuple[float, Params, Params] = (math.inf, {}, {})
        self.over = False  # ended by patience or a callback
        carry = network.params, optimizer.init(network.params), network.state
        self.done = Done(carry, None, 0, rng.bit_generator.state)
        # The epoch, the updates and the draws before it, and its losses: from before the run went on, then the rest.
        self.epoch, self.before, self.opening = 0, 0, rng.bit_generator.state
        self.earlier, self.losses = np.empty(0), list[Array]()

    def go(
        self,
        run: Updates,
        batch_size: int,
        sampling: str,
        noise: Draw | None,
        epochs: int,
        bar: Progress,
        saved: Progressed | None,
    ) -> None:
        """Train until the last epoch, or until something ends it."""
        within = saved is not None and self._restore(saved)
        history, states = self.history, deque[Mapping[str, Any]]()

        def draw(size: int) -> dict[str, Host]:  # masks are drawn for some updates ahead
            masks = noise(size) if noise else {}
            states.append(self.rng.bit_generator.state)
            return masks

        try:
            if self.done.updates:
                bar.advance(self.done.updates)
            if not history.seconds:
                _, rows = read([], *self._measure())
                bar.line(self._record(np.empty(0), rows))
                self._end()
                self._save()
            while not self.over and (within or self.epoch < epochs):
                if not within:
                    self.losses, self.earlier, self.before = [], np.empty(0), len(history.loss)
                    self.opening = self.rng.bit_generator.state
                    self.epoch += 1
                batches = self.train.epoch(self.rng, self.units, batch_size, sampling, done=len(self.earlier))
                if len(self.earlier):
                    self.rng.bit_generator.state = self.done.draws
                within = False
                with closing(batches):
                    for data, part in batches:
                        for carry, loss in run(self.done.carry, data, part, noise and draw):
                            steps = (loss.shape or (1,))[0]
                            draws = [states.popleft() for _ in range(steps)][-1] if noise else self.done.draws
                            self.done = Done(carry, loss, self.done.updates + steps, draws)
                            self.losses.append(loss)
                            bar.advance(steps)
                            if self.saver and self.saver.due:
                                self._save()
                        del data  # of samples on disk, the memory is for the next
                before = self.network.params, self.network.state
                self.network.params, _, self.network.state = self.done.carry
                found, rows = read(self.losses, *self._measure())
                losses = np.concatenate([self.earlier, found])
                history.loss.extend(losses.tolist())
                if not np.isfinite(losses).all():
                    self.network.params, self.network.state = before
                    raise _diverged(history, self.epoch, self.optimizer.lr)
                bar.line(self._record(losses, rows))
                self._end()
                self._save()
        except KeyboardInterrupt:
            self._interrupted()
            bar.line(f"interrupted after {self.done.updates} updates")
        if self.patience is not None and not history.interrupted:
            _, self.network.params, self.network.state = self.best

    def _measure(self) -> list[Measured]:
        """The network on the training set, the test set and the samples held out; nothing is read yet."""
        sets = [self.measure(self.train, self.units), self.measure(self.test)] if self.measure else []
        return [*sets, self.watch(self.train, self.held)] if len(self.held) else sets

    def _record(self, losses: Host, rows: list[Rows]) -> str:
        """Record an epoch's losses, and what was measured after it; the line about it."""
        history, columns = self.history, list[tuple[list[float], float, str]]()
        if self.measure:
            columns += [
                (history.train_accuracy, self.measure.share(rows[0], 1), "train"),
                (history.test_accuracy, self.measure.share(rows[1], 1), "test"),
            ]
            if len(self.held):
                columns.append((history.validation_accuracy, self.watch.share(rows[2], 3), "validation"))
        for column, value, _ in columns:
            column.append(value)
        if len(self.held):
            history.validation_loss.append(self.watch.mean(rows[-1]))
            if history.validation_loss[-1] < self.best[0]:
                self.best = history.validation_loss[-1], self.network.params, self.network.state
                history.best_epoch = self.epoch
        history.updates.append(len(history.loss))
        history.seconds.append(time.perf_counter() - self.start)  # the last: without it, the row is not whole
        loss = f"loss {losses.mean():.4f}" if losses.size else "loss      -"
        shares = "".join(f"  {name} {value:.4f}" for _, value, name in columns)
        return f"epoch {self.epoch:3d}  {loss}{shares and '  accuracy'}{shares}  {history.seconds[-1]:6.1f} s"

    def _end(self) -> None:
        """See whether this was the last epoch, by patience or a callback."""
        waited = self.epoch - (self.history.best_epoch or 0)
        self.over = self.patience is not None and waited >= self.patience  # also if a callback is interrupted
        asked = [callback(self.network, self.history) for callback in self.callbacks]
        (stop,) = self.peers.total(any(isinstance(answer, (bool, np.bool_)) and answer for answer in asked))
        self.over = self.over or bool(stop)

    def _of_epoch(self) -> Host:
        """The losses of this epoch's whole updates; that of the last may not be in `losses` yet."""
        count = self.done.updates - self.before - len(self.earlier)
        return np.concatenate([self.earlier, read_all([*self.losses, self.done.loss])[:count] if count else []])

    def _interrupted(self) -> None:
        """Keep the updates that are whole, and drop the row of an epoch that is not."""
        history = self.history
        if len(history.seconds) <= self.epoch:
            losses = history.loss[self.before :] or self._of_epoch().tolist()
            del history.loss[self.before :]
            history.cut()
            self._save(losses)
            history.loss.extend(losses)
        else:
            self._save()
        history.interrupted = True
        self.network.params, _, self.network.state = self.done.carry

    # The checkpoint

    def _save(self, losses: list[float] | None = None) -> None:
        """Save the run where that is asked for: at the end of an epoch, or with the losses of one within it."""
        history = self.history
        if self.saver is None or self.peers.rank or not history.seconds:
            return
        whole = len(history.seconds) > self.epoch
        within = np.empty(0) if whole else self._of_epoch() if losses is None else np.asarray(losses)
        (params, memory, state), (best, best_params, best_state) = self.done.carry, self.best
        groups = {"params": params, "memory": memory, "state": state}
        groups |= {"best_params": best_params, "best_state": best_state}
        # Where masks are drawn, those of an update that is not whole do not count.
        now = self.done.draws if self.network.stack.mask_names and not whole else self.rng.bit_generator.state
        draws = {"opening": self.opening, "now": now}
        rows = {"train": self.units, "held": self.held} if len(self.held) else {}
        self.saver.save(Progressed(self.epoch, whole, self.over, history, draws, within, best, groups, rows))

    def _restore(self, saved: Progressed) -> bool:
        """Take up the run in the checkpoint; whether it is within an epoch."""
        self.history, self.epoch, self.over = saved.history, saved.epoch, saved.over
        self.start -= self.history.seconds[-1]
        self.before, self.earlier, self.opening = len(self.history.loss), saved.losses, saved.draws["opening"]
        groups = saved.groups
        self.best = saved.best, groups["best_params"], groups["best_state"]
        carry = groups["params"], groups["memory"], groups["state"]
        self.done = Done(carry, None, self.before + len(self.earlier), saved.draws["now"])
        self.rng.bit_generator.state = saved.draws["now" if saved.whole else "opening"]
        if saved.rows:
            self.units, self.held = saved.rows["train"], saved.rows["held"]
        return not saved.whole


def _loss_and_accuracy(network: Network, y: Array, t: Array) -> tuple[Array, ...]:
    found = loss_and_total(network, y, t)
    return (*found, network.stack.last.accuracy(y, t)) if network.classifies else found


def _hold(samples: Samples, share: float, rng: np.random.Generator) -> tuple[Host, Host]:
    """Units to train with, and about that share of the samples, to be held out of it."""
    order = rng.permutation(samples.units)
    count = samples.count(samples.units)
    wanted = round(share * count)
    if not wanted:
        raise ValueError(f"validation={share!r} of {count} samples is none; pass a larger share")
    number = samples.first(order, wanted)
    if number == len(order):
        of = f" of {len(order)} pieces of shards, held whole," if len(order) < count else f" of {count} samples"
        raise ValueError(
            f"validation={share!r}{of} leaves none to train with; pass a smaller share"
            + (", or a smaller buffer, which makes smaller pieces" if len(order) < count else "")
        )
    return np.sort(order[number:]), np.sort(order[:number])


def _name(function: Any) -> str:
    """What a function is called, without the options that a library's own types may be among."""
    function = function.func if isinstance(function, partial) else function
    return str(getattr(function, "__qualname__", type(function).__name__))


def _diverged(history: History, epoch: int, lr: Any) -> Diverged:
    update = next(i for i, loss in enumerate(history.loss, 1) if not math.isfinite(loss))
    return Diverged(
        f"the loss is {history.loss[update - 1]} at update {update}, in epoch {epoch}, with learning rate {lr}; "
        "train again with a smaller one. The history so far is this error's attribute `history`",
        history,
    )


def _pairs(data: Any) -> tuple[Pair | Shards, Pair | Shards]:
    """`data` as two sets, or TypeError."""
    try:
        train, test = (part if isinstance(part, Shards) else tuple(part) for part in data)
        (_, _), (_, _) = ((0, 0) if isinstance(part, Shards) else part for part in (train, test))
    except (TypeError, ValueError):
        raise TypeError(
            "data must be ((x_train, t_train), (x_test, t_test)), four arrays, as load_mnist returns them, or Shards "
            f"in place of a pair; got {type(data).__name__}"
        ) from None
    return train, test


def _namespace(pairs: tuple[Pair | Shards, Pair | Shards], **others: Array) -> Any:
    """The one namespace of all arrays in two sets; None where there are none."""
    named = {
        f"{kind}_{name}": array
        for name, part in zip(("train", "test"), pairs, strict=True)
        if not isinstance(part, Shards)
        for kind, array in zip("xt", part, strict=True)
    }
    return namespace(**named, **others)


def _classes(data: Pair | Shards) -> int:
    """The number of classes that integer labels are of."""
    ((_, most),) = value_ranges(data.targets() if isinstance(data, Shards) else [data[1]])
    return max(most + 1, 1)


def _check_integer(name: str, value: Any, least: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise ValueError(f"{name} must be an integer from {least}, got {value!r}")


def train(
    dataset: str | os.PathLike[str] | tuple[Pair | Shards, Pair | Shards] = "mnist",
    network: Sequential | None = None,
    optimizer: Optimizer | None = None,
    *,
    backend: str | None = None,
    device: str | None = None,
    dtype: str = "float32",
    hidden_size: int = 50,
    activation: str = "relu",
    weight_init_std: float = 0.01,
    epochs: int = 17,
    batch_size: int = 100,
    learning_rate: float = 0.1,
    sampling: Literal["shuffle", "replacement"] = "shuffle",
    seed: int | np.random.Generator = 0,
    transform: Transform | None = None,
    validation: float = 0.0,
    patience: int | None = None,
    accumulate: int = 1,
    callbacks: Sequence[Callback] = (),
    checkpoint: str | os.PathLike[str] | None = None,
    resume: bool = False,
    distributed: Literal["mpi"] | Processes | None = None,
    progress: bool = True,
) -> Result:
    """Train a network from its description, the book's on MNIST where nothing else is given: `fit` with defaults.

    Parameters
    ----------
    dataset : "mnist", path, or ``((x_train, t_train), (x_test, t_test))``, default "mnist"
        The MNIST that xpnet ships (or that the environment variable XPNET_MNIST names); a folder with a set in the
        same format; or arrays of any one array-API library: samples (N, ...) of a floating dtype, scaled, and
        labels (N,) of an integer dtype or one-hot targets (N, K); or, in place of a pair, `Shards`.
    network : Sequential, optional
        The stack to train, with as many outputs as there are classes; the book's two-layer network where not given.
        Images that are loaded come to it as (C, H, W).
    optimizer : Optimizer, optional
        ``SGD(learning_rate)`` where not given.
    backend : {"numpy", "cupy", "torch", "jax", "dask", "strict"}, optional
        What to compute with. The arrays' own library, or NumPy for a set that is loaded.
    device : str, optional
        Such as "cuda:1"; ``xpnet backends`` lists them. The arrays' own, or the backend's default. Of several
        processes on one machine, each takes another of the default's kind, or of a kind without a number, "cuda".
    dtype : {"float32", "float64"}, default "float32"
        Of parameters and arithmetic.
    hidden_size, activation, weight_init_std : int, str and float, default 50, "relu" and 0.01
        Of the two-layer network, see `TwoLayerNet`; for that alone.
    epochs : int, default 17
    batch_size : int, default 100
        The last mini-batch of an epoch holds what is left.
    learning_rate : float, default 0.1
        Of SGD, where no optimizer is given.
    sampling : {"shuffle", "replacement"}, default "shuffle"
        A new permutation each epoch, cut into batches; or samples drawn at random, with replacement.
    seed : int or numpy.random.Generator, default 0
        Draws the initial weights and then the batches, on the host: the same on every backend.
    transform : callable, optional
        As in `fit`. A set that is loaded comes to it in bytes, which are scaled where none is given.
    validation, patience, accumulate, callbacks, checkpoint, resume, distributed
        As in `fit`.
    progress : bool, default True
        Whether to print a line per epoch, and to show a bar on a terminal; of several processes, the first does.

    Returns
    -------
    Result
        ``result.network`` takes images as `load_mnist` returns them; ``result.history`` has the losses and
        accuracies. Ctrl-C ends the run early, with ``result.history.interrupted`` True.

    Raises
    ------
    TypeError, ValueError
        If an argument does not fit, before any training.
    BackendUnavailable
        If the backend cannot be used on this machine.
    Diverged
        If the loss stops being finite; it carries the history.

    References
    ----------
    Saito (2016), Deep Learning from Scratch, sections 4.5 and 5.7.

    Examples
    --------
    >>> result = train(backend="numpy", epochs=1, progress=False)
    >>> result.history.test_accuracy[-1] > 0.9
    True
    """
    peers = processes(distributed)
    with peers.setup():
        if network is not None and (hidden_size, activation, weight_init_std) != (50, "relu", 0.01):
            raise ValueError(
                "hidden_size, activation and weight_init_std are of the two-layer network, but a network is given, "
                "which has its own; leave them out"
            )
        if optimizer is not None and learning_rate != 0.1:
            raise ValueError(
                f"learning_rate={learning_rate!r} is for plain SGD, but an optimizer is given; give that one the "
                f"rate, as in {type(optimizer).__name__}({learning_rate!r})"
            )
        optimizer, rng = optimizer or SGD(learning_rate), generator(seed)
        floats = network is None or network.takes_floats
        if isinstance(dataset, (str, os.PathLike)):
            if dataset != "mnist" and not os.path.isdir(dataset):
                raise ValueError(
                    f"dataset {os.fspath(dataset)!r} is neither 'mnist' nor a folder with a set in its format"
                )
            loaded, stays = True, False
            chosen = get_backend(backend or "numpy")
            pairs: tuple[Pair | Shards, Pair | Shards] = load_mnist(
                normalize=False, flatten=network is None, path=None if dataset == "mnist" else dataset
            )
            xp = chosen.namespace()
        else:
            loaded, pairs = False, _pairs(dataset)
            xp = _namespace(pairs)
            for name, part in zip(("_train", "_test"), pairs, strict=True):
                check_samples(name, part, floats=floats and transform is None, takes_labels=network is None)
            arrays = [part[0] for part in pairs if not isinstance(part, Shards)]
            own = backend_of(arrays[0]) if arrays else get_backend(backend or "numpy")
            stays = bool(arrays) and device is None and backend in (None, own.name)
            chosen = own if backend is None else get_backend(backend)
            xp = xp if stays else chosen.namespace()
        where = _array.device(arrays[0]) if stays else chosen.device(device, peers.local_rank)
        real = find_dtype(xp, dtype, where)
        if not is_floating(xp, real):
            raise TypeError(f"dtype must be a real floating one, such as 'float32', got {dtype!r}")
        labels = dtype_name(index_dtype(xp, where))
        if loaded and transform is None:
            transform = partial(scale_images, dtype=dtype)

        def place(array: Array, dtype: str) -> Array:
            if stays:
                return xp.astype(array, find_dtype(xp, dtype, where), copy=False)
            return from_host(to_numpy(array), xp, dtype, where)

        def place_pair(part: Pair | Shards) -> Pair | Shards:
            if isinstance(part, Shards):
                return part
            x, t = part
            kept = transform and not is_floating(namespace(x=x), x.dtype)
            samples = dtype_name(x.dtype) if kept else dtype if floats else labels
            return place(x, samples), place(t, labels if t.ndim == 1 else dtype)

        with (
            chosen.current(where),
            chosen.memory_errors("choose a smaller network, or keep the data on disk with xpnet.Shards"),
        ):
            data = place_pair(pairs[0]), place_pair(pairs[1])
            shape, target_shape = shapes(data[0])
            like = xp.empty(0, dtype=real, device=where)
            net = (
                Network(network, shape[1:], seed=rng, like=like)
                if network
                else TwoLayerNet(
                    math.prod(shape[1:]),
                    hidden_size,
                    _classes(data[0]) if len(target_shape) == 1 else target_shape[1],
                    weight_init_std,
                    activation=activation,
                    seed=rng,
                    like=like,
                )
            )
    return fit(
        net,
        data,
        optimizer,
        epochs=epochs,
        batch_size=batch_size,
        sampling=sampling,
        seed=rng,
        transform=transform,
        validation=validation,
        patience=patience,
        accumulate=accumulate,
        callbacks=callbacks,
        checkpoint=checkpoint,
        resume=resume,
        distributed=peers,
        progress=progress,
    )

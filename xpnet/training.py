"""Training: `fit` for any network and data, and `train`, which is `fit` with the book's defaults."""

import math
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np

from . import _array
from ._array import (
    Array,
    Namespace,
    dtype_name,
    find_dtype,
    from_host,
    index_dtype,
    is_floating,
    is_integral,
    namespace,
)
from .backends import Draw, backend_of, get_backend, read_all, to_numpy
from .checkpoints import Progressed, Saver
from .datasets import load_mnist, scale_images
from .evaluation import Blocks, mean, share
from .functions import accuracy
from .history import History
from .initializers import generator
from .networks import Network, TwoLayerNet
from .optimizers import SGD, Optimizer
from .progress import Progress
from .sequential import Params, Sequential

__all__ = ["Diverged", "Result", "fit", "train"]

Host: TypeAlias = np.ndarray[Any, Any]
Pair: TypeAlias = tuple[Array, Array]
Carry: TypeAlias = tuple[Params, Params, Params]
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


def fit(
    network: Network,
    data: tuple[Pair, Pair],
    optimizer: Optimizer = SGD(),
    *,
    epochs: int = 17,
    batch_size: int = 100,
    sampling: Literal["shuffle", "replacement"] = "shuffle",
    seed: int | np.random.Generator = 0,
    transform: Callable[[Array], Array] | None = None,
    validation: float = 0.0,
    patience: int | None = None,
    accumulate: int = 1,
    callbacks: Sequence[Callback] = (),
    checkpoint: str | os.PathLike[str] | None = None,
    resume: bool = False,
    progress: bool = True,
) -> Result:
    """Train a network on arrays by mini-batches.

    Parameters
    ----------
    network : Network
        Its `params` and `state` are replaced by the trained ones, after each epoch.
    data : ``((x_train, t_train), (x_test, t_test))``
        Arrays in the library and on the device of the network's parameters, samples along the first axis; targets
        as the network's loss takes them.
    optimizer : Optimizer, default SGD(lr=0.1)
    epochs : int, default 17
        Passes over the training set; 0 evaluates only.
    batch_size : int, default 100
        Samples of a mini-batch. The last one of an epoch holds what is left.
    sampling : {"shuffle", "replacement"}, default "shuffle"
        A new permutation each epoch, cut into batches; or samples drawn at random, with replacement.
    seed : int or numpy.random.Generator, default 0
        Draws the validation set, the batches and the masks of dropout, on the host: the same on every backend.
    transform : callable, optional
        A pure array-API function that makes the network's input from samples, one batch at a time, so that the
        set may stay small in memory; `datasets.scale_images` for integer images.
    validation : float, default 0.0
        The share of the training samples, drawn at random, that is kept out of training and evaluated after each
        epoch.
    patience : int, optional
        End the run after so many epochs in a row without a smaller validation loss. The network then keeps the
        parameters of the best epoch, ``history.best_epoch``. Needs `validation`.
    accumulate : int, default 1
        Pass each mini-batch through the network in so many parts and add up their gradients: the same update in less
        memory. (Normalisation over the batch sees the parts.)
    callbacks : sequence of callables, default ()
        Each is called as ``callback(network, history)`` before training and after each epoch; True ends the run.
    checkpoint : path, optional
        A file, ending in ``.safetensors``, that the run is saved in: after each epoch, every 30 seconds within one,
        and when Ctrl-C ends it. Needs safetensors: the extra `checkpoints`.
    resume : bool, default False
        Go on with the run in `checkpoint`, where there is one, on any backend; the end is that of a run that was not
        interrupted, on NumPy bit for bit. All but `epochs`, `callbacks` and `progress` must be as they were.
    progress : bool, default True
        Whether to print a line per epoch, and to show a bar on a terminal.

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
    (x_train, t_train), (x_test, t_test) = _pairs(data)
    first = next(iter(network.params.values()))
    xp = namespace(x_train=x_train, t_train=t_train, x_test=x_test, t_test=t_test, params=first)
    where, backend = _array.device(first), backend_of(first)
    for name, value, least in (("epochs", epochs, 0), ("batch_size", batch_size, 1), ("accumulate", accumulate, 1)):
        _check_integer(name, value, least)
    if sampling not in ("shuffle", "replacement"):
        raise ValueError(f"sampling must be 'shuffle' or 'replacement', got {sampling!r}")
    if not 0 <= validation < 1:
        raise ValueError(f"validation must be a share of the training samples from 0 to below 1, got {validation!r}")
    if patience is not None:
        _check_integer("patience", patience, 1)
        if validation == 0:
            raise ValueError("patience needs validation samples to watch; pass validation=0.1, for example")
    rng = generator(seed)
    for name, (x, t) in (("train", (x_train, t_train)), ("test", (x_test, t_test))):
        floats = transform is None and network.stack.takes_floats
        _check_pair(xp, name, x, t, floats=floats, classifies=network.classifies)
        if transform is None:
            _check_fit(network, name, tuple(x.shape[1:]))
    t_train, t_test = (_check_targets(xp, network, name, t) for name, t in (("train", t_train), ("test", t_test)))

    rows, held = np.arange(x_train.shape[0]), np.empty(0, dtype=int)
    if validation:
        count = round(validation * len(rows))
        if not count:
            raise ValueError(f"validation={validation!r} of {len(rows)} samples is none; pass a larger share")
        order = rng.permutation(len(rows))
        rows, held = np.sort(order[count:]), np.sort(order[:count])
    sample = network.input_shape if transform else tuple(x_train.shape[1:])
    _check_batches(network, sample, len(rows), batch_size, accumulate)

    saver = None
    if checkpoint is not None:
        settings = {
            "batch_size": batch_size,
            "sampling": sampling,
            "validation": validation,
            "patience": patience,
            "accumulate": accumulate,
            "samples": list(x_train.shape),
            "dtype": dtype_name(first.dtype),
        }
        saver = Saver(checkpoint, resume, network, optimizer, settings)
    elif resume:
        raise ValueError("resume=True needs checkpoint, the file of the run to go on with")
    train, test = (x_train, t_train), (x_test, t_test)
    run = _Run(network, train, test, rows, held, optimizer, rng, transform, patience, callbacks, saver)
    noise = (lambda size: network.stack.draw(rng, (size, *sample))) if network.stack.mask_names else None
    bar = Progress(epochs * math.ceil(len(rows) / batch_size), shown=progress)
    # A run that diverges is told by its loss, not by NumPy's warnings on the way there.
    with bar, backend.current(where), np.errstate(over="ignore", invalid="ignore"):
        step = update_step(network.stack, optimizer, transform, accumulate)
        index = dtype_name(index_dtype(xp, where))

        def batches(rows: Host) -> list[Host]:
            return [part.astype(index) for part in _batches(rng, rows, batch_size, sampling)]

        run.go(backend.repeat(step), batches, noise, epochs, bar)
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
        train: Pair,
        test: Pair,
        rows: Host,
        held: Host,
        optimizer: Optimizer,
        rng: np.random.Generator,
        transform: Callable[[Array], Array] | None,
        patience: int | None,
        callbacks: Sequence[Callback],
        saver: Saver | None,
    ) -> None:
        self.network, self.train, self.test, self.rows, self.held = network, train, test, rows, held
        self.optimizer, self.rng, self.saver = optimizer, rng, saver
        self.patience, self.callbacks = patience, callbacks
        measured = network.classifies
        self.measure = Blocks(network, lambda y, t: (accuracy(y, t),), transform) if measured else None
        self.watch = Blocks(network, lambda y, t: (network.stack.loss_class(None).forward(y, t),), transform)
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
        run: Callable[..., Iterator[tuple[Carry, Array]]],
        batches_of: Callable[[Host], list[Host]],
        noise: Draw | None,
        epochs: int,
        bar: Progress,
    ) -> None:
        """Train until the last epoch, or until something ends it."""
        within = self.saver is not None and self._restore(self.saver)
        history = self.history
        try:
            if self.done.updates:
                bar.advance(self.done.updates)
            if not history.seconds:
                bar.line(self._record(np.empty(0)))
                self.over = self._ends()
                self._save()
            while not self.over and (within or self.epoch < epochs):
                if not within:
                    self.losses, self.earlier, self.before = [], np.empty(0), len(history.loss)
                    self.opening = self.rng.bit_generator.state
                    self.epoch += 1
                parts = _after(batches_of(self.rows), len(self.earlier))
                if len(self.earlier):
                    self.rng.bit_generator.state = self.done.draws
                within = False
                for part in parts:
                    for carry, loss in run(self.done.carry, self.train, part, noise):
                        steps = (loss.shape or (1,))[0]
                        draws = self.rng.bit_generator.state if noise and self.saver else self.done.draws
                        self.done = Done(carry, loss, self.done.updates + steps, draws)
                        self.losses.append(loss)
                        bar.advance(steps)
                        if self.saver and self.saver.due:
                            self._save()
                read = self._of_epoch()
                history.loss.extend(read.tolist())
                if not np.isfinite(read).all():
                    raise _diverged(history, self.epoch, self.optimizer.lr)
                self.network.params, _, self.network.state = self.done.carry
                bar.line(self._record(read))
                self.over = self._ends()
                self._save()
        except KeyboardInterrupt:
            self._interrupted()
            bar.line(f"interrupted after {self.done.updates} updates")
        if self.patience is not None and not history.interrupted:
            _, self.network.params, self.network.state = self.best

    def _record(self, losses: Host) -> str:
        """Measure the network after an epoch; the line about it."""
        history, (x, t) = self.history, self.train
        columns: list[tuple[list[float], float, str]] = []
        if self.measure:
            columns += [
                (history.train_accuracy, share(self.measure(x, t, self.rows), 0), "train"),
                (history.test_accuracy, share(self.measure(*self.test), 0), "test"),
            ]
            if len(self.held):
                found = share(self.measure(x, t, self.held), 0)
                columns.append((history.validation_accuracy, found, "validation"))
        for column, value, _ in columns:
            column.append(value)
        if len(self.held):
            history.validation_loss.append(mean(self.watch(x, t, self.held), 0))
            if history.validation_loss[-1] < self.best[0]:
                self.best = history.validation_loss[-1], self.network.params, self.network.state
                history.best_epoch = self.epoch
        history.updates.append(len(history.loss))
        history.seconds.append(time.perf_counter() - self.start)  # the last: without it, the row is not whole
        loss = f"loss {losses.mean():.4f}" if losses.size else "loss      -"
        shares = "".join(f"  {name} {value:.4f}" for _, value, name in columns)
        return f"epoch {self.epoch:3d}  {loss}{shares and '  accuracy'}{shares}  {history.seconds[-1]:6.1f} s"

    def _ends(self) -> bool:
        """Whether this was the last epoch, by patience or a callback."""
        asked = [callback(self.network, self.history) for callback in self.callbacks]
        stop = any(isinstance(answer, (bool, np.bool_)) and answer for answer in asked)
        waited = self.epoch - (self.history.best_epoch or 0)
        return stop or (self.patience is not None and waited >= self.patience)

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
        if self.saver is None or not history.seconds:
            return
        whole = len(history.seconds) > self.epoch
        within = np.empty(0) if whole else self._of_epoch() if losses is None else np.asarray(losses)
        (params, memory, state), (best, best_params, best_state) = self.done.carry, self.best
        groups = {"params": params, "memory": memory, "state": state}
        groups |= {"best_params": best_params, "best_state": best_state}
        # Where masks are drawn, those of an update that is not whole do not count.
        now = self.done.draws if self.network.stack.mask_names and not whole else self.rng.bit_generator.state
        draws = {"opening": self.opening, "now": now}
        rows = {"train": self.rows, "held": self.held} if len(self.held) else {}
        self.saver.save(Progressed(self.epoch, whole, self.over, history, draws, within, best, groups, rows))

    def _restore(self, saver: Saver) -> bool:
        """Take up the run in the checkpoint, if there is one; whether it is within an epoch."""
        saved = saver.load()
        if saved is None:
            return False
        self.history, self.epoch, self.over = saved.history, saved.epoch, saved.over
        self.start -= self.history.seconds[-1]
        self.before, self.earlier, self.opening = len(self.history.loss), saved.losses, saved.draws["opening"]
        groups = saved.groups
        self.best = saved.best, groups["best_params"], groups["best_state"]
        carry = groups["params"], groups["memory"], groups["state"]
        self.done = Done(carry, None, self.before + len(self.earlier), saved.draws["now"])
        self.rng.bit_generator.state = saved.draws["now" if saved.whole else "opening"]
        if saved.rows:
            self.rows, self.held = saved.rows["train"], saved.rows["held"]
        return not saved.whole


def update_step(
    stack: Sequential,
    optimizer: Optimizer,
    transform: Callable[[Array], Array] | None = None,
    accumulate: int = 1,
) -> Callable[[Carry, Pair, Params], tuple[Carry, Array]]:
    """One update as a pure function, ``step(carry, batch, noise) -> carry, loss``.

    The carry is the parameters, the optimizer's state and the stack's; the batch is samples and targets; noise is the
    masks of random layers, or empty.
    """

    def step(carry: Carry, batch: Pair, noise: Params) -> tuple[Carry, Array]:
        (params, memory, state), (x, t) = carry, batch
        x = transform(x) if transform else x
        if accumulate == 1:
            loss, gradients, state = stack.loss_and_gradient(params, x, t, state=state or None, noise=noise or None)
        else:
            total, loss, gradients, state = sums(stack, params, x, t, state, noise, accumulate)
            loss, gradients = means(total, loss, gradients)
        params, memory = optimizer.update(params, gradients, memory)
        return (params, memory, state), loss

    return step


def sums(
    stack: Sequential, params: Params, x: Array, t: Array, state: Params, noise: Params, parts: int
) -> tuple[Array, Array, Params, Params]:
    """What the samples of a mini-batch count together, and the sums of their losses and gradients; the next state.

    The mini-batch is passed through the network in parts, one after the other.
    """
    count, size = x.shape[0], -(-x.shape[0] // parts)
    total, loss, gradients = 0.0, 0.0, dict.fromkeys(params, 0.0)
    for start in range(0, count, size):
        part = slice(start, min(start + size, count))
        masks = {name: mask[part, ...] for name, mask in noise.items()}
        part_loss, part_gradients, state, _, last = stack.trace(
            params, x[part, ...], t[part, ...], state=state or None, noise=masks or None
        )
        counts = getattr(last, "total", part.stop - start)
        total, loss = total + counts, loss + counts * part_loss
        gradients = {name: gradients[name] + counts * g for name, g in part_gradients.items()}
    return total, loss, gradients, state


def means(total: Array, loss: Array, gradients: Params) -> tuple[Array, Params]:
    """Sums over what counts `total`, divided by it; 0 where nothing counts."""
    if not isinstance(total, (int, float)):
        total = namespace(total=total).where(total == 0, math.inf, total)
    return loss / total, {name: g / total for name, g in gradients.items()}


def _batches(
    rng: np.random.Generator, rows: np.ndarray[Any, Any], batch_size: int, sampling: str
) -> Iterator[np.ndarray[Any, np.dtype[np.integer[Any]]]]:
    """The samples of an epoch's mini-batches, see `in_batches`."""
    if sampling == "shuffle":
        order = rng.permutation(rows)
    else:
        order = rows[rng.integers(0, len(rows), size=batch_size * math.ceil(len(rows) / batch_size))]
    return in_batches(order, batch_size)


def in_batches(order: np.ndarray[Any, Any], size: int) -> Iterator[np.ndarray[Any, np.dtype[np.integer[Any]]]]:
    """`order` cut into mini-batches: those of full size, one to a row, then the last one where it is shorter."""
    whole = len(order) // size * size
    if whole:
        yield order[:whole].reshape(-1, size)
    if whole < len(order):
        yield order[None, whole:]


def _after(parts: list[Host], count: int) -> list[Host]:
    """Mini-batches without the first so many."""
    rest = []
    for part in parts:
        rest.append(part[count:])
        count = max(0, count - len(part))
    return [part for part in rest if len(part)]


def _diverged(history: History, epoch: int, lr: Any) -> Diverged:
    update = next(i for i, loss in enumerate(history.loss, 1) if not math.isfinite(loss))
    return Diverged(
        f"the loss is {history.loss[update - 1]} at update {update}, in epoch {epoch}, with learning rate {lr}; "
        "train again with a smaller one. The history so far is this error's attribute `history`",
        history,
    )


def _pairs(data: Any) -> tuple[Pair, Pair]:
    """`data` as two pairs, or TypeError."""
    try:
        (x_train, t_train), (x_test, t_test) = data
    except (TypeError, ValueError):
        raise TypeError(
            "data must be ((x_train, t_train), (x_test, t_test)), four arrays, as load_mnist returns them; "
            f"got {type(data).__name__}"
        ) from None
    return (x_train, t_train), (x_test, t_test)


def _check_integer(name: str, value: Any, least: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise ValueError(f"{name} must be an integer from {least}, got {value!r}")


def _check_fit(network: Network, name: str, sample: tuple[int, ...]) -> None:
    """Refuse samples of a shape that the network was not made for."""
    if sample != network.input_shape:
        shapes = {key: tuple(p.shape) for key, p in network.params.items()}
        try:
            fits = {key: p.shape for key, p in network.stack.init(generator(0), sample).items()} == shapes
        except ValueError as error:
            raise ValueError(f"x_{name}: {error}") from None
        if not fits:
            raise ValueError(
                f"x_{name} has samples of shape {sample}, but the network was made for {network.input_shape}"
            )


def _check_batches(network: Network, sample: tuple[int, ...], count: int, batch_size: int, parts: int) -> None:
    """Refuse mini-batches that are too small for a layer."""
    least = network.stack.least_batch(sample)
    for size in {min(batch_size, count), count % batch_size or batch_size}:
        part = -(-size // parts)
        smallest = size % part or part
        if smallest < least:
            raise ValueError(
                f"batch_size: {count} samples in mini-batches of {batch_size}, {parts} parts each, leave a part with "
                f"{smallest}, but normalisation over the batch needs at least {least}; choose another batch_size"
            )


def _check_pair(xp: Namespace, name: str, x: Array, t: Array, *, floats: bool, classifies: bool) -> None:
    """Refuse samples and targets that no network could take."""
    if x.ndim < 2 or x.shape[0] == 0:
        raise ValueError(
            f"x_{name} must hold at least one sample, along its first axis, shape (N, ...); got {tuple(x.shape)}"
        )
    if floats and not is_floating(xp, x.dtype):
        raise TypeError(
            f"x_{name} must have a real floating dtype, got {x.dtype}; scale integer images first, such as "
            f"xp.astype(x_{name}, xp.float32) / 255"
        )
    if t.ndim == 0 or t.shape[0] != x.shape[0]:
        raise ValueError(
            f"t_{name} has shape {tuple(t.shape)}, expected ({x.shape[0]},) or ({x.shape[0]}, K): a target for each "
            f"sample of x_{name}"
        )
    if classifies and t.ndim == 1 and not is_integral(xp, t.dtype):
        raise TypeError(f"t_{name}: labels must have an integer dtype, got {t.dtype}; cast them first")


def _check_targets(xp: Namespace, network: Network, name: str, t: Array) -> Array:
    """Refuse targets that do not fit the network; the targets, labels in the index dtype."""
    outputs = network.output_shape
    if not (network.classifies and t.ndim == 1):
        if tuple(t.shape[1:]) != outputs:
            labels = " or integer labels" if network.classifies else ""
            raise ValueError(
                f"t_{name} has shape {tuple(t.shape)}, expected {(t.shape[0], *outputs)}{labels} for this network"
            )
        return t
    least, most = int(xp.min(t)), int(xp.max(t))
    if least < 0 or most >= outputs[-1]:
        raise ValueError(
            f"t_{name} holds labels from {least} to {most}, but the network tells {outputs[-1]} classes apart, "
            f"0 to {outputs[-1] - 1}"
        )
    return xp.astype(t, index_dtype(xp, _array.device(t)), copy=False)


def train(
    dataset: str | os.PathLike[str] | tuple[Pair, Pair] = "mnist",
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
    validation: float = 0.0,
    patience: int | None = None,
    accumulate: int = 1,
    callbacks: Sequence[Callback] = (),
    checkpoint: str | os.PathLike[str] | None = None,
    resume: bool = False,
    progress: bool = True,
) -> Result:
    """Train a network from its description, the book's on MNIST where nothing else is given: `fit` with defaults.

    Parameters
    ----------
    dataset : "mnist", path, or ``((x_train, t_train), (x_test, t_test))``, default "mnist"
        The MNIST that xpnet ships (or that the environment variable XPNET_MNIST names); a folder with a set in the
        same format; or arrays of any one array-API library: samples (N, ...) of a floating dtype, scaled, and
        labels (N,) of an integer dtype or one-hot targets (N, K).
    network : Sequential, optional
        The stack to train, with as many outputs as there are classes; the book's two-layer network where not given.
        Images that are loaded come to it as (C, H, W).
    optimizer : Optimizer, optional
        ``SGD(learning_rate)`` where not given.
    backend : {"numpy", "cupy", "torch", "jax", "dask", "strict"}, optional
        What to compute with. The arrays' own library, or NumPy for a set that is loaded.
    device : str, optional
        Such as "cuda:1"; ``xpnet backends`` lists them. The arrays' own, or the backend's default.
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
    validation, patience, accumulate, callbacks, checkpoint, resume
        As in `fit`.
    progress : bool, default True
        Whether to print a line per epoch, and to show a bar on a terminal.

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
    if network is not None and (hidden_size, activation, weight_init_std) != (50, "relu", 0.01):
        raise ValueError(
            "hidden_size, activation and weight_init_std are of the two-layer network, but a network is given, which "
            "has its own; leave them out"
        )
    if optimizer is not None and learning_rate != 0.1:
        raise ValueError(
            f"learning_rate={learning_rate!r} is for plain SGD, but an optimizer is given; give that one the rate, "
            f"as in {type(optimizer).__name__}({learning_rate!r})"
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
        pairs: tuple[Pair, Pair] = load_mnist(
            normalize=False, flatten=network is None, path=None if dataset == "mnist" else dataset
        )
        xp = chosen.namespace()
    else:
        pairs = _pairs(dataset)
        xp = namespace(x_train=pairs[0][0], t_train=pairs[0][1], x_test=pairs[1][0], t_test=pairs[1][1])
        for name, (x, t) in zip(("train", "test"), pairs, strict=True):
            _check_pair(xp, name, x, t, floats=floats, classifies=network is None)
        own = backend_of(pairs[0][0])
        loaded, stays = False, device is None and backend in (None, own.name)
        chosen = own if backend is None else get_backend(backend)
        xp = xp if stays else chosen.namespace()
    where = _array.device(pairs[0][0]) if stays else chosen.device(device)
    if not is_floating(xp, find_dtype(xp, dtype, where)):
        raise TypeError(f"dtype must be a real floating one, such as 'float32', got {dtype!r}")
    labels = dtype_name(index_dtype(xp, where))

    def place(array: Array, dtype: str) -> Array:
        if stays:
            return xp.astype(array, find_dtype(xp, dtype, where), copy=False)
        return from_host(to_numpy(array), xp, dtype, where)

    def place_pair(x: Array, t: Array) -> Pair:
        samples = "uint8" if loaded else dtype if floats else labels
        return place(x, samples), place(t, labels if t.ndim == 1 else dtype)

    with chosen.current(where):
        data = place_pair(*pairs[0]), place_pair(*pairs[1])
        x, t = data[0]
        net = (
            Network(network, tuple(x.shape[1:]), seed=rng, like=x, dtype=dtype)
            if network
            else TwoLayerNet(
                math.prod(x.shape[1:]),
                hidden_size,
                max(int(xp.max(t)) + 1, 1) if t.ndim == 1 else t.shape[1],
                weight_init_std,
                activation=activation,
                seed=rng,
                like=x,
                dtype=dtype,
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
            transform=partial(scale_images, dtype=find_dtype(xp, dtype, where)) if loaded else None,
            validation=validation,
            patience=patience,
            accumulate=accumulate,
            callbacks=callbacks,
            checkpoint=checkpoint,
            resume=resume,
            progress=progress,
        )

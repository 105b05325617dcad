"""Training: `fit` for any network and data, and `train`, which is `fit` with the book's defaults."""

import math
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, TypeAlias

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
from .backends import backend_of, get_backend, read_all, to_numpy
from .datasets import load_mnist, scale_images
from .functions import accuracy
from .history import History
from .initializers import generator
from .networks import Network, Params, Sequential, TwoLayerNet
from .optimizers import SGD, Optimizer
from .progress import Progress

__all__ = ["Diverged", "Result", "fit", "train"]

Pair: TypeAlias = tuple[Array, Array]
Carry: TypeAlias = tuple[Params, Params]

_BLOCK = 2_000
"""Samples that are evaluated at a time: a few megabytes, whatever the size of the set."""


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
    progress: bool = True,
) -> Result:
    """Train a network on arrays by mini-batches.

    Parameters
    ----------
    network : Network
        Its `params` are replaced by the trained ones, after each epoch.
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
        Draws the batches, on the host: the same on every backend.
    transform : callable, optional
        A pure array-API function that makes the network's input from samples, one batch at a time, so that the
        set may stay small in memory; `datasets.scale_images` for integer images.
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
    for name, value, least in (("epochs", epochs, 0), ("batch_size", batch_size, 1)):
        if not isinstance(value, int) or value < least:
            raise ValueError(f"{name} must be an integer from {least}, got {value!r}")
    if sampling not in ("shuffle", "replacement"):
        raise ValueError(f"sampling must be 'shuffle' or 'replacement', got {sampling!r}")
    rng = generator(seed)
    for name, (x, t) in (("train", (x_train, t_train)), ("test", (x_test, t_test))):
        _check_pair(xp, name, x, t, transformed=transform is not None, classifies=network.classifies)
    if tuple(x_test.shape[1:]) != tuple(x_train.shape[1:]):
        raise ValueError(f"x_test has samples of shape {tuple(x_test.shape[1:])}, x_train {tuple(x_train.shape[1:])}")
    t_train, t_test = (_check_targets(xp, network, name, t) for name, t in (("train", t_train), ("test", t_test)))
    index_name = dtype_name(index_dtype(xp, where))
    run = backend.repeat(update_step(network.stack, optimizer, transform))

    def score(params: Params, x: Array, t: Array, index: Array) -> Array:
        x, t = backend.rows(x, index), backend.rows(t, index)
        return accuracy(network.stack.predict(params, transform(x) if transform else x), t)

    evaluate = backend.compile(score)

    def accuracy_of(x: Array, t: Array) -> float:
        blocks = [np.arange(i, min(i + _BLOCK, x.shape[0]), dtype=index_name) for i in range(0, x.shape[0], _BLOCK)]
        shares = read_all([evaluate(network.params, x, t, xp.asarray(block, device=where)) for block in blocks])
        return sum(round(float(s) * len(b)) for s, b in zip(shares, blocks, strict=True)) / int(x.shape[0])

    history, start = History(), time.perf_counter()

    def record(epoch: int, losses: np.ndarray[Any, Any]) -> str:
        accuracies = [accuracy_of(x_train, t_train), accuracy_of(x_test, t_test)] if network.classifies else []
        for column, value in zip((history.train_accuracy, history.test_accuracy), accuracies, strict=False):
            column.append(value)
        history.updates.append(len(history.loss))
        history.seconds.append(time.perf_counter() - start)  # the last of a row: without it, the row is not whole
        loss = f"loss {losses.mean():.4f}" if losses.size else "loss      -"
        shares = "".join(f"  {n} {a:.4f}" for n, a in zip(("train", "test"), accuracies, strict=False))
        return f"epoch {epoch:3d}  {loss}{shares and '  accuracy'}{shares}  {history.seconds[-1]:6.1f} s"

    count = int(x_train.shape[0])
    losses: list[Array] = []
    bar = Progress(epochs * math.ceil(count / batch_size), shown=progress)
    # A run that diverges is told by its loss, not by NumPy's warnings on the way there.
    with bar, backend.current(where), np.errstate(over="ignore", invalid="ignore"):
        # What the updates so far have made: parameters and optimizer state, the last losses, the number of updates.
        done: tuple[Carry, Array, int] = ((network.params, optimizer.init(network.params)), None, 0)
        try:
            bar.line(record(0, np.empty(0)))
            for epoch in range(1, epochs + 1):
                losses = []
                for batches in _batches(rng, count, batch_size, sampling):
                    for carry, loss in run(done[0], (x_train, t_train), batches.astype(index_name)):
                        steps = (loss.shape or (1,))[0]
                        done = carry, loss, done[2] + steps
                        losses.append(loss)
                        bar.advance(steps)
                read = read_all(losses)
                history.loss.extend(read.tolist())
                if not np.isfinite(read).all():
                    raise _diverged(history, epoch, optimizer.lr)
                network.params = done[0][0]
                bar.line(record(epoch, read))
        except KeyboardInterrupt:  # an update is whole once `done` has it; its loss may not be in `losses` yet
            if missing := done[2] - len(history.loss):
                history.loss.extend(read_all([*losses, done[1]])[:missing].tolist())
            for column in (history.train_accuracy, history.test_accuracy, history.updates):
                del column[len(history.seconds) :]
            history.interrupted = True
            network.params = done[0][0]
            bar.line(f"interrupted after {done[2]} updates")
    return Result(network, history)


def update_step(
    stack: Sequential, optimizer: Optimizer, transform: Callable[[Array], Array] | None = None
) -> Callable[[Carry, Pair], tuple[Carry, Array]]:
    """One update as a pure function, ``step(carry, batch) -> carry, loss``.

    The carry is the parameters and the optimizer's state; the batch is samples and targets.
    """

    def step(carry: Carry, batch: Pair) -> tuple[Carry, Array]:
        (params, state), (x, t) = carry, batch
        loss, gradients, _ = stack.loss_and_gradient(params, transform(x) if transform else x, t)
        return optimizer.update(params, gradients, state), loss

    return step


def _batches(
    rng: np.random.Generator, count: int, batch_size: int, sampling: str
) -> Iterator[np.ndarray[Any, np.dtype[np.integer[Any]]]]:
    """The samples of an epoch's mini-batches: those of full size, then the last one where it is shorter."""
    if sampling == "shuffle":
        order = rng.permutation(count)
    else:
        order = rng.integers(0, count, size=batch_size * math.ceil(count / batch_size))
    whole = len(order) // batch_size * batch_size
    if whole:
        yield order[:whole].reshape(-1, batch_size)
    if whole < len(order):
        yield order[None, whole:]


def _diverged(history: History, epoch: int, lr: float) -> Diverged:
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


def _check_pair(xp: Namespace, name: str, x: Array, t: Array, *, transformed: bool, classifies: bool) -> None:
    """Refuse samples and targets that no network could take."""
    if x.ndim < 2 or x.shape[0] == 0:
        raise ValueError(
            f"x_{name} must hold at least one sample, along its first axis, shape (N, ...); got {tuple(x.shape)}"
        )
    if not transformed and not is_floating(xp, x.dtype):
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
    progress: bool = True,
) -> Result:
    """Train the two-layer network, on MNIST where nothing else is given: `fit` with the book's defaults.

    Parameters
    ----------
    dataset : "mnist", path, or ``((x_train, t_train), (x_test, t_test))``, default "mnist"
        The MNIST that xpnet ships (or that the environment variable XPNET_MNIST names); a folder with a set in the
        same format; or arrays of any one array-API library: samples (N, ...) of a floating dtype, scaled, and
        labels (N,) of an integer dtype or one-hot targets (N, K).
    backend : {"numpy", "cupy", "torch", "jax", "dask", "strict"}, optional
        What to compute with. The arrays' own library, or NumPy for a set that is loaded.
    device : str, optional
        Such as "cuda:1"; ``xpnet backends`` lists them. The arrays' own, or the backend's default.
    dtype : {"float32", "float64"}, default "float32"
        Of parameters and arithmetic.
    hidden_size : int, default 50
    activation : {"relu", "sigmoid"}, default "relu"
        Of the hidden layer.
    weight_init_std : float, default 0.01
        Standard deviation of the initial weights.
    epochs : int, default 17
    batch_size : int, default 100
        The last mini-batch of an epoch holds what is left.
    learning_rate : float, default 0.1
    sampling : {"shuffle", "replacement"}, default "shuffle"
        A new permutation each epoch, cut into batches; or samples drawn at random, with replacement.
    seed : int or numpy.random.Generator, default 0
        Draws the initial weights and then the batches, on the host: the same on every backend.
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
    optimizer, rng = SGD(learning_rate), generator(seed)
    if isinstance(dataset, (str, os.PathLike)):
        if dataset != "mnist" and not os.path.isdir(dataset):
            raise ValueError(
                f"dataset {os.fspath(dataset)!r} is neither 'mnist' nor a folder with a set in its format"
            )
        loaded, stays = True, False
        chosen = get_backend(backend or "numpy")
        pairs: tuple[Pair, Pair] = load_mnist(normalize=False, path=None if dataset == "mnist" else dataset)
        xp = chosen.namespace()
    else:
        pairs = _pairs(dataset)
        xp = namespace(x_train=pairs[0][0], t_train=pairs[0][1], x_test=pairs[1][0], t_test=pairs[1][1])
        for name, (x, t) in zip(("train", "test"), pairs, strict=True):
            _check_pair(xp, name, x, t, transformed=False, classifies=True)
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
        return place(x, "uint8" if loaded else dtype), place(t, labels if t.ndim == 1 else dtype)

    with chosen.current(where):
        data = place_pair(*pairs[0]), place_pair(*pairs[1])
        x, t = data[0]
        network = TwoLayerNet(
            math.prod(x.shape[1:]),
            hidden_size,
            max(int(xp.max(t)) + 1, 1) if t.ndim == 1 else t.shape[1],
            weight_init_std,
            activation=activation,
            seed=rng,
            like=x,
            dtype=dtype,
        )
        return fit(
            network,
            data,
            optimizer,
            epochs=epochs,
            batch_size=batch_size,
            sampling=sampling,
            seed=rng,
            transform=partial(scale_images, dtype=find_dtype(xp, dtype, where)) if loaded else None,
            progress=progress,
        )

"""Training: `fit` for any network and data, and `train`, which is `fit` with the book's defaults."""

import math
import os
import time
from collections.abc import Callable, Iterator, Sequence
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
from .evaluation import Blocks, mean, share
from .functions import accuracy
from .history import History
from .initializers import generator
from .networks import Network, TwoLayerNet
from .optimizers import SGD, Optimizer
from .progress import Progress
from .sequential import Params, Sequential

__all__ = ["Diverged", "Result", "fit", "train"]

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

    rows = np.arange(x_train.shape[0])
    held = round(validation * len(rows))
    if held:
        order = rng.permutation(len(rows))
        rows, held_rows = np.sort(order[held:]), np.sort(order[:held])
    elif validation:
        raise ValueError(f"validation={validation!r} of {len(rows)} samples is none; pass a larger share")
    sample = network.input_shape if transform else tuple(x_train.shape[1:])
    _check_batches(network, sample, len(rows), batch_size, accumulate)

    measure = Blocks(network, lambda y, t: (accuracy(y, t),), transform) if network.classifies else None
    watch = Blocks(network, lambda y, t: (network.stack.loss_class(None).forward(y, t),), transform)
    history, start = History(), time.perf_counter()
    best: tuple[float, Params, Params] = (math.inf, {}, {})

    def record(epoch: int, losses: np.ndarray[Any, Any]) -> str:
        nonlocal best
        columns: list[tuple[list[float], float, str]] = []
        if measure:
            columns += [
                (history.train_accuracy, share(measure(x_train, t_train, rows), 0), "train"),
                (history.test_accuracy, share(measure(x_test, t_test), 0), "test"),
            ]
            if held:
                found = share(measure(x_train, t_train, held_rows), 0)
                columns.append((history.validation_accuracy, found, "validation"))
        for column, value, _ in columns:
            column.append(value)
        if held:
            history.validation_loss.append(mean(watch(x_train, t_train, held_rows), 0))
            if history.validation_loss[-1] < best[0]:
                best = history.validation_loss[-1], network.params, network.state
                history.best_epoch = epoch
        history.updates.append(len(history.loss))
        history.seconds.append(time.perf_counter() - start)  # the last of a row: without it, the row is not whole
        loss = f"loss {losses.mean():.4f}" if losses.size else "loss      -"
        shares = "".join(f"  {name} {value:.4f}" for _, value, name in columns)
        return f"epoch {epoch:3d}  {loss}{shares and '  accuracy'}{shares}  {history.seconds[-1]:6.1f} s"

    def ends(epoch: int) -> bool:
        """Whether this was the last epoch, by patience or a callback."""
        asked = [callback(network, history) for callback in callbacks]
        stop = any(isinstance(answer, (bool, np.bool_)) and answer for answer in asked)
        impatient = patience is not None and epoch - (history.best_epoch or 0) >= patience
        return impatient or stop

    index_name = dtype_name(index_dtype(xp, where))
    run = backend.repeat(update_step(network.stack, optimizer, transform, accumulate))
    draw = (lambda size: network.stack.draw(rng, (size, *sample))) if network.stack.mask_names else None
    losses: list[Array] = []
    bar = Progress(epochs * math.ceil(len(rows) / batch_size), shown=progress)
    # A run that diverges is told by its loss, not by NumPy's warnings on the way there.
    with bar, backend.current(where), np.errstate(over="ignore", invalid="ignore"):
        # What the updates so far have made: parameters and states, the last losses, the number of updates.
        done: tuple[Carry, Array, int] = (
            (network.params, optimizer.init(network.params), network.state),
            None,
            0,
        )
        try:
            bar.line(record(0, np.empty(0)))
            over = ends(0)
            for epoch in range(1, epochs + 1):
                if over:
                    break
                losses = []
                for batches in _batches(rng, rows, batch_size, sampling):
                    for carry, loss in run(done[0], (x_train, t_train), batches.astype(index_name), draw):
                        steps = (loss.shape or (1,))[0]
                        done = carry, loss, done[2] + steps
                        losses.append(loss)
                        bar.advance(steps)
                read = read_all(losses)
                history.loss.extend(read.tolist())
                if not np.isfinite(read).all():
                    raise _diverged(history, epoch, optimizer.lr)
                network.params, _, network.state = done[0]
                bar.line(record(epoch, read))
                over = ends(epoch)
        except KeyboardInterrupt:  # an update is whole once `done` has it; its loss may not be in `losses` yet
            if missing := done[2] - len(history.loss):
                history.loss.extend(read_all([*losses, done[1]])[:missing].tolist())
            history.cut()
            history.interrupted = True
            network.params, _, network.state = done[0]
            bar.line(f"interrupted after {done[2]} updates")
        if patience is not None and not history.interrupted:
            _, network.params, network.state = best
    return Result(network, history)


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
            loss, gradients, state = in_parts(stack, params, x, t, state, noise, accumulate)
        params, memory = optimizer.update(params, gradients, memory)
        return (params, memory, state), loss

    return step


def in_parts(
    stack: Sequential, params: Params, x: Array, t: Array, state: Params, noise: Params, parts: int
) -> tuple[Array, Params, Params]:
    """`Sequential.loss_and_gradient` of a mini-batch that is passed through in parts, one after the other."""
    count, size = x.shape[0], -(-x.shape[0] // parts)
    loss, gradients = 0.0, dict.fromkeys(params, 0.0)
    for start in range(0, count, size):
        stop = min(start + size, count)
        part_loss, part, state = stack.loss_and_gradient(
            params,
            x[start:stop, ...],
            t[start:stop, ...],
            state=state,
            noise={name: mask[start:stop, ...] for name, mask in noise.items()},
        )
        weight = (stop - start) / count
        loss = loss + weight * part_loss
        gradients = {name: gradients[name] + weight * g for name, g in part.items()}
    return loss, gradients, state


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
    validation, patience, accumulate, callbacks
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
            progress=progress,
        )

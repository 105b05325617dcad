"""Training: `fit` for any network and data, and `train`, which calls `fit` with the book's defaults."""

import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, NamedTuple

import numpy as np

from .. import _array
from .._array import dtype_name, find_dtype, from_host, index_dtype, is_floating, namespace
from .._typing import Array, BackendName, DtypeName, Namespace
from .._validation import check_integer
from ..backends import Backend, backend_of, get_backend, on_arrays_device, to_numpy
from ..datasets import Shards, load, scale_images
from ..nn.initializers import generator
from ..nn.networks import Network, TwoLayerNet
from ..nn.sequential import Sequential
from ..optim.optimizers import Optimizer
from .callbacks import Agreement, Callback, Checkpoint, EarlyStopping, Function, ProgressLine
from .checkpoints import Saved, Saver
from .config import OptimizerLike, Options, PlainCallback, optimizer_of
from .describing import fingerprint, readable
from .distributed import Processes, processes
from .evaluation import Measures
from .history import History
from .loop import Diverged, Loop
from .samples import (
    Dataset,
    Given,
    Sets,
    check_batches,
    check_samples,
    check_values,
    given,
    hold_out,
    namespace_of,
    samples_of,
    shapes,
    value_ranges,
)
from .step import Transform, updates

__all__ = ["Diverged", "Result", "fit", "train"]


@dataclass(repr=False)
class Result:
    """The result of training: ``network, history = train()``.

    Attributes
    ----------
    network : Network
        With the trained parameters.
    history : History
    """

    network: Network
    history: History

    def __iter__(self) -> Iterator[Any]:
        return iter((self.network, self.history))

    @property
    def backend(self) -> str:
        """The name of the library that the network was trained with, such as "numpy"."""
        return backend_of(_first(self.network)).name

    @property
    def device(self) -> str:
        """The device that the network was trained on, such as "cpu" or "cuda:0"."""
        backend, where = backend_of(_first(self.network)), _array.device(_first(self.network))
        names = backend.devices()
        if where is None:  # Dask's arrays name none
            return names[0]
        return next((name for name in names if backend.device(name) == where), str(where))

    def __repr__(self) -> str:
        return f"Result on {self.backend}, {self.device}\n  {self.network}\n  {self.history}"


@on_arrays_device
def fit(
    network: Network | Sequential,
    data: Dataset | tuple[Dataset, Dataset | None],
    test: Dataset | OptimizerLike | None = None,
    optimizer: OptimizerLike | None = None,
    *,
    epochs: int = 17,
    batch_size: int = 100,
    sampling: Literal["shuffle", "replacement"] = "shuffle",
    seed: int | np.random.Generator = 0,
    transform: Transform | None = None,
    validation: float = 0.0,
    patience: int | None = None,
    accumulate: int = 1,
    callbacks: Sequence[Callback | PlainCallback] = (),
    checkpoint: str | os.PathLike[str] | None = None,
    resume: bool = False,
    distributed: Literal["mpi"] | Processes | None = None,
    progress: bool = True,
) -> Result:
    """Train a network on arrays, or on sets on disk, by mini-batches.

    Parameters
    ----------
    network : Network or Sequential
        The `params` and `state` of a network are replaced by the trained ones after each epoch. A stack becomes a
        network for samples of that shape, with the library, device and dtype of the samples.
    data : ``(x_train, t_train)`` or ``((x_train, t_train), (x_test, t_test))``
        Arrays in the library and on the device of the network's parameters, samples along the first axis; targets
        as the network's loss takes them. In place of each pair `Shards`, which are read, in the dtype of the
        parameters, a buffer at a time.
    test : ``(x_test, t_test)`` or Shards, optional
        The test set, evaluated after each epoch, if `data` is the training set alone. An optimizer can also be the
        third argument, as in ``fit(network, data, Adam())``.
    optimizer : Optimizer, its class or its name, default SGD(lr=0.1)
        Such as ``Adam(0.01)``, ``Adam`` or ``"adam"``.
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
    accumulate : int, default 1
        Pass each mini-batch through the network in so many parts and add up their gradients: the same update in less
        memory. (Normalisation over the batch sees the parts.)
    validation : float, default 0.0
        The fraction of the training samples, drawn at random, that is kept out of training and evaluated after each
        epoch; of `Shards`, whole pieces.
    patience : int, optional
        End the run after so many epochs in a row without a smaller validation loss. The network then keeps the
        parameters of the best epoch, ``history.best_epoch``. Needs `validation`.
    callbacks : sequence of callables or `Callback`, default ()
        A function is called as ``callback(network, history)`` before training and after each epoch; True ends the
        run. A `Callback` has hooks for the start, each update, each epoch and the end. With several processes they
        are called in each, and one True ends the run in all.
    progress : bool, default True
        Whether to print a line per epoch, and to show a bar on a terminal; of several processes, the first does.
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

    Returns
    -------
    Result
        The network and the history: ``network, history = fit(...)``. Ctrl-C ends the run early: the result then holds
        the last whole update, and ``history.interrupted`` is True.

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

    Notes
    -----
    The options in groups. Updates: `epochs`, `batch_size`, `sampling`, `seed`, `transform`, `accumulate`. Validation
    and early stopping: `validation`, `patience`. Calls and progress: `callbacks`, `progress`. Checkpoints:
    `checkpoint`, `resume`. Several processes: `distributed`.

    Examples
    --------
    >>> from xpnet import SGD
    >>> rng = np.random.default_rng(0)
    >>> x = rng.random((200, 2))
    >>> t = (x[:, 0] > x[:, 1]).astype(int)
    >>> net = TwoLayerNet(2, 16, 2, weight_init_std=0.5, like=x)
    >>> result = fit(net, (x, t), SGD(lr=1.0), epochs=40, batch_size=20, progress=False)
    >>> result.history.train_accuracy[-1] > 0.95
    True
    """
    peers = processes(distributed)
    with peers.setup():
        if isinstance(network, (tuple, list, Shards)):
            raise TypeError("network comes first, and then the data: fit(network, data)")
        if not (test is None or isinstance(test, (tuple, list, Shards)) or hasattr(test, "shape")):
            if optimizer is not None:
                raise TypeError(f"test must be (x_test, t_test) or Shards, got {test!r}")
            test, optimizer = None, test  # fit(network, data, Adam())
        rng = generator(seed)
        sets = given(data, test)
        options = Options(
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
            progress=progress,
        )
        chosen = optimizer_of(optimizer)
        net = _network_of(network, sets, rng)
    return _run(net, sets, chosen, options, peers)


def _network_of(network: Any, sets: Given, rng: np.random.Generator, like: Array | None = None) -> Network:
    """A network for these sets: the one that is given, or one of a stack, by default where the samples are."""
    if isinstance(network, Network):
        return network
    if not isinstance(network, Sequential):
        raise _no_network(network)
    check_samples("_train", sets.train, floats=False, takes_labels=False)
    if like is None:
        xp, x = namespace_of(sets), next(iter(sets.arrays.values()), np.empty(0, dtype="float32"))
        if is_floating(namespace(x=x), x.dtype):
            like = x
        else:
            where = _array.device(x)
            like = xp.empty(0, dtype=find_dtype(xp, "float32", where), device=where)
    shape, _ = shapes(sets.train)
    return Network(network, shape[1:], seed=rng, like=like)


def _no_network(network: Any) -> TypeError:
    got = f"the class {network.__name__}" if isinstance(network, type) else type(network).__name__
    return TypeError(f"network must be a Network or a Sequential, got {'None' if network is None else got}")


def _first(network: Network) -> Array:
    """One of the network's arrays, for their library, device and dtype."""
    return next(iter(network.params.values()))


@on_arrays_device
def _run(network: Network, sets: Given, optimizer: Optimizer, options: Options, peers: Processes) -> Result:
    """Train: check what was given, build what the loop needs, and start it."""
    rng = generator(options.seed)
    with peers.setup() as facts:
        state = rng.bit_generator.state
        samples = _samples(network, sets, options, peers, rng)
        settings: dict[str, Any] = {}
        if options.checkpoint is not None or peers.size > 1:
            settings = _settings(network, samples, options, state)
        saver = saved = None
        if options.checkpoint is not None:
            saver = Saver(options.checkpoint, options.resume, network, optimizer, settings)
            saved = saver.load()
        if saved and saved.rows:
            samples = samples._replace(units=saved.rows["train"], held=saved.rows["held"])
        if peers.size > 1:
            facts |= settings | _facts(network, optimizer, options, saved)
    train, units, sample = samples.train, samples.units, _sample_shape(network, samples, options)
    masks = (lambda size: network.stack.draw(rng, (size, *sample))) if network.stack.mask_names else None
    backend = backend_of(_first(network))
    go_on = f" Go on from {options.checkpoint} with resume=True." if saver else ""
    # A run that diverges is told by its loss, not by NumPy's warnings on the way there.
    with (
        np.errstate(over="ignore", invalid="ignore"),
        peers.running(go_on, Diverged),
        backend.memory_errors("choose a smaller batch size, or more parts of each batch with accumulate"),
    ):
        loop = Loop(
            network,
            optimizer,
            updates(backend, network.stack, optimizer, options.transform, options.accumulate, peers),
            lambda done: train.epoch(rng, units, options.batch_size, options.sampling, done),
            rng,
            masks,
            Measures(network, samples, options.transform, peers),
            _callbacks(samples, options, peers, saver, saved),
            saved and saved.snapshot,
        )
        loop.go(options.epochs)
    return Result(network, loop.history)


def _samples(network: Network, sets: Given, options: Options, peers: Processes, rng: np.random.Generator) -> Sets:
    """The samples of a run, checked; those for validation are drawn."""
    namespace_of(sets, params=_first(network))
    if options.sampling == "replacement" and isinstance(sets.train, Shards):
        raise ValueError("sampling='replacement' needs the samples in memory; Shards are shuffled")
    transformed = options.transform is not None
    train, test = (
        None if data is None else samples_of(f"_{name}", data, network, transformed=transformed)
        for name, data in sets._asdict().items()
    )
    assert train is not None
    check_values(network, sets.named, transformed=transformed)
    units, held = train.units, train.units[:0]
    if options.validation:
        units, held = hold_out(train, options.validation, rng)
    samples = Sets(train, units, held, test)
    check_batches(
        network,
        _sample_shape(network, samples, options),
        train.count(units),
        options.batch_size,
        options.accumulate,
        peers.size,
    )
    return samples


def _sample_shape(network: Network, samples: Sets, options: Options) -> tuple[int, ...]:
    """The shape of a sample as the network is given it."""
    return network.input_shape if options.transform else samples.train.shape[1:]


def _settings(network: Network, samples: Sets, options: Options, state: Any) -> dict[str, Any]:
    """What must be the same when a run is resumed, and in all processes."""
    train, test, transform = samples.train, samples.test, options.transform
    named = transform.func if isinstance(transform, partial) else transform  # its options may be a library's types
    return {
        "batch_size": options.batch_size,
        "sampling": options.sampling,
        "seed": f"of random state {fingerprint(readable(state))}",
        "validation": options.validation,
        "patience": options.patience,
        "accumulate": options.accumulate,
        "transform": transform and str(getattr(named, "__qualname__", type(named).__name__)),
        "dtype": dtype_name(_first(network).dtype),
        "training samples": f"{list(train.shape)} with checksum {train.fingerprint()}",
        "test samples": test and f"{list(test.shape)} with checksum {test.fingerprint()}",
    } | train.settings


def _facts(network: Network, optimizer: Optimizer, options: Options, saved: Saved | None) -> dict[str, Any]:
    """What else must be the same in all processes."""
    backend = backend_of(_first(network))
    return {
        "epochs": options.epochs,
        "library": f"{backend.name} {backend.version}",
        "network": readable(network.stack),
        "optimizer": readable(optimizer),
        "parameters": fingerprint(*network.params.values(), *network.state.values()),
        "checkpoint": saved and f"of update {len(saved.snapshot.history.loss) + len(saved.snapshot.losses)}",
    }


def _callbacks(
    samples: Sets, options: Options, peers: Processes, saver: Saver | None, saved: Saved | None
) -> list[Callback]:
    """The callbacks of a run, in their order: those that follow see how the ones before have answered."""
    early = None if options.patience is None else EarlyStopping(options.patience, saved and saved.best)
    total = options.epochs * math.ceil(samples.train.count(samples.units) / options.batch_size)
    rows = {"train": samples.units, "held": samples.held} if len(samples.held) else {}
    own = [c if isinstance(c, Callback) else Function(c) for c in options.callbacks]
    return [
        *([early] if early else []),
        ProgressLine(total, shown=options.progress and peers.rank == 0),
        *own,
        Agreement(peers),
        *([Checkpoint(saver, peers, early, rows)] if saver else []),
    ]


def train(
    dataset: str | os.PathLike[str] | Dataset | tuple[Dataset, Dataset | None] = "mnist",
    network: Sequential | Network | None = None,
    optimizer: OptimizerLike | None = None,
    *,
    backend: BackendName | str | None = None,
    device: str | None = None,
    dtype: DtypeName | str = "float32",
    hidden_size: int = 50,
    activation: str = "relu",
    weight_init_std: float = 0.01,
    epochs: int = 17,
    batch_size: int = 100,
    learning_rate: float | None = None,
    sampling: Literal["shuffle", "replacement"] = "shuffle",
    seed: int | np.random.Generator = 0,
    transform: Transform | None = None,
    validation: float = 0.0,
    patience: int | None = None,
    accumulate: int = 1,
    callbacks: Sequence[Callback | PlainCallback] = (),
    checkpoint: str | os.PathLike[str] | None = None,
    resume: bool = False,
    distributed: Literal["mpi"] | Processes | None = None,
    progress: bool = True,
) -> Result:
    """Train a network from its description, the book's on MNIST where nothing else is given: `fit` with defaults.

    Parameters
    ----------
    dataset : str, path, ``(x_train, t_train)`` or ``((x_train, t_train), (x_test, t_test))``, default "mnist"
        The name of a dataset, see `datasets.register`; "mnist" is the MNIST that xpnet ships, or that the environment
        variable XPNET_MNIST names. A folder with a dataset in MNIST's format. Or arrays of any one array-API library:
        samples (N, ...) of a floating dtype, scaled, and labels (N,) of an integer dtype or one-hot targets (N, K);
        or, in place of a pair, `Shards`.
    network : Sequential or Network, optional
        The stack to train, with one output for each class (default: the book's two-layer network); its loss is part
        of it. Images that are loaded come to it as (C, H, W). A network keeps its library, device and dtype, and the
        data are moved there.
    optimizer : Optimizer, its class or its name, optional
        Such as ``Adam(0.01)``, ``Adam`` or ``"adam"`` (default: SGD).
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
    learning_rate : float, optional
        Of an optimizer that is given by its name or class, or of SGD (default: the optimizer's own, 0.1 for SGD).
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

    Notes
    -----
    The options in groups. Where and in what to compute: `backend`, `device`, `dtype`. The two-layer network:
    `hidden_size`, `activation`, `weight_init_std`. All others are those of `fit`, in its groups.

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
        _check_train(dataset, network, (hidden_size, activation, weight_init_std))
        chosen, rng = optimizer_of(optimizer, learning_rate), generator(seed)
        sets = None if isinstance(dataset, (str, os.PathLike)) else given(dataset)
        place = _place(sets, network, backend, device, dtype, peers)
        floats, takes_labels = True, True
        if network:
            stack = _stack_of(network)
            floats, takes_labels = stack.takes_floats, stack.last.takes_labels
        if sets is None:
            sets = _loaded(dataset, flat=network is None)
            transform = transform or _scaling(sets.train, place.dtype, floats)
        for end, data in sets.named.items():
            check_samples(end, data, floats=floats and transform is None, takes_labels=takes_labels)
        options = Options(
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
            progress=progress,
        )
        with (
            place.backend.current(place.device),
            place.backend.memory_errors("choose a smaller network, or keep the data on disk with xpnet.Shards"),
        ):
            sets = place.put(sets, floats, transformed=transform is not None)
            like = place.xp.empty(0, dtype=place.real, device=place.device)
            if network is None:
                net: Network = _two_layer(sets.train, hidden_size, weight_init_std, activation, rng, like)
            else:
                net = network if isinstance(network, Network) else _network_of(network, sets, rng, like)
    return _run(net, sets, chosen, options, peers)


def _check_train(dataset: Any, network: Any, two_layer: tuple[Any, ...]) -> None:
    """Refuse arguments of `train` in the wrong place."""
    if isinstance(dataset, (Network, Sequential)):
        raise TypeError("dataset comes first, and then the network: train(dataset, network)")
    if isinstance(network, (tuple, list, Shards)) or hasattr(network, "shape"):
        raise TypeError(
            f"network must be a Network or a Sequential, got {type(network).__name__}; a dataset is one "
            "argument, (x, t), or with a test set ((x_train, t_train), (x_test, t_test))"
        )
    if not (network is None or isinstance(network, (Network, Sequential))):
        raise _no_network(network)
    if network is not None and two_layer != (50, "relu", 0.01):
        raise ValueError(
            "hidden_size, activation and weight_init_std are of the two-layer network, but a network is given, which "
            "has its own; leave them out"
        )
    check_integer("hidden_size", two_layer[0], 1)


def _stack_of(network: Network | Sequential) -> Sequential:
    return network.stack if isinstance(network, Network) else network


class Place(NamedTuple):
    """Where `train` computes, and in which dtype."""

    backend: Backend
    xp: Namespace
    device: Any
    dtype: str
    stays: bool
    """Whether the arrays are there already."""

    @property
    def real(self) -> Any:
        """The dtype as the library's object."""
        return find_dtype(self.xp, self.dtype, self.device)

    def put(self, sets: Given, floats: bool, *, transformed: bool) -> Given:
        """Sets with their arrays here: labels and ids as integers, the others as numbers of the dtype."""
        labels = dtype_name(index_dtype(self.xp, self.device))

        def put_set(data: Any) -> Any:
            if data is None or isinstance(data, Shards):
                return data
            x, t = data
            kept = transformed and not is_floating(namespace(x=x), x.dtype)
            samples = dtype_name(x.dtype) if kept else self.dtype if floats else labels
            return self._put(x, samples), self._put(t, labels if t.ndim == 1 else self.dtype)

        return sets._replace(train=put_set(sets.train), test=put_set(sets.test))

    def _put(self, array: Array, dtype: str) -> Array:
        if self.stays:
            return self.xp.astype(array, find_dtype(self.xp, dtype, self.device), copy=False)
        return from_host(to_numpy(array), self.xp, dtype, self.device)


def _place(
    sets: Given | None, network: Any, backend: str | None, device: str | None, dtype: str, peers: Processes
) -> Place:
    """Where to compute: where the network is, on the backend that is named, or where the arrays are."""
    own = None if sets is None else namespace_of(sets)
    array = next(iter(sets.arrays.values()), None) if sets else None
    if isinstance(network, Network):
        first = _first(network)
        xp, where, made = namespace(params=first), _array.device(first), dtype_name(first.dtype)
        if (backend, device) != (None, None) or dtype not in ("float32", made):
            raise ValueError(
                "backend, device and dtype are for a network that train makes, but a Network is given, which has "
                "its own; leave them out"
            )
        return Place(backend_of(first), xp, where, made, own is xp and _array.device(array) == where)
    library = get_backend(backend or "numpy") if array is None else backend_of(array)
    stays = array is not None and device is None and backend in (None, library.name)
    chosen = library if backend is None else get_backend(backend)
    xp = own if stays else chosen.namespace()
    where = _array.device(array) if stays else chosen.device(device, peers.local_rank)
    if not is_floating(xp, find_dtype(xp, dtype, where)):
        raise TypeError(f"dtype must be a real floating one, such as 'float32', got {dtype!r}")
    return Place(chosen, xp, where, dtype, stays)


def _loaded(dataset: Any, flat: bool) -> Given:
    """The dataset of a name or in a folder; each sample a row if `flat`."""

    def flatten(data: Any) -> Any:
        pair = flat and data is not None and not isinstance(data, Shards)
        return (data[0].reshape(data[0].shape[0], -1), data[1]) if pair else data

    found = given(load(dataset))
    return Given(flatten(found.train), flatten(found.test))


def _scaling(data: Dataset, dtype: str, floats: bool) -> Transform | None:
    """What scales the images of a dataset that was loaded by its name; None if they are numbers already, or ids."""
    integers = np.dtype(data.x_dtype if isinstance(data, Shards) else data[0].dtype).kind in "iu"
    return partial(scale_images, dtype=dtype) if floats and integers else None


def _two_layer(
    data: Dataset, hidden_size: int, weight_init_std: float, activation: str, rng: np.random.Generator, like: Array
) -> TwoLayerNet:
    """The book's network for the samples and targets of a set."""
    shape, target_shape = shapes(data)
    outputs = target_shape[-1]
    if len(target_shape) == 1:
        ((_, most),) = value_ranges(data.targets() if isinstance(data, Shards) else [data[1]])
        outputs = max(most + 1, 1)
    return TwoLayerNet(
        math.prod(shape[1:]), hidden_size, outputs, weight_init_std, activation=activation, seed=rng, like=like
    )

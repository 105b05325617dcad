"""Training: `fit` for any network and data, and `train`, which calls `fit` with the book's defaults."""

import html
import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal, NamedTuple

import numpy as np

from .. import _array
from .._array import dtype_name, find_dtype, from_host, index_dtype, is_floating, namespace, same_device
from .._typing import Array, BackendName, DtypeName, Namespace
from .._validation import check_integer
from ..backends import Backend, backend_of, get_backend, on_arrays_device, to_numpy, value_ranges
from ..datasets import Shards, load, scale_images
from ..layers.precision import HALF
from ..nn.initializers import generator
from ..nn.networks import Network, TwoLayerNet
from ..nn.sequential import Sequential
from ..optim.optimizers import Optimizer
from .about import about
from .callbacks import Agreement, Callback, Checkpoint, EarlyStopping, Function, ProgressLine
from .checkpoints import Saved, Saver
from .config import OptimizerLike, Options, PlainCallback, optimizer_of
from .describing import fingerprint, name_of, readable
from .distributed import Processes, processes
from .evaluation import Measures, Sampled
from .history import History
from .loop import Diverged, Loop
from .samples import (
    Dataset,
    Given,
    NotFinite,
    Sets,
    check_batches,
    check_samples,
    check_values,
    given,
    hold_out,
    namespace_of,
    samples_of,
    shapes,
)
from .step import Transform, is_known, updates

__all__ = ["Diverged", "Result", "fit", "loaded", "result_of", "train"]


@dataclass(repr=False)
class Result:
    """The result of training: ``network, history = train()``.

    Attributes
    ----------
    network : Network
        The trained network.
    history : History
        The losses and accuracies of the run.
    about : dict
        The facts of the run, such as the dataset, the options, the versions and the device: numbers and text by name.
    sampled : Sampled or None
        The samples that `report` evaluates: the test set, or else the validation samples, or else the training set.
    error : Diverged or None
        The error that ended the run of this network in `fit_many`.
    """

    network: Network
    history: History
    about: dict[str, Any] = field(default_factory=dict)
    sampled: Sampled | None = field(default=None, compare=False)
    error: Diverged | None = None

    def __iter__(self) -> Iterator[Any]:
        return iter((self.network, self.history))

    @property
    def backend(self) -> str:
        """The name of the library that the network was trained with, such as "numpy"."""
        return backend_of(_first(self.network)).name

    @property
    def device(self) -> str:
        """The device that the network was trained on, such as "cpu" or "cuda:0"; several are separated by commas."""
        known, where = backend_of(_first(self.network)).known_devices(), _array.devices(_first(self.network))
        if not where:  # Dask's arrays have no device
            return next(iter(known))
        return ", ".join(name for name, place in known.items() if place in where) or str(where[0])

    def __repr__(self) -> str:
        failed = f"\n  {self.error}" if self.error else ""
        return f"Result on {self.backend}, {self.device}\n  {self.network}\n  {self.history}{failed}"

    def report(
        self,
        path: str | os.PathLike[str],
        *,
        data: Dataset | None = None,
        image_shape: Sequence[int] | None = None,
        class_names: Sequence[str] | None = None,
    ) -> None:
        """Write a report of the run as one HTML file, which needs no network and no script.

        The report has the curves of loss and accuracy, the confusion matrix or the residuals, the samples with the
        largest errors, the weights, activations and gradients of each layer, and the facts of the run.

        Parameters
        ----------
        path : path
            The file; its name ends in ``.html``. An existing file is replaced in one step.
        data : ``(x, t)`` or Shards, optional
            The samples to evaluate, in the form of the test set in `fit` (default: the test set of the run, or else
            its validation samples, or else its training set). At most about 10,000 of them are used.
        image_shape : (H, W) or (C, H, W), optional
            The shape of a sample as an image. Default: the shape of a sample, if it is (1, H, W) or (3, H, W), or the
            shape of the images of a dataset that `train` loads by name. Other samples are shown as numbers.
        class_names : sequence of str, optional
            The name of each class (default: its number).

        Raises
        ------
        TypeError, ValueError
            If an argument does not fit the network.
        OSError
            If the file cannot be written.

        Examples
        --------
        >>> import tempfile
        >>> from pathlib import Path
        >>> from xpnet import GradientNorms
        >>> x = np.eye(4)
        >>> network = TwoLayerNet(4, 8, 2, like=x)
        >>> result = fit(network, (x, np.asarray([0, 1, 1, 0])), callbacks=[GradientNorms()], progress=False)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     result.report(f"{folder}/run.html", class_names=["no", "yes"])
        ...     Path(folder, "run.html").read_text(encoding="utf-8").startswith("<!DOCTYPE html>")
        True
        """
        from ..report import write

        write(path, [self], data=data, image_shape=image_shape, class_names=class_names)

    def _repr_html_(self) -> str:
        where = html.escape(f"Result on {self.backend}, {self.device}")
        return f"<div>{where}</div>{self.network._repr_html_()}{self.history._repr_html_()}"


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
    """Train a network with mini-batches, on arrays or on datasets on disk.

    Parameters
    ----------
    network : Network or Sequential
        The network to train. Its `params` and `state` are replaced after each epoch. From a `Sequential`, `fit` makes
        a network with the library, device and dtype of the samples.
    data : ``(x_train, t_train)`` or ``((x_train, t_train), (x_test, t_test))``
        The training set, and optionally the test set: arrays in the library and on the device of the network's
        parameters, with the samples along the first axis. The dtype of the samples is that of the parameters; see
        `Network` for the exception. Targets are in a form that the network's loss takes. Each pair can also be
        `Shards`, a dataset on disk that is read one buffer at a time.
    test : ``(x_test, t_test)`` or Shards, optional
        The test set, if `data` is only the training set. It is evaluated after each epoch. The optimizer can also be
        the third argument, as in ``fit(network, data, Adam())``.
    optimizer : Optimizer, its class or its name, default SGD(lr=0.1)
        The optimizer, such as ``Adam(0.01)``, ``Adam`` or ``"adam"``.
    epochs : int, default 17
        The number of passes over the training set. With 0, the network is only evaluated.
    batch_size : int, default 100
        The number of samples in a mini-batch. The last mini-batch of an epoch may be smaller.
    sampling : {"shuffle", "replacement"}, default "shuffle"
        "shuffle": the samples are shuffled each epoch and divided into mini-batches. "replacement": the samples of
        each mini-batch are drawn at random, with replacement. For `Shards`, xpnet shuffles blocks of samples, and
        then the samples in each buffer.
    seed : int or numpy.random.Generator, default 0
        The seed of the validation samples, the mini-batches and the dropout masks. They are drawn on the host, so
        they are the same on every backend.
    transform : callable, optional
        A pure array-API function that converts a mini-batch of samples to the network's input. The dataset can then
        stay in a smaller dtype in memory. For integer images, use `datasets.scale_images`.
    validation : float, default 0.0
        The fraction of the training samples that is kept out of training and evaluated after each epoch. These
        samples are drawn at random; from `Shards`, whole blocks are drawn.
    patience : int, optional
        End the run after this number of epochs in a row without a smaller validation loss. The network then keeps the
        parameters of the best epoch, ``history.best_epoch``. Requires `validation`.
    accumulate : int, default 1
        Divide each mini-batch into this number of parts, and add their gradients. The update is the same and needs
        less memory. (Batch normalization uses the statistics of each part.)
    callbacks : sequence of callables or `Callback`, default ()
        A function is called as ``callback(network, history)`` before training and after each epoch; it returns True
        to end the run. A `Callback` has hooks for the start, each update, each epoch and the end. In a run on several
        processes, each process calls the callbacks. If one process gets True, the run ends in all processes.
    checkpoint : path, optional
        The file in which the run is saved; its name ends in ``.safetensors``. The run is saved after each epoch,
        every 30 seconds during an epoch, and after Ctrl-C. Requires safetensors: the extra `checkpoints`.
    resume : bool, default False
        Resume the run in `checkpoint`, if the file exists. The backend may be another one. The result is that of a
        run that was not interrupted; on NumPy, it is the same bit for bit. All arguments except `epochs`,
        `callbacks`, `distributed` and `progress` must be the same as before.
    distributed : "mpi", optional
        Divide each mini-batch among the processes that ``mpiexec`` started. All processes must have the same
        arguments. Losses and parameters are those of a run on one process, up to rounding. Requires mpi4py: the extra
        `distributed`.
    progress : bool, default True
        Whether to print a line for each epoch, and to show a progress bar on a terminal, or in a notebook that has
        ipywidgets. Only the first of several processes prints.

    Returns
    -------
    Result
        The network and the history: ``network, history = fit(...)``. Ctrl-C ends the run early. The result is then
        the state after the last complete update, and ``history.interrupted`` is True.

    Raises
    ------
    TypeError, ValueError
        If an argument has a wrong type, value or shape. All arguments are checked before training. The exception is
        NaN and infinite numbers in a dataset: they are searched for only after a loss or a score is not finite.
    Diverged
        If the loss or a score is not finite, but the training set is. The error is raised at the end of the epoch. It
        has the attribute ``history``. The network keeps the parameters of the epoch before.
    MemoryError
        If the memory of the host or of the device is exhausted, on every backend. The network keeps the parameters of
        the epoch before.
    ProcessesError
        If the processes have different arguments, or if one of them fails before training.

    Notes
    -----
    The options in groups. Updates: `epochs`, `batch_size`, `sampling`, `seed`, `transform`, `accumulate`. Validation
    and early stopping: `validation`, `patience`. Calls and progress: `callbacks`, `progress`. Checkpoints:
    `checkpoint`, `resume`. Several processes: `distributed`.

    If the arrays are sharded over a mesh of devices, with JAX, each mini-batch is divided among the devices. The
    parameters keep their shardings.

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
            test, optimizer = None, test  # the call was fit(network, data, Adam())
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
        net = network_of(network, sets, rng)
    return _run(net, sets, chosen, options, peers, source_of(seed))


def network_of(
    network: Any, sets: Given, rng: np.random.Generator, like: Array | None = None, precision: str | None = None
) -> Network:
    """The network that was passed, or a new network from a `Sequential`, by default on the device of the samples."""
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
    return Network(network, shape[1:], seed=rng, like=like, dtype=precision)


def _no_network(network: Any) -> TypeError:
    got = f"the class {network.__name__}" if isinstance(network, type) else type(network).__name__
    return TypeError(f"network must be a Network or a Sequential, got {'None' if network is None else got}")


def _first(network: Network) -> Array:
    """The first parameter of the network. All its parameters have the same library, device and dtype."""
    return next(iter(network.params.values()))


@on_arrays_device
def _run(
    network: Network,
    sets: Given,
    optimizer: Optimizer,
    options: Options,
    peers: Processes,
    source: dict[str, Any],
) -> Result:
    """Check the arguments, build the loop, and run it. `source` is what `about` takes."""
    rng = generator(options.seed)
    with peers.setup() as facts:
        state = rng.bit_generator.state
        samples = _samples(network, sets, options, peers, rng)
        place = Result(network, History()).device
        told = about(network, optimizer, samples, options, place, source | {"processes": peers.size})
        settings: dict[str, Any] = {}
        if options.checkpoint is not None or peers.size > 1:
            settings = _settings(network, samples, options, state)
        saver = saved = None
        if options.checkpoint is not None:
            saver = Saver(options.checkpoint, options.resume, network, optimizer, settings, told)
            saved = saver.load()
        if saved and saved.rows:
            samples = samples._replace(units=saved.rows["train"], held=saved.rows["held"])
        if peers.size > 1:
            facts |= settings | _facts(network, optimizer, options, saved)
    train, units, sample = samples.train, samples.units, _sample_shape(network, samples, options)
    masks = (lambda size: network.stack.draw(rng, (size, *sample))) if network.stack.mask_names else None
    backend = backend_of(_first(network))
    go_on = f" Resume the run in {options.checkpoint} with resume=True (xpnet train: --resume)." if saver else ""
    # A run that diverges raises Diverged. NumPy's warnings would come before it.
    with (
        np.errstate(over="ignore", invalid="ignore"),
        peers.running(go_on, Diverged, NotFinite),
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
            told,
            peers.rank,
        )
        loop.go(options.epochs)
    return result_of(loop)


def result_of(run: Loop) -> Result:
    """The result of a run, also of a run that an error ended."""
    return Result(run.network, run.history, run.about, Sampled.of(run.measures.sets, run.measures.transform))


def source_of(seed: Any) -> dict[str, Any]:
    """The facts for `about` of a run on the arrays or files of the caller."""
    drawn = "a generator" if isinstance(seed, np.random.Generator) else int(seed)
    return {"dataset": None, "image shape": None, "seed": drawn}


def _samples(network: Network, sets: Given, options: Options, peers: Processes, rng: np.random.Generator) -> Sets:
    """Check the samples of a run, and draw the validation samples."""
    namespace_of(sets, params=_first(network))
    namespace(**network.params, **network.state)
    if peers.size > 1 and len(places := _array.devices(_first(network))) > 1:
        raise ValueError(
            f"distributed='mpi' divides mini-batches among processes, but the arrays are sharded over {len(places)} "
            "devices; remove distributed='mpi', or pass arrays that are on one device"
        )
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
    """The shape of a sample after `transform`."""
    return network.input_shape if options.transform else samples.train.shape[1:]


def _settings(network: Network, samples: Sets, options: Options, state: Any) -> dict[str, Any]:
    """The settings that must be the same when a run is resumed, and in all processes."""
    train, test, transform = samples.train, samples.test, options.transform
    return {
        "batch_size": options.batch_size,
        "sampling": options.sampling,
        "seed": f"of random state {fingerprint(readable(state))}",
        "validation": options.validation,
        "patience": options.patience,
        "accumulate": options.accumulate,
        "transform": transform and name_of(transform),
        "dtype": dtype_name(_first(network).dtype),
        "training samples": f"{list(train.shape)} with checksum {train.fingerprint()}",
        "test samples": test and f"{list(test.shape)} with checksum {test.fingerprint()}",
    } | train.settings


def _facts(network: Network, optimizer: Optimizer, options: Options, saved: Saved | None) -> dict[str, Any]:
    """Further settings that must be the same in all processes."""
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
    """The callbacks of a run, in order. A callback may depend on the answers of the callbacks before it."""
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
    """Train a network on a dataset: load the data, build the network, and call `fit` with the book's defaults.

    Without arguments, `train` trains the book's two-layer network on MNIST.

    Parameters
    ----------
    dataset : str, path, ``(x_train, t_train)`` or ``((x_train, t_train), (x_test, t_test))``, default "mnist"
        One of these:

        - the name of a dataset, see `datasets.register`. "mnist" is the MNIST in the package, or in the folder that
          the environment variable XPNET_MNIST names;
        - the path of a folder with a dataset in MNIST's format;
        - arrays of any array-API library: scaled samples (N, ...) of a floating dtype, and integer labels (N,) or
          one-hot targets (N, K);
        - `Shards` in place of each pair of arrays.
    network : Sequential or Network, optional
        The network to train, with one output for each class (default: the book's two-layer network). Images of a
        dataset that is loaded by name have shape (C, H, W). A `Network` keeps its library, device and dtype, and the
        data is moved there.
    optimizer : Optimizer, its class or its name, optional
        The optimizer, such as ``Adam(0.01)``, ``Adam`` or ``"adam"`` (default: SGD).
    backend : {"numpy", "cupy", "torch", "jax", "dask", "strict"}, optional
        The array library. Default: the library of the arrays, or NumPy for a dataset that is loaded by name.
    device : str, optional
        The device, such as "cuda:1"; ``xpnet backends`` lists the devices. Default: the device of the arrays, or the
        backend's first device. With several processes on one machine, each process uses a different device of the
        default's kind, or of the kind given by a name without a number, such as "cuda".
    dtype : {"float32", "float64", "bfloat16", "float16"}, default "float32"
        The dtype of parameters and arithmetic. Samples of another floating dtype are converted, by the trained
        network, too. "bfloat16" and "float16" (PyTorch, JAX, CuPy) mean matrix products in half precision;
        parameters, optimizer state, sums and losses are float32.
    hidden_size, activation, weight_init_std : int, str and float, default 50, "relu" and 0.01
        Options of the two-layer network, see `TwoLayerNet`. Leave them out if you pass `network`.
    epochs : int, default 17
        The number of passes over the training set.
    batch_size : int, default 100
        The number of samples in a mini-batch. The last mini-batch of an epoch may be smaller.
    learning_rate : float, optional
        The learning rate of an optimizer that is passed as a name or class, or of SGD. Default: the default of the
        optimizer, 0.1 for SGD.
    sampling : {"shuffle", "replacement"}, default "shuffle"
        "shuffle": the samples are shuffled each epoch and divided into mini-batches. "replacement": the samples of
        each mini-batch are drawn at random, with replacement.
    seed : int or numpy.random.Generator, default 0
        The seed of the initial weights and the mini-batches. They are drawn on the host, so they are the same on
        every backend.
    transform : callable, optional
        As in `fit`. The images of a dataset that is loaded by name are integers; by default they are scaled to 0 to
        1.
    validation, patience, accumulate, callbacks, checkpoint, resume, distributed
        As in `fit`.
    progress : bool, default True
        Whether to print a line for each epoch, and to show a progress bar on a terminal, or in a notebook that has
        ipywidgets. Only the first of several processes prints.

    Returns
    -------
    Result
        ``result.network`` is the trained network. It takes images in the form that `load_mnist` returns.
        ``result.history`` has the losses and accuracies. Ctrl-C ends the run early; ``result.history.interrupted`` is
        then True.

    Raises
    ------
    TypeError, ValueError
        If an argument has a wrong type, value or shape. All arguments are checked before training.
    BackendUnavailable
        If the backend cannot be used on this machine.
    Diverged
        If the loss or a score is not finite, but the training set is. The error has the attribute ``history``.

    Notes
    -----
    The options in groups. Library, device and dtype: `backend`, `device`, `dtype`. The two-layer network:
    `hidden_size`, `activation`, `weight_init_std`. All other options are those of `fit`, in the groups listed there.

    On NumPy, `train` uses one BLAS thread if the matrix products of a step are small: below 3·10⁷ arithmetic
    operations each. If you set the number of threads by an environment variable such as OPENBLAS_NUM_THREADS, or a
    smaller number by threadpoolctl, `train` uses that number. `fit` never changes the number of threads.

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
        source = source_of(seed)
        if sets is None:
            sets, image_shape = loaded(dataset, flat=network is None)
            source |= {"dataset": str(dataset), "image shape": image_shape}
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
                network_options = {"activation": activation, "seed": rng, "like": like, "dtype": place.precision}
                net: Network = _two_layer(sets.train, hidden_size, weight_init_std, network_options)
            else:
                net = network_of(network, sets, rng, like, place.precision)
            if net is not network:
                net.converts = True  # the training data was converted, so later samples are, too
    size = min(options.batch_size, shapes(sets.train)[0][0])
    with place.backend.threads(lambda: _largest_product(net, size)):
        return _run(net, sets, chosen, options, peers, source)


def _largest_product(network: Network, batch_size: int) -> float:
    """The arithmetic operations of the largest matrix product of a step.

    The products of the backward pass have the same size, so the forward pass is counted. The number is infinite if a
    layer is not xpnet's: such a layer is not called for this.
    """
    if not is_known(network.stack):
        return math.inf
    cost = network.stack.cost(network.params, (batch_size, *network.input_shape), state=network.state)
    return cost.largest_product


def _check_train(dataset: Any, network: Any, two_layer: tuple[Any, ...]) -> None:
    """Raise an error if arguments of `train` are in the wrong order or do not go together."""
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
            "hidden_size, activation and weight_init_std belong to the two-layer network, but a network is given, "
            "which has its own; leave them out"
        )
    check_integer("hidden_size", two_layer[0], 1)


def _stack_of(network: Network | Sequential) -> Sequential:
    return network.stack if isinstance(network, Network) else network


class Place(NamedTuple):
    """The backend, the device and the dtype of `train`."""

    backend: Backend
    xp: Namespace
    device: Any
    dtype: str
    stays: bool
    """Whether the arrays are already on this device."""
    precision: str | None = None
    """The dtype of the matrix products, if they are in half precision; else None."""

    @property
    def real(self) -> Any:
        """The dtype as an object of the library."""
        return find_dtype(self.xp, self.dtype, self.device)

    def put(self, sets: Given, floats: bool, *, transformed: bool) -> Given:
        """Move the datasets to this device. Labels and ids become integers; other arrays get the floating dtype."""
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
    """Choose where to compute: on the device of the network, on the named backend, or on the device of the arrays."""
    own, precision = None if sets is None else namespace_of(sets), dtype if dtype in HALF else None
    array = next(iter(sets.arrays.values()), None) if sets else None
    if isinstance(network, Network):
        first = _first(network)
        xp, where, made = namespace(params=first), _array.device(first), dtype_name(first.dtype)
        if (backend, device) != (None, None) or dtype not in ("float32", made):
            raise ValueError(
                "backend, device and dtype are for a network that train makes, but a Network is given, which has "
                "its own; leave them out"
            )
        return Place(backend_of(first), xp, where, made, own is xp and same_device(_array.device(array), where))
    library = get_backend(backend or "numpy") if array is None else backend_of(array)
    stays = array is not None and device is None and backend in (None, library.name)
    chosen = library if backend is None else get_backend(backend)
    xp = own if stays else chosen.namespace()
    where = _array.device(array) if stays else chosen.device(device, peers.local_rank)
    dtype = "float32" if precision else dtype
    if not is_floating(xp, find_dtype(xp, dtype, where)):
        raise TypeError(f"dtype must be a real floating one, such as 'float32', got {dtype!r}")
    return Place(chosen, xp, where, dtype, stays, precision)


def loaded(dataset: Any, flat: bool) -> tuple[Given, list[int] | None]:
    """Load a dataset by its name or from a folder, and the shape of its images; if `flat`, each sample is one row."""

    def flatten(data: Any) -> Any:
        pair = flat and data is not None and not isinstance(data, Shards)
        return (data[0].reshape(data[0].shape[0], -1), data[1]) if pair else data

    found = given(load(dataset))
    shape, _ = shapes(found.train)
    return Given(flatten(found.train), flatten(found.test)), list(shape[1:]) if len(shape) == 4 else None


def _scaling(data: Dataset, dtype: str, floats: bool) -> Transform | None:
    """The function that scales the images of a loaded dataset; None if the samples are already floats, or ids."""
    integers = np.dtype(data.x_dtype if isinstance(data, Shards) else data[0].dtype).kind in "iu"
    return partial(scale_images, dtype=dtype) if floats and integers else None


def _two_layer(data: Dataset, hidden_size: int, weight_init_std: float, options: dict[str, Any]) -> TwoLayerNet:
    """The book's network for the samples and targets of a dataset."""
    shape, target_shape = shapes(data)
    outputs = target_shape[-1]
    if len(target_shape) == 1:
        ((_, most),) = value_ranges(data.targets() if isinstance(data, Shards) else [data[1]])
        outputs = max(most + 1, 1)
    return TwoLayerNet(math.prod(shape[1:]), hidden_size, outputs, weight_init_std, **options)

"""The command line: ``xpnet train``, ``predict``, ``backends``, ``gradcheck``, ``conformance``."""

import argparse
import sys
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from . import __version__
from ._array import device as device_of, find_dtype, from_host, index_dtype, size
from ._files import check_output
from .backends import BACKENDS, Backend, BackendUnavailable, get_backend
from .checking import GradientError, check_gradients
from .datasets import load_mnist
from .datasets.images import read_digit
from .nn.networks import ACTIVATIONS, TwoLayerNet
from .optim.optimizers import SGD, AdaGrad, Adam, AdamW, Momentum, Nesterov, Optimizer, RMSProp
from .training.checkpoints import load_network
from .training.distributed import ProcessesError, processes
from .training.fitting import Diverged, train
from .training.progress import Progress

__all__ = ["main"]

DTYPES = ("float32", "float64")
OPTIMIZERS: dict[str, type[Optimizer]] = {
    kind.__name__.lower(): kind for kind in (SGD, Momentum, Nesterov, AdaGrad, RMSProp, Adam, AdamW)
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    argv : sequence of str, optional
        The arguments; those of the process where not given.

    Returns
    -------
    int
        The exit status: 0, 1 where something is found wrong or a loss is not finite, 2 where the arguments do not
        fit, 130 after Ctrl-C.
    """
    options = _parser().parse_args(argv)
    try:
        status: int = options.run(options)
        return status
    except KeyboardInterrupt:
        return 130
    except (
        BackendUnavailable,
        Diverged,
        ImportError,
        MemoryError,
        OSError,
        ProcessesError,
        TypeError,
        ValueError,
    ) as error:
        if _speaks(options):
            print(f"xpnet {options.command}: {error}", file=sys.stderr)
        return 1 if isinstance(error, Diverged) else 2


def _speaks(options: argparse.Namespace) -> bool:
    """Whether this is the process that prints and writes: the first one, where several share a run."""
    try:
        return processes(getattr(options, "distributed", None)).rank == 0
    except (ImportError, ProcessesError):
        return True


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="xpnet",
        description="Neural networks with hand-written backpropagation, on any array-API library.",
    )
    parser.add_argument("--version", action="version", version=f"xpnet {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def command(name: str, run: Any, text: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}.")
        sub.set_defaults(run=run)
        return sub

    def add(sub: argparse.ArgumentParser, option: str, text: str, **kwargs: Any) -> None:
        default = "" if kwargs.get("default") is None else " (default: %(default)s)"
        sub.add_argument(option, help=text + default, **kwargs)

    def add_common(sub: argparse.ArgumentParser, dtype: str) -> None:
        names = ", ".join(BACKENDS)
        add(
            sub,
            "--backend",
            f"what to compute with: {names}",
            default="numpy",
            choices=BACKENDS,
            metavar="NAME",
        )
        add(sub, "--device", "where, such as cuda:1, see 'xpnet backends'; else its first", metavar="NAME")
        add(sub, "--dtype", "of parameters and arithmetic", default=dtype, choices=DTYPES)
        add(sub, "--hidden", "units of the hidden layer", type=int, default=50, metavar="N")
        add(sub, "--activation", "of the hidden layer", default="relu", choices=ACTIVATIONS)
        add(
            sub,
            "--seed",
            "draws weights and batches, alike on every backend",
            type=int,
            default=0,
            metavar="N",
        )

    sub = command("train", _train, "train the two-layer network on MNIST")
    add(
        sub,
        "--data",
        "a folder with a set in MNIST's format; else the MNIST that xpnet ships",
        metavar="FOLDER",
    )
    add_common(sub, "float32")
    add(sub, "--epochs", "passes over the training set", type=int, default=17, metavar="N")
    add(sub, "--batch-size", "samples of a mini-batch", type=int, default=100, metavar="N")
    add(sub, "--optimizer", "the rule of the updates", default="sgd", choices=OPTIMIZERS)
    add(sub, "--lr", "learning rate; else 0.1 for sgd, and the optimizer's own default", type=float, metavar="RATE")
    add(
        sub,
        "--sampling",
        "batches: a permutation cut up, or drawn with replacement",
        default="shuffle",
        choices=("shuffle", "replacement"),
    )
    add(
        sub,
        "--validation",
        "share of the training samples to keep out of training and to evaluate",
        type=float,
        default=0.0,
        metavar="SHARE",
    )
    add(
        sub,
        "--patience",
        "end after N epochs without a smaller validation loss, and keep the best network",
        type=int,
        metavar="N",
    )
    add(sub, "--plot", "draw losses and accuracies (.png, .svg, .pdf; needs matplotlib)", metavar="FILE")
    add(sub, "--history", "save losses and accuracies (.json, .csv)", metavar="FILE")
    add(sub, "--checkpoint", "save the run after each epoch (.safetensors; needs safetensors)", metavar="FILE")
    sub.add_argument("--resume", action="store_true", help="go on with the run in the checkpoint, if there is one")
    add(sub, "--distributed", "mpi: share each mini-batch among the processes of mpiexec", choices=("mpi",))
    sub.add_argument("--quiet", action="store_true", help="print the last line only")

    sub = command("predict", _predict, "read digits from image files with a network that was saved")
    sub.add_argument("images", nargs="+", metavar="IMAGE", help="an image with one digit, of any size")
    sub.add_argument("--model", required=True, metavar="FILE", help="what train --checkpoint or save_network wrote")

    command("backends", _backends, "list the array libraries: version, devices, usable or why not")

    sub = command("gradcheck", _gradcheck, "compare backpropagation with numerical gradients on MNIST samples")
    add_common(sub, "float64")
    add(sub, "--samples", "MNIST samples in the loss", type=int, default=3, metavar="N")
    add(
        sub,
        "--elements",
        "compared of each parameter; else all on NumPy, 200 elsewhere",
        type=int,
        metavar="N",
    )

    sub = command(
        "conformance", _conformance, "measure every function and layer on every library, ONNX's vectors too"
    )
    add(
        sub,
        "--backend",
        f"one of {', '.join(BACKENDS)}; can be given again; else all that are usable here",
        action="append",
        choices=BACKENDS,
        metavar="NAME",
    )
    add(
        sub,
        "--device",
        "measure on this device only, such as cuda (default: the first of each kind)",
        metavar="NAME",
    )
    add(sub, "--page", "write the tables as a page, too (.md)", metavar="FILE")
    return parser


def _place(backend: Backend, device: Any, dtype: str) -> str:
    return f"{backend.name} {backend.version}, {device}, {dtype}"


def _train(options: argparse.Namespace) -> int:
    peers = processes(options.distributed)
    with peers.setup():
        backend = get_backend(options.backend)
        if options.dtype == "float64":
            backend.enable_float64()
        if options.history:
            check_output(options.history, ".csv", ".json")
        if options.plot:
            check_output(options.plot, ".png", ".svg", ".pdf")
            from .plotting import figure

            figure()  # raises now, not after the training, where matplotlib is missing
    start, diverged = time.perf_counter(), None
    try:
        history = train(
            options.data or "mnist",
            backend=options.backend,
            device=options.device,
            dtype=options.dtype,
            optimizer=OPTIMIZERS[options.optimizer](**({} if options.lr is None else {"lr": options.lr})),
            hidden_size=options.hidden,
            activation=options.activation,
            epochs=options.epochs,
            batch_size=options.batch_size,
            sampling=options.sampling,
            seed=options.seed,
            validation=options.validation,
            patience=options.patience,
            checkpoint=options.checkpoint,
            resume=options.resume,
            distributed=options.distributed,
            progress=not options.quiet,
        ).history
    except Diverged as error:  # what there is of the run is kept
        diverged, history = error, error.history
    if _speaks(options):
        if options.history:
            history.save(options.history)
        if options.plot:
            history.plot(options.plot)
    if diverged:
        raise diverged
    kept = history.best_epoch if options.patience and not history.interrupted else None
    if not history.test_accuracy:
        score = "no accuracy yet"
    elif kept is None:
        score = f"test accuracy {history.test_accuracy[-1]:.4f}"
    else:
        score = f"test accuracy {history.test_accuracy[kept]:.4f}, of epoch {kept}"
    if _speaks(options):
        place = _place(backend, options.device or backend.devices()[0], options.dtype)
        shared = f", {peers.size} processes" if peers.size > 1 else ", 1 process" if options.distributed else ""
        print(f"{score}  ({time.perf_counter() - start:.1f} s; {place}{shared})")
    return 130 if history.interrupted else 0


def _predict(options: argparse.Namespace) -> int:
    network = load_network(options.model)
    if not network.stack.last.takes_labels:
        raise ValueError(f"--model: the network in {options.model} was not trained on labels")
    dtype = next(iter(network.params.values())).dtype
    x = np.stack([read_digit(path, network.input_shape) for path in options.images])
    width = max(map(len, options.images))
    for path, p in zip(options.images, network.predict_proba(x.astype(dtype)), strict=True):
        print(f"{path:<{width}}  {p.argmax()}  {p.max():.3f}")
    return 0


def _backends(options: argparse.Namespace) -> int:
    problems = {name: backend.problem for name, backend in BACKENDS.items()}
    rows = [("backend", "version", "usable", "devices")]
    for name, backend in BACKENDS.items():
        usable = problems[name] is None
        rows.append(
            (name, backend.version or "-", *(("yes", ", ".join(backend.devices())) if usable else ("no", "-")))
        )
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    for name, problem in problems.items():
        if problem:
            print(f"\n{name}: {problem}")
    return 0


def _gradcheck(options: argparse.Namespace) -> int:
    backend = get_backend(options.backend)
    backend.enable_float64()  # the numerical side, whatever the dtype of the network
    xp, place = backend.namespace(), backend.device(options.device)
    if not 1 <= options.samples <= 60_000:
        raise ValueError(f"--samples must be from 1 to 60000, got {options.samples}")
    (images, labels), _ = load_mnist()
    with backend.current(place):
        dtype = find_dtype(xp, options.dtype, place)
        x = from_host(images[: options.samples], xp, dtype, place)
        t = from_host(labels[: options.samples], xp, index_dtype(xp, place), device_of(x))
        net = TwoLayerNet(784, options.hidden, 10, activation=options.activation, seed=options.seed, like=x)
        elements = backend.gradcheck_elements if options.elements is None else options.elements
        total = sum(min(elements or size(p), size(p)) for p in net.params.values())
        where = _place(backend, options.device or backend.devices()[0], options.dtype)
        print(f"backpropagation against numerical gradients, {options.samples} MNIST samples ({where})")
        try:
            with Progress(total, shown=True, unit="element") as bar:
                report = check_gradients(net, x, t, sample=elements, seed=options.seed, advance=bar.advance)
        except GradientError as error:
            print(error.report)
            print("WRONG: " + str(error).partition("\n")[0])
            return 1
    print(report)
    return 0


def _conformance(options: argparse.Namespace) -> int:
    from .conformance import run  # what it measures with is made when it is imported

    if options.page:
        check_output(options.page, ".md")
    for name in options.backend or BACKENDS:
        if BACKENDS[name].problem is None:
            BACKENDS[name].enable_float64()
    report = run(options.backend, device=options.device, progress=True)
    print(f"\n{report}")
    if options.page:
        report.save(options.page)
    return 0 if report.ok else 1

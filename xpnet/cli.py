"""The command line: ``xpnet train``, ``predict``, ``report``, ``backends``, ``gradcheck``, ``conformance``."""

import argparse
import os
import re
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from typing import Any

import numpy as np

from . import __version__
from ._array import device as device_of, find_dtype, from_host, index_dtype, size
from ._files import check_output
from ._validation import check_integer
from .backends import BACKENDS, Backend, BackendUnavailable, get_backend
from .checking import GradientError, check_gradients
from .datasets import load_mnist, names
from .datasets.images import read_digit
from .layers.precision import HALF
from .nn.activations import ACTIVATIONS
from .nn.networks import TwoLayerNet
from .training.callbacks import Callback
from .training.checkpoints import load_network
from .training.config import OPTIMIZERS
from .training.distributed import ProcessesError, processes
from .training.fitting import result_of, train
from .training.gradients import GradientNorms
from .training.history import History
from .training.loop import Diverged, Loop
from .training.progress import Progress

__all__ = ["main"]

DTYPES = ("float32", "float64")
DTYPE_HELP = "dtype of parameters and arithmetic; with bfloat16 or float16, that of matrix products only"
ERRORS = (
    ArithmeticError,  # Diverged, and numbers that are too large
    BackendUnavailable,
    ImportError,
    MemoryError,
    OSError,
    ProcessesError,
    TypeError,
    ValueError,
)
NAMES = {
    "dataset": "--data",
    "load_mnist": "--data",
    "hidden_size": "--hidden",
    "learning_rate": "--lr",
    "sample": "--elements",
    "units": "--hidden",
}
"""The options for arguments of `train` and `check_gradients` that have another name."""
RESUMED = {
    "network: stack: layers: 1: units": "--hidden",
    "network: stack: layers: 2": "--activation",
    "optimizer": "--optimizer",
    "optimizer: lr": "--lr",
}
"""The options for what a checkpoint describes in another way than the arguments of `train`."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    argv : sequence of str, optional
        The arguments. Default: the arguments of the process, ``sys.argv[1:]``.

    Returns
    -------
    int
        The exit status: 0 for success; 1 if a check or a run fails, such as for a loss that is not finite, or if an
        output cannot be written; 2 for an error before that, such as a wrong argument or a missing file; 130 after
        Ctrl-C.
    """
    options = _options(argv)
    try:
        status: int = options.run(options)
    except KeyboardInterrupt:
        status = 130
    except ERRORS as error:
        _tell(error, options)
        status = 1 if _of_output(error) else 2
    if lost := _unwritten():
        _tell(lost, options)
        return 1
    return status


def _tell(error: Exception, options: argparse.Namespace) -> None:
    """Print the message of an error in one line. A pipe that its reader has closed, as `head` does, is no error."""
    if _speaks(options) and not isinstance(error, BrokenPipeError):
        with suppress(OSError):
            print(f"xpnet {options.command}: {_as_typed(error, options.parser)}", file=sys.stderr)


def _of_output(error: Exception) -> bool:
    """Whether standard output cannot be written. The other files are named in their errors."""
    return isinstance(error, OSError) and error.strerror is not None and error.filename is None


def _unwritten() -> OSError | None:
    """Write the rest of standard output. If it cannot be written, discard it, and return the error."""
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError as error:
        with suppress(OSError):  # or Python itself would try again at its end
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return error
    return None


def _as_typed(error: Exception, parser: argparse.ArgumentParser) -> str:
    """The message of an error, with the options of the command line in place of the library's argument names."""
    text = str(error) or type(error).__name__
    if isinstance(error, OSError) and error.strerror:
        text = f"{error.filename or 'standard output'}: {error.strerror}"
    options = {action.dest: action.option_strings[-1] for action in parser._actions if action.option_strings}
    if isinstance(error, MemoryError):
        sizes = [options[name] for name in ("hidden", "batch_size", "samples") if name in options]
        text = f"out of memory; choose a smaller {' or '.join(sizes)}" if sizes else f"out of memory: {text}"
    if isinstance(error, Diverged):  # the rest is for programs
        text = text.partition(". ")[0].replace("learning rate", "--lr")
    options |= NAMES
    known = "|".join(options)
    text = re.sub(r"(?<=was made )with (.+) = (.+), and now it is (.+);.*", partial(_not_resumed, options), text)
    text = re.sub(rf"\b({known})=True\b", lambda found: options[found[1]], text)
    text = re.sub(rf"\b({known})='?([^\s,;'()]+)'?", lambda found: f"{options[found[1]]} {found[2]}", text)
    text = re.sub(rf"^(?:[A-Z]\w*: )?({known})\b", lambda found: options[found[1]], text)
    return re.sub(r"\bbatch_size\b", "--batch-size", " ".join(text.split()))


def _not_resumed(options: dict[str, str], found: re.Match[str]) -> str:
    """What differs between a checkpoint and the options of the run that should resume it."""
    what, *values = (text.removeprefix("settings: ").strip("'") for text in found.groups())
    option = "--dtype" if what.endswith("precision") else RESUMED.get(what) or options.get(what, "--data")
    classes = {kind.__name__: name for table in (OPTIMIZERS, ACTIVATIONS) for name, kind in table.items()}
    before, now = (classes.get(value, value) for value in values)
    if option in ("--data", "--seed") or "None" in values:
        told = f"with another {option}"
    else:
        told = f"with {option} {before}, and now it is {now}"
    return f"{told}; use the options of that run, or name another file"


def _speaks(options: argparse.Namespace) -> bool:
    """Whether this process prints and writes files. In a run on several processes, only the first process does."""
    try:
        return processes(getattr(options, "distributed", None)).rank == 0
    except (ImportError, ProcessesError):
        return True


def _integer(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be an integer, got {text!r}") from None


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be a number, got {text!r}") from None


def _file(text: str) -> str:
    if not text:
        raise argparse.ArgumentTypeError("must be the name of a file, got ''")
    return text


INTEGER: dict[str, Any] = {"type": _integer, "metavar": "N"}
FILE: dict[str, Any] = {"type": _file, "metavar": "FILE"}


def _add(sub: argparse.ArgumentParser, option: str, text: str, **kwargs: Any) -> None:
    default = "" if kwargs.get("default") is None else " (default: %(default)s)"
    sub.add_argument(option, help=text + default, **kwargs)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="xpnet",
        description="Neural networks with hand-written backpropagation, on any array-API library.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"xpnet {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def command(name: str, run: Any, text: str) -> argparse.ArgumentParser:
        text_of_it = f"{text[0].upper()}{text[1:]}."
        sub = commands.add_parser(name, help=text, description=text_of_it, allow_abbrev=False)
        sub.set_defaults(run=run, parser=sub)
        return sub

    def add_common(sub: argparse.ArgumentParser, dtype: str, dtypes: Sequence[str] = DTYPES) -> None:
        _add(sub, "--backend", f"library: {', '.join(BACKENDS)}", default="numpy", choices=BACKENDS, metavar="NAME")
        _add(
            sub,
            "--device",
            "device, such as cuda:1; 'xpnet backends' lists the devices (default: the first)",
            metavar="NAME",
        )
        _add(sub, "--dtype", DTYPE_HELP, default=dtype, choices=dtypes)
        _add(sub, "--hidden", "number of units in the hidden layer", default=50, **INTEGER)
        _add(sub, "--activation", "activation of the hidden layer", default="relu", choices=ACTIVATIONS)
        _add(sub, "--seed", "random seed; the random numbers are the same on every backend", default=0, **INTEGER)

    sub = command("train", _train, "train the two-layer network on MNIST or another dataset")
    known = f"dataset: {', '.join(names())}, or a folder with the four files of MNIST's format"
    _add(sub, "--data", known, default="mnist", metavar="NAME")
    add_common(sub, "float32", (*DTYPES, *HALF))
    _add_training(sub)

    sub = command("predict", _predict, "read digits from image files with a saved network")
    sub.add_argument("images", nargs="+", type=_file, metavar="IMAGE", help="an image with one digit, of any size")
    sub.add_argument(
        "--model", required=True, help="network file, written by train --checkpoint or save_network", **FILE
    )

    about = "write a report of a run from its checkpoint, or compare several runs"
    _add_report(command("report", _report, about), known)
    command(
        "backends", _backends, "list the array libraries: version, devices, and whether this machine can use them"
    )

    sub = command("gradcheck", _gradcheck, "compare backpropagation with numerical gradients on MNIST samples")
    add_common(sub, "float64")
    _add(sub, "--samples", "number of MNIST samples", default=3, **INTEGER)
    _add(
        sub,
        "--elements",
        "number of elements of each parameter to compare (default: all on NumPy, 50 on Dask, 200 elsewhere)",
        **INTEGER,
    )

    about = "measure the errors of all functions and layers on each library; run ONNX's test vectors"
    _add_conformance(command("conformance", _conformance, about))
    return parser


def _add_report(sub: argparse.ArgumentParser, known: str) -> None:
    sub.add_argument("runs", nargs="+", help="a checkpoint, written by train --checkpoint", **FILE)
    _add(sub, "--data", f"{known} (default: the dataset of the run)", metavar="NAME")
    _add(sub, "--output", "the report (.html)", default="report.html", **FILE)


def _add_conformance(sub: argparse.ArgumentParser) -> None:
    several = f"library: {', '.join(BACKENDS)}; repeat for several (default: all usable libraries)"
    _add(sub, "--backend", several, action="append", choices=BACKENDS, metavar="NAME")
    _add(sub, "--device", "device, such as cuda (default: the first device of each kind)", metavar="NAME")
    _add(sub, "--page", "also write the tables to a Markdown file (.md)", **FILE)


def _options(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line. An option before the command is likely one of the command's own."""
    parser, words = _parser(), sys.argv[1:] if argv is None else argv
    if words and words[0].startswith("--") and words[0] not in ("--help", "--version"):
        parser.error(f"the command comes first, as in: xpnet train {words[0]}")
    return parser.parse_args(words)


def _add_training(sub: argparse.ArgumentParser) -> None:
    """The options of a run."""
    _add(sub, "--epochs", "number of passes over the training set", default=17, **INTEGER)
    _add(sub, "--batch-size", "number of samples in a mini-batch", default=100, **INTEGER)
    _add(sub, "--optimizer", "optimizer", default="sgd", choices=OPTIMIZERS)
    _add(sub, "--lr", "learning rate (default: the optimizer's own, 0.1 for sgd)", type=_number, metavar="RATE")
    ways: dict[str, Any] = {"choices": ("shuffle", "replacement"), "default": "shuffle"}
    _add(sub, "--sampling", "mini-batches: shuffled each epoch, or drawn with replacement", **ways)
    fraction: dict[str, Any] = {"type": _number, "metavar": "FRACTION", "default": 0.0}
    _add(sub, "--validation", "fraction of the training samples used for validation, not for training", **fraction)
    _add(
        sub,
        "--patience",
        "end the run after N epochs without a smaller validation loss; keep the best network (needs --validation)",
        **INTEGER,
    )
    _add(sub, "--plot", "draw losses and accuracies (.png, .svg, .pdf; needs matplotlib)", **FILE)
    _add(sub, "--history", "save losses and accuracies (.json, .csv)", **FILE)
    _add(sub, "--report", "write a report of the run (.html)", **FILE)
    _add(sub, "--checkpoint", "save the run after each epoch (.safetensors; needs safetensors)", **FILE)
    resume = "resume the run in the checkpoint file, if it exists; --epochs includes the epochs that it has"
    sub.add_argument("--resume", action="store_true", help=resume)
    _add(sub, "--distributed", "mpi: divide each mini-batch among the processes of mpiexec", choices=("mpi",))
    sub.add_argument("--quiet", action="store_true", help="print the last line only")


def _place(backend: Backend, device: Any, dtype: str) -> str:
    return f"{backend.name} {backend.version}, {device}, {dtype}"


class _Kept(Callback):
    """Keeps the history of a run from its start, so that it can be saved after an error, too.

    After Ctrl-C during an epoch, it evaluates the network, because the last row of the history is of another network.
    It does not in a run on several processes: mpiexec may end them before the history is saved.
    """

    run: Loop | None = None
    score: str | None = None

    def __init__(self, processes: int) -> None:
        self.alone = processes == 1

    def on_start(self, run: Loop) -> None:
        self.run = run

    def on_end(self, run: Loop) -> None:
        if run.history.interrupted and run.history.test_accuracy and not run.whole:
            self.score = f"test accuracy {run.history.test_accuracy[-1]:.4f}, of epoch {run.epoch - 1}"
            with suppress(KeyboardInterrupt):  # pressed again, for an end at once
                if self.alone:
                    self.score = f"test accuracy {run.evaluate()['test_accuracy']:.4f}"


def _train(options: argparse.Namespace) -> int:
    peers = processes(options.distributed)
    with peers.setup():
        backend = get_backend(options.backend)
        if options.dtype == "float64":
            backend.enable_float64()
        check_integer("seed", options.seed, 0)
        if options.history:
            check_output(options.history, ".csv", ".json")
        if options.report:
            check_output(options.report, ".html")
        if options.plot:
            check_output(options.plot, ".png", ".svg", ".pdf")
            from .plotting import figure

            figure()  # if matplotlib is missing, raise the error before the training, not after it
    start, kept, failed = time.perf_counter(), _Kept(peers.size), list[Exception]()
    norms = [GradientNorms(max(1, min(100, options.batch_size)))] if options.report or options.checkpoint else []
    try:
        result = train(
            options.data,
            backend=options.backend,
            device=options.device,
            dtype=options.dtype,
            optimizer=options.optimizer,
            learning_rate=options.lr,
            hidden_size=options.hidden,
            activation=options.activation,
            epochs=options.epochs,
            batch_size=options.batch_size,
            sampling=options.sampling,
            seed=options.seed,
            validation=options.validation,
            patience=options.patience,
            callbacks=[kept, *norms],
            checkpoint=options.checkpoint,
            resume=options.resume,
            distributed=options.distributed,
            progress=not options.quiet,
        )
    except ERRORS as error:
        if kept.run is None:
            raise
        failed.append(error)
        result = result_of(kept.run)
    over, history = not failed, result.history
    if _speaks(options):
        files = ((options.history, history.save), (options.plot, history.plot), (options.report, result.report))
        for path, write in files:
            try:
                if path:
                    write(path)
            except ERRORS as error:  # the other files are still written
                failed.append(error)
        for problem in failed:
            _tell(problem, options)
        if over:
            place = _place(backend, options.device or backend.devices()[0], options.dtype)
            shared = f", {peers.size} processes" if peers.size > 1 else ", 1 process" if options.distributed else ""
            print(f"{kept.score or _score(history, options)}  ({time.perf_counter() - start:.1f} s; {place}{shared})")
    return 1 if failed else 130 if history.interrupted else 0


def _score(history: History, options: argparse.Namespace) -> str:
    """The accuracy of the network that a run keeps."""
    kept = history.best_epoch if options.patience and not history.interrupted else None
    if not history.test_accuracy:
        return "no accuracy yet"
    if kept is None:
        return f"test accuracy {history.test_accuracy[-1]:.4f}"
    return f"test accuracy {history.test_accuracy[kept]:.4f}, of epoch {kept}"


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


def _report(options: argparse.Namespace) -> int:
    from .report import read, write  # imported late: no other command needs it

    check_output(options.output, ".html")
    several = len(options.runs) > 1
    if several and options.data:
        raise ValueError("--data is for the report of one run; leave it out to compare several")
    runs = [read(path, options.data, evaluated=not several) for path in options.runs]
    write(options.output, runs)
    if not several and runs[0].note:
        print(f"{runs[0].name}: {runs[0].note}")
    print(f"wrote {options.output}")
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
    backend.enable_float64()  # the numerical gradient is float64, whatever the dtype of the network
    check_integer("seed", options.seed, 0)
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
    from .conformance import run  # imported late: the import builds all cases

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

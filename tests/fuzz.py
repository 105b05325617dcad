"""Odd command lines and damaged files: each run must succeed, or end with one clear line.

    python tests/fuzz.py [--seconds 600] [--seed 0] [--only KIND:NUMBER]

A run is wrong if an error is not one of xpnet's own with a message of one line, if it takes more than 30 seconds, or
if it needs more than 8 GiB of memory. The seed and the number of a run decide everything in it. The default is a
fixed number of runs of each kind, the same on every machine. On two cores, they take about half a minute.
"""

import argparse
import contextlib
import io
import json
import linecache
import math
import os
import random
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
import zlib
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import h5py
import numpy as np
import safetensors
import safetensors.numpy
import zarr
from onnx import TensorProto, helper, numpy_helper
from PIL import Image
from test_training import write_mnist

import xpnet
from xpnet import Momentum, Network, Sequential, datasets, fit, load_network, nn, save_network
from xpnet.cli import main
from xpnet.datasets.images import read_digit
from xpnet.onnx import from_onnx
from xpnet.training.checkpoints import _digest

PACKAGE = str(Path(xpnet.__file__).parent)
LIMIT = 30
STACK = Sequential(nn.Dense(4), nn.BatchNorm(), nn.Relu(), nn.Dropout(0.5), nn.Dense(3))
X = np.random.default_rng(0).normal(size=(20, 36)).astype("float32")
T = np.arange(20) % 3


class Wrong(Exception):
    """What a run must not do."""


class Late(BaseException):
    """A run that takes too long; no `except Exception` holds it up."""


# What is damaged


def mutated(rng, data):
    """Some bytes of `data` changed, lost, repeated or added."""
    data = bytearray(data)
    for _ in range(rng.choice([1, 1, 1, 2, 5])):
        i, j = sorted((rng.randrange(len(data) + 1), rng.randrange(len(data) + 1)))
        j = rng.choice([j, i + 1, i + 4, i + 8])
        match rng.randrange(7):
            case 0 if data:
                data[i % len(data)] ^= 1 << rng.randrange(8)
            case 1:
                data[i:j] = rng.choice([b"\0", b"\xff", b"\x7f", b"\x80"]) * len(data[i:j])
            case 2:
                del data[i:j]
            case 3:
                data[i:i] = data[i:j]
            case 4:
                del data[i:]
            case 5:
                data[i:i] = rng.randbytes(rng.choice([1, 4, 100]))
            case 6:
                data[i:j] = rng.randbytes(len(data[i:j]))
    return bytes(data)


ODD = [
    None,
    True,
    -1,
    0,
    2,
    1e300,
    10**30,
    2**31,
    "",
    "Dense",
    "x" * 300,
    [],
    [[]],
    {},
    {"is": "Dense"},
    {"class": "Mine"},
]


def changed(rng, plain):
    """Plain data with a value changed, lost or added somewhere."""
    if isinstance(plain, (dict, list)) and plain and rng.random() < 0.85:
        keys = list(plain) if isinstance(plain, dict) else range(len(plain))
        key, copy = rng.choice(keys), plain.copy()
        if rng.random() < 0.1:
            del copy[key]
        else:
            copy[key] = changed(rng, plain[key])
        return copy
    return rng.choice(ODD)


# The kinds of runs. Each function makes one run in a folder that has the files of `prepare`.


def prepare(folder):
    """The whole files, which runs damage."""
    for name in ("mnist", "gz", "scratch"):
        (folder / name).mkdir()
    write_mnist(folder / "mnist")
    for path in (folder / "mnist").iterdir():
        packed = zlib.compressobj(9, zlib.DEFLATED, 31)
        (folder / "gz" / f"{path.name}.gz").write_bytes(packed.compress(path.read_bytes()) + packed.flush())
    save_network(Network(STACK, (36,)), folder / "net.safetensors")
    resumed(folder / "run.safetensors", 1)
    page = np.full((40, 30), 250, dtype="uint8")
    page[8:30, 12:18] = 5
    for suffix in ("png", "jpg", "gif", "bmp", "tif", "webp", "ppm", "ico"):
        Image.fromarray(page).save(folder / f"digit.{suffix}")
    (folder / "model.onnx").write_bytes(model().SerializeToString())
    np.save(folder / "x.npy", X)
    np.save(folder / "fortran.npy", np.asfortranarray(X))
    with h5py.File(folder / "x.h5", "w") as file:
        file.create_dataset("x", data=X, chunks=(4, 36), compression="gzip", fletcher32=True)
    zarr.create_array(folder / "x.zarr", data=X, chunks=(4, 36))
    (folder / "empty.json").touch()
    (folder / "folder.json").mkdir()
    if hasattr(os, "mkfifo"):
        os.mkfifo(folder / "pipe.safetensors")


def resumed(path, epochs):
    net = Network(STACK, (36,), like=X)
    options = {"validation": 0.2, "patience": 2, "batch_size": 8, "checkpoint": path, "resume": True}
    fit(net, (X, T), Momentum(0.1), epochs=epochs, progress=False, **options)


def model():
    """A model with most of the operators that xpnet reads."""
    rng = np.random.default_rng(0)

    def weights(**shapes):
        return [numpy_helper.from_array(rng.normal(size=s).astype("float32"), name) for name, s in shapes.items()]

    nodes = [
        helper.make_node("Conv", ["x", "K", "k"], ["c"], pads=[1, 1, 1, 1], strides=[1, 1]),
        helper.make_node("BatchNormalization", ["c", "k", "k", "k", "v"], ["n"]),
        helper.make_node("LeakyRelu", ["n"], ["l"], alpha=0.1),
        helper.make_node("MaxPool", ["l"], ["m"], kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Flatten", ["m"], ["f"]),
        helper.make_node("Gemm", ["f", "W", "b"], ["g"], alpha=0.5, transB=0),
        helper.make_node("Sigmoid", ["g"], ["i"]),
        helper.make_node("Mul", ["g", "i"], ["s"]),
        helper.make_node("MatMul", ["s", "V"], ["p"]),
        helper.make_node("Add", ["p", "b"], ["q"]),
        helper.make_node("Add", ["q", "s"], ["r"]),
        helper.make_node("LayerNormalization", ["r", "b", "b"], ["o"]),
        helper.make_node("Dropout", ["o"], ["d"]),
        helper.make_node("Softmax", ["d"], ["y"]),
    ]
    value = helper.make_tensor_value_info
    ends = [[value("x", TensorProto.FLOAT, ["N", 1, 6, 6])], [value("y", TensorProto.FLOAT, ["N", 4])]]
    arrays = weights(K=(2, 1, 3, 3), k=(2,), v=(2,), W=(18, 4), b=(4,), V=(4, 4))
    return helper.make_model(helper.make_graph(nodes, "g", *ends, arrays))


def idx(rng, folder):
    """An IDX file, plain or gzipped, by itself or as a part of MNIST."""
    source = rng.choice(sorted([*(folder / "mnist").iterdir(), *(folder / "gz").iterdir()]))
    data = mutated(rng, source.read_bytes())
    if rng.random() < 0.7:
        (folder / "scratch" / source.name).write_bytes(data)
        datasets.read_idx(folder / "scratch" / source.name)
        return
    shutil.copytree(source.parent, folder / "scratch", dirs_exist_ok=True)
    (folder / "scratch" / source.name).write_bytes(data)
    (x, t), test = datasets.load(folder / "scratch")
    xpnet.train(((x.reshape(len(x), -1) / np.float32(255), t), None), epochs=1, progress=False)


def checkpoint(rng, folder):
    """A checkpoint, with damaged bytes, or with other contents and a right checksum."""
    source, path = folder / rng.choice(["net.safetensors", "run.safetensors"]), folder / "scratch" / "a.safetensors"
    if rng.random() < 0.3:
        path.write_bytes(mutated(rng, source.read_bytes()))
    else:
        with safetensors.safe_open(source, framework="numpy") as file:
            plain = json.loads(file.metadata()["xpnet"])
        arrays = safetensors.numpy.load_file(source)
        if rng.random() < 0.3:
            name = rng.choice(sorted(arrays))
            other = [np.zeros(3), np.zeros((0, 4)), np.asarray(1), arrays[name].astype("int64"), arrays[name][:1]]
            arrays[name] = np.asarray(rng.choice(other), order="C")
            plain["axes"][name] = list(range(arrays[name].ndim))
        else:
            plain = changed(rng, plain)
        text = json.dumps(plain)
        path.write_bytes(safetensors.numpy.save(arrays, {"xpnet": text, "sha256": _digest(text, arrays)}))
    if rng.random() < 0.5:
        load_network(path).predict(X)
    else:
        resumed(path, 2)


def onnx_model(rng, folder):
    """An ONNX model, with damaged bytes or changed nodes."""
    path = folder / "scratch" / "model.onnx"
    if rng.random() < 0.4:
        path.write_bytes(mutated(rng, (folder / "model.onnx").read_bytes()))
        from_onnx(path)
        return
    made = model()
    graph = made.graph
    names = [
        *(a.name for a in graph.initializer),
        *(name for node in graph.node for name in node.output),
        "x",
        "",
        "z",
    ]
    for _ in range(rng.choice([1, 1, 2])):
        node = rng.choice(graph.node)
        match rng.randrange(7):
            case 0:
                graph.node.remove(node)
            case 1 if node.input:
                node.input[rng.randrange(len(node.input))] = rng.choice(names)
            case 2 if node.input:
                del node.input[rng.randrange(len(node.input)) :]
            case 3:
                node.op_type = rng.choice(
                    sorted({n.op_type for n in model().graph.node} | {"Gather", "Reshape", "Gelu"})
                )
            case 4 if node.attribute:
                old = rng.choice(node.attribute)
                new = rng.choice([0, -1, 2**40, 0.5, float("nan"), [0, 0], [-1, 2], [1], [2**40] * 2, "text"])
                node.attribute.remove(old)
                node.attribute.append(helper.make_attribute(old.name, new))
            case 5:
                new = np.ones(
                    rng.choice([(), (1,), (0, 4), (4, 4), (2, 2, 2)]), rng.choice(["float32", "int64", "bool"])
                )
                old = rng.choice(graph.initializer)
                old.CopyFrom(numpy_helper.from_array(new, old.name))
            case 6:
                side = rng.choice(graph.input[0].type.tensor_type.shape.dim or [None])
                if side is not None:
                    side.dim_value = rng.choice([0, 1, -3, 7, 2**40])
        if not graph.node:
            break
    from_onnx(made)


def image(rng, folder):
    """An image of a digit."""
    source = rng.choice(sorted(folder.glob("digit.*")))
    path = folder / "scratch" / source.name
    path.write_bytes(mutated(rng, source.read_bytes()))
    read_digit(path, rng.choice([(36,), (1, 6, 6), (1, 28, 28), (784,)]))


def shards(rng, folder):
    """A dataset on disk, damaged before it is opened or after that."""
    scratch = folder / "scratch"
    name = rng.choice(["x.npy", "fortran.npy", "x.h5", "x.zarr"])
    path = scratch / name
    if name == "x.zarr":
        shutil.copytree(folder / name, path)
        path = rng.choice(sorted(file for file in path.rglob("*") if file.is_file()))
    else:
        shutil.copy(folder / name, path)
    with contextlib.ExitStack() as stack:

        def opened():
            if name.endswith("npy"):
                return scratch / name
            try:
                if name == "x.zarr":
                    return zarr.open_array(scratch / name, mode="r")
                return stack.enter_context(h5py.File(scratch / name, "r"))["x"]
            except Exception as error:  # what these libraries say is theirs
                raise OSError("not opened") from error

        if early := rng.random() < 0.6:
            path.write_bytes(mutated(rng, path.read_bytes()))
        try:
            source = opened()
        except OSError:
            return
        data = xpnet.Shards(source, T, buffer=10)
        if not early:
            path.write_bytes(mutated(rng, path.read_bytes()))
        fit(Network(STACK, (36,)), data, epochs=1, batch_size=8, progress=False)


WORDS = ["", " ", "-1", "0", "1", "2", "x", "nan", "inf", "1e999", "9" * 30, "0.5", "-", "%s", "\n", "é", "a" * 300]
WORDS += [
    "/",
    "..",
    "/dev/null",
    "no/such.json",
    "folder.json",
    "empty.json",
    "pipe.safetensors",
    "digit.png",
    "run.safetensors",
]
OPTIONS = {
    "train": {
        "--backend": ["numpy", "strict"],
        "--device": ["cpu", "CPU_DEVICE"],
        "--dtype": ["float32", "float64"],
        "--hidden": ["1", "7", "2147483648", "9223372036854775807"],
        "--activation": ["relu", "gelu"],
        "--seed": ["0", "7"],
        "--batch-size": ["1", "50", "1000"],
        "--optimizer": ["sgd", "adam"],
        "--lr": ["0.1", "1e30", "1e-300"],
        "--sampling": ["shuffle", "replacement"],
        "--validation": ["0", "0.1", "0.999"],
        "--patience": ["1"],
        "--plot": ["scratch/a.png", "scratch/a.svg"],
        "--history": ["scratch/a.json", "scratch/a.csv"],
        "--checkpoint": ["scratch/a.safetensors", "run.safetensors", "net.safetensors"],
        "--resume": [],
        "--quiet": [],
        "--distributed": [],
    },
    "predict": {"--model": ["net.safetensors", "run.safetensors"]},
    "gradcheck": {
        "--backend": ["numpy", "strict"],
        "--dtype": ["float32", "float64"],
        "--hidden": ["1", "2147483648"],
        "--activation": ["relu", "tanh"],
        "--seed": ["0", "7"],
        "--samples": ["1", "3"],
    },
    "conformance": {"--page": ["scratch/a.txt", "no/a.md"], "--device": ["moon"]},
}
ALWAYS = {
    "train": ["--data", "./mnist", "--epochs", "1"],
    "predict": ["digit.png"],
    "gradcheck": ["--elements", "2"],
    "conformance": ["--backend", "x"],
}


def arguments(rng):
    """A command line, with some odd words in it."""
    command = rng.choice(["train"] * 6 + ["predict"] * 3 + ["gradcheck", "conformance"])
    words = [command, *ALWAYS[command]]
    for option, values in OPTIONS[command].items():
        if rng.random() < 0.25 or option == "--model":
            words += [option, *([rng.choice(values)] if values else [])]
    if rng.random() < 0.5:
        words[rng.randrange(1, len(words))] = rng.choice(WORDS)
    if rng.random() < 0.1:
        words.insert(rng.randrange(len(words)), rng.choice([*WORDS, "--nonsense", "--", "-h"]))
    return words


def check_ended(status, out, err):
    usage = re.match(r"usage: xpnet", err)
    if status not in (0, 1, 2) or "Traceback" in err or "Errno" in err:
        raise Wrong(f"status {status}, {err}")
    if status and not usage and len(err.splitlines()) != 1 + err.count("\nxpnet ") and "WRONG" not in out:
        raise Wrong(f"status {status}, not one line: {err!r}")
    if not status and err:
        raise Wrong(f"success, but {err!r}")
    if status:
        raise ValueError("refused")


def command(rng, folder):
    """The command line, in this process."""
    out, err = io.StringIO(), io.StringIO()
    words = arguments(rng)
    with contextlib.chdir(folder), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            status = main(words)
        except SystemExit as ended:
            status = ended.code
    with said(words):
        check_ended(status, out.getvalue(), err.getvalue())


def process(rng, folder):
    """The command line, in a process of its own."""
    words = arguments(rng)
    env = os.environ | {"PYTHONPATH": os.path.dirname(PACKAGE)}
    done = subprocess.run(
        [sys.executable, "-m", "xpnet", *words], cwd=folder, env=env, capture_output=True, text=True, timeout=LIMIT
    )
    with said(words):
        check_ended(done.returncode, done.stdout, done.stderr)


@contextlib.contextmanager
def said(words):
    try:
        yield
    except Wrong as wrong:
        raise Wrong(f"{words}: {wrong}") from None


KINDS = {f.__name__: f for f in (idx, checkpoint, onnx_model, image, shards, command, process)}
RUNS = dict(zip(KINDS, (6000, 5000, 11000, 3500, 1100, 1100, 25), strict=True))


def is_ours(error):
    """Whether xpnet itself has raised the error, with a message of one line."""
    last = traceback.extract_tb(error.__traceback__)[-1]
    raised = last.filename.startswith((PACKAGE, __file__)) and linecache.getline(last.filename, last.lineno).strip()
    known = isinstance(error, (ValueError, TypeError, OSError, MemoryError, ArithmeticError))
    return known and bool(raised) and raised.startswith("raise ") and len(str(error).splitlines()) == 1


def late(*_):
    raise Late


def one(kind, number, seed, folder):
    """One run. Returns "succeeded" or "refused"; anything else is an error."""
    shutil.rmtree(folder / "scratch")
    (folder / "scratch").mkdir()
    signal.alarm(LIMIT)
    try:
        KINDS[kind](random.Random(f"{seed} {kind} {number}"), folder)
        return "succeeded"
    except Exception as error:
        if not is_ours(error):
            raise
        return "refused"
    finally:
        signal.alarm(0)


@contextlib.contextmanager
def prepared():
    """A folder with the files that the runs damage."""
    with tempfile.TemporaryDirectory() as name:
        prepare(Path(name))
        os.environ["XPNET_MNIST"] = f"{name}/mnist"  # a small one
        yield Path(name)


def run(kind, seconds, seed):
    """Make runs of one kind, for `seconds` or a fixed number of runs (None). Return how many were wrong."""
    counts, number, seen = Counter(), 0, set()
    with prepared() as folder:
        start = time.monotonic()
        while number < RUNS[kind] if seconds is None else time.monotonic() - start < seconds:
            try:
                counts[one(kind, number, seed, folder)] += 1
            except BaseException as error:
                if isinstance(error, KeyboardInterrupt):
                    raise
                counts["wrong"] += 1
                last = traceback.extract_tb(error.__traceback__)[-1]
                if (place := (type(error), last.filename, last.lineno)) not in seen:
                    seen.add(place)
                    print(f"WRONG: {type(error).__name__}: {error}"[:300])
                    print(f"  {last.filename}:{last.lineno}; again with --seed {seed} --only {kind}:{number}")
            number += 1
    print(f"{kind:<11}", *(f"{counts[what]:>7} {what}" for what in ("succeeded", "refused", "wrong")), flush=True)
    return counts["wrong"]


def set_up():
    """Set the limits of this process, and leave out what only takes time."""
    warnings.simplefilter("ignore")
    signal.signal(signal.SIGALRM, late)
    resource.setrlimit(resource.RLIMIT_AS, (8 << 30, 8 << 30))
    os.fsync = lambda handle: None


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0], allow_abbrev=False)
    parser.add_argument("--seconds", type=float, help="run for this time, instead of a fixed number of runs")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", metavar="KIND:NUMBER", help="this run alone, with its traceback")
    options = parser.parse_args()
    if options.only:
        set_up()
        kind, _, number = options.only.partition(":")
        with prepared() as folder:
            print(one(kind, int(number), options.seed, folder))
        sys.exit()
    cores = os.cpu_count()
    seconds = options.seconds and options.seconds / math.ceil(len(KINDS) / cores)
    with ProcessPoolExecutor(cores, initializer=set_up) as pool:
        wrong = pool.map(partial(run, seconds=seconds, seed=options.seed), KINDS)
        sys.exit(1 if sum(wrong) else 0)

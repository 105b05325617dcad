"""Checkpoints: a run that goes on ends as one that was never stopped; files that are not whole are refused."""

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from conftest import _library, problem_of

st = pytest.importorskip("safetensors.numpy", reason="safetensors is not installed")

from safetensors import safe_open

from xpnet import (
    SGD,
    Adam,
    CosineDecay,
    Diverged,
    Momentum,
    Network,
    Relu,
    Sequential,
    SoftmaxWithLoss,
    TwoLayerNet,
    WarmUp,
    fit,
    nn,
)
from xpnet.training import describing
from xpnet.training.checkpoints import load_network, save_network

X = np.random.default_rng(0).normal(size=(230, 6)).astype("float32")
T = np.argmax(X[:, :3], axis=1)
STACK = Sequential(nn.Dense(8), nn.BatchNorm(), nn.Relu(), nn.Dropout(0.3), nn.Dense(3))
RUNS = {
    "sgd": (lambda like: TwoLayerNet(6, 8, 3, weight_init_std=0.5, like=like), SGD(0.2), {}),
    "everything": (
        lambda like: Network(STACK, (6,), like=like),
        Adam(WarmUp(10, CosineDecay(0.05, 60)), clip_norm=1.0),
        {"validation": 0.2, "patience": 6, "accumulate": 2},
    ),
    "replacement": (lambda like: Network(STACK, (6,), like=like), Momentum(0.05), {"sampling": "replacement"}),
}


def run(lib, name, path, *, epochs=4, **options):
    build, optimizer, more = RUNS[name]
    x, t = lib.asarray(X, "float32"), lib.asarray(T)
    options = {"batch_size": 50, "epochs": epochs, "seed": 5, "progress": False} | more | options
    return fit(build(x), ((x, t), (x, t)), optimizer, checkpoint=path, **options)


class Stopped(Exception):
    """As if the process had been killed: nothing in the run catches it."""


def stopped_at(update, error, monkeypatch):
    """Every update is saved, and the run stopped after so many."""
    calls = []

    def due(saver):
        calls.append(1)
        if len(calls) == update:
            raise error
        return True

    monkeypatch.setattr("xpnet.training.checkpoints.Saver.due", property(due))


def same(lib, result, expected, exactly):
    for kind in ("params", "state"):
        found, wanted = getattr(result.network, kind), getattr(expected.network, kind)
        assert found.keys() == wanted.keys()
        for key in wanted:
            assert lib.holds(found[key])
            if exactly:
                np.testing.assert_array_equal(lib.numpy(found[key]), lib.numpy(wanted[key]), err_msg=key)
            else:
                np.testing.assert_allclose(lib.numpy(found[key]), lib.numpy(wanted[key]), rtol=1e-4, atol=1e-5)
    for column in ("loss", "train_accuracy", "test_accuracy", "validation_loss", "validation_accuracy"):
        tolerance = {} if exactly else {"rtol": 1e-3, "atol": 0.02}
        np.testing.assert_allclose(
            getattr(result.history, column), getattr(expected.history, column), **{"rtol": 0, "atol": 0} | tolerance
        )
    assert result.history.updates == expected.history.updates
    assert result.history.best_epoch == expected.history.best_epoch
    assert len(result.history.seconds) == len(expected.history.seconds)
    assert all(np.diff(result.history.seconds) >= 0)
    assert not result.history.interrupted


@pytest.mark.only("numpy", "strict", "torch", "jax", "cupy")  # Dask is slow, and no different
@pytest.mark.parametrize("error", [Stopped(), KeyboardInterrupt()], ids=["killed", "ctrl-c"])
@pytest.mark.parametrize("update", [1, 4, 5, 6, 13])
@pytest.mark.parametrize("name", RUNS)
def test_a_run_that_goes_on_ends_as_one_that_was_never_stopped(lib, name, update, error, tmp_path, monkeypatch):
    path = tmp_path / "run.safetensors"
    expected = run(lib, name, None)
    if lib.backend.name == "jax":  # it makes many updates in one loop
        update = min(update, 3)
    with monkeypatch.context() as patch:
        stopped_at(update, error, patch)
        if isinstance(error, Stopped):
            with pytest.raises(Stopped):
                run(lib, name, path)
        else:
            assert run(lib, name, path).history.interrupted
    result = run(lib, name, path, resume=True)
    same(lib, result, expected, exactly=lib.backend.name != "jax")
    assert [p.name for p in tmp_path.iterdir()] == ["run.safetensors"]


def test_a_finished_run_is_taken_up_again_for_more_epochs_and_one_that_ended_by_itself_is_not(lib, tmp_path):
    path = tmp_path / "run.safetensors"
    run(lib, "everything", path, epochs=2)
    same(lib, run(lib, "everything", path, resume=True), run(lib, "everything", None), lib.backend.name != "jax")
    same(lib, run(lib, "everything", path, resume=True), run(lib, "everything", None), lib.backend.name != "jax")

    path = tmp_path / "ended.safetensors"
    stop = [lambda network, history: len(history.seconds) == 3]
    first = run(lib, "sgd", path, callbacks=stop)
    again = run(lib, "sgd", path, resume=True, epochs=9)
    assert len(first.history.loss) == len(again.history.loss) == 10


def test_resume_deletes_what_a_killed_run_left_and_nothing_else(lib, tmp_path):
    path, other = tmp_path / "run.safetensors", tmp_path / ".run.safetensors.mine"
    other.touch()
    (tmp_path / ".run.safetensors.abcd1234.xpnet-part").touch()
    run(lib, "sgd", path, resume=True, epochs=1)
    assert sorted(tmp_path.iterdir()) == [other, path]


def test_resume_without_a_file_begins_the_run(lib, tmp_path):
    path = tmp_path / "run.safetensors"
    same(lib, run(lib, "sgd", path, resume=True), run(lib, "sgd", None), exactly=True)


@pytest.mark.parametrize("other", ["torch", "torch-cuda", "jax", "jax-gpu", "cupy", "dask", "strict"])
@pytest.mark.parametrize("way", ["from-numpy", "to-numpy"])
def test_a_run_begun_on_one_library_goes_on_on_another(other, way, tmp_path, monkeypatch):
    if problem := problem_of(other):
        pytest.skip(problem)
    here, there = _library("numpy"), _library(other)
    first, second = (here, there) if way == "from-numpy" else (there, here)
    path = tmp_path / "run.safetensors"
    expected = run(here, "everything", None)
    with monkeypatch.context() as patch:
        stopped_at(2 if first.backend.name == "jax" else 7, Stopped(), patch)  # JAX makes many updates in one loop
        with pytest.raises(Stopped):
            run(first, "everything", path)
    result = run(second, "everything", path, resume=True)
    assert second.holds(result.network.params["W1"])
    np.testing.assert_allclose(result.history.loss, expected.history.loss, rtol=1e-3)


def test_what_is_loaded_of_a_run_with_patience_is_its_best_network(tmp_path):
    """What `fit` gives back."""
    path = tmp_path / "run.safetensors"
    result = run(_library("numpy"), "everything", path, epochs=200)
    assert result.history.best_epoch < len(result.history.seconds) - 1
    loaded = load_network(path)
    for kind in ("params", "state"):
        for name, a in getattr(result.network, kind).items():
            np.testing.assert_array_equal(getattr(loaded, kind)[name], a)


def test_a_run_that_ends_by_patience_ends_there_too_if_its_callback_is_interrupted(tmp_path):
    lib, path = _library("numpy"), tmp_path / "run.safetensors"
    expected = run(lib, "everything", None, epochs=200)

    def interrupt(network, history):
        if len(history.seconds) == len(expected.history.seconds):
            raise KeyboardInterrupt

    assert run(lib, "everything", path, epochs=200, callbacks=[interrupt]).history.interrupted
    same(lib, run(lib, "everything", path, epochs=200, resume=True), expected, exactly=True)


def test_a_run_that_diverges_keeps_the_checkpoint_of_before(tmp_path):
    path = tmp_path / "run.safetensors"
    data = ((X, T), (X, T))
    with pytest.raises(Diverged), np.errstate(all="ignore"):
        fit(TwoLayerNet(6, 8, 3, like=X), data, SGD(1e30), epochs=3, checkpoint=path, progress=False)
    network = load_network(path)
    assert all(np.isfinite(p).all() for p in network.params.values())


SCRIPT = """
import sys, xpnet, numpy as np
xpnet.training.checkpoints.EVERY = 0.0
x = np.random.default_rng(0).normal(size=(400, 6)).astype("float32")
t = np.argmax(x[:, :3], axis=1)
net = xpnet.Network(xpnet.Sequential(xpnet.nn.Dense(8), xpnet.nn.BatchNorm(), xpnet.nn.Relu(), xpnet.nn.Dropout(0.3),
                                     xpnet.nn.Dense(3)), (6,), like=x)
print("ready", flush=True)
result = xpnet.fit(net, ((x, t), (x, t)), xpnet.Adam(0.01), epochs=12, batch_size=10, checkpoint=sys.argv[1],
                   resume=True, progress=False)
np.savez(sys.argv[2], *result.network.params.values(), *result.network.state.values(), result.history.loss)
"""


@pytest.mark.skipif(os.name != "posix", reason="kill -9 is POSIX's")
def test_killed_again_and_again_at_any_moment_it_ends_as_if_never_killed(tmp_path):
    rng = np.random.default_rng(1)
    command = [sys.executable, "-c", SCRIPT]
    subprocess.run([*command, tmp_path / "once.safetensors", tmp_path / "once.npz"], check=True)
    path, kills = tmp_path / "run.safetensors", 0
    for _ in range(40):
        process = subprocess.Popen([*command, path, tmp_path / "often.npz"], stdout=subprocess.PIPE)
        process.stdout.readline()
        time.sleep(rng.uniform(0.005, 0.15))
        if process.poll() is not None or kills == 12:
            break
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
        kills += 1
        if path.exists():
            load_network(path)  # whole, at any moment
    process.communicate()
    assert process.returncode == 0
    assert kills > 3
    once, often = np.load(tmp_path / "once.npz"), np.load(tmp_path / "often.npz")
    for name in once.files:
        np.testing.assert_array_equal(once[name], often[name])
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "often.npz",
        "once.npz",
        "once.safetensors",
        "run.safetensors",
    ]


# Networks


@pytest.mark.parametrize(
    "stack",
    [
        STACK,
        Sequential(nn.Residual(nn.Dense(6), nn.LeakyRelu(slope=0.3), shortcut=[nn.Dense(6)]), loss=nn.Huber()),
        Sequential(nn.Dense(3), loss=nn.CrossEntropy([1.0, 2.0, 3.0], label_smoothing=0.1, ignore_index=-1)),
        Sequential(nn.Dense(3, nn.Normal(0.5)), nn.Softmax(axis=1), nn.Dense(2), loss=SoftmaxWithLoss),
        Sequential(),
    ],
    ids=str,
)
def test_a_network_is_saved_and_loaded(lib, stack, tmp_path):
    net = Network(stack, (6,), like=lib.asarray(X, "float32"), seed=3)
    path = tmp_path / "net.safetensors"
    save_network(net, path)
    again = load_network(path, like=lib.asarray(X, "float32"))
    assert repr(again.stack) == repr(stack)
    x = lib.asarray(X, "float32")
    np.testing.assert_array_equal(lib.numpy(again.predict(x)), lib.numpy(net.predict(x)))
    host = load_network(path)
    np.testing.assert_allclose(host.predict(X), lib.numpy(net.predict(x)), rtol=1e-4, atol=1e-5)
    assert set(st.load_file(path)) == {f"params/{n}" for n in net.params} | {f"state/{n}" for n in net.state}


class Square(nn.Description):
    kind = "Square"

    def layer(self, arrays, training):
        return Relu()


class Mine(SoftmaxWithLoss):
    pass


def test_what_a_file_cannot_describe_is_refused_before_anything_is_written(tmp_path):
    path = tmp_path / "net.safetensors"
    drawn = nn.Dense(3, weight_init=lambda rng, shape: rng.normal(size=shape))
    for stack, match in [
        (
            Sequential(nn.Dense(3), Square()),
            r"a file cannot describe Square\(\); decorate its class with @xpnet.register",
        ),
        (Sequential(nn.Dense(3), loss=Mine), r"describe <class .*Mine'>; decorate its class with @xpnet.register"),
        (Sequential(drawn), "describe <function .*; options in files are numbers, strings and lists"),
    ]:
        with pytest.raises(ValueError, match=match):
            save_network(Network(stack, (6,)), path)
        with pytest.raises(ValueError, match=match):
            fit(Network(stack, (6,)), ((X, T), (X, T)), checkpoint=path, progress=False)
    assert not list(tmp_path.iterdir())


def test_a_file_that_is_not_whole_not_ours_or_was_changed_is_refused(tmp_path):
    path = tmp_path / "net.safetensors"
    save_network(TwoLayerNet(6, 8, 3), path)
    whole = path.read_bytes()
    header = 8 + int.from_bytes(whole[:8], "little")

    def refused(data, match):
        path.write_bytes(data)
        with pytest.raises(ValueError, match=match):
            load_network(path)

    for size in [*range(0, 60, 7), header - 1, header, header + 5, len(whole) - 1]:
        refused(whole[:size], "not a safetensors file, or truncated")
    refused(whole + b"more", "not a safetensors file, or truncated")
    refused((2**60).to_bytes(8, "little") + whole[8:], "not a safetensors file")
    refused(b"\x80\x04}." * 30, "not a safetensors file")  # a pickle
    refused(whole[:-1] + bytes([whole[-1] ^ 1]), "was changed after it was written")
    refused(whole.replace(b"Relu", b"Tanh"), "was changed after it was written")
    refused(st.save({"W1": np.zeros(3)}), "a safetensors file that xpnet did not write")
    rng = np.random.default_rng(0)
    for place in rng.integers(0, len(whole), size=200):
        changed = bytearray(whole)
        changed[place] ^= 1 << rng.integers(0, 8)
        refused(bytes(changed), "not a safetensors file|was changed|did not write")
    path.unlink()
    with pytest.raises(FileNotFoundError):
        load_network(path)
    with pytest.raises(OSError) as told:  # Windows says that it is not permitted
        load_network(tmp_path)
    assert not isinstance(told.value, ValueError)


def forge(path, plain, arrays):
    """Write what is made up, with the checksum that it should have; a string is put there as it is."""
    from xpnet.training.checkpoints import _digest

    axes = {name: [*range(a.ndim)] for name, a in arrays.items()}
    text = plain if isinstance(plain, str) else json.dumps({"format": 1, "axes": axes} | plain)
    path.write_bytes(st.save(arrays, {"xpnet": text, "sha256": _digest(text, arrays)}))


def refused(call, path, match):
    with pytest.raises(ValueError, match=match) as told:
        call()
    assert str(told.value).startswith(f"{path}: ")


STACK_OF = describing.to_plain(TwoLayerNet(6, 8, 3).stack)
SGD_ = {"is": "SGD", "lr": 0.1}
LOSS = {"class": "SoftmaxWithLoss"}


@pytest.mark.parametrize(
    ("plain", "match"),
    [
        ({}, "describes no network"),
        ("null", "describes no network"),
        ("[1]", "describes no network"),
        ("{", "describes no network"),
        ("[" * 100_000, "describes no network .*RecursionError"),
        ({"axes": None}, "describes no network"),
        ({"axes": {"params/W1": [0, 1]}}, "order of the axes"),
        ({"network": None}, "describes no network"),
        ({"network": {"stack": {"is": "eval", "code": "1"}, "input_shape": [6]}}, "names 'eval', a class .*not know"),
        ({"network": {"stack": {"is": ["Dense"]}, "input_shape": [6]}}, "a class that xpnet does not know"),
        ({"network": {"stack": {"code": "1"}, "input_shape": [6]}}, "names 'None', a class that xpnet does not know"),
        ({"network": {"stack": {"is": "Dense", "unit": 3}, "input_shape": [6]}}, "is not a description of Dense"),
        ({"network": {"stack": {"class": "Dense"}, "input_shape": [6]}}, "Dense is not a loss"),
        ({"network": {"stack": {"is": "Sequential"}, "input_shape": [6]}}, "is not a description of Sequential"),
        ({"network": {"stack": SGD_, "input_shape": [6]}}, "describes no network, but .*SGD"),
        ({"network": {"stack": LOSS, "input_shape": [6]}}, "describes no network, but .*SoftmaxWithLoss"),
        ({"network": {"stack": STACK_OF | {"loss": SGD_}, "input_shape": [6]}}, "loss must be a description"),
        ({"network": {"stack": STACK_OF | {"loss": None}, "input_shape": [6]}}, "loss must be a description"),
        ({"network": {"stack": STACK_OF | {"layers": [SGD_]}, "input_shape": [6]}}, "layer 1 must be a description"),
        ({"network": {"stack": STACK_OF | {"layers": [LOSS]}, "input_shape": [6]}}, "layer 1 must be a description"),
        (
            {"network": {"stack": STACK_OF | {"layers": ["relu"]}, "input_shape": [6]}},
            "layer 1 must be a description",
        ),
        ({"network": {"stack": STACK_OF, "input_shape": [7]}}, r"params are .*\(6, 8\).*expected .*\(7, 8\)"),
        ({"network": {"stack": STACK_OF, "input_shape": [6.0]}}, r"samples of shape \(6.0,\)"),
        ({"network": {"stack": STACK_OF, "input_shape": "6"}}, r"samples of shape \('6',\)"),
        ({"network": {"stack": STACK_OF, "input_shape": [-6]}}, r"samples of shape \(-6,\)"),
        ({"network": {"stack": STACK_OF, "input_shape": None}}, "describes no network"),
        ({"network": {"stack": STACK_OF, "input_shape": [6]}, "format": 2}, "is of format 2, .* reads format 1"),
    ],
)
def test_a_description_that_was_made_up_is_refused(tmp_path, plain, match):
    path = tmp_path / "net.safetensors"
    save_network(TwoLayerNet(6, 8, 3), path)
    forge(path, plain, st.load_file(path))
    refused(lambda: load_network(path), path, match)


@pytest.mark.parametrize(
    "change",
    [
        lambda a: a.astype("int64"),
        lambda a: a.astype("float64") if a.ndim == 1 else a,
        lambda a: a[None],
        lambda a: a.astype("bool"),
    ],
    ids=["integers", "two dtypes", "an axis too many", "booleans"],
)
def test_arrays_of_another_kind_than_described_are_refused(tmp_path, change):
    path = tmp_path / "net.safetensors"
    save_network(TwoLayerNet(6, 8, 3), path)
    arrays = {name: change(a) for name, a in st.load_file(path).items()}
    forge(path, {"network": {"stack": STACK_OF, "input_shape": [6]}}, arrays)
    refused(lambda: load_network(path), path, "params are .*, expected .*float32")
    forge(path, {"network": {"stack": STACK_OF, "input_shape": [6]}}, {})
    refused(lambda: load_network(path), path, "params are {}, expected ")


def test_a_place_that_cannot_hold_the_dtype_is_not_the_files_fault(tmp_path):
    strict = pytest.importorskip("array_api_strict")
    path = tmp_path / "net.safetensors"
    save_network(TwoLayerNet(6, 8, 3, dtype="float64"), path)
    with pytest.raises(TypeError, match="float64 is not available"):
        load_network(path, like=strict.zeros(1, dtype=strict.float32, device=strict.Device("no_float64")))


@pytest.mark.parametrize(
    "stack",
    [
        Sequential(nn.Dense(10**9), nn.Dense(10**9)),
        Sequential(nn.Conv2d(10**6, 10**4, padding=10**4)),
        Sequential(nn.BatchNorm(), nn.LayerNorm()),
        Sequential(nn.Embedding(10**9, 10**9)),
        Sequential(nn.Residual(nn.Dense(10**9), nn.Dense(10**9), shortcut=[nn.Dense(10**9)])),
    ],
    ids=["dense", "convolution", "normalization", "embedding", "residual"],
)
def test_a_small_file_that_describes_a_huge_network_is_refused_before_one_is_made(tmp_path, stack):
    path = tmp_path / "net.safetensors"
    arrays = {"params/W1": np.zeros((6, 8), "float32")}
    shape = [10**9, 10**9, 10**9] if stack.names[0] != "Affine1" else [10**9]
    forge(path, {"network": {"stack": describing.to_plain(stack), "input_shape": shape}}, arrays)
    refused(lambda: load_network(path), path, "params are .*, expected .*10000")


@pytest.mark.parametrize(
    ("change", "arrays", "match"),
    [
        ({"history": {}}, {}, "cannot have rows"),
        ({"history": None}, {}, "describes no network or run"),
        ({"epoch": 3}, {}, "cannot have rows"),
        ({"epoch": "1"}, {}, "describes no network or run"),
        ({"over": 0}, {}, "for yes and no"),
        ({"draws": {}}, {}, "describes no network or run"),
        ({"draws": {"opening": {"bit_generator": "seed"}, "now": {}}}, {}, "describes no network or run"),
        ({"settings": None}, {}, "describes no network or run|was made with"),
        ({}, {"losses": None}, "describes no network or run"),
        ({}, {"loss": np.zeros(4)}, "cannot have rows"),
        ({}, {"losses": np.zeros(3)}, "cannot have rows"),
        ({}, {"params/W1": np.zeros((6, 8), "int64")}, "params are .*int .*, expected .*float32"),
        ({}, {"memory/v.W1": np.zeros((6, 8), "float64")}, "memory are .*float64.*, expected .*float32"),
        ({}, {"memory/v.W1": None}, "memory are"),
        ({}, {"best_params/W1": np.zeros((6, 8), "float32")}, "best_params are"),
        ({}, {"rows.train": np.zeros(3), "rows.held": np.zeros(3)}, "rows of samples are"),
        ({}, {"rows.train": np.zeros(3, "int64")}, "rows of samples are"),
    ],
)
def test_a_run_that_was_made_up_is_refused(tmp_path, change, arrays, match):
    path = tmp_path / "run.safetensors"
    net, data = TwoLayerNet(6, 8, 3, like=X), ((X, T), (X, T))
    fit(net, data, Momentum(0.1), epochs=1, checkpoint=path, progress=False)
    before = {name: p.copy() for name, p in net.params.items()}
    with safe_open(path, framework="numpy") as file:
        plain = json.loads(file.metadata()["xpnet"])
    found = {name: a for name, a in (st.load_file(path) | arrays).items() if a is not None}
    del plain["axes"]
    forge(path, plain | change, found)
    seed = np.random.get_state()[1].tolist()  # noqa: NPY002
    with pytest.raises(ValueError, match=match) as told:
        fit(net, data, Momentum(0.1), epochs=2, checkpoint=path, resume=True, progress=False)
    assert str(told.value).removeprefix("checkpoint: ").startswith(str(path))
    assert np.random.get_state()[1].tolist() == seed  # noqa: NPY002
    for name, p in before.items():
        np.testing.assert_array_equal(net.params[name], p)


def test_a_history_with_text_for_an_empty_column_is_refused(tmp_path):
    path = tmp_path / "run.safetensors"
    net, data = TwoLayerNet(6, 8, 3, like=X), ((X, T), (X, T))
    options = {"checkpoint": path, "progress": False}
    fit(net, data, Momentum(0.1), epochs=1, **options)
    with safe_open(path, framework="numpy") as file:
        plain = json.loads(file.metadata()["xpnet"])
    plain["history"]["validation_loss"] = ""
    del plain["axes"]
    forge(path, plain, st.load_file(path))
    refused(lambda: fit(net, data, Momentum(0.1), epochs=2, resume=True, **options), path, "other than numbers")


# What is refused of a run


def test_what_does_not_fit_the_run_in_the_file_is_refused_with_the_difference(tmp_path):
    lib, path = _library("numpy"), tmp_path / "run.safetensors"
    run(lib, "sgd", path, epochs=1)
    before = path.read_bytes()
    data = ((X, T), (X, T))
    net = TwoLayerNet(6, 8, 3, weight_init_std=0.5, like=X)
    options = {"batch_size": 50, "checkpoint": path, "progress": False}
    for call, error, match in [
        (lambda: run(lib, "sgd", path), FileExistsError, "contains a run; pass resume=True"),
        (
            lambda: run(lib, "sgd", path, resume=True, batch_size=40),
            ValueError,
            "settings: batch_size = 50, and now .* 40",
        ),
        (
            lambda: run(lib, "sgd", path, resume=True, seed=6),
            ValueError,
            "settings: seed = 'of random state .*', and now it is 'of random state .*'",
        ),
        (
            lambda: fit(net, ((X + 1, T), data[1]), SGD(0.2), seed=5, resume=True, **options),
            ValueError,
            "settings: training samples = .*, and now",
        ),
        (
            lambda: fit(net, (data[0], (X[:9], T[:9])), SGD(0.2), seed=5, resume=True, **options),
            ValueError,
            "settings: test samples = .*, and now",
        ),
        (
            lambda: fit(net, data, SGD(0.2), seed=5, transform=np.negative, resume=True, **options),
            ValueError,
            "settings: transform = None, and now it is 'negative'",
        ),
        (
            lambda: fit(net, data, SGD(0.3), resume=True, **options),
            ValueError,
            "optimizer: lr = 0.2, and now it is 0.3",
        ),
        (
            lambda: fit(net, data, Adam(0.2), resume=True, **options),
            ValueError,
            "optimizer = .SGD., and now it is .Adam.; they must be the same",
        ),
        (lambda: run(lib, "everything", path, resume=True), ValueError, "network"),
        (lambda: fit(net, data, SGD(0.2), resume=True, progress=False), ValueError, "resume=True needs checkpoint"),
        (lambda: run(lib, "sgd", tmp_path / "run.pt", resume=True), ValueError, r"must end in \.safetensors"),
        (lambda: run(lib, "sgd", tmp_path / "no" / "run.safetensors"), FileNotFoundError, "there is no folder"),
    ]:
        with pytest.raises(error, match=match):
            call()
        assert path.read_bytes() == before
    save_network(net, path)
    with pytest.raises(ValueError, match="holds a network and no run"):
        run(lib, "sgd", path, resume=True)


def test_the_command_line_saves_and_goes_on(tmp_path):
    path, history = tmp_path / "run.safetensors", tmp_path / "history.json"
    command = [sys.executable, "-m", "xpnet", "train", "--quiet", "--checkpoint", path, "--history", history]
    subprocess.run([*command, "--epochs", "1"], check=True, capture_output=True)
    refused = subprocess.run([*command, "--epochs", "2"], capture_output=True, text=True)
    assert refused.returncode == 2
    assert "contains a run; pass --resume" in refused.stderr
    subprocess.run([*command, "--epochs", "2", "--resume"], check=True, capture_output=True)
    accuracy = json.loads(history.read_text())["test_accuracy"]
    assert len(accuracy) == 3
    assert accuracy[2] > 0.9


def test_a_run_in_half_precision_is_resumed_and_loaded_with_its_precision(tmp_path):
    torch = pytest.importorskip("torch")
    x, t = torch.asarray(X, dtype=torch.float32), torch.asarray(T)
    path, options = tmp_path / "run.safetensors", {"batch_size": 4, "progress": False}

    def network():
        return TwoLayerNet(X.shape[1], 6, 3, like=x, dtype="bfloat16")

    whole = fit(network(), (x, t), epochs=2, **options).network
    fit(network(), (x, t), epochs=1, checkpoint=path, **options)
    resumed = fit(network(), (x, t), epochs=2, checkpoint=path, resume=True, **options).network
    again = load_network(path, like=x)
    for net in (resumed, again):
        assert net.stack.precisions == {"bfloat16"}
        assert all(torch.equal(net.params[name], p) and p.dtype == torch.float32 for name, p in whole.params.items())
    on_numpy = load_network(path)
    assert not on_numpy.stack.precisions
    np.testing.assert_allclose(on_numpy.predict(X.astype("float32")), whole.predict(x).numpy(), atol=0.05)

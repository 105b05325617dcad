"""Training: what it records, what it refuses before it starts, how it ends when something goes wrong."""

import _thread
import gc
import io
import itertools
import math
import os
import re
import signal
import subprocess
import sys
import threading
from functools import cache
from pathlib import Path
from typing import Any, get_args, get_type_hints

import numpy as np
import pytest
from conftest import VARIANTS, needs
from test_datasets import FILES, encode

import xpnet
from xpnet import SGD, Adam, Diverged, Network, Sequential, TwoLayerNet, fit, nn, train
from xpnet.backends import BACKENDS, BackendUnavailable
from xpnet.cli import DTYPES
from xpnet.layers.precision import HALF
from xpnet.training import callbacks, evaluation, fitting as module, history, loop

ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(xpnet.__file__).parents[1])}
ROUND = 1e-5  # what float32 keeps of a few updates


@cache
def digits(train_count: int = 250, test_count: int = 60) -> tuple[tuple[Any, Any], tuple[Any, Any]]:
    """Real digits of MNIST, few and small: uint8 images of 7 x 7."""
    sets = xpnet.load_mnist(normalize=False, flatten=False)
    (x, t), (x_test, t_test) = (
        (x[:n, 0, ::4, ::4], t[:n]) for (x, t), n in zip(sets, (train_count, test_count), strict=True)
    )
    return (x, t), (x_test, t_test)


def write_mnist(folder: Path, **counts: int) -> Path:
    """`digits` as the four files of a set in MNIST's format."""
    for name, array in zip(FILES, [a for pair in digits(**counts) for a in pair], strict=True):
        (folder / f"{name}-ubyte").write_bytes(encode(array))
    return folder


def arrays(lib: Any, count: int = 250) -> Any:
    """`digits` as arrays of a library: samples scaled, labels."""
    (x, t), (x_test, t_test) = digits()
    return tuple(
        (lib.asarray(a.reshape(-1, 49) / 255, width(lib)), lib.asarray(b))
        for a, b in ((x[:count], t[:count]), (x_test, t_test))
    )


def width(lib: Any) -> str:
    return "float64" if "float64" in lib.dtypes else "float32"


def options(lib: Any, **more: Any) -> dict[str, Any]:
    """Name a library and its device to `train`, for a short silent run."""
    named = {"backend": lib.backend.name, "device": VARIANTS[lib.name][1], "dtype": width(lib)}
    return {**named, "epochs": 2, "hidden_size": 8, "weight_init_std": 0.1, "progress": False, **more}


def params_of(result: Any) -> dict[str, Any]:
    return {name: xpnet.to_numpy(p) for name, p in result.network.params.items()}


# What is trained, and what is recorded


def test_train_on_a_folder_records_every_update_and_epoch(lib, tmp_path):
    result = train(write_mnist(tmp_path), **options(lib, epochs=3))
    history = result.history
    assert len(history.loss) == 9  # 250 samples: 100, 100 and the last 50
    assert history.updates == [0, 3, 6, 9]
    assert len(history.seconds) == len(history.train_accuracy) == len(history.test_accuracy) == 4
    assert history.seconds == sorted(history.seconds)
    assert history.seconds[0] > 0
    assert all(0 <= a <= 1 for a in history.train_accuracy + history.test_accuracy)
    assert all(type(v) is float for v in history.loss + history.train_accuracy + history.seconds)
    assert not history.interrupted
    np.testing.assert_allclose(history.loss[0], math.log(10), rtol=0.1)  # nothing known yet
    for p in result.network.params.values():
        assert lib.holds(p)


def test_the_first_row_is_the_untrained_network_and_the_last_the_trained_one(lib):
    data = arrays(lib)
    net = TwoLayerNet(49, 8, 10, 0.1, like=data[0][0])
    before = [float(net.accuracy(*pair)) for pair in data]
    result = fit(net, data, SGD(1.0), batch_size=25, epochs=5, progress=False)
    assert result.network is net
    after = [float(net.accuracy(*pair)) for pair in data]
    recorded = [result.history.train_accuracy, result.history.test_accuracy]
    np.testing.assert_allclose([a[0] for a in recorded], before, atol=1e-6)
    np.testing.assert_allclose([a[-1] for a in recorded], after, atol=1e-6)
    assert after[0] > before[0] + 0.2


def test_accuracies_of_a_set_larger_than_a_block_are_counted_over_all_of_it(monkeypatch, lib):
    data = arrays(lib)
    monkeypatch.setattr(evaluation, "_BLOCK", 70)  # 250 = 3 * 70 + 40
    net = TwoLayerNet(49, 8, 10, 0.1, like=data[0][0])
    found = fit(net, data, epochs=0, progress=False).history
    assert found.train_accuracy == [round(250 * float(net.accuracy(*data[0]))) / 250]
    assert found.loss == []
    assert found.updates == [0]


def test_no_epochs_leaves_the_initial_weights(lib):
    result = train(arrays(lib), **options(lib, epochs=0, seed=5))
    expected = TwoLayerNet(49, 8, 10, 0.1, seed=5, like=lib.asarray([0.0]))
    for name, p in params_of(result).items():
        np.testing.assert_array_equal(p, lib.numpy(expected.params[name]))


@pytest.mark.parametrize("batch_size", [1, 6, 250, 1000])
def test_any_batch_size_uses_every_sample(batch_size):
    x = np.eye(12)
    net = Network(Sequential(nn.Dense(1), loss=nn.MeanSquaredError()), (12,), like=x)
    rows: list[Any] = []

    def record(batch: Any) -> Any:
        rows.append(batch.argmax(axis=1).tolist())
        return batch

    fit(net, (x, np.zeros((12, 1))), epochs=2, batch_size=batch_size, transform=record, progress=False)
    updates = -(-12 // batch_size)
    evaluated, epochs = rows[:: updates + 1], (rows[1 : 1 + updates], rows[2 + updates : -1])
    assert evaluated == 3 * [list(range(12))]
    for epoch in epochs:
        assert len(epoch) == updates
        assert sorted(sum(epoch, [])) == list(range(12))
    assert sum(epochs[0], []) != sum(epochs[1], [])


def test_mnist_stays_uint8_until_its_batch_is_drawn(lib, tmp_path, monkeypatch):
    given: list[Any] = []
    plain = module._run
    monkeypatch.setattr(module, "_run", lambda net, sets, *rest: given.append(sets) or plain(net, sets, *rest))
    train(write_mnist(tmp_path), **options(lib, epochs=1))
    for x, t in given[0]:
        assert x.dtype == lib.xp.uint8
        assert lib.holds(x)
        assert lib.xp.isdtype(t.dtype, "signed integer")


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_trained_network_takes_what_load_mnist_returns(tmp_path, dtype):
    folder = write_mnist(tmp_path)
    result = train(folder, epochs=1, dtype=dtype, progress=False)
    (x, t), (x_test, t_test) = xpnet.load_mnist(path=folder)
    net = result.network
    assert result.history.train_accuracy[-1] == pytest.approx(float(net.accuracy(x.astype(dtype), t)))
    assert result.history.test_accuracy[-1] == pytest.approx(float(net.accuracy(x_test.astype(dtype), t_test)))


def test_the_trained_network_refuses_integer_images_and_says_how_to_scale_them(lib, tmp_path):
    folder = write_mnist(tmp_path)
    net = train(folder, **options(lib, epochs=1)).network
    (x, _), _ = xpnet.load_mnist(normalize=False, path=folder)
    with pytest.raises(TypeError, match=r"x must have a real floating dtype.*uint8.*scale.*/ 255"):
        net.predict(lib.asarray(x[:2], "uint8"))
    assert tuple(net.predict(lib.asarray(x[:2] / 255, width(lib))).shape) == (2, 10)


def test_a_folder_gives_the_same_as_its_arrays(lib, tmp_path):
    folder = write_mnist(tmp_path)
    loaded, given = train(folder, **options(lib)), train(arrays(lib), **options(lib))
    np.testing.assert_allclose(loaded.history.loss, given.history.loss, rtol=lib.rtol)
    assert loaded.history.test_accuracy == given.history.test_accuracy


def test_the_environment_names_another_mnist(tmp_path, monkeypatch):
    monkeypatch.setenv("XPNET_MNIST", str(write_mnist(tmp_path)))
    assert train(epochs=1, progress=False).history.updates == [0, 3]


def test_arrays_are_trained_on_where_they_are(lib):
    more = options(lib, backend=None, device=None)
    result = train(arrays(lib), **more)
    assert all(lib.holds(p) for p in result.network.params.values())
    numpys = train(arrays(lib), **options(lib)).history.loss
    np.testing.assert_allclose(result.history.loss, numpys, rtol=lib.rtol)


def test_numpy_arrays_are_moved_to_the_backend_and_device_that_are_named(lib):
    (x, t), (x_test, t_test) = digits()
    x, x_test = (a.reshape(-1, 49) / 255 for a in (x, x_test))
    for a in (x, t, x_test, t_test):
        a.flags.writeable = False
    result = train(((x, t), (x_test, t_test)), **options(lib))
    assert all(lib.holds(p) for p in result.network.params.values())
    numpys = train(((x, t), (x_test, t_test)), **{**options(lib), "backend": None, "device": None})
    np.testing.assert_allclose(result.history.loss, numpys.history.loss, rtol=max(lib.rtol, 1e-12))


def test_arrays_of_any_library_are_moved_to_numpy(lib):
    result = train(arrays(lib), **options(lib, backend="numpy", device=None))
    assert all(type(p) is np.ndarray for p in result.network.params.values())
    np.testing.assert_allclose(result.history.loss, train(arrays(lib), **options(lib)).history.loss, rtol=ROUND)


def test_every_device_can_be_named(lib):
    for name in lib.backend.devices():
        if lib.backend.name == "strict" and name == "no_x64":
            continue
        result = train(arrays(lib, 20), **options(lib, device=name, dtype="float32", epochs=1))
        for p in result.network.params.values():
            assert getattr(p, "device", None) in (None, lib.backend.device(name))


def test_images_of_any_shape_are_taken(lib):
    (x, t), (x_test, t_test) = arrays(lib)
    stacked = tuple((lib.xp.reshape(a, (-1, 1, 7, 7)), b) for a, b in ((x, t), (x_test, t_test)))
    flat = ((x, t), (x_test, t_test))
    losses = [train(data, **options(lib)).history.loss for data in (stacked, flat)]
    assert losses[0] == losses[1]


@pytest.mark.parametrize("dtype", ["uint8", None])
def test_one_hot_targets_and_labels_of_any_integer_dtype_give_the_same(lib, dtype):
    (x, t), (x_test, t_test) = arrays(lib)
    eye = np.eye(10, dtype=dtype or width(lib))
    hots = [lib.asarray(eye[lib.numpy(labels)], str(eye.dtype)) for labels in (t, t_test)]
    one_hot = train(((x, hots[0]), (x_test, hots[1])), **options(lib)).history
    labels = [lib.asarray(lib.numpy(a), dtype) for a in (t, t_test)]
    label = train(((x, labels[0]), (x_test, labels[1])), **options(lib)).history
    np.testing.assert_allclose(one_hot.loss, label.loss, rtol=lib.rtol)
    assert one_hot.test_accuracy == label.test_accuracy


@pytest.mark.parametrize(("activation", "sampling"), [("relu", "shuffle"), ("sigmoid", "replacement")])
def test_a_seed_is_reproducible_and_another_differs(lib, activation, sampling):
    def losses(seed: Any) -> list[float]:
        return train(arrays(lib), **options(lib, activation=activation, sampling=sampling, seed=seed)).history.loss

    first = losses(1)
    assert len(first) == 6
    assert first == losses(1) == losses(np.random.default_rng(1)) != losses(2)


def test_training_learns(lib):
    history = train(arrays(lib), **options(lib, epochs=5, learning_rate=1.0, batch_size=25)).history
    assert history.train_accuracy[-1] > 0.5
    assert np.mean(history.loss[-10:]) < 0.8 * np.mean(history.loss[:10])


def test_the_data_is_left_as_it_was(lib):
    data = arrays(lib)
    copies = [np.array(lib.numpy(a)) for pair in data for a in pair]
    train(data, **options(lib))
    for before, after in zip(copies, [a for pair in data for a in pair], strict=True):
        np.testing.assert_array_equal(lib.numpy(after), before)


def regression(lib: Any) -> tuple[Network, Any]:
    x = np.random.default_rng(0).random((60, 2))
    t = np.stack([x[:, 0] - x[:, 1], 2 * x[:, 0]], axis=1)
    x, t = (lib.asarray(a, width(lib)) for a in (x, t))
    stack = Sequential(
        nn.Dense(8, nn.Normal(0.5)), nn.Relu(), nn.Dense(2, nn.Normal(0.5)), loss=nn.MeanSquaredError()
    )
    return Network(stack, (2,), like=x), ((x, t), (x, t))


def test_regression_is_fitted_and_has_no_accuracies(lib, capsys):
    net, data = regression(lib)
    history = fit(net, data, SGD(0.5), epochs=8, batch_size=20).history
    assert history.train_accuracy == history.test_accuracy == []
    assert history.updates == [3 * i for i in range(9)]
    assert len(history.seconds) == 9
    assert history.loss[-1] < 0.2 * history.loss[0]
    assert float(net.loss(*data[0])) < 0.2 * history.loss[0]
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 9
    for epoch, line in enumerate(lines):
        assert re.fullmatch(rf"epoch   {epoch}  loss .*  test {history.test_loss[epoch]:.4f} +\d+\.\d s", line)
    np.testing.assert_allclose(history.test_loss[-1], float(net.loss(*data[1])), rtol=1e-5)


@pytest.mark.only("jax")
def test_on_jax_the_update_is_compiled_once_for_each_size_of_batch(lib):
    traced: list[int] = []

    class Recorder(SGD):
        def update(self, params: Any, gradients: Any, state: Any) -> Any:
            traced.append(1)
            return super().update(params, gradients, state)

    net, data = regression(lib)
    fit(net, data, Recorder(0.1), epochs=3, batch_size=25, progress=False)
    assert len(traced) == 2


# What is shown


def test_without_progress_nothing_is_printed(capfd, tmp_path):
    train(write_mnist(tmp_path), epochs=1, progress=False)
    assert capfd.readouterr() == ("", "")


def test_progress_is_a_line_per_epoch_where_there_is_no_terminal(capfd, tmp_path):
    history = train(write_mnist(tmp_path), epochs=2).history
    out, err = capfd.readouterr()
    assert err == ""
    lines = out.splitlines()
    assert len(lines) == 3
    for epoch, line in enumerate(lines):
        loss = f"{np.mean(history.loss[3 * epoch - 3 : 3 * epoch]):.4f}" if epoch else "     -"
        shares = f"train {history.train_accuracy[epoch]:.4f}  test {history.test_accuracy[epoch]:.4f}"
        assert re.fullmatch(rf"epoch   {epoch}  loss {loss}  accuracy  {shares} +\d+\.\d s", line)


def test_a_bar_is_drawn_on_a_terminal_and_the_lines_stay_apart(monkeypatch, capsys, tmp_path):
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr(sys, "stderr", terminal := Terminal())
    train(write_mnist(tmp_path), epochs=2)
    assert "0/6 [" in terminal.getvalue()
    assert "update" in terminal.getvalue()
    assert len(re.findall("^epoch   [012]  ", capsys.readouterr().out, re.MULTILINE)) == 3


def test_the_library_of_the_bar_is_not_loaded_where_none_is_drawn(tmp_path):
    code = (
        f"import sys, xpnet; xpnet.train({str(write_mnist(tmp_path))!r}, epochs=1); sys.exit('tqdm' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], env=ENVIRONMENT, capture_output=True, text=True)
    assert (done.returncode, done.stderr, done.stdout.count("epoch")) == (0, "", 2)


# What is refused, before anything is trained


X = np.arange(24.0).reshape(6, 4) / 24
T = np.asarray([0, 1, 2, 0, 1, 2])

BAD_DATA = [
    pytest.param({"x_train": X.tolist()}, TypeError, "^x_train must be an array .* got list", id="x list"),
    pytest.param({"t_test": T.tolist()}, TypeError, "^t_test must be an array .* got list", id="t list"),
    pytest.param({"x_train": T[:, None]}, TypeError, r"^x_train .*int\d\d.*scale.*/ 255", id="x_train integers"),
    pytest.param({"x_test": T[:, None]}, TypeError, r"^x_test .*int\d\d.*scale.*/ 255", id="x_test integers"),
    pytest.param(
        {"x_train": X[:0], "t_train": T[:0]}, ValueError, r"^x_train .*at least one.*\(0, 4\)", id="train empty"
    ),
    pytest.param(
        {"x_test": X[:0], "t_test": T[:0]}, ValueError, r"^x_test .*at least one.*\(0, 4\)", id="test empty"
    ),
    pytest.param({"x_train": X[:, 0]}, ValueError, r"^x_train .*\(N, \.\.\.\); got \(6,\)", id="x one dimension"),
    pytest.param({"x_test": X[:, :3]}, ValueError, r"^x_test .*3", id="x_test other features"),
    pytest.param({"t_train": T[:5]}, ValueError, r"^t_train .*\(5,\)", id="t_train shorter"),
    pytest.param({"t_test": T[:5]}, ValueError, r"^t_test .*\(5,\)", id="t_test shorter"),
    pytest.param({"t_train": T[:0]}, ValueError, "^t_train ", id="t_train empty"),
    pytest.param({"t_train": T.reshape(6, 1, 1)}, ValueError, r"^t_train .*\(6, 1, 1\)", id="t_train 3-d"),
    pytest.param({"t_train": np.asarray(1)}, ValueError, r"^t_train .*\(\)", id="t_train 0-d"),
    pytest.param({"t_test": np.eye(6)}, ValueError, r"^t_test .*\(6, 6\).*3", id="t_test one-hot"),
    pytest.param({"t_train": T * 1.0}, TypeError, "^t_train.*integer dtype, got .*float", id="t_train float"),
    pytest.param({"t_test": T * 1.0}, TypeError, "^t_test.*integer dtype, got .*float", id="t_test float"),
    pytest.param(
        {"t_test": T + 1}, ValueError, "^t_test contains the label 3.*3 classes.*0 to 2", id="t_test too large"
    ),
    pytest.param({"t_train": T - 1}, ValueError, "^t_train contains the label -1", id="t_train negative"),
    pytest.param({"t_train": T - 5}, ValueError, "^t_train .*-5", id="t_train all negative"),
    pytest.param({"t_test": T - 1}, ValueError, "^t_test contains the label -1", id="t_test negative"),
]


def bad_data(lib: Any, change: dict[str, Any]) -> Any:
    def place(name: str) -> Any:
        value = change.get(name, {"x": X, "t": T}[name[0]])
        if isinstance(value, list):
            return value
        return lib.asarray(value, width(lib) if value.dtype.kind == "f" else None)

    return ((place("x_train"), place("t_train")), (place("x_test"), place("t_test")))


@pytest.mark.parametrize(("change", "error", "match"), BAD_DATA)
def test_train_refuses_data_that_do_not_fit(lib, capsys, change, error, match):
    with pytest.raises(error, match=match):
        train(bad_data(lib, change), dtype=width(lib))
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("change", "error", "match"),
    [
        *BAD_DATA,
        pytest.param({"t_train": T + 1}, ValueError, "^t_train contains the label 3", id="t_train too large"),
    ],
)
def test_fit_refuses_data_that_do_not_fit(lib, capsys, change, error, match):
    net = TwoLayerNet(4, 5, 3, like=lib.asarray(X, width(lib)))
    before = dict(net.params)
    with pytest.raises(error, match=match):
        fit(net, bad_data(lib, change))
    assert capsys.readouterr().out == ""
    assert all(net.params[name] is p for name, p in before.items())


@pytest.mark.parametrize("data", [None, 5, X, (X, T, X, T), ((X, T),), ((X, T), (X, T, T)), ((X, T), X)], ids=repr)
@pytest.mark.parametrize("call", [train, lambda data: fit(TwoLayerNet(4, 5, 3), data)], ids=["train", "fit"])
def test_data_that_are_no_dataset_are_refused(data, call):
    with pytest.raises(TypeError, match=r"data must be \(x_train, t_train\), or with a test set \(\(x_train"):
        call(data)


@needs("array_api_strict")
@pytest.mark.parametrize("name", ["x_train", "t_train", "x_test", "t_test"])
def test_mixed_libraries_and_mixed_devices_are_refused(name, capsys):
    import array_api_strict as strict

    data = {"x_train": X, "t_train": T, "x_test": X, "t_test": T}
    net = TwoLayerNet(4, 5, 3, dtype="float64")

    def both(arrays: dict[str, Any], net: Any) -> Any:
        pairs = (arrays["x_train"], arrays["t_train"]), (arrays["x_test"], arrays["t_test"])
        return lambda: train(pairs), lambda: fit(net, pairs)

    for call in both({**data, name: strict.asarray(data[name])}, net):
        with pytest.raises(TypeError, match=f"different libraries: .*{name} is array_api_strict.*convert"):
            call()
    here = {key: strict.asarray(a) for key, a in data.items()}
    there = {**here, name: strict.asarray(data[name], device=strict.Device("device1"))}
    for call in both(there, TwoLayerNet(4, 5, 3, like=here["x_train"])):
        with pytest.raises(ValueError, match=f"different devices: .*{name} on .*device1.*move"):
            call()
    with pytest.raises(ValueError, match=r"different devices: .*params on .*device1"):
        both(here, TwoLayerNet(4, 5, 3, like=strict.asarray(X, device=strict.Device("device1"))))[1]()
    with pytest.raises(TypeError, match=r"different libraries: .*params is numpy"):
        both(here, net)[1]()
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("given", "error", "match"),
    [
        ({"backend": "tensorflow"}, ValueError, "backend 'tensorflow' .*choose one of numpy"),
        ({"device": "cuda:7"}, ValueError, "device 'cuda:7' .*choose one of cpu"),
        ({"epochs": -1}, ValueError, "epochs must be an integer of at least 0, got -1"),
        ({"epochs": 1.5}, TypeError, "epochs must be an integer"),
        ({"batch_size": 0}, ValueError, "batch_size must be an integer of at least 1, got 0"),
        ({"batch_size": 10.0}, TypeError, "batch_size must be an integer"),
        ({"sampling": "x"}, ValueError, "sampling must be 'shuffle' or 'replacement', got 'x'"),
        ({"seed": None}, TypeError, "seed must be .*got None"),
        ({"seed": -1}, TypeError, "seed must be .*got -1"),
        ({"seed": 1.0}, TypeError, "seed must be .*got 1.0"),
        ({"learning_rate": 1.0, "optimizer": Adam()}, ValueError, r"learning_rate=1.0 is for .* Adam\(1.0\)"),
        (
            {"hidden_size": 5, "network": Sequential(nn.Dense(10))},
            ValueError,
            "hidden_size, .* belong to the two-layer",
        ),
        ({"learning_rate": 0}, ValueError, "(lr|learning_rate) must be positive and finite, got 0"),
        ({"learning_rate": -0.1}, ValueError, "(lr|learning_rate) must be positive and finite, got -0.1"),
        ({"learning_rate": math.nan}, ValueError, "(lr|learning_rate) must be positive and finite, got nan"),
        ({"learning_rate": math.inf}, ValueError, "(lr|learning_rate) must be positive and finite, got inf"),
        ({"dtype": "int32"}, TypeError, "dtype must be a real floating one.*'int32'"),
        ({"dtype": "float31"}, TypeError, "dtype float31 .*float32, float64"),
        ({"activation": "step"}, ValueError, "activation must be one of relu, .*, silu, or .*; got 'step'"),
        ({"hidden_size": 0}, ValueError, "hidden_size must be an integer of at least 1, got 0"),
        ({"weight_init_std": -1.0}, ValueError, "std must be finite and not negative, got -1.0"),
    ],
    ids=str,
)
def test_an_option_that_does_not_fit_is_refused(given, error, match, capsys):
    with pytest.raises(error, match=match):
        train(((X, T), (X, T)), **given)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("labels", [T + 0.7, T > 4], ids=["float", "bool"])
@pytest.mark.parametrize(
    "network", [None, Sequential(nn.Dense(10)), Network(Sequential(nn.Dense(10)), X.shape[1:], like=X)], ids=repr
)
def test_labels_that_are_no_integers_are_refused_and_not_cut(network, labels):
    with pytest.raises(TypeError, match="t_train: labels must have an integer dtype"):
        train((X, labels), network, epochs=1, progress=False)


def test_editors_are_told_the_names_of_backends_and_dtypes():
    hints = get_type_hints(train)
    backends, *_ = get_args(hints["backend"])
    assert get_args(backends) == tuple(BACKENDS)
    dtypes, *_ = get_args(hints["dtype"])
    assert get_args(dtypes) == (*DTYPES, *HALF)


@pytest.mark.parametrize("name", ["fashion", "/nowhere/mnist"])
def test_an_unknown_set_is_refused(name):
    with pytest.raises(
        ValueError,
        match=f"dataset '{name}' is neither a known dataset nor a folder; choose one of .*mnist, or name a folder",
    ):
        train(name)


@pytest.mark.parametrize("data", ["mnist", ((X, T), (X, T))], ids=["mnist", "arrays"])
def test_a_backend_that_cannot_be_used_is_refused_before_anything_is_read(monkeypatch, data):
    monkeypatch.setattr(module, "load", None)
    monkeypatch.setattr(type(BACKENDS["cupy"]), "problem", "no usable CUDA device: none; it needs an NVIDIA GPU")
    with pytest.raises(BackendUnavailable, match="backend 'cupy': no usable CUDA device"):
        train(data, backend="cupy")


def test_a_device_of_another_backend_is_refused(lib):
    with pytest.raises(ValueError, match=f"device 'moon' is not known to {lib.backend.name}"):
        train(bad_data(lib, {}), device="moon")


@needs("jax")
def test_float64_on_jax_names_its_setting_and_is_never_a_silent_float32():
    code = """
import numpy as np, jax, xpnet
x, t = np.eye(4), np.arange(4)
data = ((x, t), (x, t))
for call in (lambda: xpnet.train(data, backend="jax", dtype="float64", epochs=1),
             lambda: xpnet.TwoLayerNet(4, 2, 4, like=jax.numpy.zeros(1), dtype="float64")):
    try:
        call()
    except TypeError as error:
        assert "jax_enable_x64" in str(error), error
    else:
        raise SystemExit("not refused")
result = xpnet.train(data, backend="jax", epochs=1, progress=False)
assert {str(p.dtype) for p in result.network.params.values()} == {"float32"}
assert not jax.config.jax_enable_x64
"""
    command = [sys.executable, "-W", "error", "-c", code]
    environment = {**ENVIRONMENT, "JAX_ENABLE_X64": "0"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr


# How it ends when it fails


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_rate_that_is_too_high_ends_after_that_epoch_and_names_the_rate(lib, dtype, capsys):
    if dtype not in lib.dtypes:
        pytest.skip(f"{lib.name} has no {dtype}")
    rate = {"float32": 1e30, "float64": 1e200}[dtype]
    with pytest.raises(Diverged, match=r"loss is (nan|inf) at update (\d+), in epoch 1, .*1e\+(30|200)") as raised:
        train(arrays(lib), **options(lib, learning_rate=rate, dtype=dtype, epochs=5, batch_size=50, progress=True))
    history = raised.value.history
    assert len(history.loss) == 5
    assert history.updates == [0]
    assert len(history.train_accuracy) == len(history.test_accuracy) == len(history.seconds) == 1
    update = int(re.search(r"update (\d+)", str(raised.value))[1])
    assert all(map(math.isfinite, history.loss[: update - 1]))
    assert not math.isfinite(history.loss[update - 1])
    assert capsys.readouterr().out.count("epoch") == 1


def test_the_books_sized_network_diverges_at_1e9(lib):
    net, data = regression(lib)
    with pytest.raises(Diverged, match=r"learning rate 1000000000\.0"):
        fit(net, data, SGD(1e9), epochs=20, batch_size=10, progress=False)


# Ctrl-C: the last whole update and its history are handed back

PER_EPOCH = 3  # 30 samples in batches of 12, 12 and 6


def problem(lib: Any) -> tuple[Network, Any]:
    rng = np.random.default_rng(0)
    x, t = rng.random((30, 4)), rng.integers(0, 3, 30)
    x, t = lib.asarray(x, width(lib)), lib.asarray(t)
    return TwoLayerNet(4, 5, 3, 0.5, like=x, seed=1), ((x, t), (x[:7, :], t[:7]))


@cache
def by_hand(lib: Any, updates: int) -> tuple[dict[str, Any], list[float]]:
    """Parameters and losses after exactly that many updates, by the book's loop."""
    net, ((x, t), _) = problem(lib)
    rng, losses = np.random.default_rng(2), []
    while len(losses) < updates:
        order = rng.permutation(30)
        for batch in (order[:12], order[12:24], order[24:])[: updates - len(losses)]:
            index = lib.asarray(batch)
            samples, targets = lib.backend.rows(x, index), lib.backend.rows(t, index)
            losses.append(float(net.loss(samples, targets)))
            for name, gradient in net.gradient(samples, targets).items():
                with lib.here:
                    p = net.params[name] - 0.5 * gradient
                net.params[name] = lib.asarray(lib.numpy(p), width(lib))
    return {name: lib.numpy(p) for name, p in net.params.items()}, losses


def check_interrupted(lib: Any, result: Any) -> int:
    """That the result is whole; how many updates it holds."""
    history = result.history
    count = len(history.loss)
    assert history.interrupted
    assert history.updates == [PER_EPOCH * i for i in range(len(history.updates))]
    assert len(history.updates) in (count // PER_EPOCH, count // PER_EPOCH + 1)
    rows = {len(c) for c in (history.updates, history.seconds, history.train_accuracy, history.test_accuracy)}
    assert len(rows) == 1, history
    params, losses = by_hand(lib, count)
    same = {"rtol": 0.0} if lib.backend.name in ("numpy", "strict") else {"rtol": 1e3 * lib.rtol, "atol": lib.rtol}
    np.testing.assert_allclose(history.loss, losses, **same)
    for name, p in params_of(result).items():
        np.testing.assert_allclose(p, params[name], **same)
    return count


def start(lib: Any, **more: Any) -> Any:
    net, data = problem(lib)
    return fit(net, data, more.pop("optimizer", SGD(0.5)), **{"batch_size": 12, "seed": 2, "progress": False, **more})


def test_the_replay_by_hand_is_what_fit_does(lib):
    result = start(lib, epochs=2)
    result.history.interrupted = True
    assert check_interrupted(lib, result) == 6


@pytest.mark.parametrize("k", [1, 2, 4, 5])
@pytest.mark.parametrize("where", ["step", "update", "advance", "score", "line"])
def test_ctrl_c_hands_back_the_last_whole_update(lib, monkeypatch, where, k):
    """Raised at the k-th start of an update, end of an update, note of one, evaluation, or printed line."""
    calls = dict.fromkeys(("step", "score", "update", "advance", "line"), 0)
    whole = [0]  # how many updates there are after each step: JAX makes several in one

    def at(name: str) -> None:
        calls[name] += 1
        if name == where and calls[name] == k:
            raise KeyboardInterrupt

    def repeat(backend: Any, step: Any) -> Any:
        def run(*args: Any) -> Any:
            steps = plain["repeat"](backend, step)(*args)
            while True:
                at("step")
                try:
                    carry, loss = next(steps)
                except StopIteration:
                    calls["step"] -= 1
                    return
                at("update")
                whole.append(whole[-1] + (loss.shape or (1,))[0])
                yield carry, loss

        return run

    def compile_(backend: Any, function: Any) -> Any:
        compiled = plain["compile_on_rows"](backend, function)
        return (lambda *args: (at("score"), compiled(*args))[1]) if function.__name__ == "score" else compiled

    kind = type(lib.backend)
    plain = {"repeat": kind.repeat, "compile_on_rows": kind.compile_on_rows}
    monkeypatch.setattr(kind, "repeat", repeat)
    monkeypatch.setattr(kind, "compile_on_rows", compile_)
    for name in ("advance", "line"):
        method = getattr(callbacks.Progress, name)
        monkeypatch.setattr(callbacks.Progress, name, lambda self, *a, _n=name, _m=method: (at(_n), _m(self, *a))[1])
    count = check_interrupted(lib, start(lib, epochs=20))
    if where == "score":  # of the training and of the test set
        assert count == (k - 1) // 2 * PER_EPOCH
    elif where == "line":
        assert count == (k - 1) * PER_EPOCH
    else:
        assert count == whole[-1] > 0 or (where != "advance" and k == 1)
        assert len(whole) == (k + 1 if where == "advance" else k)


class Stopped:
    """Raise KeyboardInterrupt at the n-th line, or the n-th instruction, of a run, from its loop on."""

    FILES = frozenset(part.__file__ for part in (callbacks, evaluation, history, loop, module))

    def __init__(self, n: int, opcodes: bool) -> None:
        self.n, self.opcodes, self.seen, self.armed = n, opcodes, 0, False

    def __call__(self, frame: Any, event: str, arg: Any) -> Any:
        if frame.f_code.co_filename not in self.FILES:
            return None
        frame.f_trace_opcodes = self.opcodes
        if event == ("opcode" if self.opcodes else "line") and self.armed:
            self.seen += 1
            if self.seen == self.n:
                raise KeyboardInterrupt
        return self

    def stop(self, lib: Any, epochs: int) -> Any:
        """A result, or None where it was over before, or outside of what is handed back."""

        class Arm(SGD):
            def init(_, params: Any) -> Any:  # noqa: N805
                self.armed = True
                return {}

        before = sys.gettrace()
        sys.settrace(self)
        try:
            result = start(lib, epochs=epochs, optimizer=Arm(0.5))
        except KeyboardInterrupt:
            return None
        finally:
            sys.settrace(before)
        return result if self.seen >= self.n else None


@pytest.mark.only("numpy")
@pytest.mark.parametrize("opcodes", [False, True], ids=["line", "instruction"])
def test_ctrl_c_at_any_line_and_instruction_leaves_a_whole_result(lib, opcodes):
    if lib.readonly:
        pytest.skip("read-only arrays run the same lines as writable arrays")
    counts, outside = [], 0
    for n in itertools.count(1, 11 if opcodes else 2):
        stop = Stopped(n, opcodes)
        result = stop.stop(lib, epochs=2)
        if result is None and stop.seen < n:
            break  # it was through before
        if result is None:
            outside += 1
        else:
            counts.append(check_interrupted(lib, result))
    assert counts == sorted(counts)
    assert set(counts) == set(range(7))
    assert outside < 0.1 * len(counts) + 6  # before `try`, after the result


@pytest.fixture
def sigint():
    """Ctrl-C as in a program; without JAX's callback to garbage collection, which swallows what it is hit by."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    callbacks, gc.callbacks[:] = gc.callbacks[:], []
    yield
    gc.callbacks[:] = callbacks
    signal.signal(signal.SIGINT, before)


def test_a_real_ctrl_c_at_a_random_moment_leaves_a_whole_result(lib, sigint):
    rng = np.random.default_rng(0)
    counts = []
    slowest = 0.6 if lib.backend.name == "jax" else 0.06  # it compiles first
    for delay in rng.uniform(0.002, slowest, 30 if lib.name == "numpy" else 5):
        over = threading.Event()

        def strike(delay: float = delay, over: threading.Event = over) -> None:
            while not over.wait(delay):
                _thread.interrupt_main()
                delay = 5.0  # again, where the first one was lost in a library's destructor

        thread = threading.Thread(target=strike)

        def transform(x: Any, thread: threading.Thread = thread) -> Any:
            if thread.ident is None:  # only now: what comes before training is not caught
                thread.start()
            return x

        try:
            result = start(lib, epochs=100_000, transform=transform)
        except KeyboardInterrupt:
            pytest.fail("Ctrl-C got out of fit")
        finally:
            over.set()
            thread.join()
        counts.append(check_interrupted(lib, result))
    if lib.name == "numpy":
        assert len(set(counts)) > 5


def test_after_ctrl_c_training_can_go_on(lib):
    net, data = regression(lib)

    calls = iter(range(100))

    def transform(x: Any) -> Any:
        if next(calls) == 1:
            raise KeyboardInterrupt
        return x

    first = fit(net, data, SGD(0.1), epochs=3, batch_size=25, transform=transform, progress=False)
    assert first.history.interrupted
    again = fit(first.network, data, SGD(0.1), epochs=1, batch_size=25, progress=False)
    assert not again.history.interrupted
    assert len(again.history.loss) == 3


def test_an_interrupted_run_says_so(capsys):
    x, t = np.eye(3), np.arange(3)
    calls = iter(range(100))

    def transform(x: np.ndarray) -> np.ndarray:
        if next(calls) == 4:  # two evaluations, two updates
            raise KeyboardInterrupt
        return x

    net = TwoLayerNet(3, 4, 3, like=x)
    history = fit(net, ((x, t), (x, t)), epochs=3, batch_size=1, transform=transform).history
    assert len(history.loss) == 2
    assert capsys.readouterr().out.splitlines()[-1] == "interrupted after 2 updates"


def test_another_error_is_not_swallowed():
    def transform(x: np.ndarray) -> np.ndarray:
        raise ZeroDivisionError

    x, t = np.eye(3), np.arange(3)
    with pytest.raises(ZeroDivisionError):
        fit(TwoLayerNet(3, 4, 3, like=x), ((x, t), (x, t)), transform=transform, progress=False)

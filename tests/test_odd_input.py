"""Odd arrays, targets and options, given to `fit`, `evaluate` and the methods of a network.

Each case is right, compared with a plain reference, or is refused with one line that names the argument.
"""

import math
import re
from array import array
from collections import UserList
from fractions import Fraction

import numpy as np
import pytest

import xpnet
from xpnet import (
    SGD,
    Adam,
    Diverged,
    MultiLayerNet,
    Network,
    Sequential,
    TwoLayerNet,
    evaluate,
    fit,
    load_mnist,
    nn,
    train,
)

X = np.asarray([[0.5, -1.0], [2.0, 0.25], [-0.75, 1.5], [1.0, 1.0], [0.1, -0.2], [-1.3, 0.4]])
T = np.asarray([0, 2, 1, 2, 0, 1])
HOT = np.eye(3)[T]
W = np.asarray([[0.1, -0.2, 0.3], [0.4, 0.0, -0.5]])


def net_of(dtype="float64", loss="cross_entropy"):
    net = Network(Sequential(nn.Dense(3), loss=loss), (2,), dtype=dtype)
    net.params = {"W1": W.astype(dtype), "b1": np.zeros(3, dtype)}
    return net


def softmax(scores):
    e = np.exp(scores - scores.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def reference(x, rows, rate=0.5):
    """The loss, the accuracy, and the parameters after one update with all samples."""
    y = softmax(x @ W)
    loss = -np.sum(rows * np.log(y)) / len(x)
    slope = (rows.sum(axis=1, keepdims=True) * y - rows) / len(x)
    right = np.mean(y.argmax(axis=1) == rows.argmax(axis=1))
    return loss, right, {"W1": W - rate * x.T @ slope, "b1": -rate * slope.sum(axis=0)}


def refused(call, name, kinds=(TypeError, ValueError)):
    """The call is refused with one line that names the argument."""
    with pytest.raises(kinds) as raised:
        call()
    assert "\n" not in str(raised.value)
    assert re.search(name, str(raised.value)), str(raised.value)
    assert len(str(raised.value)) < 320


RATE = SGD(0.5)


def fitted(data, net=None, optimizer=RATE, **options):
    options = {"epochs": 1, "progress": False} | options
    return fit(net or net_of(), data, optimizer=optimizer, **options)


def shown(value):
    """The name of a value in a case, without its address."""
    return re.sub(" at 0x[0-9a-fA-F]+|10{30,}", "", repr(value))[:40]


def strided(a):
    wide = np.zeros((2 * len(a), *a.shape[1:]), a.dtype)
    wide[::2] = a
    return wide[::2]


def read_only(a):
    a = a.copy()
    a.flags.writeable = False
    return a


def named(a):
    return np.rec.fromarrays(a.T, names=[f"column{i}" for i in range(a.shape[1])])


class Samples:
    """As a `torch.utils.data.Dataset`."""

    def __len__(self):
        return len(X)

    def __getitem__(self, i):
        return X[i], T[i]


class Loader:
    """As a `torch.utils.data.DataLoader`."""

    def __iter__(self):
        yield from ((X[i : i + 2], T[i : i + 2]) for i in range(0, 6, 2))


# Samples

RIGHT_X = {
    "float64": X,
    "float32": X.astype("float32"),
    "Fortran order": np.asfortranarray(X),
    "strided": strided(X),
    "reversed twice": X[::-1][::-1],
    "read-only": read_only(X),
    "with an axis of length 1": X[:, :, None],
    "one sample": X[:1],
    "many of the same": np.broadcast_to(X[:1], X.shape),
    "subnormal": X * 1e-310,
    "large": X * 100,
    "negative zero": X * -0.0,
}
WRONG_X = {
    "None": None,
    "list": X.tolist(),
    "tuple": tuple(map(tuple, X)),
    "list of arrays": list(X),
    "UserList": UserList(X.tolist()),
    "number": 3.0,
    "int": 7,
    "NumPy number": np.float64(3),
    "text": "x",
    "bytes": b"123456",
    "dict": {"x": X},
    "set": {1.0, 2.0},
    "range": range(6),
    "generator": (row for row in X),
    "memoryview": memoryview(X),
    "array.array": array("d", [1.0, 2.0]),
    "class": np.ndarray,
    "function": lambda: X,
    "matrix": X.view(np.matrix),
    "masked": np.ma.masked_array(X, X > 1),
    "bool": X > 0,
    "int64": X.astype("int64"),
    "uint8": X.astype("uint8"),
    "complex64": X.astype("complex64"),
    "complex128": X + 1j,
    "objects": X.astype(object),
    "fractions": np.asarray([[Fraction(1, 2)] * 2] * 6),
    "strings": X.astype(str),
    "byte strings": X.astype("S8"),
    "dates": np.zeros((6, 2), "datetime64[s]"),
    "durations": np.zeros((6, 2), "timedelta64[s]"),
    "structured": np.zeros(6, [("a", "f8"), ("b", "f8")]),
    "record array": named(X),
    "float16": X.astype("float16"),
    "one number": np.asarray(1.0),
    "one dimension": X[:, 0],
    "no sample": X[:0],
    "no feature": X[:, :0],
    "another feature": np.hstack([X, X[:, :1]]),
    "a feature less": X[:, :1],
    "a sample less": X[:5],
    "a sample more": np.vstack([X, X]),
    "NaN": np.where(X == 2, np.nan, X),
    "inf": np.where(X == 2, np.inf, X),
    "minus inf": np.where(X == 2, -np.inf, X),
    "all NaN": np.full_like(X, np.nan),
}
WRONG_SAMPLES = pytest.mark.parametrize("name", WRONG_X)


@pytest.mark.parametrize("name", RIGHT_X)
def test_samples_that_are_right(name):
    x, t = RIGHT_X[name], T[: len(RIGHT_X[name])]
    rtol, plain = {"float32": 1e-5}.get(str(x.dtype), 1e-9), x.reshape(len(x), 2).astype("float64")
    loss, right, params = reference(plain, np.eye(3)[t])
    history = fitted((x, t), net := net_of(str(x.dtype))).history
    for key, expected in params.items():
        np.testing.assert_allclose(net.params[key], expected, rtol=rtol, atol=1e-7 if rtol > 1e-6 else 1e-15)
    np.testing.assert_allclose([*history.loss, history.train_accuracy[0]], [loss, right], rtol=rtol)
    found = evaluate(net_of(str(x.dtype)), x, t)
    np.testing.assert_allclose([found.loss, found.accuracy], [loss, right], rtol=rtol)
    assert found.confusion.sum() == len(x)


@WRONG_SAMPLES
def test_samples_that_are_refused_by_fit(name):
    refused(lambda: fitted((WRONG_X[name], T)), "[xt]_train|x is float16")


@WRONG_SAMPLES
def test_samples_that_are_refused_by_fit_as_a_test_set(name):
    refused(lambda: fitted(((X, T), (WRONG_X[name], T))), "[xt]_test|x is float16")


@WRONG_SAMPLES
def test_samples_that_are_refused_by_evaluate(name):
    refused(lambda: evaluate(net_of(), WRONG_X[name], T), r"\b[xt]\b")


@WRONG_SAMPLES
def test_samples_that_are_refused_by_a_sequential(name):
    bad = {"another feature", "a feature less", "float16"}  # the network is made for them
    if name not in bad:
        refused(lambda: fitted((WRONG_X[name], T), Sequential(nn.Dense(3))), "[xt]_train")


# Targets

RIGHT_T = {
    **{kind: T.astype(kind) for kind in ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")},
    "big-endian": T.astype(">i4"),
    "strided": strided(T),
    "read-only": read_only(T),
    "one-hot": HOT,
    "one-hot float32": HOT.astype("float32"),
    "one-hot int": HOT.astype("int64"),
    "one-hot uint8": HOT.astype("uint8"),
    "one-hot bool": HOT > 0,
    "one-hot Fortran order": np.asfortranarray(HOT),
    "probabilities": softmax(2 * HOT + X[:, :1] * [[1, 0, 0]]),
    "weighted one-hot": HOT * 2.5,
    "multi-hot": np.asarray([[1, 1, 0], [0, 0, 1], [0, 1, 1], [1, 1, 1], [1, 0, 0], [0, 1, 0]]),
}
WRONG_T = {
    "None": None,
    "list": T.tolist(),
    "tuple": tuple(T),
    "number": 1,
    "text": "t",
    "range": range(6),
    "matrix": HOT.view(np.matrix),
    "masked": np.ma.masked_array(T, T > 1),
    "float labels": T.astype("float64"),
    "fractions of labels": T + 0.5,
    "bool labels": T > 0,
    "complex labels": T + 0j,
    "objects": T.astype(object),
    "strings": np.asarray(["a", "b", "c", "a", "b", "c"]),
    "dates": np.zeros(6, "datetime64[s]"),
    "structured": np.zeros(6, [("a", "i8")]),
    "column of labels": T[:, None],
    "row of labels": T[None, :],
    "one label": np.asarray(1),
    "no label": T[:0],
    "a label less": T[:5],
    "a label more": np.concatenate([T, T]),
    "a class too many": T + 1,
    "negative": T - 1,
    "255": np.where(T == 2, 255, T).astype("uint8"),
    "largest int64": np.where(T == 2, np.iinfo("int64").max, T),
    "smallest int64": np.where(T == 2, np.iinfo("int64").min, T),
    "largest uint64": np.where(T == 2, np.iinfo("uint64").max, T.astype("uint64")),
    "one-hot of 4": np.eye(4)[T],
    "one-hot of 2": HOT[:, :2],
    "one-hot complex": HOT + 0j,
    "one-hot objects": HOT.astype(object),
    "one-hot strings": HOT.astype(str),
    "one-hot with NaN": np.where(HOT[:, :1] > 0, np.nan, HOT),
    "one-hot with inf": np.where(HOT > 0, np.inf, 0),
    "negative one-hot": -HOT,
    "1 and -1": 2 * HOT - 1,
    "a row of zeros": HOT * (T > 0)[:, None],
}
WRONG_TARGETS = pytest.mark.parametrize("name", WRONG_T)


@pytest.mark.parametrize("name", RIGHT_T)
def test_targets_that_are_right(name):
    t = RIGHT_T[name]
    rows = t.astype("float64") if t.ndim == 2 else np.eye(3)[t.astype("int64")]
    loss, right, params = reference(X, rows)
    history = fitted(((X, t), (X, t)), net := net_of()).history
    for key, expected in params.items():
        np.testing.assert_allclose(net.params[key], expected, rtol=1e-9, atol=1e-15)
    got = [*history.loss, history.test_loss[0], history.train_accuracy[0], history.test_accuracy[0]]
    np.testing.assert_allclose(got, [loss, loss, right, right], rtol=1e-9)
    found, plain = evaluate(net_of(), X, t), net_of()
    np.testing.assert_allclose([found.loss, float(plain.loss(X, t))], loss, rtol=1e-9)
    np.testing.assert_allclose([found.accuracy, float(plain.accuracy(X, t))], right, rtol=1e-9)
    np.testing.assert_allclose(W - 0.5 * plain.gradient(X, t)["W1"], params["W1"], rtol=1e-9)


@WRONG_TARGETS
def test_targets_that_are_refused_by_fit(name):
    refused(lambda: fitted((X, WRONG_T[name])), "t_train")


@WRONG_TARGETS
def test_targets_that_are_refused_by_fit_as_a_test_set(name):
    refused(lambda: fitted((X, T), test=(X, WRONG_T[name])), "t_test")


@WRONG_TARGETS
def test_targets_that_are_refused_by_evaluate(name):
    refused(lambda: evaluate(net_of(), X, WRONG_T[name]), r"\bt\b")


MAY_BE_TAKEN = {"one-hot with NaN", "one-hot with inf", "negative one-hot", "1 and -1", "a row of zeros"}


@pytest.mark.parametrize("method", ["loss", "gradient", "accuracy", "numerical_gradient"])
@pytest.mark.parametrize("name", [name for name in WRONG_T if name not in MAY_BE_TAKEN])
def test_targets_that_are_refused_by_a_network(name, method):
    refused(lambda: getattr(net_of(), method)(X, WRONG_T[name]), r"\bt\b")


@pytest.mark.parametrize(
    ("loss", "bad"),
    [
        ("binary_cross_entropy", HOT * 2),
        ("binary_cross_entropy", HOT - 0.5),
        ("binary_cross_entropy", HOT * np.nan),
        ("poisson", HOT - 1),
        ("poisson", HOT * np.nan),
        ("mse", HOT * np.nan),
        ("mse", np.where(HOT > 0, np.inf, 0)),
        ("huber", HOT * np.nan),
        ("mse", T),
        ("mse", HOT.astype(str)),
        ("mse", HOT + 0j),
    ],
)
def test_targets_of_other_losses_that_are_refused(loss, bad):
    refused(lambda: fitted((X, bad), net_of(loss=loss)), "t_train")
    refused(lambda: fitted(((X, HOT), (X, bad)), net_of(loss=loss)), "t_test")
    refused(lambda: evaluate(net_of(loss=loss), X, bad), r"\bt\b")


# The whole dataset

WRONG_DATA = {
    "None": None,
    "samples only": X,
    "one array in a tuple": (X,),
    "three arrays": (X, T, T),
    "text": "mnist",
    "number": 3,
    "dict": {"x": X, "t": T},
    "generator of mini-batches": (pair for pair in [(X, T)]),
    "dataset": Samples(),
    "loader": Loader(),
    "zip": zip(X, T, strict=True),
    "pairs of three": ((X, T), (X, T), (X, T)),
    "swapped with a test set": (X, (T, X)),
}


@pytest.mark.parametrize("name", WRONG_DATA)
def test_datasets_that_are_refused(name):
    refused(lambda: fitted(WRONG_DATA[name]), "^data must be|^[xt]_train")


@pytest.mark.parametrize("data", [Samples(), Loader()], ids=["dataset", "loader"])
def test_the_line_that_converts_does(data):
    with pytest.raises(TypeError) as raised:
        fitted(data)
    line = re.search(r"pass (tuple\(.*\))$", str(raised.value))[1]
    x, t = eval(line, {"numpy": np, "data": data})
    np.testing.assert_array_equal(x, X)
    np.testing.assert_array_equal(t, T)


class DataFrame:
    """As a `pandas.DataFrame`."""

    columns = ["a", "b"]
    shape = X.shape

    def to_numpy(self):
        return X

    def __iter__(self):
        return iter(self.columns)


class Series(DataFrame):
    """As a `pandas.Series`."""


def test_tables_are_refused_with_the_line_that_converts():
    table, column = DataFrame(), Series()
    refused(lambda: fitted((table, T)), r"x_train .*got .*DataFrame; convert it first, such as x_train.to_numpy\(\)$")
    refused(lambda: fitted((X, column)), r"t_train .*Series; convert it first, such as t_train.to_numpy\(\)$")
    refused(lambda: fitted(table), r"^data must be .*; for a table, pass")
    refused(lambda: evaluate(net_of(), table, T), r"^x must be an array .* x.to_numpy\(\)$")
    refused(lambda: net_of().predict(table), r"^x must be an array .* x.to_numpy\(\)$")


def test_sparse_matrices_are_refused_with_the_line_that_converts():
    sparse = pytest.importorskip("scipy.sparse")
    refused(lambda: fitted((sparse.csr_matrix(X), T)), r"x_train .*csr_matrix; .* x_train.toarray\(\)")
    refused(lambda: fitted((sparse.coo_array(X), T)), r"x_train .*coo_array; .* x_train.toarray\(\)")


# Options

OPTIONS = {
    "epochs": [None, -1, 1.0, "2", True, math.nan, [1], 1j],
    "batch_size": [None, 0, -3, 2.0, "2", True, math.inf],
    "accumulate": [None, 0, 1.5, "1", False],
    "validation": [None, 1, -0.1, 1.5, math.nan, "0.1", True, 10**400, 1j, 0.001, 0.99],
    "patience": [0, -1, 1.5, "1", True, 1],
    "sampling": [None, "", "random", 1, True],
    "seed": [None, -1, 1.5, "0", True, [0], np.random.RandomState(0)],
    "transform": ["scale", 1, [abs]],
    "callbacks": [print, "print", [1], [None], 3, [SGD]],
    "progress": [None, "no", "", 0, 1, []],
    "resume": [None, "yes", 0, 1, True],
    "checkpoint": [3, "run.txt", ""],
    "distributed": ["MPI", 2, True, "threads"],
    "optimizer": ["", "sdg", 0.1, int, TwoLayerNet, xpnet.Optimizer, [SGD()], {"lr": 1}],
}


@pytest.mark.parametrize(
    ("name", "value"), [(name, v) for name, values in OPTIONS.items() for v in values], ids=shown
)
def test_options_that_are_refused(name, value):
    named = {"optimizer": "optimizer|test", "checkpoint": "checkpoint|run.txt"}.get(name, name)
    refused(lambda: fitted((X, T), **{name: value}), named)


RATES = [None, 0, -0.1, math.nan, math.inf, 10**400, -(10**400), "0.1", True, 1j, [0.1], np.asarray([0.1]), 1 + 0j]


@pytest.mark.parametrize("rate", RATES, ids=shown)
def test_learning_rates_that_are_refused(rate):
    for kind in (SGD, Adam):
        refused(lambda: kind(rate), "lr")  # noqa: B023
    if rate is not None:
        refused(lambda: train((X, T), optimizer="sgd", learning_rate=rate, progress=False), "lr|learning_rate")


SIZES = [None, 0, -1, 1.5, "5", True, [5], math.nan, 1j]


@pytest.mark.parametrize("size", SIZES, ids=shown)
def test_sizes_that_are_refused(size):
    refused(lambda: nn.Dense(size), "units")
    refused(lambda: TwoLayerNet(2, size, 3), "hidden_size")
    refused(lambda: MultiLayerNet(2, [size], 3), "hidden_size_list")
    refused(lambda: train((X, T), hidden_size=size, progress=False), "hidden_size")


@pytest.mark.parametrize("size", [2**31, 2**62, 10**30])
def test_a_layer_that_no_memory_holds_is_one_line(size):
    for make in (
        lambda: Network(Sequential(nn.Dense(size)), (784,)),
        lambda: TwoLayerNet(784, size, 10),
        lambda: fitted((X, T), Sequential(nn.Dense(size), nn.Dense(3))),
        lambda: train((X, T), hidden_size=size, progress=False),
    ):
        refused(make, "Affine1", (MemoryError, ValueError))


FLAGS = [
    *[(lambda v, name=name: load_mnist(**{name: v}), name) for name in ("normalize", "flatten", "one_hot_label")],
    (lambda v: MultiLayerNet(2, [3], 3, batch_norm=v), "batch_norm"),
    (lambda v: train((X, T), progress=v), "progress"),
    (lambda v: fit(net_of(), (X, T), resume=v, checkpoint="run.safetensors"), "resume"),
]


@pytest.mark.parametrize(("call", "name"), FLAGS, ids=[name for _, name in FLAGS])
@pytest.mark.parametrize("value", ["no", "", "False", None, 0, 2, []], ids=shown)
def test_flags_are_bools(call, name, value):
    refused(lambda: call(value), f"{name} must be True or False")


@pytest.mark.parametrize("path", ["", b"folder", 3, ["folder"], False, "no/such/folder"], ids=shown)
def test_folders_that_are_refused(path):
    refused(lambda: load_mnist(path), "^load_mnist: path|no/such/folder", (TypeError, ValueError, FileNotFoundError))
    refused(lambda: train(path, progress=False), "dataset|data|folder")


# What is found only after a score is not finite


def test_a_last_update_that_makes_the_scores_overflow_is_told():
    for optimizer, loss, t in [
        (SGD(1e300), "cross_entropy", T),
        (SGD(1e300), "mse", HOT),
        (SGD(1e300), "huber", HOT),
    ]:
        net = net_of(loss=loss)
        before = net.params
        with pytest.raises(Diverged, match="scores of x_train are not finite after update 1, .* 1e\\+300") as raised:
            fitted((X * 1e10, t), net, optimizer)
        assert net.params is before
        assert len(raised.value.history.loss) == 1 and len(raised.value.history.updates) == 1


def test_nan_in_any_part_of_a_dataset_is_named_by_its_row():
    x = np.tile(X, (400, 1))
    t = np.tile(T, 400)
    bad = x.copy()
    bad[2113, 1] = np.nan
    for data in [(bad, t), ((x, t), (bad, t))]:
        refused(lambda: fitted(data), r"x_(train|test) contains NaN in row 2113; remove the row")  # noqa: B023
    shards = xpnet.Shards([bad[:1000], bad[1000:]], [t[:1000], t[1000:]], buffer=300)
    refused(lambda: fitted(shards), "x_train contains NaN in row 2113")
    refused(lambda: evaluate(net_of(), shards), "x contains NaN in row 2113")
    refused(lambda: fitted((x, t), transform=lambda x: x * np.nan), "x_train after transform contains")
    net = net_of(loss="mse")
    before = net.params
    refused(lambda: fitted((bad, np.eye(3)[t]), net, epochs=3), "x_train contains NaN in row 2113")
    assert net.params is before


def test_a_network_of_nan_has_no_accuracy_and_no_confusion_matrix():
    net = net_of()
    net.params = {name: p * np.nan for name, p in net.params.items()}
    found = evaluate(net, X, T)
    assert math.isnan(found.loss) and math.isnan(found.accuracy) and (found.confusion == -1).all()
    with pytest.raises(Diverged, match="the scores of x_train are not finite before training, though x_train is"):
        fitted((X, T), net)


def test_ignored_labels_are_in_no_accuracy_and_in_no_confusion_matrix():
    """Nor in the blocks of 2,000 samples, of which one has none that counts."""
    x, t = np.tile(X, (1000, 1)), np.tile(T, 1000)
    t = np.where(np.arange(6000) < 2500, 255, t)
    kept = t != 255
    y = softmax(x @ W).argmax(axis=1)
    right = np.mean(y[kept] == t[kept])
    net = net_of(loss=nn.CrossEntropy(ignore_index=255))
    found = evaluate(net, x, t)
    assert found.accuracy == right
    assert found.confusion.sum() == kept.sum() and np.trace(found.confusion) == (y[kept] == t[kept]).sum()
    history = fitted(((x, t), (x, t)), net, batch_size=1000).history
    assert history.train_accuracy[0] == history.test_accuracy[0] == right
    nothing = evaluate(net, x, np.full_like(t, 255))
    assert nothing.loss == 0 and math.isnan(nothing.accuracy) and nothing.confusion.sum() == 0
    history = fitted((X, np.full(6, 255)), net).history
    assert all(map(math.isnan, history.train_accuracy))

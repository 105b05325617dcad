"""`fit_many`: each network ends as `fit` would have trained it alone, on every library."""

import contextlib
import io
from functools import partial

import numpy as np
import pytest

from xpnet import (
    SGD,
    Adam,
    AdamW,
    CosineDecay,
    Diverged,
    History,
    Layer,
    Momentum,
    Network,
    Sequential,
    fit,
    fit_many,
    nn,
    scale_images,
)
from xpnet.training import many
from xpnet.training.together import part

RNG = np.random.default_rng(0)
X = RNG.normal(size=(60, 6))
T = (X[:, 0] + X[:, 1] * X[:, 2] > 0).astype(int) + (X[:, 3] > 1)
STACK = Sequential(nn.Dense(8), nn.Relu(), nn.Dense(3))
HISTORY = (
    "loss",
    "updates",
    "train_accuracy",
    "test_accuracy",
    "test_loss",
    "validation_loss",
    "validation_accuracy",
)


def data(lib, x=X, t=T, dtype=None):
    return lib.asarray(x, dtype or max(lib.dtypes)), lib.asarray(t)


def agree(lib, results, alone):
    """Whether the results are those of networks that were trained alone."""
    for result, one in zip(results, alone, strict=True):
        for name in HISTORY:
            found, expected = getattr(result.history, name), getattr(one.history, name)
            np.testing.assert_allclose(found, expected, rtol=lib.rtol * 100, atol=lib.rtol)
        assert result.history.best_epoch == one.history.best_epoch
        for kind in ("params", "state"):
            found, expected = getattr(result.network, kind), getattr(one.network, kind)
            assert found.keys() == expected.keys()
            for name, a in expected.items():
                assert lib.holds(found[name])
                assert found[name].dtype == a.dtype
                scale = lib.rtol * 1000
                np.testing.assert_allclose(lib.numpy(found[name]), lib.numpy(a), rtol=scale, atol=scale)


def both(lib, stacks, pair, optimizers, seeds, test=None, rows=None, batch_size=16, **options):
    """`fit_many`, and `fit` for each network alone."""
    count = len(seeds)
    options = {"epochs": 3, "progress": False} | options
    results = fit_many(stacks, pair, test, optimizers, seeds=seeds, rows=rows, batch_size=batch_size, **options)

    def of(each, i):
        return each[i] if isinstance(each, list) else each

    alone = []
    for i in range(count):
        own = pair
        if rows is not None:
            take = partial(lib.xp.take, axis=0)
            own = tuple(take(a, lib.asarray(np.arange(60)[rows[i]])) for a in pair)
        size = of(batch_size, i)
        one = fit(of(stacks, i), own, test, of(optimizers, i), seed=seeds[i], batch_size=size, **options)
        alone.append(one)
    agree(lib, results, alone)
    return results


@pytest.mark.parametrize("optimizer", [SGD, Momentum, Adam], ids=lambda kind: kind.__name__)
def test_seeds_and_learning_rates(lib, optimizer):
    if lib.lazy and optimizer is not Momentum:
        pytest.skip("one optimizer is enough on a slow library")
    rates = [optimizer(0.01), optimizer(0.1), optimizer(0.03)]
    both(lib, STACK, data(lib), rates, [3, 4, 5], test=data(lib, X[:20], T[:20]))


FEW = pytest.mark.only("numpy", "strict", "torch", "cupy")


@FEW
def test_float32(lib):
    pair = data(lib, dtype="float32")
    results = fit_many(STACK, pair, seeds=[1, 2], batch_size=16, epochs=3, progress=False)
    for seed, result in zip([1, 2], results, strict=True):
        alone = fit(STACK, pair, seed=seed, batch_size=16, epochs=3, progress=False)
        np.testing.assert_allclose(result.history.loss, alone.history.loss, rtol=1e-5)
        assert result.history.train_accuracy == alone.history.train_accuracy


CASES = {
    "one seed": {"optimizers": [SGD(0.1), SGD(0.2)], "seeds": [7, 7]},
    "weight decay, also none": {"optimizers": [SGD(0.1), SGD(0.1, weight_decay=0.1)], "seeds": [1, 2]},
    "decoupled decay": {"optimizers": [AdamW(0.1, weight_decay=0.0), AdamW(0.01, weight_decay=0.1)], "seeds": [1, 2]},
    "momentum": {"optimizers": [Momentum(0.1, 0.5), Momentum(0.1, 0.9)], "seeds": [1, 2]},
    "clipping": {"optimizers": [SGD(0.5, clip_norm=0.1), SGD(0.5, clip_norm=1.0)], "seeds": [1, 2]},
    "a schedule": {"optimizers": Adam(CosineDecay(0.1, 9)), "seeds": [1, 2]},
    "optimizers of different kinds": {"optimizers": [SGD(0.1), Adam(0.01), SGD(0.2), "momentum"], "seeds": [1] * 4},
    "different schedules": {"optimizers": [SGD(CosineDecay(0.1, 9)), SGD(CosineDecay(0.2, 9))], "seeds": [1, 1]},
    "replacement": {"optimizers": SGD(0.1), "seeds": [1, 2], "sampling": "replacement"},
    "batch sizes": {"optimizers": SGD(0.1), "seeds": [1, 2, 3], "batch_size": [10, 20, 10]},
    "patience": {
        "optimizers": [SGD(5.0), SGD(0.1), SGD(4.0), SGD(0.2), SGD(3.0)],
        "seeds": [1, 2, 3, 4, 5],
        "validation": 0.2,
        "patience": 2,
        "epochs": 12,
    },
}


@FEW
@pytest.mark.parametrize("name", CASES)
def test_options(lib, name):
    both(lib, STACK, data(lib), **CASES[name])


STACKS = {
    "dropout": [Sequential(nn.Dense(8), nn.Relu(), nn.Dropout(rate), nn.Dense(3)) for rate in (0.3, 0.3, 0.3)],
    "dropout rates": [Sequential(nn.Dense(8), nn.Dropout(rate), nn.Dense(3)) for rate in (0.0, 0.2, 0.5)],
    "batch normalization": [Sequential(nn.Dense(8), nn.BatchNorm(), nn.Relu(), nn.Dense(3))] * 3,
    "sizes": [Sequential(nn.Dense(n), nn.Relu(), nn.Dense(3)) for n in (4, 8, 4)],
    "activations": [Sequential(nn.Dense(4), layer, nn.Dense(3)) for layer in (nn.Relu(), nn.Tanh(), nn.Gelu())],
    "residual": [Sequential(nn.Dense(8), nn.Residual(nn.Dense(8), nn.Dropout(0.2), nn.Relu()), nn.Dense(3))] * 3,
    "loss": [Sequential(nn.Dense(3), loss=nn.CrossEntropy([1, 2, 3], smoothing)) for smoothing in (0.0, 0.1, 0.0)],
}


@FEW
@pytest.mark.parametrize("name", STACKS)
def test_networks(lib, name):
    both(lib, STACKS[name], data(lib), SGD(0.1), [1, 2, 2], test=data(lib, X[:20], T[:20]))


@FEW
def test_images_and_regression(lib):
    stack = Sequential(nn.Conv2d(2, 3, padding=1), nn.Relu(), nn.MaxPool2d(2), nn.Dense(3))
    both(lib, stack, data(lib, RNG.random((60, 1, 6, 6))), SGD(0.1), [1, 2], epochs=1)
    targets = lib.asarray(X[:, :2], max(lib.dtypes))
    both(lib, Sequential(nn.Dense(4), nn.Tanh(), nn.Dense(2), loss="mse"), (data(lib)[0], targets), SGD(0.1), [1, 2])


@FEW
def test_rows_of_folds(lib):
    numbers = np.arange(60)
    folds = [numbers[numbers % 3 != k] for k in range(3)]
    both(lib, STACK, data(lib), SGD(0.1), [1, 1, 1], rows=folds)
    masks = [numbers < 40, numbers >= 15]  # of different sizes
    both(lib, STACK, data(lib), SGD(0.1), [1, 1], rows=masks, validation=0.1)


@FEW
def test_networks_are_trained_in_place(lib):
    pair = data(lib)
    nets = [Network(STACK, (6,), seed=i, like=pair[0]) for i in range(2)]
    before = [lib.numpy(net.params["W1"]).copy() for net in nets]
    results = fit_many(nets, pair, seeds=[5, 6], epochs=1, progress=False)
    assert all(result.network is net for result, net in zip(results, nets, strict=True))
    assert not any(
        np.array_equal(lib.numpy(net.params["W1"]), lib.numpy(b)) for net, b in zip(nets, before, strict=True)
    )


@pytest.mark.only("numpy")
def test_a_transform_and_integer_images(lib):
    images = RNG.integers(0, 256, (60, 6)).astype("uint8")
    transform = partial(scale_images, dtype="float32")
    net = partial(Network, STACK, (6,), dtype="float32")
    results = fit_many(
        [net(seed=1), net(seed=2)], (images, T), seeds=[1, 2], epochs=2, transform=transform, progress=False
    )
    for i, result in enumerate(results, 1):
        alone = fit(net(seed=i), (images, T), seed=i, epochs=2, transform=transform, progress=False)
        np.testing.assert_allclose(result.history.loss, alone.history.loss, rtol=1e-5)


@FEW
def test_a_network_that_diverges_does_not_end_the_others(lib):
    pair, rates = data(lib), [0.1, 1e300 if "float64" in lib.dtypes else 1e30, 0.2]
    results = fit_many(STACK, pair, None, [SGD(lr) for lr in rates], epochs=3, progress=False)
    assert [type(result.error) for result in results] == [type(None), Diverged, type(None)]
    assert f"learning rate {rates[1]}" in str(results[1].error)
    assert str(results[1].error) in repr(results[1])
    for i in (0, 2):
        agree(lib, [results[i]], [fit(STACK, pair, SGD(rates[i]), epochs=3, progress=False)])
    assert np.isfinite(lib.numpy(results[1].network.params["W1"])).all()


@pytest.mark.only("numpy")
def test_groups_are_cut_to_the_memory(lib, monkeypatch):
    pair, sizes, plain = data(lib), [], many._Group.__init__

    def counted(self, members, options):
        sizes.append(len(members))
        plain(self, members, options)

    monkeypatch.setattr(many._Group, "__init__", counted)
    whole = fit_many(STACK, pair, seeds=range(7), epochs=1, progress=False)
    cut = fit_many(STACK, pair, seeds=range(7), epochs=1, memory=200_000, progress=False)
    assert sizes == [7, 3, 3, 1]
    for one, other in zip(whole, cut, strict=True):
        assert one.history.loss == other.history.loss


@pytest.mark.only("numpy")
def test_stopped_networks_leave_the_group(lib, monkeypatch):
    kept, plain = [], many.Together.keep
    monkeypatch.setattr(many.Together, "keep", lambda self, which: (kept.append(len(which)), plain(self, which))[1])
    both(lib, STACK, data(lib), **CASES["patience"])
    assert kept


@pytest.mark.only("numpy")
def test_an_interrupted_run_has_the_last_complete_epoch(lib, monkeypatch):
    pair, ends, plain = data(lib), [], many._Group._end_epoch

    def end(self, epoch, *args):
        plain(self, epoch, *args)
        ends.append({k: v.copy() for k, v in part(self.together.carry.params, 0).items()})
        if epoch == 2:
            monkeypatch.setattr(many.Together, "train", interrupted)

    def interrupted(self, *args):
        raise KeyboardInterrupt
        yield

    monkeypatch.setattr(many._Group, "_end_epoch", end)
    results = fit_many(STACK, pair, seeds=[1, 2], epochs=5, progress=False)
    assert all(result.history.interrupted for result in results)
    assert len(results[0].history.train_accuracy) == 3
    np.testing.assert_array_equal(results[0].network.params["W1"], ends[2]["W1"])


@pytest.mark.only("numpy")
def test_ctrl_c_between_two_networks_leaves_complete_epochs(lib, monkeypatch):
    """The third network has its row of epoch 2, the fourth has not. The first one has stopped, and left the group."""
    pair, options = data(lib), {"epochs": 2, "progress": False, "validation": 0.2, "patience": 1}
    rates, seeds = [50.0, 50.0, 0.1, 0.2], [1, 2, 3, 4]
    plain = History.add

    def add(self, columns, seconds):
        if self is last.history and len(self.seconds) == 2:
            raise KeyboardInterrupt
        plain(self, columns, seconds)

    train, last = many._Group.train, None

    def begin(self, bar):
        nonlocal last
        last = self.active[3]
        return train(self, bar)

    monkeypatch.setattr(many._Group, "train", begin)
    monkeypatch.setattr(History, "add", add)
    results = fit_many(STACK, pair, None, [SGD(lr) for lr in rates], seeds=seeds, **options)
    monkeypatch.undo()
    assert [result.history.interrupted for result in results] == [False, False, True, True]
    alone = [fit(STACK, pair, SGD(lr), seed=s, **options | {"epochs": 1}) for lr, s in zip(rates, seeds, strict=True)]
    agree(lib, results, alone)


@pytest.mark.only("numpy")
def test_ctrl_c_before_a_group_keeps_the_results_of_the_others(lib, monkeypatch):
    plain = many._Group.__init__

    def made(self, members, options):
        if members[0].batch_size == 20:
            raise KeyboardInterrupt
        plain(self, members, options)

    monkeypatch.setattr(many._Group, "__init__", made)
    results = fit_many(STACK, data(lib), batch_size=[10, 20, 30], epochs=1, progress=False)
    assert [result.history.interrupted for result in results] == [False, True, True]
    assert [len(result.history.seconds) for result in results] == [2, 0, 0]


@pytest.mark.only("numpy")
def test_ctrl_c_with_patience_leaves_the_best_epoch(lib, monkeypatch):
    pair, options = data(lib), {"progress": False, "validation": 0.2, "patience": 5}
    plain = many._Group._end_epoch

    def end(self, epoch, *args):
        plain(self, epoch, *args)
        if epoch == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(many._Group, "_end_epoch", end)
    results = fit_many(STACK, pair, None, SGD(5.0), seeds=[1, 2], epochs=9, batch_size=16, **options)
    assert any(result.history.best_epoch != 3 for result in results)
    agree(lib, results, [fit(STACK, pair, SGD(5.0), seed=s, epochs=3, batch_size=16, **options) for s in (1, 2)])


class Boosted(SGD):
    """An optimizer with an option that is no field of the dataclass."""

    def __init__(self, lr, boost=1.0):
        super().__init__(lr)
        object.__setattr__(self, "boost", boost)

    def rule(self, p, g, lr):
        return (p - (2 if self.lr > 0.1 else 1) * self.boost * lr * g,)


class Times(nn.Description):
    """A layer with an option, not a dataclass; if `plain`, with functions of NumPy."""

    kind = "Times"

    def __init__(self, factor, plain=False):
        self.factor, self.plain = factor, plain

    def layer(self, arrays, training):
        return TimesLayer(self.factor, self.plain)


class TimesLayer(Layer):
    def __init__(self, factor, plain):
        self.factor, self.plain = factor, plain

    def forward(self, x):
        return np.multiply(x, self.factor) if self.plain else x * self.factor

    def backward(self, dout):
        return dout * self.factor


@pytest.mark.only("numpy")
def test_code_of_the_users_own(lib):
    both(lib, STACK, data(lib), [Boosted(0.1), Boosted(0.1, 3.0), Boosted(0.2)], [1, 1, 1])
    both(lib, [Sequential(nn.Dense(4), Times(n), nn.Dense(3)) for n in (1, 5)], data(lib), SGD(0.1), [1, 1])
    stack = Sequential(nn.Dense(4), Times(2, plain=True), nn.Dense(3))
    with pytest.raises(TypeError, match="fit_many: a layer, .* of your own must use .*ufunc.*; change it, or train"):
        fit_many(stack, data(lib), seeds=[1, 2], progress=False)


@pytest.mark.only("numpy")
def test_networks_of_two_dtypes(lib):
    stack, ids = Sequential(nn.Embedding(9, 2), nn.Dense(3)), RNG.integers(0, 9, (60, 4))
    nets = [Network(stack, (4,), dtype=dtype) for dtype in ("float32", "float64")]
    results = fit_many(nets, (ids, T), seeds=[1, 1], epochs=1, progress=False)
    assert [result.network.params["W1"].dtype for result in results] == ["float32", "float64"]


@pytest.mark.only("numpy")
def test_the_labels_are_checked_for_each_network(lib):
    stacks = [Sequential(nn.Dense(3)), Sequential(nn.Dense(2))]
    with pytest.raises(ValueError, match=r"t_train contains the label 2, but the network has 2 classes"):
        fit_many(stacks, data(lib), progress=False)


@pytest.mark.only("numpy")
def test_a_line_for_each_group(lib):
    with contextlib.redirect_stdout(io.StringIO()) as out:
        fit_many(STACK, data(lib), None, [SGD(0.1), SGD(1e300), "adam"], epochs=1)
    assert out.getvalue().splitlines() == [
        "group 1 of 2: 2 networks, 1 of them diverged",
        "group 2 of 2: 1 networks",
    ]


@pytest.mark.only("numpy")
@pytest.mark.parametrize(
    ("options", "error", "match"),
    [
        ({}, ValueError, "the number of networks is not known; pass a sequence, such as seeds"),
        ({"seeds": []}, ValueError, "seeds has 0"),
        (
            {"seeds": [1, 2], "batch_size": [1]},
            ValueError,
            "one entry for each network, but seeds has 2, batch_size has 1",
        ),
        ({"seeds": [1, 2], "rows": 5}, TypeError, "rows must be a sequence of arrays, got int"),
        ({"rows": [[0, 1], [60]]}, ValueError, r"rows\[1\] contains 60, but x_train has 60 rows \(0 to 59\)"),
        ({"rows": [[0.5], [1]]}, ValueError, r"rows\[0\] must contain integers, or one bool for each of the 60"),
        ({"seeds": [1, -1]}, TypeError, "seed must be an integer of at least 0"),
        ({"seeds": [np.random.default_rng(0)]}, TypeError, r"seeds\[0\] must be an integer .* got a Generator"),
        ({"seeds": [1, 2], "batch_size": [1, 0]}, ValueError, "batch_size"),
        ({"seeds": [1, 2], "memory": 0}, ValueError, "memory"),
        ({"seeds": [1, 2], "patience": 2}, ValueError, "patience needs validation"),
        ({"optimizers": ["adam", "adom"]}, ValueError, "'adom' is not known"),
        ({"seeds": [1, 2], "test": "adam"}, TypeError, "test must be .*got str"),
    ],
)
def test_odd_arguments_are_refused_in_one_line(lib, options, error, match):
    with pytest.raises(error, match=match) as told:
        fit_many(STACK, data(lib), epochs=1, progress=False, **options)
    assert len(str(told.value).splitlines()) == 1


@pytest.mark.only("numpy")
def test_one_network_twice_is_refused(lib):
    net = Network(STACK, (6,))
    with pytest.raises(ValueError, match=r"networks\[1\] is networks\[0\]"):
        fit_many([net, net], data(lib, dtype="float32"), progress=False)

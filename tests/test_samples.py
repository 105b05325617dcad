"""What mini-batches are drawn from: in memory and on disk, whole epochs and parts of them; training with either."""

from functools import partial

import numpy as np
import pytest
from hypothesis import given, strategies as st

import xpnet
from xpnet import SGD, Adam, Network, Sequential, Shards, evaluate, fit, nn
from xpnet.training.samples import InMemory, OnDisk, lender, samples_of

RNG = np.random.default_rng(0)
X = RNG.normal(size=(230, 6)).astype("float32")
T = np.argmax(X[:, :3], axis=1)
TEST = X[:40], T[:40]
STACK = Sequential(nn.Dense(8), nn.Relu(), nn.Dropout(0.2), nn.Dense(3))


def cut(x, t, sizes):
    """Shards of these sizes, and what is left."""
    edges = [0, *np.cumsum(sizes), len(x)]
    return [[a[i:j] for i, j in zip(edges, edges[1:], strict=False) if j > i] for a in (x, t)]


def on_disk(x, t, sizes=(), buffer=50):
    net = Network(Sequential(nn.Dense(3)), (x.shape[1],), like=np.empty(0, "float32"))
    return samples_of("train", Shards(*cut(x, t, sizes), buffer=buffer), net, transformed=False)


def drawn(batches):
    """The mini-batches themselves, samples and targets."""
    return [(x[row], t[row]) for (x, t), part in batches for row in part]


@given(
    count=st.integers(1, 120),
    sizes=st.lists(st.integers(0, 60), max_size=5),
    buffer=st.integers(1, 150),
    batch_size=st.integers(1, 70),
    data=st.data(),
)
def test_an_epoch_from_disk_has_every_sample_once_with_its_target_and_can_begin_anywhere(
    count, sizes, buffer, batch_size, data
):
    sizes = [size for size, end in zip(sizes, np.cumsum(sizes), strict=True) if end < count]
    t = np.arange(count)
    x = np.repeat(t[:, None].astype("float32"), 2, axis=1)
    samples = OnDisk("", Shards(*cut(x, t, sizes), buffer=buffer), np, "cpu", ("float32", "int64"), None)
    units = samples.units[data.draw(st.lists(st.sampled_from(list(samples.units)), unique=True, min_size=1))]
    wanted = np.sort(np.concatenate([np.arange(*samples.shards._edges[[u, u + 1]]) for u in units]))

    for batches in (
        lambda done: samples.epoch(np.random.default_rng(5), units, batch_size, done=done),
        lambda done: samples.blocks(units, batch_size, done),
    ):
        whole = drawn(batches(0))
        assert [len(b) for b, _ in whole[:-1]] == [batch_size] * (len(whole) - 1)
        assert len(whole) == -(-samples.count(units) // batch_size)
        for x_batch, t_batch in whole:
            np.testing.assert_array_equal(x_batch[:, 0], t_batch)
        np.testing.assert_array_equal(np.sort(np.concatenate([t for _, t in whole])), wanted)

        done = data.draw(st.integers(0, len(whole) - 1))
        rest = drawn(batches(done))
        assert len(rest) == len(whole) - done
        for (a, _), (b, _) in zip(rest, whole[done:], strict=True):
            np.testing.assert_array_equal(a, b)


def test_each_epoch_has_another_order_and_a_buffer_mixes_pieces_from_all_over():
    samples = on_disk(X, T, sizes=(100, 60))
    rng = np.random.default_rng(0)
    one, other = (np.concatenate([x for x, _ in drawn(samples.epoch(rng, samples.units, 10))]) for _ in range(2))
    assert not np.array_equal(one, other)
    where = {tuple(row): i for i, row in enumerate(X.tolist())}
    first = [where[tuple(row)] for row in one[:50].tolist()]  # of a buffer
    assert max(first) - min(first) > 100
    assert np.abs(np.diff(first)).mean() > 20


def test_arrays_of_one_shape_whatever_the_pieces_so_that_a_compiler_runs_once():
    samples = on_disk(X, T, sizes=(7, 90, 33))
    shapes = {x.shape for (x, _), _ in samples.epoch(np.random.default_rng(0), samples.units, 16)}
    assert len(shapes) == 1
    assert shapes.pop()[0] <= 50 + 15  # a buffer, and what is left of the one before


def test_a_set_that_one_buffer_holds_trains_as_in_memory_but_for_the_order(lib):
    """With one mini-batch to an epoch there is no order."""
    x, t = lib.asarray(X, "float32"), lib.asarray(T)

    def trained(train, test):
        net = Network(Sequential(nn.Dense(8), nn.Relu(), nn.Dense(3)), (6,), like=x)
        return fit(net, (train, test), SGD(0.5), epochs=3, batch_size=230, progress=False)

    memory = trained((x, t), (x[:40, ...], t[:40, ...]))
    disk = trained(Shards(X, T, buffer=230), Shards(*TEST))
    for name, p in memory.network.params.items():
        assert lib.holds(disk.network.params[name])
        np.testing.assert_allclose(lib.numpy(disk.network.params[name]), lib.numpy(p), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(disk.history.loss, memory.history.loss, rtol=1e-4)
    assert disk.history.train_accuracy == pytest.approx(memory.history.train_accuracy, abs=0.01)
    assert disk.history.test_accuracy == pytest.approx(memory.history.test_accuracy, abs=0.03)


def test_it_learns_from_a_small_buffer_on_every_library_alike(lib):
    like = lib.asarray(X[:1], "float32")
    result = fit(
        Network(STACK, (6,), like=like),
        (Shards(*cut(X, T, (100, 60)), buffer=64), Shards(*TEST)),
        Adam(0.02),
        epochs=1 if lib.lazy else 6,
        batch_size=16,
        validation=0.2,
        progress=False,
    )
    host = fit(
        Network(STACK, (6,), like=X),
        (Shards(*cut(X, T, (100, 60)), buffer=64), TEST),
        Adam(0.02),
        epochs=1 if lib.lazy else 6,
        batch_size=16,
        validation=0.2,
        progress=False,
    )
    np.testing.assert_allclose(result.history.loss, host.history.loss, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(result.history.validation_loss, host.history.validation_loss, rtol=1e-3, atol=1e-4)
    if not lib.lazy:
        assert result.history.test_accuracy[-1] > 0.8


def test_evaluation_is_of_all_samples_wherever_they_are(lib):
    x, t = lib.asarray(X, "float32"), lib.asarray(T)
    net = Network(STACK, (6,), like=x)
    memory, disk = evaluate(net, x, t), evaluate(net, Shards(*cut(X, T, (100,)), buffer=30))
    assert disk.accuracy == memory.accuracy
    assert disk.loss == pytest.approx(memory.loss, rel=1e-5)
    np.testing.assert_array_equal(disk.confusion, memory.confusion)
    with pytest.raises(TypeError, match="x is Shards, which have targets of their own; leave t out"):
        evaluate(net, Shards(X, T), t)
    with pytest.raises(TypeError, match="evaluate: t is missing"):
        evaluate(net, x)


def test_the_mean_over_blocks_is_that_over_what_counts():
    """In blocks of 2,000, of which the first has few samples that count."""
    x = RNG.normal(size=(4000, 3))
    t = np.where(np.arange(4000) < 1900, 255, np.argmax(x, axis=1))
    loss = nn.CrossEntropy(ignore_index=255)
    net = Network(Sequential(nn.Dense(3), loss=loss), (3,), like=x)
    whole = loss.layer().forward(net.predict(x), t)
    assert evaluate(net, x, t).loss == pytest.approx(float(whole), rel=1e-12)
    assert evaluate(net, x[:1000], t[:1000]).loss == 0  # where nothing counts


def test_bytes_stay_bytes_until_their_mini_batch(lib):
    seen = set()

    def scaled(x):
        seen.add(str(x.dtype))
        return xpnet.scale_images(x, "float32")

    pixels = (X * 40 + 128).clip(0, 255).astype("uint8")
    like = lib.asarray(X[:1], "float32")
    net = Network(Sequential(nn.Dense(3)), (6,), like=like)
    data = Shards(pixels, T.astype("uint8"), buffer=100), Shards(pixels[:40], T[:40].astype(">i2"))
    fit(net, data, epochs=1, transform=scaled, progress=False)
    assert {name.rpartition(".")[2] for name in seen} == {"uint8"}


def test_train_takes_them_with_the_book_s_network_and_their_dtype_or_backend():
    shards = Shards(*cut(X.astype("float64"), T, (100,)))
    result = xpnet.train((shards, TEST), epochs=2, learning_rate=0.5, progress=False)
    assert {str(p.dtype) for p in result.network.params.values()} == {"float32"}
    assert result.network.output_shape == (3,)
    both = xpnet.train((shards, shards), epochs=1, backend="numpy", dtype="float64", progress=False)
    assert both.network.params["W1"].dtype == np.float64
    scale = partial(xpnet.scale_images, dtype="float32")
    pixels = (X * 40 + 128).clip(0, 255).astype("uint8")
    both = xpnet.train((Shards(pixels, T), (pixels[:40], T[:40])), transform=scale, epochs=1, progress=False)
    assert len(both.history.loss) == 3


@pytest.mark.parametrize("update", [1, 5, 12, 13, 14])
def test_a_run_from_disk_goes_on_within_an_epoch(update, tmp_path, monkeypatch):
    pytest.importorskip("safetensors")

    size = {"buffer": 64}

    def run(path, **options):
        net = Network(STACK, (6,), like=X)
        data = Shards(*cut(X, T, (100, 60)), **size), TEST
        options = {"epochs": 2, "batch_size": 16, "validation": 0.1, "progress": False, "checkpoint": path} | options
        return fit(net, data, Adam(0.02), **options)

    expected, calls = run(None), []

    def due(saver):
        calls.append(1)
        if len(calls) == update:
            raise KeyboardInterrupt
        return True

    path = tmp_path / "run.safetensors"
    with monkeypatch.context() as patch:
        patch.setattr("xpnet.training.checkpoints.Saver.due", property(due))
        assert len(run(path).history.loss) == update
    result = run(path, resume=True)
    assert result.history.loss == expected.history.loss
    for name, p in expected.network.params.items():
        np.testing.assert_array_equal(result.network.params[name], p)
    other = Shards(X, T, buffer=65), TEST
    with pytest.raises(ValueError, match="settings: buffer = 64, and now it is 65"):
        fit(
            Network(STACK, (6,), like=X),
            other,
            Adam(0.02),
            batch_size=16,
            validation=0.1,
            checkpoint=path,
            resume=True,
        )


def test_what_does_not_fit_is_refused_before_training():
    net = Network(Sequential(nn.Dense(3)), (6,), like=X)
    pixels = np.zeros((230, 6), "uint8")
    for data, options, error, match in [
        (Shards(X, T), {"sampling": "replacement"}, ValueError, "needs the samples in memory; Shards are shuffled"),
        (Shards(pixels, T), {}, TypeError, "x_train must have a real floating dtype, got uint8; pass transform"),
        (Shards(X[:, :5], T), {}, ValueError, r"x_train has samples of shape \(5,\), but .* made for \(6,\)"),
        (Shards(X, T + 1), {}, ValueError, "t_train contains the label 3, but the network has 3 classes"),
        (Shards(X, X), {}, ValueError, r"t_train has shape \(230, 6\), expected \(230, 3\) or integer labels"),
        (Shards(X, X[:, 0]), {}, TypeError, "t_train: labels must have an integer dtype, got float32"),
        (Shards(X, T, buffer=230), {"validation": 0.99}, ValueError, "whole blocks of Shards leaves no samples"),
        (
            (X, T),
            {"validation": 0.999},
            ValueError,
            "validation=0.999 of 230 samples leaves no samples to train with",
        ),
    ]:
        with pytest.raises(error, match=match):
            fit(net, (data, TEST), progress=False, **options)
    with pytest.raises(TypeError, match=r"data must be \(x_train, t_train\).*Shards can stand.*got tuple of 3"):
        fit(net, (Shards(X, T), TEST, TEST))


def test_labels_that_the_loss_ignores_may_be_of_no_class(lib):
    labels = np.where(T == 2, 255, T)
    x = lib.asarray(X, "float32")
    for t, ignore in [(labels, 255), (np.where(T == 2, -1, T), -1)]:
        for train in [(x, lib.asarray(t)), Shards(X, t)]:
            net = Network(Sequential(nn.Dense(3), loss=nn.CrossEntropy(ignore_index=ignore)), (6,), like=x)
            result = fit(net, (train, (x, lib.asarray(t))), SGD(0.1), epochs=1, progress=False)
            assert np.isfinite(result.history.loss).all()
            with pytest.raises(ValueError, match="contains the label"):
                fit(Network(Sequential(nn.Dense(3)), (6,), like=x), (train, train), epochs=1, progress=False)


def test_the_validation_share_of_pieces_is_as_near_as_they_allow():
    from xpnet.training.samples import hold_out

    samples = on_disk(X, T, sizes=(100, 60), buffer=64)  # pieces of 4
    units, held = hold_out(samples, 0.2, np.random.default_rng(0))
    assert sorted([*units, *held]) == list(samples.units)
    assert 44 <= samples.count(held) <= 48
    assert isinstance(samples, OnDisk)
    assert isinstance(samples_of("train", (X, T), Network(STACK, (6,)), transformed=False), InMemory)


def test_memory_is_lent_again_once_nobody_holds_what_lies_in_it():
    lend = lender((3, 2), "float32")
    first = lend()
    assert first.shape == (3, 2) and first.dtype == "float32" and first.flags.writeable
    place, row = first.ctypes.data, first[2]
    del first
    second = lend()
    assert not np.shares_memory(second, row)
    del row
    assert lend().ctypes.data == place


def test_a_run_holds_two_buffers(monkeypatch):
    places = []

    def recorded(*args):
        lend, own = lender(*args), set()
        places.append(own)

        def lend_and_record():
            array = lend()
            own.add(array.ctypes.data)
            return array

        return lend_and_record

    monkeypatch.setattr(xpnet.training.samples, "lender", recorded)
    net = Network(Sequential(nn.Dense(3)), (6,), like=X)
    data = Shards(X, T, buffer=20), Shards(*TEST, buffer=10)
    fit(net, data, epochs=2, batch_size=8, progress=False)
    assert len(places) == 2 * (2 + 3 + 3)  # samples and targets, in each epoch and evaluation
    assert all(len(own) == 2 for own in places)

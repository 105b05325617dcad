"""JAX over many devices: arrays that are sharded over a mesh of 8 simulated devices, compared with one device.

The devices need ``XLA_FLAGS=--xla_force_host_platform_device_count=8`` before JAX is imported: `nox -s sharded`.
"""

from functools import partial

import numpy as np
import pytest

jax = pytest.importorskip("jax", reason="JAX is not installed")
import jax.numpy as jnp
from conftest import needs
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec as P
from test_layers import LAYERS, backward, forward
from test_losses import CASES, both, given_to

import xpnet
from xpnet import SGD, Adam, Network, Sequential, evaluate, fit, nn, train
from xpnet.report.findings import answers_of
from xpnet.training.distributed import Processes

FLAG = "--xla_force_host_platform_device_count=8"
DEVICES = np.asarray(jax.devices("cpu"))
if len(DEVICES) != 8:
    pytest.skip(f"needs XLA_FLAGS={FLAG}", allow_module_level=True)

RNG = np.random.default_rng(0)
X = RNG.normal(size=(400, 6))
T = np.argmax(X[:, :3], axis=1)
IMAGES = RNG.normal(size=(64, 1, 6, 6))
LINE = Mesh(DEVICES, ("data",))
PAIR = Mesh(DEVICES[:2], ("data",))
SQUARE = Mesh(DEVICES[:4].reshape(2, 2), ("data", "model"))  # for many small operations, each compiled by itself
GRID = Mesh(DEVICES.reshape(4, 2), ("data", "model"))
STACK = Sequential(nn.Dense(8), nn.Relu(), nn.Dense(3))
TENSOR_PARALLEL = {"W1": P(None, "model"), "b1": P("model"), "W2": P("model", None)}


@pytest.fixture(autouse=True)
def float64():
    jax.config.update("jax_enable_x64", True)


def put(array, mesh=GRID, *spec):
    return jax.device_put(array, NamedSharding(mesh, P(*spec)))


def network(like, specs=None):
    """A network on the devices of `like`, whose parameters are sharded as `specs` say, else replicated."""
    net = Network(STACK, (6,), seed=1, like=like)
    if specs is not None:
        net.params = {name: put(p, like.sharding.mesh, *specs.get(name, ())) for name, p in net.params.items()}
    return net


def parts_of(spec):
    """A PartitionSpec as a tuple, without the axes of the array at its end that are not divided."""
    parts = tuple(spec)
    return parts_of(parts[:-1]) if parts and parts[-1] is None else parts


def specs_of(params):
    return {name: parts for name, p in params.items() if (parts := parts_of(p.sharding.spec))}


SPECS = {name: parts_of(spec) for name, spec in TENSOR_PARALLEL.items()}


def close(found, expected, **more):
    for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-12, **more)


def same_run(found, expected):
    close(found.history.loss, expected.history.loss)
    close(found.network.params, expected.network.params)
    assert found.history.train_accuracy == expected.history.train_accuracy


# Training

PLACES = {
    "data-parallel": (LINE, ("data",), None),
    "data-parallel-on-a-grid": (GRID, ("data",), None),
    "over-both-axes": (GRID, (("data", "model"),), None),
    "tensor-parallel": (GRID, ("data",), TENSOR_PARALLEL),
    "samples-replicated": (GRID, (), TENSOR_PARALLEL),
    "all-along-one-axis": (GRID, ("data",), {"W1": P(None, "data"), "b1": P("data"), "W2": P("data")}),
    "features-divided": (GRID, (None, "model"), None),
}


OPTIONS = {"epochs": 2, "batch_size": 100, "validation": 0.1, "progress": False}  # 360 samples: 3 times 100, then 60


@pytest.fixture(scope="module")
def on_one_device():
    jax.config.update("jax_enable_x64", True)
    x, t = jnp.asarray(X), jnp.asarray(T)
    return fit(network(x), (x, t), Adam(0.01), **OPTIONS)


@pytest.mark.parametrize("place", PLACES)
def test_fit_agrees_with_one_device_and_keeps_the_shardings(place, on_one_device):
    mesh, spec, specs = PLACES[place]
    x, t = put(X, mesh, *spec), put(T, mesh, *spec[:1])
    net = network(x, specs)
    found = fit(net, (x, t), Adam(0.01), **OPTIONS)
    same_run(found, on_one_device)
    close(found.history.validation_loss, on_one_device.history.validation_loss)
    assert specs_of(net.params) == {name: parts_of(spec) for name, spec in (specs or {}).items()}
    assert found.device == ", ".join(f"cpu:{i}" for i in range(8))
    assert all(len(p.devices()) == 8 for p in net.params.values())


def test_a_mesh_may_have_one_device(on_one_device):
    mesh = Mesh(DEVICES[:1], ("data",))
    x, t = put(X, mesh), put(T, mesh, "data")
    same_run(fit(network(x), (x, t), Adam(0.01), **OPTIONS), on_one_device)


def test_a_report_has_the_numbers_of_one_device(tmp_path):
    mesh, spec, specs = PLACES["tensor-parallel"]
    x, t = put(X, mesh, *spec), put(T, mesh, *spec[:1])
    record = xpnet.GradientNorms()
    found = fit(network(x, specs), (x, t), Adam(0.01), **OPTIONS, callbacks=[record])
    x, t = jnp.asarray(X), jnp.asarray(T)
    expected = fit(network(x), (x, t), Adam(0.01), **OPTIONS, callbacks=[record])
    close(found.history.gradient_norms, expected.history.gradient_norms)
    answers = [answers_of(result.network, result.sampled) for result in (found, expected)]
    np.testing.assert_array_equal(answers[0].said, answers[1].said)
    found.report(tmp_path / "run.html")


def seen_in(run):
    """The numbers of samples of a mini-batch that the devices compute with, in a call with a `transform`."""
    counts = []

    def look(sharding, shape):
        parts = sharding.devices_indices_map(shape).values()
        counts.append(sorted({part[0].indices(shape[0])[:2] for part in parts}))

    def transform(x):
        jax.debug.inspect_array_sharding(x, callback=partial(look, shape=x.shape))
        return x

    run(transform)
    return counts


def test_each_mini_batch_and_each_block_of_an_evaluation_is_divided():
    halves, rows = [(0, 4), (4, 8)], ("data",)
    x, t = put(X[:16], PAIR, *rows), put(T[:16], PAIR, *rows)
    net = network(x)
    found = seen_in(lambda f: fit(net, (x, t), epochs=1, batch_size=8, transform=f, progress=False))
    assert sorted(found) == [halves, [(0, 8), (8, 16)]]
    assert seen_in(lambda f: evaluate(net, x, t, transform=f)) == [[(0, 8), (8, 16)]]
    # Replicated samples are divided along the axes that no parameter uses.
    x, t = put(X[:16]), put(T[:16])
    net = network(x, TENSOR_PARALLEL)
    found = seen_in(lambda f: evaluate(net, x, t, transform=f))
    assert found == [[(0, 4), (4, 8), (8, 12), (12, 16)]]


LAYERED = Sequential(
    nn.Conv2d(2, 3, padding=1),
    nn.BatchNorm(),
    nn.Relu(),
    nn.MaxPool2d(2),
    nn.Dropout(0.3),
    nn.Residual(nn.Conv2d(2, 3, padding=1)),
    nn.LayerNorm(),
    nn.Dense(3),
    loss=nn.CrossEntropy(class_weight=[1.0, 2.0, 3.0], ignore_index=255),
)


def test_every_kind_of_layer_trains_in_a_sharded_run():
    """Batch normalization takes the statistics of the whole mini-batch, as on one device."""
    labels = np.where(RNG.random(64) < 0.2, 255, RNG.integers(0, 3, 64))
    options = {"epochs": 1, "batch_size": 20, "accumulate": 2, "progress": False}

    def run(x, t):
        return fit(Network(LAYERED, (1, 6, 6), like=x, seed=1), (x, t), SGD(0.1, clip_norm=1.0), **options)

    expected = run(jnp.asarray(IMAGES), jnp.asarray(labels))
    found = run(put(IMAGES, PAIR, "data"), put(labels, PAIR, "data"))
    same_run(found, expected)
    close(found.network.state, expected.network.state)


def test_train_takes_sharded_arrays_or_moves_the_data_to_the_devices_of_the_network():
    options = {"dtype": "float64", "epochs": 1, "progress": False, "hidden_size": 8}
    expected = train((X, T), backend="jax", **options)
    found = train((put(X, LINE, "data"), put(T, LINE, "data")), **options)
    same_run(found, expected)
    assert found.network.params["W1"].sharding.is_fully_replicated
    back = train((put(X, LINE, "data"), put(T, LINE, "data")), device="cpu:3", **options)
    assert back.device == "cpu:3"
    net = network(put(X), TENSOR_PARALLEL)
    expected = train((X, T), network(jnp.asarray(X)), epochs=1, progress=False)
    same_run(train((X, T), net, epochs=1, progress=False), expected)
    assert specs_of(net.params) == SPECS


def test_samples_on_disk_are_divided_among_the_devices(tmp_path):
    np.save(tmp_path / "x.npy", X)
    shards = xpnet.Shards(tmp_path / "x.npy", T)
    expected = fit(network(jnp.asarray(X)), shards, epochs=1, progress=False)
    net = network(put(X), TENSOR_PARALLEL)
    counts = seen_in(lambda f: fit(net, shards, epochs=1, batch_size=400, transform=f, progress=False))
    assert counts[-1] == [(0, 100), (100, 200), (200, 300), (300, 400)]
    same_run(fit(network(put(X), TENSOR_PARALLEL), shards, epochs=1, progress=False), expected)


# Evaluation, predictions, gradients


def test_evaluation_and_predictions_agree_with_one_device():
    one, net = network(jnp.asarray(X)), network(put(X, SQUARE), TENSOR_PARALLEL)
    x, t = put(X, SQUARE, "data"), put(T, SQUARE, "data")
    found, expected = evaluate(net, x, t), evaluate(one, jnp.asarray(X), jnp.asarray(T))
    close(found.loss, expected.loss)
    assert found.accuracy == expected.accuracy
    assert found.confusion.tolist() == expected.confusion.tolist()
    assert net.predict(x).sharding.spec[0] == "data"
    for call in ("predict", "predict_proba"):
        close(getattr(net, call)(x), getattr(one, call)(jnp.asarray(X)))
    for call in ("loss", "accuracy", "gradient"):
        close(getattr(net, call)(x, t), getattr(one, call)(jnp.asarray(X), jnp.asarray(T)))
    assert xpnet.check_gradients(net, x[:8], t[:8], sample=1)


@pytest.mark.parametrize("rule", [SGD(0.1), Adam(0.1)])
def test_an_update_by_hand_keeps_the_shardings(rule):
    net, one = network(put(X, SQUARE), TENSOR_PARALLEL), network(jnp.asarray(X))
    x, t = put(X, SQUARE, "data"), put(T, SQUARE, "data")
    state = rule.init(net.params)
    params, after = rule.update(net.params, net.gradient(x, t), state)
    expected, _ = rule.update(one.params, one.gradient(jnp.asarray(X), jnp.asarray(T)), rule.init(one.params))
    close(params, expected)
    assert specs_of(params) == specs_of(net.params)
    assert specs_of(after) == specs_of(state)
    assert set(specs_of(state)) == {f"{kind}.{name}" for kind in rule.state_names for name in SPECS}


@pytest.mark.parametrize("name", LAYERS)
def test_every_layer_creates_its_arrays_on_all_devices(name):
    arrays = [put(a, PAIR) for a in LAYERS[name][3]]
    layer, y = forward(name, arrays)
    expected, result = forward(name, [jnp.asarray(a) for a in LAYERS[name][3]])
    close(y, result)
    dout = np.ones(y.shape)
    close(backward(name, layer, put(dout, PAIR)), backward(name, expected, jnp.asarray(dout)))


@pytest.mark.parametrize("name", CASES)
def test_every_loss_creates_its_arrays_on_all_devices(name):
    close(both(name)(*(put(a, PAIR) for a in given_to(name))), both(name)(*map(jnp.asarray, given_to(name))))


def test_functions_take_arrays_that_are_sharded_in_different_ways():
    x, t = put(X[:, :4], SQUARE, "data", "model"), put(T, SQUARE)
    other = put(T, Mesh(DEVICES[:4], ("data",)), "data")
    for labels in (t, other):
        close(
            xpnet.softmax_cross_entropy(x, labels), xpnet.softmax_cross_entropy(jnp.asarray(X[:, :4]), jnp.asarray(T))
        )
    close(xpnet.one_hot(other, 3), np.eye(3)[T])
    assert xpnet.confusion_matrix(xpnet.one_hot(t, 3), other).tolist() == np.diag(np.bincount(T)).tolist()
    close(xpnet.to_numpy(x), X[:, :4])
    close(xpnet.numerical_gradient(lambda w: jnp.sum(w**2), put(X[:8, 0], PAIR, "data")), 2 * X[:8, 0])


# Files


def test_a_sharded_run_is_saved_whole_and_resumed_on_the_same_or_on_one_device(tmp_path):
    x, t = put(X, GRID, "data"), put(T, GRID, "data")
    options = {"optimizer": Adam(0.01), "batch_size": 100, "progress": False}
    expected = fit(network(x, TENSOR_PARALLEL), (x, t), epochs=2, **options)

    def resumed(net, x, t):
        file = tmp_path / "run.safetensors"
        if not file.exists():
            fit(network(put(X), TENSOR_PARALLEL), (put(X), put(T)), epochs=1, checkpoint=file, **options)
        copy = tmp_path / "copy.safetensors"
        copy.write_bytes(file.read_bytes())
        same_run(fit(net, (x, t), epochs=2, checkpoint=copy, resume=True, **options), expected)
        return xpnet.load_network(copy, like=x)

    net = network(x, TENSOR_PARALLEL)
    loaded = resumed(net, x, t)
    assert specs_of(net.params) == SPECS
    assert all(p.sharding.is_fully_replicated and len(p.devices()) == 8 for p in loaded.params.values())
    close(loaded.predict(x), net.predict(x))
    assert len(resumed(network(jnp.asarray(X)), jnp.asarray(X), jnp.asarray(T)).params["W1"].devices()) == 1


@needs("torch")
def test_weights_of_pytorch_are_sharded_as_those_that_they_replace():
    from xpnet.torch import load_state_dict, state_dict

    net = network(put(X), TENSOR_PARALLEL)
    before = jax.tree.map(np.asarray, net.params)
    weights = state_dict(net)
    net.params = {name: p + 1 for name, p in net.params.items()}
    load_state_dict(net, weights)
    close(net.params, before)
    assert specs_of(net.params) == SPECS


# What is refused


def test_arrays_on_different_devices_are_named():
    x, t = put(X, LINE, "data"), put(T, LINE, "data")
    eight = "the 8 devices cpu:0 to cpu:7"
    with pytest.raises(ValueError, match=f"x_train on {eight}, t_train on cpu:0; move them to one device first"):
        fit(network(x), (x, jnp.asarray(T)))
    with pytest.raises(ValueError, match=f"x_train on {eight}, params on cpu:0"):
        fit(network(jnp.asarray(X)), (x, t))
    half = Mesh(DEVICES[:4], ("data",))
    with pytest.raises(ValueError, match=f"x on {eight}, t on the 4 devices cpu:0 to cpu:3"):
        xpnet.softmax_cross_entropy(x, put(T, half))
    with pytest.raises(ValueError, match="the 8 devices cpu:7 to cpu:0"):
        xpnet.softmax_cross_entropy(x, put(T, Mesh(DEVICES[::-1], ("data",))))
    net = network(x)
    net.params["W2"] = jax.device_put(net.params["W2"], DEVICES[0])
    with pytest.raises(ValueError, match=f"W1 on {eight}, W2 on cpu:0"):
        fit(net, (x, t), progress=False)


def test_processes_and_sharded_arrays_are_not_combined():
    peers = Processes()
    peers.size = 2
    with pytest.raises(ValueError, match="distributed='mpi' .*sharded over 8 devices; remove distributed="):
        fit(network(put(X)), (put(X), put(T)), distributed=peers, progress=False)


@pytest.mark.parametrize("shape", [(4, 2), (1, 1)])
def test_a_mesh_with_explicit_axes_is_refused(shape):
    devices = DEVICES[: np.prod(shape)].reshape(shape)
    mesh = Mesh(devices, ("data", "model"), axis_types=(AxisType.Explicit,) * 2)
    x, t = put(X, mesh, "data"), put(T, mesh, "data")
    for call in (partial(fit, STACK, (x, t)), partial(evaluate, network(x), x, t)):
        with pytest.raises(ValueError, match=r"explicit axes, data, model; .*jax.make_mesh\(.*AxisType.Auto,\) \* 2"):
            call()


# Transformations of JAX


def loss_of(params, x, t):
    return STACK.loss(params, x, t)


def gradient_of(params, x, t):
    return STACK.loss_and_gradient(params, x, t)[1]


def alone():
    """The parameters, samples and targets on one device."""
    return network(jnp.asarray(X)).params, jnp.asarray(X), jnp.asarray(T)


def spread():
    """The same, in different shardings over the same devices, which are two meshes."""
    return network(put(X), TENSOR_PARALLEL).params, put(X, LINE, "data"), put(T)


def test_inside_jit_nothing_is_asked_of_mixed_shardings():
    close(jax.jit(gradient_of)(*spread()), gradient_of(*alone()))
    close(jax.jit(jax.grad(loss_of))(*spread()), gradient_of(*alone()))
    # Arrays that are not traced, from outside
    params, x, t = spread()
    close(jax.jit(lambda params: gradient_of(params, x, t))(params), gradient_of(*alone()))


def test_gradients_of_each_sample_and_the_hessian_are_those_of_one_device():
    params, x, t = spread()
    each = jax.jit(jax.vmap(lambda p, x, t: gradient_of(p, x[None], t[None]), (None, 0, 0)))
    found = each(params, x, t)
    close(found, each(*alone()))
    close(jax.tree.map(lambda g: jnp.mean(g, axis=0), found), gradient_of(*alone()))
    hessian = jax.jit(lambda p, x, t: jax.hessian(lambda W: loss_of({**p, "W2": W}, x, t))(p["W2"]))
    close(hessian(*spread()), hessian(*alone()))


def test_several_networks_are_divided_among_the_devices_by_vmap():
    many = [network(jnp.asarray(X)).params for _ in range(8)]
    many = [jax.tree.map(lambda p, i=i: p * (1 + i), params) for i, params in enumerate(many)]
    stacked = jax.tree.map(lambda *ps: put(np.stack(ps), LINE, "data"), *many)
    found = jax.jit(jax.vmap(gradient_of, (0, None, None)))(stacked, put(X, LINE), put(T, LINE))
    for i, params in enumerate(many):
        close(jax.tree.map(lambda g, i=i: g[i], found), gradient_of(params, jnp.asarray(X), jnp.asarray(T)))


def test_in_shard_map_each_device_has_its_samples():
    def mean(params, x, t):
        return jax.tree.map(lambda g: jax.lax.pmean(g, "data"), gradient_of(params, x, t))

    params, x, t = network(put(X, LINE)).params, put(X, LINE, "data"), put(T, LINE, "data")
    over = {"mesh": LINE, "in_specs": (P(), P("data"), P("data")), "out_specs": P()}
    close(jax.jit(jax.shard_map(mean, **over))(params, x, t), gradient_of(*alone()))


def test_in_pmap_each_device_has_its_samples():
    params, x, t = alone()
    parts = X.reshape(8, 50, 6), T.reshape(8, 50)
    found = jax.pmap(gradient_of, in_axes=(None, 0, 0))(params, *parts)
    close(jax.tree.map(lambda g: jnp.mean(g, axis=0), found), gradient_of(params, x, t))

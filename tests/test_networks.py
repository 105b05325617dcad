"""Networks: the book's, and deeper ones from the same stack."""

import copy
import math
import pickle

import numpy as np
import pytest
from test_functions import check

import xpnet
from xpnet import (
    Affine,
    MultiLayerNet,
    Network,
    Relu,
    Sequential,
    SimpleNet,
    TwoLayerNet,
    check_gradients,
    nn,
)

RNG = np.random.default_rng(0)
X, T = RNG.random((6, 4)), np.asarray([0, 2, 1, 1, 0, 2])
ONE_HOT = np.eye(3)[T]
SHAPES = {"W1": (4, 5), "b1": (5,), "W2": (5, 3), "b2": (3,)}

activations = pytest.mark.parametrize("activation", ["relu", "sigmoid"])


def two_layers(lib, dtype=None, **options):
    x = lib.asarray(X, dtype)
    return TwoLayerNet(4, 5, 3, weight_init_std=1.0, like=x, **options), x, lib.asarray(T)


def deep(lib, layers=5, loss="cross_entropy"):
    """Five affine layers with both activations, and three outputs."""
    hidden = [d for i in range(layers - 1) for d in (nn.Dense(6, nn.Normal(0.6)), (nn.Relu(), nn.Sigmoid())[i % 2])]
    return Network(
        Sequential(*hidden, nn.Dense(3, nn.Normal(0.6)), loss=loss), (2, 2), seed=3, like=lib.asarray([0.0])
    )


def by_hand(params, x, activation):
    """The probabilities, in NumPy as in the book."""
    hidden = x @ params["W1"] + params["b1"]
    hidden = np.maximum(hidden, 0) if activation == "relu" else 1 / (1 + np.exp(-hidden))
    scores = hidden @ params["W2"] + params["b2"]
    return scores, np.exp(scores) / np.exp(scores).sum(axis=-1, keepdims=True)


# The two-layer network


def test_parameters_in_the_books_order_shapes_and_scale(lib):
    for dtype in lib.dtypes:
        net = TwoLayerNet(784, 50, 10, like=lib.asarray([0.0], dtype))
        assert [(name, tuple(p.shape)) for name, p in net.params.items()] == [
            ("W1", (784, 50)),
            ("b1", (50,)),
            ("W2", (50, 10)),
            ("b2", (10,)),
        ]
        assert net.output_shape == (10,)
        for name, p in net.params.items():
            check(lib, p, lib.numpy(p), dtype)
            if name.startswith("b"):
                np.testing.assert_array_equal(lib.numpy(p), 0)
        assert np.std(lib.numpy(net.params["W1"])) == pytest.approx(0.01, rel=0.02)
        assert np.mean(lib.numpy(net.params["W1"])) == pytest.approx(0, abs=3e-4)


@activations
def test_it_computes_what_the_book_writes(lib, activation):
    for dtype in lib.dtypes:
        net, x, t = two_layers(lib, dtype, activation=activation)
        params = {name: lib.numpy(p) for name, p in net.params.items()}
        scores, probabilities = by_hand(params, lib.numpy(x), activation)
        loss = -np.mean(np.log(probabilities[np.arange(6), T]))
        tolerance = 1e-5 if dtype == "float32" else 1e-12
        check(lib, net.predict(x), scores, dtype, rtol=tolerance, atol=tolerance)
        check(lib, net.predict_proba(x), probabilities, dtype, rtol=tolerance)
        for targets in (t, lib.asarray(ONE_HOT, dtype), lib.asarray(ONE_HOT.astype(int))):
            check(lib, net.loss(x, targets), loss, dtype)
            check(lib, net.accuracy(x, targets), np.mean(scores.argmax(axis=1) == T), dtype)


def test_one_sample_and_tensors_are_taken(lib):
    net, x, t = two_layers(lib)
    dtype = max(lib.dtypes)
    check(lib, net.predict(x[0, :]), lib.numpy(net.predict(x))[0], dtype, rtol=1e-5)
    check(lib, net.loss(x[0, :], t[0, ...]), float(net.loss(x[:1, :], t[:1])), dtype)
    tensor = lib.xp.reshape(x, (6, 1, 2, 2))
    check(lib, net.predict(tensor), lib.numpy(net.predict(x)), dtype)
    one, batch = net.gradient(x[0, :], t[0, ...]), net.gradient(x[:1, :], t[:1])
    for name in SHAPES:
        check(lib, one[name], lib.numpy(batch[name]), dtype, rtol=1e-5)


@activations
def test_backpropagation_is_the_numerical_gradient(lib, activation):
    net, x, t = two_layers(lib, activation=activation)
    analytic, numerical = net.gradient(x, t), net.numerical_gradient(x, t)
    tolerance = 1e-8 if "float64" in lib.dtypes else 2e-3
    assert list(analytic) == list(numerical) == list(SHAPES)
    for name, g in analytic.items():
        assert tuple(g.shape) == SHAPES[name]
        check(lib, numerical[name], lib.numpy(g), max(lib.dtypes), rtol=0, atol=tolerance)
    assert check_gradients(net, x, t, sample=4).ok


@activations
def test_labels_and_one_hot_give_the_same_gradient_and_dtype(lib, activation):
    for dtype in lib.dtypes:
        net, x, t = two_layers(lib, dtype, activation=activation)
        by_label = net.gradient(x, t)
        for targets in (lib.asarray(ONE_HOT, dtype), lib.asarray(ONE_HOT, "uint8")):
            for name, g in net.gradient(x, targets).items():
                check(lib, g, lib.numpy(by_label[name]), dtype, rtol=0)


def test_gradient_keeps_its_layers_for_the_reader(lib):
    net, x, t = two_layers(lib)
    fresh = net.layers
    assert all(fresh[f"Affine{i}"].W is net.params[f"W{i}"] for i in "12")
    net.loss(x, t), net.predict(x), net.accuracy(x, t), net.stack.loss_and_gradient(net.params, x, t)
    assert net.layers is fresh
    assert not hasattr(fresh["Affine1"], "dW")
    gradients = net.gradient(x, t)
    assert [(name, type(layer)) for name, layer in net.layers.items()] == [
        ("Affine1", Affine),
        ("Relu1", Relu),
        ("Affine2", Affine),
    ]
    for i in "12":
        assert net.layers[f"Affine{i}"].dW is gradients[f"W{i}"]
        assert net.layers[f"Affine{i}"].db is gradients[f"b{i}"]
    sigmoid, x, t = two_layers(lib, activation="sigmoid")
    sigmoid.gradient(x, t)
    assert list(sigmoid.layers) == ["Affine1", "Sigmoid1", "Affine2"]


def test_layers_have_the_current_parameters(lib):
    net, x, t = two_layers(lib)
    net.gradient(x, t)
    used, last = net.layers, net.last_layer
    assert net.layers is used
    assert net.last_layer is net.lastLayer is last
    assert last.loss == net.loss(x, t)
    with lib.here:
        net.params["b2"] = net.params["b2"] + 1.0
    assert net.layers is not used
    assert net.layers["Affine2"].b is net.params["b2"]
    assert net.last_layer is not last
    scores = x
    for layer in net.layers.values():  # as the book's gradient does
        scores = layer.forward(scores)
    check(lib, scores, lib.numpy(net.predict(x)), max(lib.dtypes), rtol=0)
    net.last_layer.forward(scores, t)
    dout = net.last_layer.backward(1)
    for layer in reversed(list(net.layers.values())):
        dout = layer.backward(dout)
    assert tuple(dout.shape) == tuple(x.shape)
    for name, g in net.stack.loss_and_gradient(net.params, x, t)[1].items():
        check(lib, getattr(net.layers[f"Affine{name[1]}"], f"d{name[0]}"), lib.numpy(g), max(lib.dtypes), rtol=0)


@activations
def test_the_books_update_loop_learns(lib, activation):
    for dtype in lib.dtypes:
        net, x, t = two_layers(lib, dtype, activation=activation)
        before = float(net.loss(x, t))
        for _ in range(5):
            grads = net.gradient(x, t)
            for key in ("W1", "b1", "W2", "b2"):
                net.params[key] -= 0.4 * grads[key]
        assert float(net.loss(x, t)) < 0.95 * before
        for p in net.params.values():
            check(lib, p, lib.numpy(p), dtype)


def test_the_update_loop_changes_what_the_next_pass_uses(lib):
    net, x, t = two_layers(lib)
    grads = net.gradient(x, t)
    kept = {name: lib.numpy(p).copy() for name, p in net.params.items()}
    host = {name: kept[name] - 0.2 * lib.numpy(g) for name, g in grads.items()}
    for key in grads:
        net.params[key] -= 0.2 * grads[key]
    check(lib, net.predict(x), by_hand(host, X, "relu")[0], max(lib.dtypes), rtol=1e-4, atol=1e-6)


def test_a_pass_writes_into_no_argument(lib):
    net, x, t = two_layers(lib)
    held = [x, t, *net.params.values()]
    before = [lib.numpy(a).copy() for a in held]
    net.gradient(x, t), net.loss(x, t), net.accuracy(x, t), net.numerical_gradient(x, t)
    for a, old in zip(held, before, strict=True):
        np.testing.assert_array_equal(lib.numpy(a), old)


def test_a_weight_for_each_sample(lib):
    net, x, t = two_layers(lib)
    weight, dtype = [2.0, 0.0, 1.0, 0.0, 1.0, 0.0], max(lib.dtypes)
    rows = [0, 0, 2, 4]
    many = lib.asarray(X[rows]), lib.asarray(T[rows])
    loss, gradients, state = net.stack.loss_and_gradient(net.params, x, t, weight=lib.asarray(weight))
    expected, expected_gradients, _ = net.stack.loss_and_gradient(net.params, *many)
    assert state == {}
    check(lib, loss, float(expected), dtype)
    check(lib, net.stack.loss(net.params, x, t, weight=lib.asarray(weight)), float(expected), dtype)
    for name, g in gradients.items():
        check(lib, g, lib.numpy(expected_gradients[name]), dtype, rtol=1e-4, atol=1e-6)


# Where the parameters come from


def test_from_nothing_comes_numpy_float32():
    for net in (TwoLayerNet(4, 5, 3), Network(Sequential(nn.Dense(2)), (3,))):
        assert all(type(p) is np.ndarray and p.dtype == np.float32 for p in net.params.values())
    assert SimpleNet().W.dtype == np.float32


def test_like_gives_library_device_and_dtype_and_dtype_overrides(lib):
    for dtype in lib.dtypes:
        for like, named in [
            (lib.asarray([0.0], dtype), None),
            (lib.asarray([1]), dtype),
            (lib.asarray([0.0]), dtype),
        ]:
            for wanted in {named, named and getattr(lib.xp, dtype)}:
                for p in [
                    *TwoLayerNet(4, 5, 3, like=like, dtype=wanted).params.values(),
                    SimpleNet(like=like, dtype=wanted).W,
                ]:
                    check(lib, p, lib.numpy(p), dtype)


def test_like_integers_without_a_dtype_is_refused(lib):
    with pytest.raises(TypeError, match="like must have a real floating dtype"):
        TwoLayerNet(4, 5, 3, like=lib.asarray([1]))
    with pytest.raises(TypeError, match="like must be an array"):
        TwoLayerNet(4, 5, 3, like=[0.0])


def test_a_dtype_that_is_not_to_be_had_is_refused(lib):
    for dtype in {"float16x", "float64"} - set(lib.dtypes):
        with pytest.raises(TypeError, match=f"dtype {dtype} is not available.*float32"):
            TwoLayerNet(4, 5, 3, like=lib.asarray([0.0]), dtype=dtype)


@pytest.mark.parametrize("build", [lambda **o: SimpleNet(**o).W, lambda **o: TwoLayerNet(4, 5, 3, **o).params["W2"]])
def test_a_seed_is_the_same_weights_on_every_library_bit_for_bit(lib, build):
    for dtype in lib.dtypes:
        for seed in (0, 5):
            host = build(seed=seed, dtype=dtype)
            check(lib, build(seed=seed, like=lib.asarray([0.0]), dtype=dtype), host, dtype, rtol=0)
            check(lib, build(seed=np.random.default_rng(seed), like=lib.asarray([0.0], dtype)), host, dtype, rtol=0)
    assert np.any(build(seed=0) != build(seed=5))


def test_parameters_can_be_written_to_by_the_reader_of_the_book():
    like = np.zeros(1)
    like.flags.writeable = False
    for p in TwoLayerNet(4, 5, 3, like=like).params.values():
        p[...] = 1.0
    biases = TwoLayerNet(4, 5, 3).params
    biases["b1"][0] = 1.0
    assert biases["b1"].sum() == 1.0


# What is refused


def test_data_that_do_not_fit_are_refused(lib):
    net, x, t = two_layers(lib)
    for bad, error, match in [
        (
            lib.asarray(np.ones((6, 4), "uint8"), "uint8"),
            TypeError,
            r"x must have a real floating dtype.*uint8.*/ 255",
        ),
        (lib.asarray(X[:, :3]), ValueError, r"x has 3 features, shape \(6, 3\), but W expects 4, shape \(4, 5\)"),
        (lib.asarray(X[:0]), ValueError, "x is empty"),
        (X.tolist(), TypeError, "x must be an array"),
    ]:
        targets = t[:0] if match == "x is empty" else t
        for method in (net.loss, net.gradient):
            with pytest.raises(error, match=match):
                method(bad, targets)
    with pytest.raises(ValueError, match=r"t has shape \(5,\), expected \(6,\)"):
        net.gradient(x, t[:5])
    if len(lib.dtypes) > 1:
        with pytest.raises(TypeError, match=r"Affine: x is .*float32 but W is .*float64; cast"):
            net.predict(lib.asarray(X, "float32"))
    assert not hasattr(net.layers["Affine1"], "dW")


def test_data_of_another_library_are_refused(lib):
    if isinstance(lib.asarray([0.0]), np.ndarray):
        pytest.skip("NumPy is not another library")
    net, _, t = two_layers(lib)
    for method in (net.loss, net.gradient, net.accuracy):
        with pytest.raises(TypeError, match=r"different libraries: x is numpy\.ndarray, W is "):
            method(X, t)


@pytest.mark.parametrize(
    ("build", "match"),
    [
        (
            lambda: TwoLayerNet(4, 5, 3, activation="step"),
            r"activation must be one of relu, .*, silu, or a description such as nn.Relu\(\); got 'step'",
        ),
        (
            lambda: TwoLayerNet(4, 5, 3, activation=Relu),
            "activation must be one of .*; got the class Relu of xpnet.layers",
        ),
        (lambda: TwoLayerNet(0, 5, 3), "TwoLayerNet: input_size must be an integer of at least 1, got 0"),
        (lambda: TwoLayerNet(4.0, 5, 3), "TwoLayerNet: input_size must be an integer of at least 1, got 4.0"),
        (lambda: TwoLayerNet(4, -1, 3), "TwoLayerNet: hidden_size must be an integer of at least 1, got -1"),
        (lambda: TwoLayerNet(4, 5, 2.5), "TwoLayerNet: output_size must be an integer of at least 1, got 2.5"),
        (
            lambda: TwoLayerNet(4, 5, 3, -0.1),
            "TwoLayerNet: weight_init_std must be finite and not negative, got -0.1",
        ),
        (lambda: TwoLayerNet(4, 5, 3, math.nan), "weight_init_std must be finite"),
        (lambda: MultiLayerNet(4, 5, 3), r"hidden_size_list must be a sequence of integers, such as \[5\]; got 5"),
        (lambda: MultiLayerNet(4, [0], 3), "MultiLayerNet: hidden_size_list must be an integer of at least 1, got 0"),
    ],
)
def test_sizes_and_names_that_make_no_network_are_refused(build, match):
    with pytest.raises((TypeError, ValueError), match=match):
        build()


def test_numpy_integers_are_sizes_too():
    sizes = np.asarray([4, 5, 3])
    assert TwoLayerNet(*sizes).stack.descriptions == TwoLayerNet(4, 5, 3).stack.descriptions
    assert MultiLayerNet(*sizes[:1], sizes[1:2], sizes[2]).output_shape == (3,)


@pytest.mark.parametrize("seed", [None, 1.5, -1, True, "0"])
def test_a_network_without_a_seed_is_refused(seed):
    for build in (SimpleNet, lambda **o: TwoLayerNet(4, 5, 3, **o)):
        with pytest.raises(TypeError, match="seed must be an integer of at least 0 or a numpy.random.Generator"):
            build(seed=seed)


@pytest.mark.parametrize(
    ("extra", "error", "match"),
    [
        ({"state": {"mean": X}}, ValueError, r"state has the unknown keys \['mean'\]; its keys must be none"),
        ({"masks": {"mask1": X}}, ValueError, r"masks has the unknown keys \['mask1'\]; its keys must be none"),
        ({"masks": X}, TypeError, "masks must be a dict of arrays by name, got ndarray"),
        ({"masks": 0}, TypeError, "masks must be a dict of arrays by name, got int"),
    ],
)
def test_state_and_masks_that_no_layer_takes_are_refused(extra, error, match):
    net = TwoLayerNet(4, 5, 3, like=X)
    with pytest.raises(error, match=match):
        net.stack.loss_and_gradient(net.params, X, T, **extra)
    assert net.stack.loss_and_gradient(net.params, X, T, state={}, masks=None)[2] == {}


# Copies


@pytest.mark.parametrize("how", [copy.deepcopy, copy.copy, lambda net: pickle.loads(pickle.dumps(net))])
def test_a_copy_predicts_the_same_and_leaves_the_record_behind(lib, how):
    net, x, t = two_layers(lib)
    net.gradient(x, t)
    try:
        how(x)
    except Exception as error:  # the library's own arrays cannot be copied this way
        pytest.skip(f"{lib.name} arrays cannot: {error}")
    with lib.here:
        other = how(net)
    assert type(other) is TwoLayerNet
    assert not hasattr(other.layers["Affine1"], "dW")
    assert list(net.layers) == ["Affine1", "Relu1", "Affine2"]
    check(lib, other.predict(x), lib.numpy(net.predict(x)), max(lib.dtypes), rtol=0)
    before = lib.numpy(net.predict(x)).copy()
    with lib.here:
        other.params["b2"] = other.params["b2"] + 1.0
    if how is not copy.copy:
        np.testing.assert_array_equal(lib.numpy(net.predict(x)), before)


def test_a_pickle_does_not_grow_with_the_batch():
    net, batch = TwoLayerNet(4, 5, 3, like=X), np.tile(X, (1000, 1))
    size = len(pickle.dumps(net))
    net.gradient(batch, np.tile(T, 1000))
    assert len(pickle.dumps(net)) == size


def test_an_error_of_a_dtype_names_the_library_as_users_know_it(lib):
    with pytest.raises(TypeError, match="dtype float128 is not available in ") as error:
        two_layers(lib)[0].__class__(2, 3, 4, like=lib.asarray([1.0]), dtype="float128")
    assert "array_api_compat" not in str(error.value)


def test_repr_tells_shapes_dtype_and_library(lib):
    net, _, _ = two_layers(lib)
    assert repr(net).startswith("TwoLayerNet(W1 (4, 5), b1 (5,), W2 (5, 3), b2 (3,); float")
    assert repr(net).endswith(f", {lib.backend.name})")
    assert repr(Sequential(nn.Dense(2), nn.Relu())).count("Relu") == 1
    net.params = dict(sorted(net.params.items()))  # as JAX returns it
    assert repr(net).startswith("TwoLayerNet(W1 (4, 5), b1 (5,), W2 (5, 3), b2 (3,); float")


# Deeper networks, and regression


def test_five_layers_are_numbered_checked_and_learn(lib):
    net = deep(lib)
    x, t = lib.asarray(X.reshape(6, 2, 2)), lib.asarray(T)
    assert list(net.params) == [f"{p}{i}" for i in range(1, 6) for p in "Wb"]
    assert net.stack.names == [
        *("Affine1", "Relu1", "Affine2", "Sigmoid1", "Affine3", "Relu2", "Affine4", "Sigmoid2", "Affine5")
    ]
    assert check_gradients(net, x, t, sample=2).ok
    before = float(net.loss(x, t))
    for _ in range(4):
        for name, g in net.gradient(x, t).items():
            net.params[name] -= 0.5 * g
    assert float(net.loss(x, t)) < before


def test_twenty_layers_are_checked():
    net = Network(
        Sequential(*[d for _ in range(19) for d in (nn.Dense(4, nn.Normal(0.9)), nn.Sigmoid())], nn.Dense(3)),
        (4,),
        like=X,
    )
    assert len(net.params) == 40
    assert check_gradients(net, X, T, sample=3).ok


def test_a_stack_that_begins_with_an_activation_is_differentiated(lib):
    stack = Sequential(nn.Sigmoid(), nn.Sigmoid(), nn.Dense(3, nn.Normal(1.0)))
    assert check_gradients(Network(stack, (4,), like=lib.asarray([0.0])), lib.asarray(X), lib.asarray(T)).ok


def test_a_stack_without_parameters_has_a_loss_and_an_empty_gradient():
    loss, gradients, _ = Sequential(nn.Sigmoid()).loss_and_gradient({}, X, np.zeros(6, int))
    np.testing.assert_allclose(loss, xpnet.softmax_cross_entropy(xpnet.sigmoid(X), np.zeros(6, int)), rtol=1e-14)
    assert gradients == {}


def test_regression_is_checked_and_finds_the_line(lib):
    targets = X @ np.asarray([[1.0], [-2.0], [0.5], [3.0]]) + 0.7
    net = Network(Sequential(nn.Dense(1), loss=nn.MeanSquaredError()), (4,), like=lib.asarray([0.0]))
    x, t = lib.asarray(X), lib.asarray(targets)
    assert not net.classifies
    assert TwoLayerNet(4, 5, 3).classifies
    assert check_gradients(net, x, t).ok
    before = float(net.loss(x, t))
    for _ in range(10):
        for name, g in net.gradient(x, t).items():
            net.params[name] -= 0.5 * g
    assert float(net.loss(x, t)) < 0.2 * before
    wide = deep(lib, 3, "mse")
    assert check_gradients(wide, lib.asarray(X.reshape(6, 2, 2)), lib.asarray(ONE_HOT), sample=2).ok


# The book's SimpleNet


def test_simple_net_of_the_book(lib):
    for dtype in lib.dtypes:
        net = SimpleNet(like=lib.asarray([0.0], dtype))
        assert tuple(net.W.shape) == (2, 3)
        net.W = lib.asarray([[0.47355232, 0.9977393, 0.84668094], [0.85557411, 0.03563661, 0.69422093]], dtype)
        x = lib.asarray([0.6, 0.9], dtype)
        tight = 1e-8 if dtype == "float64" else 2e-3
        check(lib, net.predict(x), [1.05414809, 0.63071653, 1.1328074], dtype, rtol=1e-6)
        expected = [[0.21924763, 0.14356247, -0.36281009], [0.32887144, 0.2153437, -0.54421514]]
        for t in (lib.asarray([0, 0, 1]), lib.asarray(2)):
            check(lib, net.loss(x, t), 0.9280685366, dtype, rtol=1e-6)
            check(lib, net.gradient(x, t), expected, dtype, rtol=0, atol=tight)
        batch = net.predict(lib.asarray([[0.6, 0.9], [0.0, 1.0]], dtype))
        check(lib, batch[0, :], lib.numpy(net.predict(x)), dtype)


def test_simple_net_refuses_integers_and_another_number_of_features(lib):
    net = SimpleNet(like=lib.asarray([0.0]))
    with pytest.raises(TypeError, match="SimpleNet: x must have a real floating dtype"):
        net.predict(lib.asarray([1, 2]))
    with pytest.raises(TypeError, match="x must be an array"):
        net.predict([0.6, 0.9])


def test_copies_of_simple_net_predict_the_same():
    net, x = SimpleNet(dtype="float64"), np.asarray([0.6, 0.9])
    for other in (copy.deepcopy(net), pickle.loads(pickle.dumps(net))):
        np.testing.assert_array_equal(other.predict(x), net.predict(x))


def test_a_network_refuses_a_label_without_a_class_or_its_loss_is_nan(lib):
    """It reads the label only where that waits for no device and computes no graph."""
    x, bad = lib.asarray(np.ones((3, 4)), "float32"), lib.asarray([0, 7, 2])
    net = TwoLayerNet(4, 5, 3, like=x)
    calls = [net.loss, net.accuracy, lambda x, t: net.gradient(x, t)["W2"]]
    if lib.backend.can_read(x):
        for call in [*calls, net.numerical_gradient]:
            with pytest.raises(ValueError, match=r"^t contains the label 7, but the network has 3 classes"):
                call(x, bad)
    else:
        for call in calls:
            assert np.isnan(lib.numpy(call(x, bad))).any()
    good = lib.asarray([0, 1, 2])
    with lib.here:
        net.params = {name: p * math.nan for name, p in net.params.items()}
    assert np.isnan(float(net.loss(x, good)))  # not because of a label


@pytest.mark.only("jax", "torch")
def test_a_traced_label_is_not_read(lib):
    x, bad = lib.asarray(np.ones((3, 4)), "float32"), lib.asarray([0, 7, 2])
    net = TwoLayerNet(4, 5, 3, like=x)
    if lib.backend.name == "jax":
        import jax

        assert np.isnan(float(jax.jit(net.loss)(x, bad)))
        each = jax.vmap(net.loss)(x, bad)
    else:
        import torch

        each = torch.vmap(net.loss)(x, bad)
    assert np.isnan(lib.numpy(each)).tolist() == [False, True, False]


def test_the_books_first_network_refuses_a_label_without_a_class():
    net = SimpleNet(dtype="float64")
    for call in (net.loss, net.gradient):
        with pytest.raises(ValueError, match=r"^t contains the label 3, but the network has 3 classes"):
            call(np.ones((2, 2)), np.asarray([0, 3]))


@pytest.mark.parametrize("wrong", [5, -1])
def test_an_id_without_a_row_gives_nan_and_never_the_row_of_another(lib, wrong):
    layer = xpnet.layers.Embedding(lib.asarray(np.arange(10.0).reshape(5, 2)))
    found = lib.numpy(layer.forward(lib.asarray([[4, wrong]])))
    np.testing.assert_array_equal(found, [[[8, 9], [np.nan, np.nan]]])

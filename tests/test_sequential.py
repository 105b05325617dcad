"""Stacks of any layers: shapes, names, state and masks, and backpropagation through all of it."""

from functools import partial

import numpy as np
import pytest
from test_functions import check

from xpnet import (
    MultiLayerNet,
    Network,
    Relu,
    Sequential,
    check_gradients,
    evaluate,
    nn,
)
from xpnet.nn.base import choose_weights

IMAGES, LABELS = np.random.default_rng(0).normal(size=(4, 2, 8, 6)), np.asarray([2, 0, 1, 1])


def everything():
    """A stack with nearly every layer, smooth, so that differences are exact."""
    return Sequential(
        nn.Conv2d(4, 3, padding=1),
        nn.BatchNorm(),
        nn.Gelu(),
        nn.Residual(nn.Conv2d(4, 3, padding=1), nn.BatchNorm(), nn.Silu(), nn.Dropout(0.3), nn.Conv2d(4, 1)),
        nn.AvgPool2d(2),
        nn.Residual(nn.Conv2d(6, 3, stride=2, padding=1), shortcut=[nn.Conv2d(6, 1, stride=2), nn.BatchNorm()]),
        nn.Flatten(),
        nn.LayerNorm(),
        nn.Dropout(0.5),
        nn.Dense(5),
        nn.BatchNorm(),
        nn.Tanh(),
        nn.Dense(3),
    )


def placed(lib, host, dtype=None):
    return {name: lib.asarray(array, dtype) for name, array in host.items()}


def prepared(lib, stack, x, dtype=None):
    """Parameters, state and masks of a stack on a library."""
    dtype = dtype or max(lib.dtypes)
    shape = x.shape[1:]
    return (
        placed(lib, stack.init(np.random.default_rng(1), shape), dtype),
        placed(lib, stack.init_state(shape), dtype),
        placed(lib, stack.draw(np.random.default_rng(2), x.shape)),
    )


# Shapes, names, initial values


DESCRIPTIONS = {
    "dense": (nn.Dense(5), (2, 3), (5,)),
    "activation": (nn.Relu(), (2, 3), (2, 3)),
    "conv": (nn.Conv2d(6, (3, 2), stride=2, padding=1, groups=2), (4, 7, 6), (6, 4, 4)),
    "maxpool": (nn.MaxPool2d(2), (4, 7, 6), (4, 3, 3)),
    "avgpool": (nn.AvgPool2d(3, stride=2, padding=1), (4, 7, 6), (4, 4, 3)),
    "batchnorm": (nn.BatchNorm(), (4, 7, 6), (4, 7, 6)),
    "batchnorm of features": (nn.BatchNorm(), (5,), (5,)),
    "layernorm": (nn.LayerNorm(), (4, 3), (4, 3)),
    "drop": (nn.Dropout(0.4), (4, 3), (4, 3)),
    "flat": (nn.Flatten(), (4, 3, 2), (24,)),
    "skip": (nn.Residual(nn.Conv2d(4, 3, padding=1), nn.Dropout(0.5), nn.BatchNorm()), (4, 5, 6), (4, 5, 6)),
    "skip with a shortcut": (
        nn.Residual(nn.Conv2d(8, 2, stride=2), shortcut=[nn.Conv2d(8, 2, stride=2)]),
        (4, 6, 6),
        (8, 3, 3),
    ),
}


@pytest.mark.parametrize("name", DESCRIPTIONS)
@pytest.mark.parametrize("training", [True, False])
def test_the_output_has_the_shape_that_was_told(lib, name, training):
    description, shape, expected = DESCRIPTIONS[name]
    assert description.output_shape(shape) == expected
    x = np.random.default_rng(4).normal(size=(3, *shape))
    stack = Sequential(description)
    params, state, masks = prepared(lib, stack, x)
    layers = stack.layers(params, state=state, masks=masks if training else None, training=training)
    (layer,) = layers.values()
    y = layer.forward(lib.asarray(x))
    assert tuple(y.shape) == (3, *expected)
    with lib.here:
        dout = 0.5 * y
    dx = layer.backward(dout)
    assert tuple(dx.shape) == x.shape
    gradients = layer.gradients() if description.params else ()
    assert [tuple(g.shape) for g in gradients] == [tuple(p.shape) for p in params.values()]
    if training and description.state:
        assert [tuple(s.shape) for s in layer.state] == [tuple(s.shape) for s in state.values()]


def test_embeddings_are_looked_up_and_learned(lib):
    stack = Sequential(nn.Embedding(7, 3, nn.Normal(1.0)), nn.Dense(4))
    ids, t = lib.asarray(np.asarray([[1, 6], [1, 0], [2, 2]])), lib.asarray(np.asarray([0, 3, 1]))
    params = placed(lib, stack.init(np.random.default_rng(0), (2,)))
    assert {name: tuple(p.shape) for name, p in params.items()} == {"W1": (7, 3), "W2": (6, 4), "b1": (4,)}
    _, gradients, _ = stack.loss_and_gradient(params, ids, t)
    rows = np.any(lib.numpy(gradients["W1"]) != 0, axis=1)
    assert rows.tolist() == [True, True, True, False, False, False, True]


def test_names_are_numbered_in_order_and_belong_to_the_inside_too():
    stack = everything()
    assert stack.names[:4] == ["Convolution1", "BatchNormalization1", "Gelu1", "Residual1"]
    params = list(stack.init(np.random.default_rng(0), (2, 8, 6)))
    assert params[:8] == ["W1", "b1", "gamma1", "beta1", "W2", "b2", "gamma2", "beta2"]
    assert params[8:10] == ["W3", "b3"]
    assert stack.state_names == [f"{kind}{i}" for i in (1, 2, 3, 4) for kind in ("mean", "var")]
    assert stack.mask_names == ["mask1", "mask2"]


def test_initial_weights_are_chosen_by_the_activation_that_follows_unless_given():
    stack = Sequential(
        nn.Dense(3),
        nn.BatchNorm(),
        nn.Tanh(),
        nn.Conv2d(2, 1),
        nn.Relu(),
        nn.Dense(3, nn.Normal(0.5)),
        nn.Sigmoid(),
        nn.Dense(2),
    )
    chosen = [d.weight_init for d in choose_weights(stack.descriptions) if isinstance(d, (nn.Dense, nn.Conv2d))]
    assert chosen == [nn.Xavier(), nn.He(), nn.Normal(0.5), nn.He()]
    assert stack.descriptions[0] == nn.Dense(3)  # what was typed is kept


def test_initial_weights_are_drawn_as_chosen_inside_a_residual_connection_too():
    layers = nn.Dense(400), nn.Sigmoid(), nn.Dense(400)
    for stack in (Sequential(*layers), Sequential(nn.Residual(*layers))):
        params = stack.init(np.random.default_rng(0), (400,))
        assert np.std(params["W1"]) == pytest.approx((1 / 400) ** 0.5, rel=0.02)
        assert np.std(params["W2"]) == pytest.approx((2 / 400) ** 0.5, rel=0.02)


@pytest.mark.parametrize(
    ("init", "std"), [(nn.He(), (2 / 72) ** 0.5), (nn.Xavier(), (1 / 72) ** 0.5)], ids=["he", "xavier"]
)
@pytest.mark.parametrize("shape", [(72, 500), (500, 8, 3, 3)])
def test_scale_of_initial_weights_goes_by_the_inputs_of_a_unit(init, std, shape):
    assert np.std(init(np.random.default_rng(0), shape)) == pytest.approx(std, rel=0.02)


@pytest.mark.parametrize("shape", [(7, 4), (4, 7), (5, 5), (4, 2, 3, 3), (20, 2, 2, 2)])
def test_orthogonal_weights_keep_lengths(shape):
    W = nn.Orthogonal(2.0)(np.random.default_rng(0), shape).reshape(shape[0], -1)
    small = W @ W.T if W.shape[0] <= W.shape[1] else W.T @ W
    np.testing.assert_allclose(small, 4 * np.eye(len(small)), atol=1e-12)


def test_the_shapes_of_parameters_are_those_that_are_drawn():
    for stack, shape in [
        (everything(), (2, 8, 6)),
        (Sequential(nn.Embedding(5, 3), nn.LayerNorm(), nn.Dense(2)), (4,)),
    ]:
        drawn = stack.init(np.random.default_rng(0), shape)
        assert stack.param_shapes(shape) == {name: p.shape for name, p in drawn.items()}
        for description in stack.descriptions:
            assert "param_shapes" in vars(type(description)) or not description.params


def test_the_summary_counts_what_there_is():
    lines = everything().summary((2, 8, 6)).splitlines()
    assert lines[1].split() == ["Convolution1", "Conv2d(4,", "3,", "padding=1)", "(4,", "8,", "6)", "76"]
    total = sum(p.size for p in everything().init(np.random.default_rng(0), (2, 8, 6)).values())
    assert lines[-1].split() == ["total", f"{total:,}"]
    assert len(lines) == 13 + 2


# Backpropagation through everything


def test_backpropagation_is_the_derivative_in_a_random_direction(lib):
    dtype, stack = max(lib.dtypes), everything()
    params, state, masks = prepared(lib, stack, IMAGES)
    x, t = lib.asarray(IMAGES), lib.asarray(LABELS)
    loss, gradients, _ = stack.loss_and_gradient(params, x, t, state=state, masks=masks)
    assert list(gradients) == list(params)
    rng = np.random.default_rng(3)
    direction = {name: rng.normal(size=tuple(p.shape)) for name, p in params.items()}

    def at(h):
        there = {name: lib.asarray(lib.numpy(p) + h * direction[name], dtype) for name, p in params.items()}
        return float(stack.loss(there, x, t, state=state, masks=masks, training=True))

    assert at(0.0) == pytest.approx(float(loss), rel=1e-6)
    slope = sum(float(np.sum(direction[name] * lib.numpy(g))) for name, g in gradients.items())
    h, tolerance = (1e-6, 1e-6) if dtype == "float64" else (1e-2, 2e-2)
    assert slope == pytest.approx((at(h) - at(-h)) / (2 * h), rel=tolerance, abs=tolerance)


def test_float32_stays_float32_and_nothing_is_written_into(lib):
    stack = everything()
    groups = prepared(lib, stack, IMAGES, "float32")
    x, t = lib.asarray(IMAGES, "float32"), lib.asarray(LABELS)
    before = [{name: lib.numpy(a).copy() for name, a in group.items()} for group in groups]
    params, state, masks = groups
    loss, gradients, next_state = stack.loss_and_gradient(params, x, t, state=state, masks=masks)
    assert list(next_state) == stack.state_names
    for array in (loss, *gradients.values(), *next_state.values()):
        check(lib, array, lib.numpy(array), "float32")
    for group, old in zip(groups, before, strict=True):
        for name, array in group.items():
            np.testing.assert_array_equal(lib.numpy(array), old[name])


@pytest.mark.only("jax", "torch")
def test_the_librarys_own_differentiation_of_our_forward_agrees(lib):
    stack = everything()
    params, state, masks = prepared(lib, stack, IMAGES)
    x, t = lib.asarray(IMAGES), lib.asarray(LABELS)
    loss = partial(stack.loss, x=x, t=t, state=state, masks=masks, training=True)
    if lib.backend.name == "jax":
        import jax

        expected = jax.jit(jax.grad(lambda p: loss(p)))(params)
        _, found, _ = jax.jit(stack.loss_and_gradient)(params, x, t, state=state, masks=masks)
    else:
        import torch

        leaves = {name: p.clone().requires_grad_() for name, p in params.items()}
        expected = dict(zip(leaves, torch.autograd.grad(loss(leaves), list(leaves.values())), strict=True))
        _, found, _ = stack.loss_and_gradient(params, x, t, state=state, masks=masks)
    for name, g in expected.items():
        np.testing.assert_allclose(lib.numpy(found[name]), lib.numpy(g), rtol=1e-8, atol=1e-11, err_msg=name)


def test_the_checker_follows_state_and_masks(lib):
    net = Network(everything(), (2, 8, 6), like=lib.asarray(IMAGES))
    masks = placed(lib, net.stack.draw(np.random.default_rng(0), IMAGES.shape))
    assert check_gradients(net, lib.asarray(IMAGES), lib.asarray(LABELS), masks=masks, sample=1 if lib.lazy else 2).ok


# State and masks


def test_training_uses_the_batch_and_inference_what_was_carried(lib):
    stack = Sequential(nn.BatchNorm(momentum=0.5))
    x = np.asarray([[1.0, 10.0], [3.0, 30.0]])
    params, state, _ = prepared(lib, stack, x)
    (layer,) = stack.layers(params, state=state, training=True).values()
    check(lib, layer.forward(lib.asarray(x)), [[-1, -1], [1, 1]], max(lib.dtypes), rtol=1e-4)
    state = dict(zip(state, layer.state, strict=True))
    check(lib, state["mean1"], [1.0, 10.0], max(lib.dtypes))
    check(lib, state["var1"], [1.5, 100.5], max(lib.dtypes))
    expected = (x - [1.0, 10.0]) / np.sqrt(np.asarray([1.5, 100.5]) + 1e-5)
    check(lib, stack.predict(params, lib.asarray(x), state=state), expected, max(lib.dtypes), atol=1e-6)


def test_dropout_drops_in_training_only(lib):
    stack = Sequential(nn.Dropout(0.5))
    x = np.ones((100, 50))
    masks = placed(lib, stack.draw(np.random.default_rng(0), x.shape))
    kept = np.random.default_rng(0).random(x.shape, dtype="float32") >= 0.5
    (layer,) = stack.layers({}, masks=masks, training=True).values()
    check(lib, layer.forward(lib.asarray(x)), 2.0 * kept, max(lib.dtypes))
    check(lib, stack.predict({}, lib.asarray(x)), x, max(lib.dtypes))


def test_what_is_missing_or_unknown_is_said(lib):
    x, t = lib.asarray(IMAGES), lib.asarray(LABELS)
    stack = everything()
    params, state, masks = prepared(lib, stack, IMAGES)
    with pytest.raises(ValueError, match=r"masks is missing; draw.*stack.draw\(rng, x.shape\)"):
        stack.loss_and_gradient(params, x, t, state=state)
    with pytest.raises(ValueError, match="state is missing"):
        stack.predict(params, x)
    with pytest.raises(
        ValueError, match=r"masks has the unknown keys \['mask9'\]; its keys must be \['mask1', 'mask2'\]"
    ):
        stack.loss_and_gradient(params, x, t, state=state, masks=masks | {"mask9": masks["mask1"]})
    plain = Sequential(nn.Dense(3))
    with pytest.raises(ValueError, match=r"state has the unknown keys \['mean1'\]; its keys must be none"):
        plain.predict(placed(lib, plain.init(np.random.default_rng(0), (2,))), x, state={"mean1": state["mean1"]})


@pytest.mark.parametrize(
    ("stack", "shape", "match"),
    [
        (
            Sequential(nn.Dense(4), nn.Conv2d(3, 3)),
            (9,),
            r"layer 2, Convolution1, is given samples of shape \(4,\): Conv2d: expect",
        ),
        (
            Sequential(nn.Conv2d(3, 3), nn.MaxPool2d(2), nn.Conv2d(3, 5)),
            (1, 8, 8),
            r"layer 3, Convolution2, .*\(3, 3, 3\): .*5 x 5",
        ),
        (Sequential(nn.Conv2d(4, 1, groups=4)), (2, 3, 3), "2 channels do not divide into 4 groups"),
        (
            Sequential(nn.Relu(), nn.Residual(nn.Dense(5))),
            (4,),
            r"layer 2, Residual1, .*\(4,\) its layers give \(5,\) and its shortcut \(4,\)",
        ),
        (
            Sequential(nn.MaxPool2d(3)),
            (1, 2, 2),
            r"layer 1, MaxPooling1, .*3 x 3 .*does not fit into an image of 2 x 2",
        ),
    ],
)
def test_layers_that_do_not_fit_are_named_before_any_data_is_touched(stack, shape, match):
    for method in (stack.shapes, stack.summary, partial(stack.init, np.random.default_rng(0))):
        with pytest.raises(ValueError, match=match):
            method(shape)
    with pytest.raises(ValueError, match=match):
        Network(stack, shape)


@pytest.mark.parametrize(
    ("build", "match"),
    [
        (lambda: nn.Dense(0), "Dense: units must be an integer of at least 1, got 0"),
        (lambda: nn.Conv2d(3, 0), "size must be"),
        (lambda: nn.Conv2d(3, 3, stride=(1, 0)), "stride must be"),
        (lambda: nn.Conv2d(3, 3, groups=2), "3 filters do not divide into 2 groups"),
        (lambda: nn.MaxPool2d(2, padding=2), "more than half of the window"),
        (lambda: nn.Dropout(1.0), "Dropout: rate must be from 0 to below 1, got 1.0"),
        (lambda: nn.Embedding(0, 3), "count must be an integer of at least 1, got 0"),
        (lambda: nn.Orthogonal(0.0), "gain must be positive"),
    ],
)
def test_options_that_cannot_be_are_refused_at_once(build, match):
    with pytest.raises(ValueError, match=match):
        build()


def test_what_looks_integers_up_can_only_come_first():
    with pytest.raises(ValueError, match=r"layer 2 is Embedding\(7, 3\), which looks ids up; it must be the first"):
        Sequential(nn.Dense(4), nn.Embedding(7, 3))
    with pytest.raises(ValueError, match="Residual: .* must be the first"):
        nn.Residual(nn.Embedding(7, 3))


def test_what_is_no_description_is_refused():
    expected = r"layer 2 must be a description such as nn.Dense\(50\) or nn.Relu\(\), got "
    for wrong, got in [
        (nn.Relu, r"the class nn.Relu; call it, as in nn.Relu\(...\)"),
        (Relu, "the class Relu of xpnet.layers"),
        (Relu(), r"a layer object, Relu\(...\) of xpnet.layers"),
        ("relu", "'relu'"),
        (50, "50"),
        (nn.CrossEntropy(), r"CrossEntropy\(\)"),
    ]:
        for build in (Sequential, nn.Residual):
            with pytest.raises(TypeError, match=f"{build.__name__}: {expected}{got}$"):
                build(nn.Dense(3), wrong)
    with pytest.raises(TypeError, match="Residual, shortcut: layer 1 must be a description .*, got 3"):
        nn.Residual(nn.Dense(3), shortcut=[3])
    with pytest.raises(TypeError, match="Residual: shortcut must be a list of descriptions, got Dense"):
        nn.Residual(nn.Dense(3), shortcut=nn.Dense(3))
    with pytest.raises(TypeError, match="slop"):
        nn.LeakyRelu(slop=0.1)
    with pytest.raises(TypeError, match=r"Network: stack must be a Sequential, got Dense\(3\)"):
        Network(nn.Dense(3), (4,))


@pytest.mark.parametrize(
    ("shape", "error", "match"),
    [
        (784, TypeError, r"input_shape must be a tuple, the shape of one sample, such as \(784,\); got 784"),
        ("784", TypeError, "input_shape must be a tuple"),
        ((4.0,), TypeError, "input_shape: each side must be an integer of at least 1, got 4.0"),
        ((0,), ValueError, "input_shape: each side must be an integer of at least 1, got 0"),
    ],
)
def test_a_shape_that_is_none_is_refused(shape, error, match):
    stack = Sequential(nn.Dense(3))
    for call in (
        lambda: Network(stack, shape),
        lambda: stack.init(np.random.default_rng(0), shape),
        lambda: stack.summary(shape),
    ):
        with pytest.raises(error, match=match):
            call()
    net = Network(stack, [np.int64(4), 2])
    assert net.input_shape == (4, 2)
    assert {type(side) for side in net.input_shape} == {int}


# MultiLayerNet


@pytest.mark.parametrize("activation", ["relu", "leaky_relu", "sigmoid", "tanh", "gelu", "silu"])
@pytest.mark.parametrize("batch_norm", [False, True])
def test_multi_layer_net_is_gradient_checked(lib, activation, batch_norm):
    x = np.random.default_rng(3).normal(size=(5, 4))  # no sample that leaves all units of a layer dead
    net = MultiLayerNet(4, [12, 10], 3, activation=activation, batch_norm=batch_norm, like=lib.asarray(x))
    assert check_gradients(net, lib.asarray(x), lib.asarray([0, 2, 1, 1, 0]), sample=1 if lib.lazy else 3).ok


def test_multi_layer_net_has_what_it_was_told():
    net = MultiLayerNet(4, [6, 5], 2, activation="tanh", batch_norm=True, dropout=0.1, loss=nn.MeanSquaredError())
    kinds = ["Affine1", "BatchNormalization1", "Tanh1", "Dropout1"]
    assert net.stack.names == [*kinds, *(k[:-1] + "2" for k in kinds), "Affine3"]
    assert not net.classifies
    assert MultiLayerNet(4, [], 2).stack.names == ["Affine1"]
    with pytest.raises(ValueError, match="activation must be one of relu, leaky_relu"):
        MultiLayerNet(4, [3], 2, activation="step")
    with pytest.raises(ValueError, match="MultiLayerNet: input_size must be"):
        MultiLayerNet(0, [3], 2)


def test_a_loss_with_options_still_classifies():
    assert Network(Sequential(nn.Dense(2), loss=nn.CrossEntropy(label_smoothing=0.1)), (3,)).classifies


# Evaluation


@pytest.mark.parametrize("one_hot", [False, True])
def test_evaluation_is_the_same_in_blocks(lib, one_hot):
    """Of more samples than one block holds."""
    n = 2_300
    rng = np.random.default_rng(5)
    scores, t = rng.normal(size=(n, 3)), rng.integers(0, 3, size=n)
    net = Network(Sequential(nn.Dense(3)), (3,), like=lib.asarray(scores))
    net.params = placed(lib, {"W1": np.eye(3), "b1": np.zeros(3)})
    found = evaluate(net, lib.asarray(scores), lib.asarray(np.eye(3)[t] if one_hot else t))
    confusion = np.zeros((3, 3), int)
    np.add.at(confusion, (t, scores.argmax(axis=1)), 1)
    assert found.confusion.tolist() == confusion.tolist()
    assert found.confusion.dtype == np.int64
    assert found.accuracy == np.trace(confusion) / n
    expected = np.mean(np.logaddexp.reduce(scores, axis=1) - scores[np.arange(n), t])
    assert found.loss == pytest.approx(expected, rel=1e-5)


def test_evaluation_of_a_regression_is_its_loss(lib):
    x = np.random.default_rng(6).normal(size=(5, 2))
    net = Network(Sequential(nn.Dense(2), loss=nn.MeanSquaredError()), (2,), like=lib.asarray(x))
    net.params = placed(lib, {"W1": np.eye(2), "b1": np.ones(2)})
    found = evaluate(net, lib.asarray(x), lib.asarray(x))
    assert (found.loss, found.accuracy, found.confusion) == (pytest.approx(1.0), None, None)
    with pytest.raises(ValueError, match="x must hold at least one sample"):
        evaluate(net, lib.asarray(x[:0]), lib.asarray(x[:0]))

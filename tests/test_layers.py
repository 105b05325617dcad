"""Layers: forward against NumPy, backward against differences taken here, and the book's known numbers."""

import math
import re
from functools import partial

import numpy as np
import pytest
from conftest import needs
from test_functions import check

import xpnet
from xpnet import check_layer
from xpnet.layers import (
    AddLayer,
    Affine,
    AveragePooling,
    BatchNormalization,
    Convolution,
    Dropout,
    Embedding,
    Flatten,
    Gelu,
    IdentityWithLoss,
    LayerNormalization,
    LeakyRelu,
    MaxPooling,
    MulLayer,
    Relu,
    Residual,
    Sigmoid,
    Silu,
    Softmax,
    SoftmaxWithLoss,
    Tanh,
    dropout_mask,
)

RNG = np.random.default_rng(0)
W, B, WEIGHT = RNG.normal(size=(6, 4)), RNG.normal(size=4), np.asarray([0.5, 2.0, 1.0, 0.25, 3.0])
X, SCORES, TARGETS = RNG.normal(size=(5, 6)), RNG.normal(size=(5, 4)), RNG.normal(size=(5, 4))
LABELS = np.asarray([3, 0, 3, 1, 2])
ONE_HOT = np.eye(4)[LABELS]
AWAY = np.where(RNG.random((5, 6)) < 0.5, -1.0, 1.0) * (0.1 + RNG.random((5, 6)))  # from a ReLU's kink
GAMMA, BETA, MEAN, VAR = 1 + RNG.random(6), RNG.normal(size=6), RNG.normal(size=6), 0.5 + RNG.random(6)
IDS = np.asarray([[3, 0], [3, 5], [2, 3]])
KEPT = RNG.random((5, 6)) < 0.5
NORMALIZED = ("dgamma", "dbeta")
SQUARE = RNG.normal(size=(6, 6))
EXTREME = [-1e38, -1e30, -1e4, -100.0, -1e-30, 0.0, 1e-30, 100.0, 1e4, 1e30, 1e38]
FILTERS, IMAGES = RNG.normal(size=(4, 1, 2, 3)), RNG.permutation(60).reshape(1, 2, 6, 5) / 10.0

# Each layer: its class, how many of its arguments the constructor takes, which derivatives are kept in attributes,
# the arguments, and how many of those of `forward` are differentiated.
LAYERS = {
    "mul": (MulLayer, 0, (), [X, X[::-1] + 1], 2),
    "add": (AddLayer, 0, (), [X, X[::-1]], 2),
    "relu": (Relu, 0, (), [AWAY], 1),
    "relu-one-sample": (Relu, 0, (), [AWAY[0]], 1),
    "relu-tensor": (Relu, 0, (), [AWAY.reshape(5, 1, 2, 3)], 1),
    "sigmoid": (Sigmoid, 0, (), [X], 1),
    "leaky_relu": (LeakyRelu, 0, (), [AWAY], 1),
    "tanh": (Tanh, 0, (), [X], 1),
    "gelu": (Gelu, 0, (), [X], 1),
    "silu": (Silu, 0, (), [X], 1),
    "probabilities": (Softmax, 0, (), [X], 1),
    "probabilities-one-sample": (Softmax, 0, (), [X[0]], 1),
    "flatten": (Flatten, 0, (), [X.reshape(5, 1, 2, 3)], 1),
    "flatten-rows": (Flatten, 0, (), [X], 1),
    "dropout": (partial(Dropout, 0.25), 1, (), [KEPT, X], 1),
    "dropout-tensor": (partial(Dropout, 0.25), 1, (), [KEPT.reshape(5, 1, 2, 3), X.reshape(5, 1, 2, 3)], 1),
    "dropout-none": (partial(Dropout, 0.25), 0, (), [X], 1),
    "batch_norm": (BatchNormalization, 2, NORMALIZED, [GAMMA, BETA, X], 1),
    "batch_norm-running": (BatchNormalization, 4, NORMALIZED, [GAMMA, BETA, MEAN, VAR, X], 1),
    "batch_norm-images": (BatchNormalization, 2, NORMALIZED, [GAMMA[:2], BETA[:2], X.reshape(5, 2, 3, 1)], 1),
    "batch_norm-inference": (
        partial(BatchNormalization, training=False),
        4,
        NORMALIZED,
        [GAMMA, BETA, MEAN, VAR, X],
        1,
    ),
    "batch_norm-inference-one-sample": (
        partial(BatchNormalization, training=False),
        4,
        NORMALIZED,
        [GAMMA, BETA, MEAN, VAR, X[0]],
        1,
    ),
    "batch_norm-inference-images": (
        partial(BatchNormalization, training=False),
        4,
        NORMALIZED,
        [GAMMA[:2], BETA[:2], MEAN[:2], VAR[:2], X.reshape(5, 2, 3, 1)],
        1,
    ),
    "layer_norm": (LayerNormalization, 2, NORMALIZED, [GAMMA, BETA, X], 1),
    "layer_norm-one-sample": (LayerNormalization, 2, NORMALIZED, [GAMMA, BETA, X[0]], 1),
    "layer_norm-tensor": (
        LayerNormalization,
        2,
        NORMALIZED,
        [GAMMA.reshape(2, 3), BETA.reshape(2, 3), X.reshape(5, 1, 2, 3)],
        1,
    ),
    "embedding": (Embedding, 1, ("dW",), [W, IDS], 0),
    "embedding-one-id": (Embedding, 1, ("dW",), [W, IDS[0, 0]], 0),
    "affine": (Affine, 2, ("dW", "db"), [W, B, X], 1),
    "affine-one-sample": (Affine, 2, ("dW", "db"), [W, B, X[0]], 1),
    "affine-batch-of-one": (Affine, 2, ("dW", "db"), [W, B, X[:1]], 1),
    "affine-tensor": (Affine, 2, ("dW", "db"), [W, B, X.reshape(5, 1, 2, 3)], 1),
    "affine-one-output": (Affine, 2, ("dW", "db"), [W[:, :1], B[:1], X], 1),
    "convolution": (
        partial(Convolution, stride=(2, 1), padding=1, dilation=(1, 2), groups=2),
        2,
        ("dW", "db"),
        [FILTERS, B, IMAGES],
        1,
    ),
    "max_pooling": (partial(MaxPooling, (3, 2), stride=2, padding=1), 0, (), [IMAGES], 1),
    "average_pooling": (partial(AveragePooling, (3, 2), stride=2, padding=1), 0, (), [IMAGES], 1),
    "residual": (lambda W, b: Residual([Affine(W, b), Tanh()], [Silu()]), 2, ("dW", "db"), [SQUARE, W[:, 0], X], 1),
    "softmax-labels": (SoftmaxWithLoss, 0, (), [SCORES, LABELS], 1),
    "softmax-one-hot": (SoftmaxWithLoss, 0, (), [SCORES, ONE_HOT], 1),
    "softmax-one-sample": (SoftmaxWithLoss, 0, (), [SCORES[0], LABELS[0]], 1),
    "softmax-one-sample-one-hot": (SoftmaxWithLoss, 0, (), [SCORES[0], ONE_HOT[0]], 1),
    "softmax-weighted": (SoftmaxWithLoss, 1, (), [WEIGHT, SCORES, LABELS], 1),
    "identity": (IdentityWithLoss, 0, (), [SCORES, TARGETS], 1),
    "identity-one-sample": (IdentityWithLoss, 0, (), [SCORES[0], TARGETS[0]], 1),
    "identity-weighted": (IdentityWithLoss, 1, (), [WEIGHT, SCORES, TARGETS], 1),
}

layers = pytest.mark.parametrize("name", LAYERS)
layers_with_params = pytest.mark.parametrize(
    "name", [name for name, case in LAYERS.items() if case[2] and name != "residual"]
)


def convert(lib, arrays, dtype):
    return [lib.asarray(a, dtype if a.dtype.kind == "f" else None) for a in arrays]


def forward(name, arrays):
    """A layer that has recorded its pass, and the output."""
    build, count, _, _, _ = LAYERS[name]
    layer = build(*arrays[:count])
    return layer, layer.forward(*arrays[count:])


def backward(name, layer, dout):
    """The derivatives by every differentiable argument, in the order of the table."""
    _, _, attributes, _, differentiable = LAYERS[name]
    dx = layer.backward(dout)
    dx = dx if isinstance(dx, tuple) else (dx,)
    assert all(d is None for d in dx[differentiable:])  # ids have no derivative
    return [*(layer.gradients() if attributes else ()), *dx[:differentiable]]


def dout_for(lib, y, dtype, seed=1):
    """A derivative of the loss by the output `y`, drawn at random."""
    return lib.asarray(np.random.default_rng(seed).normal(size=tuple(y.shape)), dtype)


# The book's shopping


def test_two_apples():
    apples, tax = MulLayer(), MulLayer()
    assert tax.forward(apples.forward(100, 2), 1.1) == 220.00000000000003
    d_apples, d_tax = tax.backward(1)
    assert (*apples.backward(d_apples), d_tax) == (2.2, 110.00000000000001, 200)


def shop(apple, apples, orange, oranges, tax, dprice):
    apple_layer, orange_layer, add_layer, tax_layer = MulLayer(), MulLayer(), AddLayer(), MulLayer()
    together = add_layer.forward(apple_layer.forward(apple, apples), orange_layer.forward(orange, oranges))
    price = tax_layer.forward(together, tax)
    d_together, d_tax = tax_layer.backward(dprice)
    d_apples, d_oranges = add_layer.backward(d_together)
    d_orange, d_oranges = orange_layer.backward(d_oranges)
    d_apple, d_apples = apple_layer.backward(d_apples)
    return price, d_apples, d_apple, d_orange, d_oranges, d_tax


SHOPPING = (715.0000000000001, 110.00000000000001, 2.2, 3.3000000000000003, 165.0, 650)


def test_two_apples_and_three_oranges():
    assert shop(100, 2, 150, 3, 1.1, 1) == SHOPPING


def test_apples_and_oranges_as_arrays(lib):
    dtype = max(lib.dtypes)
    found = shop(*(lib.asarray([value], dtype) for value in (100, 2, 150, 3, 1.1, 1)))
    for got, expected in zip(found, SHOPPING, strict=True):
        check(lib, got, [expected], dtype)


# Forward


@pytest.mark.parametrize("shape", [(5, 6), (1, 6), (5, 1, 2, 3), (5, 3, 2)])
def test_affine_of_batches_and_tensors(lib, shape):
    for dtype in lib.dtypes:
        x = X[: shape[0]].reshape(shape)
        layer = Affine(*convert(lib, [W, B], dtype))
        flat, dout = x.reshape(shape[0], -1), SCORES[: shape[0]]
        check(lib, layer.forward(lib.asarray(x, dtype)), flat @ W + B, dtype, atol=1e-6)
        check(lib, layer.backward(lib.asarray(dout, dtype)), (dout @ W.T).reshape(shape), dtype, atol=1e-6)
        check(lib, layer.dW, flat.T @ dout, dtype, atol=1e-6)
        check(lib, layer.db, dout.sum(axis=0), dtype, atol=1e-6)


def test_affine_of_one_sample(lib):
    for dtype in lib.dtypes:
        layer = Affine(*convert(lib, [W, B], dtype))
        check(lib, layer.forward(lib.asarray(X[0], dtype)), X[0] @ W + B, dtype, atol=1e-6)
        check(lib, layer.backward(lib.asarray(SCORES[0], dtype)), SCORES[0] @ W.T, dtype, atol=1e-6)
        check(lib, layer.dW, np.outer(X[0], SCORES[0]), dtype, atol=1e-6)
        check(lib, layer.db, SCORES[0], dtype)


def test_relu_and_its_derivative_are_the_functions_at_zero_and_nan_too(lib):
    for dtype in lib.dtypes:
        x = lib.asarray([-1.0, -0.0, 0.0, 1e-30, 2.0, math.nan], dtype)
        layer = Relu()
        check(lib, layer.forward(x), lib.numpy(xpnet.relu(x)), dtype)
        check(lib, layer.backward(lib.asarray([5.0] * 6, dtype)), 5 * lib.numpy(xpnet.relu_grad(x)), dtype)


def test_sigmoid_layer_is_the_function_and_saturates_without_a_warning(lib):
    for dtype in lib.dtypes:
        x = lib.asarray([-1000.0, -1.0, 0.0, 2.0, 1000.0], dtype)
        layer = Sigmoid()
        check(lib, layer.forward(x), lib.numpy(xpnet.sigmoid(x)), dtype)
        dx = layer.backward(lib.asarray([3.0] * 5, dtype))
        check(lib, dx, 3 * lib.numpy(xpnet.sigmoid_grad(x)), dtype, atol=1e-30)


# Backward


@layers
def test_backward_is_the_derivative_in_a_random_direction(lib, name):
    """By differences taken here, without `xpnet.checking`: all differentiable arguments move at once."""
    _, count, attributes, arrays, differentiable = LAYERS[name]
    dtype, rng = max(lib.dtypes), np.random.default_rng(2)
    moved = [*range(len(attributes)), *range(count, count + differentiable)]
    direction = {i: rng.normal(size=arrays[i].shape) for i in moved}
    layer, y = forward(name, convert(lib, arrays, dtype))
    dout = dout_for(lib, y, dtype)
    gradients = dict(zip(moved, backward(name, layer, dout), strict=True))

    def at(h):
        there = [a + h * direction[i] if i in direction else a for i, a in enumerate(arrays)]
        y = lib.numpy(forward(name, convert(lib, there, dtype))[1])
        return float(np.sum(y.astype("float64") * lib.numpy(dout)))

    h, tolerance = (1e-5, 1e-8) if dtype == "float64" else (1e-2, 5e-3)
    for i, g in gradients.items():
        assert lib.holds(g)
        assert tuple(g.shape) == arrays[i].shape
    slope = sum(float(np.sum(direction[i] * lib.numpy(g))) for i, g in gradients.items())
    np.testing.assert_allclose(slope, (at(h) - at(-h)) / (2 * h), rtol=tolerance, atol=tolerance)


@layers
def test_backward_is_linear_in_dout_and_writes_into_no_argument(lib, name):
    for dtype in lib.dtypes:
        arrays = convert(lib, LAYERS[name][3], dtype)
        layer, y = forward(name, arrays)
        a, b = (dout_for(lib, y, dtype, seed) for seed in (1, 2))
        with lib.here:
            both = 2.0 * a - 3.0 * b
        before = [lib.numpy(v).copy() for v in (*arrays, y, a)]
        one, two, sums = (backward(name, layer, dout) for dout in (a, b, both))
        for got, da, db in zip(sums, one, two, strict=True):
            assert np.any(lib.numpy(da))
            expected = 2.0 * lib.numpy(da) - 3.0 * lib.numpy(db)
            check(lib, got, expected, dtype, rtol=1e-3 if dtype == "float32" else 1e-9, atol=1e-5)
        for value, old in zip((*arrays, y, a), before, strict=True):
            np.testing.assert_array_equal(lib.numpy(value), old)


@layers_with_params
def test_backward_params_gives_the_same_without_the_input_and_gradients_lists_it(lib, name):
    attributes = LAYERS[name][2]
    for dtype in lib.dtypes:
        arrays = convert(lib, LAYERS[name][3], dtype)
        (whole, y), (half, _) = forward(name, arrays), forward(name, arrays)
        dout = dout_for(lib, y, dtype)
        whole.backward(dout)
        assert half.backward_params(dout) is None
        for attribute, one, other in zip(attributes, whole.gradients(), half.gradients(), strict=True):
            assert one is getattr(whole, attribute)
            check(lib, other, lib.numpy(one), dtype, rtol=0)


@pytest.mark.parametrize("name", [name for name, case in LAYERS.items() if case[4]])
def test_the_checker_agrees_with_every_layer_that_has_a_derivative_by_its_input(lib, name):
    build, count, attributes, arrays, _ = LAYERS[name]
    for dtype in lib.dtypes:
        if count > len(attributes):  # what else it is built from is no parameter: the checker does not widen it
            dtype = max(lib.dtypes)
        given = convert(lib, arrays, dtype)
        params = {a.removeprefix("d"): p for a, p in zip(attributes, given, strict=False)}
        rest = given[len(params) : count]
        sample = 2 if lib.lazy else None
        report = check_layer(lambda *params, rest=rest: build(*params, *rest), params, *given[count:], sample=sample)
        assert report.ok
        assert all(row.checked == row.total for row in report.rows) or sample
        inputs = [row.name for row in report.rows if row.name not in params]
        assert inputs == ["x0", "x1"][: LAYERS[name][4]]
        assert [row.name for row in report.rows][len(inputs) :] == list(params)


def test_the_checker_agrees_with_every_element_of_an_embedding(lib):
    ids = lib.asarray(IDS)

    class Rows:
        """The layer as a function of its table, which is what is moved."""

        def forward(self, W):
            self.layer = Embedding(W)
            return self.layer.forward(ids)

        def backward(self, dout):
            self.layer.backward(dout)
            return self.layer.dW

    for dtype in lib.dtypes:
        (row,) = check_layer(Rows, {}, lib.asarray(W, dtype)).rows
        assert (row.checked, row.wrong) == (W.size, 0)


def test_the_checker_goes_over_the_kink_of_a_relu(lib):
    near = 1e-6 if "float64" in lib.dtypes else 1e-3  # within the first step, beyond the second
    x = lib.asarray([-1.0, -near, near, 1.0])
    for layer in (Relu, LeakyRelu, partial(LeakyRelu, slope=-2.0)):
        (row,) = check_layer(layer, {}, x).rows
        assert (row.checked, row.kinks, row.wrong) == (4, 2, 0)


# PyTorch's own functions as an oracle, for every library


def theirs_of(name):
    """PyTorch's function of all arguments of a layer of the table."""
    import torch
    from torch.nn import functional as F  # noqa: N812

    def cross_entropy(w, x, t):
        each = F.cross_entropy(
            x.reshape(-1, 4), t.reshape(-1, 4) if t.is_floating_point() else t.reshape(-1), reduction="none"
        )
        return (each * w).sum() / w.sum()

    def squared(w, x, t):
        each = 0.5 * F.mse_loss(x, t, reduction="none").sum(-1)
        return (each * w).sum() / w.sum()

    def batch_norm(gamma, beta, *rest):
        *running, x = rest
        mean, var = [r.clone() for r in running] or (None, None)
        batch = x if x.ndim > 1 else x[None]
        y = F.batch_norm(batch, mean, var, gamma, beta, training="inference" not in name)
        return y.reshape(x.shape)

    ones = torch.ones(5, dtype=torch.float64)
    return {
        "relu": F.relu,
        "sigmoid": F.sigmoid,
        "leaky_relu": F.leaky_relu,
        "tanh": F.tanh,
        "gelu": partial(F.gelu, approximate="tanh"),
        "silu": F.silu,
        "probabilities": partial(F.softmax, dim=-1),
        "flatten": torch.nn.Flatten(),
        "dropout": lambda *a: a[-1] * a[0] / 0.75 if len(a) == 2 else F.dropout(a[0], 0.25, training=False),
        "batch_norm": batch_norm,
        "layer_norm": lambda gamma, beta, x: F.layer_norm(x, gamma.shape, gamma, beta),
        "embedding": lambda W, ids: F.embedding(ids, W),
        "convolution": lambda W, b, x: F.conv2d(x, W, b, stride=(2, 1), padding=1, dilation=(1, 2), groups=2),
        "max_pooling": partial(F.max_pool2d, kernel_size=(3, 2), stride=2, padding=1),
        "average_pooling": partial(F.avg_pool2d, kernel_size=(3, 2), stride=2, padding=1, count_include_pad=False),
        "residual": lambda W, b, x: torch.tanh(x @ W + b) + F.silu(x),
        "affine": lambda W, b, x: F.linear(x.flatten(1) if x.ndim > 1 else x, W.T, b),
        "softmax": lambda *a: cross_entropy(*(a if len(a) == 3 else (ones[: a[0].numel() // 4], *a))),
        "identity": lambda *a: squared(*(a if len(a) == 3 else (ones[: a[0].numel() // 4], *a))),
    }[name.partition("-")[0]]


@needs("torch")
@pytest.mark.parametrize("name", [name for name in LAYERS if name not in ("mul", "add")])
def test_layers_agree_with_pytorchs_own(lib, name):
    import torch

    _, count, attributes, arrays, differentiable = LAYERS[name]
    tensors = [torch.asarray(a.copy()) for a in arrays]
    wanted = [*tensors[: len(attributes)], *tensors[count : count + differentiable]]
    for tensor in wanted:
        tensor.requires_grad_()
    out = theirs_of(name)(*tensors)
    dtype = max(lib.dtypes)
    layer, y = forward(name, convert(lib, arrays, dtype))
    dout = dout_for(lib, y, dtype)
    expected = torch.autograd.grad(out, wanted, torch.asarray(lib.numpy(dout).astype("float64")))
    atol = 1e-5 if dtype == "float32" else 1e-13
    check(lib, y, out.detach().numpy(), dtype, atol=atol)
    for got, grad in zip(backward(name, layer, dout), expected, strict=True):
        check(lib, got, grad.numpy(), dtype, atol=atol)


@needs("torch")
@pytest.mark.parametrize("name", ["relu", "leaky_relu", "sigmoid", "tanh", "gelu", "silu", "probabilities"])
def test_activations_of_the_largest_and_the_smallest_numbers_are_pytorchs(lib, name):
    import torch

    tensor = torch.tensor(EXTREME, dtype=torch.float64, requires_grad=True)
    expected = theirs_of(name)(tensor)
    (slope,) = torch.autograd.grad(expected, tensor, torch.ones_like(expected))
    for dtype in lib.dtypes:
        layer = LAYERS[name][0]()
        check(lib, layer.forward(lib.asarray(EXTREME, dtype)), expected.detach().numpy(), dtype, atol=1e-37)
        dx = layer.backward(lib.asarray(np.ones(len(EXTREME)), dtype))
        check(lib, dx, slope.numpy(), dtype, atol=1e-37)


def test_large_and_small_numbers_pass_through_the_other_layers(lib):
    for dtype in lib.dtypes:
        for size in (1e30, 1e4, 1e-30):
            w, b, x, table = (lib.asarray(size * v, dtype) for v in (W, 0 * B, X, W))
            ones, kept = lib.asarray(np.ones((6, 4)), dtype), lib.asarray(KEPT)
            for layer, given, expected in [
                (Affine(ones, b), x, size * X @ np.ones((6, 4))),
                (Affine(w, b), lib.asarray(X, dtype), size * X @ W),
                (Dropout(0.75, kept), x, 4 * size * X * KEPT),
                (Residual([Dropout(0.5)]), x, 2 * size * X),
                (Flatten(), x, size * X),
                (Embedding(table), lib.asarray(IDS), size * W[IDS]),
            ]:
                check(lib, layer.forward(given), expected, dtype, atol=1e-5 * size)


def test_options_that_are_numpy_numbers_do_not_widen(lib):
    half = np.float64(0.5)
    for layer in (LeakyRelu(slope=half), Dropout(half), Dropout(half, lib.asarray(KEPT))):
        for value in (layer.forward(lib.asarray(X, "float32")), layer.backward(lib.asarray(X, "float32"))):
            assert lib.numpy(value).dtype == "float32"


# What is refused


def test_affine_refuses_what_does_not_fit(lib):
    w, b, x = (lib.asarray(a) for a in (W, B, X))
    for args, match in [
        ((w[0, :], b), r"W has shape \(4,\) and b \(4,\); expected \(D, M\) and \(M,\)"),
        ((w, b[:3]), r"W has shape \(6, 4\) and b \(3,\)"),
        ((w, b[None, :]), r"and b \(1, 4\)"),
    ]:
        with pytest.raises(ValueError, match=match):
            Affine(*args)
    for shape, features in [((5, 4), 4), ((4,), 4), ((5, 1, 2, 2), 4), ((5, 0), 0)]:
        with pytest.raises(
            ValueError, match=rf"Affine: x has {features} features, shape .*, but W expects 6, shape \(6, 4\)"
        ):
            Affine(w, b).forward(lib.asarray(np.zeros(shape)))
    for bad, match in [
        (lib.asarray(np.ones((5, 6), "uint8"), "uint8"), "Affine: x must have a real floating dtype.*/ 255"),
        (X.tolist(), "x must be an array"),
    ]:
        with pytest.raises(TypeError, match=match):
            Affine(w, b).forward(bad)
    with pytest.raises(TypeError, match="Affine: W must have a real floating dtype"):
        Affine(lib.asarray(np.ones((6, 4), int)), b).forward(x)
    if len(lib.dtypes) > 1:
        with pytest.raises(TypeError, match=r"Affine: x is .*float32 but W is .*float64; cast"):
            Affine(w, b).forward(lib.asarray(X, "float32"))
        with pytest.raises(TypeError, match=r"Affine: x is .*float64 but W is .*float32; cast"):
            Affine(lib.asarray(W, "float32"), lib.asarray(B, "float32")).forward(x)


@pytest.mark.parametrize("build", [Relu, LeakyRelu, Sigmoid, Tanh, Gelu, Silu, Softmax, partial(Dropout, 0.5)])
def test_layers_of_one_input_refuse_integers_and_lists(lib, build):
    for x, match in [(lib.asarray([1, 2]), "x must have a real floating dtype"), ([0.5], "x must be an array")]:
        with pytest.raises(TypeError, match=match):
            build().forward(x)


@pytest.mark.parametrize(
    ("build", "error", "match"),
    [
        (partial(LeakyRelu, slope=math.nan), ValueError, "LeakyRelu: slope must be finite, got nan"),
        (partial(LeakyRelu, slope=-math.inf), ValueError, "LeakyRelu: slope must be finite, got -inf"),
        (partial(LeakyRelu, slope="0.1"), TypeError, "LeakyRelu: slope must be a number, finite; got '0.1'"),
        (partial(Softmax, axis=0.5), TypeError, "Softmax: axis must be an integer, got 0.5"),
        (partial(Softmax, axis=None), TypeError, "Softmax: axis must be an integer, got None"),
        (partial(Softmax, axis=(0, 1)), TypeError, r"Softmax: axis must be an integer, got \(0, 1\)"),
        (partial(Dropout, -0.1), ValueError, "Dropout: rate must be from 0 to below 1, got -0.1"),
        (partial(Dropout, 1), ValueError, "from 0 to below 1, got 1"),
        (partial(Dropout, math.nan), ValueError, "from 0 to below 1, got nan"),
        (
            partial(dropout_mask, np.random.default_rng(0), 1.5, (2,)),
            ValueError,
            "dropout_mask: rate must be from 0 to below 1, got 1.5",
        ),
    ],
)
def test_numbers_that_cannot_be_are_refused_when_the_layer_is_built(build, error, match):
    with pytest.raises(error, match=match):
        build()


@pytest.mark.parametrize("name", LAYERS)
def test_options_that_a_layer_does_not_have_are_refused(name):
    build, count, _, arrays, _ = LAYERS[name]
    with pytest.raises(TypeError, match="unexpected keyword argument|takes no arguments"):
        build(*arrays[:count], slop=0.1)


@pytest.mark.parametrize(("shape", "axis"), [((5, 6), 2), ((5, 6), -3), ((), -1)])
def test_softmax_refuses_an_axis_that_is_not_there(lib, shape, axis):
    with pytest.raises(ValueError, match=rf"Softmax: x has shape {re.escape(str(shape))} and no axis {axis}; choose"):
        Softmax(axis=axis).forward(lib.asarray(np.ones(shape)))


def test_dropout_refuses_a_mask_that_does_not_fit(lib):
    x = lib.asarray(X)
    for mask, error, match in [
        (lib.asarray(KEPT.astype("float64")), TypeError, "Dropout: mask must be of bool, got .*float"),
        (lib.asarray(KEPT.astype("int32"), "int32"), TypeError, "Dropout: mask must be of bool, got .*int32"),
        (lib.asarray(KEPT[:, :5]), ValueError, r"Dropout: mask has shape \(5, 5\), but x \(5, 6\); draw"),
        (lib.asarray(KEPT[0]), ValueError, r"mask has shape \(6,\)"),
        (KEPT.tolist(), TypeError, "mask must be an array"),
    ]:
        with pytest.raises(error, match=match):
            Dropout(0.5, mask).forward(x)
    if lib.backend.name != "numpy":
        with pytest.raises(TypeError, match=r"different libraries: .*mask is numpy\.ndarray"):
            Dropout(0.5, KEPT).forward(x)


def test_embedding_refuses_what_does_not_fit(lib):
    w, ids = lib.asarray(W), lib.asarray(IDS)
    for shape in [(4,), (2, 3, 4), ()]:
        with pytest.raises(ValueError, match=rf"Embedding: W has shape {re.escape(str(shape))}; expected \(V, D\)"):
            Embedding(lib.asarray(np.ones(shape)))
    for table, given, match in [
        (
            w,
            lib.asarray(IDS.astype("float64")),
            r"Embedding: ids must have an integer dtype, got .* shape \(3, 2\); cast",
        ),
        (w, lib.asarray(IDS > 2), "ids must have an integer dtype, got .*bool"),
        (w, IDS.tolist(), "ids must be an array"),
        (lib.asarray(np.ones((6, 4), int)), ids, "Embedding: W must have a real floating dtype"),
    ]:
        with pytest.raises(TypeError, match=match):
            Embedding(table).forward(given)


def test_ids_of_any_integer_dtype_name_the_same_rows(lib):
    dtype, table, ids = max(lib.dtypes), RNG.normal(size=(300, 2)), np.asarray([[0, 255], [7, 0]])
    for integer in lib.xp.__array_namespace_info__().dtypes(device=lib.device, kind="integral"):
        if np.iinfo(integer).max < 255:
            continue
        layer = Embedding(lib.asarray(table))
        check(lib, layer.forward(lib.asarray(ids, integer)), table[ids], dtype, name=integer)
        layer.backward(lib.asarray(np.ones((2, 2, 2)), dtype))
        assert np.flatnonzero(lib.numpy(layer.dW)[:, 0]).tolist() == [0, 7, 255]


def test_residual_refuses_what_cannot_be_added(lib):
    w, b, x = (lib.asarray(a) for a in (W, B, X))
    for layers, shortcut in [([Affine(w, b)], []), ([], [Affine(w, b)])]:
        with pytest.raises(ValueError, match=r"Residual: the layers made \(5, .\) of \(5, 6\), and the shortcut"):
            Residual(layers, shortcut).forward(x)


# Infinite numbers, NaN, and no numbers at all


@pytest.mark.only("jax", "torch")
def test_the_librarys_own_derivative_of_relu_is_ours_at_zero_too(lib):
    x = lib.asarray([-1.0, -0.0, 0.0, 1e-30, 2.0])
    if lib.backend.name == "jax":
        from jax import grad
    else:
        from torch.func import grad
    layer = Relu()
    layer.forward(x)
    ours = lib.numpy(layer.backward(lib.xp.ones_like(x)))
    np.testing.assert_array_equal(ours, [0.0, 0.0, 0.0, 1.0, 1.0])
    np.testing.assert_array_equal(lib.numpy(grad(lambda x: Relu().forward(x).sum())(x)), ours)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_bad_number_stays_in_the_row_of_its_id(lib, bad):
    layer = Embedding(lib.asarray(np.ones((5, 2))))
    layer.forward(lib.asarray([[3, 0], [3, 7]]))  # 7 is no id
    layer.backward(lib.asarray([[[1.0, 2.0], [3.0, bad]], [[10.0, 20.0], [bad, bad]]]))
    nan, nothing = [math.nan] * 2, [0.0] * 2
    np.testing.assert_array_equal(lib.numpy(layer.dW), [nan, nothing, nothing, [11.0, 22.0], nothing])


def test_a_window_of_minus_infinity_passes_its_gradient_to_its_first_pixel(lib):
    x = np.full((1, 2, 4, 4), -math.inf)
    x[0, 1, 1, 1] = 5.0
    for dtype in lib.dtypes:
        layer = MaxPooling(3, stride=2, padding=1)
        y = layer.forward(lib.asarray(x, dtype))
        inf = -math.inf
        check(lib, y, [[[[inf, inf], [inf, inf]], [[5.0, 5.0], [5.0, 5.0]]]], dtype)
        dx = layer.backward(lib.asarray([[[[1.0, 2.0], [4.0, 8.0]], [[1.0, 2.0], [4.0, 8.0]]]], dtype))
        expected = np.zeros((1, 2, 4, 4))
        expected[0, 0, [0, 0, 1, 1], [0, 1, 0, 1]] = [1.0, 2.0, 4.0, 8.0]
        expected[0, 1, 1, 1] = 15.0
        check(lib, dx, expected, dtype)


# A batch without samples is given to a layer as its input, or refused by the statistics and losses.
REFUSES_NOTHING = ("batch_norm", "softmax", "identity")


@pytest.mark.parametrize("name", [n for n in LAYERS if "one-sample" not in n and n != "embedding-one-id"])
def test_an_empty_batch_passes_through_or_is_refused(lib, name):
    _, count, attributes, arrays, differentiable = LAYERS[name]
    empty = [a if i < count and not name.startswith("dropout") else a[:0] for i, a in enumerate(arrays)]
    dtype = max(lib.dtypes)
    if name.startswith(REFUSES_NOTHING) and "inference" not in name:
        empty = [a[:0] if a is WEIGHT else a for a in empty]
        with pytest.raises(ValueError, match=r"\(0, .*pass (more samples|at least one sample)"):
            forward(name, convert(lib, empty, dtype))
        return
    layer, y = forward(name, convert(lib, empty, dtype))
    assert tuple(y.shape) == (0, *forward(name, arrays)[1].shape[1:])
    moved = [*range(len(attributes)), *range(count, count + differentiable)]
    for i, g in zip(moved, backward(name, layer, y), strict=True):
        check(lib, g, np.zeros(empty[i].shape), dtype)


@pytest.mark.parametrize("shape", [(3, 0), (0, 3), (0,), (0, 0), (2, 0, 3)])
def test_an_embedding_of_no_ids(lib, shape):
    dtype = max(lib.dtypes)
    layer = Embedding(lib.asarray(W, dtype))
    y = layer.forward(lib.asarray(np.zeros(shape, dtype="int32"), "int32"))
    check(lib, y, np.zeros((*shape, 4)), dtype)
    layer.backward(y)
    check(lib, layer.dW, np.zeros(W.shape), dtype)

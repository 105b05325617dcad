"""Normalization: any shape, scale and option against PyTorch's own, running statistics, extremes, what is refused."""

import math
from functools import partial

import numpy as np
import pytest
from conftest import needs
from hypothesis import given, strategies as st
from test_functions import check

from xpnet.layers import BatchNormalization, LayerNormalization

RNG = np.random.default_rng(0)
GAMMA, BETA, MEAN, VAR = 1 + RNG.random(3), RNG.normal(size=3), RNG.normal(size=3), 0.5 + RNG.random(3)
X = 2 + RNG.normal(size=(5, 3))
LAYERS = {"batch": BatchNormalization, "layer": LayerNormalization}
layers = pytest.mark.parametrize("build", LAYERS.values(), ids=LAYERS)
EPS = st.sampled_from([1e-12, 1e-5, 1.0])


@st.composite
def samples(draw, least=1):
    """Of any shape, offset and spread, and all numbers are those of float32."""
    shape = draw(st.integers(least, 5)), *draw(st.lists(st.integers(1, 4), min_size=1, max_size=4))
    spread, offset = draw(st.sampled_from([1e-3, 1.0, 1e4])), draw(st.sampled_from([0.0, 1.0, -100.0]))
    x = spread * (offset + np.random.default_rng(draw(st.integers(0, 99))).normal(size=shape))
    return x.astype("float32").astype("float64")


def drawn(seed, shape):
    """A scale and a shift."""
    rng = np.random.default_rng(seed)
    return [1 + rng.random(shape), rng.normal(size=shape)]


def agree(lib, build, x, params, theirs, steep):
    """Values and all gradients are those of PyTorch's function of x and the parameters; the layer of each dtype.

    Within rounding: of the mean, and of derivatives that are as steep as one over the deviation.
    """
    import torch

    tensors = [torch.tensor(a, requires_grad=True) for a in (x, *params)]
    y = theirs(*tensors)
    dout = np.random.default_rng(1).normal(size=x.shape)
    expected = [y.detach(), *torch.autograd.grad(y, tensors, torch.tensor(dout))]
    one_pass = {}
    for dtype in lib.dtypes:
        layer = one_pass[dtype] = build(lib, dtype)(*(lib.asarray(p, dtype) for p in params))
        found = [layer.forward(lib.asarray(x, dtype)), layer.backward(lib.asarray(dout, dtype)), *layer.gradients()]
        of_mean = 1 + steep * np.max(np.abs(x))
        for got, wanted, size in zip(found, expected, [1, max(1, steep), 1, 1], strict=True):
            close(lib, got, wanted.numpy(), dtype, of_mean * size)
    return one_pass


def close(lib, got, expected, dtype, size=1):
    """To `size` roundings of the largest element."""
    scale = max(1.0, float(np.max(np.abs(expected))))
    check(lib, got, expected, dtype, rtol=0, atol=float(32 * np.finfo(dtype).eps * size * scale))


def steepness(x, axes, eps):
    """One over the least deviation along the axes."""
    return 1 / np.sqrt(np.min(np.var(x, axis=axes)) + eps)


@needs("torch")
@pytest.mark.only("numpy", "torch", "cupy")
@given(samples(least=2), st.floats(0, 1), EPS)
def test_batches_of_any_shape_and_scale_are_normalised_as_in_pytorch(lib, x, momentum, eps):
    import torch
    from torch.nn.functional import batch_norm

    features = x.shape[1]
    running = [MEAN[0] + np.arange(features), VAR[0] + np.arange(features)]
    theirs = [torch.tensor(v) for v in running]

    def build(lib, dtype):
        given = [lib.asarray(v, dtype) for v in running]
        return lambda gamma, beta: BatchNormalization(gamma, beta, *given, momentum=momentum, eps=eps)

    def function(x, gamma, beta):
        return batch_norm(x, *theirs, gamma, beta, training=True, momentum=1 - momentum, eps=eps)

    steep = steepness(x, (0, *range(2, x.ndim)), eps)
    for dtype, layer in agree(lib, build, x, drawn(2, features), function, steep).items():
        for got, expected in zip(layer.state, theirs, strict=True):
            close(lib, got, expected.numpy(), dtype, 1 + steep * np.max(np.abs(x)))


@needs("torch")
@pytest.mark.only("numpy", "torch", "cupy")
@given(samples(), EPS)
def test_by_running_statistics_samples_are_normalised_as_in_pytorch(lib, x, eps):
    import torch
    from torch.nn.functional import batch_norm

    features = x.shape[1]
    running = [np.mean(x) + np.arange(features), np.var(x) * (1 + np.arange(features))]

    def build(lib, dtype):
        given = [lib.asarray(v, dtype) for v in running]
        return lambda gamma, beta: BatchNormalization(gamma, beta, *given, training=False, eps=eps)

    def function(x, gamma, beta):
        return batch_norm(x, *map(torch.tensor, running), gamma, beta, training=False, eps=eps)

    agree(lib, build, x, drawn(3, features), function, 1 / np.sqrt(np.min(running[1]) + eps))


@needs("torch")
@pytest.mark.only("numpy", "torch", "cupy")
@given(samples(), st.integers(0, 3), EPS)
def test_samples_of_any_shape_and_scale_are_normalised_as_in_pytorch(lib, x, first, eps):
    from torch.nn.functional import layer_norm

    shape = x.shape[1 + first % (x.ndim - 1) :]

    def function(x, gamma, beta):
        return layer_norm(x, shape, gamma, beta, eps)

    steep = steepness(x, tuple(range(-len(shape), 0)), eps)
    agree(lib, lambda lib, dtype: partial(LayerNormalization, eps=eps), x, drawn(4, shape), function, steep)


# Running statistics


@pytest.mark.parametrize("momentum", [0.9, 0.25, 0, 1])
@pytest.mark.parametrize("shape", [(4, 3), (2, 3, 2, 2)])
def test_running_statistics_take_mean_and_unbiased_variance_of_each_batch(lib, momentum, shape):
    batches = [5 * i + np.random.default_rng(i).normal(size=shape) for i in range(3)]
    for dtype in lib.dtypes:
        mean, var = MEAN, VAR
        gamma, beta, *state = (lib.asarray(a, dtype) for a in (GAMMA, BETA, MEAN, VAR))
        for x in batches:
            layer = BatchNormalization(gamma, beta, *state, momentum=momentum)
            layer.forward(lib.asarray(x, dtype))
            state = layer.state
            rows = np.moveaxis(x, 1, -1).reshape(-1, 3)
            mean = momentum * mean + (1 - momentum) * rows.mean(axis=0)
            var = momentum * var + (1 - momentum) * rows.var(axis=0, ddof=1)
            check(lib, state[0], mean, dtype)
            check(lib, state[1], var, dtype)


def test_statistics_run_while_training_stay_in_use_and_are_none_where_none_were_given(lib):
    gamma, beta, mean, var, x = (lib.asarray(a) for a in (GAMMA, BETA, MEAN, VAR, X))
    before = [lib.numpy(a).copy() for a in (mean, var)]
    plain, training = BatchNormalization(gamma, beta), BatchNormalization(gamma, beta, mean, var)
    in_use = BatchNormalization(gamma, beta, mean, var, training=False)
    y, same, other = (layer.forward(x) for layer in (plain, training, in_use))
    assert plain.state == ()
    assert in_use.state[0] is mean and in_use.state[1] is var
    for new, running, old in zip(training.state, (mean, var), before, strict=True):
        assert np.all(lib.numpy(new) != old)
        np.testing.assert_array_equal(lib.numpy(running), old)
    np.testing.assert_array_equal(lib.numpy(y), lib.numpy(same))
    assert np.all(lib.numpy(y) != lib.numpy(other))


def test_statistics_that_ran_long_enough_are_those_of_the_data(lib):
    dtype = max(lib.dtypes)
    gamma, beta, x = (lib.asarray(a) for a in (GAMMA, BETA, X))
    state = tuple(lib.asarray(a) for a in (MEAN, VAR))
    for _ in range(20):
        layer = BatchNormalization(gamma, beta, *state, momentum=0.25)
        y = lib.numpy(layer.forward(x))
        state = layer.state
    found = BatchNormalization(gamma, beta, *state, training=False).forward(x)
    biased = math.sqrt(4 / 5)  # the batch is normalised by its own variance, not by the estimate of the data's
    check(lib, found, BETA + (y - BETA) * biased, dtype, rtol=1e-4, atol=1e-4)


# What they do


@layers
def test_the_output_has_mean_beta_and_deviation_gamma(lib, build):
    for dtype in lib.dtypes:
        scale, shift, x = (lib.asarray(a, dtype) for a in ([2.0] * 3, [-1.0] * 3, 1e3 * X))
        y = lib.numpy(build(scale, shift).forward(x))
        axis = 0 if build is BatchNormalization else 1
        np.testing.assert_allclose(np.mean(y, axis=axis), -1, rtol=1e-4)
        np.testing.assert_allclose(np.std(y, axis=axis), 2, rtol=1e-4)


@pytest.mark.parametrize(
    "build",
    [
        lambda asarray: partial(
            BatchNormalization, asarray(GAMMA), asarray(BETA), asarray(MEAN), asarray(VAR), training=False
        ),
        lambda asarray: partial(LayerNormalization, asarray(GAMMA), asarray(BETA)),
    ],
    ids=["batch-inference", "layer"],
)
def test_samples_do_not_depend_on_each_other_but_in_a_training_batch(lib, build):
    dtype, dout = max(lib.dtypes), np.random.default_rng(1).normal(size=X.shape)
    layer = build(lib.asarray)()
    y, dx = (lib.numpy(a) for a in (layer.forward(lib.asarray(X)), layer.backward(lib.asarray(dout))))
    for i in range(5):
        for rows in (i, slice(i, i + 1)):  # one sample, and a batch of one
            alone = build(lib.asarray)()
            check(lib, alone.forward(lib.asarray(X[rows])), y[rows], dtype)
            check(lib, alone.backward(lib.asarray(dout[rows])), dx[rows], dtype, atol=1e-6)


@layers
@pytest.mark.parametrize("value", [0.0, 0.1, -1e4, 1e30])
def test_what_is_constant_becomes_beta_and_can_still_learn(lib, build, value):
    dout = np.random.default_rng(1).normal(size=(4, 4))  # the mean of four of a kind is exact
    axis = 0 if build is BatchNormalization else 1
    for dtype in lib.dtypes:
        layer = build(*(lib.asarray([v] * 4, dtype) for v in (2.0, -0.5)), eps=0.25)
        check(lib, layer.forward(lib.asarray(np.full((4, 4), value), dtype)), np.full((4, 4), -0.5), dtype)
        expected = 2 / 0.5 * (dout - dout.mean(axis=axis, keepdims=True))
        check(lib, layer.backward(lib.asarray(dout, dtype)), expected, dtype, atol=1e-5)


@needs("torch")
@layers
@pytest.mark.parametrize("size", [1e4, 1e15, 1e30])
def test_large_numbers_are_normalised_as_in_pytorch(lib, build, size):
    import torch
    from torch.nn.functional import batch_norm, layer_norm

    for dtype in lib.dtypes:
        if size**2 > float(np.finfo(dtype).max):  # a variance that float32 cannot hold
            continue
        x, dout = size * X, size * np.random.default_rng(1).normal(size=X.shape)
        tensor = torch.tensor(x, requires_grad=True)
        if build is BatchNormalization:
            y = batch_norm(tensor, None, None, torch.tensor(GAMMA), torch.tensor(BETA), training=True)
        else:
            y = layer_norm(tensor, (3,), torch.tensor(GAMMA), torch.tensor(BETA))
        (dx,) = torch.autograd.grad(y, tensor, torch.tensor(dout))
        layer = build(lib.asarray(GAMMA, dtype), lib.asarray(BETA, dtype))
        close(lib, layer.forward(lib.asarray(x, dtype)), y.detach().numpy(), dtype)
        close(lib, layer.backward(lib.asarray(dout, dtype)), dx.numpy(), dtype)


@layers
def test_a_variance_beyond_the_dtype_gives_beta_as_in_pytorch_and_no_nan(lib, build):
    layer = build(lib.asarray(GAMMA, "float32"), lib.asarray(BETA, "float32"))
    with np.errstate(over="ignore"):
        y = layer.forward(lib.asarray(1e30 * X, "float32"))
        dx = layer.backward(y)
        check(lib, y, np.broadcast_to(BETA, X.shape), "float32")
        check(lib, dx, np.zeros(X.shape), "float32")


def test_options_that_are_numpy_numbers_do_not_widen(lib):
    gamma, beta, mean, var, x = (lib.asarray(a, "float32") for a in (GAMMA, BETA, MEAN, VAR, X))
    number = np.float64(0.5)
    for layer in (
        BatchNormalization(gamma, beta, mean, var, momentum=number, eps=number),
        LayerNormalization(gamma, beta, eps=number),
    ):
        results = [layer.forward(x), layer.backward(x), *layer.gradients(), *getattr(layer, "state", ())]
        assert {str(lib.numpy(a).dtype) for a in results} == {"float32"}


# What is refused


@pytest.mark.parametrize(
    ("build", "options", "match"),
    [
        (BatchNormalization, {"eps": 0}, "BatchNormalization: eps must be positive and finite, got 0"),
        (BatchNormalization, {"eps": math.nan}, "eps must be positive and finite, got nan"),
        (BatchNormalization, {"momentum": 1.5}, "BatchNormalization: momentum must be from 0 to 1, got 1.5"),
        (BatchNormalization, {"momentum": -0.1}, "momentum must be"),
        (BatchNormalization, {"momentum": math.nan}, "momentum must be"),
        (BatchNormalization, {"training": False}, "needs the running mean and var; pass both"),
        (LayerNormalization, {"eps": -1e-5}, "LayerNormalization: eps must be positive and finite, got -1e-05"),
    ],
)
def test_options_that_cannot_be_are_refused_when_the_layer_is_built(lib, build, options, match):
    with pytest.raises(ValueError, match=match):
        build(lib.asarray(GAMMA), lib.asarray(BETA), **options)


def test_parameters_that_do_not_fit_each_other_are_refused(lib):
    gamma, beta, mean, var = (lib.asarray(a) for a in (GAMMA, BETA, MEAN, VAR))
    for args, match in [
        (
            (gamma, beta[:2]),
            r"BatchNormalization: expected arrays of one shape \(D,\), got gamma \(3,\), beta \(2,\)",
        ),
        ((gamma, beta, mean, var[:2]), r"mean \(3,\), var \(2,\)"),
        ((gamma[None, :], beta[None, :]), r"got gamma \(1, 3\)"),
        ((gamma, beta, mean), "mean and var go together; pass both, or neither"),
        ((gamma, beta, None, var), "mean and var go together"),
    ]:
        with pytest.raises(ValueError, match=match):
            BatchNormalization(*args)
    for args, match in [
        ((gamma, beta[:2]), r"LayerNormalization: gamma has shape \(3,\) and beta \(2,\); expected one shape"),
        ((gamma[0, ...], beta[0, ...]), r"gamma has shape \(\) and beta \(\)"),
    ]:
        with pytest.raises(ValueError, match=match):
            LayerNormalization(*args)


@layers
def test_inputs_that_do_not_fit_are_refused(lib, build):
    gamma, beta, x = (lib.asarray(a) for a in (GAMMA, BETA, X))
    name = build.__name__
    for shape in [(5, 2), (5, 4), (2,), (), (3, 5), (5, 2, 4)]:
        with pytest.raises(ValueError, match=rf"{name}: x has shape \({', '.join(map(str, shape))}.*but gamma"):
            build(gamma, beta).forward(lib.asarray(np.ones(shape)))
    for args, bad, match in [
        ((gamma, beta), lib.asarray(np.ones((5, 3), int)), f"{name}: x must have a real floating dtype"),
        ((lib.asarray([1] * 3), lib.asarray([1] * 3)), x, f"{name}: gamma must have a real floating dtype"),
        ((gamma, beta), X.tolist(), "x must be an array"),
    ]:
        with pytest.raises(TypeError, match=match):
            build(*args).forward(bad)
    if len(lib.dtypes) > 1:
        with pytest.raises(TypeError, match=rf"{name}: x is .*float32 but gamma is .*float64; cast"):
            build(gamma, beta).forward(lib.asarray(X, "float32"))
        with pytest.raises(TypeError, match=rf"{name}: x is .*float64 but beta is .*float32; cast"):
            build(gamma, lib.asarray(BETA, "float32")).forward(x)
    if lib.backend.name != "numpy":
        with pytest.raises(TypeError, match=r"different libraries: .*gamma is numpy\.ndarray"):
            build(GAMMA, BETA).forward(x)


@pytest.mark.parametrize(
    ("shape", "values"), [((1, 3), 1), ((3,), 1), ((0, 3), 0), ((1, 3, 1, 1), 1), ((2, 3, 0, 4), 0)]
)
def test_a_batch_with_less_than_two_values_of_a_feature_is_refused_while_training(lib, shape, values):
    gamma, beta, mean, var, x = (lib.asarray(a) for a in (GAMMA, BETA, MEAN, VAR, np.ones(shape)))
    match = rf"x has shape \({', '.join(map(str, shape))},?\), {values} value for each feature, .*training=False"
    for running in ((), (mean, var)):
        with pytest.raises(ValueError, match=match):
            BatchNormalization(gamma, beta, *running).forward(x)
    assert tuple(BatchNormalization(gamma, beta, mean, var, training=False).forward(x).shape) == shape


def test_a_batch_without_features_is_refused_while_training(lib):
    none = lib.asarray(np.ones(0))
    with pytest.raises(ValueError, match=r"x has shape \(5, 0\), 0 value for each feature"):
        BatchNormalization(none, none).forward(lib.asarray(np.ones((5, 0))))

"""Losses: against PyTorch's and differences taken here, what each option means, extremes, and what is refused."""

import math
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from conftest import needs
from hypothesis import given, settings, strategies as st
from hypothesis.extra.numpy import arrays
from test_core_rules import gradients_of, no_computing, vmap_of
from test_functions import check
from test_layers import convert

import xpnet
from xpnet import nn
from xpnet.layers import ExponentialWithLoss, HuberLoss, IdentityWithLoss, SigmoidWithLoss, SoftmaxWithLoss

RNG = np.random.default_rng(0)
SCORES, TARGETS = 2 * RNG.normal(size=(5, 4)), RNG.normal(size=(5, 4))
LABELS = np.asarray([3, 0, 3, 1, 2])
HOLES = np.asarray([3, -1, 0, -1, 3])
ONE_HOT, P = np.eye(4)[LABELS], RNG.dirichlet(np.ones(4), size=5)
COUNTED = RNG.poisson(2.0, size=(5, 4)).astype("float64")
MULTI_HOT = np.asarray([[1, 1, 0, 0], [0, 0, 0, 0], [0, 1, 1, 1], [1, 0, 0, 0], [0, 0, 0, 0]]) * 1.0  # and rows of 0
YES = (RNG.random((5, 4)) < 0.5).astype("float64")
WEIGHT, C = np.asarray([0.5, 2.0, 1.0, 0.25, 3.0]), np.asarray([0.5, 2.0, 1.0, 3.0])

# Each case: the class, its options that are numbers, those that are arrays, the scores, the targets.
ALL = {"smoothing": 0.2, "ignore": -1}
CASES = {
    "softmax": (SoftmaxWithLoss, {}, {}, SCORES, LABELS),
    "softmax-probabilities": (SoftmaxWithLoss, {}, {}, SCORES, P),
    "softmax-weighted": (SoftmaxWithLoss, {}, {"weight": WEIGHT}, SCORES, LABELS),
    "softmax-classes": (SoftmaxWithLoss, {}, {"class_weight": C}, SCORES, LABELS),
    "softmax-classes-one-hot": (SoftmaxWithLoss, {}, {"class_weight": C}, SCORES, ONE_HOT),
    "softmax-classes-probabilities": (SoftmaxWithLoss, {}, {"class_weight": C}, SCORES, P),
    "softmax-smoothing": (SoftmaxWithLoss, {"smoothing": 0.1}, {}, SCORES, LABELS),
    "softmax-smoothing-probabilities": (SoftmaxWithLoss, {"smoothing": 0.1}, {}, SCORES, P),
    "softmax-multi-hot": (SoftmaxWithLoss, {}, {}, SCORES, MULTI_HOT),
    "softmax-multi-hot-options": (SoftmaxWithLoss, {"smoothing": 0.2}, {"class_weight": C}, SCORES, MULTI_HOT),
    "softmax-multi-hot-sample": (SoftmaxWithLoss, {}, {"class_weight": C}, SCORES[0], MULTI_HOT[0]),
    "softmax-ignore": (SoftmaxWithLoss, {"ignore": 3}, {}, SCORES, LABELS),
    "softmax-ignore-no-class": (SoftmaxWithLoss, {"ignore": -1}, {}, SCORES, HOLES),
    "softmax-all": (SoftmaxWithLoss, ALL, {"weight": WEIGHT, "class_weight": C}, SCORES, HOLES),
    "softmax-one-sample": (SoftmaxWithLoss, ALL, {"class_weight": C}, SCORES[0], LABELS[0]),
    "sigmoid": (SigmoidWithLoss, {}, {}, SCORES, YES),
    "sigmoid-probabilities": (SigmoidWithLoss, {}, {}, SCORES, P),
    "sigmoid-weighted": (SigmoidWithLoss, {}, {"weight": WEIGHT}, SCORES, YES),
    "sigmoid-positive": (SigmoidWithLoss, {}, {"positive_weight": C}, SCORES, P),
    "sigmoid-all": (SigmoidWithLoss, {}, {"weight": WEIGHT, "positive_weight": C}, SCORES, YES),
    "sigmoid-one-output": (SigmoidWithLoss, {}, {"positive_weight": C[:1]}, SCORES[:, :1], YES[:, :1]),
    "sigmoid-one-sample": (SigmoidWithLoss, {}, {"positive_weight": C}, SCORES[0], YES[0]),
    "identity": (IdentityWithLoss, {}, {}, SCORES, TARGETS),
    "identity-weighted": (IdentityWithLoss, {}, {"weight": WEIGHT}, SCORES, TARGETS),
    "identity-one-sample": (IdentityWithLoss, {}, {}, SCORES[0], TARGETS[0]),
    "exponential": (ExponentialWithLoss, {}, {}, SCORES, COUNTED),
    "exponential-weighted": (ExponentialWithLoss, {}, {"weight": WEIGHT}, SCORES, COUNTED),
    "exponential-one-sample": (ExponentialWithLoss, {}, {}, SCORES[0], COUNTED[0]),
    "huber": (HuberLoss, {}, {}, SCORES, TARGETS),
    "huber-delta": (HuberLoss, {"delta": 2.5}, {}, SCORES, TARGETS),
    "huber-weighted": (HuberLoss, {"delta": 0.5}, {"weight": WEIGHT}, SCORES, TARGETS),
    "huber-one-sample": (HuberLoss, {}, {}, SCORES[0], TARGETS[0]),
}
cases = pytest.mark.parametrize("name", CASES)

# What a network builds with the weights of the samples, and targets for it.
LOSSES = {
    "softmax": (nn.CrossEntropy(), LABELS),
    "softmax-options": (nn.CrossEntropy([1.0, 2.0, 0.5, 3.0], label_smoothing=0.2, ignore_index=1), LABELS),
    "sigmoid": (nn.BinaryCrossEntropy(), YES),
    "sigmoid-positive": (nn.BinaryCrossEntropy([1.0, 2.0, 0.5, 3.0]), YES),
    "identity": (nn.MeanSquaredError(), TARGETS),
    "exponential": (nn.Poisson(), COUNTED),
    "huber": (nn.Huber(0.5), TARGETS),
}
losses = pytest.mark.parametrize("name", LOSSES)


def given_to(name):
    """The arrays of a case: its options, the scores, the targets."""
    _, _, options, x, t = CASES[name]
    return [*options.values(), x, t]


def forward(name, arrays):
    """A loss that has recorded its pass, and its value."""
    build, numbers, options, _, _ = CASES[name]
    named = numbers | dict(zip(options, arrays, strict=False))
    layer = build(named.pop("weight", None), **named)
    return layer, layer.forward(*arrays[-2:])


def both(name):
    """The loss and its derivative by the scores, as one function of the arrays."""

    def function(*arrays):
        layer, loss = forward(name, arrays)
        return [loss, layer.backward()]

    return function


def atol_of(dtype):
    return {"float32": 2e-6, "float64": 1e-14}[dtype]


# PyTorch's losses, with the weights of samples that theirs do not know


def their_softmax(x, t, weight=None, class_weight=None, smoothing=0.0, ignore=None):
    import torch
    from torch.nn.functional import cross_entropy

    if x.ndim == 1:
        x, t = x[None], t[None]
    ignore = -100 if ignore is None else ignore
    options = {"weight": class_weight, "label_smoothing": smoothing, "ignore_index": ignore}
    if weight is None and (class_weight is None or t.ndim == 1):
        return cross_entropy(x, t, **options)
    counts = torch.ones_like(x[0]) if class_weight is None else class_weight
    if t.ndim == 1:
        counts = torch.where(t == ignore, 0.0, counts[torch.where(t == ignore, 0, t)])
    else:
        mass = t.sum(-1)
        counts = torch.where(mass == 0, 1.0, t @ counts / mass)
    weight = torch.ones_like(x[:, 0]) if weight is None else weight
    return (weight * cross_entropy(x, t, reduction="none", **options)).sum() / (weight * counts).sum()


def their_mean(each, weight):
    each = each.sum(-1)
    return each.mean() if weight is None else (weight * each).sum() / weight.sum()


def their_sigmoid(x, t, weight=None, positive_weight=None):
    from torch.nn.functional import binary_cross_entropy_with_logits

    each = binary_cross_entropy_with_logits(x, t, pos_weight=positive_weight, reduction="none")
    return their_mean(each, weight)


def their_identity(x, t, weight=None):
    from torch.nn.functional import mse_loss

    return their_mean(0.5 * mse_loss(x, t, reduction="none"), weight)


def their_exponential(x, t, weight=None):
    import torch
    from torch.nn.functional import poisson_nll_loss

    at_its_least = torch.xlogy(t, t) - t
    return their_mean(poisson_nll_loss(x, t, log_input=True, reduction="none") + at_its_least, weight)


def their_huber(x, t, weight=None, delta=1.0):
    from torch.nn.functional import huber_loss

    return their_mean(huber_loss(x, t, delta=delta, reduction="none"), weight)


THEIRS = {
    SoftmaxWithLoss: their_softmax,
    SigmoidWithLoss: their_sigmoid,
    IdentityWithLoss: their_identity,
    ExponentialWithLoss: their_exponential,
    HuberLoss: their_huber,
}


def theirs(build, numbers, options, x, t):
    """PyTorch's loss and its gradient, on the host."""
    import torch

    def tensor(a):
        return torch.asarray(np.array(a))

    scores = tensor(x).requires_grad_()
    loss = THEIRS[build](scores, tensor(t), **numbers, **{key: tensor(a) for key, a in options.items()})
    (dx,) = torch.autograd.grad(loss, scores)
    return loss.detach().numpy(), dx.numpy()


@needs("torch")
@cases
def test_losses_agree_with_pytorchs_own(lib, name):
    loss, dx = theirs(*CASES[name])
    for dtype in lib.dtypes:
        layer, got = forward(name, convert(lib, given_to(name), dtype))
        check(lib, got, loss, dtype)
        check(lib, layer.backward(), dx, dtype, atol=atol_of(dtype))


NUMBERS = st.floats(-20, 20)
COUNTS = st.just(0.0) | st.floats(0.01, 5)


@st.composite
def problems(draw, build):
    """A loss, its options that are numbers and those that are arrays, scores and targets."""
    shape = n, k = draw(st.integers(1, 5)), draw(st.integers(1, 4))
    x = draw(arrays("float64", shape, elements=NUMBERS))
    numbers, options = {}, {}
    if draw(st.booleans()):
        options["weight"] = draw(arrays("float64", n, elements=COUNTS))
    outputs = {SoftmaxWithLoss: "class_weight", SigmoidWithLoss: "positive_weight"}.get(build)
    if outputs and draw(st.booleans()):
        options[outputs] = draw(arrays("float64", k, elements=COUNTS))
    if build is SoftmaxWithLoss:
        numbers["smoothing"] = draw(st.just(0.0) | st.floats(0, 0.99))
        if draw(st.booleans()):
            labels = st.integers(0, k - 1)
            if draw(st.booleans()):
                numbers["ignore"] = draw(st.sampled_from([-1, 255, 0]))
                labels |= st.just(numbers["ignore"])
            t = draw(arrays("int64", n, elements=labels))
        else:
            t = draw(arrays("float64", shape, elements=st.floats(0.1, 1) | st.just(1e-3)))
            t = t / t.sum(axis=1, keepdims=True)
    elif build is SigmoidWithLoss:
        t = draw(arrays("float64", shape, elements=st.sampled_from([0.0, 1.0]) | st.floats(0, 1)))
    elif build is ExponentialWithLoss:
        x, t = x / 4, draw(arrays("float64", shape, elements=st.just(0.0) | st.floats(1e-3, 20)))
    else:
        t = draw(arrays("float64", shape, elements=NUMBERS))
    if build is HuberLoss:
        numbers["delta"] = draw(st.floats(0.01, 30))
    if "weight" not in options and draw(st.booleans()):
        x, t = x[0], t[0]
    return build, numbers, options, x, t


def counted(build, numbers, options, x, t):
    """What all samples of a problem count together."""
    weight = options.get("weight", np.ones(x.shape[:-1]))
    if build is not SoftmaxWithLoss:
        return np.sum(weight)
    classes = np.arange(x.shape[-1])
    if t.ndim < x.ndim:
        t = (t[..., None] == classes) & (classes != numbers.get("ignore"))
    return np.sum(weight * (t @ options.get("class_weight", np.ones(x.shape[-1]))))


@needs("torch")
@pytest.mark.parametrize(
    "build", [SoftmaxWithLoss, SigmoidWithLoss, IdentityWithLoss, ExponentialWithLoss, HuberLoss]
)
def test_losses_of_any_shape_and_options_agree_with_pytorchs_own(build):
    seen = {True: 0, False: 0}

    @settings(max_examples=200)
    @given(problem=problems(build))
    def compare(problem):
        build, numbers, options, x, t = problem
        layer = build(options.get("weight"), **numbers, **{key: a for key, a in options.items() if key != "weight"})
        loss = layer.forward(x, t)
        dx = layer.backward()
        assert loss.shape == ()
        assert dx.shape == x.shape
        counts = bool(counted(*problem))
        seen[counts] += 1
        expected = theirs(*problem) if counts else (0, np.zeros(x.shape))  # theirs is NaN or infinite
        np.testing.assert_allclose(loss, expected[0], rtol=1e-9, atol=1e-9)
        np.testing.assert_allclose(dx, expected[1], rtol=1e-9, atol=1e-9)

    compare()
    assert min(seen.values()) > 5


@needs("torch")
def test_summed_over_the_outputs_they_are_k_times_pytorchs_means():
    import torch
    from torch.nn import BCEWithLogitsLoss, HuberLoss as TheirHuberLoss

    x, yes, t = (torch.asarray(a.copy()) for a in (SCORES, YES, TARGETS))
    for ours, their in [
        (SigmoidWithLoss().forward(SCORES, YES), BCEWithLogitsLoss()(x, yes)),
        (
            SigmoidWithLoss(positive_weight=C).forward(SCORES, YES),
            BCEWithLogitsLoss(pos_weight=torch.asarray(C))(x, yes),
        ),
        (HuberLoss(delta=0.7).forward(SCORES, TARGETS), TheirHuberLoss(delta=0.7)(x, t)),
    ]:
        np.testing.assert_allclose(ours, 4 * their.numpy(), rtol=1e-14)


# Backward


@cases
def test_backward_is_the_derivative_in_a_random_direction(lib, name):
    *options, x, t = given_to(name)
    direction = np.random.default_rng(2).normal(size=x.shape)
    for dtype in lib.dtypes:
        h, tolerance = (1e-5, 1e-8) if dtype == "float64" else (1e-2, 5e-3)

        def at(h, dtype=dtype):
            return forward(name, convert(lib, [*options, x + h * direction, t], dtype))

        slope = np.sum(direction * lib.numpy(at(0)[0].backward()))
        high, low = (float(at(step)[1]) for step in (h, -h))
        np.testing.assert_allclose(slope, (high - low) / (2 * h), rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize(
    "options", [{}, {"class_weight": C}, {"smoothing": 0.3}, {"class_weight": C, "smoothing": 0.3}]
)
@pytest.mark.parametrize("t", [MULTI_HOT, 0 * MULTI_HOT, 2.5 * P], ids=["multi-hot", "zeros", "of any sum"])
def test_the_derivative_of_softmax_with_loss_is_that_of_its_loss_for_any_targets(lib, t, options):
    """Also for rows that do not sum to 1, and those that sum to 0; in a random direction, and by a few elements."""
    dtype = max(lib.dtypes)
    numbers = {name: value if name == "smoothing" else lib.asarray(value, dtype) for name, value in options.items()}
    x, t, weight = (lib.asarray(a, dtype) for a in (SCORES, t, WEIGHT))
    direction = np.random.default_rng(2).normal(size=SCORES.shape)
    h, tolerance = (1e-5, 1e-8) if dtype == "float64" else (1e-2, 5e-3)
    for build in (SoftmaxWithLoss, partial(SoftmaxWithLoss, weight)):
        build = partial(build, **numbers)
        assert xpnet.check_layer(build, {}, x, t, sample=3).ok
        layer = build()
        layer.forward(x, t)
        slope = np.sum(direction * lib.numpy(layer.backward()))
        high, low = (float(build().forward(lib.asarray(SCORES + step * direction, dtype), t)) for step in (h, -h))
        np.testing.assert_allclose(slope, (high - low) / (2 * h), rtol=tolerance, atol=tolerance)


@cases
def test_backward_is_linear_in_dout_and_nothing_is_computed_or_written(lib, name):
    for dtype in lib.dtypes:
        arrays = convert(lib, given_to(name), dtype)
        before = [lib.numpy(a).copy() for a in arrays]
        dout = lib.asarray(-1.7, dtype)
        with no_computing(lib):
            layer, loss = forward(name, arrays)
            plain, times = layer.backward(), layer.backward(dout)
        assert lib.holds(loss)
        assert np.any(lib.numpy(plain))
        check(lib, times, float(dout) * lib.numpy(plain), dtype, atol=atol_of(dtype))
        for value, old in zip(arrays, before, strict=True):
            np.testing.assert_array_equal(lib.numpy(value), old)


@losses
def test_the_backward_of_a_loss_takes_a_number_or_an_array_and_is_1_by_default(lib, name):
    description, t = LOSSES[name]
    build = description.layer
    for dtype in lib.dtypes:
        layer = build()
        layer.forward(*convert(lib, [SCORES, t], dtype))
        plain = lib.numpy(layer.backward())
        for dout, factor in [(1.0, 1), (-2.5, -2.5), (0.0, 0), (lib.asarray(3.0, dtype), 3)]:
            check(lib, layer.backward(dout), factor * plain, dtype)


# Traced, vectorised and differentiated by the library itself


def test_compiled_a_loss_is_the_same(lib):
    dtype = max(lib.dtypes)
    for name in CASES:
        got = lib.backend.compile(both(name))(*convert(lib, given_to(name), dtype))
        for a, b in zip(got, both(name)(*given_to(name)), strict=True):
            check(lib, a, b, dtype, atol=atol_of(dtype), name=name)


@pytest.mark.only("jax", "torch")
def test_vmap_over_many_problems_is_one_after_the_other(lib):
    for name in CASES:
        many = [np.stack([a, np.flip(a), a]) for a in given_to(name)]
        singles = [both(name)(*(m[i] for m in many)) for i in range(3)]
        got = vmap_of(lib, both(name))(*convert(lib, many, "float64"))
        for a, b in zip(got, zip(*singles, strict=True), strict=True):
            check(lib, a, np.stack(b), "float64", atol=1e-14, name=name)


@pytest.mark.only("jax", "torch")
def test_automatic_differentiation_of_our_forward_is_our_backward(lib):
    for name in CASES:
        arrays = convert(lib, given_to(name), "float64")
        (got,) = gradients_of(lib, lambda *a, name=name: forward(name, a)[1], arrays, [len(arrays) - 2])
        check(lib, got, both(name)(*given_to(name))[1], "float64", atol=1e-14, name=name)


@losses
def test_a_network_takes_a_loss_with_options(lib, name):
    description, t = LOSSES[name]
    build = description.layer
    x, given_t, weight = convert(lib, [RNG.normal(size=(5, 3)), t, WEIGHT], max(lib.dtypes))
    net = xpnet.Network(xpnet.Sequential(nn.Dense(4), loss=description), (3,), like=x)
    assert xpnet.check_gradients(net, x, given_t).ok

    def pure(x, t, weight, W, b):
        loss, gradients, _ = net.stack.loss_and_gradient({"W1": W, "b1": b}, x, t, weight=weight)
        return [loss, *gradients.values()]

    loss, *gradients = lib.backend.compile(pure)(x, given_t, weight, *net.params.values())
    layer = build(weight)
    expected = layer.forward(net.predict(x), given_t)
    dx = lib.numpy(layer.backward())
    dtype = max(lib.dtypes)
    check(lib, loss, lib.numpy(expected), dtype)
    check(lib, gradients[0], lib.numpy(x).T @ dx, dtype, atol=atol_of(dtype))


# The weights of samples


@losses
def test_weights_of_one_are_none(lib, name):
    description, t = LOSSES[name]
    build = description.layer
    for dtype in lib.dtypes:
        for weight in (np.ones(5), np.full(5, 7.0)):  # only their shares count
            plain, weighted = build(), build(lib.asarray(weight, dtype))
            x, given_t = convert(lib, [SCORES, t], dtype)
            check(lib, weighted.forward(x, given_t), float(plain.forward(x, given_t)), dtype)
            check(lib, weighted.backward(), lib.numpy(plain.backward()), dtype, atol=1e-7)


@losses
def test_a_weight_of_2_is_the_sample_twice_and_of_0_is_the_sample_left_out(lib, name):
    description, t = LOSSES[name]
    build = description.layer
    repeats = np.asarray([2, 1, 0, 1, 3])
    for dtype in lib.dtypes:
        plain, weighted = build(), build(lib.asarray(repeats, dtype))
        many = convert(lib, [np.repeat(SCORES, repeats, axis=0), np.repeat(t, repeats, axis=0)], dtype)
        expected = float(plain.forward(*many))
        check(lib, weighted.forward(*convert(lib, [SCORES, t], dtype)), expected, dtype)
        dx = lib.numpy(plain.backward())
        sums = np.asarray([dx[np.repeat(np.arange(5), repeats) == i].sum(axis=0) for i in range(5)])
        check(lib, weighted.backward(), sums, dtype, atol=1e-6 if dtype == "float32" else 1e-15)


@losses
def test_where_no_sample_counts_there_is_no_loss_and_nothing_to_learn(lib, name):
    description, t = LOSSES[name]
    build = description.layer
    for dtype in lib.dtypes:
        layer = build(lib.asarray(np.zeros(5), dtype))
        check(lib, layer.forward(*convert(lib, [SCORES, t], dtype)), 0, dtype)
        check(lib, layer.backward(), np.zeros((5, 4)), dtype)


# Softmax with cross-entropy


@pytest.mark.parametrize("t", [LABELS, ONE_HOT], ids=["labels", "one-hot"])
def test_softmax_with_loss_is_the_loss_and_keeps_the_probabilities(lib, t):
    for dtype in lib.dtypes:
        x, given_t = convert(lib, [SCORES, t], dtype)
        layer = SoftmaxWithLoss()
        expected = np.mean(np.logaddexp.reduce(SCORES, axis=1) - SCORES[np.arange(5), LABELS])
        y = np.exp(SCORES) / np.exp(SCORES).sum(axis=1, keepdims=True)
        check(lib, layer.forward(x, given_t), expected, dtype)
        check(lib, xpnet.softmax_cross_entropy(x, given_t), expected, dtype)
        check(lib, layer.y, y, dtype)
        check(lib, layer.backward(), (y - ONE_HOT) / 5, dtype, atol=1e-7 if dtype == "float32" else 1e-16)


def test_one_sample_one_hot_is_not_scaled_by_the_number_of_classes(lib):
    dtype = max(lib.dtypes)
    x = lib.asarray([0.0, 0.0, 0.0, 0.0])
    for t in (lib.asarray(1), lib.asarray([0, 1, 0, 0]), lib.asarray([0.0, 1.0, 0.0, 0.0])):
        layer = SoftmaxWithLoss()
        check(lib, layer.forward(x, t), math.log(4), dtype)
        check(lib, layer.backward(), [0.25, -0.75, 0.25, 0.25], dtype)


def same(lib, dtype, one, other, *, one_t=LABELS, other_t=LABELS):
    """Two losses have the same value and derivative on the scores."""
    value = float(other.forward(*convert(lib, [SCORES, other_t], dtype)))
    check(lib, one.forward(*convert(lib, [SCORES, one_t], dtype)), value, dtype)
    check(lib, one.backward(), lib.numpy(other.backward()), dtype, atol=atol_of(dtype))


def test_weights_of_classes_are_weights_of_their_samples(lib):
    for dtype in lib.dtypes:
        ones, c, of_samples = (lib.asarray(a, dtype) for a in (np.ones(4), C, C[LABELS]))
        same(lib, dtype, SoftmaxWithLoss(class_weight=ones), SoftmaxWithLoss())
        same(lib, dtype, SoftmaxWithLoss(class_weight=c), SoftmaxWithLoss(of_samples))


def test_smoothing_spreads_a_part_of_the_target_evenly(lib):
    for dtype in lib.dtypes:
        for s in (0.0, 0.1, 0.9):
            smooth = SoftmaxWithLoss(smoothing=s)
            same(lib, dtype, smooth, SoftmaxWithLoss(), other_t=(1 - s) * ONE_HOT + s / 4)


def test_equal_class_weights_change_nothing_whatever_the_targets_sum_to(lib):
    for t in (LABELS, P, MULTI_HOT):
        for dtype in lib.dtypes:
            x, t_of, ones = lib.asarray(SCORES, dtype), lib.asarray(t), lib.asarray(np.ones(4), dtype)
            plain, weighed = SoftmaxWithLoss(), SoftmaxWithLoss(class_weight=ones)
            check(lib, weighed.forward(x, t_of), lib.numpy(plain.forward(x, t_of)), dtype)
            check(lib, weighed.backward(), lib.numpy(plain.backward()), dtype, atol=atol_of(dtype))


def test_one_hot_targets_are_their_labels_with_any_options(lib):
    for dtype in lib.dtypes:
        for weight, options in [
            (None, {"class_weight": lib.asarray(C, dtype)}),
            (lib.asarray(WEIGHT, dtype), {"class_weight": lib.asarray(C, dtype), "smoothing": 0.3}),
        ]:
            labels, rows = (SoftmaxWithLoss(weight, **options) for _ in range(2))
            same(lib, dtype, labels, rows, other_t=ONE_HOT)


@pytest.mark.parametrize("label", [1, -1, 4, 100, 255, 1000])
def test_a_sample_with_the_ignored_label_is_left_out(lib, label):
    t, kept = np.asarray([3, label, 0, label, 2]), np.asarray([0, 2, 4])
    dtypes = lib.xp.__array_namespace_info__().dtypes(device=lib.device, kind="integral")
    held = [d for d in dtypes if np.iinfo(d).min <= label <= np.iinfo(d).max]
    assert len(held) >= 3
    for dtype in lib.dtypes:
        c = lib.asarray(C, dtype)
        every = {"class_weight": c, "smoothing": 0.1}
        for options in ({}, {"smoothing": 0.1}, every):
            alone = SoftmaxWithLoss(**options)
            value = float(alone.forward(*convert(lib, [SCORES[kept], t[kept]], dtype)))
            expected = np.zeros((5, 4))
            expected[kept] = lib.numpy(alone.backward())
            for integer in held if options is every else list(held)[:1]:
                layer = SoftmaxWithLoss(ignore=label, **options)
                loss = layer.forward(lib.asarray(SCORES, dtype), lib.asarray(t, integer))
                check(lib, loss, value, dtype, name=integer)
                dx = layer.backward()
                check(lib, dx, expected, dtype, atol=atol_of(dtype), name=integer)
                assert not np.any(lib.numpy(dx)[[1, 3]])


def test_labels_beyond_uint8_are_not_taken_for_the_ignored_one(lib):
    x = np.zeros((2, 300))
    for dtype in ("int16", "uint16", "int32"):
        layer = SoftmaxWithLoss(ignore=43)
        loss = layer.forward(lib.asarray(x), lib.asarray([299, 43], dtype))  # one number in uint8
        check(lib, loss, math.log(300), max(lib.dtypes))
        assert np.any(lib.numpy(layer.backward()), axis=1).tolist() == [True, False]


@pytest.mark.parametrize("smoothing", [0.0, 0.3])
def test_where_all_samples_are_ignored_there_is_no_loss_and_nothing_to_learn(lib, smoothing):
    for dtype in lib.dtypes:
        build = partial(SoftmaxWithLoss, smoothing=smoothing, ignore=-1)
        x, t, w, c = convert(lib, [SCORES, np.full(5, -1), WEIGHT, C], dtype)
        for layer, scores, labels in [
            (build(), x, t),
            (build(w), x, t),
            (build(class_weight=c), x, t),
            (build(w, class_weight=c), x, t),
            (build(class_weight=lib.asarray(np.zeros(4), dtype)), x, lib.asarray(LABELS)),
            (build(class_weight=c), x[0, :], t[0, ...]),
        ]:
            check(lib, layer.forward(scores, labels), 0, dtype)
            check(lib, layer.backward(), np.zeros(scores.shape), dtype)


# The others


def test_sigmoid_with_loss_is_softmax_over_yes_and_no(lib):
    """The score of a no is 0."""
    for dtype in lib.dtypes:
        layer, pairs = SigmoidWithLoss(), SoftmaxWithLoss()
        flat, yes = SCORES.reshape(-1), YES.reshape(-1).astype(int)
        value = float(pairs.forward(*convert(lib, [np.stack([0 * flat, flat], axis=1), yes], dtype)))
        check(lib, layer.forward(*convert(lib, [SCORES, YES], dtype)), 4 * value, dtype)
        check(lib, layer.y, lib.numpy(pairs.y)[:, 1].reshape(5, 4), dtype)
        expected = 4 * lib.numpy(pairs.backward())[:, 1].reshape(5, 4)
        check(lib, layer.backward(), expected, dtype, atol=atol_of(dtype))


def test_sigmoid_with_loss_takes_integer_targets(lib):
    for dtype in lib.dtypes:
        x = lib.asarray(SCORES, dtype)
        value = float(SigmoidWithLoss().forward(x, lib.asarray(YES, dtype)))
        for integer in ("uint8", "int32", "bool"):
            check(lib, SigmoidWithLoss().forward(x, lib.asarray(YES, integer)), value, dtype)


def test_identity_with_loss_is_the_squared_error(lib):
    for dtype in lib.dtypes:
        x, t = convert(lib, [SCORES, TARGETS], dtype)
        layer = IdentityWithLoss()
        check(lib, layer.forward(x, t), 0.5 * np.sum((SCORES - TARGETS) ** 2) / 5, dtype)
        check(lib, xpnet.sum_squared_error(x, t), 0.5 * np.sum((SCORES - TARGETS) ** 2) / 5, dtype)
        check(lib, layer.y, SCORES, dtype)
        check(lib, layer.backward(), (SCORES - TARGETS) / 5, dtype, atol=1e-7)


@pytest.mark.parametrize("delta", [0.5, 1, 3.0])
def test_huber_loss_is_squared_within_delta_and_linear_beyond(lib, delta):
    errors = np.asarray([-10.0, -3.0, -1.0, -0.5, 0.0, 0.25, 0.5, 1.0, 3.0, 10.0])
    expected = np.where(abs(errors) <= delta, errors**2 / 2, delta * (abs(errors) - delta / 2))
    for dtype in lib.dtypes:
        t = lib.asarray([2.0] * 10, dtype)
        layer = HuberLoss(delta=delta)
        check(lib, layer.forward(lib.asarray(errors + 2, dtype), t), np.sum(expected), dtype)
        check(lib, layer.y, errors + 2, dtype)
        check(lib, layer.backward(), np.clip(errors, -delta, delta), dtype)
    same(lib, dtype, HuberLoss(delta=1e3), IdentityWithLoss(), one_t=TARGETS, other_t=TARGETS)


def test_options_that_are_numpy_numbers_do_not_widen(lib):
    for layer, t in [
        (SoftmaxWithLoss(smoothing=np.float64(0.1)), LABELS),
        (HuberLoss(delta=np.float64(0.1)), TARGETS),
    ]:
        for value in (layer.forward(*convert(lib, [SCORES, t], "float32")), layer.backward()):
            assert lib.numpy(value).dtype == "float32"
    assert type(SoftmaxWithLoss(ignore=np.int64(-1)).ignore) is int


# Extremes


@pytest.mark.parametrize(
    ("build", "x", "t", "loss", "dx"),
    [
        (SoftmaxWithLoss, [[1e4, 0.0]], [1], 1e4, [[1, -1]]),
        (SoftmaxWithLoss, [[1e4, -1e4]], [0], 0, [[0, 0]]),
        (partial(SoftmaxWithLoss, smoothing=0.5), [[1e4, -1e4]], [0], 5e3, [[0.25, -0.25]]),
        (partial(SoftmaxWithLoss, ignore=0), [[1e4, -1e4], [-1e4, 1e4]], [0, 1], 0, [[0, 0], [0, 0]]),
        (SigmoidWithLoss, [1e4, -1e4, 1e4, -1e4], [1, 0, 0, 1], 2e4, [0, 0, 1, -1]),
        (SigmoidWithLoss, [1e4, -1e4], [0.5, 0.5], 1e4, [0.5, -0.5]),
        (SigmoidWithLoss, [50.0], [1], 1.928749847963918e-22, [0]),
        (SigmoidWithLoss, [-50.0], [0], 1.928749847963918e-22, [1.928749847963918e-22]),
        (IdentityWithLoss, [1e4, -1e4], [0, 0], 1e8, [1e4, -1e4]),
        (ExponentialWithLoss, [-1e4, -1e4], [0, 1], 9999, [0, -1]),
        (HuberLoss, [1e4, -1e4], [0, 0], 19999, [1, -1]),
        (HuberLoss, [1e30, -1e30], [0, 0], 2e30, [1, -1]),
    ],
)
def test_extreme_scores_have_their_loss_and_still_teach(lib, build, x, t, loss, dx):
    for dtype in lib.dtypes:
        layer = build()
        check(lib, layer.forward(lib.asarray(x, dtype), lib.asarray(t)), loss, dtype)
        check(lib, layer.backward(), dx, dtype)


EXTREME = st.floats(-1e4, 1e4, width=32) | st.sampled_from([-1e4, 0.0, 1e4])


@pytest.mark.parametrize("name", [name for name in LOSSES if name != "exponential"])  # exp(1e4) is infinite
@settings(max_examples=50)
@given(x=arrays(np.float32, (5, 4), elements=EXTREME), outputs=st.booleans())
def test_any_scores_have_a_finite_loss_of_0_or_more_and_a_finite_derivative(name, x, outputs):
    description, t = LOSSES[name]
    option = {"softmax": "class_weight", "sigmoid": "positive_weight"}.get(name.partition("-")[0])
    layer = (replace(description, **{option: C}) if outputs and option else description).layer()
    loss = layer.forward(x, t if t.dtype.kind == "i" else t.astype("float32"))
    assert loss.dtype == layer.backward().dtype == "float32"
    assert 0 <= loss < math.inf
    assert np.all(np.isfinite(layer.backward()))


# What is refused


@losses
def test_losses_refuse_what_does_not_fit(lib, name):
    description, t = LOSSES[name]
    build = description.layer
    x, given_t = lib.asarray(SCORES), lib.asarray(t)
    for args, error, match in [
        ((x, lib.asarray(TARGETS[:4])), ValueError, r"t has shape \(4, 4\)"),
        ((lib.asarray(SCORES[:0]), lib.asarray(t[:0])), ValueError, "x is empty"),
        ((lib.asarray(SCORES[None]), given_t), ValueError, "flatten it first"),
        ((lib.asarray(SCORES.astype(int)), given_t), TypeError, "x must have a real floating dtype"),
        ((SCORES.tolist(), given_t), TypeError, "x must be an array"),
        ((x, t.tolist()), TypeError, "t must be an array"),
    ]:
        with pytest.raises(error, match=match):
            build().forward(*args)
    for weight, args, error, match in [
        (lib.asarray(WEIGHT[:4]), (x, given_t), ValueError, r"weight has shape \(4,\), expected one weight for each"),
        (lib.asarray(WEIGHT[:4]), (x[0, :], given_t[0, ...]), ValueError, "weight has shape"),
        (lib.asarray([1] * 5), (x, given_t), TypeError, "weight must have a real floating dtype"),
        ([1.0] * 5, (x, given_t), TypeError, "weight must be an array"),
    ]:
        with pytest.raises(error, match=match):
            build(weight).forward(*args)


@pytest.mark.parametrize("build", [SigmoidWithLoss, IdentityWithLoss, ExponentialWithLoss, HuberLoss])
def test_targets_of_outputs_have_their_shape(lib, build):
    for x, t in [(SCORES, LABELS), (SCORES[:, :1], YES[:, 0]), (SCORES[0], YES[:1])]:
        with pytest.raises(ValueError, match=rf"{build.__name__}: t has shape \(.*\), expected that of the outputs"):
            build().forward(lib.asarray(x), lib.asarray(t))


@pytest.mark.parametrize(
    ("build", "option", "t"),
    [(SoftmaxWithLoss, "class_weight", LABELS), (SigmoidWithLoss, "positive_weight", YES)],
)
def test_weights_of_outputs_are_refused_where_they_do_not_fit(lib, build, option, t):
    x, given_t = lib.asarray(SCORES), lib.asarray(t)
    where = f"{build.__name__}: {option}"
    for value, error, match in [
        (lib.asarray(C[:3]), ValueError, rf"{where} has shape \(3,\), expected \(4,\).* shape \(5, 4\)"),
        (lib.asarray(C[None]), ValueError, rf"{where} has shape \(1, 4\)"),
        (lib.asarray(2.0), ValueError, rf"{where} has shape \(\)"),
        (lib.asarray([1, 2, 3, 4]), TypeError, f"{where} must have a real floating dtype"),
        (C[:3].tolist(), ValueError, rf"{where} has shape \(3,\)"),
        ({1: 2.0}, TypeError, f"{option} must be an array"),
    ]:
        with pytest.raises(error, match=match):
            build(**{option: value}).forward(x, given_t)
    dtype = max(lib.dtypes)
    expected = build(**{option: lib.asarray(C)}).forward(x, given_t)
    check(lib, build(**{option: C.tolist()}).forward(x, given_t), lib.numpy(expected), dtype, rtol=0)
    if lib.backend.name != "numpy":
        with pytest.raises(TypeError, match=rf"different libraries: .*{option} is numpy\.ndarray"):
            build(**{option: C}).forward(x, given_t)
    if len(lib.dtypes) > 1:
        with pytest.raises(TypeError, match=rf"x is .*float32 but {option} is .*float64; cast"):
            build(**{option: lib.asarray(C, "float64")}).forward(lib.asarray(SCORES, "float32"), given_t)


@pytest.mark.parametrize(
    ("build", "option", "values", "error"),
    [
        (SoftmaxWithLoss, "smoothing", (-0.1, 1, 1.5, math.nan), ValueError),
        (SoftmaxWithLoss, "smoothing", ("0.1", True), TypeError),
        (SoftmaxWithLoss, "ignore", (1.0, "3", True, LABELS), TypeError),
        (HuberLoss, "delta", (0, -1.0, math.nan), ValueError),
    ],
)
def test_numbers_that_cannot_be_are_refused_when_the_loss_is_built(build, option, values, error):
    for value in values:
        with pytest.raises(error, match=f"{build.__name__}: {option} must be"):
            build(**{option: value})


def test_an_ignored_label_needs_labels_that_can_hold_it(lib):
    x = lib.asarray(SCORES)
    index = lib.numpy(lib.asarray(0)).dtype
    most = np.iinfo(index).max
    for dtype, label, low, high in [
        ("uint8", -1, 0, 255),
        ("int8", 255, -128, 127),
        ("uint16", -100, 0, 65535),
        (f"u{index}", 2 * most + 1, 0, most),
    ]:
        with pytest.raises(ValueError, match=rf"ignore={label}, but labels t of .*{dtype} go from {low} to {high};"):
            SoftmaxWithLoss(ignore=label).forward(x, lib.asarray(LABELS, dtype))
    with pytest.raises(ValueError, match=r"ignore=2 is a label, but t is one-hot, shape \(5, 4\); pass labels"):
        SoftmaxWithLoss(ignore=2).forward(x, lib.asarray(ONE_HOT))


# Scores of minus infinity: a class is ruled out

OTHERS = np.asarray([0, 2, 3])  # the class 1 is ruled out
RULED_OUT = np.where(np.arange(4) == 1, -math.inf, SCORES)
SPREAD = np.where(np.arange(4) == 1, 0.0, P)
MASKED = {
    "labels": ({}, {}, np.asarray([3, 0, 3, 0, 2])),
    "labels-checked": ({}, {}, np.asarray([3, 0, 3, 0, 2])),
    "probabilities": ({}, {}, SPREAD),
    "weighted": ({}, {"weight": WEIGHT}, np.asarray([3, 0, 3, 0, 2])),
    "weighted-checked": ({}, {"weight": WEIGHT}, np.asarray([3, 0, 3, 0, 2])),
    "classes": ({}, {"class_weight": C}, np.asarray([3, 0, 3, 0, 2])),
    "ignore": ({"ignore": 2}, {"class_weight": C}, np.asarray([3, 0, 3, 0, 2])),
}


def masked(name, arrays, x, t):
    """The loss of a case of `MASKED`, and its value."""
    numbers, options, _ = MASKED[name]
    named = numbers | dict(zip(options, arrays, strict=True))
    layer = SoftmaxWithLoss(named.pop("weight", None), **named)
    layer.checked = name.endswith("checked")
    return layer, layer.forward(x, t)


@pytest.mark.parametrize("name", MASKED)
def test_a_class_that_is_ruled_out_is_as_if_it_did_not_exist(lib, name):
    numbers, options, t = MASKED[name]
    if t.ndim == 2:
        fewer_t = t[:, OTHERS]
    else:
        fewer_t = np.searchsorted(OTHERS, t)
        numbers = numbers | ({"ignore": 1} if numbers else {})
    fewer = {key: a[OTHERS] if key == "class_weight" else a for key, a in options.items()}
    alone = SoftmaxWithLoss(fewer.pop("weight", None), **numbers, **fewer)
    loss = alone.forward(SCORES[:, OTHERS], fewer_t)
    expected = np.zeros((5, 4))
    expected[:, OTHERS] = alone.backward()
    for dtype in lib.dtypes:
        *arrays, x, targets = convert(lib, [*options.values(), RULED_OUT, t], dtype)
        layer, found = masked(name, arrays, x, targets)
        check(lib, found, loss, dtype)
        check(lib, layer.backward(), expected, dtype, atol=atol_of(dtype))
    if lib.backend.name in ("jax", "torch"):
        (theirs,) = gradients_of(lib, lambda x: masked(name, arrays, x, targets)[1], [x], [0])
        check(lib, theirs, expected, dtype, atol=atol_of(dtype))


@pytest.mark.parametrize("checked", [False, True])
def test_a_target_that_is_ruled_out_has_an_infinite_loss_unless_its_sample_counts_nothing(lib, checked):
    x, t = lib.asarray(RULED_OUT), lib.asarray([3, 1, 3, 0, 2])
    no_weight = lib.asarray([1.0, 0.0, 1.0, 1.0, 1.0])
    for options, finite in (((), False), ((no_weight,), True)):
        layer = SoftmaxWithLoss(*options)
        layer.checked = checked
        assert math.isfinite(float(layer.forward(x, t))) is finite
        assert np.isfinite(lib.numpy(layer.backward())).all()
    layer = SoftmaxWithLoss(ignore=0)
    first = lib.asarray(np.where(np.arange(4) == 0, -math.inf, SCORES))
    assert math.isfinite(float(layer.forward(first, lib.asarray([3, 0, 3, 1, 2]))))


def test_a_binary_score_that_is_certain_and_right_adds_nothing(lib):
    inf = math.inf
    x, t = np.asarray([[-inf, 1.0, inf]]), np.asarray([[0.0, 1.0, 1.0]])
    for dtype in lib.dtypes:
        for options in ({}, {"positive_weight": lib.asarray([2.0, 2.0, 2.0], dtype)}):
            p = 2 if options else 1
            layer = SigmoidWithLoss(**options)
            scores, targets = lib.asarray(x, dtype), lib.asarray(t, dtype)
            check(lib, layer.forward(scores, targets), p * math.log1p(math.exp(-1)), dtype)
            dx = [[0.0, -p / (1 + math.e), 0.0]]
            check(lib, layer.backward(), dx, dtype)
            if lib.backend.name in ("jax", "torch"):
                theirs = gradients_of(
                    lib, lambda x, o=options, t=targets: SigmoidWithLoss(**o).forward(x, t), [scores], [0]
                )
                check(lib, theirs[0], dx, dtype)
        assert float(SigmoidWithLoss().forward(scores, lib.asarray(1 - t, dtype))) == inf  # certain and wrong
        bad = lib.asarray(x * math.nan, dtype)
        assert math.isnan(float(SigmoidWithLoss().forward(bad, targets)))


@pytest.mark.only("jax", "torch")
def test_the_librarys_own_derivative_of_the_binary_loss_is_ours_at_zero(lib):
    x, t = lib.asarray([[0.0, 0.0, -0.0]]), lib.asarray([[0.0, 1.0, 0.25]])
    layer = SigmoidWithLoss()
    layer.forward(x, t)
    (theirs,) = gradients_of(lib, lambda x: SigmoidWithLoss().forward(x, t), [x], [0])
    np.testing.assert_allclose(lib.numpy(theirs), [[0.5, -0.5, 0.25]], rtol=1e-6)
    np.testing.assert_allclose(lib.numpy(layer.backward()), [[0.5, -0.5, 0.25]], rtol=1e-6)


@pytest.mark.parametrize("weighted", [False, True])
def test_a_nan_of_a_sample_that_does_not_count_is_not_hidden(lib, weighted):
    """Its derivative is NaN, too."""
    x, t = lib.asarray([[np.nan, 0.0], [0.0, 1.0]]), lib.asarray([9, 1] if not weighted else [0, 1])
    layer = SoftmaxWithLoss(lib.asarray([0.0, 1.0])) if weighted else SoftmaxWithLoss(ignore=9)
    assert np.isnan(lib.numpy(layer.forward(x, t)))

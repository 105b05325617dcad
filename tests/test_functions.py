"""Activations, softmax, labels and losses: known values, extremes, and what is refused."""

import math

import numpy as np
import pytest
from conftest import needs
from hypothesis import given, settings, strategies as st
from hypothesis.extra.numpy import arrays

import xpnet

RTOL = {"float32": 1e-5, "float64": 1e-12}

LOSSES = [xpnet.sum_squared_error, xpnet.cross_entropy_error, xpnet.softmax_cross_entropy]
LABELLED = [*LOSSES[1:], xpnet.accuracy]
ACTIVATIONS = [
    xpnet.step_function,
    xpnet.sigmoid,
    xpnet.sigmoid_grad,
    xpnet.relu,
    xpnet.relu_grad,
    xpnet.softmax,
    xpnet.log_softmax,
]

# The book's digit: it is a 2, and the network says so in Y and takes it for a 7 in WRONG.
Y = [0.1, 0.05, 0.6, 0.0, 0.05, 0.1, 0.0, 0.1, 0.0, 0.0]
WRONG = [0.1, 0.05, 0.1, 0.0, 0.05, 0.1, 0.0, 0.6, 0.0, 0.0]
T = [0, 0, 1, 0, 0, 0, 0, 0, 0, 0]


def check(lib, got, expected, dtype, *, rtol=None, atol=0.0, name=""):
    """`got` is of the library, the device and the dtype, and has the values and the shape of `expected`."""
    assert lib.holds(got), name
    host = lib.numpy(got)
    assert host.dtype == dtype, name
    assert host.shape == np.shape(expected), name
    np.testing.assert_allclose(host, expected, rtol=RTOL[dtype] if rtol is None else rtol, atol=atol, err_msg=name)


def id_of(function):
    return function.__name__


# Activations


@pytest.mark.parametrize(
    ("function", "x", "expected"),
    [
        (xpnet.identity_function, [-1.0, 0.3], [-1.0, 0.3]),
        (xpnet.step_function, [-1.0, -0.0, 0.0, 1e-30, 2.0], [0, 0, 0, 1, 1]),
        (xpnet.relu, [[-1.0, -0.0], [0.0, 2.0], [-1e30, 1e30]], [[0, 0], [0, 2], [0, 1e30]]),
        (xpnet.relu_grad, [-1.0, -0.0, 0.0, 1e-30, 2.0], [0, 0, 0, 1, 1]),
        (xpnet.sigmoid, [-1.0, 0.0, 1.0, 2.0], [0.2689414213699951, 0.5, 0.7310585786300049, 0.8807970779778824]),
        (xpnet.sigmoid, [-1000.0, 1000.0], [0, 1]),
        (xpnet.sigmoid, [-80.0, -40.0], [1.8048513878454153e-35, 4.248354255291589e-18]),
        (xpnet.sigmoid_grad, [0.0, 2.0, -2.0], [0.25, 0.10499358540350662, 0.10499358540350662]),
        (xpnet.sigmoid_grad, [-80.0, 80.0], [1.8048513878454153e-35] * 2),
        (xpnet.sigmoid_grad, [-1000.0, 1000.0], [0, 0]),
        (xpnet.softmax, [0.3, 2.9, 4.0], [0.018211273295547534, 0.2451918129350739, 0.7365969137693785]),
        (xpnet.softmax, [1010.0, 1000.0, 990.0], [0.9999546000703311, 4.539786860886666e-05, 2.061060046209062e-09]),
        (xpnet.softmax, [[1e38, -1e38], [-1e38, -1e38]], [[1, 0], [0.5, 0.5]]),
        (xpnet.log_softmax, [0.0, -1000.0], [0, -1000]),
        (xpnet.log_softmax, [[[1e30, 1e30]]], [[[-math.log(2)] * 2]]),
    ],
)
def test_known_values(lib, function, x, expected):
    for dtype in lib.dtypes:
        given_x = lib.asarray(x, dtype)
        with np.errstate(over="raise", invalid="raise", divide="raise"):
            check(lib, function(given_x), expected, dtype, atol=1e-300 if dtype == "float64" else 1e-37)
        np.testing.assert_array_equal(lib.numpy(given_x), np.asarray(x, dtype))


def test_sigmoid_keeps_the_tail_that_float64_can_hold(lib):
    if "float64" in lib.dtypes:
        x = [-100.0, -700.0]
        check(lib, xpnet.sigmoid(lib.asarray(x)), [3.720075976020836e-44, 9.859676543759770e-305], "float64")


def test_functions_take_any_shape(lib):
    for shape in [(), (1,), (2, 3), (2, 1, 2, 2)]:
        for function in ACTIVATIONS[:5]:
            assert function(lib.asarray(np.zeros(shape))).shape == shape


@pytest.mark.parametrize("function", ACTIVATIONS[1:], ids=id_of)
def test_nan_stays_nan_except_in_a_slope_of_steps(lib, function):
    found = lib.numpy(function(lib.asarray([math.nan, math.nan])))
    if function is xpnet.relu_grad:
        np.testing.assert_array_equal(found, 0)
    else:
        assert np.isnan(found).all()


@pytest.mark.parametrize("function", [xpnet.softmax, xpnet.log_softmax], ids=id_of)
def test_axis_chooses_the_classes(lib, function):
    x = np.random.default_rng(0).normal(size=(2, 3, 4))
    dtype = max(lib.dtypes)
    for axis in (0, 1, -1):
        expected = np.moveaxis(lib.numpy(function(lib.asarray(np.moveaxis(x, axis, -1)))), -1, axis)
        check(lib, function(lib.asarray(x), axis=axis), expected, dtype)
        total = np.sum(lib.numpy(function(lib.asarray(x), axis=axis)), axis=axis)
        assert (function is xpnet.softmax) == np.allclose(total, 1)


BATCHES = st.sampled_from([(1,), (5,), (1, 1), (3, 4), (2, 2, 3)]).flatmap(
    lambda shape: arrays(np.float32, shape, elements=st.floats(-1e4, 1e4, width=32) | st.sampled_from([0, 1, 1e4]))
)


@settings(max_examples=25)
@given(x=BATCHES, shift=st.floats(-1e3, 1e3, width=32))
def test_softmax_and_its_logarithm_against_logaddexp(lib, x, shift):
    wide = x.astype(np.float64)
    logs = wide - np.logaddexp.reduce(wide, axis=-1, keepdims=True)
    atol = 4 * float(np.spacing(np.float32(np.max(np.abs(x)) + 1)))
    dtype = max(lib.dtypes)
    atol = atol if dtype == "float32" else 1e-11
    given_x = lib.asarray(wide)
    y = xpnet.softmax(given_x)
    check(lib, xpnet.log_softmax(given_x), logs, dtype, atol=atol)
    check(lib, y, np.exp(logs), dtype, atol=atol)
    np.testing.assert_allclose(np.sum(lib.numpy(y), axis=-1), 1, rtol=10 * RTOL[dtype])
    shifted = lib.numpy(xpnet.softmax(lib.asarray(wide + shift)))
    np.testing.assert_allclose(shifted, np.exp(logs), atol=2 * atol + (1e-2 if dtype == "float32" else 1e-9))


@settings(max_examples=25)
@given(x=BATCHES.filter(lambda x: x.ndim == 2), data=st.data())
def test_losses_are_not_negative_and_one_hot_is_labels(lib, x, data):
    labels = data.draw(arrays(np.int64, x.shape[0], elements=st.integers(0, x.shape[1] - 1)))
    scores, one_hot = lib.asarray(x.astype(np.float64)), np.eye(x.shape[1])[labels]
    for function in (xpnet.softmax_cross_entropy, xpnet.accuracy):
        by_label, by_row = function(scores, lib.asarray(labels)), function(scores, lib.asarray(one_hot))
        assert float(by_label) == float(by_row) >= 0
    assert float(xpnet.sum_squared_error(scores, lib.asarray(one_hot))) >= 0
    # The book's guard lets the loss of probabilities fall 1e-7 below 0, and no further.
    assert -2e-7 <= float(xpnet.cross_entropy_error(xpnet.softmax(scores), lib.asarray(labels))) <= 16.2


@settings(max_examples=50)
@given(x=arrays(np.float64, st.integers(1, 9), elements=st.floats(-1e300, 1e300)))
def test_sigmoid_of_any_number_is_a_probability_and_never_warns(x):
    y = xpnet.sigmoid(x)
    assert np.all((y >= 0) & (y <= 1))
    np.testing.assert_allclose(y + xpnet.sigmoid(-x), 1, rtol=1e-15)
    np.testing.assert_allclose(xpnet.sigmoid_grad(x), xpnet.sigmoid_grad(-x), rtol=1e-15)


# Losses and labels


@pytest.mark.parametrize(
    ("loss", "y", "t", "expected"),
    [
        (xpnet.sum_squared_error, Y, T, 0.0975),
        (xpnet.sum_squared_error, WRONG, T, 0.5975),
        (xpnet.sum_squared_error, [Y, WRONG], [T, T], (0.0975 + 0.5975) / 2),
        (xpnet.cross_entropy_error, Y, T, -math.log(0.6 + 1e-7)),
        (xpnet.cross_entropy_error, Y, 2, 0.510825457099338),
        (xpnet.cross_entropy_error, WRONG, T, -math.log(0.1 + 1e-7)),
        (xpnet.cross_entropy_error, [Y, WRONG], [2, 2], (0.510825457099338 + 2.302584092994546) / 2),
        (xpnet.cross_entropy_error, [1.0, 0.0], 1, -math.log(1e-7)),
        (xpnet.softmax_cross_entropy, [0.0] * 10, 3, math.log(10)),
        (xpnet.softmax_cross_entropy, [[0.0, 0.0], [1000.0, 0.0]], [0, 1], (math.log(2) + 1000) / 2),
        (xpnet.softmax_cross_entropy, [[1e30, 0.0]], [0], 0),
        (xpnet.softmax_cross_entropy, [0.0, 0.0], [0.25, 0.75], math.log(2)),
        (xpnet.accuracy, [Y, WRONG], [2, 2], 0.5),
        (xpnet.accuracy, [Y, WRONG], [T, T], 0.5),
        (xpnet.accuracy, WRONG, 7, 1),
        (xpnet.accuracy, WRONG, T, 0),
    ],
)
def test_losses_of_known_value(lib, loss, y, t, expected):
    for dtype in lib.dtypes:
        given_y, given_t = lib.asarray(y, dtype), lib.asarray(t)
        check(lib, loss(given_y, given_t), expected, dtype)
        np.testing.assert_array_equal(lib.numpy(given_y), np.asarray(y, dtype))
        np.testing.assert_array_equal(lib.numpy(given_t), t)


def test_the_books_constants():
    y, t = np.asarray(Y), np.asarray(T)
    assert f"{xpnet.sum_squared_error(y, t):.4f}" == "0.0975"
    assert f"{xpnet.cross_entropy_error(y, t):.9f}" == "0.510825457"
    assert f"{xpnet.softmax_cross_entropy(np.zeros(10), np.asarray(0)):.6f}" == "2.302585"


@pytest.mark.parametrize("function", LABELLED, ids=id_of)
def test_labels_of_every_integer_dtype_are_one_hot_rows(lib, function):
    y = lib.asarray(np.random.default_rng(0).dirichlet(np.ones(3), size=3))  # as many classes as samples
    labels = [2, 0, 2]
    expected = float(function(y, lib.asarray(np.eye(3)[labels])))
    for dtype in lib.xp.__array_namespace_info__().dtypes(device=lib.device, kind="integral"):
        assert float(function(y, lib.asarray(labels, dtype))) == expected, dtype
        assert float(function(y, lib.asarray(np.eye(3)[labels], dtype))) == expected, dtype


@pytest.mark.parametrize("function", LABELLED, ids=id_of)
def test_labels_beyond_uint8_are_found_among_many_classes(lib, function):
    x = np.tile(np.linspace(0.0, 0.1, 300), (2, 1))
    x[0, 299] = x[1, 43] = 0.9  # 299 and 43 are one number in uint8
    y = lib.asarray(x)
    for dtype in ("int16", "uint16", "int32"):
        found = float(function(y, lib.asarray([299, 43], dtype)))
        assert found == float(function(y, lib.asarray(np.eye(300)[[299, 43]])))
        assert found != float(function(y, lib.asarray([43, 299], dtype)))
    labels = lib.numpy(xpnet.one_hot(lib.asarray([43, 255], "uint8"), 300))
    np.testing.assert_array_equal(labels, np.eye(300)[[43, 255]])


@pytest.mark.parametrize("function", [*LOSSES, xpnet.accuracy], ids=id_of)
def test_one_sample_is_a_batch_of_one(lib, function):
    y, t = lib.asarray(Y), lib.asarray(T)
    assert float(function(y, t)) == float(function(y[None, :], t[None, :]))
    if function in LABELLED:
        assert (
            float(function(y, lib.asarray(2)))
            == float(function(y[None, :], lib.asarray([2])))
            == float(function(y, t))
        )


@pytest.mark.parametrize("function", LOSSES, ids=id_of)
def test_a_loss_is_the_mean_over_the_batch(lib, function):
    rng = np.random.default_rng(0)
    y, t = rng.dirichlet(np.ones(4), size=6), np.eye(4)[rng.integers(0, 4, 6)]
    each = [float(function(lib.asarray(a), lib.asarray(b))) for a, b in zip(y, t, strict=True)]
    check(lib, function(lib.asarray(y), lib.asarray(t)), np.mean(each), max(lib.dtypes), rtol=10 * lib.rtol)


def test_one_hot_rows(lib):
    for dtype in lib.dtypes:
        for labels, expected in [
            ([2, 0], [[0, 0, 1], [1, 0, 0]]),
            (1, [0, 1, 0]),
            ([[1], [2]], [[[0, 1, 0]], [[0, 0, 1]]]),
            ([3, -1, 1], [[np.nan] * 3, [np.nan] * 3, [0, 1, 0]]),
        ]:
            check(lib, xpnet.one_hot(lib.asarray(labels), 3, dtype=getattr(lib.xp, dtype)), expected, dtype)
    assert lib.holds(xpnet.one_hot(lib.asarray([0]), 2))
    with pytest.raises(
        TypeError, match="one_hot: dtype must be a real floating dtype, got .*int32; convert the result"
    ):
        xpnet.one_hot(lib.asarray([0]), 2, dtype=lib.xp.int32)
    with pytest.raises(ValueError, match="one_hot: num_classes must be an integer of at least 1, got 0"):
        xpnet.one_hot(lib.asarray([0]), 0)


@pytest.mark.parametrize("label", [3, -1, 255, 2**31 - 1, -(2**31)])
def test_a_label_without_a_class_is_nan_and_never_a_plausible_number(lib, label):
    """In a function or loss, which read no values. `fit`, `evaluate` and a network's methods refuse the label."""
    labels = [1, label, 2]
    for dtype in lib.dtypes:
        y = lib.asarray(np.asarray([[0.2, 0.5, 0.3], [0.1, 0.1, 0.8], [0.3, 0.3, 0.4]]), dtype)
        t = lib.asarray(labels)
        for function in LABELLED:
            check(lib, function(y, t), np.nan, dtype)
            assert not np.isnan(float(function(y[::2, :], t[::2])))
        layer = xpnet.SoftmaxWithLoss()
        check(lib, layer.forward(y, t), np.nan, dtype)
        assert np.isnan(lib.numpy(layer.backward())).tolist() == [[False] * 3, [True] * 3, [False] * 3]
        assert lib.numpy(xpnet.confusion_matrix(y, t)).tolist() == [[-1] * 3] * 3
        for options in ({"smoothing": 0.1}, {"class_weight": [1.0, 2.0, 3.0]}, {"ignore": 100}):
            check(lib, xpnet.SoftmaxWithLoss(**options).forward(y, t), np.nan, dtype)


@pytest.mark.parametrize("bad", [[math.nan, 0.0, 1.0], [math.inf, 0.0, 1.0], [-math.inf] * 3])
def test_scores_that_are_not_finite_have_no_accuracy_and_no_confusion_matrix(lib, bad):
    with lib.here:
        y, t = lib.asarray([[0.0, 1.0, 0.5], bad]), lib.asarray([1, 2])
        check(lib, xpnet.accuracy(y, t), np.nan, max(lib.dtypes))
        assert lib.numpy(xpnet.confusion_matrix(y, t)).tolist() == [[-1] * 3] * 3
        check(lib, xpnet.SigmoidWithLoss().accuracy(y, lib.asarray(np.eye(3)[[1, 2]])), np.nan, max(lib.dtypes))
    masked = lib.asarray([[0.0, 1.0, -math.inf]])  # a class that is ruled out
    assert float(xpnet.accuracy(masked, lib.asarray([1]))) == 1


def test_a_target_row_without_a_positive_number_has_no_class(lib):
    y = lib.asarray([[0.0, 1.0, 0.5], [0.0, 1.0, 0.5]])
    for row in ([0.0, 0.0, 0.0], [-1.0, 0.0, 0.0], [math.nan, 1.0, 0.0]):
        t = lib.asarray([[0.0, 1.0, 0.0], row])
        check(lib, xpnet.accuracy(y, t), np.nan, max(lib.dtypes))
        assert lib.numpy(xpnet.confusion_matrix(y, t)).tolist() == [[-1] * 3] * 3


@pytest.mark.parametrize("ignore", [-1, 2, 255])
def test_ignored_labels_are_left_out_of_accuracy_and_confusion_matrix(lib, ignore):
    y = np.asarray([[0.2, 0.5, 0.3], [0.1, 0.1, 0.8], [0.5, 0.3, 0.2], [0.3, 0.3, 0.4]])
    t = np.asarray([1, ignore, 1, ignore])
    for dtype in lib.dtypes:
        scores, labels = lib.asarray(y, dtype), lib.asarray(t)
        check(lib, xpnet.accuracy(scores, labels, ignore=ignore), 0.5, dtype)
        found = xpnet.confusion_matrix(scores, labels, ignore=ignore)
        assert lib.numpy(found).tolist() == [[0, 0, 0], [1, 1, 0], [0, 0, 0]]
        all_ignored = lib.asarray(np.full(4, ignore))
        check(lib, xpnet.accuracy(scores, all_ignored, ignore=ignore), np.nan, dtype)
        check(lib, xpnet.SoftmaxWithLoss(ignore=ignore).accuracy(scores, labels), 0.5, dtype)
        with pytest.raises(ValueError, match=f"accuracy: ignore={ignore} is a label, but t is one-hot"):
            xpnet.accuracy(scores, scores, ignore=ignore)


# What is refused


@pytest.mark.parametrize("function", [*ACTIVATIONS], ids=id_of)
def test_activations_refuse_what_is_no_array_of_real_numbers(lib, function):
    for x, match in [
        ([0.5], r"x must be an array .* got list; .*numpy\.asarray\(x"),
        (True, "x must be an array .* got bool"),
        (lib.asarray([True]), f"{function.__name__}: x must be an array of real numbers, got .*bool"),
    ]:
        with pytest.raises(TypeError, match=match):
            function(x)


@pytest.mark.parametrize("function", [xpnet.softmax, xpnet.log_softmax], ids=id_of)
def test_the_softmax_of_a_single_number_is_refused(function):
    with pytest.raises(TypeError, match="x must be an array .* got float"):
        function(0.5)


@pytest.mark.parametrize("function", [*ACTIVATIONS], ids=id_of)
def test_activations_of_integers_are_those_of_floats_in_the_default_dtype(lib, function):
    default = lib.xp.__array_namespace_info__().default_dtypes(device=lib.device)["real floating"]
    for dtype in ("int32", "uint8"):
        x = lib.asarray([[3, 0, 200]], dtype)
        got = function(x)
        assert got.dtype == default
        assert lib.holds(got)
        np.testing.assert_array_equal(lib.numpy(got), lib.numpy(function(lib.xp.astype(x, default))))


@pytest.mark.parametrize("number", [3, -2.5, 0])
def test_element_wise_activations_take_python_numbers(number):
    for function in ACTIVATIONS:
        if function not in (xpnet.softmax, xpnet.log_softmax):
            assert function(number) == function(np.asarray([number], dtype="float64"))[0]


@pytest.mark.parametrize("function", [*LOSSES, xpnet.accuracy], ids=id_of)
@pytest.mark.parametrize(
    ("y", "t", "error", "match"),
    [
        ((3, 4), (3, 5), ValueError, r"{name}: t has shape \(3, 5\)"),
        ((3, 4), (4,), ValueError, r"{name}: t has shape \(4,\)"),
        ((3, 4), (3, 4, 1), ValueError, r"{name}: t has shape \(3, 4, 1\)"),
        ((4,), (3,), ValueError, r"{name}: t has shape \(3,\)"),
        ((0, 4), (0, 4), ValueError, r"{name}: . is empty, shape \(0, 4\)"),
        ((4, 0), (4, 0), ValueError, r"{name}: . is empty, shape \(4, 0\)"),
        ((0,), (0,), ValueError, r"{name}: . is empty, shape \(0,\)"),
        ((2, 3, 4), (2, 3, 4), ValueError, r"{name}: . must be one sample .* got shape \(2, 3, 4\); flatten"),
        ((), (), ValueError, r"{name}: . must be one sample .* got shape \(\)"),
    ],
)
def test_losses_refuse_shapes_that_do_not_fit(lib, function, y, t, error, match):
    with pytest.raises(error, match=match.format(name=function.__name__)):
        function(lib.asarray(np.zeros(y)), lib.asarray(np.zeros(t)))


@pytest.mark.parametrize("function", [*LOSSES, xpnet.accuracy], ids=id_of)
def test_losses_refuse_what_is_no_array(lib, function):
    y = lib.asarray([[0.5, 0.5]])
    first = "x" if function is xpnet.softmax_cross_entropy else "y"
    for args, match in [
        (([[0.5, 0.5]], y), f"{first} must be an array .* got list"),
        ((y, [[0, 1]]), "t must be an array .* got list"),
        ((y, 1), "t must be an array .* got int"),
        ((lib.asarray([[0, 1]]), y), f"{first} must have a real floating dtype"),
    ]:
        with pytest.raises(TypeError, match=match):
            function(*args)


@pytest.mark.parametrize("function", LABELLED, ids=id_of)
def test_labels_must_be_integers(lib, function):
    y = lib.asarray([[0.5, 0.5], [0.1, 0.9]])
    with pytest.raises(TypeError, match=f"{function.__name__}: labels t must have an integer dtype, got .*float"):
        function(y, lib.asarray([0.0, 1.0]))
    with pytest.raises(TypeError, match=r"one_hot: t must hold integer labels, got .*float.* of shape \(2,\)"):
        xpnet.one_hot(lib.asarray([0.0, 1.0]), 2)
    with pytest.raises(TypeError, match="t must be an array"):
        xpnet.one_hot([0, 1], 2)


@pytest.mark.parametrize("function", LOSSES, ids=id_of)
def test_mixed_libraries_are_refused_and_named(request, lib, function):
    ours, t = lib.asarray([[0.5, 0.5]]), [[0.0, 1.0]]
    others = [np.asarray(t), *(other.asarray(t) for other in request.config.libraries.values())]
    others = [other for other in others if xpnet._array.namespace(t=other) is not lib.xp]
    if not others:
        pytest.skip("one library alone cannot be mixed")
    for other in others:
        for args in [(ours, other), (other, ours)]:
            with pytest.raises(TypeError, match=rf"different libraries: . is {type(args[0]).__module__}.*, t is "):
                function(*args)


@needs("array_api_strict")
@pytest.mark.parametrize("function", [*LOSSES, xpnet.accuracy], ids=id_of)
def test_mixed_devices_are_refused_and_named(function):
    import array_api_strict as strict

    here = strict.asarray([[0.5, 0.5]])
    there = strict.asarray([[0.0, 1.0]], device=strict.Device("device1"))
    with pytest.raises(ValueError, match=r"different devices: . on .*CPU_DEVICE.*, t on .*device1.*; move them"):
        function(here, there)


# A class that is ruled out by a score of minus infinity


def test_a_class_that_is_ruled_out_has_probability_0_and_adds_nothing_to_the_loss(lib):
    inf = math.inf
    for dtype in lib.dtypes:
        x = lib.asarray([[1.0, -inf, 2.0], [-inf, -inf, -3.0]], dtype)
        e = math.exp(-1)
        check(lib, xpnet.softmax(x), [[e / (1 + e), 0.0, 1 / (1 + e)], [0.0, 0.0, 1.0]], dtype)
        expected = math.log(1 + e) / 2
        for t in ([2, 2], [[0.0, 0.0, 1.0], [0.0, 0.0, 1.0]]):
            check(lib, xpnet.softmax_cross_entropy(x, lib.asarray(t)), expected, dtype)
        check(lib, xpnet.softmax_cross_entropy(x, lib.asarray([1, 2])), inf, dtype)
        check(lib, xpnet.softmax_cross_entropy(x, lib.asarray([5, 2])), math.nan, dtype)  # no class
        unknown = lib.asarray([[math.nan, 0.0]], dtype)
        check(lib, xpnet.softmax_cross_entropy(unknown, lib.asarray([1])), math.nan, dtype)
        check(lib, xpnet.cross_entropy_error(xpnet.softmax(x), lib.asarray([2, 2])), expected, dtype, atol=2e-7)


@pytest.mark.parametrize("function", ACTIVATIONS, ids=id_of)
@pytest.mark.parametrize("shape", [(0, 3), (3, 0), (0,)])
def test_activations_of_nothing_are_nothing(lib, function, shape):
    check(lib, function(lib.asarray(np.zeros(shape))), np.zeros(shape), max(lib.dtypes))


@pytest.mark.parametrize("function", [xpnet.softmax, xpnet.log_softmax])
def test_an_empty_batch_gives_a_new_array(lib, function):
    x = lib.asarray(np.zeros((0, 3)))
    assert function(x) is not x and tuple(function(x).shape) == (0, 3)

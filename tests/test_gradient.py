"""Numerical differentiation and gradient descent: values, steps that vanish, and functions that misbehave."""

import math
from functools import partial

import numpy as np
import pytest
from test_functions import check

import xpnet
from xpnet import gradient_descent, numerical_diff, numerical_gradient, numerical_gradient_rows

START = [-3.0, 4.0]


def parabola(x):
    return 0.01 * x**2 + 0.1 * x


def bowl(x):
    return x[0] ** 2 + x[1] ** 2


def precision(lib):
    return 1e-8 if "float64" in lib.dtypes else 5e-3


# A function of one variable


@pytest.mark.parametrize(("x", "slope"), [(5.0, 0.2), (10, 0.3), (-5.0, 0.0), (1e6, 20000.1)])
def test_the_books_parabola(x, slope):
    assert numerical_diff(parabola, x) == pytest.approx(slope, rel=1e-9, abs=1e-10)
    assert numerical_diff(parabola, x, h=1e-4) == pytest.approx(slope, rel=1e-6, abs=1e-8)
    assert isinstance(numerical_diff(parabola, x), float)


def test_the_error_of_central_differences_falls_as_h_squared_and_of_forward_ones_as_h():
    def error(h, method):
        return abs(numerical_diff(math.exp, 0.0, h=h, method=method) - 1)

    for method, order in [("forward", 1), ("central", 2)]:
        assert error(1e-2, method) / error(1e-3, method) == pytest.approx(10**order, rel=0.01)
    assert error(None, "central") < 1e-10
    assert error(None, "forward") < 1e-7
    assert error(1e-15, "central") > 1e-2  # rounding has the upper hand


def test_the_step_that_was_taken_is_divided_by_not_the_one_that_was_asked_for():
    assert numerical_diff(lambda x: x, 1e8 + 0.1, h=1e-7) == 1.0


def test_arrays_are_differentiated_element_by_element(lib):
    for dtype in lib.dtypes:
        x = lib.asarray([[5.0, 10.0], [-5.0, 0.0]], dtype)
        for method, tolerance in [("central", 1e-9), ("forward", 1e-7)]:
            got = numerical_diff(parabola, x, method=method)
            tolerance = tolerance if dtype == "float64" else 2e-2
            check(lib, got, [[0.2, 0.3], [0.0, 0.1]], dtype, rtol=tolerance, atol=tolerance / 10)
        np.testing.assert_array_equal(lib.numpy(x), [[5.0, 10.0], [-5.0, 0.0]])


@pytest.mark.parametrize("method", ["central", "forward"])
def test_a_step_that_vanishes_is_refused(lib, method):
    with pytest.raises(ValueError, match="h = 1e-50 is too small for x in float64.*larger step"):
        numerical_diff(parabola, 5.0, h=1e-50, method=method)
    x = lib.asarray([0.0, 5.0], "float32")
    with pytest.raises(ValueError, match="h = 1e-07 is too small for x in .*float32"):
        numerical_diff(parabola, x, h=1e-7, method=method)
    with pytest.raises(ValueError, match="h = 1e-50 is too small for an element of x in .*float32"):
        numerical_gradient(lambda x: lib.xp.sum(x), x, h=1e-50)


def test_numerical_diff_refuses_what_it_cannot_do(lib):
    with pytest.raises(ValueError, match="'central' or 'forward', got 'backward'"):
        numerical_diff(parabola, 5.0, method="backward")
    with pytest.raises(TypeError, match="numerical_diff: x must be an array of real numbers, got .*bool"):
        numerical_diff(parabola, lib.asarray([True]))
    for x in ("5", [5.0], True):
        with pytest.raises(TypeError, match="x must be an array"):
            numerical_diff(parabola, x)


# A function of many variables


@pytest.mark.parametrize("shape", [(), (5,), (2, 3), (2, 1, 1, 3), (0,), (2, 0)])
def test_numerical_gradient_in_any_number_of_dimensions(lib, shape):
    rng = np.random.default_rng(0)
    values, factors = rng.normal(size=shape), rng.normal(size=shape)
    for dtype in lib.dtypes:
        x, c = lib.asarray(values, dtype), lib.asarray(factors, dtype)
        got = numerical_gradient(lambda x, c=c: lib.xp.sum(c * lib.xp.sin(x)), x)
        tolerance = 1e-8 if dtype == "float64" else 1e-3
        check(lib, got, factors * np.cos(values), dtype, rtol=tolerance, atol=tolerance)
        np.testing.assert_array_equal(lib.numpy(x), values.astype(dtype))


@pytest.mark.parametrize(("x", "expected"), [([3.0, 4.0], [6, 8]), ([0.0, 2.0], [0, 4]), ([3.0, 0.0], [6, 0])])
def test_the_books_gradients(lib, x, expected):
    check(
        lib,
        numerical_gradient(bowl, lib.asarray(x)),
        expected,
        max(lib.dtypes),
        rtol=precision(lib),
        atol=precision(lib),
    )
    with_step = numerical_gradient(bowl, lib.asarray(x), h=1e-2)
    check(lib, with_step, expected, max(lib.dtypes), rtol=1e-3, atol=1e-4)


def test_the_default_step_grows_with_x(lib):
    x = lib.asarray([1e6, -1e6, 1.0])
    got = numerical_gradient(lambda x: lib.xp.sum(x**3) / 1e12, x)
    check(lib, got, [3, 3, 3e-12], max(lib.dtypes), rtol=1e-3, atol=precision(lib) * 10)


def test_f_may_return_a_python_number_or_an_array_of_no_dimension(lib):
    x = lib.asarray([3.0, 4.0])
    for f in (lambda x: float(bowl(x)), bowl, lambda x: lib.xp.sum(x * x)):
        check(lib, numerical_gradient(f, x), [6, 8], max(lib.dtypes), rtol=precision(lib))


def test_f_that_returns_an_array_is_refused(lib):
    with pytest.raises(ValueError, match=r"f must return one number, got an array of shape \(2,\).*sum or average"):
        numerical_gradient(lambda x: x * x, lib.asarray(START))
    with pytest.raises(ValueError, match=r"array of shape \(1,\)"):
        numerical_gradient(lambda x: x[:1], lib.asarray(START))


@pytest.mark.parametrize("function", [numerical_gradient, gradient_descent])
def test_bools_and_lists_are_refused(lib, function):
    name = function.__name__
    with pytest.raises(TypeError, match=f"{name}: (init_)?x must be an array of real numbers, got .*bool.*astype"):
        function(bowl, lib.asarray([True, False]))
    with pytest.raises(TypeError, match="must be an array .* got list"):
        function(bowl, [3.0, 4.0])


def test_integers_are_points_too(lib):
    """The book's functions write into an integer array, where x + h is x."""
    default = lib.xp.__array_namespace_info__().default_dtypes(device=lib.device)["real floating"]
    at = lib.asarray([3, 4]), lib.xp.astype(lib.asarray([3, 4]), default)
    descent = partial(gradient_descent, step_num=3)
    for function in (numerical_gradient, descent, lambda f, x: numerical_diff(parabola, x)):
        got, expected = (function(bowl, x) for x in at)
        assert got.dtype == expected.dtype == default
        np.testing.assert_array_equal(lib.numpy(got), lib.numpy(expected))
    rows = numerical_gradient_rows(bowl, lib.asarray([[3, 4], [0, 2]]))
    np.testing.assert_allclose(lib.numpy(rows), [[6, 8], [0, 4]], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("function", [numerical_gradient, gradient_descent])
def test_f_that_ignores_its_argument_is_refused(lib, function):
    x, t = lib.asarray([[0.5, 0.1, 0.9]]), lib.asarray([1])
    net = xpnet.TwoLayerNet(3, 2, 2, weight_init_std=1.0, like=x)
    for f in (lambda W: net.loss(x, t), lambda W: 0.0):
        with pytest.raises(TypeError, match="f does not use its argument.*lambda W: loss.* of your network"):
            function(f, net.params["b2"])


@pytest.mark.parametrize(
    "f",
    [
        lambda x: bowl(x) * 0.0,  # flat, but it looks at its argument
        bowl,
        lambda x: (x[0] - 3.0) ** 2 + (x[1] - 4.0) ** 2,  # at its minimum
        lambda x: math.fsum(float(x[i]) for i in (0, 1) if x[i] > 0),  # NaN is swallowed
    ],
)
def test_an_f_that_uses_its_argument_may_be_flat(lib, f):
    numerical_gradient(f, lib.asarray([3.0, 4.0]))


def test_rows_of_points(lib):
    points = [[3.0, 4.0], [0.0, 2.0], [-1.0, 0.5]]
    for dtype in lib.dtypes:
        x = lib.asarray(points, dtype)
        tolerance = 1e-8 if dtype == "float64" else 5e-3
        check(lib, numerical_gradient_rows(bowl, x), 2 * np.asarray(points), dtype, rtol=tolerance, atol=tolerance)
    for shape in [(2,), (0, 2), (1, 2, 3)]:
        with pytest.raises(ValueError, match=r"X must have shape \(N, D\) with N > 0"):
            numerical_gradient_rows(bowl, lib.asarray(np.zeros(shape)))
    with pytest.raises(TypeError, match="X must be an array"):
        numerical_gradient_rows(bowl, points)


@pytest.mark.only("dask")
def test_dask_computes_two_values_of_f_for_each_element_and_no_more(lib):
    import dask

    computed = []

    def scheduler(*args, **options):
        computed.append(1)
        return dask.get(*args, **options)

    x = lib.asarray([3.0, 4.0, 5.0])
    with dask.config.set(scheduler=scheduler):
        numerical_gradient(lambda x: lib.xp.sum(x * x), x)
    assert len(computed) == 2 * 3 + 2  # whether a step vanishes, and the widths of the steps


# Gradient descent


@pytest.mark.only("dask")
def test_on_dask_the_graph_does_not_grow_with_the_steps(lib):
    few, many = (gradient_descent(bowl, lib.asarray(START), lr=0.1, step_num=n) for n in (1, 4))
    assert len(few.dask) == len(many.dask)


def test_descent_goes_down_and_leaves_its_start(lib):
    start = lib.asarray(START)
    end = gradient_descent(bowl, start, lr=0.1, step_num=10)
    check(lib, end, np.asarray(START) * 0.8**10, max(lib.dtypes), rtol=precision(lib))
    np.testing.assert_array_equal(lib.numpy(start), START)


def test_descent_reaches_the_bottom():
    end = gradient_descent(bowl, np.asarray(START), lr=0.1, step_num=100)
    np.testing.assert_allclose(end, [-6.111107928998789e-10, 8.148144031404582e-10], atol=1e-14)


def test_too_large_a_rate_flies_off_and_too_small_a_rate_stays():
    far = gradient_descent(bowl, np.asarray(START), lr=10.0, step_num=100)
    assert np.all(np.abs(far) > 1e10)
    near = gradient_descent(bowl, np.asarray(START), lr=1e-10, step_num=100)
    np.testing.assert_allclose(near, [-2.99999994, 3.99999992], rtol=1e-9)
    assert np.all(near != START)


def test_history_is_every_point_of_the_way(lib):
    start = lib.asarray(START)
    end, way = gradient_descent(bowl, start, lr=0.25, step_num=4, history=True)
    tolerance = precision(lib)
    check(lib, way, [np.asarray(START) / 2**i for i in range(5)], max(lib.dtypes), rtol=tolerance, atol=tolerance)
    np.testing.assert_array_equal(lib.numpy(end), lib.numpy(way)[-1])
    np.testing.assert_array_equal(lib.numpy(way)[0], START)
    plain = gradient_descent(bowl, start, lr=0.25, step_num=4)
    np.testing.assert_array_equal(lib.numpy(plain), lib.numpy(end))


def test_no_steps_give_the_start_in_memory_of_its_own():
    start = np.asarray(START)
    end, way = gradient_descent(bowl, start, step_num=0, history=True)
    assert way.shape == (1, 2)
    end += 1
    np.testing.assert_array_equal(start, START)


def test_a_matrix_walks_too(lib):
    end, way = gradient_descent(
        lambda w: lib.xp.sum((w - 1.0) ** 2), lib.asarray(np.zeros((2, 3))), 0.5, 2, history=True
    )
    check(lib, end, np.ones((2, 3)), max(lib.dtypes), rtol=precision(lib))
    assert way.shape == (3, 2, 3)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"step_num": -1}, ValueError, "gradient_descent: step_num must be an integer of at least 0, got -1"),
        ({"step_num": 1.0}, TypeError, "gradient_descent: step_num must be an integer of at least 0, got 1.0"),
        ({"lr": math.nan}, ValueError, "gradient_descent: lr must be finite, got nan"),
        ({"lr": "0.1"}, TypeError, "gradient_descent: lr must be a number, finite; got '0.1'"),
    ],
)
def test_options_that_cannot_be_are_refused(options, error, message):
    with pytest.raises(error, match=f"^{message}$"):
        gradient_descent(bowl, np.asarray(START), **options)

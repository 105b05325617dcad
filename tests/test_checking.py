"""The gradient check: right gradients pass, each kind of wrong one is caught and named, kinks are told apart."""

import numpy as np
import pytest
from test_functions import check

import xpnet
from xpnet import Affine, GradientError, Network, Relu, Sequential, Sigmoid, check_gradients, check_layer, nn

RNG = np.random.default_rng(0)
X, T = RNG.normal(size=(3, 4)), np.asarray([0, 2, 1])
NAMES = ["W1", "b1", "W2", "b2"]


def net_of(first, lib, *, hidden=nn.Sigmoid, dtype=None):
    weights = nn.Normal(1.0)
    stack = Sequential(first(5, weights), hidden(), nn.Dense(3, weights))
    return Network(stack, (4,), seed=1, like=lib.asarray([0.0], dtype))


def wrong(**changes):
    """A description of an affine layer whose derivatives are changed on their way out."""

    class Wrong(Affine):
        def backward_params(self, dout):
            super().backward_params(dout)
            for name, change in changes.items():
                setattr(self, name, change(getattr(self, name), self))

    class WrongDense(nn.Dense):
        def layer(self, arrays, training):
            return Wrong(*arrays)

    return WrongDense


def one_element(d, layer):
    xp = xpnet._array.namespace(d=d)
    place = xp.reshape(xp.arange(xpnet._array.size(d), device=xpnet._array.device(d)), d.shape)
    return xp.where(place == 7, 1.01 * d + 0.01, d)


@pytest.mark.parametrize("hidden", [nn.Relu, nn.Sigmoid])
def test_right_gradients_pass_with_a_row_for_each_parameter(lib, hidden):
    for dtype in lib.dtypes:
        net = net_of(nn.Dense, lib, hidden=hidden, dtype=dtype)
        report = check_gradients(net, lib.asarray(X, dtype), lib.asarray(T), sample=6)
        assert report.ok
        assert [(r.name, r.checked, r.total) for r in report.rows] == [
            ("W1", 6, 20),
            ("b1", 5, 5),
            ("W2", 6, 15),
            ("b2", 3, 3),
        ]
        bound = {"float64": 1e-9, "float32": 1e-2}[dtype]
        assert all(0 <= r.mean_abs <= r.max_abs < bound for r in report.rows)
        assert all(0 <= r.mean_rel <= r.max_rel for r in report.rows)
        for name, p in net.params.items():
            check(lib, p, lib.numpy(net_of(nn.Dense, lib, dtype=dtype).params[name]), dtype, rtol=0)


# What is changed, and which row must show it. A tenth of a percent needs float64 on the numerical side.
WRONG = {
    "a tenth of a percent": ({"dW": lambda d, _: 1.001 * d}, "W1", True),
    "sign": ({"dW": lambda d, _: -d}, "W1", False),
    "zero": ({"dW": lambda d, _: 0.0 * d}, "W1", False),
    "twice": ({"db": lambda d, _: 2.0 * d}, "b1", False),
    "one element of twenty": ({"dW": one_element}, "W1", True),
    "a missing term": ({"dW": lambda d, layer: d - layer.x[:1, :].T}, "W1", False),
    "reversed": ({"db": lambda d, _: xpnet._array.namespace(d=d).flip(d)}, "b1", False),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_gradient_is_an_error_that_names_the_parameter(lib, case):
    changes, name, wide = WRONG[case]
    for dtype in lib.dtypes if case == "sign" else {max(lib.dtypes)}:
        if wide and "float64" not in lib.dtypes:
            continue
        with pytest.raises(GradientError, match=f"disagree for {name} ") as caught:
            net = net_of(wrong(**changes), lib, dtype=dtype)
            check_gradients(net, lib.asarray(X, dtype), lib.asarray(T), sample=20 if "one element" in case else 3)
        report = caught.value.report
        assert not report.ok
        assert [r.name for r in report.rows if r.wrong] == [name]
        if case == "one element of twenty":
            assert report.rows[0].wrong == 1
        assert isinstance(caught.value, AssertionError)
        assert str(report) in str(caught.value)


class IgnoresDout(xpnet.SoftmaxWithLoss):
    def backward(self, dout=1.0):
        return super().backward()


class WithoutSlope(Sigmoid):
    def backward(self, dout):
        return dout * self.out


class Transposed(Affine):
    def backward(self, dout):
        super().backward(dout)
        return dout @ self.W


class PassesEverything(Relu):
    def backward(self, dout):
        return dout


class OneOperand(xpnet.MulLayer):
    def backward(self, dout):
        return dout * self.x, dout * self.x


SQUARE = RNG.normal(size=(4, 4))


@pytest.mark.parametrize(
    ("build", "params", "inputs", "names"),
    [
        (IgnoresDout, {}, [X, T], "x0"),
        (WithoutSlope, {}, [X], "x0"),
        (Transposed, {"W": SQUARE, "b": SQUARE[0]}, [X], "x0"),
        (PassesEverything, {}, [X], "x0"),
        (OneOperand, {}, [X, X[::-1]], "x0"),
        (lambda *params: wrong(dW=lambda d, _: -d)(4).layer(params, True), {"W": SQUARE, "b": SQUARE[0]}, [X], "W"),
    ],
)
def test_a_wrong_layer_is_an_error_that_names_the_array(lib, build, params, inputs, names):
    params = {name: lib.asarray(p) for name, p in params.items()}
    with pytest.raises(GradientError, match=f"disagree for {names} ") as caught:
        check_layer(build, params, *map(lib.asarray, inputs))
    assert [row.name for row in caught.value.report.rows if row.wrong] == [names]


def test_a_gradient_of_another_shape_is_an_error(lib):
    net = net_of(wrong(dW=lambda d, _: d.T), lib)
    with pytest.raises(ValueError, match=r"the gradient by W1 has shape \(5, 4\), expected \(4, 5\)"):
        check_gradients(net, lib.asarray(X), lib.asarray(T))


def at_a_kink(lib, distance):
    """A network with one ReLU input at `distance` from 0, and its one sample."""
    net = Network(Sequential(nn.Dense(2), nn.Relu(), nn.Dense(2)), (2,), like=lib.asarray([0.0]))
    values = {
        "W1": [[1.0, 0.5], [-1.0, 0.25]],
        "b1": [distance, 0.1],
        "W2": [[1.0, -0.5], [0.25, 0.75]],
        "b2": [0.1, 0],
    }
    net.params = {name: lib.asarray(value) for name, value in values.items()}
    return net, lib.asarray([[0.5, 0.5]]), lib.asarray([0])


@pytest.mark.parametrize("sign", [1, -1])
def test_a_relu_input_closer_to_0_than_the_step_is_a_kink_and_no_error(lib, sign):
    # The step is 6e-6 in float64 and 5e-3 in float32, which has less room for smaller ones.
    distance = 1e-7 if "float64" in lib.dtypes else 1e-3
    report = check_gradients(*at_a_kink(lib, sign * distance))
    assert report.ok
    assert {row.name: row.kinks for row in report.rows} == {"W1": 2, "b1": 1, "W2": 0, "b2": 0}


def test_far_from_a_kink_there_is_none(lib):
    assert [row.kinks for row in check_gradients(*at_a_kink(lib, 0.2)).rows] == [0] * 4


def test_a_wrong_gradient_is_no_kink(lib):
    _, x, t = at_a_kink(lib, 1e-7)
    net = Network(Sequential(wrong(dW=lambda d, _: -d)(2), nn.Relu(), nn.Dense(2)), (2,), like=x)
    net.params = at_a_kink(lib, 0.2)[0].params
    with pytest.raises(GradientError) as caught:
        check_gradients(net, x, t)
    assert caught.value.report.rows[0].kinks == 0
    assert caught.value.report.rows[0].wrong == 4


def test_a_sample_is_drawn_by_its_seed(lib):
    net, x, t = net_of(nn.Dense, lib), lib.asarray(X), lib.asarray(T)
    one, again, other = (check_gradients(net, x, t, sample=3, seed=seed) for seed in (0, 0, 1))
    assert one == again != other
    assert [row.checked for row in one.rows] == [3, 3, 3, 3]
    assert [row.total for row in one.rows] == [20, 5, 15, 3]


def test_a_sample_as_large_as_the_array_is_all_of_it():
    net = xpnet.TwoLayerNet(4, 5, 3, like=X)
    assert check_gradients(net, X, T, sample=1000) == check_gradients(net, X, T)


@pytest.mark.parametrize(
    ("sample", "error"), [(0, ValueError), (-1, ValueError), (1.5, TypeError), (True, TypeError)]
)
def test_a_sample_that_is_no_number_of_elements_is_refused(sample, error):
    with pytest.raises(error, match=f"sample must be an integer of at least 1, got {sample}"):
        check_gradients(xpnet.TwoLayerNet(4, 5, 3, like=X), X, T, sample=sample)


def test_advance_is_called_once_for_each_element():
    calls = []
    check_gradients(xpnet.TwoLayerNet(4, 5, 3, like=X), X, T, sample=4, advance=lambda: calls.append(1))
    assert len(calls) == 4 + 4 + 4 + 3


def test_the_report_prints_as_a_table():
    lines = str(check_gradients(xpnet.TwoLayerNet(4, 5, 3, like=X), X, T)).splitlines()
    assert lines[0].split() == "checked mean abs max abs mean rel max rel kinks wrong".split()
    assert [line.split()[0] for line in lines[1:]] == NAMES
    assert "20 of 20" in lines[1]
    assert len({len(line) for line in lines}) == 1


def test_the_network_and_the_data_are_left_as_they_were(lib):
    net, x, t = net_of(nn.Dense, lib), lib.asarray(X), lib.asarray(T)
    held = {"x": x, "t": t, **net.params}
    before = {name: lib.numpy(a).copy() for name, a in held.items()}
    check_gradients(net, x, t, sample=2)
    assert not hasattr(net.layers["Affine1"], "dW")
    for name, a in held.items():
        np.testing.assert_array_equal(lib.numpy(a), before[name])
        assert name not in net.params or net.params[name] is a


def test_a_loss_that_is_not_finite_is_no_wrong_gradient():
    net = xpnet.TwoLayerNet(4, 5, 3, dtype="float64")
    with pytest.raises(ValueError, match="^t contains the label 3, but the network has 3 classes"):
        xpnet.check_gradients(net, np.ones((2, 4)), np.asarray([0, 3]))
    with pytest.raises(ValueError, match="check_gradients: the loss is nan, which has no gradient"):
        xpnet.check_gradients(net, np.full((2, 4), np.nan), np.asarray([0, 2]))

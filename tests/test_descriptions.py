"""What networks are described with: equal, printed as typed, checked when built; losses of all kinds."""

import copy
import inspect
import pickle
from dataclasses import FrozenInstanceError, dataclass, fields
from functools import partial

import numpy as np
import pytest
from test_functions import check

import xpnet
from xpnet import Network, Sequential, evaluate, fit, layers, nn
from xpnet.nn import losses as nn_losses
from xpnet.nn.activations import ACTIVATIONS

X, T = np.random.default_rng(0).normal(size=(60, 4)), np.arange(60) % 3
HALF = (X[:, :2] > 0).astype("float64")

TYPED = [
    "Dense(50)",
    "Dense(50, weight_init=Normal(std=0.5))",
    "Conv2d(30, 5)",
    "Conv2d(30, (5, 3), stride=2, padding=(1, 0), dilation=2, groups=2)",
    "MaxPool2d(2)",
    "AvgPool2d((3, 2), stride=1, padding=1)",
    "BatchNorm()",
    "BatchNorm(momentum=0.5)",
    "LayerNorm(eps=0.001)",
    "Dropout(0.5)",
    "Embedding(100, 8)",
    "Flatten()",
    "Relu()",
    "LeakyRelu(slope=0.2)",
    "Sigmoid()",
    "Tanh()",
    "Gelu()",
    "Silu()",
    "Softmax()",
    "Softmax(axis=1)",
    "Residual(Dense(3), Relu())",
    "Residual(Conv2d(8, 3), shortcut=[Conv2d(8, 3), BatchNorm()])",
    "CrossEntropy()",
    "CrossEntropy(class_weight=(1.0, 3.0), label_smoothing=0.1, ignore_index=-1)",
    "MeanSquaredError()",
    "BinaryCrossEntropy(positive_weight=(2.0,))",
    "Huber(delta=0.5)",
    "Poisson()",
    "He()",
    "Xavier()",
    "Orthogonal(gain=2.0)",
    "Zeros()",
]
NAMESPACE = {name: getattr(nn, name) for name in nn.__all__}


@pytest.mark.parametrize("text", TYPED)
def test_a_description_is_printed_as_typed_equal_hashable_and_frozen(text):
    one, other = (eval(text, NAMESPACE) for _ in range(2))
    assert repr(one) == text
    assert one == other and hash(one) == hash(other)
    assert copy.deepcopy(one) == pickle.loads(pickle.dumps(one)) == one
    assert one not in [eval(t, NAMESPACE) for t in TYPED if t != text]
    for field in fields(one):
        with pytest.raises(FrozenInstanceError):
            setattr(one, field.name, 1)


def test_every_public_description_is_frozen_and_compared_by_its_options():
    described = [
        thing for thing in NAMESPACE.values() if isinstance(thing, type) and issubclass(thing, nn.Description)
    ]
    assert len(described) > 15
    for description in described:
        if not description.__name__.endswith("Description"):
            options = description.__dataclass_params__
            assert options.frozen and options.eq, description


def test_a_network_is_printed_as_typed():
    text = "Sequential(Dense(3), Residual(Dense(3), Relu()), loss=Huber(delta=0.5))"
    assert repr(eval(text, NAMESPACE)) == text
    assert repr(Sequential(loss=layers.HuberLoss)) == "Sequential(loss=HuberLoss)"


@pytest.mark.parametrize(
    ("build", "plain"),
    [
        (lambda i, f: nn.Dense(i(5)), nn.Dense(5)),
        (
            lambda i, f: nn.Conv2d(i(4), (i(3), i(2)), i(2), [i(1), i(0)], i(1), i(2)),
            nn.Conv2d(4, (3, 2), 2, (1, 0), 1, 2),
        ),
        (lambda i, f: nn.MaxPool2d(i(3), i(2), i(1)), nn.MaxPool2d(3, 2, 1)),
        (lambda i, f: nn.Embedding(i(5), i(2)), nn.Embedding(5, 2)),
        (lambda i, f: nn.Dropout(f(0.5)), nn.Dropout(0.5)),
        (lambda i, f: nn.BatchNorm(f(0.5), f(0.25)), nn.BatchNorm(0.5, 0.25)),
        (lambda i, f: nn.LeakyRelu(f(0.5)), nn.LeakyRelu(0.5)),
        (lambda i, f: nn.Softmax(i(1)), nn.Softmax(1)),
        (lambda i, f: nn.Huber(f(0.5)), nn.Huber(0.5)),
        (lambda i, f: nn.CrossEntropy([f(1), f(2)], f(0.5), i(-1)), nn.CrossEntropy((1, 2), 0.5, -1)),
        (lambda i, f: nn.CrossEntropy(np.asarray([1, 2])), nn.CrossEntropy((1.0, 2.0))),
        (lambda i, f: nn.Normal(f(0.5)), nn.Normal(0.5)),
    ],
)
def test_numpy_numbers_become_python_numbers(build, plain):
    found = build(np.int64, np.float32)
    assert found == plain and repr(found) == repr(plain)

    def types(value):
        return [types(v) for v in value] if isinstance(value, tuple) else type(value)

    for field in fields(found):
        assert types(getattr(found, field.name)) == types(getattr(plain, field.name))


@pytest.mark.parametrize(
    ("build", "error", "match"),
    [
        (lambda: nn.Dense(2.5), TypeError, "Dense: units must be an integer of at least 1, got 2.5"),
        (lambda: nn.Dense(True), TypeError, "Dense: units must be an integer"),
        (
            lambda: nn.Conv2d(3, (3, 3, 3)),
            ValueError,
            "Conv2d: size must be one integer, or two for height and width",
        ),
        (lambda: nn.Conv2d(3, "3"), TypeError, "Conv2d: size must be an integer of at least 1, got '3'"),
        (lambda: nn.AvgPool2d(2, stride=0), ValueError, "AvgPool2d: stride must be an integer of at least 1, got 0"),
        (lambda: nn.Dense(3, weight_init="he"), TypeError, "Dense: weight_init must be an initializer, .*got 'he'"),
        (lambda: nn.Conv2d(3, 3, weight_init=nn.He), TypeError, "Conv2d: weight_init must be .*, got the class He"),
        (lambda: nn.Embedding(3, 2, 0.1), TypeError, "Embedding: weight_init must be .*, got 0.1"),
        (lambda: nn.Dropout("0.5"), TypeError, "Dropout: rate must be a number"),
        (lambda: nn.BatchNorm(1.5), ValueError, "BatchNorm: momentum must be from 0 to 1, got 1.5"),
        (lambda: nn.LayerNorm(0.0), ValueError, "LayerNorm: eps must be positive and finite, got 0.0"),
        (lambda: nn.LeakyRelu(np.nan), ValueError, "LeakyRelu: slope must be finite, got nan"),
        (lambda: nn.Softmax(None), TypeError, "Softmax: axis must be an integer, got None"),
        (lambda: nn.Huber(0), ValueError, "Huber: delta must be positive and finite, got 0"),
        (lambda: nn.CrossEntropy(2.0), TypeError, "CrossEntropy: class_weight must be a sequence of numbers"),
        (lambda: nn.CrossEntropy(["a"]), TypeError, "class_weight: each number must be a number"),
        (lambda: nn.CrossEntropy([-1.0]), ValueError, "class_weight: each number must be finite and not negative"),
        (lambda: nn.CrossEntropy(label_smoothing=1.0), ValueError, "label_smoothing must be from 0 to below 1"),
        (lambda: nn.CrossEntropy(ignore_index=1.5), TypeError, "ignore_index must be an integer, got 1.5"),
        (
            lambda: nn.BinaryCrossEntropy(3.0),
            TypeError,
            r"positive_weight must be a sequence .*\[1.0, 3.0\]; got 3.0",
        ),
    ],
)
def test_options_are_checked_when_a_description_is_built(build, error, match):
    with pytest.raises(error, match=match) as told:
        build()
    assert "\n" not in str(told.value)


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("Linear", "Dense"),
        ("ReLU", "Relu"),
        ("Conv2D", "Conv2d"),
        ("BatchNorm1d", "BatchNorm"),
        ("BatchNorm2d", "BatchNorm"),
        ("CrossEntropyLoss", "CrossEntropy"),
        ("MSELoss", "MeanSquaredError"),
        ("BCEWithLogitsLoss", "BinaryCrossEntropy"),
        ("Drop", "Dropout"),
        ("MaxPooling2D", "MaxPool2d"),
        ("Activation", "Relu, nn.Tanh and so on"),
        ("SoftmaxWithLoss", "CrossEntropy"),
    ],
)
def test_the_name_of_another_library_is_answered_with_ours(theirs, ours):
    with pytest.raises(AttributeError, match=rf"^xpnet.nn has no {theirs}; xpnet calls it nn.{ours}$"):
        getattr(nn, theirs)


def test_the_names_that_it_answers_with_exist_and_hide_none_of_ours():
    from xpnet.nn import _OTHERS

    for ours, theirs in _OTHERS.items():
        assert ours.partition(",")[0] in nn.__all__
        assert not set(theirs.split()) & set(nn.__all__)
    with pytest.raises(AttributeError, match="module 'xpnet.nn' has no attribute 'Dens'"):
        nn.Dens  # noqa: B018


def test_the_summary_speaks_of_descriptions_and_is_not_wider_for_long_ones():
    block = nn.Residual(nn.Dense(4), nn.Relu(), nn.Dense(4), nn.Relu(), nn.Dense(4))
    stack = Sequential(nn.Dense(4, nn.Normal(0.1)), block, nn.Dense(2))
    assert stack.summary((3,)).splitlines() == [
        "layer      description                                       output  parameters",
        "Affine1    Dense(4)                                            (4,)          16",
        "Residual1  Residual(Dense(4), Relu(), Dense(4), Relu(), ...    (4,)          60",
        "Affine2    Dense(2)                                            (2,)          10",
        "total                                                                        86",
    ]


# Activations by name, as a description, or one's own


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_an_activation_is_named_or_described(name):
    by_name = xpnet.MultiLayerNet(4, [5], 3, activation=name)
    described = xpnet.MultiLayerNet(4, [5], 3, activation=ACTIVATIONS[name]())
    assert by_name.stack.descriptions == described.stack.descriptions
    assert np.all(by_name.params["W1"] == described.params["W1"])
    leaky = xpnet.TwoLayerNet(4, 5, 3, activation=nn.LeakyRelu(0.3))
    assert leaky.stack.layers(leaky.params)["LeakyRelu1"].slope == 0.3


class Cube(xpnet.Layer):
    def __init__(self, *, factor=1.0):
        self.factor = factor

    def forward(self, x):
        self.x = x
        return self.factor * x * x * x

    def backward(self, dout):
        return dout * (3 * self.factor) * self.x * self.x


@dataclass(frozen=True)
class Cubed(nn.ActivationDescription):
    factor: float = 1.0
    layer_class = Cube
    suits = nn.Normal(0.5)


def test_an_activation_of_ones_own_has_options_and_an_initializer(lib):
    net = xpnet.MultiLayerNet(4, [200], 3, activation=Cubed(factor=0.5), like=lib.asarray(X))
    assert net.stack.names == ["Affine1", "Cube1", "Affine2"]
    assert np.std(lib.numpy(net.params["W1"])) == pytest.approx(0.5, rel=0.1)
    assert xpnet.check_gradients(net, lib.asarray(X[:5]), lib.asarray(T[:5]), sample=3).ok


# Losses: descriptions, names, classes of one's own


@pytest.mark.parametrize(
    ("name", "description", "layer"),
    [
        ("cross_entropy", nn.CrossEntropy, layers.SoftmaxWithLoss),
        ("mean_squared_error", nn.MeanSquaredError, layers.IdentityWithLoss),
        ("mse", nn.MeanSquaredError, layers.IdentityWithLoss),
        ("binary_cross_entropy", nn.BinaryCrossEntropy, layers.SigmoidWithLoss),
        ("huber", nn.Huber, layers.HuberLoss),
        ("poisson", nn.Poisson, layers.ExponentialWithLoss),
    ],
)
def test_a_loss_is_named_described_or_a_class(name, description, layer):
    for given in (name, description(), description):
        stack = Sequential(nn.Dense(2), loss=given)
        assert stack.loss_description == description()
        assert type(stack.last) is layer
    stack = Sequential(nn.Dense(2), loss=layer)
    assert type(stack.loss_layer(X[:, 0])) is type(stack.last) is layer
    assert stack.loss_layer(X[:, 0]).weight is not None and stack.last.weight is None
    assert name in nn_losses.LOSSES
    assert name in inspect.getdoc(Sequential)


def test_options_of_a_described_loss_reach_its_layer():
    loss = nn.CrossEntropy([1, 2, 3], label_smoothing=0.25, ignore_index=2).layer()
    assert (loss.class_weight, loss.smoothing, loss.ignore) == ((1.0, 2.0, 3.0), 0.25, 2)
    assert (loss.classifies, loss.takes_labels, loss.plain) == (True, True, False)
    assert nn.BinaryCrossEntropy([2.0]).layer().positive_weight == (2.0,)
    assert nn.Huber(0.5).layer().delta == 0.5


class NeedsMore(xpnet.Loss):
    def __init__(self, weight, gamma):
        super().__init__(weight)


@dataclass(frozen=True)
class Wrong(nn.LossDescription):
    def layer(self, weight=None):
        return layers.Relu()


@pytest.mark.parametrize(
    ("loss", "match"),
    [
        ("l2", r"loss must be a description such as nn.CrossEntropy\(\) .*, 'mse', .*; got 'l2'$"),
        (None, "a subclass of xpnet.Loss, or one of 'cross_entropy', .*; got None$"),
        (layers.Relu, "loss must be a description .*; got <class"),
        (nn.Relu(), r"loss must be a description .*; got Relu\(\)$"),
        (partial(layers.HuberLoss, delta=2.0), "loss must be a description .*; got functools.partial"),
        (layers.HuberLoss(), r"not the loss object HuberLoss\(...\); pass loss=HuberLoss$"),
        (
            NeedsMore,
            "cannot be built from sample weights alone .*; describe a loss with options by .*LossDescription$",
        ),
        (Wrong(), r"Wrong\(\) must build a subclass of xpnet.Loss, but builds <"),
    ],
)
def test_what_is_no_loss_is_refused_in_one_line(loss, match):
    with pytest.raises(TypeError, match=match) as told:
        Sequential(nn.Dense(2), loss=loss)
    assert "\n" not in str(told.value)


class Renamed(layers.SoftmaxWithLoss):
    """A mere subclass."""


class Absolute(xpnet.Loss):
    def __init__(self, weight=None, /, *, scale=1.0):
        super().__init__(weight)
        self.scale = scale

    def forward(self, x, t):
        xp = xpnet._array.namespace(x=x, t=t)
        self.error, self.each = x - t, self.scale / x.shape[0]
        return xp.sum(xp.abs(self.error)) * self.each

    def backward(self):
        return xpnet._array.namespace(e=self.error).sign(self.error) * self.each


@dataclass(frozen=True)
class AbsoluteError(nn.LossDescription):
    scale: float = 1.0

    def layer(self, weight=None):
        return Absolute(weight, scale=self.scale)


def test_a_mere_subclass_of_a_loss_trains_with_integer_labels(lib):
    x, t = lib.asarray(X), lib.asarray(T)
    own, plain = (Network(Sequential(nn.Dense(3), loss=loss), (4,), like=x) for loss in (Renamed, nn.CrossEntropy()))
    options = {"optimizer": xpnet.SGD(0.5), "epochs": 2, "batch_size": 20, "validation": 0.2, "progress": False}
    histories = [fit(net, ((x, t), (x, t)), **options).history for net in (own, plain)]
    for column in ("loss", "test_accuracy", "validation_loss", "validation_accuracy"):
        found, expected = (getattr(history, column) for history in histories)
        assert found == expected and found
    found = evaluate(own, x, t)
    assert found.accuracy == histories[0].test_accuracy[-1]
    assert found.confusion.sum() == 60
    assert own.classifies


class Borrowed(layers.SoftmaxWithLoss):
    """With functions of others as they are."""

    probabilities = staticmethod(xpnet.functions.softmax)
    accuracy = staticmethod(xpnet.functions.accuracy)


def test_hooks_of_a_loss_can_be_static_methods(lib):
    x, t = lib.asarray(X), lib.asarray(T)
    own, plain = (Network(Sequential(nn.Dense(3), loss=loss), (4,), like=x) for loss in (Borrowed, "cross_entropy"))
    np.testing.assert_array_equal(*(xpnet.to_numpy(net.predict_proba(x)) for net in (own, plain)))
    assert float(own.accuracy(x, t)) == float(plain.accuracy(x, t))


@pytest.mark.parametrize("loss", [Absolute, AbsoluteError(2.0)], ids=["class", "description"])
def test_a_loss_of_ones_own_trains_and_is_evaluated(lib, loss):
    x, t = lib.asarray(X), lib.asarray(3.0 * X[:, :2])
    net = Network(Sequential(nn.Dense(2), loss=loss), (4,), like=x)
    before = evaluate(net, x, t)
    fit(net, ((x, t), (x, t)), xpnet.SGD(0.1), epochs=3, batch_size=10, accumulate=2, progress=False)
    after = evaluate(net, x, t)
    assert after.loss < 0.9 * before.loss
    assert (after.accuracy, after.confusion) == (None, None)
    assert float(net.loss(x, t)) == pytest.approx(after.loss, rel=1e-5)


@pytest.mark.parametrize("loss", [nn.MeanSquaredError(), nn.Huber(), nn.Poisson(), Absolute])
def test_a_regression_network_has_neither_accuracy_nor_probabilities_and_says_so(lib, loss):
    x = lib.asarray(X)
    net = Network(Sequential(nn.Dense(2), loss=loss), (4,), like=x)
    assert not net.classifies
    name = type(net.stack.last).__name__
    for what, call in (
        ("accuracy", lambda: net.accuracy(x, lib.asarray(HALF))),
        ("probabilities", lambda: net.predict_proba(x)),
    ):
        with pytest.raises(TypeError, match=f"the loss {name} does not classify, so it has no {what}$"):
            call()


def test_a_binary_network_has_the_probabilities_and_the_accuracy_of_its_outputs(lib):
    x, t = lib.asarray(X), lib.asarray(HALF)
    net = Network(Sequential(nn.Dense(2), loss=nn.BinaryCrossEntropy()), (4,), like=x)
    scores = lib.numpy(net.predict(x))
    dtype = max(lib.dtypes)
    check(lib, net.predict_proba(x), 1 / (1 + np.exp(-scores)), dtype, rtol=1e-5)
    check(lib, net.accuracy(x, t), np.mean((scores > 0) == (HALF > 0.5)), dtype, rtol=1e-5)
    result = fit(net, ((x, t), (x, t)), xpnet.SGD(1.0), epochs=10, batch_size=20, progress=False)
    assert result.history.test_accuracy[-1] > 0.95
    assert evaluate(net, x, t).accuracy == result.history.test_accuracy[-1]


# State that is declared


class Counting(xpnet.Layer):
    def __init__(self, returned):
        self.returned = returned

    def forward(self, x):
        self.state = (x,) * self.returned
        return x

    def backward(self, dout):
        return dout


@dataclass(frozen=True)
class Counted(nn.Description):
    returned: int
    kind = "Counting"
    state = ("mean", "var")

    def init_state(self, shape):
        return np.zeros(shape), np.zeros(shape)

    def layer(self, arrays, training):
        return Counting(self.returned)


@pytest.mark.parametrize("returned", [0, 1, 3])
def test_a_layer_that_declares_two_states_and_returns_another_number_is_an_error(returned):
    for description in (Counted(returned), nn.Residual(Counted(returned))):
        net = Network(Sequential(nn.Dense(3), description), (4,), dtype="float64")
        told = rf"1: its description declares the state \(mean1, var1\), but .* state has {returned} arrays"
        with pytest.raises(ValueError, match=told):
            net.gradient(X, T)
        with pytest.raises(ValueError, match=told):
            fit(net, ((X, T), (X, T)), epochs=1, progress=False)
    net = Network(Sequential(nn.Dense(3), Counted(2)), (4,), dtype="float64")
    net.gradient(X, T)
    assert net.state["mean1"].shape == net.state["var1"].shape == (60, 3)


def test_the_public_names_of_nn_are_classes_with_a_docstring():
    for name in nn.__all__:
        assert isinstance(getattr(nn, name), type), name
        assert getattr(nn, name).__doc__, name

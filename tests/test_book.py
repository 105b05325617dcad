"""The book's calls, chapters 3 to 7, as typed after `from xpnet import *`, with the results that it prints."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import xpnet
from xpnet import *  # noqa: F403
from xpnet import nn

# ruff: noqa: F405, NPY002


def printed(got, expected):
    """As many digits as the book prints."""
    np.testing.assert_allclose(got, expected, rtol=1e-6, atol=1e-8)


def function_2(x):
    return x[0] ** 2 + x[1] ** 2


@pytest.fixture(scope="module")
def mnist():
    return load_mnist(normalize=True, one_hot_label=True)


# Chapter 3: neural networks


def test_chapter_3_activations():
    assert step_function(3.0) == 1
    assert step_function(-1) == 0
    assert step_function(np.array([-1.0, 1.0, 2.0])).tolist() == [0, 1, 1]
    assert step_function(np.arange(-5.0, 5.0, 0.1)).shape == (100,)
    x = np.array([-1.0, 1.0, 2.0])
    printed(sigmoid(x), [0.26894142, 0.73105858, 0.88079708])
    printed(sigmoid(x=x), sigmoid(x))
    printed(sigmoid(np.array([-1, 1, 2])), sigmoid(x))
    printed(sigmoid(2), 0.88079708)
    assert relu(np.arange(-5.0, 5.0, 0.1)).min() == 0
    assert relu(x=np.array([-1, 0, 3])).tolist() == [0, 0, 3]


def test_chapter_3_three_layers():
    X = np.array([1.0, 0.5])
    W1 = np.array([[0.1, 0.3, 0.5], [0.2, 0.4, 0.6]])
    B1 = np.array([0.1, 0.2, 0.3])
    Z1 = sigmoid(np.dot(X, W1) + B1)
    printed(Z1, [0.57444252, 0.66818777, 0.75026011])
    W2 = np.array([[0.1, 0.4], [0.2, 0.5], [0.3, 0.6]])
    B2 = np.array([0.1, 0.2])
    Z2 = sigmoid(np.dot(Z1, W2) + B2)
    W3 = np.array([[0.1, 0.3], [0.2, 0.4]])
    B3 = np.array([0.1, 0.2])
    Y = identity_function(np.dot(Z2, W3) + B3)
    printed(Y, [0.31682708, 0.69627909])


def test_chapter_3_softmax():
    y = softmax(np.array([0.3, 2.9, 4.0]))
    printed(y, [0.01821127, 0.24519181, 0.73659691])
    assert np.sum(y) == 1.0
    a = np.array([1010, 1000, 990])
    printed(softmax(a), [9.99954600e-01, 4.53978686e-05, 2.06106005e-09])
    printed(softmax(x=a), softmax(a))


def test_chapter_3_mnist():
    (x_train, t_train), (x_test, t_test) = load_mnist(flatten=True, normalize=False)
    assert (x_train.shape, t_train.shape) == ((60000, 784), (60000,))
    assert (x_test.shape, t_test.shape) == ((10000, 784), (10000,))
    assert t_train[0] == 5
    (_, _), (x, t) = load_mnist(normalize=True, flatten=True, one_hot_label=False)
    y = TwoLayerNet(784, 50, 10).predict(x[0:100])
    assert np.argmax(softmax(y), axis=1).shape == t[0:100].shape


# Chapter 4: learning


def test_chapter_4_losses():
    t = [0, 0, 1, 0, 0, 0, 0, 0, 0, 0]
    y = [0.1, 0.05, 0.6, 0.0, 0.05, 0.1, 0.0, 0.1, 0.0, 0.0]
    printed(sum_squared_error(np.array(y), np.array(t)), 0.097500000000000031)
    printed(cross_entropy_error(np.array(y), np.array(t)), 0.51082545709933802)
    y = [0.1, 0.05, 0.1, 0.0, 0.05, 0.1, 0.0, 0.6, 0.0, 0.0]
    printed(sum_squared_error(y=np.array(y), t=np.array(t)), 0.59750000000000003)
    printed(cross_entropy_error(y=np.array(y), t=np.array(t)), 2.3025840929945458)
    printed(cross_entropy_error(np.array(y), np.array(2)), 2.3025840929945458)


def test_chapter_4_numerical_differentiation():
    def function_1(x):
        return 0.01 * x**2 + 0.1 * x

    def function_tmp1(x0):
        return x0 * x0 + 4.0**2.0

    printed(numerical_diff(function_1, 5), 0.1999999999990898)
    printed(numerical_diff(f=function_1, x=10), 0.2999999999986347)
    printed(numerical_diff(function_tmp1, 3.0), 6.00000000000378)
    printed(numerical_diff(lambda x1: 3.0**2.0 + x1 * x1, 4.0), 7.999999999999119)
    printed(numerical_gradient(function_2, np.array([3.0, 4.0])), [6.0, 8.0])
    printed(numerical_gradient(function_2, np.array([0.0, 2.0])), [0.0, 4.0])
    printed(numerical_gradient(f=function_2, x=np.array([3.0, 0.0])), [6.0, 0.0])
    printed(numerical_gradient(function_2, np.array([3, 4])), [6.0, 8.0])
    X, Y = (grid.flatten() for grid in np.meshgrid(np.arange(-2, 2.5, 0.25), np.arange(-2, 2.5, 0.25)))
    assert numerical_gradient_rows(function_2, np.array([X, Y]).T).shape == (324, 2)


def test_chapter_4_gradient_descent():
    init_x = np.array([-3.0, 4.0])
    printed(gradient_descent(function_2, init_x=init_x, lr=0.1, step_num=100), [-6.11110793e-10, 8.14814391e-10])
    assert init_x.tolist() == [-3.0, 4.0]  # the book's function would have moved it
    far = gradient_descent(function_2, init_x=init_x, lr=10.0, step_num=100)
    assert np.all(np.abs(far) > 1e12)
    near = gradient_descent(f=function_2, init_x=init_x, lr=1e-10, step_num=100)
    printed(near, [-2.99999994, 3.99999992])


def test_chapter_4_simple_net():
    net = SimpleNet()
    x = np.array([0.6, 0.9])
    assert net.predict(x).dtype == np.float32
    net.W = np.array([[0.47355232, 0.9977393, 0.84668094], [0.85557411, 0.03563661, 0.69422093]])
    p = net.predict(x)
    printed(p, [1.05414809, 0.63071653, 1.1328074])
    assert np.argmax(p) == 2
    t = np.array([0, 0, 1])
    printed(net.loss(x, t), 0.92806853663411326)
    dW = [[0.21924763, 0.14356247, -0.36281009], [0.32887144, 0.2153437, -0.54421514]]
    printed(net.gradient(x, t), dW)
    with pytest.raises(TypeError, match="f does not use its argument.*lambda W: .* your network"):
        numerical_gradient(lambda w: net.loss(x, t), net.W)
    printed(numerical_gradient(lambda w: softmax_cross_entropy(np.dot(x, w), t), net.W), dW)


def test_chapter_4_two_layer_net():
    net = TwoLayerNet(input_size=784, hidden_size=100, output_size=10)
    shapes = {"W1": (784, 100), "b1": (100,), "W2": (100, 10), "b2": (10,)}
    assert {name: net.params[name].shape for name in net.params} == shapes
    x, t = np.random.rand(100, 784), np.random.rand(100, 10)
    y = net.predict(x)
    assert (y.shape, y.dtype) == ((100, 10), np.float32)
    small = TwoLayerNet(input_size=6, hidden_size=5, output_size=10)
    grads = small.numerical_gradient(x[:, :6], t / t.sum(axis=1, keepdims=True))
    assert {name: g.shape for name, g in grads.items()} == {name: p.shape for name, p in small.params.items()}


def test_chapter_4_mini_batches(mnist):
    (x_train, t_train), (x_test, t_test) = mnist
    train_loss_list = []
    iters_num, train_size, batch_size, learning_rate = 20, x_train.shape[0], 100, 0.1
    network = TwoLayerNet(input_size=784, hidden_size=50, output_size=10)
    rng = np.random.RandomState(0)
    for _ in range(iters_num):
        batch_mask = rng.choice(train_size, batch_size)
        x_batch, t_batch = x_train[batch_mask], t_train[batch_mask]
        grad = network.gradient(x_batch, t_batch)
        for key in ("W1", "b1", "W2", "b2"):
            network.params[key] -= learning_rate * grad[key]
        train_loss_list.append(network.loss(x_batch, t_batch))
    assert train_loss_list[-1] < train_loss_list[0]
    assert 0 < network.accuracy(x_train, t_train) < 1
    assert 0 < network.accuracy(x_test, t_test) < 1


# Chapter 5: backpropagation


def test_chapter_5_apples_and_oranges():
    mul_apple_layer, mul_tax_layer = MulLayer(), MulLayer()
    apple_price = mul_apple_layer.forward(100, 2)
    price = mul_tax_layer.forward(apple_price, 1.1)
    printed(price, 220)
    dapple_price, dtax = mul_tax_layer.backward(1)
    dapple, dapple_num = mul_apple_layer.backward(dapple_price)
    printed([dapple, dapple_num, dtax], [2.2, 110, 200])

    mul_apple_layer, mul_orange_layer, mul_tax_layer = MulLayer(), MulLayer(), MulLayer()
    add_apple_orange_layer = AddLayer()
    all_price = add_apple_orange_layer.forward(mul_apple_layer.forward(100, 2), mul_orange_layer.forward(150, 3))
    printed(mul_tax_layer.forward(all_price, 1.1), 715)
    dall_price, dtax = mul_tax_layer.backward(1)
    dapple_price, dorange_price = add_apple_orange_layer.backward(dall_price)
    dorange, dorange_num = mul_orange_layer.backward(dorange_price)
    dapple, dapple_num = mul_apple_layer.backward(dapple_price)
    printed([dapple_num, dapple, dorange, dorange_num, dtax], [110, 2.2, 3.3, 165, 650])


def test_chapter_5_layers():
    x = np.array([[1.0, -0.5], [-2.0, 3.0]])
    layer = Relu()
    assert layer.forward(x).tolist() == [[1.0, 0.0], [0.0, 3.0]]
    assert layer.mask.tolist() == [[False, True], [True, False]]
    assert layer.backward(dout=np.ones((2, 2))).tolist() == [[1.0, 0.0], [0.0, 1.0]]
    layer = Sigmoid()
    out = layer.forward(x)
    assert layer.out is out
    printed(layer.backward(1.0 + 0 * x), out * (1 - out))
    W, b, dout = np.ones((2, 3)), np.zeros(3), np.array([[1, 2, 3], [4, 5, 6]]) / 1.0
    layer = Affine(W, b)
    assert layer.forward(x).shape == (2, 3)
    assert layer.backward(dout).shape == x.shape
    assert (layer.x is x, layer.W is W, layer.b is b) == (True, True, True)
    assert layer.db.tolist() == [5.0, 7.0, 9.0]
    printed(layer.dW, x.T @ dout)
    layer = SoftmaxWithLoss()
    t = np.array([[0, 1], [1, 0]])
    loss = layer.forward(x, t)
    assert layer.loss is loss
    printed([layer.y, layer.t], [softmax(x), t])
    printed(layer.backward(dout=1), (softmax(x) - t) / 2)
    printed(layer.backward(), layer.backward(1))


def test_chapter_5_network(mnist):
    (x_train, t_train), _ = mnist
    network = TwoLayerNet(input_size=784, hidden_size=2, output_size=10)
    assert list(network.layers) == ["Affine1", "Relu1", "Affine2"]
    assert isinstance(network.lastLayer, SoftmaxWithLoss)
    x_batch, t_batch = x_train[:3], t_train[:3]
    grad_numerical = network.numerical_gradient(x_batch, t_batch)
    grad_backprop = network.gradient(x_batch, t_batch)
    for key in grad_numerical:
        assert np.average(np.abs(grad_backprop[key] - grad_numerical[key])) < 1e-3
    assert network.layers["Affine1"].dW is grad_backprop["W1"]
    assert network.lastLayer.loss == network.loss(x_batch, t_batch)


# Chapter 6: techniques


@pytest.mark.parametrize(
    "optimizer",
    [
        SGD(lr=0.01),
        Momentum(lr=0.01, momentum=0.9),
        Nesterov(lr=0.01, momentum=0.9),
        AdaGrad(lr=0.01),
        RMSprop(lr=0.01, decay_rate=0.99),
        Adam(lr=0.001, beta1=0.9, beta2=0.999),
    ],
)
def test_chapter_6_optimizers(mnist, optimizer):
    (x_train, t_train), _ = mnist
    network = MultiLayerNet(input_size=784, hidden_size_list=[20, 20], output_size=10)
    params, state = dict(network.params), optimizer.init(network.params)
    for i in range(3):
        grads = network.gradient(x_train[i : i + 100], t_train[i : i + 100])
        assert optimizer.update(network.params, grads) is None
        params, state = optimizer.update(params, grads, state)
        for name, p in params.items():
            np.testing.assert_array_equal(network.params[name], p)
        for name, a in state.items():
            np.testing.assert_array_equal(optimizer.state[name], a)


def test_chapter_6_the_valley_in_python_numbers():
    """The gradients of x²/20 + y²: with SGD, x shrinks by a factor of 1 - lr / 10, and y by 1 - 2 lr."""
    optimizers = {"SGD": SGD(lr=0.95), "Momentum": Momentum(lr=0.1), "AdaGrad": AdaGrad(lr=1.5), "Adam": Adam(lr=0.3)}
    for key in optimizers:
        params = {"x": -7.0, "y": 2.0}
        for _ in range(30):
            optimizers[key].update(params, {"x": params["x"] / 10.0, "y": 2.0 * params["y"]})
        assert abs(params["x"]) < 7.0
        assert abs(params["y"]) < 2.0
        if key == "SGD":
            printed([params["x"], params["y"]], [-7.0 * 0.905**30, 2.0 * (-0.9) ** 30])


def test_chapter_6_networks(mnist):
    (x_train, t_train), _ = mnist
    network = MultiLayerNet(
        input_size=784, hidden_size_list=[100, 100, 100, 100, 100, 100], output_size=10, activation="relu"
    )
    assert len(network.params) == 14
    optimizer = SGD(lr=0.01)
    before = network.loss(x_train[:300], t_train[:300])
    for _ in range(5):
        optimizer.update(network.params, network.gradient(x_train[:300], t_train[:300]))
    assert network.loss(x_train[:300], t_train[:300]) < before
    other = MultiLayerNet(784, [10], 10, batch_norm=True, dropout=0.2)
    optimizer.update(other.params, network.params | other.params)  # one SGD for several networks
    assert optimizer.state == {}


@pytest.mark.parametrize(
    ("option", "ours"),
    [
        ({"weight_init_std": "relu"}, "weight_init"),
        ({"weight_decay_lambda": 0.1}, "weight_decay to the optimizer"),
        ({"use_batchnorm": True}, "batch_norm"),
        ({"use_dropout": True}, "dropout"),
        ({"dropout_ration": 0.2}, "dropout"),
        ({"hidden_sizes": [3]}, "'hidden_sizes'$"),
    ],
)
def test_options_of_the_books_networks_are_refused_with_ours(option, ours):
    with pytest.raises(TypeError, match=rf"^MultiLayerNet got an unexpected keyword argument .*{ours}"):
        MultiLayerNet(input_size=4, hidden_size_list=[3], output_size=2, **option)


# Chapter 7: convolution


def test_chapter_7_layers():
    x, W, b = np.random.rand(10, 1, 28, 28), np.random.rand(30, 1, 5, 5), np.zeros(30)
    assert Convolution(W, b).forward(x).shape == (10, 30, 24, 24)
    with pytest.raises(TypeError, match=r"^Convolution got an unexpected keyword argument 'pad'; pass padding$"):
        Convolution(W, b, stride=1, pad=2)
    assert Convolution(W=W, b=b, stride=1, padding=2).forward(x).shape == (10, 30, 28, 28)
    assert MaxPooling((2, 2), stride=2).forward(x).shape == (10, 1, 14, 14)


# NumPy's float64 samples and a float32 network

X64, LABELS = np.random.default_rng(0).normal(size=(20, 4)), np.arange(20) % 3
CALLS = {
    "predict": lambda net, x: net.predict(x),
    "predict_proba": lambda net, x: net.predict_proba(x),
    "loss": lambda net, x: net.loss(x, LABELS),
    "accuracy": lambda net, x: net.accuracy(x, LABELS),
    "gradient": lambda net, x: net.gradient(x, LABELS)["W1"],
    "numerical_gradient": lambda net, x: net.numerical_gradient(x, LABELS)["W2"],
    "check_gradients": lambda net, x: np.asarray(check_gradients(net, x, LABELS).ok),
    "evaluate": lambda net, x: np.asarray(evaluate(net, x, LABELS).loss),
    "fit": lambda net, x: fit(net, (x, LABELS), (x, LABELS), epochs=2, progress=False).network.params["W1"],
    "predict one sample": lambda net, x: net.predict(x[0]),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
@pytest.mark.parametrize("build", [lambda **o: TwoLayerNet(4, 5, 3, **o), lambda **o: MultiLayerNet(4, [5], 3, **o)])
def test_a_network_of_the_default_dtype_takes_float64(call, build):
    got, expected = (call(build(), x) for x in (X64, X64.astype("float32")))
    assert got.dtype == expected.dtype
    np.testing.assert_array_equal(got, expected)
    for chosen in ({"dtype": "float32"}, {"like": X64.astype("float32")}):
        with pytest.raises(TypeError, match=r"x is float64 but .* is float32"):
            call(build(**chosen), X64)
    for integers in (np.ones((20, 4), "uint8"), np.ones((20, 4), int)):
        with pytest.raises(
            TypeError, match=r"x(_train)? must have a real floating dtype, got .*int.*; scale.* / 255"
        ):
            call(build(), integers)


def test_the_layers_and_the_pure_functions_convert_nothing():
    net = TwoLayerNet(4, 5, 3)
    with pytest.raises(TypeError, match="Affine: x is float64 but W is float32"):
        net.stack.loss_and_gradient(net.params, X64, LABELS)
    with pytest.raises(TypeError, match="Affine: x is float64 but W is float32"):
        net.layers["Affine1"].forward(X64)
    for layer in (Relu(), Sigmoid()):
        with pytest.raises(TypeError, match=f"{type(layer).__name__}: x must have a real floating dtype"):
            layer.forward(np.ones((20, 4), "uint8"))


def test_a_network_of_the_default_dtype_takes_one_library():
    torch = pytest.importorskip("torch")
    with pytest.raises(
        TypeError, match=r"arrays of different libraries: x is torch\.Tensor, params is numpy\.ndarray"
    ):
        TwoLayerNet(4, 5, 3).predict(torch.zeros(2, 4))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_networks_of_train_and_of_files_convert_as_train_did(tmp_path, dtype):
    pytest.importorskip("safetensors")
    trained = train((X64, LABELS), dtype=dtype, epochs=1, progress=False).network
    save_network(trained, tmp_path / "net.safetensors")
    for net in (trained, load_network(tmp_path / "net.safetensors")):
        for x in (X64, X64.astype("float32")):
            assert net.predict(x).dtype == dtype
    own = TwoLayerNet(4, 5, 3, dtype="float32")
    assert not train((X64, LABELS), own, epochs=1, progress=False).network.converts
    assert not fit(Sequential(nn.Dense(3)), (X64, LABELS), epochs=1, progress=False).network.converts


def test_simple_net_takes_float64_unless_its_dtype_was_chosen():
    x, t = np.array([0.6, 0.9]), np.array([0, 0, 1])
    for call in (lambda net, x: net.predict(x), lambda net, x: net.loss(x, t), lambda net, x: net.gradient(x, t)):
        got, expected = call(SimpleNet(), x), call(SimpleNet(), x.astype("float32"))
        assert got.dtype == np.float32
        np.testing.assert_array_equal(got, expected)
    with pytest.raises(TypeError, match="SimpleNet: x is float64 but W is float32"):
        SimpleNet(dtype="float32").predict(x)


# Names that xpnet does not have


@pytest.mark.parametrize("name", sorted(xpnet._OF_THE_BOOK))
def test_a_name_of_the_book_is_an_error_that_says_ours(name):
    with pytest.raises(AttributeError, match=f"^xpnet has no {name}; .") as caught:
        getattr(xpnet, name)
    text = str(caught.value).partition("; ")[2]
    known = {word.strip("(,.;)") for word in text.replace("(", " ").split()}
    assert known & {*xpnet.__all__, *(f"nn.{n}" for n in nn.__all__), "History.plot"}


def test_the_first_editions_mean_squared_error_is_named_by_python_itself():
    """After a star import, an unknown name is Python's error. Python suggests the nearest name."""
    code = "from xpnet import *\nmean_squared_error"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert "Did you mean: 'sum_squared_error'?" in done.stderr


# The page


PAGE = (Path(__file__).parents[1] / "docs" / "book.md").read_text(encoding="utf-8")


def test_the_code_of_the_page_runs(capsys):
    exec("\n".join(re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)), {"__name__": "page"})
    assert "(30, 1, 5, 5)" in capsys.readouterr().out


def test_the_page_has_every_name_that_has_another_one_here():
    missing = {name for name in xpnet._OF_THE_BOOK if not re.search(rf"\b{name}\b", PAGE)}
    assert missing == {"DeepConvNet"}  # of chapter 8

"""Twenty checks, as a user of an array library tries xpnet: each compares with the same on NumPy."""

from dataclasses import dataclass
from typing import Any

import numpy as np

import xpnet
from xpnet import nn

RNG = np.random.default_rng(0)
X = RNG.normal(size=(20, 6)).astype("float32")
T = (X[:, 0] > 0).astype("int64") + (X[:, 1] > 0)
IMAGES = RNG.normal(size=(3, 2, 6, 6)).astype("float32")
WEIGHTS = {"W": RNG.normal(size=(6, 3)).astype("float32"), "b": RNG.normal(size=3).astype("float32")}
FILTERS = RNG.normal(size=(4, 2, 3, 3)).astype("float32")
BIASES = RNG.normal(size=4).astype("float32")


@dataclass(frozen=True)
class Arrays:
    """A library: `put` makes its arrays from NumPy arrays, and `read` does the opposite, in its own way."""

    put: Any
    read: Any

    def equal(self, found: Any, expected: Any, tolerance: float = 1e-5) -> None:
        host = np.asarray(self.read(found))
        assert host.dtype == np.asarray(expected).dtype, f"dtype {host.dtype}"
        np.testing.assert_allclose(host, expected, rtol=tolerance, atol=tolerance)

    def layer(self, make: Any, arrays: Any, x: Any, names: tuple[str, ...] = ()) -> None:
        """The forward and backward pass of a layer, and its gradients."""
        ours, layer = make(*arrays), make(*map(self.put, arrays))
        expected, found = ours.forward(x), layer.forward(self.put(x))
        self.equal(found, expected)
        dout = np.ones_like(expected) + expected
        back, dx = ours.backward(dout), layer.backward(self.put(dout))
        if back is not None:
            self.equal(dx, back, 1e-4)
        for name in names:
            self.equal(getattr(layer, name), getattr(ours, name), 1e-4)

    def loss(self, make: Any, x: Any, t: Any) -> None:
        ours, loss = make(), make()
        self.equal(loss.forward(self.put(x), self.put(t)), ours.forward(x, t))
        self.equal(loss.backward(), ours.backward())

    def network(self, dtype: str = "float32") -> Any:
        return xpnet.TwoLayerNet(6, 5, 3, weight_init_std=0.5, like=self.put(X.astype(dtype)))

    def fit(self, optimizer: Any, epochs: int) -> None:
        """The same losses as on NumPy: 4 updates in an epoch."""
        options: Any = {"epochs": epochs, "batch_size": 5, "progress": False}
        expected = xpnet.fit(NUMPY.network(), (X, T), optimizer, **options).history.loss
        found = xpnet.fit(self.network(), (self.put(X), self.put(T)), optimizer, **options).history.loss
        np.testing.assert_allclose(found, expected, rtol=1e-3)
        assert np.mean(found[-4:]) < np.mean(found[:4])


NUMPY = Arrays(np.asarray, np.asarray)


def softmax(lib):
    lib.equal(xpnet.softmax(lib.put(X)), xpnet.softmax(X))


def one_hot(lib):
    lib.equal(xpnet.one_hot(lib.put(T), 3, dtype="float32"), xpnet.one_hot(T, 3, dtype="float32"))


def accuracy_and_confusion_matrix(lib):
    lib.equal(xpnet.accuracy(lib.put(X[:, :3]), lib.put(T)), xpnet.accuracy(X[:, :3], T))
    found = lib.read(xpnet.confusion_matrix(lib.put(X[:, :3]), lib.put(T)))
    np.testing.assert_array_equal(found, xpnet.confusion_matrix(X[:, :3], T))


def to_numpy(lib):
    np.testing.assert_array_equal(xpnet.to_numpy(lib.put(X)), X, strict=True)
    np.testing.assert_array_equal(xpnet.to_numpy(lib.put(X > 0)), X > 0, strict=True)


def numerical_gradient(lib):
    def f(x):
        return xpnet.sum_squared_error(x, x * x)

    lib.equal(xpnet.numerical_gradient(f, lib.put(X[0])), xpnet.numerical_gradient(f, X[0]), 1e-2)


def affine(lib):
    lib.layer(xpnet.Affine, WEIGHTS.values(), X, ("dW", "db"))


def activations(lib):
    for layer in (xpnet.Relu, xpnet.Sigmoid, xpnet.Tanh, xpnet.Gelu, xpnet.Silu, xpnet.Softmax):
        lib.layer(layer, (), X)


def batch_normalization(lib):
    arrays = np.ones(6, "float32"), np.zeros(6, "float32"), np.zeros(6, "float32"), np.ones(6, "float32")

    def make(gamma, beta, mean, variance):
        return xpnet.BatchNormalization(gamma, beta, mean, variance, training=True)

    lib.layer(make, arrays, X, ("dgamma", "dbeta"))


def layer_normalization(lib):
    lib.layer(xpnet.LayerNormalization, (np.ones(6, "float32"), np.zeros(6, "float32")), X, ("dgamma", "dbeta"))


def convolution(lib):
    lib.layer(lambda W, b: xpnet.Convolution(W, b, padding=1), (FILTERS, BIASES), IMAGES, ("dW", "db"))


def pooling(lib):
    lib.layer(lambda: xpnet.MaxPooling(2), (), IMAGES)
    lib.layer(lambda: xpnet.AveragePooling(2), (), IMAGES)


def embedding(lib):
    lib.layer(xpnet.Embedding, (WEIGHTS["W"],), np.asarray([[0, 5], [2, 2]]), ("dW",))


def losses(lib):
    lib.loss(xpnet.SoftmaxWithLoss, X[:, :3], T)
    lib.loss(xpnet.SigmoidWithLoss, X, (X > 0).astype("float32"))
    for loss in (xpnet.IdentityWithLoss, xpnet.HuberLoss, xpnet.ExponentialWithLoss):
        lib.loss(loss, X, abs(X))


def gradient_of_a_network(lib):
    ours, net = NUMPY.network(), lib.network()
    expected, found = ours.gradient(X, T), net.gradient(lib.put(X), lib.put(T))
    for name, gradient in expected.items():
        lib.equal(found[name], gradient, 1e-4)
    x, t = X[:4, :2], T[:4]
    small = xpnet.TwoLayerNet(2, 1, 3, weight_init_std=0.5, like=lib.put(x))
    gradients, slopes = (f(lib.put(x), lib.put(t)) for f in (small.gradient, small.numerical_gradient))
    for name, gradient in gradients.items():
        np.testing.assert_allclose(lib.read(slopes[name]), lib.read(gradient), rtol=1e-2, atol=1e-2)


def predict(lib):
    lib.equal(lib.network().predict(lib.put(X)), NUMPY.network().predict(X))


def fifty_updates_of_fit(lib):
    lib.fit(xpnet.SGD(0.1), 13)


def momentum_and_adam(lib):
    lib.fit(xpnet.Momentum(0.05), 2)
    lib.fit(xpnet.Adam(0.01), 2)


def fit_with_convolution_and_dropout(lib):
    stack = xpnet.Sequential(
        nn.Conv2d(3, 3), nn.BatchNorm(), nn.Relu(), nn.MaxPool2d(2), nn.Flatten(), nn.Dropout(0.2), nn.Dense(3)
    )

    def run(put):
        return xpnet.fit(stack, (put(IMAGES), put(T[:3])), epochs=2, batch_size=3, progress=False).history.loss

    np.testing.assert_allclose(run(lib.put), run(np.asarray), rtol=1e-3)


def evaluate(lib):
    found = xpnet.evaluate(lib.network(), lib.put(X), lib.put(T))
    expected = xpnet.evaluate(NUMPY.network(), X, T)
    np.testing.assert_allclose(found.loss, expected.loss, rtol=1e-5)
    np.testing.assert_array_equal(found.confusion, expected.confusion)


def train(lib):
    def run(put):
        return xpnet.train(
            (put(X), put(T)), epochs=2, batch_size=5, hidden_size=4, weight_init_std=0.5, progress=False
        )

    result = run(lib.put)
    np.testing.assert_allclose(result.history.loss, run(np.asarray).history.loss, rtol=1e-3)
    assert result.device in repr(result)


CHECKS = {
    "softmax": softmax,
    "one_hot": one_hot,
    "accuracy, confusion_matrix": accuracy_and_confusion_matrix,
    "to_numpy": to_numpy,
    "numerical_gradient": numerical_gradient,
    "Affine": affine,
    "activation layers": activations,
    "BatchNormalization": batch_normalization,
    "LayerNormalization": layer_normalization,
    "Convolution": convolution,
    "MaxPooling, AveragePooling": pooling,
    "Embedding": embedding,
    "losses": losses,
    "gradient of a network": gradient_of_a_network,
    "predict": predict,
    "fit, 52 updates with SGD": fifty_updates_of_fit,
    "fit with Momentum and Adam": momentum_and_adam,
    "fit with convolution and dropout": fit_with_convolution_and_dropout,
    "evaluate": evaluate,
    "train": train,
}

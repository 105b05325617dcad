"""Layers, losses, optimizers and schedules of one's own in files: registered by name, refused otherwise."""

import json
import subprocess
import sys
from dataclasses import dataclass

import numpy as np
import pytest

pytest.importorskip("safetensors.numpy", reason="safetensors is not installed")

import xpnet
from xpnet import Network, Sequential, SoftmaxWithLoss, layers, nn
from xpnet.training import describing
from xpnet.training.describing import from_plain, to_plain

X = np.random.default_rng(0).normal(size=(120, 6)).astype("float32")
T = np.argmax(X[:, :3], axis=1)


@xpnet.register
@dataclass(frozen=True)
class Scaled(nn.Description):
    factor: float
    inner: nn.Description = nn.Relu()
    kind = "Scaled"
    params = ("scale",)

    def init(self, rng, shape):
        return (np.full(shape, self.factor),)

    def layer(self, arrays, training):
        return ScaledLayer(*arrays)


class ScaledLayer(xpnet.Layer):
    def __init__(self, scale):
        self.scale = scale

    def forward(self, x):
        self.x = x
        return self.scale * x

    def backward(self, dout):
        self.dscale = (dout * self.x).sum(0)
        return dout * self.scale

    def gradients(self):
        return (self.dscale,)


@xpnet.register
class Plain(SoftmaxWithLoss):
    """A loss without options: its class is named."""


@xpnet.register
@dataclass(frozen=True)
class Sharp(nn.LossDescription):
    smoothing: float = 0.2

    def layer(self, weight=None):
        return SoftmaxWithLoss(weight, smoothing=self.smoothing)


@xpnet.register
@dataclass(frozen=True)
class SignDescent(xpnet.Optimizer):
    def rule(self, p, g, lr):
        return (p - lr * np.sign(g),)


@xpnet.register
@dataclass(frozen=True)
class InverseDecay:
    lr: float

    def __call__(self, step):
        return self.lr / (1.0 + 0.1 * step)


@xpnet.register
@dataclass(frozen=True)
class Halves:
    def __call__(self, rng, shape):
        return rng.choice([-0.5, 0.5], shape)


STACKS = {
    "class": Sequential(nn.Dense(8, Halves()), Scaled(0.5), nn.Relu(), nn.Dense(3), loss=Plain),
    "description": Sequential(nn.Residual(nn.Dense(6), Scaled(2.0, inner=nn.Tanh())), nn.Dense(3), loss=Sharp(0.1)),
}


@pytest.mark.parametrize("name", STACKS)
def test_a_network_of_registered_parts_is_trained_saved_resumed_and_loaded(name, tmp_path):
    path, data = tmp_path / "run.safetensors", ((X, T), (X, T))
    optimizer = SignDescent(InverseDecay(0.02))

    def run(epochs, **options):
        net = Network(STACKS[name], (6,), like=X)
        return xpnet.fit(net, data, optimizer, epochs=epochs, batch_size=40, progress=False, **options)

    expected = run(4)
    run(2, checkpoint=path)
    result = run(4, checkpoint=path, resume=True)
    assert result.history.loss == expected.history.loss
    loaded = xpnet.load_network(path)
    assert loaded.stack.descriptions == STACKS[name].descriptions
    assert loaded.stack.loss_description == STACKS[name].loss_description
    np.testing.assert_array_equal(loaded.predict(X), expected.network.predict(X))
    assert from_plain(json.loads(json.dumps(to_plain(optimizer)))) == optimizer


def test_a_process_that_does_not_know_a_class_says_which_and_what_to_do(tmp_path):
    path = tmp_path / "net.safetensors"
    xpnet.save_network(Network(STACKS["class"], (6,)), path)
    code = f"import xpnet; xpnet.load_network({str(path)!r})"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stderr.splitlines()[-1]
    assert told == (
        f"ValueError: {path}: names 'Halves', a class that xpnet does not know; if it is yours, decorate it with "
        "@xpnet.register and import it first"
    )


def test_a_name_is_of_one_class_and_a_class_may_be_defined_again():
    def define(module):
        @dataclass(frozen=True)
        class Defined(nn.Description):
            kind = "Defined"

        Defined.__module__ = module
        return Defined

    try:
        xpnet.register(define("mine"))
        again = xpnet.register(define("mine"))  # as in a notebook, where a cell runs twice
        assert to_plain(again()) == {"is": "Defined"}
        with pytest.raises(ValueError, match=r"register: Defined is the name of mine\..*Defined; choose another"):
            xpnet.register(define("theirs"))
        assert from_plain({"is": "Defined"}) == again()
    finally:
        del describing._KNOWN["Defined"]
    with pytest.raises(ValueError, match=r"register: Dense is the name of xpnet\.nn\.affine\.Dense"):
        xpnet.register(dataclass(frozen=True)(type("Dense", (nn.Description,), {})))
    assert describing._KNOWN["Dense"] is nn.Dense


def test_what_files_cannot_name_is_not_registered():
    class Undecorated(nn.Dense):
        """Its fields are those of another class: options of its own would be lost."""

    for thing in (Undecorated, ScaledLayer, layers.Relu):
        with pytest.raises(
            TypeError, match=rf"register: {thing.__name__} must be a subclass of xpnet.Loss or a datacl"
        ):
            xpnet.register(thing)
    for thing in (print, 3, "Dense"):
        with pytest.raises(TypeError, match="register: .* must be a subclass of xpnet.Loss or a dataclass"):
            xpnet.register(thing)

"""Layers of any shape and options: values and gradients are those of PyTorch's own; see also test_normalization."""

from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from xpnet.layers import (
    Affine,
    Dropout,
    Embedding,
    Flatten,
    Gelu,
    LeakyRelu,
    Relu,
    Residual,
    Sigmoid,
    Silu,
    Softmax,
    Tanh,
)

# JAX compiles for each shape; these two stand for all in shapes, the tables of the other tests for all libraries.
pytestmark = pytest.mark.only("numpy", "torch", "cupy")
torch = pytest.importorskip("torch", reason="compares with torch, which is not installed")
F = torch.nn.functional

shapes = st.lists(st.integers(1, 4), min_size=1, max_size=4).map(tuple)
rates = st.floats(0, 0.9)


def normal(seed, shape, scale=1.0):
    return scale * np.random.default_rng(seed).normal(size=shape)


# For each kind, what draws a case: how to build the layer from its parameters (with `lib` for other arrays), the
# parameters, the input, and PyTorch's function of input and parameters.


@st.composite
def activation(draw, layer, theirs):
    x = normal(draw(st.integers(0, 99)), draw(shapes), draw(st.sampled_from([1.0, 30.0, 1e4])))
    return lambda lib, dtype: layer, [], x, theirs


@st.composite
def leaky(draw):
    slope = draw(st.floats(0, 1))
    return draw(activation(partial(LeakyRelu, slope=slope), lambda x: F.leaky_relu(x, slope)))


@st.composite
def softmax(draw):
    shape = draw(shapes)
    axis = draw(st.integers(-len(shape), len(shape) - 1))
    layer = partial(Softmax, axis=axis)
    return lambda lib, dtype: layer, [], normal(1, shape, 5.0), lambda x: F.softmax(x, dim=axis)


@st.composite
def flatten(draw):
    shape = (2, *draw(shapes))
    return lambda lib, dtype: Flatten, [], normal(1, shape), lambda x: x.flatten(1)


@st.composite
def affine(draw):
    n, shape, units = draw(st.integers(1, 4)), draw(shapes), draw(st.integers(1, 4))
    W, b = normal(1, (int(np.prod(shape)), units)), normal(2, units)
    return lambda lib, dtype: Affine, [W, b], normal(3, (n, *shape)), lambda x, W, b: x.flatten(1) @ W + b


@st.composite
def dropout(draw):
    shape, rate = draw(shapes), draw(rates)
    mask = np.random.default_rng(draw(st.integers(0, 99))).random(shape) >= rate

    def layer(lib, dtype):
        return lambda: Dropout(rate, lib.asarray(mask))

    return layer, [], normal(1, shape), lambda x: x * torch.asarray(mask) / (1 - rate)


@st.composite
def residual(draw):
    n, units = draw(st.integers(1, 4)), draw(st.integers(1, 4))
    params = [normal(i, shape) for i, shape in enumerate([(units, units), units, (units, units), units])]

    def build(W1, b1, W2, b2):
        return Residual([Affine(W1, b1), Tanh()], [Affine(W2, b2)])

    def theirs(x, W1, b1, W2, b2):
        return torch.tanh(x @ W1 + b1) + x @ W2 + b2

    return lambda lib, dtype: build, params, normal(9, (n, units)), theirs


KINDS = {
    "relu": activation(Relu, F.relu),
    "sigmoid": activation(Sigmoid, torch.sigmoid),
    "tanh": activation(Tanh, torch.tanh),
    "gelu": activation(Gelu, partial(F.gelu, approximate="tanh")),
    "silu": activation(Silu, F.silu),
    "leaky_relu": leaky(),
    "softmax": softmax(),
    "flatten": flatten(),
    "affine": affine(),
    "dropout": dropout(),
    "residual": residual(),
}


def compare(lib, got, expected, dtype):
    """To the rounding of `dtype`, relative to the largest element."""
    got, expected = lib.numpy(got), expected.detach().numpy()
    scale = max(1.0, float(np.max(np.abs(expected), initial=0)))
    assert got.dtype == dtype
    assert got.shape == expected.shape
    np.testing.assert_allclose(got, expected, rtol=0, atol=scale * {"float32": 2e-4, "float64": 1e-9}[dtype])


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=40)
@given(st.data())
def test_a_layer_of_any_shape_and_options_is_pytorchs(lib, kind, data):
    layer, params, x, theirs = data.draw(KINDS[kind])
    tensors = [torch.tensor(a, requires_grad=True) for a in (x, *params)]
    y = theirs(*tensors)
    dout = normal(7, tuple(y.shape))
    gradients = torch.autograd.grad(y, tensors, torch.tensor(dout))
    for dtype in lib.dtypes:
        one_pass = layer(lib, dtype)(*(lib.asarray(p, dtype) for p in params))
        compare(lib, one_pass.forward(lib.asarray(x, dtype)), y, dtype)
        compare(lib, one_pass.backward(lib.asarray(dout, dtype)), gradients[0], dtype)
        for got, expected in zip(one_pass.gradients() if params else (), gradients[1:], strict=True):
            compare(lib, got, expected, dtype)


@settings(max_examples=40)
@given(st.integers(1, 6), st.integers(1, 4), st.lists(st.integers(1, 3), max_size=3), st.integers(0, 99))
def test_an_embedding_of_any_shape_is_pytorchs(lib, count, size, shape, seed):
    W, ids = normal(seed, (count, size)), np.random.default_rng(seed).integers(0, count, size=shape)
    table = torch.tensor(W, requires_grad=True)
    y = F.embedding(torch.tensor(ids), table)
    dout = normal(7, tuple(y.shape))
    (expected,) = torch.autograd.grad(y, table, torch.tensor(dout))
    for dtype in lib.dtypes:
        layer = Embedding(lib.asarray(W, dtype))
        compare(lib, layer.forward(lib.asarray(ids)), y, dtype)
        assert layer.backward(lib.asarray(dout, dtype)) is None
        compare(lib, layer.dW, expected, dtype)

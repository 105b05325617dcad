"""Convolution and pooling: PyTorch's own as the oracle, differences, and what is refused."""

import numpy as np
import pytest
from conftest import needs
from hypothesis import given, strategies as st
from test_functions import check

from xpnet import AveragePooling, Convolution, MaxPooling, check_layer

RNG = np.random.default_rng(0)
X = RNG.normal(size=(2, 4, 7, 6))
W, B = RNG.normal(size=(6, 2, 3, 2)), RNG.normal(size=6)
POOLINGS = {"max": MaxPooling, "average": AveragePooling}
poolings = pytest.mark.parametrize("pooling", POOLINGS)

# (filters, C, height, width), C being the channels of a group, and options
CONVOLUTIONS = {
    "book": ((3, 4, 5, 5), {}),
    "one by one": ((3, 4, 1, 1), {}),
    "whole image": ((2, 4, 7, 6), {}),
    "padded": ((3, 4, 3, 3), {"padding": 1}),
    "padded by more than the filter": ((3, 4, 2, 2), {"padding": (3, 2)}),
    "stride 2": ((3, 4, 3, 3), {"stride": 2, "padding": 1}),
    "stride larger than the filter": ((3, 4, 1, 2), {"stride": (3, 4)}),
    "dilated": ((3, 4, 3, 2), {"dilation": (2, 3)}),
    "groups": ((6, 2, 3, 2), {"groups": 2}),
    "depthwise, everything": ((8, 1, 2, 3), {"groups": 4, "stride": (2, 1), "padding": (1, 2), "dilation": (3, 1)}),
}
convolutions = pytest.mark.parametrize("name", CONVOLUTIONS)


def pairs(least, most):
    return st.tuples(st.integers(least, most), st.integers(least, most))


@st.composite
def convolution_cases(draw):
    n, groups = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    channels, filters = draw(st.integers(1, 3)), groups * draw(st.integers(1, 3))
    size, stride, padding, dilation = (draw(pairs(*span)) for span in ((1, 3), (1, 3), (0, 3), (1, 2)))
    least = [max(1, dilation[i] * (size[i] - 1) + 1 - 2 * padding[i]) for i in (0, 1)]
    sides = [draw(st.integers(least[i], least[i] + 4)) for i in (0, 1)]
    options = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
    return (n, groups * channels, *sides), (filters, channels, *size), options


@st.composite
def pooling_cases(draw):
    size = draw(pairs(1, 4))
    stride = draw(st.none() | pairs(1, 5))
    padding = tuple(draw(st.integers(0, k // 2)) for k in size)
    sides = [draw(st.integers(max(1, size[i] - 2 * padding[i]), size[i] + 5)) for i in (0, 1)]
    return (draw(st.integers(1, 2)), draw(st.integers(1, 2)), *sides), size, {"stride": stride, "padding": padding}


def torch_gradients(function, arrays, dout):
    """What PyTorch makes of NumPy arrays, and its gradients by each."""
    import torch

    tensors = [torch.tensor(a, requires_grad=True) for a in arrays]
    y = function(*tensors)
    return y.detach().numpy(), [g.numpy() for g in torch.autograd.grad(y, tensors, torch.tensor(dout(y.shape)))]


def agree(lib, layer, x, params, theirs):
    """Values and gradients of `layer` are those of PyTorch's function, in every dtype."""
    dout = np.random.default_rng(1)
    drawn = {}
    y, (dx, *dparams) = torch_gradients(theirs, [x, *params], lambda s: drawn.setdefault("dout", dout.normal(size=s)))

    def both(x, dout, *params):
        one_pass = layer(*params)
        return [one_pass.forward(x), one_pass.backward(dout), *(one_pass.gradients() if params else ())]

    both = lib.backend.compile(both)  # JAX: at once, not each operation
    for dtype in lib.dtypes:
        tolerance = {"rtol": 1e-4, "atol": 1e-4} if dtype == "float32" else {"rtol": 1e-10, "atol": 1e-11}
        found = both(*(lib.asarray(a, dtype) for a in (x, drawn["dout"], *params)))
        for got, expected in zip(found, [y, dx, *dparams], strict=True):
            check(lib, got, expected, dtype, **tolerance)


def conv_agrees(lib, x, shape, options):
    from torch.nn import functional as F  # noqa: N812

    params = RNG.normal(size=shape), RNG.normal(size=shape[0])
    agree(lib, lambda W, b: Convolution(W, b, **options), x, params, lambda x, W, b: F.conv2d(x, W, b, **options))


def pool_agrees(lib, pooling, x, size, options):
    from torch.nn import functional as F  # noqa: N812

    theirs = F.max_pool2d if pooling == "max" else lambda *a, **o: F.avg_pool2d(*a, **o, count_include_pad=False)
    agree(lib, lambda: POOLINGS[pooling](size, **options), x, (), lambda x: theirs(x, size, **options))


@needs("torch")
@convolutions
def test_convolution_is_pytorchs(lib, name):
    conv_agrees(lib, X, *CONVOLUTIONS[name])


@needs("torch")
@pytest.mark.only("numpy", "torch")
@given(convolution_cases())
def test_convolution_is_pytorchs_for_any_shape(lib, case):
    shape, weights, options = case
    conv_agrees(lib, np.random.default_rng(2).normal(size=shape), weights, options)


@needs("torch")
@poolings
@pytest.mark.parametrize(
    ("size", "options"),
    [
        (2, {}),
        ((3, 2), {}),
        (3, {"stride": 2, "padding": 1}),
        (2, {"stride": 1}),
        (1, {"stride": 3}),
        ((4, 3), {"stride": (3, 1), "padding": (2, 1)}),
    ],
)
def test_pooling_is_pytorchs(lib, pooling, size, options):
    pool_agrees(lib, pooling, X, size, options)


@needs("torch")
@pytest.mark.only("numpy", "torch")
@poolings
@given(pooling_cases())
def test_pooling_is_pytorchs_for_any_shape(lib, pooling, case):
    shape, size, options = case
    pool_agrees(lib, pooling, np.random.default_rng(2).normal(size=shape), size, options)


def by_loops(x, W, b, stride, padding):
    """The definition, position by position."""
    x = np.pad(x, ((0, 0), (0, 0), (padding, padding), (padding, padding)))
    rows, columns = ((x.shape[2 + i] - W.shape[2 + i]) // stride + 1 for i in (0, 1))
    y = np.empty((len(x), len(W), rows, columns))
    for i in range(rows):
        for j in range(columns):
            window = x[:, :, i * stride : i * stride + W.shape[2], j * stride : j * stride + W.shape[3]]
            y[:, :, i, j] = np.einsum("nchw,fchw->nf", window, W) + b
    return y


@pytest.mark.parametrize(("stride", "padding"), [(1, 0), (1, 2), (2, 1)])
def test_convolution_is_its_definition(lib, stride, padding):
    w = RNG.normal(size=(3, 4, 3, 2))
    for dtype in lib.dtypes:
        layer = Convolution(lib.asarray(w, dtype), lib.asarray(B[:3], dtype), stride=stride, padding=padding)
        expected = by_loops(X, w, B[:3], stride, padding)
        check(lib, layer.forward(lib.asarray(X, dtype)), expected, dtype, rtol=1e-4, atol=1e-5)


@convolutions
def test_the_checker_agrees_with_every_convolution(lib, name):
    shape, options = CONVOLUTIONS[name]
    for dtype in lib.dtypes:
        x, w, b = (lib.asarray(a, dtype) for a in (X, RNG.normal(size=shape), RNG.normal(size=shape[0])))
        sample = 2 if lib.lazy else 6
        assert check_layer(lambda w, b: Convolution(w, b, **options), {"W": w, "b": b}, x, sample=sample).ok


@poolings
@pytest.mark.parametrize("options", [{}, {"stride": 1}, {"stride": 3, "padding": 1}], ids=str)
def test_the_checker_agrees_with_every_pooling(lib, pooling, options):
    for dtype in lib.dtypes:
        spread = np.random.default_rng(3).permutation(X.size).reshape(X.shape) / 50  # no two within a step
        sample = 5 if lib.lazy else 20
        assert check_layer(lambda: POOLINGS[pooling](2, **options), {}, lib.asarray(spread, dtype), sample=sample).ok


def test_padding_never_wins_a_maximum_and_equals_go_to_the_first(lib):
    dtype = max(lib.dtypes)
    layer = MaxPooling(3, stride=2, padding=1)
    x = lib.asarray(np.full((1, 1, 3, 3), -1e30))
    check(lib, layer.forward(x), np.full((1, 1, 2, 2), -1e30), dtype)
    check(lib, layer.backward(lib.asarray(np.ones((1, 1, 2, 2)))), [[[[1, 1, 0], [1, 1, 0], [0, 0, 0]]]], dtype)


def test_padding_does_not_count_in_an_average(lib):
    layer = AveragePooling(3, stride=2, padding=1)
    x = lib.asarray(np.full((1, 1, 3, 3), 5.0))
    check(lib, layer.forward(x), np.full((1, 1, 2, 2), 5.0), max(lib.dtypes))


def test_params_alone_are_the_same(lib):
    x, w, b = (lib.asarray(a) for a in (X, W, B))
    whole, half = (Convolution(w, b, groups=2, padding=1) for _ in range(2))
    dout = whole.forward(x)
    whole.backward(dout)
    half.forward(x)
    assert half.backward_params(dout) is None
    for a, b in zip(whole.gradients(), half.gradients(), strict=True):
        np.testing.assert_array_equal(lib.numpy(a), lib.numpy(b))


def test_nothing_is_written_into(lib):
    arrays = [lib.asarray(a, "float32") for a in (X, W, B)]
    before = [lib.numpy(a).copy() for a in arrays]
    for layer in (Convolution(*arrays[1:], groups=2), MaxPooling(2), AveragePooling(2)):
        y = layer.forward(arrays[0])
        layer.backward(y)
    for a, old in zip(arrays, before, strict=True):
        np.testing.assert_array_equal(lib.numpy(a), old)


@pytest.mark.only("jax")
def test_traced_and_mapped_it_is_the_same(lib):
    import jax

    def all_of(x, w, b):
        results = []
        for layer in (Convolution(w, b, groups=2, stride=2, padding=1), MaxPooling(2), AveragePooling(3, padding=1)):
            y = layer.forward(x)
            results += [y, layer.backward(2 * y)]
        return results

    x, w, b = (lib.asarray(a) for a in (X, W, B))
    plain = all_of(x, w, b)
    many = [lib.xp.stack([a, 2 * a]) for a in (x, w, b)]
    mapped = jax.vmap(all_of)(*many)
    for got, row, expected in zip(jax.jit(all_of)(x, w, b), mapped, plain, strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-10, atol=1e-12)
        np.testing.assert_allclose(row[0], expected, rtol=1e-10, atol=1e-12)


# What is refused


def test_convolution_refuses_what_does_not_fit(lib):
    x, w, b = (lib.asarray(a) for a in (X, W, B))
    for args, options, match in [
        ((w[0, ...], b), {}, r"W has shape \(2, 3, 2\) and b \(6,\); expected"),
        ((w, b[:5]), {}, r"and b \(5,\)"),
        ((w, b), {"groups": 4}, "6 filters do not divide into 4 groups"),
        ((w, b), {"groups": 0}, "groups must be"),
        ((w, b), {"stride": 0}, "stride must be an integer of at least 1, got 0"),
        ((w, b), {"padding": -1}, "padding must be an integer of at least 0, got -1"),
        ((w, b), {"dilation": (1, 2, 3)}, r"dilation must be one integer or two, got \(1, 2, 3\)"),
    ]:
        with pytest.raises(ValueError, match=match):
            Convolution(*args, **options)
    for options in ({"stride": 1.5}, {"padding": (0, True)}, {"groups": True}):
        with pytest.raises(
            TypeError, match=f"Convolution: {next(iter(options))} must be an integer of at least [01], got"
        ):
            Convolution(w, b, **options)
    assert Convolution(w, b, stride=np.int64(2), groups=np.uint8(2)).options == {
        "stride": (2, 2),
        "padding": (0, 0),
        "dilation": (1, 1),
        "groups": 2,
    }
    for bad, error, match in [
        (x, ValueError, r"x has 4 channels, shape \(2, 4, 7, 6\), but W expects 2, shape \(6, 2, 3, 2\) in 1 groups"),
        (x[:, :2, :2, :], ValueError, r"a window of 3 x 2 \(dilation 1 x 1\) does not fit into an image of 2 x 6"),
        (x[0, ...], ValueError, r"Convolution: x must be images of shape \(N, C, H, W\), got \(4, 7, 6\)"),
        (lib.asarray(np.ones(X.shape, "uint8"), "uint8"), TypeError, "x must have a real floating dtype.*/ 255"),
        (X.tolist(), TypeError, "x must be an array"),
    ]:
        with pytest.raises(error, match=match):
            Convolution(w, b).forward(bad)


@poolings
def test_pooling_refuses_what_does_not_fit(lib, pooling):
    build, x = POOLINGS[pooling], lib.asarray(X)
    for args, options, match in [
        ((0,), {}, "size must be an integer of at least 1, got 0"),
        ((2,), {"stride": -1}, "stride must be"),
        ((2,), {"padding": 2}, "padding 2 is more than half of the window 2"),
    ]:
        with pytest.raises(ValueError, match=match):
            build(*args, **options)
    for bad, error, match in [
        (x[..., 0], ValueError, r"x must be images of shape \(N, C, H, W\), got \(2, 4, 7\)"),
        (x[:, :, :1, :], ValueError, "does not fit into an image of 1 x 6"),
        (lib.asarray(np.ones(X.shape, int)), TypeError, "x must have a real floating dtype"),
    ]:
        with pytest.raises(error, match=match):
            build(2).forward(bad)

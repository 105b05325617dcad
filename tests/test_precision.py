"""Products in half precision: close to float32, for tiny and huge numbers, too; refused where there are none."""

import sys
from dataclasses import dataclass

import numpy as np
import pytest

import xpnet
from xpnet import Adam, Network, Sequential, fit, fit_many, nn
from xpnet.cli import main
from xpnet.layers.precision import HALF, in_precision
from xpnet.tracing import TracingError

HALVES = pytest.mark.only("torch", "jax", "cupy")
TOLERANCE = {"bfloat16": 2**-7, "float16": 2**-9}
RNG = np.random.default_rng(0)


def product(lib, precision, a, b):
    with lib.here:  # as in a layer
        return in_precision(precision, lib.xp.matmul, a, b)


def close(lib, found, expected, precision):
    found, expected = lib.numpy(found), lib.numpy(expected)
    np.testing.assert_allclose(found, expected, atol=2 * TOLERANCE[precision] * abs(expected).max())


@HALVES
@pytest.mark.parametrize("factor", [1.0, 1e-20, 1e15])
def test_a_product_is_close_to_that_of_float32_and_has_its_dtype(lib, factor):
    a, b = RNG.normal(size=(5, 300)), RNG.normal(size=(300, 4)) * factor
    a, b = lib.asarray(a, "float32"), lib.asarray(b, "float32")
    with lib.here:
        expected = a @ b
    for precision in HALF:
        found = product(lib, precision, a, b)
        assert found.dtype == a.dtype and lib.holds(found)
        close(lib, found, expected, precision)
        assert not np.array_equal(lib.numpy(found), lib.numpy(expected))  # it was rounded


@HALVES
def test_zeros_infinity_and_nan(lib):
    one = lib.asarray([[1.0]], "float32")
    for precision in HALF:
        for value, expected in ((0.0, 0.0), (np.nan, np.nan)):
            x = lib.asarray([[value]], "float32")
            assert np.array_equal(lib.numpy(product(lib, precision, x, one)), [[expected]], equal_nan=True)
        x = lib.asarray([[np.inf]], "float32")
        assert not np.isfinite(lib.numpy(product(lib, precision, x, one))).any()


@HALVES
def test_a_bad_number_stays_in_its_row(lib):
    w = lib.asarray(np.ones((3, 2)), "float32")
    for rows, good in (
        ([[1, 1, 1], [np.inf, 1, 1]], 3.0),
        ([[1e5, 1, 1], [np.nan, 1, 1]], 100002.0),
        ([[1e-9, 1e-9, 1e-9], [np.nan, 1e-9, 1]], 3e-9),
    ):
        for precision in HALF:
            if good > 1 or precision == "bfloat16":
                y = lib.numpy(product(lib, precision, lib.asarray(rows, "float32"), w))
                np.testing.assert_allclose(y[0], good, rtol=2 * TOLERANCE[precision])
                assert not np.isfinite(y[1]).any()


@HALVES
def test_huge_operands_long_sums_and_nothing(lib):
    for precision in HALF:

        def of(a, b, precision=precision):
            return lib.numpy(product(lib, precision, lib.asarray(a, "float32"), lib.asarray(b, "float32")))

        assert of([[1e30, 0]], [[0], [1e30]]).tolist() == [[0]]
        np.testing.assert_allclose(of([[3e38]], [[0.5]]), 1.5e38, rtol=0.01)
        np.testing.assert_allclose(of(np.ones((1, 100_352)), np.ones((100_352, 1))), 100_352, rtol=0.01)
        assert of(np.ones((0, 3)), np.ones((3, 2))).shape == (0, 2)


@HALVES
@pytest.mark.parametrize("precision", HALF)
def test_products_of_batches_are_rounded_once(lib, precision):
    xp, matmul, turned = lib.xp, lib.backend.matmul, lib.xp.matrix_transpose
    a, b = RNG.normal(size=(2, 3, 4, 300)), RNG.normal(size=(2, 3, 300, 5))

    def host(x):
        return lib.numpy(xp.astype(x, xp.float32))

    with lib.here:
        a, b = (xp.astype(lib.asarray(x, "float32"), lib.backend.half(precision)) for x in (a, b))
        expected = host(a).astype("float64") @ host(b)
        for found in (matmul(a, b), turned(matmul(turned(b), turned(a)))):
            assert found.dtype == a.dtype
            np.testing.assert_allclose(host(found), expected, rtol=TOLERANCE[precision], atol=1e-4)
        assert matmul(a[:, :, :0, :], b).shape == (2, 3, 0, 5)
        assert np.array_equal(host(matmul(a[..., :0], b[..., :0, :])), np.zeros((2, 3, 4, 5)))


STACK = Sequential(
    nn.Conv2d(4, 3, padding=1),
    nn.BatchNorm(),
    nn.Relu(),
    nn.Residual(nn.Conv2d(6, 3, padding=1), shortcut=[nn.Conv2d(6, 1)]),
    nn.MaxPool2d(2),
    nn.Dense(8),
    nn.Relu(),
    nn.Dense(3),
)


def problem(lib, dtype):
    like = lib.asarray([1.0], "float32")
    x, t = RNG.random((12, 1, 6, 6)).astype("float32"), RNG.integers(0, 3, 12)
    return Network(STACK, (1, 6, 6), like=like, dtype=dtype), lib.asarray(x), lib.asarray(t)


@HALVES
def test_layers_are_close_to_those_of_float32(lib):
    convolution = RNG.random((3, 2, 5, 5)), RNG.normal(size=(4, 2, 3, 3)), RNG.normal(size=4)
    affine = RNG.random((6, 50)), RNG.normal(size=(50, 4)), RNG.normal(size=4)
    for kind, arrays in ((xpnet.Convolution, convolution), (xpnet.Affine, affine)):
        x, W, b = (lib.asarray(a, "float32") for a in arrays)
        for precision in HALF:
            half, full = kind(W, b, precision=precision), kind(W, b)
            pairs = [(half.forward(x), full.forward(x))]
            dout = lib.asarray(RNG.normal(size=pairs[0][1].shape) * 1e-10, "float32")
            pairs += [
                (half.backward(dout), full.backward(dout)),
                *zip(half.gradients(), full.gradients(), strict=True),
            ]
            for found, expected in pairs:
                assert found.dtype == x.dtype and lib.holds(found)
                close(lib, found, expected, precision)


@HALVES
def test_losses_and_gradients_of_a_network_are_close_to_those_of_float32(lib):
    for precision in HALF:
        half, x, t = problem(lib, precision)
        full = Network(STACK, (1, 6, 6), like=lib.asarray([1.0], "float32"))
        assert {str(p.dtype) for p in half.params.values()} == {str(p.dtype) for p in full.params.values()}
        (one, found, _), (other, expected, _) = (
            lib.backend.compile(n.stack.loss_and_gradient)(n.params, x, t) for n in (half, full)
        )
        assert abs(float(one) - float(other)) < 10 * TOLERANCE[precision]
        for name in expected:
            got, wanted = lib.numpy(found[name]).ravel(), lib.numpy(expected[name]).ravel()
            size = np.linalg.norm(wanted)
            assert size < 1e-3 or got @ wanted > 0.95 * size * np.linalg.norm(got), name  # nearly the same direction


@HALVES
def test_training_reaches_the_accuracy_of_float32(lib):
    x = RNG.normal(size=(600, 20))
    t = np.argmax(x @ RNG.normal(size=(20, 4)), axis=1)
    data, reached = (lib.asarray(x, "float32"), lib.asarray(t)), {}
    for dtype in ("float32", *HALF):
        net = Network(Sequential(nn.Dense(16), nn.Relu(), nn.Dense(4)), (20,), like=data[0][:0, ...], dtype=dtype)
        fit(net, data, Adam(0.01), batch_size=50, epochs=20, progress=False)
        reached[dtype] = net.accuracy(*data)
        assert {str(p.dtype).rpartition(".")[2] for p in net.params.values()} == {"float32"}
    assert reached["float32"] > 0.9
    assert all(abs(found - reached["float32"]) < 0.04 for found in reached.values()), reached


@HALVES
def test_a_compiled_step_gives_the_same(lib):
    net, x, t = problem(lib, HALF[0])

    def step(params, x, t):
        return net.stack.loss_and_gradient(params, x, t)[0]

    step.known = True
    with lib.here:
        close(lib, lib.backend.compile(step)(net.params, x, t), step(net.params, x, t), "bfloat16")


@pytest.mark.only("cupy")
def test_cupy_asks_for_the_package_of_its_bfloat16(lib, monkeypatch):
    monkeypatch.setitem(sys.modules, "ml_dtypes", None)
    with pytest.raises(
        ValueError, match="'bfloat16' is not supported: CuPy's bfloat16 needs .*pip install ml-dtypes.;"
    ):
        problem(lib, "bfloat16")
    assert lib.backend.half("float16") == lib.xp.float16


@pytest.mark.only("numpy", "strict", "dask")
@pytest.mark.parametrize("precision", HALF)
def test_libraries_without_products_of_half_precision_refuse(lib, precision):
    with pytest.raises(
        ValueError,
        match=f"^dtype .or precision. '{precision}' is not supported: .*; use PyTorch, JAX or CuPy, or float32$",
    ):
        problem(lib, precision)
    layer = xpnet.Affine(lib.asarray([[1.0]]), lib.asarray([1.0]), precision=precision)
    with pytest.raises(ValueError, match="is not supported: "):
        layer.forward(lib.asarray([[1.0]]))


def test_unknown_precisions():
    for build in (
        lambda: nn.Dense(3, precision="float8"),
        lambda: nn.Conv2d(3, 3, precision="half"),
        lambda: xpnet.Affine(np.ones((1, 1)), np.ones(1), precision=16),
    ):
        with pytest.raises(ValueError, match=r'precision must be "bfloat16", "float16" or None, got '):
            build()


def test_the_command_line_refuses_half_precision_on_numpy(capsys):
    assert main(["train", "--dtype", "bfloat16", "--epochs", "0"]) != 0
    error = "'bfloat16' is not supported: NumPy has no bfloat16; use PyTorch, JAX or CuPy, or float32"
    assert f"dtype (or precision) {error}" in capsys.readouterr().err


def test_a_description_tells_its_precision():
    stack = STACK.with_precision("bfloat16")
    assert repr(stack).count("precision='bfloat16'") == 5
    assert repr(stack.with_precision(None)) == repr(STACK)


def test_layers_and_networks_of_ones_own():
    @dataclass(frozen=True, repr=False)
    class Rounded(nn.Description):
        precision: int = 8
        kind = "Rounded"

        def layer(self, arrays, training):
            return xpnet.Relu()

    class Own(Sequential):
        def __init__(self, units):
            super().__init__(nn.Dense(units), Rounded(), nn.Dense(2))

    stack = Own(3).with_precision("bfloat16")
    assert type(stack) is Own and stack.precisions == {"bfloat16"}
    assert stack.descriptions[1].precision == 8
    assert not Network(Own(3), (4,)).stack.precisions


@pytest.mark.only("torch")
def test_a_dtype_of_the_library_is_known_too(lib):
    net = xpnet.TwoLayerNet(4, 3, 2, like=lib.asarray([1.0], "float32"), dtype=lib.xp.bfloat16)
    assert net.stack.descriptions[0].precision == "bfloat16"
    assert net.params["W1"].dtype == lib.xp.float32


@HALVES
def test_train_takes_half_precision_by_name(lib):
    x, t = RNG.random((60, 5)).astype("float32"), RNG.integers(0, 3, 60)
    for network in (None, Sequential(nn.Dense(3))):
        result = xpnet.train(
            (x, t), network=network, backend=lib.backend.name, dtype="bfloat16", epochs=1, progress=False
        )
        assert "precision='bfloat16'" in repr(result.network.stack)
    with pytest.raises(ValueError, match="a Network is given"):
        xpnet.train((x, t), network=result.network, dtype="float16", epochs=1)


@pytest.mark.only("torch", "cupy")
def test_the_source_of_a_program_needs_a_library_with_its_dtype(lib):
    net, x, t = problem(lib, "bfloat16")
    with lib.here:
        program = xpnet.trace(net.stack.loss_and_gradient, net.params, x, t)
    for library in ("numpy", "cupy"):
        with pytest.raises(TracingError, match=f"source: {library} has no bfloat16; write for 'torch'"):
            program.source(library)


@pytest.mark.only("torch")
@pytest.mark.filterwarnings("ignore:Dynamo detected a call to a `functools.lru_cache`")
@pytest.mark.parametrize("precision", HALF)
def test_torch_compile_makes_one_graph(lib, precision):
    torch = pytest.importorskip("torch")
    net, x, t = problem(lib, precision)

    def step(params, x, t):
        return net.stack.loss_and_gradient(params, x, t)[0]

    compiled = torch.compile(step, fullgraph=True, backend="eager")
    close(lib, compiled(net.params, x, t), step(net.params, x, t), precision)


@pytest.mark.only("torch", "cupy")
@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_many_networks_at_once_are_those_of_fit(lib, precision):
    x, t = lib.asarray(np.random.default_rng(0).normal(size=(40, 6)), "float32"), lib.asarray(np.arange(40) % 3)
    stack = Sequential(nn.Dense(8), nn.Relu(), nn.Dense(3)).with_precision(precision)
    options = {"epochs": 2, "batch_size": 16, "progress": False}
    for seeds in ([1, 2], [1, 1]):  # each with its own mini-batches, and all with the same
        results = fit_many(stack, (x, t), seeds=seeds, **options)
        for seed, result in zip(seeds, results, strict=True):
            alone = fit(stack, (x, t), seed=seed, **options)
            np.testing.assert_allclose(result.history.loss, alone.history.loss, rtol=1e-3)

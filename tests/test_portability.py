"""The heart of it: a seed means the same weights, the same batches and the same losses on every backend."""

from functools import cache, partial
from typing import Any

import numpy as np
import pytest

import xpnet
from xpnet._array import find_dtype, namespace
from xpnet.datasets import scale_images

COUNT, BATCH = 10_000, 100  # one epoch is 100 updates
FLOATS = ("float32", "float64")


@cache
def mnist(dtype: str) -> tuple[tuple[Any, Any], tuple[Any, Any]]:
    """Real images, as uint8 or scaled; a short test set, since the losses are what is compared."""
    (x, t), (x_test, t_test) = xpnet.load_mnist(normalize=False)
    x, x_test = x[:COUNT], x_test[:BATCH]
    if dtype != "uint8":
        x, x_test = (scale_images(images, np.dtype(dtype)) for images in (x, x_test))
    return (x, t[:COUNT].astype("int64")), (x_test, t_test[:BATCH].astype("int64"))


def run(like: Any, dtype: str, asarray: Any) -> xpnet.Result:
    """The first 100 updates, on MNIST that stays uint8 until its mini-batch is drawn."""
    (x, t), (x_test, t_test) = mnist("uint8")
    data = tuple((asarray(a, dtype="uint8"), asarray(b)) for a, b in ((x, t), (x_test, t_test)))
    wanted = find_dtype(namespace(like=like), dtype, getattr(like, "device", None))
    net = xpnet.TwoLayerNet(784, 50, 10, like=like, dtype=dtype, seed=7)
    transform = partial(scale_images, dtype=wanted)
    return xpnet.fit(net, data, epochs=1, batch_size=BATCH, seed=7, transform=transform, progress=False)


@cache
def reference(dtype: str) -> xpnet.Result:
    result = run(np.asarray([0.0]), dtype, np.asarray)
    assert len(result.history.loss) == 100
    assert result.history.loss[-1] < 0.6 * result.history.loss[0]  # it learns, so the losses tell something
    return result


def tolerance(lib: Any, dtype: str) -> float:
    if lib.backend.name == "cupy":
        return 1e-4
    return {"float32": 1e-5, "float64": 1e-12}[dtype]


def check_has(lib: Any, dtype: str) -> None:
    if dtype not in lib.dtypes:
        pytest.skip(f"{lib.name} has no {dtype}")


def loop(like: Any, dtype: str, to_lib: Any, updates: int) -> list[Any]:
    """The same with the pure functions alone, without `fit` and `Backend.compile`; the losses, unread."""
    (x, t), _ = mnist(dtype)
    net, optimizer = xpnet.TwoLayerNet(784, 50, 10, like=like, dtype=dtype, seed=7), xpnet.SGD(0.1)
    params, state = net.params, optimizer.init(net.params)
    order, losses = np.random.default_rng(7).permutation(COUNT), []
    for batch in order.reshape(-1, BATCH)[:updates]:
        loss, gradients, _ = net.stack.loss_and_gradient(params, to_lib(x[batch], dtype), to_lib(t[batch]))
        params, state = optimizer.update(params, gradients, state)
        losses.append(loss)
    return losses


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("seed", [0, 123])
def test_a_seed_gives_the_same_weights_to_the_bit(lib, dtype, seed):
    check_has(lib, dtype)
    net = xpnet.TwoLayerNet(784, 50, 10, seed=seed, like=lib.asarray([0.0]), dtype=dtype)
    host = xpnet.TwoLayerNet(784, 50, 10, seed=seed, dtype=dtype)
    for name, p in net.params.items():
        assert lib.holds(p)
        found = lib.numpy(p)
        assert found.dtype == dtype
        np.testing.assert_array_equal(found, host.params[name])


@pytest.mark.parametrize("dtype", FLOATS)
def test_the_first_100_losses_on_mnist_are_numpys(lib, dtype):
    check_has(lib, dtype)
    result, expected = run(lib.asarray([0.0]), dtype, lib.asarray), reference(dtype)
    np.testing.assert_allclose(result.history.loss, expected.history.loss, rtol=tolerance(lib, dtype))
    np.testing.assert_allclose(result.history.train_accuracy, expected.history.train_accuracy, atol=1e-3)
    assert result.history.updates == [0, 100]
    for p in result.network.params.values():
        assert lib.holds(p)
        assert lib.numpy(p).dtype == dtype


@pytest.mark.parametrize("dtype", FLOATS)
def test_a_plain_loop_over_the_pure_functions_gives_the_same_losses(lib, dtype):
    check_has(lib, dtype)
    updates = 10 if lib.lazy else 100  # its graph grows with every update
    losses = [float(loss) for loss in loop(lib.asarray([0.0]), dtype, lib.asarray, updates)]
    np.testing.assert_allclose(losses, reference(dtype).history.loss[:updates], rtol=tolerance(lib, dtype))


@pytest.mark.only("jax")
@pytest.mark.parametrize("dtype", FLOATS)
def test_100_updates_inside_jax_jit_give_the_same_losses(lib, dtype):
    import jax

    (x, t), _ = mnist(dtype)
    order = np.random.default_rng(7).permutation(COUNT).reshape(-1, BATCH)
    net, optimizer = xpnet.TwoLayerNet(784, 50, 10, like=lib.asarray([0.0]), dtype=dtype, seed=7), xpnet.SGD(0.1)

    def update(carry: Any, batch: Any) -> Any:
        loss, gradients, _ = net.stack.loss_and_gradient(carry[0], *batch)
        return optimizer.update(carry[0], gradients, carry[1]), loss

    @jax.jit
    def epoch(params: Any, batches: Any) -> Any:
        return jax.lax.scan(update, (params, optimizer.init(params)), batches)[1]

    losses = np.asarray(epoch(net.params, (lib.asarray(x[order], dtype), lib.asarray(t[order]))))
    np.testing.assert_allclose(losses, reference(dtype).history.loss, rtol=tolerance(lib, dtype))


@pytest.mark.only("dask")
def test_the_core_never_makes_dask_compute(lib):
    import dask

    def refuse(*args: Any, **kwargs: Any) -> None:
        raise AssertionError("computed inside the core")

    with dask.config.set(scheduler=refuse):
        losses = loop(lib.asarray([0.0]), "float64", lib.asarray, 3)
    expected = reference("float64").history.loss[:3]
    np.testing.assert_allclose([float(loss) for loss in losses], expected, rtol=1e-12)


# What a batch holds is read off its loss: nothing is learned, the outputs are 0 and the target of sample i is 2**i,
# so that a batch of n has the loss sum(4**i) / 2n, a power of two apart from the sum, which every dtype holds.


class Still(xpnet.Optimizer):
    """An optimizer that leaves the parameters as they are."""

    def rule(self, p: Any, g: Any, lr: Any) -> Any:
        return (p,)


def drawn(asarray: Any, *, batch_size: int, **options: Any) -> list[list[int]]:
    """How often each of 10 samples is in each batch."""
    x, t = asarray(np.zeros((10, 1))), asarray(2.0 ** np.arange(10)[:, None])
    net = xpnet.Network(xpnet.Sequential(xpnet.nn.Dense(1), loss=xpnet.nn.MeanSquaredError()), (1,), like=x)
    loss = xpnet.fit(net, ((x, t), (x, t)), Still(), batch_size=batch_size, progress=False, **options).history.loss
    full, rest = divmod(10, batch_size)
    sizes = [batch_size] * full + [rest] * bool(rest)
    if options.get("sampling") == "replacement":
        sizes = [batch_size] * len(sizes)
    sums = [2 * a * n for a, n in zip(loss, sizes * options["epochs"], strict=True)]
    assert all(s == int(s) for s in sums)
    return [[int(s) // 4**i % 4 for i in range(10)] for s in sums]


def test_a_permutation_gives_each_sample_once_an_epoch_and_uses_the_shorter_last_batch(lib):
    batches = drawn(lib.asarray, batch_size=4, epochs=5, seed=3)
    assert [sum(b) for b in batches] == [4, 4, 2] * 5
    for epoch in range(5):
        np.testing.assert_array_equal(np.sum(batches[3 * epoch : 3 * epoch + 3], axis=0), 1)
    assert len({tuple(map(tuple, batches[i : i + 3])) for i in range(0, 15, 3)}) == 5  # new each epoch
    assert batches == drawn(np.asarray, batch_size=4, epochs=5, seed=3)


def test_drawing_with_replacement_fills_every_batch_and_repeats_samples(lib):
    batches = drawn(lib.asarray, batch_size=4, epochs=8, seed=1, sampling="replacement")
    assert [sum(b) for b in batches] == [4] * 24
    assert max(map(max, batches)) > 1
    assert any(0 in np.sum(batches[i : i + 3], axis=0) for i in range(0, 24, 3))
    assert np.min(np.sum(batches, axis=0)) > 0
    assert batches == drawn(np.asarray, batch_size=4, epochs=8, seed=1, sampling="replacement")


def test_another_seed_gives_other_batches(lib):
    assert drawn(lib.asarray, batch_size=1, epochs=1, seed=0) != drawn(lib.asarray, batch_size=1, epochs=1, seed=1)


def test_a_generator_as_the_seed_draws_on():
    rng = np.random.default_rng(0)
    first, second = (drawn(np.asarray, batch_size=1, epochs=1, seed=rng) for _ in range(2))
    assert first == drawn(np.asarray, batch_size=1, epochs=1, seed=0) != second
    assert first + second == drawn(np.asarray, batch_size=1, epochs=2, seed=0)

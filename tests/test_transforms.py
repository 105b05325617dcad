"""Every layer and loss inside the transformations of JAX and PyTorch: compiled, mapped over, differentiated.

`test_core_rules` and `test_losses` map over all arrays at once; here the parameters are shared, and the derivative of
the loss by the output comes from outside.
"""

from functools import partial

import numpy as np
import pytest
import test_layers
import test_losses
from test_core_rules import CASES as PURE, close, listed, vmap_of
from test_layers import LAYERS, convert
from test_losses import CASES
from test_sequential import IMAGES, LABELS, everything, prepared

import xpnet.layers
from xpnet.optim import optimizers


def layer_pass(name, *arrays):
    """A layer's output with its next state, and its way back."""
    layer, y = test_layers.forward(name, arrays)
    return [y, *getattr(layer, "state", ())], partial(test_layers.backward, name, layer)


def loss_pass(name, *arrays):
    """A loss, and its way back."""
    layer, loss = test_losses.forward(name, arrays)
    return [loss], lambda dout: [layer.backward(dout)]


def problem_of_layer(name):
    _, count, attributes, arrays, differentiable = LAYERS[name]
    wanted = [*range(len(attributes)), *range(count, count + differentiable)]
    return partial(layer_pass, name), arrays, wanted, range(count, len(arrays))


def problem_of_loss(name):
    arrays = test_losses.given_to(name)
    x = len(arrays) - 2
    return partial(loss_pass, name), arrays, [x], range(x, len(arrays))


# For each case: a pass of arrays, the arrays, which of them are differentiated, which are its inputs.
PROBLEMS = {name: problem_of_layer(name) for name in LAYERS}
PROBLEMS |= {f"loss-{name}": problem_of_loss(name) for name in CASES}
problems = pytest.mark.parametrize("name", PROBLEMS)


def dout_of(name):
    """A derivative of the loss by the output, drawn at random."""
    one_pass, arrays, _, _ = PROBLEMS[name]
    return np.random.default_rng(5).normal(size=np.shape(one_pass(*arrays)[0][0]))


def both_ways(one_pass):
    """Forward and backward as one pure function of the derivative by the output, and the arrays."""

    def function(dout, *arrays):
        results, back = one_pass(*arrays)
        return [*results, *back(dout)]

    return function


def test_every_layer_is_tried():
    """In the tables of test_layers and test_losses, and so by all that goes through them, here and there."""
    public = {thing for name in xpnet.layers.__all__ if isinstance(thing := getattr(xpnet.layers, name), type)}
    tried = [type(test_layers.forward(name, case[3])[0]) for name, case in LAYERS.items()]
    tried += [type(test_losses.forward(name, test_losses.given_to(name))[0]) for name in CASES]
    assert set(tried) == public - {xpnet.Layer, xpnet.Loss}
    assert len(PROBLEMS) == len(tried)


@pytest.mark.only("jax")
@problems
def test_inside_jit_it_is_the_same_and_leaks_no_tracer(lib, name):
    import jax

    one_pass, arrays, _, _ = PROBLEMS[name]
    function = both_ways(one_pass)
    given = convert(lib, [dout_of(name), *arrays], "float32")
    with jax.checking_leaks():
        traced = jax.jit(function)(*given)
    close(lib, traced, function(dout_of(name), *arrays), "float32", name)


@pytest.mark.only("jax", "torch")
@problems
def test_vmap_over_inputs_is_a_loop_over_inputs(lib, name):
    one_pass, arrays, _, inputs = PROBLEMS[name]
    function, many = both_ways(one_pass), [dout_of(name), *arrays]
    mapped = {0, *(i + 1 for i in inputs)}
    for i in mapped:
        many[i] = np.stack([many[i], np.flip(many[i]), np.roll(many[i], 1)])
    singles = [function(*(a[k] if i in mapped else a for i, a in enumerate(many))) for k in range(3)]
    expected = [np.stack(parts) for parts in zip(*singles, strict=True)]
    axes = tuple(0 if i in mapped else None for i in range(len(many)))
    close(lib, list(vmap_of(lib, function, axes)(*convert(lib, many, "float64"))), expected, "float64", name)


@pytest.mark.only("jax", "torch")
@problems
def test_the_librarys_own_way_back_is_ours(lib, name):
    one_pass, arrays, wanted, _ = PROBLEMS[name]
    dout, *given = convert(lib, [dout_of(name), *arrays], "float64")
    moved = [given[i] for i in wanted]
    expected = one_pass(*arrays)[1](dout_of(name))
    if lib.backend.name == "jax":
        import jax

        def forward(*moved):
            there = dict(zip(wanted, moved, strict=True))
            return one_pass(*(there.get(i, a) for i, a in enumerate(given)))[0][0]

        found = jax.jit(lambda dout, *moved: jax.vjp(forward, *moved)[1](dout))(dout, *moved)
    else:
        import torch

        for tensor in moved:
            tensor.requires_grad_()
        (y, *_), back = one_pass(*given)
        found = torch.autograd.grad(y, moved, dout)
        close(lib, [dx.detach() for dx in back(dout)], expected, "float64", name)  # of the pass that is watched
    close(lib, list(found), expected, "float64", name)


# torch.compile

# PyTorch says that it looks behind `functools.cache`, at each place.
of_dynamo = pytest.mark.filterwarnings("ignore:Dynamo detected a call to a `functools.lru_cache`")


@pytest.fixture
def whole(monkeypatch):
    """`torch.compile` with an error for a graph break, from a fresh start on both sides."""
    import torch

    def compiled(function, backend="eager"):
        torch._dynamo.reset()
        monkeypatch.setattr(xpnet._array, "_INDEX_DTYPES", {})
        return torch.compile(function, fullgraph=True, backend=backend)

    yield compiled
    torch._dynamo.reset()


@of_dynamo
@pytest.mark.only("torch")
@problems
def test_torch_compile_takes_a_layer_or_loss_as_one_graph(lib, whole, name):
    one_pass, arrays, _, _ = PROBLEMS[name]
    function = both_ways(one_pass)
    given = convert(lib, [dout_of(name), *arrays], "float64")
    close(lib, whole(function)(*given), list(map(lib.numpy, function(*given))), "float64", name)


FUNCTIONS = {name: case for name, case in PURE.items() if name not in LAYERS} | {
    "one_hot": (partial(xpnet.one_hot, num_classes=4), [LABELS]),
    "confusion_matrix": (xpnet.confusion_matrix, [PURE["accuracy-labels"][1][0], LABELS]),
    "accuracy-ignore": (partial(xpnet.accuracy, ignore=2), [PURE["accuracy-labels"][1][0], LABELS]),
}


@of_dynamo
@pytest.mark.only("torch")
@pytest.mark.parametrize("name", FUNCTIONS)
def test_torch_compile_takes_a_function_as_one_graph(lib, whole, name):
    function, arrays = FUNCTIONS[name]
    given = convert(lib, arrays, "float64")
    found, expected = listed(whole(function)(*given)), listed(function(*given))
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(lib.numpy(a), lib.numpy(b), rtol=1e-12)


@of_dynamo
@pytest.mark.only("torch")
def test_torch_compile_takes_the_gradient_of_a_whole_network_as_one_graph(lib, whole):
    import torch

    stack = everything()
    params, state, masks = prepared(lib, stack, IMAGES)
    given = params, lib.asarray(IMAGES), lib.asarray(LABELS)
    function = partial(stack.loss_and_gradient, state=state, masks=masks)
    torch.testing.assert_close(whole(function, "aot_eager")(*given), function(*given))


@of_dynamo
@pytest.mark.only("torch")
@pytest.mark.parametrize("name", [name for name in optimizers.__all__ if name != "Optimizer"])
def test_torch_compile_takes_an_update_as_one_graph(lib, whole, name):
    import torch

    params = {"W": lib.asarray([[1.0, 2.0]]), "b": lib.asarray([3.0])}
    optimizer = getattr(optimizers, name)(0.01)
    given = params, {key: 0.5 * p for key, p in params.items()}, optimizer.init(params)
    torch.testing.assert_close(whole(optimizer.update)(*given), optimizer.update(*given))


@of_dynamo
@pytest.mark.only("torch")
def test_torch_compile_takes_the_methods_of_a_network_as_one_graph(lib, whole):
    import torch

    x, t = lib.asarray(IMAGES[:, 0, 0, :]), lib.asarray(LABELS)
    net = xpnet.TwoLayerNet(6, 5, 3, like=x, dtype="float64")
    for method in (net.loss, net.accuracy, net.gradient):
        torch.testing.assert_close(whole(method)(x, t), method(x, t))
    torch.testing.assert_close(whole(net.predict_proba)(x), net.predict_proba(x))


# Gradients of each sample


@pytest.mark.only("jax", "torch")
@pytest.mark.parametrize("name", [name for name, (_, arrays) in PURE.items() if name not in LAYERS])
def test_grad_of_functions_is_the_difference_quotient(lib, name):
    function, arrays = PURE[name]
    if lib.backend.name == "jax":
        from jax import grad
    else:
        from torch.func import grad
    direction = np.random.default_rng(3).normal(size=arrays[0].shape)

    def total(x, *others):
        return sum(part.sum() for part in listed(function(x, *others)))

    x, *others = convert(lib, arrays, "float64")
    found = np.sum(lib.numpy(grad(total)(x, *others)) * direction)
    h = 1e-6
    there = [total(arrays[0] + sign * h * direction, *arrays[1:]) for sign in (1, -1)]
    np.testing.assert_allclose(found, (there[0] - there[1]) / (2 * h), rtol=1e-6, atol=1e-8)


@pytest.mark.only("jax", "torch")
def test_gradients_of_each_sample_are_those_of_batches_of_one(lib):
    if lib.backend.name == "jax":
        from jax import grad, vmap
    else:
        from torch.func import grad, vmap
    x, t = lib.asarray(IMAGES[:, 0, 0, :]), lib.asarray(LABELS)
    stack = xpnet.MultiLayerNet(6, [5, 4], 3, like=x, dtype="float64").stack
    params, _, _ = prepared(lib, stack, IMAGES[:, 0, 0, :])

    def ours(x, t):
        return stack.loss_and_gradient(params, x, t)[1]

    def theirs(x, t):
        return grad(lambda params: stack.loss(params, x, t))(params)

    for function in (ours, theirs):
        found = vmap(function)(x, t)
        for i in range(4):
            single = stack.loss_and_gradient(params, x[i : i + 1, ...], t[i : i + 1])[1]
            for name, g in single.items():
                np.testing.assert_allclose(lib.numpy(found[name][i, ...]), lib.numpy(g), rtol=1e-12, atol=1e-14)

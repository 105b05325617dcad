"""Every layer and loss inside the transformations of JAX and PyTorch: compiled, mapped over, differentiated.

`test_core_rules` and `test_losses` map over all arrays at once; here the parameters are shared, and the derivative of
the loss by the output comes from outside.
"""

from functools import partial

import numpy as np
import pytest
import test_layers
import test_losses
from test_core_rules import close, vmap_of
from test_layers import LAYERS, convert
from test_losses import CASES

import xpnet.layers


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

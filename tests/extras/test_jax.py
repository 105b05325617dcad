"""The bridge to JAX: its own gradient check, under its transformations, at no more than the cost of one pass."""

import numpy as np
import pytest

jax = pytest.importorskip("jax", reason="JAX is not installed")
import jax.numpy as jnp
from jax.test_util import check_grads
from test_layers import LAYERS
from test_losses import CASES
from test_sequential import IMAGES, LABELS, everything

from xpnet import MultiLayerNet, Network
from xpnet.jax import as_function
from xpnet.layers import Affine, SoftmaxWithLoss


@pytest.fixture(autouse=True)
def float64():
    jax.config.update("jax_enable_x64", True)


def arrays_of(values):
    return [jnp.asarray(v) for v in values]


@pytest.mark.parametrize("name", LAYERS)
def test_jaxs_check_grads_accepts_every_layer(name):
    build, count, attributes, arrays, differentiable = LAYERS[name]
    params, inputs = arrays_of(arrays[:count]), arrays_of(arrays[count:])
    n = len(attributes)
    function = as_function(build)

    def moved(*values):
        return function((*values[:n], *params[n:]), *values[n:], *inputs[differentiable:])

    values = (*params[:n], *inputs[:differentiable])
    check_grads(jax.jit(moved), values, order=1, modes=["rev"])
    np.testing.assert_allclose(moved(*values), build(*params).forward(*inputs))


@pytest.mark.parametrize("name", CASES)
def test_jaxs_check_grads_accepts_every_loss(name):
    build, numbers, options, x, t = CASES[name]
    rest = {key: jnp.asarray(a) for key, a in options.items() if key != "weight"}
    params = (jnp.asarray(options["weight"]),) if "weight" in options else ()
    function = as_function(build, **numbers, **rest)
    check_grads(lambda x: function(params, x, jnp.asarray(t)), (jnp.asarray(x),), order=1, modes=["rev"])


def prepared():
    stack = everything()
    net = Network(stack, IMAGES.shape[1:], like=jnp.asarray(IMAGES), seed=1)
    masks = {k: jnp.asarray(m) for k, m in stack.draw(np.random.default_rng(0), IMAGES.shape).items()}
    return stack, net, masks


@pytest.mark.parametrize("training", [True, False])
def test_a_stack_among_others_has_its_own_gradients_and_next_state(training):
    stack, net, masks = prepared()
    x, t = jnp.asarray(IMAGES), jnp.asarray(LABELS)
    function, loss = as_function(stack, training=training), as_function(SoftmaxWithLoss)

    def total(params, x):
        if not training:
            return loss((), function(params, x, state=net.state), t), None
        y, state = function(params, x, state=net.state, masks=masks)
        return loss((), y, t), state

    (got, state), (gradients, dx) = jax.jit(jax.value_and_grad(total, argnums=(0, 1), has_aux=True))(net.params, x)
    if training:
        expected, wanted, after = stack.loss_and_gradient(net.params, x, t, state=net.state, masks=masks)
    else:
        expected, wanted = jax.value_and_grad(lambda p: stack.loss(p, x, t, state=net.state))(net.params)
        after = None
    np.testing.assert_allclose(got, expected, rtol=1e-12)
    for found, other in ((gradients, wanted), (state or {}, after or {})):
        assert set(found) == set(other)
        for name in other:
            np.testing.assert_allclose(found[name], other[name], rtol=1e-9, atol=1e-12, err_msg=name)
    masks = masks if training else None
    theirs = jax.grad(lambda x: stack.loss(net.params, x, t, state=net.state, masks=masks, training=training))(x)
    np.testing.assert_allclose(dx, theirs, rtol=1e-8, atol=1e-12)


def test_it_maps_scans_and_stands_under_other_functions():
    affine = as_function(Affine)
    W, b, x = jnp.ones((3, 3)) / 7, jnp.ones(3), jnp.arange(12.0).reshape(4, 3)

    def deep(W, x):
        return jnp.sum(jax.lax.scan(lambda x, _: (jnp.sin(affine((W, b), x)), None), x, None, length=5)[0] ** 2)

    def plain(W, x):
        return jnp.sum(jax.lax.scan(lambda x, _: (jnp.sin(x @ W + b), None), x, None, length=5)[0] ** 2)

    np.testing.assert_allclose(jax.grad(deep)(W, x), jax.grad(plain)(W, x), rtol=1e-12)
    each = jax.vmap(jax.grad(deep), in_axes=(None, 0))
    np.testing.assert_allclose(each(W, x), jax.vmap(jax.grad(plain), in_axes=(None, 0))(W, x), rtol=1e-12)


def test_compiled_the_forward_pass_is_computed_once():
    net = MultiLayerNet(64, [128, 128], 10, like=jnp.zeros(1, "float32"))
    x, t = jnp.ones((50, 64), "float32"), jnp.zeros(50, int)
    function, loss = as_function(net.stack), as_function(SoftmaxWithLoss)

    def flops(step):
        return jax.jit(step).lower(net.params).compile().cost_analysis()["flops"]

    bridged = flops(jax.grad(lambda p: loss((), function(p, x), t)))
    own = flops(lambda p: net.stack.loss_and_gradient(p, x, t)[1])
    by_input = 2 * 50 * 64 * 128  # the derivative by x, which own does not compute, may be dropped by the compiler
    assert own <= bridged <= own + 1.1 * by_input


def test_what_is_refused_is_what_layers_refuse():
    net = MultiLayerNet(4, [3], 2, like=jnp.zeros(1, "float32"))
    with pytest.raises(TypeError, match="unexpected keyword argument 'train'"):
        as_function(net.stack)(net.params, jnp.ones((2, 4), "float32"), train=True)
    with pytest.raises(ValueError, match="Affine: x has 5 features"):
        as_function(net.stack)(net.params, jnp.ones((2, 5), "float32"))

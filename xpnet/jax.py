"""xpnet inside JAX: layers, losses and networks as functions whose derivative is xpnet's own backward.

Needs JAX: the extra `jax`.
"""

from collections.abc import Callable
from typing import Any

from ._typing import Array
from .backends import not_installed
from .nn.passes import Pass, pass_of

try:
    import jax
    import jax.numpy
except ModuleNotFoundError as error:
    raise not_installed("jax", error) from None

__all__ = ["as_function"]


def as_function(thing: Any, /, **options: Any) -> Callable[..., Any]:
    """A layer, a loss or a stack as a `jax.custom_vjp` function, differentiated by xpnet's own backward.

    Parameters
    ----------
    thing : layer class, loss class or Sequential
    **options
        What the class takes by keyword; for a stack ``training=True``.

    Returns
    -------
    callable
        For a class ``f(params, *inputs)``, where `params` is the tuple of arrays that it is built from, such as
        ``(W, b)``, and the inputs are those of its `forward`. For a stack ``f(params, x, state=None, noise=None)``;
        in training it returns the output and the next state. Works under `jax.jit`, `jax.vmap` and `jax.grad`, in
        reverse mode.

    Notes
    -----
    The backward pass makes the forward pass anew from parameters and inputs, which are all that is kept. Under
    `jax.jit` the compiler sees that both are the same and computes one.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> from xpnet import SoftmaxWithLoss
    >>> loss = as_function(SoftmaxWithLoss, smoothing=0.1)
    >>> jax.grad(lambda x: loss((), x, jnp.asarray([1])))(jnp.zeros((1, 2), "float32"))
    Array([[ 0.45, -0.45]], dtype=float32)
    """
    one_pass, training = pass_of(thing, options), options.get("training", False)

    def run(*arguments: Any) -> Pass:
        # JAX hands NumPy arrays on as they are.
        params, inputs, carried = jax.tree.map(jax.numpy.asarray, arguments)
        return one_pass(params, *inputs, **carried)

    @jax.custom_vjp
    def differentiable(*arguments: Any) -> Any:
        made = run(*arguments)
        return (made.y, made.state) if training else made.y

    def forward(*arguments: Any) -> tuple[Any, Any]:
        return differentiable(*arguments), arguments

    def backward(kept: Any, dout: Any) -> tuple[Any, Any, None]:
        by_params, by_inputs = run(*kept).back(jax.numpy.asarray(dout[0] if training else dout))
        return by_params, by_inputs, None

    differentiable.defvjp(forward, backward)

    def function(params: Any, *inputs: Array, **carried: Any) -> Any:
        return differentiable(params, inputs, carried)

    return function

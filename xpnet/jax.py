"""xpnet inside JAX: layers, losses and networks as JAX functions, differentiated with xpnet's `backward`.

The module needs JAX: the extra `jax`.
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
    """Convert a layer, a loss or a `Sequential` to a `jax.custom_vjp` function with xpnet's `backward`.

    Parameters
    ----------
    thing : layer class, loss class or Sequential
        The class or the network to convert.
    **options
        Keyword arguments of the class; for a `Sequential`, ``training=True``.

    Returns
    -------
    callable
        For a class, ``f(params, *inputs)``: `params` is the tuple of arrays from which the class is built, such as
        ``(W, b)``, and `inputs` are the arguments of its `forward`. For a `Sequential`,
        ``f(params, x, state=None, masks=None)``; with ``training=True`` it returns the output and the new state. The
        function works under `jax.jit`, `jax.vmap`, and `jax.grad` in reverse mode.

    Notes
    -----
    Only parameters and inputs are stored for the backward pass, which computes the forward pass a second time. Under
    `jax.jit`, the compiler merges the two forward passes.

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
        # JAX passes NumPy arrays without a conversion.
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

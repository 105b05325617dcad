"""A pass of a layer, a loss or a `Sequential` as a pure function. The bridges to PyTorch and JAX are built on it."""

from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

from .._typing import Array, Params
from .sequential import Sequential

__all__ = ["Pass", "pass_of"]

Arrays: TypeAlias = tuple[Array, ...] | Params


class Pass(NamedTuple):
    """The result of a forward pass.

    Attributes
    ----------
    y : array
        The output.
    state : dict of arrays
        The new state of a `Sequential`; empty for a layer.
    layers : list of layers
        The layers of the pass.
    back : callable
        Takes dL/dy. Returns the derivatives with respect to the parameters, in the same form as the parameters, and a
        tuple of the derivatives with respect to the inputs. An input without a derivative has None.
    """

    y: Array
    state: Params
    layers: list[Any]
    back: Callable[[Array], tuple[Any, tuple[Array | None, ...]]]


def pass_of(thing: Any, options: dict[str, Any]) -> Callable[..., Pass]:
    """A function of parameters and inputs that makes a `Pass`.

    Parameters
    ----------
    thing : Sequential or layer class
        Or any callable that builds a layer from its parameters.
    options : dict
        The keyword arguments of the class; for a `Sequential`, `training`.
    """
    return _of_stack(thing, **options) if isinstance(thing, Sequential) else _of_layer(thing, options)


def _of_layer(build: Callable[..., Any], options: dict[str, Any]) -> Callable[..., Pass]:
    def run(params: tuple[Array, ...], *inputs: Array) -> Pass:
        layer, counts = build(*params, **options), (len(params), len(inputs))
        y = layer.forward(*inputs)

        def back(dout: Array) -> tuple[Any, tuple[Array | None, ...]]:
            dx = layer.backward(dout)
            by_inputs = dx if isinstance(dx, tuple) else (dx,)
            return _filled(layer.gradients(), counts[0]), _filled(by_inputs, counts[1])

        return Pass(y, {}, [layer], back)

    return run


def _of_stack(stack: Sequential, training: bool = False) -> Callable[..., Pass]:
    def run(params: Params, x: Array, *, state: Params | None = None, masks: Params | None = None) -> Pass:
        layers = stack.layers(params, state=state, masks=masks, training=training)
        y = x
        for layer in layers.values():
            y = layer.forward(y)

        def back(dout: Array) -> tuple[Params, tuple[Array | None, ...]]:
            dx, gradients = stack.backward(layers, dout)
            return gradients, (dx,)

        return Pass(y, stack.next_state(layers) if training and state else {}, list(layers.values()), back)

    return run


def _filled(values: tuple[Any, ...], count: int) -> tuple[Any, ...]:
    """`values` as a tuple of length `count`, filled up with None for the last inputs, which have no derivative."""
    return (*values, *(None,) * (count - len(values)))

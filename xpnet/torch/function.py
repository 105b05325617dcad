"""Layers, losses and networks as functions and modules for PyTorch's autograd, with xpnet's forward and backward."""

from collections.abc import Callable, Iterator
from typing import Any

import torch

from .._typing import Array
from ..layers.base import Layer
from ..nn.initializers import generator
from ..nn.networks import Network
from ..nn.passes import Pass, pass_of
from .weights import tensor

__all__ = ["Module", "as_function"]


def as_function(thing: Any, /, **options: Any) -> Callable[..., Any]:
    """Convert a layer, a loss or a `Sequential` to a function of PyTorch tensors with xpnet's `backward`.

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
        ``f(params, x, state=None, masks=None)``; with ``training=True`` it returns the output and the new state.

    Notes
    -----
    Autograd stores the arrays that `backward` needs, and frees them with the graph. It is an error to change an input
    in place before `backward`. A second derivative (``create_graph=True``) is an error, too. For second derivatives,
    call the layer directly on tensors: PyTorch then differentiates its operations, which needs more memory.

    Examples
    --------
    >>> from xpnet import Affine
    >>> affine = as_function(Affine)
    >>> x, W, b = torch.ones(2, 3), torch.ones(3, 1, requires_grad=True), torch.zeros(1)
    >>> affine((W, b), x).sum().backward()
    >>> W.grad
    tensor([[2.],
            [2.],
            [2.]])
    """
    run = pass_of(thing, options)

    def function(params: Any, *inputs: Any, **carried: Any) -> Any:
        names = list(params) if isinstance(params, dict) else None
        count = len(params)
        state: dict[str, Array] = {}

        def flat(*tensors: Array) -> Pass:
            given: Any = tensors[:count]
            made = run(dict(zip(names, given, strict=True)) if names else given, *tensors[count:], **carried)
            state.update(made.state)
            return made

        values = params.values() if isinstance(params, dict) else params
        y = _Function.apply(flat, *values, *inputs)
        return (y, state) if options.get("training") else y

    return function


class _Function(torch.autograd.Function):
    """One pass of xpnet. Autograd stores the arrays of the layers between forward and backward."""

    @staticmethod
    def forward(ctx: Any, run: Callable[..., Pass], *tensors: Array) -> Array:
        y, _, ctx.layers, ctx.back = run(*tensors)
        ctx.places = list(_recorded(ctx.layers))
        ctx.save_for_backward(*(holder[key] for holder, key in ctx.places))
        _fill(ctx.places, [None] * len(ctx.places))
        return y

    @staticmethod
    def backward(ctx: Any, dout: Array) -> tuple[Array | None, ...]:
        if torch.is_grad_enabled():
            raise RuntimeError(
                "xpnet's backward has no derivative of its own, so create_graph=True cannot go through as_function; "
                "call the layer or stack itself on tensors, which PyTorch differentiates as often as you like"
            )
        _fill(ctx.places, ctx.saved_tensors)
        by_params, by_inputs = ctx.back(dout)
        _fill(ctx.places, [None] * len(ctx.places))
        values = by_params.values() if isinstance(by_params, dict) else by_params
        return (None, *values, *by_inputs)


def _recorded(layers: list[Any]) -> Iterator[tuple[Any, Any]]:
    """The attributes of layers, and of layers inside layers, that are tensors."""
    for layer in layers:
        for key, value in vars(layer).items():
            if isinstance(value, torch.Tensor):
                yield vars(layer), key
            elif isinstance(value, list):
                yield from _recorded([inner for inner in value if isinstance(inner, Layer)])


def _fill(places: list[tuple[Any, Any]], values: Any) -> None:
    for (holder, key), value in zip(places, values, strict=True):
        holder[key] = value


class Module(torch.nn.Module):
    """A network as a `torch.nn.Module`, to be used in a PyTorch model.

    Parameters
    ----------
    network : Network
        The network. Its parameters, of any library, are copied.
    seed : int or numpy.random.Generator, default 0
        The seed of the dropout masks.
    dtype : torch.dtype, optional
        The dtype of the parameters. Default: the dtype of the network's parameters.
    device : torch.device or str, optional
        The device of the parameters.

    Attributes
    ----------
    stack : Sequential
        The layers and the loss.

    Notes
    -----
    Parameters and running statistics keep xpnet's names and shapes, such as ``W1`` of shape (inputs, units).
    `xpnet.torch.state_dict` and `xpnet.torch.load_state_dict` convert them to and from PyTorch's layers.

    Examples
    --------
    >>> from xpnet import MultiLayerNet
    >>> model = torch.nn.Sequential(torch.nn.Linear(4, 8), Module(MultiLayerNet(8, [16], 3)))
    >>> model(torch.ones(2, 4)).sum().backward()
    >>> [tuple(p.grad.shape) for p in model[1].parameters()]
    [(8, 16), (16,), (16, 3), (3,)]
    """

    def __init__(
        self, network: Network, *, seed: int | Any = 0, dtype: torch.dtype | None = None, device: Any = None
    ) -> None:
        super().__init__()
        self.stack, self.input_shape = network.stack, network.input_shape
        for name, p in network.params.items():
            self.register_parameter(name, torch.nn.Parameter(tensor(p, dtype, device)))
        for name, a in network.state.items():
            self.register_buffer(name, tensor(a, dtype, device))
        self._rng = generator(seed)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The outputs for `x`, such as scores. In training mode, dropout is on and running statistics are updated."""
        params = {name: getattr(self, name) for names in self.stack.param_names for name in names}
        state = {name: getattr(self, name) for name in self.stack.state_names}
        function = as_function(self.stack, training=self.training)
        if not self.training:
            y: torch.Tensor = function(params, x, state=state)
            return y
        drawn = self.stack.draw(self._rng, tuple(x.shape))
        masks = {name: torch.as_tensor(mask, device=x.device) for name, mask in drawn.items()}
        y, after = function(params, x, state=state, masks=masks)
        for name, value in after.items():
            setattr(self, name, value)  # not in place: autograd keeps the old one
        return y

    def extra_repr(self) -> str:
        """The layers, for `print`."""
        return repr(self.stack)

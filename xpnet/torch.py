"""xpnet inside PyTorch: layers, losses and networks whose forward and backward autograd takes from xpnet.

Needs PyTorch: the extra `torch`.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch.autograd.function import once_differentiable

from ._array import Array, device, from_host, namespace
from .backends import to_numpy
from .bricks import Description, Skip
from .initializers import generator
from .networks import Network
from .passes import Pass, pass_of
from .sequential import Sequential

__all__ = ["Module", "as_function", "load_state_dict", "state_dict"]


def as_function(thing: Any, /, **options: Any) -> Callable[..., Any]:
    """A layer, a loss or a stack as a function of PyTorch tensors, differentiated by xpnet's own backward.

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
        in training it returns the output and the next state.

    Notes
    -----
    What a layer recorded is kept by autograd: an input that is changed in place before `backward` is an error, and
    nothing is kept longer than the graph. A second derivative is an error; PyTorch differentiates xpnet's own
    functions without this bridge, which takes more memory.

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
    """One pass of xpnet's; what its layers recorded is kept by autograd between forward and backward."""

    @staticmethod
    def forward(ctx: Any, run: Callable[..., Pass], *tensors: Array) -> Array:
        y, _, ctx.layers, ctx.back = run(*tensors)
        ctx.places = list(_recorded(ctx.layers))
        ctx.save_for_backward(*(holder[key] for holder, key in ctx.places))
        _fill(ctx.places, [None] * len(ctx.places))
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dout: Array) -> tuple[Array | None, ...]:
        _fill(ctx.places, ctx.saved_tensors)
        by_params, by_inputs = ctx.back(dout)
        _fill(ctx.places, [None] * len(ctx.places))
        values = by_params.values() if isinstance(by_params, dict) else by_params
        return (None, *values, *by_inputs)


def _recorded(layers: list[Any]) -> Iterator[tuple[Any, Any]]:
    """Where layers, and layers in layers, hold tensors."""
    for layer in layers:
        for key, value in vars(layer).items():
            if isinstance(value, torch.Tensor):
                yield vars(layer), key
            elif isinstance(value, list):
                yield from _recorded([inner for inner in value if hasattr(inner, "forward")])


def _fill(places: list[tuple[Any, Any]], values: Any) -> None:
    for (holder, key), value in zip(places, values, strict=True):
        holder[key] = value


class Module(torch.nn.Module):
    """A network as a PyTorch module, to stand among others.

    Parameters
    ----------
    network : Network
        Its parameters, from any library, are copied.
    seed : int or numpy.random.Generator, default 0
        Draws the masks of dropout.
    dtype : torch.dtype, optional
        As the network's parameters where not given.
    device : torch.device or str, optional

    Attributes
    ----------
    stack : Sequential

    Notes
    -----
    Parameters and running statistics keep xpnet's names and shapes, such as ``W1`` of shape (inputs, units).
    `state_dict` of this module and `load_state_dict` of this file translate to and from PyTorch's layers.

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
            self.register_parameter(name, torch.nn.Parameter(_tensor(p, dtype, device)))
        for name, a in network.state.items():
            self.register_buffer(name, _tensor(a, dtype, device))
        self._rng = generator(seed)
        self._functions = {mode: as_function(self.stack, training=mode) for mode in (True, False)}

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The outputs for `x`, such as scores; in training mode with dropout, and running statistics move on."""
        params = {name: getattr(self, name) for names in self.stack.param_names for name in names}
        state = {name: getattr(self, name) for name in self.stack.state_names}
        if not self.training:
            y: torch.Tensor = self._functions[False](params, x, state=state)
            return y
        masks = self.stack.draw(self._rng, tuple(x.shape))
        noise = {name: torch.as_tensor(mask, device=x.device) for name, mask in masks.items()}
        y, after = self._functions[True](params, x, state=state, noise=noise)
        with torch.no_grad():
            for name, value in after.items():
                getattr(self, name).copy_(value)
        return y

    def extra_repr(self) -> str:
        """The stack, for `print`."""
        return repr(self.stack)


def _tensor(a: Array, dtype: Any, device: Any) -> torch.Tensor:
    host = a.detach() if isinstance(a, torch.Tensor) else torch.tensor(to_numpy(a))
    return host.to(dtype=dtype, device=device, copy=True)


# Parameters to and from the layers of PyTorch

_NAMES = {"W": "weight", "b": "bias", "gamma": "weight", "beta": "bias", "mean": "running_mean", "var": "running_var"}


def state_dict(network: Network, *, prefixes: Any = None) -> "OrderedDict[str, torch.Tensor]":
    """A network's parameters and running statistics, as PyTorch's layers name and lay them out.

    Parameters
    ----------
    network : Network
        On any library.
    prefixes : sequence of str, optional
        What the entries of each layer with parameters start with, in order, such as ``["conv1", "bn1", "fc"]``;
        ``"Affine1"`` and so on where not given.

    Returns
    -------
    OrderedDict of torch.Tensor
        For `torch.nn.Module.load_state_dict` of a model with the same layers in the same order. The weights of
        `Affine` are transposed, (units, inputs), as `torch.nn.Linear` has them.

    Raises
    ------
    ValueError
        If there are not as many prefixes as layers with parameters.

    Examples
    --------
    >>> from xpnet import MultiLayerNet
    >>> model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 3))
    >>> network = MultiLayerNet(4, [8], 3)
    >>> model.load_state_dict(state_dict(network, prefixes=["0", "2"]))
    <All keys matched successfully>
    """
    layers = list(_layers(network.stack))
    chosen = list(prefixes) if prefixes is not None else [name for name, _, _ in layers]
    if len(chosen) != len(layers):
        raise ValueError(
            f"prefixes: expected {len(layers)}, one for each layer with parameters "
            f"({', '.join(name for name, _, _ in layers)}), got {chosen}"
        )
    found: OrderedDict[str, torch.Tensor] = OrderedDict()
    for prefix, (_, kind, entries) in zip(chosen, layers, strict=True):
        for key, name in entries.items():
            value = _tensor((network.params | network.state)[name], None, "cpu")
            found[f"{prefix}.{key}"] = value.T.contiguous() if (kind, key) == ("Affine", "weight") else value
        if "running_mean" in entries:
            found[f"{prefix}.num_batches_tracked"] = torch.tensor(0)
    return found


def load_state_dict(network: Network, state_dict: Any) -> None:
    """Give a network the parameters and running statistics of a PyTorch model with the same layers.

    Parameters
    ----------
    network : Network
        Its parameters are replaced, in their library, dtype and device.
    state_dict : mapping of str to torch.Tensor
        Of a model whose layers with parameters come in the same order; their names do not matter. A layer that has
        no bias there gets zeros.

    Raises
    ------
    ValueError
        If the layers or a shape do not fit; the network is left as it was.

    Examples
    --------
    >>> from xpnet import MultiLayerNet
    >>> model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 3))
    >>> network = MultiLayerNet(4, [8], 3)
    >>> load_state_dict(network, model.state_dict())
    >>> x = torch.ones(2, 4)
    >>> torch.allclose(torch.tensor(network.predict(x.numpy())), model(x))
    True
    """
    groups: dict[str, dict[str, Any]] = {}
    for full, value in state_dict.items():
        prefix, _, key = full.rpartition(".")
        if key != "num_batches_tracked":
            groups.setdefault(prefix, {})[key] = value
    layers = list(_layers(network.stack))
    if len(groups) != len(layers):
        raise ValueError(
            f"state_dict: expected {len(layers)} layers with parameters ({', '.join(name for name, _, _ in layers)}), "
            f"got {len(groups)} ({', '.join(groups)})"
        )
    now = network.params | network.state
    new: dict[str, Array] = {}
    for (prefix, values), (layer, kind, entries) in zip(groups.items(), layers, strict=True):
        if unknown := set(values) - set(entries):
            raise ValueError(
                f"state_dict: {prefix} has {', '.join(sorted(unknown))}, but {layer} takes {', '.join(entries)}"
            )
        for key, name in entries.items():
            old, shape = now[name], tuple(now[name].shape)
            if key not in values and key != "bias":
                raise ValueError(f"state_dict: {prefix} lacks {key}, which {layer} needs")
            value = values.get(key, torch.zeros(shape)).detach().cpu()
            value = value.T if (kind, key) == ("Affine", "weight") else value
            if tuple(value.shape) != shape:
                raise ValueError(
                    f"state_dict: {prefix}.{key} has shape {tuple(values[key].shape)}, which does not fit {name} of "
                    f"{layer}, shape {shape}"
                )
            new[name] = from_host(value.double().numpy(), namespace(p=old), old.dtype, device(old))
    network.params = {name: new[name] for name in network.params}
    network.state = {name: new[name] for name in network.state}


def _layers(stack: Sequential) -> Iterator[tuple[str, str, dict[str, str]]]:
    """For each layer with parameters, those in a `Skip` too: its name, its kind, and PyTorch's names to ours."""
    for name, description, params, state in zip(
        stack.names, stack.descriptions, stack.param_names, stack.carried_names, strict=True
    ):
        names, carried = iter(params), iter(state)
        for kind, own, held in _kinds(description):
            entries = {_NAMES[key]: next(names) for key in own} | {_NAMES[key]: next(carried) for key in held}
            if entries:
                yield name, kind, entries


def _kinds(description: Description) -> Iterator[tuple[str, tuple[str, ...], tuple[str, ...]]]:
    if isinstance(description, Skip):
        for inner in (*description.descriptions, *description.shortcut):
            yield from _kinds(inner)
    else:
        yield description.kind, description.params, description.state

"""Copy parameters to and from PyTorch's layers, which have other names and another order of axes."""

from collections import OrderedDict
from collections.abc import Iterator
from typing import Any

import torch

from .._array import from_host, layout, namespace
from .._typing import Array
from ..backends import to_numpy
from ..nn.base import Description
from ..nn.networks import Network
from ..nn.residual import Residual
from ..nn.sequential import Sequential

__all__ = ["load_state_dict", "state_dict", "tensor"]

_NAMES = {"W": "weight", "b": "bias", "gamma": "weight", "beta": "bias", "mean": "running_mean", "var": "running_var"}


def state_dict(network: Network, *, prefixes: Any = None) -> "OrderedDict[str, torch.Tensor]":
    """The parameters and running statistics of a network, with the names and axes of PyTorch's layers.

    Parameters
    ----------
    network : Network
        The network. Its parameters may be arrays of any library.
    prefixes : sequence of str, optional
        The prefixes of the names, one for each layer with parameters, such as ``["conv1", "bn1", "fc"]``. Default:
        the names of the layers, such as ``"Affine1"``.

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
            value = tensor((network.params | network.state)[name])
            found[f"{prefix}.{key}"] = value.T.contiguous() if (kind, key) == ("Affine", "weight") else value
        if "running_mean" in entries:
            found[f"{prefix}.num_batches_tracked"] = torch.tensor(0)
    return found


def load_state_dict(network: Network, state_dict: Any) -> None:
    """Give a network the parameters and running statistics of a PyTorch model with the same layers.

    Parameters
    ----------
    network : Network
        The network. Its parameters are replaced; they keep their library, dtype and device.
    state_dict : mapping of str to torch.Tensor
        The `state_dict` of a PyTorch model with the same layers with parameters, in the same order. The names of the
        layers do not matter. If a layer has no bias in PyTorch, its bias becomes 0.

    Raises
    ------
    ValueError
        If the number of layers, the kind of a layer, or a shape differs. The network is then not changed.

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
            f"state_dict: expected {len(layers)} layers with parameters "
            f"({', '.join(name for name, _, _ in layers)}), got {len(groups)} ({', '.join(groups)})"
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
            new[name] = from_host(value.double().numpy(), namespace(p=old), old.dtype, layout(old))
    network.params = {name: new[name] for name in network.params}
    network.state = {name: new[name] for name in network.state}


def _layers(stack: Sequential) -> Iterator[tuple[str, str, dict[str, str]]]:
    """For each layer with parameters, those in a `Residual` too: its name, its kind, and PyTorch's names to ours."""
    for name, description, params, state in zip(
        stack.names, stack.descriptions, stack.param_names, stack.carried_names, strict=True
    ):
        names, carried = iter(params), iter(state)
        for kind, own, held in _kinds(description):
            entries = {_NAMES[key]: next(names) for key in own} | {_NAMES[key]: next(carried) for key in held}
            if entries:
                yield name, kind, entries


def _kinds(description: Description) -> Iterator[tuple[str, tuple[str, ...], tuple[str, ...]]]:
    if isinstance(description, Residual):
        for inner in (*description.layers, *description.shortcut):
            yield from _kinds(inner)
    else:
        yield description.kind, description.params, description.state


def tensor(a: Array, dtype: Any = None, device: Any = "cpu") -> torch.Tensor:
    """Copy an array of any library to a tensor."""
    host = a.detach() if isinstance(a, torch.Tensor) else torch.tensor(to_numpy(a))
    return host.to(dtype=dtype, device=device, copy=True)

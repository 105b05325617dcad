"""Read an ONNX model of another library as a network of xpnet."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import onnx
from onnx import numpy_helper

from .. import nn
from .._files import check_input
from ..nn import Network, Sequential
from .writing import Path

__all__ = ["from_onnx"]


class _Layer(NamedTuple):
    """A description, its parameters and state, and the name of the layer's output tensor."""

    tensor: str
    description: nn.Description
    params: tuple[np.ndarray[Any, Any], ...] = ()
    state: tuple[np.ndarray[Any, Any], ...] = ()


def from_onnx(model: Path | onnx.ModelProto, *, loss: Any = None) -> Network:
    """Read an ONNX model as a network. All layers of the model must exist in xpnet.

    Parameters
    ----------
    model : path or onnx.ModelProto
        A model with one input and one output. The samples are along the first axis of the input, and its other sides
        must be known. The layers of the model follow each other; an ``Add`` of two paths becomes a `nn.Residual`.
        These operators are supported: Gemm, MatMul with Add, Conv, MaxPool, AveragePool, BatchNormalization,
        LayerNormalization, Relu, LeakyRelu, Sigmoid, Tanh, Gelu (by tanh), Swish and x · Sigmoid(x), Softmax,
        Flatten, Reshape to rows, Dropout, Identity, and Gather as the first operator (an embedding).
    loss : LossDescription, subclass of Loss, or str, optional
        The loss of the network, as in `Sequential`.

    Returns
    -------
    Network
        The network, with NumPy arrays in the dtype of the weights. It has the outputs of the model. If the model ends
        with a Softmax, the network ends with a Softmax, too.

    Raises
    ------
    ValueError
        If the model contains anything else, in which case the error names the operator, or if it is damaged.
    OSError
        If the file cannot be read.

    Examples
    --------
    >>> from onnx import TensorProto, helper
    >>> nodes = [helper.make_node("Gemm", ["x", "W", "b"], ["s"]), helper.make_node("Relu", ["s"], ["y"])]
    >>> weights = [numpy_helper.from_array(np.ones(s, "float32"), name) for name, s in (("W", (4, 2)), ("b", 2))]
    >>> x, y = (helper.make_tensor_value_info(n, TensorProto.FLOAT, ["N", size]) for n, size in (("x", 4), ("y", 2)))
    >>> from_onnx(helper.make_model(helper.make_graph(nodes, "g", [x], [y], weights))).stack
    Sequential(Dense(2), Relu(), loss=CrossEntropy())
    """
    path = None if isinstance(model, onnx.ModelProto) else check_input(model)
    try:
        return _network((model if isinstance(model, onnx.ModelProto) else onnx.load(model)).graph, loss)
    except OSError:  # not about the contents
        raise
    except Exception as error:
        told = error if type(error) is ValueError else f"the model is damaged, or is not an ONNX model ({error!r})"
        one_line = " ".join(str(told).split())  # names in a damaged model can have line breaks
        raise ValueError(f"from_onnx: {f'{path}: ' if path else ''}{one_line}") from error


def _network(graph: onnx.GraphProto, loss: Any) -> Network:
    reader = _Reader(graph)
    layers = reader.way_to(graph.output[0].name)
    stack = Sequential(*(layer.description for layer in layers), **({"loss": loss} if loss else {}))
    params = [p for layer in layers for p in layer.params]
    # Compare the shapes before the network is made: a small model could describe a huge network.
    for (name, shape), new in zip(stack.param_shapes(reader.input_shape).items(), params, strict=True):
        if tuple(shape) != new.shape:
            raise ValueError(f"the model's {name} has shape {new.shape}, but its layer expects {tuple(shape)}")
    network = Network(stack, reader.input_shape, dtype=reader.dtype)
    state = [s for layer in layers for s in layer.state]
    for given, named in ((network.params, params), (network.state, state)):
        for (name, old), new in zip(given.items(), named, strict=True):
            if old.shape != new.shape:
                raise ValueError(f"the model's {name} has shape {new.shape}, but its layer expects {old.shape}")
            given[name] = new.astype(old.dtype)
    return network


class _Reader:
    """Finds the layers on the path from the input of a graph to one of its tensors."""

    def __init__(self, graph: onnx.GraphProto) -> None:
        self.constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
        self.producers: dict[str, onnx.NodeProto] = {}
        self.ways: dict[str, list[_Layer] | None] = {}
        for node in graph.node:
            if node.op_type == "Constant":
                self.constants[node.output[0]] = numpy_helper.to_array(node.attribute[0].t)
            else:
                self.producers[node.output[0]] = node
        inputs = [value for value in graph.input if value.name not in self.constants]
        if len(inputs) != 1 or len(graph.output) != 1:
            raise ValueError(
                f"the model has inputs {[value.name for value in inputs]} and outputs "
                f"{[value.name for value in graph.output]}; expected one of each"
            )
        self.input = inputs[0].name
        sides = [side.dim_value for side in inputs[0].type.tensor_type.shape.dim[1:]]
        if not all(sides):
            raise ValueError(f"the model's input {self.input} has unknown sides {sides}; export it with known ones")
        self.input_shape = tuple(sides)
        floats = [a.dtype for a in self.constants.values() if a.dtype.kind == "f"]
        self.dtype = str(floats[0]) if floats else "float32"

    def way_to(self, tensor: str) -> list[_Layer]:
        """The layers from the input to a tensor. They are kept: each residual connection needs them twice."""
        if tensor in self.ways:
            if (way := self.ways[tensor]) is None:
                raise ValueError(f"tensor {tensor!r} is computed from itself")
            return way
        self.ways[tensor] = None
        way = self.ways[tensor] = self._find_way(tensor)
        return way

    def _find_way(self, tensor: str) -> list[_Layer]:
        if tensor == self.input:
            return []
        if tensor not in self.producers:
            raise ValueError(f"tensor {tensor!r} comes from no node and is not the model's input")
        node = self.producers[tensor]
        data = [name for name in node.input if name and name not in self.constants]
        if len(data) == 2:
            return self._joined(node, data)
        before = self.way_to(data[0])
        found = self._layer(node, data[0])
        if found is None:  # it changes nothing, or only completes the layer before
            return [*before[:-1], self._completed(before[-1], node)] if node.op_type == "Add" else before
        description, *arrays = found
        return [*before, _Layer(tensor, description, *arrays)]

    def _joined(self, node: onnx.NodeProto, data: list[str]) -> list[_Layer]:
        """A node that joins two paths: a residual connection, or x · Sigmoid(x)."""
        ways = [self.way_to(name) for name in data]
        names = [[self.input, *(layer.tensor for layer in way)] for way in ways]
        shared = 0
        while all(shared + 1 < len(way) for way in names) and names[0][shared + 1] == names[1][shared + 1]:
            shared += 1
        before, (one, other) = ways[0][:shared], [way[shared:] for way in ways]
        if node.op_type == "Mul":
            short, long = sorted((one, other), key=len)
            if not short and len(long) == 1 and isinstance(long[0].description, nn.Sigmoid):
                return [*before, _Layer(node.output[0], nn.Silu())]
        elif node.op_type == "Add":
            if not one:
                one, other = other, one
            skip = nn.Residual(*(layer.description for layer in one), shortcut=[layer.description for layer in other])
            params = tuple(p for layer in (*one, *other) for p in layer.params)
            state = tuple(s for layer in (*one, *other) for s in layer.state)
            return [*before, _Layer(node.output[0], skip, params, state)]
        raise _unknown(node, "which joins two ways")

    def _completed(self, layer: _Layer, node: onnx.NodeProto) -> _Layer:
        """The layer of a matrix product, with the bias that the node adds to the product."""
        (bias,) = (self.constants[name] for name in node.input if name in self.constants)
        if not (isinstance(layer.description, nn.Dense) and self.producers[layer.tensor].op_type == "MatMul"):
            raise _unknown(node, "of a constant to something that is no MatMul")
        W, b = layer.params
        return _Layer(node.output[0], layer.description, (W, b + bias.reshape(-1)))

    def _layer(self, node: onnx.NodeProto, data: str) -> Any:
        """The description, parameters and state for a node; None if the node alone is not a layer."""
        options = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
        arrays = [self.constants[name] for name in node.input if name in self.constants]
        match node.op_type:
            case "Identity" | "Add":
                return None
            case "Dropout":
                return (nn.Dropout(float(arrays[0]) if arrays else options.get("ratio", 0.5)),)
            case "Flatten" | "Reshape":
                rows = options.get("axis", 1) == 1 if node.op_type == "Flatten" else len(arrays[0].ravel()) == 2
                if not rows:
                    raise _unknown(node, "to something else than one row a sample")
                return (nn.Flatten(),)
            case "MatMul":
                if node.input[0] != data or arrays[0].ndim != 2:
                    raise _unknown(node, "whose second factor is no matrix of weights")
                W = arrays[0]
                return nn.Dense(W.shape[1]), (W, np.zeros(W.shape[1], W.dtype))
            case "Gemm":
                if options.get("transA", 0) or len(arrays) < 1:
                    raise _unknown(node, "with transA")
                W = options.get("alpha", 1.0) * (arrays[0].T if options.get("transB", 0) else arrays[0])
                b = options.get("beta", 1.0) * arrays[1] if len(arrays) > 1 else 0
                return nn.Dense(W.shape[1]), (W, np.broadcast_to(np.reshape(b, -1), W.shape[1:]))
            case "Conv":
                W, *rest = arrays
                window = _window(node, options, W.shape[2:])
                conv = nn.Conv2d(W.shape[0], W.shape[2:], groups=options.get("group", 1), **window)
                return conv, (W, rest[0] if rest else np.zeros(W.shape[0], W.dtype))
            case "MaxPool" | "AveragePool":
                return (_pooling(node, options),)
            case "BatchNormalization":
                gamma, beta, mean, var = arrays
                norm = nn.BatchNorm(momentum=options.get("momentum", 0.9), eps=options.get("epsilon", 1e-5))
                return norm, (gamma, beta), (mean, var)
            case "LayerNormalization":
                gamma, *rest = arrays
                beta = rest[0] if rest else np.zeros_like(gamma)
                return nn.LayerNorm(eps=options.get("epsilon", 1e-5)), (gamma, beta)
            case "Gather":
                if node.input[1] != data or data != self.input or options.get("axis", 0):
                    raise _unknown(node, "which is no look-up of the model's input in rows of weights")
                return nn.Embedding(*arrays[0].shape), (arrays[0],)
            case "LeakyRelu":
                return (nn.LeakyRelu(slope=options.get("alpha", 0.01)),)
            case "Softmax":
                return (nn.Softmax(axis=options.get("axis", -1)),)
            case "Gelu" if options.get("approximate", b"none") == b"tanh":
                return (nn.Gelu(),)
            case "Swish" if options.get("alpha", 1.0) == 1:
                return (nn.Silu(),)
            case "Relu" | "Sigmoid" | "Tanh":
                return (getattr(nn, node.op_type)(),)
            case _:
                raise _unknown(node, "")


def _pooling(node: onnx.NodeProto, options: dict[str, Any]) -> nn.Description:
    """The description of a pooling."""
    size = tuple(options["kernel_shape"])
    window = _window(node, options, size)
    if window.pop("dilation") != (1, 1) or options.get("ceil_mode", 0):
        raise _unknown(node, "with dilations or ceil_mode")
    if node.op_type == "AveragePool" and options.get("count_include_pad", 0) and any(window["padding"]):
        raise _unknown(node, "that counts its padding")
    return (nn.MaxPool2d if node.op_type == "MaxPool" else nn.AvgPool2d)(size, **window)


def _window(node: onnx.NodeProto, options: dict[str, Any], size: Sequence[int]) -> dict[str, Any]:
    """Stride, padding and dilation of a node with a window."""
    pads = options.get("pads", [0, 0, 0, 0])
    if len(size) != 2 or options.get("auto_pad", b"NOTSET") not in (b"NOTSET", b"VALID") or pads[:2] != pads[2:]:
        raise _unknown(node, f"of window {tuple(size)}, auto_pad or pads {pads}, expected images and equal pads")
    return {
        "stride": tuple(options.get("strides", (1, 1))),
        "padding": tuple(pads[:2]),
        "dilation": tuple(options.get("dilations", (1, 1))),
    }


def _unknown(node: onnx.NodeProto, what: str) -> ValueError:
    return ValueError(
        f"the model has {node.op_type}({', '.join(node.input)}) {what}, for which xpnet has no layer; "
        "see from_onnx for what it knows"
    )

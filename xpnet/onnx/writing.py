"""Write ONNX models: xpnet's normal code for prediction or training runs on arrays that record each operation."""

import os
from collections.abc import Sequence
from typing import Any, TypeAlias

import ndonnx
import numpy as np
import onnx

from .._array import dtype_name
from .._files import check_output, replacing
from .._typing import Array, Params, Shape
from .._validation import check_flag, check_integer
from ..backends import to_numpy
from ..nn.base import Description
from ..nn.networks import Network
from ..nn.residual import Residual
from ..optim.optimizers import Optimizer

__all__ = ["Path", "to_onnx", "training_to_onnx"]

Path: TypeAlias = str | os.PathLike[str]


def to_onnx(network: Network, path: Path | None = None, *, probabilities: bool = False) -> onnx.ModelProto:
    """Write the prediction of a network as an ONNX model, for batches of any size.

    Parameters
    ----------
    network : Network
        The network. Its parameters are float32 or float64 arrays of any library.
    path : path, optional
        The file to write; its name ends in ``.onnx``. An existing file is replaced in one step, or stays unchanged if
        writing fails.
    probabilities : bool, default False
        Whether the output is `Network.predict_proba`, not `predict`.

    Returns
    -------
    onnx.ModelProto
        The model. Its input ``x`` has shape (N, ...) and the dtype of the parameters, or int64 if the network begins
        with an embedding. Its output ``y`` has shape (N, K).

    Notes
    -----
    `forward` runs on arrays of ndonnx, which record each operation. So the model consists of simple operators, not of
    ONNX's operators for whole layers, and `from_onnx` cannot read the model.

    Examples
    --------
    >>> import onnxruntime
    >>> from xpnet import TwoLayerNet
    >>> net = TwoLayerNet(4, 3, 2)
    >>> session = onnxruntime.InferenceSession(to_onnx(net).SerializeToString())
    >>> x = np.ones((5, 4), dtype="float32")
    >>> bool(np.allclose(session.run(["y"], {"x": x})[0], net.predict(x)))
    True
    """
    host = {name: to_numpy(array) for name, array in (network.params | network.state).items()}
    params, state = (
        {name: ndonnx.asarray(host[name]) for name in given} for given in (network.params, network.state)
    )
    x = ndonnx.argument(shape=("N", *network.input_shape), dtype=_input_dtype(network, host))
    stack = network.stack
    layers = stack.layers(params, state=state)
    y = _chain(stack.descriptions, list(layers.values()), x, network.input_shape)
    if check_flag("to_onnx: probabilities", probabilities):
        y = stack.last.probabilities(y)
    return _written(ndonnx.build({"x": x}, {"y": y}), path)


def _chain(descriptions: Sequence[Description], layers: Sequence[Any], x: Array, shape: Shape) -> Array:
    """The outputs for `x`. ndonnx loses the shape of a sample if the batch size is unknown, so `shape` is passed."""
    for description, layer in zip(descriptions, layers, strict=True):
        if isinstance(description, Residual):
            ways = ((description.layers, layer.layers), (description.shortcut, layer.shortcut))
            out, short = (_chain(inner, passed, x, shape) for inner, passed in ways)
            y = out + short
        else:
            y = layer.forward(x)
        shape = description.output_shape(shape)
        x = ndonnx.reshape(y, (-1, *shape))
    return x


def training_to_onnx(
    network: Network, optimizer: Optimizer, path: Path | None = None, *, batch_size: int = 100
) -> tuple[onnx.ModelProto, dict[str, np.ndarray[Any, Any]]]:
    """Write a training step (forward pass, backward pass and update) as one ONNX model.

    Parameters
    ----------
    network : Network
        The network. Its parameters are float32 or float64 arrays of any library.
    optimizer : Optimizer
    path : path, optional
        The file to write; its name ends in ``.onnx``. An existing file is replaced in one step, or stays unchanged if
        writing fails.
    batch_size : int, default 100
        The size of the mini-batches.

    Returns
    -------
    model : onnx.ModelProto
        The model. Its inputs are the mini-batch, ``x`` and ``t`` (int64 labels, or numbers for other losses), the
        dropout masks under the names of `Sequential.draw`, and the arrays of `start`. Its outputs are ``loss``, and
        then the new values of the arrays of `start`, in the same order, with ``_next`` added to each name.
    start : dict of numpy.ndarray
        The arrays for the first step: the parameters, the optimizer state and the state of the network.

    Examples
    --------
    >>> import onnxruntime
    >>> from xpnet import SGD, TwoLayerNet
    >>> model, carried = training_to_onnx(TwoLayerNet(4, 3, 2), SGD(lr=0.1), batch_size=2)
    >>> session = onnxruntime.InferenceSession(model.SerializeToString())
    >>> batch = {"x": np.ones((2, 4), dtype="float32"), "t": np.asarray([0, 1])}
    >>> for _ in range(3):
    ...     loss, *after = session.run(None, batch | carried)
    ...     carried = dict(zip(carried, after))
    >>> list(carried), round(float(loss), 4)
    (['W1', 'b1', 'W2', 'b2'], 0.6931)
    """
    batch_size = check_integer("batch_size", batch_size, 1)
    stack, host = network.stack, {name: to_numpy(p) for name, p in network.params.items()}
    memory = {name: to_numpy(m) for name, m in optimizer.init(host).items()}
    state = {name: to_numpy(s) for name, s in network.state.items()}
    start = host | memory | state
    drawn = stack.draw(np.random.default_rng(0), (batch_size, *network.input_shape))
    carried, masks = (
        {name: ndonnx.argument(shape=a.shape, dtype=_dtype(a)) for name, a in arrays.items()}
        for arrays in (start, drawn)
    )
    x = ndonnx.argument(shape=(batch_size, *network.input_shape), dtype=_input_dtype(network, host))
    if stack.last.takes_labels:
        t = ndonnx.argument(shape=(batch_size,), dtype=ndonnx.int64)
    else:
        t = ndonnx.argument(shape=(batch_size, *network.output_shape), dtype=_dtype(next(iter(host.values()))))

    params = {name: carried[name] for name in host}
    loss, gradients, after = stack.loss_and_gradient(
        params, x, t, state={name: carried[name] for name in state} or None, masks=masks or None
    )
    params, moved = optimizer.update(params, gradients, {name: carried[name] for name in memory})
    results: Params = params | moved | after
    outputs = {"loss": loss} | {f"{name}_next": results[name] for name in start}
    return _written(ndonnx.build({"x": x, "t": t} | masks | carried, outputs), path), start


def _dtype(host: np.ndarray[Any, Any]) -> Any:
    return getattr(ndonnx, dtype_name(host.dtype))


def _input_dtype(network: Network, host: Params) -> Any:
    """The dtype of the input: int64 for ids, else that of the parameters; float32 if there are no parameters."""
    floating = _dtype(next(iter(host.values()))) if host else ndonnx.float32
    return floating if network.stack.takes_floats else ndonnx.int64


def _written(model: onnx.ModelProto, path: Path | None) -> onnx.ModelProto:
    if path is not None:
        with replacing(check_output(path, ".onnx"), "wb") as file:
            file.write(model.SerializeToString())
    return model

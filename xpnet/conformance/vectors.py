"""The test vectors of ONNX's backend test, for the operators that xpnet has."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from .. import layers as nn
from .._typing import Array
from ..backends import not_installed, to_numpy
from ..functions import identity_function, log_softmax, one_hot
from .cases import Host

__all__ = ["Outside", "Vector", "check", "load"]

Put: TypeAlias = Callable[[Host], Array]


class Outside(Exception):
    """What a vector asks for is not in xpnet; the message says what it is."""


@dataclass(frozen=True)
class Vector:
    """A graph of one node, its inputs, and what should come out.

    Attributes
    ----------
    name, operator : str
    inputs : list of numpy.ndarray
        In the node's order; None where an optional one is left out.
    options : dict
        The node's attributes.
    outputs : list of numpy.ndarray
    rtol, atol : float
        How near the outputs must be, as ONNX says.
    """

    name: str
    operator: str
    inputs: list[Any]
    options: dict[str, Any]
    outputs: list[Host]
    rtol: float
    atol: float


def check(vector: Vector, put: Put) -> str:
    """What is wrong with xpnet's answer to a vector on the arrays that `put` makes, or "".

    Raises
    ------
    Outside
        If xpnet has nothing that the vector's node asks for.
    """
    operator = OPERATORS[vector.operator]
    try:
        found = operator(put, vector)
        for y, expected in zip(found if isinstance(found, tuple) else (found,), vector.outputs, strict=False):
            np.testing.assert_allclose(to_numpy(y), expected, rtol=vector.rtol, atol=vector.atol)
    except Outside:
        raise
    except Exception as error:  # whatever a library raises is what there is to tell of it
        return f"{vector.name}: {type(error).__name__}: {' '.join(str(error).split())}"
    return ""


@cache
def load() -> tuple[Vector, ...]:
    """The vectors of graphs with one node that is in `OPERATORS`.

    Raises
    ------
    ImportError
        If onnx is not installed.
    """
    try:
        from onnx.backend.test.case.node import collect_testcases
        from onnx.backend.test.loader import load_model_tests
    except ModuleNotFoundError as error:
        raise not_installed("conformance", error) from error
    state = np.random.get_state()  # noqa: NPY002 (ONNX seeds NumPy's global generator)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            cases = [*collect_testcases(None), *load_model_tests(kind="pytorch-converted")]
    finally:
        np.random.set_state(state)  # noqa: NPY002
    vectors = [_vector(case) for case in cases if not case.name.endswith("_expanded")]
    return tuple(v for v in vectors if v is not None)


def _vector(case: Any) -> Vector | None:
    """A test case as a vector; None where its graph has several nodes or an operator that xpnet does not have."""
    import onnx

    folder = Path(case.model_dir or "")
    graph = (case.model or onnx.load(folder / "model.onnx")).graph
    if len(graph.node) != 1 or graph.node[0].op_type not in OPERATORS:
        return None
    (node,) = graph.node
    constants = {t.name: onnx.numpy_helper.to_array(t) for t in graph.initializer}
    if case.data_sets is None:
        given, outputs = (_stored(folder / "test_data_set_0", kind) for kind in ("input", "output"))
    else:
        given, outputs = case.data_sets[0]
    if not all(isinstance(x, np.ndarray | np.generic) for x in (*given, *outputs)):  # a sequence, or an optional
        return None
    names = [value.name for value in graph.input if value.name not in constants]
    values = constants | {name: np.asarray(x) for name, x in zip(names, given, strict=True)}
    return Vector(
        case.name,
        node.op_type,
        [values.get(name) for name in node.input],
        {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute},
        [np.asarray(y) for y in outputs],
        case.rtol,
        case.atol,
    )


def _stored(folder: Path, kind: str) -> list[Host]:
    import onnx

    count = len(list(folder.glob(f"{kind}_*.pb")))
    return [onnx.numpy_helper.to_array(onnx.load_tensor(folder / f"{kind}_{i}.pb")) for i in range(count)]


# Each operator: from a vector to xpnet's answer, its first outputs


def _of_floats(build: Callable[..., Any]) -> Callable[[Put, Vector], Array]:
    """A layer without parameters, built from the node's attributes."""

    def run(put: Put, vector: Vector) -> Array:
        return build(**vector.options).forward(put(_floats(vector)))

    return run


def _floats(vector: Vector) -> Host:
    x: Host = vector.inputs[0]
    if x.dtype.kind != "f":
        raise Outside("integers")
    return x


def _gelu(approximate: bytes = b"none") -> nn.Gelu:
    if approximate != b"tanh":
        raise Outside("the exact form, by the error function")
    return nn.Gelu()


def _silu(alpha: float = 1.0) -> nn.Silu:
    if alpha != 1:
        raise Outside("alpha")
    return nn.Silu()


def _flatten(axis: int = 1) -> nn.Flatten:
    if axis != 1:
        raise Outside("another axis than 1")
    return nn.Flatten()


def _gemm(put: Put, vector: Vector) -> Array:
    a, b, c = [*vector.inputs, None][:3]
    o = vector.options
    a, b = (x.T if o.get(f"trans{name}", 0) else x for name, x in zip("AB", (_floats(vector), b), strict=True))
    bias = np.zeros((), dtype=a.dtype) if c is None else c * np.asarray(o.get("beta", 1.0), dtype=c.dtype)
    if bias.ndim == 2 and len(bias) > 1:
        raise Outside("a bias for each sample")
    scale = np.asarray(o.get("alpha", 1.0), dtype=a.dtype)
    return nn.Affine(put(scale * b), put(np.broadcast_to(bias.ravel(), b.shape[1:]))).forward(put(a))


def _matmul(put: Put, vector: Vector) -> Array:
    a, b = vector.inputs
    if a.ndim != 2 or b.ndim != 2:
        raise Outside("other than matrices")
    return nn.Affine(put(b), put(np.zeros(b.shape[1], b.dtype))).forward(put(a))


def _sides(vector: Vector, size: Any) -> tuple[Any, Any, Any]:
    """Stride, padding and dilation of a node with a window."""
    o, x = vector.options, _floats(vector)
    if len(size) != 2:
        raise Outside("other than two-dimensional images")
    stride, dilation = (tuple(o.get(name, (1, 1))) for name in ("strides", "dilations"))
    pads = list(o.get("pads", (0, 0, 0, 0)))
    if o.get("auto_pad", b"NOTSET").startswith(b"SAME"):
        both = [
            max(-(-n // s) * s - s + (k - 1) * d + 1 - n, 0)
            for n, s, k, d in zip(x.shape[2:], stride, size, dilation, strict=True)
        ]
        pads = [p // 2 for p in both] + [p - p // 2 for p in both]
    if pads[:2] != pads[2:]:
        raise Outside("another padding on one side than on the other")
    return stride, tuple(pads[:2]), dilation


def _conv(put: Put, vector: Vector) -> Array:
    x, W, b = [*vector.inputs, None][:3]
    stride, padding, dilation = _sides(vector, W.shape[2:])
    bias = np.zeros(W.shape[0], W.dtype) if b is None else b
    groups = vector.options.get("group", 1)
    layer = nn.Convolution(put(W), put(bias), stride=stride, padding=padding, dilation=dilation, groups=groups)
    return layer.forward(put(x))


def _pool(layer: type[nn.MaxPooling] | type[nn.AveragePooling]) -> Callable[[Put, Vector], Array]:
    def run(put: Put, vector: Vector) -> Array:
        o, size = vector.options, tuple(vector.options["kernel_shape"])
        stride, padding, dilation = _sides(vector, size)
        if dilation != (1, 1):
            raise Outside("dilation")
        if o.get("ceil_mode", 0):
            raise Outside("windows that reach over the edge (ceil_mode)")
        if o.get("count_include_pad", 0) and any(padding):
            raise Outside("an average that counts the padding")
        if any(2 * p > k for p, k in zip(padding, size, strict=True)):
            raise Outside("padding of more than half the window")
        return layer(size, stride=stride, padding=padding).forward(put(_floats(vector)))

    return run


def _global_average(put: Put, vector: Vector) -> Array:
    x = _floats(vector)
    return nn.AveragePooling(x.shape[2:]).forward(put(x))


def _batch_norm(put: Put, vector: Vector) -> tuple[Array, ...]:
    training = bool(vector.options.get("training_mode", 0))
    x, *arrays = (put(a) for a in vector.inputs if a is not None)
    o = vector.options
    momentum, eps = o.get("momentum", 0.9), o.get("epsilon", 1e-5)
    layer = nn.BatchNormalization(*arrays, training=training, momentum=momentum, eps=eps)
    return layer.forward(x), layer.state[0]  # ONNX's running variance is the biased one


def _layer_norm(put: Put, vector: Vector) -> Array:
    x, gamma, *beta = (put(a) for a in vector.inputs if a is not None)
    beta = beta or [0 * gamma]
    return nn.LayerNormalization(gamma, beta[0], eps=vector.options.get("epsilon", 1e-5)).forward(x)


def _gather(put: Put, vector: Vector) -> Array:
    W, ids = vector.inputs
    if W.ndim != 2 or vector.options.get("axis", 0) != 0:
        raise Outside("other than rows of a matrix")
    if ids.min() < 0:
        raise Outside("negative numbers of rows")
    return nn.Embedding(put(W)).forward(put(ids))


def _dropout(put: Put, vector: Vector) -> Array:
    x, *rest = vector.inputs
    training = len(rest) > 1 and bool(rest[1])
    rate = float(rest[0]) if rest and rest[0] is not None else 0.5
    kept = put(vector.outputs[0] != 0) if training else None  # ONNX drew the mask
    return nn.Dropout(rate, kept).forward(put(_floats(vector)))


def _joined(layer: type[nn.AddLayer] | type[nn.MulLayer]) -> Callable[[Put, Vector], Array]:
    def run(put: Put, vector: Vector) -> Array:
        x, y = vector.inputs
        if x.shape != y.shape:
            raise Outside("arrays of two shapes")
        return layer().forward(put(_floats(vector)), put(y))

    return run


def _one_hot(put: Put, vector: Vector) -> Array:
    labels, depth, values = vector.inputs
    if labels.dtype.kind != "i":
        raise Outside("labels that are no integers")
    if vector.options.get("axis", -1) not in (-1, labels.ndim) or labels.min() < 0:
        raise Outside("another axis than the last, or labels from the end")
    if values.dtype.kind not in "fi":
        raise Outside(f"values of {values.dtype}")
    off, on = values
    return off + (on - off) * to_numpy(one_hot(put(labels), int(depth)))


def _cross_entropy(put: Put, vector: Vector) -> Array:
    x, t, *weight = vector.inputs
    if vector.options.get("reduction", b"mean") != b"mean":
        raise Outside("no mean over the batch")
    if x.ndim != 2:
        raise Outside("other than rows of scores")
    c = put(weight[0]) if weight else None
    layer = nn.SoftmaxWithLoss(class_weight=c, ignore=vector.options.get("ignore_index"))
    return layer.forward(put(x), put(t))


OPERATORS: dict[str, Callable[[Put, Vector], Any]] = {
    "Add": _joined(nn.AddLayer),
    "AveragePool": _pool(nn.AveragePooling),
    "BatchNormalization": _batch_norm,
    "Conv": _conv,
    "Dropout": _dropout,
    "Flatten": _of_floats(_flatten),
    "Gather": _gather,
    "Gelu": _of_floats(_gelu),
    "Gemm": _gemm,
    "GlobalAveragePool": _global_average,
    "Identity": lambda put, vector: identity_function(put(_floats(vector))),
    "LayerNormalization": _layer_norm,
    "LeakyRelu": _of_floats(lambda alpha=0.01: nn.LeakyRelu(slope=alpha)),
    "LogSoftmax": lambda put, vector: log_softmax(put(_floats(vector)), **vector.options),
    "MatMul": _matmul,
    "MaxPool": _pool(nn.MaxPooling),
    "Mul": _joined(nn.MulLayer),
    "OneHot": _one_hot,
    "Relu": _of_floats(nn.Relu),
    "Sigmoid": _of_floats(nn.Sigmoid),
    "Softmax": _of_floats(nn.Softmax),
    "SoftmaxCrossEntropyLoss": _cross_entropy,
    "Swish": _of_floats(_silu),
    "Tanh": _of_floats(nn.Tanh),
}
"""What xpnet has of ONNX's operators."""

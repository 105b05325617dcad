"""ONNX: models run by onnxruntime are the network, to rounding, for prediction and for training; and what is read."""

import numpy as np
import pytest

ort = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
pytest.importorskip("ndonnx", reason="ndonnx is not installed")
import onnx
from onnx import TensorProto, helper, numpy_helper

from xpnet import (
    SGD,
    Adam,
    CosineDecay,
    Momentum,
    Network,
    Sequential,
    TwoLayerNet,
    nn,
)
from xpnet.onnx import from_onnx, reading, to_onnx, training_to_onnx

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")
IMAGE = (2, 8, 7)


def session(model):
    return ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])


def moved(network):
    """The network with running statistics and biases that are not those of the start."""
    rng = np.random.default_rng(3)
    for arrays in (network.params, network.state):
        for name, a in arrays.items():
            arrays[name] = (a + 0.3 * rng.random(a.shape)).astype(a.dtype)
    return network


STACKS = {
    **{
        kind.__name__: (Sequential(nn.Dense(6), kind(), nn.Dense(3)), (4,))
        for kind in (nn.Relu, nn.LeakyRelu, nn.Sigmoid, nn.Tanh, nn.Gelu, nn.Silu, nn.Softmax)
    },
    "conv": (Sequential(nn.Conv2d(4, (3, 2), stride=(2, 1), padding=(1, 0), dilation=(1, 2), groups=2)), IMAGE),
    "pools": (Sequential(nn.MaxPool2d(3, stride=2, padding=1), nn.AvgPool2d(2, padding=1), nn.Dense(3)), IMAGE),
    "norms": (Sequential(nn.BatchNorm(), nn.LayerNorm(), nn.Dropout(0.5), nn.Flatten()), IMAGE),
    "embed": (Sequential(nn.Embedding(9, 3), nn.Dense(4)), (5,)),
    "skip": (
        Sequential(
            nn.Conv2d(4, 3),
            nn.Residual(nn.Conv2d(4, 3, padding=1), nn.Residual(nn.MaxPool2d(1)), shortcut=[nn.Conv2d(4, 1)]),
            nn.Dense(3),
        ),
        IMAGE,
    ),
}


def samples(shape, count, integers):
    rng = np.random.default_rng(count)
    return rng.integers(0, 9, size=(count, *shape)) if integers else rng.normal(size=(count, *shape))


@pytest.mark.parametrize("name", STACKS)
def test_a_model_answers_as_the_network_for_batches_of_any_size(name):
    stack, shape = STACKS[name]
    for dtype, rtol in (("float32", 2e-5), ("float64", 1e-12)):
        net = moved(Network(stack, shape, dtype=dtype, seed=1))
        run = session(to_onnx(net))
        for count in (1, 5, 0) if dtype == "float32" and name == "Relu" else (1, 5):
            x = samples(shape, count, not stack.takes_floats)
            x = x if not stack.takes_floats else x.astype(dtype)
            (y,) = run.run(["y"], {"x": x})
            expected = net.predict(x)
            assert y.dtype == dtype
            assert y.shape == expected.shape
            np.testing.assert_allclose(y, expected, rtol=rtol, atol=rtol)


def test_a_network_without_parameters_takes_float32():
    net = Network(Sequential(nn.Relu()), (4,))
    x = samples((4,), 3, False).astype("float32")
    np.testing.assert_array_equal(session(to_onnx(net)).run(None, {"x": x})[0], np.maximum(x, 0))
    assert repr(net) == "Network()"


def test_probabilities_and_a_file(tmp_path):
    net = TwoLayerNet(4, 5, 3)
    path = tmp_path / "net.onnx"
    path.write_text("what was there before")
    to_onnx(net, path, probabilities=True)
    assert [p.name for p in tmp_path.iterdir()] == ["net.onnx"]
    onnx.checker.check_model(str(path), full_check=True)
    x = samples((4,), 6, False).astype("float32")
    (y,) = ort.InferenceSession(str(path)).run(None, {"x": x})
    np.testing.assert_allclose(y, net.predict_proba(x), rtol=1e-5)


def test_a_file_that_cannot_be_written_leaves_the_old_one(tmp_path, monkeypatch):
    path = tmp_path / "net.onnx"
    path.write_text("what was there before")

    def full(*_):
        raise OSError("no space left")

    monkeypatch.setattr("xpnet._files.os.replace", full)
    with pytest.raises(OSError, match="no space left"):
        to_onnx(TwoLayerNet(4, 5, 3), path)
    assert path.read_text() == "what was there before"
    assert [p.name for p in tmp_path.iterdir()] == ["net.onnx"]
    with pytest.raises(ValueError, match=r"must end in \.onnx"):
        to_onnx(TwoLayerNet(4, 5, 3), tmp_path / "net.pt")


@pytest.mark.parametrize("like", ["torch", "jax"])
def test_a_network_on_another_library_is_written_too(like):
    xp = pytest.importorskip({"torch": "torch", "jax": "jax.numpy"}[like])
    net = TwoLayerNet(4, 5, 3, like=xp.asarray(np.zeros(1, "float32")))
    x = samples((4,), 6, False).astype("float32")
    np.testing.assert_allclose(
        session(to_onnx(net)).run(None, {"x": x})[0], np.asarray(net.predict(xp.asarray(x))), rtol=1e-5, atol=1e-7
    )


# A training step


CONVOLUTIONS = Sequential(
    nn.Conv2d(3, 3, padding=1),
    nn.BatchNorm(),
    nn.Relu(),
    nn.MaxPool2d(2),
    nn.Dense(6),
    nn.Tanh(),
    nn.Dropout(0.3),
    nn.Dense(4),
)
STEPS = {
    "two-layers-sgd": (TwoLayerNet(6, 8, 4, weight_init_std=0.5, dtype="float64").stack, (6,), SGD(0.5)),
    "adam": (Sequential(nn.Dense(8), nn.Gelu(), nn.Dense(4)), (6,), Adam(CosineDecay(0.02, 100), clip_norm=1.0)),
    "convolutions": (CONVOLUTIONS, (2, 6, 6), Momentum(0.05, weight_decay=1e-3)),
    "regression": (Sequential(nn.Dense(8), nn.Tanh(), nn.Dense(4), loss=nn.MeanSquaredError()), (6,), SGD(0.1)),
    "classes": (Sequential(nn.Dense(4), loss=nn.CrossEntropy([1, 2, 3, 4], 0.1)), (6,), SGD(0.1)),
    "yes-no": (Sequential(nn.Dense(4), loss=nn.BinaryCrossEntropy()), (6,), SGD(0.1)),
}


@pytest.mark.parametrize("name", STEPS)
@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 1e-11), ("float32", 2e-4)])
def test_onnxruntime_trains_as_numpy_over_100_steps(name, dtype, tolerance, tmp_path):
    stack, shape, optimizer = STEPS[name]
    net = Network(stack, shape, dtype=dtype, seed=2)
    model, carried = training_to_onnx(net, optimizer, tmp_path / "step.onnx", batch_size=10)
    run = ort.InferenceSession(str(tmp_path / "step.onnx"))
    assert [o.name for o in run.get_outputs()] == ["loss", *(f"{key}_next" for key in carried)]
    params, memory, state = net.params, optimizer.init(net.params), net.state
    rng = np.random.default_rng(0)
    losses = []
    for _ in range(100):
        x = rng.normal(size=(10, *shape)).astype(dtype)
        t = np.argmax(np.reshape(x, (10, -1))[:, :4], axis=1)
        t = t if stack.last.takes_labels else (np.eye(4)[t]).astype(dtype)
        masks = stack.draw(rng, x.shape)
        found, *after = run.run(None, {"x": x, "t": t} | masks | carried)
        carried = dict(zip(carried, after, strict=True))
        loss, gradients, state = stack.loss_and_gradient(params, x, t, state=state or None, masks=masks or None)
        params, memory = optimizer.update(params, gradients, memory)
        np.testing.assert_allclose(found, loss, rtol=tolerance)
        losses.append(float(found))
    assert np.mean(losses[-10:]) < 0.9 * np.mean(losses[:10])  # it learned
    for key, value in (params | memory | state).items():
        np.testing.assert_allclose(carried[key], value, rtol=tolerance, atol=tolerance, err_msg=key)


def test_a_batch_size_that_cannot_be_is_refused():
    for size, error in ((0, ValueError), (2.5, TypeError), (True, TypeError)):
        with pytest.raises(error, match="batch_size must be an integer of at least 1"):
            training_to_onnx(TwoLayerNet(4, 3, 2), SGD(), batch_size=size)
    training_to_onnx(TwoLayerNet(4, 3, 2), SGD(), batch_size=np.int64(2))


# What is read


RNG = np.random.default_rng(0)


def normal(*shape):
    return RNG.normal(size=shape).astype("float32")


def model_of(nodes, weights, shape, output="y", dtype=TensorProto.FLOAT):
    tensors = [numpy_helper.from_array(a, name) for name, a in weights.items()]
    x = helper.make_tensor_value_info("x", dtype, ["N", *shape])
    y = helper.make_tensor_value_info(output, TensorProto.FLOAT, None)
    graph = helper.make_graph(nodes, "made by hand", [x], [y], tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def node(kind, *inputs, out="y", **options):
    return helper.make_node(kind, list(inputs), [out], **options)


VAR = normal(4) ** 2 + 0.5
MODELS = {
    "gemm": ([node("Gemm", "x", "W", "b")], {"W": normal(6, 3), "b": normal(3)}, (6,)),
    "gemm-turned": (
        [node("Gemm", "x", "W", "b", transB=1, alpha=0.5, beta=2.0)],
        {"W": normal(3, 6), "b": normal(3)},
        (6,),
    ),
    "gemm-no-bias": ([node("Gemm", "x", "W")], {"W": normal(6, 3)}, (6,)),
    "matmul": (
        [node("MatMul", "x", "W", out="s"), node("Add", "b", "s")],
        {"W": normal(6, 3), "b": normal(3)},
        (6,),
    ),
    "matmul-alone": ([node("MatMul", "x", "W")], {"W": normal(6, 3)}, (6,)),
    **{
        kind.lower(): ([node(kind, "x", **options)], {}, (6,))
        for kind, options in {
            "Relu": {},
            "LeakyRelu": {"alpha": 0.3},
            "Sigmoid": {},
            "Tanh": {},
            "Gelu": {"approximate": "tanh"},
            "Softmax": {"axis": -1},
            "Identity": {},
            "Dropout": {},
        }.items()
    },
    "silu": ([node("Sigmoid", "x", out="s"), node("Mul", "x", "s")], {}, (6,)),
    "conv": (
        [node("Conv", "x", "W", "b", strides=[2, 1], pads=[1, 0, 1, 0], dilations=[1, 2], group=2)],
        {"W": normal(4, 1, 3, 2), "b": normal(4)},
        IMAGE,
    ),
    "conv-no-bias": ([node("Conv", "x", "W")], {"W": normal(4, 2, 3, 3)}, IMAGE),
    "max": ([node("MaxPool", "x", kernel_shape=[3, 2], strides=[2, 2], pads=[1, 1, 1, 1])], {}, IMAGE),
    "average": ([node("AveragePool", "x", kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])], {}, IMAGE),
    "batch-norm": (
        [node("BatchNormalization", "x", "g", "b", "m", "v", epsilon=1e-3)],
        {"g": normal(4), "b": normal(4), "m": normal(4), "v": VAR},
        (4, 3, 3),
    ),
    "layer-norm": (
        [node("LayerNormalization", "x", "g", "b", epsilon=1e-3)],
        {"g": normal(6), "b": normal(6)},
        (6,),
    ),
    "layer-norm-no-bias": ([node("LayerNormalization", "x", "g")], {"g": normal(6)}, (6,)),
    "flatten": ([node("Flatten", "x", out="s"), node("Gemm", "s", "W")], {"W": normal(112, 3)}, IMAGE),
    "reshape": (
        [node("Reshape", "x", "shape", out="s"), node("Gemm", "s", "W")],
        {"shape": np.asarray([-1, 112]), "W": normal(112, 3)},
        IMAGE,
    ),
    "residual": (
        [
            node("Gemm", "x", "A", out="a"),
            node("Tanh", "a", out="t"),
            node("Gemm", "t", "B", out="u"),
            node("Gemm", "a", "C", out="v"),
            node("Add", "u", "v", out="w"),
            node("Relu", "w", out="r"),
            node("Add", "w", "r"),
        ],
        {"A": normal(6, 5), "B": normal(5, 4), "C": normal(5, 4)},
        (6,),
    ),
    "constant-node": (
        [
            helper.make_node("Constant", [], ["W"], value=numpy_helper.from_array(normal(6, 3))),
            node("Gemm", "x", "W"),
        ],
        {},
        (6,),
    ),
}


@pytest.mark.parametrize("name", MODELS)
def test_what_is_read_answers_as_the_model(name, tmp_path):
    model = model_of(*MODELS[name])
    onnx.save(model, tmp_path / "model.onnx")
    x = normal(5, *MODELS[name][2])
    (expected,) = session(model).run(None, {"x": x})
    for source in (model, tmp_path / "model.onnx", str(tmp_path / "model.onnx")):
        np.testing.assert_allclose(from_onnx(source).predict(x), expected, rtol=1e-5, atol=1e-5)


def test_an_embedding_is_read():
    nodes = [node("Gather", "W", "x", out="s"), node("Flatten", "s", out="f"), node("Gemm", "f", "V")]
    model = model_of(nodes, {"W": normal(9, 3), "V": normal(12, 2)}, (4,), dtype=TensorProto.INT64)
    ids = samples((4,), 5, True)
    np.testing.assert_allclose(from_onnx(model).predict(ids), session(model).run(None, {"x": ids})[0], rtol=1e-5)


def test_what_is_read_can_be_trained_and_written():
    model = model_of(*MODELS["residual"])
    net = from_onnx(model, loss=nn.MeanSquaredError())
    x = normal(5, 6)
    assert set(net.gradient(x, normal(5, 4))) == set(net.params)
    np.testing.assert_allclose(session(to_onnx(net)).run(None, {"x": x})[0], net.predict(x), rtol=1e-4, atol=1e-5)


def test_a_model_that_pytorch_wrote_is_read(tmp_path):
    torch = pytest.importorskip("torch")
    from torch import nn

    own = nn.Sequential(
        nn.Conv2d(2, 4, 3),
        nn.BatchNorm2d(4),
        nn.SiLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(24, 5),
        nn.Softmax(1),
    ).eval()
    x = torch.tensor(normal(3, *IMAGE))
    names = {"input_names": ["x"], "output_names": ["y"], "dynamic_axes": {"x": {0: "N"}}}
    torch.onnx.export(own, (x,), tmp_path / "own.onnx", dynamo=False, opset_version=17, **names)
    with torch.no_grad():
        np.testing.assert_allclose(from_onnx(tmp_path / "own.onnx").predict(x.numpy()), own(x), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("nodes", "weights", "shape", "match"),
    [
        ([node("Erf", "x")], {}, (6,), r"the model has Erf\(x\) , for which xpnet has no layer"),
        ([node("Gelu", "x")], {}, (6,), r"has Gelu\(x\)"),
        ([node("MaxPool", "x", kernel_shape=[2, 2], pads=[0, 0, 1, 1])], {}, IMAGE, r"pads \[0, 0, 1, 1\]"),
        ([node("MaxPool", "x", kernel_shape=[2, 2], auto_pad="SAME_UPPER")], {}, IMAGE, "auto_pad"),
        ([node("MaxPool", "x", kernel_shape=[2, 2], ceil_mode=1)], {}, IMAGE, "ceil_mode"),
        ([node("Conv", "x", "W")], {"W": normal(4, 2, 3)}, (2, 8), "of window"),
        ([node("Reshape", "x", "s")], {"s": np.asarray([-1, 2, 56])}, IMAGE, "to something else than one row"),
        ([node("Relu", "x", out="s"), node("Add", "s", "b")], {"b": normal(6)}, (6,), "that is no MatMul"),
        ([node("Relu", "x", out="s"), node("Mul", "s", "x")], {}, (6,), "which joins two ways"),
        (
            [node("Gemm", "x", "W")],
            {"W": normal(5, 3)},
            (6,),
            r"W1 has shape \(5, 3\), but its layer expects",
        ),
        ([node("Relu", "z")], {}, (6,), "comes from no node"),
        ([node("Relu", "x")], {}, ("M",), "unknown sides"),
        (
            [node("AveragePool", "x", kernel_shape=[2, 2], pads=[1, 1, 1, 1], count_include_pad=1)],
            {},
            IMAGE,
            "counts its padding",
        ),
    ],
)
def test_what_has_no_layer_is_refused(nodes, weights, shape, match):
    with pytest.raises(ValueError, match=match):
        from_onnx(model_of(nodes, weights, shape))


def test_what_xpnet_wrote_itself_is_refused_by_name():
    with pytest.raises(ValueError, match="for which xpnet has no layer; see from_onnx"):
        from_onnx(to_onnx(TwoLayerNet(4, 3, 2)))


@pytest.mark.parametrize(
    ("nodes", "weights", "match"),
    [
        ([node("MaxPool", "x")], {}, "the model is damaged, or is not an ONNX model .*kernel_shape"),
        ([node("Gemm", "x")], {}, "with transA"),
        ([node("Con\nv", "x")], {}, "the model has Con v"),
        ([node("Relu", "y")], {}, "tensor 'y' is computed from itself"),
        ([node("Relu", "s", out="y"), node("Tanh", "y", out="s")], {}, "tensor 'y' is computed from itself"),
        ([node("MatMul", "x", "W")], {"W": np.broadcast_to(np.float32(0), (2**10, 2))}, r"expects \(6, 2\)"),
    ],
)
def test_a_damaged_model_is_refused_in_one_line(nodes, weights, match):
    with pytest.raises(ValueError, match=match) as told:
        from_onnx(model_of(nodes, weights, (6,)))
    assert str(told.value).startswith("from_onnx: ")
    assert len(str(told.value).splitlines()) == 1


def test_a_file_that_is_no_model_is_refused_by_its_name(tmp_path):
    path = tmp_path / "model.onnx"
    path.write_bytes(b"no model" * 9)
    with pytest.raises(ValueError, match=f"^from_onnx: {path}: the model is damaged, or is not an ONNX model"):
        from_onnx(path)
    with pytest.raises(IsADirectoryError, match="is a folder; name a file"):
        from_onnx(tmp_path)


def test_the_layers_before_a_residual_connection_are_sought_once(monkeypatch):
    blocks, seen = 20, []
    plain = reading._Reader._layer
    monkeypatch.setattr(reading._Reader, "_layer", lambda self, *args: (seen.append(1), plain(self, *args))[1])
    nodes, x = [], "x"
    for i in range(blocks):
        out = "y" if i == blocks - 1 else f"x{i}"
        nodes += [node("Relu", x, out=f"r{i}"), node("Add", f"r{i}", x, out=out)]
        x = out
    network = from_onnx(model_of(nodes, {}, (6,)))
    assert len(network.stack.descriptions) == len(seen) == blocks

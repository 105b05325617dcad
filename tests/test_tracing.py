"""Tracing: a program gives what its function gives, on every library; training on NumPy and PyTorch replays."""

import math
import os
import subprocess
import sys
import xml.etree.ElementTree
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from functools import partial

import numpy as np
import pytest
from test_layers import LAYERS, backward, convert, dout_for, forward, layers
from threadpoolctl import threadpool_info, threadpool_limits

import xpnet
from xpnet import (
    SGD,
    Adam,
    Callback,
    CosineDecay,
    Diverged,
    Layer,
    Network,
    Sequential,
    TracingError,
    fit,
    nn,
    scale_images,
    trace,
)
from xpnet._array import namespace
from xpnet.backends.numpy import Numpy
from xpnet.tracing import NumpyCode, replay
from xpnet.tracing.program import leaves, replaced
from xpnet.training import step as step_module
from xpnet.training.step import Carry, updates


def same(lib, one, other):
    """Whether two nested results are equal."""
    pairs = list(zip(leaves(one), leaves(other), strict=True))
    return all(np.array_equal(lib.numpy(a), lib.numpy(b), equal_nan=True) for a, b in pairs)


def copy(tree):
    def copied(leaf):
        return leaf.copy() if isinstance(leaf, np.ndarray) else leaf.clone() if hasattr(leaf, "clone") else leaf

    return replaced(tree, copied)


def executed(program, library="numpy"):
    """The function that a source file defines."""
    space = {}
    exec(program.source(library), space)
    return space[program.name]


# A program is its function


def passes(name):
    """Both passes of a layer as a function of its arguments and ``dout``."""

    def run(arguments, dout):
        layer, y = forward(name, arguments)
        return y, backward(name, layer, dout), layer.state

    return run


@layers
def test_a_program_gives_the_results_of_its_function(lib, name):
    arguments = convert(lib, LAYERS[name][3], max(lib.dtypes))
    dout = dout_for(lib, forward(name, arguments)[1], max(lib.dtypes))
    expected, program = passes(name)(arguments, dout), trace(passes(name), arguments, dout)
    assert same(lib, program(arguments, dout), expected)
    assert same(lib, program(arguments, dout), expected)  # buffers are used again


def replayed(lib, function, *args):
    """The function in the form that is replayed from its first call on."""

    def known(*args):
        return function(*args)

    known.known = True
    run = lib.backend.compile(known)
    run(*args)
    assert None not in run.codes.values()
    return run


@pytest.mark.only("numpy", "torch")
@layers
def test_a_replayed_layer_gives_the_results_of_its_function(lib, name):
    arguments = convert(lib, LAYERS[name][3], "float32")
    dout = dout_for(lib, forward(name, arguments)[1], "float32")
    before, expected = copy((arguments, dout)), passes(name)(arguments, dout)
    run = replayed(lib, passes(name), arguments, dout)
    for _ in range(2):  # buffers are used again
        assert same(lib, run(arguments, dout), expected)
    assert same(lib, (arguments, dout), before)


@pytest.mark.only("numpy")
@layers
def test_the_source_gives_the_results_of_the_function(lib, name):
    arguments = convert(lib, LAYERS[name][3], "float32")
    dout = dout_for(lib, forward(name, arguments)[1], "float32")
    program, expected = trace(passes(name), arguments, dout), passes(name)(arguments, dout)
    assert same(lib, executed(program)(arguments, dout), expected)
    torch = pytest.importorskip("torch")
    of_torch = executed(program, "torch")(*replaced((arguments, dout), lambda a: torch.asarray(a.copy())))
    for found, one in zip(leaves(of_torch), leaves(expected), strict=True):
        np.testing.assert_allclose(np.asarray(found), one, rtol=1e-4, atol=1e-5)


@pytest.mark.only("cupy")
@layers
def test_the_source_for_cupy_runs_on_cupy(lib, name):
    arguments = convert(lib, LAYERS[name][3], "float32")
    dout = dout_for(lib, forward(name, arguments)[1], "float32")
    program = trace(passes(name), arguments, dout)
    with lib.here:
        found = executed(program, "cupy")(arguments, dout)
    for one, other in zip(leaves(found), leaves(passes(name)(arguments, dout)), strict=True):
        np.testing.assert_allclose(lib.numpy(one), lib.numpy(other), rtol=1e-5, atol=1e-6)


BOOK = Sequential(nn.Dense(6), nn.Relu(), nn.Dense(3))
IMAGES = Sequential(
    nn.Conv2d(4, 3, padding=1),
    nn.BatchNorm(),
    nn.Relu(),
    nn.MaxPool2d(2),
    nn.Residual(nn.Conv2d(4, 3, padding=1), nn.Relu()),
    nn.Conv2d(3, 2, stride=2),
    nn.LayerNorm(),
    nn.Gelu(),
    nn.Dropout(0.3),
    nn.Dense(3),
)
STACKS = {
    "book": (BOOK, (5,)),
    "images": (IMAGES, (1, 8, 8)),
    "regression": (Sequential(nn.Dense(4), nn.Tanh(), nn.Dense(3), loss="mse"), (5,)),
    "labels": (Sequential(nn.Dense(3), loss=nn.CrossEntropy([1, 2, 3], 0.1, ignore_index=1)), (5,)),
    "embedding": (Sequential(nn.Embedding(7, 4), nn.Flatten(), nn.Dense(3)), (5,)),
}


def problem(name, dtype="float32", count=50, lib=None):
    stack, shape = STACKS[name]
    rng = np.random.default_rng(3)
    x = rng.integers(0, 7, (count, *shape)) if name == "embedding" else rng.random((count, *shape)).astype(dtype)
    t = rng.random((count, 3)).astype(dtype) if name == "regression" else rng.integers(0, 3, count)
    if lib is None:
        return Network(stack, shape, dtype=dtype), x, t
    return Network(stack, shape, like=lib.asarray([1.0], dtype)), lib.asarray(x), lib.asarray(t)


def step_of(stack, optimizer):
    def step(params, memory, state, x, t, masks):
        loss, gradients, state = stack.loss_and_gradient(params, x, t, state=state or None, masks=masks or None)
        params, memory = optimizer.update(params, gradients, memory)
        return params, memory, state, loss

    return step


@pytest.mark.parametrize("name", STACKS)
@pytest.mark.parametrize("optimizer", [SGD(0.1), Adam(CosineDecay(0.01, steps=9), clip_norm=1.0, weight_decay=0.1)])
def test_a_whole_step_as_a_program_and_as_source(name, optimizer):
    net, x, t = problem(name)
    masks = net.stack.draw(np.random.default_rng(0), x.shape)
    arguments = (net.params, optimizer.init(net.params), net.state, x, t, masks)
    step, before = step_of(net.stack, optimizer), copy(arguments)
    program = trace(step, *arguments)
    expected = step(*arguments)
    plain = [np.asarray(leaf) for leaf in leaves(expected)]
    for found in (program(*arguments), program.run(*arguments), executed(program)(*arguments)):
        assert all(np.array_equal(np.asarray(a), b) for a, b in zip(leaves(found), plain, strict=True))
    assert all(np.array_equal(a, b) for a, b in zip(leaves(arguments), leaves(before), strict=True))


def test_the_source_is_that_of_the_book():
    net = xpnet.TwoLayerNet(784, 50, 10)
    step = partial(step_of(net.stack, SGD(0.1)))
    step.__name__ = "step"
    program = trace(step, net.params, {}, {}, np.zeros((100, 784), "float32"), np.zeros(100, int), {})
    lines = [line.strip() for line in program.source().splitlines()]
    for line in (
        "Affine1_y = x @ W1 + b1",
        "Relu1_y = np.maximum(Affine1_y, 0.0)",
        "dW1 = x.T @ Relu1_dx",
        "db1 = np.sum(Relu1_dx, axis=0)",
        "W1 = W1 - 0.1 * dW1",
        "# SoftmaxWithLoss, backward",
    ):
        assert line in lines
    assert not [line for line in lines if "xpnet" in line and "traced" not in line]


def test_the_source_runs_in_a_process_without_xpnet(tmp_path):
    program = trace(xpnet.softmax, np.zeros((2, 2)))
    (tmp_path / "made.py").write_text(
        program.source() + "\nprint(softmax(np.asarray([[0.0, 0.0], [1.0, 1.0]])).sum())\n"
    )
    found = subprocess.run(
        [sys.executable, "-I", "made.py"], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert found.stdout.strip() == "2.0"


# Corners of Python, NumPy and the standard

SMALL, IDS = np.arange(6.0).reshape(2, 3), np.asarray([1, 0, 1])


def xp_of(x):
    return namespace(x=x)


FUNCTIONS = {
    "positional axis of stack": lambda x: xp_of(x).stack([x[:, :2], x[:, 1:]], 1) * 1,
    "positional axis of concat": lambda x: xp_of(x).concat([x, x + 1], 1) * 1,
    "positional axis of max": lambda x: xp_of(x).max(x, 1) * 1,
    "rows in reverse": lambda x: x[::-1] + 0,
    "columns in reverse": lambda x: x[:, ::-1] * 2,
    "all of it": lambda x: x[:] + x[...],
    "power of a power": lambda x: (2.0 ** (x**2.0)) ** 0.5 + x**2**0.5,
    "a chain of comparisons": lambda x: ((x > 1) == (x < 3)) != (x == 2),
    "a constant with NaN": lambda x: x * xp_of(x).asarray([1.0, math.nan, -math.inf], dtype=x.dtype),
    "an infinite constant": lambda x: x + xp_of(x).full((3,), math.inf, dtype=x.dtype),
    "both zeros": lambda x: x * 0 * xp_of(x).asarray([-0.0, 0.0, -0.0], dtype=x.dtype),
    "an empty constant": lambda x: xp_of(x).concat([xp_of(x).zeros((0, 3), dtype=x.dtype), x]),
    "no argument": lambda x: xp_of(x).ones((2, 3), dtype=x.dtype),
}


@pytest.mark.only("numpy")
@pytest.mark.parametrize("name", FUNCTIONS)
def test_corners(lib, name):
    function = FUNCTIONS[name]
    program = trace(function, SMALL)
    for found in (program(SMALL), program(SMALL), executed(program)(SMALL)):
        assert found.tobytes() == function(SMALL).tobytes()


def of_an_operand_and_its_transpose(x):
    y = x @ x.T
    return (y + y.T) * (y - 1) - xp_of(x).maximum(y.T, 0.0)


def joined(x):
    """Some parts can be computed in their places: not a row, a reversed row, an argument, or what is used later."""
    xp = xp_of(x)
    square, row, late = x @ x.T, x[0, :] * 3, x * 5
    parts = [square, late, x, xp.flip(row), row, xp.astype(xp.sum(x * 2, axis=0), x.dtype)]
    return xp.concat([xp.reshape(part, (-1,)) for part in parts]), late * 2


PAIRS = FUNCTIONS | {
    "parts of a concatenation": lambda x: joined(x)[0],
    "a part that is used later": lambda x: joined(x)[1],
    "a concatenation that is changed": lambda x: -joined(x)[0],
    "bounds by name": lambda x: xp_of(x).clip(x * 2, min=1.0) + xp_of(x).clip(x * 2, max=3.0),
    "bounds that are arrays": lambda x: (
        xp_of(x).sum(xp_of(x).clip(x - 3.0, 0.0, x + 1.0)) + xp_of(x).clip(x, 1.0, x - 1.0)
    ),
    "parts of other operations": lambda x: xp_of(x).concat([xp_of(x).max(x, axis=1), xp_of(x).min(x, axis=1)]),
    "a part of another order": lambda x: xp_of(x).concat([xp_of(x).reshape((x * 2).T, (-1,)), x[0, :]]),
    "a result in place of a temporary array": lambda x: x - (x + 1) * 0.3,
    "a result of its own transpose": lambda x: (x @ x.T) * 2 - ((x @ x.T) * 2).T,
    "an operand and its transpose": of_an_operand_and_its_transpose,
    "numbers first": lambda x: (2.0 + x) * 3.0 - (1.0 - x) / 4.0 - 2.0 * x,
    "bounds": lambda x: xp_of(x).minimum(xp_of(x).maximum(-x, -0.0), 3.0) + xp_of(x).maximum(x, x - 2),
    "comparisons": lambda x: xp_of(x).astype(x * 2 > 3, x.dtype) + xp_of(x).astype(x + 0.0 == 2.0, x.dtype),
    "integers": lambda x: xp_of(x).sum(xp_of(x).astype(x * 1.7, xp_of(x).int32), axis=0) / 2,
    "functions": lambda x: xp_of(x).sqrt(xp_of(x).abs(xp_of(x).floor(xp_of(x).exp(-x) * 9) - xp_of(x).log1p(x))),
    "reductions": lambda x: xp_of(x).max(x * 2, axis=1, keepdims=True) - xp_of(x).min(x * 3) + xp_of(x).sum(x - 1),
    "a copied shape": lambda x: xp_of(x).reshape((x * 2).T, (3, 2)) * 3,
    "a slice of a result": lambda x: (x * 2)[:, 1:] * (x * 3)[:, :-1],
}


@pytest.mark.only("numpy", "torch")
@pytest.mark.parametrize("name", PAIRS)
def test_corners_of_replay(lib, name):
    if lib.name == "torch" and ("reverse" in name or "positional" in name):
        pytest.skip("PyTorch has no slices with a negative step, and takes the axis by name only")
    x = lib.asarray(SMALL)
    run, expected = replayed(lib, PAIRS[name], x), lib.numpy(PAIRS[name](x))
    for _ in range(2):
        assert lib.numpy(run(x)).tobytes() == expected.tobytes()
    assert lib.numpy(x).tolist() == SMALL.tolist()


def test_integers_as_indices():
    program = trace(lambda x, i: x[i] * 2 + x[i, 0][:, None] + x[..., 1][i, None], SMALL, IDS)
    for found in (program(SMALL, IDS), executed(program)(SMALL, IDS)):
        np.testing.assert_array_equal(found, SMALL[IDS] * 2 + SMALL[IDS, :1] + SMALL[IDS, 1:2])


def test_shifts():
    program = trace(lambda i: (i << 1) + (i << 1 + 1) - (i >> 1), IDS)
    np.testing.assert_array_equal(executed(program)(IDS), IDS * 6 - IDS // 2)


def test_a_condition_that_is_a_view_of_the_operand():
    def function(a, b):
        mask = b & b
        return xp_of(a).where(mask.T, a, mask) ^ a

    a = np.zeros((300, 300), dtype=bool)
    b = np.random.default_rng(0).random(a.shape) > 0.5
    np.testing.assert_array_equal(trace(function, a, b)(a, b), function(a, b))


def test_a_constant_that_is_returned_is_new_in_each_call(lib):
    x = lib.asarray([1.0, 2.0])
    program = trace(lambda x: {"zeros": xp_of(x).zeros_like(x)}, x)
    assert program(x)["zeros"] is not program(x)["zeros"]
    if isinstance(x, np.ndarray):
        program(x)["zeros"] += 1
    assert lib.numpy(program(x)["zeros"]).tolist() == [0, 0]


# What cannot be traced

X = np.asarray([[1.0, -2.0], [3.0, 4.0]])
TABLE = np.asarray([1.0, 2.0])


def written(x):
    x[0, 0] = 1.0
    return x


@pytest.mark.parametrize(
    ("function", "word"),
    [
        (lambda x: x if x[0, 0] > 0 else -x, "bool reads the values of an array"),
        (lambda x: x * float(x[0, 0]), "float reads the values of an array"),
        (lambda x: x * math.sqrt(x[0, 0]), "float reads the values of an array"),
        (lambda x: [row for row in x], "iter reads the values of an array"),
        (written, "changes an array"),
        (lambda x: x.sum(), "the attribute sum"),
        (lambda x: x + TABLE, "add: an operand is not an argument"),
        (lambda x: x.__array_namespace__().asarray(TABLE) * x, "asarray: an array is not an argument"),
        (lambda x: TABLE, "returns an array that was not computed"),
        (lambda x: xp_of(x).unique_values(x) * 2, "unique_values makes an array whose shape depends on values"),
        (lambda x: xp_of(x).nonzero(x)[0], "nonzero makes"),
        (lambda x: x[x > 0], "getitem makes"),
        (lambda x: x[0, x[0, :] > 0], "getitem makes"),
        (lambda x: xp_of(x).repeat(x[:, 0], xp_of(x).astype(x[:, 1] > 0, int)), "repeat makes"),
    ],
)
def test_what_cannot_be_traced_is_named(function, word):
    with pytest.raises(TracingError, match=word):
        trace(function, X)


def test_a_program_as_text():
    program = trace(lambda x, y: x[:, 0] + xp_of(x).arange(2) * y, X, 1.0)
    assert str(program).splitlines() == [
        "%0: float64[2] = getitem(x, slice(None, None, None), 0)",
        "%1: float64[2] = add(%0, constant0)",
    ]


def test_a_program_is_for_the_shapes_of_its_trace():
    program = trace(lambda x, y: x + y, X, 1.0)
    assert str(program) == "%0: float64[2, 2] = add(x, 1.0)"
    with pytest.raises(
        ValueError, match=r"x is an array of float32, shape \(2, 2\), but the program was traced with an array of"
    ):
        program(X.astype("float32"), 1.0)
    with pytest.raises(ValueError, match=r"y is 2.0, but the program was traced with 1.0; trace the function again"):
        program(X, 2.0)
    with pytest.raises(ValueError, match="the number of arguments is 1"):
        program(X)
    with pytest.raises(TypeError, match="the arguments contain no array"):
        trace(lambda: 1)
    with pytest.raises(ValueError, match="library must be one of 'numpy', 'cupy', 'torch', got 'jax'"):
        program.source("jax")
    with pytest.raises(ValueError, match="must end in .svg"):
        program.draw("step.png")


@pytest.mark.only("numpy", "torch")
def test_an_argument_with_other_strides_is_not_written_to(lib):
    def function(x):
        return xp_of(x).reshape(x, (-1,)) + 1  # a copy for the first argument, a view of the second one

    run = replayed(lib, function, lib.asarray(SMALL).T)
    x = lib.asarray(SMALL.reshape(3, 2))
    run(x)
    assert lib.numpy(x).tolist() == SMALL.reshape(3, 2).tolist()


def test_a_slot_that_is_a_concatenation():
    program = trace(lambda x, y: {"p": xp_of(x).concat([x * 2, y], axis=1)}, SMALL, X)
    code = NumpyCode(program, [program.outputs["p"]])
    run = code.make(code.empty(code.nbytes), code.arrays())
    np.testing.assert_array_equal(run(SMALL, X)["p"], np.concatenate([SMALL * 2, X], axis=1))


class TwoOfThem:
    """Two processes that compute the same, without MPI: their sums are those of one."""

    size, stop = 2, 0.0

    def share(self, count):
        return slice(0, count)

    def adder(self, backend):
        return lambda flat: flat


@pytest.mark.only("numpy", "torch")
@pytest.mark.parametrize("name", STACKS)
@pytest.mark.parametrize("accumulate", [1, 2])
def test_updates_of_several_processes_are_the_same_with_and_without_replay(lib, name, accumulate, monkeypatch):
    found = []
    for _ in ("with", "without"):
        net, x, t = problem(name, lib=lib)
        run = updates(lib.backend, net.stack, SGD(0.1), None, accumulate, TwoOfThem())
        rng = np.random.default_rng(0)

        def draw(batch, net=net, x=x, rng=rng):
            return net.stack.draw(rng, (batch, *x.shape[1:]))

        index = np.arange(48).reshape(6, 8)
        start = Carry(net.params, {}, net.state)
        *_, last = run(start, (x, t), index, draw if net.stack.mask_names else None)
        found.append(last)
        monkeypatch.setattr("xpnet.training.step.is_known", lambda *things: False)
    assert same(lib, *found)


@pytest.mark.only("torch")
def test_the_default_device_of_pytorch_does_not_matter(lib):
    torch = pytest.importorskip("torch")
    x = lib.asarray(SMALL)
    run = replayed(lib, lambda x: xp_of(x).concat([x[0, :] * 2, x[1, :] + 1]), x)
    with torch.device("meta"):
        assert run(x).device.type == "cpu"


@pytest.mark.only("numpy", "torch")
def test_a_part_that_is_a_result_itself_is_another_array(lib):
    def function(x):
        y = x - (x + 1) * 0.3
        return xp_of(x).concat([xp_of(x).reshape(y, (-1,))]), y

    x = lib.asarray(X)
    run = replayed(lib, function, x)
    whole, part = run(x)
    part *= 0
    assert same(lib, [whole], [function(x)[0]])


def test_results_are_new_arrays_also_where_they_are_views_or_arguments():
    def function(x):
        y = x * 2
        return y, y.T, x, x.T, (y + 1)[0, :]

    program = trace(function, X)
    first, second = program(X), program(X + 1)
    for found, expected in zip(first, function(X), strict=True):
        np.testing.assert_array_equal(found, expected)
    for found, expected in zip(second, function(X + 1), strict=True):
        np.testing.assert_array_equal(found, expected)


def test_the_storage_order_of_results_is_kept():
    def function(x):
        y = x.T * 2.0  # stored by columns, and so summed in another order
        return x.__array_namespace__().sum(y, axis=0)

    x = np.random.default_rng(0).random((300, 70)).astype("float32")
    np.testing.assert_array_equal(trace(function, x)(x), function(x))


# Cost and drawing


def test_the_cost_of_a_product_and_a_sum():
    cost = trace(lambda x, W: (x @ W).__array_namespace__().sum(x @ W), np.zeros((3, 4)), np.zeros((4, 5))).cost()
    assert [op.operation for op in cost.operations] == ["matmul", "sum"]
    assert cost.flops == 2 * 3 * 4 * 5 + 15
    assert cost.bytes_moved == 8 * (12 + 20 + 15) + 8 * (15 + 1)
    assert cost.peak_memory == 8 * (12 + 20 + 15 + 1)
    assert cost.intensity == cost.flops / cost.bytes_moved
    assert "135" in str(cost) and "FLOPs" in str(cost)


def test_memory_is_counted_until_the_last_use():
    def function(x):
        for _ in range(5):
            x = x + 1.0
        return x

    assert trace(function, np.zeros(10)).cost().peak_memory == 3 * 80  # the argument, a sum and the next


def test_the_cost_of_a_convolution_is_alike_by_either_way(lib):
    net = Network(Sequential(nn.Conv2d(4, 3), loss="mse"), (2, 6, 6), like=lib.asarray(np.zeros(1), "float32"))
    x = lib.asarray(np.zeros((5, 2, 6, 6)), "float32")
    program = trace(net.stack.predict, net.params, x)
    products = [op.flops for op in program.cost().operations if op.operation not in ("add", "max", "min")]
    assert sum(products) == 2 * 5 * 4 * 4 * 4 * (2 * 3 * 3)


def test_the_cost_by_layer():
    net, x, t = problem("book")
    found = trace(net.stack.loss_and_gradient, net.params, x, t).cost().by_layer()
    assert found["Affine1, forward"] == 2 * 50 * 5 * 6 + 50 * 6
    assert list(found)[-1] == "Affine1, backward"


def test_a_drawing_has_a_box_for_each_layer_and_pass(tmp_path):
    net, x, t = problem("images")
    masks = net.stack.draw(np.random.default_rng(0), x.shape)
    step = step_of(net.stack, SGD(0.1))
    program = trace(step, net.params, {}, net.state, x, t, masks)
    program.draw(tmp_path / "step.svg")
    root = xml.etree.ElementTree.parse(tmp_path / "step.svg").getroot()
    texts = {element.text for element in root.iter() if element.tag.endswith("text")}
    for title in (
        "Convolution1, forward",
        "BatchNormalization1, backward",
        "SoftmaxWithLoss, forward",
        "SGD, update",
    ):
        assert title in texts
    boxes = [element for element in root.iter() if element.tag.endswith("rect")]
    places = [(float(box.get("x")), float(box.get("y"))) for box in boxes]
    assert len(set(places)) == len(places)  # none covers another


# Training on NumPy and on PyTorch replays its step


@pytest.mark.only("numpy", "torch")
@pytest.mark.parametrize("name", STACKS)
@pytest.mark.parametrize(
    "options",
    [{}, {"optimizer": Adam(0.01, clip_norm=1.0)}, {"accumulate": 3}, {"sampling": "replacement"}],
    ids=["sgd", "adam", "accumulate", "replacement"],
)
def test_training_is_the_same_bit_for_bit_with_and_without_replay(lib, name, options, monkeypatch):
    found = []
    for _ in ("with", "without"):
        net, x, t = problem(name, lib=lib)
        history = fit(net, (x, t), (x[:9], t[:9]), batch_size=8, epochs=3, progress=False, **options).history
        found.append((net.params, net.state, history.loss, history.test_loss, history.train_accuracy))
        for module in ("step", "evaluation"):
            monkeypatch.setattr(f"xpnet.training.{module}.is_known", lambda *things: False)
    assert same(lib, *found)


def updates_of(monkeypatch):
    """The number of times that the step of xpnet itself is called."""
    calls = []
    plain = Sequential.forward_backward
    monkeypatch.setattr(Sequential, "forward_backward", lambda *a, **k: (calls.append(1), plain(*a, **k))[1])
    return calls


@pytest.mark.only("numpy", "torch")
def test_the_step_is_traced_once_for_each_batch_size(lib, monkeypatch):
    calls = updates_of(monkeypatch)
    net, x, t = problem("book", lib=lib)
    fit(net, (x, t), batch_size=8, epochs=4, progress=False)
    assert len(calls) == 2  # 50 samples: mini-batches of 8 and of 2


def test_a_step_is_traced_when_a_batch_size_has_occurred_often_enough(monkeypatch):
    monkeypatch.setattr(replay, "WARM", 32)
    calls = updates_of(monkeypatch)
    net, x, t = problem("book")
    fit(net, (x, t), batch_size=8, epochs=20, progress=False)  # 6 mini-batches of 8 and one of 2 in each epoch
    assert len(calls) == 5 * 6 + 1 + 20


class Noted(Layer):
    """A layer that does more than compute."""

    seen: list[float] = []

    def forward(self, x):
        self.seen.append(float(x[0, 0]))
        return x

    def backward(self, dout):
        return dout


class Note(nn.Description):
    kind = "Noted"

    def layer(self, arrays, training):
        return Noted()


def test_code_that_is_not_xpnets_own_is_called_in_each_update(monkeypatch):
    Noted.seen.clear()
    calls = updates_of(monkeypatch)
    net, x, t = problem("book")
    stack = Sequential(nn.Dense(6), Note(), nn.Dense(3))
    fit(Network(stack, (5,), like=x), (x, t), batch_size=10, epochs=2, progress=False)
    assert len(calls) == 10
    assert len(set(Noted.seen)) > 10  # 10 updates and 3 evaluations, each with its own values
    calls.clear()
    rng = np.random.default_rng(0)
    fit(net, (x, t), batch_size=10, epochs=2, progress=False, transform=lambda a: a + rng.random(a.shape, "float32"))
    assert len(calls) == 10


@pytest.mark.parametrize(
    ("thing", "known"),
    [
        (BOOK, True),
        (IMAGES, True),
        (Adam(CosineDecay(0.1, steps=3)), True),
        (partial(scale_images, dtype="float32"), True),
        (partial(scale_images, dtype=np.float32), True),
        (Sequential(nn.Dense(3, lambda rng, shape: np.zeros(shape))), True),  # initial weights are drawn before
        (SGD(lambda step: 0.1), False),
        (partial(scale_images, dtype=print), False),
        (np.sqrt, False),
        (Sequential(nn.Residual(Note())), False),
        (Sequential(nn.Dense(3), loss=type("Own", (xpnet.SoftmaxWithLoss,), {})), False),
        (type("Own", (Sequential,), {})(nn.Dense(3)), False),
        (type("Own", (partial,), {})(scale_images), False),
    ],
    ids=range(13),
)
def test_what_is_known_to_be_pure(thing, known):
    assert step_module.is_known(thing) is known


class Keep(Callback):
    def __init__(self):
        self.kept, self.copies = [], []

    def on_update(self, loop):
        self._keep(loop.carry.params)

    def on_epoch(self, loop):
        self._keep(loop.network.params)

    def _keep(self, params):
        self.kept.append(params)
        self.copies.append(copy(params))


@pytest.mark.only("numpy", "torch")
def test_what_a_callback_keeps_is_not_overwritten(lib):
    net, x, t = problem("book", lib=lib)
    mine, keep = net.params, Keep()
    before = copy(mine)
    fit(net, (x, t), batch_size=8, epochs=3, progress=False, callbacks=[keep])
    assert same(lib, keep.kept, keep.copies)
    assert same(lib, mine, before)
    assert len({lib.numpy(params["W1"]).tobytes() for params in keep.kept}) == 1 + 21  # each update changes them


def test_two_networks_do_not_share_arrays():
    net, x, t = problem("book")
    first = fit(net, (x, t), batch_size=8, epochs=1, progress=False).network.params
    before = copy(first)
    fit(problem("book")[0], (x, t), batch_size=8, epochs=1, progress=False)
    assert all(np.array_equal(a, b) for a, b in zip(leaves(first), leaves(before), strict=True))


def test_a_run_that_diverges_keeps_the_parameters_of_the_epoch_before():
    net, x, t = problem("regression")
    with pytest.raises(Diverged):
        fit(net, (x, t), SGD(1e30), batch_size=8, epochs=3, progress=False)
    assert all(np.isfinite(p).all() for p in net.params.values())


@pytest.mark.parametrize("line", range(3, 60, 5))
def test_ctrl_c_in_the_middle_of_a_replayed_update(line):
    """The parameters are those after a whole update, whichever line of the program is interrupted."""
    net, x, t = problem("book")
    start, count = copy(net.params), [0]

    def tracer(frame, event, arg):
        if frame.f_code.co_filename != "<traced program>" or "slots" in frame.f_code.co_varnames:
            return None
        if event == "line" and frame.f_lineno - frame.f_code.co_firstlineno == line:
            count[0] += 1
            if count[0] == 3:
                raise KeyboardInterrupt
        return tracer

    sys.settrace(tracer)
    try:
        result = fit(net, (x, t), batch_size=8, epochs=1, progress=False)
    finally:
        sys.settrace(None)
    updates = len(result.history.loss)
    again = Network(net.stack, (5,), dtype="float32")
    again.params = start
    if updates:
        fit(again, (x, t), batch_size=8, epochs=1, progress=False, callbacks=[Stop(updates)])
    assert all(np.array_equal(net.params[name], again.params[name]) for name in start)
    assert result.history.interrupted == (count[0] >= 3)


class Stop(Callback):
    """Stops after a number of updates, as Ctrl-C does."""

    def __init__(self, updates):
        self.updates = updates

    def on_update(self, loop):
        if loop.updates == self.updates:
            raise KeyboardInterrupt


def test_where_a_trace_fails_the_plain_loop_runs(monkeypatch):
    def refuse(*args, **options):
        raise TracingError("no")

    monkeypatch.setattr(Numpy, "_trace", refuse)
    calls = updates_of(monkeypatch)
    net, x, t = problem("book")
    fit(net, (x, t), batch_size=10, epochs=1, progress=False)
    assert len(calls) == 5


# Threads


@pytest.mark.parametrize(
    ("batch", "environment", "limit", "expected"),
    [(100, None, None, 1), (40_000, None, None, None), (100, "2", None, None), (100, None, 3, 3)],
    ids=["small", "large", "environment", "threadpoolctl"],
)
def test_train_takes_one_blas_thread_for_small_products(batch, environment, limit, expected, monkeypatch):
    def threads():
        return {pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"}

    for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: range(4), raising=False)
    seen, x = [], np.zeros((40_000, 8), "float32")
    with threadpool_limits(limit or 4, "blas"):
        if environment:
            monkeypatch.setenv("OPENBLAS_NUM_THREADS", environment)
        before = threads()
        callback = [lambda network, history: seen.append(threads())]
        options = {"batch_size": batch, "hidden_size": 50, "epochs": 0, "callbacks": callback, "progress": False}
        xpnet.train((x, np.zeros(len(x), int)), **options)
        assert threads() == before
    assert seen == [before if expected is None else {expected}]


def test_a_program_can_be_called_in_several_threads():
    program = trace(lambda x: ((x + 1.0) * 2.0) @ x, np.zeros((200, 200)))
    arrays = [np.full((200, 200), float(i)) for i in range(8)]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(program, arrays * 10))
    for i, array in enumerate(found):
        assert (array == ((i % 8 + 1.0) * 2.0) * (i % 8) * 200).all()


def test_layers_that_cannot_be_traced_in_train_and_in_a_summary(monkeypatch):
    monkeypatch.setattr(Numpy, "threads", lambda self, largest: nullcontext(largest()))
    _, x, t = problem("book")
    stack = Sequential(nn.Dense(6), Note(), nn.Dense(3))
    Noted.seen.clear()
    result = xpnet.train((x, t), network=stack, batch_size=50, epochs=1, progress=False)
    assert len(Noted.seen) == 3  # an update and two evaluations, nothing else
    *_, dense, own, _, total = result.network.summary().splitlines()
    assert dense.split()[-1] == "66"
    assert own.split()[-1] == total.split()[-1] == "-"


def test_train_with_a_batch_size_above_the_number_of_samples(monkeypatch):
    _, x, t = problem("book")
    monkeypatch.setattr(Numpy, "threads", lambda self, largest: nullcontext(largest()))
    assert xpnet.train((x, t), batch_size=10**12, epochs=1, progress=False).history.updates == [0, 1]

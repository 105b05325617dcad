"""`vmap`: a function for many inputs gives what a loop over the inputs gives, on every library."""

import numpy as np
import pytest
from test_layers import LAYERS, convert, dout_for, forward, layers
from test_tracing import STACKS, passes, problem, step_of

from xpnet import SGD, Adam, AdamW, BatchingError, CosineDecay, Momentum, TwoLayerNet, softmax, trace, vmap
from xpnet._array import namespace
from xpnet.tracing.program import is_array, leaves, replaced

CALLS = 3


def xp_of(x):
    return namespace(x=x)


def stacked(trees):
    """Nested arrays of several calls, stacked."""
    flat = [list(leaves(tree)) for tree in trees]
    columns = iter(
        [xp_of(column[0]).stack(column) if is_array(column[0]) else column[0] for column in zip(*flat, strict=True)]
    )
    return replaced(trees[0], lambda leaf: next(columns))


def part(tree, i):
    return replaced(tree, lambda leaf: leaf[i, ...] if is_array(leaf) else leaf)


def agree(lib, found, expected, rtol=1e-12):
    found, expected = lib.computed((found, expected))
    pairs = list(zip(leaves(found), leaves(expected), strict=True))
    assert pairs
    for one, other in pairs:
        if not is_array(other):
            assert one == other
            continue
        one, other = lib.numpy(one), lib.numpy(other)
        assert one.shape == other.shape
        assert one.dtype == other.dtype
        scale = max(1.0, abs(other[np.isfinite(other)]).max(initial=0)) if other.dtype.kind == "f" else 1.0
        np.testing.assert_allclose(one, other, rtol=rtol, atol=rtol * scale)


def varied(lib, tree):
    """The same nested arrays, with other floats for each call."""
    rng = np.random.default_rng(5)

    def changed(leaf, i):
        if not is_array(leaf) or "float" not in str(leaf.dtype):
            return leaf
        host = lib.numpy(leaf)
        return lib.asarray(host + i * 0.01 * rng.random(host.shape), str(host.dtype))

    return [replaced(tree, lambda leaf, i=i: changed(leaf, i)) for i in range(CALLS)]


@pytest.mark.only("numpy", "strict", "torch", "cupy")  # JAX compiles, and Dask builds graphs, for minutes
@layers
def test_a_layer_for_many_inputs(lib, name):
    arguments = convert(lib, LAYERS[name][3], max(lib.dtypes))
    dout = dout_for(lib, forward(name, arguments)[1], max(lib.dtypes))
    calls = varied(lib, (arguments, dout))
    expected = stacked([passes(name)(*call) for call in calls])
    agree(lib, vmap(passes(name))(*stacked(calls)), expected, lib.rtol)
    many, one = stacked([call[1] for call in calls]), calls[0][0]  # the arguments of the layer are the same
    expected = stacked([passes(name)(one, call[1]) for call in calls])
    agree(lib, vmap(passes(name), in_axes=(None, 0))(one, many), expected, lib.rtol)


X = np.random.default_rng(0).normal(size=(CALLS, 2, 3, 4))
IDS = np.asarray([[1, 0, 1], [0, 0, 1], [1, 1, 0]])
UNARY = {
    "sum": lambda xp, x: [xp.sum(x), xp.sum(x, axis=0), xp.sum(x, axis=(-1, 0), keepdims=True)],
    "max": lambda xp, x: [xp.max(x, keepdims=True), xp.max(x, axis=-2)],
    "indices": lambda xp, x: [xp.argmax(x), xp.argmax(x, axis=1), xp.argmin(x, axis=-1), xp.argsort(x, axis=-2)],
    "std": lambda xp, x: [xp.std(x, axis=1, correction=1.0), xp.var(x), xp.mean(x, axis=2)],
    "all": lambda xp, x: [xp.all(x > 0, axis=0), xp.any(x > 2)],
    "sort": lambda xp, x: [xp.sort(x), xp.sort(x, axis=0), xp.cumulative_sum(x, axis=1)],
    "sums of one axis": lambda xp, x: [xp.cumulative_sum(x[0, 0, :]), xp.cumulative_sum(x[0, 0, :], axis=None)],
    "shapes": lambda xp, x: [
        xp.reshape(x, (-1, 4)),
        xp.reshape(x, (24,)),
        xp.expand_dims(x, axis=0),
        xp.expand_dims(x, axis=-1),
        xp.squeeze(xp.expand_dims(x, axis=1), axis=1),
        xp.permute_dims(x, (2, 0, -2)),
        xp.moveaxis(x, 0, -1),
        xp.matrix_transpose(x),
        x.mT,
        x[0, ...].T,
    ],
    "broadcast": lambda xp, x: [xp.broadcast_to(x, (5, 2, 3, 4)), xp.broadcast_arrays(x, x[0, 0, :])],
    "flip": lambda xp, x: [xp.flip(x), xp.flip(x, axis=0), xp.flip(x, axis=(0, -1))],
    "roll": lambda xp, x: [xp.roll(x, 1), xp.roll(x, 2, axis=1), xp.roll(x, (1, 1), axis=(0, 2))],
    "tile": lambda xp, x: [xp.tile(x, (2,)), xp.tile(x, (2, 1, 1, 3)), xp.repeat(x, 2), xp.repeat(x, 2, axis=0)],
    "join": lambda xp, x: [xp.concat([x, x + 1], axis=-1), xp.concat([x, x], axis=None), xp.stack([x, x], axis=1)],
    "join what is the same": lambda xp, x: [xp.concat([x[0, 0, :], xp.ones(2, dtype=x.dtype, device=x.device)])],
    "parts": lambda xp, x: [x[0, ...], x[..., 1], x[:, None, 1:, ::2], *xp.unstack(x, axis=1)],
    "elementwise": lambda xp, x: [
        x + x[0, 0, :],
        2 - x,
        x[0, ...] / (1 + x * x),
        2.0**x,
        xp.where(x > 0, x, 0.0),
        xp.maximum(x, x[0, ...]),
        -abs(x),
        (x > 0) & ~(x < 1),
        xp.astype(x > 0, x.dtype),
        xp.clip(x, -0.5, 0.5),
        xp.clip(x, min=x[0, ...], max=x[0, ...] + 1),
    ],
    "products": lambda xp, x: [
        x @ x.mT,
        x[0, ...] @ x[0, 0, :],
        x[0, 0, :] @ x.mT,
        x[0, 0, :] @ x[1, 0, :],
        x @ x[0, ...].mT,
        xp.tensordot(x, x, axes=([2, 0], [2, 0])),
        xp.tensordot(x[0, ...], x[0, ...].T, axes=1),
        xp.vecdot(x, x[0, ...]),
        xp.tensordot(x[0, :0, :], x[0, :0, :], axes=((0,), (0,))),
        x[:, :0, :] @ xp.matrix_transpose(x[:, :0, :]),
    ],
    "like": lambda xp, x: [xp.zeros_like(x), xp.full_like(x, 2.0), xp.asarray(x, copy=True), xp.tril(x)],
    "what does not depend on x": lambda xp, x: [xp.arange(3), xp.zeros((2, x.shape[0]), dtype=x.dtype), 5, None],
    "size": lambda xp, x: [x.ndim, tuple(x.shape)],
}


@pytest.mark.only("numpy", "strict", "torch", "cupy")
@pytest.mark.parametrize("name", UNARY)
def test_functions_of_the_standard(lib, name):
    if (lib.name, name) == ("strict-no_x64", "indices"):
        pytest.skip("argmax of array-api-strict makes int64, which this device does not have")
    x = lib.asarray(X)
    function = UNARY[name]
    found = vmap(lambda x: function(xp_of(x), x))(x)
    expected = [function(lib.xp, x[i, ...]) for i in range(CALLS)]
    agree(lib, found, stacked(expected), lib.rtol)


def test_take(lib):
    x, ids = lib.asarray(X), lib.asarray(IDS)

    def function(x, ids):
        xp = xp_of(x)
        return xp.take(x, ids, axis=0), xp.take(x, ids, axis=1), xp.take(x[0, 0, :], ids), xp.take(x, ids, axis=-1)

    pairs = [(x[i, ...], ids[i, ...]) for i in range(CALLS)]
    agree(lib, vmap(function)(x, ids), stacked([function(*pair) for pair in pairs]))
    small = lib.asarray(IDS.astype("int8"))
    agree(lib, vmap(lambda x, ids: xp_of(x).take(x, ids - 2, axis=0))(x, small), vmap(function)(x, ids)[0])
    expected = stacked([function(x[i, ...], ids[0, ...]) for i in range(CALLS)])
    agree(lib, vmap(function, in_axes=(0, None))(x, ids[0, ...]), expected)
    expected = stacked([function(x[0, ...], ids[i, ...]) for i in range(CALLS)])
    agree(lib, vmap(function, in_axes=(None, 0))(x[0, ...], ids), expected)


@pytest.mark.only("numpy")
@pytest.mark.parametrize("shift", [2, -3])
def test_take_does_not_read_the_values_of_another_call(lib, shift):
    with pytest.raises(IndexError):
        vmap(lambda x, ids: xp_of(x).take(x, ids + shift, axis=0))(lib.asarray(X), lib.asarray(IDS))


@pytest.mark.only("numpy")
def test_take_with_many_calls_and_short_indices(lib):
    x, ids = np.arange(600.0).reshape(300, 2), np.ones((300, 1), dtype="int8")
    np.testing.assert_array_equal(vmap(lambda x, ids: xp_of(x).take(x, ids))(x, ids), x[:, 1:])


OPTIMIZERS = [
    SGD(0.1),
    Momentum(0.1),
    Adam(CosineDecay(0.01, steps=9), clip_norm=1.0, weight_decay=0.1),
    AdamW(0.01),
]


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=[type(o).__name__ for o in OPTIMIZERS])
@pytest.mark.parametrize("name", STACKS)
def test_a_step_for_many_networks(lib, name, optimizer):
    slow = {"jax": ("images", Momentum), "dask": ("book", Adam)}
    case = name, type(optimizer)
    if slow.get(lib.name, case) != case:
        pytest.skip("one case is enough on a slow library")
    net, x, t = problem(name, max(lib.dtypes), count=8, lib=lib)
    masks = {k: lib.asarray(m) for k, m in net.stack.draw(np.random.default_rng(0), tuple(x.shape)).items()}
    calls = varied(lib, (net.params, optimizer.init(net.params), net.state))
    step = step_of(net.stack, optimizer)
    expected = stacked([step(*call, x, t, masks) for call in calls])
    found = vmap(step, in_axes=(0, 0, 0, None, None, None))(*stacked(calls), x, t, masks)
    agree(lib, found, expected, 1e-6 if "float64" in lib.dtypes else 1e-3)
    program = trace(vmap(step, in_axes=(0, 0, 0, None, None, None)), *stacked(calls), x, t, masks)
    agree(lib, program(*stacked(calls), x, t, masks), found, 0)


@pytest.mark.only("jax")
def test_vmap_agrees_with_that_of_jax_and_is_compiled(lib):
    import jax

    x, w = lib.asarray(X[:, 0]), lib.asarray(X[0, 0].T)

    def function(x, w):
        return softmax(x @ w)

    expected = jax.vmap(function, in_axes=(0, None))(x, w)
    agree(lib, jax.jit(vmap(function, in_axes=(0, None)))(x, w), expected, lib.rtol)
    agree(lib, jax.vmap(vmap(function, in_axes=(0, None)), in_axes=(None, 0))(x, w[None, ...])[0], expected, lib.rtol)


@pytest.mark.only("numpy", "strict", "torch", "cupy")
def test_vmap_of_vmap(lib):
    x = lib.asarray(X)
    expected = stacked([stacked([softmax(x[i, k, ...]) for k in range(2)]) for i in range(CALLS)])
    agree(lib, vmap(vmap(softmax))(x), expected, lib.rtol)


def test_an_array_of_outside_is_the_same_in_all_calls(lib):
    x = lib.asarray(X)
    agree(lib, vmap(lambda row: row + x[0, ...])(x), x + x[None, 0, ...])
    agree(lib, vmap(lambda row: x[0, ...])(x), lib.xp.broadcast_to(x[None, 0, ...], x.shape))


@pytest.mark.only("numpy", "strict", "torch", "cupy")
def test_no_calls(lib):
    x = lib.asarray(X)[:0, ...]
    found = vmap(lambda x: (softmax(x), xp_of(x).sum(x), xp_of(x).reshape(x, (6, 4)), x[0, ...] @ x.mT))(x)
    assert [tuple(a.shape) for a in found] == [(0, 2, 3, 4), (0,), (0, 6, 4), (0, 2, 3, 3)]


@pytest.mark.only("numpy")
def test_operators_that_assign(lib):
    def function(x):
        x += 1
        x *= x
        return x

    agree(lib, vmap(function)(lib.asarray(X)), (X + 1) ** 2)
    agree(lib, lib.asarray(X), X)


@pytest.mark.only("numpy")
@pytest.mark.parametrize(
    ("function", "error", "match"),
    [
        (lambda x: float(x), BatchingError, "float of an array of shape .*xp.where"),
        (lambda x: x if x[0, 0, 0] > 0 else -x, BatchingError, "bool of an array of shape"),
        (lambda x: xp_of(x).nonzero(x), BatchingError, "nonzero cannot be computed for many inputs"),
        (lambda x: x[xp_of(x).argmax(x[0, 0, :])], BatchingError, "use xp.take or xp.where"),
        (lambda x: x.tolist(), AttributeError, "tolist"),
        (
            lambda x: TwoLayerNet(4, 3, 2).predict(x[0, ...]),
            TypeError,
            "is not an argument .*pass each array as an arg",
        ),
        (lambda x: xp_of(x).linalg.inv(x), BatchingError, "linalg.inv cannot be computed for many inputs"),
        (lambda x: xp_of(x).asarray([x[0, 0, 0]]), BatchingError, "asarray can be .* if one argument, the first, is"),
        (lambda x: xp_of(x).diff(x, prepend=x), BatchingError, "diff can be .* if one argument, the first, is"),
        (lambda x: x[0, :, np.asarray([0, 1])], BatchingError, "on both sides of a slice, None or ...; use xp.take"),
    ],
)
def test_what_cannot_be_done_for_many_inputs_is_named(lib, function, error, match):
    with pytest.raises(error, match=match):
        vmap(function)(lib.asarray(X))


@pytest.mark.only("numpy")
@pytest.mark.parametrize(
    ("function", "match"),
    [
        (lambda xp, x: xp.cumulative_sum(x), "pass axis"),
        (lambda xp, x: xp.take(x, np.asarray([0]), axis=3), "range"),
        (lambda xp, x: xp.take(x, x[0, 0, 0] > 0, axis=0), r"the indices must have one axis, got shape \(\)"),
        (lambda xp, x: xp.permute_dims(x, (0, 1, 5)), "axis 5 is out of range"),
        (lambda xp, x: x.T, r"x.T needs a matrix, got an array of shape \(2, 3, 4\)"),
        (lambda xp, x: x[0, 0, :].mT, r"an array of shape \(4,\) is not a matrix"),
        (lambda xp, x: xp.tril(x[0, 0, :]), r"an array of shape \(4,\) is not a matrix"),
        (lambda xp, x: x[0, 0, 0] @ x[0, 0, :1], "matmul needs arrays with one axis or more"),
        (lambda xp, x: x @ 2, "matmul needs arrays"),
        (lambda xp, x: xp.vecdot(x, x, axis=-4), "vecdot: axis must be negative, and an axis of both"),
        (lambda xp, x: xp.vecdot(x, x, axis=0), "vecdot: axis must be negative"),
        (lambda xp, x: xp.tensordot(x[0, ...], x[0, ...].T, axes=2), "differ in length"),
    ],
)
def test_the_axis_of_the_calls_is_never_one_of_the_axes(lib, function, match):
    with pytest.raises((ValueError, IndexError), match=match):
        vmap(lambda x: function(xp_of(x), x))(lib.asarray(X))


def test_axes_that_do_not_fit_are_refused(lib):
    x = lib.asarray(X)
    with pytest.raises(ValueError, match=r"vmap: the first axes of the arrays have the lengths \[2, 3\]"):
        vmap(lambda x, y: x)(x, x[:2, ...])
    with pytest.raises(ValueError, match="vmap: no array has an axis for the calls"):
        vmap(lambda x: x, in_axes=None)(x)
    with pytest.raises(ValueError, match="vmap: in_axes has 1 entries for 2 arguments"):
        vmap(lambda x, y: x, in_axes=(0,))(x, x)
    with pytest.raises(ValueError, match="vmap: in_axes must be 0, None, .*got 1"):
        vmap(lambda x: x, in_axes=1)(x)
    with pytest.raises(ValueError, match=r"vmap: in_axes has \(0, None\) for an array; it must be 0 or None"):
        vmap(lambda x, y: x, in_axes=(0, (0, None)))(x, x)
    with pytest.raises(ValueError, match=r"in_axes has the keys \['b'\] for a dict with the keys \['a'\]"):
        vmap(lambda x: x, in_axes=({"b": 0},))({"a": x})
    with pytest.raises(ValueError, match="in_axes has 1 entries for a list of 2"):
        vmap(lambda x: x, in_axes=((0,),))([x, x])

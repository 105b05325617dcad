"""Optimizers: their paths against those of PyTorch, optax and the book; state, purity, clipping, errors."""

import math
import subprocess
import sys
import warnings
from dataclasses import dataclass, replace
from functools import cache
from typing import ClassVar

import numpy as np
import pytest
from conftest import needs
from hypothesis import given, strategies as st
from hypothesis.extra import numpy as hnp
from lion import Lion

import xpnet
from xpnet._array import dtype_name, index_dtype
from xpnet.optim.optimizers import SGD, AdaGrad, Adam, AdamW, Momentum, Nesterov, Optimizer, RMSprop
from xpnet.optim.schedules import CosineDecay, StepDecay, WarmUp
from xpnet.training.describing import to_plain

RNG = np.random.default_rng(0)
X, T = RNG.normal(size=(8, 3)), RNG.uniform(-0.9, 0.9, size=(8, 2))
START = {"W1": RNG.normal(size=(3, 2)), "b1": RNG.normal(size=2)}
UPDATES = 45
FEWER_UPDATES = 12
"""On a lazy library, unless the learning rate is `WARM`."""
NARROW_UPDATES = 10
"""In dtypes other than the widest, which differ by their rounding alone."""

COSINE = CosineDecay(0.3, steps=40, final=0.05)
WARM = WarmUp(10, StepDecay(0.02, every=15, factor=0.5))

OPTIMIZERS = {
    "sgd": SGD(0.3),
    "sgd-decay": SGD(0.3, weight_decay=0.2),
    "sgd-clip": SGD(0.3, clip_norm=0.1),
    "sgd-clip-decay": SGD(0.3, weight_decay=0.2, clip_norm=0.1),
    "sgd-cosine": SGD(COSINE),
    "momentum": Momentum(0.1),
    "momentum-0": Momentum(0.1, momentum=0.0),
    "momentum-decay-cosine": Momentum(COSINE, momentum=0.5, weight_decay=0.2),
    "nesterov": Nesterov(0.1),
    "nesterov-decay-clip": Nesterov(0.1, momentum=0.7, weight_decay=0.2, clip_norm=0.1),
    "adagrad": AdaGrad(0.2),
    "adagrad-eps-0": AdaGrad(0.2, eps=1e-30),
    "adagrad-decay": AdaGrad(0.2, eps=1e-3, weight_decay=0.2),
    "rmsprop": RMSprop(0.01),
    "rmsprop-decay": RMSprop(0.02, decay_rate=0.5, eps=1e-2, weight_decay=0.2),
    "rmsprop-0-cosine": RMSprop(COSINE, decay_rate=0.0, eps=1e-2),
    "adam": Adam(0.05),
    "adam-betas": Adam(0.02, beta1=0.5, beta2=0.9, eps=1e-2),
    "adam-betas-0": Adam(0.02, beta1=0.0, beta2=0.0, eps=1e-2),
    "adam-decay-clip": Adam(0.05, weight_decay=0.2, clip_norm=0.1),
    "adamw": AdamW(0.05),
    "adamw-no-decay": AdamW(0.05, weight_decay=0.0),
    "adamw-decay-clip-warm": AdamW(WARM, weight_decay=0.3, clip_norm=0.1),
}
optimizers = pytest.mark.parametrize("name", OPTIMIZERS)
CLASSES = [SGD, Momentum, Nesterov, AdaGrad, RMSprop, Adam, AdamW]


def gradient(xp, params, x, t):
    """Of the mean squared error of one layer with tanh: neither convex nor flat."""
    y = xp.tanh(x @ params["W1"] + params["b1"])
    dz = 2 * (y - t) * (1 - y * y) / 8
    return {"W1": x.T @ dz, "b1": xp.sum(dz, axis=0)}


def host_of(lib, arrays):
    return {name: lib.numpy(a) for name, a in arrays.items()}


def given_in(lib, arrays, dtype):
    return {name: lib.asarray(a, dtype) for name, a in arrays.items()}


def step_of(lib, optimizer, dtype):
    """One update on the layer above, as the library runs it fast."""
    x, t = lib.asarray(X, dtype), lib.asarray(T, dtype)

    def step(params, state):
        with lib.here:
            return optimizer.update(params, gradient(lib.xp, params, x, t), state)

    return lib.backend.compile(step)


def updates_in(lib, name, dtype):
    if dtype != max(lib.dtypes):
        return NARROW_UPDATES
    if not lib.lazy:
        return UPDATES
    return 27 if OPTIMIZERS[name].lr is WARM else FEWER_UPDATES  # WARM halves the rate after 25 updates


@cache
def path(lib, name, dtype, updates=None):
    """Parameters on the host after each update, and parameters and state after the last."""
    updates = updates or updates_in(lib, name, dtype)
    params = given_in(lib, START, dtype)
    state, step = OPTIMIZERS[name].init(params), step_of(lib, OPTIMIZERS[name], dtype)
    visited = []
    for _ in range(updates):
        params, state = step(params, state)
        visited.append(host_of(lib, params))
    return visited, params, state


def same_path(visited, expected, rtol, atol):
    assert len(expected) == UPDATES
    for update, (found, known) in enumerate(zip(visited, expected, strict=False), 1):
        assert found.keys() == known.keys()
        for key in known:
            where = f"{key}, update {update}"
            np.testing.assert_allclose(found[key], known[key], rtol=rtol, atol=atol, err_msg=where)


def check_path(lib, name, expected):
    if "float64" in lib.dtypes:
        same_path(path(lib, name, "float64")[0], expected, rtol=1e-12, atol=1e-14)
    same_path(path(lib, name, "float32")[0], expected, rtol=1e-4, atol=1e-5)


# Against PyTorch


def built(theirs, library, ours):
    """The optimizer of another library that is like ours; the test is skipped if that library has none."""
    if type(ours) not in theirs:
        pytest.skip(f"{library} has no {type(ours).__name__}")
    return theirs[type(ours)]()


@cache
def of_torch(name, updates):
    """The path of `torch.optim`, and its state after it."""
    import torch

    ours = OPTIMIZERS[name]
    params = {key: torch.from_numpy(p.copy()) for key, p in START.items()}
    more = {"lr": 0.1, "weight_decay": ours.weight_decay}  # the learning rate is set before each update
    theirs = {
        SGD: lambda: torch.optim.SGD(params.values(), **more),
        Momentum: lambda: torch.optim.SGD(params.values(), momentum=ours.momentum, **more),
        Nesterov: lambda: torch.optim.SGD(params.values(), momentum=ours.momentum, nesterov=True, **more),
        AdaGrad: lambda: torch.optim.Adagrad(params.values(), eps=ours.eps, **more),
        RMSprop: lambda: torch.optim.RMSprop(params.values(), alpha=ours.decay_rate, eps=ours.eps, **more),
        Adam: lambda: torch.optim.Adam(params.values(), betas=(ours.beta1, ours.beta2), eps=ours.eps, **more),
        AdamW: lambda: torch.optim.AdamW(params.values(), betas=(ours.beta1, ours.beta2), eps=ours.eps, **more),
    }
    theirs = built(theirs, "torch.optim", ours)
    visited = []
    for i in range(updates):
        gradients = gradient(np, {key: p.numpy() for key, p in params.items()}, X, T)
        for key, p in params.items():
            p.grad = torch.from_numpy(gradients[key])
        if ours.clip_norm is not None:  # without their 1e-6
            norm = torch.nn.utils.get_total_norm([p.grad for p in params.values()])
            for p in params.values():
                p.grad *= ours.clip_norm / max(norm, ours.clip_norm)
        theirs.param_groups[0]["lr"] = ours.lr(i) if callable(ours.lr) else ours.lr
        theirs.step()
        visited.append({key: p.numpy().copy() for key, p in params.items()})
    return visited, {key: theirs.state[p] for key, p in params.items()}


@needs("torch")
@optimizers
def test_the_path_is_pytorchs(lib, name):
    check_path(lib, name, of_torch(name, UPDATES)[0])


@needs("torch")
@pytest.mark.parametrize("name", [name for name in OPTIMIZERS if name != "momentum-0"])  # theirs keeps nothing there
def test_the_state_is_pytorchs_by_other_names(lib, name):
    names = {
        SGD: {},
        Momentum: {"v": "momentum_buffer"},
        Nesterov: {"v": "momentum_buffer"},
        AdaGrad: {"h": "sum"},
        RMSprop: {"h": "square_avg"},
        Adam: {"m": "exp_avg", "v": "exp_avg_sq"},
        AdamW: {"m": "exp_avg", "v": "exp_avg_sq"},
    }
    dtype, tolerance = ("float64", 1e-11) if "float64" in lib.dtypes else ("float32", 1e-3)
    updates = updates_in(lib, name, dtype)
    theirs, names = of_torch(name, updates)[1], names[type(OPTIMIZERS[name])]
    state = host_of(lib, path(lib, name, dtype)[2])
    expected = {f"{ours}.{key}": theirs[key][their].numpy() for ours, their in names.items() for key in START}
    if "step" in state:
        expected["step"] = updates
    assert state.keys() == expected.keys()
    for key, value in expected.items():
        np.testing.assert_allclose(state[key], value, rtol=tolerance, atol=1e-3 * tolerance, err_msg=key)


@needs("torch")
def test_clipping_is_pytorchs_up_to_its_1e_6():
    import torch

    gradients = gradient(np, START, X, T)
    params = [torch.zeros(g.shape, dtype=torch.float64, requires_grad=True) for g in gradients.values()]
    for p, g in zip(params, gradients.values(), strict=True):
        p.grad = torch.from_numpy(g.copy())
    norm = float(torch.nn.utils.clip_grad_norm_(params, 0.1))
    assert norm > 0.1
    found, _ = SGD(1.0, clip_norm=0.1).update({key: 0 * g for key, g in gradients.items()}, gradients, {})
    for p, after in zip(params, found.values(), strict=True):
        np.testing.assert_allclose(-after, p.grad.numpy() * (norm + 1e-6) / norm, rtol=1e-14)


# Against optax


@cache
def of_optax(name):
    """The path of optax, in 64 bits."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what libraries say when they are first imported
        import jax
        import optax

    ours = OPTIMIZERS[name]
    line = optax.linear_schedule(0.0, 0.02, 10)
    fall = optax.exponential_decay(0.02, transition_steps=15, decay_rate=0.5, staircase=True)
    warm = optax.join_schedules([line, fall], [10])
    lr = {
        COSINE: optax.cosine_decay_schedule(0.3, 40, alpha=0.05 / 0.3),
        WARM: lambda count: warm(count.astype("int64")),  # optax counts in int32, which divides to float32
    }.get(ours.lr, ours.lr)
    adam = {} if not isinstance(ours, Adam) else {"b1": ours.beta1, "b2": ours.beta2, "eps": ours.eps}
    theirs = {
        SGD: lambda: optax.sgd(lr),
        Momentum: lambda: optax.sgd(lr, momentum=ours.momentum),
        Nesterov: lambda: optax.sgd(lr, momentum=ours.momentum, nesterov=True),
        AdaGrad: lambda: optax.adagrad(lr, initial_accumulator_value=0.0, eps=ours.eps),
        RMSprop: lambda: optax.rmsprop(lr, decay=ours.decay_rate, eps=ours.eps, eps_in_sqrt=False),
        Adam: lambda: optax.adam(lr, **adam),
        AdamW: lambda: optax.adamw(lr, weight_decay=ours.weight_decay, **adam),
    }
    theirs = built(theirs, "optax", ours)
    before = [optax.clip_by_global_norm(ours.clip_norm)] if ours.clip_norm is not None else []
    if not isinstance(ours, AdamW):
        before.append(optax.add_decayed_weights(ours.weight_decay))
    theirs = optax.chain(*before, theirs)

    @jax.jit
    def step(params, state):
        changes, state = theirs.update(gradient(jax.numpy, params, X, T), state, params)
        return optax.apply_updates(params, changes), state

    with jax.enable_x64(True):
        params = jax.tree.map(jax.numpy.asarray, START)
        state, visited = theirs.init(params), []
        for _ in range(UPDATES):
            params, state = step(params, state)
            visited.append(jax.tree.map(np.asarray, params))
    return visited


# optax has AdaGrad's eps under the root: the same only where it is next to nothing.
@needs("optax")
@pytest.mark.only("numpy", "strict", "torch", "jax", "cupy")  # Dask's, which is slow, is PyTorch's
@pytest.mark.parametrize("name", [name for name in OPTIMIZERS if name not in ("adagrad", "adagrad-decay")])
def test_the_path_is_that_of_optax(lib, name):
    expected = of_optax(name)
    assert expected[0]["W1"].dtype == np.float64
    check_path(lib, name, expected)


# Against the book: its valley, x²/20 + y² from (-7, 2), and its formulas


def valley(p):
    return p * np.asarray([0.1, 2.0])


def book_sgd(p, g, _, lr=0.95):
    return p - lr * g, None


def book_momentum(p, g, v, lr=0.1, momentum=0.9):
    v = momentum * v - lr * g
    return p + v, v


def book_nesterov(p, g, v, lr=0.1, momentum=0.9):
    """With the velocity before the update in the step."""
    p = p + momentum * momentum * v - (1 + momentum) * lr * g
    return p, momentum * v - lr * g


def book_adagrad(p, g, h, lr=1.5):
    h = h + g**2
    return p - lr * g / (np.sqrt(h) + 1e-7), h


def book_rmsprop(p, g, h, lr=0.1, decay_rate=0.99):
    h = decay_rate * h + (1 - decay_rate) * g**2
    return p - lr * g / (np.sqrt(h) + 1e-7), h


def book_adam(p, g, mvt, lr=0.3, beta1=0.9, beta2=0.999):
    m, v, t = mvt if isinstance(mvt, tuple) else (0.0, 0.0, 0)
    t += 1
    m, v = m + (1 - beta1) * (g - m), v + (1 - beta2) * (g**2 - v)
    return p - lr * np.sqrt(1 - beta2**t) / (1 - beta1**t) * m / (np.sqrt(v) + 1e-7), (m, v, t)


@pytest.mark.only("numpy", "strict", "torch", "jax", "cupy")  # Dask's, which is slow, is PyTorch's
@pytest.mark.parametrize(
    ("at", "book"),
    [
        (lambda t: SGD(0.95), book_sgd),
        (lambda t: Momentum(0.1), book_momentum),
        (lambda t: Nesterov(0.1), book_nesterov),
        (lambda t: AdaGrad(1.5, eps=1e-7), book_adagrad),
        (lambda t: RMSprop(0.1, eps=1e-7), book_rmsprop),
        (lambda t: Adam(0.3, eps=1e-7 / math.sqrt(1 - 0.999**t)), book_adam),
    ],
    ids=["sgd", "momentum", "nesterov", "adagrad", "rmsprop", "adam"],
)
def test_in_the_books_valley_the_path_is_that_of_its_formulas(lib, at, book):
    p, memory = np.asarray([-7.0, 2.0]), 0.0
    params = {"p": lib.asarray(p)}
    state = at(1).init(params)
    for t in range(1, 31):
        params, state = at(t).update(params, {"p": lib.asarray(valley(lib.numpy(params["p"])))}, state)
        p, memory = book(p, valley(p), memory)
        np.testing.assert_allclose(lib.numpy(params["p"]), p, rtol=10 * lib.rtol, atol=lib.rtol)
    assert p[0] ** 2 / 20 + p[1] ** 2 < 0.2 * (49 / 20 + 4)


# State


@optimizers
def test_the_state_is_flat_and_like_the_parameters(lib, name):
    for dtype in lib.dtypes:
        optimizer, params = OPTIMIZERS[name], given_in(lib, START, dtype)
        first = optimizer.init(params)
        last = path(lib, name, dtype)[2]
        counter = {"step"} if isinstance(optimizer, Adam) or callable(optimizer.lr) else set()
        assert first.keys() == {f"{kind}.{key}" for kind in optimizer.state_names for key in START} | counter
        assert last.keys() == first.keys()
        for key in first:
            for a, steps in ((first[key], 0), (last[key], updates_in(lib, name, dtype))):
                assert lib.holds(a)
                assert type(a) is type(params["W1"])
                if key == "step":
                    assert a.dtype == index_dtype(lib.xp, lib.device)
                    assert lib.numpy(a) == steps
                    assert a.shape == ()
                else:
                    assert a.dtype == params["W1"].dtype
                    assert a.shape == params[key.partition(".")[2]].shape
                    assert bool(np.any(lib.numpy(a))) is (steps > 0)


@optimizers
def test_the_dtype_of_the_parameters_stays(lib, name):
    for dtype in lib.dtypes:
        visited, params, _ = path(lib, name, dtype, updates=3)
        for key, p in params.items():
            assert lib.holds(p)
            assert visited[0][key].dtype == visited[-1][key].dtype == dtype
            assert p.shape == START[key].shape


@optimizers
def test_an_update_changes_none_of_its_arguments_and_keeps_nothing(lib, name):
    optimizer, dtype = OPTIMIZERS[name], max(lib.dtypes)
    _, params, state = path(lib, name, dtype, updates=3)
    params, state = ({key: lib.asarray(lib.numpy(a)) for key, a in part.items()} for part in (params, state))
    gradients = given_in(lib, gradient(np, START, X, T), dtype)
    before = [{key: lib.numpy(a).copy() for key, a in part.items()} for part in (params, gradients, state)]
    results = [optimizer.update(params, gradients, state) for _ in range(2)]
    for part, old in zip((params, gradients, state), before, strict=True):
        assert part.keys() == old.keys()
        for key in part:
            np.testing.assert_array_equal(lib.numpy(part[key]), old[key])
    for once, again in zip(*results, strict=True):
        assert once.keys() == again.keys()
        for key in once:
            np.testing.assert_array_equal(lib.numpy(once[key]), lib.numpy(again[key]))
    assert any(np.any(lib.numpy(p) != before[0][key]) for key, p in results[0][0].items())


@optimizers
def test_a_run_can_be_moved_to_numpy_and_go_on(lib, name):
    optimizer, dtype = OPTIMIZERS[name], max(lib.dtypes)
    params = given_in(lib, START, dtype)
    state, step, updates = optimizer.init(params), step_of(lib, optimizer, dtype), updates_in(lib, name, dtype)
    for _ in range(updates // 2):
        params, state = step(params, state)
    params, state = host_of(lib, params), host_of(lib, state)
    x, t = X.astype(dtype), T.astype(dtype)
    for _ in range(updates // 2, updates):
        params, state = optimizer.update(params, gradient(np, params, x, t), state)
    for key, p in host_of(lib, path(lib, name, dtype)[1]).items():
        assert params[key].dtype == dtype
        np.testing.assert_allclose(params[key], p, rtol=100 * lib.rtol, atol=lib.rtol)


@pytest.mark.only("jax")
@optimizers
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_under_jit_and_scan_it_is_the_plain_loop(lib, name, dtype):
    import jax

    optimizer, params = OPTIMIZERS[name], given_in(lib, START, dtype)
    x, t = lib.asarray(X, dtype), lib.asarray(T, dtype)

    @jax.jit
    def run(carry):
        def step(carry, _):
            params, state = carry
            return optimizer.update(params, gradient(lib.xp, params, x, t), state), params

        return jax.lax.scan(step, carry, length=UPDATES)[0]

    carry = params, optimizer.init(params)
    for _ in range(UPDATES):  # not compiled
        carry = optimizer.update(carry[0], gradient(lib.xp, carry[0], x, t), carry[1])
    scanned = run((params, optimizer.init(params)))
    for found, expected in zip(jax.tree.leaves(scanned), jax.tree.leaves(carry), strict=True):
        assert found.dtype == expected.dtype
        tolerance = {"float32": 1e-4, "float64": 1e-11}[dtype]
        np.testing.assert_allclose(found, expected, rtol=tolerance, atol=0.01 * tolerance)


@pytest.mark.only("jax", "torch")
@pytest.mark.parametrize("name", ["sgd-clip-decay", "nesterov", "adagrad", "rmsprop", "adamw-decay-clip-warm"])
def test_vmap_over_many_problems_is_one_after_the_other(lib, name):
    optimizer, gradients = OPTIMIZERS[name], gradient(np, START, X, T)

    def one(params, gradients):
        state = optimizer.init(params)
        for _ in range(3):
            params, state = optimizer.update(params, gradients, state)
        return params

    def scaled(arrays, convert):
        return {key: convert(np.stack([a, 2 * a, 0.1 * a])) for key, a in arrays.items()}

    if lib.backend.name == "jax":
        import jax

        vmapped = jax.vmap(one)
    else:
        import torch

        vmapped = torch.func.vmap(one)
    found = vmapped(scaled(START, lib.asarray), scaled(gradients, lib.asarray))
    params, gradients = scaled(START, np.asarray), scaled(gradients, np.asarray)
    for i in range(3):
        expected = one({key: p[i] for key, p in params.items()}, {key: g[i] for key, g in gradients.items()})
        for key, p in expected.items():
            np.testing.assert_allclose(lib.numpy(found[key])[i], p, rtol=1e-12)


IN_32_BITS = """
import jax, jax.numpy as jnp, numpy as np
from xpnet.optim.optimizers import AdamW, SGD
from xpnet.optim.schedules import CosineDecay, WarmUp

optimizer = AdamW(WarmUp(5, CosineDecay(0.1, steps=50)), weight_decay=0.1, clip_norm=1.0)

def run(xp):
    params = {"W": xp.asarray([1.0, -2.0], dtype=xp.float32)}
    state = optimizer.init(params)
    def step(carry, _):
        params, state = carry
        return optimizer.update(params, {"W": 3 * params["W"]}, state), 0
    if xp is jnp:
        return jax.jit(lambda carry: jax.lax.scan(step, carry, length=40)[0])((params, state))
    carry = params, state
    for _ in range(40):
        carry, _ = step(carry, 0)
    return carry

(params, state), (expected, _) = run(jnp), run(np)
assert (params["W"].dtype, state["m.W"].dtype, state["step"].dtype) == ("float32", "float32", "int32")
assert state["step"] == 40
np.testing.assert_allclose(params["W"], expected["W"], rtol=1e-5)
"""


@pytest.mark.only("jax")
def test_jax_without_64_bits_is_no_different(lib):
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", IN_32_BITS], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr


# Plain SGD


class Recorded:
    """Stands for an array, and writes down what is done with it."""

    def __init__(self, done):
        self.done = done

    def __rmul__(self, other):
        self.done.append(("mul", other))
        return self

    def __sub__(self, other):
        self.done.append("sub")
        return self


def test_plain_sgd_multiplies_and_subtracts_and_does_nothing_else():
    done, optimizer = [], SGD(0.1)
    params = {key: Recorded(done) for key in ("W1", "b1")}
    state: dict[str, object] = {}
    _, after = optimizer.update(params, params, state)
    assert done == [("mul", 0.1), "sub"] * 2
    assert after is state


@pytest.mark.parametrize("optimizer", [SGD(COSINE), SGD(0.3, weight_decay=1e-30), SGD(0.3, clip_norm=1e30)])
def test_sgd_with_options_that_change_nothing_is_plain_sgd(lib, optimizer):
    params, gradients = (given_in(lib, arrays, max(lib.dtypes)) for arrays in (START, gradient(np, START, X, T)))
    plain, _ = SGD(0.3).update(params, gradients, {})
    found, state = optimizer.update(params, gradients, optimizer.init(params))
    assert state.keys() == ({"step"} if callable(optimizer.lr) else set())
    for key in START:
        np.testing.assert_array_equal(lib.numpy(found[key]), lib.numpy(plain[key]))


# Precision


def test_adam_makes_up_for_its_start_at_zero_to_rounding_in_every_dtype(lib):
    """1 - 0.999 in float32 would be off by 1e-5."""
    for dtype in lib.dtypes:
        p, g = lib.asarray([0.0, 0.0, 0.0], dtype), lib.asarray([1e-3, -2.0, 30.0], dtype)
        optimizer = Adam(1.0, eps=1e-30)
        state = optimizer.init({"p": p})
        for _ in range(3):  # the same gradient each time: m̂ = g and v̂ = g²
            before = lib.numpy(p)
            params, state = optimizer.update({"p": p}, {"p": g}, state)
            p = params["p"]
            tolerance = {"float32": 1e-6, "float64": 2e-15}[dtype]
            np.testing.assert_allclose(lib.numpy(p) - before, [-1, 1, -1], rtol=tolerance)


@pytest.mark.parametrize(
    "schedule",
    [COSINE, WARM, StepDecay(0.3, every=1, factor=0.7), lambda step: 0.3],
    ids=["cosine", "warm", "step", "own"],
)
def test_a_schedule_is_the_same_as_its_rates_given_one_by_one(lib, schedule):
    for dtype in lib.dtypes:
        params = constant = given_in(lib, START, dtype)
        state = SGD(schedule).init(params)
        for i in range(15):
            gradients = given_in(lib, {key: np.cos(i + p) for key, p in START.items()}, dtype)
            params, state = SGD(schedule).update(params, gradients, state)
            rate = schedule(i)
            constant = {key: p - rate * gradients[key] for key, p in constant.items()}
        for key, p in params.items():
            tolerance = {"float32": 1e-5, "float64": 1e-14}[dtype]
            np.testing.assert_allclose(lib.numpy(p), lib.numpy(constant[key]), rtol=tolerance, atol=0.1 * tolerance)


def test_a_rate_of_zero_moves_nothing_but_is_remembered(lib):
    params, gradients = (given_in(lib, arrays, None) for arrays in (START, gradient(np, START, X, T)))
    optimizer = AdamW(WarmUp(5, 0.3), weight_decay=0.5)
    found, state = optimizer.update(params, gradients, optimizer.init(params))
    for key in START:
        np.testing.assert_array_equal(lib.numpy(found[key]), lib.numpy(params[key]))
        assert np.all(lib.numpy(state[f"m.{key}"]) != 0)


# Clipping


def clipped(gradients, most):
    """The gradients that plain descent goes by."""
    params = {key: np.zeros_like(g) for key, g in gradients.items()}
    return {key: -p for key, p in SGD(1.0, clip_norm=most).update(params, gradients, {})[0].items()}


def norm_of(gradients):
    return math.sqrt(sum(float(np.sum(np.square(g, dtype=np.float64))) for g in gradients.values()))


@given(
    hnp.arrays(np.float64, (3, 2), elements=st.floats(-1e6, 1e6)),
    hnp.arrays(np.float64, 2, elements=st.floats(-1e6, 1e6)),
    st.floats(1e-3, 1e6),
)
def test_a_clipped_gradient_keeps_its_direction_and_has_no_greater_norm(W, b, most):
    gradients = {"W": W, "b": b}
    found, norm = clipped(gradients, most), norm_of(gradients)
    scale = min(1, most / norm) if norm else 1
    for key, g in gradients.items():
        np.testing.assert_allclose(found[key], scale * g, rtol=1e-12, atol=1e-300)
    assert norm_of(found) <= most * (1 + 1e-12)


def test_the_norm_is_over_all_parameters_and_no_others(lib):
    for dtype in lib.dtypes:
        params = {key: lib.asarray([0.0], dtype) for key in ("W", "b")}
        gradients = {key: lib.asarray([g], dtype) for key, g in (("W", 3.0), ("b", -4.0), ("frozen", 1e6))}
        found, _ = SGD(1.0, clip_norm=1.0).update(params, gradients, {})
        np.testing.assert_allclose([lib.numpy(found[key])[0] for key in ("W", "b")], [-0.6, 0.8], rtol=1e-6)
        assert found.keys() == params.keys()


@pytest.mark.parametrize("of", CLASSES)
def test_a_gradient_of_zeros_stays_one_under_clipping_and_moves_nothing(lib, of):
    for dtype in lib.dtypes:
        params = given_in(lib, START, dtype)
        gradients = {key: lib.asarray(np.zeros_like(p), dtype) for key, p in START.items()}
        optimizer = of(0.1, weight_decay=0.0, clip_norm=0.5)
        found, _ = optimizer.update(params, gradients, optimizer.init(params))
        for key in START:
            np.testing.assert_array_equal(lib.numpy(found[key]), lib.numpy(params[key]))


def test_decay_comes_after_clipping():
    """So that what is clipped is the gradient of the loss alone."""
    found, _ = SGD(1.0, weight_decay=10.0, clip_norm=1.0).update({"p": np.ones(1)}, {"p": np.asarray([5.0])}, {})
    np.testing.assert_array_equal(found["p"], [1 - (1 + 10)])


# An optimizer of one's own


@dataclass(frozen=True)
class HeavySign(Optimizer):
    """The sign of the velocity, and a number of its own per update."""

    state_names: ClassVar[tuple[str, ...]] = ("v",)
    counts: ClassVar[bool] = True

    def scales(self, step):
        return *super().scales(step), 1.0 * (step + 1)

    def rule(self, p, g, lr, t, v):
        v = 0.5 * v + g
        return p - lr / t * np.sign(v), v


def test_an_optimizer_of_ones_own_needs_a_rule_alone():
    optimizer, params = HeavySign(lr=1.0, weight_decay=1.0, clip_norm=0.5), {"p": np.zeros(2)}
    state = optimizer.init(params)
    for _ in range(2):
        params, state = optimizer.update(params, {"p": np.asarray([3.0, -4.0])}, state)
    np.testing.assert_allclose(params["p"], [-0.5, 0.5])
    np.testing.assert_allclose(state["v.p"], 0.5 * np.asarray([0.3, -0.4]) + [0.3 - 1, -0.4 + 1])
    with pytest.raises(TypeError, match="abstract"):
        Optimizer(0.1)


# Options and errors


def test_options_are_plain_floats_whatever_they_come_as():
    """A NumPy scalar among them would widen float32 parameters."""
    params = {"p": np.ones(2, np.float32)}
    for of in CLASSES:
        optimizer = of(np.float64(0.1), weight_decay=np.float32(0.5), clip_norm=1)
        assert {type(value) for value in vars(optimizer).values()} == {float}
        found, _ = optimizer.update(params, params, optimizer.init(params))
        assert found["p"].dtype == np.float32
        assert replace(optimizer, lr=0.2).lr == 0.2
        assert hash(replace(optimizer, lr=COSINE)) != hash(optimizer)


@pytest.mark.parametrize("of", CLASSES)
@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"lr": 0}, ValueError, "lr must be positive and finite, got 0"),
        ({"lr": -0.1}, ValueError, "lr must be positive and finite, got -0.1"),
        ({"lr": math.nan}, ValueError, "lr must be positive and finite, got nan"),
        ({"lr": math.inf}, ValueError, "lr must be positive and finite, got inf"),
        ({"lr": 10**5000}, ValueError, "lr must be positive and finite, got an integer that is too large"),
        ({"lr": True}, TypeError, "lr must be a number, positive and finite; got True"),
        ({"lr": "fast"}, TypeError, r"lr must be a number or a schedule, such as CosineDecay\(.*\), got 'fast'"),
        ({"lr": CosineDecay}, TypeError, "lr must be a number or a schedule, .*, got <class"),
        ({"weight_decay": -1.0}, ValueError, "weight_decay must be finite and not negative, got -1.0"),
        ({"weight_decay": math.nan}, ValueError, "weight_decay must be finite and not negative, got nan"),
        ({"weight_decay": None}, TypeError, "weight_decay must be a number, finite and not negative; got None"),
        ({"clip_norm": 0.0}, ValueError, "clip_norm must be positive and finite, got 0.0"),
        ({"clip_norm": math.inf}, ValueError, "clip_norm must be positive and finite, got inf"),
        ({"clip_norm": "1"}, TypeError, "clip_norm must be a number, positive and finite; got '1'"),
    ],
)
def test_a_bad_option_of_all_is_an_error(of, options, error, message):
    with pytest.raises(error, match=f"^{of.__name__}: {message}"):
        of(**options)


@pytest.mark.parametrize(
    ("of", "option"),
    [(Momentum, "momentum"), (Nesterov, "momentum"), (RMSprop, "decay_rate"), (Adam, "beta1"), (Adam, "beta2")]
    + [(AdamW, "beta1"), (AdamW, "beta2")],
)
@pytest.mark.parametrize("value", [-0.1, 1.0, 2, math.nan])
def test_a_share_outside_of_0_to_1_is_an_error(of, option, value):
    with pytest.raises(ValueError, match=f"^{of.__name__}: {option} must be from 0 to below 1, got {value}"):
        of(**{option: value})


@pytest.mark.parametrize("of", [AdaGrad, RMSprop, Adam, AdamW])
@pytest.mark.parametrize("value", [0.0, -1e-8, math.inf, math.nan])
def test_an_eps_that_is_not_positive_is_an_error(of, value):
    with pytest.raises(ValueError, match=f"^{of.__name__}: eps must be positive and finite, got {value}"):
        of(eps=value)


@pytest.mark.parametrize("of", CLASSES)
def test_parameters_that_do_not_fit_together_are_an_error(lib, of):
    with pytest.raises(ValueError, match=f"{of.__name__}: params is empty; there is nothing to optimize"):
        of().init({})
    with pytest.raises(TypeError, match=rf"{of.__name__}: params\['n'\] must have a real floating dtype, got .*int"):
        of().init({"n": lib.asarray([1, 2])})
    if "float64" in lib.dtypes:
        mixed = {"W": lib.asarray([1.0], "float32"), "b": lib.asarray([1.0], "float64")}
        with pytest.raises(TypeError, match=rf"{of.__name__}: params\['W'\] is .*float32 but params\['b'\] is .*64"):
            of().init(mixed)
    if lib.backend.name != "numpy":
        mixed = {"W": lib.asarray([1.0]), "b": np.asarray([1.0])}
        with pytest.raises(TypeError, match=r"arrays of different libraries: params\['W'\] is .*, params\['b'\] is"):
            of().init(mixed)


def test_a_gradient_of_another_library_is_an_error(lib):
    if lib.backend.name == "numpy":
        return
    params = {"W": lib.asarray([1.0])}
    for optimizer in (AdaGrad(), RMSprop(), Adam()):
        with pytest.raises(TypeError, match="arrays of different libraries: p is .*, g is numpy.ndarray"):
            optimizer.update(params, {"W": np.asarray([1.0])}, optimizer.init(params))


def test_a_parameter_without_a_gradient_is_an_error():
    for optimizer in (SGD(), SGD(clip_norm=1.0), Adam()):
        params = {"W": np.ones(1), "b": np.ones(1)}
        with pytest.raises(KeyError, match="b"):
            optimizer.update(params, {"W": np.ones(1)}, optimizer.init(params))


# The book's form, without state


@optimizers
def test_the_books_form_makes_the_updates_of_the_pure_form(lib, name):
    dtype = lib.dtypes[0]
    x, t, optimizer = lib.asarray(X, dtype), lib.asarray(T, dtype), replace(OPTIMIZERS[name])
    params = given_in(lib, START, dtype)
    pure, state, given = params, optimizer.init(params), dict(params)
    for _ in range(3):
        with lib.here:
            grads = gradient(lib.xp, params, x, t)
        assert optimizer.update(given, grads) is None
        pure, state = optimizer.update(pure, grads, state)
    for ours, theirs in ((given, pure), (optimizer.state, state)):
        assert ours.keys() == theirs.keys()
        for key in theirs:
            np.testing.assert_array_equal(lib.numpy(ours[key]), lib.numpy(theirs[key]))
    for key in START:  # the dict has changed, no array has
        np.testing.assert_array_equal(lib.numpy(params[key]), lib.numpy(lib.asarray(START[key], dtype)))


def test_the_state_of_the_books_form_is_no_option():
    optimizer, new = Adam(0.1), Adam(0.1)
    optimizer.update({"W": np.ones(2)}, {"W": np.ones(2)})
    assert new.state is None
    assert optimizer == new
    assert hash(optimizer) == hash(new)
    assert repr(optimizer) == repr(new)
    assert to_plain(optimizer) == to_plain(new)
    assert replace(optimizer).state is None


@pytest.mark.parametrize("optimizer", [Momentum(0.1), SGD(COSINE), Adam(0.1)])
def test_the_books_form_takes_one_dict_for_each_optimizer(optimizer):
    first, other, grads = {"W": np.ones(2)}, {"W": np.ones(2)}, {"W": np.ones(2)}
    optimizer.update(first, grads)
    with pytest.raises(ValueError, match=rf"^{type(optimizer).__name__}: params is another dict .*; make a"):
        optimizer.update(other, grads)
    assert np.all(other["W"] == 1)
    optimizer.update(first, grads)
    assert optimizer.update(other, grads, optimizer.init(other))[0]["W"].shape == (2,)


def test_sgd_without_state_takes_any_dict():
    optimizer, dicts = SGD(0.5), [{"W": np.ones(2)}, {"W": np.zeros(3)}]
    for params in dicts:
        optimizer.update(params, {"W": params["W"] + 1})
    assert [params["W"].tolist() for params in dicts] == [[0, 0], [-0.5, -0.5, -0.5]]


# An optimizer of one's own: tests/lion.py is all of it


def test_an_optimizer_of_ones_own_is_its_formula(lib):
    rng = np.random.default_rng(0)
    host, m = rng.normal(size=(3, 2)), np.zeros((3, 2))
    optimizer = Lion(lr=StepDecay(0.1, every=2, factor=0.5), beta1=0.5, weight_decay=0.2)
    params = {"W": lib.asarray(host)}
    state = optimizer.init(params)
    assert set(state) == {"m.W", "step"}
    for update in range(4):
        g, lr = rng.normal(size=(3, 2)), 0.1 * 0.5 ** (update // 2)
        params, state = optimizer.update(params, {"W": lib.asarray(g)}, state)
        host = (1 - lr * 0.2) * host - lr * np.sign(0.5 * m + 0.5 * g)
        m = 0.99 * m + 0.01 * g
        np.testing.assert_allclose(lib.numpy(params["W"]), host, rtol=100 * lib.rtol)
        np.testing.assert_allclose(lib.numpy(state["m.W"]), m, rtol=100 * lib.rtol, atol=lib.rtol)


def test_an_optimizer_of_ones_own_trains(lib):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(40, 3)).astype("float32")
    t = (x[:, 0] > x[:, 1]).astype(dtype_name(index_dtype(lib.xp, lib.device)))
    x, t = lib.asarray(x), lib.asarray(t)
    result = xpnet.train(
        ((x, t), (x, t)),
        optimizer=Lion(0.02),
        epochs=2 if lib.lazy else 20,
        batch_size=20,
        hidden_size=8,
        progress=False,
    )
    loss = result.history.loss
    assert loss[-1] < (1.0 if lib.lazy else 0.5) * loss[0]
    assert all(map(lib.holds, result.network.params.values()))


def test_an_optimizer_of_ones_own_checks_its_options():
    with pytest.raises(ValueError, match="^Lion: beta1 must be from 0 to below 1, got 1.0"):
        Lion(beta1=1.0)
    with pytest.raises(ValueError, match="^Lion: lr must be positive and finite, got 0"):
        Lion(lr=0)

"""Schedules: values known by hand, those of PyTorch and optax, and the same from ints, arrays and traced arrays."""

import math
import warnings

import numpy as np
import pytest
from conftest import needs
from hypothesis import given, strategies as st

from xpnet._array import index_dtype
from xpnet.optim.schedules import CosineDecay, StepDecay, WarmUp

STEPS = 25
SCHEDULES = {
    "step": StepDecay(0.3, every=4, factor=0.5),
    "step-every-one": StepDecay(0.3, every=1, factor=0.9),
    "step-constant": StepDecay(0.3, every=2, factor=1.0),
    "cosine": CosineDecay(0.3, steps=20),
    "cosine-final": CosineDecay(0.3, steps=10, final=0.1),
    "cosine-one": CosineDecay(0.3, steps=1, final=0.1),
    "warm-up": WarmUp(5, 0.3),
    "warm-up-one": WarmUp(1, 0.3),
    "warm-up-cosine": WarmUp(5, CosineDecay(0.3, steps=10, final=0.1)),
    "warm-up-step": WarmUp(5, StepDecay(0.3, every=4, factor=0.5)),
    "warm-up-warm-up": WarmUp(5, WarmUp(3, 0.3)),
}
schedules = pytest.mark.parametrize("name", SCHEDULES)
positive = st.floats(1e-6, 1e3)
counts = st.integers(1, 10**6)


def values(schedule, steps=STEPS):
    return [schedule(step) for step in range(steps)]


# Values


def test_values_by_hand():
    assert values(StepDecay(0.5, every=3, factor=0.5), 8) == [0.5] * 3 + [0.25] * 3 + [0.125] * 2
    cosine = [1.0, (2 + math.sqrt(2)) / 4, 0.5, (2 - math.sqrt(2)) / 4, 0.0, 0.0]
    assert values(CosineDecay(1.0, steps=4), 6) == pytest.approx(cosine, rel=1e-14, abs=1e-17)
    assert values(CosineDecay(3.0, steps=2, final=1.0), 4) == pytest.approx([3, 2, 1, 1], rel=1e-15)
    assert values(WarmUp(4, 0.5), 6) == [0, 0.125, 0.25, 0.375, 0.5, 0.5]
    assert values(WarmUp(2, StepDecay(0.5, every=1, factor=0.5)), 5) == [0, 0.25, 0.5, 0.25, 0.125]
    assert values(WarmUp(2, lambda step: 1 / (1 + step)), 5) == [0, 0.5, 1, 1 / 2, 1 / 3]
    assert StepDecay(1.0, every=10)(25) == pytest.approx(0.01)


def test_the_cosine_is_exact_where_it_is_nearly_zero(lib):
    """1 + cos(x) would lose half of the digits, in float32 nearly all."""
    schedule, rtol = CosineDecay(1.0, steps=10_000), 1e-14 if "float64" in lib.dtypes else 1e-6
    expected = math.sin(math.pi / 20_000) ** 2
    assert schedule(9_999) == pytest.approx(expected, rel=1e-14)
    np.testing.assert_allclose(lib.numpy(schedule(lib.asarray(9_999))), expected, rtol=rtol)
    assert schedule(10_000) == 0
    assert lib.numpy(schedule(lib.asarray(10_000))) == 0


@given(lr=positive, share=st.floats(0, 1), steps=counts, step=st.integers(0, 10**7))
def test_the_cosine_falls_from_lr_to_final(lr, share, steps, step):
    schedule = CosineDecay(lr, steps, final=share * lr)
    assert schedule(0) == pytest.approx(lr, rel=1e-14)
    assert schedule(steps) == schedule.final
    assert schedule.final <= schedule(step + 1) <= schedule(step) <= lr * (1 + 1e-14)


@given(lr=positive, every=counts, factor=st.floats(0.1, 1), falls=st.integers(0, 50), data=st.data())
def test_the_steps_are_flat_and_fall_by_the_factor(lr, every, factor, falls, data):
    schedule, within = StepDecay(lr, every, factor), data.draw(st.integers(0, every - 1))
    assert schedule(falls * every + within) == schedule(falls * every) == pytest.approx(lr * factor**falls)


@given(steps=counts, lr=positive, data=st.data())
def test_the_warm_up_is_a_straight_line_and_then_the_other(steps, lr, data):
    then = CosineDecay(lr, steps=steps)
    schedule, step = WarmUp(steps, then), data.draw(st.integers(0, steps))
    assert schedule(0) == 0
    assert schedule(step) == pytest.approx(lr * step / steps, rel=1e-14)
    assert schedule(steps + step) == then(step)


# Against PyTorch and optax


def of_torch(name):
    """The learning rates of `torch.optim.lr_scheduler`, for as many steps as it agrees on what comes then."""
    import torch
    from torch.optim import lr_scheduler as theirs

    make, steps = {
        "step": (lambda o: theirs.StepLR(o, 4, gamma=0.5), STEPS),
        "step-every-one": (lambda o: theirs.StepLR(o, 1, gamma=0.9), STEPS),
        "cosine": (lambda o: theirs.CosineAnnealingLR(o, T_max=20), 21),
        "cosine-final": (lambda o: theirs.CosineAnnealingLR(o, T_max=10, eta_min=0.1), 11),
        "warm-up": (lambda o: theirs.LambdaLR(o, lambda step: min(step / 5, 1)), STEPS),
    }[name]
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.3)
    scheduler = make(optimizer)
    rates = []
    for _ in range(steps):
        rates.append(scheduler.get_last_lr()[0])
        optimizer.step()
        scheduler.step()
    return rates


@needs("torch")
@pytest.mark.parametrize("name", ["step", "step-every-one", "cosine", "cosine-final", "warm-up"])
def test_values_are_pytorchs(name):
    expected = of_torch(name)
    np.testing.assert_allclose(values(SCHEDULES[name], len(expected)), expected, rtol=1e-12, atol=1e-16)


def of_optax(name):
    """The schedule of optax that should be the same."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what libraries say when they are first imported
        import optax

    cosine = optax.cosine_decay_schedule(0.3, 10, alpha=0.1 / 0.3)
    step = optax.exponential_decay(0.3, transition_steps=4, decay_rate=0.5, staircase=True)
    line = optax.linear_schedule(0.0, 0.3, 5)
    return {
        "step": step,
        "step-every-one": optax.exponential_decay(0.3, transition_steps=1, decay_rate=0.9, staircase=True),
        "cosine": optax.cosine_decay_schedule(0.3, 20),
        "cosine-final": cosine,
        "cosine-one": optax.cosine_decay_schedule(0.3, 1, alpha=0.1 / 0.3),
        "warm-up": line,
        "warm-up-one": optax.linear_schedule(0.0, 0.3, 1),
        "warm-up-cosine": optax.join_schedules([line, cosine], [5]),
        "warm-up-step": optax.join_schedules([line, step], [5]),
    }[name]


@needs("optax")
@pytest.mark.parametrize("name", [name for name in SCHEDULES if name not in ("step-constant", "warm-up-warm-up")])
def test_values_are_those_of_optax(name):
    import jax

    with jax.enable_x64(True):
        expected = np.asarray(jax.vmap(of_optax(name))(jax.numpy.arange(STEPS)))
    assert expected.dtype == np.float64
    np.testing.assert_allclose(values(SCHEDULES[name]), expected, rtol=1e-12, atol=1e-16)


@needs("optax")
@pytest.mark.only("jax")
def test_a_schedule_of_optax_is_a_schedule(lib):
    schedule = WarmUp(5, of_optax("cosine-final"))
    found = [float(schedule(lib.asarray(step))) for step in range(STEPS)]
    np.testing.assert_allclose(found, values(SCHEDULES["warm-up-cosine"]), rtol=1e-6)


# Ints, arrays, traced arrays


@schedules
def test_an_int_gives_a_float(name):
    assert {type(value) for value in values(SCHEDULES[name])} == {float}


@schedules
def test_an_array_gives_an_array_in_the_widest_dtype(lib, name):
    for step in (0, 1, 4, 5, 13, 24):
        rate = SCHEDULES[name](lib.asarray(step))
        assert lib.holds(rate)
        assert lib.numpy(rate).shape == ()
        assert lib.numpy(rate).dtype == max(lib.dtypes)
        np.testing.assert_allclose(lib.numpy(rate), SCHEDULES[name](step), rtol=lib.rtol, atol=1e-16)


@schedules
@pytest.mark.parametrize("dtype", ["uint8", "int16", "int32"])
def test_an_array_of_steps_of_any_integer_dtype_gives_all_their_rates(lib, name, dtype):
    rates = SCHEDULES[name](lib.asarray(np.arange(STEPS), dtype))
    assert lib.numpy(rates).dtype == max(lib.dtypes)
    np.testing.assert_allclose(lib.numpy(rates), values(SCHEDULES[name]), rtol=lib.rtol, atol=1e-16)


@pytest.mark.only("jax")
@schedules
def test_under_jit_it_is_the_same(lib, name):
    import jax

    rates = jax.jit(jax.vmap(SCHEDULES[name]))(lib.asarray(np.arange(STEPS)))
    np.testing.assert_allclose(rates, values(SCHEDULES[name]), rtol=1e-14, atol=1e-17)


def test_far_away_nothing_overflows(lib):
    """Neither branch of what is joined, nor what is before it."""
    far = 2**31 - 2
    step = lib.asarray(far)
    assert step.dtype == index_dtype(lib.xp, lib.device)
    assert lib.numpy(StepDecay(0.5, every=1)(step)) == 0
    assert lib.numpy(CosineDecay(0.5, steps=10, final=0.25)(step)) == 0.25
    assert lib.numpy(WarmUp(far, StepDecay(0.5, every=1))(lib.asarray(0))) == 0
    assert WarmUp(far, StepDecay(0.5, every=1))(0) == 0


def test_a_numpy_scalar_as_an_option_becomes_a_float():
    schedule = WarmUp(5, CosineDecay(np.float64(0.5), steps=10, final=np.float32(0.25)))
    assert [type(value) for value in (schedule.then.lr, schedule.then.final)] == [float, float]
    assert type(WarmUp(5, np.float32(0.5)).then) is float


# Errors


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: StepDecay(0.0, 1), ValueError, "StepDecay: lr must be positive and finite, got 0.0"),
        (lambda: StepDecay(10**400, 1), ValueError, "StepDecay: lr must be positive and finite, got an integer that"),
        (lambda: StepDecay(math.nan, 1), ValueError, "StepDecay: lr must be positive and finite, got nan"),
        (lambda: StepDecay("0.1", 1), TypeError, "StepDecay: lr must be a number, positive and finite; got '0.1'"),
        (lambda: StepDecay(0.1, 0), ValueError, "StepDecay: every must be an integer of at least 1, got 0"),
        (lambda: StepDecay(0.1, 2.0), TypeError, "StepDecay: every must be an integer of at least 1, got 2.0"),
        (lambda: StepDecay(0.1, True), TypeError, "StepDecay: every must be an integer of at least 1, got True"),
        (lambda: StepDecay(0.1, 1, 0.0), ValueError, "StepDecay: factor must be above 0 and at most 1, got 0.0"),
        (lambda: StepDecay(0.1, 1, 1.5), ValueError, "StepDecay: factor must be above 0 and at most 1, got 1.5"),
        (lambda: CosineDecay(-0.1, 1), ValueError, "CosineDecay: lr must be positive and finite, got -0.1"),
        (lambda: CosineDecay(0.1, -1), ValueError, "CosineDecay: steps must be an integer of at least 1, got -1"),
        (
            lambda: CosineDecay(0.1, 1, -0.1),
            ValueError,
            "CosineDecay: final must be finite and not negative, got -0.1",
        ),
        (lambda: CosineDecay(0.1, 1, 0.2), ValueError, "CosineDecay: final must be at most lr, 0.1, got 0.2"),
        (lambda: WarmUp(0, 0.1), ValueError, "WarmUp: steps must be an integer of at least 1, got 0"),
        (lambda: WarmUp(1, 0.0), ValueError, "WarmUp: then must be positive and finite, got 0.0"),
        (lambda: WarmUp(1, True), TypeError, "WarmUp: then must be a number, positive and finite; got True"),
        (lambda: WarmUp(1, None), TypeError, "WarmUp: then must be a number or a schedule, such as .*, got None"),
        (lambda: WarmUp(1, CosineDecay), TypeError, "WarmUp: then must be a number or a schedule, .*CosineDecay'>"),
    ],
)
def test_a_bad_option_is_an_error(make, error, message):
    with pytest.raises(error, match=f"^{message}"):
        make()


@pytest.mark.parametrize("name", ["step", "cosine", "warm-up"])
def test_a_step_that_is_no_integer_is_an_error(lib, name):
    with pytest.raises(TypeError, match="step must have an integer dtype, got .*float32; it counts the updates"):
        SCHEDULES[name](lib.asarray(1.0, "float32"))

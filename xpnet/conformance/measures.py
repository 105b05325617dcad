"""The three measures of a case: its error, that of its gradient, and how fast a Taylor remainder vanishes."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from .._array import from_host, index_dtype, is_floating, namespace
from .._typing import Array, Namespace
from ..backends import to_numpy
from ..nn.passes import pass_of
from ..nn.sequential import Sequential
from .cases import Case, Host

__all__ = ["HALF_EPS", "LIMIT", "ORDER", "Cell", "measure"]

LIMIT = 64.0
"""How large an error may be, as a multiple of the rounding of the dtype, eps."""

ORDER = 1.8
"""The least order of the Taylor remainder: it is 2 for a right gradient, and 1 for a wrong one."""

HALF_EPS = {"bfloat16": 2.0**-7, "float16": 2.0**-10}
"""The rounding of the dtypes of half precision."""

STEPS = 2.0 ** -np.arange(3, 9)


@dataclass(frozen=True)
class Cell:
    """What was measured of one case, on one backend in one dtype.

    Attributes
    ----------
    value : float
        The largest error of the result relative to its largest element, in eps; NaN where there is a problem.
    gradient : float or None
        The error of the derivative in a direction drawn at random, relative to the sum of its terms without their
        signs, in eps; None where nothing is differentiated.
    order : float or None
        The order of the Taylor remainder; infinite if the remainder is 0, as for a linear function. None in half
        precision, where rounding hides the order.
    problem : str
        What is wrong, or "".
    """

    value: float = np.nan
    gradient: float | None = None
    order: float | None = None
    problem: str = ""


def measure(case: Case, xp: Namespace, dtype: Any, device: Any, eps: float | None = None) -> Cell:
    """Measure a case on a library's arrays of a dtype on a device.

    `eps` is the rounding error of products in half precision, if the case has such products.
    """
    try:
        return _measure(case, xp, dtype, device, eps)
    except Exception as error:  # whatever a library raises is what there is to tell of it
        return Cell(problem=f"{type(error).__name__}: {' '.join(str(error).split())}")


def _measure(case: Case, xp: Namespace, dtype: Any, device: Any, half: float | None) -> Cell:
    eps = half or float(xp.finfo(dtype).eps)

    def given(host: Host) -> Array:
        kinds = {"f": dtype, "i": index_dtype(xp, device), "b": "bool"}
        return from_host(host, xp, kinds[host.dtype.kind], device)

    def taken(x: Array, what: str, like: Array = None) -> Host:
        if namespace(x=x) is not xp:
            raise TypeError(f"{what} is of {type(x).__module__}")
        if like is not None and (tuple(x.shape) != tuple(like.shape) or x.dtype != like.dtype):
            raise TypeError(f"{what} is {x.dtype} of shape {tuple(x.shape)}, for {like.dtype} {tuple(like.shape)}")
        if is_floating(xp, x.dtype) and x.dtype != dtype:
            raise TypeError(f"{what} is {x.dtype}, for {dtype}")
        return to_numpy(x).astype(np.float64)

    arrays = [given(host) for host in case.arrays]
    exact = [to_numpy(x).astype(np.float64) if is_floating(xp, x.dtype) else to_numpy(x) for x in arrays]
    expected = np.asarray(case.definition(*exact), dtype=np.float64)
    if case.params is None:
        value = _error(taken(case.call(*arrays), "the result"), expected) / eps
        return Cell(value, problem=_too_large("error", value, LIMIT * eps ** (case.power - 1)))

    run = _runner(case)
    y, back = run(arrays)
    value = _error(taken(y, "the result"), expected) / eps
    rng = np.random.default_rng(1)
    dout = given(rng.normal(size=expected.shape)) if expected.shape else 1.5
    weights = to_numpy(dout).astype(np.float64) if expected.shape else 1.5
    gradients = {
        i: taken(dx, f"the derivative by array {i}", arrays[i]) for i, dx in enumerate(back(dout)) if dx is not None
    }

    moves = {i: rng.uniform(-1, 1, size=g.shape) for i, g in gradients.items()}
    tiny = 1e-30
    moved = [x + 1j * tiny * moves[i] if i in moves else x for i, x in enumerate(exact)]
    slope = (weights * np.asarray(case.definition(*moved)).imag).sum() / tiny
    terms = np.concatenate([np.ravel(g * moves[i]) for i, g in gradients.items()])
    gradient = float(abs(terms.sum() - slope) / abs(terms).sum() / eps)

    def remainder(h: float) -> float:
        there = [given(exact[i] + h * moves[i]) if i in moves else x for i, x in enumerate(arrays)]
        rise = (weights * (taken(run(there)[0], "the result") - y_here)).sum()
        linear = sum((g * (to_numpy(there[i]).astype(np.float64) - exact[i])).sum() for i, g in gradients.items())
        return float(abs(rise - linear))

    y_here = taken(y, "the result")
    problems = [_too_large("error", value, LIMIT), _too_large("error of the gradient", gradient, LIMIT)]
    if half:
        return Cell(value, gradient, problem="; ".join(filter(None, problems)))
    order = _order([remainder(h) for h in STEPS], 16 * eps * float(abs(weights * y_here).sum()))
    if not order >= ORDER:
        problems.append(f"the Taylor remainder is of order {order:.2f}, expected at least {ORDER}")
    return Cell(value, gradient, order, "; ".join(filter(None, problems)))


def _runner(case: Case) -> Any:
    """A function of all arrays that gives the output, and a function from dL/d(output) to a derivative by each."""
    forward, count = pass_of(case.call, {}), case.params
    stack = isinstance(case.call, Sequential)
    names = [name for names in case.call.param_names for name in names] if stack else []

    def run(arrays: list[Array]) -> Any:
        params: Any = tuple(arrays[:count])
        made = forward(dict(zip(names, params, strict=True)) if stack else params, *arrays[count:])

        def back(dout: Array) -> list[Array]:
            by_params, by_inputs = made.back(dout)
            return [*([by_params[name] for name in names] if stack else by_params), *by_inputs]

        return made.y, back

    return run


def _error(found: Host, expected: Host) -> float:
    """The largest difference, relative to the largest number; infinite where one is not finite."""
    if found.shape != expected.shape:
        raise ValueError(f"the result has shape {found.shape}, expected {expected.shape}")
    difference = float(abs(found - expected).max())
    return difference / (float(abs(expected).max()) or 1.0) if np.isfinite(difference) else np.inf


def _too_large(what: str, found: float, limit: float) -> str:
    return "" if found <= limit else f"the {what} is {found:.3g} eps, expected at most {limit:.3g}"


def _order(remainders: list[float], noise: float) -> float:
    """The order of the last pair of remainders that rounding does not hide; infinite where it hides all."""
    if not np.isfinite(remainders).all():
        return np.nan
    pairs = [(a, b) for a, b in zip(remainders, remainders[1:], strict=False) if b > noise]
    if not pairs:
        return np.inf
    a, b = pairs[-1]
    return float(np.log2(a / b))

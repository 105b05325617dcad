"""The gradient check: compare the gradients of backpropagation with numerical gradients."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

from ._array import device, from_host, has_float64, is_floating, namespace, size
from ._typing import Array, Namespace, Params
from ._validation import check_integer
from .backends import on_arrays_device, to_numpy
from .nn.initializers import Normal, generator
from .nn.networks import Network
from .numerical import default_step, slope_of

__all__ = ["GradientCheck", "GradientError", "Row", "check_gradients", "check_layer"]


def __dir__() -> list[str]:
    return sorted(__all__)


@dataclass(frozen=True)
class Row:
    """The comparison of the two gradients with respect to one array.

    Attributes
    ----------
    name : str
        The name of the parameter or input.
    checked, total : int
        The number of elements compared, and the number of elements of the array.
    mean_abs, max_abs : float
        The mean and the largest absolute difference.
    mean_rel, max_rel : float
        The mean and the largest relative difference: divided by the larger of the two absolute values.
    kinks : int
        The number of elements that agree only with a smaller step. With the first step, the difference quotient
        crossed a kink, such as the kink of ReLU at 0.
    wrong : int
        The number of elements that do not agree with any step.
    """

    name: str
    checked: int
    total: int
    mean_abs: float
    max_abs: float
    mean_rel: float
    max_rel: float
    kinks: int
    wrong: int


@dataclass(frozen=True)
class GradientCheck:
    """The result of a gradient check, with one row for each parameter; ``print`` shows it as a table."""

    rows: tuple[Row, ...]

    @property
    def ok(self) -> bool:
        """Whether no element is wrong."""
        return not any(row.wrong for row in self.rows)

    def __str__(self) -> str:
        measures = "".join(f"{name:>11}" for name in ("mean abs", "max abs", "mean rel", "max rel"))
        head = f"{'':<6}{'checked':>15}{measures}{'kinks':>7}{'wrong':>7}"
        lines = [
            f"{r.name:<6}{f'{r.checked} of {r.total}':>15}{r.mean_abs:>11.2e}{r.max_abs:>11.2e}"
            f"{r.mean_rel:>11.2e}{r.max_rel:>11.2e}{r.kinks:>7}{r.wrong:>7}"
            for r in self.rows
        ]
        return "\n".join([head, *lines])


class GradientError(AssertionError):
    """Raised by `check_gradients` and `check_layer` if a gradient is wrong.

    Attributes
    ----------
    report : GradientCheck
        The result of the check, with all rows.
    """

    def __init__(self, report: GradientCheck) -> None:
        wrong = ", ".join(f"{r.name} ({r.wrong} of {r.checked})" for r in report.rows if r.wrong)
        super().__init__(f"backpropagation and numerical gradient disagree for {wrong}\n{report}")
        self.report = report


@on_arrays_device
def check_gradients(
    net: Network,
    x: Array,
    t: Array,
    *,
    masks: Params | None = None,
    sample: int | None = None,
    seed: int | Any = 0,
    advance: Callable[[], None] = lambda: None,
) -> GradientCheck:
    """Compare a network's backpropagation with numerical gradients of its loss.

    Parameters
    ----------
    net : Network
    x, t : array
        A few samples and their targets, in the shapes that the network takes.
    masks : dict of arrays, optional
        The dropout masks of a network with dropout, from `Sequential.draw`.
    sample : int, optional
        The number of elements of each parameter to compare, drawn at random. Default: all elements.
    seed : int or numpy.random.Generator, default 0
        The seed for drawing the elements.
    advance : callable, optional
        Called without arguments after each element, to show progress.

    Returns
    -------
    GradientCheck

    Raises
    ------
    ValueError
        If the loss is not finite, such as with a label without a class.
    GradientError
        If a gradient is wrong. The attribute ``report`` of the error is the `GradientCheck`.

    Notes
    -----
    The numerical gradient is computed in float64 if the library has float64 on that device, whatever the dtype of the
    network. Two numbers agree if rounding can explain their difference. If two numbers do not agree, the numerical
    gradient is computed again with a tenth and a hundredth of the step. A ReLU input closer to 0 than the step makes
    the numerical gradient wrong, not the gradient of backpropagation.

    References
    ----------
    Saito (2016), Deep Learning from Scratch, section 5.7.3.

    Examples
    --------
    >>> import numpy as np
    >>> from xpnet import TwoLayerNet
    >>> x = np.random.default_rng(0).random((3, 4))
    >>> net = TwoLayerNet(4, 5, 3, weight_init_std=1.0, like=x)
    >>> [(row.name, row.wrong) for row in check_gradients(net, x, np.asarray([0, 2, 1])).rows]
    [('W1', 0), ('b1', 0), ('W2', 0), ('b2', 0)]
    """
    x = net.as_input(x)
    at, gradients, _ = net.stack.loss_and_gradient(net.params, x, t, masks=masks)
    if not math.isfinite(float(at)):
        net.loss(x, t)  # or an error of its labels
        raise ValueError(
            f"check_gradients: the loss is {float(at)}, which has no gradient; look for NaN or infinite numbers in "
            "x, t and params"
        )

    def loss(params: Params) -> Array:
        first, xp = next(iter(params.values())), namespace(x=x)
        wide = xp.astype(x, first.dtype) if is_floating(xp, x.dtype) else x
        return net.stack.loss(params, wide, t, masks=masks, training=True)

    return _check(loss, net.params, gradients, sample, seed, advance)


@on_arrays_device
def check_layer(
    build: Callable[..., Any],
    params: Params,
    *inputs: Array,
    sample: int | None = None,
    seed: int | Any = 0,
) -> GradientCheck:
    """Compare a layer's `backward` with numerical derivatives.

    The layer's output gets random weights: the loss of the check is the weighted sum of the output.

    Parameters
    ----------
    build : callable
        The layer's class, or a function that takes the arrays of `params` in their order and returns a layer.
    params : dict of arrays
        The parameters by name. The numerical gradients of ``{"W": W, "b": b}`` are compared with the layer's
        attributes ``dW`` and ``db`` after `backward`. If the layer has no such attributes, they are compared with
        its ``gradients()``, in the order of `params`.
    *inputs : array
        The arguments of `forward`. If `backward` returns n gradients, the first n inputs are checked. Inputs after
        these, such as targets, are not checked.
    sample, seed
        As in `check_gradients`.

    Returns
    -------
    GradientCheck
        With rows "x0", "x1", ... for the inputs.

    Raises
    ------
    GradientError
        If a gradient is wrong. The attribute ``report`` of the error is the `GradientCheck`.

    Examples
    --------
    >>> import numpy as np
    >>> from xpnet import Affine
    >>> rng = np.random.default_rng(0)
    >>> params = {"W": rng.random((4, 3)), "b": rng.random(3)}
    >>> check_layer(Affine, params, rng.random((5, 4))).ok
    True
    """
    layer = build(*params.values())
    out = layer.forward(*inputs)
    xp = namespace(x=inputs[0])
    host = Normal(1.0)(generator(seed), tuple(out.shape))
    # The absolute values of the terms of the loss, Σ dout y, sum to at most 1: the loss rounds like a number near 1.
    host = host / max(1.0, float(abs(host * to_numpy(_widen(xp, out))).sum()))
    dout = from_host(host, xp, inputs[0].dtype, device(inputs[0])) if out.shape else 1.5
    back = layer.backward(dout)
    back = back if isinstance(back, tuple) else (back,)
    gradients = {f"x{i}": dx for i, dx in enumerate(back)}
    for i, name in enumerate(params):
        gradients[name] = getattr(layer, f"d{name}") if hasattr(layer, f"d{name}") else layer.gradients()[i]

    def loss(arrays: Params) -> Array:
        dtype = arrays["x0"].dtype
        differentiable = [arrays[f"x{i}"] for i in range(len(back))]
        rest = [xp.astype(a, dtype) if is_floating(xp, a.dtype) else a for a in inputs[len(back) :]]
        y = build(*(arrays[name] for name in params)).forward(*differentiable, *rest)
        return xp.sum(y * (xp.astype(dout, dtype) if out.shape else dout))

    arrays = {f"x{i}": inputs[i] for i in range(len(back))} | params
    return _check(loss, arrays, gradients, sample, seed, lambda: None)


def _check(
    loss: Callable[[Params], Array],
    arrays: Params,
    gradients: Params,
    sample: int | None,
    seed: int | Any,
    advance: Callable[[], None],
) -> GradientCheck:
    """Compare the `gradients` of `loss` with respect to each of the `arrays` with numerical derivatives."""
    if sample is not None:
        sample = check_integer("sample", sample, 1)
    rng = generator(seed)
    first = next(iter(arrays.values()))
    xp = namespace(**arrays)
    wide = {name: _widen(xp, a) for name, a in arrays.items()}
    rounding = float(xp.finfo(next(iter(wide.values())).dtype).eps) * max(1.0, abs(float(loss(wide))))
    precision = 1e3 * float(xp.finfo(first.dtype).eps)

    def row(name: str) -> Row:
        x, analytic = wide[name], to_numpy(_widen(xp, gradients[name]))
        if analytic.shape != tuple(x.shape):
            raise ValueError(f"the gradient by {name} has shape {analytic.shape}, expected {tuple(x.shape)}")
        total = size(x)
        elements = (
            range(total) if sample is None or sample >= total else sorted(rng.choice(total, sample, False).tolist())
        )
        flat = analytic.ravel()
        scale = float(abs(flat).max())
        step = default_step(x)
        steps = to_numpy(step).ravel()

        @cache
        def slope(shrink: float) -> Callable[[int], float]:
            return slope_of(lambda p: loss({**wide, name: p}), x, step * shrink)

        absolute, relative, kinks, wrong = [], [], 0, 0
        for i in elements:
            a, h = float(flat[i]), float(steps[i])
            for shrink in (1.0, 0.1, 0.01):
                n = slope(shrink)(i)
                difference, larger = abs(a - n), max(abs(a), abs(n))
                noise = 16 * rounding / (h * shrink)
                agrees = difference <= noise + precision * max(larger, 0.1 * scale)
                if agrees or noise > 0.1 * larger:  # with a smaller step, rounding would hide a wrong gradient
                    break
            kinks += agrees and shrink < 1
            wrong += not agrees
            absolute.append(difference)
            relative.append(difference / larger if larger else 0.0)
            advance()
        count = len(absolute)
        return Row(
            name,
            count,
            total,
            sum(absolute) / count,
            max(absolute),
            sum(relative) / count,
            max(relative),
            kinks,
            wrong,
        )

    report = GradientCheck(tuple(map(row, arrays)))
    if not report.ok:
        raise GradientError(report)
    return report


def _widen(xp: Namespace, x: Array) -> Array:
    return xp.astype(x, xp.float64) if has_float64(xp, device(x)) else x

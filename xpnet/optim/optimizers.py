"""Optimizers: parameters and gradients in, new parameters out; what they remember is handed in and out too."""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Any, ClassVar

from .._array import check_floating, device, index_dtype, namespace
from .._typing import Array, Params, Schedule
from .._validation import check_number
from ..backends import backend_of, elementwise, on_arrays_device
from .schedules import number_or_schedule, real

__all__ = ["SGD", "AdaGrad", "Adam", "AdamW", "Momentum", "Nesterov", "Optimizer", "RMSProp"]


@dataclass(frozen=True)
class Optimizer(ABC):
    """What all optimizers share: the rule is theirs, and clipping, weight decay and the learning rate are here.

    An optimizer of your own gives `rule`, and in `memory` the names of what is remembered of each parameter. One that
    has options is a frozen dataclass too, and checks its options by `check` in ``__post_init__``.

    Parameters
    ----------
    lr : float or schedule, default 0.1
        The learning rate, positive; or a function from the number of updates made before to the learning rate,
        such as `CosineDecay`.
    weight_decay : float, default 0.0
        λ: the gradient becomes g + λ p, that of a loss with 1/2 λ ‖p‖² added. It is added after clipping. (`AdamW`
        decays the parameters themselves.)
    clip_norm : float, optional
        The largest norm of the gradient, positive; a gradient of a greater norm, taken over all parameters
        together, is scaled down to it. Not clipped where not given.

    Notes
    -----
    The state is a flat dict of arrays, in the library, dtype and device of the parameters, which can be carried
    through `jax.lax.scan`, saved, and moved to another library: ``"v.W1"`` is what is called v in the formulas and
    belongs to the parameter W1, and ``"step"``, an integer of shape (), is how many updates there have been. The
    latter is there only for a schedule and for `Adam` and `AdamW`.

    Updates are those of `torch.optim` to rounding. `torch.nn.utils.clip_grad_norm_` adds 1e-6 to the norm before it
    divides by it; this does not, and scales nothing where the norm is within bounds.

    References
    ----------
    Saito (2016), Deep Learning from Scratch, sections 6.1 and 6.4.2 (weight decay). Pascanu et al. (2013), On the
    difficulty of training recurrent neural networks (clipping).

    Examples
    --------
    >>> import numpy as np
    >>> class SignDescent(Optimizer):
    ...     def rule(self, p, g, lr):
    ...         return (p - lr * np.sign(g),)
    >>> optimizer = SignDescent(lr=0.5)
    >>> params = {"W": np.asarray([1.0, 2.0])}
    >>> params, state = optimizer.update(params, {"W": np.asarray([3.0, -0.1])}, optimizer.init(params))
    >>> params["W"]
    array([0.5, 2.5])
    """

    lr: float | Schedule = 0.1
    weight_decay: float = field(default=0.0, kw_only=True)
    clip_norm: float | None = field(default=None, kw_only=True)

    memory: ClassVar[tuple[str, ...]] = ()
    """The names of what is remembered of each parameter: arrays shaped as it is, zero at first."""
    counts: ClassVar[bool] = False
    """Whether the number of the update is needed even where the learning rate is constant."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "lr", number_or_schedule(f"{type(self).__name__}: lr", self.lr))
        self.check("finite and not negative", "weight_decay")
        if self.clip_norm is not None:
            self.check("positive and finite", "clip_norm")

    def check(self, expected: str, *options: str) -> None:
        """Make options plain floats, or raise where they are not as `expected`.

        Parameters
        ----------
        expected : str
            "finite", "positive and finite", "finite and not negative", "from 0 to below 1", "from 0 to 1" or "above 0
            and at most 1".
        *options : str
            Names of attributes.
        """
        for name in options:
            value = check_number(f"{type(self).__name__}: {name}", getattr(self, name), expected)
            object.__setattr__(self, name, value)

    @on_arrays_device
    def init(self, params: Params, /) -> Params:
        """The state before the first update.

        Parameters
        ----------
        params : dict of arrays
            In one library, real floating dtype and device.

        Returns
        -------
        dict of arrays

        Raises
        ------
        TypeError, ValueError
            If the parameters are not of one library, dtype and device, or there are none.
        """
        if not params:
            raise ValueError(f"{type(self).__name__}: params is empty; there is nothing to optimize")
        named = {f"params[{name!r}]": p for name, p in params.items()}
        xp = namespace(**named)
        check_floating(xp, type(self).__name__, **named)
        state = {f"{kind}.{name}": xp.zeros_like(p) for kind in self.memory for name, p in params.items()}
        if self._counting:
            where = device(next(iter(params.values())))
            state["step"] = xp.zeros((), dtype=index_dtype(xp, where), device=where)
        return state

    @on_arrays_device
    def update(self, params: Params, gradients: Params, state: Params, /) -> tuple[Params, Params]:
        """One update; a pure function.

        Parameters
        ----------
        params : dict of arrays
        gradients : dict of arrays
            dL/dp for each of them, in its shape.
        state : dict of arrays
            As `init` or the update before gave it.

        Returns
        -------
        params, state : dict of arrays
            The new ones.
        """
        step = state["step"] if self._counting else None
        first = next(iter(params.values()))
        xp = namespace(params=first)
        # NumPy's 0-d results are scalars, and these would widen parameters just as arrays do.
        scales = [xp.astype(s, first.dtype, copy=False) if hasattr(s, "dtype") else s for s in self.scales(step)]
        if self.clip_norm is not None:
            gradients = _clip({name: gradients[name] for name in params}, self.clip_norm)

        rule = backend_of(first).fuse(self.rule)

        def moved(name: str, p: Array, g: Array) -> tuple[Array, ...]:
            if self.weight_decay:
                p, g = self.decay(p, g, scales[0])
            found: tuple[Array, ...] = rule(p, g, *scales, *[state[f"{kind}.{name}"] for kind in self.memory])
            return found

        results = {name: moved(name, p, gradients[name]) for name, p in params.items()}
        after = {
            f"{kind}.{name}": value
            for name, (_, *kept) in results.items()
            for kind, value in zip(self.memory, kept, strict=True)
        }
        counter = {} if step is None else {"step": xp.asarray(step + 1)}
        return {name: p for name, (p, *_) in results.items()}, after | counter

    @property
    def _counting(self) -> bool:
        return self.counts or callable(self.lr)

    def scales(self, step: Array) -> tuple[Array | float, ...]:
        """The numbers that `rule` is given at this update, the learning rate first.

        `step` is how many updates there have been, None where it is not counted.
        """
        return (self.lr(step) if callable(self.lr) else self.lr,)

    def decay(self, p: Array, g: Array, lr: Array | float) -> tuple[Array, Array]:
        """A parameter and its gradient with the weight decay in them."""
        return p, g + self.weight_decay * p

    @abstractmethod
    def rule(self, *args: Any) -> tuple[Array, ...]:
        """The update of one parameter.

        Takes the parameter, its gradient, the numbers that `scales` gives, and the arrays that `memory` names, in
        this order. Returns the new parameter and the new arrays.
        """


def _clip(gradients: Params, most: float) -> Params:
    """The gradients, scaled to the norm `most` where theirs, over all together, is greater."""
    xp = namespace(**{f"gradients[{name!r}]": g for name, g in gradients.items()})
    norm = xp.sqrt(sum(xp.sum(g * g) for g in gradients.values()))
    scale = most / xp.maximum(norm, most)
    return {name: scale * g for name, g in gradients.items()}


@dataclass(frozen=True)
class SGD(Optimizer):
    """Stochastic gradient descent, p ← p - lr g, where g = dL/dp.

    Parameters
    ----------
    lr : float or schedule, default 0.1
        The learning rate, positive.
    weight_decay, clip_norm
        See `Optimizer`.

    References
    ----------
    Saito (2016), Deep Learning from Scratch, sections 4.5 and 6.1.2.

    Examples
    --------
    >>> import numpy as np
    >>> optimizer = SGD(lr=0.5)
    >>> params = {"W": np.asarray([1.0, 2.0])}
    >>> params, state = optimizer.update(params, {"W": np.asarray([2.0, 0.0])}, optimizer.init(params))
    >>> params["W"]
    array([0., 2.])
    """

    @on_arrays_device
    def update(self, params: Params, gradients: Params, state: Params, /) -> tuple[Params, Params]:
        """One step against the gradient; a pure function."""
        if callable(self.lr) or self.weight_decay or self.clip_norm is not None:
            return super().update(params, gradients, state)
        rule = backend_of(next(iter(params.values()))).fuse(self.rule)
        return {name: rule(p, gradients[name], self.lr)[0] for name, p in params.items()}, state

    @elementwise
    def rule(self, p: Array, g: Array, lr: Array | float) -> tuple[Array]:
        """The parameter, one step against the gradient."""
        return (p - lr * g,)


@dataclass(frozen=True)
class Momentum(Optimizer):
    """Gradient descent of a ball that rolls: v ← α v + g, p ← p - lr v, where g = dL/dp and v = 0 at first.

    Parameters
    ----------
    lr : float or schedule, default 0.01
        The learning rate, positive.
    momentum : float, default 0.9
        α, from 0 to below 1: how much of the velocity is left at the next update.
    weight_decay, clip_norm
        See `Optimizer`.

    Notes
    -----
    v is PyTorch's `momentum_buffer`. The book has the learning rate in the velocity, v ← α v - lr g and p ← p + v,
    which gives the same parameters as long as the learning rate is constant.

    References
    ----------
    Saito (2016), Deep Learning from Scratch, section 6.1.4. Polyak (1964), Some methods of speeding up the
    convergence of iteration methods.

    Examples
    --------
    >>> import numpy as np
    >>> optimizer = Momentum(lr=0.5, momentum=0.5)
    >>> params = {"W": np.asarray([8.0])}
    >>> state = optimizer.init(params)
    >>> for _ in range(3):
    ...     params, state = optimizer.update(params, {"W": np.asarray([2.0])}, state)
    ...     print(params["W"], state["v.W"])
    [7.] [2.]
    [5.5] [3.]
    [3.75] [3.5]
    """

    lr: float | Schedule = 0.01
    momentum: float = 0.9
    memory: ClassVar[tuple[str, ...]] = ("v",)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check("from 0 to below 1", "momentum")

    @elementwise
    def rule(self, p: Array, g: Array, lr: Array | float, v: Array) -> tuple[Array, Array]:
        """The parameter after rolling on, and its velocity."""
        v = self.momentum * v + g
        return p - lr * v, v


@dataclass(frozen=True)
class Nesterov(Momentum):
    """Momentum that looks ahead: v ← α v + g, p ← p - lr (g + α v), where g = dL/dp and v = 0 at first.

    Parameters
    ----------
    lr : float or schedule, default 0.01
        The learning rate, positive.
    momentum : float, default 0.9
        α, from 0 to below 1: how much of the velocity is left at the next update.
    weight_decay, clip_norm
        See `Optimizer`.

    Notes
    -----
    Nesterov takes the gradient where the velocity is about to lead. With q for his parameters: v ← α v + dL/dq at
    q - lr α v, q ← q - lr v. The parameters here are that point ahead, p = q - lr α v, so that the gradient is taken
    where they are: p changes by -lr v for q and by lr α v_before - lr α v for what lies ahead, in all by
    -lr (g + α v), as v = α v_before + g.

    This is PyTorch's form. The book's program, whose velocity has the learning rate in it, adds α² v - (1 + α) lr g.
    That is the same where v is the velocity before the update; the program takes the one after it.

    References
    ----------
    Saito (2016), Deep Learning from Scratch, the program to section 6.1. Bengio et al. (2012), Advances in optimizing
    recurrent networks, arXiv:1212.0901. Sutskever et al. (2013), On the importance of initialization and momentum in
    deep learning.

    Examples
    --------
    >>> import numpy as np
    >>> optimizer = Nesterov(lr=0.5, momentum=0.5)
    >>> params = {"W": np.asarray([8.0])}
    >>> state = optimizer.init(params)
    >>> for _ in range(3):
    ...     params, state = optimizer.update(params, {"W": np.asarray([2.0])}, state)
    ...     print(params["W"], state["v.W"])
    [6.5] [2.]
    [4.75] [3.]
    [2.875] [3.5]
    """

    @elementwise
    def rule(self, p: Array, g: Array, lr: Array | float, v: Array) -> tuple[Array, Array]:
        """The parameter after rolling on, and its velocity."""
        v = self.momentum * v + g
        return p - lr * (g + self.momentum * v), v


@dataclass(frozen=True)
class AdaGrad(Optimizer):
    """Smaller steps where gradients have been large: h ← h + g², p ← p - lr g / (√h + ε), where g = dL/dp.

    Parameters
    ----------
    lr : float or schedule, default 0.01
        The learning rate, positive.
    eps : float, default 1e-10
        ε, positive: against division by 0.
    weight_decay, clip_norm
        See `Optimizer`.

    Notes
    -----
    h, 0 at first, is PyTorch's `sum`. The book has 1e-7 for ε.

    References
    ----------
    Saito (2016), Deep Learning from Scratch, section 6.1.5. Duchi et al. (2011), Adaptive Subgradient Methods for
    Online Learning and Stochastic Optimization.

    Examples
    --------
    >>> import numpy as np
    >>> optimizer = AdaGrad(lr=0.5)
    >>> params = {"W": np.asarray([8.0, 8.0])}
    >>> params, state = optimizer.update(params, {"W": np.asarray([2.0, 0.1])}, optimizer.init(params))
    >>> params["W"].round(6), state["h.W"]
    (array([7.5, 7.5]), array([4.  , 0.01]))
    """

    lr: float | Schedule = 0.01
    eps: float = 1e-10
    memory: ClassVar[tuple[str, ...]] = ("h",)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check("positive and finite", "eps")

    @elementwise
    def rule(self, p: Array, g: Array, lr: Array | float, h: Array) -> tuple[Array, Array]:
        """The parameter after the step, and the sum of its squared gradients."""
        xp = namespace(p=p, g=g, h=h)
        h = h + g * g
        return p - lr * g / (xp.sqrt(h) + self.eps), h


@dataclass(frozen=True)
class RMSProp(Optimizer):
    """AdaGrad that forgets: h ← ρ h + (1 - ρ) g², p ← p - lr g / (√h + ε), where g = dL/dp and h = 0 at first.

    Parameters
    ----------
    lr : float or schedule, default 0.01
        The learning rate, positive.
    decay_rate : float, default 0.99
        ρ, from 0 to below 1: how much of the mean is left at the next update.
    eps : float, default 1e-8
        ε, positive: against division by 0.
    weight_decay, clip_norm
        See `Optimizer`.

    Notes
    -----
    h is PyTorch's `square_avg`, and ρ its `alpha`. The book's program has 1e-7 for ε; optax takes ε under the root
    unless it is told ``eps_in_sqrt=False``.

    References
    ----------
    Saito (2016), Deep Learning from Scratch, section 6.1.5. Tieleman and Hinton (2012), Neural Networks for Machine
    Learning, lecture 6.5.

    Examples
    --------
    >>> import numpy as np
    >>> optimizer = RMSProp(lr=0.5, decay_rate=0.75)
    >>> params = {"W": np.asarray([8.0, 8.0])}
    >>> params, state = optimizer.update(params, {"W": np.asarray([2.0, 0.2])}, optimizer.init(params))
    >>> params["W"].round(6), state["h.W"].round(6)
    (array([7., 7.]), array([1.  , 0.01]))
    """

    lr: float | Schedule = 0.01
    decay_rate: float = 0.99
    eps: float = 1e-8
    memory: ClassVar[tuple[str, ...]] = ("h",)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check("from 0 to below 1", "decay_rate")
        self.check("positive and finite", "eps")

    @elementwise
    def rule(self, p: Array, g: Array, lr: Array | float, h: Array) -> tuple[Array, Array]:
        """The parameter after the step, and the mean of its squared gradients."""
        xp = namespace(p=p, g=g, h=h)
        h = self.decay_rate * h + (1 - self.decay_rate) * g * g
        return p - lr * g / (xp.sqrt(h) + self.eps), h


@dataclass(frozen=True)
class Adam(Optimizer):
    """Momentum with steps of a size of their own for each element.

    With g = dL/dp, m = v = 0 at first, and t the number of the update, from 1:

    - m ← β₁ m + (1 - β₁) g
    - v ← β₂ v + (1 - β₂) g²
    - p ← p - lr m̂ / (√v̂ + ε), where m̂ = m / (1 - β₁ᵗ) and v̂ = v / (1 - β₂ᵗ)

    Parameters
    ----------
    lr : float or schedule, default 0.001
        The learning rate, positive.
    beta1, beta2 : float, default 0.9 and 0.999
        β₁ and β₂, from 0 to below 1: how much of each mean is left at the next update.
    eps : float, default 1e-8
        ε, positive: against division by 0.
    weight_decay, clip_norm
        See `Optimizer`.

    Notes
    -----
    m and v start at 0 and so are too small by the factors 1 - βᵗ, the sum of the weights (1 - β) βⁱ of the gradients
    so far; m̂ and v̂ make up for it. The factors are computed as -expm1(t log β), which is exact to rounding in
    float32 too, where 1 - 0.999 is not.

    m and v are PyTorch's `exp_avg` and `exp_avg_sq`. The book's program takes ε = 1e-7, and adds it to √v in place of
    √v̂, which makes it 1e-7 / √(1 - β₂ᵗ) here, 3e-6 at first.

    References
    ----------
    Saito (2016), Deep Learning from Scratch, section 6.1.6. Kingma and Ba (2015), Adam: A Method for Stochastic
    Optimization.

    Examples
    --------
    >>> import numpy as np
    >>> optimizer = Adam(lr=0.5)
    >>> params = {"W": np.asarray([8.0, 8.0])}
    >>> params, state = optimizer.update(params, {"W": np.asarray([2.0, 0.1])}, optimizer.init(params))
    >>> params["W"].round(6), state["m.W"].round(6), int(state["step"])
    (array([7.5, 7.5]), array([0.2 , 0.01]), 1)
    """

    lr: float | Schedule = 0.001
    beta1: float = 0.9
    beta2: float = 0.999
    eps: float = 1e-8
    memory: ClassVar[tuple[str, ...]] = ("m", "v")
    counts: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check("from 0 to below 1", "beta1", "beta2")
        self.check("positive and finite", "eps")

    def scales(self, step: Array) -> tuple[Array | float, ...]:
        """The learning rate, and by what m and √v are too small."""
        logs = (math.log(b) if b else -math.inf for b in (self.beta1, self.beta2))
        short_m, short_root = _short(real(step + 1), *logs)
        return *super().scales(step), short_m, short_root

    @elementwise
    def rule(
        self, p: Array, g: Array, lr: Array | float, short_m: Array, short_root: Array, m: Array, v: Array
    ) -> tuple[Array, Array, Array]:
        """The parameter after the step, and the means of its gradients and of their squares."""
        xp = namespace(p=p, g=g, m=m, v=v)
        m = self.beta1 * m + (1 - self.beta1) * g
        v = self.beta2 * v + (1 - self.beta2) * g * g
        return p - lr / short_m * m / (xp.sqrt(v) / short_root + self.eps), m, v


@elementwise
def _short(t: Array, log1: float, log2: float) -> tuple[Array, Array]:
    """By what m and √v are too small."""
    xp = namespace(t=t)
    return -xp.expm1(t * log1), xp.sqrt(-xp.expm1(t * log2))


@dataclass(frozen=True)
class AdamW(Adam):
    """Adam with weight decay beside the gradient, not in it: p ← (1 - lr λ) p, and then the update of `Adam`.

    Parameters
    ----------
    lr : float or schedule, default 0.001
        The learning rate, positive.
    beta1, beta2 : float, default 0.9 and 0.999
        β₁ and β₂, from 0 to below 1: how much of each mean is left at the next update.
    eps : float, default 1e-8
        ε, positive: against division by 0.
    weight_decay : float, default 0.01
        λ. Scaled by the learning rate, and not by the size of past gradients as that of `Adam` is.
    clip_norm
        See `Optimizer`.

    References
    ----------
    Loshchilov and Hutter (2019), Decoupled Weight Decay Regularization. Saito (2016), Deep Learning from Scratch,
    sections 6.1.6 and 6.4.2.

    Examples
    --------
    >>> import numpy as np
    >>> optimizer = AdamW(lr=0.5, weight_decay=0.5)
    >>> params = {"W": np.asarray([8.0, 8.0])}
    >>> params, state = optimizer.update(params, {"W": np.asarray([2.0, 0.0])}, optimizer.init(params))
    >>> params["W"].round(6)
    array([5.5, 6. ])
    """

    weight_decay: float = field(default=0.01, kw_only=True)

    def decay(self, p: Array, g: Array, lr: Array | float) -> tuple[Array, Array]:
        """The parameter, drawn towards 0, and its gradient as it is."""
        return (1 - lr * self.weight_decay) * p, g

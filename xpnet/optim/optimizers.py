"""Optimizers: pure functions that take parameters, gradients and the optimizer state, and return new ones."""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Any, ClassVar, overload

from .._array import check_floating, device, index_dtype, namespace
from .._typing import Array, Params, Schedule
from .._validation import check_number
from ..backends import as_array, backend_of, elementwise, on_arrays_device
from .schedules import number_or_schedule, real

__all__ = ["SGD", "AdaGrad", "Adam", "AdamW", "Momentum", "Nesterov", "Optimizer", "RMSprop"]


@dataclass(frozen=True)
class Optimizer(ABC):
    """The base class of optimizers, with gradient clipping, weight decay and the learning rate.

    To add your own, write a subclass with the method `rule`, which updates one parameter. Its class attribute
    `state_names` lists the names of the arrays that the optimizer keeps for each parameter, such as ``("m", "v")``.
    An optimizer with options is a frozen dataclass, and checks its options with `check` in ``__post_init__``.

    Parameters
    ----------
    lr : float or schedule, default 0.1
        The learning rate, a positive number. Or a schedule, such as `CosineDecay`: a function that takes the number
        of updates so far and returns the learning rate.
    weight_decay : float, default 0.0
        The weight decay λ: λ p is added to the gradient g. This is the gradient of the loss plus 1/2 λ ‖p‖². λ p is
        added after clipping. (`AdamW` decays the parameters instead.)
    clip_norm : float, optional
        The largest norm of the gradient, a positive number. The norm is computed over all parameters together. A
        gradient with a larger norm is scaled down to this norm. Default: no clipping.

    Attributes
    ----------
    state : dict of arrays or None
        The optimizer state after the last call of ``update(params, grads)``, the book's form of an update, which has
        no argument `state`. None before the first call. It is not part of the optimizer's description: it is neither
        compared nor saved, and ``update(params, grads, state)`` does not use it.

    Notes
    -----
    The optimizer state is a flat dict of arrays, in the library, dtype and device of the parameters. It can be passed
    through `jax.lax.scan`, saved, and moved to another library. ``"v.W1"`` is the array v of the formulas for the
    parameter W1. ``"step"``, an integer of shape (), is the number of updates so far. It exists only with a schedule,
    and in `Adam` and `AdamW`.

    Updates are those of `torch.optim`, up to rounding. `torch.nn.utils.clip_grad_norm_` adds 1e-6 to the norm before
    the division. xpnet does not, and leaves gradients unchanged whose norm is at most `clip_norm`.

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

    The book's form changes the dict:

    >>> optimizer.update(params, {"W": np.asarray([3.0, -0.1])})
    >>> params["W"]
    array([0., 3.])
    """

    lr: float | Schedule = 0.1
    weight_decay: float = field(default=0.0, kw_only=True)
    clip_norm: float | None = field(default=None, kw_only=True)

    state_names: ClassVar[tuple[str, ...]] = ()
    """The names of the arrays in the optimizer state for each parameter. They have its shape and start at zero."""
    counts: ClassVar[bool] = False
    """Whether the optimizer needs the number of updates even if the learning rate is constant."""
    state: ClassVar[Params | None] = None
    _params: ClassVar[Params | None] = None  # the dict that `state` belongs to

    def __post_init__(self) -> None:
        object.__setattr__(self, "lr", number_or_schedule(f"{type(self).__name__}: lr", self.lr))
        self.check("finite and not negative", "weight_decay")
        if self.clip_norm is not None:
            self.check("positive and finite", "clip_norm")

    def check(self, expected: str, *options: str) -> None:
        """Convert options to Python floats, or raise an error if a value is not as `expected`.

        Parameters
        ----------
        expected : str
            "finite", "positive and finite", "finite and not negative", "from 0 to below 1", "from 0 to 1" or "above 0
            and at most 1".
        *options : str
            The names of the options.
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
            The parameters, all in the same library, real floating dtype and device.

        Returns
        -------
        dict of arrays

        Raises
        ------
        TypeError, ValueError
            If the parameters do not have the same library, dtype and device, or if `params` is empty.
        """
        if not params:
            raise ValueError(f"{type(self).__name__}: params is empty; there is nothing to optimize")
        named = {f"params[{name!r}]": p for name, p in params.items()}
        xp = namespace(**named)
        check_floating(xp, type(self).__name__, **named)
        state = {f"{kind}.{name}": xp.zeros_like(p) for kind in self.state_names for name, p in params.items()}
        if self._counting:
            where = device(next(iter(params.values())))
            state["step"] = xp.zeros((), dtype=index_dtype(xp, where), device=where)
        return state

    @overload
    def update(self, params: Params, grads: Params) -> None: ...
    @overload
    def update(self, params: Params, grads: Params, state: Params) -> tuple[Params, Params]: ...
    @on_arrays_device
    def update(self, params: Params, grads: Params, state: Params | None = None) -> tuple[Params, Params] | None:
        """Make one update.

        With `state`, this is a pure function. Without `state`, it is the book's ``optimizer.update(params, grads)``:
        the new parameters are put into the dict `params`, and the optimizer keeps the new state in its attribute
        `state`.

        Parameters
        ----------
        params : dict of arrays
            The parameters.
        grads : dict of arrays
            dL/dp for each parameter p, in the shape of p.
        state : dict of arrays, optional
            The optimizer state, from `init` or from the previous update.

        Returns
        -------
        params, state : dict of arrays, only with `state`
            The new parameters and the new optimizer state.

        Raises
        ------
        ValueError
            Without `state`, if the optimizer has a state that belongs to another dict of parameters.
        """
        if state is None:
            self._update_dict(params, grads)
            return None
        step = state["step"] if self._counting else None
        first = next(iter(params.values()))
        xp = namespace(params=first)
        # NumPy's 0-d results are scalars, and these would widen parameters just as arrays do.
        scales = [xp.astype(s, first.dtype, copy=False) if hasattr(s, "dtype") else s for s in self.scales(step)]
        if self.clip_norm is not None:
            grads = _clip({name: grads[name] for name in params}, self.clip_norm)

        rule = backend_of(first).fuse(self.rule)

        def moved(name: str, p: Array, g: Array) -> tuple[Array, ...]:
            if self._decays:
                p, g = self.decay(p, g, scales[0])
            found: tuple[Array, ...] = rule(p, g, *scales, *[state[f"{kind}.{name}"] for kind in self.state_names])
            return found

        results = {name: moved(name, p, grads[name]) for name, p in params.items()}
        after = {
            f"{kind}.{name}": value
            for name, (_, *kept) in results.items()
            for kind, value in zip(self.state_names, kept, strict=True)
        }
        counter = {} if step is None else {"step": xp.asarray(step + 1)}
        return {name: p for name, (p, *_) in results.items()}, after | counter

    def _update_dict(self, params: Params, grads: Params) -> None:
        """Make one update of the dict `params`, with the state that the optimizer keeps."""
        given, slopes = ({name: as_array(a) for name, a in arrays.items()} for arrays in (params, grads))
        if self.state and self._params is not params:
            raise ValueError(
                f"{type(self).__name__}: params is another dict than in the last update(params, grads), whose state "
                "the optimizer keeps; make a new optimizer for each network, or pass a state"
            )
        after, state = self.update(given, slopes, self.init(given) if self.state is None else self.state)
        params.update(after)
        for name, value in (("state", state), ("_params", params)):
            object.__setattr__(self, name, value)  # no option: the dataclass is frozen

    @property
    def _counting(self) -> bool:
        return self.counts or callable(self.lr)

    @property
    def _decays(self) -> bool:
        """Whether there is weight decay. An array, in `fit_many`, may have any value."""
        return type(self.weight_decay) is not float or self.weight_decay != 0

    def scales(self, step: Array) -> tuple[Array | float, ...]:
        """The numbers that `rule` takes in this update; the learning rate is the first one.

        `step` is the number of updates so far, or None if updates are not counted.
        """
        return (self.lr(step) if callable(self.lr) else self.lr,)

    def decay(self, p: Array, g: Array, lr: Array | float) -> tuple[Array, Array]:
        """A parameter and its gradient after weight decay."""
        return p, g + self.weight_decay * p

    @abstractmethod
    def rule(self, *args: Any) -> tuple[Array, ...]:
        """The update of one parameter.

        `rule` takes the parameter, its gradient, the numbers of `scales`, and the arrays of `state_names`, in this
        order. It returns the new parameter and the new arrays.
        """


def _clip(gradients: Params, most: float) -> Params:
    """The gradients; if their norm, over all parameters together, is above `most`, they are scaled to `most`."""
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

    @overload
    def update(self, params: Params, grads: Params) -> None: ...
    @overload
    def update(self, params: Params, grads: Params, state: Params) -> tuple[Params, Params]: ...
    @on_arrays_device
    def update(self, params: Params, grads: Params, state: Params | None = None) -> tuple[Params, Params] | None:
        """Make one update, as `Optimizer.update` does; without other options than `lr`, with fewer calls."""
        if state is None:
            super().update(params, grads)
            return None
        if callable(self.lr) or self._decays or self.clip_norm is not None:
            return super().update(params, grads, state)
        rule = backend_of(next(iter(params.values()))).fuse(self.rule)
        return {name: rule(p, grads[name], self.lr)[0] for name, p in params.items()}, state

    @elementwise
    def rule(self, p: Array, g: Array, lr: Array | float) -> tuple[Array]:
        """The new parameter."""
        return (p - lr * g,)


@dataclass(frozen=True)
class Momentum(Optimizer):
    """Stochastic gradient descent with momentum: v ← α v + g, p ← p - lr v, where g = dL/dp and v starts at 0.

    Parameters
    ----------
    lr : float or schedule, default 0.01
        The learning rate, positive.
    momentum : float, default 0.9
        The momentum α, from 0 to below 1: the fraction of the velocity v that is kept at each update.
    weight_decay, clip_norm
        See `Optimizer`.

    Notes
    -----
    v is PyTorch's `momentum_buffer`. In the book, the velocity contains the learning rate: v ← α v - lr g and p ← p +
    v. With a constant learning rate, both give the same parameters.

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
    state_names: ClassVar[tuple[str, ...]] = ("v",)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check("from 0 to below 1", "momentum")

    @elementwise
    def rule(self, p: Array, g: Array, lr: Array | float, v: Array) -> tuple[Array, Array]:
        """The new parameter and its new velocity."""
        v = self.momentum * v + g
        return p - lr * v, v


@dataclass(frozen=True)
class Nesterov(Momentum):
    """Nesterov momentum: v ← α v + g, p ← p - lr (g + α v), where g = dL/dp and v starts at 0.

    Parameters
    ----------
    lr : float or schedule, default 0.01
        The learning rate, positive.
    momentum : float, default 0.9
        The momentum α, from 0 to below 1: the fraction of the velocity v that is kept at each update.
    weight_decay, clip_norm
        See `Optimizer`.

    Notes
    -----
    Nesterov's method computes the gradient at the point to which the velocity leads. Let q be its parameters. An
    update is v ← α v + dL/dq at q - lr α v, and q ← q - lr v. The parameters of this class are p = q - lr α v, the
    point where the gradient is computed. In an update, q changes by -lr v, and the difference p - q changes by lr α
    v_before - lr α v. With v = α v_before + g, the sum of both changes is -lr (g + α v).

    This is PyTorch's form. The velocity of the book's program contains the learning rate, and the program adds
    α² v - (1 + α) lr g to the parameters. This is the same update if v is the velocity before the update. The book's
    program uses the velocity after the update.

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
        """The new parameter and its new velocity."""
        v = self.momentum * v + g
        return p - lr * (g + self.momentum * v), v


@dataclass(frozen=True)
class AdaGrad(Optimizer):
    """AdaGrad: h ← h + g², p ← p - lr g / (√h + ε), where g = dL/dp. Elements with large gradients get smaller steps.

    Parameters
    ----------
    lr : float or schedule, default 0.01
        The learning rate, positive.
    eps : float, default 1e-10
        A positive number ε that avoids a division by 0.
    weight_decay, clip_norm
        See `Optimizer`.

    Notes
    -----
    h starts at 0. It is PyTorch's `sum`. In the book, ε is 1e-7.

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
    state_names: ClassVar[tuple[str, ...]] = ("h",)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check("positive and finite", "eps")

    @elementwise
    def rule(self, p: Array, g: Array, lr: Array | float, h: Array) -> tuple[Array, Array]:
        """The new parameter, and the sum of its squared gradients."""
        xp = namespace(p=p, g=g, h=h)
        h = h + g * g
        return p - lr * g / (xp.sqrt(h) + self.eps), h


@dataclass(frozen=True)
class RMSprop(Optimizer):
    """RMSprop: h ← ρ h + (1 - ρ) g², p ← p - lr g / (√h + ε), where g = dL/dp and h starts at 0.

    Parameters
    ----------
    lr : float or schedule, default 0.01
        The learning rate, positive.
    decay_rate : float, default 0.99
        The decay rate ρ, from 0 to below 1: the fraction of the mean h that is kept at each update.
    eps : float, default 1e-8
        A positive number ε that avoids a division by 0.
    weight_decay, clip_norm
        See `Optimizer`.

    Notes
    -----
    h is PyTorch's `square_avg`, and ρ is PyTorch's `alpha`. In the book's program, ε is 1e-7. optax adds ε under the
    root by default; with ``eps_in_sqrt=False``, its update is the same as here.

    References
    ----------
    Saito (2016), Deep Learning from Scratch, section 6.1.5. Tieleman and Hinton (2012), Neural Networks for Machine
    Learning, lecture 6.5.

    Examples
    --------
    >>> import numpy as np
    >>> optimizer = RMSprop(lr=0.5, decay_rate=0.75)
    >>> params = {"W": np.asarray([8.0, 8.0])}
    >>> params, state = optimizer.update(params, {"W": np.asarray([2.0, 0.2])}, optimizer.init(params))
    >>> params["W"].round(6), state["h.W"].round(6)
    (array([7., 7.]), array([1.  , 0.01]))
    """

    lr: float | Schedule = 0.01
    decay_rate: float = 0.99
    eps: float = 1e-8
    state_names: ClassVar[tuple[str, ...]] = ("h",)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check("from 0 to below 1", "decay_rate")
        self.check("positive and finite", "eps")

    @elementwise
    def rule(self, p: Array, g: Array, lr: Array | float, h: Array) -> tuple[Array, Array]:
        """The new parameter, and the mean of its squared gradients."""
        xp = namespace(p=p, g=g, h=h)
        h = self.decay_rate * h + (1 - self.decay_rate) * g * g
        return p - lr * g / (xp.sqrt(h) + self.eps), h


@dataclass(frozen=True)
class Adam(Optimizer):
    """Adam: momentum, with a step size for each element.

    With g = dL/dp, m and v that start at 0, and t the number of the update, from 1:

    - m ← β₁ m + (1 - β₁) g
    - v ← β₂ v + (1 - β₂) g²
    - p ← p - lr m̂ / (√v̂ + ε), where m̂ = m / (1 - β₁ᵗ) and v̂ = v / (1 - β₂ᵗ)

    Parameters
    ----------
    lr : float or schedule, default 0.001
        The learning rate, positive.
    beta1, beta2 : float, default 0.9 and 0.999
        The decay rates β₁ and β₂, from 0 to below 1: the fraction of each mean that is kept at each update.
    eps : float, default 1e-8
        A positive number ε that avoids a division by 0.
    weight_decay, clip_norm
        See `Optimizer`.

    Notes
    -----
    m and v start at 0, so they are too small by the factor 1 - βᵗ. This factor is the sum of the weights (1 - β) βⁱ
    of the gradients so far. The division in m̂ and v̂ corrects this bias. The factor is computed as -expm1(t log β),
    which is exact to rounding even in float32. 1 - 0.999 is not.

    m and v are PyTorch's `exp_avg` and `exp_avg_sq`. In the book's program, ε is 1e-7 and is added to √v, not to √v̂.
    In the formula above, this is ε = 1e-7 / √(1 - β₂ᵗ), which is 3e-6 in the first update.

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
    state_names: ClassVar[tuple[str, ...]] = ("m", "v")
    counts: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check("from 0 to below 1", "beta1", "beta2")
        self.check("positive and finite", "eps")

    def scales(self, step: Array) -> tuple[Array | float, ...]:
        """The learning rate, and the bias corrections of m and √v."""
        logs = (math.log(b) if b else -math.inf for b in (self.beta1, self.beta2))
        short_m, short_root = _short(real(step + 1), *logs)
        return *super().scales(step), short_m, short_root

    @elementwise
    def rule(
        self, p: Array, g: Array, lr: Array | float, short_m: Array, short_root: Array, m: Array, v: Array
    ) -> tuple[Array, Array, Array]:
        """The new parameter, and the new means of its gradients and of their squares."""
        xp = namespace(p=p, g=g, m=m, v=v)
        m = self.beta1 * m + (1 - self.beta1) * g
        v = self.beta2 * v + (1 - self.beta2) * g * g
        return p - lr / short_m * m / (xp.sqrt(v) / short_root + self.eps), m, v


@elementwise
def _short(t: Array, log1: float, log2: float) -> tuple[Array, Array]:
    """The bias corrections of m and √v: the factors by which they are too small."""
    xp = namespace(t=t)
    return -xp.expm1(t * log1), xp.sqrt(-xp.expm1(t * log2))


@dataclass(frozen=True)
class AdamW(Adam):
    """Adam with decoupled weight decay: p ← (1 - lr λ) p, and then the update of `Adam` without weight decay.

    Parameters
    ----------
    lr : float or schedule, default 0.001
        The learning rate, positive.
    beta1, beta2 : float, default 0.9 and 0.999
        The decay rates β₁ and β₂, from 0 to below 1: the fraction of each mean that is kept at each update.
    eps : float, default 1e-8
        A positive number ε that avoids a division by 0.
    weight_decay : float, default 0.01
        The weight decay λ. It is multiplied by the learning rate. Unlike the weight decay of `Adam`, it does not
        depend on the size of past gradients.
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
        """The parameter after weight decay, and its unchanged gradient."""
        return (1 - lr * self.weight_decay) * p, g

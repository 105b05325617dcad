"""The estimators: `MLPClassifier` and `MLPRegressor`."""

import contextlib
import inspect
import warnings
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from numbers import Real
from types import MappingProxyType, SimpleNamespace
from typing import Any, ClassVar, TypeAlias

import numpy as np

from .. import layers, nn
from .._array import device, dtype_name, from_host, has_float64, index_dtype, namespace
from .._typing import Array, Params
from ..backends import backend_of, not_installed, on_arrays_device, to_numpy
from ..functions import sigmoid, softmax
from ..nn.base import check_initializer
from ..nn.sequential import Sequential
from ..optim.optimizers import Adam, Optimizer
from ..training.callbacks import Callback
from ..training.config import optimizer_of
from ..training.evaluation import Measures
from ..training.loop import Diverged, Loop
from ..training.samples import Batches, in_batches
from ..training.step import Best, Carry, Updates, is_known

try:
    import sklearn.neural_network
    from scipy.optimize import minimize
    from scipy.sparse import csr_matrix, issparse
    from sklearn import get_config
    from sklearn.base import BaseEstimator
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.metrics import accuracy_score, r2_score
    from sklearn.model_selection import train_test_split
    from sklearn.utils import check_random_state, column_or_1d
    from sklearn.utils._param_validation import Interval, StrOptions
    from sklearn.utils.class_weight import compute_class_weight, compute_sample_weight
    from sklearn.utils.metaestimators import available_if
    from sklearn.utils.multiclass import check_classification_targets, type_of_target
    from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data
except ModuleNotFoundError as error:
    raise not_installed("sklearn", error) from None

__all__ = ["MLPClassifier", "MLPRegressor"]

Host: TypeAlias = np.ndarray[Any, Any]
Data: TypeAlias = tuple[Array, ...]

_ACTIVATIONS: dict[str, list[nn.Description]] = {
    "identity": [],
    "logistic": [nn.Sigmoid()],
    "tanh": [nn.Tanh()],
    "relu": [nn.Relu()],
}
_LOSSES: dict[str, nn.LossDescription] = {
    "softmax": nn.CrossEntropy(),
    "logistic": nn.BinaryCrossEntropy(),
    "identity": nn.MeanSquaredError(),
    "exp": nn.Poisson(),
}
_NORMALIZATION = {"gamma": 1.0, "beta": 0.0, "mean": 0.0, "var": 1.0}
"""The arrays of batch normalization, and their initial values."""
_OPTIONS = {"dropout": 0.0, "batch_norm": False, "weight_init": None, "optimizer": None}
"""The parameters that scikit-learn's estimators do not have, and their defaults."""
_CONSTRAINTS = {
    "dropout": [Interval(Real, 0, 1, closed="left")],
    "batch_norm": ["boolean"],
    "weight_init": [callable, None],
    "optimizer": [Optimizer, type, str, None],
}
_NOT_FINITE = (
    "Solver produced non-finite parameter weights. "
    "The input data may contain large values and need to be preprocessed."
)


@dataclass(frozen=True)
class _Velocity(Optimizer):
    """Momentum as in the book and in scikit-learn: the velocity contains the learning rate, v ← α v - lr g."""

    momentum: float = 0.9
    nesterov: bool = True
    state_names: ClassVar[tuple[str, ...]] = ("v",)

    def rule(self, p: Array, g: Array, lr: Array | float, v: Array) -> tuple[Array, Array]:
        v = self.momentum * v - lr * g
        return p + (self.momentum * v - lr * g if self.nesterov else v), v


class _Adam(Adam):
    """Adam as in scikit-learn, with ε added to √v, not to √v̂."""

    def scales(self, step: Array) -> tuple[Array | float, ...]:
        lr, short_m, short_root = super().scales(step)
        return (lr * short_root / short_m,)

    def rule(  # type: ignore[override]
        self, p: Array, g: Array, lr: Array | float, m: Array, v: Array
    ) -> tuple[Array, Array, Array]:
        m = self.beta1 * m + (1 - self.beta1) * g
        v = self.beta2 * v + (1 - self.beta2) * g * g
        return p - lr * m / (namespace(v=v).sqrt(v) + self.eps), m, v


class _SparseAffine(layers.Affine):
    """The first layer for samples in a sparse matrix. Its input is an array of row indices."""

    def __init__(self, X: Any, W: Array, b: Array) -> None:
        super().__init__(W, b)
        self.X = X

    def forward(self, rows: Array, /) -> Array:
        self.x = self.X[rows]
        return self.x @ self.W + self.b

    def backward_params(self, dout: Array, /) -> None:
        self.dW, self.db = self.x.T @ dout, dout.sum(axis=0)


@dataclass(frozen=True, repr=False)
class _SparseDense(nn.Dense):
    """The description of a `_SparseAffine` layer on the matrix `X`."""

    X: Any = None
    takes_floats = False

    def layer(self, arrays: Sequence[Array], training: bool) -> layers.Affine:
        return _SparseAffine(self.X, *arrays)


def has_sparse_layout(X: Any) -> bool:
    """Whether `X` is a sparse tensor: an array of a library in which arrays have a layout, as in PyTorch."""
    return "sparse" in str(getattr(X, "layout", ""))


def _check_rows(X: Array) -> None:
    """Raise an error if the library cannot take a mini-batch from a sparse tensor."""
    backend = backend_of(X)
    try:
        backend.rows(X, backend.index(np.zeros(1, dtype="int64"), X))
    except NotImplementedError as error:
        raise TypeError(
            f"X has the layout {X.layout}, from which its library cannot take the rows of a mini-batch; pass X in a "
            "coordinate (COO) layout, or a dense array"
        ) from error


def _takes_batches(estimator: Any) -> bool:
    if estimator.solver == "lbfgs":
        raise AttributeError("partial_fit needs solver='sgd' or 'adam', which take a mini-batch at a time")
    return True


def _floats(X: Any) -> list[Any]:
    """The floating dtypes that samples may have. Samples of another dtype are converted to the first of these."""
    xp, where = namespace(host=np.empty(0)), None
    if get_config()["array_api_dispatch"]:
        with contextlib.suppress(TypeError):  # X is a list or a DataFrame
            xp, where = namespace(X=X), device(X)
    return [xp.float64, xp.float32] if has_float64(xp, where) else [xp.float32]


def _beside(host: Host, W: Array) -> Array:
    """A NumPy array, moved to the library and device of `W`. Integers become indices; others get the dtype of `W`."""
    xp, where = namespace(W=W), device(W)
    return from_host(host, xp, index_dtype(xp, where) if host.dtype.kind in "iu" else W.dtype, where)


def _on_host(y: Any) -> Host:
    dense: Host = y.toarray() if issparse(y) else to_numpy(y)
    return dense


def _labels(y: Host) -> Host:
    found = np.unique(y)
    return np.asarray(found.tolist()) if found.dtype.kind == "O" else found


def _cast(X: Any, dtype: Any) -> Any:
    if X.dtype == dtype:
        return X
    return X.astype(dtype) if issparse(X) else namespace(X=X).astype(X, dtype)


def _constructor(theirs: type, **own: Any) -> Callable[..., None]:
    """The method `__init__` with the parameters of scikit-learn's class `theirs`, then `own` with their defaults."""

    def constructor(self: Any, *args: Any, **options: Any) -> None:
        vars(self).update({name: options.pop(name, default) for name, default in own.items()})
        theirs.__init__(self, *args, **options)  # type: ignore[misc]

    given = inspect.signature(theirs.__init__)  # type: ignore[misc]
    added = [inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=value) for name, value in own.items()]
    constructor.__signature__ = given.replace(parameters=[*given.parameters.values(), *added])  # type: ignore[attr-defined]
    return constructor


def _drawn(weight_init: Any, rng: np.random.Generator, shape: tuple[int, int]) -> Host:
    """Initial weights of this shape."""
    check_initializer("", weight_init)
    W = np.asarray(weight_init(rng, shape))
    if W.shape != shape:
        raise ValueError(f"weight_init must return weights of the shape that it is given, {shape}, got {W.shape}")
    return W


class _Perceptron(BaseEstimator):
    """The base class of both estimators: everything except the meaning of targets and predictions."""

    n_outputs_: int
    out_activation_: str
    _memory: Params | None
    _mask_rng: np.random.Generator | None = None
    normalization_: Mapping[str, Array] = MappingProxyType({})

    @on_arrays_device
    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Any:
        """Train the network.

        Parameters
        ----------
        X : array or sparse matrix, shape (N, D)
            Samples.
        y : array, shape (N,) or (N, K), or sparse indicator matrix
            Targets.
        sample_weight : array, shape (N,), optional
            The weight of each sample.

        Returns
        -------
        self
        """
        return self._train(X, y, sample_weight, incremental=False)

    @available_if(_takes_batches)
    @on_arrays_device
    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None) -> Any:
        """Continue training with one pass over the samples. The arguments are those of `fit`."""
        return self._train(X, y, sample_weight, incremental=True)

    def _train(self, X: Any, y: Any, sample_weight: Any, incremental: bool) -> Any:
        stack, data, targets = self._prepare(X, y, sample_weight, incremental)
        with np.errstate(over="ignore", invalid="ignore"):
            if self.solver == "lbfgs":
                self._minimize(stack, data)
            else:
                self._descend(stack, data, targets, incremental)
        self._check_finite()
        return self

    def _prepare(self, X: Any, y: Any, sample_weight: Any, incremental: bool) -> tuple[Sequential, Data, Host]:
        """Check the arguments. Returns the network, its data as arrays, and the targets on the host."""
        self._validate_params()
        if self.solver == "lbfgs" and (self.dropout or self.batch_norm or self.optimizer is not None):
            raise ValueError(
                "dropout, batch_norm and optimizer need solver='adam' or 'sgd', which take a mini-batch at a time"
            )
        new = not hasattr(self, "coefs_") or not (self.warm_start or incremental)
        X, y = validate_data(
            self,
            X,
            y,
            accept_sparse="csr",
            multi_output=True,
            y_numeric=self._numeric,
            dtype=_floats(X),
            reset=new,
            order="C",
        )
        y = column_or_1d(y, warn=True) if y.ndim == 2 and y.shape[1] == 1 else y
        hidden = [int(units) for units in np.atleast_1d(self.hidden_layer_sizes)]
        if min(hidden, default=1) < 1:
            raise ValueError(f"hidden_layer_sizes must be > 0, got {hidden}.")
        self._random_state = check_random_state(self.random_state)
        targets = self._targets(y, new, incremental)
        if new:
            self._initialize(X, [X.shape[1], *hidden, self.n_outputs_])
        else:
            self._check_place(X, "partial_fit" if incremental else "fit")
            if self.n_layers_ > 2 and bool(self.normalization_) != self.batch_norm:
                raise ValueError(f"batch_norm={self.batch_norm} is not as in the first fit; train another estimator")
        W = self.coefs_[0]
        xp = namespace(W=W)
        stack, x = self._network(_cast(X, W.dtype))
        data: Data = (x, _beside(targets, W))
        if sample_weight is not None or getattr(self, "class_weight", None) is not None:
            weights = _beside(np.ones(X.shape[0]), W)
            if sample_weight is not None:
                weights = _check_sample_weight(sample_weight, X, dtype=W.dtype)
            data = (*data, self._class_weighted(weights, y, incremental))
            if not bool(xp.any(data[2] != 0)):  # an older scikit-learn takes them
                raise ValueError("Sample weights must contain at least one non-zero number.")
        return stack, data, targets

    def _check_finite(self) -> None:
        xp = namespace(W=self.coefs_[0])
        if not all(bool(xp.all(xp.isfinite(p))) for p in (self._params | self._state).values()):
            raise ValueError(_NOT_FINITE)

    def _initialize(self, X: Any, units: list[int]) -> None:
        """Draw the initial parameters: without `weight_init`, those of scikit-learn for the same `random_state`."""
        like = np.empty(0) if issparse(X) else X

        def placed(host: Host) -> Array:
            return from_host(host, namespace(X=like), X.dtype, device(like))

        self.n_layers_, self.n_iter_, self.t_ = len(units), 0, 0
        factor = 2.0 if self.activation == "logistic" else 6.0
        rng = None if self.weight_init is None else self._generator()
        self.coefs_: list[Array] = []
        self.intercepts_: list[Array] = []
        for fan_in, fan_out in zip(units, units[1:], strict=False):
            bound = (factor / (fan_in + fan_out)) ** 0.5
            if rng:
                W, b = _drawn(self.weight_init, rng, (fan_in, fan_out)), np.zeros(fan_out)
            else:
                W, b = (self._random_state.uniform(-bound, bound, shape) for shape in ((fan_in, fan_out), (fan_out,)))
            self.coefs_.append(placed(W))
            self.intercepts_.append(placed(b))
        self.normalization_ = {
            f"{name}{i}": placed(np.full(count, value))
            for i, count in enumerate(units[1:-1] if self.batch_norm else (), 1)
            for name, value in _NORMALIZATION.items()
        }
        self._mask_rng = None
        if self.solver != "lbfgs":
            self._start_records()

    def _generator(self) -> np.random.Generator:
        return np.random.default_rng(self._random_state.randint(np.iinfo(np.int32).max))

    def _class_weighted(self, weights: Array, y: Any, incremental: bool) -> Array:
        """The sample weights, multiplied by the weights of the classes."""
        return weights

    def _start_records(self) -> None:
        self.loss_curve_: list[float] = []
        self._no_improvement_count = 0
        self.validation_scores_: list[float] | None = [] if self.early_stopping else None
        self.best_validation_score_: Any = -np.inf if self.early_stopping else None
        self.best_loss_: Any = None if self.early_stopping else np.inf

    def _set_outputs(self, count: int, activation: str, new: bool) -> None:
        if not new and (count, activation) != (self.n_outputs_, self.out_activation_):
            raise ValueError(
                f"`y` must have the kind of targets of the previous call, {self.n_outputs_} outputs "
                f"({self.out_activation_}), got {count} ({activation}); train another estimator"
            )
        self.n_outputs_, self.out_activation_ = count, activation

    # The network. Its parameters and state are `coefs_`, `intercepts_` and `normalization_`, which a user may change
    # between two calls.

    def _network(self, X: Any) -> tuple[Sequential, Array]:
        """The network for `X`, and the input of its first layer."""
        first, *others = (W.shape[1] for W in self.coefs_)
        between = [
            *([nn.BatchNorm()] if self.normalization_ else []),
            *_ACTIVATIONS[self.activation],
            *([nn.Dropout(self.dropout)] if self.dropout else []),
        ]
        dense = [d for units in others for d in (*between, nn.Dense(units))]
        loss = _LOSSES[self.out_activation_]
        if issparse(X):
            return Sequential(_SparseDense(first, X=X), *dense, loss=loss), np.arange(X.shape[0])
        return Sequential(nn.Dense(first), *dense, loss=loss), X

    @property
    def _params(self) -> Params:
        named = {f"W{i}": W for i, W in enumerate(self.coefs_, 1)}
        named |= {f"b{i}": b for i, b in enumerate(self.intercepts_, 1)}
        return named | {name: a for name, a in self.normalization_.items() if name.startswith(("gamma", "beta"))}

    @property
    def _state(self) -> Params:
        return {name: a for name, a in self.normalization_.items() if name.startswith(("mean", "var"))}

    def _keep(self, params: Params, state: Params) -> None:
        """Keep these parameters and this state of the network."""
        numbers = range(1, self.n_layers_)
        self.coefs_ = [params[f"W{i}"] for i in numbers]
        self.intercepts_ = [params[f"b{i}"] for i in numbers]
        self.normalization_ = {name: (params | state)[name] for name in self.normalization_}

    def _objective(self, stack: Sequential, alpha: float | Array) -> Callable[..., tuple[Array, Params, Params]]:
        """A pure function of parameters and a batch, and of the state and masks of the layers.

        It returns the loss and its gradient, with the L2 penalty, and the new state.
        """
        # As in scikit-learn, the reported squared error is a mean over the outputs; the gradient is that of the sum.
        shown = 1 / self.n_outputs_ if self.out_activation_ == "identity" else 1.0

        def objective(
            params: Params, x: Array, t: Array, weight: Array | None = None, **more: Params | None
        ) -> tuple[Array, Params, Params]:
            loss, gradients, state = stack.loss_and_gradient(params, x, t, weight=weight, **more)
            loss = shown * loss
            if type(alpha) is not float or alpha:
                xp = namespace(x=x)
                samples = x.shape[0] if weight is None else xp.sum(weight)
                decay = alpha / samples
                coefs = {name: W for name, W in params.items() if name.startswith("W")}
                loss = loss + 0.5 * decay * sum(xp.sum(W * W) for W in coefs.values())
                gradients = gradients | {name: gradients[name] + decay * W for name, W in coefs.items()}
            return loss, gradients, state

        return objective

    # Solvers

    def _new_optimizer(self) -> Optimizer:
        if self.optimizer is not None:
            return optimizer_of(self.optimizer)
        if self.solver == "adam":
            return _Adam(self._rate, self.beta_1, self.beta_2, self.epsilon)
        return _Velocity(self._rate, self.momentum, self.nesterovs_momentum)

    @property
    def _schedule(self) -> str:
        """How the learning rate changes after an epoch: "constant", "invscaling" or "adaptive"."""
        changes = self.solver == "sgd" and self.optimizer is None
        return str(self.learning_rate) if changes else "constant"

    def _step(self, stack: Sequential, optimizer: Optimizer, alpha: float | Array) -> Callable[..., Any]:
        """One update as a pure function, ``step(carry, batch, masks) -> carry, loss``."""
        objective = self._objective(stack, alpha)

        def step(carry: Carry, batch: Data, masks: Params) -> tuple[Carry, Array]:
            loss, gradients, state = objective(carry.params, *batch, state=carry.state or None, masks=masks or None)
            return Carry(*optimizer.update(carry.params, gradients, carry.memory), state), loss

        return step

    def _updates(self, stack: Sequential) -> Updates:
        """A function that makes many updates, with the current learning rate."""
        optimizer = self._new_optimizer()
        step = self._step(stack, optimizer, float(self.alpha))
        step.known = is_known(stack, optimizer)  # type: ignore[attr-defined]  # see `Backend.compile`
        return backend_of(self.coefs_[0]).repeat(step)

    def _descend(self, stack: Sequential, data: Data, targets: Host, incremental: bool) -> None:
        """Train with the same mini-batches as scikit-learn."""
        epochs = self._start(stack, data, targets, incremental)
        network: Any = SimpleNamespace(params=self._params, state=self._state)
        optimizer, run = self._new_optimizer(), self._updates(stack)
        masks = epochs.draw if stack.mask_names else None
        loop = Loop(network, optimizer, run, epochs.batches, epochs.rng, masks, _Unmeasured(), [epochs])
        if self._memory is not None:
            loop.done = loop.done._replace(carry=loop.carry._replace(memory=self._memory))
        finite = True
        try:
            loop.go(1 if incremental else self.max_iter)
        except Diverged:
            epochs.record(loop.history.loss[loop.before :])
            finite = False
        over = incremental or loop.over
        self._finish(epochs, loop.carry, finite, loop.history.interrupted, over)

    def _start(self, stack: Sequential, data: Data, targets: Host, incremental: bool) -> "_Epochs":
        """What is needed before the first update."""
        if has_sparse_layout(data[0]):
            _check_rows(data[0])
        if self.dropout and self._mask_rng is None:
            self._mask_rng = self._generator()
        epochs = _Epochs(self, stack, data, targets, incremental)
        solver = self.solver
        if self.optimizer is not None:
            optimizer = self._new_optimizer()
            solver = type(optimizer), callable(optimizer.lr)  # what the arrays of its state depend on
        if not incremental or getattr(self, "_solver", None) != solver:
            self._solver, self._rate, self._memory = solver, float(self.learning_rate_init), None
        if not hasattr(self, "loss_curve_") or self.early_stopping != (self.best_loss_ is None):
            self._start_records()  # the solver or early_stopping was changed
        self.n_iter_ = 0
        return epochs

    def _finish(self, epochs: "_Epochs", carry: Carry, finite: bool, interrupted: bool, over: bool) -> None:
        """Keep the result of the last update, and warn if training has not converged."""
        self._memory = carry.memory
        self._keep(*(epochs.best if self.early_stopping else (carry.params, carry.state)))
        if interrupted:
            warnings.warn("Training interrupted by user.", stacklevel=6)
        elif not finite:
            if not self.early_stopping:
                raise ValueError(_NOT_FINITE)
            epochs.keep_score(np.nan)
            message = (
                f"The loss is {self.loss_} in epoch {self.n_iter_}. Training has ended, with the best parameters."
            )
            warnings.warn(message, ConvergenceWarning, stacklevel=6)
        elif not over:
            message = f"Maximum iterations ({self.max_iter}) reached and the optimization hasn't converged yet."
            warnings.warn(f"Stochastic Optimizer: {message}", ConvergenceWarning, stacklevel=6)

    def _minimize(self, stack: Sequential, data: Data) -> None:
        """Train with SciPy's L-BFGS-B on the host. Loss and gradient are computed on the device of the samples."""
        start = self._params
        names, W = list(start), self.coefs_[0]
        objective = self._objective(stack, float(self.alpha))
        objective.known = is_known(stack)  # type: ignore[attr-defined]  # see `Backend.compile`
        objective = backend_of(W).compile(objective)
        cuts = np.cumsum([np.prod(start[name].shape) for name in names])[:-1]

        def unpacked(flat: Host) -> Params:
            parts = zip(names, np.split(flat, cuts), strict=True)
            return {name: _beside(part.reshape(tuple(start[name].shape)), W) for name, part in parts}

        def packed(arrays: Params) -> Host:
            return np.concatenate([to_numpy(arrays[name]).ravel() for name in names]).astype("float64")

        def both(flat: Host) -> tuple[float, Host]:
            loss, gradients, _ = objective(unpacked(flat), *data)
            return float(loss), packed(gradients)

        options = {"maxfun": self.max_fun, "maxiter": self.max_iter, "gtol": self.tol}
        found = minimize(both, packed(start), method="L-BFGS-B", jac=True, options=options)
        if found.status:
            warnings.warn(
                f"lbfgs failed to converge after {found.nit} iterations: {found.message}. Increase max_iter or "
                "max_fun, or scale the data.",
                ConvergenceWarning,
                stacklevel=5,
            )
        self.n_iter_, self.loss_ = min(found.nit, self.max_iter), float(found.fun)
        self._keep(unpacked(found.x), {})

    # Predictions

    def _check_place(self, X: Any, method: str) -> None:
        """Raise an error if `X` is not in the library and on the device of the network."""
        arrays = np.empty(0) if issparse(X) else X, self.coefs_[0]
        here, fitted = ((namespace(a=a).__name__, device(a)) for a in arrays)
        if here != fitted:
            raise ValueError(
                f"Inputs passed to {type(self).__name__}.{method}() must use the same namespace and the same device "
                f"as those passed to fit(), {fitted[0]} on {fitted[1]}; got {here[0]} on {here[1]}. Convert them, or "
                "move the estimator with its method to()"
            )

    def _outputs(self, X: Any, method: str = "predict") -> Array:
        """The network's outputs for `X`, after its last activation."""
        check_is_fitted(self)
        X = validate_data(self, X, accept_sparse="csr", dtype=_floats(X), reset=False)
        self._check_place(X, method)
        W = self.coefs_[0]
        dtype = namespace(W=W).result_type(X.dtype, W.dtype)
        stack, x = self._network(_cast(X, dtype))
        own = self._params, self._state
        params, state = ({name: _cast(a, dtype) for name, a in arrays.items()} for arrays in own)
        return self._activated(stack.predict(params, x, state=state or None))

    @on_arrays_device
    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """The accuracy of a classifier, or R² of a regressor, as scikit-learn's estimators define it."""
        return float(super().score(X, y, sample_weight))

    def _activated(self, scores: Array) -> Array:
        match self.out_activation_:
            case "softmax":
                return softmax(scores)
            case "logistic":
                return sigmoid(scores)
            case "exp":
                return namespace(scores=scores).exp(scores)
            case _:
                return scores

    def to(self, like: Array) -> Any:
        """A copy of the fitted estimator in the library and on the device of an array.

        Parameters
        ----------
        like : array
            An array of the library and on the device that the copy computes with, such as the samples to predict.

        Returns
        -------
        MLPClassifier or MLPRegressor
            The copy. Its predictions are the same up to rounding, and `partial_fit` continues its training. float64
            becomes float32 if the device has no float64.

        Raises
        ------
        NotFittedError
            If the estimator is not fitted.
        TypeError
            If `like` is not an array of a library that follows the array API standard.

        Examples
        --------
        >>> import array_api_strict
        >>> model = MLPRegressor(hidden_layer_sizes=(3,), solver="lbfgs").fit([[0.0], [1.0]], [0.0, 1.0])
        >>> model.to(array_api_strict.zeros(1)).coefs_[1].shape
        (3, 1)
        """
        check_is_fitted(self)
        xp, where = namespace(like=like), device(like)

        def moved(a: Array) -> Array:
            host, dtype = to_numpy(a), dtype_name(a.dtype)
            if host.dtype.kind in "iu":
                return from_host(host, xp, index_dtype(xp, where), where)
            if dtype == "float64" and not has_float64(xp, where):
                dtype = "float32"
            return from_host(host, xp, dtype, where)

        return self.__sklearn_array_api_convert__(moved)

    def __sklearn_array_api_convert__(self, converter: Callable[[Array], Array]) -> Any:
        """A copy with converted arrays; scikit-learn's `move_estimator_to` calls this method."""
        made = deepcopy(self)
        if not hasattr(made, "coefs_"):  # such as the estimator that a fitted ensemble was given
            return made
        made.coefs_, made.intercepts_ = ([converter(a) for a in arrays] for arrays in (made.coefs_, made.intercepts_))
        made.normalization_ = {name: converter(a) for name, a in made.normalization_.items()}
        if memory := getattr(made, "_memory", None):
            made._memory = {name: converter(a) for name, a in memory.items()}
        if hasattr(made, "classes_") and to_numpy(made.classes_).dtype.kind in "biuf":  # others stay on the host
            made.classes_ = converter(made.classes_)
        return made

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.array_api_support = True
        tags.input_tags.sparse = True
        return tags


class _Unmeasured(Measures):
    """No evaluation: `_Epochs` computes scikit-learn's score."""

    def __init__(self) -> None:
        self.parts = {}

    def check_finite(self, name: str) -> None:
        """Do nothing: scikit-learn's checks have refused NaN and infinite samples."""


class _Epochs(Callback):
    """scikit-learn's epochs: their mini-batches, and what follows each of them."""

    def __init__(self, model: _Perceptron, stack: Sequential, data: Data, targets: Host, incremental: bool) -> None:
        self.model, self.stack, self.data, self.targets = model, stack, data, targets
        self.best = Best(model._params, model._state)
        self.rng = model._mask_rng or np.random.default_rng(0)  # without dropout, nothing is drawn from it
        self.rows, self.held = self._split(incremental)
        self.order, count, size = np.arange(len(self.rows)), len(self.rows), model.batch_size
        if size != "auto" and size > count:
            clipped = "Got `batch_size` less than 1 or larger than sample size. It is going to be clipped"
            warnings.warn(clipped, stacklevel=6)
        self.size, self.sizes = min(200 if size == "auto" else size, count), list[int]()
        self.count = count
        if model.normalization_:
            if self.size < 2:
                raise ValueError(
                    f"batch_norm needs mini-batches of at least 2 samples, got batch_size={size}, n_samples={count}"
                )
            self.count -= count % self.size == 1
        self.weights = to_numpy(data[2]) if len(data) > 2 else None
        self.index = dtype_name(index_dtype(namespace(x=data[0]), device(data[0])))

    def _split(self, incremental: bool) -> tuple[Host, Host]:
        """The rows to train with, and for early stopping those that are held back."""
        model, rows = self.model, np.arange(len(self.targets))
        if not model.early_stopping:
            return rows, rows[:0]
        if incremental:
            raise ValueError("partial_fit does not support early_stopping=True")
        rows, held = train_test_split(
            rows,
            random_state=model._random_state,
            test_size=model.validation_fraction,
            stratify=self.targets if model._binary else None,
        )
        if len(held) < 2:
            raise ValueError(
                "The validation set is too small. Increase 'validation_fraction' or the size of your dataset."
            )
        return rows, held

    def shuffled(self) -> Host:
        """The rows in the order of the next epoch; with `batch_norm`, without a last mini-batch of one sample."""
        if self.model.shuffle:
            self.order = self.order[self.model._random_state.permutation(len(self.order))]
        return self.rows[self.order][: self.count]

    def draw(self, size: int) -> dict[str, Host]:
        """Draw the dropout masks of a mini-batch."""
        return self.stack.draw(self.rng, (size, self.model.n_features_in_))

    def batches(self, done: int) -> Batches:
        """The mini-batches of an epoch, without those in which all weights are 0. Their loss is 0."""
        self.sizes = []
        for part in in_batches(self.shuffled(), self.size):
            if self.weights is not None:
                part = part[self.weights[part].any(axis=1)]
            self.sizes += [part.shape[1]] * len(part)
            yield self.data, part.astype(self.index)

    def on_epoch(self, run: Loop) -> bool:
        if run.epoch == 0:
            return False
        rate = self.model._rate
        self.record(run.history.loss[run.before :])
        over = self.ends(lambda: run.carry)
        if not over and self.model._rate != rate:
            run.run = self.model._updates(self.stack)
        return over

    def record(self, losses: Sequence[float]) -> None:
        """Add the loss of an epoch, the mean over its samples, from the losses of its updates."""
        model, count = self.model, self.count
        model.n_iter_ += 1
        model.t_ += count
        model.loss_ = float(np.asarray(losses) @ self.sizes / count)
        model.loss_curve_.append(model.loss_)
        if model.verbose:
            print(f"Iteration {model.n_iter_}, loss = {model.loss_:.8f}")

    def ends(self, carry: Callable[[], Carry]) -> bool:
        """Whether training ends after the epoch that was recorded. If not, the learning rate may change.

        `carry` returns copies of the current parameters and state.
        """
        model = self.model
        if model.early_stopping:
            self._watch(carry())
        else:
            model._no_improvement_count += 1
            if model.loss_ <= model.best_loss_ - model.tol:
                model._no_improvement_count = 0
            model.best_loss_ = min(model.best_loss_, model.loss_)
        if model._schedule == "invscaling":
            model._rate = model.learning_rate_init / (model.t_ + 1) ** model.power_t
        if model._no_improvement_count > model.n_iter_no_change:
            if self._stops():
                return True
            model._no_improvement_count = 0
        return False

    def _watch(self, carry: Carry) -> None:
        """Compute the score on the validation samples, and keep the parameters if it is the best score so far."""
        model, data = self.model, self.data
        rows = namespace(x=data[0]).asarray(self.held, device=device(data[0]))
        x, *weight = (backend_of(a).rows(a, rows) for a in (data[0], *data[2:]))
        outputs = model._activated(self.stack.predict(carry.params, x, state=carry.state or None))
        answers = to_numpy(model._answers(outputs))
        score = np.nan
        if np.isfinite(answers).all():
            weights = to_numpy(weight[0]) if weight else None
            score = float(model._score(self.targets[self.held], answers, sample_weight=weights))
        self.keep_score(score)
        if score > model.best_validation_score_:
            model.best_validation_score_, self.best = score, Best(carry.params, carry.state)

    def keep_score(self, score: float) -> None:
        """Add a validation score, and count the epochs without a better one."""
        model = self.model
        model.validation_scores_ = [*(model.validation_scores_ or []), score]
        if model.verbose:
            print(f"Validation score: {score:f}")
        better = not score < model.best_validation_score_ + model.tol
        model._no_improvement_count = 0 if better else model._no_improvement_count + 1

    def _stops(self) -> bool:
        """Whether training ends, because there was no improvement. If not, the learning rate may be made smaller."""
        model = self.model
        what = "Validation score" if model.early_stopping else "Training loss"
        message = (
            f"{what} did not improve more than tol={model.tol:f} for {model.n_iter_no_change} consecutive epochs."
        )
        adaptive = model._schedule == "adaptive"
        if adaptive and model._rate > 1e-6:
            model._rate /= 5.0
            if model.verbose:
                print(f"{message} Setting learning rate to {model._rate:f}")
            return False
        if model.verbose:
            print(f"{message} {'Learning rate too small. ' if adaptive else ''}Stopping.")
        return True


class MLPClassifier(_Perceptron, sklearn.neural_network.MLPClassifier):
    """scikit-learn's `MLPClassifier` with xpnet's backpropagation, on the device of the arrays that are passed.

    The parameters of `sklearn.neural_network.MLPClassifier`, with their defaults, and its fitted attributes are the
    same here. With the same `random_state`, initial weights and mini-batches are the same, too. So both train the
    same network, up to rounding. The parameters below are in addition to those of scikit-learn.

    Parameters
    ----------
    class_weight : "balanced", dict or list of dict, optional
        The weight of each class, ``{label: weight}``, by which the sample weights are multiplied. "balanced": weights
        that are inversely proportional to the frequencies of the classes. For several labels for each sample, a list
        with a dict for each label. The validation score of `early_stopping` is weighted with these
        weights, too.
    dropout : float, default 0.0
        The fraction of the units of each hidden layer that are dropped in training, from 0 to below 1. Dropout comes
        after the activation. The masks are drawn with `random_state`.
    batch_norm : bool, default False
        Whether each hidden layer has batch normalization before its activation. A last mini-batch with a single
        sample is left out.
    weight_init : callable, optional
        The initial weights: an initializer such as `xpnet.nn.He`, or a function of a `numpy.random.Generator` and a
        shape. The initial biases are then 0. Default: the initial weights and biases of scikit-learn.
    optimizer : Optimizer, its class or its name, optional
        An optimizer of xpnet, such as ``Momentum(CosineDecay(0.1, 1000))``. The learning rate and all other options
        of `solver` are then not used. `alpha` is used: its L2 penalty is part of the loss.

    Attributes
    ----------
    classes_ : array, shape (K,)
        The labels, in the library of `y`.
    coefs_, intercepts_ : list of arrays
        Weights and biases of each layer, in the library, on the device and in the dtype of `X`.
    normalization_ : dict of arrays
        With `batch_norm`, the scale, shift, running mean and running variance of each hidden layer: "gamma1",
        "beta1", "mean1", "var1", "gamma2", ...
    loss_curve_ : list of float
        The mean loss of each epoch.

    Raises
    ------
    ValueError, TypeError
        As scikit-learn raises them. Also if `dropout`, `batch_norm` or `optimizer` is combined with
        ``solver="lbfgs"``, or ``class_weight="balanced"`` with `partial_fit`.

    Notes
    -----
    Targets and labels are encoded on the host. Sparse matrices stay sparse, and are multiplied by SciPy on the host.
    ``solver="lbfgs"`` is SciPy's optimizer on the host. For each evaluation, the parameters are copied to the device
    and the gradient is copied back.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.model_selection import cross_val_score
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import StandardScaler
    >>> X, y = load_iris(return_X_y=True)
    >>> classifier = MLPClassifier((10,), solver="lbfgs", alpha=1.0, max_iter=1000, random_state=0)
    >>> bool(cross_val_score(make_pipeline(StandardScaler(), classifier), X, y).mean() > 0.95)
    True

    With options that scikit-learn does not have:

    >>> from xpnet import AdamW, CosineDecay
    >>> options = {"dropout": 0.1, "batch_norm": True, "optimizer": AdamW(CosineDecay(0.01, 200)), "max_iter": 100}
    >>> classifier = MLPClassifier((20,), **options, class_weight="balanced", tol=0.0, random_state=0)
    >>> with warnings.catch_warnings():
    ...     warnings.simplefilter("ignore")  # 100 epochs end before the loss stops changing
    ...     print(make_pipeline(StandardScaler(), classifier).fit(X, y).score(X, y) > 0.95)
    True
    """

    __init__ = _constructor(sklearn.neural_network.MLPClassifier, class_weight=None, **_OPTIONS)
    classes_: Array
    _parameter_constraints: ClassVar[dict[str, Any]] = {
        **sklearn.neural_network.MLPClassifier._parameter_constraints,
        "class_weight": [dict, list, StrOptions({"balanced"}), None],
        **_CONSTRAINTS,
    }
    _numeric = False
    _score = staticmethod(accuracy_score)

    @available_if(_takes_batches)
    @on_arrays_device
    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None, classes: Any = None) -> Any:
        """Continue training with one pass over the samples. The arguments are those of `fit`.

        `classes` contains all labels that may occur in later calls. It is required in the first call.
        """
        if classes is not None:
            given = _labels(to_numpy(classes) if hasattr(classes, "dtype") else np.asarray(classes))
            if hasattr(self, "classes_") and not np.array_equal(given, to_numpy(self.classes_)):
                raise ValueError(
                    f"`classes={classes!r}` is not the same as on last call to partial_fit, was: {self.classes_!r}"
                )
            if not hasattr(self, "classes_"):
                self.classes_ = given
        elif not hasattr(self, "classes_"):
            raise ValueError("classes must be passed on the first call to partial_fit.")
        return self._train(X, y, sample_weight, incremental=True)

    def _targets(self, y: Array, new: bool, incremental: bool) -> Host:
        """The targets of the loss for the labels `y`. Sets `classes_` in the first call."""
        check_classification_targets(y)
        kind, host = type_of_target(y), _on_host(y)
        if kind == "multiclass-multioutput":
            raise ValueError(
                "Multioutput target data is not supported; pass one column of labels, or an indicator matrix"
            )
        multilabel = kind == "multilabel-indicator"
        found = np.arange(host.shape[1]) if multilabel else _labels(host)
        if new:
            self._sparse_labels = issparse(y)
        if new and not incremental:
            alike = host.dtype.kind in "biuf" and not issparse(y)
            self.classes_ = namespace(y=y).asarray(found, device=device(y)) if alike else found
        known = to_numpy(self.classes_)
        if self.warm_start and not new and set(found) != set(known):
            raise ValueError(
                "warm_start can only be used where `y` has the same classes as in the previous call to fit. "
                f"Previously got {known}, `y` has {found}"
            )
        if len(np.setdiff1d(found, known)):
            raise ValueError(f"`y` has classes not in `self.classes_`. `self.classes_` has {known}. 'y' has {found}.")
        several = len(known) > 2 and not multilabel
        count = host.shape[1] if multilabel else len(known) if several else 1
        self._set_outputs(count, "softmax" if several else "logistic", new)
        if multilabel:
            return host.astype(bool)
        codes = np.searchsorted(known, host)
        return codes if several else codes[:, None].astype(bool)

    def _class_weighted(self, weights: Array, y: Any, incremental: bool) -> Array:
        if self.class_weight is None:
            return weights
        if incremental and self.class_weight == "balanced":
            raise ValueError(
                "class_weight='balanced' needs all samples at once, but partial_fit has some of them; compute a dict "
                "with sklearn.utils.class_weight.compute_class_weight, and pass class_weight=dict"
            )
        host, known, own = _on_host(y), to_numpy(self.classes_), to_numpy(weights)
        if host.ndim == 1 and isinstance(self.class_weight, list):
            raise ValueError(
                "class_weight must be 'balanced' or a dict for targets with one label for each sample, got a list"
            )
        if host.ndim > 1:
            found = compute_sample_weight(self.class_weight, host)
        else:
            with np.errstate(divide="ignore"):  # all weights of a class may be 0
                of_class = compute_class_weight(self.class_weight, classes=known, y=host, sample_weight=own)
            found = np.nan_to_num(of_class, posinf=0.0)[np.searchsorted(known, host)]
        return weights * _beside(found, weights)

    @property
    def _binary(self) -> bool:
        return bool(self.n_outputs_ == 1)

    def _answers(self, outputs: Array) -> Array:
        """The index of each sample's class; with several labels for each sample, 1 or 0 for each label."""
        xp = namespace(outputs=outputs)
        if self.out_activation_ == "softmax":
            return xp.argmax(outputs, axis=1)
        yes = xp.astype(outputs > 0.5, index_dtype(xp, device(outputs)))
        if not self._binary:
            return yes
        return yes[:, 0] if self.classes_.shape[0] > 1 else xp.zeros_like(yes[:, 0])

    @on_arrays_device
    def predict(self, X: Any) -> Array:
        """The most likely class of each sample, shape (N,), or an indicator matrix for several labels, (N, K)."""
        return self._predicted(self._outputs(X))

    def _predicted(self, outputs: Array) -> Array:
        """The predictions for the activated outputs of the network."""
        answers = self._answers(outputs)
        if self.out_activation_ == "logistic" and not self._binary:
            return csr_matrix(to_numpy(answers)) if self._sparse_labels else answers
        classes = to_numpy(self.classes_)
        if classes.dtype.kind not in "biuf":
            return classes[to_numpy(answers)]
        xp = namespace(answers=answers)
        return xp.take(xp.asarray(classes, device=device(answers)), answers, axis=0)

    @on_arrays_device
    def predict_proba(self, X: Any) -> Array:
        """The probability of each class, shape (N, K), in the order of `classes_`."""
        return self._probabilities(X, "predict_proba")

    @on_arrays_device
    def predict_log_proba(self, X: Any) -> Array:
        """The logarithm of `predict_proba`."""
        p = self._probabilities(X, "predict_log_proba")
        with np.errstate(divide="ignore"):
            return namespace(p=p).log(p)

    def _probabilities(self, X: Any, method: str) -> Array:
        p = self._outputs(X, method)
        return namespace(p=p).concat([1 - p, p], axis=1) if self._binary else p


class MLPRegressor(_Perceptron, sklearn.neural_network.MLPRegressor):
    """scikit-learn's `MLPRegressor` with xpnet's backpropagation, on the device of the arrays that are passed.

    The parameters of `sklearn.neural_network.MLPRegressor`, with their defaults, and its fitted attributes are the
    same here. The notes on `MLPClassifier` hold for this class, too.

    Parameters
    ----------
    dropout, batch_norm, weight_init, optimizer
        See `MLPClassifier`.

    Attributes
    ----------
    coefs_, intercepts_ : list of arrays
        Weights and biases of each layer, in the library, on the device and in the dtype of `X`.
    normalization_ : dict of arrays
        See `MLPClassifier`.
    loss_curve_ : list of float
        The mean loss of each epoch.

    Raises
    ------
    ValueError, TypeError
        See `MLPClassifier`.

    Examples
    --------
    >>> x = np.linspace(-1, 1, 50)[:, None]
    >>> y = np.sin(3 * x[:, 0])
    >>> model = MLPRegressor(hidden_layer_sizes=(20,), activation="tanh", solver="lbfgs", random_state=0)
    >>> model.fit(x, y).score(x, y) > 0.99
    True
    """

    __init__ = _constructor(sklearn.neural_network.MLPRegressor, **_OPTIONS)
    _parameter_constraints: ClassVar[dict[str, Any]] = {
        **sklearn.neural_network.MLPRegressor._parameter_constraints,
        **_CONSTRAINTS,
    }
    _numeric = True
    _binary = False
    _score = staticmethod(r2_score)

    def _targets(self, y: Array, new: bool, incremental: bool) -> Host:
        """The targets with an axis of outputs, shape (N, K)."""
        host = _on_host(y).astype("float64", casting="same_kind")  # text is an error
        host = host[:, None] if host.ndim == 1 else host
        self._set_outputs(host.shape[1], "exp" if self.loss == "poisson" else "identity", new)
        if self.loss == "poisson" and host.min() < 0:
            raise ValueError(f"y must not be negative with loss='poisson', got {host.min()}")
        return host

    def _answers(self, outputs: Array) -> Array:
        return outputs

    @on_arrays_device
    def predict(self, X: Any) -> Array:
        """The predicted values, shape (N,), or (N, K) for several outputs."""
        return self._predicted(self._outputs(X))

    def _predicted(self, outputs: Array) -> Array:
        """The predictions for the outputs of the network."""
        return outputs[:, 0] if self.n_outputs_ == 1 else outputs

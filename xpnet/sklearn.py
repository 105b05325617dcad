"""scikit-learn's multi-layer perceptrons on xpnet's layers, on the device of the arrays that they are given.

Needs scikit-learn: the extra `sklearn`. After ``sklearn.set_config(array_api_dispatch=True)`` they compute and answer
with PyTorch, CuPy and other libraries; without it with NumPy, as scikit-learn does.
"""

import contextlib
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, TypeAlias

import numpy as np

from . import nn
from ._array import device, dtype_name, from_host, has_float64, index_dtype, namespace
from ._typing import Array, Params
from .backends import backend_of, not_installed, on_arrays_device, read_all, to_numpy
from .functions import sigmoid, softmax
from .nn.sequential import Sequential
from .optim.optimizers import Adam, Optimizer
from .training.samples import in_batches

try:
    import sklearn.neural_network
    from scipy.optimize import minimize
    from sklearn import get_config
    from sklearn.base import BaseEstimator
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.metrics import accuracy_score, r2_score
    from sklearn.model_selection import train_test_split
    from sklearn.utils import check_random_state, column_or_1d, shuffle
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


@dataclass(frozen=True)
class _Velocity(Optimizer):
    """Momentum as the book and scikit-learn write it, with the learning rate in the velocity: v ← α v - lr g."""

    momentum: float = 0.9
    nesterov: bool = True
    memory: ClassVar[tuple[str, ...]] = ("v",)

    def rule(self, p: Array, g: Array, lr: Array | float, v: Array) -> tuple[Array, Array]:
        v = self.momentum * v - lr * g
        return p + (self.momentum * v - lr * g if self.nesterov else v), v


class _Adam(Adam):
    """Adam as scikit-learn writes it, which adds ε to √v, not to √v̂."""

    def scales(self, step: Array) -> tuple[Array | float, ...]:
        lr, short_m, short_root = super().scales(step)
        return (lr * short_root / short_m,)

    def rule(  # type: ignore[override]
        self, p: Array, g: Array, lr: Array | float, m: Array, v: Array
    ) -> tuple[Array, Array, Array]:
        m = self.beta1 * m + (1 - self.beta1) * g
        v = self.beta2 * v + (1 - self.beta2) * g * g
        return p - lr * m / (namespace(v=v).sqrt(v) + self.eps), m, v


def _takes_batches(estimator: Any) -> bool:
    if estimator.solver == "lbfgs":
        raise AttributeError("partial_fit needs solver='sgd' or 'adam', which take a mini-batch at a time")
    return True


def _floats(X: Any) -> list[Any]:
    """The floating dtypes that samples may have; others become the first."""
    xp, where = namespace(host=np.empty(0)), None
    if get_config()["array_api_dispatch"]:
        with contextlib.suppress(TypeError):  # a list, or a table
            xp, where = namespace(X=X), device(X)
    return [xp.float64, xp.float32] if has_float64(xp, where) else [xp.float32]


def _beside(host: Host, X: Array) -> Array:
    """A NumPy array where `X` is: integers to index with, others in the dtype of `X`."""
    xp, where = namespace(X=X), device(X)
    return from_host(host, xp, index_dtype(xp, where) if host.dtype.kind in "iu" else X.dtype, where)


class _Perceptron(BaseEstimator):
    """What both estimators share: everything but what targets and answers mean."""

    @on_arrays_device
    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Any:
        """Train the network.

        Parameters
        ----------
        X : array, shape (N, D)
        y : array, shape (N,) or (N, K)
            Targets.
        sample_weight : array, shape (N,), optional
            What each sample counts.

        Returns
        -------
        self
        """
        self._validate_params()
        return self._train(X, y, sample_weight, incremental=False)

    @available_if(_takes_batches)
    @on_arrays_device
    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None) -> Any:
        """Go on training for one pass over the given samples; takes what `fit` takes."""
        self._validate_params()
        return self._train(X, y, sample_weight, incremental=True)

    def _train(self, X: Any, y: Any, sample_weight: Any, incremental: bool) -> Any:
        new = not hasattr(self, "coefs_") or not (self.warm_start or incremental)
        X, y = validate_data(
            self, X, y, multi_output=True, y_numeric=self._numeric, dtype=_floats(X), reset=new, order="C"
        )
        y = column_or_1d(y, warn=True) if y.ndim == 2 and y.shape[1] == 1 else y
        hidden = [int(units) for units in np.atleast_1d(self.hidden_layer_sizes)]
        if min(hidden, default=1) < 1:
            raise ValueError(f"hidden_layer_sizes must be > 0, got {hidden}.")
        self._random_state = check_random_state(self.random_state)
        targets = self._targets(y, new, incremental)
        if new:
            self._initialize(X, [X.shape[1], *hidden, self.n_outputs_])
        xp = namespace(X=X)
        data: Data = (X, _beside(targets, X))
        if sample_weight is not None:
            data = (*data, _check_sample_weight(sample_weight, X, dtype=X.dtype))
        with np.errstate(over="ignore", invalid="ignore"):
            if self.solver == "lbfgs":
                self._minimize(data)
            else:
                self._descend(data, targets, incremental)
        if not all(bool(xp.all(xp.isfinite(p))) for p in (*self.coefs_, *self.intercepts_)):
            raise ValueError(
                "Solver produced non-finite parameter weights. The input data may contain large values and need to "
                "be preprocessed."
            )
        return self

    def _initialize(self, X: Array, units: list[int]) -> None:
        """Draw parameters as scikit-learn does, so that one `random_state` starts both alike."""
        self.n_layers_, self.n_iter_, self.t_ = len(units), 0, 0
        factor = 2.0 if self.activation == "logistic" else 6.0
        self.coefs_: list[Array] = []
        self.intercepts_: list[Array] = []
        for fan_in, fan_out in zip(units, units[1:], strict=False):
            bound = (factor / (fan_in + fan_out)) ** 0.5
            for kept, shape in ((self.coefs_, (fan_in, fan_out)), (self.intercepts_, (fan_out,))):
                drawn = self._random_state.uniform(-bound, bound, shape)
                kept.append(from_host(drawn, namespace(X=X), X.dtype, device(X)))
        self._memory: Params | None = None
        if self.solver != "lbfgs":
            self.loss_curve_: list[float] = []
            self._no_improvement = 0
            self.validation_scores_: list[float] | None = [] if self.early_stopping else None
            self.best_validation_score_: Any = -np.inf if self.early_stopping else None
            self.best_loss_: Any = None if self.early_stopping else np.inf

    # The network. Its parameters are `coefs_` and `intercepts_`, which one may change between two calls.

    @property
    def _stack(self) -> Sequential:
        hidden = _ACTIVATIONS[self.activation]
        layers = [d for W in self.coefs_[:-1] for d in (nn.Dense(W.shape[1]), *hidden)]
        return Sequential(*layers, nn.Dense(self.n_outputs_), loss=_LOSSES[self.out_activation_])

    @property
    def _params(self) -> Params:
        named = {f"W{i}": W for i, W in enumerate(self.coefs_, 1)}
        return named | {f"b{i}": b for i, b in enumerate(self.intercepts_, 1)}

    @_params.setter
    def _params(self, params: Params) -> None:
        numbers = range(1, self.n_layers_)
        self.coefs_ = [params[f"W{i}"] for i in numbers]
        self.intercepts_ = [params[f"b{i}"] for i in numbers]

    def _objective(self) -> Callable[..., tuple[Array, Params]]:
        """The pure function of parameters and a batch that is made small: loss and gradient, with the penalty."""
        stack, alpha = self._stack, float(self.alpha)
        # As in scikit-learn, the squared error shown is the mean over outputs, and the gradient that of their sum.
        shown = 1 / self.n_outputs_ if self.out_activation_ == "identity" else 1.0

        def objective(params: Params, x: Array, t: Array, weight: Array | None = None) -> tuple[Array, Params]:
            loss, gradients, _ = stack.loss_and_gradient(params, x, t, weight=weight)
            loss = shown * loss
            if alpha:
                xp = namespace(x=x)
                samples = x.shape[0] if weight is None else xp.sum(weight)
                decay = alpha / samples
                coefs = {name: W for name, W in params.items() if name.startswith("W")}
                loss = loss + 0.5 * decay * sum(xp.sum(W * W) for W in coefs.values())
                gradients = gradients | {name: gradients[name] + decay * W for name, W in coefs.items()}
            return loss, gradients

        return objective

    # Solvers

    def _optimizer(self, lr: float) -> Optimizer:
        if self.solver == "adam":
            return _Adam(lr, self.beta_1, self.beta_2, self.epsilon)
        return _Velocity(lr, self.momentum, self.nesterovs_momentum)

    def _runner(self, X: Array) -> Callable[..., Any]:
        """Many updates one after the other, with the learning rate as it is now."""
        objective, optimizer = self._objective(), self._optimizer(self._rate)

        def step(carry: tuple[Params, Params], batch: Data, noise: Any) -> tuple[tuple[Params, Params], Array]:
            params, memory = carry
            loss, gradients = objective(params, *batch)
            return optimizer.update(params, gradients, memory), loss

        return backend_of(X).repeat(step)

    def _descend(self, data: Data, targets: Host, incremental: bool) -> None:
        """Mini-batches, as scikit-learn draws them."""
        X = data[0]
        rows, held = self._split(np.arange(X.shape[0]), targets, incremental)
        best = self._params
        size = 200 if self.batch_size == "auto" else self.batch_size
        if size > len(rows) and self.batch_size != "auto":
            clipped = "Got `batch_size` less than 1 or larger than sample size. It is going to be clipped"
            warnings.warn(clipped, stacklevel=5)
        size = min(size, len(rows))
        index = dtype_name(index_dtype(namespace(X=X), device(X)))

        if self._memory is None or not incremental:
            self._rate = float(self.learning_rate_init)
            self._memory = self._optimizer(self._rate).init(self._params)
        run, carry = self._runner(X), (self._params, self._memory)
        order = np.arange(len(rows))
        self.n_iter_ = 0
        try:
            for _ in range(1 if incremental else self.max_iter):
                if self.shuffle:
                    order = shuffle(order, random_state=self._random_state)
                losses = []
                for batches in in_batches(rows[order], size):
                    for after, loss in run(carry, data, batches.astype(index)):
                        carry = after
                        losses.append(loss)
                self._params, self._memory = carry
                self._record(losses, size, len(rows))
                if self.early_stopping:
                    if self._watch(data, targets, held):
                        best = self._params
                else:
                    self._no_improvement += 1
                    if self.loss_ <= self.best_loss_ - self.tol:
                        self._no_improvement = 0
                    self.best_loss_ = min(self.best_loss_, self.loss_)
                if self.solver == "sgd" and self.learning_rate == "invscaling":
                    self._rate = self.learning_rate_init / (self.t_ + 1) ** self.power_t
                    run = self._runner(X)
                if self._no_improvement > self.n_iter_no_change:
                    if self._stops():
                        break
                    self._no_improvement = 0
                    run = self._runner(X)
                if self.n_iter_ == self.max_iter and not incremental:
                    warnings.warn(
                        f"Stochastic Optimizer: Maximum iterations ({self.max_iter}) reached and the optimization "
                        "hasn't converged yet.",
                        ConvergenceWarning,
                        stacklevel=5,
                    )
        except KeyboardInterrupt:
            self._params, self._memory = carry
            warnings.warn("Training interrupted by user.", stacklevel=5)
        if self.early_stopping:
            self._params = best

    def _split(self, rows: Host, targets: Host, incremental: bool) -> tuple[Host, Host]:
        """The rows to train with, and for early stopping those that are held back."""
        if not self.early_stopping:
            return rows, rows[:0]
        if incremental:
            raise ValueError("partial_fit does not support early_stopping=True")
        rows, held = train_test_split(
            rows,
            random_state=self._random_state,
            test_size=self.validation_fraction,
            stratify=targets if self._binary else None,
        )
        if len(held) < 2:
            raise ValueError(
                "The validation set is too small. Increase 'validation_fraction' or the size of your dataset."
            )
        return rows, held

    def _record(self, losses: list[Array], size: int, count: int) -> None:
        """Add the loss of an epoch, from those of its mini-batches of that size, the last with what was left."""
        self.n_iter_ += 1
        self.t_ += count
        values = read_all(losses)
        sizes = np.minimum(size, count - size * np.arange(len(values)))
        self.loss_ = float(values @ sizes / count)
        self.loss_curve_.append(self.loss_)
        if self.verbose:
            print(f"Iteration {self.n_iter_}, loss = {self.loss_:.8f}")

    def _watch(self, data: Data, targets: Host, held: Host) -> bool:
        """Score the samples that are held back; whether it is the best score so far."""
        rows = namespace(X=data[0]).asarray(held, device=device(data[0]))
        x, *weight = (backend_of(a).rows(a, rows) for a in (data[0], *data[2:]))
        answers = to_numpy(self._answers(self._activated(self._stack.predict(self._params, x))))
        score = np.nan
        if np.isfinite(answers).all():
            score = float(self._score(targets[held], answers, sample_weight=to_numpy(weight[0]) if weight else None))
        assert self.validation_scores_ is not None
        self.validation_scores_.append(score)
        if self.verbose:
            print(f"Validation score: {score:f}")
        self._no_improvement = self._no_improvement + 1 if score < self.best_validation_score_ + self.tol else 0
        if score > self.best_validation_score_:
            self.best_validation_score_ = score
            return True
        return False

    def _stops(self) -> bool:
        """Whether too many epochs without improvement end the run; else the learning rate has become smaller."""
        what = "Validation score" if self.early_stopping else "Training loss"
        message = f"{what} did not improve more than tol={self.tol:f} for {self.n_iter_no_change} consecutive epochs."
        adaptive = self.solver == "sgd" and self.learning_rate == "adaptive"
        if adaptive and self._rate > 1e-6:
            self._rate /= 5.0
            if self.verbose:
                print(f"{message} Setting learning rate to {self._rate:f}")
            return False
        if self.verbose:
            print(f"{message} {'Learning rate too small. ' if adaptive else ''}Stopping.")
        return True

    def _minimize(self, data: Data) -> None:
        """SciPy's L-BFGS-B on the host, over all samples; loss and gradient come from where the samples are."""
        start = self._params
        names, X = list(start), data[0]
        objective = backend_of(X).compile(self._objective())
        cuts = np.cumsum([np.prod(start[name].shape) for name in names])[:-1]

        def unpacked(flat: Host) -> Params:
            parts = zip(names, np.split(flat, cuts), strict=True)
            return {name: _beside(part.reshape(tuple(start[name].shape)), X) for name, part in parts}

        def packed(arrays: Params) -> Host:
            return np.concatenate([to_numpy(arrays[name]).ravel() for name in names]).astype("float64")

        def both(flat: Host) -> tuple[float, Host]:
            loss, gradients = objective(unpacked(flat), *data)
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
        self._params = unpacked(found.x)

    # Answers

    def _outputs(self, X: Any, method: str) -> Array:
        """The network's outputs for `X`, after its last activation."""
        check_is_fitted(self)
        X = validate_data(self, X, dtype=_floats(X), reset=False)
        W = self.coefs_[0]
        here, fitted = ((namespace(a=a).__name__, device(a)) for a in (X, W))
        if here != fitted:
            raise ValueError(
                f"Inputs passed to {type(self).__name__}.{method}() must use the same namespace and the same device "
                f"as those passed to fit(), {fitted[0]} on {fitted[1]}; got {here[0]} on {here[1]}"
            )
        X = namespace(X=X).astype(X, W.dtype, copy=False)
        return self._activated(self._stack.predict(self._params, X))

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

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.array_api_support = True
        tags.input_tags.sparse = False
        return tags


class MLPClassifier(_Perceptron, sklearn.neural_network.MLPClassifier):
    """scikit-learn's `MLPClassifier` with xpnet's backpropagation, on the device of the arrays it is given.

    Parameters and fitted attributes are those of `sklearn.neural_network.MLPClassifier`, with the same defaults. One
    `random_state` draws the same initial weights and mini-batches, so that both give the same network to rounding.

    Attributes
    ----------
    classes_ : array, shape (K,)
        The labels, in the library of `y`.
    coefs_, intercepts_ : list of arrays
        Weights and biases of each layer, in the library, on the device and in the dtype of `X`.
    loss_curve_ : list of float
        The mean loss of each epoch.

    Raises
    ------
    ValueError, TypeError
        As scikit-learn raises them.

    Notes
    -----
    What differs: sparse matrices are refused, and targets and labels are encoded on the host. ``solver="lbfgs"`` is
    SciPy's, on the host: parameters and gradient go back and forth for each evaluation.

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
    """

    classes_: Array
    _numeric = False
    _score = staticmethod(accuracy_score)

    @available_if(_takes_batches)
    @on_arrays_device
    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None, classes: Any = None) -> Any:
        """Go on training for one pass over the given samples; takes what `fit` takes.

        `classes`, needed in the first call, holds all labels that there will be.
        """
        self._validate_params()
        if classes is not None:
            given = np.unique(to_numpy(classes) if hasattr(classes, "dtype") else np.asarray(classes))
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
        """What the loss takes, for labels `y`; sets `classes_` where they are new."""
        check_classification_targets(y)
        kind, host = type_of_target(y), to_numpy(y)
        if kind == "multiclass-multioutput":
            raise ValueError(
                "Multioutput target data is not supported; pass one column of labels, or an indicator matrix"
            )
        multilabel = kind == "multilabel-indicator"
        found = np.arange(host.shape[1]) if multilabel else np.unique(host)
        if new and not incremental:
            alike = host.dtype.kind in "biuf"
            self.classes_ = namespace(y=y).asarray(found, device=device(y)) if alike else found
        known = to_numpy(self.classes_)
        if self.warm_start and not new and set(found) != set(known):
            raise ValueError(
                "warm_start can only be used where `y` has the same classes as in the previous call to fit. "
                f"Previously got {known}, `y` has {found}"
            )
        if len(np.setdiff1d(found, known)):
            raise ValueError(f"`y` has classes not in `self.classes_`. `self.classes_` has {known}. 'y' has {found}.")
        self.out_activation_ = "softmax" if len(known) > 2 and not multilabel else "logistic"
        self.n_outputs_ = len(known) if multilabel or len(known) > 2 else 1
        if multilabel:
            return host.astype("float32")
        codes = np.searchsorted(known, host)
        return codes if self.n_outputs_ > 1 else codes[:, None].astype("float32")

    @property
    def _binary(self) -> bool:
        return bool(self.n_outputs_ == 1)

    def _answers(self, outputs: Array) -> Array:
        """The number of each sample's class, or for many labels a yes or no for each."""
        xp = namespace(outputs=outputs)
        if self.out_activation_ == "softmax":
            return xp.argmax(outputs, axis=1)
        yes = xp.astype(outputs > 0.5, index_dtype(xp, device(outputs)))
        return yes[:, 0] if self._binary else yes

    @on_arrays_device
    def predict(self, X: Any) -> Array:
        """The most likely class of each sample, shape (N,), or an indicator matrix for many labels, (N, K)."""
        answers = self._answers(self._outputs(X, "predict"))
        if self.out_activation_ == "logistic" and not self._binary:
            return answers
        classes = to_numpy(self.classes_)
        if classes.dtype.kind not in "biuf":
            return classes[to_numpy(answers)]
        xp = namespace(answers=answers)
        return xp.take(xp.asarray(classes, device=device(answers)), answers, axis=0)

    @on_arrays_device
    def predict_proba(self, X: Any) -> Array:
        """The probability of each class, shape (N, K), ordered as `classes_`."""
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
    """scikit-learn's `MLPRegressor` with xpnet's backpropagation, on the device of the arrays it is given.

    Parameters and fitted attributes are those of `sklearn.neural_network.MLPRegressor`, with the same defaults; see
    `MLPClassifier` for what holds of both.

    Attributes
    ----------
    coefs_, intercepts_ : list of arrays
        Weights and biases of each layer, in the library, on the device and in the dtype of `X`.
    loss_curve_ : list of float
        The mean loss of each epoch.

    Raises
    ------
    ValueError, TypeError
        As scikit-learn raises them.

    Examples
    --------
    >>> x = np.linspace(-1, 1, 50)[:, None]
    >>> y = np.sin(3 * x[:, 0])
    >>> model = MLPRegressor(hidden_layer_sizes=(20,), activation="tanh", solver="lbfgs", random_state=0)
    >>> model.fit(x, y).score(x, y) > 0.99
    True
    """

    _numeric = True
    _binary = False
    _score = staticmethod(r2_score)

    def _targets(self, y: Array, new: bool, incremental: bool) -> Host:
        """`y` with an axis of outputs."""
        host = to_numpy(y).astype("float64")
        host = host[:, None] if host.ndim == 1 else host
        self.n_outputs_ = host.shape[1]
        self.out_activation_ = "exp" if self.loss == "poisson" else "identity"
        return host

    def _answers(self, outputs: Array) -> Array:
        return outputs

    @on_arrays_device
    def predict(self, X: Any) -> Array:
        """The expected targets, shape (N,), or (N, K) for several."""
        outputs = self._outputs(X, "predict")
        return outputs[:, 0] if self.n_outputs_ == 1 else outputs

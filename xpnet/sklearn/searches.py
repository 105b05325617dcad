"""Searches for good options, and ensembles, whose estimators are fitted at once."""

import itertools
import warnings
from collections.abc import Sequence
from contextlib import suppress
from copy import copy
from typing import Any, ClassVar

import numpy as np
import sklearn.model_selection
from joblib import Parallel, delayed, effective_n_jobs
from scipy.sparse import issparse
from sklearn import get_config
from sklearn.base import BaseEstimator, MetaEstimatorMixin, clone, is_classifier
from sklearn.model_selection import ParameterGrid, ParameterSampler, check_cv
from sklearn.utils import _safe_indexing, check_random_state, get_tags
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import _num_samples, check_is_fitted

from .._array import namespace
from .._typing import Array
from .._validation import check_integer
from ..backends import on_arrays_device
from .perceptrons import MLPClassifier, _Perceptron
from .together import Fit, fit_together, is_suitable

__all__ = ["GridSearchCV", "MLPEnsemble", "RandomizedSearchCV"]


class _Collecting:
    """An estimator whose `fit` only notes its arguments."""

    _arrays: ClassVar[list[Any]]
    _fits: ClassVar[list[Fit]]
    _kind: ClassVar[type]

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Any:
        same = [_first_equal(self._arrays, a) for a in (X, y, sample_weight)]
        self._fits.append(Fit(self._kind(**self.get_params(deep=False)), *same))  # type: ignore[attr-defined]
        return self


def _first_equal(known: list[Any], a: Any) -> Any:
    """The array in `known` that equals `a`; if there is none, `a` is added. All candidates have the same splits."""
    found = next((k for k in known if _equal(k, a)), None)
    if found is None and a is not None:
        known.append(a)
    return a if found is None else found


class _Fitted:
    """An estimator whose `fit` takes the result of an earlier fit with the same arguments, if there is one."""

    _fits: ClassVar[list[Fit]]
    _kind: ClassVar[type]
    _used: ClassVar[list[Fit]]

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Any:
        given = Fit(self, X, y, sample_weight)
        fits, used, kind = self._fits, self._used, self._kind
        self.__class__ = kind  # here, because `_unmark` does not find all networks, such as those in an ensemble
        at = next((i for i, fit in enumerate(fits) if _same(fit, given)), None)
        if at is None:
            return kind.fit(self, X, y, sample_weight)  # type: ignore[attr-defined]
        found = fits.pop(at)
        used.append(found)
        for warning in found.warned:
            warnings.warn(warning.message, stacklevel=3)
        if found.error is not None:
            raise found.error
        vars(self).update(vars(found.estimator))
        return self


def _same(fit: Fit, given: Fit) -> bool:
    """Whether two fits have the same options and arguments."""
    if repr(fit.estimator.get_params()) != repr(given.estimator.get_params()):
        return False
    return all(_equal(getattr(fit, name), getattr(given, name)) for name in ("X", "y", "sample_weight"))


def _equal(one: Any, other: Any) -> bool:
    if one is other:
        return True
    if type(one) is not type(other) or getattr(one, "shape", None) != getattr(other, "shape", None):
        return False
    if hasattr(one, "equals"):  # a table or column of pandas or Polars
        return bool(one.equals(other))
    if issparse(one):
        return False
    if not hasattr(one, "shape"):
        return bool(one == other)
    return one.dtype == other.dtype and bool((one == other).all())


def _marked(estimator: Any, mixin: type, **attributes: Any) -> Any:
    """A clone of an estimator, whose networks, at any depth, get a subclass of their class."""
    made = clone(estimator)
    for part in (made, *made.get_params(deep=True).values()):
        if isinstance(part, _Perceptron):
            kind = type(part)
            part.__class__ = type(kind.__name__, (mixin, kind), {"_kind": kind, **attributes})
    return made


def _unmark(estimator: Any) -> None:
    for part in (estimator, *estimator.get_params(deep=True).values()):
        if isinstance(part, (_Collecting, _Fitted)):
            part.__class__ = part._kind


def _no_score(estimator: Any, X: Any, y: Any = None, **options: Any) -> float:
    return 0.0


def _in_parallel(fits: list[Fit], n_jobs: int | None, memory: int | None) -> list[Fit]:
    """`fit_together`, with the fits divided among the workers of joblib."""
    workers = min(effective_n_jobs(n_jobs), len(fits))
    if workers < 2:
        return fit_together(fits, memory)
    parts = Parallel(n_jobs=workers)(delayed(fit_together)(fits[i::workers], memory) for i in range(workers))
    return [fit for row in itertools.zip_longest(*parts) for fit in row if fit is not None]


def _add_times(results: dict[str, Any], seconds: list[float], splits: int) -> None:
    """Add the time of each fit, its part of the time of its group, to the times of a search."""
    own = np.reshape(seconds, (-1, splits))
    results["mean_fit_time"] = results["mean_fit_time"] + own.mean(axis=1)
    results["std_fit_time"] = np.hypot(results["std_fit_time"], own.std(axis=1))


class _Search:
    """The part of both searches that fits the candidates at once."""

    memory: int | None
    _listed: Sequence[dict[str, Any]] = ()

    def _run_search(self, evaluate_candidates: Any, **options: Any) -> None:
        evaluate_candidates(self._listed, **options)

    def _candidates(self) -> Sequence[dict[str, Any]]:
        raise NotImplementedError

    def fit(self, X: Any, y: Any = None, **params: Any) -> Any:
        """Fit all candidates on all splits, and then the best candidate on all samples, as scikit-learn does.

        Parameters
        ----------
        X, y
            Samples and targets.
        **params
            Arguments of the estimator's `fit`, such as `sample_weight`, and `groups` for the splits.

        Returns
        -------
        self
        """
        search: Any = copy(self)
        search._listed = self._candidates()
        groups = params.get("groups")
        search.cv = list(check_cv(search.cv, y, classifier=is_classifier(search.estimator)).split(X, y, groups))
        fits, used = list[Fit](), list[Fit]()
        if not get_config()["enable_metadata_routing"]:  # with it, each object may want other arguments
            self._collect(copy(search), fits, X, y, params)
            fits = _in_parallel(fits, self.n_jobs, self.memory)  # type: ignore[attr-defined]
            search.estimator, search.n_jobs = _marked(search.estimator, _Fitted, _fits=fits, _used=used), None
        super(_Search, search).fit(X, y, **params)  # type: ignore[misc]
        if hasattr(search, "best_estimator_"):
            _unmark(search.best_estimator_)
        kept = {name: v for name, v in vars(search).items() if name.endswith("_") or name == "_checked_cv_orig"}
        kept["scorer_"], _ = self._get_scorers()  # type: ignore[attr-defined]  # that of the search has its estimator
        vars(self).update(kept)
        count = len(search._listed) * len(search.cv)
        self.n_together_ = sum(fit.together for fit in used)
        self.n_alone_ = count - self.n_together_
        if len(used) == count:  # in the order of the candidates and their splits
            _add_times(search.cv_results_, [fit.seconds for fit in used], len(search.cv))
        if search.verbose > 0:
            print(f"{self.n_together_} fits were made at once, and {self.n_alone_} one by one")
        return self

    @staticmethod
    def _collect(first: Any, fits: list[Fit], X: Any, y: Any, params: dict[str, Any]) -> None:
        """Collect the fits of a search that can be made at once: a search in which nothing is fitted or scored."""
        found = list[Fit]()
        first.estimator = _marked(first.estimator, _Collecting, _fits=found, _arrays=[])
        first.scoring, first.refit, first.n_jobs, first.verbose = _no_score, False, None, 0
        first.error_score, first.return_train_score = np.nan, False
        with warnings.catch_warnings(), suppress(Exception):  # the search that follows gives its warnings and errors
            warnings.simplefilter("ignore")
            super().fit(X, y, **params)  # type: ignore[misc]
        fits += [fit for fit in found if is_suitable(fit)]


class GridSearchCV(_Search, sklearn.model_selection.GridSearchCV):
    """scikit-learn's `GridSearchCV`, in which the networks of all candidates and splits are trained at once.

    The estimator is an `MLPClassifier` or `MLPRegressor` of xpnet, or contains one, such as a pipeline. Results are
    those of scikit-learn's search with the same estimator, up to rounding. Fits that cannot be made at once are made
    one by one: with ``solver="lbfgs"``, with ``warm_start``, on sparse matrices, with sample weights or class weights
    of 0, with an optimizer or a schedule of your own, with a `RandomState` object as random state, and with metadata
    routing.

    Parameters
    ----------
    estimator, param_grid, scoring, n_jobs, refit, cv, verbose, pre_dispatch, error_score, return_train_score
        As in `sklearn.model_selection.GridSearchCV`. With `n_jobs`, the networks are divided among processes.
    memory : int, optional
        The largest number of bytes for the arrays of the networks that are trained at once, see `xpnet.fit_many`.

    Attributes
    ----------
    n_together_, n_alone_ : int
        The numbers of fits that were made at once and one by one. Together, they are the number of candidates times
        the number of splits. With ``verbose=1``, they are printed.
    cv_results_ : dict
        As in scikit-learn. ``mean_fit_time`` contains an equal part of the time in which networks were trained at
        once.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from xpnet.sklearn import GridSearchCV, MLPClassifier
    >>> X, y = load_iris(return_X_y=True)
    >>> grid = {"alpha": [1e-4, 1e-2, 1.0], "learning_rate_init": [0.01, 0.1]}
    >>> search = GridSearchCV(MLPClassifier((10,), max_iter=50, tol=0.0, random_state=0), grid)
    >>> with warnings.catch_warnings():
    ...     warnings.simplefilter("ignore")  # 50 epochs do not converge
    ...     search = search.fit(X, y)
    >>> search.n_together_, search.n_alone_
    (30, 0)
    >>> bool(search.best_score_ > 0.9)
    True
    """

    def __init__(
        self,
        estimator: Any,
        param_grid: Any,
        *,
        scoring: Any = None,
        n_jobs: int | None = None,
        refit: Any = True,
        cv: Any = None,
        verbose: int = 0,
        pre_dispatch: Any = "2*n_jobs",
        error_score: Any = np.nan,
        return_train_score: bool = False,
        memory: int | None = None,
    ) -> None:
        super().__init__(
            estimator,
            param_grid,
            scoring=scoring,
            n_jobs=n_jobs,
            refit=refit,
            cv=cv,
            verbose=verbose,
            pre_dispatch=pre_dispatch,
            error_score=error_score,
            return_train_score=return_train_score,
        )
        self.memory = memory

    def _candidates(self) -> Sequence[dict[str, Any]]:
        return list(ParameterGrid(self.param_grid))


class RandomizedSearchCV(_Search, sklearn.model_selection.RandomizedSearchCV):
    """scikit-learn's `RandomizedSearchCV`, in which the networks of all candidates and splits are trained at once.

    See `GridSearchCV` for what is fitted at once, and for the attributes.

    Parameters
    ----------
    estimator, param_distributions, n_iter, scoring, n_jobs, refit, cv, verbose, pre_dispatch, random_state, \
            error_score, return_train_score
        As in `sklearn.model_selection.RandomizedSearchCV`. With `n_jobs`, the networks are divided among processes.
    memory : int, optional
        See `GridSearchCV`.

    Examples
    --------
    >>> from scipy.stats import loguniform
    >>> from sklearn.datasets import load_iris
    >>> from xpnet.sklearn import MLPClassifier, RandomizedSearchCV
    >>> X, y = load_iris(return_X_y=True)
    >>> network = MLPClassifier((10,), max_iter=200, tol=1e-2, random_state=0)
    >>> search = RandomizedSearchCV(network, {"learning_rate_init": loguniform(1e-3, 1e-1)}, random_state=0)
    >>> with warnings.catch_warnings():
    ...     warnings.simplefilter("ignore")
    ...     search = search.fit(X, y)
    >>> search.n_together_
    50
    """

    def __init__(
        self,
        estimator: Any,
        param_distributions: Any,
        *,
        n_iter: int = 10,
        scoring: Any = None,
        n_jobs: int | None = None,
        refit: Any = True,
        cv: Any = None,
        verbose: int = 0,
        pre_dispatch: Any = "2*n_jobs",
        random_state: Any = None,
        error_score: Any = np.nan,
        return_train_score: bool = False,
        memory: int | None = None,
    ) -> None:
        super().__init__(
            estimator,
            param_distributions,
            n_iter=n_iter,
            scoring=scoring,
            n_jobs=n_jobs,
            refit=refit,
            cv=cv,
            verbose=verbose,
            pre_dispatch=pre_dispatch,
            random_state=random_state,
            error_score=error_score,
            return_train_score=return_train_score,
        )
        self.memory = memory

    def _candidates(self) -> Sequence[dict[str, Any]]:
        return list(ParameterSampler(self.param_distributions, self.n_iter, random_state=self.random_state))


# Ensembles


def _classifies(ensemble: Any) -> bool:
    return bool(is_classifier(ensemble._member()))


class MLPEnsemble(MetaEstimatorMixin, BaseEstimator):
    """Networks that differ in their random states, fitted at once; predictions are their means.

    Parameters
    ----------
    estimator : MLPClassifier or MLPRegressor of xpnet, optional
        The estimator of each member. Default: ``MLPClassifier()``.
    n_estimators : int, default 10
        The number of members.
    bootstrap : bool, default False
        If True, each member is fitted on N samples, drawn with replacement from the training set of N samples. If
        False, each member is fitted on the whole training set.
    random_state : int, RandomState or None, default None
        The seed of the members' random states, and of the samples of `bootstrap`.
    memory : int, optional
        The largest number of bytes for the arrays of the networks that are trained at once, see `xpnet.fit_many`.

    Attributes
    ----------
    estimators_ : list of estimators
        The members.
    classes_ : array, shape (K,)
        The labels; only for classifiers.

    Notes
    -----
    The mean of the members' probabilities is the prediction of a mixture of the members. There is no guarantee
    that it is calibrated; the example "The uncertainty of an ensemble" measures it.

    References
    ----------
    Lakshminarayanan et al. (2017), Simple and Scalable Predictive Uncertainty Estimation using Deep Ensembles.

    Examples
    --------
    >>> from xpnet.sklearn import MLPEnsemble, MLPRegressor
    >>> x = np.linspace(-1, 1, 100)[:, None]
    >>> network = MLPRegressor(hidden_layer_sizes=(20,), max_iter=300, learning_rate_init=0.01)
    >>> ensemble = MLPEnsemble(network, n_estimators=8, random_state=0)
    >>> with warnings.catch_warnings():
    ...     warnings.simplefilter("ignore")
    ...     ensemble = ensemble.fit(x, np.sin(3 * x[:, 0]))
    >>> inside, outside = ensemble.spread(np.asarray([[0.0], [3.0]]))
    >>> bool(outside > 3 * inside)
    True
    """

    def __init__(
        self,
        estimator: Any = None,
        n_estimators: int = 10,
        *,
        bootstrap: bool = False,
        random_state: Any = None,
        memory: int | None = None,
    ) -> None:
        self.estimator, self.n_estimators, self.bootstrap = estimator, n_estimators, bootstrap
        self.random_state, self.memory = random_state, memory

    def _member(self) -> Any:
        return MLPClassifier() if self.estimator is None else self.estimator

    @on_arrays_device
    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Any:
        """Fit the members at once.

        Parameters
        ----------
        X : array or sparse matrix, shape (N, D)
            Samples.
        y : array, shape (N,) or (N, K)
            Targets.
        sample_weight : array, shape (N,), optional
            The weight of each sample.

        Returns
        -------
        self
        """
        if not isinstance(self._member(), _Perceptron):
            raise TypeError(
                "MLPEnsemble: estimator must be an MLPClassifier or MLPRegressor of xpnet.sklearn, got "
                f"{self.estimator!r}"
            )
        count, rng = check_integer("n_estimators", self.n_estimators, 1), check_random_state(self.random_state)
        seeds = rng.randint(np.iinfo(np.int32).max, size=count).tolist()
        fits = list[Fit]()
        for seed in seeds:
            given = X, y, sample_weight
            if self.bootstrap:
                given = _rows(given, rng.randint(_num_samples(X), size=_num_samples(X)))
            fits.append(Fit(clone(self._member()).set_params(random_state=seed), *given))
        for fit in fit_together(fits, self.memory):
            for warning in fit.warned:
                warnings.warn(warning.message, stacklevel=2)
            if fit.error is not None:
                raise fit.error
        self.estimators_ = [fit.estimator for fit in fits]
        first = self.estimators_[0]
        self.n_features_in_ = first.n_features_in_
        if is_classifier(first):
            self.classes_ = first.classes_
            if any(len(e.classes_) != len(first.classes_) for e in self.estimators_):
                raise ValueError(
                    "MLPEnsemble: the samples that were drawn for a member lack a class; use bootstrap=False"
                )
        if hasattr(first, "feature_names_in_"):
            self.feature_names_in_ = first.feature_names_in_
        return self

    def _each(self, method: str, X: Any) -> Array:
        """The results of a method of all members, stacked along a new first axis."""
        check_is_fitted(self)
        found = [getattr(estimator, method)(X) for estimator in self.estimators_]
        return namespace(y=found[0]).stack(found)

    @on_arrays_device
    def predict(self, X: Any) -> Array:
        """The most likely class by the mean of the members' probabilities, or the mean of their predictions."""
        outputs = self._each("_outputs", X)
        mean = namespace(y=outputs).mean(outputs, axis=0)
        return self.estimators_[0]._predicted(mean)

    @available_if(_classifies)
    @on_arrays_device
    def predict_proba(self, X: Any) -> Array:
        """The mean of the members' probabilities, shape (N, K)."""
        p = self._each("predict_proba", X)
        return namespace(p=p).mean(p, axis=0)

    @on_arrays_device
    def spread(self, X: Any) -> Array:
        """The standard deviation over the members of their probabilities, shape (N, K), or of their predictions."""
        outputs = self._each("predict_proba" if _classifies(self) else "predict", X)
        return namespace(y=outputs).std(outputs, axis=0)

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """The accuracy, or the coefficient of determination R² of a regressor."""
        return float(self.estimators_[0]._score(y, self.predict(X), sample_weight=sample_weight))

    def __sklearn_tags__(self) -> Any:
        tags, own = super().__sklearn_tags__(), get_tags(self._member())
        tags.estimator_type, tags.classifier_tags = own.estimator_type, own.classifier_tags
        tags.regressor_tags, tags.target_tags, tags.input_tags = own.regressor_tags, own.target_tags, own.input_tags
        return tags


def _rows(arrays: tuple[Any, ...], rows: np.ndarray[Any, Any]) -> tuple[Any, ...]:
    return tuple(None if a is None else _safe_indexing(a, rows) for a in arrays)

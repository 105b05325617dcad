"""Searches and ensembles whose networks are trained at once: the results of scikit-learn's own."""

import contextlib
import io
import pickle
import warnings

import numpy as np
import pytest
import sklearn.model_selection as theirs
from scipy.sparse import csr_matrix
from scipy.stats import loguniform
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import BaggingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold, KFold, ShuffleSplit
from sklearn.multiclass import OneVsRestClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from xpnet import SGD, AdamW, Momentum, StepDecay, nn
from xpnet.sklearn import GridSearchCV, MLPClassifier, MLPEnsemble, MLPRegressor, RandomizedSearchCV
from xpnet.sklearn.together import Fit, fit_together

RNG = np.random.default_rng(0)
X = RNG.normal(size=(120, 6))
Y = (X[:, 0] + X[:, 1] * X[:, 2] > 0).astype(int) + (X[:, 3] > 1)
Z = X[:, 0] ** 2 + X[:, 1]
pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning", "ignore::UserWarning")


def classifier(**options):
    return MLPClassifier(**{"hidden_layer_sizes": (8,), "max_iter": 6, "batch_size": 20, "random_state": 0} | options)


def regressor(**options):
    return MLPRegressor(**{"hidden_layer_sizes": (8,), "max_iter": 6, "batch_size": 20, "random_state": 0} | options)


RATES = [1e-3, 1e-1]
GRID = {"alpha": [0.0, 1e-2, 1.0], "learning_rate_init": RATES}
ESTIMATORS = {
    "adam": (classifier(), GRID, Y),
    "beta": (classifier(), {"beta_1": [0.8, 0.9], "epsilon": [1e-8, 1e-3]}, Y),
    "sgd": (classifier(solver="sgd"), GRID | {"momentum": [0.5, 0.9]}, Y),
    "rates that change": (
        classifier(solver="sgd", max_iter=30, tol=1e-2, n_iter_no_change=2),
        {"learning_rate": ["constant", "invscaling", "adaptive"], "learning_rate_init": [0.01, 0.1]},
        Y,
    ),
    "early stopping": (classifier(early_stopping=True, max_iter=30, n_iter_no_change=3), GRID, Y),
    "sizes": (classifier(), {"hidden_layer_sizes": [(4,), (8,), (4, 3)], "batch_size": [20, 50]}, Y),
    "activations": (classifier(), {"activation": ["relu", "tanh", "logistic", "identity"]}, Y),
    "random states": (classifier(), {"random_state": [0, 1, 2], "shuffle": [True, False]}, Y),
    "epochs": (classifier(), {"max_iter": [1, 5, 9], "tol": [1e-4, 1.0]}, Y),
    "binary": (classifier(), GRID, Y > 0),
    "text": (classifier(), GRID, np.asarray(["no", "yes", "maybe"])[Y]),
    "several labels": (classifier(), GRID, np.stack([Y > 0, Y > 1], axis=1).astype(int)),
    "regression": (regressor(), GRID, Z),
    "several outputs": (regressor(), GRID, np.stack([Z, -Z], axis=1)),
    "poisson": (regressor(loss="poisson"), GRID, abs(Z)),
    "dropout": (classifier(batch_size=50), {"dropout": [0.0, 0.2, 0.5], "max_iter": [2, 6], "alpha": [0.0, 0.1]}, Y),
    "batch normalization": (
        classifier(early_stopping=True, max_iter=30, n_iter_no_change=3),
        {"batch_norm": [True, False], "learning_rate_init": RATES, "dropout": [0.0, 0.2]},
        Y,
    ),
    "a last mini-batch of one": (classifier(batch_size=79), {"batch_norm": [True], "random_state": [0, 1]}, Y),
    "class weights": (classifier(), {"class_weight": [None, "balanced", {0: 1, 1: 2, 2: 3}], "alpha": [0, 0.1]}, Y),
    "initial weights": (classifier(), {"weight_init": [None, nn.He(), nn.Xavier()]}, Y),
    "optimizers": (
        regressor(solver="sgd", learning_rate="adaptive"),
        {"optimizer": ["adam", SGD, SGD(0.01), Momentum(0.01), Momentum(0.02, 0.5, weight_decay=0.1)]},
        Z,
    ),
    "options of optimizers": (
        classifier(),
        {"optimizer": [AdamW(lr, weight_decay=d, clip_norm=c) for lr in RATES for d in (0.0, 1.0) for c in (0.1, 1)]},
        Y,
    ),
    "schedules": (
        classifier(dropout=0.1),
        {"optimizer": [Momentum(StepDecay(0.1, every)) for every in (3, 9)] + [Momentum(0.1, clip_norm=1.0)]},
        Y,
    ),
    "pipeline": (
        make_pipeline(StandardScaler(), classifier()),
        {"standardscaler__with_mean": [True, False], "mlpclassifier__alpha": [1e-4, 1.0]},
        Y,
    ),
}


def compare(found, expected):
    """Whether two searches have the same results."""
    assert found.cv_results_.keys() == expected.cv_results_.keys()
    for name, values in expected.cv_results_.items():
        if name.startswith("param"):
            assert list(found.cv_results_[name]) == list(values)
        elif "time" not in name:
            np.testing.assert_allclose(found.cv_results_[name], values, rtol=1e-9, err_msg=name)
    assert found.best_index_ == expected.best_index_
    assert found.best_params_ == expected.best_params_
    assert found.n_splits_ == expected.n_splits_


@pytest.mark.parametrize("name", ESTIMATORS)
def test_a_search_has_the_results_of_scikit_learn(name):
    estimator, grid, y = ESTIMATORS[name]
    options = {"cv": KFold(3), "return_train_score": True}
    found = GridSearchCV(estimator, grid, **options).fit(X, y)
    expected = theirs.GridSearchCV(estimator, grid, **options).fit(X, y)
    compare(found, expected)
    assert found.n_alone_ == 0
    assert found.n_together_ == len(found.cv_results_["params"]) * 3
    np.testing.assert_array_equal(found.predict(X), expected.predict(X))
    assert type(found.best_estimator_) is type(expected.best_estimator_)
    pickle.loads(pickle.dumps(found))
    assert (found.cv_results_["mean_fit_time"] > 0).all()


def test_weights_groups_and_scorers():
    weights, groups = RNG.random(120) + 0.1, np.arange(120) % 7
    options = {"cv": GroupKFold(4), "scoring": ["accuracy", "neg_log_loss"], "refit": "neg_log_loss"}
    arguments = {"sample_weight": weights, "groups": groups}
    found = GridSearchCV(classifier(), GRID, **options).fit(X, Y, **arguments)
    compare(found, theirs.GridSearchCV(classifier(), GRID, **options).fit(X, Y, **arguments))
    assert found.n_alone_ == 0
    weights[:3] = 0
    found = GridSearchCV(classifier(), GRID, **options).fit(X, Y, **arguments)
    compare(found, theirs.GridSearchCV(classifier(), GRID, **options).fit(X, Y, **arguments))
    assert 0 < found.n_alone_


def test_a_randomized_search():
    options = {"n_iter": 5, "random_state": 3, "cv": 3}
    space = {"alpha": loguniform(1e-4, 1.0), "learning_rate_init": loguniform(1e-3, 1e-1)}
    found = RandomizedSearchCV(classifier(), space, **options).fit(X, Y)
    compare(found, theirs.RandomizedSearchCV(classifier(), space, **options).fit(X, Y))
    assert found.n_together_ == 15


def test_splits_at_random_are_drawn_once():
    found = GridSearchCV(classifier(), GRID, cv=ShuffleSplit(3, random_state=np.random.RandomState(0))).fit(X, Y)
    assert found.n_alone_ == 0
    expected = theirs.GridSearchCV(classifier(), GRID, cv=ShuffleSplit(3, random_state=np.random.RandomState(0)))
    compare(found, expected.fit(X, Y))


def halved(step):
    return 0.1 / (1 + step)


class Halved(SGD):
    """An optimizer of one's own."""

    def rule(self, p, g, lr):
        return (p - lr * g / 2,)


@pytest.mark.parametrize(
    ("estimator", "grid", "x"),
    [
        (classifier(solver="lbfgs"), {"alpha": [0.1, 1.0]}, X),
        (classifier(), {"alpha": [0.1, 1.0]}, csr_matrix(X)),
        (classifier(warm_start=True), {"alpha": [0.1, 1.0]}, X),
        (classifier(class_weight={0: 0.0, 1: 1.0, 2: 1.0}), {"alpha": [0.1, 1.0]}, X),
        (classifier(optimizer=Halved()), {"alpha": [0.1, 1.0]}, X),
        (classifier(), {"optimizer": [Momentum(halved), Momentum(halved, 0.5)]}, X),
        (LogisticRegression(), {"C": [0.1, 1.0]}, X),
    ],
)
def test_what_cannot_be_made_at_once_is_fitted_alone(estimator, grid, x):
    found = GridSearchCV(estimator, grid, cv=3).fit(x, Y)
    compare(found, theirs.GridSearchCV(estimator, grid, cv=3).fit(x, Y))
    assert (found.n_together_, found.n_alone_) == (0, 6)


def test_estimators_of_other_kinds_are_candidates_too():
    pipe = make_pipeline(StandardScaler(), classifier())
    grid = [{"mlpclassifier__alpha": [0.1, 1.0]}, {"mlpclassifier": [LogisticRegression()]}]
    found = GridSearchCV(pipe, grid, cv=3).fit(X, Y)
    compare(found, theirs.GridSearchCV(pipe, grid, cv=3).fit(X, Y))
    assert (found.n_together_, found.n_alone_) == (6, 3)


@pytest.mark.parametrize(
    "estimator",
    [
        BaggingClassifier(classifier(), n_estimators=2, random_state=0),
        CalibratedClassifierCV(classifier(), cv=2),
        OneVsRestClassifier(classifier()),
    ],
    ids=lambda estimator: type(estimator).__name__,
)
def test_estimators_that_keep_fitted_networks(estimator):
    grid = {"estimator__alpha": [1e-4, 10.0]}
    ours, other = (kind(estimator, grid, cv=2).fit(X, Y > 0) for kind in (GridSearchCV, theirs.GridSearchCV))
    np.testing.assert_allclose(ours.cv_results_["mean_test_score"], other.cv_results_["mean_test_score"])
    again = pickle.loads(pickle.dumps(ours))
    np.testing.assert_allclose(again.predict_proba(X), other.predict_proba(X))


def test_a_fit_that_fails_gets_the_error_score():
    grid = {"learning_rate_init": [0.01, 1e300]}
    for error_score in (np.nan, -1.0):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            options = {"cv": 3, "error_score": error_score, "refit": False}
            found = GridSearchCV(classifier(solver="sgd"), grid, **options).fit(X, Y)
            expected = theirs.GridSearchCV(classifier(solver="sgd"), grid, **options).fit(X, Y)
        np.testing.assert_array_equal(found.cv_results_["mean_test_score"], expected.cv_results_["mean_test_score"])
        assert found.n_alone_ == 0
    with pytest.raises(ValueError, match="non-finite"):
        GridSearchCV(classifier(solver="sgd"), grid, cv=3, error_score="raise").fit(X, Y)


def test_several_processes_and_little_memory():
    expected = GridSearchCV(classifier(), GRID, cv=3).fit(X, Y)
    compare(GridSearchCV(classifier(), GRID, cv=3, n_jobs=2).fit(X, Y), expected)
    compare(GridSearchCV(classifier(), GRID, cv=3, memory=1).fit(X, Y), expected)


def test_the_numbers_of_fits_are_printed():
    with contextlib.redirect_stdout(io.StringIO()) as out:
        GridSearchCV(classifier(), {"alpha": [0.1, 1.0]}, cv=3, verbose=1).fit(X, Y)
    assert out.getvalue().splitlines()[-1] == "6 fits were made at once, and 0 one by one"


def test_the_search_itself_is_not_changed():
    search = GridSearchCV(classifier(), GRID, cv=3)
    before = repr(search.get_params())
    search.fit(X, Y)
    assert repr(search.get_params()) == before
    assert repr(clone(search).get_params()) == before


def test_an_optimizer_that_was_used_before_is_used_again():
    optimizer = Momentum(0.01)
    optimizer.update({"W": np.ones(3)}, {"W": np.ones(3)})  # the optimizer keeps its state
    found = GridSearchCV(classifier(), {"optimizer": [optimizer, Momentum(0.1)]}, cv=3).fit(X, Y)
    compare(found, theirs.GridSearchCV(classifier(), {"optimizer": [Momentum(0.01), Momentum(0.1)]}, cv=3).fit(X, Y))
    assert found.n_alone_ == 0


@pytest.mark.parametrize("name", ["numpy", "torch", "array_api_strict"])
def test_arrays_of_other_libraries(name):
    import sklearn

    module = pytest.importorskip(name)
    x, y = module.asarray(X), module.asarray(Y)
    own = {"dropout": 0.2, "batch_norm": True, "class_weight": "balanced", "optimizer": Momentum(StepDecay(0.1, 3))}
    fits = [Fit(classifier(alpha=alpha, **options), x, y) for alpha in (0.1, 1.0) for options in ({}, own)]
    with sklearn.config_context(array_api_dispatch=True):
        fit_together(fits)
        for fit in fits:
            assert fit.error is None
            assert fit.together
            alone = clone(fit.estimator).fit(x, y)
            np.testing.assert_allclose(fit.estimator.loss_curve_, alone.loss_curve_, rtol=1e-9)
            assert type(fit.estimator.coefs_[0]) is type(x)


def test_estimators_that_were_fitted_at_once_go_on_as_alone():
    options = {"dropout": 0.3, "batch_norm": True, "optimizer": "adam", "early_stopping": True}
    stops = {"n_iter_no_change": 1, "tol": 1e-3, "max_iter": 40}
    fits = [Fit(classifier(random_state=seed, **options, **stops), X, Y) for seed in range(5)]
    assert len({fit.estimator.n_iter_ for fit in fit_together(fits)}) > 3
    for fit in fits:
        alone = clone(fit.estimator).fit(X, Y)
        assert alone.n_iter_ == fit.estimator.n_iter_
        for model in (alone, fit.estimator):
            model.set_params(early_stopping=False).partial_fit(X, Y)
        np.testing.assert_allclose(fit.estimator.predict_proba(X), alone.predict_proba(X), rtol=1e-9)


def test_sparse_tensors_are_fitted_alone():
    import sklearn

    torch = pytest.importorskip("torch")
    thin = torch.tensor(X).to_sparse()
    fits = [Fit(classifier(alpha=alpha), thin, Y) for alpha in (0.1, 1.0)]
    with sklearn.config_context(array_api_dispatch=True):
        assert [fit.together for fit in fit_together(fits)] == [False, False]
    assert [fit.error for fit in fits] == [None, None]


# Ensembles


def test_an_ensemble_is_the_mean_of_its_members():
    ensemble = MLPEnsemble(classifier(max_iter=20), n_estimators=4, random_state=1).fit(X, Y)
    each = np.stack([estimator.predict_proba(X) for estimator in ensemble.estimators_])
    np.testing.assert_allclose(ensemble.predict_proba(X), each.mean(axis=0))
    np.testing.assert_allclose(ensemble.spread(X), each.std(axis=0))
    np.testing.assert_array_equal(ensemble.predict(X), ensemble.classes_[each.mean(axis=0).argmax(axis=1)])
    assert ensemble.score(X, Y) == (ensemble.predict(X) == Y).mean()
    for estimator in ensemble.estimators_:
        alone = clone(estimator).fit(X, Y)
        np.testing.assert_allclose(estimator.loss_curve_, alone.loss_curve_, rtol=1e-9)


def test_an_ensemble_of_regressors_on_drawn_samples():
    ensemble = MLPEnsemble(regressor(), n_estimators=3, bootstrap=True, random_state=1).fit(X, Z)
    each = np.stack([estimator.predict(X) for estimator in ensemble.estimators_])
    np.testing.assert_allclose(ensemble.predict(X), each.mean(axis=0))
    assert not hasattr(ensemble, "predict_proba")
    assert len({estimator.loss_ for estimator in ensemble.estimators_}) == 3


def test_lists_are_drawn_from():
    ensembles = [MLPEnsemble(regressor(), 2, bootstrap=True, random_state=1) for _ in range(2)]
    found, expected = ensembles[0].fit(X.tolist(), Z.tolist()), ensembles[1].fit(X, Z)
    np.testing.assert_allclose(found.predict(X), expected.predict(X))


def test_odd_ensembles_are_refused():
    with pytest.raises(TypeError, match="MLPClassifier or MLPRegressor of xpnet.sklearn, got LogisticRegression"):
        MLPEnsemble(LogisticRegression()).fit(X, Y)
    with pytest.raises(ValueError, match="n_estimators"):
        MLPEnsemble(n_estimators=0).fit(X, Y)
    y = np.zeros(120, int)
    y[0] = 1
    with pytest.raises(ValueError, match="lack a class; use bootstrap=False"):
        MLPEnsemble(classifier(), n_estimators=8, bootstrap=True, random_state=0).fit(X, y)


@parametrize_with_checks(
    [
        MLPEnsemble(MLPClassifier(max_iter=100), n_estimators=2, random_state=0),
        MLPEnsemble(MLPRegressor(max_iter=100), n_estimators=2, random_state=0),
    ]
)
def test_the_checks_of_scikit_learn(estimator, check):
    check(estimator)

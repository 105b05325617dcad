"""The estimators: scikit-learn's own as an oracle, its checks, its tools, and arrays of other libraries."""

import importlib.util
import inspect
import multiprocessing
import pickle
import warnings
from types import SimpleNamespace

import numpy as np
import pytest
from conftest import problem_of

pytest.importorskip("sklearn", reason="scikit-learn is not installed")
import joblib
import sklearn.exceptions
import sklearn.neural_network as theirs
from scipy import sparse
from sklearn import config_context
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer, load_digits, make_multilabel_classification, make_regression
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV, cross_val_score, cross_validate
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.class_weight import compute_class_weight, compute_sample_weight
from sklearn.utils.estimator_checks import parametrize_with_checks

import xpnet
from xpnet import nn
from xpnet.sklearn import MLPClassifier, MLPEnsemble, MLPRegressor

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
OURS = {"classifier": MLPClassifier, "regressor": MLPRegressor}
THEIRS = {"classifier": theirs.MLPClassifier, "regressor": theirs.MLPRegressor}


def problems():
    digits, numbers = load_digits(return_X_y=True)
    cells, kinds = load_breast_cancer(return_X_y=True)
    texts, topics = make_multilabel_classification(200, 12, n_classes=4, random_state=0)
    x, y = make_regression(200, 8, n_targets=2, random_state=0)
    return {
        "classes": ("classifier", digits[:500] / 16, numbers[:500]),
        "words": ("classifier", StandardScaler().fit_transform(cells)[:300], np.asarray(["no", "yes"])[kinds[:300]]),
        "objects": ("classifier", digits[:200] / 16, np.asarray(list("abcdefghij"), dtype=object)[numbers[:200]]),
        "many-labels": ("classifier", texts / 10, topics),
        "numbers": ("regressor", x, y[:, 0] / 100),
        "pairs": ("regressor", x, y / 100),
    }


PROBLEMS = problems()
OPTIONS = {
    "adam": {},
    "adam-decay": {"alpha": 1.0, "activation": "logistic", "batch_size": 33},
    "adam-early": {"early_stopping": True, "activation": "tanh", "max_iter": 30, "n_iter_no_change": 3},
    "adam-betas": {"beta_1": 0.5, "beta_2": 0.9, "epsilon": 1e-3, "alpha": 0, "tol": 0.01, "n_iter_no_change": 1},
    "sgd": {"solver": "sgd", "shuffle": False, "learning_rate_init": 0.01},
    "sgd-plain": {"solver": "sgd", "momentum": 0.0, "nesterovs_momentum": False, "activation": "identity"},
    "sgd-invscaling": {"solver": "sgd", "learning_rate": "invscaling", "learning_rate_init": 0.1, "power_t": 0.3},
    "sgd-adaptive": {
        "solver": "sgd",
        "learning_rate": "adaptive",
        "learning_rate_init": 0.02,
        "tol": 0.05,
        "n_iter_no_change": 1,
        "max_iter": 40,
    },
    "lbfgs": {"solver": "lbfgs", "alpha": 0.1},
}


def pair(kind, **options):
    options = {"hidden_layer_sizes": (9, 6), "max_iter": 8, "random_state": 3, **options}
    return OURS[kind](**options), THEIRS[kind](**options)


def agree(ours, own, X, rtol=1e-8):
    """Everything that was fitted, and the answers."""
    for name, value in vars(own).items():
        if not name.endswith("_") or name.startswith("_"):
            continue
        got = getattr(ours, name)
        if name in ("coefs_", "intercepts_"):
            for a, b in zip(got, value, strict=True):
                np.testing.assert_allclose(a, b, rtol=rtol, atol=rtol, err_msg=name)
                assert a.dtype == b.dtype
        elif isinstance(value, (float, list)):
            np.testing.assert_allclose(got, value, rtol=rtol, err_msg=name)
        elif isinstance(value, np.ndarray):
            np.testing.assert_array_equal(got, value, err_msg=name)
        else:
            assert got == value, name
    methods = [m for m in ("predict_proba", "predict_log_proba") if hasattr(own, m)]
    for method in methods or ["predict"]:
        np.testing.assert_allclose(getattr(ours, method)(X), getattr(own, method)(X), rtol=1e-6, atol=1e-8)
    if methods:
        np.testing.assert_array_equal(ours.predict(X), own.predict(X))
        assert ours.predict(X).dtype == own.predict(X).dtype


@pytest.mark.parametrize("problem", PROBLEMS)
@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("weighted", [False, True])
def test_from_one_random_state_the_fit_is_scikit_learns(problem, options, weighted):
    kind, X, y = PROBLEMS[problem]
    ours, own = pair(kind, **OPTIONS[options])
    weight = {"sample_weight": 0.1 + np.random.default_rng(0).random(len(X))} if weighted else {}
    for model in (ours, own):
        assert model.fit(X, y, **weight) is model
    agree(ours, own, X)
    np.testing.assert_allclose(ours.score(X, y, **weight), own.score(X, y, **weight), rtol=1e-9)


@pytest.mark.parametrize("y", [np.arange(200) % 5, np.zeros(200), np.arange(200) / 7])
def test_counts_are_fitted_by_poissons_loss(y):
    X = PROBLEMS["numbers"][1]
    ours, own = pair("regressor", loss="poisson")
    agree(ours.fit(X, y), own.fit(X, y), X)


@pytest.mark.parametrize("problem", PROBLEMS)
@pytest.mark.parametrize("solver", ["adam", "sgd"])
def test_partial_fit_goes_on_as_scikit_learns(problem, solver):
    kind, X, y = PROBLEMS[problem]
    ours, own = pair(kind, solver=solver, learning_rate="invscaling", random_state=np.random.RandomState(5))
    own.set_params(random_state=np.random.RandomState(5))
    classes = {}
    if kind == "classifier":
        classes = {"classes": np.arange(y.shape[1]) if y.ndim > 1 else np.unique(y)}
    for rows in (slice(0, 100), slice(100, 150), slice(150, 200)):
        for model in (ours, own):
            model.partial_fit(X[rows], y[rows], **classes)
        agree(ours, own, X)
        classes = {}


def test_warm_start_goes_on_as_scikit_learns():
    kind, X, y = PROBLEMS["classes"]
    ours, own = pair(kind, warm_start=True, random_state=np.random.RandomState(5))
    own.set_params(random_state=np.random.RandomState(5))
    for _ in range(2):
        agree(ours.fit(X, y), own.fit(X, y), X)
    for model in (ours, own):
        with pytest.raises(ValueError, match="warm_start can only be used where `y` has the same classes"):
            model.fit(X, y + 1)


def test_what_is_printed_and_warned_is_scikit_learns(capsys):
    kind, X, y = PROBLEMS["classes"]
    printed, warned = [], []
    for options in (
        {"early_stopping": True, "n_iter_no_change": 1, "tol": 0.1},
        OPTIONS["sgd-adaptive"] | {"learning_rate_init": 1e-5, "max_iter": 12},
        {"batch_size": 10_000},
    ):
        for model in pair(kind, verbose=True, **options):
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                model.fit(X, y)
            printed.append(capsys.readouterr().out)
            warned.append([(w.category, str(w.message)) for w in caught])
        assert printed[-2] == printed[-1] != ""
        assert warned[-2] == warned[-1]
    assert warned[-1]


# Arrays of other dtypes, sparse matrices, one class, and weights


DTYPES = ["float64", "float32", "int64"]


@pytest.mark.parametrize("problem", ["classes", "words", "numbers"])
@pytest.mark.parametrize("solver", ["adam", "sgd", "lbfgs"])
@pytest.mark.parametrize("first", DTYPES)
@pytest.mark.parametrize("then", DTYPES)
def test_training_goes_on_with_samples_of_another_dtype(problem, solver, first, then):
    kind, X, y = PROBLEMS[problem]
    X, y = (4 * X[:60]).round(), y[:60]
    ours, own = pair(kind, solver=solver, warm_start=True, hidden_layer_sizes=(5,))
    for model in (ours, own):
        for name in (first, then, first):
            model.fit(X.astype(name), y)
            if solver != "lbfgs":
                model.partial_fit(X.astype(name), y)
    # scikit-learn's lbfgs always ends with float64; it computes a float32 network's gradients for float64 in float64.
    expected = "float32" if first == "float32" else "float64"
    assert {a.dtype.name for a in (*ours.coefs_, *ours.intercepts_)} == {expected}
    rtol = 1e-8 if expected == "float64" else 2e-2
    for a, b in zip(ours.coefs_, own.coefs_, strict=True):
        np.testing.assert_allclose(a, b, rtol=rtol, atol=rtol)


@pytest.mark.parametrize("fitted", DTYPES)
@pytest.mark.parametrize("asked", DTYPES)
def test_predictions_have_the_dtype_of_scikit_learns(fitted, asked):
    for problem in ("classes", "many-labels", "pairs"):
        kind, X, y = PROBLEMS[problem]
        X = (4 * X[:60]).round()
        ours, own = (model.fit(X.astype(fitted), y[:60]) for model in pair(kind))
        for method in ("predict", "predict_proba") if kind == "classifier" else ("predict",):
            a, b = (getattr(model, method)(X.astype(asked)) for model in (ours, own))
            assert a.dtype == b.dtype, (problem, method)
            np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("label", [0, 7.5, "a", True])
@pytest.mark.parametrize("options", ["adam", "adam-early", "lbfgs"])
def test_one_class_is_predicted(label, options):
    X = PROBLEMS["words"][1][:60]
    y = np.full(60, label) if label != 7.5 else np.full(60, 7.0)
    ours, own = pair("classifier", **OPTIONS[options])
    agree(ours.fit(X, y), own.fit(X, y), X)
    assert ours.predict_proba(X).shape == (60, 2)
    assert ours.score(X, y) == 1.0
    assert cross_val_score(clone(ours), X, y, cv=3).tolist() == [1.0, 1.0, 1.0]


@pytest.mark.parametrize("classes", [[3], [3, 5], [1, 3, 5]])
def test_partial_fit_where_one_class_of_those_that_may_occur_does(classes):
    X, y = PROBLEMS["words"][1][:60], np.full(60, 3)
    ours, own = pair("classifier")
    agree(ours.partial_fit(X, y, classes=classes), own.partial_fit(X, y, classes=classes), X)


FORMATS = ["csr_array", "csr_matrix", "csc_array", "csc_matrix", "coo_array"]


@pytest.mark.parametrize("problem", PROBLEMS)
@pytest.mark.parametrize(
    ("options", "form"), list(zip(["adam", "adam-early", "sgd-invscaling", "lbfgs"], FORMATS, strict=False))
)
def test_sparse_samples_are_fitted_as_scikit_learn_does(problem, options, form):
    kind, X, y = PROBLEMS[problem]
    X = np.where(X > 0.5, X, 0)[:200]
    matrix, weight = getattr(sparse, form)(X), 0.1 + np.random.default_rng(0).random(200)
    ours, own = (model.fit(matrix, y[:200], sample_weight=weight) for model in pair(kind, **OPTIONS[options]))
    agree(ours, own, X)
    agree(ours, own, matrix)
    ours.fit(matrix.astype("float32"), y[:200])
    assert {p.dtype.name for p in (*ours.coefs_, *ours.intercepts_)} == {"float32"}


@pytest.mark.parametrize("solver", ["adam", "sgd", "lbfgs"])
def test_sparse_samples_stay_sparse(monkeypatch, solver):
    kind, X, y = PROBLEMS["classes"]
    matrix, model = sparse.csr_array(X), pair(kind, solver=solver, early_stopping=True)[0]

    def refuse(*_, **__):
        raise AssertionError("a sparse matrix was made dense")

    monkeypatch.setattr(sparse.csr_array, "toarray", refuse)
    assert model.fit(matrix, y).predict(matrix).shape == y.shape


def test_sparse_and_dense_samples_train_the_same_network():
    kind, X, y = PROBLEMS["classes"]
    ours, own = pair(kind)
    for model in (ours, own):
        for samples in (sparse.csr_array(X), X, sparse.csc_array((16 * X).astype(int)), X.astype("float32")):
            model.partial_fit(samples, y, classes=np.arange(10))
    agree(ours, own, X)


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("options", ["adam", "adam-early", "lbfgs"])
def test_an_indicator_matrix_may_be_sparse(form, options):
    kind, X, y = PROBLEMS["many-labels"]
    matrix = getattr(sparse, form)(y)
    ours, own = pair(kind, **OPTIONS[options])
    for model in (ours, own):
        model.fit(X, matrix)
        if options == "adam":
            model.partial_fit(X, matrix)
    for a, b in zip(ours.coefs_, own.coefs_, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-8, atol=1e-8)
    answers, expected = ours.predict(X), own.predict(X)
    assert (type(answers), answers.dtype) == (type(expected), expected.dtype)
    np.testing.assert_array_equal(answers.toarray(), expected.toarray())
    assert ours.score(X, matrix) == own.score(X, matrix)


def test_any_number_but_0_in_an_indicator_matrix_is_yes():
    kind, X, y = PROBLEMS["many-labels"]
    ours, own = pair(kind)
    agree(ours.fit(X, 4 * y), own.fit(X, 4 * y), X)


@pytest.mark.parametrize("problem", PROBLEMS)
@pytest.mark.parametrize("solver", ["adam", "sgd"])
def test_a_mini_batch_in_which_all_weights_are_0_is_left_out(problem, solver):
    kind, X, y = PROBLEMS[problem]
    weight = np.where(np.arange(200) // 20 % 3 == 1, 0, 1.5)
    ours, _ = pair(kind, solver=solver, batch_size=20, shuffle=False)
    _, own = pair(kind, solver=solver, batch_size=20, shuffle=False)
    kept = weight > 0
    for model, rows in ((ours, slice(200)), (own, np.flatnonzero(kept))):
        model.fit(X[:200][rows], y[:200][rows], sample_weight=weight[rows])
    own.loss_curve_ = [loss * kept.mean() for loss in own.loss_curve_]  # a loss of 0 for those samples
    np.testing.assert_allclose(ours.loss_curve_, own.loss_curve_, rtol=1e-8)
    for a, b in zip(ours.coefs_, own.coefs_, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("problem", PROBLEMS)
@pytest.mark.parametrize("options", ["adam", "sgd"])
def test_negative_weights_are_taken_and_zeros_alone_are_not(problem, options):
    kind, X, y = PROBLEMS[problem]
    ours, own = pair(kind, **OPTIONS[options])
    weight = np.where(np.arange(len(X)) % 9 == 0, -0.2, 1)
    agree(ours.fit(X, y, sample_weight=weight), own.fit(X, y, sample_weight=weight), X)
    with pytest.raises(ValueError, match="at least one non-zero number"):
        ours.fit(X, y, sample_weight=0 * weight)


def test_another_solver_in_partial_fit_starts_anew():
    kind, X, y = PROBLEMS["classes"]
    ours, own = pair(kind)
    for model in (ours, own):
        model.fit(X, y).set_params(solver="sgd", learning_rate_init=0.05)
    del own._optimizer  # scikit-learn goes on with Adam
    agree(ours.partial_fit(X, y), own.partial_fit(X, y), X)


def test_another_solver_or_early_stopping_in_a_warm_start():
    kind, X, y = PROBLEMS["classes"]
    model, _ = pair(kind, solver="lbfgs", warm_start=True)
    for solver, early_stopping in [("lbfgs", False), ("adam", True), ("adam", False), ("sgd", False)]:
        model.set_params(solver=solver, early_stopping=early_stopping).fit(X, y)
        assert (getattr(model, "validation_scores_", None) is not None) == early_stopping
    assert len(model.loss_curve_) == 16  # of the last two calls


def test_targets_of_another_kind_are_refused_where_training_goes_on():
    X = PROBLEMS["many-labels"][1]
    labels, classes, numbers = PROBLEMS["many-labels"][2], np.arange(200) % 3, np.arange(400.0).reshape(200, 2)
    classifier, regressor = MLPClassifier(max_iter=2), MLPRegressor(max_iter=2)
    for model, before, after, match in [
        (classifier, classes, labels[:, :3], r"3 outputs \(softmax\), got 3 \(logistic\)"),
        (classifier, labels, classes, r"4 outputs \(logistic\), got 4 \(softmax\)"),
        (classifier, labels, labels[:, :3], r"4 outputs \(logistic\), got 3 \(logistic\)"),
        (regressor, numbers, numbers[:, 0], r"2 outputs \(identity\), got 1 \(identity\)"),
        (regressor, numbers[:, 0], numbers, r"1 outputs \(identity\), got 2 \(identity\)"),
    ]:
        with pytest.raises(ValueError, match=match):
            model.fit(X, before).partial_fit(X, after)


def test_a_run_that_diverges_ends_with_the_best_parameters():
    kind, X, y = PROBLEMS["numbers"]
    model, _ = pair(
        kind, solver="sgd", activation="identity", learning_rate_init=3.0, early_stopping=True, max_iter=50
    )
    with pytest.warns(ConvergenceWarning, match=r"The loss is (nan|inf) in epoch \d+\. Training has ended"):
        model.fit(X, y)
    assert model.n_iter_ == len(model.loss_curve_) == len(model.validation_scores_) < 50
    assert not np.isfinite(model.loss_curve_[-1]) and np.isnan(model.validation_scores_[-1])
    assert np.isfinite(model.coefs_[0]).all()


def test_lbfgs_that_stops_early_says_so():
    kind, X, y = PROBLEMS["classes"]
    with pytest.warns(ConvergenceWarning, match="lbfgs failed to converge after 2 iterations.*Increase max_iter"):
        MLPClassifier(solver="lbfgs", max_iter=2).fit(X, y)


# As scikit-learn's tools see them


OWN = {
    "dropout": 0.2,
    "batch_norm": True,
    "weight_init": nn.He(),
    "optimizer": xpnet.Adam(xpnet.CosineDecay(0.01, 99)),
}
"""The options that scikit-learn's estimators do not have."""


def fails(estimator):
    """Weights are not the same as repeated samples: masks differ, and batch statistics have no weights."""
    kinds = "dense", "sparse"
    why = "dropout and batch normalization"
    return {f"check_sample_weight_equivalence_on_{kind}_data": why for kind in kinds if estimator.dropout}


@parametrize_with_checks(
    [MLPClassifier(max_iter=100), MLPRegressor(max_iter=100), MLPClassifier(max_iter=100, **OWN)],
    expected_failed_checks=fails,
)
def test_scikit_learns_own_checks(estimator, check):
    if "namespace=cupy" in str(check) or getattr(check, "keywords", {}).get("array_namespace") == "cupy":
        if problem := xpnet.BACKENDS["cupy"].problem:
            pytest.skip(problem)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        check(estimator)


class PrivateNames:
    """The private names of scikit-learn's estimators that their own tests use."""

    @property
    def _optimizer(self):
        return SimpleNamespace(learning_rate=self._rate)

    def _loss_grad_lbfgs(self, flat, X, y, *_):
        start, cuts = self._params, np.cumsum([p.size for p in self._params.values()])[:-1]
        parts = zip(start.items(), np.split(flat, cuts), strict=True)
        stack, x = self._network(X)
        params = {name: part.reshape(p.shape) for (name, p), part in parts}
        loss, gradients, _ = self._objective(stack, float(self.alpha))(params, x, y.astype(X.dtype))
        return loss, np.concatenate([gradients[name].ravel() for name in start])


class Classifier(PrivateNames, MLPClassifier):
    pass


class Regressor(PrivateNames, MLPRegressor):
    pass


def their_tests():
    """scikit-learn's own tests of its estimators, from a copy of their module that has xpnet's in place of them."""
    spec = importlib.util.find_spec("sklearn.neural_network.tests.test_mlp")
    module = importlib.util.module_from_spec(spec)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(theirs, "MLPClassifier", Classifier)
        patch.setattr(theirs, "MLPRegressor", Regressor)
        spec.loader.exec_module(module)
    return {name: test for name, test in vars(module).items() if name.startswith("test_")}


globals().update(their_tests())  # all of them: none is left out


@pytest.fixture
def global_random_seed():
    """scikit-learn's fixture."""
    return 42


def test_pipelines_searches_and_cross_validation():
    _, X, y = PROBLEMS["words"]
    model = make_pipeline(StandardScaler(), MLPClassifier((8,), solver="lbfgs", random_state=0))
    search = GridSearchCV(model, {"mlpclassifier__alpha": [1e-4, 10.0]}, cv=3).fit(X, y)
    assert search.best_score_ > 0.93
    assert cross_val_score(model, X, y, cv=3).min() > 0.9
    assert clone(model[-1]).get_params() == model[-1].get_params()


def test_a_pickled_estimator_goes_on_where_it_was():
    kind, X, y = PROBLEMS["classes"]
    model = MLPClassifier((9,), random_state=0, max_iter=3).fit(X, y)
    again = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(again.predict_proba(X), model.predict_proba(X))
    for m in (model, again):
        m.partial_fit(X, y)
    np.testing.assert_array_equal(again.predict_proba(X), model.predict_proba(X))


def test_coefficients_that_were_changed_are_those_that_answer():
    _, X, y = PROBLEMS["classes"]
    model = MLPClassifier((9,), random_state=0, max_iter=3).fit(X, y)
    model.coefs_[1] = 0 * model.coefs_[1]
    model.intercepts_[1] = np.arange(10.0)
    assert set(model.predict(X)) == {9}


# Under joblib


@pytest.fixture(params=["loky", "threading", "multiprocessing", "dask"])
def two_workers(request):
    """scikit-learn's tools with two of each kind of worker that joblib has."""
    if request.param == "dask":
        distributed = pytest.importorskip("distributed", reason="Dask's scheduler is not installed")
        with distributed.Client(n_workers=2, threads_per_worker=1, processes=False, dashboard_address=":0"):
            with joblib.parallel_config("dask"):
                yield
        return
    # A process with threads, such as torch's, is not to be forked.
    options = {"context": multiprocessing.get_context("spawn")} if request.param == "multiprocessing" else {}
    with joblib.parallel_config(request.param, n_jobs=2, **options):
        yield
    if request.param == "loky":
        joblib.externals.loky.get_reusable_executor().shutdown()


@pytest.mark.parametrize("problem", ["words", "pairs"])
def test_a_search_under_joblib_is_the_sequential_one(two_workers, problem):
    kind, X, y = PROBLEMS[problem]
    model, _ = pair(kind, early_stopping=True, validation_fraction=0.2)
    choices = {"solver": ["adam", "sgd", "lbfgs"], "alpha": [1e-4, 1.0]}
    found = GridSearchCV(model, choices, cv=3).fit(X, y)
    with joblib.parallel_config("sequential"):
        alone = GridSearchCV(clone(model), choices, cv=3).fit(X, y)
    for fold in range(3):
        np.testing.assert_array_equal(*(s.cv_results_[f"split{fold}_test_score"] for s in (found, alone)))
    assert found.best_params_ == alone.best_params_
    np.testing.assert_array_equal(found.predict(X), alone.predict(X))


@pytest.mark.parametrize("problem", ["classes", "numbers"])
def test_estimators_come_back_from_joblib_fitted(two_workers, problem):
    kind, X, y = PROBLEMS[problem]
    alone, _ = pair(kind, warm_start=True)
    first, again = joblib.Parallel()(joblib.delayed(clone(alone).fit)(X, y) for _ in range(2))
    for model in (alone.fit(X, y), first, again):
        model.fit(X, y)  # goes on where it was
    for model in (first, again, clone(first).fit(X, y).fit(X, y)):
        assert model.loss_curve_ == alone.loss_curve_
        np.testing.assert_array_equal(model.predict(X), alone.predict(X))


# joblib keeps references to what it sends to Dask, and loses one at times while it tidies up, with a KeyError.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("two_workers", ["loky", "threading", "dask"], indirect=True)  # a pool may hang after these
def test_joblibs_workers_take_tensors_where_dispatch_is_on(two_workers):
    torch = pytest.importorskip("torch")
    _, X, y = PROBLEMS["classes"]
    model = MLPClassifier((9,), random_state=0, max_iter=8)
    with config_context(array_api_dispatch=True):
        done = cross_validate(model, torch.tensor(X), torch.tensor(y), cv=3, return_estimator=True)
        with joblib.parallel_config("sequential"):
            alone = cross_val_score(model, torch.tensor(X), torch.tensor(y), cv=3)
    np.testing.assert_array_equal(done["test_score"], alone)
    assert all(isinstance(fitted.coefs_[0], torch.Tensor) for fitted in done["estimator"])


# Arrays of other libraries


ARRAYS = {
    "torch": ("torch", None, 1e-9),
    "torch-cuda": ("torch", "cuda", 1e-8),
    "strict": ("strict", None, 1e-9),
    "strict-device1": ("strict", "device1", 1e-9),
    "cupy": ("cupy", None, 1e-8),
    "cupy-second": ("cupy", "cuda:1", 1e-8),  # while the first device is current
}


@pytest.mark.parametrize("arrays", ARRAYS)
@pytest.mark.parametrize("problem", [name for name in PROBLEMS if name not in ("words", "objects")])
@pytest.mark.parametrize("options", ["adam", "sgd-adaptive", "adam-early", "lbfgs"])
def test_arrays_of_other_libraries_give_what_numpys_give_where_they_are(arrays, problem, options):
    name, device, rtol = ARRAYS[arrays]
    if why := problem_of("cupy-elsewhere" if arrays == "cupy-second" else arrays):
        pytest.skip(why)
    backend = xpnet.get_backend(name)
    xp, where = backend.namespace(), backend.device(device)
    kind, X, y = PROBLEMS[problem]
    here, _ = pair(kind, **OPTIONS[options])
    there, _ = pair(kind, **OPTIONS[options])
    weight = 0.1 + np.random.default_rng(0).random(len(X))
    here.fit(X, y, sample_weight=weight)
    x, t, w = (xp.asarray(a.copy(), device=where) for a in (X, y, weight))
    with config_context(array_api_dispatch=True):
        there.fit(x, t, sample_weight=w)
        answers = there.predict(x), there.predict_proba(x) if kind == "classifier" else there.predict(x)
        score = there.score(x, t, sample_weight=w)
    for a in (*there.coefs_, *there.intercepts_, *answers):
        assert type(a) is type(x)
        assert xpnet._array.device(a) == xpnet._array.device(x)
    for a, b in zip(there.coefs_, here.coefs_, strict=True):
        np.testing.assert_allclose(xpnet.to_numpy(a), b, rtol=1e-6, atol=rtol)
    np.testing.assert_allclose(there.loss_, here.loss_, rtol=rtol)
    np.testing.assert_allclose(xpnet.to_numpy(answers[0]), here.predict(X), rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(score, here.score(X, y, sample_weight=weight), rtol=rtol)


def test_words_on_the_host_label_samples_on_a_device():
    torch = pytest.importorskip("torch")
    _, X, y = PROBLEMS["words"]
    with config_context(array_api_dispatch=True):
        model = MLPClassifier((9,), random_state=0, max_iter=20).fit(torch.tensor(X), y)
        expected = MLPClassifier((9,), random_state=0, max_iter=20).fit(X, y).predict(X)
        np.testing.assert_array_equal(model.predict(torch.tensor(X)), expected)
        assert set(expected) == {"no", "yes"}
        assert isinstance(model.predict_proba(torch.tensor(X)), torch.Tensor)


def test_float32_stays_float32():
    for problem, (kind, X, y) in PROBLEMS.items():
        for options in ("adam", "sgd", "lbfgs"):
            model, _ = pair(kind, **OPTIONS[options])
            X = X.astype("float32")
            model.fit(X, y)
            answers = model.predict_proba(X) if kind == "classifier" else model.predict(X)
            dtypes = {a.dtype.name for a in (*model.coefs_, *model.intercepts_, answers)}
            assert dtypes == {"float32"}, (problem, options)


# What is refused, and what ends a run


def test_what_is_refused():
    _, X, y = PROBLEMS["classes"]
    model = MLPClassifier(max_iter=2).fit(X, y)
    for call, error, match in [
        (lambda: MLPClassifier().fit(X, sparse.csr_array(y[:, None])), TypeError, "Sparse data was passed for y"),
        (lambda: MLPClassifier(solver="newton").fit(X, y), ValueError, "'solver' parameter of MLPClassifier must be"),
        (lambda: MLPClassifier(hidden_layer_sizes=(5, 0)).fit(X, y), ValueError, r"must be > 0, got \[5, 0\]"),
        (lambda: MLPClassifier().partial_fit(X, y), ValueError, "classes must be passed on the first call"),
        (lambda: clone(model).partial_fit(X, y, classes=[0, 1]), ValueError, r"classes not in `self.classes_`"),
        (lambda: model.partial_fit(X, y, classes=[0, 1]), ValueError, "not the same as on last call"),
        (
            lambda: MLPClassifier(early_stopping=True).partial_fit(X, y, classes=np.arange(10)),
            ValueError,
            "early_sto",
        ),
        (lambda: MLPRegressor().fit(X, y.astype(str)), TypeError, "Cannot cast"),
        (lambda: MLPRegressor(loss="poisson").fit(X, y - 1), ValueError, "must not be negative with loss='poisson'"),
        (lambda: MLPRegressor(early_stopping=True).fit(X[:9], y[:9]), ValueError, "validation set is too small"),
        (lambda: MLPClassifier().fit(X, np.stack([y, y], axis=1)), ValueError, "Multioutput target data"),
        (lambda: MLPClassifier().fit(X, y + 0.5), ValueError, "Unknown label type"),
        (lambda: model.predict(X[:, :5]), ValueError, "X has 5 features, but MLPClassifier is expecting 64"),
        (lambda: MLPRegressor(learning_rate_init=1e300, solver="sgd").fit(X, y), ValueError, "non-finite parameter"),
    ]:
        with pytest.raises(error, match=match):
            call()
    assert not hasattr(MLPClassifier(solver="lbfgs"), "partial_fit")


def test_inputs_of_another_library_than_the_fits_are_refused():
    torch = pytest.importorskip("torch")
    _, X, y = PROBLEMS["classes"]
    with config_context(array_api_dispatch=True):
        model = MLPClassifier(max_iter=2).fit(X, y)
        there = MLPClassifier(max_iter=2).fit(torch.tensor(X), y)
        for method, call in [
            ("predict_proba", lambda: model.predict_proba(torch.tensor(X))),
            ("partial_fit", lambda: model.partial_fit(torch.tensor(X), y)),
            ("fit", lambda: clone(model).set_params(warm_start=True).fit(X, y).fit(torch.tensor(X), y)),
            ("predict", lambda: there.predict(sparse.csr_array(X))),
        ]:
            with pytest.raises(ValueError, match=rf"MLPClassifier\.{method}\(\) must use the same namespace.*torch"):
                call()


@pytest.mark.filterwarnings("ignore:Training interrupted by user")
def test_ctrl_c_keeps_what_was_trained():
    class Interrupted(np.random.RandomState):
        drawn = 0

        def permutation(self, count):
            self.drawn += 1
            if self.drawn == 3:
                raise KeyboardInterrupt
            return np.arange(count)

    _, X, y = PROBLEMS["classes"]
    model = MLPClassifier((9,), random_state=Interrupted(0)).fit(X, y)
    assert (model.n_iter_, len(model.loss_curve_)) == (2, 2)
    unshuffled = MLPClassifier((9,), random_state=0, max_iter=2, shuffle=False).fit(X, y)
    np.testing.assert_array_equal(model.coefs_[0], unshuffled.coefs_[0])


# The options that scikit-learn's estimators do not have


def test_options_of_scikit_learn_come_first_and_keep_their_defaults():
    for kind, own in (("classifier", ["class_weight", *OWN]), ("regressor", list(OWN))):
        found, expected = (inspect.signature(k[kind]).parameters for k in (OURS, THEIRS))
        assert list(found) == [*expected, *own]
        assert all(found[name] == parameter for name, parameter in expected.items())
        assert all(found[name].kind is inspect.Parameter.KEYWORD_ONLY for name in own)
        model = OURS[kind](**{name: OWN.get(name) for name in own})
        again = clone(model)
        assert again.get_params() == model.get_params()
        assert pickle.loads(pickle.dumps(model)).get_params() == model.get_params()
        assert "dropout=0.2" in repr(model)
        assert clone(OURS[kind]()).set_params(dropout=0.5).dropout == 0.5
    with pytest.raises(TypeError, match="unexpected keyword argument 'class_weight'"):
        MLPRegressor(class_weight="balanced")


@pytest.mark.parametrize("problem", ["classes", "words", "objects", "many-labels"])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("class_weight", ["balanced", "dict"])
def test_class_weights_are_sample_weights(problem, weighted, class_weight):
    _, X, y = PROBLEMS[problem]
    own = np.random.default_rng(0).random(len(X)) if weighted else None
    if class_weight == "dict":
        class_weight = {label: 0.5 + i for i, label in enumerate(np.unique(y).tolist())}
        class_weight = [class_weight] * y.shape[1] if y.ndim > 1 else class_weight
    elif y.ndim == 1:
        labels = np.unique(y)
        found = compute_class_weight(class_weight, classes=labels, y=y, sample_weight=own)
        weights = found[np.searchsorted(labels, y)]
    if class_weight != "balanced" or y.ndim > 1:
        weights = compute_sample_weight(class_weight, y)
    options = {"hidden_layer_sizes": (9,), "max_iter": 5, "random_state": 0, "early_stopping": problem == "words"}
    ours = MLPClassifier(class_weight=class_weight, **options).fit(X, y, sample_weight=own)
    other = MLPClassifier(**options).fit(X, y, sample_weight=weights if own is None else own * weights)
    np.testing.assert_array_equal(ours.predict_proba(X), other.predict_proba(X))
    assert ours.loss_curve_ == other.loss_curve_
    assert ours.validation_scores_ == other.validation_scores_


def test_class_weights_are_repeated_samples():
    _, X, y = PROBLEMS["words"]
    rows = np.concatenate([np.arange(len(y)), *[np.flatnonzero(y == "no")] * 2])
    options = {"hidden_layer_sizes": (9,), "solver": "lbfgs", "max_iter": 5, "random_state": 0}
    ours = MLPClassifier(class_weight={"no": 3}, **options).fit(X, y)
    np.testing.assert_allclose(
        ours.predict_proba(X), MLPClassifier(**options).fit(X[rows], y[rows]).predict_proba(X), rtol=1e-6
    )


def test_balanced_classes_raise_the_balanced_accuracy():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(1000, 4))
    y = (X[:, 0] + 0.7 * rng.normal(size=1000) > 2).astype(int)  # 5 % of the samples
    model = MLPClassifier((8,), max_iter=100, random_state=0, learning_rate_init=0.01)
    balanced = clone(model).set_params(class_weight="balanced")
    plain, better = (cross_val_score(m, X, y, cv=4, scoring="balanced_accuracy").mean() for m in (model, balanced))
    assert better > plain + 0.1


def test_a_class_without_weight():
    _, X, y = PROBLEMS["classes"]
    weight = (y != 3).astype(float)
    model = MLPClassifier((9,), max_iter=5, random_state=0, class_weight="balanced").fit(X, y, sample_weight=weight)
    assert np.isfinite(model.predict_proba(X)).all()
    none = MLPClassifier((9,), max_iter=5, class_weight=dict.fromkeys(range(10), 0))
    with pytest.raises(ValueError, match="at least one non-zero number"):
        none.fit(X, y)


def test_class_weights_in_partial_fit():
    _, X, y = PROBLEMS["classes"]
    model = MLPClassifier((9,), random_state=0, class_weight={0: 2.0, 9: 0.5})
    first = y < 5  # no sample of class 9
    ours = clone(model).partial_fit(X[first], y[first], classes=np.arange(10))
    other = clone(model).set_params(class_weight=None)
    other.partial_fit(X[first], y[first], classes=np.arange(10), sample_weight=np.where(y[first] == 0, 2.0, 1.0))
    np.testing.assert_array_equal(ours.coefs_[0], other.coefs_[0])
    with pytest.raises(ValueError, match="'balanced' needs all samples at once, but partial_fit"):
        model.set_params(class_weight="balanced").partial_fit(X, y, classes=np.arange(10))


def stack_of(model):
    """The network of an estimator, as xpnet's users describe it."""
    between = [nn.BatchNorm(), nn.Relu(), nn.Dropout(0.2)] if model.batch_norm else [nn.Relu()]
    *hidden, outputs = (W.shape[1] for W in model.coefs_)
    layers = [d for units in hidden for d in (nn.Dense(units, model.weight_init), *between)]
    return nn.Sequential(*layers, nn.Dense(outputs, model.weight_init))


def test_training_is_that_of_the_network_with_the_same_layers():
    _, X, y = PROBLEMS["classes"]
    model = MLPClassifier((9, 6), max_iter=3, batch_size=50, alpha=0.0, shuffle=False, random_state=3, **OWN).fit(
        X, y
    )
    stack, optimizer = stack_of(model), OWN["optimizer"]
    drawn = np.random.RandomState(3)
    weights, masks = (np.random.default_rng(drawn.randint(2**31 - 1)) for _ in range(2))
    params, state = stack.init(weights, (64,)), stack.init_state((64,))
    memory = optimizer.init(params)
    for _ in range(3):
        for i in range(0, 500, 50):
            x, t, drawn = X[i : i + 50], y[i : i + 50], stack.draw(masks, (50, 64))
            _, gradients, state = stack.loss_and_gradient(params, x, t, state=state, masks=drawn)
            params, memory = optimizer.update(params, gradients, memory)
    np.testing.assert_allclose(model.coefs_[0], params["W1"], rtol=1e-9)
    np.testing.assert_allclose(model.intercepts_[2], params["b3"], rtol=1e-9)
    assert list(model.normalization_) == [f"{name}{i}" for i in (1, 2) for name in ("gamma", "beta", "mean", "var")]
    for name, a in model.normalization_.items():
        np.testing.assert_allclose(a, (params | state)[name], rtol=1e-9, atol=1e-12)
    scores = stack.predict(params, X, state=state)
    np.testing.assert_allclose(model.predict_proba(X), xpnet.softmax(scores), rtol=1e-7)


@pytest.mark.parametrize(
    "optimizer", ["adam", xpnet.RMSprop, xpnet.Momentum(xpnet.StepDecay(0.1, 2)), xpnet.SGD(0.1)]
)
def test_an_optimizer_trains_as_fit_does(optimizer):
    _, X, y = PROBLEMS["classes"]
    options = {"batch_size": 500, "alpha": 0.0, "random_state": 3, "weight_init": nn.Xavier()}
    model = MLPClassifier((9,), max_iter=5, optimizer=optimizer, **options).fit(X, y)
    start = np.random.default_rng(np.random.RandomState(3).randint(2**31 - 1))
    network = xpnet.Network(stack_of(model), (64,), seed=start, dtype="float64")
    _, history = xpnet.fit(network, (X, y), optimizer=optimizer, epochs=5, batch_size=500, progress=False)
    np.testing.assert_allclose(model.loss_curve_, history.loss, rtol=1e-9)
    np.testing.assert_allclose(model.coefs_[0], network.params["W1"], rtol=1e-9)


def test_the_options_of_the_solver_are_not_used_with_an_optimizer():
    _, X, y = PROBLEMS["classes"]
    options = {"hidden_layer_sizes": (9,), "max_iter": 20, "random_state": 0, "optimizer": xpnet.Momentum(0.01)}
    model = MLPClassifier(**options).fit(X, y)
    unused = {"learning_rate": "invscaling", "learning_rate_init": 0.5, "momentum": 0.1, "solver": "sgd"}
    np.testing.assert_array_equal(MLPClassifier(**options, **unused).fit(X, y).coefs_[0], model.coefs_[0])


def test_early_stopping_restores_the_best_parameters_and_statistics():
    _, X, y = PROBLEMS["classes"]
    options = {"hidden_layer_sizes": (9,), "early_stopping": True, "random_state": 0, "n_iter_no_change": 3}
    model = MLPClassifier(**options, **OWN, batch_size=50).fit(X, y)
    best = int(np.argmax(model.validation_scores_)) + 1
    assert best < model.n_iter_
    assert model.best_validation_score_ == max(model.validation_scores_)
    shorter = MLPClassifier(**options, **OWN, batch_size=50, max_iter=best).fit(X, y)
    np.testing.assert_array_equal(model.predict_proba(X), shorter.predict_proba(X))


def test_training_goes_on_with_all_options():
    _, X, y = PROBLEMS["classes"]
    classes = np.arange(10)
    model = MLPClassifier((9,), random_state=0, **OWN)
    for _ in range(3):
        model.partial_fit(X, y, classes=classes)
    again = pickle.loads(pickle.dumps(model))
    masks = model._mask_rng.bit_generator.state
    for m in (model, again):
        m.partial_fit(X, y)
    assert model._mask_rng.bit_generator.state != masks  # each call draws other masks
    np.testing.assert_array_equal(again.predict_proba(X), model.predict_proba(X))
    assert model._memory["step"] == 12
    model.set_params(optimizer=xpnet.Momentum(0.01)).partial_fit(X, y)  # starts with a new optimizer state
    model.set_params(optimizer=xpnet.Momentum(xpnet.StepDecay(0.01, 9))).partial_fit(X, y)
    model.set_params(dropout=0.0, optimizer=None).partial_fit(X, y)
    with pytest.raises(ValueError, match="batch_norm=False is not as in the first fit"):
        model.set_params(batch_norm=False).partial_fit(X, y)
    assert not model.fit(X, y).normalization_


def test_a_last_mini_batch_of_one_sample_is_left_out_of_batch_normalization():
    _, X, y = PROBLEMS["classes"]
    options = {"hidden_layer_sizes": (9,), "max_iter": 3, "random_state": 0, "shuffle": False, "batch_norm": True}
    odd, even = (MLPClassifier(**options, batch_size=50).fit(X[:n], y[:n]) for n in (201, 200))
    assert odd.loss_curve_ == even.loss_curve_
    np.testing.assert_array_equal(odd.coefs_[0], even.coefs_[0])
    with pytest.raises(ValueError, match="at least 2 samples, got batch_size=1, n_samples=500"):
        MLPClassifier(**options, batch_size=1).fit(X, y)


def test_wrong_options_are_refused():
    _, X, y = PROBLEMS["classes"]
    minimized = [{"solver": "lbfgs", name: value} for name, value in OWN.items() if name != "weight_init"]
    for options, error, match in [
        ({"dropout": 1.0}, ValueError, "'dropout' parameter of MLPClassifier must be a float in the range"),
        ({"batch_norm": "yes"}, ValueError, "'batch_norm' parameter of MLPClassifier must be"),
        ({"weight_init": "he"}, ValueError, "'weight_init' parameter of MLPClassifier must be a callable or None"),
        (
            {"weight_init": nn.He},
            TypeError,
            r"weight_init must be an initializer, such as nn.He\(\), got the class He",
        ),
        ({"weight_init": lambda rng, shape: rng.random(3)}, ValueError, r"it is given, \(64, 100\), got \(3,\)"),
        ({"optimizer": 0.1}, ValueError, "'optimizer' parameter of MLPClassifier must be an instance of"),
        ({"optimizer": "adamm"}, ValueError, "optimizer 'adamm' is not known; choose one of adagrad, adam"),
        ({"optimizer": dict}, TypeError, "optimizer must be an optimizer of xpnet"),
        ({"class_weight": "even"}, ValueError, "'class_weight' parameter of MLPClassifier must be"),
        ({"class_weight": {"a": 1}}, ValueError, "not in class_weight"),
        (
            {"class_weight": [1, 2]},
            ValueError,
            "must be .balanced. or a dict for targets with one label",
        ),
        *((options, ValueError, "need solver='adam' or 'sgd'") for options in minimized),
    ]:
        with pytest.raises(error, match=match):
            MLPClassifier(**options).fit(X, y)


@pytest.mark.parametrize("arrays", ARRAYS)
def test_all_options_on_arrays_of_other_libraries(arrays):
    name, device, rtol = ARRAYS[arrays]
    if why := problem_of("cupy-elsewhere" if arrays == "cupy-second" else arrays):
        pytest.skip(why)
    backend = xpnet.get_backend(name)
    xp, where = backend.namespace(), backend.device(device)
    _, X, y = PROBLEMS["classes"]
    model = MLPClassifier((9,), max_iter=4, random_state=0, class_weight="balanced", early_stopping=True, **OWN)
    here = clone(model).fit(X, y)
    x, t = (xp.asarray(a.copy(), device=where) for a in (X, y))
    with config_context(array_api_dispatch=True):
        there = model.fit(x, t)
        answers = there.predict_proba(x)
    for a in (*there.coefs_, *there.normalization_.values(), answers):
        assert (type(a), xpnet._array.device(a)) == (type(x), xpnet._array.device(x))
    np.testing.assert_allclose(xpnet.to_numpy(answers), here.predict_proba(X), rtol=1e-6, atol=rtol)


# Moving a fitted estimator


@pytest.mark.parametrize("arrays", ARRAYS)
@pytest.mark.parametrize("problem", ["classes", "words", "many-labels", "pairs"])
@pytest.mark.parametrize("options", [OWN, {"solver": "lbfgs"}])
def test_a_fitted_estimator_is_moved_and_comes_back(arrays, problem, options):
    name, device, rtol = ARRAYS[arrays]
    if why := problem_of("cupy-elsewhere" if arrays == "cupy-second" else arrays):
        pytest.skip(why)
    backend = xpnet.get_backend(name)
    kind, X, y = PROBLEMS[problem]
    x = backend.namespace().asarray(X.copy(), device=backend.device(device))
    here = OURS[kind](hidden_layer_sizes=(9,), max_iter=4, random_state=0, **options).fit(X, y)
    with config_context(array_api_dispatch=True):
        there = here.to(x)
        answers = there.predict(x)
        back = there.to(X)
        for a in (*there.coefs_, *there.intercepts_, *there.normalization_.values()):
            assert (type(a), xpnet._array.device(a)) == (type(x), xpnet._array.device(x))
        if problem != "words":
            assert type(answers) is type(x)
        same = np.testing.assert_array_equal if kind == "classifier" else np.testing.assert_allclose
        same(xpnet.to_numpy(answers) if hasattr(answers, "dtype") else answers, here.predict(X))
        np.testing.assert_array_equal(back.predict(X), here.predict(X))
        curve = list(getattr(here, "loss_curve_", []))
        if options is OWN:  # training continues there
            there.partial_fit(x, y)
            back.partial_fit(X, y)
            np.testing.assert_allclose(xpnet.to_numpy(there.coefs_[0]), back.coefs_[0], rtol=1e-6, atol=rtol)
        assert list(getattr(here, "loss_curve_", [])) == curve
        assert type(here.coefs_[0]) is np.ndarray
        with pytest.raises(ValueError, match=r"move the estimator with its method to\(\)"):
            there.predict(X)


def test_scikit_learn_moves_estimators_too():
    module = pytest.importorskip("sklearn.utils._array_api")
    torch = pytest.importorskip("torch")
    if not hasattr(module, "move_estimator_to"):
        pytest.skip("scikit-learn does not move estimators before version 1.9")
    _, X, y = PROBLEMS["words"]
    model = make_pipeline(MLPClassifier((9,), max_iter=4, random_state=0, **OWN)).fit(X, y)
    with config_context(array_api_dispatch=True):
        x = torch.asarray(X.copy())
        xp, _, device = module.get_namespace_and_device(x)
        there = module.move_estimator_to(model, xp, device)
        np.testing.assert_array_equal(there.predict(x), model.predict(X))
        members = MLPEnsemble(model[-1], n_estimators=2, random_state=0).fit(X, y == "yes")
        there = module.move_estimator_to(members, xp, device)
        np.testing.assert_allclose(there.predict_proba(x), members.predict_proba(X))
    with pytest.raises(sklearn.exceptions.NotFittedError):
        MLPClassifier().to(x)


# Sparse samples


@pytest.mark.parametrize("options", [OWN, OWN | {"early_stopping": True}])
def test_all_options_on_sparse_samples(options):
    _, X, y = PROBLEMS["classes"]
    model = MLPClassifier((9,), max_iter=3, random_state=0, class_weight="balanced", **options)
    dense, thin = clone(model).fit(X, y), model.fit(sparse.csr_array(X), y)
    np.testing.assert_allclose(thin.predict_proba(sparse.csr_array(X)), dense.predict_proba(X), rtol=1e-6)


@pytest.mark.parametrize("options", [{}, {"solver": "lbfgs"}, {"early_stopping": True}, OWN])
@pytest.mark.filterwarnings("ignore:Sparse")
def test_sparse_tensors(options):
    torch = pytest.importorskip("torch")
    _, X, y = PROBLEMS["classes"]
    x = torch.tensor(X)
    with config_context(array_api_dispatch=True):
        model = MLPClassifier((9,), max_iter=3, random_state=0, **options)
        dense, thin = clone(model).fit(x, y), clone(model).fit(x.to_sparse(), y)
        np.testing.assert_allclose(thin.predict_proba(x.to_sparse()), dense.predict_proba(x), rtol=1e-6)
        if "solver" not in options:
            with pytest.raises(TypeError, match="X has the layout torch.sparse_csr, from which its library cannot"):
                model.fit(x.to_sparse_csr(), y)

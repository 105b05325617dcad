"""The estimators: scikit-learn's own as an oracle, its checks, its tools, and arrays of other libraries."""

import importlib.util
import multiprocessing
import pickle
import warnings
from types import SimpleNamespace

import numpy as np
import pytest
from conftest import problem_of

pytest.importorskip("sklearn", reason="scikit-learn is not installed")
import joblib
import sklearn.neural_network as theirs
from scipy import sparse
from sklearn import config_context
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer, load_digits, make_multilabel_classification, make_regression
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV, cross_val_score, cross_validate
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

import xpnet
from xpnet.sklearn import MLPClassifier, MLPRegressor

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


@parametrize_with_checks([MLPClassifier(max_iter=100), MLPRegressor(max_iter=100)])
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

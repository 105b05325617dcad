"""The estimators: scikit-learn's own as an oracle, its checks, its tools, and arrays of other libraries."""

import multiprocessing
import pickle
import warnings

import numpy as np
import pytest
from conftest import problem_of

pytest.importorskip("sklearn", reason="scikit-learn is not installed")
import joblib
import sklearn.neural_network as theirs
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
@pytest.mark.parametrize("problem", [name for name in PROBLEMS if name != "words"])
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
            model.fit(X.astype("float32"), y)
            answers = model.predict_proba(X) if kind == "classifier" else model.predict(X)
            dtypes = {a.dtype.name for a in (*model.coefs_, *model.intercepts_, answers)}
            assert dtypes == {"float32"}, (problem, options)


# What is refused, and what ends a run


def test_what_is_refused():
    sparse = pytest.importorskip("scipy.sparse")
    _, X, y = PROBLEMS["classes"]
    model = MLPClassifier(max_iter=2).fit(X, y)
    for call, error, match in [
        (lambda: MLPClassifier().fit(sparse.csr_matrix(X), y), TypeError, "Sparse data was passed"),
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
        with pytest.raises(ValueError, match=r"MLPClassifier\.predict_proba\(\) must use the same namespace.*torch"):
            model.predict_proba(torch.tensor(X))


@pytest.mark.filterwarnings("ignore:Training interrupted by user")
def test_ctrl_c_keeps_what_was_trained(monkeypatch):
    _, X, y = PROBLEMS["classes"]
    drawn = []

    def interrupted(order, random_state):
        drawn.append(1)
        if len(drawn) == 3:
            raise KeyboardInterrupt
        return order

    monkeypatch.setattr("xpnet.sklearn.shuffle", interrupted)
    model = MLPClassifier((9,), random_state=0).fit(X, y)
    assert (model.n_iter_, len(model.loss_curve_)) == (2, 2)
    unshuffled = MLPClassifier((9,), random_state=0, max_iter=2, shuffle=False).fit(X, y)
    np.testing.assert_array_equal(model.coefs_[0], unshuffled.coefs_[0])

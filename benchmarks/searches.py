"""How long does a search take whose networks are trained at once, and how does the time grow with their number?

A grid of 64 candidates (8 of alpha, 8 of the learning rate) on 5 splits: 320 fits of 5 epochs with Adam, a hidden
layer of 32, mini-batches of 32, float64 as in scikit-learn. Two datasets: scikit-learn's digits (1,797 samples of 64
numbers) and a table of 5,000 rows and 20 columns. All searches have the same scores. For the growth, `fit_many`
trains M networks on the table for 2 epochs, in float32, and `fit` trains 4 of them one by one.
"""

import os
import statistics
import time
import warnings

import numpy as np
import sklearn.model_selection as model_selection
import sklearn.neural_network as neural_network
from harness import Timed, arguments, bars, compare, in_turn, one_thread, report, table
from sklearn.datasets import load_digits

from xpnet import Adam, Sequential, fit, fit_many, nn
from xpnet.sklearn import GridSearchCV, MLPClassifier

GRID = {"alpha": np.logspace(-5, 0, 8).tolist(), "learning_rate_init": np.logspace(-4, -1.5, 8).tolist()}
OPTIONS = {"hidden_layer_sizes": (32,), "batch_size": 32, "max_iter": 5, "random_state": 0}
AT_ONCE, ALONE, THEIRS = "xpnet, at once", "xpnet, one by one", "scikit-learn"
BARS = {"digits": 0.3, "table": 0.12}


def datasets():
    x, t = load_digits(return_X_y=True)
    yield "digits", x / 16, t
    rng = np.random.default_rng(0)
    x = rng.normal(size=(5000, 20))
    yield "table", x, (x[:, 0] + x[:, 1] * x[:, 2] > 0).astype(int)


def searches(x, t):
    """Each search as a function that returns its mean scores."""
    kinds = {
        AT_ONCE: (GridSearchCV, MLPClassifier),
        ALONE: (model_selection.GridSearchCV, MLPClassifier),
        THEIRS: (model_selection.GridSearchCV, neural_network.MLPClassifier),
    }

    def run(search, estimator, jobs):
        found = search(estimator(**OPTIONS), GRID, cv=5, refit=False, n_jobs=jobs).fit(x, t)
        return found.cv_results_["mean_test_score"]

    return {
        f"{name}{', two processes' if jobs else ''}": lambda kind=kind, jobs=jobs: run(*kind, jobs)
        for jobs in (None, 2)
        for name, kind in kinds.items()
    }


def growth(rounds):
    """The time of each of M networks, and its ratio to that of a network alone."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(5000, 20)).astype("float32")
    t = (x[:, 0] + x[:, 1] * x[:, 2] > 0).astype(int)
    stack, options = (
        Sequential(nn.Dense(32), nn.Relu(), nn.Dense(2)),
        {"epochs": 2, "batch_size": 32, "progress": False},
    )

    def timed(function, *args, count, **given):
        start = time.perf_counter()
        function(*args, **given, **options)
        return (time.perf_counter() - start) / count

    rows = []
    for count in (1, 2, 4, 16, 64, 256, 1024):
        together, alone = [], []
        for _ in range(rounds):
            together.append(timed(fit_many, stack, (x, t), None, Adam(0.01), seeds=range(count), count=count))
            alone.append(
                statistics.mean(timed(fit, stack, (x, t), Adam(0.01), seed=seed, count=1) for seed in range(4))
            )
        ratio = statistics.median(a / b for a, b in zip(together, alone, strict=True))
        rows.append([f"{count:,}", f"{1e3 * statistics.median(together):.1f}", f"{ratio:.2f}"])
    return table(["networks", "time of each, ms", "time of each : alone"], rows)


def main():
    rounds = arguments(__doc__).rounds or 3
    one_thread(pinned=False)
    warnings.simplefilter("ignore")
    os.environ["PYTHONWARNINGS"] = "ignore"  # of the processes
    parts = []
    for name, x, t in datasets():
        contenders = searches(x, t)
        scores = {title: run() for title, run in contenders.items() if "processes" not in title}
        for found in scores.values():
            np.testing.assert_allclose(found, scores[THEIRS], atol=2e-3)
        times = in_turn(
            {title: Timed(run) for title, run in contenders.items()}, rounds, name, warm_up=False, count=1
        )
        limits = [(AT_ONCE, THEIRS, BARS[name])]
        parts += [f"## {name.capitalize()}", bars(times, limits), compare(times, "s", against=AT_ONCE)]
    parts += ["## Growth", growth(rounds)]
    head = f"One thread (two processes with one thread each, where it says so), in turn; {rounds} rounds."
    report("searches", "Searches", __doc__.partition("\n")[2].strip(), head, *parts)


if __name__ == "__main__":
    main()

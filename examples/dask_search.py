"""A search on Dask's workers
=============================

A search for hyperparameters on the workers of Dask's distributed scheduler, and when each worker trained what.

scikit-learn's search gives its fits to joblib, and joblib to the workers of the scheduler that the client is
connected to. Here these are two processes of this machine. With an ADDRESS, they are the workers of a running
cluster, and nothing else changes. Each fit writes an event into the scheduler's log. Needs scikit-learn and Dask's
scheduler: pip install '.[sklearn,plot]' 'dask[distributed]', and bokeh for its dashboard. (xpnet's own extra
`distributed` is another package, mpi4py.)

::

    python examples/dask_search.py [FOLDER [ADDRESS]]
"""

# sphinx_gallery_parallel = False
import importlib.util
import sys
import time
import warnings
from pathlib import Path

import dask
import joblib
import numpy as np
from dask.distributed import Client, get_task_stream, get_worker
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV
from threadpoolctl import threadpool_limits

import xpnet
from xpnet.plotting import figure
from xpnet.sklearn import MLPClassifier

UNITS, RATES, ALPHAS = [16, 64, 256], [0.001, 0.003, 0.01, 0.03], [0.0001, 1.0]
STYLES = {n: {"color": f"C{i}", "hatch": ("", "///", "...")[i]} for i, n in enumerate(UNITS)}


def accuracy(model, x, y):
    """The score of a fit, which is told to the scheduler with what was fitted, by whom, and in which task."""
    score, worker = model.score(x, y), get_worker()
    fit = {"worker": worker.address, "task": worker.get_current_task(), "units": model.hidden_layer_sizes[0]}
    worker.log_event("fits", fit | {"score": score})
    return score


def search(x, y, units, **options):
    """Three folds of every candidate, of which there are eight for each number of hidden units."""
    choices = {"alpha": ALPHAS, "hidden_layer_sizes": [(n,) for n in units], "learning_rate_init": RATES}
    return GridSearchCV(MLPClassifier(max_iter=20, random_state=0), choices, cv=3, **options).fit(x, y)


def measured(dask_worker):
    """What a worker knows of itself: the bytes that came from other workers, and the most memory it has used."""
    moved = sum(transfer["total"] for transfer in dask_worker.transfer_incoming_log)
    return moved, max(dask_worker.monitor.quantities["memory"])


def draw(path, results, blocks, fits):
    """The score of each learning rate and number of hidden units; the task stream, as the dashboard draws it."""
    fig, (left, right) = figure(2, width=5.4, height=3.2)
    scores = results["mean_test_score"].reshape(len(ALPHAS), len(UNITS), len(RATES)).max(axis=0)
    left.imshow(scores, aspect="auto", origin="lower")
    for (row, column), score in np.ndenumerate(scores):
        color = "w" if score < (scores.min() + scores.max()) / 2 else "k"
        left.text(column, row, f"{score:.3f}", ha="center", va="center", color=color)
    left.set(xlabel="learning rate", ylabel="hidden units", title="accuracy of each choice, with the better alpha")
    left.set_xticks(range(len(RATES)), RATES)
    left.set_yticks(range(len(UNITS)), UNITS)

    of_task = {fit["task"]: STYLES[fit["units"]] for fit in fits}  # joblib puts several short fits into one
    for row, parts in enumerate(blocks.values()):
        for task, action, start, stop in parts:
            style = of_task[task] if action == "compute" else {"color": "k"}
            right.barh(row, stop - start, left=start, edgecolor="w", linewidth=0.3, **style)
    for units, style in STYLES.items():
        right.bar(0, 0, edgecolor="w", label=f"{units} units", **style)
    right.legend(frameon=False, ncols=len(STYLES), loc="upper center")
    right.set(xlabel="seconds", title="when each worker trained which network", ylim=(-0.5, len(blocks) - 0.1))
    right.set_yticks(range(len(blocks)), [f"worker {number}" for number in range(len(blocks))])
    fig.savefig(path)


if __name__ == "__main__":  # not when the workers import this file
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else ".")
    address = sys.argv[2] if len(sys.argv) > 2 else None
    warnings.simplefilter("ignore", ConvergenceWarning)  # 20 epochs are meant to be few
    train, test = xpnet.load_mnist()
    x, y = (a[:1500] for a in train)

    # Dask lets its workers give memory back at once; the many small steps of a fit take three times as long then.
    dask.config.set({"distributed.nanny.pre-spawn-environ.MALLOC_TRIM_THRESHOLD_": None})
    here = {"n_workers": 2, "threads_per_worker": 1, "dashboard_address": "127.0.0.1:0"}
    with Client(address) if address else Client(**here) as client, get_task_stream(client) as stream:
        if importlib.util.find_spec("bokeh"):
            print(f"dashboard: {client.dashboard_link}", flush=True)
        began = time.time()
        with joblib.parallel_config("dask"):
            found = search(x, y, UNITS, scoring=accuracy)
        fits = [fit for _, fit in client.get_events("fits")]
        workers = client.run(measured)
    print(f"best: {found.best_params_}, accuracy {found.best_score_:.4f}")
    print(f"fitted to all 1500 images, on the test set: {found.best_estimator_.score(*test):.4f}")

    blocks = {worker: [] for worker in workers}
    for task in stream.data:
        for part in task["startstops"]:
            blocks[task["worker"]].append((task["key"], part["action"], part["start"] - began, part["stop"] - began))
    seconds = max(stop for parts in blocks.values() for *_, stop in parts)
    print(f"{len(fits)} fits in {seconds:.1f} s\nworker  fits    busy        moved to it  peak memory")
    for number, (worker, (moved, peak)) in enumerate(workers.items()):
        count = sum(fit["worker"] == worker for fit in fits)
        busy = sum(stop - start for _, action, start, stop in blocks[worker] if action == "compute")
        sizes = f"{moved / 2**20:8.1f} MiB {peak / 2**20:8.0f} MiB"
        print(f"{number:6} {count:5} {busy:5.1f} s ({busy / seconds:4.0%}) {sizes}")
    draw(folder / "dask_search.png", found.cv_results_, blocks, fits)

    with threadpool_limits(1):  # as the workers have
        alone = search(x, y, UNITS[:1])
    same = [params["hidden_layer_sizes"] == (UNITS[0],) for params in found.cv_results_["params"]]
    difference = np.abs(found.cv_results_["mean_test_score"][same] - alone.cv_results_["mean_test_score"]).max()
    assert difference <= (0.01 if address else 0)  # processors of other machines may round in another way
    assert len(fits) == 3 * len(found.cv_results_["params"])
    assert {fit["worker"] for fit in fits} == set(workers)
    assert found.best_score_ > 0.86

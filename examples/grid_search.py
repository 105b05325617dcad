"""A search with scikit-learn
=============================

xpnet's classifier in scikit-learn's pipeline and grid search, and what the best network learned.

The data is two moons with noise. The search tries numbers of hidden units and amounts of weight decay (`alpha`). At
the end, a network is trained on NumPy arrays and on PyTorch tensors, to compare. Needs scikit-learn and torch: pip
install '.[sklearn,torch,plot]'

::

    python examples/grid_search.py [FOLDER]
"""

import os
import sys
from pathlib import Path

os.environ["SCIPY_ARRAY_API"] = "1"  # for arrays of other libraries, before SciPy is imported

import numpy as np
import sklearn
import torch
from sklearn.datasets import make_moons
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from xpnet.plotting import figure
from xpnet.sklearn import MLPClassifier

folder = Path(sys.argv[1] if len(sys.argv) > 1 else ".")

X, y = make_moons(400, noise=0.25, random_state=0)
model = make_pipeline(
    StandardScaler(), MLPClassifier(solver="lbfgs", activation="tanh", max_iter=5000, random_state=0)
)
choices = {
    "mlpclassifier__hidden_layer_sizes": [(2,), (8,), (64,)],
    "mlpclassifier__alpha": [0.001, 0.1, 10.0],
}
search = GridSearchCV(model, choices, cv=5).fit(X, y)
results = search.cv_results_
for params, score in zip(results["params"], results["mean_test_score"], strict=True):
    units, alpha = params["mlpclassifier__hidden_layer_sizes"][0], params["mlpclassifier__alpha"]
    print(f"hidden units {units:3}   alpha {alpha:6}   accuracy {score:.3f}")
best = search.best_params_
print(f"best: {best['mlpclassifier__hidden_layer_sizes']}, alpha {best['mlpclassifier__alpha']}")

fig, axes = figure(len(choices["mlpclassifier__alpha"]), width=3.6, height=3.4)
sides = [np.linspace(X[:, i].min() - 0.5, X[:, i].max() + 0.5, 150) for i in (0, 1)]
grid = np.stack(np.meshgrid(*sides), axis=-1).reshape(-1, 2)
for ax, alpha in zip(axes, choices["mlpclassifier__alpha"], strict=True):
    model.set_params(mlpclassifier__hidden_layer_sizes=(64,), mlpclassifier__alpha=alpha).fit(X, y)
    probability = model.predict_proba(grid)[:, 1].reshape(150, 150)
    ax.contourf(*sides, probability, levels=20, cmap="RdBu", alpha=0.6, vmin=0, vmax=1)
    for moon, marker in enumerate("o^"):
        ax.scatter(*X[y == moon].T, color=("C3", "C0")[moon], marker=marker, s=10, edgecolors="k", linewidths=0.3)
    ax.set(title=f"alpha {alpha}", xticks=[], yticks=[])
fig.suptitle("64 hidden units: little weight decay learns the noise, much weight decay makes the border a line")
fig.savefig(folder / "grid_search.png")

host = MLPClassifier((8,), solver="lbfgs", max_iter=5000, random_state=0).fit(X, y)
with sklearn.config_context(array_api_dispatch=True):
    device = MLPClassifier((8,), solver="lbfgs", max_iter=5000, random_state=0).fit(torch.tensor(X), torch.tensor(y))
    answers = device.predict(torch.tensor(X))
print(f"on tensors: {type(answers).__name__} on {answers.device}, loss {device.loss_:.3f}; on NumPy {host.loss_:.3f}")

assert search.best_score_ > 0.9
assert abs(device.loss_ - host.loss_) < 1e-3  # of hundreds of steps, each to rounding
assert isinstance(device.coefs_[0], torch.Tensor)

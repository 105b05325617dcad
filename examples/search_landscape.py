"""The landscape of a search
===========================

1,000 networks that are trained at once: each pair of 40 learning rates and 25 amounts of weight decay.

The networks learn 300 digits of MNIST, in 7 x 7 pixels. Every third label is random, so that a network which learns
all labels by heart is not a good one. All networks have the same seed: they start from the same weights and train
with the same mini-batches. The picture shows the accuracy of each network on 2,000 other digits. In the gray corner,
the loss became NaN. Such a network has the error in its result, and `xpnet.fit_many` trains the other networks
to the end.

The largest of 1,000 accuracies can be too good by chance, so the best network is tested on 2,000 further digits, too.

::

    python examples/search_landscape.py [FOLDER]
"""

import sys
import time
from pathlib import Path

import numpy as np

from xpnet import SGD, Sequential, fit, fit_many, load_mnist, nn
from xpnet.plotting import figure

folder = Path(sys.argv[1] if len(sys.argv) > 1 else ".")


def small(images):
    """Images of 7 x 7 pixels, scaled to a mean of about 0 and a standard deviation of about 1."""
    means = images.reshape(-1, 7, 4, 7, 4).mean(axis=(2, 4)).reshape(-1, 49)
    return (means - 0.13) / 0.25


(images, labels), _ = load_mnist()
x, t = small(images[:300]), labels[:300].copy()
t[::3] = np.random.default_rng(0).integers(0, 10, 100)
validation = small(images[300:2300]), labels[300:2300]
test = small(images[2300:4300]), labels[2300:4300]

rates, decays = np.geomspace(0.003, 10, 40), np.geomspace(0.001, 1, 25)
optimizers = [SGD(lr, weight_decay=decay) for decay in decays for lr in rates]
stack = Sequential(nn.Dense(32), nn.Relu(), nn.Dense(10))
options = {"epochs": 40, "batch_size": 30, "progress": False}

start = time.perf_counter()
results = fit_many(stack, (x, t), optimizers=optimizers, **options)
print(f"{len(results)} networks at once: {time.perf_counter() - start:.0f} s")

diverged = np.asarray([result.error is not None for result in results])
accuracy = np.asarray([np.nan if result.error else result.network.accuracy(*validation) for result in results])
best = int(np.nanargmax(accuracy))
print(f"best: learning rate {optimizers[best].lr:.3f}, weight decay {optimizers[best].weight_decay:.3f}")
again = results[best].network.accuracy(*test)
print(f"accuracy on the digits of the picture {accuracy[best]:.3f}, on further digits {again:.3f}")
print(f"{diverged.sum()} networks diverged; the first says: {results[int(np.argmax(diverged))].error}")

fig, (ax,) = figure(width=7.0, height=4.2)
grid = accuracy.reshape(len(decays), len(rates))
shown = ax.pcolormesh(rates, decays, grid, cmap="viridis", vmin=0.1)
ax.contour(rates, decays, grid, levels=[0.5, 0.6, 0.7], colors="white", linewidths=(0.8, 1.2, 1.8))
ax.scatter(rates[best % 40], decays[best // 40], marker="*", s=140, color="white", edgecolors="black", label="best")
ax.set_facecolor("0.7")
ax.scatter([], [], marker="s", s=60, color="0.7", label="diverged")
ax.set(xscale="log", yscale="log", xlabel="learning rate", ylabel="weight decay")
ax.set_title(f"{len(results):,} networks: accuracy on 2,000 other digits (lines at 0.5, 0.6, 0.7)", fontsize="medium")
ax.legend(loc="lower right", fontsize="small")
fig.colorbar(shown, label="accuracy (colors start at 0.1)")
fig.savefig(folder / "search_landscape.png")

alone = fit(stack, (x, t), optimizer=optimizers[best], **options)
difference = np.abs(np.asarray(alone.history.loss) - results[best].history.loss).max()
print(
    f"the best network trained alone by fit: its {len(alone.history.loss)} losses differ by at most {difference:.0e}"
)

assert difference < 1e-4
assert accuracy[best] > accuracy[:40].max() + 0.02, "weight decay helps"
assert diverged.any() and np.isfinite(accuracy[~diverged]).all()

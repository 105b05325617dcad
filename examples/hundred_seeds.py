"""A hundred seeds
===============

The book's network, trained from 100 seeds: how much of an accuracy is luck?

The seed decides the initial weights and the mini-batches. Everything else is equal: the network of
`xpnet.TwoLayerNet`, `SGD` with the learning rate 0.1, and mini-batches of 100. (Deep Learning from Scratch, section
4.5.) To finish in less than a minute, each run has 6 epochs with the first 5,000 images, where the book has 17 epochs
with 60,000. So the accuracies are lower than the book's. They are measured on 2,000 test images.

The example also answers a practical question. Two settings are compared by one run each, and one of them is better by
some amount. How often does a difference of this size come from the seeds alone?

::

    python examples/hundred_seeds.py [FOLDER]
"""

import sys
import time
from pathlib import Path

import numpy as np

from xpnet import TwoLayerNet, fit, fit_many, load_mnist
from xpnet.plotting import figure

folder = Path(sys.argv[1] if len(sys.argv) > 1 else ".")

(x, t), (x_test, t_test) = load_mnist()
train, test = (x[:5000], t[:5000]), (x_test[:2000], t_test[:2000])
stack = TwoLayerNet(784, 50, 10).stack
print(stack)

start = time.perf_counter()
results = fit_many(stack, train, test, seeds=range(100), epochs=6, progress=False)
print(f"{len(results)} networks: {time.perf_counter() - start:.0f} s")

curves = np.asarray([result.history.test_accuracy for result in results])
last = curves[:, -1]
low, high = np.quantile(last, [0.05, 0.95])
print(f"accuracy of the last epoch: mean {last.mean():.4f}, standard deviation {last.std(ddof=1):.4f}")
print(f"worst {last.min():.4f}, best {last.max():.4f}, 90 of 100 from {low:.4f} to {high:.4f}")

pairs = np.abs(last[:, None] - last)[np.triu_indices(len(last), 1)]
for difference in (0.005, 0.01, 0.015):
    print(f"two seeds differ by at least {difference:.3f}: {np.mean(pairs >= difference):.0%} of all pairs")

fig, (left, right) = figure(2, width=4.4, height=3.6)
left.plot(curves.T, color="C0", linewidth=0.4, alpha=0.4)
left.plot(curves.mean(axis=0), color="black", linestyle="--", label="mean of 100 seeds")
left.set(xlabel="epoch", ylabel="test accuracy", ylim=(0, 1), title="Each line is one seed")
left.legend(frameon=False, loc="lower right", fontsize="small")
left.grid(alpha=0.3)
counts, _, _ = right.hist(last, bins=12, color="C0", edgecolor="white")
right.axvline(last.mean(), color="black", linestyle="--", label=f"mean {last.mean():.3f}")
right.axvspan(low, high, color="C1", alpha=0.2, zorder=0, label="90 of 100 seeds")
right.set(xlabel="test accuracy after epoch 6 (axis does not start at 0)", ylabel="number of seeds")
right.set(ylim=(0, 1.35 * counts.max()), title="The same run, 100 times")
right.locator_params(axis="y", integer=True)
right.legend(frameon=False, fontsize="small")
fig.savefig(folder / "hundred_seeds.png")

alone = fit(stack, train, test, seed=7, epochs=6, progress=False)
difference = np.abs(np.asarray(alone.history.loss) - results[7].history.loss).max()
print(f"seed 7 trained alone by fit: {len(alone.history.loss)} losses, which differ by {difference:.0e}")

assert difference < 1e-5
assert 0.003 < last.std(ddof=1) < 0.01
assert np.mean(curves[:, -1] > curves[:, 1]) == 1

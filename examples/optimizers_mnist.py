"""Six optimizers on MNIST
==========================

Which optimizer learns fastest? Six of them train the same five-layer network on the same mini-batches of MNIST.

The network sees 10,000 of the training images six times. The learning rates are the book's, except Nesterov's and
RMSprop's. (Deep Learning from Scratch, section 6.1.8.)

::

    python examples/optimizers_mnist.py [FOLDER]
"""

import sys
from pathlib import Path

import numpy as np

from xpnet import SGD, AdaGrad, Adam, Momentum, MultiLayerNet, Nesterov, RMSprop, fit, load_mnist
from xpnet.plotting import figure

folder = Path(sys.argv[1] if len(sys.argv) > 1 else ".")

(images, labels), (test_images, test_labels) = load_mnist()
data = (images[:10_000], labels[:10_000]), (test_images[:2_000], test_labels[:2_000])

fig, (ax,) = figure(width=6.4, height=4.2)
window = 30
loss, accuracy = {}, {}
optimizers = SGD(0.01), Momentum(0.01), Nesterov(0.01), AdaGrad(0.01), RMSprop(0.001), Adam(0.001)
for optimizer, marker in zip(optimizers, "osv^DX", strict=True):
    name = type(optimizer).__name__
    network = MultiLayerNet(784, [100] * 4, 10)
    history = fit(network, data, optimizer, epochs=6, batch_size=100, progress=False).history
    smooth = np.convolve(history.loss, np.ones(window) / window, mode="valid")
    loss[name], accuracy[name] = smooth[-1], history.test_accuracy[-1]
    updates = np.arange(window, len(history.loss) + 1)
    ax.plot(updates, smooth, marker=marker, markevery=60, markersize=5, label=f"{name}, lr {optimizer.lr}")
    print(f"{name:<9} loss {loss[name]:.3f} in the end, test accuracy {accuracy[name]:.3f}")

ax.set(
    xlabel="update",
    ylabel=f"loss, mean of {window} mini-batches",
    yscale="log",
    title="Loss of one network with six optimizers",
)
ax.grid(alpha=0.3)
ax.legend(frameon=False, fontsize="small")
fig.savefig(folder / "optimizers_mnist.png")

assert min(accuracy.values()) > 0.8
assert all(loss[name] < 0.75 * loss["SGD"] for name in loss if name != "SGD"), "each learns faster than SGD"

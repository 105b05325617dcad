"""Overfitting
==============

A network learns wrong labels by heart. Weight decay and dropout prevent this.

300 of the 1,000 training images have a random label. Without regularization, the accuracy on the training images
reaches 99%, wrong labels included, while the accuracy on the test images falls. With weight decay or dropout, the
network does not learn the wrong labels, and is right on more test images. (Deep Learning from Scratch, section 6.4,
with fewer images in place of wrong labels.)

::

    python examples/overfitting.py [FOLDER]
"""

import sys
from pathlib import Path

import numpy as np

from xpnet import SGD, MultiLayerNet, fit, load_mnist
from xpnet.plotting import figure

folder = Path(sys.argv[1] if len(sys.argv) > 1 else ".")

(images, labels), (test_images, test_labels) = load_mnist()
images, labels = images[:1000], labels[:1000].copy()
labels[:300] = np.random.default_rng(0).integers(0, 10, size=300)
data = (images, labels), (test_images[:2000], test_labels[:2000])
runs = {
    "no regularization": (SGD(0.05), 0.0),
    "weight decay 0.03": (SGD(0.05, weight_decay=0.03), 0.0),
    "dropout 0.5": (SGD(0.05), 0.5),
}

fig, axes = figure(len(runs), width=3.6, height=3.4)
ends = {}
for ax, (name, (optimizer, dropout)) in zip(axes, runs.items(), strict=True):
    network = MultiLayerNet(784, [100] * 3, 10, dropout=dropout)
    history = fit(network, data, optimizer, epochs=100, batch_size=100, progress=False).history
    train, test = history.train_accuracy, history.test_accuracy
    ends[name] = train[-1], test[-1]
    print(f"{name:<17} right by the training labels {train[-1]:.3f}, of the test images {test[-1]:.3f}")
    ax.plot(train, color="C0", label="training images")
    ax.plot(test, color="C1", linestyle="--", label="test images")
    ax.set(title=name, xlabel="epoch", ylim=(0.4, 1.02))
    ax.grid(alpha=0.3)
fig.suptitle("30% of the training labels are wrong: learning them costs accuracy on the test images")
axes[0].set_ylabel("accuracy (axis starts at 0.4)")
axes[0].legend(frameon=False, loc="lower right", fontsize="small")
fig.savefig(folder / "overfitting.png")

train, test = ends["no regularization"]
assert train > 0.98, "it learns the wrong labels too"
assert all(ends[name][0] < train - 0.1 and ends[name][1] > test + 0.02 for name in list(runs)[1:])

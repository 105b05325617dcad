"""The filters of a convolutional network
=========================================

The filters of a convolutional network before and after training, and the digits that it gets wrong.

The filters of the first layer are random at first. After a little training they react to edges and spots. (Deep
Learning from Scratch, sections 7.5 and 7.6.)

::

    python examples/learned_filters.py [FOLDER]
"""

import sys
from pathlib import Path

import numpy as np

from xpnet import Adam, Network, Sequential, evaluate, fit, load_mnist, nn
from xpnet.plotting import figure

folder = Path(sys.argv[1] if len(sys.argv) > 1 else ".")

(images, labels), (test_images, test_labels) = load_mnist(flatten=False)
train, test = (images[:5000], labels[:5000]), (test_images[:2000], test_labels[:2000])
stack = Sequential(
    nn.Conv2d(30, 5, weight_init=nn.Normal(0.01)), nn.Relu(), nn.MaxPool2d(2), nn.Dense(100), nn.Relu(), nn.Dense(10)
)
network = Network(stack, (1, 28, 28))
print(network.summary())
before = network.params["W1"]
fit(network, (train, test), Adam(0.002), epochs=3, batch_size=50)
after = network.params["W1"]


def mosaic(filters):
    """30 filters of 5 x 5 as one image, in 5 rows of 6, with a line between them."""
    framed = np.pad(filters[:, 0], ((0, 0), (1, 0), (1, 0)), constant_values=np.nan)
    return framed.reshape(5, 6, 6, 6).swapaxes(1, 2).reshape(30, 36)[1:, 1:]


fig, axes = figure(2, width=4.4, height=3.9)
for ax, filters, title in zip(axes, (before, after), ("before training", "after training"), strict=True):
    largest = float(np.max(np.abs(filters)))
    ax.imshow(mosaic(filters), cmap="gray", vmin=-largest, vmax=largest)
    ax.set_title(f"{title}: weights from -{largest:.2g} to {largest:.2g}")
    ax.set_axis_off()
fig.get_layout_engine().set(wspace=0.1)
fig.savefig(folder / "learned_filters.png")

found = evaluate(network, *test)
print(f"{found.accuracy:.1%} of {len(test[0])} test digits are right")
fig, (ax,) = figure(width=4.6, height=4.4)
mistakes = found.confusion * (1 - np.eye(10, dtype=int))
ax.imshow(mistakes, cmap="Oranges", vmax=1.5 * mistakes.max())
for i, row in enumerate(found.confusion):
    for j, count in enumerate(row):
        if count:
            ax.text(j, i, count, ha="center", va="center", fontsize="small", color="0.6" if i == j else "black")
ax.set(
    xlabel="answer of the network",
    ylabel="digit",
    xticks=range(10),
    yticks=range(10),
    title=f"{found.accuracy:.1%} of the test digits are right",
)
ax.spines[:].set_visible(False)
fig.savefig(folder / "confusion.png")

guesses = np.argmax(network.predict(test[0]), axis=1)
wrong = np.flatnonzero(guesses != test[1])[:12]
fig, axes = figure(len(wrong), width=0.8, height=1.2)
for ax, i in zip(axes, wrong, strict=True):
    ax.imshow(test[0][i, 0], cmap="gray_r")
    ax.set_title(f"{guesses[i]}, not {test[1][i]}")
    ax.set_axis_off()
fig.savefig(folder / "misclassified.png")

assert found.accuracy > 0.9
assert found.confusion.sum() == len(test[0]) and np.isclose(np.trace(found.confusion), found.accuracy * len(test[0]))
assert np.abs(after).max() > 3 * np.abs(before).max()


def neighbors(filters):
    """The correlation of a weight with the one below it."""
    return np.corrcoef(filters[:, 0, :-1].ravel(), filters[:, 0, 1:].ravel())[0, 1]


print(f"correlation of neighboring weights {neighbors(before):.2f} before, {neighbors(after):.2f} after")
assert neighbors(after) > neighbors(before) + 0.2, "noise has no shape, what is learned has"

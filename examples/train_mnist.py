"""Training on MNIST
=================

The book's two-layer network learns to read digits. The pictures show its curves, and digits with its answers.

::

    python examples/train_mnist.py [FOLDER] [EPOCHS]

Default: 3 epochs. The book's curves have 17. (Deep Learning from Scratch, sections 4.5 and 5.7.)
"""

import sys
from pathlib import Path

import numpy as np

import xpnet
from xpnet.plotting import figure

folder = Path(sys.argv[1] if len(sys.argv) > 1 else ".")
epochs = int(sys.argv[2]) if len(sys.argv) > 2 else 3

result = xpnet.train(epochs=epochs)
result.history.plot(folder / "training_curves.png")

_, (images, labels) = xpnet.load_mnist()
probabilities = result.network.predict_proba(images)
guesses = np.argmax(probabilities, axis=1)
wrong = np.flatnonzero(guesses != labels)
print(f"{len(wrong)} of {len(labels)} test digits get a wrong answer")

# The first test digits, and the first of those that the network gets wrong.
shown = [*range(6), *wrong[:6]]
fig, axes = figure(len(shown), width=0.8, height=1.2)
for ax, i in zip(axes, shown, strict=True):
    right = guesses[i] == labels[i]
    ax.imshow(images[i].reshape(28, 28), cmap="gray_r")
    ax.set_title(f"{guesses[i]}" if right else f"{guesses[i]}, not {labels[i]}", color="black" if right else "C3")
    ax.set_xlabel(f"{probabilities[i, guesses[i]]:.0%}", fontsize="small")
    ax.set(xticks=[], yticks=[])
    ax.spines[:].set_visible(False)
fig.savefig(folder / "digits.png")

assert result.history.test_accuracy[-1] > (0.965 if epochs >= 17 else 0.92 if epochs >= 3 else 0.9)
assert abs(1 - len(wrong) / len(labels) - result.history.test_accuracy[-1]) < 1e-3

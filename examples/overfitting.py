"""A network with too much freedom learns 300 digits by heart; weight decay and dropout hold it back.

Seven layers, 300 training images: soon all of them are right, and the test images are not. (Deep Learning from
Scratch, section 6.4.)

    python examples/overfitting.py [FOLDER]
"""

import sys
from pathlib import Path

from xpnet import SGD, MultiLayerNet, fit, load_mnist
from xpnet.plotting import figure

folder = Path(sys.argv[1] if len(sys.argv) > 1 else ".")

(images, labels), (test_images, test_labels) = load_mnist()
data = (images[:300], labels[:300]), (test_images[:2000], test_labels[:2000])
runs = {
    "nothing": (SGD(0.01), 0.0),
    "weight decay 0.1": (SGD(0.01, weight_decay=0.1), 0.0),
    "dropout 0.2": (SGD(0.01), 0.2),
}

fig, axes = figure(len(runs), width=3.6, height=3.4)
gaps = {}
for ax, (name, (optimizer, dropout)) in zip(axes, runs.items(), strict=True):
    network = MultiLayerNet(784, [100] * 6, 10, dropout=dropout)
    history = fit(network, data, optimizer, epochs=200, batch_size=100, progress=False).history
    train, test = history.train_accuracy, history.test_accuracy
    gaps[name] = train[-1] - test[-1]
    print(f"{name:<17} train {train[-1]:.3f}  test {test[-1]:.3f}  gap {gaps[name]:.3f}")
    ax.plot(train, color="C0", label="300 training images")
    ax.plot(test, color="C1", linestyle="--", label="test images")
    ax.set(title=f"{name}: gap {gaps[name]:.2f}", xlabel="epoch", ylim=(0, 1.02))
    ax.grid(alpha=0.3)
axes[0].set_ylabel("accuracy")
axes[0].legend(frameon=False, loc="lower right")
fig.savefig(folder / "overfitting.png")

assert gaps["nothing"] > 0.15
assert max(gaps["weight decay 0.1"], gaps["dropout 0.2"]) < gaps["nothing"] - 0.03

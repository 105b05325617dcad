"""Batch normalization
======================

With batch normalization, a network also learns from badly chosen initial weights.

A network with five hidden layers learns 1,000 digits, from initial weights of eight sizes, with and without batch
normalization. Without it, the network learns well from one size only: larger weights overflow, and with smaller
weights it learns little or nothing. With it, the network learns from all sizes. (Deep Learning from Scratch, section
6.3.)

::

    python examples/batch_normalization.py [FOLDER]
"""

import sys
from pathlib import Path

from matplotlib.figure import Figure

from xpnet import SGD, Diverged, MultiLayerNet, fit, load_mnist, nn

folder = Path(sys.argv[1] if len(sys.argv) > 1 else ".")

(images, labels), (test_images, test_labels) = load_mnist()
data = (images[:1000], labels[:1000]), (test_images[:1000], test_labels[:1000])
sizes = [1.0, 0.5, 0.2, 0.1, 0.05, 0.02, 0.01, 0.001]

fig = Figure(figsize=(10, 5), layout="constrained", dpi=120)
axes = fig.subplots(2, 4, sharex=True, sharey=True).flat
ends = {True: [], False: []}
for ax, std in zip(axes, sizes, strict=True):
    for batch_norm, style in ((True, "-o"), (False, "--s")):
        network = MultiLayerNet(784, [100] * 5, 10, weight_init=nn.Normal(std), batch_norm=batch_norm)
        try:
            history = fit(network, data, SGD(0.01), epochs=20, batch_size=100, progress=False).history
        except Diverged as error:  # its history has the accuracy before training
            history = error.history
            ax.annotate("without: overflow", (0, history.train_accuracy[0]), xytext=(4, 0.03), color="C1")
        accuracy = history.train_accuracy
        ends[batch_norm].append(accuracy[-1])
        label = "with batch normalization" if batch_norm else "without"
        ax.plot(accuracy, style, color="C0" if batch_norm else "C1", markersize=3, linewidth=1, label=label)
    print(f"initial std {std:<6} accuracy on the training images {ends[True][-1]:.3f}, without {ends[False][-1]:.3f}")
    ax.set(title=f"initial weights: std {std:g}", ylim=(0, 1.02), xticks=[0, 10, 20])
    ax.grid(alpha=0.3)
    ax.spines[["top", "right"]].set_visible(False)
fig.supxlabel("epoch")
fig.supylabel("accuracy on the training images")
legend = {"frameon": False, "ncols": 2, "loc": "outside upper center"}
fig.legend(*axes[0].get_legend_handles_labels(), title="20 epochs from eight sizes of initial weights", **legend)
fig.savefig(folder / "batch_normalization.png")

assert min(ends[True]) > 0.4, "normalized, it learns from all of them"
assert sum(without < 0.3 for without in ends[False]) == 6, "without, it does not from most"

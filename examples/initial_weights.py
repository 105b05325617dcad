"""Initial weights
==================

How the outputs of five layers of 100 units depend on the initial weights.

With a standard deviation of 1, the outputs of sigmoid and tanh are near their limits, where the derivative is
almost 0. With 0.01, all units have almost the same output. Xavier's initial weights keep the spread of the outputs
through sigmoid and tanh, and He's through ReLU. (Deep Learning from Scratch, section 6.2.)

::

    python examples/initial_weights.py [FOLDER]
"""

import sys
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from xpnet import Sequential, nn

folder = Path(sys.argv[1] if len(sys.argv) > 1 else ".")

x = np.random.default_rng(1).standard_normal((1000, 100))
activations = {nn.Sigmoid(): (0, 1), nn.Tanh(): (-1, 1), nn.Relu(): (0, 3)}  # and what is drawn of their values
initials = {"std 1": nn.Normal(1.0), "std 0.01": nn.Normal(0.01), "Xavier": nn.Xavier(), "He": nn.He()}
values = {}
for activation in activations:
    for name, initial in initials.items():
        stack = Sequential(*[nn.Dense(100, initial), activation] * 5)
        signal, seen = x, []
        for layer in stack.layers(stack.init(np.random.default_rng(0), (100,))).values():
            signal = layer.forward(signal)
            if isinstance(layer, activation.layer_class):
                seen.append(signal)
        values[activation, name] = seen

# Each histogram stands on the line of its layer, as high as its largest bin; the last bin also holds what is beyond.
fig = Figure(figsize=(10, 7.5), layout="constrained", dpi=120)
axes = fig.subplots(len(activations), len(initials), sharey=True)
for ax, ((activation, name), seen) in zip(axes.flat, values.items(), strict=True):
    low, high = activations[activation]
    for number, signal in enumerate(seen, 1):
        count, edges = np.histogram(np.clip(signal, low, high), bins=40, range=(low, high))
        ax.stairs(0.8 * count / count.max() - number, edges, baseline=-number, fill=True, color=f"C{number - 1}")
        ax.text(1.02, 0.2 - number, f"{signal.std():.2g}", transform=ax.get_yaxis_transform(), fontsize="x-small")
    ax.set(title=f"{activation.kind}, {name}", xticks=[low, (low + high) / 2, high], ylim=(-5.1, 0))
    ax.set_yticks(range(-5, 0), [f"layer {number}" for number in range(5, 0, -1)])
    ax.tick_params(axis="y", length=0)
    ax.spines[["top", "right", "left"]].set_visible(False)
fig.suptitle("The outputs of five layers: with the right initial weights, all have about the same spread")
fig.supxlabel("output of a unit (small numbers: the standard deviation of a layer's outputs)")
fig.savefig(folder / "initial_weights.png")

print("standard deviation of the outputs, layer by layer")
for (activation, name), seen in values.items():
    print(f"{activation.kind:<8} {name:<9}", *(f"{signal.std():9.2g}" for signal in seen))

last = {key: seen[-1].std() for key, seen in values.items()}
assert np.mean(abs(values[nn.Sigmoid(), "std 1"][-1] - 0.5) > 0.4) > 0.5, "most sigmoids are at their ends"
assert last[nn.Tanh(), "std 0.01"] < 1e-4 and last[nn.Relu(), "std 0.01"] < 1e-4, "small weights: the signal dies out"
assert 0.2 < last[nn.Tanh(), "Xavier"] < 0.6
assert 0.5 < last[nn.Relu(), "He"] / values[nn.Relu(), "He"][0].std() < 2, "He keeps the size of the signal"
assert last[nn.Relu(), "Xavier"] < 0.5 * last[nn.Relu(), "He"]

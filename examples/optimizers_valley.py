"""Six optimizers in a valley
=============================

Six optimizers go from (-7, 2) to the lowest point of x²/20 + y², which is a long valley.

The slope across the valley is much larger than the slope along it. SGD therefore jumps from side to side. Momentum
and Nesterov add a part of the previous step. AdaGrad, RMSprop and Adam use another step size for each coordinate.
The learning rates are the book's, except Nesterov's and RMSprop's. (Deep Learning from Scratch, section 6.1.)

::

    python examples/optimizers_valley.py [FOLDER]
"""

import sys
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from xpnet import SGD, AdaGrad, Adam, Momentum, Nesterov, RMSprop, numerical_gradient

folder = Path(sys.argv[1] if len(sys.argv) > 1 else ".")


def f(p):
    return p[0] ** 2 / 20 + p[1] ** 2


start = np.asarray([-7.0, 2.0])
ways = {}
for optimizer in (SGD(0.95), Momentum(0.1), Nesterov(0.1), AdaGrad(1.5), RMSprop(0.3), Adam(0.3)):
    params, way = {"p": start}, [start]
    state = optimizer.init(params)
    for _ in range(30):
        gradients = {"p": numerical_gradient(f, params["p"])}
        params, state = optimizer.update(params, gradients, state)
        way.append(params["p"])
    name = type(optimizer).__name__
    ways[name] = np.stack(way)
    x, y = params["p"]
    turns = np.count_nonzero(np.diff(np.sign(ways[name][:, 1])))
    print(f"{name:<9} lr {optimizer.lr:<5} crosses the valley {turns:2} times, ends at ({x:6.3f}, {y:6.3f})")

fig = Figure(figsize=(10, 5), layout="constrained", dpi=120)
grid = np.meshgrid(np.linspace(-8, 4, 121), np.linspace(-3, 3, 61))
for ax, (name, way) in zip(fig.subplots(2, 3, sharex=True, sharey=True).flat, ways.items(), strict=True):
    ax.contour(*grid, f(grid), levels=np.arange(1, 9) ** 2 / 10, colors="0.8", linewidths=0.8)
    ax.plot(*way.T, color="C0", marker="o", markersize=3, linewidth=1)
    ax.plot(0, 0, color="C3", marker="+", markersize=10)
    ax.set(title=name, xticks=[-7, 0], yticks=[-2, 0, 2])
    ax.spines[["top", "right"]].set_visible(False)
fig.suptitle("30 steps of each optimizer from (-7, 2) to the lowest point (+) of x²/20 + y²")
fig.supxlabel("x")
fig.supylabel("y")
fig.savefig(folder / "optimizers_valley.png")

assert all(f(way[-1]) < 0.1 * f(start) for way in ways.values())
assert np.all(ways["SGD"][1:, 1] * ways["SGD"][:-1, 1] < 0), "SGD crosses the valley with each step"
assert abs(ways["AdaGrad"][10:, 1]).max() < 0.05, "AdaGrad soon stays in the middle"

"""Gradient descent
===================

The minimum of x0² + x1², found by gradient descent from (-3, 4) with three learning rates.

With 0.1, 100 steps reach the minimum, as the picture shows. With 10, the steps become larger and larger. With 1e-10,
the point hardly moves. (Deep Learning from Scratch, section 4.4.1.)

::

    python examples/gradient_descent.py [FOLDER]
"""

import sys
from pathlib import Path

import numpy as np

from xpnet import gradient_descent
from xpnet.plotting import figure

folder = Path(sys.argv[1] if len(sys.argv) > 1 else ".")


def f(x):
    return x[0] ** 2 + x[1] ** 2


start = np.asarray([-3.0, 4.0])
ends = {}
for lr in (0.1, 10.0, 1e-10):
    ends[lr], way = gradient_descent(f, start, lr=lr, step_num=100, history=True)
    print(f"lr {lr:<6g} after 100 steps: ({ends[lr][0]:.10g}, {ends[lr][1]:.10g})")
    if lr == 0.1:
        good = way

fig, (ax,) = figure(width=4.6, height=4.2)
grid = np.linspace(-4.5, 4.5, 91)
x0, x1 = np.meshgrid(grid, grid)
ax.contour(x0, x1, f((x0, x1)), levels=[0.5, 2, 4.5, 8, 12.5, 18, 24.5], colors="0.8", linewidths=0.8)
ax.plot(*good.T, color="C0", marker="o", markersize=4, linewidth=1)
ax.annotate("start", start, textcoords="offset points", xytext=(8, 2))
ax.annotate("lowest point", (0, 0), textcoords="offset points", xytext=(8, -4))
ax.set(xlabel="x0", ylabel="x1", aspect="equal")
ax.set_title("Gradient descent on x0² + x1², learning rate 0.1", fontsize="medium")
fig.savefig(folder / "gradient_descent.png")

assert np.allclose(ends[0.1], [-6.1e-10, 8.1e-10], rtol=0, atol=1e-10)
assert np.abs(ends[10.0]).max() > 1e10, "too large a learning rate flies off"
assert np.allclose(ends[1e-10], start, atol=1e-6), "too small a one stays where it is"

"""The gradient as arrows
=========================

The negative gradient of x0² + x1², drawn as an arrow at each point of a grid.

The arrows point to the lowest point, and become shorter near it. (Deep Learning from Scratch, section 4.4.)

::

    python examples/gradient_field.py [FOLDER]
"""

import sys
from pathlib import Path

import numpy as np

from xpnet import numerical_gradient_rows
from xpnet.plotting import figure

folder = Path(sys.argv[1] if len(sys.argv) > 1 else ".")


def f(x):
    return x[0] ** 2 + x[1] ** 2


ticks = np.arange(-2, 2.25, 0.25)
points = np.stack(np.meshgrid(ticks, ticks), axis=-1).reshape(-1, 2)
gradients = numerical_gradient_rows(f, points)

for point in ([3.0, 4.0], [0.0, 2.0], [3.0, 0.0]):
    (gradient,) = numerical_gradient_rows(f, np.asarray([point]))
    print(f"gradient at ({point[0]:g}, {point[1]:g}): ({gradient[0]:.6f}, {gradient[1]:.6f})")
error = np.abs(gradients - 2 * points).max()
print(f"largest error over {len(points)} points: {error:.1e}")

fig, (ax,) = figure(width=4.4, height=4.2)
ax.quiver(*points.T, *-gradients.T, angles="xy", color="C0")
ax.set(xlabel="x0", ylabel="x1", xlim=(-2.2, 2.2), ylim=(-2.2, 2.2), aspect="equal")
ax.set_title("The negative gradient of x0² + x1² points downhill", fontsize="medium")
fig.savefig(folder / "gradient_field.png")

assert error < 1e-8

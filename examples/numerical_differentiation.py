"""The step of a numerical derivative
=====================================

The error of a numerical derivative depends on its step: a step can be too large, and it can be too small.

A large step ignores the curvature of the function. A small step is dominated by rounding, because two nearly equal
numbers are subtracted. The central difference has a smaller error than the forward difference, at a larger step. A
step so small that x + h == x, such as the book's 1e-50, is an error. (Deep Learning from Scratch, section 4.3.)

::

    python examples/numerical_differentiation.py [FOLDER]
"""

import math
import sys
from pathlib import Path

from xpnet import numerical_diff
from xpnet.plotting import figure

folder = Path(sys.argv[1] if len(sys.argv) > 1 else ".")


def book(x):
    """The book's function; its slope is 0.02 x + 0.1."""
    return 0.01 * x**2 + 0.1 * x


print(f"slope of 0.01 x² + 0.1 x at 5:  {numerical_diff(book, 5.0):.10f}")
print(f"                        at 10:  {numerical_diff(book, 10.0):.10f}")

# The sine at 1, whose slope is known: cos(1).
steps = [10 ** (-i / 8) for i in range(8, 121)]
errors, default = {}, {}
for method in ("forward", "central"):
    errors[method] = [abs(numerical_diff(math.sin, 1.0, h=h, method=method) - math.cos(1)) for h in steps]
    default[method] = abs(numerical_diff(math.sin, 1.0, method=method) - math.cos(1))

print("\nerror of the slope of sin(x) at 1")
print("step         forward    central")
for i in range(0, len(steps), 16):
    print(f"{steps[i]:.0e}  {errors['forward'][i]:12.1e} {errors['central'][i]:10.1e}")
print(f"default{default['forward']:12.1e} {default['central']:10.1e}")

try:
    numerical_diff(math.sin, 1.0, h=1e-50)
except ValueError as error:
    refused = str(error)
    print(f"\n1e-50: ValueError: {refused}")

fig, (ax,) = figure()
ax.loglog(steps, errors["forward"], color="C1", linestyle="--", label="forward, (f(x+h) - f(x)) / h")
ax.loglog(steps, errors["central"], color="C0", label="central, (f(x+h) - f(x-h)) / 2h")
ax.axvline(2**-26, ymax=0.72, color="C1", linewidth=0.8, linestyle=":")
ax.axvline(2 ** (-52 / 3), ymax=0.72, color="C0", linewidth=0.8, linestyle=":", label="xpnet's default steps")
ax.set(
    xlabel="step h",
    ylabel="error of the slope of sin(x) at 1",
    title="The step must be neither too large nor too small",
    ylim=(1e-13, 3e1),
)
ax.legend(frameon=False, fontsize="small", loc="upper center")
fig.savefig(folder / "numerical_differentiation.png")

assert default["central"] < 1e-10 < default["forward"] < 1e-7
assert errors["forward"][-1] > 1e-3, "at a step of 1e-15 nothing but rounding is left"
assert "too small" in refused

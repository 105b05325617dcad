"""A training step, written by xpnet
=====================================

xpnet traces one update of the book's network and writes it as a plain Python file, which needs NumPy alone.

The file is what a reader of the book would write by hand: the forward pass, the backward pass, and the update. After
an epoch of MNIST, the parameters of the written file and those of `fit` have the same bits. The picture shows the
operations, with the shapes of their results.
"""

# sphinx_gallery_thumbnail_path = "thumbnails/written_step.svg"
import importlib.util
import sys
from pathlib import Path

import numpy as np

from xpnet import SGD, TwoLayerNet, fit, load_mnist, trace

folder = Path(sys.argv[1] if len(sys.argv) > 1 else ".")
(x, t), _ = load_mnist()
net = TwoLayerNet(784, 50, 10)
optimizer = SGD(lr=0.1)


def step(params, x, t):
    """One update: the new parameters, and the loss before it."""
    loss, gradients, _ = net.stack.loss_and_gradient(params, x, t)
    params, _ = optimizer.update(params, gradients, {})
    return params, loss


program = trace(step, net.params, x[:100], t[:100])
print(program.source())
print(program.cost())
program.draw(folder / "written_step.svg")

# Run the written file for an epoch.
file = folder / "written_step_numpy.py"
file.write_text(program.source())
spec = importlib.util.spec_from_file_location("written", file)
written = importlib.util.module_from_spec(spec)
spec.loader.exec_module(written)

params = net.params
for batch in np.random.default_rng(0).permutation(len(x)).reshape(-1, 100):  # the mini-batches of fit(seed=0)
    params, loss = written.step(params, x[batch], t[batch])

# Train the same network with xpnet.
result = fit(net, (x, t), optimizer, epochs=1, seed=0, progress=False)
print(f"last loss  {loss:.6f} by the written file, {result.history.loss[-1]:.6f} by fit")

assert all(np.array_equal(params[name], net.params[name]) for name in params)
assert float(loss) == result.history.loss[-1]

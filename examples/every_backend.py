"""The same training on every array library
===========================================

One network and the same 50 updates on every array library that is installed.

Weights and mini-batches are drawn from one seed, so the losses are the same up to rounding. The last lines name each
library that is missing or has no device, with the reason.
"""

# sphinx_gallery_thumbnail_path = "thumbnails/every_backend.svg"
import numpy as np

import xpnet

(images, labels), (test_images, test_labels) = xpnet.load_mnist()
data = ((images[:5000], labels[:5000]), (test_images[:1000], test_labels[:1000]))
shown = (1, 10, 20, 30, 40, 50)  # updates
tolerances = {"float32": 1e-5, "float64": 1e-12}  # relative, on a CPU

for dtype, tolerance in tolerances.items():
    print(f"{dtype}: loss at update")
    print(f"{'':<8}", *(f"{update:>9}" for update in shown), "  largest relative difference from NumPy")
    expected = None
    for backend in xpnet.BACKENDS.values():
        if backend.problem:
            continue
        if dtype == "float64":
            backend.enable_float64()  # a switch of JAX's; the others have float64 anyway
        history = xpnet.train(data, backend=backend.name, dtype=dtype, epochs=1, progress=False).history
        losses = np.asarray(history.loss)
        expected = losses if expected is None else expected  # NumPy comes first
        difference = float(np.max(np.abs(losses / expected - 1)))
        print(f"{backend.name:<8}", *(f"{losses[update - 1]:9.6f}" for update in shown), f"  {difference:.1e}")
        assert difference <= (1e-4 if backend.name == "cupy" else tolerance), backend.name
    print()

for backend in xpnet.BACKENDS.values():
    if backend.problem:
        print(f"not run: {backend.name}: {backend.problem}")

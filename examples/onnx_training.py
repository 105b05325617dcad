"""Training in onnxruntime
==========================

Training without xpnet: forward, backward and update are one ONNX model, which onnxruntime runs.

A second ONNX model predicts, in any ONNX runtime. Needs ndonnx, onnx, onnxruntime: pip install '.[onnx]'

::

    python examples/onnx_training.py [FOLDER]
"""

# sphinx_gallery_thumbnail_path = "thumbnails/onnx_training.svg"
import sys
from pathlib import Path

import numpy as np
import onnxruntime

from xpnet import Momentum, TwoLayerNet, load_mnist
from xpnet.onnx import to_onnx, training_to_onnx

folder = Path(sys.argv[1] if len(sys.argv) > 1 else ".")

(images, labels), (test_images, test_labels) = load_mnist()
labels = labels.astype("int64")
network = TwoLayerNet(784, 50, 10)
optimizer = Momentum(lr=0.05)

model, carried = training_to_onnx(network, optimizer, folder / "training.onnx", batch_size=100)
session = onnxruntime.InferenceSession(str(folder / "training.onnx"))
params, state = network.params, optimizer.init(network.params)
order = np.random.default_rng(0).permutation(60_000).reshape(-1, 100)
worst = 0.0
for step, index in enumerate(order, 1):
    loss, *after = session.run(None, {"x": images[index], "t": labels[index]} | carried)
    carried = dict(zip(carried, after, strict=True))
    if step <= 100:  # the same step in NumPy, to compare
        own, gradients, _ = network.stack.loss_and_gradient(params, images[index], labels[index])
        params, state = optimizer.update(params, gradients, state)
        worst = max(worst, abs(float(loss) - float(own)))
print(f"a training step of {len(model.graph.node)} nodes; 600 steps in onnxruntime")
print(f"the first 100 losses differ from NumPy's by at most {worst:.1e}")

network.params = {name: carried[name] for name in network.params}
to_onnx(network, folder / "digits.onnx", probabilities=True)
session = onnxruntime.InferenceSession(str(folder / "digits.onnx"))
(p,) = session.run(["y"], {"x": test_images})
right = (p.argmax(axis=1) == test_labels).mean()
print(f"digits.onnx has {right:.3f} of the test images right")

assert worst < 1e-4
assert right > 0.9

"""The gradient of six weights
==============================

The smallest network: two inputs, three classes, six weights, and the gradient of the loss.

Where the derivative is positive, a smaller weight lowers the loss. (Deep Learning from Scratch, section 4.4.2.)
"""

# sphinx_gallery_thumbnail_path = "thumbnails/simple_net.svg"
import numpy as np

from xpnet import SimpleNet, softmax

net = SimpleNet(dtype="float64")
net.W = np.asarray([[0.47355232, 0.9977393, 0.84668094], [0.85557411, 0.03563661, 0.69422093]])  # the book's
x, t = np.asarray([0.6, 0.9]), np.asarray([0, 0, 1])

scores, loss, gradient = net.predict(x), net.loss(x, t), net.gradient(x, t)
print("scores        ", scores.round(4))
print("probabilities ", softmax(scores).round(4))
print("loss          ", round(float(loss), 6))
print("gradient      ", gradient.round(4)[0])
print("              ", gradient.round(4)[1])

for _ in range(100):
    net.W = net.W - 0.1 * net.gradient(x, t)
after = net.loss(x, t)
print("\nafter 100 steps against the gradient")
print("probabilities ", softmax(net.predict(x)).round(4))
print("loss          ", round(float(after), 6))

assert abs(loss - 0.92806854) < 1e-8
assert np.allclose(gradient[:, 2], [-0.36281009, -0.54421514], atol=1e-8)
assert after < 0.1

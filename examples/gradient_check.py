"""The gradient check
=====================

Is the backpropagation right? It is compared with numerical gradients. A layer with a mistake is found.

The check uses three MNIST samples, the 784-50-10 network, and 100 elements of each parameter. `xpnet gradcheck`
checks all elements. (Deep Learning from Scratch, section 5.7.3.)
"""

# sphinx_gallery_thumbnail_path = "thumbnails/gradient_check.svg"
import numpy as np

from xpnet import GradientError, Network, Relu, Sequential, TwoLayerNet, check_gradients, load_mnist, nn

(images, labels), _ = load_mnist()
x, t = images[:3].astype(np.float64), labels[:3]

report = check_gradients(TwoLayerNet(784, 50, 10, like=x), x, t, sample=100)
print("the two-layer network")
print(report)


class Forgetful(Relu):
    """A ReLU whose author forgot the mask on the way back."""

    def backward(self, dout):
        return dout


class ForgetfulRelu(nn.ActivationDescription):
    """The description of that layer."""

    layer_class = Forgetful


broken = Network(Sequential(nn.Dense(50), ForgetfulRelu(), nn.Dense(10)), (784,), like=x)
try:
    check_gradients(broken, x, t, sample=100)
except GradientError as error:
    caught = {row.name: row.wrong for row in error.report.rows}
    print("\nwith a ReLU that forgets its mask: GradientError")
    print(error.report)

assert report.ok
assert all(row.mean_abs < 1e-9 for row in report.rows)
assert caught["W1"] and caught["b1"], "the layers below the broken one are wrong ..."
assert caught["W2"] == caught["b2"] == 0, "... and those above it are not"

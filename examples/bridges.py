"""xpnet's layers in PyTorch and JAX
====================================

A layer of xpnet in a model of PyTorch, a loss of xpnet under jax.grad, and weights copied in both directions.

Forward and backward passes of these layers are xpnet's own code. Needs torch and jax: pip install '.[torch,jax]'
"""

# sphinx_gallery_thumbnail_path = "thumbnails/bridges.svg"
import jax
import jax.numpy as jnp
import numpy as np
import torch

import xpnet.jax
import xpnet.torch
from xpnet import MultiLayerNet, Network, Sequential, SoftmaxWithLoss, load_mnist, nn

(images, labels), (test_images, test_labels) = load_mnist()
images, labels = images[:6000], labels[:6000].astype("int64")

# 1. PyTorch: xpnet's convolution and normalization between PyTorch's own layers, trained by PyTorch's optimizer.
eyes = Network(Sequential(nn.Conv2d(8, 5, stride=2), nn.BatchNorm(), nn.Relu(), nn.MaxPool2d(2)), (1, 28, 28))
model = torch.nn.Sequential(
    torch.nn.Unflatten(1, (1, 28, 28)), xpnet.torch.Module(eyes), torch.nn.Flatten(), torch.nn.Linear(288, 10)
)
optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
x, t = torch.tensor(images), torch.tensor(labels)
for index in torch.tensor(np.random.default_rng(0).permutation(6000)).split(100):
    optimizer.zero_grad()
    torch.nn.functional.cross_entropy(model(x[index]), t[index]).backward()
    optimizer.step()
model.eval()
with torch.no_grad():
    right = (model(torch.tensor(test_images)).argmax(1).numpy() == test_labels).mean()
print(f"1. xpnet in a PyTorch model: {right:.3f} of the test images right after 60 updates")
assert right > 0.85

# 2. JAX: xpnet's stack and its loss with label smoothing as functions that jax.grad goes through.
network = MultiLayerNet(784, [50], 10, like=jnp.zeros(1, "float32"))
scores = xpnet.jax.as_function(network.stack)
loss = xpnet.jax.as_function(SoftmaxWithLoss, smoothing=0.1)


@jax.jit
def step(params, x, t):
    gradients = jax.grad(lambda p: loss((), scores(p, x), t))(params)
    return jax.tree.map(lambda p, g: p - 0.5 * g, params, gradients)


params = network.params
for start in range(0, 6000, 100):
    params = step(params, images[start : start + 100], labels[start : start + 100])
right = (jnp.argmax(scores(params, test_images), axis=1) == test_labels).mean()
print(f"2. xpnet under jax.jit and jax.grad: {right:.3f} right after 60 updates")
assert right > 0.8

# 3. Weights: what PyTorch trained, in a network of xpnet on NumPy, and back.
own = torch.nn.Sequential(torch.nn.Linear(784, 50), torch.nn.ReLU(), torch.nn.Linear(50, 10))
network = MultiLayerNet(784, [50], 10)
xpnet.torch.load_state_dict(network, own.state_dict())
with torch.no_grad():
    difference = np.abs(network.predict(test_images[:100]) - own(torch.tensor(test_images[:100])).numpy()).max()
print(f"3. PyTorch's weights on NumPy: scores differ by {difference:.1e}")
assert difference < 1e-5
own.load_state_dict(xpnet.torch.state_dict(network, prefixes=["0", "2"]))

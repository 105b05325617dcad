"""xpnet with SciPy, PyTorch and JAX
====================================

xpnet's functions together with functions of SciPy and array-api-extra, an optimizer of SciPy, and JAX's jit.

Each function takes the arrays of its caller and returns arrays of the same library. Nothing is converted or
registered. Needs scipy, array-api-extra, torch and jax.
"""

# sphinx_gallery_thumbnail_path = "thumbnails/inside_other_code.svg"
import math
import os

os.environ["SCIPY_ARRAY_API"] = "1"  # SciPy takes arrays of other libraries, if this is set before it is imported

import array_api_extra as xpx
import jax
import jax.numpy as jnp
import numpy as np
import scipy.optimize
import scipy.special
import torch

import xpnet

(images, labels), (test_images, test_labels) = xpnet.load_mnist()

# 1. PyTorch arrays through xpnet, SciPy and array-api-extra: how sure is a network of each digit?
net = xpnet.train(((images[:5000], labels[:5000]), (test_images, test_labels)), epochs=5, progress=False).network
net.params = {name: torch.asarray(value) for name, value in net.params.items()}  # the same network, now of tensors
x, t = torch.asarray(test_images), torch.asarray(test_labels)
p = xpnet.softmax(net.predict(x))
doubt = torch.sum(scipy.special.entr(p), dim=-1) / math.log(10)  # entropy: 0 is sure, 1 is no idea
right = torch.argmax(p, dim=-1) == t
print("1. torch through xpnet.softmax, scipy.special.entr, array_api_extra.cov")
print(f"   mean doubt where right {doubt[right].mean():.3f}, where wrong {doubt[~right].mean():.3f}")
together = xpx.cov(torch.stack([doubt, torch.where(right, 1.0, 0.0)]))
print(f"   correlation of doubt and being right {together[0, 1] / (together[0, 0] * together[1, 1]) ** 0.5:.2f}")
assert isinstance(doubt, torch.Tensor) and isinstance(together, torch.Tensor)
assert torch.allclose(
    xpnet.log_softmax(net.predict(x)), scipy.special.log_softmax(net.predict(x), axis=-1), atol=1e-5
)
assert doubt[right].mean() < doubt[~right].mean()

# 2. SciPy's L-BFGS trains the network: it wants one flat vector, and the loss with its gradient.
x, t = images[:500].astype(np.float64), labels[:500]
net = xpnet.TwoLayerNet(784, 20, 10, like=x)
shapes = {name: value.shape for name, value in net.params.items()}
ends = np.cumsum([np.prod(shape) for shape in shapes.values()])[:-1]


def flat(params):
    return np.concatenate([params[name].reshape(-1) for name in shapes])


def unflat(vector):
    return {n: part.reshape(shapes[n]) for n, part in zip(shapes, np.split(vector, ends), strict=True)}


def loss_and_gradient(vector):
    loss, gradients, _ = net.stack.loss_and_gradient(unflat(vector), x, t)
    return loss, flat(gradients)


before = net.loss(x, t)
found = scipy.optimize.minimize(
    loss_and_gradient, flat(net.params), jac=True, method="L-BFGS-B", options={"maxiter": 60}
)
net.params = unflat(found.x)
print("\n2. scipy.optimize.minimize on 500 digits")
print(f"   loss {before:.4f} -> {found.fun:.2e} in {found.nit} iterations, accuracy {net.accuracy(x, t):.3f}")
assert found.fun < 1e-2 and net.accuracy(x, t) == 1

# 3. JAX compiles and vectorizes it: the gradient of each sample by itself, and JAX's own derivative as a witness.
x, t = jnp.asarray(images[:100]), jnp.asarray(labels[:100])
net = xpnet.TwoLayerNet(784, 50, 10, like=x)


def gradient_of(params, x, t):
    return net.stack.loss_and_gradient(params, x, t)[1]


each = jax.jit(jax.vmap(gradient_of, in_axes=(None, 0, 0)))(net.params, x, t)
batch = jax.jit(gradient_of)(net.params, x, t)
witness = jax.grad(net.stack.loss)(net.params, x, t)
print("\n3. jax.jit(jax.vmap(backpropagation)), against the gradient of the batch and jax.grad")
for name in batch:
    mean = float(jnp.max(jnp.abs(jnp.mean(each[name], axis=0) - batch[name])))
    auto = float(jnp.max(jnp.abs(witness[name] - batch[name])))
    print(f"   {name} of each sample {str(each[name].shape):<15} mean differs by {mean:.0e}, jax.grad by {auto:.0e}")
    assert mean < 1e-6 and auto < 1e-6

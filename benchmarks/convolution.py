"""How long do convolutional networks take? The book's, layer by layer, and wider convolutions, against PyTorch.

The book's network is Conv(30, 5), ReLU, MaxPool(2), Dense(100), ReLU, Dense(10) on images of 28 x 28, in mini-batches
of 100. A step is the loss, the gradients and SGD. A layer is its forward pass and its backward pass; the first one's
needs no derivative by the images. xpnet on a library's arrays is held against that library's own convolution.
"""

import numpy as np
from harness import Timed, arguments, bars, compare, in_turn, one_thread, report

import xpnet

BOOK = "the book's network"
# channels, filters, size of a filter, side of an image
SHAPES = {
    "1 to 30 channels, 5 x 5": (1, 30, 5, 28),
    "16 to 16 channels, 3 x 3": (16, 16, 3, 28),
    "32 to 32 channels, 3 x 3": (32, 32, 3, 14),
    "64 to 64 channels, 3 x 3": (64, 64, 3, 7),
}
BATCH = 100


def stack():
    return xpnet.Sequential(
        xpnet.nn.Conv2d(30, 5),
        xpnet.nn.Relu(),
        xpnet.nn.MaxPool2d(2),
        xpnet.nn.Dense(100),
        xpnet.nn.Relu(),
        xpnet.nn.Dense(10),
    )


class Ours:
    """xpnet, layers and network."""

    backend = "numpy"
    device = "cpu"

    def __init__(self, threads):
        if self.backend == "torch":
            import torch

            torch.set_num_threads(threads)
        self.chosen = xpnet.get_backend(self.backend)
        self.xp, self.where = self.chosen.namespace(), self.chosen.device(self.device)
        self.rng = np.random.default_rng(0)

    def place(self, x):
        return self.xp.asarray(x, device=self.where)

    def arrays(self, channels, filters, size, side):
        out = side if size == 3 else side - size + 1
        weights = (filters, channels, size, size), (filters,)
        shapes = (BATCH, channels, side, side), *weights, (BATCH, filters, out, out)
        return [self.place(self.rng.normal(size=s).astype("float32")) for s in shapes]

    def convolution(self, x, W, b, dout):
        layer = xpnet.Convolution(W, b, padding=1 if W.shape[2] == 3 else 0)
        y = layer.forward(x)
        if x.shape[1] == 1:
            layer.backward_params(dout)
            return y, layer.dW, layer.db
        return y, layer.backward(dout), layer.dW, layer.db

    def prepare_layer(self, name):
        arrays = self.arrays(*SHAPES[name])
        run = self.chosen.compile(self.convolution)
        return lambda: run(*arrays)

    def prepare_step(self):
        images = self.place(self.rng.random((BATCH, 1, 28, 28), dtype="float32"))
        labels = self.place(
            self.rng.integers(0, 10, size=BATCH).astype("int32" if self.backend == "jax" else "int64")
        )
        net = xpnet.Network(stack(), (1, 28, 28), like=images)

        def step(params, x, t):
            loss, gradients, _ = net.stack.loss_and_gradient(params, x, t)
            return {name: p - 0.1 * gradients[name] for name, p in params.items()}, loss

        run, params = self.chosen.compile(step), net.params

        def once():
            nonlocal params
            params, loss = run(params, images, labels)
            return loss

        return once

    def wait(self, result):
        """Wait for what `prepare_step` and `prepare_layer` prepared, where a library goes on before it is done."""
        if self.backend == "jax":
            import jax

            jax.block_until_ready(result)

    def prepare(self, title):
        """What to time: a step of the book's network, or a layer."""
        return self.prepare_layer(title) if title in SHAPES else self.prepare_step()


class OursTorch(Ours):
    backend = "torch"


class OursJax(Ours):
    backend = "jax"


class Torch(Ours):
    """PyTorch with autograd."""

    backend = "torch"

    def convolution(self, x, W, b, dout):
        import torch

        W, b = W.detach().requires_grad_(), b.detach().requires_grad_()
        x = x.detach().requires_grad_(x.shape[1] > 1)
        y = torch.nn.functional.conv2d(x, W, b, padding=1 if W.shape[2] == 3 else 0)
        y.backward(dout)
        return y

    def prepare_step(self):
        import torch
        from torch import nn

        model = nn.Sequential(
            nn.Conv2d(1, 30, 5),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Linear(4320, 100),
            nn.ReLU(),
            nn.Linear(100, 10),
        ).to(self.device)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        images = self.place(self.rng.random((BATCH, 1, 28, 28), dtype="float32"))
        labels = self.place(self.rng.integers(0, 10, size=BATCH))

        def step():
            loss = nn.functional.cross_entropy(model(images), labels)
            loss.backward()
            optimizer.step()
            return loss.detach()

        return self.repeated(step, optimizer)

    def repeated(self, step, optimizer):
        def once():
            optimizer.zero_grad()
            return step()

        return once


class Jax(Ours):
    """JAX's own convolution, jitted, with its differentiation."""

    backend = "jax"

    def convolution(self, x, W, b, dout):
        import jax

        def conv(x, W, b):
            y = jax.lax.conv_general_dilated(x, W, (1, 1), [(1, 1)] * 2 if W.shape[2] == 3 else "VALID")
            return y + b[:, None, None]

        if x.shape[1] == 1:
            y, back = jax.vjp(lambda W, b: conv(x, W, b), W, b)
        else:
            y, back = jax.vjp(conv, x, W, b)
        return y, *back(dout)

    def prepare_step(self):
        import jax
        import jax.numpy as jnp

        images = self.place(self.rng.random((BATCH, 1, 28, 28), dtype="float32"))
        labels = self.place(self.rng.integers(0, 10, size=BATCH).astype("int32"))
        params = xpnet.Network(stack(), (1, 28, 28), like=images).params

        def loss_of(p, x, t):
            h = jax.lax.conv_general_dilated(x, p["W1"], (1, 1), "VALID") + p["b1"][:, None, None]
            h = jax.lax.reduce_window(jax.nn.relu(h), -jnp.inf, jax.lax.max, (1, 1, 2, 2), (1, 1, 2, 2), "VALID")
            h = jax.nn.relu(h.reshape(BATCH, -1) @ p["W2"] + p["b2"]) @ p["W3"] + p["b3"]
            return -jnp.take_along_axis(jax.nn.log_softmax(h), t[:, None], axis=1).mean()

        def step(p, x, t):
            loss, gradient = jax.value_and_grad(loss_of)(p, x, t)
            return jax.tree.map(lambda p, g: p - 0.1 * g, p, gradient), loss

        run = jax.jit(step)

        def once():
            nonlocal params
            params, loss = run(params, images, labels)
            return loss

        return once


CONTENDERS = {
    "xpnet, NumPy": Ours,
    "xpnet, PyTorch": OursTorch,
    "xpnet, JAX": OursJax,
    "PyTorch": Torch,
    "JAX": Jax,
}


def timed(contender, title):
    once = contender.prepare(title)
    return lambda: contender.wait(once())


def main():
    rounds = arguments(__doc__).rounds or 15
    one_thread()
    contenders = {name: build(1) for name, build in CONTENDERS.items()}
    parts = []
    for title in (BOOK, *SHAPES):
        once = {name: Timed(timed(contender, title)) for name, contender in contenders.items()}
        times = in_turn(once, rounds, "steps", count=3)
        most = 1.0 if title == BOOK else 2.5
        limits = [
            ("xpnet, NumPy", "PyTorch", most),
            ("xpnet, PyTorch", "PyTorch", 1.1),
            ("xpnet, JAX", "JAX", 1.1),
        ]
        parts += [f"## {title[0].upper()}{title[1:]}", bars(times, limits), compare(times, "ms", 1e3)]
    head = f"One thread, all in one process, in turn; {rounds} rounds."
    report("convolution", "Convolutional networks", __doc__.partition("\n")[2].strip(), head, *parts)


if __name__ == "__main__":
    main()

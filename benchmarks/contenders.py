"""The same training written with each contender: 784-H-10, ReLU, SGD of 0.1, from the same initial weights.

A contender holds data, parameters and whatever it compiles. `steps` makes one update for each row of `order`,
draws each mini-batch itself, and returns the losses. What is natural for a library is done its way: images lie
in memory as its users would keep them (float32, already scaled; xpnet and its twins keep the bytes).
"""

import os
import time
from functools import partial

import numpy as np

import xpnet
from xpnet._array import dtype_name, index_dtype
from xpnet.backends import get_backend, read_all
from xpnet.datasets import scale_images
from xpnet.training.distributed import processes
from xpnet.training.evaluation import Measures, read
from xpnet.training.samples import Sets, samples_of
from xpnet.training.step import Carry, updates

LR = 0.1


class Contender:
    """What the harness asks."""

    share = 1  # of the steps that are asked for, how many a slow contender is timed over

    def __init__(self, hidden, batch, seed=0):
        self.batch = batch
        self.rng = np.random.default_rng(seed)
        self.params = xpnet.TwoLayerNet(784, hidden, 10, seed=seed).params
        self.raw, self.raw_test = xpnet.load_mnist(normalize=False)
        self.build()

    def floats(self):
        """Training and test set with scaled float32 images and int64 labels."""
        return [(np.divide(x, 255, dtype=np.float32), t.astype(np.int64)) for x, t in (self.raw, self.raw_test)]

    def check(self):
        """Compare the first losses with those of the same training by hand in float64."""
        from twins import loss_and_gradient

        count = 20 if self.batch <= 1000 else 3
        order = np.random.default_rng(1).integers(0, 60_000, size=(count, self.batch))
        found = self.first_losses(order)
        if found is None:
            return
        images, labels = self.raw
        params = [self.params[name].astype(np.float64) for name in ("W1", "b1", "W2", "b2")]
        expected, change = [], self.by_hand()
        for index in order:
            loss, gradients = loss_and_gradient(params, images[index] / 255, np.eye(10)[labels[index]].T)
            params = [p - d for p, d in zip(params, change(gradients), strict=True)]
            expected.append(loss)
        np.testing.assert_allclose(found, expected if np.ndim(found) else np.mean(expected), rtol=1e-3)

    def by_hand(self):
        """What the update by hand subtracts from the parameters, as a function of their gradients."""
        return lambda gradients: [LR * g for g in gradients]

    def wait(self):
        """Wait until a device has done what it was given; the host has, when it goes on."""

    def draw(self, count):
        """The samples of `count` updates: permutations of the set, as many as it takes."""
        rows = max(1, 60_000 // self.batch)
        whole = rows * self.batch if self.batch <= 60_000 else self.batch
        parts = [self.rng.permutation(60_000)[:whole].reshape(-1, self.batch) for _ in range(-(-count // rows))]
        return np.concatenate(parts)[:count]

    def first_losses(self, order):
        """The loss of each batch before the update that is made from it, for the check; None where there is none."""
        return self.steps(order)

    def time_steps(self, count):
        """Seconds for `count` updates, the drawing of their batches and the reading of their losses included."""
        some = max(1, round(self.share * count))
        self.wait()
        start = time.perf_counter()
        losses = self.steps(self.draw(some))
        self.wait()
        seconds = (time.perf_counter() - start) * count / some
        if not np.isfinite(losses).all():
            raise ArithmeticError("the loss is not finite")
        return seconds

    def time_evaluation(self):
        """Seconds for the accuracy on both sets."""
        start = time.perf_counter()
        self.accuracies()
        return time.perf_counter() - start

    def time_epoch(self):
        """Seconds for an epoch: its updates, and the accuracy on both sets; and the test accuracy."""
        start = time.perf_counter()
        self.steps(self.draw(60_000 // self.batch))
        _, test = self.accuracies()
        return time.perf_counter() - start, test

    def time_to(self, target, most):
        """Seconds and epochs until the test accuracy reaches `target`; both None where `most` epochs do not."""
        seconds = 0.0
        for epoch in range(1, most + 1):
            took, test = self.time_epoch()
            seconds += took
            if test >= target:
                return seconds, epoch
        return None, None


class Xpnet(Contender):
    """The updates and the evaluation of `fit`."""

    backend = "numpy"
    device = "cpu"

    def optimizer(self):
        return xpnet.SGD(LR)

    def build(self):
        self.chosen = get_backend(self.backend)
        xp, self.where = self.chosen.namespace(), self.chosen.device(self.device)
        self.labels = dtype_name(index_dtype(xp, self.where))

        def place(x, dtype):
            return xp.asarray(x.astype(dtype), device=self.where)

        self.data, self.data_test = ((place(x, "uint8"), place(t, self.labels)) for x, t in (self.raw, self.raw_test))
        hidden = self.params["b1"].shape[0]
        like = place(np.zeros(1), "float32")
        self.network = xpnet.TwoLayerNet(784, hidden, 10, like=like)
        self.network.params = {name: place(p, "float32") for name, p in self.params.items()}
        self.scale = partial(scale_images, dtype=like.dtype)
        optimizer, params = self.optimizer(), self.network.params
        self.run = updates(self.chosen, self.network.stack, optimizer, self.scale, 1, processes(None))
        self.carry = Carry(params, optimizer.init(params), {})

        train, test = (samples_of("", data, self.network, transformed=True) for data in (self.data, self.data_test))
        sets = Sets(train, train.units, train.units[:0], test)
        self.measures = Measures(self.network, sets, self.scale, processes(None))

    def steps(self, order):
        losses = []
        for carry, loss in self.run(self.carry, self.data, order.astype(self.labels)):
            self.carry = carry
            losses.append(loss)
        return read_all(losses)

    def accuracies(self):
        self.network.params = self.carry.params
        _, measured = read([], self.measures())
        found, _ = self.measures.found(measured)
        return [found["train_accuracy"], found["test_accuracy"]]

    def fit(self, epochs):
        """xpnet's own trainer, as its users call it."""
        data, options = (self.data, self.data_test), {"batch_size": self.batch, "progress": False}
        return xpnet.fit(
            self.network, data, self.optimizer(), epochs=epochs, seed=self.rng, transform=self.scale, **options
        ).history

    def time_epoch(self):
        history = self.fit(2)  # where a library compiles, it does so in the first
        return history.seconds[2] - history.seconds[1], history.test_accuracy[2]

    def time_to(self, target, most):
        history = self.fit(most)
        epochs = next((i for i, test in enumerate(history.test_accuracy) if test >= target), None)
        return (None, None) if epochs is None else (history.seconds[epochs] - history.seconds[0], epochs)


class XpnetTorch(Xpnet):
    backend = "torch"

    def build(self):
        threads("torch")
        super().build()


class XpnetJax(Xpnet):
    backend = "jax"


def torch_network(torch, params):
    """PyTorch's network with these parameters."""
    linear = [torch.nn.Linear(*params[name].shape) for name in ("W1", "W2")]
    for number, layer in enumerate(linear, 1):
        weight, bias = torch.tensor(params[f"W{number}"].T.copy()), torch.tensor(params[f"b{number}"])
        layer.load_state_dict({"weight": weight, "bias": bias})
    return torch.nn.Sequential(linear[0], torch.nn.ReLU(), linear[1])


class Torch(Contender):
    """PyTorch as its tutorials write it, but for the batches, which are taken from tensors by their indices."""

    device = "cpu"

    def build(self):
        torch = threads("torch")
        (x, t), test = self.floats()
        self.data = torch.tensor(x, device=self.device), torch.tensor(t, device=self.device)
        self.test = torch.tensor(test[0], device=self.device), torch.tensor(test[1], device=self.device)
        self.model = torch_network(torch, self.params).to(self.device)
        self.optimizer = self.optimizer_of(torch.optim, self.model.parameters())
        self.loss = self.compiled(lambda x, t: torch.nn.functional.cross_entropy(self.model(x), t))
        self.torch = torch

    def optimizer_of(self, optim, params):
        return optim.SGD(params, lr=LR)

    def compiled(self, function):
        return function

    def steps(self, order):
        (x, t), losses = self.data, []
        for index in self.torch.tensor(order, device=self.device):
            loss = self.loss(x[index], t[index])
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
            losses.append(loss.detach())
        return self.torch.stack(losses).cpu().numpy()

    def accuracies(self):
        with self.torch.no_grad():
            return [float((self.model(x).argmax(1) == t).float().mean()) for x, t in (self.data, self.test)]


class TorchCompile(Torch):
    def compiled(self, function):
        torch = threads("torch")
        self.optimizer.step = torch.compile(self.optimizer.step)
        return torch.compile(function)


class Jax(Contender):
    """JAX with `jax.grad`, one compiled update at a time."""

    device = "cpu"

    def build(self):
        import jax
        import jax.numpy as jnp

        jax.config.update("jax_default_device", jax.devices(self.device)[0])
        self.jax = jax
        (x, t), test = self.floats()
        self.data = jnp.asarray(x), jnp.asarray(t, dtype="int32")
        self.test = jnp.asarray(test[0]), jnp.asarray(test[1], dtype="int32")
        self.now = self.started({name: jnp.asarray(p) for name, p in self.params.items()})

        def scores(p, x):
            return jax.nn.relu(x @ p["W1"] + p["b1"]) @ p["W2"] + p["b2"]

        def loss(p, x, t):
            return -jnp.take_along_axis(jax.nn.log_softmax(scores(p, x)), t[:, None], axis=1).mean()

        def step(now, data, index):
            value, gradient = jax.value_and_grad(loss)(now[0], data[0][index], data[1][index])
            return self.updated(now, gradient), value

        self.step = jax.jit(step, donate_argnums=0)
        self.scan = jax.jit(
            lambda now, data, order: jax.lax.scan(lambda now, index: step(now, data, index), now, order),
            donate_argnums=0,
        )
        self.accuracy = jax.jit(lambda p, x, t: jnp.mean(jnp.argmax(scores(p, x), axis=1) == t))

    def started(self, params):
        """The parameters, and what the update remembers."""
        return params, ()

    def updated(self, now, gradient):
        return self.jax.tree.map(lambda p, g: p - LR * g, now[0], gradient), ()

    def steps(self, order):
        losses = []
        for index in order.astype("int32"):
            self.now, loss = self.step(self.now, self.data, index)
            losses.append(loss)
        return np.asarray(self.jax.device_get(losses))

    def accuracies(self):
        return [float(self.accuracy(self.now[0], x, t)) for x, t in (self.data, self.test)]


class JaxScan(Jax):
    """JAX with `jax.grad`, all the updates in one `lax.scan`."""

    def steps(self, order):
        self.now, losses = self.scan(self.now, self.data, order.astype("int32"))
        return np.asarray(losses)


class Fitted(Contender):
    """A library that makes an epoch of the samples that it is given: `epoch` returns its mean loss."""

    def draw(self, count):
        return count

    def steps(self, count):
        x, t = self.data
        for start in range(0, count * self.batch, 60_000):
            some = slice(0, min(60_000, count * self.batch - start))
            loss = self.epoch(x[some], t[some], shuffle=True)
        return np.asarray([loss])

    def first_losses(self, order):
        return self.epoch(*(a[order.ravel()] for a in self.data), shuffle=False)

    def accuracies(self):
        return [float((self.classes(x) == t).mean()) for x, t in (self.data, self.test)]


class Sklearn(Fitted):
    """scikit-learn: `partial_fit`."""

    def build(self):
        from sklearn.neural_network import MLPClassifier

        self.data, self.test = self.floats()
        self.model = MLPClassifier(
            (self.params["b1"].shape[0],),
            solver="sgd",
            momentum=0,
            nesterovs_momentum=False,
            alpha=0,
            batch_size=self.batch,
            learning_rate_init=LR,
        )
        self.model.partial_fit(*(a[: self.batch] for a in self.data), classes=np.arange(10))
        self.model.coefs_ = [self.params["W1"].copy(), self.params["W2"].copy()]
        self.model.intercepts_ = [self.params["b1"].copy(), self.params["b2"].copy()]
        self.model._optimizer.params = self.model.coefs_ + self.model.intercepts_

    def epoch(self, x, t, shuffle):
        self.model.shuffle = shuffle
        return self.model.partial_fit(x, t).loss_

    def classes(self, x):
        return self.model.predict(x)


class KerasJax(Fitted):
    """Keras 3: `fit`."""

    backend = "jax"

    def build(self):
        os.environ["KERAS_BACKEND"] = self.backend
        import keras

        self.data, self.test = self.floats()
        hidden = keras.layers.Dense(self.params["b1"].shape[0], activation="relu")
        self.model = keras.Sequential([keras.Input((784,)), hidden, keras.layers.Dense(10)])
        self.model.set_weights([self.params[name] for name in ("W1", "b1", "W2", "b2")])
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        self.model.compile(optimizer=keras.optimizers.SGD(LR), loss=loss)

    def epoch(self, x, t, shuffle):
        return self.model.fit(x, t, batch_size=self.batch, shuffle=shuffle, verbose=0).history["loss"][0]

    def classes(self, x):
        return self.model.predict(x, batch_size=1000, verbose=0).argmax(axis=1)


class KerasTorch(KerasJax):
    backend, share = "torch", 0.1

    def build(self):
        threads("torch")
        super().build()


class Skorch(Fitted):
    """skorch: `partial_fit` of PyTorch's network."""

    share = 0.1

    def build(self):
        torch = threads("torch")
        from skorch import NeuralNetClassifier

        self.data, self.test = self.floats()
        self.model = NeuralNetClassifier(
            torch_network(torch, self.params),
            criterion=torch.nn.CrossEntropyLoss,
            lr=LR,
            batch_size=self.batch,
            max_epochs=1,
            train_split=None,
            iterator_valid__batch_size=1000,
            verbose=0,
        ).initialize()

    def epoch(self, x, t, shuffle):
        self.model.iterator_train__shuffle = shuffle
        return self.model.partial_fit(x, t).history[-1, "train_loss"]

    def classes(self, x):
        return self.model.forward(x).argmax(dim=1).numpy()


class Tinygrad(Contender):
    """tinygrad on the CPU, for which it needs clang: one update is captured by its `TinyJit`."""

    share = 0.1

    def build(self):
        os.environ["DEV"] = "CPU"
        from tinygrad import Tensor, nn

        self.Tensor, self.jits = Tensor, {}
        self.data, self.test = ([Tensor(a).realize() for a in (x, t.astype("int32"))] for x, t in self.floats())
        self.now = [Tensor(self.params[name]).realize() for name in ("W1", "b1", "W2", "b2")]
        self.optimizer = nn.optim.SGD(self.now, lr=LR)
        self.scores(self.data[0][:1]).realize()  # says what is wrong, where there is no clang

    def scores(self, x):
        W1, b1, W2, b2 = self.now
        return (x @ W1 + b1).relu() @ W2 + b2

    def step(self, order, row):
        from tinygrad import Context

        (x, t), index = self.data, order[row]
        with Context(TRAINING=1):
            self.optimizer.zero_grad()
            loss = self.scores(x[index]).sparse_categorical_crossentropy(t[index]).backward()
            return loss.realize(*self.optimizer.schedule_step())

    def steps(self, order):
        from tinygrad import TinyJit, Variable

        count = len(order)
        if count not in self.jits:  # what is captured is for arrays of one shape
            self.jits[count] = TinyJit(self.step)
        order, row = self.Tensor(order.astype("int32")).realize(), Variable("row", 0, count - 1)
        return np.asarray([self.jits[count](order, row.bind(i)).item() for i in range(count)])

    def accuracies(self):
        return [(self.scores(x).argmax(axis=1) == t).mean().item() for x, t in (self.data, self.test)]


class Mlx(Contender):
    """MLX on the CPU: one update is compiled."""

    share = 0.1

    def build(self):
        import mlx.core as mx
        from mlx import nn, optimizers

        mx.set_default_device(mx.cpu)
        self.mx = mx
        self.data, self.test = ((mx.array(x), mx.array(t.astype("int32"))) for x, t in self.floats())
        hidden = self.params["b1"].shape[0]
        self.model = nn.Sequential(nn.Linear(784, hidden), nn.ReLU(), nn.Linear(hidden, 10))
        W1, b1, W2, b2 = (mx.array(self.params[name].T) for name in ("W1", "b1", "W2", "b2"))
        self.model.update({"layers": [{"weight": W1, "bias": b1}, {}, {"weight": W2, "bias": b2}]})
        optimizer = optimizers.SGD(LR)
        self.now = [self.model.state, optimizer.state]
        gradient = nn.value_and_grad(
            self.model, lambda x, t: nn.losses.cross_entropy(self.model(x), t, reduction="mean")
        )

        def step(x, t):
            loss, gradients = gradient(x, t)
            optimizer.update(self.model, gradients)
            return loss

        self.step = mx.compile(step, inputs=self.now, outputs=self.now)

    def steps(self, order):
        (x, t), losses = self.data, []
        for index in self.mx.array(order.astype("int32")):
            losses.append(self.step(x[index], t[index]))
            self.mx.eval(losses[-1], self.now)
        return np.asarray(self.mx.stack(losses))

    def accuracies(self):
        return [(self.model(x).argmax(axis=1) == t).mean().item() for x, t in (self.data, self.test)]


class Dezero(Contender):
    """DeZero, the framework of the series' third volume."""

    def build(self):
        setattr(np, "int", int)  # noqa: B010 - DeZero 0.0.13 is older than the removal of this name
        import dezero
        from dezero import functions, models, optimizers

        self.dezero, self.functions = dezero, functions
        self.data, self.test = self.floats()
        self.model = models.MLP((self.params["b1"].shape[0], 10), activation=functions.relu)
        self.model(self.data[0][:1])  # makes the weights
        for number, layer in enumerate(self.model.layers, 1):
            layer.W.data, layer.b.data = self.params[f"W{number}"].copy(), self.params[f"b{number}"].copy()
        self.optimizer = optimizers.SGD(LR).setup(self.model)

    def steps(self, order):
        (x, t), losses = self.data, []
        for index in order:
            loss = self.functions.softmax_cross_entropy(self.model(x[index]), t[index])
            self.model.cleargrads()
            loss.backward()
            self.optimizer.update()
            losses.append(float(loss.data))
        return np.asarray(losses)

    def accuracies(self):
        with self.dezero.no_grad():
            return [float((self.model(x).data.argmax(axis=1) == t).mean()) for x, t in (self.data, self.test)]


class Book(Contender):
    """The book's algorithm: float64 weights, one-hot targets, and a second forward pass for the loss."""

    def build(self):
        eye = np.eye(10)
        self.data, self.test = ((x, eye[t]) for x, t in self.floats())
        self.now = {name: p.astype(np.float64) for name, p in self.params.items()}

    def scores(self, x):
        hidden = x @ self.now["W1"] + self.now["b1"]
        self.x, self.mask = x, hidden <= 0
        self.h = hidden.copy()
        self.h[self.mask] = 0
        return self.h @ self.now["W2"] + self.now["b2"]

    def loss(self, x, t):
        z = self.scores(x).T
        z = z - np.max(z, axis=0)
        self.y = (np.exp(z) / np.sum(np.exp(z), axis=0)).T
        return -np.sum(np.log(self.y[np.arange(len(x)), t.argmax(axis=1)] + 1e-7)) / len(x)

    def gradient(self, x, t):
        self.loss(x, t)
        d = (self.y - t) / len(x)
        gradient = {"W2": self.h.T @ d, "b2": np.sum(d, axis=0)}
        d = d @ self.now["W2"].T
        d[self.mask] = 0
        gradient |= {"W1": self.x.T @ d, "b1": np.sum(d, axis=0)}
        d @ self.now["W1"].T  # nobody needs it; the book's first layer makes it all the same
        return gradient

    def first_losses(self, order):
        (x, t), losses = self.data, []
        for index in order:
            losses.append(self.loss(x[index], t[index]))
            self.steps([index])
        return losses

    def steps(self, order):
        (x, t), losses = self.data, []
        for index in order:
            gradient = self.gradient(x[index], t[index])
            for name in self.now:
                self.now[name] -= LR * gradient[name]
            losses.append(self.loss(x[index], t[index]))
        return np.asarray(losses)

    def accuracies(self):
        return [float((self.scores(x).argmax(axis=1) == t.argmax(axis=1)).mean()) for x, t in (self.data, self.test)]


class PureTwin(Contender):
    """`twins.pure_step`."""

    def build(self):
        eye = np.eye(10, dtype=np.float32)
        self.data, self.test = ((x, eye[t]) for x, t in (self.raw, self.raw_test))
        self.now = [self.params[name] for name in ("W1", "b1", "W2", "b2")]

    def steps(self, order):
        from twins import pure_step

        losses = []
        for index in order:
            self.now, loss = pure_step(self.now, self.data, index, LR)
            losses.append(loss)
        return np.asarray(losses)


class InPlaceTwin(PureTwin):
    """`twins.InPlace`."""

    def build(self):
        from twins import InPlace

        super().build()
        self.twin = InPlace([p.copy() for p in self.now], self.data, self.batch, LR)

    def steps(self, order):
        return np.asarray([self.twin.step(index) for index in order])


class Floor(Contender):
    """No training: one gather of the batch and the two large products, in NumPy float32."""

    def build(self):
        (self.x, _), _ = self.floats()
        self.W = self.params["W1"]

    def first_losses(self, order):
        return None

    def steps(self, order):
        for index in order:
            x = self.x.take(index, axis=0)
            h = x @ self.W
            x.T @ h
        return np.zeros(len(order))


def threads(module):
    """PyTorch goes by its own setting, not always by the environment's."""
    import torch

    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    return torch


CONTENDERS = {
    "xpnet, NumPy": Xpnet,
    "xpnet, PyTorch": XpnetTorch,
    "xpnet, JAX": XpnetJax,
    "PyTorch": Torch,
    "PyTorch, torch.compile": TorchCompile,
    "JAX, jit per step": Jax,
    "JAX, lax.scan": JaxScan,
    "scikit-learn": Sklearn,
    "Keras, JAX": KerasJax,
    "Keras, PyTorch": KerasTorch,
    "skorch": Skorch,
    "tinygrad": Tinygrad,
    "MLX": Mlx,
    "DeZero": Dezero,
    "the book, float64": Book,
    "NumPy by hand, pure": PureTwin,
    "NumPy by hand, in place": InPlaceTwin,
    "floor": Floor,
}

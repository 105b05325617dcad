"""The same training step written by hand for NumPy alone, twice, as fast as we could make it; and for CuPy alone.

What xpnet's style costs is the distance from these. Both take the uint8 images and scale the batch, as xpnet
does; both keep what the update needs and drop every check, class and name.

`pure_step` is pure like xpnet's core: it writes into nothing it was given, each result is a new array, and the
gradients exist before the update is made from them. `InPlace` writes into buffers that it makes once, updates
the parameters where they are, and folds learning rate and batch size into the derivative.

The scores lie transposed, (10, N): NumPy reduces a contiguous (10, N) over its first axis several times faster
than (N, 10) over its last.
"""

import numpy as np


def loss_and_gradient(params, x, t):
    """Loss and gradients of the two-layer network; `t` is one-hot and transposed, (10, N)."""
    W1, b1, W2, b2 = params
    n = np.float32(len(x))
    h = np.maximum(x @ W1 + b1, 0)
    scores = W2.T @ h.T + b2[:, None]
    scores = scores - scores.max(axis=0)
    e = np.exp(scores)
    total = e.sum(axis=0)
    loss = (np.log(total).sum() - np.vdot(scores, t)) / n
    d = (e / total - t) / n
    dh = (d.T @ W2.T) * (h > 0)
    return loss, (x.T @ dh, dh.sum(axis=0), (d @ h).T, d.sum(axis=1))


def pure_step(params, data, index, lr=0.1):
    """One update: new parameters and the loss. `data` is uint8 images and one-hot targets."""
    images, targets = data
    x = np.divide(images.take(index, axis=0), 255, dtype=np.float32)
    loss, gradients = loss_and_gradient(params, x, targets.take(index, axis=0).T)
    return [p - lr * g for p, g in zip(params, gradients, strict=True)], loss


class InPlace:
    """The step in buffers made once, for one batch size; `params` are written into."""

    def __init__(self, params, data, batch, lr=0.1):
        self.params, (self.images, self.targets), self.lr = params, data, lr
        hidden, classes = params[2].shape

        def buffer(*shape, dtype=np.float32):
            return np.empty(shape, dtype=dtype)

        self.raw, self.x, self.t = (
            buffer(batch, 784, dtype=np.uint8),
            buffer(batch, 784),
            buffer(batch, classes),
        )
        self.h, self.dh, self.mask = (
            buffer(batch, hidden),
            buffer(batch, hidden),
            buffer(batch, hidden, dtype=bool),
        )
        self.scores, self.e, self.row = buffer(classes, batch), buffer(classes, batch), buffer(batch)
        self.dW1, self.db1, self.dW2, self.db2 = (np.empty_like(p) for p in params)

    def step(self, index):
        """One update; the loss."""
        W1, b1, W2, b2 = self.params
        raw, x, t, h, dh, scores, e, row = (
            self.raw,
            self.x,
            self.t,
            self.h,
            self.dh,
            self.scores,
            self.e,
            self.row,
        )
        n = len(x)
        # mode="clip" spares np.take a copy for the case of an index out of range
        np.take(self.images, index, axis=0, out=raw, mode="clip")
        np.divide(raw, 255, out=x, dtype=np.float32)
        np.take(self.targets, index, axis=0, out=t, mode="clip")
        np.matmul(x, W1, out=h)
        h += b1
        np.maximum(h, 0, out=h)
        np.matmul(W2.T, h.T, out=scores)
        scores += b2[:, None]
        np.maximum.reduce(scores, axis=0, out=row)
        scores -= row
        np.exp(scores, out=e)
        np.add.reduce(e, axis=0, out=row)
        e /= row
        loss = (np.add.reduce(np.log(row, out=row)) - np.vdot(scores, t.T)) / n
        e -= t.T
        e *= np.float32(self.lr / n)
        np.matmul(e.T, W2.T, out=dh)
        np.greater(h, 0, out=self.mask)
        dh *= self.mask
        W1 -= np.matmul(x.T, dh, out=self.dW1)
        b1 -= np.add.reduce(dh, axis=0, out=self.db1)
        W2 -= np.matmul(h.T, e.T, out=self.dW2)
        b2 -= np.add.reduce(e, axis=1, out=self.db2)
        return loss


class InPlaceCupy:
    """`InPlace` for CuPy, with everything on its device; the scores lie (N, 10), which is no slower there."""

    def __init__(self, params, data, batch, lr=0.1):
        import cupy

        self.xp, self.params, (self.images, self.targets), self.lr = cupy, params, data, lr
        hidden, classes = params[2].shape

        def buffer(*shape, dtype="float32"):
            return cupy.empty(shape, dtype=dtype)

        self.raw, self.x, self.t = buffer(batch, 784, dtype="uint8"), buffer(batch, 784), buffer(batch, classes)
        self.h, self.dh, self.mask = buffer(batch, hidden), buffer(batch, hidden), buffer(batch, hidden, dtype=bool)
        self.scores, self.e, self.row = buffer(batch, classes), buffer(batch, classes), buffer(batch, 1)
        self.dW1, self.db1, self.dW2, self.db2 = (cupy.empty_like(p) for p in params)

    def step(self, index):
        """One update; the loss, which stays on the device."""
        xp, (W1, b1, W2, b2) = self.xp, self.params
        raw, x, t, h, dh, scores, e, row = self.raw, self.x, self.t, self.h, self.dh, self.scores, self.e, self.row
        n = len(x)
        xp.take(self.images, index, axis=0, out=raw)
        xp.divide(raw, np.float32(255), out=x)
        xp.take(self.targets, index, axis=0, out=t)
        xp.matmul(x, W1, out=h)
        h += b1
        xp.maximum(h, 0, out=h)
        xp.matmul(h, W2, out=scores)
        scores += b2
        scores.max(axis=1, keepdims=True, out=row)
        scores -= row
        xp.exp(scores, out=e)
        e.sum(axis=1, keepdims=True, out=row)
        e /= row
        xp.log(row, out=row)
        scores *= t
        loss = (row.sum() - scores.sum()) / n
        e -= t
        e *= np.float32(self.lr / n)
        xp.matmul(e, W2.T, out=dh)
        xp.greater(h, 0, out=self.mask)
        dh *= self.mask
        W1 -= xp.matmul(x.T, dh, out=self.dW1)
        b1 -= dh.sum(axis=0, out=self.db1)
        W2 -= xp.matmul(h.T, e, out=self.dW2)
        b2 -= e.sum(axis=0, out=self.db2)
        return loss

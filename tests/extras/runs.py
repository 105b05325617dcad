"""Runs that are made by one process and by several, for test_distributed.py: ``runs.py FOLDER NAME ...`` makes some.

What comes of each, in this process, goes into ``FOLDER/NAME.RANK.npz``.
"""

import sys
from pathlib import Path

import numpy as np

import xpnet
from xpnet import SGD, Adam, CosineDecay, Momentum, Network, Sequential, nn
from xpnet.training.distributed import processes

RNG = np.random.default_rng(0)
X = RNG.normal(size=(403, 6))
T = np.argmax(X[:, :3] + RNG.normal(size=(403, 3)), axis=1)
LABELS = np.where(T == 2, 255, T)  # for a loss that ignores 255
CROSS_ENTROPY = nn.CrossEntropy()
TAIL = nn.Dense(8), nn.Relu(), nn.Dense(3)
WEIGHTS = np.asarray([1.0, 5.0, 2.0])

# Of each run: the layers, the loss, the targets, and the options of `fit`. 4 epochs of 403 samples, 16 at a time and
# 3 in the last mini-batch, are 104 updates.
RUNS = {
    "sgd": (TAIL, CROSS_ENTROPY, T, {"optimizer": SGD(0.2)}),
    "adam-dropout-parts": (
        (nn.Dense(8), nn.Relu(), nn.Dropout(0.3), nn.Dense(3)),
        CROSS_ENTROPY,
        T,
        {"optimizer": Adam(CosineDecay(0.01, steps=104), clip_norm=0.5, weight_decay=0.01), "accumulate": 2},
    ),
    "weighted-ignored": (
        TAIL,
        nn.CrossEntropy(class_weight=WEIGHTS, ignore_index=255),
        LABELS,
        {"optimizer": Momentum(0.05), "validation": 0.2, "epochs": 6},
    ),
    "fewer-than-processes": (TAIL, CROSS_ENTROPY, T, {"optimizer": SGD(0.05), "batch_size": 2, "epochs": 1}),
    "held-patience": (
        TAIL,
        CROSS_ENTROPY,
        T,
        {"optimizer": SGD(0.5), "validation": 0.2, "patience": 3, "epochs": 40, "sampling": "replacement"},
    ),
    "regression": (TAIL, "mse", X[:, 3:] ** 2, {"optimizer": SGD(0.02), "validation": 0.1, "epochs": 5}),
    "batch-norm": (
        (nn.Dense(8), nn.BatchNorm(), nn.Relu(), nn.Dense(3)),
        CROSS_ENTROPY,
        T,
        {"optimizer": SGD(0.1), "batch_size": 31, "epochs": 8},
    ),
    "batch-norm-once": (
        (nn.Dense(8), nn.BatchNorm(), nn.Relu(), nn.Dense(3)),
        CROSS_ENTROPY,
        T,
        {"optimizer": SGD(0.1), "batch_size": 403, "epochs": 1},
    ),
    "on-disk": (TAIL, CROSS_ENTROPY, T, {"optimizer": SGD(0.2), "validation": 0.2, "epochs": 6}),
    **{
        library: (TAIL, CROSS_ENTROPY, T, {"optimizer": Adam(0.01), "batch_size": size})
        for library, size in (("torch", 16), ("jax", 16), ("strict", 16), ("dask", 134), ("cupy", 16))
    },
}
SHARED = {"epochs": 4, "batch_size": 16, "seed": 3, "progress": False}


def backend_of(name):
    return xpnet.get_backend(name if name in xpnet.BACKENDS else "numpy")


def run(name, distributed=None):
    """A run, and what came of it: parameters, state, losses and what the history has."""
    layers, loss, t, options = RUNS[name]
    backend = backend_of(name)
    backend.enable_float64()
    xp = backend.namespace()
    x, t = xp.asarray(X), xp.asarray(t)
    net = Network(Sequential(*layers, loss=loss), (6,), like=x)
    train = xpnet.Shards([X[:150], X[150:]], [T[:150], T[150:]], buffer=100) if name == "on-disk" else (x, t)
    test = (x[:50, ...], t[:50, ...])
    result = xpnet.fit(net, (train, test), distributed=distributed, **SHARED | options)
    history = result.history
    arrays = {**result.network.params, **{f"state.{key}": a for key, a in result.network.state.items()}}
    return {key: xpnet.to_numpy(a) for key, a in arrays.items()} | {
        key: np.asarray(getattr(history, key), dtype=float)
        for key in ("loss", "train_accuracy", "test_accuracy", "validation_loss", "validation_accuracy", "best_epoch")
    }


if __name__ == "__main__":
    folder, *names = sys.argv[1:]
    peers = processes("mpi")
    for name in names:
        backend = backend_of(name)
        with backend.current(backend.device(number=peers.local_rank)):  # a GPU for each process
            np.savez(Path(folder) / f"{name}.{peers.rank}.npz", **run(name, "mpi"))

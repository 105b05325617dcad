"""Kernels, waits and copies of training on a CUDA device, for `test_launches.py` and `benchmarks/launches.py`.

The module `fakecuda` of the emulated CUDA machine counts them.
"""

from collections import Counter

import cupy as cp
import fakecuda
import numpy as np

from xpnet import SGD, Adam, CosineDecay, Network, Sequential, TwoLayerNet, fit, nn
from xpnet.backends import BACKENDS
from xpnet.training.distributed import Processes
from xpnet.training.step import Carry, updates

BATCH = 20
_WAITS = {"stream sync", "device sync", "event sync", "D2H(pageable)", "H2D(blocking)"}  # of the host
_rng = np.random.default_rng(0)
_rows = _rng.random((300, 784), dtype="float32")
_images = _rng.random((300, 1, 28, 28), dtype="float32")
_labels = _rng.integers(0, 10, 300)


def _two_layer():
    return TwoLayerNet(784, 50, 10, like=cp.empty(0, "float32"))


def _deep(*middle):
    return Network(Sequential(nn.Dense(50), *middle, nn.Relu(), nn.Dense(10)), (784,), like=cp.empty(0, "float32"))


def _convolutional(*layers):
    end = nn.Dense(100), nn.Relu(), nn.Dense(10)
    return Network(Sequential(*layers, *end), (1, 28, 28), like=cp.empty(0, "float32"))


NETWORKS = {
    "784-50-10, SGD": lambda: (_two_layer(), _rows, SGD(0.1)),
    "784-50-10, Adam": lambda: (_two_layer(), _rows, Adam()),
    "784-50-10, Adam with cosine decay": lambda: (_two_layer(), _rows, Adam(CosineDecay(0.001, 1000))),
    "784-50-10, SGD with weight decay and clipping": lambda: (
        _two_layer(),
        _rows,
        SGD(0.1, weight_decay=1e-4, clip_norm=1.0),
    ),
    "784-50-10, SGD, dropout": lambda: (_deep(nn.Dropout(0.5)), _rows, SGD(0.1)),
    "784-50-10, SGD, batch normalization": lambda: (_deep(nn.BatchNorm()), _rows, SGD(0.1)),
    "784-50-10, SGD, layer normalization": lambda: (_deep(nn.LayerNorm()), _rows, SGD(0.1)),
    "the book's convolutional network, SGD": lambda: (
        _convolutional(nn.Conv2d(30, 5), nn.Relu(), nn.MaxPool2d(2)),
        _images,
        SGD(0.1),
    ),
    "two convolutions with padding, SGD": lambda: (
        _convolutional(*2 * [nn.Conv2d(16, 3, padding=1), nn.Relu(), nn.MaxPool2d(2)]),
        _images,
        SGD(0.1),
    ),
}
"""Networks by name: a function that returns the network, its samples and an optimizer."""


def counted(log):
    """How many kernels, waits, copies to the device and copies to the host are in a log of `fakecuda`.

    A product of matrices is a kernel. Waits that follow one another, such as a copy to the host and the wait for
    its end, are one.
    """
    kinds = Counter(kind for kind, *_ in log)
    waiting = [kind in _WAITS for kind, *_ in log]
    return {
        "kernels": kinds["launch"] + kinds["blas"],
        "waits": sum(now and not before for before, now in zip([False, *waiting], waiting, strict=False)),
        "to the device": kinds["H2D"] + kinds["H2D(blocking)"],
        "to the host": kinds["D2H"] + kinds["D2H(pageable)"],
    }


def of_a_step(name, steps=10, warm_up=3):
    """What one training step does, the mean over some steps, once nothing is compiled any more."""
    network, samples, optimizer = NETWORKS[name]()
    stack = network.stack
    draw = (lambda size: stack.draw(_rng, (size, *network.input_shape))) if stack.mask_names else None
    run = updates(BACKENDS["cupy"], stack, optimizer, None, 1, Processes())
    carry = Carry(network.params, optimizer.init(network.params), network.state)
    index = _rng.integers(0, len(samples), (warm_up + steps, BATCH))
    made = run(carry, (cp.asarray(samples), cp.asarray(_labels)), index, draw)
    for _ in range(warm_up):
        next(made)
    with fakecuda.record() as log:
        for _ in range(steps):
            next(made)
    return {kind: count / steps for kind, count in counted(log).items()}


def of_a_fit(name, epochs=3, batch_size=BATCH, **options):
    """What `fit` does until its first callback, in its last epoch, and between the updates of that epoch."""
    network, samples, optimizer = NETWORKS[name]()
    x, t = cp.asarray(samples), cp.asarray(_labels)
    marks = []
    with fakecuda.record(depth=4) as log:
        fit(
            network,
            ((x, t), (x[:90, ...], t[:90])),
            optimizer,
            epochs=epochs,
            batch_size=batch_size,
            callbacks=[lambda network, history: marks.append(len(log))],
            progress=False,
            **options,
        )
    start, last = log[: marks[0]], log[marks[-2] : marks[-1]]
    of_updates = [i for i, (*_, where) in enumerate(last) if "optimizers.py" in where]
    return {
        "before training": counted(start),
        "between updates": counted(last[of_updates[0] : of_updates[-1]]),
        "an epoch": counted(last),
    }

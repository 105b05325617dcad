"""How far and how fast do deeper networks get on MNIST? Time to 0.99 with convolutions, and 5 and 20 layers.

The convolutional network is Conv(8, 5), ReLU, MaxPool(2), Conv(16, 5), ReLU, MaxPool(2), Dense(100), ReLU, Dense(10),
trained by Adam with a learning rate of 0.002, in mini-batches of 100, until 99% of the test set are right. PyTorch's
has the same layers and starts from the same weights. Both sets are evaluated after each epoch, as part of the time.

The others are affine layers of 100 units with ReLU, two epochs of SGD with a learning rate of 0.1, with batch
normalisation before each ReLU and without.
"""

import statistics
import time

import numpy as np
from harness import arguments, one_thread, report, table

import xpnet
from xpnet import Activation, Adam, Conv, Dense, MaxPool, MultiLayerNet, Relu, Sequential

TARGET, MOST, LR, BATCH = 0.99, 15, 0.002, 100
DIGITS = Sequential(
    Conv(8, 5),
    Activation(Relu),
    MaxPool(2),
    Conv(16, 5),
    Activation(Relu),
    MaxPool(2),
    Dense(100),
    Activation(Relu),
    Dense(10),
)


def ours(backend, seed):
    """Seconds and epochs until the target."""
    history = xpnet.train(
        network=DIGITS,
        optimizer=Adam(LR),
        backend=backend,
        epochs=MOST,
        batch_size=BATCH,
        seed=seed,
        callbacks=[lambda _, history: history.test_accuracy[-1] >= TARGET],
        progress=False,
    ).history
    return history.seconds[-1] - history.seconds[0], len(history.seconds) - 1, history.test_accuracy[-1]


def numpy(seed):
    return ours("numpy", seed)


def torch_arrays(seed):
    return ours("torch", seed)


def pytorch(seed):
    """The same in PyTorch, from the same weights."""
    import torch
    from torch import nn

    torch.set_num_threads(1)
    model = nn.Sequential(
        nn.Conv2d(1, 8, 5),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(8, 16, 5),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(256, 100),
        nn.ReLU(),
        nn.Linear(100, 10),
    )
    weights = DIGITS.init(np.random.default_rng(seed), (1, 28, 28)).values()
    with torch.no_grad():
        for own, given in zip(model.parameters(), weights, strict=True):
            own.copy_(torch.tensor(given if own.ndim != 2 else given.T))
    sets = [(torch.tensor(x).reshape(-1, 1, 28, 28), torch.tensor(t.astype("int64"))) for x, t in xpnet.load_mnist()]
    optimizer = torch.optim.Adam(model.parameters(), lr=LR)
    x, t = sets[0]

    def accuracies():
        with torch.no_grad():
            return [
                sum(int((model(x[i : i + 1000]).argmax(1) == t[i : i + 1000]).sum()) for i in range(0, len(x), 1000))
                / len(x)
                for x, t in sets
            ]

    torch.manual_seed(seed)
    start, epoch, test = time.perf_counter(), 0, 0.0
    while test < TARGET and epoch < MOST:
        epoch += 1
        for index in torch.randperm(len(x)).split(BATCH):
            loss = nn.functional.cross_entropy(model(x[index]), t[index])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        _, test = accuracies()
    return time.perf_counter() - start, epoch, test


CONTENDERS = {"xpnet, NumPy": numpy, "xpnet, PyTorch": torch_arrays, "PyTorch": pytorch}


def time_to_target(seeds):
    """The table of the convolutional network."""
    results = {name: [] for name in CONTENDERS}
    for seed in range(seeds):
        for name, train in CONTENDERS.items():
            results[name].append(train(seed))
            seconds, epochs, test = results[name][-1]
            print(f"  seed {seed}  {name:<15} {seconds:6.1f} s  {epochs} epochs  {test:.4f}")
    base = statistics.median(seconds for seconds, _, _ in results["xpnet, NumPy"])
    base_epoch = statistics.median(seconds / epochs for seconds, epochs, _ in results["xpnet, NumPy"])
    rows = []
    for name, runs in results.items():
        seconds = statistics.median(s for s, _, _ in runs)
        epoch = statistics.median(s / e for s, e, _ in runs)
        rows.append(
            [
                name,
                f"{seconds:.0f}",
                ", ".join(f"{e} ({a:.4f})" for _, e, a in runs),
                f"{epoch:.1f}",
                f"{base / seconds:.2f}",
                f"{base_epoch / epoch:.2f}",
            ]
        )
    head = ["", "seconds, median", "epochs (test accuracy)", "seconds an epoch", "NumPy : this", "an epoch"]
    return table(head, rows)


def depths():
    """The table of the deep networks."""
    rows = []
    (x, t), test = xpnet.load_mnist()
    for layers in (5, 20):
        for batch_norm in (True, False):
            net = MultiLayerNet(784, [100] * (layers - 1), 10, batch_norm=batch_norm)
            history = xpnet.fit(net, ((x, t), test), epochs=2, progress=False).history
            shares = [f"{share:.4f}" for share in history.test_accuracy]
            rows.append([f"{layers} layers", "yes" if batch_norm else "no", *shares])
    return table(["", "batch normalisation", "test accuracy before", "after 1 epoch", "after 2"], rows)


def main():
    seeds = arguments(__doc__).rounds or 3
    one_thread()
    report(
        "networks",
        "Deeper networks on MNIST",
        __doc__.partition("\n")[2].strip(),
        f"One thread, one after the other; seeds 0 to {seeds - 1}; at most {MOST} epochs.",
        f"## Time to a test accuracy of {TARGET}\n\n{time_to_target(seeds)}",
        f"## Depth, on NumPy, seed 0\n\n{depths()}",
    )


if __name__ == "__main__":
    main()

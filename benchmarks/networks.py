"""How far and how fast do deeper networks get on MNIST? 0.99 with convolutions, and 5 and 20 layers.

The convolutional network is Conv2d(8, 5), ReLU, MaxPool2d(2), Conv2d(16, 5), ReLU, MaxPool2d(2), Dense(100), ReLU,
Dense(10), trained for 5 epochs by Adam with a learning rate that falls from 0.003 to 0 as a cosine, in mini-batches
of 100. PyTorch's has the same layers and starts from the same weights. Both sets are evaluated after each epoch, as
part of the time.

The others are affine layers of 100 units with ReLU, two epochs of SGD with a learning rate of 0.1, with batch
normalization before each ReLU and without.
"""

import statistics
import time

import numpy as np
from harness import arguments, bars, one_thread, report, table

import xpnet
from xpnet import Adam, CosineDecay, MultiLayerNet, Sequential, nn

EPOCHS, LR, BATCH = 5, 0.003, 100
STEPS = EPOCHS * 60_000 // BATCH
DIGITS = Sequential(
    nn.Conv2d(8, 5),
    nn.Relu(),
    nn.MaxPool2d(2),
    nn.Conv2d(16, 5),
    nn.Relu(),
    nn.MaxPool2d(2),
    nn.Dense(100),
    nn.Relu(),
    nn.Dense(10),
)


def ours(backend, seed):
    """Seconds, and the test accuracy after each epoch."""
    optimizer = Adam(CosineDecay(LR, steps=STEPS))
    options = {"backend": backend, "epochs": EPOCHS, "batch_size": BATCH, "seed": seed, "progress": False}
    history = xpnet.train(network=DIGITS, optimizer=optimizer, **options).history
    return history.seconds[-1] - history.seconds[0], history.test_accuracy[1:]


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
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, STEPS)
    x, t = sets[0]

    def accuracies():
        with torch.no_grad():
            return [
                sum(int((model(x[i : i + 1000]).argmax(1) == t[i : i + 1000]).sum()) for i in range(0, len(x), 1000))
                / len(x)
                for x, t in sets
            ]

    torch.manual_seed(seed)
    start, reached = time.perf_counter(), []
    for _ in range(EPOCHS):
        for index in torch.randperm(len(x)).split(BATCH):
            loss = nn.functional.cross_entropy(model(x[index]), t[index])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
        reached.append(accuracies()[1])
    return time.perf_counter() - start, reached


CONTENDERS = {"xpnet, NumPy": numpy, "xpnet, PyTorch": torch_arrays, "PyTorch": pytorch}


def convolutional(seeds):
    """The tables of the convolutional network."""
    results = {name: [] for name in CONTENDERS}
    for seed in range(seeds):
        for name, train in CONTENDERS.items():
            results[name].append(train(seed))
            seconds, reached = results[name][-1]
            print(f"  seed {seed}  {name:<15} {seconds:6.1f} s  {reached}")
    times = {name: [seconds for seconds, _ in runs] for name, runs in results.items()}
    rows = []
    for name, runs in results.items():
        ratios = [ours / theirs for (ours, _), (theirs, _) in zip(results["xpnet, NumPy"], runs, strict=True)]
        rows.append(
            [
                name,
                ", ".join(f"{reached[-1]:.4f}" for _, reached in runs),
                f"{statistics.median(seconds for seconds, _ in runs):.0f}",
                f"{statistics.median(ratios):.2f}",
                f"{min(ratios):.2f} to {max(ratios):.2f}",
            ]
        )
    compared = table(["", "test accuracy", "seconds, median", "xpnet, NumPy : this", "least to most"], rows)
    return f"{bars(times, [('xpnet, NumPy', 'PyTorch', 1.2)])}\n\n{compared}"


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
    return table(["", "batch normalization", "test accuracy before", "after 1 epoch", "after 2"], rows)


def main():
    seeds = arguments(__doc__).rounds or 3
    one_thread()
    report(
        "networks",
        "Deeper networks on MNIST",
        __doc__.partition("\n")[2].strip(),
        f"One thread, one after the other; seeds 0 to {seeds - 1}.",
        f"## A convolutional network, {EPOCHS} epochs\n\n{convolutional(seeds)}",
        f"## Depth, on NumPy, seed 0\n\n{depths()}",
    )


if __name__ == "__main__":
    main()

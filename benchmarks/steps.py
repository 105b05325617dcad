"""How long do a training step and an epoch take? 784-50-10, mini-batches of 100, float32, on MNIST.

A step includes drawing its mini-batch and recording its loss. An epoch is 600 steps and the accuracy on both sets.
"""

import os

from contenders import CONTENDERS
from harness import arguments, bars, compare, in_turn, report, start

LIMITS = [
    ("xpnet, NumPy", "PyTorch", 0.55),
    ("xpnet, NumPy", "scikit-learn", 0.5),
    ("xpnet, NumPy", "the book, float64", 0.3),
    ("xpnet, NumPy", "JAX, jit per step", 1.05),
    ("xpnet, NumPy", "floor", 1.8),
    ("xpnet, PyTorch", "PyTorch", 0.7),
    ("xpnet, JAX", "JAX, lax.scan", 1.05),
    ("xpnet, NumPy", "NumPy by hand, pure", 1.05),
]


def main():
    rounds = arguments(__doc__).rounds or 15
    parts = []
    for threads in (1, os.cpu_count()):
        workers, absent = start(CONTENDERS, threads)
        counted = f"{threads} thread{'s' if threads > 1 else ''}, {rounds} rounds"
        print(f"{counted}; not run: {absent or 'none'}")
        times = {n: [t / 600 for t in ts] for n, ts in in_turn(workers, rounds, "steps", count=600).items()}
        parts += [f"## A step, {counted}", compare(times, "µs", 1e6)]
        if threads == 1:
            parts.insert(0, "## Bars, one thread\n\n" + bars(times, LIMITS))
        whole = {n: w for n, w in workers.items() if hasattr(CONTENDERS[n], "accuracies") or n.startswith("xpnet")}
        epochs = in_turn(whole, max(5, rounds // 3), "epoch")
        parts += [
            f"## An epoch, {threads} thread{'s' if threads > 1 else ''}, {max(5, rounds // 3)} rounds",
            compare({n: [seconds for seconds, _ in answers] for n, answers in epochs.items()}, "s"),
        ]
        for worker in workers.values():
            worker.close()
    if absent:
        parts.append("Not run here: " + "; ".join(f"{name} ({why})" for name, why in absent.items()) + ".")
    report("steps", "A training step and an epoch", __doc__.partition("\n")[2].strip(), *parts)


if __name__ == "__main__":
    main()

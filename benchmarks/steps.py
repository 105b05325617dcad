"""How long do a training step and an epoch take? 784-50-10, mini-batches of 100, float32, on MNIST.

A step includes drawing its mini-batch and recording its loss. An epoch is 600 steps and the accuracy on both sets.
"""

import statistics

from contenders import CONTENDERS
from harness import arguments, bars, close, compare, in_turn, not_run, report, start

FASTEST = "the fastest of xpnet"
LIMITS = [
    ("xpnet, NumPy", "NumPy by hand, pure", 1.0),
    ("xpnet, NumPy", "NumPy by hand, in place", 1.05),
    ("xpnet, NumPy", "floor", 1.32),
    ("xpnet, NumPy", "PyTorch", 0.45),
    ("xpnet, NumPy", "scikit-learn", 0.5),
    ("xpnet, NumPy", "the book, float64", 0.25),
    ("xpnet, NumPy", "JAX, jit per step", 1.05),
    ("xpnet, NumPy", "JAX, lax.scan", 1.15),
    (FASTEST, "JAX, lax.scan", 0.95),
    ("xpnet, PyTorch", "PyTorch", 0.7),
    ("xpnet, JAX", "JAX, lax.scan", 1.05),
]
LIMITS_OF_EPOCH = [("xpnet, NumPy", "JAX, lax.scan", 1.0)]


def with_fastest(times):
    """The times, and once more those of the fastest of xpnet's backends."""
    ours = [measured for name, measured in times.items() if name.startswith("xpnet")]
    return times | {FASTEST: min(ours, key=statistics.median)}


def main():
    options = arguments(__doc__)
    rounds = options.rounds or 15
    epochs, parts = max(5, rounds // 3), []
    for threads in options.threads:
        workers, absent = start(CONTENDERS, threads)
        counted = f"{threads} thread{'s' if threads > 1 else ''}"
        print(f"{counted}, {rounds} rounds; not run: {absent or 'none'}")
        times = {n: [t / 600 for t in ts] for n, ts in in_turn(workers, rounds, "steps", count=600).items()}
        whole = {name: worker for name, worker in workers.items() if hasattr(CONTENDERS[name], "accuracies")}
        evaluation, answers = (in_turn(whole, epochs, command) for command in ("evaluation", "epoch"))
        close(workers)
        of_epoch = {name: [seconds for seconds, _ in found] for name, found in answers.items()}
        if threads == 1:
            parts += ["## Bars, one thread", "A step:", bars(with_fastest(times), LIMITS)]
            parts += ["An epoch:", bars(of_epoch, LIMITS_OF_EPOCH)]
        parts += [f"## A step, {counted}, {rounds} rounds", compare(times, "µs", 1e6)]
        parts += [f"## An epoch, {counted}, {epochs} rounds", compare(of_epoch, "s")]
        parts += [f"## The accuracy on both sets, {counted}, {epochs} rounds", compare(evaluation, "s")]
    report("steps", "A training step and an epoch", __doc__.partition("\n")[2].strip(), *parts, *not_run(absent))


if __name__ == "__main__":
    main()

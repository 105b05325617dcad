"""What does the array-API style cost? xpnet on NumPy against the same step written by hand for NumPy alone.

The hand-written steps are in twins.py: one is pure as xpnet's core is, the other writes in place wherever it can.
"""

from harness import arguments, bars, close, compare, in_turn, report, start

NAMES = ["xpnet, NumPy", "NumPy by hand, pure", "NumPy by hand, in place", "floor"]
LIMITS = [("xpnet, NumPy", name, most) for name, most in zip(NAMES[1:], (1.0, 1.05, 1.32), strict=True)]


def main():
    rounds = arguments(__doc__).rounds or 25
    parts = [__doc__.partition("\n")[2].strip()]
    for hidden, batch, count in ((50, 100, 600), (500, 100, 200), (50, 1000, 60)):
        workers, _ = start(NAMES, 1, hidden=hidden, batch=batch)
        answers = in_turn(workers, rounds, "steps", count=count)
        close(workers)
        parts += [
            f"## 784-{hidden}-10, mini-batches of {batch}, one thread, {rounds} rounds",
            *([bars(answers, LIMITS)] if (hidden, batch) == (50, 100) else []),
            compare({name: [t / count for t in times] for name, times in answers.items()}, "µs", 1e6),
        ]
    report("style", "What the array-API style costs", *parts)


if __name__ == "__main__":
    main()

"""What does the array-API style cost? xpnet on NumPy against the same step written by hand for NumPy alone.

The hand-written steps are in twins.py: one is pure as xpnet's core is, the other writes in place wherever it can.
"""

from harness import arguments, compare, in_turn, report, start

NAMES = ["xpnet, NumPy", "NumPy by hand, pure", "NumPy by hand, in place", "floor"]


def main():
    rounds = arguments(__doc__).rounds or 25
    parts = [__doc__.partition("\n")[2].strip()]
    for hidden, batch, count in ((50, 100, 600), (500, 100, 200), (50, 1000, 60)):
        workers, _ = start(NAMES, 1, hidden=hidden, batch=batch)
        answers = in_turn(workers, rounds, "steps", count=count)
        for worker in workers.values():
            worker.close()
        parts += [
            f"## 784-{hidden}-10, mini-batches of {batch}, one thread, {rounds} rounds",
            compare({name: [t / count for t in times] for name, times in answers.items()}, "µs", 1e6),
        ]
    report("style", "What the array-API style costs", *parts)


if __name__ == "__main__":
    main()

"""How long until 97% of the test set are right? 784-50-10, mini-batches of 100, learning rate 0.1, for some seeds.

Everyone starts from the same weights and evaluates both sets after each epoch. Compiling, where a library does it, is
part of the time: it starts with the first update.
"""

import statistics

from contenders import CONTENDERS
from harness import arguments, close, in_turn, not_run, report, start, table

TARGET, MOST = 0.97, 40


def main():
    seeds = arguments(__doc__).rounds or 3
    names = [name for name in CONTENDERS if name not in ("NumPy by hand, pure", "NumPy by hand, in place", "floor")]
    results = {}
    for seed in range(seeds):
        workers, absent = start(names, 1, seed=seed)
        for name, answers in in_turn(workers, 1, "train", warm_up=False, target=TARGET, most=MOST).items():
            results.setdefault(name, []).append(answers[0])
        close(workers)
    base = statistics.median(seconds for seconds, _ in results["xpnet, NumPy"])
    rows = []
    for name, runs in results.items():
        if any(seconds is None for seconds, _ in runs):
            rows.append([name, "", ", ".join(str(e or "never") for _, e in runs), ""])
            continue
        seconds = [s for s, _ in runs]
        rows.append(
            [
                name,
                f"{statistics.median(seconds):.1f} ({min(seconds):.1f} to {max(seconds):.1f})",
                ", ".join(str(epochs) for _, epochs in runs),
                f"{base / statistics.median(seconds):.2f}",
            ]
        )
    head = ["", "seconds, median (least to most)", f"epochs, seeds 0 to {seeds - 1}", "xpnet, NumPy : this"]
    report(
        "time_to_accuracy",
        f"Time to a test accuracy of {TARGET}",
        __doc__.partition("\n")[2].strip() + f" One thread; at most {MOST} epochs.",
        table(head, rows),
        *not_run(absent),
    )


if __name__ == "__main__":
    main()

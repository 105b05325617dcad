"""How do the times grow with the network and the mini-batch? A step at hidden 50 to 4096 and batches of 32 to 8192.

The ratio to the floor, which makes only one gather and the two large matrix products, says how much of the time is
anything else.
"""

import statistics
import sys

import matplotlib.pyplot as plt
from harness import HERE, arguments, bars, close, in_turn, ratio, report, start, table

NAMES = ["xpnet, NumPy", "PyTorch", "JAX, lax.scan", "floor"]
HIDDEN = [50, 128, 512, 1024, 4096]
BATCH = [32, 100, 1024, 8192]


def main():
    rounds = arguments(__doc__).rounds or 5
    times = {}
    for batch in BATCH:
        for hidden in HIDDEN:
            print(f"hidden {hidden}, batch {batch}", file=sys.stderr)
            workers, _ = start(NAMES, 1, hidden=hidden, batch=batch)
            # about 2e9 multiplications or 100 steps a turn, whichever is less, and no less than 2 steps
            count = max(2, min(100, int(4e10 / (4 * 784 * hidden * batch))))
            answers = in_turn(workers, rounds, "steps", count=count)
            times[batch, hidden] = {name: [t / count for t in ts] for name, ts in answers.items()}
            close(workers)

    parts = ["## Bars: the floor, at hidden and batch of 1024 and above"]
    for (batch, hidden), at in times.items():
        if min(batch, hidden) >= 1024:
            parts += [f"hidden {hidden}, batch {batch}:", bars(at, [("xpnet, NumPy", "floor", 1.08)])]
    for name in NAMES[:-1]:
        rows = [
            [f"batch {batch}", *("{:.2f} ({:.2f} to {:.2f})".format(*ratio(at[name], at["floor"])) for at in row)]
            for batch in BATCH
            for row in [[times[batch, hidden] for hidden in HIDDEN]]
        ]
        parts += [f"## {name} : floor", table(["", *(f"hidden {h}" for h in HIDDEN)], rows)]
    rows = [[f"batch {b}", *(f"{1e3 * statistics.median(times[b, h]['floor']):.3g}" for h in HIDDEN)] for b in BATCH]
    parts += ["## The floor itself, ms a step", table(["", *(f"hidden {h}" for h in HIDDEN)], rows)]

    figure, axes = plt.subplots(1, len(BATCH), figsize=(12, 3.6), sharey=True, layout="constrained")
    for batch, ax in zip(BATCH, axes, strict=True):
        for name in NAMES[:-1]:
            ratios = [ratio(times[batch, h][name], times[batch, h]["floor"]) for h in HIDDEN]
            (line,) = ax.plot(HIDDEN, [r for r, _, _ in ratios], marker="o", label=name)
            ax.fill_between(HIDDEN, [r[1] for r in ratios], [r[2] for r in ratios], color=line.get_color(), alpha=0.2)
        ax.axhline(1, color="black", linewidth=1)
        ax.set(
            xscale="log", xticks=HIDDEN, xticklabels=HIDDEN, xlabel="hidden units", title=f"mini-batches of {batch}"
        )
        ax.minorticks_off()
    axes[0].set(ylabel="time of a step : floor", ylim=(0, None))
    axes[0].legend()
    (HERE / "results").mkdir(exist_ok=True)
    figure.savefig(HERE / "results" / "growth.png", dpi=110)
    head = f"Median of {rounds} rounds, one thread; in brackets the quartiles."
    report("growth", "Growth", __doc__.partition("\n")[2].strip(), head, "![Growth](growth.png)", *parts)


if __name__ == "__main__":
    main()

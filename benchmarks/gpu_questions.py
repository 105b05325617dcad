"""The benchmarks' questions on a GPU: `python gpu_questions.py steps`, or `time`, `growth`, `convolution`.

It prints tables in Markdown, each as soon as it is measured. A contender that fails, or computes something wrong, is
left out from there on and named with the reason; the status is then 1. `gpu_day.py` keeps what is printed.
"""

import argparse
import os
import statistics
import sys
import time

import gpu_contenders
import gpu_convolution
from convolution import BOOK, SHAPES
from gpu_machine import LIBRARIES
from harness import REST, Worker, bars, compare, ratio, table

TARGET, MOST = 0.97, 20


class Field:
    """Contenders, each in a process of its own."""

    def __init__(self, contenders, libraries, without=()):
        chosen = [
            name
            for name, contender in contenders.CONTENDERS.items()
            if contender.backend in libraries and name not in without
        ]
        self.workers = {name: Worker(name, os.cpu_count(), contenders.__name__) for name in chosen}
        self.failed = False

    def prepare(self, **options):
        """Build the contenders, all at once, and let each show that it computes what it should."""
        for command, given in (("build", options), ("check", {})):
            for worker in self.workers.values():
                worker.send(command, **given)
            for name, worker in list(self.workers.items()):
                self.ask(name, worker.answer)

    def ask(self, name, question, **options):
        """What a contender answers; None where it fails, and it is left out from there on."""
        try:
            return question(**options)
        except RuntimeError as error:
            say(f"FAILED: {error}")
            self.failed = True
            self.workers.pop(name).close()

    def turns(self, rounds, command, warm_up=True, **options):
        """The answers to a command, A B C A B C ..., of those that answer to the end; see `harness.in_turn`."""
        answers = {name: [] for name in self.workers}
        for turn in range(not warm_up, rounds + 1):
            for name, worker in list(self.workers.items()):
                answer = self.ask(name, worker.ask, command=command, **options)
                if turn:
                    answers[name].append(answer)
                time.sleep(REST)
        if not self.workers:
            sys.exit("no contender is left")
        return {name: answers[name] for name in self.workers}

    def seconds(self, rounds, count):
        """Seconds of a step, of `rounds` turns of `count` steps."""
        return {name: [t / count for t in ts] for name, ts in self.turns(rounds, "steps", count=count).items()}

    def close(self):
        for worker in self.workers.values():
            worker.close()


def say(*parts):
    print(*parts, sep="\n\n", end="\n\n", flush=True)


def compared(times, unit, scale=1.0):
    """The table of `harness.compare`, against the first one that was measured."""
    return compare(times, unit, scale, against=next(iter(times)))


def steps(libraries, quick):
    """784-50-10, float32, mini-batches of 100. A step includes drawing its mini-batch and recording its loss."""
    count, rounds, epochs = (10, 2, 2) if quick else (600, 11, 5)
    field = Field(gpu_contenders, libraries)
    field.prepare(hidden=50, batch=100)
    times = field.seconds(rounds, count)
    say(f"A step, {rounds} rounds of {count}:", compared(times, "µs", 1e6))
    say(bars(times, [("xpnet, CuPy", "PyTorch CUDA", 0.8)]))
    if floor := field.workers.pop("floor, CuPy", None):
        floor.close()
    answers = field.turns(epochs, "epoch")
    seconds = {name: [s for s, _ in found] for name, found in answers.items()}
    say(f"An epoch, 600 steps and the accuracy on both sets, {epochs} rounds:", compared(seconds, "s"))
    return field


def time_to(libraries, quick):
    """784-50-10, mini-batches of 100, learning rate 0.1; both sets are evaluated after each epoch."""
    target, most, seeds = (0.9, 2, 1) if quick else (TARGET, MOST, 3)
    field = Field(gpu_contenders, libraries, without=["floor, CuPy", "JAX GPU, jit per step"])
    runs = {}
    for seed in range(seeds):
        field.prepare(hidden=50, batch=100, seed=seed)
        for name, (answer,) in field.turns(1, "train", warm_up=False, target=target, most=most).items():
            runs.setdefault(name, []).append(answer)
        rows = []
        for name in field.workers:
            seconds, epochs = zip(*runs[name], strict=True)
            reached = None not in seconds
            between = (
                f"{statistics.median(seconds):.2f} ({min(seconds):.2f} to {max(seconds):.2f})" if reached else ""
            )
            rows.append([name, between, ", ".join(str(e or "never") for e in epochs)])
        head = ["", "seconds, median (least to most)", f"epochs, seeds 0 to {seed}"]
        say(f"Until a test accuracy of {target}, at most {most} epochs; with compiling:", table(head, rows))
    return field


def growth(libraries, quick):
    """The floor makes one gather and the two large products."""
    sizes, batches = ([50, 128], [32, 100]) if quick else ([50, 512, 4096], [100, 1024, 8192])
    count, rounds = (3, 2) if quick else (100, 5)
    field = Field(gpu_contenders, libraries, without=["JAX GPU, jit per step"])
    for batch in batches:
        columns = {}
        for hidden in sizes:
            field.prepare(hidden=hidden, batch=batch)
            columns[hidden] = field.seconds(rounds, count)
        rows = []
        for name in field.workers:
            row = [name]
            for times in columns.values():
                row.append(f"{1e3 * statistics.median(times[name]):.3g}")
                base = times.get("floor, CuPy")
                row.append("{:.2f} ({:.2f} to {:.2f})".format(*ratio(times[name], base)) if base else "")
            rows.append(row)
        head = [f"batch {batch}", *(cell for h in sizes for cell in (f"hidden {h}, ms", ": floor"))]
        say(f"A step with mini-batches of {batch}, {rounds} rounds of {count}:", table(head, rows))
    return field


def convolution(libraries, quick):
    """The book's convolutional network, a step; and layers, forward and backward; mini-batches of 100."""
    count, rounds, titles = (1, 2, [BOOK, next(iter(SHAPES))]) if quick else (20, 11, [BOOK, *SHAPES])
    field = Field(gpu_convolution, libraries)
    for title in titles:
        field.prepare(title=title)
        times = field.seconds(rounds, count)
        say(f"{title[0].upper()}{title[1:]}, {rounds} rounds of {count}:", compared(times, "ms", 1e3))
        if graph := field.workers.pop("PyTorch CUDA graph", None):  # of a step alone
            graph.close()
    return field


QUESTIONS = {"steps": steps, "time": time_to, "growth": growth, "convolution": convolution}


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("question", choices=QUESTIONS)
    parser.add_argument(
        "--libraries", nargs="+", choices=LIBRARIES, default=LIBRARIES, help="whose contenders to run"
    )
    parser.add_argument("--quick", action="store_true", help="few rounds of few steps: shows that it runs, no more")
    options = parser.parse_args()
    question = QUESTIONS[options.question]
    say(question.__doc__)
    for library in sorted({*LIBRARIES} - {*options.libraries}):
        say(f"NOT RUN: the contenders of {library}")
    field = question(options.libraries, options.quick)
    field.close()
    return int(field.failed)


if __name__ == "__main__":
    sys.exit(main())

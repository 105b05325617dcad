"""Contenders in turn, each in a process of its own with the same threads; medians, spread and ratios.

`python harness.py NAME` is such a process: it reads a command a line on its standard input and answers in JSON. The
contender is that of this name in CONTENDERS of a module, `contenders` where no other is named.
"""

import argparse
import contextlib
import datetime
import importlib
import importlib.metadata
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).parent
REST = 0.1  # seconds between two turns, in which the threads of the one before go to sleep


def environment(threads):
    """The variables of a process that computes with so many threads."""
    kinds = ("OMP", "OPENBLAS", "MKL", "VECLIB_MAXIMUM")
    return {**os.environ, **{f"{kind}_NUM_THREADS": str(threads) for kind in kinds}}


def one_thread(pinned=True):
    """Go on with one thread, on one core; starts this program again where its libraries were told otherwise.

    Not pinned, it may have threads of its own on the other cores.
    """
    if os.environ.get("OMP_NUM_THREADS") != "1":
        os.execve(sys.executable, [sys.executable, *sys.argv], environment(1))
    if pinned and hasattr(os, "sched_setaffinity"):  # no setting keeps JAX to one thread, but this does
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})


class Worker:
    """The process of a contender."""

    def __init__(self, name, threads, module="contenders"):
        self.name, self.threads = name, threads
        self.process = subprocess.Popen(
            [sys.executable, __file__, name, "--threads", str(threads), "--module", module],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment(threads),
            cwd=HERE,
            text=True,
        )

    def ask(self, command, **options):
        """What the contender answers; RuntimeError where it could not."""
        self.send(command, **options)
        return self.answer()

    def send(self, command, **options):
        with contextlib.suppress(BrokenPipeError):  # of a process that has ended; `answer` says how
            self.process.stdin.write(json.dumps({"command": command, **options}) + "\n")
            self.process.stdin.flush()

    def answer(self):
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self.name} ended with status {self.process.wait()}")
        answer = json.loads(line)
        if "error" in answer:
            raise RuntimeError(f"{self.name}: {answer['error']}")
        return answer["value"]

    def close(self):
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()
        self.process.wait()


def close(workers):
    """End the processes."""
    for worker in workers.values():
        worker.close()


def start(names, threads, *, hidden=50, batch=100, seed=0, module="contenders"):
    """The workers of these contenders, ready, and why others cannot run. Each must compute what xpnet computes."""
    workers, absent = {}, {}
    for name in names:
        worker = Worker(name, threads, module)
        try:
            worker.ask("build", hidden=hidden, batch=batch, seed=seed)
        except RuntimeError as error:
            absent[name] = str(error).partition(": ")[2] or str(error)
            worker.close()
        else:
            workers[name] = worker
    for worker in workers.values():
        worker.ask("check")
        worker.ask("build", hidden=hidden, batch=batch, seed=seed)
    return workers, absent


class Timed:
    """A contender in this process, as `in_turn` asks for it."""

    def __init__(self, once):
        self.once = once

    def ask(self, command, count):
        start = time.perf_counter()
        for _ in range(count):
            self.once()
        return (time.perf_counter() - start) / count


def in_turn(workers, rounds, command, warm_up=True, **options):
    """The answers of each worker to the command, A B C A B C ...; to warm up, a turn before that is not counted."""
    answers = {name: [] for name in workers}
    for turn in range(not warm_up, rounds + 1):
        for name, worker in workers.items():
            answer = worker.ask(command, **options)
            if turn:
                answers[name].append(answer)
            time.sleep(REST)
        print(f"\r  {command}: round {turn} of {rounds}", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    return answers


def quartiles(values):
    low, _, high = statistics.quantiles(values, n=4) if len(values) > 1 else values * 3
    return low, high


def ratio(ours, theirs):
    """The ratio of the medians, and the quartiles of the ratios of each round."""
    low, high = quartiles([a / b for a, b in zip(ours, theirs, strict=True)])
    return statistics.median(ours) / statistics.median(theirs), low, high


def table(head, rows):
    """A Markdown table with aligned columns."""
    cells = [head, *([str(cell) for cell in row] for row in rows)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(head))]

    def line(row):
        first, *rest = (
            cell.rjust(w) if i else cell.ljust(w) for i, (cell, w) in enumerate(zip(row, widths, strict=True))
        )
        return "| " + " | ".join([first, *rest]) + " |"

    rule = "|" + "|".join("-" * (w + 1) + (":" if i else "-") for i, w in enumerate(widths)) + "|"
    return "\n".join([line(cells[0]), rule, *(line(row) for row in cells[1:])])


def compare(measured, unit, scale=1.0, against="xpnet, NumPy"):
    """A table of medians, quartiles, extremes, and what `against` takes as a ratio to each."""
    rows = []
    for name, times in measured.items():
        low, high = quartiles(times)
        r, r_low, r_high = ratio(measured[against], times)
        rows.append(
            [
                name,
                f"{scale * statistics.median(times):.4g}",
                f"{scale * low:.4g} to {scale * high:.4g}",
                f"{scale * min(times):.4g}",
                f"{r:.2f}",
                f"{r_low:.2f} to {r_high:.2f}",
            ]
        )
    return table(["", f"median, {unit}", "quartiles", "least", f"{against} : this", "quartiles of the ratio"], rows)


def bars(measured, limits):
    """A table of the bars: which ratio, at most what, and what was measured. `limits` is (ours, theirs, at most)."""
    rows = []
    for ours, theirs, most in limits:
        if ours not in measured or theirs not in measured:
            rows.append([f"{ours} : {theirs}", most, "not run", "", ""])
            continue
        r, low, high = ratio(measured[ours], measured[theirs])
        rows.append(
            [f"{ours} : {theirs}", most, f"{r:.2f}", f"{low:.2f} to {high:.2f}", "yes" if r <= most else "NO"]
        )
    return table(["", "at most", "measured", "quartiles", "met"], rows)


def not_run(absent):
    """The part of a report that names the contenders that cannot run, with the reasons; nothing where all can."""
    named = "; ".join(f"{name} ({why})" for name, why in absent.items())
    return [f"Not run here: {named}."] if named else []


def machine():
    """What this is measured on: date, processor, system, Python and versions."""
    processor = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        models = [
            line.partition(":")[2].strip() for line in info.read_text().splitlines() if line.startswith("model name")
        ]
        processor = models[0] if models else processor
    versions = []
    for name in (
        "xpnet",
        "numpy",
        "array-api-compat",
        "torch",
        "jax",
        "scikit-learn",
        "keras",
        "skorch",
        "tinygrad",
        "mlx",
        "optax",
        "dezero",
        "cupy-cuda12x",
        "cupy-cuda13x",
    ):
        try:
            versions.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            continue
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=HERE, capture_output=True, text=True
    ).stdout.strip()
    return (
        f"{datetime.date.today()}, {processor}, {os.cpu_count()} cores, {platform.system()} {platform.machine()}, "
        f"Python {platform.python_version()}; {', '.join(versions)}{f'; commit {commit}' if commit else ''}"
    )


def report(name, title, *parts):
    """Print the parts, and write them with the machine to results/NAME.md."""
    text = "\n\n".join([f"# {title}", machine() + ".", *parts]) + "\n"
    results = HERE / "results"
    results.mkdir(exist_ok=True)
    (results / f"{name}.md").write_text(text, encoding="utf-8")
    print(f"\n{text}\nwritten to benchmarks/results/{name}.md")


def arguments(description):
    """The command line of a question: how many rounds, and with how many threads where it is asked with several."""
    parser = argparse.ArgumentParser(description=description.partition("\n")[0])
    parser.add_argument("--rounds", type=int, help="turns of each contender that are counted")
    threads = sorted({1, os.cpu_count() or 1})
    parser.add_argument("--threads", type=int, nargs="+", default=threads, help="of `steps`: of each contender")
    return parser.parse_args()


# The other side: the process of one contender.


def answer(contender, request):
    match request.pop("command"):
        case "steps":
            return contender.time_steps(**request)
        case "evaluation":
            return contender.time_evaluation()
        case "epoch":
            return contender.time_epoch()
        case "train":
            return contender.time_to(**request)
        case "check":
            return contender.check()


def serve(name, threads, module):
    if threads == 1:
        one_thread()
    contenders = importlib.import_module(module).CONTENDERS
    contender = None
    replies = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print is no reply
    for line in sys.stdin:
        request = json.loads(line)
        try:
            if request["command"] == "build":
                request.pop("command")
                contender = None
                contender, value = contenders[name](**request), None
            else:
                value = answer(contender, request)
            reply = {"value": value}
        except Exception as error:
            reply = {"error": f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"}
        replies.write(json.dumps(reply) + "\n")
        replies.flush()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("name")
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--module", default="contenders")
    serve(**vars(parser.parse_args()))

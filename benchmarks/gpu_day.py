"""All that is to be shown on a GPU, in parts of at most 8 minutes: `python gpu_day.py tests training`.

It needs an NVIDIA GPU and no network: CuPy, PyTorch, JAX, NumPy and pytest are to be installed, what else is missing
comes from a folder of wheels (--wheels). xpnet is used from this checkout and need not be installed. A part can be
run alone, and again. PART.md is written after each step, with GPU, driver, versions and date; log.txt has all output.
The status is 0 if every step passed.
"""

import argparse
import contextlib
import datetime
import math
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from gpu_machine import LIBRARIES, asked
from gpu_plan import PARTS, parts
from harness import table

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
COMMITTED = HERE / "results"
LIMIT = 480  # seconds of a part

# Everybody computes float32 in float32: PyTorch's convolutions and JAX's products could else be in TF32, of 10 bits.
PRECISION = {"NVIDIA_TF32_OVERRIDE": "0", "JAX_DEFAULT_MATMUL_PRECISION": "highest"}
ENVIRONMENT = {
    **PRECISION,
    "XLA_PYTHON_CLIENT_PREALLOCATE": "false",  # several processes share the GPU
    "SCIPY_ARRAY_API": "1",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "PYTHONUNBUFFERED": "1",
}


class Machine:
    """What the steps run on, asked once."""

    def __init__(self, environment, commit):
        self.environment, self.commit = environment, commit
        self.facts = asked([], environment)
        self.libraries = {name: asked([name], environment) for name in LIBRARIES}
        self.usable = [name for name, found in self.libraries.items() if "problem" not in found]
        devices = {self.libraries[name]["device"] for name in self.usable}
        self.emulated = any("emulated" in device.lower() for device in devices)
        self.device = "emulated CUDA, not a GPU" if self.emulated else ", ".join(sorted(devices)) or "no GPU"

    def why_not(self, step):
        """Why a step cannot run here, or an empty string."""
        if not {*step.libraries} & {*self.usable}:
            return f"no GPU for {', '.join(step.libraries)}"
        missing = [name for name in step.modules if name not in self.facts["modules"]]
        return f"not installed: {', '.join(missing)}" if missing else ""

    def __str__(self):
        driver = f"driver: {self.facts['driver'] or 'nvidia-smi is not here'}"
        rows = [
            [name, ", ".join(f"{key}: {value}" for key, value in found.items()).replace("\n", " ")]
            for name, found in self.libraries.items()
        ]
        versions = ", ".join(f"{name} {version}" for name, version in self.facts["versions"].items())
        return "\n\n".join(
            [
                f"**{self.device}**; {driver}; {self.facts['system']}; commit {self.commit or 'not told'}.",
                table(["", "sees"], rows),
                f"{versions}. TF32 is off: {', '.join(f'{key}={value}' for key, value in PRECISION.items())}.",
            ]
        )


class Record:
    """PART.md, written anew before and after each step."""

    def __init__(self, path, title, machine):
        self.path, self.title, self.machine = path, title, machine
        self.rows, self.texts = [], []
        self.started = datetime.datetime.now(datetime.UTC)

    def write(self, *rows):
        head = f"# The GPU day: {self.title}\n\n{self.started:%Y-%m-%d %H:%M} UTC, {self.machine}"
        rows = table(["step", "outcome", "seconds", "last line"], [*self.rows, *rows])
        temporary = self.path.with_suffix(".tmp")
        temporary.write_text("\n\n".join([head, rows, *self.texts]) + "\n", encoding="utf-8")
        temporary.replace(self.path)

    def begin(self, step):
        self.write([step.name, "NOT FINISHED: it was running when this was written", "", ""])

    def end(self, step, outcome, seconds=None, output=""):
        lines = output.strip().splitlines()
        last = lines[-1][:150] if lines and not step.shown else ""
        self.rows.append([step.name, outcome, "" if seconds is None else f"{seconds:.0f}", last])
        if step.shown and lines:
            text = output.strip() if step.shown == "markdown" else f"```\n{output.strip()}\n```"
            self.texts.append(f"## {step.name}: {outcome}\n\n{text}")
        elif outcome.startswith(("FAILED", "KILLED")):
            self.texts.append("\n".join([f"## {step.name}: {outcome}\n\n```", *lines[-60:], "```"]))
        self.write()


def run(command, environment, limit, log):
    """The status of a process, None if it was killed at its limit, and its output; `log` gets its errors."""
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as out:
        process = subprocess.Popen(
            [sys.executable, *command], cwd=ROOT, env=environment, stdout=out, stderr=log, process_group=0
        )
        try:
            status = process.wait(limit)
        except subprocess.TimeoutExpired:
            status = None
        finally:  # also those that it started, which may hold the GPU
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        out.seek(0)
        return status, out.read()


def judged(step, status, output, limit):
    """What became of a step: "passed", or why it did not."""
    last = output.strip().rpartition("\n")[2]
    if status is None:
        return f"KILLED after {limit:.0f} s"
    if status:
        return f"FAILED with status {status}"
    if "pytest" in step.command and (" passed" not in last or step.all_run and "skipped" in last):
        return "FAILED: not all of it was run"
    if step.accuracy:
        found = re.search(r"test accuracy (\d\.\d+)", last)
        if not found or float(found[1]) < step.accuracy:
            return f"FAILED: a test accuracy of {step.accuracy} is asked for"
    return "passed"


def run_part(steps, record, machine, log, limit=LIMIT):
    """Run the steps as far as the time of the part goes; the outcomes."""
    end, outcomes = time.monotonic() + limit, []
    for step in steps:
        left = min(step.limit, end - time.monotonic())
        why = machine.why_not(step) or ("the time is over" if left < 1 else "")
        if why:
            outcome, seconds, output = f"NOT RUN: {why}", None, ""
        else:
            record.begin(step)
            print(f"\n{step.name}: python {' '.join(step.command)}", file=log, flush=True)
            start = time.monotonic()
            status, output = run(step.command, machine.environment, left, log)
            seconds = time.monotonic() - start
            print(output, file=log, flush=True)
            outcome = judged(step, status, output, left)
            if machine.emulated:
                outcome += " (emulated CUDA, not a GPU)"
        record.end(step, outcome, seconds, output)
        outcomes.append(outcome)
        print(f"  {step.name}: {outcome}" + ("" if seconds is None else f", {seconds:.0f} s"), flush=True)
    return outcomes


def install(wheels, folder):
    """Install wheels, and nothing that they ask for, into a folder."""
    found = sorted(str(path) for path in Path(wheels).glob("*.whl"))
    if not found:
        sys.exit(f"--wheels: there is no wheel in {wheels}")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps", "--target", folder, *found]
    if subprocess.run(pip).returncode:
        sys.exit("--wheels: pip could not install them")


def commit():
    with contextlib.suppress(FileNotFoundError):  # there is no git
        ask = ["git", "describe", "--always", "--dirty"]
        return subprocess.run(ask, cwd=ROOT, capture_output=True, text=True).stdout.strip()


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    add = parser.add_argument
    add("parts", nargs="*", metavar="PART", help=f"{', '.join(PARTS)} (default: all, in this order)")
    add("--only", default="", metavar="WORD", help="only steps with this in their name, such as cupy")
    add("--seconds", type=float, default=math.inf, metavar="N", help="end after N seconds; what is left is NOT RUN")
    add("--out", type=Path, metavar="FOLDER", help="where the records go (default: benchmarks/results/gpu)")
    add("--wheels", metavar="FOLDER", help="wheels of what is not installed here")
    add("--commit", default="", help="what is checked out here (default: as git tells)")
    add("--quick", action="store_true", help="few tests, epochs and rounds: shows that it runs, no more")
    options = parser.parse_args(argv)
    end = time.monotonic() + options.seconds
    if unknown := set(options.parts) - set(PARTS):
        parser.error(f"no such part: {', '.join(sorted(unknown))}; choose from {', '.join(PARTS)}")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what runs is ended too

    with tempfile.TemporaryDirectory() as site:
        if options.wheels:
            install(options.wheels, site)
        path = [str(ROOT), site, *filter(None, [os.environ.get("PYTHONPATH")])]
        environment = {**os.environ, **ENVIRONMENT, "PYTHONPATH": os.pathsep.join(path)}
        machine = Machine(environment, options.commit or commit())
        print(machine, flush=True)
        if not machine.usable:
            return "no library sees a GPU: nothing was run"
        out = (options.out or COMMITTED / "gpu").resolve()
        if (machine.emulated or options.quick) and out.is_relative_to(COMMITTED):
            reason = machine.device if machine.emulated else "--quick"
            return f"{reason}: choose a folder outside {COMMITTED} with --out"
        out.mkdir(parents=True, exist_ok=True)
        made, outcomes = parts(machine.usable, machine.facts["modules"], options.quick), []
        with (out / "log.txt").open("a", encoding="utf-8") as log:
            for part in options.parts or PARTS:
                steps = [step for step in made[part] if options.only in step.name]
                title = f"{part} {options.only}".strip() + ", quick: shows that it runs, no more" * options.quick
                name = re.sub(r"\W+", "-", f"{part} {options.only}".strip())
                print(f"\n{title}, on {machine.device}", flush=True)
                limit = min(LIMIT, end - time.monotonic())
                outcomes += run_part(steps, Record(out / f"{name}.md", title, machine), machine, log, limit)
        passed = sum(outcome.startswith("passed") for outcome in outcomes)
        not_run = sum(outcome.startswith("NOT RUN") for outcome in outcomes)
        print(f"\non {machine.device}: {passed} passed, {len(outcomes) - passed - not_run} failed, {not_run} NOT RUN")
        return int(passed < len(outcomes) or not outcomes)


if __name__ == "__main__":
    sys.exit(main())

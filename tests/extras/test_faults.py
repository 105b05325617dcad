"""Runs that are stopped at any line, or killed at any moment, and resumed: they end as one that was never stopped.

CI tests a sample that a fixed seed draws. ``XPNET_FAULTS=all`` stops the run at each line that it executes, and kills
a process a hundred times; ``XPNET_FAULTS=9`` takes every ninth line.
"""

import hashlib
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("safetensors", reason="safetensors is not installed")

import xpnet
from xpnet import Momentum, Network, Sequential, fit, nn
from xpnet.training.checkpoints import Saver

PACKAGE = f"{Path(xpnet.__file__).parent}{os.sep}"
ASKED = os.environ.get("XPNET_FAULTS", "")
STACK = Sequential(nn.Dense(5), nn.BatchNorm(), nn.Relu(), nn.Dropout(0.3), nn.Dense(3))


def run(path, epochs=2):
    """A run with dropout, batch normalization and validation; what came of it, and whether it was interrupted."""
    draws = np.random.default_rng(0)
    x = draws.normal(size=(20, 4)).astype("float32")
    t, rng = np.argmax(x[:, :3], axis=1), np.random.default_rng(5)
    options = {"batch_size": 8, "seed": rng, "validation": 0.2, "patience": 2, "progress": False}
    net = Network(STACK, (4,), like=x, seed=1)
    history = fit(net, (x, t), Momentum(0.5), epochs=epochs, checkpoint=path, resume=True, **options).history
    columns = {name: values for name, values in vars(history).items() if name not in ("seconds", "interrupted")}
    text = json.dumps([columns, len(history.seconds), rng.bit_generator.state])
    arrays = [a.tobytes() for a in (*net.params.values(), *net.state.values())]
    return hashlib.sha256(b"".join([text.encode(), *arrays])).hexdigest(), history.interrupted


class Traced:
    """Calls ``at(place)`` before each line of xpnet that the body of a `with` block executes."""

    def __init__(self, at):
        self.at = at

    def __enter__(self):
        self.before = sys.gettrace()
        sys.settrace(self.frame)

    def __exit__(self, *error):
        sys.settrace(self.before)

    def frame(self, frame, event, arg):
        return self.line if frame.f_code.co_filename.startswith(PACKAGE) else None

    def line(self, frame, event, arg):
        if event == "line":
            self.at(f"{frame.f_code.co_filename.removeprefix(PACKAGE)}:{frame.f_lineno}")
        return self.line


def stop_at(place, count, error):
    """Raise `error` the n-th time that the line `place` is reached."""

    def at(here):
        nonlocal count
        if here == place:
            count -= 1
            if not count:
                raise error

    return at


def places():
    """The lines to stop at, and which time that they are reached."""
    reached = defaultdict(int)

    def at(here):
        reached[here] += 1

    with tempfile.TemporaryDirectory() as folder, Traced(at):
        run(Path(folder) / "run.safetensors")
    if ASKED:
        each = [(place, n) for place, times in reached.items() for n in range(1, times + 1)]
        return each[:: 1 if ASKED == "all" else int(ASKED)]
    rng = random.Random(0)
    ours = [place for place in reached if place.startswith(("training/loop", "training/callbacks", "_files"))]
    drawn = rng.sample(ours, 60) + rng.sample(sorted(reached.keys() - set(ours)), 40)
    return [(place, rng.randint(1, reached[place])) for place in drawn]


@pytest.fixture
def saves_each_update(monkeypatch):
    monkeypatch.setattr(Saver, "due", True)
    monkeypatch.setattr(os, "fsync", lambda handle: None)  # for a loss of power alone, and slow


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_a_run_that_is_stopped_at_any_line_and_resumed_ends_as_one_that_was_not(error, tmp_path, saves_each_update):
    whole, _ = run(tmp_path / "run.safetensors")
    stopped = 0
    for place, count in places():
        with tempfile.TemporaryDirectory(dir=tmp_path) as folder:
            path = Path(folder) / "run.safetensors"
            try:
                with Traced(stop_at(place, count, error)):
                    stopped += run(path)[1]
            except error:
                stopped += 1
            assert set(os.listdir(folder)) <= {path.name}, f"{place}, time {count}: a file is left"
            assert run(path)[0] == whole, f"{place}, time {count}: the resumed run ends in another way"
            assert os.listdir(folder) == [path.name]
    assert stopped >= 90


@pytest.mark.skipif(os.name != "posix", reason="Windows has no signal 9")
def test_a_run_that_is_killed_at_random_moments_ends_as_one_that_was_not(tmp_path, saves_each_update):
    epochs, kills, rng = (200, 100, random.Random()) if ASKED else (60, 5, random.Random(0))
    whole, _ = run(tmp_path / "whole.safetensors", epochs)
    path, landed = tmp_path / "run.safetensors", 0
    command = [sys.executable, __file__, str(path), str(epochs)]
    for _ in range(kills):
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout.readline() == "ready\n"
            time.sleep(rng.uniform(0, 0.1))
            process.kill()
            landed += not process.stdout.read()
    assert landed > kills // 2
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["ready", whole]
    assert sorted(os.listdir(tmp_path)) == ["run.safetensors", "whole.safetensors"]


if __name__ == "__main__":
    Saver.due, os.fsync = True, lambda handle: None
    print("ready", flush=True)
    print(run(Path(sys.argv[1]), int(sys.argv[2]))[0])

"""The GPU day, where there is no GPU: nothing that did not run there is taken for a pass, and its code is right."""

import os
import re
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from conftest import needs

sys.path.append(str(Path(__file__).parents[1] / "benchmarks"))
import gpu_day
from gpu_plan import PARTS, Step, parts

FACTS = {
    "driver": "NVIDIA H200, 580.1",
    "system": "Linux",
    "versions": {"numpy": "2"},
    "modules": ["numpy", "pytest"],
}
SEES = {
    "cupy": {"version": "14", "device": "NVIDIA H200"},
    "torch": {"problem": "no CUDA"},
    "jax": {"problem": "none"},
}
EMULATED = {**SEES, "cupy": {"version": "14", "device": "No GPU (emulated on the host)"}}
NOTHING = dict.fromkeys(SEES, {"problem": "none"})


def step(name, code="", limit=60, libraries=("cupy",), **more):
    return Step(name, libraries, ("-c", code), limit, **more)


@pytest.fixture
def machine(monkeypatch):
    def made(libraries):
        monkeypatch.setattr(gpu_day, "asked", lambda question, _: libraries[question[0]] if question else FACTS)
        return gpu_day.Machine(dict(os.environ), "abc")

    return made


@pytest.fixture
def ran(machine, tmp_path):
    """Runs steps; gives their outcomes, and the record."""

    def run(*steps, libraries=SEES, **options):
        found = machine(libraries)
        with (tmp_path / "log.txt").open("a") as log:
            outcomes = gpu_day.run_part(steps, gpu_day.Record(tmp_path / "it.md", "it", found), found, log, **options)
        return outcomes, (tmp_path / "it.md").read_text(encoding="utf-8")

    return run


def test_a_step_that_fails_does_not_keep_the_others_from_running(ran):
    outcomes, record = ran(step("bad", "print('so far'); raise SystemExit(3)"), step("good", "print('well')"))
    assert outcomes == ["FAILED with status 3", "passed"]
    assert "so far" in record  # what it printed
    assert re.search(r"\| good +\| +passed \| +0 \| +well \|", record)
    assert "NOT FINISHED" not in record
    assert all(word in record for word in ("NVIDIA H200, 580.1", "numpy 2", "commit abc", "UTC"))


def test_a_step_is_killed_at_its_limit_with_all_that_it_started(ran, tmp_path):
    beats = tmp_path / "beats"
    child = f"import time\nwhile True: open({str(beats)!r}, 'a').write('.'); time.sleep(0.1)"
    code = f"import subprocess, sys; print('started', flush=True); subprocess.run([sys.executable, '-c', {child!r}])"
    outcomes, record = ran(step("slow", code, limit=5))
    assert outcomes == ["KILLED after 5 s"]
    assert "## slow: KILLED after 5 s" in record
    assert "started" in record
    assert "passed" not in record
    before = beats.stat().st_size
    time.sleep(1)
    assert beats.stat().st_size == before


def test_what_cannot_run_says_why_and_the_rest_of_a_part_that_is_over_too(ran):
    outcomes, record = ran(
        step("other", libraries=("torch",)),
        step("module", modules=("sklearn",)),
        step("long", "import time; time.sleep(60)"),
        step("later"),
        limit=2,
    )
    assert outcomes[:2] == ["NOT RUN: no GPU for torch", "NOT RUN: not installed: sklearn"]
    assert outcomes[2:] == ["KILLED after 2 s", "NOT RUN: the time is over"]
    assert "problem: no CUDA" in record
    assert "passed" not in record


def test_while_a_step_runs_the_record_says_that_it_is_not_finished(ran, tmp_path):
    code = f"print('NOT FINISHED' in open({str(tmp_path / 'it.md')!r}).read())"
    _, record = ran(step("first"), step("look", code))
    assert re.search(r"look .* True ", record)


@pytest.mark.parametrize(
    ("last", "more", "outcome"),
    [
        ("3 passed in 1 s", {}, "passed"),
        ("3 passed, 1 skipped in 1 s", {}, "passed"),
        ("3 passed, 1 skipped in 1 s", {"all_run": True}, "FAILED: not all of it was run"),
        ("4 skipped in 1 s", {}, "FAILED: not all of it was run"),
        ("", {}, "FAILED: not all of it was run"),
    ],
)
def test_tests_pass_if_some_were_run(last, more, outcome):
    assert gpu_day.judged(Step("t", (), ("-m", "pytest"), 60, **more), 0, f"some\n{last}\n", 60) == outcome


@pytest.mark.parametrize(
    ("last", "passes"), [("test accuracy 0.9000", True), ("test accuracy 0.8999", False), ("nan", False)]
)
def test_training_passes_if_it_reaches_the_accuracy(last, passes):
    asked = Step("t", (), ("-m", "xpnet"), 60, accuracy=0.9)
    assert (gpu_day.judged(asked, 0, last, 60) == "passed") is passes


def test_on_the_emulated_machine_every_outcome_and_the_record_say_so(ran):
    outcomes, record = ran(step("one"), step("two", "raise SystemExit(1)"), libraries=EMULATED)
    assert outcomes == ["passed (emulated CUDA, not a GPU)", "FAILED with status 1 (emulated CUDA, not a GPU)"]
    assert "**emulated CUDA, not a GPU**" in record


def test_committed_results_are_of_a_gpu(machine, monkeypatch, tmp_path):
    monkeypatch.setattr(gpu_day, "COMMITTED", tmp_path)
    monkeypatch.setattr(gpu_day, "parts", lambda *_: {part: [step("it")] for part in PARTS})
    monkeypatch.setattr(gpu_day.signal, "signal", lambda *_: None)
    machine(EMULATED)
    assert "choose a folder outside" in gpu_day.main(["tests"])
    machine(SEES)
    assert "choose a folder outside" in gpu_day.main(["tests", "--quick"])
    machine(NOTHING)
    assert gpu_day.main(["tests"]) == "no library sees a GPU: nothing was run"
    assert list(tmp_path.iterdir()) == []
    machine(SEES)
    assert gpu_day.main(["tests"]) == 0
    assert gpu_day.main(["training", "--seconds", "0"]) == 1
    assert "NOT RUN: the time is over" in (tmp_path / "gpu" / "training.md").read_text()
    assert gpu_day.main(["tests", "--only", "another"]) == 1  # nothing was run
    assert {path.name for path in (tmp_path / "gpu").iterdir()} >= {"tests.md", "log.txt"}


@pytest.mark.parametrize("quick", [False, True])
def test_each_part_has_steps_for_each_library(quick):
    made = parts(("cupy", "torch", "jax"), FACTS["modules"], quick)
    assert tuple(made) == PARTS
    for part in ("tests", "training", "conformance", "bridges"):
        assert {library for s in made[part] for library in s.libraries} == {"cupy", "torch", "jax"}
    assert all(s.limit <= gpu_day.LIMIT <= 480 for steps in made.values() for s in steps)
    for name in (s.name for steps in made.values() for s in steps):
        assert [s.name for steps in made.values() for s in steps].count(name) == 1


# The contenders, with what is CUDA's left out


@pytest.fixture
def one_thread(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


@needs("torch")
def test_the_step_that_is_captured_is_the_training(one_thread):
    import torch
    from gpu_contenders import TorchCudaGraph

    class OnCpu(TorchCudaGraph):
        device = "cpu"

        def wait(self):
            pass

        def capture(self):
            result = torch.zeros(())

            def replay():
                self.optimizer.zero_grad()
                result.copy_(self.step())

            replay()  # trains, as a capture does to warm up
            return replay, result

    contender = OnCpu(hidden=20, batch=50)
    contender.check()
    assert 0 < contender.time_steps(3)
    with pytest.raises(AssertionError):  # it has been trained: the check can fail
        contender.check()


@needs("jax")
def test_jax_steps_are_the_training(one_thread):
    import jax
    from gpu_contenders import JaxGpuScan

    class OnCpu(JaxGpuScan):
        device = "cpu"

    before = jax.config.jax_default_device
    try:
        contender = OnCpu(hidden=20, batch=50)
        contender.check()
        assert 0 < contender.time_steps(3)
    finally:
        jax.config.update("jax_default_device", before)


@pytest.mark.parametrize("name", ["xpnet, PyTorch CUDA", "PyTorch CUDA graph", "xpnet, JAX GPU", "JAX GPU, lax.scan"])
def test_without_a_gpu_no_contender_is_run_on_the_processor(name, one_thread):
    import gpu_contenders

    contender = gpu_contenders.CONTENDERS[name]
    module = pytest.importorskip(contender.backend)
    if module.cuda.is_available() if contender.backend == "torch" else module.default_backend() != "cpu":
        pytest.skip("there is a GPU")
    with pytest.raises((AssertionError, RuntimeError, ValueError)):
        contender(hidden=20, batch=50)


@needs("torch")
def test_the_convolutional_step_that_is_captured_trains(one_thread):
    import gpu_convolution
    import torch
    from convolution import BOOK

    class OnCpu(gpu_convolution.TorchCudaGraph):
        device = "cpu"

        def wait(self, result):
            pass

        def repeated(self, step, optimizer):
            def replay():
                optimizer.zero_grad()
                return step()

            return replay

    torch.manual_seed(0)
    contender = OnCpu(title=BOOK)
    losses = [float(contender.once()) for _ in range(8)]
    assert losses[-1] < losses[0]
    assert np.isfinite(losses).all()
    contender.check()
    OnCpu(title="16 to 16 channels, 3 x 3").check()

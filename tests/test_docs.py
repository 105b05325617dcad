"""The reference has a page for every public name, and no two pages whose names differ in case only."""

import sys
from pathlib import Path

import pytest

import xpnet
from xpnet import nn

sys.path.insert(0, str(Path(__file__).parents[1] / "docs"))
import reference


@pytest.fixture(scope="module")
def sections():
    return reference.sections()


def test_every_public_name_is_listed_once(sections):
    listed = [name for key, names in sections.items() if key != "modules" for name in names]
    assert len(listed) == len(set(listed))
    described = {f"nn.{name}" for name in nn.__all__ if getattr(nn, name) is not getattr(xpnet, name, None)}
    assert {"nn.Relu", "nn.CrossEntropy", "nn.He"} <= described
    loaded = {f"datasets.{name}" for name in xpnet.datasets.__all__ if name not in xpnet.__all__}
    assert set(listed) == {*xpnet.__all__, *described, *loaded}
    assert all(sections.values())


def test_no_two_pages_overwrite_each_other_where_case_does_not_count(sections):
    pages = [f"{key}/{name}".lower() for key, names in sections.items() for name in names]
    assert len(pages) == len(set(pages))


def test_the_page_names_a_folder_for_each_section(tmp_path, sections):
    reference.write(tmp_path / "api.md")
    page = (tmp_path / "api.md").read_text(encoding="utf-8")
    assert page.count(":toctree: ") == len(sections)
    assert "   softmax\n" in page
    assert "   Softmax\n" in page


@pytest.mark.parametrize("module", reference.MODULES)
def test_the_names_of_a_module_with_an_extra_are_read_without_importing_it(module):
    before = set(sys.modules)
    assert reference.public_names(module)
    assert set(sys.modules) == before

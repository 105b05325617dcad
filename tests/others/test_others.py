"""The checks on libraries that xpnet does not know: every outcome is the one of the table in docs/conformance.md.

``python tests/others/test_others.py`` writes the table, and ``python tests/others/test_others.py mlx`` says why MLX
cannot run here.
"""

import sys
from pathlib import Path

import pytest
from checks import CHECKS
from libraries import HEADING, LIBRARIES, PASSED, page

from xpnet import _array
from xpnet.backends import registry

PAGE = Path(__file__).parents[2] / "docs" / "conformance.md"


@pytest.fixture(scope="module")
def strict_flags():
    yield
    if "array_api_strict" in sys.modules:
        sys.modules["array_api_strict"].reset_array_api_strict_flags()


@pytest.mark.filterwarnings("ignore")  # the libraries' own
@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.parametrize("library", LIBRARIES, ids=lambda library: library.title.replace(" ", "-"))
@pytest.mark.usefixtures("strict_flags")
def test_the_outcome_is_the_one_of_the_table(library, check, monkeypatch):
    if why := library.missing:
        pytest.skip(why)
    for module, name in ((_array, "_NAMESPACES"), (registry, "_OF_TYPES")):
        monkeypatch.setattr(module, name, {})  # array-api-strict has one type in all versions
    try:
        CHECKS[check](library.load())
        outcome = PASSED
    except Exception as error:
        outcome = f"{type(error).__name__}: {' '.join(str(error).split())}"
    assert library.expected(check) in outcome


def test_the_page_has_the_table():
    assert PAGE.read_text(encoding="utf-8").partition(f"\n{HEADING}\n")[2] == page().partition(f"{HEADING}\n")[2]


if __name__ == "__main__":
    if sys.argv[1:]:
        print(*(why for library in LIBRARIES if library.name in sys.argv[1:] and (why := library.missing)), sep="\n")
    else:
        before = PAGE.read_text(encoding="utf-8").partition(f"\n{HEADING}\n")[0].rstrip()
        PAGE.write_text(f"{before}\n\n{page()}", encoding="utf-8")

"""The checks of options: what they take, and the line they raise."""

import re
from fractions import Fraction

import numpy as np
import pytest

from xpnet._validation import check_integer, check_number


@pytest.mark.parametrize("value", [5, np.int64(5), np.uint8(5), np.asarray(5)])
def test_an_integer_of_any_library_becomes_pythons(value):
    found = check_integer("units", value, 1)
    assert found == 5
    assert type(found) is int


@pytest.mark.parametrize("value", [True, np.True_, 5.0, "5", None, [5]])
def test_what_is_no_integer_is_a_type_error(value):
    expected = f"Dense: units must be an integer of at least 1, got {value!r}"
    with pytest.raises(TypeError, match=f"^{re.escape(expected)}$"):
        check_integer("Dense: units", value, 1)


def test_an_integer_that_is_too_small_is_a_value_error():
    with pytest.raises(ValueError, match="^epochs must be an integer of at least 0, got -1$"):
        check_integer("epochs", -1, 0)
    assert check_integer("ignore", -1) == -1
    with pytest.raises(TypeError, match="^ignore must be an integer, got 'a'$"):
        check_integer("ignore", "a")


@pytest.mark.parametrize("value", [1, 1.0, np.float32(1), np.int8(1), Fraction(1)])
def test_a_number_becomes_pythons_float(value):
    found = check_number("lr", value, "positive and finite")
    assert found == 1.0
    assert type(found) is float


@pytest.mark.parametrize(
    ("value", "expected", "allowed"),
    [
        (0, "positive and finite", False),
        (0, "finite and not negative", True),
        (-1, "finite", True),
        (1, "from 0 to below 1", False),
        (1, "from 0 to 1", True),
        (1, "above 0 and at most 1", True),
        (0, "above 0 and at most 1", False),
        (float("inf"), "positive and finite", False),
        (float("nan"), "finite", False),
        (10**400, "finite", False),
    ],
)
def test_ranges(value, expected, allowed):
    if allowed:
        check_number("rate", value, expected)
        return
    with pytest.raises(ValueError, match=f"^rate must be {expected}, got "):
        check_number("rate", value, expected)


@pytest.mark.parametrize("value", [True, "1", None, 1j, np.ones(1)])
def test_what_is_no_number_is_a_type_error(value):
    with pytest.raises(TypeError, match="^lr must be a number, positive and finite; got "):
        check_number("lr", value, "positive and finite")

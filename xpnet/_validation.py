"""Checks of options: integers, floats and flags. They return a Python number or bool, or raise an error.

A NumPy scalar becomes a Python number, because NumPy scalars would convert float32 arrays to float64.
"""

import math
import operator
from collections.abc import Callable, Mapping
from numbers import Real
from typing import Any

__all__ = ["check_flag", "check_integer", "check_names", "check_number"]

_RANGES: dict[str, Callable[[float], bool]] = {
    "finite": lambda x: True,
    "positive and finite": lambda x: x > 0,
    "finite and not negative": lambda x: x >= 0,
    "from 0 to below 1": lambda x: 0 <= x < 1,
    "from 0 to 1": lambda x: 0 <= x <= 1,
    "above 0 and at most 1": lambda x: 0 < x <= 1,
}


def check_flag(name: str, value: Any) -> bool:
    """Return `value`, True or False, as a Python bool.

    Text is an error, because every text except "" would count as True.

    Parameters
    ----------
    name : str
        The name of the argument, for the error message, as in `check_integer`.
    value : bool, or a bool of another library
        The value.

    Raises
    ------
    TypeError
        If `value` is not a bool.

    Examples
    --------
    >>> check_flag("progress", False)
    False
    """
    if not isinstance(value, bool) and type(value).__name__ not in ("bool", "bool_"):
        raise TypeError(f"{name} must be True or False, got {value!r}")
    return bool(value)


def check_integer(name: str, value: Any, least: int | None = None) -> int:
    """Return `value` as a Python int.

    Parameters
    ----------
    name : str
        The name of the argument, for the error message. It may include the class or function, as in "Dense: units".
    value : int, or an integer of another library
        The value. A bool is an error.
    least : int, optional
        The smallest value that is allowed.

    Raises
    ------
    TypeError
        If `value` is not an integer.
    ValueError
        If `value` is smaller than `least`.

    Examples
    --------
    >>> check_integer("epochs", 17, 0)
    17
    """
    try:
        number = None if isinstance(value, bool) or type(value).__name__ == "bool" else operator.index(value)
    except TypeError:
        number = None
    if number is None or (least is not None and number < least):
        expected = "an integer" if least is None else f"an integer of at least {least}"
        raise (TypeError if number is None else ValueError)(f"{name} must be {expected}, got {value!r}")
    return number


def check_names(where: str, given: Mapping[str, object], ours: Mapping[str, str]) -> None:
    """Raise a TypeError if there is an argument of an unknown name.

    Parameters
    ----------
    where : str
        The name of the class or function, for the error message.
    given : dict
        The arguments of unknown names, from ``**others: Never``. `Never` lets type checkers refuse them, too.
    ours : dict of str
        For names in the book, the argument to pass instead.

    Raises
    ------
    TypeError
        If `given` is not empty.

    Examples
    --------
    >>> check_names("Convolution", {"pad": 1}, {"pad": "padding"})
    Traceback (most recent call last):
    TypeError: Convolution got an unexpected keyword argument 'pad'; pass padding
    """
    for name in given:
        hint = f"; pass {ours[name]}" if name in ours else ""
        raise TypeError(f"{where} got an unexpected keyword argument {name!r}{hint}")


def check_number(name: str, value: Any, expected: str = "finite") -> float:
    """Return `value` as a Python float.

    Parameters
    ----------
    name : str
        The name of the argument, for the error message, as in `check_integer`.
    value : real number
        The value. A bool is an error.
    expected : str
        The range: a key of `_RANGES`, such as "positive and finite".

    Raises
    ------
    TypeError
        If `value` is not a real number.
    ValueError
        If `value` is out of range, not finite, or too large for a float.

    Examples
    --------
    >>> check_number("lr", 1, "positive and finite")
    1.0
    """
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(f"{name} must be a number, {expected}; got {value!r}")
    try:
        number = float(value)
    except OverflowError:
        raise ValueError(f"{name} must be {expected}, got an integer that is too large for a float") from None
    if not (math.isfinite(number) and _RANGES[expected](number)):
        raise ValueError(f"{name} must be {expected}, got {value!r}")
    return number

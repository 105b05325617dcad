"""Products of matrices in half precision."""

from collections.abc import Callable
from typing import Any, Literal, TypeAlias, get_args

from .._array import namespace
from .._typing import Array
from ..backends import backend_of

__all__ = ["HALF", "Precision", "check_precision", "in_precision"]

Precision: TypeAlias = Literal["bfloat16", "float16"]
"""The dtypes of half precision: 16 bits for each number."""
HALF: tuple[Precision, ...] = get_args(Precision)


def check_precision(where: str, precision: Any) -> Precision | None:
    """The precision, if it is None or the name of a dtype of half precision.

    Raises
    ------
    ValueError
        If it is anything else.
    """
    if precision not in (None, *HALF):
        raise ValueError(f'{where}: precision must be "bfloat16", "float16" or None, got {precision!r}')
    found: Precision | None = precision
    return found


def in_precision(precision: Precision | None, product: Callable[..., Array], *operands: Array) -> Array:
    """A product, linear in each operand, computed with operands in half precision.

    Parameters
    ----------
    precision : {"bfloat16", "float16"} or None
        The dtype of the operands in the product; None: the operands as they are.
    product : callable
        A function of the operands.
    *operands : array
        Arrays of one floating dtype.

    Returns
    -------
    array, dtype of the operands

    Raises
    ------
    ValueError
        If the library of the operands has no products of this dtype.

    Notes
    -----
    The largest number of float16 is 65,504, and absolute values below 3e-8 become 0. Derivatives are often smaller.
    So each operand of float16 is divided by a power of two, so that its largest finite absolute value is from 1/16 to
    1/8. The product is multiplied by these powers. A division by a power of two does not round. A sum of up to 4
    million terms does not overflow. Elements below about a thousandth of the largest element lose digits, and
    elements below 2e-7 of the largest element become 0. bfloat16 has the range of float32 and needs no scale.

    Examples
    --------
    >>> import numpy as np
    >>> in_precision(None, np.matmul, np.asarray([[1.0, 2.0]]), np.asarray([[1e-9], [0.0]]))
    array([[1.e-09]])
    """
    if precision is None:
        return product(*operands)
    xp, halves, powers = namespace(x=operands[0]), [], []
    dtype = backend_of(operands[0]).half(precision)
    for x in operands:
        if precision == "float16" and 0 not in x.shape:
            powers.append(_power_of_two(xp, x))
            x = x / powers[-1]
        halves.append(xp.astype(x, dtype))
    y = xp.astype(product(*halves), operands[0].dtype)
    for power in powers:  # one after the other: their product may overflow
        y = y * power
    return y


def _power_of_two(xp: Any, x: Array) -> Array:
    """The power of two that is 8 to 16 times the largest finite absolute value; an array of shape ()."""
    largest = xp.max(xp.where(xp.isfinite(x), xp.abs(x), 0.0))
    exponent = xp.floor(xp.log2(xp.where(largest > 0, largest, 1.0))) + 4
    return 2.0 ** backend_of(x).clip(exponent, -126.0, 126.0)  # 2^128 is infinite in float32

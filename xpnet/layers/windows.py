"""Helpers of convolution and pooling: windows that move over images, arrays of shape (N, C, H, W)."""

from collections.abc import Sequence
from typing import Any, TypeAlias

from .._array import check_floating, device, namespace
from .._typing import Array, Namespace
from .._validation import check_integer
from ..backends import backend_of

__all__ = ["Pair", "check_images", "output_size", "pad", "pair", "slices", "spread", "windows"]

Pair: TypeAlias = tuple[int, int]


def pair(where: str, name: str, value: Any, least: int) -> Pair:
    """An option for height and width: one integer for both, or two."""
    both = value if isinstance(value, (tuple, list)) else (value, value)
    option = f"{where}: {name}"
    if len(both) != 2:
        raise ValueError(f"{option} must be one integer or two, got {value!r}")
    return check_integer(option, both[0], least), check_integer(option, both[1], least)


def output_size(
    where: str, sides: Sequence[int], size: Any, stride: Any = 1, padding: Any = 0, dilation: Any = 1
) -> Pair:
    """The height and width of the output if a window of `size` moves over an image of height and width `sides`."""
    options = (("size", size, 1), ("stride", stride, 1), ("padding", padding, 0), ("dilation", dilation, 1))
    k, s, p, d = (pair(where, name, value, least) for name, value, least in options)
    out = [1 + (sides[i] + 2 * p[i] - d[i] * (k[i] - 1) - 1) // s[i] for i in (0, 1)]
    if min(out) < 1:
        raise ValueError(
            f"{where}: a window of {k[0]} x {k[1]} (dilation {d[0]} x {d[1]}) does not fit into an image of "
            f"{sides[0]} x {sides[1]} with padding {p[0]} x {p[1]}; choose a smaller one, or more padding"
        )
    return out[0], out[1]


def check_images(xp: Namespace, where: str, x: Array) -> None:
    """Raise unless `x` is images of a real floating dtype; `where` is the name of the layer."""
    check_floating(xp, where, x=x)
    if x.ndim != 4:
        raise ValueError(f"{where}: x must be images of shape (N, C, H, W), got {tuple(x.shape)}")


def pad(xp: Namespace, x: Array, top: int, bottom: int, left: int, right: int, value: float = 0.0) -> Array:
    """Add rows and columns of `value` around images; negative numbers remove rows and columns."""
    x = x[..., max(-top, 0) : x.shape[2] - max(-bottom, 0), max(-left, 0) : x.shape[3] - max(-right, 0)]
    top, bottom, left, right = (max(width, 0) for width in (top, bottom, left, right))
    backend = backend_of(x)
    padded = backend.pad(x, (top, left), (bottom, right), value) if top or bottom or left or right else None
    if padded is not None:
        return padded
    for axis, before, after in ((3, left, right), (2, top, bottom)):
        if before or after:  # a traced batch may not know its size: the shape of a line comes from x
            line = xp.full_like(x[:, :, :, :1] if axis == 3 else x[:, :, :1, :], value)
            x = xp.concat([line] * before + [x] + [line] * after, axis=axis)
    return backend.joined(x)


def spread(xp: Namespace, x: Array, stride: Pair) -> Array:
    """Put stride - 1 rows and columns of zeros after each row and column."""
    n, c, h, w = x.shape
    if stride == (1, 1):
        return x
    x = xp.reshape(x, (n, c, h, 1, w, 1))
    for axis, s in ((3, stride[0]), (5, stride[1])):
        shape = (*x.shape[:axis], s - 1, *x.shape[axis + 1 :])
        x = xp.concat([x, xp.zeros(shape, dtype=x.dtype, device=device(x))], axis=axis) if s > 1 else x
    return xp.reshape(backend_of(x).joined(x), (n, c, h * stride[0], w * stride[1]))


def windows(x: Array, size: Pair, stride: Pair, dilation: Pair, out: Pair) -> Array:
    """All windows of the images, shape (N, C, *size, *out): a view of `x`, or a copy."""
    backend = backend_of(x)
    seen = backend.windows(x, size, stride, dilation, out)
    if seen is None:
        places = backend.joined(namespace(x=x).stack(slices(x, size, stride, dilation, out), axis=2))
        seen = namespace(x=x).reshape(places, (-1, x.shape[1], *size, *out))
    return seen


def slices(x: Array, size: Pair, stride: Pair, dilation: Pair, out: Pair) -> list[Array]:
    """For each position in the window, row by row, the values at this position in all windows, shape (N, C, *out)."""
    return [
        x[
            ...,
            i * dilation[0] : i * dilation[0] + stride[0] * (out[0] - 1) + 1 : stride[0],
            j * dilation[1] : j * dilation[1] + stride[1] * (out[1] - 1) + 1 : stride[1],
        ]
        for i in range(size[0])
        for j in range(size[1])
    ]

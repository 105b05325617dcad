"""Pooling of images, arrays of shape (N, C, H, W)."""

import math

from .._array import device, namespace
from .._typing import Array, Namespace
from ..backends import backend_of, elementwise
from .base import Layer
from .windows import Pair, check_images, output_size, pad, pair, slices, windows

__all__ = ["AveragePooling", "MaxPooling"]


class _Pooling(Layer):
    """The base class of both pooling layers: their options, and the gradient from windows back to images."""

    def __init__(self, size: int | Pair, *, stride: int | Pair | None = None, padding: int | Pair = 0) -> None:
        name = type(self).__name__
        self.size = pair(name, "size", size, 1)
        self.stride = self.size if stride is None else pair(name, "stride", stride, 1)
        self.padding = pair(name, "padding", padding, 0)
        if any(2 * p > k for p, k in zip(self.padding, self.size, strict=True)):
            raise ValueError(
                f"{name}: padding {padding!r} is more than half of the window {size!r}: some windows "
                "would contain only padding; choose a smaller padding"
            )

    def _window(self, xp: Namespace, x: Array, value: float) -> tuple[Array, Pair, Pair, Pair, Pair]:
        """The padded images and the arguments of `windows` and `slices`; `value` is the value of the padding."""
        out = output_size(type(self).__name__, x.shape[2:], self.size, self.stride, self.padding)
        self.shape, (down, right) = x.shape, self.padding
        return pad(xp, x, down, down, right, right, value), self.size, self.stride, (1, 1), out

    def _back(self, xp: Namespace, shares: list[Array]) -> Array:
        """Add the gradients of all windows to the pixels that they came from: the reverse of `windows`.

        `shares` has one array of gradients for each position i in the window. Let i = q stride + r. Gradients with
        different r belong to different rows of the image. So the gradients with the same r are shifted by q and
        added, and the sums for r = 0, 1, ... are interleaved row by row.
        """
        (kh, kw), (sh, sw) = self.size, self.stride
        qh, qw = -(-kh // sh), -(-kw // sw)
        by_row = []
        for ri in range(sh):
            by_column = []
            for rj in range(sw):
                shifted = [
                    pad(xp, shares[(qi * sh + ri) * kw + qj * sw + rj], qi, qh - 1 - qi, qj, qw - 1 - qj)
                    for qi in range(qh)
                    for qj in range(qw)
                    if qi * sh + ri < kh and qj * sw + rj < kw
                ]
                shifted = shifted or [pad(xp, 0 * shares[0], 0, qh - 1, 0, qw - 1)]  # rows that are in no window
                by_column.append(sum(shifted[1:], start=shifted[0]))
            by_row.append(xp.stack(by_column, axis=-1))
        n, c, height, width = self.shape
        sums = backend_of(by_row[0]).joined(xp.stack(by_row, axis=3))  # (N, C, rows, sh, columns, sw)
        rows, columns = sums.shape[2] * sh, sums.shape[4] * sw
        (down, right) = self.padding
        whole = xp.reshape(sums, (n, c, rows, columns))
        return pad(xp, whole, -down, height + down - rows, -right, width + right - columns)


class MaxPooling(_Pooling):
    """The largest value in each window.

    Parameters
    ----------
    size : int or (int, int)
        Height and width of the window.
    stride : int or (int, int), optional
        The step of the window. Default: the size of the window.
    padding : int or (int, int), default 0
        The number of rows and columns of padding around the images, at most half the window. The padding is minus
        infinity, so it is never the maximum.

    Notes
    -----
    The derivative of the output is 1 for the largest value of the window, and 0 for the others. So ``dout`` goes to
    the position of the maximum; of equal values, to the first one, row by row. A pixel of several windows gets the
    sum.

    References
    ----------
    Saito (2016), Deep Learning from Scratch, sections 7.3 and 7.4.

    Examples
    --------
    >>> import numpy as np
    >>> layer = MaxPooling(2)
    >>> layer.forward(np.asarray([[[[1.0, 2.0, 0.0, 4.0], [3.0, 0.0, 4.0, 1.0]]]]))
    array([[[[3., 4.]]]])
    >>> layer.backward(np.asarray([[[[10.0, 20.0]]]]))
    array([[[[ 0.,  0.,  0., 20.],
             [10.,  0.,  0.,  0.]]]])
    """

    def forward(self, x: Array) -> Array:
        """The largest values, shape (N, C, rows, columns).

        Parameters
        ----------
        x : array of real floating dtype, shape (N, C, H, W)
        """
        xp = namespace(x=x)
        check_images(xp, "MaxPooling", x)
        self.seen = self._seen(xp, x, -math.inf)
        self.y = xp.max(self.seen, axis=0)
        if any(self.padding):  # padding gets no gradient, even in a window whose maximum is minus infinity
            pixels = xp.ones((1, 1, *x.shape[2:]), dtype=x.dtype, device=device(x))
            self.seen = xp.where(self._seen(xp, pixels, 0.0) == 1, self.seen, math.nan)
            self.shape = x.shape
        return self.y

    def _seen(self, xp: Namespace, x: Array, value: float) -> Array:
        """The values of all windows, shape (positions in the window, N, C, rows, columns)."""
        seen = xp.permute_dims(windows(*self._window(xp, x, value)), (2, 3, 0, 1, 4, 5))
        return xp.reshape(seen, (self.size[0] * self.size[1], -1, *seen.shape[3:]))

    def backward(self, dout: Array) -> Array:
        """The derivative of the loss with respect to `x`."""
        xp, shares = namespace(dout=dout, y=self.y), []
        for i in range(self.seen.shape[0]):
            share, dout = _shared(dout, self.y, self.seen[i, ...])
            shares.append(share)
        return self._back(xp, shares)


@elementwise
def _shared(dout: Array, y: Array, seen: Array) -> tuple[Array, Array]:
    """The gradient of one position in the window, and the gradient that remains for the positions after it."""
    share = dout * namespace(dout=dout, y=y).astype(seen == y, dout.dtype)
    return share, dout - share


class AveragePooling(_Pooling):
    """The mean of each window, without the padding.

    Parameters
    ----------
    size : int or (int, int)
        Height and width of the window.
    stride : int or (int, int), optional
        The step of the window. Default: the size of the window.
    padding : int or (int, int), default 0
        The number of rows and columns of padding around the images, at most half the window. Padding is not part of
        the mean.

    Notes
    -----
    The mean of n values has the derivative 1/n with respect to each of them. So each value gets ``dout / n`` from
    each window that contains it.

    Examples
    --------
    >>> import numpy as np
    >>> layer = AveragePooling(2)
    >>> layer.forward(np.asarray([[[[1.0, 2.0], [3.0, 4.0]]]]))
    array([[[[2.5]]]])
    >>> layer.backward(np.asarray([[[[4.0]]]]))
    array([[[[1., 1.],
             [1., 1.]]]])
    """

    def forward(self, x: Array) -> Array:
        """The means, shape (N, C, rows, columns).

        Parameters
        ----------
        x : array of real floating dtype, shape (N, C, H, W)
        """
        xp = namespace(x=x)
        check_images(xp, "AveragePooling", x)
        places = slices(*self._window(xp, x, 0.0))
        self.count: Array = len(places)
        if any(self.padding):
            inside = slices(*self._window(xp, xp.ones((1, 1, *x.shape[2:]), dtype=x.dtype, device=device(x)), 0.0))
            self.count = sum(inside[1:], start=inside[0])
        self.shape = x.shape
        return sum(places[1:], start=places[0]) / self.count

    def backward(self, dout: Array) -> Array:
        """The derivative of the loss with respect to `x`."""
        xp = namespace(dout=dout)
        share = dout / self.count
        return self._back(xp, [share] * (self.size[0] * self.size[1]))

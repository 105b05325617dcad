"""Pooling of images, arrays of shape (N, C, H, W)."""

from .._array import device, namespace
from .._typing import Array, Namespace
from ..backends import backend_of, elementwise
from .base import Layer
from .windows import Pair, check_images, output_size, pad, pair, slices, windows

__all__ = ["AveragePooling", "MaxPooling"]


class _Pooling(Layer):
    """What both poolings share: their options, and the way back from windows to images."""

    def __init__(self, size: int | Pair, /, *, stride: int | Pair | None = None, padding: int | Pair = 0) -> None:
        name = type(self).__name__
        self.size = pair(name, "size", size, 1)
        self.stride = self.size if stride is None else pair(name, "stride", stride, 1)
        self.padding = pair(name, "padding", padding, 0)
        if any(2 * p > k for p, k in zip(self.padding, self.size, strict=True)):
            raise ValueError(
                f"{name}: padding {padding!r} is more than half of the window {size!r}: some windows "
                "would see nothing; choose less"
            )

    def _window(self, xp: Namespace, x: Array, value: float) -> tuple[Array, Pair, Pair, Pair, Pair]:
        """What `windows` and `slices` are given, where the padding holds `value`."""
        out = output_size(type(self).__name__, x.shape[2:], self.size, self.stride, self.padding)
        self.shape, (down, right) = x.shape, self.padding
        return pad(xp, x, down, down, right, right, value), self.size, self.stride, (1, 1), out

    def _back(self, xp: Namespace, given: list[Array]) -> Array:
        """Images of the sums of `given`, each added where a place of the window saw it: `_windows` backwards.

        With place i = q stride + r, the r tell rows apart that never meet: given of one r are shifted by q and
        added, and the sums for r = 0, 1, ... then stand row by row between each other.
        """
        (kh, kw), (sh, sw) = self.size, self.stride
        qh, qw = -(-kh // sh), -(-kw // sw)
        by_row = []
        for ri in range(sh):
            by_column = []
            for rj in range(sw):
                shifted = [
                    pad(xp, given[(qi * sh + ri) * kw + qj * sw + rj], qi, qh - 1 - qi, qj, qw - 1 - qj)
                    for qi in range(qh)
                    for qj in range(qw)
                    if qi * sh + ri < kh and qj * sw + rj < kw
                ]
                shifted = shifted or [pad(xp, 0 * given[0], 0, qh - 1, 0, qw - 1)]  # rows that no window sees
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
        How far the window moves; by its own size where not given.
    padding : int or (int, int), default 0
        Rows and columns around the images, of minus infinity: padding never wins. At most half the window.

    Notes
    -----
    A small change of the largest value changes the output as much, one of the others does nothing: ``dout`` goes back
    to where the maximum was, to the first of equals, row by row. Where windows overlap, what goes back adds up.

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

    def forward(self, x: Array, /) -> Array:
        """The largest values, shape (N, C, rows, columns).

        Parameters
        ----------
        x : array of real floating dtype, shape (N, C, H, W)
        """
        xp = namespace(x=x)
        check_images(xp, "MaxPooling", x)
        seen = xp.permute_dims(windows(*self._window(xp, x, float("-inf"))), (2, 3, 0, 1, 4, 5))
        self.seen = xp.reshape(seen, (self.size[0] * self.size[1], *seen.shape[2:]))
        self.y = xp.max(self.seen, axis=0)
        return self.y

    def backward(self, dout: Array, /) -> Array:
        """The derivative by `x`."""
        xp, given = namespace(dout=dout, y=self.y), []
        for i in range(self.seen.shape[0]):
            share, dout = _give(dout, self.y, self.seen[i, ...])
            given.append(share)
        return self._back(xp, given)


@elementwise
def _give(dout: Array, y: Array, seen: Array) -> tuple[Array, Array]:
    """What goes back to one place of the window, and what is left for the next of equals."""
    share = dout * namespace(dout=dout, y=y).astype(seen == y, dout.dtype)
    return share, dout - share


class AveragePooling(_Pooling):
    """The mean of each window; padding does not count.

    Parameters
    ----------
    size : int or (int, int)
        Height and width of the window.
    stride : int or (int, int), optional
        How far the window moves; by its own size where not given.
    padding : int or (int, int), default 0
        Rows and columns around the images that a window may reach over; they are left out of the mean. At most half
        the window.

    Notes
    -----
    Each of n values has a share of 1/n in the mean, and gets ``dout / n`` back from each window that saw it.

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

    def forward(self, x: Array, /) -> Array:
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

    def backward(self, dout: Array, /) -> Array:
        """The derivative by `x`."""
        xp = namespace(dout=dout)
        share = dout / self.count
        return self._back(xp, [share] * (self.size[0] * self.size[1]))

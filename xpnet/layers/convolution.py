"""Convolution and pooling of images, arrays of shape (N, C, H, W)."""

from collections.abc import Sequence
from typing import Any, TypeAlias

from .._array import Array, Namespace, check_floating, device, namespace

__all__ = ["AveragePooling", "Convolution", "MaxPooling", "output_size", "pair"]

Pair: TypeAlias = tuple[int, int]


def pair(where: str, name: str, value: Any, least: int) -> Pair:
    """An option for height and width: one integer for both, or two."""
    both = value if isinstance(value, (tuple, list)) else (value, value)
    if len(both) != 2 or not all(isinstance(v, int) and not isinstance(v, bool) and v >= least for v in both):
        raise ValueError(f"{where}: {name} must be an integer from {least}, or two of them, got {value!r}")
    return both[0], both[1]


def output_size(
    where: str, sides: Sequence[int], size: Any, stride: Any = 1, padding: Any = 0, dilation: Any = 1
) -> Pair:
    """Height and width of what comes out where a window of `size` moves over an image of height and width `sides`."""
    options = (("size", size, 1), ("stride", stride, 1), ("padding", padding, 0), ("dilation", dilation, 1))
    k, s, p, d = (pair(where, name, value, least) for name, value, least in options)
    out = [1 + (sides[i] + 2 * p[i] - d[i] * (k[i] - 1) - 1) // s[i] for i in (0, 1)]
    if min(out) < 1:
        raise ValueError(
            f"{where}: a window of {k[0]} x {k[1]} (dilation {d[0]} x {d[1]}) does not fit into an image of "
            f"{sides[0]} x {sides[1]} with padding {p[0]} x {p[1]}; choose a smaller one, or more padding"
        )
    return out[0], out[1]


def _check_images(xp: Namespace, where: str, x: Array) -> None:
    check_floating(xp, where, x=x)
    if x.ndim != 4:
        raise ValueError(f"{where}: x must be images of shape (N, C, H, W), got {tuple(x.shape)}")


def _pad(xp: Namespace, x: Array, top: int, bottom: int, left: int, right: int, value: float = 0.0) -> Array:
    """Add rows and columns of `value` around images; negative numbers take some away."""
    x = x[..., max(-top, 0) : x.shape[2] - max(-bottom, 0), max(-left, 0) : x.shape[3] - max(-right, 0)]
    for axis, before, after in ((3, left, right), (2, top, bottom)):
        sides = []
        for width in (before, after):
            shape = (*x.shape[:axis], max(width, 0), *x.shape[axis + 1 :])
            sides.append(xp.full(shape, value, dtype=x.dtype, device=device(x)))
        if before > 0 or after > 0:
            x = xp.concat([sides[0], x, sides[1]], axis=axis)
    return x


def _spread(xp: Namespace, x: Array, stride: Pair) -> Array:
    """Put stride - 1 rows and columns of zeros after each row and column."""
    n, c, h, w = x.shape
    if stride == (1, 1):
        return x
    x = xp.reshape(x, (n, c, h, 1, w, 1))
    for axis, s in ((3, stride[0]), (5, stride[1])):
        shape = (*x.shape[:axis], s - 1, *x.shape[axis + 1 :])
        x = xp.concat([x, xp.zeros(shape, dtype=x.dtype, device=device(x))], axis=axis)
    return xp.reshape(x, (n, c, h * stride[0], w * stride[1]))


def _windows(x: Array, size: Pair, stride: Pair, dilation: Pair, out: Pair) -> list[Array]:
    """For each place in a window, row by row, what it sees as the window moves: slices of shape (N, C, *out)."""
    return [
        x[
            ...,
            i * dilation[0] : i * dilation[0] + stride[0] * (out[0] - 1) + 1 : stride[0],
            j * dilation[1] : j * dilation[1] + stride[1] * (out[1] - 1) + 1 : stride[1],
        ]
        for i in range(size[0])
        for j in range(size[1])
    ]


def _columns(xp: Namespace, x: Array, size: Pair, stride: Pair, dilation: Pair, out: Pair, groups: int) -> Array:
    """The windows as the columns of matrices, shape (N, groups, C / groups · window, out): what meets a filter."""
    windows = xp.stack(_windows(x, size, stride, dilation, out), axis=2)
    return xp.reshape(windows, (x.shape[0], groups, -1, out[0] * out[1]))


class Convolution:
    """Filters that move over images: each output is the inner product of a filter with the window below it, plus b.

    Parameters
    ----------
    W : array of real floating dtype, shape (filters, C / groups, height, width)
        The filters.
    b : array, shape (filters,), dtype of `W`
        Biases.
    stride : int or (int, int), default 1
        How far the window moves, down and to the right.
    padding : int or (int, int), default 0
        Rows of zeros above and below, columns of zeros left and right.
    dilation : int or (int, int), default 1
        The distance of neighbours in a window.
    groups : int, default 1
        Channels and filters are cut into so many groups; a filter sees the channels of its group.

    Attributes
    ----------
    dW, db : array
        dL/dW and dL/db, after `backward` or `backward_params`.

    Raises
    ------
    TypeError, ValueError
        If dtypes or shapes do not fit.

    Notes
    -----
    With the windows as the columns of a matrix X (one for each position, one row for each weight of a filter) and the
    filters as the rows of W, this is an affine layer for every position: Y = W X + b. So

    - dL/dW = Σ_n dout_n X_nᵀ, and dL/db sums ``dout`` over samples and positions;
    - x_p meets weight w_k at the output in position p - k: dL/dx_p = Σ_k w_k dout_{p-k}, a convolution too, of
      ``dout`` with the filters turned by half a circle, and filters and channels changing places. Where the window
      moved by more than 1, the positions it jumped over have no output: zeros stand in for them.

    References
    ----------
    Saito (2016), Deep Learning from Scratch, sections 7.2 and 7.4.

    Examples
    --------
    >>> import numpy as np
    >>> layer = Convolution(np.ones((1, 1, 2, 2)), np.zeros(1))
    >>> layer.forward(np.arange(9.0).reshape(1, 1, 3, 3))
    array([[[[ 8., 12.],
             [20., 24.]]]])
    >>> layer.backward(np.ones((1, 1, 2, 2)))
    array([[[[1., 2., 1.],
             [2., 4., 2.],
             [1., 2., 1.]]]])
    """

    def __init__(
        self,
        W: Array,
        b: Array,
        /,
        *,
        stride: int | Pair = 1,
        padding: int | Pair = 0,
        dilation: int | Pair = 1,
        groups: int = 1,
    ) -> None:
        if W.ndim != 4 or tuple(b.shape) != (W.shape[0],):
            raise ValueError(
                f"Convolution: W has shape {tuple(W.shape)} and b {tuple(b.shape)}; expected "
                "(filters, C / groups, height, width) and (filters,)"
            )
        if not isinstance(groups, int) or groups < 1 or W.shape[0] % groups:
            raise ValueError(
                f"Convolution: groups must be an integer that divides {W.shape[0]} filters, got {groups!r}"
            )
        self.W, self.b, self.groups = W, b, groups
        self.stride = pair("Convolution", "stride", stride, 1)
        self.padding = pair("Convolution", "padding", padding, 0)
        self.dilation = pair("Convolution", "dilation", dilation, 1)

    def forward(self, x: Array, /) -> Array:
        """The filtered images.

        Parameters
        ----------
        x : array, shape (N, C, H, W)

        Returns
        -------
        array, shape (N, filters, 1 + (H + 2 padding - dilation (height - 1) - 1) // stride, the same for width)
        """
        xp = namespace(x=x, W=self.W, b=self.b)
        _check_images(xp, "Convolution", x)
        check_floating(xp, "Convolution", x=x, W=self.W, b=self.b)
        filters, channels, *size = self.W.shape
        if x.shape[1] != channels * self.groups:
            raise ValueError(
                f"Convolution: x has {x.shape[1]} channels, shape {tuple(x.shape)}, but W expects "
                f"{channels * self.groups}, shape {tuple(self.W.shape)} in {self.groups} groups"
            )
        out = output_size("Convolution", x.shape[2:], tuple(size), self.stride, self.padding, self.dilation)
        self.shape, (down, right) = x.shape, self.padding
        padded = _pad(xp, x, down, down, right, right)
        self.columns = _columns(xp, padded, (size[0], size[1]), self.stride, self.dilation, out, self.groups)
        y = xp.reshape(self.W, (self.groups, filters // self.groups, -1)) @ self.columns
        return xp.reshape(y, (-1, filters, *out)) + self.b[:, None, None]

    def backward(self, dout: Array, /) -> Array:
        """The derivative by `x`; sets `dW` and `db` on the way."""
        self.backward_params(dout)
        xp = namespace(dout=dout, W=self.W)
        filters, channels, *size = self.W.shape
        _, _, height, width = self.shape
        turned = xp.flip(xp.reshape(self.W, (self.groups, filters // self.groups, channels, *size)), axis=(3, 4))
        turned = xp.reshape(xp.permute_dims(turned, (0, 2, 1, 3, 4)), (self.groups, channels, -1))
        spread = _spread(xp, dout, self.stride)
        reach = [self.dilation[i] * (size[i] - 1) for i in (0, 1)]
        top, left = (reach[i] - self.padding[i] for i in (0, 1))
        spread = _pad(
            xp,
            spread,
            top,
            height + reach[0] - top - spread.shape[2],
            left,
            width + reach[1] - left - spread.shape[3],
        )
        columns = _columns(xp, spread, (size[0], size[1]), (1, 1), self.dilation, (height, width), self.groups)
        return xp.reshape(turned @ columns, self.shape)

    def backward_params(self, dout: Array, /) -> None:
        """Set `dW` and `db` alone: all that the first layer of a network needs, at half the work."""
        xp = namespace(dout=dout, W=self.W)
        n, filters, *_ = dout.shape
        by_group = xp.reshape(dout, (n, self.groups, filters // self.groups, -1))
        dW = xp.sum(by_group @ xp.matrix_transpose(self.columns), axis=0)
        self.dW = xp.reshape(dW, self.W.shape)
        self.db = xp.sum(dout, axis=(0, 2, 3))

    def gradients(self) -> tuple[Array, Array]:
        """The derivatives by the parameters, after `backward`."""
        return self.dW, self.db


class _Pooling:
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

    def _windows(self, xp: Namespace, x: Array, value: float) -> list[Array]:
        """What each place of a window sees, where the padding holds `value`."""
        out = output_size(type(self).__name__, x.shape[2:], self.size, self.stride, self.padding)
        self.shape, (down, right) = x.shape, self.padding
        return _windows(_pad(xp, x, down, down, right, right, value), self.size, self.stride, (1, 1), out)

    def _back(self, xp: Namespace, slices: list[Array]) -> Array:
        """Images of the sums of `slices`, each added where a place of the window saw it: `_windows` backwards.

        With place i = q stride + r, the r tell rows apart that never meet: slices of one r are shifted by q and
        added, and the sums for r = 0, 1, ... then stand row by row between each other.
        """
        (kh, kw), (sh, sw) = self.size, self.stride
        qh, qw = -(-kh // sh), -(-kw // sw)
        by_row = []
        for ri in range(sh):
            by_column = []
            for rj in range(sw):
                shifted = [
                    _pad(xp, slices[(qi * sh + ri) * kw + qj * sw + rj], qi, qh - 1 - qi, qj, qw - 1 - qj)
                    for qi in range(qh)
                    for qj in range(qw)
                    if qi * sh + ri < kh and qj * sw + rj < kw
                ]
                none = _pad(xp, 0 * slices[0], 0, qh - 1, 0, qw - 1)
                by_column.append(sum(shifted[1:], start=shifted[0]) if shifted else none)
            by_row.append(xp.stack(by_column, axis=-1))
        n, c, height, width = self.shape
        sums = xp.stack(by_row, axis=3)  # (N, C, rows, sh, columns, sw)
        rows, columns = sums.shape[2] * sh, sums.shape[4] * sw
        (down, right) = self.padding
        whole = xp.reshape(sums, (n, c, rows, columns))
        return _pad(xp, whole, -down, height + down - rows, -right, width + right - columns)


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
        _check_images(xp, "MaxPooling", x)
        self.windows = self._windows(xp, x, float("-inf"))
        y = self.windows[0]
        for window in self.windows[1:]:
            y = xp.maximum(y, window)
        self.y = y
        return y

    def backward(self, dout: Array, /) -> Array:
        """The derivative by `x`."""
        xp = namespace(dout=dout, y=self.y)
        slices = []
        for window in self.windows:
            won = window == self.y
            slices.append(xp.where(won, dout, 0.0))
            dout = xp.where(won, 0.0, dout)  # given away: the next of equals gets nothing
        return self._back(xp, slices)


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
        _check_images(xp, "AveragePooling", x)
        windows = self._windows(xp, x, 0.0)
        ones = xp.ones((1, 1, *x.shape[2:]), dtype=x.dtype, device=device(x))
        seen = self._windows(xp, ones, 0.0) if any(self.padding) else windows
        self.shape = x.shape
        self.count = sum(seen[1:], start=seen[0]) if any(self.padding) else len(windows)
        return sum(windows[1:], start=windows[0]) / self.count

    def backward(self, dout: Array, /) -> Array:
        """The derivative by `x`."""
        xp = namespace(dout=dout)
        share = dout / self.count
        return self._back(xp, [share] * (self.size[0] * self.size[1]))

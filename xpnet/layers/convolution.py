"""Convolution of images, arrays of shape (N, C, H, W)."""

from collections.abc import Iterator
from typing import Any, Never

from .._array import check_floating, namespace
from .._typing import Array
from .._validation import check_integer, check_names
from ..backends import Functions, backend_of
from .base import Layer
from .precision import Precision, check_precision, in_precision
from .windows import Pair, check_images, output_size, pad, pair, spread, windows

__all__ = ["Convolution"]


class Convolution(Layer):
    """Convolution of images with filters: each output is the inner product of a filter and a window, plus a bias.

    Parameters
    ----------
    W : array of real floating dtype, shape (filters, C / groups, height, width)
        The filters.
    b : array, shape (filters,), dtype of `W`
        Biases.
    stride : int or (int, int), default 1
        The step of the window: down, and to the right.
    padding : int or (int, int), default 0
        The number of rows of zeros above and below, and of columns of zeros left and right.
    dilation : int or (int, int), default 1
        The distance between neighboring elements of a window.
    groups : int, default 1
        The number of groups into which channels and filters are divided. A filter uses only the channels of its
        group.
    precision : {"bfloat16", "float16"}, optional
        The dtype of the products, see `nn.Dense`. Default: the dtype of `W`.

    Attributes
    ----------
    dW, db : array
        dL/dW and dL/db. Available after `backward` or `backward_params`.

    Raises
    ------
    TypeError
        If `x`, `W` and `b` do not have the same real floating dtype.
    ValueError
        If the shapes of `W` and `b` are not as above, if `x` has another number of channels, or if the window is
        larger than the padded image.

    Notes
    -----
    Let the windows be the columns of a matrix X, with one column for each position and one row for each weight of a
    filter. Let the filters be the rows of W. Then convolution is an affine layer at every position, Y = W X + b. So

    - dL/dW = Σ_n dout_n X_nᵀ, and dL/db is the sum of ``dout`` over samples and positions;
    - x_p is multiplied by the weight w_k in the output at position p - k, so dL/dx_p = Σ_k w_k dout_{p-k}. This is a
      convolution, too: of ``dout`` with the filters rotated by 180 degrees, and with the axes of filters and channels
      exchanged. With a stride above 1, the skipped positions have no output, and ``dout`` is 0 there.

    The three products are the functions `convolve`, `by_images` and `by_filters` of this module. For arrays of
    PyTorch and JAX, xpnet calls the functions of these libraries, which compute the same and are faster.

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
        *,
        stride: int | Pair = 1,
        padding: int | Pair = 0,
        dilation: int | Pair = 1,
        groups: int = 1,
        precision: Precision | None = None,
        **others: Never,
    ) -> None:
        check_names("Convolution", others, {"pad": "padding"})
        if W.ndim != 4 or tuple(b.shape) != (W.shape[0],):
            raise ValueError(
                f"Convolution: W has shape {tuple(W.shape)} and b {tuple(b.shape)}; expected "
                "(filters, C / groups, height, width) and (filters,)"
            )
        groups = check_integer("Convolution: groups", groups, 1)
        if W.shape[0] % groups:
            raise ValueError(f"Convolution: {W.shape[0]} filters do not divide into {groups} groups")
        self.W, self.b, self.precision = W, b, check_precision("Convolution", precision)
        self.options: dict[str, Any] = {
            "stride": pair("Convolution", "stride", stride, 1),
            "padding": pair("Convolution", "padding", padding, 0),
            "dilation": pair("Convolution", "dilation", dilation, 1),
            "groups": groups,
        }
        self.functions = backend_of(W).convolution() or Functions(convolve, by_images, by_filters)

    def forward(self, x: Array) -> Array:
        """The convolution of the images with the filters.

        Parameters
        ----------
        x : array, shape (N, C, H, W)

        Returns
        -------
        array, shape (N, filters, 1 + (H + 2 padding - dilation (height - 1) - 1) // stride, the same for width)
        """
        xp = namespace(x=x, W=self.W, b=self.b)
        check_images(xp, "Convolution", x)
        check_floating(xp, "Convolution", x=x, W=self.W, b=self.b)
        _, channels, *size = self.W.shape
        stride, padding, dilation, groups = self.options.values()
        if x.shape[1] != channels * groups:
            raise ValueError(
                f"Convolution: x has {x.shape[1]} channels, shape {tuple(x.shape)}, but W expects "
                f"{channels * groups}, shape {tuple(self.W.shape)} in {groups} groups"
            )
        output_size("Convolution", x.shape[2:], tuple(size), stride, padding, dilation)
        self.x = x
        if self.precision is None:
            return self.functions.convolve(x, self.W, self.b, **self.options)
        nothing = xp.zeros_like(self.b)
        y = in_precision(
            self.precision,
            lambda x, W: self.functions.convolve(x, W, xp.astype(nothing, x.dtype), **self.options),
            x,
            self.W,
        )
        return y + xp.reshape(self.b, (-1, 1, 1))

    def backward(self, dout: Array) -> Array:
        """The derivative of the loss with respect to `x`; sets `dW` and `db`, too."""
        self.backward_params(dout)
        shape = self.x.shape
        return in_precision(
            self.precision, lambda W, dout: self.functions.by_images(shape, W, dout, **self.options), self.W, dout
        )

    def backward_params(self, dout: Array) -> None:
        """Set `dW` and `db` only. The first layer of a network needs no derivative with respect to its input."""
        shape = self.W.shape
        self.dW = in_precision(
            self.precision, lambda x, dout: self.functions.by_filters(x, shape, dout, **self.options), self.x, dout
        )
        self.db = namespace(dout=dout).sum(dout, axis=(0, 2, 3))

    def gradients(self) -> tuple[Array, Array]:
        """The derivatives with respect to the parameters, after `backward`."""
        return self.dW, self.db


def convolve(x: Array, W: Array, b: Array, *, stride: Pair, padding: Pair, dilation: Pair, groups: int) -> Array:
    """Y = W X + b."""
    xp, (filters, _, kh, kw), (down, right) = namespace(x=x, W=W, b=b), W.shape, padding
    backend = backend_of(x)
    out = output_size("Convolution", x.shape[2:], (kh, kw), stride, padding, dilation)
    rows = xp.reshape(W, (groups, filters // groups, -1))
    bias = xp.reshape(b, (groups, filters // groups, 1))
    padded = pad(xp, x, down, down, right, right)
    blocks = _columns(padded, (kh, kw), stride, dilation, out, groups)
    y = _joined([backend.times_each(rows, X) + bias for X, _ in blocks])
    return xp.reshape(y, (-1, filters, *out))


def by_images(
    shape: Any, W: Array, dout: Array, *, stride: Pair, padding: Pair, dilation: Pair, groups: int
) -> Array:
    """dL/dx for images of `shape`: the convolution of ``dout``, spread by the stride, with the rotated filters."""
    xp, (filters, channels, *size), (_, _, *sides) = namespace(dout=dout, W=W), W.shape, shape
    turned = xp.flip(xp.reshape(W, (groups, filters // groups, channels, *size)), axis=(3, 4))
    rows = xp.reshape(xp.permute_dims(turned, (0, 2, 1, 3, 4)), (groups, channels, -1))
    dout = spread(xp, dout, stride)
    reach = [dilation[i] * (size[i] - 1) for i in (0, 1)]
    before = [reach[i] - padding[i] for i in (0, 1)]
    after = [sides[i] + padding[i] - dout.shape[2 + i] for i in (0, 1)]
    dout = pad(xp, dout, before[0], after[0], before[1], after[1])
    blocks = _columns(dout, (size[0], size[1]), (1, 1), dilation, (sides[0], sides[1]), groups)
    return xp.reshape(_joined([backend_of(W).times_each(rows, X) for X, _ in blocks]), tuple(shape))


def by_filters(
    x: Array, shape: Any, dout: Array, *, stride: Pair, padding: Pair, dilation: Pair, groups: int
) -> Array:
    """dL/dW for filters of `shape`: the sum of dout_n X_nᵀ over the images."""
    xp, (_, filters, *out), (_, _, kh, kw), (down, right) = namespace(x=x, dout=dout), dout.shape, shape, padding
    backend = backend_of(x)
    dout = xp.reshape(dout, (-1, groups, filters // groups, out[0] * out[1]))
    padded = pad(xp, x, down, down, right, right)
    blocks = _columns(padded, (kh, kw), stride, dilation, (out[0], out[1]), groups)
    # OpenBLAS computes (X doutᵀ)ᵀ in two thirds of the time of dout Xᵀ.
    sums = [xp.sum(backend.matmul(X, xp.matrix_transpose(dout[part, ...])), axis=0) for X, part in blocks]
    dW = sum(sums[1:], start=sums[0])
    return xp.reshape(xp.matrix_transpose(dW), tuple(shape))


def _columns(
    x: Array, size: Pair, stride: Pair, dilation: Pair, out: Pair, groups: int
) -> Iterator[tuple[Array, slice]]:
    """Yield matrices of windows, shape (n, groups, C / groups · window, positions), and the slice of their images.

    The windows are the columns.

    A pixel is copied into the column of every window that contains it. To save memory, the matrices are made for a
    few images at a time.
    """
    xp, backend, (count, channels, *_) = namespace(x=x), backend_of(x), x.shape
    at_once = max(1, backend.block_size // (channels * size[0] * size[1] * out[0] * out[1]))
    starts = range(0, count, at_once) if count else [0]  # a traced batch may have no size: take all
    for start in starts:
        part = slice(start, min(start + at_once, count)) if count else slice(None)
        seen = windows(x[part, ...], size, stride, dilation, out)
        rows = channels // groups * size[0] * size[1]
        yield xp.reshape(seen, (-1, groups, rows, out[0] * out[1])), part


def _joined(blocks: list[Array]) -> Array:
    return blocks[0] if len(blocks) == 1 else namespace(x=blocks[0]).concat(blocks, axis=0)

"""Images of digits from files, made to look as those of MNIST: light on dark, in the middle, 20 of 28 high or wide.

Needs Pillow: the extra `images`.
"""

import importlib
import math
import os
from typing import Any, TypeAlias

import numpy as np

from .backends import not_installed

__all__ = ["read_digit"]

Host: TypeAlias = np.ndarray[Any, np.dtype[Any]]


def read_digit(path: str | os.PathLike[str], shape: tuple[int, ...]) -> Host:
    """The image in a file as a sample of `shape`.

    Parameters
    ----------
    path : path
        Of any format that Pillow reads, dark on light or light on dark.
    shape : tuple of int
        (D,), where D is a square number, or (1, H, W).

    Returns
    -------
    numpy.ndarray of float32, from 0 to 1
        An image that has the size already stays as it is, but for being turned light on dark. Others are cut to what
        is drawn on them, scaled and centred by its mass, as MNIST's were.

    Raises
    ------
    ValueError
        If the file is no image, nothing is drawn on it, or `shape` is that of no grey image.
    OSError
        If it cannot be read.

    Examples
    --------
    >>> import tempfile
    >>> from PIL import Image
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     page = np.full((200, 100), 255, dtype="uint8")
    ...     page[50:150, 40:60] = 0  # a stroke
    ...     Image.fromarray(page).save(f"{folder}/one.png")
    ...     digit = read_digit(f"{folder}/one.png", (1, 28, 28))
    >>> digit.shape, np.nonzero(digit[0].max(axis=1))[0][[0, -1]].tolist()
    ((1, 28, 28), [4, 23])
    """
    height, width = _sides(shape)
    grey = _grey(path)
    edge = np.concatenate([grey[0], grey[-1], grey[:, 0], grey[:, -1]])
    if np.median(edge) > 0.5:
        grey = 1 - grey
    if grey.shape != (height, width):
        grey = _centred(path, grey, height, width)
    return np.asarray(grey.reshape(shape), dtype="float32")


def _sides(shape: tuple[int, ...]) -> tuple[int, int]:
    side = math.isqrt(shape[0])
    if len(shape) == 1 and side * side == shape[0]:
        return side, side
    if len(shape) == 3 and shape[0] == 1:
        return shape[1], shape[2]
    raise ValueError(
        f"the network takes samples of shape {shape}, expected grey images: (D,) with D square, or (1, H, W)"
    )


def _grey(path: str | os.PathLike[str]) -> Host:
    """An image with numbers from 0 to 1."""
    try:
        image = importlib.import_module("PIL.Image")
    except ModuleNotFoundError as error:
        raise not_installed("images", error) from None
    try:
        with image.open(path) as file:
            return np.asarray(file.convert("L"), dtype="float32") / 255
    except image.UnidentifiedImageError:
        raise ValueError(f"{os.fspath(path)}: no image that Pillow reads") from None


def _centred(path: str | os.PathLike[str], grey: Host, height: int, width: int) -> Host:
    """What is drawn, 20 of 28 of the sides, with its mass in the middle."""
    image = importlib.import_module("PIL.Image")
    paper = np.median(grey)
    if grey.max() - paper < 0.1:
        raise ValueError(f"{os.fspath(path)}: nothing is drawn on it, light on dark or dark on light")
    grey = np.clip((grey - paper) / (grey.max() - paper), 0, 1)
    drawn = grey > 0.1
    (top, *_, bottom), (left, *_, right) = (np.repeat(np.nonzero(drawn.any(axis=axis))[0], 2) for axis in (1, 0))
    grey = grey[top : bottom + 1, left : right + 1]
    scale = 20 / 28 * min(height / grey.shape[0], width / grey.shape[1])
    size = [max(1, round(scale * side)) for side in grey.shape]
    small = image.fromarray((255 * grey).astype("uint8")).resize((size[1], size[0]), image.Resampling.BOX)
    small = np.asarray(small, dtype="float32") / 255
    out = np.zeros((height, width), dtype="float32")
    start = []
    for axis, (side, whole) in enumerate(zip(size, (height, width), strict=True)):
        mass = small.sum(axis=1 - axis)
        middle = float(np.arange(side) @ mass / mass.sum())
        start.append(min(max(round(whole / 2 - middle), 0), whole - side))
    out[start[0] : start[0] + size[0], start[1] : start[1] + size[1]] = small
    return out

"""Read images of digits from files, and prepare them like MNIST: light on dark, centered, 20 of 28 pixels large.

Needs Pillow: the extra `images`.
"""

import importlib
import math
import os
import warnings
from typing import Any, TypeAlias

import numpy as np

from .._files import check_input
from ..backends import not_installed

__all__ = ["read_digit"]

Host: TypeAlias = np.ndarray[Any, np.dtype[Any]]


def read_digit(path: str | os.PathLike[str], shape: tuple[int, ...]) -> Host:
    """Read the image of a digit from a file, as a sample of shape `shape`.

    Parameters
    ----------
    path : path
        An image file of any format that Pillow reads. The digit may be dark on light or light on dark. Transparent
        pixels count as background. The light must be even: a shadow in a photo looks like ink.
    shape : tuple of int
        The shape of a sample: (1, H, W), or (D,), where D is a square number.

    Returns
    -------
    numpy.ndarray of float32, from 0 to 1
        The image, light on dark. An image of the size of `shape` is not changed otherwise. Any other image is cropped
        to the digit, scaled, and centered by its center of mass, like the images of MNIST.

    Raises
    ------
    ValueError
        If the file is not an image, or is truncated, too large or blank. Also if `shape` is not the shape of a gray
        image.
    OSError
        If the file cannot be read.

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
    gray = _light_on_dark(path)
    if gray.shape != (height, width):
        gray = _centered(gray, height, width)
    return np.asarray(gray.reshape(shape), dtype="float32")


def _sides(shape: tuple[int, ...]) -> tuple[int, int]:
    side = math.isqrt(shape[0])
    if len(shape) == 1 and side * side == shape[0]:
        return side, side
    if len(shape) == 3 and shape[0] == 1:
        return shape[1], shape[2]
    raise ValueError(
        f"the network takes samples of shape {shape}, expected gray images: (D,) with D square, or (1, H, W)"
    )


def _light_on_dark(path: str | os.PathLike[str]) -> Host:
    """The image, light on dark. Transparent pixels become white, or black if the drawing is white."""
    gray, opaque = _gray(path)
    for paper in (1, 0):
        page: Host = opaque * gray + (1 - opaque) * paper
        if np.median(np.concatenate([page[0], page[-1], page[:, 0], page[:, -1]])) > 0.5:
            page = 1 - page
        if page.max() - np.median(page) >= 0.1:
            return page
    raise ValueError(f"{os.fspath(path)}: nothing is drawn on it, light on dark or dark on light")


def _gray(path: str | os.PathLike[str]) -> tuple[Host, Host]:
    """The gray values and the opacity of an image, turned the right way up; numbers from 0 to 1."""
    try:
        image, ops = (importlib.import_module(f"PIL.{name}") for name in ("Image", "ImageOps"))
    except ModuleNotFoundError as error:
        raise not_installed("images", error) from None
    with check_input(path).open("rb") as file, warnings.catch_warnings():
        warnings.simplefilter("error", image.DecompressionBombWarning)
        try:
            found = ops.exif_transpose(image.open(file))
            if found.mode.startswith("I"):  # 16 bits; `convert` would clip them to 8 bits
                gray = np.clip(np.asarray(found, dtype="float32") / 65535, 0, 1)
                return gray, np.ones_like(gray)
            gray, opaque = np.moveaxis(np.asarray(found.convert("RGBA").convert("LA"), dtype="float32") / 255, -1, 0)
            return gray, opaque
        except image.UnidentifiedImageError:
            raise ValueError(f"{os.fspath(path)}: no image that Pillow reads") from None
        except Exception as error:  # a decoder may raise any error for damaged data
            raise ValueError(f"{os.fspath(path)}: cannot be read as an image ({error})") from error


def _centered(gray: Host, height: int, width: int) -> Host:
    """The drawing, scaled to 20/28 of the height or width, with its center of mass in the middle."""
    image = importlib.import_module("PIL.Image")
    paper = np.median(gray)
    gray = np.clip((gray - paper) / (gray.max() - paper), 0, 1)
    drawn = gray > 0.1
    (top, *_, bottom), (left, *_, right) = (np.repeat(np.nonzero(drawn.any(axis=axis))[0], 2) for axis in (1, 0))
    gray = gray[top : bottom + 1, left : right + 1]
    scale = 20 / 28 * min(height / gray.shape[0], width / gray.shape[1])
    size = [max(1, round(scale * side)) for side in gray.shape]
    small = image.fromarray((255 * gray).astype("uint8")).resize((size[1], size[0]), image.Resampling.BOX)
    small = np.asarray(small, dtype="float32") / 255
    out = np.zeros((height, width), dtype="float32")
    start = []
    for axis, (side, whole) in enumerate(zip(size, (height, width), strict=True)):
        mass = small.sum(axis=1 - axis)
        middle = float(np.arange(side) @ mass / mass.sum())
        start.append(min(max(round(whole / 2 - middle), 0), whole - side))
    out[start[0] : start[0] + size[0], start[1] : start[1] + size[1]] = small
    return out

"""MNIST, and datasets in the same four files, such as Fashion-MNIST and KMNIST."""

import os
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from xpnet._array import device, find_dtype, is_floating, is_integral, namespace
from xpnet._validation import check_flag
from xpnet.backends import on_arrays_device
from xpnet.datasets.idx import read_idx

ENVIRONMENT_VARIABLE = "XPNET_MNIST"
"""The environment variable with the folder to read instead of the packaged data."""

_Set = tuple[npt.NDArray[Any], npt.NDArray[Any]]


@on_arrays_device
def scale_images(x: Any, dtype: Any) -> Any:
    """Scale images from integers of 0 to 255 to numbers of 0 to 1, in any array library.

    `load_mnist` does the same with ``normalize=True``: convert to `dtype`, then divide by 255 in that dtype. Integer
    images take a quarter of the memory, if they are scaled one mini-batch at a time. The result is the same to the
    last bit. On JAX, the last digit may differ, because its compiler multiplies by 1/255.

    Parameters
    ----------
    x : array of integers, any shape
        The gray values. MNIST's are uint8.
    dtype : dtype of the library of `x`, or its name, such as "float32"
        A real floating dtype.

    Returns
    -------
    array of `dtype`, shape of `x`
        The scaled images, in the library and on the device of `x`. `x` is not changed.

    Raises
    ------
    TypeError
        If `x` does not have an integer dtype, or if `dtype` is not a real floating dtype.

    Examples
    --------
    >>> import numpy as np
    >>> from xpnet.datasets import scale_images
    >>> scale_images(np.asarray([[0, 51, 255]], dtype=np.uint8), np.float64)
    array([[0. , 0.2, 1. ]])
    """
    xp = namespace(x=x)
    if not is_integral(xp, x.dtype):
        raise TypeError(
            f"scale_images: x has dtype {x.dtype}, expected integers of 0 to 255: images of 0 to 1 need no scaling"
        )
    try:
        real = find_dtype(xp, dtype, device(x)) if isinstance(dtype, str) else dtype
        floating = is_floating(xp, real)
    except (AttributeError, TypeError):  # no dtype, or another library's
        floating = False
    if not floating:
        raise TypeError(
            f"scale_images: dtype is {dtype!r}, expected a real floating-point dtype of the library of x: "
            f"pass {xp.float32!r}, for example"
        )
    scaled = xp.astype(x, real)  # a new array, so it may be written into; another one would cost time
    scaled /= 255
    return scaled


def _read(folder: Any, kind: str, form: str, ndim: int) -> npt.NDArray[np.uint8]:
    """Read one of the four files. `folder` is a path or the packaged data, which may be in a zip file."""
    names = [f"{kind}{mark}{form}-ubyte{end}" for mark in "-." for end in ("", ".gz")]
    for name in names:
        file = folder / name
        if file.is_file():
            break
    else:
        raise FileNotFoundError(
            f"load_mnist: {folder} holds none of {', '.join(names)}: put one of them there, or pass another folder"
        )
    with resources.as_file(file) as path:
        try:
            array = read_idx(path, ndim=ndim, dtype=np.uint8)
        except ValueError as error:
            raise ValueError(f"load_mnist: cannot use {name}: {error}") from error
    if array.size == 0:
        raise ValueError(
            f"load_mnist: {file} is empty, shape {array.shape}, expected at least one element: pass another folder"
        )
    return array


def _read_set(folder: Any, kind: str, normalize: bool) -> _Set:
    """The images, (N, H, W), and the labels, (N,), of the kind 'train' or 't10k'."""
    t = _read(folder, f"{kind}-labels", "idx1", 1)
    x: npt.NDArray[Any] = _read(folder, f"{kind}-images", "idx3", 3)
    if x.shape[0] != t.shape[0]:
        raise ValueError(
            f"load_mnist: {folder} holds {x.shape[0]} {kind} images, shape {x.shape}, but {t.shape[0]} "
            f"{kind} labels, shape {t.shape}: take both files from the same data set"
        )
    if normalize:  # x.astype(float32) / 255, without a temporary array
        x = np.divide(x, np.float32(255), dtype=np.float32)
    return x, t


def _one_hot(t: npt.NDArray[np.uint8], classes: int) -> npt.NDArray[np.float32]:
    out = np.zeros((t.shape[0], classes), dtype=np.float32)
    out[np.arange(t.shape[0]), t] = 1
    return out


def _folder(path: str | os.PathLike[str] | None) -> Any:
    """The folder to read: the argument, else the environment variable, else the packaged data."""
    named = "path"
    if path is None:
        named, path = ENVIRONMENT_VARIABLE, os.environ.get(ENVIRONMENT_VARIABLE)
        if not path:
            return resources.files("xpnet.datasets") / "data"
    if not isinstance(path, (str, os.PathLike)):
        raise TypeError(f"load_mnist: path must be a folder, got {path!r}; name the options, as in normalize=False")
    if not os.fspath(path):
        raise ValueError(f"load_mnist: path must be a folder, got {path!r}; leave it out for the packaged data")
    folder = Path(path)
    if not folder.exists():
        raise FileNotFoundError(
            f"load_mnist: {named} is {folder}, which does not exist, expected a folder with the four files "
            "of MNIST: check it, or leave it out for the packaged data"
        )
    if not folder.is_dir():
        raise ValueError(
            f"load_mnist: {named} is {folder}, a file, expected a folder with the four files of MNIST: pass "
            "its folder"
        )
    return folder


def load_mnist(
    path: str | os.PathLike[str] | None = None,
    *,
    normalize: bool = True,
    flatten: bool = True,
    one_hot_label: bool = False,
) -> tuple[_Set, _Set]:
    """Load MNIST: 60,000 images of handwritten digits to train with and 10,000 to test with.

    The images have 28 x 28 pixels. The files come with the package. Nothing is downloaded, cached or
    unpickled.

    Parameters
    ----------
    path : str or path-like, optional
        A folder with a dataset in the same format, such as Fashion-MNIST or KMNIST, with images of any size. The
        files are ``train-images-idx3-ubyte``, ``train-labels-idx1-ubyte``, ``t10k-images-idx3-ubyte`` and
        ``t10k-labels-idx1-ubyte``, each plain or gzipped with ``.gz``. A dot in the name, as in
        ``train-images.idx3-ubyte``, is accepted, too. Default: the folder in the environment variable
        ``XPNET_MNIST``, if it is set and not empty; otherwise the packaged data.
    normalize : bool
        Whether to scale the gray values to numbers of 0 to 1 (see `scale_images`).
    flatten : bool
        Whether to flatten each image to one row.
    one_hot_label : bool
        Whether to convert the labels to one-hot rows.

    Returns
    -------
    (x_train, t_train), (x_test, t_test) : pairs of numpy.ndarray
        Images have shape (N, 784) if `flatten`, else (N, 1, 28, 28). They are float32 of 0 to 1 if `normalize`, else
        uint8 of 0 to 255. Labels have shape (N,) and dtype uint8. With `one_hot_label`, they have shape (N, K) and
        dtype float32. K is 10, or more if the training labels contain numbers above 9.

    Raises
    ------
    FileNotFoundError
        If the folder or one of the four files is missing.
    ValueError
        If a file is empty, damaged or not an IDX file of uint8 (see `read_idx`). If images and labels are exchanged,
        or have different numbers. If training and test images have different sizes. With `one_hot_label`, if a test
        label is larger than all training labels.

    Examples
    --------
    >>> from xpnet.datasets import load_mnist
    >>> (x_train, t_train), (x_test, t_test) = load_mnist()
    >>> x_train.shape, x_train.dtype, x_test.shape
    ((60000, 784), dtype('float32'), (10000, 784))
    >>> t_train[:5]
    array([5, 0, 4, 1, 9], dtype=uint8)
    """
    options = {"normalize": normalize, "flatten": flatten, "one_hot_label": one_hot_label}
    for name, value in options.items():
        check_flag(f"load_mnist: {name}", value)
    folder = _folder(path)
    x_train, t_train = _read_set(folder, "train", normalize)
    x_test, t_test = _read_set(folder, "t10k", normalize)
    if x_train.shape[1:] != x_test.shape[1:]:
        raise ValueError(
            f"load_mnist: {folder} holds train images of shape {x_train.shape[1:]}, but t10k images of shape "
            f"{x_test.shape[1:]}: take both files from the same data set"
        )
    if flatten:
        x_train, x_test = (x.reshape(x.shape[0], -1) for x in (x_train, x_test))
    else:
        x_train, x_test = (x[:, np.newaxis] for x in (x_train, x_test))
    if one_hot_label:
        classes = max(10, int(t_train.max()) + 1)
        if int(t_test.max()) >= classes:
            raise ValueError(
                f"load_mnist: {folder} holds the t10k label {t_test.max()}, but the train labels make "
                f"{classes} classes, 0 to {classes - 1}: take both files from the same data set"
            )
        t_train, t_test = _one_hot(t_train, classes), _one_hot(t_test, classes)
    return (x_train, t_train), (x_test, t_test)

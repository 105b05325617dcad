"""Datasets: MNIST, datasets by name, a reader of the IDX format, and datasets that stay on disk.

Data is read with NumPy on the host; `train` moves it to a backend. Only `scale_images` works on the arrays of every
library.
"""

from xpnet.datasets.idx import read_idx
from xpnet.datasets.mnist import load_mnist, scale_images
from xpnet.datasets.registry import load, names, register
from xpnet.datasets.shards import Shards

__all__ = ["Shards", "load", "load_mnist", "names", "read_idx", "register", "scale_images"]


def __dir__() -> list[str]:
    return sorted(__all__)

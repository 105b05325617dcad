"""Datasets: by name, a reader of the IDX format, MNIST with its files, and datasets that stay on disk.

NumPy only: data is read on the host, and moved to a backend by whoever trains. `scale_images` alone is
written for every library.
"""

from xpnet.datasets.idx import read_idx
from xpnet.datasets.mnist import load_mnist, scale_images
from xpnet.datasets.registry import load, names, register
from xpnet.datasets.shards import Shards

__all__ = ["Shards", "load", "load_mnist", "names", "read_idx", "register", "scale_images"]

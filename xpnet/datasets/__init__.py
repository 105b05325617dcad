"""Data sets: a reader of the IDX format, and MNIST with its files.

NumPy only: data is read on the host, and moved to a backend by whoever trains. `scale_images` alone is
written for every library.
"""

from xpnet.datasets.idx import read_idx
from xpnet.datasets.mnist import load_mnist, scale_images

__all__ = ["load_mnist", "read_idx", "scale_images"]

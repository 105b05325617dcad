"""How the examples become pages, by sphinx-gallery."""

import tempfile
from pathlib import Path

from sphinx_gallery.scrapers import figure_rst

PICTURES = Path(tempfile.mkdtemp(prefix="xpnet-pictures-"))
"""Where the examples put theirs."""

READING_ORDER = [
    "numerical_differentiation",
    "gradient_field",
    "gradient_descent",
    "simple_net",
    "apples",
    "apples_and_oranges",
    "gradient_check",
    "written_step",
    "train_mnist",
    "optimizers_valley",
    "optimizers_mnist",
    "initial_weights",
    "batch_normalization",
    "overfitting",
    "learned_filters",
    "grid_search",
    "dask_search",
    "larger_than_memory",
    "bridges",
    "onnx_training",
    "killed_run",
    "every_backend",
    "inside_other_code",
]


class ReadingOrder:
    """The place of an example in the gallery; one that has none is an error."""

    def __init__(self, folder):
        pass

    def __call__(self, filename):
        return READING_ORDER.index(Path(filename).stem)


def folder_of_pictures(gallery_conf, script_vars):
    """The argument that an example is run with."""
    return [str(PICTURES)]


def saved_pictures(block, block_vars, gallery_conf):
    """Take the pictures that an example has just saved into the gallery."""
    taken = []
    for picture in sorted(PICTURES.glob("*.png"), key=lambda path: path.stat().st_mtime_ns):
        taken.append(next(block_vars["image_path_iterator"]))
        Path(taken[-1]).write_bytes(picture.read_bytes())
        picture.unlink()
    return figure_rst(taken, gallery_conf["src_dir"])

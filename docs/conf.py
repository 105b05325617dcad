"""The site. Building it runs every example and every cell of the tutorial; an error or a warning fails the build."""

import sys
from pathlib import Path

import xpnet

sys.path.insert(0, str(Path(__file__).parent))  # for gallery.py and mathml.py

project, author, copyright = "xpnet", "the xpnet authors", "the xpnet authors"
version = release = xpnet.__version__
extensions = ["myst_nb", "numpydoc", "sphinx.ext.autosummary", "sphinx_gallery.gen_gallery", "mathml"]
exclude_patterns = ["_build", "examples/*.ipynb"]  # a page of the gallery is not run twice
templates_path = ["_templates"]
html_math_renderer = "mathml"
html_theme = "furo"
html_title = "xpnet"

myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 2
nb_execution_mode = "force"
nb_execution_raise_on_error = True
nb_execution_timeout = 600
nb_merge_streams = True

autodoc_default_options = {"members": True}
autodoc_typehints = "none"  # the docstrings give shapes and dtypes, which types do not
numpydoc_show_class_members = False
# A summary, sections in numpydoc's names and order, parameters in theirs. (That there is a docstring, Ruff sees to.)
numpydoc_validation_checks = {"GL06", "GL07", "GL10", "SS01", "PR03"}
numpydoc_validation_exclude = {r"\.BACKENDS$"}

sphinx_gallery_conf = {
    "examples_dirs": "../examples",
    "gallery_dirs": "examples",
    "filename_pattern": r"\.py$",
    "within_subsection_order": "gallery.ReadingOrder",
    "reset_argv": "gallery.folder_of_pictures",
    "image_scrapers": ("gallery.saved_pictures",),
    "download_all_examples": False,
    "show_signature": False,
}

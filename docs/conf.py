"""The site. Building it runs every example and every cell of the tutorial; an error or a warning fails the build."""

import os
import sys
from pathlib import Path

from numpydoc.xref import DEFAULT_LINKS

import xpnet

sys.path.insert(0, str(Path(__file__).parent))  # for the modules beside this file

project, author, copyright = "xpnet", "the xpnet authors", "the xpnet authors"
version = release = xpnet.__version__
extensions = [
    "myst_nb",
    "numpydoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.intersphinx",
    "sphinx.ext.viewcode",
    "sphinx_copybutton",
    "sphinx_gallery.gen_gallery",
    "mathml",
    "playground.build",
    "reference",
    "short_names",
]
# A page of the gallery is not run twice. examples.md is for those who read the repository.
exclude_patterns = ["_build", "examples/*.ipynb", "examples.md"]
templates_path = ["_templates"]
default_role = "py:obj"  # `fit` in a docstring is a link to its page
html_math_renderer = "mathml"
html_theme = "furo"
html_title = f"xpnet {release}"
html_static_path = ["_static"]
html_css_files = ["pictures.css"]
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True

# Links to other projects. The few names that are linked stand in files here, so that the build needs no network.
intersphinx_mapping = {
    name: (url, f"links/{name}.txt")
    for name, url in {
        "python": "https://docs.python.org/3",
        "numpy": "https://numpy.org/doc/stable",
        "torch": "https://docs.pytorch.org/docs/stable",
        "jax": "https://docs.jax.dev/en/latest",
        "sklearn": "https://scikit-learn.org/stable",
    }.items()
}

myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3
nb_execution_mode = "force"
nb_execution_raise_on_error = True
nb_execution_timeout = 600
nb_execution_in_temp = True  # the pages write files
nb_merge_streams = True

autodoc_default_options = {"members": True}
autodoc_typehints = "none"  # the docstrings give shapes and dtypes, which types do not
numpydoc_show_class_members = False
# The classes in the types of parameters are links. The words that numpydoc would link to Python's pages are not.
numpydoc_xref_param_type = True
numpydoc_xref_ignore = "all"
numpydoc_xref_aliases = {word: word for word in DEFAULT_LINKS} | {
    name: f"xpnet.{name}" for name in xpnet.__all__ if name[0].isupper()
}
numpydoc_xref_aliases["numpy.random.Generator"] = "numpy.random.Generator"
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
    "remove_config_comments": True,
    "show_signature": False,
    "parallel": os.cpu_count(),
}

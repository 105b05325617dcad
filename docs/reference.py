"""The reference: a page that lists every public name. Sphinx makes the page of each name from its docstring.

The names are read from the package, so that a new one is listed at once.
"""

import ast
from collections import defaultdict
from pathlib import Path

import xpnet
from xpnet import datasets, nn

PACKAGE = Path(xpnet.__file__).parent
# The folder of the pages, the title of the section, and what it holds.
SECTIONS = {
    "functions": ("Functions", "The book's functions. They take and return arrays of any library."),
    "numerical": ("Numerical derivatives", "Derivatives by finite differences, and gradient descent."),
    "layers": (
        "Layers",
        "A layer object is used for one forward and one backward pass. Networks consist of descriptions of layers, "
        "which are in `nn`.",
    ),
    "losses": ("Losses", "Loss layers under the book's names. `nn` has their descriptions."),
    "nn": ("Networks", "A network is a `Sequential` of descriptions, with its parameters."),
    "nn.layers": ("nn: layers", "Descriptions of layers: `from xpnet import nn`, then `nn.Dense(50)`."),
    "nn.losses": ("nn: losses", "Descriptions of losses: the argument `loss` of `Sequential`."),
    "nn.initializers": ("nn: initial weights", "The argument `weight_init` of layers."),
    "optim": ("Optimizers and learning rates", "Optimizers, and learning rates that change during training."),
    "tracing": (
        "Tracing and batching",
        "`trace` records the operations of a function: to print, draw, count and run them. `vmap` makes a function "
        "for one input into a function for many inputs.",
    ),
    "training": (
        "Training",
        "`fit` trains any network on any data. `train` calls `fit` with the book's defaults. `fit_many` trains many "
        "networks at once.",
    ),
    "checking": ("Gradient check", "Backpropagation compared with numerical gradients."),
    "datasets": ("Datasets", "MNIST, files in MNIST's format, and datasets that stay on disk."),
    "backends": ("Backends", "The array libraries: which of them this machine can use, and on which devices."),
    "modules": ("Modules with an extra", "Import these modules by their names, as in `import xpnet.torch`."),
}
ELSEWHERE = {"trace": "tracing", "vmap": "tracing"}
"""The sections of names that are not listed with the other names of their room."""
MODULES = ("sklearn", "torch", "jax", "onnx", "datasets.images", "conformance")


def section_of(name):
    """The section of a name at the root of the package."""
    if name in ELSEWHERE:
        return ELSEWHERE[name]
    room = xpnet._home(name).partition(".")[0]
    value = getattr(xpnet, name)
    return "losses" if room == "layers" and isinstance(value, type) and issubclass(value, xpnet.Loss) else room


def section_of_description(name):
    """The section of a name in `nn`."""
    module = getattr(nn, name).__module__.rpartition(".")[2]
    is_loss = module == "losses" or name == "LossDescription"
    return "nn.losses" if is_loss else "nn.initializers" if module == "initializers" else "nn.layers"


def public_names(module):
    """The names in a module's `__all__`, read without importing it, since its library may be absent."""
    path = PACKAGE.joinpath(*module.split("."))
    tree = ast.parse((path / "__init__.py" if path.is_dir() else path.with_suffix(".py")).read_text(encoding="utf-8"))
    (names,) = (
        node.value for node in tree.body if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__"
    )
    return ast.literal_eval(names)


def sections():
    """The names of each section, in the order of SECTIONS."""
    found = defaultdict(list)
    for name in xpnet.__all__:
        found[section_of(name)].append(name)
    for name in nn.__all__:
        if getattr(nn, name) is getattr(xpnet, name, None):
            continue  # a network, listed at the root
        found[section_of_description(name)].append(f"nn.{name}")
    found["datasets"] += [f"datasets.{name}" for name in set(datasets.__all__) - set(xpnet.__all__)]
    found["modules"] = [f"{module}.{name}" for module in MODULES for name in public_names(module)]
    unknown = found.keys() - SECTIONS.keys()
    if unknown:
        raise KeyError(f"docs/reference.py: SECTIONS has no title for {sorted(unknown)}")
    return {key: sorted(found[key], key=str.lower) for key in SECTIONS}


def write(path):
    """Write the page that lists all names."""
    lines = ["# Reference", "", "Every public name, by the part of the package that it belongs to.", ""]
    for key, names in sections().items():
        title, text = SECTIONS[key]
        lines += [f"## {title}", "", text, "", "```{eval-rst}", ".. currentmodule:: xpnet", ".. autosummary::"]
        lines += [f"   :toctree: {key}", "", *(f"   {name}" for name in names), "```", ""]
    path.parent.mkdir(exist_ok=True)
    path.write_text("\n".join(lines), encoding="utf-8")


def setup(app):
    write(Path(app.srcdir) / "generated" / "api.md")
    return {"parallel_read_safe": True, "parallel_write_safe": True}

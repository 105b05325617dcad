"""The libraries of the checks, which xpnet has no line of code for, and the outcomes that are expected on each."""

import importlib.metadata
import warnings
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from checks import CHECKS, Arrays

PASSED = "passed"


class Library(NamedTuple):
    """A library, and the checks that do not pass on it: a part of the error's message, by check."""

    name: str
    version: str
    load: Callable[[], Arrays]
    failing: dict[str, str] = {}
    note: str = ""

    @property
    def title(self):
        return f"{self.name} {self.version}"

    @property
    def missing(self):
        """Why the library cannot run here, or an empty string."""
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # the library's own
                self.load()
            found = importlib.metadata.version(self.name) if self.name != "strict" else self.version
        except Exception as error:  # not installed, or such as a missing driver
            return f"{self.title} NOT RUN: {type(error).__name__}: {error}"
        if found != self.version:
            return f"{self.title} NOT RUN: {found} is installed, whose outcomes may be others"
        return ""

    def expected(self, check):
        return self.failing.get(check, PASSED)


def _module(name, read=np.asarray):
    return lambda: Arrays(importlib.import_module(name).asarray, read)


def _strict(version):
    def load():
        strict = importlib.import_module("array_api_strict")
        strict.set_array_api_strict_flags(api_version=version)
        return Arrays(strict.asarray, np.asarray)

    return load


def _dpnp():
    dpnp = importlib.import_module("dpnp")
    return Arrays(dpnp.asarray, dpnp.asnumpy)


def _marray():
    return Arrays(importlib.import_module("marray").masked_namespace(np).asarray, lambda a: a.data)


_READ = ("to_numpy", *(name for name in CHECKS if name.startswith(("fit", "evaluate", "train"))))
"""The checks that read values as NumPy arrays."""
_OLD = "follows version 2023.12 of the array API standard; xpnet needs version 2024.12 or newer"

LIBRARIES = [
    Library("strict", "2025.12", _strict("2025.12")),
    Library("strict", "2024.12", _strict("2024.12")),
    Library(
        "strict",
        "2023.12",
        _strict("2023.12"),
        {name: _OLD for name in CHECKS if name != "to_numpy"},
        "the error says that xpnet needs version 2024.12 or newer. In older versions, `where` and `maximum` do "
        "not take Python numbers. The other libraries in the table follow newer versions.",
    ),
    Library("dpnp", "0.20.0", _dpnp),
    Library("mlx", "0.32.4", _module("mlx.core")),
    Library(
        "cubed",
        "0.27.0",
        _module("cubed"),
        dict.fromkeys(("Convolution", "MaxPooling, AveragePooling"), "Array must have regular chunks")
        | {"fit with convolution and dropout": "Not equal to tolerance"},
        "cubed cannot concatenate chunks of different sizes, as a convolution with padding does. `fit with "
        "convolution and dropout` gives a wrong result, which is a defect of cubed: `take` with as many indices as "
        "there are rows returns the rows in their old order. xpnet does not detect this, because it would have to "
        "compute values to compare them. So use mini-batches that are smaller than the dataset, and do not give an "
        "`Embedding` as many ids as it has rows.",
    ),
    Library(
        "marray",
        "0.0.12",
        _marray,
        dict.fromkeys(_READ, "to_numpy: marray has neither DLPack to the CPU"),
        "marray's arrays cannot be converted to NumPy: `__dlpack__` does not take `dl_device`, and there is no "
        "`__array__`.",
    ),
    Library(
        "ndonnx",
        "0.23.0",
        _module("ndonnx", lambda a: a.unwrap_numpy()),
        dict.fromkeys(_READ, "to_numpy: ndonnx has neither DLPack to the CPU"),
        "ndonnx's arrays have neither DLPack to the CPU nor `__array__`. It is for exporting, see [ONNX](onnx.md).",
    ),
    Library(
        "sparse",
        "0.19.3",
        _module("sparse", lambda a: a.todense() if hasattr(a, "todense") else a),
        {
            **{name: "consistent fill-values" for name in _READ},
            **dict.fromkeys(
                ("one_hot", "accuracy, confusion_matrix", "numerical_gradient", "losses", "gradient of a network"),
                "module 'sparse' has no attribute 'arange'",
            ),
            "to_numpy": "Cannot convert a sparse array to dense automatically",
            "Embedding": "only integers, slices",
        },
        "sparse has no `arange`, its `take` does not take an array of indices, and its `stack` does not take values "
        "whose fill values are different.",
    ),
    Library(
        "blosc2",
        "4.14.1",
        _module("blosc2", lambda a: a[:]),
        {
            name: "whose operations return another type, blosc2.lazyexpr.LazyExpr"
            for name in CHECKS
            if name != "to_numpy"
        },
        "its arrays are refused: operations on them return expressions, which are no arrays.",
    ),
]


def page():
    """The table as a section of docs/conformance.md."""
    titles = [library.title for library in LIBRARIES]
    rows = [["check", *titles], ["---", *("---:" for _ in titles)]]
    for check in CHECKS:
        rows.append([check, *("yes" if library.expected(check) == PASSED else "no" for library in LIBRARIES)])
    count = len(CHECKS)
    rows.append(["**passed**", *(f"{count - len(library.failing)} of {count}" for library in LIBRARIES)])
    table = "\n".join(f"| {' | '.join(row)} |" for row in rows)
    notes = "\n".join(f"- **{library.title}**: {library.note}" for library in LIBRARIES if library.note)
    return f"""{HEADING}

xpnet is written for any library that follows version 2024.12 of the array API standard, or a newer version. The
table shows what works. *strict* is array-api-strict, which follows one version of the standard exactly. For the
arrays of the other libraries, xpnet has no code of its own. dpnp ran on its OpenCL runtime for the CPU, MLX on the
CPU. Each check is a typical first use of a function or class, whose result is compared with the result of NumPy.
`nox -s others` runs the checks. The command fails if an outcome differs from this table.

{table}

A check that does not pass ends with an error, except for one wrong result on cubed:

{notes}
"""


HEADING = "## Other libraries"

"""Every case on every backend, device and dtype."""

import platform
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from typing import Any

from .. import __version__, layers
from .._array import dtype_name, from_host, index_dtype
from .._typing import Array
from ..backends import BACKENDS, Backend, get_backend
from ..layers.precision import HALF
from ..training.progress import Progress
from .cases import CASES, Host
from .measures import HALF_EPS, Cell, measure
from .report import Column, Report
from .vectors import Outside, Vector, check, load

__all__ = ["run"]


def run(backends: Sequence[str] | None = None, *, device: str | None = None, progress: bool = False) -> Report:
    """Measure every function and layer, and check ONNX's test vectors.

    Parameters
    ----------
    backends : sequence of str, optional
        The names of backends in `BACKENDS`. Default: all usable backends. Each backend is measured on the first
        device of each kind, in float32 and float64. Layers with products are measured in half precision, too, where
        the library has it. A dtype that is missing on a device is left out. JAX has float64
        after ``jax.config.update("jax_enable_x64", True)``.
    device : str, optional
        The only device to measure on, such as "cuda" or "cuda:1", see `xpnet backends`.
    progress : bool, default False
        Whether to print a line after each column of the table, and to show a progress bar on a terminal.

    Returns
    -------
    Report
        The result. ``report.ok`` is True if nothing is wrong, ``print(report)`` shows the tables, and ``report.save``
        writes them to a file.

    Raises
    ------
    ValueError, BackendUnavailable
        If a backend is unknown or cannot be used on this machine, or if it does not have the device.

    Notes
    -----
    Error: the result is compared with the definition, which is written a second time in float64. Both get the same
    numbers, rounded to the dtype. The error is the largest difference, divided by the largest number, in units of
    eps, the machine epsilon of the dtype.

    Error of the gradient: the derivative in a random direction, from the gradient of `backward`, is compared with the
    derivative of the definition. The latter is computed by a complex step, without differences. The error is relative
    to the sum of the absolute values of the terms, in eps.

    Taylor order: f(x + h v) - f(x) - h <gradient, v> decreases like h² if the gradient is that of the computed
    function, and like h if not. The definition is not used.

    References
    ----------
    Squire and Trapp (1998), Using complex variables to estimate derivatives of real functions, SIAM Review 40.

    Examples
    --------
    >>> report = run(["numpy"])
    >>> report.ok
    True
    >>> report.cells["Affine", report.columns[0]].order > 1.9
    True
    """
    if backends is None:
        backends = [name for name, backend in BACKENDS.items() if backend.problem is None]
    chosen = [get_backend(name) for name in dict.fromkeys(backends)]
    absent = {name: b.problem or "not asked for" for name, b in BACKENDS.items() if name not in backends}
    vectors, without = _vectors()
    columns = [column for backend in chosen for column in _columns(backend, device)]
    cells: dict[tuple[str, Column], Cell] = {}
    answers: dict[tuple[str, str], str] = {}
    outside: dict[str, str] = {}
    places = {column.place: column for column in reversed(columns)}
    with Progress(len(columns) * len(CASES) + len(places) * len(vectors), shown=progress, unit="case") as bar:

        def told(name: str, problems: list[str], start: float) -> None:
            wrong = sum(map(bool, problems))
            bar.line(f"{name:<16} {len(problems):>4} checked {wrong:>4} wrong  {time.perf_counter() - start:6.1f} s")

        for column in columns:
            start = time.perf_counter()
            with _at(column) as (xp, device):
                eps = HALF_EPS.get(column.dtype)
                found = xp.__array_namespace_info__().dtypes(device=device, kind="real floating")
                dtype = found["float32" if eps else column.dtype]
                for case in CASES:
                    if measured := case.in_half(column.dtype) if eps else case:
                        cells[case.name, column] = measure(measured, xp, dtype, device, eps)
                    bar.advance()
            problems = [cell.problem for (_, where), cell in cells.items() if where == column]
            told(f"{column.place} {column.dtype}", problems, start)
        for place, column in reversed(places.items()):
            start = time.perf_counter()
            with _at(column) as (xp, device):

                def put(host: Host, xp: Any = xp, device: Any = device) -> Array:
                    integers = host.dtype.kind == "i"
                    return from_host(
                        host, xp, index_dtype(xp, device) if integers else dtype_name(host.dtype), device
                    )

                for vector in vectors:
                    try:
                        answers[vector.name, place] = check(vector, put)
                    except Outside as error:
                        outside[vector.name] = str(error)
                    bar.advance()
            if vectors:
                told(f"{place} ONNX", [a for (_, where), a in answers.items() if where == place], start)
    return Report(
        date=datetime.now(UTC).date().isoformat(),
        machine=f"xpnet {__version__}, Python {platform.python_version()}, {platform.system()} {platform.machine()}",
        columns=tuple(columns),
        cells=cells,
        operators={vector.name: vector.operator for vector in vectors},
        answers=answers,
        outside=outside,
        absent=absent | without | _undefined(),
    )


def _columns(backend: Backend, device: str | None = None) -> Iterator[Column]:
    info = backend.namespace().__array_namespace_info__()
    for name in backend.kinds() if device is None else [backend.device_name(device)]:
        for dtype in sorted(info.dtypes(device=backend.device(name), kind="real floating")):
            yield Column(backend.name, backend.version, name, dtype)
        for precision in HALF:
            with suppress(ValueError):  # the library has no such products
                backend.half(precision)
                yield Column(backend.name, backend.version, name, precision)


@contextmanager
def _at(column: Column) -> Iterator[tuple[Any, Any]]:
    """The namespace and the device of a column, which is the current one meanwhile."""
    backend = BACKENDS[column.backend]
    device = backend.device(column.device)
    with backend.current(device):
        yield backend.namespace(), device


def _undefined() -> dict[str, str]:
    """The layers that have no case, with the way to measure them."""
    layers_of_xpnet = (name for name in layers.__all__ if isinstance(getattr(layers, name), type))
    known = {case.name.partition(",")[0] for case in CASES} | {"Layer", "Loss"}
    return {name: "it has no case in conformance/cases.py" for name in layers_of_xpnet if name not in known}


def _vectors() -> tuple[tuple[Vector, ...], dict[str, str]]:
    try:
        return load(), {}
    except ImportError as error:
        return (), {"ONNX's test vectors": str(error)}

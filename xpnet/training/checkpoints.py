"""Save and load networks and runs, in safetensors files.

A file is written completely or not at all. Reading a file never executes code. Needs safetensors: the extra
`checkpoints`.
"""

import hashlib
import importlib
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from .._array import device, dtype_name, from_host, index_dtype, layout, namespace
from .._files import check_input, check_output, clear_parts, replacing
from .._typing import Array
from ..backends import backend_of, not_installed, to_numpy
from ..nn.networks import Network
from ..nn.sequential import Params, Sequential
from ..optim.optimizers import Optimizer
from .describing import difference, from_plain, to_plain
from .history import COLUMNS, History
from .loop import Snapshot
from .step import Best, Carry

__all__ = ["Recorded", "Saved", "Saver", "load_network", "read_run", "save_network"]

FORMAT = 1
SUFFIX = ".safetensors"
EVERY = 30.0
"""The number of seconds after which a run is saved during an epoch, too."""

HostArray = np.ndarray[Any, Any]
HostArrays = dict[str, HostArray]


def save_network(network: Network, path: str | os.PathLike[str]) -> None:
    """Save a network, its description and its parameters, in a safetensors file.

    Parameters
    ----------
    network : Network
        The network. Its parameters may be arrays of any library.
    path : path
        The file; its name ends in ``.safetensors``. An existing file is replaced in one step, or stays unchanged if
        writing fails.

    Raises
    ------
    ValueError
        If the class of a layer or of the loss is not part of xpnet and was not registered with `register`.
    OSError
        If the file cannot be written.

    Examples
    --------
    >>> import tempfile
    >>> from xpnet import MultiLayerNet
    >>> network = MultiLayerNet(4, [8], 3)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save_network(network, f"{folder}/network.safetensors")
    ...     again = load_network(f"{folder}/network.safetensors")
    >>> x = np.ones((2, 4), dtype="float32")
    >>> bool(np.all(again.predict(x) == network.predict(x)))
    True
    """
    _write(Path(path), {"network": _described(network)}, _grouped(params=network.params, state=network.state))


def load_network(path: str | os.PathLike[str], *, like: Array | None = None) -> Network:
    """Load the network from a file of `save_network`, or from the checkpoint of a run.

    Parameters
    ----------
    path : path
        The file.
    like : array, optional
        The parameters get the library and device of this array. Default: NumPy. The dtype is the dtype in the file.
        If the library lacks a dtype of half precision that the network uses, the network computes all products in the
        dtype of the parameters.

    Returns
    -------
    Network
        For the checkpoint of a run, the network has the parameters of the last update. If the run has `patience`, it
        has the parameters of the best epoch so far.

    Raises
    ------
    ValueError
        If the file was not written by xpnet, or if it was truncated or changed.
    OSError
        If the file cannot be read.

    Examples
    --------
    >>> import tempfile
    >>> from xpnet import TwoLayerNet
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save_network(TwoLayerNet(4, 8, 3), f"{folder}/network.safetensors")
    ...     load_network(f"{folder}/network.safetensors")
    Network(W1 (4, 8), b1 (8,), W2 (8, 3), b2 (3,); float32, numpy)
    """
    plain, arrays = _read(Path(path))
    return _network(path, plain, arrays, np.empty(0) if like is None else like)


def _network(path: str | os.PathLike[str], plain: dict[str, Any], arrays: HostArrays, like: Array) -> Network:
    with _contents_of(path):
        stack, shape = from_plain(plain["network"]["stack"]), tuple(plain["network"]["input_shape"])
        if not isinstance(stack, Sequential) or not all(type(n) is int and n > 0 for n in shape):
            raise ValueError(f"describes no network, but {stack!r} for samples of shape {shape}")
        best = "best_" if _group(arrays, "best_params") else ""
        params, state = _group(arrays, f"{best}params"), _group(arrays, f"{best}state")
        dtype = next((name for a in params.values() if "float" in (name := a.dtype.name)), "float32")
        # Compare the shapes before the network is made: a small file could describe a huge network.
        _check("params", params, {name: f"{dtype} {found}" for name, found in stack.param_shapes(shape).items()})
        network = Network(stack.with_precision(None), shape)
        _check("state", state, {name: f"{dtype} {tuple(a.shape)}" for name, a in network.state.items()})
    with suppress(ValueError):  # a library without products of half precision
        for precision in stack.precisions:
            backend_of(like).half(precision)
        network.stack = stack
    network.params = {name: _placed(params[name], like, device(like)) for name in network.params}
    network.state = {name: _placed(state[name], like, device(like)) for name in network.state}
    return network


class Recorded(NamedTuple):
    """The run in a checkpoint, for a report."""

    network: Network
    history: History
    about: dict[str, Any]
    settings: dict[str, Any]
    held: HostArray | None
    """The indices of the validation samples."""


def read_run(path: str | os.PathLike[str]) -> Recorded:
    """The run in a checkpoint, with its network on NumPy as from `load_network`.

    Raises
    ------
    ValueError
        If the file was not written by xpnet, was truncated or changed, or contains a network without a run.
    OSError
        If the file cannot be read.
    """
    plain, arrays = _read(Path(path))
    if "settings" not in plain:
        raise ValueError(f"{os.fspath(path)} contains a network without a run; name a file of train --checkpoint")
    network = _network(path, plain, arrays, np.empty(0))
    with _contents_of(path):
        snapshot = _snapshot(plain, arrays)
        rows = {name.removeprefix("rows."): a for name, a in arrays.items() if name.startswith("rows.")}
        _check_run(snapshot, rows)
        about, settings = plain.get("about", {}), plain["settings"]
        if not all(isinstance(part, dict) for part in (about, settings)):
            raise ValueError(f"the facts of the run are {about!r} and {settings!r}, expected names with values")
    return Recorded(network, snapshot.history, about, settings, rows.get("held"))


class Saved(NamedTuple):
    """A run in a file."""

    snapshot: Snapshot
    best: Best | None
    """The network of the best epoch, in a run with `patience`."""
    rows: HostArrays
    """In a run with validation, the indices of the training samples ("train") and validation samples ("held")."""


class Saver:
    """The checkpoint of one run.

    Parameters
    ----------
    path : path
    resume : bool
        Whether to resume the run in the checkpoint, if there is one.
    network : Network
    optimizer : Optimizer
    settings : dict
        The settings that must be the same when the run is resumed, by the argument names of `fit`.
    about : dict
        The facts of the run, see `Result`.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        resume: bool,
        network: Network,
        optimizer: Optimizer,
        settings: dict[str, Any],
        about: dict[str, Any],
    ) -> None:
        self.path = check_output(path, SUFFIX)
        _safetensors()
        self.network, self.optimizer, self.about = network, optimizer, about
        self.fixed = {"network": _described(network), "optimizer": to_plain(optimizer), "settings": settings}
        if self.path.exists() and not resume:
            raise FileExistsError(
                f"checkpoint: {self.path} contains a run; pass resume=True to resume it, or name another file"
            )
        self.saved = time.monotonic()

    @property
    def due(self) -> bool:
        """Whether it is time to save the run during an epoch."""
        return time.monotonic() - self.saved > EVERY

    def save(self, run: Snapshot, best: Best | None, rows: HostArrays) -> None:
        """Save the run; an existing file is replaced in one step."""
        plain = self.fixed | {
            "about": self.about,
            "epoch": run.epoch,
            "whole": run.whole,
            "over": run.over,
            "draws": _listed({"opening": run.opening, "now": run.draws}),
            "history": {name: value for name, value in vars(run.history).items() if name != "loss"},
        }
        groups = run.carry._asdict() | ({"best_params": best.params, "best_state": best.state} if best else {})
        arrays = _grouped(**groups) | {f"rows.{name}": units for name, units in rows.items()}
        arrays |= {"loss": np.asarray(run.history.loss, dtype="float64"), "losses": run.losses}
        _write(self.path, plain, arrays)
        self.saved = time.monotonic()

    def load(self) -> Saved | None:
        """Load the run to resume, and set the parameters of its network. Returns None if there is no file."""
        clear_parts(self.path)
        if not self.path.exists():
            return None
        plain, arrays = _read(self.path)
        if "settings" not in plain:
            raise ValueError(f"checkpoint: {self.path} holds a network and no run; name another file")
        now = json.loads(json.dumps(self.fixed))
        with _contents_of(self.path):
            place = difference({part: plain[part] for part in now}, now)
        if place:
            what, found, given = place
            raise ValueError(
                f"checkpoint: {self.path} was made with {what} = {found!r}, and now it is {given!r}; they must be "
                "the same"
            )
        network = self.network
        expected = {"params": network.params, "state": network.state, "memory": self.optimizer.init(network.params)}
        with _contents_of(self.path):
            groups = _expected_groups(arrays, expected)
            snapshot = _snapshot(plain, arrays)
            rows = {name.removeprefix("rows."): a for name, a in arrays.items() if name.startswith("rows.")}
            _check_run(snapshot, rows)
        first = next(iter(network.params.values()))
        placed = {
            kind: {
                name: _placed(a, first, layout(expected[kind.removeprefix("best_")][name]))
                for name, a in group.items()
            }
            for kind, group in groups.items()
        }
        carry = Carry(placed["params"], placed["memory"], placed["state"])
        best = Best(placed["best_params"], placed["best_state"]) if "best_params" in groups else None
        network.params, network.state = carry.params, carry.state
        return Saved(snapshot._replace(carry=carry), best, rows)


def _described(network: Network) -> dict[str, Any]:
    return {"stack": to_plain(network.stack), "input_shape": list(network.input_shape)}


def _grouped(**groups: Params) -> HostArrays:
    return {f"{kind}/{name}": to_numpy(a) for kind, arrays in groups.items() for name, a in arrays.items()}


def _group(arrays: HostArrays, kind: str) -> HostArrays:
    return {name.partition("/")[2]: a for name, a in arrays.items() if name.startswith(f"{kind}/")}


def _kinds(arrays: Params) -> dict[str, str]:
    """The dtype and shape of each array; all integer dtypes are equal, because they differ between libraries."""
    names = {name: dtype_name(a.dtype) for name, a in arrays.items()}
    return {name: f"{'int' if 'int' in names[name] else names[name]} {tuple(a.shape)}" for name, a in arrays.items()}


def _check(what: str, found: HostArrays, expected: dict[str, str]) -> None:
    if (kinds := _kinds(found)) != expected:
        raise ValueError(f"{what} are {kinds}, expected {expected}")


def _expected_groups(arrays: HostArrays, expected: dict[str, Params]) -> dict[str, HostArrays]:
    """The groups of arrays in a file, as NumPy arrays; an error if a dtype or shape is not the expected one."""
    if _group(arrays, "best_params"):
        expected = expected | {f"best_{kind}": expected[kind] for kind in ("params", "state")}
    groups = {}
    for kind, own in expected.items():
        found = _group(arrays, kind)
        _check(kind, found, _kinds(own))
        groups[kind] = {name: found[name] for name in own}
    return groups


def _snapshot(plain: dict[str, Any], arrays: HostArrays) -> Snapshot:
    """The run in a file, without its parameters."""
    return Snapshot(
        epoch=plain["epoch"],
        whole=plain["whole"],
        over=plain["over"],
        history=History(loss=arrays["loss"].tolist(), **plain["history"]),
        opening=plain["draws"]["opening"],
        draws=plain["draws"]["now"],
        losses=arrays["losses"],
        carry=Carry({}, {}, {}),
    )


def _check_run(run: Snapshot, rows_of_samples: HostArrays) -> None:
    """Raise an error if the data in a file cannot be the state of a run."""
    history = run.history
    rows = {name: len(getattr(history, name)) for name in (*COLUMNS, "updates")}
    there = run.epoch + run.whole
    if (
        there < 1
        or not rows["seconds"] == rows["updates"] == there
        or not {*rows.values()} <= {0, there}
        or len(history.loss) != history.updates[-1]
        or (run.whole and len(run.losses))
    ):
        raise ValueError(
            f"a run at epoch {run.epoch}, {'over' if run.whole else 'begun'}, with {len(history.loss)} and "
            f"{len(run.losses)} losses, cannot have rows {rows}"
        )
    numbers = [value for name in rows for value in getattr(history, name)]
    norms = history.gradient_norms
    lengths = {name: len(column) for name, column in norms.items()}
    if norms and ("epoch" not in norms or len({*lengths.values()}) > 1 or not lengths["epoch"]):
        raise ValueError(f"the norms of gradients have the lengths {lengths}, expected equal ones, and epochs")
    if not 0 <= (history.best_epoch or 0) < there:
        raise ValueError(f"the best epoch is {history.best_epoch}, and the run has {there} rows")
    numbers += [value for column in norms.values() for value in column]
    flags = [run.whole, run.over, history.interrupted]
    if not (
        all(type(flag) is bool for flag in flags)
        and all(type(getattr(history, name)) is list for name in rows)
        and all(type(n) in (int, float) for n in numbers)
        and all(type(n) is int for n in (run.epoch, *history.updates, history.best_epoch or 0))
    ):
        raise ValueError("what it tells of a run has other than numbers for numbers, or for yes and no")
    if [a.dtype.kind + str(a.ndim) for a in rows_of_samples.values()] not in ([], ["i1", "i1"]):
        raise ValueError(f"the rows of samples are {_kinds(rows_of_samples)}, expected two lists of integers")
    for state in (run.opening, run.draws):
        kind = getattr(np.random, state["bit_generator"])
        if not issubclass(kind, np.random.BitGenerator):
            raise TypeError(f"{kind} is no generator of random bits")
        kind(0).state = state


def _placed(host: np.ndarray[Any, Any], like: Array, where: Any) -> Array:
    """An array of a file in the library of `like`, on the device `where`; integers get the library's index dtype."""
    xp = namespace(like=like)
    return from_host(host, xp, index_dtype(xp, where) if host.dtype.kind in "iu" else host.dtype.name, where)


def _listed(draws: Any) -> Any:
    """The state of a random generator, with lists in place of arrays."""
    if isinstance(draws, dict):
        return {name: _listed(value) for name, value in draws.items()}
    return draws.tolist() if isinstance(draws, np.ndarray) else draws


# The file


def _safetensors() -> Any:
    try:
        return importlib.import_module("safetensors.numpy")
    except ModuleNotFoundError as error:
        raise not_installed("checkpoints", error) from None


def _write(path: Path, plain: dict[str, Any], arrays: HostArrays) -> None:
    path = check_output(path, SUFFIX)
    # The order of names in dicts and of axes in memory is kept: the rounding of sums and products may depend on it.
    axes = {name: np.argsort([-stride for stride in a.strides], kind="stable").tolist() for name, a in arrays.items()}
    text = json.dumps({"format": FORMAT, "axes": axes} | plain)
    arrays = {name: np.asarray(a, order="C") for name, a in arrays.items()}
    data = _safetensors().save(arrays, {"xpnet": text, "sha256": _digest(text, arrays)})
    with replacing(path, "wb") as file:
        file.write(data)


@contextmanager
def _contents_of(path: str | os.PathLike[str]) -> Iterator[None]:
    """Turn every error about the contents of a file into a ValueError that names the file."""
    try:
        yield
    except Exception as error:
        told = error if type(error) is ValueError else f"describes no network or run of xpnet ({error!r})"
        raise ValueError(f"{os.fspath(path)}: {told}") from error


def _read(path: Path) -> tuple[dict[str, Any], HostArrays]:
    _safetensors()
    with check_input(path).open("rb") as file:  # an OSError here is not about the contents
        size = file.seek(0, os.SEEK_END)
    try:
        with importlib.import_module("safetensors").safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            arrays = {name: file.get_tensor(name) for name in file.keys()}
    except Exception as error:
        raise ValueError(f"{path}: not a safetensors file, or truncated: {size} bytes ({error})") from None
    with _contents_of(path):
        if "xpnet" not in metadata or "sha256" not in metadata:
            raise ValueError("a safetensors file that xpnet did not write; it lacks a description of a network")
        if _digest(metadata["xpnet"], arrays) != metadata["sha256"]:
            raise ValueError("was changed after it was written: its contents do not have the checksum in it")
        plain: dict[str, Any] = json.loads(metadata["xpnet"])
        if plain.get("format") != FORMAT:
            raise ValueError(f"is of format {plain.get('format')}, and this xpnet reads format {FORMAT}")
        axes = plain["axes"]
        if {name: sorted(order) for name, order in axes.items()} != {n: [*range(a.ndim)] for n, a in arrays.items()}:
            raise ValueError(f"the order of the axes of its arrays is {axes}, expected one for each axis")
        return plain, {
            name: np.asarray(arrays[name].transpose(order), order="C").transpose(np.argsort(order))
            for name, order in axes.items()
        }


def _digest(text: str, arrays: HostArrays) -> str:
    """A checksum of the complete contents of a file."""
    found = hashlib.sha256(text.encode())
    for name in sorted(arrays):
        found.update(f"{name} {arrays[name].dtype} {arrays[name].shape}".encode())
        found.update(arrays[name].tobytes())
    return found.hexdigest()

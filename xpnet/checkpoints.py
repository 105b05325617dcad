"""Files of networks and of runs, in safetensors: written whole or not at all, and never executed when they are read.

Needs safetensors: the extra `checkpoints`.
"""

import hashlib
import importlib
import json
import os
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ._array import Array, device, from_host, index_dtype, namespace
from .backends import not_installed, to_numpy
from .describing import difference, from_plain, to_plain
from .files import check_output, clear_parts, replacing
from .history import History
from .networks import Network
from .optimizers import Optimizer
from .sequential import Params

__all__ = ["Progressed", "Saver", "load_network", "save_network"]

FORMAT = 1
SUFFIX = ".safetensors"
EVERY = 30.0
"""Seconds after which a run is saved within an epoch too."""

HostArrays = dict[str, np.ndarray[Any, Any]]


def save_network(network: Network, path: str | os.PathLike[str]) -> None:
    """Write a network, what it is and its parameters, into a safetensors file.

    Parameters
    ----------
    network : Network
        On any library.
    path : path
        Ending in ``.safetensors``; a file that is there is replaced in one move, or stays as it was.

    Raises
    ------
    ValueError
        If the network has layers or a loss that are not xpnet's own.
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
    """The network in a file that `save_network` or a run with ``checkpoint=`` wrote.

    Parameters
    ----------
    path : path
    like : array, optional
        An array whose library and device the parameters take; NumPy where not given. The dtype is the file's.

    Returns
    -------
    Network
        From a run, with the parameters of its last update.

    Raises
    ------
    ValueError
        If the file is not a whole, unchanged checkpoint of xpnet.
    OSError
        If it cannot be read.

    Examples
    --------
    >>> import tempfile
    >>> from xpnet import TwoLayerNet
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save_network(TwoLayerNet(4, 8, 3), f"{folder}/network.safetensors")
    ...     load_network(f"{folder}/network.safetensors")
    Network(W1 (4, 8), b1 (8,), W2 (8, 3), b2 (3,); float32, array_api_compat.numpy)
    """
    plain, arrays = _read(Path(path))
    try:
        stack, shape = from_plain(plain["network"]["stack"]), tuple(plain["network"]["input_shape"])
        network = Network(stack, shape)
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path}: describes no network of xpnet ({error})") from None
    _fill(str(path), network, arrays, np.empty(0) if like is None else like)
    return network


@dataclass
class Progressed:
    """How far a run has come: all that the next update depends on, on the host.

    Attributes
    ----------
    epoch : int
    whole : bool
        Whether that epoch is over; else `losses` says how many of its updates are made.
    over : bool
        Whether the run had ended, by patience or a callback.
    history : History
        Up to the last whole epoch.
    draws : dict
        States of the random generator: at the start of the epoch, and now.
    losses : array
        Of the updates of this epoch.
    best : float
        The smallest validation loss.
    groups : dict of dicts of arrays
        "params", "state", "memory" of the optimizer, "best_params", "best_state".
    rows : dict of arrays
        The samples to train with and those that are held, where some are.
    """

    epoch: int
    whole: bool
    over: bool
    history: History
    draws: dict[str, Any]
    losses: np.ndarray[Any, Any]
    best: float
    groups: dict[str, Params]
    rows: HostArrays


class Saver:
    """The checkpoint of one run.

    Parameters
    ----------
    path : path
    resume : bool
        Whether to go on from a checkpoint that is there.
    network : Network
    optimizer : Optimizer
    settings : dict
        What must be the same when the run goes on, by the names of `fit`.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        resume: bool,
        network: Network,
        optimizer: Optimizer,
        settings: dict[str, Any],
    ) -> None:
        self.path = check_output(path, SUFFIX)
        _safetensors()
        self.resume, self.network = resume, network
        self.fixed = {"network": _described(network), "optimizer": to_plain(optimizer), "settings": settings}
        if self.path.exists() and not resume:
            raise FileExistsError(
                f"checkpoint: {self.path} holds a run; pass resume=True to go on with it, or name another file"
            )
        self.saved = time.monotonic()

    @property
    def due(self) -> bool:
        """Whether the last save was long enough ago for another within the epoch."""
        return time.monotonic() - self.saved > EVERY

    def save(self, run: Progressed) -> None:
        """Write the run; what was there is replaced in one move."""
        plain = self.fixed | {
            "epoch": run.epoch,
            "whole": run.whole,
            "over": run.over,
            "best": run.best,
            "draws": _listed(run.draws),
            "history": {name: value for name, value in asdict(run.history).items() if name != "loss"},
        }
        arrays = _grouped(**run.groups) | {f"rows.{name}": rows for name, rows in run.rows.items()}
        arrays |= {"loss": np.asarray(run.history.loss, dtype="float64"), "losses": run.losses}
        _write(self.path, plain, arrays)
        self.saved = time.monotonic()

    def load(self) -> Progressed | None:
        """The run that is to go on, its network's parameters in place; None where there is no file."""
        clear_parts(self.path)
        if not self.path.exists():
            return None
        plain, arrays = _read(self.path)
        if "settings" not in plain:
            raise ValueError(f"checkpoint: {self.path} holds a network and no run; name another file")
        now = json.loads(json.dumps(self.fixed))
        if place := difference({part: plain[part] for part in now}, now):
            what, found, given = place
            raise ValueError(
                f"checkpoint: {self.path} was made with {what} = {found!r}, and now it is {given!r}; they must be "
                "the same"
            )
        first = next(iter(self.network.params.values()))

        groups = {
            kind: {name: _placed(a, first) for name, a in _group(arrays, kind).items()}
            for kind in ("params", "state", "memory", "best_params", "best_state")
        }
        _fill(str(self.path), self.network, arrays, first)
        rows = {name.removeprefix("rows."): a for name, a in arrays.items() if name.startswith("rows.")}
        history = History(loss=arrays["loss"].tolist(), **plain["history"])
        return Progressed(
            plain["epoch"],
            plain["whole"],
            plain["over"],
            history,
            plain["draws"],
            arrays["losses"],
            plain["best"],
            groups,
            rows,
        )


def _described(network: Network) -> dict[str, Any]:
    return {"stack": to_plain(network.stack), "input_shape": list(network.input_shape)}


def _grouped(**groups: Params) -> HostArrays:
    return {f"{kind}/{name}": to_numpy(a) for kind, arrays in groups.items() for name, a in arrays.items()}


def _group(arrays: HostArrays, kind: str) -> HostArrays:
    return {name.partition("/")[2]: a for name, a in arrays.items() if name.startswith(f"{kind}/")}


def _fill(where: str, network: Network, arrays: HostArrays, like: Array) -> None:
    """Give a network the parameters and state of a file, where `like` is."""
    for kind in ("params", "state"):
        own = getattr(network, kind)
        found = _group(arrays, kind)
        shapes = [{name: tuple(a.shape) for name, a in group.items()} for group in (own, found)]
        if shapes[0] != shapes[1]:
            raise ValueError(f"{where}: {kind} are {shapes[1]}, expected {shapes[0]}")
        setattr(network, kind, {name: _placed(found[name], like) for name in own})


def _placed(host: np.ndarray[Any, Any], like: Array) -> Array:
    """An array of a file where `like` is; integers in the dtype that its library counts with."""
    xp, where = namespace(like=like), device(like)
    return from_host(host, xp, index_dtype(xp, where) if host.dtype.kind in "iu" else host.dtype.name, where)


def _listed(draws: Any) -> Any:
    """The state of a generator with lists for arrays."""
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
    # Names and axes keep their order, in dicts and in memory: the last digit of a sum or product may depend on it.
    axes = {name: np.argsort([-stride for stride in a.strides], kind="stable").tolist() for name, a in arrays.items()}
    text = json.dumps({"format": FORMAT, "axes": axes} | plain)
    arrays = {name: np.asarray(a, order="C") for name, a in arrays.items()}
    data = _safetensors().save(arrays, {"xpnet": text, "sha256": _digest(text, arrays)})
    with replacing(path, "wb") as file:
        file.write(data)


def _read(path: Path) -> tuple[dict[str, Any], HostArrays]:
    _safetensors()
    with path.open("rb") as file:  # what keeps it from being read is told as it is
        size = file.seek(0, os.SEEK_END)
    try:
        with importlib.import_module("safetensors").safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            arrays = {name: file.get_tensor(name) for name in file.keys()}
    except Exception as error:
        raise ValueError(f"{path}: no safetensors file, or not a whole one, {size} bytes ({error})") from None
    if "xpnet" not in metadata or "sha256" not in metadata:
        raise ValueError(f"{path}: a safetensors file that xpnet did not write; it lacks a description of a network")
    if _digest(metadata["xpnet"], arrays) != metadata["sha256"]:
        raise ValueError(f"{path}: was changed after it was written: its contents do not have the checksum in it")
    plain: dict[str, Any] = json.loads(metadata["xpnet"])
    if plain.get("format") != FORMAT:
        raise ValueError(f"{path}: is of format {plain.get('format')}, and this xpnet reads format {FORMAT}")
    return plain, {
        name: np.asarray(arrays[name].transpose(axes), order="C").transpose(np.argsort(axes))
        for name, axes in plain["axes"].items()
    }


def _digest(text: str, arrays: HostArrays) -> str:
    """A checksum of all that a file says."""
    found = hashlib.sha256(text.encode())
    for name in sorted(arrays):
        found.update(f"{name} {arrays[name].dtype} {arrays[name].shape}".encode())
        found.update(arrays[name].tobytes())
    return found.hexdigest()

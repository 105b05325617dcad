"""Networks, optimizers and what they are made of as plain data, for JSON, and back."""

import hashlib
import re
from collections.abc import Callable
from dataclasses import fields
from functools import partial
from typing import Any

from .. import layers
from .._array import Array, size
from ..backends import to_numpy
from ..nn import bricks, initializers
from ..nn.bricks import Activation, Skip
from ..nn.sequential import Sequential
from ..optim import optimizers, schedules

__all__ = ["difference", "fingerprint", "from_plain", "readable", "to_plain"]

_KNOWN: dict[str, Callable[..., Any]] = {
    name: getattr(module, name)
    for module in (bricks, initializers, layers, optimizers, schedules)
    for name in module.__all__
}

_NAMES = {id(known): name for name, known in _KNOWN.items()}


def to_plain(thing: Any, /) -> Any:
    """Numbers, strings, lists and dicts that describe a stack, an optimizer or a part of them.

    Raises
    ------
    ValueError
        If something in it is not xpnet's own, such as a layer of one's own or an array among the options.

    Examples
    --------
    >>> from xpnet import SGD
    >>> to_plain(SGD(0.5))
    {'is': 'SGD', 'lr': 0.5, 'weight_decay': 0.0, 'clip_norm': None}
    """
    if thing is None or isinstance(thing, (bool, int, float, str)):
        return thing
    if isinstance(thing, (list, tuple)):
        return [to_plain(part) for part in thing]
    if isinstance(thing, Sequential):
        return {"is": "Sequential", "layers": to_plain(thing.descriptions), "loss": to_plain(thing.loss_class)}
    if isinstance(thing, Skip):
        return {"is": "Skip", "layers": to_plain(thing.descriptions), "shortcut": to_plain(thing.shortcut)}
    if isinstance(thing, Activation):
        return {"is": "Activation", "layer": to_plain(thing.layer_class), "options": _options(thing.options)}
    if isinstance(thing, partial) and not thing.args:
        return {"is": "partial", "of": to_plain(thing.func), "options": _options(thing.keywords)}
    if name := _NAMES.get(id(thing)):
        return {"is": "class", "name": name}
    if name := _NAMES.get(id(type(thing))):
        return {"is": name} | {field.name: to_plain(getattr(thing, field.name)) for field in fields(thing)}
    raise ValueError(
        f"{thing!r} is not of xpnet, so that a file cannot describe it; save the network's params and state by "
        "yourself, or use xpnet's own layers, losses, optimizers and schedules with numbers for options"
    )


def _options(options: dict[str, Any]) -> dict[str, Any]:
    return {name: to_plain(value) for name, value in options.items()}


def from_plain(data: Any) -> Any:
    """What `to_plain` described.

    Raises
    ------
    ValueError
        If the data is no such description.
    """
    if isinstance(data, list):
        return tuple(from_plain(part) for part in data)
    if not isinstance(data, dict):
        return data
    own = {name: from_plain(value) for name, value in data.items() if name not in ("is", "options")}
    options = {name: from_plain(value) for name, value in data.get("options", {}).items()}
    try:
        match data["is"]:
            case "Sequential":
                return Sequential(*own["layers"], loss=_passing(own["loss"], None))
            case "Skip":
                return Skip(*own["layers"], shortcut=own["shortcut"])
            case "Activation":
                return Activation(_passing(own["layer"], **options), **options)
            case "partial":
                return partial(own["of"], **options)
            case "class":
                return _KNOWN[data["name"]]
            case name:
                return _KNOWN[name](**own)
    except (KeyError, TypeError) as error:
        raise ValueError(f"no description of xpnet's: {data} ({error})") from None


def _passing(build: Any, *args: Any, **options: Any) -> Any:
    """What builds a layer, if it does."""
    if not hasattr(build(*args, **options), "backward"):
        raise TypeError(f"{build!r} builds no layer")
    return build


def difference(one: Any, other: Any, what: str = "") -> tuple[str, Any, Any] | None:
    """The first place where two descriptions differ, and what each has there.

    Examples
    --------
    >>> difference({"optimizer": {"is": "SGD", "lr": 0.1}}, {"optimizer": {"is": "SGD", "lr": 0.2}})
    ('optimizer: lr', 0.1, 0.2)
    """
    if not (isinstance(one, dict) and isinstance(other, dict)):
        return None if one == other else (what, one, other)
    within = f"{what}: " if what else ""
    found = (difference(one.get(name), other.get(name), f"{within}{name}") for name in sorted({*one, *other}))
    return next((place for place in found if place), None)


def fingerprint(*things: Array | str) -> str:
    """A checksum of arrays, of whichever library, and texts; arrays are read some megabytes at a time."""
    found = hashlib.blake2b(digest_size=8)
    for thing in things:
        if isinstance(thing, str):
            found.update(thing.encode())
            continue
        count = thing.shape[0] if thing.shape else 0
        step = max(1, (1 << 21) * count // max(1, size(thing)))
        parts = (thing[start : min(start + step, count), ...] for start in range(0, count, step))
        for part in parts if thing.shape else [thing]:
            host = to_numpy(part)
            # Labels are of 32 bits on one library, and of 64 on another.
            found.update((host.astype("int64") if host.dtype.kind == "i" else host).tobytes())
    return found.hexdigest()


def readable(thing: Any) -> str:
    """What something is called, the same in each process: without addresses in memory."""
    return re.sub(r" at 0x[0-9a-fA-F]+", "", repr(thing))

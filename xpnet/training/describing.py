"""Convert networks and optimizers to plain data for JSON, and back. Nothing in a file is executed."""

import hashlib
import re
from dataclasses import fields, is_dataclass
from functools import partial
from typing import Any, TypeVar

from .. import nn, optim
from .._array import size
from .._typing import Array
from ..backends import to_numpy
from ..layers import losses
from ..layers.base import Loss
from ..nn import Description, LossDescription, Residual, Sequential
from ..optim.optimizers import Optimizer

__all__ = ["difference", "fingerprint", "from_plain", "name_of", "readable", "register", "to_plain"]

Class = TypeVar("Class", bound=type)

_KNOWN: dict[str, type] = {
    name: getattr(module, name)
    for module in (nn, optim, losses)
    for name in module.__all__
    if is_dataclass(getattr(module, name)) or module is losses
}
"""The classes that files may name."""


def register(cls: Class, /) -> Class:
    """Register a class of your own, so that networks and runs with this class can be saved and loaded.

    Use `register` as a decorator of the class. A file contains the name and the options of the class, but no code. So
    import the module of the class before you load the file.

    Parameters
    ----------
    cls : type
        A subclass of `Loss`, or a frozen dataclass: the description of a layer or of a loss, an optimizer, a schedule
        or an initializer.

    Returns
    -------
    type
        The class itself.

    Raises
    ------
    TypeError
        If `cls` is neither a subclass of `Loss` nor a dataclass.
    ValueError
        If another class is registered under the same name.

    Examples
    --------
    >>> from dataclasses import dataclass
    >>> from xpnet import register
    >>> @register
    ... @dataclass(frozen=True)
    ... class InverseDecay:
    ...     lr: float
    ...     def __call__(self, step):
    ...         return self.lr / (1 + step)
    """
    if not (isinstance(cls, type) and (issubclass(cls, Loss) or "__dataclass_fields__" in vars(cls))):
        raise TypeError(
            f"register: {getattr(cls, '__name__', repr(cls))} must be a subclass of xpnet.Loss or a dataclass; write "
            "@dataclass(frozen=True) below @xpnet.register"
        )
    name = cls.__name__
    known = _KNOWN.get(name)
    if known is not None and (known.__module__, known.__qualname__) != (cls.__module__, cls.__qualname__):
        raise ValueError(
            f"register: {name} is the name of {known.__module__}.{known.__qualname__}; choose another name"
        )
    _KNOWN[name] = cls
    return cls


def to_plain(thing: Any, /) -> Any:
    """Convert a `Sequential`, an optimizer or a part of them to numbers, strings, lists and dicts.

    Raises
    ------
    ValueError
        If it contains an object of a class that is not registered, or options such as arrays and functions.

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
        return {"is": "Sequential", "layers": to_plain(thing.descriptions), "loss": to_plain(thing.loss_description)}
    cls = thing if isinstance(thing, type) else type(thing)
    if _KNOWN.get(cls.__name__) is not cls:
        own = cls is thing or is_dataclass(cls) or issubclass(cls, (Description, LossDescription, Optimizer))
        way = "decorate its class with @xpnet.register" if own else "options in files are numbers, strings and lists"
        raise ValueError(f"a file cannot describe {thing!r}; {way}, or save the network's params and state yourself")
    if cls is thing:
        return {"class": cls.__name__}
    return {"is": cls.__name__} | {field.name: to_plain(getattr(thing, field.name)) for field in fields(thing)}


def from_plain(data: Any) -> Any:
    """The object for data of `to_plain`.

    Raises
    ------
    ValueError
        If the data is not in the form of `to_plain`, or if it names a class that is not registered.
    """
    if isinstance(data, list):
        return tuple(from_plain(part) for part in data)
    if not isinstance(data, dict):
        return data
    options = {key: from_plain(value) for key, value in data.items() if key not in ("is", "class")}
    name = str(data.get("is", data.get("class")))
    cls = Sequential if name == "Sequential" else _KNOWN.get(name)
    if cls is None:
        raise ValueError(
            f"names {name!r}, a class that xpnet does not know; if it is yours, decorate it with @xpnet.register and "
            "import it first"
        )
    try:
        if "class" in data:
            if not issubclass(cls, Loss):
                raise TypeError(f"{name} is not a loss")
            return cls
        return cls(*options.pop("layers"), **options) if cls in (Sequential, Residual) else cls(**options)
    except (KeyError, TypeError) as error:
        raise ValueError(f"is not a description of {name}: {data} ({error})") from None


def difference(one: Any, other: Any, what: str = "") -> tuple[str, Any, Any] | None:
    """The first place where two descriptions differ, and the two values at this place.

    Objects of different classes differ as a whole; the values are then the names of the classes.

    Examples
    --------
    >>> difference({"optimizer": {"is": "SGD", "lr": 0.1}}, {"optimizer": {"is": "SGD", "lr": 0.2}})
    ('optimizer: lr', 0.1, 0.2)
    """
    pairs: dict[str, tuple[Any, Any]] = {}
    if isinstance(one, dict) and isinstance(other, dict):
        if one.get("is") != other.get("is"):
            return what, one.get("is"), other.get("is")
        pairs = {name: (one.get(name), other.get(name)) for name in sorted({*one, *other})}
    elif isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        pairs = {str(i): pair for i, pair in enumerate(zip(one, other, strict=True), 1)}
    elif one != other:
        return what, one, other
    within = f"{what}: " if what else ""
    found = (difference(*pair, f"{within}{name}") for name, pair in pairs.items())
    return next((place for place in found if place), None)


def fingerprint(*things: Array | str) -> str:
    """A checksum of texts and of arrays of any library. Arrays are read a few megabytes at a time."""
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
            # Labels are int32 in some libraries and int64 in others.
            found.update((host.astype("int64") if host.dtype.kind == "i" else host).tobytes())
    return found.hexdigest()


def name_of(function: Any) -> str:
    """The name of a function or a callable object, without its options, which may be objects of a library."""
    named = function.func if isinstance(function, partial) else function
    return str(getattr(named, "__qualname__", getattr(named, "__name__", type(named).__name__)))


def readable(thing: Any) -> str:
    """The repr of an object without memory addresses, so that it is the same in each process."""
    return re.sub(r" at 0x[0-9a-fA-F]+", "", repr(thing))

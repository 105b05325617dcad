"""Libraries that xpnet does not know and that lack something, or are lazy: array-api-strict under another name."""

import functools
import importlib
import itertools
import re
from pathlib import Path

import numpy as np
import pytest

import xpnet
from xpnet import _array
from xpnet.backends import Backend, Lazy, backend_of, registry

strict = pytest.importorskip("array_api_strict")
COUNT = itertools.count()


def made(folder, monkeypatch, change=lambda text: text):
    """A new library, which a test may change. `change` changes its source."""
    name = f"unheard{next(COUNT)}"
    (folder / name).mkdir()
    for path in Path(strict.__file__).parent.glob("*.py"):
        text = change(path.read_text(encoding="utf-8").replace("array_api_strict", name))
        (folder / name / path.name).write_text(text, encoding="utf-8")
    monkeypatch.syspath_prepend(folder)
    return importlib.import_module(name)


@pytest.fixture
def other(tmp_path, monkeypatch):
    return made(tmp_path, monkeypatch)


@pytest.fixture
def plain(tmp_path, monkeypatch):
    """A library whose arrays have no device, and whose functions have neither ``device=`` nor ``copy=``."""

    def change(text):
        return re.sub(r"(\.|def )device\b", r"\1hidden", text)

    xp = made(tmp_path, monkeypatch, change)
    for name in ("arange", "asarray", "empty", "ones", "zeros"):
        lacks(xp, name, "device", "copy")
    lacks(xp, "astype", "copy", "device")
    return xp


def lacks(xp, name, *options):
    """Make a function of a library refuse arguments."""
    function = getattr(xp, name)

    @functools.wraps(function)
    def refusing(*args, **given):
        if found := set(given) & set(options):
            raise TypeError(f"{name}() got an unexpected keyword argument {found.pop()!r}")
        return function(*args, **given)

    refusing.__signature__ = "unknown"  # as that of functions in C++: inspect raises an error
    setattr(xp, name, refusing)


RNG = np.random.default_rng(0)
X = RNG.normal(size=(12, 3)).astype("float32")
T = (X[:, 0] > 0).astype("int64")


def trained(put):
    net = xpnet.TwoLayerNet(3, 4, 2, like=put(X))
    result = xpnet.fit(net, (put(X), put(T)), xpnet.Adam(0.01), epochs=3, batch_size=4, progress=False)
    found = xpnet.evaluate(net, put(X), put(T))
    return [*result.history.loss, found.loss], result


def trains_as_numpy(xp):
    losses, result = trained(xp.asarray)
    np.testing.assert_allclose(losses, trained(np.asarray)[0], rtol=1e-5)
    return result


def test_a_library_without_devices_and_copies_trains(plain):
    with pytest.raises(TypeError, match="device"):
        plain.zeros(3, device=None)
    result = trains_as_numpy(plain)
    assert result.device == "cpu" and result.backend == plain.__name__
    assert "on unheard" in repr(result)


def test_it_is_copied_without_copy(plain):
    x = plain.asarray([1.0, 2.0])
    y = xpnet.gradient_descent(lambda x: plain.sum(x * x), x, step_num=0)
    y[0] = 5.0
    assert (float(x[0]), float(y[0]), y.dtype) == (1.0, 5.0, x.dtype)


def test_its_device_is_not_left_out_if_there_is_one(other):
    """A function without ``device=`` in a library with devices: its own error, not an array somewhere else."""
    lacks(other, "zeros", "device")
    xp = _array.namespace(x=other.asarray(0.0))
    assert xp.zeros(2, device=None).shape == (2,)
    with pytest.raises(TypeError, match="unexpected keyword argument 'device'"):
        xp.zeros(2, device=other.asarray(0.0).device)


def test_known_libraries_are_used_as_they_are(lib):
    assert isinstance(lib.xp, type(np))


def test_a_library_is_asked_for_its_dtypes_by_kind(other, monkeypatch):
    info = type(other.__array_namespace_info__())
    plain = info.dtypes
    monkeypatch.setattr(info, "dtypes", lambda self, *, device=None, kind: plain(self, device=device, kind=kind))
    x = other.asarray([0, 1])
    assert xpnet.one_hot(x, 2, dtype="float32").dtype == other.float32
    with pytest.raises(TypeError, match="dtype complex64 is not available.*choose one of bool"):
        xpnet.one_hot(x, 2, dtype="complex64")


@pytest.mark.parametrize("dlpack", ["missing", "failing"])
def test_without_dlpack_an_array_is_converted_by_array(other, dlpack):
    def failing(self, **options):
        raise BufferError("not exported")

    array = type(other.asarray(0.0))
    array.__dlpack__ = failing
    if dlpack == "missing":
        del array.__dlpack__
    array.__array__ = lambda self, dtype=None, copy=None: np.array(self._array)
    for host in (X, X > 0, T):
        np.testing.assert_array_equal(xpnet.to_numpy(other.asarray(host)), host, strict=True)


def test_with_neither_the_error_says_what_is_missing(other):
    array = type(other.asarray(0.0))
    del array.__dlpack__
    for name in ("__array__", "__buffer__"):
        if name in vars(array):
            delattr(array, name)
    with pytest.raises(TypeError, match=f"to_numpy: {other.__name__} has neither DLPack to the CPU.*nor __array__"):
        xpnet.to_numpy(other.asarray(X))


@pytest.mark.parametrize("way", ["eval", "compute", "persist"])
def test_a_lazy_library_computes_each_update_once(other, way):
    """All arrays of an update together, and neither a value nor an array in between."""
    computed = []

    def compute(*arrays):
        computed.append(len(arrays))
        return tuple(np.asarray(a._array) for a in arrays) if way == "compute" else arrays

    setattr(other, way, compute)
    if way != "eval":
        setattr(type(other.asarray(0.0)), way, compute)
    backend = backend_of(other.asarray(0.0))
    assert type(backend) is Lazy
    assert not backend.can_read(other.asarray(0.0))
    net = xpnet.TwoLayerNet(3, 4, 2, like=other.asarray(X))
    xpnet.fit(net, (other.asarray(X), other.asarray(T)), epochs=2, batch_size=4, progress=False)
    updates = [count for count in computed if count > 1]
    assert updates == [5] * 6  # four parameters and the loss; the accuracy of each epoch is one array
    trains_as_numpy(other)


def test_a_library_that_is_not_lazy_computes_at_once(other):
    backend = backend_of(other.asarray(0.0))
    assert type(backend) is Backend
    assert backend.compile(len) is len


def test_an_older_standard_is_refused_in_one_line(other):
    other.__array_api_version__ = "2023.12"
    with pytest.raises(TypeError) as caught:
        xpnet.softmax(other.asarray(X))
    assert str(caught.value) == (
        f"x is an array of {other.__name__}, which follows version 2023.12 of the array API standard; xpnet needs "
        f"version 2024.12 or newer, so install a newer {other.__name__}"
    )
    np.testing.assert_array_equal(xpnet.to_numpy(other.asarray(X)), X)


def test_an_array_whose_operations_are_no_arrays_is_refused(other):
    class Expression:
        pass

    array = type(other.asarray(0.0))
    del array.__dlpack__
    array.__eq__ = lambda self, other: Expression()
    with pytest.raises(TypeError, match=r"whose operations return another type, .*Expression; convert it first"):
        xpnet.sigmoid(other.asarray(X))


def test_its_devices_are_those_of_its_arrays(other):
    backend = backend_of(other.asarray(0.0))
    assert backend.known_devices()[str(other.asarray(0.0).device)] == other.asarray(0.0).device
    assert registry._OF_TYPES[type(other.asarray(0.0))] is backend

"""The one place that knows libraries by name: what it says of each, and the doors in and out of it."""

import importlib.util
import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

import xpnet
from xpnet._array import dtype_name, index_dtype
from xpnet.backends import (
    BACKENDS,
    Backend,
    BackendUnavailable,
    backend_of,
    elementwise,
    get_backend,
    on_arrays_device,
    read_all,
    to_numpy,
)

NAMES = ("numpy", "cupy", "torch", "jax", "dask", "strict")


def test_the_known_backends():
    assert tuple(BACKENDS)[: len(NAMES)] == NAMES  # then those that other packages add
    assert all(name == backend.name for name, backend in BACKENDS.items())


def test_each_library_is_found_by_name_and_by_its_arrays(lib):
    assert get_backend(lib.backend.name) is lib.backend is backend_of(lib.asarray([1.0]))
    assert lib.backend.namespace() is lib.xp
    assert lib.backend.problem is None


def test_the_version_is_told(lib):
    assert lib.backend.version[0].isdigit()


def test_each_device_is_found_by_its_name_and_the_first_is_the_default(lib):
    names = lib.backend.devices()
    assert names
    assert lib.backend.device() == lib.backend.device(names[0])
    assert len({str(lib.backend.device(name)) for name in names}) == len(names)
    for name in names:
        assert lib.backend.device(name.partition(":")[0]) == lib.backend.device(
            next(n for n in names if n.partition(":")[0] == name.partition(":")[0])
        )


def test_an_unknown_device_is_refused_with_the_known_ones(lib):
    with pytest.raises(ValueError, match=f"'tpu:9'.*{lib.backend.name}.*choose one of {lib.backend.devices()[0]}"):
        lib.backend.device("tpu:9")


def test_an_unknown_backend_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match="'tensorflow'.*choose one of numpy, cupy, torch, jax, dask, strict"):
        get_backend("tensorflow")


@pytest.mark.parametrize("name", NAMES)
def test_a_backend_that_is_not_installed_says_how_to_get_it(monkeypatch, name):
    monkeypatch.setattr(importlib.util, "find_spec", lambda module: None)
    backend = BACKENDS[name]
    assert backend.problem == f"not installed; get it with: {backend.install}"
    assert "pip install" in backend.install
    assert backend.version == ""
    with pytest.raises(BackendUnavailable, match=f"'{name}'.*not installed.*pip install"):
        get_backend(name)


def fake(monkeypatch: pytest.MonkeyPatch, name: str) -> ModuleType:
    """An installed module of that name."""
    module = ModuleType(name)
    monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setattr(importlib.util, "find_spec", lambda asked: object() if asked == name else None)
    return module


def test_cupy_without_a_cuda_device_says_so(monkeypatch):
    def no_device() -> int:
        raise RuntimeError("cudaErrorNoDevice:\n no CUDA-capable device is detected")

    module: Any = fake(monkeypatch, "cupy")
    module.cuda = ModuleType("cuda")
    module.cuda.runtime = ModuleType("runtime")
    module.cuda.runtime.getDeviceCount = no_device
    module.__version__ = "14.0.0"
    assert BACKENDS["cupy"].version == "14.0.0"
    with pytest.raises(
        BackendUnavailable, match="'cupy': no usable CUDA device: .*no CUDA-capable device.*NVIDIA GPU.*driver"
    ) as raised:
        get_backend("cupy")
    assert "\n" not in str(raised.value)


class OnDevice:
    """An array of a stand-in for CuPy on a device."""

    def __init__(self, device: Any, product: Any = None) -> None:
        self.device, self.product = device, product

    def __matmul__(self, other: Any) -> Any:
        raise self.product


def fake_cupy(monkeypatch: pytest.MonkeyPatch, devices: int) -> Any:
    module: Any = fake(monkeypatch, "cupy")
    runtime = SimpleNamespace(getDeviceCount=lambda: devices)
    module.cuda = SimpleNamespace(runtime=runtime, Device=lambda i: i)
    module.ndarray, module.__version__ = OnDevice, "14.0.0"
    return module


def test_cupy_whose_libraries_are_missing_is_not_usable(monkeypatch):
    """Its extra brings NVRTC, cuBLAS and the CUDA headers; without them, arrays can be made, and nothing else."""
    fake_cupy(monkeypatch, devices=1)
    missing = RuntimeError('Failure finding "libnvrtc.so.13":\n No such file')
    xp = SimpleNamespace(asarray=lambda values: OnDevice(0, missing))
    monkeypatch.setattr(type(BACKENDS["cupy"]), "namespace", lambda self: xp)
    problem = BACKENDS["cupy"].problem
    assert problem is not None
    assert problem.startswith('cannot compute on its device: Failure finding "libnvrtc.so.13": No such file; ')
    assert problem.endswith("cupy-cuda13x, for a driver with CUDA 13)")
    with pytest.raises(BackendUnavailable, match="'cupy': cannot compute on its device"):
        get_backend("cupy")


def test_the_index_dtype_is_found_for_a_device_that_cannot_be_hashed():
    """CuPy's device is such a one."""

    class Device:
        __hash__: Any = None

        def __eq__(self, other: Any) -> bool:
            return isinstance(other, Device)

    info = SimpleNamespace(default_dtypes=lambda device: {"indexing": "int64"})
    xp = SimpleNamespace(__array_namespace_info__=lambda: info)
    wrapped = ModuleType("wrapped")
    wrapped.__dict__.update(vars(xp))
    assert index_dtype(wrapped, Device()) == index_dtype(wrapped, Device()) == "int64"


class Current:
    """A device that notes while it is current."""

    depth = 0

    def __enter__(self) -> None:
        self.depth += 1

    def __exit__(self, *error: Any) -> None:
        self.depth -= 1


@pytest.mark.parametrize("devices", [1, 2])
@pytest.mark.parametrize("given", ["array", "dict", "tuple", "keyword", "attribute"])
def test_with_several_cuda_devices_a_function_runs_on_that_of_its_arrays(monkeypatch, devices, given):
    fake_cupy(monkeypatch, devices)
    device = Current()
    array = OnDevice(device)
    run = on_arrays_device(lambda *args, **options: device.depth)
    args, options = {
        "array": ((1.0, array), {}),
        "dict": (({"W1": array},), {}),
        "tuple": (((None, (array, 1)),), {}),
        "keyword": ((), {"t": array}),
        "attribute": ((SimpleNamespace(params={"W1": array}),), {}),
    }[given]
    assert run(*args, **options) == devices - 1
    assert device.depth == 0


def test_without_cupy_arrays_no_device_is_made_current(monkeypatch):
    fake_cupy(monkeypatch, 2)
    assert on_arrays_device(lambda x, t: x + t)(1.0, t=2.0) == 3.0


def test_cupy_as_it_is_here():
    backend = BACKENDS["cupy"]
    if backend.problem is None:
        assert backend.devices()[0] == "cuda:0"
    elif backend.version:
        assert backend.problem.startswith("no usable CUDA device: ")
    else:
        assert backend.problem.startswith("not installed; get it with: pip install 'xpnet[cupy-cuda12x]'")


def test_a_broken_installation_is_told_apart(monkeypatch):
    fake(monkeypatch, "broken")
    backend = Backend("broken", "broken", "pip install broken")
    assert backend.problem is not None
    assert backend.problem.startswith("cannot be used: ")
    assert backend.problem.endswith("try again after: pip install broken")


def test_a_library_that_fails_at_import_with_an_empty_message_is_named_by_its_error(monkeypatch):
    def no(name: str) -> None:
        raise OSError

    monkeypatch.setattr(importlib, "import_module", no)
    problem = BACKENDS["numpy"].problem
    assert problem is not None
    assert problem.startswith("cannot be used: OSError;")


def test_problem_tells_of_every_backend_without_raising():
    for backend in BACKENDS.values():
        assert backend.problem is None or "pip install" in backend.problem or "driver" in backend.problem


@pytest.mark.parametrize(
    "values", [1.5, [1.5, -2.0], [[1.0, 2.0, 3.0]], np.zeros((0, 3))], ids=["0-d", "1", "2", "0"]
)
@pytest.mark.parametrize("dtype", ["float32", "float64", "int32", "uint8", "bool"])
def test_to_numpy_keeps_shape_dtype_and_values(lib, values, dtype):
    if dtype == "float64" and dtype not in lib.dtypes:
        pytest.skip(f"{lib.name} has no float64")
    host = np.asarray(values).astype(bool if dtype == "bool" else "int8").astype(dtype)
    found = to_numpy(lib.asarray(host, dtype))
    assert type(found) is np.ndarray
    assert found.dtype == dtype
    np.testing.assert_array_equal(found, host, strict=True)


@pytest.mark.parametrize("count", [0, 1, 3])
def test_many_losses_are_read_in_order(lib, count):
    values = [lib.asarray(0.5 * i) for i in range(count)]
    np.testing.assert_array_equal(read_all(values), [0.5 * i for i in range(count)])


@pytest.mark.parametrize("shape", [(5,), (5, 2), (5, 2, 3)])
def test_rows_are_those_at_the_index(lib, shape):
    host = np.arange(np.prod(shape), dtype="float32").reshape(shape)
    index = np.asarray([4, 0, 0, 3], dtype=dtype_name(index_dtype(lib.xp, lib.device)))
    found = lib.backend.rows(lib.asarray(host), lib.asarray(index, index.dtype.name))
    assert lib.holds(found)
    np.testing.assert_array_equal(lib.numpy(found), host[index], strict=True)


def test_a_compiled_step_gives_what_the_step_gives(lib):
    def step(params: Any, x: Any) -> Any:
        return {name: p - 0.5 * x for name, p in params.items()}, lib.xp.sum(x)

    params = {"W": lib.asarray([[1.0, 2.0]]), "b": lib.asarray([3.0, 4.0])}
    x = lib.asarray([0.5, 1.5])
    with lib.here:
        plain, total = step(params, x)
        found, sum_ = lib.backend.compile(step)(params, x)
    assert found.keys() == plain.keys()
    for name, p in found.items():
        assert lib.holds(p)
        np.testing.assert_array_equal(lib.numpy(p), lib.numpy(plain[name]))
    assert float(sum_) == float(total) == 2.0


@pytest.mark.only("dask")
def test_a_compiled_step_on_dask_does_not_let_the_graph_grow(lib):
    step, x = lib.backend.compile(lambda x: 0.5 * x), lib.asarray([1.0])
    for _ in range(20):
        x = step(x)
    assert len(dict(x.__dask_graph__())) == 1
    assert float(x[0]) == 0.5**20


@pytest.mark.parametrize("steps", [1, 3, 101, 250])
def test_repeated_steps_are_the_steps_one_after_the_other(lib, steps):
    """Whatever the number that is run between two looks at it, each step is made once and in order."""
    if lib.backend.name == "dask" and steps > 3:
        pytest.skip("slow, and no different from the others")

    def step(carry: Any, batch: Any, masks: Any) -> Any:
        assert masks == {}
        loss = lib.xp.sum(batch[0])
        return {"W": 0.5 * carry["W"] + loss}, loss

    index = (
        np.random.default_rng(0).integers(0, 4, size=(steps, 2)).astype(dtype_name(index_dtype(lib.xp, lib.device)))
    )
    host = np.asarray([1.0, 2.0, 4.0, 8.0])
    data, carry = (lib.asarray(host),), {"W": lib.asarray(1.0)}
    found: list[float] = []
    with lib.here:
        for carry, losses in lib.backend.repeat(step)(carry, data, index):  # noqa: B020
            found += np.atleast_1d(lib.numpy(losses)).tolist()
            assert lib.holds(carry["W"])
    expected, W = host[index].sum(axis=1).tolist(), 1.0
    for loss in expected:
        W = 0.5 * W + loss
    assert found == expected
    np.testing.assert_allclose(float(carry["W"]), W, rtol=1e-6)


@pytest.mark.parametrize("steps", [1, 3, 101])
def test_what_is_drawn_for_each_step_is_drawn_in_their_order(lib, steps):
    if lib.backend.name == "dask" and steps > 3:
        pytest.skip("slow, and no different from the others")

    def step(carry: Any, batch: Any, masks: Any) -> Any:
        total = lib.xp.sum(lib.xp.where(masks["mask"], batch[0], 0.0))
        return {"W": carry["W"] + total}, total

    rng, again = np.random.default_rng(1), np.random.default_rng(1)
    index = np.zeros((steps, 4), dtype_name(index_dtype(lib.xp, lib.device)))
    run = lib.backend.repeat(step)
    drawn = run(
        {"W": lib.asarray(0.0)}, (lib.asarray([1.0]),), index, lambda batch: {"mask": rng.random(batch) < 0.5}
    )
    found = [value for _, losses in drawn for value in np.atleast_1d(lib.numpy(losses))]
    assert found == [np.sum(again.random(4) < 0.5) for _ in range(steps)]


def test_the_masks_of_many_steps_are_drawn_in_order_for_a_share_of_the_samples(lib):
    rng, again = np.random.default_rng(1), np.random.default_rng(1)

    def draw(size: int) -> dict[str, np.ndarray[Any, Any]]:
        return {"mask1": rng.random((size, 3)) < 0.5, "mask2": rng.random((size, 2)) < 0.5}

    like = lib.asarray([1.0])
    with lib.here:
        drawn = list(lib.backend.masks(draw, 5, 4, like, slice(1, 3)))
    for masks in drawn:
        for name, width in (("mask1", 3), ("mask2", 2)):
            assert lib.holds(masks[name])
            np.testing.assert_array_equal(lib.numpy(masks[name]), again.random((4, width))[1:3] < 0.5)
    assert rng.bit_generator.state == again.bit_generator.state
    assert list(lib.backend.masks(None, 2, 4, like)) == [{}, {}]


@pytest.mark.only("cupy")
def test_masks_that_do_not_fit_together_go_to_the_device_in_several_copies(lib):
    drawn = 0

    def draw(size: int) -> dict[str, np.ndarray[Any, Any]]:
        nonlocal drawn
        drawn += 1
        return {"mask": np.full((size, 1 << 20), drawn % 2 == 0)}  # 24 MiB, of which 64 MiB hold two

    found = []
    for masks in lib.backend.masks(draw, 3, 24, lib.asarray([1.0])):
        found.append((drawn, bool(masks["mask"][0, 0])))
    assert found == [(2, False), (2, True), (3, False)]


@pytest.mark.parametrize("shape", [(3, 4), (4,), (1, 4)])
def test_an_elementwise_function_is_what_its_formula_says(lib, shape):
    def formula(x: Any, y: Any, z: Any, factor: float) -> Any:
        xp = xpnet._array.namespace(x=x, y=y)
        return xp.where(x > 0, factor * x, y - 1), xp.exp(-y) / z

    rng = np.random.default_rng(0)
    host = [rng.normal(size=(3, 4)), rng.normal(size=shape), rng.uniform(1, 2, size=())]
    with lib.here:
        results = elementwise(formula)(*map(lib.asarray, host), 0.3)
    for found, expected in zip(results, np.broadcast_arrays(*formula(*host, 0.3)), strict=True):
        assert lib.holds(found)
        wide = np.broadcast_to(lib.numpy(found), expected.shape)
        np.testing.assert_allclose(wide, expected, rtol=4 * lib.rtol)


@pytest.mark.only("cupy")
def test_an_elementwise_function_checks_its_arrays_and_keeps_their_dtype(lib):
    @elementwise
    def weighed(x: Any, y: Any, factor: float) -> Any:
        return factor * x + y

    for dtype in ("float32", "float64"):
        with lib.here:
            assert weighed(lib.asarray([1.0], dtype), lib.asarray([2.0], dtype), 0.1).dtype == dtype
    with pytest.raises(TypeError, match=r"different libraries: x is cupy\.ndarray, y is numpy\.ndarray"):
        weighed(lib.asarray([1.0]), np.asarray([1.0]), 0.1)


def test_a_method_is_fused_where_it_is_marked(lib):
    class Rule:
        rate = 0.1

        @elementwise
        def marked(self, p: Any, g: Any) -> Any:
            return p - self.rate * g

        def unmarked(self, p: Any, g: Any) -> Any:
            return p - self.rate * lib.xp.sum(g)  # not element by element

    p, g = lib.asarray([1.0, 2.0]), lib.asarray([10.0, 20.0])
    with lib.here:
        found = [lib.numpy(lib.backend.fuse(method)(p, g)) for method in (Rule().marked, Rule().unmarked)]
    np.testing.assert_allclose(found, [[0.0, 0.0], [-2.0, -1.0]], atol=1e-6)


def test_arrays_of_a_library_that_is_not_listed_are_run_as_plainly_as_numpys():
    class Other:
        __module__ = "otherlib.core"

    backend = backend_of(Other())
    assert backend.name == "otherlib"
    assert backend.compile(len) is len
    assert backend.install == "pip install otherlib"


def test_the_device_is_current_for_its_arrays(lib):
    with lib.backend.current(lib.backend.device()):
        assert float(lib.xp.sum(lib.asarray([1.0, 2.0]))) == 3.0


def test_public_names():
    assert {"BACKENDS", "Backend", "BackendUnavailable", "get_backend", "to_numpy"} <= set(xpnet.__all__)


@pytest.mark.only("torch")
def test_torch_names_every_kind_of_gpu(lib, monkeypatch):
    import torch

    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.xpu, "device_count", lambda: 1)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert lib.backend.devices() == ["cpu", "cuda:0", "cuda:1", "xpu:0", "mps"]
    assert lib.backend.device("xpu") == torch.device("xpu:0")
    assert lib.backend.kinds() == ["cpu", "cuda:0", "xpu:0", "mps"]
    assert all(lib.backend.is_remote(lib.backend.device(name)) for name in ("xpu:0", "mps"))


def test_exhausted_memory_is_not_taken_for_a_library_without_dlpack():
    class Large:
        def __dlpack__(self, **options):
            raise MemoryError("no more")

        def __dlpack_device__(self):
            return (1, 0)

    with pytest.raises(MemoryError, match="no more"):
        Backend("large", "numpy").to_numpy(Large())

"""JAX."""

import importlib
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any, NamedTuple

import numpy as np

from .._typing import Array
from .base import Backend, Draw, Functions, HostArray

__all__ = ["Jax"]


class Layout(NamedTuple):
    """How the arrays of a step are sharded over several devices."""

    rows: tuple[Any, ...]
    """The shardings of a mini-batch of each array of the data. Its samples are divided among devices."""
    carry: tuple[Any, ...]
    """The shardings of the arrays of the carry, which are kept."""


class Jax(Backend):
    """JAX. It compiles functions, and runs many steps in one compiled loop.

    Arrays can be sharded over a mesh of devices. The mini-batch of a step is then divided among the devices. JAX adds
    the communication between them.
    """

    name = "jax"
    module = "jax.numpy"
    install = "pip install 'xpnet[jax]'"

    def owns(self, kind: type) -> bool:
        """Whether `kind` is a type of JAX's arrays. The types of the separate package `jaxlib` belong to JAX, too."""
        return kind.__module__.partition(".")[0] in ("jax", "jaxlib")

    def known_devices(self) -> dict[str, Any]:
        """The devices of JAX's platforms, by name; the first is JAX's default."""
        jax = importlib.import_module("jax")
        platforms = {d.platform for d in jax.devices()} | {"cpu"}
        return {f"{p}:{d.id}": d for p in sorted(platforms, key="cpu".__eq__) for d in jax.devices(p)}

    def enable_float64(self) -> None:
        """Enable float64 in JAX for this process."""
        importlib.import_module("jax").config.update("jax_enable_x64", True)

    def is_of_memory(self, error: Exception) -> bool:
        """Whether `error` is JAX's error for exhausted memory."""
        return isinstance(error, MemoryError) or "RESOURCE_EXHAUSTED" in str(error)

    def to_numpy(self, x: Array) -> HostArray:
        """A copy on the host."""
        return np.asarray(x)

    def can_read(self, x: Array) -> bool:
        """Whether `x` is an array on the CPU, and not traced."""
        jax = importlib.import_module("jax")
        return not isinstance(x, jax.core.Tracer) and all(d.platform == "cpu" for d in x.devices())

    def read_all(self, values: list[Array]) -> HostArray:
        """Arrays of shape () or (n,) as one NumPy array.

        JAX would compile for seconds to stack hundreds of arrays. This method waits once for all of them.
        """
        return np.hstack(importlib.import_module("jax").device_get(values))

    def compile(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function, compiled by `jax.jit`."""
        compiled: Callable[..., Any] = importlib.import_module("jax").jit(function)
        return compiled

    def index(self, numbers: HostArray, like: Array) -> Array:
        """The indices, unchanged: the compiled loop of `repeat` moves them to the device."""
        return numbers

    def relu(self, x: Array) -> Array:
        """The larger of `x` and 0; the derivative of JAX's `maximum` at 0 would be 1/2."""
        return importlib.import_module("jax").nn.relu(x)

    def convolution(self) -> Functions:
        """JAX's convolution."""
        return _convolution(importlib.import_module("jax"))

    def repeat(self, step: Callable[..., Any]) -> Callable[..., Iterator[tuple[Any, Array]]]:
        """Many steps, one after the other: up to 100 in one compiled loop."""
        jax = importlib.import_module("jax")

        @cache
        def loop_of(layout: Layout | None, form: Any) -> Any:
            on_rows, kept = self._divided(step, layout), layout and (jax.tree.unflatten(form, layout.carry), None)

            def scan(carry: Any, data: Any, index: Array, masks: Any) -> Any:
                return jax.lax.scan(lambda carry, row: on_rows(carry, data, *row), carry, (index, masks))

            return jax.jit(scan, out_shardings=kept)

        def run(carry: Any, data: Any, index: HostArray, draw: Draw | None = None) -> Iterator[tuple[Any, Array]]:
            loop = loop_of(_layout(jax, carry, data), jax.tree.structure(carry))
            for part in np.array_split(index, -(-len(index) // 100)):
                drawn = [draw(part.shape[1]) for _ in part] if draw else [{}]
                masks = {name: np.stack([of_step[name] for of_step in drawn]) for name in drawn[0]}
                carry, losses = loop(carry, data, part, masks)
                yield carry, losses

        return run

    def compile_on_rows(self, step: Callable[..., Any]) -> Callable[..., Any]:
        """The function of `on_rows`, compiled by `jax.jit`, with its mini-batch divided as in `repeat`."""
        jax = importlib.import_module("jax")

        @cache
        def compiled(layout: Layout | None) -> Any:
            return jax.jit(self._divided(step, layout))

        def run(carry: Any, data: Any, index: Array, masks: Any) -> Any:
            return compiled(_layout(jax, carry, data))(carry, data, index, masks)

        return run

    def _divided(self, step: Callable[..., Any], layout: Layout | None) -> Callable[..., Any]:
        """The function of `on_rows`, with its mini-batch sharded as in `layout`."""
        if layout is None:
            return self.on_rows(step)
        shard = importlib.import_module("jax").lax.with_sharding_constraint
        return self.on_rows(lambda carry, batch, masks: step(carry, shard(batch, layout.rows), masks))


def _layout(jax: Any, carry: Any, data: tuple[Array, ...]) -> Layout | None:
    """How to shard a step; None if the arrays are not on a mesh.

    A mini-batch is divided along the mesh axes that divide the samples of `data`. If no axis divides them, it is
    divided along the mesh axes that divide no array of the carry.

    Raises
    ------
    ValueError
        If the mesh has explicit axes: JAX then requires a sharding for each result, and xpnet's functions give none.
    """
    where = data[0].sharding
    if not isinstance(where, jax.sharding.NamedSharding):
        return None
    mesh, spec, names = where.mesh, where.spec, where.mesh.axis_names
    if mesh.axis_types != (jax.sharding.AxisType.Auto,) * len(names):
        raise ValueError(
            f"the arrays are sharded over a mesh with explicit axes, {', '.join(names)}; xpnet needs automatic axes: "
            f"jax.make_mesh(shape, names, axis_types=(jax.sharding.AxisType.Auto,) * {len(names)})"
        )
    kept = tuple(a.sharding for a in jax.tree.leaves(carry))
    axes = spec[0] if spec else None
    if axes is None:
        used = {name for sharding in kept for part in getattr(sharding, "spec", ()) for name in _names(part)}
        axes = tuple(name for name in names if name not in used)
    free = jax.sharding.PartitionSpec.UNCONSTRAINED
    rows = (jax.sharding.PartitionSpec(axes, *[free] * (x.ndim - 1)) for x in data)
    return Layout(tuple(jax.sharding.NamedSharding(mesh, each) for each in rows), kept)


def _names(part: Any) -> tuple[str, ...]:
    """The names of the axes in one part of a PartitionSpec."""
    return (part,) if isinstance(part, str) else part or ()


@cache
def _convolution(jax: Any) -> Functions:
    def product(x: Array, W: Array, stride: Any, padding: Any, dilation: Any, groups: int) -> Array:
        both = [(p, p) for p in padding]
        return jax.lax.conv_general_dilated(
            x, W, stride, both, rhs_dilation=dilation, feature_group_count=groups, preferred_element_type=x.dtype
        )

    def transposed(function: Callable[[Array], Array], shape: Any, dout: Array) -> Array:
        return jax.linear_transpose(function, jax.ShapeDtypeStruct(tuple(shape), dout.dtype))(dout)[0]

    def convolve(x: Array, W: Array, b: Array, **options: Any) -> Array:
        return product(x, W, **options) + b[:, None, None]

    def by_images(shape: Any, W: Array, dout: Array, **options: Any) -> Array:
        return transposed(lambda x: product(x, W, **options), shape, dout)

    def by_filters(x: Array, shape: Any, dout: Array, **options: Any) -> Array:
        return transposed(lambda W: product(x, W, **options), shape, dout)

    return Functions(convolve, by_images, by_filters)

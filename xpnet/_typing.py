"""The types in the signatures of the whole package."""

from collections.abc import Callable
from typing import Any, Literal, TypeAlias

__all__ = ["Array", "BackendName", "DtypeName", "Namespace", "Params", "Schedule", "Shape"]

Array: TypeAlias = Any
"""An array of any array-API library (there is no common base class to name)."""

Namespace: TypeAlias = Any
"""The module with the array-API functions of one library, such as `array_api_compat.torch`."""

Params: TypeAlias = dict[str, Array]
"""Arrays by name: parameters, gradients, the state of layers or of an optimizer."""

Shape: TypeAlias = tuple[int, ...]

Schedule: TypeAlias = Callable[[Array], Array]
"""A function that takes the number of updates so far and returns the learning rate.

The number is an array of shape () and an integer dtype, or a Python int. Under `jax.jit` it is traced, so compute the
learning rate with array operations only.
"""

BackendName: TypeAlias = Literal["numpy", "cupy", "torch", "jax", "dask", "strict"]
"""A backend of xpnet's own. Other packages can add backends with other names."""

DtypeName: TypeAlias = Literal["float32", "float64", "bfloat16", "float16"]
"""A dtype by its name; the last two mean matrix products in half precision."""

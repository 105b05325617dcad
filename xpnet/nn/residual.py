"""Description of a residual connection."""

from collections.abc import Iterator, Sequence
from copy import copy
from dataclasses import dataclass
from typing import Any

from .._typing import Array
from ..layers import Residual as ResidualLayer
from ..layers.precision import Precision
from .base import Arrays, Description, Shape, check_descriptions, choose_weights

__all__ = ["Residual"]


@dataclass(frozen=True, repr=False, init=False)
class Residual(Description):
    """Description of a `layers.Residual` connection: layers whose output is added to their input.

    Parameters
    ----------
    *layers : Description
        The layers. Their output is added to the input.
    shortcut : sequence of Description, default ()
        Layers that the input passes before the sum. They are needed if input and output have different shapes, such
        as ``[nn.Conv2d(32, 1, stride=2)]``.

    Examples
    --------
    >>> from xpnet import nn
    >>> block = nn.Residual(nn.Conv2d(16, 3, padding=1), nn.BatchNorm(), nn.Relu())
    >>> block.output_shape((16, 14, 14)), block.params
    ((16, 14, 14), ('W', 'b', 'gamma', 'beta'))
    """

    layers: tuple[Description, ...]
    shortcut: tuple[Description, ...]
    kind = "Residual"

    def __init__(self, *layers: Description, shortcut: Sequence[Description] = ()) -> None:
        if not isinstance(shortcut, (tuple, list)):
            raise TypeError(f"Residual: shortcut must be a list of descriptions, got {shortcut!r}")
        check_descriptions("Residual", layers, inside=True)
        check_descriptions("Residual, shortcut", shortcut, inside=True)
        both = [*layers, *shortcut]
        self._set(
            layers=layers,
            shortcut=tuple(shortcut),
            params=tuple(name for d in both for name in d.params),
            state=tuple(name for d in both for name in d.state),
            masks=tuple(name for d in both for name in d.masks),
        )

    def text(self, *without: str) -> str:
        way, short = (", ".join(d.text(*without) for d in way) for way in (self.layers, self.shortcut))
        return f"Residual({way}, shortcut=[{short}])" if self.shortcut else f"Residual({way})"

    @property
    def precisions(self) -> set[Precision]:
        return {name for way in (self.layers, self.shortcut) for d in way for name in d.precisions}

    def with_precision(self, precision: Precision | None) -> "Residual":
        layers, shortcut = ([d.with_precision(precision) for d in way] for way in (self.layers, self.shortcut))
        made = copy(self)  # of the same class, also if its constructor has other arguments
        Residual.__init__(made, *layers, shortcut=shortcut)
        return made

    def _each(self, shape: Shape) -> Iterator[tuple[Description, Shape]]:
        """Each description with the shape of its input; the initializer of its weights is chosen."""
        for way in (self.layers, self.shortcut):
            here = shape
            for description in choose_weights(way):
                yield description, here
                here = description.output_shape(here)

    def output_shape(self, shape: Shape) -> Shape:
        out, short = shape, shape
        for description in self.layers:
            out = description.output_shape(out)
        for description in self.shortcut:
            short = description.output_shape(short)
        if out != short:
            raise ValueError(
                f"Residual: for samples of shape {shape} its layers give {out} and its shortcut {short}, which "
                "cannot be added; give it a shortcut with the same output shape"
            )
        return out

    def param_shapes(self, shape: Shape) -> tuple[Shape, ...]:
        return tuple(found for d, here in self._each(shape) for found in d.param_shapes(here))

    def init(self, rng: Any, shape: Shape) -> Arrays:
        return tuple(array for d, here in self._each(shape) for array in d.init(rng, here))

    def init_state(self, shape: Shape) -> Arrays:
        return tuple(array for d, here in self._each(shape) for array in d.init_state(here))

    def draw(self, rng: Any, shape: Shape) -> Arrays:
        batch, *sample = shape
        return tuple(mask for d, here in self._each(tuple(sample)) for mask in d.draw(rng, (batch, *here)))

    def least_batch(self, shape: Shape) -> int:
        return max((d.least_batch(here) for d, here in self._each(shape)), default=1)

    def layer(self, arrays: Sequence[Array], training: bool) -> ResidualLayer:
        params, state = iter(arrays[: len(self.params)]), iter(arrays[len(self.params) :])
        masks = iter(arrays[len(self.params) + len(self.state) :])

        def build(description: Description) -> Any:
            sources = ((params, description.params), (state, description.state), (masks, description.masks))
            return description.layer([next(source) for source, names in sources for _ in names], training)

        return ResidualLayer([build(d) for d in self.layers], [build(d) for d in self.shortcut])

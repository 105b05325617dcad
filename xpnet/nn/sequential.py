"""`Sequential`: layers one after the other and a loss, as a pure function of parameters, input and targets.

A `Sequential` holds no parameters. Its methods are pure functions, so JAX can differentiate, trace and compile them.
"""

import math
import re
import textwrap
from collections import Counter
from collections.abc import Iterator
from copy import copy
from typing import Any, TypeAlias

from .. import _html
from .._array import device, index_dtype, namespace
from .._typing import Array
from ..backends import on_arrays_device, trace
from ..layers.base import Loss
from ..layers.precision import Precision
from ..tracing import Cost
from .base import Description, LossDescription, Shape, check_descriptions, check_shape, choose_weights
from .losses import AnyLoss, CrossEntropy, loss_of

__all__ = ["Sequential"]

Params: TypeAlias = dict[str, Array]


class Sequential:
    """Layers one after the other, and a loss: a pure function of parameters, input and targets.

    Parameters
    ----------
    *descriptions : Description
        The layers, such as ``nn.Dense(50), nn.Relu(), nn.Dense(10)``.
    loss : LossDescription, subclass of Loss, or str, default CrossEntropy()
        A description, such as ``nn.CrossEntropy(label_smoothing=0.1)`` or ``nn.MeanSquaredError()`` for regression;
        the class of your own loss; or a name: "cross_entropy", "mean_squared_error" ("mse"), "binary_cross_entropy",
        "huber" or "poisson".

    Attributes
    ----------
    descriptions : tuple of Description
        The descriptions of the layers.
    names : list of str
        The names of the layers, such as "Affine1".
    loss_description : LossDescription or subclass of Loss
        The description or class of the loss.
    last : Loss
        A loss object without sample weights. It tells whether the network classifies and takes labels.
    param_names, carried_names : list of tuple of str
        For each layer, the names of its parameters, such as ``("W1", "b1")``, and of its state, such as
        ``("mean1", "var1")``.
    state_names, mask_names : list of str
        The keys of the arguments `state` and `masks` of `loss_and_gradient`.

    Notes
    -----
    Backpropagation calls `forward` of each layer, then `backward` of the same layer objects in reverse order. It
    stops at the first layer with parameters, because no derivative is needed before this layer.

    Examples
    --------
    >>> import numpy as np
    >>> from xpnet import nn
    >>> stack = Sequential(nn.Dense(3), nn.Relu(), nn.Dense(2))
    >>> params = stack.init(np.random.default_rng(0), (4,))
    >>> {name: p.shape for name, p in params.items()}
    {'W1': (4, 3), 'b1': (3,), 'W2': (3, 2), 'b2': (2,)}
    >>> loss, gradients, state = stack.loss_and_gradient(params, np.ones((5, 4)), np.asarray([0, 1, 1, 0, 1]))
    >>> gradients["W1"].shape
    (4, 3)
    >>> print(stack.summary((4,)))
    layer    description  output  parameters
    Affine1  Dense(3)       (3,)          15
    Relu1    Relu()         (3,)           0
    Affine2  Dense(2)       (2,)           8
    total                                 23
    """

    def __init__(self, *descriptions: Description, loss: AnyLoss = CrossEntropy()) -> None:
        check_descriptions("Sequential", descriptions)
        self.descriptions, self.loss_description = descriptions, loss_of(loss)
        try:
            self.last = self.loss_layer()
        except TypeError as error:
            raise TypeError(
                f"Sequential: the loss {loss!r} cannot be built from sample weights alone ({error}); describe a loss "
                "with options by a subclass of nn.LossDescription"
            ) from error
        if not isinstance(self.last, Loss):
            raise TypeError(f"Sequential: {loss!r} must build a subclass of xpnet.Loss, but builds {self.last!r}")
        count: Counter[str] = Counter()

        def numbered(name: str) -> str:
            count[name] += 1
            return f"{name}{count[name]}"

        self.names = [numbered(d.kind) for d in descriptions]
        self.param_names, self.carried_names, self._masks = (
            (
                [tuple(numbered(name) for name in names) for names in kinds]
                for kinds in zip(*((d.params, d.state, d.masks) for d in descriptions), strict=True)
            )
            if descriptions
            else ([], [], [])
        )
        self.state_names = [name for names in self.carried_names for name in names]
        self.mask_names = [name for names in self._masks for name in names]
        self._first = next((i for i, names in enumerate(self.param_names) if names), len(descriptions))
        self._plan = [
            (name, description, (*params, *state, *masks))
            for name, description, params, state, masks in zip(
                self.names, self.descriptions, self.param_names, self.carried_names, self._masks, strict=True
            )
        ]

    def __repr__(self) -> str:
        return f"Sequential({', '.join([*map(repr, self.descriptions), f'loss={self._loss_text()}'])})"

    def _repr_html_(self) -> str:
        rows = [[name, repr(description)] for name, description in zip(self.names, self.descriptions, strict=True)]
        return _html.table(["layer", "description"], [*rows, ["loss", self._loss_text()]], type(self).__name__)

    def _loss_text(self) -> str:
        loss = self.loss_description
        return repr(loss) if isinstance(loss, LossDescription) else loss.__name__

    @property
    def precisions(self) -> set[Precision]:
        """The dtypes of half precision in which matrix products are computed; empty in most networks."""
        return {name for description in self.descriptions for name in description.precisions}

    def with_precision(self, precision: Precision | None) -> "Sequential":
        """The same layers and loss, with the matrix products of all layers in this precision, see `nn.Dense`.

        The `precision` of each layer is replaced.
        """
        descriptions = [description.with_precision(precision) for description in self.descriptions]
        made = copy(self)  # of the same class, also if its constructor has other arguments
        Sequential.__init__(made, *descriptions, loss=self.loss_description)
        return made

    def loss_layer(self, weight: Array | None = None) -> Loss:
        """A new loss object for one pass; `weight` is the weight of each sample."""
        loss = self.loss_description
        return loss.layer(weight) if isinstance(loss, LossDescription) else loss(weight)

    # Shapes, and what is drawn on the host

    def shapes(self, input_shape: Shape, /) -> list[Shape]:
        """The shape of a sample before the first layer and after each layer.

        Raises
        ------
        ValueError
            If a layer cannot take the output shape of the layer before it. The error has the position of the layer.
        """
        shapes = [check_shape(input_shape)]
        for i, (name, description, _) in enumerate(self._plan, 1):
            try:
                shapes.append(description.output_shape(shapes[-1]))
            except ValueError as error:
                raise ValueError(f"layer {i}, {name}, is given samples of shape {shapes[-1]}: {error}") from None
        return shapes

    def _inputs(self, input_shape: Shape) -> Iterator[tuple[int, Description, Shape]]:
        return zip(range(len(self.names)), self.descriptions, self.shapes(input_shape), strict=False)

    def param_shapes(self, input_shape: Shape, /) -> dict[str, Shape]:
        """The shapes of the parameters that `init` would draw."""
        return {
            name: found
            for i, description, shape in self._inputs(input_shape)
            for name, found in zip(self.param_names[i], description.param_shapes(shape), strict=True)
        }

    def init(self, rng: Any, input_shape: Shape, /) -> Params:
        """Draw the initial parameters.

        Parameters
        ----------
        rng : numpy.random.Generator
        input_shape : tuple of int
            The shape of one sample, without the batch axis.

        Returns
        -------
        dict of NumPy arrays, float64

        Raises
        ------
        MemoryError
            If the memory cannot hold the parameters of a layer.
        """
        chosen = choose_weights(self.descriptions)

        def drawn(i: int, shape: Shape) -> tuple[Array, ...]:
            try:
                return chosen[i].init(rng, shape)
            except (MemoryError, ValueError) as error:
                if isinstance(error, ValueError) and not re.search(
                    "too big|maximum allowed dimension", str(error), re.I
                ):
                    raise
                raise MemoryError(
                    f"layer {i + 1}, {self.names[i]}, has more parameters than fit into memory: "
                    f"{self.descriptions[i].text('weight_init')} after {shape}; choose a smaller layer"
                ) from None

        return {
            name: array
            for i, _, shape in self._inputs(input_shape)
            for name, array in zip(self.param_names[i], drawn(i, shape), strict=True)
        }

    def init_state(self, input_shape: Shape, /) -> Params:
        """The state before the first update, such as running means: a dict of NumPy arrays, float64."""
        return {
            name: array
            for i, description, shape in self._inputs(input_shape)
            for name, array in zip(self.carried_names[i], description.init_state(shape), strict=True)
        }

    def draw(self, rng: Any, batch_shape: Shape, /) -> Params:
        """Draw the masks of random layers, such as dropout, for one mini-batch: a dict of NumPy arrays, bool.

        Parameters
        ----------
        rng : numpy.random.Generator
        batch_shape : tuple of int
            The shape of the mini-batch, such as ``x.shape``.
        """
        batch, *sample = batch_shape
        return {
            name: mask
            for i, description, shape in self._inputs(tuple(sample))
            for name, mask in zip(self._masks[i], description.draw(rng, (batch, *shape)), strict=True)
        }

    def least_batch(self, input_shape: Shape, /) -> int:
        """The smallest number of samples that a mini-batch may have in training."""
        return max((d.least_batch(shape) for _, d, shape in self._inputs(input_shape)), default=1)

    def summary(self, input_shape: Shape, /, *, params: Params | None = None, state: Params | None = None) -> str:
        """A table of the layers, with the shapes of their outputs and their numbers of parameters.

        Parameters
        ----------
        input_shape : tuple of int
            The shape of one sample.
        params, state : dict of arrays, optional
            The parameters and the state. With them, the table shows the arithmetic operations of each layer for one
            sample, see `Cost`; "-" for a layer that cannot be traced.
        """
        table = self.summary_rows(input_shape, params=params, state=state)
        wide = [max(map(len, column)) for column in zip(*table, strict=True)]
        return "\n".join(
            "  ".join(f"{cell:{'<' if i < 2 else '>'}{wide[i]}}" for i, cell in enumerate(row)) for row in table
        )

    def summary_rows(
        self, input_shape: Shape, /, *, params: Params | None = None, state: Params | None = None
    ) -> list[list[str]]:
        """The rows of `summary` as text: the header, a row for each layer, and the total."""
        shapes = self.shapes(input_shape)
        named = self.param_shapes(input_shape)
        counts = [sum(math.prod(named[name]) for name in names) for names in self.param_names]
        header = ["layer", "description", "output", "parameters"]
        rows = [
            [name, textwrap.shorten(d.text("weight_init"), 50, placeholder=" ..."), str(shape), f"{count:,}"]
            for name, d, shape, count in zip(self.names, self.descriptions, shapes[1:], counts, strict=True)
        ]
        total = ["total", "", "", f"{sum(counts):,}"]
        if params is not None:
            flops = self._flops(params, state, shapes)
            rows = [[*row, f"{count:,}" if count >= 0 else "-"] for row, count in zip(rows, flops, strict=True)]
            header, total = [*header, "FLOPs"], [*total, f"{sum(flops):,}" if min(flops, default=0) >= 0 else "-"]
        return [header, *rows, total]

    def cost(self, params: Params, batch_shape: Shape, /, *, state: Params | None = None) -> Cost:
        """The cost of `predict` for a batch of this shape; it calls `predict` once, with zeros. See `trace`."""
        if not params:
            return Cost((), 0)
        x, *_ = self._zeros(params, [batch_shape])
        return trace(lambda params, x, state: self.predict(params, x, state=state), params, x, state or None).cost()

    def _flops(self, params: Params, state: Params | None, shapes: list[Shape]) -> list[int]:
        """The arithmetic operations of each layer for one sample; -1 if the layer cannot be traced."""
        if not params:
            return [0] * len(self.names)
        arrays, counts = self._arrays(params, state, None, False), list[int]()
        inputs = self._zeros(params, [(1, *shape) for shape in shapes])
        for (_, description, keys), x in zip(self._plan, inputs, strict=False):
            given = [arrays[key] for key in keys]
            try:
                program = trace(lambda a, x, d=description: d.layer(a, False).forward(x), given, x)
            except Exception:  # what a layer of one's own raises for arrays without values
                counts.append(-1)
            else:
                counts.append(program.cost().flops)
        return counts

    def _zeros(self, params: Params, shapes: list[Shape]) -> Iterator[Array]:
        """Zeros of the shapes of inputs; only the first input of the network can be integer ids."""
        first = next(iter(params.values()))
        xp, where = namespace(params=first), device(first)
        for i, shape in enumerate(shapes):
            dtype = first.dtype if i or self.takes_floats else index_dtype(xp, where)
            yield xp.zeros(shape, dtype=dtype, device=where)

    @property
    def takes_floats(self) -> bool:
        """Whether samples are floats; False for a network that begins with an embedding and takes integer ids."""
        return not self.descriptions or self.descriptions[0].takes_floats

    @property
    def id_count(self) -> int | None:
        """The number of valid ids, for a network that begins with an embedding; otherwise None."""
        return self.descriptions[0].id_count if self.descriptions else None

    # The pure functions

    def _arrays(self, params: Params, state: Params | None, masks: Params | None, training: bool) -> Params:
        """All arrays that layers are built from, by name."""
        arrays = params
        for kind, names, given in (("state", self.state_names, state), ("masks", self.mask_names, masks)):
            if given is not None and not isinstance(given, dict):
                raise TypeError(f"Sequential: {kind} must be a dict of arrays by name, got {type(given).__name__}")
            if given and (unknown := set(given) - set(names)):
                raise ValueError(
                    f"Sequential: {kind} has the unknown keys {sorted(unknown)}; its keys must be {names or 'none'}"
                )
            if not names:
                continue
            if given:
                arrays = arrays | given
            elif kind == "masks" and training:
                raise ValueError(
                    "Sequential: the argument masks is missing; draw dropout masks with stack.draw(rng, x.shape), "
                    "and convert them to the library of x"
                )
            elif kind == "state" and not training:
                raise ValueError(
                    "Sequential: the argument state is missing; pass the state that loss_and_gradient returned in "
                    "training"
                )
            else:
                arrays = arrays | dict.fromkeys(names)
        return arrays

    def layers(
        self, params: Params, *, state: Params | None = None, masks: Params | None = None, training: bool = False
    ) -> dict[str, Any]:
        """A new layer for each description, by name, for one pass."""
        plain = state is None and masks is None and not self.state_names and not self.mask_names
        arrays = params if plain else self._arrays(params, state, masks, training)
        return {
            name: description.layer([arrays[key] for key in keys], training) for name, description, keys in self._plan
        }

    @on_arrays_device
    def predict(self, params: Params, x: Array, *, state: Params | None = None) -> Array:
        """The outputs for `x`, such as scores. Dropout does nothing; batch normalization uses `state`."""
        for layer in self.layers(params, state=state).values():
            x = layer.forward(x)
        return x

    @on_arrays_device
    def loss(
        self,
        params: Params,
        x: Array,
        t: Array,
        *,
        state: Params | None = None,
        masks: Params | None = None,
        weight: Array | None = None,
        training: bool = False,
    ) -> Array:
        """The loss, an array of shape (). With `training`, dropout and batch normalization work as in training."""
        for layer in self.layers(params, state=state, masks=masks, training=training).values():
            x = layer.forward(x)
        return self.loss_layer(weight).forward(x, t)

    def loss_and_gradient(
        self,
        params: Params,
        x: Array,
        t: Array,
        *,
        state: Params | None = None,
        masks: Params | None = None,
        weight: Array | None = None,
    ) -> tuple[Array, Params, Params]:
        """The training loss and its gradient, by backpropagation; a pure function.

        Parameters
        ----------
        params : dict of arrays
            The parameters, with the names of `init`, all in the same library, dtype and device.
        x : array, shape (N, ...), or one sample
            The samples.
        t : array
            The targets, in a form that the loss takes.
        state : dict of arrays, optional
            The state of the layers, with the names of `init_state`. Without `state`, batch normalization works, but
            no running statistics are computed.
        masks : dict of arrays, optional
            The dropout masks, with the names of `draw`. Required if the network has dropout.
        weight : array, shape (N,), optional
            The weight of each sample.

        Returns
        -------
        loss : array, shape ()
            The loss.
        gradients : dict of arrays, with the names and shapes of `params`
            The gradient with respect to each parameter.
        state : dict of arrays
            The new state.
        """
        loss, gradients, state, *_ = self.forward_backward(params, x, t, state=state, masks=masks, weight=weight)
        return loss, gradients, state

    @on_arrays_device
    def forward_backward(
        self,
        params: Params,
        x: Array,
        t: Array,
        *,
        state: Params | None = None,
        masks: Params | None = None,
        weight: Array | None = None,
        over: float | None = None,
        checked: bool = False,
    ) -> tuple[Array, Params, Params, dict[str, Any], Any]:
        """The loss, the gradients, the new state, and the layer objects and the loss object of the pass.

        The loss is the weighted sum over the samples, divided by the sum of their weights. If the samples are a part
        of a larger mini-batch, the sum is divided by `over`, the sum of all weights. `checked` is the attribute of
        the loss.
        """
        layers = self.layers(params, state=state, masks=masks, training=True)
        for layer in layers.values():
            x = layer.forward(x)
        last = self.loss_layer(weight)
        if checked:
            last.checked = True
        loss, dout = last.forward(x, t), last.backward()
        if over is not None:
            times = last.counted(x.shape[0]) / over
            loss, dout = loss * times, dout * times
        _, gradients = self.backward(layers, dout, to_input=False)
        return loss, gradients, self.next_state(layers) if state else {}, layers, last

    def backward(self, layers: dict[str, Any], dout: Array, *, to_input: bool = True) -> tuple[Array | None, Params]:
        """Backpropagation through the layers of a forward pass.

        Parameters
        ----------
        layers : dict of layers
            The result of the method `layers`, after `forward` of each layer was called.
        dout : array
            dL/dy, in the shape of the outputs.
        to_input : bool, default True
            Whether to compute dL/dx. If False, backpropagation stops at the first layer with parameters.

        Returns
        -------
        dx : array or None
            dL/dx. None if `to_input` is False, and if the input is integer ids.
        gradients : dict of arrays
            The gradient with respect to each parameter.
        """
        passed, dx = list(layers.values()), None
        for layer in reversed(passed[0 if to_input else self._first + 1 :]):
            dout = layer.backward(dout)
        if to_input:
            dx = dout
        else:
            for layer in passed[self._first : self._first + 1]:
                layer.backward_params(dout)
        gradients = {
            key: gradient
            for keys, layer in zip(self.param_names, passed, strict=True)
            if keys
            for key, gradient in zip(keys, layer.gradients(), strict=True)
        }
        return dx, gradients

    def next_state(self, layers: dict[str, Any]) -> Params:
        """The new state of the layers after a pass in which they were given their state."""
        for keys, (name, layer) in zip(self.carried_names, layers.items(), strict=True):
            if len(layer.state) != len(keys):
                raise ValueError(
                    f"{name}: its description declares the state ({', '.join(keys)}), but after forward the layer's "
                    f"state has {len(layer.state)} arrays; set state to one array for each name"
                )
        return {
            key: value
            for keys, layer in zip(self.carried_names, layers.values(), strict=True)
            for key, value in zip(keys, layer.state, strict=True)
        }

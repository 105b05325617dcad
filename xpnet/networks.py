"""Networks: a pure stack of layer descriptions, and the book's networks on top of it.

A `Sequential` describes; it holds no parameters. What it computes is a pure function of the parameters, which
anything may differentiate, trace, compile or distribute. `TwoLayerNet` adds the parameters and the book's
methods.
"""

import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, TypeAlias

from ._array import Array, check_floating, device, dtype_name, from_host, namespace
from .functions import accuracy, softmax, softmax_cross_entropy
from .gradient import numerical_gradient
from .initializers import He, Normal, generator
from .layers import Affine, Layer, Relu, Sigmoid, SoftmaxWithLoss

__all__ = ["Activation", "Dense", "Network", "Sequential", "SimpleNet", "TwoLayerNet"]

Params: TypeAlias = dict[str, Array]


class Description(Protocol):
    """What `Sequential` asks of the description of a layer."""

    @property
    def kind(self) -> str:
        """The layer's name, to which its number is added: "Affine" becomes "Affine1"."""

    @property
    def params(self) -> tuple[str, ...]:
        """The names of its parameters, to which a number is added: "W" becomes "W1"."""

    def init(self, rng: Any, shape: tuple[int, ...], /) -> tuple[tuple[Array, ...], tuple[int, ...]]:
        """The initial parameters (NumPy, float64) for samples of `shape`, and the shape of an output."""

    def layer(self, *params: Array) -> Any:
        """The one-pass layer with these parameters.

        Where it has any, it has a `backward_params` too, and afterwards the attributes `dW` for "W" and so on.
        """


@dataclass(frozen=True)
class Dense:
    """Description of an `Affine` layer: every output depends on every input.

    Parameters
    ----------
    units : int
        How many outputs.
    weight_init : callable, default He()
        Takes a `numpy.random.Generator` and a shape, returns the initial weights. Biases start at 0.

    Examples
    --------
    >>> import numpy as np
    >>> (W, b), output_shape = Dense(50).init(np.random.default_rng(0), (1, 28, 28))
    >>> W.shape, b.shape, output_shape
    ((784, 50), (50,), (50,))
    """

    units: int
    weight_init: Callable[[Any, tuple[int, ...]], Array] = He()
    kind: ClassVar[str] = "Affine"
    params: ClassVar[tuple[str, ...]] = ("W", "b")

    def __post_init__(self) -> None:
        if not isinstance(self.units, int) or self.units < 1:
            raise ValueError(f"Dense: units must be an integer from 1, got {self.units!r}")

    def init(self, rng: Any, shape: tuple[int, ...], /) -> tuple[tuple[Array, ...], tuple[int, ...]]:
        """Weights drawn by `weight_init`, and biases of 0."""
        W = self.weight_init(rng, (math.prod(shape), self.units))
        return (W, 0 * W[0]), (self.units,)

    def layer(self, *params: Array) -> Affine:
        """The affine layer with weights and biases `params`."""
        return Affine(*params)


@dataclass(frozen=True)
class Activation:
    """Description of a layer without parameters, such as ``Activation(Relu)``.

    Parameters
    ----------
    layer_class : type
        A layer class that is built from nothing and keeps the shape of its input.
    """

    layer_class: Callable[[], Layer]
    params: ClassVar[tuple[str, ...]] = ()

    @property
    def kind(self) -> str:
        """The name of the layer class."""
        return self.layer_class.__name__

    def init(self, rng: Any, shape: tuple[int, ...], /) -> tuple[tuple[Array, ...], tuple[int, ...]]:
        """No parameters; the output has the shape of the input."""
        return (), shape

    def layer(self, *params: Array) -> Layer:
        """A new layer."""
        return self.layer_class()


class Sequential:
    """Layers one after the other, and a loss: a pure function of parameters, input and targets.

    Parameters
    ----------
    *descriptions : Description
        Such as ``Dense(50), Activation(Relu), Dense(10)``.
    loss : type, default SoftmaxWithLoss
        The class of the loss layer, built with the samples' weights; `IdentityWithLoss` for regression.

    Notes
    -----
    Backpropagation is `forward` with the layers kept, then `backward` through them in reverse. Below the first
    layer with parameters nobody needs a derivative, so it stops there.

    Examples
    --------
    >>> import numpy as np
    >>> stack = Sequential(Dense(3), Activation(Relu), Dense(2))
    >>> params, output_shape = stack.init(np.random.default_rng(0), (4,))
    >>> {name: p.shape for name, p in params.items()}
    {'W1': (4, 3), 'b1': (3,), 'W2': (3, 2), 'b2': (2,)}
    >>> loss, gradients, state = stack.loss_and_gradient(params, np.ones((5, 4)), np.asarray([0, 1, 1, 0, 1]))
    >>> gradients["W1"].shape
    (4, 3)
    """

    def __init__(self, *descriptions: Description, loss: Callable[[Array | None], Any] = SoftmaxWithLoss) -> None:
        self.descriptions, self.loss_class = descriptions, loss
        count: Counter[str] = Counter()

        def numbered(name: str) -> str:
            count[name] += 1
            return f"{name}{count[name]}"

        self.names = [numbered(d.kind) for d in descriptions]
        self.param_names = [tuple(numbered(name) for name in d.params) for d in descriptions]
        self._first = next((i for i, names in enumerate(self.param_names) if names), len(descriptions))
        self._plan = list(zip(self.names, descriptions, self.param_names, strict=True))
        self._gradients = [  # such as ("W1", "Affine1", "dW")
            (key, name, f"d{param}")
            for name, description, keys in self._plan
            for key, param in zip(keys, description.params, strict=True)
        ]

    def __repr__(self) -> str:
        inside = ", ".join(map(repr, self.descriptions))
        return f"Sequential({inside}, loss={getattr(self.loss_class, '__name__', self.loss_class)})"

    def init(self, rng: Any, input_shape: tuple[int, ...], /) -> tuple[Params, tuple[int, ...]]:
        """Draw the initial parameters.

        Parameters
        ----------
        rng : numpy.random.Generator
        input_shape : tuple of int
            The shape of one sample, without the batch.

        Returns
        -------
        params : dict of NumPy arrays, float64
        output_shape : tuple of int
            The shape of the scores of one sample.
        """
        params: Params = {}
        shape = input_shape
        for description, names in zip(self.descriptions, self.param_names, strict=True):
            arrays, shape = description.init(rng, shape)
            params.update(zip(names, arrays, strict=True))
        return params, shape

    def layers(self, params: Params) -> dict[str, Any]:
        """A new layer for each description, by name, for one pass."""
        return {name: description.layer(*[params[key] for key in keys]) for name, description, keys in self._plan}

    def predict(self, params: Params, x: Array) -> Array:
        """The scores of `x`."""
        for layer in self.layers(params).values():
            x = layer.forward(x)
        return x

    def loss(self, params: Params, x: Array, t: Array, *, weight: Array | None = None) -> Array:
        """The loss, an array of shape ()."""
        return self.loss_class(weight).forward(self.predict(params, x), t)

    def loss_and_gradient(
        self,
        params: Params,
        x: Array,
        t: Array,
        *,
        state: Params | None = None,
        noise: Any = None,
        weight: Array | None = None,
    ) -> tuple[Array, Params, Params]:
        """The loss and its gradient, by backpropagation; a pure function.

        Parameters
        ----------
        params : dict of arrays
            As `init` names them, in one library, dtype and device.
        x : array, shape (N, ...), or one sample
        t : array
            Targets, as the loss takes them.
        state : dict of arrays, optional
            What layers carry from one update to the next. The present layers carry nothing: empty.
        noise : optional
            What random layers are given. There is none among the present layers: None.
        weight : array, shape (N,), optional
            What each sample counts.

        Returns
        -------
        loss : array, shape ()
        gradients : dict of arrays, shaped as `params`
        state : dict of arrays
            The next state.
        """
        if state or noise is not None:
            raise ValueError("Sequential: no layer of this stack keeps state or takes noise; pass neither")
        loss, gradients, _ = self.trace(params, x, t, weight)
        return loss, gradients, {}

    def trace(
        self, params: Params, x: Array, t: Array, weight: Array | None = None
    ) -> tuple[Array, Params, dict[str, Any]]:
        """Loss, gradients, and the layers that recorded the pass."""
        layers = self.layers(params)
        for layer in layers.values():
            x = layer.forward(x)
        last = self.loss_class(weight)
        loss = last.forward(x, t)

        dout = last.backward()
        passed = list(layers.values())
        for layer in reversed(passed[self._first + 1 :]):
            dout = layer.backward(dout)
        for layer in passed[self._first : self._first + 1]:
            layer.backward_params(dout)
        return loss, {key: getattr(layers[name], d) for key, name, d in self._gradients}, layers


class Network:
    """A stack with its parameters, and the book's methods.

    Parameters
    ----------
    stack : Sequential
    input_shape : tuple of int
        The shape of one sample, without the batch.
    seed : int or numpy.random.Generator, default 0
        Draws the initial weights, on the host, in float64: the same on every backend.
    like : array, optional
        An array whose library, device and floating dtype the parameters take; NumPy, float32 where not given.
    dtype : str or dtype of `like`'s library, optional
        The floating dtype of the parameters, where it is not that of `like`.

    Attributes
    ----------
    params : dict of arrays
    layers : dict of layers
        The layers of the last `gradient`, by name, as ``net.layers["Affine1"].dW``; empty before, and left
        behind by copies.
    stack : Sequential
        The pure function underneath.
    output_shape : tuple of int
        The shape of the scores of one sample.
    """

    def __init__(
        self,
        stack: Sequential,
        input_shape: tuple[int, ...],
        *,
        seed: int | Any = 0,
        like: Array | None = None,
        dtype: Any = None,
    ) -> None:
        host, self.output_shape = stack.init(generator(seed), input_shape)
        self.stack = stack
        self.params: Params = {name: _place(array, like, dtype) for name, array in host.items()}
        self.layers: dict[str, Any] = {}

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "layers": {}}

    def __repr__(self) -> str:
        shapes = ", ".join(f"{name} {tuple(p.shape)}" for name, p in self.params.items())
        first = next(iter(self.params.values()))
        return f"{type(self).__name__}({shapes}; {dtype_name(first.dtype)}, {namespace(W=first).__name__})"

    @property
    def classifies(self) -> bool:
        """Whether the outputs are scores of classes, not numbers to predict."""
        return self.stack.loss_class is SoftmaxWithLoss

    def predict(self, x: Array) -> Array:
        """The scores of `x`, shape (N, K), or (K,) for one sample.

        Parameters
        ----------
        x : array, shape (N, D), (N, ...) with D elements a sample, or one sample (D,)
            In the library, device and dtype of `params`. Images come as floats, scaled as in training.

        Raises
        ------
        TypeError, ValueError
            If library, dtype, device or shape do not fit.
        """
        return self.stack.predict(self.params, x)

    def predict_proba(self, x: Array) -> Array:
        """The probabilities of the classes: `softmax` of the scores."""
        return softmax(self.predict(x))

    def loss(self, x: Array, t: Array) -> Array:
        """The loss on `x` with targets `t`, an array of shape ()."""
        return self.stack.loss(self.params, x, t)

    def accuracy(self, x: Array, t: Array) -> Array:
        """The share of `x` that is put in the right class, an array of shape (); `t` is labels or one-hot."""
        return accuracy(self.predict(x), t)

    def gradient(self, x: Array, t: Array) -> Params:
        """The gradient of the loss by each parameter, by backpropagation; keeps the pass in `layers`."""
        _, gradients, layers = self.stack.trace(self.params, x, t)
        if all(type(gradients[name]) is type(p) for name, p in self.params.items()):  # traced arrays must not stay
            self.layers = layers
        return gradients

    def numerical_gradient(self, x: Array, t: Array) -> Params:
        """The gradient of the loss by each parameter, by central differences: slow, for checking."""

        def loss_at(name: str) -> Callable[[Array], Array]:
            return lambda p: self.stack.loss({**self.params, name: p}, x, t)

        return {name: numerical_gradient(loss_at(name), p) for name, p in self.params.items()}


class TwoLayerNet(Network):
    """The book's network: affine, activation, affine, softmax with cross-entropy.

    Parameters
    ----------
    input_size : int
        Features of a sample, D; 784 for MNIST.
    hidden_size : int
        Units of the hidden layer, H.
    output_size : int
        Classes, K.
    weight_init_std : float, default 0.01
        Standard deviation of the initial weights; biases start at 0.
    activation : {"relu", "sigmoid"}, default "relu"
        Of the hidden layer: ReLU as in the book's chapter 5, or the logistic function as in chapter 4.
    seed : int or numpy.random.Generator, default 0
        Draws the initial weights, on the host, in float64: the same on every backend.
    like : array, optional
        An array whose library, device and floating dtype the parameters take; NumPy, float32 where not given.
    dtype : str or dtype of `like`'s library, optional
        The floating dtype of the parameters, where it is not that of `like`.

    Attributes
    ----------
    params : dict of arrays
        'W1' (D, H), 'b1' (H,), 'W2' (H, K), 'b2' (K,).
    layers : dict of layers
        'Affine1', 'Relu1' (or 'Sigmoid1'), 'Affine2' of the last `gradient`.
    stack : Sequential
        The pure function underneath.
    output_shape : tuple of int
        ``(K,)``

    References
    ----------
    Saito (2016), Deep Learning from Scratch, sections 4.5 and 5.7.

    Examples
    --------
    >>> import numpy as np
    >>> x = np.random.default_rng(1).random((3, 4))
    >>> t = np.asarray([0, 2, 1])
    >>> net = TwoLayerNet(4, 5, 3, weight_init_std=1.0, like=x)
    >>> before = net.loss(x, t)
    >>> for _ in range(20):
    ...     grads = net.gradient(x, t)
    ...     for key in ("W1", "b1", "W2", "b2"):
    ...         net.params[key] -= 0.1 * grads[key]
    >>> bool(net.loss(x, t) < before)
    True
    >>> net.layers["Affine1"].dW.shape
    (4, 5)
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        output_size: int,
        weight_init_std: float = 0.01,
        *,
        activation: str = "relu",
        seed: int | Any = 0,
        like: Array | None = None,
        dtype: Any = None,
    ) -> None:
        if not isinstance(input_size, int) or input_size < 1:
            raise ValueError(f"TwoLayerNet: input_size must be an integer from 1, got {input_size!r}")
        if activation not in ACTIVATIONS:
            raise ValueError(f"activation must be one of {', '.join(ACTIVATIONS)}, got {activation!r}")
        weights = Normal(weight_init_std)
        stack = Sequential(
            Dense(hidden_size, weights), Activation(ACTIVATIONS[activation]), Dense(output_size, weights)
        )
        super().__init__(stack, (input_size,), seed=seed, like=like, dtype=dtype)


ACTIVATIONS: dict[str, Callable[[], Layer]] = {"relu": Relu, "sigmoid": Sigmoid}
"""The hidden activations by the names that options give them."""


class SimpleNet:
    """One matrix of weights from two features to three classes: the book's first gradient of a network.

    Parameters
    ----------
    seed : int or numpy.random.Generator, default 0
        Draws the weights from the standard normal distribution.
    like : array, optional
        An array whose library, device and floating dtype the weights take; NumPy, float32 where not given.
    dtype : str or dtype of `like`'s library, optional
        The floating dtype of the weights, where it is not that of `like`.

    Attributes
    ----------
    W : array, shape (2, 3)

    References
    ----------
    Saito (2016), Deep Learning from Scratch, section 4.4.2.

    Examples
    --------
    >>> import numpy as np
    >>> net = SimpleNet(dtype="float64")
    >>> net.W = np.asarray([[0.47355232, 0.9977393, 0.84668094], [0.85557411, 0.03563661, 0.69422093]])
    >>> x, t = np.asarray([0.6, 0.9]), np.asarray([0, 0, 1])
    >>> net.predict(x).round(8)
    array([1.05414809, 0.63071653, 1.1328074 ])
    >>> print(net.loss(x, t).round(8))
    0.92806854
    >>> net.gradient(x, t).round(8)
    array([[ 0.21924763,  0.14356247, -0.36281009],
           [ 0.32887144,  0.2153437 , -0.54421514]])
    """

    def __init__(self, *, seed: int | Any = 0, like: Array | None = None, dtype: Any = None) -> None:
        self.W = _place(Normal(1.0)(generator(seed), (2, 3)), like, dtype)

    def predict(self, x: Array) -> Array:
        """The scores of `x`, of shape (2,) or (N, 2)."""
        xp = namespace(x=x, W=self.W)
        check_floating(xp, "SimpleNet", x=x, W=self.W)
        return x @ self.W

    def loss(self, x: Array, t: Array) -> Array:
        """Softmax cross-entropy of the scores of `x`; `t` is one-hot or labels."""
        return softmax_cross_entropy(self.predict(x), t)

    def gradient(self, x: Array, t: Array) -> Array:
        """The gradient of the loss by `W`, by central differences."""
        return numerical_gradient(lambda W: softmax_cross_entropy(x @ W, t), self.W)


def _place(host: Array, like: Array | None, dtype: Any) -> Array:
    """A NumPy array in the library, on the device and in the floating dtype of `like`, or in `dtype`."""
    if like is None:
        return from_host(host, namespace(host=host), dtype or "float32")
    xp = namespace(like=like)
    if dtype is None:
        check_floating(xp, "network", like=like)
        dtype = like.dtype
    return from_host(host, xp, dtype, device(like))

"""Networks: a stack with its parameters, and the methods of the book's networks."""

from collections.abc import Callable, Sequence
from typing import Any

from .._array import Array, check_floating, device, dtype_name, from_host, namespace
from ..backends import on_arrays_device
from ..functions import softmax_cross_entropy
from ..layers import Gelu, LeakyRelu, Relu, Sigmoid, Silu, SoftmaxWithLoss, Tanh
from ..layers.base import Layer
from ..numerical import numerical_gradient
from .bricks import Activation, BatchNorm, Dense, Description, Drop, Initializer
from .initializers import Normal, generator
from .sequential import Params, Sequential

__all__ = ["MultiLayerNet", "Network", "SimpleNet", "TwoLayerNet"]


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
    state : dict of arrays
        What layers carry from one update to the next, such as running means; empty in most networks.
    layers : dict of layers
        The layers of the last `gradient`, by name, as ``net.layers["Affine1"].dW``; empty before, and left
        behind by copies.
    stack : Sequential
        The pure function underneath.
    input_shape, output_shape : tuple of int
        The shapes of one sample and of its scores.

    Examples
    --------
    >>> import numpy as np
    >>> from xpnet import Activation, Dense, Relu, Sequential
    >>> net = Network(Sequential(Dense(3), Activation(Relu), Dense(2)), (4,))
    >>> net.predict(np.ones((5, 4), dtype="float32")).shape
    (5, 2)
    >>> net.gradient(np.ones((5, 4), dtype="float32"), np.asarray([0, 1, 1, 0, 1]))["W2"].shape
    (3, 2)
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
        *_, self.output_shape = stack.shapes(input_shape)
        self.stack, self.input_shape = stack, tuple(input_shape)

        def place(host: Params) -> Params:
            return {name: _place(array, like, dtype) for name, array in host.items()}

        self.params, self.state = (
            place(stack.init(generator(seed), input_shape)),
            place(stack.init_state(input_shape)),
        )
        for name, layer in stack.layers(self.params, state=self.state or None).items():
            if not isinstance(layer, Layer):
                raise TypeError(
                    f"{name} must be a layer, but its description builds {layer!r}; make its class a subclass of "
                    "xpnet.layers.Layer"
                )
        self.layers: dict[str, Any] = {}

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "layers": {}}

    def __repr__(self) -> str:
        shapes = ", ".join(f"{name} {tuple(p.shape)}" for name, p in self.params.items())
        kinds = {f"; {dtype_name(p.dtype)}, {namespace(p=p).__name__}" for p in self.params.values()}
        return f"{type(self).__name__}({shapes}{''.join(sorted(kinds))})"

    @property
    def classifies(self) -> bool:
        """Whether the network has probabilities and an accuracy: its loss says so."""
        return self.stack.last.classifies

    def summary(self) -> str:
        """A table of the layers, with the shapes of their outputs and how many parameters they have."""
        return self.stack.summary(self.input_shape)

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
        return self.stack.predict(self.params, x, state=self.state)

    def predict_proba(self, x: Array) -> Array:
        """The probabilities for `x`, from the scores, as the loss defines them; shape as `predict`.

        Raises
        ------
        TypeError
            If the network does not classify, as with `IdentityWithLoss`.
        """
        return self.stack.last.probabilities(self.predict(x))

    def loss(self, x: Array, t: Array) -> Array:
        """The loss on `x` with targets `t`, an array of shape ()."""
        return self.stack.loss(self.params, x, t, state=self.state)

    def accuracy(self, x: Array, t: Array) -> Array:
        """The fraction of right answers, an array of shape (), as the loss defines it; `t` as in `loss`.

        Raises
        ------
        TypeError
            If the network does not classify, as with `IdentityWithLoss`.
        """
        return self.stack.last.accuracy(self.predict(x), t)

    def gradient(self, x: Array, t: Array, *, noise: Params | None = None) -> Params:
        """The gradient of the training loss by each parameter, by backpropagation.

        Keeps the pass in `layers`, and the next `state`. `noise` is for networks with random layers, see
        `Sequential.draw`.
        """
        _, gradients, state, layers, _ = self.stack.trace(self.params, x, t, state=self.state, noise=noise)
        if all(type(gradients[name]) is type(p) for name, p in self.params.items()):  # traced arrays must not stay
            self.layers, self.state = layers, state
        return gradients

    def numerical_gradient(self, x: Array, t: Array, *, noise: Params | None = None) -> Params:
        """The gradient of the training loss by each parameter, by central differences: slow, for checking."""

        def loss_at(name: str) -> Callable[[Array], Array]:
            return lambda p: self.stack.loss({**self.params, name: p}, x, t, noise=noise, training=True)

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
    activation : {"relu", "sigmoid", ...}, default "relu"
        Of the hidden layer: ReLU as in the book's chapter 5, or the logistic function as in chapter 4; or another
        of those that `MultiLayerNet` names.
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
        weights = Normal(weight_init_std)
        stack = Sequential(Dense(hidden_size, weights), _activation(activation), Dense(output_size, weights))
        super().__init__(stack, _features("TwoLayerNet", input_size), seed=seed, like=like, dtype=dtype)


class MultiLayerNet(Network):
    """Affine layers of any number, each but the last followed by an activation.

    Parameters
    ----------
    input_size : int
        Features of a sample, D.
    hidden_sizes : sequence of int
        Units of each hidden layer, such as ``[100, 100, 100]``.
    output_size : int
        Classes, or numbers to predict, K.
    activation : {"relu", "leaky_relu", "sigmoid", "tanh", "gelu", "silu"}, default "relu"
    weight_init : callable, optional
        As in `Dense`; chosen by the activation where not given.
    batch_norm : bool, default False
        Whether a `BatchNormalization` stands before each activation.
    dropout : float, default 0.0
        The rate of a `Dropout` after each activation.
    loss : callable, default SoftmaxWithLoss
        As in `Sequential`.
    seed, like, dtype
        As in `TwoLayerNet`.

    References
    ----------
    Saito (2016), Deep Learning from Scratch, chapter 6.

    Examples
    --------
    >>> net = MultiLayerNet(784, [100, 50], 10, batch_norm=True)
    >>> print(net.summary())
    layer                     output  parameters
    Affine1                   (100,)      78,500
    BatchNormalization1       (100,)         200
    Relu1                     (100,)           0
    Affine2                    (50,)       5,050
    BatchNormalization2        (50,)         100
    Relu2                      (50,)           0
    Affine3                    (10,)         510
    total                                 84,360
    """

    def __init__(
        self,
        input_size: int,
        hidden_sizes: Sequence[int],
        output_size: int,
        *,
        activation: str = "relu",
        weight_init: Initializer | None = None,
        batch_norm: bool = False,
        dropout: float = 0.0,
        loss: Callable[[Array | None], Any] = SoftmaxWithLoss,
        seed: int | Any = 0,
        like: Array | None = None,
        dtype: Any = None,
    ) -> None:
        layers: list[Description] = []
        for units in hidden_sizes:
            layers.append(Dense(units, weight_init))
            layers += [BatchNorm()] * batch_norm
            layers.append(_activation(activation))
            layers += [Drop(dropout)] * (dropout != 0)
        stack = Sequential(*layers, Dense(output_size, weight_init), loss=loss)
        super().__init__(stack, _features("MultiLayerNet", input_size), seed=seed, like=like, dtype=dtype)


ACTIVATIONS: dict[str, Callable[[], Layer]] = {
    "relu": Relu,
    "leaky_relu": LeakyRelu,
    "sigmoid": Sigmoid,
    "tanh": Tanh,
    "gelu": Gelu,
    "silu": Silu,
}
"""The hidden activations by the names that options give them."""


def _activation(name: str) -> Activation:
    if name not in ACTIVATIONS:
        raise ValueError(f"activation must be one of {', '.join(ACTIVATIONS)}, got {name!r}")
    return Activation(ACTIVATIONS[name])


def _features(where: str, input_size: int) -> tuple[int]:
    if not isinstance(input_size, int) or input_size < 1:
        raise ValueError(f"{where}: input_size must be an integer from 1, got {input_size!r}")
    return (input_size,)


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

    @on_arrays_device
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

"""Networks: a `Sequential` with its parameters, and the methods of the book's networks."""

from collections.abc import Callable, Sequence
from typing import Any

from .._array import check_floating, device, dtype_name, from_host, namespace
from .._typing import Array, Params
from .._validation import check_integer, check_number
from ..backends import on_arrays_device
from ..functions import softmax_cross_entropy
from ..layers.base import Layer
from ..numerical import numerical_gradient
from .activations import activation_of
from .affine import Dense
from .base import Description, Initializer, check_shape
from .dropout import Dropout
from .initializers import Normal, generator
from .losses import AnyLoss, CrossEntropy
from .normalization import BatchNorm
from .sequential import Sequential

__all__ = ["MultiLayerNet", "Network", "SimpleNet", "TwoLayerNet"]


class Network:
    """A network: a `Sequential` with its parameters, and the methods of the book's networks.

    Parameters
    ----------
    stack : Sequential
        The layers and the loss.
    input_shape : tuple of int
        The shape of one sample, without the batch axis.
    seed : int or numpy.random.Generator, default 0
        The seed of the initial weights. They are drawn on the host in float64, so they are the same on every backend.
    like : array, optional
        The parameters get the library, device and floating dtype of this array. Default: NumPy, float32.
    dtype : str or dtype of `like`'s library, optional
        The floating dtype of the parameters. Default: the dtype of `like`.

    Attributes
    ----------
    params : dict of arrays
        The parameters by name, such as ``net.params["W1"]``.
    state : dict of arrays
        The state of the layers, such as the running means of batch normalization; empty in most networks.
    layers : dict of layers
        The layers of the last call of `gradient` by name, such as ``net.layers["Affine1"].dW``. The dict is empty
        before the first call, and in copies of the network.
    stack : Sequential
        The layers and the loss, as a pure function of the parameters.
    input_shape, output_shape : tuple of int
        The shapes of one sample and of its scores.

    Examples
    --------
    >>> import numpy as np
    >>> from xpnet import Sequential, nn
    >>> net = Network(Sequential(nn.Dense(3), nn.Relu(), nn.Dense(2)), (4,))
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
        if not isinstance(stack, Sequential):
            raise TypeError(f"Network: stack must be a Sequential, got {stack!r}")
        self.stack, self.input_shape = stack, check_shape(input_shape)
        *_, self.output_shape = stack.shapes(self.input_shape)

        def place(host: Params) -> Params:
            return {name: _place(array, like, dtype) for name, array in host.items()}

        self.params, self.state = (
            place(stack.init(generator(seed), self.input_shape)),
            place(stack.init_state(self.input_shape)),
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
        """Whether the network has a loss for classification. Then `predict_proba` and `accuracy` are defined."""
        return self.stack.last.classifies

    def summary(self) -> str:
        """A table of the layers: the shapes of their outputs, their parameters, and their arithmetic operations.

        The arithmetic operations are those of `predict` for one sample, see `Cost`.
        """
        return self.stack.summary(self.input_shape, params=self.params, state=self.state)

    def predict(self, x: Array) -> Array:
        """The scores of `x`, shape (N, K), or (K,) for one sample.

        Parameters
        ----------
        x : array, shape (N, D), (N, ...) with D elements a sample, or one sample (D,)
            The samples, in the library, device and dtype of `params`. Images must be floats, scaled as in training.

        Raises
        ------
        TypeError, ValueError
            If the library, device or dtype of `x` is not that of `params`, or if `x` has a wrong shape.
        """
        return self.stack.predict(self.params, x, state=self.state)

    def predict_proba(self, x: Array) -> Array:
        """The probabilities for `x`, in the shape of the scores; the loss defines how they are computed.

        Raises
        ------
        TypeError
            If the network does not classify, as with `nn.MeanSquaredError`.
        """
        return self.stack.last.probabilities(self.predict(x))

    def loss(self, x: Array, t: Array) -> Array:
        """The loss on `x` with targets `t`, an array of shape ()."""
        return self.stack.loss(self.params, x, t, state=self.state)

    def accuracy(self, x: Array, t: Array) -> Array:
        """The fraction of correct predictions, as the loss defines it: an array of shape (). `t` as in `loss`.

        Raises
        ------
        TypeError
            If the network does not classify, as with `nn.MeanSquaredError`.
        """
        return self.stack.last.accuracy(self.predict(x), t)

    def gradient(self, x: Array, t: Array, *, noise: Params | None = None) -> Params:
        """The gradient of the training loss with respect to each parameter, by backpropagation.

        The call sets `layers` to the layers of this pass, and `state` to the new state. `noise` is the dict of
        dropout masks from `Sequential.draw`, for a network with dropout.
        """
        _, gradients, state, layers, _ = self.stack.forward_backward(self.params, x, t, state=self.state, noise=noise)
        if all(type(gradients[name]) is type(p) for name, p in self.params.items()):  # do not keep traced arrays
            self.layers, self.state = layers, state
        return gradients

    def numerical_gradient(self, x: Array, t: Array, *, noise: Params | None = None) -> Params:
        """The gradient with respect to each parameter, by central differences: slow; use it to check `gradient`."""

        def loss_at(name: str) -> Callable[[Array], Array]:
            return lambda p: self.stack.loss({**self.params, name: p}, x, t, noise=noise, training=True)

        return {name: numerical_gradient(loss_at(name), p) for name, p in self.params.items()}


class TwoLayerNet(Network):
    """The book's network: affine, activation, affine, softmax with cross-entropy.

    Parameters
    ----------
    input_size : int
        The number of features of a sample, D; 784 for MNIST.
    hidden_size : int
        The number of units of the hidden layer, H.
    output_size : int
        The number of classes, K.
    weight_init_std : float, default 0.01
        The standard deviation of the initial weights. The initial biases are 0.
    activation : str or Description, default "relu"
        The activation of the hidden layer: "relu" as in chapter 5 of the book, "sigmoid" as in chapter 4, or another
        one of the list in `MultiLayerNet`.
    seed : int or numpy.random.Generator, default 0
        The seed of the initial weights. They are drawn on the host in float64, so they are the same on every backend.
    like : array, optional
        The parameters get the library, device and floating dtype of this array. Default: NumPy, float32.
    dtype : str or dtype of `like`'s library, optional
        The floating dtype of the parameters. Default: the dtype of `like`.

    Attributes
    ----------
    params : dict of arrays
        'W1' (D, H), 'b1' (H,), 'W2' (H, K), 'b2' (K,).
    layers : dict of layers
        'Affine1', 'Relu1' (or 'Sigmoid1') and 'Affine2', of the last call of `gradient`.
    stack : Sequential
        The layers and the loss, as a pure function of the parameters.
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
        activation: str | Description = "relu",
        seed: int | Any = 0,
        like: Array | None = None,
        dtype: Any = None,
    ) -> None:
        sizes = [
            check_integer(f"TwoLayerNet: {name}", size, 1)
            for name, size in (("input_size", input_size), ("hidden_size", hidden_size), ("output_size", output_size))
        ]
        weights = Normal(check_number("TwoLayerNet: weight_init_std", weight_init_std, "finite and not negative"))
        stack = Sequential(Dense(sizes[1], weights), activation_of(activation), Dense(sizes[2], weights))
        super().__init__(stack, (sizes[0],), seed=seed, like=like, dtype=dtype)


class MultiLayerNet(Network):
    """A network of any number of affine layers, with an activation after each affine layer except the last.

    Parameters
    ----------
    input_size : int
        The number of features of a sample, D.
    hidden_sizes : sequence of int
        The number of units of each hidden layer, such as ``[100, 100, 100]``.
    output_size : int
        The number of classes, or of values to predict, K.
    activation : str or Description, default "relu"
        "relu", "leaky_relu", "sigmoid", "tanh", "gelu" or "silu"; or a description, such as ``nn.LeakyRelu(0.2)``.
    weight_init : callable, optional
        As in `nn.Dense`. Default: an initializer that suits the activation.
    batch_norm : bool, default False
        Whether to add `nn.BatchNorm` before each activation.
    dropout : float, default 0.0
        The rate of `nn.Dropout` after each activation.
    loss : LossDescription, subclass of Loss, or str, default CrossEntropy()
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
    layer                description  output  parameters
    Affine1              Dense(100)   (100,)      78,500
    BatchNormalization1  BatchNorm()  (100,)         200
    Relu1                Relu()       (100,)           0
    Affine2              Dense(50)     (50,)       5,050
    BatchNormalization2  BatchNorm()   (50,)         100
    Relu2                Relu()        (50,)           0
    Affine3              Dense(10)     (10,)         510
    total                                         84,360
    """

    def __init__(
        self,
        input_size: int,
        hidden_sizes: Sequence[int],
        output_size: int,
        *,
        activation: str | Description = "relu",
        weight_init: Initializer | None = None,
        batch_norm: bool = False,
        dropout: float = 0.0,
        loss: AnyLoss = CrossEntropy(),
        seed: int | Any = 0,
        like: Array | None = None,
        dtype: Any = None,
    ) -> None:
        input_size = check_integer("MultiLayerNet: input_size", input_size, 1)
        output_size = check_integer("MultiLayerNet: output_size", output_size, 1)
        if isinstance(hidden_sizes, int):
            raise TypeError(
                f"MultiLayerNet: hidden_sizes must be a sequence of integers, such as [{hidden_sizes}]; got "
                f"{hidden_sizes!r}"
            )
        layers: list[Description] = []
        for units in hidden_sizes:
            layers.append(Dense(check_integer("MultiLayerNet: hidden_sizes", units, 1), weight_init))
            layers += [BatchNorm()] * batch_norm
            layers.append(activation_of(activation))
            layers += [Dropout(dropout)] * (dropout != 0)
        stack = Sequential(*layers, Dense(output_size, weight_init), loss=loss)
        super().__init__(stack, (input_size,), seed=seed, like=like, dtype=dtype)


class SimpleNet:
    """The book's first network: one matrix of weights, two features, three classes.

    Parameters
    ----------
    seed : int or numpy.random.Generator, default 0
        The seed of the weights, which are drawn from the standard normal distribution.
    like : array, optional
        The weights get the library, device and floating dtype of this array. Default: NumPy, float32.
    dtype : str or dtype of `like`'s library, optional
        The floating dtype of the weights. Default: the dtype of `like`.

    Attributes
    ----------
    W : array, shape (2, 3)
        The weights.

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
        """The softmax cross-entropy of the scores of `x`; `t` is one-hot rows or integer labels."""
        return softmax_cross_entropy(self.predict(x), t)

    def gradient(self, x: Array, t: Array) -> Array:
        """The gradient of the loss with respect to `W`, computed by central differences."""
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

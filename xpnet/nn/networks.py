"""Networks: a `Sequential` with its parameters, and the methods of the book's networks."""

import os
import textwrap
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Never

from .. import _html
from .._array import check_floating, device, dtype_name, from_host, is_floating, is_integral, namespace
from .._typing import Array, Params
from .._validation import check_flag, check_integer, check_names, check_number
from ..backends import backend_of, is_nan, on_arrays_device, value_ranges
from ..functions import check_labels, softmax_cross_entropy
from ..layers.base import Layer, Loss
from ..layers.precision import HALF
from ..numerical import numerical_gradient
from .activations import activation_of
from .affine import Dense
from .base import Description, Initializer, check_shape
from .dropout import Dropout
from .initializers import Normal, generator
from .losses import AnyLoss, CrossEntropy
from .normalization import BatchNorm
from .sequential import Sequential

if TYPE_CHECKING:
    from ..tracing.drawing import Drawing

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
        The floating dtype of the parameters. Default: the dtype of `like`. "bfloat16" and "float16" mean parameters
        of float32, and matrix products in half precision, see `Sequential.with_precision`.

    Attributes
    ----------
    params : dict of arrays
        The parameters by name, such as ``net.params["W1"]``.
    state : dict of arrays
        The state of the layers, such as the running means of batch normalization; empty in most networks.
    stack : Sequential
        The layers and the loss, as a pure function of the parameters.
    input_shape, output_shape : tuple of int
        The shapes of one sample and of its scores.
    converts : bool
        Whether samples of another floating dtype are converted to the dtype of the parameters. True if neither `like`
        nor `dtype` was given, and for networks from `train` and `load_network`. If False, another dtype is an error.

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
        for precision in HALF:
            if dtype_name(dtype) == precision:
                stack, dtype = stack.with_precision(precision), "float32"
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
        for precision in stack.precisions:
            first = next(iter(self.params.values()))
            backend_of(first).half(precision)  # an error if the library has no such products
        self.converts = like is None and dtype is None
        self._pass: _Pass | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_pass": None}

    def __repr__(self) -> str:
        # In the order of the layers: JAX sorts the names when it returns a dict.
        names = (name for layer in self.stack.param_names for name in layer)
        shapes = ", ".join(f"{name} {tuple(self.params[name].shape)}" for name in names)
        return f"{type(self).__name__}({shapes}{''.join(f'; {kind}' for kind in self._kinds())})"

    def _repr_html_(self) -> str:
        header, *rows = self.stack.summary_rows(self.input_shape)
        return _html.table(header, rows, "; ".join([type(self).__name__, *self._kinds()]))

    def _kinds(self) -> list[str]:
        """The dtype and the library of the parameters; more than one only if the parameters are mixed."""
        return sorted({f"{dtype_name(p.dtype)}, {backend_of(p).name}" for p in self.params.values()})

    @property
    def classifies(self) -> bool:
        """Whether the network has a loss for classification. Then `predict_proba` and `accuracy` are defined."""
        return self.stack.last.classifies

    @property
    def layers(self) -> dict[str, Any]:
        """The layers by name, such as ``net.layers["Affine1"].dW``.

        These are the layers of the last call of `gradient`, if the parameters are still the arrays of this call.
        Otherwise, they are new layers with the current parameters, as for `predict`.
        """
        return self._last_pass().layers

    @property
    def last_layer(self) -> Any:
        """The loss layer that belongs to `layers`. Its attributes, such as `loss` and `y`, are set by a pass."""
        return self._last_pass().last

    lastLayer = last_layer  # noqa: N815, the name in chapter 5 of the book; in chapters 6 and 7 it is last_layer

    def _last_pass(self) -> "_Pass":
        used = self._pass
        if used is None or [*map(id, used.params.values())] != [*map(id, self.params.values())]:
            layers = self.stack.layers(self.params, state=self.state or None)
            self._pass = used = _Pass(dict(self.params), layers, self.stack.loss_layer())
        return used

    @on_arrays_device
    def as_input(self, x: Array) -> Array:
        """`x` in the dtype of the parameters, if `converts` is True and `x` has a floating dtype; otherwise `x`."""
        return _in_dtype_of(next(iter(self.params.values()), x), x) if self.converts else x

    def summary(self) -> str:
        """A table of the layers: the shapes of their outputs, their parameters, and their arithmetic operations.

        The arithmetic operations are those of `predict` for one sample, see `Cost`. A layer of your own that cannot
        be traced has "-" there.
        """
        return self.stack.summary(self.input_shape, params=self.params, state=self.state)

    def draw(self, path: str | os.PathLike[str] | None = None) -> "Drawing":
        """Draw the layers: a box for each layer, with its parameters, and the shapes of a sample between the layers.

        Parameters
        ----------
        path : path, optional
            A file to write; its name ends in ``.svg``. An existing file is replaced in one step.

        Returns
        -------
        Drawing
            The picture, which a notebook shows. Its attribute `svg` is the text of the file.

        Examples
        --------
        >>> drawing = TwoLayerNet(784, 50, 10).draw()
        >>> "Affine1" in drawing.svg, "W1 [784, 50]" in drawing.svg
        (True, True)
        """
        from ..tracing.drawing import Box, column_of

        stack, shapes = self.stack, self.stack.shapes(self.input_shape)
        boxes = [Box("input", "forward", ["one sample"])]
        for name, description, keys in zip(stack.names, stack.descriptions, stack.param_names, strict=True):
            text = textwrap.shorten(description.text("weight_init"), 32, placeholder=" ...")
            boxes.append(Box(name, "forward", [text, *(f"{key} {list(self.params[key].shape)}" for key in keys)]))
        boxes.append(Box(type(stack.last).__name__, "forward", [stack._loss_text(), "the loss"]))
        found = column_of(f"{type(self).__name__}: layers", boxes, shapes)
        if path is not None:
            found.save(path)
        return found

    def predict(self, x: Array) -> Array:
        """The scores of `x`, shape (N, K), or (K,) for one sample.

        Parameters
        ----------
        x : array, shape (N, D), (N, ...) with D elements a sample, or one sample (D,)
            The samples, in the library, device and dtype of `params` (see `converts`). Images must be floats, scaled
            as in training.

        Raises
        ------
        TypeError, ValueError
            If the library, device or dtype of `x` is not that of `params`, or if `x` has a wrong shape.
        """
        return self.stack.predict(self.params, self.as_input(x), state=self.state)

    def predict_proba(self, x: Array) -> Array:
        """The probabilities for `x`, in the shape of the scores; the loss defines how they are computed.

        Raises
        ------
        TypeError
            If the network does not classify, as with `nn.MeanSquaredError`.
        """
        return self.stack.last.probabilities(self.predict(x))

    def loss(self, x: Array, t: Array) -> Array:
        """The loss on `x` with targets `t`, an array of shape ().

        Raises
        ------
        ValueError
            If `t` has a label without a class, and its values can be read without a wait. Where they cannot, such as
            on a GPU or inside `jax.jit`, the loss is NaN.
        """
        return self._checked(self.stack.loss(self.params, self.as_input(x), t, state=self.state), t)

    def accuracy(self, x: Array, t: Array) -> Array:
        """The fraction of correct predictions, as the loss defines it: an array of shape (). `t` as in `loss`.

        Raises
        ------
        TypeError
            If the network does not classify, as with `nn.MeanSquaredError`.
        """
        return self._checked(self.stack.last.accuracy(self.predict(x), t), t)

    def gradient(self, x: Array, t: Array, *, masks: Params | None = None) -> Params:
        """The gradient of the training loss with respect to each parameter, by backpropagation.

        The call sets `layers` and `last_layer` to the layers of this pass, and `state` to the new state. `masks` is
        the dict of dropout masks from `Sequential.draw`, for a network with dropout.
        """
        params, x = self.params, self.as_input(x)
        loss, gradients, state, layers, last = self.stack.forward_backward(
            params, x, t, state=self.state, masks=masks
        )
        self._checked(loss, t)
        if all(type(gradients[name]) is type(p) for name, p in params.items()):  # do not keep traced arrays
            self._pass, self.state = _Pass(dict(params), layers, last), state
        return gradients

    def numerical_gradient(self, x: Array, t: Array, *, masks: Params | None = None) -> Params:
        """The gradient with respect to each parameter, by central differences: slow; use it to check `gradient`."""
        x = self.as_input(x)

        def loss_at(name: str) -> Callable[[Array], Array]:
            return lambda p: self.stack.loss({**self.params, name: p}, x, t, masks=masks, training=True)

        self._checked(self.stack.loss(self.params, x, t, masks=masks, training=True), t)
        return {name: numerical_gradient(loss_at(name), p) for name, p in self.params.items()}

    def _checked(self, number: Array, t: Array) -> Array:
        """A loss or an accuracy; an error if it is NaN because a label has no class."""
        last = self.stack.last
        if is_nan(number) and last.takes_labels:
            _check_labels(t, self.output_shape[-1], last.ignore)
        return number


class _Pass(NamedTuple):
    """The layers and the loss layer of a pass, and the parameters that they were made from."""

    params: Params
    layers: dict[str, Any]
    last: Loss


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
        'Affine1', 'Relu1' (or 'Sigmoid1') and 'Affine2', see `Network.layers`.
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
    hidden_size_list : sequence of int
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
    layer                description  output  parameters    FLOPs
    Affine1              Dense(100)   (100,)      78,500  156,900
    BatchNormalization1  BatchNorm()  (100,)         200      700
    Relu1                Relu()       (100,)           0      100
    Affine2              Dense(50)     (50,)       5,050   10,050
    BatchNormalization2  BatchNorm()   (50,)         100      350
    Relu2                Relu()        (50,)           0       50
    Affine3              Dense(10)     (10,)         510    1,010
    total                                         84,360  169,160
    """

    def __init__(
        self,
        input_size: int,
        hidden_size_list: Sequence[int],
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
        **others: Never,
    ) -> None:
        check_names("MultiLayerNet", others, _OF_THE_BOOK)
        input_size = check_integer("MultiLayerNet: input_size", input_size, 1)
        batch_norm = check_flag("MultiLayerNet: batch_norm", batch_norm)
        output_size = check_integer("MultiLayerNet: output_size", output_size, 1)
        if isinstance(hidden_size_list, int):
            raise TypeError(
                f"MultiLayerNet: hidden_size_list must be a sequence of integers, such as [{hidden_size_list}]; got "
                f"{hidden_size_list!r}"
            )
        layers: list[Description] = []
        for units in hidden_size_list:
            layers.append(Dense(check_integer("MultiLayerNet: hidden_size_list", units, 1), weight_init))
            layers += [BatchNorm()] * batch_norm
            layers.append(activation_of(activation))
            layers += [Dropout(dropout)] * (dropout != 0)
        stack = Sequential(*layers, Dense(output_size, weight_init), loss=loss)
        super().__init__(stack, (input_size,), seed=seed, like=like, dtype=dtype)


_OF_THE_BOOK = {
    "weight_init_std": "weight_init, such as nn.He(), nn.Xavier() or nn.Normal(0.01)",
    "weight_decay_lambda": "weight_decay to the optimizer, such as SGD(0.01, weight_decay=0.1)",
    "use_batchnorm": "batch_norm",
    "use_dropout": "dropout, the rate, such as dropout=0.5",
    "dropout_ration": "dropout",
}
"""For options of the book's networks in chapter 6, the arguments to pass instead."""


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
    converts : bool
        As in `Network`.

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
        self.converts = like is None and dtype is None

    @on_arrays_device
    def predict(self, x: Array) -> Array:
        """The scores of `x`, of shape (2,) or (N, 2)."""
        x = _in_dtype_of(self.W, x) if self.converts else x
        xp = namespace(x=x, W=self.W)
        check_floating(xp, "SimpleNet", x=x, W=self.W)
        return x @ self.W

    def loss(self, x: Array, t: Array) -> Array:
        """The softmax cross-entropy of the scores of `x`; `t` is one-hot rows or integer labels."""
        loss = softmax_cross_entropy(self.predict(x), t)
        if is_nan(loss):
            _check_labels(t, 3)
        return loss

    def gradient(self, x: Array, t: Array) -> Array:
        """The gradient of the loss with respect to `W`, computed by central differences."""
        x = _in_dtype_of(self.W, x) if self.converts else x
        self.loss(x, t)  # or an error of its arguments
        return numerical_gradient(lambda W: softmax_cross_entropy(x @ W, t), self.W)


def _in_dtype_of(p: Array, x: Array) -> Array:
    """`x` in the dtype of `p`, if both have real floating dtypes; otherwise `x` itself."""
    xp = namespace(x=x, params=p)
    dtype = getattr(x, "dtype", p.dtype)  # the layers refuse None
    return xp.astype(x, p.dtype) if dtype != p.dtype and is_floating(xp, dtype) else x


def _check_labels(t: Array, classes: int, ignore: int | None = None) -> None:
    if is_integral(namespace(t=t), t.dtype):
        check_labels("t", *value_ranges([t], ignore=ignore)[0], classes)


def _place(host: Array, like: Array | None, dtype: Any) -> Array:
    """A NumPy array in the library, on the device and in the floating dtype of `like`, or in `dtype`."""
    if like is None:
        return from_host(host, namespace(host=host), dtype or "float32")
    xp = namespace(like=like)
    if dtype is None:
        check_floating(xp, "network", like=like)
        dtype = like.dtype
    return from_host(host, xp, dtype, device(like))

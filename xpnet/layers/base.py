"""The base classes of layers and losses."""

import math
from collections.abc import Callable
from types import FunctionType
from typing import Any

from .._typing import Array
from ..backends import on_arrays_device

__all__ = ["Layer", "Loss"]


class Layer:
    """A layer of a network. A layer object is used for one forward and one backward pass, then discarded.

    A layer of your own is a subclass with `forward` and `backward`. A layer with parameters also defines `gradients`.
    A layer with state, such as running means, also sets `state`. Both passes run on the device of the layer's arrays,
    whichever device is current.

    Attributes
    ----------
    state : tuple of arrays
        The new state after `forward`: arrays that the next update starts from, such as running means. The order is
        that of the names in the layer's description. ``()`` for a layer without state.

    Examples
    --------
    >>> import numpy as np
    >>> class Square(Layer):
    ...     def forward(self, x):
    ...         self.x = x
    ...         return x * x
    ...     def backward(self, dout):
    ...         return dout * 2 * self.x
    >>> square = Square()
    >>> square.forward(np.asarray([3.0])), square.backward(np.asarray([1.0])), square.gradients()
    (array([9.]), array([6.]), ())
    """

    forward: Callable[..., Any]
    """Return the output for an input."""
    backward: Callable[..., Any]
    """Return the derivative of the loss by the input, for the derivative with respect to the output."""

    state: tuple[Array, ...] = ()

    def backward_params(self, dout: Array) -> None:
        """Compute only the derivatives with respect to the parameters; the default calls `backward`.

        The first layer of a network needs no derivative with respect to its input.
        """
        self.backward(dout)

    def gradients(self) -> tuple[Array, ...]:
        """Return the derivatives with respect to the parameters, in the order in which the layer takes them.

        Call `gradients` after `backward` or `backward_params`.
        """
        return ()

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        for name in ("forward", "backward", "backward_params", "probabilities", "predictions", "accuracy"):
            if name in vars(cls) and isinstance(vars(cls)[name], FunctionType):  # a static method takes no `self`
                setattr(cls, name, on_arrays_device(vars(cls)[name]))


class Loss(Layer):
    """The loss of a network: one number, computed from scores (logits) and targets.

    A loss of your own is a subclass with ``forward(scores, targets)``, which returns an array of shape (), and
    ``backward()``, which returns the derivative with respect to the scores. A network builds its loss as
    ``MyLoss(weight)``.

    Parameters
    ----------
    weight : array, shape (N,), optional
        The weight of each sample (default: 1 for each sample).

    Attributes
    ----------
    classifies : bool
        Whether this is a loss for classification. If so, `probabilities` and `accuracy` are defined.
    takes_labels : bool
        Whether targets may be integer labels, one for each sample.
    ignore : int or None
        The label of the samples that the loss ignores, or None.
    target_range : tuple of two floats
        The smallest and the largest number that a target, not a label, may be. `fit` and `evaluate` check the
        targets.
    checked : bool
        Whether all labels are known to have a class. `fit` checks them before training; otherwise, a label without a
        class should give NaN.
    plain : bool
        Whether each sample has the weight 1 if `weight` is not given.
    total : int, array of shape (), or None
        After `forward`, the sum of the weights of the samples. The loss is divided by this sum. None means the number
        of samples.

    Examples
    --------
    >>> import numpy as np
    >>> class Absolute(Loss):
    ...     def forward(self, scores, targets):
    ...         self.error = scores - targets
    ...         return abs(self.error).sum() / self.error.shape[0]
    ...     def backward(self):
    ...         return np.sign(self.error) / self.error.shape[0]
    >>> loss = Absolute()
    >>> print(loss.forward(np.asarray([[1.0], [5.0]]), np.asarray([[2.0], [2.0]])))
    2.0
    >>> loss.backward()
    array([[-0.5],
           [ 0.5]])
    """

    classifies: bool = False
    takes_labels: bool = False
    ignore: int | None = None
    target_range: tuple[float, float] = -math.inf, math.inf
    checked: bool = False
    plain: bool = True
    total: Any = None

    def __init__(self, weight: Array | None = None, /) -> None:
        self.weight = weight

    def probabilities(self, scores: Array, /) -> Array:
        """Return the probabilities computed from the scores; TypeError if the loss does not classify."""
        raise self._does_not_classify("probabilities")

    def predictions(self, scores: Array, /) -> Array:
        """Return the predicted targets computed from the scores; the default returns the scores."""
        return scores

    def accuracy(self, scores: Array, targets: Array, /) -> Array:
        """Return the fraction of correct predictions, shape (); TypeError if the loss does not classify."""
        raise self._does_not_classify("accuracy")

    def counted(self, samples: int) -> Any:
        """Return the sum of the sample weights after `forward`: `total`, or `samples` if `total` is None."""
        return samples if self.total is None else self.total

    def _does_not_classify(self, what: str) -> TypeError:
        return TypeError(f"a network with the loss {type(self).__name__} does not classify, so it has no {what}")

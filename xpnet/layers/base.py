"""What a network asks of its layers and of its loss."""

from collections.abc import Callable
from types import FunctionType
from typing import Any

from .._typing import Array
from ..backends import on_arrays_device

__all__ = ["Layer", "Loss"]


class Layer:
    """A layer of a network. A layer object is used for one forward and one backward pass, then discarded.

    A layer of your own is a subclass with `forward` and `backward`. A layer with parameters also defines `gradients`,
    a layer that carries arrays from one update to the next sets `state`. Both passes run on the device of the layer's
    arrays, whichever device is current.

    Attributes
    ----------
    state : tuple of arrays
        After `forward`, the arrays for the next update, such as running means, in the order in which the description
        names them; ``()`` for a layer without state.

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
    """Return the derivative of the loss by the input, for the derivative by the output."""

    state: tuple[Array, ...] = ()

    def backward_params(self, dout: Array, /) -> None:
        """Compute the derivatives by the parameters alone; the default calls `backward`.

        The first layer of a network needs no derivative by its input.
        """
        self.backward(dout)

    def gradients(self) -> tuple[Array, ...]:
        """Return the derivatives by the parameters, in their order, after `backward` or `backward_params`."""
        return ()

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        for name in ("forward", "backward", "backward_params", "probabilities", "accuracy"):
            if name in vars(cls) and isinstance(vars(cls)[name], FunctionType):  # a static method takes no `self`
                setattr(cls, name, on_arrays_device(vars(cls)[name]))


class Loss(Layer):
    """The loss of a network: from scores and targets to one number.

    A loss of your own is a subclass with ``forward(scores, targets)``, which returns an array of shape (), and
    ``backward()``, which returns the derivative by the scores. A network builds its loss as ``MyLoss(weight)``.

    Parameters
    ----------
    weight : array, shape (N,), optional
        The weight of each sample; default: each counts 1.

    Attributes
    ----------
    classifies : bool
        Whether the scores are of classes, so that `probabilities` and `accuracy` are defined.
    takes_labels : bool
        Whether targets may be integer labels, one for each sample.
    ignore : int or None
        The label of samples that do not count.
    plain : bool
        Whether each sample counts 1 if there are no weights.
    total : int, array of shape (), or None
        After `forward`, the sum of the weights of the samples, by which the loss is divided; None: their number.

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
    plain: bool = True
    total: Any = None

    def __init__(self, weight: Array | None = None, /) -> None:
        self.weight = weight

    def probabilities(self, scores: Array, /) -> Array:
        """Return the probabilities that the scores stand for; TypeError if the loss does not classify."""
        raise self._does_not_classify("probabilities")

    def accuracy(self, scores: Array, targets: Array, /) -> Array:
        """Return the fraction of right answers, an array of shape (); TypeError if the loss does not classify."""
        raise self._does_not_classify("accuracy")

    def counted(self, samples: int) -> Any:
        """Return what `samples` samples count together, after `forward`: `total`, or their number."""
        return samples if self.total is None else self.total

    def _does_not_classify(self, what: str) -> TypeError:
        return TypeError(f"a network with the loss {type(self).__name__} does not classify, so it has no {what}")

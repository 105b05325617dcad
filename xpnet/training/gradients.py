"""A callback that records the norms of the gradients during a run."""

from contextlib import closing
from typing import TYPE_CHECKING

import numpy as np

from .._array import namespace
from .._typing import Array
from .._validation import check_integer
from ..backends import backend_of, read_all
from .callbacks import Callback
from .samples import batch_of
from .step import detached, transformed

if TYPE_CHECKING:
    from .loop import Loop

__all__ = ["GradientNorms"]


class GradientNorms(Callback):
    """A callback that records the norm of the gradient of each layer, before training and after each epoch.

    The gradient is that of the training loss on some training samples, which are the same in each epoch. This takes
    one more forward and backward pass for each epoch. It does not change the run. The norms are in
    ``history.gradient_norms``: a list for each layer, by its name, and the list "epoch". The gradient of a layer
    contains the gradients of all its parameters.

    Parameters
    ----------
    samples : int, default 100
        The number of samples. They are spread evenly over the training set.

    Examples
    --------
    >>> import numpy as np
    >>> from xpnet import TwoLayerNet, fit
    >>> x, t = np.eye(3), np.asarray([0, 1, 2])
    >>> net = TwoLayerNet(3, 4, 3, like=x)
    >>> network, history = fit(net, (x, t), epochs=2, callbacks=[GradientNorms()], progress=False)
    >>> list(history.gradient_norms), history.gradient_norms["epoch"]
    (['epoch', 'Affine1', 'Affine2'], [0, 1, 2])
    """

    def __init__(self, samples: int = 100) -> None:
        self.samples = check_integer("samples", samples, 1)

    def on_epoch(self, run: "Loop") -> None:
        """Add the norms after this epoch to the history."""
        row = {"epoch": run.epoch, **self._norms(run)}
        before = run.history.gradient_norms
        # One assignment, so that Ctrl-C cannot leave lists of different lengths.
        run.history.gradient_norms = {name: [*before.get(name, []), value] for name, value in row.items()}

    def _norms(self, run: "Loop") -> dict[str, float]:
        network, stack, measures = run.network, run.network.stack, run.measures
        samples, units = measures.sets.train, measures.sets.units
        count = samples.first(units, self.samples)
        spread = units[:: max(1, len(units) // count)][:count]
        with closing(samples.blocks(spread, self.samples)) as batches:
            data, part = next(batches)
            x, t = batch_of(data, part[0, ...])
        x, rng = transformed(measures.transform, x), np.random.default_rng(0)
        draw = (lambda size: stack.draw(rng, (size, *x.shape[1:]))) if stack.mask_names else None
        masks = next(iter(backend_of(x).masks(draw, 1, x.shape[0], x)))
        _, gradients, *_ = stack.forward_backward(
            detached(network.params),
            x,
            t,
            state=detached(network.state) or None,
            masks=masks or None,
            checked=True,
        )
        squares = {name: _square(gradient) for name, gradient in gradients.items()}
        values = dict(zip(squares, read_all(list(squares.values())).tolist(), strict=True))
        layers = zip(stack.names, stack.param_names, strict=True)
        return {layer: sum(values[name] for name in names) ** 0.5 for layer, names in layers if names}


def _square(gradient: Array) -> Array:
    xp = namespace(gradient=gradient)
    return xp.sum(gradient * gradient)

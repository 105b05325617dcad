"""A callback that records the norms of the gradients during a run."""

from contextlib import closing
from typing import TYPE_CHECKING, Any

import numpy as np

from .._array import namespace
from .._typing import Params
from .._validation import check_integer
from ..backends import backend_of, read_all
from .callbacks import Callback
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

    def on_start(self, run: "Loop") -> None:
        """Compile the function that computes the squares of the norms."""
        stack, transform = run.network.stack, run.measures.transform

        def squares(carry: Any, batch: Any, masks: Params) -> Params:
            (params, state), (x, t) = carry, batch
            _, gradients, *_ = stack.forward_backward(
                params, transformed(transform, x), t, state=state or None, masks=masks or None, checked=True
            )
            return {name: namespace(g=g).sum(g * g) for name, g in gradients.items()}

        self.squares = backend_of(next(iter(run.network.params.values()))).compile_on_rows(squares)

    def on_epoch(self, run: "Loop") -> None:
        """Add the norms after this epoch to the history."""
        row = {"epoch": run.epoch, **self._norms(run)}
        before = run.history.gradient_norms
        # One assignment, so that Ctrl-C cannot leave lists of different lengths.
        run.history.gradient_norms = {name: [*before.get(name, []), value] for name, value in row.items()}

    def _norms(self, run: "Loop") -> dict[str, float]:
        network, stack, sets = run.network, run.network.stack, run.measures.sets
        count = sets.train.first(sets.units, self.samples)
        spread = sets.units[:: max(1, len(sets.units) // count)][:count]
        with closing(sets.train.blocks(spread, self.samples)) as batches:
            data, part = next(batches)
        sample = network.input_shape if run.measures.transform else sets.train.shape[1:]
        rng, size = np.random.default_rng(0), part.shape[1]
        draw = (lambda size: stack.draw(rng, (size, *sample))) if stack.mask_names else None
        (masks,) = backend_of(data[0]).masks(draw, 1, size, data[0])
        found = self.squares((detached(network.params), detached(network.state)), data, part[0, ...], masks)
        values = dict(zip(found, read_all(list(found.values())).tolist(), strict=True))
        layers = zip(stack.names, stack.param_names, strict=True)
        return {layer: sum(values[name] for name in names) ** 0.5 for layer, names in layers if names}

"""Layers with their backpropagation written out.

A layer object is used for one forward and one backward pass, then discarded. Build the layer from its parameters and
call `forward`. Then call `backward` with the derivative of the loss with respect to the layer's output, and read the
derivatives with respect to the parameters (`dW`, `db`). A layer never changes its arguments.

In the derivations L is the loss, ``dout`` is dL/d(output), and `backward` returns dL/d(input).
"""

from . import (
    activations,
    affine,
    arithmetic,
    base,
    convolution,
    dropout,
    embedding,
    losses,
    normalization,
    pooling,
    residual,
)
from .activations import *
from .affine import *
from .arithmetic import *
from .base import *
from .convolution import *
from .dropout import *
from .embedding import *
from .losses import *
from .normalization import *
from .pooling import *
from .residual import *

__all__: list[str] = []
__all__ += activations.__all__
__all__ += affine.__all__
__all__ += arithmetic.__all__
__all__ += base.__all__
__all__ += convolution.__all__
__all__ += dropout.__all__
__all__ += embedding.__all__
__all__ += losses.__all__
__all__ += normalization.__all__
__all__ += pooling.__all__
__all__ += residual.__all__


def __dir__() -> list[str]:
    return sorted(__all__)

"""The public names of xpnet, and where each is defined. `__init__.py` reads this file."""

from .backends import (
    BACKENDS as BACKENDS,
    Backend as Backend,
    BackendUnavailable as BackendUnavailable,
    get_backend as get_backend,
    to_numpy as to_numpy,
    trace as trace,
    vmap as vmap,
)
from .checking import (
    GradientCheck as GradientCheck,
    GradientError as GradientError,
    check_gradients as check_gradients,
    check_layer as check_layer,
)
from .datasets import (
    Shards as Shards,
    load_mnist as load_mnist,
    read_idx as read_idx,
    scale_images as scale_images,
)
from .functions import *
from .layers import *
from .nn.networks import (
    MultiLayerNet as MultiLayerNet,
    Network as Network,
    SimpleNet as SimpleNet,
    TwoLayerNet as TwoLayerNet,
)
from .nn.sequential import (
    Sequential as Sequential,
)
from .numerical import *
from .optim import *
from .tracing import (
    BatchingError as BatchingError,
    Cost as Cost,
    Program as Program,
    TracingError as TracingError,
)
from .training.callbacks import *
from .training.checkpoints import (
    load_network as load_network,
    save_network as save_network,
)
from .training.describing import (
    register as register,
)
from .training.evaluation import (
    Evaluation as Evaluation,
    evaluate as evaluate,
)
from .training.fitting import (
    Result as Result,
    fit as fit,
    train as train,
)
from .training.gradients import (
    GradientNorms as GradientNorms,
)
from .training.history import (
    History as History,
)
from .training.loggers import *
from .training.loop import (
    Diverged as Diverged,
)
from .training.many import (
    fit_many as fit_many,
)

__version__: str

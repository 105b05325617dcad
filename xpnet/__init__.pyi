"""The public names of xpnet, and where each is defined. `__init__.py` reads this file."""

from .backends import (
    BACKENDS as BACKENDS,
    Backend as Backend,
    BackendUnavailable as BackendUnavailable,
    get_backend as get_backend,
    to_numpy as to_numpy,
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
from .functions import (
    accuracy as accuracy,
    confusion_matrix as confusion_matrix,
    cross_entropy_error as cross_entropy_error,
    identity_function as identity_function,
    log_softmax as log_softmax,
    one_hot as one_hot,
    relu as relu,
    relu_grad as relu_grad,
    sigmoid as sigmoid,
    sigmoid_grad as sigmoid_grad,
    softmax as softmax,
    softmax_cross_entropy as softmax_cross_entropy,
    step_function as step_function,
    sum_squared_error as sum_squared_error,
)
from .layers import (
    AddLayer as AddLayer,
    Affine as Affine,
    AveragePooling as AveragePooling,
    BatchNormalization as BatchNormalization,
    Convolution as Convolution,
    Dropout as Dropout,
    Embedding as Embedding,
    ExponentialWithLoss as ExponentialWithLoss,
    Flatten as Flatten,
    Gelu as Gelu,
    HuberLoss as HuberLoss,
    IdentityWithLoss as IdentityWithLoss,
    Layer as Layer,
    LayerNormalization as LayerNormalization,
    LeakyRelu as LeakyRelu,
    Loss as Loss,
    MaxPooling as MaxPooling,
    MulLayer as MulLayer,
    Relu as Relu,
    Residual as Residual,
    Sigmoid as Sigmoid,
    SigmoidWithLoss as SigmoidWithLoss,
    Silu as Silu,
    Softmax as Softmax,
    SoftmaxWithLoss as SoftmaxWithLoss,
    Tanh as Tanh,
)
from .nn.networks import (
    MultiLayerNet as MultiLayerNet,
    Network as Network,
    SimpleNet as SimpleNet,
    TwoLayerNet as TwoLayerNet,
)
from .nn.sequential import (
    Sequential as Sequential,
)
from .numerical import (
    gradient_descent as gradient_descent,
    numerical_diff as numerical_diff,
    numerical_gradient as numerical_gradient,
    numerical_gradient_rows as numerical_gradient_rows,
)
from .optim.optimizers import (
    SGD as SGD,
    AdaGrad as AdaGrad,
    Adam as Adam,
    AdamW as AdamW,
    Momentum as Momentum,
    Nesterov as Nesterov,
    Optimizer as Optimizer,
    RMSProp as RMSProp,
)
from .optim.schedules import (
    CosineDecay as CosineDecay,
    StepDecay as StepDecay,
    WarmUp as WarmUp,
)
from .training.callbacks import (
    Callback as Callback,
)
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
from .training.history import (
    History as History,
)
from .training.loop import (
    Diverged as Diverged,
)

__version__: str

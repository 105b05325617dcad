"""Training: `fit` and `train`, callbacks, evaluation, the history of a run and its checkpoints."""

from .callbacks import Callback
from .checkpoints import load_network, save_network
from .describing import register
from .evaluation import Evaluation, evaluate
from .fitting import Result, fit, train
from .gradients import GradientNorms
from .history import History
from .loop import Diverged
from .many import fit_many

__all__ = [
    "Callback",
    "Diverged",
    "Evaluation",
    "GradientNorms",
    "History",
    "Result",
    "evaluate",
    "fit",
    "fit_many",
    "load_network",
    "register",
    "save_network",
    "train",
]

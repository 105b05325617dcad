"""Training: `fit` and `train`, evaluation, the history of a run and its checkpoints."""

from .checkpoints import load_network, save_network
from .describing import register
from .evaluation import Evaluation, evaluate
from .fitting import Diverged, Result, fit, train
from .history import History

__all__ = [
    "Diverged",
    "Evaluation",
    "History",
    "Result",
    "evaluate",
    "fit",
    "load_network",
    "register",
    "save_network",
    "train",
]

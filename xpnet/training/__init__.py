"""Training: `fit` and `train`, callbacks, evaluation, the history of a run and its checkpoints."""

from .callbacks import Callback
from .checkpoints import load_network, save_network
from .describing import register
from .evaluation import Evaluation, evaluate
from .fitting import Result, fit, train
from .gradients import GradientNorms
from .history import History
from .loggers import CSVLogger, JSONLinesLogger, LivePlot, TensorBoard
from .loop import Diverged
from .many import fit_many

__all__ = [
    "CSVLogger",
    "Callback",
    "Diverged",
    "Evaluation",
    "GradientNorms",
    "History",
    "JSONLinesLogger",
    "LivePlot",
    "Result",
    "TensorBoard",
    "evaluate",
    "fit",
    "fit_many",
    "load_network",
    "register",
    "save_network",
    "train",
]


def __dir__() -> list[str]:
    return sorted(__all__)

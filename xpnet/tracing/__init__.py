"""Tracing: record the operations of a pure function as a program, and run, print, draw and count them."""

from .batching import BatchedArray, BatchingError, vectorized
from .code import Code
from .cost import Cost, OperationCost
from .numpy_code import NumpyCode
from .program import Program, TracingError
from .recording import TracedArray, record, trace, traced_type
from .replay import Replay
from .torch_code import TorchCode

__all__ = [
    "BatchedArray",
    "BatchingError",
    "Code",
    "Cost",
    "NumpyCode",
    "OperationCost",
    "Program",
    "Replay",
    "TorchCode",
    "TracedArray",
    "TracingError",
    "record",
    "trace",
    "traced_type",
    "vectorized",
]


def __dir__() -> list[str]:
    return sorted(__all__)

"""Tracing: record the operations of a pure function as a program, and run, print, draw and count them."""

from .cost import Cost, OperationCost
from .numpy_code import NumpyCode
from .program import Program, TracingError
from .recording import TracedArray, record, trace, traced_type
from .replay import Replay, copied

__all__ = [
    "Cost",
    "NumpyCode",
    "OperationCost",
    "Program",
    "Replay",
    "TracedArray",
    "TracingError",
    "copied",
    "record",
    "trace",
    "traced_type",
]

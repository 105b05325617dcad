"""Trace a pure function once: its operations as a program, which can be run without the function."""

from .program import Program
from .recording import TracedArray, TracingError, record, trace, traced_type

__all__ = ["Program", "TracedArray", "TracingError", "record", "trace", "traced_type"]

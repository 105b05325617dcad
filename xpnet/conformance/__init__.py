"""Measure the errors of every function and layer on the installed libraries, and run ONNX's test vectors.

On the command line, this is ``xpnet conformance``. See `run`.
"""

from .report import Report
from .running import run

__all__ = ["Report", "run"]

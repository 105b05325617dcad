"""What is true of xpnet on the libraries at hand: every function and layer measured, and ONNX's test vectors.

``xpnet conformance`` on the command line. See `run`.
"""

from .report import Report
from .running import run

__all__ = ["Report", "run"]

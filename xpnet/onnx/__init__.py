"""Networks to ONNX and back: prediction and whole training steps.

The package needs ndonnx and onnx: the extra `onnx`. The extra also installs onnxruntime, which runs the models.
"""

from ..backends import not_installed

try:
    from .reading import from_onnx
    from .writing import to_onnx, training_to_onnx
except ModuleNotFoundError as error:
    raise not_installed("onnx", error) from None

__all__ = ["from_onnx", "to_onnx", "training_to_onnx"]

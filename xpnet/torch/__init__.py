"""xpnet inside PyTorch: layers, losses and networks as PyTorch functions and modules, and weights in both directions.

The package needs PyTorch: the extra `torch`.
"""

from ..backends import not_installed

try:
    from .function import Module, as_function
    from .weights import load_state_dict, state_dict
except ModuleNotFoundError as error:
    raise not_installed("torch", error) from None

__all__ = ["Module", "as_function", "load_state_dict", "state_dict"]

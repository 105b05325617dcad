"""PyTorch."""

import importlib
from typing import Any

from .._typing import Array
from ..tracing import TorchCode
from .base import Functions, HostArray
from .replaying import Replaying

__all__ = ["Torch"]


class Torch(Replaying):
    """PyTorch, on the CPU, on NVIDIA GPUs (cuda), on Intel GPUs (xpu) or on Apple GPUs (mps)."""

    name = "torch"
    module = "torch"
    install = "pip install 'xpnet[torch]'"
    code = TorchCode

    def known_devices(self) -> dict[str, Any]:
        """The CPU and the accelerators of this machine, by name."""
        torch = importlib.import_module("torch")
        names = ["cpu"]
        for kind, module in (("cuda", torch.cuda), ("xpu", torch.xpu)):
            names += [f"{kind}:{i}" for i in range(module.device_count())]
        if torch.backends.mps.is_available():
            names.append("mps")
        return {name: torch.device(name) for name in names}

    def is_remote(self, device: Any) -> bool:
        """Whether `device` is not the CPU."""
        return bool(device.type != "cpu")

    def is_of_memory(self, error: Exception) -> bool:
        """Whether `error` is PyTorch's error for exhausted memory."""
        kinds = (MemoryError, importlib.import_module("torch").OutOfMemoryError)
        return isinstance(error, kinds) or "can't allocate memory" in str(error)

    def to_numpy(self, x: Array) -> HostArray:
        """The array without its gradient, on the host."""
        host: HostArray = x.detach().cpu().numpy()
        return host

    def can_read(self, x: Array) -> bool:
        """Whether `x` is on the CPU, and neither compiled nor in a transform such as `torch.vmap`."""
        import torch

        traced = torch.compiler.is_compiling() or torch._C._functorch.is_functorch_wrapped_tensor(x)
        return not traced and type(x) in (torch.Tensor, torch.nn.Parameter) and not self.is_remote(x.device)

    def shares_memory(self, x: Array, y: Array) -> bool:
        """Whether `x` and `y` are views of the same memory."""
        one, other = (a.untyped_storage() for a in (x, y))
        return bool(one.nbytes() and one.data_ptr() == other.data_ptr())

    def detach(self, x: Array) -> Array:
        """``x.detach()`` if `x` has ``requires_grad``, else `x`."""
        return x.detach() if x.requires_grad else x

    def half(self, name: str) -> Any:
        """The dtype of half precision with this name."""
        import torch  # a statement, because `torch.compile` cannot trace `import_module`

        return getattr(torch, name)

    def rows(self, x: Array, index: Array) -> Array:
        """The rows of `x` at `index`.

        This is faster than `take` of `array_api_compat`, which first looks for negative indices. That takes as long
        as the copy itself.
        """
        return x.index_select(0, index)

    def convolution(self) -> Functions:
        """PyTorch's convolution."""
        from torch.nn import functional, grad

        return Functions(functional.conv2d, grad.conv2d_input, grad.conv2d_weight)

    def relu(self, x: Array) -> Array:
        """The larger of `x` and 0."""
        return x.relu()

    def clip(self, x: Array, low: float, high: float) -> Array:
        """`x`, limited to the range from `low` to `high`."""
        return x.clamp(low, high)

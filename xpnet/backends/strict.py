"""array-api-strict: a library for tests, which has only the functions of the array API standard."""

from typing import Any

from .base import Backend

__all__ = ["Strict"]


class Strict(Backend):
    """array-api-strict. Its devices are simulated, and all are of one kind."""

    name = "strict"
    module = "array_api_strict"
    install = "pip install array-api-strict"

    def known_devices(self) -> dict[str, Any]:
        """The simulated devices, by name."""
        names = {str(d._device): d for d in self.namespace().__array_namespace_info__().devices()}
        return {"cpu" if name == "CPU_DEVICE" else name: d for name, d in names.items()}

    def kinds(self) -> list[str]:
        """The default device."""
        return self.devices()[:1]

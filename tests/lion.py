"""An optimizer of one's own in one file: Lion, Chen et al. (2023), Symbolic Discovery of Optimization Algorithms."""

from dataclasses import dataclass
from typing import ClassVar

from array_api_compat import array_namespace

from xpnet import Optimizer


@dataclass(frozen=True)
class Lion(Optimizer):
    """p ← (1 - lr λ) p - lr sign(β₁ m + (1 - β₁) g), then m ← β₂ m + (1 - β₂) g."""

    lr: float = 1e-3
    beta1: float = 0.9
    beta2: float = 0.99
    state_names: ClassVar[tuple[str, ...]] = ("m",)

    def __post_init__(self):
        super().__post_init__()
        self.check("from 0 to below 1", "beta1", "beta2")

    def rule(self, p, g, lr, m):
        sign = array_namespace(p).sign(self.beta1 * m + (1 - self.beta1) * g)
        return p - lr * sign, self.beta2 * m + (1 - self.beta2) * g

    def decay(self, p, g, lr):
        return (1 - lr * self.weight_decay) * p, g

"""Reports of runs: one HTML file with curves, answers, layers and facts, which needs no network and no script.

`Result.report` writes the report of a run. ``xpnet report`` writes it from a checkpoint, or compares checkpoints.
"""

from .writing import read, write

__all__ = ["read", "write"]


def __dir__() -> list[str]:
    return sorted(__all__)

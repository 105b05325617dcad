"""The facts of a run, such as its data, options and versions, as plain data for reports and checkpoints."""

import math
import platform
from typing import Any

from .. import __version__
from .._array import dtype_name
from ..backends import backend_of
from ..nn.networks import Network
from ..optim.optimizers import Optimizer
from .config import Options
from .describing import name_of, readable
from .samples import Sets

__all__ = ["about"]


def about(
    network: Network, optimizer: Optimizer, sets: Sets, options: Options, device: str, source: dict[str, Any]
) -> dict[str, Any]:
    """The facts of a run by their names, in the order in which a report shows them.

    `source` has the name of the dataset and the shape of its images, if they are known, the seed, and the number of
    processes.
    """
    first, train = next(iter(network.params.values())), sets.train
    backend, test = backend_of(first), sets.test
    return {
        "dataset": source["dataset"],
        "training samples": train.count(sets.units),
        "validation samples": train.count(sets.held),
        "test samples": test.count(test.units) if test else 0,
        "sample shape": list(train.shape[1:]),
        "image shape": source["image shape"],
        "transform": options.transform and name_of(options.transform),
        "layers": ", ".join(map(readable, network.stack.descriptions)),
        "loss": readable(network.stack.loss_description),
        "parameters": sum(math.prod(p.shape) for p in network.params.values()),
        "optimizer": readable(optimizer),
        "epochs": options.epochs,
        "batch size": options.batch_size,
        "sampling": options.sampling,
        "accumulate": options.accumulate,
        "validation fraction": options.validation,
        "patience": options.patience,
        "seed": source["seed"],
        "library": f"{backend.name} {backend.version}",
        "device": device,
        "dtype": dtype_name(first.dtype),
        "half precision": ", ".join(sorted(network.stack.precisions)) or None,
        "processes": source["processes"],
        "xpnet": __version__,
        "Python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
    }

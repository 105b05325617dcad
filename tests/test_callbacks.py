"""The loop of a run and its callbacks: when hooks are called, and that a run stops between any two updates."""

import csv
import json
import re
import struct
import sys

import numpy as np
import pytest
from conftest import needs
from test_training import arrays, params_of

import xpnet
from xpnet import (
    SGD,
    Adam,
    Callback,
    CSVLogger,
    Diverged,
    History,
    JSONLinesLogger,
    LivePlot,
    MultiLayerNet,
    TensorBoard,
    fit,
)
from xpnet.training.distributed import Processes
from xpnet.training.evaluation import Measures
from xpnet.training.loop import Loop
from xpnet.training.samples import Sets, samples_of
from xpnet.training.step import updates


def network(data, **options):
    return MultiLayerNet(49, [8], 10, like=data[0][0], **options)


class Recorder(Callback):
    def __init__(self, fail=None):
        self.calls, self.fail = [], fail

    def note(self, name, run):
        self.calls.append((name, run.epoch, run.updates, len(run.history.seconds)))
        if self.fail and self.fail[0] == name and self.fail[1] == run.updates:
            raise self.fail[2]

    def on_start(self, run):
        self.note("start", run)

    def on_update(self, run):
        self.note("update", run)
        assert run.loss is not None
        assert run.carry.params.keys() == run.network.params.keys()

    def on_epoch(self, run):
        self.note("epoch", run)

    def on_end(self, run):
        self.note("end", run)
        self.error, self.interrupted = run.error, run.history.interrupted


@pytest.mark.only("numpy", "torch", "strict", "cupy")
def test_the_hooks_are_called_in_the_order_of_the_run(lib):
    data, recorder = arrays(lib, 100), Recorder()
    fit(network(data), data, epochs=2, batch_size=50, callbacks=[recorder], progress=False)
    assert recorder.calls == [
        ("start", 0, 0, 0),
        ("epoch", 0, 0, 1),
        ("update", 1, 1, 1),
        ("update", 1, 2, 1),
        ("epoch", 1, 2, 2),
        ("update", 2, 3, 2),
        ("update", 2, 4, 2),
        ("epoch", 2, 4, 3),
        ("end", 2, 4, 3),
    ]
    assert recorder.error is None
    assert not recorder.interrupted


@pytest.mark.only("jax")
def test_on_jax_the_hook_of_updates_is_called_after_each_compiled_loop(lib):
    data, recorder = arrays(lib, 240), Recorder()
    fit(network(data), data, epochs=1, batch_size=1, callbacks=[recorder], progress=False)
    assert [updates for name, _, updates, _ in recorder.calls if name == "update"] == [80, 160, 240]


@pytest.mark.parametrize("error", [OSError("disk full"), KeyboardInterrupt()], ids=["error", "ctrl-c"])
@pytest.mark.parametrize("place", [("start", 0), ("epoch", 0), ("update", 3), ("epoch", 4), ("end", 4)], ids=str)
def test_the_end_is_called_also_after_an_error_and_for_each_that_has_started(lib, place, error):
    if lib.backend.name == "jax" and place[0] == "update":
        place = "update", 4
    data = arrays(lib, 100)
    first, failing, last = Recorder(), Recorder((*place, error)), Recorder()
    callbacks = [first, failing, last]
    raised = isinstance(error, OSError) or place[0] == "end"

    def run():
        return fit(network(data), data, epochs=2, batch_size=50, callbacks=callbacks, progress=False)

    if raised:
        with pytest.raises(type(error)):
            run()
    else:
        assert run().history.interrupted
    ended = [recorder.calls[-1][0] == "end" if recorder.calls else False for recorder in callbacks]
    assert ended == [True, place[0] != "start", place[0] != "start"]
    if place[0] != "end":
        assert (first.error is error) == raised
        assert first.interrupted != raised


def test_a_callback_is_told_of_a_run_that_diverges(lib):
    data, recorder = arrays(lib, 100), Recorder()
    rate = 1e200 if "float64" in lib.dtypes else 1e30
    with pytest.raises(Diverged):
        fit(network(data), data, SGD(rate), epochs=3, batch_size=50, callbacks=[recorder], progress=False)
    assert isinstance(recorder.error, Diverged)
    assert recorder.calls[-1][0] == "end"


def test_a_callback_ends_the_run_by_true_and_functions_stand_beside_it(lib):
    data, seen = arrays(lib, 100), []

    class Enough(Callback):
        def on_epoch(self, run):
            return run.epoch == 2

    history = fit(
        network(data), data, epochs=9, callbacks=[Enough(), lambda *given: seen.append(given)], progress=False
    ).history
    assert history.updates == [0, 1, 2]
    assert len(seen) == 3
    assert isinstance(seen[0][0], xpnet.Network)
    assert isinstance(seen[0][1], History)


@pytest.mark.parametrize(
    ("callbacks", "match"),
    [
        ([5], "callbacks must be functions .* got 5"),
        ([Recorder], "callbacks must be functions .* subclasses of xpnet.Callback, got <class"),
        (print, r"callbacks must be a list, such as \[callback\]"),
    ],
    ids=["number", "class", "no list"],
)
def test_what_is_no_callback_is_refused(lib, callbacks, match):
    data = arrays(lib, 100)
    with pytest.raises(TypeError, match=match):
        fit(network(data), data, callbacks=callbacks, progress=False)


def loop_of(lib, data, snapshot=None, callbacks=(), rank=0):
    """A loop alone, with dropout and samples held out: nothing is printed, written or watched."""
    net, rng = network(data, dropout=0.3), np.random.default_rng(3)
    train = samples_of("_train", data[0], net, transformed=False)
    samples = Sets(train, train.units[:80], train.units[80:], None)
    optimizer, peers = Adam(0.01), Processes()
    return Loop(
        net,
        optimizer,
        updates(lib.backend, net.stack, optimizer, None, 1, peers),
        lambda done: train.epoch(rng, samples.units, 30, "shuffle", done),
        rng,
        lambda size: net.stack.draw(rng, (size, 49)),
        Measures(net, samples, None, peers),
        callbacks,
        snapshot,
        rank=rank,
    )


@pytest.mark.only("numpy", "strict", "torch", "cupy")
@pytest.mark.parametrize("update", range(1, 7))
def test_a_loop_goes_on_from_a_snapshot_between_any_two_updates(lib, update):
    data = arrays(lib, 100)
    with lib.here:
        whole = loop_of(lib, data)
        whole.go(2)
        stopped = loop_of(lib, data, callbacks=[Recorder(("update", update, KeyboardInterrupt()))])
        stopped.go(2)
        assert stopped.history.interrupted
        assert stopped.updates == update == len(stopped.history.loss)
        again = loop_of(lib, data, stopped.snapshot())
        again.go(2)
    assert again.history.loss == whole.history.loss
    assert again.history.validation_loss == whole.history.validation_loss
    assert again.history.best_epoch == whole.history.best_epoch
    assert not again.history.interrupted
    for name, p in params_of(whole).items():
        np.testing.assert_array_equal(params_of(again)[name], p)


# The line of an epoch


def test_the_line_shows_the_validation_loss_and_with_no_test_set_no_test(lib, capsys):
    data = arrays(lib, 100)
    history = fit(network(data), data[0], epochs=1, validation=0.2).history
    line = capsys.readouterr().out.splitlines()[-1]
    loss, rates = f"{history.validation_loss[-1]:.4f}", (history.train_accuracy[-1], history.validation_accuracy[-1])
    shown = f"validation {loss}  accuracy  train {rates[0]:.4f}  validation {rates[1]:.4f}"
    assert re.fullmatch(rf"epoch   1  loss \d\.\d{{4}}  {re.escape(shown)} +\d+\.\d s", line)
    assert history.test_accuracy == history.test_loss == []


# Files and pictures of a run


def csv_rows(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def json_rows(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_the_files_have_a_row_before_training_and_one_per_epoch(lib, tmp_path):
    data, paths = arrays(lib, 100), [tmp_path / "run.csv", tmp_path / "run.jsonl"]
    paths[0].write_text("of an earlier run")
    seen = []

    def look(network, history):  # after the loggers
        seen.append(([len(path.read_text().splitlines()) for path in paths], len(history.seconds)))

    loggers = [CSVLogger(paths[0]), JSONLinesLogger(str(paths[1]))]
    history = fit(
        network(data), data, epochs=2, batch_size=40, validation=0.2, callbacks=[*loggers, look], progress=False
    ).history
    assert seen == [([2, 1], 1), ([3, 2], 2), ([4, 3], 3)]
    rows = history.epochs()
    assert [row["epoch"] for row in rows] == [0, 1, 2]
    assert [row["update"] for row in rows] == history.updates == [0, 2, 4]
    assert rows[2]["loss"] == np.mean(history.loss[2:])
    assert [row["test_loss"] for row in rows] == history.test_loss
    lines = csv_rows(paths[0])
    assert lines[0]["loss"] == ""
    for line, row in zip(lines[1:], rows[1:], strict=True):
        assert {name: float(value) for name, value in line.items()} == row
    assert json_rows(paths[1]) == [rows[0] | {"loss": None}, *rows[1:]]


@pytest.mark.only("numpy")
@pytest.mark.parametrize("update", [3, 5])
def test_a_resumed_run_has_no_row_twice_and_loses_none(lib, tmp_path, update):
    pytest.importorskip("safetensors")
    data, paths = arrays(lib, 100), [tmp_path / "run.csv", tmp_path / "run.jsonl"]

    def run(callbacks=()):
        loggers = [CSVLogger(paths[0]), JSONLinesLogger(paths[1])]
        options = {"checkpoint": tmp_path / "run.safetensors", "resume": True, "progress": False}
        return fit(network(data), data, epochs=3, batch_size=50, callbacks=[*loggers, *callbacks], **options).history

    assert run([Recorder(("update", update, KeyboardInterrupt()))]).interrupted
    with open(paths[0], "a") as file:  # as if killed while a row was written, after the last checkpoint
        file.write("2,4,0.")
    with open(paths[1], "a") as file:
        file.write('{"epoch": 2}\n{"ep')
    rows = run().epochs()
    assert [(int(line["epoch"]), float(line["seconds"])) for line in csv_rows(paths[0])] == [
        (row["epoch"], row["seconds"]) for row in rows
    ]
    assert json_rows(paths[1])[1:] == rows[1:]


@pytest.mark.only("numpy")
@pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError("disk full")], ids=["ctrl-c", "error"])
def test_the_last_row_is_in_the_file_even_if_the_run_ended_before_it_was_added(lib, tmp_path, error):
    data, log = arrays(lib, 100), CSVLogger(tmp_path / "run.csv")
    callbacks = [Recorder(("epoch", 4, error)), log]
    try:
        fit(network(data), data, epochs=3, batch_size=50, callbacks=callbacks, progress=False)
    except OSError:
        pass
    assert [line["epoch"] for line in csv_rows(tmp_path / "run.csv")] == ["0", "1", "2"]


@pytest.mark.parametrize("logger", [CSVLogger, JSONLinesLogger])
def test_a_log_that_cannot_be_written_is_refused_at_once(tmp_path, logger):
    with pytest.raises(ValueError, match=r"must end in \.(csv|jsonl), got '\.txt'"):
        logger(tmp_path / "run.txt")
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        logger(tmp_path / "no" / ("run.csv" if logger is CSVLogger else "run.jsonl"))


def test_only_the_first_process_writes(lib, tmp_path):
    data, log = arrays(lib, 100), CSVLogger(tmp_path / "run.csv")
    with lib.here:
        loop_of(lib, data, callbacks=[log], rank=1).go(1)
        assert not list(tmp_path.iterdir())
        loop_of(lib, data, callbacks=[log]).go(1)
    assert len(csv_rows(tmp_path / "run.csv")) == 2


def scalars(folder):
    """The scalars in the files of a folder, by tag and step; later sessions hide those of earlier ones."""
    from tensorboardX.proto.event_pb2 import Event, SessionLog

    found = {}
    for path in sorted(folder.iterdir()):  # the names have the time, as TensorBoard expects
        data, start = path.read_bytes(), 0
        while start < len(data):
            (size,) = struct.unpack("<Q", data[start : start + 8])
            event = Event.FromString(data[start + 12 : start + 12 + size])
            start += size + 16
            if event.session_log.status == SessionLog.START:
                found = {key: value for key, value in found.items() if key[1] < event.step}
            found |= {(value.tag, event.step): value.simple_value for value in event.summary.value}
    return found


@needs("tensorboardX")
@pytest.mark.only("numpy")
def test_tensorboard_has_each_loss_and_accuracy_once_also_after_resuming(lib, tmp_path):
    pytest.importorskip("safetensors")
    data = arrays(lib, 100)

    def run(epochs, **options):
        board = TensorBoard(tmp_path / "board")
        options |= {"validation": 0.2, "batch_size": 40, "progress": False}
        return fit(network(data), data, epochs=epochs, callbacks=[board], **options).history

    run(5)  # hidden by the next one
    options = {"checkpoint": tmp_path / "run.safetensors", "resume": True}
    run(1, **options)
    history = run(2, **options)
    expected = {("loss/train", i): loss for i, loss in enumerate(history.loss, 1)}
    for part in ("train", "test", "validation"):
        values = getattr(history, f"{part}_accuracy")
        expected |= {(f"accuracy/{part}", u): v for u, v in zip(history.updates, values, strict=True)}
    for part in ("test", "validation"):
        values = getattr(history, f"{part}_loss")
        expected |= {(f"loss/{part}", u): v for u, v in zip(history.updates, values, strict=True)}
    found = scalars(tmp_path / "board")
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        assert found[key] == pytest.approx(value, rel=1e-6)


@pytest.mark.parametrize(
    ("module", "make", "match"),
    [
        (
            "tensorboardX",
            lambda: TensorBoard("runs"),
            r"tensorboardX; get it with: pip install 'xpnet\[tensorboard\]'",
        ),
        ("IPython.display", LivePlot, r"IPython; get it with: pip install 'xpnet\[notebook\]'"),
    ],
)
def test_a_callback_whose_library_is_missing_says_how_to_get_it(monkeypatch, module, make, match):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ImportError, match=match):
        make()

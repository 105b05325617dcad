"""The record of a run: what is written, and that nothing is lost when writing fails."""

import csv
import json
import math
import os
import re
import sys
from pathlib import Path

import pytest
from conftest import needs

from xpnet import History
from xpnet._files import check_output

HISTORY = History(
    loss=[2.3, 0.1, 1 / 3],
    updates=[0, 2, 3],
    train_accuracy=[0.125, 0.5, 0.75],
    test_accuracy=[0.1, 0.4, 0.7],
    seconds=[0.5, 1.5, 2.0],
    interrupted=True,
)
WATCHED = History(
    loss=[2.3, 0.1],
    updates=[0, 2],
    train_accuracy=[0.125, 0.5],
    test_accuracy=[0.1, 0.4],
    validation_loss=[2.4, 0.3],
    validation_accuracy=[0.2, 0.6],
    best_epoch=1,
    seconds=[0.5, 1.5],
)
REGRESSION = History(loss=[2.0, 1.0], updates=[0, 2], test_loss=[2.5, 0.5], seconds=[0.0, 1.0])


def test_json_holds_every_attribute_and_reads_back_as_the_same_history(tmp_path):
    path = tmp_path / "run.json"
    for history in (WATCHED, HISTORY):
        history.save(path)
        assert History(**json.loads(path.read_text(encoding="utf-8"))) == history
    assert path.read_text().endswith("}\n")


def test_csv_has_a_row_before_training_and_one_per_update(tmp_path):
    path = tmp_path / "run.csv"
    HISTORY.save(str(path))
    assert path.read_bytes().decode() == (
        "epoch,update,loss,train_accuracy,test_accuracy,test_loss,validation_loss,validation_accuracy,seconds\n"
        "0,0,,0.125,0.1,,,,0.5\n"
        "1,1,2.3,,,,,,\n"
        "1,2,0.1,0.5,0.4,,,,1.5\n"
        f"2,3,{1 / 3},0.75,0.7,,,,2.0\n"
    )
    WATCHED.save(path)
    assert path.read_text().splitlines()[1:] == [
        "0,0,,0.125,0.1,,2.4,0.2,0.5",
        "1,1,2.3,,,,,,",
        "1,2,0.1,0.5,0.4,,0.3,0.6,1.5",
    ]


def test_csv_reads_back_to_the_last_bit(tmp_path):
    HISTORY.save(tmp_path / "run.csv")
    with open(tmp_path / "run.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [float(r["loss"]) for r in rows[1:]] == HISTORY.loss
    measured = [r for r in rows if r["seconds"]]
    assert [int(r["update"]) for r in measured] == HISTORY.updates
    for column in ("train_accuracy", "test_accuracy", "seconds"):
        assert [float(r[column]) for r in measured] == getattr(HISTORY, column)


def test_csv_without_accuracies_leaves_them_empty(tmp_path):
    REGRESSION.save(tmp_path / "run.csv")
    assert (tmp_path / "run.csv").read_text().splitlines()[1:] == [
        "0,0,,,,2.5,,,0.0",
        "1,1,2.0,,,,,,",
        "1,2,1.0,,,0.5,,,1.0",
    ]


def test_a_history_is_shown_in_one_short_line():
    long = History(loss=[0.5] * 10_000, updates=[0, 10_000], train_accuracy=[0.1, 0.9], seconds=[0.0, 1.0])
    assert repr(long) == "History(10000 updates, 1 epoch, loss 0.5000, train_accuracy 0.9000)"
    assert repr(History()) == "History(0 updates, 0 epochs)"
    assert "(1 update, 0 epochs)" in repr(History([1.0], [0]))
    assert "loss 1.2000" in repr(WATCHED), "the mean of the epoch, as in the line that a run prints"
    assert repr(WATCHED).endswith("validation_loss 0.3000, validation_accuracy 0.6000, best_epoch 1)")
    assert repr(HISTORY).endswith(", interrupted)")


def test_a_row_that_was_not_finished_is_dropped_with_its_best_epoch():
    history = History(loss=[1.0])
    history.add({"validation_loss": 0.5, "test_loss": 0.25}, 1.0)
    history.loss.append(0.5)
    history.add({"validation_loss": float("nan"), "test_loss": 0.5}, 2.0)
    assert (history.best_epoch, history.updates) == (0, [1, 2])
    history.validation_loss.append(0.25)
    history.cut()
    assert (history.best_epoch, len(history.validation_loss), history.seconds) == (0, 2, [1.0, 2.0])


@pytest.mark.parametrize(
    "history", [History(), HISTORY, REGRESSION, WATCHED], ids=["empty", "classes", "regression", "validation"]
)
@pytest.mark.parametrize("name", ["a.csv", "a.json", "A.CSV", "b.JSON"])
def test_any_history_can_be_saved_and_leaves_one_file(tmp_path, history, name):
    history.save(tmp_path / name)
    assert os.listdir(tmp_path) == [name]


@pytest.mark.parametrize(("name", "target"), [("run.json", "json.dump"), ("run.csv", "csv.writer")])
@pytest.mark.parametrize("error", [OSError("disk full"), KeyboardInterrupt()], ids=["OSError", "Ctrl-C"])
def test_a_file_stays_as_it_was_when_writing_fails(tmp_path, monkeypatch, name, target, error):
    path = tmp_path / name
    path.write_text("precious")

    def fail(*args: object, **kwargs: object) -> None:
        next(a for a in args if hasattr(a, "write")).write("half of it")
        raise error

    monkeypatch.setattr(f"xpnet.training.history.{target}", fail)
    with pytest.raises(type(error)):
        HISTORY.save(path)
    assert path.read_text() == "precious"
    assert os.listdir(tmp_path) == [name]


def test_an_existing_file_is_replaced_whole(tmp_path):
    path = tmp_path / "run.csv"
    path.write_text("x" * 10_000)
    REGRESSION.save(path)
    assert len(path.read_text().splitlines()) == 4


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such permissions")
def test_the_file_has_the_permissions_of_any_new_file(tmp_path):
    HISTORY.save(tmp_path / "run.json")
    (tmp_path / "other").write_text("")
    assert (tmp_path / "run.json").stat().st_mode == (tmp_path / "other").stat().st_mode


REFUSED = [
    pytest.param("run.txt", ValueError, r"run\.txt.*\.csv or \.json, got '\.txt'", id="suffix"),
    pytest.param("run", ValueError, r"\.csv or \.json, got 'no suffix'", id="no suffix"),
    pytest.param("missing/run.csv", FileNotFoundError, r"no folder .*missing; make it first", id="no such folder"),
    pytest.param("folder.json", IsADirectoryError, r"folder\.json is a folder", id="a folder"),
]


@pytest.mark.parametrize(("name", "error", "match"), REFUSED)
def test_a_path_that_cannot_be_written_is_refused(tmp_path, name, error, match):
    (tmp_path / "folder.json").mkdir()
    with pytest.raises(error, match=match):
        HISTORY.save(tmp_path / name)
    assert os.listdir(tmp_path) == ["folder.json"]


def test_a_folder_that_is_not_writable_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(
        "xpnet.training.history.os.access", lambda path, mode: Path(path) != tmp_path
    )  # root may write anywhere
    with pytest.raises(PermissionError, match=f"{re.escape(str(tmp_path))} is not writable"):
        check_output(tmp_path / "run.csv", ".csv")


@needs("matplotlib")
@pytest.mark.parametrize(
    "history",
    [
        HISTORY,
        REGRESSION,
        History(loss=[2.0, 1.0], updates=[0, 2], train_accuracy=[0.1, 0.2], seconds=[0.0, 1.0]),
        History(),
        History([1.0]),
        History([float("nan"), 1.0]),
        History([0.5] * 200, [0], [1], [1]),
    ],
    ids=["classes", "regression", "no test set", "empty", "one update", "diverged", "long"],
)
def test_plot_draws_a_picture_of_any_history(tmp_path, history):
    history.plot(tmp_path / "run.png")
    assert (tmp_path / "run.png").read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
    assert (tmp_path / "run.png").stat().st_size > 5_000


@needs("matplotlib")
@pytest.mark.parametrize(("name", "start"), [("a.svg", b"<?xml"), ("a.pdf", b"%PDF")])
def test_the_suffix_chooses_the_kind_of_picture(tmp_path, name, start):
    HISTORY.plot(str(tmp_path / name))
    assert (tmp_path / name).read_bytes().startswith(start)


@needs("matplotlib")
def test_plot_draws_the_numbers_of_the_history(tmp_path, monkeypatch):
    from xpnet import plotting

    drawn = []
    make = plotting.figure
    monkeypatch.setattr(plotting, "figure", lambda *args, **kwargs: drawn.append(make(*args, **kwargs)) or drawn[-1])
    HISTORY.plot(tmp_path / "run.png")
    loss, accuracy = drawn[0][1]
    assert loss.lines[0].get_ydata().tolist() == HISTORY.loss
    assert [list(line.get_ydata()) for line in accuracy.lines] == [HISTORY.train_accuracy, HISTORY.test_accuracy]


@needs("matplotlib")
def test_the_mean_of_a_short_run_is_a_line_and_not_a_point():
    each, mean = History(loss=[4.0, 3.0, 2.0, 1.0, 2.0, 1.0, 1.0, 2.0]).plot().axes[0].lines
    assert mean.get_label() == "mean of 2"
    assert mean.get_ydata().tolist() == [3.5, 2.5, 1.5, 1.5, 1.5, 1.0, 1.5]


@needs("matplotlib")
@pytest.mark.parametrize(
    ("accuracies", "start"),
    [([0.1, 0.93, 0.97], 0.9), ([0.9, 0.4, 0.7], 0.4), ([0.1, 1.0], 0.9), ([0.1], 0), ([math.nan, math.nan], 0)],
)
def test_the_axis_starts_below_the_accuracies_after_the_first_epoch_and_says_so(
    tmp_path, monkeypatch, accuracies, start
):
    from xpnet import plotting

    drawn = []
    make = plotting.figure
    monkeypatch.setattr(plotting, "figure", lambda *args, **kwargs: drawn.append(make(*args, **kwargs)) or drawn[-1])
    history = History(
        loss=[1.0], train_accuracy=accuracies, test_accuracy=accuracies, validation_accuracy=accuracies, seconds=[0.5]
    )
    history.plot(tmp_path / "run.png")
    ax = drawn[0][1][1]
    assert ax.get_ylim() == (start, 1)
    assert ax.get_ylabel() == f"accuracy (axis starts at {start})"
    assert len({(line.get_linestyle(), line.get_marker()) for line in ax.lines}) == 3, "told apart without color"


def test_plot_without_matplotlib_says_how_to_get_it(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ImportError, match=r"matplotlib; get it with: pip install 'xpnet\[plot\]'"):
        HISTORY.plot(tmp_path / "run.png")
    assert not os.listdir(tmp_path)

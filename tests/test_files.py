"""Files are written whole or not at all, in the place and with the permissions of those that were there."""

import itertools
import os
import stat
import sys

import pytest

from xpnet import _files
from xpnet._files import check_output, clear_parts, replacing

POSIX = pytest.mark.skipif(os.name != "posix", reason="permissions and links are POSIX's")


def write(path, text):
    with replacing(path) as file:
        file.write(text)


def test_a_file_is_replaced_or_stays_as_it_was(tmp_path):
    path = tmp_path / "run.json"
    write(path, "old")
    with pytest.raises(ZeroDivisionError), replacing(path) as file:
        file.write("new")
        _ = 1 / 0
    assert path.read_text() == "old"
    write(path, "new")
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


def test_it_is_on_the_disk_before_it_takes_its_place(tmp_path, monkeypatch):
    done = []
    sync, replace = os.fsync, os.replace

    def fsync(handle):
        done.append("folder" if stat.S_ISDIR(os.fstat(handle).st_mode) else os.fstat(handle).st_size)
        sync(handle)

    monkeypatch.setattr("xpnet._files.os.fsync", fsync)
    monkeypatch.setattr("xpnet._files.os.replace", lambda *names: (done.append("replaced"), replace(*names)))
    write(tmp_path / "run.json", "text")
    assert done[:2] == [4, "replaced"]
    assert done[2:] == (["folder"] if os.name == "posix" else [])


def test_ctrl_c_after_the_move_is_told_and_the_file_stays(tmp_path, monkeypatch):
    replace, path = os.replace, tmp_path / "run.json"

    def interrupted(*names):
        replace(*names)
        raise KeyboardInterrupt

    monkeypatch.setattr("xpnet._files.os.replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write(path, "whole")
    assert path.read_text() == "whole"


@pytest.mark.parametrize("call", [lambda path: write(path, "new"), check_output], ids=["write", "check"])
def test_ctrl_c_at_any_line_leaves_a_whole_file_alone(tmp_path, call):
    path, line = tmp_path / "run.json", 0

    def trace(frame, event, arg):
        nonlocal line
        if frame.f_code.co_filename != _files.__file__:
            return None
        if event == "line":
            line += 1
            if line == stop:
                raise KeyboardInterrupt
        return trace

    for stop in itertools.count(1):
        path.write_text("old")
        line, before = 0, sys.gettrace()
        sys.settrace(trace)
        try:
            call(path)
        except KeyboardInterrupt:
            pass
        finally:
            sys.settrace(before)
        assert path.read_text() in ("old", "new")
        assert list(tmp_path.iterdir()) == [path], stop
        if line < stop:
            break
    assert stop > 20


@POSIX
@pytest.mark.parametrize("mode", [0o600, 0o640, 0o644])
def test_a_file_keeps_its_permissions(tmp_path, mode):
    path = tmp_path / "run.json"
    write(path, "old")
    path.chmod(mode)
    write(path, "new")
    assert stat.S_IMODE(path.stat().st_mode) == mode


@POSIX
def test_a_new_file_has_the_permissions_of_any(tmp_path):
    write(tmp_path / "one", "")
    (tmp_path / "other").touch()
    assert (tmp_path / "one").stat().st_mode == (tmp_path / "other").stat().st_mode


@POSIX
def test_a_link_stays_and_what_it_points_to_is_written(tmp_path):
    (tmp_path / "there").mkdir()
    link, path = tmp_path / "link.json", tmp_path / "there" / "run.json"
    link.symlink_to(path)
    for text in ("made", "replaced"):
        write(check_output(link, ".json"), text)
        assert link.is_symlink()
        assert path.read_text() == text
    assert list(path.parent.iterdir()) == [path]
    link.unlink()
    link.symlink_to(tmp_path / "nowhere" / "run.json")
    with pytest.raises(FileNotFoundError, match="link.json: there is no folder .*nowhere; make it first"):
        check_output(link, ".json")


def test_only_what_was_left_of_this_file_is_deleted(tmp_path):
    path = tmp_path / "run[1].json"
    others = [".run[1].json.mine", ".run[1].json.swp", ".run1.json.abcd1234.xpnet-part", "run[1].json.xpnet-part"]
    for name in others:
        (tmp_path / name).touch()
    for name in (".run[1].json.abcd1234.xpnet-part", ".run[1].json.a_cd12_4.xpnet-part"):
        (tmp_path / name).touch()
    clear_parts(path)
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(others)


def test_what_a_killed_process_leaves_is_deleted(tmp_path, monkeypatch):
    path = tmp_path / "run.json"
    with monkeypatch.context() as patch:
        patch.setattr("xpnet._files.os.unlink", lambda name: None)  # it had no time for that
        with pytest.raises(KeyboardInterrupt), replacing(path):
            raise KeyboardInterrupt
    assert len(list(tmp_path.iterdir())) == 1
    clear_parts(path)
    assert not list(tmp_path.iterdir())


def test_a_check_passes_if_another_process_deletes_its_file(tmp_path, monkeypatch):
    """Processes of one run check its path while others delete files that an earlier run has left."""
    path, opener = tmp_path / "file", _files._private

    def opened(name, flags):
        handle = opener(name, flags)
        clear_parts(path)
        assert not os.path.exists(name)
        return handle

    monkeypatch.setattr(_files, "_private", opened)
    assert check_output(path) == path

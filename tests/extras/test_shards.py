"""Sets on disk: what is read back is what was stored, by any order of pieces, in bounded memory."""

import asyncio
import gzip
import os
import re
import signal
import struct
import tempfile
import threading
import time
import tracemalloc
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, strategies as st

from xpnet import Shards
from xpnet.datasets.shards import ahead

CODES = {"uint8": 0x08, "int8": 0x09, "int16": 0x0B, "int32": 0x0C, "float32": 0x0D, "float64": 0x0E}
X = np.random.default_rng(0).normal(size=(60, 2, 3)).astype("float32")
T = np.arange(60, dtype=np.uint8)


def idx(array):
    header = struct.pack(f">4B{array.ndim}I", 0, 0, CODES[array.dtype.name], array.ndim, *array.shape)
    return header + array.astype(array.dtype.newbyteorder(">")).tobytes()


def write(path, array, form):
    with open(path, "wb") as file:
        if form == "idx":
            file.write(idx(array))
        elif form == "gzip":
            file.write(gzip.compress(idx(array)))
        elif form == "fortran":
            np.save(file, np.asfortranarray(array))
        elif form == "big-endian":
            np.save(file, array.astype(array.dtype.newbyteorder(">")))
        else:
            np.lib.format.write_array(file, array, version=(2, 0) if form == "npy 2.0" else None)
    return path


FORMS = ["npy", "fortran", "big-endian", "npy 2.0", "idx", "gzip"]


def cut(array, lengths, folder, form):
    """The array as files of these lengths; the last has the rest."""
    names = []
    for i, part in enumerate(np.split(array, np.cumsum(lengths))):
        names.append(write(folder / f"{array.ndim}-d {form} {i}", part, form))
    return names


def read_all(shards, rng=None, dtypes=(None, None)):
    """All of a set, its pieces in some order and put back in place."""
    order = np.arange(len(shards.sizes))
    if rng is not None:
        rng.shuffle(order)
    windows = shards.windows(order)
    assert np.concatenate(windows).tolist() == order.tolist()
    starts = np.r_[0, np.cumsum(shards.sizes)]
    x, t = (
        np.empty(shape, dtype or stored)
        for shape, dtype, stored in zip(
            (shards.x_shape, shards.t_shape), dtypes, (shards.x_dtype, shards.t_dtype), strict=True
        )
    )
    buffers = np.empty((shards.buffer, *x.shape[1:]), x.dtype), np.empty((shards.buffer, *t.shape[1:]), t.dtype)
    for window in windows:
        assert len(window)
        count = shards.read(window, *buffers)
        assert count == shards.sizes[window].sum() <= shards.buffer
        rows = np.concatenate([np.arange(starts[i], starts[i + 1]) for i in window])
        for out, buffer in zip((x, t), buffers, strict=True):
            out[rows] = buffer[:count]
    return x, t


def same(shards, x=X, t=T, seed=0):
    found = read_all(shards, np.random.default_rng(seed))
    return all(a.dtype == b.dtype and np.array_equal(a, b) for a, b in zip(found, (x, t), strict=True))


class TestSources:
    @pytest.mark.parametrize("form", FORMS)
    def test_one_file(self, form, tmp_path):
        x, t = write(tmp_path / "x", X, form), write(tmp_path / "t", T, form)
        shards = Shards(x, str(t), buffer=60)
        assert len(shards) == 60
        assert (shards.x_shape, shards.t_shape) == ((60, 2, 3), (60,))
        assert shards.x_dtype == np.float32 and shards.x_dtype.isnative and shards.t_dtype == np.uint8
        assert same(shards)

    @pytest.mark.parametrize("form", FORMS)
    def test_several_files_of_other_lengths_than_those_of_the_targets(self, form, tmp_path):
        shards = Shards(cut(X, [20, 5], tmp_path, form), cut(T, [7, 0, 30], tmp_path, "npy"), buffer=40)
        assert shards.sizes.sum() == 60
        assert same(shards)

    def test_folder_and_pattern(self, tmp_path):
        for name in ("x", "t"):
            (tmp_path / name).mkdir()
        for i in range(12):  # 2 before 10
            np.save(tmp_path / "x" / f"part-{i}.npy", X[5 * i : 5 * i + 5])
            np.save(tmp_path / "t" / f"t-{i}-of-12.npy", T[5 * i : 5 * i + 5])
        (tmp_path / "x" / ".hidden").write_text("")
        assert same(Shards(tmp_path / "x", f"{tmp_path}/t/t-*.npy"))
        assert same(Shards([f"{tmp_path}/x/part-{i}.npy" for i in range(12)], [tmp_path / "t"]))

    def test_arrays(self, tmp_path):
        np.save(tmp_path / "x.npy", X)
        mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
        assert same(Shards(mapped, T))
        assert same(Shards([X[:7], mapped[7:40], X[40:]], [T[:50], T[50:]]))

    @pytest.mark.parametrize("options", [{}, {"chunks": (7, 2, 2)}, {"chunks": (60, 1, 1), "compression": "gzip"}])
    def test_hdf5(self, options, tmp_path):
        h5py = pytest.importorskip("h5py", reason="h5py is not installed")
        with h5py.File(tmp_path / "file.h5", "w") as file:
            file.create_dataset("x", data=X, **options)
            file["t"] = T
            shards = Shards(file["x"], file["t"], buffer=60)
            assert same(shards)
            x, t = read_all(shards, dtypes=("float64", "int64"))
            assert np.array_equal(x, X) and np.array_equal(t, T)

    @pytest.mark.parametrize("options", [{}, {"chunks": (7, 2, 2)}, {"chunks": (5, 2, 3), "shards": (20, 2, 3)}])
    def test_zarr(self, options, tmp_path):
        zarr = pytest.importorskip("zarr", reason="zarr is not installed")
        x = zarr.create_array(tmp_path / "x.zarr", data=X, **options)
        t = zarr.create_array(tmp_path / "t.zarr", data=T, chunks=(9,))
        assert same(Shards(x, t, buffer=60))
        assert same(Shards([x, x], [t, t], buffer=100), np.r_[X, X], np.r_[T, T])

    def test_zarr_needs_no_threads_where_the_store_is_a_folder(self, tmp_path, monkeypatch):
        zarr = pytest.importorskip("zarr", reason="zarr is not installed")
        on_disk = zarr.create_array(tmp_path / "x.zarr", data=X, chunks=(7, 2, 3))
        elsewhere = zarr.create_array(zarr.storage.MemoryStore(), data=X, chunks=(7, 2, 3))

        async def notebook(shards):  # where an event loop runs already
            return same(shards)

        assert same(Shards(elsewhere, T))
        assert asyncio.run(notebook(Shards(on_disk, T)))
        monkeypatch.setattr(type(on_disk), "__getitem__", None)  # Zarr's own way
        assert same(Shards(on_disk, T))

    @pytest.mark.parametrize("kind", sorted(CODES))
    @pytest.mark.parametrize("form", ["big-endian", "idx", "gzip"])
    def test_byte_order_and_conversion(self, kind, form, tmp_path):
        x = (10 * X).astype(kind)
        shards = Shards(write(tmp_path / "x", x, form), T)
        assert same(shards, x)
        found, t = read_all(shards, dtypes=("float64", "int64"))
        assert np.array_equal(found, x.astype("float64")) and t.dtype == np.int64
        assert np.array_equal(t, T)

    def test_what_is_not_contiguous_is_filled_too(self, tmp_path):
        shards = Shards(write(tmp_path / "x", X, "npy"), T)
        x, t = np.zeros((60, 3, 2), "float32").transpose(0, 2, 1), np.zeros(120, np.uint8)[::2]
        shards.read(np.arange(len(shards.sizes)), x, t)
        assert np.array_equal(x, X) and np.array_equal(t, T)

    def test_large_samples_are_converted_one_at_a_time(self, tmp_path):
        x = np.arange(600_000, dtype=np.float64).reshape(2, 300_000)
        assert same(Shards(write(tmp_path / "x", x, "idx"), T[:2]), x, T[:2])


class TestPieces:
    @given(
        st.lists(st.integers(0, 9), min_size=1, max_size=5),
        st.integers(0, 9),
        st.integers(1, 60),
        st.sampled_from([1, 2, 3, 5]),
        st.sampled_from(["files", "arrays", "chunked"]),
        st.integers(0, 99),
    )
    def test_anything_is_read_back(self, lengths, other, buffer, chunk, source, seed):
        n = sum(lengths)
        x, t = X[: n + 1], T[: n + 1]
        with tempfile.TemporaryDirectory() as folder:
            parts = np.split(x, np.cumsum(lengths))
            if source == "files":
                given = cut(x, lengths, Path(folder), "npy")
            else:
                given = [Chunked(part, chunk) for part in parts] if source == "chunked" else parts
            targets = np.split(t, [min(other, n)])
            try:
                shards = Shards(given, targets, buffer=buffer)
            except ValueError as error:
                assert "can only be read together" in str(error) and source == "chunked" and buffer < chunk
                return
            assert shards.buffer == min(buffer, n + 1)
            assert same(shards, x, t, seed)
            edges = set(np.cumsum(shards.sizes))
            assert edges >= (set(np.cumsum([len(part) for part in parts])) | {min(other, n)}) - {0}

    def test_size(self):
        assert set(Shards(np.zeros((1600, 2)), np.zeros(1600), buffer=160).sizes) == {10}
        assert Shards(np.zeros((100, 2)), np.zeros(100), buffer=1000).buffer == 100
        assert Shards(np.zeros((9, 1 << 20)), np.zeros(9)).buffer == 3  # 8 MiB each
        assert Shards(np.zeros((2, 6 << 20)), np.zeros(2)).buffer == 1

    def test_whole_chunks(self):
        x = Chunked(np.zeros((1000, 2)), 16)
        sizes = Shards(x, np.zeros(1000), buffer=800).sizes  # a sixteenth would be 50
        assert sizes.tolist() == [48] * 20 + [40]
        assert set(Shards(x, Chunked(np.zeros(1000), 24), buffer=800).sizes) == {48, 40}
        assert Shards(x, np.zeros(1000), buffer=16).sizes[0] == 16
        assert Shards(Chunked(np.zeros((8, 1 << 21)), 4), np.zeros(8)).buffer == 4  # more than 32 MiB

    def test_no_chunk_is_read_twice(self):
        x = Chunked(np.zeros((1000, 2)), 16)
        read_all(Shards(x, np.zeros(1000), buffer=100), np.random.default_rng(0))
        chunks = [i for first, last in x.asked for i in range(first // 16, -(-last // 16))]
        assert sorted(chunks) == list(range(63))

    def test_neighbours_are_read_at_once(self):
        x = [Chunked(np.zeros((40, 2)), 1), Chunked(np.zeros((20, 2)), 1)]
        shards = Shards(x, np.zeros(60), buffer=32)
        assert len(shards.sizes) == 30
        buffers = np.empty((60, 2)), np.empty(60)
        assert shards.read(np.r_[17:25, 3, 4, 2], *buffers, start=5) == 27
        assert x[0].asked == [(34, 40), (6, 10), (4, 6)]
        assert x[1].asked == [(0, 10)]

    def test_targets_alone(self):
        x = Chunked(X, 1)
        parts = list(Shards(x, [T[:25], T[25:]], buffer=20).targets())
        assert np.array_equal(np.concatenate(parts), T)
        assert max(map(len, parts)) <= 20
        assert x.asked == []

    def test_no_pieces(self):
        shards = Shards(X, T)
        nothing = np.empty(0, int)
        assert shards.windows(nothing) == []
        assert shards.read(nothing, X.copy(), T.copy(), 7) == 7

    def test_a_gzipped_file_of_samples_is_one_piece(self, tmp_path):
        x, t = write(tmp_path / "x", X, "gzip"), write(tmp_path / "t", T, "gzip")
        assert Shards(x, t).sizes.tolist() == [60]
        assert len(Shards(X, t).sizes) == 20  # of targets it costs little


class Chunked:
    """An array in chunks that remembers what was asked of it."""

    def __init__(self, array, chunk):
        self.array, self.shape, self.dtype = array, array.shape, array.dtype
        self.chunks, self.asked = (chunk, *array.shape[1:]), []

    def __getitem__(self, rows):
        self.asked.append((rows.start, rows.stop))
        return self.array[rows]


class TestRefused:
    @pytest.mark.parametrize(
        ("x", "t", "options", "error", "message"),
        [
            (
                X,
                T[:9],
                {},
                ValueError,
                r"x has 60 samples, shape \(60, 2, 3\), but t has 9, shape \(9,\): pass a target",
            ),
            (X[:0], T[:0], {}, ValueError, r"x is empty, shape \(0, 2, 3\): pass at least one sample"),
            ([], T, {}, ValueError, "x is an empty list: pass at least one array or path"),
            (X[:, :0], T, {}, ValueError, r"x has shape \(60, 0, 3\), expected samples"),
            (X, np.asarray(1), {}, ValueError, r"t has shape \(\), expected samples"),
            (X > 0, T, {}, TypeError, "x has dtype bool, expected integers or floating-point numbers: convert it"),
            (X, T.astype(str), {}, TypeError, "t has dtype <U3, expected integers"),
            (X, T.astype(object), {}, TypeError, "t has dtype object"),
            (3, T, {}, TypeError, r"x is of type int, expected an array .* a path, a pattern"),
            ([X, [1, 2]], T, {}, TypeError, r"x\[1\]\[0\] is of type int"),
            (
                [X[:9], X[9:, 0]],
                T,
                {},
                ValueError,
                r"x\[1\] has samples of shape \(3,\) and dtype float32, but x\[0\]",
            ),
            (X, [T[:9], T[9:].astype(int)], {}, ValueError, r"t\[1\] has samples of shape \(\) and dtype int64, but"),
            (X, T, {"buffer": 0}, ValueError, "buffer must be an integer of at least 1, got 0"),
            (X, T, {"buffer": 2.0}, TypeError, "buffer must be an integer of at least 1, got 2.0"),
            (X, T, {"buffer": True}, TypeError, "buffer must be an integer of at least 1, got True"),
            (
                Chunked(X, 20),
                T,
                {"buffer": 9},
                ValueError,
                "buffer=9 is less than 20, .* of x: pass buffer=20 or more",
            ),
        ],
    )
    def test_arguments(self, x, t, options, error, message):
        with pytest.raises(error, match=f"^Shards: {message}"):
            Shards(x, t, **options)

    def test_paths(self, tmp_path):
        (tmp_path / "empty").mkdir()
        for path in ("nowhere", "nowhere/x.npy"):
            with pytest.raises(FileNotFoundError, match=f"^Shards: x: there is no file {re.escape(str(tmp_path))}"):
                Shards(tmp_path / path, T)
        for path in ("empty", "x-*.npy"):
            with pytest.raises(
                FileNotFoundError, match=r"^Shards: x: .* has no files: check the path, or the pattern"
            ):
                Shards(tmp_path / path, T)
        with pytest.raises(
            ValueError, match=r"^Shards: x: .*empty is a folder, expected .npy and IDX files: pass its"
        ):
            Shards(tmp_path, T)

    @pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="named pipes are POSIX's")
    def test_pipe_does_not_block(self, tmp_path):
        os.mkfifo(tmp_path / "pipe")
        with pytest.raises(FileNotFoundError, match="no file"):
            Shards(tmp_path / "pipe", T)

    def test_nothing_is_unpickled(self, tmp_path):
        np.save(tmp_path / "x.npy", np.asarray([print, {}], dtype=object), allow_pickle=True)
        with pytest.raises(ValueError, match=r"x\.npy cannot be used.*Python objects, which are never unpickled"):
            Shards(tmp_path / "x.npy", T[:2])
        np.savez(tmp_path / "x.npz", X)
        with pytest.raises(ValueError, match=r"x\.npz cannot be used, expected a .npy or IDX file of numbers"):
            Shards(tmp_path / "x.npz", T)

    @pytest.mark.parametrize("change", [lambda data: data[:-1], lambda data: data + b"1", lambda data: data[:50]])
    @pytest.mark.parametrize("form", ["npy", "fortran", "idx", "gzip"])
    def test_cut_and_extended(self, form, change, tmp_path):
        path = write(tmp_path / "some-file", X, form)
        path.write_bytes(change(path.read_bytes()))
        with pytest.raises(ValueError, match=r"some-file (cannot be used|is damaged)|some-file does not hold"):
            read_all(Shards(path, T))

    @given(st.integers(0, 200), st.integers(1, 255))
    def test_a_wrong_byte_in_a_header(self, where, change):
        with tempfile.TemporaryDirectory() as folder:
            path = write(Path(folder) / "x", X, "npy")
            data = bytearray(path.read_bytes())
            data[where] ^= change
            path.write_bytes(data)
            try:
                shards = Shards(path, T)
            except (ValueError, TypeError) as error:
                assert str(error).startswith("Shards: x")  # names the argument
            else:
                assert read_all(shards)[0].nbytes == X.nbytes

    @pytest.mark.parametrize("shape", [(-60, -6), (-1, 2), (10**30, 2), (2**63, 1)], ids=str)
    def test_a_lying_header(self, shape, tmp_path):
        with open(tmp_path / "x", "wb") as file:
            np.lib.format.write_array_header_1_0(file, {"descr": "<f4", "fortran_order": False, "shape": shape})
            file.write(X.tobytes())
        with pytest.raises(ValueError, match=r"x cannot be used.*its header announces shape"):
            Shards(tmp_path / "x", T)

    @pytest.mark.parametrize("form", FORMS)
    def test_changed_between(self, form, tmp_path):
        path = write(tmp_path / "x", X, form)
        shards = Shards(path, T)
        os.truncate(path, path.stat().st_size - 1)
        with pytest.raises(
            ValueError, match=r"^Shards: x: .*x does not hold what its header announced.*\(60, 2, 3\)"
        ):
            read_all(shards)
        path.unlink()
        with pytest.raises(FileNotFoundError, match=r"^Shards: x: .*x is gone: leave the files where they are"):
            read_all(shards)

    def test_gzip_that_does_not_hold_what_it_says(self, tmp_path):
        whole = idx(X)
        for data, message in (
            (gzip.compress(whole[:-1]), "does not hold"),
            (gzip.compress(whole + b"1"), "does not hold"),
            (gzip.compress(whole)[:-5] + bytes(5), "damaged"),
        ):
            (tmp_path / "x").write_bytes(data)
            with pytest.raises(ValueError, match=f"^Shards: .*{message}"):
                read_all(Shards(tmp_path / "x", T))

    def test_rows_that_an_array_does_not_give(self):
        x = Chunked(X, 1)
        shards = Shards(x, T)
        x.array = X[:50]
        with pytest.raises(ValueError, match=r"^Shards: x gave rows of shape"):
            read_all(shards)

    def test_arrays_to_read_into(self):
        shards = Shards(X, T)
        every = np.arange(len(shards.sizes))
        with pytest.raises(
            ValueError, match=r"x has shape \(60, 2, 3\), expected at least \(61, 2, 3\) .* from row 1 on"
        ):
            shards.read(every, X.copy(), np.empty(61), 1)
        with pytest.raises(ValueError, match=r"t has shape \(60, 1\), expected at least \(60,\)"):
            shards.read(every, X.copy(), np.empty((60, 1)))


class TestMemory:
    @pytest.mark.parametrize("form", ["npy", "idx", "gzip"])
    def test_reading_takes_little_beside_what_is_read_into(self, form, tmp_path):
        x = np.arange(4_000_000, dtype=np.int32).reshape(1000, 4000)
        path, t = write(tmp_path / "x", x, form), np.zeros(1000, np.int32)
        out, targets = np.empty_like(x), np.empty(1000, int)
        tracemalloc.start()
        try:
            shards = Shards(path, t, buffer=1000)
            shards.read(np.arange(len(shards.sizes)), out, targets)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert np.array_equal(out, x)
        assert peak < 3_000_000

    @pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="counts open files in /proc")
    def test_no_file_stays_open(self, tmp_path):
        before = len(os.listdir("/proc/self/fd"))
        shards = Shards(cut(X, [1] * 50, tmp_path, "npy"), T)
        assert same(shards)
        assert len(os.listdir("/proc/self/fd")) == before


def threads():
    return [thread for thread in threading.enumerate() if thread.name.startswith("xpnet-ahead")]


def gone(seconds=5.0):
    end = time.monotonic() + seconds
    while threads() and time.monotonic() < end:
        time.sleep(0.005)
    return not threads()


class TestAhead:
    def test_order_and_thread(self):
        made = list(ahead(partial(lambda i: (i, threading.current_thread().name), i) for i in range(20)))
        assert [i for i, _ in made] == list(range(20))
        assert len({name for _, name in made}) == 1 and made[0][1].startswith("xpnet-ahead")
        assert gone()
        assert list(ahead([])) == []

    def test_at_most_one_is_made_ahead(self):
        begun, taken = [], 0
        ready = [threading.Event() for _ in range(6)]

        def maker(i):
            begun.append(i)
            ready[i].set()
            return i

        for i in ahead(partial(maker, i) for i in range(6)):
            taken += 1
            if i < 5:
                assert ready[i + 1].wait(5)  # made meanwhile
            time.sleep(0.01)
            assert len(begun) <= taken + 1

    def test_error(self):
        def fail():
            raise OSError("no disk")

        found = ahead([lambda: 1, fail, lambda: 2])
        assert next(found) == 1
        with pytest.raises(OSError, match="no disk"):
            next(found)
        assert list(found) == []
        assert gone()

    def test_early_end(self):
        begun, go_on = [], threading.Event()

        def maker(i):
            begun.append(i)
            if i:
                go_on.wait(5)
            return i

        found = ahead(partial(maker, i) for i in range(9))
        assert next(found) == 0
        start = time.monotonic()
        found.close()  # while the next is being made
        assert time.monotonic() - start < 1
        go_on.set()
        assert gone()
        assert len(begun) <= 2

    @pytest.mark.skipif(os.name == "nt", reason="a signal of POSIX")
    def test_interrupt_while_it_waits(self):
        go_on = threading.Event()

        def maker():
            os.kill(os.getpid(), signal.SIGINT)  # Ctrl-C, while the consumer waits for this
            go_on.wait(5)

        start = time.monotonic()
        with pytest.raises(KeyboardInterrupt):
            list(ahead([maker, maker]))
        assert time.monotonic() - start < 2
        go_on.set()
        assert gone()

    def test_shards_are_read_in_it(self, tmp_path):
        shards = Shards(cut(X, [20, 20], tmp_path, "npy"), T, buffer=16)
        windows = shards.windows(np.random.default_rng(0).permutation(len(shards.sizes)))

        def maker(window):
            x, t = np.empty((16, 2, 3), "float32"), np.empty(16, int)
            end = shards.read(window, x, t)
            return x[:end], t[:end]

        read = list(ahead(partial(maker, window) for window in windows))
        x, t = (np.concatenate(parts) for parts in zip(*read, strict=True))
        assert np.array_equal(x, X[t])
        assert sorted(t.tolist()) == list(range(60))


class Broken:
    """An array whose library fails."""

    shape, dtype = (20, 2), np.dtype("float32")

    def __getitem__(self, rows):
        raise RuntimeError("Zstd decompression error:\ninvalid input data")


def test_an_error_of_the_library_of_an_array_is_one_line_that_names_the_array():
    shards = Shards([np.zeros((20, 2), "float32"), Broken()], np.arange(40))
    x, t = np.empty((40, 2), "float32"), np.empty(40, int)
    with pytest.raises(
        OSError, match=r"^Shards: x\[1\] cannot be read: Zstd decompression error: invalid input data$"
    ):
        shards.read(np.arange(len(shards.sizes)), x, t)

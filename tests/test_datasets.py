"""The data sets: every value right, every wrong file refused, no lie in a header believed."""

import gzip
import hashlib
import os
import re
import struct
import tempfile
import tracemalloc
from collections.abc import Callable
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import assume, given, strategies as st
from hypothesis.extra import numpy as hnp

import xpnet
from xpnet import datasets
from xpnet.cli import main
from xpnet.datasets import load_mnist, read_idx, registry, scale_images

CODES = {"uint8": 0x08, "int8": 0x09, "int16": 0x0B, "int32": 0x0C, "float32": 0x0D, "float64": 0x0E}
FILES = ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1")
Array = npt.NDArray[Any]


def header(code: int, *shape: int) -> bytes:
    return struct.pack(f">4B{len(shape)}I", 0, 0, code, len(shape), *shape)


def encode(array: Array) -> bytes:
    return header(CODES[array.dtype.name], *array.shape) + array.astype(array.dtype.newbyteorder(">")).tobytes()


def read_bytes(data: bytes, **expected: Any) -> Array:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "file"
        path.write_bytes(data)
        return read_idx(path, **expected)


def same(found: Array, stored: Array) -> bool:
    """Equal in shape, type and every bit, NaNs and signed zeros too."""
    return (found.shape, found.dtype, found.tobytes()) == (stored.shape, stored.dtype, stored.tobytes())


def kind(array: Array) -> tuple[tuple[int, ...], str]:
    return array.shape, array.dtype.name


arrays = st.sampled_from(sorted(CODES)).flatmap(
    lambda dtype: hnp.arrays(dtype, hnp.array_shapes(min_dims=1, max_dims=5, min_side=0, max_side=4))
)
IMAGE = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
PLAIN = encode(IMAGE)
ZIPPED = gzip.compress(PLAIN, mtime=0)


class TestReadIdx:
    @given(arrays, st.booleans())
    def test_round_trip(self, array: Array, zipped: bool) -> None:
        data = encode(array)
        found = read_bytes(gzip.compress(data) if zipped else data, ndim=array.ndim, dtype=array.dtype)
        assert same(found, array)
        assert found.dtype.isnative
        assert found.flags.writeable
        assert found.flags.c_contiguous
        assert found.flags.aligned

    def test_most_dimensions(self) -> None:
        array = np.full((1,) * 64, 7, dtype=np.int16)
        assert same(read_bytes(encode(array)), array)

    def test_several_chunks(self) -> None:
        array = np.arange(300_001, dtype=np.int32)
        assert same(read_bytes(encode(array)), array)
        assert same(read_bytes(gzip.compress(encode(array))), array)
        incompressible = np.frombuffer(np.random.default_rng(0).bytes(700_000), dtype=np.uint8)
        assert same(read_bytes(gzip.compress(encode(incompressible))), incompressible)

    def test_members_and_padding(self) -> None:
        """Gzip files may be concatenated, and padded with zeros."""
        data = gzip.compress(PLAIN[:5]) + gzip.compress(b"") + gzip.compress(PLAIN[5:]) + bytes(600_000)
        assert same(read_bytes(data), IMAGE)

    def test_name_says_nothing(self, tmp_path: Path) -> None:
        (tmp_path / "plain.gz").write_bytes(PLAIN)
        (tmp_path / "zipped").write_bytes(ZIPPED)
        assert same(read_idx(tmp_path / "plain.gz"), IMAGE)
        assert same(read_idx(str(tmp_path / "zipped")), IMAGE)

    @pytest.mark.parametrize("dtype", [np.uint8, "uint8", np.dtype("u1")])
    def test_expected(self, dtype: Any) -> None:
        assert same(read_bytes(PLAIN, ndim=3, dtype=dtype), IMAGE)

    def test_expected_in_any_byte_order(self) -> None:
        array = np.asarray([1, -2], dtype=np.int16)
        for dtype in (">i2", "<i2", "=i2"):
            assert same(read_bytes(encode(array), dtype=dtype), array)

    REFUSED = (
        pytest.param(b"", "is empty, expected an IDX header", id="empty"),
        pytest.param(gzip.compress(b""), "is empty, expected an IDX header", id="gzip of nothing"),
        pytest.param(b"\0\0\x08", "not an IDX file, it begins with bytes 00 00 08", id="three bytes"),
        pytest.param(b"\x89PNG\r\n", "not an IDX file, it begins with bytes 89 50 4e 47", id="picture"),
        pytest.param(b"\0\1" + PLAIN[2:], "not an IDX file, it begins with bytes 00 01", id="magic"),
        pytest.param(header(0x0A, 1) + b"1", "unknown type code 0x0a, expected one of 0x08 uint8", id="type"),
        pytest.param(header(0x08) + b"1", "announces 0 dimensions, expected 1 to 64", id="no dimension"),
        pytest.param(header(0x08, *[1] * 65) + b"1", "announces 65 dimensions, expected 1 to 64", id="65 dimensions"),
        pytest.param(PLAIN[:15], "ends within its header, after 15 of 16 bytes", id="half a header"),
        pytest.param(PLAIN[:-1], r"truncated.*24 bytes, but.* at most 23", id="truncated"),
        pytest.param(PLAIN + b"1", r"too long.*24 bytes, but more followed", id="too long"),
        pytest.param(gzip.compress(PLAIN[:-1]), r"truncated.*24 bytes, but 23 followed", id="gzip truncated"),
        pytest.param(gzip.compress(PLAIN + b"1"), r"too long.*24 bytes, but more", id="gzip too long"),
        pytest.param(ZIPPED + ZIPPED, r"too long.*24 bytes, but more", id="gzip twice"),
        pytest.param(ZIPPED[:-9], r"damaged, expected a whole gzip file.*ended before", id="gzip stream cut"),
        pytest.param(ZIPPED[:-1], r"damaged, expected a whole gzip file.*ended before", id="gzip trailer cut"),
        pytest.param(ZIPPED[:5], r"damaged, expected a whole gzip file.*ended before", id="gzip header cut"),
        pytest.param(
            ZIPPED[:-8] + bytes(4) + ZIPPED[-4:],
            r"damaged, expected a whole gzip file.*CRC check",
            id="gzip CRC",
        ),
        pytest.param(ZIPPED[:-4] + bytes(4), r"damaged.*Incorrect length", id="gzip length"),
        pytest.param(ZIPPED + b"garbage", r"damaged.*Not a gzipped", id="gzip trailing garbage"),
        pytest.param(gzip.compress(ZIPPED), "not an IDX file, it begins with bytes 1f 8b", id="gzip of gzip"),
        pytest.param(header(0x0E, 0, 2**32 - 1, 2**32 - 1), "too large for any array", id="empty but huge"),
    )

    @pytest.mark.parametrize(("data", "match"), REFUSED)
    def test_refused(self, data: bytes, match: str, tmp_path: Path) -> None:
        path = tmp_path / "some-file"
        path.write_bytes(data)
        with pytest.raises(ValueError, match=f"(?s)^read_idx: {re.escape(str(path))} .*{match}"):
            read_idx(path)

    @pytest.mark.parametrize("data", [PLAIN, ZIPPED], ids=["plain", "gzip"])
    def test_unexpected(self, data: bytes) -> None:
        with pytest.raises(ValueError, match=r"holds 3 dimensions, shape \(2, 3, 4\), but ndim=1 was expected"):
            read_bytes(data, ndim=1)
        with pytest.raises(ValueError, match=r"holds uint8, shape \(2, 3, 4\), but dtype=int8 was expected"):
            read_bytes(data, dtype=np.int8)

    def test_missing(self, tmp_path: Path) -> None:
        with pytest.raises(FileNotFoundError, match=r"no file .*nowhere, expected an IDX file.*check the path"):
            read_idx(tmp_path / "nowhere")
        (tmp_path / "file").write_bytes(PLAIN)
        with pytest.raises(FileNotFoundError, match="no file"):
            read_idx(tmp_path / "file" / "below")

    def test_directory(self, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match=r"is a directory, expected an IDX file.*pass the path of a file"):
            read_idx(tmp_path)

    @pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="named pipes are POSIX's")
    def test_pipe_does_not_block(self, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "pipe")
        with pytest.raises(ValueError, match="not a regular file"):
            read_idx(tmp_path / "pipe")


class TestMemory:
    """What a file makes us allocate is what it holds, not what it says."""

    @staticmethod
    def peak(function: Callable[[], object]) -> int:
        tracemalloc.start()
        try:
            function()
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    @pytest.mark.parametrize("zipped", [False, True])
    @pytest.mark.parametrize(
        "shape", [(10**5, 10**5, 10**5), (2**32 - 1,) * 2, (2**32 - 1,) * 64, (2**31,), (10**8,)], ids=str
    )
    def test_lying_header(self, shape: tuple[int, ...], zipped: bool, tmp_path: Path) -> None:
        path = tmp_path / "liar"
        data = header(0x0E, *shape) + bytes(100)
        path.write_bytes(gzip.compress(data) if zipped else data)

        def refused() -> None:
            with pytest.raises(ValueError, match=r"truncated.*holds at most|too large for any array"):
                read_idx(path)

        assert self.peak(refused) < 2_000_000

    def test_lie_within_what_gzip_could_hold(self, tmp_path: Path) -> None:
        """A 400 kB file could inflate to 400 MB, so that only reading it tells."""
        path = tmp_path / "liar"
        path.write_bytes(gzip.compress(header(0x08, 400_000_000) + np.random.default_rng(0).bytes(400_000)))

        def refused() -> None:
            with pytest.raises(ValueError, match=r"truncated.*400000000 bytes, but 400000 followed"):
                read_idx(path)

        assert self.peak(refused) < 4_000_000

    def test_too_long_is_seen_before_reading(self, tmp_path: Path) -> None:
        path = tmp_path / "long"
        path.write_bytes(header(0x08, 50_000_000))
        os.truncate(path, 60_000_000)

        def refused() -> None:
            with pytest.raises(ValueError, match=r"too long.*50000000 bytes, but more followed"):
                read_idx(path)

        assert self.peak(refused) < 2_000_000

    def test_bomb(self, tmp_path: Path) -> None:
        """100 MB behind a header of 24 elements: refused with no more than a buffer of it inflated."""
        path = tmp_path / "bomb"
        path.write_bytes(gzip.compress(PLAIN + bytes(100_000_000), compresslevel=1))

        def refused() -> None:
            with pytest.raises(ValueError, match="too long"):
                read_idx(path)

        assert self.peak(refused) < 4_000_000

    @pytest.mark.parametrize("zipped", [False, True])
    def test_peak_is_the_array(self, zipped: bool, tmp_path: Path) -> None:
        array = np.arange(2_000_000, dtype=np.int32)
        path = tmp_path / "file"
        path.write_bytes(gzip.compress(encode(array), compresslevel=1) if zipped else encode(array))
        assert self.peak(lambda: read_idx(path)) < 1.3 * array.nbytes + 1_000_000

    def test_mnist(self) -> None:
        """The float32 images, and beside them one set of bytes."""
        assert self.peak(load_mnist) < 70_000 * 784 * 4 + 1.3 * 60_000 * 784 + 5_000_000


class TestFuzz:
    """Whatever comes: the exact array, or a ValueError."""

    @staticmethod
    def check(data: bytes, expected: Array | None = None) -> None:
        try:
            found = read_bytes(data)
        except ValueError:
            return
        try:
            content = gzip.decompress(data)
        except gzip.BadGzipFile:
            content = data
        assert encode(found) == content
        if expected is not None:
            assert same(found, expected)

    @given(st.binary(max_size=200))
    def test_anything(self, data: bytes) -> None:
        self.check(data)

    @given(st.sampled_from(sorted(CODES.values())), st.integers(0, 255), st.binary(max_size=60), st.booleans())
    def test_anything_after_magic(self, code: int, ndim: int, rest: bytes, zipped: bool) -> None:
        data = bytes([0, 0, code, ndim]) + rest
        self.check(gzip.compress(data) if zipped else data)

    @given(arrays, st.booleans(), st.integers(0), st.integers(1, 255))
    def test_one_byte_wrong(self, array: Array, zipped: bool, where: int, change: int) -> None:
        data = bytearray(gzip.compress(encode(array), mtime=0) if zipped else encode(array))
        data[where % len(data)] ^= change
        self.check(bytes(data), array if zipped and data[:2] == b"\x1f\x8b" else None)

    @given(arrays, st.booleans(), st.integers(0))
    def test_cut(self, array: Array, zipped: bool, length: int) -> None:
        data = gzip.compress(encode(array)) if zipped else encode(array)
        with pytest.raises(ValueError, match=r"empty|not an IDX|header|truncated|damaged|dimension"):
            read_bytes(data[: length % len(data)])

    @given(arrays, st.booleans(), st.binary(min_size=1, max_size=20))
    def test_extended(self, array: Array, zipped: bool, more: bytes) -> None:
        if zipped:  # zeros are padding, which gzip allows
            assume(more.strip(b"\0"))
        with pytest.raises(ValueError, match=r"too long|damaged"):
            read_bytes((gzip.compress(encode(array)) if zipped else encode(array)) + more)


def write_set(folder: Path, *, form: str = "{}-ubyte", zipped: bool = False, **changes: Array) -> Path:
    """Four small files: 4 and 2 images of 3 x 2; `changes` by 'train_images' and so on."""
    contents = {
        "train-images-idx3": np.arange(24, dtype=np.uint8).reshape(4, 3, 2) * 11,
        "train-labels-idx1": np.asarray([3, 0, 9, 1], dtype=np.uint8),
        "t10k-images-idx3": np.arange(12, dtype=np.uint8).reshape(2, 3, 2) * 21,
        "t10k-labels-idx1": np.asarray([7, 2], dtype=np.uint8),
    }
    assert tuple(contents) == FILES
    for name, array in contents.items():
        data = encode(changes.get(name.rsplit("-", 1)[0].replace("-", "_"), array))
        (folder / form.format(name)).write_bytes(gzip.compress(data) if zipped else data)
    return folder


class TestPackagedFiles:
    def test_checksums(self) -> None:
        folder = resources.files("xpnet.datasets") / "data"
        lines = (folder / "SHA256SUMS").read_text(encoding="ascii").splitlines()
        sums = {name: sum for sum, name in map(str.split, lines)}
        assert sorted(sums) == sorted(f"{name}-ubyte" for name in FILES)
        for name, expected in sums.items():
            content = gzip.decompress((folder / f"{name}.gz").read_bytes())
            assert hashlib.sha256(content).hexdigest() == expected, name

    def test_licence_lies_beside(self) -> None:
        text = (resources.files("xpnet.datasets") / "data" / "README.md").read_text(encoding="utf-8")
        for needed in ("Yann LeCun", "Corinna Cortes", "Burges", "NIST", "CC BY-SA 3.0"):
            assert needed in text


class TestLoadMnist:
    @pytest.fixture(autouse=True)
    def no_environment(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("XPNET_MNIST", raising=False)

    def test_the_books(self) -> None:
        (x_train, t_train), (x_test, t_test) = load_mnist()
        assert kind(x_train) == ((60000, 784), "float32")
        assert kind(x_test) == ((10000, 784), "float32")
        assert kind(t_train) == ((60000,), "uint8")
        assert kind(t_test) == ((10000,), "uint8")
        assert t_train[:5].tolist() == [5, 0, 4, 1, 9]
        assert t_test[:5].tolist() == [7, 2, 1, 0, 4]
        assert np.bincount(t_train).tolist() == [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
        assert (x_train.min(), x_train.max(), x_test.min(), x_test.max()) == (0, 1, 0, 1)

    def test_variants_agree(self) -> None:
        (x_train, t_train), (x_test, t_test) = load_mnist(normalize=False, flatten=False, one_hot_label=True)
        assert kind(x_train) == ((60000, 1, 28, 28), "uint8")
        assert kind(x_test) == ((10000, 1, 28, 28), "uint8")
        assert kind(t_train) == ((60000, 10), "float32")
        assert kind(t_test) == ((10000, 10), "float32")
        assert x_train.mean() == pytest.approx(33.318, abs=1e-3)  # the known mean of MNIST, 0.1307 x 255
        (scaled, labels), (scaled_test, labels_test) = load_mnist()
        assert np.array_equal(scaled, x_train.reshape(60000, 784).astype(np.float32) / 255)
        assert np.array_equal(scaled_test, x_test.reshape(10000, 784).astype(np.float32) / 255)
        assert np.array_equal(t_train, np.arange(10) == labels[:, None])
        assert np.array_equal(t_test, np.arange(10) == labels_test[:, None])

    @pytest.mark.parametrize("form", ["{}-ubyte", "{}-ubyte.gz"])
    @pytest.mark.parametrize("dotted", [False, True])
    @pytest.mark.parametrize("zipped", [False, True])
    def test_path(self, form: str, dotted: bool, zipped: bool, tmp_path: Path) -> None:
        write_set(tmp_path, form=form, zipped=zipped)
        if dotted:
            for path in tmp_path.iterdir():
                path.rename(path.with_name(path.name.replace("-idx", ".idx")))
        (x_train, t_train), (x_test, t_test) = load_mnist(normalize=False, path=tmp_path)
        assert x_train.tolist() == (np.arange(24).reshape(4, 6) * 11).tolist()
        assert x_test.tolist() == (np.arange(12).reshape(2, 6) * 21).tolist()
        assert (t_train.tolist(), t_test.tolist()) == ([3, 0, 9, 1], [7, 2])
        assert load_mnist(flatten=False, path=str(tmp_path))[0][0].shape == (4, 1, 3, 2)

    def test_environment(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("XPNET_MNIST", str(write_set(tmp_path)))
        assert load_mnist()[0][0].shape == (4, 6)
        other = tmp_path / "other"
        other.mkdir()
        write_set(other, train_labels=np.asarray([8, 8, 8, 8], dtype=np.uint8))
        assert load_mnist(path=other)[0][1].tolist() == [8, 8, 8, 8]
        monkeypatch.setenv("XPNET_MNIST", "")
        assert load_mnist()[0][0].shape == (60000, 784)

    def test_environment_wrong(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("XPNET_MNIST", str(tmp_path / "nowhere"))
        with pytest.raises(FileNotFoundError, match=r"^load_mnist: XPNET_MNIST is .*nowhere, which does not exist"):
            load_mnist()

    def test_the_folder_comes_first_and_options_are_named(self, tmp_path: Path) -> None:
        assert load_mnist(write_set(tmp_path))[0][0].shape == (4, 6)
        with pytest.raises(TypeError, match="path must be a folder, got True; name the options"):
            load_mnist(True)  # type: ignore[arg-type]
        with pytest.raises(TypeError, match="positional"):
            load_mnist(None, False)  # type: ignore[misc]

    def test_more_classes(self, tmp_path: Path) -> None:
        write_set(tmp_path, train_labels=np.asarray([26, 1, 2, 3], dtype=np.uint8))
        (_, t_train), (_, t_test) = load_mnist(one_hot_label=True, path=tmp_path)
        assert (t_train.shape, t_test.shape) == ((4, 27), (2, 27))
        assert (t_train.argmax(axis=1).tolist(), t_test.argmax(axis=1).tolist()) == ([26, 1, 2, 3], [7, 2])
        assert (t_train.sum(), t_test.sum()) == (4, 2)

    def test_results_are_the_callers(self, tmp_path: Path) -> None:
        write_set(tmp_path)
        for array in sum(load_mnist(normalize=False, path=tmp_path), ()):
            array[...] = 0  # writeable, and not cached
        assert load_mnist(path=tmp_path)[0][1].tolist() == [3, 0, 9, 1]

    def test_folder_wrong(self, tmp_path: Path) -> None:
        with pytest.raises(FileNotFoundError, match=r"^load_mnist: path is .*nowhere, which does not exist"):
            load_mnist(path=tmp_path / "nowhere")
        write_set(tmp_path)
        with pytest.raises(ValueError, match=r"^load_mnist: path is .*, a file, expected a folder"):
            load_mnist(path=tmp_path / "train-images-idx3-ubyte")

    @pytest.mark.parametrize("name", FILES)
    def test_file_missing(self, name: str, tmp_path: Path) -> None:
        (write_set(tmp_path) / f"{name}-ubyte").unlink()
        with pytest.raises(FileNotFoundError, match=rf"holds none of {name}-ubyte, {name}-ubyte\.gz, .*\.idx"):
            load_mnist(path=tmp_path)

    @pytest.mark.parametrize("name", FILES)
    def test_file_damaged(self, name: str, tmp_path: Path) -> None:
        path = write_set(tmp_path) / f"{name}-ubyte"
        path.write_bytes(path.read_bytes()[:-1])
        with pytest.raises(ValueError, match=f"^load_mnist: cannot use {name}-ubyte: .*truncated"):
            load_mnist(path=tmp_path)

    LABELS = np.zeros(4, dtype=np.uint8)
    REFUSED = (
        (
            {"train_images": LABELS},
            r"cannot use train-images.*holds 1 dimension, .*images and labels exchanged",
        ),
        (
            {"train_labels": IMAGE},
            r"cannot use train-labels.*holds 3 dimensions, .*images and labels exchanged",
        ),
        ({"t10k_images": IMAGE.astype(np.int32)}, "cannot use t10k-images.*holds int32.*dtype=uint8"),
        ({"t10k_labels": LABELS.astype(np.float32)}, "cannot use t10k-labels.*holds float32.*dtype=uint8"),
        (
            {"train_labels": LABELS[:3]},
            r"4 train images, shape \(4, 3, 2\), but 3 train labels, shape \(3,\)",
        ),
        ({"t10k_labels": LABELS}, "2 t10k images.*but 4 t10k labels.*take both files from the same data set"),
        ({"t10k_images": IMAGE}, r"train images of shape \(3, 2\), but t10k images of shape \(3, 4\)"),
        ({"train_labels": LABELS[:0]}, r"train-labels-idx1-ubyte is empty, shape \(0,\)"),
        ({"train_images": IMAGE[:0]}, r"train-images-idx3-ubyte is empty, shape \(0, 3, 4\)"),
        ({"t10k_images": IMAGE[:, :0]}, r"t10k-images-idx3-ubyte is empty, shape \(2, 0, 4\)"),
    )

    @pytest.mark.parametrize(("changes", "match"), REFUSED, ids=lambda value: str(value)[:20])
    def test_mislabelled(self, changes: dict[str, Any], match: str, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match=f"^load_mnist: .*{match}"):
            load_mnist(path=write_set(tmp_path, **changes))

    def test_label_beyond_training(self, tmp_path: Path) -> None:
        write_set(tmp_path, t10k_labels=np.asarray([1, 10], dtype=np.uint8))
        assert load_mnist(path=tmp_path)[1][1].tolist() == [1, 10]
        with pytest.raises(ValueError, match="t10k label 10, but the train labels make 10 classes, 0 to 9"):
            load_mnist(one_hot_label=True, path=tmp_path)


class TestRegistry:
    @pytest.fixture(autouse=True)
    def loaders(self, monkeypatch: pytest.MonkeyPatch) -> None:
        datasets.names()  # imports the modules that register others, before the copy
        monkeypatch.setattr(registry, "_LOADERS", dict(registry._LOADERS))

    def test_a_dataset_is_trained_on_by_its_name(self, capsys: pytest.CaptureFixture[str]) -> None:
        rng = np.random.default_rng(0)
        images, labels = rng.integers(0, 256, (60, 1, 4, 4), dtype="uint8"), rng.integers(0, 3, 60)

        @datasets.register("noise")
        def load_noise() -> Any:
            return (images, labels), (images[:9], labels[:9])

        assert "noise" in datasets.names()
        named = xpnet.train("noise", epochs=2, batch_size=20, progress=False)
        rows = images.reshape(60, 16) / np.float32(255)
        given = xpnet.train(((rows, labels), (rows[:9], labels[:9])), epochs=2, batch_size=20, progress=False)
        np.testing.assert_allclose(named.history.loss, given.history.loss, rtol=1e-6)
        assert named.history.test_accuracy == given.history.test_accuracy
        convolutional = xpnet.Sequential(xpnet.nn.Conv2d(2, 3), xpnet.nn.Dense(3))
        assert xpnet.train("noise", convolutional, epochs=1, progress=False).network.input_shape == (1, 4, 4)
        assert main(["train", "--data", "noise", "--epochs", "1", "--quiet"]) == 0
        assert capsys.readouterr().out.startswith("test accuracy ")

    def test_one_without_a_test_set_and_of_floats(self) -> None:
        datasets.register("corners", lambda: (np.eye(4, dtype="float32"), np.asarray([0, 1, 1, 0])))
        history = xpnet.train("corners", epochs=2, progress=False).history
        assert len(history.train_accuracy) == 3
        assert history.test_accuracy == []

    def test_a_folder_is_loaded_as_mnist_is(self, tmp_path: Path) -> None:
        (x, t), (x_test, _) = datasets.load(write_set(tmp_path))
        assert kind(x) == ((4, 1, 3, 2), "uint8")
        assert (len(t), len(x_test)) == (4, 2)

    def test_an_unknown_name_lists_the_known_ones(self) -> None:
        datasets.register("zebras", lambda: None)
        with pytest.raises(
            ValueError, match="'zebra' is neither a known .*; choose one of .*mnist, .*zebras, or name a folder"
        ):
            datasets.load("zebra")

    def test_a_name_is_given_once(self) -> None:
        with pytest.raises(ValueError, match="dataset 'mnist' is registered already"):
            datasets.register("mnist", lambda: None)
        with pytest.raises(ValueError, match="must be text"):
            datasets.register("", lambda: None)


class TestScaleImages:
    GREY = np.arange(256, dtype=np.uint8).reshape(2, 128)

    @pytest.mark.parametrize("dtype", [np.float32, np.float64])
    def test_numpy(self, dtype: Any) -> None:
        x = self.GREY.copy()
        x.flags.writeable = False
        assert same(scale_images(x, dtype), x.astype(dtype) / dtype(255))

    @pytest.mark.parametrize(
        ("name", "ulp"), [("torch", 0), ("dask.array", 0), ("array_api_strict", 0), ("jax.numpy", 1)]
    )
    def test_other_libraries(self, name: str, ulp: int) -> None:
        """Each keeps its own type, and gives NumPy's numbers (JAX's compiler multiplies by 1/255)."""
        library = pytest.importorskip(name)
        x = library.asarray(self.GREY)
        out = scale_images(x, library.float32)
        assert type(out) is type(x)
        assert out.dtype == library.float32
        np.testing.assert_array_max_ulp(np.asarray(out), self.GREY.astype(np.float32) / 255, maxulp=ulp)

    def test_stays_on_the_device_of_the_images(self, lib: Any) -> None:
        found = scale_images(lib.asarray(self.GREY, "uint8"), "float32")
        assert lib.holds(found)
        np.testing.assert_allclose(lib.numpy(found), self.GREY.astype(np.float32) / 255, rtol=1e-6)

    def test_equals_load_mnist(self, tmp_path: Path) -> None:
        images = np.zeros((4, 8, 32), dtype=np.uint8)
        images[0] = self.GREY.reshape(8, 32)
        write_set(tmp_path, train_images=images, t10k_images=images[:2])
        normalized = load_mnist(path=tmp_path)[0][0]
        raw = load_mnist(normalize=False, path=tmp_path)[0][0]
        assert same(scale_images(raw, np.float32), normalized)

    @pytest.mark.parametrize("dtype", [np.float32, np.bool_])
    def test_refuses_what_is_no_integer(self, dtype: Any) -> None:
        with pytest.raises(TypeError, match=rf"x has dtype {np.dtype(dtype)}, expected integers of 0 to 255"):
            scale_images(np.zeros((2, 2), dtype=dtype), np.float32)

    @pytest.mark.parametrize("dtype", [np.int32, np.complex64, "int32", "float33", None], ids=str)
    def test_refuses_dtype(self, dtype: Any) -> None:
        with pytest.raises(TypeError, match=f"dtype is {re.escape(repr(dtype))}, expected a real floating-point"):
            scale_images(self.GREY, dtype)

    def test_takes_the_name_of_a_dtype_in_any_library(self) -> None:
        assert same(scale_images(self.GREY, "float64"), scale_images(self.GREY, np.float64))
        torch = pytest.importorskip("torch")
        assert scale_images(torch.asarray(self.GREY), "float32").dtype == torch.float32

    def test_refuses_dtype_of_another_library(self) -> None:
        torch = pytest.importorskip("torch")
        with pytest.raises(TypeError, match=r"of the library of x: pass torch\.float32"):
            scale_images(torch.asarray(self.GREY), np.float32)

    def test_refuses_lists(self) -> None:
        with pytest.raises(TypeError):
            scale_images([[1, 2]], np.float32)

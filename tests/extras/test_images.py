"""Digits from image files, and the command that reads them."""

import subprocess
import sys

import numpy as np
import pytest

image = pytest.importorskip("PIL.Image", reason="Pillow is not installed")

import xpnet
from xpnet.datasets.images import read_digit

_, (IMAGES, LABELS) = xpnet.load_mnist()


def written(path, array):
    image.fromarray(array).save(path)
    return path


def bytes_of(i):
    return np.round(255 * IMAGES[i].reshape(28, 28)).astype("uint8")


@pytest.mark.parametrize("suffix", ["png", "bmp", "gif", "tiff"])
@pytest.mark.parametrize("shape", [(784,), (1, 28, 28)])
def test_a_digit_of_mnist_stays_as_it_is_light_on_dark_or_dark_on_light(tmp_path, suffix, shape):
    for page in (bytes_of(0), 255 - bytes_of(0)):
        found = read_digit(written(tmp_path / f"digit.{suffix}", page), shape)
        assert (found.shape, found.dtype) == (shape, "float32")
        np.testing.assert_allclose(found.ravel(), IMAGES[0], atol=1e-6)


def page_of(i, size=6, where=(30, 80)):
    """A large page, dark on light, with a digit somewhere on it."""
    page = np.full((400, 300), 240, dtype="uint8")
    digit = np.kron(255 - bytes_of(i), np.ones((size, size), "uint8"))
    page[where[0] : where[0] + 28 * size, where[1] : where[1] + 28 * size] = np.minimum(digit, 240)
    return page


def test_a_digit_on_a_page_comes_back_as_it_was(tmp_path):
    for i in range(20):
        found = read_digit(written(tmp_path / "page.png", page_of(i)), (784,))
        assert np.corrcoef(found, IMAGES[i])[0, 1] > 0.9, i
        rows = np.nonzero(found.reshape(28, 28).max(axis=1) > 0.3)[0]
        assert rows[-1] - rows[0] <= 20


def test_colours_are_read_as_grey(tmp_path):
    colours = np.stack([bytes_of(0)] * 3, axis=-1)
    np.testing.assert_allclose(read_digit(written(tmp_path / "c.png", colours), (784,)), IMAGES[0], atol=0.01)


def clear(ink, opaque):
    """Ink of one grey on nothing."""
    return np.stack([np.full_like(opaque, ink), opaque], axis=-1)


@pytest.mark.parametrize("ink", [0, 255])
def test_ink_on_nothing_is_read_as_ink_on_paper(tmp_path, ink):
    soft = bytes_of(0)  # as opaque as it is light, with soft edges
    la = clear(ink, soft)
    for page in (la, la[..., [0, 0, 0, 1]]):
        found = read_digit(written(tmp_path / "ink.png", page), (784,))
        np.testing.assert_allclose(found, IMAGES[0], atol=1e-6)
    large = clear(ink, 240 - page_of(0))
    assert np.corrcoef(read_digit(written(tmp_path / "large.png", large), (784,)), IMAGES[0])[0, 1] > 0.9

    hard = np.where(soft > 127, 1, 0).astype("uint8")
    palette = image.fromarray(hard).convert("P")
    palette.putpalette([0, 255, 0, ink, ink, ink])
    palette.save(tmp_path / "palette.png", transparency=0)
    np.testing.assert_allclose(read_digit(tmp_path / "palette.png", (784,)), hard.ravel(), atol=1e-6)


def test_what_the_file_says_of_16_bits_and_of_the_way_up_is_heeded(tmp_path):
    for page in (bytes_of(0), 255 - bytes_of(0)):
        for suffix in ("png", "tiff"):
            path = written(tmp_path / f"deep.{suffix}", page.astype("uint16") * 257)
            np.testing.assert_allclose(read_digit(path, (784,)), IMAGES[0], atol=1e-6)
    exif = image.Exif()
    exif[0x0112] = 6  # to be turned a quarter clockwise
    path = tmp_path / "turned.jpg"
    image.fromarray(np.rot90(page_of(0))).save(path, exif=exif, quality=95)
    expected = read_digit(written(tmp_path / "page.png", page_of(0)), (784,))
    assert np.corrcoef(read_digit(path, (784,)), expected)[0, 1] > 0.99


@pytest.mark.parametrize("limit", [400 * 300 - 1, 400 * 300 // 2 - 1], ids=["warned", "refused"])
def test_an_image_that_is_too_large_is_refused_by_its_name(tmp_path, limit, monkeypatch):
    path = written(tmp_path / "page.png", page_of(0))
    monkeypatch.setattr(image, "MAX_IMAGE_PIXELS", limit)
    with pytest.raises(ValueError, match=r"page.png: cannot be read as an image \(Image size \(120000 pixels\)"):
        read_digit(path, (784,))


@pytest.mark.parametrize("suffix", ["png", "jpg", "gif", "tiff", "bmp"])
def test_an_image_that_is_broken_is_refused_by_its_name(tmp_path, suffix):
    path = written(tmp_path / f"page.{suffix}", page_of(0))
    whole = path.read_bytes()
    for data in (whole[: len(whole) // 2], whole[:20], whole[:60] + b"rubbish" + whole[67 : len(whole) // 3]):
        path.write_bytes(data)
        with pytest.raises(
            ValueError, match=rf"page.{suffix}: (cannot be read as an image|no image that Pillow reads)"
        ):
            read_digit(path, (784,))


def test_what_is_no_digit_is_refused(tmp_path):
    digit = written(tmp_path / "digit.png", bytes_of(0))
    text = tmp_path / "text.png"
    text.write_text("no image")
    for path, shape, error, match in [
        (text, (784,), ValueError, "text.png: no image that Pillow reads"),
        (
            written(tmp_path / "white.png", np.full((50, 50), 255, "uint8")),
            (784,),
            ValueError,
            "nothing is drawn on it",
        ),
        (
            written(tmp_path / "same.png", np.zeros((28, 28), "uint8")),
            (784,),
            ValueError,
            "same.png: nothing is drawn",
        ),
        (written(tmp_path / "clear.png", clear(255, np.zeros((28, 28), "uint8"))), (784,), ValueError, "nothing"),
        (tmp_path / "none.png", (784,), FileNotFoundError, "none.png"),
        (digit, (785,), ValueError, r"samples of shape \(785,\), expected gray images"),
        (digit, (3, 28, 28), ValueError, r"samples of shape \(3, 28, 28\)"),
    ]:
        with pytest.raises(error, match=match):
            read_digit(path, shape)


def test_the_command_reads_digits(tmp_path):
    pytest.importorskip("safetensors")
    model = tmp_path / "model.safetensors"
    network = xpnet.train(epochs=3, progress=False, checkpoint=model).network
    pages = [written(tmp_path / f"{i}.png", page_of(i)) for i in range(40)]
    command = [sys.executable, "-m", "xpnet", "predict", "--model", model]
    lines = subprocess.run([*command, *pages], check=True, capture_output=True, text=True).stdout.splitlines()
    found = np.asarray([int(line.split()[-2]) for line in lines])
    assert (found == LABELS[:40]).mean() > 0.9
    (line,) = subprocess.run(
        [*command, written(tmp_path / "same.png", bytes_of(3))], check=True, capture_output=True, text=True
    ).stdout.splitlines()
    p = network.predict_proba(IMAGES[3])
    assert line.split()[1:] == [str(p.argmax()), f"{p.max():.3f}"]

    refused = subprocess.run([*command, model], capture_output=True, text=True)
    assert refused.returncode == 2
    assert "no image that Pillow reads" in refused.stderr
    refused = subprocess.run([*command[:-1], pages[0], pages[0]], capture_output=True, text=True)
    assert refused.returncode == 2
    assert "not a safetensors file" in refused.stderr

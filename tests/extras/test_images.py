"""Digits from image files, and the command that reads them."""

import subprocess
import sys

import numpy as np
import pytest

image = pytest.importorskip("PIL.Image", reason="Pillow is not installed")

import xpnet
from xpnet.images import read_digit

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
        (tmp_path / "none.png", (784,), FileNotFoundError, "none.png"),
        (digit, (785,), ValueError, r"samples of shape \(785,\), expected grey images"),
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
    assert "no safetensors file" in refused.stderr

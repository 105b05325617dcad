"""Data larger than memory
==========================

Training on ten times the memory that the process may use: every digit of MNIST, shifted to 49 positions.

A network that has seen each digit in one position does not recognize it three pixels further. So the example writes
all images of MNIST to disk at each shift of up to three pixels: 49 files, 2.3 GB. Another process trains on these
files, and may use a tenth of that memory. To load the whole dataset is a MemoryError there; `Shards` reads it one
buffer at a time. (The limit works on Linux only. On other systems the process trains without a limit.) Needs 2.5 GB
of disk while it runs.

::

    python examples/larger_than_memory.py [FOLDER]
"""

import os
import re
import subprocess
import sys
from functools import partial
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

import xpnet
from xpnet.plotting import figure

STEPS = range(-3, 4)
SCALE = partial(xpnet.scale_images, dtype=np.float32)


def shifted(images, down, right):
    """Images of 28 x 28, moved by so many pixels, as rows."""
    padded = np.pad(images.reshape(-1, 28, 28), ((0, 0), (3, 3), (3, 3)))
    return padded[:, 3 - down : 31 - down, 3 - right : 31 - right].reshape(-1, 784)


def write(folder, images, labels):
    """Each shift as a file, one made after the other."""
    for down, right in product(STEPS, STEPS):
        np.save(folder / f"x {down} {right}.npy", shifted(images, down, right))
    np.save(folder / "t.npy", labels)


def under(limit, folder):
    """What the other process does: try to load the set, then train on it."""
    if sys.platform == "linux":
        import resource

        resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
        try:
            np.concatenate([np.load(path, mmap_mode="r") for path in folder.glob("x *.npy")])
        except MemoryError:
            print("all of it in memory: a MemoryError")
        else:
            raise AssertionError("the limit does not hold")
    shards = xpnet.Shards(folder / "x *.npy", [folder / "t.npy"] * len(STEPS) ** 2, buffer=10_000)
    test = xpnet.Shards(folder / "test.npy", folder / "test t.npy")
    network = xpnet.train((shards, test), epochs=1, transform=SCALE).network
    np.savez(folder / "params.npz", **network.params)
    if sys.platform == "linux":
        status = Path("/proc/self/status").read_text()
        (folder / "peak").write_text(re.search(r"VmHWM:\s*(\d+)", status)[1] + "000")


def draw(path, accuracies, sizes):
    """The accuracy by the shift, and what was in memory."""
    fig, (left, right) = figure(2, width=4.6, height=3.2)
    for (name, shares), style in zip(accuracies.items(), ("-o", "--s"), strict=True):
        left.plot(range(len(shares)), shares, style, label=name)
    left.set(xlabel="shift of the test digits in pixels", ylabel="accuracy (axis starts at 0.3)", ylim=(0.3, 1))
    left.set_title("A network trained on shifted digits recognizes them", fontsize="medium")
    left.set_xticks(range(len(shares)))
    left.grid(alpha=0.3)
    left.legend(frameon=False, loc="lower left")
    bars = right.barh(list(sizes), sizes.values(), height=0.6, color=["0.4", "0.7", "C1"][: len(sizes)])
    right.bar_label(bars, [f"{size / 1e6:,.0f} MB" for size in sizes.values()], padding=4)
    right.invert_yaxis()
    right.set(xlim=(0, 1.25 * max(sizes.values())), xticks=[])
    right.set_title("Memory of the training on all shifted digits", fontsize="medium")
    right.spines["bottom"].set_visible(False)
    fig.savefig(path)


def main(folder):
    (images, labels), (test_images, test_labels) = xpnet.load_mnist(normalize=False)
    with TemporaryDirectory() as place:
        disk = Path(place)
        write(disk, images, labels)
        np.save(disk / "test.npy", test_images)
        np.save(disk / "test t.npy", test_labels)
        size = sum(path.stat().st_size for path in disk.glob("x *.npy"))
        limit = size // 10
        print(f"{size / 1e6:,.0f} MB on disk; a process that may have {limit / 1e6:.0f} MB:", flush=True)
        threads = dict.fromkeys(
            ["OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"], "1"
        )  # each takes some
        here = under.__code__.co_filename  # __file__, also where the site runs this
        command = [sys.executable, here, "under", str(limit), place]
        subprocess.run(command, env={**os.environ, **threads}, check=True)
        params = dict(np.load(disk / "params.npz"))
        sizes = {"dataset on disk": size, "memory allowed": limit}
        if (disk / "peak").exists():
            sizes["memory used"] = int((disk / "peak").read_text())
            print(f"the most that it had in memory: {sizes['memory used'] / 1e6:.0f} MB")

    data = (images, labels), (test_images, test_labels)
    plain = xpnet.train(data, transform=SCALE, progress=False).network
    moved = xpnet.TwoLayerNet(784, 50, 10)
    moved.params = params
    accuracies = {"trained on the digits of MNIST": [], "trained on 49 shifts of each digit": []}
    print("test digits moved by  trained on 60,000  on 49 shifts of each")
    for far in range(4):
        places = [(down, right) for down, right in product(STEPS, STEPS) if max(abs(down), abs(right)) == far]
        for network, shares in zip((plain, moved), accuracies.values(), strict=True):
            found = [
                xpnet.evaluate(network, shifted(test_images, *by), test_labels, transform=SCALE).accuracy
                for by in places
            ]
            shares.append(float(np.mean(found)))
        print(f"{f'{far} pixels':20}", *(f"{shares[-1]:17.4f}" for shares in accuracies.values()))
    draw(folder / "larger_than_memory.png", accuracies, sizes)

    without, with_all = accuracies.values()
    assert min(with_all) > 0.85 > 0.5 > without[3], "what it has not seen, it does not know"
    assert sizes.get("memory used", 0) < limit


if __name__ == "__main__":
    if sys.argv[1:2] == ["under"]:
        under(int(sys.argv[2]), Path(sys.argv[3]))
    else:
        main(Path(sys.argv[1] if len(sys.argv) > 1 else "."))

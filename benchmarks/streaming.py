"""How long does a step take on a set that stays on disk, against the same set in memory?

The book's network, 784-50-10, NumPy, float32, mini-batches of 100. What is timed is an epoch as `xpnet.fit` goes
through it: shuffling, reading, scaling, updates. The images are stored as bytes, and scaled a mini-batch at a time,
or as float32; in an array in memory, and on disk in each form that `Shards` take, with buffers of the default size.
On disk is MNIST, just written, so that it comes from the system's cache; a larger set is the same files several
times, one after the other. Chunks have 2,000 images; the labels beside Zarr are a npy file.
"""

import json
import re
import resource
import struct
import subprocess
import sys
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import h5py
import numpy as np
import zarr
from harness import Timed, arguments, bars, compare, in_turn, one_thread, report, table

import xpnet
from xpnet.backends import get_backend, read_all
from xpnet.training.samples import samples_of
from xpnet.training.step import Carry, update_step

CHUNKS = (2_000, 784)  # 1.6 MB of bytes, 6.3 MB of float32
LARGE, LARGEST = 5, 20  # times MNIST: what is timed, and what is trained on for the memory
MEMORY = "in memory"
HEAD = (
    "One thread computes and another one reads, so they are not held to one core, as others are. All "
    "in one process, in turn; {} rounds."
)
MEMORY_HEAD = (
    f"`fit` for an epoch on MNIST as float32, once and {LARGEST} times: all that was resident, with Python, NumPy "
    "and two buffers of 34 MB. Of a memory-mapped array, pages of the file count, which the system takes back when "
    "it needs them."
)


def write_files(folder, x, t):
    for i, part in enumerate(np.split(x, 6)):
        np.save(folder / f"x-{i}.npy", part)
    np.save(folder / "t.npy", t)


def write_array(folder, x, t):
    np.save(folder / "x.npy", x)
    np.save(folder / "t.npy", t)


def write_hdf5(folder, x, t):
    with h5py.File(folder / "set.h5", "w") as file:
        file.create_dataset("x", data=x, chunks=CHUNKS)
        file["t"] = t


def write_zarr(folder, x, t, **options):
    zarr.create_array(folder / "x", data=x, chunks=CHUNKS, **options)
    np.save(folder / "t.npy", t)


def write_idx(folder, x, t):
    (folder / "x").mkdir()
    for name, array in (("t", t), *((f"x/{i}", part) for i, part in enumerate(np.split(x, 6)))):
        code = {"uint8": 0x08, "float32": 0x0D}[array.dtype.name]
        head = struct.pack(f">4B{array.ndim}I", 0, 0, code, array.ndim, *array.shape)
        (folder / name).write_bytes(head + array.astype(array.dtype.newbyteorder(">")).tobytes())


def open_hdf5(folder):
    file = h5py.File(folder / "set.h5")
    return file["x"], file["t"]


def open_zarr(folder):
    return zarr.open_array(folder / "x", mode="r"), folder / "t.npy"


FORMS = {  # how the set is written, and how it is opened
    "npy files": (write_files, lambda folder: (folder / "x-*.npy", folder / "t.npy")),
    "memory-mapped": (write_array, lambda folder: tuple(np.load(folder / f"{n}.npy", mmap_mode="r") for n in "xt")),
    "HDF5": (write_hdf5, open_hdf5),
    "Zarr": (partial(write_zarr, compressors=None), open_zarr),
    "Zarr, compressed": (write_zarr, open_zarr),
    "IDX files": (write_idx, lambda folder: (folder / "x", folder / "t")),
}
TRANSFORMS = {"uint8": partial(xpnet.scale_images, dtype=np.float32), "float32": None}


def stored(root, form, dtype, times):
    """A set that is written, so many times over."""
    x, t = FORMS[form][1](Path(root, f"{form} {dtype}"))
    return xpnet.Shards([x] * times, [t] * times)


def epoch_of(data, transform):
    """What makes an epoch of updates as `fit` does, and returns their losses."""
    net, rng = xpnet.TwoLayerNet(784, 50, 10, seed=0), np.random.default_rng(0)
    samples = samples_of("train", data, net, transformed=transform is not None)
    run = get_backend("numpy").repeat(update_step(net.stack, xpnet.SGD(0.1), transform))
    carry = Carry(net.params, {}, {})

    def once():
        nonlocal carry
        losses = []
        for arrays, part in samples.epoch(rng, samples.units, 100):
            for after, loss in run(carry, arrays, part):
                carry = after
                losses.append(loss)
            del arrays  # so that the next buffer can be read into their memory
        return read_all(losses)

    return once


def steps_of(epochs, rounds, title, count):
    """Seconds of a step. The first epoch of each must come as far as the one in memory, but for the order."""
    losses = {name: once() for name, once in epochs.items()}
    for found in losses.values():
        assert len(found) == count
        np.testing.assert_allclose(found[-200:].mean(), losses[MEMORY][-200:].mean(), rtol=0.2)
    times = in_turn({name: Timed(once) for name, once in epochs.items()}, rounds, title, count=1)
    return {name: [seconds / count for seconds in epoch] for name, epoch in times.items()}


def peak(root, form, times):
    """Train on so many times the set; the most memory that this process held, in MB."""
    test = np.zeros((1, 784), np.float32), np.zeros(1, int)
    net = xpnet.TwoLayerNet(784, 50, 10, seed=0)
    xpnet.fit(net, (stored(root, form, "float32", times), test), epochs=1, progress=False)
    status = Path("/proc/self/status")
    if status.exists():  # of this program alone; what Linux counts by the other name began with what started it
        return int(re.search(r"VmHWM:\s*(\d+)", status.read_text())[1]) * 1024 / 1e6
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1e6 if sys.platform == "darwin" else 1e3)


def peaks(root):
    rows = []
    for form in FORMS:
        commands = [[sys.executable, __file__, "peak", json.dumps([root, form, times])] for times in (1, LARGEST)]
        found = [subprocess.run(c, check=True, stdout=subprocess.PIPE, text=True).stdout for c in commands]
        rows.append([form, *(f"{float(text):.0f}" for text in found)])
    size = 60_000 * 784 * 4 / 1e6
    return table(["MB, training on", f"{size:.0f} MB", f"{LARGEST * size:.0f} MB"], rows)


def main():
    rounds = arguments(__doc__).rounds or 11
    one_thread(pinned=False)
    (x, t), _ = xpnet.load_mnist(normalize=False)
    parts = []
    with TemporaryDirectory() as root:
        for dtype, transform in TRANSFORMS.items():
            images = x if transform else np.divide(x, 255, dtype=np.float32)
            for form, (write, _) in FORMS.items():
                folder = Path(root, f"{form} {dtype}")
                folder.mkdir()
                write(folder, images, t)
            for times in (LARGE, 1):
                epochs = {MEMORY: epoch_of((np.tile(images, (times, 1)), np.tile(t, times)), transform)}
                epochs |= {form: epoch_of(stored(root, form, dtype, times), transform) for form in FORMS}
                size = f"{times * images.nbytes / 1e6:.0f} MB"
                steps = steps_of(epochs, rounds, f"{dtype}, {size}", 600 * times)
                if times > 1:
                    parts += [f"## Stored as {dtype}, {size}", bars(steps, [(form, MEMORY, 1.1) for form in FORMS])]
                else:
                    parts += [f"## Stored as {dtype}, {size}: few buffers, of which the first is waited for"]
                parts += [compare(steps, "µs", 1e6, against=MEMORY)]
        parts += ["## The most memory", MEMORY_HEAD, peaks(root)]
    versions = f"h5py {h5py.__version__}, zarr {zarr.__version__}."
    about = __doc__.partition("\n")[2].strip()
    report("streaming", "Sets that stay on disk", about, f"{HEAD.format(rounds)} {versions}", *parts)


if __name__ == "__main__":
    if sys.argv[1:2] == ["peak"]:
        print(peak(*json.loads(sys.argv[2])))
    else:
        main()

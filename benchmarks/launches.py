"""How many kernels, waits and copies does training on a CUDA device take? Counted on the emulated CUDA machine.

A step is one update with a mini-batch of 20. An epoch of `fit` is 15 updates and the evaluation of two datasets.
A matrix product counts as one kernel. A wait is one of the host for the device. The emulated machine runs CuPy's own
code and kernels on the CPU: its counts are CuPy's, and its times mean nothing.
"""

import sys

from harness import HERE, report, table

sys.path.append(str(HERE.parent / "tests"))
from counting import NETWORKS, of_a_fit, of_a_step

# Of commit 44ffcb2, in which the cache of `index_dtype` was mended: without that it did not train on CuPy.
# Of a step: kernels, copies to the device. Of an epoch: waits, copies to the device, and those between its updates.
BEFORE = {
    "784-50-10, SGD": (38, 0, 3, 4, 0),
    "784-50-10, Adam": (98, 0, 3, 4, 0),
    "784-50-10, Adam with cosine decay": (108, 0, 3, 4, 0),
    "784-50-10, SGD with weight decay and clipping": (66, 0, 3, 4, 0),
    "784-50-10, SGD, dropout": (42, 1, 3, 19, 14),
    "784-50-10, SGD, batch normalization": (69, 0, 3, 4, 0),
    "784-50-10, SGD, layer normalization": (67, 0, 3, 4, 0),
    "the book's convolutional network, SGD": (89, 6, 3, 100, 84),
    "two convolutions with padding, SGD": (188, 15, 3, 238, 210),
}
BEFORE_TRAINING = 6  # waits of a `fit` until its first epoch


def main():
    steps, epochs = [], []
    for name in NETWORKS:
        step, fit = of_a_step(name), of_a_fit(name)
        kernels, copies, *of_epoch = BEFORE[name]
        steps.append([name, kernels, step["kernels"], step["waits"], copies, step["to the device"]])
        epoch, between = fit["an epoch"], fit["between updates"]
        now = epoch["waits"], epoch["to the device"], between["to the device"]
        epochs.append([name, *(number for pair in zip(of_epoch, now, strict=True) for number in pair)])
    steps = [[name, *(f"{number:g}" for number in numbers)] for name, *numbers in steps]
    started = (
        f"Until its first epoch, `fit` waits {fit['before training']['waits']} times ({BEFORE_TRAINING} before)."
    )
    copies = (
        "Copies to the device in an epoch: the order of the samples, their numbers in each of the two datasets, the "
        "addresses of the losses for the one read, and the dropout masks."
    )
    head = ["", "kernels before", "now", "waits", "copies to the device before", "now"]
    head_of_epoch = ["", "waits before", "now", "copies to the device before", "now", "between updates before", "now"]
    report(
        "launches",
        "Kernels, waits and copies on a CUDA device",
        __doc__.partition("\n")[2].strip(),
        "*Before* is commit 44ffcb2, the version 0.1.",
        "## A step",
        table(head, steps),
        "## An epoch of `fit`",
        table(head_of_epoch, epochs),
        started,
        copies,
    )


if __name__ == "__main__":
    main()

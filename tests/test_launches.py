"""What training asks of a CUDA device stays within bounds. Counted on the emulated machine, which alone can count."""

import importlib.util

import pytest

pytestmark = [
    pytest.mark.only("cupy"),
    pytest.mark.skipif(
        importlib.util.find_spec("fakecuda") is None, reason="counts on the emulated CUDA machine, which is not here"
    ),
]
KERNELS = {
    "784-50-10, SGD": 25,
    "784-50-10, Adam": 31,
    "784-50-10, Adam with cosine decay": 41,
    "784-50-10, SGD with weight decay and clipping": 53,
    "784-50-10, SGD, dropout": 27,
    "784-50-10, SGD, batch normalization": 37,
    "784-50-10, SGD, layer normalization": 43,
    "the book's convolutional network, SGD": 51,
    "two convolutions with padding, SGD": 90,
}
"""At most so many in one training step."""


@pytest.mark.parametrize("name", KERNELS)
def test_a_step_makes_few_kernels_and_neither_waits_nor_copies(lib, name):
    from launches import of_a_step

    found = of_a_step(name)
    assert found.pop("kernels") <= KERNELS[name]
    assert found == {"waits": 0, "to the device": 0, "to the host": 0}


def test_every_network_has_a_bound(lib):
    from launches import NETWORKS

    assert set(NETWORKS) == set(KERNELS)


@pytest.mark.parametrize("options", [{}, {"validation": 0.1}], ids=str)
@pytest.mark.parametrize("name", ["784-50-10, SGD", "784-50-10, Adam", "the book's convolutional network, SGD"])
def test_an_epoch_waits_once_at_its_end(lib, name, options):
    from launches import of_a_fit

    found = of_a_fit(name, **options)
    within, epoch, before = found["within an epoch"], found["an epoch"], found["before training"]
    assert within["kernels"] > 100
    assert (within["waits"], within["to the device"], within["to the host"]) == (0, 0, 0)
    assert epoch["waits"] == 1
    # The order of the samples, the numbers of those in each set, and the places of the losses for one read.
    assert epoch["to the device"] <= 4 + len(options)
    assert before["waits"] == 2, "the ranges of the labels, and the accuracies before training"


def test_the_masks_of_an_epoch_go_to_the_device_in_one_copy(lib):
    """And those of a shorter mini-batch at the end in another."""
    from launches import of_a_fit

    assert of_a_fit("784-50-10, SGD, dropout")["within an epoch"]["to the device"] == 0
    assert of_a_fit("784-50-10, SGD, dropout", validation=0.1)["within an epoch"]["to the device"] == 1


def test_the_counter_counts(lib):
    import cupy
    import fakecuda
    import numpy as np
    from launches import counted

    with fakecuda.record() as log:
        x = cupy.asarray(np.ones((8, 8), "float32"))
        (x @ x + x).get()
    assert counted(log) == {"kernels": 2, "waits": 1, "to the device": 1, "to the host": 1}

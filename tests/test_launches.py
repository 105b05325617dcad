"""Upper bounds for the kernels, waits and copies of training on a CUDA device. The emulated machine counts them."""

import importlib.util

import pytest

pytestmark = [
    pytest.mark.only("cupy"),
    pytest.mark.skipif(
        importlib.util.find_spec("fakecuda") is None, reason="needs the emulated CUDA machine, to count"
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
"""The most kernels of one training step."""


@pytest.mark.parametrize("name", KERNELS)
def test_a_step_has_few_kernels_and_no_wait_or_copy(lib, name):
    from counting import of_a_step

    found = of_a_step(name)
    assert found.pop("kernels") <= KERNELS[name]
    assert found == {"waits": 0, "to the device": 0, "to the host": 0}


def test_every_network_has_a_bound(lib):
    from counting import NETWORKS

    assert set(NETWORKS) == set(KERNELS)


@pytest.mark.parametrize("options", [{}, {"validation": 0.1}, {"batch_size": 35}], ids=str)
@pytest.mark.parametrize("name", ["784-50-10, SGD", "784-50-10, Adam", "the book's convolutional network, SGD"])
def test_an_epoch_waits_once_and_copies_nothing_between_its_updates(lib, name, options):
    """Also with a shorter mini-batch at its end."""
    from counting import of_a_fit

    found = of_a_fit(name, **options)
    assert found["between updates"].pop("kernels") > 100
    assert found["between updates"] == {"waits": 0, "to the device": 0, "to the host": 0}
    assert found["an epoch"]["waits"] == 1
    # The order of the samples, their numbers in each dataset, and the addresses of the losses for the one read.
    assert found["an epoch"]["to the device"] <= 4 + ("validation" in options)
    assert found["before training"]["waits"] == 2, "the ranges of the labels, and the first accuracies"


def test_the_dropout_masks_of_an_epoch_go_to_the_device_in_one_copy(lib):
    """Those of a shorter mini-batch at its end go in another one."""
    from counting import of_a_fit

    for batch_size, copies in ((20, 0), (35, 1)):
        between = of_a_fit("784-50-10, SGD, dropout", batch_size=batch_size)["between updates"]
        assert (between["to the device"], between["waits"]) == (copies, 0)


def test_the_counter_counts(lib):
    import cupy
    import fakecuda
    import numpy as np
    from counting import counted

    with fakecuda.record() as log:
        x = cupy.asarray(np.ones((8, 8), "float32"))
        (x @ x + x).get()
    assert counted(log) == {"kernels": 2, "waits": 1, "to the device": 1, "to the host": 1}

"""How the examples become pages, by sphinx-gallery."""

import tempfile
from pathlib import Path

from sphinx_gallery.scrapers import figure_rst

PICTURES = Path(tempfile.mkdtemp(prefix="xpnet-pictures-"))
"""Where the examples put theirs."""

READING_ORDER = [
    "numerical_differentiation",
    "gradient_field",
    "gradient_descent",
    "simple_net",
    "apples",
    "apples_and_oranges",
    "gradient_check",
    "written_step",
    "train_mnist",
    "optimizers_valley",
    "optimizers_mnist",
    "initial_weights",
    "batch_normalization",
    "overfitting",
    "learned_filters",
    "search_landscape",
    "hundred_seeds",
    "grid_search",
    "ensemble",
    "dask_search",
    "larger_than_memory",
    "bridges",
    "onnx_training",
    "killed_run",
    "every_backend",
    "inside_other_code",
]

ALT = {
    "numerical_differentiation": (
        "The error of a numerical derivative against its step. It is smallest at a step of about 1e-8 for the "
        "forward difference, and of about 1e-5 for the central difference, whose error is smaller."
    ),
    "gradient_field": "Arrows on a grid. All point to the origin, and they are shorter near it.",
    "gradient_descent": (
        "Circles are the contours of x0² + x1². Points go straight from (-3, 4) to the origin, in steps that "
        "become smaller."
    ),
    "training_curves": (
        "Left: the loss of each update and its mean fall. Right: the accuracies on the training set and the test "
        "set rise together over the epochs."
    ),
    "digits": (
        "Six test digits with right answers, and six with wrong answers, with the network's probability of each "
        "answer."
    ),
    "optimizers_valley": (
        "The path of each of six optimizers in a valley. SGD zigzags, Momentum swings beyond the lowest point and "
        "back, AdaGrad goes almost straight."
    ),
    "optimizers_mnist": (
        "The loss of six optimizers over 600 updates. SGD stays highest, then Momentum and Nesterov; AdaGrad, "
        "RMSprop and Adam are lowest."
    ),
    "initial_weights": (
        "Histograms of the outputs of five layers, for sigmoid, tanh and ReLU and four kinds of initial weights. "
        "With Xavier for sigmoid and tanh, and He for ReLU, the spread changes least."
    ),
    "batch_normalization": (
        "The training accuracy over 20 epochs in eight panels, one for each size of the initial weights. With "
        "batch normalization it rises in all panels, without it in two."
    ),
    "overfitting": (
        "Accuracy on training and test images over 100 epochs in three panels. Without regularization, the "
        "training accuracy goes to 1 and the test accuracy falls; with weight decay and dropout the two stay "
        "close."
    ),
    "learned_filters": (
        "Thirty filters of 5 x 5 weights. Before training they are random, after training they show edges and spots."
    ),
    "confusion": "The confusion matrix of the test digits: a row for each digit, a column for each answer.",
    "misclassified": "Twelve test digits that the network gets wrong, each with its answer and the right digit.",
    "search_landscape": (
        "The accuracy of 1,000 networks in colors, for each learning rate and weight decay. It is best in the "
        "middle, at a learning rate of 0.08 and a weight decay of 0.04, and bad where one of the two is large."
    ),
    "hundred_seeds": (
        "Left: the test accuracy of 100 seeds over 6 epochs. The lines differ most after the first epoch. Right: a "
        "histogram of the accuracies after the last epoch. They lie within three percentage points."
    ),
    "uncertain_digits": (
        "Seven digits, six of them drawn badly, and the mean probability of each answer. It is 1 for the plain "
        "digit; for the others, two or more answers have a probability, with a large spread."
    ),
    "reliability": (
        "The fraction of right answers against their probability, for one network and an ensemble. Both curves are "
        "near the diagonal for digits as they are, and below it for digits that are drawn badly."
    ),
    "grid_search": (
        "Two moons of points and the areas that a network gives to each moon, for three amounts of weight decay: "
        "a ragged border, a smooth one, and a straight one."
    ),
    "dask_search": (
        "Left: the accuracy for each learning rate and number of hidden units. Right: bars that show when each of "
        "two workers trained which network."
    ),
    "larger_than_memory": (
        "Left: accuracy against the shift of the test digits. It falls for the network trained on plain MNIST, "
        "and stays high for the one trained on shifted digits. Right: the sizes of the dataset, of the memory "
        "allowed, and of the memory used."
    ),
}
"""What each picture shows, for those who do not see it. A picture that has no text here is an error."""


class ReadingOrder:
    """The place of an example in the gallery; one that has none is an error."""

    def __init__(self, folder):
        pass

    def __call__(self, filename):
        return READING_ORDER.index(Path(filename).stem)


def folder_of_pictures(gallery_conf, script_vars):
    """The argument that an example is run with."""
    return [str(PICTURES)]


def saved_pictures(block, block_vars, gallery_conf):
    """Take the pictures that an example has just saved into the gallery."""
    taken = ""
    for picture in sorted(PICTURES.glob("*.png"), key=lambda path: path.stat().st_mtime_ns):
        place = next(block_vars["image_path_iterator"])
        Path(place).write_bytes(picture.read_bytes())
        picture.unlink()
        taken += figure_rst([place], gallery_conf["src_dir"], ALT[picture.stem])
    return taken

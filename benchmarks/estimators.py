"""How long does an epoch of the estimators take, against scikit-learn's own?

MNIST, 60,000 images as float32, a hidden layer of 50, mini-batches of 100: one `partial_fit` over all of it, from the
same random state, so that both make the same steps. What is measured is all of the call, with its checks of the data.
"""

import warnings

import numpy as np
import sklearn.neural_network as theirs
from harness import Timed, arguments, bars, compare, in_turn, one_thread, report

import xpnet
from xpnet.sklearn import MLPClassifier

SOLVERS = {"SGD with Nesterov's momentum": {"solver": "sgd"}, "Adam": {"solver": "adam"}}


def epoch_of(build, options, x, t):
    """One pass over the data."""
    model = build((50,), batch_size=100, random_state=0, **options)
    model.partial_fit(x, t, classes=np.arange(10))
    return model, lambda: model.partial_fit(x, t)


def main():
    rounds = arguments(__doc__).rounds or 9
    one_thread()
    warnings.simplefilter("ignore")
    (x, t), _ = xpnet.load_mnist()
    parts = []
    for title, options in SOLVERS.items():
        ours, our_epoch = epoch_of(MLPClassifier, options, x, t)
        own, their_epoch = epoch_of(theirs.MLPClassifier, options, x, t)
        np.testing.assert_allclose(ours.loss_, own.loss_, rtol=1e-4)
        contenders = {"xpnet, NumPy": Timed(our_epoch), "scikit-learn": Timed(their_epoch)}
        times = in_turn(contenders, rounds, title, count=1)
        parts += [f"## {title}", bars(times, [("xpnet, NumPy", "scikit-learn", 1.0)]), compare(times, "s")]
    head = f"One thread, both in one process, in turn; {rounds} rounds."
    report("estimators", "Estimators", __doc__.partition("\n")[2].strip(), head, *parts)


if __name__ == "__main__":
    main()

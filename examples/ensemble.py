"""The uncertainty of an ensemble
==============================

20 networks read digits that are drawn badly. How sure are they, and are they right as often as they say?

`xpnet.sklearn.MLPEnsemble` trains the networks at once. They differ in their initial weights and in their
mini-batches. The ensemble's probabilities are the means over its members, and `spread` is the standard deviation over
its members. The training digits are the first 3,000 of MNIST. The test digits are 4,000 others: as they are, with a
part erased, turned, and blended with another digit.

A classifier is *calibrated* if it is right as often as its probabilities say: of all answers with a probability of
0.8, 80% are right. Nothing in the training makes sure of this, so it is measured. The reliability curve shows the
fraction of right answers against the probability of the answer. The expected calibration error (ECE) is the mean
distance of this curve from the diagonal, weighted by the number of answers.

On digits as they are, one member and the ensemble are both nearly calibrated. On digits that are drawn badly, the
spread is about twice as large, so the ensemble notices that something is wrong. But its probabilities are too large,
and only a little better than those of one member: an ensemble is not calibrated by itself.

Needs scikit-learn: pip install '.[sklearn,plot]'

::

    python examples/ensemble.py [FOLDER]
"""

import sys
import warnings
from pathlib import Path

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from xpnet import load_mnist
from xpnet.plotting import figure
from xpnet.sklearn import MLPClassifier, MLPEnsemble

folder = Path(sys.argv[1] if len(sys.argv) > 1 else ".")
rng = np.random.default_rng(0)


def erased(images):
    """Images without a square of 10 x 10 pixels, somewhere near the center."""
    rows, columns = rng.integers(4, 14, (2, len(images), 1, 1))
    i, j = np.arange(28)[:, None], np.arange(28)
    inside = (i >= rows) & (i < rows + 10) & (j >= columns) & (j < columns + 10)
    return np.where(inside, 0, images)


def turned(images):
    """Images that are turned by up to 60 degrees."""
    angles = np.radians(rng.uniform(-60, 60, (len(images), 1, 1)))
    i, j = np.arange(28)[:, None] - 13.5, np.arange(28) - 13.5
    rows = np.rint(np.cos(angles) * i - np.sin(angles) * j + 13.5).astype(int)
    columns = np.rint(np.sin(angles) * i + np.cos(angles) * j + 13.5).astype(int)
    found = images[np.arange(len(images))[:, None, None], rows.clip(0, 27), columns.clip(0, 27)]
    return np.where((rows == rows.clip(0, 27)) & (columns == columns.clip(0, 27)), found, 0)


def blended(images):
    """Images with another digit, which is lighter."""
    return (0.6 * images + 0.4 * images[rng.permutation(len(images))]).astype(images.dtype)


def reliability(p, t, bins=10):
    """For each bin: the mean probability of the answers, the fraction that is right, and the fraction of all."""
    sure, right = p.max(axis=1), p.argmax(axis=1) == t
    bin_of = np.minimum((sure * bins).astype(int), bins - 1)
    counts = np.bincount(bin_of, minlength=bins)
    filled = counts > 0
    means = [np.bincount(bin_of, values, bins)[filled] / counts[filled] for values in (sure, right)]
    return *means, counts[filled] / len(t)


def calibration_error(p, t):
    """The expected calibration error."""
    sure, right, fraction = reliability(p, t)
    return float(np.sum(fraction * np.abs(sure - right)))


(images, labels), (test_images, test_labels) = load_mnist()
test_images, t = test_images[:4000].reshape(-1, 28, 28), test_labels[:4000]
network = MLPClassifier((50,), max_iter=30)
with warnings.catch_warnings():
    warnings.simplefilter("ignore", ConvergenceWarning)  # 30 epochs are enough here
    ensemble = MLPEnsemble(network, n_estimators=20, random_state=0).fit(
        images[:3000].reshape(-1, 784), labels[:3000]
    )
member = ensemble.estimators_[0]

kinds = {"as they are": test_images, "erased": erased(test_images), "turned": turned(test_images)}
kinds["blended"] = blended(test_images)
results = {}
print(f"{'':14}{'accuracy':^20}{'mean probability':^20}{'ECE':^20}{'spread':>8}")
print(f"{'digits':14}" + 3 * f"{'member':>10}{'ensemble':>10}")
for kind, pictures in kinds.items():
    x = pictures.reshape(-1, 784)
    p, spread = ensemble.predict_proba(x), ensemble.spread(x)
    both = member.predict_proba(x), p
    numbers = [np.mean(q.argmax(axis=1) == t) for q in both] + [q.max(axis=1).mean() for q in both]
    numbers += [calibration_error(q, t) for q in both]
    of_answer = spread[np.arange(len(t)), p.argmax(axis=1)]
    print(f"{kind:14}" + "".join(f"{number:10.3f}" for number in numbers) + f"{of_answer.mean():8.3f}")
    results[kind] = both, spread, of_answer

# One digit as it is. Then, of each kind, the two of the first 500 on whose answer the members agree least.
shown = [("as they are", 0)]
shown += [(kind, i) for kind in list(kinds)[1:] for i in np.argsort(-results[kind][2][:500])[:2]]
fig, _ = figure(len(shown), width=1.45, height=3.7)
fig.clear()
for column, (kind, i) in enumerate(shown):
    (_, p), spread, _ = results[kind]
    top, below = fig.add_subplot(2, len(shown), column + 1), fig.add_subplot(2, len(shown), column + len(shown) + 1)
    top.imshow(kinds[kind][i], cmap="gray_r", vmin=0, vmax=1)
    top.set(xticks=[], yticks=[], title=f"{kind}: {t[i]}")
    top.spines[:].set_visible(False)
    colors = ["C0" if digit == t[i] else "0.7" for digit in range(10)]
    below.barh(range(10), p[i], color=colors, xerr=spread[i], error_kw={"elinewidth": 1, "ecolor": "C1"})
    below.set(xlim=(0, 1), ylim=(9.6, -0.6), yticks=range(10), xticks=[0, 0.5, 1], xlabel="probability")
    below.tick_params(labelsize="x-small")
    below.spines[["top", "right"]].set_visible(False)
fig.suptitle("Mean probability of the members (blue: the right digit), and its spread (lines)")
fig.savefig(folder / "uncertain_digits.png")

fig, axes = figure(2, width=4.0, height=3.9)
bad = [results[kind][0] for kind in list(kinds)[1:]]
panels = {"Digits as they are": [results["as they are"][0]], "Digits that are drawn badly": bad}
errors = {}
for ax, (title, pairs) in zip(axes, panels.items(), strict=True):
    ax.plot([0, 1], [0, 1], color="0.6", linestyle=":", label="calibrated")
    for k, (name, style) in enumerate({"one member": "C1s--", "ensemble": "C0o-"}.items()):
        p, targets = np.concatenate([pair[k] for pair in pairs]), np.tile(t, len(pairs))
        sure, right, fraction = reliability(p, targets)
        often = fraction * len(targets) >= 30  # a fraction of few answers is chance
        errors[title, name] = error = calibration_error(p, targets)
        ax.plot(sure[often], right[often], style, label=f"{name}: ECE {error:.3f}", markersize=5)
    ax.set(xlabel="probability of the answer", xlim=(0, 1), ylim=(0, 1), title=title, aspect="equal")
    ax.legend(frameon=False, loc="upper left", fontsize="small")
    ax.grid(alpha=0.3)
axes[0].set_ylabel("fraction of right answers")
fig.savefig(folder / "reliability.png")

plain, badly = panels
one, many = errors[badly, "one member"], errors[badly, "ensemble"]
print(f"ECE of digits that are drawn badly: one member {one:.3f}, ensemble {many:.3f}")
assert errors[plain, "one member"] < 0.03 and errors[plain, "ensemble"] < 0.03, "nearly calibrated"
assert 0.06 < many < one, "too sure of bad digits; the ensemble less than a member"
assert all(results[kind][2].mean() > 1.5 * results["as they are"][2].mean() for kind in list(kinds)[1:])

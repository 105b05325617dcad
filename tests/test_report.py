"""Reports: what the page says of runs of every kind, that it needs nothing else, and what is refused."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from conftest import needs
from test_training import write_mnist

import xpnet
from xpnet import GradientNorms, History, Network, Result, Sequential, Shards, cli, datasets, fit, nn
from xpnet.cli import main
from xpnet.report import charts, curves, findings

VOID = {"meta", "img", "br", "input", "link", "hr"}
RNG = np.random.default_rng(0)


class Page(HTMLParser):
    """A page that is read: its text by element, its tags, and an error where a tag is not closed."""

    def __init__(self, html):
        super().__init__()
        self.html, self.open, self.tags, self.texts = html, [], [], []
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "style" not in self.open and data.strip():
            self.texts.append((self.open[-1], data))

    def named(self, tag, **attributes):
        return [a for t, a in self.tags if t == tag and attributes.items() <= a.items()]

    @property
    def text(self):
        return "".join(data for _, data in self.texts)

    def rows(self, caption):
        """The rows of the table with this caption, as lists of text."""
        table = next(t for t in re.findall(r"<table.*?</table>", self.html) if f"<caption>{caption}" in t)
        return [
            [re.sub("<.*?>", "", cell) for cell in re.findall(r"<t[hd].*?>(.*?)</t[hd]>", row)]
            for row in re.findall(r"<tr.*?</tr>", table)
        ]


def read(path):
    return Page(path.read_text(encoding="utf-8"))


@pytest.fixture
def report(tmp_path):
    def of(result, **options):
        result.report(tmp_path / "run.html", **options)
        return read(tmp_path / "run.html")

    return of


def run(stack, x, t, test=None, **options):
    options = {"epochs": 3, "batch_size": 20, "progress": False, "callbacks": [GradientNorms(30)], **options}
    return fit(stack, (x, t), test, "adam", **options)


X = RNG.normal(size=(90, 6)).astype("float32")
T = np.argmax(X[:, :3], axis=1)
CLASSES = Sequential(nn.Dense(8), nn.Relu(), nn.Dense(3))
NUMBERS = Sequential(nn.Dense(8), nn.Tanh(), nn.Dense(2), loss="mse")


def test_the_page_is_complete_alone_and_readable(report):
    page = report(run(CLASSES, X, T, (X[:40], T[:40]), validation=0.2))
    assert page.html.startswith("<!DOCTYPE html>")
    assert not page.named("script")
    assert not re.search(r"https?:|//\w|url\(|@import", page.html)
    assert all(a["src"].startswith("data:image/png;base64,") for a in page.named("img"))
    assert page.named("html", lang="en")
    assert page.named("meta", name="viewport")
    (policy,) = page.named("meta", **{"http-equiv": "Content-Security-Policy"})
    assert policy["content"].startswith("default-src 'none'")
    assert len(page.named("h1")) == 1
    headings = [data for tag, data in page.texts if tag == "h2"]
    assert headings == [
        "Curves",
        "Confusion matrix",
        "Precision and recall",
        "Samples with the largest errors",
        "Layers",
        "Gradients over time",
        "Facts of the run",
    ]
    assert [a["href"][1:] for a in page.named("a")] == [a["id"] for a in page.named("section")]
    assert all(a["role"] == "img" and a["aria-label"] for a in page.named("svg"))
    assert len(page.named("caption")) == len(page.named("table"))
    assert all(a["alt"] for a in page.named("img"))


def test_numbers_are_those_of_the_run(report):
    result = run(CLASSES, X, T, (X[:40], T[:40]), validation=0.2, epochs=4)
    page, history = report(result), result.history
    evaluated = xpnet.evaluate(result.network, X[:40], T[:40])
    confusion = page.rows("Row: the true class")
    assert [[int(n.replace("·", "0")) for n in row[1:]] for row in confusion[1:]] == evaluated.confusion.tolist()
    assert f"Accuracy{100 * evaluated.accuracy:.2f} %" in page.text
    assert f"best epoch {history.best_epoch}" in page.text
    epochs = page.rows("Loss and accuracy after each epoch")
    assert len(epochs) == 6
    assert [row[2] for row in epochs[1:]] == [f"{a:.4f}" if a % 1 else str(int(a)) for a in history.train_accuracy]
    facts = dict(row for row in page.rows("Data, network, options, versions and device")[1:])
    assert facts["training samples"] == "72"
    assert facts["validation samples"] == "18"
    assert facts["optimizer"].startswith("Adam(")
    assert facts["batch size"] == "20"
    assert facts["seed"] == "0"
    assert facts["library"].startswith("numpy ")
    assert facts["device"] == "cpu"
    assert facts["xpnet"] == xpnet.__version__
    recall = page.rows("Test set, 40 samples")
    right = np.diag(evaluated.confusion) / evaluated.confusion.sum(axis=1)
    assert [row[2] for row in recall[1:]] == [f"{100 * r:.2f} %" for r in right]
    norms = page.rows("Norm of the gradient of each layer")
    assert [row[0] for row in norms] == ["layer", "Affine1", "Affine2"]
    layers = page.rows("Outputs, parameters, and arithmetic operations")
    assert layers == result.network.stack.summary_rows((6,), params=result.network.params)


def test_every_backend_gives_the_page(lib, report):
    x, t = lib.asarray(X, "float32"), lib.asarray(T)
    stack = Sequential(nn.Dense(8), nn.BatchNorm(), nn.Relu(), nn.Dropout(0.2), nn.Dense(3))
    result = fit(
        Network(stack, (6,), like=x), (x, t), epochs=1, batch_size=45, callbacks=[GradientNorms(9)], progress=False
    )
    page = report(result)
    assert list(result.history.gradient_norms) == ["epoch", "Affine1", "BatchNormalization1", "Affine2"]
    assert result.history.gradient_norms["epoch"] == [0, 1]
    assert "training set, 90 samples" in page.text.lower()
    assert lib.backend.name in page.text


def test_the_norms_are_those_of_the_gradient(lib):
    x, t = lib.asarray(X), lib.asarray(T)
    net = Network(CLASSES, (6,), like=x)
    before = {name: lib.numpy(g) for name, g in net.gradient(x, t).items()}
    history = fit(net, (x, t), epochs=0, callbacks=[GradientNorms(90)], progress=False).history
    for i in (1, 2):
        expected = np.sqrt(sum(np.square(before[f"{kind}{i}"]).sum() for kind in "Wb"))
        assert history.gradient_norms[f"Affine{i}"] == pytest.approx([expected], rel=1e-4)


@pytest.mark.parametrize("sampling", ["shuffle", "replacement"])
def test_recording_the_norms_does_not_change_the_run(sampling):
    stack = Sequential(nn.Dense(8), nn.BatchNorm(), nn.Relu(), nn.Dropout(0.3), nn.Dense(3))
    plain, recorded = (run(stack, X, T, sampling=sampling, callbacks=c) for c in ([], [GradientNorms()]))
    assert plain.history.loss == recorded.history.loss
    assert all(np.array_equal(p, recorded.network.params[name]) for name, p in plain.network.params.items())


def test_without_the_norms_the_page_says_how_to_record_them(report):
    page = report(run(CLASSES, X, T, callbacks=[]))
    assert "They were not recorded in this run" in page.text
    assert "callbacks=[xpnet.GradientNorms()]" in page.text


def test_text_from_outside_is_escaped(report):
    evil = "<script>alert(1)</script>&\"'"
    names = [evil, "two", "three"]
    result = run(CLASSES, X, T)
    result.about["dataset"] = evil
    page = report(result, class_names=names)
    assert not page.named("script")
    assert evil in page.text
    assert [row[0] for row in page.rows("Training set")[1:]][1:] == ["two", "three"]


def test_regression_has_residuals(report):
    t = np.stack([X[:, 0] * 2, X[:, 1] - X[:, 2]], axis=1)
    result = run(NUMBERS, X, t, (X[:30], t[:30]))
    page = report(result)
    headings = [data for tag, data in page.texts if tag == "h2"]
    assert headings[:3] == ["Curves", "Residuals", "Samples with the largest errors"]
    error = t[:30] - result.network.predict(X[:30])
    rows = page.rows("Errors by output")
    assert [float(row[1]) for row in rows[1:]] == pytest.approx(error.mean(axis=0), abs=1e-4)
    assert [float(row[3]) for row in rows[1:]] == pytest.approx(np.sqrt(np.square(error).mean(axis=0)), abs=1e-4)
    worst = page.rows("Samples with their targets")
    assert worst[1][0] == str(np.square(error).sum(axis=1).argmax())
    assert worst[0][-6:] == [f"x{i}" for i in range(6)]


def ticks(svg, anchor):
    """The texts of the ticks of a chart: those of the axis x are in the middle, those of y at the end."""
    return re.findall(rf'<text x="[^"]+" y="[^"]+" text-anchor="{anchor}">([^<]+)</text>', svg)


def test_the_axis_of_epochs_has_both_ends():
    svg = charts.lines("loss", [charts.Line("run", [0.02, 1.5, 2.97], [3.0, 2.0, 1.0], 0)], "epoch", "loss")
    assert ticks(svg, "middle") == ["0", "1", "2", "3"]


@pytest.mark.parametrize(("short", "first"), [([0.1, 0.8], "1"), ([0.1], "0")])
def test_compared_curves_start_at_the_same_epoch(short, first):
    runs = {name: History(test_accuracy=y) for name, y in {"a": [0.1, 0.7, 0.8, 0.9, 0.9], "b": short}.items()}
    (figure,) = curves.curves_of_all(runs)
    assert ticks(figure, "middle")[0] == first


def test_ticks_are_exact():
    svg = charts.lines("accuracy", [charts.Line("run", [0, 1], [0.99901, 0.99989], 0)], "epoch", "accuracy")
    assert ticks(svg, "end") == ["0.999", "0.9992", "0.9994", "0.9996", "0.9998"]
    svg = charts.lines("accuracy", [charts.Line("run", [0, 1], [0.99899, 1.0], 0)], "epoch", "accuracy")
    assert ticks(svg, "end") == ["0.999", "0.99925", "0.9995", "0.99975", "1"]


def test_counts_of_a_poisson_loss_are_shown_as_counts(report):
    stack = Sequential(nn.Dense(1), loss="poisson")
    t = RNG.poisson(3.0, size=(90, 1)).astype("float32")
    result = run(stack, X, t)
    (worst, *_) = page_rows = report(result).rows("Samples with their targets")[1:]
    expected = np.exp(result.network.predict(X))[int(worst[0]), 0]
    assert float(worst[2]) == pytest.approx(expected, abs=1e-3)
    assert len(page_rows) == findings.SHOWN


def test_yes_or_no_for_each_output(report):
    stack = Sequential(nn.Dense(3), loss="binary_cross_entropy")
    t = (X[:, :3] > 0).astype("float32")
    result = run(stack, X, t)
    said, truth = result.network.predict(X) > 0, t > 0.5
    rows = report(result).rows("Answers by output")
    assert [int(row[3]) for row in rows[1:]] == (said & truth).sum(axis=0).tolist()
    assert [int(row[6]) for row in rows[1:]] == (~said & ~truth).sum(axis=0).tolist()


@pytest.mark.parametrize("channels", [1, 3])
def test_images_are_shown_as_images(report, channels):
    images = RNG.random((60, channels, 6, 5)).astype("float32")
    t = (images.mean(axis=(1, 2, 3)) > 0.5).astype(int)
    stack = Sequential(nn.Conv2d(4, 3), nn.Relu(), nn.MaxPool2d(2), nn.Dense(2))
    page = report(run(stack, images, t))
    samples = page.named("img", **{"class": "sample"})
    assert samples
    assert {(a["width"], a["height"]) for a in samples} == {("5", "6")}
    assert re.match(r"sample \d+, true \d, predicted \d, probability [\d.]+ %", samples[0]["alt"])
    (filters,) = page.named("img", **{"class": "filters"})
    assert "4 images of 3 x 3 weights" in filters["alt"]


def test_rows_are_images_if_their_shape_is_known(report):
    x = RNG.random((60, 20)).astype("float32")
    t = RNG.integers(0, 3, 60)
    result = run(CLASSES, x, t)
    assert not report(result).named("img")
    page = report(result, image_shape=(4, 5))
    assert page.named("img", **{"class": "sample"})
    (filters,) = page.named("img", **{"class": "filters"})
    assert "8 images of 4 x 5 weights" in filters["alt"]


def test_ids_have_no_images_and_no_filters(report):
    x = RNG.integers(0, 30, (50, 4))
    stack = Sequential(nn.Embedding(30, 6), nn.Flatten(), nn.Dense(2))
    page = report(run(stack, x, x[:, 0] % 2))
    assert not page.named("img")
    assert page.rows("Samples with their targets")


class Absolute(xpnet.Loss):
    """A loss of one's own, which does not classify."""

    def forward(self, scores, targets):
        self.error = scores - targets
        return abs(self.error).sum() / self.error.shape[0]

    def backward(self):
        return np.sign(self.error) / self.error.shape[0]


class Untraceable(nn.Description):
    """A layer of one's own that reads values."""

    kind = "Odd"

    def layer(self, arrays, training):
        class Odd(xpnet.Layer):
            def forward(self, x):
                return x * float(np.asarray(x).max() > -1e9)

            def backward(self, dout):
                return dout

        return Odd()


ODD = {
    "no epoch": (CLASSES, X, T, {"epochs": 0}),
    "one sample": (CLASSES, X[:1], T[:1], {}),
    "one class": (Sequential(nn.Dense(1)), X, 0 * T, {}),
    "constant samples": (CLASSES, 0 * X, T, {}),
    "ignored": (
        Sequential(nn.Dense(3), loss=nn.CrossEntropy(ignore_index=-1)),
        X,
        np.where(T == 1, -1, T),
        {},
    ),
    "one-hot": (CLASSES, X, np.eye(3, dtype="float32")[T], {}),
    "many classes": (Sequential(nn.Dense(400)), X, T * 100, {}),
    "one output": (Sequential(nn.Dense(1), loss="mse"), X, 0 * X[:, :1], {}),
    "many outputs": (Sequential(nn.Dense(70), loss="mse"), X, np.repeat(X[:, :1], 70, axis=1), {}),
    "own loss": (Sequential(nn.Dense(2), loss=Absolute), X, X[:, :2], {}),
    "own layer": (Sequential(nn.Dense(3), Untraceable()), X, T, {}),
    "many layers": (Sequential(*[nn.Dense(4), nn.Tanh()] * 25, nn.Dense(3)), X, T, {}),
    "long run": (CLASSES, X, T, {"epochs": 250}),
}


@pytest.mark.parametrize("name", ODD)
def test_odd_runs_have_a_report(report, name):
    stack, x, t, options = ODD[name]
    page = report(run(stack, x, t, **options))
    shown = page.text.replace("clip_norm=None", "")
    assert not re.search(r"\bnan\b|\binf\b|None", shown, re.I)
    assert not re.search(r'="[^"]*\b(nan|inf)\b', page.html)


def test_ignored_samples_are_not_counted(report):
    stack, x, t, _ = ODD["ignored"]
    page = report(run(stack, x, t))
    counts = [int(n.replace("·", "0")) for row in page.rows("Row: the true class")[1:] for n in row[1:]]
    assert sum(counts) == (t >= 0).sum()


def test_a_run_that_ctrl_c_ended_has_a_report(report):
    class Stop(xpnet.Callback):
        def on_update(self, run):
            if run.updates == self.at:
                raise KeyboardInterrupt

    for at in (1, 7):
        stop = Stop()
        stop.at = at
        page = report(run(CLASSES, X, T, callbacks=[GradientNorms(), stop]))
        assert "Ctrl-C ended the run" in page.text


def test_weights_that_are_not_finite_are_counted(report):
    result = run(CLASSES, X, T)
    result.network.params["W1"] = np.where(np.eye(6, 8) > 0, np.nan, 1.0).astype("float32")
    assert "6 not finite" in report(result).text


def test_a_large_dataset_is_sampled(report, monkeypatch):
    monkeypatch.setattr(findings, "LIMIT", 20)
    page = report(run(CLASSES, X, T))
    assert "Training set, 18 samples, spread evenly over all 90" in page.text
    assert all(int(row[0]) % 5 == 0 for row in page.rows("Samples with their targets")[1:])


def test_shards_are_evaluated_block_by_block(report, tmp_path):
    np.save(tmp_path / "x.npy", X)
    np.save(tmp_path / "t.npy", T)
    shards = Shards(str(tmp_path / "x.npy"), str(tmp_path / "t.npy"), buffer=40)
    result = run(CLASSES, X, T)
    whole, blocks = report(result, data=(X, T)), report(result, data=shards)
    assert whole.rows("Row: the true class") == blocks.rows("Row: the true class")
    assert whole.rows("Samples with their targets") == blocks.rows("Samples with their targets")
    assert "given samples" in whole.text.lower()


def test_a_transform_is_used_and_the_samples_are_shown_as_they_were(report):
    images = RNG.integers(0, 256, (60, 1, 6, 6)).astype("uint8")

    def halves(x):
        return x.astype("float32") / 510

    stack = Sequential(nn.Dense(2))
    net = Network(stack, (1, 6, 6), like=X)
    result = fit(net, (images, images[:, 0, 0, 0] // 128), transform=halves, epochs=1, progress=False)
    page = report(result)
    assert "halves" in page.text
    assert page.named("img", **{"class": "sample"})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"data": ((X, T), (X, T))}, "data must be one dataset"),
        ({"data": (X[:, :5], T)}, "expected|made for"),
        ({"data": (X, T + 5)}, "label"),
        ({"data": "mnist"}, "data must be"),
        ({"class_names": ["a"]}, "class_names must have a name for each of the 3 classes, got 1"),
        ({"class_names": "abc"}, "class_names must be a sequence of strings"),
        ({"class_names": [1, 2, 3]}, "class_names must be a sequence of strings"),
        ({"image_shape": (2, 2)}, "image_shape must be .* with 6 elements"),
        ({"image_shape": (2, 3, 1)}, "image_shape must be"),
        ({"image_shape": (2.5, 3)}, "image_shape must be"),
    ],
)
def test_wrong_arguments_are_errors_of_one_line(tmp_path, options, message):
    result = run(CLASSES, X, T)
    with pytest.raises((TypeError, ValueError), match=message) as error:
        result.report(tmp_path / "run.html", **options)
    assert "\n" not in str(error.value)
    assert not list(tmp_path.iterdir())


def test_a_result_without_samples_says_so(report):
    result = run(CLASSES, X, T)
    page = report(Result(result.network, result.history))
    assert "There are no samples to evaluate" in page.text
    assert not page.named("img")


def test_the_file_is_replaced_or_stays(tmp_path):
    result = run(CLASSES, X, T)
    for name, message in (("run.txt", "must end in .html"), ("no/run.html", "there is no folder")):
        with pytest.raises((ValueError, OSError), match=message):
            result.report(tmp_path / name)
    (tmp_path / "run.html").write_text("old")
    with pytest.raises(ValueError, match="class_names"):
        result.report(tmp_path / "run.html", class_names=["a"])
    assert (tmp_path / "run.html").read_text() == "old"


# The command line


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "mnist").mkdir()
    return str(write_mnist(tmp_path / "mnist"))


def test_train_writes_the_report(folder, tmp_path, capfd):
    path = tmp_path / "run.html"
    assert main(["train", "--data", folder, "--epochs", "2", "--quiet", "--report", str(path)]) == 0
    page = read(path)
    assert capfd.readouterr().out.startswith("test accuracy")
    assert page.named("img", **{"class": "sample"})
    assert page.rows("Norm of the gradient of each layer")
    assert folder in page.text


def test_a_run_that_diverges_has_a_report(folder, tmp_path, capfd):
    path = tmp_path / "run.html"
    assert main(["train", "--data", folder, "--epochs", "30", "--quiet", "--lr", "1e30", "--report", str(path)]) == 1
    assert "with --lr 1e+30" in capfd.readouterr().err
    assert read(path).rows("Data, network, options, versions and device")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("run.txt", "must end in .html, got '.txt'"),
        ("missing/run.html", "there is no folder .*missing; make it first"),
    ],
)
def test_a_report_that_cannot_be_written_is_refused_before_training(monkeypatch, tmp_path, capsys, name, message):
    monkeypatch.setattr(cli, "train", None)
    assert main(["train", "--report", str(tmp_path / name)]) == 2
    assert re.fullmatch(rf"xpnet train: .*{message}.*\n", capsys.readouterr().err)


@needs("safetensors")
class TestCheckpoints:
    @pytest.fixture
    def runs(self, folder, tmp_path, capfd):
        common = ["train", "--data", folder, "--quiet", "--checkpoint"]
        paths = [str(tmp_path / f"{name}.safetensors") for name in "ab"]
        assert main([*common, paths[0], "--epochs", "2"]) == 0
        assert main([*common, paths[1], "--epochs", "3", "--optimizer", "adam", "--validation", "0.2"]) == 0
        capfd.readouterr()
        return paths

    def test_the_report_of_a_checkpoint_is_that_of_the_run(self, folder, tmp_path, capfd):
        files = {name: str(tmp_path / name) for name in ("run.safetensors", "run.html", "again.html")}
        options = ["--checkpoint", files["run.safetensors"], "--report", files["run.html"]]
        assert main(["train", "--data", folder, "--quiet", "--epochs", "2", *options]) == 0
        capfd.readouterr()
        assert main(["report", files["run.safetensors"], "--output", files["again.html"]]) == 0
        assert capfd.readouterr().out == f"wrote {files['again.html']}\n"
        run, again = (read(tmp_path / f"{name}.html") for name in ("run", "again"))
        for caption in (
            "Row: the true class",
            "Norm of the gradient of each layer",
            "Data, network",
            "Loss and accu",
        ):
            assert run.rows(caption) == again.rows(caption)
        assert [a["src"] for a in run.named("img")] == [a["src"] for a in again.named("img")]

    def test_compared_runs_have_their_curves_and_differences(self, runs, tmp_path):
        output = tmp_path / "both.html"
        assert main(["report", *runs, "--output", str(output)]) == 0
        page = read(output)
        assert "Comparison of 2 runs" in page.text
        results = page.rows("The values after the last epoch")
        assert [row[:2] for row in results[1:]] == [["a", "2"], ["b", "3"]]
        marked = re.findall(r'<tr class="marked"><th scope="row">(.*?)</th>', page.html)
        assert {"optimizer", "epochs", "training samples"} <= set(marked)
        assert "dataset" not in marked
        for svg in page.named("svg"):
            assert re.search(r"a \d.*; b \d", svg["aria-label"])

    def test_options_of_one_run_are_refused_for_several(self, runs, folder, tmp_path, capfd):
        output = tmp_path / "both.html"
        assert main(["report", *runs, "--data", folder, "--output", str(output)]) == 2
        assert "--data is for the report of one run" in capfd.readouterr().err
        with pytest.raises(ValueError, match="are for the report of one run"):
            xpnet.report.write(output, [xpnet.report.read(path) for path in runs], class_names=["a"])
        assert not output.exists()

    def test_a_file_with_impossible_facts_is_refused(self, runs):
        checkpoints = xpnet.training.checkpoints
        for name, value in (("best_epoch", 9), ("gradient_norms", {"epoch": []}), ("gradient_norms", {"W": [1.0]})):
            plain, arrays = checkpoints._read(Path(runs[0]))
            plain["history"][name] = value
            checkpoints._write(Path(runs[1]), plain, arrays)
            with pytest.raises(ValueError, match="best epoch is 9|norms of gradients"):
                xpnet.report.read(runs[1])

    def test_a_file_without_facts_has_a_report(self, runs, tmp_path):
        plain, arrays = xpnet.training.checkpoints._read(Path(runs[0]))
        del plain["about"], plain["history"]["gradient_norms"]
        xpnet.training.checkpoints._write(Path(runs[1]), plain, arrays)
        assert main(["report", runs[1], "--output", str(tmp_path / "run.html")]) == 0
        assert "They were not recorded" in read(tmp_path / "run.html").text

    def test_resuming_keeps_the_norms(self, runs, folder, tmp_path):
        options = ["--data", folder, "--quiet", "--checkpoint", runs[0], "--resume", "--epochs", "4"]
        assert main(["train", *options, "--report", str(tmp_path / "run.html")]) == 0
        saved = xpnet.report.read(runs[0]).result.history
        assert saved.gradient_norms["epoch"] == [0, 1, 2, 3, 4]

    def test_other_data_is_named(self, runs, tmp_path, capfd):
        (tmp_path / "other").mkdir()
        other = str(write_mnist(tmp_path / "other", train_count=100, test_count=30))
        output = tmp_path / "run.html"
        assert main(["report", runs[0], "--data", other, "--output", str(output)]) == 0
        assert "which is not the data of the run" in read(output).text

    def test_data_that_does_not_fit_the_network_is_named_by_its_option(self, tmp_path, capfd, monkeypatch):
        path = tmp_path / "arrays.safetensors"
        run(CLASSES, X, T, checkpoint=path)
        monkeypatch.setitem(datasets.registry._LOADERS, "others", lambda: (X, T + 5))
        assert main(["report", str(path), "--data", "others", "--output", str(tmp_path / "run.html")]) == 2
        err = capfd.readouterr().err
        assert err.startswith(f"xpnet report: --data others cannot be used with {path}: t_train contains the label")
        assert err.count("\n") == 1

    def test_missing_data_is_said(self, runs, folder, tmp_path, capfd):
        (tmp_path / "mnist").rename(tmp_path / "gone")
        assert main(["report", runs[0], "--output", str(tmp_path / "run.html")]) == 0
        assert "cannot be used here" in capfd.readouterr().out
        page = read(tmp_path / "run.html")
        assert "cannot be used here" in page.text
        assert page.rows("Norm of the gradient of each layer")
        assert main(["report", runs[0], "--data", folder, "--output", str(tmp_path / "run.html")]) == 2
        out, err = capfd.readouterr()
        assert (out, err.count("\n")) == ("", 1)

    def test_a_run_on_arrays_needs_data(self, tmp_path, capfd, monkeypatch):
        path = tmp_path / "arrays.safetensors"
        run(CLASSES, X, T, checkpoint=path, seed=np.int64(3))
        assert main(["report", str(path), "--output", str(tmp_path / "run.html")]) == 0
        assert "does not name the dataset" in capfd.readouterr().out
        monkeypatch.setitem(datasets.registry._LOADERS, "arrays", lambda: (X, T))
        assert main(["report", str(path), "--data", "arrays", "--output", str(tmp_path / "run.html")]) == 0
        assert read(tmp_path / "run.html").rows("Row: the true class")
        assert "not the data" not in read(tmp_path / "run.html").text

    def test_files_that_are_no_runs_are_refused(self, tmp_path, capfd):
        network = tmp_path / "network.safetensors"
        xpnet.save_network(Network(CLASSES, (6,)), network)
        (tmp_path / "text.safetensors").write_text("text")
        for path, message in (
            (network, "contains a network without a run"),
            (tmp_path / "text.safetensors", "not a safetensors file"),
            (tmp_path / "none.safetensors", "No such file"),
        ):
            assert main(["report", str(path), "--output", str(tmp_path / "run.html")]) == 2
            out, err = capfd.readouterr()
            assert out == ""
            assert re.fullmatch(rf"xpnet report: .*{message}.*\n", err)
        assert not (tmp_path / "run.html").exists()

    def test_an_output_that_cannot_be_written_is_refused_first(self, tmp_path, capfd):
        assert main(["report", "none.safetensors", "--output", str(tmp_path / "run.pdf")]) == 2
        assert "must end in .html" in capfd.readouterr().err


def test_a_history_with_norms_reads_back(tmp_path):
    history = run(CLASSES, X, T).history
    history.save(tmp_path / "run.json")
    assert History(**json.loads((tmp_path / "run.json").read_text())) == history

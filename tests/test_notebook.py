"""What a notebook shows: of the results of cells, and while a run trains."""

import subprocess
import sys
import types
import xml.etree.ElementTree
from html.parser import HTMLParser

import numpy as np
import pytest
from conftest import needs

import xpnet
from xpnet import Evaluation, History, MultiLayerNet, Network, Sequential, fit, nn
from xpnet.training import progress

X = np.random.default_rng(0).random((60, 4), dtype="float32")
T = np.arange(60) % 3


def trained(**options):
    return fit(MultiLayerNet(4, [5], 3), (X, T), (X, T), epochs=3, progress=False, **options)


class Tables(HTMLParser):
    """The cells of the tables in HTML; that each tag is closed, and that there is no color."""

    def __init__(self, text):
        super().__init__()
        self.open, self.rows, self.cell = [], [], False
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.open.append(tag)
        assert not {"bgcolor", "color", "class"} & dict(attrs).keys()
        assert {part.partition(":")[0] for name, part in attrs if name == "style"} <= {"text-align"}
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open[-1] in ("td", "th"):
            self.rows[-1][-1] += data


def rows(thing):
    return Tables(thing._repr_html_()).rows


# Tables


def test_a_history_is_a_table_of_a_few_rows_with_a_curve():
    history = trained(validation=0.2).history
    header, *lines = rows(history)
    assert header[:4] == ["epoch", "update", "loss", "train accuracy"]
    assert [line[0] for line in lines] == ["0", "1", "2", "3"]
    assert lines[0][2] == "-"
    assert lines[-1][3] == f"{history.train_accuracy[-1]:.4f}"
    text = history._repr_html_()
    svg = xml.etree.ElementTree.fromstring(text[text.index("<svg") : text.index("</svg>") + 6])
    titles = [line[0].text for line in svg]
    assert titles == ["train", "test", "validation"]
    assert {line.get("stroke") for line in svg} == {"currentColor"}
    assert len({line.get("stroke-dasharray") for line in svg}) == 3
    assert all(len(line.get("points").split()) == 3 for line in svg)


def test_a_long_history_shows_the_first_the_best_and_the_last_epochs():
    count = 200
    history = History(
        loss=[0.5] * 1000 * count,
        updates=[1000 * i for i in range(count + 1)],
        train_accuracy=[0.5] * (count + 1),
        validation_loss=[abs(i - 77.0) for i in range(count + 1)],
        best_epoch=77,
        seconds=[0.1 * i for i in range(count + 1)],
    )
    assert [line[0] for line in rows(history)[1:]] == ["0", "77", "196", "197", "198", "199", "200"]
    assert "best epoch 77" in history._repr_html_()
    assert len(history._repr_html_()) < 10_000
    assert len(repr(history)) < 200


@pytest.mark.parametrize(
    "history",
    [
        History(),
        History([1.0], best_epoch=1),
        History([float("nan"), 1.0]),
        History([2.0, 1.0], [0, 1, 2], test_loss=[3.0, float("inf"), 1.0], seconds=[0.0, 1.0, 2.0]),
        History([2.0, 1.0], [0, 2], [0.1, 0.2], seconds=[0.0, 1.0], interrupted=True),
    ],
    ids=["empty", "one update", "diverged", "regression", "one epoch"],
)
def test_any_history_has_a_table(history):
    assert rows(history)[0][:3] == ["epoch", "update", "loss"]
    assert "nan" not in history._repr_html_()
    assert ("interrupted" in history._repr_html_()) == history.interrupted


def test_a_network_is_a_table_of_its_layers_and_names_its_library(lib):
    net = MultiLayerNet(4, [5], 3, like=lib.asarray([1.0]))
    assert rows(net) == [
        ["layer", "description", "output", "parameters"],
        ["Affine1", "Dense(5)", "(5,)", "25"],
        ["Relu1", "Relu()", "(5,)", "0"],
        ["Affine2", "Dense(3)", "(3,)", "18"],
        ["total", "", "", "43"],
    ]
    for text in (repr(net), net._repr_html_()):
        assert lib.backend.name in text
        assert "array_api_compat" not in text
    assert rows(net.stack)[1:] == [
        ["Affine1", "Dense(5)"],
        ["Relu1", "Relu()"],
        ["Affine2", "Dense(3)"],
        ["loss", "CrossEntropy()"],
    ]


def test_texts_are_escaped():
    class Odd(nn.Relu):
        kind = "<script>"

        def __repr__(self):
            return "a & b"

    for thing in (Sequential(nn.Dense(3), Odd()), Network(Sequential(nn.Dense(3), Odd()), (4,))):
        assert "<script>" not in thing._repr_html_()
        assert rows(thing)[2][0] == "<script>1"


def test_a_result_shows_its_network_and_history():
    result = trained()
    network, history = result
    assert result._repr_html_().endswith(network._repr_html_() + history._repr_html_())
    assert len(result._repr_html_()) < 10_000
    assert len(repr(result)) < 500


def test_an_evaluation_is_a_table_with_the_confusion_matrix():
    found = Evaluation(0.5, 0.75, np.asarray([[3, 1], [0, 2]]))
    assert rows(found) == [
        ["", "value"],
        ["loss", "0.5000"],
        ["accuracy", "0.7500"],
        ["class", "0", "1"],
        ["0", "3", "1"],
        ["1", "0", "2"],
    ]
    assert rows(Evaluation(0.5)) == [["", "value"], ["loss", "0.5000"]]
    assert len(rows(Evaluation(0.5, 0.1, np.zeros((500, 500), int)))) == 3


# Pictures


def test_a_network_is_drawn_layer_by_layer(tmp_path):
    stack = Sequential(nn.Conv2d(8, 3), nn.Relu(), nn.Residual(nn.Conv2d(8, 3, padding=1)), nn.Flatten(), nn.Dense(3))
    drawing = Network(stack, (1, 8, 8)).draw(tmp_path / "net.svg")
    assert (tmp_path / "net.svg").read_text(encoding="utf-8") == drawing.svg == drawing._repr_svg_()
    root = xml.etree.ElementTree.fromstring(drawing.svg)
    texts = [element.text for element in root.iter() if element.tag.endswith("text")]
    assert [text for text in texts if text[0] != "[" and text[-1] == "1"] == [*stack.names]
    assert [text for text in texts if text[0] == "["] == ["[1, 8, 8]", *["[8, 6, 6]"] * 3, "[288]", "[3]"]
    assert {"W1 [8, 1, 3, 3]", "b3 [3]", "SoftmaxWithLoss", "CrossEntropy()"} <= {*texts}
    boxes = [element for element in root.iter() if element.tag.endswith("rect")]
    bottoms = [float(box.get("y")) + float(box.get("height")) for box in boxes]
    assert len(boxes) == 7
    assert all(bottom < float(box.get("y")) for bottom, box in zip(bottoms, boxes[1:], strict=False))
    assert bottoms[-1] < float(root.get("height"))
    assert len(repr(drawing)) < 50


@needs("matplotlib")
def test_a_history_is_drawn_in_a_figure_or_in_given_axes():
    from matplotlib.figure import Figure

    history = trained().history
    fig, (left, right) = xpnet.plotting.figure(2)
    assert history.plot(ax=[left, right]) is fig
    assert left.lines[0].get_ydata().tolist() == history.loss
    assert list(right.lines[0].get_ydata()) == history.train_accuracy
    fig, (one,) = xpnet.plotting.figure()
    assert history.plot(ax=one) is fig
    assert one.lines[0].get_ydata().tolist() == history.loss
    found = history.plot()
    assert isinstance(found, Figure)
    assert len(found.axes) == 2
    assert sys.modules["matplotlib.pyplot"].get_fignums() == []  # or a notebook would show it twice


@needs("matplotlib")
def test_a_plot_opens_a_window_where_there_are_windows(monkeypatch):
    from matplotlib import pyplot
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    shown = []
    monkeypatch.setattr(FigureCanvasAgg, "required_interactive_framework", "qt")
    monkeypatch.setattr(pyplot, "show", lambda: shown.append(pyplot.get_fignums()))
    History([1.0]).plot()
    assert [len(numbers) for numbers in shown] == [1]
    assert len(pyplot.get_fignums()) == 1  # where `show` does not wait, the window stays
    pyplot.close("all")


@needs("matplotlib")
def test_the_confusion_matrix_is_drawn_with_its_numbers(tmp_path):
    found = Evaluation(0.5, 0.75, np.asarray([[3, 1], [0, 2]]))
    fig = found.plot(tmp_path / "confusion.png")
    assert (tmp_path / "confusion.png").read_bytes().startswith(b"\x89PNG")
    assert [text.get_text() for text in fig.axes[0].texts] == ["3", "1", "0", "2"]
    np.testing.assert_allclose(fig.axes[0].images[0].get_array(), [[0.75, 0.25], [0, 1]])
    other, (ax,) = xpnet.plotting.figure()
    assert found.plot(ax=ax) is other
    assert not Evaluation(0.5, 0.1, np.ones((30, 30), int)).plot().axes[0].texts
    with pytest.raises(ValueError, match="this evaluation has no confusion matrix"):
        Evaluation(0.5).plot()


@needs("matplotlib")
@pytest.mark.parametrize("ax", [3, [], ["left", "right"]])
def test_what_is_no_axes_is_named(ax):
    for thing in (History([1.0]), Evaluation(0.5, 0.75, np.asarray([[3, 1], [0, 2]]))):
        with pytest.raises(TypeError, match="ax must be Axes of matplotlib"):
            thing.plot(ax=ax)


# The table of pandas


@needs("pandas")
def test_the_history_is_a_table_of_pandas():
    history = trained().history
    table = history.to_pandas()
    assert table.index.name == "epoch"
    assert [*table.index] == [0, 1, 2, 3]
    assert [*table.columns] == ["update", "loss", "train_accuracy", "test_accuracy", "test_loss", "seconds"]
    assert table["test_loss"].tolist() == history.test_loss
    assert table["loss"][3] == history.loss[-1]
    assert [*History().to_pandas().columns] == ["update", "loss"]


def test_without_pandas_the_error_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ImportError, match=r"to_pandas needs pandas; get it with: pip install 'xpnet\[notebook\]'"):
        History().to_pandas()


# Tab completion


@needs("torch")
def test_only_public_names_are_completed():
    code = (
        "import xpnet, xpnet.cli\n"
        "print(*[name for name in dir(xpnet) if name not in xpnet.__all__])\n"
        "for room in sorted(xpnet._ROOMS):\n"
        "    module = getattr(xpnet, room)\n"
        "    assert dir(module) == sorted(module.__all__), room\n"
        "import xpnet.torch\n"
        "print('torch' in dir(xpnet))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    names, torch = done.stdout.splitlines()
    assert names.split() == ["__version__", *sorted(xpnet._ROOMS)]
    assert torch == "True"


# The progress bar


class Bar:
    """In place of the bar of tqdm.notebook."""

    made: list["Bar"] = []

    def __init__(self, total, unit, leave):
        self.total, self.done, self.closed = total, 0, False
        self.made.append(self)

    def update(self, steps):
        self.done += steps

    def write(self, text, file):
        print(text, file=file)

    def close(self):
        self.closed = True


@pytest.mark.parametrize("kernel", [True, False])
@pytest.mark.parametrize("widgets", [True, False])
def test_in_a_notebook_the_bar_is_a_widget_where_there_are_widgets(monkeypatch, capsys, kernel, widgets):
    shell = types.SimpleNamespace(**({"kernel": 1} if kernel else {}))
    monkeypatch.setitem(sys.modules, "IPython", types.SimpleNamespace(get_ipython=lambda: shell))
    monkeypatch.setitem(sys.modules, "tqdm.notebook", types.SimpleNamespace(tqdm=Bar))
    monkeypatch.setattr(progress.importlib.util, "find_spec", lambda name: widgets or None)
    monkeypatch.setattr(Bar, "made", [])
    fit(MultiLayerNet(4, [5], 3), (X, T), epochs=2, batch_size=20)
    assert [(bar.total, bar.done, bar.closed) for bar in Bar.made] == [(6, 6, True)] * (kernel and widgets)
    assert [line[:9] for line in capsys.readouterr().out.splitlines()] == ["epoch   0", "epoch   1", "epoch   2"]


# A real notebook

CELLS = {
    """
    import numpy as np, xpnet
    x, t = np.eye(3, dtype="float32"), np.arange(3)
    result = xpnet.fit(xpnet.TwoLayerNet(3, 4, 3), (x, t), epochs=3)
    result""": ["text/html", "text/plain"],
    "network, history = result; history": ["text/html", "text/plain"],
    "network": ["text/html", "text/plain"],
    "network.stack": ["text/html", "text/plain"],
    "xpnet.evaluate(network, x, t)": ["text/html", "text/plain"],
    "history.plot()": ["image/png", "text/plain"],
    "xpnet.evaluate(network, x, t).plot()": ["image/png", "text/plain"],
    "network.draw()": ["image/svg+xml", "text/plain"],
    "xpnet.trace(network.stack.predict, network.params, x).draw()": ["image/svg+xml", "text/plain"],
}


def outputs(*cells):
    """Run cells in a kernel: for each, the texts that are printed, and the displayed data by MIME type."""
    nbformat, nbclient = pytest.importorskip("nbformat"), pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    made = [nbformat.v4.new_code_cell("\n".join(map(str.strip, cell.splitlines()))) for cell in cells]
    book = nbformat.v4.new_notebook(cells=made)
    nbclient.NotebookClient(book, timeout=120, kernel_name="python3").execute()
    for cell in book.cells:
        shown = [output for output in cell.outputs if output.output_type != "stream"]
        shown = [output for output in shown if "application/vnd.jupyter.widget-view+json" not in output.data]  # a bar
        yield "".join(output.text for output in cell.outputs if output.output_type == "stream"), shown


@needs("matplotlib")
@pytest.mark.filterwarnings("default")  # of the libraries of Jupyter
def test_a_notebook_shows_each_result_once_and_short():
    for (cell, kinds), (printed, shown) in zip(CELLS.items(), outputs(*CELLS), strict=True):
        assert [sorted(output.data) for output in shown] == [kinds], cell
        assert len(shown[0].data["text/plain"]) < 500, cell
        assert len(shown[0].data.get("text/html", "")) < 5_000, cell
        assert len(printed.splitlines()) == (4 if "fit(" in cell else 0), cell


@needs("matplotlib")
@pytest.mark.filterwarnings("default")
def test_live_curves_are_one_picture_that_is_drawn_again():
    prepare, cell = (
        """
        import numpy as np, xpnet
        from IPython import display
        drawn, real = [], display.DisplayHandle.update
        display.DisplayHandle.update = lambda *given: drawn.append(1) or real(*given)
        x, t = np.eye(3, dtype="float32"), np.arange(3)""",
        """
        live = xpnet.LivePlot()
        xpnet.fit(xpnet.TwoLayerNet(3, 4, 3), (x, t), epochs=3, callbacks=[live], progress=False)
        print(len(drawn))""",
    )
    _, (printed, shown) = outputs(prepare, cell)
    assert printed == "2\n"
    assert [sorted(output.data) for output in shown] == [["image/png", "text/plain"]]

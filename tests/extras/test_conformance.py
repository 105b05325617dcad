"""The conformance table: it covers everything, and nothing that is wrong gets through."""

import re
import sys
from dataclasses import replace
from inspect import isfunction

import numpy as np
import pytest
from conftest import needs

import xpnet
from xpnet import layers
from xpnet.backends import get_backend
from xpnet.cli import main
from xpnet.conformance import run
from xpnet.conformance.cases import CASES
from xpnet.conformance.measures import _order, measure
from xpnet.conformance.running import _columns
from xpnet.conformance.vectors import OPERATORS, Outside, check, load

XP = get_backend("numpy").namespace()
BY_NAME = {case.name: case for case in CASES}


def measured(case, dtype="float64"):
    return measure(case, XP, getattr(XP, dtype), "cpu")


@pytest.fixture(scope="module")
def report():
    return run(["numpy"])


NOT_OF_ARRAYS = {
    *("check_gradients", "check_layer", "evaluate", "fit", "fit_many", "train"),  # of networks, layers and sets
    *("dropout_mask", "get_backend", "to_numpy", "trace", "vmap"),
    *("load_mnist", "load_network", "read_idx", "register", "save_network"),  # of files
}


def test_every_function_has_a_case():
    public = {name: getattr(xpnet, name) for name in xpnet.__all__}
    functions = {name for name, value in public.items() if isfunction(value)} - NOT_OF_ARRAYS
    assert {*NOT_OF_ARRAYS} <= {*public}
    assert functions <= {name.partition(",")[0] for name in BY_NAME}
    assert len(BY_NAME) == len(CASES)


def test_a_layer_without_a_case_is_told_as_not_run(monkeypatch):
    monkeypatch.setattr(layers, "Novel", type("Novel", (layers.Layer,), {}), raising=False)
    monkeypatch.setattr(layers, "__all__", [*layers.__all__, "Novel"])
    assert "NOT RUN: Novel: it has no case in conformance/cases.py" in str(run(["numpy"]))


def test_dtypes_come_in_the_same_order_whatever_the_library_says(monkeypatch):
    backend = get_backend("numpy")
    info = backend.namespace().__array_namespace_info__()
    turned = dict(reversed(info.dtypes(kind="real floating").items()))
    monkeypatch.setattr(type(info), "dtypes", lambda *_, **__: turned)
    assert [column.dtype for column in _columns(backend)] == ["float32", "float64"]


@needs("array_api_strict")
def test_a_device_that_is_named_is_the_only_one_measured_on(capsys, monkeypatch):
    assert {column.device for column in _columns(get_backend("strict"), "device1")} == {"device1"}
    monkeypatch.setattr("xpnet.conformance.running.CASES", CASES[:2])
    monkeypatch.setattr("xpnet.conformance.running.load", tuple)
    assert {column.device for column in run(["strict"], device="device1").columns} == {"device1"}
    assert main(["conformance", "--backend", "strict", "--device", "cuda"]) == 2
    assert "xpnet conformance: --device 'cuda' is not known to strict here" in capsys.readouterr().err


def test_every_layer_is_differentiated(report):
    for (name, _), cell in report.cells.items():
        assert (cell.gradient is None) == (BY_NAME[name].params is None)
        assert (cell.order is None) == (BY_NAME[name].params is None)


def test_what_is_right_is_within_the_limits(report):
    assert report.ok
    assert not report.problems
    assert len(report.cells) == 2 * len(CASES)
    assert all(cell.value < 1e3 or BY_NAME[name].power < 1 for (name, _), cell in report.cells.items())


@needs("array_api_strict")
@pytest.mark.parametrize("device", ["device1", "no_float64", "no_x64"])
def test_devices_without_float64_or_int64_are_measured_too(device):
    backend = get_backend("strict")
    place = backend.device(device)
    problems = [measure(case, backend.namespace(), backend.namespace().float32, place).problem for case in CASES]
    assert problems == [""] * len(CASES)


# What is wrong is found


class Scaled(layers.Layer):
    """A layer with its output and its gradient multiplied by numbers that should be 1."""

    def __init__(self, layer, forward=1.0, backward=1.0):
        self.layer, self.by = layer, (forward, backward)

    def forward(self, x):
        return self.layer.forward(x) * self.by[0]

    def backward(self, dout):
        return self.layer.backward(dout) * self.by[1]


@pytest.mark.parametrize(
    ("forward", "backward", "expected"),
    [
        (1 + 1e-12, 1.0, ["the error is"]),
        (1.0, 1 + 1e-12, ["the error of the gradient is"]),
        (1.0, 1.05, ["the error of the gradient is", "the Taylor remainder is of order"]),
        (1.05, 1.0, ["the error is", "the Taylor remainder is of order"]),
        (1.05, 1.05, ["the error is", "the error of the gradient is"]),
        (1.0, -1.0, ["the error of the gradient is", "the Taylor remainder is of order"]),
        (float("nan"), 1.0, ["the error is inf eps", "the Taylor remainder is of order nan,"]),
        (1.0, float("nan"), ["the error of the gradient is nan eps", "the Taylor remainder is of order nan,"]),
    ],
)
@pytest.mark.parametrize("name", ["Tanh", "Relu"])
def test_a_wrong_layer_is_found(name, forward, backward, expected):
    wrong = replace(BY_NAME[name], call=lambda: Scaled(getattr(layers, name)(), forward, backward))
    problem = measured(wrong).problem
    assert [part for part in expected if part not in problem] == []
    assert len(problem.split("; ")) == len(expected)


def test_a_wrong_function_is_found():
    wrong = replace(BY_NAME["sigmoid"], call=lambda x: xpnet.sigmoid(x) + 1e-13)
    assert "the error is" in measured(wrong).problem
    assert "the error is" in measured(replace(BY_NAME["numerical_diff"], call=lambda x: 3 * x**2 + 1e-6)).problem


@pytest.mark.parametrize(
    ("name", "call", "expected"),
    [
        (
            "sigmoid",
            lambda x: xpnet.sigmoid(x).astype("float32"),
            "the result is float32, for <class 'numpy.float64'>",
        ),
        ("sigmoid", lambda x: xpnet.sigmoid(x)[:2], r"the result has shape \(2, 6\), expected \(5, 6\)"),
        ("sigmoid", lambda x: x.tolist(), "must be an array"),
        ("Tanh", lambda: Scaled(layers.Tanh(), 1.0, np.ones((1, 1, 1))), r"of shape \(1, 5, 6\), for float64"),
        ("Relu", lambda: 1 / 0, "ZeroDivisionError: division by zero"),
    ],
)
def test_what_breaks_or_is_of_another_kind_is_told(name, call, expected):
    cell = measured(replace(BY_NAME[name], call=call))
    assert re.search(expected, cell.problem)
    assert np.isnan(cell.value)


@needs("torch")
def test_a_result_of_another_library_is_told():
    import torch

    wrong = replace(BY_NAME["sigmoid"], call=lambda x: torch.sigmoid(torch.asarray(x)))
    assert "TypeError: the result is of torch" in measured(wrong).problem


@pytest.mark.parametrize(
    ("remainders", "order"),
    [([4.0, 1.0, 0.25], 2.0), ([4.0, 2.0, 1.0], 1.0), ([4.0, 1.0, 1e-9], 2.0), ([1e-9, 1e-9, 1e-9], np.inf)],
)
def test_the_order_is_that_of_the_last_remainders_above_rounding(remainders, order):
    assert _order(remainders, 1e-6) == order


# ONNX's vectors


def test_every_operator_has_vectors_and_their_answers_are_right(report):
    pytest.importorskip("onnx")
    answered = {report.operators[name] for name, _ in report.answers}
    assert answered == set(OPERATORS)
    assert len(report.answers) > 100
    assert not any(report.answers.values())
    assert set(report.outside) | {name for name, _ in report.answers} == set(report.operators)


def test_a_wrong_answer_is_found(monkeypatch):
    pytest.importorskip("onnx")
    monkeypatch.setattr(layers.Tanh, "forward", lambda self, x: x)
    wrong = [vector.name for vector in load() if vector.operator == "Tanh" and check(vector, np.asarray)]
    assert wrong
    assert "test_tanh" in wrong


def test_what_xpnet_does_not_have_is_named():
    pytest.importorskip("onnx")
    (vector,) = (v for v in load() if v.name == "test_gelu_default_1")
    with pytest.raises(Outside, match="the exact form"):
        check(vector, np.asarray)


def test_numpys_global_generator_is_left_as_it_was():
    pytest.importorskip("onnx")
    load.cache_clear()
    np.random.seed(7)  # noqa: NPY002
    expected = np.random.random(3)  # noqa: NPY002
    np.random.seed(7)  # noqa: NPY002
    load()
    np.testing.assert_array_equal(np.random.random(3), expected)  # noqa: NPY002


def test_without_onnx_the_rest_is_run_and_that_is_said(monkeypatch):
    load.cache_clear()
    monkeypatch.setitem(sys.modules, "onnx.backend.test.case.node", None)
    report = run(["numpy"])
    load.cache_clear()
    assert report.ok
    assert not report.answers
    assert "pip install 'xpnet[conformance]'" in report.absent["ONNX's test vectors"]
    assert "NOT RUN: ONNX's test vectors: " in str(report)


# What is shown


def test_the_page_holds_every_number_and_what_was_not_run(report, tmp_path):
    report.save(tmp_path / "page.md")
    page = (tmp_path / "page.md").read_text(encoding="utf-8")
    assert page.startswith("# Conformance\n")
    rows = [line for line in page.splitlines() if line.startswith("|")]
    assert {row.count("|") for row in rows} <= {3, 8}  # ONNX's, and all others
    for case in CASES:
        assert sum(row.startswith(f"| {case.name} ") for row in rows if row.count("|") == 8) == 1
    for operator in OPERATORS if report.operators else ():
        assert f"\n| {operator} " in page
    assert f"## numpy {np.__version__}" in page
    assert "NOT RUN: cupy: " in page
    assert report.date in page


def test_a_problem_stands_in_the_outcome(report):
    column = report.columns[0]
    wrong = replace(report, cells=report.cells | {("Relu", column): measured(replace(BY_NAME["Relu"], call=None))})
    assert not wrong.ok
    assert "Relu, numpy float32: TypeError" in str(wrong)
    assert "1 wrong" in str(wrong)
    assert not replace(report, cells={}, answers={}).ok, "nothing run is no success"


def test_the_command_prints_the_tables_and_writes_the_page(capsys, tmp_path):
    page = tmp_path / "conformance.md"
    assert main(["conformance", "--backend", "numpy", "--page", str(page)]) == 0
    out = capsys.readouterr().out
    assert "numpy float32" in out
    assert "| Affine " in out
    assert " 0 wrong." in out
    assert page.is_file()


def test_the_command_ends_with_1_where_something_is_wrong(capsys, monkeypatch):
    monkeypatch.setattr(layers.Affine, "backward", lambda self, dout: 1.01 * dout @ self.W.T)
    assert main(["conformance", "--backend", "numpy"]) == 1
    assert "- Affine, numpy float64: " in capsys.readouterr().out


@pytest.mark.parametrize("page", ["table.txt", "no/such/folder/table.md"])
def test_a_page_that_cannot_be_written_is_refused_before_anything_is_run(capsys, monkeypatch, tmp_path, page):
    monkeypatch.setattr("xpnet.conformance.run", lambda *_, **__: pytest.fail("it was run"))
    assert main(["conformance", "--page", str(tmp_path / page)]) == 2
    assert page.rpartition("/")[2] in capsys.readouterr().err

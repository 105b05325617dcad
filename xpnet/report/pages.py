"""The page of one run, and the page that compares several runs."""

import pkgutil
from collections.abc import Sequence
from pathlib import PurePath
from typing import Any, NamedTuple

import numpy as np

from ..nn.networks import Network
from ..training.fitting import Result
from ..training.history import History
from .charts import bars, scatter
from .curves import curves, curves_of_all, epochs_table, gradient_curves
from .findings import Answers, Histogram, LayerNumbers, Wrong, answers_of, filters_of, layers_of
from .html import Cell, Markup, Section, embedded, figure, number, table, text

__all__ = ["Run", "comparison", "page"]

Host = np.ndarray[Any, Any]
_CLASSES = 30
"""The largest number of classes of a confusion matrix that is shown whole."""
_ROWS = 50
"""The largest number of rows of a table of classes or outputs."""


class Run(NamedTuple):
    """A run to report."""

    name: str
    result: Result
    note: str = "There are no samples to evaluate. Pass them: result.report(path, data=(x, t))."
    """Why there are no samples to evaluate, and what to do."""


def page(run: Run, image_shape: tuple[int, ...] | None, class_names: Sequence[str] | None) -> str:
    """The page of one run."""
    network, history, about, sampled = run.result.network, run.result.history, run.result.about, run.result.sampled
    answers = answers_of(network, sampled) if sampled else None
    looked = layers_of(network, sampled)
    classes = network.output_shape[-1] if answers and answers.kind == "classes" else 0
    names = list(class_names or map(str, range(classes)))
    parts = [Section.of("curves", "Curves", _side_by_side(*curves(history)), epochs_table(history))]
    if answers:
        parts += _of_answers(answers, names)
        parts.append(_of_wrong(answers, names, image_shape))
    else:
        parts.append(Section.of("samples", "Answers on samples", run.note))
    parts.append(_of_layers(network, looked))
    parts.append(_of_gradients(history.gradient_norms))
    if filters := filters_of(network, image_shape):
        parts.append(_of_filters(*filters))
    parts.append(Section.of("facts", "Facts of the run", _facts(about, history)))
    title = f"Training report{f': {run.name}' if run.name else ''}"
    return _document(title, [_lead(run.result), _tiles(run.result, answers)], parts)


def comparison(runs: Sequence[Run]) -> str:
    """The page that compares several runs."""
    names = _names([run.name for run in runs])
    histories = {name: run.result.history for name, run in zip(names, runs, strict=True)}
    rows = [[name, *_outcome(history)] for name, history in histories.items()]
    head = [
        "run",
        "epochs",
        "best epoch",
        "training accuracy",
        "test accuracy",
        "validation accuracy",
        "test loss",
        "validation loss",
        "seconds",
    ]
    kept = [i for i in range(len(head)) if any(row[i] != "-" for row in rows)]
    results = table(
        "The values after the last epoch", [head[i] for i in kept], [[row[i] for i in kept] for row in rows]
    )
    facts = [_flat(run.result.about) for run in runs]
    known = list(dict.fromkeys(name for fact in facts for name in fact))
    lines = [[name, *(fact.get(name, "-") for fact in facts)] for name in known]
    differ = [i for i, (_, *values) in enumerate(lines) if len(set(values)) > 1]
    same = f"{len(lines) - len(differ)} facts are the same; {len(differ)} differ and are marked with ≠."
    parts = [
        Section.of("results", "Results", results),
        Section.of("curves", "Curves", _side_by_side(*curves_of_all(histories))),
        Section.of(
            "facts", "Facts of the runs", same, table("Facts of each run", ["fact", *names], lines, "words", differ)
        ),
    ]
    lead = Markup(f'<p class="lead">{text(", ".join(dict.fromkeys(run.name for run in runs)))}</p>')
    return _document(f"Comparison of {len(runs)} runs", [lead], parts)


def _names(given: Sequence[str]) -> list[str]:
    """A different name for each run: the name of its file, or its path, or its path with a number."""
    stems = [PurePath(name).stem for name in given]
    if len(set(stems)) == len(stems) and all(stems):
        return stems
    distinct = len(set(given)) == len(given) and all(given)
    return list(given) if distinct else [f"{i}: {name}" for i, name in enumerate(given, 1)]


# The page


def _document(title: str, top: Sequence[Markup], parts: Sequence[Section]) -> str:
    style = (pkgutil.get_data(__package__, "style.css") or b"").decode()  # the package may be in a zip file
    links = "".join(part.link for part in parts)
    main = "\n".join(part.html for part in parts)
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'; "
        'img-src data:">'
        f"<title>{text(title)}</title><style>{style}</style></head>\n<body><header><h1>{text(title)}</h1>"
        f'{"".join(top)}<nav aria-label="Sections">{links}</nav></header>\n<main>{main}</main></body></html>\n'
    )


def _side_by_side(*parts: Markup) -> Markup:
    """Charts and tables side by side, where the page is wide enough."""
    return Markup(f'<div class="charts">{"".join(parts)}</div>')


def _lead(result: Result) -> Markup:
    about, history = result.about, result.history
    parts = [f"A network with {_parameters(result.network):,} parameters"]
    parts.append(f"was trained for {_epochs(history)}")
    if about.get("dataset"):
        parts.append(f"on the dataset {about['dataset']}")
    if history.seconds:
        parts.append(f"in {history.seconds[-1]:.1f} seconds")
    if about.get("library"):
        parts.append(f"with {about['library']} on {about.get('device')}")
    ended = " Ctrl-C ended the run." if history.interrupted else ""
    return Markup(f'<p class="lead">{text(" ".join(parts) + "." + ended)}</p>')


def _epochs(history: History) -> str:
    count = max(0, len(history.seconds) - 1)
    return f"{count} epoch{'s' * (count != 1)}"


def _parameters(network: Network) -> int:
    return sum(int(np.prod(p.shape)) for p in network.params.values())


def _tiles(result: Result, answers: Answers | None) -> Markup:
    history, found = result.history, list[tuple[str, str, str]]()
    if answers:
        where = f"on the {answers.name}" + (f", {answers.seen:,} samples" if answers.seen < answers.total else "")
        if answers.kind == "numbers":
            error = answers.truth - answers.said
            found.append(("Root mean squared error", number(float(np.sqrt(np.mean(error**2)))), where))
            found.append(("R²", number(_r2(answers.truth, answers.said)), where))
        else:
            of = "answers" if answers.kind == "classes" else "outputs"
            wrong = int((answers.truth != answers.said).sum())
            found.append(("Accuracy", _percent(answers.accuracy), where))
            found.append((f"Wrong {of}", f"{wrong:,}", f"of {answers.truth.size:,}"))
        found.append(("Loss", number(answers.loss), where))
    elif history.test_accuracy:
        found.append(("Accuracy", _percent(history.test_accuracy[-1]), "on the test set, after the last epoch"))
    if history.best_epoch is not None:
        found.append(("Best epoch", str(history.best_epoch), "the smallest validation loss"))
    found.append(("Updates", f"{len(history.loss):,}", _epochs(history)))
    body = "".join(
        f"<div><dt>{text(name)}</dt><dd>{text(value)}<small>{text(more)}</small></dd></div>"
        for name, value, more in found
    )
    return Markup(f'<dl class="tiles">{body}</dl>')


def _percent(value: float) -> str:
    return "-" if np.isnan(value) else f"{100 * value:.2f} %"


# The answers


def _where(answers: Answers) -> str:
    some = answers.seen < answers.total
    part = f", spread evenly over all {answers.total:,}" if some else ""
    return f"{answers.name[0].upper()}{answers.name[1:]}, {answers.seen:,} samples{part}"


def _of_answers(answers: Answers, names: list[str]) -> list[Section]:
    if answers.kind == "classes":
        return [_of_confusion(answers, names), _of_classes(answers, names)]
    return [_of_outcomes(answers) if answers.kind == "outputs" else _of_residuals(answers)]


def _of_confusion(answers: Answers, names: list[str]) -> Section:
    labels, said, classes = answers.truth, answers.said, len(names)
    wrong = labels != said
    pairs, counts = np.unique(np.stack([labels[wrong], said[wrong]], axis=1), axis=0, return_counts=True)
    order = np.argsort(-counts, kind="stable")[:10]
    rows = [[names[pairs[i, 0]], names[pairs[i, 1]], f"{counts[i]:,}"] for i in order]
    often = (
        table("The most frequent errors", ["true class", "predicted class", "samples"], rows) if rows else Markup()
    )
    if classes > _CLASSES:
        return Section.of("confusion", "Confusion", f"{_where(answers)}. There are {classes} classes.", often)
    matrix = np.zeros((classes, classes), "int64")
    np.add.at(matrix, (labels, said), 1)
    most = max(1, int((matrix - np.diag(np.diag(matrix))).max()))
    best = max(1, int(np.diag(matrix).max()))
    lines = []
    for i, row in enumerate(matrix):
        cells = [
            Cell(
                f'<td class="{"right" if i == j else "error"}" '
                f'style="--part:{count / (best if i == j else most):.2f}">{count or "·"}</td>'
            )
            for j, count in enumerate(row.tolist())
        ]
        lines.append([names[i], *cells])
    shown = table("Row: the true class. Column: the predicted class.", ["", *names], lines, "confusion")
    told = f"{_where(answers)}. Right answers are on the diagonal. The shades of the errors have their own scale."
    return Section.of("confusion", "Confusion matrix", told, _side_by_side(shown, often))


def _of_classes(answers: Answers, names: list[str]) -> Section:
    classes, labels = len(names), answers.truth
    found = (labels, answers.said, labels[labels == answers.said])
    true, said, right = (np.bincount(part, minlength=classes) for part in found)
    with np.errstate(all="ignore"):
        precision, recall = right / said, right / true
        order = np.argsort(np.nan_to_num(recall, nan=2), kind="stable")[:_ROWS] if classes > _ROWS else range(classes)
        f1 = 2 * right / (said + true)
    rows = [[names[i], _percent(precision[i]), _percent(recall[i]), number(f1[i]), f"{true[i]:,}"] for i in order]
    less = f" The {_ROWS} classes with the smallest recall are shown." if classes > _ROWS else ""
    return Section.of(
        "classes",
        "Precision and recall",
        "Precision: the fraction of the predictions of a class that are right. Recall: the fraction of the samples "
        f"of a class that are found. F1 is their harmonic mean.{less}",
        table(_where(answers), ["class", "precision", "recall", "F1", "samples"], rows),
    )


def _of_outcomes(answers: Answers) -> Section:
    head = ["output", "precision", "recall", "true positives", "false positives", "false negatives", "true negatives"]
    rows, (said, truth) = [], (answers.said, answers.truth)
    pairs = (said & truth, said & ~truth, ~said & truth, ~said & ~truth)
    outcomes = np.stack([pair.sum(axis=0) for pair in pairs], axis=1)
    with np.errstate(all="ignore"):
        for i, (tp, fp, fn, tn) in enumerate(outcomes[:_ROWS]):
            counts = [f"{n:,}" for n in (tp, fp, fn, tn)]
            rows.append([str(i), _percent(tp / np.float64(tp + fp)), _percent(tp / np.float64(tp + fn)), *counts])
    less = f" The first {_ROWS} of {len(outcomes)} outputs are shown." if len(outcomes) > _ROWS else ""
    told = f"{_where(answers)}. An output with a probability above 0.5 is a yes.{less}"
    return Section.of("confusion", "Yes or no", told, table("Answers by output", head, rows))


def _of_residuals(answers: Answers) -> Section:
    targets, predictions = answers.truth, answers.said
    residuals = targets - predictions
    shown = np.linspace(0, residuals.size - 1, min(1000, residuals.size)).astype(int)
    points = scatter(
        f"Prediction against target, {len(shown)} points; on the diagonal, both are equal",
        targets.ravel()[shown],
        predictions.ravel()[shown],
        "target",
        "prediction",
    )
    found = Histogram.of(residuals)
    spread = bars(
        f"Histogram of the residuals: {_described(found)}", found.counts, found.low, found.high, size=(520, 300)
    )
    rows = []
    for i in range(min(_ROWS, targets.shape[1])):
        error = residuals[:, i]
        numbers = (
            error.mean(),
            np.abs(error).mean(),
            np.sqrt(np.mean(error**2)),
            _r2(targets[:, i], predictions[:, i]),
        )
        rows.append([str(i), *(number(float(n)) for n in numbers)])
    less = f", the first {_ROWS} of {targets.shape[1]}" if targets.shape[1] > _ROWS else ""
    head = ["output", "mean residual", "mean absolute error", "root mean squared error", "R²"]
    charts = [
        figure(points, f"Prediction against target, {len(shown):,} points. On the dashed diagonal, both are equal."),
        figure(spread, f"Histogram of the residuals: {_described(found)}."),
    ]
    told = f"{_where(answers)}. A residual is the target minus the prediction."
    return Section.of(
        "residuals", "Residuals", told, _side_by_side(*charts), table(f"Errors by output{less}", head, rows)
    )


def _r2(targets: Host, predictions: Host) -> float:
    spread = float(np.square(targets - targets.mean(axis=0)).sum())
    return 1 - float(np.square(predictions - targets).sum()) / spread if spread else float("nan")


# The samples with large errors


def _of_wrong(answers: Answers, names: list[str], image_shape: tuple[int, ...] | None) -> Section:
    wrong, title = answers.wrong, "Samples with the largest errors"
    told = "The samples with the largest differences between prediction and target."
    if answers.kind == "classes":
        told = "The wrong answers with the smallest probability of the true class."
        wrong = [w for w in wrong if int(w.truth) != int(w.answer.argmax())]
        if not wrong and answers.wrong:
            wrong, title = answers.wrong, "Least certain answers"
            told = "No answer is wrong. These samples have the smallest probability of their true class."
    if not wrong:
        return Section.of("wrong", title, "There are no samples to show.")
    told += f" The number of a sample is its position in the {answers.name}."
    if image_shape:
        told += " The percentage is the probability of the predicted class." if names else ""
        shown = [
            figure(embedded(_pixels(w.sample, image_shape), _alt(w, names), "sample"), _caption(w, names))
            for w in wrong
        ]
        return Section.of("wrong", title, told, Markup(f'<div class="samples">{"".join(shown)}</div>'))
    size = wrong[0].sample.size
    columns = min(8, size)
    rows = [
        [str(w.position), *_words(w, names).values(), *(number(float(v)) for v in w.sample.ravel()[:columns])]
        for w in wrong
    ]
    heads = ["sample", *_words(wrong[0], names), *(f"x{i}" for i in range(columns))]
    rest = f" The first {columns} of {size} numbers of each sample are shown." if size > columns else ""
    numbers = table("Samples with their targets, their predictions, and their numbers", heads, rows)
    return Section.of("wrong", title, told + rest, numbers)


def _words(wrong: Wrong, names: list[str]) -> dict[str, str]:
    """The truth and the answer in words."""
    if names:
        best = int(wrong.answer.argmax())
        sure = f"{100 * wrong.answer[best]:.1f} %"
        return {"true": names[int(wrong.truth)], "predicted": names[best], "probability": sure}
    if len(wrong.answer) <= 4:
        return {"true": ", ".join(map(number, wrong.truth)), "predicted": ", ".join(map(number, wrong.answer))}
    worst = int(np.abs(wrong.answer - wrong.truth).argmax())
    return {
        "output": str(worst),
        "true": number(wrong.truth[worst]),
        "predicted": number(wrong.answer[worst]),
    }


def _alt(wrong: Wrong, names: list[str]) -> str:
    return ", ".join(f"{name} {value}" for name, value in {"sample": wrong.position, **_words(wrong, names)}.items())


def _caption(wrong: Wrong, names: list[str]) -> Markup:
    words = _words(wrong, names).items()
    lines = [f"{name.replace('probability', 'with')} <strong>{text(value)}</strong>" for name, value in words]
    return Markup("<br>".join([*lines, f"sample {wrong.position}"]))


def _pixels(sample: Host, shape: tuple[int, ...]) -> Host:
    """A sample as an image, uint8: numbers of 0 to 1, or of 0 to 255, as they are; others over their own range."""
    image = np.nan_to_num(np.asarray(sample, "float64")).reshape(shape)
    if sample.dtype != np.uint8:
        low, high = float(image.min()), float(image.max())
        low, high = (0.0, 1.0) if 0 <= low and high <= 1 else (low, high)
        image = (image - low) * (255 / ((high - low) or 1.0))
    image = np.round(image).astype("uint8")
    return np.ascontiguousarray(image.transpose(1, 2, 0)) if shape[0] == 3 else image[0]


# The layers


def _of_layers(network: Network, looked: Sequence[LayerNumbers]) -> Section:
    head, *rows = network.stack.summary_rows(network.input_shape, params=network.params, state=network.state)
    caption = "Outputs, parameters, and arithmetic operations for one sample"
    summary = table(caption, head, rows, "summary")
    on = looked[0].samples if looked else 0
    outputs = f", and of its outputs (activations) on {on} samples" if on else ""
    return Section.of(
        "layers",
        "Layers",
        summary,
        f"Histograms of the parameters of each layer{outputs}.",
        *map(_of_layer, looked),
        f"The first {len(looked)} of {len(network.stack.names)} layers are shown."
        if len(looked) < len(network.stack.names)
        else "",
    )


def _of_layer(layer: LayerNumbers) -> Markup:
    shown = [_histogram(f"{name} of {layer.name}", name, found, 0) for name, found in layer.params.items()]
    if layer.outputs:
        dead = f" {layer.dead:,} of {layer.units:,} outputs are 0 for all samples." if layer.dead else ""
        zeros = f" {100 * layer.outputs.zeros:.1f} % are 0.{dead}" if layer.outputs.zeros else ""
        shown.append(_histogram(f"outputs of {layer.name}", "outputs", layer.outputs, 1, zeros))
    title = f"<h3>{text(layer.name)} <code>{text(layer.description)}</code></h3>"
    return Markup(f'{title}<div class="small">{"".join(shown)}</div>')


def _histogram(what: str, name: str, found: Histogram, style: int, more: str = "") -> Markup:
    caption = f"{found.size:,} numbers, {_described(found)}.{more}"
    svg = bars(f"Histogram of the {what}: {caption}", found.counts, found.low, found.high, style)
    return figure(svg, Markup(f"<strong>{text(name)}</strong>: {text(caption)}"))


def _described(found: Histogram) -> str:
    odd = f", {found.odd:,} not finite" if found.odd else ""
    return f"mean {number(found.mean)}, standard deviation {number(found.std)}{odd}"


def _of_gradients(norms: dict[str, list[float]]) -> Section:
    title = "Gradients over time"
    if not norms:
        return Section.of(
            "gradients",
            title,
            "They were not recorded in this run. To record them, train with the option --report or --checkpoint of "
            "the command line, or pass callbacks=[xpnet.GradientNorms()] to train or fit.",
        )
    told = "The norm of the gradient of each layer, on the same training samples in each epoch."
    return Section.of("gradients", title, told, _side_by_side(*gradient_curves(norms)))


def _of_filters(name: str, weights: Host) -> Section:
    colored = weights.shape[1] == 3
    tiles = weights if colored else weights.reshape(-1, 1, *weights.shape[2:])[:64]
    count, _, height, width = tiles.shape
    columns = min(count, 16 if width < 12 else 10)
    rows = -(-count // columns)
    sheet = np.zeros((rows * (height + 1) - 1, columns * (width + 1) - 1, 4), "uint8")
    for i, tile in enumerate(tiles):
        top, left = i // columns * (height + 1), i % columns * (width + 1)
        sheet[top : top + height, left : left + width, :3] = _colors(tile)
        sheet[top : top + height, left : left + width, 3] = 255
    many = f"{count} images of {height} x {width} weights"
    how = (
        "The weights of the three channels are red, green and blue; gray is 0."
        if colored
        else "Blue weights are negative, white weights are 0, red weights are positive. Each image has its own scale."
    )
    image = figure(
        embedded(sheet, f"First-layer filters: {name} as {many}. {how}", "filters"), f"{name}: {many}. {how}"
    )
    told = "The weights of the first layer: the patterns that its units respond to."
    return Section.of("filters", "First-layer filters", told, image)


def _colors(tile: Host) -> Host:
    """A filter, (1, H, W) or (3, H, W), as colors."""
    tile = np.nan_to_num(tile.astype("float64"))
    part: Host = tile / (np.abs(tile).max() or 1.0)
    if tile.shape[0] == 3:
        return (127.5 + 127.5 * part).round().transpose(1, 2, 0)
    ends = np.where(part[0][..., None] < 0, [20.0, 70, 180], [190.0, 30, 40])
    strength = np.abs(part[0])[..., None]
    colors: Host = (1 - strength) * 250 + strength * ends
    return colors.round()


# The facts


def _flat(about: dict[str, Any]) -> dict[str, str]:
    """The facts as text; those that are None are left out."""
    found = {}
    for name, value in about.items():
        if value is not None and value != []:
            found[name] = " × ".join(map(str, value)) if isinstance(value, list) else str(value)
    return found


def _facts(about: dict[str, Any], history: History) -> Markup:
    rows = [[name, value] for name, value in _flat(about).items()]
    if history.seconds:
        rows.append(["seconds", f"{history.seconds[-1]:.1f}"])
    return table("Data, network, options, versions and device", ["fact", "value"], rows, "words")


def _outcome(history: History) -> list[str]:
    columns = ("train_accuracy", "test_accuracy", "validation_accuracy", "test_loss", "validation_loss")
    last = [number(column[-1]) if (column := getattr(history, name)) else "-" for name in columns]
    seconds = f"{history.seconds[-1]:.1f}" if history.seconds else "-"
    best = "-" if history.best_epoch is None else str(history.best_epoch)
    return [str(max(0, len(history.seconds) - 1)), best, *last, seconds]

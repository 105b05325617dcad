"""Callbacks that write the history of a run while it trains: CSV, JSON lines and TensorBoard; and live curves."""

import csv
import io
import json
import math
import os
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from .._files import appending, check_output, replacing
from ..plotting import figure
from .callbacks import Callback
from .history import COLUMNS, History

if TYPE_CHECKING:
    from .loop import Loop

__all__ = ["CSVLogger", "JSONLinesLogger", "LivePlot", "TensorBoard"]


class _EpochLogger(Callback):
    """Writes a line for each row of the history, see `History.epochs`. Only the first process writes."""

    def __init__(self, path: str | os.PathLike[str], *suffixes: str) -> None:
        self.path = check_output(path, *suffixes)

    def on_start(self, run: "Loop") -> None:
        """Write the rows of the history so far: none, or those of the run that is resumed."""
        self._write(run)

    def on_epoch(self, run: "Loop") -> bool | None:
        """Add the new row to the file."""
        if run.rank == 0:
            with appending(self.path) as file:
                file.write(self.lines(run.history.epochs(-1)))
        return None

    def on_end(self, run: "Loop") -> None:
        """Write all rows again: Ctrl-C may have come while a row was added."""
        self._write(run)

    def _write(self, run: "Loop") -> None:
        if run.rank == 0:
            with replacing(self.path) as file:
                file.write(self.head() + self.lines(run.history.epochs()))

    def head(self) -> str:
        """The text before the first line."""
        return ""

    def lines(self, rows: Sequence[dict[str, float]]) -> str:
        """The lines of these rows."""
        raise NotImplementedError


class CSVLogger(_EpochLogger):
    """Writes a row to a CSV file before training and after each epoch.

    The columns are "epoch", "update", "loss" (the mean loss of the mini-batches of the epoch), and the columns of
    `History`. A number that was not measured is empty. An existing file is replaced. When a run is resumed from a
    checkpoint, its earlier rows are kept, and no row appears twice.

    Parameters
    ----------
    path : path
        The file; its name ends in ``.csv``.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> import numpy as np
    >>> from xpnet import TwoLayerNet, fit
    >>> x, t = np.eye(3), np.asarray([0, 1, 2])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     log = CSVLogger(f"{folder}/run.csv")
    ...     result = fit(TwoLayerNet(3, 4, 3), (x, t), epochs=2, callbacks=[log], progress=False)
    ...     [line.split(",")[0] for line in Path(folder, "run.csv").read_text().splitlines()]
    ['epoch', '0', '1', '2']
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        super().__init__(path, ".csv")

    def head(self) -> str:
        """The line with the names of the columns."""
        return ",".join(["epoch", "update", "loss", *COLUMNS]) + "\n"

    def lines(self, rows: Sequence[dict[str, float]]) -> str:
        """The lines of these rows."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        for row in rows:
            loss = "" if math.isnan(row["loss"]) and not row["epoch"] else row["loss"]
            writer.writerow([row["epoch"], row["update"], loss, *(row.get(name, "") for name in COLUMNS)])
        return text.getvalue()


class JSONLinesLogger(_EpochLogger):
    """Writes a line of JSON to a file before training and after each epoch: a row of `History.epochs`.

    A number that is not finite is written as null. An existing file is replaced. When a run is resumed from a
    checkpoint, its earlier lines are kept, and no line appears twice.

    Parameters
    ----------
    path : path
        The file; its name ends in ``.jsonl``.

    Examples
    --------
    >>> import json
    >>> import tempfile
    >>> from pathlib import Path
    >>> import numpy as np
    >>> from xpnet import TwoLayerNet, fit
    >>> x, t = np.eye(3), np.asarray([0, 1, 2])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     log = JSONLinesLogger(f"{folder}/run.jsonl")
    ...     result = fit(TwoLayerNet(3, 4, 3), (x, t), epochs=2, callbacks=[log], progress=False)
    ...     [json.loads(line)["epoch"] for line in Path(folder, "run.jsonl").read_text().splitlines()]
    [0, 1, 2]
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        super().__init__(path, ".jsonl")

    def lines(self, rows: Sequence[dict[str, float]]) -> str:
        """The lines of these rows."""
        finite = [{name: n if math.isfinite(n) else None for name, n in row.items()} for row in rows]
        return "".join(f"{json.dumps(row)}\n" for row in finite)


class TensorBoard(Callback):
    """Writes losses and accuracies for TensorBoard, after each epoch. Needs tensorboardX: the extra `tensorboard`.

    The scalars are "loss/train" (the loss of each mini-batch), "accuracy/train", "loss/test", "accuracy/test",
    "loss/validation" and "accuracy/validation"; the step is the number of updates. Use a folder for each run:
    TensorBoard hides the scalars that an earlier run wrote to the same folder, unless the run is resumed from a
    checkpoint. Only the first of several processes writes.

    Parameters
    ----------
    folder : path
        The folder for the files, which is made if it does not exist. To see the scalars, run
        ``tensorboard --logdir FOLDER``.

    Raises
    ------
    ImportError
        If tensorboardX is not installed. The message has the command that installs it.

    Examples
    --------
    >>> import xpnet
    >>> xpnet.train(callbacks=[TensorBoard("runs/first")])  # doctest: +SKIP
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        try:
            from tensorboardX import SummaryWriter
        except ImportError as error:
            raise ImportError(
                "TensorBoard needs tensorboardX; get it with: pip install 'xpnet[tensorboard]'"
            ) from error
        self.folder, self.make = os.fspath(folder), SummaryWriter

    def on_start(self, run: "Loop") -> None:
        """Open a file in the folder."""
        self.writer: Any = None
        self.written = len(run.history.loss)
        if run.rank == 0:
            # The name of the file has seconds only: a second run in the same second would overwrite the first file.
            suffix = f".{time.time_ns()}"
            first = self.written + 1 if run.history.seconds else 0
            self.writer = self.make(self.folder, purge_step=first, filename_suffix=suffix)

    def on_epoch(self, run: "Loop") -> bool | None:
        """Write the losses of the epoch, and the last row of the history."""
        if self.writer is not None:
            self._write(run.history)
        return None

    def _write(self, history: History) -> None:
        for update, loss in enumerate(history.loss[self.written :], self.written + 1):
            self.writer.add_scalar("loss/train", loss, update)
        self.written = len(history.loss)
        for name in COLUMNS[:-1]:
            part, kind = name.split("_")
            for value in getattr(history, name)[-1:]:
                self.writer.add_scalar(f"{kind}/{part}", value, self.written)
        self.writer.flush()

    def on_end(self, run: "Loop") -> None:
        """Close the file."""
        if self.writer is not None:
            self.writer.close()


class LivePlot(Callback):
    """Draws the losses and accuracies in a notebook, and draws them again after each epoch.

    Needs matplotlib and IPython. A drawing takes about a tenth of a second. Only the first of several processes
    draws.

    Raises
    ------
    ImportError
        If matplotlib or IPython is not installed. The message has the command that installs it.

    Examples
    --------
    >>> import xpnet
    >>> xpnet.train(callbacks=[LivePlot()])  # doctest: +SKIP
    """

    def __init__(self) -> None:
        try:
            from IPython.display import Image, display
        except ImportError as error:
            raise ImportError("LivePlot needs IPython; get it with: pip install 'xpnet[notebook]'") from error
        figure()  # an error now if matplotlib is missing
        self.image: Any = Image
        self.display: Any = display

    def on_start(self, run: "Loop") -> None:
        """Forget the picture of an earlier run."""
        self.shown: Any = None

    def on_epoch(self, run: "Loop") -> bool | None:
        """Draw the history."""
        if run.rank == 0 and run.epoch:
            fig, axes = figure(2 if run.history.train_accuracy else 1)
            run.history.plot(ax=axes)
            file = io.BytesIO()
            fig.savefig(file, format="png")
            image = self.image(data=file.getvalue())
            if self.shown is None:
                self.shown = self.display(image, display_id=True)
            else:
                self.shown.update(image)
        return None

"""Write a report of one run, or of several; and read runs from checkpoints."""

import math
import os
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from .._array import dtype_name
from .._files import check_output, replacing
from .._validation import check_integer
from ..datasets import Shards, scale_images
from ..nn.networks import Network
from ..training.checkpoints import Recorded, read_run
from ..training.evaluation import Sampled
from ..training.fitting import Result, loaded
from ..training.samples import Dataset, Sets, check_values, given, namespace_of, samples_of
from .pages import Run, comparison, page

__all__ = ["read", "write"]


def write(
    path: str | os.PathLike[str],
    runs: Sequence[Result | Run],
    *,
    data: Any = None,
    image_shape: Sequence[int] | None = None,
    class_names: Sequence[str] | None = None,
) -> None:
    """Write the report of a run, or a comparison of several runs; other arguments are those of `Result.report`."""
    path = check_output(path, ".html")
    named = [run if isinstance(run, Run) else Run(run.about.get("dataset") or "", run) for run in runs]
    if len(named) > 1:
        if any(option is not None for option in (data, image_shape, class_names)):
            raise ValueError("data, image_shape and class_names are for the report of one run; leave them out")
        html = comparison(named)
    else:
        (run,) = named
        if data is not None:
            run = run._replace(result=replace(run.result, sampled=_sampled(run.result, data)))
        _check_names(run.result.network, class_names)
        html = page(run, _image_shape(run.result, image_shape), class_names)
    with replacing(path) as file:
        file.write(html)


def read(path: str | os.PathLike[str], data: str | None = None, *, evaluated: bool = True) -> Run:
    """The run in a checkpoint, with the dataset that `data` names, or else with the dataset of the run.

    If `evaluated` is False, no dataset is loaded: a comparison of runs needs none.

    Raises
    ------
    ValueError
        If the file contains no run, or if `data` cannot be read or does not fit the network.
    OSError
        If the file cannot be read.
    """
    saved = read_run(path)
    result, name = Result(saved.network, saved.history, saved.about), data or saved.about.get("dataset")
    transform = saved.settings.get("transform")
    note = ""
    if not evaluated:
        return Run(os.fspath(path), result)
    if name is None:
        note = (
            "There are no samples to evaluate: the file does not name the dataset of the run. Name it with --data, "
            "or call result.report in Python."
        )
    elif transform not in (None, scale_images.__name__):
        note = f"The run used the transform {transform}, which a file cannot contain. Call result.report in Python."
    else:
        try:
            sampled, shape = _loaded(saved, name)
            shown = saved.about | {"image shape": saved.about.get("image shape") or shape}
            result = replace(result, about=shown, sampled=sampled)
        except (OSError, ValueError, TypeError) as error:
            if data is not None:
                raise ValueError(f"data={data!r} cannot be used with {os.fspath(path)}: {error}") from error
            note = f"The dataset of the run, {name}, cannot be used here: {error}. Name it with --data."
    return Run(os.fspath(path), result, note)


def _loaded(saved: Recorded, name: str) -> tuple[Sampled, list[int] | None]:
    """The samples of a run from its dataset by name, and the shape of its images."""
    network = saved.network
    sets, image_shape = loaded(name, flat=len(network.input_shape) == 1)
    dtype = dtype_name(next(iter(network.params.values())).dtype)
    kind = dtype_name(sets.train.x_dtype if isinstance(sets.train, Shards) else sets.train[0].dtype)
    transform = partial(scale_images, dtype=dtype) if network.stack.takes_floats and "int" in kind else None
    parts = {f"_{end}": _targets_in(dtype, part) for end, part in sets._asdict().items() if part is not None}
    found = {end: samples_of(end, part, network, transformed=transform is not None) for end, part in parts.items()}
    check_values(network, parts, transformed=transform is not None)
    train, test = found["_train"], found.get("_test")
    used = test or train
    told = f"{list(used.shape)} with checksum {used.fingerprint()}"
    same = told == saved.settings.get("test samples" if test else "training samples")
    held = train.units[:0] if saved.held is None or not same else saved.held
    sampled = Sampled.of(Sets(train, train.units, held, test), transform)
    return sampled._replace(
        name=f"{sampled.name} of {name}{'' if same else ', which is not the data of the run'}"
    ), image_shape


def _targets_in(dtype: str, data: Dataset) -> Dataset:
    """The dataset with targets that are not labels in this dtype, as `train` converts them."""
    return data if isinstance(data, Shards) or data[1].ndim == 1 else (data[0], data[1].astype(dtype))


def _sampled(result: Result, data: Any) -> Sampled:
    """The samples that the caller of `Result.report` passed."""
    network, transform = result.network, result.sampled and result.sampled.transform
    sets = given(data)
    if sets.test is not None:
        raise TypeError("data must be one dataset, (x, t) or Shards, but a training set and a test set are given")
    namespace_of(sets, params=next(iter(network.params.values())))
    samples = samples_of("", sets.train, network, transformed=transform is not None)
    check_values(network, {"": sets.train}, transformed=transform is not None)
    return Sampled("given samples", samples, samples.units, transform)


def _image_shape(result: Result, chosen: Sequence[int] | None) -> tuple[int, ...] | None:
    """The shape (C, H, W) of a sample as an image; None if samples are no images."""
    sample = result.sampled.samples.shape[1:] if result.sampled else result.network.input_shape
    if chosen is not None:
        shape = tuple(check_integer("image_shape", n, 1) for n in chosen)
        shape = (1, *shape) if len(shape) == 2 else shape
        if len(shape) != 3 or shape[0] not in (1, 3) or math.prod(shape) != math.prod(sample):
            raise ValueError(
                f"image_shape must be (H, W), (1, H, W) or (3, H, W) with {math.prod(sample)} elements, the size of "
                f"a sample; got {tuple(chosen)}"
            )
        return shape
    told = result.about.get("image shape")  # of a file, it may be anything
    for found in (tuple(told) if isinstance(told, list) else (), sample):
        if len(found) == 3 and found[0] in (1, 3) and all(type(n) is int for n in found):
            if math.prod(found) == math.prod(sample):
                return found
    return None


def _check_names(network: Network, names: Sequence[str] | None) -> None:
    if names is None:
        return
    if isinstance(names, str) or not all(isinstance(name, str) for name in names):
        raise TypeError(f"class_names must be a sequence of strings, got {names!r}")
    if not network.stack.last.takes_labels or len(names) != network.output_shape[-1]:
        many = network.output_shape[-1] if network.stack.last.takes_labels else 0
        raise ValueError(f"class_names must have a name for each of the {many} classes, got {len(names)} names")

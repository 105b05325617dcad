"""Training of many networks at once."""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from copy import copy
from dataclasses import dataclass, field, fields, replace
from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np

from .._array import device, dtype_name, namespace
from .._typing import Array, Params
from .._validation import check_integer
from ..backends import Draw, backend_of, on_arrays_device, to_numpy, vmap
from ..backends.base import one_line
from ..layers.dropout import Dropout as DropoutLayer
from ..nn.base import Description
from ..nn.dropout import Dropout
from ..nn.initializers import generator
from ..nn.networks import Network
from ..nn.sequential import Sequential
from ..optim.optimizers import Optimizer
from .about import about
from .config import OptimizerLike, Options, optimizer_of
from .distributed import Processes
from .evaluation import Block, Measured, Measures, Sampled
from .fitting import Result, network_of, source_of
from .history import History
from .loop import Diverged, diverged
from .progress import Progress
from .samples import (
    Dataset,
    Host,
    InMemory,
    Sets,
    check_batches,
    check_values,
    given,
    hold_out,
    namespace_of,
    samples_of,
)
from .step import Carry, Transform, is_known, transformed, updated
from .together import Together, cut, numbers_of, part, parted

__all__ = ["fit_many"]

_NUMBERS = ("lr", "weight_decay", "momentum", "clip_norm")
"""The options of optimizers that may differ between networks which are trained at once."""


@dataclass(eq=False)
class _Member:
    """A network, and what its run needs."""

    network: Network
    optimizer: Optimizer
    rng: np.random.Generator
    batch_size: int
    sets: Sets
    history: History = field(default_factory=History)
    measures: Any = None
    error: Diverged | None = None
    over: bool = False

    def __post_init__(self) -> None:
        self.drawn = self.network.stack  # the layers that draw the dropout masks

    @property
    def train(self) -> InMemory:
        """The training set."""
        assert isinstance(self.sets.train, InMemory)
        return self.sets.train

    @property
    def key(self) -> tuple[Any, ...]:
        """What must be equal for networks that are trained at once."""
        stack, optimizer, loss = self.network.stack, self.optimizer, self.network.stack.loss_description
        options = {f.name: getattr(optimizer, f.name) for f in fields(optimizer) if f.compare}
        own = is_known(type(optimizer))  # an object of another class can differ in ways that are not known
        return (
            Sequential if type(stack) is Sequential else id(stack),
            [(type(d), _text(d)) if is_known(d) else id(d) for d in stack.descriptions],
            loss if is_known(loss) else id(loss),
            type(optimizer) if own else id(optimizer),
            {name: float if name in _NUMBERS and type(v) is float else v for name, v in options.items()},
            {name: (tuple(a.shape), a.dtype) for name, a in self.network.params.items()},
            self.batch_size,
            len(self.sets.units),
            len(self.sets.held),
        )


def _text(description: Description) -> str:
    """The options that must be equal for networks that are trained at once."""
    return "" if type(description) is Dropout else description.text("weight_init")


class _Kept(NamedTuple):
    """The result of the complete epochs. It is one tuple, so Ctrl-C cannot leave a half-written result."""

    members: list[_Member]
    """The networks in the order of the first axis of the arrays."""
    params: Params
    state: Params
    rows: int
    """The number of rows of the histories."""


@on_arrays_device
def fit_many(
    networks: Sequential | Sequence[Sequential | Network],
    data: Dataset | tuple[Dataset, Dataset | None],
    test: Dataset | None = None,
    optimizers: OptimizerLike | Sequence[OptimizerLike] | None = None,
    *,
    seeds: int | Sequence[int] = 0,
    rows: Sequence[Array] | None = None,
    epochs: int = 17,
    batch_size: int | Sequence[int] = 100,
    sampling: Literal["shuffle", "replacement"] = "shuffle",
    transform: Transform | None = None,
    validation: float = 0.0,
    patience: int | None = None,
    memory: int | None = None,
    progress: bool = True,
) -> list[Result]:
    """Train many networks at once, in much less time than one after the other.

    Each network ends as `fit` would have trained it alone, up to rounding. Small networks gain most: a step of many
    networks takes hardly more calls than a step of one network.

    Parameters
    ----------
    networks : Sequential, or sequence of Sequential or Network
        The networks. One `Sequential` is the description of all networks. From each `Sequential`, `fit_many` makes a
        network with the library, device and dtype of the samples. Each `Network` in the sequence is trained in place.
    data : ``(x_train, t_train)`` or ``((x_train, t_train), (x_test, t_test))``
        The training set, and optionally the test set, as in `fit`; arrays only.
    test : ``(x_test, t_test)``, optional
        The test set, if `data` is only the training set. All networks are evaluated on the whole test set.
    optimizers : optimizer, its class or its name, or a sequence of these, default SGD(lr=0.1)
        The optimizer of all networks, or one optimizer for each network.
    seeds : int or sequence of int, default 0
        The seed of all networks, or one seed for each network: of the initial weights, the validation samples, the
        mini-batches and the dropout masks.
    rows : sequence of arrays, optional
        For each network, the rows of the training set to train with: integers, or a mask of bools. Default: all.
    epochs
        As in `fit`.
    batch_size : int or sequence of int, default 100
        The number of samples in a mini-batch, for all networks or for each network.
    sampling, transform, validation
        As in `fit`.
    patience : int, optional
        As in `fit`, for each network on its own. A network that has stopped takes no more time as soon as half of
        its group has stopped.
    memory : int, optional
        The largest number of bytes for the arrays of the networks that are trained at once. With more networks, one
        group is trained after the other. Default: 4 MiB on the CPU, where larger groups are not faster, and 1 GiB on
        other devices.
    progress : bool, default True
        Whether to show a progress bar on a terminal, and to print a line for each group.

    Returns
    -------
    list of Result
        For each network, the network and its history. If the loss of a network became infinite or NaN, its result has
        the error as the attribute `error`, and the network has the parameters of the epoch before. After Ctrl-C, the
        networks have the parameters of the last complete epoch (with `patience`, of the best epoch), and
        ``history.interrupted`` is True.

    Raises
    ------
    TypeError, ValueError
        If an argument has a wrong type, value, shape or length.

    Notes
    -----
    The number of networks is the length of the sequences among `networks`, `optimizers`, `seeds`, `rows` and
    `batch_size`. All sequences must have this length.

    Networks are trained in one group if they differ only in their seeds, initial weights, rows, dropout rates, and in
    the options `lr`, `weight_decay`, `momentum` and `clip_norm` of their optimizers. They must have the same number
    of training samples. Networks with other differences are trained in several groups, one after the other. Networks
    with a layer, loss or optimizer of your own are trained in one group only if they share the same object. Your own
    layers, losses and optimizers must use the functions of the array API standard, and must not read values.

    Examples
    --------
    >>> from xpnet import SGD, nn
    >>> rng = np.random.default_rng(0)
    >>> x = rng.random((200, 2))
    >>> t = (x[:, 0] > x[:, 1]).astype(int)
    >>> stack = Sequential(nn.Dense(8), nn.Relu(), nn.Dense(2))
    >>> rates = [0.01, 0.1, 1.0]
    >>> results = fit_many(stack, (x, t), optimizers=[SGD(lr) for lr in rates], batch_size=20, progress=False)
    >>> [result.history.train_accuracy[-1] > 0.9 for result in results]
    [False, True, True]
    """
    if not (test is None or isinstance(test, (tuple, list))):
        raise TypeError(
            f"fit_many: test must be (x_test, t_test), got {type(test).__name__}; pass the optimizers as "
            "optimizers=..."
        )
    sets = given(data, test)
    for name, pair in sets.named.items():
        if not isinstance(pair, (tuple, list)):
            raise TypeError(
                f"fit_many: x{name} must be an array, got {type(pair).__name__}; to train on Shards, use fit for "
                "each network"
            )
    each = {"networks": networks, "optimizers": optimizers, "seeds": seeds, "rows": rows, "batch_size": batch_size}
    count, columns = _columns(each)
    sizes = [check_integer("batch_size", size, 1) for size in columns["batch_size"]]
    options = Options(
        epochs=epochs,
        sampling=sampling,
        transform=transform,
        validation=validation,
        patience=patience,
        progress=progress,
    )
    if memory is not None:
        memory = check_integer("memory", memory, 1)
    members = list[_Member]()
    for i in range(count):
        if isinstance(seed := columns["seeds"][i], np.random.Generator):
            raise TypeError(f"fit_many: seeds[{i}] must be an integer of at least 0, got a Generator")
        rng = generator(seed)
        network = network_of(columns["networks"][i], sets, rng)
        if members and network is columns["networks"][0]:
            raise ValueError(f"fit_many: networks[{i}] is networks[0]; pass another Network object for each run")
        optimizer = optimizer_of(columns["optimizers"][i])
        first = members[0].sets if members else None
        chosen = _sets(network, sets, columns["rows"][i], i, rng, options, first)
        members.append(_Member(network, optimizer, rng, sizes[i], chosen))
        check_batches(network, _sample_shape(members[i], options), len(chosen.units), sizes[i], 1, 1)
    groups = _groups(members)
    for group in groups:
        check_values(group[0].network, sets.named, transformed=transform is not None)
    _train_groups([part for group in groups for part in _cut(group, memory)], options)
    return [_result(member, options, seed) for member, seed in zip(members, columns["seeds"], strict=True)]


def _columns(each: dict[str, Any]) -> tuple[int, dict[str, Sequence[Any]]]:
    """The number of networks, and each argument as a sequence with an entry for each network."""

    def is_sequence(name: str, value: Any) -> bool:
        return isinstance(value, (list, tuple, range)) or (isinstance(value, np.ndarray) and value.ndim > 0)

    lengths = {name: len(value) for name, value in each.items() if is_sequence(name, value)}
    if not lengths:
        raise ValueError(
            "fit_many: the number of networks is not known; pass a sequence, such as seeds=range(10), or use fit"
        )
    if len(set(lengths.values())) > 1 or 0 in lengths.values():
        told = ", ".join(f"{name} has {n}" for name, n in lengths.items())
        raise ValueError(f"fit_many: the sequences must have one entry for each network, but {told}")
    (count,) = set(lengths.values())
    if each["rows"] is not None and "rows" not in lengths:
        raise TypeError(f"fit_many: rows must be a sequence of arrays, got {type(each['rows']).__name__}")
    return count, {name: value if name in lengths else [value] * count for name, value in each.items()}


def _sets(
    network: Network,
    sets: Any,
    rows: Any,
    i: int,
    rng: np.random.Generator,
    options: Options,
    first: Sets | None,
) -> Sets:
    """The checked samples of a network; the arrays are those of `first`, the samples of the first network."""
    namespace_of(sets, params=next(iter(network.params.values())))
    transformed = options.transform is not None
    train, test = (
        None if pair is None else samples_of(f"_{name}", pair, network, transformed=transformed)
        for name, pair in sets._asdict().items()
    )
    assert isinstance(train, InMemory)
    if first is not None:
        assert isinstance(first.train, InMemory)
        train.data = first.train.data
        if first.test is not None:
            test = first.test
    if rows is not None:
        train.units = _chosen_rows(rows, i, len(train.units))
    units, held = train.units, train.units[:0]
    if options.validation:
        units, held = hold_out(train, options.validation, rng)
    return Sets(train, units, held, test)


def _chosen_rows(rows: Any, i: int, count: int) -> Host:
    host = np.asarray(rows) if isinstance(rows, (list, tuple, range)) else to_numpy(rows)
    name = f"fit_many: rows[{i}]"
    if host.dtype.kind == "b" and host.shape == (count,):
        host = np.flatnonzero(host)
    if host.ndim != 1 or host.dtype.kind not in "iu" or not len(host):
        raise ValueError(
            f"{name} must contain integers, or one bool for each of the {count} samples; got {host.dtype} of shape "
            f"{host.shape}"
        )
    if host.min() < 0 or host.max() >= count:
        wrong = int(host.max() if host.min() >= 0 else host.min())
        raise ValueError(f"{name} contains {wrong}, but x_train has {count} rows (0 to {count - 1})")
    return host


def _sample_shape(member: _Member, options: Options) -> tuple[int, ...]:
    return member.network.input_shape if options.transform else member.sets.train.shape[1:]


def _result(member: _Member, options: Options, seed: Any) -> Result:
    own = replace(options, batch_size=member.batch_size)
    place = Result(member.network, member.history).device
    facts = about(member.network, member.optimizer, member.sets, own, place, source_of(seed) | {"processes": 1})
    return Result(member.network, member.history, facts, Sampled.of(member.sets, options.transform), member.error)


# Groups


def _groups(members: Sequence[_Member]) -> list[list[_Member]]:
    """The networks that can be trained at once."""
    groups = list[tuple[Any, list[_Member]]]()
    for member in members:
        key = member.key
        found = next((group for known, group in groups if known == key), None)
        if found is None:
            groups.append((key, [member]))
        else:
            found.append(member)
    return [group for _, group in groups]


def _train_groups(groups: list[list[_Member]], options: Options) -> None:
    total = sum(options.epochs * math.ceil(len(g[0].sets.units) / g[0].batch_size) for g in groups)
    backend = backend_of(next(iter(groups[0][0].network.params.values())))
    interrupted = False
    with (
        np.errstate(over="ignore", invalid="ignore"),  # a run that diverges has an error in its result
        backend.memory_errors("pass a smaller memory, or a smaller batch_size"),
        Progress(total, shown=options.progress, unit="update") as bar,
    ):
        for number, group in enumerate(groups, 1):
            try:
                interrupted = interrupted or _Group(group, options).train(bar)
            except KeyboardInterrupt:  # before the first epoch
                interrupted = True
            except TypeError as error:
                if is_known(group[0].network.stack, group[0].optimizer, options.transform):
                    raise
                raise TypeError(
                    "fit_many: a layer, loss, optimizer, schedule or transform of your own must use the functions of "
                    f"x.__array_namespace__() only ({one_line(error)}); change it, or train with fit"
                ) from error
            if interrupted:
                for member in group:
                    member.history.interrupted = not member.over
                continue
            failed = sum(m.error is not None for m in group)
            bar.line(
                f"group {number} of {len(groups)}: {len(group)} networks"
                + (f", {failed} of them diverged" if failed else "")
            )


def _cut(group: list[_Member], memory: int | None) -> Iterator[list[_Member]]:
    first = group[0]
    params, shapes = first.network.params, first.network.stack.shapes(first.network.input_shape)
    return cut(group, params, numbers_of(params, len(first.optimizer.state_names), shapes, first.batch_size), memory)


class _Group:
    """Networks that are trained at once. `active` has them in the order of the first axis of `together`."""

    def __init__(self, members: list[_Member], options: Options) -> None:
        self.active, self.options, first = list(members), options, members[0]
        self.shape = _sample_shape(first, options)
        stacks = [m.network.stack for m in members]
        if len({tuple(d.rate for d in stack.descriptions if type(d) is Dropout) for stack in stacks}) > 1:
            for member, stack in zip(members, stacks, strict=True):
                member.drawn = _with_rates(stack)
        self.stack = first.drawn
        values: dict[str, list[Any]] = {
            name: [getattr(m.optimizer, name, None) for m in members] for name in _NUMBERS
        }
        alike = all(
            m.rng.bit_generator.state == first.rng.bit_generator.state
            and np.array_equal(m.sets.units, first.sets.units)
            for m in members[1:]
        )
        self.together = Together(
            _step(self.stack, first.optimizer, options.transform),
            [Carry(m.network.params, m.optimizer.init(m.network.params), m.network.state) for m in members],
            first.train.data,
            {name: found for name, found in values.items() if any(v != found[0] for v in found)},
            alike,
        )
        for member in members:
            member.measures = Measures(member.network, member.sets, options.transform, Processes())
        self.scores = {
            name: self._score(part.blocks.measure, name == "test") for name, part in first.measures.parts.items()
        }
        self.best: tuple[Params, Params] | None = None
        self.kept = _Kept(self.active, self.together.carry.params, self.together.carry.state, 0)
        self.start = time.perf_counter()

    def train(self, bar: Progress) -> bool:
        """Train the networks; returns whether Ctrl-C has ended the run."""
        interrupted = False
        try:
            self._train(bar)
        except KeyboardInterrupt:
            interrupted = True
        running = [m for m in self.kept.members if not m.over]
        for member in running:
            member.history.cut(self.kept.rows)
        self._hand_out(*self.kept[:3], running)
        return interrupted

    def _train(self, bar: Progress) -> None:
        together = self.together
        self._end_epoch(0, np.empty((0, together.count)), together.carry)
        for epoch in range(1, self.options.epochs + 1):
            if all(m.over for m in self.active):
                break
            before, losses = together.carry, list[Array]()
            for loss in together.train(self._order(), self.active[0].batch_size, self._draw()):
                losses.append(loss)
                bar.advance(loss.shape[0] if loss.ndim == 2 else 1)
            self._end_epoch(epoch, together.read(losses), before)

    @staticmethod
    def _hand_out(order: list[_Member], params: Params, state: Params, members: list[_Member]) -> None:
        """Give parameters and state to the networks of some members; `order` is that of the first axis."""
        for i, member in enumerate(order):
            if any(member is m for m in members):
                member.network.params, member.network.state = part((params, state), i)

    def _order(self) -> Host:
        orders = [
            m.train.order(m.rng, m.sets.units, m.batch_size, self.options.sampling)
            for m in self.active  # each generator moves on, also if one order is enough
        ]
        return orders[0] if self.together.alike else np.stack(orders)

    def _draw(self) -> Draw | None:
        if not self.stack.mask_names:
            return None
        first = next(iter(self.together.carry.params.values()))

        def draw(size: int) -> dict[str, Host]:
            each = [m.drawn.draw(m.rng, (size, *self.shape)) for m in self.active]
            masks = {name: np.stack([masks[name] for masks in each]) for name in each[0]}
            return {n: mask if mask.ndim > 1 else mask.astype(dtype_name(first.dtype)) for n, mask in masks.items()}

        return draw

    # The end of an epoch

    def _end_epoch(self, epoch: int, losses: Host, before: Carry) -> None:
        """Add a row to each history, and end the runs that diverge or do not improve."""
        patience, better, stopped = self.options.patience, [False] * len(self.active), list[_Member]()
        for i, (member, measured) in enumerate(zip(self.active, self._measured(), strict=True)):
            if member.over:
                continue
            member.history.loss.extend(losses[:, i].tolist())
            try:
                self._add_row(member, measured, epoch, bool(np.isfinite(losses[:, i]).all()))
            except Diverged as error:
                self._hand_out(self.active, before.params, before.state, [member])
                member.error, member.over = error, True
                continue
            if patience is not None:
                better[i] = member.history.best_epoch == epoch
                if epoch - (member.history.best_epoch or 0) >= patience:
                    stopped.append(member)
        if patience is not None:
            self._keep_best(better)
            assert self.best
            self._hand_out(self.active, *self.best, stopped)
            for member in stopped:
                member.over = True
        running = [i for i, m in enumerate(self.active) if not m.over]
        if running and 2 * len(running) <= len(self.active):
            self.together.keep(running)
            self.active = [self.active[i] for i in running]
            if self.best:
                self.best = self.together.rows(self.best, running)
        carry = self.together.carry
        self.kept = _Kept(self.active, *(self.best or (carry.params, carry.state)), epoch + 1)

    def _add_row(self, member: _Member, measured: dict[str, Measured], epoch: int, finite: bool) -> None:
        lr = member.optimizer.lr
        if not finite:
            member.measures.check_finite("train")
            raise diverged(member.history, epoch, lr)
        columns, failed = member.measures.found(measured)
        if "train" in failed:
            raise diverged(member.history, epoch, lr)
        member.history.add(columns, time.perf_counter() - self.start)

    def _keep_best(self, better: list[bool]) -> None:
        """Replace the best parameters and state of the networks that are better than before."""
        carry = self.together.carry
        now = carry.params, carry.state
        if self.best is None or all(better):
            self.best = now
        elif any(better):
            first = next(iter(carry.params.values()))
            xp = namespace(first=first)
            flags = xp.asarray(better, dtype=xp.bool, device=device(first))

            def chosen(new: Params, old: Params) -> Params:
                return {
                    name: xp.where(xp.reshape(flags, (-1, *[1] * (a.ndim - 1))), a, old[name])
                    for name, a in new.items()
                }

            self.best = chosen(now[0], self.best[0]), chosen(now[1], self.best[1])

    # Evaluation

    def _score(self, measure: Callable[..., Any], alike: bool) -> Callable[..., Any]:
        """A compiled function of (params, state), data, rows and masks: the measurements of each network."""
        stack, transform = self.stack, self.options.transform

        def one(carry: tuple[Params, Params], x: Array, t: Array) -> Any:
            params, state = carry
            return measure(stack.predict(params, transformed(transform, x), state=state), t)

        def score(carry: tuple[Params, Params], batch: tuple[Array, Array], masks: Params) -> Any:
            count = next(iter(carry[0].values())).shape[0]
            given = batch if alike else [parted(a, count) for a in batch]
            return vmap(one, in_axes=(0, None, None) if alike else 0)(carry, *given)

        score.known = is_known(stack, transform)  # type: ignore[attr-defined]  # see `Backend.compile`
        return self.together.backend.compile_on_rows(score)

    def _measured(self) -> list[dict[str, Measured]]:
        """The measurements of each network on its datasets, read with one transfer."""
        together, backend = self.together, self.together.backend
        carry, numbers, found = (together.carry.params, together.carry.state), list[Array](), {}
        for name, first in self.active[0].measures.parts.items():
            samples, alike = first.samples, name == "test"
            units = [m.measures.parts[name].units for m in self.active]
            rows = first.units if alike else np.stack(units)
            size = max(1, first.blocks.block // together.count)
            blocks = list[tuple[int, dict[str, Array]]]()
            for start in range(0, rows.shape[-1], size):
                index = rows[..., start : start + size]
                placed = backend.index(index.reshape(-1), samples.data[0])
                blocks.append((index.shape[-1], self.scores[name](carry, samples.data, placed, {})))
            found[name] = blocks
            numbers += [value for _, values in blocks for value in values.values()]
            backend.release(self.scores[name])
        read = iter(to_numpy(namespace(a=numbers[0]).stack(numbers)).T.tolist() if numbers else [])
        return [self._blocks(found, iter(values)) for values in read]

    @staticmethod
    def _blocks(found: dict[str, Any], values: Iterator[float]) -> dict[str, Measured]:
        return {
            name: [Block(size, {key: next(values) for key in keys}) for size, keys in blocks]
            for name, blocks in found.items()
        }


def _step(stack: Sequential, optimizer: Optimizer, transform: Transform | None) -> Callable[..., Any]:
    """One update of one network; `numbers` has the options of the optimizer that differ between the networks."""

    def step(carry: Carry, batch: Any, masks: Params, numbers: Params) -> tuple[Carry, Array]:
        own = copy(optimizer)
        for name, value in numbers.items():
            object.__setattr__(own, name, value)  # without the checks, which read values
        return updated(stack, own, carry, batch, masks, transform)

    step.known = is_known(stack, optimizer, transform)  # type: ignore[attr-defined]  # see `Backend.compile`
    return step


@dataclass(frozen=True, repr=False)
class _RatedDropout(Dropout):
    """Dropout whose rate is an array, which `draw` returns together with the mask."""

    masks: ClassVar[tuple[str, ...]] = ("mask", "rate")  # type: ignore[assignment,misc]

    def draw(self, rng: Any, shape: tuple[int, ...]) -> tuple[Array, ...]:
        return (*super().draw(rng, shape), np.asarray(self.rate))

    def layer(self, arrays: Sequence[Array], training: bool) -> DropoutLayer:
        mask, rate = arrays
        return DropoutLayer(self.rate if rate is None else rate, mask)


def _with_rates(stack: Sequential) -> Sequential:
    """The same layers, with dropout rates that are arrays."""
    made = copy(stack)
    descriptions = [_RatedDropout(d.rate) if type(d) is Dropout else d for d in stack.descriptions]
    Sequential.__init__(made, *descriptions, loss=stack.loss_description)
    return made

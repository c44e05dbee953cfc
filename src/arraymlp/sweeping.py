"""sweep(): many settings in one training run, their networks trained together as populations."""

import logging
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import nullcontext
from dataclasses import dataclass, fields, replace
from time import perf_counter
from typing import Any

import numpy as np

from arraymlp._checks import is_number, unknown
from arraymlp.backend import Backend, resolve
from arraymlp.batching import folds, split
from arraymlp.courses import Course
from arraymlp.cuts import WORTH_A_THREAD, cores, cut, memory_budget, step_products
from arraymlp.data import (
    Data,
    add_validation,
    class_positions,
    columns,
    load_data,
    require_minibatches,
    with_class_weights,
)
from arraymlp.history import Record
from arraymlp.interrupt import Interrupt, interruptible
from arraymlp.members import kind, resolved
from arraymlp.metrics import greater_is_better as better_when_greater
from arraymlp.population import Outcome, Solo, StepLosses, run_of, train_population
from arraymlp.progress import SweepProgress, sweep_progress_for
from arraymlp.run import Run
from arraymlp.settings import Settings
from arraymlp.space import points
from arraymlp.space import shown as shown_as
from arraymlp.start import require_fit, settings_for
from arraymlp.stream import Streamed
from arraymlp.sweep_result import Member, SweepResult, scored
from arraymlp.threads import blas_threads

log = logging.getLogger("arraymlp")

SETTINGS = [field.name for field in fields(Settings)]


def sweep(
    X: Any = None,
    y: Any = None,
    *,
    mode: str = "grid",
    n: int | None = None,
    cv: Any = None,
    score: str | None = None,
    greater_is_better: bool | None = None,
    memory: int | str | None = None,
    compact: bool = True,
    draw_seed: int = 0,
    sample_weight: Any = None,
    validation: float | tuple[Any, ...] | None = None,
    preset: str = "default",
    backend: str | Backend = "auto",
    device: Any = None,
    progress: bool | SweepProgress | None = None,
    **settings: Any,
) -> SweepResult:
    """Train a network for each of many settings, together; each as `train` would alone.

        sweep(X, y, learning_rate=[0.005, 0.05, 0.5], seed=range(4), validation=0.1)

    Any setting of `train` may be a list, a range or an array: it is swept. A tuple is one value:
    ``hidden=[(100, 100), (50,)]``. (``metrics`` is never swept.)

    Networks that share their shape and all settings that are no numbers train as one population,
    as one stacked computation. These settings split populations where they are swept: hidden,
    activation, batch_size, epochs, shuffle, window, drop_last, reduction, dtype, metrics,
    training_error, probes; the kind of optimizer and loss (not their constants); early stopping or
    none, and what it watches; moving averages of weights or none. So do folds that have another
    number of minibatches. A population is cut into parts that fit the memory, and with NumPy its
    caches; parts train side by side on its cores. What is going to be trained is logged
    beforehand, and kept in ``result.plan``.

    All networks see the same minibatches (``order_seed``) unless that is swept too. A network that
    diverges is marked and keeps the weights of that epoch; it changes no other network's bits. One
    that stops early has its best weights; the rest goes on without it.

    Args:
        X: as for `train`; with neither X nor y on the bundled MNIST. Data larger than memory can be
            swept, but has neither folds nor minibatch orders of members' own.
        y: as for `train`.
        mode: "grid": every combination; "zip": the first values together, then the second, ...;
            "random": n combinations, drawn from lists and from distributions, which are objects
            with a method ``rvs`` as in scipy.stats.
        n: how many to draw.
        cv: None; a number of folds, shuffled by ``order_seed``, of classes alike; a splitter of
            scikit-learn's; or an iterable of (training rows, held-out rows). Every setting is
            trained once a fold, on its training rows, and validated on those held out, which early
            stopping then watches too. The folds' minibatches have one size; only an epoch's last
            one can differ in rows, and weighs its rows as that fold alone would.
        score: the column of the history that ranks: by default of validation (else training) the
            first of the metrics, else error, else loss. Of each network it is that of the epoch
            whose weights it has.
        greater_is_better: of the score; None where the column's name says it.
        memory: what training may take beside the data: "2GB", or bytes. By default half of what is
            free on the device.
        compact: whether networks that are done leave their population between epochs. Those that
            stay may then differ by a rounding (not on NumPy, where products are small).
        draw_seed: of the draws of mode "random".
        sample_weight: (n_samples,), as for `train`.
        validation: as for `train`; not with ``cv``.
        preset: as for `train`.
        backend: as for `train`.
        device: as for `train`.
        progress: True shows one bar for all, with the best and the median score and the networks
            that lead; lines where the output is no terminal.
        settings: those of `train`, one value or several.

    Returns:
        A `SweepResult`. After Ctrl-C it holds what there is.

    Raises:
        ValueError: data or a setting that cannot be trained with, in any of the networks; folds
            that cannot be made; a budget too small for one network. Nothing is trained then.
        BackendUnavailableError: see `arraymlp.resolve`.
    """
    started = perf_counter()
    for name in settings:
        if name not in SETTINGS:
            raise unknown([*SETTINGS, "validation", "sample_weight", "preset"], name, "setting")
    found, swept = points(settings, mode, n, draw_seed)
    every = [resolved(_settings(point, preset)) for point in found]
    place = resolve(backend, device, like=X)
    with place.active():
        loaded = _Loaded(X, y, sample_weight, validation, cv, every, place)
        solos: list[Solo] = []
        labels: list[tuple[int, int | None]] = []  # of each, its point and its fold
        for i, one in enumerate(every):
            for fold, course in loaded.courses(one):
                solos.append(Solo(one, course))
                labels.append((i, fold))
        datas = [loaded.data(solo.settings) for solo in solos]
        parts, plan = planned(solos, datas, memory, place)
        for line in plan:
            log.info("%s", line)
        name, greater = _score(score, greater_is_better, solos, datas)
        total = sum(solo.settings.epochs for solo in solos)
        names = [
            ", ".join(f"{what} {shown_as(found[i][what])}" for what in swept)
            + ("" if fold is None else f", fold {fold}")
            for i, fold in labels
        ]
        shown = (
            progress
            if isinstance(progress, SweepProgress)
            else sweep_progress_for(progress, total, plan, name, greater, names)
        )
        with interruptible() as interrupt, shown:
            outcomes = train_parts(
                solos,
                datas,
                parts,
                place,
                interrupt,
                compact=compact,
                on_epoch=shown.update,
                on_end=shown.spare,
            )
    members = []
    for k, (i, fold) in enumerate(labels):
        values = {what: found[i][what] for what in swept}
        own = every[i].to_dict()
        members.append(Member(k, i, values, fold, own, outcomes[k], scored(outcomes[k], name)))

    def run(k: int) -> Run:
        outcome = outcomes[k]
        if outcome is None:
            raise ValueError(f"member {k} was not trained: the sweep was interrupted")
        with place.active():
            return run_of(outcome, solos[k], datas[k], place)

    return SweepResult(
        members,
        swept,
        name,
        greater,
        str(place),
        perf_counter() - started,
        interrupt.requested,
        "\n".join(plan),
        run,
    )


def _settings(point: dict[str, Any], preset: str) -> Settings:
    given = {name: point.get(name) for name in SETTINGS}
    settings = settings_for(given, preset, None, None)
    settings.require_members(None)
    for name, several in (
        ("seed", isinstance(settings.seed, tuple)),
        ("loss", getattr(settings.loss, "members", None) is not None),
    ):
        if several:
            found = getattr(settings, name)
            raise ValueError(f"{name} must be one network's, or a list of those, not {found!r}")
    return settings


def _score(
    name: str | None, greater: bool | None, solos: Sequence[Solo], datas: Sequence[Data]
) -> tuple[str, bool]:
    """The column that ranks, and whether more of it is better."""
    each = [
        columns(solo.settings, seen_by(solo.course, data))
        for solo, data in zip(solos, datas, strict=True)
    ]
    common = [c for c in each[0] if all(c in other for other in each)]
    if name is None:
        metrics = [m.name for m in solos[0].settings.metrics]
        wanted = [
            f"{part}_{what}"
            for part in ("validation", "training")
            for what in (*metrics, "error", "loss")
        ]
        name = next((c for c in [*wanted, "loss"] if c in common), "loss")
    elif name not in common:
        raise unknown(common, name, "score")
    known = better_when_greater(name, solos[0].settings.metrics) if greater is None else greater
    if known is None:
        raise ValueError(f"say whether a greater {name} is better: greater_is_better=True or False")
    return name, bool(known)


def seen_by(course: Course | None, data: Data) -> Data:
    """The data as members with a course have it."""
    return data if course is None else replace(data, courses=(course,))


class _Loaded:
    """The data on the device, once for each dtype and kind of targets, and the rows of members."""

    def __init__(
        self,
        X: Any,
        y: Any,
        sample_weight: Any,
        validation: Any,
        cv: Any,
        every: Sequence[Settings],
        place: Backend,
    ) -> None:
        if cv is not None and validation is not None:
            raise ValueError("cv and validation both say what to validate on: give one of them")
        self._given, self._place, self._cv = (X, y, sample_weight), place, cv
        self._validation = validation
        self._known: dict[Any, Data] = {}
        self._made: dict[Any, list[tuple[int | None, Course]]] = {}
        self._own_orders = len({s.order_seed for s in every}) > 1
        self._fraction = is_number(validation) and self._own_orders
        first = self.data(every[0])
        weighed: list[Any] = []
        for settings in every:
            data = self.data(settings)
            require_fit(settings, seen_by(self.courses(settings)[0][1], data))
            with warnings.catch_warnings():  # of rows left over one warning is enough
                if settings is not every[0]:
                    warnings.simplefilter("ignore")
                for _, course in self.courses(settings):
                    rows = int(data.X.shape[0]) if course is None else len(course.rows)
                    require_minibatches(rows, settings)
            own = tuple(c for _, c in self.courses(settings) if c is not None)
            if settings.class_weight is not None or (own and sample_weight is not None):
                checked = id(data), own, settings.class_weight
                if checked not in weighed:
                    with_class_weights(replace(data, courses=own or None), settings, place)
                    weighed.append(checked)
        plain = not isinstance(first.X, Streamed) or first.X.any_order
        if (cv is not None or self._own_orders) and not plain:
            raise ValueError("folds, and minibatch orders of networks' own, need X in memory")
        if (cv is not None or self._own_orders) and any(s.probes for s in every):
            raise ValueError("probes need networks that all train on the same minibatches")

    def data(self, settings: Settings) -> Data:
        """The rows and targets for a network with these settings."""
        loss = settings.loss if isinstance(settings.loss, str) else type(settings.loss)
        per_target = None if isinstance(settings.loss, str) else settings.loss.outputs_per_target
        key = settings.dtype, loss, per_target
        if key not in self._known:
            X, y, weight = self._given
            place = self._place
            data = load_data(X, y, weight, settings, None, place)
            if self._cv is not None or self._fraction:
                data = replace(data, X_val=None, y_val=None)
            elif self._validation is not None:
                data = add_validation(data, self._validation, settings, None, place)
            self._known[key] = data
        return self._known[key]

    def courses(self, settings: Settings) -> list[tuple[int | None, Course | None]]:
        """The folds' numbers and courses of a network with these settings, or one of neither."""
        if self._cv is None and not self._own_orders:
            return [(None, None)]
        order: Any = settings.order_seed if settings.shuffle is True else settings.shuffle or None
        key = order, settings.order_seed
        if key not in self._made:
            data = self.data(settings)
            n, classes = int(data.X.shape[0]), class_positions(data.y, self._place)
            pairs: list[tuple[Any, Any]] = [(np.arange(n, dtype=np.int32), None)]
            if self._cv is not None:
                pairs = self._folds(n, settings.order_seed, classes)
            elif self._fraction:
                pairs = [split(n, float(self._validation), settings.order_seed, classes)]
            numbered = self._cv is not None
            self._made[key] = [
                (fold if numbered else None, Course(rows, out, order))
                for fold, (rows, out) in enumerate(pairs)
            ]
        return list(self._made[key])

    def _folds(self, n: int, order_seed: int, classes: Any) -> list[tuple[Any, Any]]:
        cv = self._cv
        if is_number(cv) or isinstance(cv, bool | str):
            return list(folds(n, cv, order_seed, classes))
        if hasattr(cv, "split"):
            y = self._given[1]
            labels = classes if classes is not None else np.zeros(n) if y is None else y
            cv = cv.split(np.zeros((n, 1)), labels)
        try:
            pairs = [tuple(np.asarray(rows) for rows in pair) for pair in cv]
        except TypeError as error:
            raise ValueError(
                f"cv must be a number of folds, a splitter, or pairs of rows, not {self._cv!r}"
            ) from error
        self._cv = pairs  # an iterator gives them once
        found = []
        for i, pair in enumerate(pairs):
            if len(pair) != 2:
                raise ValueError(f"fold {i} of cv must be a pair (training rows, held-out rows)")
            for rows in pair:
                fine = rows.ndim == 1 and rows.size > 0 and rows.dtype.kind in "iu"
                if not fine or rows.min() < 0 or rows.max() >= n:
                    raise ValueError(f"fold {i} of cv must have numbers of the {n} rows")
            found.append((np.sort(pair[0]).astype(np.int32), np.sort(pair[1]).astype(np.int32)))
        if not found:
            raise ValueError("cv has no folds")
        return found


@dataclass(frozen=True)
class Part:
    """Members that train as one stack."""

    numbers: list[int]
    worth_a_thread: bool


def planned(
    solos: Sequence[Solo], datas: Sequence[Data], memory: int | str | None, place: Backend
) -> tuple[list[Part], list[str]]:
    """The parts to train, in order, and in words what they are."""
    budget = memory_budget(memory, place)
    kinds: dict[Any, list[int]] = {}
    shared: list[dict[str, Any]] = []
    for k, (solo, data) in enumerate(zip(solos, datas, strict=True)):
        what: dict[str, Any] = kind(solo.settings)
        what["data"] = id(data)
        if solo.course is not None:
            s = solo.settings
            what["minibatches"] = solo.course.minibatches(s.batch_size, s.drop_last)
        key = tuple(what.values())
        if key not in kinds:
            shared.append(what)
        kinds.setdefault(key, []).append(k)
    differ = [name for name in shared[0] if len({repr(what.get(name)) for what in shared}) > 1]
    same_functions = len({frozenset(what["activation"]) for what in shared}) == 1
    implied = {"data"} | ({"activation"} if same_functions else set())  # one for each layer
    differ = [name for name in differ if name not in implied]
    several = "s" if len(kinds) > 1 else ""
    because = f", which differ in {', '.join(differ)}" if differ else ""
    networks = "networks" if len(solos) > 1 else "network"
    lines = [f"{len(solos)} {networks} in {len(kinds)} population{several}{because}"]
    parts = []
    for numbers in kinds.values():
        own, data = [solos[k] for k in numbers], datas[numbers[0]]
        s = own[0].settings
        sizes = [int(data.X.shape[1]), *(int(width) for width in s.hidden), data.y.n_outputs]
        course = own[0].course
        out = course.held_out if course is not None and course.held_out is not None else data.X_val
        n_validation = 0 if out is None else int(out.shape[0])
        cuts = cut(own, sizes, n_validation, budget, place)
        products = step_products(own[0], sizes)
        parts += [
            Part([numbers[i] for i in some], len(some) * products >= WORTH_A_THREAD)
            for some in cuts
        ]
        shape = f"{'-'.join(map(str, sizes))}, minibatches of {s.batch_size}, {s.epochs} epochs"
        most = max(len(some) for some in cuts)
        split_ = f" in {len(cuts)} parts of up to {most}" if len(cuts) > 1 else ""
        lines.append(f"{len(numbers)} x {shape}{split_}")
    return parts, lines


def train_parts(
    solos: Sequence[Solo],
    datas: Sequence[Data],
    parts: Sequence[Part],
    place: Backend,
    interrupt: Interrupt,
    *,
    compact: bool = True,
    on_epoch: Callable[[Sequence[int], Sequence[Record]], None] | None = None,
    on_end: Callable[[int], None] | None = None,
    step_losses: Callable[[], StepLosses] | None = None,
) -> list[Outcome | None]:
    """Train all parts: one after another, or with NumPy side by side, a core each.

    Products of NumPy release Python's lock, so that threads do. Each keeps to one thread of BLAS.

    Args:
        solos: all networks.
        datas: what each sees.
        parts: as `planned` has them.
        place: where.
        interrupt: Ctrl-C.
        compact: as for `train_population`.
        on_epoch: called with the numbers and records of networks that trained an epoch.
        on_end: called with how many epochs the networks of a part were spared.
        step_losses: makes what a part adds up its losses with.

    Returns:
        What became of each solo; None for those that Ctrl-C came before.
    """
    outcomes: list[Outcome | None] = [None] * len(solos)

    def train(part: Part) -> None:
        if interrupt.requested:
            return
        numbers = part.numbers

        def ended(positions: Sequence[int], records: Sequence[Record]) -> None:
            if on_epoch is not None:
                on_epoch([numbers[i] for i in positions], records)

        own = {id(c): c.begun() for c in (solos[k].course for k in numbers) if c is not None}
        found = train_population(
            [replace(s, course=own.get(id(s.course))) for s in (solos[k] for k in numbers)],
            datas[numbers[0]],
            place,
            interrupt,
            compact=compact,
            on_epoch=ended,
            step_losses=None if step_losses is None else step_losses(),
        )
        for k, outcome in zip(numbers, found, strict=True):
            outcomes[k] = outcome
        if on_end is not None:
            done = sum(len(outcome.history) for outcome in found)
            on_end(sum(solos[k].settings.epochs for k in numbers) - done)

    at_once = min(cores(), len(parts)) if place.name == "numpy" else 1
    if at_once == 1 or not any(part.worth_a_thread for part in parts):
        for part in parts:
            train(part)
        return outcomes
    with (
        blas_threads(place.name, 0) if at_once > 1 else nullcontext(),
        ThreadPoolExecutor(at_once, "arraymlp-population") as pool,
    ):
        waiting = [pool.submit(train, part) for part in parts]
        try:
            wait(waiting, return_when="FIRST_EXCEPTION")
        finally:
            if not all(future.done() for future in waiting):
                interrupt.requested = True  # an error, or a second Ctrl-C: the others end too
        for future in waiting:
            future.result()
    return outcomes

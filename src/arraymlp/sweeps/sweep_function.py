"""sweep(): many settings in one training run, their networks trained together as populations."""

import logging
from collections.abc import Sequence
from time import perf_counter
from typing import Any

from arraymlp._checks import unknown
from arraymlp.backends.backend import Backend
from arraymlp.backends.host import interruptible
from arraymlp.backends.registry import resolve
from arraymlp.data.data import Data
from arraymlp.data.loading import columns
from arraymlp.nn.metrics import greater_is_better as better_when_greater
from arraymlp.sweeps.data import SweepData, seen_by
from arraymlp.sweeps.partition import plan_stacks, train_stacks
from arraymlp.sweeps.population import MemberSpec, run_of
from arraymlp.sweeps.result import Member, SweepResult, scored
from arraymlp.sweeps.space import points
from arraymlp.sweeps.space import shown as shown_as
from arraymlp.sweeps.stacking import with_own_decay
from arraymlp.training.progress import SweepProgress, sweep_progress_for
from arraymlp.training.run import Run
from arraymlp.training.settings import TABLE, Settings
from arraymlp.training.setup import merge_settings
from arraymlp.training.train_function import LESS_MEMORY

log = logging.getLogger("arraymlp")


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
    activation, batch_size, epochs, shuffle, window, drop_last, reduction, dtype, precision,
    metrics, training_error, probes; the kind of optimizer and loss (not their constants); early
    stopping or none, and what it watches; moving averages of weights or none. So do folds that have
    another number of minibatches. A population is cut into parts that fit the memory, and with
    NumPy its caches; parts train side by side on its cores. What is going to be trained is logged
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
            free on the device. A GPU takes up to 256 MiB more to evaluate.
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
        DeviceMemoryError: the memory did not suffice after all; a smaller ``memory`` helps.
        BackendUnavailableError: see `arraymlp.resolve`.
    """
    started = perf_counter()
    for name in settings:
        if name not in TABLE:
            raise unknown([*TABLE, "validation", "sample_weight", "preset"], name, "setting")
    found, swept = points(settings, mode, n, draw_seed)
    every = [with_own_decay(_settings(point, preset)) for point in found]
    chosen = resolve(backend, device, like=X)
    with chosen.within_memory(LESS_MEMORY):
        loaded = SweepData(X, y, sample_weight, validation, cv, every, chosen)
        specs: list[MemberSpec] = []
        labels: list[tuple[int, int | None]] = []  # of each, its point and its fold
        for i, one in enumerate(every):
            for fold, row_plan in loaded.row_plans(one):
                specs.append(MemberSpec(one, row_plan))
                labels.append((i, fold))
        datas = [loaded.data(spec.settings) for spec in specs]
        parts, plan = plan_stacks(specs, datas, memory, chosen)
        for line in plan:
            log.info("%s", line)
        name, greater = _score(score, greater_is_better, specs, datas)
        total = sum(spec.settings.epochs for spec in specs)
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
            outcomes = train_stacks(
                specs,
                datas,
                parts,
                chosen,
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
        with chosen.active():
            return run_of(outcome, specs[k], datas[k], chosen)

    return SweepResult(
        members,
        swept,
        name,
        greater,
        str(chosen),
        perf_counter() - started,
        interrupt.requested,
        "\n".join(plan),
        run,
    )


def _settings(point: dict[str, Any], preset: str) -> Settings:
    given = {name: point.get(name) for name in TABLE}
    settings = merge_settings(given, preset, None, None)
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
    name: str | None, greater: bool | None, specs: Sequence[MemberSpec], datas: Sequence[Data]
) -> tuple[str, bool]:
    """The column that ranks, and whether more of it is better."""
    each = [
        columns(spec.settings, seen_by(spec.row_plan, data))
        for spec, data in zip(specs, datas, strict=True)
    ]
    common = [c for c in each[0] if all(c in other for other in each)]
    if name is None:
        metrics = [m.name for m in specs[0].settings.metrics]
        wanted = [
            f"{part}_{what}"
            for part in ("validation", "training")
            for what in (*metrics, "error", "loss")
        ]
        name = next((c for c in [*wanted, "loss"] if c in common), "loss")
    elif name not in common:
        raise unknown(common, name, "score")
    known = better_when_greater(name, specs[0].settings.metrics) if greater is None else greater
    if known is None:
        raise ValueError(f"say whether a greater {name} is better: greater_is_better=True or False")
    return name, bool(known)

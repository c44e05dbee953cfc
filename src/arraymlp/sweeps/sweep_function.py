"""sweep(): many settings in one training run, their networks trained together as populations."""

import logging
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import TYPE_CHECKING, Any, NamedTuple, Unpack

from arraymlp._checks import require_switch, unknown, with_brief_help
from arraymlp.backends.array import is_device_array
from arraymlp.backends.backend import Backend
from arraymlp.backends.host import interruptible
from arraymlp.backends.registry import BackendUnavailableError, resolve
from arraymlp.data.data import Data
from arraymlp.data.encoding.encoder import TableEncoder
from arraymlp.data.encoding.encoding import TableEncoding
from arraymlp.data.loading import columns
from arraymlp.data.table_input import take_table
from arraymlp.nn.metrics import greater_is_better as better_when_greater
from arraymlp.sweeps.callbacks import SweepCallbacks, ToldOf
from arraymlp.sweeps.checkpoint import sweep_folder
from arraymlp.sweeps.constant import ConstantOutputs
from arraymlp.sweeps.data import Folds, SweepData, seen_by
from arraymlp.sweeps.member import Member, score_of
from arraymlp.sweeps.partition import plan_stacks, train_stacks
from arraymlp.sweeps.population import (
    CONSTANT,
    FINISHED,
    STOPPED,
    MemberResult,
    MemberSpec,
    run_of,
)
from arraymlp.sweeps.result import SweepResult
from arraymlp.sweeps.settings import SweptSettings
from arraymlp.sweeps.space import REPEATS, Point, points, shown
from arraymlp.training.callbacks import AnyCallback
from arraymlp.training.checkpoint import Checkpoint, as_checkpoint
from arraymlp.training.held_out import validation_for
from arraymlp.training.progress import SweepProgress, sweep_progress_for
from arraymlp.training.run import Run
from arraymlp.training.settings import TABLE, Settings
from arraymlp.training.setup import merge_settings, preset_for
from arraymlp.training.train_function import LESS_MEMORY

if TYPE_CHECKING:
    from arraymlp.sweeps.workers.training import Workers

log = logging.getLogger("arraymlp")


@with_brief_help
def sweep(
    X: Any = None,
    y: Any = None,
    *,
    mode: str = "grid",
    n: int | None = None,
    cv: Folds = None,
    score: str | None = None,
    greater_is_better: bool | None = None,
    memory: int | str | None = None,
    compact: bool = True,
    draw_seed: int = 0,
    sample_weight: Any = None,
    validation: float | tuple[Any, ...] | None = None,
    encode: bool | TableEncoder | TableEncoding | None = None,
    preset: str | None = None,
    backend: str | Backend = "auto",
    device: Any = None,
    checkpoint: str | os.PathLike[str] | Checkpoint | None = None,
    progress: bool | SweepProgress | None = None,
    callbacks: AnyCallback | Iterable[AnyCallback] = (),
    executor: Any = None,
    **settings: Unpack[SweptSettings],
) -> SweepResult:
    """Train a network for each of many settings, together; each as `train` would alone.

    >>> result = sweep(X, y, learning_rate=[0.001, 0.003, 0.01], seed=range(4), validation=0.1)

    Any setting of `train` may be a list, a range or an array: it is swept. A tuple is one value:
    ``hidden=[(100, 100), (50,)]``. (``metrics`` is never swept.)

    Networks that share their shape and the settings named here train as one population, as one
    stacked computation. These settings split populations where they are swept: hidden, activation,
    batch_size, epochs, total_epochs, shuffle, window, drop_last, reduction, dtype, precision,
    standardize, metrics, training_error, probes; the kind of optimizer and loss (not their
    constants; "auto" and "adamw" are two); early stopping or none, and what it watches; moving
    averages of weights or none. So do folds that have another number of minibatches. A population
    is partitioned into stacks that fit the memory, and with NumPy its caches; stacks train side by
    side on its cores. The plan is logged before the training, and kept in ``result.plan``.

    All networks see the same minibatches (``order_seed``) unless that is swept too, or they are of
    different folds. A network that diverges is marked and keeps the weights of that epoch; it
    changes no other network's bits. One that stops early has its best weights; the rest goes on
    without it. One that gives every row the same output is marked, too ("constant"), and has no
    rank.

    Args:
        X: as for `train`; with neither X nor y on the bundled MNIST. Data larger than memory can be
            swept, but has neither folds nor minibatch orders of members' own.
        y: as for `train`.
        mode: "grid": every combination; "zip": the first values together, then the second, ...;
            "random": n combinations, drawn from lists and from distributions, which are objects
            with a method ``rvs`` as in scipy.stats.
        n: how many to draw with mode "random"; else None.
        cv: None; a number of folds, shuffled by ``order_seed``, of classes alike; a splitter of
            scikit-learn's; or an iterable of (training rows, held-out rows). Every setting is
            trained once a fold, on its training rows, and validated on those held out, which early
            stopping then watches too. Fold f of k has the seeds ``seed * k + f`` and
            ``order_seed * k + f``, which its member's settings and row name. The folds' minibatches
            have one size (by default that of the fold with the fewest training rows); only an
            epoch's last one can differ in rows, and weighs its rows as that fold alone would.
        score: the column of the history that ranks: by default of validation (else training) the
            first of the metrics, else error, else loss. Of each network it is that of the epoch
            whose weights it has.
        greater_is_better: of the score; None where the column's name says it.
        memory: bytes that training may take beside the data, as a number or as "2GB". By default
            half of what is free on the device. A GPU takes up to 256 MiB more to evaluate.
        compact: whether networks that are finished leave their population between epochs. Those
            that stay may then differ by a rounding (not on NumPy, where products are small).
        draw_seed: of the draws of mode "random".
        sample_weight: (n_samples,), as for `train`.
        validation: as for `train`; not with ``cv``.
        encode: as for `train`; each fold's encoding is learnt of the rows that it trains on, and
            all folds are held in memory, encoded.
        preset: as for `train`.
        backend: as for `train`.
        device: as for `train`.
        checkpoint: a folder, or a `Checkpoint` of one that also says how often: networks that are
            finished, and the state of those in training, are kept there, and the same call goes on
            from it, to the same bits, on as many cores as there are then. Other data or settings
            are an error.
        progress: True shows one bar for all, with the best and the median score and the networks
            that lead, in a notebook with their curve; lines where there is neither a notebook nor a
            terminal.
        callbacks: one or several, each called after each epoch of each network, with a
            `MemberEpochEnd`, never twice at the same time. One that returns True ends this network,
            as early stopping does; one that raises ends the sweep with that error. What comes
            before a checkpoint is not told again. One with ``on_step``, and with a checkpoint one
            with ``state``, is a ValueError.
        executor: None; one of ``concurrent.futures`` (processes, threads, mpi4py's, loky's); or a
            client of dask, whose workers train the networks: to the bits of this process, as far
            as their processors compute alike. It stays open. Callbacks, progress and checkpoints
            are this process's; callbacks are told after each epoch, which costs a message. A
            network whose workers are lost twice in one place has the status "lost".
        settings: those of `train`, one value or several.

    Returns:
        A `SweepResult`. After Ctrl-C or SIGTERM it holds what there is.

    Raises:
        ValueError: data or a setting that cannot be trained with, in any of the networks; folds
            that cannot be made; a budget too small for one network; with an executor, something
            that cannot be pickled. Nothing is trained then.
        CheckpointError: the checkpoint is another sweep's, or damaged, or another process has it.
        OSError: the checkpoint cannot be read, or not be written at the beginning.
        DeviceMemoryError: the memory did not suffice after all; a smaller ``memory`` helps.
        BackendUnavailableError: see `arraymlp.resolve`.
        ExecutorError: the executor has been shut down; or a worker of it cannot train: it lacks the
            backend, or a file, or has other versions of Python, NumPy or this package.
    """
    started = perf_counter()
    for name in settings:
        if name not in TABLE:
            raise unknown([*TABLE, "validation", "sample_weight", "preset"], name, "setting")
    if progress is not None and not isinstance(progress, SweepProgress):
        require_switch("progress", progress)
    require_switch("compact", compact)
    told = SweepCallbacks(callbacks, keeps=checkpoint is not None)
    X, y = take_table(X, y, encode)
    preset = preset or preset_for(X)
    drawn, swept = points(settings, mode, n, draw_seed)
    every = [_settings(point, preset) for point in drawn]
    validation = validation_for(X, validation, every) if cv is None else validation
    workers, target = _where(executor, backend, device, X)
    with target.within_memory(LESS_MEMORY):
        data = SweepData(X, y, sample_weight, validation, cv, every, target)
        jobs = _jobs(drawn, every, data)
        specs, datas = [job.spec for job in jobs], [job.data for job in jobs]
        column, greater = _score(score, greater_is_better, jobs)
        told.begin([_told_of(job, swept) for job in jobs] if told else [])
        kept = None if checkpoint is None else as_checkpoint(checkpoint)
        with interruptible(), sweep_folder(kept, specs, datas, target) as folder:
            n_workers = 0 if workers is None else workers.pool.workers
            stacks, plan = plan_stacks(specs, datas, memory, target, folder.held, n_workers)
            for line in plan:
                log.info("%s", line)
            bar = progress
            if not isinstance(bar, SweepProgress):
                epochs = sum(spec.settings.epochs for spec in specs)
                names = [_name(job, swept) for job in jobs]
                bar = sweep_progress_for(bar, epochs, plan, column, greater, names)
            with interruptible() as interrupt, bar:
                results = train_stacks(
                    specs,
                    datas,
                    stacks,
                    target,
                    interrupt,
                    compact=compact,
                    on_epoch=bar.update,
                    on_end=bar.spare,
                    file=folder.file,
                    callbacks=told if told else None,
                    workers=workers,
                )
        _mark_constant(jobs, results, target)
    return SweepResult(
        members=[_member(k, job, swept, results[k], column) for k, job in enumerate(jobs)],
        swept=swept,
        score=column,
        greater_is_better=greater,
        backend=str(target),
        seconds=perf_counter() - started,
        interrupted=interrupt.requested,
        plan="\n".join(plan),
        _run=_Runs(jobs, results, target),
    )


def _where(
    executor: Any, backend: str | Backend, device: Any, X: Any
) -> tuple["Workers | None", Backend]:
    """The workers, where there is an executor, and the backend of this process.

    Workers take the kind of backend that "auto" stands for here. One that is named they need to
    have, and this process need not: it then keeps data and networks on NumPy.
    """
    if executor is None:
        return None, resolve(backend, device, like=X)
    from arraymlp.sweeps.workers.pools import pool_of  # where there are workers alone
    from arraymlp.sweeps.workers.training import Workers

    pool = pool_of(executor)
    if isinstance(backend, str) and backend not in ("auto", "numpy"):
        try:
            target = resolve(backend, device, fallback=False)
        except BackendUnavailableError as error:
            log.info("only workers have the backend %s: %s", backend, error)
            return Workers(pool, (backend, device)), resolve("numpy")
    else:
        target = resolve(backend, device, like=X)
    named = isinstance(backend, Backend) or device is not None or is_device_array(X)
    return Workers(pool, (target.name, target.device_name if named else None)), target


def _mark_constant(
    jobs: Sequence["_Job"], results: Sequence[MemberResult | None], backend: Backend
) -> None:
    """Give networks that give every row the same output the status that says so."""
    outputs = ConstantOutputs(backend)
    with backend.active():
        for job, result in zip(jobs, results, strict=True):
            trained = result is not None and len(result.history) > 0
            if result is None or not trained or result.status not in (FINISHED, STOPPED):
                continue
            if outputs.found_in(result.network, job.data, job.spec.row_plan):
                result.status, result.cause = CONSTANT, "it gives every row the same output"


class _Job(NamedTuple):
    """A network to train, with what it is in the sweep.

    Attributes:
        number: of its combination of settings.
        point: that combination, as it was given.
        fold: of cross-validation; else None.
        spec: as a member of a population.
        data: what it trains on.
    """

    number: int
    point: Point
    fold: int | None
    spec: MemberSpec
    data: Data


def _jobs(drawn: Sequence[Point], every: Sequence[Settings], data: SweepData) -> list[_Job]:
    """A job for each point and fold, the folds of a point in a row."""
    return [
        _Job(i, point, fold, MemberSpec(of_fold, row_plan), data.data(settings))
        for i, (point, settings) in enumerate(zip(drawn, every, strict=True))
        for fold, of_fold, row_plan in data.folds(settings)
    ]


def _settings(point: Mapping[str, object], preset: str) -> Settings:
    """The settings of one network; a ValueError where they are several networks'."""
    settings = merge_settings({name: point.get(name) for name in TABLE}, preset, None, None)
    settings.require_members(None)
    for name, several in (
        ("seed", isinstance(settings.seed, tuple)),
        ("loss", getattr(settings.loss, "members", None) is not None),
    ):
        if several:
            value = getattr(settings, name)
            raise ValueError(f"{name} must be one network's, or a list of those, not {value!r}")
    return settings


def _score(name: str | None, greater: bool | None, jobs: Sequence[_Job]) -> tuple[str, bool]:
    """The column that ranks, and whether more of it is better."""
    by_job = [columns(job.spec.settings, seen_by(job.spec.row_plan, job.data)) for job in jobs]
    common = [c for c in by_job[0] if all(c in other for other in by_job)]
    metrics = jobs[0].spec.settings.metrics
    if name is None:
        candidates = [
            f"{part}_{what}"
            for part in ("validation", "training")
            for what in (*(m.name for m in metrics), "error", "loss")
        ]
        name = next((c for c in [*candidates, "loss"] if c in common), "loss")
    elif name not in common:
        raise unknown(common, name, "score")
    if greater is None:
        greater = better_when_greater(name, metrics)
    if greater is None:
        raise ValueError(f"say whether a greater {name} is better: greater_is_better=True or False")
    return name, bool(greater)


def _name(job: _Job, swept: Sequence[str]) -> str:
    """A network by what was swept, for the progress."""
    values = ", ".join(f"{name} {shown(job.point[name])}" for name in swept)
    return values + ("" if job.fold is None else f", fold {job.fold}")


def _member(
    k: int, job: _Job, swept: Sequence[str], result: MemberResult | None, column: str
) -> Member:
    settings, values = job.spec.settings.to_dict(), _values(job, swept)
    return Member(k, job.number, values, job.fold, settings, result, score_of(result, column))


def _values(job: _Job, swept: Sequence[str]) -> Point:
    """A network's values of the settings that were swept."""
    own = job.spec.settings
    return {
        name: getattr(own, name) if name in REPEATS else job.point[name]  # a fold has its own
        for name in swept
    }


def _told_of(job: _Job, swept: Sequence[str]) -> ToldOf:
    settings = job.spec.settings
    values = {name: shown(value) for name, value in _values(job, swept).items()}
    return ToldOf(_name(job, swept), values, job.fold, settings.to_dict(), settings.epochs)


@dataclass(frozen=True, eq=False)
class _Runs:
    """Makes the `Run` of a member, whose rows it copies only when it is asked for."""

    jobs: Sequence[_Job]
    results: Sequence[MemberResult | None]
    backend: Backend

    def __call__(self, k: int) -> Run:
        job, result = self.jobs[k], self.results[k]
        if result is None:
            raise ValueError(f"member {k} was not trained: the sweep was interrupted")
        with self.backend.active():
            return run_of(result, job.spec, job.data, self.backend)

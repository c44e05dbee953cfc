"""The training of stacks by workers, beside `arraymlp.sweeps.partition.train_stacks`."""

from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import fields, replace
from itertools import chain
from typing import Any

from arraymlp.backends.backend import Backend
from arraymlp.backends.host import Interrupt
from arraymlp.backends.registry import loaded
from arraymlp.backends.threads import aside
from arraymlp.data.data import Data
from arraymlp.data.stream import Streamed
from arraymlp.sweeps.partition import StackFile
from arraymlp.sweeps.population import (
    MemberCallbacks,
    MemberResult,
    MemberSpec,
    StepLosses,
)
from arraymlp.sweeps.workers.conduct import Conductor
from arraymlp.sweeps.workers.parcel import News, packed
from arraymlp.sweeps.workers.part import Part
from arraymlp.sweeps.workers.pools import Pool
from arraymlp.sweeps.workers.slices import Job
from arraymlp.sweeps.workers.transport import Depot, Packed, write_whole
from arraymlp.training.history import Record
from arraymlp.training.state import State


class Workers:
    """The workers of an executor, for `train_stacks`.

    Args:
        pool: the executor.
        kind: name and device of the backend that they train on; the device may be None.
    """

    def __init__(self, pool: Pool, kind: tuple[str, Any]) -> None:
        self.pool, self.kind = pool, kind

    def train(
        self,
        specs: Sequence[MemberSpec],
        datas: Sequence[Data],
        stacks: Sequence[Sequence[int]],
        backend: Backend,
        interrupt: Interrupt,
        *,
        compact: bool,
        on_epoch: Callable[[Sequence[int], Sequence[Record]], None] | None,
        on_end: Callable[[int], None] | None,
        step_losses: Callable[[], StepLosses] | None,
        file: Callable[[Sequence[int]], StackFile] | None,
        callbacks: Callable[[Sequence[int]], MemberCallbacks] | None,
        less_memory: str,
    ) -> list[MemberResult | None]:
        """Train all stacks; the arguments are those of `train_stacks`.

        Args:
            specs: all members.
            datas: the data of each.
            stacks: the numbers of the members of each.
            backend: where the data is, and where networks come back to.
            interrupt: Ctrl-C or SIGTERM.
            compact: as there.
            on_epoch: as there; called in this thread alone.
            on_end: likewise.
            step_losses: likewise.
            file: likewise.
            callbacks: those of a stack, by the numbers of its members.
            less_memory: advice for where the memory does not suffice.

        Raises:
            ValueError: something of a network or of the data cannot be pickled.
            ExecutorError: see `Conductor.train`.
        """
        results: list[MemberResult | None] = [None] * len(specs)
        limits: list[tuple[float | None, int | None]] = [(None, None)]

        def told(part: Part, records: Sequence[Sequence[Record]]) -> None:
            if on_epoch is None:
                return
            new = [
                (r["epoch"], k, r) for k, of in zip(part.numbers, records, strict=True) for r in of
            ]
            new.sort(key=lambda entry: entry[:2])
            if new:
                on_epoch([k for _, k, _ in new], [r for *_, r in new])

        def ended(part: Part) -> None:
            assert part.results is not None
            for k, result in zip(part.numbers, part.results, strict=True):
                results[k] = result
            if on_end is not None:
                done = sum(len(result.history) for result in part.results)
                on_end(sum(spec.settings.epochs for spec in part.specs) - done)

        def of_part(part: Part) -> MemberCallbacks:
            assert callbacks is not None
            return callbacks(part.numbers)

        with ExitStack() as finally_:
            finally_.enter_context(aside())
            depot = Depot(backend, loaded("numpy", None))
            finally_.callback(depot.close)
            parts = []
            for numbers in stacks:
                own, data = [specs[k] for k in numbers], datas[numbers[0]]
                losses = None if step_losses is None else step_losses()
                job = Job(_on_host(own, depot), data, compact, losses, callbacks is not None)
                place = _pack(depot, job)
                parts.append(Part(numbers, own, data, backend, compact, step_losses, place))
            for part in parts:
                if file is None:
                    continue
                its_file = file(part.numbers)
                limits.append((its_file.cadence.get("seconds"), its_file.cadence.get("epochs")))
                _begin(part, its_file, depot, told, of_part if callbacks is not None else None)
                if part.results is not None:
                    ended(part)
                if part.saver is not None:
                    finally_.callback(part.saver.close)
            Conductor(
                self.pool,
                depot,
                self.kind,
                interrupt,
                told=told,
                callbacks=None if callbacks is None else of_part,
                ended=ended,
                limits=limits[-1],
                less_memory=less_memory,
            ).train([part for part in parts if part.results is None])
        return results


def _begin(
    part: Part,
    file: StackFile,
    depot: Depot,
    told: Callable[[Part, Sequence[Sequence[Record]]], None],
    callbacks: Callable[[Part], MemberCallbacks] | None,
) -> None:
    """Bring a part to where its file has it, and have its states kept from there on."""
    steps = epochs = 0
    if (found := file.found) is not None:
        content, tensors = found
        population = part.population()
        file.restore(population)
        told(part, [history.records for history in population.histories])
        population.callbacks = None if callbacks is None else callbacks(part)
        population.report()
        if population.is_finished:
            part.results = [population.results[k] for k in range(len(part.specs))]
            return
        steps, epochs = population.run.steps_done, population.run.next_epoch
        part.histories = population.histories
        state = State(content, dict[str, Any](tensors)).tensors(part.backend)
        news = News([], [], None, held=False, finished=False, steps=steps, epochs=epochs, seconds=0)
        part.news, part.parcel = news, packed(news, (state, None))
        path = depot.folder / f"{part.numbers[0]}.state"
        with suppress(OSError):  # or it is sent
            write_whole(path, part.parcel)
            part.parcel = path
    part.saver = file.saver_of(part.state, part.backend, steps, epochs)


def _on_host(specs: Sequence[MemberSpec], depot: Depot) -> list[MemberSpec]:
    """Members with the networks that they are given on the host."""
    return [
        spec if spec.network is None else replace(spec, network=spec.network.to(depot.host))
        for spec in specs
    ]


def _pack(depot: Depot, job: Job) -> Packed:
    """Pack a stack.

    Raises:
        ValueError: something of it cannot be pickled; the message says what.
    """
    try:
        return depot.pack(job)
    except Exception as error:  # of many kinds, by what is pickled
        what = next(
            (f"{name} ({_kind(value)})" for name, value in _pieces(job) if _refuses(depot, value)),
            "something in a network",
        )
        raise ValueError(
            f"executor= sends networks and data to its workers, but {what} cannot be pickled: "
            f"{error}. Train without it, or give what can be"
        ) from error


def _pieces(job: Job) -> Any:
    """What of a stack the user may have given, by name."""
    data = job.data
    yield from (("X", data.X), ("y", data.y), ("validation", (data.X_val, data.y_val)))
    for spec in job.specs:
        settings = ((f.name, getattr(spec.settings, f.name)) for f in fields(spec.settings))
        order = None if spec.row_plan is None else spec.row_plan.order
        yield from chain(settings, (("shuffle", order), ("network", spec.network)))


def _refuses(depot: Depot, value: object) -> bool:
    try:
        depot.pack(value)
    except Exception:  # as in _pack
        return True
    return False


def _kind(value: object) -> str:
    """The class of what cannot be pickled, with its module."""
    if isinstance(value, tuple) and value:
        value = value[0]
    kind = type(value.origin if isinstance(value, Streamed) else value)
    return f"{kind.__module__}.{kind.__qualname__}"

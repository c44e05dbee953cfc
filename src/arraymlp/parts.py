"""The parts of populations: which networks train as one stack, in order or side by side."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from typing import Any

from arraymlp.backend import Backend
from arraymlp.cuts import WORTH_A_THREAD, cores, cut, memory_budget, step_products
from arraymlp.data import Data
from arraymlp.history import Record
from arraymlp.interrupt import Interrupt
from arraymlp.members import kind
from arraymlp.population import Outcome, Solo, StepLosses, train_population
from arraymlp.threads import blas_threads


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

    Raises:
        DeviceMemoryError: a part did not fit the device's memory.
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

    most = max((len(part.numbers) for part in parts), default=0)
    remedy = (
        f"Up to {most} networks train at once: a smaller memory= of sweep or MLPSearchCV, such as "
        "'2 GiB', makes that fewer."
        if most > 1
        else "A smaller batch_size, or narrower hidden layers, need less."
    )
    at_once = min(cores(), len(parts)) if place.name == "numpy" else 1
    if at_once == 1 or not any(part.worth_a_thread for part in parts):
        with place.within_memory(remedy):
            for part in parts:
                train(part)
        return outcomes
    with (
        place.within_memory(remedy),
        blas_threads(place.name, 0),
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

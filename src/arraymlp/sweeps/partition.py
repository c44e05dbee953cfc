"""How a population is partitioned, and its parts trained, one after another or side by side.

The stacks fit the memory, and on a CPU its caches and cores. A member trains alike in any of them:
how the population is split affects only speed and memory.
"""

import re
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from itertools import pairwise
from math import ceil
from typing import Any

import numpy as np

from arraymlp._checks import is_number
from arraymlp.backends.backend import Backend
from arraymlp.backends.host import Interrupt, blas_threads, cores
from arraymlp.backends.memory import host_memory
from arraymlp.data.blocks import ROWS_AT_ONCE
from arraymlp.data.data import Data
from arraymlp.sweeps.population import MemberResult, MemberSpec, StepLosses, train_population
from arraymlp.sweeps.stacking import stacking_key
from arraymlp.training.history import Record

SHARE = 0.5  # of the memory that is free, where none is stated
UNKNOWN = 2 * 2**30  # bytes, where it is not known what is free
# On NumPy the arrays of a part's step are to stay in the processor's caches, and a part is to have
# enough to do in a step that Python's share of it is small: bytes, and multiply-adds.
CACHE = 24 * 2**20
WORTH_A_THREAD = 4_000_000

_UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}


def memory_budget(stated: int | str | None, backend: Backend) -> int:
    """Bytes that training may take: as stated ("2GB", "500 MiB", a number), or half of the free.

    Raises:
        ValueError: no amount of memory.
    """
    if stated is None:
        free = backend.free_memory()
        return int(SHARE * (_host_memory() if free is None else free))
    if is_number(stated) and float(stated) >= 1:
        return int(stated)
    found = re.fullmatch(r"\s*([0-9.]+)\s*([KMGT]?)(i?)B?\s*", str(stated), re.IGNORECASE)
    if isinstance(stated, str) and found:
        number, unit, binary = found.groups()
        power = list(_UNITS).index(unit.upper())
        try:
            bytes_ = float(number) * (1024**power if binary else _UNITS[unit.upper()])
        except ValueError:
            bytes_ = 0.0
        if bytes_ >= 1:
            return int(bytes_)
    raise ValueError(f'memory must be an amount such as "2GB" or a number of bytes, not {stated!r}')


def _host_memory() -> int:
    """Bytes of the host's memory that this process may still use."""
    known = host_memory()
    return UNKNOWN if known is None else known[0]


def member_bytes(spec: MemberSpec, sizes: Sequence[int], n_validation: int) -> int:
    """About how many bytes one member adds to its population while it trains.

    Args:
        spec: the member.
        sizes: widths from inputs to outputs.
        n_validation: rows whose logits metrics keep.
    """
    s = spec.settings
    one, rule = np.zeros((1, 1)), s.optimizer
    state = rule.initial_state(one, np)
    n_state = 0 if state is None else len(state) if isinstance(state, tuple) else 1
    networks = 1 + (s.weight_average != 0)
    copies = networks + n_state
    copies += (networks + n_state) * (s.early_stopping is not None)  # what it keeps
    copies += 1 + 2  # the network that comes back; gradient, and change or square of it
    parameters = sum((n_in + 1) * n_out for n_in, n_out in pairwise(sizes))
    masked = s.dropout.input != 0
    step = s.batch_size * (5 * sum(sizes[1:]) + (spec.row_plan is not None or masked) * sizes[0])
    step += s.batch_size * (s.dropout.hidden != 0) * 3 * sum(sizes[1:-1])
    evaluation = 3 * ROWS_AT_ONCE * sum(sizes[1:]) + 3 * len(s.metrics) * n_validation * sizes[-1]
    return int((copies * parameters + max(step, evaluation)) * np.dtype(s.dtype).itemsize)


def step_bytes(spec: MemberSpec, sizes: Sequence[int]) -> int:
    """About how many bytes of its own one member touches in a step."""
    parameters = sum((n_in + 1) * n_out for n_in, n_out in pairwise(sizes))
    numbers = 2 * parameters + 4 * spec.settings.batch_size * sum(sizes[1:])
    return int(numbers * np.dtype(spec.settings.dtype).itemsize)


def step_products(spec: MemberSpec, sizes: Sequence[int]) -> int:
    """Multiply-adds of one member's step."""
    return 3 * spec.settings.batch_size * sum(a * b for a, b in pairwise(sizes))


def partition_members(
    specs: Sequence[MemberSpec],
    sizes: Sequence[int],
    n_validation: int,
    budget: int,
    backend: Backend,
) -> list[list[int]]:
    """Cut the members of one kind into parts: the positions of those in each.

    Parts are of nearly one size. Members with one course stand side by side in a part.

    Raises:
        ValueError: not even one member fits the budget.
    """
    each, n = member_bytes(specs[0], sizes, n_validation), len(specs)
    fits = budget // each
    if fits < 1:
        shape = "-".join(map(str, sizes))
        raise ValueError(
            f"one network {shape} takes about {each:,} bytes to train with minibatches of "
            f"{specs[0].settings.batch_size}, but memory allows {budget:,}"
        )
    at_once = min(cores(), fits) if backend.name == "numpy" else 1
    most, fewest = fits // at_once, 1
    if backend.name == "numpy":
        products = step_products(specs[0], sizes)
        small = max(1, CACHE // step_bytes(specs[0], sizes), ceil(WORTH_A_THREAD / products))
        most = min(most, small)
        fewest = at_once if n * products >= at_once * WORTH_A_THREAD else 1
    parts = max(ceil(n / most), min(fewest, n))
    parts = min(n, ceil(parts / fewest) * fewest)
    # Take the courses in turn, so that each part has as many members of each as can be.
    row_plans = [id(spec.row_plan) for spec in specs]
    seen = {c: number for number, c in enumerate(dict.fromkeys(row_plans))}
    turn = [seen[c] for c in row_plans]
    so_far = dict.fromkeys(turn, 0)
    nth = []
    for t in turn:
        nth.append(so_far[t])
        so_far[t] += 1
    order = sorted(range(n), key=lambda i: (nth[i], turn[i]))
    whole = n % len(seen) == 0 and len(seen) <= min(most, n // parts)
    if len(seen) > 1 and whole:  # whole rounds of courses
        rounds = [order[i : i + len(seen)] for i in range(0, n, len(seen))]
        parts = max(parts, ceil(len(rounds) / (most // len(seen))))
        parts = min(len(rounds), ceil(parts / fewest) * fewest)
        bounds = np.linspace(0, len(rounds), parts + 1).round().astype(int)
        cuts = [[i for r in rounds[a:b] for i in r] for a, b in pairwise(bounds)]
    else:
        bounds = np.linspace(0, n, parts + 1).round().astype(int)
        cuts = [order[a:b] for a, b in pairwise(bounds)]
    return [sorted(part, key=lambda i: (turn[i], i)) for part in cuts if part]


@dataclass(frozen=True)
class Stack:
    """Members that train as one stack."""

    numbers: list[int]
    worth_a_thread: bool


def plan_stacks(
    specs: Sequence[MemberSpec], datas: Sequence[Data], memory: int | str | None, backend: Backend
) -> tuple[list[Stack], list[str]]:
    """The parts to train, in order, and in words what they are."""
    budget = memory_budget(memory, backend)
    kinds: dict[Any, list[int]] = {}
    shared: list[dict[str, Any]] = []
    for k, (spec, data) in enumerate(zip(specs, datas, strict=True)):
        what: dict[str, Any] = stacking_key(spec.settings)
        what["data"] = id(data)
        if spec.row_plan is not None:
            s = spec.settings
            what["minibatches"] = spec.row_plan.minibatches(s.batch_size, s.drop_last)
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
    networks = "networks" if len(specs) > 1 else "network"
    lines = [f"{len(specs)} {networks} in {len(kinds)} population{several}{because}"]
    parts = []
    for numbers in kinds.values():
        own, data = [specs[k] for k in numbers], datas[numbers[0]]
        s = own[0].settings
        sizes = [int(data.X.shape[1]), *(int(width) for width in s.hidden), data.y.n_outputs]
        row_plan = own[0].row_plan
        out = (
            row_plan.held_out
            if row_plan is not None and row_plan.held_out is not None
            else data.X_val
        )
        n_validation = 0 if out is None else int(out.shape[0])
        cuts = partition_members(own, sizes, n_validation, budget, backend)
        products = step_products(own[0], sizes)
        parts += [
            Stack([numbers[i] for i in some], len(some) * products >= WORTH_A_THREAD)
            for some in cuts
        ]
        shape = f"{'-'.join(map(str, sizes))}, minibatches of {s.batch_size}, {s.epochs} epochs"
        most = max(len(some) for some in cuts)
        split_ = f" in {len(cuts)} parts of up to {most}" if len(cuts) > 1 else ""
        lines.append(f"{len(numbers)} x {shape}{split_}")
    return parts, lines


def train_stacks(
    specs: Sequence[MemberSpec],
    datas: Sequence[Data],
    parts: Sequence[Stack],
    backend: Backend,
    interrupt: Interrupt,
    *,
    compact: bool = True,
    on_epoch: Callable[[Sequence[int], Sequence[Record]], None] | None = None,
    on_end: Callable[[int], None] | None = None,
    step_losses: Callable[[], StepLosses] | None = None,
) -> list[MemberResult | None]:
    """Train all parts: one after another, or with NumPy side by side, a core each.

    Products of NumPy release Python's lock, so that threads do. Each keeps to one thread of BLAS.

    Args:
        specs: all networks.
        datas: what each sees.
        parts: as `plan_stacks` has them.
        backend: where.
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
    outcomes: list[MemberResult | None] = [None] * len(specs)

    def train(part: Stack) -> None:
        if interrupt.requested:
            return
        numbers = part.numbers

        def ended(positions: Sequence[int], records: Sequence[Record]) -> None:
            if on_epoch is not None:
                on_epoch([numbers[i] for i in positions], records)

        own = {id(c): c.begun() for c in (specs[k].row_plan for k in numbers) if c is not None}
        found = train_population(
            [replace(s, row_plan=own.get(id(s.row_plan))) for s in (specs[k] for k in numbers)],
            datas[numbers[0]],
            backend,
            interrupt,
            compact=compact,
            on_epoch=ended,
            step_losses=None if step_losses is None else step_losses(),
        )
        for k, outcome in zip(numbers, found, strict=True):
            outcomes[k] = outcome
        if on_end is not None:
            done = sum(len(outcome.history) for outcome in found)
            on_end(sum(specs[k].settings.epochs for k in numbers) - done)

    most = max((len(part.numbers) for part in parts), default=0)
    remedy = (
        f"Up to {most} networks train at once: a smaller memory= of sweep or MLPSearchCV, such as "
        "'2 GiB', makes that fewer."
        if most > 1
        else "A smaller batch_size, or narrower hidden layers, need less."
    )
    at_once = min(cores(), len(parts)) if backend.name == "numpy" else 1
    if at_once == 1 or not any(part.worth_a_thread for part in parts):
        with backend.within_memory(remedy):
            for part in parts:
                train(part)
        return outcomes
    with (
        backend.within_memory(remedy),
        blas_threads(backend.name, 0),
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

"""The partition of a population into stacks, and their training, in turn or side by side.

Stacks fit the memory, and on a CPU its caches and cores. A member trains alike in any of them: how
a population is partitioned affects only speed and memory.
"""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from math import ceil
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from arraymlp.backends.array import HostArray
from arraymlp.backends.backend import Backend
from arraymlp.backends.host import Interrupt
from arraymlp.backends.threads import cores, side_by_side
from arraymlp.data.data import Data
from arraymlp.sweeps.memory import member_bytes, memory_budget, step_bytes, step_products
from arraymlp.sweeps.population import (
    MemberCallbacks,
    MemberResult,
    MemberSpec,
    PopulationFile,
    StepLosses,
    train_population,
)
from arraymlp.sweeps.stacking import stacking_key
from arraymlp.training.history import History, Record
from arraymlp.training.model import MultilayerPerceptron
from arraymlp.training.saver import Saver
from arraymlp.training.state import State

if TYPE_CHECKING:  # a sweep in this process has no use for it
    from arraymlp.sweeps.workers.training import Workers

# On NumPy the arrays of a stack's step are to stay in the processor's caches, and a stack is to
# have enough to do in a step that Python's share of it is small: bytes, and multiply-adds.
CACHE = 24 * 2**20
WORTH_A_THREAD = 4_000_000
STACKS_A_WORKER = 2  # of an executor: one travels while another trains


class StackFile(PopulationFile, Protocol):
    """What keeps the state of a stack, whoever trains it, as `arraymlp.sweeps.checkpoint` does."""

    @property
    def found(self) -> tuple[dict[str, Any], dict[str, HostArray]] | None:
        """Content and tensors that were there."""

    @property
    def cadence(self) -> Any:
        """How often, as `Saver` is told it."""

    def saver_of(
        self, state: Callable[[], State], backend: Backend, steps: int, epochs: int
    ) -> Saver:
        """What takes the state of a stack that is trained elsewhere, when that is due."""


@dataclass(frozen=True)
class Stack:
    """Members that train as one stack.

    Attributes:
        numbers: the members' numbers.
        worth_a_thread: True where a step is long enough to be worth a thread of its own.
    """

    numbers: list[int]
    worth_a_thread: bool


def partition_members(
    specs: Sequence[MemberSpec],
    sizes: Sequence[int],
    n_validation: int,
    budget: int,
    backend: Backend,
    workers: int = 0,
    share: int = 0,
) -> list[list[int]]:
    """Partition members with one stacking key: the positions of those in each stack.

    The stacks are of nearly one size. Members with one row plan stand side by side in a stack.

    Args:
        specs: the members.
        sizes: widths from inputs to outputs.
        n_validation: rows whose logits metrics keep.
        budget: bytes that training may take.
        backend: trains one stack at a time, but NumPy one on each core.
        workers: that train instead, each a stack at a time; 0 for none.
        share: how many stacks they are to have of these members, at least.

    Raises:
        ValueError: not even one member fits the budget.
    """
    member, n = member_bytes(specs[0], sizes, n_validation), len(specs)
    fits = budget // member
    if fits < 1:
        shape = "-".join(map(str, sizes))
        raise ValueError(
            f"one network {shape} takes about {member:,} bytes to train with minibatches of "
            f"{specs[0].settings.batch_size}, but memory allows {budget:,}"
        )
    at_once = min(cores(), fits) if backend.name == "numpy" else 1
    at_once = min(workers, fits) if workers else at_once
    most, fewest = fits // at_once, 1  # members of a stack; stacks
    if backend.name == "numpy":
        products = step_products(specs[0], sizes)
        small = max(1, CACHE // step_bytes(specs[0], sizes), ceil(WORTH_A_THREAD / products))
        most = min(most, small)
        fewest = at_once if n * products >= at_once * WORTH_A_THREAD else 1
    fewest = share if workers else fewest
    return _evenly(specs, most, fewest)


def _evenly(specs: Sequence[MemberSpec], most: int, fewest: int) -> list[list[int]]:
    """Positions of the members in each of a multiple of ``fewest`` stacks, of ``most`` at most."""
    n = len(specs)
    stacks = max(ceil(n / most), min(fewest, n))
    stacks = min(n, ceil(stacks / fewest) * fewest)
    # Take the row plans in turn, so that each stack has as many members of each as can be.
    plans: dict[int, int] = {}  # numbered in the order in which they first come
    plan = [plans.setdefault(id(spec.row_plan), len(plans)) for spec in specs]
    count = [0] * len(plans)
    turn = []  # how many members with its row plan come before each
    for p in plan:
        turn.append(count[p])
        count[p] += 1
    order = sorted(range(n), key=lambda i: (turn[i], plan[i]))
    if len(plans) > 1 and n % len(plans) == 0 and len(plans) <= min(most, n // stacks):
        # Rounds of one member of each row plan stay whole.
        rounds = [order[i : i + len(plans)] for i in range(0, n, len(plans))]
        stacks = max(stacks, ceil(len(rounds) / (most // len(plans))))
        stacks = min(len(rounds), ceil(stacks / fewest) * fewest)
    else:
        rounds = [[i] for i in order]
    bounds = np.linspace(0, len(rounds), stacks + 1).round().astype(int)
    partition = [[i for r in rounds[a:b] for i in r] for a, b in pairwise(bounds)]
    return [sorted(stack, key=lambda i: (plan[i], i)) for stack in partition if stack]


def plan_stacks(
    specs: Sequence[MemberSpec],
    datas: Sequence[Data],
    memory: int | str | None,
    backend: Backend,
    held: Sequence[Sequence[int]] = (),
    workers: int = 0,
) -> tuple[list[Stack], list[str]]:
    """The stacks to train, in order, and a description of them in lines of text.

    Args:
        specs: all members.
        datas: the data of each.
        memory: what training may take: an amount such as "2GB", bytes, or None.
        backend: where they train.
        held: stacks that a checkpoint has, which stay as they are, by their members' numbers.
        workers: of an executor, each of which is to have two stacks; 0 without one.

    Raises:
        ValueError: no amount of memory, or too little for one member.
    """
    budget = memory_budget(memory, backend)
    alike, keys = populations(specs, datas)
    stacks = [Stack(list(numbers), worth_a_thread=True) for numbers in held]
    lines = [_headline(len(specs), keys)]
    begun = {k for numbers in held for k in numbers}
    if begun:
        stacks_text = f"{len(held)} stack{'s' if len(held) > 1 else ''}"
        lines.append(f"{len(begun)} go on from the checkpoint in {stacks_text}")
    for population in alike:
        numbers = [k for k in population if k not in begun]
        if not numbers:
            continue
        members, data = [specs[k] for k in numbers], datas[numbers[0]]
        s = members[0].settings
        sizes = [int(data.X.shape[1]), *(int(width) for width in s.hidden), data.y.n_outputs]
        n_validation = _validation_rows(members[0], data)
        share = max(1, ceil(STACKS_A_WORKER * workers * len(numbers) / (len(specs) - len(begun))))
        partition = partition_members(members, sizes, n_validation, budget, backend, workers, share)
        products = step_products(members[0], sizes)
        for positions in partition:
            worth_a_thread = len(positions) * products >= WORTH_A_THREAD
            stacks.append(Stack([numbers[i] for i in positions], worth_a_thread))
        shape = f"{'-'.join(map(str, sizes))}, minibatches of {s.batch_size}, {s.epochs} epochs"
        most = max(map(len, partition))
        split = f" in {len(partition)} stacks of up to {most}" if len(partition) > 1 else ""
        lines.append(f"{len(numbers)} x {shape}{split}")
    return stacks, lines


def populations(
    specs: Sequence[MemberSpec], datas: Sequence[Data]
) -> tuple[list[list[int]], list[dict[str, Hashable]]]:
    """The numbers of the members of each population, and what those share, by name."""
    numbers: dict[tuple[Hashable, ...], list[int]] = {}
    keys: list[dict[str, Hashable]] = []
    for k, (spec, data) in enumerate(zip(specs, datas, strict=True)):
        key = stacking_key(spec.settings)
        key["data"] = id(data)
        if spec.row_plan is not None:
            s = spec.settings
            key["minibatches"] = spec.row_plan.minibatches(s.batch_size, s.drop_last)
        values = tuple(key.values())
        if values not in numbers:
            keys.append(key)
        numbers.setdefault(values, []).append(k)
    return list(numbers.values()), keys


def _headline(n_networks: int, keys: Sequence[dict[str, Hashable]]) -> str:
    """How many networks and populations there are, and in what these differ."""
    differ = [name for name in keys[0] if len({repr(key.get(name)) for key in keys}) > 1]
    activations = {frozenset(key["activation"]) for key in keys}  # type: ignore[call-overload]
    implied = {"data"} | ({"activation"} if len(activations) == 1 else set())  # one for each layer
    differ = [name for name in differ if name not in implied]
    networks = "networks" if n_networks > 1 else "network"
    populations = "populations" if len(keys) > 1 else "population"
    because = f", which differ in {', '.join(differ)}" if differ else ""
    return f"{n_networks} {networks} in {len(keys)} {populations}{because}"


def _validation_rows(spec: MemberSpec, data: Data) -> int:
    """How many rows a member is validated on."""
    if spec.row_plan is not None and spec.row_plan.held_out is not None:
        return len(spec.row_plan.held_out)
    return 0 if data.X_val is None else int(data.X_val.shape[0])


def train_stacks(
    specs: Sequence[MemberSpec],
    datas: Sequence[Data],
    stacks: Sequence[Stack],
    backend: Backend,
    interrupt: Interrupt,
    *,
    compact: bool = True,
    on_epoch: Callable[[Sequence[int], Sequence[Record]], None] | None = None,
    on_end: Callable[[int], None] | None = None,
    step_losses: Callable[[], StepLosses] | None = None,
    file: Callable[[Sequence[int]], StackFile] | None = None,
    callbacks: MemberCallbacks | None = None,
    workers: "Workers | None" = None,
) -> list[MemberResult | None]:
    """Train all stacks: one after another, or with NumPy side by side, a core each; or by workers.

    Threads help, since products of NumPy release Python's lock. Each keeps to one thread of BLAS.

    Args:
        specs: all members.
        datas: the data of each.
        stacks: as of `plan_stacks`.
        backend: where the data is.
        interrupt: Ctrl-C or SIGTERM.
        compact: as for `train_population`.
        on_epoch: called with the numbers and records of members that trained an epoch, and as
            `train_population` does for the epochs of a file.
        on_end: called after each stack with how many epochs fewer than planned its members took.
        step_losses: makes what a stack adds up its losses with.
        file: gives what keeps the state of a stack, for checkpoints.
        callbacks: told of each member's epochs, by its number, from several threads.
        workers: of an executor, that do it instead of this process.

    Returns:
        Each member's result; None for those that Ctrl-C or SIGTERM came before.

    Raises:
        DeviceMemoryError: a stack did not fit the device's memory.
        ExecutorError: workers cannot train.
        ValueError: something cannot be sent to workers.
    """
    if workers is not None:
        return workers.train(
            specs,
            datas,
            [stack.numbers for stack in stacks],
            backend,
            interrupt,
            compact=compact,
            on_epoch=on_epoch,
            on_end=on_end,
            step_losses=step_losses,
            file=file,
            callbacks=None if callbacks is None else partial(_ByNumber, callbacks),
            less_memory=_less_memory(stacks),
        )
    results: list[MemberResult | None] = [None] * len(specs)

    def train(stack: Stack) -> None:
        if interrupt.requested:
            return
        numbers = stack.numbers

        def epoch_ended(positions: Sequence[int], records: Sequence[Record]) -> None:
            if on_epoch is not None:
                on_epoch([numbers[i] for i in positions], records)

        trained = train_population(
            _with_own_orders([specs[k] for k in numbers]),
            datas[numbers[0]],
            backend,
            interrupt,
            compact=compact,
            on_epoch=epoch_ended,
            step_losses=None if step_losses is None else step_losses(),
            file=None if file is None else file(numbers),
            callbacks=None if callbacks is None else _ByNumber(callbacks, numbers),
        )
        for k, result in zip(numbers, trained, strict=True):
            results[k] = result
        if on_end is not None:
            done = sum(len(result.history) for result in trained)
            on_end(sum(specs[k].settings.epochs for k in numbers) - done)

    threads = min(cores(), len(stacks)) if backend.name == "numpy" else 1
    with backend.within_memory(_less_memory(stacks)):
        if threads > 1 and any(stack.worth_a_thread for stack in stacks):
            side_by_side(train, stacks, threads, interrupt)
        else:
            for stack in stacks:
                train(stack)
    return results


@dataclass(frozen=True)
class _ByNumber:
    """Callbacks that are told of a stack's members by their numbers."""

    callbacks: MemberCallbacks
    numbers: Sequence[int]

    def epoch_ended(
        self, k: int, history: History, make_network: Callable[[], MultilayerPerceptron]
    ) -> bool:
        return self.callbacks.epoch_ended(self.numbers[k], history, make_network)

    def finished_before(
        self, k: int, history: History, make_network: Callable[[], MultilayerPerceptron]
    ) -> None:
        self.callbacks.finished_before(self.numbers[k], history, make_network)


def _with_own_orders(specs: Sequence[MemberSpec]) -> list[MemberSpec]:
    """The members of one stack, with orders that remember copied for this stack."""
    plans = {id(plan): plan.begun() for spec in specs if (plan := spec.row_plan) is not None}
    return [replace(spec, row_plan=plans.get(id(spec.row_plan))) for spec in specs]


def _less_memory(stacks: Sequence[Stack]) -> str:
    """Advice for where the memory does not suffice."""
    most = max((len(stack.numbers) for stack in stacks), default=0)
    if most > 1:
        return (
            f"Up to {most} networks train at once: a smaller memory= of sweep or MLPSearchCV, such "
            "as '2 GiB', makes that fewer."
        )
    return "A smaller batch_size, or narrower hidden layers, need less."

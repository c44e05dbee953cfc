"""Rounds: candidates do their work in turn, each on its better number of threads.

All candidates run in one process, one after another in every round, so that a busy machine slows
all of them. Medians are compared, and ratios within a round.
"""

import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import NamedTuple

from threadpoolctl import threadpool_limits

from arraymlp.backends.threads import processors

BARE, OURS, ARRAY = "bare products", "arraymlp", 'arraymlp, engine="array"'
# OpenBLAS's threads go on spinning for 0.1 s after their last product, PyTorch's for 0.01 s.
PAUSE = 0.15
MOST_ROUNDS = 25


@contextmanager
def blas_threads(n: int) -> Iterator[None]:
    """Context in which the BLAS of NumPy and SciPy uses n threads."""
    with threadpool_limits(n, user_api="blas"):
        yield


@contextmanager
def torch_threads(n: int) -> Iterator[None]:
    """Context in which PyTorch uses n threads."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(n)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@dataclass(frozen=True)
class Plan:
    """How long and how thoroughly to measure.

    Attributes:
        seconds: the most that a case may take.
        rounds: the least number of rounds.
        part: the fraction of a case's rows to use.
        peers: False leaves out PyTorch and JAX.
    """

    seconds: float = 60.0
    rounds: int = 3
    part: float = 1.0
    peers: bool = True

    def share(self, cases: float) -> "Plan":
        """The plan for one of so many results of a case."""
        return Plan(self.seconds / cases, self.rounds, self.part, self.peers)

    def rows(self, n: int, batch: int) -> int:
        """How many of n rows to use, in whole minibatches."""
        return max(1, int(n * self.part) // batch) * batch


class Candidate(NamedTuple):
    """One way of doing the work.

    Attributes:
        run: does it once and returns the seconds.
        threads: sets the number of threads; None where that cannot be set, or it chooses itself.
        trial: a shorter ``run`` by which the number of threads is chosen; None for ``run``.
    """

    run: Callable[[], float]
    threads: Callable[[int], AbstractContextManager[object]] | None = blas_threads
    trial: Callable[[], float] | None = None


class Goal(NamedTuple):
    """At most ``bound`` times the bare products' time, at least ``bound`` times ours, or a figure.

    Attributes:
        of: BARE or OURS; or the unit of the result's figures.
        bound: the ratio; or the most that the figure may be.
        most: True where it is to be at most ``bound`` times ours: what ours costs with more to do.
    """

    of: str
    bound: float
    most: bool = False

    def __str__(self) -> str:
        if self.of == BARE:
            return f"at most {self.bound:g} times bare"
        if self.of != OURS:
            return f"at most {self.bound:g} {self.of}"
        if self.most:
            return f"at most {self.bound:g} times ours"
        return "slower than ours" if self.bound == 1 else f"at least {self.bound:g} times ours"

    def reached(self, figure: float) -> bool:
        """Return True if a ratio or figure reaches it."""
        return figure >= self.bound if self.of == OURS and not self.most else figure <= self.bound


def timed(work: Callable[[], object]) -> Callable[[], float]:
    """The same work as a function that returns its seconds."""

    def run() -> float:
        started = time.perf_counter()
        work()
        return time.perf_counter() - started

    return run


@dataclass
class Result:
    """A result of a case: the times of its candidates.

    Attributes:
        case: its letter or name.
        title: what was done in these seconds.
        rows: processed in them, by all networks together; 0 where that says nothing.
        times: candidate -> threads -> seconds, round by round.
        threads: candidate -> the number it is best with; None where that is its own choice.
        trials: candidate -> threads -> median seconds of short runs, which rule out bad numbers.
        goals: for a candidate's time; a peer's says how much faster ours should be.
        names: of the candidates, including those that could not take part.
        absent: the latter -> why.
        notes: remarks on the figures.
        per: "step" or "network-step": figures are microseconds per each; "" for plain seconds.
        steps: how many of these the seconds are for.
        errors: tracebacks of candidates that failed.
    """

    case: str
    title: str
    rows: int = 0
    times: dict[str, dict[int | None, list[float]]] = field(default_factory=dict)
    threads: dict[str, int | None] = field(default_factory=dict)
    trials: dict[str, dict[int | None, float]] = field(default_factory=dict)
    goals: dict[str, Goal] = field(default_factory=dict)
    names: tuple[str, ...] = ()
    absent: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    per: str = ""
    steps: int = 1
    errors: dict[str, str] = field(default_factory=dict)

    def seconds(self, name: str) -> list[float]:
        """A candidate's, round by round, on the threads it is best with."""
        return self.times[name][self.threads[name]]

    @property
    def rounds(self) -> int:
        """How many there were."""
        return max((len(self.seconds(name)) for name in self.times), default=0)

    def median(self, name: str) -> float:
        """A candidate's seconds."""
        return statistics.median(self.seconds(name))

    @property
    def unit(self) -> str:
        """Of the figures."""
        return f"us a {self.per}" if self.per else "s"

    def figure(self, name: str) -> float:
        """A candidate's median in that unit."""
        return self.median(name) * (1e6 / self.steps if self.per else 1.0)

    def ratio(self, name: str, of: str) -> float | None:
        """Median of the ratios of two candidates' times in each round; None without either."""
        if name not in self.times or of not in self.times:
            return None
        pairs = zip(self.seconds(name), self.seconds(of), strict=True)
        return statistics.median(a / b for a, b in pairs)

    def reached(self, name: str) -> bool | None:
        """Return True if a candidate reaches its goal; None if it has none."""
        goal = self.goals.get(name)
        if goal is None or name not in self.times:
            return None
        figure = self.figure(name) if goal.of == self.unit else self.ratio(name, goal.of)
        return None if figure is None else goal.reached(figure)


def measure(result: Result, candidates: Mapping[str, Candidate | str], plan: Plan) -> Result:
    """Time the candidates into the result; a string says why one is absent.

    Rounds go on until the plan's time is over. A candidate takes part in them on one thread and on
    as many as there are cores, unless short runs took more than a fifth longer on either, or the
    result says already which is better.
    """
    started = time.perf_counter()
    result.names = tuple(candidates)
    result.absent = {name: why for name, why in candidates.items() if isinstance(why, str)}
    present = {name: c for name, c in candidates.items() if not isinstance(c, str)}
    result.trials = _trials(present, result.threads)
    result.times = {
        name: {n: [] for n, seconds in tried.items() if seconds <= 1.2 * min(tried.values())}
        for name, tried in result.trials.items()
    }
    begun = time.perf_counter()
    for done in range(MOST_ROUNDS):
        a_round = (time.perf_counter() - begun) / max(1, done)
        if done >= plan.rounds and time.perf_counter() + a_round > started + plan.seconds:
            break
        for name, candidate in present.items():
            for n, seconds in result.times[name].items():
                seconds.append(_once(candidate, candidate.run, n))
    for name, times in result.times.items():
        medians = {n: statistics.median(seconds) for n, seconds in times.items()}
        result.threads[name] = min(medians, key=medians.__getitem__)
    return result


def _trials(
    candidates: Mapping[str, Candidate], known: Mapping[str, int | None]
) -> dict[str, dict[int | None, float]]:
    """Median seconds of each candidate's short runs on each number of threads to try.

    The first of three runs warms up: it compiles and allocates. Without a choice of threads it is
    the only one.
    """
    tried: dict[str, dict[int | None, list[float]]] = {}
    for name, candidate in candidates.items():
        choice: list[int | None] = [*sorted({1, processors()})] if candidate.threads else [None]
        tried[name] = {n: [] for n in ([known[name]] if name in known else choice)}
    for round_ in range(3):
        for name, candidate in candidates.items():
            if round_ == 0 or len(tried[name]) > 1:
                for n, seconds in tried[name].items():
                    seconds.append(_once(candidate, candidate.trial or candidate.run, n))
    return {
        name: {n: statistics.median(seconds[1:] or seconds) for n, seconds in by_threads.items()}
        for name, by_threads in tried.items()
    }


def _once(candidate: Candidate, run: Callable[[], float], n: int | None) -> float:
    """Seconds of one run on n threads, once the threads of the run before have stopped."""
    time.sleep(PAUSE)
    with nullcontext() if n is None or candidate.threads is None else candidate.threads(n):
        return run()

"""A stack as the parent knows it while workers train it: its newest state, and what comes of it."""

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from arraymlp.backends.backend import Backend
from arraymlp.data.data import Data
from arraymlp.sweeps.population import (
    MemberCallbacks,
    MemberResult,
    MemberSpec,
    Population,
    StepLosses,
)
from arraymlp.sweeps.population_state import population_state, restore_population
from arraymlp.sweeps.workers.parcel import News, States, news_of, opened
from arraymlp.sweeps.workers.transport import Packed
from arraymlp.training.history import History, Record
from arraymlp.training.model import MultilayerPerceptron
from arraymlp.training.saver import Saver
from arraymlp.training.state import State, content_of

SHORTEST, LONGEST = 2.0, 30.0  # seconds of a slice
OVERHEAD = 0.02  # of the time, at most, that a slice's way to and fro is to take


@dataclass(eq=False)
class Part:
    """A stack in training.

    Attributes:
        numbers: of its members.
        specs: theirs.
        data: all rows.
        backend: the parent's.
        compact: as for `arraymlp.sweeps.population.train_population`.
        step_losses: likewise.
        packed: what workers unpack it from.
        parcel: the newest state with its news, as bytes, or the path of its file; None before
            there is one.
        news: the newest state's.
        histories: of its members, for callbacks.
        stops: the members that callbacks have said to stop after the newest state's epoch.
        seconds: how long its next slice is to take.
        strikes: how many workers were lost with it since its last slice.
        results: of its members, at the end.
        saver: of its checkpoints; None without them.
    """

    numbers: Sequence[int]
    specs: Sequence[MemberSpec]
    data: Data
    backend: Backend
    compact: bool
    step_losses: Callable[[], StepLosses] | None
    packed: Packed
    parcel: bytes | Path | None = None
    news: News | None = None
    histories: list[History] = field(default_factory=list)
    stops: list[int] = field(default_factory=list)
    seconds: float = field(default_factory=lambda: SHORTEST)
    strikes: int = 0
    results: list[MemberResult] | None = None
    saver: Saver | None = None
    _opened: Population | None = None

    def __post_init__(self) -> None:
        self.histories = self.histories or [History() for _ in self.specs]

    @property
    def is_held(self) -> bool:
        """Whether callbacks are to be told of the newest state's last epoch."""
        news = self.news
        return news is not None and news.held and not news.more

    @property
    def settling(self) -> tuple[list[int], list[float] | None] | None:
        """What `Population.settle` is to be told before the newest state goes on; None for none."""
        return (self.stops, self.news.losses) if self.is_held and self.news is not None else None

    def population(self) -> Population:
        """A population of it, at its beginning."""
        losses = None if self.step_losses is None else self.step_losses()
        return Population(self.specs, self.data, self.backend, self.compact, None, losses, None)

    def accept(self, parcel: bytes | Path, busy: float) -> list[list[Record]]:
        """Take a slice's parcel; return the new records of each member.

        Args:
            parcel: with news and state.
            busy: seconds that the worker spent on the slice.
        """
        with _open(parcel) as content:
            news = news_of(content)
        if isinstance(self.parcel, Path):
            self.parcel.unlink(missing_ok=True)
        self.parcel, self.news, self.strikes, self._opened = parcel, news, 0, None
        self.stops = []
        for history, records in zip(self.histories, news.records, strict=True):
            history.records += records
        # What the worker needed besides, its way here and back takes about as long again.
        needed = 2 * max(0.0, busy - news.seconds) / OVERHEAD
        self.seconds = min(max(needed, SHORTEST), LONGEST)
        return news.records

    def tell(self, callbacks: MemberCallbacks) -> None:
        """Tell callbacks of the newest state's epoch, and note whom they say to stop."""
        assert self.news is not None
        records = self.news.more or self.news.records
        for k, new in enumerate(records):
            if not new:
                continue
            history = self.histories[k]

            def make(k: int = k) -> MultilayerPerceptron:
                self._opened = self._opened or self.restored()
                place = self._opened.members.index(k)
                return self._opened.run.network.member(place)

            if callbacks.epoch_ended(k, history, make):
                self.stops.append(k)

    def restored(self) -> Population:
        """The newest state as a population, with the part of an epoch that was broken off."""
        population = self.population()
        if self.parcel is not None:
            tensors, with_part = self._states()
            tensors = tensors if with_part is None else with_part
            with self.backend.active():
                restore_population(population, content_of(tensors), tensors)
        return population

    def _states(self) -> States:
        assert self.parcel is not None
        with _open(self.parcel) as parcel:
            return opened(parcel)[1]

    def state(self) -> State:
        """The newest state, settled, for a checkpoint."""
        if self.settling is not None:
            population = self.restored()
            population.settle(*self.settling)
            return population_state(population, {})
        tensors, _ = self._states()
        return State(content_of(tensors), dict[str, Any](tensors))

    def conclude(self, status: str, cause: str = "") -> list[MemberResult]:
        """The members' results, by the newest state.

        Args:
            status: of those that are not trained to the end.
            cause: why they are not.
        """
        population = self.restored()
        with self.backend.active():
            if self.news is not None and self.news.held:
                population.settle(self.stops, self.news.losses)
            if not population.is_finished:
                population.end(status=status, cause=cause)
        self.results = [population.results[k] for k in range(len(self.specs))]
        self._opened = None
        return self.results


def _open(parcel: bytes | Path) -> BinaryIO:
    return io.BytesIO(parcel) if isinstance(parcel, bytes) else parcel.open("rb")

"""When to stop, and which weights to keep: early stopping, each member on its own."""

from collections.abc import Callable, Sequence
from copy import copy, deepcopy
from typing import Any

import numpy as np

from arraymlp.backend import Array, Backend, HostArray
from arraymlp.history import Record
from arraymlp.patience import EarlyStopping, Patience
from arraymlp.run import Run
from arraymlp.update import mapped


class Stopper:
    """Watches a run's figure; keeps the weights of each member's best epoch, or of its last.

    With the weights it keeps whatever else a step updates (their averages, the optimiser's state),
    so that a run goes on from there as it would have then. A member that has stopped is trained on
    with the rest of its population, without effect on what is kept of it.

    Args:
        settings: what to watch, and how long.
        greater_is_better: of the figure.
        members: K of a population, None for one network.
    """

    def __init__(
        self, settings: EarlyStopping, greater_is_better: bool, members: int | None
    ) -> None:
        self.settings = settings
        self.patience = Patience(
            settings.monitor, settings.patience, settings.min_change, greater_is_better
        )
        shape = () if members is None else (members,)
        self.stopped = np.zeros(shape, dtype=bool)
        self.epoch = np.full(shape, -1)  # whose weights are kept; -1 before there are any
        self.updates = np.zeros(shape, dtype=int)
        self.kept: Any = None

    def copied(self, change: Callable[[Array], Array]) -> "Stopper":
        """A copy for another run, with the arrays it keeps brought there."""
        twin = copy(self)
        twin.patience, twin.kept = deepcopy(self.patience), mapped(change, self.kept)
        return twin

    def some(self, members: Sequence[int], change: Callable[[Array], Array]) -> "Stopper":
        """That of some members, as it stands; ``change`` takes theirs of an array."""
        chosen = copy(self)
        chosen.patience, chosen.kept = self.patience.some(members), mapped(change, self.kept)
        for name in ("stopped", "epoch", "updates"):
            setattr(chosen, name, getattr(self, name)[list(members)])
        return chosen

    def observe(self, record: Record, run: Run) -> bool:
        """Take note of an epoch; True once every member has stopped."""
        better = self.patience.observe(record)
        stops = self.patience.exhausted & ~self.stopped
        take = better & ~self.stopped if self.settings.restore_best else stops
        if take.any():
            place = run.backend
            if self.kept is None or take.all():
                self.kept = mapped(lambda a: place.asarray(a, copy=True), _updated(run))
            else:
                self.kept = _where(take, _updated(run), self.kept, place)
            self.epoch = np.where(take, record["epoch"], self.epoch)
            self.updates = np.where(take, run.updates, self.updates)
        self.stopped = self.stopped | stops
        return bool(self.stopped.all())

    def restart(self) -> None:
        """Wait anew, in a run that goes on after its end; what is best so far stays so."""
        self.patience.restart(np.ones_like(self.stopped))
        self.stopped = np.zeros_like(self.stopped)

    @property
    def has_kept(self) -> HostArray:
        """Of which members `restore` gives something back, () or (K,) bool."""
        return np.asarray((self.epoch >= 0) & (self.stopped | self.settings.restore_best))

    def restore(self, run: Run) -> None:
        """Give each member what was kept of it; a member that has not stopped, only its best."""
        take = self.has_kept
        run.best_epoch = np.where(take, self.epoch, run.history[-1]["epoch"]).tolist()
        if not take.any():
            return
        place = run.backend
        chosen = self.kept if take.all() else _where(take, self.kept, _updated(run), place)
        networks, run.state = chosen
        for network, parameters in zip(_networks(run), networks, strict=True):
            for layer, (weights, bias) in zip(network.layers, parameters, strict=True):
                layer.weights, layer.bias = weights, bias
        run.updates = np.where(take, self.updates, run.updates)


def _networks(run: Run) -> list[Any]:
    return [run.network] if run.learner is run.network else [run.network, run.learner]


def _updated(run: Run) -> tuple[Any, Any]:
    """All arrays that steps update: parameters of each network, and the optimiser's state."""
    return [[(a.weights, a.bias) for a in n.layers] for n in _networks(run)], run.state


def _where(take: HostArray, a: Any, b: Any, place: Backend) -> Any:
    """Of a population, the members in ``take`` from a and the others from b."""
    mask = place.asarray(take[:, None, None])
    return mapped(lambda x, y: place.xp.where(mask, x, y), a, b)

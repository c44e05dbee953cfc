"""When to stop, and which weights to keep: early stopping, each member on its own."""

from collections.abc import Callable, Mapping, Sequence
from copy import copy, deepcopy
from dataclasses import dataclass
from typing import Any

import numpy as np

from arraymlp._checks import to_python
from arraymlp.backends.array import Array, HostArray
from arraymlp.backends.backend import Backend
from arraymlp.nn.network import Network
from arraymlp.steps.patience import Patience
from arraymlp.steps.update import States, tree_map
from arraymlp.training.history import Record


@dataclass(frozen=True)
class EarlyStopping:
    """End training once a figure has not improved for some epochs; each member at its own time.

    What an improvement is, and how it compares with other libraries, is said at `Patience`. The
    defaults are those of ``train(early_stopping=True)``.

    Attributes:
        monitor: the column of the history that is watched, with validation data as a rule.
        patience: epochs to wait for an improvement, from 1; or K values, one a member.
        min_change: what an improvement is at least, from 0, in the figure's own unit; or K values.
        restore_best: give back the weights of the best epoch, not of the last.
        greater_is_better: True as for an accuracy, False as for a loss; None where the figure's
            name says it, as "loss" does.

    Raises:
        ValueError: a value that is none of these.
    """

    monitor: str = "validation_loss"
    patience: int | Sequence[int] = 10
    min_change: float | Sequence[float] = 0.0
    restore_best: bool = True
    greater_is_better: bool | None = None

    def __post_init__(self) -> None:
        for name in ("patience", "min_change"):
            object.__setattr__(self, name, to_python(getattr(self, name)))
        greater = False if self.greater_is_better is None else self.greater_is_better
        Patience(self.monitor, self.patience, self.min_change, greater)  # refuses what is wrong
        if not isinstance(self.restore_best, bool | np.bool):
            raise ValueError(f"restore_best must be True or False, not {self.restore_best!r}")


def get_early_stopping(value: bool | str | EarlyStopping | None) -> EarlyStopping | None:
    """An `EarlyStopping` from True (its defaults) or the name of a column; None from False."""
    if value is None or isinstance(value, bool | np.bool):
        return EarlyStopping() if value else None
    if isinstance(value, str):
        return EarlyStopping(monitor=value)
    if isinstance(value, EarlyStopping):
        return value
    raise ValueError(
        "early_stopping must be True, False, the name of a column of the history or an "
        f"EarlyStopping, not {value!r}"
    )


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
        twin.patience, twin.kept = deepcopy(self.patience), tree_map(change, self.kept)
        return twin

    def some(self, members: Sequence[int], change: Callable[[Array], Array]) -> "Stopper":
        """The stopper of some members, as it stands; ``change`` picks their entries of an array."""
        chosen = copy(self)
        chosen.patience = self.patience.select_members(members)
        chosen.kept = tree_map(change, self.kept)
        for name in ("stopped", "epoch", "updates"):
            setattr(chosen, name, getattr(self, name)[list(members)])
        return chosen

    def observe(
        self, record: Record, networks: Sequence[Network], states: States, updates: Any
    ) -> bool:
        """Take note of an epoch; True once every member has stopped.

        Args:
            record: the epoch's.
            networks: those whose weights a step updates.
            states: the optimiser's.
            updates: how many steps the optimiser's state has seen.
        """
        better = self.patience.observe(record)
        stops = self.patience.exhausted & ~self.stopped
        take = better & ~self.stopped if self.settings.restore_best else stops
        if take.any():
            backend = networks[0].backend
            if self.kept is None or take.all():
                copied = updated_arrays(networks, states)
                self.kept = tree_map(lambda a: backend.asarray(a, copy=True), copied)
            else:
                self.kept = _where(take, updated_arrays(networks, states), self.kept, backend)
            self.epoch = np.where(take, record["epoch"], self.epoch)
            self.updates = np.where(take, updates, self.updates)
        self.stopped = self.stopped | stops
        return bool(self.stopped.all())

    def state(self) -> dict[str, Any]:
        """What it has seen, in JSON's types; the arrays in ``kept`` are no part of it."""
        figures = {name: getattr(self, name).tolist() for name in ("stopped", "epoch", "updates")}
        return {**figures, "keeps": self.kept is not None, "patience": self.patience.state()}

    def restore_state(self, state: Mapping[str, Any], kept: Any) -> None:
        """Take over what ``state`` returned, and the arrays that were kept."""
        self.stopped = np.asarray(state["stopped"], dtype=bool)
        self.epoch, self.updates = (np.asarray(state[n], dtype=int) for n in ("epoch", "updates"))
        self.patience.restore(state["patience"])
        self.kept = kept

    def restart(self) -> None:
        """Wait anew, in a run that goes on after its end; what is best so far stays so."""
        self.patience.restart(np.ones_like(self.stopped))
        self.stopped = np.zeros_like(self.stopped)

    @property
    def has_kept(self) -> HostArray:
        """Of which members `restore` gives something back, () or (K,) bool."""
        return np.asarray((self.epoch >= 0) & (self.stopped | self.settings.restore_best))

    def restore(
        self, networks: Sequence[Network], states: States, updates: Any, last_epoch: int
    ) -> tuple[States, Any, Any]:
        """Give each member what was kept of it; a member that has not stopped, only its best.

        The networks' parameters are changed; the other arguments are as of `observe`.

        Returns:
            The optimiser's states, how many steps they have seen, and the epoch whose weights each
            member has.
        """
        take = self.has_kept
        best_epoch = np.where(take, self.epoch, last_epoch).tolist()
        if not take.any():
            return states, updates, best_epoch
        backend = networks[0].backend
        restored = self.kept
        if not take.all():
            restored = _where(take, self.kept, updated_arrays(networks, states), backend)
        parameters, states = restored
        for network, restored_layers in zip(networks, parameters, strict=True):
            for layer, (weights, bias) in zip(network.layers, restored_layers, strict=True):
                layer.weights, layer.bias = weights, bias
        return states, np.where(take, self.updates, updates), best_epoch


def updated_arrays(networks: Sequence[Network], states: States) -> tuple[Any, States]:
    """All arrays that steps update: parameters of each network, and the optimiser's states."""
    return [[(a.weights, a.bias) for a in n.layers] for n in networks], states


def _where(take: HostArray, a: Any, b: Any, backend: Backend) -> Any:
    """Of a population, the members in ``take`` from a and the others from b."""
    mask = backend.asarray(take[:, None, None])
    return tree_map(lambda x, y: backend.xp.where(mask, x, y), a, b)

"""Callbacks of one training by several processes: called by rank 0, obeyed by all."""

from collections.abc import Callable, Sequence
from typing import Any

from arraymlp.training.callbacks import (
    AnyCallback,
    Callback,
    EpochEnd,
    StepEnd,
    says_stop,
    step_watchers,
)
from arraymlp.training.checkpoint import network_digest
from arraymlp.training.ranks.ranks import RankError, Ranks
from arraymlp.training.run import Run


class OfFirstRank(Callback):
    """After each epoch compares the ranks' weights, and has rank 0 call the callbacks.

    Args:
        callbacks: of the call.
        ranks: the processes.
        run: whose weights are compared.
    """

    def __init__(self, callbacks: Sequence[AnyCallback], ranks: Ranks, run: Run) -> None:
        self._callbacks, self._ranks, self._run = callbacks, ranks, run

    def __call__(self, event: EpochEnd) -> bool:
        """Compare the weights, then call rank 0's callbacks; True where one says stop."""
        require_same_weights(self._ranks, self._run, event.record["epoch"])
        return self._answer(lambda: [callback(event) for callback in self._callbacks])

    def _answer(self, ask: Callable[[], list[Any]]) -> bool:
        return bool(self._ranks.share(lambda: says_stop(ask())))


class OfFirstRankByStep(OfFirstRank):
    """The same where some of rank 0's callbacks look at each step."""

    def on_step(self, event: StepEnd) -> bool:
        """Call them, at rank 0, and tell all ranks whether one says stop."""
        return self._answer(lambda: [w(event) for w in step_watchers(self._callbacks)])


def of_first_rank(callbacks: Sequence[AnyCallback], ranks: Ranks, run: Run) -> list[AnyCallback]:
    """What calls the callbacks of rank 0, on every rank; themselves, where there is one rank."""
    if ranks.size == 1:
        return list(callbacks)
    by_step = ranks.share(lambda: bool(step_watchers(callbacks)))
    return [(OfFirstRankByStep if by_step else OfFirstRank)(callbacks, ranks, run)]


def require_same_weights(ranks: Ranks, run: Run, epoch: int) -> None:
    """A RankError where the ranks' weights are not the same bits.

    Their gradients are, so that only the updates can differ: by another kind of processor, another
    build of NumPy, or a callback that changes the network.
    """
    digests = ranks.gather([network_digest(network) for network in run.networks])
    other = [r for r, its in enumerate(digests) if its != digests[0]]
    if other:
        raise RankError(
            f"after epoch {epoch} the weights of rank {', '.join(map(str, other))} are not those "
            "of rank 0: all ranks need one kind of processor and one build of NumPy, and no "
            "callback may change the network"
        )

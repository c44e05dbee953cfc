"""Ranks: the processes of one training, none of which waits for one that has failed.

Before anything is said each rank gathers a code of what it is about to say. A rank that has failed
says so there, and then why; all others raise that. So the error of one rank ends all, and a rank
that has gone another way is noticed at the next word.
"""

import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from math import prod
from typing import Any, NoReturn

import numpy as np

from arraymlp._checks import error_text
from arraymlp.backends.array import Array, HostArray
from arraymlp.backends.backend import Backend
from arraymlp.backends.group import Group
from arraymlp.backends.host import Interrupt
from arraymlp.backends.threads import limited, processors
from arraymlp.data.stripes import bounds, owned
from arraymlp.nn.network import Network
from arraymlp.steps.shards import AddUp, Sums, flattened, places, unflattened
from arraymlp.training.ranks.adding import Carrier, HostCarrier, sum_over_ranks
from arraymlp.training.settings import Settings

FAILED, END, GATHER, SHARE, STEP, LAST_STEP = range(-1, 5)
SAID = ("end", "gather", "share", "do a step", "do a step")  # by code


class RankError(RuntimeError):
    """Another process of the training failed, or does not do what this one does."""


class Ranks:
    """The processes of a training; with no group this one alone.

    Args:
        group: what they speak by; None for one process.

    Attributes:
        rank: the number of this one; rank 0 prints, calls back and saves.
        size: how many there are.
        carrier: of gradients, where they do not go by way of the host.
    """

    def __init__(self, group: Group | None = None) -> None:
        self.group = group
        self.rank, self.size = (0, 1) if group is None else (group.rank, group.size)
        self._interrupt, self._own = Interrupt(), Interrupt()  # that all agreed on; this one's
        self.carrier: Carrier | None = None
        self._is_known = False  # to the others, where this rank ends with an error

    @property
    def is_first(self) -> bool:
        """True for the rank that prints, calls back and saves."""
        return self.rank == 0

    @contextmanager
    def together(self) -> Iterator[None]:
        """Within it an error of this rank is told to the others, and theirs to this one.

        Raises:
            RankError: another rank failed, or does something else.
        """
        if self.size == 1:
            yield
            return
        try:
            yield
            self._say(END)
        except Exception as error:
            if not self._is_known:  # a callback may raise a RankError of its own
                self._fail(error)
            raise
        except BaseException as error:  # a second Ctrl-C, or exit: the others are not asked
            self._abort(error)

    def _say(self, code: int) -> list[int]:
        """Gather what all are about to say."""
        assert self.group is not None
        codes = self.group.gather_code(code)
        if FAILED in codes:
            self._is_known = True
            texts = self.group.gather("")
            told = [f"rank {r}: {text}" for r, text in enumerate(texts) if text]
            raise RankError("; ".join(told))
        kinds = [STEP if c == LAST_STEP else c for c in codes]
        if len(set(kinds)) > 1:
            self._is_known = True
            told = [f"rank {r} is to {SAID[c]}" for r, c in enumerate(kinds)]
            raise RankError(
                f"the ranks do different things: {', '.join(told)}. All must make the same calls, "
                "with the same data and settings"
            )
        return codes

    def _fail(self, error: Exception) -> None:
        """Tell the others, when they next gather, that this rank failed."""
        assert self.group is not None
        self.group.gather_code(FAILED)
        self.group.gather(error_text(error))

    def _abort(self, error: BaseException) -> NoReturn:
        assert self.group is not None
        self._is_known = True
        text = "".join(traceback.format_exception(error))
        self.group.abort(f"rank {self.rank} of {self.size} ends all:\n{text}")
        raise error

    def gather(self, value: Any) -> list[Any]:
        """Each rank's object, by rank; it is pickled."""
        if self.group is None or self.size == 1:
            return [value]
        self._say(GATHER)
        try:
            return self.group.gather(value)
        except Exception as error:  # the others wait within it
            self._abort(error)

    def share(self, make: Callable[[], Any]) -> Any:
        """What rank 0 makes, for all; it is pickled."""
        value = make() if self.is_first else None
        if self.group is None or self.size == 1:
            return value
        self._say(SHARE)
        try:
            return self.group.share(value)
        except Exception as error:  # as in `gather`
            self._abort(error)

    def order_of_first(self, settings: Settings) -> Settings:
        """The settings with an order of the user's own that is rank 0's on all ranks.

        Such a function may draw from a random generator, of which each rank has its own.
        """
        order = settings.shuffle
        if self.size == 1 or not callable(order):
            return settings

        def of_first(n: int, epoch: int) -> HostArray:
            return np.asarray(self.share(lambda: order(n, epoch)))

        return replace(settings, shuffle=of_first)

    def own(self, n: int) -> range:
        """This rank's part of n things in a row."""
        ends = bounds(n, self.size)
        return range(ends[self.rank], ends[self.rank + 1])

    def agreed(self, interrupt: Interrupt) -> Interrupt:
        """The request to end that all hear of before the same step, of this process's own."""
        self._interrupt, self._own = Interrupt(), interrupt
        return self._interrupt

    def before_step(self) -> None:
        """Agree on whether the step that comes is the last one."""
        last = self._own.requested
        if self.size > 1:
            last = LAST_STEP in self._say(LAST_STEP if last else STEP)
        if last:
            self._interrupt.requested, self._interrupt.signal = True, self._own.signal

    def own_device(self, backend: Backend, device: Any) -> Backend:
        """The backend on a device of this rank's own, where its machine has several.

        Args:
            backend: as it was resolved.
            device: as the user gave it; None where it is not named.
        """
        if self.group is None or device is not None:
            return backend
        return backend.of_process(self.group.local_rank)

    def sharing_cores(self) -> AbstractContextManager[object]:
        """Context in which this process has its share of the machine's cores."""
        if self.group is None or self.group.local_size == 1:
            return nullcontext()
        return limited(max(1, processors() // self.group.local_size))

    def adder(self, shards: int, network: Network) -> AddUp | None:
        """What adds up the gradients of all ranks' shards; None for one rank.

        Args:
            shards: of a minibatch.
            network: whose gradients they are.
        """
        if self.size == 1:
            return None
        assert self.group is not None
        xp, backend = network.backend.xp, network.backend
        carrier = self.carrier or HostCarrier(self.group, backend)
        shares = [owned(shards, r, self.size) for r in range(self.size)]

        def add_up_all(sums: Sums, rows: int, shapes: Sequence[tuple[int, ...]], /) -> list[Array]:
            try:
                vectors = [flattened(value, xp) for _, value in sums if value is not None]
                # A rank without rows has none to tell length and dtype by.
                n = sum(map(prod, shapes))
                like = vectors[0] if vectors else backend.asarray(np.empty(n), network.dtype)
                of_ranks = [places(rows, shards, mine) for mine in shares]
                flat = sum_over_ranks(carrier, self.rank, vectors, of_ranks, like)
                return unflattened(flat, shapes, xp)
            except Exception as error:  # the others wait within the exchange
                self._abort(error)

        return add_up_all

"""What a slice gives back: its news, and the state of its stack."""

import pickle
from typing import BinaryIO, NamedTuple, TypeAlias

from arraymlp.backends.array import HostArray
from arraymlp.training.history import Record

Tensors: TypeAlias = dict[str, HostArray]
States: TypeAlias = tuple[Tensors, Tensors | None]  # to go on with; with a part of an epoch


class News(NamedTuple):
    """What a slice has done, in plain values.

    Attributes:
        records: of each member the records since the state that the slice began with.
        more: likewise of a part of an epoch, which the state to go on with has not.
        losses: what the steps of the last epoch added up to, where the parent is to settle it.
        held: whether the parent is to tell of the last epoch.
        finished: whether there is nothing left to train.
        steps: that the stack has done.
        epochs: likewise.
        seconds: that the training took.
    """

    records: list[list[Record]]
    more: list[list[Record]]
    losses: list[float] | None
    held: bool
    finished: bool
    steps: int
    epochs: int
    seconds: float


def packed(news: News, state: States) -> bytes:
    """A parcel: two pickles, of which the parent mostly reads the first alone."""
    return pickle.dumps(tuple(news), protocol=5) + pickle.dumps(state, protocol=5)


def opened(parcel: BinaryIO) -> tuple[News, States]:
    """What is in a parcel."""
    return news_of(parcel), pickle.load(parcel)


def news_of(parcel: BinaryIO) -> News:
    """The news in a parcel, of which no more is read."""
    return News(*pickle.load(parcel))

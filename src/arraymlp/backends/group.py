"""Processes that work together: what they say to each other, by MPI or by whatever else can.

Only what is said is here. What a training has to say, and that nobody waits for one that has
failed, is `arraymlp.training.ranks`.
"""

import sys
from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np

from arraymlp.backends.array import HostArray


class Group(ABC):
    """Processes ("ranks") that all call the same methods in the same order.

    A class of your own, for ranks that are no MPI's, overrides all of them.

    Attributes:
        rank: the number of this one, from 0.
        size: how many there are.
        local_rank: its number among those of its machine, from 0.
        local_size: how many its machine has.
        kind: what carries the messages, in a word.
    """

    rank: int
    size: int
    local_rank: int
    local_size: int
    kind: str

    @abstractmethod
    def gather_code(self, code: int) -> list[int]:
        """Each rank's small whole number, by rank."""

    @abstractmethod
    def gather(self, value: Any) -> list[Any]:
        """Each rank's object, pickled, by rank."""

    @abstractmethod
    def share(self, value: Any) -> Any:
        """The object of rank 0, pickled."""

    @abstractmethod
    def exchange(self, pieces: Sequence[HostArray], lengths: Sequence[int]) -> list[HostArray]:
        """Give each rank a piece, and return those that each rank gave this one.

        Args:
            pieces: 1-D arrays of one dtype, one a rank.
            lengths: of the arrays that come, by rank.
        """

    @abstractmethod
    def join(self, piece: HostArray, lengths: Sequence[int]) -> HostArray:
        """All ranks' pieces (1-D arrays of these lengths) in one array, by rank."""

    @abstractmethod
    def abort(self, text: str) -> None:
        """Say why, and end all processes: the last resort, where others wait for this one."""


class MPIGroup(Group):
    """The ranks of an mpi4py communicator.

    Args:
        communicator: an mpi4py ``Comm``. It is duplicated, so that what is said here meets nothing
            of the caller's own.
    """

    kind = "MPI"

    def __init__(self, communicator: Any) -> None:
        from mpi4py import MPI

        self._comm = communicator.Dup()
        self.rank, self.size = self._comm.Get_rank(), self._comm.Get_size()
        machine = self._comm.Split_type(MPI.COMM_TYPE_SHARED)
        self.local_rank, self.local_size = machine.Get_rank(), machine.Get_size()
        machine.Free()
        self._code, self._codes = np.zeros(1, np.int64), np.zeros(self.size, np.int64)

    def gather_code(self, code: int) -> list[int]:
        """See `Group`."""
        self._code[0] = code
        self._comm.Allgather(self._code, self._codes)
        return self._codes.tolist()

    def gather(self, value: Any) -> list[Any]:
        """See `Group`."""
        return list(self._comm.allgather(value))

    def share(self, value: Any) -> Any:
        """See `Group`."""
        return self._comm.bcast(value, root=0)

    def exchange(self, pieces: Sequence[HostArray], lengths: Sequence[int]) -> list[HostArray]:
        """See `Group`."""
        sent = np.concatenate(pieces)
        received = np.empty(sum(lengths), sent.dtype)
        counts = [len(piece) for piece in pieces]
        self._comm.Alltoallv([sent, counts], [received, list(lengths)])
        return np.split(received, np.cumsum(lengths)[:-1])

    def join(self, piece: HostArray, lengths: Sequence[int]) -> HostArray:
        """See `Group`."""
        whole = np.empty(sum(lengths), piece.dtype)
        self._comm.Allgatherv(np.ascontiguousarray(piece), [whole, list(lengths)])
        return whole

    def abort(self, text: str) -> None:
        """See `Group`."""
        print(text, file=sys.stderr, flush=True)
        self._comm.Abort(1)


def group_of(group: Any) -> Group:
    """The group that "mpi" names, of an mpi4py communicator, or itself.

    Raises:
        ValueError: it is none of these.
        ModuleNotFoundError: mpi4py is not installed; the message has the install line.
        RuntimeError: mpi4py finds no MPI.
    """
    if isinstance(group, Group):
        return group
    if isinstance(group, str) and group == "mpi":
        return _of_communicator(_mpi().COMM_WORLD)
    if callable(getattr(group, "Get_rank", None)) and callable(getattr(group, "Dup", None)):
        return _of_communicator(group)
    raise ValueError(
        f'group must be "mpi", an mpi4py communicator or an arraymlp.Group, not {group!r}'
    )


def _of_communicator(communicator: Any) -> MPIGroup:
    """The group of a communicator, which keeps it: MPI has only some thousands of duplicates."""
    key = _attribute()
    known = communicator.Get_attr(key)
    if known is None:
        known = MPIGroup(communicator)
        communicator.Set_attr(key, known)
    return known  # type: ignore[no-any-return]


@cache
def _attribute() -> int:
    """The number of the attribute of communicators that is theirs to keep a group in."""
    return int(_mpi().Comm.Create_keyval())


def _mpi() -> Any:
    try:
        from mpi4py import MPI
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            'group="mpi" needs mpi4py and MPI: pip install mpi4py mpich (or the MPI of a cluster)',
            name=error.name,
        ) from error
    except (ImportError, RuntimeError) as error:  # mpi4py is there, but no MPI that it can load
        raise RuntimeError(
            f'group="mpi": mpi4py finds no MPI ({error}): pip install mpich, or load the module '
            "of your cluster's MPI"
        ) from error
    return MPI

"""Ranks in threads of one process: what MPI does between processes, without its start."""

import copy
import threading
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np

from arraymlp import Group

TIMEOUT = 60  # seconds, after which a rank that waits gives up
Result = TypeVar("Result")


class Board:
    """Where the ranks of a group write what they say, and wait for each other."""

    def __init__(self, size: int) -> None:
        self.size, self.said = size, [None] * size
        self.barrier = threading.Barrier(size)
        self.aborted = ""


class ThreadGroup(Group):
    """A group of threads."""

    kind = "threads"

    def __init__(self, board: Board, rank: int) -> None:
        self.board, self.rank, self.size = board, rank, board.size
        self.local_rank, self.local_size = rank, 1  # each may use all cores

    def gather(self, value: Any) -> list[Any]:
        board: Any = self.board
        board.said[self.rank] = copy.deepcopy(value)
        board.barrier.wait(TIMEOUT)
        said = list(board.said)
        board.barrier.wait(TIMEOUT)
        return said

    def gather_code(self, code: int) -> list[int]:
        return self.gather(code)

    def share(self, value: Any) -> Any:
        return copy.deepcopy(self.gather(value)[0])

    def exchange(self, pieces: Sequence[Any], lengths: Sequence[int]) -> list[Any]:
        received = [of_rank[self.rank] for of_rank in self.gather(list(pieces))]
        assert [len(piece) for piece in received] == list(lengths)
        return received

    def join(self, piece: Any, lengths: Sequence[int]) -> Any:
        parts = self.gather(piece)
        assert [len(part) for part in parts] == list(lengths)
        return np.concatenate(parts)

    def abort(self, text: str) -> None:
        self.board.aborted = self.board.aborted or text
        self.board.barrier.abort()


def on_ranks(size: int, work: Callable[[ThreadGroup], Result]) -> list[Result | BaseException]:
    """What ``work(group)`` returns, or raises, on each of so many ranks; none may hang."""
    board = Board(size)
    results: list[Any] = [TimeoutError(f"rank {r} is still at work") for r in range(size)]

    def run(rank: int) -> None:
        try:
            results[rank] = work(ThreadGroup(board, rank))
        except BaseException as error:
            results[rank] = error

    threads = [threading.Thread(target=run, args=(r,), daemon=True) for r in range(size)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(TIMEOUT)
    return results

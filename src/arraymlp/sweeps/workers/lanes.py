"""Single workers in place of a pool of processes that broke.

When one process of a pool dies, the pool and all its slices are lost, and nobody knows whose fault
it was. From then on each worker is a pool by itself, so that each loss has one stack to its name.
"""

from concurrent.futures import Executor
from contextlib import suppress
from typing import Any

from arraymlp.sweeps.workers.pools import Pool


class Lane:
    """One worker, which is replaced when it is lost.

    Args:
        pool: the one that broke, of whose kind the worker is.
    """

    def __init__(self, pool: Pool, executor: Executor) -> None:
        self._pool, self.executor = pool, executor

    def renew(self) -> None:
        """Begin another worker in place of a lost one."""
        self.close(busy=True)
        executor = self._pool.single()
        assert executor is not None
        self.executor = executor

    def close(self, *, busy: bool) -> None:
        """End the worker; it is none of the user's.

        Args:
            busy: whether it may still train, for nobody.
        """
        processes: dict[int, Any] = dict(getattr(self.executor, "_processes", None) or {})
        self.executor.shutdown(wait=not busy)
        for process in processes.values() if busy else ():
            with suppress(Exception):  # it has ended by itself
                process.kill()


def lanes_for(pool: Pool) -> list[Lane]:
    """As many lanes as a pool has workers; none where its kind has no single workers."""
    first = pool.single()
    if first is None:
        return []
    rest = [pool.single() for _ in range(pool.workers - 1)]
    return [Lane(pool, executor) for executor in (first, *rest) if executor is not None]

"""The executors that train: how many workers each has, and how it tells that it has lost one.

None of their libraries is imported: what an executor is, its class says.
"""

import os
import sys
import time
from collections.abc import Callable, Mapping
from concurrent.futures import BrokenExecutor, CancelledError, Executor, Future
from contextlib import suppress
from enum import Enum
from importlib import import_module
from threading import current_thread
from typing import Any

from arraymlp.backends.host import Interrupt
from arraymlp.backends.threads import cores, processors
from arraymlp.sweeps.workers.errors import ExecutorError

RECONNECT = 10.0  # seconds that a lost connection to dask's scheduler is waited for
ASK_AGAIN = 10.0  # seconds after which dask is asked again how many workers it has
ANSWER = 10.0  # seconds that its answer may take

Request = dict[str, Any]


class Loss(Enum):
    """What an error of a slice says is lost: the worker that had it, all workers, or the engine."""

    WORKER = "worker"
    POOL = "pool"
    ENGINE = "engine"


class Pool:
    """An executor as the user gave it; one that this module knows nothing of.

    Attributes:
        executor: it has ``submit``, whose futures have ``add_done_callback``.
        threads: that each worker may use; None for as many as it sees.
        options: of ``submit``.
        knows_running: whether a future that runs cannot be cancelled.
    """

    knows_running = True
    threads: int | None = None
    options: Mapping[str, Any] = {}  # never written

    def __init__(self, executor: Any) -> None:
        self.executor = executor

    def __str__(self) -> str:
        return type(self.executor).__name__

    @property
    def engine(self) -> str:
        """What trains, in words."""
        return f"the {self}"

    @property
    def workers(self) -> int:
        """The number of workers."""
        for name in ("_max_workers", "num_workers"):
            number = getattr(self.executor, name, None)
            if isinstance(number, int) and number > 0:
                return number
        return cores()

    def require_open(self) -> None:
        """Raise an ExecutorError where nothing can be submitted."""
        flags = getattr(self.executor, "_flags", self.executor)  # loky's
        names = ("_shutdown", "_shutdown_thread", "shutdown")
        broken = getattr(self.executor, "_broken", False) or getattr(flags, "broken", None)
        if not broken and any(getattr(flags, name, False) is True for name in names):
            raise ExecutorError(f"the {self} given as executor= has been shut down")
        self.require_another_thread()

    def require_another_thread(self) -> None:
        """Raise an ExecutorError in one of the executor's own threads, which may be the last."""
        if current_thread() in (getattr(self.executor, "_threads", None) or ()):
            raise ExecutorError(f"a sweep in a thread of the {self} would wait for itself")

    def submit(self, work: Callable[..., Any], request: Request, sent: Any) -> "Future[Any]":
        """Have a worker do ``work(request, sent)``."""
        future: Future[Any] = self.executor.submit(work, request, sent, **self.options)
        return future

    def delivered(self, contents: dict[str, Any]) -> Any:
        """Contents as they go with a request to a worker that lacks them."""
        return contents

    def loss(self, error: BaseException, interrupt: Interrupt) -> Loss | None:
        """What an error says is lost; None for one that the training has raised."""
        if isinstance(error, BrokenExecutor):
            return Loss.POOL
        return Loss.WORKER if isinstance(error, CancelledError) else None

    def gone(self) -> str:
        """Why nothing will be answered any more; "" where that is not known."""
        return ""

    def single(self) -> Executor | None:
        """A new executor of this kind with one worker; None where none can be made."""
        return None


class Processes(Pool):
    """A ProcessPoolExecutor, of the standard library or of loky."""

    def __init__(self, executor: Any) -> None:
        super().__init__(executor)
        self.threads = max(1, processors() // self.workers)

    def single(self) -> Executor:
        """A new executor of this kind with one worker."""
        old = self.executor
        kind = next(c for c in type(old).__mro__ if c.__name__ == "ProcessPoolExecutor")
        options = {
            "mp_context": getattr(old, "_mp_context", None),
            "context": getattr(old, "_context", None),  # loky's
            "env": getattr(old, "_env", None),
            "max_tasks_per_child": getattr(old, "_max_tasks_per_child", None),
            "initializer": getattr(old, "_initializer", None),
            "initargs": getattr(old, "_initargs", ()),
        }
        given = {name: value for name, value in options.items() if value}
        made: Executor = kind(1, **given)
        return made


class Dask(Pool):
    """The executor of a `distributed.Client`."""

    options: Mapping[str, Any] = {"pure": False}  # never written
    knows_running = False  # to the client all that it has sent is pending

    @property
    def engine(self) -> str:
        """What trains, in words."""
        return "the scheduler of dask"

    def __init__(self, executor: Any) -> None:
        super().__init__(executor)
        self.client = executor._client
        self._workers, self._asked = 1, -ASK_AGAIN
        self._scattered: dict[str, Any] = {}  # futures, which keep dask from forgetting them

    @property
    def workers(self) -> int:
        """The number of the workers' threads, as the scheduler last said it."""
        if time.monotonic() - self._asked >= ASK_AGAIN and self.client.status == "running":
            self._asked = time.monotonic()
            with suppress(Exception):  # it says so in many ways that the scheduler does not answer
                threads = self.client.sync(self.client.scheduler.ncores, callback_timeout=ANSWER)
                self._workers = max(1, sum(threads.values()))
        return self._workers

    def require_open(self) -> None:
        """Raise an ExecutorError where nothing can be submitted."""
        super().require_open()
        if self.client.status != "running":
            raise ExecutorError(f"the client of the executor is {self.client.status}")

    def delivered(self, contents: dict[str, Any]) -> Any:
        """Contents as futures of what each of dask's workers then has."""
        new = {name: c for name, c in contents.items() if name not in self._scattered}
        if new:
            futures = self.client.scatter(list(new.values()), broadcast=True, hash=True)
            self._scattered |= dict(zip(new, futures, strict=True))
        return {name: self._scattered[name] for name in contents}

    def loss(self, error: BaseException, interrupt: Interrupt) -> Loss | None:
        """A worker where dask gave a slice up; the engine where the scheduler is gone."""
        killed = any(kind.__name__ == "KilledWorker" for kind in type(error).__mro__)
        if not killed and not isinstance(error, CancelledError):
            return super().loss(error, interrupt)
        until = time.monotonic() + RECONNECT
        while self.client.status == "connecting" and time.monotonic() < until:
            if interrupt.requested:
                break
            time.sleep(0.05)
        return Loss.WORKER if self.client.status == "running" else Loss.ENGINE

    def gone(self) -> str:
        """Why nothing will be answered any more."""
        ended = self.client.status in ("closing", "closed", "failed")
        return f"the client of dask is {self.client.status}" if ended else ""


def pool_of(executor: Any) -> Pool:
    """An executor, or a client that has one, as a pool.

    Raises:
        ValueError: it has no ``submit``.
        ExecutorError: it has been shut down.
    """
    if hasattr(executor, "get_executor"):  # a client of dask
        executor = executor.get_executor()
    if isinstance(executor, type) or not callable(getattr(executor, "submit", None)):
        raise ValueError(
            "executor must be an executor as of concurrent.futures, or a client of dask, not "
            f"{executor!r}"
        )
    names = {kind.__name__ for kind in type(executor).__mro__}
    made = Pool(executor)
    made.require_open()
    if "ClientExecutor" in names and hasattr(executor, "_client"):
        made = Dask(executor)
    elif "ProcessPoolExecutor" in names:
        made = Processes(executor)
    made.require_open()
    return made


def threads_here(given: int | None) -> int | None:
    """The threads that a worker may use: as it is told, or as dask or MPI shares its machine out.

    None for as many as it sees.
    """
    if given is not None:
        return given
    if "distributed" in sys.modules:
        with suppress(Exception):  # it is no worker of dask
            return int(import_module("distributed").get_worker().state.nthreads)
    for name in ("OMPI_COMM_WORLD_LOCAL_SIZE", "MPI_LOCALNRANKS"):
        if os.environ.get(name, "").isdecimal():
            return max(1, processors() // max(1, int(os.environ[name])))
    return None

"""The parent of a sweep in workers: sends slices out, keeps what comes back, and loses nothing.

Of each stack the parent has the newest state, so a worker that is lost costs one slice. It alone
writes checkpoints and tells progress and callbacks; workers need no file system in common.
"""

import logging
import pickle
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import CancelledError, Future
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any
from uuid import uuid4

from arraymlp.backends.host import Interrupt
from arraymlp.sweeps.population import INTERRUPTED, LOST, MemberCallbacks
from arraymlp.sweeps.workers.errors import ExecutorError
from arraymlp.sweeps.workers.identity import identity, version_list
from arraymlp.sweeps.workers.lanes import Lane, lanes_for
from arraymlp.sweeps.workers.part import Part
from arraymlp.sweeps.workers.pools import Loss, Pool
from arraymlp.sweeps.workers.slices import STATE, STOP, train_slice
from arraymlp.sweeps.workers.transport import Depot
from arraymlp.training.history import Record

log = logging.getLogger("arraymlp")

AT_ONCE = 2  # slices a worker: one is on its way while another trains
LOOK_UP = 0.1  # seconds between looks for a signal
PATIENCE = 5.0  # seconds that slices have to end after one
STRIKES = 2  # workers lost with a stack, one after another, until it is given up
SILENCE = 60.0  # seconds without a first answer, after which the log says so


class Conductor:
    """Has all parts trained by the workers of a pool.

    Args:
        pool: of workers.
        depot: has what they are sent.
        kind: name and device of the backend that they train on.
        interrupt: Ctrl-C or SIGTERM.
        told: called with a part's position and the new records of its members.
        callbacks: gives those of a part; None without any.
        ended: called with a part that has its results.
        limits: seconds and epochs that a slice may take at most; None for no limit.
        less_memory: advice for where the memory does not suffice.
    """

    def __init__(
        self,
        pool: Pool,
        depot: Depot,
        kind: tuple[str, Any],
        interrupt: Interrupt,
        *,
        told: Callable[[Part, Sequence[Sequence[Record]]], None],
        callbacks: Callable[[Part], MemberCallbacks] | None,
        ended: Callable[[Part], None],
        limits: tuple[float | None, int | None],
        less_memory: str,
    ) -> None:
        self._pool, self._depot, self._kind, self._interrupt = pool, depot, kind, interrupt
        self._told, self._callbacks, self._ended = told, callbacks, ended
        self._limits, self._less_memory = limits, less_memory
        self._job, self._identity = uuid4().hex, identity()
        self._ready: deque[Part] = deque()
        self._sent: dict[Part, dict[str, Any]] = {}  # what goes along with a part's next slice
        self._running: dict[Future[Any], tuple[Part, Lane | None]] = {}
        self._answers: SimpleQueue[Future[Any]] = SimpleQueue()
        self._lanes: list[Lane] = []
        self._kernels: set[str] = {self._identity["kernels"]}
        self._gone = ""  # why nothing can be submitted any more

    def train(self, parts: Sequence[Part]) -> None:
        """Train parts until each has its results, or a signal comes.

        Raises:
            ExecutorError: the executor cannot be used; or a worker of it cannot train, or has other
                versions than this process.
            Exception: whatever the training raised.
        """
        self._ready.extend(parts)
        try:
            self._work()
            if self._interrupt.requested:
                self._wind_down()
        finally:
            self._stop()

    def _work(self) -> None:
        began, heard = time.monotonic(), False
        while (self._ready or self._running) and not self._interrupt.requested:
            if not self._gone:
                self._submit_some()
            if self._gone:
                self._give_up(self._gone)
                return
            answered = self._next_answer(LOOK_UP)
            if answered is not None:
                heard = True
                self._take(answered)
            elif not heard:
                self._pool.require_another_thread()  # a new thread's pool may not know it at first
            if not heard and time.monotonic() - began > SILENCE:
                heard = True
                log.warning("no worker of the %s has answered in %g s", self._pool, SILENCE)
            self._gone = self._gone or self._pool.gone()

    @property
    def _parts(self) -> list[Part]:
        return [*self._ready, *(part for part, _ in self._running.values())]

    def _next_answer(self, seconds: float) -> Future[Any] | None:
        """The next future of those that run that is done; None where there is none by then."""
        until = time.monotonic() + seconds
        while True:
            try:
                future = self._answers.get(timeout=max(0.0, until - time.monotonic()))
            except Empty:
                return None
            if future in self._running:
                return future

    def _submit_some(self) -> None:
        """Submit as many slices as the workers are to have."""
        if not self._lanes:
            while self._ready and len(self._running) < AT_ONCE * self._pool.workers:
                self._submit(self._ready.popleft(), None)
                if self._gone or self._lanes:
                    return
            return
        busy = {id(lane) for _, lane in self._running.values()}
        for lane in self._lanes:
            if self._ready and id(lane) not in busy:
                self._submit(self._ready.popleft(), lane)

    def _submit(self, part: Part, lane: Lane | None) -> None:
        request, sent = self._request(part), self._sent.pop(part, {})
        try:
            if lane is None:
                future = self._pool.submit(train_slice, request, sent)
            else:
                future = lane.executor.submit(train_slice, request, sent)
        except (RuntimeError, OSError) as error:  # it is broken, or has been shut down meanwhile
            self._ready.appendleft(part)
            self._lose(error, part, lane, submitted=False)
            return
        self._running[future] = part, lane
        future.add_done_callback(self._answers.put)

    def _request(self, part: Part) -> dict[str, Any]:
        seconds, epochs = self._limits
        parcel = part.parcel
        if isinstance(parcel, bytes):
            self._sent.setdefault(part, {})[STATE] = parcel
        return {
            "versions": version_list(),
            "job": self._job,
            "folder": str(self._depot.folder),
            "backend": self._kind,
            "threads": self._pool.threads,
            "needs": list(part.packed.needs),
            "part": part.packed.name,
            "state": parcel.name if isinstance(parcel, Path) else None,
            "settle": part.settling,
            "seconds": part.seconds if seconds is None else min(part.seconds, seconds),
            "epochs": epochs,
            "less_memory": self._less_memory,
        }

    def _take(self, future: Future[Any]) -> None:
        """Take an answer: a slice's parcel, or why there is none."""
        part, lane = self._running.pop(future)
        reply, error = _outcome(future)
        if error is not None:
            if self._lose(error, part, lane):
                return
            raise error
        worker = f"worker {reply['worker']}"
        if "refused" in reply:
            theirs, ours = (", ".join(them) for them in (reply["versions"], version_list()))
            raise ExecutorError(f"{worker} has {theirs}, but this process has {ours}")
        if "unable" in reply:
            raise ExecutorError(f"{worker} cannot train: {reply['unable']}")
        if "text" in reply:
            raise _raised(reply, worker)
        self._compare_kernels(reply["kernels"])
        if "missing" in reply:
            self._send_along(part, reply["missing"])
            return
        done = reply["done"]
        parcel = done if isinstance(done, bytes) else self._depot.folder / done
        self._told(part, part.accept(parcel, reply["busy"]))
        self._follow(part)

    def _follow(self, part: Part) -> None:
        """Go on with a part that has a new state, or end it."""
        assert part.news is not None
        if part.is_held and self._callbacks is not None:
            part.tell(self._callbacks(part))
        if part.news.finished:
            part.conclude(INTERRUPTED)
            if part.saver is not None:
                part.saver.finish()
            self._ended(part)
            return
        if part.saver is not None:
            part.saver.epoch_ended(part.news.steps, part.news.epochs)
        self._ready.append(part)

    def _send_along(self, part: Part, missing: Sequence[str]) -> None:
        """Have a part's next slice take along what a worker lacks."""
        contents = self._depot.contents([name for name in missing if name != STATE])
        sent = dict(self._pool.delivered(contents)) if contents else {}
        if part.parcel is not None and not isinstance(part.parcel, bytes):
            sent[STATE] = part.parcel.read_bytes()
        self._sent[part] = sent
        self._ready.appendleft(part)

    def _compare_kernels(self, kernels: str) -> None:
        if kernels not in self._kernels:
            self._kernels.add(kernels)
            if len(self._kernels) == 2:
                log.warning(
                    "processors differ (%s): the last bits of a network depend on which of them "
                    "trains it",
                    "; ".join(sorted(self._kernels)),
                )

    # What is lost

    def _lose(
        self, error: BaseException, part: Part, lane: Lane | None, submitted: bool = True
    ) -> bool:
        """Deal with an error that says what is lost; False where it is the training's own."""
        loss = self._pool.loss(error, self._interrupt)
        if isinstance(error, KeyboardInterrupt):  # which reached a worker between slices
            loss = Loss.WORKER
        if not submitted and loss is None:  # a pool that has been shut down
            if not self._running and all(p.parcel is None for p in self._ready):
                raise ExecutorError(f"the {self._pool} takes no work: {error}") from error
            loss = Loss.ENGINE
        if loss is None:
            return False
        if submitted:
            self._ready.appendleft(part)
        first_line = str(error).partition("\n")[0]
        what = f"{type(error).__name__}: {first_line}".rstrip(": ")
        if loss is Loss.ENGINE:
            self._gone = f"{self._pool.engine} is gone ({what})"
        elif lane is not None:
            lane.renew()
            self._strike(part, what)
        elif loss is Loss.WORKER:
            self._strike(part, what)
        else:
            self._open_lanes(what)
        return True

    def _open_lanes(self, what: str) -> None:
        """Have a worker of its own in place of each of a pool that broke: see `lanes_for`."""
        for part, _ in self._running.values():
            self._ready.appendleft(part)
        self._running.clear()
        self._lanes = lanes_for(self._pool)
        if self._lanes:
            log.warning(
                "a worker of the %s was lost (%s), and the pool with it: its stacks go on from "
                "their last states in %d processes of their own",
                self._pool,
                what,
                len(self._lanes),
            )
        else:
            self._gone = f"the {self._pool} is broken ({what})"

    def _strike(self, part: Part, what: str) -> None:
        part.strikes += 1
        log.warning("a worker was lost with networks %s (%s)", _numbers(part), what)
        if part.strikes >= STRIKES:
            self._ready.remove(part)
            self._lost(part, f"{part.strikes} workers were lost with it, the last by {what}")

    def _give_up(self, why: str) -> None:
        """End all parts that are left."""
        if all(part.news is None for part in self._parts):
            raise ExecutorError(why)  # nothing was trained
        kept = any(part.saver is not None for part in self._parts)
        again = "; the same call goes on from the checkpoint" if kept else ""
        log.warning("%s: what is not trained is lost%s", why, again)
        for part in self._parts:
            self._lost(part, why)
        self._ready.clear()
        self._cancel()

    def _lost(self, part: Part, why: str) -> None:
        """End a part with what its newest state has."""
        if part.saver is not None and part.parcel is not None:
            part.saver.finish()
        part.conclude(LOST, why)
        self._ended(part)

    # The end

    def _wind_down(self) -> None:
        """After a signal: end slices early, and take what they have."""
        self._say_stop()
        for future in [f for f in self._running if self._pool.knows_running and f.cancel()]:
            part, _ = self._running.pop(future)
            self._ready.append(part)
        until = time.monotonic() + PATIENCE
        while self._running and (left := until - time.monotonic()) > 0:
            answered = self._next_answer(left)
            if answered is not None:
                self._take_last(answered)
        for part in self._parts:
            if part.saver is not None and part.parcel is not None:
                part.saver.finish()
            if part.parcel is not None:
                part.conclude(INTERRUPTED)
                self._ended(part)

    def _take_last(self, future: Future[Any]) -> None:
        """Take an answer that comes after a signal, where it is a parcel."""
        part, _ = self._running.pop(future)
        self._ready.append(part)
        reply, error = _outcome(future)
        if error is not None:  # of any kind: what there was is kept
            return
        if "text" in reply:
            raise _raised(reply, f"worker {reply['worker']}")
        if "done" not in reply:
            return
        done = reply["done"]
        parcel = done if isinstance(done, bytes) else self._depot.folder / done
        self._told(part, part.accept(parcel, reply["busy"]))
        assert part.news is not None
        if part.news.more:
            self._told(part, part.news.more)
        if part.news.held and self._callbacks is not None:
            part.tell(self._callbacks(part))

    def _say_stop(self) -> None:
        (self._depot.folder / STOP).touch()

    def _cancel(self) -> None:
        for future in self._running:
            future.cancel()
        self._running.clear()

    def _stop(self) -> None:
        """Leave no slice behind that trains for nobody."""
        busy = {id(lane) for _, lane in self._running.values()}
        if self._running:
            self._say_stop()
            self._cancel()
        for lane in self._lanes:
            lane.close(busy=id(lane) in busy)


def _outcome(future: Future[Any]) -> tuple[Any, BaseException | None]:
    """The result of a future that is done, or its exception."""
    if future.cancelled():
        return None, CancelledError("its slice was cancelled")
    error = future.exception(timeout=0)
    return (None, error) if error is not None else (future.result(timeout=0), None)


def _raised(reply: Mapping[str, Any], worker: str) -> Exception:
    """The exception of a slice, with a note of where it was raised."""
    error: Exception
    if reply["error"] is None:
        error = ExecutorError(f"{worker} failed: {reply['text'].strip().splitlines()[-1]}")
    else:
        error = pickle.loads(reply["error"])
    error.add_note(f"raised in {worker}:\n{reply['text']}")
    return error


def _numbers(part: Part) -> str:
    first, last = part.numbers[0], part.numbers[-1]
    return str(first) if first == last else f"{first} to {last}"

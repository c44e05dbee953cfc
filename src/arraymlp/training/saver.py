"""When a checkpoint is due, and its writing in a thread beside the training."""

import os
import sys
import threading
import warnings
from collections.abc import Callable
from contextlib import suppress
from time import perf_counter

from arraymlp.backends.backend import Backend
from arraymlp.training.generations import Generations
from arraymlp.training.state import State

THREAD = "arraymlp-checkpoint"
NICE = 15  # a thirtieth of a core that others want, and all of one that is idle
SHARE = 0.02  # of the time, which writing may take where checkpoints are due by the clock


class CheckpointWarning(UserWarning):
    """A checkpoint could not be written; the training goes on, and tries again when it is due."""


class Saver:
    """Takes a run's state when that is due, and writes it beside the training.

    While a state is being written no other is taken: the training never waits for the disk.

    Args:
        files: that are written.
        header: of every file.
        state: gives a copy of the state as it is now.
        backend: of its arrays.
        seconds: between checkpoints, at least; writing takes no more than 2 % of the time.
        steps: instead of seconds: a checkpoint is due whenever so many steps are done.
        epochs: likewise.

    Attributes:
        before: called before a state is taken in the middle of an epoch.
    """

    def __init__(
        self,
        files: Generations,
        header: dict[str, object],
        state: Callable[[], State],
        backend: Backend,
        *,
        seconds: float | None = None,
        steps: int | None = None,
        epochs: int | None = None,
    ) -> None:
        self.before: Callable[[], None] = lambda: None
        self._files, self._header, self._state, self._backend = files, header, state, backend
        self._seconds, self._steps, self._epochs = seconds, steps, epochs
        self._last, self._cost = perf_counter(), 0.0
        self._last_step, self._steps_per_second = 0, 0.0
        self._next_step: int | None = None
        self._last_epoch: int | None = None
        self._kept: State | None = None
        self._thread: threading.Thread | None = None
        self._failure: Exception | None = None

    def begin(self, run_step: int, epoch: int) -> None:
        """Count from here; write the state once, so that a path that cannot be written is told now.

        Raises:
            OSError: it cannot be written.
        """
        self._last_epoch, self._last_step = epoch, run_step
        self._after_step(run_step)
        start = perf_counter()
        self._files.write(self._header, self._state().tensors(self._backend))
        self._last, self._cost = perf_counter(), perf_counter() - start

    def resume(self, run_step: int, epoch: int) -> None:
        """Count from here, where the file has this state already."""
        self._last_epoch, self._last, self._last_step = epoch, perf_counter(), run_step
        self._after_step(run_step)

    def _after_step(self, run_step: int) -> None:
        if self._steps is not None:
            self._next_step = (run_step // self._steps + 1) * self._steps

    @property
    def _is_idle(self) -> bool:
        return self._thread is None or not self._thread.is_alive()

    def is_late(self) -> bool:
        """True where the clock says that a checkpoint is due."""
        if self._seconds is None:
            return False
        wait = max(self._seconds, self._cost / SHARE)
        return perf_counter() - self._last >= wait and self._is_idle

    def is_due(self, run_step: int) -> bool:
        """True where a checkpoint is due after so many steps of the run."""
        if self._next_step is not None:
            return run_step >= self._next_step and self._is_idle
        return self.is_late()

    def steps_ahead(self, run_step: int, steps: int) -> int:
        """How many of the next steps can be done before a checkpoint may be due, at least one."""
        if self._next_step is None:
            return steps
        to_next = self._next_step - run_step
        if not self._is_idle:  # as many as are done until it is, as far as that can be told
            seconds = self._last + self._cost - perf_counter()
            to_next = max(to_next, round(seconds * self._steps_per_second))
        return max(1, min(steps, to_next))

    def epoch_ended(self, run_step: int, epochs: int) -> None:
        """Take the state where a checkpoint is due at an epoch's end, of so many done."""
        due = self.is_due(run_step)
        if self._epochs is not None:
            assert self._last_epoch is not None
            due = epochs - self._last_epoch >= self._epochs and self._is_idle
        if due:
            self._last_epoch = epochs
            self.take(run_step, self._state)

    def take(self, run_step: int, state: Callable[[], State] | None = None) -> None:
        """Take the state now, within an epoch unless one is given; write it in a thread."""
        start = perf_counter()
        self._report()
        self._steps_per_second = (run_step - self._last_step) / max(start - self._last, 1e-9)
        self._after_step(run_step)
        self._last, self._last_step = start, run_step
        try:
            taken = (state or self._within_epoch)()
            args = taken, perf_counter() - start
            thread = threading.Thread(target=self._write_beside, args=args, name=THREAD)
            thread.start()
            self._thread = thread
        except Exception as error:  # no memory, no thread, or a state that JSON has not
            self._failure = error

    def keep(self) -> None:
        """Take the state now, to be the last one that is written."""
        self._kept = self._within_epoch()

    def _within_epoch(self) -> State:
        self.before()
        return self._state()

    def _write_beside(self, state: State, taking: float) -> None:
        """Write a state, in a thread to which those that train need not give way."""
        if sys.platform == "linux":  # where each thread has a priority of its own
            with suppress(OSError):
                os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICE)
        self._write(state, taking)

    def _write(self, state: State, taking: float) -> None:
        start = perf_counter()
        try:
            self._files.write(self._header, state.tensors(self._backend))
        except Exception as error:  # of any kind: the training is worth more than its checkpoint
            self._failure = error
        self._cost = taking + perf_counter() - start

    def finish(self) -> None:
        """Write the last state: the one that was kept, or as it is now."""
        self.close()
        try:
            self._write(self._kept or self._state(), 0.0)
        except Exception as error:
            self._failure = error
        self._report()

    def close(self) -> None:
        """Wait for what is being written."""
        if self._thread is not None:
            self._thread.join()
        self._report()

    def _report(self) -> None:
        failure, self._failure = self._failure, None
        if failure is not None:
            warnings.warn(
                f"a checkpoint could not be written ({failure}): what there is of it is older",
                CheckpointWarning,
                stacklevel=2,
            )

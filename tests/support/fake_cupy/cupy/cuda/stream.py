"""Streams, events and graphs.

Work on the default stream is done at once, as nothing of the host's can tell. A copy that is queued
on another stream is done as late as CUDA may do it: when that stream is waited for, or is used.
"""

import weakref
from collections.abc import Callable
from itertools import count
from typing import ClassVar

from cupy import _state
from cupy._errors import CUDARuntimeError
from cupy.cuda import runtime

Work = Callable[[], None]
_numbers = count(0x1000)
_every: "weakref.WeakSet[Stream]" = weakref.WeakSet()


class Stream:
    """A queue of work."""

    null: ClassVar["Stream"]

    def __init__(
        self,
        null: bool = False,
        non_blocking: bool = False,
        ptds: bool = False,
        priority: int | None = None,
    ) -> None:
        self.ptr = 0 if null else next(_numbers)
        self.device_id = -1 if null else _state.device()
        self.captured: list[Work] | None = None
        self._invalid = False
        self._late: list[Work] = []
        _every.add(self)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Stream) and self.ptr == other.ptr

    def __hash__(self) -> int:
        return self.ptr

    def __enter__(self) -> "Stream":
        if self.device_id not in (-1, _state.device()):
            raise RuntimeError(
                f"The device that the stream is created on ({self.device_id})"
                f" does not match with the current device ({_state.device()})"
            )
        _state.streams().append(self)
        return self

    def __exit__(self, *error: object) -> None:
        _state.streams().pop()

    def queue(self, work: Work, late: bool = False) -> None:
        """Do work after what was queued before, or record it."""
        if self.captured is not None:
            self.captured.append(work)
        elif late and self.ptr:
            self._late.append(work)
        else:
            self.catch_up()
            work()

    def catch_up(self) -> None:
        """Do what is late."""
        while self._late:
            self._late.pop(0)()

    def refuse(self) -> None:
        """Raise what waiting, or a copy to the host, raises while the stream is captured."""
        if self.captured is not None:
            self._invalid = True
            raise CUDARuntimeError(900)

    def synchronize(self) -> None:
        """Wait for all work of it."""
        self.refuse()
        self.catch_up()

    @property
    def done(self) -> bool:
        """True where no work is left."""
        self.refuse()
        return not self._late

    def record(self, event: "Event | None" = None) -> "Event":
        """An event that comes when what is queued is done."""
        event = Event() if event is None else event
        event.record(self)
        return event

    def wait_event(self, event: "Event") -> None:
        """Have what is queued from now on wait for an event."""
        self.refuse()
        event.synchronize()

    def begin_capture(self, mode: int | None = None) -> None:
        """Record instead of doing."""
        if self.ptr == 0:
            raise RuntimeError("cannot capture on the default (legacy) stream")
        if mode not in (None, runtime.streamCaptureModeRelaxed):
            raise NotImplementedError("the fake captures in relaxed mode alone")
        self.catch_up()
        self.captured, self._invalid = [], False

    def end_capture(self) -> "Graph":
        """What was recorded."""
        if self.captured is None:
            raise CUDARuntimeError(1)
        graph, self.captured = Graph(self.captured), None
        if self._invalid:
            raise CUDARuntimeError(901)
        return graph

    def is_capturing(self) -> bool:
        """True while it records."""
        return self.captured is not None


Stream.null = Stream(null=True)


class Event:
    """A point in a stream's queue."""

    def __init__(
        self, block: bool = False, disable_timing: bool = False, interprocess: bool = False
    ) -> None:
        self._stream: Stream | None = None

    def record(self, stream: Stream | None = None) -> None:
        """Be the point that the stream has come to."""
        self._stream = _state.current_stream() if stream is None else stream

    def synchronize(self) -> None:
        """Wait for it."""
        if self._stream is not None:
            self._stream.catch_up()

    @property
    def done(self) -> bool:
        """True where it has come."""
        return self._stream is None or self._stream.done


class Graph:
    """Recorded launches, to be done again and again; made by a stream."""

    def __init__(self, work: list[Work]) -> None:
        self._work = work

    def launch(self, stream: Stream | None = None) -> None:
        """Queue all of them."""
        stream = _state.current_stream() if stream is None else stream
        for work in self._work:
            stream.queue(work)


def get_current_stream(device_id: int = -1) -> Stream:
    """The thread's."""
    stream: Stream = _state.current_stream()
    return stream


def synchronize_all() -> None:
    """Wait for every stream."""
    for stream in [*_every]:
        stream.synchronize()

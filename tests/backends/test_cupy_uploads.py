"""CuPy uploads beside the work that is queued. A fake stands in for the GPU: work is queued by
stream, and done when it is waited for."""

import threading
from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import array_api_compat.numpy
import numpy as np
import pytest

from arraymlp import Backend
from arraymlp.backends import cupy
from arraymlp.backends.cupy import CupyBackend
from arraymlp.data.stream import (
    stream,
)
from conftest import assert_same, on_host
from streams import (
    ROWS,
    Sliced,
    X,
)


class FakeCuda:
    """Records what is asked of CuPy; a copy happens when its stream is waited for, not before."""

    def __init__(self) -> None:
        self.log: list[str] = []
        self.current = "none"
        fake = self

        class Stream:
            def __init__(self, name: str = "side", *, non_blocking: bool = False) -> None:
                assert non_blocking
                self.name, self.queued = name, []

            def __enter__(self) -> "Stream":
                fake.current = self.name
                return self

            def __exit__(self, *error: object) -> None:
                fake.current = "none"

            def record(self) -> str:
                fake.log.append(f"record {self.name}")
                return f"event of {self.name}"

            def wait_event(self, event: str) -> None:
                fake.log.append(f"{self.name} waits for {event}")

            def synchronize(self) -> None:
                fake.log.append(f"wait for {self.name}")
                for copy in self.queued:
                    copy()

        class Array(np.ndarray):
            def set(self, host: np.ndarray, stream: Any) -> None:
                assert any(host is locked for locked in fake.locked)
                fake.log.append(f"copy on {stream.name}")
                stream.queued.append(lambda: np.copyto(self, host))

        def empty(shape: tuple[int, ...], dtype: Any) -> np.ndarray:
            fake.log.append(f"allocate on {fake.current}")
            return np.full(shape, np.nan, dtype).view(Array)

        def empty_pinned(shape: tuple[int, ...], dtype: Any) -> np.ndarray:
            fake.locked.append(np.empty(shape, dtype))
            return fake.locked[-1]

        self.locked: list[np.ndarray] = []
        self.modules = {
            "cupy": SimpleNamespace(
                empty=empty,
                cuda=SimpleNamespace(
                    Stream=Stream, get_current_stream=lambda: Stream("user", non_blocking=True)
                ),
            ),
            "cupyx": SimpleNamespace(empty_pinned=empty_pinned),
        }


def test_cupy_uploads_beside_the_queue_and_after_what_may_still_use_the_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fake = FakeCuda()
    monkeypatch.setattr(cupy, "import_module", fake.modules.__getitem__)
    active: list[threading.Thread] = []

    def context(backend: CupyBackend) -> Any:
        active.append(threading.current_thread())  # CuPy's current device is the thread's own
        return nullcontext()

    monkeypatch.setattr(CupyBackend, "active", context)
    backend = CupyBackend("cupy", array_api_compat.numpy, "cpu", "14")
    once = [
        "allocate on user",
        "record user",
        "side waits for event of user",
        "copy on side",
        "wait for side",
    ]
    windows = stream(Sliced(X), "float32").windows(backend, ROWS)
    assert (next(windows) == X[:ROWS]).all()
    windows.close()
    assert fake.log == once * 2  # the second was uploaded ahead
    assert active[0] is threading.current_thread()  # whose stream it is
    assert active[1] is not threading.current_thread()


def test_an_upload_ahead_ends_as_asarray(backend: Backend, dtype: str) -> None:
    host = X.astype(dtype)
    ahead = backend.uploader()(host)
    assert_same(backend.asarray(ahead, dtype), backend.asarray(host, dtype))
    assert (on_host(backend.asarray(ahead, dtype)) == host).all()

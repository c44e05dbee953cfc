"""Gradients from GPU to GPU: NCCL carries them where it is found to work, else the host does.

Only pieces of vectors are sent, never sums: NCCL's own reductions change their order, and so their
bits, with the size of a message and the number of ranks.
"""

import logging
import os
import socket
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from arraymlp._checks import error_text
from arraymlp.backends.array import Array, Namespace
from arraymlp.backends.backend import Backend
from arraymlp.backends.nccl import GPUGroup, gpu_of, unique_name
from arraymlp.training.ranks.adding import Carrier, HostCarrier
from arraymlp.training.ranks.ranks import Ranks

log = logging.getLogger("arraymlp")

OFF = "0"
TRIED = 1000  # numbers of each piece in the trial


def carrier_for(ranks: Ranks, backend: Backend) -> Carrier:
    """What carries the gradients of a network on this backend; all ranks get the same kind.

    The environment variable ARRAYMLP_NCCL=0 has the host carry them. Where NCCL cannot be used the
    log says why.
    """
    assert ranks.group is not None
    host = HostCarrier(ranks.group, backend)
    if backend.name != "cupy":
        return host
    with backend.active():
        reason, carrier = _nccl(ranks, backend)
    if carrier is None:
        if ranks.is_first:
            log.warning("gradients go from GPU to GPU by way of the host: %s", reason)
        return host
    return carrier


class NCCLCarrier:
    """Carries CuPy arrays by NCCL's point-to-point messages.

    Args:
        gpus: of all ranks.
        backend: of the arrays.
    """

    def __init__(self, gpus: GPUGroup, backend: Backend) -> None:
        self._gpus = gpus
        self.xp: Namespace = backend.xp

    def taken(self, vector: Array) -> Array:
        """The vector itself."""
        return vector

    def given(self, vector: Array) -> Array:
        """The vector itself."""
        return vector

    def exchange(self, pieces: Sequence[Array], lengths: Sequence[int]) -> list[Array]:
        """As `arraymlp.Group.exchange`, of arrays on the device."""
        received = [self._new(n, pieces[0]) for n in lengths]
        received[self._gpus.rank] = pieces[self._gpus.rank]
        self._gpus.send_and_receive(pieces, received)
        return received

    def join(self, piece: Array, lengths: Sequence[int]) -> Array:
        """As `arraymlp.Group.join`, of arrays on the device."""
        parts = [self._new(n, piece) for n in lengths]
        parts[self._gpus.rank] = piece
        self._gpus.send_and_receive([piece] * self._gpus.size, parts)
        return self.xp.concat(parts)

    def _new(self, n: int, like: Array) -> Array:
        """An array (n,) to write to."""
        return self.xp.asarray(np.zeros(n, str(like.dtype)))


def _nccl(ranks: Ranks, backend: Backend) -> tuple[str, NCCLCarrier | None]:
    """A carrier that was tried, or why there is none; no rank begins alone what all must do."""
    made: list[Any] = []

    def stage(work: Callable[[], Any]) -> str:
        """What went wrong with some work, on whatever rank; "" where it did on none."""
        try:
            made.append(work())
            lack = ""
        except Exception as error:
            lack = error_text(error)
        told = [f"rank {r}: {why}" for r, why in enumerate(ranks.gather(lack)) if why]
        return "; ".join(told)

    def named() -> Any:
        if os.environ.get("ARRAYMLP_NCCL") == OFF:
            raise RuntimeError(f"ARRAYMLP_NCCL={OFF}")
        return unique_name()

    if reason := stage(named):
        return reason, None
    name = made[-1]
    gpus = ranks.gather((socket.gethostname(), gpu_of(backend)))
    if len(set(gpus)) < len(gpus):
        return "NCCL needs a GPU a rank, and some have the same one", None
    name = ranks.share(lambda: name)
    if reason := stage(lambda: GPUGroup(name, ranks.rank, ranks.size)):
        return reason, None
    carrier, version = NCCLCarrier(made[-1], backend), made[-1].version
    if reason := stage(lambda: _try(carrier, ranks, backend)):
        return reason, None
    log.info("gradients go from GPU to GPU by NCCL %s", version)
    return "", carrier


def _try(carrier: NCCLCarrier, ranks: Ranks, backend: Backend) -> None:
    """Carry some numbers; a RuntimeError where others arrive."""

    def numbers(sender: int, receiver: int) -> Any:
        return np.arange(TRIED, dtype=np.float32) + 1000.0 * sender + receiver

    everyone = range(ranks.size)
    sent = [backend.asarray(numbers(ranks.rank, r)) for r in everyone]
    received = carrier.exchange(sent, [TRIED] * ranks.size)
    joined = carrier.join(sent[0], [TRIED] * ranks.size)
    good = all(
        np.array_equal(backend.to_numpy(a), numbers(r, ranks.rank)) for r, a in enumerate(received)
    )
    expected = np.concatenate([numbers(r, 0) for r in everyone])
    if not good or not np.array_equal(backend.to_numpy(joined), expected):
        raise RuntimeError("NCCL carried other numbers than it was given")

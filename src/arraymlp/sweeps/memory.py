"""The memory and the work that training takes: a stated amount, and what a member adds."""

import re
from collections.abc import Sequence
from itertools import pairwise
from math import inf

import numpy as np

from arraymlp._checks import is_number
from arraymlp.backends.array import array_namespace
from arraymlp.backends.backend import Backend
from arraymlp.backends.memory import host_memory
from arraymlp.data.blocks import ROWS_AT_ONCE
from arraymlp.sweeps.population import MemberSpec

SHARE = 0.5  # of the memory that is free, where none is stated
UNKNOWN = 2 * 2**30  # bytes, where the free memory is not known

_UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}


def memory_budget(stated: int | str | None, backend: Backend) -> int:
    """Bytes that training may take: as stated ("2GB", "500 MiB", a number), or half of the free.

    Raises:
        ValueError: no amount of memory.
    """
    if stated is None:
        free = backend.free_memory()
        return int(SHARE * (free_host_memory() if free is None else free))
    if is_number(stated) and 1 <= float(stated) < inf:
        return int(stated)
    amount = re.fullmatch(r"\s*([0-9.]+)\s*([KMGT]?)(i?)B?\s*", str(stated), re.IGNORECASE)
    if isinstance(stated, str) and amount:
        number, unit, binary = amount.groups()
        power = list(_UNITS).index(unit.upper())
        try:
            bytes_ = float(number) * (1024**power if binary else _UNITS[unit.upper()])
        except ValueError:
            bytes_ = 0.0
        if bytes_ >= 1:
            return int(bytes_)
    raise ValueError(f'memory must be an amount such as "2GB" or a number of bytes, not {stated!r}')


def free_host_memory() -> int:
    """Bytes of the host's memory that this process may still use."""
    known = host_memory()
    return UNKNOWN if known is None else known[0]


def member_bytes(spec: MemberSpec, sizes: Sequence[int], n_validation: int) -> int:
    """About how many bytes one member adds to its population while it trains.

    Args:
        spec: the member.
        sizes: widths from inputs to outputs.
        n_validation: rows whose logits metrics keep.
    """
    s = spec.settings
    parameter = np.zeros((1, 1))
    state = s.optimizer.initial_state(parameter, array_namespace(parameter))
    n_state = 0 if state is None else len(state) if isinstance(state, tuple) else 1
    networks = 1 + (s.weight_average != 0)
    copies = networks + n_state
    copies += (networks + n_state) * (s.early_stopping is not None)  # what it keeps
    copies += 1 + 2  # the network that comes back; gradient, and change or square of it
    parameters = sum((n_in + 1) * n_out for n_in, n_out in pairwise(sizes))
    masked = s.dropout.input != 0
    step = s.batch_size * (5 * sum(sizes[1:]) + (spec.row_plan is not None or masked) * sizes[0])
    step += s.batch_size * (s.dropout.hidden != 0) * 3 * sum(sizes[1:-1])
    evaluation = 3 * ROWS_AT_ONCE * sum(sizes[1:]) + 3 * len(s.metrics) * n_validation * sizes[-1]
    return int((copies * parameters + max(step, evaluation)) * np.dtype(s.dtype).itemsize)


def step_bytes(spec: MemberSpec, sizes: Sequence[int]) -> int:
    """About how many bytes of its own one member touches in a step."""
    parameters = sum((n_in + 1) * n_out for n_in, n_out in pairwise(sizes))
    numbers = 2 * parameters + 4 * spec.settings.batch_size * sum(sizes[1:])
    return int(numbers * np.dtype(spec.settings.dtype).itemsize)


def step_products(spec: MemberSpec, sizes: Sequence[int]) -> int:
    """Multiply-adds of one member's step."""
    return 3 * spec.settings.batch_size * sum(a * b for a, b in pairwise(sizes))

"""How a population is cut: into parts that fit the memory, and on a CPU its caches and cores.

A member trains alike in any part, so where the cuts are is a matter of speed and room alone.
"""

import os
import re
from collections.abc import Sequence
from itertools import pairwise
from math import ceil

import numpy as np

from arraymlp._checks import is_number
from arraymlp.backend import Backend
from arraymlp.batching import ROWS_AT_ONCE
from arraymlp.memory import host_memory
from arraymlp.optimizers import optimizer
from arraymlp.population import Solo

SHARE = 0.5  # of the memory that is free, where none is stated
UNKNOWN = 2 * 2**30  # bytes, where it is not known what is free
# On NumPy the arrays of a part's step are to stay in the processor's caches, and a part is to have
# enough to do in a step that Python's share of it is small: bytes, and multiply-adds.
CACHE = 24 * 2**20
WORTH_A_THREAD = 4_000_000

_UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}


def memory_budget(stated: int | str | None, place: Backend) -> int:
    """Bytes that training may take: as stated ("2GB", "500 MiB", a number), or half of the free.

    Raises:
        ValueError: no amount of memory.
    """
    if stated is None:
        free = place.free_memory()
        return int(SHARE * (_host_memory() if free is None else free))
    if is_number(stated) and float(stated) >= 1:
        return int(stated)
    found = re.fullmatch(r"\s*([0-9.]+)\s*([KMGT]?)(i?)B?\s*", str(stated), re.IGNORECASE)
    if isinstance(stated, str) and found:
        number, unit, binary = found.groups()
        power = list(_UNITS).index(unit.upper())
        try:
            bytes_ = float(number) * (1024**power if binary else _UNITS[unit.upper()])
        except ValueError:
            bytes_ = 0.0
        if bytes_ >= 1:
            return int(bytes_)
    raise ValueError(f'memory must be an amount such as "2GB" or a number of bytes, not {stated!r}')


def _host_memory() -> int:
    """Bytes of the host's memory that this process may still use."""
    known = host_memory()
    return UNKNOWN if known is None else known[0]


def member_bytes(solo: Solo, sizes: Sequence[int], n_validation: int) -> int:
    """About how many bytes one member adds to its population while it trains.

    Args:
        solo: the member.
        sizes: widths from inputs to outputs.
        n_validation: rows whose logits metrics keep.
    """
    s = solo.settings
    one, rule = np.zeros((1, 1)), optimizer(s.optimizer)
    state = rule.initial_state(one, np)
    n_state = 0 if state is None else len(state) if isinstance(state, tuple) else 1
    networks = 1 + (s.weight_average != 0)
    copies = networks + n_state
    copies += (networks + n_state) * (s.early_stopping is not False)  # what it keeps
    copies += 1 + 2  # the network that comes back; gradient, and change or square of it
    parameters = sum((n_in + 1) * n_out for n_in, n_out in pairwise(sizes))
    masked = s.dropout.input != 0
    step = s.batch_size * (5 * sum(sizes[1:]) + (solo.course is not None or masked) * sizes[0])
    step += s.batch_size * (s.dropout.hidden != 0) * 3 * sum(sizes[1:-1])
    evaluation = 3 * ROWS_AT_ONCE * sum(sizes[1:]) + 3 * len(s.metrics) * n_validation * sizes[-1]
    return int((copies * parameters + max(step, evaluation)) * np.dtype(s.dtype).itemsize)


def step_bytes(solo: Solo, sizes: Sequence[int]) -> int:
    """About how many bytes of its own one member touches in a step."""
    parameters = sum((n_in + 1) * n_out for n_in, n_out in pairwise(sizes))
    numbers = 2 * parameters + 4 * solo.settings.batch_size * sum(sizes[1:])
    return int(numbers * np.dtype(solo.settings.dtype).itemsize)


def step_products(solo: Solo, sizes: Sequence[int]) -> int:
    """Multiply-adds of one member's step."""
    return 3 * solo.settings.batch_size * sum(a * b for a, b in pairwise(sizes))


def cores() -> int:
    """Processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def cut(
    solos: Sequence[Solo],
    sizes: Sequence[int],
    n_validation: int,
    budget: int,
    place: Backend,
) -> list[list[int]]:
    """Cut the members of one kind into parts: the positions of those in each.

    Parts are of nearly one size. Members with one course stand side by side in a part.

    Raises:
        ValueError: not even one member fits the budget.
    """
    each, n = member_bytes(solos[0], sizes, n_validation), len(solos)
    fits = budget // each
    if fits < 1:
        shape = "-".join(map(str, sizes))
        raise ValueError(
            f"one network {shape} takes about {each:,} bytes to train with minibatches of "
            f"{solos[0].settings.batch_size}, but memory allows {budget:,}"
        )
    at_once = min(cores(), fits) if place.name == "numpy" else 1
    most, fewest = fits // at_once, 1
    if place.name == "numpy":
        products = step_products(solos[0], sizes)
        small = max(1, CACHE // step_bytes(solos[0], sizes), ceil(WORTH_A_THREAD / products))
        most = min(most, small)
        fewest = at_once if n * products >= at_once * WORTH_A_THREAD else 1
    parts = max(ceil(n / most), min(fewest, n))
    parts = min(n, ceil(parts / fewest) * fewest)
    # Take the courses in turn, so that each part has as many members of each as can be.
    courses = [id(solo.course) for solo in solos]
    seen = {c: number for number, c in enumerate(dict.fromkeys(courses))}
    turn = [seen[c] for c in courses]
    so_far = dict.fromkeys(turn, 0)
    nth = []
    for t in turn:
        nth.append(so_far[t])
        so_far[t] += 1
    order = sorted(range(n), key=lambda i: (nth[i], turn[i]))
    whole = n % len(seen) == 0 and len(seen) <= min(most, n // parts)
    if len(seen) > 1 and whole:  # whole rounds of courses
        rounds = [order[i : i + len(seen)] for i in range(0, n, len(seen))]
        parts = max(parts, ceil(len(rounds) / (most // len(seen))))
        parts = min(len(rounds), ceil(parts / fewest) * fewest)
        bounds = np.linspace(0, len(rounds), parts + 1).round().astype(int)
        cuts = [[i for r in rounds[a:b] for i in r] for a, b in pairwise(bounds)]
    else:
        bounds = np.linspace(0, n, parts + 1).round().astype(int)
        cuts = [order[a:b] for a, b in pairwise(bounds)]
    return [sorted(part, key=lambda i: (turn[i], i)) for part in cuts if part]

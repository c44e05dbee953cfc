"""Few cases for many factors: every two levels of any two factors meet in one of them.

Faults of one factor, or of two that meet, show in such a set as they do in the full product
(Kuhn, Wallace, Gallo 2004).
"""

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any


def pairwise(factors: Mapping[str, Sequence[Any]]) -> list[dict[str, Any]]:
    """Cases, a level of each factor by name, in which all pairs of levels meet; always the same.

    Levels are told apart by their position.
    """
    names = list(factors)
    missing = {
        ((a, i), (b, j))
        for a, b in combinations(range(len(names)), 2)
        for i in range(len(factors[names[a]]))
        for j in range(len(factors[names[b]]))
    }
    cases = []
    while missing:
        # A pair that is missing, and then, factor by factor, the level with most missing pairs.
        case = dict(min(missing))
        for f in sorted(set(range(len(names))) - case.keys()):
            levels = range(len(factors[names[f]]))
            case[f] = max(levels, key=lambda i: (len(_met(case | {f: i}) & missing), -i))
        missing -= _met(case)
        cases.append({name: factors[name][case[f]] for f, name in enumerate(names)})
    return cases


def _met(case: Mapping[int, int]) -> set[tuple[tuple[int, int], tuple[int, int]]]:
    """The pairs of levels that meet in a case."""
    return set(combinations(sorted(case.items()), 2))

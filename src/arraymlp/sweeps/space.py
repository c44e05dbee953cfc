"""The points of a sweep: settings with several values, as a grid, side by side, or at random."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import islice, product
from numbers import Integral
from typing import Any, Protocol, TypeAlias, runtime_checkable

import numpy as np

from arraymlp._checks import to_python, unknown
from arraymlp.nn.losses import Loss

MODES = ("grid", "random", "zip")
REPEATS = ("seed", "order_seed")  # settings that repeat a training rather than change it
SINGLE = ("metrics",)  # a list of them is one value: they change nothing of the training

Values: TypeAlias = list[Any]  # of one setting, whatever it is
Shown: TypeAlias = bool | int | float | str | None  # a value in a table
Point: TypeAlias = dict[str, Any]  # one network's settings by name, as the user gave them


@runtime_checkable
class Distribution(Protocol):
    """A distribution to draw a setting from, as scipy.stats has them."""

    def rvs(self, *, random_state: np.random.Generator) -> Any:
        """Draw one value."""


def is_swept(name: str, value: object) -> bool:
    """Return True where a setting has several values: a list, range, array or distribution."""
    several = isinstance(value, list | range | Distribution)
    several = several or (isinstance(value, np.ndarray) and value.ndim > 0)
    return several and name not in SINGLE


def points(
    settings: Mapping[str, object], mode: str, n: int | None, seed: int
) -> tuple[list[Point], list[str]]:
    """Every network's settings, and the names of those that are swept.

    Args:
        settings: by name; a list, range or array is swept, anything else is one value.
        mode: "grid": every combination, the last setting changing fastest; "zip": the first values
            together, then the second, ...; "random": n draws, of lists without repeating a
            combination, unless there is a distribution, an object with ``rvs`` as in scipy.stats.
        n: how many draws.
        seed: of the draws.

    Raises:
        ValueError: an empty list, lists of different lengths in "zip", a distribution elsewhere
            than in "random", n missing or where it has no meaning, an unknown mode.
    """
    if not isinstance(mode, str) or mode not in MODES:
        raise unknown(MODES, mode, "mode")
    swept = {name: value for name, value in settings.items() if is_swept(name, value)}
    distributions = {name: v for name, v in swept.items() if isinstance(v, Distribution)}
    lists = {name: _listed(name, v) for name, v in swept.items() if name not in distributions}
    if (n is None) == (mode == "random"):
        wrong = "needs n, how many draws" if n is None else "has no use for n"
        raise ValueError(f'mode="{mode}" {wrong}')
    combinations: Iterable[Sequence[object]]
    if mode == "random":
        drawn = _draws(list(swept), distributions, lists, n, seed)
    elif distributions:
        raise ValueError(
            f'{next(iter(distributions))} is a distribution: mode="random" draws from it'
        )
    else:
        if mode == "grid":
            combinations = product(*lists.values())
        elif len({len(v) for v in lists.values()}) > 1:
            lengths = ", ".join(f"{len(v)} of {name}" for name, v in lists.items())
            raise ValueError(f'mode="zip" needs as many values of each setting, not {lengths}')
        else:
            combinations = zip(*lists.values(), strict=True)
        drawn = [dict(zip(lists, values, strict=True)) for values in combinations]
    fixed = {name: value for name, value in settings.items() if name not in swept}
    return [{**fixed, **point} for point in drawn or [{}]], list(swept)


def _listed(name: str, values: Any) -> Values:
    """The values of a list, range or array; a ValueError for none."""
    listed: Values = values.tolist() if isinstance(values, np.ndarray) else list(values)
    if not listed:
        raise ValueError(f"{name} is empty: give it one value or more")
    return listed


def _draws(
    names: Sequence[str],
    distributions: Mapping[str, Distribution],
    lists: Mapping[str, Values],
    n: object,
    seed: int,
) -> list[Point]:
    """Points drawn at random: n of them, by the swept settings' names in their order."""
    if not isinstance(n, Integral) or isinstance(n, bool) or n < 1:
        raise ValueError(f"n must be a whole number from 1, not {n!r}")
    random = np.random.default_rng(seed)
    if not distributions:
        return _draws_of_lists(lists, int(n), random)
    drawn = []
    for _ in range(int(n)):
        point = {}
        for name in names:
            if name in distributions:
                draw = distributions[name].rvs(random_state=random)
                point[name] = draw.item() if hasattr(draw, "item") else draw
            else:
                point[name] = lists[name][int(random.integers(len(lists[name])))]
        drawn.append(point)
    return drawn


def _draws_of_lists(
    lists: Mapping[str, Values], n: int, random: np.random.Generator
) -> list[Point]:
    """Combinations drawn at random, none of them twice."""
    sizes = [len(v) for v in lists.values()]
    total = int(np.prod(sizes, dtype=object)) if sizes else 1
    if n > total:
        raise ValueError(f"n={n} draws without repeating one, but there are {total} combinations")
    if total <= 10**6:
        numbers = random.permutation(total)[:n].tolist()
    else:  # repeats are rare among so many
        stream = (int(i) for i in iter(lambda: random.integers(total), None))
        numbers = list(islice(dict.fromkeys(islice(stream, 4 * n)), n))
    drawn = []
    for number in numbers:
        point = {}
        for name, values in reversed(list(lists.items())):
            number, i = divmod(number, len(values))
            point[name] = values[i]
        drawn.append({name: point[name] for name in lists})
    return drawn


def shown(value: object) -> Shown:
    """A setting's value as a number, a string, or the text for it in a table."""
    plain: object = to_python(value)
    if plain is None or isinstance(plain, bool | int | float | str):
        return plain
    if isinstance(plain, tuple):
        return "-".join(str(shown(v)) for v in plain) or "none"
    if isinstance(plain, Loss) and plain.parameters:
        return repr(plain)
    name: str | None = getattr(plain, "name", None)
    return name or repr(plain)

"""What a sweep tries: settings with several values, as a grid, side by side, or drawn at random."""

from collections.abc import Mapping
from itertools import islice, product
from numbers import Integral
from typing import Any

import numpy as np

from arraymlp._checks import to_python, unknown
from arraymlp.nn.losses import Loss

MODES = ("grid", "random", "zip")
REPEATS = ("seed", "order_seed")  # settings that repeat a training rather than change it
SINGLE = ("metrics",)  # a list of them is one value: they change nothing of the training


def is_swept(name: str, value: Any) -> bool:
    """Whether a setting has several values: a list, range or array, or a distribution."""
    several = isinstance(value, list | range) or hasattr(value, "rvs")
    several = several or (isinstance(value, np.ndarray) and value.ndim > 0)
    return several and name not in SINGLE


def points(
    settings: Mapping[str, Any], mode: str, n: int | None, seed: int
) -> tuple[list[dict[str, Any]], list[str]]:
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
    if mode not in MODES:
        raise unknown(MODES, mode, "mode")
    swept = {name: value for name, value in settings.items() if is_swept(name, value)}
    drawn = [name for name, value in swept.items() if hasattr(value, "rvs")]
    lists = {name: _listed(name, v) for name, v in swept.items() if name not in drawn}
    if (n is None) == (mode == "random"):
        wrong = "needs n, how many draws" if n is None else "has no use for n"
        raise ValueError(f'mode="{mode}" {wrong}')
    if mode == "random":
        found = _draws(swept, drawn, lists, n, seed)
    elif drawn:
        raise ValueError(f'{drawn[0]} is a distribution: mode="random" draws from it')
    elif mode == "grid":
        found = [dict(zip(lists, v, strict=True)) for v in product(*lists.values())]
    else:
        if len({len(v) for v in lists.values()}) > 1:
            given = ", ".join(f"{len(v)} of {name}" for name, v in lists.items())
            raise ValueError(f'mode="zip" needs as many values of each setting, not {given}')
        found = [dict(zip(lists, v, strict=True)) for v in zip(*lists.values(), strict=True)]
    fixed = {name: value for name, value in settings.items() if name not in swept}
    return [{**fixed, **point} for point in found or [{}]], list(swept)


def _listed(name: str, values: Any) -> list[Any]:
    found = values.tolist() if isinstance(values, np.ndarray) else list(values)
    if not found:
        raise ValueError(f"{name} is empty: give it one value or more")
    return found


def _draws(
    swept: Mapping[str, Any],
    drawn: list[str],
    lists: Mapping[str, list[Any]],
    n: Any,
    seed: int,
) -> list[dict[str, Any]]:
    if not isinstance(n, Integral) or isinstance(n, bool) or n < 1:
        raise ValueError(f"n must be a whole number from 1, not {n!r}")
    n = int(n)
    random = np.random.default_rng(seed)
    if drawn:
        found = []
        for _ in range(n):
            point = {}
            for name, value in swept.items():
                if name in drawn:
                    draw = value.rvs(random_state=random)
                    point[name] = draw.item() if hasattr(draw, "item") else draw
                else:
                    point[name] = lists[name][int(random.integers(len(lists[name])))]
            found.append(point)
        return found
    sizes = [len(v) for v in lists.values()]
    total = int(np.prod(sizes, dtype=object)) if sizes else 1
    if n > total:
        raise ValueError(f"n={n} draws without repeating one, but there are {total} combinations")
    if total <= 10**6:
        numbers = random.permutation(total)[:n].tolist()
    else:  # repeats are rare among so many
        stream = (int(i) for i in iter(lambda: random.integers(total), None))
        numbers = list(islice(dict.fromkeys(islice(stream, 4 * n)), n))
    found = []
    for number in numbers:
        point = {}
        for name, values in reversed(list(lists.items())):
            number, i = divmod(number, len(values))
            point[name] = values[i]
        found.append({name: point[name] for name in lists})
    return found


def shown(value: Any) -> Any:
    """A setting's value as a number, a string, or what stands for it in a table."""
    value = to_python(value)
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, tuple):
        return "-".join(str(shown(v)) for v in value) or "none"
    if isinstance(value, Loss) and value.parameters:
        return repr(value)
    return getattr(value, "name", None) or repr(value)

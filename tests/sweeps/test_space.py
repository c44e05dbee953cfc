"""The points of a sweep: their order, the draws, and which values are several."""

from typing import Any

import numpy as np
import pytest

import arraymlp
from arraymlp.sweeps.space import is_swept, points
from conftest import named


class Coins:
    """A distribution as scipy.stats has them; it counts what it draws from."""

    def rvs(self, random_state: Any) -> Any:
        assert isinstance(random_state, np.random.Generator)
        return random_state.integers(1, 1000)


GRID = {"hidden": [(6,), (5, 5)], "l2": [0.0, 0.1, 0.2], "epochs": 3}


def test_a_grid_changes_the_last_setting_fastest() -> None:
    drawn, swept = points(GRID, "grid", None, 0)
    assert swept == ["hidden", "l2"]
    assert [(p["hidden"], p["l2"]) for p in drawn] == [
        (hidden, l2) for hidden in GRID["hidden"] for l2 in GRID["l2"]
    ]
    assert all(p["epochs"] == 3 for p in drawn)


def test_zip_goes_through_all_lists_at_once() -> None:
    given = {"seed": range(3), "l2": [0.1, 0.2, 0.3], "loss": "auto"}
    drawn, swept = points(given, "zip", None, 0)
    assert drawn == [{"seed": i, "l2": v, "loss": "auto"} for i, v in enumerate((0.1, 0.2, 0.3))]
    assert swept == ["seed", "l2"]


@pytest.mark.parametrize("mode", ["grid", "zip"])
def test_nothing_swept_is_one_point(mode: str) -> None:
    assert points({"seed": 3, "hidden": (4, 4)}, mode, None, 0) == (
        [{"seed": 3, "hidden": (4, 4)}],
        [],
    )


@pytest.mark.parametrize(
    ("value", "several"),
    [
        ([1, 2], True),
        ([1], True),
        (range(2), True),
        (np.asarray([0.1, 0.2]), True),
        (Coins(), True),
        ((1, 2), False),
        ("adam", False),
        (0.1, False),
        (None, False),
        ({0: 1.0}, False),
    ],
    ids=named,
)
def test_which_values_are_several(value: Any, several: bool) -> None:
    assert is_swept("hidden", value) is several
    assert not is_swept("metrics", value)


def test_arrays_become_python_numbers() -> None:
    drawn, _ = points({"l2": np.asarray([0.5, 1.0]), "seed": np.arange(2)}, "zip", None, 0)
    assert [type(v) for p in drawn for v in p.values()] == [float, int, float, int]


@pytest.mark.parametrize("n", [1, 4, 6])
def test_random_draws_of_lists_repeat_none(n: int) -> None:
    every = {(p["hidden"], p["l2"]) for p in points(GRID, "grid", None, 0)[0]}
    drawn, swept = points(GRID, "random", n, 0)
    pairs = [(p["hidden"], p["l2"]) for p in drawn]
    assert len(pairs) == n == len(set(pairs))
    assert set(pairs) <= every
    assert swept == ["hidden", "l2"]
    assert list(drawn[0]) == ["epochs", "hidden", "l2"]


def test_random_draws_are_of_all_values_and_not_in_order() -> None:
    counts: dict[Any, int] = {}
    orders = set()
    for seed in range(60):
        drawn, _ = points(GRID, "random", 2, seed)
        pairs = tuple((p["hidden"], p["l2"]) for p in drawn)
        orders.add(pairs)
        for pair in pairs:
            counts[pair] = counts.get(pair, 0) + 1
    assert len(counts) == 6
    assert min(counts.values()) >= 8  # 20 on average
    assert len(orders) > 15  # of 30


def test_random_draws_of_a_huge_grid_repeat_none() -> None:
    given = {name: list(range(100)) for name in "abcdefgh"}
    drawn, _ = points(given, "random", 50, 1)
    assert len({tuple(p.values()) for p in drawn}) == 50
    assert all(list(p) == list("abcdefgh") for p in drawn)
    assert all(len({p[name] for p in drawn}) > 10 for name in given)


@pytest.mark.parametrize("given", [GRID, {"l2": Coins(), "hidden": [(6,), (5,)]}], ids=named)
def test_the_seed_alone_decides_the_draws(given: dict[str, Any]) -> None:
    first = points(given, "random", 5, 3)
    np.random.default_rng().random()
    assert points(given, "random", 5, 3) == first
    assert points(given, "random", 5, 4) != first


def test_distributions_are_drawn_from_beside_lists() -> None:
    drawn, swept = points({"epochs": Coins(), "hidden": [(6,), (5,)]}, "random", 40, 0)
    assert swept == ["epochs", "hidden"]
    assert {p["hidden"] for p in drawn} == {(6,), (5,)}
    assert all(type(p["epochs"]) is int for p in drawn)
    assert len({p["epochs"] for p in drawn}) > 30


def test_scipys_distributions_are_drawn_from() -> None:
    stats = pytest.importorskip("scipy.stats")
    given = {"learning_rate": stats.loguniform(1e-3, 1e-1), "epochs": stats.randint(2, 9)}
    drawn, _ = points(given, "random", 30, 7)
    assert all(type(p["learning_rate"]) is float and type(p["epochs"]) is int for p in drawn)
    assert all(1e-3 <= p["learning_rate"] <= 1e-1 and 2 <= p["epochs"] < 9 for p in drawn)
    assert points(given, "random", 30, 7)[0] == drawn


@pytest.mark.parametrize(
    ("settings", "mode", "n", "message"),
    [
        (GRID, "gird", None, "unknown mode 'gird': did you mean 'grid'"),
        ({"l2": []}, "grid", None, "^l2 is empty: give it one value or more$"),
        ({"l2": np.zeros(0)}, "zip", None, "^l2 is empty"),
        ({"seed": range(0)}, "random", 1, "^seed is empty"),
        (GRID, "zip", None, 'mode="zip" needs as many values .*, not 2 of hidden, 3 of l2$'),
        (GRID, "random", None, 'mode="random" needs n, how many draws'),
        (GRID, "grid", 3, 'mode="grid" has no use for n'),
        (GRID, "zip", 3, 'mode="zip" has no use for n'),
        (GRID, "random", 7, "^n=7 draws without repeating one, but there are 6 combinations$"),
        (GRID, "random", 0, "n must be a whole number from 1, not 0"),
        (GRID, "random", 2.5, "n must be a whole number from 1, not 2.5"),
        (GRID, "random", True, "n must be a whole number from 1, not True"),
        ({"l2": Coins()}, "grid", None, '^l2 is a distribution: mode="random" draws from it$'),
        ({"l2": Coins()}, "zip", None, "^l2 is a distribution"),
    ],
)
def test_what_makes_no_space_is_refused(
    settings: dict[str, Any], mode: str, n: Any, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        points(settings, mode, n, 0)


def test_a_mode_is_a_name() -> None:
    with pytest.raises(ValueError, match="unknown mode array"):
        arraymlp.sweep(np.ones((4, 2)), [0, 1, 0, 1], mode=np.arange(3))
    with pytest.raises(ValueError, match="memory must be an amount"):
        arraymlp.sweep(np.ones((4, 2)), [0, 1, 0, 1], memory=float("inf"), batch_size=2)

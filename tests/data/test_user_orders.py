"""Orders of rows by a function of the user's: ``shuffle=``."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import arraymlp
from arraymlp import Backend, MultilayerPerceptron
from problems import N
from runs import HostArray, X, Y, assert_same_bits, parameters, train

RAGGED = 10  # two of them, and one of four rows
WEIGHT = np.random.default_rng(40).uniform(0.2, 3, N)


def differ(ours: MultilayerPerceptron, theirs: MultilayerPerceptron) -> float:
    return max(abs(a - b).max() for a, b in zip(parameters(ours), parameters(theirs), strict=True))


def test_rows_are_trained_on_in_the_order_given(quick_backend: Backend) -> None:
    orders = [np.random.default_rng(epoch).permutation(N) for epoch in range(3)]
    asked = []

    def shuffle(n: int, epoch: int) -> HostArray:
        asked.append((n, epoch))
        return orders[epoch]

    given = {"backend": quick_backend, "batch_size": RAGGED, "optimizer": "sgd"}
    run = train(**given, epochs=3, sample_weight=WEIGHT, shuffle=shuffle)
    assert asked == [(N, 0), (N, 1), (N, 2)]
    network = train(**given, epochs=0).network
    for order in orders:
        settings = {"sample_weight": WEIGHT[order], "shuffle": False, "epochs": 1}
        network = train(X[order], Y[order], **given | settings, network=network).network
    assert_same_bits(run.network, network)
    in_order = train(**given, epochs=3, sample_weight=WEIGHT, shuffle=False).network
    assert differ(run.network, in_order) > 1e-3


def test_rows_may_come_twice_or_not_at_all() -> None:
    rows = np.zeros(N, dtype=np.uint8)
    rows[1::2] = 5
    run = train(shuffle=lambda n, epoch: rows)
    unseen, seen = X.copy(), X.copy()
    unseen[1:5], unseen[6:] = 99.0, 99.0
    assert_same_bits(run.network, train(unseen, shuffle=lambda n, epoch: rows).network)
    seen[5] += 1
    assert differ(run.network, train(seen, shuffle=lambda n, epoch: rows).network) > 1e-6


def test_a_list_of_rows_will_do() -> None:
    assert_same_bits(
        train(shuffle=lambda n, epoch: list(range(n))).network, train(shuffle=False).network
    )


def test_a_run_that_goes_on_asks_for_the_next_epoch() -> None:
    asked = []

    def shuffle(n: int, epoch: int) -> HostArray:
        asked.append(epoch)
        return np.random.default_rng(epoch).permutation(n)

    run = arraymlp.train(network=train(shuffle=shuffle), epochs=2)
    assert asked == [0, 1, 2, 3]
    assert_same_bits(run.network, train(shuffle=shuffle, epochs=4).network)


BAD_ORDERS: dict[str, Callable[[int, int], Any]] = {
    "too short": lambda n, epoch: np.arange(n - 1),
    "too long": lambda n, epoch: np.arange(n + 1),
    "beyond the last row": lambda n, epoch: np.arange(1, n + 1),
    "before the first row": lambda n, epoch: np.arange(-1, n - 1),
    "no whole numbers": lambda n, epoch: np.arange(n) / 2,
    "a table": lambda n, epoch: np.arange(n)[:, None],
    "booleans": lambda n, epoch: np.ones(n, dtype=bool),
    "nothing": lambda n, epoch: None,
}


@pytest.mark.parametrize("shuffle", BAD_ORDERS.values(), ids=BAD_ORDERS)
def test_bad_orders_are_refused(shuffle: Any) -> None:
    with pytest.raises(ValueError, match=rf"shuffle\({N}, 0\) must give {N} numbers of rows"):
        train(shuffle=shuffle)


@pytest.mark.parametrize("shuffle", ["yes", 1, np.arange(N)], ids=["string", "number", "array"])
def test_what_is_neither_true_nor_false_nor_a_function_is_refused(shuffle: Any) -> None:
    with pytest.raises(ValueError, match="shuffle must be True or False"):
        train(shuffle=shuffle)


def test_an_order_needs_rows_in_memory(tmp_path: Any) -> None:
    on_disk = np.memmap(tmp_path / "x", "float64", "w+", shape=X.shape)
    on_disk[:] = X
    with pytest.raises(ValueError, match="needs X in memory and no window"):
        train(on_disk, shuffle=lambda n, epoch: np.arange(n))

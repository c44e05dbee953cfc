"""Blocks of rows: as many as a cache or a budget of memory holds, and never another result."""

from typing import Any

import numpy as np
import pytest

from arraymlp import Backend, MultilayerPerceptron, resolve
from arraymlp.data import blocks as data_blocks
from arraymlp.data.blocks import BYTES_AT_ONCE, ROWS_AT_ONCE, rows_at_once
from arraymlp.data.data import row_blocks
from arraymlp.data.stream import stream
from arraymlp.data.targets import targets
from arraymlp.training.evaluation import evaluate
from conftest import assert_same


def network_of(sizes: tuple[int, ...], **given: Any) -> MultilayerPerceptron:
    return MultilayerPerceptron.create(sizes, **{"backend": resolve("numpy"), **given})


@pytest.mark.parametrize("k", [None, 3])
def test_on_a_processor_they_are_always_the_same(quick_backend: Backend, k: int | None) -> None:
    network = network_of((3, 4, 2), backend=quick_backend, dtype="float32", seed=_seeds(k))
    if quick_backend.is_accelerator:  # then as the next test has it
        units = 6 * (k or 1)
        assert rows_at_once(network) == BYTES_AT_ONCE // (3 * units * 4)
    else:
        assert rows_at_once(network) == ROWS_AT_ONCE == 1000


@pytest.mark.parametrize(
    ("sizes", "k", "dtype", "numbers"),
    [
        ((784, 100, 100, 10), None, "float32", 210),
        ((784, 100, 100, 10), 5, "float32", 1050),
        ((784, 100, 100, 10), None, "float64", 420),
        ((7, 1), None, "float32", 1),
    ],
)
def test_on_a_gpu_all_values_stay_within_the_budget(
    monkeypatch: pytest.MonkeyPatch,
    sizes: tuple[int, ...],
    k: int | None,
    dtype: str,
    numbers: int,
) -> None:
    monkeypatch.setattr(Backend, "is_accelerator", True)
    network = network_of(sizes, dtype=dtype, seed=_seeds(k))
    assert rows_at_once(network) == BYTES_AT_ONCE // (3 * 4 * numbers)


def test_on_a_gpu_it_is_one_row_at_least(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Backend, "is_accelerator", True)
    monkeypatch.setattr(data_blocks, "BYTES_AT_ONCE", 10)
    assert rows_at_once(network_of((3, 4, 2))) == 1


@pytest.mark.parametrize("k", [None, 3])
@pytest.mark.parametrize("sparse", [False, True])
def test_any_number_predicts_and_evaluates_alike(
    monkeypatch: pytest.MonkeyPatch, quick_backend: Backend, k: int | None, sparse: bool
) -> None:
    network = network_of((3, 4, 2), backend=quick_backend, dtype="float32", seed=_seeds(k))
    X = np.random.default_rng(47).normal(size=(23, 3)).astype(np.float32)
    given = pytest.importorskip("scipy.sparse").csr_matrix(X) if sparse else X
    rows = stream(given, "float32") if sparse else quick_backend.asarray(X)
    y = targets(np.arange(23) % 2, 23, quick_backend, "float32", loss=network.loss)
    expected = network.logits(given), evaluate(network, rows, y, quick_backend)
    monkeypatch.setattr(type(quick_backend), "is_accelerator", True)
    monkeypatch.setattr(data_blocks, "BYTES_AT_ONCE", 5 * 3 * 6 * (k or 1) * 4)
    assert rows_at_once(network) == 5
    assert [x.shape[0] for _, x in row_blocks(rows, network)] == [5, 5, 5, 5, 3]
    np.testing.assert_allclose(network.logits(given), expected[0], rtol=1e-5, atol=1e-6)
    result = evaluate(network, rows, y, quick_backend)
    assert_same(result.loss, expected[1].loss, rtol=1e-6)
    assert_same(result.predicted, expected[1].predicted)


def _seeds(k: int | None) -> Any:
    return 0 if k is None else tuple(range(k))

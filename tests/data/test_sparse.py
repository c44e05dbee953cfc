"""Sparse rows train and predict as the same rows in a dense array."""

from itertools import pairwise
from typing import Any

import numpy as np
import pytest

import arraymlp
from arraymlp import Backend
from conftest import assert_same
from problems import BATCH, N
from runs import HostArray, X, Y, assert_same_bits, train

RAGGED = 10  # two of them, and one of four rows
WEIGHT = np.random.default_rng(40).uniform(0.2, 3, N)


SPARSE_X = X * (np.random.default_rng(41).random(X.shape) < 0.5)
FORMS = ["csr_matrix", "csc_matrix", "coo_matrix", "csr_array", "csc_array", "lil_array"]
SPARSE_CASES: dict[str, dict[str, Any]] = {
    "plain": {},
    "ragged": {"batch_size": RAGGED},
    "in order": {"shuffle": False},
    "by windows": {"window": BATCH},
    "an order of one's own": {"shuffle": lambda n, epoch: np.arange(n)[::-1]},
    "weighted, with alpha": {"sample_weight": WEIGHT, "alpha": 0.5},
    "a part for validation": {"validation": 0.25, "batch_size": 6, "metrics": ["accuracy"]},
    "evaluated": {"training_error": True},
    "without a last batch": {"drop_last": True, "batch_size": RAGGED},
}


def as_sparse(form: str, values: HostArray = SPARSE_X) -> Any:
    return getattr(pytest.importorskip("scipy.sparse"), form)(values)


@pytest.mark.filterwarnings("ignore:the last .* do not fill a minibatch:UserWarning")
@pytest.mark.parametrize("case", SPARSE_CASES)
def test_sparse_rows_train_as_dense_ones(quick_backend: Backend, case: str) -> None:
    given = SPARSE_CASES[case] | {"backend": quick_backend}
    ours, dense = train(as_sparse("csr_array"), **given), train(SPARSE_X, **given)
    assert_same_bits(ours.network, dense.network)
    times = {"seconds", "samples_per_s"}
    for a, b in zip(ours.history, dense.history, strict=True):
        assert {k: v for k, v in a.items() if k not in times} == {
            k: v for k, v in b.items() if k not in times
        }


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_sparse_data_trains(form: str, dtype: str) -> None:
    ours = train(as_sparse(form), dtype=dtype)
    assert_same_bits(ours.network, train(SPARSE_X, dtype=dtype).network)


def test_sparse_validation_rows() -> None:
    validation = as_sparse("csc_array", SPARSE_X[::-1]), Y[::-1]
    ours = train(as_sparse("csr_array"), validation=validation)
    dense = train(SPARSE_X, validation=(SPARSE_X[::-1], Y[::-1]))
    assert ours.history["validation_loss"] == dense.history["validation_loss"]


@pytest.mark.parametrize("form", FORMS)
def test_networks_predict_on_sparse_rows(form: str) -> None:
    network, rows = train(SPARSE_X).network, as_sparse(form)
    for method in ("predict", "predict_proba", "logits"):
        ours, dense = (getattr(network, method)(given) for given in (rows, SPARSE_X))
        assert_same(ours, dense)


def test_predictions_on_sparse_rows_are_on_the_host(backend: Backend) -> None:
    network = train(SPARSE_X, backend=backend, dtype="float32", epochs=0).network
    predicted = network.predict_proba(as_sparse("csr_array"))
    assert type(predicted) is np.ndarray
    np.testing.assert_allclose(predicted, network.predict_proba(SPARSE_X), rtol=1e-6)


def test_of_a_population_each_predicts_on_sparse_rows() -> None:
    network = train(SPARSE_X, seed=(1, 2)).network
    predicted = network.predict_proba(as_sparse("csr_array"))
    assert predicted.shape == (2, N, 3)
    np.testing.assert_array_equal(predicted, network.predict_proba(SPARSE_X))


def test_many_sparse_rows_are_predicted_block_by_block() -> None:
    many = np.resize(SPARSE_X, (2500, X.shape[1]))
    network = train(SPARSE_X).network
    assert_same(network.predict_proba(as_sparse("csr_array", many)), network.predict_proba(many))


def test_sparse_data_are_not_written() -> None:
    rows = as_sparse("csc_array")
    before = rows.copy()
    train(rows)
    assert type(rows) is type(before)
    np.testing.assert_array_equal(rows.toarray(), before.toarray())


def test_bad_sparse_data_are_refused() -> None:
    bad = SPARSE_X.copy()
    bad[7, 2] = np.nan
    with pytest.raises(ValueError, match="X must be finite, but it has nan"):
        train(as_sparse("csr_array", bad), shuffle=False)
    with pytest.raises(ValueError, match="X has 3 features, but 4 are expected"):
        train(as_sparse("csr_array", X[:, :3]), network=train().network)
    with pytest.raises(ValueError, match="X is empty"):
        train(as_sparse("csr_array", X[:0]), Y[:0])
    network = train().network
    with pytest.raises(ValueError, match="3 features, but 4 are expected"):
        network.predict(as_sparse("csr_array", X[:, :3]))
    with pytest.raises(ValueError, match="empty"):
        network.predict(as_sparse("csr_array", X[:0]))
    with pytest.raises(ValueError, match="must be finite"):
        network.predict(as_sparse("csr_array", bad))


def test_a_run_on_sparse_rows_goes_on() -> None:
    ours = arraymlp.train(network=train(as_sparse("csr_array"), optimizer="momentum"), epochs=2)
    dense = arraymlp.train(network=train(SPARSE_X, optimizer="momentum"), epochs=2)
    assert_same_bits(ours.network, dense.network)
    assert all(a["step"] < b["step"] for a, b in pairwise(ours.history))

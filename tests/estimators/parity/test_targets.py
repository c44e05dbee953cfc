"""The targets and rows that scikit-learn learns from, in each of their forms."""

from typing import Any

import numpy as np
import pytest

pytest.importorskip("sklearn", minversion="1.7")

from scipy import sparse
from sklearn.exceptions import DataConversionWarning

from arraymlp import MLPClassifier, MLPRegressor
from sklearn_pairs import (
    BASE,
    COLUMNS,
    COUNTS,
    EACH,
    LABELS,
    SCORES,
    SETTINGS,
    SPARSE_X,
    TARGETS,
    TWO,
    WEIGHT,
    Both,
    Given,
    HostArray,
    N,
    X,
    assert_parity,
    assert_same_weights,
    warned,
)

CLASS_TARGETS: dict[str, Any] = {
    "two classes": TWO,
    "three classes": LABELS,
    "numbers with gaps": np.array([-3, 10, 1000])[LABELS],
    "small integers": LABELS.astype(np.uint8),
    "floats": np.array([-1.0, 1.0, 4.0])[LABELS],
    "booleans": TWO == 1,
    "dates": np.array(["2026-01-01", "2027-01-01", "2028-01-01"], "datetime64[D]")[LABELS],
    "two strings": np.array(["yes", "no"])[TWO],
    "strings": np.array(["b", "a", "longer"])[LABELS],
    "strings as objects": np.array(["b", "a", "longer"], dtype=object)[LABELS],
    "a list": LABELS.tolist(),
    "one class": np.full(N, 4),
    "one string": np.full(N, "only"),
    "a column": LABELS[:, None],
    "several labels": COLUMNS,
    "two labels": COLUMNS[:, :2],
    "boolean labels": COLUMNS == 1,
    "sparse labels": sparse.csr_matrix(COLUMNS),
}
NUMBER_TARGETS: dict[str, tuple[Any, Given]] = {
    "numbers": (SCORES[:, 0], {}),
    "integers": (COUNTS[:, 0], {}),
    "a list": (SCORES[:, 0].tolist(), {}),
    "a column": (SCORES[:, :1], {}),
    "three columns": (SCORES, {}),
    "counts": (COUNTS[:, 0], {"loss": "poisson"}),
    "columns of counts": (COUNTS, {"loss": "poisson"}),
}
WAYS: dict[str, tuple[Given, HostArray | None]] = {
    "plain": ({}, None),
    "weighted": ({"alpha": 0.01}, WEIGHT),
    "early stopping": ({"early_stopping": True, "validation_fraction": 0.3}, None),
    "early stopping, weighted": (SETTINGS["early stopping of sgd"] | {"max_iter": 20}, WEIGHT),
}
EACH_WAY = pytest.mark.parametrize(("given", "weight"), WAYS.values(), ids=WAYS)


@EACH_WAY
@pytest.mark.parametrize("y", CLASS_TARGETS.values(), ids=CLASS_TARGETS)
def test_learns_the_classes_that_scikit_learn_does(
    y: Any, given: Given, weight: HostArray | None
) -> None:
    both = Both(MLPClassifier, **given)
    if "early_stopping" in given and (sparse.issparse(y) or isinstance(np.ravel(y)[0], str)):
        # Before 1.9 that fails in scikit-learn; of the labels' positions it makes the same network.
        positions = y.toarray() if sparse.issparse(y) else np.unique(y, return_inverse=True)[1]
        warned(both.ours.fit, X, y, weight)
        warned(both.theirs.fit, X, positions, weight)
        assert_same_weights(both.ours, both.theirs)
        np.testing.assert_allclose(both.ours.validation_scores_, both.theirs.validation_scores_)
        return
    assert_parity(both.fit(X, y, weight))
    score, theirs = (model.score(X, y, weight) for model in (both.ours, both.theirs))
    assert score == pytest.approx(theirs, rel=1e-12)
    assert type(score) is float


@pytest.mark.parametrize("y", [np.full(N, 4), np.full(N, "only")], ids=["number", "string"])
def test_of_one_class_nothing_else_is_predicted(y: HostArray) -> None:
    given = {"hidden_layer_sizes": (), "max_iter": 1, "learning_rate_init": 1e-6}
    both = Both(MLPClassifier, **given).fit(X, y)
    assert both.ours.predict_proba(X)[:, 1].max() > 0.5  # the network may think of another
    assert_parity(both)


@EACH_WAY
@pytest.mark.parametrize(("y", "loss"), NUMBER_TARGETS.values(), ids=NUMBER_TARGETS)
def test_learns_the_numbers_that_scikit_learn_does(
    y: Any, loss: Given, given: Given, weight: HostArray | None
) -> None:
    both = Both(MLPRegressor, **given, **loss).fit(X, y, weight)
    assert_parity(both)
    score, theirs = (model.score(X, y, weight) for model in (both.ours, both.theirs))
    assert score == pytest.approx(theirs, rel=1e-9)
    assert type(score) is float


@EACH
def test_a_column_of_targets_is_warned_of(Estimator: type) -> None:
    both = Both(Estimator).fit(X, TARGETS[Estimator][:, None])
    assert DataConversionWarning in [category for category, _ in both.warned]


FORMS = ["csr_matrix", "csc_matrix", "coo_matrix", "csr_array", "csc_array"]


@EACH
@pytest.mark.parametrize("form", FORMS)
def test_learns_from_sparse_data(Estimator: type, form: str) -> None:
    rows = getattr(sparse, form)(SPARSE_X)
    assert_parity(Both(Estimator).fit(rows, TARGETS[Estimator]), rows)


@EACH
@EACH_WAY
def test_learns_from_sparse_data_in_every_way(
    Estimator: type, given: Given, weight: HostArray | None
) -> None:
    rows = sparse.csc_array(SPARSE_X)
    assert_parity(Both(Estimator, **given).fit(rows, TARGETS[Estimator], weight), rows)


def test_sparse_data_are_learned_from_as_dense_ones() -> None:
    both = [MLPClassifier(**BASE | {"max_iter": 5}) for _ in range(2)]
    warned(both[0].fit, sparse.csc_array(SPARSE_X), LABELS)
    warned(both[1].fit, SPARSE_X, LABELS)
    assert_same_weights(*both, rtol=0, atol=0)

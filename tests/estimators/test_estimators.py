"""MLPClassifier and MLPRegressor: scikit-learn's networks to rounding, and what is ours alone.

With the same ``random_state`` both train the same network. So whole runs are compared, number by
number, and so are warnings, refusals and what ``verbose`` prints.
"""

import pickle
import signal
import warnings
from collections.abc import Callable, Iterator
from itertools import pairwise
from math import inf, nan
from typing import Any

import numpy as np
import pytest

pytest.importorskip("sklearn", minversion="1.7")

from scipy import sparse
from sklearn import datasets, metrics, neural_network
from sklearn.exceptions import ConvergenceWarning, DataConversionWarning
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler
from sklearn.utils import check_random_state
from sklearn.utils.class_weight import compute_sample_weight

import arraymlp
from arraymlp import Backend, Dropout, Layer, MLPClassifier, MLPRegressor, MultilayerPerceptron
from arraymlp.callbacks import EpochEnd, StepEnd, StopAt
from arraymlp.losses import Huber, Loss, Quantile
from arraymlp.nn.activations import ACTIVATIONS
from arraymlp.nn.losses import LOSSES
from arraymlp.steps.optimizers import SGD, Adam, AdamW, Optimizer
from conftest import assert_same, on_host

HostArray = np.ndarray[Any, Any]
Given = dict[str, Any]

N, FEATURES = 50, 5
RNG = np.random.default_rng(30)
X = RNG.normal(size=(N, FEATURES))
SCORES = X @ RNG.normal(size=(FEATURES, 3)) + RNG.normal(0, 0.7, (N, 3))
LABELS = SCORES.argmax(axis=1)
TWO = (SCORES[:, 0] > 0).astype(int)
COLUMNS = (SCORES > 0).astype(int)
COUNTS = RNG.poisson(np.exp(SCORES / 2))
WEIGHT = RNG.uniform(0.1, 2, N)
WEIGHT[0] = 0
BATCH = 16  # three, and one of two rows
BASE: Given = {
    "hidden_layer_sizes": (7, 4),
    "alpha": 0.1,
    "batch_size": BATCH,
    "learning_rate_init": 0.01,
    "max_iter": 9,
    "random_state": 3,
}
SGD_SOLVER: Given = {"solver": "sgd", "learning_rate_init": 0.05}
RTOL, ATOL = 1e-9, 1e-11
THEIRS = {
    MLPClassifier: neural_network.MLPClassifier,
    MLPRegressor: neural_network.MLPRegressor,
}
KINDS: dict[type, HostArray] = {MLPClassifier: LABELS, MLPRegressor: SCORES[:, 0]}
EACH_KIND = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
ENDED_BY_MAX_ITER = pytest.mark.filterwarnings("ignore:Stochastic Optimizer:UserWarning")
Told = list[tuple[type, str]]


def warned(call: Callable[..., Any], *arguments: Any, **more: Any) -> Told:
    """Every warning of a call."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        call(*arguments, **more)
    return [(warning.category, str(warning.message)) for warning in caught]


class Both:
    """Our estimator and scikit-learn's, made alike and called alike."""

    def __init__(self, kind: type, **given: Any) -> None:
        self.ours, self.theirs = (of(**BASE | given) for of in (kind, THEIRS[kind]))
        self.told: Told = []

    def __call__(self, method: str, *arguments: Any, **more: Any) -> "Both":
        """Call a method of both, which must warn of the same."""
        told = [
            warned(getattr(model, method), *arguments, **more) for model in (self.ours, self.theirs)
        ]
        assert told[0] == told[1]
        self.told = told[0]
        return self

    def fit(self, *arguments: Any, **more: Any) -> "Both":
        return self("fit", *arguments, **more)

    def partial_fit(self, *arguments: Any, **more: Any) -> "Both":
        return self("partial_fit", *arguments, **more)

    def set(self, **given: Any) -> None:
        for model in (self.ours, self.theirs):
            model.set_params(**given)

    def refusals(self, method: str, *arguments: Any, **more: Any) -> tuple[Exception, Exception]:
        """What each says to a call that it does not allow."""
        return tuple(  # type: ignore[return-value]
            refusal(getattr(model, method), *arguments, **more)
            for model in (self.ours, self.theirs)
        )


def refusal(call: Callable[..., Any], *arguments: Any, **more: Any) -> Exception:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises((ValueError, AttributeError, TypeError)) as refused:
            call(*arguments, **more)
    return refused.value


def assert_parity(both: Both, X: Any = X, rtol: float = RTOL, atol: float = ATOL) -> None:
    """The same course, the same network, the same predictions."""
    ours, theirs = both.ours, both.theirs
    counts = ("n_iter_", "t_", "n_layers_", "n_outputs_", "n_features_in_", "out_activation_")
    for name in (*counts, "_no_improvement_count"):
        assert getattr(ours, name) == getattr(theirs, name), name
    figures = ("loss_", "best_loss_", "best_validation_score_")
    for name in (*figures, "loss_curve_", "validation_scores_"):
        a, b = getattr(ours, name), getattr(theirs, name)
        assert (a is None) == (b is None), name
        if b is not None:
            np.testing.assert_allclose(a, b, rtol=rtol, atol=atol, err_msg=name)
    assert_same_weights(ours, theirs, rtol, atol)
    assert_same_predictions(ours, theirs, X, rtol, atol)


def assert_same_weights(ours: Any, theirs: Any, rtol: float = RTOL, atol: float = ATOL) -> None:
    for name in ("coefs_", "intercepts_"):
        for a, b in zip(getattr(ours, name), getattr(theirs, name), strict=True):
            assert a.dtype == b.dtype, name
            np.testing.assert_allclose(a, b, rtol=rtol, atol=atol, err_msg=name)


def assert_same_predictions(
    ours: Any, theirs: Any, X: Any = X, rtol: float = RTOL, atol: float = ATOL
) -> None:
    a, b = ours.predict(X), theirs.predict(X)
    assert type(a) is type(b)
    assert a.dtype == b.dtype
    if sparse.issparse(b):
        a, b = a.toarray(), b.toarray()
    if not hasattr(theirs, "predict_proba"):
        np.testing.assert_allclose(a, b, rtol=rtol, atol=atol)
        return
    np.testing.assert_array_equal(a, b)
    assert ours.classes_.dtype == theirs.classes_.dtype
    np.testing.assert_array_equal(ours.classes_, theirs.classes_)
    for method in ("predict_proba", "predict_log_proba"):
        a, b = getattr(ours, method)(X), getattr(theirs, method)(X)
        assert a.dtype == b.dtype
        np.testing.assert_allclose(a, b, rtol=rtol, atol=atol)


# --- the same network as scikit-learn ------------------------------------------------------------


SETTINGS: dict[str, Given] = {
    "adam": {},
    "adam with other constants": {"beta_1": 0.8, "beta_2": 0.99, "epsilon": 1e-3},
    "sgd": SGD_SOLVER | {"momentum": 0.0},
    "momentum": SGD_SOLVER | {"nesterovs_momentum": False},
    "nesterov": SGD_SOLVER | {"momentum": 0.8},
    "momentum of 1": SGD_SOLVER | {"momentum": 1.0, "learning_rate_init": 0.001},
    "invscaling": SGD_SOLVER | {"learning_rate": "invscaling", "power_t": 0.25},
    "invscaling of adam": {"learning_rate": "invscaling"},
    "adaptive": SGD_SOLVER
    | {"learning_rate": "adaptive", "n_iter_no_change": 1, "tol": 0.03, "max_iter": 40},
    "identity": {"activation": "identity"},
    "logistic": {"activation": "logistic"},
    "tanh": {"activation": "tanh"},
    "one row a step": {"batch_size": 1, "max_iter": 2},
    "batches of 7": {"batch_size": 7},
    "all rows at once": {"batch_size": N},
    "batch_size auto": {"batch_size": "auto"},
    "more than all rows": {"batch_size": 1000},
    "no shuffle": {"shuffle": False},
    "no penalty": {"alpha": 0.0},
    "a large penalty": {"alpha": 20.0},
    "no hidden layer": {"hidden_layer_sizes": ()},
    "no hidden layer, logistic": {"hidden_layer_sizes": (), "activation": "logistic"},
    "sizes as a number": {"hidden_layer_sizes": 8},
    "sizes as a list": {"hidden_layer_sizes": [6, 5, 4]},
    "sizes as an array": {"hidden_layer_sizes": np.array([6, 5])},
    "one epoch": {"max_iter": 1},
    "many epochs": {"max_iter": 80, "tol": 0.0},
    "many epochs of sgd": SGD_SOLVER | {"max_iter": 80, "tol": 0.0, "batch_size": 7},
    "stops": {"max_iter": 80, "tol": 0.03, "n_iter_no_change": 2},
    "never stops": {"max_iter": 30, "tol": 1.0, "n_iter_no_change": inf},
    "early stopping": {"early_stopping": True, "n_iter_no_change": 3, "max_iter": 60},
    "early stopping of sgd": SGD_SOLVER
    | {"early_stopping": True, "n_iter_no_change": 2, "max_iter": 60, "tol": 0.01},
    "early stopping, adaptive": SGD_SOLVER
    | {
        "early_stopping": True,
        "learning_rate": "adaptive",
        "n_iter_no_change": 1,
        "max_iter": 50,
        "tol": 0.01,
    },
    "a third for early stopping": {"early_stopping": True, "validation_fraction": 0.33},
}


@EACH_KIND
@pytest.mark.parametrize("given", SETTINGS.values(), ids=SETTINGS)
def test_trains_the_network_of_scikit_learn(kind: type, given: Given) -> None:
    assert_parity(Both(kind, **given).fit(X, KINDS[kind]))


@EACH_KIND
@pytest.mark.parametrize(
    "case",
    ["adam", "nesterov", "adaptive", "no hidden layer", "early stopping", "all rows at once"],
)
def test_weighs_samples_as_scikit_learn_does(kind: type, case: str) -> None:
    both = Both(kind, **SETTINGS[case]).fit(X, KINDS[kind], WEIGHT)
    assert_parity(both)
    alike = kind(**BASE | SETTINGS[case])
    warned(alike.fit, X, KINDS[kind])
    assert abs(alike.coefs_[0] - both.ours.coefs_[0]).max() > 1e-3


def test_a_minibatch_that_weighs_nothing_changes_nothing() -> None:
    weight = np.where(np.arange(N) < BATCH, 0.0, WEIGHT + 0.1)
    given = BASE | {"solver": "sgd", "momentum": 0.0, "shuffle": False}
    model, without = MLPClassifier(**given), MLPClassifier(**given)
    warned(model.fit, X, LABELS, weight)
    warned(without.fit, X[BATCH:], LABELS[BATCH:], weight[BATCH:])
    assert_same_weights(model, without)
    assert np.isfinite(model.loss_curve_).all()


@pytest.mark.parametrize("y", [TWO, LABELS, COLUMNS], ids=["two", "three", "several"])
@pytest.mark.parametrize("dtype", [np.float64, np.float32], ids=["double", "single"])
def test_the_loss_of_the_sure_and_wrong_is_capped(y: HostArray, dtype: Any) -> None:
    """As if no probability were above 1 - eps or below eps."""
    far = (300 * X).astype(dtype)
    both = Both(MLPClassifier, hidden_layer_sizes=(), alpha=0.0, learning_rate_init=0.1).fit(far, y)
    # Of a p near 1 scikit-learn's log(1 - p) has few digits, but the logits are in the hundreds.
    np.testing.assert_allclose(both.ours.loss_curve_, both.theirs.loss_curve_, rtol=2e-3)
    assert abs(both.ours.network_.logits(far)).max() > 300
    assert max(both.ours.loss_curve_) < 3 * 36.1


@EACH_KIND
def test_one_weight_for_all_samples(kind: type) -> None:
    assert_parity(Both(kind).fit(X, KINDS[kind], 2.5))


@EACH_KIND
@pytest.mark.parametrize("case", ["adam", "nesterov", "logistic", "early stopping"])
@pytest.mark.parametrize("weight", [None, WEIGHT], ids=["plain", "weighted"])
def test_trains_in_single_precision_where_x_is(
    kind: type, case: str, weight: HostArray | None
) -> None:
    single = X.astype(np.float32)
    both = Both(kind, **SETTINGS[case]).fit(single, KINDS[kind], weight)
    assert both.ours.coefs_[0].dtype == np.float32
    assert_parity(both, single, rtol=1e-4, atol=1e-5)


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
        same = y.toarray() if sparse.issparse(y) else np.unique(y, return_inverse=True)[1]
        warned(both.ours.fit, X, y, weight)
        warned(both.theirs.fit, X, same, weight)
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


@EACH_KIND
def test_a_column_of_targets_is_warned_of(kind: type) -> None:
    both = Both(kind).fit(X, KINDS[kind][:, None])
    assert DataConversionWarning in [category for category, _ in both.told]


SPARSE_X = X * (np.random.default_rng(31).random(X.shape) < 0.4)
FORMS = ["csr_matrix", "csc_matrix", "coo_matrix", "csr_array", "csc_array"]


@EACH_KIND
@pytest.mark.parametrize("form", FORMS)
def test_learns_from_sparse_data(kind: type, form: str) -> None:
    rows = getattr(sparse, form)(SPARSE_X)
    assert_parity(Both(kind).fit(rows, KINDS[kind]), rows)


@EACH_KIND
@EACH_WAY
def test_learns_from_sparse_data_in_every_way(
    kind: type, given: Given, weight: HostArray | None
) -> None:
    rows = sparse.csc_array(SPARSE_X)
    assert_parity(Both(kind, **given).fit(rows, KINDS[kind], weight), rows)


def test_sparse_data_are_learned_from_as_dense_ones() -> None:
    both = [MLPClassifier(**BASE | {"max_iter": 5}) for _ in range(2)]
    warned(both[0].fit, sparse.csc_array(SPARSE_X), LABELS)
    warned(both[1].fit, SPARSE_X, LABELS)
    assert_same_weights(*both, rtol=0, atol=0)


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_features_have_their_names(library: str) -> None:
    frames = pytest.importorskip(library)
    names = ["a", "b", "c", "d", "e"]
    X_ = frames.DataFrame(dict(zip(names, X.T, strict=True)))
    both = Both(MLPClassifier).fit(X_, LABELS)
    assert_parity(both, X_)
    np.testing.assert_array_equal(both.ours.feature_names_in_, names)
    ours, theirs = both.refusals("predict", X_[names[::-1]])
    assert str(ours) == str(theirs)


# Calls one after another: (method, rows, what is set before).
PARTS = [slice(0, 20), slice(20, 27), slice(27, 50), slice(0, 50), slice(49, 50)]
COURSES: dict[str, tuple[Given, list[tuple[str, slice, Given]]]] = {
    "parts": ({}, [("partial_fit", rows, {}) for rows in PARTS]),
    "parts for sgd": (SGD_SOLVER, [("partial_fit", rows, {}) for rows in PARTS]),
    "parts, no shuffle": ({"shuffle": False}, [("partial_fit", rows, {}) for rows in PARTS]),
    "parts, invscaling": (
        SGD_SOLVER | {"learning_rate": "invscaling", "power_t": 0.2},
        [("partial_fit", rows, {}) for rows in PARTS],
    ),
    "parts, adaptive": (
        SGD_SOLVER | {"learning_rate": "adaptive", "n_iter_no_change": 1, "tol": 0.5},
        [("partial_fit", slice(0, 50), {})] * 8,
    ),
    "parts of one epoch": (
        {"max_iter": 1},
        [("partial_fit", PARTS[3], {}), ("partial_fit", PARTS[3], {})],
    ),
    "fits anew": ({}, [("fit", PARTS[3], {}), ("fit", PARTS[2], {"max_iter": 3})]),
    "a warm start": (
        {"warm_start": True, "max_iter": 4},
        [("fit", PARTS[3], {}), ("fit", PARTS[3], {}), ("fit", PARTS[2], {"max_iter": 5})],
    ),
    "a warm start of sgd": (
        SGD_SOLVER | {"warm_start": True, "max_iter": 4, "learning_rate": "invscaling"},
        [("fit", PARTS[3], {}), ("fit", PARTS[3], {"learning_rate_init": 0.02})],
    ),
    "a warm start that stops": (
        {"warm_start": True, "max_iter": 40, "tol": 0.05, "n_iter_no_change": 2},
        [("fit", PARTS[3], {})] * 4,
    ),
    "a warm start, then parts": (
        {"warm_start": True, "max_iter": 4},
        [("fit", PARTS[3], {}), ("partial_fit", PARTS[3], {}), ("partial_fit", PARTS[3], {})],
    ),
    "a fit, then parts": (
        {"max_iter": 4},
        [("fit", PARTS[3], {}), ("partial_fit", PARTS[1], {}), ("partial_fit", PARTS[2], {})],
    ),
    "parts, then a fit": ({}, [("partial_fit", PARTS[3], {}), ("fit", PARTS[3], {})]),
    "parts, then a warm start": (
        {},
        [("partial_fit", PARTS[3], {}), ("fit", PARTS[3], {"warm_start": True, "max_iter": 4})],
    ),
    "a warm start, parts, a warm start": (
        SGD_SOLVER | {"warm_start": True, "max_iter": 2},
        [
            ("fit", PARTS[3], {}),
            ("partial_fit", PARTS[3], {}),
            ("fit", PARTS[3], {}),
            ("partial_fit", PARTS[3], {}),
        ],
    ),
}


@EACH_KIND
@pytest.mark.parametrize("weight", [None, WEIGHT + 0.1], ids=["plain", "weighted"])
@pytest.mark.parametrize(("given", "calls"), COURSES.values(), ids=COURSES)
def test_goes_on_as_scikit_learn_does(
    kind: type,
    given: Given,
    calls: list[tuple[str, slice, Given]],
    weight: HostArray | None,
) -> None:
    both = Both(kind, **given)
    for number, (method, rows, change) in enumerate(calls):
        both.set(**change)
        more = {} if weight is None else {"sample_weight": weight[rows]}
        if kind is MLPClassifier and method == "partial_fit" and number == 0:
            more["classes"] = np.arange(3)
        both(method, X[rows], KINDS[kind][rows], **more)
        assert_parity(both)


@EACH_KIND
def test_another_rate_counts_from_the_next_part_on(kind: type) -> None:
    """scikit-learn keeps the one that it began with."""
    steps = []
    for rate in (0.01, 0.03):
        model = kind(**BASE | {"solver": "sgd", "momentum": 0.0, "batch_size": N})
        more = {"classes": np.arange(3)} if kind is MLPClassifier else {}
        model.partial_fit(X, KINDS[kind], **more)
        before = model.coefs_[0].copy()
        model.set_params(learning_rate_init=rate).partial_fit(X, KINDS[kind])
        steps.append(model.coefs_[0] - before)
    np.testing.assert_allclose(3 * steps[0], steps[1], rtol=1e-9, atol=1e-14)


def test_early_stopping_may_begin_and_end_in_a_warm_start() -> None:
    model = MLPRegressor(**BASE | {"warm_start": True, "max_iter": 3})
    for early, scored in ((False, 0), (True, 3), (False, 3), (True, 6)):
        warned(model.set_params(early_stopping=early).fit, X, SCORES[:, 0])
        assert model.n_iter_ == 3
        assert len(model.validation_scores_ or []) == scored
    assert len(model.loss_curve_) == 12
    assert model.best_loss_ <= min(model.loss_curve_[:3])
    assert model.best_validation_score_ == max(model.validation_scores_)


def test_a_part_need_not_have_all_classes() -> None:
    both = Both(MLPClassifier)
    order = np.argsort(LABELS, kind="stable")
    for rows in np.array_split(order, 5):
        assert len(np.unique(LABELS[rows])) < 3
        both.partial_fit(X[rows], LABELS[rows], classes=[0, 1, 2])
        assert_parity(both)


@pytest.mark.parametrize("y", [TWO, np.array(["b", "a"])[TWO], TWO == 1], ids=["0", "b", "False"])
def test_parts_of_two_classes(y: HostArray) -> None:
    both = Both(MLPClassifier)
    for rows in (PARTS[0], PARTS[2]):
        assert_parity(both.partial_fit(X[rows], y[rows], classes=np.unique(y)))


def test_parts_of_several_labels() -> None:
    both = Both(MLPClassifier)
    for rows in (PARTS[0], PARTS[2]):
        assert_parity(both.partial_fit(X[rows], COLUMNS[rows], classes=[0, 1, 2]))


@EACH_KIND
def test_a_random_state_is_left_as_scikit_learn_leaves_it(kind: type) -> None:
    both = Both(kind, early_stopping=True, max_iter=4)
    states = np.random.RandomState(8), np.random.RandomState(8)
    for model, state in zip((both.ours, both.theirs), states, strict=True):
        model.set_params(random_state=state)
    for _ in range(2):  # the second goes on with the state of the first
        both.fit(X, KINDS[kind])
        assert_parity(both)
        ours, theirs = (state.get_state() for state in states)
        np.testing.assert_array_equal(ours[1], theirs[1])
        assert ours[2:] == theirs[2:]


def test_dropout_of_zero_draws_nothing() -> None:
    states = np.random.RandomState(8), np.random.RandomState(8)
    for state, given in zip(states, ({}, {"dropout": Dropout(0.0, 0.0)}), strict=True):
        warned(MLPClassifier(**BASE | given | {"random_state": state}).fit, X, LABELS)
    assert states[0].randint(2**31) == states[1].randint(2**31)


@pytest.fixture
def global_state() -> Iterator[np.random.RandomState]:
    state = check_random_state(None)
    before = state.get_state()
    yield state
    state.set_state(before)


def test_without_a_random_state_the_global_one_is_drawn_from(
    global_state: np.random.RandomState,
) -> None:
    both = Both(MLPRegressor, random_state=None)
    for model in (both.ours, both.theirs):
        global_state.seed(9)
        warned(model.fit, X, SCORES[:, 0])
    assert_parity(both)
    first = both.ours.coefs_[0].copy()
    warned(both.ours.fit, X, SCORES[:, 0])
    assert abs(both.ours.coefs_[0] - first).max() > 0.01


def test_a_generator_makes_a_run_that_can_be_repeated() -> None:
    models = [
        MLPClassifier(**BASE | {"random_state": np.random.default_rng(seed)}) for seed in (4, 4, 5)
    ]
    for model in models:
        warned(model.fit, X, LABELS)
    assert_same_weights(models[0], models[1], rtol=0, atol=0)
    assert abs(models[0].coefs_[0] - models[2].coefs_[0]).max() > 0.01
    again = models[0].coefs_[0].copy()
    warned(models[0].fit, X, LABELS)  # the generator was drawn from
    assert abs(models[0].coefs_[0] - again).max() > 0.01


@pytest.mark.parametrize(("y", "part"), [(LABELS, 0.2), (TWO, 0.3)], ids=["three", "two"])
def test_with_tol_0_a_score_that_equals_the_best_goes_on(y: HostArray, part: float) -> None:
    given = {"early_stopping": True, "tol": 0.0, "n_iter_no_change": 1, "max_iter": 40}
    both = Both(MLPClassifier, **given, learning_rate_init=0.05, validation_fraction=part)
    assert_parity(both.fit(X, y))
    scores = both.ours.validation_scores_
    best = np.maximum.accumulate(scores)
    more = np.append(True, scores[1:] > best[:-1])  # were ties no improvement, this would be one
    first_stop = next(i for i in range(1, len(more)) if not (more[i - 1] or more[i]))
    assert first_stop + 5 < both.ours.n_iter_


@EACH_KIND
def test_a_warm_start_goes_on_from_the_best_epoch(kind: type) -> None:
    y = (X[:, 0] > 0).astype(int) if kind is MLPClassifier else SCORES[:, 0]
    given = {"learning_rate_init": 0.02, "max_iter": 6, "validation_fraction": 0.4}
    both = Both(kind, warm_start=True, early_stopping=True, **given)
    best = -inf
    for _ in range(3):
        both.fit(X, y)
        assert both.ours.best_validation_score_ > best  # else see the next test
        best = both.ours.best_validation_score_
        assert_parity(both)


@EACH_KIND
def test_a_warm_start_that_only_worsens_keeps_the_best_network(kind: type) -> None:
    """scikit-learn trains its best weights in place, and so returns the last."""
    given = {"warm_start": True, "early_stopping": True, "validation_fraction": 0.4}
    model = kind(**BASE | given | {"max_iter": 60, "learning_rate_init": 0.03})
    warned(model.fit, X, KINDS[kind])
    best, before = model.best_validation_score_, [np.array(w) for w in model.coefs_]
    model.set_params(learning_rate_init=3.0, max_iter=3)
    warned(model.fit, X, KINDS[kind])
    assert len(model.validation_scores_) == len(model.loss_curve_) > 3
    assert max(model.validation_scores_[-3:]) < best == model.best_validation_score_
    for a, b in zip(model.coefs_, before, strict=True):
        np.testing.assert_array_equal(a, b)


@EACH_KIND
def test_with_tol_0_a_loss_that_equals_the_best_goes_on(kind: type) -> None:
    still = {"momentum": 0.0, "learning_rate_init": 1e-300, "tol": 0.0, "n_iter_no_change": 1}
    both = Both(kind, **SGD_SOLVER | still, shuffle=False).fit(X, KINDS[kind])
    assert len(set(both.ours.loss_curve_)) == 1
    assert both.ours.n_iter_ == BASE["max_iter"]
    assert_parity(both)


@EACH_KIND
def test_adaptive_stops_in_the_end(kind: type) -> None:
    given = {"learning_rate": "adaptive", "n_iter_no_change": 1, "tol": 0.05, "max_iter": 200}
    both = Both(kind, **SGD_SOLVER | given).fit(X, KINDS[kind])
    assert both.ours.n_iter_ < 200
    assert both.told == []
    assert_parity(both)


def test_goes_back_to_the_best_epoch() -> None:
    given = SGD_SOLVER | {"learning_rate_init": 0.3, "early_stopping": True, "max_iter": 30}
    both = Both(MLPClassifier, **given).fit(X, LABELS)
    assert_parity(both)
    scores = both.ours.validation_scores_
    assert scores[-1] < both.ours.best_validation_score_ == max(scores)


@EACH_KIND
def test_has_the_parameters_of_scikit_learn_and_their_defaults(kind: type) -> None:
    ours, theirs = kind().get_params(), THEIRS[kind]().get_params()
    assert {name: ours[name] for name in theirs} == theirs


# --- the same words ------------------------------------------------------------------------------


SPOKEN: dict[str, tuple[Given, list[str]]] = {
    "plain": (
        {"tol": 0.03, "n_iter_no_change": 2, "max_iter": 80},
        ["Iteration 1, loss = ", "Training loss did not improve more than tol=0.030000 for 2"],
    ),
    "never stopped": ({"max_iter": 3}, ["Iteration 3, loss = "]),
    "early stopping": (
        SETTINGS["early stopping of sgd"],
        ["Validation score: ", "Validation score did not improve more than tol=0.010000 for 2"],
    ),
    "adaptive": (
        SGD_SOLVER
        | {"learning_rate": "adaptive", "n_iter_no_change": 1, "tol": 0.05, "max_iter": 200},
        ["Setting learning rate to 0.010000", "Learning rate too small. Stopping."],
    ),
    "early stopping, adaptive": (
        SETTINGS["early stopping, adaptive"] | {"max_iter": 200},
        ["epochs. Setting learning rate to 0.010000", "Learning rate too small. Stopping."],
    ),
}


@EACH_KIND
@pytest.mark.parametrize(("given", "words"), SPOKEN.values(), ids=SPOKEN)
def test_verbose_prints_what_scikit_learn_prints(
    kind: type, given: Given, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    printed = []
    for of in (kind, THEIRS[kind]):
        warned(of(**BASE | given, verbose=True).fit, X, KINDS[kind])
        printed.append(capsys.readouterr().out.splitlines())
    assert printed[0] == printed[1]
    assert all(any(word in line for line in printed[0]) for word in words)


def test_verbose_prints_parts(capsys: pytest.CaptureFixture[str]) -> None:
    printed = []
    for of in (MLPRegressor, THEIRS[MLPRegressor]):
        model = of(**BASE, verbose=True)
        for _ in range(2):
            model.partial_fit(X, SCORES)
        printed.append(capsys.readouterr().out.splitlines())
    assert printed[0] == printed[1]
    assert [line.split(",")[0] for line in printed[0]] == ["Iteration 1"] * 2


@EACH_KIND
def test_prints_nothing_unasked(kind: type, capsys: pytest.CaptureFixture[str]) -> None:
    warned(kind(**BASE).fit, X, KINDS[kind])
    assert capsys.readouterr() == ("", "")


def test_warns_of_the_last_epoch_and_of_a_large_batch() -> None:
    both = Both(MLPClassifier, batch_size=51).fit(X, LABELS)
    assert both.told == [
        (
            UserWarning,
            "Got `batch_size` less than 1 or larger than sample size. It is going to be clipped",
        ),
        (
            ConvergenceWarning,
            "Stochastic Optimizer: Maximum iterations (9) reached and the optimization hasn't "
            "converged yet.",
        ),
    ]


# (what is trained before, the call) -> what both refuse
REFUSED: dict[str, tuple[type, Given, list[tuple[str, tuple[Any, ...], Given]], str]] = {
    "parts with early stopping": (
        MLPRegressor,
        {"early_stopping": True},
        [("partial_fit", (X, SCORES), {})],
        "partial_fit does not support early_stopping=True",
    ),
    "too few to validate": (
        MLPRegressor,
        {"early_stopping": True, "validation_fraction": 0.02},
        [("fit", (X, SCORES), {})],
        "The validation set is too small. Increase 'validation_fraction' or the size of your",
    ),
    "too few of each class to validate": (
        MLPClassifier,
        {"early_stopping": True, "validation_fraction": 0.02},
        [("fit", (X, TWO), {})],
        "test_size = 1 should be greater or equal to the number of classes = 2",
    ),
    "a warm start with fewer classes": (
        MLPClassifier,
        {"warm_start": True},
        [("fit", (X, LABELS), {}), ("fit", (X, TWO), {})],
        "warm_start can only be used where `y` has the same classes as in the previous",
    ),
    "a warm start with other classes": (
        MLPClassifier,
        {"warm_start": True},
        [("fit", (X, LABELS), {}), ("fit", (X, LABELS + 1), {})],
        "Previously got [0 1 2], `y` has [1 2 3]",
    ),
    "parts with a new class": (
        MLPClassifier,
        {},
        [
            ("partial_fit", (X, TWO), {"classes": np.arange(2)}),
            ("partial_fit", (X, LABELS), {}),
        ],
        "`y` has classes not in `self.classes_`. `self.classes_` has [0 1]. 'y' has [0 1 2].",
    ),
    "a first part with a new class": (
        MLPClassifier,
        {},
        [("partial_fit", (X, LABELS), {"classes": np.arange(2)})],
        "`y` has classes not in `self.classes_`",
    ),
    "a part of a fit with a new class": (
        MLPClassifier,
        {},
        [("fit", (X, TWO), {}), ("partial_fit", (X, LABELS), {})],
        "`y` has classes not in `self.classes_`",
    ),
    "a first part without classes": (
        MLPClassifier,
        {},
        [("partial_fit", (X, LABELS), {})],
        "classes must be passed on the first call to partial_fit.",
    ),
    "parts with other classes": (
        MLPClassifier,
        {},
        [
            ("partial_fit", (X, TWO), {"classes": np.arange(2)}),
            ("partial_fit", (X, TWO), {"classes": np.arange(3)}),
        ],
        "`classes=array([0, 1, 2])` is not the same as on last call to partial_fit, was: array([0",
    ),
    "parts with other classes, in a list": (
        MLPClassifier,
        {},
        [
            ("partial_fit", (X, TWO), {"classes": [1, 0]}),
            ("partial_fit", (X, TWO), {"classes": [2, 1]}),
        ],
        "`classes=[2, 1]` is not the same as on last call to partial_fit, was: array([0, 1])",
    ),
    "parts for lbfgs": (
        MLPClassifier,
        {"solver": "lbfgs"},
        [("partial_fit", (X, LABELS), {})],
        "This 'MLPClassifier' has no attribute 'partial_fit'",
    ),
    "a hidden layer of nothing": (
        MLPClassifier,
        {"hidden_layer_sizes": (3, 0)},
        [("fit", (X, LABELS), {})],
        "hidden_layer_sizes must be > 0, got [3, 0].",
    ),
    "several classes of several outputs": (
        MLPClassifier,
        {},
        [("fit", (X, COUNTS), {})],
        "Multioutput target data is not supported with label binarization",
    ),
    "predicting too early": (
        MLPClassifier,
        {},
        [("predict", (X,), {})],
        "This MLPClassifier instance is not fitted yet.",
    ),
    "predicting from fewer features": (
        MLPRegressor,
        {},
        [("fit", (X, SCORES), {}), ("predict", (X[:, :4],), {})],
        "X has 4 features, but MLPRegressor is expecting 5 features as input.",
    ),
    "a part of fewer features": (
        MLPRegressor,
        {},
        [("partial_fit", (X, SCORES), {}), ("partial_fit", (X[:, :4], SCORES), {})],
        "X has 4 features, but MLPRegressor is expecting 5 features as input.",
    ),
    "too few targets": (
        MLPRegressor,
        {},
        [("fit", (X, SCORES[:-1]), {})],
        "Found input variables with inconsistent numbers of samples: [50, 49]",
    ),
    "no targets": (MLPRegressor, {}, [("fit", (X, None), {})], "requires y to be passed"),
    "too few weights": (
        MLPRegressor,
        {},
        [("fit", (X, SCORES, WEIGHT[:-1]), {})],
        "sample_weight.shape == (49,), expected (50,)!",
    ),
    "weights that are not finite": (
        MLPRegressor,
        {},
        [("fit", (X, SCORES, np.full(N, nan)), {})],
        "Input sample_weight contains NaN.",
    ),
}


@pytest.mark.parametrize(("kind", "given", "calls", "words"), REFUSED.values(), ids=REFUSED)
def test_refuses_in_the_words_of_scikit_learn(
    kind: type, given: Given, calls: list[tuple[str, tuple[Any, ...], Given]], words: str
) -> None:
    both = Both(kind, **given)
    *before, (method, arguments, more) = calls
    for earlier, some, other in before:
        both(earlier, *some, **other)

    def call(model: Any) -> None:
        getattr(model, method)(*arguments, **more)

    ours, theirs = (refusal(call, model) for model in (both.ours, both.theirs))
    assert words in str(ours)
    assert str(ours) == str(theirs)
    assert type(ours) is type(theirs)


def test_a_regressor_has_no_parts_for_lbfgs() -> None:
    # scikit-learn's own check of that lets it through: it has forgotten to call it.
    assert not hasattr(MLPRegressor(solver="lbfgs"), "partial_fit")
    assert hasattr(MLPRegressor(solver="adamw"), "partial_fit")


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_refuses_weights_that_are_not_finite() -> None:
    both = Both(MLPRegressor, **SGD_SOLVER | {"learning_rate_init": 1e3, "activation": "identity"})
    ours, theirs = both.refusals("fit", 1e3 * X, SCORES)
    assert "Solver produced non-finite parameter weights." in str(ours)
    assert (type(ours), str(ours)) == (type(theirs), str(theirs))


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_best_weights_are_kept_where_the_last_ones_are_not_finite() -> None:
    given = {"learning_rate_init": 1.2, "activation": "identity", "early_stopping": True}
    both = Both(MLPRegressor, **SGD_SOLVER | given, alpha=0.0, max_iter=400)
    told = warned(both.ours.fit, X, SCORES)
    warned(both.theirs.fit, X, SCORES)
    assert not np.isfinite(both.theirs.loss_)
    assert not np.isfinite(both.ours.loss_)
    ((category, message),) = told
    assert category is ConvergenceWarning
    assert message.startswith("the loss became nan in epoch")
    assert message.endswith("The weights of the best epoch were kept.")
    assert_same_weights(both.ours, both.theirs)
    n = len(both.ours.validation_scores_)
    np.testing.assert_allclose(both.ours.validation_scores_, both.theirs.validation_scores_[:n])


# --- Ctrl-C --------------------------------------------------------------------------------------


def interrupt_after(epoch: int) -> Callable[[EpochEnd], None]:
    def callback(event: EpochEnd) -> None:
        if event.number == epoch:
            signal.raise_signal(signal.SIGINT)

    return callback


INTERRUPTED = [(UserWarning, "Training interrupted by user.")]


@EACH_KIND
def test_ctrl_c_keeps_what_was_trained(kind: type) -> None:
    model = kind(**BASE, callbacks=interrupt_after(3))
    assert warned(model.fit, X, KINDS[kind]) == INTERRUPTED
    assert model.n_iter_ == len(model.loss_curve_) == 3
    three = kind(**BASE | {"max_iter": 3})
    warned(three.fit, X, KINDS[kind])
    assert_same_weights(model, three, rtol=0, atol=0)


@EACH_KIND
def test_ctrl_c_gives_the_best_epoch_of_early_stopping(kind: type) -> None:
    given = SGD_SOLVER | {"early_stopping": True, "learning_rate_init": 0.1, "max_iter": 12}
    model = kind(**BASE | given, callbacks=interrupt_after(11))
    assert warned(model.fit, X, KINDS[kind]) == INTERRUPTED
    scores = model.validation_scores_
    best = int(np.argmax(scores))
    assert 0 < best < 10  # or the last epoch would do
    short = kind(**BASE | given | {"max_iter": best + 1})
    warned(short.fit, X, KINDS[kind])
    assert_same_weights(model, short, rtol=0, atol=0)


class InterruptAfterStep:
    """Ctrl-C after a step."""

    def __init__(self, step: int) -> None:
        self.step = step

    def __call__(self, event: EpochEnd) -> None:
        pass

    def on_step(self, event: StepEnd) -> None:
        if event.step == self.step:
            signal.raise_signal(signal.SIGINT)


@pytest.mark.parametrize("weight", [None, WEIGHT], ids=["plain", "weighted"])
def test_ctrl_c_within_an_epoch(weight: HostArray | None) -> None:
    model = MLPClassifier(**BASE, callbacks=[InterruptAfterStep(6)])  # of four an epoch
    assert warned(model.fit, X, LABELS, weight) == INTERRUPTED
    assert model.n_iter_ == len(model.loss_curve_) == 1
    assert model.t_ == N
    assert model.score(X, LABELS) > 0
    model.set_params(callbacks=None).partial_fit(X, LABELS, weight)
    assert model.n_iter_ == 1
    assert len(model.loss_curve_) == 2


# --- everything follows X ------------------------------------------------------------------------


def precision(backend: Backend) -> str:
    """float64, or where a backend has none, float32."""
    try:
        backend.dtype("float64")
    except ValueError:
        return "float32"
    return "float64"


def tolerance(dtype: str) -> Given:
    return {"rtol": 1e-9, "atol": 1e-11} if dtype == "float64" else {"rtol": 2e-3, "atol": 1e-4}


def on(backend: Backend, values: Any) -> Any:
    """Values on a backend; numbers in its precision."""
    values = np.asarray(values)
    return backend.asarray(values, precision(backend) if values.dtype.kind == "f" else None)


# Since JAX compiles for each shape: one hidden layer, and all rows in every step.
FEW_SHAPES = BASE | SGD_SOLVER | {"hidden_layer_sizes": (6,), "batch_size": N, "max_iter": 3}


def fitted_there_and_here(
    backend: Backend, kind: type, y: HostArray, weight: HostArray | None = None, **given: Any
) -> tuple[Any, Any, Any, HostArray]:
    """An estimator fitted on a backend, one on NumPy in the same precision, and the X of each."""
    given = FEW_SHAPES | given
    here = X.astype(precision(backend))
    there = on(backend, X)
    of_x = kind(**given)
    w = None if weight is None else on(backend, weight)
    warned(of_x.fit, there, y if y.dtype.kind in "USO" else on(backend, y), w)
    of_numpy = kind(**given)
    warned(of_numpy.fit, here, y, weight)
    return of_x, of_numpy, there, here


PROBLEMS: dict[str, tuple[type, HostArray, Given]] = {
    "two classes": (MLPClassifier, TWO, {}),
    "three classes": (MLPClassifier, np.array([2, 5, 70])[LABELS], {}),
    "booleans": (MLPClassifier, TWO == 1, {}),
    "one class": (MLPClassifier, np.full(N, 7), {}),
    "several labels": (MLPClassifier, COLUMNS, {}),
    "numbers": (MLPRegressor, SCORES[:, 0], {}),
    "columns, by adam": (MLPRegressor, SCORES, {"solver": "adam"}),
    "counts": (MLPRegressor, COUNTS[:, 0], {"loss": "poisson"}),
    "quantiles": (MLPRegressor, SCORES[:, 0], {"loss": "quantile"}),
}


@pytest.mark.parametrize(("kind", "y", "given"), PROBLEMS.values(), ids=PROBLEMS)
def test_everything_follows_x(backend: Backend, kind: type, y: HostArray, given: Given) -> None:
    ours, expected, there, here = fitted_there_and_here(backend, kind, y, **given)
    close = tolerance(precision(backend))
    assert ours.backend_ == backend
    assert ours.network_.backend == backend
    for name in ("coefs_", "intercepts_"):
        for a, b in zip(getattr(ours, name), getattr(expected, name), strict=True):
            assert_same(a, on(backend, b), **close)
    np.testing.assert_allclose(ours.loss_curve_, expected.loss_curve_, **close)
    assert all(type(loss) is float for loss in ours.loss_curve_)
    methods = ["predict"]
    if kind is MLPClassifier:
        assert_same(ours.classes_, on(backend, expected.classes_))
        methods += ["predict_proba", "predict_log_proba"]
    if given.get("loss") == "quantile":
        methods.append("predict_quantiles")
    for method in methods:
        assert_same(
            getattr(ours, method)(there), on(backend, getattr(expected, method)(here)), **close
        )
    score = ours.score(there, on(backend, y))
    assert type(score) is float
    assert score == pytest.approx(
        expected.score(here, y), rel=1e-3 if close["rtol"] > 1e-4 else 1e-9
    )


def test_rows_are_held_out_where_x_is(quick_backend: Backend) -> None:
    given = {"early_stopping": True, "max_iter": 6, "batch_size": BATCH}
    ours, expected, *_ = fitted_there_and_here(quick_backend, MLPClassifier, LABELS, **given)
    np.testing.assert_allclose(ours.validation_scores_, expected.validation_scores_, rtol=1e-12)
    for a, b in zip(ours.coefs_, expected.coefs_, strict=True):
        assert_same(a, on(quick_backend, b), **tolerance(precision(quick_backend)))


def test_strings_stay_on_the_host(backend: Backend) -> None:
    y = np.array(["b", "a", "longer"])[LABELS]
    ours, expected, there, here = fitted_there_and_here(backend, MLPClassifier, y)
    for found in (ours.classes_, ours.predict(there)):
        assert type(found) is np.ndarray
    np.testing.assert_array_equal(ours.classes_, ["a", "b", "longer"])
    np.testing.assert_array_equal(ours.predict(there), expected.predict(here))
    assert_same(ours.predict_proba(there), on(backend, expected.predict_proba(here)), 2e-3, 1e-4)
    assert ours.score(there, y) == pytest.approx(expected.score(here, y))


def another(backend: Backend, strict: Backend) -> Backend:
    """A backend that is not this one."""
    return strict if backend.name == "numpy" else arraymlp.resolve("numpy")


def test_arrays_of_another_namespace_are_refused(backend: Backend, strict_backend: Backend) -> None:
    model, *_ = fitted_there_and_here(backend, MLPClassifier, LABELS, max_iter=1, warm_start=True)
    there = on(another(backend, strict_backend), X)
    for call in (
        model.predict,
        model.predict_proba,
        lambda X_: model.score(X_, LABELS),
        lambda X_: model.fit(X_, LABELS),
        lambda X_: model.partial_fit(X_, LABELS),
    ):
        assert "must use the same namespace" in str(refusal(call, there))
    warned(model.set_params(warm_start=False).fit, there, LABELS)  # anew it may be any
    assert model.predict(there).shape == (N,)


@EACH_KIND
def test_to_moves_an_estimator(backend: Backend, kind: type) -> None:
    y = KINDS[kind]
    here = X.astype(precision(backend))
    model = kind(**FEW_SHAPES)
    warned(model.fit, here, y)
    before = [np.array(w) for w in model.coefs_]
    moved = model.to(backend.name, backend.device)
    assert type(moved) is kind
    assert moved.backend_ == backend
    close = tolerance(precision(backend))
    assert_same(moved.predict(on(backend, X)), on(backend, model.predict(here)), **close)
    if kind is MLPClassifier:
        assert_same(moved.classes_, on(backend, model.classes_))
    moved.partial_fit(on(backend, X), on(backend, y))
    for a, b in zip(model.coefs_, before, strict=True):  # the first one stays what it was
        np.testing.assert_array_equal(a, b)
    assert model.n_iter_ == 3
    model.partial_fit(here, y)  # the optimiser's state has moved, too
    for a, b in zip(moved.coefs_, model.coefs_, strict=True):
        assert_same(a, on(backend, b), **close)
    back = moved.to("numpy")
    assert_same(back.predict(here), model.predict(here), **close)


def test_targets_and_weights_may_be_anywhere(backend: Backend, strict_backend: Backend) -> None:
    """y and weights on the host, or of another namespace than X: they go to where X is."""
    given = FEW_SHAPES
    elsewhere = another(backend, strict_backend)
    models = []
    for backend in (backend, elsewhere):
        model = MLPClassifier(**given)
        warned(model.fit, on(backend, X), on(backend, LABELS), on(backend, WEIGHT))
        assert model.backend_ == backend
        models.append(model)
    for a, b in zip(models[0].coefs_, models[1].coefs_, strict=True):
        assert_same(a, b, rtol=1e-6, atol=1e-7)
    regressor = MLPRegressor(**given)
    warned(regressor.fit, on(backend, X), on(elsewhere, SCORES))
    assert regressor.score(on(backend, X), on(elsewhere, SCORES)) < 1


def test_validation_data_follow_x(backend: Backend) -> None:
    model = MLPRegressor(**FEW_SHAPES)
    more = {"X_val": on(backend, X[::-1]), "y_val": on(backend, SCORES)}
    warned(model.fit, on(backend, X), on(backend, SCORES), **more)
    assert len(model.validation_scores_) == 3
    expected = model.score(on(backend, X[::-1]), SCORES)
    assert model.validation_scores_[-1] == pytest.approx(expected, abs=1e-5)


@EACH_KIND
@pytest.mark.parametrize("solver", ["adam", "sgd", "adamw", "lbfgs"])
def test_arrays_of_the_caller_are_never_written(kind: type, solver: str) -> None:
    arrays = [X.copy(), KINDS[kind].copy(), WEIGHT.copy()]
    for array in arrays:
        array.flags.writeable = False
    model = kind(**BASE | {"solver": solver, "max_iter": 2})
    warned(model.fit, *arrays)
    model.predict(arrays[0])
    if solver != "lbfgs":
        warned(model.fit, *arrays, X_val=arrays[0], y_val=arrays[1])
        model.partial_fit(*arrays)


@pytest.mark.parametrize("solver", ["adam", "sgd", "lbfgs"])
def test_device_arrays_of_the_caller_are_never_written(backend: Backend, solver: str) -> None:
    arrays = [on(backend, X), on(backend, LABELS), on(backend, WEIGHT)]
    before = [np.array(on_host(array)) for array in arrays]
    given = FEW_SHAPES | {"solver": solver, "shuffle": False}
    model = MLPClassifier(**given)
    warned(model.fit, *arrays)
    predicted = model.predict_proba(arrays[0])
    model.predict_log_proba(arrays[0])
    for array, was in zip(arrays, before, strict=True):
        np.testing.assert_array_equal(on_host(array), was)
    assert_same(model.predict_proba(arrays[0]), predicted)


@EACH_KIND
def test_what_was_moved_has_records_of_its_own(kind: type) -> None:
    model = kind(**BASE)
    warned(model.fit, X, KINDS[kind], X_val=X, y_val=KINDS[kind])
    moved = model.to("numpy")
    warned(moved.partial_fit, X, KINDS[kind])
    assert len(moved.loss_curve_) == len(moved.history_) == model.n_iter_ + 1
    for records in (model.loss_curve_, model.validation_scores_, model.history_):
        assert len(records) == model.n_iter_


@EACH_KIND
@pytest.mark.parametrize("name", ["torch", "array_api_strict"])
def test_a_named_backend_trains_host_data(kind: type, name: str) -> None:
    if name == "torch":
        pytest.importorskip("torch")
    both = Both(kind).fit(X, KINDS[kind])
    model = kind(**BASE, backend=name)
    warned(model.fit, X, KINDS[kind])
    assert model.network_.backend.name == model.backend_.name == name
    both.ours = model
    assert_parity(both)  # types and dtypes as well
    again = pickle.loads(pickle.dumps(model))
    assert again.network_.backend.name == "numpy"
    assert model.network_.backend.name == name  # it stays where it was
    both.ours = again
    assert_parity(both)
    warned(both.partial_fit, X, KINDS[kind])
    assert_same_weights(both.ours, both.theirs)
    warned(model.partial_fit, X, KINDS[kind])
    assert model.network_.backend.name == name
    assert_same_weights(model, both.theirs)


def test_a_pickle_goes_on_as_the_estimator_would(backend: Backend) -> None:
    y = SCORES[:, 0]
    model, _, there, _ = fitted_there_and_here(backend, MLPRegressor, y)
    again = pickle.loads(pickle.dumps(model))
    assert_same(again.predict(there), model.predict(there))
    for one in (model, again):
        one.partial_fit(there, on(backend, y))
    for a, b in zip(again.coefs_, model.coefs_, strict=True):
        assert_same(a, b)


def test_whole_numbers_train_in_double_precision_where_there_is_one(backend: Backend) -> None:
    model = MLPRegressor(**FEW_SHAPES)
    warned(model.fit, on(backend, COUNTS), on(backend, SCORES[:, 0]))
    assert str(model.coefs_[0].dtype).endswith(precision(backend))
    assert model.predict(on(backend, COUNTS)).shape == (N,)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_dtype_may_be_chosen(dtype: str) -> None:
    for given in (X, X.astype(np.float32)):
        model = MLPClassifier(**BASE | {"max_iter": 1}, dtype=dtype)
        warned(model.fit, given, LABELS)
        assert model.coefs_[0].dtype == dtype
        assert model.predict_proba(given).dtype == dtype


def test_weights_can_be_set() -> None:
    model, other = (MLPRegressor(**BASE | {"random_state": seed}) for seed in (1, 2))
    for one in (model, other):
        warned(one.fit, X, SCORES)
    given = [np.array(w) for w in other.coefs_], [np.array(b) for b in other.intercepts_]
    model.coefs_, model.intercepts_ = given
    np.testing.assert_array_equal(model.predict(X), other.predict(X))
    model.partial_fit(X, SCORES)
    np.testing.assert_array_equal(given[0][0], other.coefs_[0])  # copied, not kept
    assert abs(model.coefs_[0] - other.coefs_[0]).max() > 0


# --- beyond scikit-learn -------------------------------------------------------------------------


def drawn(
    random: np.random.RandomState, sizes: tuple[int, ...], activations: tuple[str, ...]
) -> list[tuple[HostArray, HostArray]]:
    """Initial weights and biases as scikit-learn draws them."""
    found = []
    for i, (n_in, n_out) in enumerate(pairwise(sizes)):
        of = activations[min(i, len(activations) - 1)] if activations else ""
        bound = np.sqrt((2 if of in ("logistic", "sigmoid") else 6) / (n_in + n_out))
        found.append(
            (random.uniform(-bound, bound, (n_in, n_out)), random.uniform(-bound, bound, n_out))
        )
    return found


def core(
    y: HostArray,
    *,
    activations: tuple[str, ...] = ("relu", "relu"),
    loss: Loss = LOSSES["softmax_cross_entropy"],
    optimizer: Optimizer | None = None,
    with_seed: bool = False,
    **given: Any,
) -> MultilayerPerceptron:
    """What `arraymlp.train` makes of the estimators' initial weights, in their orders."""
    n_outputs = 3 if loss.classifies == "one" else loss.outputs_per_target
    sizes = (FEATURES, *BASE["hidden_layer_sizes"], n_outputs)
    random = np.random.RandomState(BASE["random_state"])
    names = ["sigmoid" if a == "logistic" else a for a in activations] + ["identity"]
    layers = [
        Layer(w, b[None, :], ACTIVATIONS[name])
        for (w, b), name in zip(drawn(random, sizes, activations), names, strict=True)
    ]
    start = MultilayerPerceptron(
        layers, loss, np.arange(3) if n_outputs == 3 and loss.classifies == "one" else None
    )
    seed = int(random.randint(2**31 - 1)) if with_seed else None
    order = np.arange(N)

    def shuffle(n: int, epoch: int) -> HostArray:
        nonlocal order
        order = order[random.permutation(n)]
        return order

    defaults = {
        "optimizer": optimizer or Adam(epsilon_hat=True),
        "learning_rate": BASE["learning_rate_init"],
        "alpha": BASE["alpha"],
        "batch_size": BATCH,
        "epochs": BASE["max_iter"],
        "shuffle": shuffle,
    }
    run = arraymlp.train(X, y, network=start, seed=seed, backend="numpy", **defaults | given)
    return run.network


def assert_same_network(model: Any, network: MultilayerPerceptron) -> None:
    for w, b, layer in zip(model.coefs_, model.intercepts_, network.layers, strict=True):
        np.testing.assert_allclose(w, layer.weights, rtol=RTOL, atol=ATOL)
        np.testing.assert_allclose(b, layer.bias[0], rtol=RTOL, atol=ATOL)


SOFTMAX, SQUARED = LOSSES["softmax_cross_entropy"], LOSSES["squared_error"]
# What is given to the estimator, and what says the same to train.
BEYOND: dict[str, tuple[type, Given, Given]] = {
    "nothing": (MLPClassifier, {}, {}),
    "dropout": (MLPClassifier, {"dropout": 0.3}, {"dropout": 0.3, "with_seed": True}),
    "dropout of features": (
        MLPRegressor,
        {"dropout": Dropout(0.2, 0.1)},
        {"dropout": Dropout(0.2, 0.1), "with_seed": True},
    ),
    "clipping": (MLPClassifier, {"gradient_clip": 0.2}, {"gradient_clip": 0.2}),
    "adamw": (
        MLPClassifier,
        {"solver": "adamw", "beta_1": 0.8, "beta_2": 0.99, "epsilon": 1e-4},
        {"optimizer": AdamW(0.8, 0.99, 1e-4, weight_decay=0.1), "alpha": 0.0},
    ),
    "activations": (
        MLPClassifier,
        {"activation": ("tanh", "gelu")},
        {"activations": ("tanh", "gelu")},
    ),
    "activations, the first logistic": (
        MLPClassifier,
        {"activation": ["logistic", "silu"]},
        {"activations": ("logistic", "silu")},
    ),
    "activations, the last logistic": (
        MLPRegressor,
        {"activation": ("elu", "logistic")},
        {"activations": ("elu", "logistic")},
    ),
    "an activation as an object": (
        MLPClassifier,
        {"activation": ACTIVATIONS["softplus"]},
        {"activations": ("softplus", "softplus")},
    ),
    "an activation of its own name": (
        MLPClassifier,
        {"activation": "leaky_relu"},
        {"activations": ("leaky_relu", "leaky_relu")},
    ),
    "absolute error": (
        MLPRegressor,
        {"loss": "absolute_error"},
        {"loss": LOSSES["absolute_error"]},
    ),
    "huber": (MLPRegressor, {"loss": "huber"}, {"loss": LOSSES["huber"]}),
    "huber with a threshold": (MLPRegressor, {"loss": Huber(0.3)}, {"loss": Huber(0.3)}),
    "quantiles": (MLPRegressor, {"loss": "quantile"}, {"loss": Quantile()}),
    "other quantiles": (
        MLPRegressor,
        {"loss": Quantile((0.2, 0.7))},
        {"loss": Quantile((0.2, 0.7))},
    ),
    "plain sgd, clipped": (
        MLPRegressor,
        {"solver": "sgd", "momentum": 0.0, "gradient_clip": 0.5},
        {"optimizer": SGD(), "gradient_clip": 0.5},
    ),
}


@pytest.mark.parametrize(("kind", "ours", "core_s"), BEYOND.values(), ids=BEYOND)
def test_trains_as_the_core_does(kind: type, ours: Given, core_s: Given) -> None:
    y = KINDS[kind]
    model = kind(**BASE | ours)
    warned(model.fit, X, y)
    given = {"loss": SOFTMAX if kind is MLPClassifier else SQUARED} | core_s
    assert_same_network(model, core(y, **given))
    if ours:
        plain = kind(**BASE)
        warned(plain.fit, X, y)
        same = [a.shape == b.shape for a, b in zip(model.coefs_, plain.coefs_, strict=True)]
        changed = [
            abs(a - b).max() > 1e-3 for a, b in zip(model.coefs_[:2], plain.coefs_, strict=False)
        ]
        assert all(changed), same


@EACH_KIND
def test_dropout_can_be_repeated(kind: type) -> None:
    models = [kind(**BASE | {"random_state": seed, "dropout": 0.4}).fit for seed in (3, 3, 4)]
    for fit in models:
        warned(fit, X, KINDS[kind])
    first, again, other = (fit.__self__ for fit in models)
    assert_same_weights(first, again, rtol=0, atol=0)
    assert abs(first.coefs_[1] - other.coefs_[1]).max() > 0.01
    np.testing.assert_array_equal(first.predict(X), first.predict(X))  # nothing is dropped here


@EACH_KIND
@pytest.mark.parametrize("dropout", [0, 0.0, Dropout()], ids=["0", "0.0", "Dropout()"])
def test_no_dropout_is_scikit_learns_training(kind: type, dropout: Any) -> None:
    both = Both(kind)
    both.ours.set_params(dropout=dropout)
    assert_parity(both.fit(X, KINDS[kind]))


def test_each_part_has_masks_of_its_own() -> None:
    still = {"dropout": 0.5, "learning_rate_init": 1e-12, "shuffle": False}
    model = MLPRegressor(**BASE | still)
    for _ in range(3):
        model.partial_fit(X, SCORES)
    assert len(set(np.round(model.loss_curve_, 6))) == 3


def test_dropout_may_begin_in_a_part() -> None:
    still = {"learning_rate_init": 1e-12, "shuffle": False}
    losses = []
    for seed in (3, 3, 4):
        model = MLPRegressor(**BASE | still | {"random_state": 3}).partial_fit(X, SCORES)
        model.set_params(dropout=0.5, random_state=seed).partial_fit(X, SCORES)
        losses.append(model.loss_curve_[1])
        assert model.loss_curve_[1] != pytest.approx(model.loss_curve_[0], rel=1e-3)
    assert losses[0] == losses[1] != pytest.approx(losses[2], rel=1e-6)


CLASS_WEIGHTS: dict[str, tuple[HostArray, Any, Any]] = {
    "numbers": (LABELS, {0: 3.0, 2: 0.5}, {0: 3.0, 1: 1.0, 2: 0.5}),
    "two classes": (TWO, {1: 5.0}, {0: 1.0, 1: 5.0}),
    "balanced": (LABELS, "balanced", "balanced"),
    "balanced strings": (np.array(["b", "a", "c"])[LABELS], "balanced", "balanced"),
    "strings": (np.array(["b", "a", "c"])[LABELS], {"c": 4.0}, {"a": 1.0, "b": 1.0, "c": 4.0}),
    "numbers with gaps": (np.array([-7, 2, 90])[LABELS], {90: 4.0}, {-7: 1.0, 2: 1.0, 90: 4.0}),
}


@pytest.mark.parametrize("weight", [None, WEIGHT], ids=["alike", "weighted"])
@pytest.mark.parametrize(("y", "given", "full"), CLASS_WEIGHTS.values(), ids=CLASS_WEIGHTS)
def test_class_weights_are_sample_weights(
    y: HostArray, given: Any, full: Any, weight: HostArray | None
) -> None:
    both = Both(MLPClassifier)
    both.ours.set_params(class_weight=given)
    of_class = compute_sample_weight(full, y)
    warned(both.ours.fit, X, y, weight)
    warned(both.theirs.fit, X, y, of_class if weight is None else of_class * weight)
    assert_parity(both)


def test_class_weights_in_parts() -> None:
    both = Both(MLPClassifier)
    given = {0: 3.0, 2: 0.5}
    both.ours.set_params(class_weight=given)
    for rows in (PARTS[0], PARTS[2]):
        weight = compute_sample_weight(given | {1: 1.0}, LABELS[rows])
        warned(both.ours.partial_fit, X[rows], LABELS[rows], classes=np.arange(3))
        warned(both.theirs.partial_fit, X[rows], LABELS[rows], weight, classes=np.arange(3))
        assert_parity(both)


def test_class_weights_leave_the_score_as_it_is() -> None:
    given = {"early_stopping": True, "class_weight": {0: 50.0}, "validation_fraction": 0.3}
    model = MLPClassifier(**BASE | given)
    warned(model.fit, X, LABELS)
    assert all(score * 15 == pytest.approx(round(score * 15)) for score in model.validation_scores_)


@EACH_KIND
def test_a_loose_bound_on_gradients_changes_nothing(kind: type) -> None:
    both = Both(kind)
    both.ours.set_params(gradient_clip=1e6)
    assert_parity(both.fit(X, KINDS[kind]))


def test_a_tight_bound_on_gradients_bounds_a_step() -> None:
    given = {"solver": "sgd", "momentum": 0.0, "learning_rate_init": 1.0, "alpha": 0.0}
    model = MLPRegressor(**BASE | given | {"batch_size": N, "max_iter": 1, "gradient_clip": 0.01})
    warned(model.fit, X, SCORES[:, 0])
    start = drawn(np.random.RandomState(3), (FEATURES, 7, 4, 1), ("relu", "relu"))
    moved = zip(model.coefs_, model.intercepts_, start, strict=True)
    norm = np.sqrt(sum(((w - w0) ** 2).sum() + ((b - b0) ** 2).sum() for w, b, (w0, b0) in moved))
    assert norm == pytest.approx(0.01, rel=1e-9)


def test_activations_that_are_alike_are_one() -> None:
    both = Both(MLPClassifier, activation="logistic")
    both.ours.set_params(activation=("logistic", "logistic"))
    assert_parity(both.fit(X, LABELS))


X_VAL = RNG.normal(size=(30, FEATURES))
Y_VAL: dict[type, HostArray] = {
    MLPClassifier: RNG.integers(0, 3, 30),
    MLPRegressor: RNG.normal(size=30),
}


@EACH_KIND
def test_validation_data_change_nothing_but_what_is_reported(kind: type) -> None:
    both = Both(kind)
    warned(both.theirs.fit, X, KINDS[kind])
    warned(both.ours.fit, X, KINDS[kind], X_val=X_VAL, y_val=Y_VAL[kind])
    scores, losses = both.ours.validation_scores_, both.ours.validation_loss_curve_
    assert len(scores) == len(losses) == both.ours.n_iter_
    assert scores[-1] == pytest.approx(both.ours.score(X_VAL, Y_VAL[kind]), rel=1e-9)
    assert losses[-1] == pytest.approx(mean_loss(both.ours, X_VAL, Y_VAL[kind]), rel=1e-9)
    assert both.ours.best_validation_score_ is None
    both.ours.validation_scores_ = None
    assert_parity(both)


def mean_loss(model: Any, X: HostArray, y: HostArray) -> float:
    if isinstance(model, MLPClassifier):
        return float(metrics.log_loss(y, model.predict_proba(X), labels=model.classes_))
    return float(((model.predict(X) - y) ** 2).mean() / 2)


@EACH_KIND
def test_early_stopping_watches_the_validation_data(kind: type) -> None:
    given = SGD_SOLVER | {
        "early_stopping": True,
        "n_iter_no_change": 2,
        "max_iter": 80,
        "tol": 0.01,
    }
    model = kind(**BASE | given)
    assert warned(model.fit, X, KINDS[kind], X_val=X_VAL, y_val=Y_VAL[kind]) == []
    scores = model.validation_scores_
    assert len(scores) == model.n_iter_ < 80
    assert model.t_ == N * model.n_iter_  # no row was held out
    assert model.best_validation_score_ == max(scores)
    assert model.score(X_VAL, Y_VAL[kind]) == pytest.approx(max(scores), rel=1e-9)
    best, waited = -inf, []
    for score in scores:
        waited.append(0 if not waited or score >= best + 0.01 else waited[-1] + 1)
        best = max(best, score)
    assert waited[-1] == 3
    assert max(waited[:-1]) < 3
    losses = model.validation_loss_curve_
    assert losses[int(np.argmax(scores))] == pytest.approx(mean_loss(model, X_VAL, Y_VAL[kind]))


def test_the_split_has_a_loss_as_well() -> None:
    model = MLPRegressor(**BASE | {"early_stopping": True, "validation_fraction": 0.2})
    warned(model.fit, X, SCORES)
    assert len(model.validation_loss_curve_) == model.n_iter_
    random = np.random.RandomState(3)
    drawn(random, (FEATURES, 7, 4, 3), ("relu", "relu"))
    _, rows = train_test_split(np.arange(N), random_state=random, test_size=0.2)
    best = int(np.argmax(model.validation_scores_))
    assert model.validation_scores_[best] == pytest.approx(model.score(X[rows], SCORES[rows]))
    # the mean of the columns, as the loss that is reported of the training
    expected = ((model.predict(X[rows]) - SCORES[rows]) ** 2).mean() / 2
    assert model.validation_loss_curve_[best] == pytest.approx(expected)


def test_validation_data_in_a_warm_start() -> None:
    model = MLPClassifier(**BASE | {"warm_start": True, "max_iter": 2})
    warned(model.fit, X, LABELS)
    assert model.validation_scores_ is None
    for n in (2, 4):
        warned(model.fit, X, LABELS, X_val=X_VAL, y_val=Y_VAL[MLPClassifier])
        assert len(model.validation_scores_) == len(model.validation_loss_curve_) == n


def stop_after(epoch: int) -> Callable[[EpochEnd], bool]:
    return lambda event: event.number == epoch


@EACH_KIND
def test_a_callback_stops(kind: type) -> None:
    seen: list[int] = []

    def note(event: EpochEnd) -> None:
        seen.append(event.number)
        assert event.epochs == BASE["max_iter"]

    model = kind(**BASE, callbacks=[note, stop_after(4)])
    assert warned(model.fit, X, KINDS[kind]) == []  # nor a warning of the last epoch
    assert seen == [1, 2, 3, 4]
    assert model.n_iter_ == len(model.loss_curve_) == len(model.history_) == 4
    alone = kind(**BASE, callbacks=stop_after(4))
    assert warned(alone.fit, X, KINDS[kind]) == []
    assert_same_weights(model, alone, rtol=0, atol=0)


def test_a_callback_stops_within_an_epoch() -> None:
    class Stop:
        def __call__(self, event: EpochEnd) -> None:
            pass

        def on_step(self, event: StepEnd) -> bool:
            return event.step == 6

    model = MLPClassifier(**BASE, callbacks=(Stop(),))
    assert warned(model.fit, X, LABELS) == []
    assert model.n_iter_ == 1
    assert model.history_[-1]["step"] == 6


def test_a_callback_of_the_core_stops() -> None:
    model = MLPClassifier(
        **BASE | {"max_iter": 60, "tol": 0.0}, callbacks=StopAt("loss", below=0.5)
    )
    assert warned(model.fit, X, LABELS) == []
    assert model.history_["loss"][-1] <= 0.5 < min(model.history_["loss"][:-1])


def test_callbacks_see_parts_as_well() -> None:
    seen: list[float] = []
    model = MLPRegressor(**BASE, callbacks=lambda event: seen.append(event.record["loss"]))
    for _ in range(3):
        model.partial_fit(X, SCORES)
    assert len(seen) == 3
    assert model.history_["loss"] == seen


@pytest.mark.parametrize(
    ("y", "shape", "middle"),
    [(SCORES[:, 0], (N, 4), (N,)), (SCORES[:, :2], (N, 2, 4), (N, 2))],
    ids=["one target", "two targets"],
)
def test_quantiles(y: HostArray, shape: tuple[int, ...], middle: tuple[int, ...]) -> None:
    model = MLPRegressor(**BASE, loss=Quantile((0.1, 0.4, 0.8, 0.9)))
    warned(model.fit, X, y)
    found = model.predict_quantiles(X)
    assert found.shape == shape
    assert (np.diff(found, axis=-1) >= 0).all()
    assert (np.diff(found, axis=-1) > 0).any()
    assert model.predict(X).shape == middle
    np.testing.assert_array_equal(model.predict(X), found[..., 1])  # 0.4 is the nearest to 0.5
    assert model.n_outputs_ == 4 * (y.ndim == 1 or y.shape[1])
    assert model.score(X, y) == pytest.approx(metrics.r2_score(y, found[..., 1]))


def test_one_quantile() -> None:
    model = MLPRegressor(**BASE, loss=Quantile((0.8,)))
    warned(model.fit, X, SCORES[:, 0])
    assert model.predict_quantiles(X).shape == (N, 1)
    np.testing.assert_array_equal(model.predict_quantiles(X)[:, 0], model.predict(X))


def test_quantiles_hold_what_they_promise() -> None:
    rng = np.random.default_rng(33)
    many = rng.uniform(-1, 1, (2000, 1))
    y = many[:, 0] + rng.normal(0, 0.5, 2000)
    model = MLPRegressor("quantile", 10, random_state=0, max_iter=40, learning_rate_init=0.01)
    warned(model.fit, many, y)
    below = (y[:, None] < model.predict_quantiles(many)).mean(axis=0)
    np.testing.assert_allclose(below, [0.1, 0.5, 0.9], atol=0.05)


@pytest.mark.parametrize("loss", ["squared_error", "poisson", "absolute_error", "huber", Huber(2)])
def test_other_losses_have_no_quantiles(loss: Any) -> None:
    assert not hasattr(MLPRegressor(loss), "predict_quantiles")
    assert hasattr(MLPRegressor(Quantile((0.3, 0.6))), "predict_quantiles")
    with pytest.raises(AttributeError, match="has no attribute 'predict_quantiles'"):
        MLPRegressor(loss).predict_quantiles(X)


def test_early_stopping_of_quantiles_watches_the_middle() -> None:
    model = MLPRegressor(**BASE | {"early_stopping": True}, loss=Quantile((0.2, 0.6)))
    warned(model.fit, X, SCORES[:, :2], X_val=X_VAL, y_val=X_VAL[:, :2])
    assert model.best_validation_score_ == pytest.approx(model.score(X_VAL, X_VAL[:, :2]))


def test_two_classes_may_have_an_output_each() -> None:
    model = MLPClassifier(**BASE, loss=SOFTMAX)
    warned(model.fit, X, np.array(["b", "a"])[TWO])
    assert model.n_outputs_ == 2
    assert model.out_activation_ == "softmax"
    p = model.predict_proba(X)
    np.testing.assert_allclose(p.sum(axis=1), 1)
    np.testing.assert_array_equal(model.predict(X), model.classes_[p.argmax(axis=1)])
    assert model.score(X, np.array(["b", "a"])[TWO]) > 0.6


class Squares(Loss):
    """Brier's score: the squared error of the probabilities."""

    name = "squares"
    classifies = "one"

    def output(self, s: Any, xp: Any) -> Any:
        return SOFTMAX.output(s, xp)

    def value_and_delta(self, s: Any, y: Any, xp: Any) -> tuple[Any, Any]:
        p = SOFTMAX.output(s, xp)
        e = p - np.eye(s.shape[-1])[y]
        slope = p * (e - (p * e).sum(axis=-1, keepdims=True))
        return (e * e).sum(axis=-1) / 2, slope


def test_a_loss_of_ones_own_trains_a_classifier() -> None:
    model = MLPClassifier(**BASE | {"alpha": 0.0, "max_iter": 40, "batch_size": N}, loss=Squares())
    warned(model.fit, X, LABELS)
    p = model.predict_proba(X)
    assert model.score(X, LABELS) > 0.6
    brier = ((p - np.eye(3)[LABELS]) ** 2).sum(axis=1).mean() / 2
    assert brier < model.loss_curve_[-1] < model.loss_curve_[0]
    assert brier == pytest.approx(model.loss_curve_[-1], rel=0.05)


def test_findings_and_history_are_those_of_the_run() -> None:
    model = MLPRegressor(**BASE)
    warned(model.fit, X, SCORES)
    assert len(model.history_) == model.n_iter_
    columns = np.array(model.history_["loss"]) / 3 + model.history_["penalty"]
    np.testing.assert_allclose(columns, model.loss_curve_, rtol=1e-12)
    assert isinstance(model.findings_, list)


# --- as accurate as scikit-learn -----------------------------------------------------------------


def sparse_problem() -> tuple[Any, HostArray]:
    rng = np.random.default_rng(34)
    X_ = sparse.random(400, 200, density=0.05, format="csr", random_state=rng)
    return X_, (X_ @ rng.normal(size=200) > 0).astype(int)


def loaded(name: str) -> tuple[Any, HostArray]:
    X_, y = getattr(datasets, f"load_{name}")(return_X_y=True)
    return StandardScaler().fit_transform(X_), y


DATASETS: dict[str, tuple[type, Given, float]] = {  # and a score to be better than
    "digits": (MLPClassifier, {"max_iter": 15}, 0.93),
    "wine": (MLPClassifier, {"max_iter": 60}, 0.93),
    "breast_cancer": (MLPClassifier, {"early_stopping": True, "max_iter": 60}, 0.92),
    "diabetes": (MLPRegressor, {"max_iter": 30, "learning_rate_init": 0.1}, 0.3),
    "sparse": (MLPClassifier, {"max_iter": 40, "alpha": 1.0}, 0.6),
}


@ENDED_BY_MAX_ITER
@pytest.mark.parametrize("name", DATASETS)
def test_is_as_accurate_as_scikit_learn(name: str) -> None:
    kind, given, floor = DATASETS[name]
    X_, y = sparse_problem() if name == "sparse" else loaded(name)
    defaults = {"hidden_layer_sizes": (30,), "learning_rate_init": 0.01}
    scores = np.empty((2, 5))
    for seed in range(5):
        X_train, X_test, y_train, y_test = train_test_split(X_, y, random_state=seed)
        for i, of in enumerate((kind, THEIRS[kind])):
            model = of(**defaults | given, random_state=seed).fit(X_train, y_train)
            scores[i, seed] = model.score(X_test, y_test)
    noise = scores[1].std(ddof=1) / np.sqrt(5)
    assert noise < 0.05
    assert scores[1].mean() > floor
    assert abs((scores[0] - scores[1]).mean()) <= noise

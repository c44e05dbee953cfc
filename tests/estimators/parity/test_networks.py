"""The same network as scikit-learn trains, number by number, with the same ``random_state``."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

pytest.importorskip("sklearn", minversion="1.7")

from scipy import sparse
from sklearn import datasets
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler
from sklearn.utils import check_random_state

from arraymlp import Dropout, MLPClassifier, MLPRegressor
from sklearn_pairs import (
    BASE,
    BATCH,
    COLUMNS,
    EACH,
    LABELS,
    SCORES,
    SETTINGS,
    SGD_SOLVER,
    TARGETS,
    THEIRS,
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


@EACH
@pytest.mark.parametrize("given", SETTINGS.values(), ids=SETTINGS)
def test_trains_the_network_of_scikit_learn(Estimator: type, given: Given) -> None:
    assert_parity(Both(Estimator, **given).fit(X, TARGETS[Estimator]))


@EACH
@pytest.mark.parametrize(
    "case",
    ["adam", "nesterov", "adaptive", "no hidden layer", "early stopping", "all rows at once"],
)
def test_weighs_samples_as_scikit_learn_does(Estimator: type, case: str) -> None:
    both = Both(Estimator, **SETTINGS[case]).fit(X, TARGETS[Estimator], WEIGHT)
    assert_parity(both)
    alike = Estimator(**BASE | SETTINGS[case])
    warned(alike.fit, X, TARGETS[Estimator])
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


@EACH
def test_one_weight_for_all_samples(Estimator: type) -> None:
    assert_parity(Both(Estimator).fit(X, TARGETS[Estimator], 2.5))


@EACH
@pytest.mark.parametrize("case", ["adam", "nesterov", "logistic", "early stopping"])
@pytest.mark.parametrize("weight", [None, WEIGHT], ids=["plain", "weighted"])
def test_trains_in_single_precision_where_x_is(
    Estimator: type, case: str, weight: HostArray | None
) -> None:
    single = X.astype(np.float32)
    both = Both(Estimator, **SETTINGS[case]).fit(single, TARGETS[Estimator], weight)
    assert both.ours.coefs_[0].dtype == np.float32
    assert_parity(both, single, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("y", "fraction"), [(LABELS, 0.2), (TWO, 0.3)], ids=["three", "two"])
def test_with_tol_0_a_score_that_equals_the_best_goes_on(y: HostArray, fraction: float) -> None:
    given = {"early_stopping": True, "tol": 0.0, "n_iter_no_change": 1, "max_iter": 40}
    both = Both(MLPClassifier, **given, learning_rate_init=0.05, validation_fraction=fraction)
    assert_parity(both.fit(X, y))
    scores = both.ours.validation_scores_
    best = np.maximum.accumulate(scores)
    # Where a tie were no improvement, it would stop after two that do not improve.
    improves = np.append(True, scores[1:] > best[:-1])
    first_stop = next(i for i in range(1, len(improves)) if not (improves[i - 1] or improves[i]))
    assert first_stop + 5 < both.ours.n_iter_


@EACH
def test_with_tol_0_a_loss_that_equals_the_best_goes_on(Estimator: type) -> None:
    still = {"momentum": 0.0, "learning_rate_init": 1e-300, "tol": 0.0, "n_iter_no_change": 1}
    both = Both(Estimator, **SGD_SOLVER | still, shuffle=False).fit(X, TARGETS[Estimator])
    assert len(set(both.ours.loss_curve_)) == 1
    assert both.ours.n_iter_ == BASE["max_iter"]
    assert_parity(both)


@EACH
def test_adaptive_stops_in_the_end(Estimator: type) -> None:
    given = {"learning_rate": "adaptive", "n_iter_no_change": 1, "tol": 0.05, "max_iter": 200}
    both = Both(Estimator, **SGD_SOLVER | given).fit(X, TARGETS[Estimator])
    assert both.ours.n_iter_ < 200
    assert both.warned == []
    assert_parity(both)


def test_goes_back_to_the_best_epoch() -> None:
    given = SGD_SOLVER | {"learning_rate_init": 0.3, "early_stopping": True, "max_iter": 30}
    both = Both(MLPClassifier, **given).fit(X, LABELS)
    assert_parity(both)
    scores = both.ours.validation_scores_
    assert scores[-1] < both.ours.best_validation_score_ == max(scores)


@EACH
def test_a_random_state_is_left_as_scikit_learn_leaves_it(Estimator: type) -> None:
    both = Both(Estimator, early_stopping=True, max_iter=4)
    states = np.random.RandomState(8), np.random.RandomState(8)
    for model, state in zip((both.ours, both.theirs), states, strict=True):
        model.set_params(random_state=state)
    for _ in range(2):  # the second goes on with the state of the first
        both.fit(X, TARGETS[Estimator])
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
    before = models[0].coefs_[0].copy()
    warned(models[0].fit, X, LABELS)  # the generator was drawn from
    assert abs(models[0].coefs_[0] - before).max() > 0.01


ENDED_BY_MAX_ITER = pytest.mark.filterwarnings("ignore:Stochastic Optimizer:UserWarning")


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
    Estimator, given, floor = DATASETS[name]
    X_, y = sparse_problem() if name == "sparse" else loaded(name)
    defaults = {"hidden_layer_sizes": (30,), "learning_rate_init": 0.01}
    scores = np.empty((2, 5))
    for seed in range(5):
        X_train, X_test, y_train, y_test = train_test_split(X_, y, random_state=seed)
        for i, of in enumerate((Estimator, THEIRS[Estimator])):
            model = of(**defaults | given, random_state=seed).fit(X_train, y_train)
            scores[i, seed] = model.score(X_test, y_test)
    noise = scores[1].std(ddof=1) / np.sqrt(5)
    assert noise < 0.05
    assert scores[1].mean() > floor
    assert abs((scores[0] - scores[1]).mean()) <= noise

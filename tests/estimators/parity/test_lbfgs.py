"""The estimators with solver='lbfgs': scikit-learn's minima, its warnings, and better ones."""

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

pytest.importorskip("sklearn", minversion="1.7")

from scipy import sparse
from sklearn import neural_network

import arraymlp
import problems
from arraymlp import Backend, MultilayerPerceptron, resolve
from arraymlp.data.loading import load_data
from arraymlp.estimators.fitting.lbfgs import Objective
from arraymlp.training.settings import Settings
from conftest import assert_same, on_host

HostArray = np.ndarray[Any, Any]
Given = dict[str, Any]
N = problems.N
WEIGHT = np.random.default_rng(50).uniform(0.1, 2, N)
WEIGHT[2] = 0
WEIGHTED = pytest.mark.parametrize("weight", [None, WEIGHT], ids=["plain", "weighted"])


def packed(network: MultilayerPerceptron) -> HostArray:
    arrays = [a for layer in network.layers for a in (layer.weights, layer.bias)]
    return np.concatenate([np.ravel(on_host(a)) for a in arrays])


def both(name: str, **given: Any) -> tuple[Any, Any]:
    """Our estimator and scikit-learn's."""
    defaults: Given = {
        "solver": "lbfgs",
        "hidden_layer_sizes": (5,),
        "activation": "tanh",
        "alpha": 0.5,
        "random_state": 3,
    }
    return tuple(getattr(of, name)(**defaults | given) for of in (arraymlp, neural_network))


def warned(call: Callable[..., Any], *arguments: Any) -> list[tuple[type, str]]:
    """Every warning of a call, but SciPy's of what scikit-learn 1.7 passes to it."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        warnings.filterwarnings("ignore", ".*options of the L-BFGS-B solver are deprecated")
        call(*arguments)
    return [(warning.category, str(warning.message)) for warning in caught]


X, LABELS = problems.labels()
NUMBERS, COLUMNS, COUNTS = problems.numbers()[1], problems.columns()[1], problems.counts()[1]
PARITY: dict[str, tuple[str, Any, Given]] = {
    "three classes": ("MLPClassifier", LABELS, {}),
    "two classes": ("MLPClassifier", LABELS > 0, {}),
    "strings": ("MLPClassifier", np.array(["c", "a", "b"])[LABELS], {}),
    "several labels": ("MLPClassifier", COLUMNS, {}),
    "numbers": ("MLPRegressor", NUMBERS[:, 0], {}),
    "counts": ("MLPRegressor", COUNTS[:, 0], {"loss": "poisson"}),
    "columns of counts": ("MLPRegressor", COUNTS, {"loss": "poisson"}),
    "relu": ("MLPRegressor", NUMBERS[:, 1], {"activation": "relu"}),
    "logistic": ("MLPClassifier", LABELS, {"activation": "logistic"}),
    "two hidden layers": ("MLPClassifier", LABELS, {"hidden_layer_sizes": (5, 4)}),
    "no hidden layer": ("MLPClassifier", LABELS, {"hidden_layer_sizes": ()}),
    "no penalty": ("MLPRegressor", NUMBERS[:, 0], {"alpha": 0.0, "hidden_layer_sizes": ()}),
    "early stopping, which it ignores": ("MLPClassifier", LABELS, {"early_stopping": True}),
}


@WEIGHTED
@pytest.mark.parametrize(("name", "y", "given"), PARITY.values(), ids=PARITY)
def test_estimators_reach_the_loss_of_scikit_learn(
    name: str, y: Any, given: Given, weight: Any
) -> None:
    ours, theirs = both(name, **given, max_iter=500)
    messages_of = [warned(model.fit, X, y, weight) for model in (ours, theirs)]
    assert messages_of == [[], []]
    assert ours.loss_ == pytest.approx(theirs.loss_, rel=1e-6)
    for attribute in ("t_", "n_layers_", "n_outputs_", "out_activation_", "n_features_in_"):
        assert getattr(ours, attribute) == getattr(theirs, attribute)
    for attribute in ("loss_curve_", "best_loss_", "validation_scores_", "best_validation_score_"):
        assert not hasattr(ours, attribute)
        assert not hasattr(theirs, attribute)
    if name == "MLPRegressor":
        np.testing.assert_allclose(ours.predict(X), theirs.predict(X), atol=1e-2)
    else:
        np.testing.assert_allclose(ours.predict_proba(X), theirs.predict_proba(X), atol=1e-2)
        np.testing.assert_array_equal(ours.classes_, theirs.classes_)


@pytest.mark.parametrize("form", [sparse.csr_matrix, sparse.csc_array], ids=["csr", "csc"])
def test_estimators_take_sparse_data(form: Any) -> None:
    ours, theirs = both("MLPClassifier")
    rows = form(X * (X > 0))
    for model in (ours, theirs):
        assert warned(model.fit, rows, LABELS) == []
    assert ours.loss_ == pytest.approx(theirs.loss_, rel=1e-6)
    np.testing.assert_allclose(ours.predict_proba(rows), theirs.predict_proba(rows), atol=1e-2)


LIMITS: dict[str, Given] = {
    "iterations": {"max_iter": 3},
    "one iteration": {"max_iter": 1},
    "passes over the data": {"max_fun": 4},
}


@pytest.mark.parametrize("name", ["MLPClassifier", "MLPRegressor"])
@pytest.mark.parametrize("given", LIMITS.values(), ids=LIMITS)
def test_warns_as_scikit_learn_does(name: str, given: Given) -> None:
    y = LABELS if name == "MLPClassifier" else NUMBERS[:, 0]
    ours, theirs = both(name, **given, tol=1e-10)
    messages_of = [warned(model.fit, X, y) for model in (ours, theirs)]
    assert messages_of[0] == messages_of[1]
    assert len(messages_of[0]) == 1
    assert ("Increase the number of iterations" in messages_of[0][0][1]) == ("max_iter" in given)
    assert ours.n_iter_ == theirs.n_iter_
    for a, b in zip(ours.coefs_, theirs.coefs_, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-8)
    assert ours.loss_ == pytest.approx(theirs.loss_, rel=1e-9)


@WEIGHTED
@pytest.mark.parametrize("columns", [2, 3])
def test_of_several_numbers_it_finds_the_better_minimum(columns: int, weight: Any) -> None:
    """scikit-learn averages the value over columns, but sums the gradient."""
    y = NUMBERS[:, :columns]
    ours, theirs = both("MLPRegressor", hidden_layer_sizes=(), max_iter=500, tol=1e-7)
    assert warned(ours.fit, X, y, weight) == []
    warned(theirs.fit, X, y, weight)
    w = np.ones(N) if weight is None else weight

    def objective(coefs: list[HostArray], intercepts: list[HostArray]) -> tuple[float, HostArray]:
        e = X @ coefs[0] + intercepts[0] - y
        value = (w * (e**2).sum(axis=1)).sum() / 2 + 0.5 / 2 * (coefs[0] ** 2).sum()
        slopes = [X.T @ (w[:, None] * e) + 0.5 * coefs[0], w @ e]
        return value / w.sum(), np.concatenate([np.ravel(s) for s in slopes]) / w.sum()

    value, slopes = objective(ours.coefs_, ours.intercepts_)
    assert abs(slopes).max() < 1e-4
    assert value <= objective(theirs.coefs_, theirs.intercepts_)[0] * (1 + 1e-9)
    # What is reported is the mean over columns, as scikit-learn reports it.
    penalty = 0.5 / 2 * (ours.coefs_[0] ** 2).sum() / w.sum()
    assert ours.loss_ == pytest.approx((value - penalty) / columns + penalty, rel=1e-12)


def test_of_several_numbers_it_ends_in_a_minimum_of_a_hidden_layer() -> None:
    ours, theirs = both("MLPRegressor", max_iter=1000, tol=1e-7)
    assert warned(ours.fit, X, NUMBERS) == []
    warned(theirs.fit, X, NUMBERS)

    def objective(coefs: list[HostArray], intercepts: list[HostArray]) -> float:
        e = np.tanh(X @ coefs[0] + intercepts[0]) @ coefs[1] + intercepts[1] - NUMBERS
        return float(((e**2).sum() + 0.5 * sum((w**2).sum() for w in coefs)) / 2 / N)

    value = objective(ours.coefs_, ours.intercepts_)
    assert value <= objective(theirs.coefs_, theirs.intercepts_) * (1 + 1e-9)
    network = ours.network_.copy()
    settings = Settings(dtype="float64")
    data = load_data(X, NUMBERS, None, settings, network, resolve("numpy"))
    expected, slopes = Objective(network, data, 0.5)(packed(network))
    assert expected == pytest.approx(value, rel=1e-12)
    assert abs(slopes).max() < 1e-4


def test_x_in_single_precision_is_learned_in_double() -> None:
    ours, theirs = both("MLPClassifier", max_iter=500)
    single = X.astype(np.float32)
    for model in (ours, theirs):
        assert warned(model.fit, single, LABELS) == []
    assert ours.coefs_[0].dtype == theirs.coefs_[0].dtype == np.float64
    assert ours.loss_ == pytest.approx(theirs.loss_, rel=1e-5)
    for method in ("predict_proba", "predict"):
        a, b = getattr(ours, method)(single), getattr(theirs, method)(single)
        assert a.dtype == b.dtype
        np.testing.assert_allclose(a, b, atol=1e-2)


def test_in_single_precision_if_asked_for() -> None:
    ours, theirs = both("MLPClassifier", max_iter=500)
    warned(ours.set_params(dtype="float32").fit, X, LABELS)
    warned(theirs.fit, X, LABELS)
    assert ours.coefs_[0].dtype == ours.predict_proba(X).dtype == np.float32
    assert ours.loss_ == pytest.approx(theirs.loss_, rel=1e-3)


def test_results_follow_x(quick_backend: Backend) -> None:
    ours, _ = both("MLPClassifier", max_iter=10)
    host, _ = both("MLPClassifier", max_iter=10)
    there = quick_backend.asarray(X)
    warned(ours.fit, there, quick_backend.asarray(LABELS))
    warned(host.fit, X, LABELS)
    expected = quick_backend.asarray(host.predict_proba(X))
    assert_same(ours.predict_proba(there), expected, 1e-6, 1e-8)
    for a, b in zip(ours.coefs_, host.coefs_, strict=True):
        assert_same(a, quick_backend.asarray(b), 1e-5, 1e-7)


def test_class_weights_are_sample_weights() -> None:
    ours, theirs = both("MLPClassifier", max_iter=500)
    ours.set_params(class_weight={1: 5.0})
    warned(ours.fit, X, LABELS, WEIGHT)
    warned(theirs.fit, X, LABELS, np.where(LABELS == 1, 5.0, 1.0) * WEIGHT)
    assert ours.loss_ == pytest.approx(theirs.loss_, rel=1e-6)


def test_a_warm_start_goes_on() -> None:
    ours, theirs = both("MLPClassifier", max_iter=5, warm_start=True, tol=1e-10)
    for _ in range(3):
        messages_of = [warned(model.fit, X, LABELS) for model in (ours, theirs)]
        assert messages_of[0] == messages_of[1]
        assert ours.loss_ == pytest.approx(theirs.loss_, rel=1e-6)
    cold, _ = both("MLPClassifier", max_iter=5)
    warned(cold.fit, X, LABELS)
    assert ours.loss_ < cold.loss_


def test_the_network_that_was_is_not_changed() -> None:
    ours, _ = both("MLPClassifier", max_iter=5, warm_start=True)
    warned(ours.fit, X, LABELS)
    network, before = ours.network_, packed(ours.network_)
    warned(ours.fit, X, LABELS)
    np.testing.assert_array_equal(packed(network), before)


def test_verbose_prints_a_line_an_iteration(capsys: pytest.CaptureFixture[str]) -> None:
    ours, _ = both("MLPClassifier", max_iter=4, verbose=True)
    warned(ours.fit, X, LABELS)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(",")[0] for line in lines] == [f"Iteration {i}" for i in range(1, 5)]
    assert lines[-1] == f"Iteration 4, loss = {ours.loss_:.8f}"


def test_verbose_prints_the_loss_that_is_reported(capsys: pytest.CaptureFixture[str]) -> None:
    ours, _ = both("MLPRegressor", max_iter=4, verbose=True)
    warned(ours.fit, X, NUMBERS)
    assert capsys.readouterr().out.splitlines()[-1] == f"Iteration 4, loss = {ours.loss_:.8f}"


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_warns_where_no_step_is_possible() -> None:
    """The loss overflows at once."""
    ours, theirs = both("MLPRegressor")
    messages_of = [warned(model.fit, 1e200 * X, 1e200 * NUMBERS[:, 0]) for model in (ours, theirs)]
    ours_kept, theirs_kept = (
        [(category, text) for category, text in messages if category is not RuntimeWarning]
        for messages in messages_of
    )
    assert ours_kept == theirs_kept
    assert "status=2" in ours_kept[0][1]

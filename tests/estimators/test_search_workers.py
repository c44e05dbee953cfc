"""MLPSearchCV(executor=) and ensembles: scikit-learn's numbers by workers, to the bit."""

import pickle
import signal
import sys
from collections.abc import Iterator
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("sklearn")
from sklearn.base import clone
from sklearn.datasets import make_classification
from sklearn.exceptions import ConvergenceWarning
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from arraymlp import (
    ExecutorError,
    MLPClassifier,
    MLPEnsembleClassifier,
    MLPEnsembleRegressor,
    MLPRegressor,
    MLPSearchCV,
)
from arraymlp.sweeps.workers import conduct
from engines import one_epoch_slices as one_epoch_slices

pytestmark = [
    pytest.mark.xdist_group("workers"),
    pytest.mark.filterwarnings("ignore:os.fork"),  # of a process that tests JAX, too
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.skipif(sys.platform == "win32", reason="there is no fork on Windows"),
]
X, Y = make_classification(n_samples=120, random_state=1)
MODEL = MLPClassifier((8,), learning_rate_init=0.02, max_iter=12, random_state=1)
GRIDS: dict[str, dict[str, list[Any]]] = {
    "alpha": {"alpha": [0.0001, 100.0]},
    "early stopping": {"early_stopping": [True, "loss"], "n_iter_no_change": [2]},
    "sgd": {"solver": ["sgd"], "learning_rate": ["adaptive", "invscaling"], "tol": [0.1]},
    "lbfgs beside adam": {"solver": ["lbfgs", "adam"]},
}
CURVES = ("loss_curve_", "best_loss_", "validation_scores_", "n_iter_", "t_")


@pytest.fixture(scope="module")
def forked() -> Iterator[Executor]:
    with ProcessPoolExecutor(2, get_context("fork")) as executor:
        yield executor


def assert_same_network(a: Any, b: Any) -> None:
    for ours, theirs in zip(a.coefs_ + a.intercepts_, b.coefs_ + b.intercepts_, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    for name in CURVES:
        assert repr(getattr(a, name, None)) == repr(getattr(b, name, None)), name


def assert_same_search(a: MLPSearchCV, b: MLPSearchCV) -> None:
    for name, column in a.cv_results_.items():
        if "time" not in name:
            np.testing.assert_array_equal(column, b.cv_results_[name], err_msg=name)
    assert_same_network(a.best_estimator_, b.best_estimator_)


@pytest.mark.parametrize("grid", GRIDS)
def test_a_search_has_the_bits_of_the_search_here(
    grid: str, forked: Executor, one_epoch_slices: None
) -> None:
    here = MLPSearchCV(MODEL, GRIDS[grid], cv=3).fit(X, Y)
    there = MLPSearchCV(MODEL, GRIDS[grid], cv=3, executor=forked).fit(X, Y)
    assert_same_search(there, here)


def test_so_does_one_of_pipelines_with_weights(forked: Executor, one_epoch_slices: None) -> None:
    grid = {"mlpclassifier__alpha": [0.0001, 1.0], "standardscaler__with_mean": [True, False]}
    pipeline = make_pipeline(StandardScaler(), MODEL)
    here = MLPSearchCV(pipeline, grid, cv=2).fit(X, Y)
    there = MLPSearchCV(pipeline, grid, cv=2, executor=forked).fit(X, Y)
    np.testing.assert_array_equal(
        here.cv_results_["mean_test_score"], there.cv_results_["mean_test_score"]
    )
    weight = np.linspace(0.5, 2, len(Y))
    fits = [
        MLPSearchCV(MODEL, GRIDS["alpha"], cv=2, executor=executor).fit(X, Y, sample_weight=weight)
        for executor in (None, forked)
    ]
    assert_same_search(*fits)


@pytest.mark.parametrize("kind", [MLPEnsembleClassifier, MLPEnsembleRegressor])
def test_an_ensemble_has_the_bits_of_the_ensemble_here(
    kind: Any, forked: Executor, one_epoch_slices: None
) -> None:
    member = (
        MODEL
        if kind is MLPEnsembleClassifier
        else MLPRegressor(hidden_layer_sizes=(8,), max_iter=5)
    )
    here, there = (
        kind(member, n_estimators=3, random_state=1, executor=executor).fit(X, Y)
        for executor in (None, forked)
    )
    for a, b in zip(there.estimators_, here.estimators_, strict=True):
        assert_same_network(a, b)
    np.testing.assert_array_equal(there.predict(X), here.predict(X))


def test_it_says_as_much_of_convergence(forked: Executor) -> None:
    with pytest.warns(ConvergenceWarning, match=r"Maximum iterations \(12\) reached"):
        MLPEnsembleClassifier(MODEL, n_estimators=2, random_state=1, executor=forked).fit(X, Y)


def test_clones_keep_the_executor_and_pickles_do_not() -> None:
    with ThreadPoolExecutor(1) as executor:
        for estimator in (
            MLPSearchCV(MODEL, GRIDS["alpha"], cv=2, executor=executor),
            MLPEnsembleClassifier(MODEL, n_estimators=2, random_state=0, executor=executor),
        ):
            copied = clone(estimator)
            assert copied.executor is executor
            assert copied.get_params(deep=False)["executor"] is executor
            assert copied.estimator is not estimator.estimator
            assert "executor=<concurrent" in repr(copied)
            copied.fit(X, Y)
            again = pickle.loads(pickle.dumps(copied))
            assert again.executor is None
            assert copied.executor is executor
            np.testing.assert_array_equal(again.predict(X), copied.predict(X))


def test_a_checkpoint_goes_on_there(
    forked: Executor, tmp_path: Path, one_epoch_slices: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = MLPSearchCV(MODEL, GRIDS["early stopping"], cv=3).fit(X, Y)
    follow, left = conduct.Conductor._follow, 8

    def interrupting(self: Any, part: Any) -> None:
        nonlocal left
        follow(self, part)
        left -= 1
        if left == 0:
            signal.raise_signal(signal.SIGINT)

    given = {"cv": 3, "executor": forked, "checkpoint": tmp_path}
    with monkeypatch.context() as patch:
        patch.setattr(conduct.Conductor, "_follow", interrupting)
        with (
            pytest.warns(UserWarning, match="interrupted"),
            pytest.raises(KeyboardInterrupt),
        ):
            MLPSearchCV(MODEL, GRIDS["early stopping"], **given).fit(X, Y)
    assert list(tmp_path.rglob("stack-*"))
    assert_same_search(MLPSearchCV(MODEL, GRIDS["early stopping"], **given).fit(X, Y), expected)


def test_errors_are_the_executors() -> None:
    executor = ThreadPoolExecutor(1)
    executor.shutdown()
    with pytest.raises(ExecutorError, match="has been shut down"):
        MLPSearchCV(MODEL, GRIDS["alpha"], executor=executor).fit(X, Y)
    with pytest.raises(ValueError, match="'executor' parameter"):
        MLPSearchCV(MODEL, GRIDS["alpha"], executor=3).fit(X, Y)

"""Fits, scores and settings that fail in a search, and what is said of them."""

import re
from typing import Any

import numpy as np
import pytest

pytest.importorskip("sklearn", minversion="1.7")

from sklearn.base import clone
from sklearn.decomposition import PCA
from sklearn.exceptions import FitFailedWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from arraymlp import MLPClassifier, MLPSearchCV
from conftest import named
from runs import interrupt_after
from sklearn_problem import (
    CLASSIFY,
    IN_PIPELINE,
    RATES,
    X,
    Y,
    assert_same_search,
    two_scores,
)

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def fail_on_strong_penalty(estimator: Any, x: Any, y: Any) -> float:
    if estimator.alpha == 1.0:
        raise ValueError("that strong?")
    return float(estimator.score(x, y))


STOPPING = clone(CLASSIFY).set_params(early_stopping=True)
FAILING = {"validation_fraction": [0.3, 0.01]}  # one row is no validation
TOO_FEW = "The validation set is too small"


@pytest.mark.parametrize(
    "scoring", [None, "accuracy", ["accuracy", "f1_macro"], two_scores], ids=named
)
def test_a_fit_that_fails_gets_the_error_score(scoring: Any) -> None:
    multimetric = isinstance(scoring, list) or scoring is two_scores
    refit = {True: "right" if scoring is two_scores else "accuracy", False: True}[multimetric]
    given = {"scoring": scoring, "refit": refit, "error_score": -1.0, "return_train_score": True}
    searches = []
    for Search in (MLPSearchCV, GridSearchCV):
        with pytest.warns(FitFailedWarning, match="5 fits failed out of a total of 10") as seen:
            searches.append(Search(STOPPING, FAILING, **given).fit(X, Y))
        [message] = [str(w.message) for w in seen if w.category is FitFailedWarning]
        assert "5 fits failed with the following error" in message
        assert re.search(f"ValueError: {TOO_FEW}", message)
    assert_same_search(*searches)
    assert searches[0].best_index_ == 0


def test_the_error_score_is_nan_unless_told() -> None:
    with (
        pytest.warns(UserWarning, match="One or more of the test scores are non-finite"),
        pytest.warns(FitFailedWarning),
    ):
        search = MLPSearchCV(STOPPING, FAILING, cv=2).fit(X, Y)
    assert np.isnan(search.cv_results_["mean_test_score"]).tolist() == [False, True]
    assert search.cv_results_["rank_test_score"].tolist() == [1, 2]


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.FitFailedWarning")
def test_a_failure_is_raised_where_asked_or_where_all_fail() -> None:
    with pytest.raises(ValueError, match=f"^{TOO_FEW}"):
        MLPSearchCV(STOPPING, FAILING, error_score="raise").fit(X, Y)
    with pytest.raises(ValueError, match="All the 2 fits failed"):
        MLPSearchCV(STOPPING, {"validation_fraction": [0.01]}, cv=2).fit(X, Y)
    steps = {"pca__n_components": [2, 50], "mlpclassifier__alpha": [1e-4, 1.0]}
    estimator = make_pipeline(PCA(), CLASSIFY)
    with pytest.raises(ValueError, match="n_components=50 must be between"):
        MLPSearchCV(estimator, steps, cv=2, error_score="raise").fit(X, Y)
    search = MLPSearchCV(estimator, steps, cv=2, error_score=0.0).fit(X, Y)
    assert (search.cv_results_["mean_test_score"] > 0).tolist() == [True, False] * 2


def test_scoring_that_fails_is_told_of() -> None:
    with pytest.warns(UserWarning, match=r"Scoring failed.*(?s:.*)that strong\?"):
        search = MLPSearchCV(
            CLASSIFY, RATES, cv=2, scoring=fail_on_strong_penalty, error_score=0.0
        ).fit(X, Y)
    assert (search.cv_results_["mean_test_score"] > 0).tolist() == [True, True, False, False]


WRONG: dict[str, tuple[Any, dict[str, Any], type[Exception], str]] = {
    "no candidates": (CLASSIFY, {}, ValueError, "give param_grid or param_distributions"),
    "two kinds": (
        CLASSIFY,
        {"param_grid": RATES, "param_distributions": RATES},
        ValueError,
        "and not both",
    ),
    "no network": (
        LogisticRegression(),
        {"param_grid": {"C": [1.0]}},
        TypeError,
        r"MLPSearchCV is for MLPClassifier, .*not for LogisticRegression",
    ),
    "no network at the end": (
        make_pipeline(StandardScaler(), LogisticRegression()),
        {"param_grid": {"logisticregression__C": [1.0]}},
        TypeError,
        "pipelines that end in one",
    ),
    "unknown parameter": (
        CLASSIFY,
        {"param_grid": {"alpah": [1.0]}},
        ValueError,
        "Invalid parameter 'alpah' for estimator MLP",
    ),
    "empty list": (CLASSIFY, {"param_grid": {"alpha": []}}, ValueError, "non-empty sequence"),
    "no splits": (CLASSIFY, {"param_grid": RATES, "cv": []}, ValueError, "No fits were performed"),
    "cv": (CLASSIFY, {"param_grid": RATES, "cv": 1}, ValueError, "must be an int in the range"),
    "n_iter": (CLASSIFY, {"param_distributions": RATES, "n_iter": 0}, ValueError, "n_iter"),
    "metrics without a refit": (
        CLASSIFY,
        {"param_grid": RATES, "scoring": ["accuracy", "f1_macro"]},
        ValueError,
        "multi-metric scoring",
    ),
    "error score": (CLASSIFY, {"param_grid": RATES, "error_score": "rise"}, ValueError, "rise"),
}


@pytest.mark.parametrize("what", WRONG)
def test_what_is_wrong_is_said(what: str) -> None:
    estimator, given, error, message = WRONG[what]
    with pytest.raises(error, match=message):
        MLPSearchCV(estimator, **given).fit(X, Y)


def test_y_is_needed() -> None:
    with pytest.raises(ValueError, match="MLPSearchCV requires y to be passed"):
        MLPSearchCV(CLASSIFY, RATES).fit(X)


INTERRUPTED: dict[str, Any] = {
    "networks": (CLASSIFY, RATES, {}),
    "pipelines": (make_pipeline(StandardScaler(), CLASSIFY), IN_PIPELINE, {}),
    "two populations": (CLASSIFY, {"hidden_layer_sizes": [(4,), (5, 4)]}, {}),
    "fitted one by one": (clone(CLASSIFY).set_params(warm_start=True), RATES, {}),
    "with metadata": (CLASSIFY, RATES, {"sample_weight": 1.0}),
}


@pytest.mark.xdist_group("signals")
@pytest.mark.parametrize("case", INTERRUPTED)
@pytest.mark.filterwarnings("ignore:Training interrupted by user")
@pytest.mark.filterwarnings("ignore:The scoring .* does not support sample_weight")
def test_ctrl_c_ends_the_search(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """At once: no score of what is half trained, no refit, no other network."""
    estimator, grid, params = INTERRUPTED[case]
    fitted: list[Any] = []
    scored = []
    conclude = MLPClassifier._conclude

    def concluded(self: Any, *arguments: Any, **more: Any) -> None:
        fitted.append(self)
        conclude(self, *arguments, **more)

    def scoring(estimator: Any, x: Any, y: Any) -> float:
        scored.append(estimator)
        return 1.0

    monkeypatch.setattr(MLPClassifier, "_conclude", concluded)
    search = MLPSearchCV(estimator, grid, cv=2, scoring=scoring)
    interrupt_after(monkeypatch, n_steps=3)
    with pytest.raises(KeyboardInterrupt):
        search.fit(X, Y, **params)
    assert scored == []
    assert not hasattr(search, "best_estimator_")
    assert not hasattr(search, "cv_results_")
    # of the population that was training, or the one network
    together = {"networks": 8, "pipelines": 4, "two populations": 2}
    assert len(fitted) <= together.get(case, 1)

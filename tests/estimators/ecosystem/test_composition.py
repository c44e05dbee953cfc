"""What scikit-learn builds around estimators comes to the same around ours as around its own."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import numpy as np
import pytest

pytest.importorskip("sklearn", minversion="1.7")

import joblib
from sklearn import neural_network
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import TransformedTargetRegressor
from sklearn.ensemble import (
    AdaBoostClassifier,
    AdaBoostRegressor,
    BaggingClassifier,
    BaggingRegressor,
    StackingClassifier,
    StackingRegressor,
    VotingClassifier,
    VotingRegressor,
)
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.feature_selection import SequentialFeatureSelector
from sklearn.inspection import partial_dependence, permutation_importance
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import get_scorer
from sklearn.model_selection import (
    GridSearchCV,
    HalvingGridSearchCV,
    RandomizedSearchCV,
    cross_val_predict,
    cross_val_score,
    learning_curve,
    validation_curve,
)
from sklearn.multiclass import OneVsOneClassifier, OneVsRestClassifier
from sklearn.multioutput import ClassifierChain, MultiOutputClassifier, MultiOutputRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import arraymlp
from sklearn_problem import (
    COLUMNS,
    GRID,
    NAMES,
    WEIGHT,
    X,
    Y,
    Z,
    assert_close,
    assert_same_network,
    classify,
    fitted,
    regress,
)

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    # From scikit-learn's own L-BFGS, up to 1.7
    pytest.mark.filterwarnings("ignore:.*`disp` and `iprint` options:DeprecationWarning"),
]
CLASSIFIERS: dict[str, Callable[[Any], Any]] = {
    "pipeline": lambda of: make_pipeline(StandardScaler(), classify(of)),
    "grid search": lambda of: GridSearchCV(classify(of), GRID, cv=3),
    "random search": lambda of: RandomizedSearchCV(
        classify(of), {"alpha": [1e-4, 0.1, 10.0]}, n_iter=2, random_state=0, cv=3
    ),
    "halving search": lambda of: HalvingGridSearchCV(
        classify(of),
        {"alpha": [1e-4, 1.0, 100.0]},
        resource="max_iter",
        min_resources=4,
        max_resources=36,
        random_state=0,
        cv=3,
    ),
    "calibration": lambda of: CalibratedClassifierCV(classify(of), cv=3),
    "voting": lambda of: VotingClassifier(
        [("a", classify(of)), ("b", LogisticRegression())], voting="soft"
    ),
    "stacking": lambda of: StackingClassifier([("a", classify(of)), ("b", classify(of))], cv=3),
    "bagging": lambda of: BaggingClassifier(classify(of), n_estimators=3, random_state=0),
    "boosting": lambda of: AdaBoostClassifier(classify(of), n_estimators=3, random_state=0),
    "one against the rest": lambda of: OneVsRestClassifier(classify(of)),
    "one against one": lambda of: OneVsOneClassifier(classify(of, activation="tanh")),
    "features one by one": lambda of: make_pipeline(
        SequentialFeatureSelector(classify(of), n_features_to_select=2, cv=2), classify(of)
    ),
}


@pytest.mark.parametrize("build", CLASSIFIERS.values(), ids=CLASSIFIERS)
def test_around_a_classifier(build: Callable[[Any], Any]) -> None:
    ours = build(arraymlp).fit(X, NAMES)
    theirs = build(neural_network).fit(X, NAMES)
    assert_close(ours.predict(X), theirs.predict(X))
    assert hasattr(ours, "predict_proba") == hasattr(theirs, "predict_proba")
    if hasattr(ours, "predict_proba"):
        assert_close(ours.predict_proba(X), theirs.predict_proba(X))
    assert ours.score(X, NAMES) == theirs.score(X, NAMES) > 0.45
    if hasattr(ours, "cv_results_"):
        assert ours.best_params_ == theirs.best_params_
        assert_close(ours.cv_results_["mean_test_score"], theirs.cv_results_["mean_test_score"])
        assert len(set(ours.cv_results_["mean_test_score"])) > 1


SEVERAL: dict[str, Callable[[Any], Any]] = {
    "one each": lambda of: MultiOutputClassifier(classify(of)),
    "chain": lambda of: ClassifierChain(classify(of), random_state=0),
    "alone": classify,
}


@pytest.mark.parametrize("build", SEVERAL.values(), ids=SEVERAL)
def test_around_a_classifier_of_several_labels(build: Callable[[Any], Any]) -> None:
    ours = build(arraymlp).fit(X, COLUMNS)
    theirs = build(neural_network).fit(X, COLUMNS)
    assert_close(ours.predict(X), theirs.predict(X))
    assert_close(ours.predict_proba(X), theirs.predict_proba(X))


REGRESSORS: dict[str, Callable[[Any], Any]] = {
    "pipeline": lambda of: make_pipeline(StandardScaler(), regress(of)),
    "grid search": lambda of: GridSearchCV(regress(of), GRID, cv=3),
    "voting": lambda of: VotingRegressor([("a", regress(of)), ("b", Ridge())]),
    "stacking": lambda of: StackingRegressor([("a", regress(of)), ("b", Ridge())], cv=3),
    "bagging": lambda of: BaggingRegressor(regress(of), n_estimators=3, random_state=0),
    "boosting": lambda of: AdaBoostRegressor(regress(of), n_estimators=3, random_state=0),
    "of a function of y": lambda of: TransformedTargetRegressor(
        regress(of), func=np.sinh, inverse_func=np.arcsinh
    ),
}


@pytest.mark.parametrize("build", REGRESSORS.values(), ids=REGRESSORS)
def test_around_a_regressor(build: Callable[[Any], Any]) -> None:
    ours = build(arraymlp).fit(X, Z[:, 0]).predict(X)
    theirs = build(neural_network).fit(X, Z[:, 0]).predict(X)
    assert_close(ours, theirs)
    assert ours.std() > 0.01


def test_around_a_regressor_of_several_numbers() -> None:
    ours = MultiOutputRegressor(regress()).fit(X, Z)
    theirs = MultiOutputRegressor(regress(neural_network)).fit(X, Z)
    assert_close(ours.predict(X), theirs.predict(X))


FUNCTIONS: dict[str, Callable[[Any], Any]] = {
    "cross_val_score": lambda of: cross_val_score(classify(of), X, NAMES, cv=3),
    "cross_val_predict": lambda of: cross_val_predict(classify(of), X, NAMES, cv=3),
    "cross_val_predict of probabilities": lambda of: cross_val_predict(
        classify(of), X, NAMES, cv=3, method="predict_proba"
    ),
    "cross_val_predict of logarithms": lambda of: cross_val_predict(
        classify(of), X, NAMES, cv=3, method="predict_log_proba"
    ),
    "cross_val_score of numbers": lambda of: cross_val_score(regress(of), X, Z, cv=3),
    "permutation_importance": lambda of: (
        permutation_importance(
            classify(of).fit(X, NAMES), X, NAMES, n_repeats=3, random_state=0
        ).importances
    ),
    "partial_dependence": lambda of: (
        partial_dependence(classify(of).fit(X, NAMES), X, [0], grid_resolution=5).average
    ),
    "partial_dependence of numbers": lambda of: (
        partial_dependence(
            regress(of).fit(X, Z[:, 0]), X, [(0, 1)], grid_resolution=4, kind="average"
        ).average
    ),
    "learning_curve": lambda of: np.concatenate(
        learning_curve(classify(of), X, NAMES, train_sizes=[0.5, 1.0], cv=2)[1:]
    ),
    "learning_curve by partial_fit": lambda of: np.concatenate(
        learning_curve(
            classify(of),
            X,
            NAMES,
            train_sizes=[0.5, 1.0],
            cv=2,
            exploit_incremental_learning=True,
        )[1:]
    ),
    "validation_curve": lambda of: np.concatenate(
        validation_curve(classify(of), X, NAMES, param_name="max_iter", param_range=[2, 20], cv=2)
    ),
}


@pytest.mark.parametrize("function", FUNCTIONS.values(), ids=FUNCTIONS)
def test_functions_of_a_model(function: Callable[[Any], Any]) -> None:
    ours = np.asarray(function(arraymlp))
    assert_close(ours, function(neural_network))
    assert len(np.unique(ours)) > 1


@pytest.mark.parametrize(
    "scoring",
    ["roc_auc_ovr", "roc_auc_ovo_weighted", "neg_log_loss", "balanced_accuracy", "f1_macro"],
)
def test_scorers_of_classes(scoring: str) -> None:
    scorer = get_scorer(scoring)
    ours = scorer(fitted(), X, NAMES)
    assert_close(ours, scorer(classify(neural_network).fit(X, NAMES), X, NAMES))


@pytest.mark.parametrize("scoring", ["roc_auc", "average_precision", "neg_brier_score", "recall"])
def test_scorers_of_two_classes(scoring: str) -> None:
    scorer, y = get_scorer(scoring), Y > 0
    ours = scorer(classify().fit(X, y), X, y)
    assert_close(ours, scorer(classify(neural_network).fit(X, y), X, y))


@pytest.mark.parametrize(
    "scoring", ["r2", "neg_root_mean_squared_error", "d2_absolute_error_score"]
)
def test_scorers_of_numbers(scoring: str) -> None:
    scorer = get_scorer(scoring)
    ours = scorer(regress().fit(X, Z), X, Z)
    assert_close(ours, scorer(regress(neural_network).fit(X, Z), X, Z))


def test_weights_reach_the_fit_through_a_search() -> None:
    ours, theirs = (
        GridSearchCV(classify(of), GRID, cv=3).fit(X, NAMES, sample_weight=WEIGHT)
        for of in (arraymlp, neural_network)
    )
    assert_close(ours.predict_proba(X), theirs.predict_proba(X))
    without = GridSearchCV(classify(), GRID, cv=3).fit(X, NAMES)
    assert (ours.predict_proba(X) != without.predict_proba(X)).any()


SIGNALS = pytest.mark.xdist_group("signals")  # and whatever wants both cores


@SIGNALS
def test_two_processes_find_what_one_finds() -> None:
    model = make_pipeline(StandardScaler(), classify(dropout=0.1))
    grid = {f"mlpclassifier__{name}": values for name, values in GRID.items()}
    in_one, in_two = (GridSearchCV(model, grid, cv=2, n_jobs=n).fit(X, NAMES) for n in (1, 2))
    assert in_one.best_params_ == in_two.best_params_
    for name in ("split0_test_score", "split1_test_score", "mean_test_score"):
        assert in_one.cv_results_[name].tolist() == in_two.cv_results_[name].tolist()
    assert in_one.predict_proba(X).tolist() == in_two.predict_proba(X).tolist()
    in_one, in_two = (
        BaggingClassifier(classify(), n_estimators=4, random_state=0, n_jobs=n).fit(X, NAMES)
        for n in (1, 2)
    )
    for a, b in zip(in_one.estimators_, in_two.estimators_, strict=True):
        assert_same_network(a, b)


@SIGNALS
def test_threads_that_fit_do_not_meet() -> None:
    seeds = range(8)
    alone = [fitted(random_state=seed) for seed in seeds]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda seed: fitted(random_state=seed), seeds))
    for a, b in zip(alone, together, strict=True):
        assert_same_network(a, b)


@SIGNALS
def test_threads_may_ask_one_estimator() -> None:
    model = fitted()
    rows = [X[i : i + 20] for i in range(40)]
    alone = [model.predict_proba(x).tolist() for x in rows]
    with ThreadPoolExecutor(4) as pool:
        together = [p.tolist() for p in pool.map(model.predict_proba, rows)]
    assert together == alone


@SIGNALS
def test_jobs_may_be_threads() -> None:
    score = partial(cross_val_score, classify(), X, NAMES, cv=3, scoring="neg_log_loss")
    with joblib.parallel_config("threading", n_jobs=2):
        assert score().tolist() == score(n_jobs=1).tolist()

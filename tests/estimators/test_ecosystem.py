"""The estimators among scikit-learn's: what is built around its own works around these, too.

Where it can be said in numbers, the same thing is built around scikit-learn's own network, which
trains the same weights from the same ``random_state``, and must come to the same result.
"""

import copy
import inspect
import io
import pickle
import re
import subprocess
import sys
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from math import inf
from typing import Any

import numpy as np
import pytest

pytest.importorskip("sklearn", minversion="1.7")

import joblib
import sklearn
from sklearn import neural_network
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import TransformedTargetRegressor, make_column_transformer
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
from sklearn.exceptions import UnsetMetadataPassedError
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
    cross_validate,
    learning_curve,
    validation_curve,
)
from sklearn.multiclass import OneVsOneClassifier, OneVsRestClassifier
from sklearn.multioutput import ClassifierChain, MultiOutputClassifier, MultiOutputRegressor
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import estimator_html_repr
from sklearn.utils.validation import check_is_fitted

import arraymlp
from arraymlp import Backend, Dropout, MLPClassifier, MLPRegressor
from arraymlp.losses import Huber, Quantile
from conftest import on_host
from processes import OPTIONAL, modules_after

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    # From scikit-learn's own L-BFGS, up to 1.7
    pytest.mark.filterwarnings("ignore:.*`disp` and `iprint` options:DeprecationWarning"),
]

BOTH = pytest.mark.parametrize("name", ["MLPClassifier", "MLPRegressor"])
FEATURES = ["a", "b", "c", "d"]
X = np.random.default_rng(90).normal(2.0, 3.0, size=(60, 4))
SCORES = X @ np.random.default_rng(91).normal(size=(4, 3))
Y = np.argmax(SCORES - SCORES.mean(axis=0), axis=1)
NAMES = np.array(["red", "green", "blue"])[Y]
COLUMNS = (SCORES.mean(axis=0) < SCORES).astype(int)
Z = np.sin(SCORES / 3)
WEIGHT = np.random.default_rng(92).uniform(0.5, 2.0, size=60)
SMALL: dict[str, Any] = {
    "hidden_layer_sizes": (6,),
    "max_iter": 15,
    "random_state": 0,
    "learning_rate_init": 0.02,
}


def mlp(name: str, of: Any = arraymlp, **parameters: Any) -> Any:
    """An estimator of ours, or scikit-learn's."""
    return getattr(of, name)(**{**SMALL, **parameters})


def target(name: str) -> Any:
    return NAMES if name == "MLPClassifier" else Z[:, 0]


def fitted(name: str = "MLPClassifier", **parameters: Any) -> Any:
    return mlp(name, **parameters).fit(X, target(name))


def assert_close(ours: Any, theirs: Any) -> None:
    """The same figures but for rounding, or the same labels."""
    ours, theirs = np.asarray(ours), np.asarray(theirs)
    assert ours.dtype.kind == theirs.dtype.kind
    if ours.dtype.kind in "fc":
        np.testing.assert_allclose(ours, theirs, rtol=1e-7, atol=1e-9)
    else:
        np.testing.assert_array_equal(ours, theirs)


def assert_same_network(a: Any, b: Any) -> None:
    """Equal bit by bit."""
    for x, y in zip(a.coefs_ + a.intercepts_, b.coefs_ + b.intercepts_, strict=True):
        assert on_host(x).tobytes() == on_host(y).tobytes()


# Around the estimators: the result is that of scikit-learn's own network

classify = partial(mlp, "MLPClassifier")
regress = partial(mlp, "MLPRegressor")
GRID = {"alpha": [1e-4, 1.0], "hidden_layer_sizes": [(6,), (4, 3)]}

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


# Several processes and threads


def test_two_processes_find_what_one_finds() -> None:
    model = make_pipeline(StandardScaler(), classify(dropout=0.1))
    grid = {f"mlpclassifier__{name}": values for name, values in GRID.items()}
    one, two = (GridSearchCV(model, grid, cv=2, n_jobs=n).fit(X, NAMES) for n in (1, 2))
    assert one.best_params_ == two.best_params_
    for name in ("split0_test_score", "split1_test_score", "mean_test_score"):
        assert one.cv_results_[name].tolist() == two.cv_results_[name].tolist()
    assert one.predict_proba(X).tolist() == two.predict_proba(X).tolist()
    one, two = (
        BaggingClassifier(classify(), n_estimators=4, random_state=0, n_jobs=n).fit(X, NAMES)
        for n in (1, 2)
    )
    for a, b in zip(one.estimators_, two.estimators_, strict=True):
        assert_same_network(a, b)


def test_threads_that_fit_do_not_meet() -> None:
    seeds = range(8)
    alone = [fitted(random_state=seed) for seed in seeds]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda seed: fitted(random_state=seed), seeds))
    for a, b in zip(alone, together, strict=True):
        assert_same_network(a, b)


def test_threads_may_ask_one_estimator() -> None:
    model = fitted()
    rows = [X[i : i + 20] for i in range(40)]
    alone = [model.predict_proba(x).tolist() for x in rows]
    with ThreadPoolExecutor(4) as pool:
        together = [p.tolist() for p in pool.map(model.predict_proba, rows)]
    assert together == alone


def test_jobs_may_be_threads() -> None:
    score = partial(cross_val_score, classify(), X, NAMES, cv=3, scoring="neg_log_loss")
    with joblib.parallel_config("threading", n_jobs=2):
        assert score().tolist() == score(n_jobs=1).tolist()


# Names of features


def frame(library: str, values: Any = X, names: Any = FEATURES) -> Any:
    module = pytest.importorskip(library)
    return module.DataFrame({name: values[:, i] for i, name in enumerate(names)})


LIBRARIES = pytest.mark.parametrize("library", ["pandas", "polars"])


@LIBRARIES
@BOTH
def test_names_of_a_frame_are_kept(name: str, library: str) -> None:
    data = frame(library)
    model = mlp(name).fit(data, target(name))
    assert model.feature_names_in_.tolist() == FEATURES
    assert model.feature_names_in_.dtype == object
    assert model.n_features_in_ == 4
    assert_same_network(model, fitted(name))
    assert model.predict(data).tolist() == fitted(name).predict(X).tolist()
    assert not hasattr(model.fit(X, target(name)), "feature_names_in_")


@LIBRARIES
def test_other_names_are_refused(library: str) -> None:
    model = classify().fit(frame(library), NAMES)
    for names in (["a", "b", "c", "z"], FEATURES[::-1]):
        for method in (model.predict, model.predict_proba, partial(model.partial_fit, y=NAMES)):
            with pytest.raises(ValueError, match="feature names should match those that were"):
                method(frame(library, names=names))


def test_missing_names_are_warned_of_on_either_side() -> None:
    data = frame("pandas")
    with pytest.warns(UserWarning, match="X does not have valid feature names, but MLPClassifier"):
        classify().fit(data, NAMES).predict(X)
    with pytest.warns(UserWarning, match="X has feature names, but MLPClassifier was fitted with"):
        classify().fit(X, NAMES).predict(data)


@LIBRARIES
def test_in_a_pipeline_names_come_from_the_step_before(library: str) -> None:
    data = frame(library)
    model = make_pipeline(StandardScaler(), classify()).set_output(transform=library)
    plain = make_pipeline(StandardScaler(), classify()).fit(X, NAMES)
    assert model.fit(data, NAMES)[-1].feature_names_in_.tolist() == FEATURES
    assert_close(model.predict_proba(data), plain.predict_proba(X))
    assert model.feature_names_in_.tolist() == FEATURES
    with pytest.warns(UserWarning, match="X does not have valid feature names"):
        model[-1].predict(X)


def test_in_a_pipeline_names_of_columns_are_made() -> None:
    data = frame("pandas")
    columns = make_column_transformer((StandardScaler(), ["a", "c"]), (StandardScaler(), ["d"]))
    model = make_pipeline(columns.set_output(transform="pandas"), classify()).fit(data, NAMES)
    expected = ["standardscaler-1__a", "standardscaler-1__c", "standardscaler-2__d"]
    assert model[-1].feature_names_in_.tolist() == expected
    assert model.score(data, NAMES) > 0.5


def test_a_validation_frame_has_the_same_names() -> None:
    data = frame("pandas")
    model = classify(early_stopping=True).fit(data, NAMES, X_val=data, y_val=NAMES)
    assert len(model.validation_scores_) == model.n_iter_
    with pytest.raises(ValueError, match="feature names should match those that were"):
        model.fit(data, NAMES, X_val=frame("pandas", names=FEATURES[::-1]), y_val=NAMES)


# Copies

PARAMETERS: dict[str, dict[str, Any]] = {
    "loss": {"loss": arraymlp.nn.losses.loss("binary_cross_entropy")},
    "dropout": {"dropout": Dropout(hidden=0.2, input=0.1)},
    "weights": {"class_weight": {"red": 2.0, "blue": 0.5}},
    "list": {"hidden_layer_sizes": [5, 4], "activation": ["tanh", "relu"]},
    "array": {"hidden_layer_sizes": np.array([5, 4])},
    "infinity": {"n_iter_no_change": inf},
    "RandomState": {"random_state": np.random.RandomState(3)},
    "Generator": {"random_state": np.random.default_rng(3)},
    "callbacks": {"callbacks": [print]},
    "backend": {"backend": arraymlp.resolve("numpy")},
}


@pytest.mark.parametrize("parameters", PARAMETERS.values(), ids=PARAMETERS)
def test_a_clone_has_the_parameters_and_nothing_else(parameters: dict[str, Any]) -> None:
    original = MLPClassifier(**parameters)
    twin = clone(original)
    assert twin is not original
    assert twin.get_params().keys() == original.get_params().keys()
    for name, value in original.get_params().items():
        copied = twin.get_params()[name]
        assert type(copied) is type(value)
        if name == "random_state" and value is not None:
            assert copied is not value
            assert copied.__getstate__().__repr__() == value.__getstate__().__repr__()
        else:
            np.testing.assert_equal(copied, value)


@BOTH
def test_a_clone_of_a_fitted_one_is_not_fitted(name: str) -> None:
    model = fitted(name)
    twin = clone(model)
    assert vars(twin).keys() == vars(mlp(name)).keys()
    with pytest.raises(sklearn.exceptions.NotFittedError):
        check_is_fitted(twin)
    assert_same_network(twin.fit(X, target(name)), model)


def test_a_clone_keeps_the_loss_of_a_regressor() -> None:
    for loss in (Huber(0.5), Quantile((0.1, 0.5, 0.9))):
        assert clone(MLPRegressor(loss)).loss == loss


def pickled(model: Any) -> Any:
    return pickle.loads(pickle.dumps(model))


def dumped(model: Any) -> Any:
    file = io.BytesIO()
    joblib.dump(model, file)
    file.seek(0)
    return joblib.load(file)


COPIES = pytest.mark.parametrize(
    "copied", [pickled, dumped, copy.deepcopy], ids=lambda f: f.__name__
)


@COPIES
@pytest.mark.parametrize(
    "parameters",
    [
        {},
        {"solver": "sgd", "learning_rate": "invscaling"},
        {"solver": "adamw", "dropout": 0.25},
        {"random_state": np.random.RandomState(5), "dropout": Dropout(0.1, 0.1)},
        {"random_state": np.random.default_rng(5)},
        {"loss": arraymlp.nn.losses.loss("softmax_cross_entropy"), "class_weight": {"red": 3.0}},
        {"backend": "torch", "solver": "sgd"},
    ],
    ids=str,
)
def test_a_copy_predicts_the_same_and_goes_on_bit_for_bit(
    copied: Callable[[Any], Any], parameters: dict[str, Any]
) -> None:
    if "backend" in parameters:
        pytest.importorskip(parameters["backend"])
    original = fitted(**copy.deepcopy(parameters)).partial_fit(X, NAMES)
    twin = copied(original)
    assert_same_network(twin, original)
    if original.backend_ == twin.backend_:
        assert twin.predict_proba(X).tolist() == original.predict_proba(X).tolist()
    assert twin.predict(X).tolist() == original.predict(X).tolist()
    before = [w.copy() for w in original.coefs_]
    for _ in range(3):
        twin.partial_fit(X, NAMES)
    for now, then in zip(original.coefs_, before, strict=True):
        assert now.tolist() == then.tolist()  # which the copy's training has not changed
    for _ in range(3):
        original.partial_fit(X, NAMES)
    assert_same_network(twin, original)
    assert twin.loss_curve_ == original.loss_curve_
    assert twin.t_ == original.t_


@COPIES
@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_a_copy_of_a_regressor_warms_up_bit_for_bit(
    copied: Callable[[Any], Any], solver: str
) -> None:
    original = regress(solver=solver, warm_start=True).fit(X, Z)
    twin = copied(original)
    assert twin.predict(X).tolist() == original.predict(X).tolist()
    assert_same_network(twin.fit(X, Z), original.fit(X, Z))


def test_a_pickle_is_not_tied_to_where_it_was_trained(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("torch")
    original = fitted(backend="torch").partial_fit(X, NAMES)
    assert original.backend_.name == "torch"
    expected = original.predict_proba(X)
    content = pickle.dumps(original)
    assert original.backend_.name == "torch"
    for name in [name for name in sys.modules if name.partition(".")[0] == "torch"]:
        monkeypatch.setitem(sys.modules, name, None)
    opened = pickle.loads(content)
    assert opened.backend_.name == "numpy"
    assert_close(opened.predict_proba(X), expected)


def test_a_pickle_is_small_and_has_no_data() -> None:
    rows = np.tile(X, (200, 1))
    model = classify(max_iter=2).fit(rows, np.tile(NAMES, 200))
    assert len(pickle.dumps(model)) < rows.nbytes / 10


def test_a_pickle_of_data_on_a_device_goes_back_there(quick_backend: Backend) -> None:
    there = quick_backend.asarray
    original = classify().fit(there(X), there(Y))
    twin = pickled(original)
    assert twin.backend_ == original.backend_
    assert_same_network(twin, original)
    found = twin.predict(there(X))
    assert arraymlp.backends.registry.backend_of(found) == quick_backend
    assert on_host(found).tolist() == on_host(original.predict(there(X))).tolist()
    if quick_backend.name != "numpy":
        with pytest.raises(ValueError, match="must use the same namespace and the same device"):
            twin.predict(X)


# Metadata


@pytest.fixture
def routing() -> Any:
    with sklearn.config_context(enable_metadata_routing=True):
        yield


@pytest.mark.usefixtures("routing")
def test_weights_and_validation_are_routed_through_a_pipeline() -> None:
    model = classify(early_stopping=True).set_fit_request(
        sample_weight=True, X_val=True, y_val=True
    )
    scaler = StandardScaler().set_fit_request(sample_weight=False)
    pipeline = Pipeline([("scale", scaler), ("mlp", model)], transform_input=["X_val"])
    pipeline.fit(X[:40], NAMES[:40], sample_weight=WEIGHT[:40], X_val=X[40:], y_val=NAMES[40:])
    scaled = StandardScaler().fit(X[:40]).transform(X)
    expected = classify(early_stopping=True).fit(
        scaled[:40], NAMES[:40], WEIGHT[:40], X_val=scaled[40:], y_val=NAMES[40:]
    )
    assert_same_network(pipeline["mlp"], expected)
    assert pipeline["mlp"].validation_scores_ == expected.validation_scores_
    unweighted = classify(early_stopping=True).fit(
        scaled[:40], NAMES[:40], X_val=scaled[40:], y_val=NAMES[40:]
    )
    assert (unweighted.coefs_[0] != expected.coefs_[0]).any()


@pytest.mark.usefixtures("routing")
def test_weights_are_routed_through_cross_validation() -> None:
    model = classify().set_fit_request(sample_weight=True).set_score_request(sample_weight=True)
    splits = [(np.arange(40), np.arange(40, 60)), (np.arange(20, 60), np.arange(20))]
    found = cross_validate(model, X, NAMES, params={"sample_weight": WEIGHT}, cv=splits)
    expected = []
    for rows, rest in splits:
        one = classify().fit(X[rows], NAMES[rows], WEIGHT[rows])
        expected.append(one.score(X[rest], NAMES[rest], WEIGHT[rest]))
    assert found["test_score"].tolist() == expected
    assert (
        found["test_score"].tolist()
        != cross_validate(model, X, NAMES, cv=splits)["test_score"].tolist()
    )


@pytest.mark.usefixtures("routing")
def test_a_search_gives_each_fit_the_same_validation_rows() -> None:
    model = regress().set_fit_request(X_val=True, y_val=True)
    search = GridSearchCV(model, {"alpha": [1e-4, 1.0]}, cv=2)
    search.fit(X[:50], Z[:50], X_val=X[50:], y_val=Z[50:])
    expected = regress(**search.best_params_).fit(X[:50], Z[:50], X_val=X[50:], y_val=Z[50:])
    assert search.best_estimator_.validation_scores_ == expected.validation_scores_


@pytest.mark.usefixtures("routing")
@BOTH
def test_what_is_not_asked_for_is_refused(name: str) -> None:
    pipeline = make_pipeline(StandardScaler(), mlp(name))
    with pytest.raises(UnsetMetadataPassedError, match="sample_weight"):
        pipeline.fit(X, target(name), sample_weight=WEIGHT)


@pytest.mark.usefixtures("routing")
def test_what_may_be_asked_for() -> None:
    requests = MLPClassifier().get_metadata_routing()._serialize()
    assert set(requests["fit"]) == {"sample_weight", "X_val", "y_val"}
    assert set(requests["partial_fit"]) == {"sample_weight", "classes"}
    assert set(requests["score"]) == {"sample_weight"}
    requests = MLPRegressor().get_metadata_routing()._serialize()
    assert set(requests["fit"]) == {"sample_weight", "X_val", "y_val"}
    assert set(requests["partial_fit"]) == {"sample_weight"}


# scikit-learn's callbacks

callback = pytest.mark.skipif(
    not hasattr(MLPClassifier, "set_callbacks"), reason="scikit-learn has callbacks since 1.9"
)


class Recorder:
    """Writes down what it is told, and ends the training after some epochs."""

    def __init__(self, *, stop_after: float = inf, score: bool = True) -> None:
        self.stop_after, self.score = stop_after, score
        self.told: list[tuple[str, str, int]] = []
        self.scores: list[float] = []
        self.open: list[Any] = []
        self.metadata: list[Any] = []

    def setup(self, estimator: Any, context: Any) -> None:
        self.told.append(("setup", context.task_name, context.task_id))

    def teardown(self, estimator: Any, context: Any) -> None:
        self.told.append(("teardown", context.task_name, context.task_id))

    def on_fit_task_begin(self, estimator: Any, context: Any, *, X: Any, y: Any) -> None:
        self.told.append(("begin", context.task_name, context.task_id))
        self.open.append(context)

    def on_fit_task_end(
        self, estimator: Any, context: Any, *, X: Any, y: Any, metadata: Any, fitted_estimator: Any
    ) -> bool:
        self.told.append(("end", context.task_name, context.task_id))
        assert self.open.pop() is context
        self.metadata.append(metadata)
        if self.score and context.task_name == "epoch" and fitted_estimator is not None:
            assert fitted_estimator is not estimator
            self.scores.append(fitted_estimator.score(X, y))
        return len(self.scores) >= self.stop_after

    def tasks(self, what: str, name: str = "epoch") -> list[int]:
        return [i for w, n, i in self.told if (w, n) == (what, name)]


class Propagated(Recorder):
    """One that a pipeline hands on to its steps."""

    max_propagation_depth = None


WAYS: dict[str, dict[str, Any]] = {
    "adam": {},
    "sgd": {"solver": "sgd"},
    "lbfgs": {"solver": "lbfgs"},
    "early stopping": {"early_stopping": True, "n_iter_no_change": 2, "max_iter": 60},
    "converged": {"tol": 10.0, "n_iter_no_change": 2},
    "our callback stops": {"callbacks": lambda event: event.number == 4},
    "elsewhere": {"backend": "torch"},
}


@callback
@BOTH
@pytest.mark.parametrize("way", WAYS)
def test_each_epoch_is_a_task_and_each_beginning_has_an_end(way: str, name: str) -> None:
    if way == "elsewhere":
        pytest.importorskip("torch")
    recorder = Recorder()
    model = mlp(name, **WAYS[way]).set_callbacks(recorder)
    assert model.fit(X, target(name)) is model
    assert recorder.open == []
    assert recorder.told[0] == ("setup", "fit", 0)
    assert recorder.told[1] == ("begin", "fit", 0)
    assert recorder.told[-2:] == [("end", "fit", 0), ("teardown", "fit", 0)]
    begun, ended = recorder.tasks("begin"), recorder.tasks("end")
    assert begun == ended == list(range(len(begun)))
    # One that was begun when ours said stop has nothing to score.
    assert len(recorder.scores) == model.n_iter_ == len(begun) - (way == "our callback stops")
    assert model.n_iter_ > 1
    if way != "early stopping":  # whose weights are those of the best epoch
        assert recorder.scores[-1] == model.score(X, target(name))
    assert len(set(recorder.scores)) > 1


@callback
@BOTH
@pytest.mark.parametrize("solver", ["adam", "sgd", "lbfgs"])
def test_watching_changes_nothing(solver: str, name: str) -> None:
    watched = mlp(name, solver=solver).set_callbacks(Recorder()).fit(X, target(name))
    plain = fitted(name, solver=solver)
    assert_same_network(watched, plain)
    assert watched.n_iter_ == plain.n_iter_
    assert watched.loss_ == plain.loss_


@callback
@BOTH
@pytest.mark.parametrize("solver", ["adam", "sgd", "lbfgs"])
def test_a_callback_that_says_true_stops_the_training(solver: str, name: str) -> None:
    recorder = Recorder(stop_after=3)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # nobody is told that it has not converged
        model = mlp(name, solver=solver).set_callbacks(recorder).fit(X, target(name))
    assert model.n_iter_ == 3
    assert recorder.tasks("begin") == recorder.tasks("end") == [0, 1, 2]
    assert recorder.open == []
    assert recorder.scores[-1] == model.score(X, target(name))


class Keeper(Recorder):
    """Keeps the estimator of each epoch, and what it predicted."""

    def __init__(self) -> None:
        super().__init__()
        self.kept: list[tuple[Any, Any]] = []

    def on_fit_task_end(
        self, estimator: Any, context: Any, *, X: Any, y: Any, fitted_estimator: Any
    ) -> None:
        if context.task_name == "epoch":
            self.kept.append((fitted_estimator, fitted_estimator.predict_proba(X)))


@callback
@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_the_estimator_of_an_epoch_stays_what_it_was(solver: str) -> None:
    keeper = Keeper()
    model = classify(solver=solver).set_callbacks(keeper).fit(X, NAMES)
    assert len(keeper.kept) == model.n_iter_
    for one, then in keeper.kept:
        assert one.predict_proba(X).tolist() == then.tolist()
    assert (keeper.kept[0][1] != keeper.kept[-1][1]).any()


@callback
def test_a_fit_that_fails_tears_down() -> None:
    recorder = Recorder(score=False)
    with pytest.raises(ValueError, match="non-finite"):
        regress(solver="sgd", learning_rate_init=1e30).set_callbacks(recorder).fit(X, Z)
    assert recorder.told[-1] == ("teardown", "fit", 0)


@callback
def test_a_callback_is_told_of_weights() -> None:
    recorder = Recorder()
    classify(max_iter=2).set_callbacks(recorder).fit(X, NAMES, WEIGHT)
    assert all(told["sample_weight"] is WEIGHT for told in recorder.metadata)
    recorder = Recorder()
    classify(max_iter=2).set_callbacks(recorder).fit(X, NAMES)
    assert recorder.metadata == [None] * 3


@callback
@pytest.mark.parametrize("wrong", [print, Recorder, object(), lambda event: None], ids=repr)
def test_what_is_no_callback_is_refused(wrong: Any) -> None:
    with pytest.raises(TypeError, match="callbacks must be instances following the FitCallback"):
        MLPClassifier().set_callbacks(wrong)


@callback
def test_a_clone_shares_its_callbacks() -> None:
    recorder = Recorder()
    model = clone(classify(max_iter=2).set_callbacks(recorder)).fit(X, NAMES)
    assert recorder.tasks("end") == [0, 1]
    assert model.set_callbacks() is model
    model.fit(X, NAMES)
    assert recorder.tasks("end") == [0, 1]


@callback
def test_a_fitted_estimator_keeps_nothing_of_the_tasks() -> None:
    recorded, plain = classify().set_callbacks(Recorder()).fit(X, NAMES), fitted()
    assert vars(recorded).keys() - vars(plain).keys() == {"_skl_callbacks"}
    assert not [name for name in vars(plain) if "callback" in name and name != "callbacks"]


def monitor(**given: Any) -> Any:
    return pytest.importorskip("sklearn.callback").ScoringMonitor(**given)


def scores(watch: Any, name: str) -> list[float]:
    return [row[name] for row in watch.get_logs().data if row["task_name"] == "epoch"]


MONITORED: dict[str, dict[str, Any]] = {
    "adam": {"max_iter": 30},
    "lbfgs": {"solver": "lbfgs", "max_iter": 30},
    "early stopping": {"early_stopping": True, "validation_fraction": 0.3, "max_iter": 60},
}


@callback
@pytest.mark.parametrize("parameters", MONITORED.values(), ids=MONITORED)
@pytest.mark.parametrize("kind", ["array", "pandas", "polars"])
def test_a_monitored_accuracy_rises_epoch_by_epoch(kind: str, parameters: dict[str, Any]) -> None:
    watch = monitor(scoring="accuracy")
    data = X if kind == "array" else frame(kind)
    model = classify(**parameters).set_callbacks(watch).fit(data, NAMES)
    found = scores(watch, "accuracy")
    assert len(found) == model.n_iter_ > 3
    assert found[-1] > found[0] + 0.1
    if not model.early_stopping:
        assert found[-1] == model.score(data, NAMES)


@callback
def test_a_monitor_may_score_probabilities_with_weights() -> None:
    watch = monitor(scoring=["neg_log_loss", "roc_auc_ovr"])
    model = classify(max_iter=8).set_callbacks(watch).fit(X, NAMES, WEIGHT)
    found = scores(watch, "neg_log_loss")
    assert len(found) == 8
    assert found == sorted(found)
    assert found[-1] == get_scorer("neg_log_loss")(model, X, NAMES, sample_weight=WEIGHT)
    assert len(scores(watch, "roc_auc_ovr")) == 8


@callback
def test_each_partial_fit_is_a_run_of_one_epoch() -> None:
    watch = monitor(scoring="accuracy")
    model = classify().set_callbacks(watch)
    after = [model.partial_fit(X, NAMES, classes=np.unique(NAMES)).score(X, NAMES)]
    after += [model.partial_fit(X, NAMES).score(X, NAMES) for _ in range(9)]
    runs = watch.get_logs(select="all")
    found = [[r["accuracy"] for r in run.data if r["task_name"] == "epoch"] for run in runs]
    assert sorted(found) == sorted([score] for score in after)
    assert after[-1] > after[0]


@callback
def test_a_step_of_a_pipeline_is_monitored() -> None:
    watch = monitor(scoring="accuracy")
    pipeline = make_pipeline(StandardScaler(), classify().set_callbacks(watch)).fit(X, NAMES)
    found = scores(watch, "accuracy")
    assert len(found) == pipeline[-1].n_iter_
    assert found[-1] == pipeline.score(X, NAMES)


@callback
def test_a_pipeline_hands_its_callbacks_on() -> None:
    recorder = Propagated()
    pipeline = make_pipeline(StandardScaler(), classify(max_iter=5)).set_callbacks(recorder)
    pipeline.fit(X, NAMES)
    assert recorder.tasks("end") == [0, 1, 2, 3, 4]
    assert recorder.open == []
    assert [task[:2] for task in recorder.told if task[0] in ("setup", "teardown")] == [
        ("setup", "fit"),
        ("teardown", "fit"),
    ]
    assert not hasattr(pipeline[-1], "_skl_callbacks")
    assert not hasattr(pipeline[-1], "_parent_callback_ctx")


@callback
@pytest.mark.parametrize("jobs", [1, 2])
def test_a_search_monitors_each_of_its_fits(jobs: int) -> None:
    watch = monitor(scoring="accuracy")
    model = classify(max_iter=4).set_callbacks(watch)
    GridSearchCV(model, {"alpha": [1e-4, 1.0]}, cv=2, n_jobs=jobs).fit(X, NAMES)
    assert len(scores(watch, "accuracy")) == (2 * 2 + 1) * 4


@callback
@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_a_progress_bar_gets_to_its_end(solver: str, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("rich")
    bar = pytest.importorskip("sklearn.callback").ProgressBar()
    model = classify(solver=solver, max_iter=4)
    make_pipeline(StandardScaler(), model).set_callbacks(bar).fit(X, NAMES)
    out = capsys.readouterr().out
    assert re.search(r"MLPClassifier.*fit.*100%", out)
    assert re.search(r"Pipeline.*fit.*100%", out)


# What is shown and asked


@BOTH
def test_only_what_is_no_default_is_printed(name: str) -> None:
    kind = getattr(arraymlp, name)
    assert repr(kind()) == f"{name}()"
    assert repr(kind(alpha=1.0, hidden_layer_sizes=(5, 4))) == (
        f"{name}(alpha=1.0, hidden_layer_sizes=(5, 4))"
    )
    assert "Huber(threshold=0.5)" in repr(MLPRegressor(Huber(0.5)))
    assert "dropout=Dropout(hidden=0.5, input=0.0)" in repr(kind(dropout=Dropout(0.5)))
    with sklearn.config_context(print_changed_only=False):
        shown = kind().__repr__(N_CHAR_MAX=10_000)
    # It elides what is beyond the thirtieth.
    assert all(f"{parameter}=" in shown for parameter in sorted(kind().get_params())[:30])


@BOTH
def test_the_html_has_every_parameter(name: str) -> None:
    model = getattr(arraymlp, name)(alpha=0.125)
    html = model._repr_html_()
    shown = re.findall(r'<td class="param">\s*(?:<a.*?>)?\s*(\w+)', html, re.DOTALL)
    parameters = list(inspect.signature(type(model)).parameters)
    assert sorted(shown) == sorted(parameters)
    # In their order, but since 1.8 for what is no default, which comes first.
    assert [p for p in shown if p != "alpha"] == [p for p in parameters if p != "alpha"]
    assert "0.125" in html
    pipeline = make_pipeline(StandardScaler(), model)
    for shown in (pipeline._repr_html_(), estimator_html_repr(pipeline)):
        assert name in shown
        assert "gradient_clip" in shown
    assert name in estimator_html_repr(mlp(name).fit(X, target(name)))


@BOTH
def test_every_parameter_and_attribute_is_in_the_docstring(name: str) -> None:
    model = fitted(name, early_stopping=True)
    parameters, attributes = (
        re.findall(r"^ {4}(\w+(?:, \w+)*) :", part, re.MULTILINE)
        for part in re.split(r"\n\s+Attributes\n", type(model).__doc__, maxsplit=1)
    )
    parameters = [p for line in parameters for p in line.split(", ")]
    assert sorted(parameters) == sorted(model.get_params())
    attributes = {a for line in attributes for a in line.split(", ")}
    assert public(model) <= attributes | {"feature_names_in_"}


@BOTH
def test_parameters_are_scikit_learns_and_then_ours(name: str) -> None:
    ours = list(inspect.signature(getattr(arraymlp, name)).parameters.values())
    theirs = list(inspect.signature(getattr(neural_network, name)).parameters.values())
    assert [(p.name, p.kind, p.default) for p in ours[: len(theirs)]] == [
        (p.name, p.kind, p.default) for p in theirs
    ]
    assert len(ours) > len(theirs)
    assert all(p.kind is p.KEYWORD_ONLY for p in ours[len(theirs) :])


@BOTH
@pytest.mark.parametrize("method", ["fit", "partial_fit", "predict", "score"])
def test_methods_take_what_scikit_learns_take(name: str, method: str) -> None:
    ours = list(inspect.signature(getattr(getattr(arraymlp, name), method)).parameters.values())
    theirs = inspect.signature(getattr(getattr(neural_network, name), method))
    expected = [(p.name, p.kind, p.default) for p in theirs.parameters.values()]
    assert [(p.name, p.kind, p.default) for p in ours[: len(expected)]] == expected
    assert all(p.kind is p.KEYWORD_ONLY for p in ours[len(expected) :])


def public(model: Any) -> set[str]:
    """Fitted attributes by scikit-learn's rule, of the instance and of its class."""
    names = {n for n in dir(model) if n.endswith("_") and not n.startswith("_")}
    return {n for n in names if hasattr(model, n)}


@BOTH
@pytest.mark.parametrize(
    "parameters",
    [{}, {"solver": "sgd"}, {"solver": "lbfgs"}, {"early_stopping": True}],
    ids=str,
)
def test_every_fitted_attribute_of_scikit_learns_is_there(
    name: str, parameters: dict[str, Any]
) -> None:
    y = Y if name == "MLPClassifier" else Z  # 1.7.0 cannot stop early with names of classes
    ours, theirs = (mlp(name, of, **parameters).fit(X, y) for of in (arraymlp, neural_network))
    expected = public(theirs)
    assert len(expected) > 8
    assert expected <= public(ours)
    for attribute in expected - {"coefs_", "intercepts_", "loss_curve_"}:
        a, b = getattr(ours, attribute), getattr(theirs, attribute)
        assert type(a) is type(b) or {type(a), type(b)} == {float, np.float64}, attribute
        if isinstance(a, float | list | np.ndarray):
            assert_close(a, b)
        else:
            assert a == b, attribute
    for a, b in zip(
        ours.coefs_ + ours.intercepts_, theirs.coefs_ + theirs.intercepts_, strict=True
    ):
        assert_close(a, b)
    assert public(mlp(name)) == set()


@BOTH
def test_parameters_are_got_and_set(name: str) -> None:
    model = mlp(name)
    assert model.set_params(alpha=0.5, dropout=0.25) is model
    assert model.get_params()["alpha"] == model.alpha == 0.5
    assert model.get_params()["dropout"] == 0.25
    with pytest.raises(ValueError, match="Invalid parameter 'alpah' for estimator MLP"):
        model.set_params(alpah=1)
    pipeline = make_pipeline(model).set_params(**{f"{name.lower()}__gradient_clip": 2.0})
    assert pipeline[0].gradient_clip == 2.0
    given = {p: object() for p in model.get_params()}
    assert getattr(arraymlp, name)(**given).get_params() == given  # kept as they are, unchecked


# Imports


def test_importing_the_package_does_not_import_scikit_learn() -> None:
    assert "sklearn" not in modules_after("import arraymlp")
    assert "sklearn" not in modules_after("from arraymlp import *; dir(arraymlp := train)")
    assert "sklearn" not in modules_after("import arraymlp; dir(arraymlp)")


@pytest.mark.parametrize(
    "statement", ["import arraymlp; arraymlp.MLPClassifier", "from arraymlp import MLPRegressor"]
)
def test_asking_for_an_estimator_imports_scikit_learn(statement: str) -> None:
    found = modules_after(statement)
    assert "sklearn" in found
    assert not (found - modules_after("import sklearn.neural_network")) & OPTIONAL


def test_the_estimators_are_listed() -> None:
    assert {"MLPClassifier", "MLPRegressor"} <= set(dir(arraymlp))
    assert arraymlp.MLPClassifier is MLPClassifier
    with pytest.raises(AttributeError, match="module 'arraymlp' has no attribute 'MLPClasifier'"):
        arraymlp.MLPClasifier  # noqa: B018


def without_scikit_learn(statement: str) -> Any:
    code = f"import sys; sys.modules['sklearn'] = None; {statement}"
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)


@pytest.mark.parametrize(
    "statement", ["import arraymlp; arraymlp.MLPClassifier", "from arraymlp import MLPRegressor"]
)
def test_without_scikit_learn_the_error_has_the_line_that_installs_it(statement: str) -> None:
    done = without_scikit_learn(statement)
    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]
    assert last.startswith("ModuleNotFoundError: ")
    assert "pip install 'arraymlp[sklearn]'" in last


def test_without_scikit_learn_the_rest_is_there() -> None:
    done = without_scikit_learn("from arraymlp import *; print(train.__name__)")
    assert (done.returncode, done.stdout, done.stderr) == (0, "train\n", "")

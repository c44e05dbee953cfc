"""MLPSearchCV against GridSearchCV and RandomizedSearchCV over the same networks, fitted singly."""

import io
import pickle
import re
from collections.abc import Callable
from contextlib import redirect_stdout
from typing import Any

import numpy as np
import pytest

pytest.importorskip("sklearn", minversion="1.7")

import sklearn
from arraymlp.estimators.estimators import search as module
from scipy.sparse import csr_matrix
from scipy.stats import loguniform
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.decomposition import PCA
from sklearn.exceptions import FitFailedWarning, UnsetMetadataPassedError
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, get_scorer
from sklearn.model_selection import (
    GridSearchCV,
    GroupKFold,
    RandomizedSearchCV,
    ShuffleSplit,
    cross_val_score,
)
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import MinMaxScaler, StandardScaler
from sklearn.utils import estimator_html_repr
from sklearn.utils.metadata_routing import get_routing_for_object
from sklearn_checks import failures, require_none

import arraymlp
from arraymlp import Backend, MLPClassifier, MLPRegressor, MLPSearchCV
from conftest import on_host

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

X = np.random.default_rng(90).normal(2.0, 3.0, size=(60, 4))
SCORES = X @ np.random.default_rng(91).normal(size=(4, 3))
Y = np.argmax(SCORES - SCORES.mean(axis=0), axis=1)
NAMES = np.array(["red", "green", "blue"])[Y]
COLUMNS = (SCORES.mean(axis=0) < SCORES).astype(int)
Z = np.sin(SCORES / 3)
WEIGHT = np.random.default_rng(92).uniform(0.5, 2.0, size=60)
GROUPS = np.arange(60) % 7
SMALL: dict[str, Any] = {
    "hidden_layer_sizes": (6,),
    "max_iter": 8,
    "random_state": 0,
    "learning_rate_init": 0.02,
}
CLASSIFY, REGRESS = MLPClassifier(**SMALL), MLPRegressor(**SMALL)
GRID = {"alpha": [1e-4, 1.0], "learning_rate_init": [0.002, 0.05]}
IN_PIPELINE = {f"mlpclassifier__{name}": values for name, values in GRID.items()}


def scaled(model: Any = CLASSIFY, **given: Any) -> Pipeline:
    return make_pipeline(StandardScaler(), model, **given)


def assert_same_search(ours: Any, theirs: Any) -> None:
    """The same results but for rounding and times, and the same best estimator."""
    assert list(ours.cv_results_) == list(theirs.cv_results_)
    for key, expected in theirs.cv_results_.items():
        found = ours.cv_results_[key]
        if key.startswith("param"):
            assert type(found) is type(expected)
            assert list(map(str, found)) == list(map(str, expected)), key
            assert getattr(found, "dtype", None) == getattr(expected, "dtype", None)
            mask = getattr(expected, "mask", None)
            np.testing.assert_array_equal(getattr(found, "mask", None), mask)
        elif key.endswith("_time"):
            assert found.shape == expected.shape
            assert (found >= 0).all()
        else:
            assert found.dtype == expected.dtype, key
            np.testing.assert_allclose(found, expected, rtol=1e-7, atol=1e-9, err_msg=key)
    for name in ("best_index_", "best_score_", "n_splits_", "multimetric_"):
        assert hasattr(ours, name) == hasattr(theirs, name), name
        if hasattr(theirs, name):
            assert getattr(ours, name) == pytest.approx(getattr(theirs, name)), name
    assert str(getattr(ours, "best_params_", None)) == str(getattr(theirs, "best_params_", None))
    assert type(ours.scorer_) is type(theirs.scorer_)
    assert hasattr(ours, "refit_time_") == hasattr(theirs, "refit_time_")
    if hasattr(theirs, "best_estimator_"):
        np.testing.assert_array_equal(ours.predict(X[:5]), theirs.predict(X[:5]))


def fail_on_strong_penalty(estimator: Any, x: Any, y: Any) -> float:
    if estimator.alpha == 1.0:
        raise ValueError("that strong?")
    return float(estimator.score(x, y))


def two_scores(estimator: Any, x: Any, y: Any) -> dict[str, float]:
    p = estimator.predict_proba(x)
    return {"right": accuracy_score(y, estimator.predict(x)), "sure": float(p.max(axis=1).mean())}


def second(results: dict[str, Any]) -> int:
    return 1


# What is searched: estimator, candidates, and how.
DETECTORS: dict[str, tuple[Any, Any, dict[str, Any]]] = {
    "defaults": (CLASSIFY, GRID, {}),
    "several grids": (CLASSIFY, [GRID, {"activation": ["tanh"], "batch_size": [7, 20]}], {}),
    "widths": (CLASSIFY, {"hidden_layer_sizes": [(6,), (4, 3), ()], "alpha": [1e-4, 1.0]}, {}),
    "solvers": (CLASSIFY, {"solver": ["adam", "sgd", "lbfgs", "adamw"]}, {}),
    "stopping early": (
        MLPClassifier(**SMALL, early_stopping=True, validation_fraction=0.3, n_iter_no_change=2),
        GRID,
        {},
    ),
    "seeds": (CLASSIFY, {"random_state": [0, 1, np.random.RandomState(2)]}, {}),
    "dropout": (CLASSIFY, {"dropout": [0.0, 0.5], "class_weight": [None, "balanced"]}, {}),
    "two folds, scores of training": (CLASSIFY, GRID, {"cv": 2, "return_train_score": True}),
    "a splitter": (CLASSIFY, GRID, {"cv": ShuffleSplit(2, test_size=20, random_state=0)}),
    "splits": (CLASSIFY, GRID, {"cv": [(np.arange(40), np.arange(40, 60))] * 2}),
    "masks": (CLASSIFY, GRID, {"cv": [(np.arange(60) < 40, np.arange(60) >= 40)] * 2}),
    "a metric": (CLASSIFY, GRID, {"scoring": "neg_log_loss"}),
    "a function": (CLASSIFY, GRID, {"scoring": get_scorer("f1_macro")}),
    "a list of metrics": (
        CLASSIFY,
        GRID,
        {"scoring": ["accuracy", "neg_log_loss"], "refit": "neg_log_loss"},
    ),
    "metrics by name": (
        CLASSIFY,
        GRID,
        {"scoring": {"a": "accuracy", "f": "f1_macro"}, "refit": False, "return_train_score": True},
    ),
    "a function of metrics": (CLASSIFY, GRID, {"scoring": two_scores, "refit": "sure"}),
    "no refit": (CLASSIFY, GRID, {"refit": False}),
    "refit by a function": (CLASSIFY, GRID, {"refit": second}),
    "a pipeline": (
        scaled(),
        {**IN_PIPELINE, "standardscaler__with_mean": [True, False]},
        {"return_train_score": True},
    ),
    "a pipeline's steps": (
        Pipeline([("scale", StandardScaler()), ("pca", PCA(3)), ("net", CLASSIFY)]),
        {
            "scale": [StandardScaler(), MinMaxScaler(), "passthrough"],
            "pca": [PCA(2), "passthrough"],
            "net__alpha": [1e-4, 1.0],
        },
        {},
    ),
    "a pipeline of one": (make_pipeline(CLASSIFY), IN_PIPELINE, {}),
    "networks as a parameter": (
        scaled(),
        {"mlpclassifier": [CLASSIFY, clone(CLASSIFY).set_params(activation="tanh")]},
        {},
    ),
}


@pytest.mark.parametrize("what", DETECTORS)
def test_the_results_are_those_of_a_grid_search(what: str) -> None:
    estimator, grid, given = DETECTORS[what]
    given = {"cv": 3, **given}
    ours = MLPSearchCV(estimator, grid, **given).fit(X, NAMES)
    assert_same_search(ours, GridSearchCV(estimator, grid, **given).fit(X, NAMES))
    if len(ours.cv_results_["params"]) > 3 and not ours.multimetric_:
        assert len(set(ours.cv_results_["mean_test_score"])) > 1  # else they prove nothing


@pytest.mark.parametrize("y", [Z, Z[:, 0]], ids=["columns", "one"])
def test_regressors_are_searched(y: Any) -> None:
    given = {"scoring": ["r2", "neg_mean_absolute_error"], "refit": "r2", "cv": 3}
    ours = MLPSearchCV(REGRESS, {"loss": ["squared_error", "huber"], **GRID}, **given).fit(X, y)
    theirs = GridSearchCV(REGRESS, {"loss": ["squared_error", "huber"], **GRID}, **given).fit(X, y)
    assert_same_search(ours, theirs)
    assert ours.score(X, y) == theirs.score(X, y)
    assert not hasattr(ours, "predict_proba")


@pytest.mark.parametrize("estimator", [CLASSIFY, scaled()], ids=["network", "pipeline"])
def test_a_random_search_draws_the_same_candidates(estimator: Any) -> None:
    grid = GRID if estimator is CLASSIFY else IN_PIPELINE
    some = {next(iter(grid)): loguniform(1e-5, 10.0)}
    given = {"n_iter": 4, "random_state": 3, "cv": 2}
    ours = MLPSearchCV(estimator, param_distributions=grid | some, **given).fit(X, Y)
    assert_same_search(ours, RandomizedSearchCV(estimator, grid | some, **given).fit(X, Y))


@pytest.mark.parametrize("kind", ["pandas", "polars", "csr", "lists", "several labels"])
def test_data_of_each_kind_are_searched_on(kind: str) -> None:
    data, y = X, NAMES
    if kind in ("pandas", "polars"):
        library = pytest.importorskip(kind)
        data = library.DataFrame(X, **{"columns" if kind == "pandas" else "schema": list("abcd")})
        y = library.Series(NAMES)
    elif kind == "csr":
        data = csr_matrix(np.where(X > 2, X, 0.0))
    elif kind == "lists":
        data, y = X.tolist(), NAMES.tolist()
    else:
        y = COLUMNS
    ours = MLPSearchCV(CLASSIFY, GRID, cv=3).fit(data, y)
    theirs = GridSearchCV(CLASSIFY, GRID, cv=3).fit(data, y)
    assert hasattr(ours, "feature_names_in_") == hasattr(theirs, "feature_names_in_")
    for name in ("feature_names_in_", "n_features_in_", "classes_"):
        np.testing.assert_array_equal(getattr(ours, name, None), getattr(theirs, name, None))
    np.testing.assert_array_equal(ours.predict(data), theirs.predict(data))
    assert ours.cv_results_["mean_test_score"].tolist() == pytest.approx(
        theirs.cv_results_["mean_test_score"].tolist()
    )


def test_weights_and_groups_reach_fits_scores_and_splits() -> None:
    given = {"cv": GroupKFold(3), "scoring": "accuracy"}
    fit = {"groups": GROUPS, "sample_weight": WEIGHT}
    ours = MLPSearchCV(CLASSIFY, GRID, **given).fit(X, NAMES, **fit)
    assert_same_search(ours, GridSearchCV(CLASSIFY, GRID, **given).fit(X, NAMES, **fit))
    plain = MLPSearchCV(CLASSIFY, GRID, **given).fit(X, NAMES, groups=GROUPS)
    split = "split0_test_score"
    assert ours.cv_results_[split].tolist() != plain.cv_results_[split].tolist()


FITS: dict[str, tuple[Any, dict[str, Any]]] = {
    "weights of steps": (
        scaled(),
        {"standardscaler__sample_weight": WEIGHT, "mlpclassifier__sample_weight": WEIGHT[::-1]},
    ),
    "rows to validate with": (CLASSIFY, {"X_val": X[:9], "y_val": NAMES[:9]}),
    "and weights": (CLASSIFY, {"X_val": X[:9], "y_val": NAMES[:9], "sample_weight": WEIGHT}),
    "one weight for all": (CLASSIFY, {"sample_weight": 2.0}),
}


@pytest.mark.parametrize("what", FITS)
def test_other_parameters_of_fit_reach_it(what: str) -> None:
    estimator, fit = FITS[what]
    grid, given = GRID if estimator is CLASSIFY else IN_PIPELINE, {"cv": 2}
    if what == "one weight for all":  # of which no scorer takes one
        given["scoring"] = lambda model, x, y, sample_weight=None: model.score(x, y)
    ours = MLPSearchCV(estimator, grid, **given).fit(X, NAMES, **fit)
    assert_same_search(ours, GridSearchCV(estimator, grid, **given).fit(X, NAMES, **fit))


def test_metadata_are_routed() -> None:
    with sklearn.config_context(enable_metadata_routing=True):
        scaler = StandardScaler().set_fit_request(sample_weight="heavy")
        network = clone(CLASSIFY).set_fit_request(sample_weight=True)
        network.set_score_request(sample_weight=True)
        given = {
            "scoring": get_scorer("accuracy").set_score_request(sample_weight="light"),
            "cv": GroupKFold(3).set_split_request(groups="parts"),
        }
        fit = {"heavy": WEIGHT, "sample_weight": WEIGHT[::-1], "light": WEIGHT**2, "parts": GROUPS}
        estimator = make_pipeline(scaler, network)
        ours = MLPSearchCV(estimator, IN_PIPELINE, **given).fit(X, NAMES, **fit)
        assert_same_search(ours, GridSearchCV(estimator, IN_PIPELINE, **given).fit(X, NAMES, **fit))
        assert get_routing_for_object(ours).consumes("fit", fit) == set(fit)
        assert ours.score(X, NAMES, light=WEIGHT) == accuracy_score(
            NAMES, ours.predict(X), sample_weight=WEIGHT
        )
        with pytest.raises(UnsetMetadataPassedError, match="sample_weight"):
            MLPSearchCV(CLASSIFY, GRID).fit(X, NAMES, sample_weight=WEIGHT)


# That they train together


class Counting(TransformerMixin, BaseEstimator):
    """Counts how often it was fitted."""

    fits = 0

    def __init__(self, factor: float = 1.0) -> None:
        self.factor = factor

    def fit(self, x: Any, y: Any = None) -> "Counting":
        Counting.fits += 1
        return self

    def transform(self, x: Any) -> Any:
        return x * self.factor


@pytest.fixture
def together(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many networks each call of fit_together was given."""
    calls: list[int] = []
    real: Callable[..., Any] = module.fit_together

    def counted(estimators: Any, *args: Any, **given: Any) -> Any:
        calls.append(len(estimators))
        return real(estimators, *args, **given)

    monkeypatch.setattr(module, "fit_together", counted)
    return calls


def test_all_candidates_and_folds_train_together(together: list[int]) -> None:
    MLPSearchCV(CLASSIFY, GRID, cv=3).fit(X, Y, sample_weight=WEIGHT)
    assert together == [4 * 3]


def test_steps_of_a_pipeline_are_fitted_once_for_their_parameters(together: list[int]) -> None:
    Counting.fits = 0
    grid = {**IN_PIPELINE, "counting__factor": [0.1, 1.0]}
    MLPSearchCV(make_pipeline(Counting(), CLASSIFY), grid, cv=3).fit(X, Y)
    assert together == [4] * (2 * 3)
    assert Counting.fits == 2 * 3 + 1  # and the refit


def test_steps_of_a_pipeline_may_be_cached(tmp_path: Any) -> None:
    estimator = scaled(memory=str(tmp_path))
    ours = MLPSearchCV(estimator, IN_PIPELINE, cv=3).fit(X, Y)
    assert_same_search(ours, GridSearchCV(scaled(), IN_PIPELINE, cv=3).fit(X, Y))


def test_the_search_changes_nothing_that_it_was_given() -> None:
    estimator, before = scaled(), str(scaled().get_params())
    data = X.copy()
    data.flags.writeable = False
    MLPSearchCV(estimator, IN_PIPELINE, cv=2).fit(data, Y)
    assert str(estimator.get_params()) == before
    assert not hasattr(estimator[-1], "network_")
    assert not hasattr(estimator[0], "scale_")


# Failures

STOPPING = clone(CLASSIFY).set_params(early_stopping=True)
FAILING = {"validation_fraction": [0.3, 0.01]}  # one row is no validation
TOO_FEW = "The validation set is too small"


@pytest.mark.parametrize(
    "scoring", [None, "accuracy", ["accuracy", "f1_macro"], two_scores], ids=str
)
def test_a_fit_that_fails_gets_the_error_score(scoring: Any) -> None:
    several = isinstance(scoring, list) or scoring is two_scores
    refit = {True: "right" if scoring is two_scores else "accuracy", False: True}[several]
    given = {"scoring": scoring, "refit": refit, "error_score": -1.0, "return_train_score": True}
    found = []
    for kind in (MLPSearchCV, GridSearchCV):
        with pytest.warns(FitFailedWarning, match="5 fits failed out of a total of 10") as seen:
            found.append(kind(STOPPING, FAILING, **given).fit(X, Y))
        [message] = [str(w.message) for w in seen if w.category is FitFailedWarning]
        assert "5 fits failed with the following error" in message
        assert re.search(f"ValueError: {TOO_FEW}", message)
    assert_same_search(*found)
    assert found[0].best_index_ == 0


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
            CLASSIFY, GRID, cv=2, scoring=fail_on_strong_penalty, error_score=0.0
        ).fit(X, Y)
    assert (search.cv_results_["mean_test_score"] > 0).tolist() == [True, True, False, False]


WRONG: dict[str, tuple[Any, dict[str, Any], type[Exception], str]] = {
    "no candidates": (CLASSIFY, {}, ValueError, "give param_grid or param_distributions"),
    "two kinds": (
        CLASSIFY,
        {"param_grid": GRID, "param_distributions": GRID},
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
    "no splits": (CLASSIFY, {"param_grid": GRID, "cv": []}, ValueError, "No fits were performed"),
    "cv": (CLASSIFY, {"param_grid": GRID, "cv": 1}, ValueError, "must be an int in the range"),
    "n_iter": (CLASSIFY, {"param_distributions": GRID, "n_iter": 0}, ValueError, "n_iter"),
    "metrics without a refit": (
        CLASSIFY,
        {"param_grid": GRID, "scoring": ["accuracy", "f1_macro"]},
        ValueError,
        "multi-metric scoring",
    ),
    "error score": (CLASSIFY, {"param_grid": GRID, "error_score": "rise"}, ValueError, "rise"),
}


@pytest.mark.parametrize("what", WRONG)
def test_what_is_wrong_is_said(what: str) -> None:
    estimator, given, kind, message = WRONG[what]
    with pytest.raises(kind, match=message):
        MLPSearchCV(estimator, **given).fit(X, Y)


def test_y_is_needed() -> None:
    with pytest.raises(ValueError, match="MLPSearchCV requires y to be passed"):
        MLPSearchCV(CLASSIFY, GRID).fit(X)


# Among scikit-learn's


def test_a_search_is_searched_and_cross_validated() -> None:
    search = MLPSearchCV(CLASSIFY, GRID, cv=2)
    found = cross_val_score(make_pipeline(StandardScaler(), search), X, Y, cv=2)
    theirs = make_pipeline(StandardScaler(), GridSearchCV(CLASSIFY, GRID, cv=2))
    assert found.tolist() == pytest.approx(cross_val_score(theirs, X, Y, cv=2).tolist())
    assert found.min() > 0.4


def test_it_is_cloned_pickled_and_shown() -> None:
    search = MLPSearchCV(CLASSIFY, GRID, cv=2)
    assert repr(search).startswith("MLPSearchCV(cv=2,")
    fitted = clone(search).fit(X, NAMES)
    assert not hasattr(clone(fitted), "cv_results_")
    opened = pickle.loads(pickle.dumps(fitted))
    assert opened.predict(X).tolist() == fitted.predict(X).tolist()
    assert_same_search(opened, fitted)
    for shown in (search, fitted):
        html = estimator_html_repr(shown)
        assert "MLPSearchCV" in html
        assert "MLPClassifier" in html


def test_it_prints_what_it_does() -> None:
    for verbose, lines in ((0, 0), (1, 1), (2, 1 + 2 * 2)):
        with redirect_stdout(io.StringIO()) as out:
            MLPSearchCV(CLASSIFY, {"alpha": [0.1, 1.0]}, cv=2, verbose=verbose).fit(X, Y)
        assert len(out.getvalue().splitlines()) == lines
    assert "Fitting 2 folds for each of 2 candidates, totalling 4 fits" in out.getvalue()
    assert re.search(r"^\[CV 2\] END alpha=1.0; score=0\.\d+$", out.getvalue(), re.MULTILINE)


def test_every_parameter_and_attribute_is_in_the_docstring() -> None:
    search = MLPSearchCV(CLASSIFY, GRID, cv=2).fit(X, Y)
    parameters, attributes = (
        re.findall(r"^ {4}(\w+) :", part, re.MULTILINE)
        for part in re.split(r"\n\s+Attributes\n", MLPSearchCV.__doc__, maxsplit=1)
    )
    assert sorted(parameters) == sorted(search.get_params(deep=False))
    public = {n for n in vars(search) if n.endswith("_") and not n.startswith("_")}
    assert public < set(attributes)
    assert all(hasattr(search, name) for name in set(attributes) - {"feature_names_in_"})


def test_it_is_imported_when_asked_for() -> None:
    assert "MLPSearchCV" in dir(arraymlp)
    assert arraymlp.MLPSearchCV is MLPSearchCV


callback = pytest.mark.skipif(
    not hasattr(GridSearchCV, "set_callbacks"), reason="scikit-learn has callbacks since 1.9"
)


@callback
def test_callbacks_are_the_networks() -> None:
    search = MLPSearchCV(CLASSIFY, GRID)
    with pytest.raises(AttributeError, match="set them on its estimator"):
        search.set_callbacks()
    watch = pytest.importorskip("sklearn.callback").ScoringMonitor(scoring="accuracy")
    model = clone(CLASSIFY).set_callbacks(watch)
    MLPSearchCV(model, {"alpha": [1e-4, 1.0]}, cv=2).fit(X, NAMES)
    runs = [run.data for run in watch.get_logs(select="all")]
    epochs = [sum(row["task_name"] == "epoch" for row in run) for run in runs]
    assert epochs == [SMALL["max_iter"]] * (2 * 2 + 1)


def test_on_each_backend_the_scores_are_those_on_numpy(quick_backend: Backend) -> None:
    here = MLPSearchCV(CLASSIFY, GRID, cv=2, return_train_score=True).fit(X, Y)
    x, y = quick_backend.asarray(X), quick_backend.asarray(Y)
    there = clone(here).fit(x, y)
    for name in ("mean_test_score", "mean_train_score"):
        assert there.cv_results_[name].tolist() == pytest.approx(here.cv_results_[name].tolist())
    assert type(there.predict(x)) is type(y)
    assert on_host(there.predict(x)).tolist() == here.predict(X).tolist()
    assert there.score(x, y) == here.score(X, Y)


# With enough of a network to learn what scikit-learn's checks ask, and a seed, since they fit twice
CHECKED = {
    "hidden_layer_sizes": (20,),
    "learning_rate_init": 0.03,
    "max_iter": 60,
    "random_state": 0,
}


# scikit-learn's own, of infinite y, before it asks whether y is finite
@pytest.mark.filterwarnings("ignore:invalid value encountered in cast:RuntimeWarning")
@pytest.mark.parametrize(
    "search",
    [
        MLPSearchCV(MLPClassifier(**CHECKED), {"alpha": [1e-4, 0.1]}, cv=2, error_score="raise"),
        MLPSearchCV(
            MLPRegressor(**CHECKED),
            param_distributions={"alpha": [1e-4, 0.1]},
            n_iter=2,
            cv=2,
            error_score="raise",
            random_state=0,
        ),
    ],
    ids=lambda search: type(search.estimator).__name__,
)
def test_no_check_of_scikit_learn_fails(search: Any) -> None:
    require_none(failures(search))

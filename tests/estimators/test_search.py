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
from scipy.sparse import csr_matrix
from scipy.stats import loguniform
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.decomposition import PCA
from sklearn.exceptions import UnsetMetadataPassedError
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

import arraymlp
from arraymlp import Backend, MLPClassifier, MLPRegressor, MLPSearchCV
from arraymlp.estimators import trials
from conftest import on_host
from sklearn_checks import failures, require_none
from sklearn_problem import (
    CLASSIFY,
    COLUMNS,
    IN_PIPELINE,
    NAMES,
    RATES,
    REGRESS,
    WEIGHT,
    X,
    Y,
    Z,
    assert_same_search,
    scaled,
    two_scores,
)

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
GROUPS = np.arange(60) % 7


def second(results: dict[str, Any]) -> int:
    return 1


# What is searched: estimator, candidates, and how.
SEARCHES: dict[str, tuple[Any, Any, dict[str, Any]]] = {
    "defaults": (CLASSIFY, RATES, {}),
    "several grids": (CLASSIFY, [RATES, {"activation": ["tanh"], "batch_size": [7, 20]}], {}),
    "widths": (CLASSIFY, {"hidden_layer_sizes": [(6,), (4, 3), ()], "alpha": [1e-4, 1.0]}, {}),
    "solvers": (CLASSIFY, {"solver": ["adam", "sgd", "lbfgs", "adamw"]}, {}),
    "stopping early": (
        clone(CLASSIFY).set_params(
            early_stopping=True, validation_fraction=0.3, n_iter_no_change=2
        ),
        RATES,
        {},
    ),
    "seeds": (CLASSIFY, {"random_state": [0, 1, np.random.RandomState(2)]}, {}),
    "dropout": (CLASSIFY, {"dropout": [0.0, 0.5], "class_weight": [None, "balanced"]}, {}),
    "two folds, scores of training": (CLASSIFY, RATES, {"cv": 2, "return_train_score": True}),
    "a splitter": (CLASSIFY, RATES, {"cv": ShuffleSplit(2, test_size=20, random_state=0)}),
    "splits": (CLASSIFY, RATES, {"cv": [(np.arange(40), np.arange(40, 60))] * 2}),
    "masks": (CLASSIFY, RATES, {"cv": [(np.arange(60) < 40, np.arange(60) >= 40)] * 2}),
    "a metric": (CLASSIFY, RATES, {"scoring": "neg_log_loss"}),
    "a function": (CLASSIFY, RATES, {"scoring": get_scorer("f1_macro")}),
    "a list of metrics": (
        CLASSIFY,
        RATES,
        {"scoring": ["accuracy", "neg_log_loss"], "refit": "neg_log_loss"},
    ),
    "metrics by name": (
        CLASSIFY,
        RATES,
        {"scoring": {"a": "accuracy", "f": "f1_macro"}, "refit": False, "return_train_score": True},
    ),
    "a function of metrics": (CLASSIFY, RATES, {"scoring": two_scores, "refit": "sure"}),
    "no refit": (CLASSIFY, RATES, {"refit": False}),
    "refit by a function": (CLASSIFY, RATES, {"refit": second}),
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


@pytest.mark.parametrize("what", SEARCHES)
def test_the_results_are_those_of_a_grid_search(what: str) -> None:
    estimator, grid, given = SEARCHES[what]
    given = {"cv": 3, **given}
    ours = MLPSearchCV(estimator, grid, **given).fit(X, NAMES)
    assert_same_search(ours, GridSearchCV(estimator, grid, **given).fit(X, NAMES))
    if len(ours.cv_results_["params"]) > 3 and not ours.multimetric_:
        assert len(set(ours.cv_results_["mean_test_score"])) > 1  # else they prove nothing


@pytest.mark.parametrize("y", [Z, Z[:, 0]], ids=["columns", "one"])
def test_regressors_are_searched(y: Any) -> None:
    given = {"scoring": ["r2", "neg_mean_absolute_error"], "refit": "r2", "cv": 3}
    ours = MLPSearchCV(REGRESS, {"loss": ["squared_error", "huber"], **RATES}, **given).fit(X, y)
    theirs = GridSearchCV(REGRESS, {"loss": ["squared_error", "huber"], **RATES}, **given).fit(X, y)
    assert_same_search(ours, theirs)
    assert ours.score(X, y) == theirs.score(X, y)
    assert not hasattr(ours, "predict_proba")


@pytest.mark.parametrize("estimator", [CLASSIFY, scaled()], ids=["network", "pipeline"])
def test_a_random_search_draws_the_same_candidates(estimator: Any) -> None:
    grid = RATES if estimator is CLASSIFY else IN_PIPELINE
    drawn = {next(iter(grid)): loguniform(1e-5, 10.0)}
    given = {"n_iter": 4, "random_state": 3, "cv": 2}
    ours = MLPSearchCV(estimator, param_distributions=grid | drawn, **given).fit(X, Y)
    assert_same_search(ours, RandomizedSearchCV(estimator, grid | drawn, **given).fit(X, Y))


@pytest.mark.parametrize("form", ["pandas", "polars", "csr", "lists", "several labels"])
def test_data_of_each_form_are_searched_on(form: str) -> None:
    data, y = X, NAMES
    if form in ("pandas", "polars"):
        library = pytest.importorskip(form)
        data = library.DataFrame(X, **{"columns" if form == "pandas" else "schema": list("abcd")})
        y = library.Series(NAMES)
    elif form == "csr":
        data = csr_matrix(np.where(X > 2, X, 0.0))
    elif form == "lists":
        data, y = X.tolist(), NAMES.tolist()
    else:
        y = COLUMNS
    ours = MLPSearchCV(CLASSIFY, RATES, cv=3).fit(data, y)
    theirs = GridSearchCV(CLASSIFY, RATES, cv=3).fit(data, y)
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
    ours = MLPSearchCV(CLASSIFY, RATES, **given).fit(X, NAMES, **fit)
    assert_same_search(ours, GridSearchCV(CLASSIFY, RATES, **given).fit(X, NAMES, **fit))
    plain = MLPSearchCV(CLASSIFY, RATES, **given).fit(X, NAMES, groups=GROUPS)
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
    grid, given = RATES if estimator is CLASSIFY else IN_PIPELINE, {"cv": 2}
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
            MLPSearchCV(CLASSIFY, RATES).fit(X, NAMES, sample_weight=WEIGHT)


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
    real: Callable[..., Any] = trials.fit_together

    def counted(estimators: Any, *args: Any, **given: Any) -> Any:
        calls.append(len(estimators))
        return real(estimators, *args, **given)

    monkeypatch.setattr(trials, "fit_together", counted)
    return calls


def test_all_candidates_and_folds_train_together(together: list[int]) -> None:
    MLPSearchCV(CLASSIFY, RATES, cv=3).fit(X, Y, sample_weight=WEIGHT)
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


def test_a_search_is_searched_and_cross_validated() -> None:
    search = MLPSearchCV(CLASSIFY, RATES, cv=2)
    ours = cross_val_score(make_pipeline(StandardScaler(), search), X, Y, cv=2)
    theirs = make_pipeline(StandardScaler(), GridSearchCV(CLASSIFY, RATES, cv=2))
    assert ours.tolist() == pytest.approx(cross_val_score(theirs, X, Y, cv=2).tolist())
    assert ours.min() > 0.4


def test_it_is_cloned_pickled_and_shown() -> None:
    search = MLPSearchCV(CLASSIFY, RATES, cv=2)
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
    search = MLPSearchCV(CLASSIFY, RATES, cv=2).fit(X, Y)
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
    search = MLPSearchCV(CLASSIFY, RATES)
    with pytest.raises(AttributeError, match="set them on its estimator"):
        search.set_callbacks()
    watch = pytest.importorskip("sklearn.callback").ScoringMonitor(scoring="accuracy")
    model = clone(CLASSIFY).set_callbacks(watch)
    MLPSearchCV(model, {"alpha": [1e-4, 1.0]}, cv=2).fit(X, NAMES)
    runs = [run.data for run in watch.get_logs(select="all")]
    epochs = [sum(row["task_name"] == "epoch" for row in run) for run in runs]
    assert epochs == [CLASSIFY.max_iter] * (2 * 2 + 1)


def test_on_each_backend_the_scores_are_those_on_numpy(quick_backend: Backend) -> None:
    here = MLPSearchCV(CLASSIFY, RATES, cv=2, return_train_score=True).fit(X, Y)
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
    "learning_rate_init": 0.1,
    "max_iter": 10,
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

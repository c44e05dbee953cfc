"""Names of features, and metadata on their way to the estimators."""

from functools import partial
from typing import Any

import numpy as np
import pytest

pytest.importorskip("sklearn", minversion="1.7")

import sklearn
from sklearn.compose import make_column_transformer
from sklearn.exceptions import UnsetMetadataPassedError
from sklearn.model_selection import GridSearchCV, cross_validate
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from arraymlp import MLPClassifier, MLPRegressor
from sklearn_problem import (
    BOTH,
    FEATURES,
    NAMES,
    WEIGHT,
    X,
    Z,
    assert_close,
    assert_same_network,
    classify,
    fitted,
    frame,
    mlp,
    regress,
    target,
)

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    # From scikit-learn's own L-BFGS, up to 1.7
    pytest.mark.filterwarnings("ignore:.*`disp` and `iprint` options:DeprecationWarning"),
]
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
    result = cross_validate(model, X, NAMES, params={"sample_weight": WEIGHT}, cv=splits)
    expected = []
    for rows, rest in splits:
        model_of_fold = classify().fit(X[rows], NAMES[rows], WEIGHT[rows])
        expected.append(model_of_fold.score(X[rest], NAMES[rest], WEIGHT[rest]))
    assert result["test_score"].tolist() == expected
    assert (
        result["test_score"].tolist()
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

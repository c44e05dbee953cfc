"""Ensembles of estimators: members as if fitted alone, and predictions that are their mean."""

import copy
import inspect
import pickle
import re
from typing import Any

import numpy as np
import pytest

pytest.importorskip("sklearn", minversion="1.7")

from scipy.sparse import csr_matrix, issparse
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.metrics import accuracy_score, r2_score
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import estimator_html_repr

import arraymlp
from arraymlp import (
    Backend,
    Ensemble,
    MLPClassifier,
    MLPEnsembleClassifier,
    MLPEnsembleRegressor,
    MLPRegressor,
    resolve,
)
from arraymlp.estimators import ensembles
from arraymlp.losses import Quantile
from conftest import assert_same, on_host
from sklearn_checks import failures, require_none
from sklearn_problem import COLUMNS, NAMES, WEIGHT, X, Y, Z, frame

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

BOTH = pytest.mark.parametrize("name", ["MLPEnsembleClassifier", "MLPEnsembleRegressor"])
SMALL: dict[str, Any] = {"hidden_layer_sizes": (6,), "max_iter": 12, "learning_rate_init": 0.02}


def classify(n: int = 3, **parameters: Any) -> MLPEnsembleClassifier:
    return MLPEnsembleClassifier(MLPClassifier(**{**SMALL, **parameters}), n, random_state=0)


def regress(n: int = 3, **parameters: Any) -> MLPEnsembleRegressor:
    return MLPEnsembleRegressor(MLPRegressor(**{**SMALL, **parameters}), n, random_state=0)


def ensemble(name: str, n: int = 3, **parameters: Any) -> Any:
    return (classify if name == "MLPEnsembleClassifier" else regress)(n, **parameters)


def target(name: str) -> Any:
    return NAMES if name == "MLPEnsembleClassifier" else Z


def of_members(model: Any, method: str, x: Any = X) -> Any:
    """Every member's prediction, (K, ...)."""
    return np.stack([getattr(member, method)(x) for member in model.estimators_])


# Members


@BOTH
@pytest.mark.parametrize(
    "parameters",
    [{}, {"early_stopping": True, "validation_fraction": 0.3}, {"solver": "lbfgs"}],
    ids=str,
)
def test_members_are_those_of_a_fit_alone(name: str, parameters: dict[str, Any]) -> None:
    model = ensemble(name, **parameters).fit(X, target(name), WEIGHT)
    seeds = np.random.RandomState(0).randint(2**31 - 1, size=3).tolist()
    assert [member.random_state for member in model.estimators_] == seeds
    for member, seed in zip(model.estimators_, seeds, strict=True):
        alone = clone(model.estimator).set_params(random_state=seed).fit(X, target(name), WEIGHT)
        assert type(member) is type(alone)
        assert member.n_iter_ == alone.n_iter_
        for a, b in zip(member.coefs_, alone.coefs_, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-7, atol=1e-9)
    a, b = model.estimators_[:2]
    assert (a.coefs_[0] != b.coefs_[0]).all()


@BOTH
def test_a_larger_ensemble_has_the_members_of_a_smaller_one(name: str) -> None:
    small, large = (ensemble(name, n).fit(X, target(name)) for n in (2, 4))
    assert len(small.estimators_) == len(small.ensemble_) == 2
    assert len(large.estimators_) == len(large.ensemble_) == 4
    for a, b in zip(small.estimators_, large.estimators_, strict=False):
        np.testing.assert_allclose(a.coefs_[0], b.coefs_[0], rtol=1e-7, atol=1e-9)


@BOTH
def test_members_train_together(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    calls, real = [], ensembles.fit_together

    def counted(estimators: Any, *args: Any, **given: Any) -> Any:
        calls.append(len(estimators))
        return real(estimators, *args, **given)

    monkeypatch.setattr(ensembles, "fit_together", counted)
    model = ensemble(name).fit(X, target(name))
    assert calls == [3]
    assert [network.members for network in model.ensemble_.networks] == [3]


def test_the_random_state_decides() -> None:
    first, same = (classify().fit(X, Y).predict_proba(X) for _ in range(2))
    other = classify().set_params(random_state=1).fit(X, Y).predict_proba(X)
    assert first.tolist() == same.tolist()
    assert (first != other).any()
    state = np.random.RandomState(0)
    drawn = classify().set_params(random_state=state)
    assert drawn.fit(X, Y).predict_proba(X).tolist() == first.tolist()
    assert (drawn.fit(X, Y).predict_proba(X) != first).any()  # it goes on
    unseeded = classify().set_params(random_state=None)
    assert (unseeded.fit(X, Y).predict_proba(X) != unseeded.fit(X, Y).predict_proba(X)).any()


@BOTH
def test_what_fails_is_raised(name: str) -> None:
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        ensemble(name).fit(X, target(name)[:1])
    with pytest.raises(ValueError, match="The validation set is too small"):
        ensemble(name, early_stopping=True, validation_fraction=0.01).fit(X, target(name))
    with pytest.raises(ValueError, match="'alpha' parameter of MLP"):
        ensemble(name, alpha=-1.0).fit(X, target(name))
    with pytest.raises(ValueError, match=f"'n_estimators' parameter of {name}"):
        ensemble(name, 0).fit(X, target(name))
    with pytest.raises(ValueError, match=f"'estimator' parameter of {name}"):
        getattr(arraymlp, name)(StandardScaler()).fit(X, target(name))
    with pytest.raises(NotFittedError):
        ensemble(name).predict(X)


# Predictions


@pytest.mark.parametrize("y", [NAMES, Y, Y > 0, COLUMNS], ids=["names", "three", "two", "labels"])
def test_probabilities_are_the_mean_and_labels_the_likeliest(y: Any) -> None:
    model = classify().fit(X, y)
    p, spread = model.predict_proba(X, return_std=True)
    expected = of_members(model, "predict_proba")
    np.testing.assert_allclose(p, expected.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(spread, expected.std(axis=0), rtol=1e-7, atol=1e-12)
    assert spread.max() > 0.01
    assert p.tolist() == model.predict_proba(X).tolist()
    np.testing.assert_allclose(model.predict_log_proba(X), np.log(p), rtol=1e-12)
    predicted = model.predict(X)
    assert predicted.dtype == y.dtype
    if y.ndim == 2:
        assert predicted.tolist() == (p > 0.5).astype(int).tolist()
    else:
        assert model.classes_.tolist() == np.unique(y).tolist()
        assert predicted.tolist() == model.classes_[p.argmax(axis=1)].tolist()
    assert model.n_outputs_ == model.estimators_[0].n_outputs_ == (1 if y.dtype == bool else 3)
    assert model.score(X, y) == accuracy_score(y, predicted) > 0.4
    assert model.score(X, y, WEIGHT) == accuracy_score(y, predicted, sample_weight=WEIGHT)


@pytest.mark.parametrize("y", [Z, Z[:, 0]], ids=["columns", "one"])
def test_regression_is_the_mean_with_a_spread(y: Any) -> None:
    model = regress().fit(X, y)
    mean, spread = model.predict(X, return_std=True)
    expected = of_members(model, "predict")
    assert mean.shape == spread.shape == y.shape
    np.testing.assert_allclose(mean, expected.mean(axis=0), rtol=1e-7, atol=1e-12)
    np.testing.assert_allclose(spread, expected.std(axis=0), rtol=1e-7, atol=1e-12)
    assert spread.max() > 0.01
    assert model.predict(X).tolist() == mean.tolist()
    assert model.score(X, y) == r2_score(y, mean)
    assert model.score(X, y, WEIGHT) == r2_score(y, mean, sample_weight=WEIGHT)


@pytest.mark.parametrize("y", [Z, Z[:, 0]], ids=["columns", "one"])
def test_of_quantiles_the_one_nearest_to_the_median_is_predicted(y: Any) -> None:
    model = regress(loss=Quantile((0.1, 0.4, 0.9))).fit(X, y)
    mean, spread = model.predict(X, return_std=True)
    middle = np.stack([m.predict_quantiles(X)[..., 1] for m in model.estimators_])
    np.testing.assert_allclose(mean, middle.mean(axis=0), rtol=1e-7, atol=1e-12)
    np.testing.assert_allclose(spread, middle.std(axis=0), rtol=1e-7, atol=1e-12)


def test_far_from_the_data_the_members_disagree_more() -> None:
    x = np.linspace(-2, 2, 50)[:, None]
    model = regress(5, max_iter=200).fit(x, np.sin(x[:, 0]))
    _, spread = model.predict([[0.0], [20.0]], return_std=True)
    assert spread[1] > 5 * spread[0]


def test_sparse_rows_and_labels_are_taken_and_given() -> None:
    x = np.where(X > 2, X, 0.0)
    dense, sparse = classify().fit(x, COLUMNS), classify().fit(csr_matrix(x), csr_matrix(COLUMNS))
    predicted = sparse.predict(csr_matrix(x))
    assert issparse(predicted)
    assert predicted.toarray().tolist() == dense.predict(x).tolist()


@pytest.mark.parametrize("library", ["pandas", "polars"])
@BOTH
def test_names_of_features_are_kept_and_asked_for(name: str, library: str) -> None:
    model = ensemble(name).fit(frame(library), target(name))
    assert model.feature_names_in_.tolist() == list("abcd")
    assert model.n_features_in_ == 4
    with pytest.raises(ValueError, match="feature names"):
        model.predict(frame(library, names=list("abce")))
    assert not hasattr(model.fit(X, target(name)), "feature_names_in_")
    with pytest.raises(ValueError, match=f"X has 3 features, but {name} is expecting 4"):
        model.predict(X[:, :3])


# Backends


@BOTH
def test_on_each_backend_everything_follows_x(name: str, quick_backend: Backend) -> None:
    y = Y if name == "MLPEnsembleClassifier" else Z
    x = quick_backend.asarray(X)
    here = ensemble(name).fit(X, y)
    there = ensemble(name).fit(x, quick_backend.asarray(y))
    numbers = "predict_proba" if hasattr(here, "predict_proba") else "predict"
    for method in {"predict", numbers}:
        expected = quick_backend.asarray(getattr(here, method)(X))
        assert_same(getattr(there, method)(x), expected, rtol=1e-6, atol=1e-9)
    assert there.score(x, quick_backend.asarray(y)) == pytest.approx(here.score(X, y))
    predicted = getattr(there, numbers)(x, return_std=True)
    for array, expected in zip(predicted, getattr(here, numbers)(X, return_std=True), strict=True):
        assert_same(array, quick_backend.asarray(expected), rtol=1e-6, atol=1e-9)
    if quick_backend.name == "numpy":
        return
    with pytest.raises(ValueError, match=rf"passed to {name}.predict\(\) must use the same name"):
        there.predict(X)
    moved = there.to("numpy")
    expected = on_host(getattr(there, numbers)(x))  # it is where it was
    np.testing.assert_allclose(getattr(moved, numbers)(X), expected, rtol=1e-6, atol=1e-9)


def test_trained_elsewhere_it_opens_where_its_data_are(quick_backend: Backend) -> None:
    model = classify(backend=quick_backend).fit(X, NAMES)
    assert model.ensemble_.backend == quick_backend
    opened = pickle.loads(pickle.dumps(model))
    assert opened.ensemble_.backend == resolve("numpy")
    np.testing.assert_allclose(opened.predict_proba(X), model.predict_proba(X), rtol=1e-6)
    assert opened.predict(X).tolist() == model.predict(X).tolist()


# Among scikit-learn's


@BOTH
def test_it_is_copied_cloned_pickled_and_shown(name: str) -> None:
    model = ensemble(name).fit(X, target(name))
    assert repr(model).startswith(f"{name}(estimator=MLP")
    assert not hasattr(clone(model), "estimators_")
    for same in (pickle.loads(pickle.dumps(model)), copy.copy(model), copy.deepcopy(model)):
        assert same.predict(X).tolist() == model.predict(X).tolist()
        assert isinstance(same.ensemble_, Ensemble)
    assert name in estimator_html_repr(model)
    assert "n_estimators" in model._repr_html_()


def test_it_is_searched_in_a_pipeline() -> None:
    steps = "mlpensembleclassifier__"
    grid = {f"{steps}estimator__alpha": [1e-4, 1.0], f"{steps}n_estimators": [1, 3]}
    search = GridSearchCV(make_pipeline(StandardScaler(), classify()), grid, cv=2).fit(X, NAMES)
    assert search.best_score_ > 0.4
    assert len(set(search.cv_results_["mean_test_score"])) > 1


@BOTH
def test_the_prototype_is_optional_and_left_alone(name: str) -> None:
    model = ensemble(name)
    before = str(model.get_params())
    model.fit(X, target(name))
    assert str(model.get_params()) == before
    assert not hasattr(model.estimator, "network_")
    plain = getattr(arraymlp, name)(n_estimators=1, random_state=0).fit(X, target(name))
    assert plain.estimator is None
    assert plain.estimators_[0].hidden_layer_sizes == (100,)


@BOTH
def test_every_parameter_and_attribute_is_in_the_docstring(name: str) -> None:
    model = ensemble(name).fit(X, target(name))
    parameters, attributes = (
        re.findall(r"^ {4}(\w+) :", part, re.MULTILINE)
        for part in re.split(r"\n\s+Attributes\n", type(model).__doc__, maxsplit=1)
    )
    assert parameters == list(inspect.signature(type(model)).parameters)
    public = {n for n in vars(model) if n.endswith("_") and not n.startswith("_")}
    assert public == set(attributes) - {"feature_names_in_"}


@BOTH
def test_it_is_imported_when_asked_for(name: str) -> None:
    assert name in dir(arraymlp)
    assert getattr(arraymlp, name).__name__ == name


@BOTH
def test_no_check_of_scikit_learn_fails(name: str) -> None:
    Member = MLPClassifier if name == "MLPEnsembleClassifier" else MLPRegressor
    member = Member(hidden_layer_sizes=(20,), learning_rate_init=0.1, max_iter=10)
    require_none(failures(getattr(arraymlp, name)(member, n_estimators=2)))

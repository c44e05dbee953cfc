"""Everything follows X: where it is trained, and where its results are."""

import pickle
from typing import Any

import numpy as np
import pytest

pytest.importorskip("sklearn", minversion="1.7")


import arraymlp
from arraymlp import Backend, MLPClassifier, MLPRegressor
from conftest import assert_same, on_host
from sklearn_pairs import (
    BASE,
    BATCH,
    COLUMNS,
    COUNTS,
    EACH,
    LABELS,
    SCORES,
    SGD_SOLVER,
    TARGETS,
    TWO,
    WEIGHT,
    Both,
    Given,
    HostArray,
    N,
    X,
    assert_parity,
    assert_same_weights,
    refusal,
    warned,
)


def precision(backend: Backend) -> str:
    """The dtype "float64", or where a backend has none, "float32"."""
    try:
        backend.dtype("float64")
    except ValueError:
        return "float32"
    return "float64"


def tolerance(dtype: str) -> Given:
    return {"rtol": 1e-9, "atol": 1e-11} if dtype == "float64" else {"rtol": 2e-3, "atol": 1e-4}


def on(backend: Backend, values: Any) -> Any:
    """Values on a backend; numbers in its precision."""
    values = np.asarray(values)
    return backend.asarray(values, precision(backend) if values.dtype.kind == "f" else None)


# Since JAX compiles for each shape: one hidden layer, and all rows in every step.
FEW_SHAPES = BASE | SGD_SOLVER | {"hidden_layer_sizes": (6,), "batch_size": N, "max_iter": 3}


def fitted_there_and_here(
    backend: Backend, Estimator: type, y: HostArray, weight: HostArray | None = None, **given: Any
) -> tuple[Any, Any, Any, HostArray]:
    """An estimator fitted on a backend, one on NumPy in the same precision, and the X of each."""
    given = FEW_SHAPES | given
    here = X.astype(precision(backend))
    there = on(backend, X)
    of_x = Estimator(**given)
    w = None if weight is None else on(backend, weight)
    warned(of_x.fit, there, y if y.dtype.kind in "USO" else on(backend, y), w)
    of_numpy = Estimator(**given)
    warned(of_numpy.fit, here, y, weight)
    return of_x, of_numpy, there, here


PROBLEMS: dict[str, tuple[type, HostArray, Given]] = {
    "two classes": (MLPClassifier, TWO, {}),
    "three classes": (MLPClassifier, np.array([2, 5, 70])[LABELS], {}),
    "booleans": (MLPClassifier, TWO == 1, {}),
    "one class": (MLPClassifier, np.full(N, 7), {}),
    "several labels": (MLPClassifier, COLUMNS, {}),
    "numbers": (MLPRegressor, SCORES[:, 0], {}),
    "columns, by adam": (MLPRegressor, SCORES, {"solver": "adam"}),
    "counts": (MLPRegressor, COUNTS[:, 0], {"loss": "poisson"}),
    "quantiles": (MLPRegressor, SCORES[:, 0], {"loss": "quantile"}),
}


def assert_everything_follows_x(backend: Backend, problem: str) -> None:
    Estimator, y, given = PROBLEMS[problem]
    ours, expected, there, here = fitted_there_and_here(backend, Estimator, y, **given)
    close = tolerance(precision(backend))
    assert ours.backend_ == backend
    assert ours.network_.backend == backend
    for name in ("coefs_", "intercepts_"):
        for a, b in zip(getattr(ours, name), getattr(expected, name), strict=True):
            assert_same(a, on(backend, b), **close)
    np.testing.assert_allclose(ours.loss_curve_, expected.loss_curve_, **close)
    assert all(type(loss) is float for loss in ours.loss_curve_)
    methods = ["predict"]
    if Estimator is MLPClassifier:
        assert_same(ours.classes_, on(backend, expected.classes_))
        methods += ["predict_proba", "predict_log_proba"]
    if given.get("loss") == "quantile":
        methods.append("predict_quantiles")
    for method in methods:
        assert_same(
            getattr(ours, method)(there), on(backend, getattr(expected, method)(here)), **close
        )
    score = ours.score(there, on(backend, y))
    assert type(score) is float
    assert score == pytest.approx(
        expected.score(here, y), rel=1e-3 if close["rtol"] > 1e-4 else 1e-9
    )


@pytest.mark.parametrize("problem", PROBLEMS)
def test_everything_follows_x(quick_backend: Backend, problem: str) -> None:
    assert_everything_follows_x(quick_backend, problem)


def test_everything_follows_x_on_every_backend(backend: Backend) -> None:
    assert_everything_follows_x(backend, "three classes")


def test_rows_are_held_out_where_x_is(quick_backend: Backend) -> None:
    given = {"early_stopping": True, "max_iter": 6, "batch_size": BATCH}
    ours, expected, *_ = fitted_there_and_here(quick_backend, MLPClassifier, LABELS, **given)
    np.testing.assert_allclose(ours.validation_scores_, expected.validation_scores_, rtol=1e-12)
    for a, b in zip(ours.coefs_, expected.coefs_, strict=True):
        assert_same(a, on(quick_backend, b), **tolerance(precision(quick_backend)))


def test_strings_stay_on_the_host(quick_backend: Backend) -> None:
    y = np.array(["b", "a", "longer"])[LABELS]
    ours, expected, there, here = fitted_there_and_here(quick_backend, MLPClassifier, y)
    for labels in (ours.classes_, ours.predict(there)):
        assert type(labels) is np.ndarray
    np.testing.assert_array_equal(ours.classes_, ["a", "b", "longer"])
    np.testing.assert_array_equal(ours.predict(there), expected.predict(here))
    assert_same(
        ours.predict_proba(there), on(quick_backend, expected.predict_proba(here)), 2e-3, 1e-4
    )
    assert ours.score(there, y) == pytest.approx(expected.score(here, y))


def another(backend: Backend, strict: Backend) -> Backend:
    """A backend that is not this one."""
    return strict if backend.name == "numpy" else arraymlp.resolve("numpy")


def test_arrays_of_another_namespace_are_refused(
    quick_backend: Backend, strict_backend: Backend
) -> None:
    model, *_ = fitted_there_and_here(
        quick_backend, MLPClassifier, LABELS, max_iter=1, warm_start=True
    )
    there = on(another(quick_backend, strict_backend), X)
    for call in (
        model.predict,
        model.predict_proba,
        lambda X_: model.score(X_, LABELS),
        lambda X_: model.fit(X_, LABELS),
        lambda X_: model.partial_fit(X_, LABELS),
    ):
        assert "must use the same namespace" in str(refusal(call, there))
    warned(model.set_params(warm_start=False).fit, there, LABELS)  # anew it may be any
    assert model.predict(there).shape == (N,)


@EACH
def test_to_moves_an_estimator(quick_backend: Backend, Estimator: type) -> None:
    y = TARGETS[Estimator]
    here = X.astype(precision(quick_backend))
    model = Estimator(**FEW_SHAPES)
    warned(model.fit, here, y)
    before = [np.array(w) for w in model.coefs_]
    moved = model.to(quick_backend.name, quick_backend.device)
    assert type(moved) is Estimator
    assert moved.backend_ == quick_backend
    close = tolerance(precision(quick_backend))
    assert_same(
        moved.predict(on(quick_backend, X)), on(quick_backend, model.predict(here)), **close
    )
    if Estimator is MLPClassifier:
        assert_same(moved.classes_, on(quick_backend, model.classes_))
    moved.partial_fit(on(quick_backend, X), on(quick_backend, y))
    for a, b in zip(model.coefs_, before, strict=True):  # the first one stays what it was
        np.testing.assert_array_equal(a, b)
    assert model.n_iter_ == 3
    model.partial_fit(here, y)  # the optimiser's state has moved, too
    for a, b in zip(moved.coefs_, model.coefs_, strict=True):
        assert_same(a, on(quick_backend, b), **close)
    back = moved.to("numpy")
    assert_same(back.predict(here), model.predict(here), **close)


def test_targets_and_weights_may_be_anywhere(
    quick_backend: Backend, strict_backend: Backend
) -> None:
    """y and weights on the host, or of another namespace than X: they go to where X is."""
    given = FEW_SHAPES
    elsewhere = another(quick_backend, strict_backend)
    models = []
    for of_y in (quick_backend, elsewhere):
        model = MLPClassifier(**given)
        warned(model.fit, on(quick_backend, X), on(of_y, LABELS), on(of_y, WEIGHT))
        assert model.backend_ == quick_backend
        models.append(model)
    for a, b in zip(models[0].coefs_, models[1].coefs_, strict=True):
        assert_same(a, b, rtol=1e-6, atol=1e-7)
    regressor = MLPRegressor(**given)
    warned(regressor.fit, on(quick_backend, X), on(elsewhere, SCORES))
    assert regressor.score(on(quick_backend, X), on(elsewhere, SCORES)) < 1


def test_validation_data_follow_x(quick_backend: Backend) -> None:
    model = MLPRegressor(**FEW_SHAPES)
    more = {"X_val": on(quick_backend, X[::-1]), "y_val": on(quick_backend, SCORES)}
    warned(model.fit, on(quick_backend, X), on(quick_backend, SCORES), **more)
    assert len(model.validation_scores_) == 3
    expected = model.score(on(quick_backend, X[::-1]), SCORES)
    assert model.validation_scores_[-1] == pytest.approx(expected, abs=1e-5)


@EACH
@pytest.mark.parametrize("solver", ["adam", "sgd", "adamw", "lbfgs"])
def test_arrays_of_the_caller_are_never_written(Estimator: type, solver: str) -> None:
    arrays = [X.copy(), TARGETS[Estimator].copy(), WEIGHT.copy()]
    for array in arrays:
        array.flags.writeable = False
    model = Estimator(**BASE | {"solver": solver, "max_iter": 2})
    warned(model.fit, *arrays)
    model.predict(arrays[0])
    if solver != "lbfgs":
        warned(model.fit, *arrays, X_val=arrays[0], y_val=arrays[1])
        model.partial_fit(*arrays)


@pytest.mark.parametrize("solver", ["adam", "sgd", "lbfgs"])
def test_device_arrays_of_the_caller_are_never_written(backend: Backend, solver: str) -> None:
    arrays = [on(backend, X), on(backend, LABELS), on(backend, WEIGHT)]
    before = [np.array(on_host(array)) for array in arrays]
    given = FEW_SHAPES | {"solver": solver, "shuffle": False}
    model = MLPClassifier(**given)
    warned(model.fit, *arrays)
    predicted = model.predict_proba(arrays[0])
    model.predict_log_proba(arrays[0])
    for array, was in zip(arrays, before, strict=True):
        np.testing.assert_array_equal(on_host(array), was)
    assert_same(model.predict_proba(arrays[0]), predicted)


@EACH
def test_what_was_moved_has_records_of_its_own(Estimator: type) -> None:
    model = Estimator(**BASE)
    warned(model.fit, X, TARGETS[Estimator], X_val=X, y_val=TARGETS[Estimator])
    moved = model.to("numpy")
    warned(moved.partial_fit, X, TARGETS[Estimator])
    assert len(moved.loss_curve_) == len(moved.history_) == model.n_iter_ + 1
    for records in (model.loss_curve_, model.validation_scores_, model.history_):
        assert len(records) == model.n_iter_


@EACH
@pytest.mark.parametrize("name", ["torch", "array_api_strict"])
def test_a_named_backend_trains_host_data(Estimator: type, name: str) -> None:
    if name == "torch":
        pytest.importorskip("torch")
    both = Both(Estimator).fit(X, TARGETS[Estimator])
    model = Estimator(**BASE, backend=name)
    warned(model.fit, X, TARGETS[Estimator])
    assert model.network_.backend.name == model.backend_.name == name
    both.ours = model
    assert_parity(both)  # types and dtypes as well
    opened = pickle.loads(pickle.dumps(model))
    assert opened.network_.backend.name == "numpy"
    assert model.network_.backend.name == name  # it stays where it was
    both.ours = opened
    assert_parity(both)
    warned(both.partial_fit, X, TARGETS[Estimator])
    assert_same_weights(both.ours, both.theirs)
    warned(model.partial_fit, X, TARGETS[Estimator])
    assert model.network_.backend.name == name
    assert_same_weights(model, both.theirs)


def test_a_pickle_goes_on_as_the_estimator_would(quick_backend: Backend) -> None:
    y = SCORES[:, 0]
    model, _, there, _ = fitted_there_and_here(quick_backend, MLPRegressor, y)
    opened = pickle.loads(pickle.dumps(model))
    assert_same(opened.predict(there), model.predict(there))
    for estimator in (model, opened):
        estimator.partial_fit(there, on(quick_backend, y))
    for a, b in zip(opened.coefs_, model.coefs_, strict=True):
        assert_same(a, b)


def test_whole_numbers_train_in_double_precision_where_there_is_one(backend: Backend) -> None:
    model = MLPRegressor(**FEW_SHAPES)
    warned(model.fit, on(backend, COUNTS), on(backend, SCORES[:, 0]))
    assert str(model.coefs_[0].dtype).endswith(precision(backend))
    assert model.predict(on(backend, COUNTS)).shape == (N,)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_dtype_may_be_chosen(dtype: str) -> None:
    for given in (X, X.astype(np.float32)):
        model = MLPClassifier(**BASE | {"max_iter": 1}, dtype=dtype)
        warned(model.fit, given, LABELS)
        assert model.coefs_[0].dtype == dtype
        assert model.predict_proba(given).dtype == dtype


def test_weights_can_be_set() -> None:
    model, other = (MLPRegressor(**BASE | {"random_state": seed}) for seed in (1, 2))
    for estimator in (model, other):
        warned(estimator.fit, X, SCORES)
    given = [np.array(w) for w in other.coefs_], [np.array(b) for b in other.intercepts_]
    model.coefs_, model.intercepts_ = given
    np.testing.assert_array_equal(model.predict(X), other.predict(X))
    model.partial_fit(X, SCORES)
    np.testing.assert_array_equal(given[0][0], other.coefs_[0])  # copied, not kept
    assert abs(model.coefs_[0] - other.coefs_[0]).max() > 0

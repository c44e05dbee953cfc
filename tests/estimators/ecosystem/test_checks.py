"""scikit-learn's own checks of estimators: none is expected to fail, and those on devices run.

Its checks of the array API need SCIPY_ARRAY_API=1 from the start of the process, and are skipped
without it. Where a backend is required (ARRAYMLP_REQUIRE_BACKENDS), its checks fail instead.
"""

import os
from collections.abc import Callable
from functools import partial
from inspect import signature
from types import SimpleNamespace
from typing import Any
from unittest import SkipTest

import pytest

pytest.importorskip("sklearn", minversion="1.7")

from sklearn import neural_network
from sklearn.base import clone
from sklearn.utils import estimator_checks
from sklearn.utils.estimator_checks import check_array_api_input

import arraymlp
from arraymlp import Backend, MLPClassifier, MLPRegressor
from arraymlp.losses import Quantile
from conftest import DEVICES, REQUIRED
from sklearn_checks import failures, outcome, outcomes, require_none

pytestmark = pytest.mark.xdist_group("checks")  # which share their outcomes
BOTH = pytest.mark.parametrize("name", ["MLPClassifier", "MLPRegressor"])
DISPATCH = os.environ.get("SCIPY_ARRAY_API") == "1"
NO_DISPATCH = "scikit-learn's array API needs SCIPY_ARRAY_API=1 before anything imports SciPy"
# Since 1.9: y on another device than X, and predictions for X on another device than in fit.
MIXED = getattr(estimator_checks, "check_array_api_mixed_inputs", None)
SAME = getattr(estimator_checks, "check_array_api_same_namespace", None)


# One object of each, so that its checks run once in this module.
DEFAULTS = {"MLPClassifier": MLPClassifier(), "MLPRegressor": MLPRegressor()}


@BOTH
def test_with_default_parameters_no_check_fails(name: str) -> None:
    require_none(failures(DEFAULTS[name]))


@BOTH
def test_only_checks_of_what_is_not_here_are_skipped(name: str) -> None:
    skipped = {c.func.__name__ for c, e in outcomes(DEFAULTS[name]) if isinstance(e, SkipTest)}
    absent = {"check_array_api_input", "check_array_api_mixed_inputs"}  # other devices
    if not DISPATCH:
        absent |= {"check_array_api_same_namespace"}
    if name == "MLPClassifier":  # has no decision_function
        absent |= {"check_classifiers_multilabel_output_format_decision_function"}
    assert skipped <= absent


@pytest.mark.parametrize(
    "estimator",
    [
        MLPClassifier(
            (10, 10), ("tanh", "silu"), solver="adamw", learning_rate_init=0.1, max_iter=10
        ),
        MLPRegressor(
            Quantile((0.1, 0.5, 0.9)),
            hidden_layer_sizes=(10,),
            learning_rate_init=0.1,
            max_iter=10,
        ),
    ],
    ids=lambda estimator: f"{type(estimator).__name__}-{estimator.solver}-{estimator.activation}",
)
def test_with_other_parameters_no_check_fails(estimator: Any) -> None:
    require_none(failures(estimator))


FAST = {"hidden_layer_sizes": (20,), "max_iter": 10}  # enough to learn what the checks ask for


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("MLPClassifier", {"solver": "sgd", "learning_rate_init": 0.3}),
        ("MLPRegressor", {"solver": "lbfgs", "max_iter": 20}),
        ("MLPClassifier", {"early_stopping": True, "learning_rate_init": 0.1}),  # no partial_fit
        ("MLPRegressor", {"early_stopping": True, "learning_rate_init": 0.1}),
    ],
    ids=str,
)
def test_no_check_fails_that_scikit_learns_own_estimator_passes(
    name: str, parameters: dict[str, Any]
) -> None:
    theirs = getattr(neural_network, name)(**FAST | parameters)
    require_none(
        [
            (check, error)
            for check, error in failures(getattr(arraymlp, name)(**FAST | parameters))
            if "array_api" in check.func.__name__ or outcome(check, theirs) is None
        ]
    )


# The array API


def device_of(keywords: dict[str, Any]) -> str | None:
    """Of a check; up to 1.8 it has array_api_strict's own object."""
    device = keywords.get("device_name", keywords.get("device"))
    return None if device is None else getattr(device, "_device", device)


@pytest.mark.skipif(not DISPATCH, reason=NO_DISPATCH)
@BOTH
@pytest.mark.parametrize(
    "backend",
    [
        ("numpy", None, None),
        ("array_api_strict", "CPU_DEVICE", "float64"),
        ("array_api_strict", "device1", "float32"),
        ("torch", "cpu", "float64"),
        ("torch", "cpu", "float32"),
    ],
    ids=str,
)
def test_the_checks_of_an_array_library_are_passed_and_not_skipped(name: str, backend: Any) -> None:
    pytest.importorskip(backend[0])
    errors = {
        (c.keywords["array_namespace"], device_of(c.keywords), c.keywords.get("dtype_name")): e
        for c, e in outcomes(DEFAULTS[name])
        if c.func is check_array_api_input
    }
    assert errors[backend] is None


@pytest.mark.skipif(not DISPATCH, reason=NO_DISPATCH)
@pytest.mark.skipif(MIXED is None, reason="scikit-learn has these checks since 1.9")
@BOTH
def test_the_checks_of_two_array_libraries_are_passed_and_not_skipped(name: str) -> None:
    pytest.importorskip("torch")
    passed = [
        tuple(tuple(v) for v in c.keywords.values() if isinstance(v, tuple))
        for c, e in outcomes(DEFAULTS[name])
        if c.func is MIXED and e is None
    ]
    assert (("array_api_strict", "device1"), ("torch", "cpu")) in passed
    assert [e for c, e in outcomes(DEFAULTS[name]) if c.func is SAME] == [None]


@pytest.fixture
def backend(quick_backend: Backend) -> dict[str, Any]:
    """Each backend that works here but JAX, as scikit-learn's checks name it."""
    name, device = quick_backend.name, DEVICES[quick_backend.name]
    if not DISPATCH:
        if name in REQUIRED - {"numpy", "array_api_strict"}:
            pytest.fail(NO_DISPATCH)
        pytest.skip(NO_DISPATCH)
    if "device_name" in signature(check_array_api_input).parameters:
        return {"array_namespace": name, "device_name": device}
    if name == "array_api_strict":
        return {"array_namespace": name, "device": quick_backend.device}
    return {"array_namespace": name, "device": device}


SMALL = {
    "MLPClassifier": MLPClassifier((8,), max_iter=5, random_state=0),
    "MLPRegressor": MLPRegressor(hidden_layer_sizes=(8,), max_iter=5, random_state=0),
}


def require_pass(check: Callable[[Any], Any], estimator: Any) -> None:
    """Make the check, and raise its error."""
    error = outcome(check, estimator)
    if error is not None:
        raise AssertionError(f"{check} does not pass") from error


@BOTH
def test_on_each_backend_everything_follows_x(name: str, backend: dict[str, Any]) -> None:
    require_pass(partial(check_array_api_input, name, dtype_name="float32", **backend), SMALL[name])


@BOTH
@pytest.mark.parametrize("solver", ["adam", "sgd", "lbfgs"])
def test_on_each_backend_the_values_are_those_on_numpy(
    name: str, solver: str, backend: dict[str, Any]
) -> None:
    check = partial(estimator_checks.check_array_api_input_and_values, name, **backend)
    weights = "check_sample_weight" in signature(check).parameters
    estimator = clone(SMALL[name]).set_params(solver=solver)
    for more in ({}, {"check_sample_weight": True})[: 1 + weights]:
        require_pass(partial(check, dtype_name="float64", **more), estimator)


@pytest.mark.skipif(MIXED is None, reason="scikit-learn has this check since 1.9")
@BOTH
def test_y_and_weights_may_be_on_another_backend(name: str, backend: dict[str, Any]) -> None:
    there = SimpleNamespace(xp=backend["array_namespace"], device=backend["device_name"])
    here = SimpleNamespace(xp="numpy", device=None)
    for X, other in ((there, here), (here, there)):
        check = partial(MIXED, name, X_ns_and_device=X, other_ns_and_device=other)
        require_pass(partial(check, check_values=True), SMALL[name])


@pytest.mark.skipif(SAME is None, reason="scikit-learn has this check since 1.9")
@BOTH
def test_an_estimator_fitted_elsewhere_refuses_numpy(
    name: str, quick_backend: Backend, backend: dict[str, Any]
) -> None:
    check = partial(SAME, name, **backend)
    if quick_backend.name == "numpy":  # is where it was fitted
        assert "did not raise" in str(outcome(check, SMALL[name]))
    else:
        require_pass(check, SMALL[name])

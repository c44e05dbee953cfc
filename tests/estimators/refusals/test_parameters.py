"""Parameters that are refused, and in which words."""

from math import inf, nan
from typing import Any

import numpy as np
import pytest

pytest.importorskip("sklearn", minversion="1.7")


from sklearn.utils._param_validation import InvalidParameterError

from arraymlp import Dropout, MLPClassifier, MLPRegressor, resolve
from arraymlp.losses import Huber, Quantile
from arraymlp.nn.losses import LOSSES
from sklearn_pairs import (
    COLUMNS,
    EACH,
    LABELS,
    QUICK,
    SCORES,
    TARGETS,
    THEIRS,
    Given,
    X,
    quick_fit,
    refusal,
)

SHARED: dict[str, list[Any]] = {  # with scikit-learn, whose words they are refused in
    "hidden_layer_sizes": [0, -1, 3.5, None, "100"],
    "alpha": [-1e-9, nan, None, "0.1"],
    "batch_size": [0, -1, 2.5, None, "all"],
    "learning_rate": ["cosine", None, 0.1],
    "learning_rate_init": [0, -0.1, nan, None, "small"],
    "power_t": [-0.1, None],
    "max_iter": [0, -1, 1.5, None],
    "shuffle": [None, "yes", 2],
    "tol": [-1e-9, None, "0"],
    "verbose": ["loud", None, -1],
    "warm_start": [None, "yes"],
    "momentum": [-0.1, 1.1, None],
    "nesterovs_momentum": [None, "yes"],
    "validation_fraction": [-0.1, 1.0, 1.5, None],
    "beta_1": [-0.1, 1.0, None],
    "beta_2": [-0.1, 1.0, None],
    "epsilon": [0.0, -1e-8, None],
    "n_iter_no_change": [0, -1, 2.5, None, -inf],
    "max_fun": [0, -1, 1.5, None],
}
OURS: dict[str, list[Any]] = {
    "activation": ["sine", None, 3, {"relu"}],
    "solver": ["rmsprop", None, 1],
    "random_state": [-1, "seed", 1.5],
    "backend": [3, ["numpy"]],
    "dtype": ["float16", None, np.float32],
    "dropout": [-0.1, 1.0, None, "half"],
    "gradient_clip": [0.0, -1.0, "no"],
    "checkpoint": [3, b"fit.ckpt", True],
    "early_stopping": [None, "validation_loss", 2, {}],
    "loss": ["hinge", None, 3],
}
OF_ONE: dict[type, dict[str, list[Any]]] = {
    MLPClassifier: {
        "class_weight": ["unbalanced", 3, [1.0, 2.0]],
        "loss": ["squared_error", "softmax_cross_entropy", "huber"],
    },
    MLPRegressor: {"loss": ["log_loss", "softmax_cross_entropy", "Huber"]},
}
EVERY_VALUE = [
    pytest.param(Estimator, name, value, id=f"{Estimator.__name__}-{name}-{value!r}")
    for Estimator in TARGETS
    for table in (SHARED, OURS, OF_ONE[Estimator])
    for name, values in table.items()
    for value in values
]


def words_of(error: Exception) -> list[str]:
    """The words of a message; what is allowed is a set in it, in any order."""
    return sorted(word.strip(",.{}") for word in str(error).split())


@pytest.mark.parametrize(("Estimator", "name", "value"), EVERY_VALUE)
def test_bad_parameters_are_refused(Estimator: type, name: str, value: Any) -> None:
    model = Estimator(**QUICK).set_params(**{name: value})  # which accepts all
    refused = refusal(model.fit, X, TARGETS[Estimator])
    assert isinstance(refused, InvalidParameterError)
    assert f"The {name!r} parameter of {Estimator.__name__} must be" in str(refused)
    if name in SHARED:
        theirs = THEIRS[Estimator](**QUICK).set_params(**{name: value})
        assert words_of(refused) == words_of(refusal(theirs.fit, X, TARGETS[Estimator]))
    partial = refusal(model.partial_fit, X, TARGETS[Estimator]) if name != "solver" else refused
    assert str(partial) == str(refused)
    assert vars(model) == {**vars(Estimator(**QUICK)), name: value}


def test_every_constraint_of_scikit_learn_is_tried() -> None:
    for Estimator in TARGETS:
        tried = {*SHARED, *OURS, *OF_ONE[Estimator]}
        assert THEIRS[Estimator]._parameter_constraints.keys() <= tried
        ours = Estimator._parameter_constraints
        assert {name for name in ours if ours[name] != "no_validation"} == tried


EDGES: Given = {
    "alpha": 0,
    "power_t": 0.0,
    "tol": 0,
    "momentum": 1.0,
    "beta_1": 0.0,
    "beta_2": 0.0,
    "validation_fraction": 0.0,
    "n_iter_no_change": inf,
    "batch_size": np.int64(5),
    "learning_rate_init": np.float32(0.1),
    "hidden_layer_sizes": np.int32(4),
    "verbose": 0,
    "gradient_clip": 1e-30,
    "dropout": 0.999,
}


@EACH
@pytest.mark.parametrize("name", EDGES)
def test_values_at_the_edge_are_allowed(Estimator: type, name: str) -> None:
    model = quick_fit(
        Estimator, **{"solver": "sgd" if name == "momentum" else "adam", name: EDGES[name]}
    )
    assert model.n_iter_ == 2


@EACH
def test_names_that_are_no_parameters_are_refused(Estimator: type) -> None:
    with pytest.raises(TypeError, match="learning_rte"):
        Estimator(learning_rte=0.1)
    with pytest.raises(ValueError, match="Invalid parameter 'learning_rte'"):
        Estimator().set_params(learning_rte=0.1)


PARAMETERS: dict[str, tuple[Given, str]] = {
    "a width of nothing": ({"hidden_layer_sizes": (3, 0)}, "hidden_layer_sizes must be > 0"),
    "a negative width": ({"hidden_layer_sizes": [-3]}, "hidden_layer_sizes must be > 0"),
    "a width that is no whole number": (
        {"hidden_layer_sizes": (3, 2.5)},
        "hidden_layer_sizes must be whole numbers, got [3, 2.5]",
    ),
    "widths of a dict": ({"hidden_layer_sizes": {}}, "hidden_layer_sizes must be whole"),
    "widths in a set": ({"hidden_layer_sizes": {4, 3}}, "hidden_layer_sizes must be whole"),
    "a width in words": ({"hidden_layer_sizes": ("3",)}, "hidden_layer_sizes must be whole"),
    "an activation that is not known": (
        {"activation": ("relo",)},
        "unknown activation 'relo': did you mean 'relu'?",
    ),
    "too few activations": ({"activation": ("relu",), "hidden_layer_sizes": (3, 2)}, "activation"),
    "too many activations": ({"activation": ["relu", "tanh"]}, "activation"),
    "activations of no type": ({"activation": (None,)}, "unknown activation None"),
    "a backend that is not known": ({"backend": "numpi"}, "did you mean 'numpy'?"),
    "a device that NumPy lacks": (
        {"backend": "numpy", "device": "cuda:0"},
        "NumPy computes on 'cpu' alone, not on 'cuda:0'",
    ),
    "a device for a backend that has one": (
        {"backend": resolve("numpy"), "device": "cpu"},
        "was given together with a Backend",
    ),
    "a callback that is none": ({"callbacks": 3}, "a callback must be a function"),
    "callbacks in a string": ({"callbacks": "print"}, "a callback must be a function"),
    "a class as a callback": ({"callbacks": [print, int]}, "a callback must be a function"),
}


@EACH
@pytest.mark.parametrize(("given", "words"), PARAMETERS.values(), ids=PARAMETERS)
def test_parameters_that_cannot_be_are_refused(Estimator: type, given: Given, words: str) -> None:
    model = Estimator(**QUICK | given)
    refused = refusal(model.fit, X, TARGETS[Estimator])
    assert isinstance(refused, ValueError)
    assert words in str(refused)


BAD_CLASS_WEIGHTS: dict[str, tuple[Any, Any, str]] = {
    "an unknown class": (LABELS, {0: 2.0, 7: 1.0}, "class_weight names [7], but the classes are"),
    "an unknown string": (np.array(["a", "b", "c"])[LABELS], {"d": 1.0}, "names ['d']"),
    "positions of strings": (np.array(["a", "b", "c"])[LABELS], {0: 2.0}, "names [0]"),
    "negative": (LABELS, {0: -1.0}, "class_weight must be finite and not negative"),
    "infinite": (LABELS, {0: inf}, "class_weight must be finite and not negative"),
    "nan": (LABELS, {0: nan}, "class_weight must be finite and not negative"),
    "a word": (LABELS, {0: "much"}, "class_weight must be finite and not negative"),
    "all zero": (LABELS, {0: 0.0, 1: 0.0, 2: 0.0}, "class_weight is 0 for every class"),
    "of several labels": (COLUMNS, {0: 2.0}, "class_weight is for one class a sample"),
    "balanced labels": (COLUMNS, "balanced", "class_weight is for one class a sample"),
}


@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
@pytest.mark.parametrize(("y", "bad", "words"), BAD_CLASS_WEIGHTS.values(), ids=BAD_CLASS_WEIGHTS)
def test_bad_class_weights_are_refused(y: Any, bad: Any, words: str, solver: str) -> None:
    model = MLPClassifier(**QUICK, class_weight=bad, solver=solver)
    refused = refusal(model.fit, X, y)
    assert isinstance(refused, ValueError)
    assert words in str(refused)


def test_parts_cannot_be_balanced() -> None:
    model = MLPClassifier(**QUICK, class_weight="balanced")
    refused = refusal(model.partial_fit, X, LABELS, classes=[0, 1, 2])
    assert "class_weight 'balanced' is not supported for partial_fit" in str(refused)


NOT_FOR_LBFGS: dict[str, tuple[Given, Given, str]] = {
    "dropout": ({"dropout": 0.1}, {}, "dropout"),
    "dropout of features": ({"dropout": Dropout(0.0, 0.1)}, {}, "dropout"),
    "clipping": ({"gradient_clip": 1.0}, {}, "gradient_clip"),
    "callbacks": ({"callbacks": [print]}, {}, "callbacks"),
    "one callback": ({"callbacks": print}, {}, "callbacks"),
    "a checkpoint": ({"checkpoint": "fit.ckpt"}, {}, "checkpoint"),
    "validation data": ({}, {"X_val": X, "y_val": LABELS}, "X_val"),
}


@EACH
@pytest.mark.parametrize(("given", "more", "name"), NOT_FOR_LBFGS.values(), ids=NOT_FOR_LBFGS)
def test_lbfgs_refuses_what_it_has_no_use_for(
    Estimator: type, given: Given, more: Given, name: str
) -> None:
    model = Estimator(**QUICK | given, solver="lbfgs")
    refused = refusal(model.fit, X, TARGETS[Estimator], **more)
    assert str(refused) == f"{name} is for the stochastic solvers; solver='lbfgs' has none"


@EACH
def test_lbfgs_takes_what_means_nothing(Estimator: type) -> None:
    quick_fit(Estimator, solver="lbfgs", dropout=Dropout(), gradient_clip=None, callbacks=[])


@EACH
def test_lbfgs_has_no_parts(Estimator: type) -> None:
    model = Estimator(**QUICK, solver="lbfgs")
    assert not hasattr(model, "partial_fit")
    with pytest.raises(AttributeError, match="has no attribute 'partial_fit'") as refused:
        model.partial_fit(X, TARGETS[Estimator])
    assert "lbfgs is not stochastic" in str(refused.value.__cause__)


LOSSES_THAT_DO_NOT_FIT: dict[str, tuple[type, Any, Any, str]] = {
    "three classes in one output": (
        MLPClassifier,
        LABELS,
        LOSSES["binary_cross_entropy"],
        "the loss binary_cross_entropy cannot tell 3 classes",
    ),
    "several labels as classes": (
        MLPClassifier,
        COLUMNS,
        LOSSES["softmax_cross_entropy"],
        "the loss softmax_cross_entropy cannot tell several labels",
    ),
    "numbers for classes": (
        MLPClassifier,
        LABELS,
        LOSSES["squared_error"],
        "the loss squared_error cannot tell 3 classes",
    ),
    "quantiles for labels": (
        MLPClassifier,
        COLUMNS,
        Quantile(),
        "the loss quantile cannot tell several labels",
    ),
    "classes for numbers": (
        MLPRegressor,
        SCORES,
        LOSSES["softmax_cross_entropy"],
        "the loss softmax_cross_entropy is for classes, and not for MLPRegressor",
    ),
    "labels for numbers": (
        MLPRegressor,
        SCORES,
        LOSSES["binary_cross_entropy"],
        "the loss binary_cross_entropy is for classes, and not for MLPRegressor",
    ),
    "a threshold for each of two": (MLPRegressor, SCORES, Huber((1.0, 2.0)), "2 values"),
}


@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
@pytest.mark.parametrize(
    ("Estimator", "y", "loss", "words"), LOSSES_THAT_DO_NOT_FIT.values(), ids=LOSSES_THAT_DO_NOT_FIT
)
def test_a_loss_that_does_not_fit_is_refused(
    Estimator: type, y: Any, loss: Any, words: str, solver: str
) -> None:
    assert words in str(refusal(Estimator(**QUICK, loss=loss, solver=solver).fit, X, y))

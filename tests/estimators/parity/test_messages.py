"""What scikit-learn prints, warns of and refuses, in the same words."""

import re
from math import nan
from typing import Any

import numpy as np
import pytest

pytest.importorskip("sklearn", minversion="1.7")

from sklearn.exceptions import ConvergenceWarning

from arraymlp import MLPClassifier, MLPRegressor
from sklearn_pairs import (
    BASE,
    EACH,
    LABELS,
    SCORES,
    SETTINGS,
    SGD_SOLVER,
    TARGETS,
    THEIRS,
    TWO,
    WEIGHT,
    Both,
    Given,
    N,
    X,
    assert_same_weights,
    refusal,
    warned,
)

SPOKEN: dict[str, tuple[Given, list[str]]] = {
    "plain": (
        {"tol": 0.03, "n_iter_no_change": 2, "max_iter": 80},
        ["Iteration 1, loss = ", "Training loss did not improve more than tol=0.030000 for 2"],
    ),
    "never stopped": ({"max_iter": 3}, ["Iteration 3, loss = "]),
    "early stopping": (
        SETTINGS["early stopping of sgd"],
        ["Validation score: ", "Validation score did not improve more than tol=0.010000 for 2"],
    ),
    "adaptive": (
        SGD_SOLVER
        | {"learning_rate": "adaptive", "n_iter_no_change": 1, "tol": 0.05, "max_iter": 200},
        ["Setting learning rate to 0.010000", "Learning rate too small. Stopping."],
    ),
    "early stopping, adaptive": (
        SETTINGS["early stopping, adaptive"] | {"max_iter": 200},
        ["epochs. Setting learning rate to 0.010000", "Learning rate too small. Stopping."],
    ),
}


NUMBER = re.compile(r"[0-9]+[.][0-9]+")


def assert_same_lines(ours: list[str], theirs: list[str]) -> None:
    """The same lines, with numbers that are the same but for their last digit."""
    ours_text, theirs_text = "\n".join(ours), "\n".join(theirs)
    assert NUMBER.sub("", ours_text) == NUMBER.sub("", theirs_text)
    for a, b in zip(NUMBER.findall(ours_text), NUMBER.findall(theirs_text), strict=True):
        last_digit = 10.0 ** -len(b.partition(".")[2])
        assert len(a.partition(".")[2]) == len(b.partition(".")[2])
        assert float(a) == pytest.approx(float(b), rel=0, abs=1.5 * last_digit)


@EACH
@pytest.mark.parametrize(("given", "words"), SPOKEN.values(), ids=SPOKEN)
def test_verbose_prints_what_scikit_learn_prints(
    Estimator: type, given: Given, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    printed = []
    for of in (Estimator, THEIRS[Estimator]):
        warned(of(**BASE | given, verbose=True).fit, X, TARGETS[Estimator])
        printed.append(capsys.readouterr().out.splitlines())
    assert_same_lines(*printed)
    assert all(any(word in line for line in printed[0]) for word in words)


def test_verbose_prints_partial_fits(capsys: pytest.CaptureFixture[str]) -> None:
    printed = []
    for of in (MLPRegressor, THEIRS[MLPRegressor]):
        model = of(**BASE, verbose=True)
        for _ in range(2):
            model.partial_fit(X, SCORES)
        printed.append(capsys.readouterr().out.splitlines())
    assert_same_lines(*printed)
    assert [line.split(",")[0] for line in printed[0]] == ["Iteration 1"] * 2


@EACH
def test_prints_nothing_unasked(Estimator: type, capsys: pytest.CaptureFixture[str]) -> None:
    warned(Estimator(**BASE).fit, X, TARGETS[Estimator])
    assert capsys.readouterr() == ("", "")


def test_warns_of_the_last_epoch_and_of_a_large_batch() -> None:
    both = Both(MLPClassifier, batch_size=51).fit(X, LABELS)
    assert both.warned == [
        (
            UserWarning,
            "Got `batch_size` less than 1 or larger than sample size. It is going to be clipped",
        ),
        (
            ConvergenceWarning,
            "Stochastic Optimizer: Maximum iterations (9) reached and the optimization hasn't "
            "converged yet.",
        ),
    ]


# (what is trained before, the call) -> what both refuse
REFUSED: dict[str, tuple[type, Given, list[tuple[str, tuple[Any, ...], Given]], str]] = {
    "partial fits with early stopping": (
        MLPRegressor,
        {"early_stopping": True},
        [("partial_fit", (X, SCORES), {})],
        "partial_fit does not support early_stopping=True",
    ),
    "too few to validate": (
        MLPRegressor,
        {"early_stopping": True, "validation_fraction": 0.02},
        [("fit", (X, SCORES), {})],
        "The validation set is too small. Increase 'validation_fraction' or the size of your",
    ),
    "too few of each class to validate": (
        MLPClassifier,
        {"early_stopping": True, "validation_fraction": 0.02},
        [("fit", (X, TWO), {})],
        "test_size = 1 should be greater or equal to the number of classes = 2",
    ),
    "a warm start with fewer classes": (
        MLPClassifier,
        {"warm_start": True},
        [("fit", (X, LABELS), {}), ("fit", (X, TWO), {})],
        "warm_start can only be used where `y` has the same classes as in the previous",
    ),
    "a warm start with other classes": (
        MLPClassifier,
        {"warm_start": True},
        [("fit", (X, LABELS), {}), ("fit", (X, LABELS + 1), {})],
        "Previously got [0 1 2], `y` has [1 2 3]",
    ),
    "partial fits with a new class": (
        MLPClassifier,
        {},
        [
            ("partial_fit", (X, TWO), {"classes": np.arange(2)}),
            ("partial_fit", (X, LABELS), {}),
        ],
        "`y` has classes not in `self.classes_`. `self.classes_` has [0 1]. 'y' has [0 1 2].",
    ),
    "a first partial fit with a new class": (
        MLPClassifier,
        {},
        [("partial_fit", (X, LABELS), {"classes": np.arange(2)})],
        "`y` has classes not in `self.classes_`",
    ),
    "a partial fit after a fit with a new class": (
        MLPClassifier,
        {},
        [("fit", (X, TWO), {}), ("partial_fit", (X, LABELS), {})],
        "`y` has classes not in `self.classes_`",
    ),
    "a first partial fit without classes": (
        MLPClassifier,
        {},
        [("partial_fit", (X, LABELS), {})],
        "classes must be passed on the first call to partial_fit.",
    ),
    "partial fits with other classes": (
        MLPClassifier,
        {},
        [
            ("partial_fit", (X, TWO), {"classes": np.arange(2)}),
            ("partial_fit", (X, TWO), {"classes": np.arange(3)}),
        ],
        "`classes=array([0, 1, 2])` is not the same as on last call to partial_fit, was: array([0",
    ),
    "partial fits with other classes, in a list": (
        MLPClassifier,
        {},
        [
            ("partial_fit", (X, TWO), {"classes": [1, 0]}),
            ("partial_fit", (X, TWO), {"classes": [2, 1]}),
        ],
        "`classes=[2, 1]` is not the same as on last call to partial_fit, was: array([0, 1])",
    ),
    "partial fits for lbfgs": (
        MLPClassifier,
        {"solver": "lbfgs"},
        [("partial_fit", (X, LABELS), {})],
        "This 'MLPClassifier' has no attribute 'partial_fit'",
    ),
    "a hidden layer of nothing": (
        MLPClassifier,
        {"hidden_layer_sizes": (3, 0)},
        [("fit", (X, LABELS), {})],
        "hidden_layer_sizes must be > 0, got [3, 0].",
    ),
    "predicting from fewer features": (
        MLPRegressor,
        {},
        [("fit", (X, SCORES), {}), ("predict", (X[:, :4],), {})],
        "X has 4 features, but MLPRegressor is expecting 5 features as input.",
    ),
    "a partial fit of fewer features": (
        MLPRegressor,
        {},
        [("partial_fit", (X, SCORES), {}), ("partial_fit", (X[:, :4], SCORES), {})],
        "X has 4 features, but MLPRegressor is expecting 5 features as input.",
    ),
    "too few weights": (
        MLPRegressor,
        {},
        [("fit", (X, SCORES, WEIGHT[:-1]), {})],
        "sample_weight.shape == (49,), expected (50,)!",
    ),
    "weights that are not finite": (
        MLPRegressor,
        {},
        [("fit", (X, SCORES, np.full(N, nan)), {})],
        "Input sample_weight contains NaN.",
    ),
}


@pytest.mark.parametrize(("Estimator", "given", "calls", "words"), REFUSED.values(), ids=REFUSED)
def test_refuses_in_the_words_of_scikit_learn(
    Estimator: type, given: Given, calls: list[tuple[str, tuple[Any, ...], Given]], words: str
) -> None:
    both = Both(Estimator, **given)
    *before, (method, arguments, more) = calls
    for earlier in before:
        both(earlier[0], *earlier[1], **earlier[2])

    def call(model: Any) -> None:
        getattr(model, method)(*arguments, **more)

    ours, theirs = (refusal(call, model) for model in (both.ours, both.theirs))
    assert words in str(ours)
    assert str(ours) == str(theirs)
    assert type(ours) is type(theirs)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_refuses_weights_that_are_not_finite() -> None:
    both = Both(MLPRegressor, **SGD_SOLVER | {"learning_rate_init": 1e3, "activation": "identity"})
    ours, theirs = both.refusals("fit", 1e3 * X, SCORES)
    assert "Solver produced non-finite parameter weights." in str(ours)
    assert (type(ours), str(ours)) == (type(theirs), str(theirs))


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_best_weights_are_kept_where_the_last_ones_are_not_finite() -> None:
    given = {"learning_rate_init": 1.2, "activation": "identity", "early_stopping": True}
    both = Both(MLPRegressor, **SGD_SOLVER | given, alpha=0.0, max_iter=400)
    ((category, message),) = warned(both.ours.fit, X, SCORES)
    warned(both.theirs.fit, X, SCORES)
    assert not np.isfinite(both.theirs.loss_)
    assert not np.isfinite(both.ours.loss_)
    assert category is ConvergenceWarning
    assert message.startswith("the loss became nan in epoch")
    assert message.endswith("The weights of the best epoch were kept.")
    assert_same_weights(both.ours, both.theirs)
    n = len(both.ours.validation_scores_)
    np.testing.assert_allclose(both.ours.validation_scores_, both.theirs.validation_scores_[:n])

"""Losses beyond scikit-learn's: quantiles, two outputs for two classes, a loss of one's own."""

from typing import Any

import numpy as np
import pytest

pytest.importorskip("sklearn", minversion="1.7")

from sklearn import metrics

from arraymlp import MLPClassifier, MLPRegressor
from arraymlp.losses import Huber, Loss, Quantile
from arraymlp.nn.losses import LOSSES
from sklearn_pairs import BASE, LABELS, SCORES, TWO, X_VAL, HostArray, N, X, warned


@pytest.mark.parametrize(
    ("y", "shape", "middle"),
    [(SCORES[:, 0], (N, 4), (N,)), (SCORES[:, :2], (N, 2, 4), (N, 2))],
    ids=["one target", "two targets"],
)
def test_quantiles(y: HostArray, shape: tuple[int, ...], middle: tuple[int, ...]) -> None:
    model = MLPRegressor(**BASE, loss=Quantile((0.1, 0.4, 0.8, 0.9)))
    warned(model.fit, X, y)
    quantiles = model.predict_quantiles(X)
    assert quantiles.shape == shape
    assert (np.diff(quantiles, axis=-1) >= 0).all()
    assert (np.diff(quantiles, axis=-1) > 0).any()
    assert model.predict(X).shape == middle
    np.testing.assert_array_equal(model.predict(X), quantiles[..., 1])  # 0.4 is the nearest to 0.5
    assert model.n_outputs_ == 4 * (y.ndim == 1 or y.shape[1])
    assert model.score(X, y) == pytest.approx(metrics.r2_score(y, quantiles[..., 1]))


def test_one_quantile() -> None:
    model = MLPRegressor(**BASE, loss=Quantile((0.8,)))
    warned(model.fit, X, SCORES[:, 0])
    assert model.predict_quantiles(X).shape == (N, 1)
    np.testing.assert_array_equal(model.predict_quantiles(X)[:, 0], model.predict(X))


def test_quantiles_hold_what_they_promise() -> None:
    rng = np.random.default_rng(33)
    many = rng.uniform(-1, 1, (2000, 1))
    y = many[:, 0] + rng.normal(0, 0.5, 2000)
    model = MLPRegressor("quantile", 10, random_state=0, max_iter=40, learning_rate_init=0.01)
    warned(model.fit, many, y)
    below = (y[:, None] < model.predict_quantiles(many)).mean(axis=0)
    np.testing.assert_allclose(below, [0.1, 0.5, 0.9], atol=0.05)


def test_the_regressor_documents_every_loss_for_numbers() -> None:
    for name, loss in LOSSES.items():
        assert (loss.classifies == "no") == (f"'{name}'" in MLPRegressor.__doc__), name


@pytest.mark.parametrize("loss", ["squared_error", "poisson", "absolute_error", "huber", Huber(2)])
def test_other_losses_have_no_quantiles(loss: Any) -> None:
    assert not hasattr(MLPRegressor(loss), "predict_quantiles")
    assert hasattr(MLPRegressor(Quantile((0.3, 0.6))), "predict_quantiles")
    with pytest.raises(AttributeError, match="has no attribute 'predict_quantiles'"):
        MLPRegressor(loss).predict_quantiles(X)


def test_early_stopping_of_quantiles_watches_the_middle() -> None:
    model = MLPRegressor(**BASE | {"early_stopping": True}, loss=Quantile((0.2, 0.6)))
    warned(model.fit, X, SCORES[:, :2], X_val=X_VAL, y_val=X_VAL[:, :2])
    assert model.best_validation_score_ == pytest.approx(model.score(X_VAL, X_VAL[:, :2]))


SOFTMAX = LOSSES["softmax_cross_entropy"]


def test_two_classes_may_have_an_output_each() -> None:
    model = MLPClassifier(**BASE, loss=SOFTMAX)
    warned(model.fit, X, np.array(["b", "a"])[TWO])
    assert model.n_outputs_ == 2
    assert model.out_activation_ == "softmax"
    p = model.predict_proba(X)
    np.testing.assert_allclose(p.sum(axis=1), 1)
    np.testing.assert_array_equal(model.predict(X), model.classes_[p.argmax(axis=1)])
    assert model.score(X, np.array(["b", "a"])[TWO]) > 0.6


class Squares(Loss):
    """Brier's score: the squared error of the probabilities."""

    name = "squares"
    classifies = "one"

    def output(self, s: Any, xp: Any) -> Any:
        return SOFTMAX.output(s, xp)

    def value_and_delta(self, s: Any, y: Any, xp: Any) -> tuple[Any, Any]:
        p = SOFTMAX.output(s, xp)
        e = p - np.eye(s.shape[-1])[y]
        slope = p * (e - (p * e).sum(axis=-1, keepdims=True))
        return (e * e).sum(axis=-1) / 2, slope


def test_a_loss_of_ones_own_trains_a_classifier() -> None:
    model = MLPClassifier(**BASE | {"alpha": 0.0, "max_iter": 40, "batch_size": N}, loss=Squares())
    warned(model.fit, X, LABELS)
    p = model.predict_proba(X)
    assert model.score(X, LABELS) > 0.6
    brier = ((p - np.eye(3)[LABELS]) ** 2).sum(axis=1).mean() / 2
    assert brier < model.loss_curve_[-1] < model.loss_curve_[0]
    assert brier == pytest.approx(model.loss_curve_[-1], rel=0.05)

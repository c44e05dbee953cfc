"""The figures of predictions: scikit-learn's, and what they say where there is none."""

import json
from typing import Any

import numpy as np
import pytest

import arraymlp
from arraymlp.nn.losses import LOSSES, Quantile
from arraymlp.training.scores.classes import ClassScores
from arraymlp.training.scores.labels import LabelScores
from arraymlp.training.scores.numbers import NumberScores, QuantileScores
from arraymlp.training.scores.scores import evaluation_of, scores_of

SOFTMAX, EACH, SQUARED = (
    LOSSES[name] for name in ("softmax_cross_entropy", "binary_cross_entropy", "squared_error")
)


def probabilities(n: int, n_classes: int, dtype: Any = np.float64, seed: int = 0) -> Any:
    s = 2 * np.random.default_rng(seed).normal(size=(n, n_classes))
    s[:: n // 7] *= 40  # some that round to 0 and 1
    e = np.exp(s - s.max(axis=1, keepdims=True))
    return (e / e.sum(axis=1, keepdims=True)).astype(dtype)


def class_case(n_classes: int, dtype: Any = np.float64) -> tuple[Any, Any, Any]:
    """Labels, probabilities and classes, each of which occurs."""
    p = probabilities(200, n_classes, dtype)
    classes = np.asarray([f"c{k:02}" for k in range(n_classes)])
    truth = np.where(np.arange(200) % 3 > 0, p.argmax(axis=1), np.arange(200) % n_classes)
    return classes[truth], p, classes


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("n_classes", [2, 3, 15])
def test_figures_of_classes_are_those_of_scikit_learn(n_classes: int, dtype: Any) -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    y, p, classes = class_case(n_classes, dtype)
    scores = scores_of(y, p, SOFTMAX, classes)
    assert isinstance(scores, ClassScores)
    chosen = classes[p.argmax(axis=1)]
    assert (scores.n, scores.classes) == (200, tuple(classes.tolist()))
    close = {"rtol": 1e-6 if dtype is np.float32 else 1e-12}
    np.testing.assert_allclose(scores.accuracy, metrics.accuracy_score(y, chosen), **close)
    np.testing.assert_allclose(
        scores.balanced_accuracy, metrics.balanced_accuracy_score(y, chosen), **close
    )
    np.testing.assert_allclose(scores.log_loss, metrics.log_loss(y, p), **close)
    given = {"multi_class": "ovr"} if n_classes > 2 else {}
    p_sklearn = p / p.sum(axis=1, keepdims=True) if n_classes > 2 else p[:, 1]
    np.testing.assert_allclose(
        scores.roc_auc, metrics.roc_auc_score(y, p_sklearn.astype(float), **given), rtol=1e-6
    )
    np.testing.assert_array_equal(scores.confusion, metrics.confusion_matrix(y, chosen))
    expected = metrics.precision_recall_fscore_support(y, chosen, zero_division=np.nan)
    own = (scores.precision, scores.recall, scores.f1, scores.support)
    for a, b in zip(own, expected, strict=True):
        np.testing.assert_allclose(a, b, **close)


def test_a_class_that_does_not_occur_has_no_figures() -> None:
    y, p, classes = class_case(3)
    kept = y != "c01"
    scores = scores_of(y[kept], p[kept], SOFTMAX, classes)
    assert isinstance(scores, ClassScores)
    assert scores.roc_auc is None
    assert np.isnan(scores.recall[1])
    assert np.isfinite(scores.balanced_accuracy)
    content = json.loads(json.dumps(scores.to_dict(), allow_nan=False))
    assert content["classes"][1]["recall"] is None
    assert "ROC AUC                 -" in str(scores)


def test_the_text_has_the_matrix_of_confusions_or_the_most_frequent() -> None:
    y, p, classes = class_case(2)
    scores = scores_of(y, p, SOFTMAX, classes)
    (a, b), (c, d) = scores.to_dict()["confusion"]
    lines = str(scores).splitlines()
    assert lines[0] == "200 rows"
    assert lines[-3].split() == ["true", "\\", "predicted", "c00", "c01"]
    assert [line.split() for line in lines[-2:]] == [
        ["c00", str(a), str(b)],
        ["c01", str(c), str(d)],
    ]
    y, p, classes = class_case(15)
    text = str(scores_of(y, p, SOFTMAX, classes)).partition("most often confused:\n")[2]
    counts = [int(line.rpartition(": ")[2]) for line in text.splitlines()]
    assert len(counts) == 10
    assert counts == sorted(counts, reverse=True)
    perfect = np.eye(15)
    assert str(scores_of(classes, perfect, SOFTMAX, classes)).endswith("confused:\n  none")


@pytest.mark.parametrize(
    "labels",
    [
        np.asarray([0, 1, 1, 0]),
        np.asarray([[0], [1], [1], [0]]),
        np.asarray([False, True, True, False]),
        np.asarray([0.0, 1.0, 1.0, 0.0]),
        [0, 1, 1, 0],
    ],
)
def test_labels_may_be_whatever_stands_for_the_classes(labels: Any) -> None:
    p = np.asarray([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4], [0.7, 0.3]])
    scores = scores_of(labels, p, SOFTMAX, np.asarray([0, 1]))
    assert scores.to_dict()["confusion"] == [[2, 0], [1, 1]]


def test_objects_that_are_texts_are_labels_of_texts() -> None:
    p = np.asarray([[0.9, 0.1], [0.2, 0.8]])
    for labels in (["no", "yes"], np.asarray(["no", "yes"], dtype=object)):
        assert scores_of(labels, p, SOFTMAX, np.asarray(["no", "yes"])).to_dict()["accuracy"] == 1
    true_false = np.asarray(["False", "True"])
    assert scores_of([False, True], p, SOFTMAX, true_false).to_dict()["accuracy"] == 1


def test_figures_of_labels_are_those_of_scikit_learn() -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(0)
    p = rng.uniform(size=(90, 3))
    y = (p + 0.4 * rng.normal(size=p.shape) > 0.5).astype(int)
    scores = scores_of(y, p, EACH, None, ("a", "b", "c"))
    assert isinstance(scores, LabelScores)
    chosen = (p > 0.5).astype(int)
    assert scores.exact_match == metrics.accuracy_score(y, chosen)
    precision, recall, f1, support = metrics.precision_recall_fscore_support(y, chosen)
    np.testing.assert_allclose(scores.precision, precision)
    np.testing.assert_allclose(scores.recall, recall)
    np.testing.assert_allclose(scores.f1, f1)
    np.testing.assert_array_equal(scores.support, support)
    np.testing.assert_allclose(scores.roc_auc, metrics.roc_auc_score(y, p, average=None))
    assert json.loads(json.dumps(scores.to_dict()))["labels"][2]["label"] == "c"
    assert "all labels right" in str(scores)
    alone = scores_of(np.ones((90, 3)), p, EACH)
    assert np.isnan(alone.to_dict()["labels"][0]["roc_auc"] or np.nan)


@pytest.mark.parametrize("n_targets", [1, 3])
def test_figures_of_numbers_are_those_of_scikit_learn(n_targets: int) -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(1)
    y = rng.normal(size=(80, n_targets)) * [1, 10, 100][:n_targets] + 5
    output = (y + rng.normal(size=y.shape)).astype(np.float32)
    if n_targets == 1:
        y, output = y[:, 0], output[:, 0]
    scores = scores_of(y, output, SQUARED, None, ("a", "b", "c")[:n_targets])
    assert isinstance(scores, NumberScores)
    np.testing.assert_allclose(scores.rmse, metrics.root_mean_squared_error(y, output))
    np.testing.assert_allclose(scores.mae, metrics.mean_absolute_error(y, output))
    np.testing.assert_allclose(scores.r2, metrics.r2_score(y, output))
    content = json.loads(json.dumps(scores.to_dict()))
    assert content["rmse"] == scores.rmse
    assert [t["target"] for t in content["targets"]] == ["a", "b", "c"][:n_targets]
    assert ("mean" in str(scores)) == (n_targets > 1)


def test_a_constant_target_has_no_r2() -> None:
    scores = scores_of([3.0, 3.0], np.asarray([3.0, 2.0]), SQUARED)
    assert isinstance(scores, NumberScores)
    assert scores.r2 is None
    assert scores.to_dict()["r2"] is None
    assert "R2         -" in str(scores)


def test_counts_have_the_deviance() -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(1)
    rates = rng.uniform(0.2, 4, size=60)
    y = rng.poisson(rates)
    assert (y == 0).any()
    scores = scores_of(y, rates, LOSSES["poisson"])
    expected = metrics.mean_poisson_deviance(y, rates)
    np.testing.assert_allclose(scores.to_dict()["poisson_deviance"], expected)
    assert "Poisson deviance" in str(scores)


@pytest.mark.parametrize("n_targets", [1, 2])
def test_quantiles_have_a_pinball_loss_and_the_share_below(n_targets: int) -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(2)
    y = rng.normal(size=(500, n_targets))
    levels = (0.1, 0.9)
    output = np.broadcast_to([-1.28155, 1.28155], (500, n_targets, 2)).copy()
    shape = (500, 2) if n_targets == 1 else output.shape
    scores = scores_of(y, output.reshape(shape), Quantile(levels))
    assert isinstance(scores, QuantileScores)
    for k, level in enumerate(levels):
        expected = metrics.mean_pinball_loss(y[:, 0], output[:, 0, k], alpha=level)
        np.testing.assert_allclose(scores.pinball[0, k], expected)
    np.testing.assert_allclose(scores.below, np.broadcast_to(levels, (n_targets, 2)), atol=0.04)
    assert len(scores.to_dict()["quantiles"]) == 2 * n_targets
    assert str(scores).splitlines()[-1].split()[-3] == "0.9"


CLASSES = np.asarray([2, 5])
P = np.asarray([[0.9, 0.1], [0.2, 0.8]])


@pytest.mark.parametrize(
    ("y", "output", "loss", "classes", "words"),
    [
        ([2, 7], P, SOFTMAX, CLASSES, r"row 1 has 7; it knows 2, 5"),
        (["a", "b"], P, SOFTMAX, CLASSES, "y must be integers, as the classes are"),
        ([2], P, SOFTMAX, CLASSES, r"labels of 2 rows, not of shape \(1,\)"),
        ([2.0, np.nan], P, SOFTMAX, CLASSES, "no value in 1 of 2 rows, the first of them row 1"),
        (["a", None], P, SOFTMAX, np.asarray(["a", "b"]), "the first of them row 1"),
        ([1.0, np.nan], P[:, 0], SQUARED, None, "no value in 1 of 2 rows, the first of them row 1"),
        ([1.0, np.inf], P[:, 0], SQUARED, None, "no value in 1 of 2 rows"),
        (["a", "b"], P[:, 0], SQUARED, None, "y must be numbers, not of dtype <U1"),
        ([1.0, 2.0, 3.0], P[:, 0], SQUARED, None, r"must be of shape \(2, 1\), not \(3, 1\)"),
        ([[0, 1], [1, 2]], P, EACH, None, "must be 0 or 1 for each label"),
    ],
)
def test_targets_that_do_not_go_with_predictions_are_refused(
    y: Any, output: Any, loss: Any, classes: Any, words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        scores_of(y, output, loss, classes)


def test_a_populations_figures_are_of_the_mean_of_its_members() -> None:
    rng = np.random.default_rng(3)
    X = rng.normal(size=(60, 2)).astype(np.float32)
    few = {"epochs": 1, "hidden": (4,), "backend": "numpy"}
    labels = (X[:, 0] > 0).astype(int)
    several = arraymlp.train(X, labels, seed=range(3), **few).network
    mean = several.predict_proba(X).mean(axis=0)
    expected = scores_of(labels, mean, SOFTMAX, several.classes).to_dict()
    assert evaluation_of(several, X, labels).to_dict() == expected
    ensemble = arraymlp.Ensemble([several])
    assert evaluation_of(ensemble, X, labels).to_dict()["confusion"] == expected["confusion"]
    numbers = arraymlp.train(X, X[:, 0], seed=range(2), **few).network
    scores = evaluation_of(numbers, X, X[:, 0])
    assert isinstance(scores, NumberScores)
    rmse = np.sqrt(np.mean((numbers.predict(X).mean(axis=0) - X[:, 0]) ** 2, dtype=float))
    np.testing.assert_allclose(scores.rmse, rmse, rtol=1e-5)

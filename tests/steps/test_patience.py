"""Epochs without improvement of a figure: by hand, and as scikit-learn counts them."""

from collections.abc import Sequence
from math import inf, nan
from typing import Any

import numpy as np
import pytest

from arraymlp.steps.patience import Patience
from arraymlp.training.early_stopping import EarlyStopping, get_early_stopping

EPOCHS = 150


def curve(member: int = 0) -> list[float]:
    """A falling, noisy figure, whose steps are now larger and now smaller than 0.02."""
    rng = np.random.default_rng(60 + member)
    return list(np.exp(-np.arange(EPOCHS) / 40) + 0.1 * rng.random(EPOCHS))


def watched(
    figures: Sequence[Any],
    patience: Any = 3,
    min_change: Any = 0.0,
    greater_is_better: bool = False,
) -> list[tuple[Any, ...]]:
    """Of each epoch: whether it is the best so far, the best, epochs waited, and exhausted."""
    p = Patience("figure", patience, min_change, greater_is_better)
    return [(p.observe({"figure": f}), p.best, p.waited, p.exhausted) for f in figures]


@pytest.mark.parametrize(
    ("figures", "min_change", "is_best", "best", "waited"),
    [
        ([3, 2, 2, 1.5], 0.0, [1, 1, 0, 1], [3, 2, 2, 1.5], [0, 0, 1, 0]),  # a tie is not better
        ([3, 2.5, 2, 1], 1.0, [1, 1, 1, 1], [3, 2.5, 2, 1], [0, 1, 2, 0]),  # small steps wait
        ([3, 4, 2, 2.5], 0.5, [1, 0, 1, 0], [3, 3, 2, 2], [0, 1, 0, 1]),
        ([nan, inf, 2, nan, 1], 0.1, [0, 0, 1, 0, 1], [inf, inf, 2, 2, 1], [1, 2, 0, 1, 0]),
    ],
    ids=["plain", "small steps", "a setback", "nan"],
)
@pytest.mark.parametrize("sign", [1, -1])
def test_best_and_wait_are_those_found_by_hand(
    figures: list[float],
    min_change: float,
    is_best: list[int],
    best: list[float],
    waited: list[int],
    sign: int,
) -> None:
    epochs = watched([sign * f for f in figures], 2, min_change, greater_is_better=sign == -1)
    masks, bests, waits, exhausted = map(list, zip(*epochs, strict=True))
    assert masks == [bool(b) for b in is_best]
    assert bests == [sign * b for b in best]
    assert waits == waited
    assert exhausted == [w >= 2 for w in waited]


@pytest.mark.parametrize("min_change", [0.0, 0.02])
@pytest.mark.parametrize("scores", [False, True])
def test_each_epoch_is_counted_as_by_scikit_learn(min_change: float, scores: bool) -> None:
    neural_network = pytest.importorskip("sklearn.neural_network")
    theirs = neural_network.MLPClassifier(tol=min_change)
    theirs.loss_curve_, theirs.best_loss_ = [], inf
    theirs.validation_scores_, theirs.best_validation_score_ = [], -inf
    theirs.coefs_, theirs.intercepts_, theirs._no_improvement_count = [], [], 0
    figures = [1 - f for f in curve()] if scores else curve()
    ours = watched(figures, 3, min_change, greater_is_better=scores)
    longest = 0
    for figure, (_, best, waited, _) in zip(figures, ours, strict=True):
        theirs.loss_curve_.append(figure)
        theirs._score = lambda *_, figure=figure, **__: figure
        theirs._update_no_improvement_count(scores, None, None, None)
        assert waited == theirs._no_improvement_count
        assert best == (theirs.best_validation_score_ if scores else theirs.best_loss_)
        longest = max(longest, int(waited))
    assert longest > 5


def test_training_ends_where_scikit_learn_ends_it() -> None:
    neural_network = pytest.importorskip("sklearn.neural_network")
    X = np.random.default_rng(61).normal(size=(60, 3))
    theirs = neural_network.MLPClassifier(
        (4,),
        learning_rate_init=0.02,
        early_stopping=True,
        validation_fraction=0.4,
        tol=0.01,
        n_iter_no_change=4,
        max_iter=500,
        random_state=0,
    ).fit(X, X[:, 0] > 0)
    ours = watched(theirs.validation_scores_, 4 + 1, 0.01, greater_is_better=True)
    exhausted = [bool(end) for *_, end in ours]
    assert exhausted == [False] * (theirs.n_iter_ - 1) + [True]
    assert theirs.n_iter_ > 6  # 1 + 5 would be no improvement at all


def test_each_member_waits_by_its_own_constants() -> None:
    patience, changes = (1, 4, 9), (0.0, 0.02, 0.1)
    curves = [curve(k) for k in range(3)]
    together = watched(np.transpose(curves).tolist(), patience, changes)
    for k in range(3):
        alone = watched(curves[k], patience[k], changes[k])
        for ours, expected in zip(together, alone, strict=True):
            assert [figure[k] for figure in ours] == list(expected)


def test_members_share_constants_that_are_single() -> None:
    p = Patience("loss", 1, 0.0, False)
    p.observe({"loss": [1.0, 1.0]})
    np.testing.assert_array_equal(p.observe({"loss": [2.0, 0.5]}), [False, True])
    np.testing.assert_array_equal(p.exhausted, [True, False])
    np.testing.assert_array_equal(p.best, [1.0, 0.5])


def test_the_wait_restarts_where_asked() -> None:
    p = Patience("loss", 2, 0.0, False)
    for _ in range(3):
        p.observe({"loss": [1.0, 1.0]})
    p.restart(np.asarray([True, False]))
    np.testing.assert_array_equal(p.waited, [0, 2])
    p.observe({"loss": [1.0, 1.0]})
    np.testing.assert_array_equal(p.exhausted, [False, True])
    np.testing.assert_array_equal(p.best, [1.0, 1.0])


@pytest.mark.parametrize("figure", [1.0, [1.0, 2.0]], ids=["one", "members"])
def test_answers_are_arrays_of_the_figures_shape(figure: Any) -> None:
    p = Patience("loss", 2, 0.0, False)
    is_best = p.observe({"loss": figure})
    for answer in (is_best, p.best, p.waited, p.exhausted):
        assert isinstance(answer, np.ndarray)
        assert answer.shape == np.shape(figure)
    assert is_best.dtype == p.exhausted.dtype == bool


def test_a_missing_column_is_named_with_those_there_are() -> None:
    p = Patience("validation_loss", 2, 0.0, False)
    message = "column to monitor 'validation_loss': did you mean 'validation_error'.* epoch, loss, "
    with pytest.raises(ValueError, match=message):
        p.observe({"epoch": 0, "loss": 1.0, "validation_error": 0.5})


@pytest.mark.parametrize("figure", [1.0, [1.0, 2.0]], ids=["one", "members"])
def test_each_constant_needs_a_figure(figure: Any) -> None:
    with pytest.raises(ValueError, match="patience has 3 values, but loss has "):
        Patience("loss", (1, 2, 3), 0.0, False).observe({"loss": figure})
    with pytest.raises(ValueError, match="min_change has 3 values, but loss has "):
        Patience("loss", 1, (0.1, 0.2, 0.3), False).observe({"loss": figure})


BAD = [
    ("monitor", "", "monitor must be the name of a column of the history, not ''"),
    ("monitor", None, "monitor must be the name of a column of the history, not None"),
    ("patience", 0, "with a patience of 0 every epoch, better or not, .*, not 0"),
    ("patience", -1, "patience must be a whole number of epochs from 1 .*, not -1"),
    ("patience", 2.0, "patience must be a whole number of epochs from 1 .*, not 2.0"),
    ("patience", True, "patience must be a whole number of epochs from 1 .*, not True"),
    ("patience", "10", "patience must be a whole number of epochs from 1 .*, not '10'"),
    ("patience", (3, 0), "patience must be a whole number of epochs from 1 .*, not 0"),
    ("patience", (), "patience is empty"),
    ("min_change", -0.1, "min_change must be a number from 0, not -0.1"),
    ("min_change", nan, "min_change must be a number from 0, not nan"),
    ("min_change", (0.1, inf), "min_change must be a number from 0, not inf"),
    ("greater_is_better", "yes", "greater_is_better must be True or False, not 'yes'"),
    ("restore_best", 1, "restore_best must be True or False, not 1"),
]


@pytest.mark.parametrize(("name", "value", "message"), BAD)
def test_impossible_settings_are_refused(name: str, value: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        EarlyStopping(**{name: value})


def test_settings_keep_values_as_pythons_numbers() -> None:
    setting = EarlyStopping("loss", np.asarray([2, 3]), [np.float64(0.1), 0], restore_best=False)
    assert repr(setting) == (
        "EarlyStopping(monitor='loss', patience=(2, 3), min_change=(0.1, 0), "
        "restore_best=False, greater_is_better=None)"
    )
    assert eval(repr(setting)) == setting


def test_true_a_name_or_itself_stands_for_early_stopping() -> None:
    assert get_early_stopping(True) == EarlyStopping()
    assert get_early_stopping("loss") == EarlyStopping(monitor="loss")
    assert get_early_stopping(given := EarlyStopping(patience=3)) is given
    assert get_early_stopping(False) is None
    assert get_early_stopping(None) is None


@pytest.mark.parametrize("value", [1, 10, EarlyStopping, ("loss",)])
def test_nothing_else_stands_for_early_stopping(value: Any) -> None:
    with pytest.raises(ValueError, match="early_stopping must be True, False, the name of "):
        get_early_stopping(value)

"""Weights of samples and classes: as rows repeated or left out, and weighted means by hand."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

import problems
from arraymlp import Backend, Run
from conftest import on_host
from runs import X, Y, go_on, interrupt_after, parameters, train, train_on

HostArray = np.ndarray[Any, Any]
RNG = np.random.default_rng(90)
COUNTS = RNG.integers(0, 4, problems.N)  # how often each row counts; some do not
REPEATED = np.repeat(np.arange(problems.N), COUNTS)
WEIGHT = RNG.uniform(0, 3, problems.N)
SEEDS = (0, 1, 2)
OWN = RNG.uniform(0, 3, (3, problems.N)) * (RNG.random((3, problems.N)) < 0.8)  # one row a member
X_VAL, Y_VAL = X[::-2] + 0.5, Y[::-2]
W_VAL = RNG.uniform(0, 3, len(Y_VAL))


def assert_close(a: Run, b: Run, rtol: float = 1e-10) -> None:
    for ours, theirs in zip(parameters(a.network), parameters(b.network), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=rtol, atol=1e-13)


def losses(run: Run, X_: HostArray = X, y: HostArray = Y) -> HostArray:
    """Each sample's loss (N,) by the formula -log p."""
    return -np.log(run.network.predict_proba(X_)[np.arange(len(y)), y])


# --- what a weight means -------------------------------------------------------------------------


@pytest.mark.parametrize("reduction", ["sum", "mean"])
@pytest.mark.parametrize("loss", sorted(problems.PROBLEMS))
def test_a_whole_weight_is_a_row_repeated(loss: str, reduction: str) -> None:
    X_, y = problems.PROBLEMS[loss]()
    settings = {"loss": loss, "reduction": reduction, "learning_rate": 0.01, "epochs": 4}
    weighted = train(X_, y, sample_weight=COUNTS, batch_size=problems.N, **settings)
    repeated = train(X_[REPEATED], y[REPEATED], batch_size=len(REPEATED), **settings)
    assert 0 in COUNTS
    assert_close(weighted, repeated)
    np.testing.assert_allclose(weighted.history["loss"], repeated.history["loss"], rtol=1e-10)


@pytest.mark.parametrize("reduction", ["sum", "mean"])
def test_a_weight_of_0_is_a_row_left_out(reduction: str) -> None:
    """In minibatches, too: each has one such row of eight, or one none but such."""
    w = np.ones(problems.N)
    w[[2, 9, 10]] = 0
    w[16:] = 0
    rows = np.flatnonzero(w)
    given: dict[str, Any] = {"shuffle": False, "reduction": reduction, "optimizer": "sgd"}
    run = train(sample_weight=w, epochs=1, **given)
    left_out = train(X[rows[:7]], Y[rows[:7]], batch_size=7, epochs=1, **given)
    left_out = go_on(left_out, X=X[rows[7:]], y=Y[rows[7:]], batch_size=6, epochs=1)
    assert_close(run, left_out)
    expected = np.average(left_out.history["loss"], weights=[7, 6])
    assert run.history[0]["loss"] == pytest.approx(expected, rel=1e-12)


def test_ones_change_nothing() -> None:
    plain, ones = train(epochs=3), train(epochs=3, sample_weight=np.ones(problems.N, int))
    assert_close(plain, ones, rtol=1e-12)
    np.testing.assert_allclose(plain.history["loss"], ones.history["loss"], rtol=1e-12)


def test_mean_loss_does_not_depend_on_the_weights_scale_and_summed_loss_does() -> None:
    run = train(sample_weight=WEIGHT)
    assert_close(run, train(sample_weight=1000 * WEIGHT))
    summed = train(sample_weight=WEIGHT, reduction="sum", learning_rate=0.01, optimizer="sgd")
    tenfold = train(
        sample_weight=10 * WEIGHT, reduction="sum", learning_rate=0.001, optimizer="sgd"
    )
    assert_close(summed, tenfold)


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_training_is_that_of_a_transcription(reduction: str) -> None:
    given = {"hidden": (), "optimizer": "sgd", "shuffle": False, "batch_size": 7}
    given |= {"reduction": reduction, "learning_rate": 0.1}
    W, b = parameters(train(epochs=0, **given).network)
    class_weight = {0: 0.5, 2: 3.0}
    w = WEIGHT * np.asarray([0.5, 1.0, 3.0])[Y]
    total = 0.0
    for at in range(0, problems.N, 7):
        rows = slice(at, at + 7)
        e = np.exp(X[rows] @ W + b)
        p = e / e.sum(axis=1, keepdims=True)
        total += (w[rows] * -np.log(p[np.arange(len(p)), Y[rows]])).sum()
        D = w[rows, None] * (p - np.eye(problems.CLASSES)[Y[rows]])
        D /= w[rows].sum() if reduction == "mean" else 1
        W = W - 0.1 * X[rows].T @ D
        b = b - 0.1 * D.sum(axis=0)
    run = train(sample_weight=WEIGHT, class_weight=class_weight, epochs=1, **given)
    for ours, theirs in zip(parameters(run.network), (W, b), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-12, atol=1e-14)
    assert run.history[0]["loss"] == pytest.approx(total / w.sum(), rel=1e-12)


# --- weights of classes --------------------------------------------------------------------------


def balanced(y: Sequence[int]) -> dict[int, float]:
    classes = sorted(set(y))
    return {c: len(y) / (len(classes) * list(y).count(c)) for c in classes}


def test_balanced_is_by_the_classes_frequencies(quick_backend: Backend) -> None:
    rows = np.r_[0 : problems.N, np.flatnonzero(Y == 1)]
    X_, y = X[rows], Y[rows] + 5
    weights = balanced(y.tolist())
    assert len(set(weights.values())) > 1
    run = train_on(quick_backend, X_, y, class_weight="balanced", dtype="float64")
    named = train_on(quick_backend, X_, y, class_weight=weights, dtype="float64")
    by_sample = train_on(
        quick_backend, X_, y, sample_weight=[weights[c] for c in y.tolist()], dtype="float64"
    )
    assert_close(run, named)
    assert_close(run, by_sample)
    np.testing.assert_allclose(run.history["loss"], by_sample.history["loss"], rtol=1e-12)


def test_balanced_is_that_of_scikit_learn() -> None:
    sklearn = pytest.importorskip("sklearn.utils.class_weight")
    expected = sklearn.compute_class_weight("balanced", classes=np.arange(3), y=Y)
    run = train(class_weight="balanced", epochs=0)
    np.testing.assert_allclose(run.data.y.loss_weight, expected[Y], rtol=1e-15)


def test_balanced_counts_the_training_rows_alone() -> None:
    run = train(class_weight="balanced", validation=0.25, batch_size=6, epochs=0)
    weights = balanced(on_host(run.data.y.values).tolist())
    for t in (run.data.y, run.data.y_val):
        expected = [weights[c] for c in on_host(t.values).tolist()]
        np.testing.assert_allclose(t.loss_weight, expected, rtol=1e-15)


@pytest.mark.parametrize("form", ["one-hot", "two labels", "column"])
def test_classes_in_any_form_have_their_weights(form: str) -> None:
    y, factors = {
        "one-hot": (np.eye(3)[Y], np.asarray([2.0, 1.0, 0.5])[Y]),
        "two labels": (np.where(Y == 0, 4, 9), np.where(Y == 0, 2.0, 1.0)),
        "column": ((Y != 0)[:, None] * 1, np.where(Y == 0, 2.0, 1.0)),
    }[form]
    loss = "softmax_cross_entropy" if form == "one-hot" else "binary_cross_entropy"
    given = {0: 2.0, 2: 0.5} if form == "one-hot" else {4 if form == "two labels" else 0: 2.0}
    run = train(X, y, loss=loss, class_weight=given)
    assert_close(run, train(X, y, loss=loss, sample_weight=factors))


# --- populations ---------------------------------------------------------------------------------

CLASS_WEIGHTS = ({0: 2.0, 2: 0.5}, None, "balanced")


@pytest.mark.parametrize(
    ("together", "alone"),
    [
        ({"sample_weight": OWN}, [{"sample_weight": w} for w in OWN]),
        ({"sample_weight": WEIGHT}, [{"sample_weight": WEIGHT}] * 3),
        ({"class_weight": CLASS_WEIGHTS}, [{"class_weight": c} for c in CLASS_WEIGHTS]),
        ({"class_weight": {1: 3.0}}, [{"class_weight": {1: 3.0}}] * 3),
        (
            {"sample_weight": OWN, "class_weight": list(CLASS_WEIGHTS)},
            [
                {"sample_weight": w, "class_weight": c}
                for w, c in zip(OWN, CLASS_WEIGHTS, strict=True)
            ],
        ),
        (
            {"sample_weight": WEIGHT, "class_weight": CLASS_WEIGHTS},
            [{"sample_weight": WEIGHT, "class_weight": c} for c in CLASS_WEIGHTS],
        ),
        (
            {"sample_weight": OWN, "class_weight": "balanced"},
            [{"sample_weight": w, "class_weight": "balanced"} for w in OWN],
        ),
    ],
    ids=["own", "shared", "classes", "shared classes", "both", "own classes", "own samples"],
)
def test_a_population_is_its_members_trained_alone(
    quick_backend: Backend, together: dict[str, Any], alone: list[dict[str, Any]]
) -> None:
    settings = {
        "validation": (X_VAL, Y_VAL, W_VAL),
        "training_error": True,
        "metrics": ("accuracy", "f1", "log_loss"),
        "dtype": "float64",
        "batch_size": 7,
    }
    many = train_on(quick_backend, seed=SEEDS, **settings, **together)
    for k, of_member in enumerate(alone):
        run = train(seed=SEEDS[k], **settings, **of_member)
        for a, b in zip(parameters(many.network), parameters(run.network), strict=True):
            np.testing.assert_allclose(a[k], b, rtol=1e-9, atol=1e-12)
        for column in run.history.columns:
            if "loss" in column or column.startswith(("training", "validation")):
                ours = [epoch[k] for epoch in many.history[column]]
                np.testing.assert_allclose(ours, run.history[column], rtol=1e-9, err_msg=column)


def test_validation_rows_may_have_weights_a_member() -> None:
    of_members = RNG.uniform(0, 1, (3, len(Y_VAL)))
    run = train(seed=SEEDS, validation=(X_VAL, Y_VAL, of_members), metrics="accuracy")
    right = run.network.predict(X_VAL) == Y_VAL
    for k in range(3):
        accuracy = np.average(right[k], weights=of_members[k])
        assert run.history[-1]["validation_accuracy"][k] == pytest.approx(accuracy, rel=1e-12)
        assert run.history[-1]["validation_error"][k] == pytest.approx(1 - accuracy, rel=1e-12)


# --- what is reported ----------------------------------------------------------------------------


def test_figures_are_weighted_means(quick_backend: Backend) -> None:
    """Losses by samples and classes; errors and metrics by samples alone."""
    factors = np.asarray([4.0, 1.0, 0.25])
    run = train_on(
        quick_backend,
        sample_weight=WEIGHT,
        class_weight={0: 4.0, 2: 0.25},
        validation=(X_VAL, Y_VAL, W_VAL),
        training_error=True,
        metrics=("accuracy", "log_loss"),
        learning_rate=1e-12,  # so that the epoch's loss is that of the network as it was
        epochs=1,
    )
    (record,) = run.history
    for part, X_, y, w in (("training", X, Y, WEIGHT), ("validation", X_VAL, Y_VAL, W_VAL)):
        value, wrong = losses(run, X_, y), run.network.predict(X_) != y
        expected = {
            "loss": np.average(value, weights=w * factors[y]),
            "error": np.average(wrong, weights=w),
            "accuracy": np.average(~wrong, weights=w),
            "log_loss": np.average(value, weights=w),
        }
        reported = {name: record[f"{part}_{name}"] for name in expected}
        assert reported == pytest.approx(expected, rel=1e-5), part
    assert record["loss"] == pytest.approx(record["training_loss"], rel=1e-5)


def test_held_out_rows_keep_their_weights() -> None:
    run = train(sample_weight=WEIGHT, validation=0.25, batch_size=6, order_seed=3)
    assert run.data.X_val is not None
    held_out = [int(np.flatnonzero((row == X).all(axis=1))[0]) for row in run.data.X_val]
    value = losses(run, X[held_out], Y[held_out])
    expected = np.average(value, weights=WEIGHT[held_out])
    assert run.history[-1]["validation_loss"] == pytest.approx(expected, rel=1e-12)


def test_regression_is_weighted_too() -> None:
    X_, y = problems.numbers()
    run = train(X_, y, sample_weight=WEIGHT, training_error=True, metrics=("mae", "r2"))
    sklearn = pytest.importorskip("sklearn.metrics")
    o = run.network.predict(X_)
    record = run.history[-1]
    expected = np.average(((o - y) ** 2).sum(axis=1) / 2, weights=WEIGHT)
    assert record["training_loss"] == pytest.approx(expected, rel=1e-12)
    mae = sklearn.mean_absolute_error(y, o, sample_weight=WEIGHT)
    r2 = sklearn.r2_score(y, o, sample_weight=WEIGHT)
    assert (record["training_mae"], record["training_r2"]) == pytest.approx((mae, r2), rel=1e-10)


@pytest.mark.parametrize("given", [{"sample_weight": WEIGHT}, {"class_weight": "balanced"}])
def test_a_run_broken_off_in_an_epoch_goes_on_with_its_weights(
    monkeypatch: pytest.MonkeyPatch, given: dict[str, Any]
) -> None:
    whole = train(epochs=2, **given)
    interrupt_after(monkeypatch, 4)
    run = go_on(train(epochs=2, **given), epochs=1)
    assert_close(run, whole, rtol=0)
    assert run.history[-1]["loss"] == pytest.approx(whole.history[-1]["loss"], rel=1e-12)


@pytest.mark.parametrize("seed", [0, SEEDS], ids=["one", "population"])
def test_weights_in_any_form_are_the_same(quick_backend: Backend, seed: Any) -> None:
    whole = np.arange(problems.N) % 3
    expected = train_on(quick_backend, seed=seed, sample_weight=whole)
    for form in (
        whole.tolist(),
        whole.astype(np.uint8),
        whole.astype(np.float64),
        quick_backend.asarray(whole, "float32"),
    ):
        run = train_on(quick_backend, seed=seed, sample_weight=form)
        assert run.history["loss"] == expected.history["loss"]
    assert whole.tolist() == [0, 1, 2] * 8


# --- what is refused -----------------------------------------------------------------------------


def changed(w: HostArray, at: Any, value: float) -> HostArray:
    w = w.copy()
    w[at] = value
    return w


ONLY_0 = (Y == 0) * 1.0
REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "too short": (
        {"sample_weight": WEIGHT[1:]},
        r"^sample_weight must have the shape \(24,\), not \(23,\)",
    ),
    "a column": (
        {"sample_weight": WEIGHT[:, None]},
        r"must have the shape \(24,\), not \(24, 1\)",
    ),
    "a number": ({"sample_weight": 2.0}, r"must have the shape \(24,\), not \(\)"),
    "members without": ({"sample_weight": OWN}, r"must have the shape \(24,\), not \(3, 24\)"),
    "too few members": (
        {"seed": SEEDS, "sample_weight": OWN[:2]},
        r"must have the shape \(24,\), or \(3, 24\) for one a member, not \(2, 24\)",
    ),
    "negative": (
        {"sample_weight": changed(WEIGHT, 5, -0.5)},
        r"must be finite and not negative, but sample_weight\[5\] is -0\.5",
    ),
    "a member's NaN": (
        {"seed": SEEDS, "sample_weight": changed(OWN, (2, 7), np.nan)},
        r"finite and not negative, but sample_weight\[2, 7\] is nan",
    ),
    "infinite": ({"sample_weight": changed(WEIGHT, 0, np.inf)}, r"sample_weight\[0\] is inf"),
    "too large": (
        {"sample_weight": changed(WEIGHT, 3, 1e300), "dtype": "float32"},
        r"sample_weight\[3\]",
    ),
    "all 0": ({"sample_weight": 0 * WEIGHT}, "sample_weight is 0 for every sample"),
    "rounded to 0": (
        {"sample_weight": 1e-60 * WEIGHT, "dtype": "float32"},
        "sample_weight is 0 for every sample",
    ),
    "a member's all 0": (
        {"seed": SEEDS, "sample_weight": changed(OWN, 1, 0)},
        "sample_weight is 0 for every sample",
    ),
    "words": ({"sample_weight": ["a"] * 24}, "sample_weight must be numeric, not of dtype <U1"),
    "masked": (
        {"sample_weight": np.ma.masked_array(WEIGHT, np.arange(24) < 3)},
        "sample_weight .*mask",
    ),
    "validation's length": (
        {"validation": (X_VAL, Y_VAL, W_VAL[1:])},
        r"^the validation sample_weight must have the shape \(12,\), not \(11,\)",
    ),
    "validation's sign": (
        {"validation": (X_VAL, Y_VAL, -W_VAL)},
        r"the validation sample_weight\[0\] is -",
    ),
    "validation all 0": (
        {"validation": (X_VAL, Y_VAL, 0 * W_VAL)},
        "sample_weight is 0 for every sample of the validation data",
    ),
    "four validation things": (
        {"validation": (X_VAL, Y_VAL, W_VAL, W_VAL)},
        r"or \(X, y, sample_weight\), not 4 things",
    ),
    "validation of another class": (
        {"validation": (X_VAL, Y_VAL + 1, W_VAL)},
        r"the validation y contains labels the network does not know: \[3\]; it knows \[0, 1, 2\]",
    ),
    "an absent class": (
        {"class_weight": {3: 1.0}},
        r"class_weight names class 3, but y has \[0, 1, 2\]",
    ),
    "an absent class in place of one": (
        {"class_weight": {0: 1.0, 1: 2.0, 3: 1.0}},
        r"class_weight names class 3, but y has \[0, 1, 2\]",
    ),
    "a name misspelt": (
        {"class_weight": "balancd"},
        "class_weight must be \"balanced\" or a mapping, not 'balancd'",
    ),
    "numbers": ({"class_weight": 2.0}, "must be .label: weight.*, not 2.0"),
    "a negative class": (
        {"class_weight": {1: -1}},
        "class_weight must be finite and not negative, but class 1 has -1",
    ),
    "a NaN class": ({"class_weight": {1: np.nan}}, "but class 1 has nan"),
    "a class's word": ({"class_weight": {1: "2"}}, "but class 1 has '2'"),
    "all classes 0": ({"class_weight": {0: 0, 1: 0, 2: 0}}, "class_weight is 0 for every class"),
    "too few class weights": (
        {"seed": SEEDS, "class_weight": ["balanced", None]},
        "class_weight has 2 values, but there are 3 members",
    ),
    "too few class weights for the samples'": (
        {"seed": SEEDS, "sample_weight": OWN, "class_weight": ["balanced", None]},
        "class_weight has 2 values, but there are 3 members",
    ),
    "class weights for one": (
        {"class_weight": ["balanced", None]},
        "class_weight has 2 values, but one network",
    ),
    "nothing in common": (
        {"sample_weight": ONLY_0, "class_weight": {0: 0}},
        "weight.* 0 for every sample",
    ),
}


def test_a_class_that_y_lacks_is_passed_over_where_all_others_are_named() -> None:
    named = train(class_weight={0: 1.0, 1: 2.0, 2: 3.0, 7: 9.0})
    plain = train(class_weight={0: 1.0, 1: 2.0, 2: 3.0})
    assert named.history["loss"] == plain.history["loss"]


@pytest.mark.parametrize("case", REFUSED)
def test_bad_weights_are_refused(case: str) -> None:
    given, message = REFUSED[case]
    with pytest.raises(ValueError, match=message):
        train(**given)


@pytest.mark.parametrize("side", [0, 1], ids=["trained on", "held out"])
def test_a_split_that_leaves_a_side_without_weight_is_refused(side: int) -> None:
    run = train(validation=0.25, batch_size=6, epochs=0)
    rows = (run.data.X, run.data.X_val)[side]
    w = np.asarray([not (row == rows).all(axis=1).any() for row in X]) * 1.0
    assert 0 < w.sum() < problems.N
    with pytest.raises(ValueError, match=r"weight.* 0 for every sample"):
        train(sample_weight=w, validation=0.25, batch_size=6)


@pytest.mark.parametrize("loss", ["squared_error", "binary_cross_entropy"])
def test_without_one_class_a_sample_there_are_no_weights_of_classes(loss: str) -> None:
    X_, y = problems.PROBLEMS[loss]()
    for class_weight in ("balanced", {0: 1.0}):
        with pytest.raises(ValueError, match=f"class_weight needs classes, but {loss} has none"):
            train(X_, y, class_weight=class_weight)

"""Rules about settings: each setting is wrong on purpose beside a healthy twin."""

import itertools
import math

import numpy as np
import pytest

import problems
from arraymlp import MultilayerPerceptron, diagnose, train
from arraymlp.diagnosis.model_checks import ModelChecks
from arraymlp.nn.dropout import Dropout
from arraymlp.training.early_stopping import EarlyStopping
from arraymlp.training.history import History

SETTINGS = {
    "learning_rate_too_high",
    "learning_rate_too_low",
    "dropout_too_strong",
    "decay_too_strong",
    "class_imbalance",
    "spike",
}


def corners(n=600, n_features=12, n_classes=3, seed=0, noise=1.0, counts=None):
    """Rows around one corner for each class."""
    rng = np.random.default_rng(seed)
    y = rng.permutation(np.repeat(np.arange(n_classes), counts or [n // n_classes] * n_classes))
    middle = rng.normal(0, 1, (n_classes, n_features))
    return middle[y] + rng.normal(0, noise, (len(y), n_features)), y


def made(losses, *, steps=1000, rates=None, validation=None, training=None, **settings):
    """A run whose history says so, with targets 0 and 2: to know their mean costs 0.5."""
    X = np.arange(20.0)[:, None]
    run = train(X, np.array([0.0, 2.0] * 10), epochs=0, batch_size=10, **settings)
    n = len(losses)
    columns = {
        "epoch": range(n),
        "step": np.linspace(0, steps, n + 1).astype(int)[1:].tolist(),
        "learning_rate": rates or [0.05] * n,
        "loss": losses,
        "validation_loss": validation,
        "training_loss": training,
    }
    columns = {name: column for name, column in columns.items() if column is not None}
    rows = zip(*columns.values(), strict=True)
    run.history = History([dict(zip(columns, row, strict=True)) for row in rows])
    return run


def findings_of(run, member=None):
    """The findings about settings, by kind."""
    findings = [f for f in diagnose(run) if f.kind in SETTINGS and f.member == member]
    assert len({f.kind for f in findings}) == len(findings)
    return {f.kind: f for f in findings}


BOUNCING = [0.5, 0.45, 0.4, 0.35, 0.3, 0.34, 0.3, 0.34, 0.3, 0.3]


@pytest.mark.parametrize(
    ("losses", "expected"),
    [
        (BOUNCING, True),
        ([0.5, 0.45, 0.4, 0.35, 0.3, 0.34, 0.3, 0.3, 0.3, 0.3], False),  # once
        ([0.9, 0.8, 0.7, 0.65, 0.6, 0.65, 0.6, 0.65, 0.6, 0.6], False),  # by less than a tenth
        ([0.5, 0.2, 0.1, 0.03, 0.01, 0.03, 0.01, 0.03, 0.01, 0.01], False),  # by less than 0.025
        ([0.3, 0.34, 0.3, 0.34, 0.3, 0.29, 0.28, 0.27, 0.26, 0.25], False),  # in the first half
        ([0.5, 0.34, 0.3, 0.34], False),  # too few epochs
        ([0.4, 0.3, *[0.34, 0.3] * 2, *[0.3] * 14], False),  # 0 of 10
        ([*[0.3] * 10, *[0.34, 0.3] * 2, *[0.3] * 6], False),  # 2 of 10
        ([*[0.3] * 10, *[0.34, 0.3] * 3, *[0.3] * 4], True),  # 3 of 10
        ([2.0, 0.5, 0.49, 0.5, 0.48, 0.49], True),  # shot up, then at guessing
        ([1.4, 0.5, 0.49, 0.5, 0.48, 0.49], False),  # not three times guessing
        ([2.0, 0.5, 0.49, 0.5, 0.44, 0.49], False),  # better than guessing
        ([2.0, 0.5, 0.49, 0.48, 0.47, 0.46], False),  # came from far, and falls
        ([0.3, 0.5, 0.4, 0.36, 0.35, 0.34], True),  # ended above its start
        ([0.3, 0.5, 0.4, 0.36, 0.35, 0.32], False),
        ([2.0, 1.6, 2.0, 1.6, 2.2, 2.3], False),  # a divergence
        ([0.5, 0.4, math.nan, math.nan, math.nan, math.nan], False),  # another
    ],
)
def test_a_rate_is_too_high_where_the_loss_bounces_or_shot_up_and_never_beat_guessing(
    losses, expected
):
    assert set(findings_of(made(losses))) == ({"learning_rate_too_high"} if expected else set())


def test_the_bounces_are_counted_and_the_worst_is_named():
    finding = findings_of(made([*BOUNCING[:-1], 0.37]))["learning_rate_too_high"]
    assert finding.figures["rises"] == 3
    assert (finding.figures["loss_before"], finding.figures["loss_worst"]) == (0.3, 0.37)
    assert "in 3 of the last 5 epochs it rose by more than a tenth" in finding.sentence
    assert "the most in epoch 9, from 0.3 to 0.37." in finding.sentence


def test_the_unrest_of_dropouts_masks_is_not_the_learning_rates():
    smooth = [0.5, 0.4, 0.35, *[0.3] * 7]
    assert findings_of(made(BOUNCING, dropout=0.2, hidden=(4,))) == {}
    assert findings_of(made(BOUNCING, training=smooth, dropout=0.2, hidden=(4,))) == {}
    assert findings_of(made(smooth, training=BOUNCING, dropout=0.2, hidden=(4,)))
    assert findings_of(made(BOUNCING, dropout=0.2, hidden=()))  # nothing is dropped


STEADY = [2.0, 1.9, 1.8, 1.7, 1.6, 1.5, 1.4]


@pytest.mark.parametrize(
    ("losses", "given", "expected"),
    [
        (STEADY, {}, True),
        (STEADY, {"steps": 80}, False),  # few steps, at any rate
        (STEADY[:4], {}, False),
        ([2.0, 1.9, 1.8, 1.7, 1.7, 1.6, 1.5], {}, False),  # not in each epoch
        ([2.0, 1.9, 1.7, 1.6, 1.5, 1.45, 1.4], {}, True),  # 0.1 at the end of 0.3 at first
        ([2.0, 1.9, 1.7, 1.6, 1.5, 1.45, 1.402], {}, False),
        ([0.3, 0.29, 0.28, 0.27, 0.26, 0.255, 0.251], {}, True),
        ([0.3, 0.29, 0.28, 0.27, 0.26, 0.25, 0.249], {}, False),  # half of guessing
        (STEADY, {"validation": STEADY}, True),
        (STEADY, {"validation": [*STEADY[:-1], 1.51]}, False),  # it learns by heart
        (STEADY, {"rates": [0.05] * 6 + [0.02]}, True),
        (STEADY, {"rates": [0.01] + [0.05] * 6}, False),  # it was warming up
    ],
)
def test_a_rate_is_too_low_where_the_loss_falls_steadily_and_is_far_from_done(
    losses, given, expected
):
    assert set(findings_of(made(losses, **given))) == (
        {"learning_rate_too_low"} if expected else set()
    )


def test_steady_falls_are_measured_over_the_first_and_the_last_third():
    finding = findings_of(made([2.0, 1.9, 1.7, 1.6, 1.5, 1.45, 1.38]))["learning_rate_too_low"]
    assert finding.figures["fell_early"] == pytest.approx(0.3)
    assert finding.figures["fell_late"] == pytest.approx(0.12)
    assert "by 0.3 in 2 at the start and by 0.12 in the last 2" in finding.sentence


@pytest.mark.parametrize("probes", [False, True])
def test_learning_rates_are_judged_member_by_member(probes):
    # The networks are linear: a rounding error then grows no faster than the loss, so that the
    # verdicts are the same for every rounding. Hidden layers at such a rate are chaotic.
    rng = np.random.default_rng(0)
    X = rng.normal(size=(600, 8))
    y = X @ rng.normal(size=8) / 8**0.5 + rng.normal(0, 0.3, 600)
    run = train(
        X, y, seed=[0, 0, 0], learning_rate=[1e-5, 0.1, 1.2], optimizer="sgd", batch_size=20,
        epochs=8, hidden=(), validation=0.2, probes=probes,
    )  # fmt: skip
    low, healthy, high = (findings_of(run, k) for k in range(3))
    assert (set(low), healthy, set(high)) == (
        {"learning_rate_too_low"},
        {},
        {"learning_rate_too_high"},
    )
    losses = [record["loss"][0] for record in run.history]
    figures = low["learning_rate_too_low"].figures
    assert (figures["loss_last"], figures["steps"]) == (losses[-1], 8 * 24)
    assert figures["fell_late"] == losses[-3] - losses[-1]
    figures = high["learning_rate_too_high"].figures
    assert (figures["learning_rate"], figures["batch_size"]) == (1.2, 20)
    losses = [record["loss"][2] for record in run.history]
    rises = [b / a for a, b in itertools.pairwise(losses[3:]) if b > 1.1 * a]
    assert figures["rises"] == len(rises) >= 2
    assert min(rises) > 2  # far above the tenth that counts


def test_a_loss_that_shot_up_is_told_with_the_step_that_changed_the_weights_the_most():
    X, y = corners(noise=3.0)
    run = train(
        X, y, optimizer="momentum", learning_rate=1.0, batch_size=50, epochs=12, hidden=(16, 16),
        probes=True,
    )  # fmt: skip
    figures = findings_of(run)["learning_rate_too_high"].figures
    first = [m for m in run.measurements if m.epoch == 0]
    assert figures["loss_highest"] == max(run.history[0]["loss"], *(m.loss for m in first))
    ratios = [u / w for m in first for u, w in zip(m.update_norm, m.weight_norm, strict=True)]
    assert figures["update"] / figures["weights"] == max(ratios)
    (then,) = [m for m in first if m.step == figures["step"]]
    assert then.update_norm[figures["layer_number"] - 1] == figures["update"]


@pytest.mark.parametrize(
    ("masked", "without", "p", "expected"),
    [
        (0.36, 0.25, 0.8, True),
        (0.34, 0.25, 0.8, False),  # masks cost less than a fifth of guessing
        (0.36, 0.25, 0.5, False),
        (0.4, 0.12, 0.8, False),  # fine without masks
        (0.49, 0.49, 0.8, True),  # both at guessing
        (0.48, 0.48, 0.8, False),
        (0.45, 0.6, 0.8, False),  # that is something else
    ],
)
def test_dropout_is_too_strong_where_masks_cost_much_and_the_loss_is_poor(
    masked, without, p, expected
):
    runs = [
        made([0.5, masked], **{part: [0.5, without]}, **given)
        for part in ("training", "validation")
        for given in (
            {"dropout": p, "hidden": (4,)},
            {"dropout": Dropout(input=p), "hidden": ()},
        )
    ]
    for run in runs:
        findings = findings_of(run)
        assert set(findings) == ({"dropout_too_strong"} if expected else set())
        if expected:
            assert f"the loss was {masked:.4g} in the course of epoch 1" in (
                findings["dropout_too_strong"].sentence
            )
            assert f"loss was {without:.4g};" in findings["dropout_too_strong"].sentence
    assert findings_of(made([0.5, masked], dropout=p, hidden=(4,))) == {}  # nothing to compare with


def test_dropout_is_judged_member_by_member():
    X, y = corners()
    run = train(
        X, y, seed=[0, 1], dropout=[0.2, 0.95], hidden=(16,), epochs=6, batch_size=20,
        learning_rate=0.02, training_error=True,
    )  # fmt: skip
    assert findings_of(run, 0) == {}
    figures = findings_of(run, 1)["dropout_too_strong"].figures
    assert figures["loss_masked"] == run.history[-1]["loss"][1]
    assert figures["loss_without"] == run.history[-1]["training_loss"][1]
    assert (figures["dropout_hidden"], figures["dropout_input"]) == (0.95, 0.0)


def cross_entropy(layers, X, y):
    """The mean loss of a relu network, sample by sample."""
    total = 0.0
    for row, label in zip(X, y, strict=True):
        z = row
        for i, (w, b) in enumerate(layers):
            z = z @ w + b[0]
            z = z if i == len(layers) - 1 else np.maximum(z, 0)
        total += math.log(sum(math.exp(v) for v in z)) - z[label]
    return total / len(X)


@pytest.mark.parametrize("name", ["weight_decay", "l2"])
@pytest.mark.parametrize("validation", [None, 0.25])
def test_decay_is_judged_member_by_member(name, validation):
    X, y = corners()
    values = [0.0, 1e-3, 3.0, 18.0] if name == "weight_decay" else [0.0, 1e-3, 0.3, 3.0]
    run = train(
        X, y, seed=[0, 1, 2, 3], hidden=(16,), epochs=8, batch_size=20, learning_rate=0.02,
        optimizer="momentum", validation=validation, dtype="float64", **{name: values},
    )  # fmt: skip
    assert [set(findings_of(run, k)) for k in range(4)] == [
        set(),
        set(),
        {"decay_too_strong"},
        {"decay_too_strong"},
    ]
    finding = findings_of(run, 2)["decay_too_strong"]
    figures, network = finding.figures, run.network.member(2)
    drawn = MultilayerPerceptron.create([12, 16, 3], seed=2, dtype="float64")
    norms = [
        (np.linalg.norm(a.weights), np.linalg.norm(b.weights))
        for a, b in zip(drawn.layers, network.layers, strict=True)
    ]
    least = min(range(2), key=lambda i: norms[i][1] / norms[i][0])
    assert (figures[name], finding.layer) == (values[2], least)
    assert (figures["norm_drawn"], figures["norm_last"]) == pytest.approx(norms[least])
    part = (run.data.X, run.data.y) if validation is None else (run.data.X_val, run.data.y_val)
    rows = part[0], part[1].values
    for key, factor in (("loss", 1.0), ("loss_if_larger", 1.1)):
        layers = [(layer.weights * factor, layer.bias) for layer in network.layers]
        assert figures[key] == pytest.approx(cross_entropy(layers, *rows))
    assert figures["loss"] - figures["loss_if_larger"] > 0.02 * figures["guess"]
    nothing = findings_of(run, 3)["decay_too_strong"].figures
    assert nothing["kept_most"] < 0.2
    assert nothing["loss"] > 0.9 * nothing["guess"]


def test_weights_that_are_not_done_growing_are_not_held_by_decay():
    X, y = corners()
    given = {"optimizer": "momentum", "learning_rate": 0.001, "l2": 1e-4}
    run = train(X, y, hidden=(16,), epochs=3, batch_size=20, **given)
    loss, larger = ModelChecks(run).losses_if_larger
    assert loss - larger > 0.02 * math.log(3)
    assert run.history[-1]["loss"] > 0.25 * math.log(3)
    assert findings_of(run) == {}


def test_decay_of_a_network_that_was_given_is_not_judged():
    X, y = corners()
    network = MultilayerPerceptron.create([12, 16, 3])
    given = {"epochs": 4, "batch_size": 20, "weight_decay": 10.0}
    assert findings_of(train(X, y, hidden=(16,), **given))
    assert findings_of(train(X, y, network=network, **given)) == {}


IMBALANCED = {"counts": [500, 40, 500], "n_features": 2, "noise": 2.0, "seed": 3}


@pytest.mark.parametrize("validation", [None, 0.25])
def test_a_rare_class_that_is_hardly_found_is_named_unless_weights_make_up_for_it(validation):
    X, y = corners(**IMBALANCED)
    run = train(
        X, y + 5, seed=[0, 0, 0], class_weight=[None, "balanced", {6: 0.5}], hidden=(8,),
        epochs=4, learning_rate=0.02, validation=validation,
    )  # fmt: skip
    assert findings_of(run, 1) == {}
    for k, share in ((0, 40 / 1040), (2, 20 / 1020)):
        finding = findings_of(run, k)["class_imbalance"]
        figures = finding.figures
        data = run.data
        rows, y_true = (data.X, data.y) if validation is None else (data.X_val, data.y_val)
        given, true = run.network.member(k).predict(rows), y_true.values + 5
        assert (figures["rare"], figures["frequent"], figures["others"]) == (6, 5, [])
        assert figures["share_rare"] == pytest.approx(share)
        assert (figures["rows"], figures["found"]) == (
            sum(true == 6),
            sum(t == g == 6 for t, g in zip(true, given, strict=True)),
        )
        assert figures["accuracy"] == pytest.approx(np.mean(given == true))
        assert "counted by their weights" in finding.sentence  # as those of some member are


def test_weights_of_samples_can_make_a_class_rare_or_not():
    X, y = corners(**IMBALANCED)
    given = {"hidden": (8,), "epochs": 4, "learning_rate": 0.02}
    assert "which all count alike" in findings_of(train(X, y, **given))["class_imbalance"].sentence
    evened = np.where(y == 1, 12.5, 1.0)
    assert findings_of(train(X, y, sample_weight=evened, **given)) == {}
    members = train(
        X, y, seed=[0, 1], sample_weight=np.stack([evened, np.ones_like(evened)]), **given
    )
    assert [set(findings_of(members, k)) for k in (0, 1)] == [set(), {"class_imbalance"}]


def test_a_class_with_few_validation_rows_is_looked_for_in_training():
    X, y = corners(**IMBALANCED)
    run = train(
        X, y, validation=(X[:100], y[:100]), hidden=(8,), epochs=4, learning_rate=0.02
    )  # fmt: skip
    assert sum(y[:100] == 1) < 10
    assert findings_of(run)["class_imbalance"].figures["rows"] == 40


@pytest.mark.parametrize(
    ("frequent", "rare", "given", "expected"),
    [
        (200, 40, 8, True),
        (200, 40, 9, False),  # more than a fifth is found
        (199, 40, 8, False),  # more than a fifth as many
        (200, 10, 0, True),
        (200, 9, 0, False),  # too few to say
    ],
)
def test_a_class_is_missed_where_at_most_a_fifth_of_a_fifth_is_found(
    frequent, rare, given, expected
):
    X = np.full((frequent + rare, 1), -1.0)
    X[frequent : frequent + given] = 1.0
    y = np.arange(frequent + rare) >= frequent
    network = MultilayerPerceptron.create([1, 2])
    network.layers[0].weights[:] = [[-1.0, 1.0]]
    run = train(X, y.astype(int), network=network, epochs=1, optimizer="sgd", learning_rate=1e-9)
    assert set(findings_of(run)) == ({"class_imbalance"} if expected else set())


RARE_X, RARE_Y = np.random.default_rng(5).normal(size=(120, 4)), np.arange(120) % 10 // 9
TARGETS = {
    "labels": ((RARE_X, RARE_Y), "auto"),
    "rows of a one": ((RARE_X, np.eye(2)[RARE_Y]), "softmax_cross_entropy"),
    "a single output": ((RARE_X, RARE_Y), "binary_cross_entropy"),
    "chunks": (([(RARE_X[:70], RARE_Y[:70]), (RARE_X[70:], RARE_Y[70:])],), "auto"),
}


@pytest.mark.parametrize("name", TARGETS)
def test_a_rare_class_is_found_missing_on_every_backend(quick_backend, name):
    (data, chosen), X, y = TARGETS[name], RARE_X, RARE_Y
    run = train(
        *data, loss=chosen, hidden=(4,), epochs=5, seed=[0, 1], batch_size=20,
        optimizer="momentum", backend=quick_backend,
    )  # fmt: skip
    for k in range(2):
        figures = findings_of(run, k)["class_imbalance"].figures
        assert (figures["share_rare"], figures["rows"]) == (pytest.approx(0.1), 12)
        assert figures["found"] == int((run.network.member(k).predict(X)[y == 1] == 1).sum())


def test_decay_is_found_on_every_backend(quick_backend):
    X, y = problems.labels()
    run = train(
        X, y, hidden=problems.HIDDEN, seed=[0, 1], weight_decay=[0.0, 19.0], epochs=12,
        batch_size=problems.BATCH, backend=quick_backend,
    )  # fmt: skip
    figures = findings_of(run, 1)["decay_too_strong"].figures
    layer = run.network.member(1).layers[figures["layer_number"] - 1]
    norm = np.linalg.norm(quick_backend.to_numpy(layer.weights))
    assert figures["norm_last"] == pytest.approx(norm, rel=1e-5)
    assert "decay_too_strong" not in findings_of(run, 0)


FALLEN = [0.6, 0.3, 0.1, 0.08, 0.07]


@pytest.mark.parametrize(
    ("losses", "expected"),
    [
        ([*FALLEN, 0.4, 0.07, 0.06, 0.06], 5),
        ([*FALLEN, 0.4, 0.3, 0.08, 0.06], 5),  # back in the second epoch
        ([*FALLEN, 0.2, 0.07, 0.4, 0.07, 0.06], 7),  # the higher one
        ([*FALLEN, 0.16, 0.07, 0.06, 0.06], None),  # by less than 0.1
        ([*FALLEN, 0.4, 0.3, 0.3, 0.3], None),  # not back
        ([*FALLEN, 0.07, 0.06, 0.06, 0.4], None),  # nobody knows
        ([0.6, 0.55, 0.5, 0.8, 0.5, 0.49, 0.48], None),  # it had not learned
        ([0.3, 0.1, 0.2, 0.1, 0.25, 0.1, 0.2, 0.1], None),  # always so restless
        ([0.1, 0.4, 0.1, 0.1], None),  # too few epochs
    ],
)
def test_a_jump_that_comes_back_is_told(losses, expected):
    for given in ({"validation": losses}, {"training": losses}, {}):
        first = losses if not given else [0.6 - 0.01 * i for i in range(len(losses))]
        spikes = [f for f in diagnose(made(first, **given)) if f.kind == "spike"]
        assert [f.figures["epoch"] for f in spikes] == ([] if expected is None else [expected])
        for finding in spikes:
            assert finding.figures["loss_then"] == losses[expected]
            part = "validation" if "validation" in given else "training"
            jump = f"In epoch {expected} the {part} loss jumped from 0.07 to 0.4 and was back at"
            assert jump in finding.sentence
            assert "The learning rate was 0.05, with minibatches of 10" in finding.sentence


def test_dropouts_masks_make_no_jump():
    losses = [*FALLEN, 0.4, 0.07, 0.06, 0.06]
    assert "spike" not in [f.kind for f in diagnose(made(losses, dropout=0.2, hidden=(4,)))]


def test_a_jump_is_told_with_the_error_and_the_number_of_jumps():
    X, y = corners()
    run = train(X, y, validation=0.25, epochs=9, hidden=(16,))
    assert "spike" not in [f.kind for f in run.findings]
    for epoch, loss, error in ((4, 2.5, 0.435), (6, 1.5, 0.3)):
        run.history[epoch].update(validation_loss=loss, validation_error=error)
    (finding,) = [f for f in diagnose(run) if f.kind == "spike"]
    before = run.history[3]["validation_error"]
    assert f"(the error from {before:.2%} to 43.50%)" in finding.sentence
    assert "There were 2 such jumps; this was the highest." in finding.sentence
    assert (finding.from_epoch, finding.to_epoch) == (4, 5)


def jumping(error: float, rows: int = 10_000, met: float = 0.011) -> list:
    """The jumps found in a run whose validation error jumped in epoch 5, its loss but little."""
    losses = [0.6, 0.3, 0.1, 0.05, 0.03, met, 0.02, 0.02, 0.02]
    evaluated = [0.4, 0.2, 0.08, 0.04, 0.02, 0.1, 0.02, 0.02, 0.02]
    run = made(losses, training=evaluated, validation=[v + 0.05 for v in evaluated])
    errors = [0.5, 0.2, 0.05, 0.031, 0.030, error, 0.0302, 0.030, 0.029]
    for record, of_epoch in zip(run.history, errors, strict=True):
        record.update(validation_error=of_epoch, predicted=[rows / 2, rows / 2])
    return [f for f in diagnose(run) if f.kind == "spike"]


def test_a_jump_of_the_error_alone_is_told_with_when_it_was():
    (finding,) = jumping(0.0468)
    assert "(the error from 3.00% to 4.68%) and was back at 0.07 (error 3.02%)" in finding.sentence
    assert "The training loss was 0.1 at its end, but its minibatches had met 0.011 on average" in (
        finding.sentence
    )
    (finding,) = jumping(0.0468, met=0.09)
    assert "Its minibatches met a mean loss of 0.09, those of the epoch before 0.03" in (
        finding.sentence
    )


def test_what_may_be_chance_is_no_jump():
    assert jumping(0.033) == []
    assert jumping(0.0468, rows=1000) == []


def test_few_dead_units_come_last_and_many_first():
    X, y = corners()
    run = train(X, y, epochs=9, hidden=(16,), probes=True)
    for dead, expected in ((7, ["learned", "dead_units"]), (8, ["dead_units", "learned"])):
        run.dead_units = [dead]
        found = [f.kind for f in diagnose(run) if f.kind in expected]
        assert found == expected


HEALTHY = {
    "defaults": {},
    "sgd": {"optimizer": "sgd", "learning_rate": 0.1},
    "adam": {"optimizer": "adam", "learning_rate": 0.003},
    "adamw": {"optimizer": "adamw", "learning_rate": 0.003, "weight_decay": 0.1},
    "rmsprop": {"optimizer": "rmsprop", "learning_rate": 0.001},
    "dropout and l2": {"dropout": Dropout(0.5, 0.2), "l2": 1e-3, "training_error": True},
    "cosine": {"schedule": "cosine"},
    "averaged, smoothed": {"weight_average": 0.9, "label_smoothing": 0.1},
    "balanced": {"class_weight": "balanced"},
    "early stopping": {"early_stopping": True, "epochs": 30},
    "probes": {"probes": True},
}


@pytest.mark.parametrize("name", HEALTHY)
@pytest.mark.parametrize("noise", [0.7, 2.0])
def test_healthy_runs_are_not_found_fault_with(name, noise):
    X, y = corners(noise=noise, n=400, n_classes=2)
    given = {"hidden": (16,), "epochs": 12, "batch_size": 20, "learning_rate": 0.02}
    run = train(X, y, validation=0.25, seed=[0, 1, 2], **{**given, **HEALTHY[name]})
    assert [findings_of(run, k) for k in range(3)] == [{}] * 3


def test_targets_that_do_not_differ_are_no_fault_of_any_setting():
    X, _ = corners(n=300)
    given = {"dropout": 0.9, "l2": 1.0, "batch_size": 20, "training_error": True, "epochs": 6}
    run = train(X, np.ones(len(X)), learning_rate=1e-4, hidden=(8,), **given)
    assert findings_of(run) == {}


def overfitted(**given):
    """A run that learns labels by heart that its input does not decide."""
    rng = np.random.default_rng(1)
    X, X_val = rng.normal(size=(120, 12)), rng.normal(size=(200, 12))
    y, y_val = rng.integers(0, 3, 120), rng.integers(0, 3, 200)
    given = {"epochs": 60, "hidden": (64,), "batch_size": 10, "learning_rate": 0.02, **given}
    return train(X, y, validation=(X_val, y_val), **given)


def overfitting(run, member=None):
    (finding,) = [f for f in run.findings if (f.kind, f.member) == ("overfitting", member)]
    return finding


def test_overfitting_tells_what_early_stopping_went_back_to():
    run = overfitted(early_stopping=EarlyStopping(patience=8))
    finding, losses = overfitting(run), run.history["validation_loss"]
    best = int(np.argmin(losses))
    assert run.best_epoch == best == finding.from_epoch == finding.figures["epoch_kept"]
    assert len(losses) == best + 9
    assert f"went back to the weights of epoch {best}" in finding.sentence
    assert f"validation loss is {losses[best]:.4f}." in finding.sentence
    last = overfitted(early_stopping=EarlyStopping(patience=8, restore_best=False))
    assert "Early stopping" not in overfitting(last).sentence


def test_a_member_is_judged_up_to_where_it_stopped():
    run = overfitted(
        seed=[0, 1], learning_rate=[0.02, 0.01], early_stopping=EarlyStopping(patience=(8, 24))
    )
    best, last = run.best_epoch, run.history[-1]["epoch"]
    assert best[0] + 8 < best[1] + 24 == last  # the other went on
    for k, patience in ((0, 8), (1, 24)):
        finding = overfitting(run, k)
        assert finding.to_epoch == best[k] + patience
        value = run.history[finding.to_epoch]["validation_loss"][k]
        assert finding.figures["validation_loss_last"] == value


def test_what_was_learned_is_told_of_the_epoch_that_was_kept():
    X, y = corners(noise=1.5, n=300)
    run = train(
        X, y, validation=0.3, hidden=(64,), batch_size=10, learning_rate=0.01,
        early_stopping=EarlyStopping(patience=5), epochs=40,
    )  # fmt: skip
    finding = run.findings[-1]
    assert finding.kind == "learned"
    assert run.best_epoch < run.history[-1]["epoch"]
    assert finding.figures["loss_last"] == run.history[run.best_epoch]["loss"]
    assert f"in epoch {run.best_epoch}, whose weights it went back to" in finding.sentence


@pytest.mark.parametrize(
    ("validation", "expected"),
    [
        ([0.5, 0.3, 0.2, 0.23, 0.24, 0.25], True),
        ([0.5, 0.3, 0.2, 0.23, 0.21, 0.25], False),  # one of the last three is near the lowest
        ([0.5, 0.3, 0.25, 0.2, 0.23, 0.25], False),
    ],
)
def test_overfitting_takes_three_epochs_and_names_dropouts_masks(validation, expected):
    fit = [0.5, 0.4, 0.35, 0.3, 0.25, 0.2]
    for given, words in (({}, "loss went"), ({"dropout": 0.3}, "loss, with dropout's masks, went")):
        run = made(fit, validation=validation, hidden=(4,), **given)
        findings = [f for f in diagnose(run) if f.kind == "overfitting"]
        assert bool(findings) == expected
        assert all(f"the training {words} from 0.3500 to 0.2000" in f.sentence for f in findings)
        assert all(f.from_epoch == 2 for f in findings)


def test_what_dropouts_masks_cost_is_no_divergence():
    losses = {"losses": [0.6, 9.0, 9.0], "validation": [0.5, 0.4, 0.4], "hidden": (4,)}
    for p, kinds in ((0.0, ["divergence"]), (0.9, [])):
        run = made(dropout=p, **losses)
        assert [f.kind for f in diagnose(run) if f.kind == "divergence"] == kinds


def test_what_guessing_costs_is_weighted_as_the_loss_is():
    X, y = corners(counts=[100, 100, 100])
    weights = [None, {0: 3.0}]
    run = train(X, y, seed=[0, 1], class_weight=weights, hidden=(8,), epochs=3)
    guesses = [f.figures["guess"] for f in run.findings if f.kind == "learned"]
    assert guesses[0] == pytest.approx(math.log(3))
    cost = 0.6 * math.log(1 / 0.6) + 0.4 * math.log(5)
    assert guesses[1] == pytest.approx(cost)
    alone = train(X, y, class_weight={0: 3.0}, hidden=(8,), epochs=3)
    assert alone.findings[-1].figures["guess"] == pytest.approx(cost)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("squared_error", "to ignore the input and know only the targets' mean costs"),
        ("absolute_error", "to ignore the input and know only the targets' median costs"),
        ("huber", "to ignore the input costs"),
    ],
)
def test_what_guessing_costs_is_called_what_the_loss_calls_it(name, words):
    X, _ = corners(n=300)
    run = train(X, X[:, 0], loss=name, hidden=(8,), epochs=10, batch_size=20)
    (sentence,) = [f.sentence for f in run.findings if f.kind == "learned"]
    assert words in sentence

"""Diagnosis: each kind of failure is made on purpose and found, and its figures counted anew."""

import json

import numpy as np
import pytest

from arraymlp import MultilayerPerceptron, NonFiniteLossError, resolve, train
from arraymlp.data.splits import sample_rows
from arraymlp.datasets import load_mnist
from arraymlp.diagnosis.run_columns import baseline_loss
from arraymlp.initializers import normal
from arraymlp.optimizers import SGD
from arraymlp.steps.probes import SAMPLE_ROWS, probed_steps

MOMENTUM = {"optimizer": "momentum", "batch_size": 100}  # for failures that are another's cure


def digits(n=300, n_features=12, n_classes=3, seed=0):
    """Rows near one of three corners: easy."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, n_classes, n)
    corners = rng.normal(0, 2, (n_classes, n_features))
    return corners[y] + rng.normal(0, 0.5, (n, n_features)), y


def network(hidden=(8, 6), activation="relu", **settings):
    """A network for the digits."""
    return MultilayerPerceptron.create(
        [12, *hidden, 3], activation=activation, backend=resolve("numpy"), **settings
    )


def kinds(run):
    return [finding.kind for finding in run.findings]


def only(run, kind):
    """The one finding of that kind."""
    (finding,) = [finding for finding in run.findings if finding.kind == kind]
    return finding


def test_a_healthy_run_is_said_to_have_learned_and_nothing_else():
    X, y = digits()
    run = train(X, y, validation=0.2, epochs=8, hidden=(16,), probes=True)
    assert kinds(run) == ["learned"]
    assert run.findings[0].figures["loss_last"] == run.history[-1]["loss"]


def test_a_dead_layer_is_found_with_step_units_and_zero_gradients():
    X, y = digits()
    dead = network()
    dead.layers[1].bias -= 1e6
    run = train(X, y, network=dead, epochs=6, validation=(X, y), probes=True)
    finding = only(run, "dead_units")
    assert (finding.layer, finding.from_step) == (1, 1)
    assert finding.figures["dead"] == finding.figures["units"] == 6
    assert finding.figures["training_rows"] == len(X)
    assert finding.figures["step_gradients_zero"] == 1
    assert "hidden layer 2" in finding.sentence
    assert only(run, "constant_predictions").to_epoch == 5
    assert only(run, "plateau").from_epoch == 0
    assert "learned" not in kinds(run)


def test_some_dead_units_are_counted_over_all_training_rows():
    X, y = digits(n=SAMPLE_ROWS + 200)
    given = network(hidden=(8,))
    given.layers[0].bias[:, :3] -= 1e6
    run = train(X, y, network=given, epochs=1, probes=True)
    z = run.network.forward(X.astype(np.float32))[0].z
    assert only(run, "dead_units").figures["dead"] == int((z.max(axis=0) == 0).sum()) == 3


def test_a_unit_that_one_unsampled_row_activates_is_not_dead():
    X, y = digits(n=SAMPLE_ROWS + 1)
    (left_out,) = set(range(len(X))) - set(sample_rows(len(X), SAMPLE_ROWS).tolist())
    X[:, 0] = 0.0
    X[left_out, 0] = 1e6
    late = network(hidden=(4,))
    late.layers[0].weights[:] = 0
    late.layers[0].weights[0, :] = 1
    late.layers[0].bias[:] = -1
    run = train(X, y, network=late, epochs=1, learning_rate=1e-9, probes=True)
    assert run.measurements[-1].active_units == [0.0]
    assert "dead_units" not in kinds(run)


def test_saturated_units_are_named_so():
    X, y = digits()
    full = network(activation="tanh")
    full.layers[0].bias += 1e4
    run = train(X, y, network=full, epochs=1, probes=True)
    finding = only(run, "saturated_units")
    assert (finding.layer, finding.figures["saturated"]) == (0, 8)


def test_vanishing_gradients_are_found_in_a_deep_sigmoid_network():
    X, y = digits()
    run = train(
        X,
        y,
        network=network(hidden=(8,) * 5, activation="sigmoid", initializer=normal(0.1)),
        epochs=6,
        probes=True,
    )
    finding = only(run, "vanishing_gradients")
    last = run.measurements[-1].bias_gradient
    assert finding.figures["gradient_first_layer"] == last[0] < 1e-3 * last[-1]


def test_exploding_gradients_and_divergence_are_found():
    X, _ = digits()
    run = train(
        X, X[:, :1], hidden=(), optimizer="sgd", learning_rate=0.5, batch_size=100,
        standardize=False, epochs=2, probes=True,
    )  # fmt: skip
    finding = only(run, "exploding_gradients")
    by_step = {m.step: m for m in run.measurements}
    first, then = by_step[finding.from_step], by_step[finding.to_step]
    assert finding.figures["gradient_then"] == then.gradient_norm[0] > 10 * first.gradient_norm[0]
    assert finding.figures["loss_then"] == then.loss > 10 * first.loss
    assert only(run, "divergence").figures["loss_last"] == run.history[-1]["loss"]


def test_a_loss_that_only_falls_has_not_diverged():
    X, _ = digits()
    far = 1000 + X[:, :1]  # a thousand times its spread from where the network starts
    for probes in (False, True):
        run = train(X, far, hidden=(), optimizer="sgd", learning_rate=1e-4, epochs=3, probes=probes)
        assert run.history[-1]["loss"] > 3 * X[:, 0].var()
        assert "divergence" not in kinds(run)


def test_a_member_whose_weights_are_not_finite_is_not_called_dead():
    X, y = digits()
    for activation in ("tanh", "relu"):
        run = train(
            X, y, seed=[0, 1], learning_rate=[0.01, 3e38], activation=activation, epochs=2,
            probes=True,
        )  # fmt: skip
        assert not np.isfinite(run.network.member(1).layers[0].weights).all()
        assert [f.kind for f in run.findings if f.member == 1] == ["divergence"]


def test_what_probes_saw_is_not_said_of_epochs_they_did_not_see():
    X, y = digits()
    deep = network(hidden=(8,) * 5, activation="sigmoid", initializer=normal(0.1))
    probed = train(X, y, network=deep, epochs=6, **MOMENTUM, probes=True)
    assert only(probed, "vanishing_gradients")
    further = train(network=probed, epochs=5, probes=False)
    assert "vanishing_gradients" not in kinds(further)
    assert "probes" not in only(further, "plateau").figures


def test_noise_that_cannot_be_learned_is_no_plateau():
    X, _ = digits(n=2000)
    y = X[:, 0] + np.random.default_rng(5).normal(0, 1.5, len(X))
    run = train(X, y, hidden=(), epochs=20, learning_rate=0.01, optimizer="sgd")
    assert kinds(run) == ["learned"]


def test_findings_start_where_data_or_validation_changed():
    X, y = digits()
    dead = network()
    dead.layers[1].bias -= 1e6
    run = train(X, y, network=dead, epochs=3, validation=(X, y), probes=True)
    run = train(network=run, epochs=2, validation=(X[:100], y[:100]))
    finding = only(run, "constant_predictions")
    assert (finding.from_epoch, finding.to_epoch) == (3, 4)
    assert finding.figures["validation_rows"] == 100
    assert finding.sentence.startswith("After each of the epochs 3 to 4 all 100 validation samples")


def test_a_validation_set_of_one_class_that_is_read_right_is_no_failure():
    X, y = digits()
    run = train(X, y, validation=(X[y == 1], y[y == 1]), epochs=8, hidden=(16,), probes=True)
    assert run.history[-1]["validation_error"] == 0
    assert kinds(run) == ["learned"]


def test_labels_learned_by_heart_are_not_learned():
    X, _ = digits(n=60)
    rng = np.random.default_rng(2)
    y, y_val = rng.integers(0, 3, 60), rng.integers(0, 3, 60)
    run = train(
        X, y, validation=(rng.normal(0, 2, X.shape), y_val), epochs=80, hidden=(64,),
        batch_size=10, learning_rate=0.02,
    )  # fmt: skip
    assert run.history[-1]["loss"] < 0.5
    assert kinds(run) == ["overfitting"]


@pytest.mark.parametrize(
    ("y", "cost"),
    [
        (np.array([0, 1] * 30), np.log(2)),
        (np.array([0, 0, 1] * 20), -(2 / 3) * np.log(2 / 3) - np.log(1 / 3) / 3),
        (np.array([[0, 1], [1, 1]] * 30), np.log(2)),
        (np.array([0.0, 2.0] * 30), 0.5),
        (np.array([[0.0, 0.0], [2.0, 4.0]] * 30), 0.5 + 2.0),
    ],
)
def test_cost_of_guessing_is_the_loss_of_knowing_the_mean(y, cost):
    X = np.zeros((60, 2))
    X[:, 0] = np.arange(60)
    run = train(X, y, hidden=(), epochs=0, batch_size=60)
    assert baseline_loss(run) == pytest.approx(cost)


def test_a_dead_layer_is_described_by_its_figures():
    """The lab's dead run, on a tenth of its data."""
    mnist = load_mnist()
    X, y = mnist.X_train[:6000], mnist.y_train[:6000]
    run = train(
        X, y, preset="lab", activation="relu", learning_rate=0.05, epochs=1, backend="numpy"
    )
    first, last = run.measurements[0], run.measurements[-1]
    assert last.active_units[1] == 0  # the run is what the test needs
    finding = only(run, "dead_units")
    figures = finding.figures
    dead = [m.step for m in run.measurements if m.active_units[1] == 0]
    zero = [m.step for m in run.measurements if max(m.gradient_norm) == 0]
    assert figures["step_dead"] == min(dead)
    assert figures["step_gradients_zero"] == min(zero)
    assert figures["dead_first"] == 100 - round(100 * first.active_units[1])
    assert figures["bias_update_over_spread"] == first.bias_update[1] / first.spread[1]
    assert f"on the {SAMPLE_ROWS:,} rows of the probes' sample" in finding.sentence.lower()
    assert f"every probe from step {min(dead)} (epoch 0) on" in finding.sentence
    assert f"From step {min(zero)} on the gradient of every weight matrix is exactly 0" in (
        finding.sentence
    )
    assert finding.sentence.endswith("only the output biases change, whatever the input.")


def test_momentum_goes_on_moving_a_dead_layer_and_is_not_denied():
    X, y = digits()
    fast = network()
    fast.layers[1].bias -= 1e6
    fast.layers[1].weights[:] = 0
    run = train(X, y, network=fast, epochs=1, **MOMENTUM, probes=True)
    assert "only the output biases change" in only(run, "dead_units").sentence
    start = train(X, y, epochs=2, hidden=(8, 6), **MOMENTUM, shuffle=False)
    start.network.layers[1].bias -= 1e6
    run = train(network=start, epochs=1, probes=True)
    assert "moves by its velocity" in only(run, "dead_units").sentence


def test_a_loss_that_is_not_finite_is_a_divergence_with_its_epoch():
    X, _ = digits()
    with pytest.raises(NonFiniteLossError, match="epoch 0") as caught:
        train(X, X, hidden=(), optimizer="sgd", learning_rate=1e15, probes=True)
    finding = only(caught.value.run, "divergence")
    assert finding.from_epoch == 0
    assert "not finite" in finding.sentence


def test_overfitting_is_found_with_the_epoch_where_validation_turned():
    X, _ = digits(n=120)
    rng = np.random.default_rng(1)
    y = rng.integers(0, 3, len(X))  # nothing to learn but the rows by heart
    noise, noise_y = rng.normal(0, 1, (200, 12)), rng.integers(0, 3, 200)
    run = train(
        X, y, validation=(noise, noise_y), epochs=60, hidden=(64,), batch_size=10,
        learning_rate=0.02,
    )  # fmt: skip
    finding = only(run, "overfitting")
    losses = run.history["validation_loss"]
    assert finding.from_epoch == int(np.argmin(losses))
    assert finding.figures["validation_loss_last"] == losses[-1]


def test_a_population_is_diagnosed_member_by_member():
    X, y = digits()
    pair = MultilayerPerceptron.create([12, 8, 3], seed=[0, 1], backend=resolve("numpy"))
    pair.layers[0].bias[1] -= 1e6
    run = train(X, y, network=pair, epochs=6, validation=(X, y), **MOMENTUM, probes=True)
    assert only(run, "dead_units").member == 1
    assert {f.kind for f in run.findings if f.member == 0} == {"learned"}


def test_without_probes_only_what_the_history_shows_is_found():
    X, y = digits()
    dead = network()
    dead.layers[1].bias -= 1e6
    run = train(X, y, network=dead, epochs=6, validation=(X, y))
    assert kinds(run) == ["plateau"]


def test_findings_are_plain_data():
    X, y = digits()
    run = train(X, y, epochs=2, probes=True)
    text = json.dumps([f.to_dict() for f in run.findings], allow_nan=False)
    assert json.loads(text)[0]["sentence"] == run.findings[0].sentence


def test_no_epochs_no_findings():
    X, y = digits()
    assert train(X, y, epochs=0, probes=True).findings == []


def test_regression_is_diagnosed_too():
    X, _ = digits()
    run = train(X, X[:, :2] * 0.5, epochs=20, learning_rate=0.01, probes=True)
    assert kinds(run)[0] == "learned"
    assert not {"constant_predictions", "divergence", "plateau"} & set(kinds(run))


def test_probed_steps_are_dense_at_first_then_spaced_and_end_each_epoch():
    steps = probed_steps(0, 0, 70, 600)
    assert set(range(1, 33)) <= steps
    assert set(range(600, 42_001, 600)) <= steps
    assert max(steps) == 42_000
    assert len(steps) < 200


def test_probes_measure_what_happened_in_the_step():
    X, y = digits(n=100)
    settings = {"hidden": (5,), "optimizer": SGD(), "learning_rate": 0.1, "shuffle": False}
    settings["batch_size"] = len(X)
    start = train(X, y, epochs=0, **settings)
    run = train(X, y, epochs=1, probes=True, **settings)
    old, new = start.network.layers, run.network.layers
    measured = run.measurements[0]
    for i in range(2):
        moved = np.linalg.norm(new[i].weights - old[i].weights)
        assert measured.update_norm[i] == pytest.approx(moved, rel=1e-5)
        assert measured.gradient_norm[i] == pytest.approx(moved / 0.1, rel=1e-4)
        shift = np.sqrt(np.mean((new[i].bias - old[i].bias) ** 2))
        assert measured.bias_update[i] == pytest.approx(shift, rel=1e-5)
    z = run.network.forward(X.astype(np.float32))[0].z
    assert measured.active_units == [pytest.approx(np.mean((z > 0).any(axis=0)))]
    assert measured.mean == [pytest.approx(z.mean(), rel=1e-5)]
    assert measured.spread[0] == pytest.approx(np.sqrt(z.var(axis=0).mean()), rel=1e-5)

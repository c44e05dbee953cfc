"""What the estimators have beyond scikit-learn's, against the core and against sample weights."""

from typing import Any

import numpy as np
import pytest

pytest.importorskip("sklearn", minversion="1.7")

from sklearn.utils.class_weight import compute_sample_weight

import arraymlp
from arraymlp import Dropout, Layer, MLPClassifier, MLPRegressor, MLPSearchCV, MultilayerPerceptron
from arraymlp.losses import Huber, Loss, Quantile
from arraymlp.nn.activations import ACTIVATIONS
from arraymlp.nn.losses import LOSSES
from arraymlp.optimizers import SGD, Adam, AdamW, Optimizer
from sklearn_pairs import (
    ATOL,
    BASE,
    BATCH,
    EACH,
    FEATURES,
    LABELS,
    RTOL,
    SCORES,
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
    drawn,
    warned,
)


def core(
    y: HostArray,
    *,
    activations: tuple[str, ...] = ("relu", "relu"),
    loss: Loss = LOSSES["softmax_cross_entropy"],
    optimizer: Optimizer | None = None,
    with_seed: bool = False,
    **given: Any,
) -> MultilayerPerceptron:
    """The network that `arraymlp.train` makes of the estimators' weights, in their orders."""
    n_outputs = 3 if loss.classifies == "one" else loss.outputs_per_target
    sizes = (FEATURES, *BASE["hidden_layer_sizes"], n_outputs)
    random = np.random.RandomState(BASE["random_state"])
    names = ["sigmoid" if a == "logistic" else a for a in activations] + ["identity"]
    layers = [
        Layer(w, b[None, :], ACTIVATIONS[name])
        for (w, b), name in zip(drawn(random, sizes, activations), names, strict=True)
    ]
    start = MultilayerPerceptron(
        layers, loss, np.arange(3) if n_outputs == 3 and loss.classifies == "one" else None
    )
    seed = int(random.randint(2**31 - 1)) if with_seed else None
    order = np.arange(N)

    def shuffle(n: int, epoch: int) -> HostArray:
        nonlocal order
        order = order[random.permutation(n)]
        return order

    defaults = {
        "optimizer": optimizer or Adam(epsilon_hat=True),
        "learning_rate": BASE["learning_rate_init"],
        "alpha": BASE["alpha"],
        "batch_size": BATCH,
        "epochs": BASE["max_iter"],
        "shuffle": shuffle,
    }
    run = arraymlp.train(X, y, network=start, seed=seed, backend="numpy", **defaults | given)
    return run.network


def assert_same_network(model: Any, network: MultilayerPerceptron) -> None:
    for w, b, layer in zip(model.coefs_, model.intercepts_, network.layers, strict=True):
        np.testing.assert_allclose(w, layer.weights, rtol=RTOL, atol=ATOL)
        np.testing.assert_allclose(b, layer.bias[0], rtol=RTOL, atol=ATOL)


SOFTMAX, SQUARED = LOSSES["softmax_cross_entropy"], LOSSES["squared_error"]
# What is given to the estimator, and what says the same to train.
BEYOND: dict[str, tuple[type, Given, Given]] = {
    "nothing": (MLPClassifier, {}, {}),
    "dropout": (MLPClassifier, {"dropout": 0.3}, {"dropout": 0.3, "with_seed": True}),
    "dropout of features": (
        MLPRegressor,
        {"dropout": Dropout(0.2, 0.1)},
        {"dropout": Dropout(0.2, 0.1), "with_seed": True},
    ),
    "clipping": (MLPClassifier, {"gradient_clip": 0.2}, {"gradient_clip": 0.2}),
    "adamw": (
        MLPClassifier,
        {"solver": "adamw", "beta_1": 0.8, "beta_2": 0.99, "epsilon": 1e-4},
        {"optimizer": AdamW(0.8, 0.99, 1e-4, weight_decay=0.1), "alpha": 0.0},
    ),
    "activations": (
        MLPClassifier,
        {"activation": ("tanh", "gelu")},
        {"activations": ("tanh", "gelu")},
    ),
    "activations, the first logistic": (
        MLPClassifier,
        {"activation": ["logistic", "silu"]},
        {"activations": ("logistic", "silu")},
    ),
    "activations, the last logistic": (
        MLPRegressor,
        {"activation": ("elu", "logistic")},
        {"activations": ("elu", "logistic")},
    ),
    "an activation as an object": (
        MLPClassifier,
        {"activation": ACTIVATIONS["softplus"]},
        {"activations": ("softplus", "softplus")},
    ),
    "an activation of its own name": (
        MLPClassifier,
        {"activation": "leaky_relu"},
        {"activations": ("leaky_relu", "leaky_relu")},
    ),
    "absolute error": (
        MLPRegressor,
        {"loss": "absolute_error"},
        {"loss": LOSSES["absolute_error"]},
    ),
    "huber": (MLPRegressor, {"loss": "huber"}, {"loss": LOSSES["huber"]}),
    "huber with a threshold": (MLPRegressor, {"loss": Huber(0.3)}, {"loss": Huber(0.3)}),
    "quantiles": (MLPRegressor, {"loss": "quantile"}, {"loss": Quantile()}),
    "other quantiles": (
        MLPRegressor,
        {"loss": Quantile((0.2, 0.7))},
        {"loss": Quantile((0.2, 0.7))},
    ),
    "plain sgd, clipped": (
        MLPRegressor,
        {"solver": "sgd", "momentum": 0.0, "gradient_clip": 0.5},
        {"optimizer": SGD(), "gradient_clip": 0.5},
    ),
}


@pytest.mark.parametrize(("Estimator", "ours", "of_core"), BEYOND.values(), ids=BEYOND)
def test_trains_as_the_core_does(Estimator: type, ours: Given, of_core: Given) -> None:
    y = TARGETS[Estimator]
    model = Estimator(**BASE | ours)
    warned(model.fit, X, y)
    given = {"loss": SOFTMAX if Estimator is MLPClassifier else SQUARED} | of_core
    assert_same_network(model, core(y, **given))
    if ours:
        plain = Estimator(**BASE)
        warned(plain.fit, X, y)
        for a, b in zip(model.coefs_[:2], plain.coefs_, strict=False):
            assert abs(a - b).max() > 1e-3


@EACH
def test_dropout_can_be_repeated(Estimator: type) -> None:
    models = [Estimator(**BASE | {"random_state": seed, "dropout": 0.4}) for seed in (3, 3, 4)]
    for model in models:
        warned(model.fit, X, TARGETS[Estimator])
    first, again, other = models
    assert_same_weights(first, again, rtol=0, atol=0)
    assert abs(first.coefs_[1] - other.coefs_[1]).max() > 0.01
    np.testing.assert_array_equal(first.predict(X), first.predict(X))  # nothing is dropped here


@EACH
@pytest.mark.parametrize("dropout", [0, 0.0, Dropout()], ids=["0", "0.0", "Dropout()"])
def test_no_dropout_is_scikit_learns_training(Estimator: type, dropout: Any) -> None:
    both = Both(Estimator)
    both.ours.set_params(dropout=dropout)
    assert_parity(both.fit(X, TARGETS[Estimator]))


def test_each_partial_fit_has_masks_of_its_own() -> None:
    still = {"dropout": 0.5, "learning_rate_init": 1e-12, "shuffle": False}
    model = MLPRegressor(**BASE | still)
    for _ in range(3):
        model.partial_fit(X, SCORES)
    assert len(set(np.round(model.loss_curve_, 6))) == 3


def test_dropout_may_begin_in_a_partial_fit() -> None:
    still = {"learning_rate_init": 1e-12, "shuffle": False}
    losses = []
    for seed in (3, 3, 4):
        model = MLPRegressor(**BASE | still | {"random_state": 3}).partial_fit(X, SCORES)
        model.set_params(dropout=0.5, random_state=seed).partial_fit(X, SCORES)
        losses.append(model.loss_curve_[1])
        assert model.loss_curve_[1] != pytest.approx(model.loss_curve_[0], rel=1e-3)
    assert losses[0] == losses[1] != pytest.approx(losses[2], rel=1e-6)


CLASS_WEIGHTS: dict[str, tuple[HostArray, Any, Any]] = {
    "numbers": (LABELS, {0: 3.0, 2: 0.5}, {0: 3.0, 1: 1.0, 2: 0.5}),
    "two classes": (TWO, {1: 5.0}, {0: 1.0, 1: 5.0}),
    "balanced": (LABELS, "balanced", "balanced"),
    "balanced strings": (np.array(["b", "a", "c"])[LABELS], "balanced", "balanced"),
    "strings": (np.array(["b", "a", "c"])[LABELS], {"c": 4.0}, {"a": 1.0, "b": 1.0, "c": 4.0}),
    "numbers with gaps": (np.array([-7, 2, 90])[LABELS], {90: 4.0}, {-7: 1.0, 2: 1.0, 90: 4.0}),
}


@pytest.mark.parametrize("weight", [None, WEIGHT], ids=["alike", "weighted"])
@pytest.mark.parametrize(("y", "given", "full"), CLASS_WEIGHTS.values(), ids=CLASS_WEIGHTS)
def test_class_weights_are_sample_weights(
    y: HostArray, given: Any, full: Any, weight: HostArray | None
) -> None:
    both = Both(MLPClassifier)
    both.ours.set_params(class_weight=given)
    class_weight = compute_sample_weight(full, y)
    warned(both.ours.fit, X, y, weight)
    warned(both.theirs.fit, X, y, class_weight if weight is None else class_weight * weight)
    assert_parity(both)


def test_class_weights_of_labels_that_a_fold_lacks_are_passed_over() -> None:
    """As by scikit-learn's LogisticRegression, where all labels that it has are named."""
    names = np.array(["a", "b", "c"])[LABELS]
    rows = names != "c"
    given = {"b": 3.0, "c": 9.0, "a": 0.5}
    model = MLPClassifier(**BASE, class_weight=given)
    warned(model.fit, X[rows], names[rows])
    known = MLPClassifier(**BASE, class_weight={"a": 0.5, "b": 3.0})
    warned(known.fit, X[rows], names[rows])
    assert_same_weights(model, known, rtol=0, atol=0)
    # A fold of which each lacks one of the labels
    ends = [(np.flatnonzero(names != lacking), np.arange(9)) for lacking in "abc"]
    search = MLPSearchCV(MLPClassifier(**BASE, class_weight=given), {"tol": [1e-4]}, cv=ends)
    warned(search.fit, X, names)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()


def test_class_weights_in_partial_fits() -> None:
    both = Both(MLPClassifier)
    given = {0: 3.0, 2: 0.5}
    both.ours.set_params(class_weight=given)
    for rows in (slice(0, 20), slice(27, 50)):
        weight = compute_sample_weight(given | {1: 1.0}, LABELS[rows])
        warned(both.ours.partial_fit, X[rows], LABELS[rows], classes=np.arange(3))
        warned(both.theirs.partial_fit, X[rows], LABELS[rows], weight, classes=np.arange(3))
        assert_parity(both)


def test_class_weights_leave_the_score_as_it_is() -> None:
    given = {"early_stopping": True, "class_weight": {0: 50.0}, "validation_fraction": 0.3}
    model = MLPClassifier(**BASE | given)
    warned(model.fit, X, LABELS)
    assert all(score * 15 == pytest.approx(round(score * 15)) for score in model.validation_scores_)


@EACH
def test_a_loose_bound_on_gradients_changes_nothing(Estimator: type) -> None:
    both = Both(Estimator)
    both.ours.set_params(gradient_clip=1e6)
    assert_parity(both.fit(X, TARGETS[Estimator]))


def test_a_tight_bound_on_gradients_bounds_a_step() -> None:
    given = {"solver": "sgd", "momentum": 0.0, "learning_rate_init": 1.0, "alpha": 0.0}
    model = MLPRegressor(**BASE | given | {"batch_size": N, "max_iter": 1, "gradient_clip": 0.01})
    warned(model.fit, X, SCORES[:, 0])
    start = drawn(np.random.RandomState(3), (FEATURES, 7, 4, 1), ("relu", "relu"))
    moved = zip(model.coefs_, model.intercepts_, start, strict=True)
    norm = np.sqrt(sum(((w - w0) ** 2).sum() + ((b - b0) ** 2).sum() for w, b, (w0, b0) in moved))
    assert norm == pytest.approx(0.01, rel=1e-9)


def test_activations_that_are_alike_are_one() -> None:
    both = Both(MLPClassifier, activation="logistic")
    both.ours.set_params(activation=("logistic", "logistic"))
    assert_parity(both.fit(X, LABELS))


def test_findings_and_history_are_those_of_the_run() -> None:
    model = MLPRegressor(**BASE)
    warned(model.fit, X, SCORES)
    assert len(model.history_) == model.n_iter_
    columns = np.array(model.history_["loss"]) / 3 + model.history_["penalty"]
    np.testing.assert_allclose(columns, model.loss_curve_, rtol=1e-12)
    assert isinstance(model.findings_, list)

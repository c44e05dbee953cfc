"""The L2 penalty alpha of the summed loss, as in scikit-learn; and what callbacks see of steps."""

from typing import Any

import numpy as np
import pytest

import arraymlp
import runs
from arraymlp import Backend, MultilayerPerceptron, Run
from arraymlp.callbacks import Callback, StepEnd
from arraymlp.initializers import normal
from arraymlp.optimizers import SGD, Adam
from conftest import on_host
from problems import BATCH, N
from runs import HostArray, X, Y, assert_same_bits, parameters

RAGGED = 10  # two of them, and one of four rows
WEIGHT = np.random.default_rng(40).uniform(0.2, 3, N)
REDUCTIONS = pytest.mark.parametrize("reduction", ["mean", "sum"])
WEIGHTED = pytest.mark.parametrize("weight", [None, WEIGHT], ids=["plain", "weighted"])


def train(X_: Any = X, y: Any = Y, **given: Any) -> Run:
    """arraymlp.train on the small problem, from weights that are large enough to matter."""
    defaults = {"hidden": (6,), "activation": "tanh", "initializer": normal(0.5)}
    return runs.train(X_, y, **{**defaults, "optimizer": SGD(), **given})


def differ(ours: MultilayerPerceptron, theirs: MultilayerPerceptron) -> float:
    return max(abs(a - b).max() for a, b in zip(parameters(ours), parameters(theirs), strict=True))


def assert_close(ours: Any, theirs: Any, rtol: float = 1e-11, atol: float = 1e-13) -> None:
    for a, b in zip(parameters(ours), parameters(theirs), strict=True):
        np.testing.assert_allclose(a, b, rtol=rtol, atol=atol)


def one_hot_loss(P: list[HostArray], x: HostArray, y: HostArray) -> HostArray:
    """Each row's softmax cross-entropy in a network of one layer of tanh."""
    s = np.tanh(x @ P[0] + P[1]) @ P[2] + P[3]
    return np.asarray(np.log(np.exp(s).sum(axis=1)) - s[np.arange(len(y)), y])


@REDUCTIONS
@WEIGHTED
def test_the_gradient_is_that_of_the_penalised_loss(
    quick_backend: Backend, weight: HostArray | None, reduction: str
) -> None:
    """One step of gradient descent, against central differences."""
    alpha, w = 0.7, np.ones(N) if weight is None else weight
    given = {"batch_size": N, "backend": quick_backend, "sample_weight": weight, "alpha": alpha}
    P = parameters(train(**given, epochs=0).network)
    after = parameters(train(**given, epochs=1, learning_rate=0.01, reduction=reduction).network)
    divisor = w.sum() if reduction == "mean" else 1

    def objective() -> float:
        penalty = alpha / 2 * ((P[0] ** 2).sum() + (P[2] ** 2).sum())  # and not of biases
        return float(((w * one_hot_loss(P, X, Y)).sum() + penalty) / divisor)

    before = [p.copy() for p in P]
    for p, old, new in zip(P, before, after, strict=True):
        slopes = np.empty_like(p)
        for i in np.ndindex(*p.shape):
            h = 1e-5
            p[i] = old[i] + h
            up = objective()
            p[i] = old[i] - h
            slopes[i] = (up - objective()) / (2 * h)
            p[i] = old[i]
        largest = abs(slopes).max()
        np.testing.assert_allclose((old - new) / 0.01, slopes, atol=1e-6 * largest)


@pytest.mark.parametrize("optimizer", [SGD(0.9, nesterov=True), Adam()], ids=["sgd", "adam"])
def test_with_batches_alike_it_is_l2_over_the_batch_size(
    quick_backend: Backend, optimizer: Any
) -> None:
    given = {"optimizer": optimizer, "learning_rate": 0.05, "backend": quick_backend, "epochs": 4}
    ours = train(**given, alpha=0.8).network
    assert_close(ours, train(**given, l2=0.8 / BATCH).network)
    assert differ(ours, train(**given).network) > 1e-3


def test_summed_it_is_l2(quick_backend: Backend) -> None:
    given = {"learning_rate": 0.01, "backend": quick_backend, "epochs": 4, "reduction": "sum"}
    ours = train(**given, alpha=0.8, batch_size=RAGGED).network
    assert_close(ours, train(**given, l2=0.8, batch_size=RAGGED).network)
    assert differ(ours, train(**given, batch_size=RAGGED).network) > 1e-3


def transcription(
    P: list[HostArray], weight: HostArray, alpha: float, reduction: str, eta: float, epochs: int
) -> tuple[list[HostArray], list[float], list[float]]:
    """Gradient descent in plain NumPy, rows in order: parameters, losses and penalties."""
    P = [p.copy() for p in P]
    losses, penalties = [], []
    for _ in range(epochs):
        loss = penalty = total = 0.0
        for start in range(0, N, RAGGED):
            x, y, w = (a[start : start + RAGGED] for a in (X, Y, weight))
            loss += (w * one_hot_loss(P, x, y)).sum()
            penalty += alpha / 2 * ((P[0] ** 2).sum() + (P[2] ** 2).sum())
            total += w.sum()
            z = np.tanh(x @ P[0] + P[1])
            e = np.exp(z @ P[2] + P[3])
            ds = w[:, None] * (e / e.sum(axis=1, keepdims=True) - np.eye(3)[y])
            dh = ds @ P[2].T * (1 - z**2)
            G = [x.T @ dh, dh.sum(axis=0), z.T @ ds, ds.sum(axis=0)]
            G[0] += alpha * P[0]
            G[2] += alpha * P[2]
            divisor = w.sum() if reduction == "mean" else 1
            P = [p - eta * g / divisor for p, g in zip(P, G, strict=True)]
        losses.append(loss / total)
        penalties.append(penalty / total)
    return P, losses, penalties


@REDUCTIONS
@WEIGHTED
def test_with_a_ragged_last_batch_it_is_the_transcription(
    quick_backend: Backend, weight: HostArray | None, reduction: str
) -> None:
    assert_is_the_transcription(quick_backend, weight, reduction)


def test_it_is_the_transcription_on_every_backend(backend: Backend, float64: str) -> None:
    assert_is_the_transcription(backend, WEIGHT, "mean")


def assert_is_the_transcription(backend: Backend, weight: HostArray | None, reduction: str) -> None:
    eta = 0.2 if reduction == "mean" else 0.02
    given = {"batch_size": RAGGED, "shuffle": False, "backend": backend, "learning_rate": eta}
    given |= {"sample_weight": weight, "alpha": 0.5, "reduction": reduction}
    start = parameters(train(**given, epochs=0).network)
    run = train(**given, epochs=5)
    w = np.ones(N) if weight is None else weight
    P, losses, penalties = transcription(start, w, 0.5, reduction, eta, 5)
    for ours, theirs in zip(parameters(run.network), P, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-11, atol=1e-13)
    np.testing.assert_allclose(run.history["loss"], losses, rtol=1e-12)
    np.testing.assert_allclose(run.history["penalty"], penalties, rtol=1e-12)


def test_weights_that_are_all_alike_are_a_smaller_alpha() -> None:
    ours = train(alpha=0.6, sample_weight=np.full(N, 3.0)).network
    assert_close(ours, train(alpha=0.2).network)


def test_without_it_there_is_no_penalty_in_the_history() -> None:
    assert "penalty" not in train().history[-1]
    assert "penalty" not in train(l2=0.1).history[-1]
    assert "penalty" in train(alpha=0.1).history[-1]


def test_an_epoch_broken_off_has_the_penalty_of_all_its_steps() -> None:
    class StopAfterTwo(Callback):
        def on_step(self, event: StepEnd) -> bool:
            return event.step == 2

    given = {"alpha": 0.5, "epochs": 1, "learning_rate": 0.5}
    first = train(**given, callbacks=[StopAfterTwo()])
    assert first.partial_epoch.steps == 2
    rest = arraymlp.train(network=first, epochs=1)
    whole = train(**given)
    of_part, of_both, expected = (e["penalty"] for e in (*rest.history, whole.history[0]))
    assert of_both == pytest.approx(expected, rel=1e-14)
    assert of_part != pytest.approx(expected, rel=1e-3)
    assert_same_bits(rest.network, whole.network)


@REDUCTIONS
def test_each_member_has_its_own(quick_backend: Backend, reduction: str) -> None:
    alphas, seeds = (0.0, 0.3, 2.0), (5, 6, 7)
    eta = 0.1 if reduction == "mean" else 0.01
    given = {"backend": quick_backend, "learning_rate": eta, "reduction": reduction, "epochs": 3}
    given |= {"batch_size": RAGGED, "sample_weight": WEIGHT}
    population = train(**given, alpha=alphas, seed=seeds)
    for k, (alpha, seed) in enumerate(zip(alphas, seeds, strict=True)):
        alone = train(**given, alpha=alpha, seed=seed)
        assert_close(population.network.member(k), alone.network)
        penalties = [of[k] for of in population.history["penalty"]]
        theirs = alone.history["penalty"] if alpha else [0.0] * 3
        np.testing.assert_allclose(penalties, theirs, rtol=1e-12)


def test_each_member_has_its_own_of_weights_of_its_own(quick_backend: Backend) -> None:
    weights = np.stack([WEIGHT, WEIGHT[::-1]])
    given = {"backend": quick_backend, "learning_rate": 0.1, "batch_size": RAGGED, "seed": (5, 6)}
    population = train(**given, alpha=(0.3, 2.0), sample_weight=weights)
    for k in range(2):
        alone = {"alpha": (0.3, 2.0)[k], "seed": (5, 6)[k], "sample_weight": weights[k]}
        assert_close(population.network.member(k), train(**given | alone).network)


def test_it_pulls_weights_and_not_biases() -> None:
    run = train(np.zeros_like(X), Y, alpha=N, learning_rate=0.1, epochs=40, batch_size=N)
    assert abs(run.network.layers[0].weights).max() < 0.05
    network = train(np.zeros_like(X), Y, epochs=0, batch_size=N).network
    np.testing.assert_array_equal(abs(network.layers[0].bias) > 0.01, True)


def test_a_minibatch_that_weighs_nothing_changes_nothing(quick_backend: Backend) -> None:
    """Without loss there is nothing to weigh the penalty against."""
    weight = np.where(np.arange(N) < BATCH, 0.0, WEIGHT)
    given = {"alpha": 0.5, "shuffle": False, "backend": quick_backend, "learning_rate": 0.05}
    ours = train(**given, sample_weight=weight)
    rest = train(X[BATCH:], Y[BATCH:], **given, sample_weight=weight[BATCH:])
    assert_close(ours.network, rest.network)
    assert np.isfinite(ours.history["penalty"]).all()


BAD = {"negative": -0.1, "infinite": np.inf, "nan": np.nan, "a string": "much", "true": True}


@pytest.mark.parametrize("alpha", BAD.values(), ids=BAD)
def test_bad_values_are_refused(alpha: Any) -> None:
    with pytest.raises(ValueError, match="alpha must be a number from 0"):
        train(alpha=alpha)


def test_values_for_members_that_are_not_there_are_refused() -> None:
    with pytest.raises(ValueError, match="alpha has 2 values"):
        train(alpha=(0.1, 0.2))
    with pytest.raises(ValueError, match="alpha has 2 values"):
        train(alpha=(0.1, 0.2), seed=(1, 2, 3))


# What callbacks see of steps


class Watch(Callback):
    """Keeps each step's rows, loss and penalty."""

    def __init__(self) -> None:
        self.rows: list[int] = []
        self.loss: list[Any] = []
        self.penalty: list[Any] = []

    def on_step(self, event: StepEnd) -> None:
        self.rows.append(event.rows)
        self.loss.append(event.loss)
        self.penalty.append(event.penalty)


@WEIGHTED
def test_callbacks_see_rows_and_penalty_of_steps(
    quick_backend: Backend, weight: HostArray | None
) -> None:
    watch, w = Watch(), np.ones(N) if weight is None else weight
    given = {"alpha": 0.5, "batch_size": RAGGED, "sample_weight": weight, "shuffle": False}
    run = train(**given, epochs=1, backend=quick_backend, callbacks=[watch])
    assert watch.rows == [10, 10, 4]
    totals = [w[:10].sum(), w[10:20].sum(), w[20:].sum()]
    before = parameters(train(**given, epochs=0, backend=quick_backend).network)
    first = 0.5 / 2 * ((before[0] ** 2).sum() + (before[2] ** 2).sum()) / totals[0]
    penalties, losses = (np.array([float(v) for v in seen]) for seen in (watch.penalty, watch.loss))
    assert penalties[0] == pytest.approx(first, rel=1e-12)
    for name, seen in (("penalty", penalties), ("loss", losses)):
        assert run.history[0][name] == pytest.approx((seen * totals).sum() / w.sum(), rel=1e-12)


def test_without_alpha_the_penalty_of_steps_is_0() -> None:
    watch = Watch()
    train(callbacks=[watch], epochs=1)
    assert watch.penalty == [0.0] * 3


def test_of_a_population_each_member_has_its_penalty(quick_backend: Backend) -> None:
    watch = Watch()
    given = {"alpha": (0.1, 0.2, 0.0), "seed": (1, 1, 1), "dtype": "float32", "epochs": 1}
    given |= {"hidden": ()}
    run = train(callbacks=[watch], backend=quick_backend, **given)
    assert all(tuple(penalty.shape) == (3,) for penalty in watch.penalty)
    first = on_host(watch.penalty[0])
    assert first[1] == pytest.approx(2 * first[0], rel=1e-6)
    assert first[2] == 0
    mean = np.mean([on_host(penalty) for penalty in watch.penalty], axis=0)
    np.testing.assert_allclose(run.history[0]["penalty"], mean, rtol=1e-6)

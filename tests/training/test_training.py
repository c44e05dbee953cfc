"""train(): the steps it makes, the data it leaves alone, and how a run goes on or ends."""

import logging
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from copy import deepcopy
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import arraymlp
import problems
from arraymlp import Backend, MultilayerPerceptron, NonFiniteLossError
from arraymlp.backends.registry import backend_of
from arraymlp.callbacks import Callback, EpochEnd, StepEnd
from arraymlp.data.minibatches import epoch_order
from arraymlp.data.orders import Orders
from arraymlp.data.splits import split
from arraymlp.initializers import normal
from arraymlp.optimizers import SGD
from arraymlp.schedules import Cosine, StepDecay
from arraymlp.steps.optimizers import OPTIMIZERS
from arraymlp.steps.probes import Measurement
from arraymlp.training import epoch_figures
from conftest import assert_same
from numpy_engine import numpy_engine
from runs import (
    BESIDES,
    PLAIN_OR_NOT,
    STEPS_PER_EPOCH,
    X,
    Y,
    assert_same_bits,
    engine_of_steps,
    go_on,
    interrupt_after,
    parameters,
    train,
    train_on,
)

HostArray = np.ndarray[Any, Any]
ENGINES = {
    "array": "array",
    "auto": numpy_engine(),
}  # by what is asked for: the definition, and NumPy's own


# --- the steps -----------------------------------------------------------------------------------


LAB_FUNCTIONS = {
    "sigmoid": (lambda s: 1 / (1 + np.exp(-s)), lambda s: np.exp(-s) / (1 + np.exp(-s)) ** 2),
    "relu": (lambda s: np.where(s > 0, s, 0), lambda s: np.where(s > 0, 1.0, 0)),
}


def lab_transcription(
    activation: str, eta: float, epochs: int, batch: int, seed: int, std: float
) -> list[HostArray]:
    """The published lab, line by line: the bias is the last row of W, cross-entropy is summed."""
    f, f_prime = LAB_FUNCTIONS[activation]
    sizes = [problems.FEATURES, *problems.HIDDEN, problems.CLASSES]
    W = []
    for i, (n_in, n_out) in enumerate(pairwise(sizes)):
        rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(0, i)))
        W.append(rng.normal(0, std, (n_in + 1, n_out)))
    one_hot, ones = np.eye(problems.CLASSES)[Y], np.ones((batch, 1))
    for _ in range(epochs):
        for start in range(0, len(X) - len(X) % batch, batch):
            rows = slice(start, start + batch)
            z1 = np.hstack([X[rows], ones])
            s1 = z1 @ W[0]
            z2 = np.hstack([f(s1), ones])
            s2 = z2 @ W[1]
            z3 = np.hstack([f(s2), ones])
            e = np.exp(z3 @ W[2])
            D3 = e / e.sum(axis=1, keepdims=True) - one_hot[rows]
            D2 = D3 @ W[2][:-1].T * f_prime(s2)
            D1 = D2 @ W[1][:-1].T * f_prime(s1)
            W[0] -= eta * z1.T @ D1
            W[1] -= eta * z2.T @ D2
            W[2] -= eta * z3.T @ D3
    return W


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("batch", [8, 7], ids=["full minibatches", "remainder dropped"])
@pytest.mark.parametrize("activation", ["sigmoid", "relu"])
@pytest.mark.filterwarnings("ignore:the last 3 of 24 samples do not fill:UserWarning")
def test_the_lab_preset_makes_the_labs_steps(activation: str, batch: int, engine: Any) -> None:
    run = train(
        preset="lab",
        activation=activation,
        initializer=normal(0.5),  # at the lab's 1e-4 three epochs change nothing worth comparing
        learning_rate=0.02,
        epochs=3,
        batch_size=batch,
        seed=4,
        engine=engine,
    )
    assert run.engine == ENGINES[engine]
    expected = lab_transcription(activation, 0.02, 3, batch, seed=4, std=0.5)
    for layer, w in zip(run.network.layers, expected, strict=True):
        np.testing.assert_allclose(layer.weights, w[:-1], rtol=1e-12, atol=1e-14)
        np.testing.assert_allclose(layer.bias, w[-1:], rtol=1e-12, atol=1e-14)


def test_the_lab_preset_has_the_labs_settings() -> None:
    lab = train(preset="lab", hidden=None, epochs=0).settings
    assert lab.initializer.name == "normal(0.0001)"
    assert (lab.hidden, lab.optimizer, lab.reduction) == ((100, 100), SGD(), "sum")
    assert (lab.shuffle, lab.drop_last, lab.learning_rate) == (False, True, 0.005)


def torch_losses() -> dict[str, Any]:
    """The losses of logits s and targets t in PyTorch, summed, but for constants in t."""
    torch = pytest.importorskip("torch")
    of = torch.nn.functional

    def quantile(s: Any, t: Any, reduction: str) -> Any:
        e, q = s.reshape(*t.shape, 3) - t[..., None], torch.tensor([0.1, 0.5, 0.9], dtype=s.dtype)
        return torch.maximum((1 - q) * e, -q * e).sum()

    return {
        "softmax_cross_entropy": of.cross_entropy,
        "binary_cross_entropy": of.binary_cross_entropy_with_logits,
        "squared_error": lambda s, t, reduction: of.mse_loss(s, t, reduction=reduction) / 2,
        "absolute_error": of.l1_loss,
        "huber": of.huber_loss,
        "poisson": of.poisson_nll_loss,
        "quantile": quantile,
    }


TORCH_OPTIMIZERS: dict[str, tuple[str, dict[str, Any]]] = {
    "sgd": ("SGD", {}),
    "momentum": ("SGD", {"momentum": 0.9}),
    "nesterov": ("SGD", {"momentum": 0.9, "nesterov": True}),
    "adam": ("Adam", {}),
    "adamw": ("AdamW", {}),
    "rmsprop": ("RMSprop", {}),
}
NOT_IN_TORCH: set[str] = set()


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("loss", sorted(problems.PROBLEMS))
@pytest.mark.parametrize("optimizer", sorted(OPTIMIZERS.keys() - NOT_IN_TORCH))
def test_training_is_that_of_a_torch_loop(optimizer: str, loss: str, reduction: str) -> None:
    torch = pytest.importorskip("torch")
    X_, y = problems.PROBLEMS[loss]()
    y = y if loss == "softmax_cross_entropy" else y.astype(float)
    settings = {"loss": loss, "activation": "tanh", "initializer": normal(0.5)}
    start = train(X_, y, epochs=0, **settings).network

    parts: list[Any] = []
    for layer in start.layers:
        linear = torch.nn.Linear(layer.n_in, layer.n_out, dtype=torch.float64)
        with torch.no_grad():
            linear.weight.copy_(torch.tensor(layer.weights.T))
            linear.bias.copy_(torch.tensor(layer.bias[0]))
        parts += [linear, torch.nn.Tanh()]
    model = torch.nn.Sequential(*parts[:-1])
    weights = {"params": [linear.weight for linear in parts[::2]]}
    biases = {"params": [linear.bias for linear in parts[::2]], "weight_decay": 0.0}
    name, constants = TORCH_OPTIMIZERS[optimizer]
    rule = getattr(torch.optim, name)([weights, biases], 0.02, **constants)
    criterion = torch_losses()[loss]
    for epoch in range(3):
        order = epoch_order(problems.N, 9, epoch)
        for i in range(0, problems.N, problems.BATCH):
            rows = order[i : i + problems.BATCH]
            rule.zero_grad()
            out = model(torch.tensor(X_[rows]))
            value = criterion(out, torch.tensor(y[rows]), reduction="sum")
            (value / (len(rows) if reduction == "mean" else 1)).backward()
            rule.step()

    for engine in ENGINES:
        run = train(
            X_,
            y,
            optimizer=optimizer,
            reduction=reduction,
            learning_rate=0.02,
            epochs=3,
            order_seed=9,
            engine=engine,
            **settings,
        )
        assert run.engine == ENGINES[engine]
        for layer, linear in zip(run.network.layers, parts[::2], strict=True):
            theirs = linear.weight.detach().numpy().T
            np.testing.assert_allclose(layer.weights, theirs, rtol=1e-11, atol=1e-13)
            np.testing.assert_allclose(
                layer.bias[0], linear.bias.detach().numpy(), rtol=1e-11, atol=1e-13
            )


def test_training_learns_the_labels() -> None:
    run = train(y=Y + 10, epochs=100)
    np.testing.assert_array_equal(run.network.predict(X), Y + 10)


def test_recorded_loss_is_the_mean_over_the_epochs_rows() -> None:
    # Steps this small change nothing, so that the epoch's loss is that of the initial network, also
    # where the last minibatch is smaller than the others.
    run = train(learning_rate=1e-12, epochs=1, batch_size=7)
    value, _ = run.network.loss(run.network.logits(X), Y)
    assert run.history[0]["loss"] == pytest.approx(value.mean(), rel=1e-10)


@pytest.mark.parametrize("engine", ["auto", "array"])
def test_every_epoch_has_an_order_of_its_own(engine: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[HostArray] = []
    of = Orders.of

    def seeing(orders: Any, epoch: int) -> Any:
        order = of(orders, epoch)[0]
        seen.append(np.arange(problems.N) if order is None else order)
        return of(orders, epoch)

    monkeypatch.setattr(Orders, "of", seeing)
    train(epochs=2, order_seed=3, engine=engine)
    train(epochs=1, shuffle=False, engine=engine)
    orders = [epoch_order(problems.N, 3, 0), epoch_order(problems.N, 3, 1), np.arange(problems.N)]
    np.testing.assert_array_equal(seen, orders)


# --- populations ---------------------------------------------------------------------------------

SEEDS, RATES, MOMENTA = (0, 1, 2), (0.02, 0.1, 0.3), (0.0, 0.5, 0.9)


@pytest.mark.parametrize("loss", sorted(problems.PROBLEMS))
def test_a_population_is_its_members_trained_alone(loss: str) -> None:
    X_, y = problems.PROBLEMS[loss]()
    settings = {"loss": loss, "epochs": 4, "validation": 0.25, "batch_size": 6}
    together = train(
        X_, y, seed=SEEDS, learning_rate=RATES, optimizer=SGD(momentum=MOMENTA), **settings
    )
    for k in range(3):
        alone = train(
            X_,
            y,
            seed=SEEDS[k],
            learning_rate=RATES[k],
            optimizer=SGD(momentum=MOMENTA[k]),
            **settings,
        )
        for column in {"loss", "validation_loss", "validation_error"} & set(alone.history.columns):
            ours = [epoch[k] for epoch in together.history[column]]
            np.testing.assert_allclose(ours, alone.history[column], rtol=1e-9)
        for ours, theirs in zip(
            parameters(together.network.member(k)), parameters(alone.network), strict=True
        ):
            np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-12)


def test_one_diverging_member_leaves_the_others_alone() -> None:
    X_, y = problems.numbers()
    together = train(X_, y, seed=SEEDS, learning_rate=(0.02, 1e30, 0.05), epochs=4)
    losses = together.history["loss"]
    assert not np.isfinite(losses[-1][1])
    for k, rate in ((0, 0.02), (2, 0.05)):
        alone = train(X_, y, seed=SEEDS[k], learning_rate=rate, epochs=4)
        np.testing.assert_allclose([e[k] for e in losses], alone.history["loss"], rtol=1e-9)


def test_one_diverging_member_can_be_probed() -> None:
    X_, y = problems.numbers()
    run = train(X_, y, seed=SEEDS, learning_rate=(0.02, 1e30, 0.05), epochs=4, probes=True)
    assert np.isfinite(run.measurements[-1].loss).tolist() == [True, False, True]


def test_values_for_members_must_be_as_many_as_members() -> None:
    with pytest.raises(ValueError, match="learning_rate has 2 values, but there are 3 members"):
        train(seed=SEEDS, learning_rate=(0.1, 0.2))
    with pytest.raises(ValueError, match="momentum has 2 values, but one network"):
        train(optimizer=SGD(momentum=(0.1, 0.2)))


# --- what is left alone --------------------------------------------------------------------------


@pytest.mark.parametrize("loss", sorted(problems.PROBLEMS))
def test_read_only_host_arrays_are_trained_on(backend: Backend, loss: str) -> None:
    X_, y = problems.PROBLEMS[loss]()
    X_ = X_.astype(np.float32)
    y = y if loss == "softmax_cross_entropy" else y.astype(np.float32)
    X_.flags.writeable = y.flags.writeable = False
    probes = backend.name == "numpy"  # the one that shares memory with read-only arrays
    train_on(backend, X_, y, loss=loss, validation=(X_, y), epochs=1, probes=probes)


@pytest.mark.parametrize("loss", sorted(problems.PROBLEMS))
def test_device_arrays_are_not_written(backend: Backend, loss: str) -> None:
    X_, y = problems.PROBLEMS[loss]()
    y_dtype = "int32" if loss == "softmax_cross_entropy" else "float32"
    x_there = backend.asarray(X_, "float32", copy=True)
    y_there = backend.asarray(y, y_dtype, copy=True)
    run = train_on(backend, x_there, y_there, loss=loss, epochs=1)
    assert run.backend == backend
    assert_same(x_there, backend.asarray(X_, "float32"))
    assert_same(y_there, backend.asarray(y, y_dtype))


@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize("loss", sorted(problems.PROBLEMS))
def test_host_arrays_are_not_written(loss: str, shuffle: bool) -> None:
    X_, y = problems.PROBLEMS[loss]()
    y = y if loss == "softmax_cross_entropy" else y.astype(float)
    x_before, y_before = X_.copy(), y.copy()
    train(X_, y, shuffle=shuffle, loss=loss, probes=True, training_error=True)
    np.testing.assert_array_equal(X_, x_before)
    np.testing.assert_array_equal(y, y_before)


def test_a_given_network_is_left_as_it_was(backend: Backend) -> None:
    before = train_on(backend, epochs=0)
    start, old = before.network, parameters(before.network)
    for given in (start, before):
        after = go_on(given, X=X, y=Y, epochs=1, batch_size=problems.BATCH)
        for ours, theirs in zip(parameters(start), old, strict=True):
            np.testing.assert_array_equal(ours, theirs)
        assert any(
            (ours != theirs).any()
            for ours, theirs in zip(parameters(after.network), old, strict=True)
        )


@PLAIN_OR_NOT
@pytest.mark.parametrize("optimizer", ["momentum", "adam"])
def test_a_run_that_goes_on_is_left_as_it_was(optimizer: str, besides: dict[str, Any]) -> None:
    run = train(optimizer=optimizer, probes=True, **besides)
    before = [parameters(run.network), parameters(run.raw_network), deepcopy(run.states)]
    records, taken = list(run.history), list(run.measurements)
    go_on(run)
    after = [parameters(run.network), parameters(run.raw_network), run.states]
    np.testing.assert_equal(after, before)
    assert list(run.history) == records
    assert run.measurements == taken


# --- going on ------------------------------------------------------------------------------------


@PLAIN_OR_NOT
@pytest.mark.parametrize("optimizer", sorted(OPTIMIZERS))
@pytest.mark.parametrize("seed", [0, (0, 1, 2)], ids=["one", "population"])
def test_two_epochs_twice_are_four(optimizer: str, seed: Any, besides: dict[str, Any]) -> None:
    settings = {"optimizer": optimizer, "seed": seed, "probes": True, "training_error": True}
    settings |= besides
    whole = train(epochs=4, **settings)
    halves = go_on(train(epochs=2, **settings))
    assert_same_bits(whole.network, halves.network)
    for name in ("epoch", "step", "learning_rate", "loss", "training_loss", "training_error"):
        assert halves.history[name] == whole.history[name]


def test_two_epochs_twice_are_four_on_every_backend(backend: Backend) -> None:
    whole = train_on(backend, epochs=2)
    halves = go_on(train_on(backend, epochs=1), epochs=1)
    assert_same_bits(whole.network, halves.network)
    assert halves.backend == backend


def break_off(step: int) -> Callback:
    """A callback that ends the run after that step of it."""

    class BreakOff(Callback):
        def on_step(self, event: StepEnd) -> bool:
            return event.step == step

    return BreakOff()


SCHEDULED: dict[str, dict[str, Any]] = {
    "cosine": {"optimizer": "sgd", "schedule": "cosine"},
    "step": {"optimizer": "adam", "schedule": StepDecay(every=0.4, factor=0.5)},
    "default": {"optimizer": "auto", "learning_rate": None, "schedule": None},
    "everything": BESIDES | {"optimizer": "momentum", "schedule": Cosine(warm_up=0.3)},
    "members": {"optimizer": "adam", "schedule": "cosine", "seed": (0, 1, 2)},
}


@pytest.mark.parametrize("settings", SCHEDULED.values(), ids=list(SCHEDULED))
@pytest.mark.parametrize("pieces", [(5, 3), (1, 6, 1), (3, 0, 4)], ids=str)
def test_pieces_of_a_run_are_the_whole(settings: dict[str, Any], pieces: tuple[int, ...]) -> None:
    total = 8
    whole = train(epochs=total, **settings)
    run = train(epochs=pieces[0], total_epochs=total, **settings)
    for epochs in pieces[1:]:
        run = go_on(run, epochs=epochs)
        assert run.settings.total_epochs == total
    rates = whole.history["learning_rate"]
    assert len(set(map(str, rates))) > 1
    assert run.history["learning_rate"] == rates[: sum(pieces)]
    if sum(pieces) < total:
        run = go_on(run, epochs=1)
    assert_same_bits(run.network, whole.network)


@pytest.mark.parametrize("settings", SCHEDULED.values(), ids=list(SCHEDULED))
@pytest.mark.parametrize("step", [1, STEPS_PER_EPOCH, 2 * STEPS_PER_EPOCH + 1])
def test_a_run_that_is_broken_off_and_its_rest_are_the_whole(
    settings: dict[str, Any], step: int
) -> None:
    given = {"total_epochs": 5, **settings}
    whole = train(epochs=5, **settings)
    run = train(epochs=3, **given, callbacks=break_off(step))
    assert run.steps_done == step
    run = go_on(run, epochs=3 - run.next_epoch, callbacks=break_off(step + 1))
    run = go_on(run, epochs=5 - run.next_epoch)
    assert_same_bits(run.network, whole.network)


def test_a_run_may_have_fewer_epochs_than_its_total() -> None:
    longer = train(epochs=6, schedule="cosine")
    run = train(epochs=2, total_epochs=6, schedule="cosine")
    assert run.history["learning_rate"] == longer.history["learning_rate"][:2]


def test_a_greater_total_lays_the_schedule_anew() -> None:
    run = train(epochs=2, total_epochs=2, schedule="cosine")
    with pytest.raises(
        ValueError, match="after 4 epochs, 2 of them in this call, but total_epochs is 2"
    ):
        go_on(run)
    longer = go_on(run, total_epochs=4)
    assert longer.settings.total_epochs == 4
    as_one = go_on(train(epochs=2, schedule="cosine"))
    assert_same_bits(longer.network, as_one.network)


def test_a_call_that_would_end_after_the_total_is_refused() -> None:
    with pytest.raises(ValueError, match="epochs=9 is more than total_epochs=8"):
        train(epochs=9, total_epochs=8)
    run = train(epochs=5, total_epochs=8)
    with pytest.raises(
        ValueError, match="after 9 epochs, 4 of them in this call, but total_epochs is 8"
    ):
        go_on(run, epochs=4)
    with pytest.raises(ValueError, match="epochs=9 is more than total_epochs=8"):
        go_on(run, epochs=9)


def test_a_run_goes_on_on_another_backend(backend: Backend) -> None:
    there = go_on(train(dtype="float32"), backend=backend.name, device=backend.device, epochs=1)
    assert there.backend == backend
    here = go_on(train(dtype="float32"), epochs=1)
    assert there.history["epoch"] == [0, 1, 2]
    np.testing.assert_allclose(there.history["loss"], here.history["loss"], rtol=1e-5)


def test_going_on_keeps_the_settings_that_are_not_given() -> None:
    run = go_on(train(learning_rate=0.01, order_seed=5, reduction="sum"), learning_rate=0.02)
    assert run.settings.reduction == "sum"
    assert run.settings.order_seed == 5
    assert run.history["learning_rate"] == [0.01, 0.01, 0.02, 0.02]


def test_going_on_with_another_optimizer_starts_it_afresh() -> None:
    run = train(optimizer="momentum")
    further = go_on(run, optimizer="nesterov", shuffle=False)
    afresh = train(network=run.network, optimizer="nesterov", shuffle=False)
    assert_same_bits(further.network, afresh.network)


def test_going_on_with_the_same_optimizer_keeps_its_state() -> None:
    run = train(optimizer="momentum")
    named, silent = go_on(run, optimizer=SGD(momentum=0.9)), go_on(run)
    assert_same_bits(named.network, silent.network)


def test_going_on_from_a_network_starts_the_optimizer_and_the_history_afresh() -> None:
    network = train().network
    run = train(network=network, epochs=1)
    assert run.history["epoch"] == [0]
    assert run.settings.dtype == "float64"


@pytest.mark.parametrize(
    ("name", "value"),
    [("hidden", (3,)), ("activation", "tanh"), ("loss", "squared_error"), ("seed", 1)],
)
def test_what_a_network_has_cannot_be_given_again(name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=f"{name} cannot be given together with network="):
        go_on(train(epochs=0), **{name: value})


def test_a_network_alone_has_no_data_to_go_on_with() -> None:
    with pytest.raises(ValueError, match="X and y are needed to go on training a network"):
        go_on(train(epochs=0).network)


def test_going_on_checks_that_a_minibatch_fits_the_data() -> None:
    with pytest.raises(ValueError, match="batch_size 1000 is larger than the data: 24"):
        go_on(train(), batch_size=1000)


def test_going_on_warns_of_dropped_rows() -> None:
    run = train(epochs=1)
    with pytest.warns(UserWarning, match="the last 3 of 24 samples do not fill a minibatch of 7"):
        go_on(run, batch_size=7, drop_last=True)


# --- validation and evaluation -------------------------------------------------------------------


def test_a_validation_fraction_is_split_off_and_not_trained_on() -> None:
    training_rows, held_out = split(problems.N, 0.25, 7, classes=Y)
    run = train(validation=0.25, order_seed=7, batch_size=6)
    assert run.data.X_val is not None
    np.testing.assert_array_equal(run.data.X, X[training_rows])
    np.testing.assert_array_equal(run.data.X_val, X[held_out])
    explicit = train(
        X[training_rows],
        Y[training_rows],
        validation=(X[held_out], Y[held_out]),
        order_seed=7,
        batch_size=6,
    )
    assert_same_bits(run.network, explicit.network)
    assert run.history["validation_loss"] == explicit.history["validation_loss"]


def test_validation_figures_are_those_of_the_network(backend: Backend) -> None:
    run = train_on(backend, validation=(X, Y), training_error=True, epochs=1)
    wrong = np.mean(run.network.predict(X) != Y)
    p = run.network.predict_proba(X)[np.arange(problems.N), Y].astype(float)
    for kind in ("training", "validation"):
        assert run.history[-1][f"{kind}_error"] == pytest.approx(wrong, rel=1e-6)
        assert run.history[-1][f"{kind}_loss"] == pytest.approx(-np.log(p).mean(), rel=1e-5)


def test_multi_label_error_is_the_fraction_of_wrong_decisions() -> None:
    X_, y = problems.columns()
    run = train(X_, y, training_error=True)
    assert run.history[-1]["training_error"] == np.mean(run.network.predict(X_) != y)


def test_regression_has_a_loss_and_no_error() -> None:
    X_, y = problems.numbers()
    run = train(X_, y, validation=(X_, y), training_error=True)
    expected = np.mean(np.sum((run.network.predict(X_) - y) ** 2, axis=1) / 2)
    assert run.history[-1]["validation_loss"] == pytest.approx(expected, rel=1e-12)
    assert run.history[-1]["training_loss"] == pytest.approx(expected, rel=1e-12)
    assert not [name for name in run.history.columns if name.endswith("error")]


def test_more_rows_than_are_evaluated_at_once_are_all_counted() -> None:
    many, labels = np.tile(X, (105, 1)), np.tile(Y, 105)  # 2520 rows: three blocks
    run = train(validation=(many, labels), training_error=True)
    for what in ("loss", "error"):
        assert run.history[-1][f"validation_{what}"] == pytest.approx(
            run.history[-1][f"training_{what}"], rel=1e-12
        )


def test_a_validation_fraction_is_of_each_class() -> None:
    y = np.repeat([5, 3, 9], [12, 8, 4])
    run = train(y=y, validation=0.25, batch_size=6)
    assert run.data.y_val is not None
    np.testing.assert_array_equal(np.bincount(run.data.y_val.values), [2, 3, 1])  # of 3, 5, 9
    np.testing.assert_array_equal(np.bincount(run.data.y.values), [6, 9, 3])


def test_a_validation_fraction_of_rows_without_one_class_is_of_all() -> None:
    for problem in (problems.columns, problems.numbers):
        X_, y = problem()
        _, held_out = split(problems.N, 0.25, 7)
        run = train(X_, y, validation=0.25, order_seed=7, batch_size=6)
        np.testing.assert_array_equal(run.data.X_val, X_[held_out])


@pytest.mark.parametrize("validation", [(X,), (X, Y, None, Y), [X, Y], 3, "all", 0.0, 1.0])
def test_other_validations_are_refused(validation: Any) -> None:
    with pytest.raises(ValueError, match="validation"):
        train(validation=validation)


def test_validation_needs_the_same_features_and_classes() -> None:
    with pytest.raises(ValueError, match="the validation X has 2 features, but 4 are expected"):
        train(validation=(X[:, :2], Y))
    with pytest.raises(ValueError, match=r"the validation y contains labels .* does not know: \[9"):
        train(validation=(X, np.full(problems.N, 9)))


def test_dropped_rows_are_announced_at_the_callers_line() -> None:
    with pytest.warns(UserWarning, match="the last 3 of 24 samples do not fill") as caught:
        run = arraymlp.train(X, Y, batch_size=7, drop_last=True, epochs=1, backend="numpy")
    assert caught[0].filename == __file__
    assert run.history[-1]["step"] == 3


def test_a_minibatch_larger_than_the_data_is_refused() -> None:
    with pytest.raises(ValueError, match="batch_size 25 is larger than the data: 24 training"):
        train(batch_size=25)


# --- records -------------------------------------------------------------------------------------


def test_the_history_has_a_column_for_each_figure() -> None:
    run = train(validation=(X, Y), training_error=True, probes=True)
    assert run.history.columns == [
        "epoch",
        "step",
        "learning_rate",
        "loss",
        "training_loss",
        "training_error",
        "validation_loss",
        "validation_error",
        "predicted",
        "seconds",
        "samples_per_s",
    ]
    assert run.history["epoch"] == [0, 1]
    assert run.history["step"] == [STEPS_PER_EPOCH, 2 * STEPS_PER_EPOCH]
    assert sum(run.history[-1]["predicted"]) == problems.N


def test_what_was_not_asked_for_is_not_recorded() -> None:
    assert train().history.columns == [
        "epoch",
        "step",
        "learning_rate",
        "loss",
        "seconds",
        "samples_per_s",
    ]


@pytest.mark.filterwarnings("ignore:the last 3 of 24 samples do not fill:UserWarning")
def test_samples_per_second_count_the_rows_trained_on() -> None:
    record = train(batch_size=7, drop_last=True, epochs=1).history[0]
    assert record["samples_per_s"] * record["seconds"] == pytest.approx(21)


def test_no_epochs_give_the_initial_network() -> None:
    run = train(epochs=0, seed=3, probes=True)
    assert len(run.history) == 0
    initial = MultilayerPerceptron.create(
        [problems.FEATURES, *problems.HIDDEN, problems.CLASSES],
        seed=3,
        backend=run.backend,
        dtype="float64",
    )
    assert_same_bits(run.network, initial)


def test_a_run_unpacks_as_network_and_history(backend: Backend) -> None:
    run = train_on(backend, epochs=1)
    network, history = run
    assert network is run.network
    assert history is run.history
    assert (run.backend, run.device) == (backend, backend.device)
    assert backend_of(network.layers[0].weights) == backend


def test_the_chosen_loss_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "arraymlp"):
        train()
        train(*problems.columns())
        train(*problems.numbers())
    chosen = [m.split(",")[0] for m in caplog.messages if m.startswith("loss: ")]
    assert chosen == [
        "loss: softmax_cross_entropy",
        "loss: binary_cross_entropy",
        "loss: squared_error",
    ]


# --- callbacks -----------------------------------------------------------------------------------


def test_callbacks_are_told_of_every_epoch() -> None:
    events: list[EpochEnd] = []
    run = train(epochs=3, callbacks=[events.append])
    assert [(e.number, e.epochs) for e in events] == [(1, 3), (2, 3), (3, 3)]
    assert [e.record for e in events] == list(run.history)
    assert events[0].network is run.network
    assert events[0].history is run.history


def test_callbacks_of_a_run_that_goes_on_count_its_own_epochs() -> None:
    events: list[EpochEnd] = []
    go_on(train(epochs=3), epochs=2, callbacks=[events.append])
    assert [(e.number, e.epochs, e.record["epoch"]) for e in events] == [(1, 2, 3), (2, 2, 4)]


@pytest.mark.parametrize("kind", [bool, np.bool])
def test_true_from_a_callback_stops(kind: Any) -> None:
    run = train(epochs=9, callbacks=[lambda event: kind(event.number == 2), lambda event: None])
    assert len(run.history) == 2
    assert not run.interrupted


def test_truthy_answers_other_than_true_do_not_stop() -> None:
    run = train(epochs=3, callbacks=[lambda event: event.record["loss"]])  # type: ignore[list-item]
    assert len(run.history) == 3


# --- losses that are not finite ------------------------------------------------------------------


def diverging(**given: Any) -> NonFiniteLossError:
    X_, y = problems.numbers()
    with pytest.raises(NonFiniteLossError) as caught:
        train(X_, y, epochs=50, **{"learning_rate": 1e30, **given})
    return caught.value


def test_a_loss_that_is_not_finite_says_in_which_epoch_and_layer() -> None:
    error = diverging()
    epoch = error.run.history[-1]["epoch"]
    first = epoch * STEPS_PER_EPOCH + 1
    message = str(error)
    assert f"in epoch {epoch} (steps {first} to {first + STEPS_PER_EPOCH - 1})" in message
    assert "no longer finite: the weights of layers 1" in message
    assert "A smaller learning_rate than 1e+30" in message


def test_a_loss_that_overflows_before_the_weights_do_blames_no_layer() -> None:
    message = str(diverging(learning_rate=1e6))
    assert "the loss became inf in epoch" in message
    assert "the weights of layer" not in message


def test_a_loss_that_is_not_finite_keeps_the_run() -> None:
    run = diverging().run
    assert not np.isfinite(run.history[-1]["loss"])
    assert all(np.isfinite(epoch["loss"]) for epoch in list(run.history)[:-1])
    assert not np.isfinite(run.network.layers[0].weights).all()


def test_training_ends_where_no_member_is_finite() -> None:
    assert "in all 3 members" in str(diverging(seed=SEEDS, learning_rate=(1e30, 1e40, 1e50)))


def test_divergence_ends_on_every_backend(backend: Backend) -> None:
    X_, y = problems.numbers()
    with pytest.raises(NonFiniteLossError, match="in epoch"):
        train_on(backend, X_, y, learning_rate=1e15, epochs=9)


def test_divergence_can_be_probed() -> None:
    run = diverging(probes=True).run
    assert not np.isfinite(run.measurements[-1].loss)


# --- Ctrl-C and SIGTERM ---------------------------------------------------------------------------


@pytest.mark.xdist_group("signals")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["ctrl-c", "sigterm"])
def test_a_signal_ends_the_run_after_the_step(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    before = signal.getsignal(number)
    interrupt_after(monkeypatch, n_steps=STEPS_PER_EPOCH + 2, number=number)
    run = train(epochs=9)
    assert signal.getsignal(number) is before
    assert run.interrupted
    assert run.history["step"] == [STEPS_PER_EPOCH, STEPS_PER_EPOCH + 2]
    assert repr(run).startswith("<Run (interrupted) of <MultilayerPerceptron")


def test_ctrl_c_in_a_callback_ends_the_run() -> None:
    def press(event: EpochEnd) -> None:
        if event.number == 2:
            signal.raise_signal(signal.SIGINT)

    run = train(epochs=9, callbacks=[press])
    assert len(run.history) == 2
    assert run.interrupted


def test_ctrl_c_in_an_evaluation_ends_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    evaluate = epoch_figures.evaluate

    def press(*args: Any) -> Any:
        signal.raise_signal(signal.SIGINT)
        return evaluate(*args)

    monkeypatch.setattr(epoch_figures, "evaluate", press)
    run = train(epochs=9, training_error=True, callbacks=[lambda e: monkeypatch.undo()])
    assert len(run.history) == 1
    assert run.interrupted


def test_a_second_ctrl_c_raises(monkeypatch: pytest.MonkeyPatch) -> None:
    interrupt_after(monkeypatch, n_steps=2, times=2)
    with pytest.raises(KeyboardInterrupt):
        train(epochs=9)


@pytest.mark.parametrize("times", [1, 2])
def test_ctrl_c_means_afterwards_what_it_meant_before(
    monkeypatch: pytest.MonkeyPatch, times: int
) -> None:
    before = signal.getsignal(signal.SIGINT)
    interrupt_after(monkeypatch, n_steps=2, times=times)
    try:
        train(epochs=9)
    except KeyboardInterrupt:
        assert times == 2
    assert signal.getsignal(signal.SIGINT) is before


def test_somebody_elses_ctrl_c_is_left_to_them(monkeypatch: pytest.MonkeyPatch) -> None:
    pressed: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, frame: pressed.append(number))
    try:
        interrupt_after(monkeypatch, n_steps=2)
        run = train(epochs=2)
    finally:
        signal.signal(signal.SIGINT, before)
    assert pressed == [signal.SIGINT]
    assert not run.interrupted
    assert len(run.history) == 2


ENDLESS = """
import multiprocessing, os, signal, sys, threading, time
import numpy as np
import arraymlp

X, y = np.ones((100, 4)), np.arange(100) % 2
started = time.monotonic()

def train(first_epoch, callbacks=()):
    def began(event):
        if event.number == 1:
            first_epoch()
        return time.monotonic() - started > 50  # where nothing ends it
    given = {"epochs": 10**9, "hidden": (4,), "backend": "numpy", "callbacks": [began, *callbacks]}
    return arraymlp.train(X, y, **given)

def send(number=signal.SIGTERM):
    os.kill(os.getpid(), number)
"""


def endless(code: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """What became of a script with a training that a signal is to end."""
    file = folder / "endless.py"
    file.write_text(ENDLESS + code)
    command = [sys.executable, str(file)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=folder)


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
def test_after_a_sigterm_the_script_goes_on(tmp_path: Path) -> None:
    done = endless(
        """
run = train(send)
assert run.interrupted and len(run.history) >= 1
assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
print("kept", flush=True)
send()
print("too far", flush=True)
""",
        tmp_path,
    )
    assert (done.returncode, done.stdout) == (-signal.SIGTERM, "kept\n"), done.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
def test_a_second_sigterm_kills(tmp_path: Path) -> None:
    done = endless("train(lambda: (send(), print('first', flush=True), send()))", tmp_path)
    assert (done.returncode, done.stdout) == (-signal.SIGTERM, "first\n"), done.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
@pytest.mark.parametrize("method", ["spawn", "fork"])
def test_a_pool_in_whose_processes_networks_train_can_be_terminated(
    method: str, tmp_path: Path
) -> None:
    done = endless(
        f"""
def work(k):
    def last(event):  # what a checkpoint does: it is called though the run was told to end
        open(f"{{k}}.last", "w").write(str(event.number))
    train(lambda: open(f"{{k}}.began", "w").close(), [last])
    open(f"{{k}}.over", "w").close()

if __name__ == "__main__":
    pool = multiprocessing.get_context({method!r}).Pool(2)
    pool.map_async(work, range(2), chunksize=1)
    while not all(os.path.exists(f"{{k}}.began") for k in range(2)):
        time.sleep(0.01)
    processes = list(pool._pool)
    pool.terminate()
    pool.join()
    print([process.exitcode for process in processes])
    print(any(os.path.exists(f"{{k}}.over") for k in range(2)))
""",
        tmp_path,
    )
    assert done.stdout == "[-15, -15]\nFalse\n", done.stderr
    assert all(int((tmp_path / f"{k}.last").read_text()) for k in range(2))


def test_somebody_elses_sigterm_is_left_to_them(monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: sent.append(number))
    try:
        interrupt_after(monkeypatch, n_steps=2, number=signal.SIGTERM)
        run = train(epochs=2)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert sent == [signal.SIGTERM]
    assert not run.interrupted


def test_in_another_thread_no_handler_changes() -> None:
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = [signal.getsignal(number) for number in numbers]
    seen: list[Any] = []

    def look(event: EpochEnd) -> None:
        seen.append([signal.getsignal(number) for number in numbers])

    with ThreadPoolExecutor(1) as pool:
        run = pool.submit(train, epochs=1, callbacks=[look]).result()
    assert seen == [before]
    assert not run.interrupted


@PLAIN_OR_NOT
@pytest.mark.parametrize("optimizer", ["momentum", "adam"])
@pytest.mark.parametrize("seed", [0, (0, 1, 2)], ids=["one", "population"])
def test_an_interrupted_run_goes_on_where_it_was_broken_off(
    monkeypatch: pytest.MonkeyPatch, seed: Any, optimizer: str, besides: dict[str, Any]
) -> None:
    settings = {"seed": seed, "optimizer": optimizer, "probes": True, **besides}
    whole = train(epochs=3, **settings)
    interrupt_after(monkeypatch, n_steps=STEPS_PER_EPOCH + 1)
    broken = train(epochs=3, **settings)
    run = go_on(broken, epochs=2)  # the rest of epoch 1, and epoch 2
    assert run.history["epoch"] == [0, 1, 1, 2]
    assert run.history["step"] == [3, 4, 6, 9]
    assert [run.history["loss"][i] for i in (0, 2, 3)] == whole.history["loss"]
    assert not run.interrupted
    assert_same_bits(run.network, whole.network)
    assert [(m.step, m.epoch) for m in run.measurements] == [
        (m.step, m.epoch) for m in whole.measurements
    ]


@pytest.mark.parametrize("changed", [{"batch_size": 12}, {"shuffle": False}, {"order_seed": 1}])
def test_other_minibatches_begin_a_new_epoch(
    monkeypatch: pytest.MonkeyPatch, changed: dict[str, Any]
) -> None:
    interrupt_after(monkeypatch, n_steps=2)
    run = go_on(train(epochs=3), epochs=1, **changed)
    assert run.history["epoch"] == [0, 1]
    per_epoch = problems.N // changed.get("batch_size", problems.BATCH)
    assert run.history["step"] == [2, 2 + per_epoch]


# --- probes --------------------------------------------------------------------------------------

FOR_EACH_LAYER = ("gradient_norm", "update_norm", "bias_update", "weight_norm", "spread")
FOR_EACH_HIDDEN_LAYER = ("active_units", "active_pairs", "mean")


@pytest.mark.parametrize("seed", [0, (0, 1, 2)], ids=["one", "population"])
def test_probes_measure_every_layer(quick_backend: Backend, seed: Any) -> None:
    run = train_on(quick_backend, seed=seed, epochs=1, probes=True)
    leading = () if seed == 0 else (3,)
    layers = len(problems.HIDDEN) + 1
    assert [m.step for m in run.measurements] == [1, 2, 3]
    for m in run.measurements:
        assert np.shape(m.loss) == leading
        assert np.shape(m.predicted) == (*leading, problems.CLASSES)
        for name in FOR_EACH_LAYER:
            assert np.shape(getattr(m, name)) == (layers, *leading), name
        for name in FOR_EACH_HIDDEN_LAYER:
            assert np.shape(getattr(m, name)) == (layers - 1, *leading), name
    assert np.shape(run.dead_units) == (layers - 1, *leading)


def test_probes_measure_the_same_on_every_backend(backend: Backend) -> None:
    there = train_on(backend, epochs=1, probes=True).measurements[-1].to_dict()
    here = train(epochs=1, probes=True, dtype="float32").measurements[-1].to_dict()
    assert there.keys() == here.keys()
    for name, value in here.items():
        # A few roundings of float32 after three steps.
        np.testing.assert_allclose(there[name], value, rtol=1e-4, atol=1e-6, err_msg=name)


def test_probes_do_not_change_the_training(backend: Backend) -> None:
    engine = engine_of_steps(backend)
    plain = train_on(backend, epochs=1, engine=engine)
    probed = train_on(backend, epochs=1, probes=True, engine=engine)
    assert_same_bits(plain.network, probed.network)
    assert plain.history["loss"] == probed.history["loss"]


def test_a_probe_measures_what_it_says() -> None:
    taken: list[MultilayerPerceptron] = [train(epochs=0).network]
    run = train(
        epochs=1,
        batch_size=problems.N,
        optimizer="sgd",
        learning_rate=0.1,
        probes=True,
        callbacks=[lambda event: taken.append(event.network.copy())],
    )
    before, after = taken
    (m,) = run.measurements
    z = [p.z for p in after.forward(X)]
    passes = before.forward(X)
    _, delta = before.loss(passes[-1].z, Y)
    gradients = before.backward(passes, delta / problems.N)
    value, _ = after.loss(z[-1], Y)
    expected = Measurement(
        step=1,
        epoch=0,
        loss=value.mean(),
        predicted=np.bincount(after.predict(X), minlength=problems.CLASSES),
        gradient_norm=[np.linalg.norm(g.weights) for g in gradients],
        bias_gradient=[np.linalg.norm(g.bias) for g in gradients],
        update_norm=[
            np.linalg.norm(a.weights - b.weights)
            for a, b in zip(after.layers, before.layers, strict=True)
        ],
        bias_update=[
            np.sqrt(np.mean((a.bias - b.bias) ** 2))
            for a, b in zip(after.layers, before.layers, strict=True)
        ],
        weight_norm=[np.linalg.norm(a.weights) for a in after.layers],
        spread=[np.sqrt(np.mean(values.std(axis=0) ** 2)) for values in z],
        active_units=[np.mean((values > 0).any(axis=0)) for values in z[:-1]],
        active_pairs=[np.mean(values > 0) for values in z[:-1]],
        mean=[values.mean() for values in z[:-1]],
    )
    for name, figure in expected.to_dict().items():
        np.testing.assert_allclose(getattr(m, name), figure, rtol=1e-10, err_msg=name)


def test_shut_units_are_counted_over_all_rows() -> None:
    start = train(epochs=0, activation="relu").network
    start.layers[1].bias -= 1e3
    start.layers[1].bias[0, 2] += 2e3  # of five units only this one is ever active
    run = train(network=start, epochs=0, probes=True)
    assert run.dead_units == [0, problems.HIDDEN[1] - 1]


def test_probes_of_a_run_that_goes_on_know_its_epochs() -> None:
    first = train(epochs=20, probes=True)
    run = go_on(first, epochs=2, batch_size=4)
    ends = dict(zip(run.history["step"], run.history["epoch"], strict=True))
    measured = {m.step: m.epoch for m in run.measurements}
    assert {step: measured.get(step) for step in ends} == ends


def test_without_probes_nothing_is_measured() -> None:
    run = train()
    assert run.measurements == []
    assert run.dead_units == []

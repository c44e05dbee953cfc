"""An engine's first step is compared with the definition's, and left where it is wrong."""

import logging
import os
import subprocess
import sys
import warnings
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

import arraymlp
from arraymlp import Backend, EngineMismatchWarning
from arraymlp.backends.precision import FULL
from arraymlp.data.minibatches import Minibatch
from arraymlp.losses import Huber, Quantile
from arraymlp.nn.activations import ACTIVATIONS
from arraymlp.optimizers import SGD
from arraymlp.steps.hyper import Hyper
from arraymlp.steps.update import initial_states
from arraymlp.training import engine_check
from arraymlp.training.engine_check import EngineCheck
from arraymlp.training.rounding import step_bounds
from broken_engines import OwnEngine, OwnStep, in_double, right, shuffled, take_engine
from conftest import on_host

HostArray = np.ndarray[Any, Any]
RNG = np.random.default_rng(3)
N, N_IN = 96, 12
X = RNG.normal(size=(N, N_IN))
Y = np.concatenate([np.arange(4), RNG.integers(0, 4, N - 4)])
PLAIN: dict[str, Any] = {
    "hidden": (17, 9),
    "optimizer": "sgd",
    "learning_rate": 0.05,
    "batch_size": 24,
    "epochs": 2,
    "seed": 1,
    "backend": "numpy",
    "standardize": False,
}


def train(X_: Any = X, y: Any = Y, **given: Any) -> arraymlp.Run:
    return arraymlp.train(X_, y, **PLAIN | given)


def same_run(one: arraymlp.Run, two: arraymlp.Run) -> None:
    assert one.history["loss"] == two.history["loss"]
    for a, b in zip(one.network.layers, two.network.layers, strict=True):
        np.testing.assert_array_equal(on_host(a.weights), on_host(b.weights))
        np.testing.assert_array_equal(on_host(a.bias), on_host(b.bias))


# Steps broken on purpose: each takes (network, states, batch, hyper, step).


def _scaled_gradient(network: Any, states: Any, batch: Any, hyper: Any, step: Any) -> Any:
    scaled = hyper.optimizer._replace(learning_rate=hyper.optimizer.learning_rate * 1.001)
    return step(network, states, batch, hyper._replace(optimizer=scaled))


def _wrong_column(network: Any, states: Any, batch: Any, hyper: Any, step: Any) -> Any:
    after = step(network, states, batch, hyper)
    network.layers[1].weights[..., 3] *= 1.01
    return after


def _swapped_sign(network: Any, states: Any, batch: Any, hyper: Any, step: Any) -> Any:
    before = np.array(network.layers[0].bias)
    after = step(network, states, batch, hyper)
    bias = network.layers[0].bias
    i = int(np.argmax(abs(bias - before)[..., 0, :])) % bias.shape[-1]
    bias[..., i] = 2 * before[..., i] - bias[..., i]
    return after


def _wrong_key(network: Any, states: Any, batch: Any, hyper: Any, step: Any) -> Any:
    keys = [key and key._replace(key=key.key ^ 1) for key in hyper.dropout]
    return step(network, states, batch, hyper._replace(dropout=keys))


def _no_momentum(network: Any, states: Any, batch: Any, hyper: Any, step: Any) -> Any:
    still = hyper.optimizer._replace(momentum=0.0)
    return step(network, states, batch, hyper._replace(optimizer=still))


def _stale_weight(network: Any, states: Any, batch: Any, hyper: Any, step: Any) -> Any:
    before = np.array(network.layers[-1].weights)
    after = step(network, states, batch, hyper)
    weights = network.layers[-1].weights
    i = np.unravel_index(np.argmax(abs(weights - before)), weights.shape)
    weights[i] = before[i]
    return after


def _wrong_loss(network: Any, states: Any, batch: Any, hyper: Any, step: Any) -> Any:
    states, sums = step(network, states, batch, hyper)
    return states, sums._replace(loss=sums.loss * 1.01)


def _nan(network: Any, states: Any, batch: Any, hyper: Any, step: Any) -> Any:
    after = step(network, states, batch, hyper)
    network.layers[0].weights[..., -1, -1] = np.nan
    return after


def _no_beta1(network: Any, states: Any, batch: Any, hyper: Any, step: Any) -> Any:
    fast = hyper.optimizer._replace(beta1=0.0)
    return step(network, states, batch, hyper._replace(optimizer=fast))


def _no_clip(network: Any, states: Any, batch: Any, hyper: Any, step: Any) -> Any:
    return step(network, states, batch, hyper._replace(gradient_clip=None))


def _no_weights(network: Any, states: Any, batch: Any, hyper: Any, step: Any) -> Any:
    return step(network, states, type(batch)(batch.x, batch.y), hyper)


BROKEN: dict[str, tuple[Any, dict[str, Any]]] = {
    "gradient times 1.001": (_scaled_gradient, {}),
    "gradient times 1.001, momentum": (_scaled_gradient, {"optimizer": "momentum"}),
    "one wrong column": (_wrong_column, {}),
    "a bias's sign": (_swapped_sign, {}),
    "a bias's sign, Adam": (_swapped_sign, {"optimizer": "adam"}),
    "dropout's key": (_wrong_key, {"dropout": 0.2}),
    "no momentum": (_no_momentum, {"optimizer": "momentum"}),
    "no momentum, Nesterov": (_no_momentum, {"optimizer": "nesterov"}),
    "no beta1": (_no_beta1, {"optimizer": "adam"}),
    "a stale weight": (_stale_weight, {}),
    "the loss times 1.01": (_wrong_loss, {}),
    "a NaN": (_nan, {}),
    "no clipping": (_no_clip, {"gradient_clip": 0.1}),
    "no weights": (_no_weights, {"sample_weight": np.linspace(0.5, 2, N)}),
}
WAYS = pytest.mark.parametrize("together", [True, False], ids=["epochs", "steps"])


@WAYS
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_engine_is_left(
    monkeypatch: pytest.MonkeyPatch, case: str, dtype: Any, together: bool
) -> None:
    behaviour, given_ = BROKEN[case]
    take_engine(monkeypatch, OwnEngine(behaviour, together))
    with pytest.warns(EngineMismatchWarning, match="the engine own differs from the definit") as w:
        run = train(dtype=dtype, **given_)
    assert len(w) == 1
    assert run.engine == "array"
    assert "engine own differs" in run.engine_reason
    same_run(run, train(dtype=dtype, engine="array", **given_))


@WAYS
def test_a_right_engine_trains(monkeypatch: pytest.MonkeyPatch, together: bool) -> None:
    take_engine(monkeypatch, OwnEngine(right, together))
    run = train()
    assert (run.engine, run.engine_reason) == ("own", "")
    same_run(run, train(engine="array"))


def test_an_engine_of_a_device_is_judged_on_the_host(
    monkeypatch: pytest.MonkeyPatch, strict_backend: Backend
) -> None:
    def scaled(network: Any, states: Any, batch: Any, hyper: Any, step: Any) -> Any:
        after = step(network, states, batch, hyper)
        network.layers[0].bias = network.layers[0].bias * 1.001
        return after

    where: dict[str, Any] = {"backend": strict_backend.name, "device": strict_backend.device}
    how = {"optimizer": "momentum", "dropout": [0.1, 0.2], "seed": [1, 2], **where}
    take_engine(monkeypatch, OwnEngine(right), strict_backend.name)
    assert train(**how).engine == "own"
    take_engine(monkeypatch, OwnEngine(scaled), strict_backend.name)
    with pytest.warns(EngineMismatchWarning, match="bias of layer 1"):
        assert train(**how).engine == "array"


def test_a_kind_is_checked_once_in_a_process(monkeypatch: pytest.MonkeyPatch) -> None:
    take_engine(monkeypatch, OwnEngine(right))
    compared = []
    compare = EngineCheck._compare
    monkeypatch.setattr(EngineCheck, "_compare", lambda *args: compared.append(1) or compare(*args))
    train()
    train(seed=2, learning_rate=0.01)
    assert len(compared) == 1
    train(optimizer="adam")
    assert len(compared) == 2


def test_each_way_of_an_engine_is_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    own = OwnEngine(right)
    take_engine(monkeypatch, own)
    assert train().engine == "own"
    monkeypatch.setattr(OwnStep, "way", lambda *_: "another")
    own.behaviour = _nan
    with pytest.warns(EngineMismatchWarning):
        assert train().engine == "array"


def test_a_kind_that_was_wrong_is_wrong_again_without_a_warning(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    take_engine(monkeypatch, OwnEngine(_nan))
    with pytest.warns(EngineMismatchWarning):
        train()
    run = train()  # warnings are errors here
    assert run.engine == "array"
    assert "differs" in run.engine_reason


def test_the_check_can_be_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    take_engine(monkeypatch, OwnEngine(_wrong_loss))
    monkeypatch.setenv("ARRAYMLP_ENGINE_CHECK", "yes")
    with pytest.raises(ValueError, match="ARRAYMLP_ENGINE_CHECK=yes: give 0, 1, or leave it out"):
        train()
    monkeypatch.setenv("ARRAYMLP_ENGINE_CHECK", "0")
    assert train().engine == "own"


def test_as_an_error_it_is_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    take_engine(monkeypatch, OwnEngine(_nan))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(EngineMismatchWarning):
            train()


def test_the_log_says_it(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    take_engine(monkeypatch, OwnEngine(_nan))
    with (
        caplog.at_level(logging.INFO, "arraymlp"),
        pytest.warns(EngineMismatchWarning, match="nan and by the definition as"),
    ):
        train()
    assert any(line.startswith("engine: array (the engine own differs") for line in caplog.messages)


def test_an_order_with_a_memory_is_called_once_an_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    take_engine(monkeypatch, OwnEngine(right))
    asked = []

    def order(n: int, epoch: int) -> HostArray:
        asked.append(epoch)
        return np.random.default_rng(len(asked)).permutation(n)

    train(shuffle=order)
    assert asked == [0, 1]


def test_an_engine_that_passes_over_the_order_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    class FileOrder(OwnEngine):
        def step(self, *args: Any) -> Any:
            step = super().step(*args)
            epoch = step.epoch
            step.epoch = lambda net, states, rows, *more: epoch(
                net, states, rows._replace(order=None), *more
            )
            return step

    take_engine(monkeypatch, FileOrder(right))
    with pytest.warns(EngineMismatchWarning):
        train()


@pytest.mark.parametrize("estimator", ["classifier", "search"])
def test_estimators_go_through_it(monkeypatch: pytest.MonkeyPatch, estimator: str) -> None:
    pytest.importorskip("sklearn")
    take_engine(monkeypatch, OwnEngine(_wrong_column))
    fixed: dict[str, Any] = {"hidden_layer_sizes": (9, 7), "max_iter": 2, "tol": 0.0}
    one: Any = arraymlp.MLPClassifier(**fixed, random_state=0, backend="numpy")
    if estimator == "search":
        one = arraymlp.MLPSearchCV(one, {"learning_rate_init": [0.1, 0.01]}, cv=2)
    with pytest.warns() as caught:
        one.fit(X, Y)
    warned = [w for w in caught if w.category is EngineMismatchWarning]
    # The search trains a population, and then one network, which is another kind.
    assert len(warned) == len(engine_check._verdicts) == (2 if estimator == "search" else 1)


def test_a_sweep_on_threads_warns_once_and_is_right(monkeypatch: pytest.MonkeyPatch) -> None:
    take_engine(monkeypatch, OwnEngine(_wrong_column))
    how: dict[str, Any] = {"hidden": (9, 7), "batch_size": 8, "epochs": 1, "seed": range(12)}
    with pytest.warns(EngineMismatchWarning) as caught:
        broken = arraymlp.sweep(X, Y, backend="numpy", **how)
    assert len([w for w in caught if w.category is EngineMismatchWarning]) == 1
    right_ones = arraymlp.sweep(X, Y, backend="numpy", engine="array", **how)
    for a, b in zip(broken, right_ones, strict=True):
        assert a.history["loss"] == b.history["loss"]
    assert broken.run(11).engine == "array"


def test_folds_are_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    take_engine(monkeypatch, OwnEngine(_wrong_column))
    how: dict[str, Any] = {"hidden": (9,), "batch_size": 8, "epochs": 1, "cv": 3, "seed": [0, 1]}
    with pytest.warns(EngineMismatchWarning):
        arraymlp.sweep(X, Y, backend="numpy", **how)
    take_engine(monkeypatch, OwnEngine(in_double))
    arraymlp.sweep(X, Y, backend="numpy", **how)


def test_a_profile_has_none_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    take_engine(monkeypatch, OwnEngine(right))
    run = train(profile=True)
    assert run.profile is not None
    assert run.profile.steps == run.steps_done
    assert (run.engine, engine_check._verdicts) == (
        "own",
        dict.fromkeys(engine_check._verdicts, ""),
    )
    assert len(engine_check._verdicts) == 1


def test_what_is_of_ones_own_is_not_called_more_often(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []

    class Counting(arraymlp.optimizers.SGD):
        def update(self, *args: Any) -> Any:
            calls.append(1)
            return super().update(*args)

    take_engine(monkeypatch, OwnEngine(right))
    run = train(optimizer=Counting())
    assert len(calls) == 6 * run.steps_done


def test_a_short_training_of_a_large_network_is_not_held_up(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    take_engine(monkeypatch, OwnEngine(_nan))
    with (
        caplog.at_level(logging.INFO, "arraymlp"),
        pytest.raises(arraymlp.NonFiniteLossError),
    ):
        train(hidden=(1000, 1000), epochs=1)
    assert any("not checked" in line for line in caplog.messages)
    assert engine_check._verdicts == {}


def test_a_forked_process_goes_on_with_what_is_known() -> None:
    code = (
        "import os, numpy as np, arraymlp\n"
        "X = np.random.default_rng(0).normal(size=(40, 3)); y = np.arange(40) % 2\n"
        "fit = lambda: arraymlp.train(X, y, hidden=(4,), epochs=1, backend='numpy')\n"
        "fit()\n"
        "child = os.fork() if hasattr(os, 'fork') else None\n"
        "fit()\n"
        "if child == 0: os._exit(0)\n"
        "if child: assert os.waitpid(child, 0)[1] == 0\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env=os.environ, timeout=120)


def test_numbers_that_are_not_finite_must_not_be_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    network = train(epochs=0).network
    network.layers[0].weights[0, 0] = np.nan
    how: dict[str, Any] = {"network": network, "epochs": 1}
    for name in ("hidden", "seed", "standardize"):
        how[name] = None

    def finite(network: Any, states: Any, batch: Any, hyper: Any, step: Any) -> Any:
        states, sums = step(network, states, batch, hyper)
        for layer in network.layers:
            np.nan_to_num(layer.weights, copy=False)
            np.nan_to_num(layer.bias, copy=False)
        return states, sums._replace(loss=np.nan_to_num(sums.loss))

    take_engine(monkeypatch, OwnEngine(right))
    with pytest.raises(arraymlp.NonFiniteLossError) as caught:
        train(**how)
    assert caught.value.run.engine == "own"
    take_engine(monkeypatch, OwnEngine(finite))
    with (
        pytest.raises(arraymlp.NonFiniteLossError),
        pytest.warns(EngineMismatchWarning, match="came out finite"),
    ):
        train(**how)


# No false alarm


OPTIMIZERS = ["sgd", "momentum", "nesterov", "adam", "adamw", "rmsprop"]
LOSSES = [
    "softmax_cross_entropy",
    "binary_cross_entropy",
    "squared_error",
    "absolute_error",
    "huber",
    "poisson",
    "quantile",
    "capped_softmax_cross_entropy",
    "capped_binary_cross_entropy",
]


@st.composite
def trainings(draw: Any) -> dict[str, Any]:
    """Data and settings: networks, losses, optimisers and values of any size."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    members = draw(st.sampled_from([None, None, 1, 3]))
    layers = draw(st.integers(0, 3))
    hidden = tuple(draw(st.lists(st.integers(1, 70), min_size=layers, max_size=layers)))
    batch, n_in = draw(st.integers(1, 60)), draw(st.integers(1, 60))
    loss = draw(st.sampled_from(LOSSES))
    n, n_out = batch + draw(st.integers(4, 40)), draw(st.integers(2, 9))
    size = 10.0 ** draw(st.sampled_from([0, 0, 0, 0, 0, -30, -8, -3, 2, 5, 12]))
    x = rng.normal(size=(n, n_in)) * size
    kind = draw(st.sampled_from(["plain", "zeros", "twins", "whole", "constant"]))
    if kind == "zeros":
        x *= rng.random(x.shape) < 0.2
    elif kind == "twins":
        x = np.repeat(x[: -(-n // 8)], 8, axis=0)[:n]
    elif kind == "whole":
        x = np.round(x / size) * size
    elif kind == "constant":
        x[:] = size * 0.1
    if "softmax" in loss:
        y: Any = np.concatenate([np.arange(n_out), rng.integers(0, n_out, n)])[:n]
    elif "binary" in loss:
        y = (rng.normal(size=(n, n_out)) > 0).astype(np.int64)
    else:
        y = abs(rng.normal(size=(n, n_out))) * 10.0 ** draw(st.sampled_from([0, 0, -9, 4, 9]))
        loss = {"quantile": Quantile((0.1, 0.6)), "huber": Huber(float(y.std()))}.get(loss, loss)
    some = draw(st.booleans())
    each = [0.1, 0.0, 0.3]

    def number(value: float) -> Any:
        return [v * value / 0.1 for v in each] if members == 3 and draw(st.booleans()) else value

    how: dict[str, Any] = {
        "hidden": hidden,
        "activation": [draw(st.sampled_from(sorted(ACTIVATIONS))) for _ in hidden],
        "loss": loss,
        "optimizer": draw(st.sampled_from(OPTIMIZERS)),
        "learning_rate": draw(st.sampled_from([1e-4, 0.01, 0.1])),
        "batch_size": batch,
        "reduction": draw(st.sampled_from(["mean", "sum"])),
        "shuffle": draw(st.booleans()),
        "dtype": draw(st.sampled_from(["float32", "float32", "float64"])),
        "seed": 7 if members is None else list(range(members)),
    }
    if some:
        how["sample_weight"] = rng.random(n) * (rng.random(n) < 0.7) + 1e-3
        how["l2"], how["alpha"] = number(0.1), number(0.1)
        how["weight_decay"] = number(0.1)
        how["gradient_clip"] = draw(st.sampled_from([np.inf, 0.1, 10.0]))
    if draw(st.booleans()):
        how["dropout"] = number(0.1)
    if (
        draw(st.booleans())
        and not isinstance(loss, Quantile | Huber)
        and isinstance(y[0], np.int64)
    ):
        how["label_smoothing"] = number(0.1)
    return {"X": x, "y": y, **how}


@pytest.mark.parametrize(
    "way", [in_double, shuffled, None], ids=["in double", "another order", "the package's"]
)
@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(case=trainings())
def test_a_right_engine_is_never_left(way: Any, case: dict[str, Any]) -> None:
    loss = case["loss"]
    # What they allow hangs on the dtype's limits.
    assume(way is not in_double or not str(loss).startswith(("capped", "poisson")))
    with pytest.MonkeyPatch.context() as patch:
        if way is None:
            patch.setattr(engine_check, "_verdicts", {})
        else:
            take_engine(patch, OwnEngine(way))
        try:
            run = train(case.pop("X"), case.pop("y"), epochs=1, **case)
        except arraymlp.NonFiniteLossError as error:
            run = error.run
        assert "differs" not in run.engine_reason


@pytest.mark.parametrize("members", [None, 3])
def test_the_errors_of_equal_rows_add_up_as_they_are(members: int | None) -> None:
    """A gelu's slope may be off by much where it is small: in equal rows by the same."""
    rows, seed = 32, 7 if members is None else range(members)
    network = arraymlp.MultilayerPerceptron.create((4, 6, 5, 2), activation="gelu", seed=seed)
    draw = np.random.default_rng(0)
    one, y = draw.normal(size=(1, 4)), draw.integers(0, 2, 1)
    others = one * (1 + 1e-4 * np.arange(1, rows)[:, None])  # next to it, with errors of their own

    def width(x: np.ndarray[Any, Any]) -> Any:
        batch = Minibatch(x.astype(np.float32), np.repeat(y, len(x)).astype(np.int32))
        states = initial_states(network, SGD())
        hyper = Hyper(SGD().constants(1.0, 0))
        bounds = step_bounds(network, states, batch, hyper, SGD(), "sum", FULL)
        return np.max(bounds.parameters[1].high - bounds.parameters[1].low)

    alone, equal = width(one), width(np.repeat(one, rows, axis=0))
    different = width(np.concatenate([one, others]))
    assert equal > 0.8 * rows * alone
    assert different < 0.5 * rows * alone

"""Training by the fused CUDA kernels: runs are those of the array code, or go step by step."""

import logging
from typing import Any

import numpy as np
import pytest

import arraymlp.engines.cuda.fused as fused
from arraymlp import MultilayerPerceptron, NonFiniteLossError, Run, train
from arraymlp.callbacks import Callback, StepEnd
from arraymlp.engines.cpu.engine import CpuEngine
from arraymlp.engines.cuda.epochs import uncovered
from arraymlp.nn.activations import ACTIVATIONS, Activation
from arraymlp.nn.losses import Loss
from arraymlp.optimizers import SGD, Optimizer
from arraymlp.steps.update import initial_states
from cuda_on_host import HostKernels
from fused_cases import (
    Case,
    Kernels,
    fused_step,
    parameters,
)

pytestmark = pytest.mark.xdist_group(__name__)  # kernels are compiled once a process


@pytest.fixture
def devices(host_kernels: Kernels, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Have `train` use the fused step on NumPy; the device of each step that it makes."""
    made: list[Any] = []

    def step(_: Any, network: Any, rule: Any, reduction: str, *rest: Any) -> Any:
        made.append(host_kernels.device())
        return fused_step(network, rule, reduction, host_kernels, made[-1])

    monkeypatch.setattr(CpuEngine, "step", step)
    monkeypatch.setattr(CpuEngine, "uncovered", lambda *_: "")
    return made


N, FEATURES, CLASSES = 53, 12, 3


def data() -> tuple[Any, Any]:
    rng = np.random.default_rng(3)
    X = rng.normal(size=(N, FEATURES)).astype("float32")
    return X, np.argmax(X[:, :CLASSES], axis=1)


def trained(engine: Any, **changes: Any) -> Run:
    X, y = data()
    settings: dict[str, Any] = {} if "preset" in changes else {"optimizer": "momentum"}
    settings |= {"hidden": (9, 8), "epochs": 4, "batch_size": 10, "validation": 0.2, **changes}
    return train(X, y, engine=engine, backend="numpy", **settings)


def assert_same_runs(by_fused: Run, by_array: Run) -> None:
    assert len(by_fused.history) == len(by_array.history)
    for a, b in zip(by_fused.history.records, by_array.history.records, strict=True):
        for name in a.keys() - {"seconds", "samples_per_s"}:
            np.testing.assert_allclose(a[name], b[name], rtol=1e-4, atol=1e-5, err_msg=name)
    for p, q in zip(parameters(by_fused.network), parameters(by_array.network), strict=True):
        np.testing.assert_allclose(p, q, rtol=1e-3, atol=1e-5)
    assert [m.step for m in by_fused.measurements] == [m.step for m in by_array.measurements]
    for m, n in zip(by_fused.measurements, by_array.measurements, strict=True):
        np.testing.assert_allclose(m.gradient_norm, n.gradient_norm, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"shuffle": False},
        {"drop_last": True},
        {"seed": (0, 1, 2), "learning_rate": (0.01, 0.02, 0.1), "dropout": 0.2},
        {"schedule": "cosine", "optimizer": "adamw", "alpha": 0.01},
        {"optimizer": "auto"},
        {"class_weight": "balanced", "early_stopping": True},
        {"window": 20},
        {"preset": "lab", "learning_rate": 0.01, "initializer": "auto", "epochs": 30},
        {"probes": True, "shuffle": True, "epochs": 30, "class_weight": "balanced", "alpha": 0.1},
        {"loss": "squared_error", "validation": None},
    ],
    ids=lambda changes: ",".join(changes) or "plain",
)
@pytest.mark.filterwarnings("ignore:the last .* samples do not fill")
def test_train_is_the_same_run(devices: list[Any], changes: dict[str, Any]) -> None:
    if changes.get("loss") == "squared_error":
        X, _ = data()
        y, settings = X[:, :2].copy(), {"hidden": (9, 8), "epochs": 4, "batch_size": 10}
        runs = [train(X, y, engine=e, backend="numpy", **settings) for e in ("auto", "array")]
    else:
        runs = [trained(engine, **changes) for engine in ("auto", "array")]
    assert_same_runs(*runs)
    assert devices[0].launched  # else the array code was compared with itself


def test_a_graph_shorter_than_an_epoch(devices: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fused, "MOST_STEPS", 2)
    settings = {"schedule": "cosine", "dropout": 0.1, "class_weight": "balanced"}
    assert_same_runs(trained("auto", **settings), trained("array", **settings))
    assert devices[0].launched


class StopInStep(Callback):
    """Ends the run after a step."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_step(self, event: StepEnd) -> bool:
        return event.step == self.step


def test_a_run_goes_on_in_the_middle_of_an_epoch(devices: list[Any]) -> None:
    def in_two_calls(engine: Any) -> Run:
        first = trained(engine, callbacks=[StopInStep(7)], optimizer="adam")
        assert first.partial_epoch.steps == 7 % 5
        return train(network=first, epochs=3, backend="numpy")

    assert_same_runs(in_two_calls("auto"), in_two_calls("array"))
    assert any(device.launched for device in devices)


def test_an_interrupt_ends_between_two_graphs(
    host_kernels: Kernels, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fused, "MOST_STEPS", 2)
    case = Case(rows=50, batch=10, weighted="shared")
    network = case.networks["float32"].copy()
    states = initial_states(network, case.rule)
    step = fused_step(network, case.rule, "mean", host_kernels)
    answers = iter([False, True])
    done = step.epoch(network, states, case.rows(), case.table(network), lambda: next(answers))
    assert done is not None
    steps, sums = done
    assert steps == 2
    assert case.weight is not None
    np.testing.assert_allclose(sums.weight, case.weight[case.order[:20]].sum(), rtol=1e-6)
    case.steps = 3
    rest = step.epoch(network, states, case.rows(20), case.table(network), lambda: False)
    assert rest is not None
    assert rest[0] == 3


def test_a_diverged_network_is_noticed(devices: list[Any]) -> None:
    with pytest.raises(NonFiniteLossError, match="no longer finite"):
        trained("auto", learning_rate=1e30, activation="relu", loss="auto", epochs=3)
    assert devices[0].launched


# What they do not cover


class SGDOfOnesOwn(SGD):
    """A rule of the user's."""


class Watching(Callback):
    """A callback that looks at each step."""

    def on_step(self, event: StepEnd) -> None: ...


class LossOfOnesOwn(Loss):
    """A loss of the user's, by the name of another."""

    name = "squared_error"


def network_of(sizes: tuple[int, ...] = (3, 4, 2), **changes: Any) -> MultilayerPerceptron:
    return MultilayerPerceptron.create(sizes, **changes)


@pytest.mark.parametrize(
    ("network", "rule", "reason"),
    [
        (network_of(dtype="float64"), SGD(), "float32, not in float64"),
        (network_of((3, 513, 2)), SGD(), "up to 512 units, not of 513"),
        (network_of((2,) * 10), SGD(), "8 layers, not for 9"),
        (network_of(), SGDOfOnesOwn(), "no SGDOfOnesOwn"),
        (
            network_of(activation=Activation("mine", ACTIVATIONS["tanh"].function, lambda *a: 1.0)),
            SGD(),
            "no activation 'mine'",
        ),
        (network_of(loss="poisson"), SGD(), "have no loss 'poisson'"),
        (network_of(loss=LossOfOnesOwn()), SGD(), "have no loss 'squared_error'"),
    ],
)
def test_what_the_kernels_do_not_cover(
    network: MultilayerPerceptron, rule: Optimizer, reason: str
) -> None:
    assert reason in uncovered(network, rule, HostKernels.shared_memory)
    assert not uncovered(network_of(), SGD(), HostKernels.shared_memory)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"gradient_clip": 1.0}, "the kernels have no gradient_clip"),
        ({"optimizer": SGDOfOnesOwn(0.5)}, "the kernels have no SGDOfOnesOwn"),
        ({"hidden": (600,)}, "up to 512 units"),
        ({"weight_average": 0.9}, "weight_average"),
        ({"callbacks": [Watching()]}, "callbacks look at each step"),
    ],
)
def test_it_says_once_why_it_goes_step_by_step(
    devices: list[Any], changes: dict[str, Any], reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "arraymlp"):
        runs = trained("auto", **changes), trained("array", **changes)
    lines = [r.getMessage() for r in caplog.records if "step by step" in r.getMessage()]
    assert len(lines) == 1
    assert reason in lines[0]
    assert not devices[0].launched
    assert_same_runs(*runs)


class Rebinding(SGD):
    """A rule of the user's whose state is a new array after each step."""

    def initial_state(self, parameter: Any, xp: Any) -> Any:
        return xp.zeros_like(parameter)

    def update(self, parameter: Any, gradient: Any, state: Any, constants: Any, xp: Any) -> Any:
        state = 0.9 * state + gradient
        parameter -= constants.learning_rate * state
        return parameter, state


def test_probes_keep_the_state_of_a_rule_that_binds_it_anew(devices: list[Any]) -> None:
    settings = {"optimizer": Rebinding(), "probes": True, "batch_size": 20, "epochs": 12}
    assert_same_runs(trained("auto", **settings), trained("array", **settings))
    assert len(devices) == 1

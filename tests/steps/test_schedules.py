"""Schedules against their formulas written out, against PyTorch's and scikit-learn's."""

from collections.abc import Callable
from dataclasses import replace
from math import ceil, cos, floor, inf, nan, pi
from typing import Any

import numpy as np
import pytest

from arraymlp.steps.schedules import (
    SCHEDULES,
    Adaptive,
    Constant,
    Cosine,
    ExponentialDecay,
    InverseScaling,
    Schedule,
    StepDecay,
    get_schedule,
)
from arraymlp.training.early_stopping import EarlyStopping

N = 130  # steps of a run
RATE = 0.3
HostArray = np.ndarray[Any, Any]


def factors(rule: Schedule, first: int = 0, end: int = N, n: int = N) -> HostArray:
    return rule.factors(np.arange(first, end).reshape(-1, 1), n)


def losses(member: int = 0, epochs: int = N) -> list[float]:
    """A falling, noisy curve that often fails to improve, and is NaN once."""
    rng = np.random.default_rng(70 + member)
    curve = np.exp(-np.arange(epochs) / 40) + 0.2 * rng.random(epochs)
    curve[40] = nan
    return list(curve)


def adapted(rule: Schedule, column: str, figures: list[Any]) -> list[HostArray]:
    """The factors (K,) after each epoch that is observed."""
    running = rule.begin()
    rows = []
    for step, figure in enumerate(figures):
        running.observe({column: figure})
        rows.append(factors(running, step, step + 1)[0])
    return rows


def cosine(step: int, warm_up: int, final: float) -> float:
    if step < warm_up:
        return (step + 1) / warm_up
    if step >= N:
        return final
    return final + (1 - final) * (1 + cos(pi * (step - warm_up) / (N - warm_up))) / 2


# A rule, and its factor at a step, written out.
FORMULAS: dict[str, tuple[Schedule, Callable[[int], float]]] = {
    "constant": (Constant(), lambda t: 1.0),
    "step": (StepDecay(every=7, factor=0.5), lambda t: 0.5 ** floor(t / 7)),
    "step, of the run": (StepDecay(), lambda t: 0.1 ** floor(t / 44)),  # 130 / 3, rounded up
    "exponential": (ExponentialDecay(factor=0.9, every=4), lambda t: 0.9 ** (t / 4)),
    "exponential, of the run": (ExponentialDecay(), lambda t: 0.01 ** (t / N)),
    "cosine": (Cosine(warm_up=10, final=0.1), lambda t: cosine(t, 10, 0.1)),
    "cosine, of the run": (Cosine(), lambda t: cosine(t, ceil(0.05 * N), 0.0)),
    "cosine, cold": (Cosine(warm_up=0), lambda t: cosine(t, 0, 0.0)),
    "inverse": (InverseScaling(), lambda t: 1 / (1 + t) ** 0.5),
    "inverse, of the run": (InverseScaling(1, 0.1), lambda t: 1 / (1 + t / 13)),
}


@pytest.mark.parametrize(("rule", "formula"), FORMULAS.values(), ids=list(FORMULAS))
def test_factors_are_those_of_the_formula(rule: Schedule, formula: Callable[[int], float]) -> None:
    ours = factors(rule, end=N + 20)
    assert ours.dtype == np.float64
    expected = [[formula(t)] for t in range(N + 20)]
    np.testing.assert_allclose(ours, expected, rtol=1e-13, atol=1e-16)


def of_torch(make: Callable[[Any, Any], Any]) -> list[float]:
    """A PyTorch scheduler's learning rates, divided by the first one's."""
    torch = pytest.importorskip("torch")
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=RATE)
    theirs = make(torch.optim.lr_scheduler, optimizer)
    rates = []
    for _ in range(N):
        rates.append(optimizer.param_groups[0]["lr"] / RATE)
        optimizer.step()
        theirs.step()
    return rates


def warmed_up(s: Any, optimizer: Any) -> Any:
    rise = s.LinearLR(optimizer, start_factor=1 / 10, total_iters=9)
    fall = s.CosineAnnealingLR(optimizer, T_max=N - 10, eta_min=0.1 * RATE)
    return s.SequentialLR(optimizer, [rise, fall], milestones=[10])


TORCHS = {
    "step": (StepDecay(every=7, factor=0.5), lambda s, o: s.StepLR(o, step_size=7, gamma=0.5)),
    "exponential": (ExponentialDecay(0.97, every=1), lambda s, o: s.ExponentialLR(o, gamma=0.97)),
    "cosine": (Cosine(warm_up=0), lambda s, o: s.CosineAnnealingLR(o, T_max=N)),
    "warmed up": (Cosine(warm_up=10, final=0.1), warmed_up),
}


# SequentialLR steps its parts with an argument that PyTorch itself deprecates.
@pytest.mark.filterwarnings("ignore:The epoch parameter:UserWarning")
@pytest.mark.parametrize(("rule", "make"), TORCHS.values(), ids=list(TORCHS))
def test_factors_are_those_of_torch(rule: Schedule, make: Callable[[Any, Any], Any]) -> None:
    np.testing.assert_allclose(factors(rule)[:, 0], of_torch(make), rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("better", ["min", "max"])
def test_adaptive_is_torchs_reduction_on_a_plateau(better: str) -> None:
    torch = pytest.importorskip("torch")
    sign = 1 if better == "min" else -1
    figures = [sign * f for f in losses()]
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=1.0)
    theirs = torch.optim.lr_scheduler.ReduceLROnPlateau(
        optimizer,
        mode=better,
        factor=0.5,
        patience=3,
        threshold=0,
        threshold_mode="abs",
        min_lr=0.01,
        eps=0,
    )
    expected = []
    for figure in figures:
        theirs.step(figure)
        expected.append(optimizer.param_groups[0]["lr"])
    ours = Adaptive("figure", 0.5, 3 + 1, 0.0, 0.01, greater_is_better=better == "max")
    np.testing.assert_array_equal(np.ravel(adapted(ours, "figure", figures)), expected)
    assert len(set(expected)) > 5
    assert expected[-1] == 0.01


def fitted(monkeypatch: pytest.MonkeyPatch, **settings: Any) -> tuple[Any, list[float]]:
    """scikit-learn's SGD on a small problem, and the rate it took in each epoch."""
    neural_network = pytest.importorskip("sklearn.neural_network")
    rates: list[float] = []
    rule = neural_network._stochastic_optimizers.SGDOptimizer
    original = rule.iteration_ends

    def note(self: Any, samples: int) -> None:
        rates.append(self.learning_rate)
        original(self, samples)

    monkeypatch.setattr(rule, "iteration_ends", note)
    X = np.random.default_rng(71).normal(size=(30, 3))
    model = neural_network.MLPClassifier(
        (4,), solver="sgd", learning_rate_init=RATE, batch_size=10, random_state=0, **settings
    )
    return model.fit(X, X[:, 0] + X[:, 1] ** 2 > 0), rates


def test_adaptive_is_that_of_scikit_learn(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = {"learning_rate": "adaptive", "n_iter_no_change": 6, "tol": 5e-4}
    model, rates = fitted(monkeypatch, max_iter=500, **settings)
    ours = adapted(Adaptive(patience=6 + 1, min_change=5e-4), "loss", model.loss_curve_)
    # It ends training where it would have to lower a rate that is below 1e-6.
    np.testing.assert_allclose(RATE * np.ravel([[1.0], *ours[:-1]]), rates, rtol=1e-12)
    assert len(set(rates)) == 9  # 0.3 / 5^8 < 1e-6
    assert len(rates) > 9 * 7
    assert ours[-1] < ours[-2]


@pytest.mark.filterwarnings("ignore:Stochastic Optimizer. Maximum iterations")
def test_inverse_scaling_of_scikit_learn_counts_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    _, rates = fitted(monkeypatch, learning_rate="invscaling", power_t=0.4, max_iter=6)
    samples = 30 * np.arange(6).reshape(-1, 1)
    expected = RATE * InverseScaling(power=0.4).factors(samples, 180)
    np.testing.assert_allclose(rates, expected[:, 0], rtol=1e-13)


MEMBERS = {
    "step": (StepDecay, {"every": (7, 0.25, 20), "factor": (0.5, 0.1, 1.0)}),
    "exponential": (ExponentialDecay, {"factor": (0.5, 0.1, 0.9), "every": (3, 0.5, 1)}),
    "cosine": (Cosine, {"warm_up": (0, 0.1, 5), "final": (0.0, 0.5, 0.1)}),
    "inverse": (InverseScaling, {"power": (0.5, 1.0, 2.0), "every": (1, 0.1, 30)}),
}


@pytest.mark.parametrize(("kind", "constants"), MEMBERS.values(), ids=list(MEMBERS))
def test_each_member_has_its_own_constants(kind: Any, constants: dict[str, Any]) -> None:
    together = factors(kind(**constants))
    assert together.shape == (N, 3)
    for k in range(3):
        alone = factors(kind(**{name: values[k] for name, values in constants.items()}))
        np.testing.assert_array_equal(together[:, k : k + 1], alone)


@pytest.mark.parametrize(("kind", "constants"), MEMBERS.values(), ids=list(MEMBERS))
def test_a_single_constant_is_shared_by_members(kind: Any, constants: dict[str, Any]) -> None:
    for name, values in constants.items():
        together = factors(kind(**{name: values}))
        assert together.shape == (N, 3)
        for k in range(3):
            np.testing.assert_array_equal(together[:, [k]], factors(kind(**{name: values[k]})))
            np.testing.assert_array_equal(factors(kind(**{name: values}), N - 1), together[N - 1 :])


def test_each_member_adapts_by_its_own_constants() -> None:
    constants = {
        "factor": (0.5, 0.2, 0.9),
        "patience": (1, 3, 5),
        "min_change": (0.0, 0.01, 0.1),
        "lowest": (0.01, 0.0, 0.5),
    }
    rule = Adaptive(**constants)
    assert factors(rule.begin()).shape == (N, 3)
    curves = [losses(k) for k in range(3)]
    together = adapted(rule, "loss", np.transpose(curves).tolist())
    for k in range(3):
        of_member = Adaptive(**{name: values[k] for name, values in constants.items()})
        alone = adapted(of_member, "loss", curves[k])
        np.testing.assert_array_equal([row[k : k + 1] for row in together], alone)
        assert len(set(np.ravel(alone))) > 3


def test_members_adapt_apart_under_constants_they_share() -> None:
    rows = adapted(Adaptive(patience=1), "loss", [[1.0, 1.0], [1.0, 0.5], [0.5, 0.5]])
    np.testing.assert_array_equal(rows, [[1, 1], [0.2, 1], [0.2, 0.2]])


@pytest.mark.parametrize("name", SCHEDULES)
def test_epoch_by_epoch_is_as_at_once(name: str) -> None:
    rule = get_schedule(name).begin()
    epochs = [factors(rule, first, first + 13) for first in range(0, N, 13)]
    np.testing.assert_array_equal(np.concatenate(epochs), factors(rule))


@pytest.mark.parametrize("name", sorted({*SCHEDULES} - {"cosine"}))
def test_named_schedules_start_at_the_whole_rate_and_never_rise(name: str) -> None:
    of_run = factors(get_schedule(name))
    assert of_run[0] == 1
    assert (np.diff(of_run[:, 0]) <= 0).all()


@pytest.mark.parametrize("n", [99, 100, 101, 12_000])
def test_a_third_of_a_run_fits_in_it_three_times(n: int) -> None:
    of_run = factors(StepDecay(factor=0.5), end=n, n=n).round(9)
    levels, lengths = np.unique(of_run, return_counts=True)
    assert list(levels) == [0.25, 0.5, 1]
    assert list(lengths[1:]) == [-(-n // 3)] * 2


@pytest.mark.parametrize("n", [0, 1, 3])
@pytest.mark.parametrize("name", SCHEDULES)
def test_the_shortest_runs_have_factors_too(name: str, n: int) -> None:
    of_run = factors(get_schedule(name), end=n, n=n)
    assert of_run.shape == (n, 1)
    assert (of_run[:1] == 1).all()
    assert np.isfinite(of_run).all()


def test_a_run_may_be_shorter_than_its_warm_up() -> None:
    of_run = factors(Cosine(warm_up=10), end=5, n=5)
    np.testing.assert_allclose(of_run[:, 0], [0.1, 0.2, 0.3, 0.4, 0.5], rtol=1e-15)


def test_runs_do_not_share_what_they_remember() -> None:
    rule = Adaptive(patience=1)
    first, second = rule.begin(), rule.begin()
    for _ in range(2):
        first.observe({"loss": 1.0})
    later = first.begin()  # goes on from there
    later.observe({"loss": 1.0})
    rates = [factors(schedule, 0, 1).item() for schedule in (rule, second, first, later)]
    np.testing.assert_allclose(rates, [1, 1, 0.2, 0.04], rtol=1e-15)


def test_the_direction_is_known_for_losses_errors_and_our_metrics_alone() -> None:
    for name in ("loss", "validation_loss", "training_error"):
        assert adapted(Adaptive(name, patience=1), name, [1, 2])[1] == 0.2
    assert adapted(Adaptive("validation_f1", patience=1), "validation_f1", [1, 2])[1] == 1
    assert adapted(Adaptive("mine", patience=1, greater_is_better=True), "mine", [1, 2])[1] == 1
    with pytest.raises(ValueError, match="greater_is_better must be given for 'mine'"):
        Adaptive("mine")


DURATION = "must be a whole number of steps from 1, or a fraction of the run between 0 and 1, not "
DECAY = "must be a number above 0 and up to 1, not "
BAD = [
    *((StepDecay, "every", v, DURATION) for v in (0, -1, 1.0, 10.0, nan, True, "10", None)),
    (ExponentialDecay, "every", (0.5, 2.5), DURATION),
    *((StepDecay, "factor", v, DECAY) for v in (0, -0.1, 1.5, nan, True, None)),
    (ExponentialDecay, "factor", (0.5, 2), DECAY),
    *((Cosine, "warm_up", v, "must be a whole number of steps from 0, ") for v in (-1, 0.0, nan)),
    *((Cosine, "final", v, "must be a number from 0 to 1, not ") for v in (-0.1, 1.1, nan, True)),
    *((InverseScaling, "power", v, "must be a positive number, not ") for v in (0, -1, inf, nan)),
    (InverseScaling, "every", 0, DURATION),
    (Adaptive, "factor", 0.0, DECAY),
    (Adaptive, "lowest", 2, "must be a number from 0 to 1, not 2"),
    (Adaptive, "patience", 0, "must be a whole number of epochs from 1 "),
    (Adaptive, "min_change", -1, "must be a number from 0, not -1"),
    (Adaptive, "monitor", None, "must be the name of a column of the history, not None"),
    (Adaptive, "greater_is_better", 1, "must be True or False, not 1"),
    (StepDecay, "factor", (), "is empty"),
]


@pytest.mark.parametrize(("kind", "name", "value", "message"), BAD)
def test_impossible_constants_are_refused(kind: Any, name: str, value: Any, message: str) -> None:
    with pytest.raises(ValueError, match=f"{name} {message}"):
        kind(**{name: value})


def test_constants_have_as_many_values_as_each_other() -> None:
    with pytest.raises(ValueError, match="not 2 for every, 3 for factor"):
        StepDecay(every=(1, 2), factor=(0.1, 0.2, 0.3))
    with pytest.raises(ValueError, match="not 2 for factor, 3 for patience"):
        Adaptive(factor=(0.1, 0.2), patience=(1, 2, 3))


def test_a_schedule_is_rebuilt_from_its_repr() -> None:
    rules = [kind(**constants) for kind, constants in MEMBERS.values()]
    for rule in [*SCHEDULES.values(), *rules, Adaptive("score", greater_is_better=True)]:
        assert eval(repr(rule)) == rule
    array = StepDecay(every=np.asarray([3, 4]), factor=[np.float64(0.5), 0.25])
    assert repr(array) == "StepDecay(every=(3, 4), factor=(0.5, 0.25))"


def test_a_schedule_stands_for_itself() -> None:
    assert get_schedule(rule := replace(Cosine(), final=0.2)) is rule


def test_ones_own_schedule_needs_factors_alone() -> None:
    class Late(Schedule):
        def factors(self, steps: HostArray, n_steps: int) -> HostArray:
            return np.where(steps < n_steps / 2, 0.0, 1.0)

    rule = get_schedule(Late()).begin()
    rule.observe({"loss": 1.0})
    assert factors(rule).sum() == N / 2
    with pytest.raises(NotImplementedError, match="Schedule must define factors"):
        factors(Schedule())


@pytest.mark.parametrize("name", ["cosin", EarlyStopping(), Cosine, None])
def test_an_unknown_name_is_refused(name: Any) -> None:
    with pytest.raises(ValueError, match=r"unknown schedule .*There is adaptive, constant, cosine"):
        get_schedule(name)

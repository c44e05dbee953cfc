"""The rates and constants of each step: by formulas in double precision, uploaded beforehand."""

from typing import Any

import numpy as np
import pytest

import problems
from arraymlp import Backend, MultilayerPerceptron, Settings
from arraymlp.nn.dropout import Dropout
from arraymlp.optimizers import SGD
from arraymlp.steps.hyper import Hyper, hyper_table, learning_rates
from arraymlp.steps.optimizers import Adam, AdamW, RMSProp
from arraymlp.steps.schedules import Cosine, StepDecay
from conftest import on_host
from runs import train

HostArray = np.ndarray[Any, Any]
SIZES = (problems.FEATURES, *problems.HIDDEN, problems.CLASSES)
STEPS = 4
SEEDS = (0, 1, 2)


def constants(
    settings: Settings,
    backend: Backend,
    rate: Any = 0.1,
    seen: Any = 0,
    position: int = 0,
    steps: int = STEPS,
) -> list[dict[str, Any]]:
    """Each step's entries by name; ``rate`` is one number, or (S, 1) or (S, K) of them."""
    network = MultilayerPerceptron.create(
        SIZES, seed=settings.seed, backend=backend, dtype=settings.dtype
    )
    rates = np.full((steps, 1), rate) if np.ndim(rate) == 0 else np.asarray(rate)
    return [flat(hyper) for hyper in hyper_table(settings, network, rates, seen, 3, position)]


def flat(hyper: Hyper) -> dict[str, Any]:
    """The entries that are on, by name, the optimiser's constants among them."""
    features = {name: value for name, value in hyper._asdict().items() if value is not None}
    return {**features.pop("optimizer")._asdict(), **features}


def test_constants_are_numbers_and_features_that_are_off_are_none(numpy_backend: Backend) -> None:
    settings = Settings(optimizer="momentum")
    assert constants(settings, numpy_backend) == [{"learning_rate": 0.1, "momentum": 0.9}] * STEPS
    for step in constants(settings, numpy_backend):
        assert {type(value) for value in step.values()} == {float}


def test_every_feature_has_its_entry(numpy_backend: Backend) -> None:
    settings = Settings(
        optimizer="sgd",
        l2=0.01,
        weight_decay=0.5,
        gradient_clip=2.0,
        label_smoothing=0.2,
        weight_average=0.6,
        dropout=0.5,
    )
    rate = [[0.1], [0.2], [0.3], [0.4]]
    for i, step in enumerate(constants(settings, numpy_backend, rate, seen=3)):
        assert [drop is None for drop in step.pop("dropout")] == [True, False, False]
        t = 3 + i + 1
        assert step == pytest.approx(
            {
                "learning_rate": rate[i][0],
                "momentum": 0.0,
                "l2": 0.01,
                "decay_factor": 1 - rate[i][0] * 0.5,
                "gradient_clip": 2.0,
                "label_smoothing": 0.2,
                "average_rate": 1 - min(0.6, (t - 1) / (t + 8)),
            },
            rel=1e-15,
        )
        assert {type(value) for value in step.values()} == {float}


def test_weights_decay_by_what_is_given_or_else_by_the_optimizers_own(
    numpy_backend: Backend,
) -> None:
    for settings, decay in (
        (Settings(optimizer="adamw"), 0.01),
        (Settings(optimizer=AdamW(weight_decay=0.3)), 0.3),
        (Settings(optimizer="adamw", weight_decay=0.2), 0.2),
        (Settings(optimizer="sgd", weight_decay=0.2), 0.2),
        (Settings(learning_rate=0.1), 5e-4 / 0.1),
        (Settings(learning_rate=0.1, weight_decay=0.2), 0.2),
    ):
        assert constants(settings, numpy_backend)[0]["decay_factor"] == 1 - 0.1 * decay
    assert (
        "decay_factor"
        not in constants(Settings(optimizer="adamw", weight_decay=0.0), numpy_backend)[0]
    )


@pytest.mark.parametrize("hat", [False, True])
def test_adams_bias_corrections_change_step_by_step(numpy_backend: Backend, hat: bool) -> None:
    rule = Adam(0.8, 0.99, 1e-3, epsilon_hat=hat)
    for i, step in enumerate(constants(Settings(optimizer=rule), numpy_backend, seen=10)):
        t = 11 + i
        root = (1 - 0.99**t) ** 0.5
        assert step == pytest.approx(
            {
                "rate": 0.1 * root / (1 - 0.8**t),
                "beta1": 0.8,
                "beta2": 0.99,
                "one_minus_beta1": 0.2,
                "one_minus_beta2": 0.01,
                "epsilon": 1e-3 if hat else 1e-3 * root,
            },
            rel=1e-13,
        )


# Of three members; of each one alone.
MEMBERS: dict[str, tuple[dict[str, Any], list[dict[str, Any]]]] = {
    "sgd": (
        {"optimizer": SGD(momentum=(0.0, 0.5, 0.9))},
        [{"optimizer": SGD(momentum=m)} for m in (0.0, 0.5, 0.9)],
    ),
    "adam": (
        {"optimizer": Adam((0.9, 0.8, 0.0), (0.999, 0.99, 0.9999), (1e-8, 1e-4, 1e-6))},
        [
            {"optimizer": Adam(*c)}
            for c in ((0.9, 0.999, 1e-8), (0.8, 0.99, 1e-4), (0.0, 0.9999, 1e-6))
        ],
    ),
    "rmsprop": (
        {"optimizer": RMSProp((0.99, 0.9, 0.999))},
        [{"optimizer": RMSProp(r)} for r in (0.99, 0.9, 0.999)],
    ),
    "the rest": (
        {
            "l2": (0.0, 0.1, 0.2),
            "weight_decay": (0.0, 0.7, 0.1),
            "gradient_clip": (1.0, float("inf"), 3.0),
            "label_smoothing": (0.0, 0.1, 0.3),
            "weight_average": (0.99, 0.1, 0.0),
        },
        [
            {"l2": a, "weight_decay": b, "gradient_clip": c, "label_smoothing": d}
            | {"weight_average": e}
            for a, b, c, d, e in (
                (0.0, 0.0, 1.0, 0.0, 0.99),
                (0.1, 0.7, float("inf"), 0.1, 0.1),
                (0.2, 0.1, 3.0, 0.3, 0.0),
            )
        ],
    ),
}
OFF = {"l2": 0, "decay_factor": 1, "label_smoothing": 0, "average_rate": 1}  # what does nothing


@pytest.mark.parametrize("rates_differ", [False, True])
@pytest.mark.parametrize("case", MEMBERS)
def test_each_member_has_the_constants_that_it_has_alone(
    backend: Backend, case: str, rates_differ: bool
) -> None:
    """To the last bit: 1 - beta2 is worked out in double precision for many as for one."""
    given, alone = MEMBERS[case]
    rate: Any = np.linspace(0.01, 0.1, STEPS * 3).reshape(STEPS, 3) if rates_differ else 0.1
    seen = np.asarray((0, 7, 30))
    together = constants(Settings(seed=SEEDS, **given), backend, rate, seen)
    for k, settings in enumerate(alone):
        own_rate = rate[:, k : k + 1] if rates_differ else rate
        steps = constants(Settings(**settings), backend, own_rate, seen[k])
        for of_all, of_member in zip(together, steps, strict=True):
            assert set(of_member) <= set(of_all)
            for name, value in of_all.items():
                if not isinstance(value, float):
                    assert (value.shape, value.dtype) == ((3, 1, 1), backend.dtype("float32"))
                    value = on_host(value)[k, 0, 0]
                most = float(np.finfo(np.float32).max)
                expected = of_member.get(name, OFF.get(name, most))  # a clip that is not reached
                assert np.float32(value) == np.float32(expected), name


def test_single_precision_has_all_digits_of_1_minus_beta2(quick_backend: Backend) -> None:
    rule = Adam(beta2=(0.999, 0.99, 0.9999))
    (step, *_) = constants(Settings(seed=SEEDS, optimizer=rule), quick_backend)
    uploaded = on_host(step["one_minus_beta2"]).ravel()
    expected = np.asarray([1 - 0.999, 1 - 0.99, 1 - 0.9999], np.float32)
    np.testing.assert_array_equal(uploaded, expected)
    assert uploaded[0] != np.float32(1) - np.float32(0.999)


@pytest.mark.parametrize("seed", [0, SEEDS], ids=["one", "population"])
def test_an_epochs_rest_has_the_constants_of_the_whole(numpy_backend: Backend, seed: Any) -> None:
    settings = Settings(seed=seed, dropout=Dropout(0.5, 0.1), optimizer="adam")
    rate = np.linspace(0.1, 0.2, 6).reshape(6, 1)
    whole = constants(settings, numpy_backend, rate, seen=5)
    rest = constants(settings, numpy_backend, rate[2:], seen=7, position=2)
    assert len(whole) == 6
    np.testing.assert_equal(rest, whole[2:])


def test_one_network_has_nothing_uploaded(
    backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = Settings(optimizer="adam", dropout=Dropout(0.5, 0.1), l2=0.1, weight_average=0.9)
    network = MultilayerPerceptron.create(SIZES, backend=backend)
    rate = learning_rates(settings, Cosine(), 0, STEPS, 2 * STEPS)
    monkeypatch.setattr(Backend, "asarray", None)
    assert len(list(hyper_table(settings, network, rate, 0, 0))) == STEPS


def test_a_population_has_everything_uploaded_before_the_first_step(
    backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = Settings(seed=SEEDS, optimizer=Adam(beta1=(0.9, 0.8, 0.7)), dropout=(0.5, 0.1, 0.0))
    network = MultilayerPerceptron.create(SIZES, seed=SEEDS, backend=backend)
    hyper = iter(hyper_table(settings, network, np.full((STEPS, 3), 0.1), 0, 0))
    monkeypatch.setattr(Backend, "asarray", None)
    assert len(list(hyper)) == STEPS


# Learning rates


def test_rates_are_the_schedules_factors_times_the_learning_rate() -> None:
    schedule = StepDecay(every=2, factor=0.5)
    shared = learning_rates(Settings(learning_rate=0.4), schedule, 1, 4, 100)
    np.testing.assert_array_equal(shared, [[0.4], [0.2], [0.2], [0.1]])
    each = Settings(learning_rate=(0.4, 0.8))
    rates = learning_rates(each, schedule, 1, 4, 100)
    np.testing.assert_array_equal(rates, [[0.4, 0.8], [0.2, 0.4], [0.2, 0.4], [0.1, 0.2]])
    rates = learning_rates(each, StepDecay(2, (0.5, 0.25)), 1, 2, 100)
    np.testing.assert_array_equal(rates, [[0.4, 0.8], [0.2, 0.2]])


@pytest.mark.parametrize("learning_rate", [0.4, (0.4, 0.8, 0.1)])
def test_a_schedule_counts_the_steps_of_the_whole_run(learning_rate: Any) -> None:
    run = train(
        epochs=4,
        seed=SEEDS,
        learning_rate=learning_rate,
        schedule=Cosine(warm_up=2, final=0.1),
        optimizer="sgd",
    )
    for epoch, rate in enumerate(run.history["learning_rate"]):
        last = 3 * epoch + 2  # of 12 steps, from 0
        factor = 0.1 + 0.9 * (1 + np.cos(np.pi * (last - 2) / 10)) / 2
        np.testing.assert_allclose(rate, factor * np.asarray(learning_rate), rtol=1e-14)


# What is refused


@pytest.mark.parametrize(
    ("rate", "decay"),
    [(0.5, 2.0), (0.5, 3.0), ((0.1, 0.5, 0.1), 2.0), (0.5, (0.1, 2.0, 0.0)), (2.0, (1.9, 0.0, 1))],
)
def test_a_decay_that_would_take_all_of_a_weight_is_refused(rate: Any, decay: Any) -> None:
    many = isinstance(rate, tuple) or isinstance(decay, tuple)
    with pytest.raises(ValueError, match=r"learning_rate .* times weight_decay .* must stay below"):
        train(learning_rate=rate, weight_decay=decay, seed=SEEDS if many else 0)


def test_a_decay_just_below_that_is_fine() -> None:
    assert len(train(learning_rate=0.5, weight_decay=1.99).history) == 2

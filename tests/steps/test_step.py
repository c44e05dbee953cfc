"""The parts of a step: nests of states, constants and features, and code that no GPU waits for."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

import arraymlp
from arraymlp import Backend
from arraymlp.nn import losses
from arraymlp.steps.update import tree_map
from runs import train

SOURCE = Path(arraymlp.__file__).parent


class Two(NamedTuple):
    a: Any
    b: Any


def test_a_nest_keeps_its_types() -> None:
    nest = [(Two(1, None), (2,)), ([3], None)]
    tenfold = tree_map(lambda a: 10 * a, nest)
    assert tenfold == [(Two(10, None), (20,)), ([30], None)]
    assert isinstance(tenfold[0][0], Two)
    assert tree_map(lambda a, b: a - b, tenfold, nest) == [(Two(9, None), (18,)), ([27], None)]


@dataclass(frozen=True)
class Milestones(arraymlp.schedules.Schedule):
    """A schedule of the user's own, whose tuple is not one value a member."""

    at: tuple[int, ...] = (2, 4, 5)

    def factors(self, steps: Any, n_steps: int) -> Any:
        return 0.5 ** np.searchsorted(self.at, steps, side="right")


@pytest.mark.parametrize("seed", [0, (0, 1)])
def test_a_schedule_of_ones_own_may_have_a_tuple(seed: Any) -> None:
    rates = train(schedule=Milestones(), seed=seed, learning_rate=0.8, epochs=2).history
    np.testing.assert_allclose(rates["learning_rate"][-1], 0.1)


class GreedyConstants(NamedTuple):
    """Constants of an optimiser of the user's own, one with the name of a feature of the step."""

    rate: Any
    l2: Any


class Greedy:
    """Gradient descent with a constant that it calls ``l2``."""

    def constants(self, learning_rate: Any, t: Any) -> GreedyConstants:
        return GreedyConstants(learning_rate, 0.5)

    def initial_state(self, parameter: Any, xp: Any) -> None:
        return None

    def update(
        self, parameter: Any, gradient: Any, state: None, constants: GreedyConstants, xp: Any
    ) -> tuple[Any, None]:
        assert constants.l2 == 0.5
        return parameter - constants.rate * gradient, None


@pytest.mark.parametrize("engine", ["auto", "array"])
def test_an_optimizers_constants_switch_no_features_on(engine: Any) -> None:
    greedy = train(optimizer=Greedy(), learning_rate=0.1, engine=engine).network
    plain = train(optimizer="sgd", learning_rate=0.1, engine=engine).network
    for a, b in zip(greedy.layers, plain.layers, strict=True):
        np.testing.assert_allclose(a.weights, b.weights, rtol=1e-12)


class NoTuple(Greedy):
    """An optimiser whose constants are no NamedTuple."""

    def constants(self, learning_rate: Any, t: Any) -> Any:
        return {"rate": learning_rate}


def test_an_optimizers_constants_must_be_a_named_tuple() -> None:
    with pytest.raises(ValueError, match="must give a NamedTuple"):
        train(optimizer=NoTuple())


DEVICE_CODE = [path for path in sorted(SOURCE.rglob("*.py")) if "xp." in path.read_text("utf-8")]


def test_no_function_is_used_that_cupy_waits_for() -> None:
    # array-api-compat's versions of these assign by a mask, or have data-dependent shapes.
    assert len(DEVICE_CODE) > 20
    for path in DEVICE_CODE:
        text = path.read_text(encoding="utf-8")
        assert not re.findall(r"xp\.(sign|clip|nonzero|unique\w*|argwhere)\b", text), path


@pytest.mark.parametrize(
    "loss", [losses.Huber((0.5, 1.0, 2.0)), losses.Quantile(((0.1, 0.5), (0.2, 0.5), (0.3, 0.9)))]
)
def test_a_loss_with_constants_keeps_no_arrays(backend: Backend, loss: losses.Loss) -> None:
    s = backend.asarray(np.zeros((3, 4, 2)), "float32")
    before = dict(vars(loss))
    first, _ = loss(s, backend.asarray(np.ones((4, 2 // loss.outputs_per_target)), "float32"))
    second, _ = loss(s, backend.asarray(np.ones((4, 2 // loss.outputs_per_target)), "float32"))
    np.testing.assert_array_equal(backend.to_numpy(first), backend.to_numpy(second))
    assert vars(loss) == before


@pytest.mark.parametrize("size", [1e37, 1e-42])
def test_weights_too_large_or_small_to_add_up_are_refused(size: float) -> None:
    with pytest.raises(ValueError, match="weigh by numbers nearer to 1"):
        train(sample_weight=np.full(24, size), dtype="float32")


def test_adams_kin_have_a_learning_rate_of_their_own() -> None:
    assert train(epochs=0, optimizer="adam").settings.learning_rate == 0.001
    assert train(epochs=0, optimizer="nesterov").settings.learning_rate == 0.05
    assert train(epochs=0, optimizer="adam", learning_rate=0.3).settings.learning_rate == 0.3


@pytest.mark.parametrize(
    "given",
    [
        {"learning_rate": [0.1]},
        {"dropout": [0.5]},
        {"optimizer": arraymlp.optimizers.Adam(beta1=[0.8])},
        {"schedule": arraymlp.schedules.Cosine(final=[0.1])},
        {"class_weight": ["balanced"]},
        {"early_stopping": arraymlp.EarlyStopping("loss", patience=[3])},
    ],
)
def test_a_population_of_one_may_have_lists_of_one(given: dict[str, Any]) -> None:
    run = train(seed=[0], **given)
    assert run.network.members == 1
    ((name, values),) = given.items()
    if isinstance(values, list):
        alone = train(**{name: values[0]})
        for a, b in zip(run.network.layers, alone.network.layers, strict=True):
            np.testing.assert_array_equal(a.weights[0], b.weights)


def test_float64_is_never_cut_short_in_silence() -> None:
    pytest.importorskip("jax")
    run = train(dtype="float64")
    for move in (
        lambda: arraymlp.train(network=run, backend="jax", epochs=1),
        lambda: run.network.to("jax"),
    ):
        with pytest.raises(ValueError, match=r"jax.* has no float64"):
            move()

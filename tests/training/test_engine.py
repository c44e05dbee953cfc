"""Who does the steps: an engine, or the array code that is the definition."""

import logging
import pickle
import sys
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

import arraymlp
from arraymlp import Backend, Layer, MultilayerPerceptron
from arraymlp.training.engine import choose_engine
from numpy_engine import numpy_engine
from runs import X, Y, parameters, train, train_on

CALLS: list[str] = []


class CountedLayer(Layer):
    """A layer that notes which of its methods are called."""

    def forward(self, x: Any, xp: Any = None) -> Any:
        CALLS.append("forward")
        return super().forward(x, xp)

    def backward_activation(self, s: Any, z: Any, dz: Any, xp: Any = None) -> Any:
        CALLS.append("backward_activation")
        return super().backward_activation(s, z, dz, xp)

    def backward_parameters(self, x: Any, ds: Any, xp: Any = None) -> Any:
        CALLS.append("backward_parameters")
        return super().backward_parameters(x, ds, xp)

    def backward_input(self, ds: Any, xp: Any = None) -> Any:
        CALLS.append("backward_input")
        return super().backward_input(ds, xp)


@dataclass
class ScaledLayer(Layer):
    """A layer with a field of its own: its sums are multiplied by a factor."""

    factor: float = 0.5

    def forward(self, x: Any, xp: Any = None) -> Any:
        s, _ = super().forward(x, xp)
        s = s * self.factor
        return s, self.activation.function(s, xp)

    def backward_parameters(self, x: Any, ds: Any, xp: Any = None) -> Any:
        return super().backward_parameters(x, ds * self.factor, xp)

    def backward_input(self, ds: Any, xp: Any = None) -> Any:
        return super().backward_input(ds * self.factor, xp)


def network_of(kind: type[Layer], backend: str | Backend = "numpy") -> MultilayerPerceptron:
    """A small network whose hidden layers are of a class."""
    network = MultilayerPerceptron.create([4, 6, 5, 3], dtype="float64", backend=backend)
    layers = [kind(a.weights, a.bias, a.activation) for a in network.layers[:-1]]
    return MultilayerPerceptron([*layers, network.layers[-1]], network.loss, network.classes)


@pytest.fixture
def calls() -> list[str]:
    CALLS.clear()
    return CALLS


@pytest.mark.parametrize("engine", ["auto", "array"])
def test_a_layer_of_ones_own_is_trained_by_its_methods(calls: list[str], engine: Any) -> None:
    run = train(network=network_of(CountedLayer), engine=engine, epochs=1)
    assert [type(layer) for layer in run.network.layers] == [CountedLayer, CountedLayer, Layer]
    steps, tried = run.steps_done, 2  # each layer once, before the training
    assert calls.count("forward") == 2 * steps + tried
    assert calls.count("backward_activation") == 2 * steps + tried
    assert calls.count("backward_parameters") == 2 * steps + tried
    assert calls.count("backward_input") == steps + 1  # never for the gradient of the data


def test_the_log_says_why_no_engine_was_taken(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "arraymlp"):
        run = train(network=network_of(CountedLayer), epochs=1)
    reason = (
        "Layer CountedLayer has its own "
        "forward, backward_activation, backward_parameters, backward_input"
    )
    assert (run.engine, run.engine_reason) == ("array", reason)
    assert f"engine: array ({reason})" in caplog.messages


def test_the_run_names_the_engine_that_did_the_steps(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "arraymlp"):
        run = train(epochs=1)
    assert run.engine == numpy_engine()
    assert bool(run.engine_reason) == (run.engine == "array")
    assert any(m.startswith(f"engine: {numpy_engine()}") for m in caplog.messages)
    assert f"engine {numpy_engine()}" in repr(run)


def test_the_array_code_is_taken_where_it_is_asked_for() -> None:
    run = train(epochs=1, engine="array")
    assert (run.engine, run.engine_reason) == ("array", 'engine="array"')
    assert "engine array" in repr(run)


def test_a_backend_without_an_engine_says_so(strict_backend: Backend) -> None:
    run = train_on(strict_backend, epochs=1)
    assert (run.engine, run.engine_reason) == ("array", "there is no engine for array_api_strict")


def test_without_the_engines_the_array_code_trains(monkeypatch: pytest.MonkeyPatch) -> None:
    # As if src/arraymlp/engines were not there.
    for name in [name for name in sys.modules if name.startswith("arraymlp.engines")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "arraymlp.engines", None)
    run = train(epochs=2)
    assert run.engine == "array"
    assert "arraymlp.engines" in run.engine_reason
    assert "not installed" in run.engine_reason
    monkeypatch.undo()
    by_array = train(epochs=2, engine="array")
    for a, b in zip(parameters(run.network), parameters(by_array.network), strict=True):
        np.testing.assert_array_equal(a, b)


class NetworkOfOnesOwn(MultilayerPerceptron):
    """A network that goes backward its own way."""

    def backward(self, caches: Any, delta: Any, xp: Any = None) -> Any:
        return super().backward(caches, 0 * delta, xp)


def test_a_network_of_ones_own_is_trained_by_its_methods() -> None:
    plain = MultilayerPerceptron.create([4, 6, 3], dtype="float64")
    own = NetworkOfOnesOwn(plain.layers, plain.loss, plain.classes)
    run = train(network=own, optimizer="sgd", epochs=1)
    assert type(run.network) is NetworkOfOnesOwn
    assert run.engine_reason == "Network NetworkOfOnesOwn has its own backward"
    for a, b in zip(parameters(run.network), parameters(plain), strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_subclass_that_overrides_nothing_is_trained_by_the_engine() -> None:
    class Named(Layer):
        pass

    assert choose_engine(network_of(Named)).name == numpy_engine()


def test_a_method_of_one_layer_alone_counts() -> None:
    network = network_of(Layer)
    called: list[int] = []
    layer, forward = network.layers[1], network.layers[1].forward

    def noted(x: Any, xp: Any = None) -> Any:
        called.append(1)
        return forward(x, xp)

    layer.forward = noted  # type: ignore[method-assign]
    run = train(network=network, epochs=1)
    assert run.engine_reason == "Layer Layer has its own forward"
    assert len(called) == run.steps_done


def test_a_sweeps_runs_name_the_engine() -> None:
    by_default, by_array = (
        arraymlp.sweep(
            X, Y, hidden=(5,), batch_size=8, epochs=1, seed=[0, 1], backend="numpy", **given
        )
        for given in ({}, {"engine": "array"})
    )
    assert by_default.run(1).engine == numpy_engine()
    assert (by_array.run(1).engine, by_array.run(1).engine_reason) == ("array", 'engine="array"')


COPIES = {
    "copy": lambda network: network.copy(),
    "to": lambda network: network.to("numpy"),
    "deepcopy": deepcopy,
    "pickle": lambda network: pickle.loads(pickle.dumps(network)),
    "a run": lambda network: train(network=network, epochs=0).network,
}


@pytest.mark.parametrize("copied", COPIES.values(), ids=COPIES)
def test_a_layer_of_ones_own_keeps_its_class_and_its_fields(copied: Any) -> None:
    network = network_of(ScaledLayer)
    for layer in network.layers[:-1]:
        layer.factor = 0.25  # type: ignore[attr-defined]
    twin = copied(network)
    assert [getattr(layer, "factor", None) for layer in twin.layers] == [0.25, 0.25, None]
    np.testing.assert_array_equal(twin.predict_proba(X), network.predict_proba(X))


def test_a_layer_of_ones_own_goes_to_another_backend(quick_backend: Backend) -> None:
    network = network_of(ScaledLayer)
    moved = network.to(quick_backend)
    assert [type(layer) for layer in moved.layers] == [ScaledLayer, ScaledLayer, Layer]
    np.testing.assert_allclose(moved.predict_proba(X), network.predict_proba(X), rtol=1e-12)


def test_the_gradients_of_a_layer_of_ones_own_are_used() -> None:
    run = train(network=network_of(ScaledLayer), optimizer="sgd", learning_rate=0.5, epochs=40)
    assert run.history["loss"][-1] < 0.5 * run.history["loss"][0]


def test_a_layer_of_ones_own_is_not_saved(tmp_path: Any) -> None:
    with pytest.raises(ValueError, match="a ScaledLayer is not of this package"):
        arraymlp.save(network_of(ScaledLayer), tmp_path / "model.safetensors")


def test_classes_are_those_of_the_data() -> None:
    assert np.array_equal(train(epochs=0).network.classes, np.unique(Y))

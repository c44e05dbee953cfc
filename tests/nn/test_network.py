"""The network: backpropagation against finite differences, members, and what predictions mean."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import arraymlp
from arraymlp import Backend, MultilayerPerceptron, resolve
from arraymlp.initializers import normal
from arraymlp.data.data import row_blocks
from arraymlp.data.inputs import targets
from arraymlp.data.blocks import BYTES_AT_ONCE, ROWS_AT_ONCE
from arraymlp.data.stream import stream
from arraymlp.nn.activations import ACTIVATIONS
from arraymlp.nn.losses import LOSSES, Huber, Quantile, smoothed
from arraymlp.training.evaluation import evaluate
from conftest import assert_same, on_host
from gradcheck import backward_gradients, max_relative_error

NUMPY = resolve("numpy")
ROWS = np.random.default_rng(40).normal(size=(5, 3))
TARGETS = {
    "softmax_cross_entropy": np.asarray([0, 1, 1, 0, 1], np.int32),
    "binary_cross_entropy": np.random.default_rng(41).integers(0, 2, (5, 2)).astype(float),
    "squared_error": np.random.default_rng(42).normal(size=(5, 2)),
    "absolute_error": np.random.default_rng(42).normal(size=(5, 2)),
    "huber": np.random.default_rng(42).normal(size=(5, 2)),
    "poisson": np.random.default_rng(45).poisson(1.0, size=(5, 2)).astype(float),
    "quantile": np.random.default_rng(42).normal(size=(5, 2)),
}
CAPPED = ("softmax_cross_entropy", "binary_cross_entropy")
TARGETS |= {f"capped_{name}": TARGETS[name] for name in CAPPED}
EVERY_LOSS = pytest.mark.parametrize("loss", sorted(LOSSES))


def network_of(sizes: tuple[int, ...], **more: Any) -> MultilayerPerceptron:
    """A small network whose biases are not zero either."""
    settings = {"initializer": normal(0.7), "dtype": "float64", "backend": NUMPY, **more}
    return MultilayerPerceptron.create(sizes, **settings)


def sizes_for(loss: str, *sizes: int) -> tuple[int, ...]:
    """The widths, and the outputs that two columns of targets need."""
    return (*sizes, 2 * LOSSES[loss].outputs_per_target)


def target(loss: str, backend: Backend, dtype: str = "float64") -> Any:
    y = TARGETS[loss]
    return backend.asarray(y, "int32" if y.dtype == np.int32 else dtype)


class TestGradients:
    @EVERY_LOSS
    @pytest.mark.parametrize("hidden", [(4,), (4, 3), (4, 3, 4)], ids=len)
    @pytest.mark.parametrize("activation", sorted(ACTIVATIONS))
    def test_backward_is_the_numeric_gradient(
        self, activation: str, hidden: tuple[int, ...], loss: str
    ) -> None:
        sizes = sizes_for(loss, 3, *hidden)
        network = network_of(sizes, activation=activation, loss=loss, seed=2)
        assert max_relative_error(network, ROWS, target(loss, NUMPY)) < 1e-6

    @EVERY_LOSS
    def test_backward_is_the_numeric_gradient_without_hidden_layers(self, loss: str) -> None:
        network = network_of(sizes_for(loss, 3), loss=loss)
        assert max_relative_error(network, ROWS, target(loss, NUMPY)) < 1e-6

    @EVERY_LOSS
    def test_backward_is_the_numeric_gradient_on_every_backend(
        self, backend: Backend, float64: str, loss: str
    ) -> None:
        sizes = sizes_for(loss, 3, 4)
        network = network_of(sizes, activation="tanh", loss=loss, backend=backend)
        x = backend.asarray(ROWS, float64)
        assert max_relative_error(network, x, target(loss, backend)) < 1e-6

    def test_backward_is_the_numeric_gradient_of_three_members(
        self, backend: Backend, float64: str
    ) -> None:
        network = network_of((3, 4, 2), activation="tanh", seed=[0, 1, 2], backend=backend)
        x = backend.asarray(ROWS, float64)
        y = target("softmax_cross_entropy", backend)
        assert max_relative_error(network, x, y) < 1e-6

    @pytest.mark.parametrize(
        "loss", [Huber((0.1, 1.0, 3.0)), Quantile(((0.1, 0.9), (0.3, 0.5), (0.5, 0.6)))], ids=str
    )
    def test_backward_is_the_numeric_gradient_of_three_members_with_parameters_of_their_own(
        self, backend: Backend, float64: str, loss: Any
    ) -> None:
        sizes = (3, 4, 2 * loss.outputs_per_target)
        network = network_of(sizes, activation="tanh", loss=loss, seed=[0, 1, 2], backend=backend)
        x, y = backend.asarray(ROWS, float64), target(loss.name, backend)
        assert max_relative_error(network, x, y) < 1e-6
        gradients = backward_gradients(network, x, y)
        for k in range(3):
            alone = backward_gradients(network.member(k), x, y)
            for ours, theirs in zip(gradients, alone, strict=True):
                np.testing.assert_allclose(ours[k], theirs, rtol=1e-12, atol=1e-14)

    @pytest.mark.parametrize("loss", ["softmax_cross_entropy", "binary_cross_entropy"])
    def test_backward_is_the_numeric_gradient_of_smoothed_targets(
        self, backend: Backend, float64: str, loss: str
    ) -> None:
        network = network_of((3, 4, 2), loss=loss, seed=[0, 1, 2], backend=backend)
        amount = backend.asarray(np.asarray([0.0, 0.1, 0.4])[:, None, None], float64)
        y = target(loss, backend)
        y = smoothed(y, 2, amount, network.loss, backend.xp, backend.dtype(float64))
        assert max_relative_error(network, backend.asarray(ROWS, float64), y) < 1e-6

    def test_gradients_have_the_parameters_kind(self, backend: Backend, dtype: str) -> None:
        network = network_of((3, 4, 2), seed=[0, 1, 2], backend=backend, dtype=dtype)
        x = backend.asarray(ROWS, dtype)
        passes = network.forward(x)
        _, delta = network.loss(passes[-1].z, target("softmax_cross_entropy", backend))
        for layer, of in zip(network.layers, network.backward(passes, delta), strict=True):
            assert_same(of.weights * 0, layer.weights * 0)
            assert_same(of.bias * 0, layer.bias * 0)

    def test_backward_changes_no_parameter(self, backend: Backend) -> None:
        network = network_of((3, 4, 2), backend=backend, dtype="float32")
        before = network.copy()
        x = backend.asarray(ROWS, "float32")
        passes = network.forward(x)
        _, delta = network.loss(passes[-1].z, target("softmax_cross_entropy", backend))
        network.backward(passes, delta)
        for layer, old in zip(network.layers, before.layers, strict=True):
            assert_same(layer.weights, old.weights)
            assert_same(layer.bias, old.bias)


class TestMembers:
    @EVERY_LOSS
    def test_three_members_are_three_networks(
        self, backend: Backend, float64: str, loss: str
    ) -> None:
        x, y = backend.asarray(ROWS, float64), target(loss, backend)
        sizes = sizes_for(loss, 3, 4)
        together = network_of(sizes, loss=loss, seed=[5, 6, 7], backend=backend)
        logits = together.forward(x)[-1].z
        gradients = backward_gradients(together, x, y)
        for k, seed in enumerate([5, 6, 7]):
            alone = network_of(sizes, loss=loss, seed=seed, backend=backend)
            # A batched product may sum in another order.
            assert_same(logits[k, :, :], alone.forward(x)[-1].z, rtol=1e-13, atol=1e-14)
            for ours, theirs in zip(gradients, backward_gradients(alone, x, y), strict=True):
                np.testing.assert_allclose(ours[k], theirs, rtol=1e-12, atol=1e-14)

    def test_member_is_that_network(self, backend: Backend) -> None:
        together = network_of((3, 4, 2), seed=[5, 6, 7], backend=backend, dtype="float32")
        last = network_of((3, 4, 2), seed=7, backend=backend, dtype="float32")
        for k in (2, -1):
            for ours, theirs in zip(together.member(k).layers, last.layers, strict=True):
                assert_same(ours.weights, theirs.weights)
                assert_same(ours.bias, theirs.bias)

    def test_member_out_of_range_is_an_index_error(self) -> None:
        with pytest.raises(IndexError, match=r"no member 3 in .* 3 x 3-2"):
            network_of((3, 2), seed=[0, 1, 2]).member(3)

    def test_one_network_has_no_members(self) -> None:
        with pytest.raises(IndexError, match="no member 0"):
            network_of((3, 2)).member(0)

    def test_a_population_of_one_keeps_its_axis(self) -> None:
        network = network_of((3, 2), seed=[4])
        assert network.members == 1
        assert network.logits(ROWS).shape == (1, 5, 2)

    def test_predictions_have_a_row_of_samples_for_each_member(self, backend: Backend) -> None:
        together = network_of((3, 4, 2), seed=[5, 6, 7], backend=backend, dtype="float32")
        labels, probabilities = together.predict(ROWS), together.predict_proba(ROWS)
        assert (labels.shape, probabilities.shape) == ((3, 5), (3, 5, 2))
        for k in range(3):
            np.testing.assert_array_equal(labels[k], together.member(k).predict(ROWS))


class TestShapes:
    @given(
        sizes=st.lists(st.integers(1, 5), min_size=2, max_size=5),
        batch=st.integers(1, 6),
        members=st.none() | st.integers(1, 3),
        loss=st.sampled_from(sorted(LOSSES)),
        data=st.data(),
    )
    @settings(max_examples=60, deadline=None)
    def test_any_sizes_go_forward_and_back(
        self, sizes: list[int], batch: int, members: int | None, loss: str, data: st.DataObject
    ) -> None:
        seed = 0 if members is None else list(range(members))
        leading = () if members is None else (members,)
        columns = sizes[-1]
        sizes[-1] *= LOSSES[loss].outputs_per_target
        network = network_of(tuple(sizes), loss=loss, seed=seed)
        x = np.random.default_rng(43).normal(size=(batch, sizes[0]))
        y: Any = np.zeros((batch, columns))
        if loss == "softmax_cross_entropy":
            y = np.full(batch, data.draw(st.integers(0, sizes[-1] - 1)))
        passes = network.forward(x)
        value, delta = network.loss(passes[-1].z, y)
        assert value.shape == (*leading, batch)
        assert [p.z.shape for p in passes] == [(*leading, batch, n) for n in sizes[1:]]
        gradients = network.backward(passes, delta)
        assert [g.weights.shape for g in gradients] == [a.weights.shape for a in network.layers]
        assert [g.bias.shape for g in gradients] == [(*leading, 1, n) for n in sizes[1:]]
        for k in range(members or 0):
            alone = backward_gradients(network.member(k), x, y)
            for ours, theirs in zip(backward_gradients(network, x, y), alone, strict=True):
                np.testing.assert_allclose(ours[k], theirs, rtol=1e-11, atol=1e-13)

    @given(n=st.sampled_from([1, 4095, 4096, 4097, 9000]))
    @settings(max_examples=5, deadline=None)
    def test_any_number_of_rows_is_predicted_in_order(self, n: int) -> None:
        X = np.random.default_rng(44).normal(size=(n, 3))
        network = network_of((3, 2), seed=[0, 1])
        layer = network.layers[0]
        # The rows of a product may be summed in another order in another block.
        np.testing.assert_allclose(
            network.logits(X), X @ layer.weights + layer.bias, rtol=1e-13, atol=1e-14
        )

    def test_many_rows_are_predicted_on_a_device(self, quick_backend: Backend) -> None:
        X = np.random.default_rng(44).normal(size=(4100, 3)).astype(np.float32)
        network = network_of((3, 2), seed=[0, 1], backend=quick_backend, dtype="float32")
        parts = [network.logits(X[:4096]), network.logits(X[4096:])]
        whole = network.logits(quick_backend.asarray(X))
        np.testing.assert_allclose(
            on_host(whole), np.concatenate(parts, axis=1), rtol=1e-6, atol=1e-6
        )

    @pytest.mark.parametrize("sizes", [(3,), (3, 0, 2), (3, 2.0), (3, -1)])
    def test_impossible_sizes_are_refused(self, sizes: tuple[int, ...]) -> None:
        with pytest.raises(ValueError, match=r"needs inputs and outputs|positive integer"):
            network_of(sizes)

    def test_each_hidden_layer_may_have_its_own_activation(self) -> None:
        given = ("tanh", ACTIVATIONS["relu"])
        network = network_of((3, 4, 5, 2), activation=given, initializer="auto")
        names = [layer.activation.name for layer in network.layers]
        assert names == ["tanh", "relu", "identity"]
        assert np.abs(network.layers[0].weights).max() <= np.sqrt(6 / 7)  # Glorot's bound
        for i, name in enumerate(names[:2]):
            alone = network_of((3, 4, 5, 2), activation=name, initializer="auto").layers[i]
            np.testing.assert_array_equal(network.layers[i].weights, alone.weights)

    @pytest.mark.parametrize(("n", "sizes"), [(1, (3, 4, 4, 2)), (3, (3, 4, 4, 2)), (1, (3, 2))])
    def test_as_many_activations_as_hidden_layers(self, n: int, sizes: tuple[int, ...]) -> None:
        hidden = len(sizes) - 2
        with pytest.raises(ValueError, match=f"has {n} values, but there are {hidden} hidden"):
            network_of(sizes, activation=["relu"] * n)

    @pytest.mark.parametrize("given", ["rleu", ["relu", "rleu"]])
    def test_unknown_activations_are_refused(self, given: Any) -> None:
        with pytest.raises(ValueError, match="did you mean 'relu'"):
            network_of((3, 4, 4, 2), activation=given)

    def test_a_loss_fits_outputs_and_members(self) -> None:
        with pytest.raises(ValueError, match="has 3 outputs a target, but there are 2"):
            network_of((3, 4, 2), loss="quantile")
        with pytest.raises(ValueError, match="has 2 values, but one network: give as many seeds"):
            network_of((3, 4, 2), loss=Huber((1.0, 2.0)))


class TestPredictions:
    @pytest.mark.parametrize("method", ["logits", "predict", "predict_proba"])
    def test_host_in_host_out(self, backend: Backend, method: str) -> None:
        network = network_of((3, 4, 2), backend=backend, dtype="float32")
        assert type(getattr(network, method)(ROWS)) is np.ndarray
        assert type(getattr(network, method)(ROWS.tolist())) is np.ndarray

    @pytest.mark.parametrize("method", ["logits", "predict", "predict_proba"])
    def test_device_in_device_out_with_the_same_values(self, backend: Backend, method: str) -> None:
        network = network_of((3, 4, 2), backend=backend, dtype="float32")
        found = getattr(network, method)(backend.asarray(ROWS, "float32"))
        backend.require(found)
        np.testing.assert_array_equal(on_host(found), getattr(network, method)(ROWS))

    def test_an_array_of_another_device_is_refused_with_both_names(self, backend: Backend) -> None:
        elsewhere = resolve("array_api_strict", "device2").asarray(ROWS, "float32")
        network = network_of((3, 2), backend=backend, dtype="float32")
        expected = rf"X is on array_api_strict, device device2, but {backend.name}, device .* was"
        with pytest.raises(ValueError, match=expected):
            network.predict(elsewhere)

    def test_another_width_is_refused(self, backend: Backend) -> None:
        network = network_of((3, 2), backend=backend, dtype="float32")
        with pytest.raises(ValueError, match="X has 2 features, but 3 are expected"):
            network.predict(ROWS[:, :2])

    def test_labels_need_not_be_contiguous(self, backend: Backend) -> None:
        classes = np.asarray([3, 7, 20])
        network = network_of((3, 3), classes=classes, backend=backend, dtype="float32")
        expected = classes[np.argmax(network.logits(ROWS), axis=1)]
        assert len(set(expected)) > 1
        np.testing.assert_array_equal(network.predict(ROWS), expected)
        on_device = network.predict(backend.asarray(ROWS, "float32"))
        np.testing.assert_array_equal(on_host(on_device), expected)

    def test_new_labels_count_from_zero(self) -> None:
        np.testing.assert_array_equal(network_of((3, 4)).classes, [0, 1, 2, 3])

    def test_probabilities_are_softmax_of_the_logits(self, backend: Backend) -> None:
        network = network_of((3, 4, 2), backend=backend, dtype="float32")
        e = np.exp(network.logits(ROWS).astype(float))
        np.testing.assert_allclose(
            network.predict_proba(ROWS), e / e.sum(axis=1, keepdims=True), rtol=1e-6
        )

    def test_a_single_output_with_classes_gives_two_columns(self, backend: Backend) -> None:
        network = network_of(
            (3, 4, 1),
            loss="binary_cross_entropy",
            classes=np.asarray([4, 9]),
            seed=1,
            backend=backend,
            dtype="float32",
        )
        logits = network.logits(ROWS)[:, 0].astype(float)
        p = 1 / (1 + np.exp(-logits))
        assert (logits > 0).any()
        assert (logits < 0).any()
        np.testing.assert_allclose(
            network.predict_proba(ROWS), np.stack([1 - p, p], axis=1), rtol=1e-6
        )
        np.testing.assert_array_equal(network.predict(ROWS), np.where(logits > 0, 9, 4))

    def test_multi_label_gives_a_decision_for_each_column(self, backend: Backend) -> None:
        network = network_of(
            (3, 4, 2), loss="binary_cross_entropy", backend=backend, dtype="float32"
        )
        logits = network.logits(ROWS).astype(float)
        decided = network.predict(ROWS)
        np.testing.assert_array_equal(decided, (logits > 0).astype(int))
        assert set(np.unique(decided)) == {0, 1}
        np.testing.assert_allclose(network.predict_proba(ROWS), 1 / (1 + np.exp(-logits)), 1e-6)

    def test_regression_gives_the_outputs(self, backend: Backend) -> None:
        network = network_of((3, 4, 2), loss="squared_error", backend=backend, dtype="float32")
        np.testing.assert_array_equal(network.predict(ROWS), network.logits(ROWS))

    def test_regression_with_one_output_gives_one_number_a_sample(self, backend: Backend) -> None:
        network = network_of((3, 4, 1), loss="squared_error", backend=backend, dtype="float32")
        np.testing.assert_array_equal(network.predict(ROWS), network.logits(ROWS)[:, 0])

    @pytest.mark.parametrize("outputs", [1, 2])
    def test_poisson_gives_rates(self, backend: Backend, outputs: int) -> None:
        network = network_of((3, 4, outputs), loss="poisson", backend=backend, dtype="float32")
        rates = np.exp(network.logits(ROWS).astype(float))
        rates = rates[:, 0] if outputs == 1 else rates
        np.testing.assert_allclose(network.predict(ROWS), rates, rtol=1e-6)

    @pytest.mark.parametrize("loss", ["absolute_error", "huber"])
    def test_robust_regression_gives_the_outputs(self, loss: str) -> None:
        network = network_of((3, 4, 2), loss=loss)
        np.testing.assert_array_equal(network.predict(ROWS), network.logits(ROWS))

    @pytest.mark.parametrize(
        ("levels", "outputs", "shape"),
        [
            ((0.1, 0.5, 0.9), 3, (5, 3)),
            ((0.1, 0.5, 0.9), 6, (5, 2, 3)),
            ((0.5,), 1, (5,)),
            ((0.5,), 2, (5, 2)),
        ],
    )
    @pytest.mark.parametrize("seed", [0, [0, 1]], ids=["one", "members"])
    def test_quantiles_are_the_last_axis(
        self,
        backend: Backend,
        levels: tuple[float, ...],
        outputs: int,
        shape: tuple[int, ...],
        seed: Any,
    ) -> None:
        network = network_of(
            (3, 4, outputs), loss=Quantile(levels), seed=seed, backend=backend, dtype="float32"
        )
        shape = shape if seed == 0 else (2, *shape)
        expected = network.logits(ROWS).reshape(shape)
        if len(levels) > 1:
            expected = np.sort(expected, axis=-1)
            assert (expected != network.logits(ROWS).reshape(shape)).any()
        np.testing.assert_array_equal(network.predict(ROWS), expected)
        on_device = network.predict(backend.asarray(ROWS, "float32"))
        np.testing.assert_array_equal(on_host(on_device), expected)

    def test_regression_has_no_probabilities(self) -> None:
        network = network_of((3, 1), loss="squared_error")
        with pytest.raises(ValueError, match="trained on squared_error predicts no probabilities"):
            network.predict_proba(ROWS)

    def test_read_only_rows_are_predicted(self, backend: Backend) -> None:
        network = network_of((3, 2), backend=backend, dtype="float32")
        X = ROWS.astype(np.float32)
        X.flags.writeable = False
        np.testing.assert_array_equal(network.predict(X), network.predict(ROWS))


def with_changed_parameters(network: MultilayerPerceptron) -> None:
    for layer in network.layers:
        layer.weights *= 2
        layer.bias += 1


class TestCopies:
    def test_copy_is_independent(self, backend: Backend) -> None:
        network = network_of((3, 4, 2), backend=backend, dtype="float32")
        copy = network.copy()
        before = network.logits(ROWS)
        np.testing.assert_array_equal(copy.logits(ROWS), before)
        with_changed_parameters(copy)
        np.testing.assert_array_equal(network.logits(ROWS), before)

    def test_member_is_independent(self, backend: Backend) -> None:
        network = network_of((3, 4, 2), seed=[0, 1], backend=backend, dtype="float32")
        before = network.logits(ROWS)
        with_changed_parameters(network.member(0))
        np.testing.assert_array_equal(network.logits(ROWS), before)

    def test_to_another_backend_and_back_is_the_same_network(
        self, backend: Backend, dtype: str
    ) -> None:
        network = network_of((3, 4, 2), backend=backend, dtype=dtype)
        there = network.to(NUMPY)
        assert there.backend == NUMPY
        back = there.to(backend)
        for ours, theirs in zip(back.layers, network.layers, strict=True):
            assert_same(ours.weights, theirs.weights)
            assert_same(ours.bias, theirs.bias)
        np.testing.assert_array_equal(back.classes, network.classes)

    def test_to_is_independent_even_where_it_stays(self, backend: Backend) -> None:
        network = network_of((3, 4, 2), backend=backend, dtype="float32")
        before = network.logits(ROWS)
        for backend in (backend, NUMPY):
            with_changed_parameters(network.to(backend))
        np.testing.assert_array_equal(network.logits(ROWS), before)


class TestWords:
    def test_repr_says_what_it_is_and_where(self, backend: Backend) -> None:
        network = network_of((3, 4, 5, 2), seed=[0, 1], backend=backend, dtype="float32")
        assert repr(network) == (
            f"<MultilayerPerceptron 2 x 3-4-5-2 relu, softmax_cross_entropy, float32, {backend}>"
        )

    def test_repr_names_every_activation_where_they_differ(self) -> None:
        network = network_of((3, 4, 5, 6, 2), activation=("relu", "tanh", "relu"))
        assert "3-4-5-6-2 relu, tanh, relu, softmax" in repr(network)

    def test_repr_of_a_linear_network(self) -> None:
        network = network_of((3, 2), loss="squared_error")
        assert repr(network).startswith("<MultilayerPerceptron 3-2 linear, squared_error, float64,")

    def test_repr_of_a_layer(self) -> None:
        assert repr(network_of((3, 4, 2)).layers[0]) == "Layer(3 -> 4, relu)"

    def test_parameters_are_counted_for_one_member(self) -> None:
        assert network_of((3, 4, 2), seed=[0, 1, 2]).n_parameters == (3 + 1) * 4 + (4 + 1) * 2


class TestRowsAtOnce:
    @pytest.mark.parametrize("k", [None, 3])
    def test_on_a_processor_they_are_always_the_same(self, backend: Backend, k: int | None) -> None:
        network = network_of((3, 4, 2), backend=backend, dtype="float32", seed=_seeds(k))
        if backend.is_accelerator:  # then as the next test has it
            units = 6 * (k or 1)
            assert network.rows_at_once == BYTES_AT_ONCE // (3 * units * 4)
        else:
            assert network.rows_at_once == ROWS_AT_ONCE == 1000

    @pytest.mark.parametrize(
        ("sizes", "k", "dtype", "numbers"),
        [
            ((784, 100, 100, 10), None, "float32", 210),
            ((784, 100, 100, 10), 5, "float32", 1050),
            ((784, 100, 100, 10), None, "float64", 420),
            ((7, 1), None, "float32", 1),
        ],
    )
    def test_on_a_gpu_all_values_stay_within_the_budget(
        self,
        monkeypatch: pytest.MonkeyPatch,
        sizes: tuple[int, ...],
        k: int | None,
        dtype: str,
        numbers: int,
    ) -> None:
        monkeypatch.setattr(Backend, "is_accelerator", True)
        found = network_of(sizes, dtype=dtype, seed=_seeds(k)).rows_at_once
        assert found == BYTES_AT_ONCE // (3 * 4 * numbers)

    def test_on_a_gpu_it_is_one_row_at_least(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(Backend, "is_accelerator", True)
        monkeypatch.setattr(arraymlp.nn.network, "BYTES_AT_ONCE", 10)
        assert network_of((3, 4, 2)).rows_at_once == 1

    @pytest.mark.parametrize("k", [None, 3])
    @pytest.mark.parametrize("sparse", [False, True])
    def test_any_number_predicts_and_evaluates_alike(
        self, monkeypatch: pytest.MonkeyPatch, backend: Backend, k: int | None, sparse: bool
    ) -> None:
        network = network_of((3, 4, 2), backend=backend, dtype="float32", seed=_seeds(k))
        X = np.random.default_rng(47).normal(size=(23, 3)).astype(np.float32)
        given = pytest.importorskip("scipy.sparse").csr_matrix(X) if sparse else X
        rows = stream(given, "float32") if sparse else backend.asarray(X)
        y = targets(np.arange(23) % 2, 23, backend, "float32", loss_name=network.loss)
        expected = network.logits(given), evaluate(network, rows, y, backend)
        monkeypatch.setattr(Backend, "is_accelerator", True)
        monkeypatch.setattr(arraymlp.nn.network, "BYTES_AT_ONCE", 5 * 3 * 6 * (k or 1) * 4)
        assert network.rows_at_once == 5
        assert [x.shape[0] for _, x in row_blocks(rows, network)] == [5, 5, 5, 5, 3]
        np.testing.assert_allclose(network.logits(given), expected[0], rtol=1e-5, atol=1e-6)
        found = evaluate(network, rows, y, backend)
        assert_same(found.loss, expected[1].loss, rtol=1e-6)
        assert_same(found.predicted, expected[1].predicted)


def _seeds(k: int | None) -> Any:
    return 0 if k is None else tuple(range(k))

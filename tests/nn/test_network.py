"""The network: backpropagation against finite differences, members, and what predictions mean."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arraymlp import Backend, Layer, MultilayerPerceptron, check_gradients, resolve
from arraymlp.backends.array import Array, Namespace
from arraymlp.initializers import normal
from arraymlp.nn.activations import ACTIVATIONS
from arraymlp.nn.losses import LOSSES, Huber, Quantile, smoothed
from arraymlp.nn.network import Network
from conftest import assert_same
from losses_by_hand import COLUMNS, LABELS
from problems import dtypes_of

NUMPY = resolve("numpy")
ROWS = np.random.default_rng(40).normal(size=(5, 3))
EVERY_LOSS = pytest.mark.parametrize("loss", sorted(LOSSES))


def network_of(sizes: tuple[int, ...], **more: Any) -> MultilayerPerceptron:
    """A small network whose biases are not zero either."""
    settings = {"initializer": normal(0.7), "dtype": "float64", "backend": NUMPY, **more}
    return MultilayerPerceptron.create(sizes, **settings)


def sizes_for(loss: str, *sizes: int) -> tuple[int, ...]:
    """The widths, and the outputs that two columns of targets need."""
    return (*sizes, 2 * LOSSES[loss].outputs_per_target)


def target(loss: str, backend: Backend, dtype: str = "float64") -> Any:
    """Labels of two classes, or two columns."""
    if LOSSES[loss].classifies == "one":
        return backend.asarray(LABELS % 2, "int32")
    return backend.asarray(COLUMNS[loss][:, :2], dtype)


def backward_gradients(network: MultilayerPerceptron, x: Array, y: Array) -> list[Any]:
    """dL/dW and dL/db of each layer by backpropagation, on the host."""
    passes = network.forward(x)
    _, delta = network.loss(passes[-1].z, y)
    to_numpy = network.backend.to_numpy
    return [to_numpy(a) for layer in network.backward(passes, delta) for a in layer]


class TestGradients:
    @pytest.mark.parametrize("hidden", [(4,), (4, 3), (4, 3, 4)], ids=len)
    @pytest.mark.parametrize("activation", sorted(ACTIVATIONS))
    def test_backward_is_the_numeric_gradient_for_every_activation(
        self, activation: str, hidden: tuple[int, ...]
    ) -> None:
        network = network_of((3, *hidden, 2), activation=activation, seed=2)
        check_gradients(network, ROWS, target("softmax_cross_entropy", NUMPY))

    @EVERY_LOSS
    @pytest.mark.parametrize("hidden", [(), (4,), (4, 3)], ids=len)
    def test_backward_is_the_numeric_gradient_for_every_loss(
        self, quick_backend: Backend, hidden: tuple[int, ...], loss: str
    ) -> None:
        sizes = sizes_for(loss, 3, *hidden)
        network = network_of(sizes, activation="tanh", loss=loss, seed=2, backend=quick_backend)
        x = quick_backend.asarray(ROWS, "float64")
        check_gradients(network, x, target(loss, quick_backend))

    def test_backward_is_the_numeric_gradient_of_three_members(
        self, quick_backend: Backend
    ) -> None:
        network = network_of((3, 4, 2), activation="tanh", seed=[0, 1, 2], backend=quick_backend)
        x = quick_backend.asarray(ROWS, "float64")
        y = target("softmax_cross_entropy", quick_backend)
        check_gradients(network, x, y)

    @pytest.mark.parametrize(
        "loss", [Huber((0.1, 1.0, 3.0)), Quantile(((0.1, 0.9), (0.3, 0.5), (0.5, 0.6)))], ids=str
    )
    def test_backward_is_the_numeric_gradient_of_three_members_with_parameters_of_their_own(
        self, quick_backend: Backend, loss: Any
    ) -> None:
        sizes = (3, 4, 2 * loss.outputs_per_target)
        given = {"activation": "tanh", "seed": [0, 1, 2], "backend": quick_backend}
        network = network_of(sizes, loss=loss, **given)
        x, y = quick_backend.asarray(ROWS, "float64"), target(loss.name, quick_backend)
        check_gradients(network, x, y)
        gradients = backward_gradients(network, x, y)
        for k in range(3):
            alone = backward_gradients(network.member(k), x, y)
            for ours, theirs in zip(gradients, alone, strict=True):
                np.testing.assert_allclose(ours[k], theirs, rtol=1e-12, atol=1e-14)

    @pytest.mark.parametrize("loss", ["softmax_cross_entropy", "binary_cross_entropy"])
    def test_backward_is_the_numeric_gradient_of_smoothed_targets(
        self, quick_backend: Backend, loss: str
    ) -> None:
        backend, xp = quick_backend, quick_backend.xp
        network = network_of((3, 4, 2), loss=loss, seed=[0, 1, 2], backend=backend)
        amount = backend.asarray(np.asarray([0.0, 0.1, 0.4])[:, None, None], "float64")
        y = target(loss, backend)
        y = smoothed(y, 2, amount, network.loss, xp, backend.dtype("float64"))
        check_gradients(network, ROWS, y)

    def test_gradients_have_the_parameters_kind(self, quick_backend: Backend) -> None:
        for dtype in dtypes_of(quick_backend):
            network = network_of((3, 4, 2), seed=[0, 1, 2], backend=quick_backend, dtype=dtype)
            x = quick_backend.asarray(ROWS, dtype)
            passes = network.forward(x)
            _, delta = network.loss(passes[-1].z, target("softmax_cross_entropy", quick_backend))
            for layer, of in zip(network.layers, network.backward(passes, delta), strict=True):
                assert_same(of.weights * 0, layer.weights * 0)
                assert_same(of.bias * 0, layer.bias * 0)

    def test_backward_changes_no_parameter(self, quick_backend: Backend) -> None:
        network = network_of((3, 4, 2), backend=quick_backend, dtype="float32")
        before = network.copy()
        x = quick_backend.asarray(ROWS, "float32")
        passes = network.forward(x)
        _, delta = network.loss(passes[-1].z, target("softmax_cross_entropy", quick_backend))
        network.backward(passes, delta)
        for layer, old in zip(network.layers, before.layers, strict=True):
            assert_same(layer.weights, old.weights)
            assert_same(layer.bias, old.bias)


class TestMembers:
    @EVERY_LOSS
    def test_three_members_are_three_networks(self, quick_backend: Backend, loss: str) -> None:
        backend = quick_backend
        x, y = backend.asarray(ROWS, "float64"), target(loss, backend)
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

    def test_predictions_have_a_row_of_samples_for_each_member(
        self, quick_backend: Backend
    ) -> None:
        together = network_of((3, 4, 2), seed=[5, 6, 7], backend=quick_backend, dtype="float32")
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
        for there in (backend, NUMPY):
            with_changed_parameters(network.to(there))
        np.testing.assert_array_equal(network.logits(ROWS), before)


@dataclass(repr=False)
class Scaled(Layer):
    """A layer of the user's own, with a method and an attribute of its own."""

    scale: float = 1.0

    def forward(self, x: Array, xp: Namespace | None = None) -> tuple[Array, Array]:
        s, z = super().forward(x, xp)
        return s, self.scale * z


class TestLayersOfOnesOwn:
    @pytest.mark.parametrize(
        ("made", "members"),
        [
            (lambda network, there: network.copy(), (0, 1, 2)),
            (lambda network, there: network.to(there), (0, 1, 2)),
            (lambda network, there: network.to(NUMPY), (0, 1, 2)),
            (lambda network, there: network.select_members([2, 0]), (2, 0)),
            (lambda network, there: network.slice_members(1, 3), (1, 2)),
            (lambda network, there: network.member(1), 1),
            (lambda network, there: type(network).stacked([network.member(2)] * 2), (2, 2)),
        ],
        ids=["copy", "to", "to NumPy", "select_members", "slice_members", "member", "stacked"],
    )
    def test_every_copy_keeps_class_attributes_and_methods(
        self, quick_backend: Backend, made: Callable[..., Network], members: Any
    ) -> None:
        network = network_of((3, 4, 2), seed=[5, 6, 7], backend=quick_backend, dtype="float32")
        hidden = network.layers[0]
        network.layers[0] = Scaled(hidden.weights, hidden.bias, hidden.activation, scale=3.0)
        expected = network.logits(ROWS)[np.asarray(members)]
        copy = made(network, quick_backend)
        layer = copy.layers[0]
        assert type(copy) is type(network)
        assert isinstance(layer, Scaled)
        assert layer.scale == 3.0
        assert layer is not network.layers[0]
        assert repr(layer) == "Scaled(3 -> 4, relu)"
        np.testing.assert_allclose(copy.logits(ROWS), expected, rtol=1e-5, atol=1e-6)
        network.layers[0].scale = 1.0
        assert layer.scale == 3.0


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


def test_names_of_activation_and_loss_will_do() -> None:
    layer = Layer(np.ones((3, 2)), np.ones((1, 2)), "identity")
    network = MultilayerPerceptron([layer], "squared_error")
    assert layer.activation is ACTIVATIONS["identity"]
    assert network.loss == LOSSES["squared_error"]
    with pytest.raises(ValueError, match=r"unknown activation 'relo'.*'relu'"):
        Layer(np.ones((3, 2)), np.ones((1, 2)), "relo")


def test_prediction_far_from_the_data_raises_nothing() -> None:
    network = network_of((3, 4, 2), dtype="float32")
    with np.errstate(all="raise"):
        p = network.predict_proba(1e6 * ROWS)
    assert ((p >= 0) & (p <= 1)).all()

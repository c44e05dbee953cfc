"""Initial weights: the spread that the papers ask for, and one seed for one network everywhere."""

from math import sqrt

import numpy as np
import pytest

from arraymlp import Backend, MultilayerPerceptron, resolve
from arraymlp.initializers import normal
from arraymlp.nn.activations import ACTIVATIONS
from arraymlp.nn.initializers import INITIALIZERS, Initializer, get_initializer
from conftest import assert_same

N_IN, N_OUT = 400, 300
# Standard deviation of a weight: He et al. 2015, eq. 10; Glorot, Bengio 2010, eq. 12 and 16.
SPREAD = {
    "he_normal": sqrt(2 / N_IN),
    "he_uniform": sqrt(2 / N_IN),
    "glorot_normal": sqrt(2 / (N_IN + N_OUT)),
    "glorot_uniform": sqrt(2 / (N_IN + N_OUT)),
}
EVERY = pytest.mark.parametrize("name", sorted(INITIALIZERS))
SIZES = (4, 6, 5, 3)


def drawn(name: str) -> tuple[np.ndarray, np.ndarray]:
    return get_initializer(name).draw(np.random.default_rng(0), N_IN, N_OUT)


def create(**settings: object) -> MultilayerPerceptron:
    return MultilayerPerceptron.create(SIZES, **{"backend": resolve("numpy"), **settings})


def assert_same_parameters(a: MultilayerPerceptron, b: MultilayerPerceptron) -> None:
    for ours, theirs in zip(a.layers, b.layers, strict=True):
        assert_same(ours.weights, theirs.weights)
        assert_same(ours.bias, theirs.bias)


class TestDraws:
    @EVERY
    def test_weights_have_the_published_spread(self, name: str) -> None:
        weights, _ = drawn(name)
        assert weights.shape == (N_IN, N_OUT)
        # Of 120,000 draws the standard deviation is known to 0.2 %, the mean to 0.3 % of it.
        assert weights.std() == pytest.approx(SPREAD[name], rel=0.01)
        assert abs(weights.mean()) < 0.015 * SPREAD[name]

    @pytest.mark.parametrize("name", ["he_uniform", "glorot_uniform"])
    def test_uniform_weights_fill_their_interval(self, name: str) -> None:
        weights, _ = drawn(name)
        bound = sqrt(3) * SPREAD[name]
        assert 0.999 * bound < weights.max() <= bound
        assert -bound <= weights.min() < -0.999 * bound

    @pytest.mark.parametrize("name", ["he_normal", "glorot_normal"])
    def test_normal_weights_have_tails(self, name: str) -> None:
        weights, _ = drawn(name)
        beyond = np.mean(np.abs(weights) > 2 * SPREAD[name])
        assert beyond == pytest.approx(0.0455, abs=0.003)  # 5 standard errors

    @EVERY
    def test_bias_is_zero(self, name: str) -> None:
        np.testing.assert_array_equal(drawn(name)[1], np.zeros((1, N_OUT)))

    def test_normal_draws_weights_and_bias_alike(self) -> None:
        weights, bias = normal(1e-4).draw(np.random.default_rng(0), N_OUT, N_IN * 100)
        assert weights.std() == pytest.approx(1e-4, rel=0.01)
        assert bias.shape == (1, N_IN * 100)
        assert bias.std() == pytest.approx(1e-4, rel=0.02)  # 40,000 draws: known to 0.4 %
        assert abs(bias.mean()) < 2.5e-6

    @pytest.mark.parametrize("std", [0, -1, float("inf"), float("nan")])
    def test_normal_needs_a_positive_number(self, std: float) -> None:
        with pytest.raises(ValueError, match="std must be a positive number"):
            normal(std)


class TestSeeds:
    def test_a_seed_gives_the_same_network_again(self) -> None:
        assert_same_parameters(create(seed=3), create(seed=3))

    def test_another_seed_gives_another_network(self) -> None:
        assert (create(seed=3).layers[0].weights != create(seed=4).layers[0].weights).all()

    def test_layers_of_one_shape_are_drawn_apart(self) -> None:
        network = MultilayerPerceptron.create((4, 4, 4), backend=resolve("numpy"))
        assert (network.layers[0].weights != network.layers[1].weights).any()

    def test_the_first_layer_does_not_depend_on_the_others(self) -> None:
        deep, flat = create(), MultilayerPerceptron.create((4, 6, 3), backend=resolve("numpy"))
        assert_same(deep.layers[0].weights, flat.layers[0].weights)

    def test_every_backend_gets_the_same_bits(self, backend: Backend, dtype: str) -> None:
        here = create(backend=backend, dtype=dtype, initializer=normal(0.1))
        there = create(dtype=dtype, initializer=normal(0.1))
        for ours, theirs in zip(here.layers, there.layers, strict=True):
            assert_same(ours.weights, backend.asarray(theirs.weights))
            assert_same(ours.bias, backend.asarray(theirs.bias))

    def test_float32_is_float64_rounded(self) -> None:
        wide, narrow = create(dtype="float64"), create(dtype="float32")
        for ours, theirs in zip(narrow.layers, wide.layers, strict=True):
            assert_same(ours.weights, theirs.weights.astype(np.float32))

    def test_members_are_the_networks_of_their_seeds(self) -> None:
        together = create(seed=[7, 3, 5], initializer=normal(0.1))
        for k, seed in enumerate([7, 3, 5]):
            assert_same_parameters(together.member(k), create(seed=seed, initializer=normal(0.1)))

    def test_numpy_integers_are_seeds(self) -> None:
        assert_same_parameters(create(seed=np.int64(3)), create(seed=3))


class TestNames:
    @pytest.mark.parametrize("activation", sorted(ACTIVATIONS))
    def test_auto_is_he_for_the_relatives_of_relu_and_glorot_for_the_rest(
        self, activation: str
    ) -> None:
        bounded = activation in ("identity", "sigmoid", "tanh")
        hidden = "glorot_uniform" if bounded else "he_normal"
        network = create(activation=activation)
        expected = create(activation=activation, initializer=hidden)
        last = create(activation=activation, initializer="glorot_uniform")
        for i in (0, 1):
            assert_same(network.layers[i].weights, expected.layers[i].weights)
        assert_same(network.layers[2].weights, last.layers[2].weights)

    def test_an_initializer_stands_for_itself(self) -> None:
        ones = Initializer(
            "ones", lambda rng, n_in, n_out: (np.ones((n_in, n_out)), np.ones(n_out))
        )
        assert get_initializer(ones) is ones

    def test_unknown_name_offers_the_nearest(self) -> None:
        with pytest.raises(ValueError, match=r"unknown initializer 'he_norm': did you mean 'he_n"):
            get_initializer("he_norm")

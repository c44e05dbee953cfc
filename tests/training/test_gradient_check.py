"""check_gradients is silent on what is right, and names the term that is wrong, and how."""

import pickle
import re
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest

from arraymlp import Backend, GradientError, Layer, MultilayerPerceptron, check_gradients
from arraymlp.activations import Activation, get_activation
from arraymlp.losses import Huber, Loss, Quantile, get_loss
from arraymlp.nn.activations import ACTIVATIONS
from arraymlp.nn.losses import LOSSES
from arraymlp.training.gradient_check.differences import slopes, slopes_by_entry, widths


def wrong(subject: Any, *args: Any, **more: Any) -> str:
    with pytest.raises(GradientError) as error:
        check_gradients(subject, *args, **more)
    assert error.value.check.wrong
    assert str(pickle.loads(pickle.dumps(error.value))) == str(error.value)
    return str(error.value)


# What is right


@pytest.mark.parametrize("name", [*ACTIVATIONS, *LOSSES])
def test_what_the_package_has_is_right(quick_backend: Backend, name: str) -> None:
    check = check_gradients(name, backend=quick_backend)
    assert max(check.errors.values()) < 1e-9
    assert name in repr(check)


@pytest.mark.parametrize("name", ["tanh", "softmax_cross_entropy"])
def test_it_is_found_so_on_every_backend(backend: Backend, float64: str, name: str) -> None:
    assert max(check_gradients(name, backend=backend).errors.values()) < 1e-9


@pytest.mark.parametrize("name", ["relu", "leaky_relu", "elu"])
def test_where_there_is_no_slope_nothing_is_compared(name: str) -> None:
    assert check_gradients(name).kinks == 1
    with pytest.raises(GradientError, match="cannot be checked: there is no slope at any point"):
        check_gradients(name, [0.0])


@pytest.mark.parametrize("loss", [Huber((0.1, 1.0)), Quantile(((0.1, 0.9), (0.3, 0.5)))], ids=str)
def test_losses_with_parameters_of_members(loss: Loss) -> None:
    assert max(check_gradients(loss).errors.values()) < 1e-8


@pytest.mark.parametrize("activation", sorted(ACTIVATIONS))
def test_layers_and_networks(quick_backend: Backend, activation: str) -> None:
    given = {"activation": activation, "backend": quick_backend, "dtype": "float64"}
    network = MultilayerPerceptron.create([3, 4, 2], seed=[0, 1], **given)
    check = check_gradients(network.layers[0])
    assert list(check.errors) == ["dL/dS", "dL/dW", "dL/db", "dL/dX"]
    assert list(check_gradients(network).errors) == [
        f"dL/d{p} of layer {i}" for i in (1, 2) for p in "Wb"
    ]


def test_a_large_network_is_checked_in_some_entries_and_stays_as_it_was() -> None:
    network = MultilayerPerceptron.create([60, 20, 3], activation="tanh")
    before = network.copy()
    assert max(check_gradients(network).errors.values()) < 1e-7
    for layer, old in zip(network.layers, before.layers, strict=True):
        np.testing.assert_array_equal(layer.weights, old.weights)
        assert layer.weights.dtype == np.float32


def test_differences_of_a_cubic_and_of_kinks() -> None:
    at = np.array([0.0, 1.0, -2.0])
    numeric, smooth, _ = slopes(lambda s: s**3, at, widths(at), widths(at))
    np.testing.assert_allclose(numeric, 3 * at**2, atol=1e-9)
    assert smooth.all()
    for kink in (abs, lambda s: s * abs(s)):  # of the function, and of its slope
        _, smooth, _ = slopes(kink, at, widths(at), widths(at))
        assert smooth.tolist() == [False, True, True]
    numeric, _, _ = slopes_by_entry(lambda a: (a**2).sum(), np.array([[1.0, 2.0]]), np.array([1]))
    np.testing.assert_allclose(numeric, [4.0])


# What is wrong: each formula of ours, broken on purpose

SWISH = get_activation("silu")


@pytest.mark.parametrize(
    ("derivative", "said"),
    [
        (lambda s, z, xp: -SWISH.derivative(s, z, xp), "Its sign is wrong everywhere"),
        (lambda s, z, xp: 2 * SWISH.derivative(s, z, xp), "It is 2 times what is right"),
        (lambda s, z, xp: z, "It is f(s) itself"),
        (lambda s, z, xp: SWISH.derivative(z, s, xp), "It has s and z exchanged"),
        (lambda s, z, xp: 0 * s, "It is 0 everywhere"),
        (lambda s, z, xp: 0.0, "It is 0 everywhere"),
        (lambda s, z, xp: s / 0, "f'(s) is -inf at s = -4"),
        (
            lambda s, z, xp: SWISH.derivative(s, z, xp) + xp.astype(s > 3.9, s.dtype),
            "at s = 4, where finite differences give 1.05266; 1 of 41 entries differ",
        ),
    ],
)
def test_a_wrong_slope_of_an_activation(derivative: Any, said: str) -> None:
    text = wrong(replace(SWISH, name="swish", derivative=derivative))
    assert text.startswith("activation swish: f'(s) is ")
    assert said in text


def test_an_activation_that_is_not_of_each_sum_by_itself() -> None:
    def softmax(s, xp):
        e = xp.exp(s)
        return e / xp.sum(e, axis=-1, keepdims=True)

    text = wrong(Activation("softmax", softmax, lambda s, z, xp: z * (1 - z)))
    assert "f is to take each sum by itself, and of a row it gives other values" in text


def drawn() -> np.ndarray:
    """The targets that the check draws for a loss."""
    rng = np.random.default_rng(0)
    rng.normal(size=(5, 3))
    return rng.normal(size=(5, 3))


@dataclass(frozen=True)
class Broken(Loss):
    """The squared error with another derivative: its own times ``factor``, or by ``change``."""

    name = "broken"
    change: Any = None

    def value_and_delta(self, s, y, xp):
        value, delta = get_loss("squared_error").value_and_delta(s, y, xp)
        return value, self.change(delta)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda d: -d, "Its sign is wrong everywhere"),
        (lambda d: d / d.shape[0], "It is divided by the 5 rows, but is to be each sample's own"),
        (lambda d: d / d.shape[1], "It is divided by the 3 outputs, and the value is not"),
        (lambda d: d / 2, "It is 0.5 times what is right, everywhere"),
        (lambda d: d * np.array([1, 1, 2.0]), "for output 2 of row"),
        (lambda d: d + drawn(), "It lacks the term - y"),
        (lambda d: d + 2 * drawn(), "It has y with the wrong sign"),
    ],
)
def test_a_wrong_delta_of_a_loss(change: Any, said: str) -> None:
    text = wrong(Broken(change))
    assert text.startswith("loss broken: dL/ds is ")
    assert said in text


class Forgets(Layer):
    def backward_activation(self, s, z, dz, xp=None):
        return dz


class Means(Layer):
    def backward_parameters(self, x, ds, xp=None):
        right = super().backward_parameters(x, ds, xp)
        return right._replace(weights=right.weights / x.shape[-2])


class Turns(Layer):
    def backward_parameters(self, x, ds, xp=None):
        right = super().backward_parameters(x, ds, xp)
        return right._replace(weights=right.weights.mT)


class OneRow(Layer):
    def backward_parameters(self, x, ds, xp=None):
        right = super().backward_parameters(x, ds, xp)
        return right._replace(bias=ds[..., :1, :])


class Straight(Layer):
    def backward_input(self, ds, xp=None):
        return ds @ self.weights


@pytest.mark.parametrize(
    ("layer", "shape", "said"),
    [
        (Forgets, (3, 4), ["dL/dS is ", "It lacks the factor f'(S)"]),
        (Means, (3, 4), ["dL/dW is ", "It is the mean over the 5 rows"]),
        (Turns, (3, 4), ["dL/dW is (4, 3), where (3, 4) is right: it is the transpose"]),
        (Turns, (4, 4), ["dL/dW is ", "It is the transpose of what is right"]),
        (OneRow, (3, 4), ["dL/db is ", "4 of 4 entries differ"]),
        (Straight, (4, 4), ["dL/dX is ", "It is dL/dS W, where dL/dS W^T is right"]),
    ],
)
def test_a_wrong_term_of_a_layer(layer: Any, shape: tuple[int, int], said: list[str]) -> None:
    rng = np.random.default_rng(0)
    own = layer(rng.normal(size=shape), rng.normal(size=(1, shape[1])), "tanh")
    text = wrong(own)
    assert all(part in text for part in said)
    assert ";" not in text.replace("; ", ";", 1).partition(";")[2], "one term alone"
    network = MultilayerPerceptron.create([shape[0], shape[1], 2], activation="tanh")
    network.layers[0] = own
    assert f"{layer.__name__}({shape[0]} -> {shape[1]}, tanh): dL/" in wrong(network)


def test_of_a_network_the_piece_is_named_that_is_wrong() -> None:
    network = MultilayerPerceptron.create([3, 2], loss=Broken(lambda d: -d))
    assert "loss broken: dL/ds is " in wrong(network)
    halved = replace(
        SWISH, name="halved", derivative=lambda s, z, xp: SWISH.derivative(s, z, xp) / 2
    )
    network = MultilayerPerceptron.create([3, 4, 2], activation=halved)
    assert "activation halved: f'(s) is " in wrong(network)


def test_what_goes_back_between_layers_is_checked_in_the_network(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    right = Layer.backward_input
    monkeypatch.setattr(Layer, "backward_input", lambda self, ds, xp=None: right(self, 2 * ds, xp))
    text = wrong(MultilayerPerceptron.create([3, 4, 2], activation="tanh"))
    assert "dL/dW of layer 1 is" in text
    assert "It is 2 times what is right, everywhere" in text
    assert "of layer 2" not in text


# What rounding alone decides


def test_what_is_lost_in_rounding_is_no_mistake() -> None:
    deep = MultilayerPerceptron.create([4, *[6] * 10, 2], activation="sigmoid")
    check_gradients(deep)
    check_gradients("squared_error", 1000 + np.arange(15.0).reshape(5, 3), 1e5 * np.ones((5, 3)))
    check_gradients("poisson", np.full((5, 3), 20.0), np.ones((5, 3)))


def test_an_output_of_small_weight_is_judged_by_its_own_size() -> None:
    class Weighed(Loss):
        name = "weighed"

        def value_and_delta(self, s, y, xp):
            w = np.array([1.0, 1e-6, 1.0])
            return xp.sum(w * (s - y) ** 2, axis=-1), 2 * w * (s - y) * np.array([1, 2, 1])

    assert "for output 1 of row" in wrong(Weighed())


# What cannot be checked


def writes(s, xp):
    s *= s
    return s


@pytest.mark.parametrize(
    ("subject", "said"),
    [
        (Activation, "an Activation, a Loss, a Layer, a MultilayerPerceptron or the name"),
        (Huber, "give an instance, Huber(...)"),
        (3, "not 3"),
        ("rleu", "did you mean 'relu'"),
        (Activation("a", lambda s, xp: None, SWISH.derivative), "a.function must return an array"),
        (Activation("a", SWISH.function, lambda s, z, xp: s[:2]), "not an array of shape (2, 1)"),
        (
            Activation("w", writes, lambda s, z, xp: 2 * s),
            "writes to its argument s",
        ),
        (
            Activation("log", lambda s, xp: xp.log(s), lambda s, z, xp: 1 / s),
            "not finite at s = -4",
        ),
        (Broken(lambda d: None), "for the delta, must return an array of shape (5, 3), not None"),
    ],
)
def test_what_cannot_be_checked_is_said(subject: Any, said: str) -> None:
    with pytest.raises(ValueError, match=re.escape(said)):
        check_gradients(subject)


def test_a_layer_whose_methods_return_something_else() -> None:
    class One(Layer):
        def forward(self, x, xp=None):
            return super().forward(x, xp)[1]

    with pytest.raises(ValueError, match=r"One.forward must return \(s, z\)"):
        check_gradients(One(np.ones((2, 3)), np.ones((1, 3)), "tanh"))

"""What is wrong with a piece of the user's own is one error, before the training, that says it."""

import re
from functools import wraps
from typing import Any

import numpy as np
import pytest

from arraymlp import Layer, MultilayerPerceptron, sweep, train
from arraymlp.activations import Activation, get_activation
from arraymlp.initializers import Initializer
from arraymlp.losses import Loss
from arraymlp.schedules import Schedule

rng = np.random.default_rng(0)
X = rng.normal(size=(60, 4)).astype(np.float32)
Y = (X[:, 0] > 0).astype(int)
TANH = get_activation("tanh")


def tanh(s, xp):
    return xp.tanh(s)


def slope(s, z, xp):
    return 1 - z * z


class NoDelta(Loss):
    name = "no_delta"


class NoXp(Loss):
    name = "no_xp"

    def value_and_delta(self, s, y):
        return s, y


class Nothing:
    pass


class OneMethod:
    def constants(self, learning_rate, t):
        return (learning_rate,)

    def initial_state(self, parameter, xp):
        return None


class FewArguments(OneMethod):
    def update(self, parameter, gradient):
        return parameter, None


class NoFactors(Schedule):
    pass


class OneArgument(Schedule):
    def factors(self, steps):
        return 1.0


def returns_nothing(y, output, weight):
    return None


CASES: dict[str, tuple[Any, str]] = {
    "a class for an activation": (
        lambda: {"activation": Activation},
        "of your own, with function(s, xp) and derivative(s, z, xp)",
    ),
    "a function for an activation": (
        lambda: {"activation": np.tanh},
        "unknown activation <ufunc 'tanh'>",
    ),
    "an activation's function without xp": (
        lambda: {"activation": Activation("a", lambda s: s, slope)},
        "function of activation a must take (s, xp), but it takes (s)",
    ),
    "no derivative": (
        lambda: {"activation": Activation("a", tanh, None)},
        "derivative of activation a must be a function of (s, z, xp), not None",
    ),
    "a function that returns nothing": (
        lambda: {"activation": Activation("a", lambda s, xp: None, slope)},
        "function of activation a must return an array of shape",
    ),
    "a derivative of another shape": (
        lambda: {"activation": Activation("a", tanh, lambda s, z, xp: np.ones((3, 7)))},
        "derivative of activation a must return an array of shape",
    ),
    "a loss's class": (lambda: {"loss": NoDelta}, "an instance of a subclass of arraymlp.losses"),
    "a loss without its method": (
        lambda: {"loss": NoDelta()},
        "NoDelta must define value_and_delta(s, y, xp)",
    ),
    "a loss whose method lacks xp": (
        lambda: {"loss": NoXp()},
        "NoXp.value_and_delta must take (s, y, xp), but it takes (s, y)",
    ),
    "an optimizer without methods": (
        lambda: {"optimizer": Nothing()},
        "with constants(learning_rate, t), initial_state(parameter, xp), update(",
    ),
    "an optimizer without update": (
        lambda: {"optimizer": OneMethod()},
        "OneMethod lacks update(parameter, gradient, state, constants, xp)",
    ),
    "an optimizer's class": (lambda: {"optimizer": OneMethod}, "unknown optimizer <class"),
    "an update of few arguments": (
        lambda: {"optimizer": FewArguments()},
        "FewArguments.update must take (parameter, gradient, state, constants, xp)",
    ),
    "a schedule without factors": (
        lambda: {"schedule": NoFactors()},
        "NoFactors must define factors(steps, n_steps)",
    ),
    "factors of one argument": (
        lambda: {"schedule": OneArgument()},
        "OneArgument.factors must take (steps, n_steps), but it takes (steps)",
    ),
    "a function for a schedule": (
        lambda: {"schedule": lambda step: 1.0},
        "a subclass of arraymlp.schedules.Schedule with factors(steps, n_steps)",
    ),
    "an initializer without bias": (
        lambda: {"initializer": Initializer("z", lambda rng, n, m: np.zeros((n, m)))},
        "must return weights (4, 100) and bias (1, 100), not ndarray",
    ),
    "an initializer of other shapes": (
        lambda: {"initializer": Initializer("z", lambda r, n, m: (np.ones((m, n)), np.ones(m)))},
        "must return weights (4, 100) and bias (1, 100), not [(100, 4), (100,)]",
    ),
    "an initializer of no numbers": (
        lambda: {
            "initializer": Initializer(
                "z", lambda r, n, m: (np.full((n, m), np.nan), np.zeros((1, m)))
            )
        },
        "draw of the initializer z must give finite numbers",
    ),
    "a metric that returns nothing": (
        lambda: {"metrics": [returns_nothing], "validation": 0.2},
        "the metric returns_nothing returned None, not a number",
    ),
    "a metric of two arguments": (
        lambda: {"metrics": [lambda y, output: 0.0], "validation": 0.2},
        "a metric's function must take (y, output, weight), but it takes (y, output)",
    ),
    "an order of one argument": (
        lambda: {"shuffle": lambda n: range(n)},
        "a shuffle function must take (n, epoch), but it takes (n)",
    ),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("several", [False, True], ids=["train", "sweep"])
def test_a_wrong_piece_is_said(case: str, several: bool) -> None:
    given, said = CASES[case]

    def call() -> None:
        settings = {"epochs": 1, "backend": "numpy", **given()}
        sweep(X, Y, seed=[0, 1], score="loss", **settings) if several else train(X, Y, **settings)

    with pytest.raises(ValueError, match=re.escape(said)):
        call()


class NoXpForward(Layer):
    def forward(self, x):
        return super().forward(x)


class OnlyOutputs(Layer):
    def forward(self, x, xp=None):
        return super().forward(x, xp)[1]


class NoGradients(Layer):
    def backward_parameters(self, x, ds, xp=None):
        return None


class TurnedGradients(Layer):
    def backward_parameters(self, x, ds, xp=None):
        weights, bias = super().backward_parameters(x, ds, xp)
        return weights.mT, bias


class SameInput(Layer):
    def backward_input(self, ds, xp=None):
        return ds


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        (NoXpForward, "NoXpForward.forward must take (x, xp), but it takes (x)"),
        (OnlyOutputs, "OnlyOutputs.forward must return (s, z), sums and outputs, not a ndarray"),
        (NoGradients, "NoGradients.backward_parameters must return Gradients(weights, bias), not"),
        (TurnedGradients, "for weights, must return an array of shape (4, 5), not shape (5, 4)"),
    ],
)
def test_a_wrong_layer_is_said(kind: Any, said: str) -> None:
    network = MultilayerPerceptron.create([4, 5, 2])
    first = network.layers[0]
    network.layers[0] = kind(first.weights, first.bias, first.activation)
    with pytest.raises(ValueError, match=re.escape(said)):
        train(X, Y, network=network, epochs=1)


def test_what_is_not_handed_back_to_the_layer_before_is_said() -> None:
    network = MultilayerPerceptron.create([4, 5, 3, 2])
    second = network.layers[1]
    network.layers[1] = SameInput(second.weights, second.bias, second.activation)
    with pytest.raises(ValueError, match=r"SameInput.backward_input must return an array of shape"):
        train(X, Y, network=network, epochs=1)


class NotForTheData(Layer):
    """As a first layer, which nobody asks for the gradient of the data."""

    def backward_input(self, ds, xp=None):
        raise NotImplementedError


class AsLists(Layer):
    def forward(self, x, xp=None):
        assert x.shape[0] > 2, "more than the two rows of a trial"
        return list(super().forward(x, xp))

    def backward_parameters(self, x, ds, xp=None):
        weights, bias = super().backward_parameters(x, ds, xp)
        return weights, bias[0]


@pytest.mark.parametrize("kind", [NotForTheData, AsLists])
def test_a_layer_that_trains_is_not_refused(kind: Any) -> None:
    network = MultilayerPerceptron.create([4, 5, 2])
    first = network.layers[0]
    network.layers[0] = kind(first.weights, first.bias, first.activation)
    assert len(train(X, Y, network=network, epochs=1, batch_size=20).history) == 1


SLOPES = np.linspace(0.1, 0.3, 6, dtype=np.float32)
TRAINS = {
    "a slope of each unit": Activation(
        "prelu",
        lambda s, xp: xp.maximum(s, 0.0) + SLOPES * xp.minimum(s, 0.0),
        lambda s, z, xp: xp.where(s > 0, np.float32(1), SLOPES),
    ),
    "booleans": Activation("b", lambda s, xp: xp.maximum(s, 0.0), lambda s, z, xp: s > 0),
    "float64": Activation(
        "w", lambda s, xp: np.maximum(s, 0), lambda s, z, xp: np.where(s > 0, 1.0, 0)
    ),
    "a scalar of NumPy's": Activation("n", lambda s, xp: s, lambda s, z, xp: np.float64(1)),
    "float32 inside": Activation(
        "t", lambda s, xp: np.tanh(s.astype("f4")), lambda s, z, xp: 1 - z * z
    ),
    "softmax of units": Activation(
        "m", lambda s, xp: xp.exp(s) / xp.sum(xp.exp(s), axis=-1, keepdims=True), lambda s, z, xp: z
    ),
}


@pytest.mark.parametrize("case", TRAINS)
def test_an_activation_that_trains_is_neither_refused_nor_warned_of(case: str) -> None:
    run = train(X, Y, hidden=(6,), activation=TRAINS[case], epochs=1, backend="numpy")
    assert len(run.history) == 1


def test_a_decorated_function_and_a_list_of_what_was_drawn_will_do() -> None:
    @wraps(tanh)
    def decorated(*args: Any) -> Any:
        return tanh(*args)

    def draw(rng, n, m):
        return [rng.normal(size=(n, m)), np.zeros((1, m))]

    run = train(
        X,
        Y,
        activation=Activation("d", decorated, slope),
        initializer=Initializer("l", draw),
        epochs=1,
    )
    assert len(run.history) == 1


def test_what_is_no_layer_is_said() -> None:
    network = MultilayerPerceptron.create([4, 5, 2])
    network.layers[1] = object()  # type: ignore[call-overload]
    with pytest.raises(ValueError, match="layer 2 of the network is <object object"):
        train(X, Y, network=network, epochs=1)


def test_a_wrong_derivative_of_an_activation_warns_and_trains() -> None:
    halved = Activation("halved", tanh, lambda s, z, xp: (1 - z * z) / 2)
    with pytest.warns(UserWarning, match=r"It is 0.5 times what is right, everywhere: unless"):
        run = train(X, Y, activation=halved, epochs=1)
    assert len(run.history) == 1


def test_a_right_one_is_silent_with_members_too() -> None:
    own = Activation("own", tanh, slope)
    assert train(X, Y, activation=own, seed=(0, 1), epochs=1).network.members == 2

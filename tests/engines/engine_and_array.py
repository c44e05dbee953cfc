"""A run by an engine beside the same run by the array code, for the tests of the engines."""

from itertools import cycle
from typing import Any

import numpy as np

import arraymlp
from arraymlp.nn.activations import ACTIVATIONS
from pairwise import pairwise

HostArray = np.ndarray[Any, Any]

# The levels of each setting. A tuple has a value for each of up to three members. Activations are
# none of them: they meet the others only in arrays, and so each case takes the next ones.
SOFTMAX, BINARY = {"loss": "softmax_cross_entropy"}, {"loss": "binary_cross_entropy"}
SMOOTHED: dict[str, Any] = {"label_smoothing": 0.1}
FACTORS: dict[str, list[Any]] = {
    "members": [None, 1, 3],
    "loss": [
        SOFTMAX,
        SOFTMAX | {"weighted": True},
        SOFTMAX | SMOOTHED,
        SOFTMAX | {"label_smoothing": (0.1, 0.0, 0.2), "weighted": True},
        BINARY | SMOOTHED,
        {"loss": "huber", "weighted": True},
    ],
    "layers": [1, 2, 3],
    "optimizer": ["sgd", "momentum", "nesterov", "adam", "adamw", "rmsprop"],
    "learning_rate": [0.01, (0.001, 0.01, 0.005)],
    "schedule": ["constant", "cosine", "exponential"],
    "weight_decay": [0.0, 0.1, (0.1, 0.0, 0.2)],
    "l2": [0.0, 0.01, (0.01, 0.0, 0.02)],
    "alpha": [0.0, 0.01, (0.01, 0.0, 0.02)],
    "gradient_clip": [np.inf],
    "weight_average": [0.0, 0.9],
    "dropout": [0.0, 0.3, arraymlp.Dropout(0.2, 0.1), (0.3, 0.0, 0.2)],
    "reduction": ["mean", "sum"],
    "shuffle": [True, False],
}
# Where many settings together, or one alone, lead to other code, they have cases of their own:
# products that add to weights or velocities, for which nothing else may ask, and clipped gradients.
ADDED: dict[str, list[Any]] = {
    "optimizer": ["sgd", "momentum"],
    "loss": [SOFTMAX, SOFTMAX | {"weighted": True}],
    "learning_rate": [0.01],
    "weight_decay": [0.0, 0.1],
    "l2": [0.0],
    "alpha": [0.0],
    "dropout": [0.0, 0.3],
}
CLIPPED: dict[str, list[Any]] = {
    "gradient_clip": [0.5],
    "optimizer": ["sgd", "momentum", "adam"],
    "loss": [SOFTMAX, {"loss": "huber", "weighted": True}],
    "dropout": [0.0, 0.3],
}


def setting_cases(**levels: list[Any]) -> list[dict[str, Any]]:
    """Cases of settings in which every two levels meet; ``levels`` in place of some of FACTORS."""
    following = cycle(ACTIVATIONS)
    return [
        case | case["loss"] | {"activation": [next(following) for _ in range(case["layers"])]}
        for case in pairwise(FACTORS | levels)
    ]


CASES = [*setting_cases(), *setting_cases(**ADDED), *setting_cases(**CLIPPED)]


def problem(rng: np.random.Generator, loss: str, n: int, n_in: int, n_out: int) -> tuple[Any, Any]:
    """Random rows X, and targets for the loss."""
    X = rng.normal(size=(n, n_in))
    if loss == "softmax_cross_entropy":
        return X, np.concatenate([np.arange(n_out), rng.integers(0, n_out, n - n_out)])
    if loss == "binary_cross_entropy":
        return X, (rng.normal(size=(n, n_out)) > 0).astype(np.int64)
    return X, rng.normal(size=(n, n_out))


def data_and_settings(
    case: dict[str, Any],
    rng: np.random.Generator,
    rows: tuple[int, int] = (12, 60),
    widths: tuple[int, int] = (1, 12),
    batch_sizes: tuple[int, int] = (1, 12),
) -> tuple[Any, Any, dict[str, Any]]:
    """X, y and the settings of a case for `arraymlp.train`; sizes are drawn between bounds."""
    case = dict(case)
    members, layers, loss = case.pop("members"), case.pop("layers"), case["loss"]
    n = int(rng.integers(*rows))
    n_in, *hidden = (int(size) for size in rng.integers(*widths, layers + 1))
    X, y = problem(rng, loss, n, n_in, int(rng.integers(2, 12)))
    if case.pop("weighted", False):
        case["sample_weight"] = rng.random(n)
    for name, value in case.items():
        if isinstance(value, tuple):
            case[name] = value[0] if members is None else list(value[:members])
    case["hidden"] = tuple(hidden)
    case["seed"] = 5 if members is None else list(range(members))
    case["batch_size"] = int(rng.integers(*batch_sizes))
    return X, y, case | {"epochs": 2}


def both(X: Any, y: Any, dtype: str, **settings: Any) -> tuple[arraymlp.Run, arraymlp.Run]:
    """The run by NumPy's engine, and by the array code."""
    by_engine, by_array = (
        arraymlp.train(X, y, dtype=dtype, backend="numpy", engine=engine, **settings)
        for engine in ("auto", "array")
    )
    return by_engine, by_array


def assert_alike(by_engine: arraymlp.Run, by_array: arraymlp.Run, rtol: float) -> None:
    for name in ("loss", "penalty"):
        if name in by_array.history.columns:
            np.testing.assert_allclose(by_engine.history[name], by_array.history[name], rtol=rtol)
    assert_same_parameters(by_engine.network, by_array.network, rtol)


def assert_same_parameters(by_engine: Any, by_array: Any, rtol: float) -> None:
    for a, b in zip(by_engine.layers, by_array.layers, strict=True):
        scale = float(np.max(np.abs(b.weights)))
        np.testing.assert_allclose(a.weights, b.weights, rtol=0, atol=rtol * scale)
        np.testing.assert_allclose(a.bias, b.bias, rtol=0, atol=rtol * max(scale, 1.0))


def assert_same_folds(X: Any, y: Any, **settings: Any) -> None:
    """Members of a cross-validated sweep have the same losses by both."""
    by_engine, by_array = (
        arraymlp.sweep(
            X, y, cv=3, seed=range(2), backend="numpy", dtype="float64", engine=engine, **settings
        )
        for engine in ("auto", "array")
    )
    for a, b in zip(by_engine, by_array, strict=True):
        for name in ("loss", "validation_loss"):
            np.testing.assert_allclose(a.history[name], b.history[name], rtol=1e-9)


class NormedSGD(arraymlp.optimizers.SGD):
    """An optimiser of the user's own, which needs to see a whole gradient at once."""

    def update(
        self, parameter: Any, gradient: Any, state: Any, constants: Any, xp: Any
    ) -> tuple[Any, Any]:
        gradient = gradient / (1 + xp.sqrt(xp.sum(gradient**2)))
        return super().update(parameter, gradient, state, constants, xp)

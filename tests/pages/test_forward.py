"""The forward pass of a page is that of the library, for everything it trains."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from arraymlp import Ensemble, MultilayerPerceptron, TableEncoder, train
from arraymlp.activations import Activation
from arraymlp.data.frames.frame import Frame, Texts
from arraymlp.losses import Huber, Quantile, SquaredError
from arraymlp.nn.activations import ACTIVATIONS
from arraymlp.nn.layer import Layer
from arraymlp.nn.losses import LOSSES
from arraymlp.nn.scaling import Scaling
from arraymlp.pages.columns import columns_of, table_cells
from arraymlp.pages.page import write_page
from arraymlp.pages.playground import playground, source
from arraymlp.pages.subject import subject_of
from in_javascript import FILES, evaluated, in_javascript

pytestmark = pytest.mark.xdist_group("browser")
N, FEATURES = 12, 5


def alike(model: Any, X: Any, cells: Any = None) -> None:
    """Both predict the same for the rows."""
    mean, spread = in_javascript(model, X if cells is None else cells)
    ensemble = Ensemble([model]) if isinstance(model, MultilayerPerceptron) else model
    if isinstance(ensemble, Ensemble):
        classifies = ensemble.networks[0].loss.classifies
        numbers = classifies == "no"
        each = (ensemble.member_predictions if numbers else ensemble.member_probabilities)(X)
        deviation = each.astype(np.float64).std(axis=0).reshape(len(mean), -1)
        expected = (ensemble.predict if numbers else ensemble.predict_proba)(X)
        np.testing.assert_allclose(spread, deviation, rtol=1e-4, atol=1e-5 * scale_of(expected))
    else:
        classifies = model.network.loss.classifies
        expected = model.predict(X) if classifies == "no" else model.predict_proba(X)
    expected = expected.reshape(len(mean), -1)
    np.testing.assert_allclose(mean, expected, rtol=1e-5, atol=1e-5 * scale_of(expected))


def scale_of(values: Any) -> float:
    """The size of predictions: 1 for probabilities."""
    return max(1.0, float(np.abs(values).max()))


def rows(seed: int = 0, n: int = N, width: int = FEATURES) -> Any:
    return np.random.default_rng(seed).normal(size=(n, width)).astype(np.float32)


def network(**given: Any) -> MultilayerPerceptron:
    """A network with weights that a page's rounding, or a wrong bias, would show in."""
    made = MultilayerPerceptron.create((FEATURES, 7, 6, 4), **given)
    rng = np.random.default_rng(3)
    for layer in made.layers:
        layer.weights = (1.5 * layer.weights).astype(layer.weights.dtype)
        layer.bias = rng.normal(size=layer.bias.shape).astype(layer.bias.dtype)
    return made


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_every_activation_and_its_slope(activation: str) -> None:
    s = np.concatenate([np.linspace(-9, 9, 91), [0.0, -700.0, 700.0, 1e30, -1e30]])
    code = (
        f"const {{ f, slope }} = ACTIVATIONS.{activation};"
        "return given.map((s) => [f(s), slope(s, f(s))])"
    )
    z, slopes = np.array(evaluated("\n".join([*map(source, FILES), code]), s.tolist())).T
    known = ACTIVATIONS[activation]
    with np.errstate(all="ignore"):
        expected = known.function(s, np)
        derivative = known.derivative(s, expected, np)
    np.testing.assert_allclose(z, expected, rtol=1e-12, atol=1e-15)
    np.testing.assert_allclose(slopes, derivative + 0 * s, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_every_activation_in_a_network(activation: str) -> None:
    alike(network(activation=activation), rows())
    alike(network(activation=["tanh", activation]), 30 * rows())


@pytest.mark.parametrize("loss", [*LOSSES, Quantile((0.2, 0.9)), Huber(0.3)], ids=str)
@pytest.mark.parametrize("seed", [0, [0, 1, 2]], ids=["one", "three"])
def test_every_loss_for_one_network_and_a_population(loss: Any, seed: Any) -> None:
    if loss == "quantile":
        loss = Quantile((0.05, 0.3, 0.7, 0.99))
    alike(network(loss=loss, seed=seed), rows())


@pytest.mark.parametrize("loss", ["softmax_cross_entropy", "binary_cross_entropy", "poisson"])
def test_huge_logits(loss: str) -> None:
    alike(network(loss=loss), 1e4 * rows())


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_scalings_and_both_dtypes(dtype: str) -> None:
    rng = np.random.default_rng(1)
    inputs = Scaling(1e3 * rng.normal(size=FEATURES), np.exp(rng.normal(size=FEATURES)))
    outputs = Scaling(rng.normal(size=4), np.exp(rng.normal(size=4)))
    X = rows().astype(np.float64) + inputs.mean
    alike(network(loss="squared_error", dtype=dtype, inputs=inputs, outputs=outputs), X)
    own = Scaling(np.stack([inputs.mean, inputs.mean + 1]), np.stack([inputs.scale] * 2))
    wide = Scaling(np.stack([outputs.mean[:2]] * 2), np.stack([outputs.scale[:2], [5.0, 6.0]]))
    loss = Quantile((0.1, 0.9))
    alike(network(loss=loss, dtype=dtype, inputs=own, outputs=wide, seed=[0, 1]), X)


def test_one_column_of_two_classes() -> None:
    made = MultilayerPerceptron.create(
        (FEATURES, 3, 1), loss="binary_cross_entropy", classes=np.array(["no", "yes"])
    )
    alike(made, rows())


def test_a_linear_network_and_an_ensemble_of_different_ones() -> None:
    linear = MultilayerPerceptron.create((FEATURES, 3))
    deep = MultilayerPerceptron.create((FEATURES, 4, 3), seed=[0, 1], activation="elu")
    alike(linear, rows())
    alike(Ensemble([linear, deep]), rows())


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.differing_executors])
@given(
    sizes=st.lists(st.integers(1, 9), min_size=2, max_size=5),
    activation=st.sampled_from(sorted(ACTIVATIONS)),
    loss=st.sampled_from(sorted(set(LOSSES) - {"quantile"})),
    members=st.integers(1, 3),
    size=st.sampled_from([0.01, 1.0, 50.0]),
    seed=st.integers(0, 2**31),
)
def test_any_network(
    sizes: list[int], activation: str, loss: str, members: int, size: float, seed: int
) -> None:
    seeds = [seed + k for k in range(members)] if members > 1 else seed
    made = MultilayerPerceptron.create(sizes, activation=activation, loss=loss, seed=seeds)
    alike(made, size * rows(seed, 4, sizes[0]))


# Tables


def table(n: int = 80, seed: int = 0) -> Frame:
    """Numbers, with missing ones and of few values, texts with missing ones, booleans, dates."""
    rng = np.random.default_rng(seed)
    number = rng.lognormal(size=n)
    number[rng.random(n) < 0.2] = np.nan
    dates = np.datetime64("2020-01-01") + rng.integers(0, 900, n)
    texts = Texts(rng.integers(-1, 3, n).astype(np.int32), ("red", "a <b>", "x"))
    columns = {
        "number": number,
        "whole": rng.integers(0, 40, n),
        "two": rng.integers(0, 2, n).astype(float),
        "text": texts,
        "code": rng.integers(5, 9, n),
        "flag": rng.random(n) < 0.5,
        "date": dates.astype("datetime64[s]"),
        "same": np.where(rng.random(n) < 0.5, 1.0, np.nan),
    }
    return Frame(tuple(columns), tuple(columns.values()))


def cells_of(model: Any, frame: Frame) -> Any:
    return table_cells(columns_of(subject_of(model)), frame)


def strange(frame: Frame) -> Frame:
    """The table with categories that were not learnt of, and numbers beyond those."""
    columns = dict(zip(frame.names, frame.columns, strict=True))
    text: Any = columns["text"]
    columns["text"] = Texts(text.codes, ("red", "unseen", "x"))
    columns["number"] = np.where(np.arange(len(frame)) % 3 == 0, 1e6, columns["number"])
    return Frame(tuple(columns), tuple(columns.values()))


@pytest.mark.parametrize(
    "numbers", ["mixed", "piecewise", "standardize", "smooth_clip", "quantile"]
)
def test_every_encoding_of_a_table(numbers: Any) -> None:
    frame = table()
    y = np.asarray(frame.column("whole") > 15).astype(int)
    encoder = TableEncoder(numbers=numbers, categories=["code"], dates=True)
    run = train(frame, y, encode=encoder, epochs=3, batch_size=16, seed=[0, 1])
    for rows_of in (frame, table(seed=5), strange(table(seed=6))):
        alike(run, rows_of, cells_of(run, rows_of))


def test_members_with_encodings_of_their_own() -> None:
    from arraymlp import sweep

    frame = table(120)
    y = np.nan_to_num(np.asarray(frame.column("number")))
    result = sweep(
        frame, y, encode=TableEncoder(dates=True), cv=3, seed=[0], epochs=2, batch_size=16
    )
    ensemble = result.ensemble(top=3)
    assert len(ensemble.networks) > 1
    alike(ensemble, frame, cells_of(ensemble, frame))


# What is refused


def relu_of_mine(s: Any, xp: Any) -> Any:
    return xp.maximum(s, 0.0)


class MyLayer(Layer):
    pass


class MyError(SquaredError):
    name = "mine"


def test_what_is_not_the_packages_own_is_refused_before_anything_is_written(tmp_path: Any) -> None:
    mine = Activation("mine", relu_of_mine, lambda s, z, xp: 1.0 * (s > 0))
    first, *others = network().layers
    odd_layer = replace(network(), layers=[MyLayer(first.weights, first.bias, "relu"), *others])
    for model, message in (
        (network(activation=mine), "activation 'mine'"),
        (network(loss=MyError()), "loss 'mine'"),
        (odd_layer, "a MyLayer"),
    ):
        with pytest.raises(ValueError, match=message):
            write_page(tmp_path / "page.html", model)
    with pytest.raises(TypeError, match="Run, a MultilayerPerceptron or an Ensemble, not a str"):
        playground({"": "model"})  # type: ignore[dict-item]
    assert not list(tmp_path.iterdir())

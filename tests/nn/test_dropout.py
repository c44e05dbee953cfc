"""Dropout: the masks' bits by hand, their statistics, and where nothing is dropped."""

from collections.abc import Sequence
from functools import partialmethod
from itertools import pairwise
from math import sqrt
from typing import Any

import numpy as np
import pytest

import problems
from arraymlp import Backend, MultilayerPerceptron, Settings, check_gradients, resolve
from arraymlp.data.minibatches import epoch_order
from arraymlp.nn.dropout import Dropout, DropoutKey, hash32, mask_maker
from arraymlp.steps.hyper import hyper_table
from conftest import on_host
from runs import (
    X,
    Y,
    assert_same_bits,
    go_on,
    interrupt_after,
    parameters,
    train,
    train_on,
)

HostArray = np.ndarray[Any, Any]
SIZES = (problems.FEATURES, *problems.HIDDEN, problems.CLASSES)
SIGMAS = 5  # of a normal variable one in two million lies farther out


# --- a transcription in Python's integers --------------------------------------------------------


def hashed(x: int) -> int:
    """lowbias32 of https://nullprogram.com/blog/2018/07/31/, on unsigned 32 bits."""
    x ^= x >> 16
    x = x * 0x7FEB352D % 2**32
    x ^= x >> 15
    x = x * 0x846CA68B % 2**32
    return x ^ (x >> 16)


def keys(seed: int, layer: int, epoch: int, steps: int) -> list[int]:
    stream = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(3, layer, epoch)))
    drawn = stream.integers(-(2**31), 2**31, steps, dtype=np.int32)
    return [int(key) % 2**32 for key in drawn]


def by_hand(key: int, p: float, rows: int, units: int) -> HostArray:
    """Factors (rows, units): 0 where the hash, as a signed number, is below 2^32 p - 2^31."""
    factors = np.full((rows, units), 1 / (1 - p))
    for row, unit in np.ndindex(rows, units):
        h = hashed(hashed(row * units + unit) ^ key)
        if (h + 2**31) % 2**32 < round(p * 2**32):
            factors[row, unit] = 0
    return factors


def masks(
    backend: Backend,
    dropout: Any,
    sizes: Sequence[int] = SIZES,
    *,
    seed: Any = 0,
    epoch: int = 0,
    steps: int = 3,
    rows: int = problems.BATCH,
    dtype: str = "float32",
) -> list[list[Any]]:
    """For each step of an epoch, the masks of the layers' inputs as the training makes them."""
    network = MultilayerPerceptron.create(sizes, seed=seed, backend=backend, dtype=dtype)
    given = Settings(dropout=dropout, seed=seed, dtype=dtype)
    mask = mask_maker(backend.dtype(dtype), backend.xp, backend.device)
    return [
        [
            None if drop is None else mask(drop, rows, layer.n_in)
            for layer, drop in zip(
                network.layers, hyper.dropout or [None] * len(network.layers), strict=True
            )
        ]
        for hyper in hyper_table(given, network, np.full((steps, 1), 0.1), 0, epoch)
    ]


def test_the_hash_has_the_same_bits_everywhere(backend: Backend) -> None:
    drawn = np.random.default_rng(1).integers(-(2**31), 2**31, 200).tolist()
    numbers = [0, 1, -1, 2**31 - 1, -(2**31), *range(2, 40), *drawn]
    hashes = on_host(hash32(backend.asarray(np.asarray(numbers), "int32")))
    assert hashes.dtype == np.int32
    assert [int(h) % 2**32 for h in hashes] == [hashed(x % 2**32) for x in numbers]


@pytest.mark.parametrize("seed", [7, (7,), (7, 8, 9)], ids=["one", "one member", "population"])
def test_masks_have_the_same_bits_everywhere(backend: Backend, seed: Any) -> None:
    rate = Dropout(hidden=(0.5, 0.1, 0.9) if seed == (7, 8, 9) else 0.5, input=0.2)
    for step, layers in enumerate(masks(backend, rate, seed=seed, epoch=4)):
        for layer, n_in in enumerate(SIZES[:-1]):
            mask = on_host(layers[layer])
            assert mask.dtype == np.float32
            for k, member_seed in enumerate(seed if isinstance(seed, tuple) else (seed,)):
                p = rate.input if layer == 0 else rate.hidden
                p = p[k] if isinstance(p, tuple) else p
                expected = by_hand(keys(member_seed, layer, 4, 3)[step], p, problems.BATCH, n_in)
                ours = mask[k] if mask.ndim == 3 else mask
                np.testing.assert_array_equal(ours, expected.astype(np.float32))


def test_training_is_that_of_a_transcription_with_the_same_masks() -> None:
    seed, rates, eta = 3, (0.2, 0.4, 0.4), 0.1
    settings = {"activation": "tanh", "seed": seed, "batch_size": 7}  # the last has 3 rows
    start = train(epochs=0, **settings).network
    W = [np.array(layer.weights) for layer in start.layers]
    b = [np.array(layer.bias) for layer in start.layers]
    for epoch in range(2):
        order = epoch_order(problems.N, 0, epoch)
        for step, at in enumerate(range(0, problems.N, 7)):
            rows = order[at : at + 7]
            factors = [
                by_hand(keys(seed, i, epoch, 4)[step], p, len(rows), SIZES[i])
                for i, p in enumerate(rates)
            ]
            z1 = X[rows] * factors[0]
            a2 = np.tanh(z1 @ W[0] + b[0])
            z2 = a2 * factors[1]
            a3 = np.tanh(z2 @ W[1] + b[1])
            z3 = a3 * factors[2]
            e = np.exp(z3 @ W[2] + b[2])
            D3 = (e / e.sum(axis=1, keepdims=True) - np.eye(problems.CLASSES)[Y[rows]]) / len(rows)
            D2 = D3 @ W[2].T * factors[2] * (1 - a3**2)
            D1 = D2 @ W[1].T * factors[1] * (1 - a2**2)
            for i, (z, D) in enumerate(((z1, D1), (z2, D2), (z3, D3))):
                W[i] -= eta * z.T @ D
                b[i] -= eta * D.sum(axis=0)
    run = train(dropout=Dropout(0.4, 0.2), optimizer="sgd", learning_rate=eta, epochs=2, **settings)
    for layer, weights, bias in zip(run.network.layers, W, b, strict=True):
        np.testing.assert_allclose(layer.weights, weights, rtol=1e-12, atol=1e-14)
        np.testing.assert_allclose(layer.bias, bias, rtol=1e-12, atol=1e-14)


def test_a_hash_at_the_threshold_is_kept(numpy_backend: Backend) -> None:
    mask = mask_maker("float32", numpy_backend.xp, numpy_backend.device)
    (key,) = keys(0, 0, 0, 1)
    hashes = [hashed(hashed(i) ^ key) for i in range(6)]
    signed = [h - 2**32 * (h >= 2**31) for h in hashes]
    key -= 2**32 * (key >= 2**31)
    for threshold in signed:
        factors = mask(DropoutKey(key, threshold, 2.0), 2, 3)
        assert factors.ravel().tolist() == [2.0 * (h >= threshold) for h in signed]


# --- statistics ----------------------------------------------------------------------------------

WIDE, ROWS, STEPS = (30, 40, 40, 2), 25, 60


def kept(dropout: Any, **given: Any) -> HostArray:
    """Of the two hidden layers, where something is kept: (layers, steps, rows, units)."""
    steps = masks(resolve("numpy"), dropout, WIDE, rows=ROWS, steps=STEPS, **given)
    return np.stack([[on_host(m) > 0 for m in step[1:]] for step in steps], axis=1)


def assert_uncorrelated(variables: HostArray) -> None:
    """Of the rows of a matrix, each pair."""
    n, samples = variables.shape
    off = np.abs(np.corrcoef(variables.astype(float)) - np.eye(n))
    assert off.max() < SIGMAS / sqrt(samples)


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_units_are_kept_as_often_as_they_shall_be(p: float) -> None:
    is_kept = kept(p)
    axes = {"all": (0, 1, 2, 3), "unit": (0, 1, 2), "row": (0, 1, 3), "step": (0, 2, 3)}
    for what, axis in axes.items():
        n = is_kept.size if what == "all" else int(np.prod([is_kept.shape[i] for i in axis]))
        off = np.abs(is_kept.mean(axis=axis) - (1 - p))
        assert off.max() < SIGMAS * sqrt(p * (1 - p) / n), what


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_rows_units_steps_and_layers_are_independent(p: float) -> None:
    is_kept = kept(p)
    for axis in range(4):
        assert_uncorrelated(np.moveaxis(is_kept, axis, 0).reshape(is_kept.shape[axis], -1))
    # of a row and the next unit's, as a counter row * units + unit might mix them up
    assert_uncorrelated(np.stack([is_kept[..., 1:, :-1].ravel(), is_kept[..., :-1, 1:].ravel()]))


def test_seeds_and_epochs_are_independent() -> None:
    variables = [kept(0.5, seed=s, epoch=e).ravel() for s in range(4) for e in range(3)]
    assert_uncorrelated(np.stack(variables))


def test_what_is_kept_is_scaled_so_that_the_mean_stays(numpy_backend: Backend) -> None:
    for p in (0.1, 0.5, 0.9):
        (step,) = masks(numpy_backend, p, (4, 1000, 2), steps=1, rows=200, dtype="float64")
        assert step[0] is None  # the features
        assert set(np.unique(step[1])) == {0.0, 1 / (1 - p)}
        # variance of 0 or 1 / (1 - p): p / (1 - p)
        assert abs(step[1].mean() - 1) < SIGMAS * sqrt(p / (1 - p) / step[1].size)


def test_a_probability_of_0_keeps_all_and_one_next_to_1_almost_nothing(
    numpy_backend: Backend,
) -> None:
    given = {"seed": (0, 1, 2), "rows": 50, "steps": 1}
    ((_, mask, _),) = masks(numpy_backend, (0.0, 0.5, 1 - 1e-12), **given)
    assert (mask[0] == 1).all()
    assert 0.3 < (mask[1] > 0).mean() < 0.7
    assert not mask[2].any()


# --- training ------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", [2, (2, 3)], ids=["one", "population"])
def test_gradients_through_masks_are_those_of_differences(
    quick_backend: Backend, monkeypatch: pytest.MonkeyPatch, seed: Any
) -> None:
    given = {"seed": seed, "backend": quick_backend, "dtype": "float64"}
    network = MultilayerPerceptron.create(SIZES, activation="tanh", **given)
    (fixed,) = masks(dropout=Dropout(0.5, 0.3), steps=1, rows=problems.N, **given)
    assert not any(on_host(mask).all() for mask in fixed)
    masked = partialmethod(MultilayerPerceptron.forward, masks=fixed)
    monkeypatch.setattr(MultilayerPerceptron, "forward", masked)
    x, y = quick_backend.asarray(X, "float64"), quick_backend.asarray(Y, "int32")
    check_gradients(network, x, y)


def test_nothing_is_dropped_but_in_training(quick_backend: Backend) -> None:
    settings = {"validation": (X, Y), "training_error": True, "metrics": "log_loss", "epochs": 1}
    run = train_on(quick_backend, dropout=Dropout(0.8, 0.5), **settings)
    z = X
    for layer, after in pairwise([*run.network.layers, None]):
        z = z @ on_host(layer.weights).astype(float) + on_host(layer.bias)
        z = np.maximum(z, 0) if after else z
    np.testing.assert_allclose(run.network.logits(X), z, rtol=1e-4, atol=1e-5)
    value = np.log(np.exp(z).sum(axis=1)) - z[np.arange(problems.N), Y]
    for column in ("training_loss", "validation_loss", "validation_log_loss"):
        assert run.history[-1][column] == pytest.approx(value.mean(), rel=1e-5)
    wrong = np.mean(z.argmax(axis=1) != Y)
    assert run.history[-1]["validation_error"] == pytest.approx(wrong, rel=1e-6)
    np.testing.assert_array_equal(run.network.predict(X), run.network.predict(X))


@pytest.mark.parametrize("of_members", [True, False], ids=["own probabilities", "one for all"])
def test_a_population_is_its_members_trained_alone(of_members: bool) -> None:
    hidden, features = ((0.0, 0.3, 0.6), (0.2, 0.0, 0.4)) if of_members else (0.3, 0.2)
    seeds = (4, 9, 2)
    together = train(seed=seeds, dropout=Dropout(hidden, features), epochs=3)
    for k, seed in enumerate(seeds):
        rate = Dropout(hidden[k], features[k]) if of_members else Dropout(hidden, features)
        alone = train(seed=seed, dropout=rate, epochs=3)
        losses = [epoch[k] for epoch in together.history["loss"]]
        np.testing.assert_allclose(losses, alone.history["loss"], rtol=1e-10)
        for a, b in zip(
            parameters(together.network.member(k)), parameters(alone.network), strict=True
        ):
            np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-13)


def test_input_dropout_masks_the_features_alone() -> None:
    plain, features = train(hidden=()), train(hidden=(), dropout=Dropout(input=0.5))
    assert plain.history["loss"] != features.history["loss"]
    assert_same_bits(plain.network, train(hidden=(), dropout=0.5).network)


@pytest.mark.parametrize("seed", [0, (0, 1)], ids=["one", "population"])
@pytest.mark.parametrize("at", [1, 2, 4])
def test_a_run_broken_off_inside_an_epoch_goes_on_with_the_same_masks(
    monkeypatch: pytest.MonkeyPatch, seed: Any, at: int
) -> None:
    settings = {"seed": seed, "dropout": Dropout(0.5, 0.2), "epochs": 2}
    whole = train(**settings)
    interrupt_after(monkeypatch, at)
    broken = train(**settings)
    assert broken.interrupted
    assert broken.partial_epoch.steps == at % 3
    assert_same_bits(go_on(broken, epochs=2 - at // 3).network, whole.network)


def test_probes_see_the_same_masks_and_change_nothing() -> None:
    settings = {"dropout": Dropout(0.5, 0.2), "epochs": 2}
    assert_same_bits(train(probes=True, **settings).network, train(**settings).network)


@pytest.mark.parametrize("bad", [1, 1.0, -0.1, 1.5, float("nan"), "0.5", None, True, (0.5, 1.0)])
@pytest.mark.parametrize(
    ("name", "what"), [("hidden", "dropout must be"), ("input", "input dropout must be")]
)
def test_impossible_probabilities_are_refused(name: str, what: str, bad: Any) -> None:
    with pytest.raises(ValueError, match=f"^{what} from 0 up to but not 1, not "):
        Dropout(**{name: bad})


def test_there_are_as_many_probabilities_as_members() -> None:
    with pytest.raises(ValueError, match="input has 2 values, but there are 3 members"):
        train(seed=(0, 1, 2), dropout=Dropout(input=(0.1, 0.2)))
    with pytest.raises(ValueError, match="hidden has 2 values, but one network"):
        train(dropout=[0.1, 0.2])
    with pytest.raises(ValueError, match="dropout is empty"):
        Dropout(())

"""Standardisation where float32 has no digits to spare: far from 0, tiny, huge, beside outliers."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

import arraymlp
from arraymlp import Backend, resolve, sweep, train
from arraymlp.data.standardize import learn_scaling, moments
from arraymlp.losses import Loss, SquaredError

RNG = np.random.default_rng(0)
N = 200
X = RNG.normal(size=(N, 3))
Y = X[:, 0] - X[:, 1] + 0.1 * RNG.normal(size=N)
PLAIN: dict[str, Any] = {"hidden": (8,), "epochs": 5, "batch_size": 20}
HOST = resolve("numpy")
A, B = np.arange(N // 2), np.arange(N // 2, N)
OUTLIER = X.copy()
OUTLIER[B[0], 0] = 1e12  # in a row that is held out


def with_all_digits(X: Any, backend: Backend) -> Any:
    """X on the device in float64, where there is one and it has that; else on the host."""
    return backend.asarray(X, "float64") if backend.has("float64") else X


def test_rows_on_a_device_keep_their_digits(backend: Backend) -> None:
    far = X + 1e9
    on_device = with_all_digits(far, backend)
    settings = {**PLAIN, "standardize": True, "backend": backend}
    there = train(on_device, with_all_digits(Y + 1e9, backend), **settings)
    here = train(far, Y + 1e9, **settings)
    np.testing.assert_allclose(there.history["loss"], here.history["loss"], rtol=1e-4)
    expected = here.network.forward(backend.asarray((far - far.mean(0)) / far.std(0), "float32"))
    predicted = np.asarray(backend.to_numpy(there.network.predict(on_device)), dtype=float)
    z = backend.to_numpy(expected[-1].z)[:, 0] * Y.std() + Y.mean() + 1e9
    np.testing.assert_allclose(predicted, z, atol=64)  # what float32 has at 1e9
    labels = train(on_device, (Y > 0).astype(int), **settings)
    given = backend.to_numpy(backend.asarray(labels.network.predict_proba(on_device), "float32"))
    np.testing.assert_allclose(given, labels.network.predict_proba(far), atol=1e-4)


def test_integers_on_a_device_keep_their_digits(backend: Backend) -> None:
    if not backend.has("int64"):
        pytest.skip("no int64")
    whole = np.round(100 * X).astype(np.int64) + 2**40
    run = train(
        backend.asarray(whole), (Y > 0).astype(int), standardize=True, backend=backend, **PLAIN
    )
    assert run.network.inputs is not None
    np.testing.assert_allclose(run.network.inputs.mean, whole.mean(axis=0), rtol=1e-15)
    np.testing.assert_allclose(
        backend.to_numpy(run.required_data().X), (whole - whole.mean(0)) / whole.std(0), atol=1e-5
    )


def test_bfloat16_is_standardised() -> None:
    torch = pytest.importorskip("torch")
    x, y = torch.tensor(X).bfloat16(), torch.tensor(Y).bfloat16()
    run = train(x, y, standardize=True, **PLAIN)
    exact = train(x.double(), y.double(), standardize=True, **PLAIN)
    np.testing.assert_allclose(run.history["loss"], exact.history["loss"], rtol=1e-6)


@pytest.mark.parametrize("unit", [1e-22, 1e-12, 1e20])
@pytest.mark.parametrize("loss", ["squared_error", "absolute_error"])
def test_targets_of_any_unit_train_alike(unit: float, loss: str, quick_backend: Backend) -> None:
    settings = {**PLAIN, "loss": loss, "validation": 0.2, "metrics": ["rmse", "mae", "r2"]}
    settings |= {"early_stopping": True, "training_error": True, "backend": quick_backend}
    settings |= {"probes": True, "alpha": 1e-3}
    ours, plain = train(X, unit * Y, **settings), train(X, Y, **settings)
    of_loss = unit**2 if loss == "squared_error" else unit
    powers = {"loss": of_loss, "penalty": of_loss, "rmse": unit, "mae": unit, "r2": 1.0}
    for column in plain.history[-1]:
        name = column.rpartition("_")[2]
        if name in powers:
            expected = powers[name] * np.asarray(plain.history[column])
            np.testing.assert_allclose(ours.history[column], expected, rtol=1e-3)
    np.testing.assert_allclose(
        ours.measurements[-1].loss, of_loss * plain.measurements[-1].loss, rtol=1e-3
    )
    assert [f.kind for f in ours.findings] == [f.kind for f in plain.findings]


def test_a_step_tells_its_loss_in_the_targets_unit() -> None:
    seen: list[float] = []

    class Watch(arraymlp.callbacks.Callback):
        def on_step(self, event: arraymlp.callbacks.StepEnd) -> None:
            seen.append(float(event.loss))

    run = train(X, 1e-22 * Y, callbacks=Watch(), **{**PLAIN, "epochs": 1})
    assert np.mean(seen) == pytest.approx(run.history["loss"][0], rel=1e-5)


def test_figures_far_from_0_are_of_the_targets_and_not_of_their_rounding(backend: Backend) -> None:
    def own(y: Any, output: Any, weight: Any) -> Any:
        error = y - output
        return (error * error).sum() / y.shape[0] if hasattr(y, "sum") else sum_of(error)

    def sum_of(error: Any) -> Any:
        return backend.xp.sum(error * error) / error.shape[0]

    metrics: list[Any] = ["rmse", "mae", "r2"]
    metrics += [own] if backend.has("float64") else []
    settings = {**PLAIN, "metrics": metrics, "backend": backend, "validation": (X, Y + 1.7e9)}
    last = train(X, Y + 1.7e9, **settings).history[-1]
    mse = 2 * last["validation_loss"]
    assert last["validation_rmse"] == pytest.approx(np.sqrt(mse), rel=1e-4)
    assert last["validation_r2"] == pytest.approx(1 - mse / Y.var(), abs=1e-4)
    assert 0.5 * np.sqrt(mse) < last["validation_mae"] < np.sqrt(mse)
    if backend.has("float64"):
        assert last["validation_own"] == pytest.approx(mse, rel=1e-4)


def test_metrics_of_several_columns_are_those_of_the_predictions() -> None:
    both = np.stack([1e4 * Y + 1e6, 1e-3 * X[:, 2]], axis=1)
    for standardize in ("targets", True):
        run = train(
            X, both, standardize=standardize, validation=(X, both), metrics=["rmse", "mae", "r2"],
            dtype="float64", **PLAIN,
        )  # fmt: skip
        error = run.network.predict(X) - both
        last = run.history[-1]
        assert last["validation_rmse"] == pytest.approx(np.sqrt((error**2).mean(axis=0)).mean())
        assert last["validation_mae"] == pytest.approx(np.abs(error).mean())
        r2 = 1 - (error**2).mean(axis=0) / both.var(axis=0)
        assert last["validation_r2"] == pytest.approx(r2.mean())


def held_out(how: str, rows: Any, y: Any) -> tuple[Any, Any]:
    """A run, or a member, that trained without the outlier, and the rows it trained on."""
    settings = {**PLAIN, "standardize": True}
    if how == "folds":
        return sweep(rows, y, cv=[(A, B), (B, A)], **settings)[0], A
    if how == "orders":
        result = sweep(rows, y, order_seed=[0, 1, 2], validation=0.5, **settings)
    else:
        result = [train(rows, y, order_seed=k, validation=0.5, **settings) for k in range(3)]
    for k, one in enumerate(result):
        training, _ = arraymlp.data.splits.split(N, 0.5, k)
        if B[0] not in training:
            return one, training
    raise AssertionError


@pytest.mark.parametrize("how", ["fraction", "folds", "orders"])
@pytest.mark.parametrize("of", ["X", "y"])
def test_an_outlier_in_rows_held_out_costs_the_training_nothing(how: str, of: str) -> None:
    rows, y = X.copy(), Y.copy()
    if of == "X":
        rows[B[0], 0] = 1e12
    else:
        y[B[0]] = 1e12
    member, training = held_out(how, rows, y)
    usual, same = held_out(how, X, Y)
    np.testing.assert_array_equal(training, same)
    np.testing.assert_allclose(member.history["loss"], usual.history["loss"], rtol=1e-4)
    assert member.network.inputs is not None
    np.testing.assert_allclose(member.network.inputs.mean, X[training].mean(axis=0), atol=1e-6)
    np.testing.assert_allclose(member.network.outputs.scale, Y[training].std(), rtol=1e-6)


def test_a_column_that_is_constant_in_the_training_rows_is_only_centred() -> None:
    rows = X.copy()
    rows[A, 1] = 5.0
    member, _ = held_out("folds", rows, Y)
    assert member.network.inputs.scale[1] == 1
    assert member.network.inputs.mean[1] == 5


@pytest.mark.parametrize("value", [1e17, -1e30, 123456789012345678.0, 0.1, 1e-300])
def test_a_constant_column_is_its_own_mean(value: float) -> None:
    mean, deviation = moments(np.full((N, 1), value), HOST)
    assert mean[0] == value
    assert deviation[0] == 0
    run = train(np.c_[X, np.full(N, value)], Y, standardize=True, **PLAIN)
    plain = train(np.c_[X, np.zeros(N)], Y, standardize=True, **PLAIN)
    np.testing.assert_allclose(run.history["loss"], plain.history["loss"], rtol=1e-6)


def test_columns_that_vary_by_rounding_alone_stay_within_1() -> None:
    whole = 2**62 + RNG.integers(0, 5000, (N, 1))
    scaling = learn_scaling(whole, HOST)
    assert np.abs(scaling.exactly(whole)).max() < 1.5  # the mean, too, is a multiple of 1024
    times = (1_700_000_000_000_000_000 + RNG.integers(0, 10**15, (N, 1))).astype("int64")
    scaled = learn_scaling(times, HOST).exactly(times)
    assert scaled.std() == pytest.approx(1)
    assert scaled.mean() == pytest.approx(0, abs=1e-9)


def test_moments_leave_out_what_is_not_finite_and_stand_huge_values() -> None:
    rows = np.array([[np.nan, 1e200, np.nan], [2.0, -1e200, np.inf], [4.0, 1e200, np.nan]])
    mean, deviation = moments(rows, HOST)
    np.testing.assert_allclose(mean, [3, 1e200 / 3, 0])
    np.testing.assert_allclose(deviation, [1, 1e200 * np.sqrt(8) / 3, 0])


@pytest.mark.parametrize("kind", ["host", "device", "sparse", "memmap"])
def test_rows_too_far_to_be_standardised_are_named(kind: str, tmp_path: Any) -> None:
    tiny = 1e-30 * X
    network = train(tiny, (Y > 0).astype(int), standardize=True, **PLAIN).network
    far = tiny.copy()
    far[7, 2] = 1e30
    rows: Any = far
    if kind == "device":
        rows = pytest.importorskip("torch").tensor(far)
        network = network.to("torch")
    elif kind == "sparse":
        rows = pytest.importorskip("scipy.sparse").csr_matrix(far)
    elif kind == "memmap":
        rows = np.memmap(tmp_path / "rows", "float64", "w+", shape=far.shape)
        rows[:] = far
    with pytest.raises(ValueError, match=r"X\[7, 2\] is 1e\+30, too far from the training rows"):
        network.predict(rows)
    if kind in ("sparse", "memmap"):
        with pytest.raises(ValueError, match=r"the validation X\[7, 2\] is 1e\+30, too far"):
            train(tiny, Y, validation=(rows, Y), standardize=True, **PLAIN)


def test_values_that_standardise_need_not_be_of_the_networks_dtype() -> None:
    run = train(1e200 * X, 1e100 * Y, standardize=True, **PLAIN)
    plain = train(X, Y, standardize=True, **PLAIN)
    expected = 1e200 * np.asarray(plain.history["loss"])
    np.testing.assert_allclose(run.history["loss"], expected, rtol=1e-4)


@pytest.mark.parametrize("unit", [1e-6, 1.0, 1e6])
@pytest.mark.parametrize("offset", [0.0, 1e9])
@pytest.mark.parametrize("cv", [None, 3])
def test_a_sweep_knows_what_has_learned_whatever_the_unit(
    unit: float, offset: float, cv: int | None
) -> None:
    y = unit * Y + (offset if unit >= 1 else 0)
    settings = {**PLAIN, "learning_rate": [1e-2, 1e-9], "initializer": "normal", "seed": 0}
    settings["initializer"] = arraymlp.initializers.normal(1e-5)  # as drawn, outputs are alike
    result = sweep(X, y, cv=cv, standardize=True, **{**settings, "epochs": 30})
    for member in result:
        slow = member.settings["learning_rate"] == 1e-9
        assert (member.status == "constant") == slow, (member.settings, member.status)
    assert result.best.settings["learning_rate"] == 1e-2


def test_a_target_that_is_constant_does_not_hide_constant_outputs() -> None:
    both = np.stack([Y, np.full(N, 3.0)], axis=1)
    settings = {**PLAIN, "initializer": arraymlp.initializers.normal(1e-5)}
    result = sweep(X, both, learning_rate=[1e-9, 1e-8], **settings)
    assert [member.status for member in result] == ["constant", "constant"]


def test_an_adaptive_schedule_looks_at_no_unit() -> None:
    settings = {**PLAIN, "epochs": 40, "optimizer": "adam", "learning_rate": 0.1}
    settings["schedule"] = arraymlp.schedules.Adaptive(patience=1)
    rates = [train(X, u * Y, **settings).history["learning_rate"] for u in (1.0, 1e-3, 1e5)]
    assert rates[0] == rates[1] == rates[2]
    assert 1 < len(set(rates[0])) < 20


def test_metrics_are_of_the_losss_own_outputs() -> None:
    class PositiveSquaredError(SquaredError):
        name = "clipped"

        def output(self, s: Any, xp: Any) -> Any:
            return xp.maximum(s, 0.0)

    y = 100 * Y
    settings = {**PLAIN, "dtype": "float64", "validation": (X, y), "metrics": ["rmse", "r2"]}
    run = train(X, y, loss=PositiveSquaredError(), **settings)
    error = np.asarray(run.network.predict(X)) - y
    assert run.history[-1]["validation_rmse"] == pytest.approx(np.sqrt((error**2).mean()))
    assert run.history[-1]["validation_r2"] == pytest.approx(1 - (error**2).mean() / y.var())


@pytest.mark.parametrize("units", [(1e-11, 1e-9), (1e-170, 3e-170), (1e140, 1e139)], ids=str)
def test_columns_of_tiny_and_huge_units_have_their_own_errors(units: Any) -> None:
    both = np.stack([Y, X[:, 2]], axis=1) * units
    settings = {**PLAIN, "dtype": "float64", "validation": (X, both), "metrics": ["mae"]}
    for loss in ("squared_error", "absolute_error"):
        run = train(X, both, loss=loss, standardize=True, **settings)
        error = run.network.predict(X) - both
        expected = np.abs(error).mean()
        assert run.history[-1]["validation_mae"] == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("unit", [1e-6, 1.0, 1e6])
@pytest.mark.parametrize("standardize", ["targets", True])
def test_a_constant_column_of_targets_has_no_part_in_the_scale(
    unit: float, standardize: str | bool
) -> None:
    both = np.stack([unit * Y, np.full(N, 5.0)], axis=1)
    run = train(X, both, standardize=standardize, **{**PLAIN, "epochs": 40})
    assert run.network.outputs is not None
    np.testing.assert_allclose(run.network.outputs.scale, unit * Y.std(), rtol=1e-6)
    error = run.network.predict(X) - both
    assert (error[:, 0] ** 2).mean() < 0.1 * both[:, 0].var()
    assert np.sqrt((error[:, 1] ** 2).mean()) < 0.3 * unit + 1e-6


def test_a_sweep_of_own_losses_has_each_ones_unit() -> None:
    @dataclass(frozen=True)
    class Power(Loss):
        p: float = 2.0
        name = "power"

        def rescaled(self, c: float) -> tuple[Loss, float]:
            return self, c**self.p

        def value_and_delta(self, s: Any, y: Any, xp: Any) -> tuple[Any, Any]:
            e = s - y
            delta = self.p * xp.abs(e) ** (self.p - 1) * xp.sign(e)
            return xp.sum(xp.abs(e) ** self.p, axis=-1), delta

    losses = [Power(1.5), Power(2.5)]
    result = sweep(X, 100 * Y, loss=losses, **PLAIN)
    for member, loss in zip(result, losses, strict=True):
        alone = train(X, 100 * Y, loss=loss, **PLAIN)
        np.testing.assert_allclose(member.history["loss"], alone.history["loss"], rtol=1e-5)


def test_own_metrics_have_weights_of_the_outputs_dtype(backend: Backend) -> None:
    def weighted(y: Any, output: Any, weight: Any) -> Any:
        return (weight @ (y - output) ** 2)[..., 0] / weight.sum()

    if backend.name == "array_api_strict":
        pytest.skip("its arrays have no sum")
    w = np.linspace(0.5, 2, N)
    settings = {**PLAIN, "validation": (X, Y, w), "metrics": [weighted], "backend": backend}
    last = train(X, Y, sample_weight=w, **settings).history[-1]
    assert last["validation_weighted"] == pytest.approx(2 * last["validation_loss"], rel=1e-5)


def test_numbers_of_another_byte_order_are_numbers() -> None:
    for kind in (">f8", ">f4"):
        run = train(X.astype(kind), Y.astype(kind), **PLAIN)
        assert run.network.loss.name == "squared_error"
        np.testing.assert_allclose(
            run.history["loss"], train(X, Y, **PLAIN).history["loss"], rtol=1e-5
        )
    labels = (Y > 0).astype(">i4")
    assert train(X, labels, **PLAIN).network.loss.name == "softmax_cross_entropy"

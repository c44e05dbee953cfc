"""Standardised features and targets: learnt of the training rows, kept in the network."""

import pickle
from copy import deepcopy

import numpy as np
import pytest

import arraymlp
from arraymlp import Backend, load, save, sweep, train
from arraymlp.backends.array import dtype_name
from arraymlp.diagnosis.run_columns import baseline_loss
from arraymlp.losses import Huber, Loss, Quantile, SquaredError
from arraymlp.nn.scaling import Scaling, stacked

RNG = np.random.default_rng(0)
N = 300
# Columns whose numbers are huge, tiny, far from 0, constant.
X = RNG.normal(size=(N, 5)) * [1e3, 1e-3, 1, 1, 0] + [5, 0, 1e5, 0, 7]
Z = (X - X.mean(axis=0)) / np.where(X.std(axis=0) > 1e-9, X.std(axis=0), 1)
Y = 1e5 + 2e4 * (Z[:, 0] - Z[:, 1] ** 2 + Z[:, 2])
LABELS = (Z[:, 0] + Z[:, 1] > 0).astype(int)
PLAIN = {"hidden": (16,), "epochs": 3, "batch_size": 20}


def test_features_are_as_if_standardised_before(quick_backend: Backend) -> None:
    backend = quick_backend  # test_it_goes_with_the_network_everywhere is of all
    settings = {**PLAIN, "backend": backend}
    run = train(X, LABELS, standardize="features", **settings)
    before = train(Z, LABELS, **settings)
    np.testing.assert_allclose(run.history["loss"], before.history["loss"], rtol=1e-4)
    given = backend.to_numpy(backend.asarray(run.network.predict_proba(X), "float32"))
    np.testing.assert_allclose(given, before.network.predict_proba(Z), rtol=1e-3, atol=1e-5)
    inputs = run.network.inputs
    assert inputs is not None
    np.testing.assert_allclose(inputs.mean, X.mean(axis=0), rtol=1e-6)
    np.testing.assert_allclose(inputs.scale[:4], X.std(axis=0)[:4], rtol=1e-6)
    assert inputs.scale[4] == 1  # a constant column is only centred
    assert dtype_name(run.required_data().X) == "float32"
    assert run.network.outputs is None


def test_targets_are_scaled_and_nobody_sees_it(quick_backend: Backend) -> None:
    backend = quick_backend
    settings = {**PLAIN, "backend": backend, "validation": (Z, Y), "metrics": ["rmse", "r2"]}
    run = train(Z, Y, training_error=True, **settings)
    mean, scale = Y.mean(), Y.std()
    by_hand = train(
        Z, (Y - mean) / scale, standardize=False, **PLAIN, backend=backend, training_error=True
    )
    for column in ("loss", "training_loss"):
        expected = np.asarray(by_hand.history[column]) * scale**2
        np.testing.assert_allclose(run.history[column], expected, rtol=1e-3)
    predicted = np.asarray(run.network.predict(Z), dtype=float)
    expected = np.asarray(by_hand.network.predict(Z), dtype=float) * scale + mean
    np.testing.assert_allclose(predicted, expected, rtol=1e-4)
    assert dtype_name(run.network.predict(Z)) == "float32"
    assert dtype_name(run.required_data().y.values) == "float32"
    last, error = run.history[-1], predicted - Y
    assert last["validation_loss"] == pytest.approx((error**2).mean() / 2, rel=1e-3)
    assert last["validation_rmse"] == pytest.approx(np.sqrt((error**2).mean()), rel=1e-3)
    assert last["validation_r2"] == pytest.approx(1 - (error**2).mean() / Y.var(), abs=1e-3)
    np.testing.assert_allclose(np.ravel(run.network.logits(Z)), predicted, rtol=1e-6)


@pytest.mark.parametrize(
    "loss", ["squared_error", "absolute_error", Huber(1e4), Quantile((0.2, 0.7))]
)
def test_the_loss_is_that_of_the_targets_as_given(loss: str | Loss) -> None:
    run = train(Z, Y, loss=loss, validation=(Z, Y), epochs=30, hidden=(16,))
    own = arraymlp.losses.get_loss(loss)
    value, _ = own(np.asarray(run.network.logits(Z), dtype=float), Y[:, None])
    assert run.history[-1]["validation_loss"] == pytest.approx(value.mean(), rel=1e-4)
    assert run.history["loss"][-1] < 0.5 * run.history["loss"][0]


def test_a_loss_that_knows_no_scale_has_raw_targets() -> None:
    class Cubic(Loss):
        name = "cubic"

        def value_and_delta(self, s, y, xp):  # type: ignore[no-untyped-def]
            e = s - y
            return xp.sum(xp.abs(e) ** 3, axis=-1), 3 * e * xp.abs(e)

    class RootError(SquaredError):  # of another formula than the class that knows the scale
        name = "root"

        def value_and_delta(self, s, y, xp):  # type: ignore[no-untyped-def]
            value, delta = super().value_and_delta(s, y, xp)
            return xp.sqrt(value), delta / (2 * xp.sqrt(value)[..., None] + 1e-9)

    small = Z[:, 0]
    for loss in (Cubic(), RootError(), "poisson"):
        run = train(Z, np.abs(small), loss=loss, standardize=True, **PLAIN)
        assert run.network.outputs is None
        assert run.network.inputs is not None


def test_several_targets_keep_their_loss_by_one_scale_and_weigh_alike_by_two() -> None:
    both = np.stack([Y, Z[:, 3]], axis=1)
    run = train(Z, both, validation=(Z, both), **PLAIN)
    assert run.network.outputs is not None
    assert run.network.outputs.scale[0] == run.network.outputs.scale[1]
    error = np.asarray(run.network.predict(Z), dtype=float) - both
    last = run.history[-1]
    assert last["validation_loss"] == pytest.approx((error**2).sum(axis=1).mean() / 2, rel=1e-3)
    alike = train(Z, both, standardize=True, hidden=(32,), epochs=60)
    error = np.asarray(alike.network.predict(Z)) - both
    assert (1 - (error**2).mean(axis=0) / both.var(axis=0) > 0.8).all()


def test_it_is_learnt_of_the_training_rows_alone() -> None:
    far = X.copy()
    run = train(far, Y, standardize=True, validation=0.3, **PLAIN)
    data = run.required_data()
    assert data.X_val is not None
    np.testing.assert_allclose(np.mean(data.X, axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(np.std(data.X, axis=0)[:4], 1, rtol=1e-4)
    assert np.abs(np.mean(data.X_val, axis=0)).max() > 1e-3
    inputs, outputs = run.network.inputs, run.network.outputs
    assert inputs is not None
    assert outputs is not None
    raw = np.asarray(data.X, dtype=float) * inputs.scale + inputs.mean
    np.testing.assert_allclose(raw[:, 2].mean(), inputs.mean[2], rtol=1e-6)
    assert inputs.mean[2] != pytest.approx(far[:, 2].mean(), rel=1e-9)


@pytest.mark.parametrize("kind", ["memmap", "sparse", "chunks"])
def test_streams_are_standardised_as_arrays_are(kind: str, tmp_path) -> None:  # type: ignore[no-untyped-def]
    rows: object = X
    if kind == "memmap":
        rows = np.memmap(tmp_path / "x", X.dtype, "w+", shape=X.shape)
        rows[:] = X  # type: ignore[index]
    elif kind == "sparse":
        rows = pytest.importorskip("scipy.sparse").csr_matrix(X)
    settings = {**PLAIN, "standardize": True, "shuffle": False}
    array = train(X, Y, **settings)
    if kind == "chunks":
        run = train([(X[i : i + 70], Y[i : i + 70]) for i in range(0, N, 70)], **settings)
    else:
        run = train(rows, Y, **settings)
    np.testing.assert_allclose(run.history["loss"], array.history["loss"], rtol=1e-5)
    np.testing.assert_allclose(
        run.network.predict(rows if kind != "chunks" else X), array.network.predict(X), rtol=1e-5
    )
    assert run.network.inputs is not None
    np.testing.assert_allclose(run.network.inputs.mean, X.mean(axis=0), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("own_loss", [False, True])
def test_a_fold_learns_its_own_and_is_the_network_alone(
    quick_backend: Backend, own_loss: bool
) -> None:
    rows = np.arange(N)
    pairs = [(rows[:200], rows[200:]), (rows[100:], rows[:100])]
    settings = {**PLAIN, "standardize": True, "backend": quick_backend, "shuffle": False}
    loss = Huber(1e4) if own_loss else "squared_error"
    result = sweep(X, Y, cv=pairs, loss=loss, **settings)
    for k, (training, held_out) in enumerate(pairs):
        alone = train(
            X[training],
            Y[training],
            validation=(X[held_out], Y[held_out]),
            loss=loss,
            seed=result.rows[k]["seed"],
            **settings,
        )
        member = result[k].network
        np.testing.assert_allclose(result[k].history["loss"], alone.history["loss"], rtol=1e-3)
        np.testing.assert_allclose(
            result[k].history["validation_loss"], alone.history["validation_loss"], rtol=1e-3
        )
        np.testing.assert_allclose(
            np.asarray(member.predict(X)), np.asarray(alone.network.predict(X)), rtol=1e-3
        )
        assert member.inputs is not None
        np.testing.assert_allclose(
            member.inputs.mean, X[training].mean(axis=0), rtol=1e-5, atol=1e-6
        )
        run = result.run(k)  # as a run of its own, to go on with
        assert run.network.inputs == member.inputs
        data = run.required_data()
        assert {dtype_name(rows) for rows in (data.X, data.X_val, data.y.values)} == {"float32"}
        assert baseline_loss(run) == pytest.approx(baseline_loss(alone), rel=1e-4)
        if not own_loss:
            assert baseline_loss(run) == pytest.approx(Y[training].var() / 2, rel=1e-4)


@pytest.mark.parametrize("loss", ["squared_error", Huber(20.0)], ids=str)
def test_columns_with_scales_of_their_own_keep_the_loss_in_folds_and_when_they_go_on(
    loss: str | Loss,
) -> None:
    y = np.stack([X[:, 0], 1000 * X[:, 1] + X[:, 0], 0.01 * X[:, 2]], axis=1)
    pairs = [(np.arange(100), np.arange(100, N)), (np.arange(200, N), np.arange(200))]
    settings = {**PLAIN, "standardize": True, "shuffle": False, "dtype": "float64", "loss": loss}
    for member, (rows, _) in zip(sweep(X, y, cv=pairs, **settings), pairs, strict=True):
        alone = train(X[rows], y[rows], seed=member.settings["seed"], **settings)
        np.testing.assert_allclose(member.history["loss"], alone.history["loss"], rtol=1e-9)
        np.testing.assert_allclose(member.network.predict(X), alone.network.predict(X), rtol=1e-7)
    run = train(X, y, training_error=True, **settings)
    still = {"optimizer": "sgd", "learning_rate": 1e-12, "batch_size": N, "epochs": 1}
    for further in (
        train(network=run, **still),
        train(network=run, X=X, y=y, **still),
        train(network=run.network, X=X, y=y, **still),
    ):
        loss_now = further.history[-1]["loss"]
        assert loss_now == pytest.approx(run.history[-1]["training_loss"], rel=1e-9)


def test_members_with_scalings_of_their_own_predict_together_as_alone(
    quick_backend: Backend,
) -> None:
    pairs = [(np.arange(200), np.arange(200, N)), (np.arange(100, N), np.arange(100))]
    result = sweep(X, Y, cv=pairs, standardize=True, backend=quick_backend, **PLAIN)
    networks = [member.network for member in result]
    together = arraymlp.MultilayerPerceptron.stacked(networks)
    assert together.inputs is not None
    assert together.inputs.members == 2
    predicted = np.asarray(together.predict(X))
    for k, network in enumerate(networks):
        np.testing.assert_allclose(predicted[k], np.asarray(network.predict(X)), rtol=1e-4)
        assert together.member(k).inputs == network.inputs
    ensemble = result.ensemble(2)
    np.testing.assert_allclose(np.asarray(ensemble.predict(X)), predicted.mean(axis=0), rtol=1e-4)
    with pytest.raises(ValueError, match="scalings of their own"):
        train(X, Y, network=together)


def test_it_goes_with_the_network_everywhere(backend: Backend, tmp_path) -> None:  # type: ignore[no-untyped-def]
    run = train(X, Y, standardize=True, backend=backend, **PLAIN)
    expected = np.asarray(run.network.predict(X))
    save(run.network, tmp_path / "n.safetensors")
    for network in (
        load(tmp_path / "n.safetensors"),
        pickle.loads(pickle.dumps(run.network)),
        deepcopy(run.network),
        run.network.copy(),
        run.network.to("numpy"),
    ):
        assert network.inputs == run.network.inputs
        assert network.outputs == run.network.outputs
        np.testing.assert_allclose(np.asarray(network.predict(X)), expected, rtol=1e-5)
    more = train(network=run, epochs=1)
    assert more.network.inputs == run.network.inputs
    assert more.history[-1]["loss"] < 2 * run.history[-1]["loss"]
    again = train(X, Y, network=run.network, epochs=1, backend=backend)
    assert again.history[-1]["loss"] == pytest.approx(more.history[-1]["loss"], rel=0.5)
    with pytest.raises(ValueError, match="standardize cannot be given together with network"):
        train(X, Y, network=run.network, standardize=False)


def test_a_sweep_file_keeps_scalings(tmp_path) -> None:  # type: ignore[no-untyped-def]
    result = sweep(X, Y, cv=3, standardize=[True, False], **PLAIN)
    result.save(tmp_path / "s")
    again = arraymlp.SweepResult.load(tmp_path / "s")
    for member, copy in zip(result, again, strict=True):
        assert member.network.inputs == copy.network.inputs
        assert member.network.outputs == copy.network.outputs
        np.testing.assert_array_equal(member.network.predict(X), copy.network.predict(X))


def test_numbers_far_from_0_lose_no_digits() -> None:
    far = Z[:, :1] + 1e8  # in float32 the steps are of 8
    run = train(far, LABELS, standardize="features", hidden=(8,), epochs=20)
    near = train(Z[:, :1], LABELS, hidden=(8,), epochs=20)
    np.testing.assert_allclose(run.network.logits(far), near.network.logits(Z[:, :1]), atol=1e-3)


def test_what_is_not_finite_is_refused_by_its_place() -> None:
    bad = X.copy()
    bad[17, 3] = np.nan
    with pytest.raises(ValueError, match=r"X\[17, 3\] is nan"):
        train(bad, Y, standardize=True)
    y = Y.copy()
    y[5] = np.inf
    with pytest.raises(ValueError, match=r"y\[5, 0\] is inf"):
        train(X, y)


@pytest.mark.parametrize("value", [1, 0, "both", None.__class__, "True", [True]])
def test_it_is_one_of_four(value: object) -> None:
    with pytest.raises(
        ValueError, match="standardize must be True, False, 'features' or 'targets'"
    ):
        train(X, Y, standardize=value)  # type: ignore[arg-type]


def test_scalings_are_equal_by_value_and_stacked_where_they_differ() -> None:
    one = Scaling(np.array([1.0, 2.0]), np.array([3.0, 4.0]))
    same = Scaling(np.array([1.0, 2.0]), np.array([3.0, 4.0]))
    other = Scaling(np.array([1.0, 2.0]), np.array([3.0, 5.0]))
    assert one == same
    assert hash(one) == hash(same)
    assert one != other
    assert stacked([one, same]) == one
    both = stacked([one, other])
    assert both is not None
    assert both.member(1) == other
    x = RNG.normal(size=(4, 2))
    np.testing.assert_allclose(both.undo(both.apply(x))[0], x)
    np.testing.assert_allclose(one.then(other).apply(x), other.apply(one.apply(x)))
    shared, own = both.shared()
    assert own is not None
    np.testing.assert_allclose(own.apply(shared.exactly(x)), both.apply(x))

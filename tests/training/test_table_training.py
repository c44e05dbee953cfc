"""A table becomes a network: by its columns' names, encoded, and back to labels as written."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import arraymlp
from arraymlp import Backend, Ensemble, MultilayerPerceptron, Run, TableEncoder, sweep, train
from arraymlp.data.frames.frame import Frame, Texts
from arraymlp.data.splits import folds, split
from arraymlp.training.tensor_file import read_parts, write_parts

N = 120
QUICK = {"hidden": (8,), "epochs": 3, "early_stopping": False}


def _table(n: int = N, seed: int = 0) -> Frame:
    rng = np.random.default_rng(seed)
    age, fare = rng.normal(40, 10, n), rng.exponential(30, n)
    sex, port = rng.integers(0, 2, n), rng.integers(-1, 3, n)
    survived = (sex == 1) ^ (fare > 40) ^ (rng.random(n) < 0.1)
    age[rng.random(n) < 0.1] = np.nan
    columns = {
        "age": age,
        "sex": Texts(sex.astype(np.int32), ("m", "f")),
        "port": Texts(port.astype(np.int32), ("S", "C", "Q")),
        "fare": fare,
        "survived": Texts(survived.astype(np.int32), ("no", "yes")),
    }
    return Frame(tuple(columns), tuple(columns.values()))


TABLE = _table()
FEATURES = TABLE.select(("age", "sex", "port", "fare"))
LABELS = TABLE.column("survived").to_numpy().astype(str)


def same(a: MultilayerPerceptron, b: MultilayerPerceptron) -> bool:
    """Whether two networks have the same bits."""
    parts = [(x.weights, y.weights) for x, y in zip(a.layers, b.layers, strict=True)]
    return all(np.array_equal(np.asarray(x), np.asarray(y)) for x, y in parts)


def test_a_table_is_trained_by_its_columns_names(quick_backend: Backend) -> None:
    run = train(TABLE, "survived", backend=quick_backend, epochs=8)
    network = run.network
    assert network.targets == ("survived",)
    assert network.features == ("age", "sex", "port", "fare")
    assert network.classes is not None
    assert network.classes.tolist() == ["no", "yes"]
    assert run.settings.early_stopping is not None
    assert "validation_loss" in run.history[-1]
    assert set(run.predict(TABLE)) <= {"no", "yes"}
    assert run.predict_proba(FEATURES).shape == (N, 2)
    scores: Any = run.evaluate(TABLE)
    assert scores.accuracy == np.mean(run.predict(TABLE) == LABELS)
    assert scores.to_dict() == network.evaluate(FEATURES, LABELS).to_dict()


def test_it_is_the_training_on_its_features() -> None:
    run = train(TABLE, "survived", validation=0.25, **QUICK)
    rows, held_out = split(N, 0.25, 0, np.unique(LABELS, return_inverse=True)[1])
    encoding = TableEncoder().learn(FEATURES[rows])
    X = encoding.transform(FEATURES)
    plain = train(
        X[rows], LABELS[rows], validation=(X[held_out], LABELS[held_out]), preset="table", **QUICK
    )
    assert run.network.encoding == encoding
    assert run.history[-1]["validation_loss"] == pytest.approx(plain.history[-1]["validation_loss"])
    assert same(run.network, plain.network)


@pytest.mark.parametrize(
    "given",
    [
        lambda: (FEATURES, LABELS),
        lambda: (FEATURES, TABLE.column("survived")),
        lambda: (TABLE, ["survived"]),
        lambda: (TABLE.select(TABLE.names[::-1]).select(TABLE.names), "survived"),
    ],
    ids=["labels", "a column", "a list of a name", "columns there and back"],
)
def test_the_target_may_be_given_in_several_ways(given: Callable[[], tuple[Any, Any]]) -> None:
    assert same(train(*given(), **QUICK).network, train(TABLE, "survived", **QUICK).network)


@pytest.mark.parametrize("library", ["pandas", "polars", "pyarrow"])
def test_data_frames_of_all_libraries_train_the_same(library: str) -> None:
    pytest.importorskip(library)
    columns = {n: c.to_numpy() if isinstance(c, Texts) else c for n, c in _columns().items()}
    module: Any = pytest.importorskip(library)
    frame = module.table(columns) if library == "pyarrow" else module.DataFrame(columns)
    run = train(frame, "survived", **QUICK)
    assert same(run.network, train(TABLE, "survived", **QUICK).network)
    assert run.predict(frame).tolist() == run.predict(TABLE).tolist()


def _columns() -> dict[str, Any]:
    return dict(zip(TABLE.names, TABLE.columns, strict=True))


def test_columns_may_have_any_order_and_company_in_prediction() -> None:
    run = train(TABLE, "survived", **QUICK)
    other = Frame(("x", *FEATURES.names[::-1]), (np.zeros(N), *FEATURES.columns[::-1]))
    np.testing.assert_array_equal(run.predict_proba(other), run.predict_proba(FEATURES))
    with pytest.raises(ValueError, match=r"X lacks 2 of 4 columns: 'age', 'port'"):
        run.predict(TABLE.select(("fare", "sex")))


def test_members_predict_by_their_mean() -> None:
    run = train(TABLE, "survived", seed=range(3), **QUICK)
    each = run.network.predict_proba(TABLE)
    assert each.shape == (3, N, 2)
    np.testing.assert_allclose(run.predict_proba(TABLE), each.mean(axis=0), rtol=1e-6)
    alone = train(TABLE, "survived", seed=1, **QUICK)
    np.testing.assert_allclose(each[1], alone.predict_proba(TABLE), rtol=1e-5, atol=1e-6)


def test_each_fold_learns_its_encoding_of_the_rows_it_trains_on() -> None:
    settings: Any = {**QUICK, "order_seed": [0, 5], "learning_rate": [0.001, 0.003]}
    result = sweep(TABLE, "survived", cv=3, **settings)
    positions = np.unique(LABELS, return_inverse=True)[1]
    for member in result.members:
        order_seed = member.settings["order_seed"] // 3  # as `settings_of_fold` has it
        rows, held_out = folds(N, 3, order_seed, positions)[member.fold or 0]
        encoding = TableEncoder().learn(FEATURES[rows])
        assert member.network.encoding.padded(60) == encoding.padded(60)
        X = encoding.padded(member.network.encoding.width).transform(FEATURES)
        alone = train(
            X[rows],
            LABELS[rows],
            validation=(X[held_out], LABELS[held_out]),
            preset="table",
            **{**QUICK, **{k: member.settings[k] for k in ("seed", "order_seed", "batch_size")}},
            learning_rate=member.settings["learning_rate"],
        )
        assert same(member.network, alone.network)
    assert len({repr(m.network.encoding) for m in result.members}) == 6
    ensemble = result.ensemble(len(result))
    np.testing.assert_allclose(
        ensemble.predict_proba(TABLE),
        np.mean([m.network.predict_proba(TABLE) for m in result.members], axis=0),
        rtol=1e-5,
    )


def test_an_encoding_that_was_learnt_before_is_that_of_all_folds() -> None:
    encoding = TableEncoder(numbers="standardize").learn(FEATURES)
    result = sweep(TABLE, "survived", cv=3, encode=encoding, **QUICK)
    assert all(member.network.encoding == encoding for member in result.members)
    (stack,) = result.ensemble(3).networks
    plain = sweep(encoding.transform(FEATURES), LABELS, cv=3, preset="table", **QUICK)
    pairs = zip(result.members, plain.members, strict=True)
    assert all(same(a.network, b.network) for a, b in pairs)
    np.testing.assert_array_equal(stack.predict_proba(TABLE), stack.predict_proba(FEATURES))


def test_files_keep_names_classes_and_encoding(tmp_path: Path) -> None:
    run = train(TABLE, "survived", seed=range(2), **QUICK)
    path = tmp_path / "model.safetensors"
    arraymlp.save(run.network, path)
    loaded = arraymlp.load(path)
    for name in ("features", "targets", "encoding"):
        assert getattr(loaded, name) == getattr(run.network, name)
    p = run.predict_proba(TABLE)
    np.testing.assert_array_equal(Ensemble([loaded]).predict_proba(TABLE), p)
    arraymlp.save(run, path)
    again: Run = arraymlp.load(path)
    np.testing.assert_array_equal(again.predict_proba(TABLE), p)
    longer = train(TABLE, "survived", network=again, epochs=2)
    assert longer.network.encoding == run.network.encoding
    assert len(longer.history) == 5
    result = sweep(TABLE, "survived", cv=2, seed=range(2), **QUICK)
    result.save(path)
    opened = arraymlp.SweepResult.load(path)
    for a, b in zip(opened.members, result.members, strict=True):
        assert a.network.encoding == b.network.encoding
        np.testing.assert_array_equal(a.network.predict(TABLE), b.network.predict(TABLE))


def test_a_network_goes_to_another_backend_with_its_encoding(quick_backend: Backend) -> None:
    network = train(TABLE, "survived", **QUICK).network
    p = network.to(quick_backend).predict_proba(TABLE)
    np.testing.assert_allclose(p, network.predict_proba(TABLE), rtol=1e-5, atol=1e-6)


def test_checkpoints_go_on_with_tables(tmp_path: Path) -> None:
    path = tmp_path / "run.checkpoint"
    given = {**QUICK, "validation": 0.2, "checkpoint": arraymlp.Checkpoint(path, "1 epoch")}

    def fall(event: Any) -> None:
        if event.record["epoch"] == 1:
            raise KeyError

    with pytest.raises(KeyError):
        train(TABLE, "survived", callbacks=fall, **given)
    again = train(TABLE, "survived", **given)
    assert same(again.network, train(TABLE, "survived", validation=0.2, **QUICK).network)
    assert arraymlp.load(path).predict(TABLE).tolist() == again.predict(TABLE).tolist()
    other = Frame(TABLE.names, (*TABLE.columns[:3], np.flip(TABLE.columns[3]), TABLE.columns[4]))
    with pytest.raises(arraymlp.CheckpointError, match="X was"):
        train(other, "survived", **given)


def test_several_numbers_are_targets_by_name() -> None:
    run = train(TABLE.select(("sex", "port", "age", "fare"))[_known()], ["age", "fare"], **QUICK)
    assert run.network.targets == ("age", "fare")
    assert run.predict(TABLE).shape == (N, 2)
    assert run.evaluate(TABLE[_known()]).n == int(_known().sum())


def _known() -> Any:
    return ~np.isnan(np.asarray(TABLE.column("age")))


def test_without_an_encoder_numbers_are_as_they_are() -> None:
    numbers = TABLE.select(("fare", "survived"))
    run = train(numbers, "survived", encode=False, **QUICK)
    assert run.network.encoding is None
    assert run.network.sizes[0] == 1
    assert run.network.features == ("fare",)


def test_labels_of_minus_and_plus_1_are_classes(quick_backend: Backend) -> None:
    X = np.asarray(TABLE.column("fare"))[:, None]
    y = np.where(X[:, 0] > 30, 1, -1)
    run = train(X, y, backend=quick_backend, epochs=1)
    assert set(run.predict(X)) <= {-1, 1}
    assert run.network.classes is not None
    assert run.network.classes.tolist() == [-1, 1]
    assert run.evaluate(X, y).n == N


def test_texts_are_labels_of_arrays_too(quick_backend: Backend) -> None:
    X = np.asarray(TABLE.column("fare"), np.float32)[:, None]
    run = train(X, LABELS, backend=quick_backend, epochs=1, class_weight={"yes": 2.0})
    assert set(run.predict(X)) <= {"no", "yes"}
    if quick_backend.name != "numpy":
        with pytest.raises(ValueError, match="labels such as 'no' are no numbers"):
            run.network.predict(quick_backend.asarray(X))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: train(TABLE, "surived"), "y is 'surived', but X has no such column: it has 'age'"),
        (lambda: train(np.ones((4, 2)), "a"), "the name of a column, but X is no data frame"),
        (lambda: train(TABLE.select(("fare",)), "fare"), "no columns beside the targets"),
        (lambda: train(TABLE), "y is missing"),
        (lambda: train(TABLE, "port", **QUICK), "y has labels that are texts, but row . has none"),
        (lambda: train(TABLE, "age", **QUICK), r"y must be finite, but y\[.*\] is nan"),
        (lambda: train(TABLE, ["sex", "fare"]), "several targets must be numbers, but 'sex' is"),
        (lambda: train(TABLE, "survived", encode="piecewise"), "encode must be True, False"),
        (lambda: train(encode=True), "encode needs X and y"),
        (lambda: train(FEATURES, LABELS, encode=False), "X must be numeric"),
        (
            lambda: train(TABLE, "survived", network=_plain(), encode=True),
            "encode cannot be given together with network=",
        ),
        (lambda: _plain().evaluate(np.ones((3, 1))), "the network does not know its targets"),
        (
            lambda: train(TABLE, "survived", **QUICK).evaluate(FEATURES),
            "y is 'survived', but X has no such column",
        ),
    ],
)
def test_what_is_no_table_or_target_is_refused(call: Callable[[], Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


def test_the_row_of_an_infinite_number_is_the_table_s() -> None:
    """Whichever rows are held out before an encoding is learnt of the others."""
    fare = np.arange(float(N)) ** 2
    for row in range(0, N, 17):
        column = fare.copy()
        column[row] = np.inf
        for settings in ({}, {"validation": 0.3}, {"seed": range(2)}):
            with pytest.raises(ValueError, match=f"'fare' has an infinite number in row {row}:"):
                train(Frame(("fare",), (column,)), LABELS, encode=True, epochs=1, **settings)
        with pytest.raises(ValueError, match=f"'fare' has an infinite number in row {row}:"):
            sweep(Frame(("fare",), (column,)), LABELS, encode=True, epochs=1, cv=3, seed=[0])


def test_a_file_s_features_are_those_of_its_encoding(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    network = train(TABLE, "survived", **QUICK).network
    arraymlp.save(network, path)
    header, tensors = read_parts(path)
    for features in (["age", "sex", "port", "other"], ["sex", "age", "port", "fare"], ["age"] * 4):
        write_parts(path, {**header, "features": features}, tensors)
        with pytest.raises(arraymlp.ModelFileError, match="not those that its encoding has"):
            arraymlp.load(path)
    write_parts(path, {k: v for k, v in header.items() if k != "features"}, tensors)
    again: Any = arraymlp.load(path)
    assert again.features == network.features
    write_parts(path, {**header, "targets": ["a", "b"]}, tensors)
    with pytest.raises(arraymlp.ModelFileError, match="names of 2 targets, but 1 of them"):
        arraymlp.load(path)


def _plain() -> MultilayerPerceptron:
    return train(np.ones((8, 1), np.float32), np.arange(8) % 2, epochs=1).network

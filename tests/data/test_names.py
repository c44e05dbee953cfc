"""Names of features: kept in the network, held against everything that has names (B8)."""

import numpy as np
import pytest

from arraymlp import Ensemble, load, save, sweep, train

pandas = pytest.importorskip("pandas")
N = 120
VALUES = np.random.default_rng(0).normal(size=(N, 3))
FRAME = pandas.DataFrame(VALUES, columns=["a", "b", "c"])
Y = (VALUES[:, 0] > 0).astype(int)
SETTINGS = {"hidden": (8,), "epochs": 2}


def test_a_network_keeps_the_names_and_holds_columns_to_them(tmp_path) -> None:  # type: ignore[no-untyped-def]
    run = train(FRAME, Y, **SETTINGS)
    save(run.network, tmp_path / "n")
    for network in (run.network, load(tmp_path / "n"), run.network.copy(), run.network.to("numpy")):
        assert network.features == ("a", "b", "c")
        np.testing.assert_array_equal(network.predict(FRAME), network.predict(VALUES))
        for what in (network.predict, network.predict_proba, network.logits):
            with pytest.raises(
                ValueError, match=r"in another order: give them as \['a', 'b', 'c'\]"
            ):
                what(FRAME[["b", "a", "c"]])
        with pytest.raises(ValueError, match="without 'c', with 'd'"):
            network.predict(FRAME.rename(columns={"c": "d"}))


def test_validation_and_further_training_are_held_to_them() -> None:
    turned = FRAME[["c", "b", "a"]]
    with pytest.raises(
        ValueError, match="the columns of the validation X are those trained on, but"
    ):
        train(FRAME, Y, validation=(turned, Y), **SETTINGS)
    run = train(FRAME, Y, **SETTINGS)
    with pytest.raises(ValueError, match="the columns of X are those trained on, but"):
        train(turned, Y, network=run.network)
    with pytest.raises(ValueError, match="the columns of X are those trained on, but"):
        train(turned, Y, network=run)
    assert train(VALUES, Y, network=run).network.features == ("a", "b", "c")


def test_a_sweep_keeps_them(tmp_path) -> None:  # type: ignore[no-untyped-def]
    result = sweep(FRAME, Y, seed=[0, 1], standardize=[False, True], cv=2, **SETTINGS)
    assert {member.network.features for member in result} == {("a", "b", "c")}
    with pytest.raises(ValueError, match="another order"):
        result.ensemble(2).predict_proba(FRAME[["b", "a", "c"]])
    result.save(tmp_path / "s")
    again = type(result).load(tmp_path / "s")
    assert again[0].network.features == ("a", "b", "c")


def test_chunks_are_held_to_the_first() -> None:
    chunks = [(FRAME[:60], Y[:60]), (FRAME[60:], Y[60:])]
    assert train(chunks, **SETTINGS).network.features == ("a", "b", "c")
    chunks[1] = (FRAME[60:][["b", "c", "a"]], Y[60:])
    with pytest.raises(ValueError, match="the columns of chunk 1 of X are those trained on, but"):
        train(chunks, **SETTINGS)


def test_numbers_are_no_names() -> None:
    assert train(pandas.DataFrame(VALUES), Y, **SETTINGS).network.features is None


def test_polars_has_names_too() -> None:
    polars = pytest.importorskip("polars")
    frame = polars.DataFrame(VALUES, schema=["a", "b", "c"])
    run = train(frame, Y, **SETTINGS)
    assert run.network.features == ("a", "b", "c")
    with pytest.raises(ValueError, match="another order"):
        run.network.predict(FRAME[["b", "a", "c"]])


def test_an_ensemble_is_held_to_those_of_its_members() -> None:
    named = train(FRAME, Y, epochs=1).network
    other = train(FRAME[["b", "a", "c"]], Y, epochs=1).network
    plain = train(FRAME.to_numpy(), Y, epochs=1).network
    deep = train(FRAME.to_numpy(), Y, epochs=1, hidden=(4,)).network
    with pytest.raises(ValueError, match="differ in names of features"):
        Ensemble([named, other])
    for members in ([named, plain], [plain, named], [deep, plain, named]):
        together = Ensemble(members)
        together.predict(FRAME)
        with pytest.raises(ValueError, match="another order"):
            together.predict(FRAME[["b", "a", "c"]])


def test_a_network_without_names_takes_those_it_goes_on_with() -> None:
    plain = train(FRAME.to_numpy(), Y, epochs=1).network
    assert plain.features is None
    assert train(FRAME, Y, network=plain, epochs=1).network.features == ("a", "b", "c")
    assert plain.features is None

"""Tables larger than memory: kept on the disk, given in windows, trained on as those in memory."""

import gc
import warnings
from pathlib import Path

import numpy as np
import pytest

import arraymlp
from arraymlp.data.encoded_rows import EncodedRows
from arraymlp.data.encoding.encoder import TableEncoder
from arraymlp.data.files import csv_chunks, table_rows
from arraymlp.data.files.table_files import open_table
from arraymlp.data.files.table_rows import TableRows, fits_memory
from arraymlp.data.files.table_targets import target_of
from arraymlp.data.frames.frame import Frame
from tables_alike import plain

N = 400


def frame(n: int = N) -> tuple[str, dict[str, list[object]]]:
    """A CSV file, and its columns."""
    rng = np.random.default_rng(0)
    columns: dict[str, list[object]] = {
        "small": rng.integers(-5, 120, n).tolist(),
        "large": (rng.integers(-(2**62), 2**62, n) * 2).tolist(),
        "real": rng.normal(size=n).tolist(),
        "late": [*range(n - 50), *["x"] * 50],
        "gaps": [float(i) if i % 3 else "" for i in range(n)],
        "kind": [["dog", "cat", "", "a\nb"][i] for i in rng.integers(0, 4, n)],
        "id": [f"row {i}" for i in range(n)],
        "y": [["no", "yes"][i] for i in rng.integers(0, 2, n)],
    }
    lines = [",".join(columns)]
    lines += [",".join(f'"{v}"' for v in row) for row in zip(*columns.values(), strict=True)]
    return "\n".join(lines), columns


@pytest.fixture(params=["small blocks", "one block"])
def rows(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    if request.param == "small blocks":
        monkeypatch.setattr(csv_chunks, "CHUNK", 2000)
    (tmp_path / "data.csv").write_text(frame()[0], encoding="utf-8")
    with open_table(tmp_path / "data.csv") as table, TableRows(table) as kept:
        yield kept


def whole(rows: TableRows) -> Frame:
    with open_table(rows.title) as table:
        return table.read()


def same(a: Frame, b: Frame) -> bool:
    return plain(a) == plain(b)


def test_rows_are_those_of_the_file(rows: TableRows) -> None:
    table = whole(rows)
    assert rows.shape == table.shape == (N, 8)
    assert same(rows.read(), table)
    for a, b in [(0, 1), (3, 60), (N - 1, N), (17, 17), (50, 10), (-30, None), (0, 10**9)]:
        assert same(rows[a:b], table[a:b])
    part = rows.read(slice(20, 90), ("kind", "small"))
    assert same(part, table[20:90].select(("kind", "small")))
    with pytest.raises(ValueError, match="not with a step of 2"):
        rows[::2]


def test_rows_are_taken_by_their_numbers(rows: TableRows) -> None:
    table = whole(rows)
    for numbers in ([0], [5, 6, 7], [1, 70, 71, N - 1], [], range(0, N, 7)):
        chosen = np.asarray(numbers, dtype=np.intp)
        assert same(rows.take(chosen), table[chosen])


def test_rows_here_and_there_have_no_texts_of_others(rows: TableRows) -> None:
    drawn = rows.sample(20, 0, names=("id", "kind"))
    assert [len(column.values) for column in drawn.columns] == [20, 3]
    assert same(drawn, whole(rows).select(("id", "kind"))[rows_of(drawn)])


def rows_of(table: Frame) -> np.ndarray:
    return np.array([int(text[4:]) for text in table.column("id").to_numpy()])


def test_a_sample_is_drawn_without_replacement(rows: TableRows) -> None:
    drawn = rows.sample(50, 0, names=("id",))
    ids = drawn.columns[0].to_numpy().tolist()
    assert len(set(ids)) == 50
    assert ids == sorted(ids, key=lambda text: int(text[4:]))
    assert rows.sample(50, 0, names=("id",)).columns[0].to_numpy().tolist() == ids
    assert rows.sample(50, 1, names=("id",)).columns[0].to_numpy().tolist() != ids
    odd = np.arange(1, N, 2)
    numbers = [int(text[4:]) for text in rows.sample(60, 0, odd).column("id").to_numpy()]
    assert len(set(numbers)) == 60
    assert all(number % 2 for number in numbers)
    assert same(rows.sample(N, 0), whole(rows))
    assert same(rows.sample(N, 0, odd), whole(rows)[odd])
    counts = np.zeros(N)
    for seed in range(200):
        counts[
            [int(text[4:]) for text in rows.sample(40, seed, names=("id",)).columns[0].to_numpy()]
        ] += 1
    assert counts.min() > 0
    assert counts.max() < 50  # 20 each, on the average


def test_its_values_take_few_bytes(rows: TableRows) -> None:
    widths = {
        name: column.stored.itemsize
        for name, column in zip(rows.names, rows._blocks[-1].columns, strict=True)
    }
    assert widths["small"] == widths["kind"] == widths["y"] == 1
    assert widths["large"] == widths["real"] == 8


@pytest.mark.parametrize("values", [[-1, 2**63 - 1], [-(2**63), 0], [-128, 127], [128, 0]])
def test_integers_are_kept_to_the_last(tmp_path: Path, values: list[int]) -> None:
    np.savez(tmp_path / "data.npz", a=np.array(values), y=[0.5, 1])
    with open_table(tmp_path / "data.npz") as table, TableRows(table) as rows:
        kept = rows.read().columns[0]
        assert (kept.dtype, kept.tolist()) == (np.dtype("i8"), values)


def test_times_and_booleans_are_kept(tmp_path: Path) -> None:
    days = np.array(["2024-05-31", "NaT"], "datetime64[D]")
    np.savez(tmp_path / "data.npz", when=days, flag=[True, False], name=["a", "ß\0b"])
    with open_table(tmp_path / "data.npz") as table, TableRows(table) as rows:
        assert same(rows.read(), table.read())


def test_the_file_is_removed_at_the_end(tmp_path: Path) -> None:
    (tmp_path / "data.csv").write_text(frame()[0], encoding="utf-8")
    (tmp_path / "bad.csv").write_text("a,b\n1,2\n3\n")
    folder = tmp_path / "scratch"
    folder.mkdir()
    with open_table(tmp_path / "data.csv") as table:
        with TableRows(table, folder):
            assert len(list(folder.iterdir())) == 1
        assert not list(folder.iterdir())
        rows = TableRows(table, folder)
        assert len(list(folder.iterdir())) == 1
        del rows
        gc.collect()
        assert not list(folder.iterdir())
    with pytest.raises(ValueError, match="line 3 has 1 cells"):
        TableRows(open_table(tmp_path / "bad.csv"), folder)
    assert not list(folder.iterdir())


# Training


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_features_are_encoded_as_they_are_read(rows: TableRows, dtype: str) -> None:
    features, _ = target_of(whole(rows), ("y",))
    with warnings.catch_warnings(action="ignore"):
        encoding = TableEncoder().learn(features)
    X = EncodedRows(rows, encoding, dtype)
    expected = encoding.transform(features, dtype)
    assert (X.shape, X.dtype, len(X)) == (expected.shape, expected.dtype, N)
    assert X[7:130].tobytes() == expected[7:130].tobytes()
    with pytest.raises(TypeError, match="read by slices, not by int"):
        X[0]
    with pytest.raises(TypeError, match="larger than memory"):
        np.asarray(X)


def test_training_by_windows_is_training_in_memory(rows: TableRows) -> None:
    """The order of the rows given, as windows are mixed in their own; it has one minibatch."""
    features, y = target_of(whole(rows), ("y",))
    with warnings.catch_warnings(action="ignore"):
        encoding = TableEncoder().learn(features)
    y = np.unique(y, return_inverse=True)[1]
    how = {"hidden": (4,), "epochs": 3, "batch_size": 300, "seed": 0, "validation": 0.25}
    how |= {"dtype": "float64", "backend": "numpy"}
    windows = arraymlp.train(EncodedRows(rows, encoding, "float64"), y, **how)
    memory = arraymlp.train(encoding.transform(features, "float64"), y, **how)
    assert len(windows.history) == 3
    for a, b in zip(windows.history, memory.history, strict=True):
        assert a["loss"] == pytest.approx(b["loss"], rel=1e-12)
        assert a["validation_loss"] == pytest.approx(b["validation_loss"], rel=1e-12)


def test_whether_a_table_fits_goes_by_the_memory_that_is_free(monkeypatch) -> None:
    monkeypatch.setattr(table_rows, "host_memory", lambda: (1000, 4000))
    assert fits_memory(250)
    assert not fits_memory(251)
    monkeypatch.setattr(table_rows, "host_memory", lambda: None)
    assert fits_memory(10**15)

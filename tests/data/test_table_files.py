"""Parquet, NumPy's .npz and standard input as tables."""

import io
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from arraymlp.data.files import parquet_table
from arraymlp.data.files.table_files import open_table
from tables_alike import plain, read_alike

COLUMNS: dict[str, list[Any]] = {
    "real": [0.5, None, 2.5, 3.5],
    "whole": [1, 2, 3, 4],
    "gaps": [1, 2, None, 4],
    "flag": [True, False, True, True],
    "maybe": [True, True, True, None],
    "text": ["a", "b", None, "NA"],
}


def write(tmp_path: Path, columns: dict[str, Any] = COLUMNS, **how: Any) -> Path:
    pa, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    path = tmp_path / "data.parquet"
    parquet.write_table(pa.table(columns), path, **how)
    return path


# Parquet


@pytest.mark.parametrize("rows", [1, 3, 100])
def test_parquet_has_its_own_types(tmp_path: Path, monkeypatch, rows: int) -> None:
    path = write(tmp_path, row_group_size=2)
    monkeypatch.setattr(parquet_table, "ROWS", rows)
    table = open_table(path)
    whole = plain(table.read())
    assert whole == {
        "real": ("float64", ["0.5", None, "2.5", "3.5"]),
        "whole": ("int64", [1, 2, 3, 4]),
        "gaps": ("float64", ["1.0", "2.0", None, "4.0"]),
        "flag": ("bool", [True, False, True, True]),
        "maybe": ("text", ["True", "True", "True", None]),
        "text": ("text", ["a", "b", None, "NA"]),
    }
    assert table.kinds() == {
        "real": "number",
        "whole": "integer",
        "gaps": "number",
        "flag": "boolean",
        "maybe": "text",
        "text": "text",
    }
    for again in (table, open_table(path)):
        blocks = [plain(block) for block in again.blocks(1)]
        assert len(blocks) == 4
        for name, (dtype, values) in whole.items():
            assert [block[name] for block in blocks] == [(dtype, [value]) for value in values]


def test_dates_times_and_small_types(tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    path = write(
        tmp_path,
        {
            "day": pa.array([0, None, 19000], pa.date32()),
            "zone": pa.array([0, None, 3_600_000_000], pa.timestamp("us", "Europe/Berlin")),
            "small": pa.array([1.5, None, 2], pa.float32()),
            "byte": pa.array([1, 2, 255], pa.uint8()),
            "money": pa.array([1, None, 2], pa.decimal128(5, 2)),
            "none": pa.nulls(3),
            "view": pa.array(["a", None, "a"], pa.large_string()),
            "kinds": pa.array(["a", None, "b"]).dictionary_encode(),
        },
    )
    frame = open_table(path).read()
    assert [c.dtype.str for c in frame.columns[:6]] == [
        "<M8[D]",
        "<M8[us]",
        "<f4",
        "|u1",
        "<f8",
        "<f8",
    ]
    assert str(frame.column("zone")[2]) == "1970-01-01T01:00:00.000000"  # in UTC
    assert [c.to_numpy().tolist() for c in frame.columns[6:]] == [
        ["a", None, "a"],
        ["a", None, "b"],
    ]
    assert np.isnan(frame.column("none")).all()


def test_known_kinds_say_what_booleans_and_texts_are(tmp_path: Path) -> None:
    columns = {**COLUMNS, "when": ["2024-05-31", None, "2024-06-01T12:00", "2024-06-02"]}
    kinds = {"when": "time", "flag": "text", "whole": "number", "maybe": "text"}
    table = open_table(write(tmp_path, columns), kinds)
    frame = plain(table.read())
    assert list(frame) == list(kinds)
    assert table.extra == ("real", "gaps", "text")
    assert frame["when"][0] == "datetime64[us]"
    assert frame["flag"] == ("text", ["True", "False", "True", "True"])
    assert frame["whole"] == ("float64", ["1.0", "2.0", "3.0", "4.0"])
    numbers = open_table(write(tmp_path), {"flag": "number"}).read()
    assert plain(numbers) == {"flag": ("float64", ["1.0", "0.0", "1.0", "1.0"])}
    with pytest.raises(ValueError, match=r"data\.parquet: there are no columns 'x', 'y'"):
        open_table(write(tmp_path), {"x": "text", "real": "number", "y": "text"})


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"a": [[1], [2, 3]]}, "column 'a': it must be numbers, texts or dates, not list"),
        ({"a": [b"x", b"y"]}, "column 'a': it must be numbers, texts or dates, not binary"),
        ({"a": []}, "it has no rows"),
        ({"": [1]}, "a column has no name"),
        ({}, "it has no columns"),
    ],
)
def test_what_is_wrong_with_a_parquet_file_is_said(tmp_path: Path, columns, message) -> None:
    path = write(tmp_path, columns)
    with pytest.raises(ValueError, match=rf"^{path}: {message}"):
        open_table(path).read()


def test_two_columns_of_one_name_are_refused(tmp_path: Path) -> None:
    pa, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    path = tmp_path / "data.parquet"
    parquet.write_table(pa.Table.from_arrays([pa.array([1]), pa.array([2])], ["a", "a"]), path)
    with pytest.raises(ValueError, match="2 columns have the name 'a'"):
        open_table(path)


def test_a_damaged_row_group_is_named_when_it_is_read(tmp_path: Path) -> None:
    path = write(tmp_path, {"a": [float(i) for i in range(10_000)]}, compression="none")
    content = bytearray(path.read_bytes())
    content[4:40] = bytes(36)
    path.write_bytes(content)
    table = open_table(path)
    with pytest.raises(ValueError, match=rf"^{path}: not readable as Parquet"):
        table.read()


# NPZ


def test_the_arrays_of_an_npz_file_are_columns(tmp_path: Path) -> None:
    path = tmp_path / "data.npz"
    np.savez(
        path,
        y=[0, 1, 0],
        age=np.array([1, 2, 3], ">i4"),
        name=["b", "a", "b"],
        flag=[True, False, True],
        when=np.array(["2024-05-31", "NaT", "2020-01-01"], "datetime64[D]"),
    )
    table = open_table(path)
    assert table.names == ("age", "name", "flag", "when", "y")
    assert table.kinds() == dict(
        zip(table.names, ["integer", "text", "boolean", "time", "integer"], strict=True)
    )
    assert table.targets() == ("y",)
    assert table.features(("y",)) == ("age", "name", "flag", "when")
    assert plain(table.read())["name"] == ("text", ["b", "a", "b"])
    assert [len(block) for block in table.blocks(2)] == [2, 1]
    some = open_table(path, {"name": "text", "age": "number"})
    assert list(plain(some.read())) == ["name", "age"]
    assert some.read().column("age").dtype == np.float64


def test_an_array_x_has_the_features_of_all_targets(tmp_path: Path) -> None:
    path = tmp_path / "data.npz"
    np.savez(path, y=np.zeros((3, 2)), price=[1.5, 2, 3], X=np.arange(6).reshape(3, 2))
    table = open_table(path)
    assert table.names == ("price", "x0", "x1", "y0", "y1")
    assert table.targets() == table.targets("y") == ("y0", "y1")
    assert table.targets("price") == ("price",)
    assert table.features(("price",)) == ("x0", "x1")


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"X": np.ones((3, 2)), "y": np.ones(2)}, "different numbers of rows: x0 3, x1 3, y 2"),
        ({"X": np.ones((3, 1)), "x0": np.ones(3)}, "2 columns have the name 'x0'"),
        ({"y": np.ones(0)}, "it has no rows"),
        ({"y": np.ones(3, complex)}, "column 'y': Complex data not supported"),
        ({}, "it has no arrays"),
    ],
)
def test_what_is_wrong_with_an_npz_file_is_said(tmp_path: Path, arrays, message) -> None:
    np.savez(tmp_path / "data.npz", **arrays)
    with pytest.raises(ValueError, match=rf"data\.npz: .*{message}"):
        open_table(tmp_path / "data.npz")


# Standard input


def give(monkeypatch: pytest.MonkeyPatch, content: bytes) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))


def test_standard_input_is_read_as_often_as_a_file(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    give(monkeypatch, b"a,b\n1,x\n2,y\n")
    with open_table("-") as table:
        assert plain(table.read()) == {"a": ("int64", [1, 2]), "b": ("text", ["x", "y"])}
        assert [len(block) for block in table.blocks(1)] == [1, 1]
        assert len(list(tmp_path.iterdir())) == 1
    assert not list(tmp_path.iterdir())
    give(monkeypatch, b"a,b\n1,x\n2\n")
    with open_table("-") as table, pytest.raises(ValueError, match=r"^standard input: line 3 has"):
        table.read()
    assert not list(tmp_path.iterdir())
    give(monkeypatch, b"")
    with pytest.raises(ValueError, match=r"^standard input: it is empty"):
        open_table("-")
    assert not list(tmp_path.iterdir())


def test_what_comes_from_standard_input_is_told_by_how_it_begins(
    tmp_path: Path, monkeypatch
) -> None:
    np.savez(tmp_path / "data.npz", a=[1, 2])
    give(monkeypatch, (tmp_path / "data.npz").read_bytes())
    with open_table("-") as table:
        assert plain(table.read()) == {"a": ("int64", [1, 2])}
    path = write(tmp_path, {"a": [1, 2]})
    give(monkeypatch, path.read_bytes())
    with open_table("-", {"a": "number"}) as table:
        assert plain(table.read()) == {"a": ("float64", ["1.0", "2.0"])}


# All


def test_the_same_table_is_the_same_in_every_format(tmp_path: Path) -> None:
    columns = {"a": [0.5, 2.5], "n": [1, 2], "t": ["x", "y"]}
    parquet = plain(open_table(write(tmp_path, columns)).read())
    np.savez(tmp_path / "data.npz", **columns)
    (tmp_path / "data.csv").write_text("a,n,t\n0.5,1,x\n2.5,2,y\n")
    (tmp_path / "data.tsv").write_text("a\tn\tt\n0.5\t1\tx\n2.5\t2\ty\n")
    assert parquet == plain(open_table(tmp_path / "data.npz").read())
    assert parquet == read_alike(tmp_path / "data.csv") == read_alike(tmp_path / "data.tsv")

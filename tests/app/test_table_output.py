"""Tables are written as they are made, whole or not at all."""

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from arraymlp.app.table_output import require_output, write_table
from arraymlp.data.frames import Frame, Texts
from arraymlp.data.table_files import open_table

NAMES = ("half", "whole", "label", "text, with a comma", "day")


def frames(n: int = 3) -> Iterator[Frame]:
    """Blocks of a table with a column of each kind, in which some values are missing."""
    for i in range(n):
        halves = np.asarray([0.1 + i, np.nan], np.float32)
        days = np.asarray(["2024-05-31", "NaT"], "datetime64[D]")
        texts = Texts(np.asarray([0, -1], np.int32), ('a "b", c',))
        labels = np.asarray(["yes", "größe"])
        yield Frame(NAMES, (halves, np.asarray([i, -i]), labels, texts, days))


def test_csv_has_the_shortest_numbers_and_empty_cells(tmp_path: Path) -> None:
    file = tmp_path / "t.csv"
    write_table(str(file), frames(2))
    assert file.read_text(encoding="utf-8") == (
        'half,whole,label,"text, with a comma",day\n'
        '0.1,0,yes,"a ""b"", c",2024-05-31\n,0,größe,,\n'
        '1.1,1,yes,"a ""b"", c",2024-05-31\n,-1,größe,,\n'
    )


@pytest.mark.parametrize("suffix", ["csv", "tsv", "parquet"])
def test_what_is_written_is_read_back(tmp_path: Path, suffix: str) -> None:
    if suffix == "parquet":
        pytest.importorskip("pyarrow")
    file = tmp_path / f"t.{suffix}"
    write_table(str(file), frames())
    with open_table(file) as table:
        read = table.read()
    assert read.names == NAMES
    half, whole, label, text, _ = read.columns
    np.testing.assert_array_equal(
        np.float32(half), np.float32([0.1, np.nan, 1.1, np.nan, 2.1, np.nan])
    )
    np.testing.assert_array_equal(whole, [0, 0, 1, -1, 2, -2])
    assert isinstance(label, Texts)
    assert isinstance(text, Texts)
    assert label.to_numpy().tolist() == ["yes", "größe"] * 3
    assert text.to_numpy().tolist() == ['a "b", c', None] * 3


def test_standard_output_is_utf_8(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    write_table("-", frames(1))
    assert "größe".encode() in capfdbinary.readouterr().out


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_an_error_on_the_way_leaves_the_old_file(tmp_path: Path, suffix: str) -> None:
    if suffix == "parquet":
        pytest.importorskip("pyarrow")
    file = tmp_path / f"t.{suffix}"
    file.write_text("old")

    def broken() -> Iterator[Frame]:
        yield from frames(1)
        raise ValueError("the table is damaged")

    with pytest.raises(ValueError, match="the table is damaged"):
        write_table(str(file), broken())
    assert file.read_text() == "old"
    assert os.listdir(tmp_path) == [file.name]


def test_what_cannot_be_written_is_refused_before(tmp_path: Path) -> None:
    require_output("-")
    require_output(str(tmp_path / "t.csv"))
    with pytest.raises(ValueError, match=r"t\.xlsx: a table is written as \.csv, "):
        require_output("t.xlsx")
    with pytest.raises(OSError, match="cannot be written"):
        require_output(str(tmp_path / "absent" / "t.csv"))

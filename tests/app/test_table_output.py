"""Tables are written whole or not at all, and are read back as they were."""

import csv
import io
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from arraymlp.app.number_texts import number_texts
from arraymlp.app.table_output import require_output, table_writer, write_table
from arraymlp.data.files.table_files import open_table
from arraymlp.data.frames.frame import Frame, Texts


def frame() -> Frame:
    values = ("dog", 'say "no"', "a, b", "two\nlines", "tab\there")
    return Frame(
        ("kind", "p, 1", "n", "x", "flag", "when"),
        (
            Texts(np.array([0, 1, 2, 3, 4, -1, 0], np.int32), values),
            np.array([0.1, 1 / 3, 1, 1e-30, np.nan, 5e20, -0.0], np.float32),
            np.array([1, -2, 3, 2**62, 0, 5, 6]),
            np.array([0.1, 1 / 3, 1, 1e-300, np.nan, 5e20, -0.0]),
            np.array([True, False] * 3 + [True]),
            np.array(["2024-05-31", "NaT"] * 3 + ["2020-01-01"], "datetime64[D]"),
        ),
    )


def parts(table: Frame) -> list[Frame]:
    return [table[:2], table[2:2], table[2:]]


@pytest.mark.parametrize("name", ["out.csv", "out.tsv"])
def test_csv_has_cells_that_read_back_the_same(tmp_path: Path, name: str) -> None:
    write_table(tmp_path / name, parts(frame()))
    with (tmp_path / name).open(newline="", encoding="utf-8") as file:
        rows = list(csv.reader(file, delimiter="\t" if name == "out.tsv" else ",", strict=True))
    assert rows[0] == list(frame().names)
    columns = list(zip(*rows[1:], strict=True))
    assert columns[0] == ("dog", 'say "no"', "a, b", "two\nlines", "tab\there", "", "dog")
    assert columns[1] == ("0.1", "0.33333334", "1.0", "1e-30", "", "5e+20", "-0.0")
    assert columns[2] == ("1", "-2", "3", str(2**62), "0", "5", "6")
    assert columns[3] == ("0.1", repr(1 / 3), "1.0", "1e-300", "", "5e+20", "-0.0")
    assert columns[4] == ("True", "False", "True", "False", "True", "False", "True")
    assert columns[5] == ("2024-05-31", "", "2024-05-31", "", "2024-05-31", "", "2020-01-01")


def test_parquet_has_the_columns_types(tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    write_table(tmp_path / "out.parquet", parts(frame()))
    table = parquet.read_table(tmp_path / "out.parquet")
    types = ["string", "float", "int64", "double", "bool", "date32[day]"]
    assert [str(kind) for kind in table.schema.types] == types
    assert table.column(0).to_pylist() == frame().columns[0].to_numpy().tolist()
    assert table.column(1).null_count == table.column(3).null_count == 1
    assert table.column("n").to_pylist() == frame().column("n").tolist()


def test_a_missing_value_alone_is_no_empty_line(tmp_path: Path) -> None:
    column = Texts(np.array([0, -1, 0], np.int32), ("a",))
    write_table(tmp_path / "out.csv", [Frame(("x",), (column,))])
    assert (tmp_path / "out.csv").read_bytes() == b'x\na\n""\na\n'
    with open_table(tmp_path / "out.csv") as table:
        assert table.read().columns[0].to_numpy().tolist() == ["a", None, "a"]


def test_standard_output_takes_csv(monkeypatch: pytest.MonkeyPatch) -> None:
    output = io.TextIOWrapper(io.BytesIO(), encoding="latin-1")
    monkeypatch.setattr(sys, "stdout", output)
    write_table("-", [Frame(("größe",), (np.array([1, 2]),))])
    assert output.buffer.getvalue() == "größe\n1\n2\n".encode()


def test_a_file_is_whole_or_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "out.csv"
    path.write_text("before")

    def broken():
        yield frame()
        raise ValueError("data.csv: line 3 has 1 cells")

    with pytest.raises(ValueError, match="line 3"):
        write_table(path, broken())
    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]
    with pytest.raises(FileNotFoundError, match="absent"):
        write_table(tmp_path / "absent" / "out.csv", [frame()])


def test_another_kind_of_file_is_refused_before_anything_is_computed(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"out\.txt: a table is written as \.csv, \.tsv or"):
        table_writer(tmp_path / "out.txt")


def test_without_pyarrow_the_install_line_is_named(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(ModuleNotFoundError, match=r"out\.parquet: .*pip install pyarrow"):
        write_table(tmp_path / "out.parquet", [frame()])


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_numbers_have_the_fewest_digits_that_read_back(dtype: str) -> None:
    rng = np.random.default_rng(0)
    with np.errstate(over="ignore", under="ignore"):
        values = np.concatenate(
            [
                rng.random(3000),
                rng.normal(size=3000) * 10.0 ** rng.uniform(-50, 40, 3000),
                rng.integers(-(2**24), 2**24, 1000),
                rng.random(1000).round(3),
                [0.0, -0.0, np.inf, -np.inf, np.nan, np.finfo(dtype).max, np.finfo(dtype).tiny],
            ]
        ).astype(dtype)
    texts = number_texts(values)
    np.testing.assert_array_equal(np.array(texts, float).astype(dtype), values)
    for text, value in zip(texts, values, strict=True):
        assert text.startswith("-") == bool(np.signbit(value)) or text == "nan"
        if np.isfinite(value):
            assert _digits(text) <= _digits(np.format_float_scientific(value))


def _digits(text: str) -> int:
    return len(text.split("e")[0].replace(".", "").strip("-0"))


def test_what_cannot_be_written_is_refused_before_the_work(tmp_path: Path) -> None:
    require_output("-")
    require_output(tmp_path / "t.csv")
    with pytest.raises(ValueError, match=r"t\.xlsx: a table is written as \.csv, "):
        require_output("t.xlsx")
    with pytest.raises(OSError, match="cannot be written"):
        require_output(tmp_path / "absent" / "t.csv")


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
def test_who_reads_no_more_ends_it_quietly() -> None:
    code = (
        "import numpy as np\nfrom arraymlp.app.table_output import write_table\n"
        "from arraymlp.data.frames.frame import Frame\n"
        "write_table('-', (Frame(('a',), (np.arange(9999),)) for _ in range(99)))"
    )
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", code], **pipes) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == b"a\n"
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(timeout=60) == 141

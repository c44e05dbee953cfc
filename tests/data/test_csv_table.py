"""CSV files become columns of numbers and texts, by pyarrow and by the csv module alike."""

import csv
import io
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from arraymlp.data.files import csv_arrow, csv_chunks
from arraymlp.data.files.table_files import open_table
from tables_alike import plain, read_alike

READERS = ["pyarrow", "csv"]


@pytest.fixture(params=READERS)
def reader(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Has pyarrow read, or the csv module."""
    if request.param == "pyarrow":
        pytest.importorskip("pyarrow")
    else:
        monkeypatch.setattr(csv_arrow, "is_installed", lambda: False)
    return str(request.param)


def write(tmp_path: Path, content: str | bytes, name: str = "data.csv") -> Path:
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def column_of(cells: list[str]) -> str:
    """A file with two columns, the first of these cells."""
    return "a,b\n" + "".join(f"{cell},x\n" for cell in cells)


# What columns are


@pytest.mark.parametrize(
    ("cells", "kind", "values"),
    [
        (["1", "-2", "0"], "int64", [1, -2, 0]),
        ([" 1", "\t2 ", "3"], "int64", [1, 2, 3]),
        (['"1"', "2", "3"], "int64", [1, 2, 3]),
        (["1", "2.0", "3"], "float64", ["1.0", "2.0", "3.0"]),
        (["1.", ".5", "-1e-3"], "float64", ["1.0", "0.5", "-0.001"]),
        (["+1.5", "+2", "3"], "float64", ["1.5", "2.0", "3.0"]),
        (["1", "", "3"], "float64", ["1.0", None, "3.0"]),
        (["1.5", "Inf", "-infinity"], "float64", ["1.5", "inf", "-inf"]),
        (["1", "na", "NONE"], "float64", ["1.0", None, None]),
        (["1", " NA ", "?"], "float64", ["1.0", None, None]),
        (["0.1", "1e999", "1e-999"], "float64", ["0.1", "inf", "0.0"]),
        (["", "NA", "nan"], "float64", [None, None, None]),
        (["00.5", "1.5", "2"], "float64", ["0.5", "1.5", "2.0"]),
        (["08:30", "07:15", "2"], "text", ["08:30", "07:15", "2"]),
        (["dog", "cat", "dog"], "text", ["dog", "cat", "dog"]),
        (["dog ", " NA", '" b, c"'], "text", ["dog", None, "b, c"]),
        (["none", "na", "x"], "text", ["none", "na", "x"]),
        (["true", "False", ""], "text", ["true", "False", None]),
        (["2024-05-31", "2023-01-02", "x"], "text", ["2024-05-31", "2023-01-02", "x"]),
        (["1", "x", "2.50"], "text", ["1", "x", "2.50"]),
        (["007", "7", "12"], "text", ["007", "7", "12"]),
        (["7", "-007", "12.5"], "text", ["7", "-007", "12.5"]),
        (["7", '"007"', '"x"'], "text", ["7", "007", "x"]),
        (["7", " 007", "8"], "text", ["7", "007", "8"]),
        (["+1", "-1", "1"], "text", ["+1", "-1", "1"]),
        (["1_0", "10", "3"], "text", ["1_0", "10", "3"]),
        (["0x1F", "10", "3"], "text", ["0x1F", "10", "3"]),
        (["-0x1F", "10", "3"], "text", ["-0x1F", "10", "3"]),
        (["nan(1)", "1.5", "3"], "text", ["nan(1)", "1.5", "3"]),
        (["\uff11", "1", "3"], "text", ["\uff11", "1", "3"]),
        ([str(2**63 - 1), str(-(2**63)), "3"], "int64", [2**63 - 1, -(2**63), 3]),
        ([str(2**63), "2", "3"], "text", [str(2**63), "2", "3"]),
        (["9" * 5000, "2", "3"], "text", ["9" * 5000, "2", "3"]),
        ([str(2**53 + 1), "", "3"], "text", [str(2**53 + 1), None, "3"]),
        ([str(2**53 - 1), "", "3"], "float64", ["9007199254740991.0", None, "3.0"]),
        ([str(2**63), "0.5", "3"], "float64", ["9.223372036854776e+18", "0.5", "3.0"]),
    ],
)
@pytest.mark.parametrize("at_once", [8, 2**24])
def test_what_a_column_is(tmp_path, reader, monkeypatch, at_once, cells, kind, values) -> None:
    monkeypatch.setattr(csv_chunks, "CHUNK", at_once)
    whole = read_alike(write(tmp_path, column_of(cells)))
    assert whole["a"] == (kind, values)


@pytest.mark.parametrize("late", ["x", "007", "0x1F", "+1", "none", "1.5", "", str(2**63)])
def test_a_cell_far_below_says_what_a_column_is(tmp_path, reader, monkeypatch, late) -> None:
    monkeypatch.setattr(csv_chunks, "CHUNK", 512)
    cells = [str(i) for i in range(1000)]
    whole = read_alike(write(tmp_path, column_of([*cells, late, *cells])))
    kind, values = whole["a"]
    assert kind == {"1.5": "float64", "": "float64", "none": "float64"}.get(late, "text")
    assert len(values) == 2001
    if kind == "text":
        assert values == [*cells, late, *cells]
    else:
        assert values[1000] == ("1.5" if late == "1.5" else None)


def test_several_columns_that_prove_to_be_texts_take_one_more_reading(
    tmp_path, reader, monkeypatch
) -> None:
    monkeypatch.setattr(csv_chunks, "CHUNK", 512)
    rows = [[str(i)] * 5 for i in range(2000)]
    for k in range(5):
        rows[1000 + 150 * k][k] = "x"
    path = write(tmp_path, "a,b,c,d,e\n" + "".join(",".join(row) + "\n" for row in rows))
    table = open_table(path)
    read = csv_chunks.chunks
    times = []
    monkeypatch.setattr(
        "arraymlp.data.files.csv_table.chunks", lambda *a: times.append(1) or read(*a)
    )
    frame = table.read()
    assert len(times) == 2
    assert [c.to_numpy().tolist() for c in frame.columns] == [
        list(c) for c in zip(*rows, strict=True)
    ]


# Known kinds


def test_columns_of_known_kinds_are_read_alone_and_in_their_order(tmp_path, reader) -> None:
    path = write(tmp_path, "n,t,when,x\n1,1,2024-05-31,a\n2,,2024-05-31T12:30:01.5,b\n,x,NA,c\n")
    table = open_table(path, {"when": "time", "t": "text", "n": "number"})
    assert (table.used, table.extra) == (("when", "t", "n"), ("x",))
    frame = plain(table.read())
    assert list(frame) == ["when", "t", "n"]
    assert frame["t"] == ("text", ["1", None, "x"])
    assert frame["n"] == ("float64", ["1.0", "2.0", None])
    assert frame["when"][0] == "datetime64[us]"
    assert [str(v) for v in frame["when"][1]] == [
        "2024-05-31 00:00:00",
        "2024-05-31 12:30:01.500000",
        "None",
    ]


@pytest.mark.parametrize(
    ("cell", "kind", "message"),
    [
        ("x", "number", "column 'a' must be numbers, but line 3 has 'x'"),
        ("007", "number", "column 'a' must be numbers, but line 3 has '007'"),
        ("1_0", "number", "column 'a' must be numbers, but line 3 has '1_0'"),
        ("31.5.2024", "time", "column 'a' must be dates such as .* but row 1 has '31.5.2024'"),
        ("2024-02-31", "time", "column 'a' must be dates such as .* but row 1 has '2024-02-31'"),
    ],
)
def test_a_cell_of_another_kind_is_named(tmp_path, reader, cell, kind, message) -> None:
    good = "1" if kind == "number" else "2024-05-31"
    path = write(tmp_path, column_of([good, cell, good]))
    with pytest.raises(ValueError, match=message):
        open_table(path, {"a": kind}).read()


def test_columns_that_are_not_there_are_listed(tmp_path, reader) -> None:
    path = write(tmp_path, "a,b\n1,2\n")
    with pytest.raises(ValueError, match=r"there are no columns 'c', 'd'. There is a, b"):
        open_table(path, {"c": "number", "a": "number", "d": "text"})


def test_known_names_leave_no_doubt_of_the_first_line(tmp_path, reader) -> None:
    path = write(tmp_path, "2019,kind\n1,2\n3,4\n")
    assert list(plain(open_table(path, {"2019": "number", "kind": "number"}).read())) == [
        "2019",
        "kind",
    ]
    path = write(tmp_path, "5.1,NA,red\n1,2,blue\n3,4,green\n")
    frame = plain(open_table(path, {"0": "number", "1": "number", "2": "text"}).read())
    assert frame["2"] == ("text", ["red", "blue", "green"])


def test_a_table_may_have_one_column(tmp_path, reader) -> None:
    whole = read_alike(write(tmp_path, 'a\n1\n\n""\n  \n3\n'))
    assert whole == {"a": ("float64", ["1.0", None, "3.0"])}


# Files


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "it is empty"),
        ("\n \n", "it is empty"),
        ("a,b\n", "it has no rows"),
        ("a,b\n1\n", "its first line has 2 columns, its second 1"),
        ("a,b\n1,2\n3,4,5\n", "line 3 has 3 cells, but there are 2 columns"),
        ('a,b\n1,2\n\n"x\ny",4\n5\n', "line 6 has 1 cells, but there are 2 columns"),
        ('a,b\n1,2\n3,"4\n', r"not readable as CSV \(line 3: "),
        ('a,b\n1,2\n3,"4"5\n', r"not readable as CSV \(line 3: "),
        ("a,b\n1,2\n3,\0\n", "line 3 has a null character"),
        (b"a,b\n1,2\n3,\xff\n", "line 3 is no text in UTF-8"),
        (b"a\xff,b\n1,2\n3,4\n", "its first line is no text in UTF-8: 'a"),
        ("a,b\n1,2\n3,4\n".encode("utf-16"), "its first line is no text in UTF-8"),
        ("a,b\0c\n1,2\n3,4\n", "its first line is no text in UTF-8: 'b"),
        ("a,b\n1,2\r3,4\n5,6\n", "line 2 ends in a carriage return alone, but the first one"),
        ("a,b\n1,2\n\r,4\n", "line 3 ends in a carriage return alone, but the first one"),
        ("a,b\r1,2\n3,4\r", "line 2 ends in a line feed, but the first one does not"),
        ("a,b\n1,2\n\u00a0\n", "line 3 has 1 cells, but there are 2 columns"),
        ("a,b,a\n1,2,3\n", "2 columns have the name 'a'"),
        ("a;b\n1,5;2\n3,5;4\n", "column 'a' has numbers with commas, which are not read"),
    ],
)
@pytest.mark.parametrize("at_once", [8, 2**24])
def test_what_is_wrong_with_a_file_is_said(
    tmp_path, reader, monkeypatch, at_once, content, message
) -> None:
    monkeypatch.setattr(csv_chunks, "CHUNK", at_once)
    said = read_alike(write(tmp_path, content))
    assert isinstance(said, str)
    assert re.search(message, said), said


@pytest.mark.parametrize("at_once", [5, 8, 13, 2**24])
@pytest.mark.parametrize(
    "text",
    [
        'a,b\n"x\ny",1\n"p""q",2\n"",3\n',
        'a,b\r\n"x\r\ny",1\r\n\r\n"p""q",2\r\nz,3\r\n',
        "a,b\rx,1\ry,2\r",
        'a,b\n5" pipe,1\n6" pipe,2\nx,3',
        'a,b\nx,1\n  \n"long cell, with commas",2\n\n',
        'a;b\n"1;2";3\n"""";4\n',
        "\ufeffa,b\nä,1\n花,2\n\u00a0é ,3\n",
        'a,b\nx,"""y"""\nz,"y, ""z"""\n',
        'a,b\n"x\ry",1\n"\n",2\n',
        "a,b\n\ufeffx,1\n\ufeff,2\n",
        "\r,b\nx,1\ny,2\n",  # pandas takes the first cell for part of the line's end
    ],
)
def test_lines_and_quotes_are_as_the_csv_module_has_them(
    tmp_path, reader, monkeypatch, at_once, text
) -> None:
    monkeypatch.setattr(csv_chunks, "CHUNK", at_once)
    whole = read_alike(write(tmp_path, text))
    delimiter = ";" if ";" in text else ","
    rows = csv.reader(io.StringIO(text.removeprefix("\ufeff"), newline=""), delimiter=delimiter)
    cells = [[cell.strip() for cell in row] for row in rows if any(c.strip() for c in row)]
    for name, column in zip(cells[0], zip(*cells[1:], strict=True), strict=True):
        kind, values = whole[name or "Unnamed: 0"]
        found = [None if c == "" else c if kind == "text" else int(c) for c in column]
        assert values == found


# Any file

CELLS = [
    "", "1", "-2", "0", "7", "007", "-01", "0x1f", "+1", "1.5", ".5", "2.", "1e5", "1e-05", "inf",
    "nan", "NaN(1)", "NA", "na", "none", "None", "?", " 3 ", " x", "x ", "a b", "true", "1,5",
    "1;2", "08:30", "2024-05-01", "01/02", '"', '"q"', '5" x', "two\nlines", "a\r\nb", "é",
    "\uff11", "\u00a0", "9007199254740993", "9223372036854775808", "1_0", "-", "0", "00", "00.5",
]  # fmt: skip


def _file(rows: list[list[str]], quoted: list[bool], end: str, delimiter: str) -> str:
    """A file of these cells: as a careful writer would have it, or some cells as they are."""
    flags = iter(quoted * (1 + sum(map(len, rows)) // len(quoted)))

    def cell(text: str) -> str:
        return '"' + text.replace('"', '""') + '"' if next(flags) else text

    return "".join(delimiter.join(map(cell, row)) + end for row in rows)


FILES = st.integers(1, 4).flatmap(
    lambda width: st.tuples(
        st.lists(
            st.lists(st.sampled_from(CELLS), min_size=width, max_size=width),
            min_size=1,
            max_size=8,
        ),
        st.lists(st.booleans(), min_size=1, max_size=7),
        st.sampled_from(["\n", "\r\n", "\n\n", "\r"]),
        st.sampled_from(",;\t"),
        st.sampled_from([3, 11, 40, 2**24]),
    )
)


@given(FILES)
@settings(
    max_examples=400,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    derandomize=True,
)
def test_both_readers_read_any_file_alike(tmp_path_factory: Any, file: Any) -> None:
    pytest.importorskip("pyarrow")
    rows, quoted, end, delimiter, at_once = file
    names = [f"n{i}" for i in range(len(rows[0]))]
    path = tmp_path_factory.getbasetemp() / "any.csv"
    text = _file([names, *rows], quoted, end, delimiter)
    path.write_bytes(text.encode())
    found: list[dict[str, Any] | str] = []
    readers: list[Callable[[], bool]] = [lambda: True, lambda: False]
    for is_installed in readers:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(csv_arrow, "is_installed", is_installed)
            patch.setattr(csv_chunks, "CHUNK", at_once)
            found.append(read_alike(path))
    assert found[0] == found[1]

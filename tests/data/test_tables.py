"""Data files become numbers and a target, or an error that says what is wrong with them."""

import sys
import zipfile
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from number_tables import Table, read_table

ROWS = [[0.5, 1, 2], [1.5, 3, 4], [2.5, 5, 6]]


def write(tmp_path: Path, text: str, name: str = "data.csv") -> Path:
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return path


# CSV


@pytest.mark.parametrize(
    ("text", "target"),
    [
        ("a,b,y\n0.5,1,2\n1.5,3,4\n2.5,5,6\n", "y"),
        ("0.5,1,2\n1.5,3,4\n2.5,5,6\n", "2"),
        ("a;b;y\n0.5;1;2\n1.5;3;4\n2.5;5;6", "y"),
        ("a\tb\ty\r\n0.5\t1\t2\r\n1.5\t3\t4\r\n2.5\t5\t6\r\n", "y"),
        ('\ufeff"a, in cm",b, y\n0.5,1,2\n1.5,3,4\n2.5,5,6\n', "y"),
    ],
    ids=["commas", "no header", "semicolons", "tabs", "quoted, with a byte-order mark"],
)
def test_the_last_column_is_the_target(tmp_path: Path, text: str, target: str) -> None:
    table = read_table(write(tmp_path, text))
    np.testing.assert_array_equal(table.X, [row[:2] for row in ROWS])
    np.testing.assert_array_equal(table.y, [2, 4, 6])
    assert (table.target, table.names) == (target, None)


@pytest.mark.parametrize(("header", "target"), [("a,b,c\n", "b"), ("", "1")])
def test_another_column_is_the_target(tmp_path: Path, header: str, target: str) -> None:
    path = write(tmp_path, header + "".join(f"{a},{b},{c}\n" for a, b, c in ROWS))
    table = read_table(path, target)
    np.testing.assert_array_equal(table.X, [[0.5, 2], [1.5, 4], [2.5, 6]])
    np.testing.assert_array_equal(table.y, [1, 3, 5])


@pytest.mark.parametrize(
    ("cells", "kind", "values"),
    [
        (["3", "1", "-2"], "i", [3, 1, -2]),
        (["3.0", "1", "2"], "f", [3, 1, 2]),
        (["1e3", "1", "2"], "f", [1000, 1, 2]),
        (["dog", "cat", "dog"], "i", [1, 0, 1]),
        (["1", "cat", "1"], "i", [0, 1, 0]),
    ],
)
def test_how_a_target_is_written_says_what_it_is(tmp_path, cells, kind, values) -> None:
    table = read_table(write(tmp_path, "a,y\n" + "".join(f"{0.5},{v}\n" for v in cells)))
    assert table.y.dtype.kind == kind
    assert table.y.tolist() == values
    words = kind == "i" and not all(v.lstrip("-").isdecimal() for v in cells)
    assert table.names == (sorted(set(cells)) if words else None)


@pytest.mark.parametrize(
    ("text", "target", "message"),
    [
        ("a,b,y\n1,2,3\n", "z", r"there is no column 'z'.*There is a, b, y"),
        ("width,b,y\n1,2,3\n", "widht", "did you mean 'width'"),
        ("a,b,y\n1,red,3\n", None, "features must be numbers.*'red'"),
        ("a,b,y\n1,,3\n", None, "features must be numbers"),
        ("a,b,y\n1,2,3\n1,2\n", None, "features must be numbers|usecols|columns"),
        ("a,y\n1,\n", None, "the target 'y' has no value in row 0"),
        ("a,,y\n0,1,2\n", None, "a column other than the first has no name"),
        ("a,y\n", None, "no rows"),
        ("a,y\n0,1,2\n", None, "first line has 2 columns, its second 3"),
        ("a\n1\n", None, "needs columns"),
        ("", None, "it is empty"),
    ],
)
def test_a_csv_file_that_cannot_be_used_is_named(tmp_path, text, target, message) -> None:
    with pytest.raises(ValueError, match=message) as error:
        read_table(write(tmp_path, text), target)
    assert "data.csv: " in str(error.value)


# What another reader would guess, mend or cut off


@pytest.mark.parametrize(
    ("text", "target", "X", "y", "names"),
    [
        # names that are numbers
        ("0,1,price\n1.5,2,3.5\n2.5,3,4.5\n", "price", [[1.5, 2], [2.5, 3]], [3.5, 4.5], None),
        ("0,1,kind\n5.1,3.5,a\n4.9,3,b\n", "kind", [[5.1, 3.5], [4.9, 3]], [0, 1], ["a", "b"]),
        ("0,1,2\n1.5,2,3\n4,5,6\n", "2", [[1.5, 2], [4, 5]], [3, 6], None),
        # the delimiter inside quotes
        ('"len, mm";"w, mm";y\n1;2;3\n4;5;6\n', "y", [[1, 2], [4, 5]], [3, 6], None),
        ('a,y\n1,"b, c"\n2,d\n', "y", [[1], [2]], [0, 1], ["b, c", "d"]),
        ('a,y\n1,"say ""no"""\n2,d\n', "y", [[1], [2]], [1, 0], ["d", 'say "no"']),
        ('a,y\n1,"two\nlines"\n2,d\n', "y", [[1], [2]], [1, 0], ["d", "two\nlines"]),
        ("Temp, C;Flow, l;y\n1;2;3\n4;5;6\n", "y", [[1, 2], [4, 5]], [3, 6], None),
        # lines before the rows
        ("\n\na,b,y\n\n1,2,3\n4,5,6\n", "y", [[1, 2], [4, 5]], [3, 6], None),
        ('a,"b\nc",y\n1,2,3\n4,5,6\n', "y", [[1, 2], [4, 5]], [3, 6], None),
        # numbers as written
        ("a,y\n1,+0.5\n2,+2\n3,-1.25\n", "y", [[1], [2], [3]], [0.5, 2, -1.25], None),
        (f"a,y\n1,{-(2**63)}\n2,1\n", "y", [[1], [2]], [-(2**63), 1], None),
        # class names as written
        ("a,y\n1,007\n2,7\n", "y", [[1], [2]], [0, 1], ["007", "7"]),
        ("a,y\n1,+1\n2,1\n", "y", [[1], [2]], [0, 1], ["+1", "1"]),
        ("a,y\n1,1_0\n2,10\n", "y", [[1], [2]], [1, 0], ["10", "1_0"]),
        ("a,y\n1,na\n2,none\n3,b\n", "y", [[1], [2], [3]], [1, 2, 0], ["b", "na", "none"]),
        # blank lines are none
        ("a,y\n\n1,2\n\n3,4\n", "y", [[1], [3]], [2, 4], None),
        ("  \na,y\n1,2\n   \n3,4\n ", "y", [[1], [3]], [2, 4], None),
        ("a,y\r\n1,2\r\n \r\n3,4\r\n", "y", [[1], [3]], [2, 4], None),
        ("0.5,a\n1.5,b\n2.5,a\n", "1", [[0.5], [1.5], [2.5]], [0, 1, 0], ["a", "b"]),
    ],
)
def test_cells_are_taken_as_they_are_written(tmp_path, text, target, X, y, names) -> None:
    table = read_table(write(tmp_path, text))
    assert table.target == target
    np.testing.assert_array_equal(table.X, X)
    assert (table.y.tolist(), table.names) == (y, names)


@pytest.mark.parametrize("header", ['"len, mm"\t"w, mm"\ty\n', "a,b,c\td,e,f\ty\n"])
def test_only_tabs_part_a_tsv(tmp_path: Path, header: str) -> None:
    table = read_table(write(tmp_path, header + "1\t2\t3\n4\t5\t6\n", "data.tsv"))
    assert (table.X.tolist(), table.y.tolist(), table.target) == ([[1, 2], [4, 5]], [3, 6], "y")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,b,y\n1,2,3\n4,5,6,7\n", "line 3 has 4 cells, but there are 3 columns"),
        ("a,b,y\n1,2,3\n4,5\n", "line 3 has 2 cells, but there are 3 columns"),
        ('a,y\n1,"b\n2,c\n3,d\n', "not readable as CSV"),
        ('a,y\n1,"b"c\n2,d\n', "not readable as CSV"),
        ("y,a,y\n1,2,3\n4,5,6\n", "2 columns have the name 'y'"),
        ("a,y\n1,5\n2,NA\n3,7\n", "the target 'y' has no value in row 1"),
        ("a,y\n1,5\n2,\n3,7\n", "the target 'y' has no value in row 1"),
        ("a,y\n1,0.5\n2,nan\n", "the target 'y' has no value in row 1"),
        (f"a,y\n1,{2**63}\n2,1\n", "the target 'y' has an integer beyond int64, 92233"),
        (f"a,y\n1,{'9' * 5000}\n2,1\n", "the target 'y' has an integer beyond int64, 99999"),
        ("0,1,red\n1,0,red\n1,1,blue\n", "its first line may be names or a row"),
        ("2019,2020,kind\n1,2,a\n3,4,b\n5,6,a\n", "its first line may be names or a row"),
        ("2019,2020,y\n1,2,3\n4,5,6\n", "its first line may be names or a row"),
        ("5.1,NA,2.37\n4.9,3.0,1.2\n4.7,3.1,0.5\n", "its first line may be names or a row"),
        ("1,2,?\n3,4,0\n5,6,1\n", "its first line may be names or a row"),
        ("1;-1.49e+03;1a\n8;-1.40;02\n", "its first line may be names or a row"),
        ("0,1\n1,0\n2,1\n", "its first line may be names or a row"),
        ("1,5;3\n2,5;4\n1,5;3\n", "its cells may be parted by ',' or by ';'"),
        ("a;y\n1;3,5\n2;4,25\n3;5,125\n", "column 'y' has numbers with commas"),
        ('a,y\n1,"1,250"\n2,"2,000"\n', "column 'y' has numbers with commas"),
        ("a,y\n1_0,2\n3,4\n", "features must be numbers.*1_0"),
        ("a,y\n1,\x00\n", "line 2 has a null character"),
    ],
)
def test_what_would_be_cut_off_or_guessed_is_an_error(tmp_path, text, message) -> None:
    with pytest.raises(ValueError, match=message) as error:
        read_table(write(tmp_path, text))
    assert "data.csv: " in str(error.value)


@pytest.mark.parametrize("seed", range(3))
def test_what_is_read_is_what_pandas_reads(tmp_path: Path, seed: int) -> None:
    pandas = pytest.importorskip("pandas")
    rng = np.random.default_rng(seed)
    kinds = np.asarray(['a "b", c', "d;e", "f\ng", "h"])[rng.integers(0, 4, 50)]
    frame = pandas.DataFrame(rng.normal(size=(50, 3)), columns=["x, mm", 'y "q"', "z;"])
    frame["kind"] = kinds
    for sep in ",;\t":
        path = tmp_path / "data.csv"
        frame.to_csv(path, index=False, sep=sep)
        table = read_table(path)
        np.testing.assert_array_equal(table.X, frame[frame.columns[:3]].to_numpy())
        assert [table.names[i] for i in table.y] == kinds.tolist()


# .npz


def test_npz_has_arrays(tmp_path: Path) -> None:
    path = tmp_path / "data.npz"
    np.savez(path, X=np.array(ROWS), y=np.array(["b", "a", "b"]), price=np.array([1.5, 2, 3]))
    table = read_table(path)
    assert (table.y.tolist(), table.names) == ([1, 0, 1], ["a", "b"])
    table = read_table(path, "price")
    assert (table.y.tolist(), table.target, table.names) == ([1.5, 2, 3], "price", None)
    with pytest.raises(ValueError, match=r"no column 'z'. There is x0, x1, x2, price, y"):
        read_table(path, "z")


@pytest.mark.parametrize(
    ("y", "values", "names"),
    [
        ([True, False, True], [1, 0, 1], ["False", "True"]),
        ([b"b", b"a", b"b"], [1, 0, 1], ["a", "b"]),
        ([[1, 0], [0, 0], [1, 1]], [[1, 0], [0, 0], [1, 1]], None),
    ],
)
def test_what_else_a_target_may_be(tmp_path, y, values, names) -> None:
    np.savez(tmp_path / "data.npz", X=np.array(ROWS), y=np.array(y))
    table = read_table(tmp_path / "data.npz")
    assert (table.y.tolist(), table.names) == (values, names)


def test_npz_runs_nothing_and_has_rows_of_features(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", X=np.array(ROWS), y=np.array([{}, 1, 2], dtype=object))
    with pytest.raises(ValueError, match=r"a\.npz: .*allow_pickle"):
        read_table(tmp_path / "a.npz")
    np.savez(tmp_path / "b.npz", X=np.ones((3, 2, 2)), y=np.ones(3))
    with pytest.raises(ValueError, match=r"b\.npz: an array must be a column .* but X is of shape"):
        read_table(tmp_path / "b.npz")
    (tmp_path / "c.npz").write_bytes(b"what")
    with pytest.raises(ValueError, match=r"c\.npz: no \.npz file"):
        read_table(tmp_path / "c.npz")


def test_damaged_npz_files_are_refused_by_this_reader(tmp_path: Path) -> None:
    good = tmp_path / "good.npz"
    np.savez_compressed(good, X=np.array(ROWS), y=np.array([0, 1, 0]))
    content, path = bytearray(good.read_bytes()), tmp_path / "data.npz"
    rng = np.random.default_rng(0)
    refused = 0
    for _ in range(1500):
        damaged = content.copy()
        for at in rng.integers(0, len(content), rng.integers(1, 4)):
            damaged[at] = rng.integers(0, 256)
        if rng.random() < 0.2:
            damaged = damaged[: rng.integers(1, len(content) + 1)]
        path.write_bytes(damaged)
        with suppress(ValueError):
            read_table(path)  # what NumPy reads there, too
            continue
        refused += 1
    assert 0 < refused < 1500


def test_an_array_that_claims_more_than_there_is_is_not_allocated(tmp_path: Path) -> None:
    path = tmp_path / "data.npz"
    header = "{'descr': '<f8', 'fortran_order': False, 'shape': (200000000, 100), }"
    claims = b"\x93NUMPY\x01\x00" + (118).to_bytes(2, "little") + header.ljust(117).encode() + b"\n"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("X.npy", claims)
        archive.writestr("y.npy", claims)
    with pytest.raises(ValueError, match=r"X is said to be \(200000000, 100\).* 0 bytes"):
        read_table(path)


def test_a_target_is_an_array(tmp_path: Path) -> None:
    np.savez(tmp_path / "data.npz", X=np.array(ROWS), y=np.array(3))
    with pytest.raises(ValueError, match="but y is of shape"):
        read_table(tmp_path / "data.npz")


def test_a_target_whose_bytes_are_no_text_is_refused(tmp_path: Path) -> None:
    y = np.array([0x61, 0x110000, 0x62], "<u4").view("<U1")
    np.savez(tmp_path / "data.npz", X=np.array(ROWS), y=y)
    with pytest.raises(ValueError, match=r"data\.npz: column 'y': "):
        read_table(tmp_path / "data.npz")


# Parquet


def test_class_names_are_not_cut_at_a_null_character(tmp_path: Path) -> None:
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    pq.write_table(pa.table({"a": [1, 2, 3], "y": ["u", "u\0", "v"]}), tmp_path / "data.parquet")
    with pytest.raises(ValueError, match="row 1 has a null character in its target"):
        read_table(tmp_path / "data.parquet")


@pytest.fixture(scope="module")
def parquet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pa = pytest.importorskip("pyarrow")
    pq = pytest.importorskip("pyarrow.parquet")
    path = tmp_path_factory.mktemp("tables") / "data.parquet"
    columns = {"a": [0.5, 1.5], "flag": [True, False], "kind": ["dog", "cat"], "n": [3, 4]}
    pq.write_table(pa.table(columns), path)
    return path


def test_parquet_is_read(parquet: Path) -> None:
    table = read_table(parquet, "kind")
    np.testing.assert_array_equal(table.X, [[0.5, 1, 3], [1.5, 0, 4]])
    assert (table.y.tolist(), table.names) == ([1, 0], ["cat", "dog"])
    with pytest.raises(
        ValueError, match=r"data\.parquet: features must be numbers, but 'kind' has 'dog' in row 0"
    ):
        read_table(parquet)
    with pytest.raises(ValueError, match=r"no column 'kin'; did you mean 'kind'"):
        read_table(parquet, "kin")
    other = parquet.with_name("other.parquet")
    damaged = parquet.read_bytes().replace(b"kind", b"kin\x85")
    for content in (
        b"what",
        parquet.read_bytes()[4:],
        bytes(40) + parquet.read_bytes()[40:],
        damaged,
    ):
        other.write_bytes(content)
        with pytest.raises(ValueError, match=r"other\.parquet: "):
            read_table(other, "kind")


def test_a_column_called_like_an_index_is_one_where_no_index_is_named(tmp_path: Path) -> None:
    polars = pytest.importorskip("polars")
    pytest.importorskip("pyarrow")  # which reads what pandas would have said
    frame = polars.DataFrame({"__index_level_0__": [1.5, 2.5], "y": [0, 1]})
    frame.write_parquet(tmp_path / "own.parquet")
    assert read_table(tmp_path / "own.parquet").X.tolist() == [[1.5], [2.5]]


def test_a_boolean_target_that_is_missing_is_named(tmp_path: Path) -> None:
    polars = pytest.importorskip("polars")
    frame = polars.DataFrame({"a": [1.5, 2.5, 3.5], "y": [True, False, None]})
    frame.write_parquet(tmp_path / "gaps.parquet")
    with pytest.raises(ValueError, match="the target 'y' has no value in row 2"):
        read_table(tmp_path / "gaps.parquet")


@pytest.mark.parametrize("X", [np.array([["a"], ["b"]]), np.zeros((2, 1), "f8,i4")], ids=str)
def test_features_of_an_npz_file_must_be_numbers(tmp_path: Path, X: np.ndarray) -> None:
    np.savez(tmp_path / "data.npz", X=X, y=np.array([0, 1]))
    with pytest.raises(ValueError, match=r"data\.npz: (features|column .x0.: it) must be numbers"):
        read_table(tmp_path / "data.npz")


@pytest.mark.parametrize("index", ["", "id"], ids=["unnamed", "named"])
def test_the_index_of_a_data_frame_is_left_out(tmp_path: Path, index: str) -> None:
    pandas = pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    frame = pandas.DataFrame({"a": [1.5, 2.5, 3.5], "y": [0, 1, 0]}, index=[10, 7, 8])
    frame.index.name = index or None
    frame.to_parquet(tmp_path / "data.parquet")
    table = read_table(tmp_path / "data.parquet")
    assert (table.X.tolist(), table.target) == ([[1.5], [2.5], [3.5]], "y")
    assert table.y.tolist() == [0, 1, 0]


def test_without_any_the_install_line_is_named(parquet: Path, monkeypatch) -> None:
    for name in ("pyarrow", "pyarrow.parquet", "pandas"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ModuleNotFoundError, match="pip install pyarrow"):
        read_table(parquet)


# All


def test_another_kind_of_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        ValueError, match=r"data\.xlsx: a data file is \.csv, \.tsv, \.parquet or \.npz"
    ):
        read_table(tmp_path / "data.xlsx")


@pytest.mark.parametrize("name", ["a.csv", "a.npz", "a.parquet"])
def test_a_file_that_is_absent_is_an_os_error(tmp_path: Path, name: str) -> None:
    with pytest.raises(FileNotFoundError, match=name):
        read_table(tmp_path / name)


@pytest.mark.parametrize(
    ("y", "names", "words"),
    [
        (np.array([0, 1, 0]), ["cat", "dog"], "2 classes, 0 = cat, 1 = dog"),
        (np.array([3, 5, 5]), None, "2 classes"),
        (np.array([0.5, 1, 2]), None, "numbers, for regression"),
        (np.array([[0, 1]] * 3), None, "2 columns of integers"),
        (np.arange(25), None, "25 classes"),
        (np.arange(25), [str(i) for i in range(25)], "19 = 19, ..."),
    ],
)
def test_it_says_what_the_target_was_taken_for(y, names, words) -> None:
    text = Table(np.ones((len(y), 2)), y, "t", names).describe()
    assert text.startswith(f"{len(y)} rows, 2 features; target t: ")
    assert words in text

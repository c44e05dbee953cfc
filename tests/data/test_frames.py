"""The same table gives the same frame, whichever library it is from."""

import datetime
import decimal
import sys
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arraymlp import Backend
from arraymlp.data.frames.frame import Column, Frame, Texts
from arraymlp.data.frames.sources import frame_of, is_frame

DAY = datetime.date(2024, 2, 29)
NOON = datetime.datetime(2024, 2, 29, 12, 30)
# Columns as lists, whose missing values are None, and what they are in a frame: the kind of its
# numbers, "T" for texts, and how its values are read.
COLUMNS: dict[str, tuple[list[Any], str, list[Any]]] = {
    "integers": ([3, 1, 2], "i", [3, 1, 2]),
    "integers, one missing": ([3, None, 2], "f", [3, np.nan, 2]),
    "floats": ([0.5, 1.5, -2.0], "f", [0.5, 1.5, -2.0]),
    "floats, one missing": ([0.5, None, -2.0], "f", [0.5, np.nan, -2.0]),
    "booleans": ([True, False, True], "b", [True, False, True]),
    "booleans, one missing": ([True, None, False], "T", ["True", None, "False"]),
    "texts": (["b", "", "b"], "T", ["b", "", "b"]),
    "texts, one missing": (["b", "a", None], "T", ["b", "a", None]),
    "dates": ([DAY, DAY, DAY], "M", ["2024-02-29"] * 3),
    "dates, one missing": ([DAY, None, DAY], "M", ["2024-02-29", "NaT", "2024-02-29"]),
    "times": ([NOON, NOON, None], "M", ["2024-02-29T12:30", "2024-02-29T12:30", "NaT"]),
    "durations": ([datetime.timedelta(hours=36), None, DAY - DAY], "f", [1.5, np.nan, 0]),
    "nothing": ([None, None, None], "f", [np.nan] * 3),
}


def with_pandas(columns: dict[str, list[Any]]) -> Any:
    pandas = pytest.importorskip("pandas")
    return pandas.DataFrame({n: pandas.Series(v, dtype=object) for n, v in columns.items()})


def with_inferred_pandas(columns: dict[str, list[Any]]) -> Any:
    pandas = pytest.importorskip("pandas")
    return pandas.DataFrame({name: pandas.Series(v) for name, v in columns.items()})


def with_nullable_pandas(columns: dict[str, list[Any]]) -> Any:
    return with_inferred_pandas(columns).convert_dtypes()


def with_arrow_pandas(columns: dict[str, list[Any]]) -> Any:
    pytest.importorskip("pyarrow")
    return with_inferred_pandas(columns).convert_dtypes(dtype_backend="pyarrow")


def with_polars(columns: dict[str, list[Any]]) -> Any:
    return pytest.importorskip("polars").DataFrame(columns)


def with_pyarrow(columns: dict[str, list[Any]]) -> Any:
    return pytest.importorskip("pyarrow").table(columns)


def with_batches(columns: dict[str, list[Any]]) -> Any:
    pyarrow = pytest.importorskip("pyarrow")
    return pyarrow.RecordBatch.from_pydict(columns)


def with_chunks(columns: dict[str, list[Any]]) -> Any:
    pyarrow = pytest.importorskip("pyarrow")
    whole = pyarrow.table(columns)
    return pyarrow.concat_tables([whole[:1], whole[1:]])


def with_records(columns: dict[str, list[Any]]) -> Any:
    return np.array(
        list(zip(*columns.values(), strict=True)), dtype=[(name, object) for name in columns]
    )


SOURCES: list[Callable[[dict[str, list[Any]]], Any]] = [
    with_pandas,
    with_inferred_pandas,
    with_nullable_pandas,
    with_arrow_pandas,
    with_polars,
    with_pyarrow,
    with_batches,
    with_chunks,
    with_records,
]
EACH_SOURCE = pytest.mark.parametrize("source", SOURCES, ids=lambda f: f.__name__)


def require_column(column: Column, kind: str, values: list[Any]) -> None:
    if isinstance(column, Texts):
        assert kind == "T"
        assert column.codes.dtype == np.int32
        assert len(set(column.values)) == len(column.values)
        assert all(type(value) is str for value in column.values)
        assert column.to_numpy().tolist() == values
    else:
        assert column.dtype.kind == kind
        expected = np.asarray(values, dtype="datetime64[us]") if kind == "M" else values
        np.testing.assert_array_equal(column, expected)


@EACH_SOURCE
@pytest.mark.parametrize("name", COLUMNS)
def test_a_column_is_what_its_values_are(source: Any, name: str) -> None:
    values, kind, expected = COLUMNS[name]
    table = source({name: values})
    frame = frame_of(table)
    assert is_frame(table)
    assert frame.names == (name,)
    assert frame.shape == (3, 1)
    require_column(frame.columns[0], kind, expected)


@EACH_SOURCE
def test_a_table_keeps_the_order_of_its_columns(source: Any) -> None:
    frame = frame_of(source({"b": [1, 2], "a": ["x", "y"], "c": [0.5, 1.5]}))
    assert frame.names == ("b", "a", "c")
    assert frame[1:].column("a").to_numpy().tolist() == ["y"]
    assert frame.select(["c", "b"]).names == ("c", "b")


@settings(max_examples=100, deadline=None)
@given(
    st.dictionaries(
        st.text(min_size=1, max_size=3),
        st.one_of(
            *[
                st.lists(st.none() | values, min_size=3, max_size=3)
                for values in (
                    st.text(max_size=2),
                    st.booleans(),
                    st.integers(-(2**53), 2**53),
                    st.floats(allow_nan=False),
                )
            ]
        ),
        min_size=1,
        max_size=3,
    )
)
def test_any_table_is_the_same_from_each_library(columns: dict[str, list[Any]]) -> None:
    columns = {name.replace("\0", "0") + "!": values for name, values in columns.items()}
    expected = frame_of(with_records(columns))
    for source in (with_pandas, with_polars, with_pyarrow):
        frame = frame_of(source(columns))
        assert frame.names == expected.names
        for column, other in zip(frame.columns, expected.columns, strict=True):
            assert isinstance(column, Texts) == isinstance(other, Texts)
            if isinstance(column, Texts):
                assert column.to_numpy().tolist() == other.to_numpy().tolist()
            else:
                np.testing.assert_array_equal(column, other)


# Categories


def pandas_category(values: list[Any]) -> Any:
    pandas = pytest.importorskip("pandas")
    return pandas.DataFrame({"a": pandas.Categorical(values)})


def polars_category(values: list[Any]) -> Any:
    polars = pytest.importorskip("polars")
    return polars.DataFrame({"a": polars.Series(values, dtype=polars.Categorical)})


def polars_enum(values: list[Any]) -> Any:
    polars = pytest.importorskip("polars")
    kind = polars.Enum(sorted({v for v in values if v is not None}))
    return polars.DataFrame({"a": polars.Series(values, dtype=kind)})


def arrow_dictionary(values: list[Any]) -> Any:
    pyarrow = pytest.importorskip("pyarrow")
    column = pyarrow.array(values).dictionary_encode()
    return pyarrow.table({"a": pyarrow.chunked_array([column[:1], column[1:]])})


@pytest.mark.parametrize(
    "source", [pandas_category, polars_category, polars_enum, arrow_dictionary]
)
@pytest.mark.parametrize("values", [["b", "a", "b"], ["b", None, "a"]])
def test_categories_are_texts(source: Any, values: list[Any]) -> None:
    require_column(frame_of(source(values)).column("a"), "T", values)


@pytest.mark.parametrize("source", [pandas_category, arrow_dictionary])
def test_categories_may_be_numbers(source: Any) -> None:
    require_column(frame_of(source([3, 1, None])).column("a"), "T", ["3", "1", None])
    require_column(frame_of(source([0.5, 1.0, 0.5])).column("a"), "T", ["0.5", "1", "0.5"])


def test_categories_that_are_alike_as_texts_are_one() -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"a": pandas.Categorical(["1", 1, None, "b"])})
    require_column(frame_of(frame).column("a"), "T", ["1", "1", None, "b"])


def test_categories_that_are_dates_are_refused() -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"a": pandas.Categorical([DAY])})
    with pytest.raises(ValueError, match="column 'a': its categories must be texts or numbers"):
        frame_of(frame)


# Kinds of columns that only some libraries have


@pytest.mark.parametrize("dtype", ["string[python]", "string[pyarrow]", "str", "large_string"])
def test_pandas_texts_of_each_kind(dtype: str) -> None:
    pandas = pytest.importorskip("pandas")
    pyarrow = pytest.importorskip("pyarrow")
    kind = pandas.ArrowDtype(pyarrow.large_string()) if dtype == "large_string" else dtype
    series = pandas.Series(["b", None, "a", "b"], dtype=kind)
    require_column(frame_of(series.to_frame("a")).column("a"), "T", ["b", None, "a", "b"])


def test_times_with_a_zone_are_in_utc() -> None:
    pandas = pytest.importorskip("pandas")
    berlin = pandas.Series([NOON, None]).dt.tz_localize("Europe/Berlin")
    tables = [berlin.to_frame("a"), berlin.astype(object).to_frame("a")]
    if "polars" in sys.modules and "pyarrow" in sys.modules:
        tables += [
            sys.modules["polars"].from_pandas(tables[0]),
            sys.modules["pyarrow"].Table.from_pandas(tables[0]),
        ]
    for table in tables:
        require_column(frame_of(table).column("a"), "M", ["2024-02-29T11:30", "NaT"])


def test_decimals_are_numbers() -> None:
    values = [decimal.Decimal("0.5"), None, decimal.Decimal("NaN")]
    pyarrow = pytest.importorskip("pyarrow")
    tables = [
        with_records({"a": values}),
        with_polars({"a": values[:2]}),
        pyarrow.table({"a": pyarrow.array(values[:2], type=pyarrow.decimal128(5, 2))}),
    ]
    for table in tables:
        require_column(frame_of(table).column("a")[:2], "f", [0.5, np.nan])


def test_sparse_columns_of_pandas_are_read() -> None:
    pandas = pytest.importorskip("pandas")
    series = pandas.Series(pandas.arrays.SparseArray([0.0, 1.0, 0.0]))
    require_column(frame_of(series.to_frame("a")).column("a"), "f", [0, 1, 0])


# NumPy


def test_the_columns_of_an_array_are_numbered() -> None:
    X = np.arange(6.0).reshape(3, 2)
    frame = frame_of(X)
    assert not is_frame(X)
    assert frame.names == ("x0", "x1")
    assert np.shares_memory(frame.columns[1], X)
    np.testing.assert_array_equal(frame.columns[1], [1, 3, 5])


def test_a_frame_is_as_it_is() -> None:
    frame = Frame(("a",), (np.arange(3),))
    assert frame_of(frame) is frame
    assert is_frame(frame)


def test_arrays_of_records_have_names() -> None:
    X = np.array([(1, "x", 0.5), (2, "y", 1.5)], dtype=[("a", ">i2"), ("b", "U3"), ("c", "f4")])
    frame = frame_of(X)
    assert frame.names == ("a", "b", "c")
    require_column(frame.column("a"), "i", [1, 2])
    assert frame.column("a").dtype.isnative  # type: ignore[union-attr]
    require_column(frame.column("b"), "T", ["x", "y"])
    require_column(frame.column("c"), "f", [0.5, 1.5])


@pytest.mark.parametrize(
    ("X", "kinds"),
    [
        (np.array([[1, "a"], [2, "b"]], dtype=object), "iT"),
        ([[1, "a"], [2, "b"]], "iT"),
        ([[1, None], [2, 0.5]], "if"),
        (np.array([["1", "a"], ["2", "b"]]), "TT"),
        (np.array([[b"1", b"a"], [b"2", b"b"]]), "TT"),
        (np.array([["1", "a"], ["2", "b"]], dtype=np.dtypes.StringDType()), "TT"),
        (np.array([["2024", "2025"], ["2024", "NaT"]], dtype="M8[D]"), "MM"),
        (np.array([[24, 12], [36, 48]], dtype="m8[h]"), "ff"),
        (np.array([[True, False], [True, True]]), "bb"),
        (np.array([[1, 2], [3, 4]], dtype=np.float16), "ff"),
        (np.ma.array([[1, 2], [3, 4]], mask=[[0, 0], [0, 1]]), "if"),
        (np.ma.array([["a", "b"], ["c", "d"]], mask=[[0, 0], [0, 1]]), "TT"),
    ],
)
def test_arrays_and_lists_of_each_kind(X: Any, kinds: str) -> None:
    columns = frame_of(X).columns
    assert "".join("T" if isinstance(c, Texts) else c.dtype.kind for c in columns) == kinds


def test_masked_values_are_missing() -> None:
    texts = np.ma.array([["a"], ["c"]], mask=[[0], [1]])
    require_column(frame_of(texts).columns[0], "T", ["a", None])
    numbers = np.ma.array([[1], [2]], mask=[[0], [1]])
    require_column(frame_of(numbers).columns[0], "f", [1, np.nan])
    booleans = np.ma.array([[True], [False], [True]], mask=[[0], [0], [1]])
    require_column(frame_of(booleans).columns[0], "T", ["True", "False", None])


def test_arrays_of_each_backend_are_read(quick_backend: Backend) -> None:
    X = quick_backend.asarray(np.arange(6.0).reshape(3, 2), "float32")
    np.testing.assert_array_equal(frame_of(X).column("x1"), [1, 3, 5])


@pytest.mark.parametrize(
    ("values", "kind", "expected"),
    [
        ([1, 2**63, None], "f", [1, 2.0**63, np.nan]),
        ([2**64 + 1, 1], "f", [2.0**64, 1]),
        ([True, 2], "i", [1, 2]),
        ([Fraction(1, 2), 1], "f", [0.5, 1]),
        ([np.float32(0.5), np.nan], "f", [0.5, np.nan]),
        ([np.True_, None], "T", ["True", None]),
        ([1, "a", 1.0, True, 0.5, None], "T", ["1", "a", "1", "True", "0.5", None]),
        ([np.str_("a"), np.nan], "T", ["a", None]),
        ([np.datetime64("2024-01-01"), np.datetime64("NaT")], "M", ["2024-01-01", "NaT"]),
        ([DAY, NOON], "M", ["2024-02-29", "2024-02-29T12:30"]),
        ([np.timedelta64(36, "h"), np.timedelta64("NaT")], "f", [1.5, np.nan]),
    ],
)
def test_objects_of_each_kind(values: list[Any], kind: str, expected: list[Any]) -> None:
    column = np.empty((len(values), 1), dtype=object)
    column[:, 0] = values
    require_column(frame_of(column).columns[0], kind, expected)


# What is refused


@pytest.mark.parametrize(
    ("X", "message"),
    [
        (np.arange(3), "Expected 2D array, got 1D array instead as X"),
        (np.zeros((2, 2, 2)), "Expected 2D array, got 3D array instead as X"),
        ("abc", "Expected 2D array, got 0D"),
        ([[1, 2], [3]], "X is no table, with as many values in each row"),
        (np.zeros((2, 1), dtype=complex), "column 'x0': Complex data not supported"),
        (np.zeros((3, 0)), r"X has 0 feature\(s\) \(shape=\(3, 0\)\)"),
        (np.zeros(2, dtype=[("a", "f8", 3)]), "column 'a': it has several values in a row"),
        (np.zeros((2, 2), dtype=[("a", "f8")]), "an array of records must be 1-D, not 2-D"),
        (np.zeros((2, 1), dtype="V3"), "column 'x0': it must be numbers, texts or dates, not "),
        (np.array([[b"\xff"]]), "column 'x0': 'utf-8' codec"),
        ([[10**400]], "column 'x0': it has an integer beyond float64"),
    ],
)
def test_what_is_no_table_is_refused(X: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        frame_of(X)


def test_the_message_names_the_argument() -> None:
    with pytest.raises(ValueError, match="got 1D array instead as rows"):
        frame_of(np.arange(3), "rows")


@pytest.mark.parametrize("value", [{"a": 1}, [1], object(), 1j, b"a"])
def test_an_object_that_is_no_value_is_a_type_error(value: Any) -> None:
    X = np.empty((2, 1), dtype=object)
    X[0, 0], X[1, 0] = "a", value
    kind = type(value).__name__
    with pytest.raises(
        TypeError, match=rf"'x0': argument must be a string or a number, not {kind}"
    ):
        frame_of(X)


def test_names_that_are_no_texts_or_repeat_are_refused() -> None:
    pandas = pytest.importorskip("pandas")
    with pytest.raises(ValueError, match="the names of the columns of X must be texts, not 0"):
        frame_of(pandas.DataFrame([[1, 2]]))
    with pytest.raises(ValueError, match="X has several columns of the name 'a'"):
        frame_of(pandas.DataFrame([[1, 2]], columns=["a", "a"]))


def test_tables_of_other_libraries_are_refused_with_a_word() -> None:
    class Table:
        __module__ = "elsewhere.frames"

        def __dataframe__(self) -> None: ...

    with pytest.raises(ValueError, match=r"X is of elsewhere\.Table, which is not read"):
        frame_of(Table())
    polars = pytest.importorskip("polars")
    with pytest.raises(ValueError, match=r"X is a lazy frame: give X\.collect\(\)"):
        frame_of(polars.LazyFrame({"a": [1]}))
    assert not is_frame(polars.LazyFrame({"a": [1]}))


@pytest.mark.parametrize(
    "values",
    [[[1], [2]], [{"a": 1}], [datetime.time(1)], [b"a"]],
    ids=lambda v: type(v[0]).__name__,
)
@pytest.mark.parametrize("source", [with_polars, with_pyarrow])
def test_columns_of_something_else_are_refused(source: Any, values: list[Any]) -> None:
    with pytest.raises(ValueError, match="column 'a': it must be numbers, texts or dates, not "):
        frame_of(source({"a": values}))


def test_sparse_matrices_are_refused() -> None:
    sparse = pytest.importorskip("scipy.sparse")
    with pytest.raises(ValueError, match=r"X is sparse, which is not supported: give X\.toarray"):
        frame_of(sparse.csr_array(np.eye(2)))

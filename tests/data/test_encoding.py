"""An encoding is a value: what it makes of a table, what its JSON says, and what it refuses."""

import copy
import json
import pickle
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arraymlp.data.encoding.columns import Categories, Dates, Numbers
from arraymlp.data.encoding.encoding import MAX_WIDTH, TableEncoding
from arraymlp.data.encoding.number_maps import (
    FARTHEST,
    Nothing,
    NumberMap,
    Piecewise,
    Quantiles,
    SmoothlyClipped,
    Standardized,
)
from arraymlp.data.frames.frame import Frame, Texts

PIECEWISE = Piecewise((0.0, 1.0, 3.0), (0.75, 0.25))
ENCODING = TableEncoding(
    (
        Numbers("age", PIECEWISE, fill=1.0, indicator=True),
        Numbers("fare", Standardized(2.0, 4.0), fill=2.0, indicator=False),
        Categories("port", ("C", "S"), missing=True, other=True),
        Categories("sex", ("False", "True"), missing=False, other=False),
        Dates("day", SmoothlyClipped(19000.0, 10.0), fill=19000.0, indicator=False),
        Numbers("deck", Quantiles((1.0, 2.0, 4.0), (-1.5, 0.0, 2.0)), fill=2.0, indicator=False),
        Numbers("cabin", Nothing(), fill=3.0, indicator=True),
    )
)
FRAME = Frame(
    ("cabin", "deck", "day", "sex", "port", "fare", "age", "name"),
    (
        np.array([3.0, np.nan, 4.0]),
        np.array([1, 3, 9]),
        np.array(["2022-01-08", "2022-01-18", "NaT"], dtype="M8[s]"),
        np.array([True, False, True]),
        Texts(np.array([0, -1, 1], dtype=np.int32), ("S", "Q")),
        np.array([2, 6, -2], dtype=np.int8),
        np.array([0.5, np.nan, 7.0], dtype=np.float32),
        Texts(np.array([0, 1, 2], dtype=np.int32), ("x", "y", "z")),
    ),
)
FEATURES = [
    # age, missing; fare; port C, S, missing, other; sex; day; deck; cabin missing
    [0.5 - 0.75, -0.25, 0, 0, 0, 1, 0, 0, 0, 1, 0, -1.5, 0],
    [1 - 0.75, -0.25, 1, 1, 0, 0, 1, 0, 1, 0, 1 / np.sqrt(1 + 1 / 9), 1.0, 1],
    [1 - 0.75, 0.75, 0, -1, 0, 0, 0, 1, 0, 1, 0, 2.0, 0],
]


def frame(**columns: Any) -> Frame:
    return Frame(tuple(columns), tuple(columns.values()))


def texts(*values: str | None) -> Texts:
    distinct = tuple({v for v in values if v is not None})
    codes = [-1 if v is None else distinct.index(v) for v in values]
    return Texts(np.array(codes, dtype=np.int32), distinct)


def test_each_kind_of_column_by_hand() -> None:
    features = ENCODING.transform(FRAME, "float64")
    np.testing.assert_allclose(features, FEATURES, rtol=1e-14)
    assert features.flags.c_contiguous
    assert ENCODING.names == ("age", "fare", "port", "sex", "day", "deck", "cabin")
    assert ENCODING.width == 13


def test_features_have_names() -> None:
    assert ENCODING.feature_names_out() == [
        "age 0..1",
        "age 1..3",
        "age (missing)",
        "fare",
        "port=C",
        "port=S",
        "port (missing)",
        "port (other)",
        "sex=False",
        "sex=True",
        "day",
        "deck",
        "cabin (missing)",
    ]


def test_names_of_features_are_different() -> None:
    columns = (
        Categories("a", ("b=c",), missing=False, other=True),
        Categories("a=b", ("c",), missing=False, other=True),
        Numbers("a=b=c", Standardized(0.0, 1.0), 0.0, indicator=False),
    )
    assert TableEncoding(columns).feature_names_out() == [
        "a=b=c",
        "a (other)",
        "a=b=c #2",
        "a=b (other)",
        "a=b=c #3",
    ]


def test_features_are_rounded_once() -> None:
    x = np.random.default_rng(0).normal(size=1000)
    for number_map in (PIECEWISE, Standardized(0.1, 0.3), SmoothlyClipped(0.1, 0.3)):
        encoding = TableEncoding((Numbers("x", number_map, 0.0, indicator=False),))
        exact = encoding.transform(frame(x=x), "float64")
        rounded = encoding.transform(frame(x=x))
        assert rounded.dtype == np.float32
        np.testing.assert_array_equal(rounded, exact.astype(np.float32))


def test_many_rows_are_as_each_alone() -> None:
    rng = np.random.default_rng(0)
    rows = rng.integers(0, 3, 100_000)
    many = FRAME[rows]
    features = ENCODING.transform(many)
    np.testing.assert_array_equal(features, ENCODING.transform(FRAME)[rows])
    np.testing.assert_array_equal(features[777:778], ENCODING.transform(many[777:778]))


def test_no_rows_have_no_features() -> None:
    assert ENCODING.transform(FRAME[:0]).shape == (0, 13)
    with pytest.raises(ValueError, match="X lacks 7 of 7 columns"):
        ENCODING.transform(frame(a=np.zeros(0)))


def test_the_caller_s_columns_are_not_written() -> None:
    before = [np.array(c if isinstance(c, np.ndarray) else c.codes) for c in FRAME.columns]
    for column in FRAME.columns:
        (column if isinstance(column, np.ndarray) else column.codes).flags.writeable = False
    ENCODING.transform(FRAME)
    after = [np.array(c if isinstance(c, np.ndarray) else c.codes) for c in FRAME.columns]
    for one, other in zip(before, after, strict=True):
        np.testing.assert_array_equal(one, other)


def test_columns_are_taken_by_their_names() -> None:
    other = FRAME.select(sorted(FRAME.names))
    np.testing.assert_array_equal(ENCODING.transform(other), ENCODING.transform(FRAME))


def test_columns_that_are_missing_are_listed() -> None:
    with pytest.raises(ValueError, match=r"X lacks 2 of 7 columns: 'day', 'cabin'; it has 'age'"):
        ENCODING.transform(FRAME.select(["age", "fare", "port", "sex", "deck"]))
    with pytest.raises(ValueError, match=r"X lacks 7 of 7 columns.* it has 'x0'$"):
        ENCODING.transform(np.zeros((2, 1)))


def test_a_dtype_that_is_no_float_is_refused() -> None:
    with pytest.raises(ValueError, match="unknown dtype 'float16'"):
        ENCODING.transform(FRAME, "float16")


@pytest.mark.parametrize(
    ("name", "values", "message"),
    [
        ("fare", texts("3", "x"), "column 'fare' must be numbers, but row 0 has '3'"),
        ("fare", texts(None, "x"), "column 'fare' must be numbers, but row 1 has 'x'"),
        (
            "fare",
            np.array(["2024-01-01"] * 2, "M8[D]"),
            "must be numbers, but row 0 has 2024-01-01",
        ),
        ("day", texts(None, "x"), "column 'day' must be dates, but row 1 has 'x'"),
        ("day", np.array([np.nan, 3.0]), "column 'day' must be dates, but row 1 has 3.0"),
        ("day", np.array([True, False]), "column 'day' must be dates, but row 0 has True"),
        (
            "port",
            np.array(["NaT", "2024-01-01"], "M8[D]"),
            "must be categories, but row 1 has 2024",
        ),
        ("fare", np.array([1.0, -np.inf]), "column 'fare' has an infinite number in row 1"),
        ("port", np.array([np.nan, np.inf]), "column 'port' has an infinite number in row 1"),
        ("age", np.array([np.nan, np.inf]), "column 'age' has an infinite number in row 1"),
    ],
)
def test_a_column_of_another_kind_is_refused(name: str, values: Any, message: str) -> None:
    columns = dict(zip(FRAME.names, FRAME[:2].columns, strict=True)) | {name: values}
    with pytest.raises(ValueError, match=message):
        ENCODING.transform(frame(**columns))


def test_the_row_of_an_infinite_number_is_said_beyond_the_first_block() -> None:
    x = np.zeros(300_000)
    x[[250_001, 250_003]] = np.nan, np.inf
    encoding = TableEncoding((Numbers("x", PIECEWISE, 0.0, indicator=False),))
    with pytest.raises(ValueError, match="in row 250003"):
        encoding.transform(frame(x=x))


@pytest.mark.parametrize(
    "values",
    [texts(None, None), np.full(2, np.nan), np.array(["NaT"] * 2, "M8[D]")],
    ids=["texts", "numbers", "dates"],
)
def test_a_column_without_values_is_of_any_kind(values: Any) -> None:
    columns = dict.fromkeys(ENCODING.names, values)
    features = ENCODING.transform(frame(**columns), "float64")
    expected = [1 - 0.75, -0.25, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 1]
    np.testing.assert_allclose(features, [expected] * 2)


def test_numbers_have_the_category_of_their_text() -> None:
    encoding = TableEncoding(
        (Categories("a", ("-1", "0.5", "3", "True"), missing=True, other=True),)
    )
    for values, positions in (
        (np.array([3, -1, 7]), [2, 0, 5]),
        (np.array([3.0, 0.5, np.nan]), [2, 1, 4]),
        (np.array([np.nan, np.nan]), [4, 4]),
        (np.array([True, False]), [3, 5]),
        (np.array([3, 255], dtype=np.uint8), [2, 5]),
        (texts("3", "3.0", None, "True"), [2, 5, 4, 3]),
    ):
        features = encoding.transform(frame(a=values))
        np.testing.assert_array_equal(features, np.eye(6)[positions])


def test_booleans_are_0_and_1_whichever_of_them_were_learnt() -> None:
    """A boolean column with a value missing is floats in pandas; none of its rows is unseen."""
    for learnt in (("False", "True"), ("0", "1")):
        encoding = TableEncoding((Categories("a", learnt, missing=True, other=True),))
        for values, positions in (
            (np.array([True, False]), [1, 0]),
            (np.array([1, 0]), [1, 0]),
            (np.array([0.0, np.nan, 1.0]), [0, 2, 1]),
            (texts(*learnt, None), [0, 1, 2]),
        ):
            features = encoding.transform(frame(a=values))
            np.testing.assert_array_equal(features, np.eye(4)[positions])
    for learnt in (("False", "True"), ("FALSE", "TRUE")):  # as Python and as spreadsheets write it
        encoding = TableEncoding((Categories("a", learnt, missing=False, other=True),))
        column = texts("TRUE", "false", "1", "True", "yes")
        features = encoding.transform(frame(a=column))
        np.testing.assert_array_equal(features, np.eye(3)[[1, 0, 1, 1, 2]])
        features = encoding.transform(frame(a=np.array([True, False])))
        np.testing.assert_array_equal(features, np.eye(3)[[1, 0]])
    apart = TableEncoding((Categories("a", ("TRUE", "True"), missing=False, other=True),))
    features = apart.transform(frame(a=texts("True", "TRUE", "true")))
    np.testing.assert_array_equal(features, np.eye(3)[[1, 0, 2]])
    some = TableEncoding((Categories("a", ("2", "3"), missing=False, other=True),))
    np.testing.assert_array_equal(some.transform(frame(a=np.array([True, False]))), [[0, 0, 1]] * 2)
    booleans = TableEncoding((Categories("a", ("False", "True"), missing=False, other=True),))
    with pytest.raises(ValueError, match="'a' must be booleans, or 0 and 1, but row 1 has 2"):
        booleans.transform(frame(a=np.array([1, 2, 0])))


# Maps of numbers


def test_piecewise_is_what_part_of_each_bin_is_below() -> None:
    x = np.array([-5.0, 0, 0.25, 1, 2, 3, 1e300])
    out = np.empty((7, 2))
    PIECEWISE.write(x, out)
    below = [[0, 0], [0, 0], [0.25, 0], [1, 0], [1, 0.5], [1, 1], [1, 1]]
    np.testing.assert_allclose(out, np.array(below) - [0.75, 0.25])


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=20, unique=True),
    st.lists(st.floats(-2e6, 2e6), min_size=1, max_size=20),
)
def test_piecewise_is_its_formula(edges: list[float], numbers: list[float]) -> None:
    e = np.sort(edges)
    e = e[np.append(True, np.diff(e) > 1e-300)]
    if len(e) < 2:
        return
    x = np.array(numbers)
    out = np.empty((len(x), len(e) - 1))
    Piecewise(tuple(e.tolist()), (0.0,) * (len(e) - 1)).write(x, out)
    with np.errstate(over="ignore"):
        expected = np.clip((x[:, None] - e[:-1]) / np.diff(e), 0, 1)
    np.testing.assert_allclose(out, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    "number_map", [PIECEWISE, Standardized(0.0, 1e-200), SmoothlyClipped(0.0, 1e-200)]
)
def test_features_are_finite_however_far_a_number_is(number_map: NumberMap) -> None:
    encoding = TableEncoding((Numbers("x", number_map, 0.0, indicator=False),))
    x = np.array([-1.7e308, -1e150, 1e-308, 1e150, 1.7e308])
    for dtype in ("float32", "float64"):
        features = encoding.transform(frame(x=x), dtype)
        assert np.isfinite(features).all()
        assert np.abs(features).max() <= (1.001 * FARTHEST)


def test_smooth_clipping_stays_within_3() -> None:
    z = SmoothlyClipped(0.0, 1.0)(np.array([-1e300, -3, 0, 0.01, 3, 1e300]))
    np.testing.assert_allclose(z, [-3, -3 / np.sqrt(2), 0, 0.01, 3 / np.sqrt(2), 3], rtol=1e-4)


# Padding


def test_padding_is_zeros_at_the_end() -> None:
    padded = ENCODING.padded(16)
    assert padded.width == 16
    assert padded.names == ENCODING.names
    features = padded.transform(FRAME)
    np.testing.assert_array_equal(features[:, :13], ENCODING.transform(FRAME))
    np.testing.assert_array_equal(features[:, 13:], 0)
    assert padded.feature_names_out()[-2:] == ["(padding 1)", "(padding 2)"]
    assert padded.padded(16) == padded
    assert padded.padded(13) == ENCODING
    with pytest.raises(ValueError, match="an encoding of 13 features cannot have 12"):
        ENCODING.padded(12)


# A value


def test_encodings_are_equal_where_their_numbers_are() -> None:
    again = TableEncoding.of_json(ENCODING.to_json())
    assert again == ENCODING
    assert hash(again) == hash(ENCODING)
    assert ENCODING.padded(14) != ENCODING
    assert TableEncoding(ENCODING.columns[::-1]) != ENCODING
    number, date = (kind("a", PIECEWISE, 0.0, indicator=False) for kind in (Numbers, Dates))
    assert TableEncoding((number,)) != TableEncoding((date,))


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda e: pickle.loads(pickle.dumps(e))])
def test_copies_are_equal(copied: Callable[[TableEncoding], TableEncoding]) -> None:
    ENCODING.transform(FRAME)
    again = copied(ENCODING)
    assert again == ENCODING
    np.testing.assert_array_equal(again.transform(FRAME), ENCODING.transform(FRAME))


def test_renamed_columns_are_found_by_their_new_names() -> None:
    encoding = ENCODING.renamed({"age": "years"})
    assert encoding.names[:2] == ("years", "fare")
    assert encoding.columns[1:] == ENCODING.columns[1:]
    assert encoding.renamed({"years": "age"}) == ENCODING


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: TableEncoding(()), "an encoding has at least one column"),
        (lambda: TableEncoding(ENCODING.columns[:1] * 2), "columns of an encoding have the same"),
        (lambda: ENCODING.padded(MAX_WIDTH + 1), f"at most {MAX_WIDTH} features, not"),
        (lambda: Numbers("a", Nothing(), 0.0, indicator=False), "column 'a' has no features"),
        (lambda: Categories("a", (), missing=False, other=False), "column 'a' has no features"),
        (lambda: Categories("a", ("b", "b"), missing=False, other=False), "categories .* repeat"),
        (lambda: Standardized(0.0, 0.0), "a scale must be positive, not 0.0"),
        (lambda: Standardized(0.0, 1e-310), "a scale must be positive, not 1e-310"),
        (lambda: SmoothlyClipped(0.0, -1.0), "a scale must be positive, not -1.0"),
        (lambda: Piecewise((0.0,), ()), "edges must be two increasing numbers or more"),
        (lambda: Piecewise((0.0, 0.0), (0.5,)), "edges must be two increasing numbers"),
        (lambda: Piecewise((-1.7e308, 1.7e308), (0.5,)), "edges must be two increasing numbers"),
        (lambda: Piecewise((0.0, 1e-320), (0.5,)), "edges must be two increasing numbers"),
        (lambda: Piecewise((0.0, 1.0), (0.5, 0.5)), "2 edges have 2 means"),
        (lambda: Piecewise((0.0, 1.0), (1.5,)), "means of parts must be from 0 to 1"),
        (lambda: Quantiles((0.0, 1.0), (0.0,)), "scores must be two increasing numbers"),
        (lambda: Quantiles((0.0, 1.0), (0.0, 1.0, 2.0)), "2 knots have 3 scores"),
        (lambda: Quantiles((1.0, 0.0), (0.0, 1.0)), "knots must be two increasing numbers"),
    ],
)
def test_what_is_no_encoding_is_refused(make: Callable[[], Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


# JSON


FLOATS = st.floats(allow_nan=False, allow_infinity=False, allow_subnormal=False)


@settings(max_examples=100, deadline=None)
@given(FLOATS, st.floats(1e-300, 1e300), FLOATS, st.text(), st.lists(st.text(), unique=True))
def test_json_keeps_every_bit(
    mean: float, deviation: float, fill: float, name: str, values: list[str]
) -> None:
    encoding = TableEncoding(
        (
            Numbers(name, Standardized(mean, deviation), fill, indicator=True),
            Categories(name + "'", tuple(values), missing=True, other=False),
        )
    )
    said = json.loads(json.dumps(encoding.to_json(), allow_nan=False))
    again = TableEncoding.of_json(said)
    assert again == encoding
    assert repr(again) == repr(encoding)  # which tells 0.0 from -0.0
    assert json.dumps(again.to_json()) == json.dumps(encoding.to_json())


def test_json_may_have_integers_for_numbers() -> None:
    text = json.dumps(ENCODING.to_json()).replace("2.0", "2")
    again = TableEncoding.of_json(json.loads(text))
    assert again == ENCODING
    assert repr(again) == repr(ENCODING)


def test_the_json_of_an_encoding() -> None:
    encoding = TableEncoding((ENCODING.columns[0], ENCODING.columns[2]), 3)
    assert encoding.to_json() == {
        "columns": [
            {
                "kind": "numbers",
                "name": "age",
                "map": {"kind": "piecewise", "edges": [0.0, 1.0, 3.0], "means": [0.75, 0.25]},
                "fill": 1.0,
                "indicator": True,
            },
            {
                "kind": "categories",
                "name": "port",
                "values": ["C", "S"],
                "missing": True,
                "other": True,
            },
        ],
        "padding": 3,
    }


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where values stand in JSON."""
    yield path
    if isinstance(value, dict | list):
        for key, item in value.items() if isinstance(value, dict) else enumerate(value):
            yield from places(item, (*path, key))


def changed(path: tuple[Any, ...], value: Any) -> Any:
    """The encoding's JSON with another value in one place."""
    said = {"whole": ENCODING.to_json()}
    holder: Any = said
    for key in ("whole", *path)[:-1]:
        holder = holder[key]
    holder[("whole", *path)[-1]] = value
    return said["whole"]


ENCODING_PLACES = list(places(ENCODING.to_json()))


@pytest.mark.parametrize(
    "value", [None, {}, object(), b"x", float("nan")], ids=lambda v: type(v).__name__
)
def test_a_value_of_another_type_is_refused_wherever_it_is(value: Any) -> None:
    for path in ENCODING_PLACES:
        with pytest.raises(ValueError, match=r"^encoding"):  # where it stands
            TableEncoding.of_json(changed(path, value))


@pytest.mark.parametrize("value", [[], -1, 1e308, 5e-324, 10**30, "", "categories", True], ids=repr)
def test_a_value_that_may_be_none_is_refused_or_gives_a_sound_encoding(value: Any) -> None:
    for path in ENCODING_PLACES:
        encoding = None
        with suppress(ValueError):
            encoding = TableEncoding.of_json(changed(path, value))
        if encoding is not None and encoding.names == ENCODING.names:
            features = encoding.transform(FRAME)
            assert features.shape == (3, encoding.width)
            assert np.isfinite(features).all()


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ((), None, "^encoding must be an object, not None"),
        (("columns",), {}, r"^encoding\.columns must be a list"),
        (("columns", 0), 3, r"^encoding\.columns\[0\] must be an object, not 3"),
        (("columns", 0, "kind"), "number", r"columns\[0\]: unknown kind 'number': did you mean "),
        (("columns", 0, "kind"), "categories", r"columns\[0\] lacks values, missing, other"),
        (("columns", 0, "kind"), ["numbers"], r"columns\[0\]: unknown kind \['numbers'\]"),
        (("columns", 0, "name"), 3, r"columns\[0\]\.name must be text, not 3"),
        (("columns", 0, "new"), 3, r"columns\[0\] has 'new', of which this version knows nothing"),
        (("columns", 0, "indicator"), 1, r"indicator must be true or false, not 1"),
        (("columns", 0, "fill"), "1", r"fill must be a finite number, not '1'"),
        (("columns", 0, "fill"), True, r"fill must be a finite number, not True"),
        (("columns", 0, "fill"), 10**400, r"fill must be a finite number, not 1000"),
        (("columns", 0, "fill"), float("inf"), r"fill must be a finite number, not inf"),
        (("columns", 0, "map", "edges"), [0, 0, 1], r"columns\[0\]\.map: edges must be two incr"),
        (("columns", 0, "map", "edges"), [0, "1"], r"map\.edges\[1\] must be a finite number"),
        (("columns", 0, "map", "edges"), [0, 1], r"columns\[0\]\.map: 2 edges have 2 means"),
        (("columns", 0, "map", "kind"), "splines", r"columns\[0\]\.map: unknown kind 'splines'"),
        (("columns", 2, "values"), ["a", "a"], r"columns\[2\]: categories of column 'port' repeat"),
        (("columns", 2, "name"), "age", "^encoding: columns of an encoding have the same name"),
        (("padding",), -1, r"^encoding\.padding must be a whole number from 0, not -1"),
        (("padding",), 1.0, r"^encoding\.padding must be a whole number from 0, not 1.0"),
        (("padding",), 2**40, f"^encoding: an encoding has at most {MAX_WIDTH} features"),
        (("version",), 2, "^encoding has 'version', of which this version knows nothing"),
    ],
)
def test_the_message_says_where(path: Any, value: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TableEncoding.of_json(changed(path, value))


@pytest.mark.parametrize(
    "path", [path for path in ENCODING_PLACES if path and isinstance(path[-1], str)], ids=str
)
def test_a_name_that_is_not_there_is_missed(path: Any) -> None:
    said = ENCODING.to_json()
    holder: Any = said
    for key in path[:-1]:
        holder = holder[key]
    del holder[path[-1]]
    with pytest.raises(ValueError, match=f"lacks {path[-1]}|unknown kind None"):
        TableEncoding.of_json(said)

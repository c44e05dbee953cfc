"""What an encoder learns of training rows, and of which columns it says that it leaves them out."""

import copy
import pickle
import re
import statistics
import subprocess
import sys
import warnings
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arraymlp import TableEncoder
from arraymlp.data.encoding.columns import Categories, Dates, EncodedColumn, Numbers
from arraymlp.data.encoding.encoding import TableEncoding
from arraymlp.data.encoding.number_maps import (
    Mixed,
    Nothing,
    Piecewise,
    Quantiles,
    SmoothlyClipped,
    Standardized,
)
from arraymlp.data.frames.frame import Frame, Texts
from arraymlp.data.frames.sources import frame_of

MAPS = ["mixed", "piecewise", "standardize", "smooth_clip", "quantile"]
NORMAL = np.random.default_rng(0).normal(size=1000)


def texts(values: list[str | None]) -> Texts:
    distinct = tuple(dict.fromkeys(v for v in values if v is not None))
    codes = [-1 if v is None else distinct.index(v) for v in values]
    return Texts(np.array(codes, dtype=np.int32), distinct)


def frame(**columns: Any) -> Frame:
    return Frame(tuple(columns), tuple(columns.values()))


def learnt(values: Any, **settings: Any) -> EncodedColumn:
    (column,) = TableEncoder(**settings).learn(frame(a=values)).columns
    return column


def reason(values: Any, **settings: Any) -> str:
    """Why a column is left out; there is another that is not."""
    encoder = TableEncoder(**settings)
    with pytest.warns(UserWarning, match="^columns that are not encoded: 'a'"):
        encoder.fit(frame(a=values, b=NORMAL[: len(values)]))
    assert encoder.encoding_.names == ("b",)
    assert set(encoder.left_out_) == {"a"}
    return encoder.left_out_["a"]


# Numbers


@pytest.mark.parametrize("dtype", ["float64", "float32", "int64", "uint8"])
def test_standardized_numbers_have_mean_0_and_variance_1(dtype: str) -> None:
    x = (50 + 10 * NORMAL).astype(dtype)
    encoder = TableEncoder("standardize", dtype="float64").fit(frame(a=x))
    z = encoder.transform(frame(a=x))[:, 0]
    np.testing.assert_allclose([z.mean(), z.var()], [0, 1], atol=1e-12)
    z = encoder.transform(frame(a=np.array([x.astype(float).mean()])))
    np.testing.assert_allclose(z, [[0]], atol=1e-12)


def test_piecewise_bins_have_equally_many_rows() -> None:
    column = learnt(NORMAL, numbers="piecewise")
    assert isinstance(column, Numbers)
    assert isinstance(column.map, Piecewise)
    assert column.map.edges == tuple(np.quantile(NORMAL, np.arange(17) / 16, method="lower"))
    features = TableEncoder("piecewise", dtype="float64").fit_transform(frame(a=NORMAL))
    assert features.shape == (1000, 16)
    np.testing.assert_allclose(features.mean(axis=0), 0, atol=1e-14)
    assert np.abs(features).max() <= 1


@pytest.mark.parametrize(
    ("values", "edges"),
    [
        ([0, 1], [0, 1]),
        ([5, 5, 5, 7, 5], [5, 7]),
        ([1, 2, 3] * 20, [1, 2, 3]),
        ([0] * 90 + [1] * 5 + [2] * 5, [0, 1, 2]),
        ([0] * 98 + [1, 2], [0, 2]),  # too few for a bin of their own
        (list(range(18)), [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 17]),
    ],
)
def test_a_column_of_few_values_has_few_bins(values: list[int], edges: list[int]) -> None:
    column = learnt(np.array(values, dtype=float), numbers="piecewise")
    assert isinstance(column.map, Piecewise)  # type: ignore[union-attr]
    assert list(column.map.edges) == edges  # type: ignore[union-attr]
    if len(edges) == 2:
        assert column.feature_names() == ["a"]


def test_a_number_stands_beside_its_bins_in_half_size() -> None:
    def features(numbers: str) -> Any:
        return TableEncoder(numbers, dtype="float64").fit_transform(frame(a=NORMAL))

    parts = [features("standardize"), features("piecewise") / 2]
    np.testing.assert_array_equal(features("mixed"), np.hstack(parts))
    assert isinstance(learnt(NORMAL).map, Mixed)  # type: ignore[union-attr]
    ends = frame(a=np.array([NORMAL.min(), NORMAL.max()]))
    beyond = frame(a=np.array([-1e300, 1e300]))
    encoder = TableEncoder().fit(frame(a=NORMAL))
    np.testing.assert_array_equal(encoder.transform(beyond), encoder.transform(ends))


@pytest.mark.parametrize("values", [[0, 1] * 5, [0] * 98 + [1, 2]])
def test_numbers_of_one_bin_have_one_feature(values: list[int]) -> None:
    column = learnt(np.array(values, dtype=float))
    assert column.feature_names() == ["a"]
    encoder = TableEncoder(dtype="float64").fit(frame(a=np.array(values)))
    z = encoder.transform(frame(a=np.array(values)))
    np.testing.assert_allclose([z.mean(), z.var()], [0, 1], atol=1e-12)


def test_bins_are_as_many_as_asked_for() -> None:
    assert learnt(NORMAL, bins=5).width == 6
    assert learnt(NORMAL, bins=1).width == 1


def test_smooth_clipping_goes_by_quartiles() -> None:
    column = learnt(NORMAL, numbers="smooth_clip")
    low, middle, high = np.quantile(NORMAL, [0.25, 0.5, 0.75])
    assert column.map == SmoothlyClipped(middle, high - low)  # type: ignore[union-attr]
    mostly_zero = np.array([0.0] * 8 + [4.0, -4.0])
    column = learnt(mostly_zero, numbers="smooth_clip")
    assert column.map == SmoothlyClipped(0.0, 4.0)  # type: ignore[union-attr]


def test_quantiles_are_normal_scores() -> None:
    x = np.exp(NORMAL)
    encoder = TableEncoder("quantile", dtype="float64").fit(frame(a=x))
    z = encoder.transform(frame(a=x))[:, 0]
    order = np.argsort(x)
    normal = statistics.NormalDist()
    exact = [normal.inv_cdf((i + 0.5) / 1000) for i in range(1000)]
    np.testing.assert_allclose(z[order][20:-20], exact[20:-20], atol=0.05)
    column = encoder.encoding_.columns[0]
    assert len(column.map.knots) == 256  # type: ignore[union-attr]
    np.testing.assert_array_equal(
        encoder.transform(frame(a=np.array([-1e300, 1e300])))[:, 0], [z.min(), z.max()]
    )


def test_values_that_repeat_share_the_middle_of_their_ranks() -> None:
    column = learnt(np.array([1.0, 1, 1, 1, 2, 2]), numbers="quantile")
    normal = statistics.NormalDist()
    expected = Quantiles((1.0, 2.0), (normal.inv_cdf(4 / 12), normal.inv_cdf(10 / 12)))
    assert column.map == expected  # type: ignore[union-attr]


@pytest.mark.parametrize("numbers", MAPS)
def test_a_missing_number_is_the_median_and_says_that_it_is_missing(numbers: str) -> None:
    x = np.array([1.0, np.nan, 2, 4, 8, np.nan, 16, 3])
    encoder = TableEncoder(numbers, dtype="float64").fit(frame(a=x))
    column = encoder.encoding_.columns[0]
    assert column.fill == 3.5  # type: ignore[union-attr]
    features = encoder.transform(frame(a=np.array([np.nan, 3.5])))
    np.testing.assert_array_equal(features[:, -1], [1, 0])
    np.testing.assert_array_equal(features[0, :-1], features[1, :-1])
    without = TableEncoder(numbers, dtype="float64").fit(frame(a=x[~np.isnan(x)]))
    np.testing.assert_array_equal(without.transform(frame(a=np.array([3.5]))), features[1:, :-1])
    np.testing.assert_array_equal(without.transform(frame(a=np.array([np.nan]))), features[1:, :-1])


def test_where_numbers_are_alike_only_which_are_missing_is_a_feature() -> None:
    column = learnt(np.array([7.0, np.nan, 7.0]))
    assert column == Numbers("a", Nothing(), 7.0, indicator=True)
    encoding = TableEncoding((column,))
    np.testing.assert_array_equal(
        encoding.transform(frame(a=np.array([7.0, 9.0, np.nan]))), [[0], [0], [1]]
    )


@pytest.mark.parametrize("numbers", MAPS)
@pytest.mark.parametrize("scale", [1e-290, 1e-30, 1e30, 1e290])
def test_numbers_of_any_scale_are_learnt(numbers: str, scale: float) -> None:
    encoder = TableEncoder(numbers, dtype="float64")
    expected = encoder.fit_transform(frame(a=NORMAL))
    np.testing.assert_allclose(
        encoder.fit_transform(frame(a=scale * NORMAL)), expected, rtol=1e-9, atol=1e-9
    )


@pytest.mark.parametrize("numbers", MAPS)
@settings(max_examples=100, deadline=None)
@given(
    x=st.lists(
        st.floats(-1e300, 1e300) | st.integers(-3, 3).map(float) | st.just(np.nan), min_size=2
    )
)
def test_any_numbers_are_learnt_or_left_out(numbers: str, x: list[float]) -> None:
    columns = frame(a=np.array(x), b=NORMAL[: len(x)])
    encoding = TableEncoder(numbers).learn(columns, warn=False)
    features = encoding.transform(columns)
    assert np.isfinite(features).all()
    assert TableEncoding.of_json(encoding.to_json()) == encoding


def test_infinite_numbers_are_refused() -> None:
    for values in ([1.0, np.nan, -np.inf, np.inf], [np.inf] * 3):
        row = values.index(-np.inf if len(values) == 4 else np.inf)
        with pytest.raises(ValueError, match=f"column 'a' has an infinite number in row {row}"):
            TableEncoder().fit(frame(a=np.array(values)))
        with pytest.raises(ValueError, match=f"column 'a' has an infinite number in row {row}"):
            TableEncoder(categories=["a"]).fit(frame(a=np.array(values)))
    with pytest.raises(ValueError, match="column 'a' has numbers too far apart: -1e"):
        TableEncoder().fit(frame(a=np.array([-1e308, 1e308])))


# Categories


def test_each_category_has_a_feature() -> None:
    column = learnt(texts(["b", "a", "c"] * 5))
    assert column == Categories("a", ("a", "b", "c"), missing=False, other=False)
    features = TableEncoder().fit_transform(frame(a=texts(["b", "a", "c"] * 5)))
    np.testing.assert_array_equal(features[:3], [[0, 1, 0], [1, 0, 0], [0, 0, 1]])


@pytest.mark.parametrize("min_frequency", [5, 5 / 32])
def test_rare_categories_share_a_feature_with_unseen_ones(min_frequency: float) -> None:
    values: list[str | None] = ["a"] * 20 + ["b"] * 5 + ["c"] * 4 + ["d"] * 3
    column = learnt(texts(values), min_frequency=min_frequency)
    assert column == Categories("a", ("a", "b"), missing=False, other=True)
    features = TableEncoding((column,)).transform(frame(a=texts(["a", "b", "c", "e", None])))
    np.testing.assert_array_equal(features, np.eye(3)[[0, 1, 2, 2, 2]])


def test_a_part_of_the_rows_is_not_rounded_up_by_rounding() -> None:
    values: list[str | None] = ["a"] * 27 + ["b"] * 3
    column = learnt(texts(values), min_frequency=0.1)  # 0.1 * 30 is above 3 in float64
    assert column == Categories("a", ("a", "b"), missing=False, other=False)


def test_an_unseen_category_has_zeros_where_none_was_rare() -> None:
    encoding = TableEncoding((learnt(texts(["a", "b"] * 5)),))
    features = encoding.transform(frame(a=texts(["b", "c", None])))
    np.testing.assert_array_equal(features, [[0, 1], [0, 0], [0, 0]])


def test_a_missing_category_is_one_like_the_others() -> None:
    often: list[str | None] = ["a"] * 10 + ["b"] * 10 + [None] * 5
    column = learnt(texts(often))
    assert column == Categories("a", ("a", "b"), missing=True, other=False)
    assert column.feature_names() == ["a=a", "a=b", "a (missing)"]
    seldom: list[str | None] = ["a"] * 10 + ["b"] * 10 + [None]
    column = learnt(texts(seldom))
    assert column == Categories("a", ("a", "b"), missing=False, other=True)
    alone: list[str | None] = ["a"] * 10 + [None] * 5
    assert learnt(texts(alone)) == Categories("a", ("a",), missing=True, other=False)
    rare: list[str | None] = ["a", "b", "c", None, None, None, None, None]
    assert learnt(texts(rare)) == Categories("a", (), missing=True, other=True)


def test_the_most_frequent_categories_stay() -> None:
    values: list[str | None] = []
    for i in range(26):
        values += [chr(ord("z") - i)] * (10 + min(i, 20))
    column = learnt(texts(values), max_categories=8)
    # Of those that are as frequent the first by their text.
    assert column == Categories("a", tuple("abcdefg"), missing=False, other=True)
    assert column.width == 8
    assert learnt(texts(values), max_categories=26).width == 26
    assert learnt(texts([*values, None]), max_categories=26).width == 26
    assert learnt(texts([*values, "A"]), max_categories=26).width == 26
    assert learnt(texts([*values, "A"]), max_categories=27).width == 27
    assert learnt(texts([*values, "A", "B"]), max_categories=27).width == 27


def test_booleans_are_categories() -> None:
    column = learnt(np.array([True, False] * 5))
    assert column == Categories("a", ("False", "True"), missing=False, other=False)
    missing = frame_of(np.array([[True], [False], [None]] * 5, dtype=object)).columns[0]
    assert learnt(missing) == Categories("a", ("False", "True"), missing=True, other=False)


INTEGERS = np.array([3, 10, 2] * 10)


def test_integers_are_categories_where_that_is_asked_for() -> None:
    expected = Categories("a", ("10", "2", "3"), missing=False, other=False)
    assert isinstance(learnt(INTEGERS), Numbers)
    for categories in (["a"], ("a",), {"a"}, 3, np.int64(10)):
        assert learnt(INTEGERS, categories=categories) == expected
    assert isinstance(learnt(INTEGERS, categories=2), Numbers)
    floats = np.append(INTEGERS, [np.nan] * 5)
    expected = Categories("a", ("10", "2", "3"), missing=True, other=False)
    assert learnt(floats, categories=3) == expected
    assert isinstance(learnt(INTEGERS / 4, categories=5), Numbers)
    assert learnt(INTEGERS / 4, categories=["a"]).feature_names() == ["a=0.5", "a=0.75", "a=2.5"]


# Dates


def test_dates_are_days_where_that_is_asked_for() -> None:
    dates = np.array(["1970-01-02", "NaT", "1970-01-11T12:00"], dtype="M8[m]")
    column = learnt(dates, dates=True, numbers="standardize")
    assert column == Dates("a", Standardized(5.75, 4.75), 5.75, indicator=True)
    features = TableEncoding((column,)).transform(frame(a=dates.astype("M8[ns]")))
    np.testing.assert_array_equal(features, [[-1, 0], [0, 1], [1, 0]])
    days = np.datetime64("2024-01-01") + np.arange(30)  # which number no rows
    assert isinstance(learnt(days, dates=True), Dates)


# Columns that are left out


@pytest.mark.parametrize(
    ("values", "why"),
    [
        (np.full(9, 3), "constant"),
        (np.full(9, 0.1) + np.array([0, 1e-17, 1e-16] * 3), "constant"),
        (np.full(9, True), "constant"),
        (texts(["a"] * 9), "constant"),
        (np.full(9, np.nan), "no values"),
        (texts([None] * 9), "no values"),
        (np.array(["NaT"] * 9, "M8[D]"), "no values"),
        (np.array(["2024-01-01"] * 9, "M8[D]"), "dates; TableEncoder(dates=True) encodes them"),
        (np.arange(30), "it numbers the rows; keep=['a'] encodes it"),
        (np.arange(30)[::-1] + 1.0, "it numbers the rows; keep=['a'] encodes it"),
        (np.arange(0, 60, 2), "it numbers the rows; keep=['a'] encodes it"),
        (np.arange(5000, 6000), "it numbers the rows; keep=['a'] encodes it"),
        (texts([f"t{i}" for i in range(30)]), "texts that nearly all differ, none in 5 rows"),
        (texts(list("abcdefgh" * 3)), "rare texts, none in 5 rows"),
    ],
)
def test_a_column_that_says_nothing_is_left_out(values: Any, why: str) -> None:
    assert reason(values) == why
    rows = np.random.default_rng(0).permutation(len(values))
    assert reason(values[rows]) == why


@pytest.mark.parametrize(
    "values",
    [
        np.arange(19),  # too few rows to say
        np.arange(1900, 2020),  # years
        np.append(np.arange(30), 3),
        np.arange(30) + 0.5,
        np.arange(0, 90, 3),  # more gaps than numbers
        np.append(np.arange(30.0), np.nan),
        np.arange(30) - 10,
    ],
)
def test_a_column_that_may_say_something_is_kept(values: Any) -> None:
    assert isinstance(learnt(values), Numbers)


def test_a_column_that_numbers_the_rows_is_kept_if_asked_for() -> None:
    assert isinstance(learnt(np.arange(30), keep=["a"]), Numbers)


def test_one_warning_names_all_that_is_left_out_and_where_it_was_called() -> None:
    columns = frame(
        id=np.arange(30), a=np.zeros(30), b=NORMAL[:30], c=np.ones(30), d=texts(["x"] * 30)
    )
    message = re.escape(
        "columns that are not encoded: 'id' (it numbers the rows; keep=['id'] encodes it); "
        "'a', 'c', 'd' (constant)"
    )
    encoder = TableEncoder()
    with pytest.warns(UserWarning, match=f"^{message}$") as caught:
        encoder.fit(columns)
    assert [w.filename for w in caught] == [__file__]
    with pytest.warns(UserWarning, match=f"^{message}$") as caught:
        encoder.learn(columns)
    assert [w.filename for w in caught] == [__file__]
    assert list(encoder.left_out_) == ["id", "a", "c", "d"]
    assert encoder.learn(columns, warn=False) == encoder.encoding_
    many = frame(**{f"c{i}": np.zeros(5) for i in range(30)}, b=NORMAL[:5])
    with pytest.warns(UserWarning, match=r"'c19' and 10 more \(constant\)"):
        encoder.fit(many)


def test_with_no_column_left_there_is_nothing_to_encode() -> None:
    with pytest.raises(ValueError, match=r"no column of 3 rows can be encoded: 'a' \(constant\)"):
        TableEncoder().fit(frame(a=np.zeros(3)))
    with pytest.raises(ValueError, match="no column of 1 sample can be encoded"):
        TableEncoder().fit(np.zeros((1, 3)))
    with pytest.raises(ValueError, match="X has no rows to learn of"):
        TableEncoder().fit(np.zeros((0, 3)))


def test_columns_that_are_left_out_may_be_anything_or_missing_later() -> None:
    encoder = TableEncoder("standardize")
    with pytest.warns(UserWarning, match="'a'"):
        expected = encoder.fit_transform(frame(a=np.zeros(30), b=NORMAL[:30]))
    np.testing.assert_array_equal(encoder.transform(frame(b=NORMAL[:30])), expected)
    np.testing.assert_array_equal(
        encoder.transform(frame(b=NORMAL[:30], a=texts(["x"] * 30))), expected
    )


# Settings


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"numbers": "standardise"}, "unknown numbers 'standardise': did you mean 'standardize'"),
        ({"numbers": None}, "unknown numbers None"),
        ({"bins": 0}, "bins must be a whole number from 1 to 1000, not 0"),
        ({"bins": 2.5}, "bins must be a whole number from 1 to 1000, not 2.5"),
        ({"bins": True}, "bins must be a whole number from 1 to 1000, not True"),
        ({"min_frequency": 0}, "min_frequency must be a whole number from 1"),
        ({"min_frequency": 1.0}, "min_frequency must be a number of rows from 1, or a part"),
        ({"min_frequency": "5"}, "min_frequency must be a number of rows from 1, or a part"),
        ({"max_categories": 1}, "max_categories must be a whole number from 2 to 10000, not 1"),
        ({"categories": "a"}, "categories must be a list of names of columns or a whole number"),
        ({"categories": None}, "categories must be a list of names of columns or a whole number"),
        ({"categories": True}, "categories must be a list of names of columns or a whole number"),
        ({"categories": -1}, "categories must be a whole number from 0 to 10000, not -1"),
        ({"categories": [3]}, "categories must be a list of names of columns or a whole number"),
        ({"categories": ["A"]}, "unknown column in categories 'A': There is a"),
        ({"keep": "a"}, "keep must be a list of names of columns, not 'a'"),
        ({"keep": ["A"]}, "unknown column in keep 'A': There is a"),
        ({"dates": 1}, "dates must be True or False, not 1"),
        ({"dtype": "float16"}, "unknown dtype 'float16'"),
    ],
)
def test_settings_that_are_not_allowed_are_refused(settings: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TableEncoder(**settings).fit(frame(a=NORMAL))


def test_settings_are_read_and_set() -> None:
    encoder = TableEncoder("quantile", bins=8)
    assert encoder.get_params() == {
        "bins": 8,
        "categories": (),
        "dates": False,
        "dtype": "float32",
        "keep": (),
        "max_categories": 100,
        "min_frequency": 5,
        "numbers": "quantile",
    }
    assert encoder.set_params(dates=True, bins=16) is encoder
    assert repr(encoder) == "TableEncoder(numbers='quantile', dates=True)"
    assert repr(TableEncoder()) == "TableEncoder()"
    with pytest.raises(ValueError, match="unknown parameter of TableEncoder 'bin': did you mean"):
        encoder.set_params(bin=3)


# The whole of it


def test_what_is_learnt_is_of_the_rows_of_fit_alone() -> None:
    columns = frame(a=NORMAL, b=texts(["x", "y"] * 500))
    encoder = TableEncoder().fit(columns[:500])
    before = encoder.encoding_.to_json()
    encoder.transform(frame(a=100 * NORMAL, b=texts(["z", None] * 500)))
    assert encoder.encoding_.to_json() == before
    assert encoder.encoding_ == TableEncoder().learn(columns[:500])
    assert encoder.encoding_ != TableEncoder().learn(columns)


def mixed() -> dict[str, list[Any]]:
    rng = np.random.default_rng(0)
    columns: dict[str, list[Any]] = {
        "number": rng.normal(size=50).tolist(),
        "count": rng.integers(0, 4, 50).tolist(),
        "text": rng.choice(["a", "b", "c"], 50).tolist(),
        "flag": rng.choice([True, False], 50).tolist(),
        "day": (np.datetime64("2024-01-01") + rng.integers(0, 99, 50)).tolist(),
    }
    for name in ("number", "text", "flag", "day"):
        for row in rng.choice(50, 8, replace=False):
            columns[name][row] = None
    return columns


def test_tables_of_each_library_have_the_same_encoding() -> None:
    columns = mixed()
    pandas = pytest.importorskip("pandas")
    polars = pytest.importorskip("polars")
    pyarrow = pytest.importorskip("pyarrow")
    records = list(zip(*columns.values(), strict=True))
    tables = [
        pandas.DataFrame(columns),
        pandas.DataFrame(columns).convert_dtypes(),
        pandas.DataFrame(columns).astype({"text": "category"}),
        polars.DataFrame(columns),
        polars.DataFrame(columns).with_columns(polars.col("text").cast(polars.Categorical)),
        pyarrow.table(columns),
        np.array(records, dtype=[(name, object) for name in columns]),
    ]
    encoder = TableEncoder(dates=True, categories=["count"])
    encoding = encoder.learn(tables[0])
    assert encoding.names == tuple(columns)
    features = encoding.transform(tables[0])
    assert [c.width for c in encoding.columns] == [17 + 1, 4, 3 + 1, 2 + 1, 16 + 1]
    for table in tables[1:]:
        assert encoder.learn(table) == encoding
        np.testing.assert_array_equal(encoding.transform(table), features)
    # An array has no names.
    array = encoder.set_params(categories=["x1"]).learn(np.array(records, dtype=object))
    names = {f"x{i}": name for i, name in enumerate(columns)}
    assert array.renamed(names) == encoding


def test_an_array_is_taken_by_position() -> None:
    X = NORMAL.reshape(-1, 4)
    encoder = TableEncoder()
    features = encoder.fit_transform(X)
    assert encoder.n_features_in_ == 4
    assert not hasattr(encoder, "feature_names_in_")
    np.testing.assert_array_equal(encoder.transform(X.tolist()), features)
    names = encoder.get_feature_names_out(["a", "b", "c", "d"])
    assert names.dtype == object
    assert names[0] == "a"
    assert names[1].startswith("a -")
    assert encoder.get_feature_names_out()[-1].startswith("x3 ")
    for wrong in (X[:, :3], X[:, [0, 1, 2, 3, 0]]):
        n = wrong.shape[1]
        message = f"X has {n} features, but TableEncoder is expecting 4 features as input"
        with pytest.raises(ValueError, match=message):
            encoder.transform(wrong)


def test_an_array_for_a_table_or_the_reverse_is_taken_by_position_with_a_warning() -> None:
    columns = frame(a=NORMAL[:500], b=NORMAL[500:])
    encoder = TableEncoder().fit(columns)
    features = encoder.transform(columns)
    assert encoder.feature_names_in_.tolist() == ["a", "b"]
    X = np.stack(columns.columns, axis=1)  # type: ignore[arg-type]
    with pytest.warns(UserWarning, match="X does not have valid feature names, but") as caught:
        np.testing.assert_array_equal(encoder.transform(X), features)
    assert caught[0].filename == __file__
    encoder.fit(X)
    assert not hasattr(encoder, "feature_names_in_")
    with pytest.warns(UserWarning, match="X has feature names, but TableEncoder was") as caught:
        np.testing.assert_array_equal(encoder.transform(columns), features)
    assert caught[0].filename == __file__
    with pytest.raises(ValueError, match="X has 1 features, but TableEncoder is expecting 2"):
        encoder.transform(columns.select(["a"]))


def test_names_of_features_are_checked() -> None:
    encoder = TableEncoder("standardize").fit(frame(a=NORMAL, b=texts(["x", "y"] * 500)))
    assert encoder.get_feature_names_out().tolist() == ["a", "b=x", "b=y"]
    assert encoder.get_feature_names_out(["a", "b"]).tolist() == ["a", "b=x", "b=y"]
    with pytest.raises(ValueError, match="input_features is not equal to feature_names_in_"):
        encoder.get_feature_names_out(["a", "c"])
    encoder.fit(NORMAL.reshape(-1, 2))
    with pytest.raises(ValueError, match=r"should have length equal to number of features \(2\)"):
        encoder.get_feature_names_out(["a"])


def test_before_fit_there_is_nothing() -> None:
    for use in (lambda: TableEncoder().transform([[1]]), TableEncoder().get_feature_names_out):
        with pytest.raises(ValueError, match="This TableEncoder is not fitted yet"):
            use()


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda e: pickle.loads(pickle.dumps(e))])
def test_copies_encode_alike(copied: Any) -> None:
    encoder = TableEncoder(categories=["a"]).fit(frame(a=INTEGERS, b=NORMAL[:30]))
    again = copied(encoder)
    assert again.get_params() == encoder.get_params()
    assert again.encoding_ == encoder.encoding_


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_features_come_as_a_data_frame_where_that_is_asked_for(library: str) -> None:
    module = pytest.importorskip(library)
    columns = mixed()
    table = module.DataFrame(columns)
    if library == "pandas":
        table.index = range(100, 150)
    encoder = TableEncoder(dates=True).set_output(transform=library)
    features = encoder.fit_transform(table)
    assert type(features) is module.DataFrame
    assert list(features.columns) == encoder.get_feature_names_out().tolist()
    np.testing.assert_array_equal(features.to_numpy(), encoder.encoding_.transform(table))
    if library == "pandas":
        assert list(features.index) == list(range(100, 150))
    assert isinstance(encoder.set_output(transform="default").transform(table), np.ndarray)
    assert encoder.set_output(transform=None) is encoder
    with pytest.raises(ValueError, match="unknown output 'panda': did you mean 'pandas'"):
        encoder.set_output(transform="panda")


def test_no_library_is_imported_for_it() -> None:
    code = """
import sys
import numpy as np
from arraymlp import TableEncoder
encoder = TableEncoder().fit(np.random.default_rng(0).normal(size=(9, 2)))
repr(encoder), encoder.transform([[1, None]]), encoder.get_feature_names_out()
try:
    TableEncoder().transform([[1]])
except ValueError:
    pass
print({"pandas", "polars", "pyarrow", "sklearn", "scipy"} & set(sys.modules))
"""
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout == "set()\n"


def test_no_warning_comes_of_predicting() -> None:
    encoder = TableEncoder().fit(frame(a=NORMAL, b=texts(["x", "y"] * 500)))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        encoder.transform(frame(a=1e300 * NORMAL, b=texts(["z", None] * 500), c=NORMAL))

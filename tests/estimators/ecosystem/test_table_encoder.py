"""`TableEncoder` is a transformer of scikit-learn's, and does what scikit-learn's own do."""

import warnings
from collections.abc import Iterator
from typing import Any
from unittest import SkipTest

import numpy as np
import pytest

pytest.importorskip("sklearn", minversion="1.7")
pytest.importorskip("pandas")

import pandas
import sklearn
from sklearn.base import clone
from sklearn.compose import ColumnTransformer
from sklearn.exceptions import NotFittedError
from sklearn.impute import SimpleImputer
from sklearn.linear_model import RidgeClassifier
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline, make_union
from sklearn.preprocessing import (
    KBinsDiscretizer,
    OneHotEncoder,
    QuantileTransformer,
    StandardScaler,
)
from sklearn.utils.estimator_checks import estimator_checks_generator
from sklearn.utils.validation import check_is_fitted

from arraymlp import TableEncoder
from sklearn_checks import outcome, require_none

NUMBERS = ["age", "fare", "kids"]
CATEGORIES = ["port", "deck"]


def table(seed: int, rows: int = 400) -> Any:
    """A data frame of mixed columns, with values missing and categories that are rare."""
    rng = np.random.default_rng(seed)
    frame = pandas.DataFrame(
        {
            "age": rng.normal(30, 12, rows),
            "fare": rng.exponential(30, rows),
            "kids": rng.integers(0, 5, rows),
            "port": rng.choice(["C", "Q", "S", "Z"], rows, p=[0.2, 0.1, 0.68, 0.02]),
            "deck": rng.choice(list("ABCDEFGH"), rows),
            "alone": rng.random(rows) < 0.5,
        }
    )
    frame.loc[rng.choice(rows, 60, replace=False), "age"] = np.nan
    frame["deck"] = frame["deck"].astype(object)
    frame.loc[rng.choice(rows, 90, replace=False), "deck"] = None
    return frame


TRAIN, TEST = table(0), table(1, 300)
TEST.loc[::7, "fare"] = np.nan  # none is missing in training
TEST.loc[::11, "port"] = "unseen"
Y = (TRAIN["age"].fillna(20) + 10 * TRAIN["alone"] > 32).astype(int)


# Its checks


def checks() -> Iterator[Any]:
    """scikit-learn's, each with an encoder; that it inherits nothing from them is intended."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".* does not inherit from `sklearn.base.BaseEstimator`")
        for numbers in ("piecewise", "standardize"):
            yield from estimator_checks_generator(TableEncoder(numbers))


def test_no_check_of_scikit_learn_fails() -> None:
    outcomes = [(check, outcome(check, encoder)) for encoder, check in checks()]
    assert len(outcomes) >= 80
    require_none([(c, e) for c, e in outcomes if e is not None and not isinstance(e, SkipTest)])
    skipped = {c.func.__name__ for c, e in outcomes if isinstance(e, SkipTest)}
    assert skipped <= {"check_array_api_input"}  # it takes device arrays, and gives NumPy's


@pytest.mark.parametrize(
    "check",
    [
        "check_transformer_get_feature_names_out",
        "check_transformer_get_feature_names_out_pandas",
        "check_set_output_transform",
        "check_set_output_transform_pandas",
        "check_set_output_transform_polars",
        "check_global_output_transform_pandas",
        "check_global_set_output_transform_polars",
        "check_estimator_repr",
        "check_n_features_in_after_fitting",
        "check_inplace_ensure_writeable",
    ],
)
def test_checks_that_it_makes_of_its_own_transformers_pass(check: str) -> None:
    from sklearn.utils import estimator_checks

    def made(encoder: TableEncoder) -> None:
        with warnings.catch_warnings():  # it fits arrays, and transforms frames
            warnings.filterwarnings("ignore", "X .* feature names, but TableEncoder was fitted")
            getattr(estimator_checks, check)("TableEncoder", encoder)

    error = outcome(made, TableEncoder())
    assert error is None or isinstance(error, SkipTest)


# Against its own transformers


@pytest.mark.parametrize(
    "rare",
    [
        {"min_frequency": 5},
        {"min_frequency": 30},
        {"min_frequency": 0.1},
        {"min_frequency": 1},
        {"max_categories": 6},
    ],
    ids=str,
)
def test_categories_are_those_of_one_hot_encoder(rare: dict[str, Any]) -> None:
    ours = TableEncoder(dtype="float64", **{"min_frequency": 1} | rare)
    theirs = OneHotEncoder(handle_unknown="infrequent_if_exist", sparse_output=False, **rare)
    for frame in (TRAIN, TEST):
        for name in (*CATEGORIES, "alone"):
            features = ours.fit(TRAIN[[name]]).transform(frame[[name]])
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", "Found unknown categories", UserWarning)
                expected = theirs.fit(TRAIN[[name]]).transform(frame[[name]])
            np.testing.assert_array_equal(features, expected)


def test_a_mixed_table_is_as_scikit_learn_has_it() -> None:
    encoder = TableEncoder("standardize", dtype="float64")
    filled = make_pipeline(encoder).fit(TRAIN)
    transformer = ColumnTransformer(
        [
            (name, make_pipeline(StandardScaler(), SimpleImputer(strategy="median")), [name])
            for name in NUMBERS
        ]
        + [
            (
                name,
                OneHotEncoder(
                    min_frequency=5, handle_unknown="infrequent_if_exist", sparse_output=False
                ),
                [name],
            )
            for name in (*CATEGORIES, "alone")
        ]
    ).fit(TRAIN)
    indicator = SimpleImputer(add_indicator=True).fit(TRAIN[["age"]])
    for frame in (TRAIN, TEST):
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Found unknown categories", UserWarning)
            expected = transformer.transform(frame)
        expected = np.insert(expected, 1, indicator.transform(frame[["age"]])[:, -1], axis=1)
        np.testing.assert_allclose(filled.transform(frame), expected, rtol=1e-12, atol=1e-14)


def test_a_missing_number_is_imputed_by_the_median() -> None:
    encoder = TableEncoder("standardize", dtype="float64").fit(TRAIN[NUMBERS])
    imputer = SimpleImputer(strategy="median").fit(TRAIN[NUMBERS])
    fills = [column.fill for column in encoder.encoding_.columns]  # type: ignore[union-attr]
    np.testing.assert_array_equal(fills, imputer.statistics_)


def test_bins_are_those_of_k_bins_discretizer() -> None:
    # 384 steps from one number to the next, which 16 divides: each edge is a number.
    x = TRAIN[["fare"]].to_numpy()[:385]
    (column,) = TableEncoder("piecewise", dtype="float64").fit(x).encoding_.columns
    theirs = KBinsDiscretizer(
        16, strategy="quantile", encode="ordinal", quantile_method="linear", subsample=None
    ).fit(x)
    np.testing.assert_allclose(column.map.edges, theirs.bin_edges_[0], rtol=1e-14)
    x = np.append(x, [-1, 1000])
    bins, parts = column.map.parts(x)
    between = (parts > 1e-6) & (parts < 1 - 1e-6)  # not at an edge, whose bin rounding decides
    assert between.sum() > 350
    np.testing.assert_array_equal(bins[between], theirs.transform(x[:, None])[between, 0])


def test_quantiles_are_those_of_quantile_transformer() -> None:
    x = TRAIN[["fare"]].to_numpy()
    ours = TableEncoder("quantile", dtype="float64").fit_transform(x)[:, 0]
    theirs = QuantileTransformer(n_quantiles=400, output_distribution="normal").fit_transform(x)
    middle = np.argsort(x[:, 0])[20:-20]
    np.testing.assert_allclose(ours[middle], theirs[middle, 0], atol=0.05)


# In its place


def test_in_pipelines_and_searches() -> None:
    pipeline = make_pipeline(TableEncoder(), RidgeClassifier())
    search = GridSearchCV(
        pipeline, {"tableencoder__bins": [2, 8], "tableencoder__numbers": ["piecewise"]}, cv=3
    )
    search.fit(TRAIN, Y)
    assert search.best_params_["tableencoder__bins"] == 8
    assert search.score(TRAIN, Y) > 0.8
    assert pipeline[:1].fit(TRAIN).get_feature_names_out()[-1] == "alone=True"
    assert "TableEncoder()" in repr(pipeline)
    pipeline._repr_html_()


def test_in_column_transformers_and_unions() -> None:
    encoder = TableEncoder("standardize", dtype="float64")
    transformer = ColumnTransformer(
        [("a", encoder, ["age", "port"]), ("b", "passthrough", ["kids"])]
    ).fit(TRAIN)
    names = transformer.get_feature_names_out().tolist()
    assert names[:2] == ["a__age", "a__age (missing)"]
    assert names[-1] == "b__kids"
    expected = clone(encoder).fit(TRAIN[["age", "port"]]).transform(TRAIN[["age", "port"]])
    np.testing.assert_array_equal(transformer.transform(TRAIN)[:, :-1], expected)
    union = make_union(encoder, TableEncoder("smooth_clip"))
    assert union.fit_transform(TRAIN).shape == (400, 2 * encoder.fit(TRAIN).encoding_.width)


def test_frames_come_out_where_the_configuration_says_so() -> None:
    encoder = TableEncoder().fit(TRAIN)
    with sklearn.config_context(transform_output="pandas"):
        features = encoder.transform(TRAIN)
        assert list(features.columns) == encoder.get_feature_names_out().tolist()
        assert isinstance(
            clone(encoder).set_output(transform="default").fit_transform(TRAIN), np.ndarray
        )
    assert isinstance(encoder.transform(TRAIN), np.ndarray)
    again = clone(encoder.set_output(transform="pandas"))
    assert isinstance(again.fit_transform(TRAIN), pandas.DataFrame)
    pipeline = make_pipeline(TableEncoder(), StandardScaler()).set_output(transform="pandas")
    assert list(pipeline.fit_transform(TRAIN).columns) == list(features.columns)


def test_before_fit_its_own_error_is_raised() -> None:
    encoder = TableEncoder()
    with pytest.raises(NotFittedError, match="This TableEncoder is not fitted yet"):
        encoder.transform(TRAIN)
    with pytest.raises(NotFittedError):
        check_is_fitted(encoder)
    check_is_fitted(encoder.fit(TRAIN))
    with pytest.raises(NotFittedError):
        clone(encoder).get_feature_names_out()

"""Learns how a table's columns become features: scikit-learn's transformer, without scikit-learn.

Nothing here imports scikit-learn unless that has been imported; the class has its interface, and
passes its checks.
"""

import inspect
import sys
import warnings
from collections.abc import Sequence
from functools import cache
from typing import Any, Self

import numpy as np

from arraymlp._checks import caller_level, lookup, unknown
from arraymlp.backends.array import HostArray
from arraymlp.data.encoding.encoding import DTYPES, TableEncoding
from arraymlp.data.encoding.learning import Learning, reasons
from arraymlp.data.frames.frame import Frame
from arraymlp.data.frames.sources import frame_of, is_frame


class TableEncoder:
    """Features for a network from a table of numbers, texts, booleans and dates.

    - Numbers: as ``numbers`` says. A missing one is the median, and where any were missing in the
      training rows, another feature is 1 where one is, else 0.
    - Categories (texts, booleans, pandas' and polars' categories): a feature for each that is 1 or
      0. Rare ones share one, which unseen ones take, too; where none were rare, an unseen one has
      zeros. A missing one is a category like the others.
    - Dates: left out, unless asked for; then numbers, as days.
    - Columns that do not vary or that number the rows, texts that are all rare, and columns without
      any value are left out, and named in one warning.

    It takes data frames of pandas and polars, tables of pyarrow, NumPy's arrays of records, and
    arrays (N, n). All is learnt of the rows given to `fit`.

    Args:
        numbers: "piecewise", piecewise-linear encoding (Gorishniy et al. 2022) by quantiles;
            "mixed", that in half size and the standardised number beside it;
            "standardize", mean 0 and variance 1; "smooth_clip", robust scaling and a smooth limit
            of 3 (Holzmüller et al. 2024); "quantile", to a normal distribution.
        bins: of the piecewise-linear encoding, at most.
        min_frequency: a category in fewer rows is rare; a number of rows, or a part of them.
        max_categories: the most features of a column of categories; beyond, the most frequent stay.
        categories: columns of numbers that are categories, by name; or a number: all columns of
            integers that have so many different values or fewer.
        dates: whether dates are encoded.
        keep: columns that are encoded although they seem to number the rows, by name.
        dtype: of the features, "float32" or "float64".

    Attributes:
        encoding_: the `TableEncoding` that `fit` learnt; it goes with a network.
        left_out_: the columns without features, with the reasons, by name.
        n_features_in_: the number of columns of the table.
        feature_names_in_: their names, where it has names.
    """

    # With which scikit-learn's wrappers know that `set_output` works.
    _sklearn_auto_wrap_output_keys = frozenset({"transform"})

    encoding_: TableEncoding
    left_out_: dict[str, str]
    n_features_in_: int
    feature_names_in_: HostArray

    def __init__(
        self,
        numbers: str = "mixed",
        *,
        bins: int = 16,
        min_frequency: float = 5,
        max_categories: int = 100,
        categories: int | Sequence[str] = (),
        dates: bool = False,
        keep: Sequence[str] = (),
        dtype: str = "float32",
    ) -> None:
        self.numbers = numbers
        self.bins = bins
        self.min_frequency = min_frequency
        self.max_categories = max_categories
        self.categories = categories
        self.dates = dates
        self.keep = keep
        self.dtype = dtype

    # Learning

    def learn(self, X: Any, *, warn: bool = True) -> TableEncoding:
        """The encoding that the rows of a table give; this object stays as it is.

        Args:
            X: a data frame of pandas, polars or pyarrow, an array of records, or rows (N, n).
            warn: whether a warning names the columns that are left out.

        Raises:
            ValueError: a setting is not allowed; a number is infinite; no column is left; or X is
                no table.
            TypeError: a value is neither a number nor a text nor a date.
        """
        encoding, left_out = self._learn(frame_of(X))
        if warn:
            _warn_left_out(left_out)
        return encoding

    def fit(self, X: Any, y: Any = None) -> Self:
        """Learn the encoding of the table's rows; y is ignored. Errors as of `learn`."""
        frame = frame_of(X)
        self.encoding_, self.left_out_ = self._learn(frame)
        self.n_features_in_ = len(frame.names)
        if is_frame(X):
            self.feature_names_in_ = np.asarray(frame.names, dtype=object)
        elif hasattr(self, "feature_names_in_"):
            del self.feature_names_in_
        _warn_left_out(self.left_out_)
        return self

    def _learn(self, frame: Frame) -> tuple[TableEncoding, dict[str, str]]:
        lookup(dict.fromkeys(DTYPES), self.dtype, "dtype")
        return Learning(
            self.numbers,
            self.bins,
            self.min_frequency,
            self.max_categories,
            self.categories,
            self.dates,
            self.keep,
        ).learn(frame)

    # Encoding

    def transform(self, X: Any) -> Any:
        """The features (N, width) of a table, an array of ``dtype`` unless `set_output` says else.

        Raises:
            ValueError: it is not fitted; or as of `TableEncoding.transform`.
        """
        self._require_fitted()
        frame = frame_of(X)
        if not is_frame(X) or not hasattr(self, "feature_names_in_"):
            frame = self._by_position(frame, is_frame(X))
        return self._contained(self.encoding_.transform(frame, self.dtype), X)

    def fit_transform(self, X: Any, y: Any = None) -> Any:
        """Learn the encoding of the table's rows, and return their features."""
        return self.fit(X, y).transform(X)

    def get_feature_names_out(self, input_features: Any = None) -> HostArray:
        """The names (width,) of the features, objects.

        Args:
            input_features: the columns' names, which must be those of `fit`; for an array without
                names, what they are called.
        """
        self._require_fitted()
        encoding = self.encoding_
        if input_features is not None:
            given = [str(name) for name in input_features]
            named = getattr(self, "feature_names_in_", None)
            if named is not None and given != list(named):
                raise ValueError("input_features is not equal to feature_names_in_")
            if len(given) != self.n_features_in_:
                raise ValueError(
                    "input_features should have length equal to number of features "
                    f"({self.n_features_in_}), got {len(given)}"
                )
            if named is None:
                encoding = encoding.renamed({f"x{i}": name for i, name in enumerate(given)})
        return np.asarray(encoding.feature_names_out(), dtype=object)

    def _by_position(self, frame: Frame, has_names: bool) -> Frame:
        """The columns with the names that they had in `fit`, where they are as many.

        As scikit-learn's estimators do, it warns where one of the two tables had no names.
        """
        if len(frame.names) != self.n_features_in_:
            raise ValueError(
                f"X has {len(frame.names)} features, but {type(self).__name__} is expecting "
                f"{self.n_features_in_} features as input"
            )
        expected = getattr(self, "feature_names_in_", None)
        if has_names or expected is not None:
            this, other = ("has", "without") if has_names else ("does not have valid", "with")
            warnings.warn(
                f"X {this} feature names, but {type(self).__name__} was fitted {other} feature "
                "names",
                UserWarning,
                stacklevel=caller_level(),
            )
        names = [f"x{i}" for i in range(self.n_features_in_)] if expected is None else expected
        return Frame(tuple(names), frame.columns)

    def _require_fitted(self) -> None:
        if not self.__sklearn_is_fitted__():
            message = f"This {type(self).__name__} is not fitted yet: call fit first"
            if "sklearn" in sys.modules:
                from sklearn.exceptions import NotFittedError

                raise NotFittedError(message)
            raise ValueError(message)

    # scikit-learn's interface

    @classmethod
    @cache
    def _defaults(cls) -> dict[str, Any]:
        parameters = inspect.signature(cls.__init__).parameters
        return {name: p.default for name, p in parameters.items() if name != "self"}

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """The settings by name."""
        return {name: getattr(self, name) for name in sorted(self._defaults())}

    def set_params(self, **params: Any) -> Self:
        """Set settings by name; a ValueError where one is not known."""
        for name, value in params.items():
            if name not in self._defaults():
                raise unknown(self._defaults(), name, f"parameter of {type(self).__name__}")
            setattr(self, name, value)
        return self

    def set_output(self, *, transform: str | None = None) -> Self:
        """Say what `transform` returns: "default" for arrays, or frames of "pandas" or "polars"."""
        if transform is not None:
            lookup(dict.fromkeys(_CONTAINERS), transform, "output")
            self._sklearn_output_config = {"transform": transform}
        return self

    def _contained(self, features: HostArray, X: Any) -> Any:
        """The features as `set_output`, or scikit-learn's configuration, has it."""
        output = getattr(self, "_sklearn_output_config", {}).get("transform")
        if output is None and "sklearn" in sys.modules:
            import sklearn

            output = sklearn.get_config()["transform_output"]
        return _CONTAINERS[output or "default"](features, self.encoding_, X)

    def __repr__(self) -> str:
        changed = [
            f"{name}={getattr(self, name)!r}"
            for name, default in self._defaults().items()
            if repr(getattr(self, name)) != repr(default)
        ]
        return f"{type(self).__name__}({', '.join(changed)})"

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "encoding_")

    def __sklearn_tags__(self) -> Any:
        from sklearn.utils import InputTags, Tags, TargetTags, TransformerTags

        return Tags(
            estimator_type=None,
            target_tags=TargetTags(required=False),
            transformer_tags=TransformerTags(preserves_dtype=[]),
            input_tags=InputTags(allow_nan=True, categorical=True),
        )


def _array(features: HostArray, encoding: TableEncoding, X: Any) -> Any:
    return features


def _pandas(features: HostArray, encoding: TableEncoding, X: Any) -> Any:
    import pandas

    index = X.index if isinstance(X, pandas.DataFrame) else None
    return pandas.DataFrame(features, index=index, columns=encoding.feature_names_out(), copy=False)


def _polars(features: HostArray, encoding: TableEncoding, X: Any) -> Any:
    import polars

    return polars.DataFrame(features, schema=encoding.feature_names_out(), orient="row")


_CONTAINERS = {"default": _array, "pandas": _pandas, "polars": _polars}


def _warn_left_out(left_out: dict[str, str]) -> None:
    if left_out:
        warnings.warn(
            f"columns that are not encoded: {reasons(left_out)}",
            UserWarning,
            stacklevel=caller_level(),
        )

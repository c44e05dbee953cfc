"""The other libraries' methods of ci/tables, each as a user of them would do it with a mixed table.

Each takes training features and target and test features, and gives numbers (N,), or probabilities
(N, n_classes) of the classes in order. Targets of classes are integers from 0.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
from sklearn.compose import ColumnTransformer, TransformedTargetRegressor
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegressionCV, RidgeCV
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

# (X, y, X_test, classifies, seed) -> prediction
Method = Callable[[pd.DataFrame, np.ndarray, pd.DataFrame, bool, int], np.ndarray]


def numbers_of(X: pd.DataFrame) -> list[str]:
    """The columns of numbers; the others have categories."""
    return list(X.select_dtypes(["number", "bool"]).columns)


def with_categories(X: pd.DataFrame, X_test: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Both with pandas' categories in the place of texts, those of the training rows."""
    X, X_test = X.copy(), X_test.copy()
    for name in set(X.columns) - set(numbers_of(X)):
        X[name] = X[name].astype(object).astype("category")
        X_test[name] = X_test[name].astype(object).astype(X[name].dtype)
    return X, X_test


def encoded(X: pd.DataFrame) -> ColumnTransformer:
    """Scikit-learn's usual: medians and indicators, standardised; categories one-hot."""
    numbers = numbers_of(X)
    others = [name for name in X.columns if name not in numbers]
    categories = make_pipeline(
        SimpleImputer(strategy="constant", fill_value="missing"),
        OneHotEncoder(handle_unknown="ignore", sparse_output=False),
    )
    fill = SimpleImputer(strategy="median", add_indicator=True)
    return ColumnTransformer(
        [
            ("numbers", make_pipeline(fill, StandardScaler()), numbers),
            ("others", categories, others),
        ]
    )


def _prediction(model: Any, X_test: Any, classifies: bool) -> np.ndarray:
    return np.asarray(model.predict_proba(X_test) if classifies else model.predict(X_test))


def _piped(make: Callable[[bool, int], Any]) -> Method:
    """The method of an estimator behind `encoded`."""

    def method(
        X: pd.DataFrame, y: np.ndarray, X_test: pd.DataFrame, classifies: bool, seed: int
    ) -> np.ndarray:
        X, X_test = _as_objects(X), _as_objects(X_test)
        model = make_pipeline(encoded(X), make(classifies, seed)).fit(X, y)
        return _prediction(model, X_test, classifies)

    return method


def _as_objects(X: pd.DataFrame) -> pd.DataFrame:
    """Texts as objects, with NaN for what is missing, as SimpleImputer takes them."""
    others = [name for name in X.columns if name not in numbers_of(X)]
    texts = X[others].astype(object)
    return X.assign(**{name: texts[name].where(texts[name].notna(), np.nan) for name in others})


def _linear(classifies: bool, seed: int) -> Any:
    if not classifies:
        return RidgeCV(np.logspace(-3, 4, 15))
    return LogisticRegressionCV(
        Cs=8,
        cv=5,
        scoring="neg_log_loss",
        max_iter=1000,
        l1_ratios=(0.0,),
        use_legacy_attributes=False,
    )


def _mlp(early_stopping: bool) -> Callable[[bool, int], Any]:
    def make(classifies: bool, seed: int) -> Any:
        if classifies:
            return MLPClassifier(early_stopping=early_stopping, random_state=seed)
        raw = MLPRegressor(early_stopping=early_stopping, random_state=seed)
        return TransformedTargetRegressor(raw, transformer=StandardScaler())

    return make


def _boosting(early_stopping: bool) -> Method:
    def method(
        X: pd.DataFrame, y: np.ndarray, X_test: pd.DataFrame, classifies: bool, seed: int
    ) -> np.ndarray:
        X, X_test = with_categories(X, X_test)
        kind = HistGradientBoostingClassifier if classifies else HistGradientBoostingRegressor
        given: dict[str, Any] = {"early_stopping": early_stopping, "random_state": seed}
        if early_stopping:
            given["max_iter"] = 1000
        return _prediction(kind(**given).fit(X, y), X_test, classifies)

    return method


def _realmlp(for_log_loss: bool) -> Method:
    """RealMLP with its tuned defaults, or set for the log loss.

    The defaults smooth labels and choose the epoch by the accuracy; for the log loss there is no
    smoothing, and the epoch is chosen by it. Of numbers the two are the same.
    """

    def method(
        X: pd.DataFrame, y: np.ndarray, X_test: pd.DataFrame, classifies: bool, seed: int
    ) -> np.ndarray:
        from pytabkit import RealMLP_TD_Classifier, RealMLP_TD_Regressor

        X, X_test = with_categories(X, X_test)
        numbers = numbers_of(X)
        fill = SimpleImputer(strategy="median", add_indicator=True).set_output(transform="pandas")
        filled, filled_test = X[numbers], X_test[numbers]
        if numbers:
            filled = fill.fit_transform(filled.astype(float)).astype(np.float32)
            filled_test = fill.transform(filled_test.astype(float)).astype(np.float32)
        others = [name for name in X.columns if name not in numbers]
        X = pd.concat([filled, X[others]], axis=1)
        X_test = pd.concat([filled_test, X_test[others]], axis=1)
        given: dict[str, Any] = {"device": "cpu", "random_state": seed, "n_threads": 1}
        if classifies and for_log_loss:
            given |= {"use_ls": False, "val_metric_name": "cross_entropy"}
        kind = RealMLP_TD_Classifier if classifies else RealMLP_TD_Regressor
        model = kind(**given).fit(X, y, cat_col_names=others)
        return _prediction(model, X_test, classifies)

    return method


PEERS: dict[str, Method] = {
    "linear": _piped(_linear),
    "boosting": _boosting(False),
    "boosting, early stopping": _boosting(True),
    "scikit-learn's MLP": _piped(_mlp(False)),
    "scikit-learn's MLP, early stopping": _piped(_mlp(True)),
    "RealMLP-TD": _realmlp(False),
    "RealMLP-TD, for the log loss": _realmlp(True),
}

# What differs for classes only: on tables of numbers it is not fitted again.
SAME_OF_NUMBERS = {"RealMLP-TD, for the log loss": "RealMLP-TD"}

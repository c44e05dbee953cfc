"""Scores of methods on the folds of tables, kept in a file; and what they come to: ranks, ratios.

A score is the log loss of classes, or the root of the mean squared error of numbers: the less,
the better.
"""

import json
import time
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TypeAlias

import numpy as np
import pandas as pd
from real_tables import Table
from sklearn.model_selection import KFold, StratifiedKFold

from benchmarks.table_lists import MOST_ROWS
from benchmarks.table_peers import SAME_OF_NUMBERS, Method

PARTS = 5  # a fold is one of so many parts, to test on
LEAST = 1e-7  # probability of the true class that a log loss reckons with


# Training rows and their targets, test rows and theirs, and whether the targets are classes.
Part: TypeAlias = tuple[pd.DataFrame, np.ndarray, pd.DataFrame, np.ndarray, bool]


@dataclass(frozen=True)
class Score:
    """One method on one fold of one table.

    Attributes:
        table: its item.
        fold: counted from 0.
        method: its name.
        score: less is better.
        cpu: seconds that the process computed, to fit and to predict the test rows.
    """

    table: str
    fold: int
    method: str
    score: float
    cpu: float


class Kept:
    """Scores in a file of JSON lines, to which new ones are added."""

    def __init__(self, path: Path, again: Sequence[str] = ()) -> None:
        """Read the file, if it is there; scores of methods in ``again`` are passed over."""
        lines = path.read_text().splitlines() if path.exists() else []
        read = [Score(**json.loads(line)) for line in lines]
        self.path = path
        self.scores = {(s.table, s.fold, s.method): s for s in read if s.method not in again}

    def measure(
        self, tables: Iterable[Table], folds: int, methods: Mapping[str, Method]
    ) -> Iterator[Score]:
        """Fit what is not there yet, table by table, and yield each new score."""
        for table in tables:
            wanted = [
                (fold, name)
                for fold in range(folds)
                for name in methods
                if (table.item, fold, name) not in self.scores
            ]
            if not wanted:
                continue
            parts = list(_folds(table))
            for fold, name in wanted:
                same = self.scores.get((table.item, fold, SAME_OF_NUMBERS.get(name, "")))
                if same is not None and not table.classifies:
                    score = replace(same, method=name)
                else:
                    score = Score(table.item, fold, name, *_fit(methods[name], parts[fold], fold))
                self.scores[table.item, fold, name] = score
                self.path.parent.mkdir(parents=True, exist_ok=True)
                with self.path.open("a") as file:
                    file.write(json.dumps(asdict(score)) + "\n")
                yield score

    def matrix(
        self, tables: Sequence[Table], folds: int, methods: Sequence[str], cpu: bool = False
    ) -> np.ndarray:
        """Scores, or CPU seconds: (tables, methods), the mean over folds."""
        what = "cpu" if cpu else "score"
        return np.asarray(
            [
                [
                    np.mean([getattr(self.scores[t.item, f, m], what) for f in range(folds)])
                    for m in methods
                ]
                for t in tables
            ]
        )


def ranks(scores: np.ndarray) -> np.ndarray:
    """The rank of each method on each table, from 1, of equals the mean: (tables, methods)."""
    better = (scores[:, None, :] < scores[:, :, None]).sum(axis=2)
    equal = (scores[:, None, :] == scores[:, :, None]).sum(axis=2)
    return np.asarray(better + (equal + 1) / 2)


def geometric_mean(ratios: np.ndarray) -> np.ndarray:
    """Over the tables: (methods,)."""
    return np.asarray(np.exp(np.mean(np.log(ratios), axis=0)))


def _folds(table: Table) -> Iterator[Part]:
    X, target = table.frame(MOST_ROWS)
    values = target.to_numpy()
    if table.classifies:
        y = np.unique(values.astype(str), return_inverse=True)[1]
    else:
        y = values.astype(float)
    kind = StratifiedKFold if table.classifies else KFold
    for train, test in kind(PARTS, shuffle=True, random_state=0).split(X, y):
        yield X.iloc[train], y[train], X.iloc[test], y[test], table.classifies


def _fit(method: Method, part: Part, fold: int) -> tuple[float, float]:
    """Score and CPU seconds."""
    X, y, X_test, y_test, classifies = part
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it has not converged, and the like
        began = time.process_time()
        given = method(X, y, X_test, classifies, fold)
        seconds = time.process_time() - began
    if not classifies:
        return float(np.sqrt(np.mean((given - y_test) ** 2))), seconds
    own = np.clip(given[np.arange(len(y_test)), y_test], LEAST, 1)
    return float(-np.mean(np.log(own))), seconds

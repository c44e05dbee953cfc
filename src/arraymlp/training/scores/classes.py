"""How good probabilities of classes are: accuracy, log loss, ROC AUC, and class by class."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from arraymlp.backends.array import HostArray
from arraymlp.backends.registry import resolve
from arraymlp.html.view import shown
from arraymlp.nn.losses import LOSSES
from arraymlp.nn.metrics import METRICS, Predictions
from arraymlp.training.history import finite
from arraymlp.training.scores.text import aligned, figure, rows_text
from arraymlp.training.views.scores import scores_view

SHOWN = 12  # classes up to which the text has the whole matrix of confusions
CONFUSED = 10  # else the most frequent confusions, so many


@dataclass(frozen=True, eq=False)
class ClassScores:
    """The figures of predicted classes; those of scikit-learn's functions, unweighted.

    Attributes:
        n: the number N of rows.
        classes: their labels, in the order of the arrays below.
        accuracy: fraction of the rows whose class of the largest probability is the true one.
        balanced_accuracy: mean of the recalls of the classes that occur.
        log_loss: ``-mean log p_i(y_i)``, with p kept within [eps, 1 - eps] of its dtype.
        roc_auc: the area under the receiver's curve: of the second of two classes; of more the mean
            of each class against the rest. None where a class does not occur.
        confusion: (C, C), the number of rows of each true class (row) and predicted one (column).
        precision: (C,) the fraction of those predicted that are of the class; NaN of none.
        recall: (C,) the fraction of those of the class that are predicted so; NaN of none.
        f1: (C,) ``2 TP / (2 TP + FP + FN)``; NaN of none.
        support: (C,) rows of each class.
    """

    n: int
    classes: tuple[Any, ...]
    accuracy: float
    balanced_accuracy: float
    log_loss: float
    roc_auc: float | None
    confusion: HostArray
    precision: HostArray
    recall: HostArray
    f1: HostArray
    support: HostArray

    def to_dict(self) -> dict[str, Any]:
        """All of it in JSON's types; None for a figure that there is not."""
        by_class = [
            {"class": label, "precision": p, "recall": r, "f1": f, "rows": n}
            for label, p, r, f, n in zip(
                self.classes, self.precision, self.recall, self.f1, self.support, strict=True
            )
        ]
        content: dict[str, Any] = finite(
            {
                "rows": self.n,
                "accuracy": self.accuracy,
                "balanced_accuracy": self.balanced_accuracy,
                "log_loss": self.log_loss,
                "roc_auc": self.roc_auc,
                "classes": by_class,
                "confusion": self.confusion,
            }
        )
        return content

    def __str__(self) -> str:
        overall, by_class = map(aligned, self._tables())
        return "\n\n".join([f"{rows_text(self.n)}\n{overall}", by_class, self._confusions()])

    def _repr_html_(self) -> str | None:
        """The tables, as notebooks show them."""
        matrix = self._matrix()
        pairs = self._pairs() if matrix is None else ""
        return shown(lambda: scores_view(self, self._tables(), matrix, pairs))

    @property
    def _names(self) -> list[str]:
        return [str(label) for label in self.classes]

    def _tables(self) -> list[list[list[str]]]:
        """The figures over all classes, and those of each, as rows of cells."""
        overall = [
            ["accuracy", figure(self.accuracy)],
            ["balanced accuracy", figure(self.balanced_accuracy)],
            ["log loss", figure(self.log_loss)],
            ["ROC AUC", figure(self.roc_auc)],
        ]
        parts = (self.precision, self.recall, self.f1)
        by_class = [["", "precision", "recall", "F1", "rows"]]
        for k, name in enumerate(self._names):
            by_class.append([name, *(figure(part[k]) for part in parts), f"{self.support[k]:,}"])
        return [overall, by_class]

    def _matrix(self) -> list[list[str]] | None:
        """The matrix of confusions as rows of cells; None of many classes."""
        names = self._names
        if len(names) > SHOWN:
            return None
        rows = [
            [name, *(f"{n:,}" for n in row)]
            for name, row in zip(names, self.confusion, strict=True)
        ]
        return [["true \\ predicted", *names], *rows]

    def _confusions(self) -> str:
        """The matrix of confusions; of many classes the most frequent ones, in words."""
        matrix = self._matrix()
        return self._pairs() if matrix is None else aligned(matrix)

    def _pairs(self) -> str:
        """The most frequent confusions, a line each."""
        names = self._names
        wrong = self.confusion * (1 - np.eye(len(names), dtype=int))
        order = np.argsort(-wrong, axis=None, kind="stable")[:CONFUSED]
        places = [divmod(int(place), len(names)) for place in order]
        lines = [
            f"  {names[true]} taken for {names[chosen]}: {wrong[true, chosen]:,}"
            for true, chosen in places
            if wrong[true, chosen]
        ]
        return "\n".join(["most often confused:", *(lines or ["  none"])])


def class_scores(positions: HostArray, p: HostArray, classes: Sequence[Any]) -> ClassScores:
    """The figures of probabilities.

    Args:
        positions: (N,) the true classes, as positions in ``classes``.
        p: (N, C) floating-point probabilities.
        classes: the C labels.
    """
    n_classes = len(classes)
    chosen = p.argmax(axis=1)
    counts = np.bincount(n_classes * positions + chosen, minlength=n_classes**2)
    confusion = counts.reshape(n_classes, n_classes)
    right, support, predicted = np.diag(confusion), confusion.sum(axis=1), confusion.sum(axis=0)
    with np.errstate(invalid="ignore"):  # 0 / 0
        recall, precision = right / support, right / predicted
        f1 = 2 * right / (support + predicted)
    eps = np.finfo(p.dtype).eps
    of_truth = np.take_along_axis(p, positions[:, None], axis=1)[:, 0]
    return ClassScores(
        n=len(p),
        classes=tuple(np.asarray(classes).tolist()),
        accuracy=float(right.sum() / len(p)),
        balanced_accuracy=float(recall[support > 0].mean()),
        log_loss=float(-np.log(np.clip(of_truth, eps, 1 - eps).astype(float)).mean()),
        roc_auc=_roc_auc(positions, p) if support.all() else None,
        confusion=confusion,
        precision=precision,
        recall=recall,
        f1=f1,
        support=support,
    )


def _roc_auc(positions: HostArray, p: HostArray) -> float:
    """That of the second of two classes, or the mean over the classes of each against the rest."""
    columns = [1] if p.shape[1] == 2 else range(p.shape[1])
    return float(np.mean([roc_auc(positions == c, p[:, c]) for c in columns]))


def roc_auc(true: HostArray, score: HostArray) -> float:
    """The area under the curve of scores (N,) for (N,) true or false; NaN where one is absent."""
    # As a single output's: the metric orders by it alone.
    one = LOSSES["binary_cross_entropy"]
    predictions = Predictions(true[:, None].astype(float), score[:, None].astype(float), None, one)
    return float(METRICS["roc_auc"].function(predictions, resolve("numpy").xp))

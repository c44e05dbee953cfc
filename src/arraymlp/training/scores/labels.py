"""How good probabilities of several labels a sample are: all right, and label by label."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from arraymlp.backends.array import HostArray
from arraymlp.html.view import shown
from arraymlp.training.history import finite
from arraymlp.training.scores.classes import roc_auc
from arraymlp.training.scores.text import aligned, figure, rows_text
from arraymlp.training.views.scores import scores_view

FIGURES = ("accuracy", "precision", "recall", "f1", "roc_auc")


@dataclass(frozen=True, eq=False)
class LabelScores:
    """The figures of several labels a sample, each predicted where its probability is above 1/2.

    Attributes:
        n: the number N of rows.
        labels: the names of the L labels.
        exact_match: fraction of the rows of which all labels are right.
        accuracy: (L,) fraction of the rows of which this label is right.
        precision: (L,) the fraction of those predicted that have it; NaN of none.
        recall: (L,) the fraction of those that have it that are predicted so; NaN of none.
        f1: (L,) ``2 TP / (2 TP + FP + FN)``; NaN of none.
        roc_auc: (L,) the area under the receiver's curve; NaN where all rows have it, or none has.
        support: (L,) rows that have the label.
    """

    n: int
    labels: tuple[str, ...]
    exact_match: float
    accuracy: HostArray
    precision: HostArray
    recall: HostArray
    f1: HostArray
    roc_auc: HostArray
    support: HostArray

    def to_dict(self) -> dict[str, Any]:
        """All of it in JSON's types; None for a figure that there is not."""
        by_label = [
            {
                "label": label,
                **{name: getattr(self, name)[k] for name in FIGURES},
                "rows": self.support[k],
            }
            for k, label in enumerate(self.labels)
        ]
        content: dict[str, Any] = finite(
            {"rows": self.n, "exact_match": self.exact_match, "labels": by_label}
        )
        return content

    def __str__(self) -> str:
        overall, by_label = map(aligned, self._tables())
        return f"{rows_text(self.n)}\n{overall}\n\n{by_label}"

    def _repr_html_(self) -> str | None:
        """The tables, as notebooks show them."""
        return shown(lambda: scores_view(self, self._tables()))

    def _tables(self) -> list[list[list[str]]]:
        """The figure over all labels, and those of each, as rows of cells."""
        table = [["", "accuracy", "precision", "recall", "F1", "ROC AUC", "rows"]]
        for k, label in enumerate(self.labels):
            figures = [figure(getattr(self, name)[k]) for name in FIGURES]
            table.append([label, *figures, f"{self.support[k]:,}"])
        return [[["all labels right", figure(self.exact_match)]], table]


def label_scores(y: HostArray, p: HostArray, labels: Sequence[str]) -> LabelScores:
    """The figures of probabilities p (N, L) of labels y (N, L), which are 0 or 1."""
    true, chosen = y > 0.5, p > 0.5
    right, support, predicted = (true & chosen).sum(axis=0), true.sum(axis=0), chosen.sum(axis=0)
    with np.errstate(invalid="ignore"):  # 0 / 0
        precision, recall = right / predicted, right / support
        f1 = 2 * right / (support + predicted)
    return LabelScores(
        n=len(p),
        labels=tuple(labels),
        exact_match=float((true == chosen).all(axis=1).mean()),
        accuracy=(true == chosen).mean(axis=0),
        precision=precision,
        recall=recall,
        f1=f1,
        roc_auc=np.asarray([roc_auc(true[:, k], p[:, k]) for k in range(p.shape[1])]),
        support=support,
    )

"""How good predicted numbers are: RMSE, MAE, R2, and of quantiles how many targets are below."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from arraymlp.backends.array import HostArray
from arraymlp.html.view import shown
from arraymlp.training.history import finite
from arraymlp.training.scores.text import aligned, figure, rows_text
from arraymlp.training.views.scores import scores_view


@dataclass(frozen=True, eq=False)
class NumberScores:
    """The figures of predicted numbers, of each of T targets; `rmse`, `mae`, `r2` are their means.

    Attributes:
        n: the number N of rows.
        targets: the names of the T targets.
        rmses: (T,) ``sqrt(mean (y - o)^2)``.
        maes: (T,) ``mean |y - o|``.
        r2s: (T,) ``1 - sum (y - o)^2 / sum (y - mean y)^2``; NaN of a target that is constant.
        deviances: (T,) of counts ``2 mean (y log(y / o) - y + o)``, the mean Poisson deviance; None
            of other numbers.
    """

    n: int
    targets: tuple[str, ...]
    rmses: HostArray
    maes: HostArray
    r2s: HostArray
    deviances: HostArray | None = None

    @property
    def rmse(self) -> float:
        """The mean over the targets of the root mean squared error."""
        return float(self.rmses.mean())

    @property
    def mae(self) -> float:
        """The mean over the targets of the mean absolute error."""
        return float(self.maes.mean())

    @property
    def r2(self) -> float | None:
        """The mean over the targets of R2; None where a target is constant."""
        mean = float(self.r2s.mean())
        return None if mean != mean else mean

    def _figures(self) -> dict[str, HostArray]:
        of_counts = {} if self.deviances is None else {"poisson_deviance": self.deviances}
        return {"rmse": self.rmses, "mae": self.maes, "r2": self.r2s, **of_counts}

    def to_dict(self) -> dict[str, Any]:
        """All of it in JSON's types; None for a figure that there is not."""
        figures = self._figures()
        content: dict[str, Any] = {"rows": self.n}
        content |= {name: values.mean() for name, values in figures.items()}
        content["targets"] = [
            {"target": target, **{name: values[k] for name, values in figures.items()}}
            for k, target in enumerate(self.targets)
        ]
        as_json: dict[str, Any] = finite(content)
        return as_json

    def __str__(self) -> str:
        return f"{rows_text(self.n)}\n{aligned(self._table())}"

    def _repr_html_(self) -> str | None:
        """The table, as notebooks show it."""
        return shown(lambda: scores_view(self, [self._table()]))

    def _table(self) -> list[list[str]]:
        """The figures as rows of cells; of several targets those of each, and their means."""
        figures = self._figures()
        named = {"rmse": "RMSE", "mae": "MAE", "r2": "R2", "poisson_deviance": "Poisson deviance"}
        names = [named[name] for name in figures]
        if len(self.targets) == 1:
            return [[n, figure(v[0])] for n, v in zip(names, figures.values(), strict=True)]
        table = [
            [target, *(figure(values[k]) for values in figures.values())]
            for k, target in enumerate(self.targets)
        ]
        table.append(["mean", *(figure(values.mean()) for values in figures.values())])
        return [["", *names], *table]


def number_scores(
    y: HostArray, output: HostArray, targets: Sequence[str], *, counts: bool = False
) -> NumberScores:
    """The figures of predictions o (N, T) of targets y (N, T).

    Args:
        y: the true numbers.
        output: the predicted ones.
        targets: their names.
        counts: whether the targets are counts, and the predictions rates.
    """
    y, output = y.astype(np.float64), output.astype(np.float64)
    error = y - output
    shifted = y - y[0]  # exactly 0 where y is constant, which a rounded mean would not give
    spread = ((shifted - shifted.mean(axis=0)) ** 2).sum(axis=0)
    unexplained = (error**2).sum(axis=0)
    r2 = np.full(len(targets), np.nan)
    np.divide(unexplained, spread, out=r2, where=spread > 0)
    deviances = None
    if counts:
        ratio = np.divide(y, output, out=np.ones_like(y), where=y > 0)  # 0 log 0 = 0
        deviances = 2 * (y * np.log(ratio) - error).mean(axis=0)
    rmse = np.sqrt(unexplained / len(y))
    return NumberScores(len(y), tuple(targets), rmse, np.abs(error).mean(axis=0), 1 - r2, deviances)


@dataclass(frozen=True, eq=False)
class QuantileScores:
    """The figures of predicted quantiles, of T targets and Q levels.

    Attributes:
        n: the number N of rows.
        targets: the names of the T targets.
        levels: the Q levels t.
        pinball: (T, Q) ``mean (t (y - o) where y > o, else (1 - t) (o - y))``.
        below: (T, Q) fraction of the targets at or below the quantile: t, where it is right.
    """

    n: int
    targets: tuple[str, ...]
    levels: tuple[float, ...]
    pinball: HostArray
    below: HostArray

    def to_dict(self) -> dict[str, Any]:
        """All of it in JSON's types."""
        rows = [
            {"target": target, "level": level, "pinball": self.pinball[i, k], "below": below}
            for i, target in enumerate(self.targets)
            for k, (level, below) in enumerate(zip(self.levels, self.below[i], strict=True))
        ]
        content: dict[str, Any] = finite({"rows": self.n, "quantiles": rows})
        return content

    def __str__(self) -> str:
        return f"{rows_text(self.n)}\n{aligned(self._table())}"

    def _repr_html_(self) -> str | None:
        """The table, as notebooks show it."""
        return shown(lambda: scores_view(self, [self._table()]))

    def _table(self) -> list[list[str]]:
        """The figures of each target's quantiles, as rows of cells."""
        table = [["quantile", "pinball loss", "targets at or below"]]
        for i, target in enumerate(self.targets):
            prefix = f"{target} " if len(self.targets) > 1 else ""
            for k, level in enumerate(self.levels):
                figures = self.pinball[i, k], self.below[i, k]
                table.append([f"{prefix}{level:g}", *map(figure, figures)])
        return table


def quantile_scores(
    y: HostArray, output: HostArray, levels: Sequence[float], targets: Sequence[str]
) -> QuantileScores:
    """The figures of quantiles o (N, T, Q) of targets y (N, T)."""
    error = y.astype(np.float64)[..., None] - output.astype(np.float64)
    pinball = np.maximum(np.asarray(levels) * error, (np.asarray(levels) - 1) * error).mean(axis=0)
    below = (error <= 0).mean(axis=0)
    return QuantileScores(len(y), tuple(targets), tuple(levels), pinball, below)

"""What a column to be predicted is: classes or numbers; and those that nothing can learn."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, TypeAlias

import numpy as np

from arraymlp.app.options import option
from arraymlp.backends.array import HostArray
from arraymlp.data.files.table_targets import require_learnable
from arraymlp.nn.losses import LOSSES

FEW = 20  # different whole numbers up to which they are classes, unless the user says else
SHOWN = 8  # classes that a line lists
ENOUGH = 20  # rows, from which on one can say that a column identifies its rows


Classes: TypeAlias = Annotated[
    bool | None,
    option(
        "Take whole numbers to predict for classes, or for numbers. Default: classes where there "
        "are at most 20 different ones.",
        "Data",
        "--classes/--regression",
    ),
]


@dataclass(frozen=True, eq=False)
class Target:
    """What is to be predicted.

    Attributes:
        names: of the columns.
        values: (N,) labels, integers or texts, or floating-point numbers; or (N, k) integers 0 and
            1 for several labels a row, or numbers.
        guessed: whether whole numbers might as well be the other, classes or numbers: it was how
            many different ones there are, or that they are written as 1.0, which decided.
    """

    names: tuple[str, ...]
    values: HostArray
    guessed: bool = False

    @property
    def classifies(self) -> bool:
        """Whether each row has one of several classes."""
        return self.values.ndim == 1 and self.values.dtype.kind != "f"

    @property
    def loss(self) -> str:
        """The name of the loss for it, where none is given."""
        if self.classifies:
            return "softmax_cross_entropy"
        return "squared_error" if self.values.dtype.kind == "f" else "binary_cross_entropy"

    @cached_property
    def counts(self) -> tuple[HostArray, HostArray]:
        """The different values in ascending order, and how often each occurs."""
        values, counts = np.unique(self.values, return_counts=True)
        return values, counts

    @property
    def classes(self) -> HostArray | None:
        """The labels in ascending order; None of all else."""
        return self.counts[0] if self.classifies else None

    @cached_property
    def positions(self) -> HostArray | None:
        """Each row's class, as a position in `classes`; None of all else."""
        return np.searchsorted(self.counts[0], self.values) if self.classifies else None

    def describe(self) -> str:
        """What it is, with the classes and how often each occurs, or the range of the numbers."""
        text, (values, counts) = ", ".join(self.names), self.counts
        if self.values.ndim == 2:
            labels = self.values.dtype.kind != "f"
            return text + (": each yes or no" if labels else ": numbers")
        if not self.classifies:
            text += f": numbers from {values[0]:g} to {values[-1]:g}"
            return text + " (--classes takes them for classes)" * self.guessed
        shown = [f"{v} ({n:,})" for v, n in zip(values[:SHOWN], counts, strict=False)]
        more = f" and {len(values) - SHOWN} more" if len(values) > SHOWN else ""
        text += f": {len(values)} classes, {', '.join(shown)}{more}"
        return text + " (--regression takes them for numbers)" * self.guessed


def classifies_by(flag: bool | None, loss: object) -> bool | None:
    """Whether classes are to be predicted: by --classes/--regression, else by the loss's name.

    Args:
        flag: True, False, or None where neither was given.
        loss: a name, or several; None where none was given.
    """
    names = loss if isinstance(loss, list) else [loss]
    kinds = {LOSSES[n].classifies != "no" for n in names if isinstance(n, str) and n in LOSSES}
    return kinds.pop() if flag is None and len(kinds) == 1 else flag


def target_of(names: Sequence[str], values: HostArray, classifies: bool | None = None) -> Target:
    """The targets of a table as what is to be predicted.

    Texts and booleans are classes, and so are whole numbers of which there are few different ones.

    Args:
        names: of the columns.
        values: as `arraymlp.data.files.table_targets.target_of` gives them.
        classifies: True for classes, False for numbers, None for what they seem to be.

    Raises:
        ValueError: all values are alike, or nearly all of what would be classes differ; or they
            are not what they are said to be.
    """
    names = tuple(names)
    what = f"the target {', '.join(map(repr, names))}"
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        row = int(np.argwhere(~np.isfinite(values))[0][0])
        raise ValueError(f"{what} has an infinite number in row {row}")
    if values.ndim == 2:
        for name, column in zip(names, values.T, strict=True):
            require_learnable(column, name)
        yes_or_no = values.dtype.kind in "iu" and bool(np.isin(values, (0, 1)).all())
        if classifies and not yes_or_no:
            raise ValueError(f"--classes: {what} must be 0 and 1, as they are several")
        return Target(names, values if yes_or_no and classifies is not False else _floats(values))
    require_learnable(values, names[0])
    if values.dtype.kind == "U":
        if classifies is False:
            raise ValueError(f"--regression: {what} is texts, not numbers")
        return _of_classes(what, Target(names, values))
    whole = values.dtype.kind in "iu"
    if classifies and not whole and bool((values != np.floor(values)).any()):
        raise ValueError(f"--classes: {what} has numbers with a fraction, which are no classes")
    n, different = len(values), len(np.unique(values))
    if classifies or (classifies is None and whole and different <= FEW):
        return _of_classes(what, Target(names, values.astype(np.int64), classifies is None))
    if classifies is None and whole and different == n >= ENOUGH and np.ptp(values) < 2 * n:
        raise ValueError(
            f"{what} has a number of its own in each row, and seems to number them: there is "
            "nothing to learn; --regression takes it all the same"
        )
    seems_whole = whole or (different <= FEW and bool((values == np.floor(values)).all()))
    return Target(names, _floats(values), seems_whole and classifies is None)


def _floats(values: HostArray) -> HostArray:
    return values.astype(np.float64)


def _of_classes(what: str, target: Target) -> Target:
    """The target; a ValueError where hardly any row shares its class with another one."""
    n, different = len(target.values), len(target.counts[0])
    if n >= ENOUGH and different > n / 2:
        raise ValueError(
            f"{what} has {different} different values in {n} rows, which names the rows: there is "
            "nothing to learn"
        )
    return target

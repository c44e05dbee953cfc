"""The record of each epoch of a run, as a table, as JSON and as a plot."""

import json
from collections.abc import Iterator, Mapping
from math import nan
from pathlib import Path
from typing import Any, SupportsIndex

import numpy as np

from arraymlp.html.view import shown
from arraymlp.training.spread import is_numbers, spread

Record = dict[str, Any]
LONG = 60  # letters of what a callback put into a record, in a text
WIDE = 20  # a loss that falls to less than one part in so many is drawn on a logarithmic axis


class History:
    """One record an epoch: a mapping from names to numbers (to lists of K for a population).

    ``history["loss"]`` is that column (a KeyError where there is none), ``history[-1]`` the last
    record, ``history[-3:]`` the last three, ``len(history)`` the number of epochs (an epoch that
    was broken off has a record of each part, the last of the whole). The columns that `train`
    writes:

    ================ ==============================================================================
    epoch            from 0
    step             steps done at its end
    learning_rate    at its end
    loss             mean loss of a sample as the epoch's minibatches met it: weights changing (and
                     not averaged), with dropout and label smoothing
    penalty          ``alpha / 2 |W|^2`` a sample, as the minibatches met it; with ``alpha``
    training_loss    mean loss of a training row with the weights at the epoch's end; with
                     ``training_error``
    training_error   fraction of wrong decisions on these rows; absent for regression
    validation_loss  the same loss over the validation rows; where there are any
    validation_error fraction of wrong decisions on these; absent for regression
    training_f1, ... the metrics asked for, over the same rows
    predicted        how often each class was predicted in validation; with probes
    seconds          time of the epoch, evaluation included
    samples_per_s    training rows over those seconds
    ================ ==============================================================================

    With sample weights, losses, errors and metrics are weighted means; class weights weigh losses
    alone. No loss has the L2 penalty in it.

    Attributes:
        records: one dict an epoch, by name of the column; a new list unless one is given.
    """

    def __init__(self, records: list[Record] | None = None) -> None:
        self.records: list[Record] = [] if records is None else records

    def __copy__(self) -> "History":
        return History(list(self.records))

    def __len__(self) -> int:
        return len(self.records)

    def __iter__(self) -> Iterator[Record]:
        return iter(self.records)

    def __getitem__(self, key: str | SupportsIndex | slice) -> Any:
        if isinstance(key, SupportsIndex | slice):
            return self.records[key]
        if key not in self.columns:
            raise KeyError(f"the history has no {key!r}; it has {', '.join(self.columns)}")
        return [record.get(key) for record in self.records]

    def __repr__(self) -> str:
        if not self.records:
            return "<History of no epochs>"
        k = self.members
        last = ", ".join(f"{name} {value_text(v, k)}" for name, v in self.records[-1].items())
        how = ", as median (least to greatest)" if k is not None and k > 1 else ""
        return f"<History of {self.length_text}; the last{how}: {last}>"

    def _repr_html_(self) -> str | None:
        """The curves and the last epochs, as notebooks show them."""
        from arraymlp.training.views.history import history_view

        return shown(lambda: history_view(self))

    @property
    def members(self) -> int | None:
        """How many losses the last record has, K of a population; None for one network."""
        loss = self.records[-1].get("loss") if self.records else None
        return len(loss) if isinstance(loss, list) else None

    @property
    def length_text(self) -> str:
        """``20 epochs``, or of a population ``20 epochs of 64 members``."""
        members = "" if self.members is None else f" of {self.members} members"
        return f"{len(self)} epoch{'s' * (len(self) != 1)}{members}"

    @property
    def columns(self) -> list[str]:
        """Names of all columns, in the order in which they first appear."""
        return list(dict.fromkeys(name for record in self.records for name in record))

    @property
    def panels(self) -> dict[str, list[str]]:
        """The columns that `plot` draws, by what they are, such as "loss", "error" and "f1"."""
        panels: dict[str, list[str]] = {}
        for name in self.columns:
            part, _, what = name.partition("_")
            if part not in ("training", "validation"):
                what = name.rpartition("_")[2]
                if what not in ("loss", "error"):
                    continue
            panels.setdefault(what, []).append(name)
        return panels

    def to_dict(self) -> dict[str, list[Any]]:
        """Columns by name, ready for a data frame; None where an epoch lacks the figure."""
        return {name: self[name] for name in self.columns}

    def to_json(self, path: str | Path | None = None) -> str:
        """The columns as JSON (NaN becomes null), also written to ``path`` where one is given.

        Raises:
            OSError: the file cannot be written.
        """
        text = json.dumps(finite(self.to_dict()), indent=1, allow_nan=False) + "\n"
        if path is not None:
            Path(path).write_text(text, encoding="utf-8")
        return text

    def plot(self, axes: Any = None) -> Any:
        """Draw loss, error and metrics over the epochs; return the Matplotlib axes.

        Args:
            axes: to draw into, one for each of ``panels``; None for a new figure, side by side.

        Raises:
            ModuleNotFoundError: Matplotlib is not installed; the message has the install line.
            ValueError: there are no epochs to draw.
        """
        if not self.records:
            raise ValueError("there are no epochs to plot")
        try:
            import matplotlib.pyplot as plt
        except ModuleNotFoundError as error:
            raise ModuleNotFoundError("a plot needs Matplotlib: pip install matplotlib") from error
        panels = self.panels
        if axes is None:
            n = len(panels)
            _, axes = plt.subplots(1, n, figsize=(5 * n, 4), squeeze=False, layout="constrained")
            axes = axes[0]
        for ax, (what, names) in zip(axes, panels.items(), strict=True):
            for name in names:
                _draw(ax, self["epoch"], self[name], name.replace("_", " "))
            ax.set(xlabel="epoch", ylabel=what.replace("_", " "))
            low, high = ax.dataLim.intervaly
            if what == "loss" and 0 < low < high / WIDE:
                ax.set_yscale("log")
            ax.legend()
        return axes


def _draw(ax: Any, epochs: list[int], column: list[Any], label: str) -> None:
    """A line; for a population one a member, alike and with one entry in the legend."""
    members = max((len(v) for v in column if isinstance(v, list)), default=None)
    if members is None:
        ax.plot(epochs, column, label=label)
        return
    rows = [[nan] * members if v is None else v for v in column]
    first, *others = ax.plot(epochs, rows)
    first.set_label(label)
    for line in others:
        line.set(color=first.get_color(), label=f"_{label}")


def value_text(value: Any, members: int | None = None, form: str = ".5g") -> str:
    """A figure of a record in words; K members' as their median, the least and the greatest."""
    if isinstance(value, float | np.floating):
        return f"{value:{form}}"
    if is_numbers(value) and len(value) == members:
        return spread(value).text(form)
    text = str(value)
    return text if len(text) <= LONG else f"{text[:LONG]}..."


def finite(value: Any) -> Any:
    """The value as JSON has it, which knows no NaN and no infinity: None stands for both."""
    if isinstance(value, np.generic | np.ndarray):  # which a callback may have put in
        value = value.tolist()
    if isinstance(value, Mapping):
        return {k: finite(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [finite(v) for v in value]
    if isinstance(value, float) and (value != value or abs(value) == float("inf")):
        return None
    return value

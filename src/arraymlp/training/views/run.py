"""A run in a notebook: what was trained, how it ended, its figures, curves and findings."""

from typing import TYPE_CHECKING, Any

from arraymlp.data.stream import Streamed
from arraymlp.html.table import table
from arraymlp.html.view import folded, paragraph, view
from arraymlp.training.history import Record, value_text
from arraymlp.training.views.curves import charts
from arraymlp.training.views.history import epochs_table
from arraymlp.training.views.network import network_parts

if TYPE_CHECKING:
    from arraymlp.training.run import Run

# Up to here a diagnosis takes some tenths of a second: MNIST's 60,000 rows by train()'s network of
# 89,610 weights are 5.4e9, in 0.06 s on two cores.
QUICK_PRODUCTS = 6e9  # rows times weights times members
QUICK_RECORDS = 20_000  # epochs times members
QUICK_MEMBERS = 64
PARTS = ("training", "validation")


def run_view(run: "Run", *, diagnosed: bool) -> str:
    """The view of a run.

    Args:
        run: finished or not, with its data or without.
        diagnosed: whether its findings are computed already.
    """
    parts = [
        paragraph(_what(run)),
        paragraph(run.cause),
        figures_table(run),
        charts(run.history, best_epoch=run.best_epoch),
        _findings(run, diagnosed),
        folded("layers", "".join(network_parts(run.network))),
        epochs_table(run.history) if len(run.history) else "",
    ]
    return view("Run", *parts, note=_how_it_ended(run))


def _how_it_ended(run: "Run") -> str:
    if not len(run.history):
        return f"{run.ended}, with no epoch done"
    epochs, k = run.next_epoch, run.history.members
    members = "" if k is None else f" of {k} members"
    text = f"{run.ended} after {epochs:,} epoch{'s' * (epochs != 1)}{members}"
    if run.partial_epoch.steps:
        text = f"{run.ended} in epoch {epochs:,}{members}"
    text += f", {run.steps_done:,} steps"
    whole = run.history[0].get("epoch") == 0  # without data it has the last record alone
    seconds = sum(record.get("seconds", 0.0) for record in run.history)
    return f"{text} in {seconds:.3g} s" if whole else text


def _what(run: "Run") -> str:
    text = repr(run.network).strip("<>").removeprefix(type(run.network).__name__).strip()
    settings = run.settings
    rate = settings.learning_rate
    swept = f"{len(rate)} learning rates" if isinstance(rate, tuple) else f"learning rate {rate}"
    optimizer = type(settings.optimizer).__name__
    return f"{text}; {optimizer}, {swept}, batch size {settings.batch_size}; engine {run.engine}"


def kept_record(run: "Run") -> Record:
    """The record of the epoch whose weights the network has; member by member in a population."""
    records, best = run.history.records, run.best_epoch
    last: Record = records[-1]
    if best is None:
        return last
    by_epoch = {record["epoch"]: record for record in records}
    if not isinstance(best, list):
        return by_epoch.get(best, last)
    own = [by_epoch.get(epoch, last) for epoch in best]
    return {
        name: [r[name][k] if name in r else None for k, r in enumerate(own)]
        if isinstance(value, list) and len(value) == len(best)
        else value
        for name, value in last.items()
    }


def figures_table(run: "Run") -> str:
    """Loss, error and metrics of the weights that the network has, a row for each part of the data.

    The loss that the minibatches met has a row of its own. "" without epochs.
    """
    if not len(run.history):
        return ""
    record, k = kept_record(run), run.history.members
    rows: dict[str, dict[str, Any]] = {}
    for name, value in record.items():
        part, _, what = name.partition("_")
        if part in PARTS:
            rows.setdefault(part, {})[what] = value
        elif name == "loss":
            rows["minibatches, as met"] = {"loss": value}
    whats = list(dict.fromkeys(what for row in rows.values() for what in row))
    cells = [
        [part, *(value_text(row[what], k, ".4g") if what in row else "" for what in whats)]
        for part, row in rows.items()
    ]
    header = ["rows", *(what.replace("_", " ") for what in whats)]
    best = run.best_epoch
    of_which = f"with the weights of epoch {best}" if isinstance(best, int) else ""
    if isinstance(best, list):
        of_which = "with the weights of each member's best epoch"
    how = "median (least to greatest) of the members" if k is not None and k > 1 else ""
    notes = "; ".join(filter(None, [how, of_which]))
    return table(header, cells, numeric=range(1, len(header))) + paragraph(notes, quiet=True)


def _findings(run: "Run", diagnosed: bool) -> str:
    """The findings, where they are there or soon would be; else where to ask for them."""
    from arraymlp.diagnosis.findings import findings_html

    if run.data is None or not len(run.history):
        return ""
    if not (diagnosed or is_quick(run)):
        return paragraph("run.findings says why it learned, stalled or died.", quiet=True)
    return findings_html(run.findings)


def is_quick(run: "Run") -> bool:
    """True where the diagnosis of a run takes so short a time that a notebook may wait for it."""
    data, members = run.data, run.network.members or 1
    if data is None or isinstance(data.X, Streamed) or members > QUICK_MEMBERS:
        return False
    products = data.X.shape[0] * run.network.n_parameters * members
    return products <= QUICK_PRODUCTS and len(run.history) * members <= QUICK_RECORDS

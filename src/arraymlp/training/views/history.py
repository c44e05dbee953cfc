"""A history in a notebook: its curves, and its last epochs as a table."""

from arraymlp.html.table import table
from arraymlp.html.view import folded, paragraph, view
from arraymlp.training.history import History, value_text
from arraymlp.training.views.curves import CHARTS, charts

LAST = 10  # epochs in the table


def history_view(history: History) -> str:
    """Curves, and the last epochs folded away."""
    if not len(history):
        return view("History", note="of no epochs")
    note = f"of {history.length_text}"
    more = len(history.panels) - CHARTS
    rest = f"{more} more: history.plot() draws all" if more > 0 else ""
    return view("History", charts(history), paragraph(rest, quiet=True), epochs_table(history),
                note=note)  # fmt: skip


def epochs_table(history: History) -> str:
    """The last epochs as a table, folded away; of a population's numbers their median."""
    last = history[-LAST:]
    columns = [name for name in history.columns if any(name in record for record in last)]
    k = history.members
    rows = [
        [value_text(record[name], k, ".4g") if name in record else "" for name in columns]
        for record in last
    ]
    which = f"the last {len(last)} of " if len(last) < len(history) else ""
    header = [name.replace("_", " ") for name in columns]
    return folded(
        f"{which}{history.length_text} as a table", table(header, rows, numeric=range(len(columns)))
    )

"""A sweep and its networks in a notebook: the best settings, how their scores went, what failed."""

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from arraymlp.html.chart import Line, line_chart
from arraymlp.html.table import table
from arraymlp.html.view import folded, in_a_row, paragraph, view
from arraymlp.sweeps.member import Member
from arraymlp.sweeps.rows import cell_text, rows_table
from arraymlp.sweeps.space import REPEATS, shown
from arraymlp.training.history import LONG
from arraymlp.training.spread import as_numbers, spreads
from arraymlp.training.views.curves import charts, thinned
from arraymlp.training.views.history import epochs_table

if TYPE_CHECKING:
    from arraymlp.sweeps.result import SweepResult

RANKED = 10  # settings in the table
DRAWN = 4  # of them with a curve of their own
LETTERS = 32  # of their values in the legend
OTHERS = 5  # the palette's grey


def sweep_view(result: "SweepResult") -> str:
    """The best settings, the curves of their best networks beside those of all, and the plan."""
    rank = result.rank()
    has_score = bool(rank) and rank[0]["mean"] is not None
    best = f"; best {result.score.replace('_', ' ')} {rank[0]['mean']:.4g}" if has_score else ""
    interrupted = "; interrupted" if result.interrupted else ""
    swept = ", ".join(result.swept) or "nothing"
    k = len(result)
    note = (
        f"of {k:,} network{'s' * (k != 1)} over {swept}{best}; {result.seconds:.3g} s on "
        f"{result.backend}{interrupted}"
    )
    more = f"and {len(rank) - RANKED} more settings: result.rank()" if len(rank) > RANKED else ""
    failed = Counter(m.status for m in result.members if m.failed or m.result is None)
    failures = ", ".join(f"{n} {status}" for status, n in failed.items())
    parts = [
        rows_table(rank[:RANKED]),
        paragraph(more, quiet=True),
        paragraph(f"{failures}: result.failures() says why" if failures else ""),
        in_a_row([_curves(result)]),
        folded("which networks trained together", _pre(result.plan)),
    ]
    return view("SweepResult", *parts, note=note)


def member_view(m: Member) -> str:
    """The settings that were swept, the score, and the curves."""
    rows = [[name.replace("_", " "), cell_text(shown(value))] for name, value in m.swept.items()]
    if m.fold is not None:
        rows.append(["fold", str(m.fold)])
    rows += [["score", cell_text(m.score)], ["status", m.status]]
    rows += [["cause", m.cause]] if m.cause else []
    parts = [table(["setting or result", "value"], rows)]
    if m.result is not None and len(m.history):
        parts += [charts(m.history, best_epoch=m.best_epoch), epochs_table(m.history)]
    return view(f"Network {m.number}", *parts, note="of a sweep")


def _curves(result: "SweepResult") -> str:
    """The score over the epochs: of the best network of each top setting, and of all."""
    sign = -1 if result.greater_is_better else 1
    names = [name for name in result.swept if name not in REPEATS]
    lines = []
    for place, row in enumerate(result.rank()[:DRAWN]):
        members = [result.members[k] for k in row["members"]]
        scored = [(sign * m.score, m.number) for m in members if m.counts and m.score is not None]
        if scored:
            x, (y,) = _thin(result, [result.members[min(scored)[1]]])
            values = ", ".join(cell_text(row[name]) for name in names) or "best"
            lines.append(Line(values[:LETTERS], x, y, place))
    if len(result) > len(lines):
        x, (low, median, high) = _thin(result, result.members)
        label = f"all {len(result)}: median"
        lines.append(Line(label, x, median, OTHERS, dashed=True))
        lines += [Line("", x, edge, OTHERS, width=1, opacity=0.55) for edge in (low, high)]
    if not any(np.isfinite(line.y).any() for line in lines):  # type: ignore[arg-type]
        return ""
    title = result.score.replace("_", " ")
    legend = ", ".join(names).replace("_", " ")
    y_label = legend[:LONG] if len(lines) > 1 else ""
    return line_chart(lines, title=title, y_label=y_label, width=460, height=280)


def _thin(
    result: "SweepResult", members: Sequence[Member]
) -> tuple[list[float], list[list[float]]]:
    """Epochs, and the score of a network; or of several the least, the median and the greatest."""
    by_epoch = [{r["epoch"]: r.get(result.score) for r in m.records} for m in members]
    epochs = sorted({epoch for scores in by_epoch for epoch in scores})
    rows = as_numbers([[scores.get(epoch) for scores in by_epoch] for epoch in epochs])
    if not epochs:
        return [], [[]] * (1 if len(members) == 1 else 3)
    columns = [rows[:, 0]] if len(members) == 1 else list(spreads(rows))
    x, thin = thinned(as_numbers(epochs), columns)
    return x.tolist(), [column.tolist() for column in thin]


def _pre(text: str) -> str:
    return "".join(map(paragraph, text.splitlines()))

"""A sweep's report: one self-contained page, the picture beside it, and everything as JSON."""

import json
from collections.abc import Mapping, Sequence
from html import escape
from itertools import groupby
from pathlib import Path

from arraymlp.app.figures import empty_figure
from arraymlp.app.page import png
from arraymlp.app.sweeps.summary import member_text, networks_text, ranking, words
from arraymlp.html.document import document, findings_list
from arraymlp.sweeps.plots import draw_sweep, size
from arraymlp.sweeps.result import SweepResult
from arraymlp.sweeps.rows import Row
from arraymlp.training.atomic import write_whole

EXPLAINED = 24  # settings whose failed networks are explained
RANKED = 50  # rows of the table


def write_sweep_report(
    result: SweepResult,
    folder: Path,
    *,
    about: Mapping[str, object] | None = None,
    notes: Sequence[str] = (),
    call: str = "",
) -> Path:
    """Write report.html, sweep.json and sweep.png; return the page's path.

    Nothing is written until all of it is made, and each file is written whole.

    Args:
        result: the sweep, with its data: the best network is diagnosed, and of each setting the
            first network that failed.
        folder: created if absent.
        about: further content of the JSON; "data" describes the data.
        notes: lines for the page.
        call: Python source that trains with the best settings; "" if no network has a score.

    Raises:
        ModuleNotFoundError: Matplotlib is not installed.
        OSError: the folder cannot be written.
        ValueError: there are no epochs to draw.
    """
    pictures: dict[str, bytes] = {}
    figure = empty_figure(size(result))
    draw_sweep(result, figure)
    about = about or {}
    content = _page(result, png(figure, "sweep.png", "scores", pictures), about, notes, call)
    folder.mkdir(parents=True, exist_ok=True)
    write_whole(folder / "sweep.png", pictures["sweep.png"])
    write_whole(folder / "sweep.json", sweep_json(result, about).encode())
    write_whole(folder / "report.html", content.encode())
    return folder / "report.html"


def sweep_json(result: SweepResult, about: Mapping[str, object]) -> str:
    """The entries of ``about``, then those of `SweepResult.to_dict`, as JSON."""
    return json.dumps({**about, **result.to_dict()}, indent=1, allow_nan=False) + "\n"


def _page(
    result: SweepResult,
    picture: str,
    about: Mapping[str, object],
    notes: Sequence[str],
    call: str,
) -> str:
    header, rows = ranking(result, RANKED)
    total = len(result.rank())
    more = f"<p class=cap>The best {len(rows)} of {total} settings.</p>" * (total > len(rows))
    table = "".join(f"<th>{escape(name)}" for name in header) + "</tr>"
    for row in rows:
        table += "<tr>" + "".join(f"<td>{escape(cell)}" for cell in row) + "</tr>"
    train = f"<h2>Train with the best settings</h2>\n<pre>{escape(call)}</pre>\n" if call else ""
    title = f"A sweep of {networks_text(len(result))}"
    note_lines = "<br>".join(escape(line).replace("  ", "&emsp;") for line in notes)
    body = f"""<h1>{title}</h1>
<p class=lead>{escape(str(about.get("data", "")))}</p>
<p class=sub>{escape(result.backend)}, {result.seconds:.1f} s in all</p>
<p>{note_lines}</p>
<h2>Ranking</h2>
<p class=cap>Mean and standard deviation of the {escape(result.score.replace("_", " "))} over the
networks of each setting. The best of many networks is partly lucky: its score here is better than
it would be on new data.</p>
<div class=wide><table class=ranking><tr>{table}</table></div>{more}
{picture}
{train}<h2>What happened, and why</h2>
{"".join(_diagnosis(result))}
<h2>Which networks trained together</h2>
<pre>{escape(result.plan)}</pre>
<p class=cap>Ranking, settings, histories and findings are also in sweep.json.</p>"""
    style = ".ranking td{white-space:nowrap}"
    return document(f"arraymlp: {title[0].lower()}{title[1:]}", body, style=style)


def _diagnosis(result: SweepResult) -> list[str]:
    """The findings on the best network, and why networks of other settings failed."""
    parts = []
    if any(m.counts for m in result.members):
        title = f"The best single network: {member_text(result.best)}"
        parts.append(
            f"<h3>{escape(title)}</h3>{findings_list(result.findings(result.best.number))}"
        )
    failures = result.failures(EXPLAINED)
    for kind, rows in groupby(sorted(failures, key=_explanation), key=_explanation):
        parts.append(f"<h3>{escape(f'Failed: {words(kind)}')}</h3><ul class=findings>")
        for row in rows:
            which = f"{row['failed']} of {networks_text(row['n'])}"
            m = result.members[row["member"]]
            why = row["why"] or row["cause"]
            parts.append(f"<li>{which}, as {escape(f'{member_text(m)}: {why}')}</li>")
        parts.append("</ul>")
    more = sum(any(result[k].failed for k in row["members"]) for row in result.rank())
    more -= len(failures)
    if more > 0:
        parts.append(f"<p class=cap>And {more} more settings with networks that failed.</p>")
    return parts


def _explanation(row: Row) -> str:
    """What a failure is explained by: the kind of the finding, or else how the network ended."""
    return str(row["kind"] or row["status"])

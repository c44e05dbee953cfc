"""A sweep's report: one self-contained page, the picture beside it, and everything as JSON."""

import json
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from arraymlp.app.figures import empty_figure
from arraymlp.app.page import page, png, story
from arraymlp.app.sweeps.summary import count, of_member, ranking
from arraymlp.sweeps.plots import draw_sweep, size
from arraymlp.sweeps.population import DIVERGED
from arraymlp.sweeps.result import Member, SweepResult
from arraymlp.training.files import write_whole

EXPLAINED = 5  # networks that diverged, of which the diagnosis is told
RANKED = 50  # settings in the table


def write_sweep_report(
    result: SweepResult,
    folder: Path,
    *,
    about: Mapping[str, Any] | None = None,
    notes: Sequence[str] = (),
    call: str = "",
) -> Path:
    """Write report.html, sweep.json and sweep.png; return the page's path.

    Everything is made before the first file is written, and each file is written whole.

    Args:
        result: the sweep, with its data: the best network and those that diverged are diagnosed.
        folder: where to; it is made.
        about: what else the JSON is to have; under "data" what was trained on, in words.
        notes: what the sweep's end says.
        call: how to train with the best settings; empty where there are none.

    Raises:
        ModuleNotFoundError: Matplotlib is not installed.
        OSError: the folder cannot be written.
        ValueError: there are no epochs to draw.
    """
    pictures: dict[str, bytes] = {}
    figure = draw_sweep(result, empty_figure(size(result)))
    about = about or {}
    content = _page(result, png(figure, "sweep.png", "scores", pictures), about, notes, call)
    folder.mkdir(parents=True, exist_ok=True)
    write_whole(folder / "sweep.png", pictures["sweep.png"])
    write_whole(folder / "sweep.json", sweep_json(result, about).encode())
    write_whole(folder / "report.html", content.encode())
    return folder / "report.html"


def sweep_json(result: SweepResult, about: Mapping[str, Any]) -> str:
    """`SweepResult.to_dict` as JSON, after what else there is to say."""
    return json.dumps({**about, **result.to_dict()}, indent=1, allow_nan=False) + "\n"


def _page(
    result: SweepResult,
    picture: str,
    about: Mapping[str, Any],
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
    title = f"A sweep of {count(len(result))}"
    said = "<br>".join(escape(line).replace("  ", "&emsp;") for line in notes)
    body = f"""<h1>{title}</h1>
<p class=lead>{escape(about.get("data", ""))}</p>
<p class=sub>{escape(result.backend)}, {result.seconds:.1f} s in all</p>
<p>{said}</p>
<h2>Ranking</h2>
<p class=cap>Mean and standard deviation of the {escape(result.score.replace("_", " "))} over the
networks of each setting. The best network of many is a lucky one: its score here is better than
it would be on new data.</p>
<div class=wide><table class=ranking><tr>{table}</table></div>{more}
{picture}
{train}<h2>What happened, and why</h2>
{"".join(_diagnosis(result))}
<h2>What was trained together</h2>
<pre>{escape(result.plan)}</pre>
<p class=cap>Ranking, settings, histories and findings are in sweep.json, too.</p>"""
    return page(f"arraymlp: {title[0].lower()}{title[1:]}", body)


def _diagnosis(result: SweepResult) -> list[str]:
    """The findings of the best network, and of the first of those that diverged."""
    failed = [m for m in result.members if m.status == DIVERGED and m.records]
    shown: list[tuple[str, Member]] = []
    if any(m.counts for m in result.members):
        shown.append(("The best: ", result.best))
    shown += [("Diverged: ", m) for m in failed[:EXPLAINED]]
    parts = [
        f"<h3>{escape(what + of_member(m))}</h3>{story(result.findings(m.number))}"
        for what, m in shown
    ]
    if len(failed) > EXPLAINED:
        parts.append(f"<p class=cap>And {len(failed) - EXPLAINED} more that diverged.</p>")
    return parts

"""The report of a training on a table: one page with figures, curves and findings."""

import json
from html import escape
from pathlib import Path

from arraymlp.app.figures import empty_figure
from arraymlp.app.page import png
from arraymlp.app.tables.trained import HELD_OUT, Trained
from arraymlp.diagnosis.findings import Finding
from arraymlp.html.document import document, findings_list
from arraymlp.training.atomic import write_whole

WATCHED = """<p class=cap>"Validation" is on rows that a network had held out of those it was to be
trained on, to stop early by: they are none of the rows above.</p>"""
MEAN = """<p class=cap>One line a network. The model's prediction is the mean of its networks',
which is better than that of most of them.</p>"""
ALIKE = "<p class=cap>Of networks that are alike in this, it is told of the first.</p>"


def write_train_report(trained: Trained, folder: Path) -> Path:
    """Write report.html, curves.png and train.json; return the page's path.

    Nothing is written until all of it is made, and each file is written whole.

    Args:
        trained: the training, with its data.
        folder: created if absent.

    Raises:
        ModuleNotFoundError: Matplotlib is not installed.
        OSError: the folder cannot be written.
    """
    pictures: dict[str, bytes] = {}
    content = _page(trained, pictures)
    history = trained.run.history.to_dict()
    findings = [finding.to_dict() for finding in trained.run.findings]
    text = json.dumps({**trained.to_dict(), "history": history, "findings": findings}, indent=1)
    folder.mkdir(parents=True, exist_ok=True)
    for name, picture in pictures.items():
        write_whole(folder / name, picture)
    write_whole(folder / "train.json", (text + "\n").encode())
    write_whole(folder / "report.html", content.encode())
    return folder / "report.html"


def _page(trained: Trained, pictures: dict[str, bytes]) -> str:
    plan, run = trained.plan, trained.run
    rows = "".join(
        f"<tr><td>{escape(name)}<td>{escape(text)}</tr>" for name, text in plan.lines(run.backend)
    )
    heading = trained.on
    title = f"{', '.join(plan.source.target.names)} from {plan.source.name}"
    body = f"""<h1>{escape(title)}</h1>
<table>{rows}<tr><td>trained<td>{escape(trained.describe())}</tr></table>
<h2>How good it is</h2>
<p class=cap>{escape(heading[0].upper() + heading[1:])}</p>
<pre>{escape(str(trained.scores))}</pre>
<h2>Epoch by epoch</h2>
{_curves(trained, pictures)}
{WATCHED * (trained.on == HELD_OUT and "validation_loss" in run.history.columns)}
{MEAN * (trained.members > 1)}
<h2>What happened, and why</h2>
{findings_list(_of_each_kind(run.findings))}
{ALIKE * (trained.members > 1)}
<p class=cap>All figures, the settings and the history are also in train.json.</p>"""
    return document(f"arraymlp: {title}", body)


def _curves(trained: Trained, pictures: dict[str, bytes]) -> str:
    """The picture of the history, as HTML; "" where there are no epochs."""
    history = trained.run.history
    if not len(history):
        return ""
    n = len(history.panels)
    figure = empty_figure((5.0 * n, 4.0))
    history.plot(figure.subplots(1, n, squeeze=False)[0])
    return png(figure, "curves.png", "figures by epoch", pictures)


def _of_each_kind(findings: list[Finding]) -> list[Finding]:
    """The first finding of each kind: those of a population's networks are much alike."""
    first: dict[str, Finding] = {}
    for finding in findings:
        first.setdefault(finding.kind, finding)
    return list(first.values())

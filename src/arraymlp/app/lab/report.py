"""The lab's report: one self-contained page to hand in, its pictures, and the findings as JSON."""

import json
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from arraymlp.app.lab import pictures
from arraymlp.app.lab.experiments import EXPERIMENTS, LabRun, published_escape
from arraymlp.app.lab.method import BATCH, listings, method, text_of
from arraymlp.app.lab.questions import conclusion, questions
from arraymlp.app.lab.result import LabResult, LabRow, verdict_text
from arraymlp.app.lab.sections import Files, section
from arraymlp.html.document import document
from arraymlp.html.table import scrolling, table
from arraymlp.pages.playground import playground
from arraymlp.training.atomic import write_whole
from arraymlp.training.history import finite

EXAMPLES = 200  # test images to choose from
PICTURES = (
    *(f"{name}{closer}.svg" for name in ("errors", "loss") for closer in ("", "-closer")),
    *("active.svg", "spread.svg", "gradient.svg", "weights.png"),
    *("errors.png", "insides.png", "misread.png"),  # of earlier versions
)


def write_report(result: LabResult, folder: Path) -> Path:
    """Write report.html, findings.json and the pictures; return the page's path.

    Nothing is written until all of it is made, and each file is written whole.

    Raises:
        OSError: the folder cannot be written.
    """
    files: Files = {}
    sections = [section(result.of(name), result, files) for name in result.names]
    content = _page(result, sections)
    folder.mkdir(parents=True, exist_ok=True)
    possible = {f"{name}-{picture}" for name in EXPERIMENTS for picture in PICTURES}
    for file in possible - files.keys():  # of an earlier report in this folder
        (folder / file).unlink(missing_ok=True)
    for file, content_bytes in files.items():
        write_whole(folder / file, content_bytes)
    write_whole(folder / "findings.json", findings_json(result).encode())
    write_whole(folder / "report.html", content.encode())
    return folder / "report.html"


def findings_json(result: LabResult) -> str:
    """Table, settings, epochs, findings and measurements of every run, as JSON."""
    content = {
        "backend": result.backend.name,
        "version": result.backend.version,
        "device": result.backend.device_name,
        "dtype": result.dtype,
        "seconds": result.seconds,
        "interrupted": result.interrupted,
        "table": result.rows(),
        "runs": [_run_dict(lab_run) for lab_run in result.runs],
    }
    return json.dumps(finite(content), indent=1, allow_nan=False) + "\n"


def _run_dict(lab_run: LabRun) -> dict[str, Any]:
    run = lab_run.run
    return {
        "run": lab_run.experiment.name,
        "seed": lab_run.seed,
        "continues": lab_run.experiment.continues,
        "accuracy": lab_run.accuracy,
        "in_band": lab_run.verdict.in_band,
        "verdict": lab_run.verdict.what,
        "level": lab_run.level,
        "escaped": lab_run.verdict.escaped,
        "escape_epoch": lab_run.verdict.escape_epoch,
        "engine": run.engine,
        "settings": run.settings.to_dict(),
        "findings": [finding.to_dict() for finding in run.findings],
        "history": run.history.to_dict(),
        "measurements": [measurement.to_dict() for measurement in run.measurements],
    }


def _table_row(row: LabRow) -> str:
    accuracy = f"{row['accuracy']:.2f} %"
    if row["spread"] is not None:
        accuracy += f" &plusmn; {row['spread']:.2f}"
    verdict = verdict_text(row)
    if row["in_band"] < row["judged"]:
        verdict = f"<b class=bad>{verdict}</b>"
    return (
        f'<tr><td><a href="#{row["run"]}">{row["run"]}</a><td>{row["published"]:.2f} %'
        f"<td>{accuracy}<td>{escape(row['band'])}<td>{verdict}"
        f"<td>{escape(row['what'])}<td>{row['seconds']:.0f} s"
    )


def _data(result: LabResult) -> str:
    """The data: how much, of which digits, how it is prepared, and what it looks like."""
    mnist = result.mnist
    y_train, y_test = np.asarray(mnist.y_train), np.asarray(mnist.y_test)
    first = [int(np.argmax(y_test == k)) for k in range(10)]
    samples = "".join(
        pictures.captioned(
            pictures.digit(mnist.X_test[k], f"a {y_test[k]} of the test images"), str(y_test[k])
        )
        for k in first
    )
    counts = [np.bincount(y, minlength=10) for y in (y_train, y_test)]
    rows = [
        (name, *(f"{n:,}" for n in count), f"{count.sum():,}")
        for name, count in zip(("training images", "test images"), counts, strict=True)
    ]
    counted = table(("", *map(str, range(10)), "all"), rows, numeric=range(1, 12))
    most = counts[0].max() / counts[0].sum()
    return f"""<h2 id="data">The data</h2>
<p>MNIST: handwritten digits, {len(y_train):,} to learn from and {len(y_test):,} that the network
never learns from, to see how well it reads new ones. Each pixel is a number from 0, white, to 1,
black (the file's 0 to 255, divided by 255). The images come in the order of the file, {BATCH} a
step, and are never shuffled. To answer the most frequent digit always would be right for
{100 * most:.1f} % of the training images.</p>
<div class="digits">{samples}</div>
{scrolling(counted)}"""


def _came_out(result: LabResult) -> str:
    """How many runs came out as published, and what one seed can show."""
    judged = [r.verdict.in_band for r in result.runs if r.verdict.in_band is not None]
    said = f"{sum(judged)} of {len(judged)} judged runs came out as published. " if judged else ""
    if len(result.seeds) == 1:
        said += (
            f"Each was made once, with seed {result.seeds[0]}: accuracies that differ by less than "
            "some 0.4 percentage points may do so by chance (two standard deviations of a "
            "difference on 10,000 images). What other seeds do is not measured here; "
            '<code style="white-space:nowrap">--seeds 8</code> does it.'
        )
    return said


def _play(result: LabResult) -> str:
    """Where the networks of the first seed are played with: draw a digit, and go through epochs."""
    mnist = result.mnist
    shown = slice(None, None, len(mnist.X_test) // EXAMPLES)
    runs = {name: result.of(name)[0].run for name in result.names}
    examples = mnist.X_test[shown], mnist.y_test[shown]
    return f"""<div class="screen"><h2 id="play">Try it</h2>
<p>Draw a digit or choose a test image, and see what each unit of a network makes of it. The slider
goes back through the epochs: the weights, live units and errors as they were, and what the
diagnosis found of that time.</p>
{playground(runs, examples, image_shape=(pictures.SIDE, pictures.SIDE))}</div>"""


def _page(result: LabResult, sections: list[str]) -> str:
    rows = "".join(_table_row(row) for row in result.rows())
    escapes = f"<p>{escape(result.escapes() or '')}</p>" if len(result.seeds) > 1 else ""
    interrupted = "<p><b>Interrupted: some runs are missing.</b></p>" if result.interrupted else ""
    contents = [
        ("method", "the network and one step"),
        ("questions", "the three questions"),
        ("data", "the data"),
        ("results", "the results"),
        ("play", "try it"),
        *((name, name) for name in result.names),
        ("conclusion", "conclusion"),
        ("code", "the code"),
    ]
    links = " · ".join(f'<a href="#{anchor}">{escape(text)}</a>' for anchor, text in contents)
    body = f"""<h1>Backpropagation on MNIST: the lab, run again</h1>
<p class="lead">A 784-100-100-10 perceptron learns to read handwritten digits, with sigmoid or ReLU
and at three learning rates: the five runs of a published university lab, with its own settings.
When they were published, two of the five ended at chance level and a third was stuck there for
{published_escape()} epochs. The measurements below show what happens in each, and why.</p>
<p class="paper">Name: ______________________________ &emsp; Date: ______________</p>
<p class="sub">{escape(result.title())}</p>
<nav class="screen" aria-label="contents"><p>{links}</p></nav>
{method()}
{questions(result)}
{_data(result)}
<h2 id="results">The results</h2>
{interrupted}<div class="wide" tabindex="0"><table class="results"><tr><th>run<th>published
<th>test accuracy<th>band<th>in band<th>what happened<th>time</tr>{rows}</table></div>
<p>{_came_out(result)}</p>
<p class="cap">Test accuracy: how many of the 10,000 test images are read right after the last
epoch. The band is what counts as the published result come out again.</p>{escapes}
<h3>Words that the findings use</h3>
{text_of("words.html")}
{_play(result)}
{"".join(sections)}
{conclusion(result)}
{listings()}
<h2>References</h2>
<ul class="cap"><li>The lab: "Artificial Neural Network and Backpropagation", a report of course
D7041E, lab 5.</li><li>D. E. Rumelhart, G. E. Hinton, R. J. Williams, Learning representations by
back-propagating errors, Nature 323, 1986.</li><li>K. He, X. Zhang, S. Ren, J. Sun, Delving deep
into rectifiers, arXiv:1502.01852, 2015.</li></ul>
<p class="cap">MNIST: Y. LeCun, C. Cortes, C. J. C. Burges, CC BY-SA 3.0. The table, the curves and
the findings with their figures are also in findings.json, the pictures beside this page.</p>"""
    return document("arraymlp: the lab, run again", body, style=STYLE)


STYLE = """
.words{max-width:56em;display:grid;grid-template-columns:auto 1fr;gap:.25em 1.2em;margin:.6em 0}
.words dt{font-weight:600}.words dd{margin:0}
.formulas>li{margin:1.2em 0}.formulas h3{display:inline}
.eqs{display:flex;flex-wrap:wrap;gap:.5em 2.5em;margin:.7em 0}.eqs math{font-size:1.25rem}
.paper{display:none}
figure{margin:0}figcaption{font-size:.78rem;color:var(--quiet);margin-top:.2em}
.digits{display:flex;flex-wrap:wrap;gap:12px 16px;margin:1em 0}
.digits img{border:1px solid var(--line);background:#fff}
.digits figure{width:92px;text-align:center}.digits img{margin:0 auto}
.key{display:flex;flex-wrap:wrap;gap:.6em;align-items:center;font-size:.85rem;margin:.5em 0}
.confusion{border-collapse:separate;border-spacing:1px}
.confusion td,.confusion th{text-align:right;min-width:2.3em;padding:.2em .45em;border:0}
.confusion i{opacity:.65;font-style:normal}
.results td:nth-child(-n+3),.results td:last-child{white-space:nowrap}
td:first-child{white-space:nowrap}
@media (max-width:600px){.words{display:block}.words dd{margin:0 0 .5em 1em}}
@media print{section{break-before:page}.paper{display:block;max-width:none}
.digits{gap:4px;display:grid;grid-template-columns:repeat(10,1fr)}.digits figure{width:auto}
.digits img{width:40px}.row{display:grid;grid-template-columns:1fr 1fr;gap:10px}
.confusion,figure,.formulas li{break-inside:avoid}
.row.three{grid-template-columns:1fr 1fr 1fr}.row svg{width:100%;height:auto}}
"""

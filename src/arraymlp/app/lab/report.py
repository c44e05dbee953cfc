"""The lab's report: one self-contained page, the pictures beside it, and the findings as JSON."""

import json
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from arraymlp.app.lab import plots
from arraymlp.app.lab.experiments import (
    EXPERIMENTS,
    LEVEL_EPOCHS,
    LabRun,
    accuracy_level,
    published_escape,
)
from arraymlp.app.lab.result import LabResult, LabRow, seeds_text, verdict_text
from arraymlp.app.page import png
from arraymlp.data.datasets import published_curves
from arraymlp.html.document import document, findings_list
from arraymlp.training.atomic import write_whole
from arraymlp.training.history import finite

MISREAD_DIGITS = 30
PICTURES = ("errors", "insides", "weights", "misread")


def write_report(result: LabResult, folder: Path) -> Path:
    """Write report.html, findings.json and the PNGs; return the page's path.

    Nothing is written until all of it is made, and each file is written whole.

    Raises:
        ModuleNotFoundError: Matplotlib is not installed.
        OSError: the folder cannot be written.
    """
    pictures: dict[str, bytes] = {}
    sections = [_section(result.of(name), result, pictures) for name in result.names]
    content = _page(result, sections)
    folder.mkdir(parents=True, exist_ok=True)
    possible = {f"{name}-{picture}.png" for name in EXPERIMENTS for picture in PICTURES}
    for file in possible - pictures.keys():  # of an earlier report in this folder
        (folder / file).unlink(missing_ok=True)
    for file, png_bytes in pictures.items():
        write_whole(folder / file, png_bytes)
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


def _section(lab_runs: list[LabRun], result: LabResult, pictures: dict[str, bytes]) -> str:
    """One experiment: what happened and why, its curves, its layers' insides, its weights."""
    first = lab_runs[0]
    experiment, run = first.experiment, first.run
    name = experiment.name
    published = published_curves().get(name, [])
    errors = plots.errors([r.run for r in lab_runs], published, 1 - experiment.published / 100)
    insides = plots.insides(run)
    weights = run.backend.to_numpy(run.network.layers[0].weights)
    method = f"{experiment.activation}, learning rate {experiment.learning_rate:g}"
    if experiment.continues:
        method += f", continuing the network of {experiment.continues}"
    which = f" (seed {first.seed})" if len(lab_runs) > 1 else ""
    parts = [
        f'<section id="{name}"><h2>{escape(name)}</h2>',
        f"<p class=sub>{escape(method)}; {seeds_text([r.seed for r in lab_runs])}</p>",
        png(errors, f"{name}-errors.png", f"errors of {name} by epoch", pictures),
        "<p class=cap>The errors' axis is logarithmic; an error of 0 is drawn at 0.00001.</p>",
        plateau_table(lab_runs),
        f"<h3>What happened, and why{which}</h3>",
        f"<p>{escape(_sentence(first.verdict.what))}</p>",
        findings_list(run.findings),
        png(insides, f"{name}-insides.png", f"insides of {name} by step", pictures),
        "<p class=cap>Active units and outputs are measured on 1,000 training rows spread over all,"
        " gradients on the minibatch: at each of the first 32 steps, then 12 times a decade, and at"
        " the end of each epoch. A gap is an exact zero.</p>",
        "<h3>First-layer weights</h3>",
        png(plots.first_layer(weights), f"{name}-weights.png", f"weights of {name}", pictures),
        "<h3>Misread digits</h3>",
        _misread(first, result, pictures),
    ]
    if len(lab_runs) > 1:
        parts.append(_all_seeds(lab_runs))
    return "\n".join(parts) + "</section>"


def plateau_table(lab_runs: Sequence[LabRun]) -> str:
    """The runs that were stuck as published, each beside the published one; "" without any.

    It says which of the two ends each run came to, with the figures that the verdict goes by.
    """
    stuck = [o for o in lab_runs if o.verdict.escaped is not None]
    if not stuck:
        return ""
    curve = [p.test_error for p in published_curves()[stuck[0].experiment.name]]
    rows: list[tuple[str, list[float], int | None]] = [("published", curve, published_escape())]
    rows += [
        (f"seed {o.seed}", o.run.history["validation_error"], o.verdict.escape_epoch) for o in stuck
    ]
    cells = "".join(
        f"<tr><td>{name}<td>{100 * errors[0]:.2f} %"
        f"<td>{'stayed to the end' if end is None else 'escaped'}"
        f"<td>{'' if end is None else end}"
        f"<td>{100 * errors[-1]:.2f} %<td>{100 - accuracy_level(errors):.2f} %</tr>"
        for name, errors, end in rows
    )
    return (
        "<h3>Beside the published run</h3><table><tr><th>run"
        "<th>test error while stuck<th>then<th>escaped in epoch<th>test error at the end"
        f"<th>median of the last {LEVEL_EPOCHS} epochs</tr>{cells}</table>"
        "<p class=cap>The order of the data and the rate decide the class. The initial weights, and"
        " in part rounding, decide whether and when a run escapes, and its errors after that.</p>"
    )


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}."


def _misread(lab_run: LabRun, result: LabResult, pictures: dict[str, bytes]) -> str:
    """The digits that the network misread with the highest probability."""
    if lab_run.constant_classes[-1] is not None:
        return (
            "<p>The network predicts one class for every image, and so misreads "
            f"{100 - lab_run.accuracy:.2f} % of them.</p>"
        )
    p = np.asarray(lab_run.run.network.predict_proba(result.mnist.X_test))
    predicted = p.argmax(axis=1)
    wrong = np.flatnonzero(predicted != result.mnist.y_test)
    if not wrong.size:
        return "<p>None.</p>"
    shown = wrong[np.argsort(-p[wrong].max(axis=1), kind="stable")][:MISREAD_DIGITS]
    figure = plots.misread(
        result.mnist.X_test[shown],
        result.mnist.y_test[shown],
        predicted[shown],
        p[shown].max(axis=1),
    )
    name = lab_run.experiment.name
    return (
        f"<p>{len(wrong)} of {len(p)} test images. These {len(shown)} got the highest probability "
        "for a wrong class; it stands in brackets.</p>"
        + png(figure, f"{name}-misread.png", f"digits misread by {name}", pictures)
    )


def _all_seeds(lab_runs: list[LabRun]) -> str:
    rows = "".join(
        f"<tr><td>{r.seed}<td>{r.accuracy:.2f} %<td>{_mark(r.verdict.in_band)}"
        f"<td>{escape(r.verdict.what)}<td>"
        + escape(", ".join(dict.fromkeys(f.kind.replace("_", " ") for f in r.run.findings)))
        for r in lab_runs
    )
    return (
        "<h3>All seeds</h3><table class=seeds><tr><th>seed<th>test accuracy<th>in band"
        f"<th>what happened<th>findings</tr>{rows}</table>"
    )


def _mark(in_band: bool | None) -> str:
    return {True: "yes", False: "<b class=bad>no</b>", None: "not judged"}[in_band]


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


def _page(result: LabResult, sections: list[str]) -> str:
    rows = "".join(_table_row(row) for row in result.rows())
    escapes = f"<p>{escape(result.escapes() or '')}</p>" if len(result.runs) > 1 else ""
    interrupted = "<p><b>Interrupted: some runs are missing.</b></p>" if result.interrupted else ""
    body = f"""<h1>The lab, run again</h1>
<p class=lead>MNIST, a 784-100-100-10 perceptron, sigmoid or ReLU, three learning rates: the runs
of a published university lab, with its own settings. All weights and biases start from a normal
distribution with standard deviation 0.0001, the gradient is the <em>sum</em> over minibatches of
100 in file order, and the update is plain gradient descent. When they were published, two of the
five runs ended at chance level and a third was stuck there for 24 epochs. The measurements below
show what happens in each.</p>
<p class=sub>{escape(result.title())}</p>
{interrupted}<div class=wide><table><tr><th>run<th>published<th>test accuracy<th>band
<th>in band<th>what happened<th>time</tr>{rows}</table></div>{escapes}
{"".join(sections)}
<p class=cap>MNIST: Y. LeCun, C. Cortes, C. J. C. Burges, CC BY-SA 3.0. The table, the curves and
the findings with their figures are also in findings.json.</p>"""
    return document("arraymlp: the lab, run again", body)

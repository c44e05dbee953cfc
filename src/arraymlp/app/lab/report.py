"""The lab's report: one self-contained page, the pictures beside it, and the findings as JSON."""

import json
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from arraymlp.app.lab import plots
from arraymlp.app.lab.experiments import EXPERIMENTS, LabResult, LabRun
from arraymlp.app.page import page, png, story
from arraymlp.data.datasets import published_curves
from arraymlp.training.files import write_whole
from arraymlp.training.history import finite

MISREAD_DIGITS = 30


def write_report(result: LabResult, folder: Path) -> Path:
    """Write report.html, findings.json and the PNGs; return the page's path.

    Everything is made before the first file is written, and each file is written whole.

    Raises:
        ModuleNotFoundError: Matplotlib is not installed.
        OSError: the folder cannot be written.
    """
    pictures: dict[str, bytes] = {}
    sections = [_section(result.of(name), result, pictures) for name in result.names]
    content = _page(result, sections)
    folder.mkdir(parents=True, exist_ok=True)
    for name in EXPERIMENTS:  # pictures of an earlier report that this one does not have
        for kind in ("errors", "insides", "weights", "misread"):
            if f"{name}-{kind}.png" not in pictures:
                (folder / f"{name}-{kind}.png").unlink(missing_ok=True)
    for name, picture in pictures.items():
        write_whole(folder / name, picture)
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
        "runs": [_run_dict(outcome) for outcome in result.outcomes],
    }
    return json.dumps(finite(content), indent=1, allow_nan=False) + "\n"


def _run_dict(outcome: LabRun) -> dict[str, Any]:
    run = outcome.run
    return {
        "run": outcome.experiment.name,
        "seed": outcome.seed,
        "continues": outcome.experiment.continues,
        "accuracy": outcome.accuracy,
        "in_band": outcome.verdict.in_band,
        "verdict": outcome.verdict.what,
        "settings": run.settings.to_dict(),
        "findings": [f.to_dict() for f in run.findings],
        "history": run.history.to_dict(),
        "measurements": [m.to_dict() for m in run.measurements],
    }


def _section(outcomes: list[LabRun], result: LabResult, pictures: dict[str, bytes]) -> str:
    """One experiment: what happened and why, its curves, its insides, its weights."""
    first = outcomes[0]
    e, run = first.experiment, first.run
    curve = published_curves().get(e.name, [])
    errors = plots.errors([o.run for o in outcomes], curve, 1 - e.published / 100)
    insides = plots.insides(run)
    weights = run.backend.to_numpy(run.network.layers[0].weights)
    head = f"{e.activation}, learning rate {e.learning_rate:g}"
    if e.continues:
        head += f", continuing the network of {e.continues}"
    seeds = f" (seed {first.seed})" if len(outcomes) > 1 else ""
    parts = [
        f'<section id="{e.name}"><h2>{escape(e.name)}</h2>',
        f"<p class=sub>{escape(head)}; seed{'s' if len(outcomes) > 1 else ''} "
        f"{', '.join(str(o.seed) for o in outcomes)}</p>",
        png(errors, f"{e.name}-errors.png", f"errors of {e.name} per epoch", pictures),
        "<p class=cap>Errors are on a logarithmic scale; none at all is drawn at 0.00001.</p>",
        f"<h3>What happened, and why{seeds}</h3>",
        _story(first),
        png(insides, f"{e.name}-insides.png", f"insides of {e.name} per step", pictures),
        "<p class=cap>Measured on 1,000 training rows, spread over all (live units, outputs), and"
        " on the minibatch (gradients), at each of the first 32 steps, then 12 times a decade"
        " and at each epoch's end. A gap is an exact zero.</p>",
        "<h3>First-layer weights</h3>",
        png(plots.first_layer(weights), f"{e.name}-weights.png", f"weights of {e.name}", pictures),
        "<h3>Misread digits</h3>",
        _misread(first, result, pictures),
    ]
    if len(outcomes) > 1:
        parts.append(_other_seeds(outcomes))
    return "\n".join(parts) + "</section>"


def _story(outcome: LabRun) -> str:
    what = outcome.verdict.what
    lead = f"<p>{escape(what[0].upper() + what[1:])}.</p>"
    return lead + story(outcome.run.findings)


def _misread(outcome: LabRun, result: LabResult, pictures: dict[str, bytes]) -> str:
    """Some of the digits the network was most sure about and wrong."""
    if outcome.constant_classes[-1] is not None:
        return (
            "<p>The network gives every image the same class, and so misreads "
            f"{100 - outcome.accuracy:.2f} % of them.</p>"
        )
    p = outcome.run.network.predict_proba(result.mnist.X_test)
    predicted = p.argmax(axis=1)
    wrong_rows = np.flatnonzero(predicted != result.mnist.y_test)
    if not wrong_rows.size:
        return "<p>None.</p>"
    sure = wrong_rows[np.argsort(-p[wrong_rows].max(axis=1), kind="stable")][:MISREAD_DIGITS]
    fig = plots.misread(
        result.mnist.X_test[sure],
        result.mnist.y_test[sure],
        predicted[sure],
        p[sure].max(axis=1),
    )
    name = outcome.experiment.name
    return (
        f"<p>{len(wrong_rows)} of {len(p)} test images; here the {len(sure)} it was most sure of "
        "(probability it gave its answer).</p>"
        + png(fig, f"{name}-misread.png", f"digits misread by {name}", pictures)
    )


def _other_seeds(outcomes: list[LabRun]) -> str:
    rows = "".join(
        f"<tr><td>{o.seed}<td>{o.accuracy:.2f} %<td>{_mark(o.verdict.in_band)}"
        f"<td>{escape(o.verdict.what)}<td>"
        + escape(", ".join(dict.fromkeys(f.kind.replace("_", " ") for f in o.run.findings)))
        for o in outcomes
    )
    return (
        "<h3>All seeds</h3><table class=seeds><tr><th>seed<th>test accuracy<th>in band"
        f"<th>what happened<th>findings</tr>{rows}</table>"
    )


def _mark(in_band: bool | None) -> str:
    return {True: "yes", False: "<b class=bad>no</b>", None: "not judged"}[in_band]


def _page(result: LabResult, sections: list[str]) -> str:
    rows = []
    for row in result.rows():
        ours = f"{row['accuracy']:.2f} %"
        if row["spread"] is not None:
            ours += f" &plusmn; {row['spread']:.2f}"
        band = f"{row['in_band']} of {row['judged']}" if row["judged"] else "not judged"
        bad = row["in_band"] < row["judged"]
        rows.append(
            f'<tr><td><a href="#{row["run"]}">{row["run"]}</a><td>{row["published"]:.2f} %'
            f"<td>{ours}<td>{escape(row['band'])}<td>{'<b class=bad>' if bad else ''}{band}"
            f"{'</b>' if bad else ''}<td>{escape(row['what'])}<td>{row['seconds']:.0f} s"
        )
    escapes = f"<p>{escape(result.escapes() or '')}</p>" if len(result.outcomes) > 1 else ""
    seeds = sorted({o.seed for o in result.outcomes})
    interrupted = "<p><b>Interrupted: not all runs are here.</b></p>" if result.interrupted else ""
    body = f"""<h1>The lab, run again</h1>
<p class=lead>MNIST, a 784-100-100-10 perceptron, sigmoid or ReLU, three learning rates: the runs
of a published university lab, with its own settings. All weights and biases start from a normal
distribution with standard deviation 0.0001, the gradient is the <em>sum</em> over minibatches of
100 in file order, and the update is plain gradient descent. When they were published, two of the
five runs ended at chance level and a third was stuck there for 24 epochs. The measurements below
say what goes on in each.</p>
<p class=sub>{escape(str(result.backend))}, {result.dtype}, seed{"s" if len(seeds) > 1 else ""}
{", ".join(map(str, seeds))}, {result.seconds:.0f} s in all</p>
{interrupted}<div class=wide><table><tr><th>run<th>published<th>test accuracy<th>band
<th>in band<th>what happened<th>time</tr>{"".join(rows)}</table></div>{escapes}
{"".join(sections)}
<p class=cap>MNIST: Y. LeCun, C. Cortes, C. J. C. Burges, CC BY-SA 3.0. The table, the curves, the
findings and their figures are in findings.json, too.</p>"""
    return page("arraymlp: the lab, run again", body)

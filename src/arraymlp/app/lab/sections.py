"""The report's section on a run: curves, what happened and why, confusion, digits, weights."""

from collections.abc import Sequence
from html import escape

import numpy as np

from arraymlp.app.lab import pictures
from arraymlp.app.lab.experiments import LEVEL_EPOCHS, LabRun, accuracy_level, published_escape
from arraymlp.app.lab.result import LabResult, seeds_text
from arraymlp.data.datasets import published_curves
from arraymlp.html.document import findings_list
from arraymlp.html.png import diverging_palette, png_data, png_image
from arraymlp.html.table import scrolling, table
from arraymlp.training.run import Run
from arraymlp.training.snapshots import AS_DRAWN

MISREAD_DIGITS = 30

Files = dict[str, bytes]  # the report's pictures, by the names of their files


def section(lab_runs: Sequence[LabRun], result: LabResult, files: Files) -> str:
    """One experiment with all its seeds, as HTML; its pictures are put into ``files``, too."""
    first = lab_runs[0]
    experiment, run = first.experiment, first.run
    name, seeds = experiment.name, len(lab_runs)
    method = f"{experiment.activation}, learning rate {experiment.learning_rate:g}"
    if experiment.continues:
        method += f", continuing the network of {experiment.continues}"
    which = f" (seed {first.seed})" if seeds > 1 else ""
    faint = " Faint lines are the other seeds." if seeds > 1 else ""
    parts = [
        f'<section id="{name}"><h2>{escape(name)}</h2>',
        f'<p class="sub">{escape(method)}; {seeds_text([r.seed for r in lab_runs])}</p>',
        f"<h3>What happened, and why{which}</h3>",
        f"<p>{escape(_sentence(first.verdict.what))}</p>",
        findings_list(run.findings),
        _curves(lab_runs, files),
        f'<p class="cap">After each epoch, counted from 0, over all training and all test images.'
        f"{faint}</p>",
        plateau_table(lab_runs),
        f"<h3>Inside the layers{which}</h3>",
        _insides(first, files),
        f"<h3>What was read as what{which}</h3>",
        _answers(first, result),
        f"<h3>What hidden layer 1 looks for{which}</h3>",
        _weights(first, files),
    ]
    if seeds > 1:
        parts.append(_all_seeds(lab_runs))
    return "\n".join(parts) + "</section>"


def _curves(lab_runs: Sequence[LabRun], files: Files) -> str:
    """The charts of errors and losses."""
    experiment, runs = lab_runs[0].experiment, [r.run for r in lab_runs]
    published = published_curves().get(experiment.name, [])
    charts = {
        "errors": pictures.errors(runs, published, 1 - experiment.published / 100),
        "loss": pictures.losses(runs),
    }
    for what, drawn in charts.items():
        for chart, suffix in zip(drawn, ("", "-closer"), strict=False):
            files[f"{experiment.name}-{what}{suffix}.svg"] = chart.encode()
    rows = [f'<div class="row">{"".join(drawn)}</div>' for drawn in charts.values()]
    if all(len(drawn) == 1 for drawn in charts.values()):
        rows = [f'<div class="row">{"".join(drawn[0] for drawn in charts.values())}</div>']
    return "".join(rows)


def _insides(lab_run: LabRun, files: Files) -> str:
    charts = pictures.insides(lab_run.run)
    for what, chart in charts.items():
        files[f"{lab_run.experiment.name}-{what}.svg"] = chart.encode()
    return (
        f'<div class="row three">{"".join(charts.values())}</div>'
        '<p class="cap">A unit is active where its slope is above 0.001 for some image. Active '
        "units and outputs (standard deviation) are measured on 1,000 training images spread over "
        "all, gradients (norms) on the minibatch: at each of the first 32 steps, then 12 times a "
        "decade, and at the end of each epoch. A gap is an exact 0; a dotted line stands where all "
        "gradients of weights become 0.</p>"
    )


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
    header = (
        "run",
        "test error while stuck",
        "then",
        "escaped in epoch",
        "test error at the end",
        f"median of the last {LEVEL_EPOCHS} epochs",
    )
    cells = [
        (
            name,
            f"{100 * errors[0]:.2f} %",
            "stayed to the end" if end is None else "escaped",
            "" if end is None else end,
            f"{100 * errors[-1]:.2f} %",
            f"{100 - accuracy_level(errors):.2f} %",
        )
        for name, errors, end in rows
    ]
    return (
        f"<h3>Beside the published run</h3>{scrolling(table(header, cells))}"
        '<p class="cap">The order of the data and the rate decide the class. In 48 runs with other '
        "seeds, and on processors that round differently, initial weights and in part rounding "
        "decided whether and when a run escaped; with one seed this page cannot show it.</p>"
    )


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}."


def _answers(lab_run: LabRun, result: LabResult) -> str:
    """The confusion matrix, and the digits that were misread with the highest probability."""
    mnist, name = result.mnist, lab_run.experiment.name
    p = np.asarray(lab_run.run.network.predict_proba(mnist.X_test))
    predicted, true = p.argmax(axis=1), np.asarray(mnist.y_test)
    parts = [pictures.confusion(true, predicted)]
    wrong = np.flatnonzero(predicted != true)
    only = lab_run.constant_classes[-1]
    if only is not None:
        parts.append(
            f"<p>The network reads every image as {only}, and so misreads "
            f"{100 - lab_run.accuracy:.2f} % of them: all that are another digit.</p>"
        )
    elif wrong.size:
        shown = wrong[np.argsort(-p[wrong].max(axis=1), kind="stable")][:MISREAD_DIGITS]
        digits = "".join(
            pictures.captioned(
                pictures.digit(mnist.X_test[k], f"a {true[k]} misread by {name}"),
                f"{true[k]} as {predicted[k]}, {100 * p[k].max():.0f}\u00a0%",
            )
            for k in shown
        )
        parts.append(
            f"<p>{len(wrong):,} of {len(p):,} test images were misread. These {len(shown)} got the "
            "highest probability for a wrong digit, which stands below each.</p>"
            f'<div class="digits">{digits}</div>'
        )
    return "\n".join(parts)


def _weights(lab_run: LabRun, files: Files) -> str:
    run, name = lab_run.run, lab_run.experiment.name
    weights = run.backend.to_numpy(run.network.layers[0].weights)
    picture = png_data(pictures.first_layer(weights), diverging_palette())
    files[f"{name}-weights.png"] = picture
    finite = weights[np.isfinite(weights)]
    largest = f"{np.abs(finite).max():.3g}" if finite.size else "not finite"
    return (
        f"<figure>{png_image(picture, f'first-layer weights of {name}', width=1048)}"
        f"{pictures.key()}"
        '<p class="cap">One image a unit, one pixel a weight, where the pixel is that it weighs. '
        "Each image is scaled to its own largest weight, which is as dark as the ends of the key; "
        f"the largest of all is {largest}.{_moved(run)} Where the images have no ink in training, "
        "as at the edges, weights stay as they were drawn.</p></figure>"
    )


def _moved(run: Run) -> str:
    """A sentence on how far the weights are from the first ones; "" where these were not kept."""
    if not run.snapshots or run.snapshots[0].epoch != AS_DRAWN:
        return ""
    first = run.snapshots[0].parameters[0][0].astype(float)
    now = np.asarray(run.backend.to_numpy(run.network.layers[0].weights), dtype=float)
    part = float(np.linalg.norm(now - first) / np.linalg.norm(first))
    if not np.isfinite(part):
        return ""
    much = f"{100 * part:.2g} % of" if part < 1 else f"{part:,.0f} times"
    return f" Since the beginning of the run they have changed by {much} their norm."


def _all_seeds(lab_runs: Sequence[LabRun]) -> str:
    rows = [
        (
            r.seed,
            f"{r.accuracy:.2f} %",
            {True: "yes", False: "NO", None: "not judged"}[r.verdict.in_band],
            r.verdict.what,
            ", ".join(dict.fromkeys(f.kind.replace("_", " ") for f in r.run.findings)),
        )
        for r in lab_runs
    ]
    header = ("seed", "test accuracy", "in band", "what happened", "findings")
    return f"<h3>All seeds</h3>{scrolling(table(header, rows))}"

"""What the report answers: the lab's three questions, and what its runs show beside each other.

Every number is measured in the runs at hand, or a setting of theirs; a sentence whose run is not
among them is left out.
"""

from collections.abc import Iterator, Sequence
from html import escape
from math import isfinite

import numpy as np

from arraymlp.app.lab.experiments import LAB, LabRun
from arraymlp.app.lab.method import BATCH
from arraymlp.app.lab.result import LabResult
from arraymlp.diagnosis.findings import Finding
from arraymlp.html.table import table

WELL = 0.05  # a test error below it is "well" here
LEARNED, FAILED = 90.0, 20.0  # per cent read right, above and below


def questions(result: LabResult) -> str:
    """The lab's three questions, answered in their order."""
    runs = _firsts(result)
    return f"""<h2 id="questions">The lab's three questions</h2>
<h3>1. What do the lines of the backward pass compute?</h3>
<p>Who is to blame, from the last layer to the first, and then how far to move each weight. The last
layer's delta is the probability given minus the one wanted. Each layer before gets the deltas of
the next one back through the same weights, times the slope of its own f: equation 3. From a layer's
inputs and deltas follows how the loss changes with each of its weights, and the weight moves
against that by &eta; times as much: equation 4. Nothing else is computed;
<a href="#method">above</a> each line stands with its formula, and <a href="#code">below</a> with
its code.</p>
<h3>2. What does the learning rate do?</h3>
{_paragraph(_of_rates(runs), "None of the sigmoid runs is among these.")}
<h3>3. What does ReLU change, and why does one of its runs never learn?</h3>
<p>ReLU's slope is 1 for every image at which the unit is on, where sigmoid's is at most 1/4. So
the slopes do not shrink the deltas on their way back. But where the unit is off the slope is
exactly 0: a unit that is off for <em>every</em> image has a delta of 0 always, none of its weights
moves, and it cannot come back by itself. Such a unit is called dead.</p>
{_paragraph(_of_relu(runs), "None of the ReLU runs is among these.")}"""


def conclusion(result: LabResult) -> str:
    """What the runs show beside each other, and the lab's own explanation beside what they do."""
    runs = _firsts(result)
    parts = [
        '<h2 id="conclusion">Conclusion: the runs beside each other</h2>',
        f'<div class="wide">{_beside(list(runs.values()))}</div>',
        '<p class="cap">"Off" are units whose slope is at most 0.001 for every training image at '
        "the end: dead with ReLU, saturated with sigmoid. The slopes' sizes are the norms of the "
        "weights' gradients in the last measured step.</p>",
    ]
    for heading, sentences in (
        ("The rate", _rate_conclusion(runs)),
        ("Sigmoid and ReLU", _function_conclusion(runs)),
        ("The lab's explanation, and what was measured", _explanation(runs)),
    ):
        said = " ".join(sentences)
        if said:
            parts.append(f"<h3>{escape(heading)}</h3><p>{said}</p>")
    return "\n".join(parts)


def _firsts(result: LabResult) -> dict[str, LabRun]:
    """The run of the first seed of each experiment, by its name."""
    return {name: result.of(name)[0] for name in result.names}


def _paragraph(sentences: Iterator[str], otherwise: str) -> str:
    return f"<p>{' '.join(sentences) or escape(otherwise)}</p>"


def _link(lab_run: LabRun) -> str:
    """The run's rate, as a link to its section."""
    return f'<a href="#{lab_run.experiment.name}">{lab_run.experiment.learning_rate:g}</a>'


def _finding(lab_run: LabRun, *kinds: str, all_units: bool = False) -> Finding | None:
    """The first finding of one of these kinds, of a layer with all units in it where asked for."""
    for finding in lab_run.run.findings:
        count = finding.figures.get("dead", finding.figures.get("saturated"))
        if finding.kind in kinds and (not all_units or count == finding.figures.get("units")):
            return finding
    return None


def well_from(lab_run: LabRun) -> int | None:
    """The first epoch after which the test error is below 5 %; None without one."""
    return next(
        (r["epoch"] for r in lab_run.run.history if r["validation_error"] < WELL),
        None,
    )


def _ended(lab_run: LabRun) -> str:
    """How good it was after how many epochs, in words."""
    epochs = len(lab_run.run.history)
    after = f"after {epochs} epochs" if epochs > 1 else "after one epoch"
    return f"{lab_run.accuracy:.2f} % of the test images were read right {after}"


def _of_rates(runs: dict[str, LabRun]) -> Iterator[str]:
    """What sigmoid runs at three rates did."""
    learned = [runs[name] for name in ("sigmoid-0.05", "sigmoid-0.005") if name in runs]
    for lab_run in learned:
        well = well_from(lab_run)
        soon = f"; fewer than 5 % were wrong first after epoch {well}" if well is not None else ""
        yield f"With sigmoid and &eta; = {_link(lab_run)}, {_ended(lab_run)}{soon}."
    if "sigmoid-0.5" not in runs:
        return
    lab_run = runs["sigmoid-0.5"]
    rate = lab_run.experiment.learning_rate
    yield (
        f"At {_link(lab_run)}, for the mean gradient of {BATCH} images a rate of {rate * BATCH:g}, "
        "it began with what the run at 0.005 had learned, and "
        f"{_ended(lab_run)}."
    )
    if (exploded := _finding(lab_run, "exploding_gradients")) is not None:
        f = exploded.figures
        yield (
            f"Step {f['step_then']:,} alone changed the weights of layer {f['layer_number']} by "
            f"{f['update']:.3g}, and left them at {f['weights']:.3g} (norms)."
        )
    if (off := _finding(lab_run, "saturated_units", all_units=True)) is not None:
        f = off.figures
        since = f.get("step_nine_tenths_saturated", f.get("step_saturated"))
        when = "" if since is None else f" from step {since:,} on"
        yield (
            f"Sums are then so far from 0 that sigmoid is flat there:{when} hardly a "
            f"unit of hidden layer {f['layer_number']} has a slope above 0.001 for any image, so "
            "that almost nothing is passed back. That is saturation."
        )


def _of_relu(runs: dict[str, LabRun]) -> Iterator[str]:
    """What the ReLU runs did."""
    dead, slow = runs.get("relu-0.05"), runs.get("relu-0.005")
    if dead is not None:
        finding = _finding(dead, "dead_units", all_units=True)
        if finding is None:
            yield f"At {_link(dead)}, {_ended(dead)}."
        else:
            f = finding.figures
            since = f.get("step_dead", f.get("step_first"))
            yield (
                f"At {_link(dead)} all {f['units']} units of hidden layer {f['layer_number']} were "
                f"dead from step {since:,} on."
            )
            if "step_gradients_zero" in f:
                yield (
                    f"From step {f['step_gradients_zero']:,} on the slope of the loss along every "
                    "weight of the network was exactly 0. Only the ten output biases still moved, "
                    "and they do not see the image: so the answer is one class for all."
                )
    if slow is not None:
        verdict = slow.verdict
        if verdict.escape_epoch is not None:
            yield (
                f"At {_link(slow)} it went the same way, more slowly: one class for all images "
                f"until epoch {verdict.escape_epoch}. The few units that were left trained "
                f"themselves and the layer before, until the others woke; {_ended(slow)}."
            )
        elif slow.constant_classes[-1] is not None:
            yield f"At {_link(slow)} it was stuck at one class to the end: {_ended(slow)}."
        else:
            yield f"At {_link(slow)}, {_ended(slow)}."


def _beside(runs: Sequence[LabRun]) -> str:
    """A table of all runs with what was measured in each."""
    header = (
        "run",
        "test accuracy",
        "training error at the end",
        "below 5 % wrong from epoch",
        "units off, by layer",
        "size of the slopes, by layer",
        "first finding",
    )
    rows = []
    for lab_run in runs:
        run, well = lab_run.run, well_from(lab_run)
        last = run.measurements[-1] if run.measurements else None
        rows.append(
            (
                lab_run.experiment.name,
                f"{lab_run.accuracy:.2f} %",
                f"{100 * run.history[-1]['training_error']:.2f} %",
                "never" if well is None else well,
                ", ".join(f"{n:g}" for n in run.dead_units),
                "" if last is None else ", ".join(f"{g:.2g}" for g in last.gradient_norm),
                next((f.kind.replace("_", " ") for f in run.findings), ""),
            )
        )
    return table(header, rows, numeric=(1, 2, 3))


def _rate_conclusion(runs: dict[str, LabRun]) -> Iterator[str]:
    for function, names in (
        ("sigmoid", ("sigmoid-0.005", "sigmoid-0.05", "sigmoid-0.5")),
        ("ReLU", ("relu-0.005", "relu-0.05")),
    ):
        given = [runs[name] for name in names if name in runs]
        if len(given) < 2:
            continue
        said = ", ".join(f"{_link(r)}: {r.accuracy:.2f} %" for r in given)
        yield f"With {function} the rates end so: {said}."
        good = [r.experiment.learning_rate for r in given if r.accuracy > LEARNED]
        bad = [r.experiment.learning_rate for r in given if r.accuracy < FAILED]
        if good and bad and max(good) < min(bad):
            yield (
                f"So somewhere between {max(good):g} and {min(bad):g} begins what is too high for "
                "this network and this start."
            )
    low, high = runs.get("sigmoid-0.005"), runs.get("sigmoid-0.05")
    if low is not None and high is not None:
        yield from _two_rates(low, high)
    over = [runs[n] for n in ("sigmoid-0.5", "relu-0.05") if n in runs]
    if over and all(any(r.run.dead_units) and r.accuracy < FAILED for r in over):
        yield (
            "Too high a rate ends learning not by large steps as such, but by where they lead: "
            "within some steps most units of a layer are where their slope is 0, or next to it, "
            "and then nothing reaches the layers before that could bring them back."
        )


def _two_rates(low: LabRun, high: LabRun) -> Iterator[str]:
    """Two rates at which sigmoid learns: which is sooner there, and which overfits more."""
    soon = [well_from(r) for r in (low, high)]
    if soon[0] is not None and soon[1] is not None:
        order = "sooner" if soon[1] < soon[0] else "later" if soon[1] > soon[0] else "as soon"
        yield (
            f"Both sigmoid runs that learn end within {abs(low.accuracy - high.accuracy):.2f} "
            f"percentage points; the ten times higher rate came below 5 % wrong {order} (epoch "
            f"{soon[1]}, and {soon[0]} at the lower one)."
        )
    rises = [
        r.run.history[-1]["validation_loss"] / min(r.run.history["validation_loss"])
        for r in (low, high)
    ]
    if min(rises) > 1.01:
        yield (
            f"Its test loss ended {100 * (rises[1] - 1):.0f} % above its lowest, that of the lower "
            f"rate {100 * (rises[0] - 1):.0f} %: both went on to learn the training images by "
            "heart when there was no more to learn for others."
        )


def _function_conclusion(runs: dict[str, LabRun]) -> Iterator[str]:
    sigmoid, relu = runs.get("sigmoid-0.005"), runs.get("relu-0.005")
    if sigmoid is None or relu is None:
        return
    yield (
        f"At 0.005, the one rate of both, sigmoid ended at {sigmoid.accuracy:.2f} % and ReLU at "
        f"{relu.accuracy:.2f} %."
    )
    first = sigmoid.run.measurements[:1], relu.run.measurements[:1]
    if first[0] and first[1]:
        passed = [float(np.divide(m.bias_gradient[0], m.bias_gradient[-1])) for (m,) in first]
        if all(map(isfinite, passed)):
            yield (
                "In the first step the deltas of hidden layer 1 were "
                f"{passed[0]:.1g} times those of the output layer with sigmoid, and "
                f"{passed[1]:.1g} times with ReLU (norms of dL/db): so small a start passes hardly "
                "anything back, with either."
            )
    soon = [(name, well_from(r)) for name, r in (("Sigmoid", sigmoid), ("ReLU", relu))]
    reached = [f"{name} in epoch {epoch}" for name, epoch in soon if epoch is not None]
    if len(reached) == 2:
        yield f"Fewer than 5 % wrong had {reached[0]}, and {reached[1]}."
    if first[1]:
        (m,), widths = first[1], [layer.n_out for layer in relu.run.network.layers]
        on = round(np.asarray(m.active_units[-1]).item() * widths[-2])
        yield (
            f"In the start the sums are all next to 0, where sigmoid has its greatest slope; of "
            f"ReLU's {widths[-2]} units of the last hidden layer {on} were on for any image after "
            "the first step, by the sign of their bias. Once its units are on, ReLU passes the "
            "deltas back undiminished."
        )
    yield (
        f"The start is the lab's own, <code>{LAB['initializer'].name}</code>; one that fits the "
        "layers' widths (He et al. 2015) lets units see the image from the first step."
    )


def _explanation(runs: dict[str, LabRun]) -> Iterator[str]:
    dead = runs.get("relu-0.05")
    if dead is None:
        return
    yield (
        "The lab explained the dead run, ReLU at 0.05, by &ldquo;bouncing around the "
        "minima&rdquo;: steps too large to settle in a valley of the loss."
    )
    finding = _finding(dead, "dead_units", all_units=True)
    errors = {record["validation_error"] for record in dead.run.history}
    if finding is not None and "step_gradients_zero" in finding.figures:
        f = finding.figures
        total = dead.run.history[-1]["step"]
        yield (
            f"What was measured is another thing. From step {f['step_gradients_zero']:,} of "
            f"{total:,} on no weight moved at all, because the slope of the loss along each was "
            "exactly 0: not a valley that is leapt over, but a plain without any slope."
        )
    if len(errors) == 1 and len(dead.run.history) > 1:
        yield (
            f"After each of the {len(dead.run.history)} epochs the test error was the same, "
            f"{100 * errors.pop():.2f} %. What bounces is ten biases, which follow the last "
            "minibatches of the file."
        )
    slow = runs.get("relu-0.005")
    if slow is not None and slow.verdict.escape_epoch is not None:
        yield (
            f"The run at 0.005 supports that: it stood on the same plain for "
            f"{slow.verdict.escape_epoch} epochs at a tenth of the rate, where steps are small, "
            "and left it since some units were still on."
        )

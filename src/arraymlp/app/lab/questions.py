"""What the report answers: the lab's three questions, and what its runs show beside each other.

Every number is measured in the runs at hand, or a setting of theirs; a sentence whose run is not
among them is left out.
"""

import re
from collections.abc import Iterator, Sequence
from html import escape
from itertools import pairwise
from math import isfinite

import numpy as np

from arraymlp.app.lab.experiments import LAB, LabRun
from arraymlp.app.lab.method import BATCH, ROWS, backward_table
from arraymlp.app.lab.result import LabResult
from arraymlp.diagnosis.findings import Figures, Finding
from arraymlp.html.table import scrolling, table

WELL = 0.05  # a test error below it is "well" here
LEARNED, FAILED = 90.0, 20.0  # per cent read right, above and below


def questions(result: LabResult) -> str:
    """The lab's three questions, answered in their order."""
    runs = _firsts(result)
    return f"""<h2 id="questions">The lab's three questions</h2>
<h3>1. What do the lines of the backward pass compute?</h3>
<p>Who is to blame, from the last layer to the first, and then how far to move each weight:</p>
{scrolling(backward_table())}
<p>That is the whole backward pass. <a href="#method">Above</a> each line stands with its formula,
and in the <a href="#code">appendix</a> with its code.</p>
<h3>2. What does the learning rate do?</h3>
<p>It decides how far each step goes.</p>
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
        scrolling(_beside(list(runs.values()))),
        '<p class="cap">"Off" are units whose slope is at most 0.001 for every training image at '
        "the end: dead with ReLU, saturated with sigmoid. The gradients' sizes are the norms of "
        "those of the weights, in the last measured step.</p>",
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
    if learned:
        yield "(Epochs are counted from 0: after epoch 3 four passes are done.)"
    if "sigmoid-0.5" not in runs:
        return
    lab_run = runs["sigmoid-0.5"]
    rate = lab_run.experiment.learning_rate
    yield (
        f"At {_link(lab_run)}, for the mean gradient of {BATCH} images a rate of {rate * BATCH:g}, "
        f"it began with what the run at 0.005 had learned, and lost it: {_ended(lab_run)}."
    )
    yield from _burst(lab_run)
    if (off := _finding(lab_run, "saturated_units", all_units=True)) is not None:
        yield (
            f"Sums so far from 0 are where sigmoid is flat: at the end no unit of hidden layer "
            f"{off.figures['layer_number']} has a slope above 0.001 for any image, so that almost "
            "nothing is passed back. That is saturation."
        )


def _burst(lab_run: LabRun) -> Iterator[str]:
    """The first probed step that changed some layer's weights by more than twice their norm."""
    probes = lab_run.run.measurements
    for before, m in pairwise(probes):
        norms = [float(np.asarray(n)) for n in before.weight_norm]
        moved = [float(np.asarray(u)) for u in m.update_norm]
        times = [u / n if n else 0.0 for u, n in zip(moved, norms, strict=True)]
        if m.step != before.step + 1 or max(times) < 2:
            continue
        i = times.index(max(times))
        yield (
            f"Step {m.step:,} changed the weights of layer {i + 1} by {moved[i]:.3g}, where they "
            f"had a norm of {norms[i]:.3g}."
        )
        after = [p for p in probes if m.step <= p.step <= m.step + 3]
        active = ", ".join(
            f"{100 * float(np.asarray(p.active_units[-1])):.0f} % after step {p.step:,}"
            for p in after
        )
        yield (
            f"Of the units of hidden layer {len(m.active_units)}, on 1,000 training images, "
            f"{active} were active."
        )
        return


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
            yield from _why_off(f)
            if "step_gradients_zero" in f:
                yield (
                    f"At each measured step from {f['step_gradients_zero']:,} on the slope of the "
                    "loss along every weight of the network was exactly 0. Only the ten output "
                    "biases still moved, and they do not see the image: so the answer is one class "
                    "for all."
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


def _why_off(figures: Figures) -> Iterator[str]:
    """Why the units of a layer went off together, where that was measured."""
    if "bias_update_over_spread" in figures:
        yield (
            "Why? So small a start gives a unit almost the same sum for every image: the layer's "
            f"outputs differed by {figures['spread_first']:.1e} from image to image, and step 1 "
            f"moved its biases by {figures['bias_update_first']:.1e}, "
            f"{figures['bias_update_over_spread']:,.0f} times as much. A bias that falls below 0 "
            "then turns its unit off for nearly all images at once."
        )


def _beside(runs: Sequence[LabRun]) -> str:
    """A table of all runs with what was measured in each."""
    header = (
        "run",
        "test accuracy",
        "training error at the end",
        "below 5 % wrong from epoch",
        "units off, hidden layers 1, 2",
        "size of the gradients, layers 1, 2, 3",
        "outcome",
    )
    rows = []
    for lab_run in runs:
        run, well = lab_run.run, well_from(lab_run)
        last = run.measurements[-1] if run.measurements else None
        rows.append(
            (
                lab_run.experiment.name,
                f"{lab_run.accuracy:.2f} %",
                _share(run.history[-1]["training_error"]),
                "never" if well is None else well,
                ", ".join(f"{n:g}" for n in run.dead_units),
                "" if last is None else ", ".join(f"{g:.2g}" for g in last.gradient_norm),
                _outcome(lab_run),
            )
        )
    return table(header, rows, numeric=(1, 2, 3))


def _outcome(lab_run: LabRun) -> str:
    """What happened, without what was published and the figures."""
    return re.sub(r" \(published[^)]*\)", "", lab_run.verdict.what).partition(":")[0]


def _share(error: float) -> str:
    """A share of the training images: as a number of them where it is small."""
    wrong = round(error * ROWS)
    return f"{100 * error:.2f} %" if wrong == 0 or wrong > ROWS / 1000 else f"{wrong} of {ROWS:,}"


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
            "In the runs that failed here it was not large steps as such that ended learning, but "
            "where they led: within some steps most units of a layer were where their slope is 0, "
            "or next to it, and nothing, or almost nothing, reached the layers before."
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
    for lab_run in (high, low):
        yield from _overfitted(lab_run)


def _overfitted(lab_run: LabRun) -> Iterator[str]:
    """How the test loss rose while the error fell, where it did."""
    f = next((f.figures for f in lab_run.run.findings if f.kind == "overfitting"), None)
    if f is None or f.get("validation_error_last", 1) > f.get("validation_error_then", 0):
        return
    yield (
        f"At {_link(lab_run)} the test loss rose after epoch {f['epoch_least']}, from "
        f"{f['validation_loss_least']:.3f} to {f['validation_loss_last']:.3f}, while the test "
        f"error went on from {100 * f['validation_error_then']:.2f} to "
        f"{100 * f['validation_error_last']:.2f} %: fewer images are misread, but with more "
        "certainty, which costs more."
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
    soon = [(name, well_from(r)) for name, r in (("sigmoid", sigmoid), ("ReLU", relu))]
    reached = [f"{name} in epoch {epoch}" for name, epoch in soon if epoch is not None]
    if len(reached) == 2:
        yield f"Below 5 % wrong came {reached[0]}, and {reached[1]}."
    if first[1]:
        (m,), widths = first[1], [layer.n_out for layer in relu.run.network.layers]
        on = round(np.asarray(m.active_units[-1]).item() * widths[-2])
        yield (
            f"In the start the sums are all next to 0, where sigmoid has its greatest slope; of "
            f"ReLU's {widths[-2]} units of the last hidden layer {on} were on for at least one "
            "image after the first step. ReLU's slope does not shrink the deltas of units that are "
            "on (the weights still may)."
        )
    yield (
        f"The start is the lab's own, <code>{LAB['initializer'].name}</code>; one that fits the "
        "layers' widths (He et al. 2015) is meant to avoid this, and was not tried here."
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
            f"What was measured is another thing. At each measured step from "
            f"{f['step_gradients_zero']:,} of {total:,} on the slope of the loss along every "
            "weight was exactly 0, and no weight moved: not a valley that is leapt over, but a "
            "plain without any slope."
        )
    if len(errors) == 1 and len(dead.run.history) > 1:
        yield (
            f"After each of the {len(dead.run.history)} epochs the test error was the same, "
            f"{100 * errors.pop():.2f} %.{_bounces(dead)}"
        )
    slow = runs.get("relu-0.005")
    if slow is not None and slow.verdict.escape_epoch is not None:
        yield from _plain(slow)


def _bounces(dead: LabRun) -> str:
    """What the network answers at the measured steps after its death; "" where it is one class."""
    zero = next(
        f.figures["step_gradients_zero"]
        for f in dead.run.findings
        if "step_gradients_zero" in f.figures
    )
    answers = [
        int(np.argmax(np.asarray(m.predicted)))
        for m in dead.run.measurements
        if m.predicted is not None and zero <= m.step < zero + 8
    ]
    if len(set(answers)) < 2:
        return ""
    return (
        " What bounces is ten biases, which follow the minibatches: at the measured steps from "
        f"{zero:,} on the one answer was {', '.join(map(str, answers))}; each epoch ends with the "
        "same minibatches."
    )


def _plain(slow: LabRun) -> Iterator[str]:
    """What the run that came back says of that, from its plateau's figures."""
    f = next((f.figures for f in slow.run.findings if f.kind == "plateau"), {})
    if "active_least" not in f or "gradient_least" not in f:
        return
    yield (
        f"The run at 0.005 was nearly as flat until epoch {slow.verdict.escape_epoch}, but not "
        f"quite: at the fewest {f['active_least']} of {f['units']} units were active, and the "
        f"gradient of the first layer's weights was {f['gradient_least']:.1e} at its smallest, not "
        "0. It grew from there. This fits the explanation; one run does not prove it."
    )

"""Rules about settings: learning rate, dropout, decay, class weights.

No run can prove that another setting would do better. So each rule asks for two things, both
measured: that the run did badly, and that the setting shows in it. The thresholds were chosen on
small runs of several problems, with settings from far too low to far too high, to be silent on good
ones.
"""

from collections.abc import Iterator
from itertools import pairwise
from math import isfinite

from arraymlp.diagnosis.findings import Figures, Finding
from arraymlp.diagnosis.model_checks import ENOUGH_ROWS
from arraymlp.diagnosis.run_columns import DIVERGED, FEWEST_EPOCHS, RunColumns

# Losses and changes of losses, as multiples of the baseline loss:
ROSE = 0.05  # a rise that counts
GAINED = 0.02  # by which weights a tenth larger lower it
MASKED = 0.2  # which dropout's masks add
POOR = 0.25
FAR = 0.5  # above it, less than half of the way is done
STUCK = 0.97
# Other fractions:
ROSE_BY = 0.1  # a rise that counts, relative to the loss
OFTEN = 0.25  # of the epochs
PACE = 1 / 3  # the fall of the loss in the last third of the epochs over that in the first
STRONG = 0.5  # of the units dropped
SHRUNK = 0.5  # of the norm that some layer's weights were drawn with
COLLAPSED = 0.2  # of the norm that every layer's weights were drawn with
RARE = 0.2  # of the most frequent class's rows
MISSED = 0.2  # of a class's rows recalled

DECAYS = ("weight_decay", "l2", "alpha")
FEWEST_STEPS = 100  # fewer are too few at any rate


def _loss_curve(run: RunColumns) -> list[float] | None:
    """The loss on the training rows, epoch by epoch, without the noise of dropout's masks."""
    loss = run.measured("training_loss" if run.dropout else "loss")
    return None if loss is None or len(loss) < FEWEST_EPOCHS or not run.guess > 0 else loss


def rate_too_high(run: RunColumns) -> Iterator[Finding]:
    """Find a loss that bounces, ends above its start, or shot up and never beat guessing."""
    loss = _loss_curve(run)
    if loss is None or loss[-1] > run.diverged:
        return
    figures: Figures = {
        "batch_size": run.settings.batch_size,
        "loss_last": loss[-1],
        "guess": run.guess,
    }
    evidence = (
        _bounced(run, loss, figures)
        or _ended_above_start(run, loss, figures)
        or _shot_up(run, loss, figures)
    )
    if evidence is None:
        return
    template, position = evidence
    figures |= {
        "learning_rate": run.columns["learning_rate"][position],
        "epoch": run.epochs[position],
    }
    template += (
        f" It is {{loss_last:.4g}} at the end, where {run.guessing} costs {{guess:.4g}}. The"
        " learning rate was {learning_rate:.3g} in epoch {epoch}, with minibatches of {batch_size}."
    )
    yield run.finding("learning_rate_too_high", template, figures)


def _rose(run: RunColumns, before: float, after: float) -> bool:
    return after - before > max(ROSE_BY * before, ROSE * run.guess)


def _bounced(run: RunColumns, loss: list[float], figures: Figures) -> tuple[str, int] | None:
    """A sentence where the loss rose often in the second half, and the position of the worst."""
    half = range(len(loss) // 2, len(loss))
    rises = [i for i in half if _rose(run, loss[i - 1], loss[i])]
    if len(rises) < max(2, OFTEN * len(half)):
        return None
    worst = max(rises, key=lambda i: loss[i] - loss[i - 1])
    figures |= {
        "epochs": len(half),
        "rises": len(rises),
        "epoch_worst": run.epochs[worst],
        "loss_before": loss[worst - 1],
        "loss_worst": loss[worst],
    }
    template = (
        "The training loss did not settle: in {rises} of the last {epochs} epochs it rose by more"
        " than a tenth, the most in epoch {epoch_worst}, from {loss_before:.4g} to"
        " {loss_worst:.4g}."
    )
    return template, worst


def _ended_above_start(
    run: RunColumns, loss: list[float], figures: Figures
) -> tuple[str, int] | None:
    """A sentence where the loss ended above its start, and the last position."""
    if not _rose(run, loss[0], loss[-1]):
        return None
    figures["loss_first"] = loss[0]
    template = "The training loss ended above its start, which was {loss_first:.4g}."
    return template, len(loss) - 1


def _shot_up(run: RunColumns, loss: list[float], figures: Figures) -> tuple[str, int] | None:
    """Sentences where the loss went up at first and never beat guessing since, and position 0."""
    probes = [i for i, epoch in enumerate(run.step_epochs) if epoch == run.epochs[0]]
    highest = max([loss[0], *(run.loss[i] for i in probes if isfinite(run.loss[i]))])
    least = min(loss[1:])
    # A loss that came from far and is still falling did not go up.
    restless = sum(b > a for a, b in pairwise(loss[1:])) >= OFTEN * (len(loss) - 1)
    went_up = restless or highest > DIVERGED * run.first_loss
    if not (highest > DIVERGED * run.guess and least > run.no_better and went_up):
        return None
    figures |= {"epoch_first": run.epochs[0], "loss_highest": highest, "loss_least": least}
    template = (
        "The training loss went up to {loss_highest:.4g} in epoch {epoch_first} and was"
        " {loss_least:.4g} at its lowest since."
    )
    return template + _largest_update(run, probes, figures), 0


def _largest_update(run: RunColumns, probes: list[int], figures: Figures) -> str:
    """A sentence about the probed step with the largest relative change of a layer's weights."""
    update, weights = run.series["update_norm"], run.series["weight_norm"]
    at = [(i, j) for i in probes for j in range(run.n_layers) if weights[i][j] > 0]
    if not at:
        return ""
    i, j = max(at, key=lambda ij: update[ij[0]][ij[1]] / weights[ij[0]][ij[1]])
    figures.update(
        step=run.steps[i], layer_number=j + 1, update=update[i][j], weights=weights[i][j]
    )
    return (
        " In step {step:,} the weights of layer {layer_number} changed by {update:.3g}, and were of"
        " norm {weights:.3g} after it."
    )


def rate_too_low(run: RunColumns) -> Iterator[Finding]:
    """Find a loss that fell in every epoch, hardly more slowly at the end, and is still high."""
    loss, validation = _loss_curve(run), run.measured("validation_loss")
    steps, rate = run.columns["step"], run.columns["learning_rate"]
    if loss is None or steps[-1] - steps[0] < FEWEST_STEPS or rate[-1] > rate[0]:
        return
    third = (len(loss) - 1) // 3
    early, late = loss[0] - loss[third], loss[-1 - third] - loss[-1]
    if any(b >= a for a, b in pairwise(loss)) or late < PACE * early or loss[-1] < FAR * run.guess:
        return
    if validation is not None and validation[-1] > min(validation):
        return
    figures = {
        "epochs": len(loss),
        "steps": steps[-1] - run.steps_before,
        "loss_first": loss[0],
        "loss_last": loss[-1],
        "epochs_compared": third,
        "fell_early": early,
        "fell_late": late,
        "learning_rate": rate[-1],
        "guess": run.guess,
    }
    template = (
        "The training loss fell in each of {epochs} epochs, from {loss_first:.4g} to"
        " {loss_last:.4g}: by {fell_early:.3g} in {epochs_compared} at the start and by"
        f" {{fell_late:.3g}} in the last {{epochs_compared}}, where {run.guessing} costs"
        " {guess:.4g}. The learning rate was {learning_rate:.3g}, {steps:,} steps were made."
    )
    yield run.finding("learning_rate_too_low", template, figures)


def dropout_too_strong(run: RunColumns) -> Iterator[Finding]:
    """Find a loss that is poor without dropout's masks, and far worse with them, or both stuck."""
    masked, without = run.final("loss"), run.final("training_loss", "validation_loss")
    if not run.dropout > STRONG or masked is None or without is None:
        return
    far_worse = masked - without > MASKED * run.guess
    stuck = min(masked, without) > STUCK * run.guess
    if not 0 < POOR * run.guess < without <= run.diverged or not (far_worse or stuck):
        return
    figures = {
        "epoch": run.epochs[run.kept],
        "dropout_hidden": run.member_value(run.settings.dropout.hidden),
        "dropout_input": run.member_value(run.settings.dropout.input),
        "loss_masked": masked,
        "loss_without": without,
        "guess": run.guess,
    }
    which = "training" if run.final("training_loss") is not None else "validation"
    template = (
        "With dropout ({dropout_hidden:.3g} of the hidden units, {dropout_input:.3g} of the"
        " features) the loss was {loss_masked:.4g} in the course of epoch {epoch}, and after it,"
        f" without dropout, the {which} loss was {{loss_without:.4g}}; {run.guessing} costs"
        " {guess:.4g}."
    )
    yield run.finding("dropout_too_strong", template, figures)


def decay_too_strong(run: RunColumns) -> Iterator[Finding]:
    """Find a poor loss with weights that shrank to nothing, or so far that larger are better."""
    decay, l2, alpha = (
        run.member_value(getattr(run.settings, name)) for name in ("decay", "l2", "alpha")
    )
    final = run.final("validation_loss", "training_loss", "loss")
    if not (decay or l2 or alpha) or final is None:
        return
    if not 0 < POOR * run.guess < final <= run.diverged:
        return
    norms = [
        (run.member_value(drawn), run.member_value(now)) for drawn, now in run.checks.weight_norms
    ]
    kept = [now / drawn if drawn else 1.0 for drawn, now in norms]
    if not kept or min(kept) > SHRUNK:
        return
    loss, larger = map(run.member_value, run.checks.losses_if_larger)
    collapsed = loss > run.no_better and max(kept) < COLLAPSED
    if not collapsed and not loss - larger > GAINED * run.guess:
        return
    layer = kept.index(min(kept))
    figures = {
        "weight_decay": decay,
        "l2": l2,
        "alpha": alpha,
        "layer_number": layer + 1,
        "norm_drawn": norms[layer][0],
        "norm_last": norms[layer][1],
        "kept_most": max(kept),
        "loss": loss,
        "guess": run.guess,
    }
    decays = [f"{name} {{{name}:.3g}}" for name in DECAYS if figures[name]]
    template = (
        f"With {' and '.join(decays)} the weights of layer {{layer_number}} went from a norm of"
        " {norm_drawn:.3g}, as drawn, to {norm_last:.3g}"
    )
    if collapsed:
        template += ", and no layer has kept more than {kept_most:.2%} of its own"
    template += f". The {run.checks.part} loss is {{loss:.4g}}"
    if not collapsed:
        figures["loss_if_larger"] = larger
        template += ", and would be {loss_if_larger:.4g} with all weights a tenth larger"
    template += f"; {run.guessing} costs {{guess:.4g}}."
    yield run.finding("decay_too_strong", template, figures, layer=layer)


def class_imbalance(run: RunColumns) -> Iterator[Finding]:
    """Find rare classes of small weight in the loss, of which hardly a row is recalled."""
    if run.classes is None or run.final("loss") is None:
        return
    shares = run.member_value(run.checks.frequencies)
    most = max(range(len(shares)), key=shares.__getitem__)
    rare = [j for j, share in enumerate(shares) if 0 < share <= RARE * shares[most]]
    if not rare:
        return
    part, rows, by_member = run.checks.recalls
    recalled = run.member_value(by_member)
    missed = [j for j in rare if rows[j] >= ENOUGH_ROWS and recalled[j] <= MISSED * rows[j]]
    if not missed:
        return
    least = min(missed, key=shares.__getitem__)
    figures = {
        "rare": run.classes[least],
        "frequent": run.classes[most],
        "share_rare": shares[least],
        "share_frequent": shares[most],
        "rows": int(rows[least]),
        "found": int(recalled[least]),
        "accuracy": sum(recalled) / sum(rows),
        "others": [run.classes[j] for j in missed if j != least],
    }
    counted = "counted by their weights" if run.checks.weighted else "which all count alike"
    template = (
        "Class {rare} has {share_rare:.2%} and class {frequent} {share_frequent:.2%} of the"
        f" training rows, {counted}. Of the {{rows:,}} {part} rows of class {{rare}},"
        f" {{found:,}} were given their class, while {{accuracy:.2%}} of all {part} rows were read"
        " right."
    )
    if figures["others"]:
        figures["n_others"] = len(missed) - 1
        template += " Of {n_others} more rare classes, too, at most a fifth was found."
    yield run.finding("class_imbalance", template, figures)

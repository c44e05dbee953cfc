"""Settings that a run's figures speak against: learning rate, dropout, decay, class weights.

No run can prove that another setting would do better. So each search here asks for two things, both
in figures: that the run did badly, and how the setting shows in it. The thresholds were chosen on
small runs of several problems, with settings from far too low to far too high, to be silent on good
ones.
"""

from collections.abc import Iterator
from itertools import pairwise
from math import isfinite
from typing import Any

from arraymlp.diagnosis.findings import Finding
from arraymlp.diagnosis.model_checks import ENOUGH_ROWS
from arraymlp.diagnosis.run_columns import DIVERGED, FEWEST_EPOCHS, RunColumns

# Losses and changes of losses, over what guessing costs:
ROSE = 0.05  # a rise that counts
GAINED = 0.02  # what weights a tenth larger take off
MASKED = 0.2  # what dropout's masks add
POOR = 0.25
FAR = 0.5  # not half of the way
STUCK = 0.97
# Other parts:
ROSE_BY = 0.1  # a rise that counts, of the loss
OFTEN = 0.25  # of the epochs
PACE = 1 / 3  # what the loss fell by in the last third of the epochs, of that in the first
STRONG = 0.5  # of the units dropped
SHRUNK = 0.5  # of the norm that some layer's weights were drawn with
COLLAPSED = 0.2  # of the norm that every layer's weights were drawn with
RARE = 0.2  # of the most frequent class's rows
MISSED = 0.2  # of a class's rows found

DECAYS = ("weight_decay", "l2", "alpha")
FEWEST_STEPS = 100  # fewer are too few at any rate


def _row_plan(m: RunColumns) -> list[float] | None:
    """The loss on the training rows, epoch by epoch, without the unrest of dropout's masks."""
    loss = m.measured("training_loss" if m.dropout else "loss")
    return None if loss is None or len(loss) < FEWEST_EPOCHS or not m.guess > 0 else loss


def rate_too_high(m: RunColumns) -> Iterator[Finding]:
    """A loss that bounces, that ends above its start, or that shot up and never beat guessing."""
    loss = _row_plan(m)
    if loss is None or loss[-1] > m.diverged:
        return
    figures: dict[str, Any] = {
        "batch_size": m.settings.batch_size,
        "loss_last": loss[-1],
        "guess": m.guess,
    }

    def rose(i: int, j: int) -> bool:
        return loss[j] - loss[i] > max(ROSE_BY * loss[i], ROSE * m.guess)

    half = range(len(loss) // 2, len(loss))
    rises = [i for i in half if rose(i - 1, i)]
    probes = [i for i, epoch in enumerate(m.step_epochs) if epoch == m.epochs[0]]
    highest = max([loss[0], *(m.loss[i] for i in probes if isfinite(m.loss[i]))])
    least = min(loss[1:])
    # A loss that came from far and is still falling did not go up.
    restless = sum(b > a for a, b in pairwise(loss[1:])) >= OFTEN * (len(loss) - 1)
    went_up = restless or highest > DIVERGED * m.first_loss
    if len(rises) >= max(2, OFTEN * len(half)):
        at = worst = max(rises, key=lambda i: loss[i] - loss[i - 1])
        figures |= {
            "epochs": len(half),
            "rises": len(rises),
            "epoch_worst": m.epochs[worst],
            "loss_before": loss[worst - 1],
            "loss_worst": loss[worst],
        }
        template = (
            "The training loss did not settle: in {rises} of the last {epochs} epochs it rose by"
            " more than a tenth, the most in epoch {epoch_worst}, from {loss_before:.4g} to"
            " {loss_worst:.4g}."
        )
    elif rose(0, -1):
        at, figures["loss_first"] = len(loss) - 1, loss[0]
        template = "The training loss ended above its start, which was {loss_first:.4g}."
    elif highest > DIVERGED * m.guess and least > m.no_better and went_up:
        at = 0
        figures |= {"epoch_first": m.epochs[0], "loss_highest": highest, "loss_least": least}
        template = (
            "The training loss went up to {loss_highest:.4g} in epoch {epoch_first} and was"
            " {loss_least:.4g} at its lowest since."
        )
        template += _largest_update(m, probes, figures)
    else:
        return
    figures |= {"learning_rate": m.columns["learning_rate"][at], "epoch": m.epochs[at]}
    template += (
        f" It is {{loss_last:.4g}} at the end, where {m.guessing} costs {{guess:.4g}}. The learning"
        " rate was {learning_rate:.3g} in epoch {epoch}, with minibatches of {batch_size}."
    )
    yield m.finding("learning_rate_too_high", template, figures)


def _largest_update(m: RunColumns, probes: list[int], figures: dict[str, Any]) -> str:
    """Of the probed steps, the one that changed a layer's weights the most for what they were."""
    update, weights = m.series["update_norm"], m.series["weight_norm"]
    at = [(i, j) for i in probes for j in range(m.n_layers) if weights[i][j] > 0]
    if not at:
        return ""
    i, j = max(at, key=lambda ij: update[ij[0]][ij[1]] / weights[ij[0]][ij[1]])
    figures.update(step=m.steps[i], layer_number=j + 1, update=update[i][j], weights=weights[i][j])
    return (
        " In step {step:,} the weights of layer {layer_number} changed by {update:.3g}, and were of"
        " norm {weights:.3g} after it."
    )


def rate_too_low(m: RunColumns) -> Iterator[Finding]:
    """A loss that fell in every epoch, hardly more slowly at the end, and is still high."""
    loss, validation = _row_plan(m), m.measured("validation_loss")
    steps, rate = m.columns["step"], m.columns["learning_rate"]
    if loss is None or steps[-1] - steps[0] < FEWEST_STEPS or rate[-1] > rate[0]:
        return
    third = (len(loss) - 1) // 3
    early, late = loss[0] - loss[third], loss[-1 - third] - loss[-1]
    if any(b >= a for a, b in pairwise(loss)) or late < PACE * early or loss[-1] < FAR * m.guess:
        return
    if validation is not None and validation[-1] > min(validation):
        return
    figures = {
        "epochs": len(loss),
        "steps": steps[-1] - m.steps_before,
        "loss_first": loss[0],
        "loss_last": loss[-1],
        "epochs_compared": third,
        "fell_early": early,
        "fell_late": late,
        "learning_rate": rate[-1],
        "guess": m.guess,
    }
    template = (
        "The training loss fell in each of {epochs} epochs, from {loss_first:.4g} to"
        " {loss_last:.4g}: by {fell_early:.3g} in {epochs_compared} at the start and by"
        f" {{fell_late:.3g}} in the last {{epochs_compared}}, where {m.guessing} costs"
        " {guess:.4g}. The learning rate was {learning_rate:.3g}, {steps:,} steps were made."
    )
    yield m.finding("learning_rate_too_low", template, figures)


def dropout_too_strong(m: RunColumns) -> Iterator[Finding]:
    """A loss that is poor without dropout's masks, and with them far worse, or both stuck."""
    masked, without = m.final("loss"), m.final("training_loss", "validation_loss")
    if not m.dropout > STRONG or masked is None or without is None:
        return
    far_worse = masked - without > MASKED * m.guess
    stuck = min(masked, without) > STUCK * m.guess
    if not 0 < POOR * m.guess < without <= m.diverged or not (far_worse or stuck):
        return
    figures = {
        "epoch": m.epochs[m.kept],
        "dropout_hidden": m.own(m.settings.dropout.hidden),
        "dropout_input": m.own(m.settings.dropout.input),
        "loss_masked": masked,
        "loss_without": without,
        "guess": m.guess,
    }
    which = "training" if m.final("training_loss") is not None else "validation"
    template = (
        "With dropout ({dropout_hidden:.3g} of the hidden units, {dropout_input:.3g} of the"
        " features) the loss was {loss_masked:.4g} in the course of epoch {epoch}, and after it,"
        f" without dropout, the {which} loss was {{loss_without:.4g}}; {m.guessing} costs"
        " {guess:.4g}."
    )
    yield m.finding("dropout_too_strong", template, figures)


def decay_too_strong(m: RunColumns) -> Iterator[Finding]:
    """A poor loss, and weights that shrank so far that larger ones are better, or to nothing."""
    decay, l2, alpha = (m.own(getattr(m.settings, name)) for name in ("decay", "l2", "alpha"))
    known = m.final("validation_loss", "training_loss", "loss")
    if not (decay or l2 or alpha) or known is None or not 0 < POOR * m.guess < known <= m.diverged:
        return
    norms = [(m.own(drawn), m.own(now)) for drawn, now in m.checks.weight_norms]
    kept = [now / drawn if drawn else 1.0 for drawn, now in norms]
    if not kept or min(kept) > SHRUNK:
        return
    loss, larger = map(m.own, m.checks.losses_if_larger)
    collapsed = loss > m.no_better and max(kept) < COLLAPSED
    if not collapsed and not loss - larger > GAINED * m.guess:
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
        "guess": m.guess,
    }
    given = [f"{name} {{{name}:.3g}}" for name in DECAYS if figures[name]]
    template = (
        f"With {' and '.join(given)} the weights of layer {{layer_number}} went from a norm of"
        " {norm_drawn:.3g}, as drawn, to {norm_last:.3g}"
    )
    if collapsed:
        template += ", and no layer has kept more than {kept_most:.2%} of its own"
    template += f". The {m.checks.part} loss is {{loss:.4g}}"
    if not collapsed:
        figures["loss_if_larger"] = larger
        template += ", and would be {loss_if_larger:.4g} with all weights a tenth larger"
    template += f"; {m.guessing} costs {{guess:.4g}}."
    yield m.finding("decay_too_strong", template, figures, layer=layer)


def class_imbalance(m: RunColumns) -> Iterator[Finding]:
    """Rare classes whose weight in the loss is small, and of which hardly a row is found."""
    if m.classes is None or m.final("loss") is None:
        return
    shares = m.own(m.checks.frequencies)
    most = max(range(len(shares)), key=shares.__getitem__)
    rare = [j for j, share in enumerate(shares) if 0 < share <= RARE * shares[most]]
    if not rare:
        return
    part, rows, found = m.checks.recalls
    found = m.own(found)
    missed = [j for j in rare if rows[j] >= ENOUGH_ROWS and found[j] <= MISSED * rows[j]]
    if not missed:
        return
    least = min(missed, key=shares.__getitem__)
    figures = {
        "rare": m.classes[least],
        "frequent": m.classes[most],
        "share_rare": shares[least],
        "share_frequent": shares[most],
        "rows": int(rows[least]),
        "found": int(found[least]),
        "accuracy": sum(found) / sum(rows),
        "others": [m.classes[j] for j in missed if j != least],
    }
    counted = "counted by their weights" if m.checks.weighted else "which all count alike"
    template = (
        "Class {rare} has {share_rare:.2%} and class {frequent} {share_frequent:.2%} of the"
        f" training rows, {counted}. Of the {{rows:,}} {part} rows of class {{rare}},"
        f" {{found:,}} were given their class, while {{accuracy:.2%}} of all {part} rows were read"
        " right."
    )
    if figures["others"]:
        figures["n_others"] = len(missed) - 1
        template += " Of {n_others} more rare classes, too, at most a fifth was found."
    yield m.finding("class_imbalance", template, figures)

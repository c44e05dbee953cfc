"""Rules about the scale of features and targets, as the network is given them.

Scale is the data's, and other rules see only what follows of it in the run: units that die, losses
that explode, rates that seem too high. So these come first, where the run did not do well; see
`arraymlp.data.magnitudes` for what is far from the scale that layers expect.
"""

from collections.abc import Iterator

import numpy as np

from arraymlp.data.magnitudes import Magnitudes, features_far, targets_far
from arraymlp.diagnosis.findings import Figures, Finding
from arraymlp.diagnosis.run_columns import RunColumns

WELL = 0.1  # of the baseline loss: what is below it did well, whatever the scale
OFFSET = 1e-3  # of a column's standard deviation: steps to which the dtype rounds its values
UNEQUAL = 10  # the largest standard deviation of a target's column over the smallest


def _did_well(run: RunColumns) -> bool:
    """True where the loss, of the rows that say most, ended far below guessing."""
    names = ("validation_loss", "training_loss", "loss")
    last = [run.columns[name][run.kept] for name in names if name in run.columns]
    final = next(v for v in last if v is not None)
    # That of a loss whose best constant costs nothing, or less, has no tenth.
    return bool(final < (WELL * run.guess if run.guess > 0 else run.guess))


def features_scale(run: RunColumns) -> Iterator[Finding]:
    """Find features too large, or rows too much alike, in a run that did not do well."""
    if _did_well(run) or not features_far(run.checks.features):
        return
    features = run.checks.features
    figures = _figures(features)
    template = (
        "The features are far from what layers expect, values around 1: {column} has mean"
        " {mean:.3g} and standard deviation {deviation:.3g}"
    )
    varying = int(np.count_nonzero(features.deviation))
    if varying > 1:
        figures["varying"] = varying
        template += (
            "; of the {varying} that vary the standard deviations run from {deviation_least:.3g}"
            " ({column_least}) to {deviation_most:.3g} ({column_most})"
        )
    template += f".{_digits_lost(run, features, figures)}"
    if run.checks.data.inputs is None:
        template += (
            " standardize=True, or scikit-learn's StandardScaler before the training, brings each"
            " to mean 0 and variance 1."
        )
    else:
        template += " They are standardised as the rows were that the network first trained on."
    yield run.finding("features_scale", template, figures)


def targets_scale(run: RunColumns) -> Iterator[Finding]:
    """Find targets far from the outputs a network begins with, in a run that did not do well."""
    targets, y = run.checks.targets, run.checks.data.y
    if targets is None or _did_well(run) or not targets_far(targets, y):
        return
    figures = _figures(targets)
    template = (
        "The targets are far from the outputs that a network begins with, values around 0:"
        " {column} has mean {mean:.3g} and standard deviation {deviation:.3g}"
    )
    template += f".{_digits_lost(run, targets, figures)}"
    if y.scaling is not None:
        template += " They are standardised as those were that the network first trained on."
    elif y.loss.scales:
        template += (
            ' standardize="targets" (True: features, too) trains on targets of mean 0 and'
            " variance 1, and predicts in y's own units."
        )
    else:
        figures["loss"] = y.loss.name
        template += " {loss} takes them as they are: divide y by a round number of that size."
    yield run.finding("targets_scale", template, figures)


def unequal_targets(run: RunColumns) -> Iterator[Finding]:
    """Find columns of y of which some hardly count in the common loss, beside larger ones."""
    targets, y = run.checks.targets, run.checks.data.y
    if targets is None or not y.loss.scales or targets_far(targets, y):
        return
    most, least = targets.most_varying, targets.least_varying
    unit = np.ones_like(targets.deviation) if y.scaling is None else y.scaling.scale
    deviation = targets.deviation
    if not deviation[most] > UNEQUAL * deviation[least] > 0:
        return
    figures = {
        "column_most": targets.column(most),
        "column_least": targets.column(least),
        "deviation_most": float(deviation[most] * unit[most]),
        "deviation_least": float(deviation[least] * unit[least]),
    }
    template = (
        "The columns of y differ in scale: {column_most} has standard deviation"
        " {deviation_most:.3g} and {column_least} {deviation_least:.3g}, which hardly counts beside"
        " it in a loss of all columns. With standardize=True they weigh alike."
    )
    yield run.finding("targets_scale", template, figures)


def _figures(magnitudes: Magnitudes) -> Figures:
    """The largest column's figures, and the columns that vary most and least."""
    j, most, least = magnitudes.largest, magnitudes.most_varying, magnitudes.least_varying
    return {
        "column": magnitudes.column(j),
        "mean": float(magnitudes.mean[j]),
        "deviation": float(magnitudes.deviation[j]),
        "column_most": magnitudes.column(most),
        "deviation_most": float(magnitudes.deviation[most]),
        "column_least": magnitudes.column(least),
        "deviation_least": float(magnitudes.deviation[least]),
    }


def _digits_lost(run: RunColumns, magnitudes: Magnitudes, figures: Figures) -> str:
    """A sentence where a column's mean is so large that the dtype rounds off what varies."""
    eps = float(np.finfo(run.settings.dtype).eps)
    varying = np.flatnonzero(magnitudes.deviation)
    offset = np.abs(magnitudes.mean[varying]) / magnitudes.deviation[varying]
    if not offset.max(initial=0) * eps > OFFSET:
        return ""
    at = int(offset.argmax())
    figures.update(
        column_offset=magnitudes.column(int(varying[at])),
        offset=float(offset[at]),
        dtype=run.settings.dtype,
        rounded=float(offset[at]) * eps,
    )
    return (
        " The mean of {column_offset} is {offset:,.0f} times its standard deviation: {dtype} rounds"
        " its values to steps of {rounded:.1%} of that."
    )

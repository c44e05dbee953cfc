"""Why a run learned, stalled or died: findings, each backed by figures measured in that run.

Findings are read off the history, the probes' measurements (`arraymlp.steps.probes`) and the
finished network (`arraymlp.diagnosis.model_checks`). Without probes, findings that need them are
missing. A sentence is a template filled in with its figures, so that it states no number that was
not measured.
"""

from collections.abc import Callable, Iterator

from arraymlp.diagnosis.findings import Finding, Findings
from arraymlp.diagnosis.model_checks import ModelChecks
from arraymlp.diagnosis.rules import jumps, layers, loss, scale, settings
from arraymlp.diagnosis.run_columns import RunColumns, baseline_loss
from arraymlp.training.run import Run

DETECTORS: tuple[Callable[[RunColumns], Iterator[Finding]], ...] = (
    scale.features_scale,  # what a run is given comes before what happens in it
    scale.targets_scale,
    layers.exploding,  # what decides how it ends, in the order in which these things happen
    layers.dead_units,
    layers.vanishing,
    loss.plateau,
    loss.constant_predictions,
    loss.divergence,
    settings.rate_too_high,
    settings.rate_too_low,
    settings.dropout_too_strong,
    settings.decay_too_strong,
    settings.class_imbalance,
    loss.learned,
    loss.overfitting,
    jumps.spike,
    layers.few_dead_units,
    scale.unequal_targets,
)


def diagnose(run: Run) -> Findings:
    """Return the findings about a run, member by member; a list, which notebooks show.

    Those about layers and gradients need ``train(..., probes=True)``. Each is backed by figures
    that were measured in the run.

    Args:
        run: of one network or a population; epochs before ``run.comparable_from`` are left out.

    Raises:
        ValueError: the run was kept without its data.
    """
    if len(run.history) <= run.comparable_from:
        return Findings()
    members = [None] if run.network.members is None else range(run.network.members)
    checks, baselines = ModelChecks(run), _baselines(run)
    runs = [RunColumns(run, k, baselines[k or 0], checks) for k in members]
    return Findings(
        finding for columns in runs for detect in DETECTORS for finding in detect(columns)
    )


def _baselines(run: Run) -> list[float]:
    """Each member's baseline loss; one for a single network."""
    y, members = run.required_data().y, run.network.members or 1
    weight = None if y.loss_weight is None else run.backend.to_numpy(y.loss_weight)
    if y.loss.members is None and (weight is None or weight.ndim == 1):
        return [baseline_loss(run, weight)] * members
    weights = [
        weight if weight is None or weight.ndim == 1 else weight[:, k] for k in range(members)
    ]
    return [baseline_loss(run, member_weight, k) for k, member_weight in enumerate(weights)]

"""Why a run learned, stalled or died: findings, each backed by figures measured in that run.

Every finding is read off the history, the probes' measurements (`arraymlp.steps.probes`) and the finished
network (`arraymlp.diagnosis.model_checks`); where the probes were off, what only they see is not found. A sentence
is a template that its figures fill in, so it speaks no number that was not measured.
"""

from collections.abc import Callable, Iterator

from arraymlp.diagnosis.findings import Finding
from arraymlp.diagnosis.model_checks import ModelChecks
from arraymlp.diagnosis.rules import layers, loss, settings
from arraymlp.diagnosis.run_columns import RunColumns, baseline_loss
from arraymlp.training.run import Run

DETECTORS: tuple[Callable[[RunColumns], Iterator[Finding]], ...] = (
    layers.exploding,  # what comes first in a run comes first here
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
    loss.overfitting,
    loss.learned,
)


def diagnose(run: Run) -> list[Finding]:
    """Findings about a run, member by member; the probes' need ``train(..., probes=True)``."""
    if len(run.history) <= run.comparable_from:
        return []
    members = [None] if run.network.members is None else range(run.network.members)
    checks, guesses = ModelChecks(run), _guesses(run)
    traces = [RunColumns(run, k, guesses[k or 0], checks) for k in members]
    return [finding for m in traces for search in DETECTORS for finding in search(m)]


def _guesses(run: Run) -> list[float]:
    """What guessing costs each member."""
    y, members = run.data.y, run.network.members or 1
    weight = None if y.loss_weight is None else run.backend.to_numpy(y.loss_weight)
    if y.loss.members is None and (weight is None or weight.ndim == 1):
        return [baseline_loss(run, weight)] * members
    own = [weight if weight is None or weight.ndim == 1 else weight[:, k] for k in range(members)]
    return [baseline_loss(run, w, k) for k, w in enumerate(own)]

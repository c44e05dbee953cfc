"""Why a run learned, stalled or died: findings, each backed by figures measured in that run.

Every finding is read off the history, the probes' measurements (`arraymlp.probes`) and the finished
network (`arraymlp.checkup`); where the probes were off, what only they see is not found. A sentence
is a template that its figures fill in, so it speaks no number that was not measured.
"""

from collections.abc import Callable, Iterator

from arraymlp import layer_findings, loss_findings, setting_findings
from arraymlp.checkup import Checkup
from arraymlp.findings import Finding
from arraymlp.run import Run
from arraymlp.trace import Trace, cost_of_guessing

SEARCHES: tuple[Callable[[Trace], Iterator[Finding]], ...] = (
    layer_findings.exploding,  # what comes first in a run comes first here
    layer_findings.shut_units,
    layer_findings.vanishing,
    loss_findings.plateau,
    loss_findings.constant_predictions,
    loss_findings.divergence,
    setting_findings.rate_too_high,
    setting_findings.rate_too_low,
    setting_findings.dropout_too_strong,
    setting_findings.decay_too_strong,
    setting_findings.class_imbalance,
    loss_findings.overfitting,
    loss_findings.learned,
)


def diagnose(run: Run) -> list[Finding]:
    """Findings about a run, member by member; the probes' need ``train(..., probes=True)``."""
    if len(run.history) <= run.comparable_from:
        return []
    members = [None] if run.network.members is None else range(run.network.members)
    checkup, guesses = Checkup(run), _guesses(run)
    traces = [Trace(run, k, guesses[k or 0], checkup) for k in members]
    return [finding for m in traces for search in SEARCHES for finding in search(m)]


def _guesses(run: Run) -> list[float]:
    """What guessing costs each member."""
    y, members = run.data.y, run.network.members or 1
    weight = None if y.loss_weight is None else run.backend.to_numpy(y.loss_weight)
    if y.loss.members is None and (weight is None or weight.ndim == 1):
        return [cost_of_guessing(run, weight)] * members
    own = [weight if weight is None or weight.ndim == 1 else weight[:, k] for k in range(members)]
    return [cost_of_guessing(run, w, k) for k, w in enumerate(own)]

"""A finding of the diagnosis: one thing that was measured in a run, in figures and in words."""

from dataclasses import asdict, dataclass
from typing import Any, TypeAlias

from arraymlp.html.document import findings_list
from arraymlp.html.view import ShownList, paragraph, shown, view

SHOWN = 3  # findings of one kind that a notebook shows, where there are more than MANY in all
MANY = 12

# By name: numbers, class labels, or lists of these.
Figures: TypeAlias = dict[str, Any]


@dataclass(frozen=True)
class Finding:
    """One thing that was measured in a run.

    Attributes:
        kind: "learned", "overfitting", "plateau", "divergence", "spike", "constant_predictions";
            with probes "dead_units", "saturated_units", "vanishing_gradients",
            "exploding_gradients"; about a setting "learning_rate_too_high",
            "learning_rate_too_low", "dropout_too_strong", "decay_too_strong", "class_imbalance";
            about the data "features_scale", "targets_scale".
        sentence: the finding in words.
        figures: the numbers behind the sentence, by name: numbers, class labels, or lists of these.
        layer: index from 0 of the layer it is about; None where it is about the network.
        member: index from 0 of the population's member; None for one network.
        from_step: first step (from 1) at which it was measured; None where only epochs are known.
        to_step: last such step, likewise.
        from_epoch: the epoch (from 0) in which it begins; None where no epoch says it.
        to_epoch: the epoch in which it ends, likewise.
    """

    kind: str
    sentence: str
    figures: Figures
    layer: int | None = None
    member: int | None = None
    from_step: int | None = None
    to_step: int | None = None
    from_epoch: int | None = None
    to_epoch: int | None = None

    def to_dict(self) -> dict[str, Any]:
        """The finding in plain types, ready for JSON."""
        return asdict(self)

    def _repr_html_(self) -> str | None:
        """The sentence, as notebooks show it."""
        return shown(lambda: view("Finding", findings_list([self])))


class Findings(ShownList[Finding]):
    """Findings in their order: a list, which a notebook shows as sentences."""

    def _repr_html_(self) -> str | None:
        """The sentences, as notebooks show them."""
        return shown(lambda: view("Findings", findings_html(self), note=f"{len(self)}"))


def findings_html(findings: list[Finding]) -> str:
    """Sentences as a list; of many the first of each kind, and how many more of it there are."""
    if len(findings) <= MANY:
        return findings_list(findings)
    kinds: dict[str, list[Finding]] = {}
    for finding in findings:
        kinds.setdefault(finding.kind, []).append(finding)
    parts = []
    for kind, found in kinds.items():
        parts.append(findings_list(found[:SHOWN]))
        if len(found) > SHOWN:
            more = f"{len(found) - SHOWN} more of {kind.replace('_', ' ')}"
            members = {finding.member for finding in found} - {None}
            of_members = f", in {len(members)} members altogether" if members else ""
            parts.append(paragraph(more + of_members, quiet=True))
    return "".join(parts)

"""How a run went, epoch by epoch: its errors, live units and findings, as they were measured."""

from collections.abc import Sequence
from math import isfinite
from typing import Any

import numpy as np

from arraymlp.diagnosis.findings import Finding
from arraymlp.training.run import Run
from arraymlp.training.snapshots import AS_DRAWN, Snapshot

CURVES = ("training_error", "validation_error")  # in the colours that charts have, too
LEARNED = "learned"  # a finding whose figures are those of the end
LOSSES = (("training_loss", "loss"), ("validation_loss",))  # of each the first that there is


def described_course(run: Run | None, snapshots: Sequence[Snapshot]) -> dict[str, Any]:
    """What ``play.js`` shows of each snapshot, and the curves, in JSON's types.

    Of a population the figures are means over its members.
    """
    if run is None:
        return {"stops": [{"epoch": None, "step": None}], "curves": [], "findings": []}
    names = [name for name in CURVES if name in run.history.columns]
    percent = bool(names)
    of_losses = ([n for n in several if n in run.history.columns] for several in LOSSES)
    names = names or [there[0] for there in of_losses if there]
    curves = [
        {"label": name.replace("_", " "), "values": [_mean(v) for v in run.history[name]]}
        for name in names
    ]
    return {
        "epochs": run.history["epoch"] if len(run.history) else [],
        "percent": percent,
        "curves": curves,
        "stops": [_stop(run, snapshot, snapshot is snapshots[-1]) for snapshot in snapshots],
        "findings": [_described(finding, run.network.members or 1) for finding in run.findings],
        "probed": bool(run.measurements),
        "restored": _restored(run),
    }


def _stop(run: Run, snapshot: Snapshot, is_last: bool) -> dict[str, Any]:
    """A snapshot's epoch, and what was measured at its end."""
    live = None
    for measurement in run.measurements:
        if measurement.step <= snapshot.step and snapshot.epoch != AS_DRAWN:
            live = measurement
    return {
        "epoch": snapshot.epoch,
        "step": snapshot.step,
        "live": None if live is None else [_mean(figure) for figure in live.active_units],
        "liveStep": None if live is None else live.step,
        "findings": [i for i, f in enumerate(run.findings) if _belongs(f, snapshot, is_last)],
    }


def _belongs(finding: Finding, snapshot: Snapshot, is_last: bool) -> bool:
    """Whether what was found holds at the end of the snapshot's epoch."""
    if finding.kind == LEARNED:
        return is_last
    if snapshot.epoch == AS_DRAWN:
        return finding.from_epoch is None and finding.from_step is None
    if finding.from_epoch is not None and finding.to_epoch is not None:
        return finding.from_epoch <= snapshot.epoch <= finding.to_epoch
    if finding.from_step is not None and finding.to_step is not None:
        return finding.from_step <= snapshot.step <= finding.to_step
    return True


def _restored(run: Run) -> str | None:
    """The epochs of the weights that early stopping put back, in words."""
    best = [epoch for epoch in np.ravel(run.best_epoch).tolist() if epoch is not None]
    if not best:
        return None
    low, high = min(best), max(best)
    return f"epoch {low}" if low == high else f"each network's best epoch, from {low} to {high}"


def _described(finding: Finding, members: int) -> dict[str, str]:
    of = "" if finding.member is None or members < 2 else f"network {finding.member + 1}: "
    return {"kind": finding.kind.replace("_", " "), "sentence": of + finding.sentence}


def _mean(figure: Any) -> float | None:
    """The mean over the members that have a finite one."""
    values = figure if isinstance(figure, list) else [figure]
    known = [v for v in values if v is not None and isfinite(v)]
    return sum(known) / len(known) if known else None

"""Members of a sweep beside the same networks trained alone."""

from typing import Any

import numpy as np

import arraymlp
import problems
from arraymlp import Backend, NonFiniteLossError, Run, SweepResult
from arraymlp.sweeps.result import Member
from runs import parameters

DEFAULTS: dict[str, Any] = {
    **problems.PLAIN,
    "hidden": problems.HIDDEN,
    "batch_size": problems.BATCH,
    "epochs": 3,
    "seed": [0, 1, 2],
    "mode": "zip",
    "dtype": "float64",
    "backend": "numpy",
}
OF_SWEEP = ("mode", "n", "cv", "score", "greater_is_better", "memory", "compact", "draw_seed")
CLOCKS = ("seconds", "samples_per_s")
RTOL = {"float64": 1e-9, "float32": 1e-4}
WEIGHT = np.random.default_rng(26).uniform(0.5, 2, problems.N)


def on(backend: Backend) -> dict[str, Any]:
    return {"backend": backend.name, "device": backend.device}


def sweep(X: Any, y: Any, **given: Any) -> SweepResult:
    """arraymlp.sweep; three seeds side by side, PLAIN, NumPy and float64 unless said otherwise."""
    return arraymlp.sweep(X, y, **{**DEFAULTS, **given})


def alone(member: Member, X: Any, y: Any, **given: Any) -> Run:
    """The training of a member by itself; what was given to the sweep is given here."""
    seeds = {name: member.settings[name] for name in ("seed", "order_seed")}
    settings = {**DEFAULTS, **given, **member.swept, **seeds}
    try:
        return arraymlp.train(X, y, **{k: v for k, v in settings.items() if k not in OF_SWEEP})
    except NonFiniteLossError as error:
        return error.run


def figures(history: arraymlp.History) -> dict[str, list[Any]]:
    return {name: history[name] for name in history.columns if name not in CLOCKS}


def assert_as_alone(member: Member, run: Run, rtol: float) -> None:
    """Same records but for the clock, same best epoch, same weights."""
    ours, theirs = figures(member.history), figures(run.history)
    assert list(ours) == list(theirs)
    for name, column in ours.items():
        assert all(type(a) is type(b) for a, b in zip(column, theirs[name], strict=True)), name
        np.testing.assert_allclose(column, theirs[name], rtol=rtol, err_msg=name)
    assert member.best_epoch == run.best_epoch
    assert repr(member.network) == repr(run.network)
    for a, b in zip(parameters(member.network), parameters(run.network), strict=True):
        np.testing.assert_allclose(a, b, rtol=rtol, atol=rtol * float(np.abs(b).max()))


def assert_all_as_alone(X: Any, y: Any, **given: Any) -> SweepResult:
    result = sweep(X, y, **given)
    rtol = RTOL[{**DEFAULTS, **given}["dtype"]]
    for member in result:
        assert_as_alone(member, alone(member, X, y, **given), rtol)
    return result


def assert_same_bits(a: Member, b: Member) -> None:
    """Every figure and every weight to the last bit, NaN included."""
    assert (a.status, a.best_epoch, a.cause) == (b.status, b.best_epoch, b.cause)
    ours, theirs = figures(a.history), figures(b.history)
    assert list(ours) == list(theirs)
    for name, column in ours.items():
        np.testing.assert_array_equal(column, theirs[name], err_msg=name)
    for p, q in zip(parameters(a.network), parameters(b.network), strict=True):
        np.testing.assert_array_equal(p, q)

"""The steps that train a run: an engine's or the definition's, checked, averaging, and probed."""

import logging
from collections.abc import Sequence
from typing import Any, NamedTuple

from arraymlp.backends.backend import Backend
from arraymlp.backends.precision import require_precision
from arraymlp.data.stream import Streamed
from arraymlp.steps.probes import Probes
from arraymlp.steps.shards import sharded_step
from arraymlp.steps.step import EpochStep, Step, array_step, averaging
from arraymlp.training.engine import EngineChoice
from arraymlp.training.engine_check import checked
from arraymlp.training.ranks.ranks import Ranks
from arraymlp.training.run import Run

log = logging.getLogger("arraymlp")


class Steps(NamedTuple):
    """The steps that train a run.

    Attributes:
        step: does one minibatch.
        epoch: the same, if it is to do the steps of an epoch together, else None.
        probes: measure some of the steps, where that is asked for.
    """

    step: Step
    epoch: EpochStep | None
    probes: Probes | None


def choose_steps(
    run: Run,
    choice: EngineChoice,
    watchers: Sequence[Any] = (),
    steps_per_epoch: int = 1,
    ranks: Ranks | None = None,
) -> Steps:
    """The step to train a run with: the engine's or the definition's, averaging, and probed.

    Args:
        run: what will be trained.
        choice: as `choose_engine` gives it.
        watchers: called after each step.
        steps_per_epoch: of the run.
        ranks: the processes that train it together; None for this one.

    Raises:
        ValueError: nothing here computes in the precision asked for.
    """
    settings, network, profile = run.settings, run.raw_network, run.profile
    backend, precision = run.backend, settings.precision
    engine = choice.engine
    of_engine = None if engine is None else engine.precisions
    require_precision(backend, precision, of_engine, choice.reason)
    if engine is not None:
        how = (settings.optimizer, settings.reduction, profile, precision)
        step = bare = engine.step(network, *how)
        if profile is not None:
            bare = engine.step(network, settings.optimizer, settings.reduction, None, precision)
    else:
        step = _definition(run, ranks or Ranks())
    log.info("engine: %s%s", choice.name, f" ({choice.reason})" if choice.reason else "")
    reason = ""
    if isinstance(step, EpochStep):
        reason = _why_step_by_step(run, step, watchers)
        if reason:
            log.info("training step by step, not an epoch at a time: %s", reason)
    if engine is not None:
        step = step if profile is None else profile.stepping(step)

        def leave(reason: str) -> Step:
            choice.leave(reason)
            run.engine, run.engine_reason = choice.name, choice.reason
            log.info("engine: %s (%s)", choice.name, choice.reason)
            return _definition(run, ranks or Ranks())

        step = checked(step, bare, run, settings.epochs * steps_per_epoch, leave)
    if run.averages and isinstance(step, EpochStep) and step.averages:
        step = step.averaging(run.network)
    elif run.averages:
        step = averaging(step, run.network)
    probes = None
    if settings.probes:
        steps_before = run.steps_done - run.partial_epoch.steps
        epochs = (run.next_epoch, settings.epochs, steps_per_epoch)
        probes = Probes(run.required_data(), backend, run.steps_done, steps_before, *epochs)
        step = probes.wrap(step, network, settings.reduction)
    together = step if isinstance(step, EpochStep) and not reason else None
    return Steps(step, together, probes)


def _definition(run: Run, ranks: Ranks) -> Step:
    """The definition's step for a run."""
    settings, profile, backend = run.settings, run.profile, run.backend
    how = (run.raw_network, settings.optimizer, settings.reduction)
    if settings.shards is None:
        step = array_step(*how, profile)
    else:
        all_ranks = ranks.adder(settings.shards, run.raw_network)
        step = sharded_step(*how, settings.shards, all_ranks, ranks.before_step)
    # CuPy has no such setting: where its engine was left, products are in full precision.
    if settings.precision in backend.rounded_precisions:
        step = _rounding(step, backend)
    return step if profile is None else profile.stepping(step)


def _why_step_by_step(run: Run, step: EpochStep, watchers: Sequence[Any]) -> str:
    """Why an epoch's steps are done one by one, where they could be done together; else "".

    This is decided by the run, before the engine is asked. Whether the kernels cover the network
    and the epoch is decided by the engine itself.
    """
    data = run.required_data()
    streamed, plans = isinstance(data.X, Streamed), data.row_plans is not None
    reasons = {
        "profile": run.profile is not None,
        "weight_average": run.averages and not step.averages,
        "callbacks look at each step": bool(watchers),
        "members have rows of their own": plans and not step.row_plans,
        "the data is larger than memory": streamed and (plans or not step.streams),
    }
    return next((why for why, so in reasons.items() if so), "")


def _rounding(step: Step, backend: Backend) -> Step:
    """The definition's step with the factors of products rounded, as torch and JAX offer it."""

    def rounding_step(*args: Any) -> Any:
        with backend.rounding():
            return step(*args)

    return rounding_step

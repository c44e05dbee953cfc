"""Who does the steps, an engine or the definition: the one place where that is decided.

The definition (`arraymlp.steps.step.array_step`) can always do them. An engine does them where the
backend has one, it covers the network, and ``engine="auto"``; whole epochs at a time where nothing
has to be seen between steps. Which of its own ways an engine takes, it
decides itself, and logs. Deleting `arraymlp.engines` changes speed alone (and takes CuPy's
precisions below float32 away).
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any, NamedTuple

from arraymlp.backends.backend import Backend
from arraymlp.backends.precision import require_precision
from arraymlp.data.stream import Streamed
from arraymlp.nn.layer import Layer
from arraymlp.nn.network import Network
from arraymlp.steps.probes import Probes
from arraymlp.steps.step import Engine, EpochStep, Evaluator, Step, array_step, averaging
from arraymlp.training.engine_check import checked
from arraymlp.training.run import Run

log = logging.getLogger("arraymlp")

# By backend: a module with a function ``load() -> Engine``. It is imported when it is needed.
ENGINE_MODULES = {
    "numpy": "arraymlp.engines.cpu.engine",
    "cupy": "arraymlp.engines.cuda.engine",
}
# What a subclass may override of what an engine computes by its own code.
LAYER_METHODS = ("forward", "backward_activation", "backward_parameters", "backward_input")
NETWORK_METHODS = ("forward", "backward", "choices")


@dataclass
class EngineChoice:
    """The engine that does the steps, or None for the array code, and then why."""

    engine: Engine | None
    reason: str = ""

    @property
    def name(self) -> str:
        """As ``run.engine`` says it."""
        return "array" if self.engine is None else self.engine.name

    def evaluator(self, network: Network) -> Evaluator | None:
        """The engine's own way to evaluate a network, where there is one."""
        return None if self.engine is None else self.engine.evaluator(network)

    def leave(self, reason: str) -> None:
        """Do without the engine from now on."""
        self.engine, self.reason = None, reason


def choose_engine(network: Network, wanted: str = "auto") -> EngineChoice:
    """The engine for a network on its backend.

    Args:
        network: what will be trained, or evaluated.
        wanted: "auto", or "array" for the array code everywhere.
    """
    if wanted == "array":
        return EngineChoice(None, 'engine="array"')
    backend = network.backend.name
    if backend not in ENGINE_MODULES:
        return EngineChoice(None, f"there is no engine for {backend}")
    if reason := _own_methods(network):
        return EngineChoice(None, reason)
    try:
        engine: Engine = import_module(ENGINE_MODULES[backend]).load()
    except ModuleNotFoundError as error:
        if not (error.name or "").startswith("arraymlp.engines"):
            raise
        return EngineChoice(None, f"{error.name} is not installed")
    reason = engine.uncovered(network)
    return EngineChoice(None, reason) if reason else EngineChoice(engine)


def _own_methods(network: Network) -> str:
    """Whose methods are not the definition's, in words; "" where all are."""
    every = [(network, Network, NETWORK_METHODS)]
    every += [(layer, Layer, LAYER_METHODS) for layer in network.layers]  # type: ignore[misc]
    for one, base, methods in every:
        own = [
            m for m in methods if m in vars(one) or getattr(type(one), m) is not getattr(base, m)
        ]
        if own:
            return f"{base.__name__} {type(one).__name__} has its own {', '.join(own)}"
    return ""


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
) -> Steps:
    """The step to train a run with: the engine's or the definition's, averaging, and probed.

    Args:
        run: what will be trained.
        choice: as `choose_engine` gives it.
        watchers: called after each step.
        steps_per_epoch: of the run.

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
        step = _definition(run)
    log.info("engine: %s%s", choice.name, f" ({choice.reason})" if choice.reason else "")
    reason = ""
    if isinstance(step, EpochStep):
        reason = _why_step_by_step(run, watchers)
        if reason:
            log.info("training step by step, not an epoch at a time: %s", reason)
    if engine is not None:
        step = step if profile is None else profile.stepping(step)

        def leave(reason: str) -> Step:
            choice.leave(reason)
            run.engine, run.engine_reason = choice.name, choice.reason
            log.info("engine: %s (%s)", choice.name, choice.reason)
            return _definition(run)

        step = checked(step, bare, run, settings.epochs * steps_per_epoch, leave)
    if run.averages:
        step = averaging(step, run.network)
    probes = None
    if settings.probes:
        steps_before = run.steps_done - run.partial_epoch.steps
        epochs = (run.next_epoch, settings.epochs, steps_per_epoch)
        probes = Probes(run.required_data(), backend, run.steps_done, steps_before, *epochs)
        step = probes.wrap(step, network, settings.reduction)
    together = step if isinstance(step, EpochStep) and not reason else None
    return Steps(step, together, probes)


def _definition(run: Run) -> Step:
    """The definition's step for a run."""
    settings, profile, backend = run.settings, run.profile, run.backend
    step = array_step(run.raw_network, settings.optimizer, settings.reduction, profile)
    # CuPy has no such setting: where its engine was left, products are in full precision.
    if settings.precision in backend.rounded_precisions:
        step = _rounding(step, backend)
    return step if profile is None else profile.stepping(step)


def _why_step_by_step(run: Run, watchers: Sequence[Any]) -> str:
    """Why an epoch's steps are done one by one, where they could be done together; else "".

    This is decided by the run, before the engine is asked. Whether the kernels cover the network
    and the epoch is decided by the engine itself.
    """
    data = run.required_data()
    reasons = {
        "weight_average": run.averages,
        "callbacks look at each step": bool(watchers),
        "members have rows of their own": data.row_plans is not None,
        "the data is larger than memory": isinstance(data.X, Streamed),
    }
    return next((why for why, so in reasons.items() if so), "")


def _rounding(step: Step, backend: Backend) -> Step:
    """The definition's step with the factors of products rounded, as torch and JAX offer it."""

    def rounding_step(*args: Any) -> Any:
        with backend.rounding():
            return step(*args)

    return rounding_step

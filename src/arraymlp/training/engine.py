"""Who does the steps, an engine or the definition: the one place where that is decided.

The definition (`arraymlp.steps.step.array_step`) can always do them. An engine does them where the
backend has one, it covers the network, and ``engine="auto"``; whole epochs at a time where nothing
has to be seen between steps. Which of its own ways an engine takes, it
decides itself, and logs. Deleting `arraymlp.engines` changes speed alone (and takes CuPy's
precisions below float32 away).
"""

import logging
from dataclasses import dataclass
from importlib import import_module

from arraymlp.nn.layer import Layer
from arraymlp.nn.network import Network
from arraymlp.steps.optimizers import Optimizer
from arraymlp.steps.step import (
    Engine,
    Evaluator,
    Forward,
)

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

    def forward(self, network: Network) -> Forward:
        """The engine's way from rows to a network's logits, or the definition's."""
        own = None if self.engine is None else self.engine.forward(network)
        return own or (lambda x: network.forward(x, network.backend.xp)[-1].z)

    def leave(self, reason: str) -> None:
        """Do without the engine from now on."""
        self.engine, self.reason = None, reason


def forward_of(network: Network) -> Forward:
    """The way from rows to a network's logits, by its backend's engine where there is one."""
    return choose_engine(network).forward(network)


def choose_engine(
    network: Network, wanted: str = "auto", optimizer: Optimizer | None = None
) -> EngineChoice:
    """The engine for a network on its backend.

    Args:
        network: what will be trained, or evaluated.
        wanted: "auto", or "array" for the array code everywhere.
        optimizer: that it will be trained by.
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
    reason = engine.uncovered(network, optimizer)
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

"""The engine for NumPy: steps, epochs and logits by compiled code, where it was installed."""

from arraymlp.backends.precision import FULL
from arraymlp.engines.cpu import library
from arraymlp.engines.cpu.forward import NativeForward
from arraymlp.engines.cpu.steps import NativeSteps, uncovered
from arraymlp.nn.network import Network
from arraymlp.steps.optimizers import Optimizer
from arraymlp.steps.profile import Profile


def load() -> "CpuEngine":
    """Return the engine."""
    return CpuEngine()


class CpuEngine:
    """Many steps in one call; see `arraymlp.steps.step.Engine`."""

    name = "cpu"
    precisions = (FULL,)
    profiles = False

    def uncovered(self, network: Network, optimizer: Optimizer | None = None) -> str:
        """Return the reason why it trains no such network by this optimiser, or ""."""
        if library.load() is None:
            return library.why_not()
        return uncovered(network, optimizer)

    def step(
        self,
        network: Network,
        optimizer: Optimizer,
        reduction: str,
        profile: Profile | None,
        precision: str,
    ) -> NativeSteps:
        """Return the step for this network."""
        native = library.load()
        assert native is not None  # else `uncovered` said so
        return NativeSteps(network, optimizer, reduction, native)

    def evaluator(self, network: Network) -> None:
        """Return None: the definition's evaluation takes this engine's logits."""

    def forward(self, network: Network) -> NativeForward | None:
        """Return its way from rows to logits."""
        native = library.load()
        return None if native is None else NativeForward(network, native)

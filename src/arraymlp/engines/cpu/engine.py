"""The engine for NumPy; it covers every network."""

from typing import cast

from arraymlp.backends.precision import FULL
from arraymlp.backends.threads import available_threads
from arraymlp.engines.cpu.blas import Product
from arraymlp.engines.cpu.step import BufferedStep
from arraymlp.nn.network import Network
from arraymlp.steps.optimizers import Optimizer
from arraymlp.steps.profile import Profile


def load() -> "CpuEngine":
    """Return the engine."""
    return CpuEngine()


class CpuEngine:
    """Steps in reused buffers; see `arraymlp.steps.step.Engine`."""

    name = "cpu"
    precisions = (FULL,)

    def uncovered(self, network: Network) -> str:
        """Return "": it covers every network."""
        return ""

    def step(
        self,
        network: Network,
        optimizer: Optimizer,
        reduction: str,
        profile: Profile | None,
        precision: str,
    ) -> BufferedStep:
        """Return the step for this network."""
        threads = available_threads()

        def product(m: int, k: int, n: int, members: int | None, dtype: str) -> Product:
            multiply = Product(m, k, n, members, dtype, threads)
            if profile is None:
                return multiply
            return cast(Product, profile.timed("products", multiply))  # has its attributes, too

        return BufferedStep(network, optimizer, reduction, product)

    def evaluator(self, network: Network) -> None:
        """Return None: the definition's evaluation is as fast."""

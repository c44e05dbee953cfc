"""The engine for NumPy; it covers every network."""

from typing import Any

from arraymlp.backends.precision import FULL
from arraymlp.engines.cpu.blas import Product, numpy_blas
from arraymlp.engines.cpu.step import BufferedStep
from arraymlp.nn.network import Network
from arraymlp.steps.optimizers import Optimizer
from arraymlp.steps.profile import Profile


def load() -> "CpuEngine":
    """The engine."""
    return CpuEngine()


class CpuEngine:
    """Steps in reused buffers; see `arraymlp.steps.step.Engine`."""

    name = "cpu"
    precisions = (FULL,)

    @property
    def shares_threads(self) -> bool:
        """Whether products are cut into blocks, one for each thread."""
        return numpy_blas() is not None

    def uncovered(self, network: Network) -> str:
        """Nothing is."""
        return ""

    def step(
        self,
        network: Network,
        optimizer: Optimizer,
        reduction: str,
        threads: int,
        profile: Profile | None,
        precision: str,
    ) -> BufferedStep:
        """The step to train this network with."""

        def product(m: int, k: int, n: int, members: int | None, dtype: str) -> Any:
            made = Product(m, k, n, members, dtype, threads)
            return made if profile is None else profile.timed("products", made)

        return BufferedStep(network, optimizer, reduction, product)

    def evaluator(self, network: Network) -> None:
        """None: the definition's way is as good."""

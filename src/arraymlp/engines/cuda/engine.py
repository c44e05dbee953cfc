"""The engine for CuPy: fused kernels for small networks and populations, cuBLAS for any size."""

import logging
from typing import Any

from arraymlp.backends.precision import FULL, PRECISIONS
from arraymlp.engines.cuda.dense import DenseStep
from arraymlp.engines.cuda.device import Products, kernels, recorded
from arraymlp.engines.cuda.epochs import FusedEpochs
from arraymlp.engines.cuda.evaluator import LabelEvaluator, covers
from arraymlp.nn.network import Network
from arraymlp.steps.optimizers import Optimizer
from arraymlp.steps.profile import Profile

log = logging.getLogger("arraymlp")

MOST_MEMBERS = 65_535  # blocks along y or z
FUSED_FROM = 7.0  # compute capability of Volta, the first that has __grid_constant__ parameters


def load() -> "CudaEngine":
    """The engine."""
    return CudaEngine()


class CudaEngine:
    """Steps, and epochs of them, by CUDA kernels; see `arraymlp.steps.step.Engine`."""

    name = "cuda"
    precisions = PRECISIONS
    shares_threads = False

    def uncovered(self, network: Network) -> str:
        """Why it cannot train this network; "" where it can."""
        members = network.members or 1
        if members > MOST_MEMBERS:
            return f"CUDA counts {MOST_MEMBERS:,} members, not {members:,}"
        return ""

    def step(
        self,
        network: Network,
        optimizer: Optimizer,
        reduction: str,
        threads: int,
        profile: Profile | None,
        precision: str,
    ) -> DenseStep | FusedEpochs:
        """The step to train this network with.

        With a profile, or a precision other than the full one, it is the one by cuBLAS.
        """
        step = dense_step(network, optimizer, reduction, precision, profile)
        if profile is not None or precision != FULL:
            return step
        if network.backend.compute_capability < FUSED_FROM:
            log.info("training step by step: the fused CUDA kernels need compute capability 7.0")
            return step
        device = kernels("fused.cu", network.backend.device.id)
        return FusedEpochs(step, network, optimizer, reduction, device, recorded)

    def evaluator(self, network: Network) -> LabelEvaluator | None:
        """What evaluates this network, if the kernels can."""
        if not covers(network):
            return None
        device = kernels(f"dense_{network.dtype}.cu", network.backend.device.id)
        return LabelEvaluator(network, device, Products())


def dense_step(
    network: Network,
    optimizer: Optimizer,
    reduction: str,
    precision: str = FULL,
    profile: Profile | None = None,
) -> DenseStep:
    """The step for networks of any size. Arguments as of `CudaEngine.step`."""
    device = kernels(f"dense_{network.dtype}.cu", network.backend.device.id)
    product: Any = Products(tf32=precision == "tf32")
    exact: Any = Products()
    if profile is not None:
        product, exact = (profile.timed("products", made) for made in (product, exact))
    rounds = precision == "bf16"
    return DenseStep(network, optimizer, reduction, device, product, exact, rounds)

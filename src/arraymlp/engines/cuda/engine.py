"""The engine for CuPy: fused kernels for small networks and populations, cuBLAS for any size."""

import logging

from arraymlp.backends.backend import Backend
from arraymlp.backends.precision import FULL, PRECISIONS
from arraymlp.engines.cuda.cublas import Multiplies
from arraymlp.engines.cuda.dense import DenseStep
from arraymlp.engines.cuda.device import Products, kernels, recorded
from arraymlp.engines.cuda.epochs import FusedEpochs
from arraymlp.engines.cuda.evaluator import LabelEvaluator, covers
from arraymlp.engines.cuda.ways import Ways
from arraymlp.nn.network import Network
from arraymlp.steps.optimizers import Optimizer
from arraymlp.steps.profile import Profile

log = logging.getLogger("arraymlp")

MOST_MEMBERS = 65_535  # blocks along y or z
FUSED_FROM = 7.0  # compute capability of Volta, the first that has __grid_constant__ parameters


def load() -> "CudaEngine":
    """Return the engine."""
    return CudaEngine()


class CudaEngine:
    """Steps, and epochs of them, by CUDA kernels; see `arraymlp.steps.step.Engine`."""

    name = "cuda"
    precisions = PRECISIONS
    profiles = True

    def uncovered(self, network: Network, optimizer: Optimizer | None = None) -> str:
        """Return the reason why it trains no such network at all, or "".

        It trains any other network step by step, at least; `arraymlp.engines.cuda.epochs` says
        which ones whole epochs at a time.
        """
        members = network.members or 1
        if members > MOST_MEMBERS:
            return f"CUDA counts {MOST_MEMBERS:,} members, not {members:,}"
        return ""

    def step(
        self,
        network: Network,
        optimizer: Optimizer,
        reduction: str,
        profile: Profile | None,
        precision: str,
    ) -> DenseStep | FusedEpochs:
        """Return the step for this network: by fused kernels, with whole epochs, or by cuBLAS.

        With a profile, or a precision below float32, it is that by cuBLAS.
        """
        step = dense_step(network, optimizer, reduction, precision, profile)
        reasons = {
            "profile": profile is not None,
            f"precision={precision!r}": precision != FULL,
            "the fused kernels need compute capability 7.0": (
                network.backend.compute_capability < FUSED_FROM
            ),
        }
        for reason, applies in reasons.items():
            if applies:
                log.info("training step by step, not an epoch at a time: %s", reason)
                return step
        return FusedEpochs(step, network, optimizer, reduction, ways(network.backend))

    def forward(self, network: Network) -> None:
        """Return None: cuBLAS by CuPy is as fast."""

    def evaluator(self, network: Network) -> LabelEvaluator | None:
        """Return the kernels' evaluation of this network; None where they have none."""
        if not covers(network):
            return None
        device = kernels(f"dense_{network.dtype}.cu", network.backend.device.id)
        return LabelEvaluator(network, device, Products())


def ways(backend: Backend) -> Ways:
    """The ways of whole epochs on the backend's device."""
    number = backend.device.id
    return Ways(lambda file: kernels(file, number), recorded, backend.device_model)


def dense_step(
    network: Network,
    optimizer: Optimizer,
    reduction: str,
    precision: str = FULL,
    profile: Profile | None = None,
) -> DenseStep:
    """Return the step for networks of any size; arguments as for `CudaEngine.step`."""
    device = kernels(f"dense_{network.dtype}.cu", network.backend.device.id)
    device.prepare(["activate", "evaluate"])  # which evaluate, beside those of the first epoch
    product: Multiplies = Products(tf32=precision == "tf32")
    exact: Multiplies = Products()
    if profile is not None:
        product, exact = (profile.timed("products", multiply) for multiply in (product, exact))
    rounds = precision == "bf16"
    return DenseStep(network, optimizer, reduction, device, product, exact, rounds)

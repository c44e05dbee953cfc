"""What the CUDA kernels and their callers agree on: numbers for names, sources, and a device.

Nothing here needs a GPU, or CuPy: `arraymlp.kernels.cupy` is the device that is one. The tests
bring another, on which the same sources run on the host.
"""

from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from typing import Any, Protocol

from arraymlp.activations import ACTIVATIONS, Activation
from arraymlp.backend import Array
from arraymlp.losses import LOSSES, Loss
from arraymlp.optimizers import SGD, Adam, AdamW, Hyper, Optimizer, RMSProp

# As the enumerations in functions.cuh.
ACTIVATION_NUMBERS: dict[Activation, int] = {
    ACTIVATIONS[name]: number
    for number, name in enumerate(
        ("identity", "sigmoid", "tanh", "relu", "leaky_relu", "elu", "softplus", "gelu", "silu")
    )
}
PLAIN_SGD, MOMENTUM, NESTEROV, ADAM, RMSPROP = range(5)
CONSTANTS = (
    *("rate", "decay 1", "gain 1", "decay 2", "gain 2"),
    *("epsilon", "shrink", "l2", "alpha", "label_smoothing"),
)


class Launches(Protocol):
    """A device that runs the kernels of one source file."""

    processors: int  # multiprocessors: as many blocks as this keep the device busy
    shared_memory: int  # bytes that a block can have at most

    def launch(
        self,
        name: str,
        grid: tuple[int, int, int],
        threads: int,
        args: Sequence[Any],
        shared: int = 0,
    ) -> None:
        """Queue a kernel.

        Args:
            name: of the kernel.
            grid: blocks, x, y and z.
            threads: of a block.
            args: arrays of the device by address, None as a null pointer, NumPy scalars and
                structs by value.
            shared: bytes of dynamic shared memory a block.
        """
        ...

    def address(self, array: Array) -> int:
        """Where the array's numbers stand in the device's memory."""
        ...


@cache
def source(name: str) -> str:
    """The source of a kernel file, with what it includes put in its place: NVRTC gets one text."""
    folder = files("arraymlp.kernels")
    lines = []
    for line in folder.joinpath(name).read_text(encoding="utf-8").splitlines():
        _, include, header = line.partition('#include "')
        lines.append(source(header.rstrip('"')) if include else line)
    return "\n".join(lines) + "\n"


def blocks_of(n: int, size: int) -> int:
    """How many blocks of a size cover n."""
    return -(-n // size)


def loss_name(loss: Loss) -> str:
    """The name of one of the package's losses; "" for one of the user's, whatever its name."""
    return loss.name if LOSSES.get(loss.name) == loss else ""


def rule_number(optimizer: Optimizer) -> int | None:
    """Which of the kernels' rules an optimiser is; None where it is none of them."""
    kind = type(optimizer)
    if kind is SGD:
        assert isinstance(optimizer, SGD)
        if optimizer.momentum == 0:
            return PLAIN_SGD
        return NESTEROV if optimizer.nesterov else MOMENTUM
    return {Adam: ADAM, AdamW: ADAM, RMSProp: RMSPROP}.get(kind)


def constants(optimizer: Optimizer, hyper: Hyper) -> dict[str, Any]:
    """What the kernels' rules need, by the name of its column in ``CONSTANTS``.

    Args:
        optimizer: one of the kernels' rules.
        hyper: what its `hyper` told, with the step's own switches beside it, each a number or an
            array.
    """
    named = {
        "rate": hyper["rate" if "rate" in hyper else "learning_rate"],
        "shrink": hyper.get("shrink", 1.0),
        **{name: hyper.get(name, 0.0) for name in ("l2", "alpha", "label_smoothing")},
    }
    if isinstance(optimizer, SGD):
        return {**named, "decay 1": hyper["momentum"]}
    if isinstance(optimizer, RMSProp):
        return {
            **named,
            "decay 1": hyper["rho"],
            "gain 1": hyper["1 - rho"],
            "epsilon": hyper["epsilon"],
        }
    return {
        **named,
        "decay 1": hyper["beta1"],
        "gain 1": hyper["1 - beta1"],
        "decay 2": hyper["beta2"],
        "gain 2": hyper["1 - beta2"],
        "epsilon": hyper["epsilon"],
    }

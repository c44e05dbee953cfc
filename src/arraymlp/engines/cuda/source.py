"""What the CUDA kernels and their callers agree on: numbers for names, sources, and a device.

Nothing here needs a GPU, or CuPy: `arraymlp.engines.cuda.device` is the device that is one. The tests
bring another, on which the same sources run on the host.
"""

from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from typing import Any, NamedTuple, Protocol

from arraymlp.backends.array import Array
from arraymlp.nn.activations import ACTIVATIONS, Activation
from arraymlp.nn.losses import LOSSES, Loss
from arraymlp.steps.hyper import Hyper
from arraymlp.steps.optimizers import (
    SGD,
    Adam,
    AdamConstants,
    AdamW,
    Optimizer,
    RMSProp,
    RMSPropConstants,
    SGDConstants,
)

# As the enumerations in functions.cuh.
ACTIVATION_NUMBERS: dict[Activation, int] = {
    ACTIVATIONS[name]: number
    for number, name in enumerate(
        ("identity", "sigmoid", "tanh", "relu", "leaky_relu", "elu", "softplus", "gelu", "silu")
    )
}
PLAIN_SGD, MOMENTUM, NESTEROV, ADAM, RMSPROP = range(5)


class KernelConstants(NamedTuple):
    """What the kernels' rules are told, in the order of their columns; each a number or an array."""

    rate: Any
    decay1: Any = 0.0
    gain1: Any = 0.0
    decay2: Any = 0.0
    gain2: Any = 0.0
    epsilon: Any = 0.0
    decay_factor: Any = 1.0
    l2: Any = 0.0
    alpha: Any = 0.0
    label_smoothing: Any = 0.0


CONSTANTS = KernelConstants._fields


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
    folder = files("arraymlp.engines.cuda")
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


def kernel_constants(hyper: Hyper) -> KernelConstants:
    """What a step, or an epoch's table of them, tells the kernels."""
    rule = hyper.optimizer
    if isinstance(rule, SGDConstants):
        own = KernelConstants(rule.learning_rate, rule.momentum)
    elif isinstance(rule, RMSPropConstants):
        own = KernelConstants(
            rule.learning_rate, rule.rho, rule.one_minus_rho, epsilon=rule.epsilon
        )
    else:
        assert isinstance(rule, AdamConstants)  # `rule_number` knows no other
        gains = rule.one_minus_beta1, rule.one_minus_beta2
        own = KernelConstants(rule.rate, rule.beta1, gains[0], rule.beta2, gains[1], rule.epsilon)
    names = ("decay_factor", "l2", "alpha", "label_smoothing")
    given = {name: getattr(hyper, name) for name in names}
    return own._replace(**{name: value for name, value in given.items() if value is not None})

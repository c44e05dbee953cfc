"""Common to the CUDA kernels and their callers: numbers for names, the sources, and a device.

Nothing here needs a GPU, or CuPy: `arraymlp.engines.cuda.device` is a device that does. The tests
have another, which runs the same sources on the host.
"""

from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from typing import NamedTuple, Protocol, TypeAlias

import numpy as np

from arraymlp.backends.array import Array
from arraymlp.nn.activations import ACTIVATIONS, Activation
from arraymlp.nn.losses import LOSSES, Loss
from arraymlp.steps.hyper import Hyper
from arraymlp.steps.optimizers import (
    SGD,
    Adam,
    AdamConstants,
    AdamW,
    Constant,
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


# What a kernel can be given: an array by its address, None as a null pointer, and a NumPy scalar,
# which may be a struct (numpy.void), by value.
Argument: TypeAlias = Array | np.generic | None


class KernelConstants(NamedTuple):
    """The constants of the kernels' update rules, in the order of their tables' columns."""

    rate: Constant
    decay1: Constant = 0.0
    gain1: Constant = 0.0
    decay2: Constant = 0.0
    gain2: Constant = 0.0
    epsilon: Constant = 0.0
    decay_factor: Constant = 1.0
    l2: Constant = 0.0
    alpha: Constant = 0.0
    label_smoothing: Constant = 0.0


CONSTANTS = KernelConstants._fields


class Launches(Protocol):
    """A device that runs the kernels of one source file."""

    processors: int  # multiprocessors; as many blocks keep the device busy
    shared_memory: int  # bytes that a block can have at most

    def launch(
        self,
        name: str,
        grid: tuple[int, int, int],
        threads: int,
        args: Sequence[Argument],
        shared: int = 0,
    ) -> None:
        """Queue a kernel.

        Args:
            name: the kernel's.
            grid: blocks along x, y and z.
            threads: of a block.
            args: the kernel's arguments, see `Argument`.
            shared: bytes of dynamic shared memory of a block.
        """
        ...

    def address(self, array: Array) -> int:
        """Return the address of the array in the device's memory."""
        ...


@cache
def source(name: str) -> str:
    """Return a kernel file with its includes pasted in, since NVRTC gets one text."""
    folder = files("arraymlp.engines.cuda")
    lines = []
    for line in folder.joinpath(name).read_text(encoding="utf-8").splitlines():
        _, include, header = line.partition('#include "')
        lines.append(source(header.rstrip('"')) if include else line)
    return "\n".join(lines) + "\n"


def only(text: str, kernel: str) -> str:
    """A kernel file's text for one of its kernels, where it can be compiled for ONLY one.

    The choice stands in the text and not in the compiler's options, since for each other set of
    options CuPy compiles an empty file first, to tell compilers apart.
    """
    if "defined(ONLY)" not in text:
        return text
    return f"#define ONLY\n#define ONLY_{kernel}\n{text}"


def blocks_of(n: int, size: int) -> int:
    """The number of blocks of a size that cover n."""
    return -(-n // size)


def loss_name(loss: Loss) -> str:
    """The name of a loss of this package; "" for one of the user's own, whatever its name."""
    return loss.name if LOSSES.get(loss.name) == loss else ""


def rule_number(optimizer: Optimizer) -> int | None:
    """The number of the kernels' rule for an optimiser; None where they have none."""
    if type(optimizer) is SGD:
        if optimizer.momentum == 0:
            return PLAIN_SGD
        return NESTEROV if optimizer.nesterov else MOMENTUM
    rules: dict[type, int] = {Adam: ADAM, AdamW: ADAM, RMSProp: RMSPROP}
    return rules.get(type(optimizer))


def kernel_constants(hyper: Hyper) -> KernelConstants:
    """The kernels' constants of a step, or of an epoch's table of steps."""
    rule = hyper.optimizer
    if isinstance(rule, SGDConstants):
        constants = KernelConstants(rule.learning_rate, rule.momentum)
    elif isinstance(rule, RMSPropConstants):
        constants = KernelConstants(
            rule.learning_rate, rule.rho, rule.one_minus_rho, epsilon=rule.epsilon
        )
    else:
        assert isinstance(rule, AdamConstants)  # `rule_number` has no other
        gains = rule.one_minus_beta1, rule.one_minus_beta2
        constants = KernelConstants(
            rule.rate, rule.beta1, gains[0], rule.beta2, gains[1], rule.epsilon
        )
    names = ("decay_factor", "l2", "alpha", "label_smoothing")
    features = {name: getattr(hyper, name) for name in names}
    return constants._replace(**{n: value for n, value in features.items() if value is not None})

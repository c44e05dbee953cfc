"""Numbers for names, as the compiled engines have them in the enumerations of `functions.h`."""

from typing import NamedTuple

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

ACTIVATION_NUMBERS: dict[Activation, int] = {
    ACTIVATIONS[name]: number
    for number, name in enumerate(
        ("identity", "sigmoid", "tanh", "relu", "leaky_relu", "elu", "softplus", "gelu", "silu")
    )
}
PLAIN_SGD, MOMENTUM, NESTEROV, ADAM, RMSPROP = range(5)


class KernelConstants(NamedTuple):
    """The constants of an update rule, in the order of the columns of the engines' tables."""

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


def loss_name(loss: Loss) -> str:
    """The name of a loss of this package; "" for one of the user's own, whatever its name."""
    return loss.name if type(LOSSES.get(loss.name)) is type(loss) else ""


def rule_number(optimizer: Optimizer) -> int | None:
    """The number of the engines' rule for an optimiser; None where they have none."""
    if type(optimizer) is SGD:
        if optimizer.momentum == 0:
            return PLAIN_SGD
        return NESTEROV if optimizer.nesterov else MOMENTUM
    rules: dict[type, int] = {Adam: ADAM, AdamW: ADAM, RMSProp: RMSPROP}
    return rules.get(type(optimizer))


def kernel_constants(hyper: Hyper) -> KernelConstants:
    """The engines' constants of a step, or of an epoch's table of steps."""
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

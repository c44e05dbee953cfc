"""`check_gradients`: an activation, loss, layer or network held against finite differences."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from arraymlp._checks import lookup
from arraymlp.backends.array import is_device_array
from arraymlp.backends.backend import Backend
from arraymlp.backends.registry import backend_of, resolve
from arraymlp.nn.activations import ACTIVATIONS, Activation
from arraymlp.nn.layer import Layer
from arraymlp.nn.losses import LOSSES, Loss
from arraymlp.nn.network import Network
from arraymlp.training.gradient_check.functions import activation_terms, loss_terms
from arraymlp.training.gradient_check.layers import layer_terms, network_terms


@dataclass(frozen=True)
class GradientCheck:
    """What `check_gradients` compared.

    Attributes:
        subject: whose derivatives, in words.
        errors: of each term by name, such as "dL/dW", the largest difference from the finite one,
            relative to the largest entry of the term.
        wrong: what is wrong with terms, in words, by name; empty where all are right.
        kinks: how many entries were left out since there is no slope there, such as ReLU's at 0.
    """

    subject: str
    errors: dict[str, float] = field(default_factory=dict)
    wrong: dict[str, str] = field(default_factory=dict)
    kinks: int = 0

    def __repr__(self) -> str:
        terms = ", ".join(f"{name} {error:.1e}" for name, error in self.errors.items())
        kinks = f", {self.kinks} without a slope left out" if self.kinks else ""
        return f"<GradientCheck of {self.subject}: largest relative errors {terms}{kinks}>"


class GradientError(AssertionError):
    """A derivative that finite differences contradict.

    Attributes:
        check: all that was compared.
    """

    def __init__(self, message: str, check: GradientCheck) -> None:
        super().__init__(message)
        self.check = check

    def __reduce__(self) -> Any:
        return type(self), (str(self), self.check)


def check_gradients(
    subject: Activation | Loss | Layer | Network | str,
    X: Any = None,
    y: Any = None,
    *,
    tolerance: float = 1e-6,
    backend: str | Backend = "numpy",
    seed: int = 0,
) -> GradientCheck:
    """Compare the derivatives of an activation, loss, layer or network with finite differences.

    >>> check_gradients("tanh")
    <GradientCheck of activation tanh: largest relative errors f'(s) 1.2e-10>

    A wrong derivative trains, badly. The error says which term is wrong, where, and what it looks
    like: a sign, a factor, the mean in place of the sum, a transposed matrix, a forgotten f'(s).
    All is computed in float64, by central differences with a step of eps^(1/3), as the module
    ``arraymlp.training.gradient_check.differences`` explains. Entries without a slope are left out.
    A layer and a network are checked with their parameters as they are, of each array some hundred
    entries.

    Args:
        subject: an `Activation`, a `Loss`, a `Layer` or a `MultilayerPerceptron`, of your own or of
            this package; or the name of an activation or loss. A loss may have parameters for K
            members.
        X: what goes in: the sums s of an activation, the logits (..., B, n) of a loss, the inputs
            (B, n_in) of a layer or network. Drawn if None.
        y: targets for a loss or network, as `arraymlp.losses.Loss.value_and_delta` takes
            them. Drawn if None.
        tolerance: of the largest difference, relative to the term's largest entry.
        backend: of an activation or loss; a layer and a network are checked where they are. It must
            have float64.
        seed: of what is drawn.

    Raises:
        GradientError: a term is wrong; ``error.check`` has all of them.
        ValueError: the subject is something else, or a method of it returns what it must not.
    """
    if isinstance(subject, str):
        named: dict[str, Activation | Loss] = {**ACTIVATIONS, **LOSSES}
        subject = lookup(named, subject, "activation or loss")
    rng = np.random.default_rng(seed)
    X, y = (backend_of(a).to_numpy(a) if is_device_array(a) else a for a in (X, y))
    if isinstance(subject, Layer | Network):
        layer = subject if isinstance(subject, Layer) else subject.layers[0]
        there = backend_of(layer.weights)
    else:
        there = resolve(backend)
    if not there.has("float64"):
        raise ValueError(f"the gradients are checked in float64, which {there} has not")
    if isinstance(subject, Network):
        _check_pieces(subject, tolerance, there, seed)
    with there.active(), np.errstate(all="ignore"):
        if isinstance(subject, Activation):
            name = f"activation {subject.name}"
            terms = activation_terms(subject, X, there, rng)
        elif isinstance(subject, Loss):
            name = f"loss {getattr(subject, 'name', type(subject).__name__)}"
            terms = loss_terms(subject, X, y, there, rng)
        elif isinstance(subject, Layer):
            name, terms = repr(subject), layer_terms(subject, X, rng)
        elif isinstance(subject, Network):
            name, terms = repr(subject), network_terms(subject, X, y, rng)
        else:
            given: Any = subject
            of_these = isinstance(given, type) and issubclass(given, Activation | Loss | Layer)
            hint = f": give an instance, {given.__name__}(...)" if of_these else ""
            raise ValueError(
                "check_gradients takes an Activation, a Loss, a Layer, a MultilayerPerceptron or "
                f"the name of an activation or loss, not {subject!r}{hint}"
            )
        judged = {term.name: term.judged(tolerance) for term in terms}
    check = GradientCheck(
        name,
        {term: error for term, (error, _) in judged.items()},
        {term: text for term, (_, text) in judged.items() if text},
        sum(int(np.sum(~term.smooth)) for term in terms),
    )
    if check.wrong:
        raise GradientError(f"{name}: {'; '.join(check.wrong.values())}", check)
    return check


def _check_pieces(network: Network, tolerance: float, backend: Backend, seed: int) -> None:
    """Check activations, loss and layers of one's own: what is wrong there is said first.

    Raises:
        GradientError: as of `check_gradients`, of the piece.
    """
    pieces: list[Activation | Loss | Layer] = [
        layer.activation
        for layer in network.layers
        if ACTIVATIONS.get(layer.activation.name) != layer.activation
    ]
    if type(LOSSES.get(network.loss.name)) is not type(network.loss):
        pieces.append(network.loss)
    pieces += [layer for layer in network.layers if type(layer) is not Layer]
    for piece in pieces:
        try:
            check_gradients(piece, tolerance=tolerance, backend=backend, seed=seed)
        except GradientError as error:
            raise GradientError(f"{network!r}: {error}", error.check) from error

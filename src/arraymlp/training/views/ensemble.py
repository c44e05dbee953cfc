"""An ensemble in a notebook: its stacks."""

from typing import TYPE_CHECKING

from arraymlp.html.table import table
from arraymlp.html.view import folded, view
from arraymlp.nn.network import Network
from arraymlp.training.views.network import network_note, network_parts

if TYPE_CHECKING:
    from arraymlp.training.ensemble import Ensemble


def ensemble_view(ensemble: "Ensemble") -> str:
    """A row for each stack, and the layers of the first folded away."""
    rows = [
        [stack.members or 1, "-".join(map(str, stack.sizes)), _activations(stack), stack.loss.name]
        for stack in ensemble.networks
    ]
    first = ensemble.networks[0]
    stacks = table(["networks", "sizes", "activation", "loss"], rows, numeric=(0,))
    layers = folded("layers of the first stack", "".join(network_parts(first)))
    k = len(ensemble)
    note = f"of {k} network{'s' * (k != 1)}; {network_note(first).partition('; ')[2]}"
    return view(type(ensemble).__name__, stacks, layers, note=note)


def _activations(stack: Network) -> str:
    names = [layer.activation.name for layer in stack.layers[:-1]]
    return ", ".join(dict.fromkeys(names)) or "linear"

"""A network in a notebook: its layers as a table, and what it takes and gives in short."""

from collections.abc import Iterable

from arraymlp.html.table import table
from arraymlp.html.view import paragraph, view
from arraymlp.nn.network import Network

LISTED = 8  # names of features and classes
LETTERS = 40  # of a name


def network_view(network: Network) -> str:
    """The layers, what goes in and what comes out."""
    return view(type(network).__name__, *network_parts(network), note=network_note(network))


def network_note(network: Network) -> str:
    """Its kind in a line: ``of 64 members; softmax_cross_entropy, float32, numpy 2.4.6 on cpu``."""
    members = "" if network.members is None else f"of {network.members} members; "
    return f"{members}{network.loss.name}, {network.dtype}, {network.backend}"


def network_parts(network: Network) -> list[str]:
    """The table of the layers, and a line each on features, on what is predicted, on scales."""
    rows: list[list[object]] = [
        [i, f"{layer.n_in:,}", f"{layer.n_out:,}", layer.activation.name,
         f"{(layer.n_in + 1) * layer.n_out:,}"]
        for i, layer in enumerate(network.layers)
    ]  # fmt: skip
    if len(rows) > 1:
        rows.append(["all", "", "", "", f"{network.n_parameters:,}"])
    of_each = "parameters" if network.members is None else "parameters of each member"
    header = ["layer", "inputs", "outputs", "activation", of_each]
    lines = [_features(network), _predicted(network), _scales(network)]
    return [table(header, rows, numeric=(1, 2, 4)), *map(paragraph, lines)]


def _features(network: Network) -> str:
    encoding = network.encoding
    if isinstance(encoding, tuple):
        return "encoding: each member has its own"
    if encoding is not None:
        columns = _listed(encoding.names, "column")
        return f"takes a table with {columns}, encoded as {encoding.width:,} features"
    return f"takes {_listed(network.features, 'feature')}" if network.features else ""


def _predicted(network: Network) -> str:
    names = f"predicts {_listed(network.targets, 'target')}" if network.targets else ""
    if network.classes is None:
        return names
    classes = _listed(network.classes.tolist(), "class", "classes")
    return f"{names}: {classes}" if names else f"predicts {classes}"


def _scales(network: Network) -> str:
    scaled = [
        what
        for what, scaling in (("features", network.inputs), ("targets", network.outputs))
        if scaling is not None
    ]
    return f"standardises {' and '.join(scaled)}" if scaled else ""


def _listed(names: Iterable[object], what: str, several: str = "") -> str:
    """``3 classes: a, b, c``; of many the first ones."""
    texts = [text if len(text) <= LETTERS else f"{text[:LETTERS]}..." for text in map(str, names)]
    rest = ", ..." if len(texts) > LISTED else ""
    noun = what if len(texts) == 1 else several or f"{what}s"
    return f"{len(texts):,} {noun}: {', '.join(texts[:LISTED])}{rest}"

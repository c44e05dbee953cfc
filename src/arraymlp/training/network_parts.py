"""A network in parts, as files have it: a header in JSON's types, and tensors on the host."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from arraymlp._checks import Rule
from arraymlp.backends.array import Array, HostArray
from arraymlp.data.encoding.encoding import TableEncoding
from arraymlp.nn.activations import ACTIVATIONS, get_activation
from arraymlp.nn.layer import Layer
from arraymlp.nn.losses import LOSSES, Loss, get_loss
from arraymlp.nn.network import Network
from arraymlp.nn.scaling import Scaling
from arraymlp.training.model import MultilayerPerceptron
from arraymlp.training.schema import ANY, INT64, NUMBERS, TEXT, Form, ModelFileError, require
from arraymlp.training.settings import DTYPES


def _is_label(value: Any) -> bool:
    return isinstance(value, str) and not value.endswith("\0")  # which NumPy would cut off


# The header of a network; that of a stack in a sweep's file, too.
NETWORK: dict[str, Form] = {
    "activations": [TEXT],
    "loss": TEXT,
    "loss_parameters?": {"*": NUMBERS},
    "classes": Rule(
        "null or a list of integers of 64 bits, or of texts",
        lambda v: (
            v is None
            or (isinstance(v, list) and (all(map(INT64.allows, v)) or all(map(_is_label, v))))
        ),
    ),
    "features?": [TEXT],
    "targets?": [TEXT],
    "encoding?": {"*": ANY},
}
# Tensors of a network's scalings, each with the attribute of the network.
SCALINGS = ("inputs", "outputs")


def parts(network: MultilayerPerceptron) -> tuple[dict[str, Any], dict[str, HostArray]]:
    """The header of a network's file, and its tensors.

    Raises:
        ValueError: an activation or loss of the user's own, which could not be found again.
    """
    to_numpy = network.backend.to_numpy
    tensors = {n: np.ascontiguousarray(to_numpy(a)) for n, a in parameters(network).items()}
    return network_header(network), tensors | scaling_tensors(network)


def parameters(network: Network, prefix: str = "") -> dict[str, Array]:
    """A network's parameters, on its device, by the names that files have for them."""
    return {
        f"{prefix}layers.{i}.{part}": getattr(layer, part)
        for i, layer in enumerate(network.layers)
        for part in ("weights", "bias")
    }


def network_header(network: MultilayerPerceptron) -> dict[str, Any]:
    """The header of a network's file; errors as of `parts`."""
    for layer in network.layers:
        if type(layer) is not Layer:
            raise ValueError(
                f"a {type(layer).__name__} is not of this package: load could not find it"
            )
        if ACTIVATIONS.get(layer.activation.name) != layer.activation:
            raise ValueError(f"{layer.activation} is not of this package: load could not find it")
    if type(LOSSES.get(network.loss.name)) is not type(network.loss):
        raise ValueError(f"{network.loss} is not of this package: load could not find it")
    return {
        "activations": [layer.activation.name for layer in network.layers],
        "loss": network.loss.name,
        **({"loss_parameters": network.loss.parameters} if network.loss.parameters else {}),
        "classes": None if network.classes is None else network.classes.tolist(),
        **({} if network.features is None else {"features": list(network.features)}),
        **({} if network.targets is None else {"targets": list(network.targets)}),
        **({} if network.encoding is None else {"encoding": _encoding(network).to_json()}),
    }


def _encoding(network: Network) -> TableEncoding:
    if isinstance(network.encoding, tuple):
        raise ValueError(
            "the members of this population have encodings of their own: save them one by one"
        )
    assert isinstance(network.encoding, TableEncoding)
    return network.encoding


def scaling_tensors(network: MultilayerPerceptron) -> dict[str, HostArray]:
    """The tensors of what standardises a network's features and targets."""
    tensors = {}
    for name in SCALINGS:
        scaling: Scaling | None = getattr(network, name)
        if scaling is not None:
            tensors[f"{name}.mean"], tensors[f"{name}.scale"] = scaling.mean, scaling.scale
    return tensors


def network_of(header: Mapping[str, Any], tensors: Mapping[str, HostArray]) -> MultilayerPerceptron:
    """The network that `parts` took apart, on the host; a ModelFileError where they do not fit."""
    require(header, NETWORK, "its header")
    names = header["activations"]
    expected = {f"layers.{i}.{part}" for i in range(len(names)) for part in ("weights", "bias")}
    for name in SCALINGS:
        own = {f"{name}.mean", f"{name}.scale"}
        expected |= own if own & set(tensors) else set()
    if set(tensors) != expected or not names:
        odd = sorted(expected ^ set(tensors))
        raise ModelFileError(
            f"its tensors do not match its {len(names)} activations: {', '.join(odd[:20])}"
        )
    try:
        layers = [
            Layer(tensors[f"layers.{i}.weights"], tensors[f"layers.{i}.bias"], get_activation(name))
            for i, name in enumerate(names)
        ]
        chosen = replace(get_loss(header["loss"]), **header.get("loss_parameters", {}))
    except (ValueError, TypeError) as error:
        raise ModelFileError(str(error)) from error
    given = header["classes"]
    of_texts = bool(given) and isinstance(given[0], str)
    classes = None if given is None else np.asarray(given, str if of_texts else np.int64)
    _require_fit(layers, chosen, classes)
    network = MultilayerPerceptron(layers, chosen, classes)
    network.inputs = _scaling("inputs", tensors, network.sizes[0], network.members)
    if "outputs.mean" in tensors and not chosen.scales:
        raise ModelFileError(f"it has scaled targets, which {chosen.name} has not")
    n_targets = network.sizes[-1] // chosen.outputs_per_target
    network.outputs = _scaling("outputs", tensors, n_targets, network.members)
    n_inputs = network.sizes[0]
    if "encoding" in header:
        try:
            network.encoding = TableEncoding.of_json(header["encoding"])
        except ValueError as error:
            raise ModelFileError(f"its encoding is not readable: {error}") from error
        if network.encoding.width != network.sizes[0]:
            raise ModelFileError(
                f"its encoding makes {network.encoding.width} features, but there are {n_inputs} "
                "inputs"
            )
        network.features = network.encoding.names
    if "targets" in header:
        network.targets = tuple(header["targets"])
        n = n_targets if classes is None else 1
        if len(network.targets) != n:
            raise ModelFileError(f"it has names of {len(network.targets)} targets, but {n} of them")
    if "features" in header:
        features = tuple(header["features"])
        if network.features not in (None, features):
            raise ModelFileError("the names of its features are not those that its encoding has")
        network.features = features
        if network.encoding is None and len(features) != n_inputs:
            raise ModelFileError(f"it has names of {len(features)} features, but {n_inputs} inputs")
    return network


def _scaling(
    name: str, tensors: Mapping[str, HostArray], n: int, members: int | None
) -> Scaling | None:
    """A network's scaling of n columns, of all members or of each; None without its tensors."""
    if f"{name}.mean" not in tensors:
        return None
    mean, scale = tensors[f"{name}.mean"], tensors[f"{name}.scale"]
    fits = mean.shape == scale.shape and mean.shape in ((n,), (members, n))
    fits = fits and mean.dtype == scale.dtype == np.float64
    if not fits or not (np.isfinite(mean).all() and np.isfinite(scale).all() and (scale > 0).all()):
        raise ModelFileError(f"its {name}.mean and {name}.scale are no scaling of {n} columns")
    return Scaling(mean, scale)


def _require_fit(layers: list[Layer], chosen: Loss, classes: HostArray | None) -> None:
    """Each layer takes what the one before gives, in equal dtype and number of members."""
    classifies = chosen.classifies
    first = layers[0].weights
    n_in = first.shape[-2] if first.ndim >= 2 else None
    for i, layer in enumerate(layers):
        w, b = layer.weights, layer.bias
        good = w.ndim in (2, 3) and w.shape[-2] == n_in and w.shape[:-2] == first.shape[:-2]
        good = good and 0 not in w.shape and b.shape == (*w.shape[:-2], 1, w.shape[-1])
        if not good or w.dtype != first.dtype or b.dtype != first.dtype or w.dtype not in DTYPES:
            raise ModelFileError(
                f"layer {i} does not fit: weights {w.shape} {w.dtype}, bias {b.shape} {b.dtype}, "
                f"after {n_in} inputs of {first.dtype}"
            )
        n_in = w.shape[-1]
    if layers[-1].activation.name != "identity":
        raise ModelFileError(
            f"its last activation must be identity, not {layers[-1].activation.name}"
        )
    try:
        chosen.require_fit(layers[-1].n_out, first.shape[0] if first.ndim == 3 else None)
    except ValueError as error:
        raise ModelFileError(str(error)) from error
    if classes is None:
        fits = classifies != "one"
    else:
        ascending = classes.ndim == 1 and bool((classes[1:] > classes[:-1]).all())
        fits = ascending and len(classes) == (2 if classifies == "each" else n_in)
        fits = fits and classifies != "no" and (classifies != "each" or n_in == 1)
    if not fits:
        raise ModelFileError(f"its classes do not fit its {n_in} outputs: {classes}")

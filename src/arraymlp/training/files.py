"""Model files: one safetensors file that opens on any backend and runs no code when it does.

The tensors are ``layers.0.weights``, ``layers.0.bias``, ...; the header's metadata holds, under
``arraymlp``, a JSON object with the format's version, the activations, the loss and its parameters
where it has some, the classes, the SHA-256 of the tensors' bytes, and of an estimator what
`arraymlp.estimators.files` adds. The file of a sweep is that of `arraymlp.sweeps.files`.
"""

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from arraymlp.backends.array import HostArray
from arraymlp.backends.backend import Backend
from arraymlp.backends.registry import resolve
from arraymlp.nn.activations import ACTIVATIONS, get_activation
from arraymlp.nn.layer import Layer
from arraymlp.nn.losses import LOSSES, Loss, get_loss
from arraymlp.training.atomic import write_whole
from arraymlp.training.model import MultilayerPerceptron
from arraymlp.training.settings import DTYPES

FORMAT = 1


class ModelFileError(ValueError):
    """The file is not a model file of this package, or it is damaged; the message says how."""


def save(
    network: MultilayerPerceptron,
    path: str | os.PathLike[str],
    *,
    estimator: dict[str, Any] | None = None,
) -> None:
    """Write a network to a file, whole or not at all: a temporary file, renamed when it is done.

    Args:
        network: on any backend; a population is saved whole.
        path: of the file; one that exists is replaced, and keeps its mode and owner.
        estimator: what else to write, in JSON's types; the estimators' own `save` uses it.

    Raises:
        ValueError: an activation or loss of your own, which `load` could not find again.
        OSError: the file cannot be written, or what is there is no regular file; nothing is left
            behind.
    """
    if not isinstance(network, MultilayerPerceptron):
        raise ValueError(
            "save takes a network, such as run.network, or as an estimator's network_, and not "
            f"{type(network)}; an estimator has a save of its own"
        )
    header, tensors = parts(network)
    write_parts(path, header if estimator is None else {**header, "estimator": estimator}, tensors)


def parts(network: MultilayerPerceptron) -> tuple[dict[str, Any], dict[str, HostArray]]:
    """The header of a network's file, and its tensors; errors as of `save`."""
    for layer in network.layers:
        if type(layer) is not Layer:
            raise ValueError(
                f"a {type(layer).__name__} is not of this package: load could not find it"
            )
        if ACTIVATIONS.get(layer.activation.name) != layer.activation:
            raise ValueError(f"{layer.activation} is not of this package: load could not find it")
    if type(LOSSES.get(network.loss.name)) is not type(network.loss):
        raise ValueError(f"{network.loss} is not of this package: load could not find it")
    to_numpy = network.backend.to_numpy
    tensors = {}
    for i, layer in enumerate(network.layers):
        tensors[f"layers.{i}.weights"] = np.ascontiguousarray(to_numpy(layer.weights))
        tensors[f"layers.{i}.bias"] = np.ascontiguousarray(to_numpy(layer.bias))
    header = {
        "activations": [layer.activation.name for layer in network.layers],
        "loss": network.loss.name,
        **({"loss_parameters": network.loss.parameters} if network.loss.parameters else {}),
        "classes": None if network.classes is None else network.classes.tolist(),
    }
    return header, tensors


def write_parts(
    path: str | os.PathLike[str], header: Mapping[str, Any], tensors: dict[str, HostArray]
) -> None:
    """Write a header, with the format and the tensors' SHA-256 added, and tensors to a file."""
    from safetensors.numpy import save as to_bytes

    whole = {"format": FORMAT, **header, "sha256": _digest(tensors)}
    write_whole(Path(path), to_bytes(tensors, {"arraymlp": json.dumps(whole)}))


def _digest(tensors: dict[str, HostArray]) -> str:
    """SHA-256 over the tensors' bytes, in the order of their names."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        digest.update(np.ascontiguousarray(tensors[name]).tobytes())
    return digest.hexdigest()


def load(
    path: str | os.PathLike[str], *, backend: str | Backend = "numpy", device: Any = None
) -> MultilayerPerceptron:
    """Read a network from a file that `save` wrote; no code in the file is run.

    Args:
        path: of the file; of an estimator's, its network is read.
        backend: where its parameters go, as for `resolve`.
        device: the backend's device; None for its default.

    Raises:
        ModelFileError: the file is damaged, or is not a model file of this package.
        OSError: the file cannot be read.
    """
    return read(path, resolve(backend, device))[0]


def read(
    path: str | os.PathLike[str], backend: Backend
) -> tuple[MultilayerPerceptron, dict[str, Any]]:
    """A file's network, brought to a backend, and its header; errors as of `load`."""
    with naming(path):
        header, tensors = read_parts(path)
        if "networks" in header:
            raise ModelFileError("it holds a sweep, not one network: SweepResult.load opens it")
        network = network_of(header, tensors)
        require_undamaged(header, tensors)
    return network.to(backend), header


@contextmanager
def naming(path: str | os.PathLike[str]) -> Iterator[None]:
    """Have a ModelFileError begin with the file's path."""
    try:
        yield
    except ModelFileError as error:
        raise ModelFileError(f"{os.fspath(path)}: {error}") from error.__cause__


def read_parts(path: str | os.PathLike[str]) -> tuple[dict[str, Any], dict[str, HostArray]]:
    """A file's header and tensors; a ModelFileError where it is no file of this package's."""
    from safetensors import SafetensorError
    from safetensors.numpy import load as from_bytes

    content = Path(path).read_bytes()
    try:
        tensors = from_bytes(content)
    except (SafetensorError, ValueError, TypeError, KeyError) as error:
        raise ModelFileError(f"not a readable safetensors file ({error})") from error
    size = int.from_bytes(content[:8], "little")  # the format: header's length, header, tensors
    metadata = json.loads(content[8 : 8 + size]).get("__metadata__") or {}
    if "arraymlp" not in metadata:
        raise ModelFileError(
            "a safetensors file, but not of arraymlp: its metadata does not say so"
        )
    try:
        header = json.loads(metadata["arraymlp"])
    except (json.JSONDecodeError, RecursionError) as error:
        raise ModelFileError(f"its arraymlp header is no JSON ({error})") from error
    if not isinstance(header, dict) or header.get("format") != FORMAT:
        version = header.get("format") if isinstance(header, dict) else header
        raise ModelFileError(f"format {version!r}, but this version reads format {FORMAT}")
    return header, tensors


def require_undamaged(header: Mapping[str, Any], tensors: dict[str, HostArray]) -> None:
    """A ModelFileError where the tensors are not those that were written."""
    if header.get("sha256") != _digest(tensors):
        raise ModelFileError("its weights are damaged: their SHA-256 is not the header's")


def network_of(header: Mapping[str, Any], tensors: Mapping[str, HostArray]) -> MultilayerPerceptron:
    """The network that `parts` took apart, on the host; a ModelFileError where they do not fit."""
    names = header.get("activations")
    if not isinstance(names, list) or not names:
        raise ModelFileError(f"its header lists no activations: {names!r}")
    expected = {f"layers.{i}.{part}" for i in range(len(names)) for part in ("weights", "bias")}
    if set(tensors) != expected:
        odd = sorted(expected ^ set(tensors))
        raise ModelFileError(f"its tensors do not match its {len(names)} layers: {', '.join(odd)}")
    try:
        layers = [
            Layer(tensors[f"layers.{i}.weights"], tensors[f"layers.{i}.bias"], get_activation(name))
            for i, name in enumerate(names)
        ]
        chosen = replace(get_loss(header.get("loss", "")), **header.get("loss_parameters", {}))
        classes = _classes(header.get("classes"))
    except (ValueError, TypeError, OverflowError) as error:
        raise ModelFileError(str(error)) from error
    _require_fit(layers, chosen, classes)
    return MultilayerPerceptron(layers, chosen, classes)


def _classes(values: Any) -> HostArray | None:
    if values is None:
        return None
    classes = np.asarray(values)
    if classes.dtype != np.int64:  # fractions would be cut off
        raise ValueError(f"its classes are not integers: {values}")
    return classes


def _require_fit(layers: list[Layer], chosen: Loss, classes: Any) -> None:
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
        ascending = classes.ndim == 1 and bool((np.diff(classes) > 0).all())
        fits = ascending and len(classes) == (2 if classifies == "each" else n_in)
        fits = fits and classifies != "no" and (classifies != "each" or n_in == 1)
    if not fits:
        raise ModelFileError(f"its classes do not fit its {n_in} outputs: {classes}")

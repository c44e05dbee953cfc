"""Model files: one safetensors file that opens on any backend and runs no code when it does.

The tensors are ``layers.0.weights``, ``layers.0.bias``, ..., and ``inputs.mean``, ``inputs.scale``,
``outputs.mean``, ``outputs.scale`` where features or targets are standardised. The header has the
activations, the loss and its parameters where it has some, the classes, the names of the features
where they have some, and of an estimator what `arraymlp.estimators.files` adds. The file of a run
is that of `arraymlp.training.run_files`, of a sweep that of `arraymlp.sweeps.files`; the bytes of
all of them are those of `arraymlp.training.tensor_file`. A network has the same header and tensors
in the ONNX file that `arraymlp.to_onnx` writes (`arraymlp.training.onnx_file`).
"""

import os
from collections.abc import Mapping
from typing import Any

from arraymlp.backends.array import HostArray
from arraymlp.backends.backend import Backend
from arraymlp.backends.registry import resolve
from arraymlp.training.model import MultilayerPerceptron
from arraymlp.training.network_parts import network_of, parts
from arraymlp.training.onnx_file import is_onnx, read_onnx
from arraymlp.training.run import Run
from arraymlp.training.run_files import run_of_file, run_parts
from arraymlp.training.schema import ANY, ModelFileError, require
from arraymlp.training.tensor_file import naming, read_parts, write_parts


def save(
    network: MultilayerPerceptron | Run,
    path: str | os.PathLike[str],
    *,
    estimator: dict[str, Any] | None = None,
) -> None:
    """Write a network or a run to a file, whole or not at all, by a temporary file beside it.

    Args:
        network: on any backend; a population is saved whole. A `Run` is saved without its data:
            network, history, settings, the optimiser's state and all else that it takes to go on
            with it, ``train(X, y, network=load(path))``. The network alone is ``run.network``.
        path: of the file; one that exists is replaced, and keeps its mode and owner.
        estimator: what else to write, in JSON's types; the estimators' own `save` uses it.

    Raises:
        ValueError: an activation or loss of your own, or in a run's settings anything of your own,
            which `load` could not find again.
        OSError: the file cannot be written, or what is there is no regular file; nothing is left
            behind.
    """
    if isinstance(network, Run) and estimator is None:
        write_parts(path, *run_parts(network))
        return
    if not isinstance(network, MultilayerPerceptron):
        raise ValueError(
            "save takes a network, such as run.network, or as an estimator's network_, or a run, "
            f"and not {type(network)}; an estimator and a sweep have a save of their own, and "
            "to_onnx(pipeline, path) keeps a pipeline"
        )
    header, tensors = parts(network)
    write_parts(path, header if estimator is None else {**header, "estimator": estimator}, tensors)


def load(
    path: str | os.PathLike[str], *, backend: str | Backend = "numpy", device: Any = None
) -> MultilayerPerceptron | Any:
    """Read a network or a run from a file that `save` wrote; no code in the file is run.

    Args:
        path: of the file; of an estimator's, its network is read. A checkpoint's is a run. An ONNX
            file that `to_onnx` wrote has the network or population, too.
        backend: where its parameters go, as for `resolve`.
        device: the backend's device; None for its default.

    Returns:
        What was saved: a `MultilayerPerceptron`, or a `Run` without its data. (The annotation says
        Any for the second, so that a network can be used without a check of its type.)

    Raises:
        ModelFileError: the file is damaged, or is not a model file of this package.
        OSError: the file cannot be read.
    """
    there = resolve(backend, device)
    with naming(path):
        header, tensors = _read(path)
        if "run" in header:
            return run_of_file(header, tensors, there)
        return _network(header, tensors)[0].to(there)


def read(
    path: str | os.PathLike[str], backend: Backend
) -> tuple[MultilayerPerceptron, dict[str, Any] | None]:
    """A file's network, brought to a backend, and an estimator's entries, or None.

    Errors as of `load`.
    """
    with naming(path):
        header, tensors = _read(path)
        if "run" in header:
            raise ModelFileError("it holds a run: arraymlp.load opens it")
        network, estimator = _network(header, tensors)
    return network.to(backend), estimator


def _read(path: str | os.PathLike[str]) -> tuple[dict[str, Any], dict[str, HostArray]]:
    """A file's header and tensors, of either kind of file."""
    return read_onnx(path) if is_onnx(path) else read_parts(path)


def _network(
    header: dict[str, Any], tensors: Mapping[str, HostArray]
) -> tuple[MultilayerPerceptron, dict[str, Any] | None]:
    """A file's network, on the host, and an estimator's entries, or None."""
    if "sweep" in header or "stack" in header:
        raise ModelFileError(
            "it is of the checkpoints of a sweep or a search: the same call, with the folder as "
            "checkpoint=, goes on with it"
        )
    if "networks" in header:
        raise ModelFileError("it holds a sweep, not one network: SweepResult.load opens it")
    if "ensemble" in header:
        raise ModelFileError(
            "it holds an ensemble of networks that are not alike, and load opens one network, or a "
            "population of networks that are alike"
        )
    estimator = header.pop("estimator", None)
    if estimator is not None:
        require(estimator, {"*": ANY}, "its estimator")
    return network_of(header, tensors), estimator

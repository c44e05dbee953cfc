"""`to_onnx`: a model as an ONNX graph, which any runtime of ONNX computes."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from arraymlp.exports.models import other_pipeline, predictor
from arraymlp.training.atomic import write_whole
from arraymlp.training.model import MultilayerPerceptron
from arraymlp.training.network_parts import network_header
from arraymlp.training.onnx_file import LIMIT
from arraymlp.training.tensor_file import sealed_header

if TYPE_CHECKING:
    from onnx import ModelProto


def to_onnx(model: Any, path: str | os.PathLike[str] | None = None) -> "ModelProto":
    """A model as an ONNX graph, for any runtime of ONNX; written to a file where a path is given.

    The graph takes ``X`` (N, n_features), of the dtype of the network, and computes what the model
    predicts for it, scaling of features and targets included. A model of a table takes the raw
    columns, each an input (N, 1) of its name: numbers in float64, NaN where one is missing; dates
    as such numbers, days since the beginning of 1970; categories as texts, "" where one is missing.

    The outputs have the names that skl2onnx gives them (where a column has such a name, one with a
    line after it):

    ============= =====================================  =======================================
    output        shape                                  what it is
    ============= =====================================  =======================================
    label         (N,), or (N, n_labels) of 0 and 1      of classes, int64 or texts
    probabilities (N, n_classes) or (N, n_labels)        of each class or label
    variable      (N, n_targets); of several quantiles   of regression
                  (N, n_quantiles), or (N, n_targets,
                  n_quantiles)
    quantiles     as of several quantiles                of an estimator with several, of which
                                                         ``variable`` is the one that it predicts
    spread        of ``probabilities`` or ``variable``   of several networks
    ============= =====================================  =======================================

    Several networks are one graph, whose outputs are the mean over them, and ``spread`` the
    standard deviation.

    The graph is of IR version 8 and opset 13, which runtimes of 2022 and later have. That of a
    network, a population, or what is made of one of these, is a model file, too: `load` gives the
    network back, to the same bits.

    Args:
        model: a network or population, a `Run`, an `Ensemble`, a `SweepResult`, an estimator that
            is fitted, or scikit-learn's pipeline that ends in one. Of a sweep the networks of the
            best settings predict together, whatever their seeds and folds. A pipeline with other
            steps than a `TableEncoder` is converted by skl2onnx, and is no model file.
        path: of the file; one that exists is replaced, whole or not at all.

    Returns:
        The graph as a model of the package onnx.

    Raises:
        ValueError: the model is none of these; an activation, loss or layer in it is your own; its
            labels are neither whole numbers nor texts; a column has no name, or that of a tensor of
            the model; or its weights take more than 2 GiB, the most of an ONNX file.
        ModuleNotFoundError: onnx is not installed, or skl2onnx where it is needed; the message has
            the install line.
        OSError: the file cannot be written; nothing is left behind.
    """
    try:
        from arraymlp.exports.graph import Graph
        from arraymlp.exports.inputs import features_of
        from arraymlp.exports.predictions import predictions
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError("to_onnx needs onnx: pip install onnx") from error
    pipeline = other_pipeline(model)
    if pipeline is not None:
        proto = _of_pipeline(pipeline)
    else:
        known = predictor(model)
        _require_size(known.networks)
        graph = Graph()
        features = features_of(graph, known.networks)
        for name, value in predictions(graph, known, features).items():
            graph.output(name, value)
        headers = [network_header(network) for network in known.networks]
        header = headers[0] if len(headers) == 1 else {"ensemble": headers}
        proto = graph.to_model({"arraymlp": sealed_header(header, graph.tensors)})
    if path is not None:
        write_whole(Path(path), proto.SerializeToString())
    return proto


def _of_pipeline(pipeline: Any) -> "ModelProto":
    try:
        from arraymlp.exports.skl2onnx import pipeline_model
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "to_onnx of a pipeline needs skl2onnx: pip install skl2onnx"
        ) from error
    return pipeline_model(pipeline)


def _require_size(networks: Sequence[MultilayerPerceptron]) -> None:
    """A ValueError where networks are too large for an ONNX file."""
    size = sum((n.members or 1) * n.n_parameters * np.dtype(n.dtype).itemsize for n in networks)
    if size > LIMIT:
        raise ValueError(f"an ONNX file has at most 2 GiB, but there are {size} bytes of weights")

"""ONNX models checked, and computed by what there is: onnx's own evaluator and onnxruntime."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")
from onnx.reference import ReferenceEvaluator  # noqa: E402

Outputs = dict[str, np.ndarray]


def evaluators(model: Any) -> list[Any]:
    """What computes a model, each with a method ``run``, once the model has been checked."""
    onnx.checker.check_model(model, full_check=True)
    assert (model.ir_version, {o.domain: o.version for o in model.opset_import}) == (
        8,
        {"": 13, "ai.onnx.ml": 2},
    )
    sessions = [ReferenceEvaluator(model)]
    try:
        import onnxruntime
    except ModuleNotFoundError:
        return sessions
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 2  # what it warns of is a fault, and seen
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return [*sessions, session]


def outputs(model: Any, feeds: Mapping[str, np.ndarray]) -> list[Outputs]:
    """What each evaluator gives, by the names of the outputs."""
    names = [output.name for output in model.graph.output]
    with np.errstate(all="ignore"):  # as the package has it
        return [
            dict(zip(names, evaluator.run(names, dict(feeds)), strict=True))
            for evaluator in evaluators(model)
        ]

"""ONNX models checked, and computed by what there is: onnx's own evaluator and onnxruntime."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
from onnx.reference import ReferenceEvaluator

from arraymlp import Ensemble, MultilayerPerceptron
from arraymlp.data.frames.values import text_of

Outputs = dict[str, np.ndarray]


def evaluators(model: Any) -> list[Any]:
    """What computes a model, each with a method ``run``, once the model has been checked."""
    onnx.checker.check_model(model, full_check=True)
    versions = {opset.domain: opset.version for opset in model.opset_import}
    assert model.ir_version == 8
    assert versions in ({"": 13}, {"": 13, "ai.onnx.ml": 2})
    return [ReferenceEvaluator(model), *sessions(model)]


def sessions(model: Any) -> list[Any]:
    """onnxruntime's session of a model, where onnxruntime is installed."""
    try:
        import onnxruntime
    except ModuleNotFoundError:
        return []
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    providers = ["CPUExecutionProvider"]
    return [onnxruntime.InferenceSession(model.SerializeToString(), options, providers=providers)]


def given(evaluator: Any, model: Any, feeds: Mapping[str, np.ndarray]) -> Outputs:
    """What an evaluator gives, by the names of the outputs."""
    names = [output.name for output in model.graph.output]
    with np.errstate(all="ignore"):  # as the package computes
        return dict(zip(names, evaluator.run(names, dict(feeds)), strict=True))


def feeds_of(model: Any, table: Any) -> dict[str, np.ndarray]:
    """A pandas data frame's columns as the inputs of a model, numbers and texts.

    Dates are days since the beginning of 1970, missing texts are empty.
    """
    feeds = {}
    for of in model.graph.input:
        column = table[of.name]
        if of.type.tensor_type.elem_type == onnx.TensorProto.STRING:
            known = column.notna()
            texts = [text_of(v) if k else "" for v, k in zip(column, known, strict=True)]
            feeds[of.name] = np.asarray(texts, dtype=object)[:, None]
            continue
        if column.dtype.kind == "M":
            column = (column - np.datetime64(0, "D")) / np.timedelta64(1, "D")
        feeds[of.name] = column.to_numpy("float64")[:, None]
    return feeds


def expected(model: Any, rows: Any) -> Outputs:
    """What the graph of a network, a population or an ensemble has to give, of the package."""
    together = isinstance(model, Ensemble) or model.members is not None
    if together and not isinstance(model, Ensemble):
        model = Ensemble([model])
    several = {"return_std": True} if together else {}
    network = model.networks[0] if together else model
    if network.loss.classifies == "no":
        y = model.predict(rows, **several)
        named = dict(zip(("variable", "spread"), y if together else [y], strict=False))
        return {name: v.reshape(len(v), -1) if v.ndim < 2 else v for name, v in named.items()}
    p = model.predict_proba(rows, **several)
    named = dict(zip(("probabilities", "spread"), p if together else [p], strict=False))
    return {"label": model.predict(rows), **named}


def require_same(
    model: Any, feeds: Mapping[str, np.ndarray], wanted: Outputs, dtype: str = "float32"
) -> None:
    """A model's outputs are these, of no rows, one, and all; floats of single precision to 1e-6.

    Numbers that may be of any size are so in units of the largest.

    Args:
        model: the ONNX model.
        feeds: its inputs.
        wanted: its outputs.
        dtype: of the networks' parameters.
    """
    for evaluator in evaluators(model):
        for n in (0, 1, len(next(iter(feeds.values())))):
            there = given(evaluator, model, {name: rows[:n] for name, rows in feeds.items()})
            assert there.keys() == wanted.keys()
            assert {len(rows) for rows in there.values()} == {n}
            for name, value in wanted.items():
                require_close(there[name], value, name, dtype)


def require_close(there: np.ndarray, wanted: np.ndarray, name: str, dtype: str) -> None:
    """An output is the first rows of what is wanted: the same labels, numbers but for rounding."""
    here = wanted[: len(there)]
    assert there.shape == here.shape, name
    if name.startswith("label"):
        assert there.dtype in (np.int64, object)
        assert there.tolist() == here.tolist()
        return
    unit = max(1, np.abs(wanted).max())
    assert there.dtype == here.dtype, name
    allowed = 1e-6 if dtype == "float32" else 1e-12
    np.testing.assert_allclose(there, here, rtol=0, atol=allowed * unit)


def network(members: int | None = None, sizes: Any = (3, 7, 6, 3), **how: Any) -> Any:
    """A network with biases, drawn."""
    seed = 0 if members is None else range(members)
    made = MultilayerPerceptron.create(sizes, seed=seed, **how)
    random = np.random.default_rng(1)
    for layer in made.layers:
        layer.bias = random.normal(size=layer.bias.shape).astype(made.dtype)
    return made

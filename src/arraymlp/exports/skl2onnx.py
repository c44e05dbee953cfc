"""The package's estimators and encoder in pipelines that skl2onnx converts.

After ``arraymlp.exports.skl2onnx.register()`` skl2onnx knows them. Its converters write the same
graphs as `arraymlp.to_onnx`, as parts of the pipeline's.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
from onnx import ModelProto, helper
from skl2onnx import convert_sklearn, update_registered_converter
from skl2onnx._parse import _parse_sklearn
from skl2onnx.common.data_types import (
    DoubleTensorType,
    FloatTensorType,
    Int64TensorType,
    StringTensorType,
)
from sklearn.base import is_classifier
from sklearn.compose import ColumnTransformer
from sklearn.utils.validation import check_is_fitted

from arraymlp.data.encoding.columns import Categories, EncodedColumn
from arraymlp.data.encoding.encoder import TableEncoder
from arraymlp.estimators.classifier import MLPClassifier
from arraymlp.estimators.ensembles import MLPEnsembleClassifier, MLPEnsembleRegressor
from arraymlp.estimators.regressor import MLPRegressor
from arraymlp.estimators.search import MLPSearchCV
from arraymlp.exports.graph import BATCH, ML, ML_OPSET, OPSET, Graph, Value
from arraymlp.exports.inputs import Columns, encoded
from arraymlp.exports.models import predictor
from arraymlp.exports.predictions import predictions

# As of scikit-learn's classifiers
OPTIONS = {
    "zipmap": [True, False, "columns"],
    "output_class_labels": [False, True],
    "nocl": [True, False],
}
DTYPES: dict[Any, np.dtype[Any]] = {
    FloatTensorType: np.dtype("float32"),
    DoubleTensorType: np.dtype("float64"),
    Int64TensorType: np.dtype("int64"),
    StringTensorType: np.dtype("O"),
}
TYPES = {dtype: kind for kind, dtype in DTYPES.items()}


def register() -> None:
    """Have skl2onnx convert this package's estimators, ensembles and searches, and its encoder.

    Classifiers have the options of scikit-learn's own, such as ``zipmap``.
    """
    estimators = (MLPClassifier, MLPEnsembleClassifier), (MLPRegressor, MLPEnsembleRegressor)
    for kinds, options in zip(estimators, (OPTIONS, None), strict=True):
        for kind in kinds:
            update_registered_converter(kind, _alias(kind), _set_types, _convert, options=options)
    encoder, search = _alias(TableEncoder), _alias(MLPSearchCV)
    update_registered_converter(
        TableEncoder, encoder, _set_types, _convert_encoder, parser=_parse_encoder
    )
    update_registered_converter(
        MLPSearchCV, search, _set_types, _convert, parser=_parse_search, options="passthrough"
    )


def pipeline_model(pipeline: Any) -> ModelProto:
    """The graph of a pipeline that ends in an estimator of this package, by skl2onnx.

    It takes ``X`` (N, n_features), or the raw columns where a `TableEncoder` comes first, as that
    of `arraymlp.to_onnx` does.

    Raises:
        ValueError: the last step is no estimator of this package, or the first picks columns, whose
            types a pipeline does not know.
        sklearn.exceptions.NotFittedError: it is not fitted.
    """
    check_is_fitted(pipeline)
    first, last = pipeline.steps[0][1], pipeline.steps[-1][1]
    if isinstance(first, ColumnTransformer):
        raise ValueError(
            "a ColumnTransformer does not know the types of its columns: after "
            "arraymlp.exports.skl2onnx.register(), skl2onnx.to_onnx(pipeline, X) takes those of X"
        )
    dtype = np.result_type(*(network.dtype for network in predictor(last).networks))
    types = [("X", TYPES[dtype]([None, pipeline.n_features_in_]))]
    if isinstance(first, TableEncoder):
        types = [
            (
                c.name,
                (StringTensorType if isinstance(c, Categories) else DoubleTensorType)([None, 1]),
            )
            for c in first.encoding_.columns
        ]
    register()
    options = {id(last): {"zipmap": False}} if is_classifier(last) else None
    return convert_sklearn(
        pipeline, initial_types=types, target_opset={"": OPSET, ML: ML_OPSET}, options=options
    )


def _type_of(column: EncodedColumn) -> Any:
    """The type of a raw column's input."""
    return (StringTensorType if isinstance(column, Categories) else DoubleTensorType)([None, 1])


def _alias(kind: type) -> str:
    return f"Arraymlp{kind.__name__}"


def _parse_encoder(scope: Any, model: Any, inputs: Any, custom_parsers: Any = None) -> Any:
    """Have one operator for an encoder, of all its columns."""
    operator = scope.declare_local_operator(_alias(TableEncoder), model)
    operator.inputs = inputs
    operator.outputs.append(scope.declare_local_variable("variable", FloatTensorType()))
    return operator.outputs


def _parse_search(scope: Any, model: Any, inputs: Any, custom_parsers: Any = None) -> Any:
    """Have what there is for the best estimator of a search, with the options of the search."""
    if options := scope.get_options(model):
        scope.add_options(id(model.best_estimator_), options)
    return _parse_sklearn(scope, model.best_estimator_, inputs, custom_parsers)


def _set_types(operator: Any) -> None:
    """Set the type of each output."""
    rows = operator.inputs[0].get_first_dimension()
    for output, (dtype, width) in zip(operator.outputs, _outputs(operator), strict=True):
        output.set_type(TYPES[dtype]([rows] if width is None else [rows, width]))


def _outputs(operator: Any) -> Iterator[tuple[np.dtype[Any], int | None]]:
    """The dtype of each output, and its width; None where it has none."""
    model = operator.raw_operator
    if isinstance(model, TableEncoder):
        yield np.dtype(model.dtype), model.encoding_.width
        return
    double = isinstance(operator.inputs[0].type, DoubleTensorType)
    floats = np.dtype("float64" if double else "float32")
    known = predictor(model)
    network = known.networks[0]
    n = network.sizes[-1]
    if network.loss.classifies == "no":
        yield floats, n // network.loss.outputs_per_target
    elif known.classes is None:
        yield from ((np.dtype("int64"), n), (floats, n))
    else:
        yield from ((known.classes.dtype, None), (floats, len(known.classes)))


def _convert(scope: Any, operator: Any, container: Any) -> None:
    """Write what an estimator predicts."""
    graph, known = Graph(scope.get_unique_variable_name), predictor(operator.raw_operator)
    x = _given(graph, operator.inputs[0], known.networks[0].sizes[0])
    named = predictions(graph, known, lambda network: x)
    _write(graph, [*named.values()], scope, operator, container)


def _convert_encoder(scope: Any, operator: Any, container: Any) -> None:
    """Write the features of an encoder."""
    graph, encoder = Graph(scope.get_unique_variable_name), operator.raw_operator
    features = encoded(encoder.encoding_, _columns(graph, operator.inputs, encoder))
    _write(graph, [features], scope, operator, container)


def _columns(graph: Graph, inputs: Any, encoder: TableEncoder) -> Columns:
    """The columns of an encoder: an input each, or those of a table of numbers.

    Raises:
        ValueError: a column is missing, or it is of a type that it cannot be of.
    """
    n = encoder.n_features_in_
    names = getattr(encoder, "feature_names_in_", [f"x{i}" for i in range(n)])
    if len(inputs) == 1 and n > 1:
        table = _given(graph, inputs[0], n)
        each = [graph.constant(np.asarray([i], np.int64)) for i in range(n)]
        columns = {name: table.take(i, axis=1) for name, i in zip(names, each, strict=True)}
    elif len(inputs) == n:
        columns = {name: _given(graph, v, 1) for name, v in zip(names, inputs, strict=True)}
    else:
        columns = {variable.raw_name: _given(graph, variable, 1) for variable in inputs}
    for column in encoder.encoding_.columns:
        if column.name not in columns:
            raise ValueError(f"the graph has no input for column {column.name!r}")
        given = columns[column.name]
        if isinstance(column, Categories) and given.dtype.kind == "f":
            raise ValueError(f"column {column.name!r} must be texts, or integers, in ONNX")
        columns[column.name] = given.cast("O" if isinstance(column, Categories) else "float64")
    return columns


def _given(graph: Graph, variable: Any, width: int) -> Value:
    """A variable of skl2onnx as a value of the graph."""
    dtype = DTYPES.get(type(variable.type))
    if dtype is None:
        raise ValueError(f"{variable.raw_name!r} must be numbers or texts, not {variable.type}")
    return Value(graph, variable.full_name, (BATCH, width), dtype)


def _write(graph: Graph, values: list[Value], scope: Any, operator: Any, container: Any) -> None:
    """Put a graph that gives these values, and maybe others, into skl2onnx's."""
    for variable, value in zip(operator.outputs, values, strict=False):
        graph.output(variable.full_name, value.cast(DTYPES[type(variable.type)]))
    container.initializers.extend(graph.initializers)
    for node in graph.nodes:
        container.add_node(
            node.op_type,
            list(node.input),
            list(node.output),
            op_domain=node.domain,
            op_version=ML_OPSET if node.domain == ML else None,
            name=scope.get_unique_operator_name(node.op_type),
            **{a.name: helper.get_attribute_value(a) for a in node.attribute},
        )

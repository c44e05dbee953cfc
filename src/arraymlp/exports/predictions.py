"""What a graph predicts: labels, probabilities or numbers, of one network or of many together."""

import numpy as np

from arraymlp.exports.forward import GraphNetwork
from arraymlp.exports.graph import Graph, Value
from arraymlp.exports.inputs import Features
from arraymlp.exports.models import Predictor
from arraymlp.exports.namespace import xp
from arraymlp.training.network_parts import parts


def predictions(graph: Graph, predictor: Predictor, features: Features) -> dict[str, Value]:
    """What a model predicts, by the names that skl2onnx has for it.

    Args:
        graph: to write to.
        predictor: the model.
        features: what each network is given.

    Returns:
        Of classifiers ``label``, (N,), or (N, n_labels) of 0 and 1, and ``probabilities``,
        (N, n_classes). Of regression ``variable``, (N, n_targets), or with several quantiles
        (N, n_quantiles) and (N, n_targets, n_quantiles); where an estimator predicts one of them,
        that is ``variable``, and ``quantiles`` are all. Of several networks these are of the mean
        over them, and ``spread`` is the standard deviation of ``probabilities`` or ``variable``.

    Raises:
        ValueError: something in a network is the user's own.
    """
    networks = [_network(graph, predictor, i) for i in range(len(predictor.networks))]
    logits = [n.logits(features(n.network)) for n in networks]
    pairs = list(zip(networks, logits, strict=True))
    if networks[0].network.loss.classifies == "no":
        numbers = _joined([network.numbers(s) for network, s in pairs])
        return _numbers(numbers, predictor)
    p = _joined([network.probabilities(s) for network, s in pairs])
    if not predictor.together:
        chosen = networks[0].choices(logits[0])
        return {"label": _labels(chosen, predictor), "probabilities": p}
    mean, spread = _mean_and_spread(p)
    one = predictor.classes is not None
    chosen = xp.argmax(mean, axis=-1) if one else (mean > 0.5).cast("int64")
    return {"label": _labels(chosen, predictor), "probabilities": mean, "spread": spread}


def _network(graph: Graph, predictor: Predictor, i: int) -> GraphNetwork:
    """Network i, its tensors in the graph."""
    network, several = predictor.networks[i], len(predictor.networks) > 1
    prefix = f"networks.{i}." if several else ""
    _, tensors = parts(network)
    values = {name: graph.tensor(prefix + name, array) for name, array in tensors.items()}
    return GraphNetwork(network, values)


def _joined(values: list[Value]) -> Value:
    """The members of all stacks, of the widest dtype among them; or one network's values."""
    widest = np.result_type(*(value.dtype for value in values))
    return xp.concat([value.cast(widest) for value in values], axis=0)


def _mean_and_spread(members: Value) -> tuple[Value, Value]:
    """The mean over members (K, ...), and the standard deviation."""
    k = members.shape[0]
    mean = xp.sum(members, axis=0) / k
    away = members - mean
    return mean, xp.sqrt(xp.sum(away * away, axis=0) / k)


def _numbers(y: Value, predictor: Predictor) -> dict[str, Value]:
    """What is predicted of numbers (..., N, n_targets) or (..., N, n_targets, n_quantiles)."""
    given = {"variable": y}
    if predictor.together:
        given["variable"], given["spread"] = _mean_and_spread(y)
    if predictor.level is None:
        return {name: _of_one_target(value) for name, value in given.items()}
    chosen = {name: value.take(predictor.level, axis=-1) for name, value in given.items()}
    return {**chosen, "quantiles": _of_one_target(given["variable"])}


def _of_one_target(y: Value) -> Value:
    """Quantiles (N, n_targets, n_quantiles) of one target as (N, n_quantiles); others as are."""
    return xp.reshape(y, (y.shape[0], y.shape[2])) if y.ndim == 3 and y.shape[1] == 1 else y


def _labels(chosen: Value, predictor: Predictor) -> Value:
    """The labels of decisions, positions of classes (N,) or columns of 0 and 1."""
    if predictor.classes is None:
        return chosen
    return chosen.graph.constant(predictor.classes).take(chosen, axis=0)

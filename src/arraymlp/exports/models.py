"""What there is to export: the networks of a model of any kind, and what they predict."""

import sys
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from arraymlp.backends.array import HostArray
from arraymlp.data.encoding.encoder import TableEncoder
from arraymlp.sweeps.result import SweepResult
from arraymlp.training.ensemble import Ensemble
from arraymlp.training.model import MultilayerPerceptron
from arraymlp.training.run import Run


@dataclass(frozen=True)
class Predictor:
    """Networks that predict together, or one that predicts alone.

    Attributes:
        networks: stacks, as of `Ensemble.networks`; or one network.
        classes: the label of each column of probabilities, int64 or texts (objects); None for
            regression and multi-label.
        level: which of several quantiles an estimator predicts; None for all of them.
    """

    networks: list[MultilayerPerceptron]
    classes: HostArray | None
    level: int | None = None

    @property
    def together(self) -> bool:
        """Whether the mean over members is predicted, and their spread with it."""
        return len(self.networks) > 1 or self.networks[0].members is not None


def predictor(model: Any) -> Predictor:
    """The networks of a model.

    Args:
        model: a network or population, a `Run`, an `Ensemble`, a `SweepResult`, an estimator that
            is fitted, or a pipeline of a `TableEncoder` and one. Of a sweep all networks of the
            best settings that did not fail predict together, whatever their seeds and folds.

    Raises:
        ValueError: it is none of these.
    """
    if isinstance(model, Run):
        model = model.network
    elif isinstance(model, SweepResult):
        best = model.rank()[0]["members"]
        counting = [model[k].network for k in best if model[k].counts]
        model = Ensemble(counting or [model.best.network])
    if isinstance(model, MultilayerPerceptron) and isinstance(model.encoding, tuple):
        model = Ensemble([model])  # a stack for each encoding
    if isinstance(model, Ensemble):
        return _of_networks(model.networks)
    if isinstance(model, MultilayerPerceptron):
        return _of_networks([model])
    known = _of_estimator(model) if "sklearn" in sys.modules else None
    if known is None:
        raise ValueError(
            "to_onnx takes a network, a run, an ensemble, the result of a sweep or an estimator of "
            f"this package, and not {type(model)}"
        )
    return known


def _of_networks(networks: list[MultilayerPerceptron]) -> Predictor:
    classes = networks[0].classes
    return Predictor(networks, None if classes is None else _labels(classes))


def _labels(classes: HostArray) -> HostArray:
    """The labels as ONNX has them, of 64 bits or texts, as skl2onnx makes them.

    Raises:
        ValueError: they are neither whole numbers nor texts.
    """
    if all(isinstance(label, str) for label in classes):
        return classes.astype(object)
    if classes.dtype.kind in "biuf" and np.array_equal(classes, classes.astype(np.int64)):
        return classes.astype(np.int64)
    raise ValueError(f"ONNX has labels that are integers or texts, and none of {classes.dtype}")


def other_pipeline(model: Any) -> Any:
    """A pipeline of scikit-learn's, also as the best one of a search, that `predictor` refuses."""
    if "sklearn" not in sys.modules:
        return None
    from sklearn.pipeline import Pipeline

    from arraymlp.estimators.search import MLPSearchCV

    if isinstance(model, MLPSearchCV):
        model = _best(model)
    return model if isinstance(model, Pipeline) and _encoder(model) is None else None


def _of_estimator(model: Any) -> Predictor | None:
    """The networks of an estimator; None of another object."""
    from sklearn.pipeline import Pipeline
    from sklearn.utils.validation import check_is_fitted

    from arraymlp.estimators.base import BaseMLP
    from arraymlp.estimators.ensembles import DeepEnsemble
    from arraymlp.estimators.regressor import MLPRegressor, middle_level
    from arraymlp.estimators.search import MLPSearchCV

    if isinstance(model, MLPSearchCV):
        return predictor(_best(model))
    if isinstance(model, Pipeline) and (encoder := _encoder(model)) is not None:
        known, encoding = predictor(model.steps[-1][1]), encoder.encoding_
        networks = [
            replace(network, encoding=encoding, features=encoding.names)
            for network in known.networks
        ]
        return replace(known, networks=networks)
    if not isinstance(model, BaseMLP | DeepEnsemble):
        return None
    check_is_fitted(model)
    first = model.estimators_[0] if isinstance(model, DeepEnsemble) else model
    networks = model.ensemble_.networks if isinstance(model, DeepEnsemble) else [model.network_]
    if isinstance(first, MLPRegressor):
        loss = networks[0].loss
        level = middle_level(loss) if loss.outputs_per_target > 1 else None
        return Predictor(networks, None, level)
    if first._labels.multilabel:
        return Predictor(networks, None)
    classes = _labels(first._labels.classes)
    if len(classes) == 1:  # the network knows two
        return Predictor(networks, np.resize(classes, 2))
    named = np.asarray(classes.tolist())
    return _of_networks([replace(network, classes=named) for network in networks])


def _best(search: Any) -> Any:
    """A search's best estimator."""
    from sklearn.utils.validation import check_is_fitted

    check_is_fitted(search)
    if not hasattr(search, "best_estimator_"):
        raise ValueError("a search with refit=False has no best estimator to export")
    return search.best_estimator_


def _encoder(pipeline: Any) -> TableEncoder | None:
    """The encoder of a pipeline that is one and a network; None of another pipeline."""
    encoder = pipeline.steps[0][1]
    return encoder if len(pipeline.steps) == 2 and isinstance(encoder, TableEncoder) else None

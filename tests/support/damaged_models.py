"""Damaged model files of every kind, with the SHA-256 that they had, or with one made right."""

import json
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from scipy.sparse import issparse

import arraymlp
from arraymlp import MLPClassifier, MLPRegressor, ModelFileError, SweepResult
from arraymlp.losses import Quantile
from fuzzing import SAME, VALID, Format
from mutations import damage, resealed

X = np.random.default_rng(0).normal(size=(24, 3)).round(2).astype("float32")
LABELS = np.arange(24) % 3 * 5 + 2
HOW: dict[str, Any] = {"epochs": 2, "batch_size": 8, "backend": "numpy"}


@cache
def networks() -> list[bytes]:
    one = arraymlp.train(X, LABELS, hidden=(3,), **HOW).network
    levels = Quantile(((0.25, 0.5), (0.5, 0.75)))
    several = arraymlp.train(X, X[:, 0], hidden=(2, 2), loss=levels, seed=[1, 2], **HOW).network
    folds = arraymlp.sweep(X, X[:, 0], hidden=(2,), standardize=True, cv=2, **HOW)
    scaled = arraymlp.MultilayerPerceptron.stacked([member.network for member in folds])
    scaled.features = ("a", "b", "ü")
    return [_saved(arraymlp.save, network) for network in (one, several, scaled)]


@cache
def graphs() -> list[bytes]:
    """ONNX files, most of whose bytes are tensors."""
    wide = arraymlp.train(X, LABELS, hidden=(40,), seed=[1, 2], **HOW).network
    numbers = arraymlp.train(X, X[:, 0], hidden=(30,), standardize=True, **HOW).network
    return [_saved(arraymlp.to_onnx, network) for network in (wide, numbers)]


@cache
def sweeps() -> list[bytes]:
    result = arraymlp.sweep(X, LABELS, hidden=[(3,), ()], learning_rate=[0.1, 1e30], cv=2, **HOW)
    result.findings(0)
    result.findings(1)
    result.seconds = 0.5
    for member in result:
        for record in member.records:
            record |= {"seconds": 0.25, "samples_per_s": 64.0}  # a seed's files are the same ones
    return [_saved(SweepResult.save, result)]


@cache
def estimators() -> list[bytes]:
    how: dict[str, Any] = {"hidden_layer_sizes": (3,), "max_iter": 2, "random_state": 0}
    names = np.array(["ant", "bee", "ü"])[np.arange(24) % 3]
    weights = {"ant": 2.0, "ü": 0.5}
    models = [
        MLPClassifier(**how, class_weight=weights, n_iter_no_change=np.inf).fit(X, names),
        MLPClassifier(**how, activation=("tanh",), early_stopping=True).fit(X, LABELS.astype("u1")),
        MLPClassifier(**how, dropout=arraymlp.Dropout(0.1)).fit(
            X, np.eye(3, dtype=int)[LABELS // 5]
        ),
    ]
    return [_saved(MLPClassifier.save, model) for model in models]


@cache
def regressors() -> list[bytes]:
    how: dict[str, Any] = {"hidden_layer_sizes": (3,), "max_iter": 2, "random_state": 0}
    models = [
        MLPRegressor(**how, loss=Quantile((0.25, 0.75))).fit(X, X[:, 0]),
        MLPRegressor(**how, solver="lbfgs").fit(X, X[:, :2]),
    ]
    return [_saved(MLPRegressor.save, model) for model in models]


def _saved(save: Callable[[Any, Path], Any], thing: Any) -> bytes:
    with TemporaryDirectory() as folder:
        save(thing, Path(folder) / "a")
        return (Path(folder) / "a").read_bytes()


def _parameters(network: Any) -> Any:
    arrays = [(p.tobytes(), p.shape) for x in network.layers for p in (x.weights, x.bias)]
    classes = None if network.classes is None else network.classes.tolist()
    about = network.loss, network.inputs, network.outputs, network.features
    return [arrays, [x.activation for x in network.layers], about, classes]


def content_of_network(network: Any) -> Any:
    """All that a network is; and it is used."""
    rows = np.ones((2, network.sizes[0]), network.dtype)
    network.predict(rows)
    return _parameters(network)


def content_of_sweep(result: Any) -> Any:
    """All that a sweep is; and it is used."""
    result.rank()
    repr(result)
    text = result.to_json()
    json.loads(text)
    if any(m.counts for m in result):
        assert result.best.counts
        assert len(result.ensemble(1).networks) == 1
    for member in result:
        if member.result is not None and result.score in member.history.columns:
            [float(value) for value in member.history[result.score]]
    trained = [n for n in result.networks if n is not None]
    return [text, [_parameters(network) for network in trained], sorted(result._findings)]


def content_of_estimator(model: Any) -> Any:
    """All that an estimator is; and it is used."""
    rows = np.ones((2, model.n_features_in_))
    if hasattr(model, "feature_names_in_"):
        import pandas

        rows = pandas.DataFrame(rows, columns=model.feature_names_in_)
    predicted = model.predict(rows)
    predicted = predicted.toarray() if issparse(predicted) else predicted  # as its labels were
    attributes = {name: repr(value) for name, value in vars(model).items() if name != "network_"}
    return [attributes, _parameters(model.network_), predicted.tolist(), repr(model)]


@cache
def _contents(
    read: Callable[[Path], Any], content_of: Callable[[Any], Any], file: Path, form: str
) -> Any:
    contents = []
    for original in MODELS[form]().originals:
        file.write_bytes(original)
        contents.append(content_of(read(file)))
    return contents


def _same(read: Any, content_of: Any, name: str, thing: Any, file: Path) -> str:
    content = content_of(thing)
    before = _contents(read, content_of, file.with_name("original"), name)
    assert any(repr(content) == repr(original) for original in before), "other content, unnoticed"
    return SAME


def _valid(content_of: Any, thing: Any, file: Path) -> str:
    with np.errstate(all="ignore"):
        content_of(thing)
    return VALID


def model(name: str, originals: Any, read: Any, content_of: Any) -> dict[str, Callable[[], Format]]:
    """Two formats: with the SHA-256 that it had, and with it made right again."""
    again = f"{name} (sealed again)"
    return {
        name: lambda: Format(
            ".safetensors",
            originals(),
            damage,
            read,
            ModelFileError,
            partial(_same, read, content_of, name),
        ),
        again: lambda: Format(
            ".safetensors",
            originals(),
            resealed,
            read,
            ModelFileError,
            partial(_valid, content_of),
        ),
    }


MODELS: dict[str, Callable[[], Format]] = {
    **model("network", networks, arraymlp.load, content_of_network),
    "network (ONNX)": lambda: Format(
        ".onnx",
        graphs(),
        damage,
        arraymlp.load,
        ModelFileError,
        partial(_same, arraymlp.load, content_of_network, "network (ONNX)"),
    ),
    **model("sweep", sweeps, SweepResult.load, content_of_sweep),
    **model("classifier", estimators, MLPClassifier.load, content_of_estimator),
    **model("regressor", regressors, MLPRegressor.load, content_of_estimator),
}

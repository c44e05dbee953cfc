"""Multilayer perceptrons on any array backend: one readable backpropagation for NumPy and CUDA.

``train`` trains a network, ``sweep`` many at once, ``save`` and ``load`` keep one in a file,
``to_onnx`` makes it an ONNX graph, and ``resolve`` and ``available_backends`` say where it can run.
The rest is in namespaces: `activations`, `callbacks`, `datasets`, `initializers`, `losses`,
`metrics`, `optimizers`, `schedules`.

What is read and what runs: `Layer`, the losses and the optimisers, composed by
`arraymlp.steps.step`, are the definition, and ``train(engine="array")`` runs exactly these lines.
An engine (`arraymlp.engines`) does the same steps faster, and is tested against the definition.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from arraymlp import (
        activations,
        callbacks,
        datasets,
        initializers,
        losses,
        metrics,
        optimizers,
        schedules,
    )
    from arraymlp.app.speed import BackendSpeed, backend_speeds
    from arraymlp.backends.backend import Backend, NoSuchDeviceError
    from arraymlp.backends.group import Group
    from arraymlp.backends.memory import DeviceMemoryError
    from arraymlp.backends.registry import (
        BackendFallbackWarning,
        BackendStatus,
        BackendUnavailableError,
        available_backends,
        register_backend,
        resolve,
    )
    from arraymlp.data.encoding.encoder import TableEncoder
    from arraymlp.data.encoding.encoding import TableEncoding
    from arraymlp.diagnosis.detectors import diagnose
    from arraymlp.diagnosis.findings import Finding
    from arraymlp.estimators.classifier import MLPClassifier as MLPClassifier
    from arraymlp.estimators.ensembles import MLPEnsembleClassifier as MLPEnsembleClassifier
    from arraymlp.estimators.ensembles import MLPEnsembleRegressor as MLPEnsembleRegressor
    from arraymlp.estimators.regressor import MLPRegressor as MLPRegressor
    from arraymlp.estimators.search import MLPSearchCV as MLPSearchCV
    from arraymlp.exports.to_onnx_function import to_onnx
    from arraymlp.nn.dropout import Dropout
    from arraymlp.nn.layer import Layer
    from arraymlp.sweeps.result import SweepResult
    from arraymlp.sweeps.sweep_function import sweep
    from arraymlp.sweeps.workers.errors import ExecutorError
    from arraymlp.training.checkpoint import Checkpoint
    from arraymlp.training.early_stopping import EarlyStopping
    from arraymlp.training.engine_check import EngineMismatchWarning
    from arraymlp.training.ensemble import Ensemble
    from arraymlp.training.files import load, save
    from arraymlp.training.generations import CheckpointDamagedWarning, CheckpointError
    from arraymlp.training.gradient_check.check import GradientError, check_gradients
    from arraymlp.training.history import History
    from arraymlp.training.model import MultilayerPerceptron
    from arraymlp.training.ranks.ranks import RankError
    from arraymlp.training.run import NonFiniteLossError, Run
    from arraymlp.training.saver import CheckpointWarning
    from arraymlp.training.schema import ModelFileError
    from arraymlp.training.settings import Settings
    from arraymlp.training.train_function import train

__version__ = "0.1.0"

# Where each name is: it is loaded when it is first asked for, so that importing the package costs
# next to nothing. The estimators import scikit-learn, and so ``from arraymlp import *``, which goes
# by ``__all__``, leaves them out.
_LAZY = {
    "Backend": "backends.backend",
    "BackendFallbackWarning": "backends.registry",
    "BackendSpeed": "app.speed",
    "BackendStatus": "backends.registry",
    "BackendUnavailableError": "backends.registry",
    "Checkpoint": "training.checkpoint",
    "CheckpointDamagedWarning": "training.generations",
    "CheckpointError": "training.generations",
    "CheckpointWarning": "training.saver",
    "DeviceMemoryError": "backends.memory",
    "Dropout": "nn.dropout",
    "EarlyStopping": "training.early_stopping",
    "EngineMismatchWarning": "training.engine_check",
    "Ensemble": "training.ensemble",
    "ExecutorError": "sweeps.workers.errors",
    "Finding": "diagnosis.findings",
    "GradientError": "training.gradient_check.check",
    "Group": "backends.group",
    "History": "training.history",
    "Layer": "nn.layer",
    "MLPClassifier": "estimators.classifier",
    "MLPEnsembleClassifier": "estimators.ensembles",
    "MLPEnsembleRegressor": "estimators.ensembles",
    "MLPRegressor": "estimators.regressor",
    "MLPSearchCV": "estimators.search",
    "ModelFileError": "training.schema",
    "MultilayerPerceptron": "training.model",
    "NoSuchDeviceError": "backends.backend",
    "NonFiniteLossError": "training.run",
    "RankError": "training.ranks.ranks",
    "Run": "training.run",
    "Settings": "training.settings",
    "SweepResult": "sweeps.result",
    "TableEncoder": "data.encoding.encoder",
    "TableEncoding": "data.encoding.encoding",
    "available_backends": "backends.registry",
    "backend_speeds": "app.speed",
    "check_gradients": "training.gradient_check.check",
    "diagnose": "diagnosis.detectors",
    "load": "training.files",
    "register_backend": "backends.registry",
    "resolve": "backends.registry",
    "save": "training.files",
    "sweep": "sweeps.sweep_function",
    "to_onnx": "exports.to_onnx_function",
    "train": "training.train_function",
}
_NAMESPACES = (
    "activations",
    "callbacks",
    "datasets",
    "initializers",
    "losses",
    "metrics",
    "optimizers",
    "schedules",
)

__all__ = [
    "Backend",
    "BackendFallbackWarning",
    "BackendSpeed",
    "BackendStatus",
    "BackendUnavailableError",
    "Checkpoint",
    "CheckpointDamagedWarning",
    "CheckpointError",
    "CheckpointWarning",
    "DeviceMemoryError",
    "Dropout",
    "EarlyStopping",
    "EngineMismatchWarning",
    "Ensemble",
    "ExecutorError",
    "Finding",
    "GradientError",
    "Group",
    "History",
    "Layer",
    "ModelFileError",
    "MultilayerPerceptron",
    "NoSuchDeviceError",
    "NonFiniteLossError",
    "RankError",
    "Run",
    "Settings",
    "SweepResult",
    "TableEncoder",
    "TableEncoding",
    "activations",
    "available_backends",
    "backend_speeds",
    "callbacks",
    "check_gradients",
    "datasets",
    "diagnose",
    "initializers",
    "load",
    "losses",
    "metrics",
    "optimizers",
    "register_backend",
    "resolve",
    "save",
    "schedules",
    "sweep",
    "to_onnx",
    "train",
]


def __getattr__(name: str) -> Any:
    if name in _NAMESPACES:
        return import_module(f"arraymlp.{name}")
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(f"arraymlp.{_LAZY[name]}"), name)
    return value


def __dir__() -> list[str]:
    special = {name for name in globals() if name.startswith("__")}
    return sorted({*special, *_LAZY, *_NAMESPACES})

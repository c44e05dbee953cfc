"""Multilayer perceptrons on any array backend: one readable backpropagation for NumPy and CUDA.

``train`` trains, ``sweep`` trains many networks at once, ``load_mnist`` has the data of the
published lab, ``save`` and ``load`` keep a network in a file, ``resolve`` and
``available_backends`` say where it can run.
"""

from typing import TYPE_CHECKING, Any

from arraymlp.backend import (
    Backend,
    BackendFallbackWarning,
    BackendStatus,
    BackendUnavailableError,
    DeviceMemoryError,
    available_backends,
    resolve,
)
from arraymlp.callbacks import CSVLog, StopAt, TensorBoardLog
from arraymlp.datasets import load_mnist, published_curves, read_idx
from arraymlp.diagnosis import diagnose
from arraymlp.dropout import Dropout
from arraymlp.findings import Finding
from arraymlp.history import History
from arraymlp.initializers import Initializer, normal
from arraymlp.layer import Layer
from arraymlp.losses import Huber, Loss, Quantile
from arraymlp.metrics import Metric
from arraymlp.network import MultilayerPerceptron
from arraymlp.optimizers import SGD, Adam, AdamW, RMSProp
from arraymlp.patience import EarlyStopping
from arraymlp.persistence import ModelFileError, load, save
from arraymlp.run import EpochEnd, NonFiniteLossError, Run, StepEnd
from arraymlp.schedules import (
    Adaptive,
    Cosine,
    ExponentialDecay,
    InverseScaling,
    Schedule,
    StepDecay,
)
from arraymlp.settings import Settings
from arraymlp.training import train

if TYPE_CHECKING:
    from arraymlp.backend_speed import BackendSpeed, backend_speeds
    from arraymlp.ensemble import Ensemble
    from arraymlp.ensemble_estimators import MLPEnsembleClassifier as MLPEnsembleClassifier
    from arraymlp.ensemble_estimators import MLPEnsembleRegressor as MLPEnsembleRegressor
    from arraymlp.estimators import MLPClassifier as MLPClassifier
    from arraymlp.estimators import MLPRegressor as MLPRegressor
    from arraymlp.search import MLPSearchCV as MLPSearchCV
    from arraymlp.sweep_result import SweepResult
    from arraymlp.sweeping import sweep

__version__ = "0.1.0"

__all__ = [
    "SGD",
    "Adam",
    "AdamW",
    "Adaptive",
    "Backend",
    "BackendFallbackWarning",
    "BackendSpeed",
    "BackendStatus",
    "BackendUnavailableError",
    "CSVLog",
    "Cosine",
    "DeviceMemoryError",
    "Dropout",
    "EarlyStopping",
    "Ensemble",
    "EpochEnd",
    "ExponentialDecay",
    "Finding",
    "History",
    "Huber",
    "Initializer",
    "InverseScaling",
    "Layer",
    "Loss",
    "Metric",
    "ModelFileError",
    "MultilayerPerceptron",
    "NonFiniteLossError",
    "Quantile",
    "RMSProp",
    "Run",
    "Schedule",
    "Settings",
    "StepDecay",
    "StepEnd",
    "StopAt",
    "SweepResult",
    "TensorBoardLog",
    "available_backends",
    "backend_speeds",
    "diagnose",
    "load",
    "load_mnist",
    "normal",
    "published_curves",
    "read_idx",
    "resolve",
    "save",
    "sweep",
    "train",
]

# Loaded where they are asked for: what `train` can do without.
_LATER = ("BackendSpeed", "Ensemble", "SweepResult", "backend_speeds", "sweep")
# These import scikit-learn; "import *" does without.
_SKLEARN = (
    "MLPClassifier",
    "MLPEnsembleClassifier",
    "MLPEnsembleRegressor",
    "MLPRegressor",
    "MLPSearchCV",
)


def __getattr__(name: str) -> Any:
    if name in _LATER:
        from arraymlp import backend_speed, ensemble, sweep_result, sweeping

        found = {
            "BackendSpeed": backend_speed.BackendSpeed,
            "Ensemble": ensemble.Ensemble,
            "SweepResult": sweep_result.SweepResult,
            "backend_speeds": backend_speed.backend_speeds,
            "sweep": sweeping.sweep,
        }
        return found[name]
    if name not in _SKLEARN:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from arraymlp import estimators  # which says how to install scikit-learn

    if hasattr(estimators, name):
        return getattr(estimators, name)
    from arraymlp import ensemble_estimators, search

    return getattr(search if name == "MLPSearchCV" else ensemble_estimators, name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_LATER, *_SKLEARN])

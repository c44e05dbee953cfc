"""Model files, whatever they hold, as what the commands need of them: something that predicts."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from arraymlp.backends.array import HostArray
from arraymlp.backends.backend import Backend
from arraymlp.data.encoding.columns import EncodedColumn
from arraymlp.data.files.table_files import FORMATS
from arraymlp.sweeps.result import SweepResult
from arraymlp.training.ensemble import Ensemble
from arraymlp.training.files import load, read
from arraymlp.training.model import MultilayerPerceptron
from arraymlp.training.onnx_file import is_onnx, read_onnx
from arraymlp.training.run import Run
from arraymlp.training.tensor_file import naming, read_parts

NETWORK, RUN, ESTIMATOR, SWEEP = "network", "run", "estimator", "sweep"


@dataclass(frozen=True, eq=False)
class Model:
    """A model from a file.

    Attributes:
        path: the file.
        kind: what it holds: "network", "run", "estimator" or "sweep".
        ensemble: predicts: a network, the mean of a population's, or the best one of a sweep.
        network: what the file holds, as one network or population; of a sweep the best one.
        labels: (C,) what the classes stand for; None for numbers and several labels.
        features: names of the columns that it takes; None where they had none.
        run: where it holds one.
        sweep: likewise.
        estimator: its entries in the file, likewise.
    """

    path: Path
    kind: str
    ensemble: Ensemble
    network: MultilayerPerceptron
    labels: HostArray | None
    features: tuple[str, ...] | None
    run: Run | None = None
    sweep: SweepResult | None = None
    estimator: Mapping[str, Any] | None = None

    @property
    def encoded(self) -> bool:
        """Whether it takes columns as they are in a table, texts and missing values among them."""
        return self.network.encoding is not None

    @property
    def columns(self) -> tuple[EncodedColumn, ...]:
        """The columns of a table that it makes features of, and how; of all members."""
        encoding: Any = self.network.encoding
        every = encoding if isinstance(encoding, tuple) else (encoding,) if encoding else ()
        return tuple({c.name: c for one in reversed(every) for c in one.columns}.values())

    @property
    def has_texts(self) -> bool:
        """Whether the classes are texts."""
        return self.labels is not None and self.labels.dtype.kind == "U"

    @property
    def targets(self) -> tuple[str, ...]:
        """Names of what it predicts: of the file, else "prediction", or one for each column."""
        if self.network.targets is not None:
            return self.network.targets
        n = 1 if self.labels is not None else self.network.sizes[-1]
        n //= self.network.loss.outputs_per_target
        return ("prediction",) if n == 1 else tuple(f"prediction {k}" for k in range(n))

    @property
    def note(self) -> str:
        """Which network of a sweep's file predicts; "" of other files."""
        if self.sweep is None:
            return ""
        best = self.sweep.best
        score = f"{self.sweep.score.replace('_', ' ')} {best.score:.5g}"
        return (
            f"{self.path} holds a sweep of {len(self.sweep)} networks: this is the best one, "
            f"network {best.number} ({score})"
        )


def open_model(path: Path, backend: Backend) -> Model:
    """The model of a file, on a backend.

    Raises:
        ModelFileError: the file is damaged, of a newer version, or no model file.
        ValueError: it holds a sweep in which no network has a score.
        OSError: it cannot be read.
    """
    if path.suffix.lower() in FORMATS:
        raise ValueError(f"{path} is a table: give the model first, and then the table")
    with naming(path):
        header, _ = read_onnx(path) if is_onnx(path) else read_parts(path)
    run: Run | None = None
    sweep = estimator = None
    if "networks" in header:
        kind, sweep = SWEEP, SweepResult.load(path, backend=backend)
        network = sweep.best.network
    elif "run" in header:
        opened: Any = load(path, backend=backend)
        kind, run, network = RUN, opened, opened.network
    else:
        network, estimator = read(path, backend)
        kind = NETWORK if estimator is None else ESTIMATOR
    labels, features = network.classes, network.features
    if estimator is not None:
        fitted = estimator["fitted"] if isinstance(estimator.get("fitted"), dict) else {}
        names, values = (_array(fitted, name) for name in ("feature_names_in_", "classes"))
        if features is None and names is not None and len(names) == network.sizes[0]:
            features = tuple(map(str, names))
        if labels is not None and values is not None and len(values) == len(labels):
            labels = np.asarray(values)
    return Model(path, kind, Ensemble([network]), network, labels, features, run, sweep, estimator)


def _array(entries: Mapping[str, Any], name: str) -> list[Any] | None:
    """The values of an array among an estimator's entries in a file; None without one."""
    entry = entries.get(name)
    values = entry.get("array") if isinstance(entry, dict) else None
    return values if isinstance(values, list) else None

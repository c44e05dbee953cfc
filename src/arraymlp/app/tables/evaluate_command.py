"""The command ``arraymlp evaluate``: how good a model is on a table whose targets are known."""

import json
from collections.abc import Iterator
from typing import Annotated, Any

from arraymlp.app.options import AsJson, BackendName, DataFile, Device, ModelFile, option
from arraymlp.app.tables.evaluation import ahead, scores_on
from arraymlp.app.tables.inputs import open_inputs
from arraymlp.app.tables.models import open_model
from arraymlp.app.tables.strangers import strangers
from arraymlp.app.tables.talk import counted, note
from arraymlp.backends.array import HostArray
from arraymlp.backends.registry import resolve
from arraymlp.data.files.table_targets import target_of
from arraymlp.training.ensemble import Ensemble


def evaluate_command(
    model: ModelFile,
    data: DataFile,
    target: Annotated[
        str | None, option("The column that is predicted. Default: as in training.", "Data")
    ] = None,
    as_json: AsJson = False,
    backend: BackendName = "auto",
    device: Device = None,
) -> None:
    """Tell how good a model is on a table: accuracy, log loss, ROC AUC, or RMSE, MAE, R2.

    arraymlp evaluate model.safetensors test.csv

    Of classes also a matrix of confusions, and precision and recall of each. Exit status: 0; 2 for
    an error.
    """
    loaded = open_model(model, resolve(backend, device))
    names = loaded.targets if target is None else tuple(n.strip() for n in target.split(","))
    file, inputs = open_inputs(loaded, data, names)

    def parts() -> Iterator[tuple[Ensemble, Any, HostArray]]:
        for i, frame in enumerate(counted(ahead(file.blocks()), "evaluating")):
            _, y = target_of(frame, names)
            X = inputs.of(frame)
            for line in strangers(loaded.columns, X) if i == 0 else ():
                note(line)
            yield loaded.ensemble, X, y

    with file:
        scores, _ = scores_on(parts(), loaded.labels, names)
    if loaded.note:
        note(loaded.note)
    print(json.dumps(scores.to_dict(), allow_nan=False) if as_json else scores)

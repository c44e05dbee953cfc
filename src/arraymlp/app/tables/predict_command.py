"""The command ``arraymlp predict``: a model's predictions for the rows of a table."""

from collections.abc import Iterator
from typing import Annotated

from arraymlp.app.options import OUTPUT, BackendName, DataFile, Device, ModelFile, option
from arraymlp.app.outputs import require_other
from arraymlp.app.table_output import require_output, write_table
from arraymlp.app.tables.encoder_options import names_of
from arraymlp.app.tables.evaluation import ahead
from arraymlp.app.tables.inputs import listed, open_inputs
from arraymlp.app.tables.models import open_model
from arraymlp.app.tables.predictions import column_names, predictions
from arraymlp.app.tables.strangers import strangers
from arraymlp.app.tables.talk import counted, note
from arraymlp.backends.registry import resolve
from arraymlp.data.frames.frame import Frame


def predict_command(
    model: ModelFile,
    data: DataFile,
    output: Annotated[
        str,
        option(
            "Where to: a .csv, .tsv or .parquet file, or - for a CSV on stdout, the default.",
            OUTPUT,
            "--output",
            "-o",
        ),
    ] = "-",
    proba: Annotated[
        bool,
        option("Probabilities, a column for each class, instead of the class.", OUTPUT, "--proba"),
    ] = False,
    beside: Annotated[
        str | None,
        option("Columns of the table to write beside the predictions: id,name.", OUTPUT, "--with"),
    ] = None,
    spread: Annotated[
        bool,
        option(
            "Beside numbers or probabilities, their standard deviation over the model's networks.",
            OUTPUT,
            "--spread",
        ),
    ] = False,
    backend: BackendName = "auto",
    device: Device = None,
) -> None:
    """Predict for each row of a table: a column named after what is predicted.

    arraymlp predict model.safetensors new.csv -o predictions.csv

    Tables of any size fit: some rows at a time are read, predicted and written.

    Exit status: 0; 2 for an error, 130 after Ctrl-C; a file is written whole or not at all.
    """
    loaded = open_model(model, resolve(backend, device))
    require_output(output)
    require_other(output, model, data)
    names = column_names(loaded, proba=proba, spread=spread)  # refuses what there is not
    others = tuple(names_of(beside))
    if both := [name for name in others if name in names]:
        raise ValueError(f"--with {both[0]}: the predictions have a column of that name")
    file, inputs = open_inputs(loaded, data, beside=others)
    with file:
        if loaded.note:
            note(loaded.note)
        if inputs.ignored:
            note(f"columns that the model does not take are ignored: {listed(inputs.ignored)}")

        def predicted() -> Iterator[Frame]:
            for i, frame in enumerate(counted(ahead(file.blocks()), "predicting")):
                X = inputs.of(frame)
                for line in strangers(loaded.columns, X) if i == 0 else ():
                    note(line)
                start, given = 0, frame.select(others)
                for part in predictions(loaded, X, proba=proba, spread=spread):
                    rows = given[start : start + len(part)]
                    yield Frame(others + part.names, rows.columns + part.columns)
                    start += len(part)

        write_table(output, predicted())

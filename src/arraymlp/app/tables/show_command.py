"""The command ``arraymlp show``: what a model file is."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

from arraymlp.app.options import OUTPUT, AsJson, ModelFile, option
from arraymlp.app.outputs import require_file, require_other
from arraymlp.app.tables.description import described, text
from arraymlp.app.tables.inputs import open_inputs
from arraymlp.app.tables.models import Model, open_model
from arraymlp.app.tables.talk import note
from arraymlp.backends.array import HostArray
from arraymlp.backends.registry import resolve
from arraymlp.data.files.table_files import open_table
from arraymlp.data.files.table_targets import target_of
from arraymlp.pages.examples import GIVEN
from arraymlp.pages.page import write_page


def show_command(
    model: ModelFile,
    page: Annotated[
        Path | None,
        option("File for an HTML page in which to play with the model: page.html.", OUTPUT),
    ] = None,
    examples: Annotated[
        str | None,
        option(
            "A table whose rows the page has to choose from: .csv, .tsv, .parquet or .npz; of more "
            f"than {GIVEN:,} some, evenly spread.",
            OUTPUT,
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Tell what a model file is: what it predicts, from which columns and how, and its layers.

    arraymlp show model.safetensors
    arraymlp show model.safetensors --page model.html --examples table.csv

    Of the file of a run, which Python writes, also its training; its page has a slider for the
    epochs where it was trained with snapshots. Exit status: 0; 2 for an error.
    """
    loaded = open_model(model, resolve("numpy"))
    if examples is not None and page is None:
        raise ValueError("--examples is for the page: give --page, too")
    if page is not None:
        require_file(page)
        require_other(page, model, *([] if examples is None else [examples]))
        _write_page(loaded, page, examples)
    content = described(loaded) | ({} if page is None else {"page": str(page)})
    print(json.dumps(content, allow_nan=False) if as_json else text(loaded))
    if page is not None:
        note(f"the page: {page}")


def _write_page(model: Model, page: Path, examples: str | None) -> None:
    """The page of what a file holds; of a sweep, of the network that is the best."""
    network = replace(model.network, classes=model.labels, features=model.features)
    shown = network if model.run is None else model.run
    write_page(page, shown, title=model.path.stem, examples=examples and _rows(model, examples))


def _rows(model: Model, examples: str) -> tuple[Any, HostArray | None]:
    """The rows of a table that the model takes; and its targets, where the table has them.

    Where the model knows no names, targets are the last column, or a .npz file's y.
    """
    if examples == "-":
        raise ValueError("--examples is a file: it is opened twice, which standard input is not")
    targets = model.targets
    with open_table(examples) as file:
        names, last = file.names, file.default_targets
    if model.features is None and len(names) - len(last) == model.network.sizes[0]:
        targets = last
    known = set(names).issuperset(targets)
    file, inputs = open_inputs(model, examples, targets if known else None)
    with file:
        frame = file.read()
    return inputs.of(frame), target_of(frame, targets)[1] if known else None

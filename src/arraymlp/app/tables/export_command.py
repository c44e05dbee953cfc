"""The command ``arraymlp export``: a model as an ONNX graph, for other runtimes."""

from pathlib import Path
from typing import Annotated

import typer

from arraymlp.app.options import ModelFile
from arraymlp.app.outputs import require_file, require_other
from arraymlp.app.tables.models import open_model
from arraymlp.app.tables.talk import note
from arraymlp.backends.registry import resolve
from arraymlp.exports.to_onnx_function import to_onnx


def export_command(
    model: ModelFile,
    output: Annotated[
        Path, typer.Argument(help="The file to write: model.onnx.", show_default=False)
    ],
) -> None:
    """Write a model as an ONNX graph, which takes the columns of a table as they are.

    arraymlp export model.safetensors model.onnx

    Of several networks the graph has the mean, and their spread. Exit status: 0; 2 for an error,
    and then nothing is written.
    """
    require_file(output)
    require_other(output, model)
    loaded = open_model(model, resolve("numpy"))
    if loaded.note:
        note(loaded.note)
    to_onnx(loaded.network, output)
    print(f"exported {output}")

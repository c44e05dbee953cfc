"""The command ``arraymlp show``: what a model file is."""

import json

from arraymlp.app.options import AsJson, ModelFile
from arraymlp.app.tables.description import described, text
from arraymlp.app.tables.models import open_model
from arraymlp.backends.registry import resolve


def show_command(model: ModelFile, as_json: AsJson = False) -> None:
    """Tell what a model file is: what it predicts, from which columns and how, and its layers.

    arraymlp show model.safetensors

    Of the file of a run, which Python writes, also its training. Exit status: 0; 2 for an error.
    """
    loaded = open_model(model, resolve("numpy"))
    print(json.dumps(described(loaded), allow_nan=False) if as_json else text(loaded))

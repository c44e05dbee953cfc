"""A page of one model: a whole HTML file."""

import os
from html import escape
from pathlib import Path
from typing import Any

from arraymlp.html.document import document
from arraymlp.pages.playground import ImageShape, playground
from arraymlp.training.atomic import write_whole
from arraymlp.training.with_page import WithPage

TITLE = "A network to play with"


def write_page(
    path: str | os.PathLike[str],
    model: WithPage,
    *,
    title: str | None = None,
    examples: Any = None,
    image_shape: ImageShape = "auto",
) -> Path:
    """Write a self-contained HTML page in which to play with a model: no server, no network.

    Of images a digit is drawn or chosen, of tables each feature has a slider; the units of each
    layer and the outputs follow. Of a run trained with ``snapshots=`` a slider goes through its
    epochs, with the weights, live units, errors and findings as they were.

    Args:
        path: of the file.
        model: a `Run`, a `MultilayerPerceptron` or an `Ensemble`; of several networks the page
            shows the mean prediction, and each one's units.
        title: of the page.
        examples: rows to choose from, X or (X, y), at most 1000; None for up to 200 of a run's
            validation rows, or of its training rows where there are none.
        image_shape: (rows, columns) of images; "auto" for a square of 64 or more features without
            names; None for sliders.

    Raises:
        TypeError: the model is none of these.
        ValueError: it has a layer, an activation or a loss of the user's own; or the examples or
            the image's shape do not fit it. Nothing is written then.
        OSError: the file cannot be written.
    """
    heading = TITLE if title is None else title
    body = playground({heading: model}, examples, image_shape=image_shape, heading=2)
    page = document(heading, f"<h1>{escape(heading)}</h1>\n{body}")
    write_whole(Path(path), page.encode())
    return Path(path)

"""The part of a page in which a model is played with: style, markup, data and script in one text.

It stands in a page of `arraymlp.html.document`, whose colours it has, once. All of its ids and
classes begin with ``amp``.
"""

import json
from collections.abc import Mapping, Sequence
from functools import cache
from html import escape
from importlib.resources import files
from math import isqrt
from typing import Any, Literal, TypeAlias

import numpy as np

from arraymlp.html.chart import PALETTE
from arraymlp.nn.network import Network
from arraymlp.pages.columns import columns_of
from arraymlp.pages.course import described_course
from arraymlp.pages.examples import GREYS, Examples, examples_for
from arraymlp.pages.markup import markup
from arraymlp.pages.packing import Block, narrow
from arraymlp.pages.subject import Subject, subject_of
from arraymlp.pages.weights import described_stack
from arraymlp.training.history import finite
from arraymlp.training.with_page import WithPage

ImageShape: TypeAlias = tuple[int, int] | Literal["auto"] | None

SCRIPTS = (
    "forward.js",
    "encode.js",
    "decode.js",
    "paint.js",
    "draw.js",
    "sliders.js",
    "units.js",
    "outputs.js",
    "plane.js",
    "course.js",
    "play.js",
)
LEAST_PIXELS = 64  # of a square of unnamed features that is taken for an image


def playground(
    models: Mapping[str, WithPage],
    examples: Any = None,
    *,
    image_shape: ImageShape = "auto",
    heading: int = 3,
) -> str:
    """HTML in which to play with one of several models, which is decoded once it is chosen.

    Args:
        models: by the names to choose them by, all with the same inputs.
        examples: rows to choose from, X or (X, y); None for those of the first model.
        image_shape: as for `write_page`.
        heading: the level of its headings, 2 or 3.

    Raises:
        ValueError: as of `write_page`; or the models have different inputs.
    """
    subjects = {name: subject_of(model) for name, model in models.items()}
    first = next(iter(subjects.values()))
    columns = columns_of(first)
    for name, subject in subjects.items():
        if [c.name for c in columns_of(subject)] != [c.name for c in columns]:
            raise ValueError(f"{name!r} has other inputs than the first model of the page")
    shape = image_of(first, image_shape)
    chosen = examples_for(first, columns, examples)
    if chosen is not None:
        columns = [c.ranged(chosen.cells[:, i]) for i, c in enumerate(columns)]
    block = Block()
    low, high = _range(chosen, first.first)
    content: dict[str, Any] = {
        "low": low,
        "high": high,
        "image": None if shape is None else list(shape),
        "columns": [] if shape is not None else [column.to_dict() for column in columns],
        "examples": None if chosen is None else _described_examples(chosen, block),
        "colours": list(PALETTE),
        "models": [],
    }
    blobs = [block.text()]
    for name, subject in subjects.items():
        block = Block()
        content["models"].append(_described(name, subject, block))
        blobs.append(block.text())
    data = [_data(json.dumps(finite(content), allow_nan=False), "application/json", "amp-content")]
    data += [_data(blob, "text/plain", f"amp-data-{i}") for i, blob in enumerate(blobs)]
    code = "\n".join(map(source, SCRIPTS))
    pixels = None if shape is None else (low, high)
    body = markup(list(subjects), pixels, chosen is not None, heading)
    return (
        f"<style>{source('play.css')}</style>\n{body}\n"
        + "\n".join(data)
        + f"\n<script>(() => {{\n'use strict';\n{code}}})();</script>"
    )


@cache
def source(name: str) -> str:
    """The text of one of the files of a page, such as ``forward.js``."""
    return (files("arraymlp.pages") / name).read_text(encoding="utf-8")


def _data(text: str, kind: str, name: str) -> str:
    """Data beside the markup; no text of the user's can end its element."""
    safe = text.replace("<", "\\u003c")  # which base64 has not, and JSON in texts alone
    return f'<script type="{kind}" id="{escape(name)}">{safe}</script>'


def image_of(subject: Subject, given: ImageShape) -> tuple[int, int] | None:
    """Rows and columns of the image that the features are; None where they are none.

    Raises:
        ValueError: what was given does not fit the features.
    """
    network, encoded = subject.first, subject.stacks[0].encoding is not None
    n = network.sizes[0]
    if given is None:
        return None
    if isinstance(given, str):
        if given != "auto":
            raise ValueError(f'image_shape must be "auto", (rows, columns) or None, not {given!r}')
        side = isqrt(n)
        square = side * side == n and n >= LEAST_PIXELS
        return (side, side) if square and not encoded and network.features is None else None
    shape = tuple(map(int, given))
    if encoded or len(shape) != 2 or min(shape) < 1 or shape[0] * shape[1] != n:
        what = "columns of a table" if encoded else f"{n} features"
        raise ValueError(f"image_shape {given!r} does not fit {what}")
    return shape[0], shape[1]


def _described(name: str, subject: Subject, block: Block) -> dict[str, Any]:
    network = subject.first
    stacks = [described_stack(stack, block) for stack in subject.stacks]
    return {
        "name": name,
        "about": _about(subject),
        "decides": network.loss.classifies,
        "outputs": output_names(network),
        "classes": None if network.classes is None else list(map(str, network.classes.tolist())),
        "stacks": stacks,
        "course": described_course(subject.run, subject.stacks[0].snapshots),
    }


def _about(subject: Subject) -> str:
    """The networks in a few words."""
    parts = []
    for stack in subject.stacks:
        network = stack.network
        hidden = list(dict.fromkeys(layer.activation.name for layer in network.layers[:-1]))
        many = "" if network.members is None else f"{network.members} networks of "
        sizes = "-".join(map(str, network.sizes))
        parts.append(f"{many}{sizes} units, {', '.join(hidden) or 'linear'}, {network.loss.name}")
    return "; ".join(dict.fromkeys(parts))


def output_names(network: Network) -> list[str]:
    """What each number of a prediction is called: a class, a target, or its quantile."""
    if network.classes is not None:
        return list(map(str, network.classes.tolist()))
    per_target = network.loss.outputs_per_target
    n = network.sizes[-1] // per_target
    targets = network.targets
    if targets is None:
        one = network.loss.classifies == "no" and n == 1
        targets = ("prediction",) if one else tuple(f"output {j}" for j in range(n))
    if per_target == 1:
        return list(targets)
    levels: Sequence[Any] = network.loss.parameters.get("levels", ())
    if levels and isinstance(levels[0], Sequence):
        levels = levels[0]
    return [f"{target}, {100 * level:.4g} % quantile" for target in targets for level in levels]


def _described_examples(examples: Examples, block: Block) -> dict[str, Any]:
    greys = examples.greys()
    return {
        "rows": len(examples.cells),
        "what": examples.what,
        "cells": block.add(narrow(examples.cells) if greys is None else greys[0]),
        "level": 1.0 if greys is None else greys[1],
        "truth": examples.truth,
        "classes": examples.classes,
        "values": examples.values,
    }


def _range(examples: Examples | None, network: Network) -> tuple[float, float]:
    """What an empty pixel is, and a drawn one: of the examples, or else as it may be."""
    if examples is not None:
        known = examples.cells[np.isfinite(examples.cells)]
        low, high = (float(known.min()), float(known.max())) if len(known) else (0.0, 1.0)
        return low, high if high > low else low + 1
    of_bytes = network.inputs is not None and network.inputs.mean.max() > 1
    return 0.0, float(GREYS) if of_bytes else 1.0

"""The command ``arraymlp train``: from a table to a model that predicts."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from arraymlp.app.checkpoints import checkpoint_of, every_option, file_option
from arraymlp.app.figures import empty_figure
from arraymlp.app.options import LONG, OUTPUT, option, with_settings
from arraymlp.app.outputs import require_file, require_other
from arraymlp.app.page import require_writable
from arraymlp.app.sweeps.values import values
from arraymlp.app.tables.encoder_options import (
    Bins,
    Categories,
    Dates,
    Ignore,
    Keep,
    Numbers,
    encoder_of,
    names_of,
)
from arraymlp.app.tables.report import write_train_report
from arraymlp.app.tables.source import read_source, require_target
from arraymlp.app.tables.talk import Talk, training_bar
from arraymlp.app.tables.target import Classes, classifies_by
from arraymlp.app.tables.trained import Plan, Trained
from arraymlp.backends.host import interruptible
from arraymlp.backends.registry import resolve
from arraymlp.data.files.table_files import open_table
from arraymlp.data.files.table_rows import fits_memory
from arraymlp.training.early_stopping import EarlyStopping
from arraymlp.training.files import save as save_network
from arraymlp.training.run import DIVERGED, NonFiniteLossError
from arraymlp.training.settings import TABLE, TABLES, get_preset

MEMBERS, HELD_OUT = 8, 0.2
SNAPSHOTS = 16  # that a page goes through
DATA, TRAINING, SETTINGS = "Data", "Training", "Settings, one value each"
OWN = ("seed", "early_stopping")  # settings with options of their own
ONE_EACH = [name for name, row in TABLE.items() if row.metadata["cli"] and name not in OWN]


@with_settings(ONE_EACH, SETTINGS, several=False)
def train_command(
    data: Annotated[
        str,
        typer.Argument(
            help="A table: .csv, .tsv, .parquet or .npz; a folder of .parquet files, or its URL; "
            "- for standard input. Its columns may be "
            "numbers, texts and dates, with cells missing.",
            show_default=False,
        ),
    ],
    target: Annotated[str | None, option("The column to predict.", DATA)] = None,
    classes: Classes = None,
    validation: Annotated[
        float,
        option(
            "Fraction of the rows that is held out, to tell how good the model is. Default: 0.2. 0 "
            "trains on all rows.",
            DATA,
        ),
    ] = HELD_OUT,
    ignore: Ignore = None,
    numbers: Numbers = None,
    bins: Bins = None,
    categories: Categories = None,
    dates: Dates = False,
    keep: Keep = None,
    members: Annotated[
        int,
        option(
            "Networks that are trained together, and whose mean predicts. Default: 8.", TRAINING
        ),
    ] = MEMBERS,
    seed: Annotated[int, option("Seed of the first network; the next has the next.", TRAINING)] = 0,
    early_stopping: Annotated[
        str | None,
        option(
            "Epochs without a better validation loss, after which a network stops; off; or the "
            "figure to watch.",
            TRAINING,
        ),
    ] = None,
    preset: Annotated[
        str, option("Settings to begin with: table (the default), default or lab.", TRAINING)
    ] = TABLES,
    backend: Annotated[str, option("auto, numpy, cupy, torch or jax.", TRAINING)] = "auto",
    device: Annotated[str | None, option("The backend's device: cuda:1.", TRAINING)] = None,
    checkpoint: Annotated[
        Path | None, file_option(rich_help_panel=LONG, show_default=False)
    ] = None,
    checkpoint_every: Annotated[
        str | None, every_option(rich_help_panel=LONG, show_default=False)
    ] = None,
    save: Annotated[Path | None, option("File for the model: model.safetensors.", OUTPUT)] = None,
    report: Annotated[
        Path | None, option("Folder for a page with curves, figures and findings.", OUTPUT)
    ] = None,
    page: Annotated[
        Path | None,
        option(
            "File for an HTML page in which to play with the model, and to see how it learned:"
            " page.html.",
            OUTPUT,
        ),
    ] = None,
    as_json: Annotated[
        bool, option("Print one JSON object on stdout, and all else on stderr.", OUTPUT, "--json")
    ] = False,
    **given: str | None,
) -> None:
    """Train a model on a table, and tell how good it is on rows that it has not seen.

    arraymlp train titanic.csv --target survived --save model.safetensors

    Exit status: 0; 1 if it did not learn, and then nothing is saved; 2 for an error; 130 after
    Ctrl-C, 143 after SIGTERM, with the model so far. With --checkpoint the same command goes on.
    """
    talk = Talk(as_json)
    settings = _settings(given, seed, members, early_stopping, validation)
    if page is not None:
        settings.setdefault("snapshots", SNAPSHOTS)
    epochs = get_preset(preset, settings).epochs
    kept = checkpoint_of(checkpoint, checkpoint_every, is_folder=False)
    for written in (save, page):
        require_file(written)
        require_other(written, data)
    if report is not None:
        empty_figure()  # needs Matplotlib
        require_writable(report)
    chosen = resolve(backend, device)
    with open_table(data) as file:
        require_target(file, target)
        source = read_source(
            file, target, classifies_by(classes, settings.get("loss")), names_of(ignore)
        )
        encoder = encoder_of(source.sample(np.arange(1)), numbers, bins, categories, dates, keep)
        plan = Plan(source, encoder, validation, settings, preset)
        if source.in_memory and not fits_memory(plan.n_bytes):
            plan = replace(plan, source=source.on_disk(file))
        told = plan.lines(chosen)
        if kept is not None:
            told.append(("checkpoint", str(checkpoint)))
        try:
            with interruptible() as interrupt:
                talk.pairs(told)
                trained = plan.train(chosen, kept, training_bar(epochs))
        except NonFiniteLossError as error:
            talk.say(f"it did not learn, and nothing is saved: {error}")
            if as_json:
                print(json.dumps({"file": file.title, "ended": DIVERGED, "cause": str(error)}))
            raise typer.Exit(1) from error
    talk.pairs([("trained", trained.describe())])
    talk.say("", trained.on, str(trained.scores), "")
    content = trained.to_dict()
    if (why := trained.failure()) is not None:
        talk.say(f"it did not learn, and nothing is saved: {why}")
    else:
        content |= _write(trained, save, report, page, talk)
    if as_json:
        print(json.dumps(content, allow_nan=False))
    raise typer.Exit(interrupt.exit_status or (0 if why is None else 1))


def _write(
    trained: Trained, save: Path | None, report: Path | None, page: Path | None, talk: Talk
) -> dict[str, Any]:
    """Write the model and the pages, where they were asked for; return where they are."""
    if save is not None:
        save_network(trained.run.network, save)
        talk.pairs([("saved", str(save)), ("next", f"arraymlp predict {save} TABLE.csv")])
    else:
        talk.pairs([("not saved", "--save model.safetensors keeps the model")])
    read = None if report is None else write_train_report(trained, report)
    if read is not None:
        talk.pairs([("report", str(read))])
    if page is not None:
        source = trained.plan.source
        title = f"{', '.join(source.target.names)} of {Path(source.name).name}"
        trained.run.page(page, title=title)
        talk.pairs([("page", str(page))])
    return {"model": save and str(save), "report": read and str(read), "page": page and str(page)}


def _settings(
    given: Mapping[str, str | None],
    seed: int,
    members: int,
    early_stopping: str | None,
    validation: float,
) -> dict[str, Any]:
    """The settings that were given, read from their text."""
    if members < 1:
        raise ValueError(f"--members must be at least 1, not {members}")
    if not 0 <= validation < 1:
        raise ValueError(f"--validation must be from 0 up to but not 1, not {validation:g}")
    settings: dict[str, Any] = {"seed": seed if members == 1 else range(seed, seed + members)}
    for name, text in given.items():
        if text is None:
            continue
        if name == "metrics":
            settings[name] = tuple(names_of(text))
            continue
        settings[name] = values(name, text)
        if isinstance(settings[name], list):
            flag = name.replace("_", "-")
            raise ValueError(f"--{flag} {text}: give one value; arraymlp sweep takes several")
    if early_stopping is not None:
        settings["early_stopping"] = _early_stopping(early_stopping)
    return settings


def _early_stopping(text: str) -> EarlyStopping | str | bool:
    if text == "off":
        return False
    return EarlyStopping(patience=int(text)) if text.isdecimal() else text

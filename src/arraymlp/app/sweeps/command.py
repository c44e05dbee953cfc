"""The command ``arraymlp sweep``: a sweep from the command line, its table, report and files."""

import warnings
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from arraymlp.app.checkpoints import checkpoint_of, every_option, folder_option
from arraymlp.app.figures import empty_figure
from arraymlp.app.options import option, with_settings
from arraymlp.app.outputs import require_file, require_other
from arraymlp.app.page import require_writable
from arraymlp.app.sweeps.report import sweep_json, write_sweep_report
from arraymlp.app.sweeps.rows import best_alike, mnist_errors, mnist_rows, table_rows
from arraymlp.app.sweeps.summary import call, lines, networks_text, ranking
from arraymlp.app.sweeps.values import SWEPT, values
from arraymlp.app.tables.encoder_options import (
    NOT_ENCODED,
    Bins,
    Categories,
    Dates,
    Ignore,
    Keep,
    Numbers,
    encoder_of,
)
from arraymlp.app.tables.target import Classes, classifies_by
from arraymlp.app.terminal import console
from arraymlp.backends.host import interruptible
from arraymlp.backends.registry import resolve
from arraymlp.sweeps.result import SweepResult
from arraymlp.sweeps.sweep_function import sweep
from arraymlp.training.atomic import write_whole
from arraymlp.training.early_stopping import EarlyStopping
from arraymlp.training.files import save as save_network
from arraymlp.training.model import MultilayerPerceptron

HELD_OUT = 1 / 6  # of the rows, where nothing else says what to validate on; 10,000 of MNIST's

DATA, SETTINGS = "Data", "Settings, each one value or several (a,b,c), which are swept"
SEARCH, LONG, OUTPUT = "Search", "Long sweeps", "Output"


@with_settings(("metrics", "early_stopping"), SEARCH)
@with_settings(SWEPT, SETTINGS)
def sweep_command(
    data: Annotated[
        str | None,
        typer.Argument(
            help="A table to train on: .csv, .tsv, .parquet or .npz; - for standard input. Its "
            "columns may be numbers, texts and dates, with cells missing. Default: MNIST.",
            show_default=False,
        ),
    ] = None,
    target: Annotated[
        str | None,
        option("The column to predict. Default: the last (of .npz, the array y).", DATA),
    ] = None,
    validation: Annotated[
        float | None, option("Fraction of the rows held out to rank by. Default: a sixth.", DATA)
    ] = None,
    cv: Annotated[int | None, option("Folds of cross-validation, instead.", DATA)] = None,
    classes: Classes = None,
    ignore: Ignore = None,
    numbers: Numbers = None,
    bins: Bins = None,
    categories: Categories = None,
    dates: Dates = False,
    keep: Keep = None,
    preset: Annotated[
        str | None,
        option(
            "Settings to begin with: table, default or lab. Default: table; of MNIST default.",
            SEARCH,
        ),
    ] = None,
    mode: Annotated[
        str,
        option("grid: every combination; zip: first values, second values, ...; random", SEARCH),
    ] = "grid",
    n: Annotated[int | None, option("Number of combinations in mode random.", SEARCH)] = None,
    score: Annotated[
        str | None, option("The figure that ranks: validation_loss, validation_f1, ...", SEARCH)
    ] = None,
    backend: Annotated[str, option("auto, numpy, cupy, torch or jax.", SEARCH)] = "auto",
    device: Annotated[str | None, option("The backend's device: cuda:1.", SEARCH)] = None,
    memory: Annotated[
        str | None, option("Bound on training's memory: 2GB. Default: half of the free.", SEARCH)
    ] = None,
    checkpoint: Annotated[
        Path | None, folder_option(rich_help_panel=LONG, show_default=False)
    ] = None,
    checkpoint_every: Annotated[
        str | None, every_option(rich_help_panel=LONG, show_default=False)
    ] = None,
    top: Annotated[int, option("Rows of the table. Default: 10.", OUTPUT)] = 10,
    report: Annotated[
        Path | None, option("Folder for report.html, sweep.png and sweep.json.", OUTPUT)
    ] = None,
    json_file: Annotated[
        Path | None, option("File for settings, histories and ranking.", OUTPUT, "--json")
    ] = None,
    save: Annotated[
        Path | None, option("File for all networks: SweepResult.load reads it.", OUTPUT)
    ] = None,
    model: Annotated[
        Path | None, option("File for the best network: predict reads it.", OUTPUT)
    ] = None,
    ensemble: Annotated[
        int | None,
        option(
            "How many networks the model is, whose mean predicts: the best, and the next best of "
            "its shape. Default: 1.",
            OUTPUT,
        ),
    ] = None,
    **given: str | None,
) -> None:
    """Train a network for each of many settings, together, and rank the settings.

    arraymlp sweep --learning-rate 0.001,0.003,0.01 --hidden 100-100,50 --seed 0:4

    Settings rank by the mean over their seeds or folds. On MNIST the ranking never sees the test
    set.

    Exit status: 0; 1 if no network has a score; 2 for an error; 130 after Ctrl-C, 143 after
    SIGTERM, with the table of the networks so far. With --checkpoint the same command then goes on.
    """
    settings = _settings(given)
    if top < 1:
        raise ValueError(f"--top must be at least 1, not {top}")
    if 0 in np.ravel(settings.get("epochs", 1)):
        raise ValueError("--epochs must be at least 1: networks that were not trained have no rank")
    kept = checkpoint_of(checkpoint, checkpoint_every)
    _require_outputs(data, report, json_file, save, model)
    if ensemble is not None and (model is None or ensemble < 1):
        raise ValueError("--ensemble is a number from 1, and can be given only with --model")
    held_out = HELD_OUT if cv is None else 1 / max(cv, 2)
    if validation is not None:
        held_out = validation
    encoder = partial(
        encoder_of, numbers=numbers, bins=bins, categories=categories, dates=dates, keep=keep
    )
    of_classes = classifies_by(classes, settings.get("loss"))
    rows = (
        mnist_rows(target)
        if data is None
        else table_rows(data, target, of_classes, ignore, encoder)
    )
    text = rows.text
    text += f"; ranked on {held_out:.3g} of the rows, held out" if cv is None else f"; {cv} folds"
    about = {"data": text, "classes": rows.classes}
    chosen = resolve(backend, device)
    print(f"backend: {chosen}\ndata: {text}", *rows.left_out, sep="\n", flush=True)
    if kept is not None:
        print(f"checkpoint: {checkpoint}", flush=True)
    with interruptible() as interrupt, warnings.catch_warnings():
        warnings.filterwarnings("ignore", NOT_ENCODED)  # in a fold; of all rows it is said above
        result = sweep(
            rows.X,
            rows.y,
            encode=rows.encoder,
            cv=cv,
            validation=held_out if cv is None else validation,
            mode=mode,
            n=n,
            score=score,
            memory=memory,
            preset=preset,
            backend=chosen.name,
            device=chosen.device,
            checkpoint=kept,
            progress=True,
            **{**rows.settings, **settings},
        )
    notes = lines(result)
    if rows.mnist is not None:
        notes += mnist_errors(result, rows.mnist)
    if not result.swept:
        notes.append("nothing was swept: try --learning-rate 0.001,0.003,0.01 --seed 0:4")
    fixed: dict[str, Any] = {} if preset is None else {"preset": preset}
    fixed |= {name: value for name, value in settings.items() if name not in result.swept}
    if rows.mnist is None and cv is None:
        fixed["validation"] = round(held_out, 4)
    code = ""
    if any(m.counts for m in result.members):
        code = call(result, fixed, rows.code)
    try:
        _print_result(result, top, notes)
    finally:  # even if the reader of the pipe is gone
        _write(result, report, json_file, save, about, notes, code)
        if model is not None and any(m.counts for m in result.members):
            print(_write_model(result, model, ensemble or 1))
    scored = any(m.counts for m in result.members)
    raise typer.Exit(interrupt.exit_status or (0 if scored else 1))


def _settings(given: Mapping[str, Any]) -> dict[str, Any]:
    """The settings among the command's parameters, read from their text; absent ones left out."""
    settings = {name: values(name, given[name]) for name in SWEPT if given[name] is not None}
    if (names := given["metrics"]) is not None:
        settings["metrics"] = tuple(name.strip() for name in names.split(","))
    if (stop := given["early_stopping"]) is not None:
        whole = stop.isdecimal()
        settings["early_stopping"] = EarlyStopping(patience=int(stop)) if whole else stop
    return settings


def _require_outputs(data: str | None, report: Path | None, *files: Path | None) -> None:
    """Raise the errors that would otherwise come after the training."""
    if report is not None:
        empty_figure()  # needs Matplotlib
        require_writable(report)
    for file in files:
        require_file(file)
        require_other(file, data or "-")


def _print_result(result: SweepResult, top: int, notes: Sequence[str]) -> None:
    """Print the ranking and the notes."""
    from rich.table import Table

    header, rows = ranking(result, top)
    table = Table(
        title=f"{networks_text(len(result))}, {result.seconds:.1f} s", title_justify="left"
    )
    for column in header:
        table.add_column(column)
    for row in rows:
        table.add_row(*row)
    console().print(table)
    total = len(result.rank())
    if total > len(rows):
        print(f"the best {len(rows)} of {total} settings; --top {total} shows all")
    print(*notes, sep="\n", flush=True)


def _write(
    result: SweepResult,
    report: Path | None,
    json_file: Path | None,
    save: Path | None,
    about: Mapping[str, object],
    notes: Sequence[str],
    code: str,
) -> None:
    """Write the files that were asked for; first the report: its findings go into the others."""
    if report is not None and any(m.records for m in result.members):
        page = write_sweep_report(result, report, about=about, notes=notes, call=code)
        print(f"report: {page}")
    if json_file is not None:
        write_whole(json_file, sweep_json(result, about).encode())
        print(f"json: {json_file}")
    if save is not None:
        result.save(save)
        print(f"networks: {save}")


def _write_model(result: SweepResult, path: Path, n: int) -> str:
    """Write the best network, or the best n that are like it as one population; say which."""
    networks = best_alike(result, n)
    stack = networks[0] if n == 1 else MultilayerPerceptron.stacked(networks)
    save_network(stack, path)
    what = f"network {result.best.number}" if n == 1 else f"the best {len(networks)} of one shape"
    fewer = ", of which there are no more" if len(networks) < n else ""
    return f"model: {path}, {what}{fewer}; arraymlp predict {path} TABLE.csv"

"""The command ``arraymlp sweep``: a sweep from the command line, its table, report and files."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from arraymlp.app.checkpoints import checkpoint_of, every_option, folder_option
from arraymlp.app.figures import empty_figure
from arraymlp.app.options import option, with_settings
from arraymlp.app.outputs import require_file
from arraymlp.app.page import require_writable
from arraymlp.app.sweeps.report import sweep_json, write_sweep_report
from arraymlp.app.sweeps.summary import call, lines, networks_text, ranking
from arraymlp.app.sweeps.values import SWEPT, values
from arraymlp.app.terminal import console
from arraymlp.backends.array import HostArray
from arraymlp.backends.host import interruptible
from arraymlp.backends.registry import resolve
from arraymlp.data.datasets import MNIST, load_mnist
from arraymlp.data.tables import read_table
from arraymlp.nn.losses import LOSSES
from arraymlp.sweeps.result import SweepResult
from arraymlp.sweeps.sweep_function import sweep
from arraymlp.training.atomic import write_whole
from arraymlp.training.early_stopping import EarlyStopping
from arraymlp.training.ensemble import Ensemble
from arraymlp.training.model import MultilayerPerceptron

HELD_OUT = 1 / 6  # of the rows, where nothing else says what to validate on; 10,000 of MNIST's
ENSEMBLE = 5  # the best networks whose mean prediction is tried on MNIST's test set

DATA, SETTINGS = "Data", "Settings, each one value or several (a,b,c), which are swept"
SEARCH, LONG, OUTPUT = "Search", "Long sweeps", "Output"


@with_settings(("metrics", "early_stopping"), SEARCH)
@with_settings(SWEPT, SETTINGS)
def sweep_command(
    data: Annotated[
        Path | None,
        typer.Argument(
            help="A table to train on: .csv, .parquet, or .npz with arrays X and y. Classes that "
            "are not integers are numbered in the order of their names. Features are scaled with "
            "--standardize features or true. Default: MNIST.",
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
    preset: Annotated[str, option("default or lab.", SEARCH)] = "default",
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
    _require_outputs(report, json_file, save)
    held_out = HELD_OUT if cv is None else 1 / max(cv, 2)
    if validation is not None:
        held_out = validation
    source = _source(data, target, settings.get("loss"))
    text = source.text
    text += f"; ranked on {held_out:.3g} of the rows, held out" if cv is None else f"; {cv} folds"
    about = {"data": text, "classes": source.classes}
    chosen = resolve(backend, device)
    print(f"backend: {chosen}\ndata: {text}", flush=True)
    if kept is not None:
        print(f"checkpoint: {checkpoint}", flush=True)
    with interruptible() as interrupt:
        result = sweep(
            source.X,
            source.y,
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
            **settings,
        )
    notes = lines(result)
    if source.mnist is not None:
        notes += _test_errors(result, source.mnist)
    if not result.swept:
        notes.append("nothing was swept: try --learning-rate 0.001,0.003,0.01 --seed 0:4")
    fixed: dict[str, Any] = {} if preset == "default" else {"preset": preset}
    fixed |= {name: value for name, value in settings.items() if name not in result.swept}
    if "early_stopping" in fixed and source.mnist is None:  # the call needs something to watch
        fixed["validation"] = round(held_out, 4)
    code = ""
    if any(m.counts for m in result.members):
        code = call(result, fixed, "X, y" if source.mnist is None else "")
    try:
        _print_result(result, top, notes)
    finally:  # even if the reader of the pipe is gone
        _write(result, report, json_file, save, about, notes, code)
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


def _require_outputs(report: Path | None, json_file: Path | None, save: Path | None) -> None:
    """Raise the errors that would otherwise come after the training."""
    if report is not None:
        empty_figure()  # needs Matplotlib
        require_writable(report)
    require_file(json_file)
    require_file(save)


@dataclass(frozen=True)
class Source:
    """The rows to train on.

    Attributes:
        X: (n, n_features).
        y: (n,) targets.
        text: what they are.
        classes: names of the classes, where they are not their numbers.
        mnist: MNIST with its test set; None for a data file.
    """

    X: HostArray
    y: HostArray
    text: str
    classes: Sequence[str] | None = None
    mnist: MNIST | None = None


def _source(file: Path | None, target: str | None, loss: object) -> Source:
    """The rows of a data file, or MNIST; whole numbers are classes if the loss is one for classes.

    Raises:
        ValueError: a file or column that cannot be used.
        OSError: the file cannot be read.
    """
    if file is None:
        if target is not None:
            raise ValueError("--target is the column of a data file; MNIST has one target only")
        mnist = load_mnist()
        text = f"MNIST, {len(mnist.y_train)} training images"
        return Source(mnist.X_train, mnist.y_train, text, mnist=mnist)
    table = read_table(file, target)
    y = table.y
    classifies = isinstance(loss, str) and loss in LOSSES and LOSSES[loss].classifies != "no"
    if classifies and y.dtype.kind == "f" and bool((y % 1 == 0).all()):
        y = y.astype(np.int64)
    return Source(table.X, y, f"{file}: {table.describe()}", table.names)


def _test_errors(result: SweepResult, mnist: MNIST) -> list[str]:
    """A line on the errors on MNIST's test set, which has no part in the ranking."""
    ranked = [m for m in result.members if m.counts]
    if not ranked or ranked[0].network.classes is None:
        return []

    def error(predictor: MultilayerPerceptron | Ensemble) -> str:
        wrong = predictor.predict(mnist.X_test) != mnist.y_test
        return f"{100 * float(np.mean(wrong)):.2f} %"

    text = f"test error, which the ranking never saw: best network {error(result.best.network)}"
    n = min(ENSEMBLE, len(ranked))
    if n > 1:
        text += f", ensemble of the best {n} {error(result.ensemble(n))}"
    return [text]


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

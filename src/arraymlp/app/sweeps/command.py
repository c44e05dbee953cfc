"""The command ``arraymlp sweep``: a sweep from the command line, to its table, report and files."""

from collections.abc import Mapping, Sequence
from math import ceil
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from arraymlp.app.figures import empty_figure
from arraymlp.app.page import require_writable
from arraymlp.app.sweeps.report import sweep_json, write_sweep_report
from arraymlp.app.sweeps.summary import call, count, lines, ranking
from arraymlp.app.sweeps.values import SWEPT, values
from arraymlp.app.terminal import INTERRUPTED, console
from arraymlp.backends.array import HostArray
from arraymlp.backends.registry import resolve
from arraymlp.data.datasets import MNIST, load_mnist
from arraymlp.data.tables import Table, read_table
from arraymlp.nn.losses import LOSSES
from arraymlp.sweeps.result import SweepResult
from arraymlp.sweeps.sweep_function import sweep
from arraymlp.training.early_stopping import EarlyStopping
from arraymlp.training.files import write_whole
from arraymlp.training.settings import Settings

HELD_OUT = 1 / 6  # of the rows, where nothing else says what to validate on; 10,000 of MNIST's
TOGETHER = 5  # the best networks whose common prediction is tried on MNIST's test set

DATA, SETTINGS = "Data", "Settings, each one value or several (a,b,c), which are swept"
SEARCH, OUTPUT = "Search", "Output"


def _option(help: str, panel: str = SETTINGS, *names: str) -> Any:
    return typer.Option(*names, help=help, rich_help_panel=panel, show_default=False)


def sweep_command(
    data: Annotated[
        Path | None,
        typer.Argument(
            help="A table to train on: .csv, .parquet, or .npz with arrays X and y. Classes that "
            "are no integers are numbered in the order of their names. Features are taken as they "
            "are: scale them beforehand. Default: MNIST.",
            show_default=False,
        ),
    ] = None,
    target: Annotated[
        str | None,
        _option("The column to predict. Default: the last (of .npz, the array y).", DATA),
    ] = None,
    validation: Annotated[
        float | None, _option("Fraction of the rows held out to rank by. Default: a sixth.", DATA)
    ] = None,
    cv: Annotated[int | None, _option("Folds of cross-validation, instead.", DATA)] = None,
    learning_rate: Annotated[str | None, _option("0.005,0.05,0.5")] = None,
    hidden: Annotated[
        str | None, _option("Widths of the hidden layers, joined by hyphens: 100-100,50,none")
    ] = None,
    activation: Annotated[str | None, _option("relu,tanh,sigmoid,gelu,...")] = None,
    optimizer: Annotated[str | None, _option("momentum,sgd,nesterov,adam,adamw,rmsprop")] = None,
    seed: Annotated[
        str | None, _option("Of the initial weights: 0:4 is 0,1,2,3, and 0:9:3 is 0,3,6.")
    ] = None,
    order_seed: Annotated[str | None, _option("Of the order of rows; also as ranges.")] = None,
    batch_size: Annotated[str | None, _option("Rows a step: 50,100,200")] = None,
    epochs: Annotated[str | None, _option("Passes over the data: 20")] = None,
    schedule: Annotated[
        str | None, _option("constant,step,exponential,cosine,inverse_scaling,adaptive")
    ] = None,
    weight_decay: Annotated[str | None, _option("Decoupled from the gradient: 0,0.01")] = None,
    l2: Annotated[str | None, _option("Penalty on the weights: 0,1e-4")] = None,
    alpha: Annotated[str | None, _option("The same in scikit-learn's form.")] = None,
    dropout: Annotated[str | None, _option("Probability of hidden units: 0,0.2,0.5")] = None,
    gradient_clip: Annotated[str | None, _option("Bound on the gradient's norm: 1,10")] = None,
    label_smoothing: Annotated[str | None, _option("0,0.1")] = None,
    initializer: Annotated[str | None, _option("auto,he_normal,glorot_uniform,...")] = None,
    reduction: Annotated[str | None, _option("mean,sum")] = None,
    loss: Annotated[
        str | None, _option("auto; softmax_cross_entropy, squared_error, huber, ...")
    ] = None,
    dtype: Annotated[str | None, _option("float32,float64")] = None,
    precision: Annotated[
        str | None, _option("Of the training's products, on GPUs: float32,tf32,bf16")
    ] = None,
    metrics: Annotated[
        str | None, _option("Further figures, not swept: accuracy,f1,r2,...", SEARCH)
    ] = None,
    early_stopping: Annotated[
        str | None,
        _option("Epochs without a better validation loss, or the figure to watch: 10", SEARCH),
    ] = None,
    preset: Annotated[str, _option("default or lab.", SEARCH)] = "default",
    mode: Annotated[
        str,
        _option("grid: every combination; zip: first values, second values, ...; random", SEARCH),
    ] = "grid",
    n: Annotated[int | None, _option("How many combinations of mode random.", SEARCH)] = None,
    score: Annotated[
        str | None, _option("The figure that ranks: validation_loss, validation_f1, ...", SEARCH)
    ] = None,
    backend: Annotated[str, _option("auto, numpy, cupy, torch or jax.", SEARCH)] = "auto",
    device: Annotated[str | None, _option("The backend's device: cuda:1.", SEARCH)] = None,
    memory: Annotated[
        str | None, _option("What training may take: 2GB. Default: half of the free.", SEARCH)
    ] = None,
    top: Annotated[int, _option("Rows of the table. Default: 10.", OUTPUT)] = 10,
    report: Annotated[
        Path | None, _option("Folder for report.html, sweep.png and sweep.json.", OUTPUT)
    ] = None,
    json_file: Annotated[
        Path | None, _option("File for settings, histories and ranking.", OUTPUT, "--json")
    ] = None,
    save: Annotated[
        Path | None, _option("File for all networks: SweepResult.load reads it.", OUTPUT)
    ] = None,
) -> None:
    """Train a network for each of many settings, together, and rank the settings.

    arraymlp sweep --learning-rate 0.005,0.05,0.5 --hidden 100-100,50 --seed 0:4

    Of several seeds or folds the mean ranks. On MNIST the ranking never sees the test set.

    Exit status: 0; 2 for an error; 130 after Ctrl-C, with the table of what there is.
    """
    raise typer.Exit(_sweep(locals()))


def _sweep(given: Mapping[str, Any]) -> int:
    """Run the command with its arguments, by name; returns the exit status."""
    settings = {name: values(name, given[name]) for name in SWEPT if given.get(name) is not None}
    if given["metrics"] is not None:
        settings["metrics"] = tuple(name.strip() for name in given["metrics"].split(","))
    if (stop := given["early_stopping"]) is not None:
        whole = stop.isdecimal()
        settings["early_stopping"] = EarlyStopping(patience=int(stop)) if whole else stop
    if given["top"] < 1:
        raise ValueError(f"--top must be at least 1, not {given['top']}")
    _require_outputs(given["report"], given["json_file"], given["save"])
    mnist = load_mnist() if given["data"] is None else None
    if mnist is not None and given["target"] is not None:
        raise ValueError("--target is of a data file, and MNIST has one target alone")
    table = read_table(given["data"], given["target"]) if mnist is None else None
    cv, validation = given["cv"], given["validation"]
    if cv is None and validation is None:
        validation = HELD_OUT
    data = f"{given['data']}: {table.describe()}" if table else "MNIST, 60000 training images"
    data += f"; ranked on {validation:.3g} of the rows, held out" if cv is None else f"; {cv} folds"
    about = {"data": data, "classes": table.names if table else None}
    if table is not None and "batch_size" not in settings:
        rows = len(table.y)
        left = rows - (round(rows * (validation or 0)) if cv is None else ceil(rows / max(cv, 2)))
        if 0 < left < Settings().batch_size:  # too few for a minibatch of the usual size
            settings["batch_size"] = left
            data += f"; minibatches of {left}"
    chosen = resolve(given["backend"], given["device"])
    print(f"backend: {chosen}\ndata: {data}", flush=True)
    result = sweep(
        *_rows(mnist, table, settings.get("loss")),
        cv=cv,
        validation=validation,
        mode=given["mode"],
        n=given["n"],
        score=given["score"],
        memory=given["memory"],
        preset=given["preset"],
        backend=chosen.name,
        device=chosen.device,
        progress=True,
        **settings,
    )
    notes = [*lines(result), *_tested(result, mnist)]
    if not result.swept:
        notes.append("nothing was swept: try --learning-rate 0.005,0.05,0.5 --seed 0:4")
    fixed = {name: value for name, value in settings.items() if name not in result.swept}
    if given["preset"] != "default":
        fixed = {"preset": given["preset"], **fixed}
    if "early_stopping" in fixed and mnist is None:  # it needs something to watch
        fixed["validation"] = round(1 / cv if validation is None else validation, 4)
    source = ""
    if any(m.counts for m in result.members):
        source = call(result, fixed, "X, y" if mnist is None else "")
    try:
        _show(result, given["top"], notes)
    finally:  # even where nobody reads the table any more
        _write(result, given["report"], given["json_file"], given["save"], about, notes, source)
    return INTERRUPTED if result.interrupted else 0


def _require_outputs(report: Path | None, json_file: Path | None, save: Path | None) -> None:
    """What would fail after the training fails now."""
    if report is not None:
        empty_figure()  # of Matplotlib
        require_writable(report)
    for file in (json_file, save):
        if file is not None:
            if not file.parent.is_dir() or file.is_dir():
                raise OSError(f"{file} cannot be written: it is a folder, or its folder is absent")
            require_writable(file.parent, "folder")


def _rows(mnist: MNIST | None, table: Table | None, loss: Any) -> tuple[HostArray, HostArray]:
    """X and y. Whole numbers are classes where the loss is one for classes."""
    if mnist is not None:
        return mnist.X_train, mnist.y_train
    assert table is not None
    y = table.y
    classifies = isinstance(loss, str) and loss in LOSSES and LOSSES[loss].classifies != "no"
    if classifies and y.dtype.kind == "f" and bool((y % 1 == 0).all()):
        y = y.astype(np.int64)
    return table.X, y


def _tested(result: SweepResult, mnist: MNIST | None) -> list[str]:
    """On MNIST the test errors, for which nothing was chosen."""
    known = [m for m in result.members if m.counts]
    if mnist is None or not known or known[0].network.classes is None:
        return []

    def error(network: Any) -> str:
        wrong = network.predict(mnist.X_test) != mnist.y_test
        return f"{100 * float(np.mean(wrong)):.2f} %"

    text = f"test error, which the ranking never saw: best network {error(result.best.network)}"
    n = min(TOGETHER, len(known))
    if n > 1:
        text += f", ensemble of the best {n} {error(result.ensemble(n))}"
    return [text]


def _show(result: SweepResult, top: int, notes: Sequence[str]) -> None:
    """Print the ranking and what is to be said of it."""
    from rich.table import Table as Shown

    header, rows = ranking(result, top)
    shown = Shown(title=f"{count(len(result))}, {result.seconds:.1f} s", title_justify="left")
    for column in header:
        shown.add_column(column)
    for row in rows:
        shown.add_row(*row)
    console().print(shown)
    total = len(result.rank())
    if total > len(rows):
        print(f"the best {len(rows)} of {total} settings; --top {total} shows all")
    print(*notes, sep="\n", flush=True)


def _write(
    result: SweepResult,
    report: Path | None,
    json_file: Path | None,
    save: Path | None,
    about: Mapping[str, Any],
    notes: Sequence[str],
    source: str,
) -> None:
    """Write the files that were asked for; first the report, whose findings the others have too."""
    if report is not None and any(m.records for m in result.members):
        print(
            f"report: {write_sweep_report(result, report, about=about, notes=notes, call=source)}"
        )
    if json_file is not None:
        write_whole(json_file, sweep_json(result, about).encode())
        print(f"json: {json_file}")
    if save is not None:
        result.save(save)
        print(f"networks: {save}")

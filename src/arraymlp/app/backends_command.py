"""The command ``arraymlp backends``: which work here, and with ``--bench`` how fast they train."""

from collections.abc import Sequence
from typing import Annotated, Any, Literal

import typer

from arraymlp._checks import error_text
from arraymlp.app.speed import FEWEST, BackendSpeed, backend_speeds
from arraymlp.app.terminal import console
from arraymlp.backends.host import interruptible
from arraymlp.backends.registry import available_backends, resolve
from arraymlp.steps.optimizers import OPTIMIZERS
from arraymlp.training.atomic import write_whole

DEFAULTS = {
    "sizes": "784-100-100-10",
    "batch_size": 100,
    "dtype": "float32",
    "optimizer": "momentum",
    "seconds": 10.0,
    "networks": 1,
}
ABOUT_AS_FAST = 1.1  # times as long as the fastest, up to which another is named beside it
FIRST = f"first epoch ({FEWEST} steps)"
PANEL = "With --bench"


def _option(help: str) -> Any:
    return typer.Option(help=help, rich_help_panel=PANEL, show_default=False)


def backends_command(
    ctx: typer.Context,
    bench: Annotated[
        bool, typer.Option("--bench", help="Train a network on each and name the fastest.")
    ] = False,
    sizes: Annotated[
        str | None, _option("Widths from inputs to outputs. Default: 784-100-100-10.")
    ] = None,
    batch_size: Annotated[int | None, _option("Rows a step. Default: 100.")] = None,
    dtype: Annotated[str | None, _option("float32 (the default) or float64.")] = None,
    optimizer: Annotated[
        str | None, _option(f"{', '.join(OPTIMIZERS)}. Default: momentum.")
    ] = None,
    seconds: Annotated[
        float | None, _option("For all together, imports aside. Default: 10.")
    ] = None,
    networks: Annotated[int | None, _option("That train together. Default: 1.")] = None,
) -> None:
    """Show which backends work here, or why not; with --bench, how fast they are.

    The last line says whether the engine that makes NumPy fast is there, or
    why it is not. CuPy's engine trains whole epochs in one of several ways:
    --bench times each and notes the fastest for such networks, by which later
    trainings of them go.

    arraymlp backends --bench --sizes 784-100-100-10 --batch-size 100

    Exit status: 0; 1 if --bench measured nothing; 2 for an error; 130 after
    Ctrl-C, 143 after SIGTERM.
    """
    given = {name: ctx.params[name] for name in DEFAULTS if ctx.params[name] is not None}
    if bench:
        raise typer.Exit(_bench(**{**DEFAULTS, **given}))
    if given:
        flags = ", ".join(f"--{name.replace('_', '-')}" for name in given)
        raise ValueError(f"{flags} can be given only with --bench")
    _print_available()


def _print_available() -> None:
    from rich.table import Table

    table = Table()
    for column in ("backend", "works here", "version", "device", "reason, and how to install"):
        table.add_column(column)
    for status in available_backends():
        works = "yes" if status.available else "no"
        reason = _joined(status.reason, status.install)
        table.add_row(status.name, works, status.version, status.device, reason)
    console().print(table)
    print(f'"auto" means {resolve("auto")}')
    print(_numpy_engine())


def _numpy_engine() -> str:
    """Whether NumPy has its compiled engine here, and if not, why."""
    try:
        from arraymlp.engines.cpu import library
    except ModuleNotFoundError as error:
        if not (error.name or "").startswith("arraymlp.engines"):
            raise
        why = f"{error.name} is not installed"
    else:
        native = library.load()
        if native is not None:
            return f"NumPy's engine: compiled, by {native.isa} instructions ({native.path})"
        why = library.why_not()
    return f"NumPy's engine: none, so it trains by the definition: {why}"


def _bench(
    sizes: str,
    batch_size: int,
    dtype: Literal["float32", "float64"],
    optimizer: str,
    seconds: float,
    networks: int,
) -> int:
    """Time the backends, print figures and reasons, and return the exit status."""
    widths = _widths(sizes)
    together = f"{networks} networks {sizes} together" if networks > 1 else sizes
    print(
        f"training {together} in minibatches of {batch_size}, {dtype}, {optimizer}: "
        f"about {seconds:g} s, imports aside",
        flush=True,
    )
    with interruptible() as interrupt:
        rows = backend_speeds(
            widths,
            batch_size=batch_size,
            dtype=dtype,
            optimizer=optimizer,
            seconds=seconds,
            members=networks,
        )
    if timed := [row for row in rows if row.first_epoch_s is not None]:
        _print_speeds(timed)
    for row in rows:
        if row.reason:
            print(f"{_place(row)}: {_joined(row.reason, row.install)}")
    if noted := _noted(rows, widths, networks):
        print(noted)
    print(_fastest(rows), flush=True)
    return interrupt.exit_status or (1 if rows[0].us_per_step is None else 0)


def _print_speeds(rows: Sequence[BackendSpeed]) -> None:
    """Print the table of figures."""
    from rich.table import Table

    numpy = next((row.us_per_step for row in rows if row.name == "numpy"), None)
    table = Table()
    for column in ("backend", "device"):
        table.add_column(column)
    for column in ("µs a step", "samples a second", "times as fast as NumPy", FIRST):
        table.add_column(column, justify="right")
    for row in rows:
        us, rate, first = row.us_per_step, row.samples_per_s, row.first_epoch_s
        table.add_row(
            row.name,
            f"{row.device}, by {row.way}" if row.way else row.device,
            "" if us is None else f"{us:,.{0 if us >= 99.5 else 1}f}",
            "" if rate is None else f"{rate:,.0f}",
            "" if us is None or numpy is None else f"{numpy / us:.2f}",
            "" if first is None else f"{first:.3f} s",
        )
    console().print(table)


def _place(row: BackendSpeed) -> str:
    place = f"{row.name} on {row.device}" if row.device else row.name
    return f"{place}, by {row.way}" if row.way else place


def _noted(rows: Sequence[BackendSpeed], widths: Sequence[int], networks: int) -> str:
    """Note by which of its ways CuPy's engine was fastest; what was noted, "" for nothing."""
    times = {row.way: row.us_per_step for row in rows if row.way and row.us_per_step is not None}
    if len(times) < 2:
        return ""
    from arraymlp.engines.cuda import ways

    fastest, path = ways.fastest(times), ways.notes_path()
    content = ways.with_note(resolve("cupy").device_model, networks, widths, fastest)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, content)
    except OSError as error:
        return f"that they go by {fastest} could not be noted: {error_text(error)}"
    return f"noted in {path}: on such a device such networks train whole epochs by {fastest}"


def _joined(*parts: str) -> str:
    return "; ".join(part for part in parts if part)


def _widths(text: str) -> list[int]:
    """``784-100-10`` as numbers.

    Raises:
        ValueError: it is not two or more positive whole numbers joined by hyphens.
    """
    widths = [width.strip() for width in text.split("-")]
    if len(widths) < 2 or not all(width.isdecimal() and int(width) for width in widths):
        raise ValueError(
            f"--sizes {text}: give the widths from inputs to outputs, such as 784-100-10"
        )
    return [int(width) for width in widths]


def _fastest(rows: Sequence[BackendSpeed]) -> str:
    """The call that trains on the fastest, and what is about as fast."""
    timed = [(row, row.us_per_step) for row in rows if row.us_per_step is not None]
    if not timed:
        return "nothing was measured"
    (fastest, least), *others = timed
    text = f"fastest here: {_place(fastest)}; to train with it: {fastest.call}"
    if close := [_place(row) for row, us in others if us <= ABOUT_AS_FAST * least]:
        text += f" (within a tenth of it: {', '.join(close)})"
    return text

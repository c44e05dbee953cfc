"""The command ``arraymlp lab``: the published lab on a backend, its table and its report."""

from pathlib import Path
from typing import Annotated

import typer

from arraymlp.app.checkpoints import checkpoint_of, every_option, folder_option
from arraymlp.app.lab.experiments import LAB, experiments
from arraymlp.app.lab.progress import lab_progress
from arraymlp.app.lab.result import LabResult, verdict_text
from arraymlp.app.lab.training import run_lab
from arraymlp.app.terminal import console
from arraymlp.backends.host import interruptible
from arraymlp.backends.registry import resolve, why_not


def lab_command(
    backend: Annotated[str, typer.Option(help="auto, numpy, cupy, torch or jax.")] = "auto",
    device: Annotated[str | None, typer.Option(help="The backend's device: cuda:1.")] = None,
    runs: Annotated[
        str | None, typer.Option(help="Some of the runs: relu-0.05,relu-0.005. Default: all.")
    ] = None,
    epochs: Annotated[int, typer.Option(help="Only runs of 70 are judged.")] = LAB["epochs"],
    seed: Annotated[int, typer.Option(help="Of the initial weights; the first of --seeds.")] = 0,
    seeds: Annotated[int, typer.Option(help="Number of seeds to train each run with.")] = 1,
    dtype: Annotated[str, typer.Option(help="float32 or float64.")] = "float32",
    engine: Annotated[
        str, typer.Option(help="auto: the backend's engine; array: the definition.")
    ] = "auto",
    checkpoint: Annotated[Path | None, folder_option()] = None,
    checkpoint_every: Annotated[str | None, every_option()] = None,
    report: Annotated[
        Path | None, typer.Option(help="Folder for report.html, pictures and findings.json.")
    ] = None,
) -> None:
    """Run the published MNIST lab and compare its results with the published ones.

    On NumPy the runs train side by side, one on each core.

    Exit status: 0 if every judged run is in its band, 1 if one is not, 2 for an error, 130 after
    Ctrl-C, 143 after SIGTERM; with --checkpoint the same command then goes on.
    """
    if seeds < 1:
        raise ValueError(f"--seeds must be at least 1, not {seeds}")
    if epochs < 1:
        raise ValueError(f"--epochs must be at least 1, not {epochs}")
    names = None if runs is None else [name.strip() for name in runs.split(",")]
    experiments(names)  # a wrong name is an error before anything is set up
    kept = checkpoint_of(checkpoint, checkpoint_every)
    if report is not None:
        from arraymlp.app.page import require_writable

        require_writable(report)  # this fails now, not after the training
    chosen = resolve(backend, device)
    no_cupy = why_not("cupy") if backend == "auto" and chosen.name == "numpy" else ""
    print(f"backend: {chosen}" + (f" (no CuPy: {no_cupy})" if no_cupy else ""), flush=True)
    if kept is not None:
        print(f"checkpoint: {checkpoint}", flush=True)
    with interruptible() as interrupt:
        result = run_lab(
            names,
            backend=chosen.name,
            device=chosen.device,
            epochs=epochs,
            seeds=range(seed, seed + seeds),
            dtype=dtype,
            engine=engine,
            checkpoint=kept,
            progress=lab_progress(),
        )
    _print_result(result)
    if report is not None and result.runs:
        from arraymlp.app.lab.report import write_report

        print("writing the report ...", flush=True)
        try:
            print(f"report: {write_report(result, report)}")
        except KeyboardInterrupt:
            print("the report is not written")
            raise
    raise typer.Exit(interrupt.exit_status or (0 if result.in_band else 1))


def _print_result(result: LabResult) -> None:
    """Print the table of the published results and ours."""
    from rich.table import Table

    table = Table()
    for column in ("run", "published", "test accuracy", "band", "in band", "what happened", "time"):
        table.add_column(column, no_wrap=column == "run")
    for row in result.rows():
        accuracy = f"{row['accuracy']:.2f} %"
        if row["spread"] is not None:
            accuracy += f" ± {row['spread']:.2f}"
        table.add_row(
            row["run"],
            f"{row['published']:.2f} %",
            accuracy,
            row["band"],
            verdict_text(row),
            row["what"],
            f"{row['seconds']:.0f} s",
        )
    console().print(result.title(), table, sep="\n")
    if len(result.seeds) > 1 and (text := result.escapes()):
        print(text)
    if result.interrupted:
        print("interrupted: the table shows the runs so far")

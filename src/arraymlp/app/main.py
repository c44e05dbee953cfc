"""The command line: ``arraymlp lab``, ``sweep`` and ``backends`` (extra ``cli``)."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from arraymlp.app.terminal import INTERRUPTED, console

if TYPE_CHECKING:
    from arraymlp.app.lab.experiments import LabResult


def main() -> None:
    """Run the command line; an error of the user's is one line on stderr and exit status 2."""
    try:
        import typer
    except ModuleNotFoundError:
        sys.exit(_fail("the command line needs typer and rich: pip install 'arraymlp[cli]'"))
    from arraymlp.backends.memory import DeviceMemoryError
    from arraymlp.backends.registry import BackendUnavailableError
    from arraymlp.data.datasets import DatasetError

    # These say what the user can do about them; anything else is a bug and shows its traceback.
    ours = (
        ValueError,
        OSError,
        ModuleNotFoundError,
        BackendUnavailableError,
        DatasetError,
        DeviceMemoryError,
    )
    try:
        _app(typer)()
    except ours as error:
        sys.exit(_fail(str(error)))
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)


def _fail(message: str) -> int:
    print(f"arraymlp: error: {message}", file=sys.stderr)
    return 2


def _app(typer: Any) -> Any:
    from arraymlp.app.backends_command import backends_command
    from arraymlp.app.sweeps.command import sweep_command

    app = typer.Typer(
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
        help="Multilayer perceptrons on any array backend.",
    )

    def show_version(wanted: bool) -> None:
        if wanted:
            from arraymlp import __version__

            print(f"arraymlp {__version__}")
            raise typer.Exit

    @app.callback()  # type: ignore[untyped-decorator]
    def common(
        version: Annotated[
            bool, typer.Option("--version", callback=show_version, is_eager=True, help="Print it.")
        ] = False,
    ) -> None:
        pass

    @app.command()  # type: ignore[untyped-decorator]
    def lab(
        backend: Annotated[str, typer.Option(help="auto, numpy, cupy, torch or jax.")] = "auto",
        device: Annotated[str | None, typer.Option(help="The backend's device: cuda:1.")] = None,
        runs: Annotated[
            str | None, typer.Option(help="Some of the runs: relu-0.05,relu-0.005. Default: all.")
        ] = None,
        epochs: Annotated[int, typer.Option(help="Only runs of 70 are judged.")] = 70,
        seed: Annotated[
            int, typer.Option(help="Of the initial weights; the first of --seeds.")
        ] = 0,
        seeds: Annotated[int, typer.Option(help="How many seeds to make every run with.")] = 1,
        dtype: Annotated[str, typer.Option(help="float32 or float64.")] = "float32",
        engine: Annotated[
            str, typer.Option(help="auto, or array: the array code does the steps.")
        ] = "array",
        report: Annotated[
            Path | None, typer.Option(help="Folder for report.html, PNGs and findings.json.")
        ] = None,
    ) -> None:
        """Run the published MNIST lab and hold the results against the published ones.

        Exit status: 0 if every judged run is in its band, 1 if one is not, 2 for an error, 130
        after Ctrl-C.
        """
        raise typer.Exit(_lab(backend, device, runs, epochs, seed, seeds, dtype, engine, report))

    app.command("sweep")(sweep_command)
    app.command("backends")(backends_command)
    return app


def _lab(
    backend: str,
    device: str | None,
    runs: str | None,
    epochs: int,
    seed: int,
    seeds: int,
    dtype: str,
    engine: str,
    report: Path | None,
) -> int:
    from arraymlp.app.lab.experiments import experiments, run_lab
    from arraymlp.backends.registry import resolve, why_not
    from arraymlp.training.progress import Progress, progress_for

    if seeds < 1:
        raise ValueError(f"--seeds must be at least 1, not {seeds}")
    if epochs < 1:
        raise ValueError(f"--epochs must be at least 1, not {epochs}")
    names = None if runs is None else [name.strip() for name in runs.split(",")]
    experiments(names)  # a wrong name is an error before anything is set up
    if report is not None:
        from arraymlp.app.figures import empty_figure
        from arraymlp.app.page import require_writable

        empty_figure()  # Matplotlib is missed now, not after the training
        require_writable(report)

    chosen = resolve(backend, device)
    absent = why_not("cupy") if backend == "auto" and chosen.name == "numpy" else ""
    print(f"backend: {chosen}" + (f" (no CuPy: {absent})" if absent else ""), flush=True)

    def watch(title: str) -> Progress:
        shown = progress_for(True, epochs, title)
        if not sys.stdout.isatty():
            print(title, flush=True)
        return shown

    result = run_lab(
        names,
        backend=chosen.name,
        device=chosen.device,
        epochs=epochs,
        seeds=range(seed, seed + seeds),
        dtype=dtype,
        engine=engine,
        watch=watch,
    )
    _show(result)
    if report is not None and result.outcomes:
        from arraymlp.app.lab.report import write_report

        print(f"report: {write_report(result, report)}")
    if result.interrupted:
        return INTERRUPTED
    return 0 if result.in_band else 1


def _show(result: "LabResult") -> None:
    """Print the table, published beside ours."""
    from rich.table import Table

    seeds = sorted({o.seed for o in result.outcomes})
    table = Table(
        title=f"{result.backend}, {result.dtype}, seed{'s' if len(seeds) > 1 else ''} "
        f"{', '.join(map(str, seeds))}, {result.seconds:.0f} s",
        title_justify="left",
    )
    for column in ("run", "published", "test accuracy", "band", "in band", "what happened", "time"):
        table.add_column(column)
    for row in result.rows():
        ours = f"{row['accuracy']:.2f} %"
        if row["spread"] is not None:
            ours += f" ± {row['spread']:.2f}"
        if not row["judged"]:
            verdict = "not judged"
        elif len(row["seeds"]) == 1:
            verdict = "yes" if row["in_band"] else "NO"
        else:
            verdict = f"{row['in_band']} of {row['judged']}"
        table.add_row(
            row["run"],
            f"{row['published']:.2f} %",
            ours,
            row["band"],
            verdict,
            row["what"],
            f"{row['seconds']:.0f} s",
        )
    console().print(table)
    if len(seeds) > 1 and (text := result.escapes()):
        print(text)
    if result.interrupted:
        print("interrupted: the table holds what there is")


if __name__ == "__main__":
    main()

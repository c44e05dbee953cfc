"""The command line: ``arraymlp train``, ``predict`` and the others (extra ``cli``)."""

import os
import sys
from typing import TYPE_CHECKING, Annotated

from arraymlp.app.terminal import INTERRUPTED, ended_by_sigterm

if TYPE_CHECKING:
    from typer import Typer


def main() -> None:
    """Run the command line; a mistake of the user's is one line on stderr and exit status 2."""
    _open_closed_streams()
    for stream in (sys.stdout, sys.stderr):  # a name in a path or table may not fit the encoding
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    try:
        import typer  # noqa: F401
    except ModuleNotFoundError:
        sys.exit(_fail("the command line needs typer and rich: pip install typer rich"))
    from arraymlp.backends.memory import DeviceMemoryError
    from arraymlp.backends.registry import BackendUnavailableError
    from arraymlp.data.datasets import DatasetError

    # These say what the user can do about them; anything else is a bug and shows its traceback.
    mistakes = (
        ValueError,
        OSError,
        ModuleNotFoundError,
        BackendUnavailableError,
        DatasetError,
        DeviceMemoryError,
        MemoryError,
    )
    try:
        command_line()()
    except mistakes as error:
        sys.exit(_fail(_sentence(error)))
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)


def _open_closed_streams() -> None:
    """Have each standard stream that the caller closed be empty, or lead nowhere.

    Python has None for it, and the next file that is opened would get its number.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115


def _sentence(error: Exception) -> str:
    """What an error says; of the system's without its number."""
    if isinstance(error, OSError) and error.strerror and error.filename is not None:
        return f"{error.filename}: {error.strerror}"
    if isinstance(error, MemoryError):
        return f"there is not enough memory{f' ({error})' if str(error) else ''}"
    return str(error)


def _fail(message: str) -> int:
    print(f"arraymlp: error: {message}", file=sys.stderr)
    return 2


def command_line() -> "Typer":
    """The commands and their options."""
    import typer

    from arraymlp.app.backends_command import backends_command
    from arraymlp.app.lab.command import lab_command
    from arraymlp.app.sweeps.command import sweep_command
    from arraymlp.app.tables.evaluate_command import evaluate_command
    from arraymlp.app.tables.export_command import export_command
    from arraymlp.app.tables.predict_command import predict_command
    from arraymlp.app.tables.show_command import show_command
    from arraymlp.app.tables.train_command import train_command

    app = typer.Typer(
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
        help="Multilayer perceptrons on any array backend.",
    )

    def show_version(asked: bool) -> None:
        if asked:
            from arraymlp import __version__

            print(f"arraymlp {__version__}")
            raise typer.Exit

    @app.callback()
    def common(
        version: Annotated[
            bool,
            typer.Option("--version", callback=show_version, is_eager=True, help="Show it."),
        ] = False,
    ) -> None:
        pass

    app.command("train")(train_command)
    app.command("predict")(ended_by_sigterm(predict_command))
    app.command("evaluate")(ended_by_sigterm(evaluate_command))
    app.command("export")(ended_by_sigterm(export_command))
    app.command("show")(ended_by_sigterm(show_command))
    app.command("sweep")(sweep_command)
    app.command("lab")(lab_command)
    app.command("backends")(backends_command)
    return app


if __name__ == "__main__":
    main()

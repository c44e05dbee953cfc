"""Options that commands share: how they are made, and their help, from the table of settings."""

import inspect
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, TypeAlias, TypeVar

import typer

from arraymlp.training.settings import TABLE

Command = TypeVar("Command", bound=Callable[..., None])


def option(help: str, panel: str, *names: str, **given: Any) -> Any:
    """An option with its help, in a panel of a command's ``--help``."""
    return typer.Option(*names, help=help, rich_help_panel=panel, show_default=False, **given)


def with_settings(
    names: Sequence[str], panel: str, *, several: bool = True
) -> Callable[[Command], Command]:
    """Have a command take an option for each of these settings, by its ``**settings``.

    Help and examples are those of the table of settings. An option that is not given is None.

    Args:
        names: of the settings.
        panel: of the command's ``--help``.
        several: whether an option takes several values, as the table has the examples.
    """

    def add(command: Command) -> Command:
        signature = inspect.signature(command)
        own = [p for p in signature.parameters.values() if p.kind is not p.VAR_KEYWORD]
        options = [
            inspect.Parameter(
                name,
                inspect.Parameter.KEYWORD_ONLY,
                default=None,
                annotation=Annotated[str | None, _setting(name, panel, several)],
            )
            for name in names
        ]
        command.__signature__ = signature.replace(parameters=[*own, *options])  # type: ignore[attr-defined]
        command.__annotations__ |= {p.name: p.annotation for p in options}
        return command

    return add


def _setting(name: str, panel: str, several: bool) -> Any:
    about = TABLE[name].metadata
    examples = about["cli"]
    if not several:
        examples = ", ".join(text for text in examples.split(",") if ":" not in text) or "0"
    return option(f"{about['help'][0].upper()}{about['help'][1:]}: {examples}", panel)


OUTPUT, LONG, WHERE = "Output", "Long runs", "Where"

ModelFile: TypeAlias = Annotated[
    Path,
    typer.Argument(
        help="A model file, as train --save, sweep or Python's save writes it; of a sweep's file "
        "its best network.",
        show_default=False,
    ),
]
DataFile: TypeAlias = Annotated[
    str,
    typer.Argument(
        help="A table: .csv, .tsv, .parquet or .npz; - for standard input. Columns are taken by "
        "their names, in any order.",
        show_default=False,
    ),
]
BackendName: TypeAlias = Annotated[str, option("auto, numpy, cupy, torch or jax.", WHERE)]
Device: TypeAlias = Annotated[str | None, option("The backend's device: cuda:1.", WHERE)]
AsJson: TypeAlias = Annotated[
    bool, option("Print one JSON object on stdout, and all else on stderr.", OUTPUT, "--json")
]

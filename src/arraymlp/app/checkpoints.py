"""The options ``--checkpoint`` and ``--checkpoint-every``, which the commands that train share."""

from pathlib import Path
from typing import Any

import typer

from arraymlp.training.checkpoint import Checkpoint


def folder_option(**given: Any) -> Any:
    """The option ``--checkpoint`` of what has several runs."""
    help = (
        "Folder that keeps the state: the same command goes on from it, whatever ended it. Made "
        "where there is none."
    )
    return typer.Option(help=help, **given)


def file_option(**given: Any) -> Any:
    """The option ``--checkpoint`` of one run."""
    help = "File that keeps the state: the same command goes on from it, whatever ended it."
    return typer.Option(help=help, **given)


def every_option(**given: Any) -> Any:
    """The option ``--checkpoint-every``."""
    help = f"How often: {Checkpoint.every} (the default), '30 s', '100 steps', '1 epoch'."
    return typer.Option(help=help, **given)


def checkpoint_of(
    path: Path | None, every: str | None, *, is_folder: bool = True
) -> Checkpoint | None:
    """What the two options say; None without a path.

    Args:
        path: of the folder, or of the file.
        every: how often.
        is_folder: which of the two it is.

    Raises:
        ValueError: no time, number of steps or number of epochs; or one without a path.
        OSError: the folder is none, or the file is none.
    """
    if path is None:
        if every is not None:
            raise ValueError("--checkpoint-every can be given only with --checkpoint")
        return None
    if path.exists() and is_folder != path.is_dir():
        wanted = "folder" if is_folder else "file"
        raise OSError(f"--checkpoint {path} is no {wanted}")
    return Checkpoint(path) if every is None else Checkpoint(path, every)

"""The options ``--checkpoint`` and ``--checkpoint-every``, which the commands that train share."""

from pathlib import Path
from typing import Any

import typer

from arraymlp.training.checkpoint import Checkpoint


def folder_option(**given: Any) -> Any:
    """The option ``--checkpoint``."""
    help = (
        "Folder that keeps the state: the same command goes on from it, whatever ended it. Made "
        "where there is none."
    )
    return typer.Option(help=help, **given)


def every_option(**given: Any) -> Any:
    """The option ``--checkpoint-every``."""
    help = f"How often: {Checkpoint.every} (the default), '30 s', '100 steps', '1 epoch'."
    return typer.Option(help=help, **given)


def checkpoint_of(folder: Path | None, every: str | None) -> Checkpoint | None:
    """What the two options say; None without a folder.

    Raises:
        ValueError: no time, number of steps or number of epochs; or one without a folder.
        OSError: the folder is none.
    """
    if folder is None:
        if every is not None:
            raise ValueError("--checkpoint-every can be given only with --checkpoint")
        return None
    if folder.exists() and not folder.is_dir():
        raise NotADirectoryError(f"--checkpoint {folder} is no folder")
    return Checkpoint(folder) if every is None else Checkpoint(folder, every)

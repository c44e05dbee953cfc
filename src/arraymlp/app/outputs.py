"""What a command writes: checked before the work, and written whole or not at all."""

import os
from contextlib import suppress
from pathlib import Path

from arraymlp.app.page import require_writable


def require_file(file: Path | None) -> None:
    """Raise an OSError where a file could not be written: before the work, not after it."""
    if file is None:
        return
    if not file.parent.is_dir() or file.is_dir():
        raise OSError(f"{file} cannot be written: it is a folder, or its folder is absent")
    if file.exists() and not file.is_file():
        raise OSError(f"{file} cannot be written: it is no regular file")
    require_writable(file.parent, "folder")


def require_other(output: Path | str | None, *inputs: Path | str) -> None:
    """Raise a ValueError where the file to write is one of those to read, which would be lost."""
    if output is None:
        return
    for path in inputs:
        with suppress(OSError):  # one of them is not there, or is "-"
            if os.path.samefile(output, path):
                raise ValueError(f"{output} is the file that is read, and would be lost")

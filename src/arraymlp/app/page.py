"""What the reports share: a folder that can be written, and Matplotlib's figures in a page."""

import base64
import io
import tempfile
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def require_writable(folder: Path, what: str = "report folder") -> None:
    """Raise an OSError if the folder cannot be written: before the training, not after it.

    Args:
        folder: may be absent; then the nearest folder above it must be writable.
        what: it is, for the message.
    """
    existing = folder
    while not existing.exists() and existing != existing.parent:
        existing = existing.parent
    try:
        with tempfile.TemporaryFile(dir=existing):
            return
    except OSError as error:
        raise OSError(f"the {what} {folder} cannot be written ({error})") from error


def png(fig: "Figure", name: str, alt: str, pictures: dict[str, bytes]) -> str:
    """Render a figure, put its bytes into ``pictures`` under a file name, and return its <img>."""
    buffer = io.BytesIO()
    fig.savefig(buffer, dpi=110, format="png")
    pictures[name] = buffer.getvalue()
    data = base64.b64encode(pictures[name]).decode()
    return f'<img alt="{escape(alt)}" src="data:image/png;base64,{data}">'

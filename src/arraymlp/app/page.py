"""Self-contained HTML pages with their pictures inside: what the reports share."""

import base64
import io
import tempfile
from collections.abc import Iterable
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from arraymlp.diagnosis.findings import Finding

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


def page(title: str, body: str) -> str:
    """A whole HTML page, given its title as text and its body as HTML."""
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(title)}</title>
<style>{STYLE}</style></head><body><main>
{body}
</main></body></html>
"""


def png(fig: "Figure", name: str, alt: str, pictures: dict[str, bytes]) -> str:
    """Render a figure, put its bytes into ``pictures`` under a file name, and return its <img>."""
    buffer = io.BytesIO()
    fig.savefig(buffer, dpi=110, format="png")
    pictures[name] = buffer.getvalue()
    data = base64.b64encode(pictures[name]).decode()
    return f'<img alt="{escape(alt)}" src="data:image/png;base64,{data}">'


def findings_html(findings: Iterable[Finding]) -> str:
    """Findings as a list of sentences."""
    items = [
        f"<li><b>{escape(f.kind.replace('_', ' '))}</b> {escape(f.sentence)}</li>" for f in findings
    ]
    if not items:
        return "<p>The diagnosis found nothing to report.</p>"
    return "<ul class=findings>" + "\n".join(items) + "</ul>"


STYLE = """
body{font:16px/1.5 system-ui,sans-serif;color:#1c1c1c;background:#fff;margin:0}
main{max-width:1080px;margin:0 auto;padding:24px 16px 60px}
h1{font-size:1.9rem;margin:.2em 0}h2{margin:2.2em 0 0;border-top:2px solid #ddd;padding-top:.8em}
h3{margin:1.3em 0 .3em;font-size:1.05rem}.lead{max-width:46em}
.sub{color:#555;margin:.2em 0 1em}.cap{color:#555;font-size:.87rem;max-width:56em}
img{max-width:100%;height:auto;display:block}.wide{overflow-x:auto}
table{border-collapse:collapse;font-size:.92rem;margin:1em 0}
td:nth-child(-n+3),td:last-child{white-space:nowrap}
th,td{text-align:left;padding:.35em .8em .35em 0;border-bottom:1px solid #e3e3e3;vertical-align:top}
.findings{padding-left:1.2em;max-width:56em}.findings li{margin:.5em 0}
.findings b{background:#eef2f7;border-radius:4px;padding:.1em .45em;margin-right:.3em}
.findings b{font-weight:600}
.seeds td:last-child{white-space:normal}
.bad{color:#b00020}
pre{background:#f4f5f7;padding:.8em 1em;overflow-x:auto;font-size:.88rem}
.ranking td{white-space:nowrap}
"""

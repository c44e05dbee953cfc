"""A whole self-contained page, and what its pages share: light, dark, on a phone and on paper."""

from collections.abc import Iterable
from html import escape
from typing import Protocol


class Sentence(Protocol):
    """A finding of the diagnosis, as far as a page shows it."""

    @property
    def kind(self) -> str:
        """What was found, in one word or two with ``_`` between them."""

    @property
    def sentence(self) -> str:
        """It in words."""


def document(title: str, body: str, *, style: str = "", script: str = "", lang: str = "en") -> str:
    """A whole HTML page.

    Args:
        title: of it, as text.
        body: its content, as HTML.
        style: CSS beside that of all pages.
        script: JavaScript that runs once the content is there.
        lang: the language it is in.
    """
    code = f"<script>{script}</script>" if script else ""
    return f"""<!doctype html>
<html lang="{escape(lang)}"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{escape(title)}</title>
<style>{STYLE}{style}</style></head><body><main>
{body}
</main>{code}</body></html>
"""


def findings_list(findings: Iterable[Sentence]) -> str:
    """Findings as a list of sentences, each after its kind."""
    items = [
        f"<li><b>{escape(f.kind.replace('_', ' '))}</b> {escape(f.sentence)}</li>" for f in findings
    ]
    if not items:
        return "<p>The diagnosis found nothing to report.</p>"
    return '<ul class="findings">' + "\n".join(items) + "</ul>"


STYLE = """
:root{--text:#1c1c1c;--quiet:#555;--back:#fff;--soft:#f1f3f6;--line:#dcdfe4;--link:#1a5fb4;
--bad:#b00020}
@media screen and (prefers-color-scheme:dark){:root{--text:#e6e6e6;--quiet:#b0b4ba;--back:#161616;
--soft:#24272c;--line:#3a3e45;--link:#8ab8f5;--bad:#ff8a94}}
body{font:16px/1.5 system-ui,sans-serif;color:var(--text);background:var(--back);margin:0}
main{max-width:1080px;margin:0 auto;padding:24px 16px 60px}
a{color:var(--link)}
h1{font-size:1.9rem;margin:.2em 0}
h2{margin:2.2em 0 .3em;border-top:2px solid var(--line);padding-top:.8em}
h3{margin:1.5em 0 .3em;font-size:1.05rem}
p,.lead{max-width:46em}
.sub{color:var(--quiet);margin:.2em 0 1em}
.cap{color:var(--quiet);font-size:.87rem;max-width:56em}
img,svg{max-width:100%}img{height:auto;display:block}
.wide{overflow-x:auto}
.row{display:flex;flex-wrap:wrap;gap:18px 26px;align-items:flex-end;margin:.8em 0}
table{border-collapse:collapse;font-size:.92rem;margin:1em 0}
th,td{text-align:left;padding:.35em .8em .35em 0;border-bottom:1px solid var(--line);
vertical-align:top}
.findings{padding-left:1.2em;max-width:56em}.findings li{margin:.5em 0}
.findings b{background:var(--soft);border-radius:4px;padding:.1em .45em;margin-right:.3em;
font-weight:600}
.bad{color:var(--bad)}
pre{background:var(--soft);padding:.8em 1em;overflow-x:auto;font-size:.88rem}
pre code{background:none;padding:0}code{background:var(--soft);padding:.05em .25em;font-size:.92em}
@page{size:A4;margin:16mm 15mm;@bottom-right{content:counter(page);font:9pt system-ui,sans-serif}}
@media print{body{font-size:10.5pt}main{padding:0;max-width:none}h2,h3{break-after:avoid}
figure,svg,img,tr,.findings li{break-inside:avoid}.screen{display:none}
.wide{overflow:visible}pre{white-space:pre-wrap}a{color:inherit}}
"""

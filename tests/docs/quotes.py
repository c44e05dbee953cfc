"""Code that a page quotes from a file of the repository, and that must be what the file has.

A quotation is a block of the language ``py`` (one of ``python`` runs) under a line that links the
file, and names what is quoted where that is not the whole file:

    [nn/layer.py](../src/arraymlp/nn/layer.py), `Layer.forward`:

``python tests/docs/quotes.py`` writes the code of all quotations anew.
"""

import ast
import re
import textwrap
from pathlib import Path

from pages import PAGES, ROOT

QUOTATION = re.compile(
    r"^\[[^\]]+\]\((?P<path>[^)]+)\)(?:, `(?P<name>[\w.]+)`)?:\n\n```py\n(?P<code>.*?)```$",
    flags=re.DOTALL | re.MULTILINE,
)


def source(path: Path, name: str | None) -> str:
    """The code of a function or method in a file, without its indentation; or the whole file."""
    text = path.read_text(encoding="utf-8")
    if name is None:
        return text
    node: ast.AST = ast.parse(text)
    for part in name.split("."):
        node = next(
            child
            for child in ast.iter_child_nodes(node)
            if isinstance(child, ast.FunctionDef | ast.ClassDef) and child.name == part
        )
    assert isinstance(node, ast.FunctionDef | ast.ClassDef)
    lines = text.splitlines()[node.lineno - 1 : node.end_lineno]
    return textwrap.dedent("\n".join(lines)) + "\n"


def renewed(page: Path) -> str:
    """The page with the code of its quotations as it is now."""

    def quote(found: re.Match[str]) -> str:
        head, _, _ = found[0].partition("```py\n")
        return f"{head}```py\n{source(page.parent / found['path'], found['name'])}```"

    return QUOTATION.sub(quote, page.read_text(encoding="utf-8"))


if __name__ == "__main__":
    for page in PAGES:
        text = renewed(page)
        if text != page.read_text(encoding="utf-8"):
            page.write_text(text, encoding="utf-8")
            print(f"renewed {page.relative_to(ROOT)}")

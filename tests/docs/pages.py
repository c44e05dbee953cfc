"""The pages of the documentation, and the code in them."""

import re
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent.parent
README = ROOT / "README.md"
PAGES = [README, ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]


def page_name(page: Path) -> str:
    """The page's path, relative to the root."""
    return str(page.relative_to(ROOT))


NAMES = list(map(page_name, PAGES))


class Block(NamedTuple):
    """A block of code in a page.

    Attributes:
        page: it stands in, relative to the root.
        language: what stands behind its backticks: "python", "sh", "diff", ...
        line: the number of its first line of code, from 1.
        code: the lines.
    """

    page: str
    language: str
    line: int
    code: str


def blocks(page: Path) -> list[Block]:
    """The fenced blocks of a page, in order."""
    found: list[Block] = []
    fence, language, start, code = "", "", 0, list[str]()
    for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), 1):
        opening = re.match(r"(`{3,})(.*)$", line)
        if not fence and opening:
            fence, language, start, code = opening[1], opening[2].strip(), number + 1, []
        elif fence and line == fence:
            found.append(Block(page_name(page), language, start, "\n".join(code) + "\n"))
            fence = ""
        else:
            code.append(line)
    return found


def of_language(language: str, page: Path | None = None) -> list[Block]:
    """The blocks in a language, of a page or of all."""
    every = [block for one in (PAGES if page is None else [page]) for block in blocks(one)]
    return [block for block in every if block.language == language]


def prose(page: Path) -> str:
    """A page without its blocks of code."""
    text = page.read_text(encoding="utf-8")
    return re.sub(r"^(`{3,}).*?^\1$", "", text, flags=re.DOTALL | re.MULTILINE)


def quoted(page: Path) -> list[str]:
    """What stands in single backticks in a page's prose."""
    return re.findall(r"`([^`]+)`", prose(page))


def script(page: Path) -> str:
    """The Python of a page as one script, each line at the number that it has in the page."""
    lines: list[str] = []
    for block in of_language("python", page):
        lines += [""] * (block.line - 1 - len(lines))
        lines += block.code.splitlines()
    return "\n".join(lines) + "\n"

"""Notebooks that are executed, and what their cells show."""

import json
import subprocess
import sys
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

EXECUTES = Path(__file__).with_name("execute_notebook.py")
VOID = ("br", "hr", "img", "input", "meta", "link", "col")


@dataclass
class Cell:
    """An executed cell: its outputs as they are saved, and the kernel's messages and times."""

    outputs: list[dict[str, Any]]
    messages: list[tuple[str, float]]

    def count(self, message: str) -> int:
        return sum(kind == message for kind, _ in self.messages)

    def times(self, message: str) -> list[float]:
        return [when for kind, when in self.messages if kind == message]

    def of_type(self, mime: str) -> list[Any]:
        """The contents of that type among the outputs."""
        return [o["data"][mime] for o in self.outputs if mime in o.get("data", {})]

    @property
    def html(self) -> str:
        (html,) = self.of_type("text/html")
        return str(html)

    @property
    def printed(self) -> str:
        return "".join(o["text"] for o in self.outputs if o.get("name") == "stdout")

    @property
    def errors(self) -> list[Any]:
        """What is red: the standard error, and exceptions."""
        return [o for o in self.outputs if o.get("name") == "stderr" or "ename" in o]


def executed(sources: list[str]) -> list[Cell]:
    """The cells after a kernel has executed them in order."""
    done = subprocess.run(
        [sys.executable, str(EXECUTES)],
        input=json.dumps(sources),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return [Cell(**cell) for cell in json.loads(done.stdout)]


class _Balanced(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.words: list[str] = []
        self.ids: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag != "script"
        names = [name for name, _ in attrs]
        assert len(names) == len(set(names)), (tag, attrs)
        self.ids += [value or "" for name, value in attrs if name == "id"]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.words.append(data)


def words(html: str | None) -> str:
    """The text of a view, which must be balanced, without scripts, and without ids to clash."""
    assert html is not None
    parser = _Balanced()
    parser.feed(html)
    parser.close()
    assert parser.open == []
    assert parser.ids == []
    return " ".join(" ".join(parser.words).split())

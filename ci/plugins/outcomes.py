"""A plugin of pytest: each test's outcome in a line of JSON, written as it ends.

A report at the end of a session is lost with it. These lines stand whatever ends it, and the next
session goes on after them: it leaves out the tests that passed or were skipped.
"""

import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest

DONE = ("passed", "skipped")
MOST = 2000  # characters of a failure's text


def read(path: Path) -> dict[str, dict[str, Any]]:
    """The last line of each test, by its id; "started" is the outcome of one that never ended."""
    tests: dict[str, dict[str, Any]] = {}
    if path.exists():
        for line in path.read_text("utf-8").splitlines():
            try:
                test = json.loads(line)
            except ValueError:  # empty, or broken off
                continue
            tests[test["test"]] = test
    return tests


def ungrouped(nodeid: str) -> str:
    """A test's id without the "@group" that pytest-xdist writes behind it."""
    name = nodeid.rpartition("::")[2]
    return nodeid.rpartition("@")[0] if name.rfind("@") > name.rfind("]") else nodeid


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add --outcomes."""
    parser.addoption("--outcomes", metavar="FILE", help="lines of JSON, one for each test")


def pytest_configure(config: pytest.Config) -> None:
    """Write, in the process that hears of all tests; leave out what is done in every process."""
    if path := config.getoption("--outcomes"):
        config.pluginmanager.register(Rest(read(Path(path))))
        if not hasattr(config, "workerinput"):  # no process of pytest-xdist's
            config.pluginmanager.register(Lines(Path(path)))


class Rest:
    """Leaves out the tests that are done."""

    def __init__(self, tests: dict[str, dict[str, Any]]) -> None:
        self._done = {name for name, test in tests.items() if test["outcome"] in DONE}

    def pytest_collection_modifyitems(
        self, config: pytest.Config, items: list[pytest.Item]
    ) -> None:
        """Keep the others."""
        done = [item for item in items if ungrouped(item.nodeid) in self._done]
        if done:
            config.hook.pytest_deselected(items=done)
            items[:] = [item for item in items if ungrouped(item.nodeid) not in self._done]


class Lines:
    """Writes the lines."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("a", encoding="utf-8", buffering=1)
        self._file.write("\n")  # the last line may have been broken off
        self._seconds: defaultdict[str, float] = defaultdict(float)
        self._ended: set[str] = set()

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        """Note a test that may never end."""
        self._write(ungrouped(nodeid), "started")

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Write a test's outcome: a failure or a skip at once, else after the teardown."""
        name = ungrouped(report.nodeid)
        self._seconds[name] += report.duration
        if name in self._ended or (report.passed and report.when != "teardown"):
            return
        self._ended.add(name)
        outcome = "error" if report.failed and report.when != "call" else report.outcome
        about: dict[str, Any] = {"seconds": round(self._seconds[name], 3)}
        if backend := dict(report.user_properties).get("backend"):
            about["backend"] = backend
        if not report.passed:
            about["why"] = _reason(report)[-MOST:]
        self._write(name, outcome, **about)

    def _write(self, name: str, outcome: str, **about: Any) -> None:
        line = json.dumps({"test": name, "outcome": outcome, **about})
        self._file.write(line + "\n")


def _reason(report: pytest.TestReport) -> str:
    """Why a test did not pass."""
    if report.skipped and isinstance(report.longrepr, tuple):
        return str(report.longrepr[2])
    return str(report.longreprtext)

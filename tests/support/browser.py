"""A browser for the tests of pages: Chromium without a window, and axe-core."""

import atexit
import os
import shutil
import tempfile
from collections.abc import Callable
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

REQUIRED = bool(os.environ.get("ARRAYMLP_REQUIRE_BROWSER"))
QUIET = (
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    *("--hide-scrollbars", "--window-size=1100,1400"),
)


def absent() -> str:
    """What lacks of what a browser needs; "" for nothing."""
    if find_spec("selenium") is None:
        return "selenium"
    return "" if _chromium() and shutil.which("chromedriver") else "Chromium with its driver"


def refuse(what: str) -> None:
    """Skip, or fail where a browser is required."""
    reason = f"{what} is not installed"
    if REQUIRED:
        pytest.fail(reason)
    pytest.skip(reason)


def the_browser() -> Any:
    """Selenium's driver of one browser for all tests of a process."""
    if absent():
        refuse(absent())
    return _started()


def _chromium() -> str | None:
    return shutil.which("chromium") or shutil.which("chromium-browser")


@cache
def _started() -> Any:
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    profile = tempfile.mkdtemp(prefix="arraymlp-")
    options = webdriver.ChromeOptions()
    options.binary_location = str(_chromium())
    for flag in (*QUIET, f"--user-data-dir={profile}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    browser = webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver")))
    atexit.register(shutil.rmtree, profile, ignore_errors=True)
    atexit.register(browser.quit)  # the last that is registered is called first
    return browser


def emulate(browser: Any, *, dark: bool = False, still: bool = False, width: int = 1100) -> None:
    """A colour scheme, whether motion is to be reduced, and a width in pixels."""
    features = [
        {"name": "prefers-color-scheme", "value": "dark" if dark else "light"},
        {"name": "prefers-reduced-motion", "value": "reduce" if still else "no-preference"},
    ]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    size = {"width": width, "height": 1400, "deviceScaleFactor": 1, "mobile": width < 500}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)


def until(browser: Any, condition: Callable[[Any], Any], seconds: float = 20) -> Any:
    """What the condition gives, once that is true."""
    from selenium.webdriver.support.ui import WebDriverWait

    return WebDriverWait(browser, seconds, poll_frequency=0.02).until(condition)


def violations(browser: Any) -> list[str]:
    """What axe-core has against the page, a line for each element."""
    found = find_spec("axe_playwright_python")
    if found is None or found.origin is None:
        refuse("axe-playwright-python, which has axe-core in it,")
    assert found is not None
    script = Path(str(found.origin)).with_name("axe.min.js").read_text(encoding="utf-8")
    browser.execute_script(script)
    result = browser.execute_async_script("axe.run().then(arguments[0])")
    assert result["passes"], "it looked at nothing"
    return [
        f"{rule['id']}: {node['html'][:200]} {node['failureSummary']}"
        for rule in result["violations"]
        for node in rule["nodes"]
    ]

"""Debian's Chromium, without a screen, for tests of pages."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any

import pytest

FLAGS = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-dev-shm-usage",
         "--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-extensions")


def missing() -> str | None:
    """Why no page can be tested here; None where one can."""
    if find_spec("selenium") is None:
        return "needs selenium: pip install 'llmtrain[dev]'"
    if browser() is None or shutil.which("chromedriver") is None:
        return "needs a browser and its driver: apt-get install chromium chromium-driver"
    return None


def browser() -> str | None:
    """Where a browser is that chromedriver drives."""
    return next((found for name in ("chromium", "google-chrome") if (found := shutil.which(name))), None)


@contextmanager
def opened(width: int = 1200, height: int = 900, theme: str = "light") -> Iterator[Any]:
    """A browser with a profile of its own, as selenium drives it; the test is skipped where there is none."""
    if (reason := missing()) is not None:
        pytest.skip(reason)
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = str(browser())
    with tempfile.TemporaryDirectory(prefix="chromium-", ignore_cleanup_errors=True) as profile:
        for flag in (*FLAGS, f"--user-data-dir={profile}", f"--window-size={width},{height}"):
            options.add_argument(flag)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
        driver = webdriver.Chrome(options=options, service=Service(str(shutil.which("chromedriver"))))
        try:
            driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {
                "features": [{"name": "prefers-color-scheme", "value": theme}]})
            yield driver
        finally:
            driver.quit()


def problems(driver: Any) -> list[str]:
    """What the console tells that is no mere information, since the last call."""
    return [entry["message"] for entry in driver.get_log("browser") if entry["level"] in ("SEVERE", "WARNING")]


def requests_of(driver: Any) -> list[str]:
    """Every address that pages have asked for since the last call."""
    told = [json.loads(entry["message"])["message"] for entry in driver.get_log("performance")]
    return [one["params"]["request"]["url"] for one in told if one["method"] == "Network.requestWillBeSent"]

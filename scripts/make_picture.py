"""docs/report.png: the report of some runs as a browser shows it, shortened: its verdict, scores, first curves, a row.

    llmtrain report runs/A runs/B runs/C --output report.html
    python scripts/make_picture.py report.html [which of the first rows is opened]

Needs selenium (`pip install 'llmtrain[dev]'`), Chromium and its driver.
"""

from __future__ import annotations

import base64
import io
import shutil
import sys
from pathlib import Path

from PIL import Image
from selenium import webdriver
from selenium.webdriver.chrome.service import Service

TARGET = Path(__file__).resolve().parents[1] / "docs" / "report.png"
WIDTH = 1100
FLAGS = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--hide-scrollbars",
         f"--window-size={WIDTH},900")
SHORTENED = """
setTheme('light');
document.querySelectorAll('#charts figure').forEach((figure, place) => { figure.hidden = ![0, 3, 7].includes(place); });
document.querySelectorAll('.scroll tr.quiet, #card, footer, .pager').forEach((part) => { part.hidden = true; });
document.querySelector('button[data-show]').click();
const rows = [...document.querySelectorAll('.rows tbody tr')];
rows.slice(4).forEach((row) => row.remove());
rows[ROW].querySelector('button').click();
document.activeElement.blur();
scrollTo(0, 0);
"""


def main() -> None:
    page, row = Path(sys.argv[1]).resolve(), sys.argv[2] if len(sys.argv) > 2 else "1"
    options = webdriver.ChromeOptions()
    options.binary_location = str(shutil.which("chromium"))
    for flag in FLAGS:
        options.add_argument(flag)
    driver = webdriver.Chrome(options=options, service=Service(str(shutil.which("chromedriver"))))
    try:
        driver.get(page.as_uri())
        driver.execute_script(SHORTENED.replace("ROW", row))
        height = driver.execute_cdp_cmd("Page.getLayoutMetrics", {})["cssContentSize"]["height"]
        shot = driver.execute_cdp_cmd("Page.captureScreenshot", {"captureBeyondViewport": True, "clip": {
            "x": 0, "y": 0, "width": WIDTH, "height": height, "scale": 1}})
    finally:
        driver.quit()
    picture = Image.open(io.BytesIO(base64.b64decode(shot["data"]))).convert("RGB")
    picture.quantize(96).save(TARGET, optimize=True)  # a page has few colours


if __name__ == "__main__":
    main()

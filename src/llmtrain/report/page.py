"""The report as one HTML file: template, styles, scripts and data in it, nothing fetched from anywhere."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

ASSETS = Path(__file__).resolve().parent / "assets"
LIBRARY = "uplot/uPlot.iife.min.js"
SCRIPTS = (LIBRARY, "elements.js", "start.js", "charts.js", "scatter.js", "study.js", "evidence.js", "word_diff.js",
           "predictions.js")
STYLES = ("uplot/uPlot.min.css", "page.css")
ESCAPED = {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026", "\u2028": "\\u2028", "\u2029": "\\u2029"}


def render(facts: Mapping[str, Any], data: Mapping[str, Any]) -> str:
    """The page.

    Args:
        facts: What the template ``page.html`` writes as text.
        data: What the scripts read, as JSON.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    made = Environment(loader=FileSystemLoader(ASSETS), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
                       lstrip_blocks=True)
    made.filters["digits"] = lambda value, digits: f"{value:.{digits}f}"
    script, style = _joined(SCRIPTS), _joined(STYLES)
    return made.get_template("page.html").render(
        **facts, script=script, script_hash=_hash(script), style=style, data=as_script(data))


def as_script(data: Any) -> str:
    """JSON that can stand in a ``<script>`` of a page: no text in it can end the script or begin another."""
    text = json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    for character, escape in ESCAPED.items():
        text = text.replace(character, escape)
    return text


@cache
def _joined(names: tuple[str, ...]) -> str:
    """Files of ours, one after another. None holds what would end the element it is put into."""
    text = "\n".join((ASSETS / name).read_text(encoding="utf-8") for name in names)
    assert "</script" not in text.lower() and "</style" not in text.lower()
    return text


def _hash(script: str) -> str:
    """What the page's own rule says of the one script that may run: its digest, as a browser computes it."""
    return "sha256-" + base64.b64encode(hashlib.sha256(f"\n{script}\n".encode()).digest()).decode()

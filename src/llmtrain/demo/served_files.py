"""The page and what it loads: files of the package, read once; a request's path is looked up here and nowhere else."""

from __future__ import annotations

from importlib.resources import files
from typing import NamedTuple

HTML, SCRIPT, STYLE = "text/html", "text/javascript", "text/css"


class ServedFile(NamedTuple):
    """A file that is sent as it is."""

    content: bytes
    kind: str


def _read(room: str, name: str, kind: str) -> ServedFile:
    return ServedFile(files(f"llmtrain.{room}").joinpath("assets", name).read_bytes(), kind)


FILES = {
    "/": _read("demo", "index.html", HTML),
    "/page.css": _read("report", "page.css", STYLE),
    "/demo.css": _read("demo", "demo.css", STYLE),
    "/elements.js": _read("report", "elements.js", SCRIPT),
    "/evidence.js": _read("report", "evidence.js", SCRIPT),
    "/word_diff.js": _read("report", "word_diff.js", SCRIPT),
    "/theme.js": _read("demo", "theme.js", SCRIPT),
    "/demo.js": _read("demo", "demo.js", SCRIPT),
    "/docs": _read("demo", "docs.html", HTML),
    "/docs.js": _read("demo", "docs.js", SCRIPT),
}

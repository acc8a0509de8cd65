"""The commands of docs/demo.md run: a server, and what is asked of it."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest
from tests.demo.conftest import served
from tests.docs.pages import ROOT, Page

PAGE = Page("docs/demo.md")


def test_the_pages_commands_run_and_answer_as_it_says(trained: Path) -> None:
    serve, *asks = PAGE.commands
    for name, run in (("A", "one"), ("B", "two")):
        if not (trained / f"runs/{name}").exists():
            shutil.copytree(trained / f"runs/{run}", trained / f"runs/{name}")
    assert asks and all(one.startswith("curl ") for one in asks)
    with served(trained, *shlex.split(serve)[2:]) as client:
        for one in asks:
            words = shlex.split(one.replace("localhost:8000", f"localhost:{client.port}"))
            if shutil.which("curl") is None:
                pytest.skip("needs curl")
            done = subprocess.run(words, capture_output=True, text=True, check=True)
            told = json.loads(done.stdout)
            assert "error" not in told, told
    (shown,) = re.findall(r"```json\n(.*?)```", PAGE.text, re.S)
    assert json.loads(shown).keys() == {"models"}
    for picture in re.findall(r"!\[[^]]*\]\(([^)]+)\)", PAGE.text):
        assert (ROOT / "docs" / picture).stat().st_size < 200_000

"""The trackers page: its commands run, each with the trackers that it names."""

from __future__ import annotations

import json
import re
import shlex
from importlib.util import find_spec
from pathlib import Path

import pytest
from tests.docs.pages import Page

from helpers import pairs, write_jsonl

PAGE = Page("docs/trackers.md")


@pytest.mark.parametrize("command", PAGE.commands)
def test_its_commands_run(command: str, tiny_base: Path, tmp_path: Path) -> None:
    asked = re.findall(r"\w+", shlex.split(command)[-1].partition("=")[2])
    if missing := [name for name in asked if find_spec(name) is None]:
        pytest.skip(f"needs the package {missing[0]}: scripts/test --trackers installs it")
    rows = write_jsonl(tmp_path / "rows.jsonl", pairs(40))
    small = [f"model.path={tiny_base}", "head.layers=1", "data=files", f"data.train={rows}", "trainer.max_steps=2",
             f"data.cache_dir={tmp_path / 'cache'}", "trainer.batch_size=4", "data.max_test_rows=2", "run.name=run",
             "data.max_validation_rows=2", "generation.max_new_tokens=4", "data.max_source_tokens=64"]
    done = PAGE.run(command, tmp_path, small)
    assert done.returncode == 0, done.stderr
    assert list(json.loads((tmp_path / "runs/run/trackers.json").read_text())) == asked
    assert [line.split()[1].rstrip(",") for line in done.stdout.splitlines() if line.startswith("tracker: ")] == asked

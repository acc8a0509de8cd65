"""docs/study.md: its commands, as far as they go without training, and the keys that it names."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

from tests.docs.pages import Page

from helpers import warm_cli
from llmtrain.config.reference import section_keys
from llmtrain.config.sections.study import StudyConfig

PAGE = Page("docs/study.md")


def test_the_commands_are_planned(tmp_path: Path) -> None:
    for command in PAGE.commands:
        words = [word for word in shlex.split(command)[1:] if word != "--plan"]
        shown = warm_cli(*words, "--plan", cwd=tmp_path)
        assert shown.returncode == 0, shown.stderr
        assert "the task term alone in fp32" in shown.stdout and "cost: " in shown.stdout
    assert not list(tmp_path.iterdir())


def test_every_key_is_named_and_none_that_is_not_there() -> None:
    known = {key.path for key in section_keys(StudyConfig, "study.")}
    named = set(re.findall(r"study\.[a-z_]+(?!\w)", PAGE.text)) - {"study.md", "study.json", "study.csv"}
    assert named <= known | {"study.py"}, named - known
    assert known - named <= {"study.samples", "study.metric"}

"""docs/study.md and docs/study/: their commands, as far as they go without training, and the keys that are named."""

from __future__ import annotations

import csv
import re
import shlex
import statistics
from pathlib import Path

import pytest
from tests.docs.pages import ROOT, Page

from helpers import warm_cli
from llmtrain.config.reference import section_keys
from llmtrain.config.sections.study import StudyConfig

PAGE = Page("docs/study.md")
STUDIES = Page("docs/study/README.md")


@pytest.mark.parametrize("page", [PAGE, STUDIES], ids=lambda page: page.name)
def test_the_commands_are_planned(page: Page, tmp_path: Path) -> None:
    commands = [command for command in page.commands if command.startswith("llmtrain study ")]
    assert len(commands) >= 3
    for command in commands:
        words = [word for word in shlex.split(command)[1:] if word != "--plan"]
        shown = warm_cli(*words, "--plan", cwd=tmp_path)
        assert shown.returncode == 0, shown.stderr
        assert "the task term alone in fp32" in shown.stdout and "cost: " in shown.stdout
    assert not list(tmp_path.iterdir())


def test_the_tables_are_those_of_the_runs() -> None:
    for name, metric in (("docstrings", "rouge1"), ("sst2", "accuracy"), ("heads", "rouge1")):
        with (ROOT / f"docs/study/{name}.csv").open(encoding="utf-8", newline="") as file:
            cells: dict[str, list[float]] = {}
            for row in csv.DictReader(file):
                cells.setdefault(row["cell"], []).append(float(row[metric]))
        assert {len(scores) for scores in cells.values()} == {3}
        table = STUDIES.text.split(f" {name}: {metric} on ")[1].split("```")[0]
        for scores in cells.values():
            assert f" {sum(scores) / 3:.2f}  {statistics.stdev(scores):.2f} " in table


def test_every_key_is_named_and_none_that_is_not_there() -> None:
    known = {key.path for key in section_keys(StudyConfig, "study.")}
    named = set(re.findall(r"study\.[a-z_]+(?!\w)", PAGE.text)) - {"study.md", "study.json", "study.csv"}
    assert named <= known | {"study.py"}, named - known
    assert known - named <= {"study.samples", "study.metric"}

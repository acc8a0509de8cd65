"""The commands and the code of docs/tasks/question_answering.md run."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest
from tests.docs.pages import Page

from helpers import warm_cli
from questions import questions, squad

PAGE = Page("docs/tasks/question_answering.md")


@pytest.fixture(scope="module")
def place(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("page")
    for seed, (name, count) in enumerate((("train", 40), ("dev", 6))):
        rows = questions(count, seed, silent=True)
        (folder / f"{name}.json").write_text(json.dumps(squad(rows)))
    (folder / "theirs.json").write_text(json.dumps({row["id"]: "list" for row in rows}))
    words = [word for word in shlex.split(PAGE.commands[0])[1:] if not word.startswith("trainer.max_minutes")]
    trained = warm_cli(*words, *small(tiny_base, folder), "trainer.max_steps=4", "run.name=NAME", cwd=folder)
    assert trained.returncode == 0, trained.stderr
    return folder


def small(base: Path, folder: Path) -> list[str]:
    return [f"model.path={base}", f"data.cache_dir={folder / 'cache'}", "trainer.batch_size=8", "data.stride=8",
            "data.max_source_tokens=40", "data.max_question_tokens=8", "generation.max_new_tokens=4",
            "eval.bootstrap_samples=2"]


@pytest.mark.parametrize("command", PAGE.commands)
def test_a_command_of_the_page_runs(command: str, tiny_base: Path, place: Path) -> None:
    ended = PAGE.run(command, place, small(tiny_base, place))
    assert ended.returncode == 0, ended.stderr


def test_the_code_of_the_page_runs(place: Path) -> None:
    assert PAGE.run_code(place).endswith("\n")

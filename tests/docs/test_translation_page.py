"""The commands and the code of docs/tasks/translation.md run."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
from tests.docs.pages import Page

from helpers import warm_cli
from task_rows import translations

PAGE = Page("docs/tasks/translation.md")


@pytest.fixture(scope="module")
def place(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("page")
    for seed, (name, count) in enumerate((("train", 40), ("test", 4))):
        for column, ending in (("source", "en"), ("target", "de")):
            (folder / f"{name}.{ending}").write_text("".join(row[column] + "\n" for row in translations(count, seed)))
    (folder / "theirs.txt").write_text("ein roter Tisch\n" * 4)
    trained = warm_cli(*shlex.split(PAGE.commands[0])[1:-1], *small(tiny_base, folder), "trainer.max_steps=4",
                       "run.name=NAME", cwd=folder)
    assert trained.returncode == 0, trained.stderr
    return folder


def small(base: Path, folder: Path) -> list[str]:
    return [f"model.path={base}", f"data.cache_dir={folder / 'cache'}", "head.layers=1", "trainer.batch_size=4",
            "data.max_source_tokens=32", "data.target_vocabulary=300", "generation.max_new_tokens=4",
            "eval.bootstrap_samples=2"]


@pytest.mark.parametrize("command", PAGE.commands)
def test_a_command_of_the_page_runs(command: str, tiny_base: Path, place: Path) -> None:
    ended = PAGE.run(command, place, small(tiny_base, place))
    assert ended.returncode == 0, ended.stderr


def test_the_code_of_the_page_runs(place: Path) -> None:
    assert PAGE.run_code(place).startswith("['")

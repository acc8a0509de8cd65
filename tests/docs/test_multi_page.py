"""The commands of docs/tasks/multi.md run."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
from tests.docs.pages import Page

from helpers import warm_cli, write_jsonl
from task_rows import documents, labelled

PAGE = Page("docs/tasks/multi.md")


@pytest.fixture(scope="module")
def place(tiny_base_mlm: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the page's files and run exist."""
    folder = tmp_path_factory.mktemp("page")
    for name, rows in (("sum", documents(40, 0)), ("mood", labelled(40, 0)), ("test", documents(4, 1))):
        write_jsonl(folder / f"{name}.jsonl", rows)
    done = warm_cli(*shlex.split(PAGE.commands[0])[1:], *small(tiny_base_mlm, folder), "run.name=NAME", cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder


def small(base: Path, folder: Path) -> list[str]:
    return [f"model.path={base}", f"data.cache_dir={folder / 'cache'}", "trainer.batch_size=8", "trainer.max_steps=2",
            "data.max_source_tokens=32", "generation.max_new_tokens=4", "eval.bootstrap_samples=2",
            "data.validation_from_train=4", "eval.baselines=false"]


@pytest.mark.parametrize("command", PAGE.commands[1:])
def test_a_command_of_the_page_runs(command: str, tiny_base_mlm: Path, place: Path) -> None:
    done = PAGE.run(command, place, small(tiny_base_mlm, place))
    assert done.returncode == 0, done.stderr

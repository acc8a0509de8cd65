"""The commands and the code of docs/report.md run."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.docs.pages import Page

from reports import documents, write_run, written

PAGE = Page("docs/report.md")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the page's runs exist."""
    folder, examples = tmp_path_factory.mktemp("page"), documents(6)
    for seed, name in enumerate("abc"):
        write_run(folder / "runs" / name, "summarization", examples, written(examples, 2 + seed), seed=seed)
    (folder / "runs/a/checkpoints").mkdir()
    (folder / "runs/a/checkpoints/best").write_text("{}")
    return folder


@pytest.mark.parametrize("command", PAGE.commands)
def test_a_command_of_the_page_runs(command: str, place: Path) -> None:
    done = PAGE.run(command, place, [])
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("written: ") and done.stdout.endswith("; open it in a browser\n")


def test_the_code_of_the_page_runs(place: Path) -> None:
    assert PAGE.run_code(place) == "Ada\n"

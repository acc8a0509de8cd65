"""Every README command runs; the generated reference is up to date."""

from __future__ import annotations

import ast
import importlib.util
import re
import shlex
import shutil
from pathlib import Path

import pytest
from tests.demo.conftest import served
from tests.docs.pages import ROOT, Page

from helpers import pairs, warm_cli, write_jsonl
from task_rows import ROWS, SMALL, translations

README = Page("README.md")
COMMANDS = README.commands
TASKS = {"task=translation": "translation", "+experiment=bert_cls_bf16": "classification",
         "+experiment=bert_qa_bf16": "question_answering"}  # of commands that are not of the default one


@pytest.fixture(scope="module")
def place(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the README's files and run exist."""
    folder = tmp_path_factory.mktemp("readme")
    write_jsonl(folder / "train.jsonl", pairs(40))
    rows = pairs(4, 3)
    write_jsonl(folder / "test.jsonl", rows)
    (folder / "mine.yaml").write_text("trainer:\n  max_steps: 2\n", encoding="utf-8")
    (folder / "predictions.txt").write_text("".join(row["summary"] + "\n" for row in rows))
    for task, make in ROWS.items():
        write_jsonl(folder / f"{task}.jsonl", make(40, 0))
    for name, count in (("train", 40), ("test", 4)):
        for column, ending in (("source", "en"), ("target", "de")):
            lines = [row[column] + "\n" for row in translations(count, count)]
            (folder / f"{name}.{ending}").write_text("".join(lines), encoding="utf-8")
    result = warm_cli("train", "+experiment=bert_sum_bf16", *small(tiny_base, folder, "summarization"), "run.name=NAME",
                      cwd=folder)
    assert result.returncode == 0, result.stderr
    shutil.copytree(folder / "runs/NAME", folder / "runs/OTHER")
    return folder


def small(base: Path, folder: Path, task: str) -> list[str]:
    head = ["head.layers=1"] if task in ("summarization", "translation") else []
    return [f"model.path={base}", *head, *SMALL.get(task, ()), "data=files", f"data.train={folder / task}.jsonl",
            f"data.cache_dir={folder / 'cache'}", "trainer.max_steps=2", "trainer.batch_size=4", "data.max_test_rows=2",
            "data.max_validation_rows=2", "generation.max_new_tokens=4", "data.max_source_tokens=64"]


def test_the_readme_has_commands() -> None:
    assert len(COMMANDS) >= 8


@pytest.mark.usefixtures("warm_children")
@pytest.mark.parametrize("command", COMMANDS)
def test_readme_commands_run(command: str, tiny_base: Path, place: Path) -> None:
    words = shlex.split(command)
    stdin = ""
    if words[:1] == ["echo"]:
        stdin, words = words[1] + "\n", words[words.index("|") + 1:]
    if words[0] == "scripts/test":
        assert (ROOT / "scripts/test").stat().st_mode & 0o111  # it is what runs this test
        return
    if words[0].startswith("scripts/"):
        assert (ROOT / words[0]).stat().st_mode & 0o111
    extra = []
    if words[1] in ("train", "verify-resume", "doctor"):
        given = {word.partition("=")[0].lstrip("+") for word in words}
        task = next((name for word, name in TASKS.items() if word in words), "summarization")
        extra = [word for word in small(tiny_base, place, task) if word.partition("=")[0] not in given]
        if words[1] == "doctor":  # which says so where outputs are cut
            extra = [*(word for word in extra if "max_new_tokens" not in word), "doctor.seconds=5"]
        if "trainer.max_minutes" in given:
            extra = [word for word in extra if not word.startswith("trainer.max_steps")]
            words = [word.replace("max_minutes=30", "max_minutes=0.01") for word in words]
    if words[1] == "demo":  # until it is stopped
        pytest.importorskip("uvicorn")
        with served(place, *words[2:]) as client:
            assert client.ask("/")[0] == 200
        return
    if words[1] == "predict":
        result = warm_cli(*words[1:], cwd=place, stdin=stdin)
        assert result.stdout.count("\n") == (1 if stdin else 4)
    else:
        result = warm_cli(*words[1:], *extra, cwd=place)
    assert result.returncode == 0, result.stderr


def test_the_code_of_the_readme_runs(place: Path) -> None:
    text, answer = README.run_code(place).removesuffix("\n").split("\n")
    assert ast.literal_eval(answer)["prediction"] == text


def test_the_reference_is_up_to_date() -> None:
    spec = importlib.util.spec_from_file_location("make_docs", ROOT / "scripts/make_docs.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.TARGET.read_text(encoding="utf-8") == module.text(), "run scripts/make_docs"
    page = module.COMBINATIONS.with_suffix(".md")
    assert page.read_text(encoding="utf-8") == module.combinations(), "run scripts/make_docs"


def test_every_doc_that_is_linked_exists() -> None:
    pages = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")]
    told = [f"{page.relative_to(ROOT)}: {name}" for page in pages
            for name in re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text(encoding="utf-8"))
            if not name.startswith("http") and not (page.parent / name).exists()]
    assert not told, "\n".join(told)

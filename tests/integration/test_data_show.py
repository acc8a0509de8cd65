"""``llmtrain data show``: what it tells is what training would read."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from helpers import Finished, pairs, warm_cli, write_jsonl


@pytest.fixture
def show(tiny_base: Path, tmp_path: Path):  # type: ignore[no-untyped-def]
    rows = pairs(40)
    rows[0] |= {"document": "The RED table " * 40 + "end."}
    train = write_jsonl(tmp_path / "train.jsonl", [*rows, {"id": "bad", "document": "", "summary": "x"}])
    near = rows[2] | {"document": rows[2]["document"] + " red"}
    validation = write_jsonl(tmp_path / "validation.jsonl", [rows[1], near, *pairs(8, 1)])

    def run(*overrides: str) -> Finished:
        return warm_cli("data", "show", "data=files", f"data.train={train}", f"data.validation={validation}",
                        f"data.test={validation}", "data.max_source_tokens=64", f"model.path={tiny_base}",
                        f"data.cache_dir={tmp_path / 'cache'}", *overrides, cwd=tmp_path)

    return run


def test_it_shows_rows_lengths_cuts_and_overlaps(show) -> None:  # type: ignore[no-untyped-def]
    told = show("show.rows=40", "objective.base=mlm",
                "data.preprocess=[lowercase,{name:stopwords,words:[the],apply:l1}]")
    assert told.returncode == 0, told.stderr
    out = " ".join(told.stdout.split())
    assert "1 bad rows skipped in train, first: column 'document' is empty at" in out
    train = next(line for line in told.stdout.splitlines() if "│ train " in line)
    cells = [cell.strip() for cell in train.split("│")[1:-1]]
    assert cells[1] == "40" and cells[3] == "2.5%" and cells[2].endswith(" 126")
    assert cells[7] == "97.5%"  # summaries are drawn from their documents, but for the first
    assert "validation in train: 1 of 10 documents (10.0%), 2 with more than 80 % of their 8-grams there (20.0%)" in out
    assert "read as: the red table the red table" in out and "l1 reads: red table red table" in out
    assert "‖" in out and "(64 of 126 tokens)" in out
    both = " ".join(show("show.rows=40", "show.near=false", "data.long=head_tail").stdout.split())
    assert "‖ ... ‖" in both and "(64 of 126 tokens)" in both
    assert "<- data.max_source_tokens" in out
    counts = [int(m) for m in re.findall(r"^ +\d+ - +(?:\d+|longer) [█▏ ]+ (\d+)", told.stdout, re.MULTILINE)]
    assert sum(counts) == 40


def test_other_splits_and_checkpoints(show, tiny_base: Path, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    write_jsonl(tmp_path / "validation.jsonl", [row | {"id": "7\x1b[2J", "document": f"\x1b[31m{row['document']}"}
                                                for row in pairs(10, 1)])
    told = show("show.split=test", "show.rows=1", "show.near=false", "show.sample=5")
    assert "\x1b" not in told.stdout and "row 7\\x1b[2J" in told.stdout and "document:  \\x1b[31m" in told.stdout
    assert told.returncode == 0, told.stderr
    assert "test: document tokens" in told.stdout and told.stdout.count("\nrow ") == 1
    assert "5 of train, 5 of validation, 5 of test rows" in " ".join(told.stdout.split())
    assert "in train:" not in told.stdout


@pytest.mark.parametrize(("arguments", "told"), [
    (["data"], "use llmtrain data show"), (["data", "list"], "use llmtrain data show"),
    (["data", "show", "show.rows=0"], "show.rows=0 must be more than 0"),
    (["data", "show", "show.row=1"], "unknown key show.row; did you mean show.rows?"),
    (["data", "show", "show.split=dev"], "show.split=dev is not one of train, validation, test"),
    (["data", "show", "data=files"], "data=files needs data.train"),
    (["data", "show", "data.trian=1"], "unknown key data.trian; did you mean data.train?"),
    (["data", "show", "model.path=/nowhere"], "no base model folder at /nowhere"),
])
def test_wrong_words_are_told(arguments: list[str], told: str, tmp_path: Path) -> None:
    result = warm_cli(*arguments, cwd=tmp_path)
    assert result.returncode == 2 and told in result.stderr and len(result.stderr.splitlines()) == 1


def test_documents_alone_are_told_apart(show, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    alone = write_jsonl(tmp_path / "alone.jsonl", [{"document": row["document"]} for row in pairs(9, 5)])
    told = show("objective.base=mlm", f"data.unlabelled={alone}", "show.rows=1", "show.near=false")
    assert told.returncode == 0, told.stderr
    rows = {cells[0]: cells[1:] for line in told.stdout.splitlines() if line.startswith("│")
            for cells in [[cell.strip() for cell in line.split("│")[1:-1]]]}
    assert (rows["train"][0], rows["unlabelled"][0]) == ("40", "9")
    assert [rows["unlabelled"][place] for place in (3, 4, 6, 7)] == [""] * 4  # nothing is told of summaries

    only = show("objective=base_only", f"data.train={alone}", f"data.validation={alone}", "show.rows=1")
    assert only.returncode == 0, only.stderr
    row = only.stdout.split("\nrow ", 1)[1]
    assert "document:" in row and "summary:" not in row

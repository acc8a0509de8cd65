"""data.long=select_then_write: an extractive model chooses the sentences that a writer reads of a long document."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from articles import english
from helpers import Finished, tiny_tokenizer, warm_cli, write_jsonl
from llmtrain import Summarizer
from llmtrain.data.document_pieces import fitting, pieces
from llmtrain.data.sentence_features import encode_sentences
from stopping import same, stop_at

COMMON = ("trainer.batch_size=8", "schedule.warmup_steps=1", "eval.bootstrap_samples=5", "eval.baselines=false",
          "data=files", "data.max_test_rows=null")
LIMIT = 28  # tokens that the writer reads


def long_rows(count: int, seed: int) -> list[dict[str, str]]:
    """Documents of which the sentence that counts comes last, behind others that the writer has no room for."""
    rows = []
    for index, (row, other) in enumerate(zip(english(count, seed), english(count, seed + 100), strict=True)):
        padding = " ".join(s for s in (other["document"] + " ").split(". ") if not s.startswith("Check")).strip()
        rows.append({"id": str(index), "summary": row["summary"],
                     "document": f"{padding}. Given the small test file. " * 3 + f"{row['summary']}."})
    return rows


@pytest.fixture(scope="module")
def selector(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that has learnt which sentence counts."""
    folder = tmp_path_factory.mktemp("selector")
    files = [f"data.{name}={write_jsonl(folder / f'{name}.jsonl', english(n, seed))}"
             for seed, (name, n) in enumerate((("train", 160), ("validation", 8)))]
    result = warm_cli("train", f"model.path={tiny_base}", "head=extractive", "objective=summary_only", *COMMON, *files,
                      f"data.cache_dir={folder / 'cache'}", "data.max_source_tokens=40", "optim.head_lr=0.003",
                      "optim.base_lr=0.001", "trainer.max_steps=120", "trainer.eval_every=120", "run.name=selector",
                      cwd=folder)
    assert result.returncode == 0, result.stderr
    return folder / "runs/selector"


@pytest.fixture
def writer(tiny_base: Path, tmp_path: Path, selector: Path) -> list[str]:
    """The command of a writer behind it."""
    files = [f"data.{name}={write_jsonl(tmp_path / f'{name}.jsonl', long_rows(n, seed))}"
             for seed, (name, n) in enumerate((("train", 24), ("validation", 6), ("test", 6)))]
    shutil.copytree(selector, tmp_path / "selector")
    return ["train", f"model.path={tiny_base}", "head.layers=1", "head.ffn=32", *COMMON, *files,
            f"data.cache_dir={tmp_path / 'cache'}", f"data.max_source_tokens={LIMIT}", "generation.max_new_tokens=4",
            "data.long=select_then_write", f"data.selector={tmp_path / 'selector'}", "trainer.max_steps=4"]


def rows_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_the_writer_reads_the_chosen_sentences_wherever_it_goes(writer: list[str], tmp_path: Path,
                                                                monkeypatch: pytest.MonkeyPatch) -> None:
    shown = warm_cli("data", "show", *writer[1:], "show.rows=3", "show.near=false", cwd=tmp_path)
    assert shown.returncode == 0, shown.stderr
    known = {row["id"]: row for row in rows_of(tmp_path / "train.jsonl")}
    lines = [line for line in shown.stdout.splitlines() if line.startswith(("row ", "read as:"))]
    assert len(lines) == 6
    for name, read in zip(lines[::2], lines[1::2], strict=True):
        row = known[name.removeprefix("row ")]
        assert row["summary"][:12] in read and len(read) < len(row["document"])  # a terminal cuts the line

    straight = warm_cli(*writer, "run.name=straight", cwd=tmp_path)
    assert straight.returncode == 0, straight.stderr
    assert "of 24 of 24 documents, too long for the writer, the selector keeps" in straight.stdout
    assert f"0.0 % of documents cut to {LIMIT} tokens" in straight.stdout
    stop_at(monkeypatch, 2)
    assert warm_cli(*writer, "run.name=stopped", cwd=tmp_path).returncode == 143
    assert warm_cli(*writer, "run.name=stopped", cwd=tmp_path).returncode == 0
    same(tmp_path / "runs/straight/checkpoints/step-4", tmp_path / "runs/stopped/checkpoints/step-4")
    assert len(list((tmp_path / "cache/selected").glob("*.json"))) == 3  # chosen once for each split

    predictions = rows_of(tmp_path / "runs/straight/predictions.jsonl")
    assert [row["document"] for row in predictions] == [row["document"] for row in rows_of(tmp_path / "test.jsonl")]
    shutil.copytree(tmp_path / "runs/straight/checkpoints/step-4/model", tmp_path / "alone")
    shutil.rmtree(tmp_path / "selector")  # the model folder is whole without it
    texts = [row["document"] for row in predictions]
    assert Summarizer(tmp_path / "alone")(texts) == [row["prediction"] for row in predictions]
    made = warm_cli("summarize", "checkpoint=alone", "summarize.format=jsonl", cwd=tmp_path,
                    stdin=f"{texts[0]}\nBut.\n")
    assert made.returncode == 0, made.stderr
    assert f"1 documents are longer than data.max_source_tokens={LIMIT} and are read by the sentences" in made.stderr
    first, second = (json.loads(line) for line in made.stdout.splitlines())
    assert predictions[0]["references"][0] in first["read"] and "read" not in second
    scored = warm_cli("eval", "checkpoint=alone", "eval.output=out", cwd=tmp_path)
    assert scored.returncode == 0, scored.stderr
    assert "the selector keeps" in scored.stderr
    results = [json.loads(path.read_text()) for path in (tmp_path / "runs/straight/results.json",
                                                         tmp_path / "out/results.json")]
    assert results[0]["metrics"]["test"] == results[1]["metrics"]["test"]
    again = warm_cli("data", "show", "checkpoint=alone", "show.split=test", "show.rows=1", cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    assert "Check" in again.stdout.partition("read as")[2]


def test_another_selector_is_other_data(writer: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stop_at(monkeypatch, 2)
    assert warm_cli(*writer, "run.name=run", cwd=tmp_path).returncode == 143
    shutil.rmtree(tmp_path / "selector")
    plain = [one for one in writer if not one.startswith(("data.long", "data.selector", "head."))]
    trained = warm_cli(*plain, "head=extractive", "objective=summary_only", f"run.root={tmp_path}", "run.name=selector",
                       cwd=tmp_path)
    assert trained.returncode == 0, trained.stderr
    refused = warm_cli(*writer, "run.name=run", cwd=tmp_path)
    assert refused.returncode == 2 and "data" in refused.stderr and refused.stderr.count("\n") == 1, refused.stderr


@pytest.mark.parametrize(("overrides", "told"), [
    (("data.selector=null",), "needs data.selector, an extractive model"),
    (("data.selector=nowhere",), "no checkpoint at nowhere"),
    (("data.long=truncate",), "data.selector is read by data.long=select_then_write and data.long is truncate"),
    (("head=ext_abs", "objective.base=none"), "head=ext_abs tells a document's own sentences apart"),
    (("data.max_source_tokens=600",), "is more than the")], ids=str)
def test_what_does_not_fit_is_one_line(overrides: tuple[str, ...], told: str, writer: list[str],
                                       tmp_path: Path) -> None:
    command = [one for one in writer if not (overrides[0].startswith("head=") and one.startswith("head."))]
    result: Finished = warm_cli(*command, *overrides, cwd=tmp_path)
    assert result.returncode == 2
    assert result.stderr.count("\n") == 1 and told in result.stderr, result.stderr


def test_a_writer_is_no_selector(writer: list[str], tmp_path: Path) -> None:
    plain = [one for one in writer if not one.startswith(("data.long", "data.selector"))]
    assert warm_cli(*plain, "run.name=written", "trainer.max_steps=1", cwd=tmp_path).returncode == 0
    result = warm_cli(*writer, f"data.selector={tmp_path / 'runs/written'}", cwd=tmp_path)
    assert result.returncode == 2 and "head=transformer, which chooses no sentences" in result.stderr


@pytest.mark.parametrize("marked", [False, True])
def test_pieces_hold_every_sentence_once(marked: bool) -> None:
    text = "Open the file. " + "Read the list of words. " * 7 + "red " * 60 + ". Close it."
    found = encode_sentences([text], tiny_tokenizer(), 1 << 20, marked)
    ids, ranges = found["input_ids"][0], list(zip(found["sentence_start"][0], found["sentence_end"][0], strict=True))
    before, after = (0, 0) if marked else (1, 1)
    made = list(pieces(ids, ranges, 20, before, after))
    assert [i for piece in made for i in piece.sentences] == list(range(len(ranges)))
    for piece in made:
        assert len(piece.input_ids) <= 20
        assert (piece.input_ids[0], piece.input_ids[-1]) == (ids[0], ids[-1]) or marked
        for index, (start, end) in zip(piece.sentences, piece.ranges, strict=True):
            first, last = ranges[index]
            assert piece.input_ids[start:end] == ids[first:last][:end - start] and end > start
    assert max(end - start for start, end in ranges) > 20  # the one that alone is too long


def test_the_likeliest_that_fit() -> None:
    assert fitting([0.1, 0.9, 0.5, None, 0.8], [3, 4, 9, 1, 5], 10) == [1, 4]
    assert fitting([0.1, 0.9, 0.5, 0.2], [3, 4, 9, 3], 10) == [0, 1, 3]  # the second best no longer fits
    assert fitting([0.9, 0.1], [30, 1], 10) == [0]
    assert fitting([None], [1], 10) == []

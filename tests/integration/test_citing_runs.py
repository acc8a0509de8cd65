"""head=ext_abs through the commands: trained under several objectives, resumed, scored, and its citations."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from articles import chinese, english
from helpers import Finished, warm_cli, write_jsonl
from llmtrain import Summarizer
from llmtrain.data.text.sentences import sentence_spans
from stopping import same, stop_at


def command(base: Path, folder: Path, *more: str, rows: Any = english) -> list[str]:
    files = [write_jsonl(folder / f"{name}.jsonl", rows(n, seed))
             for seed, (name, n) in enumerate((("train", 32), ("validation", 4), ("test", 4)))]
    return ["train", f"model.path={base}", "head=ext_abs", "head.layers=1", "head.ffn=32", "head.sentence_layers=1",
            "data=files", *(f"data.{name}={path}" for name, path in zip(("train", "validation", "test"), files,
                                                                       strict=True)),
            f"data.cache_dir={folder / 'cache'}", "data.max_source_tokens=40", "trainer.batch_size=8",
            "schedule.warmup_steps=1", "eval.bootstrap_samples=5", "eval.baselines=false",
            "generation.max_new_tokens=6", "trainer.max_steps=4", "head.dropout=0.1", *more]


def run(*args: str, cwd: Path) -> Finished:
    done = warm_cli(*args, cwd=cwd)
    assert done.returncode == 0, done.stderr
    return done


def predictions(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "predictions.jsonl").read_text(encoding="utf-8").splitlines()]


@pytest.mark.parametrize("options", [
    ("precision=bf16", "objective.base=extraction"),
    ("precision=fp16", "objective=summary_only"),
    ("precision=fp32", "head.steer=top_k", "head.count=1", "objective.weighting=gradnorm", "trainer.accumulate=2",
     "objective.terms=[{name: select, lam: 1}, {name: extraction, lam: 0.3}, {name: summary, lam: 0.5}]")], ids=str)
def test_runs_resume_bitwise_and_cite(options: tuple[str, ...], tiny_base: Path, tmp_path: Path,
                                      monkeypatch: pytest.MonkeyPatch) -> None:
    start = command(tiny_base, tmp_path, *options)
    run(*start, "run.name=straight", cwd=tmp_path)
    stop_at(monkeypatch, 2)
    assert warm_cli(*start, "run.name=stopped", cwd=tmp_path).returncode == 143
    run(*start, "run.name=stopped", cwd=tmp_path)
    folder = tmp_path / "runs/straight"
    same(folder / "checkpoints/step-4", tmp_path / "runs/stopped/checkpoints/step-4")
    run("eval", f"checkpoint={folder}", options[0], "eval.output=out", cwd=tmp_path)
    assert predictions(folder) == predictions(tmp_path / "out")
    for row in predictions(folder):
        spans = sentence_spans(row["document"])
        cited = row["citations"]
        assert [row["prediction"][c["start"]:c["end"]] for c in cited] == [c["text"] for c in cited]
        assert "".join(c["text"] for c in cited).replace(" ", "") == row["prediction"].replace(" ", "")
        for source in [s for c in cited for s in c["sources"]] + row["sentences"]:
            assert (source["start"], source["end"]) == spans[source["index"]]
        assert all(c["sources"] for c in cited)
        assert len(row["sentences"]) == (1 if "head.count=1" in options else min(3, len(spans)))


def test_summarize_numbers_its_sources(tiny_base: Path, tmp_path: Path) -> None:
    run(*command(tiny_base, tmp_path, "objective.base=extraction", "run.name=run"), cwd=tmp_path)
    text = "Open the file. Check the list of words. Close it."
    given = write_jsonl(tmp_path / "in.jsonl", [{"document": text}, {"document": " "}])
    made = run("summarize", "checkpoint=runs/run", "summarize.format=jsonl", f"input={given}", cwd=tmp_path).stdout
    rows = [json.loads(line) for line in made.splitlines()]
    assert rows[1]["summary"] == "" and rows[1].get("citations", []) == []
    cited = rows[0]["citations"]
    assert cited and {source["index"] for c in cited for source in c["sources"]} <= {0, 1, 2}
    several = run("summarize", "checkpoint=runs/run", "summarize.cite=true", "generation.num_beams=3",
                  "generation.num_return_sequences=2", f"input={given}", cwd=tmp_path).stdout.split("\n")
    assert all(re.search(r"\[[123](, [123])*\]$", line) for line in several[:2])
    assert several[2:] == ["", "", ""]
    made = run("summarize", "checkpoint=runs/run", "summarize.cite=true", f"input={given}", cwd=tmp_path).stdout
    assert made.splitlines() == [
        " ".join(f"{c['text']} [{', '.join(str(s['index'] + 1) for s in c['sources'])}]" for c in cited), ""]
    one = Summarizer(tmp_path / "runs/run").details([text])[0]
    assert [c.text for c in one.citations or []] == [c["text"] for c in cited]


def test_chinese_sentences_are_cited(tiny_base: Path, tmp_path: Path) -> None:
    run(*command(tiny_base, tmp_path, "objective.base=extraction", "run.name=run", rows=chinese), cwd=tmp_path)
    assert all("citations" in row for row in predictions(tmp_path / "runs/run"))


@pytest.mark.parametrize(("options", "said"), [
    (("head.steer=top_k", "objective.base=select"), "head.steer=top_k learns which sentences"),
    (("head.copy_gate=false",), "leave head.copy_gate=true"),
    (("head.steer=hard",), "head.steer=hard is none of soft, top_k"),
    (("head.cite=0",), "head.cite=0 must be"),
    (("head.sentence=cls",), "head.sentence=cls is none of"),
    (("data.preprocess=[{name: lowercase}]",), "set data.preprocess=[]")], ids=str)
def test_what_does_not_go_together_is_refused(options: tuple[str, ...], said: str, tiny_base: Path,
                                              tmp_path: Path) -> None:
    done = warm_cli(*command(tiny_base, tmp_path, *options), cwd=tmp_path)
    assert done.returncode == 2
    (line,) = [line for line in done.stderr.splitlines() if line]
    assert said in line
    assert not (tmp_path / "runs").exists()


def test_a_head_that_cites_nothing_says_so(tiny_base: Path, tmp_path: Path) -> None:
    start = [part for part in command(tiny_base, tmp_path, "run.name=run", "trainer.max_steps=1")
             if not part.startswith("head")]
    run(*start, "head.layers=1", cwd=tmp_path)
    given = write_jsonl(tmp_path / "in.jsonl", [{"document": "a"}])
    done = warm_cli("summarize", "checkpoint=runs/run", "summarize.cite=true", f"input={given}", cwd=tmp_path)
    assert done.returncode == 2
    assert "cites nothing" in done.stderr

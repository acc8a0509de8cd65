"""The extractive head and the extraction objective through the commands: trained, resumed, scored, summarizing."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from articles import chinese, english
from helpers import Finished, tiny_tokenizer, warm_cli, write_jsonl
from llmtrain import Summarizer
from llmtrain.data.sentence_features import encode_sentences
from llmtrain.data.text.sentences import sentence_spans
from running import Runs, gradients, take
from stopping import same, stop_at


def command(base: Path, folder: Path, *more: str, rows: Any = english) -> list[str]:
    files = [write_jsonl(folder / f"{name}.jsonl", rows(n, seed))
             for seed, (name, n) in enumerate((("train", 160), ("validation", 8), ("test", 8)))]
    return ["train", f"model.path={base}", "data=files",
            *(f"data.{name}={path}" for name, path in zip(("train", "validation", "test"), files, strict=True)),
            f"data.cache_dir={folder / 'cache'}", "data.max_source_tokens=40", "trainer.batch_size=8",
            "schedule.warmup_steps=1", "eval.bootstrap_samples=5", "eval.baselines=false", *more]




def predictions(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "predictions.jsonl").read_text(encoding="utf-8").splitlines()]


@pytest.mark.parametrize(("precision", "options"), [
    ("bf16", ("head.sentence=cls", "head.segments=true", "objective=summary_only")), ("fp16", ("head.sentence=last",)),
    ("fp32", ("objective.base=mlm", "trainer.accumulate=2"))], ids=str)
def test_runs_resume_bitwise_score_and_choose(precision: str, options: tuple[str, ...], tiny_base: Path, tmp_path: Path,
                                              monkeypatch: pytest.MonkeyPatch) -> None:
    start = command(tiny_base, tmp_path, "head=extractive", f"precision={precision}", "trainer.max_steps=4", *options)
    straight = warm_cli(*start, "run.name=straight", cwd=tmp_path)
    assert straight.returncode == 0, straight.stderr
    stop_at(monkeypatch, 2)
    assert warm_cli(*start, "run.name=stopped", cwd=tmp_path).returncode == 143
    assert warm_cli(*start, "run.name=stopped", cwd=tmp_path).returncode == 0
    run = tmp_path / "runs/straight"
    same(run / "checkpoints/step-4", tmp_path / "runs/stopped/checkpoints/step-4")

    scored = warm_cli("eval", f"checkpoint={run}", f"precision={precision}", "eval.output=out", cwd=tmp_path)
    assert scored.returncode == 0, scored.stderr
    results = [json.loads((folder / "results.json").read_text()) for folder in (run, tmp_path / "out")]
    assert results[0]["metrics"]["test"] == results[1]["metrics"]["test"]  # the tuned rule went with the weights
    assert "select " in results[0]["signature"] and "trigram blocking" in results[1]["signature"]
    assert "greedy" not in results[0]["signature"]
    for row in predictions(run):
        spans = sentence_spans(row["document"])
        assert [(s["start"], s["end"]) for s in row["sentences"]] == [spans[s["index"]] for s in row["sentences"]]
        assert row["prediction"] == " ".join(row["document"][s["start"]:s["end"]] for s in row["sentences"]) != ""
        for cited, chosen in zip(row["citations"], row["sentences"], strict=True):  # each comes from itself
            assert row["prediction"][cited["start"]:cited["end"]] == cited["text"]
            assert [source["index"] for source in cited["sources"]] == [chosen["index"]]
    first = predictions(run)[0]
    told = " ".join(f"{cited['text']} [{one['index'] + 1}]" for cited, one in
                    zip(first["citations"], first["sentences"], strict=True))
    assert " ".join(told.split())[:100] in " ".join(scored.stdout.split())


def test_it_learns_which_sentence_and_validation_settles_how_many(tiny_base: Path, tmp_path: Path) -> None:
    result = warm_cli(*command(tiny_base, tmp_path, "head=extractive", "objective=summary_only", "optim.head_lr=0.003",
                               "optim.base_lr=0.001",
                               "trainer.max_steps=120", "trainer.eval_every=120", "run.name=run"), cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert "generation.* is not used" in result.stdout
    results = json.loads((tmp_path / "runs/run/results.json").read_text())
    assert results["metrics"]["test"]["rouge1"]["value"] > 95
    assert "select 1 sentence" in results["signature"]
    state = load_file(tmp_path / "runs/run/checkpoints/step-120/model/model.safetensors")
    assert (int(state["head.tuned_count"]), float(state["head.tuned_threshold"])) == (1, 0.0)

    lines = "Open the file.  Check the list of words. Close it.\n\nopen\nCheck Tree? 天地。\n" + "Read it. " * 40
    made = warm_cli("summarize", "checkpoint=runs/run", "summarize.format=jsonl", cwd=tmp_path, stdin=lines)
    assert made.returncode == 0, made.stderr
    assert "1 documents are longer than" in made.stderr and "line 5" in made.stderr
    rows = [json.loads(line) for line in made.stdout.splitlines()]
    numbered = warm_cli("summarize", "checkpoint=runs/run", "summarize.cite=true", cwd=tmp_path, stdin=lines).stdout
    assert numbered.splitlines()[0] == f"{rows[0]['summary']} [{rows[0]['sentences'][0]['index'] + 1}]"
    assert [row["summary"] for row in rows[:4]] == ["Check the list of words.", "", "open", "Check Tree?"]
    (chosen,) = rows[0]["sentences"]
    assert (chosen["index"], chosen["start"], chosen["end"]) == (1, 16, 40) and chosen["weight"] > 0.5
    assert rows[0]["score"] < 0 and "sentences" not in rows[1]

    from transformers import AutoModel

    import llmtrain.hf  # noqa: F401

    model: Any = AutoModel.from_pretrained(tmp_path / "runs/run/checkpoints/step-120/model").eval()
    batch = encode_sentences([lines.splitlines()[0]], tiny_tokenizer(), 40, marked=False)
    del batch["cut"]
    inputs = {name: torch.tensor(value) for name, value in batch.items()}
    out = model(**inputs, labels=torch.tensor([[0, 1, 0]]))
    assert out.logits.shape == (1, 3) and int(out.logits.argmax()) == 1
    assert float(torch.sigmoid(out.logits)[0, 1]) == pytest.approx(chosen["weight"], abs=1e-3)
    assert float(out.loss) == pytest.approx(float(torch.nn.functional.binary_cross_entropy_with_logits(
        out.logits, torch.tensor([[0.0, 1.0, 0.0]]))), rel=1e-5)
    model.save_pretrained(tmp_path / "again")
    assert torch.equal(AutoModel.from_pretrained(tmp_path / "again").eval()(**inputs).logits, out.logits)
    assert Summarizer(tmp_path / "runs/run")(["Check it. Open it."]) == ["Check it."]


def test_chinese_sentences_are_chosen_and_joined_without_spaces(tiny_base: Path, tmp_path: Path) -> None:
    result = warm_cli(*command(tiny_base, tmp_path, "head=extractive", "trainer.max_steps=2", "head.select=count",
                               "head.count=2", "run.name=run", rows=chinese), cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    rows = predictions(tmp_path / "runs/run")
    assert all(len(row["sentences"]) == 2 for row in rows)
    assert all(" " not in row["prediction"] and row["prediction"].count("。") == 2 for row in rows)
    assert "characters" in json.loads((tmp_path / "runs/run/results.json").read_text())["signature"]


@pytest.mark.parametrize("head", ["transformer", "gru", "prefix_lm"])
def test_extraction_is_a_base_term_beside_a_head_that_writes(head: str, tiny_base: Path, tmp_path: Path) -> None:
    """Its loss falls, it shares the trunk, and nothing of it is published: eval needs no sentences."""
    result = warm_cli(*command(tiny_base, tmp_path, f"head={head}", "objective.base=extraction", "optim.head_lr=0.01",
                               "optim.base_lr=0.003",
                               "trainer.max_steps=60", "trainer.log_every=5", "trainer.eval_every=60", "run.name=run",
                               "data.max_summary_tokens=8", "generation.max_new_tokens=4"), cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    log = [json.loads(line) for line in (tmp_path / "runs/run/metrics.jsonl").read_text().splitlines()]
    losses = [row["loss.extraction"] for row in log if row["split"] == "train"]
    assert losses[-1] < 0.6 * losses[0]
    state = load_file(tmp_path / "runs/run/checkpoints/step-60/model/model.safetensors")
    assert not any("scorer" in name for name in state)
    assert "sentences" not in predictions(tmp_path / "runs/run")[0]


@pytest.fixture
def runs(tiny_base: Path, tmp_path: Path) -> Iterator[Runs]:
    made = Runs(tiny_base, tmp_path, english(24))
    yield made
    made.close()


@pytest.mark.parametrize("options", [("head=extractive", "objective=summary_only"),
                                     ("head=extractive", "head.sentence=cls", "objective.base=select"),
                                     ("objective.base=extraction",)], ids=str)
def test_a_step_is_the_same_in_micro_batches(options: tuple[str, ...], runs: Runs) -> None:
    """Documents of one to five sentences: a mean of means would show."""
    found, losses = [], []
    for accumulate in (1, 2):
        run = runs(*options, f"trainer.accumulate={accumulate}", "optim.clip_norm=0", "trainer.bucket=1")
        (result,) = take(run)
        found.append(gradients(run))
        losses.append(result.losses)
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
    assert found[0].keys() == found[1].keys()
    for name, value in found[0].items():
        assert torch.allclose(value, found[1][name], atol=2e-6, rtol=2e-4), name


def test_a_batch_without_sentences_counts_nothing_and_reaches_every_parameter(runs: Runs) -> None:
    for options in (("head=extractive", "objective=summary_only"), ("objective.base=extraction",)):
        run = runs(*options)
        batch = next(iter(run.data.loader.iterate(0))).micro[0]
        batch["sentence_end"] = torch.zeros_like(batch["sentence_end"])
        name = run.model.module.terms[0]
        sums = run.model.module(batch, 0)
        assert int(run.model.module.counts(batch)[name]) == 0 and float(sums[name]) == 0.0
        sum(sums.values()).backward()
        scorers = [p for n, p in run.model.module.named_parameters() if "scorer" in n]
        assert scorers and all(p.grad is not None and bool(torch.isfinite(p.grad).all()) for p in scorers)


@pytest.mark.parametrize(("overrides", "told"), [
    (("head=extractive", "head.sentence=first"), "choose one"), (("head=extractive", "head.select=best"), "tuned"),
    (("head=extractive", "head.count=0"), "head.count=0 must be more than 0"),
    (("head=extractive", "head.labels=0"), "head.labels=0 must be more than 0"),
    (("head=extractive", "head.threshold=1.5"), "head.threshold=1.5 must be from 0 to 1"),
    (("head=extractive", "head.positive_weight=0"), "more than 0"),
    (("head=extractive", "objective.base=extraction"), "which is trained by that loss itself"),
    (("objective.base=extraction", "objective.extraction.sentence=cls"), "choose one"),
    (("objective.base=extraction", "objective.extraction.layers=-1"), "must be 0 or more")])
def test_what_does_not_fit_is_one_line(overrides: tuple[str, ...], told: str, tmp_path: Path) -> None:
    result: Finished = warm_cli("train", "trainer.max_steps=1", *overrides, cwd=tmp_path)
    assert result.returncode == 2
    assert result.stderr.count("\n") == 1
    assert told in result.stderr

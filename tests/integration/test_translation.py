"""Translation, whole commands: trained, gone on with bit by bit, scored, verified, in each head and precision."""

from __future__ import annotations

import json
import random
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

import llmtrain.hf  # noqa: F401
from cards import check_card
from helpers import WORDS, Finished, make_tiny_base, warm_cli, write_jsonl
from llmtrain.data.control_tokens import text_only

VOCABULARY = "model/target_tokenizer/tokenizer.json"


def rows(n: int, seed: int = 0) -> list[dict[str, str]]:
    """English words, and each of them backwards with a capital."""
    draw, found = random.Random(seed), []
    for _ in range(n):
        words = draw.choices(WORDS, k=draw.randint(3, 9))
        found.append({"source": " ".join(words) + ".", "target": " ".join(w[::-1].capitalize() for w in words) + "."})
    return found


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("translation")
    for seed, (name, count) in enumerate((("train", 48), ("validation", 8), ("test", 4))):
        made = rows(count, seed)
        write_jsonl(folder / f"{name}.jsonl", made)
        for column, ending in (("source", "en"), ("target", "xx")):
            (folder / f"{name}.{ending}").write_text("".join(row[column] + "\n" for row in made))
    make_tiny_base(folder / "base")
    return folder


def train(place: Path, run: str, *more: str, pair: bool = False) -> Finished:
    layers = () if "head=prefix_lm" in more else ("head.layers=1",)
    files = [f"data.{name}=[{name}.en,{name}.xx]" if pair else f"data.{name}={name}.jsonl"
             for name in ("train", "validation", "test")]
    return warm_cli("train", "task=translation", f"model.path={place / 'base'}", "data=files", *files,
                    f"data.cache_dir={place / 'cache'}", "data.target_vocabulary=320", "data.max_source_tokens=32",
                    "data.max_target_tokens=24", *layers, "trainer.batch_size=8", "trainer.max_steps=4",
                    "trainer.eval_every=2", "trainer.keep_last=3", "schedule.warmup_steps=1", "model.dropout=0.1",
                    "generation.max_new_tokens=8", "eval.bootstrap_samples=20", f"run.name={run}", *more, cwd=place)


def read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def alike(one: Path, other: Path) -> bool:
    first, second = (load_file(run / "checkpoints/step-4/model/model.safetensors") for run in (one, other))
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def stopped_at_2(place: Path, run: str, name: str) -> Path:
    folder = place / "runs" / name
    shutil.copytree(place / "runs" / run, folder)
    shutil.rmtree(folder / "checkpoints/step-4")
    (folder / "results.json").unlink()
    return folder


@pytest.fixture(scope="module")
def trained(place: Path) -> Path:
    ended = train(place, "whole")
    assert ended.returncode == 0, ended.stderr
    return place / "runs/whole"


def test_a_run_has_the_tasks_scores_and_publishes_its_vocabulary(trained: Path, place: Path) -> None:
    results = read(trained / "results.json")
    assert check_card(trained, place).data.pipeline_tag == "translation"
    assert results["task"] == "translation" and results["config"]["trainer"]["best_metric"] == "bleu"
    config = results["config"]
    assert config["objective"]["base"] == "mlm" and config["generation"]["no_repeat_ngram_size"] == 0
    for scores in (*results["metrics"].values(), results["baselines"]["copy"]):
        assert list(scores) == ["bleu", "chrf", "bleu_tokenized"]
        assert all(one["low"] <= one["value"] <= one["high"] for one in scores.values())
    assert "tok:13a" in results["signature"] and "|nc:6|" in results["signature"]
    manifest = read(trained / "checkpoints/step-4/manifest.json")
    assert {VOCABULARY, "model/target_tokenizer/tokenizer_config.json"} <= manifest["files"].keys()
    log = [json.loads(line) for line in (trained / "metrics.jsonl").read_text().splitlines()]
    assert all(row["loss.translation"] > 0 < row["loss.mlm"] for row in log) and {"bleu", "chrf"} <= log[-1].keys()
    line = json.loads((trained / "predictions.jsonl").read_text().splitlines()[0])
    assert {"source", "references", "prediction", "bleu", "bleu.matches4", "chrf"} <= line.keys()


def test_every_command_takes_its_vocabulary_from_the_model(trained: Path, place: Path) -> None:
    results = read(trained / "results.json")
    for path in (place / "cache").rglob("*.json"):
        path.unlink()  # nothing is learnt any more
    scored = warm_cli("eval", "checkpoint=runs/whole", "eval.output=scored", "data.train=null", cwd=place)
    assert scored.returncode == 0 and "target vocabulary" not in scored.stdout, scored.stderr
    assert read(place / "scored/results.json")["metrics"]["test"] == results["metrics"]["test"]
    beams = warm_cli("eval", "checkpoint=runs/whole", "generation.num_beams=3", "generation.length_penalty=0.6",
                     "eval.lowercase=true", "eval.tokenize=intl", cwd=place)
    assert beams.returncode == 0 and "case:lc" in beams.stdout and "tok:intl" in beams.stdout, beams.stderr
    whole = warm_cli("verify", "runs/whole", cwd=place)
    assert whole.returncode == 0, whole.stderr
    assert " of targets; good for resume, run.extend_from, eval" in whole.stdout
    shown = warm_cli("data", "show", "checkpoint=runs/whole", "show.rows=1", cwd=place)
    assert shown.returncode == 0 and "target tokens" in shown.stdout, shown.stderr


def test_the_vocabulary_is_the_checkpoints(trained: Path, place: Path) -> None:
    for one in ("data.target_tokenizer=base", "data.target_vocabulary=400", "task.joint_vocabulary=true"):
        refused = warm_cli("eval", "checkpoint=runs/whole", one, cwd=place)
        assert refused.returncode == 2 and "is fixed by the checkpoint and cannot be given to eval" in refused.stderr
        assert refused.stderr.count("\n") == 1


def test_transformers_alone_generates_what_was_scored(trained: Path) -> None:
    folder = trained / "checkpoints/step-4/model"
    model = AutoModelForSeq2SeqLM.from_pretrained(folder).eval()
    reads = text_only(AutoTokenizer.from_pretrained(folder))
    writes = AutoTokenizer.from_pretrained(folder / "target_tokenizer")
    pointer = read(trained / "checkpoints/best")
    if pointer["step"] != 4:
        model = AutoModelForSeq2SeqLM.from_pretrained(trained / "checkpoints" / pointer["folder"] / "model").eval()
    lines = [json.loads(line) for line in (trained / "predictions.jsonl").read_text().splitlines()]
    batch = reads([line["source"] for line in lines], return_tensors="pt", padding=True)
    made = model.generate(**batch)
    texts = [" ".join(writes.decode(row, skip_special_tokens=True).split()) for row in made]
    assert texts == [line["prediction"] for line in lines]


def test_a_run_that_was_stopped_goes_on_bit_by_bit(trained: Path, place: Path) -> None:
    stopped = stopped_at_2(place, "whole", "stopped")
    again = train(place, "stopped")
    assert again.returncode == 0 and "going on from step 2" in again.stdout, again.stderr
    assert "target vocabulary" not in again.stdout  # it has the checkpoint's
    assert alike(trained, stopped) and read(stopped / "results.json")["metrics"] == (
        read(trained / "results.json")["metrics"])


def test_two_files_train_as_the_rows_of_one_do(trained: Path, place: Path) -> None:
    ended = train(place, "pair", pair=True)
    assert ended.returncode == 0 and "parallel text: source from train.en, target from train.xx" in ended.stdout
    assert alike(trained, place / "runs/pair")


def test_a_later_run_starts_from_the_vocabulary_of_an_earlier_one(trained: Path, place: Path) -> None:
    own = "data.target_tokenizer=runs/whole/checkpoints/step-4/model/target_tokenizer"
    for name, more in (("on", ()), ("named", (own,))):
        ended = train(place, name, "model.init_from=runs/whole", "data.train=test.jsonl", "trainer.max_steps=2", *more)
        assert ended.returncode == 0, ended.stderr
        assert (place / "runs" / name / "checkpoints/step-2" / VOCABULARY).read_bytes() == (
            trained / "checkpoints/step-4" / VOCABULARY).read_bytes()
    other = train(place, "other", "model.init_from=runs/whole", "data.target_tokenizer=base")
    assert other.returncode == 2 and "writes in another target vocabulary than this one" in other.stderr, other.stderr


@pytest.mark.parametrize("more", [
    ("head=gru",), ("head=lstm", "head.copy_gate=false"), ("head=prefix_lm", "data.target_tokenizer=base"),
    ("data.target_tokenizer=base",), ("head.tie_embeddings=false", "optim=muon"), ("task.joint_vocabulary=true",),
    ("tuning=lora", "tuning.rank=2", "objective=task_only"),
    ("objective.base=denoise", "objective.weighting=uncertainty"),
    ("objective.weighting=pcgrad", "trainer.accumulate=2"), ("precision=fp16", "generation.num_beams=2"),
    ("precision=bf16", "optim.ema_decay=0.5", "head.width=16", "head.label_smoothing=0.1"),
    ("optim.average_last=2", "data.preprocess=[{name: lowercase, apply: summary}, nfc]", "data.long=sliding",
     "data.window_overlap=8")], ids=str)
def test_each_part_serves_it_and_goes_on_bit_by_bit(more: tuple[str, ...], place: Path) -> None:
    name = "-".join(part.partition("=")[2][:9].strip("[{") for part in more)
    ended = train(place, name, *more)
    assert ended.returncode == 0, ended.stderr
    stopped = stopped_at_2(place, name, f"{name}-stopped")
    again = train(place, stopped.name, *more)
    assert again.returncode == 0 and "going on from step 2" in again.stdout, again.stderr
    assert alike(place / "runs" / name, stopped)


def test_an_overflow_in_fp16_is_skipped_and_gone_on_with(place: Path) -> None:
    more = ("precision=fp16", "precision.init_scale=1e7", "trainer.max_steps=8", "trainer.eval_every=4")
    ended = train(place, "overflow", *more)
    assert ended.returncode == 0, ended.stderr
    results = read(place / "runs/overflow/results.json")
    assert results["skipped_steps"] > 0 and results["precision"]["effective"] == "float16"
    stopped = place / "runs/overflow-stopped"
    shutil.copytree(place / "runs/overflow", stopped)
    shutil.rmtree(stopped / "checkpoints/step-8")
    (stopped / "results.json").unlink()
    again = train(place, "overflow-stopped", *more)
    assert again.returncode == 0 and read(stopped / "results.json")["skipped_steps"] == results["skipped_steps"]
    one, other = (load_file(run / "checkpoints/step-8/model/model.safetensors")
                  for run in (place / "runs/overflow", stopped))
    assert all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("name", ["tokenizer.json", "tokenizer_config.json"])
def test_a_damaged_vocabulary_is_no_whole_model(name: str, trained: Path, place: Path) -> None:
    damaged = place / f"runs/damaged-{name}"
    shutil.copytree(trained, damaged)
    (damaged / "results.json").unlink()
    path = damaged / "checkpoints/step-4/model/target_tokenizer" / name
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))
    for command in (("eval", f"checkpoint={damaged / 'checkpoints/step-4'}"), ("verify", str(damaged))):
        refused = warm_cli(*command, cwd=place)
        assert refused.returncode == 3 and name in refused.stderr, refused.stderr
    again = train(place, damaged.name)
    assert again.returncode == 0 and "going on from step 2" in again.stdout and "step-4" in again.stderr
    assert alike(trained, damaged)


def test_a_model_folder_alone_is_enough(trained: Path, place: Path, tmp_path: Path) -> None:
    shutil.copytree(trained / "checkpoints/step-4/model", tmp_path / "model")
    scored = warm_cli("eval", "checkpoint=model", "data.train=null", "data.validation=null",
                      f"data.test={place / 'test.jsonl'}", cwd=tmp_path)
    assert scored.returncode == 0, scored.stderr
    shutil.rmtree(tmp_path / "model/target_tokenizer")
    refused = warm_cli("eval", "checkpoint=model", "data.train=null", f"data.test={place / 'test.jsonl'}", cwd=tmp_path)
    assert refused.returncode == 3 and "target_tokenizer" in refused.stderr, refused.stderr


def test_unlabelled_sources_train_the_base_beside(place: Path) -> None:
    write_jsonl(place / "alone.jsonl", [{"source": row["source"]} for row in rows(12, 7)])
    ended = train(place, "alone", "data.unlabelled=alone.jsonl", "objective.base=mlm")
    assert ended.returncode == 0 and "12 documents of data.unlabelled" in ended.stdout, ended.stderr
    base_only = train(place, "base-only", "objective=base_only", "trainer.best_metric=auto")
    assert base_only.returncode == 0 and "target vocabulary" not in base_only.stdout, base_only.stderr


def test_chinese_targets_are_scored_by_the_character(place: Path) -> None:
    signs = "两个男人在街上走路的女孩坐椅子看书"
    write_jsonl(place / "zh.jsonl", [{"source": row["source"], "target": "".join(
        signs[len(word) % len(signs)] for word in row["source"].split())} for row in rows(16, 3)])
    ended = train(place, "zh", "data.train=zh.jsonl", "data.validation=zh.jsonl", "data.test=zh.jsonl",
                  "objective.base=none", "trainer.eval_every=4")
    assert ended.returncode == 0 and "tok:zh" in read(place / "runs/zh/results.json")["signature"], ended.stderr
    lines = [json.loads(line) for line in (place / "runs/zh/predictions.jsonl").read_text().splitlines()]
    assert not any(" " in line["prediction"] for line in lines)


def test_the_documented_coverage_loss_reads_the_pointer(place: Path) -> None:
    from tests.integration.test_plugins import documented

    documented("coverage.py", place)
    ended = train(place, "coverage", "--plugin", "coverage.py", "objective.base=coverage", "objective.lam=1")
    assert ended.returncode == 0 and "coverage" in ended.stdout, ended.stderr


@pytest.mark.parametrize("head", ["transformer", "gru"])
def test_a_few_pairs_are_learnt_by_heart(head: str, place: Path) -> None:
    write_jsonl(place / "few.jsonl", [row | {"target": row["target"].replace("T", "Ü")} for row in rows(8, 5)])
    ended = train(place, f"few-{head}", f"head={head}", *(f"data.{name}=few.jsonl" for name in
                  ("train", "validation", "test")), "objective.base=none", "model.dropout=0", "trainer.max_steps=150",
                  "trainer.eval_every=150", "optim.head_lr=1e-2", "optim.base_lr=2e-3", "schedule.warmup_steps=10",
                  "generation.max_new_tokens=32", "generation.num_beams=2")
    assert ended.returncode == 0, ended.stderr
    assert read(place / f"runs/few-{head}/results.json")["metrics"]["test"]["bleu"]["value"] > 60


def test_an_uncased_vocabulary_is_told_and_takes_no_spelling_from_the_source(place: Path) -> None:
    write_jsonl(place / "names.jsonl", [{"source": f"Anna reads text {n}", "target": f"ANNA reads text {n}"}
                                        for n in range(8)])
    ended = train(place, "names", "data.target_tokenizer=base", "objective.base=none", "trainer.max_steps=60",
                  "trainer.eval_every=60", "optim.head_lr=1e-2", *(f"data.{name}=names.jsonl" for name in
                                                                   ("train", "validation", "test")))
    assert ended.returncode == 0 and "its texts are in lower case" in ended.stdout, ended.stderr
    lines = (place / "runs/names/predictions.jsonl").read_text().splitlines()
    assert all(json.loads(line)["prediction"].islower() for line in lines)

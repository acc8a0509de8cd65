"""Question answering through the commands: trained, stopped and resumed, scored, published, in every precision."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from cards import check_card
from helpers import Finished, make_tiny_decoder, pairs, warm_cli, write_jsonl
from questions import questions, squad
from stopping import same, stop_at


def files(folder: Path, silent: bool = True, n: int = 48, asked: str | None = None) -> list[str]:
    made = []
    for seed, (name, rows) in enumerate((("train", n), ("validation", 12), ("test", 12))):
        path = folder / f"{name}.json"
        path.write_text(json.dumps(squad(questions(rows, seed, silent, asked=asked))))
        made.append(f"data.{name}={path}")
    return made


def train(base: Path, folder: Path, *more: str, data: list[str] | None = None) -> Finished:
    return warm_cli("train", "task=question_answering", f"model.path={base}", "data=files", *(data or files(folder)),
                    f"data.cache_dir={folder / 'cache'}", "data.max_source_tokens=40", "data.max_question_tokens=8",
                    "data.stride=8", "trainer.batch_size=8", "trainer.max_steps=4", "schedule.warmup_steps=1",
                    "eval.bootstrap_samples=20", *more, cwd=folder)


def read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


CASES = [("fp32", ("objective.base=mlm",)), ("bf16", ("head.hidden=16", "trainer.accumulate=2")),
         ("fp16", ("objective.base=denoise", "model.dropout=0.1", "precision.init_scale=1e7")),
         ("fp32", ("objective=summary_only", "optim=muon")),
         ("bf16", ("objective.base=mlm", "objective.weighting=pcgrad")),
         ("fp32", ("tuning=lora", "trainer.eval_every=2"))]


@pytest.mark.parametrize(("precision", "options"), CASES, ids=str)
def test_runs_resume_bitwise_and_answer_from_what_is_published(
        precision: str, options: tuple[str, ...], tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:
    data = files(tmp_path)
    straight = train(tiny_base, tmp_path, f"precision={precision}", *options, "run.name=straight", data=data)
    assert straight.returncode == 0, straight.stderr
    assert "of 48 rows of train have no answer" in straight.stdout
    stop_at(monkeypatch, 2)
    assert train(tiny_base, tmp_path, f"precision={precision}", *options, "run.name=stopped",
                 data=data).returncode == 143
    resumed = train(tiny_base, tmp_path, f"precision={precision}", *options, "run.name=stopped", data=data)
    assert resumed.returncode == 0, resumed.stderr
    run = tmp_path / "runs/straight"
    same(run / "checkpoints/step-4", tmp_path / "runs/stopped/checkpoints/step-4")
    assert warm_cli("verify", str(run), cwd=tmp_path).returncode == 0

    scored = warm_cli("eval", f"checkpoint={run}", f"precision={precision}", "eval.output=out", cwd=tmp_path)
    assert scored.returncode == 0, scored.stderr
    results, again = read(run / "results.json"), read(tmp_path / "out/results.json")
    assert (results["skipped_steps"] > 0) is (precision == "fp16")  # its first scales overflow
    assert results["metrics"]["test"] == again["metrics"]["test"]  # the threshold went with the weights
    assert list(results["metrics"]["test"]) == ["f1", "exact_match"] and "first_sentence" in results["baselines"]
    assert results["extras"]["no_answer_rows"] == 4 and "no answer where its score is more than" in results["signature"]
    for row in lines(run / "predictions.jsonl"):
        assert (row["start"] is None) is (row["prediction"] == "")
        assert row["prediction"] == "" or row["context"][row["start"]:row["end"]] == row["prediction"]
        assert 0 <= row["probability"] <= 1 and isinstance(row["null_score"], float)


@pytest.fixture(scope="module")
def learnt(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    tmp_path = tmp_path_factory.mktemp("learnt")
    result = train(tiny_base, tmp_path, "objective=summary_only", "optim.head_lr=0.003", "optim.base_lr=0.003",
                   "trainer.max_steps=400", "trainer.eval_every=400", "trainer.batch_size=32", "run.name=run",
                   "task.no_answer=auto",
                   "model.dropout=0", "head.dropout=0", data=files(tmp_path, n=400, asked="red"))
    assert result.returncode == 0, result.stderr
    return tmp_path / "runs/run"


def test_it_learns_where_answers_stand_and_that_there_is_none(learnt: Path, tmp_path: Path) -> None:
    results = read(learnt / "results.json")
    assert results["metrics"]["test"]["f1"]["value"] > 90 > 40 > results["baselines"]["first_sentence"]["f1"]["value"]
    assert results["extras"]["no_answer_exact_match"] >= 75
    assert check_card(learnt, tmp_path).data.pipeline_tag == "question-answering"
    share = 100 * results["extras"]["no_answer_rows"] / results["rows"]["test"]  # right without an answer: those alone
    assert results["baselines"]["no_answer"]["exact_match"]["value"] == pytest.approx(share)
    several = warm_cli("eval", f"checkpoint={learnt}", "eval.top_k=3", "eval.output=out", cwd=tmp_path)
    assert several.returncode == 0, several.stderr
    for row in lines(tmp_path / "out/predictions.jsonl"):
        assert len(row["answers"]) == 3 and row["answers"][0]["text"] == row["prediction"]
        spans = [one for one in row["answers"] if one["text"]]
        assert [one["score"] for one in spans] == sorted((one["score"] for one in spans), reverse=True)
        assert all(row["context"][one["start"]:one["end"]] == one["text"] for one in spans)
    short = warm_cli("eval", f"checkpoint={learnt}", "data.max_source_tokens=22", "data.stride=4",
                     "eval.output=windows", cwd=tmp_path)
    assert short.returncode == 0, short.stderr  # windows, which this model has not learnt: but every row is answered
    assert len(lines(tmp_path / "windows/predictions.jsonl")) == 12

    from transformers import AutoModelForQuestionAnswering, AutoTokenizer

    import llmtrain.hf  # noqa: F401

    step = learnt / "checkpoints/step-400/model"
    model: Any = AutoModelForQuestionAnswering.from_pretrained(step).eval()
    tokenizer = AutoTokenizer.from_pretrained(step)
    row = next(row for row in lines(learnt / "predictions.jsonl") if row["prediction"])
    given = tokenizer(row["question"], row["context"], return_tensors="pt", return_offsets_mapping=True)
    places = given.pop("offset_mapping")[0].tolist()
    out = model(**given)
    chosen = [int(logits.argmax()) for logits in (out.start_logits[0], out.end_logits[0])]
    assert (places[chosen[0]][0], places[chosen[1]][1]) == (row["start"], row["end"])
    assert float(out.start_logits.max() + out.end_logits.max()) == pytest.approx(row["score"], abs=1e-3)


def test_a_model_that_must_answer_has_no_threshold(tiny_base: Path, tmp_path: Path) -> None:
    result = train(tiny_base, tmp_path, "task.no_answer=false", "run.name=run")
    assert result.returncode == 0, result.stderr
    assert all(row["prediction"] for row in lines(tmp_path / "runs/run/predictions.jsonl"))
    assert "no answer" not in read(tmp_path / "runs/run/results.json")["signature"]
    assert "questions are longer" not in result.stdout
    asked = train(tiny_base, tmp_path, "task.no_answer=true", "data.max_question_tokens=2", "run.name=asked",
                  data=files(tmp_path, silent=False))
    assert asked.returncode == 0, asked.stderr
    assert "data: 72 of 72 questions are longer than 2 tokens and are cut there" in asked.stdout
    assert "no answer where" in read(tmp_path / "runs/asked/results.json")["signature"]
    state = load_file(tmp_path / "runs/asked/checkpoints/step-4/model/model.safetensors")
    assert torch.isfinite(state["head.threshold"])


@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_decoders_mark_answers_too(family: str, tmp_path: Path) -> None:
    base = make_tiny_decoder(tmp_path / "base", family)
    result = train(base, tmp_path, "objective.base=clm", "data.max_source_tokens=100", "run.name=run")
    assert result.returncode == 0, result.stderr
    assert all(row["loss.answer"] > 0 and row["loss.clm"] > 0 for row in lines(tmp_path / "runs/run/metrics.jsonl"))


@pytest.mark.parametrize("head", ["transformer", "gru", "prefix_lm"])
def test_heads_that_write_answer_in_words(head: str, tiny_base: Path, tmp_path: Path) -> None:
    result = train(tiny_base, tmp_path, f"head={head}", "generation.max_new_tokens=4", "generation.num_beams=2",
                   "data.max_answer_tokens=4", "data.max_source_tokens=60", "run.name=run")
    assert result.returncode == 0, result.stderr
    results = read(tmp_path / "runs/run/results.json")
    assert results["extras"]["no_answer_rows"] == 4 and "beam" in results["signature"]
    for row in lines(tmp_path / "runs/run/predictions.jsonl"):
        assert row["start"] is None or row["context"][row["start"]:row["end"]] == row["prediction"]


def test_contexts_alone_train_the_base_beside_questions(tiny_base: Path, tmp_path: Path) -> None:
    write_jsonl(tmp_path / "more.jsonl", [{"context": row["context"], "question": row["question"]}
                                          for row in questions(20, 9, facts=8)])
    result = train(tiny_base, tmp_path, f"data.unlabelled={tmp_path / 'more.jsonl'}", "objective.base=mlm",
                   "run.name=run")
    assert result.returncode == 0, result.stderr
    alone = train(tiny_base, tmp_path, "objective=base_only", "run.name=alone")
    assert alone.returncode == 0, alone.stderr
    started = train(tiny_base, tmp_path, "model.init_from=runs/alone", "run.name=started")
    assert started.returncode == 0, started.stderr


@pytest.mark.parametrize("form", ["squad", "rows", "lines"])
def test_somebodys_answers_are_scored_without_a_model(form: str, tmp_path: Path) -> None:
    rows = questions(9, 2, silent=True)
    said = {row["id"]: row["answers"][0]["text"] if row["answers"] else "" for row in rows}
    said["2-1"] = "the wrong one"
    if form == "squad":  # the file that SQuAD's script reads
        (tmp_path / "own.json").write_text(json.dumps(dict(reversed(said.items()))))
    elif form == "rows":
        write_jsonl(tmp_path / "own.json", [{"id": name, "prediction": text} for name, text in said.items()])
    else:
        (tmp_path / "own.txt").write_text("".join(f"{text}\n" for text in said.values()))
    (tmp_path / "test.json").write_text(json.dumps(squad(rows)))
    scored = warm_cli("eval", "task=question_answering", "data=files", "data.test=test.json", "eval.output=out",
                      f"predictions=own.{'txt' if form == 'lines' else 'json'}", cwd=tmp_path)
    assert scored.returncode == 0, scored.stderr
    results = read(tmp_path / "out/results.json")
    assert results["metrics"]["test"]["exact_match"]["value"] == pytest.approx(100 * 8 / 9)
    assert results["extras"]["no_answer_exact_match"] == 100 and "best of the references" in results["signature"]
    assert "9 rows" in scored.stdout and "3 rows without an answer" in scored.stdout


@pytest.mark.parametrize(("overrides", "told"), [
    (("head=extractive",), "head=extractive (sentence_extraction) makes nothing that task=question_answering asks for"),
    (("objective.base=select",), "the objective select reads targets as texts"),
    (("objective.base=extraction",), "the objective extraction reads targets as texts"),
    (("data.long=sliding",), "data.long=sliding"),
    (("data.long=head_tail",), "data.long=head_tail changes what is read"),
    (("data.document=text",), "data.document is a key of task=summarization"),
    (("data.contex=text",), "did you mean data.context?"),
    (("task.no_answer=maybe",), "task.no_answer=maybe is not one of true, false, auto"),
    (("eval.language=zh_words",), "eval.language=zh_words has no rules for answers"),
    (("eval.top_k=0",), "eval.top_k=0 must be more than 0"), (("data.stride=-1",), "data.stride=-1 must be"),
    (("head.hidden=-1",), "head.hidden=-1 must be"), (("trainer.best_metric=rouge1",), "choose from f1, exact_match,"),
    (("data.stride=60",), "no more than the data.stride=60 that windows share"),
    (("data.preprocess=[lowercase]",), "data.preprocess changes contexts or answers")], ids=str)
def test_what_does_not_go_together_is_refused_by_name(overrides: tuple[str, ...], told: str, tiny_base: Path,
                                                      tmp_path: Path) -> None:
    refused = train(tiny_base, tmp_path, *overrides)
    assert refused.returncode == 2, refused.stdout
    assert told in refused.stderr and all(line.startswith("llmtrain: ") for line in refused.stderr.splitlines())


def test_another_task_has_no_span_head(tiny_base: Path, tmp_path: Path) -> None:
    refused = warm_cli("train", "head=span", f"model.path={tiny_base}", "trainer.max_steps=1", cwd=tmp_path)
    assert (refused.returncode, refused.stderr.count("\n")) == (2, 1)
    assert "head=span (span) makes nothing that task=summarization asks for" in refused.stderr


def test_questions_are_answered_one_a_line_and_in_python(learnt: Path, tmp_path: Path) -> None:
    import llmtrain

    rows = questions(4, 3, silent=True, asked="red")
    asked = [{name: row[name] for name in ("id", "context", "question")} for row in rows]
    (tmp_path / "more.json").write_text(json.dumps(squad(rows)))
    made = warm_cli("predict", f"checkpoint={learnt}", "predict.format=jsonl", cwd=tmp_path,
                    stdin="".join(json.dumps(row) + "\n" for row in asked))
    assert made.returncode == 0, made.stderr
    found = [json.loads(line) for line in made.stdout.splitlines()]
    assert [one["id"] for one in found] == [row["id"] for row in rows]
    for one, row in zip(found, rows, strict=True):
        assert one["start"] is None if not one["prediction"] else (
            row["context"][one["start"]:one["end"]] == one["prediction"])
    assert sum(one["prediction"] == "".join(answer["text"] for answer in row["answers"])
               for one, row in zip(found, rows, strict=True)) >= 3
    again = warm_cli("predict", f"checkpoint={learnt}", "input=more.json", cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    assert again.stdout.splitlines() == [one["prediction"] for one in found]
    model = llmtrain.load(learnt)
    assert model(asked) == [one["prediction"] for one in found]
    assert model.answers(asked[1]) == {name: value for name, value in found[1].items() if name != "id"}
    assert model({"context": " ", "question": "what"}) == ""
    alone = warm_cli("predict", f"checkpoint={learnt}", cwd=tmp_path, stdin="a text alone\n")
    assert alone.returncode == 2 and 'write {"context": ..., "question": ...}' in alone.stderr


def test_it_is_one_of_several_tasks_on_a_base(tiny_base: Path, tmp_path: Path) -> None:
    (tmp_path / "q.json").write_text(json.dumps(squad(questions(24, silent=True))))
    write_jsonl(tmp_path / "s.jsonl", pairs(24))
    own = "data: {train: q.json, validation: q.json, test: q.json, stride: 4, max_question_tokens: 8}"
    other = "data: {train: s.jsonl, validation: s.jsonl, test: s.jsonl}"
    made = warm_cli("train", "task=multi", f"model.path={tiny_base}", "data=files", "data.max_source_tokens=32",
                    f"task.tasks=[{{task: question_answering, {own}}}, {{task: summarization, {other}}}]",
                    "trainer.max_steps=3", "trainer.batch_size=8", f"data.cache_dir={tmp_path / 'cache'}",
                    "generation.max_new_tokens=4", "eval.bootstrap_samples=2", "run.name=run", cwd=tmp_path)
    assert made.returncode == 0, made.stderr
    log = lines(tmp_path / "runs/run/metrics.jsonl")
    assert all(row["loss.question_answering"] > 0 for row in log if row["split"] == "train")
    scored = warm_cli("eval", "checkpoint=runs/run", "task=question_answering", "eval.output=out", cwd=tmp_path)
    assert scored.returncode == 0, scored.stderr
    assert read(tmp_path / "out/results.json")["extras"]["no_answer_rows"] == 8


def test_data_show_tells_the_question_too(tmp_path: Path, tiny_base: Path) -> None:
    shown = warm_cli("data", "show", "task=question_answering", f"model.path={tiny_base}", "data=files",
                     *files(tmp_path), f"data.cache_dir={tmp_path / 'cache'}", "trainer.max_steps=1", "show.rows=1",
                     cwd=tmp_path)
    assert shown.returncode == 0, shown.stderr
    assert "question:  what is" in shown.stdout and "context:   The " in shown.stdout

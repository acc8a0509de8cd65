"""Several tasks learnt together: one trunk, a head each, from the command line to the published folder."""

from __future__ import annotations

import itertools
import os
import pickle
import random
import shutil
import subprocess
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from transformers import AutoModel

import llmtrain
import several
from articles import english
from helpers import environment, pairs, warm_cli, write_jsonl
from llmtrain.config.load import load_config
from llmtrain.config.run_id import run_hash
from llmtrain.config.schema import TrainConfig
from llmtrain.core.errors import ConfigError
from llmtrain.training.run_folder.fingerprints import fingerprints_of
from running import Runs, gradients, take
from several import read, rows_of
from stopping import same, stop_at
from warm.libraries import python

NUMBERS = itertools.count()  # of runs: random names repeat where a run seeds what draws them

SUMMARIES = "{task: summarization, name: write, head: {name: transformer, layers: 1}, data: {train: sum.jsonl, " \
            "validation: sum-held.jsonl, test: sum-held.jsonl}}"
SENTENCES = "{task: summarization, name: choose, lam: 0.5, head: {name: extractive, layers: 1}, data: {train: " \
            "sum.jsonl, validation: sum-held.jsonl, test: sum-held.jsonl, max_source_tokens: 24}}"
LABELS = "{task: classification, name: mood, data: {train: mood.jsonl, validation: mood-held.jsonl, test: " \
         "mood-held.jsonl}}"
TASKS = f"task.tasks=[{SUMMARIES}, {SENTENCES}, {LABELS}]"
STILL = ("optim.clip_norm=0", "optim.base_lr=0", "optim.head_lr=0", "optim.weight_decay=0", "model.dropout=0",
         "objective.mlm.fraction=0.6", "objective.mlm.warm_steps=0")


def moods(n: int, seed: int) -> list[dict[str, str]]:
    draw, rows = random.Random(seed), []
    for row in pairs(n, seed):
        label = draw.choice(["good", "bad"])
        rows.append({"id": f"m{row['id']}", "text": f"{'red' if label == 'good' else 'blue'} {row['document']}",
                     "label": label})
    return rows


def write_data(folder: Path) -> Path:
    for name, count, seed in (("sum", 24, 0), ("sum-held", 5, 1)):
        write_jsonl(folder / f"{name}.jsonl", english(count, seed))
    for name, count, seed in (("mood", 40, 2), ("mood-held", 8, 3)):
        write_jsonl(folder / f"{name}.jsonl", moods(count, seed))
    return folder


options, train = partial(several.options, tasks=TASKS), partial(several.train, tasks=TASKS)


@pytest.fixture(scope="module")
def place(tiny_base_mlm: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_data(tmp_path_factory.mktemp("multi"))
    made = train(tiny_base_mlm, folder, "model.dropout=0.1", "run.name=run")
    assert made.returncode == 0, made.stderr
    assert "objective: mlm + lambda * (write + 0.5 * choose + mood), lambda = 0.5" in made.stdout
    assert "task.mix=proportional, rows of an epoch: 24 of write (27.3%), 24 of choose (27.3%), 40 of mood" in (
        made.stdout)
    assert "task.tasks[1] (choose): head: extractive chooses sentences and writes nothing" in made.stdout
    return folder


def test_every_task_is_logged_scored_and_reported_under_its_name(place: Path) -> None:
    results, log = read(place / "runs/run/results.json"), rows_of(place / "runs/run/metrics.jsonl")
    told = [row for row in log if row["split"] == "validation"][-1]
    assert {"loss.mlm", "loss.write", "loss.choose", "loss.mood", "loss.total", "write.rouge1", "choose.rouge1",
            "mood.accuracy", "mood.macro_f1", "mean"} <= told.keys()
    assert told["mean"] == pytest.approx((told["write.rouge1"] + told["choose.rouge1"] + told["mood.accuracy"]) / 3)
    assert told["mean.low"] < told["mean"] < told["mean.high"]
    mean = results["metrics"]["test"]["mean"]
    firsts = [results["metrics"]["test"][name]["value"] for name in ("write.rouge1", "choose.rouge1", "mood.accuracy")]
    assert mean["value"] == pytest.approx(sum(firsts) / 3) and mean["low"] < mean["value"] < mean["high"]
    assert all(row["loss.mood"] > 0 and row["loss.choose"] > 0 for row in log)
    assert results["config"]["trainer"]["best_metric"] == "mean"
    for name in ("write.rouge1", "choose.rougeL", "mood.mcc"):
        task, _, metric = name.partition(".")
        one = results["metrics"]["test"][name]
        assert one == results["members"][task]["metrics"]["test"][metric] and one["low"] <= one["value"] <= one["high"]
    assert results["baselines"]["mood.most_frequent"] == results["members"]["mood"]["baselines"]["most_frequent"]
    assert results["rows"]["test"] == 18 and results["rows"]["whole"]["train"] == 88
    lines = rows_of(place / "runs/run/predictions.jsonl")
    assert [line["task"] for line in lines] == ["write"] * 5 + ["choose"] * 5 + ["mood"] * 8
    assert "probabilities" in lines[-1] and "document" in lines[0]
    shown = train(place, place, "run.name=other", tasks="task.tasks=[]")
    assert shown.returncode == 2
    assert not (place / "runs/other").exists()


def test_a_stopped_run_goes_on_bit_by_bit(place: Path, tiny_base_mlm: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stop_at(monkeypatch, 2)
    more = ("model.dropout=0.1", "run.name=stopped", "data.workers=1")
    assert train(tiny_base_mlm, place, *more).returncode == 143
    again = train(tiny_base_mlm, place, *more)
    assert again.returncode == 0 and "going on from step 2" in again.stdout, again.stderr
    same(place / "runs/run/checkpoints/step-4", place / "runs/stopped/checkpoints/step-4")
    assert read(place / "runs/stopped/results.json")["metrics"] == read(place / "runs/run/results.json")["metrics"]


@pytest.mark.parametrize("name", ["write", "choose", "mood"])
def test_each_task_is_scored_again_and_predicted_by_its_name(name: str, place: Path) -> None:
    scored = warm_cli("eval", "checkpoint=runs/run", f"task={name}", cwd=place)
    assert scored.returncode == 0, scored.stderr
    (folder,) = (place / "runs/run/eval").glob(f"*-{name}-test-*")
    results = read(place / "runs/run/results.json")
    assert read(folder / "results.json")["metrics"]["test"] == results["members"][name]["metrics"]["test"]
    held = rows_of(place / f"{'mood' if name == 'mood' else 'sum'}-held.jsonl")
    texts = [row["text" if name == "mood" else "document"] for row in held]
    wanted = [row["prediction"] for row in rows_of(place / "runs/run/predictions.jsonl") if row["task"] == name]
    made = warm_cli("predict", "checkpoint=runs/run", f"task={name}", cwd=place, stdin="\n".join(texts) + "\n")
    assert made.stdout.split("\n")[:-1] == wanted, made.stderr
    model = llmtrain.load(place / "runs/run", task=name)
    assert model(texts) == wanted and pickle.loads(pickle.dumps(model))(texts[0]) == wanted[0]


def test_which_task_is_meant_must_be_said(place: Path) -> None:
    for command in ("predict", "eval", "summarize"):
        for more, told in (((), "has learnt several tasks, write, choose, mood; name the one that is meant, task=NAME"),
                           (("task=moods",), "has learnt no task 'moods'; did you mean mood?"),
                           (("task=mood", "head=gru"), "head is fixed by the checkpoint")):
            refused = warm_cli(command, "checkpoint=runs/run", *more, cwd=place)
            assert (refused.returncode, refused.stderr.count("\n")) == (2, 1) and told in refused.stderr
    with pytest.raises(ConfigError, match="name the one that is meant"):
        llmtrain.load(place / "runs/run")
    with pytest.raises(ConfigError, match="writes no summaries"):
        llmtrain.Summarizer(place / "runs/run", task="mood")
    assert llmtrain.Summarizer(place / "runs/run", task="choose")("Graph tree. Red list.")
    shown = warm_cli("data", "show", "checkpoint=runs/run", "task=mood", "show.rows=1", cwd=place)
    assert shown.returncode == 0 and "text tokens" in shown.stdout, shown.stderr


def test_the_published_folder_is_one_model_of_transformers(place: Path) -> None:
    import llmtrain.hf  # noqa: F401

    model: Any = AutoModel.from_pretrained(place / "runs/run/checkpoints/step-4/model")
    assert sorted(model.names) == ["choose", "mood", "write"]
    assert model.of_task("mood").config.id2label == {0: "bad", 1: "good"}
    verified = warm_cli("verify", "runs/run", cwd=place)
    assert verified.returncode == 0 and "head several on bert" in verified.stdout


@pytest.fixture
def runs(tiny_base_mlm: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Runs]:
    write_data(tmp_path)
    monkeypatch.chdir(tmp_path)
    made = Runs(tiny_base_mlm, tmp_path)
    yield made
    made.close()


def config(runs: Runs, *more: str, tasks: str = TASKS) -> TrainConfig:
    return load_config("train", [*options(runs.base, runs.folder, *STILL, *more, tasks=tasks),
                                 f"run.name=m{next(NUMBERS)}"])


CALM = TASKS.replace("layers: 1}", "layers: 1, dropout: 0}").replace(
    "name: mood,", "name: mood, head: {name: classifier, dropout: 0},")


def test_a_step_is_the_same_in_micro_batches_and_each_term_that_of_its_task_alone(runs: Runs) -> None:
    whole, parts = (runs.build(config(runs, f"trainer.accumulate={count}", tasks=CALM)) for count in (1, 4))
    (one,), (four,) = take(whole), take(parts)
    assert four.losses == pytest.approx(one.losses, rel=1e-5)
    found, wanted = gradients(parts), gradients(whole)
    assert found.keys() == wanted.keys()
    assert all(torch.allclose(found[name], wanted[name], atol=2e-6, rtol=2e-4) for name in wanted)

    batch = whole.to_device(next(whole.data.loader.iterate(0)).micro[0])
    with torch.no_grad():
        sums, counts = whole.model.module(batch, 0), whole.model.module.counts(batch)
        alone = {}
        for name, rows in batch["parts"].items():
            model = whole.model.task_model.of_task(name)
            alone[name] = model.task_nll(model.read(rows), rows)
            assert int(counts[name]) == int(model.task_count(rows)) == int(alone[name][1])
    assert {name: float(value[0]) for name, value in alone.items()} == pytest.approx(
        {name: float(sums[name]) for name in alone}, rel=1e-6)
    assert int(counts["mlm"]) == sum(int((rows["mlm_labels"] != -100).sum()) for rows in batch["parts"].values())


def test_two_processes_take_the_steps_of_one(runs: Runs) -> None:
    more = (*STILL, "eval.baselines=false", "data.max_test_rows=0", "trainer.log_every=1", "trainer.max_steps=2")
    made = train(runs.base, runs.folder, *more, "run.name=one", tasks=CALM)
    assert made.returncode == 0, made.stderr
    port = 20000 + os.getpid() % 20000
    words = ["-m", "llmtrain", "train", *options(runs.base, runs.folder, *more, "run.name=two", tasks=CALM)]
    ranks = [subprocess.Popen([python(), *words], cwd=runs.folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              text=True, env=environment({"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2",
                                                          "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port),
                                                          "ACCELERATE_USE_CPU": "true"})) for rank in range(2)]
    told = [rank.communicate(timeout=300)[0] for rank in ranks]
    assert [rank.returncode for rank in ranks] == [0, 0], "\n".join(told)[-3000:]
    logs = [rows_of(runs.folder / f"runs/{name}/metrics.jsonl") for name in ("one", "two")]
    for one, two in zip(*logs, strict=True):
        assert one.keys() == two.keys() and one["split"] == two["split"]
        told = [key for key in one if key != "split" and not key.startswith("time.")]
        assert {key: two[key] for key in told} == pytest.approx({key: one[key] for key in told}, rel=1e-4)


@pytest.mark.parametrize("more", [
    ("precision=fp16", "objective.weighting=gradnorm"), ("precision=bf16", "objective.weighting=pcgrad"),
    ("objective.base=none", "objective.weighting=famo", "task.mix=even"),
    ("objective.weighting=linear", "objective.lam_start=2", "objective.lam_steps=2", "probe.every=1"),
    ("objective.weighting=step", "objective.step.steps=1", "task.mix=temperature"),
    ("tuning=lora", "objective.base=denoise", "optim.ema_decay=0.5"),
    ("objective.lam=null", "optim.average_last=2")], ids=str)
def test_it_goes_with_every_way_to_train(more: tuple[str, ...], tiny_base_mlm: Path, tmp_path: Path) -> None:
    made = train(tiny_base_mlm, write_data(tmp_path), *more, "trainer.max_steps=3", "run.name=run",
                 "trainer.log_every=1")
    assert made.returncode == 0, made.stderr
    log = rows_of(tmp_path / "runs/run/metrics.jsonl")
    if "objective.weighting=linear" in more:
        first = next(row for row in log if row["split"] == "train")
        assert [first[f"weight.{name}"] for name in ("write", "choose", "mood")] == [2, 1, 2]
        probed = next(row for row in log if row["split"] == "probe")
        assert {"probe.write.norm", "probe.cosine.choose.mood"} <= probed.keys()
    if "objective.lam=null" in more:
        assert read(tmp_path / "runs/run/results.json")["losses"]["test"]["loss.mlm"] > 0
    else:
        assert read(tmp_path / "runs/run/results.json")["metrics"]["test"]["mood.accuracy"]["value"] >= 0


def test_a_run_is_named_by_what_lies_at_its_tasks_paths(tiny_base_mlm: Path, tmp_path: Path,
                                                        monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(write_data(tmp_path))
    (tmp_path / "moved").mkdir()
    shutil.copy("mood.jsonl", "moved/mood.jsonl")

    def hashed(tasks: str, *more: str) -> str:
        made = load_config("train", options(tiny_base_mlm, tmp_path, *more, tasks=tasks))
        made.fingerprints = fingerprints_of(made)[0]
        return run_hash(made)

    first = hashed(TASKS)
    assert hashed(TASKS.replace("train: mood.jsonl", "train: moved/mood.jsonl")) == first
    assert hashed(TASKS.replace("{task: classification,", "{task: {name: classification}, lam: 1.0,")) == first
    assert hashed(TASKS, "task.temperature=3") == first
    write_jsonl(tmp_path / "mood.jsonl", moods(39, 2))
    assert hashed(TASKS) != first
    others = {hashed(TASKS.replace("lam: 0.5", "lam: 0.4")), hashed(TASKS, "task.mix=even"),
              hashed(TASKS, "task.mix=temperature"), hashed(TASKS.replace("name: mood", "name: moods")),
              hashed(TASKS, "data.max_source_tokens=39"), hashed(TASKS.replace("layers: 1", "layers: 2"))}
    assert len(others) == 6 and first not in others


def test_the_list_may_stand_in_a_file_and_takes_the_runs_own_keys(tiny_base_mlm: Path, tmp_path: Path,
                                                                  monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(write_data(tmp_path))
    listed = [{"task": "summarization", "data": {"train": "sum.jsonl", "max_summary_tokens": 9},
               "generation": {"num_beams": 2}}, {"task": {"name": "classification", "multi_label": False},
                                                 "data": {"train": "mood.jsonl"}, "head": "classifier"}]
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump({"defaults": [{"override /task": "multi"}],
                                                        "task": {"tasks": listed}, "data": {"max_source_tokens": 33}}))
    made: Any = load_config("train", ["+experiment=mine.yaml", f"model.path={tiny_base_mlm}",
                                      "generation.max_new_tokens=5"])
    from llmtrain.config.members import members_of

    first, second = members_of(made)
    assert (first.name, first.lam, second.name) == ("summarization", 1.0, "classification")
    assert (first.config.data.max_source_tokens, first.config.data.max_target_tokens) == (33, 9)
    assert (first.config.generation.num_beams, first.config.generation.max_new_tokens) == (2, 5)
    assert second.config.generation.num_beams == 1 and first.config.head.name == "transformer"
    assert made.head.heads.keys() == {"summarization", "classification"} and made.objective.base == "mlm"


A, B = "{task: summarization, data: {train: sum.jsonl}}", "{task: classification, data: {train: mood.jsonl}}"


@pytest.mark.parametrize(("tasks", "more", "told"), [
    ("[]", (), "task=multi learns several tasks and task.tasks has none; list two or more"),
    (f"[{A}]", (), "task.tasks has 1; list two or more, task=summarization learns it alone"),
    (f"[{A}, {A}]", (), "2 entries of task.tasks are named summarization; give each a name of its own"),
    (f"[{A}, {{task: speling}}]", (), "task.tasks[1].task: unknown task 'speling'"),
    (f"[{A}, {{task: classificaton}}]", (), "did you mean 'classification'?"),
    (f"[{A}, {{task: multi}}]", (), "task.tasks[1].task=multi is several tasks itself"),
    (f"[{A}, {{data: {{train: x}}}}]", (), "task.tasks[1] names no task; write {task: NAME, data: {...}}"),
    (f"[{A}, classification]", (), "task.tasks[1]='classification' is no task"),
    (f"[{A}, 3]", (), "task.tasks[1]=3 is no task"),
    (f"[{A}, {{task: classification, date: {{}}}}]", (), "unknown key task.tasks[1].date; did you mean data?"),
    (f"[{A}, {{task: classification, lam: -1}}]", (), "task.tasks[1].lam=-1 is no weight; give a number, 0 or more"),
    (f"[{A}, {{task: classification, lam: null}}]", (), "task.tasks[1].lam=null is no weight"),
    (f"[{A}, {{task: classification, lam: much}}]", (), "task.tasks[1].lam=much is no weight"),
    (f"[{A}, {{task: classification, lam: true}}]", (), "task.tasks[1].lam=True is no weight"),
    (f"[{A[:-1]}, lam: 0}}, {B[:-1]}, lam: 0}}]", (), "every lam of task.tasks is 0"),
    (f"[{A}, {{task: classification, name: 3}}]", (), "task.tasks[1].name=3 is no name"),
    (f"[{A}, {{task: classification, name: a.b}}]", (), "task.tasks[1].name=a.b is no name"),
    (f"[{A}, {{task: classification, name: mlm}}]", (), "task.tasks[1].name=mlm is what something else is called"),
    (f"[{A}, {{task: classification, name: total}}]", (), "task.tasks[1].name=total is what something else"),
    (f"[{A}, {{task: classification, data: {{document: x}}}}]", (),
     "task.tasks[1].data.document is a key of task=summarization and the task there is classification"),
    (f"[{A}, {{task: classification, eval: {{lead: 3}}}}]", (), "task.tasks[1].eval.lead is a key of task=summ"),
    (f"[{A}, {{task: classification, data: {{labl: x}}}}]", (),
     "unknown key task.tasks[1].data.labl; did you mean task.tasks[1].data.label?"),
    (f"[{A}, {{task: classification, data: x.jsonl}}]", (), "unknown"),
    (f"[{A}, {{task: classification, data: [x]}}]", (), "task.tasks[1].data=['x'] is no group of keys"),
    (f"[{A}, {{task: classification, data: {{max_source_tokens: 0}}}}]", (),
     "task.tasks[1].data.max_source_tokens=0 must be more than 0"),
    (f"[{A}, {{task: classification, data: {{max_source_tokens: many}}}}]", (),
     "task.tasks[1].data.max_source_tokens='many' is not a whole number"),
    (f"[{A}, {{task: classification, data: {{name: files}}}}]", (),
     "task.tasks[1] (classification): data=files needs data.train"),
    (f"[{A}, {{task: classification, data: {{name: hub}}}}]", (),
     "task.tasks[1] (classification): data=hub needs data.hub.name"),
    (f"[{A}, {{task: classification, data: {{preprocess: [lowercse]}}}}]", (), "did you mean 'lowercase'?"),
    (f"[{A}, {{task: classification, head: classifer}}]", (), "task.tasks[1].head: unknown head 'classifer'"),
    (f"[{A}, {{task: classification, head: gru}}]", (),
     "task.tasks[1] (classification): head=gru (seq2seq) makes nothing that task=classification asks for"),
    (f"[{A[:-1]}, head: classifier}}, {B}]", (), "task.tasks[0] (summarization): head=classifier"),
    (f"[{A[:-1]}, head: {{name: transformer, layres: 2}}}}, {B}]", (), "did you mean task.tasks[0].head.layers?"),
    (f"[{A[:-1]}, head: {{name: transformer, layers: 0}}}}, {B}]", (),
     "task.tasks[0].head.layers=0 must be more than 0"),
    (f"[{A[:-1]}, generation: {{num_beams: 0}}}}, {B}]", (), "task.tasks[0].generation.num_beams=0 must be more than"),
    (f"[{A[:-1]}, generation: {{min_new_tokens: 99}}}}, {B}]", (), "task.tasks[0] (summarization): generation.min_new"),
    (f"[{A}, {{task: {{name: classification, threshold: 0.4}}}}]", (), "task.threshold=0.4 is of task.multi_label"),
    (f"[{A}, {{task: {{name: classification, multi: 1}}}}]", (), "unknown key task.tasks[1].task.multi"),
    (f"[{A}, {B}]", ("data.train=x.jsonl",), "data.train belongs to a task here"),
    (f"[{A}, {B}]", ("data.document=x",), "data.document is a key of task=summarization and task is multi"),
    (f"[{A}, {B}]", ("head=gru",), "head=gru (seq2seq) makes nothing that task=multi asks for; use a head of several"),
    (f"[{A}, {B}]", ("objective.base=select",),
     "task.tasks[1] (classification): the objective select reads targets as texts"),
    (f"[{A}, {B}]", ("trainer.best_metric=accuracy",), "choose from mean, summarization.rouge1"),
    (f"[{A}, {B}]", ("task.mix=evenly",), "task.mix=evenly is not one of proportional, temperature, even"),
    (f"[{A}, {B}]", ("task.mix=temperature", "task.temperature=0.5"), "task.temperature=0.5 must be 1 or more"),
    (f"[{A}, {B}]", ("data.long=select_then_write", "data.selector=runs/run"), "puts another model in front of"),
    (f"[{A[:-2]}, long: sliding}}}}, {B}]", (), "data.long is how the base reads and task.tasks has sliding and"),
    (f"[{A[:-2]}, unlabelled: sum.jsonl}}}}, {B}]", (), "data.unlabelled goes with one task alone"),
    (f"[{A}, {{task: {{name: classification, native: true}}, data: {{train: mood.jsonl}}}}]", (),
     "task.tasks[1] (classification): task.native=true publishes a plain model of one task; leave it out"),
    (f"[{A}, {{task: classification, data: {{train: none.jsonl}}}}]", (),
     "no data file at none.jsonl; check data.train"),
    (f"[{A}, {{task: classification, data: {{train: sum.jsonl}}}}]", (), "task.tasks[1] (classification): bad row")])
def test_what_cannot_be_learnt_together_is_one_line(tasks: str, more: tuple[str, ...], told: str, place: Path,
                                                    tiny_base_mlm: Path) -> None:
    refused = train(tiny_base_mlm, place, *more, "run.name=refused", tasks=f"task.tasks={tasks}")
    assert refused.returncode == 2 and told in refused.stderr, refused.stderr
    assert "Traceback" not in refused.stderr and not (place / "runs/refused").exists()


def test_all_that_is_wrong_is_told_at_once(place: Path, tiny_base_mlm: Path) -> None:
    tasks = "task.tasks=[{task: sumarization}, {task: classification, lam: -1, data: {txt: x}}, {name: a}]"
    refused = train(tiny_base_mlm, place, "run.name=refused", tasks=tasks)
    assert (refused.returncode, refused.stderr.count("\n")) == (2, 4), refused.stderr


def test_several_tasks_are_not_keys_of_one(place: Path) -> None:
    for overrides, told in ((["task.tasks=[{task: summarization}]"], "task.tasks is a key of task=multi and task is"),
                            (["task.mix=even"], "task.mix is a key of task=multi"),
                            (["head=several"], "head=several (several_heads) makes nothing that task=summarization")):
        refused = warm_cli("train", *overrides, "trainer.max_steps=1", cwd=place)
        assert (refused.returncode, refused.stderr.count("\n")) == (2, 1) and told in refused.stderr
    scored = warm_cli("eval", "task=multi", "predictions=x.txt", cwd=place)
    assert (scored.returncode, scored.stderr.count("\n")) == (2, 1)
    assert "is several tasks; name the one" in scored.stderr
    listed = warm_cli("data", "show", *options(place, place)[:2], "show.rows=1", cwd=place)
    assert listed.returncode == 0 and "mood:" in listed.stdout and "write:" in listed.stdout, listed.stderr

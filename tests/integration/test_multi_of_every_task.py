"""All shipped tasks learnt together: what each brings of its own (labels, a vocabulary, windows) stays its own."""

from __future__ import annotations

import itertools
import json
from functools import partial
from pathlib import Path

import pytest
import torch

import llmtrain
import several
from cards import check_card
from helpers import warm_cli, write_jsonl
from llmtrain.config.load import load_config
from llmtrain.config.members import members_of
from llmtrain.config.schema import TrainConfig
from running import Runs, gradients, take
from several import read, rows_of
from stopping import same, stop_at
from task_rows import ROWS

NUMBERS = itertools.count()  # of runs: random names repeat where a run seeds what draws them

OWN = {"summarization": "max_summary_tokens: 8", "translation": "max_target_tokens: 12, target_vocabulary: 300",
       "classification": "on_bad_row: error",
       "question_answering": "max_answer_tokens: 8, max_question_tokens: 12, stride: 4, max_source_tokens: 20"}
ENTRIES = {name: f"{{task: {name}, data: {{train: {name}.jsonl, validation: {name}-held.jsonl, "
                 f"test: {name}-held.jsonl, {own}}}}}" for name, own in OWN.items()}
TASKS = f"task.tasks=[{', '.join(ENTRIES.values())}]"


def write_data(folder: Path) -> Path:
    for name in OWN:
        write_jsonl(folder / f"{name}.jsonl", ROWS[name](24, 0))
        write_jsonl(folder / f"{name}-held.jsonl", ROWS[name](4, 1))
    return folder


options, train = partial(several.options, tasks=TASKS), partial(several.train, tasks=TASKS)


@pytest.fixture(scope="module")
def place(tiny_base_mlm: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_data(tmp_path_factory.mktemp("every"))
    made = train(tiny_base_mlm, folder, "model.dropout=0.1", "run.name=run")
    assert made.returncode == 0, made.stderr
    assert check_card(folder / "runs/run", folder).data.pipeline_tag is None
    assert set(ROWS) == set(OWN), "another task is shipped: it belongs into this file"
    return folder


@pytest.mark.parametrize("name", OWN)
def test_each_is_scored_again_and_answers_alike(name: str, place: Path) -> None:
    scored = warm_cli("eval", "checkpoint=runs/run", f"task={name}", cwd=place)
    assert scored.returncode == 0, scored.stderr
    (folder,) = (place / "runs/run/eval").glob(f"*-{name}-test-*")
    results = read(place / "runs/run/results.json")
    assert read(folder / "results.json")["metrics"]["test"] == results["members"][name]["metrics"]["test"]
    wanted = [row["prediction"] for row in rows_of(place / "runs/run/predictions.jsonl") if row["task"] == name]
    made = warm_cli("predict", "checkpoint=runs/run", f"task={name}", f"input={name}-held.jsonl",
                    "predict.format=jsonl", cwd=place)
    assert [json.loads(line)["prediction"] for line in made.stdout.splitlines()] == wanted, made.stderr
    rows = rows_of(place / f"{name}-held.jsonl")
    columns = {"question_answering": ("context", "question"), "summarization": ("document",),
               "translation": ("source",), "classification": ("text",)}[name]
    asked = [{column: row[column] for column in columns} for row in rows]
    assert llmtrain.load(place / "runs/run", task=name)(asked) == wanted


def test_a_stopped_run_goes_on_bit_by_bit(place: Path, tiny_base_mlm: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stop_at(monkeypatch, 2)
    more = ("model.dropout=0.1", "run.name=stopped")
    assert train(tiny_base_mlm, place, *more).returncode == 143
    again = train(tiny_base_mlm, place, *more)
    assert again.returncode == 0 and "going on from step 2" in again.stdout, again.stderr
    for step in (2, 4):  # a threshold is chosen once the stop is over, and the step has it all the same
        same(place / f"runs/run/checkpoints/step-{step}", place / f"runs/stopped/checkpoints/step-{step}")
    assert read(place / "runs/stopped/results.json")["metrics"] == read(place / "runs/run/results.json")["metrics"]


def test_weights_go_on_with_the_vocabulary_that_they_write_in(place: Path, tiny_base_mlm: Path) -> None:
    (place / "other.jsonl").write_text("".join(
        json.dumps(row | {"target": row["target"].upper()}) + "\n" for row in ROWS["translation"](24, 0)))
    other = TASKS.replace("train: translation.jsonl", "train: other.jsonl")
    more = ("trainer.max_steps=1", "eval.baselines=false")
    made = train(tiny_base_mlm, place, *more, "model.init_from=runs/run", "run.name=goes-on", tasks=other)
    assert made.returncode == 0 and "tokens, those of the model at" in made.stdout, made.stderr
    made = train(tiny_base_mlm, place, *more, "run.name=its-own", tasks=other)
    (folder,) = (place / "runs/its-own/checkpoints").glob("step-1/model/target_tokenizer/translation")
    named = other.replace("target_vocabulary: 300", f"target_tokenizer: {folder}")
    refused = train(tiny_base_mlm, place, *more, "model.init_from=runs/run", "run.name=refused", tasks=named)
    assert (refused.returncode, refused.stderr.count("\n")) == (2, 1) and "in another target vocabulary" in (
        refused.stderr)


STILL = ("optim.clip_norm=0", "optim.base_lr=0", "optim.head_lr=0", "optim.weight_decay=0", "model.dropout=0",
         "objective.mlm.fraction=0.6", "objective.mlm.warm_steps=0")
HEADS = {"summarization": "transformer, layers: 1", "translation": "transformer, layers: 1",
         "classification": "classifier", "question_answering": "span"}
CALM = "task.tasks=[" + ", ".join(
    entry.replace("data: {", f"head: {{name: {HEADS[name]}, dropout: 0}}, data: {{", 1)
    for name, entry in ENTRIES.items()) + "]"


def test_a_step_is_the_same_in_micro_batches(tiny_base_mlm: Path, tmp_path: Path,
                                             monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(write_data(tmp_path))
    runs = Runs(tiny_base_mlm, tmp_path)

    def config(count: int) -> TrainConfig:
        return load_config("train", [*options(tiny_base_mlm, tmp_path, *STILL, f"trainer.accumulate={count}",
                                              tasks=CALM), f"run.name=m{next(NUMBERS)}"])

    try:
        whole, parts = (runs.build(config(count)) for count in (1, 4))
        (one,), (four,) = take(whole), take(parts)
        assert four.losses == pytest.approx(one.losses, rel=1e-5)
        found, wanted = gradients(parts), gradients(whole)
        assert found.keys() == wanted.keys()
        assert all(torch.allclose(found[name], wanted[name], atol=2e-6, rtol=2e-4) for name in wanted)
    finally:
        runs.close()


def test_what_an_entry_leaves_out_of_decoding_is_its_tasks_and_then_the_runs(
        tiny_base_mlm: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(write_data(tmp_path))

    def decoding(entry: str, *more: str) -> tuple[int, int, int]:
        tasks = f"task.tasks=[{ENTRIES['summarization']}, {entry}]"
        config = load_config("train", ["task=multi", tasks, f"model.path={tiny_base_mlm}", *more])
        first, last = (member.config.generation for member in members_of(config))
        assert (first.max_new_tokens, first.no_repeat_ngram_size) == ((4 if more else 32), 3)
        return last.num_beams, last.max_new_tokens, last.no_repeat_ngram_size

    entry = ENTRIES["translation"]
    assert decoding(entry) == (1, 64, 0), "as task=translation alone decodes"
    assert decoding(entry, "generation.max_new_tokens=4") == (1, 4, 0)
    own = entry[:-1] + ", generation: {max_new_tokens: 9}}"
    assert decoding(own, "generation.max_new_tokens=4") == (1, 9, 0)
    assert decoding(entry[:-1] + ", generation: beam5}", "generation.max_new_tokens=4") == (5, 64, 0)
    with pytest.raises(llmtrain.core.errors.ConfigError, match=r"generation=beam7 is no way of decoding; did you mean"):
        decoding(entry[:-1] + ", generation: beam7}")

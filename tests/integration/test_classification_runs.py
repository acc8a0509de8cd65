"""Classification by the commands: trained, stopped and resumed, scored, verified, on every kind of base and term."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from cards import check_card
from helpers import make_tiny_base, warm_cli, write_jsonl
from labelled import arguments, coloured, many_coloured, place_rows, train
from stopping import same, stop_at

ALONE = "objective=task_only"
CASES = [
    ("bert", "bf16", ()),
    ("bert", "fp16", ("objective.base=denoise", "trainer.accumulate=2", "head.pooling=attention")),
    ("bert", "fp32", ("objective.weighting=pcgrad", "head.hidden=16", "head.class_weights=balanced")),
    ("bert", "fp32", (ALONE, "tuning=lora", "tuning.rank=2", "head.pooling=first")),
    ("llama", "fp32", ("objective.base=clm", "head.pooling=last", "head.label_smoothing=0.1")),
    ("gpt2", "bf16", (ALONE, "optim.ema_decay=0.5")),
    ("roberta", "fp16", (ALONE, "precision.init_scale=4294967296.0", "model.dropout=0.1")),
]


def read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def rows_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return place_rows(tmp_path, coloured(40), coloured(12, 1))


@pytest.mark.parametrize(("kind", "precision", "options"), CASES, ids=str)
def test_runs_resume_bitwise_and_score_alike(kind: str, precision: str, options: tuple[str, ...], place: Path,
                                             monkeypatch: pytest.MonkeyPatch) -> None:
    base = make_tiny_base(place / "base", kind, mlm=True)
    more = (f"precision={precision}", *options)
    straight = train(place, base, *more, run="straight")
    assert straight.returncode == 0, straight.stderr
    stop_at(monkeypatch, 2)
    assert train(place, base, *more, run="stopped").returncode == 143
    resumed = train(place, base, *more, run="stopped")
    assert resumed.returncode == 0, resumed.stderr
    same(*(place / f"runs/{name}/checkpoints/step-4" for name in ("straight", "stopped")))

    results = read(place / "runs/straight/results.json")
    effective = {"bf16": "bfloat16", "fp16": "float16", "fp32": "float32"}[precision]
    assert (results["task"], results["precision"]["effective"]) == ("classification", effective)
    if "precision.init_scale=4294967296.0" in options:
        assert results["skipped_steps"] > 0
    assert list(results["metrics"]["test"]) == ["accuracy", "macro_f1", "mcc", "ece"]
    assert results["baselines"]["most_frequent"]["accuracy"]["value"] > 0
    assert check_card(place / "runs/straight", place).data.pipeline_tag == "text-classification"
    assert [row["label"] for row in results["tables"]["per_label"]] == ["blue", "green", "red"]
    scored = warm_cli("eval", "checkpoint=runs/straight", "eval.output=scored", cwd=place)
    assert scored.returncode == 0, scored.stderr
    assert read(place / "scored/results.json")["metrics"]["test"] == results["metrics"]["test"]
    whole = warm_cli("verify", "runs/straight", cwd=place)
    assert whole.returncode == 0 and "good for resume, run.extend_from, eval" in whole.stdout, whole.stderr


def test_a_run_learns_its_labels_and_tells_them(place: Path, tiny_base: Path) -> None:
    place_rows(place, coloured(200), [*coloured(20, 1), {"id": "odd", "text": "a pink table", "label": "pink"}])
    made = train(place, tiny_base, ALONE, "trainer.max_steps=80", "optim.base_lr=3e-3", "optim.head_lr=1e-2",
                 "trainer.eval_every=40", "head.dropout=0")
    assert made.returncode == 0, made.stderr
    results, rows = read(place / "runs/run/results.json"), rows_of(place / "runs/run/predictions.jsonl")
    assert results["metrics"]["test"]["accuracy"]["value"] == pytest.approx(100 * 20 / 21)
    assert rows[0].keys() >= {"id", "text", "label", "prediction", "accuracy", "probabilities"}
    assert sum(rows[0]["probabilities"].values()) == pytest.approx(1, abs=1e-5)
    assert re.search(r"3 labels of 200 training rows: 'blue' \d+, 'green' \d+, 'red' \d+", made.stdout)
    assert "1 of 21 rows of test have labels that no training row has ('pink'), the first at row 'odd'" in made.stdout
    assert "per label" in made.stdout and "confusion" in made.stdout and "most frequent label" in made.stdout
    assert "gives labels and writes nothing" in made.stdout and "micro F1" not in made.stdout
    again = warm_cli(*arguments(tiny_base, ALONE, "trainer.max_steps=80", "optim.base_lr=3e-3", "optim.head_lr=1e-2",
                                "trainer.eval_every=40", "head.dropout=0"), cwd=place)
    assert again.returncode == 0 and "per label" in again.stdout, again.stderr
    held = write_jsonl(place / "other.jsonl", [{"text": "a red table", "label": "violet"}])
    scored = warm_cli("eval", "checkpoint=runs/run", f"data.test={held}", "eval.output=out", cwd=place)
    assert scored.returncode == 0 and "labels that no training row has ('violet')" in scored.stderr, scored.stderr


def test_pairs_are_read_together(tmp_path: Path, tiny_base_mlm: Path) -> None:
    rows = [{"text": " ".join(row["text"].split()[:4]), "other": " ".join(other["text"].split()[-3:]),
             "label": row["label"] == other["label"]}
            for row, other in zip(coloured(40), coloured(40, 5), strict=True)]
    place_rows(tmp_path, rows, rows[:10])
    made = train(tmp_path, tiny_base_mlm, "data.text_pair=other", "objective.mlm.fraction=0.5")
    assert made.returncode == 0, made.stderr
    row = rows_of(tmp_path / "runs/run/predictions.jsonl")[0]
    assert (row["text_pair"], row["label"] in ("true", "false")) == (rows[0]["other"], True)
    assert "'false'" in made.stdout and "text_pair: " in made.stdout
    write_jsonl(tmp_path / "more.jsonl", [{"text": row["text"] + " of" * 9, "other": "a"} for row in coloured(20, 3)])
    beside = train(tmp_path, tiny_base_mlm, "data.text_pair=other", "data.unlabelled=more.jsonl", run="beside")
    assert beside.returncode == 0, beside.stderr
    told = warm_cli("eval", "checkpoint=runs/run", "eval.output=out", cwd=tmp_path)
    assert told.returncode == 0, told.stderr
    assert read(tmp_path / "out/results.json")["metrics"]["test"] == (
        read(tmp_path / "runs/run/results.json")["metrics"]["test"])


@pytest.mark.parametrize("threshold", [(), ("task.threshold=0.3",)], ids=["tuned", "given"])
def test_several_labels_a_row_and_the_threshold_that_gives_them(threshold: tuple[str, ...], tmp_path: Path,
                                                                tiny_base: Path,
                                                                monkeypatch: pytest.MonkeyPatch) -> None:
    place_rows(tmp_path, many_coloured(60), many_coloured(20, 1))
    more = ("task.multi_label=true", "trainer.best_metric=micro_f1", "head.class_weights=balanced", *threshold)
    made = train(tmp_path, tiny_base, *more)
    assert made.returncode == 0, made.stderr
    results, rows = read(tmp_path / "runs/run/results.json"), rows_of(tmp_path / "runs/run/predictions.jsonl")
    assert list(results["metrics"]["test"]) == ["accuracy", "macro_f1", "micro_f1"]
    told = re.search(r"labels of (0\.\d+) or more", results["signature"])
    assert told is not None and (not threshold or told[1] == "0.3")
    assert all(json.loads(row["prediction"]) == [
        label for label, chance in row["probabilities"].items() if chance >= float(told[1])] for row in rows)
    assert isinstance(rows[0]["label"], list) and "confusion" not in results["tables"]
    scored = warm_cli("eval", "checkpoint=runs/run", "eval.output=out", cwd=tmp_path)
    assert scored.returncode == 0, scored.stderr
    assert read(tmp_path / "out/results.json")["metrics"]["test"] == results["metrics"]["test"]
    own = warm_cli("eval", "task=classification", "data=files", "data.test=held.jsonl", "eval.output=own",
                   "predictions=runs/run/predictions.jsonl", "eval.bootstrap_samples=20", cwd=tmp_path)
    assert own.returncode == 0, own.stderr
    assert read(tmp_path / "own/results.json")["metrics"]["test"] == results["metrics"]["test"]
    stop_at(monkeypatch, 2)
    assert train(tmp_path, tiny_base, *more, run="stopped").returncode == 143
    assert train(tmp_path, tiny_base, *more, run="stopped").returncode == 0
    same(*(tmp_path / f"runs/{name}/checkpoints/step-4" for name in ("run", "stopped")))


def test_a_base_that_was_trained_alone_starts_a_classifier(place: Path, tiny_base_mlm: Path) -> None:
    alone = train(place, tiny_base_mlm, "objective=base_only", run="alone")
    assert alone.returncode == 0, alone.stderr
    made = train(place, tiny_base_mlm, "model.init_from=runs/alone", run="then")
    assert made.returncode == 0, made.stderr
    further = train(place, tiny_base_mlm, "model.init_from=runs/then", run="further")
    assert further.returncode == 0, further.stderr


def test_unlabelled_texts_train_the_base_beside(place: Path, tiny_base_mlm: Path) -> None:
    write_jsonl(place / "more.jsonl", [{"text": row["text"]} for row in coloured(20, 3)])
    made = train(place, tiny_base_mlm, "data.unlabelled=more.jsonl", "data.unlabelled_share=0.5")
    assert made.returncode == 0, made.stderr
    assert "20 documents of data.unlabelled" in made.stdout


def test_two_training_steps_are_told_by_data_show(place: Path, tiny_base: Path) -> None:
    shown = warm_cli("data", "show", "task=classification", "data=files", "data.train=train.jsonl",
                     "data.validation=held.jsonl", "data.test=held.jsonl", f"model.path={tiny_base}",
                     "data.max_source_tokens=32", "show.rows=1", cwd=place)
    assert shown.returncode == 0, shown.stderr
    assert re.search(r"^text: +\w", shown.stdout, re.M) and re.search(r"^label: +\w", shown.stdout, re.M)


def test_files_of_predictions_are_scored_with_whatever_they_tell(place: Path) -> None:
    held = coloured(12, 1)
    right = [{"id": row["id"], "label": row["label"], "prediction": row["label"], "probabilities": {row["label"]: 0.75}}
             for row in held[::-1]]
    wanted = {"accuracy": 100, "macro_f1": 100, "mcc": 100, "ece": 0.25}

    def scored(file: str, *more: str) -> dict[str, float]:
        done = warm_cli("eval", "task=classification", "data=files", "data.test=held.jsonl", f"predictions={file}",
                        "eval.output=out", *more, cwd=place)
        assert done.returncode == 0, done.stderr
        results = read(place / "out/results.json")
        assert results["signature"].startswith("labels by name; predictions from ")
        return {name: found["value"] for name, found in results["metrics"]["test"].items()}

    write_jsonl(place / "p.jsonl", right)
    assert scored("p.jsonl") == pytest.approx(wanted)
    (place / "p.csv").write_text("id,prediction,probabilities\n" + "".join(
        f'{row["id"]},{row["prediction"]},"{json.dumps(row["probabilities"]).replace(chr(34), chr(34) * 2)}"\n'
        for row in right))
    assert scored("p.csv") == pytest.approx(wanted)
    (place / "p.txt").write_text("".join(f"{row['label']}\n" for row in held))
    assert scored("p.txt") == pytest.approx({name: value for name, value in wanted.items() if name != "ece"})
    write_jsonl(place / "held.jsonl", [{"id": row["id"], "text": row["text"], "label": index % 2}
                                       for index, row in enumerate(held)])
    write_jsonl(place / "p.jsonl", [{"id": row["id"], "prediction": float(index % 2)}
                                    for index, row in enumerate(held)])
    assert scored("p.jsonl")["accuracy"] == 100

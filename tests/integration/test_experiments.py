"""Every shipped experiment trains: its own parts and options, on a tiny base of its base's kind and a few rows."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from combinations import Bench
from helpers import warm_cli
from llmtrain.config.compose import config_dir
from llmtrain.config.load import load_config
from llmtrain.config.members import members_of
from llmtrain.config.schema import TrainConfig
from task_rows import ROWS, SMALL

EXPERIMENTS = sorted(path.stem for path in (config_dir() / "experiment").glob("*.yaml"))
KINDS = {"smollm2": "llama", "gpt2": "gpt2", "roberta_base": "roberta", "distilbert": "distilbert"}  # else a BERT


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return Bench(tmp_path_factory.mktemp("experiments"))


def data_of(config: TrainConfig, folder: Path) -> list[str]:
    """Overrides that give an experiment a few rows; of several tasks, files where its own list looks for them."""
    rows = folder / config.task.name
    if not members_of(config)[0].name:
        return ["data=files", f"data.train={rows}.jsonl", f"data.validation={rows}-held.jsonl",
                f"data.test={rows}-held.jsonl", "data.validation_from_train=null", *SMALL.get(config.task.name, ())]
    for member in members_of(config):
        for split in ("train", "validation", "test"):
            if (file := getattr(member.config.data, split)) is not None:
                count = 4 if split != "train" else 24 + (member.config.data.validation_from_train or 0)
                (folder / "several" / file).parent.mkdir(parents=True, exist_ok=True)
                (folder / "several" / file).write_bytes(gzip.compress("".join(
                    json.dumps(row) + "\n" for row in ROWS[member.config.task.name](count, len(split))).encode()))
    return [f"data.folder={folder / 'several'}", "data.max_validation_rows=4"]


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_an_experiment_trains(name: str, bench: Bench) -> None:
    config = load_config("train", [f"+experiment={name}"])
    base = bench.base(KINDS.get(config.model.name, "bert"))
    ended = warm_cli(
        "train", f"+experiment={name}", f"model.path={base}", *data_of(config, bench.folder), "data.max_test_rows=2",
        "data.max_source_tokens=64", f"data.cache_dir={bench.folder / 'cache'}", "trainer.max_steps=2",
        "trainer.batch_size=4", "trainer.eval_every=2", "trainer.eval_rows=2", "generation.max_new_tokens=4",
        "eval.bootstrap_samples=2",
        f"run.name={name}", cwd=bench.folder)
    assert ended.returncode == 0, ended.stderr
    results = json.loads((bench.folder / "runs" / name / "results.json").read_text())
    assert results["steps"] == 2
    assert results["config"]["head"]["name"] == config.head.name
    assert results["config"]["objective"]["base"] == config.objective.base
    wanted = {"fp32": "float32", "fp16": "float16", "bf16": "bfloat16"}[config.precision.name.value]
    assert results["precision"]["effective"] == wanted

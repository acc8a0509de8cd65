"""Every shipped yaml composes, and wrong input ends in one line."""

from __future__ import annotations

from pathlib import Path

import pytest

from helpers import warm_cli
from llmtrain.config.load import compose, config_dir, from_dict, run_hash, run_name, to_dict, to_typed
from llmtrain.config.validate import validate
from llmtrain.errors import ConfigError

GROUPS = sorted(path.relative_to(config_dir()) for path in config_dir().glob("*/*.yaml"))


@pytest.mark.parametrize("path", GROUPS, ids=str)
def test_every_yaml_composes(path: Path) -> None:
    group, option = path.parent.name, path.stem
    added = group in ("experiment", "debug")
    override = f"{'+' if added else ''}{group}={option}"
    length = [] if added else ["trainer.max_steps=1"]
    config = to_typed("train", compose("train", [override, *length, "data.train=x.jsonl"]))
    if not (group == "data" and option == "hub"):  # it needs a name, which only the user knows
        validate(config)  # type: ignore[arg-type]
    assert from_dict(to_dict(config)) == config


@pytest.mark.parametrize(("override", "told"), [
    ("objective.lamb=1", "objective.lam"), ("+head.foo=1", "head."), ("precision=fp61", "fp16"),
    ("+experiment=bert_sum_fp17", "bert_sum_fp16"), ("hydra.rum.dir=x", "hydra"), ("trainer.batch_size=many", "whole"),
    ("trainer.device=gpu", "cpu"), ("objective.base=mlmm", "mlm"), ("head=transfomer", "transformer"),
])
def test_wrong_overrides_end_in_one_line(override: str, told: str, tmp_path: Path) -> None:
    result = warm_cli("train", "trainer.max_steps=1", override, cwd=tmp_path)
    assert result.returncode == 2
    assert result.stderr.count("\n") == 1
    assert told in result.stderr
    assert "Traceback" not in result.stderr


def test_all_problems_are_told_at_once(tmp_path: Path) -> None:
    result = warm_cli("train", "trainer.max_steps=0", "objective.lam=-1", "trainer.accumulate=5", cwd=tmp_path)
    assert result.returncode == 2
    assert len(result.stderr.splitlines()) == 3


def test_naming_a_length_unsets_the_experiments() -> None:
    config = to_typed("train", compose("train", ["+experiment=bert_sum_bf16", "trainer.max_minutes=30"]))
    assert config.trainer.max_steps is None  # type: ignore[union-attr]
    assert config.schedule.name.value == "constant_cooldown"  # type: ignore[union-attr]
    validate(config)  # type: ignore[arg-type]


def test_two_lengths_on_the_command_line_are_refused() -> None:
    config = to_typed("train", compose("train", ["trainer.max_minutes=30", "trainer.max_steps=3"]))
    with pytest.raises(ConfigError, match="exactly one"):
        validate(config)  # type: ignore[arg-type]


def test_the_hash_covers_results_and_nothing_else() -> None:
    def hashed(*overrides: str) -> str:
        config = to_typed("train", compose("train", ["trainer.max_steps=1", *overrides]))
        return run_hash(config)  # type: ignore[arg-type]

    assert hashed() == hashed("run.root=elsewhere") == hashed("trainer.log_every=1") == hashed("objective.base=select")
    assert len({hashed(), hashed("objective.lam=0.3"), hashed("precision=bf16"), hashed("run.seed=1")}) == 4


def test_runs_are_named_by_experiment_and_hash() -> None:
    config = to_typed("train", compose("train", ["+experiment=bert_sum_bf16"]))
    assert run_name(config) == f"bert_sum_bf16-{run_hash(config)}"  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["a b.jsonl", "data (1)/x.jsonl", "数据.jsonl", "a=b,c.jsonl", "[x].jsonl",
                                  "it's.jsonl"])
def test_paths_as_a_shell_user_types_them(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_text("{}\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    for typed in (str(path), f"~/{name}"):
        config = compose("train", ["trainer.max_steps=1", "data=files", f"data.train={typed}"])
        assert config.data.train == str(path)


def test_path_lists_and_globs(tmp_path: Path) -> None:
    config = compose("train", ["trainer.max_steps=1", "data=files", "data.train=[a.jsonl,b.jsonl]",
                               "data.test=x/*.jsonl"])
    assert list(config.data.train) == ["a.jsonl", "b.jsonl"]
    assert config.data.test == "x/*.jsonl"

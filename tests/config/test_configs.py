"""Every shipped yaml composes, and wrong input ends in one line."""

from __future__ import annotations

from dataclasses import dataclass, make_dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from hydra.core.config_store import ConfigStore

from helpers import warm_cli
from llmtrain import registry
from llmtrain.config.compose import config_dir
from llmtrain.config.convert import from_dict, to_dict
from llmtrain.config.keys import key
from llmtrain.config.load import load_config
from llmtrain.config.overrides.paths import path_value
from llmtrain.config.run_id import _collect, run_hash, run_name
from llmtrain.config.schema import TrainConfig
from llmtrain.config.sections.task import DEFAULT
from llmtrain.config.task_fit import serves
from llmtrain.core.errors import ConfigError
from llmtrain.optim.schedule import Schedule

GROUPS = sorted(path.relative_to(config_dir()) for path in config_dir().glob("*/*.yaml"))


@pytest.mark.parametrize("path", GROUPS, ids=str)
def test_every_yaml_composes(path: Path) -> None:
    group, option = path.parent.name, path.stem
    added = group in ("experiment", "debug")
    override = f"{'+' if added else ''}{group}={option}"
    length = [] if added else ["trainer.max_steps=1"]
    named = ["data.hub.name=x"] if (group, option) == ("data", "hub") else []
    if group == "head":  # of the first task that asks for what it makes
        head = registry.get("head", yaml.safe_load((config_dir() / path).read_text(encoding="utf-8"))["name"])
        named.append("task=" + next(task.name for task in sorted(registry.parts("task"), key=lambda one: (
            one.name != DEFAULT, one.name)) if serves(head, task)))
    several = "several" in option or option.startswith("multi")  # tasks, each with files of its own
    if several and not added:
        named.append("task.tasks=[{task: summarization, data: {train: x.jsonl}}, {task: summarization, name: other}]")
    files = [] if several else ["data.train=x.jsonl"]
    config = load_config("train", [override, *length, *files, *named])
    assert from_dict(to_dict(config)) == config


@pytest.mark.parametrize(("override", "told"), [
    ("objective.lamb=1", "objective.lam"), ("+head.foo=1", "head."), ("precision=fp61", "fp16"),
    ("+experiment=bert_sum_fp17", "bert_sum_fp16"), ("hydra.rum.dir=x", "setting of Hydra"),
    ("trainer.batch_size=many", "whole"),
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


def test_the_default_task_has_the_head_that_a_configuration_without_a_choice_has() -> None:
    defaults = yaml.safe_load((config_dir() / "train.yaml").read_text(encoding="utf-8"))["defaults"]
    chosen = {name: option for entry in defaults if isinstance(entry, dict) for name, option in entry.items()}
    assert chosen["task"] == DEFAULT and chosen["head"] == registry.get("task", DEFAULT).requires["head"]


def test_naming_a_length_unsets_the_experiments() -> None:
    config = load_config("train", ["+experiment=bert_sum_bf16", "trainer.max_minutes=30"])
    assert config.trainer.max_steps is None  # type: ignore[union-attr]
    assert config.schedule.name.value == "constant_cooldown"  # type: ignore[union-attr]


def test_presumm_is_the_published_recipe_and_brings_its_schedule() -> None:
    """Liu and Lapata 2019, section 3.2: peaks 2e-3 and 0.1, warm-ups 20,000 and 10,000, beta2 0.999."""
    for more in (["trainer.max_steps=1"], ["trainer.max_minutes=1"], ["+experiment=bert_sum_bf16"]):
        config: Any = load_config("train", ["optim=presumm", *more])
        optim, schedule = config.optim, config.schedule
        assert (optim.name, optim.base_lr, optim.head_lr, optim.weight_decay) == ("adamw", 2e-3, 0.1, 0.0)
        assert (optim.beta1, optim.beta2, optim.clip_norm) == (0.9, 0.999, 0.0)
        assert (schedule.name.value, schedule.warmup_steps, schedule.base_warmup_steps) == ("noam", 10000, 20000)
        rates = [Schedule(schedule, None).factor(step - 1, group) for group, step in (("base", 20000), ("head", 10000))]
        assert rates == [pytest.approx(20000 ** -0.5), pytest.approx(10000 ** -0.5)]
    chosen: Any = load_config("train", ["optim=presumm", "schedule=linear", "trainer.max_steps=1"])
    assert chosen.schedule.name.value == "linear"


def test_a_bad_optimizer_option_is_one_line() -> None:
    for override, told in (("optim.name=adamm", "did you mean 'adamw'"), ("optim.layer_decay=0", "more than 0"),
                           ("optim.layer_decay=1.1", "at most 1"), ("model.unfreeze_every=-1", "0 or more")):
        with pytest.raises(ConfigError, match=told):
            train_config(override)
    for override in ("muon.momentum=1", "muon.ns_steps=100", "muon.ns_steps=0", "adafactor.clip=0.5",
                     "adafactor.min_scale=0", "adafactor.beta2_decay=0.1", "adam8bit.block_size=0"):
        name = override.partition(".")[0]
        with pytest.raises(ConfigError, match=f"optim.{override}"):
            train_config(f"optim={name}", f"optim.{override}")
        train_config(f"optim.{override}")  # adamw does not read it
    for bad, told in ((("optim.average_last=1",), "at least 2"), (("optim.average_last=-2",), "0 or more"),
                      (("optim.average_last=3",), "more than trainer.keep_last=2 keeps; raise that to 3"),
                      (("optim.average_last=2", "optim.ema_decay=0.9"), "choose one of them")):
        with pytest.raises(ConfigError, match=told):
            train_config(*bad)
    train_config("optim.average_last=2")
    for other in ("model.freeze_until_step=2", "model.freeze=all"):
        with pytest.raises(ConfigError, match=f"model.unfreeze_every and {other.removesuffix('=2')}"):
            train_config("model.unfreeze_every=2", other)


def test_two_lengths_on_the_command_line_are_refused() -> None:
    with pytest.raises(ConfigError, match="exactly one"):
        load_config("train", ["trainer.max_minutes=30", "trainer.max_steps=3"])


def test_the_hash_covers_results_and_nothing_else() -> None:
    def hashed(*overrides: str) -> str:
        config = load_config("train", ["trainer.max_steps=1", *overrides])
        return run_hash(config)  # type: ignore[arg-type]

    assert hashed() == hashed("run.root=elsewhere") == hashed("trainer.log_every=1") == hashed("objective.base=select")
    assert len({hashed(), hashed("objective.lam=0.3"), hashed("precision=bf16"), hashed("run.seed=1")}) == 4


def test_a_key_that_came_late_changes_a_hash_only_when_it_is_set() -> None:
    @dataclass(kw_only=True, slots=True)
    class Options:
        old: int = key(1, "always counted")
        new: list[int] = key(list, "counted when it is set", late=True)

    def collected(options: Options) -> dict[str, Any]:
        flat: dict[str, Any] = {}
        _collect(options, "", flat)
        return flat

    assert collected(Options()) == {"old": 1}
    assert collected(Options(new=[2])) == {"old": 1, "new": [2]}


def test_runs_are_named_by_experiment_and_hash() -> None:
    config = load_config("train", ["+experiment=bert_sum_bf16"])
    assert run_name(config) == f"bert_sum_bf16-{run_hash(config)}"  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["a b.jsonl", "data (1)/x.jsonl", "数据.jsonl", "a=b,c.jsonl", "[x].jsonl",
                                  "it's.jsonl"])
def test_paths_as_a_shell_user_types_them(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_text("{}\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    for typed in (str(path), f"~/{name}"):
        config = load_config("train", ["trainer.max_steps=1", "data=files", f"data.train={typed}"])
        assert config.data.train == str(path)


def test_path_lists_and_globs(tmp_path: Path) -> None:
    config = load_config("train", ["trainer.max_steps=1", "data=files", "data.train=[a.jsonl,b.jsonl]",
                                   "data.test=x/*.jsonl"])
    assert list(config.data.train) == ["a.jsonl", "b.jsonl"]
    assert config.data.test == "x/*.jsonl"


def test_a_glob_in_a_folder_with_brackets_reaches_the_reader(tmp_path: Path) -> None:
    (tmp_path / "data[1]").mkdir()
    pattern = f"{tmp_path}/data[1]/*.jsonl"
    assert load_config("train", ["trainer.max_steps=1", "data=files", f"data.train={pattern}"]).data.train == pattern


@pytest.mark.parametrize("name", ["a b", "data (1)", "[x]", "数据", "it's", "a=b,c"])
@pytest.mark.parametrize("key", ["checkpoint", "predictions", "eval.output"])
def test_eval_paths_as_a_shell_user_types_them(key: str, name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.mkdir()
    assert path_value([f"{key}={path}"], key) == str(path)
    config = load_config("eval", [f"{key}={path}"])
    assert (config.eval.output if key == "eval.output" else getattr(config, key)) == str(path)


def test_experiments_set_no_key_inside_head_or_model() -> None:
    """They choose a head as a whole, which the command line may choose again."""
    for path in (config_dir() / "experiment").glob("*.yaml"):
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
        assert "head" not in content and content.get("model", {}).keys() <= {"dropout"}, path
    for head in ("transformer", "lstm"):
        chosen = load_config("train", ["+experiment=bert_gru_bf16", f"head={head}"])
        assert chosen.head.name == head  # type: ignore[union-attr]


@pytest.mark.parametrize("override", ["summarize.batch=0", "data.max_test_rows=-5", "generation.num_beams=0",
                                      "generation.top_p=2", "eval.bootstrap_samples=-1", "run.seed=-1",
                                      "generation.min_new_tokens=99"])
def test_eval_and_summarize_check_ranges_too(override: str) -> None:
    for command in ("eval", "summarize") if "summarize" not in override else ("summarize",):
        with pytest.raises(ConfigError, match=override):
            load_config(command, [override])


def train_config(*overrides: str) -> TrainConfig:
    config = load_config("train", ["trainer.max_steps=1", *overrides])
    assert isinstance(config, TrainConfig)
    return config


def test_the_best_metric_is_checked_before_anything_runs() -> None:
    for name in ("rouge1", "rougeLsum", "loss.total", "loss.select", "loss.summary.weighted"):
        train_config(f"trainer.best_metric={name}")
    for name, more in (("loss.mlm", ()), ("rouge3", ()), ("loss.select", ("objective=summary_only",))):
        with pytest.raises(ConfigError, match="is not logged.*choose from rouge1"):
            train_config(f"trainer.best_metric={name}", *more)


def test_a_composition_copies_no_stored_schema(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else half its time goes into that: Hydra copies its repository for every group that it lists."""
    def refused(store: ConfigStore, _: Any) -> ConfigStore:
        raise AssertionError("the store is copied")

    monkeypatch.setattr(ConfigStore, "__deepcopy__", refused, raising=False)
    assert train_config("precision=fp16", "head=gru").head.name == "gru"  # type: ignore[union-attr]


def test_options_registered_anew_under_their_name_are_composed_anew() -> None:
    for width in (3, 5):
        options = make_dataclass("Options", [("name", str, key("own", "its name")), ("width", int, key(width, "wide"))])
        with registry.registering("own.py"):
            registry.register("head", "own", options, "nowhere:Head", "a head", **registry.get("head", "gru").requires)
        try:
            assert train_config("head=own").head.width == width  # type: ignore[union-attr]
        finally:
            registry.drop("own.py")

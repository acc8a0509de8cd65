"""What a user's own configuration file may say, and what is told of one that may not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from llmtrain.config.compose import compose, to_container
from llmtrain.config.overrides import config_files
from llmtrain.core.errors import ConfigError

E, CHOSEN = "conf/experiment/e.yaml", "+experiment=e"


def composed(files: dict[str, str], choice: str, place: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """(configuration, records of own files) of these files under the chosen one."""
    (place / "conf").mkdir()
    for name, text in files.items():
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_text(text, encoding="utf-8")
    with config_files.using(["conf"]):
        assert config_files.arguments() == ["--config-dir", str(place / "conf")]
        return to_container(compose("train", [choice])[0]), config_files.records()


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


NAMED = "run:\n  name: q\n"
READ: list[tuple[dict[str, str], str, str, Any]] = [
    ({E: "\ufeff" + NAMED}, CHOSEN, "run.name", "q"), ({E: ""}, CHOSEN, "run.name", None),
    ({E: "run:\n  name: null\n"}, CHOSEN, "run.name", None),
    ({E: "# @package run\nname: q\n"}, CHOSEN, "run.name", "q"),
    ({E: NAMED + "# @package data\n"}, CHOSEN, "run.name", "q"),
    ({"conf/data/d.yaml": "# @package _group_\nname: files\n"}, "data=d", "data.name", "files"),
    ({"conf/data/d.yaml": "# @package _global_\n" + NAMED}, "data=d", "run.name", "q"),
    ({"my own (1).yaml": NAMED}, "+experiment=my own (1).yaml", "experiment_name", "my own (1)"),
    ({"a.yaml": "defaults:\n  - b\n", "b.yaml": NAMED}, "+experiment=a.yaml", "run.name", "q")]


@pytest.mark.parametrize(("files", "choice", "key", "value"), READ)
def test_an_own_file_is_read(files: dict[str, str], choice: str, key: str, value: Any, tmp_path: Path) -> None:
    config, records = composed(files, choice, tmp_path)
    for name in key.split("."):
        config = config[name]
    assert config == value and records


REFUSED: list[tuple[dict[str, str], str, str]] = [
    ({E: "data:\n  document: null\n"}, CHOSEN, "data.document: null is read as no value where a text is wanted at"),
    ({E: "run:\n  on: 1\n"}, CHOSEN, "unknown key run.on at conf/experiment/e.yaml:2"),
    ({E: "run:\n  defaults: b\n"}, CHOSEN, "unknown key run.defaults at"),
    ({E: "run: &a\n  name: b\neval:\n  <<: *a\n"}, CHOSEN, "unknown key eval.name at"),
    ({E: "run:\n  token: a\n"}, CHOSEN, "run.token holds what looks like a secret at conf/experiment/e.yaml:2"),
    ({E: "a: &a\n  b: *a\n"}, CHOSEN, "an alias of itself at conf/experiment/e.yaml:1"),
    ({E: "# " + "x" * 300_000}, CHOSEN, "it is larger than 262144 bytes"),
    ({E: "objective:\n  terms:\n  - name: 1e3\n    lam: 2\n"}, CHOSEN, "objective.terms[0].name: 1e3 is read as a"),
    ({E: "defaults: abc\n"}, CHOSEN, "is not a list of names"), ({E: "defaults:\n  - 3\n"}, CHOSEN, "is not a list of"),
    ({E: "defaults:\n  - override hydra/job_logging: none\n"}, CHOSEN, "hydra/job_logging is a setting of Hydra's own"),
    ({E: "defaults:\n  - model: 1\n"}, CHOSEN, "defaults: model: 1 is read as a number at"),
    ({"conf/train.yaml": NAMED}, "run.seed=1", "train.yaml at conf/train.yaml has the name of what llmtrain itself"),
    ({"conf/experiment/_e.yaml": NAMED}, "+experiment=_e", "unknown option experiment=_e"),
    ({"m.yaml": NAMED}, "~model=m.yaml", "unknown option model=m.yaml")]


@pytest.mark.parametrize(("files", "choice", "told"), REFUSED)
def test_an_own_file_that_may_not_be_is_told(files: dict[str, str], choice: str, told: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        composed(files, choice, tmp_path)
    (problem,) = caught.value.problems
    assert told in problem and "; " in problem


def test_another_file_of_our_name_and_size_is_another_file(tmp_path: Path) -> None:
    ours = (Path(__file__).parents[2] / "configs/model/minilm.yaml").read_text()
    with pytest.raises(ConfigError, match="another model/minilm than llmtrain's own"):
        composed({"conf/model/minilm.yaml": ours.replace("i", "j", 1)}, "model=minilm", tmp_path)


def test_of_a_long_file_a_checkpoint_keeps_the_beginning(tmp_path: Path) -> None:
    _, records = composed({E: "# " + "x" * 100_000 + "\n" + NAMED}, CHOSEN, tmp_path)
    assert len(records["experiment/e"]["text"]) == config_files.LONGEST_RECORD

"""Experiments and group files of the user's own: composed beside ours, checked as the command line is, recorded."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml

from helpers import warm_cli

MINE = """# our news
defaults:
  - model: minilm
  - override precision: bf16
  - override /data: files
data:
  train: news.jsonl
trainer:
  max_steps: 7
"""


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "mine.yaml").write_text(MINE)
    for group, name, text in (("experiment", "theirs", MINE), ("data", "ours", "name: files\ntrain: a.jsonl\n"
                                                                             "document: text\n")):
        (tmp_path / "conf" / group).mkdir(parents=True)
        (tmp_path / "conf" / group / f"{name}.yaml").write_text(text)
    return tmp_path


@pytest.mark.parametrize("options", [["+experiment=mine.yaml"], ["--config-dir", "conf", "+experiment=theirs"],
                                     ["--config-dir=conf", "+experiment=theirs"]])
def test_an_own_experiment_composes_with_our_groups(options: list[str], place: Path) -> None:
    shown = warm_cli("train", "--cfg", "job", *options, cwd=place)
    assert shown.returncode == 0, shown.stderr
    config = yaml.safe_load(shown.stdout)
    assert (config["precision"]["name"], config["data"]["name"], config["trainer"]["max_steps"]) == ("bf16", "files", 7)
    assert config["experiment_name"] == ("mine" if "mine" in options[-1] else "theirs")


def test_every_command_knows_an_own_folder(place: Path) -> None:
    for command in ("eval", "summarize", "train"):
        shown = warm_cli(command, "--config-dir", "conf", "--cfg", "job", "data=ours", cwd=place)
        assert yaml.safe_load(shown.stdout)["data"]["document"] == "text", shown.stderr
    jobs = warm_cli("train", "-m", "--cfg", "job", "--config-dir", "conf", "+experiment=theirs,mine.yaml", cwd=place)
    assert [job["experiment_name"] for job in yaml.safe_load_all(jobs.stdout)] == ["theirs", "mine"], jobs.stderr
    listed = warm_cli("list", "experiments", "--config-dir", "conf", cwd=place).stdout
    assert re.search(r"theirs +our news \(from conf/experiment/theirs.yaml\)", listed)
    offered = warm_cli("--complete", "llmtrain train --config-dir conf +experiment=th", cwd=place).stdout
    assert offered.strip() == "+experiment=theirs"
    origins = warm_cli("config", "--defaults", "+experiment=mine.yaml", cwd=place).stdout
    assert "set by mine.yaml" in next(line for line in origins.splitlines() if line.startswith("trainer.max_steps"))


BAD = {
    "trainer:\n\tmax_steps: 3\n": "a tab where YAML wants spaces at x.yaml:2",
    "run:\n  seed: 1\n  seed: 2\n": "found duplicate key seed at x.yaml:3",
    "trainer:\n  max_step: 3\n": "unknown key trainer.max_step at x.yaml:2; did you mean trainer.max_steps?",
    "head:\n  _target_: os.system\n": "unknown key head._target_ at x.yaml:2",
    "run:\n  name: ${oc.env:HOME}\n": "run.name has ${oc.env:...}, which would read something else",
    "run:\n  name: 695e0514\n": "695e0514 is read as a number where a text is wanted at x.yaml:2; quote it",
    "data:\n  train: [1e3]\n": "quote it: '1e3'",
    "data:\n  document: yes\n": "quote it: 'yes'",
    "optim:\n  base_lr: abc\n": "optim.base_lr=abc is not a number at x.yaml:2",
    "precision: fp16\n": "write it in the defaults list, `- override /precision: fp16`",
    "a: &a [1]\nb: &b [*a, *b]\n": "at x.yaml",
    "- a\n": "no keys at x.yaml:1",
    "hydra:\n  run: x\n": "hydra is a setting of Hydra's own",
    "x: !!python/object/apply:os.system [ls]\n": "could not determine a constructor",
    "defaults:\n  - override /model: minilmm\n": "unknown option model: minilmm in defaults at x.yaml; did you mean",
    "defaults:\n  - precison: bf16\n": "unknown group precison in defaults at x.yaml; did you mean precision?",
    "run:\n  name: hf_abcdefghijklmnopqrstuvwxyz\n": "what looks like a secret at x.yaml:2",
    "trainer:\n  max_steps: 0\n": "trainer.max_steps=0 must be more than 0 at x.yaml:2; change it",
}


@pytest.mark.parametrize(("text", "told"), BAD.items())
def test_what_is_wrong_in_a_file_is_one_line_with_its_place(text: str, told: str, tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text(text)
    result = warm_cli("train", "+experiment=x.yaml", cwd=tmp_path)
    assert (result.returncode, result.stderr.count("\n")) == (2, 1), result.stderr
    assert told in result.stderr and "hf_abc" not in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["x.yaml"]


def test_aliases_that_would_fill_the_memory_and_other_encodings_are_refused(tmp_path: Path) -> None:
    lines = ["a0: &a0 [1,1,1,1,1,1,1,1,1,1]"]
    lines += [f"a{n}: &a{n} [{','.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 9)]
    (tmp_path / "bomb.yaml").write_text("\n".join(lines))
    (tmp_path / "utf16.yaml").write_text(MINE, encoding="utf-16")
    (tmp_path / "dir.yaml").mkdir()
    for name, told in (("bomb", "more than"), ("utf16", "not UTF-8"), ("dir", "Is a directory"), ("no", "no file at")):
        result = warm_cli("train", f"+experiment={name}.yaml", cwd=tmp_path)
        assert (result.returncode, result.stderr.count("\n")) == (2, 1), result.stderr
        assert told in result.stderr and f"{name}.yaml" in result.stderr


@pytest.mark.parametrize(("options", "told"), [
    (["--config", "mine.yaml"], "use +experiment=mine.yaml"), (["--config-name=mine"], "use +experiment=mine"),
    (["--config-path", "conf"], "use --config-dir conf"), (["--experiment", "mine.yaml"], "use +experiment=mine.yaml"),
    (["hydra.searchpath=[file://conf]"], "use --config-dir conf"), (["+experiment=mine"], "+experiment=mine.yaml?"),
    (["--config-dir", "nope"], "no folder at nope"), (["--config-dir", "mine.yaml"], "use +experiment=mine.yaml"),
    (["--config-dir"], "--config-dir needs a folder"), (["--learning_rate", "3"], "optim.base_lr or optim.head_lr")])
def test_other_ways_to_an_own_file_say_what_to_do_instead(options: list[str], told: str, place: Path) -> None:
    result = warm_cli("train", *options, cwd=place)
    assert (result.returncode, result.stderr.count("\n")) == (2, 1), result.stderr
    assert told in result.stderr


def test_a_name_of_ours_means_the_same_for_everybody(place: Path) -> None:
    ours = Path(__file__).parents[2] / "configs"
    (place / "conf/model").mkdir()
    (place / "conf/model/minilm.yaml").write_bytes((ours / "model/minilm.yaml").read_bytes())
    assert warm_cli("train", "--config-dir", "conf", "--cfg", "job", cwd=place).returncode == 0
    (place / "conf/model/minilm.yaml").write_text("name: other\n")
    (refused := warm_cli("train", "--config-dir", "conf", "--cfg", "job", cwd=place))
    assert refused.returncode == 2 and "another model/minilm than llmtrain's own" in refused.stderr


def test_a_run_keeps_what_its_own_files_said(tiny_base: Path, rows: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("trainer:\n  max_steps: 1\n")
    from tests.integration.test_training import arguments

    words = [word for word in arguments(tiny_base, rows) if not word.startswith("trainer.max_steps")]
    result = warm_cli("train", *words, "+experiment=mine.yaml", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    kept = json.loads((tmp_path / "runs/run/environment.json").read_text())["own_configs"]["experiment/mine"]
    assert kept["text"] == "trainer:\n  max_steps: 1\n" and len(kept["sha256"]) == 64
    manifest = json.loads(next((tmp_path / "runs/run/checkpoints").glob("step-*/manifest.json")).read_text())
    assert manifest["meta"]["own_configs"]["experiment/mine"] == kept


def test_the_example_of_the_quickstart_composes(tmp_path: Path) -> None:
    text = (Path(__file__).parents[2] / "docs/quickstart.md").read_text()
    (tmp_path / "mine.yaml").write_text(text.partition("```yaml\n")[2].partition("```")[0])
    shown = warm_cli("train", "--cfg", "job", "+experiment=mine.yaml", cwd=tmp_path)
    assert yaml.safe_load(shown.stdout)["data"]["train"] == "news.jsonl", shown.stderr

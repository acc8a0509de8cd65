"""A run's folder as others may have left it: its configuration, its rights, its links."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from llmtrain.cli.commands.checkpoint_config import Opened
from llmtrain.cli.commands.eval import _default_output, _refuse_link, _root
from llmtrain.config.convert import to_dict
from llmtrain.config.from_checkpoint import Stored
from llmtrain.config.load import load_config
from llmtrain.config.schema import EvaluateConfig, TrainConfig
from llmtrain.config.stored import LIMIT, read_config
from llmtrain.core.errors import CheckpointError, ConfigError, ResourceError
from llmtrain.training.run_folder.claim import RunFolder

BOMB = "data:\n  preprocess: [&a [x, x], " + ", ".join(f"&{b} [*{a}, *{a}]" for a, b in zip("abcdef", "bcdefg",
                                                                                             strict=True)) + "]\n"


@pytest.mark.parametrize(("text", "told"), [
    (BOMB, "has an alias"), ("a: &a [1]\nb: *a", "line 2 has an alias"), ("a: !!timestamp x", "cannot read"),
    ("a: !!int ''", "cannot read"), ("a: !!bool x", "cannot read"), ("[" * 3000, "recursion"),
    ("a: \x00", "cannot read"), ("a: " + "9" * 5000, "cannot read"), ("x" * (LIMIT + 1), "larger than"),
    ("head: {}", "no head is chosen")])
def test_a_changed_configuration_is_one_line(text: str, told: str, tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(text)
    refused(path, told)


def refused(path: Path, told: str) -> None:
    with pytest.raises(CheckpointError, match="cannot read the run's configuration at") as caught:
        read_config(path)
    (line,) = caught.value.problems
    assert told in line and "restore it" in line and len(line.replace(str(path), "")) < 300


def test_a_configuration_is_a_mapping(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("- 1\n")
    with pytest.raises(CheckpointError, match=r"^no mapping at .*; restore the run's configuration"):
        read_config(path)


@pytest.mark.parametrize("target", ["fifo", "/dev/zero", "missing", "folder"])
def test_a_configuration_is_a_regular_file(target: str, tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    if target == "fifo":
        os.mkfifo(path)
    elif target == "folder":
        path.mkdir()
    else:
        path.symlink_to(target)
    refused(path, {"missing": "No such file", "folder": "s a directory"}.get(target, "not a regular file"))


def configured(root: Path) -> TrainConfig:
    config = load_config("train", ["+experiment=bert_sum_fp32", f"run.root={root}", "run.name=run"])
    assert isinstance(config, TrainConfig)
    return config


def test_giving_up_a_folder_raises_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = RunFolder.claim(configured(tmp_path))
    exists = Path.exists

    def closed(path: Path) -> bool:
        if path.name == "results.json":
            raise PermissionError(13, "Permission denied", str(path))
        return exists(path)

    monkeypatch.setattr(Path, "exists", closed)
    folder.abandon()
    folder.release()
    assert (folder.path / "config.yaml").exists()  # it may be a run


def test_a_closed_run_is_told_by_its_own_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def closed(self: RunFolder, config: TrainConfig) -> bool:
        monkeypatch.setattr(Path, "exists", lambda path: (_ for _ in ()).throw(PermissionError(13, "no", str(path))))
        raise ResourceError("the real one")

    monkeypatch.setattr(RunFolder, "_examine", closed)
    with pytest.raises(ResourceError, match="the real one"):
        RunFolder.claim(configured(tmp_path))


def test_results_do_not_follow_a_runs_own_link(tmp_path: Path) -> None:
    model = tmp_path / "run/checkpoints/step-2/model"
    model.mkdir(parents=True)
    (tmp_path / "outside").mkdir()
    opened = Opened(model, 2, EvaluateConfig())
    output = _default_output(opened, EvaluateConfig())
    assert output.parent == tmp_path / "run/eval" and output.name.startswith("2-")
    output.parent.mkdir()
    output.symlink_to(tmp_path / "outside")
    with pytest.raises(CheckpointError, match="eval.output=DIR"):
        _default_output(opened, EvaluateConfig())
    output.unlink()
    output.parent.rmdir()
    output.parent.symlink_to(tmp_path / "outside")
    with pytest.raises(CheckpointError, match="eval.output=DIR"):
        _refuse_link(_root(model)[0] / "eval")


def test_a_foreign_model_does_not_choose_what_the_machine_has_to_bear(tmp_path: Path) -> None:
    stored = to_dict(configured(tmp_path))
    stored["data"] |= {"processes": 50_000, "workers": 50_000, "cache_dir": str(tmp_path / "elsewhere")}
    read = load_config("eval", [], Stored(stored)).data
    assert (read.processes, read.workers, read.cache_dir) == (None, 0, None)
    assert load_config("eval", ["data.processes=2"], Stored(stored)).data.processes == 2
    for section, name, value in (("generation", "num_beams", 10**6), ("eval", "bootstrap_samples", 10**12)):
        changed = stored | {section: stored[section] | {name: value}}
        with pytest.raises(ConfigError, match=f"{section}.{name}={value} must be at most 1.*; change it"):
            load_config("eval", [], Stored(changed))
        assert load_config("eval", [f"{section}.{name}=5"], Stored(changed))

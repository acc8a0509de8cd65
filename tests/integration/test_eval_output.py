"""Where eval puts what it found: looked at before the work, and shown before it is written."""

from __future__ import annotations

import errno
import gzip
import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from helpers import pairs, warm_cli, write_jsonl
from llmtrain.config.choices import SplitName
from llmtrain.config.convert import to_dict
from llmtrain.config.run_id import by_content, without_late
from llmtrain.config.schema import EvaluateConfig
from llmtrain.config.sections.data import HubConfig
from llmtrain.config.sections.generation import GenerationConfig
from llmtrain.core import files
from llmtrain.core.files import write_problem
from llmtrain.evaluation import report
from llmtrain.tasks.summarization.options import SummarizationData, SummarizationEval
from llmtrain.training.run_folder.fingerprints import fingerprints_of_scored


@pytest.fixture(scope="module")
def run(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("scored")
    write_jsonl(folder / "rows.jsonl", pairs(12))
    result = warm_cli("train", f"model.path={tiny_base}", "head.layers=1", "data=files", "trainer.max_steps=2",
                      *(f"data.{name}={folder}/rows.jsonl" for name in ("train", "validation", "test")), "run.name=run",
                      "trainer.batch_size=4", "generation.max_new_tokens=6", "data.max_source_tokens=32",
                      "eval.bootstrap_samples=5",
                      f"data.cache_dir={folder / 'cache'}", "generation.temperature=0.5", cwd=folder)
    assert result.returncode == 0, result.stderr
    assert result.stdout.count("generation.temperature=0.5 does nothing without generation.do_sample=true\n") == 1
    return folder / "runs/run"


def refuse(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder that may be read and not written, for whoever runs this, root too."""
    made = files.tempfile.TemporaryFile

    def temporary(*mode: str, **how: Any) -> Any:
        if Path(how.get("dir", "/")).is_relative_to(folder):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), how["dir"])
        return made(*mode, **how)

    monkeypatch.setattr(files.tempfile, "TemporaryFile", temporary)


def no_decoding(monkeypatch: pytest.MonkeyPatch) -> None:
    def decoded(*_: Any, **__: Any) -> None:
        raise AssertionError("it was decoded")

    monkeypatch.setattr("llmtrain.inference.predict.predict_batches", decoded)


def test_a_run_that_may_not_be_written_is_told_before_it_is_decoded(run: Path, tmp_path: Path,
                                                                    monkeypatch: pytest.MonkeyPatch) -> None:
    refuse(run, monkeypatch)
    with monkeypatch.context() as inside:
        no_decoding(inside)
        refused = warm_cli("eval", f"checkpoint={run}", cwd=tmp_path)
    assert (refused.returncode, refused.stdout) == (5, "")
    assert refused.stderr == (f"llmtrain: the results cannot be written at {run}/eval (Permission denied); name a "
                              "folder for them with eval.output=DIR\n")
    other = warm_cli("eval", f"checkpoint={run}", f"eval.output={tmp_path / 'out'}", cwd=tmp_path)
    assert other.returncode == 0, other.stderr
    assert (tmp_path / "out/results.json").is_file()


@pytest.mark.parametrize("scored", ["predictions", "checkpoint"])
def test_an_output_that_cannot_be_is_told_before_the_work(scored: str, run: Path, tmp_path: Path,
                                                          monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("x")
    given = [f"checkpoint={run}"] if scored == "checkpoint" else [
        f"predictions={write_jsonl(tmp_path / 'p.jsonl', [{'prediction': 'a'}])}", "data=files",
        f"data.test={run.parents[1]}/rows.jsonl"]
    no_decoding(monkeypatch)
    for output in ("file", "file/inside"):
        refused = warm_cli("eval", *given, f"eval.output={output}", cwd=tmp_path)
        assert (refused.returncode, refused.stderr.count("\n")) == (2, 1), refused.stderr
        assert f"the results cannot be written at {output} (Not a directory); name a folder" in refused.stderr


def test_scores_are_shown_although_the_disk_is_full_by_then(run: Path, tmp_path: Path,
                                                            monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, *_: Any) -> None:
        with files.writing(path):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    monkeypatch.setattr(report, "write_text", full)
    result = warm_cli("eval", f"checkpoint={run}", f"eval.output={tmp_path / 'out'}", cwd=tmp_path)
    assert result.returncode == 5
    assert "test (12 rows)" in result.stdout
    assert "written" not in result.stdout
    assert "No space left on device" in result.stderr
    assert not (tmp_path / "out/results.json").exists()


def test_a_run_shows_its_scores_although_the_disk_is_full_by_then(run: Path, tiny_base: Path,
                                                                  monkeypatch: pytest.MonkeyPatch) -> None:
    """The same command then scores once more and is done."""
    command = ["train", f"model.path={tiny_base}", "head.layers=1", "data=files", "trainer.max_steps=1",
               *(f"data.{name}=rows.jsonl" for name in ("train", "validation", "test")), "run.name=full",
               "trainer.batch_size=4", "generation.max_new_tokens=6", "data.max_source_tokens=32",
                      "eval.bootstrap_samples=5"]

    def full(path: Path, *_: Any) -> None:
        with files.writing(path):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    with monkeypatch.context() as inside:
        inside.setattr(report, "write_text", full)
        failed = warm_cli(*command, cwd=run.parents[1])
    assert failed.returncode == 5
    assert "test (12 rows)" in failed.stdout
    done = warm_cli(*command, cwd=run.parents[1])
    assert done.returncode == 0, done.stderr
    assert "test (12 rows)" in done.stdout
    again = warm_cli(*command, cwd=run.parents[1])
    assert "this run is finished" in again.stdout
    for shown in (done, again):
        assert shown.stdout.count("percentile of these 12 rows") == 3


def test_results_are_kept_where_nobody_reads_what_is_shown(run: Path, tmp_path: Path,
                                                           monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(*_: Any, **__: Any) -> None:
        raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))

    monkeypatch.setattr(report, "print_report", gone)
    warm_cli("eval", f"checkpoint={run}", f"eval.output={tmp_path / 'out'}", cwd=tmp_path)
    assert (tmp_path / "out/results.json").is_file()


def test_looking_at_a_place_leaves_nothing(tmp_path: Path) -> None:
    assert write_problem(tmp_path / "a/b/c") is None
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").write_text("x")
    problem = write_problem(tmp_path / "file/b")
    assert problem is not None
    assert problem.errno == errno.ENOTDIR


def test_settings_that_do_nothing_are_told_once(run: Path, tmp_path: Path) -> None:
    told = "generation.temperature=0.5 does nothing without generation.do_sample=true"
    scored = warm_cli("eval", f"checkpoint={run}", "eval.output=out", "eval.prediction=x", cwd=tmp_path)
    assert scored.stderr.count(told) == 1
    assert "eval.prediction=x does nothing without predictions=FILE" in scored.stderr
    signature = json.loads((tmp_path / "out/results.json").read_text())["signature"]
    assert "greedy, max_new_tokens 6, no_repeat_ngram_size 3" in signature
    assert "temperature" not in signature
    assert warm_cli("summarize", f"checkpoint={run}", cwd=tmp_path, stdin="a\n").stderr.count(told) == 1
    sampled = warm_cli("eval", f"checkpoint={run}", "eval.output=out", "generation.do_sample=true",
                       "generation.num_return_sequences=2", cwd=tmp_path)
    assert "does nothing" not in sampled.stderr
    signature = json.loads((tmp_path / "out/results.json").read_text())["signature"]
    assert "sampling, max_new_tokens 6, temperature 0.5, top_k 50, no_repeat_ngram_size 3, the first of 2" in signature
    row = json.loads((tmp_path / "out/predictions.jsonl").read_text().splitlines()[0])
    assert row["summaries"][0] == row["prediction"]
    assert len(row["summaries"]) == 2
    given = write_jsonl(tmp_path / "p.jsonl", [{"prediction": "a"}] * 12)
    without = warm_cli("eval", f"predictions={given}", "data=files", f"data.test={run.parents[1]}/rows.jsonl",
                       "generation.num_beams=4", cwd=tmp_path)
    assert "generation.num_beams does nothing without checkpoint=PATH" in without.stderr


def test_a_run_may_validate_greedily_and_publish_beams(run: Path, tiny_base: Path) -> None:
    folder = run.parents[1]

    def trained(name: str, *more: str) -> tuple[list[dict[str, Any]], dict[str, Any]]:
        result = warm_cli("train", f"model.path={tiny_base}", "head.layers=1", "data=files", "trainer.max_steps=2",
                          *(f"data.{split}=rows.jsonl" for split in ("train", "validation", "test")),
                          f"run.name={name}", "trainer.batch_size=4", "generation.max_new_tokens=6",
                          "data.max_source_tokens=32", "optim.head_lr=0.1", "eval.bootstrap_samples=5",
                          "generation.no_repeat_ngram_size=0", *more,
                          cwd=folder)
        assert result.returncode == 0, result.stderr
        made = folder / "runs" / name
        rows = [json.loads(line) for line in (made / "metrics.jsonl").read_text().splitlines()]
        return ([{key: value for key, value in row.items() if key.startswith("rouge")} for row in rows
                 if row["split"] == "validation"], json.loads((made / "results.json").read_text()))

    beams = ("generation.num_beams=4", "generation.length_penalty=3", "generation.num_return_sequences=2")
    greedy, greedy_results = trained("greedy")
    searched, searched_results = trained("searched", *beams)
    both, both_results = trained("both", *beams, "trainer.eval_num_beams=1")
    assert both == greedy
    assert both_results["metrics"] == searched_results["metrics"]
    assert greedy_results["metrics"] != searched_results["metrics"]
    assert searched != greedy
    assert "beam 4" in both_results["signature"]


def test_where_results_go_by_default_does_not_change_with_new_keys() -> None:
    """The folder's name is made of the settings; keys that came later count where they are set."""
    names = set(without_late(SummarizationEval())) | set(without_late(GenerationConfig()))
    assert not names & {"prediction", "top_k", "early_stopping", "repetition_penalty", "num_return_sequences"}
    assert without_late(GenerationConfig(top_k=3)) == without_late(GenerationConfig()) | {"top_k": 3}
    assert "top_k" in to_dict(GenerationConfig())


def test_results_of_the_same_rows_go_to_one_place_wherever_these_lie(run: Path, tmp_path: Path) -> None:
    def place(*more: str) -> str:
        scored = warm_cli("eval", f"checkpoint={run}", "eval.baselines=false", *more, cwd=tmp_path)
        assert scored.returncode == 0, scored.stderr
        return scored.stdout.rpartition("written: ")[2].strip()

    rows = run.parents[1] / "rows.jsonl"
    shutil.copy(rows, tmp_path / "moved.jsonl")
    (tmp_path / "packed.jsonl.gz").write_bytes(gzip.compress(rows.read_bytes()))
    write_jsonl(tmp_path / "others.jsonl", pairs(3, 7))
    first = place()
    assert first.startswith(f"{run}/eval/") and "-test-" in first
    for same in (["data.test=moved.jsonl"], [f"data.test={tmp_path}/packed.jsonl.gz"], ["data.train=gone.jsonl"],
                 ["data.test=moved.jsonl", f"data.folder={tmp_path}"], ["data.cache_dir=cache"],
                 ["generation.batch_tokens=99"]):
        assert place(*same) == first, same
    for other in (["data.test=others.jsonl"], ["data.document=summary"], ["generation.max_new_tokens=5"]):
        assert place(*other) != first, other
    (tmp_path / "moved.jsonl").write_bytes((tmp_path / "others.jsonl").read_bytes())
    assert place("data.test=moved.jsonl") == place("data.test=others.jsonl")


def test_what_the_leads_length_is_chosen_on_counts_too(tmp_path: Path) -> None:
    for name in ("test", "validation", "train"):
        write_jsonl(tmp_path / f"{name}.jsonl", pairs(3, len(name)))
    data = {name: str(tmp_path / f"{name}.jsonl") for name in ("test", "validation", "train")}

    def keys(split: str = "test", lead: int | None = None, baselines: bool = True, **given: str | None) -> list[str]:
        config = EvaluateConfig(data=SummarizationData(name="files", **given), eval=SummarizationEval(
            split=SplitName(split), lead=lead, baselines=baselines))
        return sorted(fingerprints_of_scored(config))

    assert keys(**data) == ["data.test", "data.validation"]
    assert keys(**data | {"validation": None}) == ["data.test", "data.train"]
    assert keys(lead=3, **data) == keys(baselines=False, **data) == ["data.test"]
    assert keys("validation", **data) == ["data.validation"]
    assert keys(**data | {"test": None}, baselines=False) == ["data.train"]
    assert keys(test=data["test"]) == ["data.test"]
    hub = SummarizationData(name="hub", hub=HubConfig(name="somebody/rows"))
    assert fingerprints_of_scored(EvaluateConfig(data=hub)) == {"data.hub.name": "somebody/rows"}
    assert fingerprints_of_scored(EvaluateConfig()) == {}


def test_where_results_of_the_docstrings_go_is_what_it_was() -> None:
    """No path is among their settings: results that are there already keep their place."""
    config = EvaluateConfig()
    for name in ("data", "generation", "eval", "precision"):
        assert by_content(getattr(config, name), {}, f"{name}.") == without_late(getattr(config, name))

"""What an override may hold: no look outside, no number that nothing takes, one value each."""

from __future__ import annotations

from pathlib import Path

import pytest

from helpers import warm_cli
from llmtrain.config.overrides.interpolation import resolver_in

START = ("train", "+experiment=bert_sum_fp32")


@pytest.mark.parametrize("text", ["${oc.env:A}", "a ${ oc.env : A}", "${oc.${data.summary}:A}", r"\\${oc.env:A}",
                                  "${a:", r"\${x} ${oc.env:A}", "${${${a}}:b}", r"\\\\${oc.decode:a}"])
def test_a_resolver_is_seen_wherever_its_name_comes_from(text: str) -> None:
    assert resolver_in(text)


@pytest.mark.parametrize("text", ["${data.train}", "${a}:${b}", r"\${oc.env:A}", r"\\\${oc.env:A}", "a:b", "{a: 1}",
                                  "$a:b", "${a.${b}.c} : d"])
def test_a_key_and_a_plain_text_are_no_resolver(text: str) -> None:
    assert resolver_in(text) is None


@pytest.mark.parametrize("override", ["data.document=${oc.${data.summary}:HF_TOKEN}",
                                      r"data.document=\\${oc.env:HF_TOKEN}",
                                      r"data.document=\\\${oc.env:HF_TOKEN}", r"data.document='\\${oc.env:HF_TOKEN}'",
                                      "data.train=[a,'${oc.env:HF_TOKEN}']"])
def test_no_way_of_writing_it_shows_the_environment(override: str, tmp_path: Path,
                                                    monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "kept-to-myself")
    result = warm_cli(*START, "--cfg", "job", override, "data.summary=env", cwd=tmp_path)
    assert result.returncode == 2 and "write the value itself" in result.stderr
    assert "kept-to-myself" not in result.stdout + result.stderr


def test_what_is_shown_is_struck_out_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("llmtrain.config.compose.resolver_in", lambda _: None)
    monkeypatch.setenv("HF_TOKEN", "kept-to-myself")
    for options in (["--cfg", "job"], ["--multirun", "--cfg", "job"]):
        result = warm_cli(*START, *options, "data.document=${oc.env:HF_TOKEN}", cwd=tmp_path)
        assert result.returncode == 0 and "document: '***'" in result.stdout.replace("document: ***", "document: '***'")


@pytest.mark.parametrize(("override", "told"), [
    ("trainer.max_steps=" + "9" * 5000, "give a shorter value"),
    ("trainer.max_steps=-" + "9" * 400, "must be more than 0"),
    ("trainer.batch_size=" + "9" * 400, "must be at most 9223372036854775807"),
    ("run.seed=99999999999999999999", "must be at most 9000000000000"),
    ("trainer.threads=10000000000", "must be at most 4096"),
    ("trainer.timeout_seconds=1e30", "must be at most 2000000"),
    ("optim.base_lr=" + "9" * 400, "optim.base_lr is a number out of range")])
def test_a_number_that_nothing_takes_is_refused_by_its_key(override: str, told: str, tmp_path: Path) -> None:
    result = warm_cli(*START, override, cwd=tmp_path)
    assert (result.returncode, result.stderr.count("\n")) == (2, 1), result.stderr[:400]
    assert told in result.stderr and override.partition("=")[0] in result.stderr


@pytest.mark.parametrize(("command", "told"), [
    (["train"], "add --multirun, or quote the value"), (["train", "--cfg", "job"], "add --multirun"),
    (["verify-resume"], "give one value, or quote it"), (["data", "show"], "give one value, or quote it"),
    (["config"], "give one value, or quote it"), (["eval"], "give one value, or quote it"),
    (["summarize", "checkpoint=x"], "")])
def test_several_values_are_offered_multirun_where_there_is_one(command: list[str], told: str, tmp_path: Path) -> None:
    result = warm_cli(*command, "data.document=a,b", cwd=tmp_path)
    assert (result.returncode, result.stderr.count("\n")) == (2, 1), result.stderr
    assert told in result.stderr
    assert ("--multirun" in result.stderr) == (command[0] == "train")


def test_data_show_takes_no_sweep(tmp_path: Path) -> None:
    result = warm_cli("data", "show", "show.rows=1,2", cwd=tmp_path)
    assert (result.returncode, result.stderr) == (2, "llmtrain: show.rows=1,2 is a sweep; give one value\n")

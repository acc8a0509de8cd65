"""What is struck out of every message, and what led to an error."""

from __future__ import annotations

from itertools import islice

import pytest

from llmtrain.core.errors import CheckpointError, ConfigError, behind, redact, shorten
from llmtrain.models.backbone.load_errors import refusing

HUB, OTHER = "hf_" + "a1B2" * 8, "ghp_0123456789abcdef"


@pytest.mark.parametrize("text", [
    f"run.name={HUB}", f"my_{HUB}", f"https%3A%2F%2Fuser%3A{HUB}%40host", f"https://user:{OTHER}@host/a.jsonl",
    f"https://{OTHER}@host/a.jsonl", f"s3://:{OTHER}@bucket/x", f"https://user:{OTHER}:more@host",
    f"https://user:p@{OTHER}@host/x", f"https://user:a/{OTHER}@host", f"https://user:p@a/{OTHER}@host/x"])
def test_tokens_and_logins_are_struck_out(text: str) -> None:
    told = ConfigError(f"no file at {text}; check it").problems[0]
    assert HUB not in told and OTHER not in told and "***" in told


@pytest.mark.parametrize("text", ["hf_hub", "https://host/a@b.jsonl", "s3://bucket/key", "a@b:c", "runs/hf_short",
                                  "https://host:8080/a@b", "at https://host/a; ask a@b"])
def test_the_rest_is_told_as_it_is(text: str) -> None:
    assert redact(text) == text


def test_what_the_environment_holds_is_struck_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "not-the-usual-form")
    assert redact("a not-the-usual-form b") == "a *** b"
    monkeypatch.setenv("HF_TOKEN", "x")
    assert redact("x stands in every word") == "x stands in every word"
    monkeypatch.setenv("HF_TOKEN", "not-the-usual-form\n")  # as a container's file of secrets gives it
    assert redact("a not-the-usual-form b") == "a *** b"


@pytest.mark.parametrize("before", range(60, 110))
def test_what_is_cut_is_struck_out_before(before: int) -> None:
    told = shorten("x" * before + f" {HUB} " + "y\n" * 200, 150)
    assert len(told) == 150 and told.endswith("y y y")
    assert not any(HUB[start:start + 6] in told for start in range(len(HUB) - 5))


@pytest.mark.parametrize("length", range(100, 160, 7))
def test_no_part_of_a_token_is_left_where_a_message_is_cut(length: int) -> None:
    with pytest.raises(CheckpointError) as told, refusing(CheckpointError, "before", "; after"):
        raise ValueError("z" * length + " hf_" + "a" * 34)
    assert "hf_" not in str(told.value) and "***" in str(told.value)


def test_a_chain_of_errors_ends_where_it_leads_back() -> None:
    first, second = ValueError("first"), OSError("second")
    first.__cause__, second.__cause__ = second, first  # a library's `raise error from error` does the like
    assert list(islice(behind(first), 3)) == [first, second]

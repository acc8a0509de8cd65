"""The facts of a run: each is found once, and everything that does not go together is told at once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import FrozenInstanceError
from pathlib import Path
from typing import Any

import pytest

from helpers import make_tiny_base
from llmtrain.config.schema import TrainConfig
from llmtrain.config.sections.model import ModelConfig
from llmtrain.core.errors import CheckpointError, ConfigError
from llmtrain.models.backbone import pretrained
from llmtrain.models.heads.prefix_lm.options import PrefixLmHeadConfig
from llmtrain.models.prefix_lm import LlmtrainForPrefixLM
from llmtrain.training import resolve
from running import Runs


@pytest.fixture
def runs(tiny_base: Path, tmp_path: Path) -> Iterator[Runs]:
    made = Runs(tiny_base, tmp_path)
    yield made
    made.close()


def test_the_facts_of_a_run_are_its_own_and_do_not_change(runs: Runs, tiny_base: Path) -> None:
    spec = resolve.resolve(runs.config("objective.terms=[{name: summary, lam: 2}, {name: select}, {name: mlm}]",
                                       "data.max_source_tokens=100"))
    assert [term.name for term in spec.terms.every] == ["mlm", "select", "summary"]
    assert spec.terms.base == ("mlm", "select") and spec.terms.own_pass == ("mlm",)
    assert spec.terms.trains_task and spec.terms.needs_targets and spec.terms.leaves_unread
    (task,) = spec.tasks
    assert spec.task.name == "summarization" and task.task.name == "summarization"
    assert task.config is spec.config and task.sentence_input is None and task.behind_document == 0
    assert (spec.base.width, spec.base.positions, spec.base.family.causal) == (32, 128, False)
    assert spec.base.folder == tiny_base and spec.start.base is spec.base and spec.start.model is None
    assert spec.positions_needed == 100
    with pytest.raises(FrozenInstanceError):
        spec.base = spec.base  # type: ignore[misc]


def written_behind(config: TrainConfig) -> TrainConfig:
    """The configuration with head=prefix_lm, which has other options than the one that :class:`Runs` sets."""
    config.head = PrefixLmHeadConfig(prompt="red")
    return config


def test_a_head_that_writes_behind_the_document_shares_its_positions(runs: Runs) -> None:
    spec = resolve.resolve(written_behind(runs.config("generation.max_new_tokens=28")))
    assert (spec.tasks[0].behind_document, spec.positions_needed) == (32, 96)  # data.max_summary_tokens is longer


def test_everything_that_a_base_cannot_do_is_told_at_once(tmp_path: Path) -> None:
    runs = Runs(make_tiny_base(tmp_path / "gpt", "gpt2"), tmp_path)
    with pytest.raises(ConfigError) as caught:
        resolve.resolve(runs.config("objective.base=mlm", "data.max_source_tokens=1000", "model.freeze=3"))
    told = ("objective mlm does not suit the base", "model.freeze=3 but the base has 2 layers",
            "data.max_source_tokens=1000 is more than the 128 tokens")
    assert len(caught.value.problems) == len(told)
    assert all(part in line for part, line in zip(told, caught.value.problems, strict=True))


def test_a_weighting_that_reads_a_frozen_base_is_told_before_its_weights_are_read(
        runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pretrained, "load_trunk", lambda *_: pytest.fail("weights were read"))
    config = runs.config("objective.weighting=gradnorm", "model.freeze=2")
    with pytest.raises(ConfigError, match=r"reads gradients of the base's last layer and model.freeze=2 leaves none"):
        resolve.resolve(config)
    config.model.freeze_until_step = 3
    resolve.resolve(config)  # for a time: the gradients are there


def test_ids_without_an_embedding_are_a_damaged_checkpoints(runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resolve, "misfits", lambda *_: ["the tokenizer has ids up to 9; restore the model's own"])
    with pytest.raises(CheckpointError, match="ids up to 9"):
        resolve.resolve(runs.config())
    with pytest.raises(ConfigError) as caught:  # what is asked for is wrong too
        resolve.resolve(runs.config("data.max_source_tokens=1"))
    assert len(caught.value.problems) == 2


def test_a_start_asks_for_its_base_once(runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    find, tokenizer = pretrained.find_base, pretrained.tokenizer_in
    monkeypatch.setattr(pretrained, "find_base", lambda *given: asked.append("base") or find(*given))
    monkeypatch.setattr(pretrained, "tokenizer_in", lambda *given: asked.append("tokenizer") or tokenizer(*given))
    config = written_behind(runs.config("objective.base=mlm"))
    run = runs.build(config)
    assert asked == ["base", "tokenizer"]
    assert run.spec.base.tokenizer.split_special_tokens is True


def test_a_prompt_leaves_the_tokenizer_as_it_was(tiny_base: Path) -> None:
    """The prompt may hold control tokens; documents are text."""
    base = pretrained.open_base(ModelConfig(path=str(tiny_base)))
    model = LlmtrainForPrefixLM.from_base(base, PrefixLmHeadConfig(prompt="[SEP] red"))
    tokenizer: Any = base.tokenizer
    assert tokenizer.sep_token_id in [*model.config.prompt_ids, model.config.prompt_end]
    assert tokenizer.backend_tokenizer.encode_special_tokens is True

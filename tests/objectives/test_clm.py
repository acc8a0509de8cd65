"""Causal language modelling beside the summary: its value, its output embedding, its count."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from helpers import make_tiny_base
from running import Runs, gradients, take, uneven

CLM = ("objective.base=clm", "optim.clip_norm=0", "trainer.bucket=1")


@pytest.fixture(params=["gpt2", "llama"])
def runs(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Runs]:
    made = Runs(make_tiny_base(tmp_path / "base", request.param), tmp_path, uneven(24))
    yield made
    made.close()


@pytest.mark.parametrize("untied", [False, True])
def test_it_is_the_bases_own_loss(untied: bool, runs: Runs) -> None:
    """Against transformers' language model of the same folder, over the same tokens, row by row."""
    model = AutoModelForCausalLM.from_pretrained(runs.base).eval()
    if untied:
        model.config.tie_word_embeddings = False
        torch.manual_seed(1)
        model.lm_head.weight = torch.nn.Parameter(torch.randn_like(model.lm_head.weight) * 0.1)
        model.save_pretrained(runs.base)
    run = runs(*CLM)
    batch = next(iter(run.data.loader.iterate(0))).micro[0]
    run.model.module.eval()
    sums, counts = run.model.module(batch, 0), run.model.module.counts(batch)
    labels = torch.where(batch["attention_mask"] > 0, batch["input_ids"], -100)
    with torch.no_grad():
        logits = model(batch["input_ids"], attention_mask=batch["attention_mask"]).logits
    wanted = torch.nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten(), reduction="sum")
    assert sums["clm"].item() == pytest.approx(wanted.item(), rel=1e-5)
    assert int(counts["clm"]) == int((labels[:, 1:] != -100).sum()) > 0


def test_a_step_is_the_same_in_micro_batches_and_in_chunks(runs: Runs) -> None:
    found = []
    for more in ((), ("trainer.accumulate=2",), ("objective.clm.chunk_tokens=16",)):
        run = runs(*CLM, *more)
        (result,) = take(run)
        found.append((result.losses, gradients(run)))
    losses, whole = found[0]
    for other, parts in found[1:]:
        assert other == pytest.approx(losses, rel=1e-5)
        assert parts.keys() == whole.keys()
        for name, value in whole.items():
            assert torch.allclose(value, parts[name], atol=2e-6, rtol=2e-4), name


def test_a_share_of_the_rows_is_chosen_by_row(runs: Runs) -> None:
    run = runs(*CLM, "objective.clm.fraction=0.5", "trainer.batch_size=24")
    labels = next(iter(run.data.loader.iterate(0))).micro[0]["clm_labels"]
    assert 4 < int((labels != -100).any(1).sum()) < 20

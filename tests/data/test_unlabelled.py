"""Documents alone beside pairs: how steps are mixed, and what the shared pass need not read."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.objectives.test_joint_module import joint

from helpers import pairs
from llmtrain.config.load import load_config
from llmtrain.config.run_id import run_hash
from llmtrain.config.schema import TrainConfig
from llmtrain.config.terms import Terms
from llmtrain.data.examples import Example
from llmtrain.data.features import Features, tokenize
from llmtrain.data.loader import Collate, StepLoader, one_task
from llmtrain.data.order import Order, Request
from llmtrain.data.unread_rows import LeaveUnread, rows_of
from llmtrain.models.backbone.pretrained import load_tokenizer
from llmtrain.objectives.base import Objective
from llmtrain.objectives.build import transforms_of
from llmtrain.tasks.summarization.options import SummarizationData

PAIRS, ALONE = 20, 33


def order(**values: Any) -> Order:
    lengths = np.random.Generator(np.random.PCG64(0)).integers(5, 90, PAIRS + ALONE)
    return Order(lengths, **{"batch_size": 8, "bucket": 2, "seed": 0, "alone": ALONE, "share": 0.25} | values)


def test_a_step_takes_its_share_of_documents_and_an_epoch_is_a_pass_over_the_pairs() -> None:
    one = order()
    assert (one.alone_a_step, one.steps_per_epoch) == (2, 4)
    for epoch in range(3):
        plan = one.plan(epoch)
        assert Counter(row for rows in plan for row in rows if row < PAIRS) == Counter(range(PAIRS))
        assert [sum(row >= PAIRS for row in rows) for rows in plan] == [2] * 4
        assert plan == order().plan(epoch)


@pytest.mark.parametrize("share", [0.25, 0.9])
def test_documents_are_passed_over_at_a_pace_of_their_own(share: float) -> None:
    one = order(share=share)
    read = [row for epoch in range(40) for row in sorted(r for rows in one.plan(epoch) for r in rows if r >= PAIRS)]
    whole = len(read) // ALONE
    assert set(Counter(read).values()) <= {whole, whole + 1}  # none is read twice before every other was
    passes = [one.plan(epoch) for epoch in range(6)]
    assert all(first != second for first, second in pairwise(passes))


def test_any_share_leaves_room_for_both() -> None:
    assert [order(share=share, batch_size=4).alone_a_step for share in (0.01, 0.5, 0.99)] == [1, 2, 3]
    assert order(alone=0).alone_a_step == 0
    assert order(alone=0).steps_per_epoch == 7


@pytest.mark.parametrize(("batch", "share", "count"), [(8, 0.5, 4), (8, 0.5, 8), (16, 0.25, 8), (4, 0.25, 4)])
def test_micro_batches_are_of_one_size_and_of_about_one_length(batch: int, share: float, count: int) -> None:
    one = order(batch_size=batch, share=share)
    rows = next(rows for rows in one.plan(0) if len(rows) == batch)
    chunks = one.chunks(rows, count)
    assert sorted(row for chunk in chunks for row in chunk) == sorted(rows)
    assert {len(chunk) for chunk in chunks} == {batch // count}
    for kind in (lambda row: row < PAIRS, lambda row: row >= PAIRS):
        lengths = [one.lengths[row] for chunk in chunks for row in chunk if kind(row)]
        if count > 1 and batch // count == 2:
            assert lengths == sorted(lengths)


def test_the_longest_micro_batch_has_both_kinds_and_grows_with_its_size() -> None:
    one = order(share=0.5)
    longest = one.longest(4)
    assert [row >= PAIRS for row in longest] == [False, False, True, True]
    assert one.lengths[longest[0]] == one.lengths[:PAIRS].max()
    assert one.lengths[longest[2]] == one.lengths[PAIRS:].max()
    assert [len(one.longest(count)) for count in (1, 2, 3, 4)] == [1, 2, 3, 4]


@pytest.fixture(scope="module")
def features(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Features:
    examples = [Example(r["id"], r["document"], r["summary"] if number < 4 else "", ())
                for number, r in enumerate(pairs(12))]
    config = SummarizationData(cache_dir=str(tmp_path_factory.mktemp("c")))
    return tokenize(examples, load_tokenizer(str(tiny_base)), config)


def batch_of(features: Features, rows: list[int], *transforms: Any) -> Any:
    return Collate(features, 0, 0, list(transforms))(Request(0, 0, rows))


def test_what_the_shared_pass_leaves_out_changes_no_loss_and_no_gradient(tiny_base: Path, features: Features) -> None:
    module = joint(tiny_base, "mlm", fraction=0.5)
    mask = module.objectives["mlm"].transform()
    rows = [0, 5, 1, 7, 9]
    whole, left = batch_of(features, rows, mask), batch_of(features, rows, mask, LeaveUnread(True))
    assert left["example_id"].tolist() == [0, 1]
    assert sorted(rows_of(left)) == sorted(rows_of(whole)) == sorted(rows)
    assert whole["tokens"] == left["tokens"] > 0
    gradients = []
    for batch in (whole, left):
        module.zero_grad()
        sums = module(batch, 5)
        torch.stack(list(sums.values())).sum().backward()
        gradients.append((sums, [p.grad.clone() for p in module.parameters() if p.grad is not None]))
    for name in ("mlm", "summary"):
        torch.testing.assert_close(gradients[0][0][name], gradients[1][0][name], rtol=1e-5, atol=1e-5)
    for one, other in zip(gradients[0][1], gradients[1][1], strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("rows", "summaries"), [([5, 7], True), ([0, 1, 5], False)])
def test_a_batch_that_nothing_needs_to_read_keeps_a_row_of_no_weight(tiny_base: Path, features: Features,
                                                                    rows: list[int], summaries: bool) -> None:
    module = joint(tiny_base, "mlm", fraction=1.0)
    batch = batch_of(features, rows, module.objectives["mlm"].transform(), LeaveUnread(summaries))
    assert len(batch["input_ids"]) == 1
    counts = module.counts(batch)
    assert (int(counts["summary"]), int(counts["mlm"]) > 0) == (0, True)
    assert sorted(rows_of(batch)) == rows
    sums = module(batch, 5)
    assert sums["summary"].item() == 0
    assert sums["mlm"].item() > 0


def test_every_document_alone_takes_the_masked_pass(tiny_base: Path, features: Features) -> None:
    mask = joint(tiny_base, "mlm", fraction=0.0).objectives["mlm"]
    assert isinstance(mask, Objective)
    assert len(batch_of(features, list(range(12)), mask.transform())["mlm_labels"]) == 8


def test_a_document_alone_is_masked_otherwise_at_each_reading(tiny_base: Path, features: Features) -> None:
    mask = joint(tiny_base, "mlm", fraction=1.0).objectives["mlm"].transform()
    collate = Collate(features, 0, 0, [mask])
    for row, moves in ((7, True), (0, False)):  # of a pair, the epoch alone tells
        one, again, later = (collate(Request(step, 0, [row]))["mlm_input_ids"] for step in (3, 3, 4))
        assert torch.equal(one, again)
        assert torch.equal(one, later) is not moves


@pytest.mark.parametrize(("terms", "left"), [
    ("[{name: mlm, lam: 1}, {name: select, lam: 1}, {name: summary, lam: 1}]", [0, 1]),
    ("[{name: mlm, lam: 1}, {name: select, lam: 1}]", [0, 1]),
    ("[{name: mlm, lam: 1}, {name: clm, lam: 1}, {name: summary, lam: 1}]", [0, 1, 5, 7]),
    ("[{name: select, lam: 1}, {name: summary, lam: 1}]", [0, 1, 5, 7])])
def test_the_shared_pass_reads_what_a_term_takes_from_it(tiny_base: Path, features: Features, terms: str,
                                                         left: list[int]) -> None:
    asked = Terms.of(load_config("train", [f"objective.terms={terms}"]).objective)
    module = joint(tiny_base, "mlm", fraction=1.0)
    if "mlm" not in terms:
        module.objectives = torch.nn.ModuleDict()
    batch = batch_of(features, [0, 1, 5, 7], *transforms_of(asked, module))
    assert batch["example_id"].tolist() == left
    assert sorted(rows_of(batch)) == [0, 1, 5, 7]


def test_the_share_counts_where_documents_are_mixed_in() -> None:
    def hashed(*overrides: str) -> str:
        config = load_config("train", ["objective.base=mlm", *overrides])
        assert isinstance(config, TrainConfig)
        return run_hash(config)

    assert hashed() == hashed("data.unlabelled_share=0.3")
    assert hashed("data.unlabelled=a.jsonl") != hashed("data.unlabelled=a.jsonl", "data.unlabelled_share=0.3")
    alone = ("objective=base_only", "data.unlabelled=a.jsonl")
    assert hashed(*alone) == hashed(*alone, "data.unlabelled_share=0.3")


def test_processes_and_resumes_see_the_same_mixture(features: Features) -> None:
    def steps(start: int = 0, **values: Any) -> list[list[int]]:
        made = one_task(features, batch_size=4, bucket=2, seed=0, pad_id=0, transforms=[], alone=8, share=0.5)
        shared = {"accumulate": 1, "rank": 0, "world_size": 1}
        stream = StepLoader(*made, **shared | values).iterate(start)
        return [[row for batch in next(stream).micro if not batch["dummy"] for row in rows_of(batch)]
                for _ in range(7 - start)]

    whole = steps()
    assert steps(3) == whole[3:]
    assert steps(workers=2) == whole
    ranks = [steps(world_size=2, rank=rank, accumulate=2) for rank in (0, 1)]
    assert [sorted(a + b) for a, b in zip(*ranks, strict=True)] == [sorted(rows) for rows in whole]

"""The head that selects and writes: what steers attention, its gradients, decoding, citations."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from helpers import tiny_tokenizer
from llmtrain.config.sections.generation import GenerationConfig
from llmtrain.config.sections.model import ModelConfig
from llmtrain.inference.generated import CitedSentence, CopyTrace, Generated
from llmtrain.models.backbone.pretrained import open_base
from llmtrain.models.heads.base import EncoderStates
from llmtrain.models.heads.ext_abs.options import ExtAbsHeadConfig
from llmtrain.models.seq2seq import LlmtrainForSeq2SeqLM
from llmtrain.nn.attention import attend
from llmtrain.tasks.summarization.citations import cite

# three documents: sentences of 3 and 4 tokens; of 5, none and 4 tokens; one of 6
START = torch.tensor([[1, 4, 0], [1, 6, 6], [1, 0, 0]])
END = torch.tensor([[4, 8, 0], [6, 6, 10], [7, 0, 0]])


def build(base: Path, **options: Any) -> LlmtrainForSeq2SeqLM:
    torch.manual_seed(0)
    opened = open_base(ModelConfig(path=str(base)))
    model = LlmtrainForSeq2SeqLM.from_base(opened, ExtAbsHeadConfig(layers=1, **options))
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for p in model.head.scorer.parameters():
            p.add_(torch.randn(p.shape, generator=generator) * 0.5)
        model.head.output_bias.copy_(torch.randn(model.head.output_bias.shape, generator=generator))
    return model.eval()


def batch(labelled: bool = False) -> dict[str, Tensor]:
    ids = torch.randint(5, 150, (3, 11), generator=torch.Generator().manual_seed(3))
    mask = torch.ones_like(ids)
    mask[0, 9:], mask[2, 8:] = 0, 0
    made = {"input_ids": ids, "attention_mask": mask, "sentence_start": START, "sentence_end": END,
            "labels": ids[:, 2:7]}
    return made | ({"sentence_labels": torch.tensor([[0, 1, 0], [0, 0, 1], [1, 0, 0]])} if labelled else {})


def scored(model: LlmtrainForSeq2SeqLM, scores: list[list[float]], labelled: bool = False) -> EncoderStates:
    states = model.read(batch(labelled))
    states.shared = {"sentence_scores": torch.tensor(scores)}
    return states


SCORES = [[2.0, -1.0, 9.0], [0.0, 9.0, 1.0], [-3.0, 9.0, 9.0]]  # 9: no such sentence


def test_soft_steering_adds_log_probabilities_relative_to_the_likeliest(tiny_base: Path) -> None:
    model = build(tiny_base)
    added = model.head.steer(scored(model, SCORES)).steering_BS
    less = float(F.logsigmoid(torch.tensor(-1.0)) - F.logsigmoid(torch.tensor(2.0)))
    other = float(F.logsigmoid(torch.tensor(0.0)) - F.logsigmoid(torch.tensor(1.0)))
    wanted = torch.zeros(3, 11)
    wanted[0, 4:8], wanted[1, 1:6] = less, other
    torch.testing.assert_close(added, wanted)


def test_top_k_reads_the_likeliest_and_in_training_the_labelled_first(tiny_base: Path) -> None:
    model = build(tiny_base, steer="top_k", count=1)
    read = model.head.steer(scored(model, SCORES, labelled=True)).steering_BS == 0
    assert read[0].tolist() == [True] * 4 + [False] * 4 + [True] * 3
    assert read[1].tolist() == [True] + [False] * 5 + [True] * 5
    assert read[2].all()
    model.train()
    read = model.head.steer(scored(model, SCORES, labelled=True)).steering_BS == 0
    assert read[0].tolist() == [True] + [False] * 3 + [True] * 7


@pytest.mark.parametrize("steer", ["soft", "top_k"])
def test_what_is_steered_away_from_is_neither_read_nor_copied(tiny_base: Path, steer: str) -> None:
    """With all weight on one sentence the other's tokens may be anything."""
    model = build(tiny_base, steer=steer, count=1)
    states = scored(model, [[60.0, -1e6, 0.0], [60.0, 0.0, -1e6], [1.0, 0.0, 0.0]])
    changed = replace(states, hidden_BSD=states.hidden_BSD.clone(), input_ids_BS=states.input_ids_BS.clone())
    for row, place in ((0, slice(4, 8)), (1, slice(6, 10))):
        changed.hidden_BSD[row, place] += 1.0
        changed.input_ids_BS[row, place] = 7
    written = batch()["labels"]
    same = [model.head.log_probabilities(written, s)[:, :, 8:] for s in (states, changed)]
    torch.testing.assert_close(*same, rtol=0, atol=1e-5)
    unsteered = [model.head.log_probabilities(written, replace(s, sentences=None)) for s in (states, changed)]
    assert (unsteered[0] - unsteered[1])[:2].abs().max() > 0.01


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_an_added_mask_has_the_gradient_of_plain_attention(dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(1)
    q, k, v = (torch.randn(2, 3, n, 8, generator=generator).to(dtype).requires_grad_() for n in (4, 6, 6))
    mask = torch.randn(2, 1, 1, 6, generator=generator).requires_grad_()
    upstream = torch.randn(2, 3, 4, 8, generator=generator)
    attend(q, k, v, mask).float().backward(upstream)
    mine, mask.grad = mask.grad.clone(), None
    plain = torch.softmax(q.float() @ k.float().transpose(2, 3) * 8**-0.5 + mask, -1) @ v.float()
    plain.backward(upstream)
    torch.testing.assert_close(mine, mask.grad, rtol=0, atol=1e-5 if dtype == torch.float32 else 0.05)
    assert mask.grad.abs().max() > 0.3


def test_the_written_loss_trains_the_selection_softly_and_not_by_top_k(tiny_base: Path) -> None:
    for steer in ("soft", "top_k"):
        model = build(tiny_base, steer=steer, count=1)
        states = model.read(batch())
        states.shared = {}
        model.head.nll(states, batch()["labels"])[0].backward()
        moved = [p.grad is not None and bool(p.grad.abs().sum() > 0) for p in model.head.scorer.parameters()]
        assert all(moved) if steer == "soft" else not any(moved)


@torch.no_grad()
@pytest.mark.parametrize("beams", [1, 3])
@pytest.mark.parametrize("steer", ["soft", "top_k"])
def test_generation_is_steered_and_does_not_depend_on_the_batch(tiny_base: Path, beams: int, steer: str) -> None:
    model = build(tiny_base, steer=steer, count=1)
    config = GenerationConfig(num_beams=beams, max_new_tokens=6)
    together = model.write(batch(), config)
    for row in range(3):
        width = int(batch()["attention_mask"][row].sum())
        alone = {name: value[row:row + 1, :width] if value.shape[1] == 11 else value[row:row + 1]
                 for name, value in batch().items()}
        assert model.write(alone, config)[0][:6] == together[row][:len(model.write(alone, config)[0])][:6]
    plain = model.generate(input_ids=batch()["input_ids"], attention_mask=batch()["attention_mask"], num_beams=beams,
                           do_sample=False, max_new_tokens=6, no_repeat_ngram_size=3)
    assert plain.shape[0] == 3  # the ordinary call works, without steering
    if beams == 1:  # each token is the likeliest of one steered teacher-forced pass
        (draft, *_) = model.predict(batch(), config, evidence=True)
        states = model.read(batch())
        row = together[0]
        log_TV = model.head.log_probabilities(torch.tensor([[model.head.start_id, *row[:-1]]] * 3), states)[0]
        assert int(log_TV[0].argmax()) == row[0]
        assert len(draft.traced or []) == len(draft.token_ids or [])


def test_evidence_names_the_sentence_that_was_copied(tiny_base: Path) -> None:
    model = build(tiny_base)
    with torch.no_grad():  # copy always, and what follows the token just written
        model.head.gate.bias.fill_(20.0)
        model.head.pointer_match.bias.fill_(40.0)
    given = batch()
    rows = [given["input_ids"][0, 4:7].tolist(), given["input_ids"][1, 7:10].tolist(), [9, 9]]
    with torch.no_grad():
        drafts = model.explain(given, rows)
    for row, draft in enumerate(drafts):
        assert draft.traced is not None
        for weights in draft.traced[1:]:  # the first token follows the start token, which stands nowhere
            assert sum(weights) <= 1 + 1e-5
            if row < 2:
                assert weights[(1, 2)[row]] > 0.95
        assert [choice.index for choice in draft.sentences or []] == [[0, 1], [0, 2], [0]][row]


def test_each_summary_sentence_cites_by_its_own_tokens() -> None:
    tokenizer = tiny_tokenizer()
    ids = tokenizer("sort the list. read a file.", add_special_tokens=False)["input_ids"]
    assert len(ids) == 8
    weights = [[0.1, 0.5, 0.2]] * 4 + [[0.7, 0.02, 0.1]] * 4
    one = Generated("Sort the List. Read a file.", ids, 0.0, traced=CopyTrace(weights, [(0, 5), (6, 9), (9, 20)]))
    (made,) = cite(tokenizer, [one], 0.2)
    assert made.citations is not None
    assert [c.text for c in made.citations] == ["Sort the List.", "Read a file."]
    assert made.citations[0].sources == [CitedSentence(1, 6, 9, 0.625), CitedSentence(2, 9, 20, 0.25)]
    assert made.citations[1].sources == [CitedSentence(0, 0, 5, 0.8537)]
    assert [made.text[c.start:c.end] for c in made.citations] == [c.text for c in made.citations]
    (strict,) = cite(tokenizer, [one], 1.0)
    assert [[s.index for s in c.sources] for c in strict.citations or []] == [[1], [0]]
    (nothing,) = cite(tokenizer, [replace(one, traced=CopyTrace([[]] * 8, []))], 0.2)
    assert [c.sources for c in nothing.citations or []] == [[], []]

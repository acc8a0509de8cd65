"""What is drawn by chance: from which numbers, in which order, and to which tokens."""

from __future__ import annotations

import math
from itertools import permutations
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from tests.objectives.weighting.test_formulas import losses, weighting
from tests.objectives.weighting.test_formulas_backward import Module, work
from torch import Tensor

from llmtrain.data.loader import Context
from llmtrain.objectives import clm, denoise, mlm
from llmtrain.objectives.base import Vocabulary, row_generator
from llmtrain.objectives.clm import NextTokens
from llmtrain.objectives.denoise import Denoise, MaskAndSeed, MaskSpans
from llmtrain.objectives.mlm import MaskedLm, MaskTokens
from llmtrain.objectives.options import ClmConfig, DenoiseConfig, MlmConfig
from llmtrain.objectives.weighting import pcgrad
from llmtrain.objectives.weighting.gradnorm import GradNorm
from llmtrain.objectives.weighting.pcgrad import PcGrad
from llmtrain.objectives.weighting.uncertainty import Uncertainty

SIZE = 60
VOCABULARY: Any = Vocabulary(SIZE, 4, frozenset(range(5)), torch.zeros(SIZE, dtype=torch.bool))
CONTEXT: Any = Context(seed=3, epoch=1, step=8)


def seeded(*numbers: int) -> torch.Generator:
    return torch.Generator().manual_seed(hash(numbers) % 2 ** 63)


def batch(rows: int, width: int, unlabelled: int = 0) -> dict[str, Tensor]:
    """``rows`` documents, the last ``unlabelled`` of them without a summary."""
    ids = torch.randint(5, SIZE, (rows, width), generator=torch.Generator().manual_seed(2))
    labels = torch.full((rows, 2), 7)
    labels[rows - unlabelled:] = -100
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids), "example_id": torch.arange(rows) + 40,
            "labels": labels}


# Streams


def test_every_user_of_chance_has_a_stream_of_its_own_and_keeps_it() -> None:
    """Two alike would draw the same rows and masks; one that changes gives every stored run other numbers."""
    streams = {"mlm": mlm.STREAM, "clm": clm.STREAM, "denoise": denoise.STREAM, "noise": denoise.NOISE_STREAM,
               "pcgrad": pcgrad.STREAM}
    assert streams == {"mlm": 1, "clm": 2, "denoise": 3, "noise": 4, "pcgrad": 101}
    assert len(set(streams.values())) == len(streams)
    assert MaskTokens(MlmConfig(), VOCABULARY).stream == 1


def test_a_rows_numbers_depend_on_seed_epoch_example_and_stream_each_in_its_place() -> None:
    found = {}
    for numbers in permutations((0, 1, 2, 3)):
        found[numbers] = row_generator(*numbers).initial_seed()
        assert found[numbers] == hash(numbers) % 2 ** 63
    assert len(set(found.values())) == 24
    for seed in range(40):  # hashes are negative as often as not
        assert row_generator(seed, 5, 9, 1).initial_seed() == hash((seed, 5, 9, 1)) % 2 ** 63


def test_masks_are_drawn_from_seed_epoch_and_example() -> None:
    made, given = batch(12, 30), batch(12, 30)
    MaskTokens(MlmConfig(fraction=0.5, mask_probability=0.3), VOCABULARY)(made, CONTEXT)
    row = 0
    for example in range(12):
        generator = seeded(3, 1, example + 40, 1)
        if torch.rand((), generator=generator) >= 0.5:
            continue
        predicted, kind = (torch.rand(30, generator=generator) for _ in range(2))
        drawn = torch.randint(SIZE, (30,), generator=generator)
        source = given["input_ids"][example]
        shown = [token if share >= 0.3 else 4 if what < 0.8 else other if what >= 0.9 else token for token, share,
                 what, other in zip(source.tolist(), predicted.tolist(), kind.tolist(), drawn.tolist(), strict=True)]
        assert made["mlm_input_ids"][row].tolist() == shown
        assert torch.equal(made["mlm_labels"][row], torch.where(predicted < 0.3, source, -100))
        row += 1
    assert row == len(made["mlm_labels"]) > 2


def test_rows_that_predict_the_next_token_are_drawn_from_seed_epoch_and_example() -> None:
    made = batch(40, 3)
    NextTokens(ClmConfig(fraction=0.5))(made, CONTEXT)
    wanted = [bool(torch.rand((), generator=seeded(3, 1, example + 40, 2)) < 0.5) for example in range(40)]
    assert (made["clm_labels"] != -100).any(1).tolist() == wanted


def test_each_chosen_row_has_a_seed_for_its_noise() -> None:
    made = batch(8, 6, unlabelled=3)
    MaskAndSeed(MlmConfig(fraction=0.5), VOCABULARY, "denoise", 3)(made, CONTEXT)
    wanted = [hash((3, 8 if example >= 5 else 1, example + 40, 4)) % 2 ** 63 for example in range(8)
              if example >= 5 or torch.rand((), generator=seeded(3, 1, example + 40, 3)) < 0.5]
    assert made["denoise_seed"].tolist() == wanted
    assert len(made["denoise_labels"]) == len(wanted) > 3


@pytest.mark.parametrize("step", range(6))
def test_pcgrads_order_is_drawn_from_seed_and_step(step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []

    def projected(gradients: Any, generator: torch.Generator) -> Any:
        seen.append(generator.initial_seed())
        return gradients[0]

    monkeypatch.setattr(pcgrad, "projected", projected)
    made, given = weighting(PcGrad), work(Module(), 1)
    given.step = step
    made.backward(given)
    assert seen == [hash((3, step, 101)) % 2 ** 63]


# Masked spans


def spans_written_out(open_S: list[bool], share: float, mean: float, generator: torch.Generator) -> dict[int, float]:
    """What each predicted place becomes: spans grow token by token, to a geometric length, while there is room."""
    places = [place for place, free in enumerate(open_S) if free]
    budget, found = math.floor(len(places) * share + torch.rand((), generator=generator).item()), {}
    for start in torch.randperm(len(places), generator=generator).tolist() if budget else []:
        if len(found) == budget:
            break
        draw, kind = torch.rand(2, generator=generator).tolist()
        left, at = 1, places[start]
        while draw >= 1 - (1 - 1 / mean) ** left:  # the distribution function of a geometric number
            left += 1
        while left and len(found) < budget and at < len(open_S) and open_S[at] and at not in found:
            found[at] = kind
            left, at = left - 1, at + 1
    return found


@pytest.mark.parametrize(("share", "mean"), [(0.15, 3.0), (0.5, 1.5), (0.9, 6.0), (1.0, 1.0), (0.05, 2.0)])
def test_spans_written_out(share: float, mean: float) -> None:
    made = MaskSpans(MlmConfig(mask_probability=share), VOCABULARY, "denoise", 3, mean)
    for seed in range(60):
        source = torch.randint(0, SIZE, (seed % 23,), generator=torch.Generator().manual_seed(seed))
        if seed % 3 == 0:
            source[::5] = 2
        open_S = source > 4
        ours, exact = (torch.Generator().manual_seed(seed) for _ in range(2))
        predicted, kind = made._choose(source, open_S, ours)
        wanted = spans_written_out(open_S.tolist(), share, mean, exact)
        assert predicted.nonzero().squeeze(1).tolist() == sorted(wanted)
        assert {place: pytest.approx(kind[place].item()) for place in wanted} == wanted
        assert torch.equal(ours.get_state(), exact.get_state())  # what is drawn next is the same


def test_what_denoising_does_to_a_batch() -> None:
    def transform(**options: Any) -> Any:
        model: Any = SimpleNamespace(hidden_size=6)
        return Denoise(model, DenoiseConfig(fraction=0.4, mask_probability=0.3, warm_steps=7, **options), VOCABULARY,
                       None).transform()

    masking = MlmConfig(fraction=0.4, mask_probability=0.3, warm_steps=7)
    assert transform(span_length=4.5) == MaskSpans(masking, VOCABULARY, "denoise", 3, 4.5)
    assert transform(mode="consistency") == MaskAndSeed(masking, VOCABULARY, "denoise", 3)
    assert MaskSpans(masking, VOCABULARY).mean == DenoiseConfig().span_length == 3.0


@pytest.mark.parametrize("kind", [MaskedLm, Denoise])
def test_predicted_tokens_are_counted_and_no_others(kind: Any) -> None:
    model: Any = SimpleNamespace(hidden_size=6)
    term = kind(model, DenoiseConfig() if kind is Denoise else MlmConfig(), VOCABULARY, None)
    labels = torch.tensor([[-100, 7, -100, 0], [-100, -100, 9, -100]])
    assert term.count({f"{term.name}_labels": labels}).item() == 3


# What learned weights are given


def test_uncertaintys_gradient_is_a_half_less_each_terms_weighted_loss() -> None:
    made, given = weighting(Uncertainty, uncertainty={"lr": 0.05}), []
    made.log_variance.step = lambda gradient: given.append(gradient.tolist())
    made.after(SimpleNamespace(step=0, counts=losses(4, 0, 4)), losses(0.1, 3.0, 5.0))
    assert given[0] == pytest.approx([0.5 - 2.0 * 0.1, 0.0, 0.5 - 0.5 * 5.0])


@pytest.mark.parametrize("signs", [(1, -1, 1), (-1, 1, -1), (1, 1, -1)])
def test_gradnorms_targets_are_the_mean_norm_times_each_relative_rate(signs: tuple[int, int, int]) -> None:
    """Norms a hair above or below targets that rates of 4, 1 and 1 give by hand: 2, 1/2 and 1/2 of the mean."""
    made, given = weighting(GradNorm, gradnorm={"alpha": 1.0}), []
    made.first = losses(1.0, 2.0, 3.0)
    norms = [share * (1 + sign * 0.01) for share, sign in zip((2.0, 0.5, 0.5), signs, strict=True)]
    targets = [share * sum(norms) / 3 for share in (2.0, 0.5, 0.5)]
    made.norms, made.weight.step = norms, lambda gradient: given.append(gradient.tolist())
    made.after(SimpleNamespace(), losses(4.0, 2.0, 3.0))
    assert given[0] == pytest.approx([math.copysign(norm / lam, norm - target) for norm, target, lam in
                                      zip(norms, targets, (2.0, 1.0, 0.5), strict=True)])

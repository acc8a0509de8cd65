"""Denoising: the masked-LM head predicts tokens of a corrupted document, in one of two modes.

``spans``: whole spans of geometric length are masked (Joshi et al. 2020, "SpanBERT", section 3.1; the corruption of
Raffel et al. 2020, "T5", section 3.1.4, without a decoder).

``consistency``: single tokens are masked, and the prediction shall not change under noise z on the trunk's input
embeddings (Aghajanyan et al. 2020, "Better Fine-Tuning by Reducing Representational Collapse", R3F):

    nll(p(x)) + weight * (KL(p(x) || p(x + z)) + KL(p(x + z) || p(x)))

Shapes: B rows, S source tokens, M predicted tokens, D width of the trunk, V vocabulary.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from llmtrain.data.batch import IGNORED, Batch, Context
from llmtrain.models.heads.base import EncoderStates
from llmtrain.models.task_model import TaskModel
from llmtrain.objectives.base import Transform, Vocabulary, connected_zero, row_generator
from llmtrain.objectives.mlm import MaskedLm, MaskTokens, moments
from llmtrain.objectives.options import CONSISTENCY, UNIFORM, DenoiseConfig

STREAM, NOISE_STREAM = 3, 4  # tell this term's random numbers from those of other terms


@dataclass(frozen=True)
class MaskSpans(MaskTokens):
    """Masks spans until the share is reached; a span becomes mask tokens, random ones or stays as one."""

    mean: float = 3.0

    def _choose(self, source_S: Tensor, open_S: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        predicted_S, kind_S = torch.zeros_like(open_S), torch.zeros(open_S.shape)
        places = open_S.nonzero().squeeze(1).tolist()
        # a share below one token is rounded up or down by chance, so that short rows keep it in the mean
        budget = int(len(places) * self.options.mask_probability + float(torch.rand((), generator=generator)))
        order = torch.randperm(len(places), generator=generator).tolist() if budget else []
        for start in order:
            if budget == 0:
                break
            draw, kind = torch.rand(2, generator=generator).tolist()
            length = min(budget, _geometric(draw, self.mean))
            for offset, place in enumerate(places[start:start + length]):
                if predicted_S[place] or place != places[start] + offset:  # another span, or a special token between
                    break
                predicted_S[place], kind_S[place], budget = True, kind, budget - 1
        return predicted_S, kind_S


@dataclass(frozen=True)
class MaskAndSeed(MaskTokens):
    """Also adds denoise_seed (B',), from which the noise of each chosen row is drawn."""

    def __call__(self, batch: Batch, context: Context) -> None:
        super().__call__(batch, context)
        when = moments(batch, context)
        seeds = [row_generator(context.seed, when[row], int(batch["example_id"][row]), NOISE_STREAM).initial_seed()
                 for row, _generator in self.chosen(batch, context)]
        batch["denoise_seed"] = torch.tensor(seeds, dtype=torch.long)


class Denoise(MaskedLm):
    """The base term that restores masked spans, or predicts masked tokens alike under noise."""

    name = "denoise"

    def __init__(self, model: TaskModel, options: DenoiseConfig, vocabulary: Vocabulary,
                 base_folder: Path | None) -> None:
        super().__init__(model, options.masking(), vocabulary, base_folder)
        self.denoise = options

    def transform(self) -> Transform:
        if self.denoise.mode == CONSISTENCY:
            return MaskAndSeed(self.options, self.vocabulary, self.name, STREAM)
        return MaskSpans(self.options, self.vocabulary, self.name, STREAM, self.denoise.span_length)

    def forward(self, model: TaskModel, states: EncoderStates, batch: Batch, step: int) -> Tensor:
        if self.denoise.mode != CONSISTENCY:
            return super().forward(model, states, batch, step)
        ids_BS, mask_BS, labels_BS = (batch[f"denoise_{key}"] for key in ("input_ids", "attention_mask", "labels"))
        at_M = (labels_BS != IGNORED).reshape(-1).nonzero().squeeze(1)
        if at_M.numel() == 0:
            return connected_zero(self, states.hidden_BSD)
        noise_BSD = self._noise(batch["denoise_seed"], mask_BS, model.hidden_size)
        clean_MV, noisy_MV = (
            self.predict(model, model.encode(ids_BS, mask_BS, noise).hidden_BSD, at_M, step).log_softmax(-1)
            for noise in (None, noise_BSD))
        nll = nn.functional.nll_loss(clean_MV, labels_BS.reshape(-1).index_select(0, at_M), reduction="sum")
        return nll + self.denoise.weight * symmetric_kl(clean_MV, noisy_MV)

    def _noise(self, seed_B: Tensor, mask_BS: Tensor, width: int) -> Tensor:
        """(B, S, D), drawn row by row on the CPU: alike on every device and whatever the batch's width."""
        noise_BSD = torch.zeros(*mask_BS.shape, width)
        for row, (seed, length) in enumerate(zip(seed_B.tolist(), mask_BS.sum(1).tolist(), strict=True)):
            generator, shape = torch.Generator().manual_seed(seed), (length, width)
            noise_BSD[row, :length] = (torch.rand(shape, generator=generator) * 2 - 1
                                       if self.denoise.noise == UNIFORM else torch.randn(shape, generator=generator))
        return (noise_BSD * self.denoise.sigma).to(mask_BS.device)


def symmetric_kl(left_MV: Tensor, right_MV: Tensor) -> Tensor:
    """KL(p || q) + KL(q || p) of log-probabilities, summed over M (0-dim)."""
    return ((left_MV.exp() - right_MV.exp()) * (left_MV - right_MV)).sum()


def _geometric(draw: float, mean: float) -> int:
    """A geometric number >= 1 with the given mean, from a uniform draw in [0, 1)."""
    return 1 if mean <= 1 else 1 + int(math.log1p(-draw) / math.log1p(-1 / mean))

"""Masked language modelling (Devlin et al. 2019, "BERT", section 3.1) beside the task term.

By default it runs on a second, masked pass over a share of the rows, so that the task term always reads the clean
document. A base without a pretrained masked-LM head gets a fresh one, which first learns alone on detached states.

Shapes: B rows, S source tokens, M masked tokens, D width of the trunk, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from llmtrain.data.batch import IGNORED, L1, Batch, Context
from llmtrain.models.backbone.families import pretrained_mlm_head
from llmtrain.models.heads.base import EncoderStates
from llmtrain.models.task_model import TaskModel
from llmtrain.nn.linear import Linear, linear
from llmtrain.objectives.base import Objective, Transform, Vocabulary, connected_zero, row_generator
from llmtrain.objectives.options import MlmConfig

STREAM = 1  # tells this term's random numbers from those of other terms


def alone(batch: Batch) -> Tensor:
    """(B,) bool: documents without a target."""
    return (batch["labels"] == IGNORED).all(1)


def moments(batch: Batch, context: Context) -> list[int]:
    """What tells one reading of each row from its next: the epoch, or the step where an epoch may come to it again."""
    return [context.step if one else context.epoch for one in alone(batch).tolist()]


@dataclass(frozen=True)
class MaskTokens:
    """Adds TERM_input_ids, TERM_attention_mask and TERM_labels (B', S) for the rows chosen for the masked pass: a share
    of those that have a target, and every document alone, which is there for nothing else.

    The choice and the masks are a pure function of (seed, epoch, example id); those of a document alone, which an epoch
    may come to several times, of (seed, step, example id). 80 % of the predicted tokens become the mask token, 10 % a
    random one, 10 % stay. In a shared pass ``input_ids`` themselves are masked. Where
    preprocessing made a text for this term alone, that one is masked.
    """

    options: MlmConfig
    vocabulary: Vocabulary
    term: str = "mlm"  # before the names of what it adds
    stream: int = STREAM

    def __call__(self, batch: Batch, context: Context) -> None:
        own = L1 if f"{L1}input_ids" in batch else ""  # a text that preprocessing made for this term alone
        source_BS, mask_BS = batch[f"{own}input_ids"], batch[f"{own}attention_mask"]
        rows, inputs, labels = [], [], []
        for row, generator in self.chosen(batch, context):
            length = int(mask_BS[row].sum())  # drawing for the padding too would tie the masks to the batch's width
            masked_S, labels_S = source_BS[row].clone(), torch.full_like(source_BS[row], IGNORED)
            masked_S[:length], labels_S[:length] = self._mask(source_BS[row, :length], generator)
            rows.append(row)
            inputs.append(masked_S)
            labels.append(labels_S)
        width = source_BS.shape[1]
        batch[f"{self.term}_labels"] = torch.stack(labels) if rows else source_BS.new_zeros((0, width))
        batch[f"{self.term}_attention_mask"] = mask_BS[rows]
        batch[f"{self.term}_input_ids"] = torch.stack(inputs) if rows else source_BS.new_zeros((0, width))
        if self.options.shared_pass and rows:
            batch["input_ids"] = batch[f"{self.term}_input_ids"]

    def chosen(self, batch: Batch, context: Context) -> Iterator[tuple[int, torch.Generator]]:
        """The rows that take the masked pass, and what their masks are drawn from."""
        alone_B, moment_B = alone(batch).tolist(), moments(batch, context)
        for row, example in enumerate(batch["example_id"].tolist()):
            generator = row_generator(context.seed, moment_B[row], example, self.stream)
            chosen = self.options.shared_pass or torch.rand((), generator=generator) < self.options.fraction
            if (chosen or alone_B[row]) and not batch.get("dummy"):
                yield row, generator

    def _mask(self, source_S: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        special = torch.tensor(sorted(self.vocabulary.special_ids))
        open_S = ~torch.isin(source_S, special)
        predicted_S, kind_S = self._choose(source_S, open_S, generator)
        labels_S = torch.where(predicted_S, source_S, IGNORED)
        random_S = torch.randint(self.vocabulary.size, source_S.shape, generator=generator)
        assert self.vocabulary.mask_id is not None, "a tokenizer without a mask token is refused before"
        masked_S = torch.where(predicted_S & (kind_S < 0.8), self.vocabulary.mask_id, source_S)
        return torch.where(predicted_S & (kind_S >= 0.9), random_S, masked_S), labels_S

    def _choose(self, source_S: Tensor, open_S: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """(S,) bool: which tokens are predicted; (S,) in [0, 1): what each of them then becomes."""
        draw_S = torch.rand(source_S.shape, generator=generator)
        if self.options.whole_word:  # every piece of a word shares its first piece's draw
            word_S = (~(self.vocabulary.continuation[source_S] & open_S)).cumsum(0) - 1
            starts = (~(self.vocabulary.continuation[source_S] & open_S)).nonzero().squeeze(1)
            draw_S = draw_S[starts[word_S.clamp(min=0)]]
        predicted_S = (draw_S < self.options.mask_probability) & open_S
        return predicted_S, torch.rand(source_S.shape, generator=generator)


class MlmHead(nn.Module):
    """A fresh BERT prediction head; its output embedding is the trunk's input embedding."""

    def __init__(self, width: int, vocabulary_size: int) -> None:
        super().__init__()
        self.dense = Linear(width, width)
        self.norm = nn.LayerNorm(width, eps=1e-12)
        self.bias = nn.Parameter(torch.zeros(vocabulary_size))
        nn.init.normal_(self.dense.weight, std=0.02)
        nn.init.zeros_(self.dense.bias)

    def forward(self, hidden_MD: Tensor, embedding_VD: Tensor) -> Tensor:
        hidden_MD = self.norm(nn.functional.gelu(self.dense(hidden_MD)))
        return linear(hidden_MD, embedding_VD, self.bias)


class MaskedLm(Objective):
    """The base term that predicts masked tokens of the document."""

    name = "mlm"

    def __init__(self, model: TaskModel, options: MlmConfig, vocabulary: Vocabulary,
                 base_folder: Path | None) -> None:
        super().__init__(model, options, vocabulary, base_folder)
        self.options = options
        self.vocabulary = vocabulary
        state = pretrained_mlm_head(base_folder)
        self.pretrained = state is not None
        self.head = MlmHead(model.hidden_size, vocabulary.size)
        if state is not None:
            self.head.load_state_dict(state)

    def transform(self) -> Transform:
        return MaskTokens(self.options, self.vocabulary)

    def count(self, batch: Batch) -> Tensor:
        return (batch[f"{self.name}_labels"] != IGNORED).sum()

    def forward(self, model: TaskModel, states: EncoderStates, batch: Batch, step: int) -> Tensor:
        labels_BS = batch[f"{self.name}_labels"]
        at = (labels_BS != IGNORED).reshape(-1).nonzero().squeeze(1)
        if at.numel() == 0:
            return connected_zero(self, states.hidden_BSD)
        if self.options.shared_pass:
            hidden_BSD = states.hidden_BSD
        else:
            hidden_BSD = model.encode(batch[f"{self.name}_input_ids"],
                                      batch[f"{self.name}_attention_mask"]).hidden_BSD
        logits_MV = self.predict(model, hidden_BSD, at, step)
        return nn.functional.cross_entropy(logits_MV, labels_BS.reshape(-1).index_select(0, at), reduction="sum")

    def predict(self, model: TaskModel, hidden_BSD: Tensor, at_M: Tensor, step: int) -> Tensor:
        """(M, V) fp32 logits at the flattened places ``at_M``."""
        hidden_MD = hidden_BSD.reshape(-1, hidden_BSD.shape[-1]).index_select(0, at_M)
        embedding_VD = model.input_embedding_VD
        if not self.pretrained and step < self.options.warm_steps:  # a fresh head must not push noise into the trunk
            hidden_MD, embedding_VD = hidden_MD.detach(), embedding_VD.detach()
        logits: Tensor = self.head(hidden_MD, embedding_VD)
        return logits.float()

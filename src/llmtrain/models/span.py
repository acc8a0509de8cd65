"""The span architecture: a pretrained trunk reads a question and a context, a head marks where the answer stands.

It loads with ``import llmtrain.hf; AutoModelForQuestionAnswering.from_pretrained(folder)`` and gives what any model of
that kind gives: a score of every token as the first and as the last one of the answer.

Shapes: B rows, S source tokens; 2: start and end.
"""

from __future__ import annotations

from typing import Any, ClassVar, cast

import torch
from torch import Tensor
from transformers.modeling_outputs import QuestionAnsweringModelOutput

from llmtrain.data.batch import IGNORED
from llmtrain.models.backbone.families import family_of
from llmtrain.models.heads.base import EncoderStates
from llmtrain.models.heads.span.options import NO_ANSWER
from llmtrain.models.hf_config import LlmtrainSpanConfig
from llmtrain.models.padding import leading, moved, right_padded
from llmtrain.models.task_model import TaskModel
from llmtrain.nn.attention import tracing


class LlmtrainForQuestionAnswering(TaskModel):
    """A base that reads and a head that marks an answer, as transformers knows it."""

    config_class = LlmtrainSpanConfig
    instead_of_writing: ClassVar[str] = "marks answers"
    auto_class: ClassVar[str] = "AutoModelForQuestionAnswering"

    def no_answer_place(self, mask_BS: Tensor) -> Tensor:
        """(B,) the token that stands for no answer: the first one, and the last one of a decoder, which sees all."""
        last_B = (mask_BS.long().sum(1) - 1).clamp_min(0)
        return last_B if family_of(self.trunk.config).causal else torch.zeros_like(last_B)

    def task_nll(self, states: EncoderStates, batch: dict[str, Any]) -> tuple[Tensor, Tensor]:
        labels_BT, place_B = batch["labels"], self.no_answer_place(states.attention_mask_BS)
        found: tuple[Tensor, Tensor] = self.head.nll(
            states, torch.where(labels_BT == NO_ANSWER, place_B.unsqueeze(1), labels_BT))
        return found

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None, token_type_ids: Tensor | None = None,
                start_positions: Tensor | None = None, end_positions: Tensor | None = None, **_: Any,
                ) -> QuestionAnsweringModelOutput:
        """Score every token; see ``start_logits`` and ``end_logits`` (B, S), fp32. Padding has the least score.

        Args:
            input_ids: Question, then context, as the tokenizer joins them; padded on either side.
            token_type_ids: Taken, since BERT tokenizers make it, and not used: the separators tell the segments.
            start_positions: (B,) the answer's first token, counted from the row's first column; the token that stands
                for no answer (the first, of a decoder the last) where there is none.
            end_positions: (B,) its last token. One outside the row counts for nothing.
        """
        if not tracing():
            self.warn_if_padding_and_no_attention_mask(input_ids, attention_mask)
        ids_BS, mask_BS, _places = right_padded(input_ids, attention_mask)
        lead_B1 = torch.zeros_like(ids_BS[:, :1]) if attention_mask is None else leading(attention_mask)
        logits_BS2, loss = self.head.logits(self.encode(ids_BS, mask_BS)), None
        if start_positions is not None and end_positions is not None:
            labels_B2 = torch.stack([start_positions.reshape(-1), end_positions.reshape(-1)], 1) - lead_B1
            inside_B2 = (labels_B2 >= 0) & (labels_B2 < ids_BS.shape[1])
            total, count = self.head.ends_nll(logits_BS2, labels_B2.masked_fill(~inside_B2, IGNORED))
            loss = total / count.clamp_min(1)
        logits_BS2 = moved(logits_BS2, lead_B1, back=True)
        return QuestionAnsweringModelOutput(loss=cast(Any, loss), start_logits=cast(Any, logits_BS2[..., 0]),
                                            end_logits=cast(Any, logits_BS2[..., 1]))

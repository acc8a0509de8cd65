"""The head of a base that writes itself: no layers, only its way from the trunk's states to words.

Shapes: B rows, T target tokens, N target tokens that count, D width of the trunk, V vocabulary.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from llmtrain.models.heads.base import BaseParts, EncoderStates, Sizes
from llmtrain.models.heads.prefix_lm.options import PrefixLmHeadConfig
from llmtrain.models.heads.writer import WritingHead
from llmtrain.nn.linear import Linear, linear


class PrefixLmHead(WritingHead):
    """The base's token embeddings as the output layer, behind its masked-LM transform where it has one."""

    def __init__(self, options: PrefixLmHeadConfig, sizes: Sizes) -> None:
        super().__init__(options, sizes)
        if options.mlm_transform:
            self.transform = Linear(sizes.width, sizes.width)
            self.transform_norm = nn.LayerNorm(sizes.width, eps=1e-12)
        self.output_bias = nn.Parameter(torch.zeros(sizes.vocabulary))
        self.add_pointer(sizes.width, sizes)

    @torch.no_grad()
    def start_from(self, base: BaseParts) -> None:
        """The masked-LM head's own values."""
        if self.options.mlm_transform and (values := base.mlm_head) is not None:
            self.load_state_dict({"transform.weight": values["dense.weight"], "transform.bias": values["dense.bias"],
                                  "transform_norm.weight": values["norm.weight"],
                                  "transform_norm.bias": values["norm.bias"], "output_bias": values["bias"]},
                                 strict=False)

    def decode(self, input_ids_BT: Tensor, states: EncoderStates, cache: Any = None) -> Tensor:
        """(B, T, D) the trunk's own states behind the document."""
        assert states.go_on is not None, "the prefix architecture makes these states"
        return states.go_on(input_ids_BT, cache)

    def log_probabilities(self, input_ids_BT: Tensor, states: EncoderStates, cache: Any = None) -> Tensor:
        """(B, T, V); the begin token that a target starts with stands for the prompt's last, which it is read as."""
        if cache is None or cache.get_seq_length() == 0:
            start_B1 = torch.full_like(input_ids_BT[:, :1], self.start_id)
            input_ids_BT = torch.cat([start_B1, input_ids_BT[:, 1:]], 1)
        return super().log_probabilities(input_ids_BT, states, cache)

    def vocabulary_logits(self, decoded_NW: Tensor, embedding_VD: Tensor) -> Tensor:
        """(N, V) logits, before any copying."""
        if self.options.mlm_transform:
            decoded_NW = self.transform_norm(F.gelu(self.transform(decoded_NW)))
        return linear(decoded_NW, embedding_VD, self.output_bias)

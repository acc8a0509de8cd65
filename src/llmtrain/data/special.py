"""Which tokens begin, end and pad a sequence, whatever the tokenizer calls them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from llmtrain.errors import ConfigError


@dataclass(frozen=True, slots=True)
class SpecialIds:
    bos: int
    eos: int
    pad: int


def special_ids(tokenizer: Any) -> SpecialIds:
    """BERT's [CLS] and [SEP], RoBERTa's <s> and </s>. Raises ConfigError for a tokenizer without them."""
    bos = tokenizer.cls_token_id if tokenizer.cls_token_id is not None else tokenizer.bos_token_id
    eos = tokenizer.sep_token_id if tokenizer.sep_token_id is not None else tokenizer.eos_token_id
    if bos is None or eos is None or tokenizer.pad_token_id is None:
        raise ConfigError("the tokenizer lacks a begin, end or padding token; use a BERT-family tokenizer")
    return SpecialIds(int(bos), int(eos), int(tokenizer.pad_token_id))
